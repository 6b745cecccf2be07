//! Concrete tensors: what a model takes and gives.

use std::fmt;

use fornax_ir::literal::{Element, LiteralError};
use fornax_ir::scalar::Scalar;
use fornax_ir::{DType, Literal};

/// A dense array of one dtype in row-major order. Cloning is cheap: clones share their storage.
///
/// The storage is always aligned for its elements.
#[derive(Clone, PartialEq)]
pub struct Tensor {
    literal: Literal,
}

impl Tensor {
    /// From elements in row-major order, which are copied.
    ///
    /// # Errors
    /// [`LiteralError`] when the number of elements contradicts the shape.
    ///
    /// ```
    /// let x = fornax::Tensor::from_slice(&[1.0f32, 2.0, 3.0, 4.0], &[2, 2])?;
    /// assert_eq!(x.shape(), [2, 2]);
    /// # Ok::<(), fornax::TensorError>(())
    /// ```
    pub fn from_slice<T: Element>(data: &[T], shape: &[usize]) -> Result<Self, LiteralError> {
        Self::from_vec(data.to_vec(), shape)
    }

    /// From elements in row-major order; the vector becomes the storage.
    ///
    /// # Errors
    /// [`LiteralError`] when the number of elements contradicts the shape.
    pub fn from_vec<T: Element>(data: Vec<T>, shape: &[usize]) -> Result<Self, LiteralError> {
        Ok(Tensor { literal: Literal::from_vec(shape, data)? })
    }

    /// From truth values in row-major order.
    ///
    /// # Errors
    /// [`LiteralError`] when the number of elements contradicts the shape.
    pub fn from_bools(data: &[bool], shape: &[usize]) -> Result<Self, LiteralError> {
        Ok(Tensor { literal: Literal::from_bools(shape, data)? })
    }

    /// A tensor of rank 0.
    pub fn scalar<T: Element>(value: T) -> Self {
        Tensor::from_literal(Literal::scalar(value))
    }

    /// All elements zero (false).
    ///
    /// # Errors
    /// [`LiteralError::TooLarge`] when memory cannot hold the shape.
    pub fn zeros(shape: &[usize], dtype: DType) -> Result<Self, LiteralError> {
        let bytes = fornax_ir::literal::byte_count(dtype, shape)?;
        // Asked for first, so that too large a shape is an error and not the end of the process.
        let room = Vec::<u8>::new().try_reserve_exact(bytes);
        room.map_err(|_| LiteralError::TooLarge(shape.to_vec()))?;
        Tensor::from_bytes(vec![0; bytes], dtype, shape)
    }

    /// From values that are each converted to the dtype's nearest: floats round, integers saturate
    /// (NaN is 0), bool is whether the value is not zero.
    ///
    /// # Errors
    /// [`LiteralError`] when the number of values contradicts the shape.
    pub fn from_f64s(
        values: impl IntoIterator<Item = f64>,
        dtype: DType,
        shape: &[usize],
    ) -> Result<Self, LiteralError> {
        Tensor::from_scalars(values.into_iter().map(|v| Scalar::from_f64(dtype, v)), dtype, shape)
    }

    /// From values that are each converted to the dtype: integers wrap, floats round, bool is whether the value is not
    /// zero.
    ///
    /// # Errors
    /// [`LiteralError`] when the number of values contradicts the shape.
    pub fn from_i64s(
        values: impl IntoIterator<Item = i64>,
        dtype: DType,
        shape: &[usize],
    ) -> Result<Self, LiteralError> {
        Tensor::from_scalars(values.into_iter().map(|v| Scalar::from_i64(dtype, v)), dtype, shape)
    }

    fn from_scalars(
        values: impl Iterator<Item = Scalar>,
        dtype: DType,
        shape: &[usize],
    ) -> Result<Self, LiteralError> {
        let width = dtype.bytes();
        let mut bytes = Vec::with_capacity(fornax_ir::literal::byte_count(dtype, shape)?);
        for value in values {
            bytes.extend_from_slice(&value.bits.to_le_bytes()[..width]);
        }
        if cfg!(target_endian = "big") {
            bytes.chunks_exact_mut(width).for_each(<[u8]>::reverse);
        }
        Tensor::from_bytes(bytes, dtype, shape)
    }

    /// From bytes in row-major order and native endianness (bool: one byte of 0 or 1 each).
    ///
    /// # Errors
    /// [`LiteralError::Size`] when the number of bytes contradicts dtype and shape.
    pub fn from_bytes(bytes: Vec<u8>, dtype: DType, shape: &[usize]) -> Result<Self, LiteralError> {
        Ok(Tensor::from_literal(Literal::from_bytes(dtype, shape, bytes.into())?))
    }

    /// From 8-byte words of which the first bytes are the elements: storage that is aligned for any dtype.
    ///
    /// # Errors
    /// [`LiteralError::Size`] when there are too few words.
    pub(crate) fn from_words(words: Vec<u64>, dtype: DType, shape: &[usize]) -> Result<Self, LiteralError> {
        let want = fornax_ir::literal::byte_count(dtype, shape)?;
        let all = Literal::from_vec(&[words.len()], words)?;
        let got = all.bytes().len();
        if got < want {
            return Err(LiteralError::Size { dtype, shape: shape.to_vec(), want, got });
        }
        Ok(Tensor { literal: Literal::from_bytes(dtype, shape, all.bytes().slice(..want))? })
    }

    /// Takes a literal over; its bytes are copied only where they are not aligned.
    pub fn from_literal(literal: Literal) -> Self {
        if literal.bytes().as_ptr().addr().is_multiple_of(literal.dtype().bytes()) {
            return Tensor { literal };
        }
        let mut words = vec![0u64; literal.bytes().len().div_ceil(8)];
        bytemuck::cast_slice_mut::<u64, u8>(&mut words)[..literal.bytes().len()]
            .copy_from_slice(literal.bytes());
        Tensor::from_words(words, literal.dtype(), literal.shape()).expect("the literal's own size")
    }

    /// The array that this wraps.
    pub fn as_literal(&self) -> &Literal {
        &self.literal
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        self.literal.dtype()
    }

    /// The extents, outermost first.
    pub fn shape(&self) -> &[usize] {
        self.literal.shape()
    }

    /// The number of elements.
    pub fn numel(&self) -> usize {
        self.literal.len()
    }

    /// The elements in row-major order, as bytes of native endianness.
    pub fn bytes(&self) -> &[u8] {
        self.literal.bytes()
    }

    /// The elements in row-major order. Bool reads as `u8`.
    ///
    /// # Errors
    /// [`LiteralError::DType`] when the elements are of another type.
    pub fn as_slice<T: Element>(&self) -> Result<&[T], LiteralError> {
        let as_stored = self.dtype() == T::DTYPE || (self.dtype() == DType::Bool && T::DTYPE == DType::U8);
        if !as_stored {
            return Err(LiteralError::DType { want: T::DTYPE, got: self.dtype() });
        }
        Ok(bytemuck::cast_slice(self.bytes()))
    }

    /// A copy of the elements in row-major order. Bool reads as `u8`.
    ///
    /// # Errors
    /// [`LiteralError::DType`] when the elements are of another type.
    pub fn to_vec<T: Element>(&self) -> Result<Vec<T>, LiteralError> {
        Ok(self.as_slice()?.to_vec())
    }

    /// All elements as `f64` (integers beyond 2^53 round; bool is 0 or 1).
    pub fn to_f64_vec(&self) -> Vec<f64> {
        (0..self.numel()).map(|i| self.literal.get_f64(i)).collect()
    }

    /// The same elements in another shape of equal element count; the storage is shared.
    ///
    /// # Errors
    /// [`LiteralError`] when the element counts differ.
    pub fn reshape(&self, shape: &[usize]) -> Result<Self, LiteralError> {
        Ok(Tensor { literal: self.literal.reshaped(shape)? })
    }
}

impl fmt::Debug for Tensor {
    /// Dtype, shape and the first elements.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.literal.fmt(f)
    }
}

impl From<Literal> for Tensor {
    fn from(literal: Literal) -> Self {
        Tensor::from_literal(literal)
    }
}

impl From<Tensor> for Literal {
    fn from(tensor: Tensor) -> Self {
        tensor.literal
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_convert_to_the_nearest_of_the_dtype() {
        let t = Tensor::from_f64s([1.5, -300.0, f64::NAN], DType::I8, &[3]).unwrap();
        assert_eq!(t.as_slice::<i8>().unwrap(), [1, -128, 0]);
        let t = Tensor::from_f64s([0.1, 70000.0], DType::F16, &[2]).unwrap();
        assert_eq!(t.to_f64_vec(), [0.0999755859375, f64::INFINITY]);
        assert!(Tensor::from_f64s([1.0], DType::F32, &[2]).is_err());
    }

    #[test]
    fn unaligned_bytes_are_copied_and_others_shared() {
        let odd = Literal::from_vec(&[9], vec![1u8, 2, 0, 0, 0, 3, 0, 0, 0]).unwrap();
        let part = Literal::from_bytes(DType::I32, &[2], odd.bytes().slice(1..)).unwrap();
        assert_eq!(Tensor::from(part).as_slice::<i32>().unwrap(), [2, 3]);
        assert!(matches!(Tensor::zeros(&[1 << 50], DType::F64), Err(LiteralError::TooLarge(_))));
        let t = Tensor::zeros(&[2, 3], DType::F64).unwrap();
        assert_eq!(t.reshape(&[6]).unwrap().bytes().as_ptr(), t.bytes().as_ptr());
        assert!(t.reshape(&[5]).is_err());
        assert!(t.as_slice::<f32>().is_err());
    }
}
