//! A forked child has none of its parent's locks: not the writers' lock, not the entries of its readers. The
//! parent's leases and snapshots report this when the child uses them; a reader reads on with a new entry.

#![cfg(target_os = "linux")]

use handover_tests::Stage;
use handover_tests::cell::{CellCommand, OpenCell, UseCells, expect_memory};

fn stage() -> Stage {
    Stage::new(env!("CARGO_BIN_EXE_actor"))
}

#[test]
fn a_child_keeps_no_lock_of_its_dead_parent() {
    for closed in [false, true] {
        let stage = stage();
        let mut other = stage.actor();
        let others = other.open_cell(&OpenCell::named("cell", 1 << 20));
        let file = stage.files().remove(0);
        let mut parent = stage.actor();
        let cell = parent.open_cell(&OpenCell::existing("cell"));
        parent.publish(cell, 900_000, 1);
        parent.hold(cell);
        assert!(parent.lock(cell));
        let mut child = parent.fork(&stage);
        assert!(!other.lock(others), "the parent's lease ended with the fork");
        if closed {
            // The child releases what it thinks it has; nothing of the parent's ends.
            child.on_cell(CellCommand::Close(cell));
            assert!(!other.lock(others), "the child ended the parent's lease");
            assert_eq!(other.info(others).readers, 1);
        }
        assert_eq!(parent.publish(cell, 100, 1), 2);
        parent.kill();
        assert!(other.lock(others), "the child keeps the lease");
        assert_eq!(other.info(others).readers, 0, "the child keeps the entries");
        assert!(!other.info(others).has_writer, "the child is taken for a writer");
        other.publish(others, 100, 64);
        expect_memory(&mut other, others, &file, 100);
        child.kill();
    }
}

#[test]
fn leases_and_snapshots_are_refused_in_the_child() {
    let stage = stage();
    let mut parent = stage.actor();
    let cell = parent.open_cell(&OpenCell::named("cell", 10_000));
    parent.publish(cell, 100, 1);
    let held = parent.hold(cell);
    assert!(parent.lock(cell));
    let mut child = parent.fork(&stage);
    for command in [
        CellCommand::Publish { cell, length: 100, times: 1 },
        CellCommand::Clear(cell),
        CellCommand::Take(cell),
        CellCommand::CheckHeld(held),
    ] {
        let shown = format!("{command:?}");
        let message = child.cell_refused(command, "Forked");
        assert!(message.contains("cell"), "{shown}: {message}");
    }
    // Dropping the parent's snapshot leaves the parent's pin.
    child.on_cell(CellCommand::DropHeld(held));
    parent.publish(cell, 3000, 500);
    assert_eq!(parent.on_cell(CellCommand::CheckHeld(held)), Some(1));

    // The child becomes a writer itself once the parent no longer is.
    assert!(!child.lock(cell));
    parent.on_cell(CellCommand::Unlock(cell));
    assert!(child.lock(cell));
    assert!(!parent.lock(cell));
    assert_eq!(child.publish(cell, 100, 1), 502);
}

#[test]
fn a_reader_reads_on_with_an_entry_of_its_own() {
    let stage = stage();
    let mut writer = stage.actor();
    let theirs = writer.open_cell(&OpenCell::named("cell", 10_000));
    writer.publish(theirs, 100, 1);
    let mut parent = stage.actor();
    let cell = parent.open_cell(&OpenCell::existing("cell"));
    assert_eq!(parent.on_cell(CellCommand::Load(cell)), Some(1));
    let mut child = parent.fork(&stage);
    assert_eq!(writer.info(theirs).readers, 1);
    assert_eq!(child.on_cell(CellCommand::Load(cell)), Some(1));
    assert_eq!(writer.info(theirs).readers, 2);
    let held = child.hold(cell);
    let parents = parent.hold(cell);
    assert_eq!(writer.info(theirs).readers, 4);
    writer.publish(theirs, 5000, 500);
    for (actor, held) in [(&mut parent as &mut dyn AnyActor, parents), (&mut child, held)] {
        assert_eq!(actor.check(held), Some(1));
        assert_eq!(actor.load(cell), Some(501));
    }
    child.kill();
    assert_eq!(writer.info(theirs).readers, 2);
}

trait AnyActor {
    fn check(&mut self, held: u32) -> Option<u64>;
    fn load(&mut self, cell: u32) -> Option<u64>;
}

impl<T: UseCells> AnyActor for T {
    fn check(&mut self, held: u32) -> Option<u64> {
        self.on_cell(CellCommand::CheckHeld(held))
    }

    fn load(&mut self, cell: u32) -> Option<u64> {
        self.on_cell(CellCommand::Load(cell))
    }
}
