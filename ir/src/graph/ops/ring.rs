//! Arithmetic types of contractions: what sums and products are formed in.

use super::super::OpError;
use super::strided::{by_width, literal, words};
use crate::dtype::DType;
use crate::literal::{Element, Literal};
use crate::scalar::{ReduceOp, Scalar};
use half::{bf16, f16};

/// A type with wrapping or rounding addition and multiplication.
pub(super) trait Ring: Element + Copy + bytemuck::Zeroable {
    /// Sum.
    fn plus(self, o: Self) -> Self;
    /// Product.
    fn times(self, o: Self) -> Self;
    /// The larger; NaN if either is, and -0 < +0.
    fn larger(self, o: Self) -> Self;
    /// The smaller; NaN if either is, and -0 < +0.
    fn smaller(self, o: Self) -> Self;
}

macro_rules! int_rings { ($($t:ty),*) => { $(impl Ring for $t {
    fn plus(self, o: Self) -> Self { self.wrapping_add(o) }
    fn times(self, o: Self) -> Self { self.wrapping_mul(o) }
    fn larger(self, o: Self) -> Self { self.max(o) }
    fn smaller(self, o: Self) -> Self { self.min(o) }
})* } }
int_rings!(i8, u8, i16, u16, i32, u32, i64, u64);

macro_rules! float_rings { ($($t:ty),*) => { $(impl Ring for $t {
    fn plus(self, o: Self) -> Self { self + o }
    fn times(self, o: Self) -> Self { self * o }
    fn larger(self, o: Self) -> Self {
        if self.is_nan() { return self; }
        if o > self || o.is_nan() || (o == self && self.is_sign_negative()) { o } else { self }
    }
    fn smaller(self, o: Self) -> Self {
        if self.is_nan() { return self; }
        if o < self || o.is_nan() || (o == self && o.is_sign_negative()) { o } else { self }
    }
})* } }
float_rings!(f32, f64);

/// Runs a block with `T` as the ring in which a dtype accumulates: itself, for f16 and bf16 f32, for
/// bool u8 (where only the larger and the smaller are asked).
macro_rules! by_ring {
    ($dtype:expr, $T:ident => $body:expr) => {
        match $dtype {
            $crate::dtype::DType::I8 => {
                type $T = i8;
                $body
            }
            $crate::dtype::DType::U8 | $crate::dtype::DType::Bool => {
                type $T = u8;
                $body
            }
            $crate::dtype::DType::I16 => {
                type $T = i16;
                $body
            }
            $crate::dtype::DType::U16 => {
                type $T = u16;
                $body
            }
            $crate::dtype::DType::I32 => {
                type $T = i32;
                $body
            }
            $crate::dtype::DType::U32 => {
                type $T = u32;
                $body
            }
            $crate::dtype::DType::I64 => {
                type $T = i64;
                $body
            }
            $crate::dtype::DType::U64 => {
                type $T = u64;
                $body
            }
            $crate::dtype::DType::F64 => {
                type $T = f64;
                $body
            }
            _ => {
                type $T = f32;
                $body
            }
        }
    };
}
pub(super) use by_ring;

/// Widens f16 and bf16 to f32; others stay.
pub(super) fn widened(op: &'static str, l: &Literal) -> Result<Literal, OpError> {
    let values: Vec<f32> = match l.dtype() {
        DType::F16 => words::<f16>(l).iter().map(|v| v.to_f32()).collect(),
        DType::BF16 => words::<bf16>(l).iter().map(|v| v.to_f32()).collect(),
        _ => return Ok(l.clone()),
    };
    literal(op, DType::F32, l.shape(), values)
}

/// An array of accumulated values under its dtype: f16 and bf16 round once, here.
pub(super) fn narrowed<T: Ring>(
    op: &'static str,
    dtype: DType,
    shape: &[usize],
    values: Vec<T>,
) -> Result<Literal, OpError> {
    if !matches!(dtype, DType::F16 | DType::BF16) {
        return literal(op, dtype, shape, values);
    }
    let wide: &[f32] = bytemuck::cast_slice(&values);
    let bits = |v: &f32| match dtype {
        DType::F16 => f16::from_f32(*v).to_bits(),
        _ => bf16::from_f32(*v).to_bits(),
    };
    literal(op, dtype, shape, wide.iter().map(bits).collect::<Vec<u16>>())
}

/// What an empty reduction gives, as an element of the ring of that dtype.
pub(super) fn identity<T: Ring>(op: ReduceOp, dtype: DType) -> T {
    let wide = if dtype.is_float() && dtype != DType::F64 { DType::F32 } else { dtype };
    let bits = Scalar::identity(op, wide).bits;
    by_width!(wide, W => bytemuck::pod_read_unaligned(bytemuck::bytes_of(&(bits as W))))
}

/// How two elements combine, as a function.
pub(super) fn combine<T: Ring>(op: ReduceOp) -> fn(T, T) -> T {
    match op {
        ReduceOp::Sum => T::plus,
        ReduceOp::Prod => T::times,
        ReduceOp::Max => T::larger,
        ReduceOp::Min => T::smaller,
    }
}
