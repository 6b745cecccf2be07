//! Pooling over sliding windows.

use super::super::builder::{Builder, Result};
use super::super::ops::{Pad, ReduceWindow};
use super::super::{OpError, ValueId};
use crate::dim::Dim;
use crate::scalar::{ReduceOp, Scalar};

/// Windows over the spatial axes of `[N, C, spatial..]`, an entry for each spatial axis.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pool {
    /// Window extents, positive.
    pub window: Vec<i64>,
    /// Distance of windows, positive.
    pub strides: Vec<i64>,
    /// Padding before and after; not negative.
    pub pads: Vec<(Dim, Dim)>,
    /// Distance of taps, positive.
    pub dilations: Vec<i64>,
    /// Whether a last window that reaches beyond the padding counts as well, if it starts within the
    /// operand or the padding before it.
    pub ceil: bool,
}

impl Pool {
    /// How far the last window reaches beyond the padding of axis `k` of that extent.
    fn beyond(&self, k: usize, extent: &Dim) -> Dim {
        if !self.ceil || self.strides[k] < 1 {
            return Dim::ZERO;
        }
        let stride = Dim::constant(self.strides[k]);
        let (lo, hi) = &self.pads[k];
        let window = (Dim::constant(self.window[k]) - 1) * self.dilations[k] + 1;
        let padded = extent + lo + hi;
        let all = (&padded - &window).ceil_div(&stride);
        let starting_inside = (extent + lo - 1).floor_div(&stride);
        let last = all.at_most(&starting_inside);
        (last * &stride + window - padded).at_least(&Dim::ZERO)
    }

    fn check(&self, b: &Builder, x: ValueId) -> Result<()> {
        let (n, rank) = (self.window.len(), b.shape(x).len());
        if rank >= 2 && [rank - 2, self.strides.len(), self.pads.len(), self.dilations.len()] == [n; 4] {
            return Ok(());
        }
        let what = format!(
            "x must be [N, C, spatial..] with {n} spatial axes, and strides, pads, dilations must have as many entries; x is {}",
            b.ty(x)
        );
        Err(b.error(OpError::Shape { op: "pool", what }))
    }

    /// The sliding reduction of a value whose trailing axes are the spatial ones.
    fn slide(&self, op: ReduceOp, pads: Vec<(Dim, Dim)>) -> ReduceWindow {
        ReduceWindow {
            op,
            window: self.window.clone(),
            strides: self.strides.clone(),
            pads,
            dilations: self.dilations.clone(),
        }
    }
}

impl Builder {
    /// The pads of a pool with what windows reach beyond them added after, and these parts alone.
    fn pool_pads(&self, x: ValueId, p: &Pool) -> (Vec<(Dim, Dim)>, Vec<Dim>) {
        let spatial = self.shape(x)[2..].iter().enumerate();
        let beyond: Vec<Dim> = spatial.map(|(k, d)| p.beyond(k, d)).collect();
        let pads = p.pads.iter().zip(&beyond).map(|((lo, hi), b)| (lo.clone(), hi + b));
        (pads.collect(), beyond)
    }

    /// The largest element of each window; positions outside take no part.
    pub fn max_pool(&mut self, x: ValueId, p: &Pool) -> Result<ValueId> {
        p.check(self, x)?;
        let (pads, _) = self.pool_pads(x, p);
        self.add(p.slide(ReduceOp::Max, pads), &[x])
    }

    /// The mean of each window: the sum of the elements inside, divided by the number of window
    /// positions that lie inside x, or with `count_pads` inside x or its padding.
    pub fn avg_pool(&mut self, x: ValueId, p: &Pool, count_pads: bool) -> Result<ValueId> {
        p.check(self, x)?;
        let (pads, beyond) = self.pool_pads(x, p);
        let dtype = self.dtype(x);
        let sum = self.add(p.slide(ReduceOp::Sum, pads.clone()), &[x])?;
        let all_inside = beyond.iter().all(|d| d.is_const(0))
            && (count_pads || p.pads.iter().all(|(lo, hi)| lo.is_const(0) && hi.is_const(0)));
        if all_inside {
            let n = p.window.iter().map(|&w| w as f64).product();
            let n = self.scalar(Scalar::from_f64(dtype, n));
            return self.div(sum, n);
        }
        let one = self.scalar_f64(dtype, 1.0);
        let extents = self.shape(x)[2..].to_vec();
        let ones = self.broadcast_to(one, &extents)?;
        let (ones, pads) = if count_pads {
            let (lo, hi) = p.pads.iter().cloned().unzip();
            let padded = self.add(Pad { lo, hi }, &[ones, one])?;
            (padded, beyond.into_iter().map(|b| (Dim::ZERO, b)).collect())
        } else {
            (ones, pads)
        };
        let count = self.add(p.slide(ReduceOp::Sum, pads), &[ones])?;
        self.div(sum, count)
    }
}
