//! From a graph to bytes.

use super::attributes::{self, Value};
use super::checksum::Checksum;
use super::*;
use crate::dim::{Atom, Dim};
use crate::dtype::DType;
use crate::graph::verify::verify;
use crate::graph::{Const, Graph, GuardKind, Node, Op, OpKind, ValueId};
use crate::literal::Literal;
use bytes::Bytes;
use prost::Message;
use rustc_hash::{FxHashMap, FxHashSet};
use std::io::{self, Write};
use std::sync::Arc;

/// Where the weights of a saved graph stand.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Weights {
    /// In its own file.
    Inside,
    /// In a file that [`weights_beside`] describes.
    Beside(Beside),
}

/// Writes a graph with all its regions. The same graph gives the same bytes.
///
/// # Errors
/// Those of `to`; and, as [`io::ErrorKind::InvalidInput`] with a [`SavedError`] inside, a graph that is not
/// valid or beyond a limit of the format.
pub fn write(graph: &Graph, weights: &Weights, to: &mut dyn Write) -> io::Result<()> {
    let invalid = |e: SavedError| io::Error::new(io::ErrorKind::InvalidInput, e);
    let (message, data) = encode(graph, weights).map_err(invalid)?;
    if message.len() > MAX_MESSAGE {
        let what = format!("its nodes take {} bytes, and {MAX_MESSAGE} can be read", message.len());
        return Err(invalid(SavedError::Limit(what)));
    }
    let mut header = [0u8; HEADER];
    header[..8].copy_from_slice(&MAGIC);
    header[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
    header[16..24].copy_from_slice(&(message.len() as u64).to_le_bytes());
    header[24..32].copy_from_slice(&(data.size as u64).to_le_bytes());
    let mut out = Summed { to, sum: Checksum::default(), at: 0 };
    out.write(&header)?;
    out.write(&message)?;
    for bytes in &data.pieces {
        out.align()?;
        out.write(bytes)?;
    }
    out.align()?;
    let sum = out.sum.finish();
    out.to.write_all(&sum.to_le_bytes())
}

/// Counts and sums what is written.
struct Summed<'w> {
    to: &'w mut dyn Write,
    sum: Checksum,
    at: usize,
}

impl Summed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.sum.update(bytes);
        self.at += bytes.len();
        self.to.write_all(bytes)
    }
    fn align(&mut self) -> io::Result<()> {
        let zeros = [0; ALIGNMENT];
        let n = self.at.next_multiple_of(ALIGNMENT) - self.at;
        self.write(&zeros[..n])
    }
}

/// The weights of a graph and its regions with the names they have in a file beside it: their own where they
/// have one, each unique.
pub fn weights_beside(graph: &Graph) -> Vec<(String, Literal)> {
    let mut used = FxHashSet::default();
    let mut out = vec![];
    for (g, placed) in flattened(graph).into_iter().enumerate() {
        for (c, constant) in placed.graph.consts.iter().enumerate() {
            // The container reserves the one name.
            let own = !constant.name.is_empty() && constant.name != "__metadata__";
            let mut key = if own { constant.name.clone() } else { format!("g{g}.c{c}") };
            while !used.insert(key.clone()) {
                key = format!("g{g}.c{c}.{key}");
            }
            out.push((key, constant.literal.clone()));
        }
    }
    out
}

/// A graph of the table of graphs.
struct Placed<'g> {
    graph: &'g Graph,
    /// Places of its regions in the table.
    regions: Vec<u32>,
}

/// A graph and its regions at any depth, each after the one that holds it.
fn flattened(graph: &Graph) -> Vec<Placed<'_>> {
    let mut table = vec![Placed { graph, regions: vec![] }];
    let mut at = 0;
    while at < table.len() {
        let first = table.len() as u32;
        let regions = &table[at].graph.regions;
        table[at].regions = (first..first + regions.len() as u32).collect();
        table.extend(regions.iter().map(|graph| Placed { graph, regions: vec![] }));
        at += 1;
    }
    table
}

/// The data of a file: pieces, each at the next multiple of the alignment.
#[derive(Default)]
struct Data {
    pieces: Vec<Bytes>,
    size: usize,
    known: FxHashMap<(usize, usize), u64>,
}

impl Data {
    /// Where these bytes stand; the same storage is written once.
    fn add(&mut self, bytes: Bytes) -> u64 {
        let key = (bytes.as_ptr().addr(), bytes.len());
        *self.known.entry(key).or_insert_with(|| {
            let offset = self.size as u64;
            self.size += bytes.len().next_multiple_of(ALIGNMENT);
            self.pieces.push(bytes);
            offset
        })
    }
}

fn encode(graph: &Graph, weights: &Weights) -> Result<(Vec<u8>, Data)> {
    verify(graph)?;
    let mut encoder = Encoder::default();
    if let Weights::Beside(Beside { path, size, checksum }) = weights {
        let file = proto::WeightFile { path: path.clone(), size: *size, checksum: *checksum };
        encoder.message.weight_file = Some(file);
        encoder.keys = Some(weights_beside(graph).into_iter().map(|(key, _)| key).collect());
    }
    encoder.message.producer = concat!("fornax ", env!("CARGO_PKG_VERSION")).into();
    for placed in flattened(graph) {
        let encoded = encoder.graph(placed)?;
        encoder.message.graphs.push(encoded);
    }
    Ok((encoder.message.encode_to_vec(), encoder.data))
}

#[derive(Default)]
struct Encoder {
    message: proto::SavedGraph,
    data: Data,
    /// Names of the weights still to come, if they are in another file.
    keys: Option<std::collections::VecDeque<String>>,
    operators: FxHashMap<OpKind, u32>,
    symbols: FxHashMap<Arc<str>, u32>,
    extents: FxHashMap<Dim, u32>,
}

impl Encoder {
    fn graph(&mut self, Placed { graph: g, regions, .. }: Placed<'_>) -> Result<proto::Graph> {
        let named = |name: &str, value: ValueId| proto::NamedValue { name: name.into(), node: value.0 };
        let mut out = proto::Graph {
            name: g.name.clone(),
            inputs: g.inputs.iter().map(|i| named(&i.name, i.value)).collect(),
            outputs: g.outputs.iter().map(|o| named(&o.name, o.value)).collect(),
            locations: g.locs.iter().map(|l| l.0.clone()).collect(),
            regions,
            ..Default::default()
        };
        for name in &g.symbols {
            let (min, max) = g.ranges.symbol(name);
            out.symbols.push(proto::Symbol { name: self.symbol(&Arc::from(name.as_str())), min, max });
        }
        out.constants = g.consts.iter().map(|c| self.constant(c)).collect();
        for node in &g.nodes {
            out.nodes.push(self.node(node)?);
        }
        for guard in &g.guards {
            let kind = match guard.kind {
                GuardKind::Eq => proto::guard::Kind::Equal,
                GuardKind::Le => proto::guard::Kind::AtMost,
            };
            out.guards.push(proto::Guard {
                kind: kind.into(),
                lhs: self.extent(&guard.lhs)?,
                rhs: self.extent(&guard.rhs)?,
                what: guard.what.clone(),
                location: guard.loc.0,
            });
        }
        Ok(out)
    }

    fn constant(&mut self, c: &Const) -> proto::Constant {
        let (offset, key) = match &mut self.keys {
            Some(keys) => (0, keys.pop_front().unwrap_or_default()),
            None => (self.data.add(c.literal.little_endian()), String::new()),
        };
        proto::Constant {
            name: c.name.clone(),
            dtype: dtype_code(c.literal.dtype()).into(),
            shape: c.literal.shape().iter().map(|&d| d as u64).collect(),
            offset,
            key,
        }
    }

    fn node(&mut self, node: &Node) -> Result<proto::Node> {
        Ok(proto::Node {
            operator: self.operator(&node.op),
            operands: node.inputs.iter().map(|v| v.0).collect(),
            dtype: dtype_code(node.ty.dtype).into(),
            shape: self.list(&node.ty.shape)?,
            attributes: attributes::of(&node.op)
                .0
                .into_iter()
                .map(|(name, value)| self.attribute(name, value))
                .collect::<Result<_>>()?,
            location: node.loc.0,
        })
    }

    fn operator(&mut self, op: &Op) -> u32 {
        let (row, operators) = (op.row(), &mut self.message.operators);
        *self.operators.entry(row.kind).or_insert_with(|| {
            operators.push(proto::Operator { name: row.name.into(), version: row.version });
            operators.len() as u32 - 1
        })
    }

    fn attribute(&mut self, name: String, value: Value) -> Result<proto::Attribute> {
        use proto::attribute::Value as Saved;
        let value = match value {
            Value::Int(v) => Saved::Int(v),
            Value::Ints(values) => Saved::Ints(proto::Ints { values }),
            Value::Extents(dims) => Saved::Extents(proto::Extents { values: self.list(&dims)? }),
            Value::Text(text) => Saved::Text(text),
            Value::DType(d) => Saved::Dtype(dtype_code(d).into()),
        };
        Ok(proto::Attribute { name, value: Some(value) })
    }

    fn symbol(&mut self, name: &Arc<str>) -> u32 {
        let symbols = &mut self.message.symbols;
        *self.symbols.entry(name.clone()).or_insert_with(|| {
            symbols.push(name.to_string());
            symbols.len() as u32 - 1
        })
    }

    fn list(&mut self, dims: &[Dim]) -> Result<Vec<u32>> {
        dims.iter().map(|d| self.extent(d)).collect()
    }

    /// The place of an extent, which follows those of its parts. The recursion is bounded by the depth of
    /// dims (`dim::MAX_DEPTH`).
    fn extent(&mut self, dim: &Dim) -> Result<u32> {
        if let Some(&known) = self.extents.get(dim) {
            return Ok(known);
        }
        let bad = |what: &str| SavedError::Limit(format!("the extent {dim} {what}"));
        let Some((constant, monomials)) = dim.monomials() else { return Err(bad("overflows")) };
        let mut saved = proto::Extent { constant, terms: Vec::with_capacity(monomials.len()) };
        for (coefficient, atoms) in monomials {
            let mut factors = Vec::with_capacity(atoms.len());
            for atom in atoms {
                use proto::factor::Kind;
                let (kind, args) = match atom {
                    Atom::Symbol(name) => (Kind::Symbol, vec![self.symbol(name)]),
                    Atom::FloorDiv(a, b) => (Kind::FloorDiv, vec![self.extent(a)?, self.extent(b)?]),
                    Atom::Min(list) => (Kind::Min, self.list(list)?),
                    Atom::Max(list) => (Kind::Max, self.list(list)?),
                    Atom::Product(list) => (Kind::Product, self.list(list)?),
                    Atom::Axis(_) => return Err(bad("depends on a loop")),
                };
                factors.push(proto::Factor { kind: kind.into(), args });
            }
            saved.terms.push(proto::Term { coefficient, factors });
        }
        let place = self.message.extents.len() as u32;
        self.message.extents.push(saved);
        self.extents.insert(dim.clone(), place);
        Ok(place)
    }
}

/// The code of a dtype in files.
fn dtype_code(dtype: DType) -> proto::DType {
    use proto::DType as Code;
    match dtype {
        DType::Bool => Code::Bool,
        DType::I8 => Code::I8,
        DType::U8 => Code::U8,
        DType::I16 => Code::I16,
        DType::U16 => Code::U16,
        DType::I32 => Code::I32,
        DType::U32 => Code::U32,
        DType::I64 => Code::I64,
        DType::U64 => Code::U64,
        DType::F16 => Code::F16,
        DType::BF16 => Code::Bf16,
        DType::F32 => Code::F32,
        DType::F64 => Code::F64,
    }
}
