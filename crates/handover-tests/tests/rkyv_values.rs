//! Values as rkyv archives: whole after a round trip, an error where the bytes are hostile or of another
//! codec. A reader that trusts the writers uses them in place while new versions come.

use std::collections::BTreeMap;

use handover::cell::Meta;
use handover::codec::{Codec, Json, Rkyv};
use handover::{ErrorKind, MapperOptions, MemoryMapper, TypeName};
use handover_tests::{OwnDir, names_in, own_dir};
use proptest::prelude::*;
use rkyv::{Archive, Deserialize, Serialize};

#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq)]
enum Kind {
    Nothing,
    Named { name: String, shade: char },
    Nested(Vec<Option<u64>>),
}

#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq)]
struct Model {
    kinds: Vec<Kind>,
    weights: Vec<f64>,
    table: BTreeMap<String, (i8, u128)>,
    on: bool,
}

#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[rkyv(attr(repr(align(32))))]
struct Wide([u8; 32]);

fn model(seed: u64) -> Model {
    Model {
        kinds: vec![
            Kind::Nothing,
            Kind::Named { name: format!("name {seed}"), shade: 'é' },
            Kind::Nested(vec![None, Some(seed), Some(u64::MAX)]),
        ],
        weights: (0..100).map(|weight| f64::from(weight) * 0.5).collect(),
        table: [("first".to_owned(), (-1, u128::MAX)), (seed.to_string(), (7, 0))].into(),
        on: true,
    }
}

struct Place {
    directory: OwnDir,
}

impl Place {
    fn new() -> Self {
        Self { directory: own_dir() }
    }

    fn options(&self) -> MapperOptions {
        MapperOptions::new().map(names_in(&self.directory))
    }

    fn mapper<T>(&self, name: &str) -> MemoryMapper<T, Rkyv>
    where
        Rkyv: Codec<T>,
    {
        self.options().capacity(1 << 20).create_or_open(name).unwrap()
    }
}

#[test]
fn values_come_back_as_they_were() {
    let place = Place::new();
    let mapper = place.mapper::<Model>("models");
    assert_eq!(mapper.get().unwrap(), None);
    assert!(mapper.get_archived().unwrap().is_none());
    for seed in 0..20 {
        mapper.set(&model(seed)).unwrap();
        assert_eq!(mapper.get().unwrap(), Some(model(seed)));
        let archived = mapper.get_archived().unwrap().unwrap();
        assert_eq!(archived.version(), seed + 1);
        assert_eq!(archived.weights[99].to_native().to_bits(), 49.5f64.to_bits());
        assert_eq!(rkyv::deserialize::<Model, rkyv::rancor::Error>(&*archived).unwrap(), model(seed));
    }
    assert_eq!(mapper.take().unwrap(), Some(model(19)));
    assert!(mapper.get_archived().unwrap().is_none());
}

#[test]
fn a_private_copy_is_aligned_for_the_widest_types() {
    let place = Place::new();
    let mapper = place.mapper::<Vec<Wide>>("wide");
    // SAFETY: only this test writes to the map.
    let mut reader = unsafe { mapper.trust_writers() }.unwrap();
    for count in 0..40u8 {
        let value: Vec<_> = (0..count).map(|number| Wide([number; 32])).collect();
        mapper.set(&value).unwrap();
        assert_eq!(mapper.get().unwrap().as_ref(), Some(&value));
        assert_eq!(mapper.get_archived().unwrap().unwrap().len(), value.len());
        let archived = reader.load().unwrap().unwrap();
        assert!(archived.iter().all(|wide| std::ptr::from_ref(wide).is_aligned()));
        assert_eq!(archived.len(), value.len());
        // From every address.
        let bytes = <Rkyv as Codec<Vec<Wide>>>::encode(&value).unwrap();
        for shift in 0..33 {
            let mut shifted = vec![0; shift];
            shifted.extend_from_slice(&bytes);
            assert_eq!(<Rkyv as Codec<Vec<Wide>>>::decode(&shifted[shift..]).unwrap(), value);
        }
    }
}

/// What each of the safe ways, and the trusting one that checks, makes of bytes in a map.
fn kinds_of_errors(place: &Place, bytes: &[u8]) -> [Option<ErrorKind>; 4] {
    let mapper = place.mapper::<Model>("hostile");
    let mut writer = mapper.cell().try_writer().unwrap().unwrap();
    writer.publish_as(&Meta { codec: <Rkyv as Codec<Model>>::ID, ..Meta::default() }, bytes).unwrap();
    // SAFETY: only this test writes to the map, and by the cell's protocol; the bytes are checked.
    let mut reader = unsafe { mapper.trust_writers() }.unwrap();
    let kind = |e: handover::Error| {
        assert!(!e.to_string().contains("0x"), "an address in {e}");
        e.kind()
    };
    [
        mapper.get().map_err(kind).err(),
        mapper.get_archived().map_err(kind).err(),
        reader.load().map(|_| ()).map_err(kind).err(),
        reader.hold().map(|_| ()).map_err(kind).err(),
    ]
}

#[test]
fn bytes_that_are_no_archive_are_errors() {
    let place = Place::new();
    let whole = <Rkyv as Codec<Model>>::encode(&model(1)).unwrap();
    assert_eq!(kinds_of_errors(&place, &whole), [None; 4]);
    let all = [Some(ErrorKind::Decode); 4];
    for hostile in [
        &[][..],
        &[0],
        &[0xFF; 7],
        &[0xFF; 4096],
        &whole[1..],
        &whole[..whole.len() - 1],
        &whole[whole.len() - 8..],
    ] {
        assert_eq!(kinds_of_errors(&place, hostile), all, "{} bytes", hostile.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn changed_archives_are_errors_or_values_alike_for_all(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = <Rkyv as Codec<Model>>::encode(&model(2)).unwrap();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let kinds = kinds_of_errors(&Place::new(), &bytes);
        prop_assert!(kinds.iter().all(|kind| kind.is_none_or(|kind| kind == ErrorKind::Decode)));
        prop_assert!(kinds.iter().all(|kind| *kind == kinds[0]), "{:?}", kinds);
    }
}

#[derive(Archive, Serialize, Deserialize, Debug)]
#[rkyv(
    bytecheck(bounds(__C: rkyv::validation::ArchiveContext, __C::Error: rkyv::rancor::Source)),
    serialize_bounds(__S: rkyv::ser::Writer, __S::Error: rkyv::rancor::Source),
    deserialize_bounds(__D::Error: rkyv::rancor::Source)
)]
struct Chain(#[rkyv(omit_bounds)] Option<Box<Chain>>);

impl Drop for Chain {
    fn drop(&mut self) {
        // One after the other, not one within the other.
        let mut next = self.0.take();
        while let Some(mut chain) = next {
            next = chain.0.take();
        }
    }
}

#[test]
fn an_archive_nested_without_end_is_an_error_and_not_the_end_of_the_process() {
    let chain = |links| (0..links).fold(Chain(None), |chain, _| Chain(Some(Box::new(chain))));
    let place = Place::new();
    let mapper = place.mapper::<Chain>("chain");
    mapper.set(&chain(100)).unwrap();
    assert!(mapper.get().unwrap().is_some());
    // Writing it recurses too; reading must not recurse on the 2 MiB stack of a test's thread, whatever is
    // there.
    let deep = std::thread::Builder::new().stack_size(1 << 30);
    let deep = deep.spawn(move || <Rkyv as Codec<Chain>>::encode(&chain(100_000)).unwrap()).unwrap();
    let mut writer = mapper.cell().try_writer().unwrap().unwrap();
    let meta = Meta { codec: <Rkyv as Codec<Chain>>::ID, ..Meta::default() };
    writer.publish_as(&meta, &deep.join().unwrap()).unwrap();
    assert_eq!(mapper.get().unwrap_err().kind(), ErrorKind::Decode);
    assert_eq!(mapper.get_archived().unwrap_err().kind(), ErrorKind::Decode);
}

#[test]
fn another_codec_is_an_error_that_names_both() {
    let place = Place::new();
    let archive = place.mapper::<Vec<u32>>("either");
    let json = place.options().open_existing::<Vec<u32>, Json>("either").unwrap();
    // SAFETY: only this test writes to the map.
    let mut reader = unsafe { archive.trust_writers() }.unwrap();
    json.set(&vec![1]).unwrap();
    let errors = [
        archive.get().unwrap_err(),
        archive.get_archived().unwrap_err(),
        reader.load().unwrap_err(),
        reader.hold().unwrap_err(),
    ];
    for error in errors {
        assert_eq!(error.kind(), ErrorKind::CodecMismatch);
        let message = error.to_string();
        assert!(message.contains("JSON") && message.contains("rkyv"), "{message}");
    }
    archive.set(&vec![2]).unwrap();
    let message = json.get().unwrap_err().to_string();
    assert!(message.contains("JSON") && message.contains("rkyv"), "{message}");
    assert_eq!(reader.load().unwrap().unwrap()[0], 2);
}

#[test]
fn another_type_s_name_is_an_error_for_every_way_of_reading() {
    struct Celsius;
    impl TypeName for Celsius {
        const TYPE_NAME: &'static str = "weather.Celsius";
    }
    struct Kelvin;
    impl TypeName for Kelvin {
        const TYPE_NAME: &'static str = "weather.Kelvin";
    }
    let place = Place::new();
    let writer =
        place.options().named::<Celsius>().capacity(64).create_or_open::<f64, Rkyv>("outside").unwrap();
    writer.set(&21.5).unwrap();
    let reader = place.options().named::<Kelvin>().open_existing::<f64, Rkyv>("outside").unwrap();
    // SAFETY: only this test writes to the map.
    let mut trusting = unsafe { reader.trust_writers() }.unwrap();
    assert_eq!(reader.get_archived().unwrap_err().kind(), ErrorKind::TypeMismatch);
    assert_eq!(trusting.load().unwrap_err().kind(), ErrorKind::TypeMismatch);
    assert_eq!(trusting.hold().unwrap_err().kind(), ErrorKind::TypeMismatch);
}

#[test]
fn a_held_snapshot_stays_as_it_is_while_new_versions_come() {
    let place = Place::new();
    let writer = place.mapper::<Model>("held");
    let reader = place.options().open_existing::<Model, Rkyv>("held").unwrap();
    // SAFETY: only this test writes to the map.
    let mut trusting = unsafe { reader.trust_writers() }.unwrap();
    let mut held = Vec::new();
    for seed in 0..200 {
        writer.set(&model(seed)).unwrap();
        if seed < 50 {
            let snapshot = trusting.hold().unwrap().unwrap();
            let bytes = snapshot.bytes().to_vec();
            held.push((seed, snapshot.clone(), bytes));
        } else {
            assert_eq!(trusting.version(), seed + 1);
            assert!(trusting.load().unwrap().is_some());
        }
    }
    for (seed, snapshot, bytes) in &held {
        assert_eq!(snapshot.version(), seed + 1);
        assert_eq!(snapshot.bytes(), bytes);
        assert_eq!(rkyv::deserialize::<Model, rkyv::rancor::Error>(&**snapshot).unwrap(), model(*seed));
    }
    // It lives on without its reader and its mapper.
    drop((trusting, reader, writer));
    let (seed, snapshot, _) = held.pop().unwrap();
    assert!(snapshot.table.iter().any(|(key, _)| key.as_str() == seed.to_string()));
}

#[test]
fn trusted_access_copies_nothing_and_may_leave_out_the_check() {
    let place = Place::new();
    let mapper = place.mapper::<Vec<u64>>("in place");
    mapper.set(&(0..10_000).collect()).unwrap();
    // SAFETY: only this test writes to the map.
    let mut checking = unsafe { mapper.trust_writers() }.unwrap();
    // SAFETY: as above.
    let unchecking = unsafe { mapper.trust_writers() }.unwrap();
    // SAFETY: this test stores archives of the type.
    let mut unchecking = unsafe { unchecking.unchecked() };
    for reader in [&mut checking, &mut unchecking] {
        let first = std::ptr::from_ref(reader.load().unwrap().unwrap());
        let again = std::ptr::from_ref(reader.load().unwrap().unwrap());
        assert_eq!(first, again, "the same place");
        let held = reader.hold().unwrap().unwrap();
        assert_eq!(std::ptr::from_ref(&*held), first);
        assert!(held.bytes().as_ptr_range().contains(&first.cast()));
        assert_eq!(held.iter().map(|number| number.to_native()).sum::<u64>(), 49_995_000);
    }
    // Even without the check, bytes that are too few for the type are an error.
    let mut writer = mapper.cell().try_writer().unwrap().unwrap();
    writer.publish_as(&Meta { codec: <Rkyv as Codec<Vec<u64>>>::ID, ..Meta::default() }, &[1]).unwrap();
    assert_eq!(unchecking.load().unwrap_err().kind(), ErrorKind::Decode);
    assert_eq!(checking.load().unwrap_err().kind(), ErrorKind::Decode);
    writer.clear().unwrap();
    assert!(checking.load().unwrap().is_none());
}

#[test]
fn the_value_is_not_in_debug_output() {
    let place = Place::new();
    let mapper = place.mapper::<String>("shown");
    mapper.set(&"a secret".to_owned()).unwrap();
    // SAFETY: only this test writes to the map.
    let mut reader = unsafe { mapper.trust_writers() }.unwrap();
    let shown = format!("{:?} {:?}", mapper.get_archived().unwrap(), reader.hold().unwrap());
    assert!(!format!("{shown} {reader:?}").contains("secret"));
}
