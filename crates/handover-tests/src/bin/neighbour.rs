//! A process of another user: it does one thing, as far as the system lets it, says what came of it in one
//! line of JSON, and then keeps what it has until its standard input ends.
//!
//! ```text
//! neighbour UID GROUPS map HOW NAME CAPACITY [KEY=VALUE…]   opens a map
//! neighbour UID GROUPS jail NAME DIRECTORY                  sets a value, then has another root directory
//! neighbour UID GROUPS list | gc [OWNER]                    of the global scope
//! neighbour UID GROUPS lock PATH…       locks all of each file and directory, again and again
//! neighbour UID GROUPS life PATH | claim PATH               takes that lock of a map
//! neighbour UID GROUPS make PATH | write PATH OFFSET HEX | cut PATH LENGTH
//! ```

#[cfg(not(target_os = "linux"))]
fn main() {}

#[cfg(target_os = "linux")]
fn main() {
    linux::main();
}

#[cfg(target_os = "linux")]
mod linux {
    use std::collections::HashSet;
    use std::fs::{File, OpenOptions};
    use std::io::{self, BufRead, Read, Write};
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
    use std::time::{Duration, Instant};

    use handover::map::{Access, MapOptions, MemoryMappedFile};
    use handover::{MemoryMapper, Scope};
    use handover_tests::{Failure, HANG};
    use serde::Serialize;

    /// The byte whose locks tell who lives.
    const LIFE: i64 = 1 << 62;

    pub(crate) fn main() {
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let [uid, groups, action, words @ ..] = &words[..] else { panic!("too few arguments") };
        become_user(number(uid), groups);
        match (*action, words) {
            ("map", [how, name, capacity, options @ ..]) => map(how, name, number(capacity).into(), options),
            ("jail", [name, directory]) => {
                return jail(name, directory).unwrap_or_else(|e| say(&Err::<(), _>(library(&e))));
            }
            ("list", owner) => {
                let maps = handover::map::list(&global(owner)).map_err(|e| library(&e));
                say(&maps.map(|maps| maps.into_iter().map(|map| map.name).collect::<Vec<_>>()));
            }
            ("gc", owner) => say(&handover::map::collect_garbage(&global(owner)).map_err(|e| library(&e))),
            ("lock", paths) => return lock_everything(paths),
            ("life", [path]) => return hold_life(path, libc::F_RDLCK),
            ("claim", [path]) => return hold_life(path, libc::F_WRLCK),
            ("make", [path]) => say(&File::create_new(path).map(drop).map_err(|e| system(&e))),
            ("write", [path, offset, hex]) => {
                let bytes: Vec<u8> = (0..hex.len() / 2)
                    .map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).expect("hexadecimal digits"))
                    .collect();
                let file = OpenOptions::new().write(true).open(path);
                let written = file.and_then(|file| file.write_all_at(&bytes, number(offset).into()));
                say(&written.map_err(|e| system(&e)));
            }
            ("cut", [path, length]) => {
                let file = OpenOptions::new().write(true).open(path);
                say(&file.and_then(|file| file.set_len(number(length).into())).map_err(|e| system(&e)));
            }
            other => panic!("{other:?}"),
        }
        wait_for_the_end();
    }

    fn number(word: &str) -> u32 {
        word.parse().unwrap_or_else(|_| panic!("{word:?} is no number"))
    }

    fn check(result: libc::c_int) {
        assert_eq!(result, 0, "{}", io::Error::last_os_error());
    }

    fn become_user(uid: u32, groups: &str) {
        // SAFETY: no conditions.
        if uid == unsafe { libc::geteuid() } && groups.is_empty() {
            return;
        }
        let groups: Vec<libc::gid_t> =
            groups.split(',').filter(|word| !word.is_empty()).map(number).collect();
        // SAFETY: the list has as many groups as are told.
        check(unsafe { libc::setgroups(groups.len(), groups.as_ptr()) });
        // SAFETY: no conditions.
        check(unsafe { libc::setgid(uid) });
        // SAFETY: no conditions.
        check(unsafe { libc::setuid(uid) });
    }

    fn say<T: Serialize>(what: &T) {
        let mut line = serde_json::to_string(what).expect("answers are JSON");
        line.push('\n');
        let mut out = io::stdout().lock();
        // Without a listener there is nothing left to do.
        if out.write_all(line.as_bytes()).and_then(|()| out.flush()).is_err() {
            std::process::exit(0);
        }
    }

    fn library(error: &handover::Error) -> Failure {
        Failure { kind: format!("{:?}", error.kind()), message: error.to_string() }
    }

    fn system(error: &io::Error) -> Failure {
        Failure { kind: format!("{:?}", error.kind()), message: error.to_string() }
    }

    fn wait_for_the_end() {
        let _ = io::stdin().lock().read_to_end(&mut Vec::new());
    }

    fn global(owner: &[&str]) -> MapOptions {
        let options = MapOptions::new().scope(Scope::Global);
        match owner {
            [] => options,
            [owner, ..] => options.owned_by(account(owner)),
        }
    }

    /// A number, or a name.
    fn account(word: &str) -> handover::map::Account {
        word.parse::<u32>().map_or_else(|_| word.into(), Into::into)
    }

    /// Whether it was created, its capacity, and its first bytes as text.
    fn map(how: &str, name: &str, capacity: u64, settings: &[&str]) {
        let mut options = MapOptions::new();
        let (mut text, mut reads) = ("", false);
        for setting in settings {
            let (key, value) = setting.split_once('=').unwrap_or((setting, ""));
            options = match key {
                "mode" => options.file_mode(u32::from_str_radix(value, 8).expect("octal digits")),
                "group" => options.group(account(value)),
                "owner" => options.owned_by(account(value)),
                "directory" => options.directory(value),
                "read" => {
                    reads = true;
                    options.access(Access::Read)
                }
                "put" => {
                    text = value;
                    options
                }
                other => panic!("{other:?}"),
            };
        }
        let opened = match how {
            "create_new" => options.create_new(name, capacity),
            "create_or_open" => options.create_or_open(name, capacity),
            "open_existing" => options.open_existing(name),
            other => panic!("{other:?}"),
        };
        let map = match opened {
            Ok(map) => map,
            Err(error) => {
                say(&Err::<(), _>(library(&error)));
                return wait_for_the_end();
            }
        };
        let found = put(&map, text, reads).map(|found| (map.was_created(), map.capacity(), found));
        say(&found.map_err(|e| library(&e)));
        // Each line that follows is text to store.
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            say(&put_for_a_while(&map, &line, reads).map_err(|e| library(&e)));
        }
        drop(map);
    }

    /// Each line of standard input is the next value.
    fn jail(name: &str, directory: &str) -> handover::Result<()> {
        let mapper: MemoryMapper<String> = MemoryMapper::create_new(name)?;
        mapper.set(&String::from("before"))?;
        let root = std::ffi::CString::new(directory).expect("no NUL");
        // SAFETY: a C string.
        check(unsafe { libc::chroot(root.as_ptr()) });
        // SAFETY: as above.
        check(unsafe { libc::chdir(c"/".as_ptr()) });
        say(&Ok::<_, Failure>(()));
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            let start = Instant::now();
            // So often that it looks whether it still has its name.
            let outcome = loop {
                let is_last = start.elapsed() > Duration::from_millis(200);
                let outcome = mapper.set(&line);
                if is_last || outcome.is_err() {
                    break outcome;
                }
            };
            say(&outcome.map(|_| line).map_err(|e| library(&e)));
        }
        Ok(())
    }

    /// Stores a text, unless it is empty; gives the map's first bytes.
    fn put(map: &MemoryMappedFile, text: &str, reads: bool) -> handover::Result<String> {
        let access = if reads { Access::Read } else { Access::ReadWrite };
        let mut view = map.create_view_stream_with(0, 0, access)?;
        if !text.is_empty() {
            view.write_all(text.as_bytes())?;
        }
        io::Seek::rewind(&mut view)?;
        let mut found = vec![0; map.capacity().min(16) as usize];
        view.read_exact(&mut found)?;
        Ok(String::from_utf8_lossy(&found).trim_end_matches('\0').to_owned())
    }

    /// The same, so often that the map looks whether it still has its name.
    fn put_for_a_while(map: &MemoryMappedFile, text: &str, reads: bool) -> handover::Result<String> {
        let start = Instant::now();
        loop {
            let is_last = start.elapsed() > Duration::from_millis(200);
            let found = put(map, text, reads)?;
            if is_last {
                return Ok(found);
            }
        }
    }

    /// What a range lock is asked for with.
    fn range(kind: libc::c_int, start: i64, length: i64) -> libc::flock {
        // SAFETY: a plain C struct, for which all zeroes is a value.
        let mut range: libc::flock = unsafe { std::mem::zeroed() };
        (range.l_type, range.l_start, range.l_len) = (kind as libc::c_short, start, length);
        range
    }

    fn set_range(file: &File, call: libc::c_int, range: &libc::flock) -> bool {
        // SAFETY: the descriptor is open, and the call only reads the struct.
        unsafe { libc::fcntl(file.as_raw_fd(), call, std::ptr::from_ref(range)) == 0 }
    }

    fn hold_life(path: &str, kind: libc::c_int) {
        let file = OpenOptions::new().read(true).write(kind == libc::F_WRLCK).open(path);
        let file = match file {
            Ok(file) => file,
            Err(e) => {
                say(&Err::<(), _>(system(&e)));
                return wait_for_the_end();
            }
        };
        let start = Instant::now();
        while !set_range(&file, libc::F_OFD_SETLK, &range(kind, LIFE, 1)) {
            assert!(start.elapsed() < HANG, "the lock is never free");
            std::thread::sleep(Duration::from_millis(1));
        }
        say(&Ok::<_, Failure>(()));
        wait_for_the_end();
    }

    /// Takes every lock of every one of these that this user can, again and again: others may make a file
    /// anew. Says, after the first round, how many files and directories it could open.
    fn lock_everything(paths: &[&str]) {
        let ended = std::thread::spawn(wait_for_the_end);
        let mut held = Vec::new();
        let mut seen = HashSet::new();
        let mut said = false;
        while !ended.is_finished() {
            for path in paths {
                let flags = libc::O_NONBLOCK | libc::O_NOFOLLOW;
                let write = OpenOptions::new().read(true).write(true).custom_flags(flags).open(path);
                let write = write.ok();
                let Ok(read) = OpenOptions::new().read(true).custom_flags(flags).open(path) else { continue };
                let metadata = read.metadata().expect("an open file");
                if !seen.insert((metadata.dev(), metadata.ino())) {
                    continue;
                }
                let again = OpenOptions::new().read(true).custom_flags(flags).open(path).ok();
                let all = |kind| range(kind, 0, 0);
                for (file, exclusive) in [(write, true), (Some(read), false), (again, false)] {
                    let Some(file) = file else { continue };
                    let first = if exclusive { libc::F_WRLCK } else { libc::F_RDLCK };
                    if !set_range(&file, libc::F_OFD_SETLK, &all(first)) {
                        set_range(&file, libc::F_OFD_SETLK, &all(libc::F_RDLCK));
                    }
                    // The classic ones belong to the process: they go as soon as it closes any descriptor.
                    set_range(&file, libc::F_SETLK, &all(libc::F_RDLCK));
                    for how in [libc::LOCK_EX, libc::LOCK_SH] {
                        // SAFETY: the descriptor is open.
                        if unsafe { libc::flock(file.as_raw_fd(), how | libc::LOCK_NB) } == 0 {
                            break;
                        }
                    }
                    held.push(file);
                }
            }
            if !said {
                say(&Ok::<_, Failure>(seen.len()));
                said = true;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        drop(held);
    }
}
