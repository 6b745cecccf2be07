//! File tests: a stage of the compiler, its input as text, and what its output must hold.
//!
//! ```text
//! ; Why this file exists, in words.
//! ; test rewrite strict
//! graph "g" {
//!   %0: f32[n] = input "x"
//!   %1: f32[n] = neg %0
//!   output "y" %1
//! }
//! ; check: %1: f32[n] = neg %0
//! ; check-not: neg %1
//! ```
//! A directive is a comment of the text forms, so a file can be given to whatever reads them. What
//! there is stands in one table (`directive`); `docs/file-tests.md` explains it. The output of a
//! stage (`stage`) is matched by `check`; [`bless`] writes the checks that hold now.

mod agree;
mod check;
mod directive;
mod stage;
mod values;

pub use directive::{Kind, Test};

use std::fmt;
use thiserror::Error;

/// Why a file test fails, or cannot be run.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The file, for messages.
    pub path: String,
    /// The line of the file at fault, from 1; 0 for the file as a whole.
    pub line: usize,
    /// What was wrong, and what would work.
    pub what: String,
    /// The stage's output and where the search in it began, for a check that does not hold.
    pub searched: Option<Box<Searched>>,
}

/// Where a check was looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Searched {
    /// The stage's output.
    pub output: String,
    /// The line of the output at which the search began, from 0.
    pub from: usize,
    /// The line from there on that has most words in common with the check, from 0.
    pub nearest: Option<usize>,
}

impl Failure {
    fn at(line: usize, what: impl Into<String>) -> Self {
        Failure { path: String::new(), line, what: what.into(), searched: None }
    }
    fn whole(what: impl Into<String>) -> Self {
        Failure::at(0, what)
    }
    fn of(mut self, path: &str) -> Self {
        self.path = path.to_owned();
        self
    }
}

impl fmt::Display for Failure {
    /// `file:line: what`, then the output with a mark where the search began (`>`) and at the nearest line (`~`).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}:", self.path)?;
        }
        if self.line > 0 {
            write!(f, "{}:", self.line)?;
        }
        write!(f, "{}{}", if self.path.is_empty() && self.line == 0 { "" } else { " " }, self.what)?;
        let Some(searched) = &self.searched else { return Ok(()) };
        write!(f, "\n  the output (`>`: the search began here, `~`: the nearest line):")?;
        for (i, line) in searched.output.lines().enumerate() {
            let mark = match i {
                _ if Some(i) == searched.nearest => '~',
                _ if i == searched.from => '>',
                _ => '|',
            };
            write!(f, "\n  {mark} {line}")?;
        }
        Ok(())
    }
}

/// Runs a file test. `path` stands in messages.
///
/// # Errors
/// [`Failure`]: a directive that is wrong or unknown, a text that is no graph or kernel, a stage that
/// fails, results that disagree (`test run`), or the first check that does not hold.
pub fn run(text: &str, path: &str) -> Result<(), Failure> {
    let checked = || {
        let test = directive::parse(text)?;
        test.demand_checks()?;
        let output = stage::output(&test, text)?;
        test.check_kernels(&output)?;
        check::verify(&test.checks, &output.text)
    };
    checked().map_err(|failure| failure.of(path))
}

/// The text with its checks rewritten to what the stage gives now: one check a line of the output (only
/// those that hold a `focus`, if the file has one), where the first check stood, else at the end. The
/// number of kernels is set, if the file states one. Everything else stays; a `check-not` keeps its place
/// in the sequence of checks.
///
/// # Errors
/// [`Failure`] as of [`run`], and if no line holds a focus or a `check-not` still does not hold.
pub fn bless(text: &str) -> Result<String, Failure> {
    let test = directive::parse(text)?;
    let output = stage::output(&test, text)?;
    let lines = check::lines_to_bless(&test, &output.text)?;
    let blessed = directive::with_checks(text, &test, &lines, output.kernels);
    let test = directive::parse(&blessed)?;
    check::verify(&test.checks, &output.text)?;
    Ok(blessed)
}
