//! Byte buffers aligned to 64 bytes, whose allocation can fail without ending the program.

use std::alloc::{Layout, alloc, alloc_zeroed, dealloc};
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::abi::ALIGNMENT;

/// Why a buffer could not be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BufferError {
    /// The size cannot exist on this machine.
    #[error("a buffer of {bytes} bytes is larger than the address space allows")]
    TooLarge {
        /// Bytes asked for.
        bytes: usize,
    },
    /// The system has no such memory to give.
    #[error("out of memory: the system refused a buffer of {bytes} bytes")]
    OutOfMemory {
        /// Bytes asked for.
        bytes: usize,
    },
    /// The size is above the limit set by the user.
    #[error("a buffer of {bytes} bytes is above the memory limit of {limit} bytes")]
    Limit {
        /// Bytes asked for.
        bytes: usize,
        /// Bytes allowed.
        limit: usize,
    },
}

/// Checks `bytes` against an optional limit.
///
/// # Errors
/// [`BufferError::Limit`] when it is above.
pub fn check_limit(bytes: usize, limit: Option<usize>) -> Result<(), BufferError> {
    match limit {
        Some(limit) if bytes > limit => Err(BufferError::Limit { bytes, limit }),
        _ => Ok(()),
    }
}

/// Blocks of at least so many bytes ask for huge pages: fewer faults when they are first written, fewer misses of
/// address translation afterwards. A page of 2 MiB that is written in part is resident as a whole.
const HUGE: usize = 8 << 20;

/// Asks for huge pages behind whole pages of a new block; the system may not have any.
#[cfg(target_os = "linux")]
fn prefer_huge_pages(base: NonNull<u8>, bytes: usize) {
    use std::ffi::{c_int, c_void};
    unsafe extern "C" {
        /// Linux, madvise(2).
        fn madvise(address: *mut c_void, length: usize, advice: c_int) -> c_int;
    }
    /// `MADV_HUGEPAGE` of Linux, the same on all its architectures that Rust knows.
    const MADV_HUGEPAGE: c_int = 14;
    /// No page that is not huge is larger.
    const PAGE: usize = 64 << 10;
    let skip = base.as_ptr().align_offset(PAGE);
    let Some(length) = bytes.checked_sub(skip).map(|n| n & !(PAGE - 1)).filter(|&n| n > 0) else { return };
    // SAFETY: the range lies within a block that we own, and the advice changes no contents. A refusal changes nothing.
    unsafe { madvise(base.as_ptr().wrapping_add(skip).cast(), length, MADV_HUGEPAGE) };
}
#[cfg(not(target_os = "linux"))]
fn prefer_huge_pages(_: NonNull<u8>, _: usize) {}

/// An owned allocation whose `start` is aligned to [`ALIGNMENT`].
///
/// It asks for `len + ALIGNMENT` bytes of small alignment and rounds the address up: the standard
/// allocator hands out zeroed pages untouched only for small alignments, and a large buffer should
/// not become resident before it is used.
#[derive(Debug)]
struct Block {
    start: NonNull<u8>,
    base: NonNull<u8>,
    /// Layout of the allocation at `base`; size 0 when nothing is allocated.
    layout: Layout,
}

// SAFETY: a `Block` owns its allocation alone; access follows the borrow of its owner.
unsafe impl Send for Block {}
// SAFETY: as above; shared references give no mutation.
unsafe impl Sync for Block {}

impl Block {
    /// A block of no bytes; its `start` is dangling and aligned.
    const fn empty() -> Self {
        // SAFETY: ALIGNMENT is not zero.
        let start = unsafe { NonNull::new_unchecked(std::ptr::without_provenance_mut(ALIGNMENT)) };
        Self { start, base: start, layout: Layout::new::<()>() }
    }

    fn new(bytes: usize, zeroed: bool) -> Result<Self, BufferError> {
        if bytes == 0 {
            return Ok(Self::empty());
        }
        let layout = bytes
            .checked_add(ALIGNMENT)
            .and_then(|padded| Layout::from_size_align(padded, align_of::<u64>()).ok())
            .ok_or(BufferError::TooLarge { bytes })?;
        // SAFETY: the layout's size is at least ALIGNMENT, so not zero.
        let base = unsafe { if zeroed { alloc_zeroed(layout) } else { alloc(layout) } };
        let base = NonNull::new(base).ok_or(BufferError::OutOfMemory { bytes })?;
        if bytes >= HUGE {
            prefer_huge_pages(base, layout.size());
        }
        let skip = base.as_ptr().align_offset(ALIGNMENT);
        debug_assert!(skip < ALIGNMENT);
        // SAFETY: skip < ALIGNMENT and the allocation has ALIGNMENT bytes more than `bytes`.
        let start = unsafe { base.add(skip) };
        Ok(Self { start, base, layout })
    }

    /// Bytes there are from `start` on.
    fn capacity(&self) -> usize {
        self.layout.size().saturating_sub(ALIGNMENT)
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        if self.layout.size() != 0 {
            // SAFETY: `base` came from the global allocator with this layout and is freed once.
            unsafe { dealloc(self.base.as_ptr(), self.layout) };
        }
    }
}

/// A byte buffer aligned to 64 bytes whose bytes are always initialised; zero at first.
#[derive(Debug)]
pub struct AlignedBuffer {
    block: Block,
    len: usize,
    /// Takes the block when the buffer goes.
    shelf: Weak<Shelf>,
}

impl Default for AlignedBuffer {
    fn default() -> Self {
        Self { block: Block::empty(), len: 0, shelf: Weak::new() }
    }
}

impl Drop for AlignedBuffer {
    fn drop(&mut self) {
        if let Some(shelf) = self.shelf.upgrade() {
            shelf.put(std::mem::replace(&mut self.block, Block::empty()));
        }
    }
}

/// Blocks of buffers that are gone, for the next ones of like size: pages that are there already, and nothing to clear.
///
/// It keeps a few; the longest there goes first. A buffer that outlives its shelf is freed as any other.
#[derive(Debug, Default)]
pub struct Shelf {
    free: Mutex<Vec<Block>>,
}

impl Shelf {
    /// Blocks that are kept.
    const MOST: usize = 8;

    /// A buffer of `len` bytes of unspecified values; it comes back here when it is dropped.
    ///
    /// # Errors
    /// As [`AlignedBuffer::zeroed`].
    pub fn buffer(self: &Arc<Self>, len: usize) -> Result<AlignedBuffer, BufferError> {
        let fits = |block: &Block| block.capacity() >= len && block.capacity() / 2 <= len;
        let found = {
            let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
            let place = free.iter().rposition(fits);
            place.map(|place| free.remove(place))
        };
        let block = found.map_or_else(|| Block::new(len, true), Ok)?;
        Ok(AlignedBuffer { block, len, shelf: Arc::downgrade(self) })
    }

    fn put(&self, block: Block) {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        // Freed behind the lock.
        let _oldest = (free.len() >= Self::MOST).then(|| free.remove(0));
        free.push(block);
        drop(free);
    }
}

impl AlignedBuffer {
    /// A buffer of `len` zero bytes. Large ones take no physical memory before they are written.
    ///
    /// # Errors
    /// [`BufferError::TooLarge`] or [`BufferError::OutOfMemory`].
    pub fn zeroed(len: usize) -> Result<Self, BufferError> {
        Ok(Self { block: Block::new(len, true)?, len, shelf: Weak::new() })
    }

    /// As [`AlignedBuffer::zeroed`], refused above `limit` bytes.
    ///
    /// # Errors
    /// [`BufferError::Limit`] besides those of [`AlignedBuffer::zeroed`].
    pub fn zeroed_within(len: usize, limit: Option<usize>) -> Result<Self, BufferError> {
        check_limit(len, limit)?;
        Self::zeroed(len)
    }

    /// A copy of `bytes`.
    ///
    /// # Errors
    /// [`BufferError::OutOfMemory`].
    pub fn copy_of(bytes: &[u8]) -> Result<Self, BufferError> {
        let block = Block::new(bytes.len(), false)?;
        // SAFETY: the block has `bytes.len()` bytes and is new, so nothing overlaps; every byte is
        // written before the buffer exists.
        unsafe { block.start.as_ptr().copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        Ok(Self { block, len: bytes.len(), shelf: Weak::new() })
    }

    /// Grows to `len` bytes, keeping the contents; new bytes are zero. Does nothing when the
    /// buffer is that long already. On error the buffer is unchanged.
    ///
    /// # Errors
    /// [`BufferError::TooLarge`] or [`BufferError::OutOfMemory`].
    pub fn grow(&mut self, len: usize) -> Result<(), BufferError> {
        if len > self.len {
            let mut grown = Self::zeroed(len)?;
            grown.as_mut_slice()[..self.len].copy_from_slice(self.as_slice());
            *self = grown;
        }
        Ok(())
    }

    /// Number of bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The bytes.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        // SAFETY: `len` initialised bytes at `start`, borrowed from self.
        unsafe { std::slice::from_raw_parts(self.block.start.as_ptr(), self.len) }
    }

    /// The bytes, to write.
    #[must_use]
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: as in `as_slice`, borrowed uniquely.
        unsafe { std::slice::from_raw_parts_mut(self.block.start.as_ptr(), self.len) }
    }

    /// Address of the first byte, a multiple of 64 (dangling when empty).
    #[must_use]
    pub fn as_ptr(&self) -> *const u8 {
        self.block.start.as_ptr()
    }

    /// As [`AlignedBuffer::as_ptr`], to write.
    #[must_use]
    pub fn as_mut_ptr(&mut self) -> *mut u8 {
        self.block.start.as_ptr()
    }
}

/// Scratch memory aligned to 64 bytes: uninitialised, reached by address alone.
#[derive(Debug)]
pub struct Arena {
    block: Block,
    capacity: usize,
}

impl Default for Arena {
    fn default() -> Self {
        Self { block: Block::empty(), capacity: 0 }
    }
}

impl Arena {
    /// An arena of `capacity` bytes. Pages take no physical memory before they are written.
    ///
    /// # Errors
    /// [`BufferError::TooLarge`] or [`BufferError::OutOfMemory`].
    pub fn new(capacity: usize) -> Result<Self, BufferError> {
        Ok(Self { block: Block::new(capacity, false)?, capacity })
    }

    /// Makes room for `capacity` bytes. Contents are lost when it grows, and the old memory goes
    /// back before the new is asked for; on error the arena is empty.
    ///
    /// # Errors
    /// [`BufferError::TooLarge`] or [`BufferError::OutOfMemory`].
    pub fn reserve(&mut self, capacity: usize) -> Result<(), BufferError> {
        if capacity > self.capacity {
            *self = Self::default();
            *self = Self::new(capacity)?;
        }
        Ok(())
    }

    /// Bytes there is room for.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Address of the first byte, a multiple of 64 (dangling when empty).
    #[must_use]
    pub fn as_mut_ptr(&mut self) -> *mut u8 {
        self.block.start.as_ptr()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_aligned_and_zero() {
        for len in [0, 1, 63, 64, 65, 4096, 1 << 20] {
            let buffer = AlignedBuffer::zeroed(len).unwrap();
            assert_eq!(buffer.as_ptr() as usize % ALIGNMENT, 0, "{len}");
            assert_eq!(buffer.len(), len);
            assert!(buffer.as_slice().iter().all(|&byte| byte == 0));
            let mut arena = Arena::new(len).unwrap();
            assert_eq!(arena.as_mut_ptr() as usize % ALIGNMENT, 0, "{len}");
            if len > 0 {
                // SAFETY: the last byte of the arena.
                unsafe { arena.as_mut_ptr().add(len - 1).write(1) };
            }
        }
    }

    #[test]
    fn a_shelf_hands_on_blocks_of_like_size() {
        let shelf = Arc::new(Shelf::default());
        let mut first = shelf.buffer(1000).unwrap();
        first.as_mut_slice().fill(7);
        let second = shelf.buffer(1000).unwrap();
        let (a, b) = (first.as_ptr(), second.as_ptr());
        assert_ne!(a, b, "both are in use");
        drop(first);
        assert_ne!(shelf.buffer(3000).unwrap().as_ptr(), a, "too large");
        let small = shelf.buffer(100).unwrap();
        assert_ne!(small.as_ptr(), a, "much smaller");
        let third = shelf.buffer(900).unwrap();
        assert_eq!((third.as_ptr(), third.len()), (a, 900));
        drop(second);
        assert_eq!(shelf.buffer(1000).unwrap().as_ptr(), b);
        let many: Vec<_> = (0..20).map(|_| shelf.buffer(64).unwrap()).collect();
        drop(many);
        assert_eq!(shelf.free.lock().unwrap().len(), Shelf::MOST);
        let last = shelf.buffer(50).unwrap();
        drop(shelf);
        assert_eq!(last.len(), 50, "a buffer may outlive its shelf");
    }

    #[test]
    fn huge_blocks_are_zero_and_hold_what_is_written() {
        let mut buffer = AlignedBuffer::zeroed(HUGE + 5).unwrap();
        assert!(buffer.as_slice().iter().all(|&byte| byte == 0));
        buffer.as_mut_slice().fill(3);
        assert!(buffer.as_slice().iter().all(|&byte| byte == 3));
    }

    #[test]
    fn impossible_sizes_are_errors() {
        for bytes in [usize::MAX, usize::MAX - 64, isize::MAX as usize] {
            let refused = BufferError::TooLarge { bytes };
            assert_eq!(AlignedBuffer::zeroed(bytes).unwrap_err(), refused);
            assert_eq!(Arena::new(bytes).unwrap_err(), refused);
        }
        let bytes = 1usize << 56;
        assert_eq!(Arena::new(bytes).unwrap_err(), BufferError::OutOfMemory { bytes });
    }

    #[test]
    fn growing_keeps_contents_and_failing_to_grow_too() {
        let mut buffer = AlignedBuffer::copy_of(b"abc").unwrap();
        buffer.grow(1000).unwrap();
        assert_eq!(&buffer.as_slice()[..4], b"abc\0");
        assert!(buffer.grow(usize::MAX).is_err());
        assert_eq!(buffer.len(), 1000);
        buffer.grow(10).unwrap();
        assert_eq!(buffer.len(), 1000);
        assert_eq!(&buffer.as_slice()[..4], b"abc\0");
    }

    #[test]
    fn the_limit_is_inclusive() {
        assert!(AlignedBuffer::zeroed_within(100, Some(100)).is_ok());
        assert!(AlignedBuffer::zeroed_within(100, None).is_ok());
        assert_eq!(
            AlignedBuffer::zeroed_within(101, Some(100)).unwrap_err(),
            BufferError::Limit { bytes: 101, limit: 100 }
        );
    }

    #[test]
    fn an_arena_that_cannot_grow_is_empty_and_usable() {
        let mut arena = Arena::new(128).unwrap();
        assert!(arena.reserve(usize::MAX).is_err());
        assert_eq!(arena.capacity(), 0);
        arena.reserve(256).unwrap();
        assert_eq!(arena.capacity(), 256);
        arena.reserve(10).unwrap();
        assert_eq!(arena.capacity(), 256);
    }
}
