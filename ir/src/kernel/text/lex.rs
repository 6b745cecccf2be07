//! Lines and tokens of the text forms of kernels and leaves.

use crate::dtype::DType;
use crate::kernel::Size;
use crate::scalar::Scalar;

/// A text that is no kernel or leaf: where and why.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct TextError {
    /// Counted from 1.
    pub line: usize,
    /// What was found and what was expected.
    pub message: String,
}

/// The tokens of one line, and how many are taken.
pub(crate) struct Line<'a> {
    number: usize,
    tokens: Vec<&'a str>,
    next: usize,
}

const PUNCTUATION: &str = "[]{}(),=:*/<&+";

/// The lines that hold a token; `;` starts a comment.
pub(crate) fn lines(text: &str) -> Vec<Line<'_>> {
    let lines = text.lines().enumerate();
    let lines = lines.map(|(i, l)| Line { number: i + 1, tokens: tokens(l), next: 0 });
    lines.filter(|l| !l.tokens.is_empty()).collect()
}

fn tokens(mut line: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    loop {
        line = line.trim_start();
        let Some(first) = line.chars().next().filter(|&c| c != ';') else {
            return tokens;
        };
        let end = if first == '"' {
            quoted(line)
        } else if PUNCTUATION.contains(first) {
            1
        } else {
            let stops = |c: char| c.is_whitespace() || c == ';' || c == '"' || PUNCTUATION.contains(c);
            line.find(stops).unwrap_or(line.len())
        };
        tokens.push(&line[..end]);
        line = &line[end..];
    }
}

/// The length of a quoted string, quotes included; the rest of the line if it does not end.
fn quoted(text: &str) -> usize {
    let mut escaped = false;
    for (i, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return i + 1,
            _ => {}
        }
    }
    text.len()
}

impl<'a> Line<'a> {
    pub(crate) fn error<T>(&self, message: impl Into<String>) -> Result<T, TextError> {
        Err(TextError { line: self.number, message: message.into() })
    }
    pub(crate) fn peek(&self) -> Option<&'a str> {
        self.tokens.get(self.next).copied()
    }
    /// The next token, which stands for `what`.
    pub(crate) fn word(&mut self, what: &str) -> Result<&'a str, TextError> {
        let Some(token) = self.peek() else {
            return self.error(format!("the line ends where {what} is expected"));
        };
        self.next += 1;
        Ok(token)
    }
    /// Takes the next token if it is this one.
    pub(crate) fn eat(&mut self, token: &str) -> bool {
        let found = self.peek() == Some(token);
        self.next += found as usize;
        found
    }
    pub(crate) fn expect(&mut self, token: &str) -> Result<(), TextError> {
        let found = self.word(&format!("`{token}`"))?;
        if found == token { Ok(()) } else { self.error(format!("`{found}` where `{token}` is expected")) }
    }
    pub(crate) fn end(&self) -> Result<(), TextError> {
        match self.peek() {
            None => Ok(()),
            Some(token) => self.error(format!("`{token}` after the end of the statement")),
        }
    }
    /// The next token, converted by `f`.
    pub(crate) fn parse<T>(
        &mut self,
        what: &str,
        f: impl FnOnce(&'a str) -> Option<T>,
    ) -> Result<T, TextError> {
        let token = self.word(what)?;
        f(token).map_or_else(|| self.error(format!("`{token}` where {what} is expected")), Ok)
    }
    /// A token such as `b3`, for the prefix `b`.
    pub(crate) fn numbered(&mut self, prefix: &str, what: &str) -> Result<u32, TextError> {
        self.parse(what, |t| number(t, prefix))
    }
    pub(crate) fn value(&mut self) -> Result<u32, TextError> {
        self.numbered("%", "a value, such as %3,")
    }
    pub(crate) fn int(&mut self, what: &str) -> Result<i64, TextError> {
        self.parse(what, |t| t.parse().ok())
    }
    pub(crate) fn count(&mut self, what: &str) -> Result<u32, TextError> {
        self.parse(what, |t| t.parse().ok())
    }
    pub(crate) fn size(&mut self) -> Result<Size, TextError> {
        self.parse("a size, such as 12 or $0,", size)
    }
    pub(crate) fn dtype(&mut self) -> Result<DType, TextError> {
        self.parse("a dtype", |t| t.parse().ok())
    }
    /// A constant of that dtype: `true`, an integer, a decimal float, or a float's bits in hexadecimal.
    pub(crate) fn scalar(&mut self, dtype: DType) -> Result<Scalar, TextError> {
        self.parse(&format!("a constant of {dtype}"), |t| scalar(dtype, t))
    }
    /// `a, b`
    pub(crate) fn two_values(&mut self) -> Result<(u32, u32), TextError> {
        let a = self.value()?;
        self.expect(",")?;
        Ok((a, self.value()?))
    }
    /// `a, b, c`
    pub(crate) fn three_values(&mut self) -> Result<(u32, u32, u32), TextError> {
        let (a, b) = self.two_values()?;
        self.expect(",")?;
        Ok((a, b, self.value()?))
    }
}

pub(crate) fn number(token: &str, prefix: &str) -> Option<u32> {
    token.strip_prefix(prefix).filter(|t| t.bytes().all(|b| b.is_ascii_digit()))?.parse().ok()
}

pub(crate) fn size(token: &str) -> Option<Size> {
    number(token, "$").map(Size::Arg).or_else(|| token.parse().ok().map(Size::Const))
}

fn scalar(dtype: DType, token: &str) -> Option<Scalar> {
    let fits = |v: Scalar, same: bool| same.then_some(v);
    match dtype {
        DType::Bool => token.parse().ok().map(Scalar::bool),
        DType::U64 => token.parse().ok().map(|v| Scalar::new(dtype, v)),
        d if d.is_float() => match token.strip_prefix("0x") {
            Some(hex) => {
                let bits = u64::from_str_radix(hex, 16).ok()?;
                fits(Scalar::new(d, bits), Scalar::new(d, bits).bits == bits)
            }
            None => token.parse().ok().map(|v| Scalar::from_f64(d, v)),
        },
        d => {
            let v: i64 = token.parse().ok()?;
            fits(Scalar::from_i64(d, v), Scalar::from_i64(d, v).as_i64() == v)
        }
    }
}

/// A constant as [`Line::scalar`] reads it.
pub(crate) fn show_scalar(v: Scalar) -> String {
    let text = v.to_string();
    text.split_once(' ').map_or(String::new(), |(_, value)| value.to_string())
}

/// A string in quotes.
pub(crate) fn quote(text: &str) -> String {
    let mut quoted = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// What [`quote`] quoted.
pub(crate) fn unquote(token: &str) -> Option<String> {
    let inner = token.strip_prefix('"')?.strip_suffix('"')?;
    let mut text = String::new();
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        text.push(match c {
            '\\' => match chars.next()? {
                'n' => '\n',
                'r' => '\r',
                c => c,
            },
            c => c,
        });
    }
    Some(text)
}
