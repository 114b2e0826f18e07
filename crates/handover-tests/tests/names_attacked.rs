//! Names whose files, directories and locks somebody meddles with, and calls that the system refuses. Each
//! test runs in a process of its own: they change what a process has only once.
#![cfg(target_os = "linux")]

use std::ffi::CString;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use handover::ErrorKind;
use handover::Scope;
use handover::map::{Access, MapOptions, MemoryMappedFile};
use handover_tests::{Start, memory_dir, own_dir};

const CHILD: &str = "HANDOVER_TEST_ALONE";

/// Runs `body` in a process in which no other test runs, with a limit of 30 seconds.
fn alone(test: &str, body: impl FnOnce()) {
    if std::env::var_os(CHILD).is_some() {
        // SAFETY: ends a process that hangs.
        unsafe { libc::alarm(30) };
        return body();
    }
    let own = std::env::current_exe().unwrap();
    let output =
        Command::new(own).args(["--exact", test, "--nocapture"]).env(CHILD, "1").run_for_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {text}", output.status);
    assert!(text.contains("1 passed"), "{text}");
}

/// Forks. The child does `act` and ends at once, dropping nothing. Returns whether `act` returned.
fn in_child(act: impl FnOnce()) -> bool {
    wait_for(fork(act))
}

fn fork(act: impl FnOnce()) -> libc::pid_t {
    // SAFETY: no other thread of this process uses the library.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: ends a child that hangs.
        unsafe { libc::alarm(20) };
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(act));
        // SAFETY: ends the process, and runs nothing of its parent's.
        unsafe { libc::_exit(i32::from(done.is_err())) };
    }
    child
}

fn wait_for(child: libc::pid_t) -> bool {
    let mut status = 0;
    // SAFETY: `status` takes the number; the child is this process's own.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0
}

/// A call, which argument is looked at, which of its bits, what they must be, and the error that it gets.
type Refused = (libc::c_long, u32, u32, u32, i32);

/// Has every such call of this process fail from now on.
fn refuse((number, at, mask, bits, errno): Refused) {
    let step = |code: u32, jt: u8, jf: u8, k: u32| libc::sock_filter { code: code as u16, jt, jf, k };
    let load = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    let mut filter = [
        step(load, 0, 0, 0),
        step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 4, number as u32),
        step(load, 0, 0, 16 + 8 * at),
        step(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, 0, 0, mask),
        step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, bits),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ERRNO | errno as u32),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: the call takes numbers.
    assert_eq!(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }, 0);
    // SAFETY: the program lives as long as the call.
    let set = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) };
    assert_eq!(set, 0, "{}", io::Error::last_os_error());
}

fn in_scope(base: &Path, scope: Scope) -> MapOptions {
    MapOptions::new().directory(base).scope(scope)
}

/// The files of names below `base`.
fn files(base: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for directory in fs::read_dir(base).unwrap() {
        let directory = directory.unwrap().path();
        if directory.is_dir() {
            found.extend(fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    found.retain(|path| path.file_name().unwrap() != ".sweep");
    found
}

fn no_files() -> Vec<PathBuf> {
    Vec::new()
}

fn file_with(base: &Path, suffix: &str) -> PathBuf {
    let found = files(base);
    found
        .iter()
        .find(|path| path.to_str().unwrap().ends_with(suffix))
        .unwrap_or_else(|| panic!("{found:?}"))
        .clone()
}

/// A map of this name as a killed holder leaves it.
fn leave(options: &MapOptions, name: &str) {
    assert!(in_child(|| std::mem::forget(options.create_new(name, 100).unwrap())));
}

static OPENED: Mutex<Option<MemoryMappedFile>> = Mutex::new(None);
static BASE: Mutex<Option<PathBuf>> = Mutex::new(None);

extern "C" fn open_it() {
    let base = BASE.lock().unwrap().clone().unwrap();
    *OPENED.lock().unwrap() = Some(in_scope(&base, Scope::User).create_new("x", 100).unwrap());
}

static CLOSES: AtomicBool = AtomicBool::new(false);

extern "C" fn close_it() {
    if CLOSES.load(Ordering::Relaxed) {
        *OPENED.lock().unwrap() = None;
    }
}

#[test]
fn a_map_opened_while_the_process_forks_is_its_childs_too() {
    alone("a_map_opened_while_the_process_forks_is_its_childs_too", || {
        let dir = own_dir();
        *BASE.lock().unwrap() = Some(dir.path().to_owned());
        // Of handlers that are registered earlier, those before the fork run later, and the others earlier.
        // SAFETY: a panic in a function ends the process.
        assert_eq!(unsafe { libc::pthread_atfork(Some(open_it), Some(close_it), None) }, 0);
        drop(in_scope(dir.path(), Scope::User).create_new("first", 100).unwrap());
        for closes_in_handler in [false, true] {
            CLOSES.store(closes_in_handler, Ordering::Relaxed);
            let (mut closed, mut is_closed) = UnixStream::pair().unwrap();
            let child = fork(|| {
                is_closed.read_exact(&mut [0]).unwrap();
                OPENED.lock().unwrap().as_ref().unwrap().check_name().unwrap();
            });
            *OPENED.lock().unwrap() = None;
            closed.write_all(b"!").unwrap();
            assert!(wait_for(child), "{closes_in_handler}");
        }
    });
}

#[test]
fn a_leftover_that_can_not_be_removed_is_an_error() {
    alone("a_leftover_that_can_not_be_removed_is_an_error", || {
        let dir = own_dir();
        let options = in_scope(dir.path(), Scope::User);
        leave(&options, "x");
        assert!(in_child(|| {
            refuse((libc::SYS_unlinkat, 2, u32::MAX, 0, libc::EPERM));
            let error = options.create_new("x", 100).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::AccessDenied, "{error}");
        }));
        assert!(in_child(|| {
            let flags = (libc::O_RDWR | libc::O_NONBLOCK) as u32;
            refuse((libc::SYS_openat, 2, flags, flags, libc::EPERM));
            let error = options.create_or_open("x", 100).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::AccessDenied, "{error}");
        }));
        drop(options.create_new("x", 100).unwrap());
        assert_eq!(files(dir.path()), no_files());
    });
}

#[test]
fn a_leftover_without_its_lock_file_that_can_not_be_removed_is_an_error() {
    alone("a_leftover_without_its_lock_file_that_can_not_be_removed_is_an_error", || {
        let base = memory_dir();
        let options = in_scope(base.path(), Scope::Global).file_mode(0o644);
        leave(&options, "x");
        fs::remove_file(file_with(base.path(), ".lock")).unwrap();
        let flags = (libc::O_RDWR | libc::O_NONBLOCK) as u32;
        refuse((libc::SYS_openat, 2, flags, flags, libc::EACCES));
        let error = options.create_new("x", 100).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AccessDenied, "{error}");
        assert_eq!(options.open_existing("x").unwrap_err().kind(), ErrorKind::NotFound);
    });
}

#[test]
fn a_reader_takes_no_failed_look_for_a_name_that_is_absent() {
    alone("a_reader_takes_no_failed_look_for_a_name_that_is_absent", || {
        let base = memory_dir();
        let options = in_scope(base.path(), Scope::User);
        leave(&options, "x");
        let options = options.access(Access::Read);
        refuse((libc::SYS_openat, 2, libc::O_ACCMODE as u32, libc::O_RDWR as u32, libc::EACCES));
        assert_eq!(options.open_existing("x").unwrap_err().kind(), ErrorKind::NotFound);
        let itself = libc::AT_SYMLINK_NOFOLLOW as u32;
        refuse((libc::SYS_newfstatat, 3, itself, itself, libc::EIO));
        assert_eq!(options.open_existing("x").unwrap_err().kind(), ErrorKind::Io);
    });
}

/// Mounts a directory on itself.
fn mount(path: &Path, flags: libc::c_ulong) {
    let path = CString::new(path.as_os_str().as_bytes()).unwrap();
    let none = std::ptr::null();
    // SAFETY: the strings live as long as the call; the rest may be null.
    let mounted = unsafe { libc::mount(path.as_ptr(), path.as_ptr(), none, flags, none.cast()) };
    assert_eq!(mounted, 0, "{}", io::Error::last_os_error());
}

#[test]
fn a_read_only_mount_serves_a_map_that_others_may_read() {
    alone("a_read_only_mount_serves_a_map_that_others_may_read", || {
        let dir = memory_dir();
        let options = in_scope(dir.path(), Scope::Global);
        let holder = options.clone().file_mode(0o644).create_new("x", 100).unwrap();
        holder.create_view_accessor(0, 0).unwrap().write(0, 7u8).unwrap();
        let read = options.access(Access::Read);
        assert!(in_child(|| {
            // SAFETY: the call takes a number.
            if unsafe { libc::unshare(libc::CLONE_NEWNS) } != 0 {
                return;
            }
            mount(Path::new("/"), libc::MS_REC | libc::MS_PRIVATE);
            mount(dir.path(), libc::MS_BIND);
            mount(dir.path(), libc::MS_BIND | libc::MS_REMOUNT | libc::MS_RDONLY);
            assert!(fs::write(dir.path().join("x"), "x").is_err());
            let map = read.open_existing("x").unwrap();
            let view = map.create_view_accessor_with(0, 0, Access::Read).unwrap();
            assert_eq!(view.read::<u8>(0).unwrap(), 7);
            assert_eq!(handover::map::list(&in_scope(dir.path(), Scope::Global)).unwrap().len(), 1);
        }));
        drop(holder);
    });
}

#[test]
fn a_map_that_others_may_write_to_has_no_say_over_another_maps_locks() {
    alone("a_map_that_others_may_write_to_has_no_say_over_another_maps_locks", || {
        let dir = own_dir();
        let options = in_scope(dir.path(), Scope::Global);
        let (mut done, mut is_done) = UnixStream::pair().unwrap();
        let (name, other) = ("read by others", "written by others");
        let (mut made, mut is_made) = UnixStream::pair().unwrap();
        let holder = fork(|| {
            std::mem::forget(options.clone().file_mode(0o644).create_new(name, 100).unwrap());
            made.write_all(b"!").unwrap();
            is_done.read_exact(&mut [0]).unwrap();
        });
        is_made.read_exact(&mut [0]).unwrap();
        let mut token = [0; 8];
        File::open(file_with(dir.path(), ".map")).unwrap().read_exact_at(&mut token, 72).unwrap();
        assert!(in_child(|| {
            let _held = options.clone().file_mode(0o666).create_new(other, 100).unwrap();
            let path =
                files(dir.path()).into_iter().find(|path| path.metadata().unwrap().mode() & 0o777 == 0o666);
            File::options().write(true).open(path.unwrap()).unwrap().write_all_at(&token, 72).unwrap();
            let joined = options.open_existing(other);
            done.write_all(b"!").unwrap();
            wait_until_dead(holder);
            let error = options.open_existing(name).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
            assert_eq!(joined.unwrap_err().kind(), ErrorKind::WrongKind);
        }));
        assert!(wait_for(holder));
    });
}

/// Waits until a process that is not a child of this one has ended.
fn wait_until_dead(process: libc::pid_t) {
    let state = || fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    while !state().contains(") Z ") {
        std::thread::yield_now();
    }
}

#[test]
fn the_last_close_leaves_nothing_where_no_more_files_can_be_opened() {
    alone("the_last_close_leaves_nothing_where_no_more_files_can_be_opened", || {
        let dir = own_dir();
        for mode in [0o600, 0o644] {
            let options = in_scope(dir.path(), Scope::Global).file_mode(mode);
            let map = options.create_new("x", 100).unwrap();
            let few = libc::rlimit { rlim_cur: 60, rlim_max: 1000 };
            // SAFETY: a valid limit.
            assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const few) }, 0);
            let taken: Vec<_> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
            drop(map);
            drop(taken);
            assert_eq!(files(dir.path()), no_files(), "{mode:o}");
        }
    });
}

#[test]
fn garbage_includes_a_map_whose_lock_file_was_deleted() {
    alone("garbage_includes_a_map_whose_lock_file_was_deleted", || {
        let dir = own_dir();
        let options = in_scope(dir.path(), Scope::Global).file_mode(0o644);
        let living = options.create_new("living", 100).unwrap();
        let lock = file_with(dir.path(), ".lock");
        leave(&options, "x");
        let other = files(dir.path())
            .into_iter()
            .find(|path| path != &lock && path.extension().is_some_and(|extension| extension == "lock"));
        fs::remove_file(other.unwrap()).unwrap();
        assert_eq!(handover::map::collect_garbage(&options).unwrap(), ["x"]);
        assert_eq!(files(dir.path()).len(), 2);
        // Nobody can tell whether this has a holder, but it does say so itself.
        fs::remove_file(lock).unwrap();
        assert_eq!(handover::map::collect_garbage(&options).unwrap(), [""; 0]);
        living.check_name().unwrap();
        drop(living);
        let _ = handover::map::collect_garbage(&options).unwrap();
        assert_eq!(files(dir.path()), no_files());
    });
}

#[test]
fn a_hint_for_sweeps_can_be_read_again_whatever_the_mask_was() {
    alone("a_hint_for_sweeps_can_be_read_again_whatever_the_mask_was", || {
        let dir = own_dir();
        let options = in_scope(dir.path(), Scope::User);
        // SAFETY: the call takes a number.
        unsafe { libc::umask(0o777) };
        let _maps: Vec<_> =
            (0..40).map(|number| options.create_new(format!("{number}").as_str(), 100).unwrap()).collect();
        let directory = fs::read_dir(dir.path()).unwrap().next().unwrap().unwrap().path();
        let hint = fs::metadata(directory.join(".sweep")).unwrap();
        assert_eq!(hint.permissions().mode() & 0o777, 0o600);
    });
}

/// Enters a user namespace in which root has another number.
fn rename_root(number: u32) -> bool {
    // SAFETY: the call takes a number.
    if unsafe { libc::geteuid() } != 0 || unsafe { libc::unshare(libc::CLONE_NEWUSER) } != 0 {
        return false;
    }
    fs::write("/proc/self/uid_map", format!("{number} 0 1")).unwrap();
    true
}

#[test]
fn in_a_user_namespace_a_directory_that_is_not_safe_is_an_error() {
    alone("in_a_user_namespace_a_directory_that_is_not_safe_is_an_error", || {
        let dir = own_dir();
        let options = in_scope(dir.path(), Scope::User);
        let directory = dir.path().join("handover-0");
        drop(options.create_new("x", 100).unwrap());
        if !directory.exists() {
            return;
        }
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o755)).unwrap();
        assert!(in_child(|| {
            if rename_root(1000) {
                let error = options.open_existing("x").unwrap_err();
                assert_eq!(error.kind(), ErrorKind::AccessDenied, "{error}");
            }
        }));
    });
}

#[test]
fn every_way_to_give_a_file_its_name_gives_one_and_leaves_nothing() {
    alone("every_way_to_give_a_file_its_name_gives_one_and_leaves_nothing", || {
        let tmpfile = (libc::O_TMPFILE & !libc::O_DIRECTORY) as u32;
        let by_descriptor = libc::AT_EMPTY_PATH as u32;
        let by_proc = libc::AT_SYMLINK_FOLLOW as u32;
        let ways: [&[Refused]; 5] = [
            &[],
            &[(libc::SYS_linkat, 4, by_descriptor, by_descriptor, libc::ENOENT)],
            &[
                (libc::SYS_linkat, 4, by_descriptor, by_descriptor, libc::ENOENT),
                (libc::SYS_linkat, 4, by_proc, by_proc, libc::ENOENT),
            ],
            &[(libc::SYS_openat, 2, tmpfile, tmpfile, libc::EOPNOTSUPP)],
            &[
                (libc::SYS_openat, 2, tmpfile, tmpfile, libc::EOPNOTSUPP),
                (libc::SYS_renameat2, 0, 0, 0, libc::EINVAL),
            ],
        ];
        for way in ways {
            let dir = own_dir();
            for mode in [0o600, 0o644, 0o666] {
                let options = in_scope(dir.path(), Scope::Global).file_mode(mode);
                leave(&options, "left");
                let did = in_child(|| {
                    way.iter().copied().for_each(refuse);
                    for name in ["left", "new"] {
                        let map = options.create_new(name, 100).unwrap();
                        let error = options.create_new(name, 100).unwrap_err();
                        assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{error}");
                        let other = options.open_existing(name).unwrap();
                        drop(map);
                        other.check_name().unwrap();
                        drop(other);
                        let error = options.open_existing(name).unwrap_err();
                        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
                    }
                });
                assert!(did, "{way:?} {mode:o}");
                assert_eq!(files(dir.path()), no_files(), "{way:?} {mode:o}");
            }
        }
    });
}

/// Has every descriptor of this process that leads below `base` lead to another file, as after closing all
/// and opening others.
fn replace_descriptors(base: &Path) {
    let other = File::create(base.join("log")).unwrap();
    for entry in fs::read_dir("/proc/self/fd").unwrap() {
        let number = entry.unwrap().path();
        let Ok(path) = fs::read_link(&number) else { continue };
        if path.starts_with(base) && path != base.join("log") {
            let number = number.file_name().unwrap().to_str().unwrap().parse().unwrap();
            // SAFETY: what owned the number does no more with it than lock and close it.
            assert_eq!(unsafe { libc::dup2(other.as_raw_fd(), number) }, number);
        }
    }
}

#[test]
fn a_handle_whose_descriptors_became_others_takes_no_name() {
    alone("a_handle_whose_descriptors_became_others_takes_no_name", || {
        for mode in [0o600, 0o644] {
            let dir = own_dir();
            let options = in_scope(dir.path(), Scope::Global).file_mode(mode);
            let holder = options.create_new("x", 100).unwrap();
            assert!(in_child(|| {
                // The inherited one is not used.
                let map = options.open_existing("x").unwrap();
                replace_descriptors(dir.path());
                drop(map);
            }));
            holder.check_name().unwrap();
        }
    });
}

#[test]
fn who_may_write_no_files_gets_an_error() {
    alone("who_may_write_no_files_gets_an_error", || {
        let dir = own_dir();
        let options = in_scope(dir.path(), Scope::Global);
        let _holder = options.clone().file_mode(0o644).create_new("held", 100).unwrap();
        let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: a valid limit.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &raw const none) }, 0);
        for mode in [0o600, 0o644, 0o666] {
            let error = options.clone().file_mode(mode).create_new("x", 100).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NoSpace, "{error}");
        }
        drop(options.open_existing("held").unwrap());
        assert_eq!(files(dir.path()).len(), 2);
    });
}

#[test]
fn a_last_holder_who_may_write_no_files_closes_another_users_map() {
    alone("a_last_holder_who_may_write_no_files_closes_another_users_map", || {
        // SAFETY: the call takes nothing.
        if unsafe { libc::geteuid() } != 0 {
            return;
        }
        let dir = own_dir();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let options = in_scope(dir.path(), Scope::Global);
        let map = options.clone().file_mode(0o666).create_new("x", 100).unwrap();
        let (mut closed, mut is_closed) = UnixStream::pair().unwrap();
        let (mut opened, mut is_opened) = UnixStream::pair().unwrap();
        let other = fork(|| {
            replace_descriptors(dir.path());
            // SAFETY: the call takes a number.
            assert_eq!(unsafe { libc::setuid(1234) }, 0);
            let options = options.clone().owned_by(0);
            let own = options.open_existing("x").unwrap();
            opened.write_all(b"!").unwrap();
            is_closed.read_exact(&mut [0]).unwrap();
            let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
            // SAFETY: a valid limit.
            assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &raw const none) }, 0);
            drop(own);
            assert_eq!(options.open_existing("x").unwrap_err().kind(), ErrorKind::NotFound);
        });
        is_opened.read_exact(&mut [0]).unwrap();
        drop(map);
        closed.write_all(b"!").unwrap();
        assert!(wait_for(other));
    });
}

#[test]
fn a_record_that_others_may_write_lists_no_other_name() {
    alone("a_record_that_others_may_write_lists_no_other_name", || {
        let dir = own_dir();
        let options = in_scope(dir.path(), Scope::Global);
        let _map = options.clone().file_mode(0o666).create_new("this", 100).unwrap();
        let names =
            || handover::map::list(&options).unwrap().into_iter().map(|map| map.name).collect::<Vec<_>>();
        assert_eq!(names(), ["this"]);
        let file = File::options().write(true).open(file_with(dir.path(), ".map")).unwrap();
        file.write_all_at(b"that", 128).unwrap();
        assert_eq!(names(), [""; 0]);
    });
}

#[test]
fn a_list_is_whole_or_an_error_where_files_run_out() {
    alone("a_list_is_whole_or_an_error_where_files_run_out", || {
        let dir = own_dir();
        let options = in_scope(dir.path(), Scope::Global);
        let _map = options.clone().file_mode(0o644).create_new("x", 100).unwrap();
        let few = libc::rlimit { rlim_cur: 60, rlim_max: 1000 };
        // SAFETY: a valid limit.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const few) }, 0);
        for free in 0..8 {
            let mut taken: Vec<_> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
            taken.truncate(taken.len() - free);
            let listed = handover::map::list(&options);
            drop(taken);
            assert!(listed.is_err() || listed.unwrap().len() == 1, "{free}");
        }
    });
}

#[test]
fn a_number_that_no_group_has_is_refused() {
    let dir = own_dir();
    let options = in_scope(dir.path(), Scope::Global).group(u32::MAX);
    let error = options.create_new("x", 100).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
}
