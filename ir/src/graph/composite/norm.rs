//! Means, softmax and normalisations.

use super::super::ValueId;
use super::super::builder::{Builder, Result};
use crate::dim::Dim;
use crate::scalar::BinaryOp::Add;
use crate::scalar::{ReduceOp, Scalar, UnaryOp};

impl Builder {
    /// The number of elements along some axes, as a rank-0 tensor of x's dtype.
    pub fn count(&mut self, x: ValueId, axes: &[u32]) -> Result<ValueId> {
        for &a in axes {
            self.check_axis("count", x, a)?;
        }
        let n: Dim = axes.iter().map(|&a| &self.shape(x)[a as usize]).product();
        let dtype = self.dtype(x);
        match n.as_const() {
            Some(n) => Ok(self.scalar(Scalar::from_i64(dtype, n))),
            None => {
                let n = self.dims(vec![n], true)?;
                self.cast(n, dtype)
            }
        }
    }
    /// The arithmetic mean over axes, which stay with extent 1. NaN over no elements.
    pub fn mean_keep(&mut self, x: ValueId, axes: &[u32]) -> Result<ValueId> {
        let n = self.count(x, axes)?;
        let sum = self.reduce_keep(ReduceOp::Sum, x, axes)?;
        self.div(sum, n)
    }
    /// The arithmetic mean over axes, which vanish.
    pub fn mean(&mut self, x: ValueId, axes: &[u32]) -> Result<ValueId> {
        let n = self.count(x, axes)?;
        let sum = self.reduce(ReduceOp::Sum, x, axes)?;
        self.div(sum, n)
    }
    /// The mean square distance from the mean over axes, which stay with extent 1 (no correction
    /// for samples): the second pass is over `x - mean`.
    pub fn var_keep(&mut self, x: ValueId, axes: &[u32]) -> Result<ValueId> {
        let centred = self.centred(x, axes)?;
        self.mean_square(centred, axes)
    }
    fn centred(&mut self, x: ValueId, axes: &[u32]) -> Result<ValueId> {
        let mean = self.mean_keep(x, axes)?;
        self.sub(x, mean)
    }
    fn mean_square(&mut self, x: ValueId, axes: &[u32]) -> Result<ValueId> {
        let square = self.mul(x, x)?;
        self.mean_keep(square, axes)
    }
    /// `log(sum(exp(x)))` over axes, which stay with extent 1; the largest element is taken out first.
    pub fn logsumexp_keep(&mut self, x: ValueId, axes: &[u32]) -> Result<ValueId> {
        let largest = self.finite_max_keep(x, axes)?;
        let shifted = self.sub(x, largest)?;
        let e = self.unary(UnaryOp::Exp, shifted)?;
        let sum = self.reduce_keep(ReduceOp::Sum, e, axes)?;
        let log = self.unary(UnaryOp::Log, sum)?;
        self.add_values(log, largest)
    }
    /// The largest element, kept within the finite numbers so that subtracting it from an infinity is
    /// no NaN.
    fn finite_max_keep(&mut self, x: ValueId, axes: &[u32]) -> Result<ValueId> {
        let dtype = self.dtype(x);
        let max = self.reduce_keep(ReduceOp::Max, x, axes)?;
        let bound = match dtype {
            crate::DType::F16 => 65504.0,
            crate::DType::BF16 => half::bf16::MAX.to_f64(),
            crate::DType::F32 => f64::from(f32::MAX),
            _ => f64::MAX,
        };
        let (lo, hi) = (self.scalar_f64(dtype, -bound), self.scalar_f64(dtype, bound));
        self.clip(max, Some(lo), Some(hi))
    }
    /// `exp(x - max) / sum(exp(x - max))` along an axis.
    pub fn softmax(&mut self, x: ValueId, axis: u32) -> Result<ValueId> {
        self.check_axis("softmax", x, axis)?;
        let max = self.reduce_keep(ReduceOp::Max, x, &[axis])?;
        let shifted = self.sub(x, max)?;
        let e = self.unary(UnaryOp::Exp, shifted)?;
        let sum = self.reduce_keep(ReduceOp::Sum, e, &[axis])?;
        self.div(e, sum)
    }
    /// `(x - max) - log(sum(exp(x - max)))` along an axis.
    pub fn log_softmax(&mut self, x: ValueId, axis: u32) -> Result<ValueId> {
        self.check_axis("log_softmax", x, axis)?;
        let max = self.reduce_keep(ReduceOp::Max, x, &[axis])?;
        let shifted = self.sub(x, max)?;
        let e = self.unary(UnaryOp::Exp, shifted)?;
        let sum = self.reduce_keep(ReduceOp::Sum, e, &[axis])?;
        let log = self.unary(UnaryOp::Log, sum)?;
        self.sub(shifted, log)
    }
    /// `(x - mean) / sqrt(var + eps) * scale + bias` with statistics over the axes from `first` on;
    /// scale and bias broadcast.
    pub fn layer_norm(
        &mut self,
        x: ValueId,
        first: u32,
        scale: Option<ValueId>,
        bias: Option<ValueId>,
        eps: f64,
    ) -> Result<ValueId> {
        let axes: Vec<u32> = (first..self.shape(x).len() as u32).collect();
        let y = self.standardise(x, &axes, eps)?;
        let y = scale.map_or(Ok(y), |s| self.mul(y, s))?;
        bias.map_or(Ok(y), |b| self.add_values(y, b))
    }
    /// `(x - mean) / sqrt(var + eps)` over axes.
    pub fn standardise(&mut self, x: ValueId, axes: &[u32], eps: f64) -> Result<ValueId> {
        let centred = self.centred(x, axes)?;
        let var = self.mean_square(centred, axes)?;
        let factor = self.inverse_deviation(var, eps)?;
        self.mul(centred, factor)
    }
    /// `1 / sqrt(var + eps)`.
    fn inverse_deviation(&mut self, var: ValueId, eps: f64) -> Result<ValueId> {
        let sum = self.with_const(Add, var, eps)?;
        self.reciprocal_sqrt(sum)
    }
    /// `x / sqrt(mean(x^2) + eps) * scale` with the mean over the axes from `first` on; the scale broadcasts.
    pub fn rms_norm(&mut self, x: ValueId, first: u32, scale: Option<ValueId>, eps: f64) -> Result<ValueId> {
        let axes: Vec<u32> = (first..self.shape(x).len() as u32).collect();
        let mean = self.mean_square(x, &axes)?;
        let factor = self.inverse_deviation(mean, eps)?;
        let y = self.mul(x, factor)?;
        scale.map_or(Ok(y), |s| self.mul(y, s))
    }
    /// `(x - mean) * (scale / sqrt(var + eps)) + bias` for `x: [N, C, ..]` and four vectors of length C.
    pub fn batch_norm(
        &mut self,
        x: ValueId,
        [scale, bias, mean, var]: [ValueId; 4],
        eps: f64,
    ) -> Result<ValueId> {
        let factor = self.inverse_deviation(var, eps)?;
        let factor = self.mul(scale, factor)?;
        let [factor, mean, bias] = [factor, mean, bias].map(|v| self.per_channel(x, v));
        let centred = self.sub(x, mean?)?;
        let scaled = self.mul(centred, factor?)?;
        self.add_values(scaled, bias?)
    }
    /// A vector of length C so shaped that it broadcasts along axis 1 of `x: [N, C, ..]`.
    pub fn per_channel(&mut self, x: ValueId, v: ValueId) -> Result<ValueId> {
        self.check_axis("per_channel", x, 1)?;
        if self.shape(v).len() != 1 {
            let what = format!("one value for each channel of {} is needed, not {}", self.ty(x), self.ty(v));
            return self.shape_error("per_channel", what);
        }
        let mut shape = vec![self.shape(v)[0].clone()];
        shape.resize(self.shape(x).len() - 1, Dim::ONE);
        self.reshape(v, shape)
    }
    /// `(x - mean) / sqrt(var + eps) * scale + bias` with statistics of each (image, channel) of
    /// `x: [N, C, ..]`; scale and bias have length C.
    pub fn instance_norm(&mut self, x: ValueId, scale: ValueId, bias: ValueId, eps: f64) -> Result<ValueId> {
        let axes: Vec<u32> = (2..self.shape(x).len() as u32).collect();
        let y = self.standardise(x, &axes, eps)?;
        let (scale, bias) = (self.per_channel(x, scale)?, self.per_channel(x, bias)?);
        let y = self.mul(y, scale)?;
        self.add_values(y, bias)
    }
    /// As [`Builder::instance_norm`], with statistics of each group of `C / groups` channels.
    pub fn group_norm(
        &mut self,
        x: ValueId,
        groups: i64,
        scale: ValueId,
        bias: ValueId,
        eps: f64,
    ) -> Result<ValueId> {
        self.check_axis("group_norm", x, 1)?;
        let shape = self.shape(x).to_vec();
        if groups < 1 || !shape[1].rem(&Dim::constant(groups)).is_const(0) {
            let what = format!("{groups} groups do not divide the {} channels", shape[1]);
            return self.shape_error("group_norm", what);
        }
        let mut split = shape.clone();
        split[1] = Dim::constant(groups);
        split.insert(2, shape[1].floor_div(&Dim::constant(groups)));
        let grouped = self.reshape(x, split)?;
        let axes: Vec<u32> = (2..shape.len() as u32 + 1).collect();
        let y = self.standardise(grouped, &axes, eps)?;
        let y = self.reshape(y, shape)?;
        let (scale, bias) = (self.per_channel(x, scale)?, self.per_channel(x, bias)?);
        let y = self.mul(y, scale)?;
        self.add_values(y, bias)
    }
}
