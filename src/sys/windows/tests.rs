//! What the kernel's sections and locks must do here, between handles and between processes.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use handover_test_support::Start;
use windows_sys::Win32::Foundation::FILETIME;
use windows_sys::Win32::Security::Authorization::{
    ConvertSecurityDescriptorToStringSecurityDescriptorW, GetSecurityInfo, SDDL_REVISION_1, SE_KERNEL_OBJECT,
};
use windows_sys::Win32::Security::DACL_SECURITY_INFORMATION;
use windows_sys::Win32::Storage::FileSystem::READ_CONTROL;
use windows_sys::Win32::System::SystemServices::MAXIMUM_ALLOWED;
use windows_sys::Win32::System::Threading::{GetCurrentProcess, GetProcessTimes, OpenEventW};

use super::naming::prefix;
use super::section::Opened;
use super::{kernel, sleep_on, wake, wake_all};
use crate::cell::{Cell, CellOptions, Durability};
use crate::error::ErrorKind;
use crate::map::dotnet::create_from_file;
use crate::map::{MapOptions, MemoryMappedFile, ViewAccessor};
use crate::name::{MapName, name_hash};
use crate::sys::{Disposition, LockId, LockMode, Named, Request, Section, Within};
use crate::terms::{Access, FileMode, Rights, Scope};

fn name(of: &str) -> String {
    format!("handover-test-{}-{of}", std::process::id())
}

fn request(capacity: u64) -> Request {
    Request {
        capacity,
        access: Access::ReadWrite,
        rights: Rights::READ_WRITE,
        delay_allocate_pages: false,
        inheritable: false,
    }
}

fn open(name: &str, disposition: Disposition) -> crate::Result<Opened> {
    let name = MapName::parse(name, None)?;
    let within = Within { scope: name.scope(), directory: None, owner: None };
    let place = Named { name: &name, within, mode: None, group: None, head: &[] };
    Section::named(place, disposition, request(5000))
}

/// A process that runs [`child`] of this test program.
struct Other {
    process: Child,
    output: BufReader<std::process::ChildStdout>,
}

impl Other {
    fn start(task: &str, name: &str) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "sys::windows::tests::child", "--nocapture", "--ignored"])
            .env("HANDOVER_TASK", task)
            .env("HANDOVER_NAME", name)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .start()
            .unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        let mut other = Self { process, output };
        other.wait_for("ready");
        other
    }

    fn wait_for(&mut self, word: &str) {
        let mut line = String::new();
        while !line.trim_end().ends_with(word) {
            line.clear();
            assert_ne!(self.output.read_line(&mut line).unwrap(), 0, "the other process ended early");
        }
    }

    fn end(mut self) {
        writeln!(self.process.stdin.as_mut().unwrap()).unwrap();
        assert!(self.process.wait().unwrap().success());
    }

    fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

/// A word of a map. Every test uses its words as 64 bits.
fn word(view: &ViewAccessor, position: u64) -> crate::error::Result<&AtomicU64> {
    // SAFETY: see above.
    unsafe { view.atomic(position) }
}

/// What the other process does; it stays until a line comes.
#[test]
#[ignore = "part of other tests"]
fn child() {
    let (Ok(task), Ok(name)) = (std::env::var("HANDOVER_TASK"), std::env::var("HANDOVER_NAME")) else {
        return;
    };
    let stay = || {
        println!("\nready");
        std::io::stdin().read_line(&mut String::new()).unwrap();
    };
    match task.as_str() {
        "hold" => {
            let map = MemoryMappedFile::create_new(&name, 5000).unwrap();
            map.create_view_accessor(0, 0).unwrap().write(4990, 7u8).unwrap();
            stay();
        }
        "lock" => {
            let opened = open(&name, Disposition::OpenExisting).unwrap();
            assert!(opened.section.try_lock(LockId::VALUE, LockMode::Exclusive).unwrap());
            stay();
        }
        "lock shared" => {
            let opened = open(&name, Disposition::OpenExisting).unwrap();
            assert!(opened.section.try_lock(LockId(17), LockMode::Shared).unwrap());
            stay();
        }
        "write cell" => {
            let cell = cell(&name);
            let mut writer = cell.writer_timeout(LIMIT).unwrap();
            for version in 1..=100u8 {
                assert_eq!(writer.publish(&vec![version; 100_000]).unwrap(), u64::from(version));
            }
            stay();
        }
        "write half" => {
            let cell = cell(&name);
            let mut writer = cell.writer_timeout(LIMIT).unwrap();
            let _ = writer.publish_with(100_000, |buffer| {
                buffer.write_all(&vec![0xEE; 50_000]).unwrap();
                stay();
                Ok(())
            });
        }
        "sleep" => {
            let map = MemoryMappedFile::open_existing(&name).unwrap();
            let view = map.create_view_accessor(0, 0).unwrap();
            println!("\nready");
            // No word changes.
            sleep_on(word(&view, 0).unwrap(), 0, NEVER);
            println!("\nwoken");
        }
        "acknowledge" => {
            let map = MemoryMappedFile::open_existing(&name).unwrap();
            let view = map.create_view_accessor(0, 0).unwrap();
            println!("\nready");
            let [round, answers] = [0, 8].map(|at| word(&view, at).unwrap());
            for seen in 0..WAKES {
                sleep_until(round, |round| round > seen);
                answers.fetch_add(1, Ordering::Release);
                wake_all(answers);
            }
            stay();
        }
        "wait" => {
            let cell = Cell::open_in(MemoryMappedFile::open_existing(&name).unwrap()).unwrap();
            println!("\nready");
            let before = processor_time();
            assert_eq!(cell.wait_newer(0, LIMIT).unwrap(), 1);
            println!("\n{} ms", processor_time().saturating_sub(before).as_millis());
            stay();
        }
        "make cells" => {
            stay();
            for round in 0..ROUNDS {
                let cell = cell(&format!("{name}-{round}"));
                cell.writer_timeout(LIMIT).unwrap().publish(b"made").unwrap();
                println!("\nround");
                std::io::stdin().read_line(&mut String::new()).unwrap();
            }
        }
        other => panic!("no task {other}"),
    }
}

#[test]
fn a_name_lives_as_long_as_a_process_holds_it() {
    for end in [Other::end, Other::kill] {
        let name = name("lifetime");
        let other = Other::start("hold", &name);
        let refused = MemoryMappedFile::create_new(&name, 10).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::AlreadyExists);
        let map = MemoryMappedFile::create_or_open(&name, 10).unwrap();
        assert!(!map.was_created());
        assert_eq!(map.capacity(), 8192);
        let view = map.create_view_accessor(0, 0).unwrap();
        assert_eq!(view.read::<u8>(4990).unwrap(), 7);
        end(other);
        assert!(MemoryMappedFile::open_existing(&name).is_ok());
        drop(map);
        let gone = MemoryMappedFile::open_existing(&name).unwrap_err();
        assert_eq!(gone.kind(), ErrorKind::NotFound, "{gone}");
        // The view keeps the old bytes; the name starts anew.
        let new = MemoryMappedFile::create_new(&name, 10).unwrap();
        assert_eq!(new.create_view_accessor(0, 0).unwrap().read::<u8>(0).unwrap(), 0);
        assert_eq!(view.read::<u8>(4990).unwrap(), 7);
    }
}

#[test]
fn a_lock_is_free_when_its_holder_dies() {
    let folder = temporary("lock");
    for on_file in [false, true] {
        let name = name(if on_file { "lock-file" } else { "lock" });
        let map = if on_file {
            let options = MapOptions::new().map_name(&name);
            create_from_file(folder.join("map"), FileMode::OpenOrCreate, 5000, &options)
        } else {
            MemoryMappedFile::create_new(&name, 5000)
        }
        .unwrap();
        let limit = Duration::from_millis(50);
        let other = Other::start("lock", &name);
        for mode in [LockMode::Shared, LockMode::Exclusive] {
            let refused = map.lock(LockId::VALUE, mode, limit).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::TimedOut, "{refused}");
        }
        drop(map.lock(LockId(2), LockMode::Exclusive, limit).unwrap());
        other.kill();
        drop(map.lock(LockId::VALUE, LockMode::Exclusive, Duration::from_secs(5)).unwrap());
        Other::start("lock", &name).end();
    }
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn handles_of_one_process_exclude_each_other() {
    let name = name("handles");
    let first = open(&name, Disposition::CreateNew).unwrap().section;
    let second = open(&name, Disposition::OpenExisting).unwrap().section;
    let take = |section: &Section, mode| section.try_lock(LockId::VALUE, mode).unwrap();
    assert!(take(&first, LockMode::Shared));
    assert!(take(&first, LockMode::Shared));
    assert!(!take(&first, LockMode::Exclusive));
    assert!(!take(&second, LockMode::Exclusive));
    first.unlock(LockId::VALUE);
    assert!(!take(&second, LockMode::Exclusive));
    first.unlock(LockId::VALUE);
    // Any thread may release.
    std::thread::scope(|scope| scope.spawn(|| assert!(take(&second, LockMode::Exclusive))).join().unwrap());
    assert!(!take(&first, LockMode::Shared));
    second.unlock(LockId::VALUE);
    assert!(take(&first, LockMode::Exclusive));
    // Closing a handle releases what it held.
    drop(first);
    assert!(take(&second, LockMode::Exclusive));
}

/// Windows does; Wine looks at a handle's rights alone.
fn sections_keep_their_protection() -> bool {
    let name = kernel::wide(&name("kept"));
    let read_only = kernel::NewSection {
        file: None,
        name: Some(&name),
        security: None,
        capacity: 1,
        access: Access::Read,
        reserve_only: false,
        inheritable: false,
    };
    let _section = kernel::create_section(&read_only).unwrap();
    let all = kernel::open_section(&name, Rights::FULL_CONTROL.bits(), false).unwrap();
    kernel::View::new(&all, Access::ReadWrite, 0, 1).is_err()
}

#[test]
fn an_opened_map_has_the_access_it_was_created_with() {
    for access in [Access::Read, Access::ReadWrite, Access::ReadExecute, Access::ReadWriteExecute] {
        let name = name(&format!("access-{access}"));
        let created = MapOptions::new().access(access).create_new(&name, 4096).unwrap();
        let opened = MapOptions::new().rights(Rights::FULL_CONTROL).open_existing(&name).unwrap();
        let mut maps = vec![&created];
        if sections_keep_their_protection() {
            assert_eq!(opened.access(), access);
            maps.push(&opened);
        }
        for map in maps {
            for view in Access::ALL {
                let made = map.create_view_accessor_with(0, 0, view);
                assert_eq!(made.is_ok(), access.allows_view(view), "{access} map, {view} view: {made:?}");
            }
        }
    }
}

#[test]
fn the_kernel_refuses_what_a_handle_has_no_right_to() {
    let name = name("rights");
    let _map = MemoryMappedFile::create_new(&name, 4096).unwrap();
    let name = MapName::parse(&name, None).unwrap();
    let within = Within { scope: name.scope(), directory: None, owner: None };
    let place = Named { name: &name, within, mode: None, group: None, head: &[] };
    let mut wish = request(0);
    wish.rights = Rights::READ | Rights::READ_PERMISSIONS;
    let opened = Section::named(place, Disposition::OpenExisting, wish).unwrap();
    let refused = opened.section.map(0, 10, 10, Access::ReadWrite, &name.subject()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::AccessDenied, "{refused}");
    assert!(opened.section.map(0, 10, 10, Access::Read, &name.subject()).is_ok());
    // Rights that allow no view still open the map.
    wish.rights = Rights::DELETE;
    let opened = Section::named(place, Disposition::OpenExisting, wish).unwrap();
    assert_eq!(opened.capacity, 4096);
}

#[test]
fn views_start_anywhere_and_share() {
    let map = MemoryMappedFile::anonymous(200_000).unwrap();
    let whole = map.create_view_accessor(0, 0).unwrap();
    let part = map.create_view_accessor(70_001, 100).unwrap();
    assert_eq!((part.capacity(), part.pointer_offset()), (100, 70_001 % 65_536));
    whole.write(70_001, 9u8).unwrap();
    assert_eq!(part.read::<u8>(0).unwrap(), 9);
    let private = map.create_view_accessor_with(70_001, 1, Access::CopyOnWrite).unwrap();
    private.write(0, 1u8).unwrap();
    assert_eq!(part.read::<u8>(0).unwrap(), 9);
    assert_eq!(map.create_view_accessor(200_000, 0).unwrap().capacity(), 0);
}

#[test]
fn pages_that_were_delayed_are_there_in_views_and_counted_by_openers() {
    let name = name("delayed");
    let map = MapOptions::new().delay_allocate_pages(true).create_new(&name, 1 << 20).unwrap();
    let part = map.create_view_accessor(0, 4096).unwrap();
    part.write(0, 5u8).unwrap();
    // A part is committed and the rest is not.
    let opened = MemoryMappedFile::open_existing(&name).unwrap();
    assert_eq!(opened.capacity(), 1 << 20);
    let whole = opened.create_view_accessor(0, 0).unwrap();
    assert_eq!(whole.read::<u8>(0).unwrap(), 5);
    whole.write((1 << 20) - 1, 6u8).unwrap();
    assert_eq!(map.create_view_accessor(0, 0).unwrap().read::<u8>((1 << 20) - 1).unwrap(), 6);
}

#[test]
fn names_are_one_space_with_other_objects() {
    let name = name("event");
    let _event = kernel::create_token(&kernel::wide(&format!("Local\\{name}"))).unwrap().unwrap();
    for result in [
        MemoryMappedFile::open_existing(&name),
        MemoryMappedFile::create_new(&name, 10),
        MemoryMappedFile::create_or_open(&name, 10),
    ] {
        assert_eq!(result.unwrap_err().kind(), ErrorKind::WrongKind);
    }
}

#[test]
fn prefixes_are_those_of_the_kernel() {
    let name = name("prefix");
    let map = MemoryMappedFile::create_new(&name, 10).unwrap();
    assert!(MemoryMappedFile::open_existing(&format!("Local\\{name}")).is_ok());
    assert!(kernel::open_section(&kernel::wide(&name), Rights::READ.bits(), false).is_ok());
    drop(map);
    match MapOptions::new().scope(Scope::Global).create_new(&name, 10) {
        Ok(_map) => assert!(MemoryMappedFile::open_existing(&format!("Global\\{name}")).is_ok()),
        // Without the privilege.
        Err(e) => assert_eq!(e.kind(), ErrorKind::AccessDenied),
    }
}

#[test]
fn what_windows_lacks_is_said() {
    let global = MapOptions::new().scope(Scope::Global);
    for options in [
        MapOptions::new().directory("C:\\x"),
        MapOptions::new().file_mode(0o644),
        global.clone().owned_by(1),
        global.clone().owned_by("alice"),
        global.clone().group(1),
        global.group("staff"),
    ] {
        assert_eq!(options.create_new(&name("lacks"), 10).unwrap_err().kind(), ErrorKind::Unsupported);
    }
    assert_eq!(crate::map::list(&MapOptions::new()).unwrap_err().kind(), ErrorKind::Unsupported);
    assert!(crate::map::collect_garbage(&MapOptions::new()).unwrap().is_empty());
}

const LIMIT: Duration = Duration::from_secs(10);
const ROUNDS: u32 = 30;

/// For values that, all slots together, have more address space than machines have memory.
fn cell(name: &str) -> Cell {
    CellOptions::new().capacity(16 << 30).create_or_open(name).unwrap()
}

#[test]
fn a_cell_hands_over_and_survives_its_writer() {
    let name = name("cell");
    let other = Other::start("write cell", &name);
    let map = MemoryMappedFile::open_existing(&name).unwrap();
    let cell = Cell::open_in(map).unwrap();
    let mut reader = cell.reader();
    assert_eq!(reader.load().unwrap().unwrap().copy().unwrap().as_slice(), vec![100; 100_000]);
    let value = cell.copy().unwrap().unwrap();
    assert_eq!((value.version, value.bytes.as_slice()), (100, vec![100; 100_000].as_slice()));
    let read_only = MapOptions::new().access(Access::Read).rights(Rights::READ).open_existing(&name).unwrap();
    let read_only = Cell::open_in(read_only).unwrap();
    assert_eq!(read_only.copy().unwrap().unwrap().version, 100);
    let info = cell.info().unwrap();
    assert!(info.has_writer && info.reserved < 1 << 20, "{info:?}");
    assert!(cell.try_writer().unwrap().is_none());
    other.kill();
    // No handle that wrote is left; an attempt to write counts as having written.
    assert!(!read_only.info().unwrap().has_writer || cell.can_write());
    let mut writer = cell.writer_timeout(LIMIT).unwrap();
    assert_eq!(writer.publish(b"next").unwrap(), 101);
    drop(writer);

    let other = Other::start("write half", &name);
    assert!(cell.try_writer().unwrap().is_none());
    assert!(cell.info().unwrap().has_writer);
    other.kill();
    assert_eq!(reader.load().unwrap().unwrap().copy().unwrap().as_slice(), b"next");
    assert_eq!(cell.writer_timeout(LIMIT).unwrap().publish(&vec![7; 1 << 20]).unwrap(), 102);
    assert!(!cell.info().unwrap().has_writer);
    assert_eq!(reader.load().unwrap().unwrap().copy().unwrap().as_slice(), vec![7; 1 << 20]);
}

#[test]
fn a_waiter_learns_of_versions_and_of_the_last_writers_end() {
    let name = name("wait");
    let cell = cell(&name);
    let other = Other::start("write half", &name);
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| cell.wait_newer_while_written(0, LIMIT).unwrap());
        std::thread::sleep(Duration::from_millis(50));
        other.end();
        assert_eq!(waiter.join().unwrap(), Some(1));
    });
    let other = Other::start("write half", &name);
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| cell.wait_newer_while_written(1, LIMIT).unwrap());
        std::thread::sleep(Duration::from_millis(50));
        other.kill();
        assert_eq!(waiter.join().unwrap(), None);
    });
}

/// Longer than any test may take: a sleeper that is not woken before then does not end.
const NEVER: Duration = Duration::from_secs(3600);
const WAKES: u64 = 1000;

fn sleep_until(word: &AtomicU64, done: impl Fn(u64) -> bool) {
    loop {
        let found = word.load(Ordering::Acquire);
        if done(found) {
            return;
        }
        sleep_on(word, found, NEVER);
    }
}

/// Runs with a named map, in memory and on a file.
fn in_memory_and_on_a_file(of: &str, run: impl Fn(&str, &MemoryMappedFile)) {
    let in_memory = name(of);
    run(&in_memory, &MemoryMappedFile::create_new(&in_memory, 4096).unwrap());
    let folder = temporary(of);
    let on_file = name(&format!("{of}-file"));
    let options = MapOptions::new().map_name(&on_file);
    run(&on_file, &create_from_file(folder.join("map"), FileMode::CreateNew, 4096, &options).unwrap());
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_sleeper_in_another_process_sleeps_until_it_is_woken() {
    in_memory_and_on_a_file("sleep", |name, map| {
        let view = map.create_view_accessor(0, 0).unwrap();
        let mut other = Other::start("sleep", name);
        let woken = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                // It may not be asleep yet.
                while !woken.load(Ordering::Acquire) {
                    wake_all(word(&view, 0).unwrap());
                    std::thread::sleep(Duration::from_millis(1));
                }
            });
            other.wait_for("woken");
            woken.store(true, Ordering::Release);
        });
        assert!(other.process.wait().unwrap().success());
    });
}

#[test]
fn no_sleeper_misses_a_wake_up_whoever_else_is_woken() {
    const OTHERS: u64 = 3;
    in_memory_and_on_a_file("wake", |name, map| {
        let view = map.create_view_accessor(0, 0).unwrap();
        let [round, answers] = [0, 8].map(|at| word(&view, at).unwrap());
        let others: Vec<_> = (0..OTHERS).map(|_| Other::start("acknowledge", name)).collect();
        // Only a wake-up ends such a sleep: a missed one hangs.
        for next in 1..=WAKES {
            round.store(next, Ordering::Release);
            wake_all(round);
            sleep_until(answers, |answers| answers == next * OTHERS);
        }
        others.into_iter().for_each(Other::end);
    });
}

#[test]
fn sleepers_that_were_woken_and_stopped_leave_others_a_way() {
    let map = MapName::parse(&name("spent"), None).unwrap();
    let place = wake::Named::of_name(&map);
    let wake::Named::Names(names) = &place else { panic!("it has names") };
    let opened = open(map.text(), Disposition::CreateNew).unwrap();
    let subject = map.subject();
    let mapping = opened.section.map(0, 4096, 4096, Access::ReadWrite, &subject).unwrap();
    // SAFETY: the mapping is page-aligned, has this memory, and lives as long as the word is used.
    let word = unsafe { &*mapping.as_ptr().cast::<AtomicU64>() };
    // As many sleepers as there are names, each woken and never gone.
    let spent: Vec<_> = (0..wake::BELLS).map(|_| place.bell().unwrap().unwrap()).collect();
    place.ring();
    assert!(place.bell().unwrap().is_some(), "they shared the first, and the second is free");
    drop(spent);
    let mut spent = Vec::new();
    while let Some(bell) = place.bell().unwrap() {
        kernel::ring(&bell);
        spent.push(bell);
    }
    assert_eq!(spent.len(), wake::BELLS as usize);
    let is_woken = || {
        sleep_on(word, 0, Duration::from_millis(1));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(5));
                word.fetch_add(1, Ordering::Release);
                wake_all(word);
            });
            sleep_until(word, |word| word > 0);
        });
        word.store(0, Ordering::Release);
    };
    is_woken();
    drop(spent);
    // Even where another kind of object has the first name.
    let other = MemoryMappedFile::create_new(&format!("{names}.0"), 1).unwrap();
    assert!(place.bell().is_err());
    is_woken();
    drop(other);
    assert!(place.bell().unwrap().is_some());
}

#[test]
fn who_waits_for_a_version_takes_no_processor_time() {
    let name = name("idle");
    let cell = cell(&name);
    let mut other = Other::start("wait", &name);
    std::thread::sleep(Duration::from_secs(2));
    cell.try_writer().unwrap().unwrap().publish(b"value").unwrap();
    let mut line = String::new();
    while !line.trim_end().ends_with("ms") {
        line.clear();
        assert_ne!(other.output.read_line(&mut line).unwrap(), 0, "the other process ended early");
    }
    let took: u64 = line.trim_end().strip_suffix(" ms").unwrap().parse().unwrap();
    println!("{took} ms of processor time in 2 s");
    assert!(took <= 40, "{took} ms");
    other.end();
}

/// What this process has taken.
fn processor_time() -> Duration {
    let [mut created, mut ended, mut kernel, mut user] = [FILETIME::default(); 4];
    // SAFETY: the pseudo-handle of this process is always valid.
    let process = unsafe { GetCurrentProcess() };
    // SAFETY: fills the four structs, which outlive the call.
    let done =
        unsafe { GetProcessTimes(process, &raw mut created, &raw mut ended, &raw mut kernel, &raw mut user) };
    assert_ne!(done, 0);
    let nanos = |time: FILETIME| (u64::from(time.dwHighDateTime) << 32 | u64::from(time.dwLowDateTime)) * 100;
    Duration::from_nanos(nanos(kernel) + nanos(user))
}

#[test]
fn a_cell_is_whole_for_who_opens_it_while_it_is_made() {
    let name = name("birth");
    let mut other = Other::start("make cells", &name);
    for round in 0..ROUNDS {
        // Both make it at the same time.
        writeln!(other.process.stdin.as_mut().unwrap()).unwrap();
        let mine = cell(&format!("{name}-{round}"));
        mine.writer_timeout(LIMIT).unwrap().publish(b"mine").unwrap();
        other.wait_for("round");
        assert_eq!((mine.version(), mine.capacity()), (2, 16 << 30));
    }
    other.end();
}

#[test]
fn what_a_broken_writer_says_of_memory_is_not_believed() {
    let name = name("broken");
    let cell = cell(&name);
    cell.try_writer().unwrap().unwrap().publish(b"value").unwrap();
    let slot = (0..3u64).find(|slot| {
        let header = 8192 + slot * 64;
        let map = MemoryMappedFile::open_existing(&name).unwrap();
        let head = map.create_view_accessor(0, 16_384).unwrap();
        let current = head.read::<u64>(header).unwrap() == 1;
        if current {
            head.write(header + 8, 1u64 << 33).unwrap();
        }
        // The word claims memory where there is none.
        head.write(header + 48, 1u64 << 33).unwrap();
        current
    });
    assert!(slot.is_some());
    assert_eq!(cell.copy().unwrap_err().kind(), ErrorKind::Corrupt);
    assert_eq!(cell.reader().load().unwrap_err().kind(), ErrorKind::Corrupt);
    let mut writer = cell.try_writer().unwrap().unwrap();
    for _ in 0..5 {
        writer.publish(&vec![5; 70_000]).unwrap();
    }
    assert_eq!(cell.copy().unwrap().unwrap().bytes.as_slice(), vec![5; 70_000]);
}

#[test]
fn secrets_stay_in_memory() {
    let options = CellOptions::new();
    let secret = options.secret(true).capacity(1 << 30).create_or_open(&name("secret")).unwrap();
    let mut writer = secret.try_writer().unwrap().unwrap();
    for size in [10, 2 << 20, 10] {
        writer.publish(&vec![1; size]).unwrap();
        assert_eq!(secret.copy().unwrap().unwrap().bytes.len(), size);
    }
}

#[test]
fn memory_is_taken_where_it_is_asked_for_and_seen_in_all_views() {
    let name = name("sparse");
    let map = MapOptions::new().delay_allocate_pages(true).create_new(&name, 1 << 40).unwrap();
    let other = MemoryMappedFile::open_existing(&name).unwrap();
    let view = map.create_sparse_accessor(1, Access::ReadWrite).unwrap();
    let seen = other.create_sparse_accessor(0, Access::Read).unwrap();
    let at = 300_000_000_000;
    assert!(seen.has_memory(0, 4096));
    assert!(!seen.has_memory(0, 4097));
    assert!(!seen.has_memory(at, 1));
    map.section().reserve(at as u64, 100_000, map.subject()).unwrap();
    assert!(view.has_memory(at, 100_000) && seen.has_memory(at + 1, 99_999));
    assert!(!seen.has_memory(at - 4096, 5000) && !seen.has_memory(at, 110_000));
    view.write(at as u64 + 50_000, 3u8).unwrap();
    assert_eq!(seen.read::<u8>(at as u64 + 50_000).unwrap(), 3);
    assert_eq!(seen.read::<u8>(at as u64 + 99_999).unwrap(), 0);
    // What was given back can be touched and taken again.
    map.section().release(at as u64, 100_000);
    map.section().reserve(at as u64, 100_000, map.subject()).unwrap();
    view.write(at as u64 + 50_000, 4u8).unwrap();
    assert_eq!(seen.read::<u8>(at as u64 + 50_000).unwrap(), 4);
}

#[test]
fn handles_share_locks_and_know_of_each_other() {
    let folder = temporary("shared");
    let memory = name("shared");
    let file = name("shared-file");
    let in_memory = MemoryMappedFile::create_new(&memory, 5000).unwrap();
    let options = MapOptions::new().map_name(&file);
    let on_file = create_from_file(folder.join("map"), FileMode::OpenOrCreate, 5000, &options).unwrap();
    let id = LockId(17);
    for (name, map) in [(&memory, &in_memory), (&file, &on_file)] {
        let first = map.section();
        let second = open(name, Disposition::OpenExisting).unwrap().section;
        let held = || [first, &second].map(|section| section.is_locked_elsewhere(id).unwrap());
        assert_eq!(held(), [false, false]);
        assert!(first.try_lock(id, LockMode::Shared).unwrap());
        assert_eq!(held(), [false, true]);
        assert!(second.try_lock(id, LockMode::Shared).unwrap());
        assert_eq!(held(), [true, true]);
        first.unlock(id);
        assert_eq!(held(), [true, false]);
        assert!(!first.try_lock(id, LockMode::Exclusive).unwrap());
        second.unlock(id);
        assert_eq!(held(), [false, false]);
        assert!(first.try_lock(id, LockMode::Exclusive).unwrap());
        assert_eq!(held(), [false, true]);
        assert!(!second.try_lock(id, LockMode::Shared).unwrap());
        first.unlock(id);

        let other = Other::start("lock shared", name);
        assert_eq!(held(), [true, true]);
        assert!(first.try_lock(id, LockMode::Shared).unwrap());
        assert_eq!(held(), [true, true]);
        other.kill();
        let deadline = std::time::Instant::now() + LIMIT;
        while held() != [false, true] {
            assert!(std::time::Instant::now() < deadline);
        }
        first.unlock(id);
    }
    drop((in_memory, on_file));
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_cell_on_a_file_keeps_its_value() {
    let folder = temporary("cell-file");
    let path = folder.join("cell");
    let options = CellOptions::new().durability(Durability::Sync).capacity(10_000);
    let open = || options.create_or_open(&path).unwrap();
    let cell = open();
    assert_eq!(cell.try_writer().unwrap().unwrap().publish(b"kept").unwrap(), 1);
    drop(cell);
    let cell = open();
    assert_eq!(cell.copy().unwrap().unwrap().bytes.as_slice(), b"kept");
    assert_eq!(cell.dropped(), None);
    drop(cell);
    fs::remove_dir_all(folder).unwrap();
}

fn temporary(of: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(name(of));
    fs::create_dir(&folder).unwrap();
    folder
}

#[test]
fn files_are_mapped_grown_and_shared() {
    let folder = temporary("files");
    let path = folder.join("map");
    fs::write(&path, b"abc").unwrap();
    let name = name("files");
    let options = MapOptions::new();
    let map = create_from_file(&path, FileMode::Open, 1000, &MapOptions::new().map_name(&name)).unwrap();
    assert_eq!((map.capacity(), fs::metadata(&path).unwrap().len()), (1000, 1000));
    let second = create_from_file(&path, FileMode::Open, 0, &options).unwrap();
    let shorter = create_from_file(&path, FileMode::Create, 10, &options).unwrap_err();
    assert_eq!(shorter.kind(), ErrorKind::SharingViolation, "{shorter}");
    assert!(fs::remove_file(&path).is_err());
    drop(second);
    let opened = open(&name, Disposition::OpenExisting).unwrap();
    assert!(opened.section.is_on_file());
    assert_eq!(opened.capacity, 1000);
    let view = map.create_view_accessor(0, 0).unwrap();
    assert_eq!(view.read::<u8>(0).unwrap(), b'a');
    view.write(999, b'z').unwrap();
    view.flush().unwrap();
    drop((map, opened));
    // The view keeps the memory, neither the name nor the file's handle.
    assert!(open(&name, Disposition::OpenExisting).is_err());
    view.write(998, b'y').unwrap();
    drop(view);
    assert_eq!(fs::read(&path).unwrap()[998..], *b"yz");

    for (read, write) in [(true, false), (true, true), (false, true)] {
        let file = fs::OpenOptions::new().read(read).write(write).open(&path).unwrap();
        assert_eq!(super::file_access(&file).unwrap(), (read, write));
        assert_eq!(MemoryMappedFile::from_file(file, 0).is_ok(), read && write);
    }
    let missing = create_from_file(folder.join("none"), FileMode::Open, 0, &options).unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    let new = folder.join("new");
    let create_new = |path, capacity| create_from_file(path, FileMode::CreateNew, capacity, &options);
    assert_eq!(create_new(&path, 10).unwrap_err().kind(), ErrorKind::AlreadyExists);
    assert_eq!(create_new(&new, 0).unwrap_err().kind(), ErrorKind::InvalidArgument);
    assert!(!new.exists());
    drop(create_new(&new, 10).unwrap());
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn handles_of_one_file_exclude_each_other() {
    let folder = temporary("file-locks");
    let path = folder.join("map");
    fs::write(&path, [0; 100]).unwrap();
    let open = || {
        let file = fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
        Section::from_file(file, request(100), None).unwrap()
    };
    let (first, second) = (open(), open());
    let take = |section: &Section, mode| section.try_lock(LockId::VALUE, mode).unwrap();
    assert!(take(&first, LockMode::Shared));
    assert!(take(&second, LockMode::Shared));
    second.unlock(LockId::VALUE);
    assert!(!take(&second, LockMode::Exclusive));
    drop(first);
    assert!(take(&second, LockMode::Exclusive));
    drop(second);
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn running_out_is_an_error() {
    let refused = MemoryMappedFile::create_new(&name("huge"), 1 << 46).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::NoSpace, "{refused}");
    let refused = MemoryMappedFile::create_new(&name("huge"), u64::MAX).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::OutOfRange, "{refused}");
}

/// An object's access list, in the security descriptor definition language.
fn admitted(object: &OwnedHandle) -> String {
    let mut descriptor = ptr::null_mut();
    // SAFETY: the handle is open as long as it is borrowed; `descriptor` takes the pointer, and nothing else
    // is requested.
    let code = unsafe {
        GetSecurityInfo(
            object.as_raw_handle(),
            SE_KERNEL_OBJECT,
            DACL_SECURITY_INFORMATION,
            ptr::null_mut(),
            ptr::null_mut(),
            ptr::null_mut(),
            ptr::null_mut(),
            &raw mut descriptor,
        )
    };
    assert_eq!(code, 0);
    let (mut text, mut units) = (ptr::null_mut(), 0);
    // SAFETY: the descriptor is the one of the last call; `text` and `units` take the results. Neither is
    // freed: the process ends soon.
    let done = unsafe {
        ConvertSecurityDescriptorToStringSecurityDescriptorW(
            descriptor,
            SDDL_REVISION_1,
            DACL_SECURITY_INFORMATION,
            &raw mut text,
            &raw mut units,
        )
    };
    assert_ne!(done, 0);
    // SAFETY: the call returned that many units.
    let text = unsafe { std::slice::from_raw_parts(text, units as usize) };
    String::from_utf16_lossy(text).trim_end_matches('\0').to_owned()
}

/// The access list of the event of this name: its owner may always read that.
fn admitted_to_event(name: &str) -> String {
    let name = kernel::wide(name);
    // SAFETY: the name ends with a NUL and outlives the call.
    let event = unsafe { OpenEventW(READ_CONTROL, 0, name.as_ptr()) };
    assert!(!event.is_null(), "{}", std::io::Error::last_os_error());
    // SAFETY: the call returned a handle that nothing else owns.
    admitted(&unsafe { OwnedHandle::from_raw_handle(event) })
}

/// Fails unless the list is protected from inheritance and has one entry, which gives this user these rights.
#[track_caller]
fn assert_admits_this_user(admitted: &str, rights: &str) {
    let own = kernel::user_sid().unwrap();
    assert_eq!(admitted.matches('(').count(), 1, "{admitted}");
    assert!(admitted.starts_with(&format!("D:P(A;;{rights}")), "{admitted}");
    assert!(admitted.ends_with(&format!(";;;{own})")), "{admitted}, and not {own}");
}

// No other user is at hand here, so these check what the kernel says of the objects.

#[test]
fn only_the_creating_user_is_admitted_to_maps() {
    let map = name("admitted");
    let folder = temporary("admitted");
    for scope in ["Local", "Global"] {
        let names = ["", "-cell", "-file"].map(|kind| format!("{scope}\\{map}{kind}"));
        let _map = MemoryMappedFile::create_new(&names[0], 1).unwrap();
        let _cell = cell(&names[1]);
        let options = MapOptions::new().map_name(&names[2]);
        let _file = create_from_file(folder.join(scope), FileMode::CreateNew, 1, &options).unwrap();
        for name in names {
            let section = kernel::open_section(&kernel::wide(&name), MAXIMUM_ALLOWED, false).unwrap();
            assert_admits_this_user(&admitted(&section), "");
        }
    }
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn nobody_is_admitted_to_a_lock_and_this_user_to_sharing_one() {
    let name = name("admitted-lock");
    for scope in [Scope::User, Scope::Global] {
        let map = MapOptions::new().scope(scope).create_new(&name, 1).unwrap();
        assert!(map.section().try_lock(LockId(3), LockMode::Exclusive).unwrap());
        assert!(map.section().try_lock(LockId(4), LockMode::Shared).unwrap());
        let lock = format!("{}handover.lock.{:032x}", prefix(scope), name_hash(&name));
        let exclusive = admitted_to_event(&format!("{lock}.3"));
        assert!(exclusive.starts_with("D:P(D;;") && exclusive.ends_with(";;;WD)"), "{exclusive}");
        assert_eq!(exclusive.matches('(').count(), 1, "{exclusive}");
        // To take part (0x2, which this language calls DC), and not to look: a handle that looks would keep
        // it.
        assert_admits_this_user(&admitted_to_event(&format!("{lock}.4.shared")), "DC;");
    }
}

#[test]
fn only_the_creating_user_is_admitted_to_bells() {
    let name = name("admitted-bell");
    for scope in [Scope::User, Scope::Global] {
        let map_name = MapName::parse(&name, Some(scope)).unwrap();
        let bell = wake::Named::of_name(&map_name).bell().unwrap();
        let event = format!("{}handover.bell.{:032x}.0", prefix(scope), name_hash(&name));
        assert_admits_this_user(&admitted_to_event(&event), "");
        drop(bell);
    }
    let folder = temporary("admitted-bell");
    let file = fs::File::create(folder.join("file")).unwrap();
    let (volume, number) = super::file::identity(&file).unwrap();
    let _bell = wake::Named::of_file(&file).bell().unwrap();
    let event = format!("Global\\handover.bell.file.{volume:08x}.{number:016x}.0");
    assert_admits_this_user(&admitted_to_event(&event), "");
    drop(file);
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_token_is_taken_once_and_free_when_its_holder_lets_go() {
    let token = kernel::wide(&format!("Local\\{}", name("token")));
    let held = kernel::create_token(&token).unwrap();
    assert!(held.is_some());
    assert!(kernel::create_token(&token).unwrap().is_none());
    drop(held);
    assert!(kernel::create_token(&token).unwrap().is_some());
}
