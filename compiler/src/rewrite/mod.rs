//! Rewriting by equality saturation, with egg.
//!
//! ```text
//! canonical graph -> e-graph (rules, fuel) -> decisions -> graph -> fusion -> Plan
//! ```
//! The rules ([`rules`]) add equalities and decide nothing. The search tries the spellings they found, and
//! fusions that the greedy sweep does not see, and keeps what makes the kernels cheaper by [`cost`].
//! Why an own matcher, an own extractor and fuel instead of time: the documentation of
//! [`pattern`], [`select`] and [`saturate`].

pub mod certify;
pub mod composites;
pub mod cost;
pub mod differential;
pub mod facts;
pub mod fusion;
pub mod language;
pub mod pattern;
pub mod rules;
pub mod saturate;
mod search;
pub mod select;

use crate::plan::Plan;
use crate::schedule::Cache;
use crate::{Error, Options};
use fornax_ir::graph::Graph;
use saturate::Saturated;
use std::collections::BTreeMap;
use std::fmt;

/// Spellings that one rule found at places of one type, tried together.
#[derive(Clone, PartialEq, Debug)]
pub struct Decision {
    /// The rule.
    pub rule: &'static str,
    /// Type of the values that it spells differently.
    pub ty: String,
    /// How many there are.
    pub sites: usize,
    /// Cost of the plan without, in nanoseconds of the cost model.
    pub before: f64,
    /// Cost with it.
    pub after: f64,
    /// Whether it is used.
    pub kept: bool,
}

/// What the rewriter did, and why.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Report {
    /// Nodes of the e-graph.
    pub nodes: usize,
    /// Its classes.
    pub classes: usize,
    /// Rounds of all rules.
    pub iterations: usize,
    /// Why it stopped.
    pub stop: String,
    /// How often each rule made two classes one.
    pub fired: BTreeMap<&'static str, usize>,
    /// How many values have each composite's name.
    pub names: BTreeMap<&'static str, usize>,
    /// Spellings that were tried.
    pub decisions: Vec<Decision>,
    /// Fusions that were changed.
    pub moves: fusion::Moves,
    /// Each kernel's place in the source, and its cost in nanoseconds of the cost model.
    pub kernels: Vec<(String, f64)>,
}

impl Report {
    fn of(saturated: &Saturated) -> Report {
        Report {
            nodes: saturated.space.total_number_of_nodes(),
            classes: saturated.space.number_of_classes(),
            iterations: saturated.iterations,
            stop: saturated.stop.clone(),
            fired: saturated.fired.clone(),
            names: saturated.names(),
            decisions: vec![],
            ..Report::default()
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "e-graph: {} nodes, {} classes, {} rounds; stopped because {}",
            self.nodes, self.classes, self.iterations, self.stop
        )?;
        for (rule, n) in &self.fired {
            writeln!(f, "rule {rule}: {n}")?;
        }
        for (name, n) in &self.names {
            writeln!(f, "named {name}: {n}")?;
        }
        for d in &self.decisions {
            let verdict = if d.kept { "used" } else { "not used" };
            writeln!(
                f,
                "{} at {} values {}: {:.1} us before, {:.1} us after, {verdict}",
                d.rule,
                d.sites,
                d.ty,
                d.before / 1e3,
                d.after / 1e3
            )?;
        }
        let fusion::Moves { splits, joins, merges, tried } = self.moves;
        writeln!(
            f,
            "fusion: {splits} kernels split, {joins} values joined, {merges} pairs merged, {tried} kernels tried"
        )?;
        for (loc, cost) in &self.kernels {
            writeln!(f, "kernel {:.1} us // {loc}", cost / 1e3)?;
        }
        Ok(())
    }
}

/// A graph, rewritten and planned.
#[derive(Debug)]
pub struct Rewritten {
    /// The graph.
    pub graph: Graph,
    /// Its plan.
    pub plan: Plan,
    /// How it came about.
    pub report: Report,
}

/// Rewrites and plans a canonical graph. Deterministic: the same graph gives the same plan.
///
/// # Errors
/// [`Error::Internal`] for faults of the compiler.
pub fn rewrite(graph: Graph, options: &Options, cache: &Cache) -> Result<Rewritten, Error> {
    search::rewrite(graph, options, cache)
}
