//! Checks that code asks which system it runs on only where it may: in a `src/sys` folder and in tests.

use std::path::Path;

use crate::steps;

const ASKS: [&str; 3] = ["cfg(", "cfg!(", "cfg_attr("];
const SYSTEMS: [&str; 5] = ["unix", "windows", "target_os", "target_family", "target_vendor"];

pub(crate) fn check() -> Result<(), String> {
    let mut wrong = 0;
    let mut files = 0;
    for path in steps::files(steps::root(), "rs")? {
        let relative = path.strip_prefix(steps::root()).unwrap_or(&path);
        if may_ask(relative) {
            continue;
        }
        files += 1;
        let text = std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", relative.display()))?;
        for (at, line) in text.lines().enumerate().filter(|(_, line)| asks(line)) {
            wrong += 1;
            println!("{}:{}: {}", relative.display(), at + 1, line.trim());
        }
    }
    if wrong > 0 {
        return Err(format!("{wrong} lines ask for the system; move what differs into src/sys"));
    }
    println!("{files} files ask for no system");
    Ok(())
}

/// Whether the file is one that may differ by system.
fn may_ask(path: &Path) -> bool {
    let parts: Vec<_> = path.iter().map(|part| part.to_string_lossy()).collect();
    parts.windows(2).any(|pair| pair[0] == "src" && (pair[1] == "sys" || pair[1] == "sys.rs"))
        || parts.iter().any(|part| part == "tests" || part == "handover-tests")
}

fn asks(line: &str) -> bool {
    let code = line.trim_start();
    !code.starts_with("//")
        && ASKS.iter().any(|ask| code.contains(ask))
        && SYSTEMS.iter().any(|system| code.contains(system))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_questions_for_the_system_outside_sys_and_tests_count() {
        // Put together here, or this file would be found too.
        for ask in ASKS {
            let question = format!("    #[{ask}{})]", SYSTEMS[0]);
            assert!(asks(&question), "{question}");
            assert!(!asks(&format!("    // {question}")));
        }
        assert!(!asks("#[cfg(test)]"));
        for may in
            ["src/sys/mod.rs", "crates/x/src/sys/unix.rs", "crates/x/src/sys.rs", "crates/x/tests/a.rs"]
        {
            assert!(may_ask(Path::new(may)), "{may}");
        }
        for must_not in ["src/map/mod.rs", "xtask/src/main.rs", "examples/producer.rs", "src/system.rs"] {
            assert!(!may_ask(Path::new(must_not)), "{must_not}");
        }
    }
}
