//! Proves that a map has exactly the requested bytes, that views cover exactly what they say, at any offset,
//! and that impossible sizes are errors of the right class.

mod contract_common;

use contract_common::{failure, kind, own_dir, page, within};
use handover::ErrorKind;
use handover::map::dotnet::{FileMode, create_from_file};
use handover::map::{Access, MapOptions, MemoryMappedFile};
use handover_tests::found_capacity;

#[test]
fn capacities_are_exact() {
    let dir = own_dir();
    for capacity in [1, 100, page() - 1, page(), page() + 1, 100_000] {
        let named = within(&dir).create_new("n", capacity).unwrap();
        let opened = within(&dir).open_existing("n").unwrap();
        let anonymous = MemoryMappedFile::anonymous(capacity).unwrap();
        for (map, capacity) in [(anonymous, capacity), (named, capacity), (opened, found_capacity(capacity))]
        {
            assert_eq!(map.capacity(), capacity);
            assert_eq!(map.create_view_accessor(0, 0).unwrap().capacity(), capacity);
            let stream = map.create_view_stream(0, 0).unwrap();
            assert_eq!((stream.len(), stream.capacity()), (capacity, capacity));
        }
    }
}

#[test]
fn a_default_view_covers_the_rest_and_an_explicit_one_exactly_its_size() {
    let capacity = 3 * page();
    let map = MemoryMappedFile::anonymous(capacity).unwrap();
    for offset in [0, 1, 100, page() - 1, page(), page() + 1, capacity - 1, capacity] {
        assert_eq!(map.create_view_accessor(offset, 0).unwrap().capacity(), capacity - offset);
        assert_eq!(map.create_view_stream(offset, 0).unwrap().len(), capacity - offset);
        for size in [1, 2, page(), capacity] {
            match map.create_view_accessor(offset, size) {
                Ok(view) => {
                    assert!(offset + size <= capacity);
                    assert_eq!(view.capacity(), size);
                }
                Err(error) => {
                    assert!(offset + size > capacity);
                    assert_eq!(error.kind(), ErrorKind::AccessDenied);
                }
            }
        }
    }
}

#[test]
fn a_view_at_the_end_has_no_bytes_and_pointer_offset_0() {
    for capacity in [1, 100, page(), page() + 1] {
        let map = MemoryMappedFile::anonymous(capacity).unwrap();
        for access in [Access::Read, Access::Write, Access::ReadWrite, Access::CopyOnWrite] {
            let view = map.create_view_accessor_with(capacity, 0, access).unwrap();
            assert_eq!((view.capacity(), view.pointer_offset()), (0, 0));
            assert_eq!((view.can_read(), view.can_write()), (access.can_read(), access.can_write()));
            view.flush().unwrap();
            let stream = map.create_view_stream_with(capacity, 0, access).unwrap();
            assert_eq!((stream.len(), stream.pointer_offset()), (0, 0));
            assert!(stream.is_empty());
        }
        let view = map.create_view_accessor(capacity, 0).unwrap();
        assert_eq!(kind(view.read::<u8>(0)), ErrorKind::OutOfRange);
        assert_eq!(kind(view.write(0, 1u8)), ErrorKind::OutOfRange);
        assert_eq!(kind(view.read_array(0, &mut [0u8; 4])), ErrorKind::OutOfRange);
        assert_eq!(kind(view.write_array(0, &[0u8; 0])), ErrorKind::OutOfRange);
    }
}

#[test]
fn an_offset_beyond_the_end_is_out_of_range() {
    let map = MemoryMappedFile::anonymous(page()).unwrap();
    for offset in [page() + 1, i64::MAX as u64, u64::MAX] {
        for size in [0, 1, u64::MAX] {
            assert_eq!(failure(map.create_view_accessor(offset, size)), (ErrorKind::OutOfRange, "offset"));
            assert_eq!(failure(map.create_view_stream(offset, size)), (ErrorKind::OutOfRange, "offset"));
        }
    }
}

#[test]
fn a_view_that_reaches_beyond_the_end_is_denied_even_inside_the_last_page() {
    let map = MemoryMappedFile::anonymous(100).unwrap();
    for (offset, size) in [(0, 101), (1, 100), (99, 2), (100, 1), (0, page()), (0, page() + 1), (7, 1 << 40)]
    {
        assert_eq!(kind(map.create_view_accessor(offset, size)), ErrorKind::AccessDenied, "{offset} {size}");
        assert_eq!(kind(map.create_view_stream(offset, size)), ErrorKind::AccessDenied, "{offset} {size}");
    }
}

#[test]
fn no_address_space_holds_a_view_of_i64_max() {
    let map = MemoryMappedFile::anonymous(100).unwrap();
    for size in [i64::MAX as u64, u64::MAX] {
        assert_eq!(kind(map.create_view_accessor(0, size)), ErrorKind::NoSpace);
        assert_eq!(kind(map.create_view_stream(100, size)), ErrorKind::NoSpace);
    }
}

#[test]
fn the_pointer_offset_is_the_offset_within_the_page() {
    let capacity = 3 * page();
    let map = MemoryMappedFile::anonymous(capacity).unwrap();
    let whole = map.create_view_accessor(0, 0).unwrap();
    for offset in [0, 1, 4095, page() - 1, page(), page() + 1, 2 * page() + 7] {
        let view = map.create_view_accessor(offset, 0).unwrap();
        assert_eq!(view.pointer_offset(), offset % page());
        assert_eq!(map.create_view_stream(offset, 1).unwrap().pointer_offset(), offset % page());
        assert_eq!(view.as_ptr().addr() as u64 % page(), offset % page());
        // Byte 0 of the view is byte `offset` of the map, and so is its last one.
        view.write(0, 0xA5u8).unwrap();
        assert_eq!(whole.read::<u8>(offset).unwrap(), 0xA5);
        view.write(view.capacity() - 1, 0x5Au8).unwrap();
        assert_eq!(whole.read::<u8>(capacity - 1).unwrap(), 0x5A);
        whole.write(offset, 0u8).unwrap();
        whole.write(capacity - 1, 0u8).unwrap();
    }
}

#[test]
fn the_pointer_offset_of_a_named_map_does_not_show_its_record() {
    let dir = own_dir();
    let map = within(&dir).create_new(&"n".repeat(30_000), 2 * page()).unwrap();
    for offset in [0, 1, page() - 1, page()] {
        assert_eq!(map.create_view_accessor(offset, 0).unwrap().pointer_offset(), offset % page());
    }
}

#[test]
fn a_fresh_map_is_zero() {
    let dir = own_dir();
    let capacity = 100_003;
    for delay in [false, true] {
        let options = within(&dir).delay_allocate_pages(delay);
        let named = options.create_new("n", capacity).unwrap();
        let path = dir.path().join("file");
        let on_file = create_from_file(&path, FileMode::Create, capacity, &options).unwrap();
        for map in [&options.anonymous(capacity).unwrap(), &named, &on_file] {
            let mut bytes = vec![0xFFu8; capacity as usize];
            let view = map.create_view_accessor(0, 0).unwrap();
            assert_eq!(view.read_array(0, &mut bytes).unwrap(), bytes.len());
            assert!(bytes.iter().all(|byte| *byte == 0));
            view.write_array(0, &vec![0xEEu8; bytes.len()]).unwrap();
        }
    }
}

#[test]
fn a_read_only_anonymous_map_is_legal_and_zero() {
    let map = MapOptions::new().access(Access::Read).anonymous(page()).unwrap();
    let view = map.create_view_accessor_with(0, 0, Access::Read).unwrap();
    let mut bytes = vec![1u8; page() as usize];
    view.read_array(0, &mut bytes).unwrap();
    assert!(bytes.iter().all(|byte| *byte == 0));
}

#[test]
fn large_capacities_work_where_pages_are_taken_late() {
    let dir = own_dir();
    let options = within(&dir).delay_allocate_pages(true);
    for around in [1u64 << 31, 1 << 32] {
        for capacity in [around - 1, around, around + 1] {
            let named = options.create_new("n", capacity).unwrap();
            for map in [&named, &options.anonymous(capacity).unwrap()] {
                assert_eq!(map.capacity(), capacity);
                let view = map.create_view_accessor(0, 0).unwrap();
                view.write(capacity - 8, u64::MAX).unwrap();
                assert_eq!(view.read::<u64>(capacity - 8).unwrap(), u64::MAX);
                assert_eq!(kind(view.write(capacity, 1u8)), ErrorKind::OutOfRange);
                let end = map.create_view_accessor(capacity - 1, 0).unwrap();
                assert_eq!(end.read::<u8>(0).unwrap(), 0xFF);
            }
        }
    }
}

#[test]
fn capacities_that_cannot_be_had_are_no_space_and_leave_nothing() {
    let dir = own_dir();
    let huge = i64::MAX as u64;
    // If a library takes all memory here, the system must end this process and not its neighbours.
    #[cfg(target_os = "linux")]
    std::fs::write("/proc/self/oom_score_adj", "1000").unwrap();
    assert_eq!(kind(MemoryMappedFile::anonymous(huge)), ErrorKind::NoSpace);
    assert_eq!(kind(within(&dir).create_new("n", huge)), ErrorKind::NoSpace);
    assert_eq!(kind(within(&dir).create_or_open("n", huge)), ErrorKind::NoSpace);
    assert_eq!(kind(within(&dir).open_existing("n")), ErrorKind::NotFound);
    // Not even a file's length can be this large.
    assert_eq!(failure(MemoryMappedFile::anonymous(u64::MAX)), (ErrorKind::OutOfRange, "capacity"));
    assert_eq!(failure(within(&dir).create_new("n", u64::MAX)), (ErrorKind::OutOfRange, "capacity"));
    assert!(within(&dir).create_new("n", 1).is_ok());
    for scope in std::fs::read_dir(dir.path()).unwrap() {
        let left: Vec<_> = std::fs::read_dir(scope.unwrap().path()).unwrap().collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

#[test]
fn capacity_0_is_out_of_range() {
    let dir = own_dir();
    let expected = (ErrorKind::OutOfRange, "capacity");
    assert_eq!(failure(MemoryMappedFile::anonymous(0)), expected);
    assert_eq!(failure(within(&dir).create_new("n", 0)), expected);
    assert_eq!(failure(within(&dir).create_or_open("n", 0)), expected);
}
