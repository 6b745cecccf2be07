//! Layouts: how tensors lie in memory so that contractions read them from front to end.
//!
//! A layout is spelled in the graph, as operators that move elements around a contraction; index maps then take them
//! apart again, so that nothing but the order of memory changes. Results keep every bit.

mod product;

use crate::machine::Machine;
use fornax_ir::graph::{Graph, GraphError};

/// The graph with layouts for a machine.
///
/// # Errors
/// A fault of this compiler: an operator refuses its operands in their new layout.
pub fn choose(graph: Graph, machine: Machine) -> Result<Graph, GraphError> {
    product::panels(graph, machine)
}
