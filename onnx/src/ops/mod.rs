//! The operators that import knows: [`TABLE`], and a function for each that writes it in GIR primitives.
//!
//! A new operator is a row here, in order, and a function in the file of its family. What an
//! operator means is taken from the ONNX operator reference; differences between opsets are decided in
//! its function by `cx.opset`.

mod activation;
mod attention;
mod conv;
mod einsum;
mod elementwise;
mod functions;
mod index;
mod matmul;
mod norm;
mod pool;
mod quantize;
mod recurrent;
mod reduce;
mod resize;
mod shape;
mod slice;
mod table;
mod window;

pub(crate) use table::TABLE;

use crate::error::Result;
use crate::import::{NodeCx, domain};
use crate::proto::NodeProto;
use fornax_ir::graph::ValueId;

/// The oldest opset whose rules import follows.
pub const MIN_OPSET: i64 = 7;
/// The newest opset whose rules import follows.
pub const MAX_OPSET: i64 = 25;

/// Converts one node: the values of its outputs, in order. Outputs left out at the end are not supported.
pub(crate) type ImportFn = fn(&mut NodeCx<'_, '_>) -> Result<Vec<ValueId>>;

/// An operator that import knows.
pub(crate) struct Row {
    /// Its name.
    pub(crate) name: &'static str,
    /// The opset that introduced it.
    pub(crate) since: i64,
    /// The opset that removed it.
    pub(crate) removed: Option<i64>,
    /// What converts it.
    pub(crate) import: Import,
}

/// What converts an operator.
pub(crate) enum Import {
    /// A function of one node.
    Node(ImportFn),
    /// The walk over the nodes, which goes on in one of the operator's branches.
    Branch,
}

/// Whether import knows an operator.
pub(crate) enum Support {
    /// It does.
    Yes(&'static Row),
    /// It does not, and why, where that is not plain.
    No(String),
}

/// Looks an operator up, for a node whose domain the model imports in version `opset`.
pub(crate) fn support(node: &NodeProto, opset: Option<i64>) -> Support {
    let name = node.op_type.as_str();
    let domain = domain(&node.domain);
    if !domain.is_empty() {
        return Support::No(match opset {
            Some(_) => String::new(),
            None => format!("the model imports no operator set '{domain}' and has no such function"),
        });
    }
    let Some(opset) = opset else {
        return Support::No("the model does not say which opset it uses".into());
    };
    match TABLE.binary_search_by(|row| row.name.cmp(name)) {
        Err(_) => Support::No(String::new()),
        Ok(at) => {
            let row = &TABLE[at];
            if opset < row.since {
                return Support::No(format!("the operator exists since opset {}", row.since));
            }
            match row.removed {
                Some(removed) if opset >= removed => {
                    Support::No(format!("the operator was removed with opset {removed}"))
                }
                _ => Support::Yes(row),
            }
        }
    }
}
