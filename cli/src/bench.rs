//! `fornax bench`.

use std::io::{BufRead, Read};
use std::time::{Duration, Instant};

use fornax::{Backend, Model, Tensor};
use serde_json::{Value, json};

use crate::args::BenchArgs;
use crate::failure::Failure;
use crate::{inputs, loading, output};

/// How long to warm up.
const WARM_UP: Duration = Duration::from_millis(200);
/// How long to measure.
const MEASURE: Duration = Duration::from_secs(2);
/// At least so many runs are measured, however long they take, and at most so many.
const RUNS: std::ops::RangeInclusive<usize> = 5..=10_000;

/// Most runs that one line of stdin asks for.
const MOST_ASKED: usize = 1_000_000;
/// Bytes of such a line, at most; a longer one is none.
const LONGEST_LINE: u64 = 64;

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
    let read = inputs::read_early(&args.model)?;
    let bare = peak_rss_bytes();
    let start = Instant::now();
    let model = loading::load(&args.model, Backend::Jit)?;
    let loaded = start.elapsed();
    let named = match read {
        Some(named) => named,
        None => inputs::inputs(&args.model, &model)?,
    };
    let inputs = inputs::borrowed(&named);
    let first_run = Instant::now();
    model.run(&inputs)?;
    let first_result = loaded + first_run.elapsed();
    let mut report = compiled(args, &model, &inputs)?;
    report["first_result_ms"] = ms(first_result).into();
    report["bare_rss_bytes"] = bare.into();
    if args.serve {
        report["peak_rss_bytes"] = peak_rss_bytes().into();
        output::line(format_args!("{report}"))?;
        return serve(std::io::stdin().lock(), &mut || run_once(&model, &inputs), &mut |answer| {
            output::line(format_args!("{answer}"))
        });
    }
    let latencies = measure(&model, &inputs)?;
    report["runs"] = latencies.0.len().into();
    for (key, share) in [("median_ms", 0.5), ("p10_ms", 0.1), ("p90_ms", 0.9)] {
        report[key] = latencies.quantile(share).into();
    }
    report["peak_rss_bytes"] = peak_rss_bytes().into();
    if args.json {
        return output::line(format_args!("{report}"));
    }
    print(&report)
}

fn ms(d: Duration) -> f64 {
    d.as_secs_f64() * 1e3
}

/// What is known of a compiled model, by the keys of `--json`.
fn compiled(args: &BenchArgs, model: &Model, inputs: &[(&str, &Tensor)]) -> Result<Value, Failure> {
    let dims = model.dims_of(inputs)?;
    let s = model.stats();
    Ok(json!({
        "model": loading::name(&args.model.model),
        "backend": "jit",
        "isa": s.isa,
        "threads": model.threads(),
        "import_ms": ms(s.import_time),
        "optimize_ms": ms(s.optimize_time),
        "codegen_ms": ms(s.codegen_time),
        "operators": s.operators,
        "optimizer": s.optimizer.name(),
        "e_nodes": s.e_nodes,
        "kernels": s.kernels,
        "bytes_moved": model.bytes_moved(&dims)?,
        "arena_bytes": model.arena_bytes(&dims)?,
        "weights_bytes": s.weights_bytes,
        "version": env!("CARGO_PKG_VERSION"),
    }))
}

/// Milliseconds of one run, without dropping its outputs.
fn run_once(model: &Model, inputs: &[(&str, &Tensor)]) -> Result<f64, Failure> {
    let start = Instant::now();
    let outputs = model.run(inputs)?;
    let time = ms(start.elapsed());
    drop(outputs);
    Ok(time)
}

/// Answers each line `run N` with the times of N runs, until the lines end.
fn serve(
    mut lines: impl BufRead,
    run: &mut dyn FnMut() -> Result<f64, Failure>,
    answer: &mut dyn FnMut(Value) -> Result<(), Failure>,
) -> Result<(), Failure> {
    loop {
        let mut line = String::new();
        let read = lines.by_ref().take(LONGEST_LINE).read_line(&mut line);
        let read = read.map_err(|e| Failure::input(format_args!("cannot read stdin: {e}")))?;
        if read == 0 {
            return Ok(());
        }
        let line = line.trim_end();
        let count = line.trim().strip_prefix("run ").and_then(|n| n.trim().parse::<usize>().ok());
        let count = count.filter(|n| (1..=MOST_ASKED).contains(n)).ok_or_else(|| {
            Failure::input(format_args!(
                "--serve reads lines `run N` with N in 1..={MOST_ASKED}, not `{line}`"
            ))
        })?;
        let times = (0..count).map(|_| run()).collect::<Result<Vec<_>, _>>()?;
        answer(times.into())?;
    }
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
        times.push(run_once(model, inputs)?);
        bar.set_position(times.len() as u64);
    }
    bar.finish_and_clear();
    times.sort_by(f64::total_cmp);
    Ok(Latencies(times))
}

/// The same numbers for people.
fn print(report: &Value) -> Result<(), Failure> {
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

    #[test]
    fn what_stdin_asks_for_is_run() {
        let mut runs = 0.0;
        let mut ask = |text: &str| {
            let mut answers = vec![];
            let mut run = || {
                runs += 1.0;
                Ok(runs)
            };
            let done = serve(text.as_bytes(), &mut run, &mut |a| {
                answers.push(a.to_string());
                Ok(())
            });
            (answers, done.err().map(|e| e.code()))
        };
        assert_eq!(ask("run 2\nrun 1\n"), (vec!["[1.0,2.0]".to_string(), "[3.0]".to_string()], None));
        assert_eq!(ask(""), (vec![], None));
        for bad in ["run 0\n", "run -1\n", "run\n", "stop\n", "run 99999999999\n"] {
            assert_eq!(ask(bad), (vec![], Some(Failure::BAD_INPUT)), "{bad}");
        }
    }
}
