//! Functions that programs call in place of generated kernels: what no loop nest says well.
//!
//! A function has the signature of a kernel, [`FnxBody`]: it runs items `begin..end` of its work, in whichever parts
//! and on whichever threads it is asked, and reads everything else from its *block*, a row of 8-byte words: a
//! pointer for each buffer, the scalars, then the scratch of worker 0, the bytes from one worker's scratch to the next
//! one's, and a pointer to the error flag. Results do not depend on how the items are divided.
//!
//! [`TABLE`] names all of them. A program finds them by these names, whether it was compiled in this process or ahead
//! of time.

mod cumulative;
mod element;
mod scatter;
mod sort;
mod widest;

use crate::abi::FnxBody;
use crate::io::DType;
use std::ffi::c_void;
use std::sync::atomic::{AtomicI64, Ordering};

/// The functions, by name. `fnx_scatter_K` takes K index tensors, `fnx_sort_K` has K results.
pub static TABLE: [(&str, FnxBody); 11] = [
    ("fnx_cumulative", cumulative::cumulative),
    ("fnx_scatter_1", scatter::scatter::<1>),
    ("fnx_scatter_2", scatter::scatter::<2>),
    ("fnx_scatter_3", scatter::scatter::<3>),
    ("fnx_scatter_4", scatter::scatter::<4>),
    ("fnx_scatter_5", scatter::scatter::<5>),
    ("fnx_scatter_6", scatter::scatter::<6>),
    ("fnx_scatter_7", scatter::scatter::<7>),
    ("fnx_scatter_8", scatter::scatter::<8>),
    ("fnx_sort_1", sort::sort::<1>),
    ("fnx_sort_2", sort::sort::<2>),
];

/// A call's block of so many buffers and scalars.
#[derive(Clone, Copy)]
struct Block<const BUFFERS: usize> {
    words: *const u64,
    scalars: usize,
}

impl<const BUFFERS: usize> Block<BUFFERS> {
    /// # Safety
    /// `arg` is the block of a call of a function with so many buffers and scalars.
    unsafe fn new(arg: *mut c_void, scalars: usize) -> Self {
        Block { words: arg.cast_const().cast(), scalars }
    }

    fn word(self, n: usize) -> u64 {
        debug_assert!(n < BUFFERS + self.scalars + 3);
        // SAFETY: a block has that many words (`new`).
        unsafe { self.words.add(n).read() }
    }

    /// The address of a buffer.
    fn buffer<T>(self, n: usize) -> *mut T {
        self.word(n) as usize as *mut T
    }

    fn scalar(self, n: usize) -> i64 {
        self.word(BUFFERS + n).cast_signed()
    }

    /// A scalar that is an extent.
    fn extent(self, n: usize) -> usize {
        usize::try_from(self.scalar(n)).unwrap_or(0)
    }

    /// A scalar that is a dtype: its place among all of them.
    fn dtype(self, n: usize) -> Option<DType> {
        DType::ALL.get(self.extent(n)).copied()
    }

    /// The worker's scratch.
    fn scratch<T>(self, worker: u32) -> *mut T {
        let after = BUFFERS + self.scalars;
        (self.word(after) + self.word(after + 1) * u64::from(worker)) as usize as *mut T
    }

    /// Notes an index error with that detail.
    fn raise(self, detail: i64) {
        let flag = self.word(BUFFERS + self.scalars + 2) as usize as *mut i64;
        // SAFETY: the flag is an aligned word of the run's frame, which other threads write in the same way.
        unsafe { AtomicI64::from_ptr(flag) }.store(detail.wrapping_add(1), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod testing {
    use super::*;

    /// Calls a function with these buffers and scalars, its items in the given ranges; returns the error flag.
    pub(super) fn call(
        function: FnxBody,
        buffers: &[*mut c_void],
        scalars: &[i64],
        scratch: &mut [u64],
        items: &[(i64, i64)],
    ) -> i64 {
        let mut flag = 0i64;
        let mut words: Vec<u64> = buffers.iter().map(|b| *b as usize as u64).collect();
        words.extend(scalars.iter().map(|s| s.cast_unsigned()));
        words.extend([scratch.as_mut_ptr() as usize as u64, 0, (&raw mut flag) as usize as u64]);
        for &(begin, end) in items {
            // SAFETY: the block has what the function reads; buffers are as large as the scalars say.
            unsafe { function(words.as_mut_ptr().cast(), begin, end, 0) };
        }
        flag
    }
}
