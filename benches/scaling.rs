//! What a second thread gives each kernel: `cargo bench --bench scaling -- MODEL.onnx...`.
//!
//! Runs each model on one thread and on two, by turns, with the inputs of the `.in.npz` beside it, and prints
//! the fastest run of every kernel, since others may use the cores: nanoseconds on one thread, what its program
//! expected, how many times faster two threads are, and bytes a nanosecond on two. Kernels of equal label and expectation are one line.

#![allow(clippy::print_stdout, reason = "a report is what it is for")]

use std::path::Path;
use std::time::Duration;

use fornax::{KernelTime, Model, Options, Tensor};

/// Turns of each number of threads.
const TURNS: usize = 20;
/// Runs of a turn.
const RUNS: usize = 5;

fn fastest(times: &[Duration]) -> f64 {
    times.iter().min().map_or(0.0, |t| t.as_nanos() as f64)
}

/// Kernels with a time for each number of threads, in nanoseconds.
type Measured = Vec<(KernelTime, [f64; 2])>;

fn measure(path: &Path) -> Result<Measured, Box<dyn std::error::Error>> {
    let load = |threads| Model::load_with(path, Options::default().threads(threads));
    let models = [load(1)?, load(2)?];
    let inputs = fornax::io::read_npz(path.with_extension("in.npz"))?;
    let inputs: Vec<(&str, &Tensor)> = inputs.iter().map(|(name, t)| (name.as_str(), t)).collect();
    let mut kernels = models[0].profile(&inputs)?.1;
    let mut times = vec![[vec![], vec![]]; kernels.len()];
    for _ in 0..TURNS {
        for (which, model) in models.iter().enumerate() {
            // The first of a turn finds the other model's weights in the caches, and parked threads.
            for _ in 0..RUNS {
                for (all, kernel) in times.iter_mut().zip(model.profile(&inputs)?.1) {
                    all[which].push(kernel.time);
                }
            }
        }
    }
    let times = times.iter().map(|[one, two]| [fastest(one), fastest(two)]);
    Ok(kernels.drain(..).zip(times).collect())
}

fn report(path: &Path, measured: &Measured) {
    let total = |which: usize| measured.iter().map(|m| m.1[which]).sum::<f64>();
    let ratio = total(0) / total(1);
    println!("{}: {:.1} us on one thread, {ratio:.2} times faster on two", path.display(), total(0) / 1e3);
    println!("{:>6} {:>10} {:>10} {:>7} {:>7}  kernel", "calls", "ns", "expected", "faster", "B/ns");
    let mut lines: Vec<(KernelTime, [f64; 2], usize)> = vec![];
    for (kernel, times) in measured {
        let name = |k: &KernelTime| k.label.split(" // ").next().unwrap_or_default().to_string();
        let same = |l: &&mut (KernelTime, [f64; 2], usize)| {
            (name(&l.0), l.0.expected, l.0.bytes) == (name(kernel), kernel.expected, kernel.bytes)
        };
        match lines.iter_mut().find(same) {
            Some(line) => {
                line.1 = [line.1[0] + times[0], line.1[1] + times[1]];
                line.2 += kernel.calls as usize;
            }
            None => lines.push((kernel.clone(), *times, kernel.calls as usize)),
        }
    }
    lines.sort_by(|a, b| b.1[0].total_cmp(&a.1[0]));
    for (kernel, [one, two], calls) in lines {
        let n = calls.max(1) as f64;
        println!(
            "{calls:>6} {:>10.0} {:>10} {:>7.2} {:>7.2}  {}",
            one / n,
            kernel.expected.as_nanos(),
            one / two,
            kernel.bytes as f64 * n / two,
            kernel.label
        );
    }
}

fn main() {
    for path in std::env::args().skip(1).filter(|a| !a.starts_with("--")) {
        let path = Path::new(&path);
        match measure(path) {
            Ok(measured) => report(path, &measured),
            Err(error) => println!("{}: {error}", path.display()),
        }
    }
}
