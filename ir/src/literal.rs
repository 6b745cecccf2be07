//! Concrete arrays: a dtype, constant extents, and bytes in row-major order, native endianness.

use crate::dtype::DType;
use bytemuck::{AnyBitPattern, NoUninit};
use bytes::Bytes;
use half::{bf16, f16};
use std::borrow::Cow;
use std::fmt;
use thiserror::Error;

/// Why a literal could not be made.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum LiteralError {
    /// The shape's element count or byte count does not fit.
    #[error("shape {0:?} has more elements than memory can hold")]
    TooLarge(Vec<usize>),
    /// The data's size contradicts the shape.
    #[error("{dtype}{shape:?} needs {want} bytes of data, but {got} were given")]
    Size {
        /// The element type.
        dtype: DType,
        /// The extents.
        shape: Vec<usize>,
        /// Bytes that dtype and shape need.
        want: usize,
        /// Bytes that were given.
        got: usize,
    },
    /// A byte of a bool array is no truth value.
    #[error("a bool is a byte of 0 or 1, not {0}")]
    Bool(u8),
    /// A view was asked for as another dtype.
    #[error("the array holds {got}, not {want}")]
    DType {
        /// The dtype asked for.
        want: DType,
        /// The dtype held.
        got: DType,
    },
}

/// A Rust type that is the element of some dtype.
pub trait Element: NoUninit + AnyBitPattern + PartialEq + fmt::Debug + Send + Sync + 'static {
    /// The dtype whose elements are of this type.
    const DTYPE: DType;
}
macro_rules! elements { ($($t:ty => $d:ident),*) => { $(impl Element for $t { const DTYPE: DType = DType::$d; })* } }
elements!(i8 => I8, u8 => U8, i16 => I16, u16 => U16, i32 => I32, u32 => U32, i64 => I64, u64 => U64,
          f16 => F16, bf16 => BF16, f32 => F32, f64 => F64);

/// A concrete array. Cloning is cheap: the bytes are shared (possibly with a memory-mapped file,
/// so they need not be aligned).
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Literal {
    dtype: DType,
    shape: Vec<usize>,
    data: Bytes,
}

/// The byte count of `dtype[shape]`, or an error when it exceeds `isize::MAX`. An extent of 0 excuses no other: in whatever
/// order extents multiply, none of the products overflows.
pub fn byte_count(dtype: DType, shape: &[usize]) -> Result<usize, LiteralError> {
    let bytes = shape.iter().try_fold(dtype.bytes(), |n, &d| n.checked_mul(d.max(1)));
    match bytes.filter(|&n| n <= isize::MAX as usize) {
        Some(n) => Ok(if shape.contains(&0) { 0 } else { n }),
        None => Err(LiteralError::TooLarge(shape.to_vec())),
    }
}

impl Literal {
    /// From bytes in row-major order and native endianness (bool: one byte of 0 or 1 each).
    /// Errors when the size contradicts dtype and shape.
    pub fn from_bytes(dtype: DType, shape: &[usize], data: Bytes) -> Result<Self, LiteralError> {
        let want = byte_count(dtype, shape)?;
        if data.len() != want {
            return Err(LiteralError::Size { dtype, shape: shape.to_vec(), want, got: data.len() });
        }
        Ok(Literal { dtype, shape: shape.to_vec(), data })
    }

    /// From bytes in row-major order, each element little-endian, as files hold them. On a little-endian
    /// machine the bytes are shared, else copied.
    ///
    /// # Errors
    /// When the size contradicts dtype and shape, or a bool is neither 0 nor 1.
    pub fn from_little_endian(dtype: DType, shape: &[usize], data: Bytes) -> Result<Self, LiteralError> {
        if dtype == DType::Bool
            && let Some(&found) = data.iter().find(|b| **b > 1)
        {
            return Err(LiteralError::Bool(found));
        }
        Literal::from_bytes(dtype, shape, swapped(data, dtype))
    }

    /// The bytes in row-major order, each element little-endian. On a little-endian machine they are shared.
    pub fn little_endian(&self) -> Bytes {
        swapped(self.data.clone(), self.dtype)
    }

    /// From a vector of elements, which becomes the storage without a copy.
    pub fn from_vec<T: Element>(shape: &[usize], data: Vec<T>) -> Result<Self, LiteralError> {
        struct Owner<T>(Vec<T>);
        impl<T: NoUninit> AsRef<[u8]> for Owner<T> {
            fn as_ref(&self) -> &[u8] {
                bytemuck::cast_slice(&self.0)
            }
        }
        Literal::from_bytes(T::DTYPE, shape, Bytes::from_owner(Owner(data)))
    }

    /// From truth values.
    pub fn from_bools(shape: &[usize], data: &[bool]) -> Result<Self, LiteralError> {
        let bytes: Vec<u8> = data.iter().map(|&b| b as u8).collect();
        Literal::from_bytes(DType::Bool, shape, Bytes::from(bytes))
    }

    /// A rank-0 array.
    pub fn scalar<T: Element>(value: T) -> Self {
        Literal { dtype: T::DTYPE, shape: vec![], data: Bytes::copy_from_slice(bytemuck::bytes_of(&value)) }
    }

    /// All elements zero (false).
    pub fn zeros(dtype: DType, shape: &[usize]) -> Result<Self, LiteralError> {
        let n = byte_count(dtype, shape)?;
        Literal::from_bytes(dtype, shape, Bytes::from(vec![0u8; n]))
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }
    /// The extents, outermost first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }
    /// The number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }
    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// The raw bytes, row-major, native endianness; not necessarily aligned.
    pub fn bytes(&self) -> &Bytes {
        &self.data
    }
    /// The elements; copied only when the bytes are not aligned for `T`. Bool reads as `u8`.
    pub fn to_slice<T: Element>(&self) -> Result<Cow<'_, [T]>, LiteralError> {
        let as_stored = self.dtype == T::DTYPE || (self.dtype == DType::Bool && T::DTYPE == DType::U8);
        if !as_stored {
            return Err(LiteralError::DType { want: T::DTYPE, got: self.dtype });
        }
        Ok(match bytemuck::try_cast_slice(&self.data) {
            Ok(s) => Cow::Borrowed(s),
            Err(_) => {
                let chunks = self.data.chunks_exact(size_of::<T>());
                Cow::Owned(chunks.map(bytemuck::pod_read_unaligned).collect())
            }
        })
    }
    /// The same elements in another shape of equal element count.
    pub fn reshaped(&self, shape: &[usize]) -> Result<Self, LiteralError> {
        Literal::from_bytes(self.dtype, shape, self.data.clone())
    }
    /// Element `i` in row-major order as f64 (integers beyond 2^53 round; bool is 0 or 1).
    /// Panics when `i` is out of range.
    pub fn get_f64(&self, i: usize) -> f64 {
        use DType::*;
        fn at<T: Element>(l: &Literal, i: usize) -> T {
            bytemuck::pod_read_unaligned(&l.data[i * size_of::<T>()..][..size_of::<T>()])
        }
        match self.dtype {
            Bool | U8 => at::<u8>(self, i) as f64,
            I8 => at::<i8>(self, i) as f64,
            I16 => at::<i16>(self, i) as f64,
            U16 => at::<u16>(self, i) as f64,
            I32 => at::<i32>(self, i) as f64,
            U32 => at::<u32>(self, i) as f64,
            I64 => at::<i64>(self, i) as f64,
            U64 => at::<u64>(self, i) as f64,
            F16 => at::<f16>(self, i).to_f64(),
            BF16 => at::<bf16>(self, i).to_f64(),
            F32 => at::<f32>(self, i) as f64,
            F64 => at::<f64>(self, i),
        }
    }
    /// The largest absolute value, 0 if there is no element; `None` if one is infinite or NaN.
    pub fn magnitude(&self) -> Option<f64> {
        match self.dtype {
            DType::Bool | DType::U8 => Some(self.data.iter().copied().max().unwrap_or(0).into()),
            DType::I8 => {
                let most = self.data.iter().map(|&b| b.cast_signed().unsigned_abs()).max();
                Some(most.unwrap_or(0).into())
            }
            DType::F32 => {
                // Without its sign bit a float's bits are ordered as it is, infinities and NaN last.
                let bits = |b: &[u8; 4]| u32::from_ne_bytes(*b) & !(1 << 31);
                let most = self.data.as_chunks::<4>().0.iter().map(bits).fold(0, u32::max);
                Some(f32::from_bits(most)).filter(|m| m.is_finite()).map(f64::from)
            }
            _ => (0..self.len()).try_fold(0f64, |most, i| {
                let x = self.get_f64(i).abs();
                x.is_finite().then(|| most.max(x))
            }),
        }
    }
    /// Element `i` in row-major order as i64 (floats saturate, NaN is 0; u64 wraps).
    /// Panics when `i` is out of range.
    pub fn get_i64(&self, i: usize) -> i64 {
        match self.dtype {
            DType::I64 | DType::U64 => {
                i64::from_ne_bytes(self.data[i * 8..][..8].try_into().expect("eight bytes"))
            }
            _ => self.get_f64(i) as i64,
        }
    }
}

/// Between this machine's order of bytes and little-endian.
fn swapped(data: Bytes, dtype: DType) -> Bytes {
    if cfg!(target_endian = "little") || dtype.bytes() == 1 {
        return data;
    }
    let mut out = data.to_vec();
    out.chunks_exact_mut(dtype.bytes()).for_each(<[u8]>::reverse);
    Bytes::from(out)
}

impl fmt::Debug for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{:?}", self.dtype, self.shape)?;
        let shown: Vec<String> = (0..self.len().min(8)).map(|i| self.get_f64(i).to_string()).collect();
        let more = if self.len() > 8 { ", .." } else { "" };
        write!(f, " {{{}{more}}}", shown.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_checked_and_unaligned_bytes_are_read() {
        let raw = Bytes::from(vec![0u8, 1, 0, 0, 0, 2, 0, 0, 0]);
        let l = Literal::from_bytes(DType::I32, &[2], raw.slice(1..)).unwrap();
        assert_eq!(&*l.to_slice::<i32>().unwrap(), &[1, 2]);
        assert!(matches!(
            Literal::from_bytes(DType::I32, &[3], raw),
            Err(LiteralError::Size { want: 12, got: 9, .. })
        ));
        for shape in [&[usize::MAX, 2][..], &[1 << 62, 1 << 62, 0], &[0, 1 << 62, 1 << 62]] {
            assert!(matches!(Literal::zeros(DType::F32, shape), Err(LiteralError::TooLarge(_))), "{shape:?}");
        }
        assert!(l.to_slice::<f32>().is_err());
        assert_eq!(Literal::scalar(i64::MAX).get_i64(0), i64::MAX);
    }
    #[test]
    fn magnitudes_are_of_finite_elements() {
        let of = |v: &[f32]| Literal::from_vec(&[v.len()], v.to_vec()).unwrap().magnitude();
        assert_eq!(of(&[1.0, -3.5, 2.0]), Some(3.5));
        assert_eq!(of(&[]), Some(0.0));
        assert_eq!(of(&[-0.0]), Some(0.0));
        assert_eq!(of(&[1.0, f32::NEG_INFINITY]), None);
        assert_eq!(of(&[f32::NAN, 1.0]), None);
        assert_eq!(Literal::from_vec(&[2], vec![-128i8, 127]).unwrap().magnitude(), Some(128.0));
        assert_eq!(Literal::from_vec(&[2], vec![7u8, 255]).unwrap().magnitude(), Some(255.0));
        assert_eq!(Literal::from_vec(&[2], vec![-5i64, 4]).unwrap().magnitude(), Some(5.0));
        assert_eq!(Literal::from_vec(&[1], vec![f64::INFINITY]).unwrap().magnitude(), None);
    }
}
