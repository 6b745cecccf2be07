//! Memory mapping: the one place of this crate that asks the operating system for memory.

use bytes::Bytes;
use memmap2::{Mmap, UncheckedAdvice};
use std::fs::File;
use std::io;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// The mappings that are in use.
static MAPPINGS: Mutex<Vec<Weak<Mmap>>> = Mutex::new(Vec::new());

/// Keeps a mapping as long as bytes of it are in use.
struct Owner(Arc<Mmap>);

impl AsRef<[u8]> for Owner {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

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
    let mapping = Arc::new(unsafe { Mmap::map(file) }?);
    let mut all = MAPPINGS.lock().unwrap_or_else(PoisonError::into_inner);
    all.retain(|m| m.strong_count() > 0);
    all.push(Arc::downgrade(&mapping));
    Ok(Bytes::from_owner(Owner(mapping)))
}

/// Gives the memory of whole pages back if the bytes are those of a mapped file; they are read again when touched.
#[allow(unsafe_code)]
pub(crate) fn release(bytes: &[u8]) {
    let start = bytes.as_ptr() as usize;
    let mappings: Vec<Arc<Mmap>> = {
        let all = MAPPINGS.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().filter_map(Weak::upgrade).collect()
    };
    let within = |m: &&Arc<Mmap>| {
        let from = m.as_ptr() as usize;
        start >= from && start + bytes.len() <= from + m.len()
    };
    let Some(mapping) = mappings.iter().find(within) else { return };
    // Pages at either end may hold bytes of others, which would only have to be read again.
    let offset = start - mapping.as_ptr() as usize;
    // SAFETY: the mapping is private, read-only and of a file that does not change: pages that are dropped are the same
    // when they come back. A refusal changes nothing.
    let _ = unsafe { mapping.unchecked_advise_range(UncheckedAdvice::DontNeed, offset, bytes.len()) };
}
