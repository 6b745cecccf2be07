//! Writing to stdout and stderr: a reader that goes away ends the command quietly.

use std::fmt::Arguments;
use std::io::{ErrorKind, Write};

use crate::failure::Failure;

/// Writes a line to stdout.
pub fn line(text: Arguments<'_>) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    finish(writeln!(out, "{text}").and_then(|()| out.flush()))
}

/// Writes text to stdout as it is.
pub fn text(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    finish(out.write_all(text.as_bytes()).and_then(|()| out.flush()))
}

fn finish(written: std::io::Result<()>) -> Result<(), Failure> {
    match written {
        Ok(()) => Ok(()),
        // As a shell expects of `fornax dump .. | head`.
        Err(e) if e.kind() == ErrorKind::BrokenPipe => std::process::exit(0),
        Err(e) => Err(Failure::input(format_args!("cannot write to stdout: {e}"))),
    }
}

/// Writes a remark to stderr.
pub fn note(text: Arguments<'_>) {
    let _ = writeln!(std::io::stderr().lock(), "note: {text}");
}

/// `f32[2, 3]`.
pub fn type_of(tensor: &fornax::Tensor) -> String {
    format!("{}{:?}", tensor.dtype(), tensor.shape())
}

/// `1 kernel`, `2 kernels`.
pub fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// A number of bytes with a unit, for people.
pub fn bytes(n: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    let mut scaled = n as f64;
    let mut unit = "B";
    for next in UNITS {
        if scaled < 1024.0 {
            break;
        }
        scaled /= 1024.0;
        unit = next;
    }
    if unit == "B" { format!("{n} B") } else { format!("{scaled:.1} {unit}") }
}

#[cfg(test)]
mod tests {
    #[test]
    fn bytes_have_units() {
        let shown = [0, 1023, 1024, 1536, 5 << 20].map(super::bytes);
        assert_eq!(shown, ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "5.0 MiB"]);
    }
}
