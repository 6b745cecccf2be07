//! Certificates: every rule against random graphs in which it applies, and every guard left out.
//!
//! Four tiers, each of which refutes a rule by an example:
//! 1. *Types*: what a rule makes has the type of what it replaces, also with symbolic extents.
//! 2. *Algebra*: where both sides are polynomials they agree modulo a prime, exactly (Schwartz, 1980: two
//!    polynomials that differ do so at most points).
//! 3. *Rounding*: exact rules keep every bit; those that reassociate stay within `n` roundings of the sum of the sizes
//!    of all terms (Higham, Accuracy and Stability of Numerical Algorithms, 2002, section 3.1), for floats between
//!    `2^-40` and `2^40`.
//! 4. *Special values*: exact rules keep NaN, infinities, the sign of zero, and the largest and smallest floats.
//!
//! Graphs are small: extents from 0 to 3, ranks up to 4. Without each of its guards a rule must fail: a guard that no
//! example needs is none.

mod draw;
mod numbers;

pub use draw::{Draw, Numbers};

use super::differential::{Checked, Meaning, check_classes, evaluate};
use super::rules::{Find, Float, Rule, Topic};
use super::saturate::{Fuel, Saturated, saturate_without};
use super::select::Candidates;
use fornax_ir::dtype::DType;
use fornax_ir::graph::interp::{Bindings, bind, run_all};
use fornax_ir::graph::{Graph, Op, ValueId};
use fornax_ir::literal::Literal;
use numbers::Kind;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// Roundings that a reassociated value may be away from the other one, relative to the sizes of its terms.
const ROUNDINGS: f64 = 256.0;
/// What certificates of rules that reassociate are about: floats of these sizes, and zeros.
const MODERATE: (f64, f64) = (1.0 / (1u64 << 40) as f64, (1u64 << 40) as f64);
/// Sizes outside of which a float has lost digits before a rule was applied.
const SAFE: (f64, f64) = (1e-30, 1e36);

/// How hard a certificate is looked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Effort {
    /// Graphs in which the rule applies, for each rule.
    pub graphs: usize,
    /// Graphs that are drawn for one of those, at most.
    pub drawn: usize,
    /// Where the random choices begin.
    pub seed: u64,
}

impl Default for Effort {
    fn default() -> Self {
        Effort { graphs: 1000, drawn: 200, seed: 1 }
    }
}

/// What a tier is about.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Tier {
    /// Types.
    Types,
    /// Polynomials modulo a prime.
    Algebra,
    /// Rounding.
    Rounding,
    /// NaN, infinities, zeros, limits.
    Special,
}

/// An example for which two spellings differ.
#[derive(Clone, PartialEq, Debug)]
pub struct Counterexample {
    /// By which tier it was found.
    pub tier: Tier,
    /// The graph, and how its spellings differ.
    pub what: String,
}

/// What is known of a guard.
#[derive(Clone, PartialEq, Debug)]
pub struct Trial {
    /// Its name.
    pub guard: &'static str,
    /// What goes wrong without it; `None`: nothing that was found.
    pub without: Option<Counterexample>,
}

/// What is known of a rule.
#[derive(Clone, PartialEq, Debug)]
pub struct Certificate {
    /// Its name.
    pub rule: &'static str,
    /// How exact it claims to be.
    pub float: Float,
    /// Graphs in which it was applied.
    pub graphs: usize,
    /// How many of them had a node compared by each tier.
    pub tiers: [usize; 4],
    /// What refutes it.
    pub refuted: Option<Counterexample>,
    /// Its guards.
    pub guards: Vec<Trial>,
    /// Why there is nothing to compare: the rule only gives names, or says what memory is.
    pub exempt: bool,
}

impl Certificate {
    /// Whether it was applied often enough, nothing refutes it, and every guard is needed.
    pub fn holds(&self) -> bool {
        let needed = self.guards.iter().all(|g| g.without.is_some());
        self.exempt || (self.graphs > 0 && self.refuted.is_none() && needed)
    }
}

impl fmt::Display for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.holds() { "holds" } else { "FAILS" };
        if self.exempt {
            return writeln!(f, "{verdict}  {}: nothing to compare", self.rule);
        }
        let class = if self.float == Float::Exact { "exact" } else { "reassociates" };
        let [types, algebra, rounding, special] = self.tiers;
        writeln!(
            f,
            "{verdict}  {} ({class}): {} graphs; types {types}, algebra {algebra}, rounding {rounding}, special values {special}",
            self.rule, self.graphs
        )?;
        if let Some(c) = &self.refuted {
            writeln!(f, "    refuted by {:?}: {}", c.tier, c.what)?;
        }
        for g in &self.guards {
            match &g.without {
                Some(c) => writeln!(f, "    guard '{}' is needed ({:?})", g.guard, c.tier)?,
                None => writeln!(f, "    guard '{}' is redundant: nothing fails without it", g.guard)?,
            }
        }
        Ok(())
    }
}

/// Tries to refute a rule, and each of its guards.
pub fn certify(rule: &'static Rule, effort: Effort) -> Certificate {
    let exempt = matches!(rule.topic, Topic::Fusion | Topic::Names);
    let mut certificate = Certificate {
        rule: rule.name,
        float: rule.float,
        graphs: 0,
        tiers: [0; 4],
        refuted: None,
        guards: vec![],
        exempt,
    };
    if exempt {
        return certificate;
    }
    let mut draw = Draw::new(effort.seed);
    for _ in 0..effort.graphs * effort.drawn {
        if certificate.graphs == effort.graphs || certificate.refuted.is_some() {
            break;
        }
        match attempt(rule, None, &mut draw) {
            None => {}
            Some(Ok(tiers)) => {
                certificate.graphs += 1;
                certificate.tiers.iter_mut().zip(tiers).for_each(|(all, this)| *all += usize::from(this));
            }
            Some(Err(counterexample)) => certificate.refuted = Some(counterexample),
        }
    }
    for guard in rule.guards {
        let mut draw = Draw::new(effort.seed);
        let mut attempts =
            (0..effort.graphs * effort.drawn).map(|_| attempt(rule, Some(guard.name), &mut draw));
        let without = attempts.find_map(|a| a.and_then(Result::err));
        certificate.guards.push(Trial { guard: guard.name, without });
    }
    certificate
}

/// The certificates of rules, in their order, found on as many threads as the machine has.
pub fn certify_all(rules: &[&'static Rule], effort: Effort) -> Vec<Certificate> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(rules.len());
    let next = AtomicUsize::new(0);
    let found = Mutex::new(vec![]);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(&rule) = rules.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let certificate = certify(rule, effort);
                    found.lock().unwrap_or_else(PoisonError::into_inner).push(certificate);
                }
            });
        }
    });
    let mut found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    found.sort_by_key(|c| rules.iter().position(|r| r.name == c.rule));
    found
}

/// One random graph: which tiers compared something, or what went wrong; `None` where the rule does not apply.
fn attempt(
    rule: &'static Rule,
    without: Option<&'static str>,
    draw: &mut Draw,
) -> Option<Result<[bool; 4], Counterexample>> {
    let graph = match (rule.drawn, &rule.find) {
        (Some(drawn), _) => drawn(draw)?,
        (None, Find::Pattern(pattern)) => draw::of_pattern(&pattern(), draw)?,
        (None, Find::Class(_)) => return None,
    };
    let failed = |tier: Tier, what: String| Counterexample { tier, what: format!("{what}, in\n{graph}") };
    let saturated = match saturate_without(&graph, Fuel::default(), std::iter::once(rule), without) {
        Ok(saturated) => saturated,
        Err(conflict) => return Some(Err(failed(Tier::Types, conflict))),
    };
    if let Some(refused) = &saturated.space.analysis.refused {
        return Some(Err(failed(Tier::Types, refused.clone())));
    }
    if saturated.fired.is_empty() {
        return None;
    }
    let mut tiers = [true, false, false, false];
    let compared = Comparison {
        rule,
        graph: &graph,
        saturated: &saturated,
        candidates: Candidates::new(&saturated, &graph),
    };
    for (tier, numbers) in [
        (Tier::Algebra, Numbers::Whole),
        (Tier::Rounding, Numbers::Moderate),
        (Tier::Special, Numbers::Special),
    ] {
        match compared.by(tier, numbers, draw) {
            Ok(checked) => tiers[tier as usize] = checked,
            Err(what) => return Some(Err(failed(tier, what))),
        }
    }
    Some(Ok(tiers))
}

/// A graph and its e-graph.
struct Comparison<'g> {
    rule: &'static Rule,
    graph: &'g Graph,
    saturated: &'g Saturated,
    candidates: Candidates<'g>,
}

impl Comparison<'_> {
    /// Whether a tier compared anything; what differs, in words.
    fn by(&self, tier: Tier, numbers: Numbers, draw: &mut Draw) -> Result<bool, String> {
        let symbols: Vec<i64> = (0..self.graph.symbols.len()).map(|_| draw.below(4) as i64).collect();
        let Some((args, bindings)) = self.arguments(&symbols, numbers, draw) else {
            return Ok(false);
        };
        let exact = self.rule.float == Float::Exact;
        let checked = match tier {
            Tier::Types => return Ok(true),
            Tier::Algebra => self.algebra(&args, &bindings)?,
            Tier::Rounding if !exact => self.envelope(&args, &bindings)?,
            Tier::Special if !exact => return Ok(false),
            Tier::Rounding | Tier::Special => self.bits(&args, &bindings)?,
        };
        Ok(checked.is_some_and(|c| c.nodes > c.classes))
    }

    /// Arguments of the graph's inputs for values of its symbols; `None` where these fit no run.
    fn arguments(
        &self,
        symbols: &[i64],
        numbers: Numbers,
        draw: &mut Draw,
    ) -> Option<(Vec<Literal>, Bindings)> {
        let value = |name: &str| self.graph.symbols.iter().position(|s| s == name).map(|k| symbols[k]);
        let mut args = vec![];
        for input in &self.graph.inputs {
            let shape: Option<Vec<usize>> =
                input.ty.shape.iter().map(|d| usize::try_from(d.eval_symbols(&value).ok()?).ok()).collect();
            args.push(draw.tensor(input.ty.dtype, &shape?, numbers));
        }
        let shapes: Vec<_> = args.iter().map(|a| (a.shape(), a.dtype())).collect();
        let bindings = bind(self.graph, &shapes).ok()?;
        Some((args, bindings))
    }

    /// All spellings agree modulo a prime.
    fn algebra(&self, args: &[Literal], bindings: &Bindings) -> Result<Option<Checked>, String> {
        let consts = &self.saturated.space.analysis.consts;
        let given = Kind::Modular.of_graph(self.graph, args, bindings);
        let meaning = Meaning {
            evaluate: &|op, ty, operands| Kind::Modular.evaluate(op, ty, operands, (args, consts), bindings),
            difference: &|_, want, got| {
                (want.bytes() != got.bytes() || want.shape() != got.shape())
                    .then(|| format!("modulo a prime it is {got:?} instead of {want:?}"))
            },
        };
        check_classes(&self.candidates, self.saturated, self.graph, given.into_iter(), &meaning).map(Some)
    }

    /// All spellings have the same bits, all NaNs being one.
    fn bits(&self, args: &[Literal], bindings: &Bindings) -> Result<Option<Checked>, String> {
        let Ok(values) = run_all(self.graph, args) else { return Ok(None) };
        let consts = &self.saturated.space.analysis.consts;
        let meaning = Meaning {
            evaluate: &|op, ty, operands| evaluate(op, ty, operands, args, consts, bindings),
            difference: &|_, want, got| differs(want, got),
        };
        check_classes(&self.candidates, self.saturated, self.graph, values.into_iter().map(Some), &meaning)
            .map(Some)
    }

    /// All spellings are within some roundings of each other; `None` where the graph's own values lose their digits.
    fn envelope(&self, args: &[Literal], bindings: &Bindings) -> Result<Option<Checked>, String> {
        let Ok(values) = run_all(self.graph, args) else { return Ok(None) };
        if self.scales_a_constant() {
            return Ok(None);
        }
        let sizes = Kind::Sizes.of_graph(self.graph, args, bindings);
        let mut of_class: Vec<Option<Literal>> = vec![None; self.candidates.len()];
        for (v, size) in self.graph.values().zip(sizes) {
            let float = self.graph.ty(v).dtype.is_float();
            let Some(size) = size else {
                // Integers agree exactly or not at all.
                if float {
                    return Ok(None);
                } else {
                    continue;
                };
            };
            let safe = |i: usize| size.get_f64(i) == 0.0 || (SAFE.0..SAFE.1).contains(&size.get_f64(i));
            let narrow = self.graph.ty(v).dtype == DType::F16;
            let numbers = matches!(self.graph.node(v).op, Op::Const(_) | Op::Broadcast(_));
            if narrow || !(numbers || (0..size.len()).all(safe)) {
                return Ok(None);
            }
            if let Some(class) = self.candidates.number(self.saturated.class(v)) {
                of_class[class] = Some(size);
            }
        }
        let consts = &self.saturated.space.analysis.consts;
        let meaning = Meaning {
            evaluate: &|op, ty, operands| evaluate(op, ty, operands, args, consts, bindings),
            difference: &|class, want, got| match &of_class[class] {
                Some(size) => away(want, got, size),
                None => differs(want, got).filter(|_| !want.dtype().is_float()),
            },
        };
        check_classes(&self.candidates, self.saturated, self.graph, values.into_iter().map(Some), &meaning)
            .map(Some)
    }
}

impl Comparison<'_> {
    /// Whether two constants are multiplied of which one is not moderate: either may then be what the rule takes for a
    /// tensor, and those are moderate.
    fn scales_a_constant(&self) -> bool {
        let number = |v: ValueId| {
            let node = self.graph.node(v);
            let of = if let Op::Broadcast(_) = node.op { node.inputs[0] } else { v };
            self.graph.literal(of)
        };
        let far = |l: &Literal| {
            (0..l.len())
                .map(|i| l.get_f64(i).abs())
                .any(|v| v != 0.0 && !(MODERATE.0..=MODERATE.1).contains(&v))
        };
        self.graph.nodes.iter().any(|n| {
            let numbers: Vec<&Literal> = n.inputs.iter().filter_map(|&v| number(v)).collect();
            n.inputs.len() == 2 && numbers.len() == 2 && numbers.into_iter().any(far)
        })
    }
}

/// Where two tensors have other bits, in words; NaN equals NaN.
fn differs(want: &Literal, got: &Literal) -> Option<String> {
    if (want.dtype(), want.shape()) != (got.dtype(), got.shape()) {
        return Some(format!(
            "it is {}{:?}, not {}{:?}",
            got.dtype(),
            got.shape(),
            want.dtype(),
            want.shape()
        ));
    }
    let bytes = want.dtype().bytes();
    let element = |l: &Literal, i: usize| l.bytes()[i * bytes..(i + 1) * bytes].to_vec();
    (0..want.len()).find_map(|i| {
        let nan = want.dtype().is_float() && want.get_f64(i).is_nan() && got.get_f64(i).is_nan();
        let equal = nan || element(want, i) == element(got, i);
        (!equal).then(|| format!("element {i} is {:?} instead of {:?}", got.get_f64(i), want.get_f64(i)))
    })
}

/// Where two tensors are more than some roundings apart, relative to the sizes of what was added up.
fn away(want: &Literal, got: &Literal, size: &Literal) -> Option<String> {
    if (want.dtype(), want.shape()) != (got.dtype(), got.shape()) {
        return differs(want, got);
    }
    let unit = if want.dtype() == DType::F64 { f64::EPSILON } else { f64::from(f32::EPSILON) };
    (0..want.len()).find_map(|i| {
        let (a, b) = (want.get_f64(i), got.get_f64(i));
        let near = (a - b).abs() <= ROUNDINGS * unit * size.get_f64(i);
        (!near).then(|| format!("element {i} is {b:?} instead of {a:?}, of terms of {:?}", size.get_f64(i)))
    })
}

#[cfg(test)]
mod tests;
