//! The binary form of graphs, `.fnxb`: versioned, checked, and read for as long as there are readers.
//!
//! A file is, with all numbers little-endian:
//!
//! | bytes | what |
//! |---|---|
//! | 0..8 | [`MAGIC`] |
//! | 8..12 | version of the file format, [`FORMAT_VERSION`] |
//! | 12..16 | zero |
//! | 16..24 | size of the message |
//! | 24..32 | size of the data |
//! | 32..64 | zero |
//! | 64.. | the message: a `SavedGraph` of `proto/graph.proto` |
//! | then | zeros up to a multiple of 64 |
//! | then | the data: weights, each at a multiple of 64 bytes from the beginning of the file |
//! | the last 8 | XXH64 with seed 0 of every byte before them |
//!
//! So a mapped file holds its weights ready for use: [`decode`] shares them and copies none. Weights may also
//! stand in another file ([`Beside`]), of which this one holds path, size and checksum.
//!
//! **Versions.** Each operator in use stands in the file with the version of its semantics
//! ([`super::ops::OpRow::version`]). A file with older ones is upgraded while it is read, by the functions of
//! `upgrade`, one for each operator and version. Newer ones, and operators that are not known, are errors
//! that say so.
//!
//! **Trust.** A file is data: its checksum, every position in it and the graph as a whole
//! ([`super::verify`]) are checked before it is used. No size is believed before it is compared with what
//! is there, and nothing is nested: extents and regions stand in tables.

mod attributes;
mod checksum;
mod decode;
mod encode;
#[cfg(test)]
mod tests;
mod upgrade;

pub use checksum::Checksum;
pub use decode::{Finder, decode};
pub use encode::{Weights, weights_beside, write};

use super::verify::VerifyError;
use thiserror::Error;

/// The messages of `proto/graph.proto`.
#[allow(missing_docs, clippy::all, rust_2018_idioms)]
mod proto {
    include!(concat!(env!("OUT_DIR"), "/fornax.graph.v1.rs"));
}

/// How a file begins. The first byte is no text and the line ends show whether a transfer changed them.
pub const MAGIC: [u8; 8] = *b"\x89FNXB\r\n\x1a";
/// The version of the file format that is written, and the newest that is read.
pub const FORMAT_VERSION: u32 = 1;
/// The largest message: enough for a million nodes.
pub const MAX_MESSAGE: usize = 64 << 20;
/// Weights begin at multiples of this many bytes: a cache line, and more than any element or vector needs.
const ALIGNMENT: usize = 64;
/// Size of what stands before the message.
const HEADER: usize = 64;
/// Size of the checksum at the end.
const TRAILER: usize = 8;

/// A file of weights beside a saved graph.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Beside {
    /// Its path relative to the folder of the graph's file, parts separated by `/`.
    pub path: String,
    /// Its size in bytes.
    pub size: u64,
    /// [`Checksum`] of all its bytes.
    pub checksum: u64,
}

/// Why bytes are no graph, or a graph cannot be saved.
#[derive(Debug, Error, Clone, PartialEq)]
#[non_exhaustive]
pub enum SavedError {
    /// The bytes are something else.
    #[error("it is no saved graph: a .fnxb file begins with the bytes 89 46 4e 58 42, {0}")]
    Magic(String),
    /// The file format is newer than this library.
    #[error(
        "its file format is version {found}, and this library reads versions up to {known}; a newer fornax can read it"
    )]
    Format {
        /// The file's version.
        found: u32,
        /// [`FORMAT_VERSION`].
        known: u32,
    },
    /// The file is shorter or longer than its header says.
    #[error("it is incomplete or damaged: its header stands for {want} bytes, but there are {got}")]
    Size {
        /// Bytes that the header stands for.
        want: u64,
        /// Bytes that are there.
        got: u64,
    },
    /// The bytes are not those that were written.
    #[error("it is damaged: its checksum is {got:016x}, but its end says {want:016x}")]
    Checksum {
        /// As written.
        want: u64,
        /// As computed.
        got: u64,
    },
    /// An operator, or the version of its semantics, is not known.
    #[error("{what}; the file was written by {producer}, and this is fornax {}", env!("CARGO_PKG_VERSION"))]
    Operator {
        /// Which, and what would work.
        what: String,
        /// What wrote the file.
        producer: String,
    },
    /// A part of the message is not acceptable.
    #[error("{place}: {what}")]
    Malformed {
        /// Which part.
        place: String,
        /// What is wrong with it.
        what: String,
    },
    /// The weights in the other file cannot be used.
    #[error("weights in '{path}': {what}")]
    Beside {
        /// The other file, as named.
        path: String,
        /// What is wrong with it.
        what: String,
    },
    /// The graph breaks an invariant.
    #[error("the graph is not valid: {0}")]
    Graph(#[from] VerifyError),
    /// The graph is beyond a limit of the format.
    #[error("the graph cannot be saved: {0}")]
    Limit(String),
}

impl SavedError {
    fn malformed(place: impl ToString, what: impl ToString) -> SavedError {
        SavedError::Malformed { place: place.to_string(), what: what.to_string() }
    }
}

type Result<T, E = SavedError> = std::result::Result<T, E>;

/// Whether bytes begin as a saved graph does.
pub fn is_saved(bytes: &[u8]) -> bool {
    bytes.starts_with(&MAGIC)
}
