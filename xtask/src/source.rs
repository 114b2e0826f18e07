//! Rust source as tokens: comments are left out, and each string is one token.

/// A word, a number, a string with its opening quote, `::`, or one other character.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) text: String,
    pub(crate) line: usize,
}

impl Token {
    pub(crate) fn is_word(&self) -> bool {
        self.text.starts_with(|first: char| first.is_alphabetic() || first == '_')
    }
}

/// The content of a file.
#[derive(Debug, Default)]
pub(crate) struct Source {
    pub(crate) tokens: Vec<Token>,
    /// The lines that hold only a `//` comment; the first line is 1.
    pub(crate) comment_lines: Vec<usize>,
}

impl Source {
    pub(crate) fn read(text: &str) -> Self {
        let mut reader = Reader { text: text.chars().collect(), at: 0, line: 1, source: Self::default() };
        while reader.at < reader.text.len() {
            reader.step();
        }
        reader.source
    }
}

struct Reader {
    text: Vec<char>,
    at: usize,
    line: usize,
    source: Source,
}

impl Reader {
    fn peek(&self, ahead: usize) -> char {
        self.text.get(self.at + ahead).copied().unwrap_or('\0')
    }

    /// Advances by some characters, and counts lines.
    fn advance(&mut self, count: usize) {
        for _ in 0..count {
            self.line += usize::from(self.peek(0) == '\n');
            self.at += 1;
        }
    }

    fn push(&mut self, text: String, line: usize) {
        self.source.tokens.push(Token { text, line });
    }

    fn step(&mut self) {
        let line = self.line;
        match (self.peek(0), self.peek(1)) {
            ('/', '/') => self.line_comment(),
            ('/', '*') => self.block_comment(),
            ('"', _) => self.string(),
            ('\'', _) => self.quote(),
            (':', ':') => {
                self.advance(2);
                self.push("::".to_owned(), line);
            }
            (space, _) if space.is_whitespace() => self.advance(1),
            (letter, _) if letter.is_alphanumeric() || letter == '_' => self.word(),
            (other, _) => {
                self.advance(1);
                self.push(other.to_string(), line);
            }
        }
    }

    fn line_comment(&mut self) {
        let before = self.text[..self.at].iter().rev().take_while(|letter| **letter != '\n');
        if before.copied().all(char::is_whitespace) {
            self.source.comment_lines.push(self.line);
        }
        while self.at < self.text.len() && self.peek(0) != '\n' {
            self.advance(1);
        }
    }

    /// Block comments nest.
    fn block_comment(&mut self) {
        let mut depth = 0;
        while self.at < self.text.len() {
            match (self.peek(0), self.peek(1)) {
                ('/', '*') => depth += 1,
                ('*', '/') => depth -= 1,
                _ => {
                    self.advance(1);
                    continue;
                }
            }
            self.advance(2);
            if depth == 0 {
                return;
            }
        }
    }

    fn string(&mut self) {
        let line = self.line;
        let start = self.at;
        self.advance(1);
        while self.at < self.text.len() && self.peek(0) != '"' {
            self.advance(if self.peek(0) == '\\' { 2 } else { 1 });
        }
        let text = self.text[start..self.at.min(self.text.len())].iter().collect();
        self.advance(1);
        self.push(text, line);
    }

    /// A string with `hashes` before and after its quotes.
    fn raw_string(&mut self, hashes: usize) {
        let line = self.line;
        self.advance(hashes);
        let start = self.at;
        self.advance(1);
        while self.at < self.text.len()
            && !(self.peek(0) == '"' && (1..=hashes).all(|ahead| self.peek(ahead) == '#'))
        {
            self.advance(1);
        }
        let text = self.text[start..self.at.min(self.text.len())].iter().collect();
        self.advance(1 + hashes);
        self.push(text, line);
    }

    /// A character, or a lifetime, which is left out.
    fn quote(&mut self) {
        if self.peek(1) == '\\' {
            // The character after the backslash may be a quote itself.
            self.advance(3);
            while self.at < self.text.len() && self.peek(0) != '\'' {
                self.advance(1);
            }
            self.advance(1);
        } else if self.peek(2) == '\'' {
            self.advance(3);
        } else {
            self.advance(1);
            while self.peek(0).is_alphanumeric() || self.peek(0) == '_' {
                self.advance(1);
            }
        }
    }

    fn word(&mut self) {
        let line = self.line;
        let start = self.at;
        while self.peek(0).is_alphanumeric() || self.peek(0) == '_' {
            self.advance(1);
        }
        let word: String = self.text[start..self.at].iter().collect();
        let hashes = self.text[self.at..].iter().take_while(|letter| **letter == '#').count();
        match (word.as_str(), self.peek(hashes)) {
            ("r" | "br" | "cr", '"') => self.raw_string(hashes),
            ("b" | "c", '"') if hashes == 0 => self.string(),
            ("b", '\'') if hashes == 0 => self.quote(),
            // A raw name: `r#type`.
            ("r", _) if hashes == 1 => self.advance(1),
            _ => self.push(word, line),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        Source::read(text).tokens.into_iter().map(|token| token.text).collect()
    }

    #[test]
    fn comments_are_no_tokens_and_strings_are_one() {
        let text =
            "a // crate::b\n/* c /* d */ e */ f::g(\"h::i \\\" j\", r#\"k\" l\"#, 'm', '\\'', b'n', &'o p)";
        let expected = "a f :: g ( \"h::i·\\\"·j , \"k\"·l , , , , & p )";
        assert_eq!(words(text).join(" "), expected.replace('·', " "));
    }

    #[test]
    fn comment_lines_are_those_without_code() {
        let source = Source::read("//! a\nlet b = \"\n// no comment\n\"; // beside code\n    /// c\n");
        assert_eq!(source.comment_lines, [1, 5]);
    }
}
