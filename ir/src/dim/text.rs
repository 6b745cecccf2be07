//! Text form of dims: printer and parser.
//!
//! ```text
//! sum    = ["-"] term { ("+" | "-") term }
//! term   = factor { "*" factor }
//! factor = integer | name | quoted | call | "(" sum ")" | "-" factor
//! call   = ("floordiv" | "ceildiv" | "rem" | "min" | "max" | "product") "(" sum { "," sum } ")"
//! name   = [A-Za-z_][A-Za-z0-9_.]*     i0, i1, ... are axes; `overflow` is the poisoned dim
//! quoted = "'" any text with \' \\ \n \t \r \u{hex} "'"     always a symbol
//! ```

use super::{Atom, Dim, DimError};
use std::fmt::{self, Write};
use std::str::FromStr;

const POISONED: &str = "overflow";
const CALLS: [&str; 6] = ["floordiv", "ceildiv", "rem", "min", "max", "product"];
/// Parentheses and calls that may be nested in a text.
const MAX_NESTING: usize = 200;

fn is_name_start(c: char) -> bool {
    c.is_ascii_alphabetic() || c == '_'
}

fn is_name_part(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '.'
}

/// The digits of a name shaped like an axis variable.
fn axis_digits(name: &str) -> Option<&str> {
    name.strip_prefix('i').filter(|d| !d.is_empty() && d.bytes().all(|b| b.is_ascii_digit()))
}

fn is_bare_name(name: &str) -> bool {
    name.starts_with(is_name_start)
        && name.chars().all(is_name_part)
        && name != POISONED
        && !CALLS.contains(&name)
        && axis_digits(name).is_none()
}

fn write_symbol(f: &mut fmt::Formatter<'_>, name: &str) -> fmt::Result {
    if is_bare_name(name) {
        return f.write_str(name);
    }
    f.write_char('\'')?;
    for c in name.chars() {
        match c {
            '\'' => f.write_str("\\'")?,
            '\\' => f.write_str("\\\\")?,
            '\n' => f.write_str("\\n")?,
            '\t' => f.write_str("\\t")?,
            '\r' => f.write_str("\\r")?,
            c if c.is_control() => write!(f, "\\u{{{:x}}}", u32::from(c))?,
            c => f.write_char(c)?,
        }
    }
    f.write_char('\'')
}

fn write_call<'a>(
    f: &mut fmt::Formatter<'_>,
    name: &str,
    args: impl IntoIterator<Item = &'a Dim>,
) -> fmt::Result {
    write!(f, "{name}(")?;
    for (i, d) in args.into_iter().enumerate() {
        if i > 0 {
            f.write_char(',')?;
        }
        write!(f, "{d}")?;
    }
    f.write_char(')')
}

impl fmt::Display for Atom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Atom::Symbol(name) => write_symbol(f, name),
            Atom::Axis(k) => write!(f, "i{k}"),
            Atom::FloorDiv(a, b) => write_call(f, "floordiv", [a, b]),
            Atom::Min(l) => write_call(f, "min", l.iter()),
            Atom::Max(l) => write_call(f, "max", l.iter()),
            Atom::Product(l) => write_call(f, "product", l.iter()),
        }
    }
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((terms, constant)) = self.parts() else {
            return f.write_str(POISONED);
        };
        for (i, t) in terms.iter().enumerate() {
            match t.coeff {
                1 if i == 0 => {}
                1 => f.write_char('+')?,
                -1 => f.write_char('-')?,
                c if i == 0 => write!(f, "{c}*")?,
                c => write!(f, "{c:+}*")?,
            }
            for (j, a) in t.factors.iter().enumerate() {
                if j > 0 {
                    f.write_char('*')?;
                }
                write!(f, "{a}")?;
            }
        }
        match constant {
            0 if !terms.is_empty() => Ok(()),
            c if terms.is_empty() => write!(f, "{c}"),
            c => write!(f, "{c:+}"),
        }
    }
}

impl fmt::Debug for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Parses the text form; white space between tokens is ignored and the result is normalised.
impl FromStr for Dim {
    type Err = DimError;

    fn from_str(text: &str) -> Result<Dim, DimError> {
        let mut p = Parser { text, at: 0, nesting: 0 };
        let d = p.sum()?;
        p.skip_space();
        match p.peek() {
            None => Ok(d),
            Some(c) => p.fail(format!("unexpected `{c}` after the expression")),
        }
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    nesting: usize,
}

impl Parser<'_> {
    fn fail<T>(&self, what: impl Into<String>) -> Result<T, DimError> {
        Err(DimError::Parse { at: self.at, what: what.into() })
    }

    fn peek(&self) -> Option<char> {
        self.text.get(self.at..).and_then(|s| s.chars().next())
    }

    fn bump(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    fn skip_space(&mut self) {
        while self.peek().is_some_and(char::is_whitespace) {
            self.bump();
        }
    }

    fn eat(&mut self, c: char) -> bool {
        self.skip_space();
        let hit = self.peek() == Some(c);
        if hit {
            self.bump();
        }
        hit
    }

    fn expect(&mut self, c: char) -> Result<(), DimError> {
        if self.eat(c) {
            return Ok(());
        }
        match self.peek() {
            Some(found) => self.fail(format!("expected `{c}`, found `{found}`")),
            None => self.fail(format!("expected `{c}`, found the end")),
        }
    }

    /// The longest run of characters for which `keep` holds.
    fn take_while(&mut self, keep: fn(char) -> bool) -> String {
        let mut out = String::new();
        while let Some(c) = self.peek().filter(|&c| keep(c)) {
            out.push(c);
            self.bump();
        }
        out
    }

    fn sum(&mut self) -> Result<Dim, DimError> {
        self.nesting += 1;
        if self.nesting > MAX_NESTING {
            return self.fail(format!("nested deeper than {MAX_NESTING} levels"));
        }
        let negative = self.eat('-');
        let mut out = self.term(negative)?;
        loop {
            if self.eat('+') {
                out = out + self.term(false)?;
            } else if self.eat('-') {
                out = out + self.term(true)?;
            } else {
                self.nesting -= 1;
                return Ok(out);
            }
        }
    }

    /// A product; the sign goes to its first factor, so that `-9223372036854775808` is in range.
    fn term(&mut self, negative: bool) -> Result<Dim, DimError> {
        let mut out = self.factor(negative)?;
        while self.eat('*') {
            out = out * self.factor(false)?;
        }
        Ok(out)
    }

    fn factor(&mut self, mut negative: bool) -> Result<Dim, DimError> {
        while self.eat('-') {
            negative = !negative;
        }
        let d = match self.peek() {
            Some(c) if c.is_ascii_digit() => return self.integer(negative),
            Some('\'') => self.quoted()?,
            Some('(') => {
                self.bump();
                let d = self.sum()?;
                self.expect(')')?;
                d
            }
            Some(c) if is_name_start(c) => self.named()?,
            Some(c) => return self.fail(format!("expected a number, name or `(`, found `{c}`")),
            None => return self.fail("expected a number, name or `(`, found the end"),
        };
        Ok(if negative { -d } else { d })
    }

    fn integer(&mut self, negative: bool) -> Result<Dim, DimError> {
        let start = self.at;
        let mut digits = self.take_while(|c| c.is_ascii_digit());
        if negative {
            digits.insert(0, '-');
        }
        digits
            .parse()
            .map(Dim::constant)
            .map_err(|_| DimError::Parse { at: start, what: format!("`{digits}` does not fit 64 bits") })
    }

    fn named(&mut self) -> Result<Dim, DimError> {
        let start = self.at;
        let name = self.take_while(is_name_part);
        if name == POISONED {
            return Ok(Dim::POISONED);
        }
        if CALLS.contains(&name.as_str()) {
            return self.call(&name, start);
        }
        match axis_digits(&name) {
            Some(digits) => match digits.parse::<u32>() {
                Ok(k) if k.to_string() == digits => Ok(Dim::axis(k)),
                _ => {
                    self.at = start;
                    self.fail(format!("`{name}` is no axis; quote it to name a symbol"))
                }
            },
            None => Ok(Dim::symbol(&name)),
        }
    }

    fn call(&mut self, name: &str, start: usize) -> Result<Dim, DimError> {
        self.expect('(')?;
        let first = self.sum()?;
        let mut rest = Vec::new();
        while self.eat(',') {
            rest.push(self.sum()?);
        }
        self.expect(')')?;
        let variadic: Option<fn(&Dim, &Dim) -> Dim> = match name {
            "min" => Some(Dim::min),
            "max" => Some(Dim::max),
            "product" => Some(|a, b| a * b),
            _ => None,
        };
        match (variadic, rest.as_slice()) {
            (Some(join), rest) => Ok(rest.iter().fold(first, |a, b| join(&a, b))),
            (None, [by]) => Ok(match name {
                "floordiv" => first.floor_div(by),
                "ceildiv" => first.ceil_div(by),
                _ => first.rem(by),
            }),
            _ => {
                self.at = start;
                self.fail(format!("`{name}` takes two arguments"))
            }
        }
    }

    fn quoted(&mut self) -> Result<Dim, DimError> {
        let start = self.at;
        self.bump();
        let mut name = String::new();
        loop {
            match self.bump() {
                Some('\'') => return Ok(Dim::symbol(&name)),
                Some('\\') => name.push(self.escape()?),
                Some(c) => name.push(c),
                None => {
                    self.at = start;
                    return self.fail("quoted name without end");
                }
            }
        }
    }

    fn escape(&mut self) -> Result<char, DimError> {
        match self.bump() {
            Some(c @ ('\'' | '\\')) => Ok(c),
            Some('n') => Ok('\n'),
            Some('t') => Ok('\t'),
            Some('r') => Ok('\r'),
            Some('u') => {
                self.expect('{')?;
                let hex = self.take_while(|c| c.is_ascii_hexdigit());
                self.expect('}')?;
                match u32::from_str_radix(&hex, 16).ok().and_then(char::from_u32) {
                    Some(c) => Ok(c),
                    None => self.fail(format!("`{hex}` is no Unicode scalar value")),
                }
            }
            _ => self.fail("unknown escape in a quoted name"),
        }
    }
}
