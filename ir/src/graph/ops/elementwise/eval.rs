//! Reference semantics of elementwise operators: one loop for each (operator, dtype) that models
//! use much, the one-value functions of [`crate::scalar::eval`] for all others.

use super::super::EvalCx;
use super::super::strided::{by_width, count, filled, literal, words};
use super::OpError;
use crate::dtype::DType;
use crate::literal::{Element, Literal};
use crate::scalar::{BinaryOp, CompareOp, Scalar, UnaryOp, eval};
use half::{bf16, f16};

/// Applies `f` to every element.
fn map<A: Element, R: bytemuck::NoUninit + Send + Sync>(
    op: &'static str,
    cx: &EvalCx<'_>,
    x: &Literal,
    f: impl Fn(A) -> R,
) -> Result<Literal, OpError> {
    count(op, cx.dtype, cx.shape)?;
    let out: Vec<R> = words::<A>(x).iter().map(|&v| f(v)).collect();
    literal(op, cx.dtype, cx.shape, out)
}

/// Applies `f` to every pair of elements.
fn zip<A: Element, R: bytemuck::NoUninit + Send + Sync>(
    op: &'static str,
    cx: &EvalCx<'_>,
    (a, b): (&Literal, &Literal),
    f: impl Fn(A, A) -> R,
) -> Result<Literal, OpError> {
    count(op, cx.dtype, cx.shape)?;
    let (a, b) = (words::<A>(a), words::<A>(b));
    let out: Vec<R> = a.iter().zip(&*b).map(|(&x, &y)| f(x, y)).collect();
    literal(op, cx.dtype, cx.shape, out)
}

/// The scalars of an array.
#[allow(clippy::unnecessary_cast)] // u64 is one of the widths
fn scalars(l: &Literal) -> Vec<Scalar> {
    let dtype = l.dtype();
    by_width!(dtype, T => {
        words::<T>(l).iter().map(|&v| Scalar { dtype, bits: v as u64 }).collect()
    })
}

/// An array of scalars.
fn from_scalars(
    op: &'static str,
    cx: &EvalCx<'_>,
    values: impl Iterator<Item = Scalar>,
) -> Result<Literal, OpError> {
    let n = count(op, cx.dtype, cx.shape)?;
    by_width!(cx.dtype, T => {
        let mut out: Vec<T> = filled(op, n, 0)?;
        out.iter_mut().zip(values).for_each(|(y, s)| *y = s.bits as T);
        literal(op, cx.dtype, cx.shape, out)
    })
}

/// A loop of its own for every operator listed: the operator is a constant inside.
macro_rules! unary_loops {
    ($op:expr, $f:path, $Ty:ty, $cx:expr, $x:expr; $($V:ident)*) => {
        match $op {
            $(UnaryOp::$V => map($op.name(), $cx, $x, |v: $Ty| $f(UnaryOp::$V, v)),)*
            UnaryOp::IsNan => map($op.name(), $cx, $x, |v: $Ty| v.is_nan() as u8),
        }
    };
}

pub(super) fn unary(op: UnaryOp, cx: &EvalCx<'_>, x: &Literal) -> Result<Literal, OpError> {
    match x.dtype() {
        DType::F32 => unary_loops!(op, eval::unary_f32, f32, cx, x;
            Neg Abs Sign Not Exp Log Sqrt Sin Cos Tanh Erf Atan Floor Ceil Round Trunc),
        DType::F64 => unary_loops!(op, eval::unary_f64, f64, cx, x;
            Neg Abs Sign Not Exp Log Sqrt Sin Cos Tanh Erf Atan Floor Ceil Round Trunc),
        DType::Bool if op == UnaryOp::Not => map(op.name(), cx, x, |v: u8| v ^ 1),
        _ => from_scalars(op.name(), cx, scalars(x).into_iter().map(|v| eval::unary(op, v))),
    }
}

macro_rules! binary_loops {
    ($op:expr, $f:path, $Ty:ty, $cx:expr, $ab:expr; $($V:ident)*) => {
        match $op {
            $(BinaryOp::$V => zip($op.name(), $cx, $ab, |x: $Ty, y: $Ty| $f(BinaryOp::$V, x, y)),)*
        }
    };
}

/// Loops for the integer operators that shape and mask arithmetic uses much.
macro_rules! int_loops {
    ($op:expr, $Ty:ty, $cx:expr, $ab:expr) => {
        match $op {
            BinaryOp::Add => zip("add", $cx, $ab, |x: $Ty, y: $Ty| x.wrapping_add(y)),
            BinaryOp::Sub => zip("sub", $cx, $ab, |x: $Ty, y: $Ty| x.wrapping_sub(y)),
            BinaryOp::Mul => zip("mul", $cx, $ab, |x: $Ty, y: $Ty| x.wrapping_mul(y)),
            BinaryOp::Min => zip("min", $cx, $ab, |x: $Ty, y: $Ty| x.min(y)),
            BinaryOp::Max => zip("max", $cx, $ab, |x: $Ty, y: $Ty| x.max(y)),
            BinaryOp::And => zip("and", $cx, $ab, |x: $Ty, y: $Ty| x & y),
            BinaryOp::Or => zip("or", $cx, $ab, |x: $Ty, y: $Ty| x | y),
            BinaryOp::Xor => zip("xor", $cx, $ab, |x: $Ty, y: $Ty| x ^ y),
            _ => any_binary($op, $cx, $ab),
        }
    };
}

fn any_binary(op: BinaryOp, cx: &EvalCx<'_>, (a, b): (&Literal, &Literal)) -> Result<Literal, OpError> {
    let pairs = scalars(a).into_iter().zip(scalars(b));
    from_scalars(op.name(), cx, pairs.map(|(x, y)| eval::binary(op, x, y)))
}

pub(super) fn binary(op: BinaryOp, cx: &EvalCx<'_>, a: &Literal, b: &Literal) -> Result<Literal, OpError> {
    let ab = (a, b);
    match a.dtype() {
        DType::F32 => binary_loops!(op, eval::binary_f32, f32, cx, ab;
            Add Sub Mul Div Rem Pow Min Max And Or Xor Shl Shr),
        DType::F64 => binary_loops!(op, eval::binary_f64, f64, cx, ab;
            Add Sub Mul Div Rem Pow Min Max And Or Xor Shl Shr),
        DType::I32 => int_loops!(op, i32, cx, ab),
        DType::I64 => int_loops!(op, i64, cx, ab),
        DType::U8 | DType::Bool => int_loops!(op, u8, cx, ab),
        _ => any_binary(op, cx, ab),
    }
}

macro_rules! compare_loops {
    ($op:expr, $Ty:ty, $cx:expr, $ab:expr) => {
        match $op {
            CompareOp::Eq => zip("eq", $cx, $ab, |x: $Ty, y: $Ty| (x == y) as u8),
            CompareOp::Ne => zip("ne", $cx, $ab, |x: $Ty, y: $Ty| (x != y) as u8),
            CompareOp::Lt => zip("lt", $cx, $ab, |x: $Ty, y: $Ty| (x < y) as u8),
            CompareOp::Le => zip("le", $cx, $ab, |x: $Ty, y: $Ty| (x <= y) as u8),
            CompareOp::Gt => zip("gt", $cx, $ab, |x: $Ty, y: $Ty| (x > y) as u8),
            CompareOp::Ge => zip("ge", $cx, $ab, |x: $Ty, y: $Ty| (x >= y) as u8),
        }
    };
}

pub(super) fn compare(op: CompareOp, cx: &EvalCx<'_>, a: &Literal, b: &Literal) -> Result<Literal, OpError> {
    let ab = (a, b);
    match a.dtype() {
        DType::F32 => compare_loops!(op, f32, cx, ab),
        DType::F64 => compare_loops!(op, f64, cx, ab),
        DType::I32 => compare_loops!(op, i32, cx, ab),
        DType::I64 => compare_loops!(op, i64, cx, ab),
        _ => {
            let pairs = scalars(a).into_iter().zip(scalars(b));
            let holds = pairs.map(|(x, y)| Scalar::bool(eval::compare(op, x, y)));
            from_scalars(op.name(), cx, holds)
        }
    }
}

pub(super) fn select(cx: &EvalCx<'_>, c: &Literal, a: &Literal, b: &Literal) -> Result<Literal, OpError> {
    count("select", cx.dtype, cx.shape)?;
    by_width!(cx.dtype, T => {
        let (c, a, b) = (words::<u8>(c), words::<T>(a), words::<T>(b));
        let branches = a.iter().zip(&*b);
        let out = c.iter().zip(branches).map(|(&c, (&a, &b))| if c != 0 { a } else { b });
        literal("select", cx.dtype, cx.shape, out.collect::<Vec<T>>())
    })
}

pub(super) fn cast(to: DType, cx: &EvalCx<'_>, x: &Literal) -> Result<Literal, OpError> {
    use DType::*;
    const OP: &str = "cast";
    match (x.dtype(), to) {
        (from, _) if from == to => Ok(x.clone()),
        (Bool | U8, F32) => map(OP, cx, x, |v: u8| v as f32),
        (I8, F32) => map(OP, cx, x, |v: i8| v as f32),
        (I32, F32) => map(OP, cx, x, |v: i32| v as f32),
        (I64, F32) => map(OP, cx, x, |v: i64| v as f32),
        (F64, F32) => map(OP, cx, x, |v: f64| v as f32),
        (F16, F32) => map(OP, cx, x, f16::to_f32),
        (BF16, F32) => map(OP, cx, x, bf16::to_f32),
        (F32, F64) => map(OP, cx, x, |v: f32| v as f64),
        (F32, F16) => map(OP, cx, x, f16::from_f32),
        (F32, BF16) => map(OP, cx, x, bf16::from_f32),
        (F32, I64) => map(OP, cx, x, |v: f32| v as i64),
        (F32, I32) => map(OP, cx, x, |v: f32| v as i32),
        (I32, I64) => map(OP, cx, x, |v: i32| v as i64),
        (I64, I32) => map(OP, cx, x, |v: i64| v as i32),
        _ => from_scalars(OP, cx, scalars(x).into_iter().map(|v| eval::cast(v, to))),
    }
}
