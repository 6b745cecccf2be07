//! The e-graph differential: every node of every class computes what its class is.
//!
//! A wrong rule makes two classes one that are not equal. Extraction may hide that: it picks one node a
//! class. Here each node is evaluated on the values of its operands' classes and compared.

use super::saturate::{Fuel, Saturated, allowed, saturate};
use super::select::Candidates;
use fornax_ir::DType;
use fornax_ir::graph::interp::{Bindings, bind, run, run_all};
use fornax_ir::graph::ops::{EvalCx, OpClass};
use fornax_ir::graph::{Graph, Op, TensorType};
use fornax_ir::literal::Literal;
use std::cell::Cell;

/// What was compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Checked {
    /// Classes with a value.
    pub classes: usize,
    /// Nodes that were evaluated.
    pub nodes: usize,
}

/// Saturates a canonical graph and evaluates every node of every class that its outputs can reach, on the
/// arguments given.
///
/// # Errors
/// The first node that disagrees with its class, in words; or that the graph cannot be evaluated.
pub fn check(graph: &Graph, args: &[Literal], strict: bool) -> Result<Checked, String> {
    check_saturated(&saturate(graph, Fuel::default(), &allowed(strict))?, graph, args)
}

/// As [`check`], for an e-graph that is there.
///
/// # Errors
/// As [`check`].
pub fn check_saturated(saturated: &Saturated, graph: &Graph, args: &[Literal]) -> Result<Checked, String> {
    let shapes: Vec<_> = args.iter().map(|a| (a.shape(), a.dtype())).collect();
    let bindings = bind(graph, &shapes).map_err(|e| e.to_string())?;
    let candidates = Candidates::new(saturated, graph);
    let values = run_all(graph, args).map_err(|e| e.to_string())?.into_iter().map(Some);
    let consts = &saturated.space.analysis.consts;
    let meaning = Meaning {
        evaluate: &|op, ty, operands| evaluate(op, ty, operands, args, consts, &bindings),
        difference: &|_, want, got| difference(want, got),
    };
    check_classes(&candidates, saturated, graph, values, &meaning)
}

/// See [`Meaning::evaluate`].
pub(super) type Evaluate<'m> = dyn Fn(&Op, &TensorType, &[&Literal]) -> Option<Literal> + 'm;

/// What nodes are worth: numbers of some kind, and when two of them are equal.
pub(super) struct Meaning<'m> {
    /// A node's value from those of its operands; `None` where this kind of number has none.
    pub evaluate: &'m Evaluate<'m>,
    /// How the value of a node differs from that of its class, of this number, in words.
    pub difference: &'m dyn Fn(usize, &Literal, &Literal) -> Option<String>,
}

/// Evaluates every node of every class, beginning with the values of a graph, in the order of its nodes.
///
/// # Errors
/// The first node that disagrees with its class, in words.
pub(super) fn check_classes(
    candidates: &Candidates<'_>,
    saturated: &Saturated,
    graph: &Graph,
    given: impl Iterator<Item = Option<Literal>>,
    meaning: &Meaning<'_>,
) -> Result<Checked, String> {
    let mut values: Vec<Option<Literal>> = vec![None; candidates.len()];
    for (v, value) in graph.values().zip(given) {
        if let (Some(class), Some(value)) = (candidates.number(saturated.class(v)), value) {
            values[class].get_or_insert(value);
        }
    }
    let spellings: Vec<_> = candidates.spellings().collect();
    // Classes that rules made, in as many rounds as they are deep.
    let mut open: Vec<usize> =
        (0..spellings.len()).filter(|&k| values[spellings[k].class].is_none()).collect();
    loop {
        let before = open.len();
        open.retain(|&k| {
            let s = &spellings[k];
            if values[s.class].is_none()
                && let Some(operands) =
                    s.operands.iter().map(|&o| values[o].as_ref()).collect::<Option<Vec<_>>>()
                && !skipped(s.op)
            {
                values[s.class] = (meaning.evaluate)(s.op, &s.ty, &operands);
            }
            values[s.class].is_none()
        });
        if open.len() == before {
            break;
        }
    }
    let mut checked = Checked { classes: values.iter().flatten().count(), nodes: 0 };
    for s in spellings.iter().filter(|s| !skipped(s.op)) {
        let (Some(want), Some(operands)) =
            (&values[s.class], s.operands.iter().map(|&o| values[o].as_ref()).collect::<Option<Vec<_>>>())
        else {
            continue;
        };
        let Some(got) = (meaning.evaluate)(s.op, &s.ty, &operands) else { continue };
        checked.nodes += 1;
        if let Some(difference) = (meaning.difference)(s.class, want, &got) {
            return Err(format!(
                "{} of type {} is not equal to its class: {difference} ({})",
                s.op.name(),
                s.ty,
                graph.loc_text(s.loc)
            ));
        }
    }
    Ok(checked)
}

/// Runs a graph in other spellings than the search would choose ([`Candidates::chaos`]), and compares its outputs; how
/// many of its nodes were not in the graph as it was written.
///
/// # Errors
/// The seed whose spellings give something else, in words; or that the graph cannot be evaluated.
pub fn check_chaos(graph: &Graph, args: &[Literal], strict: bool, seeds: u64) -> Result<usize, String> {
    let saturated = saturate(graph, Fuel::default(), &allowed(strict))?;
    let candidates = Candidates::new(&saturated, graph);
    let want = run(graph, args).map_err(|e| e.to_string())?.outputs;
    let mut other = 0;
    for seed in 0..seeds {
        let chosen = candidates.chaos(graph, seed).ok_or("an output is not computed by the e-graph")?.graph;
        let got = run(&chosen, args).map_err(|e| format!("seed {seed}: {e}"))?.outputs;
        let ops: Vec<&Op> = graph.nodes.iter().map(|n| &n.op).collect();
        other += chosen.nodes.iter().filter(|n| !ops.contains(&&n.op)).count();
        for (k, (want, got)) in want.iter().zip(&got).enumerate() {
            if let Some(difference) = difference(want, got) {
                return Err(format!("seed {seed}, output {k}: {difference}, in\n{chosen}"));
            }
        }
    }
    Ok(other)
}

/// Control flow is evaluated as a whole, with the graph.
fn skipped(op: &Op) -> bool {
    op.class() == OpClass::Region
}

/// The value of a node as the reference interpreter gives it.
pub(super) fn evaluate(
    op: &Op,
    ty: &TensorType,
    operands: &[&Literal],
    args: &[Literal],
    consts: &[fornax_ir::graph::Const],
    bindings: &Bindings,
) -> Option<Literal> {
    let extent = |d: &fornax_ir::Dim| bindings.dim(d).ok().and_then(|n| usize::try_from(n).ok());
    let shape = ty.shape.iter().map(extent).collect::<Option<Vec<usize>>>()?;
    let index_error = Cell::new(false);
    let symbol = |s: &str| bindings.get(s);
    let cx =
        EvalCx { args, consts, symbol: &symbol, dtype: ty.dtype, shape: &shape, index_error: &index_error };
    op.meaning().eval(&cx, operands).ok()
}

/// Relative to the largest value, by how much sums in another order may differ.
fn tolerance(dtype: DType) -> f64 {
    match dtype {
        DType::F64 => 1e-10,
        DType::F32 => 1e-4,
        d if d.is_float() => 3e-2,
        _ => 0.0,
    }
}

/// Where two tensors differ, in words; NaN equals NaN.
fn difference(want: &Literal, got: &Literal) -> Option<String> {
    if (want.dtype(), want.shape()) != (got.dtype(), got.shape()) {
        return Some(format!(
            "{}{:?} instead of {}{:?}",
            got.dtype(),
            got.shape(),
            want.dtype(),
            want.shape()
        ));
    }
    if want.bytes() == got.bytes() {
        return None;
    }
    let finite = (0..want.len()).map(|i| want.get_f64(i).abs()).filter(|v| v.is_finite());
    let allowed = tolerance(want.dtype()) * finite.fold(0.0, f64::max);
    (0..want.len()).find_map(|i| {
        let (a, b) = (want.get_f64(i), got.get_f64(i));
        let equal = a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= allowed;
        (!equal).then(|| format!("element {i} is {b} instead of {a}"))
    })
}
