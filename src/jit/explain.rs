//! Why a function was compiled.

use std::fmt;
use std::panic::Location;
use std::time::Duration;

use crate::trace::{line_of, listed};

/// One compilation.
#[derive(Clone, PartialEq, Debug)]
pub struct Compilation {
    /// The line of the call that needed it: `src/main.rs:12`.
    pub location: String,
    /// What differed from the calls before: arguments with their old and new type.
    pub reason: String,
    /// The types that it serves: `x: f32[batch, 3]`.
    pub arguments: String,
    /// Kernels of the program.
    pub kernels: usize,
    /// What tracing and compiling took.
    pub time: Duration,
    /// What was unusual about the trace.
    pub warnings: Vec<String>,
}

/// All compilations of a function, in order. Its text form has a paragraph for each.
#[derive(Clone, PartialEq, Debug)]
pub struct Explanation {
    /// The function's name.
    pub function: String,
    /// How often it was compiled.
    pub count: usize,
    /// Its compilations, the last ones if there were very many.
    pub compilations: Vec<Compilation>,
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.count;
        writeln!(f, "`{}` was compiled {count} time{}", self.function, if count == 1 { "" } else { "s" })?;
        let first = count.saturating_sub(self.compilations.len()) + 1;
        for (i, c) in self.compilations.iter().enumerate() {
            writeln!(f, "{}. at {}: {}", first + i, c.location, c.reason)?;
            let ms = c.time.as_secs_f64() * 1e3;
            let kernels = format!("{} kernel{}", c.kernels, if c.kernels == 1 { "" } else { "s" });
            writeln!(f, "   for {}; {kernels}, {ms:.1} ms", c.arguments)?;
            c.warnings.iter().try_for_each(|warning| writeln!(f, "   warning: {warning}"))?;
        }
        Ok(())
    }
}

/// The most similar call before.
pub(super) struct Closest {
    /// What is different now.
    pub(super) differences: Vec<String>,
    /// Whether extents are all that is different.
    pub(super) extents_only: bool,
}

/// Why a call is compiled; `refused` says why each spec does not fit.
pub(super) fn reason(
    name: &str,
    closest: Option<Closest>,
    refused: &[String],
    location: &Location<'_>,
) -> String {
    let extents_only = closest.as_ref().is_some_and(|closest| closest.extents_only);
    let mut reason = match closest.as_ref().map(|closest| closest.differences.as_slice()) {
        None => "the first call".to_string(),
        Some([]) => "its program had left the cache; `cache_limit` keeps more".to_string(),
        Some(differences) => listed(differences),
    };
    if !refused.is_empty() {
        reason.push_str(&format!("; no spec fits: {}", refused.join(", ")));
    } else if extents_only {
        reason.push_str("; a `spec` with symbolic dims serves many sizes by one program");
    }
    tracing::debug!("compiling {name} at {}: {reason}", line_of(location));
    reason
}
