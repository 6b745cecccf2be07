//! What each stage makes of the text under test.

use super::agree;
use super::directive::{Kind, Test};
use super::{Failure, values};
use crate::canonicalize::{CanonicalizeOptions, canonicalize};
use crate::rewrite::differential;
use crate::rewrite::saturate::{Fuel, allowed, saturate};
use crate::{Error, Lowered, Options, lower_by, planned};
use fornax_codegen::driver::define_kernel;
use fornax_codegen::leaf::Clif;
use fornax_codegen::{Cpu, Target};
use fornax_ir::graph::interp::{bind, check_guards};
use fornax_ir::graph::{Graph, text};
use fornax_ir::kernel;
use std::fmt::Write;

/// Leaves are made for this machine, whatever the host is.
const TRIPLE: &str = "x86_64-unknown-linux-gnu";

/// What a stage gives.
#[derive(Clone, Debug, Default)]
pub(super) struct Output {
    /// Its text.
    pub(super) text: String,
    /// How many kernels the program calls (`test schedule`).
    pub(super) kernels: usize,
}

/// Runs the stage.
///
/// # Errors
/// [`Failure`]: the text is no graph or kernel, the stage refuses it, or results disagree.
pub(super) fn output(test: &Test, source: &str) -> Result<Output, Failure> {
    let plain = |text| Output { text, kernels: 0 };
    match test.kind {
        Kind::Rewrite => rewrite(test, graph(source)?).map(plain),
        Kind::Saturate => saturated(test, &graph(source)?).map(plain),
        Kind::Schedule => schedule(test, graph(source)?),
        Kind::Lower => leaves(test, source).map(plain),
        Kind::Run => run(test, &graph(source)?).map(plain),
    }
}

fn graph(source: &str) -> Result<Graph, Failure> {
    text::parse(source).map_err(|e| Failure::at(e.line, format!("column {}: {}", e.column, e.what)))
}

fn whole(e: impl ToString) -> Failure {
    Failure::whole(e.to_string())
}

fn rewrite(test: &Test, graph: Graph) -> Result<String, Failure> {
    let usual = CanonicalizeOptions::default();
    let fold_budget = test.fold_budget.unwrap_or(usual.fold_budget);
    let options = CanonicalizeOptions { strict: test.strict, fold_budget, ..usual };
    let graph = canonicalize(graph, &options).map_err(whole)?;
    nodes_agree(&graph, test.strict)?;
    Ok(graph.to_string())
}

/// Every e-node of a canonical graph agrees with its class on seeded inputs, where the graph's conditions on sizes
/// let it run on them.
fn nodes_agree(graph: &Graph, strict: bool) -> Result<(), Failure> {
    let args = values::seeded_inputs(graph);
    let shapes: Vec<_> = args.iter().map(|a| (a.shape(), a.dtype())).collect();
    let runs = bind(graph, &shapes).is_ok_and(|bound| check_guards(graph, &bound).is_ok());
    if runs {
        differential::check(graph, &args, strict).map_err(|e| Failure::whole(format!("e-graph: {e}")))?;
    }
    Ok(())
}

/// The e-graph of a graph as it stands, whose nodes must agree on seeded inputs.
fn saturated(test: &Test, graph: &Graph) -> Result<String, Failure> {
    let saturated = saturate(graph, Fuel::default(), &allowed(test.strict)).map_err(Failure::whole)?;
    let mut out = String::new();
    for (rule, n) in &saturated.fired {
        let _ = writeln!(out, "rule {rule}: {n}");
    }
    for v in graph.values() {
        let _ = writeln!(out, "{v} = {}", saturated.spellings(v).join(" | "));
    }
    let args = values::seeded_inputs(graph);
    let checked = differential::check_saturated(&saturated, graph, &args).map_err(Failure::whole)?;
    let _ = writeln!(out, "{} nodes agree", checked.nodes);
    Ok(out)
}

/// As [`crate::lower`], with pairs of kernels made one.
pub(super) fn lower_merged(
    graph: Graph,
    options: &Options,
    merges: &[(usize, usize)],
) -> Result<Lowered, Error> {
    lower_by(graph, options, |graph, cache| {
        let mut made = planned(graph, options, cache)?;
        for &(a, b) in merges {
            made.plan = made.plan.merge(&made.graph, a, b).map_err(|why| Error::Internal {
                stage: "plan",
                what: format!("k{a} and k{b} are no kernel together: {why}"),
            })?;
        }
        Ok(made)
    })
}

fn schedule(test: &Test, graph: Graph) -> Result<Output, Failure> {
    let options = Options { optimizer: test.optimizer, strict: test.strict, ..Options::default() };
    let canonical = CanonicalizeOptions { strict: test.strict, ..Default::default() };
    nodes_agree(&canonicalize(graph.clone(), &canonical).map_err(whole)?, test.strict)?;
    let lowered = lower_merged(graph, &options, &test.merges).map_err(whole)?;
    let mut text = format!("{}{}", lowered.plan.listing(&lowered.graph), lowered.program);
    for k in &lowered.program.kernels {
        let _ = write!(text, "{k}");
    }
    Ok(Output { text, kernels: lowered.program.calls.len() })
}

fn leaves(test: &Test, source: &str) -> Result<String, Failure> {
    let kernels = kernel::text::parse(source).map_err(|e| Failure::at(e.line, e.message))?;
    let triple = TRIPLE.parse().map_err(|e| Failure::whole(format!("{TRIPLE}: {e}")))?;
    let target = if test.cpu == Cpu::Native {
        return Err(Failure::whole("`cpu=native` differs from host to host; name a level of x86-64"));
    } else {
        Target::for_triple(triple, test.cpu).map_err(whole)?
    };
    let mut out = String::new();
    for k in &kernels {
        kernel::verify::verify(k).map_err(|e| Failure::whole(format!("kernel {}: {e}", k.name)))?;
        let code = define_kernel(k, &target, &Clif::new(&target)).map_err(whole)?;
        for (name, leaf) in &code.leaves {
            let _ = write!(out, "{}: {name}\n{leaf}", k.name);
        }
    }
    Ok(out)
}

fn run(test: &Test, graph: &Graph) -> Result<String, Failure> {
    if let Some((name, _)) = test.inputs.iter().find(|(n, _)| graph.inputs.iter().all(|i| i.name != *n)) {
        let known: Vec<&str> = graph.inputs.iter().map(|i| i.name.as_str()).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        return Err(Failure::whole(format!("the graph has no input `{name}`; it has {known}")));
    }
    let value = |i: &fornax_ir::graph::Input| {
        let found = test.inputs.iter().find(|(n, _)| *n == i.name).map(|(_, v)| v.clone());
        found.ok_or_else(|| Failure::whole(format!("input `{}` needs a line `; input {0}: ...`", i.name)))
    };
    let args = graph.inputs.iter().map(value).collect::<Result<Vec<_>, _>>()?;
    let verdict = agree::agree(graph, &args, test.strict, &test.merges).map_err(Failure::whole)?;
    let mut out = String::new();
    match verdict {
        agree::Verdict::Refused(why) => {
            let _ = writeln!(out, "refused: {why}");
        }
        agree::Verdict::Results { outputs, index_error } => {
            for (o, value) in graph.outputs.iter().zip(&outputs) {
                out.push_str(&values::print(&o.name, value));
            }
            if let Some(place) = index_error {
                let _ = writeln!(out, "index error: {place}");
            }
        }
    }
    Ok(out)
}
