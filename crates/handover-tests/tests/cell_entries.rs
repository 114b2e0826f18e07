//! All processes together can hold 62 snapshots at a time. One more is an error, while reading by copy goes
//! on. When any is dropped, or its process dies, any process can take another.

use handover_tests::Stage;
use handover_tests::cell::{CellCommand, OpenCell, UseCells};

const ENTRIES: usize = 62;

#[test]
fn the_63rd_snapshot_is_refused_until_another_is_dropped() {
    let stage = Stage::new(env!("CARGO_BIN_EXE_actor"));
    let mut writer = stage.actor();
    let cell = writer.open_cell(&OpenCell::named("cell", 10_000));
    writer.publish(cell, 100, 1);
    let mut holders: Vec<_> = (0..5).map(|_| stage.actor()).collect();
    let cells: Vec<_> = holders.iter_mut().map(|a| a.open_cell(&OpenCell::existing("cell"))).collect();
    let mut held = Vec::new();
    for at in 0..ENTRIES {
        let who = at % holders.len();
        // Each of another version: every slot but one is in use.
        held.push((who, holders[who].hold(cells[who]), writer.info(cell).version));
        writer.publish(cell, 100 + at, 1);
    }
    let newest = writer.info(cell).version;
    assert_eq!((writer.info(cell).readers, newest), (ENTRIES, 63));
    for (holder, cell) in holders.iter_mut().zip(&cells) {
        let message = holder.cell_refused(CellCommand::Hold(*cell), "TooManyReaders");
        assert!(message.contains("62"), "{message}");
        holder.cell_refused(CellCommand::Load(*cell), "TooManyReaders");
        assert_eq!(holder.on_cell(CellCommand::Read(*cell)), Some(newest));
        assert_eq!(holder.on_cell(CellCommand::Copy(*cell)), Some(newest));
    }
    // Writers find slots all the same.
    let newest = writer.publish(cell, 3000, 500);
    for (who, held, version) in &held {
        assert_eq!(holders[*who].on_cell(CellCommand::CheckHeld(*held)), Some(*version));
    }

    // What one process releases, any other can have: here each time the next process.
    for turn in 0..40 {
        let (who, snapshot, _) = held.remove(0);
        holders[who].on_cell(CellCommand::DropHeld(snapshot));
        let next = (who + 1 + turn % 4) % holders.len();
        held.push((next, holders[next].hold(cells[next]), newest));
        holders[who].cell_refused(CellCommand::Hold(cells[who]), "TooManyReaders");
    }
    // The same for what the dead held.
    holders.remove(0).kill();
    let mut killed = 0;
    for (who, _, _) in held {
        if who == 0 {
            writer.hold(cell);
            killed += 1;
        }
    }
    assert!(killed > 5);
    writer.cell_refused(CellCommand::Hold(cell), "TooManyReaders");
}
