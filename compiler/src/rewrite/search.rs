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
use std::sync::atomic::{AtomicUsize, Ordering};

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
    let mut choices = choices(&saturated, &candidates);
    choices.truncate(MAX_DECISIONS);
    let mut wanted = FxHashSet::default();
    let estimated = |wanted: &FxHashSet<(usize, Node)>| spelled(&candidates, &graph, wanted, options, true);
    let mut best = planned(estimated(&wanted)?, cache, &profile)?;
    // Most decisions are not kept, so each is spelled as if none before it was.
    let alone = in_parallel(choices.len(), &|k| estimated(&choices[k].spellings));
    for (choice, alone) in choices.into_iter().zip(alone) {
        let mut more: FxHashSet<(usize, Node)> = wanted.clone();
        more.extend(choice.spellings.iter().cloned());
        let selection = if wanted.is_empty() { alone? } else { estimated(&more)? };
        let tried = planned(selection, cache, &profile)?;
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
    if !wanted.is_empty() {
        best = planned(spelled(&candidates, &graph, &wanted, options, false)?, cache, &profile)?;
    }
    let Tried { graph, plan, inlinable, .. } = laid_out(best, options, cache)?;
    let plan = crate::attention(&graph, cache, plan, options);
    let (plan, moves) = fusion::improve(&graph, cache, plan, &profile, &|v| inlinable[v.index()]);
    report.moves = moves;
    let cost =
        |g: &Group| (graph.loc(g.root).to_string(), profile.group(&graph, cache, g).unwrap_or_default());
    report.kernels = plan.groups.iter().map(cost).collect();
    Ok(Rewritten { graph, plan, report })
}

/// A graph in the layouts that its contractions like best, with its plan.
fn laid_out(best: Tried, options: &Options, cache: &Cache) -> Result<Tried, Error> {
    let chosen = crate::layout::choose(best.graph, cache.machine(), options);
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

/// The graph with those spellings, in canonical form; to `estimate` what it costs, without large constants.
fn spelled(
    candidates: &Candidates<'_>,
    graph: &Graph,
    wanted: &FxHashSet<(usize, Node)>,
    options: &Options,
    estimate: bool,
) -> Result<Selection, Error> {
    let mut selected = candidates.select(graph, wanted).ok_or_else(|| Error::Internal {
        stage: "rewrite",
        what: "an output is not computed by the e-graph".to_string(),
    })?;
    if !wanted.is_empty() {
        // Constants fold, and views meet.
        let canonical = CanonicalizeOptions { strict: options.strict, estimate, ..Default::default() };
        selected.graph = canonicalize(selected.graph, &canonical)?;
        selected.inlinable = vec![!options.without.contains(&LOAD); selected.graph.nodes.len()];
    }
    Ok(selected)
}

fn planned(
    Selection { graph, inlinable }: Selection,
    cache: &Cache,
    profile: &Profile,
) -> Result<Tried, Error> {
    let plan = greedy::plan_where(&graph, cache, &|v| inlinable[v.index()]);
    let cost = profile.plan(&graph, cache, &plan)?;
    Ok(Tried { graph, plan, inlinable, cost })
}

/// The results of a function for 0..n, on the machine's threads.
fn in_parallel<R: Send>(n: usize, f: &(dyn Fn(usize) -> R + Sync)) -> Vec<R> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(n);
    let next = AtomicUsize::new(0);
    let work = || {
        let numbers = std::iter::from_fn(|| Some(next.fetch_add(1, Ordering::Relaxed)));
        numbers.take_while(|&k| k < n).map(|k| (k, f(k))).collect::<Vec<_>>()
    };
    let mut found = std::thread::scope(|scope| {
        // A thread that the system refuses only leaves more to the others.
        let spawn = |_| std::thread::Builder::new().spawn_scoped(scope, work).ok();
        let spawned: Vec<_> = (1..threads).filter_map(spawn).collect();
        let mut found = work();
        for other in spawned {
            found.extend(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        found
    });
    found.sort_by_key(|(k, _)| *k);
    found.into_iter().map(|(_, r)| r).collect()
}
