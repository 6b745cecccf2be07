//! Convolutions.

mod eval;

use super::super::{OpError, SymValue, TensorType};
use super::check::{WindowAxis, bad_dtype, bad_shape, entries, same_dtype, windowed};
use super::{EvalCx, InferCx, Meaning, Vjp};
use crate::dim::Dim;
use crate::dtype::DType;
use crate::literal::Literal;

/// Cross-correlation of `x: [N, C, spatial..]` with `w: [O, C / groups, kernel..]`, giving `[N, O, spatial..]`.
///
/// `out[n, o, p..] = sum over c, k.. of x[n, g * C/groups + c, p * stride + k * dilation - pad_lo] * w[o, c, k..]`
/// with `g = o / (O / groups)`; positions outside `x` contribute nothing. Summed in ascending order of (k.., c).
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
    fn infer(&self, cx: &mut InferCx<'_>, inputs: &[&TensorType]) -> Result<TensorType, OpError> {
        const OP: &str = "conv";
        let (x, w) = (inputs[0], inputs[1]);
        let dtype = same_dtype(OP, x, w)?;
        if dtype == DType::Bool {
            return bad_dtype(OP, format!("multiplies integers or floats, not {x}; cast it first"));
        }
        if x.rank() < 2 || x.rank() != w.rank() {
            let what = format!(
                "x must be [N, C, spatial..] and w [O, C / groups, kernel..] of one rank, but they are {x} and {w}"
            );
            return bad_shape(OP, what);
        }
        let spatial = x.rank() - 2;
        entries(OP, "strides", self.strides.len(), spatial)?;
        entries(OP, "pads", self.pads.len(), spatial)?;
        entries(OP, "dilations", self.dilations.len(), spatial)?;
        self.check_groups(cx, x, w)?;
        let mut shape = vec![x.shape[0].clone(), w.shape[0].clone()];
        for k in 0..spatial {
            let axis = WindowAxis {
                number: k + 2,
                stride: self.strides[k],
                dilation: self.dilations[k],
                pads: &self.pads[k],
            };
            shape.push(windowed(cx, OP, &x.shape[k + 2], &w.shape[k + 2], &axis)?);
        }
        cx.result(OP, dtype, shape)
    }
    fn symbolic(&self, _: &[Option<&SymValue>], _: &[&TensorType], _: &TensorType) -> Option<SymValue> {
        None
    }
    fn eval(&self, cx: &EvalCx<'_>, inputs: &[&Literal]) -> Result<Literal, OpError> {
        eval::conv(self, cx, inputs[0], inputs[1])
    }
    fn vjp(&self) -> Vjp {
        Vjp::NotYet
    }
}

impl Conv {
    fn check_groups(&self, cx: &mut InferCx<'_>, x: &TensorType, w: &TensorType) -> Result<(), OpError> {
        const OP: &str = "conv";
        if self.groups < 1 {
            return bad_shape(OP, format!("groups must be at least 1, but is {}", self.groups));
        }
        let groups = Dim::constant(self.groups);
        let what = format!(
            "the {} channels of x ({x}) must be groups ({groups}) times axis 1 of w ({w})",
            x.shape[1]
        );
        cx.equal(OP, &x.shape[1], &(&w.shape[1] * &groups), &what)?;
        let what = format!("groups ({groups}) must divide axis 0 of w ({w})");
        cx.equal(OP, &w.shape[0].rem(&groups), &Dim::ZERO, &what)?;
        Ok(())
    }
}
