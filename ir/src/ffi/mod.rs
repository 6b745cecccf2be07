//! Memory mapping: the one place of this crate that asks the operating system for memory.

use bytes::Bytes;
use std::fs::File;
use std::io;

/// The file's bytes, mapped. Pages are read when touched and shared by every slice of the result.
///
/// # Errors
/// Those of the operating system. An empty file gives no bytes.
#[allow(unsafe_code)]
pub(crate) fn map(file: &File) -> io::Result<Bytes> {
    if file.metadata()?.len() == 0 {
        return Ok(Bytes::new());
    }
    // SAFETY: the mapping is private and read-only, and lives as long as the `Bytes` that own it. What
    // remains is the operating system's rule that nobody shortens or rewrites the file meanwhile; a
    // file is taken not to change while it is in use (the documentation of `file` says so).
    let mapping = unsafe { memmap2::Mmap::map(file) }?;
    Ok(Bytes::from_owner(mapping))
}
