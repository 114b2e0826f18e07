//! Waiting for values and their writers: what a mapper has beside setting and getting. Relies on
//! `memory_mapper`, to which it adds methods, and hands out what `watch`, `callback` and `changes` have.

use std::time::Duration;

use super::callback::WatchGuard;
#[cfg(feature = "async")]
use super::changes::Changes;
use super::memory_mapper::MemoryMapper;
use super::position::{Change, Event};
use super::watch::Watch;
use crate::codec::Codec;
use crate::error::Result;

impl<T, C: Codec<T>> MemoryMapper<T, C> {
    /// The versions as they come, starting with the one that is there: a blocking iterator.
    ///
    /// Each item is the newest version at that time, and says how many came and went unseen.
    ///
    /// ```
    /// use handover::MemoryMapper;
    ///
    /// # let name = &format!("watch in the docs {}", std::process::id());
    /// let producer = MemoryMapper::<u32>::create_or_open(name)?;
    /// let consumer = MemoryMapper::<u32>::open_existing(name)?;
    /// producer.set(&1)?;
    /// producer.set(&2)?;
    /// let watch = consumer.watch().while_written();
    /// drop(producer);
    /// let seen: Vec<_> = watch.collect::<Result<_, _>>()?;
    /// assert_eq!((seen[0].version, seen[0].value), (2, Some(2)));
    /// assert_eq!(seen.len(), 1);
    /// # Ok::<(), handover::Error>(())
    /// ```
    ///
    /// Its items are errors as [`get`](Self::get) has them. After one that no later version can mend, such as
    /// `NameLost`, it ends; with [`Watch::follow_name`] it goes on with whoever has the name next.
    pub fn watch(&self) -> Watch<T, C> {
        Watch::new(self.versions().stored().clone())
    }

    /// The versions as they come, starting with the one that is there, for asynchronous programs: a stream,
    /// and [`changed`](Changes::changed). Works on tokio and on every other runtime.
    ///
    /// Each item is the newest version at that time, and says how many came and went unseen. One thread of
    /// the process waits for all maps and tasks; it starts when it is first needed, and ends when it no
    /// longer is. On Linux and Windows it sleeps; from the 128th map on (on Windows the 64th), on a read-only
    /// map and on macOS it polls every few milliseconds. A publisher that dies between publishing and waking
    /// delays this by at most 100 ms.
    ///
    /// ```
    /// use handover::MemoryMapper;
    ///
    /// # let name = &format!("changes in the docs {}", std::process::id());
    /// # let producer = MemoryMapper::<u32>::create_or_open(name)?;
    /// let consumer = MemoryMapper::<u32>::open_existing(name)?;
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// let writing = std::thread::spawn(move || {
    ///     for count in 1..=1000 {
    ///         producer.set(&count)?;
    ///     }
    ///     Ok::<(), handover::Error>(())
    /// });
    /// let mut changes = consumer.changes();
    /// while let Some(change) = changes.changed().await {
    ///     if change?.value == Some(1000) {
    ///         break;
    ///     }
    /// }
    /// # writing.join().unwrap()?;
    /// # Ok::<(), handover::Error>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[cfg(feature = "async")]
    pub fn changes(&self) -> Changes<T, C> {
        Changes::new(self.versions().stored().clone())
    }

    /// The value, once there is one, waiting up to `limit` for it.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use handover::MemoryMapper;
    ///
    /// # let name = &format!("wait in the docs {}", std::process::id());
    /// let consumer = MemoryMapper::<String>::create_or_open(name)?;
    /// # let producer = MemoryMapper::<String>::open_existing(name)?;
    /// let producing = std::thread::spawn(move || producer.set(&"here it is".to_owned()));
    /// assert_eq!(consumer.wait(Duration::from_secs(60))?, "here it is");
    /// # producing.join().unwrap()?;
    /// # Ok::<(), handover::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// `TimedOut`, and those of [`get`](Self::get); `NameLost` within 100 ms.
    pub fn wait(&self, limit: Duration) -> Result<T> {
        self.versions().wait::<C>(limit)
    }

    /// Waits until a producer is there: a handle that ever wrote, other than this mapper. It is noticed
    /// within 100 ms.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use handover::{ErrorKind, MemoryMapper};
    ///
    /// # let name = &format!("wait_for_writer of mappers {}", std::process::id());
    /// let consumer = MemoryMapper::<u32>::create_or_open(name)?;
    /// let error = consumer.wait_for_writer(Duration::from_millis(1)).unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::TimedOut);
    /// let producer = MemoryMapper::<u32>::open_existing(name)?;
    /// producer.set(&10)?;
    /// consumer.wait_for_writer(Duration::ZERO)?;
    /// # Ok::<(), handover::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// `TimedOut` after `limit`; `NameLost` within 100 ms.
    pub fn wait_for_writer(&self, limit: Duration) -> Result<()> {
        self.cell().wait_for_writer(limit)
    }
}

impl<T: 'static, C: Codec<T> + 'static> MemoryMapper<T, C> {
    /// Has `callback` called for each version as it comes, starting with the one that is there, in a thread
    /// of its own, until the guard is dropped.
    ///
    /// ```
    /// use std::sync::mpsc;
    ///
    /// use handover::MemoryMapper;
    ///
    /// # let name = &format!("on_change in the docs {}", std::process::id());
    /// let mapper = MemoryMapper::<u32>::create_or_open(name)?;
    /// let (sender, seen) = mpsc::channel();
    /// let guard = mapper.on_change(move |change| {
    ///     sender.send(change.map(|change| change.value)).expect("somebody listens");
    /// })?;
    /// mapper.set(&10)?;
    /// assert_eq!(seen.recv()??, Some(10));
    /// drop(guard);
    /// mapper.set(&11)?;
    /// assert!(seen.recv().is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// What is passed is what [`watch`](Self::watch) gives, errors too. See [`WatchGuard`] for how it ends,
    /// and [`Watch::on_change`] for a watch that begins elsewhere or follows its name.
    ///
    /// # Errors
    ///
    /// `Io` where no thread can be started.
    pub fn on_change(&self, callback: impl FnMut(Result<Change<T>>) + Send + 'static) -> Result<WatchGuard> {
        self.watch().on_change(callback)
    }

    /// [`on_change`](Self::on_change) that tells of the writers too: what [`Watch::events`] gives.
    ///
    /// # Errors
    ///
    /// `Io` where no thread can be started.
    pub fn on_event(&self, callback: impl FnMut(Result<Event<T>>) + Send + 'static) -> Result<WatchGuard> {
        self.watch().events().on_event(callback)
    }
}
