//! Says where and how bytes differ from the type asked for, without quoting them: in `Decode` errors.
//!
//! A value that can't be decoded is decoded once more, in vain, by a deserializer that stands between the
//! type and the format and keeps the path. What the type complains about reaches it as it is, and not as a
//! text: it keeps what was expected (the program's own words) and of what kind was found, and drops the rest.
//! The keys of maps are data, so the path shows names of fields and variants and positions, and `[…]` for
//! keys. Relies on `fault`.

use std::cell::{Cell, RefCell};
use std::fmt;

use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, EnumAccess, MapAccess, SeqAccess, VariantAccess, Visitor,
};

use super::fault::Fault;

/// Decodes a `T` once more, and says what is wrong with it, if anything is.
pub(super) fn explain<'de, T: Deserialize<'de>, D: Deserializer<'de>>(from: D) -> Option<String> {
    let trail = Trail::default();
    let fault = T::deserialize(trail.track(from)).err()?;
    Some(fault.to_string())
}

/// [`explain`] for programs that may see the value: only where it is, for the format's own text beside it.
pub(super) fn locate<'de, T: Deserialize<'de>, D: Deserializer<'de>>(from: D) -> Option<String> {
    let trail = Trail::default();
    T::deserialize(trail.track(from)).err()?.into_path()
}

/// Names that a type has for its fields or variants.
type Names = &'static [&'static str];

/// Where the decoding stands.
#[derive(Default)]
struct Trail {
    steps: RefCell<Vec<Step>>,
    /// The name among those asked for that the last key is.
    key: Cell<Option<&'static str>>,
    /// What goes past the format, whose errors hold a text only.
    fault: RefCell<Option<Fault>>,
}

#[derive(Clone, Copy)]
enum Step {
    Name(&'static str),
    At(usize),
    /// The key of a map: data.
    Key,
}

impl Trail {
    fn track<X>(&self, inner: X) -> Tracked<'_, X> {
        Tracked { inner, trail: self, names: None, is_key: false }
    }

    /// Does one step down.
    fn at<V>(&self, step: Step, go: impl FnOnce() -> Result<V, Fault>) -> Result<V, Fault> {
        self.steps.borrow_mut().push(step);
        let went = go().map_err(|fault| fault.at(|| self.to_string()));
        self.steps.borrow_mut().pop();
        went
    }

    /// What the format failed with: a fault that went past it, or an error of its own.
    fn recover(&self, error: &impl fmt::Display) -> Fault {
        self.fault.borrow_mut().take().unwrap_or_else(|| Fault::of_format(&error.to_string(), None))
    }

    /// The same where it is known what was expected, which not every format says.
    fn recover_as(&self, error: &impl fmt::Display, expected: &Expected) -> Fault {
        let past = self.fault.borrow_mut().take();
        past.unwrap_or_else(|| Fault::of_format(&error.to_string(), Some(&expected.0)))
    }

    /// Sends a fault past the format.
    fn send<E: serde::de::Error>(&self, fault: Fault) -> E {
        *self.fault.borrow_mut() = Some(fault);
        E::custom("")
    }
}

impl fmt::Display for Trail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in self.steps.borrow().iter() {
            match step {
                Step::Name(name) => write!(f, ".{name}")?,
                Step::At(index) => write!(f, "[{index}]")?,
                Step::Key => f.write_str("[…]")?,
            }
        }
        Ok(())
    }
}

/// What a visitor expects.
struct Expected(String);

impl Expected {
    fn of<'de>(visitor: &impl Visitor<'de>) -> Self {
        Self((visitor as &dyn serde::de::Expected).to_string())
    }
}

/// A part of the format or of the type, with the other side's counterpart kept in sight.
struct Tracked<'t, X> {
    inner: X,
    trail: &'t Trail,
    /// The names among which a key is to be.
    names: Option<Names>,
    /// Whether this is a key itself.
    is_key: bool,
}

impl<'t, X> Tracked<'t, X> {
    fn with<Y>(&self, inner: Y) -> Tracked<'t, Y> {
        Tracked { inner, trail: self.trail, names: self.names, is_key: self.is_key }
    }

    fn note(&self, key: impl Fn(&str) -> bool) {
        if self.is_key {
            let names = self.names.unwrap_or_default();
            self.trail.key.set(names.iter().copied().find(|name| key(name)));
        }
    }

    /// The step to the value of the last key.
    fn step(&self) -> Step {
        self.trail.key.take().map_or(Step::Key, Step::Name)
    }
}

macro_rules! deserialize {
    ($($method:ident($($argument:ident: $type:ty),*))*) => {$(
        fn $method<V: Visitor<'de>>(self, $($argument: $type,)* visitor: V) -> Result<V::Value, Fault> {
            let (trail, visitor) = (self.trail, self.with(visitor));
            let expected = Expected::of(&visitor);
            self.inner.$method($($argument,)* visitor).map_err(|error| trail.recover_as(&error, &expected))
        }
    )*};
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Tracked<'_, D> {
    type Error = Fault;

    deserialize! {
        deserialize_any() deserialize_bool()
        deserialize_i8() deserialize_i16() deserialize_i32() deserialize_i64() deserialize_i128()
        deserialize_u8() deserialize_u16() deserialize_u32() deserialize_u64() deserialize_u128()
        deserialize_f32() deserialize_f64() deserialize_char()
        deserialize_str() deserialize_string() deserialize_bytes() deserialize_byte_buf()
        deserialize_option() deserialize_unit() deserialize_unit_struct(name: &'static str)
        deserialize_newtype_struct(name: &'static str)
        deserialize_seq() deserialize_tuple(len: usize) deserialize_tuple_struct(name: &'static str, len: usize)
        deserialize_map() deserialize_identifier() deserialize_ignored_any()
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: Names,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let trail = self.trail;
        let visitor = Tracked { names: Some(fields), ..trail.track(visitor) };
        let expected = Expected::of(&visitor);
        self.inner
            .deserialize_struct(name, fields, visitor)
            .map_err(|error| trail.recover_as(&error, &expected))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: Names,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let trail = self.trail;
        let visitor = Tracked { names: Some(variants), ..trail.track(visitor) };
        let expected = Expected::of(&visitor);
        self.inner
            .deserialize_enum(name, variants, visitor)
            .map_err(|error| trail.recover_as(&error, &expected))
    }

    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }
}

macro_rules! visit {
    ($($method:ident: $type:ty),*) => {$(
        fn $method<E: serde::de::Error>(self, value: $type) -> Result<V::Value, E> {
            self.inner.$method::<Fault>(value).map_err(|fault| self.trail.send(fault))
        }
    )*};
}

macro_rules! visit_text {
    ($($method:ident: $type:ty, $text:expr;)*) => {$(
        fn $method<E: serde::de::Error>(self, value: $type) -> Result<V::Value, E> {
            let text: fn(&$type, &str) -> bool = $text;
            self.note(|name| text(&value, name));
            self.inner.$method::<Fault>(value).map_err(|fault| self.trail.send(fault))
        }
    )*};
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Tracked<'_, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.expecting(f)
    }

    visit! {
        visit_bool: bool,
        visit_i8: i8, visit_i16: i16, visit_i32: i32, visit_i64: i64, visit_i128: i128,
        visit_u8: u8, visit_u16: u16, visit_u32: u32, visit_u64: u64, visit_u128: u128,
        visit_f32: f32, visit_f64: f64, visit_char: char
    }

    visit_text! {
        visit_str: &str, |value, name| *value == name;
        visit_borrowed_str: &'de str, |value, name| *value == name;
        visit_string: String, |value, name| value == name;
        visit_bytes: &[u8], |value, name| *value == name.as_bytes();
        visit_borrowed_bytes: &'de [u8], |value, name| *value == name.as_bytes();
        visit_byte_buf: Vec<u8>, |value, name| value == name.as_bytes();
    }

    fn visit_none<E: serde::de::Error>(self) -> Result<V::Value, E> {
        self.inner.visit_none::<Fault>().map_err(|fault| self.trail.send(fault))
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<V::Value, E> {
        self.inner.visit_unit::<Fault>().map_err(|fault| self.trail.send(fault))
    }

    fn visit_some<D: Deserializer<'de>>(self, inside: D) -> Result<V::Value, D::Error> {
        self.inner.visit_some(self.trail.track(inside)).map_err(|fault| self.trail.send(fault))
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, inside: D) -> Result<V::Value, D::Error> {
        let inside = Tracked { is_key: self.is_key, names: self.names, ..self.trail.track(inside) };
        self.inner.visit_newtype_struct(inside).map_err(|fault| self.trail.send(fault))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, elements: A) -> Result<V::Value, A::Error> {
        let elements = Elements { inner: elements, at: 0, trail: self.trail };
        let visited = self.inner.visit_seq(elements);
        visited.map_err(|fault| self.trail.send(fault.at(|| self.trail.to_string())))
    }

    fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<V::Value, A::Error> {
        let entries = Tracked { names: self.names, ..self.trail.track(entries) };
        let visited = self.inner.visit_map(entries);
        visited.map_err(|fault| self.trail.send(fault.at(|| self.trail.to_string())))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, variants: A) -> Result<V::Value, A::Error> {
        let variants = Tracked { names: self.names, ..self.trail.track(variants) };
        self.inner.visit_enum(variants).map_err(|fault| self.trail.send(fault))
    }
}

struct Elements<'t, A> {
    inner: A,
    at: usize,
    trail: &'t Trail,
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Elements<'_, A> {
    type Error = Fault;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Fault> {
        let (trail, seed) = (self.trail, self.trail.track(seed));
        let element = trail.at(Step::At(self.at), || {
            self.inner.next_element_seed(seed).map_err(|error| trail.recover(&error))
        });
        self.at += 1;
        element
    }

    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Tracked<'_, A> {
    type Error = Fault;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Fault> {
        self.trail.key.set(None);
        let seed = Tracked { is_key: true, ..self.with(seed) };
        self.inner.next_key_seed(seed).map_err(|error| self.trail.recover(&error))
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Fault> {
        let (trail, step) = (self.trail, self.step());
        let seed = trail.track(seed);
        trail.at(step, || self.inner.next_value_seed(seed).map_err(|error| trail.recover(&error)))
    }

    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Tracked<'_, S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<S::Value, D::Error> {
        let from = self.with(from);
        self.inner.deserialize(from).map_err(|fault| self.trail.send(fault))
    }
}

impl<'t, 'de, A: EnumAccess<'de>> EnumAccess<'de> for Tracked<'t, A> {
    type Error = Fault;
    type Variant = Variant<'t, A::Variant>;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self::Variant), Fault> {
        let trail = self.trail;
        trail.key.set(None);
        let seed = Tracked { is_key: true, ..self.with(seed) };
        let (value, variant) = self.inner.variant_seed(seed).map_err(|error| trail.recover(&error))?;
        Ok((value, Variant { inner: variant, step: trail.key.take().map_or(Step::Key, Step::Name), trail }))
    }
}

/// What is in a variant of an enum.
struct Variant<'t, A> {
    inner: A,
    step: Step,
    trail: &'t Trail,
}

impl<'de, A: VariantAccess<'de>> VariantAccess<'de> for Variant<'_, A> {
    type Error = Fault;

    fn unit_variant(self) -> Result<(), Fault> {
        let trail = self.trail;
        trail.at(self.step, || self.inner.unit_variant().map_err(|error| trail.recover(&error)))
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Fault> {
        let (trail, seed) = (self.trail, self.trail.track(seed));
        let go = || self.inner.newtype_variant_seed(seed).map_err(|error| trail.recover(&error));
        trail.at(self.step, go)
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Fault> {
        let (trail, visitor) = (self.trail, self.trail.track(visitor));
        let go = || self.inner.tuple_variant(len, visitor).map_err(|error| trail.recover(&error));
        trail.at(self.step, go)
    }

    fn struct_variant<V: Visitor<'de>>(self, fields: Names, visitor: V) -> Result<V::Value, Fault> {
        let trail = self.trail;
        let visitor = Tracked { names: Some(fields), ..trail.track(visitor) };
        let go = || self.inner.struct_variant(fields, visitor).map_err(|error| trail.recover(&error));
        trail.at(self.step, go)
    }
}
