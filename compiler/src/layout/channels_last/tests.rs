use super::*;
use crate::canonicalize::testing::*;
use crate::canonicalize::{CanonicalizeOptions, canonicalize};
use crate::plan::{Plan, greedy};
use fornax_ir::graph::Builder;
use fornax_ir::graph::ops::{Concat, OpClass, Reduce, ReduceWindow, Slice};
use fornax_ir::scalar::{BinaryOp, ReduceOp, UnaryOp};

/// Panels of 8.
const MACHINE: Machine = Machine::PORTABLE;

fn dims(n: &[i64]) -> Vec<(Dim, Dim)> {
    n.iter().map(|&n| (Dim::constant(n), Dim::constant(n))).collect()
}

/// A convolution with weights `[outputs, channels, kernel..]` and a bias.
fn conv(b: &mut Builder, x: ValueId, w: &[usize], stride: i64, groups: i64) -> ValueId {
    let spatial = w.len() - 2;
    let pads: Vec<i64> = w[2..].iter().map(|&k| k as i64 / 2).collect();
    let op = Conv { strides: vec![stride; spatial], pads: dims(&pads), dilations: vec![1; spatial], groups };
    // Different weights, so that none are shared.
    let n: usize = w.iter().product();
    let first = b.graph().nodes.len();
    let weights = (0..n).map(|i| ((i * 37 + first * 5) % 101) as f32 / 50.0 - 1.0).collect::<Vec<_>>();
    let weights = b.constant("w", f32s(w, &weights));
    let y = b.add(op, &[x, weights]).unwrap();
    let mut shape = vec![w[0]];
    shape.extend(vec![1; spatial]);
    let bias = b.constant("b", ramp(&shape));
    b.binary(BinaryOp::Add, y, bias).unwrap()
}

fn relu(b: &mut Builder, x: ValueId) -> ValueId {
    let zero = b.scalar_f64(fornax_ir::DType::F32, 0.0);
    b.binary(BinaryOp::Max, x, zero).unwrap()
}

fn pooled(b: &mut Builder, x: ValueId) -> ValueId {
    let op = ReduceWindow {
        op: ReduceOp::Max,
        window: vec![3, 3],
        strides: vec![2, 2],
        pads: dims(&[1, 1]),
        dilations: vec![1, 1],
    };
    b.add(op, &[x]).unwrap()
}

/// The graph laid out and its greedy plan; it computes the same bits as its canonical form.
fn laid_out(b: Builder) -> (Graph, Plan) {
    let options = CanonicalizeOptions::default();
    let old = canonicalize(b.finish(), &options).unwrap();
    let new = channels_last(&old, MACHINE, Freedom { strict: false, tiles: true }).unwrap().unwrap();
    fornax_ir::graph::verify::verify(&new).unwrap();
    assert_agree(&old, &new, 0.0);
    let plan = greedy::plan(&new);
    (new, plan)
}

/// Kernels that only move elements: what the last one of their operators is.
fn moves(g: &Graph, plan: &Plan) -> Vec<&'static str> {
    let moves = |k: &&crate::plan::Group| {
        let mut all = k.members.iter().chain([&k.root]);
        all.all(|&v| matches!(g.node(v).op.class(), OpClass::View))
    };
    plan.groups.iter().filter(moves).map(|k| g.node(k.root).op.name()).collect()
}

/// The extents of all packed weights.
fn panels(g: &Graph) -> Vec<Vec<usize>> {
    let packed = g.nodes.iter().filter(|n| matches!(n.op, Op::Pack(_)));
    packed.map(|n| n.ty.const_shape().unwrap()).collect()
}

#[test]
fn nothing_is_reordered_between_convolutions() {
    let mut b = builder();
    let x = input(&mut b, "x", &["n", "3", "16", "12"]);
    let y = conv(&mut b, x, &[8, 3, 7, 7], 2, 1);
    let y = relu(&mut b, y);
    let y = pooled(&mut b, y);
    // A residual block, one with a shortcut of its own, and a mean.
    let z = conv(&mut b, y, &[8, 8, 1, 1], 1, 1);
    let z = relu(&mut b, z);
    let z = conv(&mut b, z, &[8, 8, 1, 1], 1, 1);
    let z = b.binary(BinaryOp::Add, z, y).unwrap();
    let y = relu(&mut b, z);
    let z = conv(&mut b, y, &[16, 8, 1, 1], 2, 1);
    let s = conv(&mut b, y, &[16, 8, 1, 1], 2, 1);
    let z = b.binary(BinaryOp::Add, z, s).unwrap();
    let y = relu(&mut b, z);
    let y = b.add(Reduce { op: ReduceOp::Sum, axes: vec![2, 3] }, &[y]).unwrap();
    let w = b.constant("fc", ramp(&[16, 5]));
    let y = matmul(&mut b, y, w);
    b.output("y", y);
    let (g, plan) = laid_out(b);
    // The input, once, with its padding; the weights are views of constants.
    assert_eq!(moves(&g, &plan), ["pad"], "{}", plan.listing(&g));
    assert_eq!(plan.groups.len(), 9, "{}", plan.listing(&g));
    for k in plan.groups.iter().filter(|k| g.ty(k.root).rank() == 4) {
        let channels = g.ty(k.root).shape[3].as_const();
        assert!(matches!(channels, Some(3 | 8 | 16)), "{}", plan.listing(&g));
    }
    assert_eq!(panels(&g)[0], [1, 7, 7, 3, 8]);
    assert!(panels(&g).contains(&vec![2, 1, 1, 8, 8]));
}

#[test]
fn groups_and_channels_of_their_own_are_laid_out_too() {
    let mut b = builder();
    let x = input(&mut b, "x", &["2", "12", "5", "7"]);
    let y = conv(&mut b, x, &[24, 6, 3, 3], 1, 2);
    let y = conv(&mut b, y, &[24, 1, 3, 3], 2, 24);
    let y = conv(&mut b, y, &[16, 12, 1, 1], 1, 2);
    b.output("y", y);
    let (g, plan) = laid_out(b);
    assert_eq!(moves(&g, &plan), ["pad"], "{}", plan.listing(&g));
    assert_eq!(panels(&g), [vec![2, 3, 3, 6, 12], vec![1, 3, 3, 1, 24], vec![2, 1, 1, 12, 8]]);
}

#[test]
fn one_and_three_spatial_axes() {
    for spatial in [&["9"][..], &["4", "n", "5"]] {
        let mut b = builder();
        let shape: Vec<&str> = ["2", "4"].iter().chain(spatial).copied().collect();
        let x = input(&mut b, "x", &shape);
        let mut w = vec![8, 4];
        w.extend(vec![3; spatial.len()]);
        let y = conv(&mut b, x, &w, 1, 1);
        let y = relu(&mut b, y);
        w[1] = 8;
        let y = conv(&mut b, y, &w, 1, 1);
        b.output("y", y);
        let (g, plan) = laid_out(b);
        // Padding is written out along one axis of each operand; the result goes back once.
        assert_eq!(plan.groups.len(), 4, "{}", plan.listing(&g));
    }
}

#[test]
fn views_between_convolutions_move_with_the_channels() {
    let mut b = builder();
    let x = input(&mut b, "x", &["1", "6", "8", "8"]);
    let y = conv(&mut b, x, &[8, 6, 1, 1], 1, 1);
    let zero = b.scalar_f64(fornax_ir::DType::F32, 0.0);
    let d = |n: [i64; 4]| n.map(Dim::constant).to_vec();
    let p = b.add(Pad { lo: d([0, 2, 1, 0]), hi: d([0, 0, 0, 1]) }, &[y, zero]).unwrap();
    let s = Slice { start: d([0, 1, 0, 2]), size: d([1, 8, 8, 7]), step: vec![1, 1, 1, 1] };
    let s = b.add(s, &[p]).unwrap();
    let q = b.add(Slice { start: d([0; 4]), size: d([1, 8, 8, 7]), step: vec![1; 4] }, &[y]).unwrap();
    let c = b.add(Concat { axis: 1 }, &[s, q]).unwrap();
    let c = b.reshape(c, vec![1.into(), 16.into(), 56.into(), 1.into()]).unwrap();
    let c = b.unary(UnaryOp::Tanh, c).unwrap();
    let y = conv(&mut b, c, &[8, 16, 1, 1], 1, 1);
    let rows = b.add(Reduce { op: ReduceOp::Max, axes: vec![2] }, &[y]).unwrap();
    let depth = b.add(Reduce { op: ReduceOp::Sum, axes: vec![1] }, &[y]).unwrap();
    b.output("rows", rows);
    b.output("depth", depth);
    let (g, plan) = laid_out(b);
    assert!(
        !moves(&g, &plan).contains(&"permute") || moves(&g, &plan) == ["permute"],
        "{}",
        plan.listing(&g)
    );
}

#[test]
fn few_outputs_and_weights_that_are_no_constants_stay() {
    let mut b = builder();
    let x = input(&mut b, "x", &["1", "8", "6", "6"]);
    let w = input(&mut b, "w", &["8", "8", "1", "1"]);
    let op = Conv { strides: vec![1; 2], pads: dims(&[0, 0]), dilations: vec![1; 2], groups: 1 };
    let y = b.add(op, &[x, w]).unwrap();
    let y = conv(&mut b, y, &[2, 8, 3, 3], 1, 1);
    b.output("y", y);
    let (g, _) = laid_out(b);
    assert!(!ops(&g).contains(&"permute"));
}

#[test]
fn strict_and_infinite_weights_write_no_padding_out() {
    let graph = |infinite: bool| {
        let mut b = builder();
        let x = input(&mut b, "x", &["1", "4", "6", "6"]);
        let mut w: Vec<f32> = (0..8 * 4 * 9).map(|i| (i % 7) as f32).collect();
        w[5] = if infinite { f32::INFINITY } else { 1.0 };
        let w = b.constant("w", f32s(&[8, 4, 3, 3], &w));
        let op = Conv { strides: vec![1; 2], pads: dims(&[1, 1]), dilations: vec![1; 2], groups: 1 };
        let y = b.add(op, &[x, w]).unwrap();
        b.output("y", y);
        b.finish()
    };
    for (strict, infinite, written) in [(false, false, true), (true, false, false), (false, true, false)] {
        let options = CanonicalizeOptions { strict, ..Default::default() };
        let old = canonicalize(graph(infinite), &options).unwrap();
        let new = channels_last(&old, MACHINE, Freedom { strict, tiles: !strict }).unwrap().unwrap();
        assert_agree(&old, &new, 0.0);
        assert_eq!(ops(&new).contains(&"pad"), written, "strict {strict}, infinite {infinite}");
    }
}
