//! Checks that comments keep the width that rustfmt.toml states; `cargo fmt` checks only code.

use crate::source::Source;
use crate::tree;

const WIDTHS: &str = "rustfmt.toml";

pub(crate) fn check() -> Result<(), String> {
    let stated = std::fs::read_to_string(tree::root().join(WIDTHS)).map_err(|e| format!("{WIDTHS}: {e}"))?;
    let width = max_width(&stated).ok_or_else(|| format!("{WIDTHS} states no max_width"))?;
    let mut wrong = 0;
    for path in tree::files(tree::root(), "rs")? {
        let shown = path.strip_prefix(tree::root()).unwrap_or(&path).display();
        let text = std::fs::read_to_string(&path).map_err(|e| format!("{shown}: {e}"))?;
        for (line, found) in wide_comments(&text, width) {
            wrong += 1;
            println!("{shown}:{line}: a comment of {found} characters");
        }
    }
    if wrong > 0 {
        return Err(format!("{wrong} comment lines are wider than {width} characters; wrap them"));
    }
    println!("no comment line is wider than {width} characters");
    Ok(())
}

fn max_width(stated: &str) -> Option<usize> {
    let (_, width) =
        stated.lines().filter_map(|line| line.split_once('=')).find(|(key, _)| key.trim() == "max_width")?;
    width.trim().parse().ok()
}

/// Lines that hold only a comment and are wider than `width`, and how wide they are.
fn wide_comments(text: &str, width: usize) -> Vec<(usize, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let of_comments = Source::read(text).comment_lines.into_iter();
    of_comments
        .filter_map(|line| Some((line, lines.get(line - 1)?.chars().count())))
        .filter(|(_, found)| *found > width)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_comment_lines_that_are_too_wide_are_found() {
        let text = "//! 123456\n//! 1234567\n/// µµµµµµ\n    // 1234\nlet wide = 1; // beside\nlet a = \"\n// in a string\";\n";
        assert_eq!(wide_comments(text, 10), [(2, 11), (4, 11)]);
    }

    #[test]
    fn the_width_is_read_from_its_file() {
        assert_eq!(max_width("use_small_heuristics = \"Max\"\nmax_width = 110\n"), Some(110));
        assert_eq!(max_width("comment_width = 80\n"), None);
    }
}
