//! iceoryx2: publish-subscribe (samples in shared memory, a queue of one for each subscriber, newest wins),
//! blackboard (a value of fixed type that is copied and checked) and event (a notification without a value).

use iceoryx2::node::Node;
use iceoryx2::port::listener::Listener;
use iceoryx2::port::notifier::Notifier;
use iceoryx2::port::publisher::Publisher;
use iceoryx2::port::reader::{BlackboardValue, EntryHandle};
use iceoryx2::port::subscriber::Subscriber;
use iceoryx2::port::writer::EntryHandleMut;
use iceoryx2::prelude::{Config, FileName, LogLevel, NodeBuilder, Path, SemanticString, ServiceName};
use iceoryx2::prelude::{SignalHandlingMode, ipc::Service, set_log_level};
use iceoryx2::sample::Sample;

use super::versions::version_of;
use crate::payload::{self, SMALL, check_bytes, number_of, touch};
use crate::record::Kind;
use crate::subject::{Consumer, Measure, Outcome, Place, Producer, Subject};

/// How many may read at a time, with room to spare.
const READERS: usize = 12;

/// A node whose files are the case's own.
fn node(place: &Place) -> Outcome<Node<Service>> {
    set_log_level(LogLevel::Fatal);
    let mut config = Config::default();
    let folder = place.folder().to_str().ok_or("a path that is text")?;
    config.global.set_root_path(&Path::new(folder.as_bytes())?);
    config.global.prefix = FileName::new(prefix(place).as_bytes())?;
    Ok(NodeBuilder::new()
        .config(&config)
        .signal_handling_mode(SignalHandlingMode::Disabled)
        .create::<Service>()?)
}

/// Its shared memory has names outside the case's directory: the run removes those that begin with its own
/// name.
fn prefix(place: &Place) -> String {
    let mut parts = place.folder().iter().rev().map(|part| part.to_string_lossy());
    let (case, run) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    format!("{run}_{case}_")
}

fn name(place: &Place, kind: &str) -> Outcome<ServiceName> {
    Ok(ServiceName::new(&format!("{}/{kind}", place.name))?)
}

fn version() -> String {
    version_of("iceoryx2")
}

fn notifier(node: &Node<Service>, place: &Place) -> Outcome<Notifier<Service>> {
    let service = node.service_builder(&name(place, "event")?).event().open_or_create()?;
    Ok(service.notifier_builder().create()?)
}

fn listener(node: &Node<Service>, place: &Place) -> Outcome<Listener<Service>> {
    let service = node.service_builder(&name(place, "event")?).event().open_or_create()?;
    Ok(service.listener_builder().create()?)
}

// ---- publish-subscribe

pub(crate) struct PublishSubscribe;

pub(crate) struct Publishing {
    publisher: Publisher<Service, [u8], ()>,
    notifier: Option<Notifier<Service>>,
    bytes: payload::Bytes,
    _node: Node<Service>,
}

pub(crate) struct Subscribing {
    newest: Option<Sample<Service, [u8], ()>>,
    subscriber: Subscriber<Service, [u8], ()>,
    listener: Option<Listener<Service>>,
    own: Vec<u8>,
    size: usize,
    _node: Node<Service>,
}

/// The service of this case, created by whoever comes first.
macro_rules! samples {
    ($node:expr, $place:expr, $size:expr) => {
        $node
            .service_builder(&name($place, "samples")?)
            .publish_subscribe::<[u8]>()
            .enable_safe_overflow(true)
            .history_size(1)
            .subscriber_max_buffer_size(1)
            .subscriber_max_borrowed_samples(2)
            .max_publishers(1)
            .max_subscribers(if $size == SMALL { READERS } else { 1 })
            .max_nodes(READERS + 2)
            .open_or_create()?
    };
}

impl Producer for Publishing {
    #[inline]
    fn publish(&mut self, number: u64) {
        let bytes = self.bytes.numbered(number);
        let sample = self.publisher.loan_slice_uninit(bytes.len()).expect("a sample is free");
        sample.write_from_slice(bytes).send().expect("the subscriber keeps up");
    }

    fn publish_and_wake(&mut self, number: u64) {
        self.publish(number);
        self.notifier.as_ref().expect("made for this size").notify().expect("the listener lives");
    }
}

impl Subscribing {
    /// Whether there was a new sample.
    #[inline]
    fn receive(&mut self) -> bool {
        match self.subscriber.receive().expect("the publisher lives") {
            Some(sample) => {
                self.newest = Some(sample);
                true
            }
            None => false,
        }
    }

    #[inline]
    fn newest(&self) -> &[u8] {
        self.newest.as_ref().expect("one was sent").payload()
    }
}

impl Consumer for Subscribing {
    #[inline]
    fn read_owned(&mut self) -> u64 {
        self.receive();
        let Self { own, newest, .. } = self;
        own.copy_from_slice(newest.as_ref().expect("one was sent").payload());
        number_of(std::hint::black_box(own))
    }

    #[inline]
    fn read_zero_copy(&mut self) -> u64 {
        self.receive();
        number_of(self.newest())
    }

    #[inline]
    fn take_other(&mut self, _seen: u64) -> Option<u64> {
        self.receive().then(|| touch(self.newest()))
    }

    fn sleep_other(&mut self, seen: u64) -> u64 {
        loop {
            let listener = self.listener.as_ref().expect("made for this size");
            listener.blocking_wait(|_| {}).expect("the notifier lives");
            if let Some(number) = self.take_other(seen) {
                return number;
            }
        }
    }

    fn check(&mut self, number: u64) -> Outcome<()> {
        self.read_owned();
        check_bytes(&self.own, self.size, number)?;
        Ok(check_bytes(self.newest(), self.size, number)?)
    }
}

impl Subject for PublishSubscribe {
    const NAME: &'static str = "iceoryx2 pub-sub";
    const KIND: Kind = Kind::Peer;
    // Each pair has two nodes with separate files.
    const PAIRS: usize = 4;
    type Producer = Publishing;
    type Consumer = Subscribing;

    fn version() -> String {
        version()
    }

    fn what() -> String {
        "bytes: loan_slice_uninit, write_from_slice and send; receive, a queue of one where the newest wins; \
         asleep: an event after each sample. Samples, whole"
            .to_owned()
    }

    fn measures(size: usize) -> &'static [Measure] {
        const ALL: &[Measure] = &[
            Measure::Publish,
            Measure::PublishWhileRead,
            Measure::ReadOwned,
            Measure::ReadZeroCopy,
            Measure::ReadUnchanged,
            Measure::ReadWhilePublished,
            Measure::HandoverSpinning,
            Measure::HandoverAsleep,
            Measure::Readers,
        ];
        if size == SMALL { ALL } else { &ALL[..7] }
    }

    fn series(_size: usize) -> &'static [Measure] {
        &[Measure::Publish, Measure::ReadOwned, Measure::ReadZeroCopy]
    }

    fn producer(place: &Place, size: usize) -> Outcome<Publishing> {
        let node = node(place)?;
        let service = samples!(node, place, size);
        let publisher = service.publisher_builder().initial_max_slice_len(size).create()?;
        let notifier = if size == SMALL { Some(notifier(&node, place)?) } else { None };
        Ok(Publishing { publisher, notifier, bytes: payload::Bytes::new(size), _node: node })
    }

    fn consumer(place: &Place, size: usize) -> Outcome<Subscribing> {
        let node = node(place)?;
        let service = samples!(node, place, size);
        let subscriber = service.subscriber_builder().create()?;
        let listener = if size == SMALL { Some(listener(&node, place)?) } else { None };
        Ok(Subscribing { newest: None, subscriber, listener, own: vec![1; size], size, _node: node })
    }
}

// ---- blackboard

pub(crate) struct Blackboard;

/// The type of its values is fixed when the program is compiled.
type Value = [u8; SMALL];

const KEY: u64 = 1;

pub(crate) struct Writing {
    entry: Option<EntryHandleMut<Service, u64, Value>>,
    bytes: payload::Bytes,
    _node: Node<Service>,
}

pub(crate) struct Reading {
    entry: EntryHandle<Service, u64, Value>,
    last: BlackboardValue<Value>,
    _node: Node<Service>,
}

impl Producer for Writing {
    #[inline]
    fn publish(&mut self, number: u64) {
        let entry = self.entry.take().expect("it is always put back");
        let mut value = entry.loan_uninit();
        let bytes: &Value = self.bytes.numbered(number).try_into().expect("values of S");
        value.value_mut().write(*bytes);
        // SAFETY: the value was written just above.
        self.entry = Some(unsafe { value.assume_init_and_update() });
    }
}

impl Consumer for Reading {
    #[inline]
    fn read_owned(&mut self) -> u64 {
        self.last = self.entry.get();
        number_of(std::hint::black_box(&*self.last))
    }

    #[inline]
    fn read_unchanged(&mut self) -> u64 {
        if self.entry.is_up_to_date(&self.last) { number_of(&*self.last) } else { self.read_owned() }
    }

    #[inline]
    fn take_other(&mut self, _seen: u64) -> Option<u64> {
        if self.entry.is_up_to_date(&self.last) {
            return None;
        }
        self.last = self.entry.get();
        Some(touch(&*self.last))
    }

    fn check(&mut self, number: u64) -> Outcome<()> {
        self.read_owned();
        Ok(check_bytes(&*self.last, SMALL, number)?)
    }
}

impl Subject for Blackboard {
    const NAME: &'static str = "iceoryx2 blackboard";
    const KIND: Kind = Kind::Peer;
    // Each read copies, whether the value is new or not.
    const PAIRS: usize = 0;
    type Producer = Writing;
    type Consumer = Reading;

    fn version() -> String {
        version()
    }

    fn what() -> String {
        "one key with 1,024 bytes, a type fixed at compile time: loan_uninit and assume_init_and_update; get \
         copies and checks; unchanged: is_up_to_date; reads are repeated"
            .to_owned()
    }

    fn measures(size: usize) -> &'static [Measure] {
        const ALL: &[Measure] = &[
            Measure::Publish,
            Measure::PublishWhileRead,
            Measure::ReadOwned,
            Measure::ReadUnchanged,
            Measure::ReadWhilePublished,
            Measure::HandoverSpinning,
            Measure::Readers,
        ];
        if size == SMALL { ALL } else { &[] }
    }

    fn producer(place: &Place, size: usize) -> Outcome<Writing> {
        let node = node(place)?;
        let service = node
            .service_builder(&name(place, "board")?)
            .blackboard_creator::<u64>()
            .max_readers(READERS)
            .max_nodes(READERS + 2)
            .add::<Value>(KEY, [0; SMALL])
            .create()?;
        let entry = service.writer_builder().create()?.entry::<Value>(&KEY)?;
        Ok(Writing { entry: Some(entry), bytes: payload::Bytes::new(size), _node: node })
    }

    fn consumer(place: &Place, _size: usize) -> Outcome<Reading> {
        let node = node(place)?;
        let service = node.service_builder(&name(place, "board")?).blackboard_opener::<u64>().open()?;
        let entry = service.reader_builder().create()?.entry::<Value>(&KEY)?;
        Ok(Reading { last: entry.get(), entry, _node: node })
    }
}

// ---- event

pub(crate) struct Event;

pub(crate) struct Notifying {
    notifier: Notifier<Service>,
    _node: Node<Service>,
}

pub(crate) struct Listening {
    listener: Listener<Service>,
    /// How many came.
    count: u64,
    _node: Node<Service>,
}

impl Producer for Notifying {
    fn publish(&mut self, _number: u64) {
        self.notifier.notify().expect("the listener lives");
    }
}

impl Consumer for Listening {
    fn take_other(&mut self, _seen: u64) -> Option<u64> {
        let came = self.listener.try_wait(|_| {}).expect("the notifier lives");
        self.count += came;
        (came > 0).then_some(self.count)
    }

    fn sleep_other(&mut self, _seen: u64) -> u64 {
        self.count += self.listener.blocking_wait(|_| {}).expect("the notifier lives");
        self.count
    }

    fn check(&mut self, _number: u64) -> Outcome<()> {
        // A notification carries no value.
        if self.take_other(0).is_some() { Ok(()) } else { Err("no notification came".into()) }
    }
}

impl Subject for Event {
    const NAME: &'static str = "iceoryx2 event";
    const KIND: Kind = Kind::Peer;
    const PAIRS: usize = 0;
    type Producer = Notifying;
    type Consumer = Listening;

    fn version() -> String {
        version()
    }

    fn what() -> String {
        "a notification without a value: notify; asleep: blocking_wait".to_owned()
    }

    fn measures(size: usize) -> &'static [Measure] {
        if size == SMALL { &[Measure::HandoverAsleep] } else { &[] }
    }

    fn producer(place: &Place, _size: usize) -> Outcome<Notifying> {
        let node = node(place)?;
        Ok(Notifying { notifier: notifier(&node, place)?, _node: node })
    }

    fn consumer(place: &Place, _size: usize) -> Outcome<Listening> {
        let node = node(place)?;
        Ok(Listening { listener: listener(&node, place)?, count: 0, _node: node })
    }
}
