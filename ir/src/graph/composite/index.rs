//! Composites that compute or use indices.

use super::super::ValueId;
use super::super::builder::{Builder, Result};
use super::super::ops::{Cumulative, Iota, Scatter, Sort, Sorted, Update};
use crate::dim::Dim;
use crate::dtype::DType;
use crate::scalar::{BinaryOp, CompareOp, ReduceOp, Scalar, UnaryOp};

/// What counts along an axis: i32, as wide as most elements, where its extent is known to be less.
fn counter(extent: &Dim) -> DType {
    if extent.as_const().is_some_and(|n| n < i64::from(i32::MAX)) { DType::I32 } else { DType::I64 }
}

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
        let (dtype, indices) = match counter(&depth) {
            // Indices beyond either end hit nothing, and fit 32 bits as the ends do.
            DType::I32 if dtype == DType::I64 => {
                let (least, most) = (self.scalar_f64(dtype, -1.0), extent);
                let indices = self.clip(indices, Some(least), Some(most))?;
                (DType::I32, self.cast(indices, DType::I32)?)
            }
            _ => (dtype, indices),
        };
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
        // As wide as the elements that registers compare, where that counts far enough.
        let dtype = counter(&shape[axis as usize]);
        let count = self.add(Iota { dtype, shape, axis }, &[])?;
        let (miss, pick) = if last { (-1, ReduceOp::Max) } else { (i64::from(i32::MAX), ReduceOp::Min) };
        let miss = if dtype == DType::I64 && !last { i64::MAX } else { miss };
        let miss = self.scalar(Scalar::from_i64(dtype, miss));
        let places = self.select(hit, count, miss)?;
        let place = self.reduce_keep(pick, places, &[axis])?;
        self.cast(place, DType::I64)
    }

    /// Running sums along an axis: element `i` sums the elements up to `i` (from `i` on with `reverse`), itself left
    /// out with `exclusive`.
    pub fn cumsum(&mut self, x: ValueId, axis: u32, exclusive: bool, reverse: bool) -> Result<ValueId> {
        self.add(Cumulative { op: ReduceOp::Sum, axis, exclusive, reverse }, &[x])
    }

    /// `updates` at places that index tensors give, one for each of `axes` (see [`Scatter`]), which need not be
    /// neighbours here; then the updates' index axes stand where the first of `axes` is.
    pub fn scatter(
        &mut self,
        update: Update,
        axes: &[u32],
        x: ValueId,
        updates: ValueId,
        indices: &[ValueId],
    ) -> Result<ValueId> {
        let rank = self.shape(x).len() as u32;
        let first = axes.first().copied().unwrap_or(0);
        let rest = |range: std::ops::Range<u32>| range.filter(|k| !axes.contains(k));
        let perm: Vec<u32> = rest(0..first).chain(axes.iter().copied()).chain(rest(first..rank)).collect();
        let straight = perm.is_sorted() || perm.len() != rank as usize;
        let moved = if straight { x } else { self.permute(x, &perm)? };
        let axes = if straight { axes.to_vec() } else { (first..).take(axes.len()).collect() };
        let mut operands = vec![moved, updates];
        operands.extend_from_slice(indices);
        let y = self.add(Scatter { update, axes, each: false }, &operands)?;
        if straight {
            return Ok(y);
        }
        let mut back = vec![0; perm.len()];
        (0..).zip(&perm).for_each(|(k, &p)| back[p as usize] = k);
        self.permute(y, &back)
    }

    /// Along an axis, updates at places of which each has its own index: `y[indices[i, j], j] = updates[i, j]` for axis
    /// 0. Indices and updates have one shape, at most as large as that of `x` along the other axes.
    pub fn scatter_elements(
        &mut self,
        update: Update,
        axis: u32,
        x: ValueId,
        updates: ValueId,
        indices: ValueId,
    ) -> Result<ValueId> {
        self.check_axis("scatter", x, axis)?;
        let (own, shape) = (self.shape(x).to_vec(), self.shape(indices).to_vec());
        let differs = |k: usize| k != axis as usize && own[k] != shape[k];
        if own.len() == shape.len() && !(0..own.len()).any(differs) {
            return self.add(Scatter { update, axes: vec![axis], each: true }, &[x, updates, indices]);
        }
        // Places of the other axes may exceed what the dtype of the indices holds.
        let along = if self.dtype(indices).is_int() { self.cast(indices, DType::I64)? } else { indices };
        let mut places = vec![];
        for k in 0..shape.len() as u32 {
            let own = Iota { dtype: DType::I64, shape: shape.clone(), axis: k };
            places.push(if k == axis { along } else { self.add(own, &[])? });
        }
        let axes: Vec<u32> = (0..own.len() as u32).collect();
        self.scatter(update, &axes, x, updates, &places)
    }

    /// The first `count` elements along an axis in order, and their places (see [`Sort`]).
    pub fn sort(
        &mut self,
        x: ValueId,
        axis: u32,
        descending: bool,
        count: Dim,
    ) -> Result<(ValueId, ValueId)> {
        let values = self.add(Sort { of: Sorted::Values, axis, descending, count: count.clone() }, &[x])?;
        Ok((values, self.add(Sort { of: Sorted::Places, axis, descending, count }, &[x])?))
    }
}
