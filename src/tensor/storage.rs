//! Memory of tensors.

use std::sync::Arc;

use bytes::Bytes;
use fornax_ir::literal::LiteralError;
use fornax_runtime::{AlignedBuffer, Shelf};

/// Storage up to this many bytes is one allocation together with its reference count.
const SMALL: usize = 4096;

/// Shared bytes, aligned for any dtype's elements at multiples of the element's size.
#[derive(Clone)]
pub(crate) enum Storage {
    /// A few words.
    Words(Arc<[u64]>),
    /// A larger block, aligned to 64 bytes.
    Block(Arc<AlignedBuffer>),
    /// Memory of someone else: a vector, a file.
    Bytes(Bytes),
}

impl Storage {
    /// Zeros.
    ///
    /// # Errors
    /// [`LiteralError::TooLarge`], naming `shape`, when memory does not suffice.
    pub(crate) fn zeroed(bytes: usize, shape: &[usize]) -> Result<Storage, LiteralError> {
        if bytes <= SMALL {
            return Ok(Storage::Words(std::iter::repeat_n(0, bytes.div_ceil(8)).collect()));
        }
        let block = AlignedBuffer::zeroed(bytes).map_err(|_| LiteralError::TooLarge(shape.to_vec()))?;
        Ok(Storage::Block(Arc::new(block)))
    }

    /// Unspecified values, in memory of a shelf that takes it back.
    ///
    /// # Errors
    /// As [`Storage::zeroed`].
    pub(crate) fn of_shelf(
        shelf: &Arc<Shelf>,
        bytes: usize,
        shape: &[usize],
    ) -> Result<Storage, LiteralError> {
        if bytes <= SMALL {
            return Storage::zeroed(bytes, shape);
        }
        let block = shelf.buffer(bytes).map_err(|_| LiteralError::TooLarge(shape.to_vec()))?;
        Ok(Storage::Block(Arc::new(block)))
    }

    /// All bytes; of small storage up to 7 more than were asked for.
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Storage::Words(words) => bytemuck::cast_slice(words),
            Storage::Block(block) => block.as_slice(),
            Storage::Bytes(bytes) => bytes,
        }
    }

    /// The bytes, to write, while nobody shares them.
    pub(crate) fn unique(&mut self) -> Option<&mut [u8]> {
        match self {
            Storage::Words(words) => Some(bytemuck::cast_slice_mut(Arc::get_mut(words)?)),
            Storage::Block(block) => Some(Arc::get_mut(block)?.as_mut_slice()),
            Storage::Bytes(_) => None,
        }
    }

    /// Part of the bytes, shared.
    pub(crate) fn shared(&self, from: usize, len: usize) -> Bytes {
        struct Owner(Storage);
        impl AsRef<[u8]> for Owner {
            fn as_ref(&self) -> &[u8] {
                self.0.bytes()
            }
        }
        match self {
            Storage::Bytes(bytes) => bytes.slice(from..from + len),
            other => Bytes::from_owner(Owner(other.clone())).slice(from..from + len),
        }
    }
}
