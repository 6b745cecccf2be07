//! The optimizer in this process: how long it takes, what it saves, that it repeats itself, and whether its plans are as
//! fast as greedy ones.

use std::time::Instant;

use fornax::{Model, Tensor};
use fornax_compiler::layout::WINOGRAD;
use fornax_compiler::{Lowered, Optimizer, Options, lower};
use fornax_ir::graph::Graph;
use fornax_ir::graph::interp::bind;

use super::common::graphs::{Choice, transformer};
use super::common::{self, borrowed, orders};
use super::{Bar, Report};

/// Seconds that two plans of a model alternate on each number of threads, at least.
const ALTERNATE: f64 = 2.0;
/// Runs of each plan, at least.
const ROUNDS: usize = 15;

/// A model, its graph, and inputs that fit.
struct Subject {
    id: &'static str,
    path: std::path::PathBuf,
    graph: Graph,
    operators: usize,
    inputs: Vec<(String, Tensor)>,
}

/// All bars of this module.
pub fn bars(report: &mut Report) {
    // First, as models that were loaded and dropped leave a heap in pieces.
    chain(report);
    let subjects: Vec<Subject> = common::MODELS.into_iter().filter_map(Subject::load).collect();
    for subject in &subjects {
        let name = format!("{} optimize", subject.id);
        let times = (0..5).map(|_| optimized_ms(&subject.graph)).collect();
        report.line(&name, median(times), "ms", Bar::AtMost(200.0));
    }
    savings(report, &subjects);
    repeated(report, &subjects);
    for subject in &subjects {
        against_greedy(report, subject);
    }
}

impl Subject {
    fn load(id: &'static str) -> Option<Subject> {
        let entry = common::model(id)?;
        let graph = fornax::graph_of(&entry.path, &fornax::Options::default()).expect("the model is read");
        let operators = fornax::verify(&entry.path).expect("the model is valid").operators;
        Some(Subject { id, graph, operators, inputs: entry.cases[0].inputs(), path: entry.path })
    }

    /// Kernels, and bytes that they move for the inputs.
    fn cost(&self, options: Options) -> (f64, f64) {
        let Lowered { program, .. } = lower(self.graph.clone(), &options).expect("the model is lowered");
        let of = |name: &str| &self.inputs.iter().find(|(n, _)| n == name).expect("every input is there").1;
        let inputs = self.graph.inputs.iter();
        let shapes: Vec<_> = inputs.map(|i| (of(&i.name).shape(), of(&i.name).dtype())).collect();
        let sizes = bind(&self.graph, &shapes).expect("the inputs fit");
        let bytes: i64 = program.calls.iter().map(|c| sizes.dim(&c.bytes).expect("sizes are known")).sum();
        (program.calls.len() as f64, bytes as f64)
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// From a graph to a program, milliseconds.
fn optimized_ms(graph: &Graph) -> f64 {
    let lowered = lower(graph.clone(), &Options::default()).expect("the graph is lowered");
    lowered.optimize_time.as_secs_f64() * 1e3
}

/// Four times the layers take at most five times as long: the fastest run of each, in turns, as whatever else the
/// machine does only adds to a time.
fn chain(report: &mut Report) {
    let layers = [24, 48, 96];
    let graphs = layers.map(|n| transformer(n, 64, 4));
    let mut fastest = [f64::INFINITY; 3];
    for _ in 0..7 {
        for (best, graph) in fastest.iter_mut().zip(&graphs) {
            *best = best.min(optimized_ms(graph));
        }
    }
    for (n, time) in layers.iter().zip(fastest) {
        println!("  {n} transformer blocks: optimize {time:.1} ms");
    }
    report.line("optimize 96 blocks, to 24 blocks", fastest[2] / fastest[0], "", Bar::AtMost(5.0));
}

/// Kernels and bytes of each optimizer. Fusion is judged with convolutions as one kernel each: tiles that save
/// multiplications take more kernels and bytes, which a line of its own says.
fn savings(report: &mut Report, subjects: &[Subject]) {
    let (mut sums, mut tiled) = ([0.0; 3], 0.0);
    for subject in subjects {
        let cost =
            |optimizer| subject.cost(Options { optimizer, without: &[WINOGRAD], ..Options::default() });
        tiled += subject.cost(Options::default()).1;
        let [none, greedy, egraph] = [Optimizer::None, Optimizer::Greedy, Optimizer::EGraph].map(cost);
        println!(
            "  {}: {} operators; kernels {} unfused, {} greedy, {} e-graph; megabytes {:.1}, {:.1}, {:.1}",
            subject.id,
            subject.operators,
            none.0,
            greedy.0,
            egraph.0,
            none.1 / 1e6,
            greedy.1 / 1e6,
            egraph.1 / 1e6
        );
        if subject.operators >= 20 {
            let ratio = egraph.0 / subject.operators as f64;
            report.line(&format!("{} kernels to operators", subject.id), ratio, "", Bar::AtMost(0.75));
        }
        sums = [sums[0] + none.1, sums[1] + greedy.1, sums[2] + egraph.1];
    }
    if sums[0] > 0.0 {
        println!("  bytes moved to unfused, greedy: {:.3}", sums[1] / sums[0]);
        println!("  bytes moved to unfused, convolutions in tiles: {:.3}", tiled / sums[0]);
        report.line("bytes moved to unfused, all models", sums[2] / sums[0], "", Bar::AtMost(0.5));
    }
}

/// Each model lowered 20 times as it is and 20 times in other orders.
fn repeated(report: &mut Report, subjects: &[Subject]) {
    let mut other = 0;
    for subject in subjects {
        let (want, mut choice) = (orders::lowered(&subject.graph), Choice(5));
        for run in 0..20 {
            let same = orders::lowered(&subject.graph) == want;
            let shuffled = orders::lowered(&orders::shuffled(&subject.graph, &mut choice)) == want;
            if !(same && shuffled) {
                println!("  {}, run {run}: the same {same}, shuffled {shuffled}", subject.id);
                other += 1;
            }
        }
    }
    report.line("plans that differ between runs or orders", f64::from(other), "", Bar::AtMost(0.0));
}

/// A model by both optimizers, in turns, on one thread and on all.
fn against_greedy(report: &mut Report, subject: &Subject) {
    let text = |optimizer| {
        let options = Options { optimizer, ..Options::default() };
        let lowered = lower(subject.graph.clone(), &options).expect("the model is lowered");
        let kernels: Vec<String> = lowered.program.kernels.iter().map(ToString::to_string).collect();
        (lowered.program.to_string(), kernels)
    };
    if text(Optimizer::Greedy) == text(Optimizer::EGraph) {
        println!("  {}: both optimizers give one program", subject.id);
        return;
    }
    let inputs = borrowed(&subject.inputs);
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    for threads in [1, cores] {
        let load = |optimizer| {
            let options = fornax::Options::default().optimizer(optimizer).threads(threads);
            Model::load_with(&subject.path, options).expect("the model is compiled")
        };
        let models = [Optimizer::Greedy, Optimizer::EGraph].map(load);
        let run = |model: &Model| {
            let start = Instant::now();
            let outputs = model.run(&inputs).expect("the model runs");
            let time = start.elapsed().as_secs_f64() * 1e3;
            drop(outputs);
            time
        };
        for model in &models {
            run(model);
        }
        let (mut times, start) = ([vec![], vec![]], Instant::now());
        while times[0].len() < ROUNDS || start.elapsed().as_secs_f64() < ALTERNATE {
            // Each goes first in every second round.
            let first = times[0].len() % 2;
            for k in [first, 1 - first] {
                times[k].push(run(&models[k]));
            }
        }
        let [greedy, egraph] = times.map(median);
        println!("  {} on {threads} threads: greedy {greedy:.3} ms, e-graph {egraph:.3} ms", subject.id);
        let name = format!("{} e-graph to greedy, {threads} threads", subject.id);
        report.line(&name, egraph / greedy, "", Bar::AtMost(1.03));
    }
}
