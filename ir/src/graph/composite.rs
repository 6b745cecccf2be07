//! Named composites: operators that have a body in primitives, as methods of [`Builder`].
//!
//! Bodies are in their numerically stable form. A float parameter becomes the nearest constant of
//! the operand's dtype. All composites compute in the operand's dtype.

mod activation;
mod index;
mod linear;
mod norm;
mod pool;
mod shape;

pub use linear::ConvTranspose;
pub use pool::Pool;

use super::builder::{Builder, Result};
use super::{OpError, ValueId};
use crate::scalar::{BinaryOp, CompareOp, UnaryOp};

impl Builder {
    /// `a + b`, broadcast.
    pub fn add_values(&mut self, a: ValueId, b: ValueId) -> Result<ValueId> {
        self.binary(BinaryOp::Add, a, b)
    }
    /// `a - b`, broadcast.
    pub fn sub(&mut self, a: ValueId, b: ValueId) -> Result<ValueId> {
        self.binary(BinaryOp::Sub, a, b)
    }
    /// `a * b`, broadcast.
    pub fn mul(&mut self, a: ValueId, b: ValueId) -> Result<ValueId> {
        self.binary(BinaryOp::Mul, a, b)
    }
    /// `a / b`, broadcast.
    pub fn div(&mut self, a: ValueId, b: ValueId) -> Result<ValueId> {
        self.binary(BinaryOp::Div, a, b)
    }
    /// The larger of both, broadcast.
    pub fn maximum(&mut self, a: ValueId, b: ValueId) -> Result<ValueId> {
        self.binary(BinaryOp::Max, a, b)
    }
    /// The smaller of both, broadcast.
    pub fn minimum(&mut self, a: ValueId, b: ValueId) -> Result<ValueId> {
        self.binary(BinaryOp::Min, a, b)
    }
    /// `op(x, c)` for a constant of x's dtype.
    pub fn with_const(&mut self, op: BinaryOp, x: ValueId, c: f64) -> Result<ValueId> {
        let c = self.scalar_f64(self.dtype(x), c);
        self.binary(op, x, c)
    }
    /// `x < c` for a constant of x's dtype.
    fn below(&mut self, x: ValueId, c: f64) -> Result<ValueId> {
        let c = self.scalar_f64(self.dtype(x), c);
        self.compare(CompareOp::Lt, x, c)
    }
    /// `1 / x`.
    pub fn reciprocal(&mut self, x: ValueId) -> Result<ValueId> {
        let one = self.scalar_f64(self.dtype(x), 1.0);
        self.binary(BinaryOp::Div, one, x)
    }
    /// `1 / sqrt(x)`.
    fn reciprocal_sqrt(&mut self, x: ValueId) -> Result<ValueId> {
        let root = self.unary(UnaryOp::Sqrt, x)?;
        self.reciprocal(root)
    }
    fn shape_error<T>(&self, op: &'static str, what: String) -> Result<T> {
        Err(self.error(OpError::Shape { op, what }))
    }
    /// Checks that `axis` is an axis of `x`.
    fn check_axis(&self, op: &'static str, x: ValueId, axis: u32) -> Result<()> {
        if (axis as usize) < self.shape(x).len() {
            return Ok(());
        }
        self.shape_error(op, format!("axis {axis} is out of range: the operand is {}", self.ty(x)))
    }
}
