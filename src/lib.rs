//! Hand typed objects from one process to unrelated processes on the same machine, through memory-mapped
//! files that have a name.
//!
//! ```
//! use handover::{Auth, MemoryMapper};
//! # let dir = std::env::temp_dir().join(format!("handover-doc-lib-{}", std::process::id()));
//! # std::fs::create_dir(&dir)?;
//! # // SAFETY: the example has one thread.
//! # unsafe { std::env::set_var("HANDOVER_DIR", &dir) };
//!
//! // The producer:
//! let producer = MemoryMapper::<Auth>::create_or_open("example")?;
//! producer.set(&Auth::new("eyJhbGciOi…"))?;
//!
//! // A consumer, in another process:
//! let consumer = MemoryMapper::<Auth>::open_existing("example")?;
//! let auth = consumer.get()?.expect("it was set");
//! assert_eq!(auth.bearer(), "eyJhbGciOi…");
//! # drop((producer, consumer));
//! # std::fs::remove_dir_all(dir)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Every type of serde can stand where [`Auth`] does, such as a struct of your own that derives `Serialize`
//! and `Deserialize`. Name the type where you open the map: rustc can't tell the codec from a later `set`. A
//! name lives exactly as long as a process holds it, however that process ends; there is no server and
//! nothing to clean up. Give a `&Path` in place of the name, and the value stays in that file.
//!
//! # Three verbs
//!
//! | | it is not there | it is there |
//! | --- | --- | --- |
//! | `create_new` | creates it | `AlreadyExists` |
//! | `create_or_open` | creates it | opens it |
//! | `open_existing` | `NotFound` | opens it |
//!
//! They are the same for names and for files, at every layer, with options ([`MapperOptions`]) and without.
//!
//! # A daemon and its clients
//!
//! Whoever needs the value holds a mapper of its own, made with `create_or_open`, for as long as it runs.
//! Then it does not matter who comes first, and a daemon that is killed and started again finds its clients:
//! they see its next value in the mapper that they have, and until then the last one.
//!
//! ```
//! use handover::mapper::Event;
//! use handover::{Auth, MemoryMapper, Result};
//!
//! # let name = &format!("a daemon in the docs {}", std::process::id());
//! fn open(name: &str) -> Result<MemoryMapper<Auth>> {
//!     MemoryMapper::create_or_open(name)
//! }
//!
//! let client = open(name)?;
//! let mut events = client.watch().events();
//!
//! let daemon = open(name)?;
//! daemon.set(&Auth::new("first"))?;
//! assert!(matches!(events.next().unwrap()?, Event::Changed(change) if change.version == 1));
//! drop(daemon); // or it crashes, or is killed: that is noticed within 100 ms
//! assert!(matches!(events.next().unwrap()?, Event::WriterGone));
//! assert_eq!(client.get()?.unwrap().bearer(), "first");
//!
//! let restarted = open(name)?;
//! restarted.set(&Auth::new("second"))?;
//! assert!(matches!(events.next().unwrap()?, Event::WriterBack));
//! assert!(matches!(events.next().unwrap()?, Event::Changed(change) if change.version == 2));
//! # Ok::<(), handover::Error>(())
//! ```
//!
//! | to | say |
//! | --- | --- |
//! | see each version, for ever | [`MemoryMapper::watch`]: an iterator |
//! | the same, and learn that the last writer has gone and one is back | [`Watch::events`] |
//! | see what is written until the last writer has gone | [`Watch::while_written`] |
//! | have a function called for each version, in a thread | [`MemoryMapper::on_change`] |
//! | do it in a task of tokio or another runtime | `MemoryMapper::changes`, with the feature `async` |
//! | wait for a first value | [`MemoryMapper::wait`] |
//! | wait for a producer | [`MemoryMapper::wait_for_writer`] |
//! | have a value that its dead producer can't renew end | [`MapperOptions::ttl`] |
//! | store values of more than 64 KiB | [`MapperOptions::capacity`], when the map is created |
//! | only read | [`MapperOptions::map`], with [`map::MapOptions::access`] |
//! | keep a token out of swap and core dumps | [`MapperOptions::secret`] |
//!
//! # Large values without a copy
//!
//! A [`cell`] holds bytes. Its producer builds them where the consumers read them; a consumer that trusts all
//! who can write to the map uses them where they lie, pinned, so that no writer overwrites them meanwhile.
//!
//! ```
//! use std::io::Write;
//! use std::time::Duration;
//!
//! use handover::cell::CellOptions;
//!
//! const FRAME: usize = 1920 * 1080 * 4;
//! # let name = &format!("frames in the docs {}", std::process::id());
//! // The producer, which keeps the lease: then publishing makes no system call unless somebody sleeps.
//! let camera = CellOptions::new().capacity(FRAME as u64).create_or_open(name)?;
//! let mut writer = camera.writer_timeout(Duration::from_secs(1))?;
//! writer.publish_with(FRAME, |frame| {
//!     while frame.remaining() > 0 {
//!         frame.write_all(&[7; 1920 * 4])?;
//!     }
//!     Ok(())
//! })?;
//!
//! // A consumer; `wait` lets it come first.
//! let screen = CellOptions::new().wait(Duration::from_secs(1)).open_existing(name)?;
//! screen.wait_newer(0, Duration::from_secs(1))?;
//! // SAFETY: all programs that know this name use the library, none of which changes what a reader pins.
//! let mut reader = unsafe { screen.reader().trust_writers() };
//! let frame = reader.load()?.expect("it was published");
//! assert_eq!((frame.len(), frame[0]), (FRAME, 7));
//! # Ok::<(), handover::Error>(())
//! ```
//!
//! Without trust there is one copy: [`Reader::copy_into`](cell::Reader::copy_into) makes it into a buffer of
//! your own. `wait_newer_while_written` and `wait_for_writer` tell a consumer that its camera has gone and is
//! back. For typed values without decoding, see `MemoryMapper::trust_writers` of the feature `rkyv`.
//!
//! The sources have three such programs in `examples/`: `token_daemon`, `config_reload` (under tokio) and
//! `video_frames`.
//!
//! # Layers
//!
//! The root of the crate has what most programs need. The rest is by layer, from the top down:
//!
//! | layer | what it is |
//! | --- | --- |
//! | [`mapper`] | a value of a type in a map: [`MemoryMapper`], and [`PlainMapper`] for .NET's own programs |
//! | [`codec`] | how a value becomes bytes: JSON, `MessagePack`, text, bytes, rkyv, or a codec of your own |
//! | [`cell`] | versions of bytes in a map, replaced as a whole, read without waiting, whoever crashes |
//! | [`map`] | a region of bytes by name, on a file or anonymous, and its views, as .NET has them |
//!
//! # Features
//!
//! | feature | default | what it adds |
//! | --- | --- | --- |
//! | `messagepack` | yes | `codec::MessagePack` |
//! | `rkyv` | no | `codec::Rkyv`, and `MemoryMapper::get_archived`, which reads archives undecoded |
//! | `async` | no | `MemoryMapper::changes`: waiting for versions in asynchronous programs, on any runtime |
//!
//! # Where to go next
//!
//! - [`MemoryMapper`]: set, get, take, update, wait, watch.
//! - [`Error`]: what can go wrong, and what to do about it.
#![cfg_attr(doc, doc = "- [`design`]: what is done and how, exact enough to write a second implementation.")]
#![cfg_attr(doc, doc = "- [`platforms`]: what differs between Linux, Windows and macOS.")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod backoff;
pub mod cell;
pub mod codec;
mod error;
pub mod map;
pub mod mapper;
mod memory;
mod name;
mod steps;
mod sys;
mod terms;

#[doc(inline)]
pub use cell::Durability;
pub use error::{Error, ErrorKind, Result};
#[cfg(feature = "async")]
#[doc(inline)]
pub use mapper::Changes;
#[doc(inline)]
pub use mapper::{Auth, Change, Lease, MapperOptions, MemoryMapper, PlainMapper, TypeName, Watch};
#[cfg(feature = "__test-steps")]
#[doc(hidden)]
pub use steps::{Fault, Flushed, Step, commit, on_flush, on_step};
pub use terms::{Place, Scope};

/// The examples of README.md, run as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;

/// What keeps a name says so when it is dropped at once. This compiles:
///
/// ```
/// #![deny(unused_must_use)]
/// # let name = &format!("must_use in the docs {}", std::process::id());
/// let _held = handover::MemoryMapper::<u32>::create_or_open(name)?;
/// # Ok::<(), handover::Error>(())
/// ```
///
/// And this does not:
///
/// ```compile_fail
/// #![deny(unused_must_use)]
/// # let name = &format!("must_use in the docs {}", std::process::id());
/// handover::MemoryMapper::<u32>::create_or_open(name)?;
/// # Ok::<(), handover::Error>(())
/// ```
///
/// ```compile_fail
/// #![deny(unused_must_use)]
/// # let name = &format!("must_use in the docs {}", std::process::id());
/// handover::PlainMapper::<u32>::create_or_open(name)?;
/// # Ok::<(), handover::Error>(())
/// ```
///
/// ```compile_fail
/// #![deny(unused_must_use)]
/// # let name = &format!("must_use in the docs {}", std::process::id());
/// # let mapper = handover::MemoryMapper::<u32>::create_or_open(name)?;
/// mapper.lease(std::time::Duration::ZERO)?;
/// # Ok::<(), handover::Error>(())
/// ```
#[cfg(doctest)]
pub struct MustUse;

/// What is done and how: `docs/design.md` of the sources.
#[cfg(doc)]
pub mod design {
    #![doc = ""]
    #![doc = "[platforms.md]: crate::platforms"]
    #![doc = ""]
    #![doc = include_str!("../docs/design.md")]
}

/// What differs between the systems: `docs/platforms.md` of the sources.
#[cfg(doc)]
pub mod platforms {
    #![doc = ""]
    #![doc = "[design.md]: crate::design#what-differs-by-system"]
    #![doc = ""]
    #![doc = include_str!("../docs/platforms.md")]
}
