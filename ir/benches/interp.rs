//! Prints how many billion multiply-adds a second the reference interpreter's contractions do:
//! `cargo bench -p fornax-ir --bench interp`.
#![allow(clippy::print_stdout)]

use fornax_ir::graph::ops::{Conv, DotGeneral};
use fornax_ir::graph::{Builder, TensorType, interp};
use fornax_ir::{DType, Dim, Literal};
use std::time::Instant;

fn dims(shape: &[i64]) -> Vec<Dim> {
    shape.iter().map(|&d| Dim::constant(d)).collect()
}

fn arg(shape: &[i64]) -> Literal {
    let n: i64 = shape.iter().product();
    let data: Vec<f32> = (0..n).map(|i| ((i * 7919) % 1000) as f32 / 500.0 - 1.0).collect();
    let shape: Vec<usize> = shape.iter().map(|&d| d as usize).collect();
    Literal::from_vec(&shape, data).expect("sizes agree")
}

fn measure(name: &str, macs: i64, shapes: [&[i64]; 2], build: impl Fn(&mut Builder)) {
    let mut b = Builder::new(name);
    for (i, s) in shapes.iter().enumerate() {
        b.input(["x", "w"][i], TensorType::new(DType::F32, dims(s)));
    }
    build(&mut b);
    let graph = b.finish();
    let args = shapes.map(arg);
    let mut best = f64::INFINITY;
    for _ in 0..3 {
        let start = Instant::now();
        let outcome = interp::run(&graph, &args).expect("the graph runs");
        best = best.min(start.elapsed().as_secs_f64());
        assert!(outcome.outputs[0].get_f64(0).is_finite());
    }
    println!("{name:<40} {:>8.2} GMAC/s", macs as f64 / best / 1e9);
}

fn dot(m: i64, k: i64, n: i64) {
    measure(&format!("dot {m}x{k}x{n}"), m * k * n, [&[m, k], &[k, n]], |b| {
        let (x, w) = (b.graph().inputs[0].value, b.graph().inputs[1].value);
        let op = DotGeneral { batch: vec![], contract: vec![(1, 0)] };
        let y = b.add(op, &[x, w]).expect("shapes agree");
        b.output("y", y);
    });
}

fn conv(x: &[i64; 4], o: i64, k: i64, stride: i64, groups: i64) {
    let [n, c, h, w] = *x;
    let pad = k / 2;
    let out = |d: i64| (d + 2 * pad - k) / stride + 1;
    let macs = n * o * out(h) * out(w) * c / groups * k * k;
    let name = format!("conv {c}x{h}x{w} -> {o}, {k}x{k}/{stride}, {groups} groups");
    measure(&name, macs, [x, &[o, c / groups, k, k]], |b| {
        let (x, w) = (b.graph().inputs[0].value, b.graph().inputs[1].value);
        let pads = vec![(Dim::constant(pad), Dim::constant(pad)); 2];
        let op = Conv { strides: vec![stride; 2], pads, dilations: vec![1; 2], groups };
        let y = b.add(op, &[x, w]).expect("shapes agree");
        b.output("y", y);
    });
}

fn main() {
    dot(128, 768, 768);
    dot(512, 512, 512);
    dot(1, 2048, 2048);
    dot(2048, 2048, 1);
    dot(784, 64, 8);
    conv(&[1, 64, 56, 56], 64, 3, 1, 1);
    conv(&[1, 3, 224, 224], 64, 7, 2, 1);
    conv(&[1, 512, 7, 7], 512, 3, 1, 1);
    conv(&[1, 256, 1, 1], 1024, 1, 1, 1);
    conv(&[1, 96, 112, 112], 96, 3, 1, 96);
    conv(&[1, 32, 320, 320], 16, 1, 1, 1);
}
