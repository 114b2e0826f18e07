//! An error about a value that can't be decoded says where it differs and what was expected there, and shows
//! neither the value nor a key of a map.

use std::collections::BTreeMap;

use handover::codec::{AnyCodec, Codec, Json, MessagePack, Untyped};
use handover::{ErrorKind, MapperOptions, MemoryMapper};
use handover_tests::{OwnDir, names_in, own_dir};
use serde::Deserialize;
use serde::Serialize;
use serde_json::{Value, json};

/// Stands in every value, and in no message.
const SECRET: &str = "s3cr3t";

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    servers: Vec<Server>,
    #[serde(default)]
    users: BTreeMap<String, User>,
    mode: Option<Mode>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Server {
    host: String,
    port: u16,
}

#[derive(Debug, Serialize, Deserialize)]
struct User {
    age: u8,
}

#[derive(Debug, Serialize, Deserialize)]
enum Mode {
    Off,
    Fixed(u8),
    Range { low: u8, high: u8 },
    Nested(Box<Mode>),
}

fn server(port: &Value) -> Value {
    json!({"servers": [{"host": SECRET, "port": 80}, {"host": SECRET, "port": port}]})
}

/// The message about `value` as a `Config`, in both codecs.
fn messages(value: &Value) -> [String; 2] {
    let packed = <MessagePack as Codec<Value>>::encode(value).unwrap();
    [Json::decode(value.to_string().as_bytes()), MessagePack::decode(&packed)].map(
        |decoded: handover::Result<Config>| {
            let error = decoded.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Decode);
            assert!(!error.to_string().contains(SECRET) && !format!("{error:?}").contains(SECRET), "{error}");
            assert!(std::error::Error::source(&error).is_none());
            error.to_string()
        },
    )
}

#[track_caller]
fn says(value: &Value, told: &str) {
    let [json, packed] = messages(value);
    assert!(json.contains(told), "{told:?} is not in: {json}");
    // MessagePack's reader does not tell what it found where it reads another type.
    let told = told.split(", found ").next().unwrap_or(told);
    assert!(packed.contains(told), "{told:?} is not in: {packed}");
}

#[test]
fn the_path_and_what_was_expected_there() {
    says(&server(&json!(SECRET)), "at .servers[1].port: expected u16, found a string");
    says(&server(&json!(true)), "at .servers[1].port: expected u16, found a boolean");
    says(&server(&json!(70_123)), "at .servers[1].port: expected u16, found an integer that does not fit");
    says(&json!(SECRET), "expected struct Config, found a string");
    says(&json!({"servers": SECRET}), "at .servers: expected a sequence, found a string");
    for message in messages(&server(&json!(70_123))) {
        assert!(!message.contains("70123"), "{message}");
    }
}

#[test]
fn a_missing_field_and_one_too_many_are_told_apart() {
    says(&json!({"servers": [{"host": SECRET}]}), "at .servers[0]: missing field `port`");
    let unknown = "unknown field; expected one of `servers`, `users`, `mode`";
    says(&json!({"servers": [], (SECRET): 1}), unknown);
    let text = format!(r#"{{"servers": [], "servers": [{{"host": "{SECRET}", "port": 1}}]}}"#);
    let twice = <Json as Codec<Config>>::decode(text.as_bytes()).unwrap_err().to_string();
    assert!(twice.contains("duplicate field `servers`"), "{twice}");
}

#[test]
fn keys_of_maps_are_not_shown_and_what_lies_beneath_them_is() {
    let value = json!({"servers": [], "users": {(SECRET): {"age": 300}}});
    says(&value, "at .users[…].age: expected u8, found an integer that does not fit");
}

#[test]
fn variants_are_part_of_the_path() {
    let mode = |mode: Value| json!({"servers": [], "mode": mode});
    says(&mode(json!({"Fixed": SECRET})), "at .mode.Fixed: expected u8, found a string");
    says(
        &mode(json!({"Range": {"low": 1, "high": SECRET}})),
        "at .mode.Range.high: expected u8, found a string",
    );
    says(&mode(json!({"Nested": {"Nested": {"Fixed": 300}}})), "at .mode.Nested.Nested.Fixed: expected u8");
    says(
        &mode(json!(SECRET)),
        "at .mode: unknown variant; expected one of `Off`, `Fixed`, `Range`, `Nested`",
    );
}

/// Writes into its errors what it reads, in forms that look like serde's own.
struct Forger;

impl<'de> Deserialize<'de> for Forger {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        Err(serde::de::Error::custom(format!("invalid type: string \"\", expected {text}")))
    }
}

impl Serialize for Forger {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        unreachable!("nobody writes one")
    }
}

#[test]
fn what_a_type_says_in_its_own_words_is_not_shown() {
    let json = json!([SECRET]).to_string();
    let packed = <MessagePack as Codec<Value>>::encode(&json!([SECRET])).unwrap();
    let all: [handover::Result<Vec<Forger>>; 2] =
        [Json::decode(json.as_bytes()), MessagePack::decode(&packed)];
    for error in all.map(|decoded| decoded.err().unwrap().to_string()) {
        assert!(error.contains("at [0]: a value that the type refuses"), "{error}");
        assert!(!error.contains(SECRET), "{error}");
    }
}

#[test]
fn quotes_in_the_value_end_no_quotation() {
    let forged = format!("\\\", expected {SECRET}\", expected {SECRET}");
    says(&server(&json!(forged)), "at .servers[1].port: expected u16, found a string");
    says(
        &json!({"servers": [], "mode": format!("x`, expected `{SECRET}`")}),
        "at .mode: unknown variant; expected one of `Off`",
    );
}

#[derive(Serialize, Deserialize)]
struct Deep {
    inside: Option<Box<Deep>>,
}

/// A thread of the standard library has 2 MiB of stack.
#[test]
fn the_deepest_value_can_be_explained_in_a_thread_s_stack() {
    let explain = || {
        let text = format!("{}7{}", r#"{"inside":"#.repeat(125), "}".repeat(125));
        let error = <Json as Codec<Deep>>::decode(text.as_bytes()).err().unwrap().to_string();
        assert!(error.contains("inside.inside: expected struct Deep, found an integer"), "{error}");
    };
    std::thread::spawn(explain).join().unwrap();
}

fn in_directory(directory: &OwnDir) -> MapperOptions {
    MapperOptions::new().map(names_in(directory.path()))
}

#[test]
fn the_full_text_is_an_option() {
    let directory = own_dir();
    let raw = in_directory(&directory).create_or_open::<Untyped, AnyCodec>("n").unwrap();
    raw.set(&Untyped::new(Json::ID, server(&json!(SECRET)).to_string().into_bytes())).unwrap();

    let plain: MemoryMapper<Config> = in_directory(&directory).open_existing("n").unwrap();
    let told = plain.get().unwrap_err().to_string();
    assert!(
        told.contains("map 'n'") && told.contains("at .servers[1].port:") && !told.contains(SECRET),
        "{told}"
    );

    let full: MemoryMapper<Config> = in_directory(&directory).full_errors(true).open_existing("n").unwrap();
    let errors = [
        full.get().unwrap_err(),
        full.get_shared().unwrap_err(),
        full.reader().get().unwrap_err(),
        full.watch().next().unwrap().unwrap_err(),
    ];
    for error in errors {
        let told = error.to_string();
        assert!(told.contains(&format!("at .servers[1].port: invalid type: string \"{SECRET}\"")), "{told}");
    }
}

/// Where the type refuses what the format had read to its end, the format knows of no line.
#[test]
fn no_line_is_told_where_none_is_known() {
    let error = <Json as Codec<Forger>>::decode(b"\"x\"").err().unwrap().to_string();
    assert!(error.contains("a value that the type refuses") && !error.contains("line 0"), "{error}");
}
