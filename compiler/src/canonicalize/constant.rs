//! What is known about values made of constants.

use super::CanonicalizeOptions;
use fornax_ir::dtype::DType;
use fornax_ir::graph::ops::{Cast, EvalCx};
use fornax_ir::graph::{Graph, Op, TensorType, ValueId};
use fornax_ir::literal::Literal;
use fornax_ir::scalar::{BinaryOp, Scalar, UnaryOp};
use std::cell::Cell;

/// Views looked through, at most.
const MAX_DEPTH: usize = 16;

/// One element of a literal.
pub(crate) fn element(l: &Literal, i: usize) -> Scalar {
    let n = l.dtype().bytes();
    let mut word = [0u8; 8];
    let bytes = &l.bytes()[i * n..][..n];
    let bits = if cfg!(target_endian = "big") {
        word[8 - n..].copy_from_slice(bytes);
        u64::from_be_bytes(word)
    } else {
        word[..n].copy_from_slice(bytes);
        u64::from_le_bytes(word)
    };
    Scalar::new(l.dtype(), bits)
}

/// The rank-0 literal of a scalar.
pub(crate) fn scalar_literal(s: Scalar) -> Literal {
    let n = s.dtype.bytes();
    let all = s.bits.to_le_bytes();
    let mut part = all[..n].to_vec();
    if cfg!(target_endian = "big") {
        part.reverse();
    }
    Literal::from_bytes(s.dtype, &[], part.into()).expect("one element")
}

/// The value of all elements, if they are equal bit for bit and there is one at least.
pub(crate) fn uniform_literal(l: &Literal) -> Option<Scalar> {
    let n = l.dtype().bytes();
    let bytes = l.bytes();
    // Each element equals the one before it.
    let equal = !l.is_empty() && bytes[n..] == bytes[..bytes.len() - n];
    equal.then(|| element(l, 0))
}

/// The value of all elements of a constant or of a view that only repeats or moves constant elements.
pub(crate) fn uniform(g: &Graph, mut v: ValueId) -> Option<Scalar> {
    for _ in 0..MAX_DEPTH {
        let node = g.node(v);
        match &node.op {
            Op::Const(c) => {
                let l = &g.consts[c.index()].literal;
                return (l.len() == 1).then(|| element(l, 0));
            }
            Op::Broadcast(_) | Op::Reshape(_) | Op::Permute(_) => v = node.inputs[0],
            _ => return None,
        }
    }
    None
}

/// Whether a value is a constant or a broadcast one.
pub(crate) fn is_constant(g: &Graph, v: ValueId) -> bool {
    let node = g.node(v);
    match node.op {
        Op::Const(_) => true,
        Op::Broadcast(_) => matches!(g.node(node.inputs[0]).op, Op::Const(_)),
        _ => false,
    }
}

/// Bytes from which a constant counts as large.
pub(super) const LARGE: usize = 256 << 10;

/// The result of an operator on concrete operands; `None` where it depends on symbols, reads out of
/// range or cannot be computed. Pages of a file that large operands are in go back to the system: most often the
/// result takes their place, and who reads them again finds them.
pub(crate) fn evaluate(op: &Op, ty: &TensorType, operands: &[&Literal]) -> Option<Literal> {
    let shape = ty.const_shape()?;
    let index_error = Cell::new(false);
    let cx = EvalCx {
        args: &[],
        consts: &[],
        symbol: &|_| None,
        dtype: ty.dtype,
        shape: &shape,
        index_error: &index_error,
    };
    let out = op.meaning().eval(&cx, operands).ok()?;
    operands.iter().filter(|l| l.bytes().len() >= LARGE).for_each(|l| fornax_ir::file::release(l.bytes()));
    (!index_error.get()).then_some(out)
}

/// As [`evaluate`]; under [`CanonicalizeOptions::estimate`] a large result is any constant of that type whose elements
/// are not all equal.
pub(crate) fn folded(
    options: &CanonicalizeOptions,
    op: &Op,
    ty: &TensorType,
    operands: &[&Literal],
) -> Option<Literal> {
    let shape = ty.const_shape()?;
    let bytes = shape.iter().try_fold(ty.dtype.bytes(), |n, &d| n.checked_mul(d))?;
    if !options.estimate || bytes < LARGE {
        return evaluate(op, ty, operands);
    }
    let mut any = vec![0u8; bytes];
    any[0] = 1;
    Literal::from_bytes(ty.dtype, &shape, any.into()).ok()
}

/// f64 values rounded once to a dtype.
pub(crate) fn rounded(dtype: DType, shape: &[usize], values: Vec<f64>) -> Option<Literal> {
    let wide = Literal::from_vec(shape, values).ok()?;
    if dtype == DType::F64 {
        return Some(wide);
    }
    let dims: Vec<_> = shape.iter().map(|&n| (n as i64).into()).collect();
    evaluate(&Op::from(Cast(dtype)), &TensorType::new(dtype, dims), &[&wide])
}

/// A constant that varies along one axis at most.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct AxisConstant {
    /// The axis; `None` if all elements are equal.
    pub(crate) axis: Option<usize>,
    /// One value, or one for each place along the axis.
    pub(crate) values: Vec<f64>,
}

/// Reads a value made of a constant by views as one that varies along one axis at most. The
/// constant itself must have one extent that is not 1 at most.
pub(crate) fn axis_constant(g: &Graph, v: ValueId) -> Option<AxisConstant> {
    // The views from the outside in, then the axis from the inside out.
    let mut views = vec![];
    let mut at = v;
    while views.len() < MAX_DEPTH
        && matches!(g.node(at).op, Op::Broadcast(_) | Op::Reshape(_) | Op::Permute(_))
    {
        views.push(at);
        at = g.node(at).inputs[0];
    }
    let l = g.literal(at)?;
    let mut wide = (0..l.shape().len()).filter(|&k| l.shape()[k] != 1);
    let mut axis = wide.next();
    if wide.next().is_some() || l.is_empty() {
        return None;
    }
    for &view in views.iter().rev() {
        let node = g.node(view);
        axis = match (&node.op, axis) {
            (_, None) => None,
            (Op::Broadcast(b), Some(k)) => Some(b.axes[k] as usize),
            (Op::Permute(p), Some(k)) => Some(p.perm.iter().position(|&x| x as usize == k)?),
            // The element count does not change, so that the one extent that is not 1 is the axis.
            (_, Some(_)) => {
                let repeated =
                    views.iter().any(|&w| matches!(g.node(w).op, Op::Broadcast(_)) && w > at && w < view);
                let mut wide = (0..node.ty.rank()).filter(|&k| !node.ty.shape[k].is_const(1));
                let k = wide.next()?;
                if repeated || wide.next().is_some() {
                    return None;
                }
                Some(k)
            }
        };
    }
    let values = (0..l.len()).map(|i| l.get_f64(i)).collect();
    Some(AxisConstant { axis, values })
}

/// A bound of the absolute values of a value made of constants; `None` if there is none, or if an
/// element may be infinite or NaN.
pub(crate) fn magnitude(g: &Graph, v: ValueId) -> Option<f64> {
    magnitude_below(g, v, MAX_DEPTH)
}

fn magnitude_below(g: &Graph, v: ValueId, depth: usize) -> Option<f64> {
    let node = g.node(v);
    let operand = |k: usize| magnitude_below(g, node.inputs[k], depth.checked_sub(1)?);
    let bound = match &node.op {
        Op::Const(c) => g.consts[c.index()].literal.magnitude()?,
        Op::Reshape(_) | Op::Permute(_) | Op::Broadcast(_) | Op::Slice(_) => operand(0)?,
        Op::Cast(c) if c.0.is_float() => operand(0)?,
        Op::Unary(u) if matches!(u.0, UnaryOp::Neg | UnaryOp::Abs) => operand(0)?,
        Op::Binary(b) if node.ty.dtype.is_float() => match b.0 {
            BinaryOp::Mul => operand(0)? * operand(1)?,
            BinaryOp::Add | BinaryOp::Sub => operand(0)? + operand(1)?,
            _ => return None,
        },
        _ => return None,
    };
    let most = match node.ty.dtype {
        DType::F16 => 65504.0,
        DType::F32 | DType::BF16 => f64::from(f32::MAX),
        _ => f64::MAX,
    };
    // Half of the range leaves room for every rounding on the way.
    (bound <= most / 2.0).then_some(bound)
}
