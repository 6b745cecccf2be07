//! Attention in strips against the graph interpreter, on every leaf emitter: masks of each kind, shared heads, sizes
//! that fill no tile, and sizes known only when it runs.

#[allow(dead_code, reason = "shared by several tests")]
mod support;

use fornax_compiler::codegen::{Cpu, Leaf, Target};
use fornax_compiler::plan::attention::ATTENTION;
use fornax_compiler::{Lowered, Machine, Optimizer, Options, lower};
use fornax_ir::graph::ops::{DotGeneral, Iota};
use fornax_ir::graph::{self, Builder, Graph, Op, ValueId};
use fornax_ir::scalar::{BinaryOp, CompareOp};
use fornax_ir::{DType, Dim, Literal};
use support::{dims, f32s, native_for, noise, on_kernels};

/// What the scores pass through before the softmax.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Mask {
    None,
    /// An addend that all heads share.
    Added,
    /// Minus infinity where an addend is not positive; the first row of each image has nothing left.
    Chosen,
    /// Minus infinity right of the diagonal.
    Causal,
}

#[derive(Clone, Copy, Debug)]
struct Case {
    batch: usize,
    heads: usize,
    /// How many heads share keys and values.
    shared: usize,
    rows: usize,
    keys: usize,
    /// Whether rows and keys are one symbol.
    symbol: bool,
    /// Whether keys stand as queries do, row by row.
    turned: bool,
    /// Elements of a query and of a value.
    width: [usize; 2],
    mask: Mask,
}

const PLAIN: Case = Case {
    batch: 2,
    heads: 3,
    shared: 1,
    rows: 40,
    keys: 64,
    symbol: false,
    turned: false,
    width: [32, 32],
    mask: Mask::None,
};

/// Keys or values, repeated for the heads that share them.
fn shared(b: &mut Builder, case: &Case, x: ValueId) -> ValueId {
    if case.shared == 1 {
        return x;
    }
    let shape = b.shape(x).to_vec();
    let wide = |n: usize| -> Vec<Dim> {
        let head = [shape[0].clone(), shape[1].clone(), Dim::from(n)];
        head.into_iter().chain(shape[2..].iter().cloned()).collect()
    };
    let one = b.reshape(x, wide(1)).unwrap();
    let all = b.broadcast_to(one, &wide(case.shared)).unwrap();
    let mut merged = shape.clone();
    merged[1] = Dim::from(case.heads);
    b.reshape(all, merged).unwrap()
}

fn masked(b: &mut Builder, case: &Case, scores: ValueId, extents: [&str; 2]) -> ValueId {
    let shape = b.shape(scores).to_vec();
    let never = b.scalar_f64(DType::F32, f64::NEG_INFINITY);
    match case.mask {
        Mask::None => scores,
        Mask::Added => {
            let mask = b.input("mask", f32s(&[&case.batch.to_string(), "1", extents[0], extents[1]]));
            b.binary(BinaryOp::Add, scores, mask).unwrap()
        }
        Mask::Chosen => {
            let mask = b.input("mask", f32s(&extents));
            let row = b.add(Iota { shape: dims(&extents), axis: 0, dtype: DType::F32 }, &[]).unwrap();
            let mask = b.binary(BinaryOp::Mul, mask, row).unwrap();
            let zero = b.scalar_f64(DType::F32, 0.0);
            let chosen = b.compare(CompareOp::Gt, mask, zero).unwrap();
            let chosen = b.broadcast_to(chosen, &shape).unwrap();
            b.select(chosen, scores, never).unwrap()
        }
        Mask::Causal => {
            let at = |axis: u32| Iota { shape: dims(&extents), axis, dtype: DType::I64 };
            let (row, key) = (b.add(at(0), &[]).unwrap(), b.add(at(1), &[]).unwrap());
            let seen = b.compare(CompareOp::Le, key, row).unwrap();
            let seen = b.broadcast_to(seen, &shape).unwrap();
            b.select(seen, scores, never).unwrap()
        }
    }
}

fn graph_of(case: &Case) -> Graph {
    let mut b = Builder::new("attention");
    let [batch, heads, few, d, dv] =
        [case.batch, case.heads, case.heads / case.shared, case.width[0], case.width[1]]
            .map(|n| n.to_string());
    let (rows, keys) = (case.rows.to_string(), case.keys.to_string());
    let (rows, keys) = if case.symbol { ("n", "n") } else { (rows.as_str(), keys.as_str()) };
    let q = b.input("q", f32s(&[&batch, &heads, rows, &d]));
    let (third, fourth) = if case.turned { (keys, d.as_str()) } else { (d.as_str(), keys) };
    let k = b.input("k", f32s(&[&batch, &few, third, fourth]));
    let v = b.input("v", f32s(&[&batch, &few, keys, &dv]));
    let (k, v) = (shared(&mut b, case, k), shared(&mut b, case, v));
    let product = |along: u32| DotGeneral { batch: vec![(0, 0), (1, 1)], contract: vec![(3, along)] };
    let scores = b.add(product(2 + u32::from(case.turned)), &[q, k]).unwrap();
    let scale = b.scalar_f64(DType::F32, (case.width[0] as f64).sqrt().recip());
    let scores = b.binary(BinaryOp::Mul, scores, scale).unwrap();
    let scores = masked(&mut b, case, scores, [rows, keys]);
    let weights = b.softmax(scores, 3).unwrap();
    let y = b.add(product(2), &[weights, v]).unwrap();
    b.output("y", y);
    b.finish()
}

/// Kernels with two products.
fn joined(lowered: &Lowered) -> usize {
    let graph = &lowered.graph;
    let products = |g: &&fornax_compiler::plan::Group| {
        graph.values().filter(|v| g.computes(*v) && matches!(graph.node(*v).op, Op::DotGeneral(_))).count()
            == 2
    };
    lowered.plan.groups.iter().filter(products).count()
}

/// Compares a case with the interpreter; the number of kernels with two products.
fn check(case: &Case, optimizer: Optimizer, strict: bool) -> usize {
    let name = format!("{case:?}");
    let g = graph_of(case);
    let bind = |d: &Dim| d.eval_symbols(&|_| Some(case.rows as i64)).unwrap() as usize;
    let shape = |v: ValueId| g.ty(v).shape.iter().map(bind).collect::<Vec<usize>>();
    let args: Vec<Literal> = g.inputs.iter().zip(1..).map(|(i, seed)| noise(&shape(i.value), seed)).collect();
    let want = graph::interp::run(&g, &args).unwrap();
    let symbols = vec![case.rows as i64; usize::from(case.symbol)];
    let mut count = 0;
    for (cpu, leaf) in [(Cpu::Native, Leaf::Clif), (Cpu::V3, Leaf::X64), (Cpu::V4, Leaf::X64)] {
        let Ok(target) = Target::host(cpu) else {
            eprintln!("no {}", cpu.name());
            continue;
        };
        let options =
            Options { optimizer, strict, machine: Machine::of(&target, leaf), ..Options::default() };
        let lowered = lower(g.clone(), &options).unwrap_or_else(|e| panic!("{name}: {e}"));
        count = count.max(joined(&lowered));
        if leaf == Leaf::Clif && case.rows * case.keys < 1000 {
            on_kernels(&name, &lowered, &symbols, &args, &want);
        }
        native_for(&name, lowered, (&target, leaf), &symbols, &args, &want);
    }
    count
}

#[test]
fn sizes_masks_and_shared_heads() {
    let cases = [
        PLAIN,
        Case { mask: Mask::Added, rows: 37, keys: 45, ..PLAIN },
        Case { mask: Mask::Chosen, rows: 29, keys: 33, width: [8, 20], ..PLAIN },
        Case { mask: Mask::Causal, rows: 61, keys: 61, width: [24, 16], ..PLAIN },
        Case { mask: Mask::Causal, rows: 30, keys: 30, symbol: true, ..PLAIN },
        Case {
            batch: 1,
            heads: 8,
            shared: 4,
            rows: 33,
            keys: 50,
            width: [16, 48],
            mask: Mask::Added,
            ..PLAIN
        },
        Case { heads: 4, shared: 2, rows: 19, keys: 19, symbol: true, mask: Mask::Chosen, ..PLAIN },
        Case { batch: 1, heads: 1, rows: 150, keys: 700, width: [17, 33], ..PLAIN },
        Case { batch: 1, heads: 1, rows: 15, keys: 5000, width: [16, 16], ..PLAIN },
        Case { turned: true, rows: 35, keys: 52, mask: Mask::Added, ..PLAIN },
        Case {
            turned: true,
            heads: 4,
            shared: 2,
            rows: 24,
            keys: 24,
            symbol: true,
            mask: Mask::Causal,
            ..PLAIN
        },
        // One row, and one key.
        Case { batch: 1, heads: 12, rows: 1, keys: 77, ..PLAIN },
        Case { batch: 1, heads: 4, shared: 4, rows: 1, keys: 64, mask: Mask::Added, ..PLAIN },
        Case { rows: 20, keys: 1, ..PLAIN },
    ];
    for case in cases {
        let count = check(&case, Optimizer::EGraph, false);
        assert!(count == 1 || case.keys == 1 || case.rows == 1, "{case:?}: {count}");
    }
}

#[test]
fn every_planner_joins_them_and_strict_does_too() {
    for optimizer in [Optimizer::Greedy, Optimizer::EGraph] {
        for strict in [false, true] {
            assert_eq!(check(&PLAIN, optimizer, strict), 1);
        }
    }
    assert_eq!(check(&PLAIN, Optimizer::None, false), 0);
    let options = Options { without: &[ATTENTION], ..Options::default() };
    assert_eq!(joined(&lower(graph_of(&PLAIN), &options).unwrap()), 0);
}
