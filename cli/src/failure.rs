//! Why a command failed, and its exit code.

use std::fmt::Display;
use std::io::Write;

/// Why a command did not succeed.
#[derive(Debug)]
pub enum Failure {
    /// Results differ from their references, or a certificate fails; the verdict is printed already.
    Comparison,
    /// What the user gave cannot be used.
    Input(String),
    /// A fault of ours.
    Internal(String),
}

impl Failure {
    /// Exit code of [`Failure::Input`], and of a malformed command line.
    pub const BAD_INPUT: u8 = 2;

    /// Bad input, as described.
    pub fn input(what: impl Display) -> Self {
        Failure::Input(what.to_string())
    }

    /// The exit code.
    pub fn code(&self) -> u8 {
        match self {
            Failure::Comparison => 1,
            Failure::Input(_) => Failure::BAD_INPUT,
            Failure::Internal(_) => 3,
        }
    }

    /// Prints the reason to stderr.
    pub fn report(&self) {
        let text = match self {
            Failure::Comparison => return,
            Failure::Input(what) => format!("error: {what}"),
            Failure::Internal(what) => format!(
                "internal error: {what}\nThis is a fault of fornax {}, not of your input. Please report it with the \
                 command line and, if you can, the model.",
                env!("CARGO_PKG_VERSION")
            ),
        };
        // Nobody reads a closed stderr.
        let _ = writeln!(std::io::stderr().lock(), "{text}");
    }
}

impl From<fornax::Error> for Failure {
    fn from(error: fornax::Error) -> Self {
        if error.is_bad_input() {
            Failure::Input(error.to_string())
        } else {
            Failure::Internal(error.to_string())
        }
    }
}

impl From<fornax::io::FileError> for Failure {
    fn from(error: fornax::io::FileError) -> Self {
        Failure::input(error)
    }
}
