//! The name of a type. Relies on nothing.

/// A type's name, the same in every program that shares its values.
///
/// [`MapperOptions::named`](crate::MapperOptions::named) stores it with each value, so that nobody reads a
/// value of another type.
///
/// ```
/// use handover::{MapperOptions, MemoryMapper, TypeName};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct Celsius(f64);
///
/// impl TypeName for Celsius {
///     const TYPE_NAME: &'static str = "weather.Celsius";
/// }
///
/// # let name = &format!("TypeName in the docs {}", std::process::id());
/// let mapper: MemoryMapper<Celsius> = MapperOptions::new().named::<Celsius>().create_or_open(name)?;
/// mapper.set(&Celsius(21.5))?;
/// # Ok::<(), handover::Error>(())
/// ```
pub trait TypeName {
    /// The name, at most 256 bytes of UTF-8.
    const TYPE_NAME: &'static str;
}
