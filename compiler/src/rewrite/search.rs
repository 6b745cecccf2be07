//! Which spellings and fusions to use: those that make the kernels cheaper.
//!
//! The equalities that one rule found at places of one type are one decision: equal blocks of a deep model are
//! decided together, so that the number of decisions does not grow with depth. A decision is tried by
//! planning the graph with it, and kept when the plan costs less.

use super::cost::Profile;
use super::fusion;
use super::language::Node;
use super::rules::LOAD;
use super::saturate::{Fuel, Saturated, allowed, saturate};
use super::select::{Candidates, Selection};
use super::{Decision, Report, Rewritten};
use crate::canonicalize::{CanonicalizeOptions, canonicalize};
use crate::plan::{Group, Plan, greedy};
use crate::schedule::Cache;
use crate::{Error, Options};
use fornax_ir::graph::Graph;
use rustc_hash::FxHashSet;
use std::collections::BTreeMap;

/// Decisions tried, at most.
const MAX_DECISIONS: usize = 8;
/// A spelling is used when it saves this part of the whole cost, or more.
const MARGIN: f64 = 1e-3;

/// Spellings that are decided together.
struct Choice {
    rule: &'static str,
    ty: String,
    spellings: FxHashSet<(usize, Node)>,
}

/// A graph with its plan and what the plan costs.
struct Tried {
    graph: Graph,
    plan: Plan,
    inlinable: Vec<bool>,
    cost: f64,
}

/// Rewrites and plans a canonical graph.
pub(super) fn rewrite(graph: Graph, options: &Options, cache: &Cache) -> Result<Rewritten, Error> {
    let profile = Profile::default();
    let enabled = allowed(options.strict);
    let enabled = |r: &super::rules::Rule| enabled(r) && !options.without.contains(&r.name);
    let saturated = match saturate(&graph, Fuel::default(), &enabled) {
        Ok(saturated) => saturated,
        Err(conflict) => {
            tracing::error!(%conflict, "a rewrite rule is wrong; the graph is planned as it is; please report this");
            let plan = greedy::plan_with(&graph, cache);
            return Ok(Rewritten { graph, plan, report: Report { stop: conflict, ..Report::default() } });
        }
    };
    let candidates = Candidates::new(&saturated, &graph);
    let mut report = Report::of(&saturated);
    let choices = choices(&saturated, &candidates);
    let mut wanted = FxHashSet::default();
    let mut best = try_selection(&candidates, &graph, &wanted, options, cache, &profile)?;
    for choice in choices.into_iter().take(MAX_DECISIONS) {
        let mut more: FxHashSet<(usize, Node)> = wanted.clone();
        more.extend(choice.spellings.iter().cloned());
        let tried = try_selection(&candidates, &graph, &more, options, cache, &profile)?;
        let kept = tried.cost < best.cost * (1.0 - MARGIN);
        report.decisions.push(Decision {
            rule: choice.rule,
            ty: choice.ty,
            sites: choice.spellings.len(),
            before: best.cost,
            after: tried.cost,
            kept,
        });
        if kept {
            (best, wanted) = (tried, more);
        }
    }
    let Tried { graph, plan, inlinable, .. } = laid_out(best, options, cache)?;
    let (plan, moves) = fusion::improve(&graph, cache, plan, &profile, &|v| inlinable[v.index()]);
    report.moves = moves;
    let cost =
        |g: &Group| (graph.loc(g.root).to_string(), profile.group(&graph, cache, g).unwrap_or_default());
    report.kernels = plan.groups.iter().map(cost).collect();
    Ok(Rewritten { graph, plan, report })
}

/// A graph in the layouts that its contractions like best, with its plan.
fn laid_out(best: Tried, options: &Options, cache: &Cache) -> Result<Tried, Error> {
    let chosen = crate::layout::choose(best.graph, cache.machine(), options.strict);
    let (graph, changed) = chosen.map_err(crate::layout_fault)?;
    if !changed {
        return Ok(Tried { graph, ..best });
    }
    let inlinable = vec![!options.without.contains(&LOAD); graph.nodes.len()];
    let plan = greedy::plan_where(&graph, cache, &|v| inlinable[v.index()]);
    Ok(Tried { graph, plan, inlinable, cost: best.cost })
}

/// The spellings that rules found, in order of rule and type.
fn choices(saturated: &Saturated, candidates: &Candidates<'_>) -> Vec<Choice> {
    let mut found: BTreeMap<(&'static str, String), FxHashSet<(usize, Node)>> = BTreeMap::new();
    for added in &saturated.space.analysis.added {
        let Some(spelling) = candidates.find(added) else { continue };
        let ty = saturated.facts(added.class).ty.to_string();
        found.entry((added.rule, ty)).or_default().insert(spelling);
    }
    found.into_iter().map(|((rule, ty), spellings)| Choice { rule, ty, spellings }).collect()
}

fn try_selection(
    candidates: &Candidates<'_>,
    graph: &Graph,
    wanted: &FxHashSet<(usize, Node)>,
    options: &Options,
    cache: &Cache,
    profile: &Profile,
) -> Result<Tried, Error> {
    let selected = candidates.select(graph, wanted).ok_or_else(|| Error::Internal {
        stage: "rewrite",
        what: "an output is not computed by the e-graph".to_string(),
    })?;
    let Selection { mut graph, mut inlinable } = selected;
    if !wanted.is_empty() {
        // Constants fold, and views meet.
        let canonical = CanonicalizeOptions { strict: options.strict, ..Default::default() };
        graph = canonicalize(graph, &canonical)?;
        inlinable = vec![!options.without.contains(&LOAD); graph.nodes.len()];
    }
    let plan = greedy::plan_where(&graph, cache, &|v| inlinable[v.index()]);
    let cost = profile.plan(&graph, cache, &plan)?;
    Ok(Tried { graph, plan, inlinable, cost })
}
