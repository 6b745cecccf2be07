//! From a graph to an e-graph that has seen all rules, within fuel.

use super::composites::TABLE;
use super::facts::{Facts, Typing, insert};
use super::language::{Kind, Node, Space, op};
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
    saturate_by(graph, fuel, rules::all().filter(|r| enabled(r)))
}

/// As [`saturate`], with rules of the caller's.
pub fn saturate_by(
    graph: &Graph,
    fuel: Fuel,
    rules: impl Iterator<Item = &'static Rule>,
) -> Result<Saturated, String> {
    saturate_without(graph, fuel, rules, None)
}

/// As [`saturate_by`], without the guard of that name in any rule: on trial, whether it is needed.
pub fn saturate_without(
    graph: &Graph,
    fuel: Fuel,
    rules: impl Iterator<Item = &'static Rule>,
    guard: Option<&'static str>,
) -> Result<Saturated, String> {
    let (mut space, classes, originals) = insert_graph(graph);
    space.analysis.left_out = guard;
    let rewrites: Vec<_> = rules.map(rules::rewrite).collect();
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

impl Saturated {
    /// Operators by which a value can be computed, or names of what it is, each once, in the order of its class.
    pub fn spellings(&self, v: ValueId) -> Vec<&'static str> {
        let mut names: Vec<&'static str> = vec![];
        for n in &self.space[self.class(v)].nodes {
            let name = match n.kind {
                Kind::Named => TABLE[n.attrs.0 as usize].name,
                _ => op(&self.space, n).map_or("", |o| o.name()),
            };
            if !name.is_empty() && !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }

    /// How many classes of the graph's values have each composite's name.
    pub fn names(&self) -> BTreeMap<&'static str, usize> {
        let mut classes: Vec<Id> = self.classes.iter().map(|&c| self.space.find(c)).collect();
        classes.sort();
        classes.dedup();
        let mut names = BTreeMap::new();
        for class in classes {
            for n in self.space[class].nodes.iter().filter(|n| n.kind == Kind::Named) {
                *names.entry(TABLE[n.attrs.0 as usize].name).or_insert(0) += 1;
            }
        }
        names
    }
}

#[cfg(test)]
mod tests {
    use super::super::composites;
    use super::super::pattern::{Pattern, binary, var};
    use super::super::rules::{Find, Make, Topic};
    use super::super::{differential, facts};
    use super::*;
    use fornax_ir::graph::ops::Unary;
    use fornax_ir::graph::text::parse;
    use fornax_ir::literal::Literal;
    use fornax_ir::scalar::{BinaryOp, UnaryOp};

    fn all(_: &Rule) -> bool {
        true
    }

    #[test]
    fn every_body_of_every_composite_gets_its_name() {
        for composite in composites::TABLE {
            for (k, body) in composite.bodies.iter().enumerate() {
                let graph = composites::body_graph(composite.operands, *body).unwrap();
                for graph in
                    [graph.clone(), crate::canonicalize::canonicalize(graph, &Default::default()).unwrap()]
                {
                    let found = saturate(&graph, Fuel::default(), &all).unwrap().names();
                    assert!(found.contains_key(composite.name), "{} {k}: {found:?}\n{graph}", composite.name);
                }
            }
        }
    }

    static WRONG_TYPE: Rule = Rule {
        name: "wrong",
        topic: Topic::Identities,
        equation: "x + x = neg x",
        why: "it is wrong",
        float: Float::Exact,
        find: Find::Pattern(|| binary(BinaryOp::Add, var(0), var(0))),
        make: Make::One(|s, m, loc| facts::add(s, Unary(UnaryOp::Neg), &[m.var(0)], loc)),
        guards: &[],
        pays: None,
        drawn: None,
    };

    #[test]
    fn a_wrong_rule_is_found_by_the_differential_whatever_would_be_extracted() {
        let graph = parse(
            "graph \"g\" {\n  %0: f32[3] = input \"x\"\n  %1: f32[3] = add %0, %0\n  %2: f32[3] = exp %1\n  output \"y\" %2\n}\n",
        )
        .unwrap();
        let args = [Literal::from_vec(&[3], vec![1.0f32, 2.0, 3.0]).unwrap()];
        let wrong = saturate_by(&graph, Fuel::default(), std::iter::once(&WRONG_TYPE)).unwrap();
        let error = differential::check_saturated(&wrong, &graph, &args).unwrap_err();
        assert!(error.contains("neg"), "{error}");
        assert!(differential::check(&graph, &args, false).is_ok());
    }

    #[test]
    fn chaos_takes_spellings_that_the_search_would_not() {
        let graph = parse(
            "graph \"g\" {\n  c0: f32[] \"\" = splat 0.5\n  %0: f32[2, 3] = input \"x\"\n  %1: f32[3, 2] = input \"w\"\n  \
             %2: f32[] = const c0\n  %3: f32[2, 3] = broadcast %2 shape [2, 3] axes []\n  %4: f32[2, 3] = mul %0, %3\n  \
             %5: f32[2, 2] = dot %4, %1 batch [] contract [1:0]\n  output \"y\" %5\n}\n",
        )
        .unwrap();
        let numbers = |n: usize| (0..n).map(|k| k as f32 - 2.0).collect::<Vec<_>>();
        let args = [
            Literal::from_vec(&[2, 3], numbers(6)).unwrap(),
            Literal::from_vec(&[3, 2], numbers(6)).unwrap(),
        ];
        let other = differential::check_chaos(&graph, &args, false, 1).unwrap();
        assert!(other > 0, "the factor stayed where it was");
        assert_eq!(differential::check_chaos(&graph, &args, true, 1), Ok(0));
    }

    #[test]
    fn a_pattern_finds_every_match_of_a_class_of_200_nodes() {
        let mut text = String::from("graph \"g\" {\n  %0: f32[3] = input \"x\"\n");
        for k in 0..200 {
            text.push_str(&format!("  c{k}: f32[] \"\" = splat {}.0\n", k + 2));
        }
        for k in 0..200 {
            let at = 1 + 3 * k;
            text.push_str(&format!("  %{at}: f32[] = const c{k}\n"));
            text.push_str(&format!("  %{}: f32[3] = broadcast %{at} shape [3] axes []\n", at + 1));
            text.push_str(&format!("  %{}: f32[3] = mul %0, %{}\n", at + 2, at + 1));
        }
        text.push_str("  output \"y\" %3\n}\n");
        let graph = parse(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
        let mut saturated = saturate_by(&graph, Fuel::default(), std::iter::empty()).unwrap();
        let first = saturated.class(ValueId(3));
        for k in 1..200 {
            let other = saturated.class(ValueId(3 + 3 * k));
            saturated.space.union(first, other);
        }
        saturated.space.rebuild();
        let pattern = binary(BinaryOp::Mul, var(0), Pattern::Number(150.0));
        assert_eq!(pattern.matches(&saturated.space, first).len(), 1);
        assert_eq!(saturated.space[saturated.space.find(first)].nodes.len(), 200);
    }

    #[test]
    fn equal_graphs_give_equal_e_graphs_and_unequal_types_stop_the_search() {
        let graph =
            parse("graph \"g\" {\n  %0: f32[3] = input \"x\"\n  %1: f32[3] = neg %0\n  output \"y\" %1\n}\n")
                .unwrap();
        let mut space = saturate_by(&graph, Fuel::default(), std::iter::empty()).unwrap().space;
        let loc = space[egg::Id::from(0)].data.loc;
        let scalar = facts::add_scalar(&mut space, fornax_ir::scalar::Scalar::i64(1), loc);
        space.union(egg::Id::from(0), scalar);
        assert!(space.analysis.conflict.is_some());
    }
}
