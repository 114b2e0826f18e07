//! Only its owner can read and write a file that `put --path` makes, and a failed `put` leaves none.

mod world;

use world::World;

#[test]
#[cfg(unix)]
fn whatever_the_umask_and_the_options() {
    use std::os::unix::fs::PermissionsExt;

    let world = World::new();
    let options =
        [&[][..], &["--new"], &["--secret"], &["--new", "--secret"], &["--plain"], &["--new", "--plain"]];
    for umask in ["022", "000"] {
        for (number, options) in options.iter().enumerate() {
            let path = world.path(&format!("{umask}-{number}"));
            let put = [&["put", "--path", path.to_str().unwrap(), "1"], *options].concat();
            let line = format!("umask {umask}; exec \"$0\" \"$@\"");
            let mut shell = std::process::Command::new("sh");
            shell.args(["-c", &line, env!("CARGO_BIN_EXE_handover")]).args(&put);
            world::Running::start(&mut shell).end().expect(0);
            let mode = std::fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{put:?} with umask {umask}");
        }
    }
}

#[test]
#[cfg(unix)]
fn one_that_exists_keeps_its_permissions() {
    use std::os::unix::fs::PermissionsExt;

    let world = World::new();
    let path = world.path("kept");
    world.run(&["put", "--path", path.to_str().unwrap(), "1"]).expect(0);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    world.run(&["put", "--path", path.to_str().unwrap(), "2"]).expect(0);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
}

#[test]
fn a_put_that_failed_leaves_none() {
    let world = World::new();
    let path = world.path("file");
    let path = path.to_str().unwrap();
    for options in [&[][..], &["--new"], &["--plain"], &["--new", "--plain"]] {
        let put = [&["put", "--path", path, "--capacity", "4", "-"], options].concat();
        assert!(world.run_with(&put, &[b'1'; 5000]).expect(1).stderr.contains("room for"), "{put:?}");
        assert!(!world.path("file").exists(), "{put:?}");
    }
}

#[test]
fn a_put_that_failed_leaves_the_file_that_was_there() {
    let world = World::new();
    let path = world.path("file");
    let path = path.to_str().unwrap();
    world.run(&["put", "--path", path, "--capacity", "4", "1"]).expect(0);
    world.run_with(&["put", "--path", path, "-"], &[b'1'; 5000]).expect(1);
    assert!(world.run(&["put", "--path", path, "2", "--new"]).expect(1).stderr.contains("leave out --new"));
    assert_eq!(world.run(&["get", "--path", path]).text(), "1");
}
