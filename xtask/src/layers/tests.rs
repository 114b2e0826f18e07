//! Small trees with one fault each, and one without.

use super::*;

/// `of` and `into` of an exception.
type Of = (&'static str, Option<&'static str>);

fn failures(files: &[(&str, &str)], exceptions: &[Of]) -> Vec<String> {
    let texts = files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect();
    let exceptions: Vec<Exception> =
        exceptions.iter().map(|(of, into)| Exception { of, into: *into, why: "a test" }).collect();
    Tree::read(&texts).expect("a tree").failures(&exceptions)
}

/// Checks that there is one failure, which says all of this.
#[track_caller]
fn assert_one(failures: &[String], says: &[&str]) {
    assert_eq!(failures.len(), 1, "{failures:#?}");
    for part in says {
        assert!(failures[0].contains(part), "{part:?} is not in {failures:?}");
    }
}

const CLEAN: &[(&str, &str)] = &[
    ("src/lib.rs", "mod error;\npub mod map;\nmod sys;\npub use error::Error;\npub use map::View;\n"),
    (
        "src/map/mod.rs",
        "mod view;\npub use self::view::View;\nuse crate::sys;\npub fn a() { sys::deep::b(); sys::Held::new(); }\n",
    ),
    ("src/map/view.rs", "//! [`crate::Error`], super::a()\nuse crate::error::Error;\nstruct View(Error);\n"),
    (
        "src/sys/mod.rs",
        "mod held;\npub mod deep;\npub use held::Held;\nconst A: &str = \"crate::map::a()\";\n\
         #[cfg(test)]\nmod tests {\n    use crate::map::a;\n}\n#[cfg(test)]\nuse crate::map;\n",
    ),
    ("src/sys/held.rs", "use super::deep;\nuse std::io::Error;\npub struct Held(deep::D);\n"),
    ("src/sys/deep.rs", "pub fn b() {}\npub struct D;\n"),
    ("src/error.rs", "pub struct Error;\n#[cfg(all(test, loud))] mod tests;\n"),
    ("src/error/tests.rs", "use crate::map::View;\n"),
    ("crates/a/src/main.rs", "mod b;\nmod c;\nfn main() { b::d(); }\n"),
    ("crates/a/src/b.rs", "use crate::c::E;\npub fn d() {}\n"),
    ("crates/a/src/c.rs", "pub struct E;\n"),
    ("crates/a/tests/t.rs", "mod nowhere;\n"),
];

/// `CLEAN` with other texts for some files.
fn but(changed: &[(&'static str, &'static str)]) -> Vec<(&'static str, &'static str)> {
    let kept = CLEAN.iter().filter(|(path, _)| changed.iter().all(|(other, _)| other != path));
    kept.chain(changed).copied().collect()
}

#[test]
fn a_clean_tree_passes() {
    assert_eq!(failures(CLEAN, &[]), [""; 0]);
}

#[test]
fn an_import_that_goes_up_is_found() {
    for (text, says) in [
        ("//! Errors.\nuse crate::map::View;\n", ["src/error.rs:2", "from error to map", "src/map/view.rs"]),
        ("pub struct Error;\nfn a() -> crate::map::View {}\n", ["src/error.rs:2", "crate::map::View", "map"]),
        ("use super::map::{\n    self,\n    View as V,\n};\n", ["src/error.rs:3", "super::map::View", "map"]),
        (
            "mod inner {\n    use super::super::sys::*;\n}\n",
            ["src/error.rs:2", "super::super::sys::*", "sys"],
        ),
    ] {
        let found = failures(&but(&[("src/error.rs", text)]), &[]);
        let upward: Vec<String> = found.into_iter().filter(|failure| failure.contains("goes up")).collect();
        assert!(!upward.is_empty(), "{text}");
        for part in says {
            assert!(upward.iter().any(|failure| failure.contains(part)), "{part:?} is not in {upward:?}");
        }
    }
}

#[test]
fn what_a_higher_module_passes_on_is_up_as_well() {
    let sys = ("src/sys/deep.rs", "use crate::map::Error;\npub fn b() {}\npub struct D;\n");
    let map = ("src/map/mod.rs", "mod view;\npub use self::view::View;\npub use crate::error::Error;\n");
    assert_one(&failures(&but(&[sys, map]), &[]), &["src/sys/deep.rs:1", "sys to map"]);
    // The crate's root is on top.
    let sys = ("src/sys/deep.rs", "use crate::Error;\npub fn b() {}\npub struct D;\n");
    assert_one(&failures(&but(&[sys]), &[]), &["src/sys/deep.rs:1", "sys to lib"]);
}

#[test]
fn a_file_without_a_layer_is_found() {
    let lib = ("src/lib.rs", "mod error;\npub mod map;\nmod sys;\nmod utils;\n");
    assert_one(&failures(&but(&[lib, ("src/utils.rs", "")]), &[]), &["src/utils.rs", "LAYERS"]);
}

#[test]
fn a_circle_of_two_files_is_found() {
    let c = ("crates/a/src/c.rs", "pub struct E;\nfn f() { crate::b::d() }\n");
    let says = ["2 files", "crates/a/src/b.rs:1: `crate::c::E`", "crates/a/src/c.rs:2: `crate::b::d`"];
    assert_one(&failures(&but(&[c]), &[]), &says);
    // The crate's root as one of them.
    let c = ("crates/a/src/c.rs", "pub struct E;\nuse crate::main;\n");
    let main = ("crates/a/src/main.rs", "mod b;\nmod c;\nuse c::E;\nfn main() { b::d(); }\n");
    let says = ["main.rs:3: `c::E`", "c.rs:2: `crate::main`"];
    let found = failures(&but(&[c, main]), &[]);
    assert!(says.iter().all(|part| found[0].contains(part)), "{found:?}");
}

#[test]
fn a_circle_of_three_files_is_found_through_a_re_export() {
    let found = failures(
        &but(&[
            ("src/map/mod.rs", "mod view;\nmod b;\nmod c;\npub use self::{view::View, b::B, c::C as D};\n"),
            ("src/map/view.rs", "use super::B;\npub struct View;\n"),
            ("src/map/b.rs", "use super::D;\npub struct B;\n"),
            ("src/map/c.rs", "pub struct C;\nfn a() -> crate::map::View {}\n"),
        ]),
        &[],
    );
    let says = [
        "3 files",
        "view.rs:1: `super::B` (src/map/b.rs)",
        "b.rs:1: `super::D` (src/map/c.rs)",
        "c.rs:2: `crate::map::View`",
    ];
    assert_one(&found, &says);
}

#[test]
fn a_child_that_takes_what_its_parent_defines_and_passes_on_is_in_a_circle() {
    let view = ("src/map/view.rs", "pub struct View;\nuse super::a;\n");
    assert_one(&failures(&but(&[view]), &[]), &["2 files", "view.rs:2: `super::a` (src/map/mod.rs)"]);
}

#[test]
fn a_module_that_has_several_files_is_followed_to_all() {
    let sys = (
        "src/sys/mod.rs",
        "mod held;\n#[cfg_attr(loud, path = \"a.rs\")]\n#[cfg_attr(not(loud), path = \"b.rs\")]\npub mod deep;\n\
         pub use held::Held;\n",
    );
    let (a, b) = ("pub fn b() {}\npub struct D;\n", "pub fn b() {}\npub struct D(super::Held);\n");
    let found = failures(&but(&[sys, ("src/sys/a.rs", a), ("src/sys/b.rs", b)]), &[]);
    assert_one(&found, &["2 files", "src/sys/b.rs:2"]);
}

#[test]
fn a_file_that_is_too_long_is_found_and_its_tests_do_not_count() {
    let line = "// A line.\n";
    let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", line.repeat(LONGEST));
    let fits = format!("pub struct Error;\n{}{tests}", line.repeat(LONGEST - 1));
    let mut files = but(&[]);
    files.retain(|(path, _)| *path != "src/error.rs");
    files.push(("src/error.rs", &fits));
    assert_eq!(failures(&files, &[]), [""; 0]);
    let long = format!("{fits}{line}");
    files.pop();
    files.push(("src/error.rs", &long));
    assert_one(&failures(&files, &[]), &["src/error.rs: 501 lines"]);
    assert_eq!(failures(&files, &[("src/error.rs", None)]), [""; 0]);
}

#[test]
fn gates_of_the_model_are_counted_in_any_form() {
    let text = "pub struct Error;\n#[cfg(not(handover_model))]\nfn a() {}\n#[cfg(all(test, handover_model))]\nfn b() {}\n\
                const C: bool = cfg!(handover_model);\n// cfg(handover_model)\n";
    assert_eq!(failures(&but(&[("src/error.rs", text)]), &[]), [""; 0]);
    let view = ("src/map/view.rs", "#[cfg_attr(not(handover_model), expect(dead_code))]\npub struct View;\n");
    let found = failures(&but(&[("src/error.rs", text), view]), &[]);
    assert_one(&found, &["4 gates", "src/error.rs (3)", "src/map/view.rs (1)"]);
    assert_eq!(failures(&but(&[("src/error.rs", text), view]), &[(MODEL, None)]), [""; 0]);
}

#[test]
fn an_exception_excuses_what_it_names_and_no_more() {
    let view = ("src/map/view.rs", "pub struct View;\nuse super::a;\n");
    for of in [
        ("src/map", None),
        ("src/map/view.rs", None),
        ("src/map/view.rs", Some("src/map/mod.rs")),
        ("src/map", Some("src/map/mod.rs")),
        ("src/map/mod.rs", Some("src/map/view.rs")),
    ] {
        assert_eq!(failures(&but(&[view]), &[of]), [""; 0], "{of:?}");
    }
    // A circle that leaves the folder.
    let error = ("src/error.rs", "pub struct Error;\nuse crate::map::View;\n");
    let found = failures(
        &but(&[("src/map/view.rs", "use crate::error::Error;\nuse super::a;\n"), error]),
        &[("src/map", None)],
    );
    assert!(found.iter().any(|failure| failure.contains("a circle of 2 files")), "{found:?}");
}

#[test]
fn an_exception_that_excuses_nothing_is_found() {
    for of in
        [("src/map", None), ("src/error.rs", None), ("src/map/view.rs", Some("src/error.rs")), (MODEL, None)]
    {
        assert_one(&failures(CLEAN, &[of]), &[of.0, "excuses nothing"]);
    }
}
