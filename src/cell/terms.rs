//! The terms of a cell: what is stored with a value, and what a version survives.

use std::time::{Duration, SystemTime};

use crate::sys;

/// What is stored with a version besides its bytes.
///
/// ```
/// use std::time::Duration;
///
/// use handover::cell::{Cell, Meta};
/// use handover::map::MemoryMappedFile;
///
/// let cell = Cell::make_in(MemoryMappedFile::anonymous(1 << 20)?)?;
/// let meta = Meta { codec: 2, type_name: Some("greeting"), ..Meta::default() }.ttl(Duration::from_secs(60));
/// cell.try_writer()?.expect("nobody else writes").publish_as(&meta, b"hello")?;
///
/// let value = cell.copy()?.expect("it was just stored");
/// assert_eq!((value.codec, value.type_name.as_deref()), (2, Some("greeting")));
/// assert!(!value.is_expired());
/// # Ok::<(), handover::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Meta<'a> {
    /// The codec's number; 0: bytes of no codec.
    pub codec: u32,
    /// The name of the value's type, at most 256 bytes.
    pub type_name: Option<&'a str>,
    /// When the value becomes unreadable, in nanoseconds since 1970-01-01 UTC; 0: never.
    pub expires: u64,
}

impl Meta<'_> {
    /// The value becomes unreadable at `at`.
    #[must_use = "it returns the changed description"]
    pub fn expires_at(mut self, at: SystemTime) -> Self {
        // 0 would be never.
        self.expires = sys::nanoseconds(at).max(1);
        self
    }

    /// The value becomes unreadable `ttl` from now.
    #[must_use = "it returns the changed description"]
    pub fn ttl(self, ttl: Duration) -> Self {
        // The last moment that fits.
        let last = SystemTime::UNIX_EPOCH + Duration::from_nanos(u64::MAX);
        self.expires_at(SystemTime::now().checked_add(ttl).unwrap_or(last))
    }
}

/// What a published version survives, for cells on files.
///
/// ```
/// use handover::Durability;
/// use handover::cell::CellOptions;
///
/// # let dir = std::env::temp_dir().join(format!("handover-doc-durability-{}", std::process::id()));
/// # std::fs::create_dir(&dir)?;
/// # let path = dir.join("journal.cell");
/// let cell = CellOptions::new().durability(Durability::Sync).create_or_open(&path)?;
/// // Returns once the version is on the disk.
/// cell.try_writer()?.expect("nobody else writes").publish(b"kept")?;
/// # drop(cell);
/// # std::fs::remove_dir_all(dir)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Durability {
    /// The end of every process. The system writes the file when it sees fit. After a power loss, the newest
    /// version that reached the disk whole is current.
    #[default]
    None,
    /// The same, but the system starts writing at once.
    Flush,
    /// A power loss: publishing returns once the version is on the disk. Such a version stays there until a
    /// newer one is, even when handles without this durability publish in between.
    ///
    /// This relies on a disk that keeps what it acknowledged, and that writes an aligned word of 8 bytes
    /// whole.
    Sync,
}

/// Fails to compile for a type that threads can't share.
pub(super) const fn is_send_and_sync<T: Send + Sync>() {}

const _: () = is_send_and_sync::<(Meta<'_>, Durability)>();
