//! From a graph to an e-graph that has seen all rules, within fuel.

use super::facts::{Facts, Typing, insert};
use super::language::{Node, Space};
use super::rules::{self, Float, Rule};
use egg::{Id, Rewrite, RewriteScheduler, Runner, SearchMatches, StopReason};
use fornax_ir::graph::{Graph, ValueId};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// How much may be searched. There is no limit on time: the same graph gives the same plan on any machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fuel {
    /// Rounds of all rules.
    pub iterations: usize,
    /// Nodes of the e-graph for each node of the graph, besides the three that each node is.
    pub growth: usize,
    /// Matches of one rule in one round, for each node of the graph.
    pub matches: usize,
}

impl Default for Fuel {
    fn default() -> Self {
        Fuel { iterations: 6, growth: 6, matches: 2 }
    }
}

/// The e-graph of a graph, after the rules.
pub struct Saturated {
    /// The e-graph.
    pub space: Space,
    /// The scalar class of each value of the graph.
    pub classes: Vec<Id>,
    /// The node of each value as it was inserted, and so of the original spelling.
    pub originals: Vec<Node>,
    /// How often each rule added an equality.
    pub fired: BTreeMap<&'static str, usize>,
    /// Rounds of all rules.
    pub iterations: usize,
    /// Why it stopped.
    pub stop: String,
}

/// Limits the matches of each rule in each round.
struct Limited {
    matches: usize,
}

impl RewriteScheduler<Node, Typing> for Limited {
    fn search_rewrite<'a>(
        &mut self,
        _: usize,
        space: &Space,
        rewrite: &'a Rewrite<Node, Typing>,
    ) -> Vec<SearchMatches<'a, Node>> {
        rewrite.search_with_limit(space, self.matches)
    }
}

/// Inserts every node of the graph.
fn insert_graph(graph: &Graph) -> (Space, Vec<Id>, Vec<Node>) {
    let mut space = Space::new(Typing::new(graph));
    let mut classes: Vec<Id> = Vec::with_capacity(graph.nodes.len());
    let mut originals = Vec::with_capacity(graph.nodes.len());
    for n in &graph.nodes {
        let children: Vec<Id> = n.inputs.iter().map(|v| classes[v.index()]).collect();
        let id = insert(&mut space, n.op.clone(), &children, Arc::new(n.ty.clone()), n.loc);
        originals.extend(space.analysis.recent.drain(..).map(|made| made.1));
        classes.push(id);
    }
    (space, classes, originals)
}

/// Inserts a graph and applies the rules that `enabled` lets pass. `Err` says which contradiction the
/// rules have led to: a fault of theirs.
pub fn saturate(graph: &Graph, fuel: Fuel, enabled: &dyn Fn(&Rule) -> bool) -> Result<Saturated, String> {
    let (space, classes, originals) = insert_graph(graph);
    let rewrites: Vec<_> = rules::all().filter(|r| enabled(r)).map(rules::rewrite).collect();
    let nodes = graph.nodes.len().max(16);
    let runner = Runner::<Node, Typing>::new(Typing::new(&Graph::default()))
        .with_egraph(space)
        .with_time_limit(Duration::MAX)
        .with_iter_limit(fuel.iterations)
        .with_node_limit(nodes * (3 + fuel.growth))
        .with_scheduler(Limited { matches: nodes * fuel.matches })
        .with_hook(|runner| runner.egraph.analysis.conflict.clone().map_or(Ok(()), Err))
        .run(&rewrites);
    let iterations = runner.iterations.len();
    let stop = match runner.stop_reason {
        Some(StopReason::Saturated) => "nothing is left to find".to_string(),
        Some(StopReason::IterationLimit(n)) => format!("{n} rounds are over"),
        Some(StopReason::NodeLimit(n)) => format!("it has {n} nodes"),
        Some(StopReason::Other(why)) => why,
        Some(StopReason::TimeLimit(_)) | None => "it was stopped".to_string(),
    };
    let mut space = runner.egraph;
    space.rebuild();
    if let Some(conflict) = &space.analysis.conflict {
        return Err(conflict.clone());
    }
    let fired = std::mem::take(&mut space.analysis.fired);
    Ok(Saturated { space, classes, originals, fired, iterations, stop })
}

/// The rules of an optimisation that must keep every bit, or need not.
pub fn allowed(strict: bool) -> impl Fn(&Rule) -> bool {
    move |rule| !strict || rule.float == Float::Exact
}

impl Saturated {
    /// The class of a value of the graph.
    pub fn class(&self, v: ValueId) -> Id {
        self.space.find(self.classes[v.index()])
    }
    /// Facts of a class.
    pub fn facts(&self, id: Id) -> &Facts {
        &self.space[id].data
    }
}
