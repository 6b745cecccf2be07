//! The program of every graph here, fused and unfused, run on the kernel interpreter and as native
//! code on one thread and two, agrees with the graph interpreter.

mod support;

use fornax_compiler::codegen::{Cpu, Leaf, Target};
use fornax_compiler::{Machine, Optimizer, Options, lower};
use fornax_ir::graph::{self, Builder, Graph, TensorType, ValueId, ops, saved};
use fornax_ir::scalar::{BinaryOp, CompareOp, ReduceOp, UnaryOp};
use fornax_ir::{DType, Dim, Literal};
use support::{dims, f32s, native, native_for, noise, on_e_nodes, on_kernels};

/// The graph as it comes back when it was saved: an equal one.
fn reloaded(name: &str, g: &Graph) -> Graph {
    let mut bytes = vec![];
    saved::write(g, &saved::Weights::Inside, &mut bytes).unwrap_or_else(|e| panic!("{name}: {e}"));
    let back = saved::decode(bytes.into(), &mut |_| Err("there is no other file".into()));
    let back = back.unwrap_or_else(|e| panic!("{name}: {e}"));
    assert_eq!(graph::difference(g, &back, true), None, "{name}");
    back
}

/// Runs a graph both ways and returns the number of kernels, fused.
fn agree(name: &str, g: &Graph, args: &[Literal]) -> usize {
    let g = &reloaded(name, g);
    let want = graph::interp::run(g, args).unwrap_or_else(|e| panic!("{name}: {e}"));
    let shapes: Vec<_> = args.iter().map(|a| (a.shape(), a.dtype())).collect();
    let bound = graph::interp::bind(g, &shapes).unwrap();
    on_e_nodes(name, g, args);
    let mut kernels = 0;
    for optimizer in [Optimizer::None, Optimizer::Greedy, Optimizer::EGraph] {
        let lowered = lower(g.clone(), &Options { optimizer, ..Options::default() })
            .unwrap_or_else(|e| panic!("{name}: {e}"));
        on_kernels(&format!("{name}, {optimizer:?}"), &lowered, bound.values(), args, &want);
        kernels = lowered.program.calls.len();
        native(name, lowered, bound.values(), args, &want);
    }
    kernels
}

/// Runs a graph with wide leaves, where this machine has them.
fn wide(name: &str, g: &Graph, symbols: &[i64], args: &[Literal], want: &graph::interp::Outcome) {
    for (cpu, leaf) in [(Cpu::V3, Leaf::X64), (Cpu::V4, Leaf::X64)] {
        let Ok(target) = Target::host(cpu) else {
            eprintln!("no {}", cpu.name());
            continue;
        };
        let machine = Machine::of(&target, leaf);
        let lowered = lower(g.clone(), &Options { machine, ..Options::default() }).unwrap();
        native_for(name, lowered, (&target, leaf), symbols, args, want);
    }
}

fn softmax(b: &mut Builder, x: ValueId, axis: u32) -> ValueId {
    let m = b.reduce_keep(ReduceOp::Max, x, &[axis]).unwrap();
    let d = b.binary(BinaryOp::Sub, x, m).unwrap();
    let e = b.unary(UnaryOp::Exp, d).unwrap();
    let s = b.reduce_keep(ReduceOp::Sum, e, &[axis]).unwrap();
    b.binary(BinaryOp::Div, e, s).unwrap()
}

#[test]
fn pointwise_chains_are_one_kernel() {
    let mut b = Builder::new("chain");
    let x = b.input("x", f32s(&["n", "5"]));
    let w = b.constant("w", noise(&[5], 1));
    let a = b.binary(BinaryOp::Mul, x, w).unwrap();
    let c = b.unary(UnaryOp::Tanh, a).unwrap();
    let d = b.binary(BinaryOp::Add, c, a).unwrap();
    b.output("y", d);
    assert_eq!(agree("chain", &b.finish(), &[noise(&[3, 5], 2)]), 1);
}

#[test]
fn views_cost_nothing() {
    let mut b = Builder::new("views");
    let x = b.input("x", f32s(&["n", "4", "6"]));
    let p = b.permute(x, &[2, 0, 1]).unwrap();
    let r = b.reshape(p, dims(&["3", "2", "n", "4"])).unwrap();
    let s = b
        .add(
            ops::Slice {
                start: dims(&["2", "0", "0", "3"]),
                size: dims(&["3", "2", "n", "2"]),
                step: vec![-1, 1, 1, -2],
            },
            &[r],
        )
        .unwrap();
    let zero = b.scalar_f64(DType::F32, 7.0);
    let pad = b
        .add(ops::Pad { lo: dims(&["1", "0", "0", "2"]), hi: dims(&["0", "1", "0", "1"]) }, &[s, zero])
        .unwrap();
    let m = b.reshape(pad, dims(&["12", "n*5"])).unwrap();
    let y = b.unary(UnaryOp::Neg, m).unwrap();
    b.output("y", y);
    assert_eq!(agree("views", &b.finish(), &[noise(&[3, 4, 6], 3)]), 1);
}

#[test]
fn concat_reads_each_part() {
    let mut b = Builder::new("concat");
    let x = b.input("x", f32s(&["n", "3"]));
    let y = b.input("y", f32s(&["n", "2"]));
    let x2 = b.unary(UnaryOp::Abs, x).unwrap();
    let c = b.add(ops::Concat { axis: 1 }, &[x2, y, x]).unwrap();
    b.output("c", c);
    assert_eq!(agree("concat", &b.finish(), &[noise(&[2, 3], 4), noise(&[2, 2], 5)]), 1);
}

#[test]
fn softmax_is_one_kernel() {
    let mut b = Builder::new("softmax");
    let x = b.input("x", f32s(&["n", "7", "33"]));
    let y = softmax(&mut b, x, 2);
    b.output("y", y);
    assert_eq!(agree("softmax", &b.finish(), &[noise(&[2, 7, 33], 6)]), 1);
}

#[test]
fn reductions_over_any_axes() {
    for (k, axes) in [vec![0], vec![1], vec![2], vec![0, 2], vec![0, 1, 2]].into_iter().enumerate() {
        let mut b = Builder::new("reduce");
        let x = b.input("x", f32s(&["n", "5", "40"]));
        let x2 = b.binary(BinaryOp::Mul, x, x).unwrap();
        let r = b.reduce(ReduceOp::Sum, x2, &axes).unwrap();
        let y = b.unary(UnaryOp::Sqrt, r).unwrap();
        b.output("y", y);
        assert_eq!(agree("reduce", &b.finish(), &[noise(&[3, 5, 40], k as u32)]), 1);
    }
}

#[test]
fn matmul_takes_bias_and_activation_with_it() {
    let mut b = Builder::new("matmul");
    let x = b.input("x", f32s(&["n", "s", "12"]));
    let w = b.constant("w", noise(&[12, 10], 1));
    let bias = b.constant("b", noise(&[10], 2));
    let y = b.add(ops::DotGeneral { batch: vec![], contract: vec![(2, 0)] }, &[x, w]).unwrap();
    let y = b.binary(BinaryOp::Add, y, bias).unwrap();
    let zero = b.scalar_f64(DType::F32, 0.0);
    let y = b.binary(BinaryOp::Max, y, zero).unwrap();
    // To heads: [n, 2, s, 5].
    let y = b.reshape(y, dims(&["n", "s", "2", "5"])).unwrap();
    let y = b.permute(y, &[0, 2, 1, 3]).unwrap();
    b.output("y", y);
    assert_eq!(agree("matmul", &b.finish(), &[noise(&[2, 3, 12], 7)]), 1);
}

fn conv(groups: i64, stride: i64, pad: i64, dilation: i64) -> Graph {
    let mut b = Builder::new("conv");
    let x = b.input("x", f32s(&["n", "6", "h", "9"]));
    let w = b.constant("w", noise(&[4 * groups as usize, 6 / groups as usize, 3, 3], 8));
    let p = || (Dim::from(pad), Dim::from(pad));
    let c =
        ops::Conv { strides: vec![stride; 2], pads: vec![p(), p()], dilations: vec![dilation; 2], groups };
    let y = b.add(c, &[x, w]).unwrap();
    let zero = b.scalar_f64(DType::F32, 0.0);
    let y = b.binary(BinaryOp::Max, y, zero).unwrap();
    b.output("y", y);
    b.finish()
}

#[test]
fn convolutions_of_every_kind() {
    for groups in [1, 2, 6] {
        for (stride, pad, dilation) in [(1, 0, 1), (1, 1, 1), (2, 1, 1), (1, 2, 2), (2, 0, 1)] {
            let g = conv(groups, stride, pad, dilation);
            let name = format!("conv g{groups} s{stride} p{pad} d{dilation}");
            // Padding of the rows is written out.
            let kernels = 1 + usize::from(pad > 0);
            assert_eq!(agree(&name, &g, &[noise(&[2, 6, 8, 9], 9)]), kernels, "{name}");
        }
    }
}

/// A convolution of one image batch and one tensor of weights, both known only at run time.
struct Trained {
    /// Extents of the image batch and of the weights, as they are given.
    shapes: [&'static [&'static str]; 2],
    /// How the weights are turned before: a permutation, and whether their taps are reversed.
    weights: (&'static [u32], bool),
    /// How the image batch is turned before.
    images: &'static [u32],
    stride: i64,
    pad: i64,
    dilation: i64,
    groups: i64,
}

const FORWARD: Trained = Trained {
    shapes: [&["2", "5", "9", "10"], &["16", "5", "3", "3"]],
    weights: (&[0, 1, 2, 3], false),
    images: &[0, 1, 2, 3],
    stride: 1,
    pad: 1,
    dilation: 1,
    groups: 1,
};

#[test]
fn convolutions_of_training() {
    let cases = [
        ("forward", FORWARD, 3),
        ("one image", Trained { shapes: [&["1", "5", "9", "10"], &["24", "5", "3", "3"]], ..FORWARD }, 3),
        (
            "symbolic batch",
            Trained { shapes: [&["n", "3", "12", "13"], &["32", "3", "3", "3"]], ..FORWARD },
            3,
        ),
        (
            "strides and groups",
            Trained {
                shapes: [&["2", "6", "19", "21"], &["64", "3", "3", "3"]],
                groups: 2,
                stride: 2,
                ..FORWARD
            },
            3,
        ),
        (
            "few places",
            Trained { shapes: [&["1", "5", "4", "4"], &["16", "5", "3", "3"]], pad: 0, ..FORWARD },
            1,
        ),
        (
            "gradient of images",
            Trained {
                shapes: [&["2", "7", "8", "9"], &["7", "17", "3", "3"]],
                weights: (&[1, 0, 2, 3], true),
                ..FORWARD
            },
            3,
        ),
        (
            "gradient of weights",
            Trained {
                shapes: [&["3", "20", "8", "9"], &["3", "16", "8", "9"]],
                weights: (&[1, 0, 2, 3], false),
                images: &[1, 0, 2, 3],
                ..FORWARD
            },
            3,
        ),
        (
            "gradient of weights, stride 2",
            Trained {
                shapes: [&["3", "20", "9", "9"], &["3", "33", "5", "5"]],
                weights: (&[1, 0, 2, 3], false),
                images: &[1, 0, 2, 3],
                dilation: 2,
                ..FORWARD
            },
            3,
        ),
    ];
    for (name, case, kernels) in cases {
        let mut b = Builder::new("trained");
        let x = b.input("x", f32s(case.shapes[0]));
        let x = b.permute(x, case.images).unwrap();
        let w = b.input("w", f32s(case.shapes[1]));
        let mut w = b.permute(w, case.weights.0).unwrap();
        if case.weights.1 {
            w = b.reverse(w, 2).unwrap();
            w = b.reverse(w, 3).unwrap();
        }
        let p = || (Dim::from(case.pad), Dim::from(case.pad));
        let (strides, dilations) = (vec![case.stride; 2], vec![case.dilation; 2]);
        let op = ops::Conv { strides, pads: vec![p(), p()], dilations, groups: case.groups };
        let y = b.add(op, &[x, w]).unwrap();
        let y = b.unary(UnaryOp::Tanh, y).unwrap();
        b.output("y", y);
        let g = b.finish();
        let args = [0, 1].map(|k| {
            let shape: Vec<usize> = case.shapes[k].iter().map(|d| d.parse().unwrap_or(2)).collect();
            noise(&shape, k as u32 + 1)
        });
        let symbols = vec![2; usize::from(case.shapes[0][0] == "n")];
        let want = graph::interp::run(&g, &args).unwrap();
        wide(name, &g, &symbols, &args, &want);
        let count = agree(name, &g, &args);
        assert!(count <= kernels, "{name}: {count} kernels");
    }
}

#[test]
fn windows_leave_the_padding_out() {
    for op in [ReduceOp::Max, ReduceOp::Sum] {
        let mut b = Builder::new("window");
        let x = b.input("x", f32s(&["n", "3", "h", "9"]));
        let p = || (Dim::from(1), Dim::from(0));
        let w = ops::ReduceWindow {
            op,
            window: vec![3, 2],
            strides: vec![2, 1],
            pads: vec![p(), p()],
            dilations: vec![1, 1],
        };
        let y = b.add(w, &[x]).unwrap();
        b.output("y", y);
        assert_eq!(agree("window", &b.finish(), &[noise(&[2, 3, 8, 9], 10)]), 1);
    }
}

#[test]
fn gathers_wrap_and_report() {
    for (indices, _bad) in [(vec![0i64, -1, 2], false), (vec![4, 0, -6], true)] {
        let mut b = Builder::new("gather");
        let x = b.input("x", f32s(&["5", "8"]));
        let i = b.input("i", TensorType::new(DType::I64, dims(&["k"])));
        let y = b.add(ops::Gather { axes: vec![0] }, &[x, i]).unwrap();
        let y = b.unary(UnaryOp::Neg, y).unwrap();
        b.output("y", y);
        let i = Literal::from_vec(&[3], indices).unwrap();
        assert_eq!(agree("gather", &b.finish(), &[noise(&[5, 8], 11), i]), 1);
    }
}

#[test]
fn layer_norm_is_one_kernel() {
    let mut b = Builder::new("norm");
    let x = b.input("x", f32s(&["n", "s", "24"]));
    let n = b.scalar_f64(DType::F32, 24.0);
    let sum = b.reduce_keep(ReduceOp::Sum, x, &[2]).unwrap();
    let mean = b.binary(BinaryOp::Div, sum, n).unwrap();
    let d = b.binary(BinaryOp::Sub, x, mean).unwrap();
    let sq = b.binary(BinaryOp::Mul, d, d).unwrap();
    let sum = b.reduce_keep(ReduceOp::Sum, sq, &[2]).unwrap();
    let var = b.binary(BinaryOp::Div, sum, n).unwrap();
    let eps = b.scalar_f64(DType::F32, 1e-5);
    let var = b.binary(BinaryOp::Add, var, eps).unwrap();
    let std = b.unary(UnaryOp::Sqrt, var).unwrap();
    let y = b.binary(BinaryOp::Div, d, std).unwrap();
    let w = b.constant("w", noise(&[24], 12));
    let y = b.binary(BinaryOp::Mul, y, w).unwrap();
    b.output("y", y);
    assert_eq!(agree("norm", &b.finish(), &[noise(&[2, 3, 24], 13)]), 1);
}

#[test]
fn attention_scores_are_a_contraction_and_a_softmax() {
    let mut b = Builder::new("attention");
    let q = b.input("q", f32s(&["n", "2", "s", "8"]));
    let k = b.input("k", f32s(&["n", "2", "8", "s"]));
    let m = b.input("m", TensorType::new(DType::I64, dims(&["n", "s"])));
    let dot =
        b.add(ops::DotGeneral { batch: vec![(0, 0), (1, 1)], contract: vec![(3, 2)] }, &[q, k]).unwrap();
    let scale = b.scalar_f64(DType::F32, 0.35);
    let scores = b.binary(BinaryOp::Mul, dot, scale).unwrap();
    let zero = b.scalar_f64(DType::I64, 0.0);
    let keep = b.compare(CompareOp::Ne, m, zero).unwrap();
    let keep = b.reshape(keep, dims(&["n", "1", "1", "s"])).unwrap();
    let low = b.scalar_f64(DType::F32, -1e9);
    let scores = b.select(keep, scores, low).unwrap();
    let y = softmax(&mut b, scores, 3);
    b.output("y", y);
    let mask = Literal::from_vec(&[2, 3], vec![1i64, 1, 0, 1, 1, 1]).unwrap();
    let args = [noise(&[2, 2, 3, 8], 1), noise(&[2, 2, 8, 3], 2), mask];
    assert!(agree("attention", &b.finish(), &args) <= 2);
}

#[test]
fn outputs_that_share_storage_are_copied() {
    let mut b = Builder::new("copies");
    let x = b.input("x", f32s(&["n", "4"]));
    let y = b.unary(UnaryOp::Neg, x).unwrap();
    let flat = b.reshape(y, dims(&["4*n"])).unwrap();
    b.output("same", x);
    b.output("y", y);
    b.output("flat", flat);
    assert_eq!(agree("copies", &b.finish(), &[noise(&[2, 4], 1)]), 3);
}

/// What a recurrent step computes: a product of what it carries with the weights of all gates, and each gate a slice.
fn gated(rows: &str, (inner, hidden): (usize, usize), gates: usize) -> Graph {
    let mut b = Builder::new("gates");
    let h = b.input("h", f32s(&[rows, &inner.to_string()]));
    let x = b.input("x", f32s(&[rows, &(gates * hidden).to_string()]));
    let w = b.constant("w", noise(&[inner, gates * hidden], 3));
    let product = b.add(ops::DotGeneral { batch: vec![], contract: vec![(1, 0)] }, &[h, w]).unwrap();
    let sum = b.binary(BinaryOp::Add, product, x).unwrap();
    let mut y = None;
    for g in (0..gates).rev() {
        let gate = b.slice_axis(sum, 1, Dim::from((g * hidden) as i64), Dim::from(hidden as i64)).unwrap();
        let gate = b.unary(if g % 2 == 0 { UnaryOp::Tanh } else { UnaryOp::Neg }, gate).unwrap();
        y = Some(y.map_or(gate, |y| b.binary(BinaryOp::Mul, gate, y).unwrap()));
    }
    let y = y.unwrap();
    let next = b.binary(BinaryOp::Add, y, y).unwrap();
    b.output("state", y);
    b.output("next", next);
    b.finish()
}

#[test]
fn gates_are_one_kernel_with_their_product() {
    let shapes = [("1", (40, 64)), ("1", (7, 32)), ("5", (33, 16)), ("n", (20, 48)), ("3", (9, 21))];
    for ((rows, (inner, hidden)), gates) in shapes.into_iter().flat_map(|s| (2..=4).map(move |g| (s, g))) {
        let name = format!("{gates} gates of {rows} x {inner} x {hidden}");
        let g = gated(rows, (inner, hidden), gates);
        let n = rows.parse().unwrap_or(2);
        let args = [noise(&[n, inner], 1), noise(&[n, gates * hidden], 2)];
        let kernels = agree(&name, &g, &args);
        assert!(kernels == 1 || rows != "1", "{name}: {kernels} kernels");
        let want = graph::interp::run(&g, &args).unwrap();
        let symbols = vec![n as i64; usize::from(rows == "n")];
        wide(&name, &g, &symbols, &args, &want);
    }
}
