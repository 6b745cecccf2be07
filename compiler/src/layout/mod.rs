//! Layouts: how tensors lie in memory so that contractions read them from front to end.
//!
//! A layout is spelled in the graph, as operators that move elements around a contraction; index maps then take them
//! apart again, so that nothing but the order of memory changes. Results keep every
//! bit, but for the sign of a zero where padding is written out.

mod channels_last;
mod product;
mod turned;

use crate::Options;
use crate::machine::Machine;
use fornax_ir::graph::{Graph, GraphError};

/// What [`Options::without`] calls convolutions in Winograd tiles.
pub const WINOGRAD: &str = "winograd";

/// The graph with layouts for a machine, and whether it is another one. Strict keeps every bit.
///
/// # Errors
/// A fault of this compiler: an operator refuses its operands in their new layout.
pub fn choose(graph: Graph, machine: Machine, options: &Options) -> Result<(Graph, bool), GraphError> {
    let freedom =
        Freedom { strict: options.strict, tiles: !options.strict && !options.without.contains(&WINOGRAD) };
    let (graph, convolutions) = match channels_last::channels_last(&graph, machine, freedom)? {
        Some(graph) => (graph, true),
        None => (graph, false),
    };
    let nodes = graph.nodes.len();
    let packed = |graph: &Graph, v| product::width(graph, v, 0, machine).is_some();
    let graph = turned::columns(graph, machine, &packed)?;
    let graph = product::panels(graph, machine)?;
    let changed = convolutions || graph.nodes.len() != nodes;
    Ok((graph, changed))
}

/// What layouts may change besides the order of memory.
#[derive(Clone, Copy, Debug)]
struct Freedom {
    /// No bit.
    strict: bool,
    /// Convolutions may run in Winograd tiles.
    tiles: bool,
}
