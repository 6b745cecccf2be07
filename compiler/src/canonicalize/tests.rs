//! Tests of the whole sequence of passes.

use super::testing::*;
use super::*;
use fornax_ir::dim::Dim;
use fornax_ir::dtype::DType;
use fornax_ir::graph::{Builder, ValueId};
use std::time::{Duration, Instant};

fn chain(n: usize, link: impl Fn(&mut Builder, ValueId, usize) -> ValueId) -> Graph {
    let mut b = builder();
    let mut x = input(&mut b, "x", &["n"]);
    for i in 0..n {
        x = link(&mut b, x, i);
    }
    b.output("y", x);
    b.finish()
}

/// Canonicalizes on a stack of 256 KiB and gives the time taken.
fn timed(g: Graph) -> (Graph, Duration) {
    let run = move || {
        let start = Instant::now();
        let g = canonicalize(g, &CanonicalizeOptions::default()).unwrap();
        (g, start.elapsed())
    };
    std::thread::Builder::new().stack_size(256 << 10).spawn(run).unwrap().join().unwrap()
}

#[test]
fn long_chains_take_linear_time_and_a_small_stack() {
    type Link = fn(&mut Builder, ValueId, usize) -> ValueId;
    let links: [Link; 4] = [
        |b, x, i| b.unary([UnaryOp::Exp, UnaryOp::Tanh][i % 2], x).unwrap(),
        |b, x, i| {
            let c = b.scalar_f64(DType::F32, i as f64);
            b.binary([BinaryOp::Add, BinaryOp::Mul][i % 2], x, c).unwrap()
        },
        |b, x, _| b.add(fornax_ir::graph::ops::Concat { axis: 0 }, &[x]).unwrap(),
        |b, x, _| b.unary(UnaryOp::Neg, x).unwrap(),
    ];
    for link in links {
        let (_, short) = timed(chain(25_000, link));
        let (_, long) = timed(chain(100_000, link));
        let bound = short * 4 * 4 + Duration::from_millis(500);
        assert!(long < bound, "25,000 links took {short:?}, 100,000 took {long:?}");
    }
}

#[test]
fn inputs_outputs_guards_and_names_survive() {
    let mut b = builder();
    b.set_range("n", 2, Some(9));
    input(&mut b, "unused", &["k"]);
    let x = input(&mut b, "x", &["n"]);
    let y = input(&mut b, "y", &["m"]);
    b.set_loc("dead");
    b.binary(BinaryOp::Add, x, y).unwrap();
    b.set_loc("live");
    let z = b.unary(UnaryOp::Neg, x).unwrap();
    let z = b.unary(UnaryOp::Neg, z).unwrap();
    b.output("b", z);
    b.output("a", z);
    let old = b.finish();
    let new = canonicalize(old.clone(), &CanonicalizeOptions::default()).unwrap();
    assert_eq!(new.guards, old.guards);
    assert_eq!(new.loc_text(new.guards[0].loc), "dead");
    assert_eq!(new.outputs.iter().map(|o| o.name.as_str()).collect::<Vec<_>>(), ["b", "a"]);
    assert_eq!(ops(&new), ["input", "input", "input"]);
    assert_eq!(new.outputs[0].value, new.inputs[1].value);
    assert_eq!((new.symbols, new.ranges), (old.symbols, old.ranges));
}

#[test]
fn canonical_graphs_stay_as_they_are() {
    let mut b = builder();
    let x = input(&mut b, "x", &["n", "8"]);
    let w = b.constant("w", ramp(&[4, 8]));
    let w = b.permute(w, &[1, 0]).unwrap();
    let y = matmul(&mut b, x, w);
    let n = b.dims(vec![Dim::symbol("n") * 4], false).unwrap();
    let y = b.reshape(y, vec![Dim::symbol("n") * 4]).unwrap();
    b.output("y", y);
    b.output("n", n);
    let once = canonicalize(b.finish(), &CanonicalizeOptions::default()).unwrap();
    let twice = canonicalize(once.clone(), &CanonicalizeOptions::default()).unwrap();
    assert_eq!(ops(&once), ops(&twice));
    assert_eq!(once.consts, twice.consts);
}

#[test]
fn composites_keep_their_meaning() {
    let mut b = builder();
    let x = input(&mut b, "x", &["n", "8"]);
    let mean = b.reduce_keep(fornax_ir::scalar::ReduceOp::Sum, x, &[1]).unwrap();
    let eighth = b.scalar_f64(DType::F32, 8.0);
    let mean = b.binary(BinaryOp::Div, mean, eighth).unwrap();
    let d = b.binary(BinaryOp::Sub, x, mean).unwrap();
    let two = b.scalar_f64(DType::F32, 2.0);
    let sq = b.binary(BinaryOp::Pow, d, two).unwrap();
    let var = b.reduce_keep(fornax_ir::scalar::ReduceOp::Sum, sq, &[1]).unwrap();
    let var = b.binary(BinaryOp::Div, var, eighth).unwrap();
    let std = b.unary(UnaryOp::Sqrt, var).unwrap();
    let y = b.binary(BinaryOp::Div, d, std).unwrap();
    let g = b.constant("g", ramp(&[8]));
    let y = b.binary(BinaryOp::Mul, y, g).unwrap();
    b.output("y", y);
    let g = canonical(b, 0.0);
    assert!(!ops(&g).contains(&"pow"));
    assert_eq!(ops(&g).iter().filter(|n| **n == "div").count(), 1);
}

#[test]
fn passes_have_distinct_names() {
    let mut names: Vec<_> = pass_names().collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), PASSES.len());
}
