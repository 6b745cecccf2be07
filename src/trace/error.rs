//! What can go wrong while a function is traced, and how it reaches the caller of [`crate::trace()`].

use std::panic::{self, AssertUnwindSafe, Location};

use super::recording::is_active;

/// Why a function could not be traced, or a traced one not be called.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TraceError {
    /// An operation does not fit its operands.
    #[error("{location}: {message}")]
    Operation {
        /// The caller's line, as `src/net.rs:12`.
        location: String,
        /// Which operation, what was wrong, what would work.
        message: String,
    },
    /// The elements of a traced tensor were wanted.
    #[error("{location}: {message}")]
    Read {
        /// The caller's line.
        location: String,
        /// What was wanted, and what to use instead.
        message: String,
    },
    /// Tensors of two traces met in one operation.
    #[error(
        "{location}: this operation mixes tensors of two traces, of {one} and of {other}; a traced function may use its \
         own arguments, and concrete tensors"
    )]
    Mixed {
        /// The caller's line.
        location: String,
        /// One trace.
        one: String,
        /// The other trace.
        other: String,
    },
    /// A traced tensor was used after its trace had ended.
    #[error(
        "{location}: this tensor belongs to {trace}, which has ended; a traced tensor leaves its function as a result \
         only"
    )]
    Escaped {
        /// The caller's line.
        location: String,
        /// The trace that it belongs to.
        trace: String,
    },
    /// Branches, or iterations, that don't give the same types.
    #[error("{location}: {message}")]
    Mismatch {
        /// The line of the `cond`, `while_loop` or `scan`.
        location: String,
        /// Both types, and where.
        message: String,
    },
    /// A spec that makes no sense.
    #[error("{location}: {message}")]
    Spec {
        /// The line that gave it.
        location: String,
        /// What was wrong.
        message: String,
    },
    /// Arguments of another structure or type than was compiled.
    #[error("{message}")]
    Arguments {
        /// Each difference: where, what it was, what it is.
        message: String,
    },
    /// A second compilation, where one was demanded.
    #[error("{location}: this call needs another compilation, but `compile_once` allows one: {reason}")]
    Recompile {
        /// The caller's line.
        location: String,
        /// What differs from the call that was compiled.
        reason: String,
    },
}

/// A line of source for people: `src/net.rs:12`.
pub(crate) fn line_of(location: &Location<'_>) -> String {
    format!("{}:{}", location.file(), location.line())
}

/// An error on its way through the traced function to the caller of `trace`.
struct Failure(TraceError);

/// Ends the traced function with an error: `trace` returns it. Outside a trace it is a panic at the caller's line.
#[track_caller]
pub(crate) fn fail(error: TraceError) -> ! {
    // Without unwinding nothing could return it.
    if is_active() && cfg!(panic = "unwind") {
        panic::resume_unwind(Box::new(Failure(error)));
    }
    panic!("{error}")
}

/// Runs a traced function: what it [`fail`]ed with is an error, another panic goes on.
pub(super) fn catch<T>(f: impl FnOnce() -> T) -> Result<T, TraceError> {
    panic::catch_unwind(AssertUnwindSafe(f)).map_err(|payload| match payload.downcast::<Failure>() {
        Ok(failure) => failure.0,
        Err(other) => panic::resume_unwind(other),
    })
}
