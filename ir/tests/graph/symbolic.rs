//! Shape arithmetic is known while building.

use super::{dim, dims, eval, i64s, lit, ty};
use fornax_ir::graph::ops::*;
use fornax_ir::graph::{Builder, Op, ValueId};
use fornax_ir::scalar::{BinaryOp, CompareOp, ReduceOp, Scalar, UnaryOp};
use fornax_ir::{DType, Dim};
use proptest::prelude::*;

/// The extents of an f32 input, as an i64 tensor.
fn shape_of(b: &mut Builder, extents: &str) -> ValueId {
    let x = b.input("x", ty(&format!("f32 {extents}")));
    let shape = b.shape(x).to_vec();
    b.dims(shape, false).unwrap()
}

fn known(b: &Builder, v: ValueId) -> Option<Vec<Dim>> {
    b.sym(v).map(|s| s.elems.clone())
}

fn vector(b: &mut Builder, v: &[i64]) -> ValueId {
    b.constant("", lit(&[v.len()], v))
}

#[test]
fn a_chain_from_shape_to_reshape_is_followed() {
    let mut b = Builder::new("t");
    let x = b.input("x", ty("f32 n 4 h w"));
    let shape = b.dims(dims("n 4 h w"), false).unwrap();
    // [n, 4 * h, -1] with the last computed as elements / (n * 4 * h)
    let index = vector(&mut b, &[0]);
    let n = b.add(Gather { axes: vec![0] }, &[shape, index]).unwrap();
    let ch = b.add(Slice { start: dims("1"), size: dims("2"), step: vec![1] }, &[shape]).unwrap();
    let ch = b.reduce(ReduceOp::Prod, ch, &[0]).unwrap();
    let all = b.reduce(ReduceOp::Prod, shape, &[0]).unwrap();
    let n0 = b.reshape(n, vec![]).unwrap();
    let front = b.binary(BinaryOp::Mul, n0, ch).unwrap();
    let rest = b.binary(BinaryOp::Div, all, front).unwrap();
    let (ch, rest) = (b.reshape(ch, dims("1")).unwrap(), b.reshape(rest, dims("1")).unwrap());
    let target = b.add(Concat { axis: 0 }, &[n, ch, rest]).unwrap();
    assert_eq!(known(&b, target), Some(dims("n 4*h w")));
    let target = known(&b, target).unwrap();
    let y = b.reshape(x, target).unwrap();
    assert_eq!(b.ty(y), &ty("f32 n 4*h w"));
    assert_eq!(b.finish().guards, vec![]);
}

#[test]
fn elementwise_operators_on_extents() {
    let bin = |op| Op::from(Binary(op));
    let cmp = |op| Op::from(Compare(op));
    // x = [n, 3]; the second operand is constant.
    let table: Vec<(Op, [i64; 2], Option<&str>)> = vec![
        (bin(BinaryOp::Add), [1, 2], Some("n+1 5")),
        (bin(BinaryOp::Sub), [1, 5], Some("n-1 -2")),
        (bin(BinaryOp::Mul), [2, -1], Some("2*n -3")),
        (bin(BinaryOp::Div), [2, 2], Some("floordiv(n,2) 1")),
        (bin(BinaryOp::Div), [-2, -2], Some("-floordiv(n,2) -1")),
        (bin(BinaryOp::Div), [0, 0], Some("0 0")),
        (bin(BinaryOp::Rem), [2, 2], Some("rem(n,2) 1")),
        (bin(BinaryOp::Min), [8, 2], Some("min(n,8) 2")),
        (bin(BinaryOp::Max), [1, 8], Some("max(n,1) 8")),
        (bin(BinaryOp::Pow), [2, 2], None),
        (cmp(CompareOp::Eq), [-1, 3], Some("0 1")),
        (cmp(CompareOp::Ne), [-1, 3], Some("1 0")),
        (cmp(CompareOp::Ge), [0, 3], Some("1 1")),
        (cmp(CompareOp::Lt), [0, 4], Some("0 1")),
        (cmp(CompareOp::Gt), [-1, 3], Some("1 0")),
        (cmp(CompareOp::Le), [-1, 3], Some("0 1")),
        (cmp(CompareOp::Eq), [1, 3], None),
    ];
    for (op, other, want) in table {
        let mut b = Builder::new("t");
        let (x, c) = (shape_of(&mut b, "n 3"), vector(&mut b, &other));
        let y = b.add(op.clone(), &[x, c]).unwrap();
        assert_eq!(known(&b, y), want.map(dims), "{op:?} {other:?}");
    }
}

#[test]
fn unary_operators_casts_and_selects_on_extents() {
    let mut b = Builder::new("t");
    let x = shape_of(&mut b, "n 3");
    let minus = b.unary(UnaryOp::Neg, x).unwrap();
    assert_eq!(known(&b, minus), Some(dims("-n -3")));
    let abs = b.unary(UnaryOp::Abs, minus).unwrap();
    assert_eq!(known(&b, abs), Some(dims("max(-n,n) 3")));
    let narrow = b.cast(x, DType::I32).unwrap();
    let back = b.cast(narrow, DType::I64).unwrap();
    assert_eq!(known(&b, back), Some(dims("n 3")));
    let bytes = b.cast(x, DType::U8).unwrap();
    assert_eq!(known(&b, bytes), None, "an expression may not fit a byte");
    let float = b.cast(x, DType::F32).unwrap();
    assert_eq!(known(&b, float), None);
    let minus_one = b.scalar(Scalar::i64(-1));
    let placeholder = b.compare(CompareOp::Eq, x, minus_one).unwrap();
    let picked = b.select(placeholder, minus_one, x).unwrap();
    assert_eq!(known(&b, picked), Some(dims("n 3")));
}

#[test]
fn views_and_indices_move_extents() {
    let mut b = Builder::new("t");
    let x = shape_of(&mut b, "a b c d");
    let reversed = b.reverse(x, 0).unwrap();
    assert_eq!(known(&b, reversed), Some(dims("d c b a")));
    let square = b.reshape(x, dims("2 2")).unwrap();
    let turned = b.permute(square, &[1, 0]).unwrap();
    assert_eq!(known(&b, turned), Some(dims("a c b d")));
    let padded = b.pad_zeros(x, &[(Dim::ONE, Dim::ZERO)]).unwrap();
    assert_eq!(known(&b, padded), Some(dims("0 a b c d")));
    let twice = b.broadcast_to(x, &dims("2 4")).unwrap();
    assert_eq!(known(&b, twice), Some(dims("a b c d a b c d")));
    let ends = vector(&mut b, &[-1, 0]);
    let ends = b.add(Gather { axes: vec![0] }, &[x, ends]).unwrap();
    assert_eq!(known(&b, ends), Some(dims("d a")));
    let outside = vector(&mut b, &[4]);
    let outside = b.add(Gather { axes: vec![0] }, &[x, outside]).unwrap();
    assert_eq!(known(&b, outside), None, "an index error is left to run time");
    let sums = b.reduce(ReduceOp::Sum, square, &[0]).unwrap();
    assert_eq!(known(&b, sums), Some(dims("a+c b+d")));
    let least = b.reduce(ReduceOp::Min, square, &[1]).unwrap();
    assert_eq!(known(&b, least), Some(dims("min(a,b) min(c,d)")));
    let empty = b.slice_axis(x, 0, dim("0"), dim("0")).unwrap();
    let product = b.reduce(ReduceOp::Prod, empty, &[0]).unwrap();
    assert_eq!(known(&b, product), Some(dims("1")));
    let count = b.add(Iota { dtype: DType::I64, shape: dims("2 3"), axis: 1 }, &[]).unwrap();
    assert_eq!(known(&b, count), Some(dims("0 1 2 0 1 2")));
}

proptest! {
    /// What is known symbolically is what evaluation gives.
    #[test]
    fn symbolic_values_are_the_evaluated_ones(
        n in 0i64..6, m in 0i64..6, op in 0usize..9, other in prop::collection::vec(-4i64..5, 3),
    ) {
        let op = [
            BinaryOp::Add, BinaryOp::Sub, BinaryOp::Mul, BinaryOp::Div, BinaryOp::Rem,
            BinaryOp::Min, BinaryOp::Max, BinaryOp::Pow, BinaryOp::Shl,
        ][op];
        let mut b = Builder::new("t");
        let x = shape_of(&mut b, "n m 3");
        let c = vector(&mut b, &other);
        let y = b.binary(op, x, c).unwrap();
        let z = b.unary(UnaryOp::Sign, y).unwrap();
        let bind = |s: &str| Some(if s == "n" { n } else { m });
        let at_run_time = eval(&[lit(&[3], &[n, m, 3]), lit(&[3], &other)], |b, v| b.binary(op, v[0], v[1]));
        for v in [y, z] {
            let Some(sym) = known(&b, v) else { continue };
            let got: Vec<i64> = sym.iter().map(|d| d.eval_symbols(&bind).unwrap()).collect();
            let want = i64s(&at_run_time);
            let want = if v == y { want } else { want.iter().map(|v| v.signum()).collect() };
            prop_assert_eq!(got, want);
        }
    }
}
