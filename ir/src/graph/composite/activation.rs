//! Activation functions.

use super::super::ValueId;
use super::super::builder::{Builder, Result};
use crate::scalar::BinaryOp::{Add, Max, Min, Mul, Sub};
use crate::scalar::UnaryOp;
use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};

impl Builder {
    /// `max(x, 0)`; NaN stays NaN.
    pub fn relu(&mut self, x: ValueId) -> Result<ValueId> {
        self.with_const(Max, x, 0.0)
    }
    /// `x` where positive, else `alpha * x`.
    pub fn leaky_relu(&mut self, x: ValueId, alpha: f64) -> Result<ValueId> {
        let alpha = self.scalar_f64(self.dtype(x), alpha);
        self.prelu(x, alpha)
    }
    /// `x` where not negative, else `slope * x`; the slope broadcasts.
    pub fn prelu(&mut self, x: ValueId, slope: ValueId) -> Result<ValueId> {
        let scaled = self.mul(x, slope)?;
        let negative = self.below(x, 0.0)?;
        self.select(negative, scaled, x)
    }
    /// `1 / (1 + exp(-x))`; 0 where that is below the smallest normal number.
    pub fn sigmoid(&mut self, x: ValueId) -> Result<ValueId> {
        let minus = self.unary(UnaryOp::Neg, x)?;
        let e = self.unary(UnaryOp::Exp, minus)?;
        let d = self.with_const(Add, e, 1.0)?;
        self.reciprocal(d)
    }
    /// `x * sigmoid(x)`.
    pub fn silu(&mut self, x: ValueId) -> Result<ValueId> {
        let s = self.sigmoid(x)?;
        self.mul(x, s)
    }
    /// `max(0, min(1, alpha * x + beta))`.
    pub fn hard_sigmoid(&mut self, x: ValueId, alpha: f64, beta: f64) -> Result<ValueId> {
        let scaled = self.with_const(Mul, x, alpha)?;
        let moved = self.with_const(Add, scaled, beta)?;
        let low = self.with_const(Min, moved, 1.0)?;
        self.with_const(Max, low, 0.0)
    }
    /// `x * hard_sigmoid(x)` with slope 1/6 and offset 1/2.
    pub fn hard_swish(&mut self, x: ValueId) -> Result<ValueId> {
        let s = self.hard_sigmoid(x, 1.0 / 6.0, 0.5)?;
        self.mul(x, s)
    }
    /// `x` where not negative, else `alpha * (exp(x) - 1)`.
    pub fn elu(&mut self, x: ValueId, alpha: f64) -> Result<ValueId> {
        self.exponential_unit(x, 1.0, alpha)
    }
    /// `gamma * elu(x, alpha)`; the usual constants are 1.67326324 and 1.05070098.
    pub fn selu(&mut self, x: ValueId, alpha: f64, gamma: f64) -> Result<ValueId> {
        let e = self.elu(x, alpha)?;
        self.with_const(Mul, e, gamma)
    }
    /// `x` where not negative, else `alpha * (exp(x / alpha) - 1)`.
    pub fn celu(&mut self, x: ValueId, alpha: f64) -> Result<ValueId> {
        self.exponential_unit(x, 1.0 / alpha, alpha)
    }
    fn exponential_unit(&mut self, x: ValueId, inner: f64, outer: f64) -> Result<ValueId> {
        // The branch not taken must not overflow.
        let low = self.with_const(Min, x, 0.0)?;
        let scaled = if inner == 1.0 { low } else { self.with_const(Mul, low, inner)? };
        let e = self.unary(UnaryOp::Exp, scaled)?;
        let less = self.with_const(Sub, e, 1.0)?;
        let curve = self.with_const(Mul, less, outer)?;
        let negative = self.below(x, 0.0)?;
        self.select(negative, curve, x)
    }
    /// `log(1 + exp(x))`, as `max(x, 0) + log(1 + exp(-|x|))`.
    pub fn softplus(&mut self, x: ValueId) -> Result<ValueId> {
        let abs = self.unary(UnaryOp::Abs, x)?;
        let minus = self.unary(UnaryOp::Neg, abs)?;
        let e = self.unary(UnaryOp::Exp, minus)?;
        let sum = self.with_const(Add, e, 1.0)?;
        let log = self.unary(UnaryOp::Log, sum)?;
        let positive = self.relu(x)?;
        self.add_values(positive, log)
    }
    /// `x / (1 + |x|)`.
    pub fn softsign(&mut self, x: ValueId) -> Result<ValueId> {
        let abs = self.unary(UnaryOp::Abs, x)?;
        let d = self.with_const(Add, abs, 1.0)?;
        self.div(x, d)
    }
    /// `x * tanh(softplus(x))`.
    pub fn mish(&mut self, x: ValueId) -> Result<ValueId> {
        let s = self.softplus(x)?;
        let t = self.unary(UnaryOp::Tanh, s)?;
        self.mul(x, t)
    }
    /// `x / 2 * (1 + erf(x / sqrt(2)))`.
    pub fn gelu(&mut self, x: ValueId) -> Result<ValueId> {
        let scaled = self.with_const(Mul, x, FRAC_1_SQRT_2)?;
        let e = self.unary(UnaryOp::Erf, scaled)?;
        self.half_times_one_plus(x, e)
    }
    /// `x / 2 * (1 + tanh(sqrt(2/pi) * (x + 0.044715 x^3)))`.
    pub fn gelu_tanh(&mut self, x: ValueId) -> Result<ValueId> {
        let square = self.mul(x, x)?;
        let cube = self.mul(square, x)?;
        let small = self.with_const(Mul, cube, 0.044715)?;
        let sum = self.add_values(x, small)?;
        // sqrt(2/pi) = (2/sqrt(pi)) / sqrt(2)
        let scaled = self.with_const(Mul, sum, FRAC_2_SQRT_PI * FRAC_1_SQRT_2)?;
        let t = self.unary(UnaryOp::Tanh, scaled)?;
        self.half_times_one_plus(x, t)
    }
    fn half_times_one_plus(&mut self, x: ValueId, e: ValueId) -> Result<ValueId> {
        let gate = self.with_const(Add, e, 1.0)?;
        let half = self.with_const(Mul, x, 0.5)?;
        self.mul(half, gate)
    }
    /// `min(max(x, lo), hi)`; a missing bound does not bind. Bounds broadcast.
    pub fn clip(&mut self, x: ValueId, lo: Option<ValueId>, hi: Option<ValueId>) -> Result<ValueId> {
        let x = lo.map_or(Ok(x), |lo| self.maximum(x, lo))?;
        hi.map_or(Ok(x), |hi| self.minimum(x, hi))
    }
}
