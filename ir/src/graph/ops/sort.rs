//! Sorting along an axis.

use super::super::{OpError, SymValue, TensorType};
use super::check::bad_shape;
use super::strided::{bad_eval, count, literal, zeros};
use super::{EvalCx, InferCx, Meaning, Vjp};
use crate::dim::Dim;
use crate::dtype::DType;
use crate::literal::Literal;
use crate::reference;
use crate::scalar::named_enum;
use std::fmt;

named_enum! {
    /// Which result of sorting is wanted.
    pub enum Sorted {
        /// The elements.
        Values = "values",
        /// Their places along the axis, i64.
        Places = "places",
    }
}

/// The first `count` elements along an axis in ascending or descending order, or their places.
///
/// The order is stable: equal elements keep theirs, also where it descends. NaN is larger than every number, all NaN
/// are equal, and so are both zeros; false is less than true. Two sorts of one operand that differ only in the result
/// are computed together.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Sort {
    /// Which result.
    pub of: Sorted,
    /// The axis.
    pub axis: u32,
    /// From the largest element on.
    pub descending: bool,
    /// How many elements are wanted, at most the axis' extent.
    pub count: Dim,
}

impl Meaning for Sort {
    fn infer(&self, cx: &mut InferCx<'_>, inputs: &[&TensorType]) -> Result<TensorType, OpError> {
        const OP: &str = "sort";
        let (x, axis) = (inputs[0], self.axis as usize);
        if axis >= x.rank() {
            return bad_shape(OP, format!("axis {axis} is out of range: {x} has {} axes", x.rank()));
        }
        let count = cx.extent(OP, &self.count, "the number of elements")?;
        cx.at_most(
            OP,
            &count,
            &x.shape[axis],
            &format!("axis {axis} must have as many elements as are wanted"),
        )?;
        if x.shape[axis].as_const().is_some_and(|n| n > i64::from(u32::MAX)) {
            return bad_shape(OP, format!("axis {axis} of {x} has more than {} elements", u32::MAX));
        }
        let mut shape = x.shape.clone();
        shape[axis] = count;
        let dtype = if self.of == Sorted::Places { DType::I64 } else { x.dtype };
        cx.result(OP, dtype, shape)
    }
    fn symbolic(&self, _: &[Option<&SymValue>], _: &[&TensorType], _: &TensorType) -> Option<SymValue> {
        None
    }
    fn eval(&self, cx: &EvalCx<'_>, inputs: &[&Literal]) -> Result<Literal, OpError> {
        const OP: &str = "sort";
        let bytes = count(OP, cx.dtype, cx.shape)? * cx.dtype.bytes();
        let mut out = zeros::<u8>(OP, bytes)?;
        let (x, axis) = (inputs[0], self.axis as usize);
        let (before, rest) = x.shape().split_at(axis);
        let of = reference::Sort {
            dtype: x.dtype(),
            shape: [before.iter().product(), rest[0], rest[1..].iter().product()],
            descending: self.descending,
            count: cx.shape[axis],
        };
        let done = match self.of {
            Sorted::Values => of.run(x.bytes(), Some(&mut out), None),
            Sorted::Places => of.run(x.bytes(), None, Some(&mut out)),
        };
        match done {
            Ok(()) => literal(OP, cx.dtype, cx.shape, out),
            Err(what) => bad_eval(OP, what),
        }
    }
    fn vjp(&self) -> Vjp {
        Vjp::NotYet
    }
}
