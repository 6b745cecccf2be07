//! What names stand for, in the main graph, in function bodies, and in branches.

use super::Opsets;
use crate::proto::{AttributeProto, NodeProto, TensorProto};
use fornax_ir::graph::ValueId;
use rustc_hash::FxHashMap;
use std::rc::Rc;

/// What a name stands for.
#[derive(Clone)]
pub(super) enum Slot<'m> {
    /// A value of the graph.
    Value(ValueId),
    /// A stored tensor that nothing has used yet.
    Initializer(&'m TensorProto),
    /// An input of a function that its caller leaves out.
    Absent,
    /// An output that its operator does not give; an error once it is used.
    NotGiven(Rc<str>),
}

/// A list of nodes in the making: the main graph, a function body, or a branch.
pub(super) struct Frame<'m> {
    /// The nodes that are needed, operands first.
    pub(super) order: Vec<&'m NodeProto>,
    /// The next node to convert.
    pub(super) next: usize,
    /// What the names of this frame stand for.
    pub(super) names: FxHashMap<&'m str, Slot<'m>>,
    /// The frame whose names are visible too: the one around a branch.
    pub(super) outer: Option<usize>,
    /// Operator sets by domain.
    pub(super) opsets: Rc<Opsets<'m>>,
    /// Attributes given to the function.
    pub(super) attrs: Rc<FxHashMap<&'m str, &'m AttributeProto>>,
    /// The names whose values the frame yields.
    pub(super) returns: Vec<&'m str>,
    /// The node that stands for this frame in the frame below; `None` for the main graph.
    pub(super) caller: Option<&'m NodeProto>,
    /// The function, if the frame is a function's body.
    pub(super) function: Option<FunctionKey<'m>>,
    /// Put before node names in messages.
    pub(super) prefix: Rc<str>,
}

/// Domain, name and overload of a function.
pub(super) type FunctionKey<'m> = (&'m str, &'m str, &'m str);

/// The name of a node for messages: its own, or its first output's.
pub(crate) fn node_name(node: &NodeProto) -> &str {
    let first = || node.output.iter().map(String::as_str).find(|o| !o.is_empty());
    if node.name.is_empty() { first().unwrap_or("") } else { &node.name }
}

/// The operator of a node for messages: `Conv`, `com.example::Fancy`.
pub(crate) fn operator_name(node: &NodeProto) -> String {
    match super::domain(&node.domain) {
        "" => node.op_type.clone(),
        d => format!("{d}::{}", node.op_type),
    }
}
