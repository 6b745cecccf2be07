//! Tensors: concrete arrays whose operations run at once, and values of a trace.

mod args;
mod array;
mod create;
mod display;
mod elementwise;
mod index;
mod join;
mod linalg;
#[cfg(feature = "ndarray")]
mod ndarray;
mod nn;
mod operators;
mod order;
mod read;
mod reduce;
mod scatter;
mod shape;
mod storage;

#[cfg(feature = "ndarray")]
pub use self::ndarray::ArrayElement;
pub use args::{Axes, IntoShape, Number, Size, Value};
pub(crate) use array::{Array, Shape, Strides, scalar_word};
pub use create::RangeElement;
pub use index::{Ellipsis, Index, Indices, NewAxis, Rows, step};
pub use join::{cat, stack};
pub use linalg::einsum;
pub use nn::Window;
pub use operators::RightOperand;
pub(crate) use storage::Storage;

use fornax_ir::literal::{Element, LiteralError, byte_count};
use fornax_ir::scalar::Scalar;
use fornax_ir::{DType, Literal};

use crate::dim::Dim;
use crate::trace::{self, Abstract, TracedValue};

/// An array of one dtype. Operations on it run at once, as native code that is compiled at the first use of an
/// operation and serves every size after that; within a trace they are recorded instead.
///
/// Cloning is cheap, and so are views (`permute`, `narrow`, `broadcast_to`, ..): they share their storage.
///
/// Operations follow NumPy's broadcasting and have the names that PyTorch users know. Negative axes count from the end.
/// A shape or dtype that does not fit panics at the caller's line, with both operands' types and what would work.
#[derive(Clone)]
pub struct Tensor {
    repr: Repr,
}

/// What a tensor is.
#[derive(Clone)]
pub(crate) enum Repr {
    /// Elements in memory.
    Array(Array),
    /// A value of a trace, which gets its elements when the traced function runs.
    Traced(TracedValue),
    /// A type without a value: a parameter of a function to be traced.
    Spec(Abstract),
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
        Ok(Tensor::from_literal(Literal::from_vec(shape, data)?))
    }

    /// From truth values in row-major order.
    ///
    /// # Errors
    /// [`LiteralError`] when the number of elements contradicts the shape.
    pub fn from_bools(data: &[bool], shape: &[usize]) -> Result<Self, LiteralError> {
        Ok(Tensor::from_literal(Literal::from_bools(shape, data)?))
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
        let storage = Storage::zeroed(byte_count(dtype, shape)?, shape)?;
        Ok(Array::trusted(storage, dtype, Shape::from_slice(shape)).into())
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
        let mut bytes = Vec::new();
        bytes
            .try_reserve_exact(byte_count(dtype, shape)?)
            .map_err(|_| LiteralError::TooLarge(shape.to_vec()))?;
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
        let all = Literal::from_vec(&[words.len()], words)?;
        Ok(Array::new(Storage::Bytes(all.bytes().clone()), dtype, shape)?.into())
    }

    /// Takes a literal over; its bytes are copied only where they are not aligned.
    pub fn from_literal(literal: Literal) -> Self {
        let (dtype, shape) = (literal.dtype(), literal.shape());
        let mut storage = Storage::Bytes(literal.bytes().clone());
        if !literal.bytes().as_ptr().addr().is_multiple_of(dtype.bytes()) {
            let mut words = vec![0u64; literal.bytes().len().div_ceil(8)];
            bytemuck::cast_slice_mut::<u64, u8>(&mut words)[..literal.bytes().len()]
                .copy_from_slice(literal.bytes());
            storage = Storage::Words(words.into());
        }
        Array::trusted(storage, dtype, Shape::from_slice(shape)).into()
    }

    /// What it is.
    pub(crate) fn repr(&self) -> &Repr {
        &self.repr
    }

    /// Whether it has elements: it is neither traced nor a spec.
    pub(crate) fn is_concrete(&self) -> bool {
        matches!(self.repr, Repr::Array(_))
    }

    /// The elements in memory.
    ///
    /// # Panics
    /// When it has none, because it is being traced.
    #[track_caller]
    pub(crate) fn array(&self) -> &Array {
        match &self.repr {
            Repr::Array(array) => array,
            _ => trace::refuse_reading(self),
        }
    }

    /// The elements as a literal, which shares its storage unless this is a view of other order.
    ///
    /// # Panics
    /// At the caller's line, when the tensor is being traced.
    #[track_caller]
    pub fn as_literal(&self) -> Literal {
        self.array().to_literal()
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        match &self.repr {
            Repr::Array(array) => array.dtype(),
            Repr::Traced(value) => value.dtype(),
            Repr::Spec(spec) => spec.dtype,
        }
    }

    /// The extents, outermost first.
    ///
    /// # Panics
    /// At the caller's line, when the tensor is being traced and an extent is symbolic: [`Tensor::dims`] gives those.
    #[track_caller]
    pub fn shape(&self) -> &[usize] {
        let constant = match &self.repr {
            Repr::Array(array) => return array.shape(),
            Repr::Traced(value) => value.constant_shape(),
            Repr::Spec(spec) => spec.constant_shape(),
        };
        let Some(shape) = constant else {
            trace::refuse(format!(
                "the shape of {} is no list of numbers; use `dims()` or `dim(axis)`, whose extents may be symbolic",
                self.type_text()
            ))
        };
        shape
    }

    /// The extents, outermost first, which are symbolic where a trace has symbolic dims.
    pub fn dims(&self) -> Vec<Dim> {
        match &self.repr {
            Repr::Array(array) => array.shape().iter().map(|&n| Dim::from(n)).collect(),
            Repr::Traced(value) => value.dims(),
            Repr::Spec(spec) => spec.dims.to_vec(),
        }
    }

    /// The number of axes.
    pub fn rank(&self) -> usize {
        match &self.repr {
            Repr::Array(array) => array.shape().len(),
            Repr::Traced(value) => value.rank(),
            Repr::Spec(spec) => spec.dims.len(),
        }
    }

    /// Dtype and extents as text: `f32[2, 3]`.
    pub(crate) fn type_text(&self) -> String {
        let dims: Vec<String> = self.dims().iter().map(Dim::to_string).collect();
        format!("{}[{}]", self.dtype(), dims.join(", "))
    }

    /// The number of elements.
    ///
    /// # Panics
    /// As [`Tensor::shape`].
    #[track_caller]
    pub fn numel(&self) -> usize {
        self.shape().iter().product()
    }

    /// The elements in row-major order, as bytes of native endianness.
    ///
    /// # Panics
    /// At the caller's line, when the tensor is being traced.
    #[track_caller]
    pub fn bytes(&self) -> &[u8] {
        self.array().bytes()
    }

    /// The elements in row-major order. Bool reads as `u8`.
    ///
    /// # Errors
    /// [`LiteralError::DType`] when the elements are of another type.
    ///
    /// # Panics
    /// At the caller's line, when the tensor is being traced.
    #[track_caller]
    pub fn as_slice<T: Element>(&self) -> Result<&[T], LiteralError> {
        let as_stored = self.dtype() == T::DTYPE || (self.dtype() == DType::Bool && T::DTYPE == DType::U8);
        if !as_stored {
            return Err(LiteralError::DType { want: T::DTYPE, got: self.dtype() });
        }
        let bytes = self.bytes();
        Ok(if bytes.is_empty() { &[] } else { bytemuck::cast_slice(bytes) })
    }

    /// A copy of the elements in row-major order. Bool reads as `u8`.
    ///
    /// # Errors
    /// [`LiteralError::DType`] when the elements are of another type.
    ///
    /// # Panics
    /// At the caller's line, when the tensor is being traced.
    #[track_caller]
    pub fn to_vec<T: Element>(&self) -> Result<Vec<T>, LiteralError> {
        Ok(self.as_slice()?.to_vec())
    }

    /// All elements as `f64` (integers beyond 2^53 round; bool is 0 or 1).
    ///
    /// # Panics
    /// At the caller's line, when the tensor is being traced.
    #[track_caller]
    pub fn to_f64_vec(&self) -> Vec<f64> {
        let literal = self.as_literal();
        (0..literal.len()).map(|i| literal.get_f64(i)).collect()
    }
}

impl PartialEq for Tensor {
    /// Whether dtype, shape and every bit of the elements are equal: a NaN equals itself, and zeros of both signs
    /// differ. Panics when one of them is being traced.
    #[track_caller]
    fn eq(&self, other: &Self) -> bool {
        let (a, b) = (self.array(), other.array());
        a.dtype() == b.dtype() && a.shape() == b.shape() && a.bytes() == b.bytes()
    }
}

impl From<Array> for Tensor {
    fn from(array: Array) -> Self {
        Tensor { repr: Repr::Array(array) }
    }
}

impl From<TracedValue> for Tensor {
    fn from(value: TracedValue) -> Self {
        Tensor { repr: Repr::Traced(value) }
    }
}

impl From<Abstract> for Tensor {
    fn from(spec: Abstract) -> Self {
        Tensor { repr: Repr::Spec(spec) }
    }
}

impl From<Literal> for Tensor {
    fn from(literal: Literal) -> Self {
        Tensor::from_literal(literal)
    }
}

impl From<Tensor> for Literal {
    /// Panics at the caller's line when the tensor is being traced.
    #[track_caller]
    fn from(tensor: Tensor) -> Self {
        tensor.as_literal()
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
        assert_eq!(t.as_literal().bytes().as_ptr(), t.bytes().as_ptr());
        assert!(t.as_slice::<f32>().is_err());
    }
}
