//! Tokens of the text form.

use super::TextError;
use crate::dim::{Dim, DimError};

/// A place in a text. White space and comments between tokens are skipped.
pub(super) struct Scanner<'t> {
    text: &'t str,
    at: usize,
}

pub(super) type Result<T> = std::result::Result<T, TextError>;

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

impl<'t> Scanner<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Scanner { text, at: 0 }
    }

    /// An error at a byte offset.
    pub(super) fn error_at<T>(&self, at: usize, what: impl Into<String>) -> Result<T> {
        let before = &self.text[..at];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().map_or(0, |l| l.chars().count()) + 1;
        Err(TextError { line, column, what: what.into() })
    }
    /// "expected ..., found ..." at the next token.
    pub(super) fn expected<T>(&mut self, what: &str) -> Result<T> {
        self.skip();
        let found: String = match self.rest().chars().next() {
            None => "the end of the text".into(),
            Some('\n') => "the end of the line".into(),
            Some(c) if is_word(c) => format!("`{}`", self.word_here()),
            Some(c) => format!("`{c}`"),
        };
        self.error_at(self.at, format!("expected {what}, found {found}"))
    }

    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }
    fn skip(&mut self) {
        loop {
            let rest = self.rest().trim_start();
            self.at = self.text.len() - rest.len();
            if !rest.starts_with(';') {
                return;
            }
            self.at += rest.find('\n').unwrap_or(rest.len());
        }
    }
    fn word_here(&self) -> &'t str {
        let rest = self.rest();
        &rest[..rest.find(|c| !is_word(c)).unwrap_or(rest.len())]
    }

    /// The byte offset of the next token.
    pub(super) fn place(&mut self) -> usize {
        self.skip();
        self.at
    }
    pub(super) fn at_end(&mut self) -> bool {
        self.skip();
        self.rest().is_empty()
    }
    /// Whether a punctuation mark is next.
    pub(super) fn next_is(&mut self, mark: &str) -> bool {
        self.skip();
        self.rest().starts_with(mark)
    }
    /// Takes a punctuation mark if it is next.
    pub(super) fn eat(&mut self, mark: &str) -> bool {
        let hit = self.next_is(mark);
        if hit {
            self.at += mark.len();
        }
        hit
    }
    pub(super) fn expect(&mut self, mark: &str) -> Result<()> {
        if self.eat(mark) { Ok(()) } else { self.expected(&format!("`{mark}`")) }
    }
    /// The next word, not taken.
    pub(super) fn peek_word(&mut self) -> &'t str {
        self.skip();
        self.word_here()
    }
    /// Takes a word.
    pub(super) fn word(&mut self, what: &str) -> Result<&'t str> {
        let word = self.peek_word();
        if word.is_empty() {
            return self.expected(what);
        }
        self.at += word.len();
        Ok(word)
    }
    /// Takes that word if it is next.
    pub(super) fn eat_word(&mut self, word: &str) -> bool {
        let hit = self.peek_word() == word;
        if hit {
            self.at += word.len();
        }
        hit
    }
    pub(super) fn expect_word(&mut self, word: &str) -> Result<()> {
        if self.eat_word(word) { Ok(()) } else { self.expected(&format!("`{word}`")) }
    }

    /// An integer, with its sign.
    pub(super) fn integer<T: std::str::FromStr>(&mut self, what: &str) -> Result<T> {
        let start = self.place();
        let sign = if self.eat("-") { "-" } else { "" };
        let digits = self.word(what)?;
        match format!("{sign}{digits}").parse() {
            Ok(v) => Ok(v),
            Err(_) => self.error_at(start, format!("`{sign}{digits}` is no {what}")),
        }
    }
    /// Characters up to one of `ends` outside quotes and parentheses, not taken, and without the white
    /// space around.
    pub(super) fn until(&mut self, ends: &[&str]) -> &'t str {
        self.skip();
        let rest = self.rest();
        let (mut depth, mut quoted, mut escaped) = (0usize, false, false);
        let mut end = rest.len();
        for (i, c) in rest.char_indices() {
            if quoted {
                (quoted, escaped) = (escaped || c != '\'', !escaped && c == '\\');
                continue;
            }
            if depth == 0 && ends.iter().any(|e| rest[i..].starts_with(e)) {
                end = i;
                break;
            }
            match c {
                '\'' => quoted = true,
                '(' => depth += 1,
                ')' => depth = depth.saturating_sub(1),
                _ => {}
            }
        }
        self.at += end;
        rest[..end].trim_end()
    }
    /// An extent that ends before one of `ends`.
    pub(super) fn dim(&mut self, ends: &[&str]) -> Result<Dim> {
        let start = self.place();
        match self.until(ends).parse() {
            Ok(d) => Ok(d),
            Err(DimError::Parse { at, what }) => self.error_at(start + at, what),
            Err(e) => self.error_at(start, e.to_string()),
        }
    }
    /// `[a, b, ..]`.
    pub(super) fn list<T>(&mut self, mut item: impl FnMut(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        self.expect("[")?;
        let mut out = vec![];
        if self.eat("]") {
            return Ok(out);
        }
        loop {
            out.push(item(self)?);
            if self.eat("]") {
                return Ok(out);
            }
            if !self.eat(",") {
                return self.expected("`,` or `]`");
            }
        }
    }
    /// Text in double quotes.
    pub(super) fn string(&mut self) -> Result<String> {
        let start = self.place();
        if !self.eat("\"") {
            return self.expected("a text in double quotes");
        }
        let mut out = String::new();
        let mut chars = self.rest().char_indices();
        while let Some((i, c)) = chars.next().filter(|c| c.1 != '\n') {
            let c = match c {
                '"' => {
                    self.at += i + 1;
                    return Ok(out);
                }
                '\\' => match chars.next().map(|c| c.1) {
                    Some(c @ ('"' | '\\')) => c,
                    Some('n') => '\n',
                    Some('u') => {
                        let hex: String =
                            chars.by_ref().map(|c| c.1).skip(1).take_while(|&c| c != '}').collect();
                        match u32::from_str_radix(&hex, 16).ok().and_then(char::from_u32) {
                            Some(c) => c,
                            None => {
                                return self
                                    .error_at(self.at + i, format!("`{hex}` is no Unicode scalar value"));
                            }
                        }
                    }
                    _ => return self.error_at(self.at + i, "unknown escape"),
                },
                c => c,
            };
            out.push(c);
        }
        self.error_at(start, "text without closing quote")
    }
}
