//! Composites that compute or use indices.

use super::super::ValueId;
use super::super::builder::{Builder, Result};
use super::super::ops::{Cumulative, Iota};
use crate::dim::Dim;
use crate::dtype::DType;
use crate::scalar::{BinaryOp, CompareOp, ReduceOp, UnaryOp};

impl Builder {
    /// `on` where the new axis' index equals the element of `indices`, else `off` (both rank 0); the new
    /// axis of extent `depth` stands at `axis`. Negative indices count from the end.
    pub fn one_hot(
        &mut self,
        indices: ValueId,
        depth: Dim,
        axis: u32,
        on: ValueId,
        off: ValueId,
    ) -> Result<ValueId> {
        let mut shape = self.shape(indices).to_vec();
        if axis as usize > shape.len() {
            let what = format!("a new axis {axis} cannot be inserted into {}", self.ty(indices));
            return self.shape_error("one_hot", what);
        }
        shape.insert(axis as usize, Dim::ONE);
        let indices = self.reshape(indices, shape.clone())?;
        let dtype = self.dtype(indices);
        let extent = self.dims(vec![depth.clone()], true)?;
        let extent = self.cast(extent, dtype)?;
        let zero = self.scalar_f64(dtype, 0.0);
        let negative = self.compare(CompareOp::Lt, indices, zero)?;
        let from_end = self.binary(BinaryOp::Add, indices, extent)?;
        let indices = self.select(negative, from_end, indices)?;
        shape[axis as usize] = depth.clone();
        let count = self.add(Iota { dtype, shape: vec![depth], axis: 0 }, &[])?;
        let mut column = vec![Dim::ONE; shape.len()];
        column[axis as usize] = shape[axis as usize].clone();
        let count = self.reshape(count, column)?;
        let hit = self.compare(CompareOp::Eq, indices, count)?;
        self.select(hit, on, off)
    }

    /// The i64 index of the largest (smallest) element along an axis, which stays with extent 1: the
    /// first of equals, or with `last` the last. NaN counts as largest and as smallest.
    pub fn arg_extreme(&mut self, op: ReduceOp, x: ValueId, axis: u32, last: bool) -> Result<ValueId> {
        self.check_axis("arg_extreme", x, axis)?;
        let n = self.shape(x)[axis as usize].clone();
        let best = self.reduce_keep(op, x, &[axis])?;
        let mut hit = self.compare(CompareOp::Eq, x, best)?;
        if self.dtype(x).is_float() {
            let nan = self.unary(UnaryOp::IsNan, x)?;
            hit = self.binary(BinaryOp::Or, hit, nan)?;
        }
        let mut shape = vec![Dim::ONE; self.shape(x).len()];
        shape[axis as usize] = n;
        let count = self.add(Iota { dtype: DType::I64, shape, axis }, &[])?;
        let (miss, pick) = if last { (-1.0, ReduceOp::Max) } else { (i64::MAX as f64, ReduceOp::Min) };
        let miss = self.scalar_f64(DType::I64, miss);
        let places = self.select(hit, count, miss)?;
        self.reduce_keep(pick, places, &[axis])
    }

    /// Running sums along an axis: element `i` sums the elements up to `i` (from `i` on with `reverse`), itself left
    /// out with `exclusive`.
    pub fn cumsum(&mut self, x: ValueId, axis: u32, exclusive: bool, reverse: bool) -> Result<ValueId> {
        self.add(Cumulative { op: ReduceOp::Sum, axis, exclusive, reverse }, &[x])
    }
}
