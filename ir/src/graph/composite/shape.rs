//! Views in the terms that fronts use.

use super::super::ValueId;
use super::super::builder::{Builder, Result};
use super::super::ops::{Pad, Slice};
use crate::dim::Dim;

impl Builder {
    /// Removes axes, whose extents must be 1.
    pub fn squeeze(&mut self, x: ValueId, axes: &[u32]) -> Result<ValueId> {
        for &a in axes {
            self.check_axis("squeeze", x, a)?;
            let d = &self.shape(x)[a as usize];
            if d.as_const().is_some_and(|v| v != 1) {
                return self.shape_error("squeeze", format!("axis {a} of {} is not 1", self.ty(x)));
            }
        }
        let kept = self.shape(x).iter().enumerate().filter(|(k, _)| !axes.contains(&(*k as u32)));
        let shape: Vec<Dim> = kept.map(|(_, d)| d.clone()).collect();
        self.reshape(x, shape)
    }
    /// Inserts axes of extent 1, which then stand at the places `axes` (ascending) of the result.
    pub fn unsqueeze(&mut self, x: ValueId, axes: &[u32]) -> Result<ValueId> {
        let mut shape = self.shape(x).to_vec();
        for &a in axes {
            if a as usize > shape.len() {
                let what = format!("a new axis {a} cannot be inserted into {}", self.ty(x));
                return self.shape_error("unsqueeze", what);
            }
            shape.insert(a as usize, Dim::ONE);
        }
        self.reshape(x, shape)
    }
    /// `size` elements from `start` on along one axis (nothing to do for all of them).
    pub fn slice_axis(&mut self, x: ValueId, axis: u32, start: Dim, size: Dim) -> Result<ValueId> {
        self.check_axis("slice", x, axis)?;
        let mut sizes = self.shape(x).to_vec();
        if start.is_const(0) && sizes[axis as usize] == size {
            return Ok(x);
        }
        let mut starts = vec![Dim::ZERO; sizes.len()];
        starts[axis as usize] = start;
        sizes[axis as usize] = size;
        let step = vec![1; sizes.len()];
        self.add(Slice { start: starts, size: sizes, step }, &[x])
    }
    /// Reverses the order along one axis.
    pub fn reverse(&mut self, x: ValueId, axis: u32) -> Result<ValueId> {
        self.check_axis("reverse", x, axis)?;
        let size = self.shape(x).to_vec();
        let mut start = vec![Dim::ZERO; size.len()];
        let mut step = vec![1; size.len()];
        start[axis as usize] = &size[axis as usize] - 1;
        step[axis as usize] = -1;
        self.add(Slice { start, size, step }, &[x])
    }
    /// Surrounds with zeros: `pads` before and after each axis.
    pub fn pad_zeros(&mut self, x: ValueId, pads: &[(Dim, Dim)]) -> Result<ValueId> {
        if pads.iter().all(|(lo, hi)| lo.is_const(0) && hi.is_const(0)) {
            return Ok(x);
        }
        let zero = self.scalar_f64(self.dtype(x), 0.0);
        let (lo, hi) = pads.iter().cloned().unzip();
        self.add(Pad { lo, hi }, &[x, zero])
    }
}
