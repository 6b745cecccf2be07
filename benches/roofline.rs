//! Every kernel of the benchmark networks beside the machine's roofs: `cargo bench --bench roofline [-- MODEL.onnx...]`.
//!
//! Without models it takes the networks that the folder `FORNAX_BENCH_GRAPHS`, else `target/bench`, has. Each runs on one
//! thread with the inputs of the `.in.npz` beside it. A kernel's time is its fastest run; its roof the longer of what its
//! operations take in a loop of multiply-adds on registers and what its bytes take in a loop of reads of memory, both
//! measured in the same run. Bytes that a cache holds come faster than those, so a kernel may be above its roof. Kernels of
//! equal operators and sizes are one line; those that lose most time to their roof come first.

#![allow(clippy::print_stdout, reason = "a report is what it is for")]

#[allow(dead_code, reason = "of the roofs, two are needed here")]
#[path = "kernels/ffi/mod.rs"]
mod ffi;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ffi::{Roof, roof};
use fornax::{KernelTime, Model, Options, Tensor};

/// The networks of the benchmark.
const NETWORKS: [&str; 10] = [
    "mlp_b1",
    "mlp_b64",
    "resnet18",
    "resnet50",
    "mobilenet_v2",
    "minilm",
    "bert_base",
    "gpt2",
    "vit_tiny",
    "lstm",
];
/// A model is measured for so long, and so many times at least.
const MEASURE: Duration = Duration::from_millis(1500);
const RUNS: usize = 5;

/// Calls of one kernel, together.
struct Line {
    model: String,
    operators: String,
    calls: u64,
    /// Of one call.
    operations: u64,
    bytes: u64,
    /// Nanoseconds of all calls, and those that the roof allows.
    time: f64,
    roof: f64,
}

fn measure(path: &Path) -> Result<Vec<KernelTime>, Box<dyn std::error::Error>> {
    let model = Model::load_with(path, Options::default().threads(1))?;
    let inputs = fornax::io::read_npz(path.with_extension("in.npz"))?;
    let inputs: Vec<(&str, &Tensor)> = inputs.iter().map(|(name, t)| (name.as_str(), t)).collect();
    let mut best = model.profile(&inputs)?.1;
    let (mut runs, start) = (1, Instant::now());
    while runs < RUNS || start.elapsed() < MEASURE {
        for (best, now) in best.iter_mut().zip(model.profile(&inputs)?.1) {
            best.time = best.time.min(now.time);
        }
        runs += 1;
    }
    Ok(best)
}

fn lines(model: &str, kernels: &[KernelTime], roof: Roof) -> Vec<Line> {
    let mut lines: Vec<Line> = vec![];
    for kernel in kernels.iter().filter(|k| k.calls > 0) {
        let operators = kernel.label.split(" // ").next().unwrap_or_default();
        let (time, calls) = (kernel.time.as_nanos() as f64, kernel.calls as f64);
        let each = (kernel.operations as f64 / roof.gflops).max(kernel.bytes as f64 / roof.gbytes);
        let allowed = each * calls;
        let same = |l: &&mut Line| {
            (&*l.operators, l.operations, l.bytes) == (operators, kernel.operations, kernel.bytes)
        };
        match lines.iter_mut().find(same) {
            Some(line) => {
                line.calls += kernel.calls;
                line.time += time;
                line.roof += allowed;
            }
            None => lines.push(Line {
                model: model.to_string(),
                operators: operators.to_string(),
                calls: kernel.calls,
                operations: kernel.operations,
                bytes: kernel.bytes,
                time,
                roof: allowed,
            }),
        }
    }
    lines
}

fn print(lines: &mut [Line]) {
    lines.sort_by(|a, b| (b.time - b.roof).total_cmp(&(a.time - a.roof)));
    println!(
        "{:<13} {:>5} {:>10} {:>9} {:>8} {:>7} {:>9}  kernel",
        "model", "calls", "us", "GFLOP/s", "GB/s", "roof", "lost us"
    );
    for l in lines {
        let each = l.time / l.calls as f64;
        println!(
            "{:<13} {:>5} {:>10.2} {:>9.1} {:>8.1} {:>5.0} % {:>9.1}  {}",
            l.model,
            l.calls,
            each / 1e3,
            l.operations as f64 / each,
            l.bytes as f64 / each,
            100.0 * l.roof / l.time,
            (l.time - l.roof) / 1e3,
            l.operators
        );
    }
}

fn main() {
    let asked: Vec<PathBuf> =
        std::env::args().skip(1).filter(|a| !a.starts_with("--")).map(PathBuf::from).collect();
    let folder = std::env::var_os("FORNAX_BENCH_GRAPHS").map(PathBuf::from);
    let folder = folder.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench"));
    let paths = match asked.is_empty() {
        true => NETWORKS.map(|n| folder.join(format!("{n}.onnx"))).to_vec(),
        false => asked,
    };
    let before = roof(1);
    let measured: Vec<_> = paths.iter().map(|path| (path, measure(path))).collect();
    let roof = roof(1).better(before);
    println!("one thread: {:.0} GFLOP/s on registers, {:.1} GB/s from memory", roof.gflops, roof.gbytes);
    let mut all = vec![];
    for (path, measured) in measured {
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        match measured {
            Ok(kernels) => {
                let lines = lines(&name, &kernels, roof);
                let sum = |f: fn(&Line) -> f64| lines.iter().map(f).sum::<f64>();
                let (time, allowed) = (sum(|l| l.time), sum(|l| l.roof));
                println!(
                    "{name:<13} {:>10.1} us in kernels, {:.0} % of the roof",
                    time / 1e3,
                    100.0 * allowed / time
                );
                all.extend(lines);
            }
            Err(error) => println!("{}: {error}", path.display()),
        }
    }
    print(&mut all);
}
