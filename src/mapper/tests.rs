//! What no single file of the mapper shows: errors that name their map, handles for reading only, values of
//! any codec.

use std::fmt::Debug;
use std::time::Duration;

use serde::de::{self, Deserializer};
use serde::ser::{self, Serializer};
use serde::{Deserialize, Serialize};

use super::{MapperOptions, MemoryMapper, PlainMapper, PlainOptions, TypeName, UntypedMapper};
use crate::codec::{AnyCodec, Bytes, Json, Text, Untyped};
use crate::error::{Error, ErrorKind};
use crate::map::MapOptions;
use crate::terms::Access;

#[track_caller]
fn is_about(error: &Error, kind: ErrorKind, name: &str) {
    assert_eq!(error.kind(), kind, "{error}");
    let subject = error.subject().expect("it names its map").to_string();
    assert!(subject.contains(name), "{subject}");
    assert!(error.to_string().contains(name), "{error}");
}

/// A name of this process and test alone.
fn name_for(test: &str) -> String {
    format!("{test} of {}", std::process::id())
}

/// Can neither be written nor read.
struct Unwritable;

impl Serialize for Unwritable {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(ser::Error::custom("not this one"))
    }
}

impl<'de> Deserialize<'de> for Unwritable {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Err(de::Error::custom("not this one"))
    }
}

#[test]
fn debug_needs_nothing_of_the_value() {
    struct Bare;
    fn is_debug<T: Debug>() {}
    is_debug::<MemoryMapper<Bare, Bare>>();
    is_debug::<PlainMapper<Bare, Bare>>();
    is_debug::<super::MapperReader<Bare, Bare>>();
    is_debug::<super::Lease<'_, Bare, Bare>>();
    is_debug::<super::Watch<Bare, Bare>>();
    is_debug::<super::Events<Bare, Bare>>();
    is_debug::<super::Event<Bare>>();
    is_debug::<super::Change<Bare>>();
    #[cfg(feature = "async")]
    is_debug::<super::Changes<Bare, Bare>>();
}

struct Here;
impl TypeName for Here {
    const TYPE_NAME: &'static str = "here";
}
struct There;
impl TypeName for There {
    const TYPE_NAME: &'static str = "there";
}
struct Long;
impl TypeName for Long {
    const TYPE_NAME: &'static str = str_of_a::<257>();
}

#[test]
fn every_error_names_its_map() {
    let name = &name_for("errors");
    let text = MemoryMapper::<String>::create_new(name).unwrap();
    text.set(&"text".to_owned()).unwrap();

    let numbers = MemoryMapper::<u32>::open_existing(name).unwrap();
    for error in [
        numbers.get().unwrap_err(),
        numbers.get_shared().unwrap_err(),
        numbers.take().unwrap_err(),
        numbers.update(|number| number).unwrap_err(),
        numbers.wait(Duration::ZERO).unwrap_err(),
        numbers.reader().get().unwrap_err(),
        numbers.watch().next().unwrap().unwrap_err(),
    ] {
        is_about(&error, ErrorKind::Decode, name);
    }
    let other = MemoryMapper::<String, Text>::open_existing(name).unwrap();
    is_about(&other.get().unwrap_err(), ErrorKind::CodecMismatch, name);
    is_about(&other.reader().get().unwrap_err(), ErrorKind::CodecMismatch, name);

    let unwritable = MemoryMapper::<Unwritable>::open_existing(name).unwrap();
    let mut lease = unwritable.lease(Duration::ZERO).unwrap();
    let under_lease = lease.set(&Unwritable).unwrap_err();
    drop(lease);
    for error in [
        under_lease,
        unwritable.set(&Unwritable).unwrap_err(),
        unwritable.compare_and_set(unwritable.version(), &Unwritable).unwrap_err(),
    ] {
        is_about(&error, ErrorKind::Encode, name);
    }

    let here: MemoryMapper<String> = MapperOptions::new().named::<Here>().open_existing(name).unwrap();
    here.set(&String::new()).unwrap();
    let there: MemoryMapper<String> = MapperOptions::new().named::<There>().open_existing(name).unwrap();
    is_about(&there.get().unwrap_err(), ErrorKind::TypeMismatch, name);
    let long: MemoryMapper<String> = MapperOptions::new().named::<Long>().open_existing(name).unwrap();
    is_about(&long.set(&String::new()).unwrap_err(), ErrorKind::InvalidArgument, name);
    let bytes = MemoryMapper::<Vec<u8>, Bytes>::open_existing(name).unwrap();
    bytes.set(&vec![0xFF]).unwrap();
    is_about(&bytes.get_text().unwrap_err(), ErrorKind::Decode, name);
    bytes.clear().unwrap();
    is_about(&bytes.update(|value| value).unwrap_err(), ErrorKind::NoValue, name);
    is_about(&bytes.compare_and_set(0, &vec![]).unwrap_err(), ErrorKind::Conflict, name);
    is_about(&bytes.set(&vec![0; 100_000]).unwrap_err(), ErrorKind::ValueTooLarge, name);
}

/// A text of so many letters.
const fn str_of_a<const N: usize>() -> &'static str {
    const LETTERS: [u8; 512] = [b'a'; 512];
    let (first, _) = LETTERS.split_at(N);
    match str::from_utf8(first) {
        Ok(text) => text,
        Err(_) => unreachable!(),
    }
}

#[test]
fn every_error_of_the_plain_layout_names_its_map() {
    let name = &name_for("plain errors");
    let text = PlainMapper::<String, Text>::create_new(name).unwrap();
    text.set(&"text".to_owned()).unwrap();
    let numbers = PlainMapper::<u32>::open_existing(name).unwrap();
    is_about(&numbers.get().unwrap_err(), ErrorKind::Decode, name);
    is_about(&numbers.wait(Duration::ZERO).unwrap_err(), ErrorKind::Decode, name);
    let unwritable = PlainMapper::<Unwritable>::open_existing(name).unwrap();
    is_about(&unwritable.set(&Unwritable).unwrap_err(), ErrorKind::Encode, name);
    let bytes = PlainMapper::<Vec<u8>, Bytes>::open_existing(name).unwrap();
    is_about(&bytes.set(&vec![0xFF]).unwrap_err(), ErrorKind::Encode, name);
    bytes.set(&vec![1, 0xFF]).unwrap();
    is_about(&bytes.get_text().unwrap_err(), ErrorKind::Decode, name);
    is_about(&bytes.set(&vec![1; 100_000]).unwrap_err(), ErrorKind::ValueTooLarge, name);
    let far = PlainOptions::new().offset(1 << 40).open_existing::<u32, Json>(name);
    assert_eq!(far.unwrap_err().kind(), ErrorKind::OutOfRange);
}

#[cfg(feature = "rkyv")]
#[test]
fn every_error_of_archives_names_its_map() {
    use crate::codec::Rkyv;
    let name = &name_for("archive errors");
    let raw = UntypedMapper::create_new(name).unwrap();
    let mapper = MemoryMapper::<Vec<String>, Rkyv>::open_existing(name).unwrap();
    // SAFETY: only this test can write to the map.
    let mut reader = unsafe { mapper.trust_writers() }.unwrap();
    for (codec, kind) in [(Rkyv::ID, ErrorKind::Decode), (Json::ID, ErrorKind::CodecMismatch)] {
        raw.set(&Untyped::new(codec, b"text".to_vec())).unwrap();
        for error in [
            mapper.get().err().unwrap(),
            mapper.get_archived().err().unwrap(),
            reader.load().err().unwrap(),
            reader.hold().err().unwrap(),
        ] {
            is_about(&error, kind, name);
        }
    }
}

#[test]
fn a_read_only_map_denies_every_write() {
    let name = &name_for("read-only");
    let writer = MemoryMapper::<u32>::create_new(name).unwrap();
    writer.set(&1).unwrap();
    let read_only = MapOptions::new().access(Access::Read);
    let reader: MemoryMapper<u32> = MapperOptions::new().map(read_only.clone()).open_existing(name).unwrap();
    assert_eq!(reader.get().unwrap(), Some(1));
    for error in [
        reader.set(&2).unwrap_err(),
        reader.set_ttl(&2, Duration::from_secs(1)).unwrap_err(),
        reader.take().unwrap_err(),
        reader.update(|number| number).unwrap_err(),
        reader.compare_and_set(1, &2).unwrap_err(),
        reader.clear().unwrap_err(),
        reader.lease(Duration::ZERO).unwrap_err(),
    ] {
        is_about(&error, ErrorKind::AccessDenied, name);
    }
    #[cfg(feature = "rkyv")]
    {
        use crate::codec::Rkyv;
        let archives: MemoryMapper<u32, Rkyv> =
            MapperOptions::new().map(read_only.clone()).open_existing(name).unwrap();
        // SAFETY: only this test can write to the map.
        let refused = unsafe { archives.trust_writers() };
        is_about(&refused.unwrap_err(), ErrorKind::AccessDenied, name);
    }
    let name = &name_for("read-only plain");
    let writer = PlainMapper::<u32>::create_new(name).unwrap();
    writer.set(&1).unwrap();
    let reader: PlainMapper<u32> = PlainOptions::new().map(read_only).open_existing(name).unwrap();
    assert_eq!(reader.get().unwrap(), Some(1));
    is_about(&reader.set(&2).unwrap_err(), ErrorKind::AccessDenied, name);
    is_about(&reader.clear().unwrap_err(), ErrorKind::AccessDenied, name);
}

#[test]
fn untyped_values_come_back_as_they_were() {
    let name = &name_for("untyped");
    let options = MapperOptions::new().ttl(Duration::from_secs(3600));
    let mapper: UntypedMapper = options.create_new(name).unwrap();
    for codec in [0, Json::ID, Text::ID, Bytes::ID, 70_000] {
        let mut value = Untyped::new(codec, vec![0xFF, 0, 1]);
        mapper.set(&value).unwrap();
        let read = mapper.get().unwrap().unwrap();
        assert_eq!((read.codec, &read.bytes, &read.type_name), (codec, &value.bytes, &None));
        assert!(read.written.is_some() && read.expires.is_some(), "{read:?}");
        value.type_name = Some("some.Type".to_owned());
        mapper.set(&value).unwrap();
        assert_eq!(mapper.watch().next().unwrap().unwrap().value.unwrap().type_name, value.type_name);
        assert_eq!(mapper.take().unwrap().unwrap().bytes, value.bytes);
    }
    // A typed mapper reads what an untyped one stored, and the other way round.
    mapper.set(&Untyped::encode::<_, Json>(&vec![1u8, 2]).unwrap()).unwrap();
    let typed = MemoryMapper::<Vec<u8>>::open_existing(name).unwrap();
    assert_eq!(typed.get().unwrap(), Some(vec![1, 2]));
    typed.set(&vec![3]).unwrap();
    assert_eq!(mapper.get().unwrap().unwrap().decode::<Vec<u8>, Json>().unwrap(), [3]);

    let plain = PlainMapper::<Untyped, AnyCodec>::create_new(&name_for("untyped plain")).unwrap();
    plain.set(&Untyped::new(Text::ID, b"hello".to_vec())).unwrap();
    assert_eq!(plain.get().unwrap().unwrap(), Untyped::new(0, b"hello".to_vec()));
}

#[test]
fn an_expired_value_is_removed_once() {
    let mapper = MemoryMapper::<u32>::create_new(&name_for("expired")).unwrap();
    mapper.set_ttl(&1, Duration::from_millis(1)).unwrap();
    std::thread::sleep(Duration::from_millis(2));
    assert!(mapper.remove_expired().unwrap());
    assert!(!mapper.remove_expired().unwrap());
    assert_eq!(mapper.version(), 2);
}
