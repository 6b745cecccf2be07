//! Canonicalization: one spelling for equal computations, before fusion decides anything.
//!
//! An ordered list of named passes ([`pass_names`]). Each sweeps the live nodes once, in order, and
//! builds a new graph whose nodes are hash-consed: equal nodes are one node. Nothing recurses over
//! the graph and nothing is repeated to a fixpoint, so time is linear in the number of nodes.
//!
//! Regions (the bodies of control flow) go through the passes before the graph around them.
//!
//! Every pass keeps the inputs (also unused ones), the outputs, symbols, ranges, guards and source
//! locations. Passes that change float results (reassociation of constants, folding of
//! normalisation into weights) are off under [`CanonicalizeOptions::strict`]; all others are exact
//! under the semantics of `docs/numerics.md`, in which NaN payloads and signs are unspecified.

mod affine;
mod batch_norm;
pub(crate) mod constant;
mod dead_code;
mod dequantize;
mod fold;
mod identities;
mod layout;
#[cfg(test)]
mod random_tests;
pub(crate) mod rebuild;
mod simplify;
#[cfg(test)]
pub(crate) mod testing;
mod views;

pub(crate) use views::permuted_axes;

use fornax_ir::graph::verify::{VerifyError, verify};
use fornax_ir::graph::{Graph, GraphError, ValueId};
use thiserror::Error;

/// What canonicalization may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CanonicalizeOptions {
    /// Only exact passes: results stay bit-equal to the graph as it was built.
    pub strict: bool,
    /// Bytes up to which a folded constant may be larger than the constants it replaces.
    pub fold_budget: usize,
    /// Large constants that are folded only stand for what they would be, without its elements: for graphs that are
    /// planned to learn what they cost, and never run.
    pub estimate: bool,
}

impl Default for CanonicalizeOptions {
    /// Not strict, 64 KiB, with all elements.
    fn default() -> Self {
        CanonicalizeOptions { strict: false, fold_budget: 64 << 10, estimate: false }
    }
}

/// Why canonicalization failed; either is a defect of the compiler, not of the graph.
#[derive(Debug, Error, Clone, PartialEq)]
pub enum Error {
    /// A pass made a node that has no type.
    #[error("canonicalization pass `{pass}` made an ill-typed node (a defect of the compiler): {source}")]
    Graph {
        /// The pass.
        pass: &'static str,
        /// What inference said.
        #[source]
        source: GraphError,
    },
    /// A pass made an invalid graph.
    #[error("canonicalization pass `{pass}` made an invalid graph (a defect of the compiler): {source}")]
    Invalid {
        /// The pass.
        pass: &'static str,
        /// What the verifier said.
        #[source]
        source: VerifyError,
    },
}

/// A pass: a graph without dead nodes to an equal graph.
type Pass = fn(&Graph, &CanonicalizeOptions) -> Result<Graph, GraphError>;

/// The passes by name, in order.
static PASSES: &[(&str, Pass)] = &[
    ("simplify", simplify::simplify),
    ("layout", layout::normalize),
    ("scale-products", dequantize::scale_products),
    ("fold-affine", affine::fold_affine),
    ("simplify-again", simplify::simplify),
];

/// The names of the passes, in the order they run.
pub fn pass_names() -> impl Iterator<Item = &'static str> {
    PASSES.iter().map(|p| p.0)
}

/// Brings a graph into canonical form.
///
/// # Errors
/// [`enum@Error`], when a pass makes an invalid graph: a defect of the compiler.
pub fn canonicalize(graph: Graph, options: &CanonicalizeOptions) -> Result<Graph, Error> {
    run_passes(graph, options, true)
}

/// A graph without its dead nodes, in which views meet and constants are folded; nodes for which `stays` says so stay
/// as they are.
///
/// # Errors
/// A fault of the compiler: an operator refuses its operands.
pub(crate) fn simplified(graph: Graph, stays: impl Fn(&Graph, ValueId) -> bool) -> Result<Graph, GraphError> {
    let graph = dead_code::remove(graph);
    let stays = |v: ValueId| stays(&graph, v);
    Ok(dead_code::remove(simplify::simplify_but(&graph, &CanonicalizeOptions::default(), &stays)?))
}

/// Runs the passes in the regions, then on the graph itself. Regions are verified as parts of the
/// `outermost` graph.
fn run_passes(graph: Graph, options: &CanonicalizeOptions, outermost: bool) -> Result<Graph, Error> {
    let mut graph = dead_code::remove(graph);
    for region in &mut graph.regions {
        *region = run_passes(std::mem::take(region), options, false)?;
    }
    for &(pass, run) in PASSES {
        let next = run(&graph, options).map_err(|source| Error::Graph { pass, source })?;
        graph = dead_code::remove(next);
        if cfg!(debug_assertions) && outermost {
            verify(&graph).map_err(|source| Error::Invalid { pass, source })?;
        }
        tracing::debug!(pass, nodes = graph.nodes.len(), consts = graph.consts.len(), "canonicalize");
    }
    Ok(graph)
}

#[cfg(test)]
mod tests;
