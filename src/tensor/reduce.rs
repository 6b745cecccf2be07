//! Reductions: many elements become one, along one axis (`-1`), several (`[0, 2]`) or all (`..`). With `keepdim` the
//! reduced axes stay, with extent 1.

use fornax_ir::DType;
use fornax_ir::graph::ValueId;
use fornax_ir::graph::builder::{Builder, Result as BuildResult};
use fornax_ir::graph::ops::Cumulative;
use fornax_ir::scalar::{BinaryOp, ReduceOp, UnaryOp};

use super::Tensor;
use super::args::Axes;
use super::elementwise::truth;
use crate::eager::{Key, apply_one, fail, one};

/// Reduces over axes, which vanish unless they are kept.
fn reduce(b: &mut Builder, op: ReduceOp, x: ValueId, axes: &[u32], keep: bool) -> BuildResult<ValueId> {
    if keep { b.reduce_keep(op, x, axes) } else { b.reduce(op, x, axes) }
}

/// Integers are summed and multiplied in 64 bits.
fn widened(b: &mut Builder, x: ValueId) -> BuildResult<ValueId> {
    if b.dtype(x).is_float() { Ok(x) } else { b.cast(x, DType::I64) }
}

impl Tensor {
    #[track_caller]
    fn reduced(
        &self,
        name: &'static str,
        axes: impl Axes,
        keepdim: bool,
        body: impl Fn(&mut Builder, ValueId, &[u32]) -> BuildResult<ValueId>,
    ) -> Tensor {
        let axes = self.sorted_axes(name, axes);
        let key = Key::tensors(name).axes(&axes).flag(keepdim);
        apply_one(key, &[self.into()], &|b, v| Ok(one(body(b, v[0], &axes)?)))
    }

    /// The sum. Integers and bools give i64.
    ///
    /// # Panics
    /// At the caller's line, when there is no such axis.
    ///
    /// ```
    /// # use fornax::Tensor;
    /// let x = Tensor::from([[1.0f32, 2.0], [3.0, 4.0]]);
    /// assert_eq!(x.sum(0, false), Tensor::from([4.0f32, 6.0]));
    /// assert_eq!(x.sum(.., false).item::<f32>(), 10.0);
    /// assert_eq!(x.sum([-1], true).shape(), [2, 1]);
    /// ```
    #[must_use]
    #[track_caller]
    pub fn sum(&self, axes: impl Axes, keepdim: bool) -> Tensor {
        self.reduced("sum", axes, keepdim, |b, x, axes| {
            let x = widened(b, x)?;
            reduce(b, ReduceOp::Sum, x, axes, keepdim)
        })
    }

    /// The product. Integers and bools give i64.
    ///
    /// # Panics
    /// At the caller's line, when there is no such axis.
    #[must_use]
    #[track_caller]
    pub fn prod(&self, axes: impl Axes, keepdim: bool) -> Tensor {
        self.reduced("prod", axes, keepdim, |b, x, axes| {
            let x = widened(b, x)?;
            reduce(b, ReduceOp::Prod, x, axes, keepdim)
        })
    }

    /// The arithmetic mean; NaN of no elements.
    ///
    /// # Panics
    /// At the caller's line, when there is no such axis, or the dtype is no float.
    #[must_use]
    #[track_caller]
    pub fn mean(&self, axes: impl Axes, keepdim: bool) -> Tensor {
        self.need_float("mean");
        self.reduced(
            "mean",
            axes,
            keepdim,
            |b, x, axes| {
                if keepdim { b.mean_keep(x, axes) } else { b.mean(x, axes) }
            },
        )
    }

    /// The largest element; NaN if any is NaN. Of no elements the dtype's smallest value.
    ///
    /// # Panics
    /// At the caller's line, when there is no such axis.
    #[must_use]
    #[track_caller]
    pub fn max(&self, axes: impl Axes, keepdim: bool) -> Tensor {
        self.reduced("max", axes, keepdim, |b, x, axes| reduce(b, ReduceOp::Max, x, axes, keepdim))
    }

    /// The smallest element; NaN if any is NaN. Of no elements the dtype's largest value.
    ///
    /// # Panics
    /// At the caller's line, when there is no such axis.
    #[must_use]
    #[track_caller]
    pub fn min(&self, axes: impl Axes, keepdim: bool) -> Tensor {
        self.reduced("min", axes, keepdim, |b, x, axes| reduce(b, ReduceOp::Min, x, axes, keepdim))
    }

    /// The variance: squared distances from the mean, summed and divided by the number of elements less `correction`
    /// (1 for the unbiased estimate from samples, 0 for the whole population), which counts as 0 where it is less.
    ///
    /// # Panics
    /// At the caller's line, when there is no such axis, or the dtype is no float.
    #[must_use]
    #[track_caller]
    pub fn var(&self, axes: impl Axes, correction: usize, keepdim: bool) -> Tensor {
        self.spread("var", axes, correction, keepdim)
    }

    /// The standard deviation: the square root of [`Tensor::var`].
    ///
    /// # Panics
    /// At the caller's line, when there is no such axis, or the dtype is no float.
    #[must_use]
    #[track_caller]
    pub fn std(&self, axes: impl Axes, correction: usize, keepdim: bool) -> Tensor {
        self.spread("std", axes, correction, keepdim)
    }

    #[track_caller]
    fn spread(&self, name: &'static str, axes: impl Axes, correction: usize, keepdim: bool) -> Tensor {
        self.need_float(name);
        let axes = self.sorted_axes(name, axes);
        let key = Key::tensors(name).axes(&axes).flag(keepdim).int(correction as i64);
        apply_one(key, &[self.into()], &|b, v| {
            let mean = b.mean_keep(v[0], &axes)?;
            let centred = b.sub(v[0], mean)?;
            let square = b.mul(centred, centred)?;
            let sum = reduce(b, ReduceOp::Sum, square, &axes, keepdim)?;
            let count = b.count(v[0], &axes)?;
            let count = b.with_const(BinaryOp::Sub, count, correction as f64)?;
            let count = b.with_const(BinaryOp::Max, count, 0.0)?;
            let var = b.div(sum, count)?;
            Ok(one(if name == "std" { b.unary(UnaryOp::Sqrt, var)? } else { var }))
        })
    }

    /// `log(sum(exp(x)))`, without overflow.
    ///
    /// # Panics
    /// At the caller's line, when there is no such axis, or the dtype is no float.
    #[must_use]
    #[track_caller]
    pub fn logsumexp(&self, axes: impl Axes, keepdim: bool) -> Tensor {
        self.need_float("logsumexp");
        let axes = self.sorted_axes("logsumexp", axes);
        let kept = apply_one(Key::tensors("logsumexp").axes(&axes), &[self.into()], &|b, v| {
            Ok(one(b.logsumexp_keep(v[0], &axes)?))
        });
        if keepdim { kept } else { kept.squeeze(&axes.iter().map(|&a| a as usize).collect::<Vec<_>>()[..]) }
    }

    /// The i64 index of the largest element along an axis, the first of equals; NaN counts as largest. With `..`, the
    /// index into all elements in row-major order.
    ///
    /// # Panics
    /// At the caller's line, when there is no such axis, its extent is 0, or several are given.
    #[must_use]
    #[track_caller]
    pub fn argmax(&self, axis: impl Axes, keepdim: bool) -> Tensor {
        self.extreme("argmax", ReduceOp::Max, axis, keepdim)
    }

    /// The i64 index of the smallest element along an axis, the first of equals; NaN counts as smallest. With `..`, the
    /// index into all elements in row-major order.
    ///
    /// # Panics
    /// At the caller's line, when there is no such axis, its extent is 0, or several are given.
    #[must_use]
    #[track_caller]
    pub fn argmin(&self, axis: impl Axes, keepdim: bool) -> Tensor {
        self.extreme("argmin", ReduceOp::Min, axis, keepdim)
    }

    #[track_caller]
    fn extreme(&self, name: &'static str, op: ReduceOp, axis: impl Axes, keepdim: bool) -> Tensor {
        let (x, axis) = match axis.list() {
            None => (self.reshape([-1]), 0),
            Some(list) if list.len() == 1 => (self.clone(), self.axis(name, list[0] as isize)),
            Some(_) => fail(name, &[self.into()], "one axis or all (`..`) can be searched"),
        };
        if x.dim(axis as isize) == 0 {
            fail(name, &[self.into()], "there is no element to be found along an axis of extent 0");
        }
        let at = apply_one(Key::tensors(name).int(axis as i64), &[(&x).into()], &|b, v| {
            Ok(one(b.arg_extreme(op, v[0], axis as u32, false)?))
        });
        match (keepdim, x.rank() == self.rank()) {
            (false, _) => at.squeeze(axis as i64),
            (true, true) => at,
            (true, false) => at.reshape(vec![1usize; self.rank()]),
        }
    }

    /// Whether any element is true (not zero).
    ///
    /// # Panics
    /// At the caller's line, when there is no such axis.
    #[must_use]
    #[track_caller]
    pub fn any(&self, axes: impl Axes, keepdim: bool) -> Tensor {
        self.reduced("any", axes, keepdim, |b, x, axes| {
            let x = truth(b, x)?;
            reduce(b, ReduceOp::Max, x, axes, keepdim)
        })
    }

    /// Whether all elements are true (not zero).
    ///
    /// # Panics
    /// At the caller's line, when there is no such axis.
    #[must_use]
    #[track_caller]
    pub fn all(&self, axes: impl Axes, keepdim: bool) -> Tensor {
        self.reduced("all", axes, keepdim, |b, x, axes| {
            let x = truth(b, x)?;
            reduce(b, ReduceOp::Min, x, axes, keepdim)
        })
    }

    #[track_caller]
    fn cumulated(&self, name: &'static str, axis: isize, op: ReduceOp) -> Tensor {
        let axis = self.axis(name, axis);
        apply_one(Key::tensors(name).int(axis as i64), &[self.into()], &|b, v| {
            let x = if matches!(op, ReduceOp::Sum | ReduceOp::Prod) { widened(b, v[0])? } else { v[0] };
            let of = Cumulative { op, axis: axis as u32, exclusive: false, reverse: false };
            Ok(one(b.add(of, &[x])?))
        })
    }

    /// Running sums along an axis. Integers and bools give i64.
    ///
    /// # Panics
    /// At the caller's line, when there is no such axis.
    ///
    /// ```
    /// # use fornax::Tensor;
    /// let x = Tensor::from([[1.0f32, 2.0], [3.0, 4.0]]);
    /// assert_eq!(x.cumsum(0), Tensor::from([[1.0f32, 2.0], [4.0, 6.0]]));
    /// ```
    #[must_use]
    #[track_caller]
    pub fn cumsum(&self, axis: isize) -> Tensor {
        self.cumulated("cumsum", axis, ReduceOp::Sum)
    }

    /// Running products along an axis. Integers and bools give i64.
    ///
    /// # Panics
    /// As [`Tensor::cumsum`].
    #[must_use]
    #[track_caller]
    pub fn cumprod(&self, axis: isize) -> Tensor {
        self.cumulated("cumprod", axis, ReduceOp::Prod)
    }

    /// The largest element so far along an axis; NaN from the first NaN on. Not for bools.
    ///
    /// # Panics
    /// As [`Tensor::cumsum`].
    #[must_use]
    #[track_caller]
    pub fn cummax(&self, axis: isize) -> Tensor {
        self.cumulated("cummax", axis, ReduceOp::Max)
    }

    /// The smallest element so far along an axis; NaN from the first NaN on. Not for bools.
    ///
    /// # Panics
    /// As [`Tensor::cumsum`].
    #[must_use]
    #[track_caller]
    pub fn cummin(&self, axis: isize) -> Tensor {
        self.cumulated("cummin", axis, ReduceOp::Min)
    }

    #[track_caller]
    pub(super) fn need_float(&self, op: &str) {
        if !self.dtype().is_float() {
            let what = format!("it is defined for floats, not {}; use `to_dtype`", self.dtype());
            fail(op, &[self.into()], &what);
        }
    }
}
