//! Updates at places that data names.

use super::super::{OpError, SymValue, TensorType};
use super::check::{ascending_axes, bad_dtype, bad_shape, extents};
use super::strided::{bad_eval, count, literal, zeros};
use super::{EvalCx, InferCx, Meaning, Vjp};
use crate::dim::Dim;
use crate::dtype::DType;
use crate::literal::Literal;
use crate::reference;
use crate::scalar::{BinaryOp, named_enum};
use std::fmt;

named_enum! {
    /// What an update does to the element at its place.
    pub enum Update {
        /// Replaces it.
        Put = "put",
        /// Is added to it.
        Add = "add",
        /// Is multiplied with it.
        Mul = "mul",
        /// Replaces it if larger, or NaN.
        Max = "max",
        /// Replaces it if smaller, or NaN.
        Min = "min",
    }
}

impl Update {
    /// The operator of element and update; none where the update replaces.
    pub fn operator(self) -> Option<BinaryOp> {
        match self {
            Update::Put => None,
            Update::Add => Some(BinaryOp::Add),
            Update::Mul => Some(BinaryOp::Mul),
            Update::Max => Some(BinaryOp::Max),
            Update::Min => Some(BinaryOp::Min),
        }
    }
}

/// Most axes that can be indexed.
pub const MAX_INDEXED: usize = 8;

/// The first operand with the elements of the second one written to, or combined with, places that the others give,
/// one integer index tensor for each of `axes`: what [`super::Gather`] of the same axes reads.
///
/// All index tensors have one shape I and one integer dtype. The updates' shape is the data's with the indexed axes
/// removed and I inserted where they stood. With `each`, there is one axis, and every update has an index of its own:
/// I is the updates' whole shape, and that is the data's but along the axis. Updates of one place follow each other
/// in row-major order. Negative indices count from the end; what is still outside is dropped and sets the index error
/// flag. f16 and bf16 are rounded after each update.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Scatter {
    /// What an update does.
    pub update: Update,
    /// The indexed axes of the data: neighbours, ascending, at most [`MAX_INDEXED`].
    pub axes: Vec<u32>,
    /// Every update has an index of its own.
    pub each: bool,
}

impl Scatter {
    /// The updates' shape for index tensors of a shape, where that follows.
    fn updates(&self, data: &TensorType, index: &[Dim]) -> Vec<Dim> {
        let (first, after) = (self.axes[0] as usize, self.axes[self.axes.len() - 1] as usize + 1);
        let mut shape = data.shape[..first].to_vec();
        match self.each {
            true => shape.push(index[first].clone()),
            false => shape.extend_from_slice(index),
        }
        shape.extend_from_slice(&data.shape[after..]);
        shape
    }
}

impl Meaning for Scatter {
    fn infer(&self, cx: &mut InferCx<'_>, inputs: &[&TensorType]) -> Result<TensorType, OpError> {
        const OP: &str = "scatter";
        let (data, updates, index) = (inputs[0], inputs[1], inputs[2]);
        ascending_axes(OP, &self.axes, data.rank(), data)?;
        let neighbours = self.axes.windows(2).all(|w| w[1] == w[0] + 1);
        if self.axes.len() != inputs.len() - 2 || self.axes.len() > MAX_INDEXED || !neighbours {
            let (axes, n) = (&self.axes, inputs.len() - 2);
            let what = format!(
                "axes {axes:?} must be at most {MAX_INDEXED} neighbours, one for each of {n} index tensors"
            );
            return bad_shape(OP, what);
        }
        if self.each && (self.axes.len() != 1 || index.rank() != data.rank()) {
            let what = format!("one axis of {data} needs one index tensor of as many axes, not {index}");
            return bad_shape(OP, what);
        }
        if updates.dtype != data.dtype {
            return bad_dtype(OP, format!("updates {updates} must have the dtype of the data {data}"));
        }
        if self.update != Update::Put && data.dtype == DType::Bool {
            return bad_dtype(OP, format!("{} is not defined for {data}", self.update));
        }
        let mut indices = index.clone();
        for (i, t) in inputs.iter().enumerate().skip(2) {
            if !t.dtype.is_int() || t.dtype != index.dtype {
                let what = format!("operand {i} must hold integer indices, all of one dtype, but is {t}");
                return bad_dtype(OP, what);
            }
            indices.shape = cx.same_shape(OP, &indices, t)?;
        }
        let want = TensorType::new(updates.dtype, self.updates(data, &indices.shape));
        if want.rank() != updates.rank() {
            let what = format!("updates must be {}, but are {updates}", extents(&want.shape));
            return bad_shape(OP, what);
        }
        cx.same_shape(OP, &want, updates)?;
        if self.each {
            cx.same_shape(OP, &indices, updates)?;
        }
        cx.result(OP, data.dtype, data.shape.clone())
    }
    fn symbolic(&self, _: &[Option<&SymValue>], _: &[&TensorType], _: &TensorType) -> Option<SymValue> {
        None
    }
    fn eval(&self, cx: &EvalCx<'_>, inputs: &[&Literal]) -> Result<Literal, OpError> {
        const OP: &str = "scatter";
        let bytes = count(OP, cx.dtype, cx.shape)? * cx.dtype.bytes();
        let mut out = zeros::<u8>(OP, bytes)?;
        let (first, after) = (self.axes[0] as usize, self.axes[self.axes.len() - 1] as usize + 1);
        let inner: usize = cx.shape[after..].iter().product();
        let count = if self.each { inputs[1].shape()[first] } else { inputs[2].len() };
        let of = reference::Scatter {
            dtype: cx.dtype,
            operator: self.update.operator(),
            index: inputs[2].dtype(),
            each: self.each,
            outer: cx.shape[..first].iter().product(),
            count,
            inner,
            limits: &cx.shape[first..after],
        };
        let indices: Vec<&[u8]> = inputs[2..].iter().map(|l| &l.bytes()[..]).collect();
        match of.run(inputs[0].bytes(), inputs[1].bytes(), &indices, &mut out) {
            Ok(inside) => {
                if !inside {
                    cx.index_error.set(true);
                }
                literal(OP, cx.dtype, cx.shape, out)
            }
            Err(what) => bad_eval(OP, what),
        }
    }
    fn vjp(&self) -> Vjp {
        Vjp::NotYet
    }
}
