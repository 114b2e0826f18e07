//! A value built where readers find it is whole, in whatever pieces it comes.

use std::io::Write;

use handover::cell::{Cell, CellOptions};
use handover::map::MemoryMappedFile;

fn pattern(length: usize) -> Vec<u8> {
    (0..length as u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

fn cell(capacity: u64) -> Cell {
    // 64 slots with room for the value and its type's name.
    let map = MemoryMappedFile::anonymous(64 * (capacity + 8192)).unwrap();
    CellOptions::new().make_in(map).unwrap()
}

#[test]
fn a_value_is_whole_in_pieces_of_any_size() {
    // Long enough to go past the caches, and not.
    for length in [100_003, (4 << 20) + 5] {
        let value = pattern(length);
        let cell = cell(length as u64);
        let mut writer = cell.try_writer().unwrap().unwrap();
        for piece in [1, 1000, 4096, 4097, 65_599, length] {
            if piece == 1 && length > 100_003 {
                continue;
            }
            writer
                .publish_with(length, |buffer| {
                    for piece in value.chunks(piece) {
                        buffer.write_all(piece).unwrap_or_else(|_| unreachable!("there is room"));
                    }
                    assert_eq!(buffer.remaining(), 0);
                    Ok(())
                })
                .unwrap();
            assert!(*cell.copy().unwrap().unwrap().bytes == value, "pieces of {piece} bytes");
        }
    }
}

#[test]
fn what_is_left_unwritten_is_zero() {
    let length = 5 << 20;
    let cell = cell(length as u64);
    let mut writer = cell.try_writer().unwrap().unwrap();
    // Every slot has bytes of an earlier version.
    for _ in 0..4 {
        writer.publish(&pattern(length)).unwrap();
    }
    for written in [0, 3, 5000] {
        let first = pattern(written);
        writer.publish_with(length, |buffer| buffer.write_all(&first).map_err(|_| unreachable!())).unwrap();
        let found = cell.copy().unwrap().unwrap().bytes;
        assert!(found[..written] == first && found[written..].iter().all(|byte| *byte == 0));
    }
}
