//! The sweep that applies the local rules: folding, identities, composition of views.
//!
//! A rule sees one operator on operands that are already simplified, and gives a value that is there
//! already, or another operator to try next. A rule's result is taken only when it has exactly the
//! type of the node it stands for.

use super::rebuild::{Operands, Rebuild};
use super::{CanonicalizeOptions, fold, identities, views};
use fornax_ir::graph::{Graph, GraphError, Node, Op, ValueId};

/// Rules applied one after the other to one node at most.
const MAX_STEPS: usize = 16;

/// What a rule makes of a node.
pub(super) enum Step {
    /// This value instead.
    Value(ValueId),
    /// This operator instead, to which rules may apply again.
    Node(Op, Operands),
}

impl Step {
    /// An operator of one operand.
    pub(super) fn unary(op: impl Into<Op>, x: ValueId) -> Option<Step> {
        Some(Step::Node(op.into(), Operands::from_slice(&[x])))
    }
    /// An operator of two operands.
    pub(super) fn binary(op: impl Into<Op>, a: ValueId, b: ValueId) -> Option<Step> {
        Some(Step::Node(op.into(), Operands::from_slice(&[a, b])))
    }
}

/// The node that a rule is asked about.
pub(super) struct Site<'a> {
    /// The operator.
    pub(super) op: &'a Op,
    /// Its operands in the new graph.
    pub(super) inputs: &'a [ValueId],
    /// The node it stands for: its type is wanted, its symbolic value is known.
    pub(super) node: &'a Node,
    /// What is allowed.
    pub(super) options: &'a CanonicalizeOptions,
}

/// A local rewrite.
pub(super) type Rule = fn(&mut Rebuild<'_>, &Site<'_>) -> Option<Step>;

static RULES: &[Rule] = &[
    fold::known_value,
    identities::binary,
    identities::unary,
    identities::cast,
    identities::select,
    views::reshape,
    views::permute,
    views::broadcast,
    views::slice,
    views::pad,
    views::concat,
    views::gather,
    fold::constant_operands,
];

/// Applies the rules to every node, in order.
pub(super) fn simplify(graph: &Graph, options: &CanonicalizeOptions) -> Result<Graph, GraphError> {
    simplify_but(graph, options, &|_| false)
}

/// As [`simplify`]; some nodes stay as they are.
pub(super) fn simplify_but(
    graph: &Graph,
    options: &CanonicalizeOptions,
    stays: &dyn Fn(ValueId) -> bool,
) -> Result<Graph, GraphError> {
    Rebuild::new(graph).sweep(|r, v| {
        let node = r.old.node(v);
        if stays(v) {
            return r.copy(v);
        }
        if let Op::Const(c) = node.op {
            let c = &graph.consts[c.index()];
            return match fold::splat(r, &c.literal) {
                Some(v) => Ok(v),
                None => r.copy(v),
            };
        }
        let operands = r.operands(v);
        emit(r, node.op.clone(), operands, node, options)
    })
}

/// Adds an operator in its simplest spelling.
fn emit(
    r: &mut Rebuild<'_>,
    op: Op,
    inputs: Operands,
    node: &Node,
    options: &CanonicalizeOptions,
) -> Result<ValueId, GraphError> {
    let mut now = (op.clone(), inputs.clone());
    for _ in 0..MAX_STEPS {
        let site = Site { op: &now.0, inputs: &now.1, node, options };
        match RULES.iter().find_map(|rule| rule(r, &site)) {
            Some(Step::Value(v)) if *r.ty(v) == node.ty => return Ok(v),
            Some(Step::Value(_)) => break,
            Some(Step::Node(op, inputs)) => now = (op, inputs),
            None => break,
        }
    }
    if now != (op.clone(), inputs.clone())
        && let Ok(v) = r.add(now.0, &now.1)
        && *r.ty(v) == node.ty
    {
        return Ok(v);
    }
    r.add(op, &inputs)
}
