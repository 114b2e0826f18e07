//! Proves the details of accessors and streams: what lies at which byte, which error a bad position gives,
//! what is written when something does not fit (nothing), and that both kinds of view agree with a plain
//! buffer under any sequence of operations.

mod contract_common;

use std::io::{BufRead, Cursor, Read, Seek, SeekFrom, Write};
use std::sync::atomic::{AtomicI64, AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};

use contract_common::{failure, kind};
use handover::ErrorKind;
use handover::map::dotnet::Decimal;
use handover::map::{Access, MapOptions, MemoryMappedFile, ViewAccessor, ViewStream};
use handover_tests::word;
use proptest::prelude::*;

const POSITION_RANGE: (ErrorKind, &str) = (ErrorKind::OutOfRange, "position");
const POSITION: (ErrorKind, &str) = (ErrorKind::InvalidArgument, "position");

fn accessor(capacity: u64) -> ViewAccessor {
    MemoryMappedFile::anonymous(capacity).unwrap().create_view_accessor(0, 0).unwrap()
}

fn stream(capacity: u64) -> ViewStream {
    MemoryMappedFile::anonymous(capacity).unwrap().create_view_stream(0, 0).unwrap()
}

fn bytes_of(view: &ViewAccessor) -> Vec<u8> {
    let mut bytes = vec![0u8; view.capacity() as usize];
    assert_eq!(view.read_array(0, &mut bytes).unwrap(), bytes.len());
    bytes
}

/// A value of the type of `_like`.
fn read_like<T: bytemuck::Pod>(_like: T, view: &ViewAccessor, position: u64) -> T {
    view.read(position).unwrap()
}

// Accessors.

#[test]
fn every_type_is_read_back_at_every_position_aligned_or_not() {
    let view = accessor(64);
    macro_rules! check {
        ($($value:expr),*) => {$(
            for position in 0..=(64 - size_of_val(&$value) as u64) {
                view.write(position, $value).unwrap();
                assert_eq!(read_like($value, &view, position).to_ne_bytes(), $value.to_ne_bytes());
                let bytes = &bytes_of(&view)[position as usize..][..size_of_val(&$value)];
                assert_eq!(bytes, $value.to_ne_bytes());
            }
        )*};
    }
    check!(0xA5u8, -5i8, 0x1234u16, -1234i16, 0x1234_5678u32, -12_345_678i32);
    check!(0x0123_4567_89AB_CDEFu64, i64::MIN + 7, 1u128 << 100 | 3, 1.5f32, -2.25e100f64);
}

#[test]
fn a_boolean_is_any_byte_but_zero_and_is_written_as_1_or_0() {
    let view = accessor(8);
    for byte in 0..=255u8 {
        view.write(3, byte).unwrap();
        assert_eq!(view.read_bool(3).unwrap(), byte != 0);
    }
    view.write_bool(3, true).unwrap();
    assert_eq!(bytes_of(&view), [0, 0, 0, 1, 0, 0, 0, 0]);
    view.write_bool(3, false).unwrap();
    assert_eq!(bytes_of(&view), [0; 8]);
}

#[test]
fn a_decimal_lies_as_lo_mid_hi_flags_and_only_valid_flags_are_read() {
    let view = accessor(40);
    let value = Decimal { lo: 0x0403_0201, mid: 0x0807_0605, hi: 0x0C0B_0A09, flags: 0x8002_0000 };
    view.write(3, value).unwrap();
    let words = [value.lo, value.mid, value.hi, value.flags].map(u32::to_ne_bytes);
    assert_eq!(bytes_of(&view)[3..19], *words.as_flattened());
    assert_eq!(Decimal::read(&view, 3).unwrap(), value);
    for flags in [0, 0x8000_0000, 28 << 16, 0x8000_0000 | 28 << 16] {
        view.write(15, flags).unwrap();
        assert_eq!(Decimal::read(&view, 3).unwrap().flags, flags);
    }
    for flags in [29 << 16, 0xFF << 16, 1, 0x8000, 0x0100_0000, 0x4000_0000, u32::MAX] {
        view.write(15, flags).unwrap();
        assert_eq!(kind(Decimal::read(&view, 3)), ErrorKind::InvalidArgument, "{flags:#x}");
    }
    assert_eq!(failure(Decimal::read(&view, 25)), POSITION);
    assert_eq!(failure(Decimal::read(&view, 40)), POSITION_RANGE);
}

#[test]
fn a_position_at_the_end_is_out_of_range_and_one_too_near_it_is_invalid() {
    let view = accessor(16);
    let before = bytes_of(&view);
    for position in [16, 17, 1 << 32, i64::MAX as u64, u64::MAX] {
        assert_eq!(failure(view.read::<u8>(position)), POSITION_RANGE);
        assert_eq!(failure(view.read::<u64>(position)), POSITION_RANGE);
        assert_eq!(failure(view.write(position, 1u8)), POSITION_RANGE);
        assert_eq!(failure(view.read_bool(position)), POSITION_RANGE);
        assert_eq!(failure(view.write_bool(position, true)), POSITION_RANGE);
        assert_eq!(failure(view.load::<AtomicU8>(position)), POSITION_RANGE);
        assert_eq!(failure(word::<AtomicU8>(&view, position)), POSITION_RANGE);
        assert_eq!(failure(view.read_array(position, &mut [0u8])), POSITION_RANGE);
        assert_eq!(failure(view.write_array(position, &[1u8])), POSITION_RANGE);
    }
    for position in 9..16 {
        assert_eq!(failure(view.read::<u64>(position)), POSITION);
        assert_eq!(failure(view.write(position, u64::MAX)), POSITION);
    }
    assert_eq!(failure(view.load::<AtomicU64>(9)), POSITION);
    assert!(view.read::<u64>(8).is_ok());
    assert!(view.read::<u8>(15).is_ok());
    assert_eq!(bytes_of(&view), before, "a refused write changed something");
}

#[test]
fn array_elements_lie_at_dotnets_distances() {
    let view = accessor(64);
    view.write_array(1, &[1u8, 2, 3]).unwrap();
    assert_eq!(bytes_of(&view)[..5], [0, 1, 2, 3, 0]);
    view.write_array(1, &[0x0101u16, 0x0202]).unwrap();
    assert_eq!(bytes_of(&view)[..6], [0, 1, 1, 2, 2, 0]);
    // Three bytes take four, five take eight; the gaps stay as they were.
    let view = accessor(64);
    view.write_array(2, &[[1u8; 3], [2; 3]]).unwrap();
    assert_eq!(bytes_of(&view)[..10], [0, 0, 1, 1, 1, 0, 2, 2, 2, 0]);
    let mut back = [[0u8; 3]; 2];
    assert_eq!(view.read_array(2, &mut back).unwrap(), 2);
    assert_eq!(back, [[1; 3], [2; 3]]);
    let view = accessor(64);
    view.write_array(0, &[[7u8; 5], [8; 5]]).unwrap();
    assert_eq!(bytes_of(&view)[..14], [7, 7, 7, 7, 7, 0, 0, 0, 8, 8, 8, 8, 8, 0]);
    let mut back = [[0u8; 5]; 2];
    view.read_array(0, &mut back).unwrap();
    assert_eq!(back, [[7; 5], [8; 5]]);
}

#[test]
fn read_array_gives_as_many_elements_as_fit() {
    let view = accessor(18);
    view.write_array(0, &(0..18).collect::<Vec<u8>>()).unwrap();
    let mut words = [0xFFFF_FFFFu32; 8];
    assert_eq!(view.read_array(2, &mut words).unwrap(), 4);
    assert_eq!(words[4..], [0xFFFF_FFFF; 4], "what was not read stays");
    assert_eq!(words[3].to_ne_bytes(), [14, 15, 16, 17]);
    assert_eq!(view.read_array(3, &mut words).unwrap(), 3);
    assert_eq!(view.read_array(15, &mut words).unwrap(), 0);
    assert_eq!(view.read_array(0, &mut words[..2]).unwrap(), 2);
    assert_eq!(view.read_array(0, &mut words[..0]).unwrap(), 0);
    // 16 bytes from 2 hold four elements of 3 bytes, each of which takes 4; 15 hold three.
    let mut threes = [[0u8; 3]; 8];
    assert_eq!(view.read_array(2, &mut threes).unwrap(), 4);
    assert_eq!(view.read_array(3, &mut threes).unwrap(), 3);
}

#[test]
fn write_array_writes_nothing_when_it_does_not_fit() {
    let view = accessor(18);
    let before = bytes_of(&view);
    let refused = (ErrorKind::InvalidArgument, "array");
    assert_eq!(failure(view.write_array(0, &[0xFFu8; 19])), refused);
    assert_eq!(failure(view.write_array(17, &[0xFFu8; 2])), refused);
    assert_eq!(failure(view.write_array(0, &[u32::MAX; 5])), refused);
    assert_eq!(failure(view.write_array(3, &[[0xFFu8; 3]; 4])), refused);
    assert_eq!(bytes_of(&view), before);
    view.write_array(2, &[u32::MAX; 4]).unwrap();
    view.write_array(17, &[0u32; 0]).unwrap();
    assert_eq!(bytes_of(&view), [[0; 2].as_slice(), &[0xFF; 16]].concat());
}

// Atomics.

#[test]
fn an_atomic_word_must_lie_aligned_in_memory() {
    let map = MemoryMappedFile::anonymous(64).unwrap();
    for offset in [0, 1, 8] {
        let view = map.create_view_accessor(offset, 32).unwrap();
        for position in 0..24u64 {
            let aligned = |size: u64| (offset + position).is_multiple_of(size);
            let expect = |size: u64| if aligned(size) { None } else { Some(POSITION) };
            macro_rules! check {
                ($($atomic:ty),*) => {$(
                    let expected = expect(size_of::<$atomic>() as u64);
                    assert_eq!(view.load::<$atomic>(position).err().map(|e| failure::<()>(Err(e))), expected);
                    assert_eq!(word::<$atomic>(&view, position).err().map(|e| failure::<()>(Err(e))), expected);
                )*};
            }
            check!(AtomicU8, AtomicU16, AtomicU32, AtomicU64, AtomicI64);
        }
    }
}

#[test]
fn a_read_view_loads_atomically_and_lends_no_atomic() {
    let map = MemoryMappedFile::anonymous(64).unwrap();
    let writer = map.create_view_accessor(0, 0).unwrap();
    let reader = map.create_view_accessor_with(0, 0, Access::Read).unwrap();
    word::<AtomicU64>(&writer, 8).unwrap().store(u64::MAX - 1, Ordering::Release);
    assert_eq!(reader.load::<AtomicU64>(8).unwrap(), u64::MAX - 1);
    assert_eq!(reader.load::<AtomicI64>(8).unwrap(), -2);
    assert_eq!(kind(word::<AtomicU64>(&reader, 8)), ErrorKind::AccessDenied);
    // Also where the memory itself is not writable.
    let map = MapOptions::new().access(Access::Read).anonymous(64).unwrap();
    let reader = map.create_view_accessor_with(0, 0, Access::Read).unwrap();
    assert_eq!(reader.load::<AtomicU64>(0).unwrap(), 0);
}

#[test]
fn threads_count_together_through_views_of_their_own() {
    const ROUNDS: u64 = 10_000;
    let map = MemoryMappedFile::anonymous(64).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            let view = map.create_view_accessor(0, 0).unwrap();
            scope.spawn(move || {
                for _ in 0..ROUNDS {
                    word::<AtomicU64>(&view, 8).unwrap().fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!(map.create_view_accessor(0, 0).unwrap().load::<AtomicU64>(8).unwrap(), 3 * ROUNDS);
}

// Streams.

#[test]
fn a_stream_has_a_fixed_length() {
    let mut view = stream(100);
    for len in [0, 1, 100, 101, u64::MAX] {
        assert_eq!(kind(view.set_len(len)), ErrorKind::Unsupported);
    }
    assert_eq!((view.len(), view.capacity(), view.position()), (100, 100, 0));
}

#[test]
fn a_write_past_the_end_writes_nothing() {
    let mut view = stream(10);
    view.write_all(b"12345678").unwrap();
    let refused = |view: &mut ViewStream, from: &[u8]| {
        assert_eq!(view.write(from).unwrap_err().kind(), std::io::ErrorKind::Unsupported);
    };
    // Part of it would fit.
    refused(&mut view, b"abc");
    assert_eq!(view.position(), 8);
    view.seek(SeekFrom::Start(10)).unwrap();
    refused(&mut view, b"a");
    view.seek(SeekFrom::Start(1000)).unwrap();
    refused(&mut view, b"a");
    view.rewind().unwrap();
    refused(&mut view, &[b'x'; 11]);
    let mut all = Vec::new();
    view.read_to_end(&mut all).unwrap();
    assert_eq!(all, b"12345678\0\0");
    view.seek(SeekFrom::Start(8)).unwrap();
    assert_eq!(view.write(b"90").unwrap(), 2);
}

#[test]
fn a_position_beyond_the_end_is_allowed_and_a_read_there_gives_nothing() {
    let mut view = stream(10);
    for position in [10, 11, 1 << 40, i64::MAX as u64, u64::MAX] {
        assert_eq!(view.seek(SeekFrom::Start(position)).unwrap(), position);
        assert_eq!(view.position(), position);
        assert_eq!(view.read(&mut [0; 4]).unwrap(), 0);
        assert_eq!(view.fill_buf().unwrap(), b"");
        assert_eq!(view.read_to_end(&mut Vec::new()).unwrap(), 0);
        assert_eq!(view.position(), position);
        assert!(view.write(&[1]).is_err());
    }
}

#[test]
fn seeks_before_the_start_or_beyond_all_numbers_fail_and_move_nothing() {
    let mut view = stream(10);
    view.seek(SeekFrom::Start(5)).unwrap();
    for to in
        [SeekFrom::Current(-6), SeekFrom::End(-11), SeekFrom::Current(i64::MIN), SeekFrom::End(i64::MIN)]
    {
        assert_eq!(view.seek(to).unwrap_err().kind(), std::io::ErrorKind::InvalidInput);
        assert_eq!(view.position(), 5);
    }
    assert_eq!(view.seek(SeekFrom::Current(-5)).unwrap(), 0);
    assert_eq!(view.seek(SeekFrom::End(-10)).unwrap(), 0);
    assert_eq!(view.seek(SeekFrom::End(i64::MAX)).unwrap(), 10 + i64::MAX as u64);
    view.seek(SeekFrom::Start(u64::MAX)).unwrap();
    assert!(view.seek(SeekFrom::Current(1)).is_err());
    assert!(view.seek(SeekFrom::Current(i64::MAX)).is_err());
    assert_eq!(view.position(), u64::MAX);
    assert_eq!(view.seek(SeekFrom::Current(-1)).unwrap(), u64::MAX - 1);
}

#[test]
fn lines_are_read_across_the_buffers_end_and_between_other_reads() {
    let mut view = stream(30_000);
    let line = "x".repeat(10_000);
    writeln!(view, "{line}").unwrap();
    writeln!(view, "second").unwrap();
    writeln!(view, "!third").unwrap();
    view.rewind().unwrap();
    let mut text = String::new();
    assert_eq!(view.read_line(&mut text).unwrap(), 10_001);
    text.clear();
    view.read_line(&mut text).unwrap();
    assert_eq!(text, "second\n");
    let mut one = [0];
    view.read_exact(&mut one).unwrap();
    assert_eq!(one, *b"!");
    text.clear();
    view.read_line(&mut text).unwrap();
    assert_eq!((text.as_str(), view.position()), ("third\n", 10_001 + 7 + 7));
}

#[test]
fn a_stream_shows_its_own_writes_in_its_buffer() {
    let mut view = stream(20);
    assert_eq!(view.fill_buf().unwrap(), [0; 20]);
    view.write_all(b"ab").unwrap();
    view.rewind().unwrap();
    assert_eq!(view.fill_buf().unwrap()[..3], *b"ab\0");
    // Written without moving back: what lies ahead was in the buffer before.
    view.consume(1);
    view.write_all(b"BC").unwrap();
    view.seek(SeekFrom::Current(-1)).unwrap();
    assert_eq!(view.fill_buf().unwrap()[..2], *b"C\0");
}

// Against models, under any sequence of operations.

#[derive(Clone, Debug)]
enum Step {
    Read(usize),
    Write(Vec<u8>),
    SeekStart(u64),
    SeekCurrent(i64),
    SeekEnd(i64),
    /// Looks at the buffer and takes this many thousandths of it.
    Consume(usize),
    Line,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let near = -40i64..40;
    let by = || prop_oneof![8 => near.clone(), 1 => -20_000..20_000i64, 1 => any::<i64>()];
    let size = || prop_oneof![9 => 0..50usize, 1 => 0..10_000usize];
    let step = prop_oneof![
        size().prop_map(Step::Read),
        size().prop_flat_map(|len| prop::collection::vec(any::<u8>(), len)).prop_map(Step::Write),
        prop_oneof![9 => 0..60u64, 2 => 0..20_000u64, 1 => any::<u64>()].prop_map(Step::SeekStart),
        by().prop_map(Step::SeekCurrent),
        by().prop_map(Step::SeekEnd),
        (0..=1000usize).prop_map(Step::Consume),
        Just(Step::Line),
    ];
    prop::collection::vec(step, 1..60)
}

fn apply(step: Step, view: &mut ViewStream, model: &mut Cursor<&mut [u8]>) -> Result<(), TestCaseError> {
    match step {
        Step::Read(len) => {
            let (mut a, mut b) = (vec![0xEE; len], vec![0xEE; len]);
            prop_assert_eq!(view.read(&mut a).unwrap(), model.read(&mut b).unwrap());
            prop_assert_eq!(a, b);
        }
        Step::Write(bytes) => {
            // The one difference: a cursor writes what fits.
            let room = (model.get_ref().len() as u64).saturating_sub(model.position());
            let fits = bytes.len() as u64 <= room;
            let written = view.write(&bytes);
            prop_assert_eq!(written.is_ok(), fits);
            if fits {
                prop_assert_eq!(written.unwrap(), model.write(&bytes).unwrap());
            }
        }
        Step::SeekStart(to) => {
            prop_assert_eq!(view.seek(SeekFrom::Start(to)).ok(), model.seek(SeekFrom::Start(to)).ok());
        }
        Step::SeekCurrent(by) => {
            prop_assert_eq!(view.seek(SeekFrom::Current(by)).ok(), model.seek(SeekFrom::Current(by)).ok());
        }
        Step::SeekEnd(by) => {
            prop_assert_eq!(view.seek(SeekFrom::End(by)).ok(), model.seek(SeekFrom::End(by)).ok());
        }
        Step::Consume(parts) => {
            let shown = view.fill_buf().unwrap().to_vec();
            let whole = model.fill_buf().unwrap();
            prop_assert_eq!(shown.is_empty(), whole.is_empty());
            prop_assert_eq!(&shown[..], &whole[..shown.len()]);
            let amount = shown.len() * parts / 1000;
            view.consume(amount);
            model.consume(amount);
        }
        Step::Line => {
            let (mut a, mut b) = (Vec::new(), Vec::new());
            let read = view.read_until(b'\n', &mut a).unwrap();
            prop_assert_eq!(read, model.read_until(b'\n', &mut b).unwrap());
            prop_assert_eq!(a, b);
        }
    }
    prop_assert_eq!(view.position(), model.position());
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_stream_does_what_a_cursor_over_a_fixed_buffer_does(
        size in prop_oneof![1..60usize, 8180..8200usize, 16_000..20_000usize],
        offset in 0..9u64,
        steps in steps(),
    ) {
        let map = MemoryMappedFile::anonymous(size as u64 + offset + 8).unwrap();
        let around = map.create_view_accessor(0, 0).unwrap();
        around.write_array(0, &vec![0xA5u8; size + offset as usize + 8]).unwrap();
        let mut view = map.create_view_stream(offset, size as u64).unwrap();
        let mut buffer = vec![0xA5; size];
        let mut model = Cursor::new(&mut buffer[..]);
        for step in steps {
            apply(step, &mut view, &mut model)?;
        }
        let bytes = bytes_of(&around);
        let (before, rest) = bytes.split_at(offset as usize);
        let (inside, after) = rest.split_at(size);
        prop_assert_eq!(inside, &buffer[..]);
        prop_assert!(before.iter().chain(after).all(|byte| *byte == 0xA5), "wrote outside the view");
    }
}

#[derive(Clone, Debug)]
enum Touch {
    Read { size: usize },
    Write { bytes: Vec<u8> },
    ReadArray { size: usize, count: usize },
    WriteArray { size: usize, bytes: Vec<u8> },
}

fn touches() -> impl Strategy<Value = Vec<(u64, Touch)>> {
    let sizes = || prop::sample::select(vec![1usize, 2, 3, 4, 5, 8, 16]);
    let touch = prop_oneof![
        sizes().prop_map(|size| Touch::Read { size }),
        sizes()
            .prop_flat_map(|size| prop::collection::vec(any::<u8>(), size))
            .prop_map(|bytes| Touch::Write { bytes }),
        (sizes(), 0..20usize).prop_map(|(size, count)| Touch::ReadArray { size, count }),
        (sizes(), 0..20usize).prop_flat_map(|(size, count)| {
            let bytes = prop::collection::vec(any::<u8>(), size * count);
            bytes.prop_map(move |bytes| Touch::WriteArray { size, bytes })
        }),
    ];
    let position = prop_oneof![20 => 0..70u64, 1 => any::<u64>()];
    prop::collection::vec((position, touch), 1..60)
}

/// Applies one operation with elements of `N` bytes; the model's rules are written out from the contract.
fn touch<const N: usize>(
    view: &ViewAccessor,
    model: &mut [u8],
    position: u64,
    touch: &Touch,
) -> Result<(), TestCaseError>
where
    [u8; N]: bytemuck::Pod,
{
    let stride = if N <= 2 { N } else { N.div_ceil(4) * 4 };
    let inside = usize::try_from(position).ok().filter(|at| *at < model.len());
    let room = inside.map_or(0, |at| model.len() - at);
    let expected = |fits: bool| match (inside, fits) {
        (None, _) => Some(ErrorKind::OutOfRange),
        (Some(_), false) => Some(ErrorKind::InvalidArgument),
        (Some(_), true) => None,
    };
    match touch {
        Touch::Read { .. } => {
            let read = view.read::<[u8; N]>(position);
            prop_assert_eq!(read.as_ref().err().map(handover::Error::kind), expected(N <= room));
            if let (Ok(read), Some(at)) = (read, inside) {
                prop_assert_eq!(&read[..], &model[at..at + N]);
            }
        }
        Touch::Write { bytes } => {
            let written = view.write(position, <[u8; N]>::try_from(&bytes[..]).unwrap());
            prop_assert_eq!(written.as_ref().err().map(handover::Error::kind), expected(N <= room));
            if let (Ok(()), Some(at)) = (written, inside) {
                model[at..at + N].copy_from_slice(bytes);
            }
        }
        Touch::ReadArray { count, .. } => {
            let mut elements = vec![[0xEE; N]; *count];
            let read = view.read_array(position, &mut elements);
            prop_assert_eq!(read.as_ref().err().map(handover::Error::kind), expected(true));
            if let (Ok(read), Some(at)) = (read, inside) {
                prop_assert_eq!(read, (room / stride).min(*count));
                for (index, element) in elements.iter().enumerate() {
                    let from = at + index * stride;
                    let there = if index < read { &model[from..from + N] } else { &[0xEE; N][..] };
                    prop_assert_eq!(&element[..], there);
                }
            }
        }
        Touch::WriteArray { bytes, .. } => {
            let (elements, []) = bytes.as_chunks::<N>() else { unreachable!("whole elements") };
            let written = view.write_array(position, elements);
            let fits = elements.len() * stride <= room;
            prop_assert_eq!(written.as_ref().err().map(handover::Error::kind), expected(fits));
            if let (Ok(()), Some(at)) = (written, inside) {
                for (index, element) in elements.iter().enumerate() {
                    model[at + index * stride..][..N].copy_from_slice(element);
                }
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_accessor_does_what_a_plain_buffer_does(
        size in 1..64usize,
        offset in 0..9usize,
        touches in touches(),
    ) {
        let map = MemoryMappedFile::anonymous((size + offset + 8) as u64).unwrap();
        let around = map.create_view_accessor(0, 0).unwrap();
        around.write_array(0, &vec![0xA5u8; size + offset + 8]).unwrap();
        let view = map.create_view_accessor(offset as u64, size as u64).unwrap();
        let mut model = vec![0xA5; size];
        for (position, what) in touches {
            let width = match &what {
                Touch::Write { bytes } => bytes.len(),
                Touch::Read { size } | Touch::ReadArray { size, .. } | Touch::WriteArray { size, .. } => *size,
            };
            let model = &mut model[..];
            match width {
                1 => touch::<1>(&view, model, position, &what)?,
                2 => touch::<2>(&view, model, position, &what)?,
                3 => touch::<3>(&view, model, position, &what)?,
                4 => touch::<4>(&view, model, position, &what)?,
                5 => touch::<5>(&view, model, position, &what)?,
                8 => touch::<8>(&view, model, position, &what)?,
                _ => touch::<16>(&view, model, position, &what)?,
            }
        }
        let bytes = bytes_of(&around);
        prop_assert_eq!(&bytes[offset..offset + size], &model[..]);
        let outside = bytes[..offset].iter().chain(&bytes[offset + size..]);
        prop_assert!(outside.copied().all(|byte| byte == 0xA5), "wrote outside the view");
    }
}
