//! Convolutions in Winograd tiles against the graph interpreter, on every leaf emitter, and where they are not taken.

#[allow(dead_code, reason = "shared by several tests")]
mod support;

use fornax_compiler::codegen::{Cpu, Leaf, Target};
use fornax_compiler::{Machine, Optimizer, Options, lower};
use fornax_ir::graph::ops::Conv;
use fornax_ir::graph::{self, Builder, Graph, Op, ValueId};
use fornax_ir::scalar::BinaryOp;
use fornax_ir::{DType, Dim, Literal};
use support::{dims, f32s, native_for, noise, on_kernels};

/// A convolution, what it convolves and what follows it.
#[derive(Clone, Copy, Debug)]
struct Case {
    /// Images, and whether their number is a symbol.
    images: (usize, bool),
    channels: usize,
    outputs: usize,
    /// Extents of the image.
    size: [usize; 2],
    /// Padding before and after each axis.
    pads: [(i64, i64); 2],
    /// A bias and a maximum with 0, and the sum with another tensor, which is an output as well.
    epilogue: (bool, bool),
}

const PLAIN: Case = Case {
    images: (1, false),
    channels: 24,
    outputs: 20,
    size: [13, 18],
    pads: [(1, 1), (1, 1)],
    epilogue: (true, false),
};

fn conv(b: &mut Builder, case: &Case, x: ValueId) -> ValueId {
    let scale = |l: Literal| {
        let n = (9.0 * case.channels as f64).sqrt();
        Literal::from_vec(l.shape(), (0..l.len()).map(|i| (l.get_f64(i) / n) as f32).collect::<Vec<_>>())
            .unwrap()
    };
    let w = b.constant("w", scale(noise(&[case.outputs, case.channels, 3, 3], 7)));
    let pads = case.pads.iter().map(|&(lo, hi)| (Dim::constant(lo), Dim::constant(hi))).collect();
    b.add(Conv { strides: vec![1; 2], pads, dilations: vec![1; 2], groups: 1 }, &[x, w]).unwrap()
}

fn graph_of(case: &Case) -> Graph {
    let mut b = Builder::new("winograd");
    let images = if case.images.1 { "n".to_string() } else { case.images.0.to_string() };
    let shape = [case.channels, case.size[0], case.size[1]].map(|n| n.to_string());
    let x = b.input("x", f32s(&[&images, &shape[0], &shape[1], &shape[2]]));
    let mut y = conv(&mut b, case, x);
    if case.epilogue.0 {
        let bias = b.constant("b", noise(&[case.outputs, 1, 1], 8));
        y = b.binary(BinaryOp::Add, y, bias).unwrap();
        let zero = b.scalar_f64(DType::F32, 0.0);
        y = b.binary(BinaryOp::Max, y, zero).unwrap();
    }
    if case.epilogue.1 {
        let other = b.input("other", b.graph().ty(y).clone());
        b.output("before", y);
        y = b.binary(BinaryOp::Add, y, other).unwrap();
    }
    b.output("y", y);
    b.finish()
}

fn tiled(graph: &Graph) -> usize {
    graph.nodes.iter().filter(|n| matches!(n.op, Op::WinogradOutput(_))).count()
}

/// Compares a case, tiled for a machine as it lowers, with the interpreter; the number of convolutions in tiles.
fn check(case: &Case, optimizer: Optimizer, strict: bool) -> usize {
    let name = format!("{case:?}");
    let g = graph_of(case);
    let bind = |d: &Dim| d.eval_symbols(&|_| Some(case.images.0 as i64)).unwrap() as usize;
    let shape = |v: ValueId| g.ty(v).shape.iter().map(bind).collect::<Vec<usize>>();
    let args: Vec<Literal> = g.inputs.iter().zip(1..).map(|(i, seed)| noise(&shape(i.value), seed)).collect();
    let want = graph::interp::run(&g, &args).unwrap();
    let symbols = vec![case.images.0 as i64; usize::from(case.images.1)];
    let mut count = 0;
    for (cpu, leaf) in [(Cpu::Native, Leaf::Clif), (Cpu::V3, Leaf::X64), (Cpu::V4, Leaf::X64)] {
        let Ok(target) = Target::host(cpu) else {
            eprintln!("no {}", cpu.name());
            continue;
        };
        // Scheduled for the machine, but with the portable one's idea of what pays.
        for machine in [Machine::PORTABLE, Machine::of(&target, leaf)] {
            let options = Options { optimizer, strict, machine, ..Options::default() };
            let lowered = lower(g.clone(), &options).unwrap_or_else(|e| panic!("{name}: {e}"));
            count = count.max(tiled(&lowered.graph));
            if machine == Machine::PORTABLE && leaf == Leaf::Clif && case.size[0] < 8 {
                on_kernels(&name, &lowered, &symbols, &args, &want);
            }
            native_for(&name, lowered, (&target, leaf), &symbols, &args, &want);
        }
    }
    count
}

#[test]
fn sizes_paddings_and_epilogues() {
    let cases = [
        PLAIN,
        Case { pads: [(0, 0), (0, 0)], epilogue: (false, false), ..PLAIN },
        Case { pads: [(0, 2), (3, 1)], size: [15, 16], ..PLAIN },
        Case {
            images: (2, false),
            channels: 37,
            outputs: 50,
            size: [9, 11],
            epilogue: (true, true),
            ..PLAIN
        },
        Case {
            images: (3, true),
            channels: 16,
            outputs: 64,
            size: [16, 12],
            epilogue: (false, true),
            ..PLAIN
        },
        Case { channels: 17, outputs: 33, size: [6, 7], epilogue: (true, true), ..PLAIN },
        Case { channels: 160, outputs: 96, size: [7, 5], ..PLAIN },
        Case { channels: 128, outputs: 128, size: [28, 28], epilogue: (true, true), ..PLAIN },
    ];
    for case in cases {
        assert_eq!(check(&case, Optimizer::EGraph, false), 1, "{case:?}");
    }
}

#[test]
fn every_planner_takes_them_and_strict_does_not() {
    for optimizer in [Optimizer::Greedy, Optimizer::EGraph] {
        assert_eq!(check(&PLAIN, optimizer, false), 1);
        assert_eq!(check(&PLAIN, optimizer, true), 0);
    }
}

/// What has no form in tiles, or gains nothing, is computed directly.
#[test]
fn others_stay_direct() {
    let count = |change: &dyn Fn(&mut Conv), shape: [&str; 4], w: [usize; 4], last: f32| {
        let mut b = Builder::new("direct");
        let x = b.input("x", f32s(&shape));
        let mut weights: Vec<f32> = (0..w.iter().product()).map(|i: usize| (i % 7) as f32).collect();
        *weights.last_mut().unwrap() = last;
        let w = b.constant("w", Literal::from_vec(&w, weights).unwrap());
        let pads = dims(&["1", "1"]).into_iter().map(|d| (d.clone(), d)).collect();
        let mut op = Conv { strides: vec![1; 2], pads, dilations: vec![1; 2], groups: 1 };
        change(&mut op);
        let y = b.add(op, &[x, w]).unwrap();
        b.output("y", y);
        tiled(&lower(b.finish(), &Options::default()).unwrap().graph)
    };
    let (shape, w) = (["1", "32", "24", "24"], [32, 32, 3, 3]);
    assert_eq!(count(&|_| {}, shape, w, 1.0), 1);
    assert_eq!(count(&|op| op.strides = vec![2, 1], shape, w, 1.0), 0);
    assert_eq!(count(&|op| op.dilations = vec![1, 2], shape, w, 1.0), 0);
    assert_eq!(count(&|op| op.groups = 2, shape, [32, 16, 3, 3], 1.0), 0);
    assert_eq!(count(&|_| {}, ["1", "3", "24", "24"], [32, 3, 3, 3], 1.0), 0);
    assert_eq!(count(&|_| {}, ["1", "32", "h", "24"], w, 1.0), 0);
    assert_eq!(count(&|_| {}, shape, w, f32::INFINITY), 0);
    // Weights of many times the image: reading them is what takes time.
    assert_eq!(count(&|_| {}, ["1", "512", "2", "2"], [512, 512, 3, 3], 1.0), 0);
}
