//! Concrete arrays: shared storage seen through a shape and strides.

use std::sync::{Arc, OnceLock};

use fornax_ir::literal::{Literal, LiteralError, byte_count};
use fornax_ir::{DType, scalar::Scalar};
use smallvec::SmallVec;

use super::storage::Storage;

/// Extents, outermost first.
pub(crate) type Shape = SmallVec<[usize; 4]>;
/// Distances of neighbours along each axis, in elements.
pub(crate) type Strides = SmallVec<[isize; 4]>;

/// A view of shared storage. Every element it has lies within the storage.
#[derive(Clone)]
pub(crate) struct Array {
    storage: Storage,
    dtype: DType,
    /// Place of the first element, in elements.
    offset: usize,
    shape: Shape,
    strides: Strides,
    /// The elements in row-major order, where they were asked for and don't lie so.
    dense: OnceLock<Arc<Storage>>,
}

/// Strides of a row-major array; extents of 0 count as 1, so that no stride is 0.
pub(crate) fn row_major(shape: &[usize]) -> Strides {
    let mut strides: Strides = SmallVec::from_elem(1, shape.len());
    for k in (1..shape.len()).rev() {
        strides[k - 1] = strides[k] * shape[k].max(1) as isize;
    }
    strides
}

impl Array {
    /// Storage in row-major order.
    ///
    /// # Errors
    /// [`LiteralError::Size`] when it is too short.
    pub(crate) fn new(storage: Storage, dtype: DType, shape: &[usize]) -> Result<Array, LiteralError> {
        let (want, got) = (byte_count(dtype, shape)?, storage.bytes().len());
        if got < want {
            return Err(LiteralError::Size { dtype, shape: shape.to_vec(), want, got });
        }
        Ok(Array::trusted(storage, dtype, Shape::from_slice(shape)))
    }

    /// As [`Array::new`], of storage made for this dtype and shape.
    pub(crate) fn trusted(storage: Storage, dtype: DType, shape: Shape) -> Array {
        let strides = row_major(&shape);
        Array { storage, dtype, offset: 0, shape, strides, dense: OnceLock::new() }
    }

    /// As [`Array::trusted`], of storage that has the elements for one index along each axis whose bit is set in `mask`.
    pub(crate) fn repeated(storage: Storage, dtype: DType, shape: &Shape, mask: u8) -> Array {
        let mut array = Array::trusted(storage, dtype, shape.clone());
        if mask != 0 {
            let mut next = 1;
            for k in (0..shape.len()).rev() {
                let repeats = mask >> k & 1 == 1;
                array.strides[k] = if repeats { 0 } else { next };
                next *= if repeats { 1 } else { shape[k] as isize };
            }
        }
        array
    }

    /// One value at every place: takes the memory of one.
    ///
    /// # Errors
    /// [`LiteralError::TooLarge`] when memory could not hold the shape if it were copied.
    pub(crate) fn filled(value: Scalar, shape: &[usize]) -> Result<Array, LiteralError> {
        byte_count(value.dtype, shape)?;
        let mut array = Array::trusted(scalar_storage(value), value.dtype, Shape::from_slice(shape));
        array.strides.fill(0);
        Ok(array)
    }

    pub(crate) fn dtype(&self) -> DType {
        self.dtype
    }
    pub(crate) fn shape(&self) -> &[usize] {
        &self.shape
    }
    pub(crate) fn strides(&self) -> &[isize] {
        &self.strides
    }
    pub(crate) fn numel(&self) -> usize {
        self.shape.iter().product()
    }

    /// Other extents, strides and first element over the same storage; the caller answers for the elements existing.
    pub(crate) fn view(&self, first: isize, shape: Shape, strides: Strides) -> Array {
        debug_assert_eq!(shape.len(), strides.len());
        Array {
            storage: self.storage.clone(),
            dtype: self.dtype,
            offset: (self.offset as isize + first) as usize,
            shape,
            strides,
            dense: OnceLock::new(),
        }
    }

    /// Whether the elements lie in row-major order without gaps.
    pub(crate) fn is_dense(&self) -> bool {
        let mut next = 1;
        for (&n, &stride) in self.shape.iter().zip(&self.strides).rev() {
            if n == 0 {
                return true;
            }
            if n != 1 && stride != next {
                return false;
            }
            next *= n as isize;
        }
        true
    }

    /// The bytes from the first element on, of that many elements which must lie behind it.
    pub(crate) fn behind(&self, elements: usize) -> &[u8] {
        let width = self.dtype.bytes();
        if elements == 0 {
            return &[];
        }
        &self.storage.bytes()[self.offset * width..(self.offset + elements) * width]
    }

    /// The elements in row-major order; copied at the first call where they lie otherwise.
    ///
    /// # Panics
    /// At the caller's line, when memory does not suffice for the copy.
    #[track_caller]
    pub(crate) fn bytes(&self) -> &[u8] {
        if self.is_dense() {
            return self.behind(self.numel());
        }
        &self.dense_copy().bytes()[..self.numel() * self.dtype.bytes()]
    }

    /// The copy of elements that don't lie in row-major order.
    #[track_caller]
    fn dense_copy(&self) -> &Storage {
        if self.dense.get().is_none() {
            match self.copied() {
                // Another thread may have been faster.
                Ok(copy) => drop(self.dense.set(Arc::new(copy))),
                Err(error) => panic!("the elements cannot be copied to row-major order: {error}"),
            }
        }
        self.dense.get().expect("just made")
    }

    /// The elements in row-major order, in storage of their own.
    ///
    /// # Errors
    /// [`LiteralError::TooLarge`] when memory does not suffice.
    pub(crate) fn copied(&self) -> Result<Storage, LiteralError> {
        let bytes = byte_count(self.dtype, &self.shape)?;
        let mut storage = Storage::zeroed(bytes, &self.shape)?;
        let to = &mut storage.unique().expect("nobody shares it yet")[..bytes];
        match self.dtype.bytes() {
            1 => self.copy_to::<u8>(to),
            2 => self.copy_to::<u16>(to),
            4 => self.copy_to::<u32>(to),
            _ => self.copy_to::<u64>(to),
        }
        Ok(storage)
    }

    /// Row by row along the last axis; an odometer walks the others.
    fn copy_to<T: bytemuck::Pod>(&self, to: &mut [u8]) {
        let from: &[T] = bytemuck::cast_slice(self.whole_elements());
        let to: &mut [T] = bytemuck::cast_slice_mut(to);
        let rank = self.shape.len();
        let (width, step) = if rank == 0 { (1, 1) } else { (self.shape[rank - 1], self.strides[rank - 1]) };
        if to.is_empty() {
            return;
        }
        let mut at: Shape = SmallVec::from_elem(0, rank.saturating_sub(1));
        let mut start = self.offset as isize;
        for row in to.chunks_exact_mut(width) {
            if step == 1 {
                row.copy_from_slice(&from[start as usize..][..width]);
            } else {
                let mut place = start;
                for element in row {
                    *element = from[place as usize];
                    place += step;
                }
            }
            for k in (0..at.len()).rev() {
                at[k] += 1;
                start += self.strides[k];
                if at[k] < self.shape[k] {
                    break;
                }
                start -= self.strides[k] * self.shape[k] as isize;
                at[k] = 0;
            }
        }
    }

    /// The storage without a last part that is no whole element.
    fn whole_elements(&self) -> &[u8] {
        let bytes = self.storage.bytes();
        &bytes[..bytes.len() - bytes.len() % self.dtype.bytes()]
    }

    /// The same elements in row-major order without gaps: itself where they lie so.
    pub(crate) fn to_dense(&self) -> Result<Array, LiteralError> {
        if self.is_dense() {
            return Ok(self.clone());
        }
        if self.dense.get().is_none() {
            // Another thread may have been faster.
            let _ = self.dense.set(Arc::new(self.copied()?));
        }
        let storage = (**self.dense.get().expect("just made")).clone();
        Ok(Array::trusted(storage, self.dtype, self.shape.clone()))
    }

    /// As a literal, which shares the storage where the elements lie in row-major order.
    ///
    /// # Panics
    /// As [`Array::bytes`].
    #[track_caller]
    pub(crate) fn to_literal(&self) -> Literal {
        let len = self.numel() * self.dtype.bytes();
        let data = if self.is_dense() {
            self.storage.shared(if len == 0 { 0 } else { self.offset * self.dtype.bytes() }, len)
        } else {
            self.dense_copy().shared(0, len)
        };
        Literal::from_bytes(self.dtype, &self.shape, data).expect("as many bytes as the shape has")
    }

    /// The same elements under other extents of the same number, without a copy; `None` where that takes one.
    pub(crate) fn reshaped(&self, shape: &[usize]) -> Option<Array> {
        debug_assert_eq!(shape.iter().product::<usize>(), self.numel());
        if self.is_dense() {
            return Some(self.view(0, Shape::from_slice(shape), row_major(shape)));
        }
        // Runs of axes that lie as one, innermost last: their extents and the stride of their last element.
        let mut runs: SmallVec<[(usize, isize); 4]> = SmallVec::new();
        for (&n, &stride) in self.shape.iter().zip(&self.strides).filter(|(n, _)| **n != 1) {
            match runs.last_mut() {
                Some((extent, last)) if *last == stride * n as isize => {
                    (*extent, *last) = (*extent * n, stride)
                }
                _ => runs.push((n, stride)),
            }
        }
        // Each new axis must take its extent from the end of one run.
        let mut strides: Strides = SmallVec::from_elem(1, shape.len());
        let mut left = runs.pop()?;
        let mut step = left.1;
        for (k, &n) in shape.iter().enumerate().rev().filter(|(_, n)| **n != 1) {
            if left.0 == 1 {
                left = runs.pop()?;
                step = left.1;
            }
            if left.0 % n != 0 {
                return None;
            }
            left.0 /= n;
            strides[k] = step;
            step *= n as isize;
        }
        Some(self.view(0, Shape::from_slice(shape), strides))
    }
}

/// Storage of one element.
pub(crate) fn scalar_storage(value: Scalar) -> Storage {
    Storage::Words(Arc::from([scalar_word(value)]))
}

/// A word whose first bytes in memory are the scalar.
pub(crate) fn scalar_word(value: Scalar) -> u64 {
    if cfg!(target_endian = "big") { value.bits << (64 - 8 * value.dtype.bytes()) } else { value.bits }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counting(shape: &[usize]) -> Array {
        let n: usize = shape.iter().product();
        let literal = Literal::from_vec(shape, (0..n as i32).collect()).unwrap();
        Array::new(Storage::Bytes(literal.bytes().clone()), DType::I32, shape).unwrap()
    }

    fn elements(array: &Array) -> Vec<i32> {
        bytemuck::cast_slice(array.bytes()).to_vec()
    }

    #[test]
    fn a_view_reads_through_its_strides() {
        let x = counting(&[2, 3]);
        let t = x.view(0, Shape::from_slice(&[3, 2]), Strides::from_slice(&[1, 3]));
        assert!(!t.is_dense());
        assert_eq!(elements(&t), [0, 3, 1, 4, 2, 5]);
        let reversed = x.view(5, Shape::from_slice(&[6]), Strides::from_slice(&[-1]));
        assert_eq!(elements(&reversed), [5, 4, 3, 2, 1, 0]);
        assert_eq!(elements(&Array::filled(Scalar::from_i64(DType::I32, 7), &[2, 2]).unwrap()), [7; 4]);
        assert_eq!(elements(&t.to_dense().unwrap()), elements(&t));
    }

    #[test]
    fn a_reshape_copies_only_where_it_must() {
        let x = counting(&[2, 3, 4]);
        let t = x.view(0, Shape::from_slice(&[3, 4, 2]), Strides::from_slice(&[4, 1, 12]));
        for (shape, views) in [
            (&[12, 2][..], true),
            (&[2, 6, 2], true),
            (&[1, 3, 2, 2, 1, 2], true),
            (&[24], false),
            (&[3, 8], false),
            (&[6, 4], false),
        ] {
            let reshaped = t.reshaped(shape);
            assert_eq!(reshaped.is_some(), views, "{shape:?}");
            if let Some(r) = reshaped {
                assert_eq!(elements(&r), elements(&t), "{shape:?}");
            }
        }
    }
}
