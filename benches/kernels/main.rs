//! How near to the machine's roofs kernels come: products and convolutions on one thread and on two, beside a loop of
//! multiply-adds on registers alone and a loop of reads, measured in the same run.
//!
//! `cargo bench --bench kernels` prints a line for each; `-- NAME` those whose name contains NAME; `-- memory` or
//! `-- memory NAME` the kernels that memory bounds instead, beside loops that read and write as much. A case is a model of one
//! or a few layers, run as a user runs it, and takes the fastest of many runs: whatever else the machine does only adds to
//! a time.

#![allow(clippy::print_stdout, reason = "a report is what it is for")]

mod cases;
mod ffi;
mod memory;

use std::time::{Duration, Instant};

use cases::{Case, Kind};
use ffi::{Roof, roof};
use fornax::{Model, Options, Tensor};

/// A case is measured for so long, and so many times at least.
const MEASURE: Duration = Duration::from_millis(400);
const RUNS: usize = 5;

/// Seconds of the fastest run.
fn fastest(case: &Case, threads: usize) -> f64 {
    let model = Model::from_graph(case.graph.clone(), Options::default().threads(threads));
    let model = model.expect("the case compiles");
    let tensors: Vec<Tensor> = case
        .inputs
        .iter()
        .map(|extents| Tensor::from_vec(cases::elements(extents), extents).expect("as many as extents say"))
        .collect();
    let named: Vec<(&str, &Tensor)> =
        model.inputs().iter().zip(&tensors).map(|(info, t)| (info.name.as_str(), t)).collect();
    fastest_run(&model, &named)
}

/// Seconds of the fastest run of a model.
fn fastest_run(model: &Model, named: &[(&str, &Tensor)]) -> f64 {
    model.run(named).expect("the case runs");
    let (mut best, mut runs, start) = (f64::INFINITY, 0, Instant::now());
    while runs < RUNS || start.elapsed() < MEASURE {
        let run = Instant::now();
        let outputs = model.run(named).expect("the case runs");
        best = best.min(run.elapsed().as_secs_f64());
        drop(outputs);
        runs += 1;
    }
    best
}

fn line(case: &Case, threads: usize, seconds: f64, roof: Roof) {
    let (gflops, gbytes) = (case.flops / seconds / 1e9, case.bytes / seconds / 1e9);
    let (of_flops, of_bytes) = (100.0 * gflops / roof.gflops, 100.0 * gbytes / roof.gbytes);
    let limit = if case.kind == Kind::Vector { of_bytes } else { of_flops };
    println!(
        "{:<40} {threads} threads {:>9.3} ms {gflops:>8.1} GFLOP/s {gbytes:>7.1} GB/s {limit:>6.1} % of the roof",
        case.name,
        seconds * 1e3
    );
}

fn main() {
    let mut words = std::env::args().skip(1).filter(|a| !a.starts_with('-'));
    let filter = words.next().unwrap_or_default();
    if filter == "memory" {
        let filter = words.next().unwrap_or_default();
        [1, 2].into_iter().for_each(|threads| memory::report(&filter, threads));
        return;
    }
    let cases: Vec<Case> = cases::all().into_iter().filter(|c| c.name.contains(&filter)).collect();
    for threads in [1, 2] {
        let before = roof(threads);
        let times: Vec<f64> = cases.iter().map(|case| fastest(case, threads)).collect();
        let roof = before.better(roof(threads));
        println!("roof: multiply-adds on registers {threads} threads {:.1} GFLOP/s", roof.gflops);
        println!("roof: reads of memory {threads} threads {:.1} GB/s", roof.gbytes);
        cases.iter().zip(times).for_each(|(case, time)| line(case, threads, time, roof));
    }
}
