//! Operations place by place.

use fornax_ir::scalar::BinaryOp;

use super::Tensor;
use crate::eager::{Key, apply_one, fail, one};

/// Applies a binary operator to operands of one dtype, broadcast.
#[track_caller]
fn binary(op: BinaryOp, a: &Tensor, b: &Tensor) -> Tensor {
    if a.dtype() != b.dtype() {
        let what = format!("the dtypes {} and {} differ; convert one with `to_dtype`", a.dtype(), b.dtype());
        fail(op.name(), &[a.into(), b.into()], &what);
    }
    apply_one(Key::elementwise(op.name()), &[a.into(), b.into()], &|g, v| Ok(one(g.binary(op, v[0], v[1])?)))
}

impl std::ops::Add for &Tensor {
    type Output = Tensor;
    #[track_caller]
    fn add(self, rhs: &Tensor) -> Tensor {
        binary(BinaryOp::Add, self, rhs)
    }
}
