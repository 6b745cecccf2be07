//! Reductions over axes.

use crate::error::Result;
use crate::import::NodeCx;
use fornax_ir::graph::ValueId;
use fornax_ir::graph::ops::Iota;
use fornax_ir::scalar::{BinaryOp, CompareOp, ReduceOp, UnaryOp};
use fornax_ir::{DType, Dim};

type Out = Result<Vec<ValueId>>;

/// What a reduction computes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Sum, product, largest, smallest.
    Plain(ReduceOp),
    /// Sum of absolute values.
    L1,
    /// Root of the sum of squares.
    L2,
    /// Logarithm of the sum.
    LogSum,
    /// Logarithm of the sum of exponentials.
    LogSumExp,
    /// Mean.
    Mean,
    /// Sum of squares.
    SumSquare,
}

/// The axes: operand 1 since `since` (an attribute before); none means all, or nothing to do at all.
fn axes(cx: &mut NodeCx<'_, '_>, x: ValueId, since: i64) -> Result<Option<Vec<usize>>> {
    let rank = cx.rank(x);
    let listed = if cx.opset >= since {
        match cx.opt(1) {
            Some(v) => Some(cx.ints_of(v, "axes")?),
            None => None,
        }
    } else {
        cx.ints("axes")?.map(<[i64]>::to_vec)
    };
    match listed.filter(|l| !l.is_empty()) {
        Some(list) => Ok(Some(cx.axes(&list, rank)?)),
        None if cx.flag("noop_with_empty_axes", false)? => Ok(None),
        None => Ok(Some((0..rank).collect())),
    }
}

/// A reduction whose axes became an operand with opset `since`.
pub(super) fn reduce(cx: &mut NodeCx<'_, '_>, kind: Kind, since: i64) -> Out {
    let x = cx.input(0)?;
    let over = axes(cx, x, since)?;
    let nothing = over.is_none();
    let over = over.unwrap_or_default();
    let y = match kind {
        Kind::Plain(op) => cx.reduce_keep(op, x, &over)?,
        Kind::Mean => cx.mean_keep(x, &over)?,
        Kind::L1 => {
            let size = cx.un(UnaryOp::Abs, x)?;
            cx.reduce_keep(ReduceOp::Sum, size, &over)?
        }
        Kind::L2 | Kind::SumSquare => {
            let square = cx.mul(x, x)?;
            let sum = cx.reduce_keep(ReduceOp::Sum, square, &over)?;
            if kind == Kind::SumSquare { sum } else { root(cx, sum)? }
        }
        Kind::LogSum => {
            let sum = cx.reduce_keep(ReduceOp::Sum, x, &over)?;
            cx.un(UnaryOp::Log, sum)?
        }
        Kind::LogSumExp => log_sum_exp(cx, x, &over)?,
    };
    let keep = nothing || cx.flag("keepdims", true)?;
    Ok(vec![if keep { y } else { drop_axes(cx, y, &over)? }])
}

/// Square root, through f64 for integers.
fn root(cx: &mut NodeCx<'_, '_>, x: ValueId) -> Result<ValueId> {
    let dtype = cx.dtype(x);
    if dtype.is_float() {
        return cx.un(UnaryOp::Sqrt, x);
    }
    let wide = cx.b.cast(x, DType::F64)?;
    let root = cx.un(UnaryOp::Sqrt, wide)?;
    Ok(cx.b.cast(root, dtype)?)
}

/// m + ln(sum e^(x - m)) with m the largest element, or 0 where that is infinite.
fn log_sum_exp(cx: &mut NodeCx<'_, '_>, x: ValueId, over: &[usize]) -> Result<ValueId> {
    let m = cx.reduce_keep(ReduceOp::Max, x, over)?;
    let size = cx.un(UnaryOp::Abs, m)?;
    let (inf, zero) = (cx.c(x, f64::INFINITY), cx.c(x, 0.0));
    let infinite = cx.cmp(CompareOp::Eq, size, inf)?;
    let m = cx.select(infinite, zero, m)?;
    let d = cx.sub(x, m)?;
    let e = cx.un(UnaryOp::Exp, d)?;
    let sum = cx.reduce_keep(ReduceOp::Sum, e, over)?;
    let log = cx.un(UnaryOp::Log, sum)?;
    cx.add(log, m)
}

/// Removes axes of extent 1.
fn drop_axes(cx: &mut NodeCx<'_, '_>, x: ValueId, over: &[usize]) -> Result<ValueId> {
    let shape = cx.shape(x).into_iter().enumerate().filter(|(k, _)| !over.contains(k)).map(|(_, d)| d);
    Ok(cx.b.reshape(x, shape.collect::<Vec<_>>())?)
}

/// ArgMax and ArgMin: the smallest (or last) place whose element equals the extreme one, or is NaN.
pub(super) fn arg_extreme(cx: &mut NodeCx<'_, '_>, op: ReduceOp) -> Out {
    let x = cx.input(0)?;
    let shape = cx.shape(x);
    if shape.is_empty() {
        let zero = cx.b.scalar(fornax_ir::scalar::Scalar::i64(0));
        return Ok(vec![zero]);
    }
    let axis = cx.axis(cx.int_or("axis", 0)?, shape.len())?;
    let last = cx.flag("select_last_index", false)?;
    let extreme = cx.reduce_keep(op, x, &[axis])?;
    let mut found = cx.cmp(CompareOp::Eq, x, extreme)?;
    if cx.dtype(x).is_float() {
        let nan = cx.un(UnaryOp::IsNan, x)?;
        found = cx.bin(BinaryOp::Or, found, nan)?;
    }
    let places = Iota { dtype: DType::I64, shape: shape.clone(), axis: axis as u32 };
    let places = cx.b.add(places, &[])?;
    let none = if last { Dim::constant(-1) } else { shape[axis].clone() };
    let none = cx.extent(&none, DType::I64)?;
    let candidates = cx.select(found, places, none)?;
    let pick = if last { ReduceOp::Max } else { ReduceOp::Min };
    let y = cx.reduce_keep(pick, candidates, &[axis])?;
    Ok(vec![if cx.flag("keepdims", true)? { y } else { drop_axes(cx, y, &[axis])? }])
}
