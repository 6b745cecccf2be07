//! The argument block of a kernel, and the layout of a worker's scratch.
//!
//! A kernel function is `fn(block: *mut Block, begin: i64, end: i64, worker: u32)` in the System V
//! convention on every system. It runs work items `begin..end`, row-major over the chunks of
//! `schedule.parallel`. The block is a row of 8-byte words:
//!
//! | words | content |
//! |---|---|
//! | one a buffer | pointer to its first element |
//! | one a scalar | its value, i64 |
//! | 1 | `worker_base`: scratch of worker 0, 64-byte aligned |
//! | 1 | `worker_stride`: bytes from one worker's scratch to the next one's, a multiple of 64 |
//! | 1 | `flag`: pointer to an i64 that is set to `detail + 1` where an index error is raised |

use fornax_ir::kernel::block::local_stride;
use fornax_ir::kernel::{Kernel, LocalDecl, Size};

/// Bytes of a word of the block.
pub const WORD: i64 = 8;
/// Alignment of the worker's scratch and of every local buffer in it, bytes.
pub const LOCAL_ALIGN: i64 = 64;

/// Where the words of a kernel's block are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BlockLayout {
    /// Number of buffers.
    pub buffers: u32,
    /// Number of scalar arguments.
    pub scalars: u32,
}

impl BlockLayout {
    /// Of that kernel.
    #[must_use]
    pub fn of(kernel: &Kernel) -> Self {
        BlockLayout { buffers: kernel.buffers.len() as u32, scalars: kernel.scalars }
    }
    /// Byte offset of a buffer's pointer.
    #[must_use]
    pub fn buffer(self, index: u32) -> i32 {
        index as i32 * WORD as i32
    }
    /// Byte offset of a scalar argument.
    #[must_use]
    pub fn scalar(self, index: u32) -> i32 {
        (self.buffers + index) as i32 * WORD as i32
    }
    /// Byte offset of `worker_base`.
    #[must_use]
    pub fn worker_base(self) -> i32 {
        self.scalar(self.scalars)
    }
    /// Byte offset of `worker_stride`.
    #[must_use]
    pub fn worker_stride(self) -> i32 {
        self.worker_base() + WORD as i32
    }
    /// Byte offset of `flag`.
    #[must_use]
    pub fn flag(self) -> i32 {
        self.worker_base() + 2 * WORD as i32
    }
    /// Number of words.
    #[must_use]
    pub fn words(self) -> usize {
        (self.buffers + self.scalars) as usize + 3
    }
    /// Size of the block.
    #[must_use]
    pub fn bytes(self) -> i64 {
        self.words() as i64 * WORD
    }
}

/// One local buffer in a worker's scratch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LocalSlot {
    /// Number of elements; of those from one copy to the next, where there are several.
    pub len: Size,
    /// Bytes of one element, of all copies.
    pub element: i64,
}

impl LocalSlot {
    /// Of a local of that kernel.
    #[must_use]
    pub fn of(kernel: &Kernel, local: &LocalDecl) -> Self {
        let element = local.dtype.bytes() as i64;
        match kernel.schedule.block {
            Some((_, points)) => {
                LocalSlot { len: local_stride(local), element: element.saturating_mul(points) }
            }
            None => LocalSlot { len: local.len, element },
        }
    }
}

/// A worker's scratch: the kernel's locals in order, each rounded up to [`LOCAL_ALIGN`] bytes.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ScratchLayout {
    /// The locals.
    pub slots: Vec<LocalSlot>,
}

impl ScratchLayout {
    /// Of that kernel.
    #[must_use]
    pub fn of(kernel: &Kernel) -> Self {
        ScratchLayout { slots: kernel.locals.iter().map(|l| LocalSlot::of(kernel, l)).collect() }
    }
    /// Bytes a worker needs, given the kernel's scalar arguments; `None` if that overflows, or
    /// a length is negative or names an argument that is not there.
    #[must_use]
    pub fn bytes(&self, scalars: &[i64]) -> Option<i64> {
        self.slots.iter().try_fold(0i64, |sum, slot| {
            let len = match slot.len {
                Size::Const(n) => n,
                Size::Arg(a) => *scalars.get(a as usize)?,
            };
            let bytes = len.checked_mul(slot.element)?.checked_add(LOCAL_ALIGN - 1)?;
            (len >= 0).then_some(())?;
            sum.checked_add(bytes & !(LOCAL_ALIGN - 1))
        })
    }
}

/// Number of work items of the kernel with these scalar arguments: the product over
/// `schedule.parallel` of the number of chunks. `None` where [`ScratchLayout::bytes`] is.
#[must_use]
pub fn work_items(kernel: &Kernel, scalars: &[i64]) -> Option<i64> {
    kernel.schedule.parallel.iter().try_fold(1i64, |items, &(axis, chunk)| {
        let extent = match kernel.axis(0, axis).extent {
            Size::Const(n) => n,
            Size::Arg(a) => *scalars.get(a as usize)?,
        };
        let chunks = extent.checked_add(chunk - 1)?.checked_div(chunk)?.max(0);
        items.checked_mul(chunks)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_follow_each_other() {
        let block = BlockLayout { buffers: 3, scalars: 2 };
        let offsets = [block.buffer(0), block.buffer(2), block.scalar(0), block.scalar(1)];
        assert_eq!(offsets, [0, 16, 24, 32]);
        assert_eq!([block.worker_base(), block.worker_stride(), block.flag()], [40, 48, 56]);
        assert_eq!(block.bytes(), 64);
    }

    #[test]
    fn scratch_is_aligned_and_refuses_overflow() {
        let slot = |len, element| LocalSlot { len, element };
        let scratch = ScratchLayout { slots: vec![slot(Size::Const(3), 4), slot(Size::Arg(0), 8)] };
        assert_eq!(scratch.bytes(&[9]), Some(64 + 128));
        assert_eq!(scratch.bytes(&[i64::MAX]), None);
        assert_eq!(scratch.bytes(&[-1]), None);
        assert_eq!(scratch.bytes(&[]), None);
    }
}
