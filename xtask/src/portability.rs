//! Checks that code asks for the system only where it may: in a `src/sys` folder and in tests.

use std::path::Path;

use crate::tree;

const ASKS: [&str; 3] = ["cfg", "cfg!", "cfg_attr"];
const SYSTEMS: [&str; 5] = ["unix", "windows", "target_os", "target_family", "target_vendor"];

pub(crate) fn check() -> Result<(), String> {
    let mut wrong = 0;
    let mut files = 0;
    for path in tree::files(tree::root(), "rs")? {
        let relative = path.strip_prefix(tree::root()).unwrap_or(&path);
        if may_ask(relative) {
            continue;
        }
        files += 1;
        let text = std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", relative.display()))?;
        for (line, question) in questions(&text) {
            wrong += 1;
            println!("{}:{line}: {question}", relative.display());
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
        || parts.iter().any(|part| part == "tests" || part.starts_with("handover-test"))
}

/// The questions for the system in a file: the line where each begins, and its text. Comments don't count.
fn questions(text: &str) -> Vec<(usize, String)> {
    let code: String = text
        .lines()
        .map(|line| if line.trim_start().starts_with("//") { "\n".to_owned() } else { format!("{line}\n") })
        .collect();
    let mut found = Vec::new();
    for ask in ASKS {
        for (at, _) in code.match_indices(&format!("{ask}(")) {
            let question = question(&code[at..]);
            let mut words = question.split(|letter: char| !letter.is_alphanumeric() && letter != '_');
            if words.any(|word| SYSTEMS.contains(&word)) {
                let line = code[..at].matches('\n').count() + 1;
                found.push((line, question.split_whitespace().collect::<Vec<_>>().join(" ")));
            }
        }
    }
    found
}

/// The text up to the parenthesis that closes the first one.
fn question(code: &str) -> &str {
    let mut open = 0;
    let end = code.find(|letter| {
        open += i32::from(letter == '(') - i32::from(letter == ')');
        letter == ')' && open == 0
    });
    &code[..end.map_or(code.len(), |end| end + 1)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_questions_for_the_system_outside_sys_and_tests_count() {
        // Put together here, so that the check does not find this file.
        for ask in ASKS {
            for question in [
                format!("    #[{ask}({})]", SYSTEMS[0]),
                format!("#[{ask}(all(\n    feature = \"x\",\n    {} = \"linux\",\n))]", SYSTEMS[2]),
            ] {
                let lines = questions(&format!("fn a() {{}}\n{question}\n"));
                assert_eq!(lines.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [2], "{question}");
            }
            assert!(questions(&format!("    // #[{ask}({})]", SYSTEMS[0])).is_empty());
            assert!(questions(&format!("#[{ask}(test)]\nuse {};", SYSTEMS[1])).is_empty());
        }
        for may in [
            "src/sys/mod.rs",
            "crates/x/src/sys/unix.rs",
            "crates/x/src/sys.rs",
            "crates/x/tests/a.rs",
            "crates/handover-tests/src/a.rs",
        ] {
            assert!(may_ask(Path::new(may)), "{may}");
        }
        for must_not in ["src/map/mod.rs", "xtask/src/main.rs", "examples/producer.rs", "src/system.rs"] {
            assert!(!may_ask(Path::new(must_not)), "{must_not}");
        }
    }
}
