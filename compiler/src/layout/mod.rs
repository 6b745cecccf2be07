//! Layouts: how tensors lie in memory so that contractions read them from front to end.
//!
//! A layout is spelled in the graph, as operators that move elements around a contraction; index maps then take them
//! apart again, so that nothing but the order of memory changes. Results keep every
//! bit, but for the sign of a zero where padding is written out.

mod channels_last;
mod product;

use crate::machine::Machine;
use fornax_ir::graph::{Graph, GraphError};

/// The graph with layouts for a machine, and whether it is another one. Strict keeps every bit.
///
/// # Errors
/// A fault of this compiler: an operator refuses its operands in their new layout.
pub fn choose(graph: Graph, machine: Machine, strict: bool) -> Result<(Graph, bool), GraphError> {
    let (graph, convolutions) = match channels_last::channels_last(&graph, machine, strict)? {
        Some(graph) => (graph, true),
        None => (graph, false),
    };
    let nodes = graph.nodes.len();
    let graph = product::panels(graph, machine)?;
    let changed = convolutions || graph.nodes.len() != nodes;
    Ok((graph, changed))
}
