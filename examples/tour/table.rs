//! What each optimizer makes of a model, and how fast that runs.

use std::error::Error;
use std::hint::black_box;
use std::io::Write;
use std::time::{Duration, Instant};

use fornax::{Compiled, Optimizer, Options, RewriteReport, Tensor, Traced, eager};

use super::{Settings, agreement};

/// What an optimizer made of a model, less the times.
#[derive(Clone, PartialEq, Debug)]
pub struct Row {
    pub optimizer: Optimizer,
    /// Nodes of the e-graph.
    pub e_nodes: usize,
    /// Kernels that one run calls.
    pub kernels: usize,
    /// Bytes that they read and write.
    pub bytes: usize,
    /// The largest difference from the interpreter.
    pub difference: f64,
}

/// Prints a line for each optimizer; gives the rows, and the program of the default optimizer.
pub fn table(
    out: &mut dyn Write,
    traced: &Traced<Tensor>,
    interpreter: &Compiled<Tensor>,
    forward: &dyn Fn(&Tensor) -> Tensor,
    input: &Tensor,
    settings: Settings,
) -> Result<(Vec<Row>, Compiled<Tensor>), Box<dyn Error>> {
    let expected = interpreter.call(input)?;
    agreement("eager", &forward(input), &expected)?;
    let (batch, runs) = (settings.batch, settings.runs);
    writeln!(out, "at batch {batch}, on one thread, medians of {runs} runs that alternate:")?;
    writeln!(
        out,
        "optimizer  e-nodes  kernels     bytes  optimize   codegen  eager/run  compiled/run  max|a-b|"
    )?;
    let mut rows = vec![];
    let mut last = None;
    let mut report = RewriteReport::default();
    for optimizer in Optimizer::ALL {
        let options = Options::default().optimizer(optimizer).threads(1);
        let lowered = traced.lower(&options)?;
        let bytes = lowered.bytes().at(&[("batch", batch)]).ok_or("the bytes moved have no value")?;
        let (e_nodes, kernels) = (lowered.report().nodes, lowered.kernels());
        let optimize = lowered.optimize_time();
        if e_nodes > 0 {
            report = lowered.report().clone();
        }
        let compiled = lowered.compile(&options)?;
        let difference = agreement(optimizer.name(), &compiled.call(input)?, &expected)?;
        let [eager, native] =
            eager::with_threads(1, || medians(runs, &|| Ok(forward(input)), &|| Ok(compiled.call(input)?)))?;
        writeln!(
            out,
            "{optimizer:<9} {:>8} {kernels:>8} {:>9} {:>9} {:>9} {:>10} {:>13} {difference:>9.1e}",
            if e_nodes == 0 { "-".to_string() } else { e_nodes.to_string() },
            size(bytes as u64),
            milliseconds(optimize),
            milliseconds(compiled.codegen_time()),
            microseconds(eager),
            microseconds(native),
        )?;
        rows.push(Row { optimizer, e_nodes, kernels, bytes, difference });
        if optimizer == Optimizer::default() {
            last = Some(compiled);
        }
    }
    writeln!(out, "e-graph: {}", summary(&report))?;
    Ok((rows, last.ok_or("the default optimizer is not in the table")?))
}

/// What rules found, what of it made the kernels cheaper by the cost model, and what became of the greedy fusion.
fn summary(report: &RewriteReport) -> String {
    let found: usize = report.fired.values().sum();
    let used = report.decisions.iter().filter(|decision| decision.kept).count();
    format!(
        "{} rules found {found} equalities; {used} of {} other spellings used; {} kernels split, {} pairs merged",
        report.fired.len(),
        report.decisions.len(),
        report.moves.splits,
        report.moves.merges
    )
}

type Run<'a> = &'a dyn Fn() -> Result<Tensor, Box<dyn Error>>;

/// Median times of two functions that take turns, so that both see the same machine.
fn medians(runs: usize, a: Run<'_>, b: Run<'_>) -> Result<[Duration; 2], Box<dyn Error>> {
    let mut times = [vec![], vec![]];
    for _ in 0..runs.max(1) {
        for (f, times) in [a, b].into_iter().zip(&mut times) {
            let start = Instant::now();
            black_box(f()?);
            times.push(start.elapsed());
        }
    }
    Ok(times.map(|mut t| {
        t.sort_unstable();
        t[t.len() / 2]
    }))
}

/// `1.2 MiB`
pub fn size(bytes: u64) -> String {
    let kib = bytes as f64 / 1024.0;
    if kib < 1024.0 { format!("{kib:.1} KiB") } else { format!("{:.1} MiB", kib / 1024.0) }
}

fn milliseconds(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}

fn microseconds(time: Duration) -> String {
    format!("{:.0} us", time.as_secs_f64() * 1e6)
}
