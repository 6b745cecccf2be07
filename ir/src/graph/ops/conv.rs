//! Convolutions.

use crate::dim::Dim;
use crate::literal::Literal;
use super::super::{OpError, SymValue, TensorType};
use super::{EvalCx, InferCx, Meaning, Vjp};

/// Cross-correlation of `x: [N, C, spatial..]` with `w: [O, C / groups, kernel..]`, giving `[N, O, spatial..]`.
///
/// `out[n, o, p..] = sum over c, k.. of x[n, g * C/groups + c, p * stride + k * dilation - pad_lo] * w[o, c, k..]`
/// with `g = o / (O / groups)`; positions outside `x` contribute nothing. Summed in ascending order of (c, k..).
/// Output extent: `floor((in + lo + hi - ((k - 1) * dilation + 1)) / stride) + 1`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Conv {
    /// Stride of each spatial axis, positive.
    pub strides: Vec<i64>,
    /// Padding before and after each spatial axis; not negative.
    pub pads: Vec<(Dim, Dim)>,
    /// Distance of kernel taps, positive.
    pub dilations: Vec<i64>,
    /// Number of groups; divides C and O.
    pub groups: i64,
}

impl Meaning for Conv {
    fn infer(&self, _cx: &mut InferCx<'_>, _inputs: &[&TensorType]) -> Result<TensorType, OpError> {
        todo!()
    }
    fn symbolic(&self, _inputs: &[Option<&SymValue>], _types: &[&TensorType], _out: &TensorType) -> Option<SymValue> {
        None
    }
    fn eval(&self, _cx: &EvalCx<'_>, _inputs: &[&Literal]) -> Result<Literal, OpError> {
        todo!()
    }
    fn vjp(&self) -> Vjp {
        Vjp::NotYet
    }
}
