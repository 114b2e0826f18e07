//! `{:?}` of what the library hands out never shows a value, whatever it holds. Nor does any error.

use std::fmt::Debug;
use std::time::Duration;

use handover::cell::Cell;
use handover::codec::{AnyCodec, Bytes, Codec, Json, MessagePack, Rkyv, Text, Untyped};
use handover::map::MemoryMappedFile;
use handover::mapper::UntypedMapper;
use handover::{Auth, Error, MemoryMapper, PlainMapper};

/// So long that no other text contains it by chance.
const SECRET: &str = "hunter2hunter2hunter2";

/// Looks for the secret as text, and as a list of numbers, in both forms of `Debug`.
#[track_caller]
fn hides(what: &impl Debug) {
    let numbers: Vec<_> = SECRET.bytes().map(|byte| byte.to_string()).collect();
    for shown in [format!("{what:?}"), format!("{what:#?}")] {
        assert!(!shown.contains(SECRET), "{shown}");
        let spaceless: String = shown.split_whitespace().collect();
        assert!(!spaceless.contains(&numbers.join(",")), "{shown}");
    }
}

/// An error and all its sources.
#[track_caller]
fn hides_in_error(error: &Error) {
    let mut next: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = next {
        hides(&error);
        hides(&format_args!("{error}"));
        next = error.source();
    }
}

fn name_for(test: &str) -> String {
    format!("debug of {test}, {}", std::process::id())
}

#[test]
fn the_test_itself_finds_a_secret() {
    for leak in [Box::new(SECRET) as Box<dyn Debug>, Box::new(SECRET.as_bytes())] {
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| hides(&leak))).is_err());
    }
}

#[test]
fn mappers_and_what_they_hand_out() {
    let name = &name_for("mappers");
    let mapper = MemoryMapper::<Auth>::create_new(name).unwrap();
    mapper.set(&Auth::new(SECRET)).unwrap();
    assert_eq!(mapper.get_shared().unwrap().unwrap().bearer(), SECRET);
    hides(&mapper);
    let mut reader = mapper.reader();
    hides(&reader.get().unwrap().unwrap());
    hides(&reader);

    let text = MemoryMapper::<String>::create_new(&name_for("text")).unwrap();
    text.set(&SECRET.to_owned()).unwrap();
    text.get_shared().unwrap();
    hides(&text);
    let mut reader = text.reader();
    reader.get().unwrap();
    hides(&reader);
    let mut watch = text.watch();
    let change = watch.next().unwrap().unwrap();
    assert_eq!(change.value.as_deref(), Some(SECRET));
    hides(&change);
    hides(&watch);
    let mut lease = text.lease(Duration::ZERO).unwrap();
    lease.set(&SECRET.to_owned()).unwrap();
    hides(&lease);
    hides(lease.writer());
    drop(lease);

    let plain = PlainMapper::<String>::create_new(&name_for("plain")).unwrap();
    plain.set(&SECRET.to_owned()).unwrap();
    hides(&plain);
    let plain = PlainMapper::<Untyped, AnyCodec>::create_new(&name_for("plain bytes")).unwrap();
    plain.set(&Untyped::new(Text::ID, SECRET.as_bytes().to_vec())).unwrap();
    hides(&plain.get().unwrap().unwrap());
}

#[test]
fn untyped_values() {
    let mapper = UntypedMapper::create_new(&name_for("untyped")).unwrap();
    let value = Untyped::new(Bytes::ID, SECRET.as_bytes().to_vec());
    hides(&value);
    mapper.set(&value).unwrap();
    assert_eq!(mapper.get_shared().unwrap().unwrap().bytes, value.bytes);
    hides(&mapper);
    hides(&mapper.get().unwrap());
    hides(&mapper.watch().next().unwrap().unwrap());
}

#[test]
fn streams_of_changes() {
    use std::task::{Context, Poll, Waker};
    let mapper = MemoryMapper::<String>::create_new(&name_for("a stream")).unwrap();
    mapper.set(&SECRET.to_owned()).unwrap();
    let mut changes = mapper.changes();
    let Poll::Ready(Some(Ok(change))) = changes.poll_changed(&mut Context::from_waker(Waker::noop())) else {
        panic!("a value is there");
    };
    assert_eq!(change.value.as_deref(), Some(SECRET));
    hides(&change);
    hides(&changes);
}

#[test]
fn archives() {
    let mapper = MemoryMapper::<String, Rkyv>::create_new(&name_for("archives")).unwrap();
    mapper.set(&SECRET.to_owned()).unwrap();
    let archived = mapper.get_archived().unwrap().unwrap();
    assert_eq!(archived.as_str(), SECRET);
    hides(&archived);
    // SAFETY: only this test can write to the map.
    let mut reader = unsafe { mapper.trust_writers() }.unwrap();
    assert_eq!(reader.load().unwrap().unwrap().as_str(), SECRET);
    hides(&reader);
    hides(&reader.hold().unwrap().unwrap());
}

#[test]
fn cells_and_maps() {
    let cell = Cell::make_in(MemoryMappedFile::anonymous(1 << 20).unwrap()).unwrap();
    let mut writer = cell.try_writer().unwrap().unwrap();
    writer
        .publish_with(SECRET.len(), |buffer| {
            std::io::Write::write_all(buffer, SECRET.as_bytes())?;
            hides(buffer);
            Ok(())
        })
        .unwrap();
    hides(&writer);
    hides(&writer.value().unwrap().unwrap());
    hides(&cell);
    hides(&cell.copy().unwrap().unwrap());
    let mut reader = cell.reader();
    hides(&reader.load().unwrap().unwrap());
    hides(&reader);
    // SAFETY: only this test can write to the cell.
    let mut trusting = unsafe { cell.reader().trust_writers() };
    assert!(trusting.load().unwrap().is_some());
    hides(&trusting);
    hides(&trusting.hold().unwrap().unwrap());

    let map = MemoryMappedFile::anonymous(4096).unwrap();
    let view = map.create_view_accessor(0, 0).unwrap();
    view.write_array(0, SECRET.as_bytes()).unwrap();
    hides(&view);
    hides(&map.create_view_stream(0, 0).unwrap());
    hides(&map);
}

#[derive(serde::Serialize, serde::Deserialize)]
enum Choice {
    One,
}

/// Reveals more than it should when it can't be written or read.
struct Talkative;

impl serde::Serialize for Talkative {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom(format!("can't write {SECRET}")))
    }
}

impl<'de> serde::Deserialize<'de> for Talkative {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = <String as serde::Deserialize>::deserialize(from)?;
        Err(serde::de::Error::custom(format!("can't read {text}")))
    }
}

/// Tries to read `bytes` as a `T`, which must fail.
#[track_caller]
fn refuses<T, C: Codec<T>>(codec: u32, bytes: &[u8]) {
    hides_in_error(&C::decode(bytes).err().expect("these bytes are no such value"));
    let name = &name_for(&format!("{} at {}", C::NAME, std::panic::Location::caller()));
    let raw = UntypedMapper::create_new(name).unwrap();
    raw.set(&Untyped::new(codec, bytes.to_vec())).unwrap();
    let mapper = MemoryMapper::<T, C>::open_existing(name).unwrap();
    for error in [
        mapper.get().err(),
        mapper.get_shared().err(),
        mapper.reader().get().err(),
        mapper.watch().next().and_then(Result::err),
        mapper.update(|value| value).err(),
        mapper.take().err(),
        mapper.wait(Duration::ZERO).err(),
    ] {
        hides_in_error(&error.expect("it can't be read"));
    }
}

#[test]
fn errors_of_failed_decodes() {
    let json = format!("{SECRET:?}");
    // serde's own message quotes: invalid type: string "…", expected u32.
    refuses::<u32, Json>(Json::ID, json.as_bytes());
    // And: unknown variant `…`, expected `One`.
    refuses::<Choice, Json>(Json::ID, json.as_bytes());
    refuses::<Talkative, Json>(Json::ID, json.as_bytes());
    refuses::<String, Json>(Json::ID, SECRET.as_bytes());
    refuses::<u32, Json>(Text::ID, json.as_bytes());

    let packed = <MessagePack as Codec<String>>::encode(&SECRET.to_owned()).unwrap();
    refuses::<u32, MessagePack>(MessagePack::ID, &packed);
    refuses::<Choice, MessagePack>(MessagePack::ID, &packed);
    refuses::<Talkative, MessagePack>(MessagePack::ID, &packed);

    refuses::<String, Text>(Text::ID, &[SECRET.as_bytes(), &[0xFF]].concat());
    refuses::<Vec<String>, Rkyv>(Rkyv::ID, SECRET.as_bytes());
}

#[test]
fn errors_of_failed_encodes() {
    let talkative = MemoryMapper::<Talkative>::create_new(&name_for("JSON")).unwrap();
    hides_in_error(&talkative.set(&Talkative).unwrap_err());
    let talkative = MemoryMapper::<Talkative, MessagePack>::create_new(&name_for("MessagePack")).unwrap();
    hides_in_error(&talkative.set(&Talkative).unwrap_err());
    let talkative = PlainMapper::<Talkative>::create_new(&name_for("plain errors")).unwrap();
    hides_in_error(&talkative.set(&Talkative).unwrap_err());
}
