//! `fornax bench`.

use std::time::{Duration, Instant};

use fornax::{Backend, Model, Tensor};
use serde_json::json;

use crate::args::BenchArgs;
use crate::failure::Failure;
use crate::{inputs, loading, output};

/// How long to warm up.
const WARM_UP: Duration = Duration::from_millis(200);
/// How long to measure.
const MEASURE: Duration = Duration::from_secs(2);
/// At least so many runs are measured, however long they take, and at most so many.
const RUNS: std::ops::RangeInclusive<usize> = 5..=10_000;

/// Latencies of the measured runs, in milliseconds, ascending.
struct Latencies(Vec<f64>);

impl Latencies {
    /// The value that a share of the runs does not exceed: linear between neighbours.
    fn quantile(&self, share: f64) -> f64 {
        let at = share * (self.0.len() - 1) as f64;
        let (below, above) = (self.0[at.floor() as usize], self.0[at.ceil() as usize]);
        below + (above - below) * at.fract()
    }
}

/// Measures loading and running a model.
pub fn bench(args: &BenchArgs) -> Result<(), Failure> {
    let start = Instant::now();
    let model = loading::load(&args.model, Backend::Jit)?;
    let loaded = start.elapsed();
    let named = inputs::inputs(&args.model, &model)?;
    let inputs = inputs::borrowed(&named);
    let first_run = Instant::now();
    model.run(&inputs)?;
    let first_result = loaded + first_run.elapsed();
    let latencies = measure(&model, &inputs)?;
    let dims = model.dims_of(&inputs)?;
    let s = model.stats();
    let ms = |d: Duration| d.as_secs_f64() * 1e3;
    let report = json!({
        "model": loading::name(&args.model.model),
        "backend": "jit",
        "isa": s.isa,
        "threads": model.threads(),
        "runs": latencies.0.len(),
        "median_ms": latencies.quantile(0.5),
        "p10_ms": latencies.quantile(0.1),
        "p90_ms": latencies.quantile(0.9),
        "import_ms": ms(s.import_time),
        "optimize_ms": ms(s.optimize_time),
        "codegen_ms": ms(s.codegen_time),
        "first_result_ms": ms(first_result),
        "operators": s.operators,
        "optimizer": s.optimizer.name(),
        "e_nodes": s.e_nodes,
        "kernels": s.kernels,
        "bytes_moved": model.bytes_moved(&dims)?,
        "arena_bytes": model.arena_bytes(&dims)?,
        "weights_bytes": s.weights_bytes,
        "peak_rss_bytes": peak_rss_bytes(),
        "version": env!("CARGO_PKG_VERSION"),
    });
    if args.json {
        return output::line(format_args!("{report}"));
    }
    print(&report)
}

/// Warms up, then runs for a while.
fn measure(model: &Model, inputs: &[(&str, &Tensor)]) -> Result<Latencies, Failure> {
    let start = Instant::now();
    let mut warm_ups = 0;
    while start.elapsed() < WARM_UP && warm_ups < *RUNS.end() {
        model.run(inputs)?;
        warm_ups += 1;
    }
    let one = start.elapsed() / warm_ups.max(1) as u32;
    let expected = (MEASURE.as_secs_f64() / one.as_secs_f64().max(1e-9)) as usize;
    let bar = loading::progress("measuring", expected.clamp(*RUNS.start(), *RUNS.end()) as u64);
    let mut times = Vec::new();
    let start = Instant::now();
    while times.len() < *RUNS.start() || (start.elapsed() < MEASURE && times.len() < *RUNS.end()) {
        let run = Instant::now();
        let outputs = model.run(inputs)?;
        times.push(run.elapsed().as_secs_f64() * 1e3);
        drop(outputs);
        bar.set_position(times.len() as u64);
    }
    bar.finish_and_clear();
    times.sort_by(f64::total_cmp);
    Ok(Latencies(times))
}

/// The same numbers for people.
fn print(report: &serde_json::Value) -> Result<(), Failure> {
    let size = |key: &str| output::bytes(report[key].as_u64().unwrap_or(0));
    let time = |key: &str| report[key].as_f64().unwrap_or(0.0);
    let text = |key: &str| report[key].as_str().unwrap_or("").to_string();
    output::line(format_args!("{} on {}, {} threads", text("model"), text("isa"), report["threads"]))?;
    output::line(format_args!(
        "latency      {:.3} ms median, {:.3} p10, {:.3} p90, {} runs",
        time("median_ms"),
        time("p10_ms"),
        time("p90_ms"),
        report["runs"]
    ))?;
    output::line(format_args!(
        "first result {:.1} ms: import {:.1}, optimize {:.1}, codegen {:.1}, and a run",
        time("first_result_ms"),
        time("import_ms"),
        time("optimize_ms"),
        time("codegen_ms")
    ))?;
    output::line(format_args!(
        "kernels      {} for {} operators, {} moved; optimizer {}, {} e-nodes",
        report["kernels"],
        report["operators"],
        size("bytes_moved"),
        text("optimizer"),
        report["e_nodes"]
    ))?;
    output::line(format_args!(
        "memory       arena {}, weights {}, peak {}",
        size("arena_bytes"),
        size("weights_bytes"),
        size("peak_rss_bytes")
    ))
}

/// The most physical memory this command had at once: VmHWM of Linux; 0 elsewhere.
fn peak_rss_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib: Option<u64> = line.and_then(|l| l.trim().strip_suffix("kB")?.trim().parse().ok());
    kib.unwrap_or(0) * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_linear_between_runs() {
        let l = Latencies(vec![1.0, 2.0, 3.0, 5.0]);
        assert_eq!([0.0, 0.5, 1.0].map(|q| l.quantile(q)), [1.0, 2.5, 5.0]);
        assert_eq!(Latencies(vec![4.0]).quantile(0.9), 4.0);
    }
}
