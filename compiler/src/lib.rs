//! From graph to program: the whole pipeline, in order.
//!
//! ```text
//! GIR -> canonicalize -> rewrite -> layout -> plan -> schedule -> buffers -> Program -> codegen
//! ```
//! [`lower`] is the part that knows no machine, [`Lowered::compile`] the part that does. Each stage
//! is a module of that name, and what it hands on can be printed.

mod assemble;
mod buffers;
pub mod canonicalize;
pub mod filetest;
pub mod interp;
pub mod layout;
pub mod machine;
mod native;
pub mod plan;
pub mod renumber;
pub mod rewrite;
pub mod schedule;
mod weights;

pub use fornax_codegen as codegen;
pub use machine::Machine;
pub use native::Compiled;

use fornax_codegen::program::Program;
use fornax_ir::Literal;
use fornax_ir::graph::{ConstId, Graph, Op, RegionId};
use plan::Plan;
use std::time::{Duration, Instant};
use thiserror::Error;

/// Why a graph could not be compiled.
#[derive(Debug, Error)]
pub enum Error {
    /// The graph is at fault.
    #[error(transparent)]
    Canonicalize(#[from] canonicalize::Error),
    /// Code generation failed.
    #[error(transparent)]
    Codegen(#[from] fornax_codegen::Error),
    /// The weights need more memory than there is.
    #[error("the weights need {bytes} bytes: {what}")]
    Weights {
        /// How many.
        bytes: u64,
        /// What the allocator said.
        what: String,
    },
    /// A fault of this compiler.
    #[error("internal error while compiling ({stage}): {what}; please report this")]
    Internal {
        /// The pipeline's stage.
        stage: &'static str,
        /// What was wrong.
        what: String,
    },
}

/// Who plans the kernels.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Optimizer {
    /// Every operator is its own kernel.
    None,
    /// The greedy fuser.
    Greedy,
    /// Equality saturation, and a search by cost.
    #[default]
    EGraph,
}

impl Optimizer {
    /// All of them, from the one that does least.
    pub const ALL: [Optimizer; 3] = [Optimizer::None, Optimizer::Greedy, Optimizer::EGraph];

    /// The name in options and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Optimizer::None => "none",
            Optimizer::Greedy => "greedy",
            Optimizer::EGraph => "egraph",
        }
    }
}

impl std::fmt::Display for Optimizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

impl std::str::FromStr for Optimizer {
    type Err = String;
    /// The optimizer of that name; the error lists the known ones.
    fn from_str(s: &str) -> Result<Self, String> {
        Optimizer::ALL.into_iter().find(|o| o.name() == s).ok_or_else(|| {
            format!("unknown optimizer `{s}`; known are {}", Optimizer::ALL.map(Optimizer::name).join(", "))
        })
    }
}

/// How to compile.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Who plans the kernels.
    pub optimizer: Optimizer,
    /// Only rewrites that keep every bit.
    pub strict: bool,
    /// Rules that are left out, by name, [`layout::WINOGRAD`] and [`plan::attention::ATTENTION`]: for tests and ablations.
    pub without: &'static [&'static str],
    /// What kernels are scheduled for.
    pub machine: Machine,
}

/// Where a constant lies in the weights.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WeightSource {
    /// The regions it is in, from the outside.
    pub regions: Vec<RegionId>,
    /// The constant.
    pub constant: ConstId,
    /// The operator that lays it out, `Pack` or `WinogradWeights`, if it is not there as it is.
    pub layout: Option<Op>,
    /// Its first byte.
    pub offset: u64,
}

/// A program that runs on any machine, and is scheduled for one.
#[derive(Debug)]
pub struct Lowered {
    /// The canonical graph.
    pub graph: Graph,
    /// Its plan.
    pub plan: Plan,
    /// Kernels and calls.
    pub program: Program,
    /// What the weights hold.
    pub weights: Vec<WeightSource>,
    /// What the rewriter did; empty for other optimizers.
    pub report: rewrite::Report,
    /// Time from graph to program.
    pub optimize_time: Duration,
}

/// Canonicalizes, plans, schedules and assigns buffers.
///
/// # Errors
/// The graph is at fault, or this compiler.
pub fn lower(graph: Graph, options: &Options) -> Result<Lowered, Error> {
    lower_by(graph, options, |graph, cache| planned(graph, options, cache))
}

/// The graph and plan of the optimizer that the options name.
pub(crate) fn planned(
    graph: Graph,
    options: &Options,
    cache: &schedule::Cache,
) -> Result<rewrite::Rewritten, Error> {
    let (graph, plan) = match options.optimizer {
        Optimizer::None => {
            let plan = Plan::unfused(&graph);
            (graph, plan)
        }
        Optimizer::Greedy => {
            let (graph, _) = layout::choose(graph, cache.machine(), options).map_err(layout_fault)?;
            let plan = plan::greedy::plan_with(&graph, cache);
            let plan = attention(&graph, cache, plan, options);
            (graph, plan)
        }
        Optimizer::EGraph => return rewrite::rewrite(graph, options, cache),
    };
    Ok(rewrite::Rewritten { graph, plan, report: rewrite::Report::default() })
}

/// The plan with one kernel for each attention, unless the options leave that out.
pub(crate) fn attention(graph: &Graph, cache: &schedule::Cache, plan: Plan, options: &Options) -> Plan {
    if options.without.contains(&plan::attention::ATTENTION) {
        return plan;
    }
    plan::attention::join(graph, cache, plan)
}

pub(crate) fn layout_fault(e: fornax_ir::graph::GraphError) -> Error {
    Error::Internal { stage: "layout", what: e.to_string() }
}

/// As [`lower`], planned by the caller, who is given the canonical graph and what is known of its groups.
/// Regions are planned after the graph around them.
///
/// # Errors
/// As [`lower`]; a plan that is none, or has a group that is no kernel, is an internal error.
pub fn lower_with(
    graph: Graph,
    options: &Options,
    mut planner: impl FnMut(&Graph, &schedule::Cache) -> Result<Plan, Error>,
) -> Result<Lowered, Error> {
    lower_by(graph, options, |graph, cache| {
        let plan = planner(&graph, cache)?;
        Ok(rewrite::Rewritten { graph, plan, report: rewrite::Report::default() })
    })
}

/// As [`lower`], rewritten and planned by the caller, who gets the canonical graph.
pub(crate) fn lower_by(
    graph: Graph,
    options: &Options,
    mut rewrite: impl FnMut(Graph, &schedule::Cache) -> Result<rewrite::Rewritten, Error>,
) -> Result<Lowered, Error> {
    let start = Instant::now();
    let canonical = canonicalize::CanonicalizeOptions { strict: options.strict, ..Default::default() };
    let graph = canonicalize::canonicalize(renumber::renumber(&graph), &canonical)?;
    let cache = schedule::Cache::for_machine(&graph, options.machine);
    let rewrite::Rewritten { graph, plan, report } = outside_in(graph, &mut |g| rewrite(g, &cache))?;
    let (program, weights) = assemble::assemble(&graph, &plan, &cache)?;
    let optimize_time = start.elapsed();
    tracing::debug!(kernels = program.calls.len(), ?optimize_time, "lowered {}", graph.name);
    Ok(Lowered { graph, plan, program, weights, report, optimize_time })
}

/// Rewrites a graph, then its regions.
fn outside_in(
    graph: Graph,
    rewrite: &mut dyn FnMut(Graph) -> Result<rewrite::Rewritten, Error>,
) -> Result<rewrite::Rewritten, Error> {
    let mut made = rewrite(graph)?;
    made.plan.join_sorts(&made.graph);
    let mut plans = vec![];
    for region in &mut made.graph.regions {
        let inner = outside_in(std::mem::take(region), rewrite)?;
        *region = inner.graph;
        plans.push(inner.plan);
    }
    made.plan.regions = plans;
    Ok(made)
}

impl WeightSource {
    /// The constant's data.
    pub fn literal<'g>(&self, graph: &'g Graph) -> &'g Literal {
        let within = self.regions.iter().fold(graph, |g, r| &g.regions[r.index()]);
        &within.consts[self.constant.index()].literal
    }

    fn literal_mut<'g>(&self, graph: &'g mut Graph) -> &'g mut Literal {
        let within = self.regions.iter().fold(graph, |g, r| &mut g.regions[r.index()]);
        &mut within.consts[self.constant.index()].literal
    }
}

impl Lowered {
    /// The weights as the program expects them.
    pub fn weight_bytes(&self) -> Vec<u8> {
        let mut weights = vec![0u8; self.program.weights.bytes as usize];
        for w in &self.weights {
            w.write(w.literal(&self.graph), &mut weights[w.offset as usize..]);
        }
        weights
    }
}
