//! Operations that run at once.
//!
//! An operation is a function that adds nodes to a graph. Its program is compiled with symbolic extents at the first use
//! and found again by its key: name, attributes, and of every operand dtype, rank, layout and which extents are equal,
//! never the extents themselves. So a new size compiles nothing.

mod cache;
mod dispatch;
mod key;
mod layout;
mod program;
mod threads;

pub(crate) use dispatch::{Body, Operand, Outputs, apply_one, fail, fitting, in_memory, one};
pub(crate) use key::Key;

pub use cache::{CacheStats, cache_stats, set_cache_limit};
pub(crate) use threads::pool_of;
pub use threads::{threads, with_threads};
