//! Proves the plain layout of `PlainMapper`: the bytes are those that a C# program writes and reads, nothing
//! remains of a longer value, a value that does not fit leaves the old one, nobody sees half of a value, a
//! secret does not appear in errors, and no bytes make a read panic.

mod contract_common;

use std::sync::atomic::{AtomicU32, Ordering};

use contract_common::{kind, own_dir, within};
use handover::codec::{Bytes, Codec, Json, Text};
use handover::map::{Access, ViewAccessor};
use handover::mapper::PlainOptions;
use handover::{Auth, Error, ErrorKind, PlainMapper};
use handover_tests::found_capacity;
use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

const SECRET: &str = "s3cr3t-t0k3n";

fn mapping(dir: &TempDir) -> PlainOptions {
    PlainOptions::new().map(within(dir))
}

/// A map and two views of it: a mapper, and the raw bytes as a program without this library has them.
fn mapped<T, C: Codec<T>>(dir: &TempDir, capacity: u64) -> (PlainMapper<T, C>, ViewAccessor) {
    let mapper = mapping(dir).capacity(capacity).create_or_open("n").unwrap();
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

/// Writes like the C# recipe: wipes the map, then puts the text at the start.
fn write_raw(view: &ViewAccessor, bytes: &[u8]) {
    view.write_array(0, &vec![0u8; view.capacity() as usize]).unwrap();
    view.write_array(0, bytes).unwrap();
}

// What lies where.

#[test]
fn json_lies_at_the_start_and_the_rest_is_zero() {
    let dir = own_dir();
    let (mapper, raw) = mapped::<Auth, Json>(&dir, 4096);
    mapper.set(&Auth::new("token")).unwrap();
    check_bytes(&raw, br#"{"Bearer":"token"}"#);
    assert_eq!(mapper.get().unwrap().unwrap().bearer(), "token");
    assert_eq!(mapper.get_text().unwrap().unwrap().as_str(), r#"{"Bearer":"token"}"#);
}

#[test]
fn a_shorter_rewrite_leaves_no_tail() {
    let dir = own_dir();
    let (mapper, raw) = mapped::<String, Text>(&dir, 10_000);
    for len in [10_000, 9_999, 8_192, 8_191, 4_097, 100, 9, 8, 7, 2, 1, 500] {
        let value = "v".repeat(len);
        mapper.set(&value).unwrap();
        check_bytes(&raw, value.as_bytes());
        assert_eq!(mapper.get().unwrap().unwrap(), value);
    }
}

#[test]
fn a_value_of_exactly_the_capacity_goes_in() {
    let dir = own_dir();
    let (mapper, raw) = mapped::<Auth, Json>(&dir, 18);
    assert_eq!(mapper.capacity(), 18);
    mapper.set(&Auth::new("token")).unwrap();
    check_bytes(&raw, br#"{"Bearer":"token"}"#);
    assert_eq!(mapper.get().unwrap().unwrap().bearer(), "token");
}

#[test]
fn a_value_that_is_too_large_names_both_numbers_and_the_old_one_stays() {
    let dir = own_dir();
    let (mapper, raw) = mapped::<Auth, Json>(&dir, 18);
    mapper.set(&Auth::new("token")).unwrap();
    let error = mapper.set(&Auth::new("token!")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ValueTooLarge);
    let text = error.to_string();
    assert!(text.contains("takes 19 bytes") && text.contains("room for 18"), "{text}");
    check_bytes(&raw, br#"{"Bearer":"token"}"#);
    assert_eq!(mapper.get().unwrap().unwrap().bearer(), "token");
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
    mapper.set(&Fails(5)).unwrap();
    assert_eq!(kind(mapper.set(&Fails(0))), ErrorKind::Encode);
    check_bytes(&raw, b"5");
    assert_eq!(mapper.get().unwrap().unwrap().0, 5);
}

#[test]
fn the_value_starts_at_the_offset_and_what_is_before_stays() {
    let dir = own_dir();
    let map = within(&dir).create_new("n", 300).unwrap();
    let raw = map.create_view_accessor(0, 0).unwrap();
    raw.write_array(0, &[0xAAu8; 300]).unwrap();
    let mapper = mapping(&dir).offset(100).capacity(300).create_or_open::<Auth, Json>("n").unwrap();
    let end = found_capacity(300);
    assert_eq!(mapper.capacity(), end - 100);
    mapper.set(&Auth::new("token")).unwrap();
    let bytes = bytes_of(&raw);
    assert_eq!(bytes[..100], [0xAA; 100]);
    assert_eq!(bytes[100..118], *br#"{"Bearer":"token"}"#);
    assert_eq!(bytes[118..], [0; 182]);
    assert_eq!(
        mapping(&dir).offset(100).open_existing::<Auth, Json>("n").unwrap().get().unwrap().unwrap().bearer(),
        "token"
    );
    for offset in [end, end + 1, u64::MAX] {
        assert_eq!(
            kind(mapping(&dir).offset(offset).open_existing::<Auth, Json>("n")),
            ErrorKind::OutOfRange
        );
    }
}

#[test]
fn text_and_bytes_lie_as_they_are() {
    let dir = own_dir();
    let (mapper, raw) = mapped::<String, Text>(&dir, 100);
    mapper.set(&"grüße \"…\" 😀".to_owned()).unwrap();
    check_bytes(&raw, "grüße \"…\" 😀".as_bytes());
    assert_eq!(mapper.get().unwrap().unwrap(), "grüße \"…\" 😀");
    let dir = own_dir();
    let (mapper, raw) = mapped::<Vec<u8>, Bytes>(&dir, 100);
    mapper.set(&vec![1, 0, 0xFF, 0xFE, 7]).unwrap();
    check_bytes(&raw, &[1, 0, 0xFF, 0xFE, 7]);
    assert_eq!(mapper.get().unwrap().unwrap(), [1, 0, 0xFF, 0xFE, 7]);
    assert_eq!(kind(mapper.get_text()), ErrorKind::Decode);
}

#[test]
fn numbers_booleans_and_lists_lie_as_json() {
    fn check<T>(value: &T, json: &str)
    where
        T: Serialize + serde::de::DeserializeOwned + PartialEq + std::fmt::Debug,
    {
        let dir = own_dir();
        let (mapper, raw) = mapped::<T, Json>(&dir, 64);
        mapper.set(value).unwrap();
        check_bytes(&raw, json.as_bytes());
        assert_eq!(mapper.get().unwrap().unwrap(), *value);
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
        // System.Text.Json escapes everything beyond ASCII and what is special in HTML.
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
        assert_eq!(mapper.get().unwrap().unwrap().bearer(), bearer);
        assert_eq!(mapper.get_text().unwrap().unwrap().as_str(), json);
    }
}

#[test]
fn nuls_before_and_after_the_value_are_trimmed_as_the_recipe_does() {
    let dir = own_dir();
    let (mapper, raw) = mapped::<Auth, Json>(&dir, 64);
    write_raw(&raw, b"\0\0\0{\"Bearer\":\"x\"}\0\0");
    assert_eq!(mapper.get().unwrap().unwrap().bearer(), "x");
    assert_eq!(mapper.get_text().unwrap().unwrap().as_str(), r#"{"Bearer":"x"}"#);
    // Also for text and bytes, whose own NULs at the ends the layout can't tell from its filling.
    let dir = own_dir();
    let (mapper, _) = mapped::<Vec<u8>, Bytes>(&dir, 64);
    mapper.set(&vec![0, 1, 0, 2, 0]).unwrap();
    assert_eq!(mapper.get().unwrap().unwrap(), [1, 0, 2]);
}

#[test]
fn a_map_without_a_value_says_so() {
    let dir = own_dir();
    let (mapper, raw) = mapped::<Auth, Json>(&dir, 64);
    assert!(mapper.get().unwrap().is_none());
    assert!(mapper.get_text().unwrap().is_none());
    mapper.set(&Auth::new("x")).unwrap();
    assert!(mapper.get().unwrap().is_some());
    write_raw(&raw, b"");
    assert!(mapper.get().unwrap().is_none());
    let dir = own_dir();
    let (mapper, _) = mapped::<String, Text>(&dir, 64);
    mapper.set(&"text".to_owned()).unwrap();
    mapper.set(&String::new()).unwrap();
    assert!(mapper.get().unwrap().is_none());
}

#[test]
fn what_a_writer_that_died_left_is_incomplete_until_the_next_write() {
    let dir = own_dir();
    let (mapper, raw) = mapped::<Auth, Json>(&dir, 64);
    mapper.set(&Auth::new("old")).unwrap();
    raw.write(0, 0xFFu8).unwrap();
    assert_eq!(kind(mapper.get()), ErrorKind::Incomplete);
    assert_eq!(kind(mapper.get_text()), ErrorKind::Incomplete);
    mapper.set(&Auth::new("new")).unwrap();
    assert_eq!(mapper.get().unwrap().unwrap().bearer(), "new");
}

#[test]
fn bytes_that_look_like_the_mark_of_a_dead_writer_are_not_taken() {
    let dir = own_dir();
    let (mapper, _) = mapped::<Vec<u8>, Bytes>(&dir, 64);
    mapper.set(&vec![1]).unwrap();
    assert_eq!(kind(mapper.set(&vec![0xFF, 0xD8, 0xFF])), ErrorKind::Encode);
    assert_eq!(mapper.get().unwrap().unwrap(), [1]);
}

#[test]
fn a_reader_needs_the_right_to_read_only_and_cannot_write() {
    let dir = own_dir();
    let (writer, _) = mapped::<Auth, Json>(&dir, 64);
    writer.set(&Auth::new("x")).unwrap();
    let read_only = PlainOptions::new().map(within(&dir).access(Access::Read));
    let reader = read_only.open_existing::<Auth, Json>("n").unwrap();
    assert_eq!(reader.get().unwrap().unwrap().bearer(), "x");
    assert_eq!(kind(reader.set(&Auth::new("y"))), ErrorKind::AccessDenied);
    assert_eq!(writer.get().unwrap().unwrap().bearer(), "x");
}

#[test]
fn a_value_on_a_file_outlives_its_mapper() {
    let dir = own_dir();
    let path = dir.path().join("file");
    let options = PlainOptions::new();
    assert_eq!(kind(options.open_existing::<Auth, Json>(&path)), ErrorKind::NotFound);
    let mapper = options.clone().capacity(64).create_or_open::<Auth, Json>(&path).unwrap();
    mapper.set(&Auth::new("x")).unwrap();
    drop(mapper);
    assert_eq!(std::fs::read(&path).unwrap()[..14], *br#"{"Bearer":"x"}"#);
    let again = options.open_existing::<Auth, Json>(&path).unwrap();
    assert_eq!(again.get().unwrap().unwrap().bearer(), "x");
    drop(again);
    // A smaller capacity does not cut it.
    let smaller = options.clone().capacity(1).create_or_open::<Auth, Json>(&path).unwrap();
    assert_eq!((smaller.capacity(), smaller.get().unwrap().unwrap().bearer()), (64, "x"));
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
        let error = mapper.get().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Decode, "{error}");
        check_silent(&error);
    }
    write_raw(&raw, &[SECRET.as_bytes(), &[0xC3, 0x28]].concat());
    check_silent(&mapper.get().unwrap_err());
    let error = mapper.get_text().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Decode);
    check_silent(&error);
    // Another type, which serde's own message would quote.
    let number = mapping(&dir).open_existing::<u32, Json>("n").unwrap();
    write_raw(&raw, format!("\"{SECRET}\"").as_bytes());
    check_silent(&number.get().unwrap_err());
    check_silent(&mapper.set(&Auth::new(SECRET.repeat(1000))).unwrap_err());
}

#[test]
fn debug_shows_no_token() {
    let auth = Auth::new(SECRET);
    let shown = format!("{auth:?} {auth:#?}");
    assert!(!shown.contains(SECRET), "{shown}");
    let dir = own_dir();
    let (mapper, _) = mapped::<Auth, Json>(&dir, 64);
    mapper.set(&auth).unwrap();
    assert!(!format!("{mapper:?}").contains(SECRET));
}

#[test]
fn a_token_is_wiped_from_memory_when_it_is_dropped() {
    fn wiped_on_drop<T: zeroize::ZeroizeOnDrop>() {}

    // Reading freed memory to check this would be unsound. The trait is the promise, and this is what it
    // calls.
    wiped_on_drop::<Auth>();
    let mut auth = Auth::new(SECRET);
    zeroize::Zeroize::zeroize(&mut auth);
    assert_eq!(auth.bearer(), "");
}

// At the same time.

/// A value that notices when it is a mix of two.
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
    let first = mapping(&dir).capacity(32_768).create_or_open::<Checked, Json>("n").unwrap();
    first.set(&Checked::new(0)).unwrap();
    let next = AtomicU32::new(1);
    std::thread::scope(|scope| {
        for own_handle in [false, true] {
            let own = own_handle.then(|| mapping(&dir).open_existing::<Checked, Json>("n").unwrap());
            let first = &first;
            let next = &next;
            scope.spawn(move || {
                let mapper = own.as_ref().unwrap_or(first);
                for _ in 0..WRITES {
                    mapper.set(&Checked::new(next.fetch_add(1, Ordering::Relaxed))).unwrap();
                }
            });
            let own = own_handle.then(|| mapping(&dir).open_existing::<Checked, Json>("n").unwrap());
            scope.spawn(move || {
                let mapper = own.as_ref().unwrap_or(first);
                for _ in 0..READS {
                    mapper.get().unwrap().unwrap().check();
                }
            });
        }
    });
    first.get().unwrap().unwrap().check();
}

// Whatever lies there.

fn read_all(mapper: &PlainMapper<Auth>, dir: &TempDir) -> Result<(), TestCaseError> {
    let options = mapping(dir);
    let results = [
        mapper.get().map(drop),
        mapper.get_text().map(drop),
        options.open_existing::<serde_json::Value, Json>("n").unwrap().get().map(drop),
        options.open_existing::<Vec<String>, Json>("n").unwrap().get().map(drop),
        options.open_existing::<f64, Json>("n").unwrap().get().map(drop),
        options.open_existing::<String, Text>("n").unwrap().get().map(drop),
        options.open_existing::<Vec<u8>, Bytes>("n").unwrap().get().map(drop),
    ];
    for error in results.into_iter().filter_map(Result::err) {
        let expected = [ErrorKind::Incomplete, ErrorKind::Decode];
        prop_assert!(expected.contains(&error.kind()), "{}", error);
    }
    Ok(())
}

/// Bytes that get further than noise: pieces of JSON among noise.
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
        mapper.set(&Auth::new("x")).unwrap();
        prop_assert!(mapper.get().unwrap().unwrap().bearer() == "x");
    }

    #[test]
    fn any_text_comes_back_as_it_went_in(bearer in any::<String>(), capacity in 1..2000u64) {
        let dir = own_dir();
        let (mapper, raw) = mapped::<Auth, Json>(&dir, capacity);
        let auth = Auth::new(bearer);
        let json = serde_json::to_vec(&auth).unwrap();
        match mapper.set(&auth) {
            Ok(()) => {
                check_bytes(&raw, &json);
                prop_assert!(mapper.get().unwrap().unwrap() == auth);
            }
            Err(error) => {
                prop_assert_eq!(error.kind(), ErrorKind::ValueTooLarge);
                prop_assert!(json.len() as u64 > capacity);
                prop_assert!(mapper.get().unwrap().is_none());
            }
        }
    }
}

#[test]
fn deep_nesting_is_an_error_and_not_a_stack_overflow() {
    let dir = own_dir();
    let (_mapper, raw) = mapped::<Auth, Json>(&dir, 1 << 20);
    write_raw(&raw, &vec![b'['; 1 << 20]);
    let value = mapping(&dir).open_existing::<serde_json::Value, Json>("n").unwrap();
    assert_eq!(kind(value.get()), ErrorKind::Decode);
}
