//! Rules that replace computations by their results.
//!
//! Stored weights never grow beyond the budget: a result is stored only if it is no larger than the
//! constants that go with it, or within [`super::CanonicalizeOptions::fold_budget`]. So an int8 weight
//! stays int8 under its dequantisation, and a broadcast constant is not spread out.

use super::CanonicalizeOptions;
use super::constant::{evaluate, folded, is_constant, uniform, uniform_literal};
use super::rebuild::Rebuild;
use super::simplify::{Site, Step};
use bytes::Bytes;
use fornax_ir::dim::Dim;
use fornax_ir::dtype::DType;
use fornax_ir::graph::ops::{Broadcast, Cast, Dims, OpClass, Reshape};
use fornax_ir::graph::{Op, OpKind, SymValue, TensorType, ValueId};
use fornax_ir::literal::Literal;
use fornax_ir::scalar::Scalar;
use rustc_hash::FxHashSet;

/// Bytes of the operands of a product that is folded, at most: bounds the time it takes.
const MAX_PRODUCT_BYTES: usize = 256 << 10;

/// A constant of equal elements as a broadcast scalar; `None` for all others.
pub(super) fn splat(r: &mut Rebuild<'_>, l: &Literal) -> Option<ValueId> {
    if l.len() < 2 {
        return None;
    }
    let s = uniform_literal(l)?;
    let s = r.scalar(s);
    let shape = l.shape().iter().map(|&n| Dim::from(n)).collect();
    r.add(Broadcast { shape, axes: vec![] }, &[s]).ok()
}

/// A constant in its canonical spelling.
fn stored(r: &mut Rebuild<'_>, name: &str, l: Literal) -> ValueId {
    splat(r, &l).unwrap_or_else(|| r.constant(name, l))
}

/// Small integer tensors that follow from shapes: a constant, or extents. Exact because the symbolic
/// value is the value.
pub(super) fn known_value(r: &mut Rebuild<'_>, s: &Site<'_>) -> Option<Step> {
    let sym = s.node.sym.as_ref()?;
    let ty = &s.node.ty;
    if let Some(elems) = sym.as_consts() {
        let kept = matches!(s.op, Op::Const(_) | Op::Iota(_));
        return if kept {
            None
        } else {
            Some(Step::Value(stored(r, "", integers(ty.dtype, &sym.shape, &elems)?)))
        };
    }
    if is_extents(r, s.op, s.inputs) || sym.elems.iter().any(Dim::is_poisoned) {
        return None;
    }
    extents(r, sym, ty)
}

fn is_extents(r: &Rebuild<'_>, op: &Op, inputs: &[ValueId]) -> bool {
    match op {
        Op::Dims(_) => true,
        Op::Cast(_) | Op::Reshape(_) => {
            let node = r.node(inputs[0]);
            is_extents(r, &node.op, &node.inputs)
        }
        _ => false,
    }
}

/// `cast(reshape(dims))`, as far as dtype and rank need it. The cast wraps as the integers did.
fn extents(r: &mut Rebuild<'_>, sym: &SymValue, ty: &TensorType) -> Option<Step> {
    if !ty.dtype.is_int() {
        return None;
    }
    let dims = Dims { dims: sym.elems.clone(), scalar: ty.rank() == 0 };
    if ty.dtype == DType::I64 && ty.rank() < 2 {
        return Some(Step::Node(Op::from(dims), Default::default()));
    }
    let mut v = r.add(dims, &[]).ok()?;
    if ty.dtype != DType::I64 {
        if ty.rank() < 2 {
            return Step::unary(Cast(ty.dtype), v);
        }
        v = r.add(Cast(ty.dtype), &[v]).ok()?;
    }
    Step::unary(Reshape { shape: ty.shape.clone() }, v)
}

fn integers(dtype: DType, shape: &[usize], elems: &[i64]) -> Option<Literal> {
    let n = dtype.bytes();
    let mut data = Vec::with_capacity(elems.len() * n);
    for &v in elems {
        let bits = Scalar::from_i64(dtype, v).bits;
        match cfg!(target_endian = "big") {
            true => data.extend(&bits.to_be_bytes()[8 - n..]),
            false => data.extend(&bits.to_le_bytes()[..n]),
        }
    }
    Literal::from_bytes(dtype, shape, Bytes::from(data)).ok()
}

/// Operators of constants: computed by the reference semantics. Elementwise operators of broadcast
/// constants are computed on what is broadcast.
pub(super) fn constant_operands(r: &mut Rebuild<'_>, s: &Site<'_>) -> Option<Step> {
    let panels = matches!(s.op.kind(), OpKind::Pack | OpKind::WinogradWeights);
    let foldable = !panels && !matches!(s.op.kind(), OpKind::Broadcast | OpKind::Input | OpKind::Const);
    if s.inputs.is_empty() || !foldable || !s.inputs.iter().all(|&v| is_constant(r.graph(), v)) {
        return None;
    }
    if s.op.class() == OpClass::Elementwise
        && let Some(step) = below_broadcast(r, s)
    {
        return Some(step);
    }
    let bytes = result_bytes(&s.node.ty)?;
    if bytes > s.options.fold_budget.max(freed_bytes(r, s.op, s.inputs)) {
        return None;
    }
    let limit = match s.op.kind() {
        OpKind::DotGeneral | OpKind::Conv => MAX_PRODUCT_BYTES,
        _ => usize::MAX,
    };
    let spread = s.options.fold_budget.max(bytes);
    let spread_out = |&v: &ValueId| spread_out(r, v, spread, s.options);
    let operands: Vec<Literal> = s.inputs.iter().map(spread_out).collect::<Option<_>>()?;
    if operands.iter().map(|l| l.bytes().len()).sum::<usize>() > limit {
        return None;
    }
    let l = folded(s.options, s.op, &s.node.ty, &operands.iter().collect::<Vec<_>>())?;
    let name = match (s.op.class(), &r.node(s.inputs[0]).op) {
        (OpClass::View, Op::Const(c)) => r.graph().consts[c.index()].name.clone(),
        _ => String::new(),
    };
    Some(Step::Value(stored(r, &name, l)))
}

fn result_bytes(ty: &TensorType) -> Option<usize> {
    usize::try_from(ty.bytes().as_const()?).ok()
}

/// Bytes of the constants that go when this use goes. Slices share theirs with each other.
fn freed_bytes(r: &Rebuild<'_>, op: &Op, inputs: &[ValueId]) -> usize {
    let distinct: FxHashSet<ValueId> = inputs.iter().copied().collect();
    let of = |v: &ValueId| match r.literal(*v) {
        Some(l) if r.used_once(*v) => l.bytes().len(),
        Some(l) if matches!(op, Op::Slice(_)) => l.bytes().len() / r.expected_uses(*v).max(1),
        _ => 0,
    };
    distinct.iter().map(of).sum()
}

/// The literal of a constant, or of a broadcast one up to `limit` bytes.
fn spread_out(r: &Rebuild<'_>, v: ValueId, limit: usize, options: &CanonicalizeOptions) -> Option<Literal> {
    if let Some(l) = r.literal(v) {
        return Some(l.clone());
    }
    let node = r.node(v);
    if result_bytes(&node.ty)? > limit {
        return None;
    }
    folded(options, &node.op, &node.ty, &[r.literal(node.inputs[0])?])
}

/// `f(broadcast a, broadcast b) = broadcast f(a, b)` when both are broadcast alike, or one is a
/// scalar: every element is computed from the same operands as before.
fn below_broadcast(r: &mut Rebuild<'_>, s: &Site<'_>) -> Option<Step> {
    let mut alike: Option<(Vec<u32>, Vec<Dim>)> = None;
    let mut parts = vec![];
    for &v in s.inputs {
        if let Some(scalar) = uniform(r.graph(), v) {
            parts.push(r.scalar(scalar));
            continue;
        }
        let node = r.node(v);
        let Op::Broadcast(b) = &node.op else { return None };
        let inner = node.inputs[0];
        let way = (b.axes.clone(), r.ty(inner).shape.clone());
        if *alike.get_or_insert_with(|| way.clone()) != way {
            return None;
        }
        parts.push(inner);
    }
    let (axes, shape) = alike.unwrap_or_default();
    let ty = TensorType::new(s.node.ty.dtype, shape);
    if result_bytes(&ty)? > s.options.fold_budget.max(freed_bytes(r, s.op, &parts)) {
        return None;
    }
    let mut operands = vec![];
    for v in parts {
        let l = r.literal(v)?;
        let part = TensorType::new(l.dtype(), ty.shape.clone());
        let same = l.shape().len() == ty.rank();
        operands.push(match same {
            true => l.clone(),
            false => evaluate(&Op::from(Broadcast { shape: part.shape.clone(), axes: vec![] }), &part, &[l])?,
        });
    }
    let l = folded(s.options, s.op, &ty, &operands.iter().collect::<Vec<_>>())?;
    if s.node.ty.rank() == 0 {
        return Some(Step::Value(stored(r, "", l)));
    }
    let c = stored(r, "", l);
    Step::unary(Broadcast { shape: s.node.ty.shape.clone(), axes }, c)
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    #[test]
    fn arithmetic_of_weights_folds_and_dequantisation_does_not() {
        let mut b = builder();
        let x = input(&mut b, "x", &["4"]);
        let c = b.constant("c", f32s(&[4], &[1.0, 2.0, 3.0, 4.0]));
        let d = b.unary(UnaryOp::Sqrt, c).unwrap();
        let y = b.binary(BinaryOp::Mul, x, d).unwrap();
        let w = b.constant("w", i8s(&[512, 512]));
        let wide = b.cast(w, DType::F32).unwrap();
        b.output("y", y);
        b.output("w", wide);
        let g = simplified(b);
        assert_eq!(ops(&g), ["input", "const", "mul", "const", "cast"]);
        assert_eq!(g.consts[0].literal.get_f64(3), 2.0);
        assert_eq!(g.consts[1].name, "w");
    }

    #[test]
    fn equal_elements_become_a_scalar_and_compute_as_one() {
        let mut b = builder();
        let x = input(&mut b, "x", &["n", "3"]);
        let c = b.constant("c", f32s(&[3], &[4.0; 3]));
        let c = b.unary(UnaryOp::Sqrt, c).unwrap();
        let y = b.binary(BinaryOp::Sub, x, c).unwrap();
        b.output("y", y);
        let g = simplified(b);
        assert_eq!(ops(&g), ["input", "const", "broadcast", "sub"]);
        assert_eq!(g.consts[0].literal, f32s(&[], &[2.0]));
    }

    #[test]
    fn a_weight_that_is_needed_elsewhere_is_not_stored_twice() {
        let mut b = builder();
        let x = input(&mut b, "x", &["n", "256"]);
        let ids = b.input("ids", TensorType::new(DType::I64, vec![Dim::symbol("k")]));
        let w = b.constant("w", ramp(&[128, 256]));
        let rows = b.add(fornax_ir::graph::ops::Gather { axes: vec![0] }, &[w, ids]).unwrap();
        let t = b.permute(w, &[1, 0]).unwrap();
        let y = matmul(&mut b, x, t);
        b.output("rows", rows);
        b.output("y", y);
        let g = simplified(b);
        assert_eq!(g.consts.len(), 1);
        assert!(ops(&g).contains(&"permute"));
    }

    #[test]
    fn shape_arithmetic_becomes_extents() {
        let mut b = builder();
        let x = input(&mut b, "x", &["n", "3"]);
        let n = b.dims(vec![Dim::symbol("n")], false).unwrap();
        let two = b.constant("two", Literal::from_vec(&[1], vec![2i64]).unwrap());
        let m = b.binary(BinaryOp::Mul, n, two).unwrap();
        let m = b.cast(m, DType::I32).unwrap();
        let y = b.unary(UnaryOp::Neg, x).unwrap();
        b.output("m", m);
        b.output("y", y);
        let g = simplified(b);
        assert_eq!(ops(&g), ["input", "dims", "cast", "neg"]);
        let Op::Dims(d) = &g.nodes[1].op else { panic!("{:?}", g.nodes[1]) };
        assert_eq!(d.dims, [Dim::symbol("n") * 2]);
    }
}
