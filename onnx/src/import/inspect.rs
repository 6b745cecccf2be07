//! What a model consists of, without converting it.

use super::scope::operator_name;
use super::{InputInfo, Metadata, Opsets, domain, input_type, metadata, opsets};
use crate::error::{Error, ErrorKind, Result};
use crate::ops::{self, Support};
use crate::proto::{GraphProto, ModelProto, NodeProto};
use crate::{read, tensor};
use rustc_hash::FxHashSet;
use std::collections::BTreeMap;
use std::path::Path;

/// What a model file contains.
#[derive(Clone, Debug)]
pub struct Inspection {
    /// What the file says of itself.
    pub metadata: Metadata,
    /// The inputs a caller must give.
    pub inputs: Vec<InputInfo>,
    /// Names of the outputs.
    pub outputs: Vec<String>,
    /// Operators by name, of the main graph, of branches, and of function bodies.
    pub operators: Vec<OpUse>,
    /// Nodes of all these together.
    pub nodes: usize,
    /// Stored tensors of the main graph.
    pub initializers: usize,
    /// Their bytes.
    pub initializer_bytes: u64,
    /// What is unusual about the model, but no error.
    pub warnings: Vec<String>,
}

/// How often a model uses an operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpUse {
    /// `Name`, or `domain::Name` outside the standard domain.
    pub operator: String,
    /// Version of its domain's operator set; `None` if the model imports none.
    pub opset: Option<i64>,
    /// Number of nodes.
    pub count: usize,
    /// Whether import knows it (a model's own function counts as known).
    pub supported: bool,
    /// Why not, where that is not plain.
    pub why: String,
}

/// Reads a model file and lists what is in it. Unsupported operators are no error here.
///
/// # Errors
/// As [`crate::load`], for files that are no model and for inputs that are no tensors.
pub fn inspect(path: impl AsRef<Path>) -> Result<Inspection, Error> {
    let path = path.as_ref();
    let inner = || inspect_model(&read::model(read::open(path)?)?);
    inner().map_err(|e: ErrorKind| e.at(path))
}

fn inspect_model(model: &ModelProto) -> Result<Inspection> {
    let graph = model.graph.as_ref().expect("`read::model` checks it");
    let mut warnings = vec![];
    let main = opsets(&model.opset_import, "the model", &mut warnings)?;
    let stored: FxHashSet<&str> = graph.initializer.iter().map(|t| t.name.as_str()).collect();
    let mut inputs = vec![];
    for input in graph.input.iter().filter(|i| !stored.contains(i.name.as_str())) {
        let ty = input_type(input)?;
        let rank0 = ty.rank() == 0;
        inputs.push(InputInfo { name: input.name.clone(), dtype: ty.dtype, dims: ty.shape, rank0 });
    }
    let own: FxHashSet<(&str, &str)> =
        model.functions.iter().map(|f| (domain(&f.domain), f.name.as_str())).collect();
    let mut uses = BTreeMap::new();
    let mut nodes = tally(&graph.node, &main, &own, &mut uses);
    for f in &model.functions {
        let opsets = opsets(&f.opset_import, &format!("function '{}'", f.name), &mut warnings)?;
        nodes += tally(&f.node, &opsets, &own, &mut uses);
    }
    let mut initializer_bytes = 0u64;
    for t in &graph.initializer {
        initializer_bytes = initializer_bytes.saturating_add(tensor::byte_len(t)?);
    }
    Ok(Inspection {
        metadata: metadata(model),
        inputs,
        outputs: graph.output.iter().map(|o| o.name.clone()).collect(),
        operators: uses.into_values().collect(),
        nodes,
        initializers: graph.initializer.len(),
        initializer_bytes,
        warnings,
    })
}

/// Counts nodes, those of branches included.
fn tally<'m>(
    nodes: &'m [NodeProto],
    opsets: &Opsets<'_>,
    own: &FxHashSet<(&str, &str)>,
    uses: &mut BTreeMap<(String, Option<i64>), OpUse>,
) -> usize {
    let mut count = 0;
    let mut lists: Vec<&'m [NodeProto]> = vec![nodes];
    while let Some(list) = lists.pop() {
        for n in list {
            count += 1;
            let opset = opsets.get(domain(&n.domain)).copied();
            let known = own.contains(&(domain(&n.domain), n.op_type.as_str()));
            let (supported, why) = match ops::support(n, opset) {
                _ if known => (true, String::new()),
                Support::Yes(_) => (true, String::new()),
                Support::No(why) => (false, why),
            };
            let operator = operator_name(n);
            let key = (operator.clone(), opset);
            let entry = uses.entry(key).or_insert(OpUse { operator, opset, count: 0, supported, why });
            entry.count += 1;
            let graphs = n.attribute.iter().flat_map(|a| a.g.as_ref());
            lists.extend(graphs.map(|g: &GraphProto| g.node.as_slice()));
        }
    }
    count
}
