//! Proves the plain layout of `MemoryMapper`: the bytes are those that a C# program writes and reads, nothing is
//! left of a longer value, a value that does not go in leaves the old one, nobody sees half of one, a secret does
//! not appear in errors, and no bytes at all make a read panic.

mod contract_common;

use std::sync::atomic::{AtomicU32, Ordering};

use contract_common::{kind, own_dir, within};
use handover::codec::{Bytes, Codec, Json, Text};
use handover::{Access, Auth, Error, ErrorKind, MapperOptions, MemoryMapper, ViewAccessor};
use handover_tests::found_capacity;
use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

const SECRET: &str = "s3cr3t-t0k3n";

fn mapping(dir: &TempDir) -> MapperOptions {
    MapperOptions::new().plain().map(within(dir))
}

/// A map and two views of it: a mapper, and the raw bytes as a program without this library has them.
fn mapped<T, C: Codec<T>>(dir: &TempDir, capacity: u64) -> (MemoryMapper<T, C>, ViewAccessor) {
    let mapper = mapping(dir).create_as("n", capacity).unwrap();
    let raw = within(dir).open_existing("n").unwrap().create_view_accessor(0, 0).unwrap();
    (mapper, raw)
}

fn bytes_of(view: &ViewAccessor) -> Vec<u8> {
    let mut bytes = vec![0u8; view.capacity() as usize];
    view.read_array(0, &mut bytes).unwrap();
    bytes
}

/// The bytes of the map must be `start` and zeroes after it.
#[track_caller]
fn check_bytes(view: &ViewAccessor, start: &[u8]) {
    let bytes = bytes_of(view);
    assert_eq!(&bytes[..start.len()], start);
    assert!(bytes[start.len()..].iter().all(|byte| *byte == 0), "junk after the value");
}

/// Writes as the C# recipe does: the text at the start, after wiping the map.
fn write_raw(view: &ViewAccessor, bytes: &[u8]) {
    view.write_array(0, &vec![0u8; view.capacity() as usize]).unwrap();
    view.write_array(0, bytes).unwrap();
}

// What lies where.

#[test]
fn json_lies_at_the_start_and_the_rest_is_zero() {
    let dir = own_dir();
    let (mapper, raw) = mapped::<Auth, Json>(&dir, 4096);
    mapper.write(&Auth::new("token")).unwrap();
    check_bytes(&raw, br#"{"Bearer":"token"}"#);
    assert_eq!(mapper.read().unwrap().bearer(), "token");
    assert_eq!(mapper.read_string().unwrap().as_str(), r#"{"Bearer":"token"}"#);
}

#[test]
fn a_shorter_rewrite_leaves_no_tail() {
    let dir = own_dir();
    let (mapper, raw) = mapped::<String, Text>(&dir, 10_000);
    for len in [10_000, 9_999, 8_192, 8_191, 4_097, 100, 9, 8, 7, 2, 1, 500] {
        let value = "v".repeat(len);
        mapper.write(&value).unwrap();
        check_bytes(&raw, value.as_bytes());
        assert_eq!(mapper.read().unwrap(), value);
    }
}

#[test]
fn a_value_of_exactly_the_capacity_goes_in() {
    let dir = own_dir();
    let (mapper, raw) = mapped::<Auth, Json>(&dir, 18);
    assert_eq!(mapper.capacity(), 18);
    mapper.write(&Auth::new("token")).unwrap();
    check_bytes(&raw, br#"{"Bearer":"token"}"#);
    assert_eq!(mapper.read().unwrap().bearer(), "token");
}

#[test]
fn a_value_that_is_too_large_names_both_numbers_and_the_old_one_stays() {
    let dir = own_dir();
    let (mapper, raw) = mapped::<Auth, Json>(&dir, 18);
    mapper.write(&Auth::new("token")).unwrap();
    let error = mapper.write(&Auth::new("token!")).unwrap_err();
    assert!(matches!(error, Error::ValueTooLarge { size: 19, capacity: 18, .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("19") && text.contains("18"), "{text}");
    check_bytes(&raw, br#"{"Bearer":"token"}"#);
    assert_eq!(mapper.read().unwrap().bearer(), "token");
}

#[test]
fn a_value_that_cannot_be_encoded_leaves_the_old_one() {
    #[derive(Deserialize)]
    struct Fails(u8);

    impl Serialize for Fails {
        fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
            if self.0 == 0 { Err(serde::ser::Error::custom("no form")) } else { to.serialize_u8(self.0) }
        }
    }

    let dir = own_dir();
    let (mapper, raw) = mapped::<Fails, Json>(&dir, 64);
    mapper.write(&Fails(5)).unwrap();
    assert_eq!(kind(mapper.write(&Fails(0))), ErrorKind::Encode);
    check_bytes(&raw, b"5");
    assert_eq!(mapper.read().unwrap().0, 5);
}

#[test]
fn the_value_starts_at_the_offset_and_what_is_before_stays() {
    let dir = own_dir();
    let map = within(&dir).create_new("n", 300).unwrap();
    let raw = map.create_view_accessor(0, 0).unwrap();
    raw.write_array(0, &[0xAAu8; 300]).unwrap();
    let mapper = mapping(&dir).offset(100).create::<Auth>("n", 300).unwrap();
    let end = found_capacity(300);
    assert_eq!(mapper.capacity(), end - 100);
    mapper.write(&Auth::new("token")).unwrap();
    let bytes = bytes_of(&raw);
    assert_eq!(bytes[..100], [0xAA; 100]);
    assert_eq!(bytes[100..118], *br#"{"Bearer":"token"}"#);
    assert_eq!(bytes[118..], [0; 182]);
    assert_eq!(mapping(&dir).offset(100).open::<Auth>("n").unwrap().read().unwrap().bearer(), "token");
    for offset in [end, end + 1, u64::MAX] {
        assert_eq!(kind(mapping(&dir).offset(offset).open::<Auth>("n")), ErrorKind::OutOfRange);
    }
}

#[test]
fn text_and_bytes_lie_as_they_are() {
    let dir = own_dir();
    let (mapper, raw) = mapped::<String, Text>(&dir, 100);
    mapper.write(&"grüße \"…\" 😀".to_owned()).unwrap();
    check_bytes(&raw, "grüße \"…\" 😀".as_bytes());
    assert_eq!(mapper.read().unwrap(), "grüße \"…\" 😀");
    let dir = own_dir();
    let (mapper, raw) = mapped::<Vec<u8>, Bytes>(&dir, 100);
    mapper.write(&vec![1, 0, 0xFF, 0xFE, 7]).unwrap();
    check_bytes(&raw, &[1, 0, 0xFF, 0xFE, 7]);
    assert_eq!(mapper.read().unwrap(), [1, 0, 0xFF, 0xFE, 7]);
    assert_eq!(kind(mapper.read_string()), ErrorKind::Decode);
}

#[test]
fn numbers_booleans_and_lists_lie_as_json() {
    fn check<T>(value: &T, json: &str)
    where
        T: Serialize + serde::de::DeserializeOwned + PartialEq + std::fmt::Debug,
    {
        let dir = own_dir();
        let (mapper, raw) = mapped::<T, Json>(&dir, 64);
        mapper.write(value).unwrap();
        check_bytes(&raw, json.as_bytes());
        assert_eq!(mapper.read().unwrap(), *value);
    }
    check(&0u8, "0");
    check(&u64::MAX, "18446744073709551615");
    check(&i64::MIN, "-9223372036854775808");
    check(&0.1f64, "0.1");
    check(&true, "true");
    check(&Some("text".to_owned()), r#""text""#);
    check(&None::<String>, "null");
    check(&vec![1, 2, 3], "[1,2,3]");
}

// With programs that do not use this library.

#[test]
fn what_a_csharp_program_writes_is_read() {
    let dir = own_dir();
    let (mapper, raw) = mapped::<Auth, Json>(&dir, 4096);
    let cases = [
        (r#"{"Bearer":"abc.def.ghi"}"#, "abc.def.ghi"),
        // System.Text.Json escapes everything beyond ASCII and what HTML minds.
        (r#"{"Bearer":"gr\u00FC\u00dfe \u002B\u003C\u0026 \uD83D\uDE00 \u0022"}"#, "grüße +<& 😀 \""),
        // With a relaxed encoder it does not.
        (r#"{"Bearer":"grüße +<& 😀 \""}"#, "grüße +<& 😀 \""),
        // Indented, and with a member that is not ours.
        ("{\r\n  \"Other\": null,\r\n  \"Bearer\": \"x\"\r\n}", "x"),
        (r#"{"Bearer":""}"#, ""),
        // From a StreamWriter with Encoding.UTF8: a byte order mark comes first.
        ("\u{FEFF}{\"Bearer\":\"x\"}", "x"),
    ];
    for (json, bearer) in cases {
        write_raw(&raw, json.as_bytes());
        assert_eq!(mapper.read().unwrap().bearer(), bearer);
        assert_eq!(mapper.read_string().unwrap().as_str(), json);
    }
}

#[test]
fn nuls_before_and_after_the_value_are_trimmed_as_the_recipe_does() {
    let dir = own_dir();
    let (mapper, raw) = mapped::<Auth, Json>(&dir, 64);
    write_raw(&raw, b"\0\0\0{\"Bearer\":\"x\"}\0\0");
    assert_eq!(mapper.read().unwrap().bearer(), "x");
    assert_eq!(mapper.read_string().unwrap().as_str(), r#"{"Bearer":"x"}"#);
    // Also for text and bytes, whose own NULs at the ends the layout can't tell from its filling.
    let dir = own_dir();
    let (mapper, _) = mapped::<Vec<u8>, Bytes>(&dir, 64);
    mapper.write(&vec![0, 1, 0, 2, 0]).unwrap();
    assert_eq!(mapper.read().unwrap(), [1, 0, 2]);
}

#[test]
fn a_map_without_a_value_says_so() {
    let dir = own_dir();
    let (mapper, raw) = mapped::<Auth, Json>(&dir, 64);
    assert_eq!(kind(mapper.read()), ErrorKind::NoValue);
    assert_eq!(kind(mapper.read_string()), ErrorKind::NoValue);
    mapper.write(&Auth::new("x")).unwrap();
    assert!(mapper.read().is_ok());
    write_raw(&raw, b"");
    assert_eq!(kind(mapper.read()), ErrorKind::NoValue);
    let dir = own_dir();
    let (mapper, _) = mapped::<String, Text>(&dir, 64);
    mapper.write(&"text".to_owned()).unwrap();
    mapper.write(&String::new()).unwrap();
    assert_eq!(kind(mapper.read()), ErrorKind::NoValue);
}

#[test]
fn what_a_writer_that_died_left_is_incomplete_until_the_next_write() {
    let dir = own_dir();
    let (mapper, raw) = mapped::<Auth, Json>(&dir, 64);
    mapper.write(&Auth::new("old")).unwrap();
    raw.write(0, 0xFFu8).unwrap();
    assert_eq!(kind(mapper.read()), ErrorKind::Incomplete);
    assert_eq!(kind(mapper.read_string()), ErrorKind::Incomplete);
    mapper.write(&Auth::new("new")).unwrap();
    assert_eq!(mapper.read().unwrap().bearer(), "new");
}

#[test]
fn bytes_that_look_like_the_mark_of_a_dead_writer_are_not_taken() {
    let dir = own_dir();
    let (mapper, _) = mapped::<Vec<u8>, Bytes>(&dir, 64);
    mapper.write(&vec![1]).unwrap();
    assert_eq!(kind(mapper.write(&vec![0xFF, 0xD8, 0xFF])), ErrorKind::Encode);
    assert_eq!(mapper.read().unwrap(), [1]);
}

#[test]
fn a_reader_needs_the_right_to_read_only_and_cannot_write() {
    let dir = own_dir();
    let (writer, _) = mapped::<Auth, Json>(&dir, 64);
    writer.write(&Auth::new("x")).unwrap();
    let read_only = MapperOptions::new().plain().map(within(&dir).access(Access::Read));
    let reader = read_only.open::<Auth>("n").unwrap();
    assert_eq!(reader.read().unwrap().bearer(), "x");
    assert_eq!(kind(reader.write(&Auth::new("y"))), ErrorKind::Unsupported);
    assert_eq!(writer.read().unwrap().bearer(), "x");
}

#[test]
fn a_value_on_a_file_outlives_its_mapper() {
    let dir = own_dir();
    let path = dir.path().join("file");
    let options = MapperOptions::new().plain();
    assert_eq!(kind(options.open_file::<Auth, Json>(&path)), ErrorKind::NotFound);
    let mapper = options.create_on_file::<Auth, Json>(&path, 64).unwrap();
    mapper.write(&Auth::new("x")).unwrap();
    drop(mapper);
    assert_eq!(std::fs::read(&path).unwrap()[..14], *br#"{"Bearer":"x"}"#);
    let again = options.open_file::<Auth, Json>(&path).unwrap();
    assert_eq!(again.read().unwrap().bearer(), "x");
    drop(again);
    // A smaller capacity does not cut it.
    let smaller = options.create_on_file::<Auth, Json>(&path, 1).unwrap();
    assert_eq!((smaller.capacity(), smaller.read().unwrap().bearer()), (64, "x"));
}

// Secrets.

#[track_caller]
fn check_silent(error: &Error) {
    let said = format!("{error} {error:?} {error:#?}");
    assert!(!said.contains(SECRET), "{said}");
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        let said = format!("{inner} {inner:?}");
        assert!(!said.contains(SECRET), "{said}");
        source = inner.source();
    }
}

#[test]
fn errors_never_repeat_what_was_stored() {
    let dir = own_dir();
    let (mapper, raw) = mapped::<Auth, Json>(&dir, 4096);
    let stored = [
        SECRET.to_owned(),
        format!("\"{SECRET}\""),
        format!("[\"{SECRET}\",\"{SECRET}\"]"),
        format!("{{\"{SECRET}\":1}}"),
        format!("{{\"Bearer\":{{\"{SECRET}\":\"{SECRET}\"}}}}"),
        format!("{{\"Bearer\":\"{SECRET}"),
        format!("{{\"Bearer\":\"{SECRET}\"}} {SECRET}"),
        format!("{{\"Bearer\":\"{SECRET}\",\"Bearer\":\"{SECRET}\"}}"),
        format!("{{\"Bearer\":\"{SECRET}\\x\"}}"),
    ];
    for json in stored {
        write_raw(&raw, json.as_bytes());
        let error = mapper.read().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Decode, "{error}");
        check_silent(&error);
    }
    write_raw(&raw, &[SECRET.as_bytes(), &[0xC3, 0x28]].concat());
    check_silent(&mapper.read().unwrap_err());
    let error = mapper.read_string().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Decode);
    check_silent(&error);
    // Another type, which serde's own message would quote.
    let number = mapping(&dir).open::<u32>("n").unwrap();
    write_raw(&raw, format!("\"{SECRET}\"").as_bytes());
    check_silent(&number.read().unwrap_err());
    check_silent(&mapper.write(&Auth::new(SECRET.repeat(1000))).unwrap_err());
}

#[test]
fn debug_shows_no_token() {
    let auth = Auth::new(SECRET);
    let shown = format!("{auth:?} {auth:#?}");
    assert!(!shown.contains(SECRET), "{shown}");
    let dir = own_dir();
    let (mapper, _) = mapped::<Auth, Json>(&dir, 64);
    mapper.write(&auth).unwrap();
    assert!(!format!("{mapper:?}").contains(SECRET));
}

#[test]
fn a_token_is_wiped_from_memory_when_it_is_dropped() {
    fn wiped_on_drop<T: zeroize::ZeroizeOnDrop>() {}

    // Reading freed memory to see it would be unsound; the trait is the promise, and this is what it calls.
    wiped_on_drop::<Auth>();
    let mut auth = Auth::new(SECRET);
    zeroize::Zeroize::zeroize(&mut auth);
    assert_eq!(auth.bearer(), "");
}

// At the same time.

/// A value that notices when it was put together from two.
#[derive(Serialize, Deserialize)]
struct Checked {
    number: u32,
    filling: String,
    number_again: u32,
}

impl Checked {
    /// Lengths differ from value to value, by kilobytes.
    fn new(number: u32) -> Self {
        let letter = char::from(b'a' + (number % 26) as u8);
        let len = 1 + (number.wrapping_mul(7919) % 20_000) as usize;
        Self { number, filling: letter.to_string().repeat(len), number_again: number }
    }

    #[track_caller]
    fn check(&self) {
        let whole = Self::new(self.number);
        assert!(self.number_again == self.number && self.filling == whole.filling, "a torn value");
    }
}

#[test]
fn readers_and_writers_at_the_same_time_never_see_a_torn_value() {
    const WRITES: u32 = 200;
    const READS: u32 = 300;
    let dir = own_dir();
    let first = mapping(&dir).create::<Checked>("n", 32_768).unwrap();
    first.write(&Checked::new(0)).unwrap();
    let next = AtomicU32::new(1);
    std::thread::scope(|scope| {
        for own_handle in [false, true] {
            let own = own_handle.then(|| mapping(&dir).open::<Checked>("n").unwrap());
            let first = &first;
            let next = &next;
            scope.spawn(move || {
                let mapper = own.as_ref().unwrap_or(first);
                for _ in 0..WRITES {
                    mapper.write(&Checked::new(next.fetch_add(1, Ordering::Relaxed))).unwrap();
                }
            });
            let own = own_handle.then(|| mapping(&dir).open::<Checked>("n").unwrap());
            scope.spawn(move || {
                let mapper = own.as_ref().unwrap_or(first);
                for _ in 0..READS {
                    mapper.read().unwrap().check();
                }
            });
        }
    });
    first.read().unwrap().check();
}

// Whatever lies there.

fn read_all(mapper: &MemoryMapper<Auth>, dir: &TempDir) -> Result<(), TestCaseError> {
    let options = mapping(dir);
    let results = [
        mapper.read().map(drop),
        mapper.read_string().map(drop),
        options.open::<serde_json::Value>("n").unwrap().read().map(drop),
        options.open::<Vec<String>>("n").unwrap().read().map(drop),
        options.open::<f64>("n").unwrap().read().map(drop),
        options.open_as::<String, Text>("n").unwrap().read().map(drop),
        options.open_as::<Vec<u8>, Bytes>("n").unwrap().read().map(drop),
    ];
    for error in results.into_iter().filter_map(Result::err) {
        let expected = [ErrorKind::NoValue, ErrorKind::Incomplete, ErrorKind::Decode];
        prop_assert!(expected.contains(&error.kind()), "{}", error);
    }
    Ok(())
}

/// Bytes that get further than noise does: pieces of JSON among noise.
fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        prop::sample::select(vec![
            &b"{\"Bearer\":\""[..],
            b"\"}",
            b"\\u",
            b"\\ud83d",
            b"[[[[[[[[",
            b"1e999999",
            b"\0",
            b"\xFF",
            b"null,",
            b"-",
        ])
        .prop_map(<[u8]>::to_vec),
        prop::collection::vec(any::<u8>(), 0..12),
    ];
    prop::collection::vec(piece, 0..20).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    #[test]
    fn any_bytes_are_a_value_or_an_error(bytes in hostile()) {
        let dir = own_dir();
        let (mapper, raw) = mapped::<Auth, Json>(&dir, 512);
        write_raw(&raw, &bytes);
        read_all(&mapper, &dir)?;
        // And the next write makes it whole again.
        mapper.write(&Auth::new("x")).unwrap();
        prop_assert!(mapper.read().unwrap().bearer() == "x");
    }

    #[test]
    fn any_text_comes_back_as_it_went_in(bearer in any::<String>(), capacity in 1..2000u64) {
        let dir = own_dir();
        let (mapper, raw) = mapped::<Auth, Json>(&dir, capacity);
        let auth = Auth::new(bearer);
        let json = serde_json::to_vec(&auth).unwrap();
        match mapper.write(&auth) {
            Ok(()) => {
                check_bytes(&raw, &json);
                prop_assert!(mapper.read().unwrap() == auth);
            }
            Err(error) => {
                prop_assert_eq!(error.kind(), ErrorKind::ValueTooLarge);
                prop_assert!(json.len() as u64 > capacity);
                prop_assert_eq!(mapper.read().map(drop).unwrap_err().kind(), ErrorKind::NoValue);
            }
        }
    }
}

#[test]
fn deep_nesting_is_an_error_and_not_a_stack_overflow() {
    let dir = own_dir();
    let (_mapper, raw) = mapped::<Auth, Json>(&dir, 1 << 20);
    write_raw(&raw, &vec![b'['; 1 << 20]);
    let value = mapping(&dir).open::<serde_json::Value>("n").unwrap();
    assert_eq!(kind(value.read()), ErrorKind::Decode);
}
