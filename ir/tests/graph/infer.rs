//! Result types and messages of inference, as tables.

use super::{dim, dims, graph, ty};
use fornax_ir::graph::ops::*;
use fornax_ir::graph::{GuardKind, Op};
use fornax_ir::scalar::{BinaryOp, CompareOp, ReduceOp, UnaryOp};
use fornax_ir::{DType, Dim};

fn reshape(shape: &str) -> Op {
    Reshape { shape: dims(shape) }.into()
}
fn permute(perm: &[u32]) -> Op {
    Permute { perm: perm.to_vec() }.into()
}
fn broadcast(shape: &str, axes: &[u32]) -> Op {
    Broadcast { shape: dims(shape), axes: axes.to_vec() }.into()
}
fn slice(start: &str, size: &str, step: &[i64]) -> Op {
    Slice { start: dims(start), size: dims(size), step: step.to_vec() }.into()
}
fn pad(lo: &str, hi: &str) -> Op {
    Pad { lo: dims(lo), hi: dims(hi) }.into()
}
fn concat(axis: u32) -> Op {
    Concat { axis }.into()
}
fn reduce(op: ReduceOp, axes: &[u32]) -> Op {
    Reduce { op, axes: axes.to_vec() }.into()
}
fn dot(batch: &[(u32, u32)], contract: &[(u32, u32)]) -> Op {
    DotGeneral { batch: batch.to_vec(), contract: contract.to_vec() }.into()
}
fn conv(strides: &[i64], pads: &[(i64, i64)], dilations: &[i64], groups: i64) -> Op {
    let pads = pads.iter().map(|&(a, b)| (Dim::constant(a), Dim::constant(b))).collect();
    Conv { strides: strides.to_vec(), pads, dilations: dilations.to_vec(), groups }.into()
}
fn window(window: &[i64], strides: &[i64]) -> Op {
    let n = window.len();
    ReduceWindow {
        op: ReduceOp::Max,
        window: window.to_vec(),
        strides: strides.to_vec(),
        pads: vec![(Dim::ZERO, Dim::ZERO); n],
        dilations: vec![1; n],
    }
    .into()
}
fn gather(axes: &[u32]) -> Op {
    Gather { axes: axes.to_vec() }.into()
}
fn iota(shape: &str, axis: u32, dtype: DType) -> Op {
    Iota { dtype, shape: dims(shape), axis }.into()
}

#[test]
fn result_types_and_guards() {
    // (operator, operand types, result type, guards)
    let table: Vec<(Op, &[&str], &str, usize)> = vec![
        (reshape("6"), &["f32 2 3"], "f32 6", 0),
        (reshape("n 3*c"), &["f32 n c 3"], "f32 n 3*c", 0),
        (reshape("0 5"), &["f32 7 0"], "f32 0 5", 0),
        (reshape("n"), &["f32 m"], "f32 n", 1),
        (reshape("floordiv(n*4,2) 2"), &["f32 n 4"], "f32 2*n 2", 0),
        (permute(&[2, 0, 1]), &["i8 a b c"], "i8 c a b", 0),
        (broadcast("4 n 3", &[1, 2]), &["f32 1 3"], "f32 4 n 3", 0),
        (broadcast("4 n", &[1]), &["f32 m"], "f32 4 m", 1),
        (slice("1", "n-1", &[1]), &["f32 n"], "f32 n-1", 1),
        (slice("0 0", "n 1", &[1, 1]), &["f32 n 5"], "f32 n 1", 0),
        (slice("0", "ceildiv(n,2)", &[2]), &["f32 n"], "f32 ceildiv(n,2)", 0),
        (slice("n-1", "n", &[-1]), &["f32 n"], "f32 n", 0),
        (slice("9", "0", &[1]), &["f32 4"], "f32 0", 0),
        (pad("1 0", "n 2"), &["f32 3 4", "f32"], "f32 n+4 6", 0),
        (concat(1), &["f32 n 2", "f32 n m", "f32 n 1"], "f32 n m+3", 0),
        (concat(0), &["f32 2 n", "f32 2 4"], "f32 4 4", 1),
        (Unary(UnaryOp::IsNan).into(), &["f16 n"], "bool n", 0),
        (Binary(BinaryOp::Max).into(), &["bool 2", "bool 2"], "bool 2", 0),
        (Compare(CompareOp::Lt).into(), &["u8 n", "u8 3"], "bool 3", 1),
        (Select.into(), &["bool 2", "f64 2", "f64 2"], "f64 2", 0),
        (Cast(DType::BF16).into(), &["bool n"], "bf16 n", 0),
        (Bitcast(DType::U32).into(), &["f32 n"], "u32 n", 0),
        (reduce(ReduceOp::Sum, &[0, 2]), &["f32 a b c"], "f32 b", 0),
        (dot(&[(0, 0)], &[(2, 1)]), &["f32 b m k", "f32 b k n"], "f32 b m n", 0),
        (dot(&[], &[(1, 0)]), &["i8 2 3", "i8 3 4"], "i8 2 4", 0),
        (dot(&[], &[]), &["f32 a", "f32 b"], "f32 a b", 0),
        (
            conv(&[2, 2], &[(1, 1), (1, 1)], &[1, 1], 1),
            &["f32 n 3 224 224", "f32 8 3 3 3"],
            "f32 n 8 112 112",
            0,
        ),
        (conv(&[1], &[(0, 0)], &[2], 4), &["f32 1 4 10", "f32 8 1 3"], "f32 1 8 6", 0),
        (conv(&[1], &[(1, 1)], &[1], 1), &["f32 1 4 t", "f32 8 4 3"], "f32 1 8 t", 1),
        (window(&[2, 2], &[2, 2]), &["f32 n 3 8 9"], "f32 n 3 4 4", 0),
        (gather(&[1]), &["f32 a b c", "i64 4 5"], "f32 a 4 5 c", 0),
        (gather(&[0, 2]), &["f32 a b c", "i32 k", "i32 k"], "f32 k b", 0),
        (iota("n 4", 1, DType::I32), &[], "i32 n 4", 0),
        (Dims { dims: dims("n 2*n"), scalar: false }.into(), &[], "i64 2", 0),
        (Dims { dims: dims("n"), scalar: true }.into(), &[], "i64", 0),
    ];
    for (op, inputs, want, guards) in table {
        let types: Vec<_> = inputs.iter().map(|t| ty(t)).collect();
        let g = graph(&types, |b, v| b.add(op.clone(), v)).unwrap_or_else(|e| panic!("{op:?}: {e}"));
        assert_eq!(g.ty(g.outputs[0].value), &ty(want), "{op:?}");
        assert_eq!(g.guards.len(), guards, "{op:?}: {:?}", g.guards);
    }
}

#[test]
fn messages_say_what_was_wrong() {
    let neg = |op| Op::from(Unary(op));
    let table: Vec<(Op, &[&str], &str)> = vec![
        (
            reshape("4 2"),
            &["f32 2 3"],
            "reshape: f32[2, 3] and [4, 2] must have equally many elements: 6 is not 8",
        ),
        (reshape("-3 -2"), &["f32 2 3"], "must not be negative"),
        (reshape("4611686018427387904 4"), &["f32 n"], "more bytes than memory can hold"),
        (permute(&[0, 0]), &["f32 2 3"], "permute: [0, 0] is no permutation of the 2 axes of f32[2, 3]"),
        (broadcast("2 3", &[1]), &["f32 4"], "must be 1 or equal to axis 1 of f32[2, 3]: 4 is not 3"),
        (broadcast("2 3", &[1, 0]), &["f32 3 2"], "axes must ascend"),
        (broadcast("2", &[0]), &["f32 3 2"], "axes needs 2 entries"),
        (slice("1", "4", &[1]), &["f32 4"], "must exist on axis 0 of f32[4]: 5 is more than 4"),
        (slice("0", "2", &[-1]), &["f32 4"], "must exist on axis 0"),
        (slice("0", "2", &[0]), &["f32 4"], "step must not be 0"),
        (slice("0 0", "1 1", &[1]), &["f32 4 4"], "step needs 2 entries"),
        (pad("1", "-1"), &["f32 4", "f32"], "pad: padding after axis 0 must not be negative"),
        (pad("1", "1"), &["f32 4", "f64"], "one dtype, but are f32[4] and f64[]"),
        (pad("1", "1"), &["f32 4", "f32 1"], "must have rank 0, but is f32[1]"),
        (concat(2), &["f32 4 1"], "axis 2 is out of range"),
        (
            concat(0),
            &["f32 4 1", "f32 4 2"],
            "axis 1 of operand 0 (f32[4, 1]) and operand 1 (f32[4, 2]): 1 is not 2",
        ),
        (concat(0), &["f32 4", "i8 4"], "operand 1 is i8[4], but operand 0 is f32[4]"),
        (concat(0), &["f32 4", "f32 4 1"], "ranks must be equal"),
        (neg(UnaryOp::Neg), &["bool 4"], "neg: cannot take bool[4]; it takes i8, u8"),
        (neg(UnaryOp::Exp), &["i32 4"], "exp: cannot take i32[4]; it takes f16, bf16, f32, f64"),
        (neg(UnaryOp::Not), &["f32 4"], "not: cannot take"),
        (Binary(BinaryOp::Add).into(), &["f32 4", "f64 4"], "add: operands must have one dtype"),
        (
            Binary(BinaryOp::Add).into(),
            &["f32 4", "f32 5"],
            "add: operands f32[4] and f32[5] must have one shape, axis 0: 4 is not 5",
        ),
        (Binary(BinaryOp::Add).into(), &["f32 4", "f32"], "broadcast them first"),
        (Binary(BinaryOp::And).into(), &["f32 4", "f32 4"], "and: cannot take f32[4]; it takes bool"),
        (Compare(CompareOp::Eq).into(), &["f32 4", "i32 4"], "eq: operands must have one dtype"),
        (Select.into(), &["f32 4", "f32 4", "f32 4"], "the condition must be bool, but is f32[4]"),
        (
            Bitcast(DType::F64).into(),
            &["f32 4"],
            "bitcast: the bits of f32[4] cannot be taken as f64, only as i32, u32, f32",
        ),
        (reduce(ReduceOp::Sum, &[1]), &["f32 4"], "axis 1 is out of range: f32[4] has 1 axes"),
        (reduce(ReduceOp::Sum, &[0, 0]), &["f32 4"], "without repetition"),
        (reduce(ReduceOp::Prod, &[0]), &["bool 4"], "prod is not defined for bool[4]"),
        (
            dot(&[], &[(1, 0)]),
            &["f32 2 3", "f32 4 5"],
            "contracted axes 1 of f32[2, 3] and 0 of f32[4, 5] must have one extent: 3 is not 4",
        ),
        (
            dot(&[(0, 0)], &[(0, 1)]),
            &["f32 2 3", "f32 2 3"],
            "axis 0 of the left operand f32[2, 3] is listed twice",
        ),
        (dot(&[], &[(0, 7)]), &["f32 2", "f32 2"], "axis 7 of the right operand is out of range"),
        (dot(&[], &[(0, 0)]), &["bool 2", "bool 2"], "not bool[2]"),
        (
            conv(&[1], &[(0, 0)], &[1], 1),
            &["f32 1 3 8", "f32 4 2 3"],
            "must be groups (1) times axis 1 of w (f32[4, 2, 3]): 3 is not 2",
        ),
        (conv(&[1], &[(0, 0)], &[1], 3), &["f32 1 3 8", "f32 4 1 3"], "groups (3) must divide axis 0"),
        (conv(&[1], &[(0, 0)], &[1], 0), &["f32 1 3 8", "f32 4 1 3"], "groups must be at least 1"),
        (
            conv(&[0], &[(0, 0)], &[1], 1),
            &["f32 1 3 8", "f32 4 3 3"],
            "stride and dilation must be at least 1",
        ),
        (
            conv(&[1], &[(0, 0)], &[4], 1),
            &["f32 1 3 8", "f32 4 3 3"],
            "the window must fit the padded extent of axis 2: 9 is more than 8",
        ),
        (conv(&[1, 1], &[(0, 0)], &[1], 1), &["f32 1 3 8", "f32 4 3 3"], "strides needs 1 entries"),
        (conv(&[], &[], &[], 1), &["f32 3", "f32 4"], "of one rank, but they are f32[3] and f32[4]"),
        (window(&[3, 3], &[1, 1]), &["f32 5"], "a window of 2 axes cannot slide over f32[5]"),
        (window(&[0], &[1]), &["f32 5"], "must be positive"),
        (gather(&[0]), &["f32 5", "f32 2"], "operand 1 must hold integer indices, but is f32[2]"),
        (gather(&[0]), &["f32 5", "i32 2", "i32 2"], "1 axes need as many index tensors, not 2"),
        (gather(&[0, 1]), &["f32 5 5", "i32 2", "i64 2"], "index operands must have one dtype"),
        (gather(&[1]), &["f32 5", "i32 2"], "axis 1 is out of range"),
        (iota("3", 1, DType::I32), &[], "axis 1 is out of range for 1 axes"),
        (iota("3", 0, DType::Bool), &[], "not bool"),
        (Dims { dims: dims("1 2"), scalar: true }.into(), &[], "rank 0 holds exactly one element, not 2"),
        (Select.into(), &["bool 2"], "select takes 3 operands, not 1"),
        (concat(0), &[], "concat takes 1 or more operands, not 0"),
    ];
    for (op, inputs, want) in table {
        let types: Vec<_> = inputs.iter().map(|t| ty(t)).collect();
        let e = graph(&types, |b, v| b.add(op.clone(), v)).expect_err(&format!("{op:?}"));
        assert!(e.to_string().contains(want), "{op:?}: `{e}` lacks `{want}`");
    }
}

#[test]
fn declared_ranges_prove_what_else_needs_a_guard() {
    let build = |lo: i64| {
        let mut b = fornax_ir::graph::Builder::new("t");
        b.set_range("n", lo, Some(64));
        let x = b.input("x", ty("f32 n"));
        b.add(slice("2", "n-2", &[1]), &[x]).map(|_| b.finish().guards)
    };
    assert_eq!(build(2), Ok(vec![]));
    let guards = build(0).unwrap();
    assert_eq!((guards[0].kind, &guards[0].lhs, &guards[0].rhs), (GuardKind::Le, &Dim::ZERO, &dim("n-2")));
}

#[test]
fn a_refused_operator_leaves_no_guard() {
    let mut b = fornax_ir::graph::Builder::new("t");
    let (x, y) = (b.input("x", ty("f32 n 3")), b.input("y", ty("f32 m 4")));
    assert!(b.add(Binary(BinaryOp::Add), &[x, y]).is_err());
    assert_eq!(b.finish().guards, vec![]);
}
