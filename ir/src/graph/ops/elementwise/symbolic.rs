//! Elementwise operators on symbolic values.
//!
//! Constants compute as at run time, in their dtype. Expressions are followed in i32 and i64 alone,
//! and taken not to leave them: they are extents of tensors. Symbols are nonnegative. A divisor
//! that is an expression is taken positive where it cannot be negative ([`crate::dim`]).

use super::super::super::{SymValue, TensorType};
use super::super::check::nonneg;
use crate::dim::Dim;
use crate::dtype::DType;
use crate::scalar::{BinaryOp, CompareOp, Scalar, UnaryOp, eval};

/// Whether expressions of that dtype are followed.
fn follows(dtype: DType) -> bool {
    matches!(dtype, DType::I32 | DType::I64)
}

fn scalar(d: &Dim, dtype: DType) -> Option<Scalar> {
    d.as_const().map(|v| Scalar::from_i64(dtype, v))
}

fn elementwise(
    out: &TensorType,
    elem: impl Fn(usize) -> Option<Dim>,
    operands: &[&SymValue],
) -> Option<SymValue> {
    let shape = out.const_shape()?;
    let n: usize = shape.iter().product();
    if operands.iter().any(|x| x.elems.len() != n) {
        return None;
    }
    let known = |d: &Dim| !d.is_poisoned() && (d.as_const().is_some() || follows(out.dtype));
    let elems = (0..n).map(|i| elem(i).filter(known)).collect::<Option<Vec<_>>>()?;
    Some(SymValue { shape, elems })
}

pub(super) fn unary(op: UnaryOp, x: &SymValue, dtype: DType, out: &TensorType) -> Option<SymValue> {
    elementwise(out, |i| unary_dim(op, &x.elems[i], dtype), &[x])
}

fn unary_dim(op: UnaryOp, x: &Dim, dtype: DType) -> Option<Dim> {
    if let Some(s) = scalar(x, dtype) {
        return Some(Dim::constant(eval::unary(op, s).as_i64()));
    }
    match op {
        UnaryOp::Neg => Some(-x),
        UnaryOp::Abs if nonneg(x) => Some(x.clone()),
        UnaryOp::Abs => Some(x.at_least(&-x)),
        UnaryOp::Sign => Some(x.at_least(&Dim::constant(-1)).at_most(&Dim::ONE)),
        _ => None,
    }
}

pub(super) fn binary(
    op: BinaryOp,
    a: &SymValue,
    b: &SymValue,
    dtype: DType,
    out: &TensorType,
) -> Option<SymValue> {
    elementwise(out, |i| binary_dim(op, &a.elems[i], &b.elems[i], dtype), &[a, b])
}

fn binary_dim(op: BinaryOp, a: &Dim, b: &Dim, dtype: DType) -> Option<Dim> {
    if let (Some(x), Some(y)) = (scalar(a, dtype), scalar(b, dtype)) {
        return Some(Dim::constant(eval::binary(op, x, y).as_i64()));
    }
    match op {
        BinaryOp::Add => Some(a + b),
        BinaryOp::Sub => Some(a - b),
        BinaryOp::Mul => Some(a * b),
        BinaryOp::Min => Some(a.at_most(b)),
        BinaryOp::Max => Some(a.at_least(b)),
        BinaryOp::Div => truncated(a, b),
        BinaryOp::Rem if b.is_const(0) => Some(Dim::ZERO),
        BinaryOp::Rem => Some(a - truncated(a, b)? * b),
        _ => None,
    }
}

/// The quotient rounded towards zero, where the signs are known or the division has no remainder.
fn truncated(a: &Dim, b: &Dim) -> Option<Dim> {
    if b.is_const(0) {
        return Some(Dim::ZERO);
    }
    if b.as_const().is_none() && !nonneg(b) {
        return None;
    }
    if b.as_const().is_some_and(|v| v < 0) {
        return Some(-truncated(a, &-b)?);
    }
    if let Some(q) = a.div_exact(b) {
        return Some(q);
    }
    if nonneg(a) {
        return Some(a.floor_div(b));
    }
    let minus = -a;
    nonneg(&minus).then(|| -minus.floor_div(b))
}

pub(super) fn compare(
    op: CompareOp,
    a: &SymValue,
    b: &SymValue,
    dtype: DType,
    out: &TensorType,
) -> Option<SymValue> {
    let elem = |i: usize| {
        let (x, y) = (&a.elems[i], &b.elems[i]);
        let holds = match (scalar(x, dtype), scalar(y, dtype)) {
            (Some(x), Some(y)) => eval::compare(op, x, y),
            _ => decide(op, x, y)?,
        };
        Some(Dim::constant(holds.into()))
    };
    elementwise(out, elem, &[a, b])
}

/// Whether the comparison holds for all values of the symbols; `None` if it depends on them.
fn decide(op: CompareOp, a: &Dim, b: &Dim) -> Option<bool> {
    let (le, ge) = (nonneg(&(b - a)), nonneg(&(a - b)));
    let (lt, gt) = (nonneg(&(b - a - 1)), nonneg(&(a - b - 1)));
    let (yes, no) = match op {
        CompareOp::Eq => (le && ge, lt || gt),
        CompareOp::Ne => (lt || gt, le && ge),
        CompareOp::Lt => (lt, ge),
        CompareOp::Le => (le, gt),
        CompareOp::Gt => (gt, le),
        CompareOp::Ge => (ge, lt),
    };
    if yes { Some(true) } else { no.then_some(false) }
}

pub(super) fn select(inputs: &[Option<&SymValue>], out: &TensorType) -> Option<SymValue> {
    let condition = inputs[0];
    let elem = |i: usize| {
        let of = |k: usize| inputs[k].map(|x: &SymValue| x.elems[i].clone());
        match condition.and_then(|c| c.elems[i].as_const()) {
            Some(0) => of(2),
            Some(_) => of(1),
            None => of(1).filter(|a| Some(a) == of(2).as_ref()),
        }
    };
    let known: Vec<&SymValue> = inputs.iter().flatten().copied().collect();
    elementwise(out, elem, &known)
}

pub(super) fn cast(x: &SymValue, from: DType, out: &TensorType) -> Option<SymValue> {
    let to = out.dtype;
    let elem = |i: usize| {
        let d = &x.elems[i];
        match scalar(d, from) {
            Some(s) => Some(Dim::constant(eval::cast(s, to).as_i64())),
            None if to == DType::Bool => (nonneg(&(d - 1)) || nonneg(&(-d - 1))).then_some(Dim::ONE),
            None => Some(d.clone()),
        }
    };
    elementwise(out, elem, &[x])
}
