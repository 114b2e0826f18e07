//! A name lives exactly as long as a holder lives, however holders end and in whatever order; views keep the
//! bytes but not the name; and what a killed last holder leaves goes when anybody asks for its name, else
//! with later creations or a sweep of everything.

use handover_tests::{Actor, Map, Obey, Open, Stage};

fn stage() -> Stage {
    Stage::new(env!("CARGO_BIN_EXE_actor"))
}

#[derive(Clone, Copy, Debug)]
enum End {
    Closes,
    Exits,
    IsKilled,
}

const ENDS: [End; 3] = [End::Closes, End::Exits, End::IsKilled];

impl End {
    /// Ends the holding. Returns an actor that only closes, so that it lives on without the map.
    fn of(self, mut actor: Actor, map: Map) -> Option<Actor> {
        match self {
            Self::Closes => {
                actor.close(map);
                return Some(actor);
            }
            Self::Exits => actor.exit(),
            Self::IsKilled => actor.kill(),
        }
        None
    }
}

/// Holder 0 is the creator.
const ORDERS: [[usize; 3]; 6] = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];

#[test]
fn a_name_is_gone_with_its_last_holder_in_any_order_and_way() {
    let stage = stage();
    let mut watcher = stage.actor();
    for order in ORDERS {
        for ends in 0..27 {
            let ends = [ENDS[ends % 3], ENDS[ends / 3 % 3], ENDS[ends / 9]];
            let case = format!("{order:?} {ends:?}");
            let mut holders = [(); 3].map(|()| {
                let mut actor = stage.actor();
                let map = actor.create_or_open("holders", 5000);
                Some((actor, map))
            });
            assert!(holders[0].as_ref().is_some_and(|(_, map)| map.created), "{case}");
            let (creator, map) = holders[0].as_mut().expect("none has ended");
            creator.write(*map, 0, b"content");
            let mut closed = Vec::new();
            for (nth, (holder, end)) in order.into_iter().zip(ends).enumerate() {
                let (actor, map) = holders[holder].take().expect("ends once");
                closed.extend(end.of(actor, map));
                if nth < 2 {
                    let map = watcher.open_existing("holders");
                    assert_eq!(watcher.read(map, 0, 8), b"content\0", "{case}");
                    watcher.close(map);
                }
            }
            watcher.expect_gone("holders");
            watcher.expect_fresh("holders", 3000 + 4000 * order[0] as u64);
            #[cfg(unix)]
            assert!(stage.files().is_empty(), "{case} left {:?}", stage.files());
        }
    }
}

#[test]
fn closing_deletes_the_bytes_at_once() {
    let stage = stage();
    let mut actor = stage.actor();
    let map = actor.create_new("closed", 100);
    let other = actor.open_existing("closed");
    #[cfg(unix)]
    assert_eq!(stage.files().len(), 1);
    actor.close(map);
    #[cfg(unix)]
    assert_eq!(stage.files().len(), 1);
    actor.close(other);
    #[cfg(unix)]
    assert!(stage.files().is_empty());
}

#[test]
fn a_new_map_after_a_kill_starts_from_zero_whatever_its_capacity() {
    let stage = stage();
    let mut watcher = stage.actor();
    for (old, new) in [(100, 100), (100, 70_000), (70_000, 100), (70_000, 69_999)] {
        for open in [Open::create_new("again", new), Open::create_or_open("again", new)] {
            let mut holder = stage.actor();
            let map = holder.create_new("again", old);
            holder.write(map, 0, &vec![0xFF; old as usize]);
            holder.kill();
            let map = watcher.must_open(&open);
            assert!(map.created);
            assert_eq!(map.capacity, new);
            assert!(watcher.read(map, 0, new).iter().all(|byte| *byte == 0), "{old} then {new}");
            watcher.close(map);
        }
    }
}

#[test]
fn views_keep_the_bytes_but_not_the_name() {
    let stage = stage();
    let (mut first, mut second, mut third) = (stage.actor(), stage.actor(), stage.actor());
    let made = first.create_new("viewed", 100);
    let opened = second.open_existing("viewed");
    let (first_view, second_view) = (first.view(made), second.view(opened));
    first.write_view(first_view, 0, b"before");
    first.close(made);
    let joined = third.open_existing("viewed");
    third.close(joined);
    second.close(opened);

    third.expect_gone("viewed");
    assert_eq!(first.read_view(first_view, 0, 6), b"before");
    // The two views still show the same bytes, from process to process.
    second.write_view(second_view, 50, b"after");
    assert_eq!(first.read_view(first_view, 50, 5), b"after");

    // A new map of the name has nothing to do with them.
    let fresh = third.create_new("viewed", 100);
    assert_eq!(third.read(fresh, 0, 100), [0; 100]);
    third.write(fresh, 0, b"anew");
    assert_eq!(first.read_view(first_view, 0, 6), b"before");
    first.write_view(first_view, 0, b"old");
    assert_eq!(third.read(fresh, 0, 4), b"anew");
}

/// Creates names that nobody holds any more.
#[cfg(unix)]
fn leave(stage: &Stage, names: impl IntoIterator<Item = String>) {
    let mut holder = stage.actor();
    for name in names {
        holder.create_new(&name, 100);
    }
    holder.kill();
}

#[cfg(unix)]
#[test]
fn whoever_asks_for_a_leftovers_name_removes_it() {
    let stage = stage();
    let mut other = stage.actor();
    let kept = other.create_new("kept", 100);
    let file = stage.path().join("file");
    for open in [
        Open::create_new("left", 100),
        Open::create_or_open("left", 100),
        Open::open_existing("left"),
        Open::from_file(file, "left", 100),
    ] {
        for scope in ["", "Local\\"] {
            leave(&stage, ["left".to_owned()]);
            assert_eq!(stage.files().len(), 2, "nobody was there to remove it");
            let open = Open { name: format!("{scope}{}", open.name), ..open.clone() };
            if let Ok(map) = other.open(&open) {
                other.close(map);
            }
            assert_eq!(stage.files().len(), 1, "{open:?} left {:?}", stage.files());
        }
    }
    // The living were not touched.
    let mut late = stage.actor();
    late.open_existing("kept");
    other.close(kept);
}

#[cfg(unix)]
#[test]
fn a_process_that_creates_its_first_name_removes_a_few_leftovers_of_others() {
    const AT_ONCE: usize = 16;
    let stage = stage();
    leave(&stage, (0..AT_ONCE * 2 + 3).map(|number| format!("left {number}")));
    let mut left = stage.files().len();
    assert_eq!(left, AT_ONCE * 2 + 3);
    // One look may stop at the end of the directory.
    for _ in 0..4 {
        let mut creator = stage.actor();
        let map = creator.create_new("other", 100);
        creator.close(map);
        let now = stage.files().len();
        assert!(left - now <= AT_ONCE, "{left}, then {now}");
        left = now;
    }
    assert_eq!(left, 0);
}

#[cfg(unix)]
#[test]
fn garbage_collection_removes_leftovers_and_says_which() {
    let stage = stage();
    for (global, prefix) in [(false, ""), (true, "Global\\")] {
        let mut living = stage.actor();
        living.create_new(&format!("{prefix}living"), 100);
        let mut holder = stage.actor();
        for name in ["one", "two/..", "😀"] {
            holder.create_new(&format!("{prefix}{name}"), 100);
        }
        holder.kill();
        let mut removed = living.collect_garbage(global);
        removed.sort();
        assert_eq!(removed, ["one", "two/..", "😀"]);
        assert!(living.collect_garbage(global).is_empty());
        let directory = if global { stage.global_scope() } else { stage.scope() };
        assert_eq!(handover_tests::files_in(&directory).len(), 1);
    }
}

#[cfg(unix)]
#[test]
fn garbage_collection_makes_no_directories() {
    let stage = stage();
    let mut actor = stage.actor();
    assert!(actor.collect_garbage(false).is_empty());
    assert!(actor.collect_garbage(true).is_empty());
    actor.expect_gone("never");
    actor.expect_gone("Global\\never");
    assert!(handover_tests::files_in(stage.path()).is_empty());
}
