//! Tensors in panels: the layout in which a contraction reads its right operand.

use super::super::{OpError, SymValue, TensorType};
use super::check::bad_shape;
use super::strided::{count, zeros};
use super::{EvalCx, InferCx, Meaning, Vjp};
use crate::literal::Literal;

/// The operand with its axes in the order `perm`, and the last of them cut into panels of `width`, which come first:
/// `y[p, i.., j] = x'[i.., p * width + j]` where `x'` is the permuted operand, and 0 beyond its last element.
///
/// A contraction that walks `i` reads one panel from front to end. The result is always a tensor in memory; of a
/// constant it is made when the program is compiled.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Pack {
    /// A permutation of the operand's axes; at least one.
    pub perm: Vec<u32>,
    /// Elements of a panel's last axis; positive.
    pub width: i64,
}

impl Meaning for Pack {
    fn infer(&self, cx: &mut InferCx<'_>, inputs: &[&TensorType]) -> Result<TensorType, OpError> {
        const OP: &str = "pack";
        let x = inputs[0];
        let mut sorted = self.perm.clone();
        sorted.sort_unstable();
        if !sorted.iter().copied().eq(0..x.rank() as u32) || sorted.is_empty() {
            let what =
                format!("{:?} is no permutation of the {} axes of {x}, or of none", self.perm, x.rank());
            return bad_shape(OP, what);
        }
        if self.width < 1 {
            return bad_shape(OP, format!("panels must be 1 wide or more, but are {}", self.width));
        }
        let mut shape: Vec<_> = self.perm.iter().map(|&p| x.shape[p as usize].clone()).collect();
        let last = shape.pop().expect("there is an axis");
        let panels = (last + (self.width - 1)).floor_div(&self.width.into());
        shape.insert(0, panels);
        shape.push(self.width.into());
        cx.result(OP, x.dtype, shape)
    }
    fn symbolic(&self, _: &[Option<&SymValue>], _: &[&TensorType], _: &TensorType) -> Option<SymValue> {
        None
    }
    fn eval(&self, cx: &EvalCx<'_>, inputs: &[&Literal]) -> Result<Literal, OpError> {
        let (x, bytes) = (inputs[0], inputs[0].dtype().bytes());
        let rank = x.shape().len();
        let mut strides = vec![1; rank];
        (1..rank).rev().for_each(|k| strides[k - 1] = strides[k] * x.shape()[k]);
        let n = count("pack", x.dtype(), cx.shape)?;
        let mut out = zeros::<u8>("pack", n * bytes)?;
        let mut index = vec![0; cx.shape.len()];
        for at in 0..n {
            let mut rest = at;
            for (i, &d) in index.iter_mut().zip(cx.shape).rev() {
                (*i, rest) = (rest % d, rest / d);
            }
            let last = index[0] * self.width as usize + index[rank];
            let inner = index[1..rank].iter().chain([&last]);
            let places = self.perm.iter().zip(inner);
            if last < x.shape()[self.perm[rank - 1] as usize] {
                let from: usize = places.map(|(&p, i)| strides[p as usize] * i).sum();
                out[at * bytes..][..bytes].copy_from_slice(&x.bytes()[from * bytes..][..bytes]);
            }
        }
        Literal::from_bytes(x.dtype(), cx.shape, out.into())
            .map_err(|e| OpError::Eval { op: "pack", what: e.to_string() })
    }
    fn vjp(&self) -> Vjp {
        Vjp::NotDifferentiable(
            "a layout of the compiled program; the graph is differentiated before it has one",
        )
    }
}
