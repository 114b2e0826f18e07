//! The help explains what a person needs: exit codes, when a name disappears, what others can see; and
//! completions and manual pages come from the same definition.

mod world;

use world::World;

const SUBCOMMANDS: [&str; 10] =
    ["put", "get", "take", "watch", "ls", "stat", "gc", "demo", "completions", "man"];

#[test]
fn every_exit_code_is_listed() {
    let help = World::new().run(&["--help"]).text();
    for code in [
        "0  done",
        "1  failed",
        "2  usage",
        "3  no such map",
        "4  timed out",
        "5  a map of another kind",
        "6  the name was lost",
    ] {
        assert!(help.contains(code), "no '{code}' in: {help}");
    }
}

#[test]
fn it_says_when_a_name_disappears() {
    let world = World::new();
    for arguments in [&["--help"][..], &["-h"], &["put", "--help"]] {
        let help = world.run(arguments).text();
        assert!(help.contains("last"), "{arguments:?}: {help}");
    }
    assert!(world.run(&["--help"]).text().contains("exactly as long as a process holds it"));
}

#[test]
fn it_warns_of_secrets_among_arguments() {
    let help = World::new().run(&["put", "--help"]).text();
    assert!(
        help.contains("(ps)") && help.contains("--file") && help.contains("standard input (-)"),
        "{help}"
    );
}

#[test]
fn every_subcommand_has_a_line_and_examples() {
    let world = World::new();
    let root = world.run(&["--help"]).text();
    for subcommand in SUBCOMMANDS {
        let start = format!("  {subcommand} ");
        let line = root.lines().find(|line| line.starts_with(&start)).expect(subcommand);
        assert!(line.len() > start.len() + 10, "{line}");
        let help = world.run(&[subcommand, "--help"]).text();
        assert!(help.contains("Examples:") && help.contains(&format!("handover {subcommand}")), "{help}");
    }
    assert!(!root.contains("demo-producer"));
}

#[test]
fn completions_for_every_shell() {
    let world = World::new();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = world.run(&["completions", shell]).text();
        assert!(script.contains("capacity") && script.contains("stat"), "{shell}: {script}");
        assert!(!script.contains("demo-producer"), "{shell}");
    }
}

#[test]
fn manual_pages() {
    let world = World::new();
    let page = world.run(&["man"]).text();
    for part in [".TH handover 1", "WHEN A NAME DISAPPEARS", "EXIT CODES", "handover\\-put(1)"] {
        assert!(page.contains(part), "no '{part}' in: {page}");
    }
    for subcommand in SUBCOMMANDS {
        let page = world.run(&["man", subcommand]).text();
        assert!(page.contains(".SH EXAMPLES") && page.contains("SYNOPSIS"), "{page}");
    }
}
