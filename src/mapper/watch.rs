//! Watching a value: one version after the other, as they come.

use std::iter::FusedIterator;
use std::time::{Duration, Instant};

use super::MemoryMapper;
use crate::codec::Codec;
use crate::error::{Error, Result};

/// A version that a [`Watch`] came upon.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Change<T> {
    /// The version.
    pub version: u64,
    /// How many versions came and went since the one before, unseen.
    pub skipped: u64,
    /// The value; `None` where it was cleared, taken or has expired.
    pub value: Option<T>,
}

/// The versions of a mapper as they come: a blocking iterator. See [`MemoryMapper::watch`].
#[derive(Debug)]
#[must_use]
pub struct Watch<'a, T, C> {
    mapper: &'a MemoryMapper<T, C>,
    position: Position,
    limit: Option<Duration>,
    while_written: bool,
}

impl<'a, T, C: Codec<T>> Watch<'a, T, C> {
    pub(super) fn new(mapper: &'a MemoryMapper<T, C>) -> Self {
        Self { mapper, position: Position::default(), limit: None, while_written: false }
    }

    /// Leaves out versions up to `version`. Default: the first item is the value that is there.
    pub fn after(mut self, version: u64) -> Self {
        self.position.seen = version;
        self
    }

    /// How long to wait for each next version; then the item is the error `TimedOut`, and the watch can go on.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Ends once no handle that ever wrote lives, other than this mapper, and everything written was seen.
    /// A writer that was killed is missed within 100 ms.
    pub fn while_written(mut self) -> Self {
        self.while_written = true;
        self
    }

    /// Waits for the next version; `None` at the end.
    fn wait(&self) -> Result<Option<u64>> {
        let cell = self.mapper.cell()?;
        let start = Instant::now();
        loop {
            // Without a limit of its own it waits in pieces of an hour.
            let limit =
                self.limit.map_or(Duration::from_secs(3600), |limit| limit.saturating_sub(start.elapsed()));
            let waited = if self.while_written {
                cell.wait_newer_while_written(self.position.seen, limit)
            } else {
                cell.wait_newer(self.position.seen, limit).map(Some)
            };
            match waited {
                Err(Error::TimedOut { .. }) if self.limit.is_none() => {}
                Err(Error::TimedOut { waiting_for, .. }) => {
                    return Err(Error::TimedOut { waiting_for, after: self.limit.unwrap_or_default() });
                }
                other => return other,
            }
        }
    }
}

/// How far a watch has come.
#[derive(Debug, Default)]
pub(super) struct Position {
    /// The newest version that it gave.
    pub(super) seen: u64,
    pub(super) ended: bool,
}

impl Position {
    /// The item for what was waited for: a newer version, or `None` at the end.
    pub(super) fn advance<T, C: Codec<T>>(
        &mut self,
        mapper: &MemoryMapper<T, C>,
        newest: Result<Option<u64>>,
    ) -> Option<Result<Change<T>>> {
        let item = newest.and_then(|newest| newest.map(|newest| self.change(mapper, newest)).transpose());
        let item = item.transpose();
        self.ended = match &item {
            // The version can't be read; the next one may be.
            Some(Err(Error::Decode { .. } | Error::CodecMismatch { .. } | Error::TypeMismatch { .. })) => {
                self.seen = self.seen.max(mapper.version().unwrap_or(self.seen));
                false
            }
            Some(Err(Error::TimedOut { .. }) | Ok(_)) => false,
            None | Some(Err(_)) => true,
        };
        item
    }

    fn change<T, C: Codec<T>>(&mut self, mapper: &MemoryMapper<T, C>, newest: u64) -> Result<Change<T>> {
        let found = mapper.get_with_version()?;
        // A value that came since is newer still; where there is none, the version is that of its removal.
        let (version, value) = match found {
            Some((version, value)) => (version, Some(value)),
            None => (newest, None),
        };
        // The first version of a watch from the beginning skips nothing that it was asked for.
        let skipped = if self.seen == 0 { 0 } else { version.saturating_sub(self.seen + 1) };
        self.seen = version;
        Ok(Change { version, skipped, value })
    }
}

impl<T, C: Codec<T>> Iterator for Watch<'_, T, C> {
    type Item = Result<Change<T>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.position.ended {
            return None;
        }
        let newest = self.wait();
        self.position.advance(self.mapper, newest)
    }
}

impl<T, C: Codec<T>> FusedIterator for Watch<'_, T, C> {}
