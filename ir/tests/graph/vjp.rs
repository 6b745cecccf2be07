//! Which operators still lack a differentiation rule.

use fornax_ir::graph::ops::*;
use fornax_ir::graph::{Op, RegionId};
use fornax_ir::scalar::{BinaryOp, CompareOp, ReduceOp, UnaryOp};
use fornax_ir::{DType, Dim};

/// One operator of every kind and scalar operator.
fn all() -> Vec<Op> {
    let one = || vec![Dim::ONE];
    let mut ops: Vec<Op> = vec![
        InputRef(0).into(),
        fornax_ir::graph::ConstId(0).into(),
        Iota { dtype: DType::F32, shape: one(), axis: 0 }.into(),
        Dims { dims: one(), scalar: false }.into(),
        Reshape { shape: one() }.into(),
        Permute { perm: vec![0] }.into(),
        Broadcast { shape: one(), axes: vec![0] }.into(),
        Slice { start: one(), size: one(), step: vec![1] }.into(),
        Pad { lo: one(), hi: one() }.into(),
        Concat { axis: 0 }.into(),
        Pack { perm: vec![0], width: 4 }.into(),
        WinogradInput { tile: 2, lo: vec![0, 0], tiles: vec![Dim::ONE, Dim::ONE] }.into(),
        WinogradWeights { tile: 2, width: 4 }.into(),
        WinogradOutput { tile: 2, size: vec![Dim::ONE, Dim::ONE] }.into(),
        Select.into(),
        Cast(DType::F32).into(),
        Bitcast(DType::I32).into(),
        DotGeneral { batch: vec![], contract: vec![] }.into(),
        Conv { strides: vec![], pads: vec![], dilations: vec![], groups: 1 }.into(),
        ReduceWindow { op: ReduceOp::Sum, window: vec![], strides: vec![], pads: vec![], dilations: vec![] }
            .into(),
        Gather { axes: vec![0] }.into(),
        Cumulative { op: ReduceOp::Sum, axis: 0, exclusive: false, reverse: false }.into(),
        Scatter { update: Update::Add, axes: vec![0], each: false }.into(),
        Sort { of: Sorted::Values, axis: 0, descending: false, count: Dim::ONE }.into(),
        Cond { then: RegionId(0), otherwise: RegionId(0) }.into(),
        While { cond: RegionId(0), body: RegionId(0), carried: 1 }.into(),
        Scan { body: RegionId(0), carried: 1, xs: 0, length: Dim::ONE, reverse: false }.into(),
        Proj(0).into(),
    ];
    ops.extend(UnaryOp::ALL.iter().map(|&o| Op::from(Unary(o))));
    ops.extend(BinaryOp::ALL.iter().map(|&o| Op::from(Binary(o))));
    ops.extend(CompareOp::ALL.iter().map(|&o| Op::from(Compare(o))));
    ops.extend(ReduceOp::ALL.iter().map(|&op| Op::from(Reduce { op, axes: vec![0] })));
    ops
}

#[test]
fn rules_that_are_due() {
    let mut kinds: Vec<OpKind> = all().iter().map(Op::kind).collect();
    kinds.dedup();
    kinds.sort();
    kinds.dedup();
    assert_eq!(kinds.len(), TABLE.len(), "every operator is looked at");
    let due: Vec<String> = all()
        .iter()
        .filter(|o| o.meaning().vjp() == Vjp::NotYet)
        .map(|o| match o {
            Op::Reduce(r) => format!("reduce {}", r.op),
            o => o.name().to_string(),
        })
        .collect();
    let want = "reshape permute broadcast slice pad concat select cast dot conv reduce_window gather cumulative scatter sort cond scan proj \
                neg abs exp log sqrt sin cos tanh erf atan add sub mul div rem pow min max";
    let mut want: Vec<String> = want.split_whitespace().map(String::from).collect();
    want.extend(["sum", "prod", "max", "min"].map(|r| format!("reduce {r}")));
    assert_eq!(due, want);
}

#[test]
fn what_has_no_derivative_says_so() {
    assert_eq!(Op::from(Cast(DType::I32)).meaning().vjp(), Vjp::Zero);
    assert_eq!(Op::from(Unary(UnaryOp::Floor)).meaning().vjp(), Vjp::Zero);
    assert!(matches!(Op::from(Bitcast(DType::I32)).meaning().vjp(), Vjp::NotDifferentiable(_)));
}
