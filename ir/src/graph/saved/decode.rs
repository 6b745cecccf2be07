//! From bytes to a graph, believing nothing.

use super::attributes::{self, Attributes, Value};
use super::checksum::Checksum;
use super::upgrade::{Known, PRESENT, RawNode, Way};
use super::*;
use crate::dim::{Atom, Dim};
use crate::dtype::DType;
use crate::graph::verify::{MAX_NESTING, verify};
use crate::graph::{Const, Graph, Guard, GuardKind, Input, Loc, LocId, Node, Output, TensorType, ValueId};
use crate::literal::{Literal, byte_count};
use bytes::Bytes;
use prost::Message;
use std::sync::Arc;

/// Finds weights of another file by their names there.
pub type Finder<'f> = Box<dyn FnMut(&str) -> Result<Literal, String> + 'f>;

/// Reads a graph. Its weights share `bytes`, or what `beside` gives: it is asked once, with the file that this
/// one names, and answers with a function that finds tensors in it, or with the reason why there is none.
/// It has to check the size and checksum of [`Beside`] itself.
///
/// # Errors
/// [`SavedError`]: bytes that are something else, newer, cut short or damaged; weights that cannot be had.
pub fn decode<'f>(
    bytes: Bytes,
    beside: &mut dyn FnMut(&Beside) -> Result<Finder<'f>, String>,
) -> Result<Graph> {
    decode_as(bytes, beside, PRESENT)
}

/// As [`decode`], for a reader that knows these operators.
pub(super) fn decode_as<'f>(
    bytes: Bytes,
    beside: &mut dyn FnMut(&Beside) -> Result<Finder<'f>, String>,
    known: Known,
) -> Result<Graph> {
    let (message, data) = parts(bytes)?;
    let fail = |e: prost::DecodeError| SavedError::malformed("message", e);
    let message = proto::SavedGraph::decode(message).map_err(fail)?;
    let weights = match &message.weight_file {
        None => Source::Inside(data),
        Some(proto::WeightFile { path, size, checksum }) => {
            let file = Beside { path: path.clone(), size: *size, checksum: *checksum };
            let find = beside(&file).map_err(|what| SavedError::Beside { path: path.clone(), what })?;
            Source::Beside(path.clone(), find)
        }
    };
    Decoder::new(message, weights, known)?.graphs()
}

/// The message and the data of a file, after everything was checked that can be checked without decoding.
fn parts(bytes: Bytes) -> Result<(Bytes, Bytes)> {
    let got = bytes.len();
    let head = &bytes[..got.min(HEADER)];
    if !is_saved(head) {
        let shown: Vec<String> = head.iter().take(8).map(|b| format!("{b:02x}")).collect();
        let what =
            if shown.is_empty() { "and this is empty".into() } else { format!("not {}", shown.join(" ")) };
        return Err(SavedError::Magic(what));
    }
    if got < HEADER + TRAILER {
        return Err(SavedError::Size { want: (HEADER + TRAILER) as u64, got: got as u64 });
    }
    let word = |at: usize| u64::from_le_bytes(head[at..at + 8].try_into().expect("eight bytes"));
    let version = word(8) as u32;
    if version != FORMAT_VERSION {
        return Err(SavedError::Format { found: version, known: FORMAT_VERSION });
    }
    let (message, data) = (word(16), word(24));
    if message > MAX_MESSAGE as u64 {
        let what = format!("its size is {message}, and at most {MAX_MESSAGE} bytes are read");
        return Err(SavedError::malformed("message", what));
    }
    let start = (HEADER as u64 + message).next_multiple_of(ALIGNMENT as u64);
    let want = start.saturating_add(data).saturating_add(TRAILER as u64);
    if want != got as u64 {
        return Err(SavedError::Size { want, got: got as u64 });
    }
    // Both lie within the bytes, so they are sizes of this machine.
    let (start, end) = (start as usize, got - TRAILER);
    let sum = u64::from_le_bytes(bytes[end..].try_into().expect("eight bytes"));
    let found = Checksum::of(&bytes[..end]);
    if sum != found {
        return Err(SavedError::Checksum { want: sum, got: found });
    }
    let padding =
        bytes[12..16].iter().chain(&bytes[32..HEADER]).chain(&bytes[HEADER + message as usize..start]);
    if padding.into_iter().any(|&b| b != 0) {
        return Err(SavedError::malformed("header", "what is reserved is not zero"));
    }
    Ok((bytes.slice(HEADER..HEADER + message as usize), bytes.slice(start..end)))
}

/// Where weights come from.
enum Source<'f> {
    Inside(Bytes),
    Beside(String, Finder<'f>),
}

struct Decoder<'f> {
    weights: Source<'f>,
    operators: Vec<Way>,
    symbols: Vec<Arc<str>>,
    extents: Vec<Dim>,
    graphs: Vec<proto::Graph>,
}

/// Names a part of the message in errors.
fn at<T>(place: impl Fn() -> String) -> impl FnOnce(String) -> Result<T> {
    move |what| Err(SavedError::Malformed { place: place(), what })
}

impl<'f> Decoder<'f> {
    fn new(message: proto::SavedGraph, weights: Source<'f>, known: Known) -> Result<Self> {
        let proto::SavedGraph { producer, operators, symbols, extents, graphs, .. } = message;
        let way = |o: &proto::Operator| known.way(&o.name, o.version);
        let operators = operators
            .iter()
            .map(|o| way(o).map_err(|what| SavedError::Operator { what, producer: producer.clone() }))
            .collect::<Result<_>>()?;
        let symbols = symbols.iter().map(|s| Arc::from(s.as_str())).collect();
        let mut decoder =
            Decoder { weights, operators, symbols, extents: Vec::with_capacity(extents.len()), graphs };
        for (k, e) in extents.iter().enumerate() {
            let dim = decoder.extent(e).or_else(at(|| format!("extent {k}")))?;
            decoder.extents.push(dim);
        }
        Ok(decoder)
    }

    /// An extent, whose parts are earlier ones; so its depth is bounded by what a dim may have.
    fn extent(&self, e: &proto::Extent) -> Result<Dim, String> {
        let mut sum = Vec::with_capacity(e.terms.len() + 1);
        for t in &e.terms {
            let mut product = Vec::with_capacity(t.factors.len() + 1);
            product.push(Dim::constant(t.coefficient));
            for f in &t.factors {
                product.push(self.factor(f)?);
            }
            sum.push(Dim::product(product));
        }
        sum.push(Dim::constant(e.constant));
        let dim = Dim::sum(sum);
        if dim.is_poisoned() {
            return Err("it overflows, or is too deep or too large".into());
        }
        Ok(dim)
    }

    fn factor(&self, f: &proto::Factor) -> Result<Dim, String> {
        use proto::factor::Kind;
        let list = || f.args.iter().map(|&k| self.dim(k)).collect::<Result<Arc<[Dim]>, String>>();
        let atom = match (Kind::try_from(f.kind), f.args.as_slice()) {
            (Ok(Kind::Symbol), &[k]) => Atom::Symbol(self.name(k)?.clone()),
            (Ok(Kind::FloorDiv), &[a, b]) => Atom::FloorDiv(self.dim(a)?, self.dim(b)?),
            (Ok(Kind::Min), [_, _, ..]) => Atom::Min(list()?),
            (Ok(Kind::Max), [_, _, ..]) => Atom::Max(list()?),
            (Ok(Kind::Product), [_, _, ..]) => Atom::Product(list()?),
            (Ok(kind), args) => {
                return Err(format!("a factor {} with {} parts", kind.as_str_name(), args.len()));
            }
            (Err(_), _) => return Err(format!("a factor of the unknown kind {}", f.kind)),
        };
        Ok(Dim::from(&atom))
    }

    fn dim(&self, k: u32) -> Result<Dim, String> {
        let found = self.extents.get(k as usize).cloned();
        found.ok_or_else(|| format!("extent {k} is not there, or not before its use"))
    }

    fn dims(&self, list: &[u32]) -> Result<Vec<Dim>, String> {
        list.iter().map(|&k| self.dim(k)).collect()
    }

    fn name(&self, k: u32) -> Result<&Arc<str>, String> {
        self.symbols.get(k as usize).ok_or_else(|| format!("symbol {k} is not there"))
    }

    /// All graphs, innermost first; then the outermost, verified.
    fn graphs(mut self) -> Result<Graph> {
        let saved = std::mem::take(&mut self.graphs);
        check_nesting(&saved)?;
        let mut done: Vec<Option<Graph>> = vec![];
        done.resize_with(saved.len(), || None);
        for (k, g) in saved.into_iter().enumerate().rev() {
            let mut graph = self.graph(k, &g)?;
            // Each has one place (`check_nesting`), after this one.
            graph.regions = g.regions.iter().filter_map(|&r| done[r as usize].take()).collect();
            done[k] = Some(graph);
        }
        let first = done.into_iter().next().flatten();
        let mut graph = first.ok_or_else(|| SavedError::malformed("message", "there is no graph"))?;
        verify(&graph)?;
        graph.fill_symbolic();
        Ok(graph)
    }

    fn graph(&mut self, k: usize, g: &proto::Graph) -> Result<Graph> {
        let place = |what: &'static str, i: usize| move || format!("graph {k}, {what} {i}");
        let mut out = Graph { name: g.name.clone(), ..Graph::default() };
        out.locs = g.locations.iter().map(|l| Loc(l.clone())).collect();
        for (i, s) in g.symbols.iter().enumerate() {
            let name = self.name(s.name).cloned().or_else(at(place("symbol", i)))?;
            if (s.min, s.max) != (0, None) {
                out.ranges.set_symbol(&name, s.min, s.max);
            }
            out.symbols.push(name.to_string());
        }
        for c in &g.constants {
            let literal = self.literal(c)?;
            out.consts.push(Const { literal, name: c.name.clone() });
        }
        for (i, n) in g.nodes.iter().enumerate() {
            let node = self.node(n, i).or_else(at(place("node", i)))?;
            out.nodes.push(node);
        }
        for (i, s) in g.inputs.iter().enumerate() {
            let missing = || format!("node {} is not there", s.node);
            let ty = out.nodes.get(s.node as usize).map(|n| n.ty.clone()).ok_or_else(missing);
            let ty = ty.or_else(at(place("input", i)))?;
            out.inputs.push(Input { name: s.name.clone(), ty, value: ValueId(s.node) });
        }
        let output = |o: &proto::NamedValue| Output { name: o.name.clone(), value: ValueId(o.node) };
        out.outputs = g.outputs.iter().map(output).collect();
        for (i, s) in g.guards.iter().enumerate() {
            out.guards.push(self.guard(s).or_else(at(place("guard", i)))?);
        }
        Ok(out)
    }

    fn guard(&self, s: &proto::Guard) -> Result<Guard, String> {
        let kind = match proto::guard::Kind::try_from(s.kind) {
            Ok(proto::guard::Kind::Equal) => GuardKind::Eq,
            Ok(proto::guard::Kind::AtMost) => GuardKind::Le,
            _ => return Err(format!("kind {} is unknown", s.kind)),
        };
        let (lhs, rhs) = (self.dim(s.lhs)?, self.dim(s.rhs)?);
        Ok(Guard { kind, lhs, rhs, what: s.what.clone(), loc: LocId(s.location) })
    }

    fn literal(&mut self, c: &proto::Constant) -> Result<Literal> {
        let place = || format!("constant '{}'", c.name);
        let (dtype, shape, size) = layout(c).or_else(at(place))?;
        match &mut self.weights {
            Source::Inside(data) => {
                let start = usize::try_from(c.offset).ok();
                let end = start.and_then(|s| s.checked_add(size)).filter(|&e| e <= data.len());
                let (Some(start), Some(end)) = (start, end) else {
                    let (o, n) = (c.offset, data.len());
                    return at(place)(format!("{size} bytes at {o} are outside the data, which has {n}"));
                };
                Literal::from_little_endian(dtype, &shape, data.slice(start..end))
                    .or_else(|e| at(place)(e.to_string()))
            }
            Source::Beside(path, find) => {
                let fail = |what: String| SavedError::Beside { path: path.clone(), what };
                let found = find(&c.key).map_err(fail)?;
                if (found.dtype(), found.shape()) != (dtype, &shape) {
                    let (d, s) = (found.dtype(), found.shape());
                    return Err(fail(format!("'{}' is {d}{s:?}, not {dtype}{shape:?}", c.key)));
                }
                Ok(found)
            }
        }
    }

    fn node(&self, n: &proto::Node, position: usize) -> Result<Node, String> {
        let way = self.operators.get(n.operator as usize);
        let way = way.ok_or_else(|| format!("operator {} is not in the table", n.operator))?;
        let mut attributes = vec![];
        for a in &n.attributes {
            attributes.push((a.name.clone(), self.value(a)?));
        }
        let mut raw = RawNode { operands: n.operands.clone(), attributes: Attributes(attributes) };
        for step in &way.steps {
            let (name, version) = step.from;
            (step.apply)(&mut raw).map_err(|e| format!("'{name}' of version {version}: {e}"))?;
        }
        let named = |e: String| format!("operator '{}': {e}", way.row.name);
        let op = attributes::operator(way.row.kind, raw.attributes).map_err(named)?;
        if let Some(k) = raw.operands.iter().find(|&&k| k as usize >= position) {
            return Err(named(format!("operand {k} does not come before it")));
        }
        Ok(Node {
            op,
            inputs: raw.operands.into_iter().map(ValueId).collect(),
            ty: TensorType::new(dtype(n.dtype)?, self.dims(&n.shape)?),
            sym: None,
            loc: LocId(n.location),
        })
    }

    fn value(&self, a: &proto::Attribute) -> Result<Value, String> {
        use proto::attribute::Value as Saved;
        Ok(match &a.value {
            Some(Saved::Int(v)) => Value::Int(*v),
            Some(Saved::Ints(v)) => Value::Ints(v.values.clone()),
            Some(Saved::Extents(v)) => Value::Extents(self.dims(&v.values)?),
            Some(Saved::Text(v)) => Value::Text(v.clone()),
            Some(Saved::Dtype(v)) => Value::DType(dtype(*v)?),
            None => return Err(format!("attribute '{}' has no value of a known type", a.name)),
        })
    }
}

/// Each graph but the first is a region of one earlier graph, and not too deep.
fn check_nesting(graphs: &[proto::Graph]) -> Result<()> {
    let mut depth: Vec<Option<usize>> = vec![None; graphs.len()];
    depth.iter_mut().take(1).for_each(|d| *d = Some(0));
    for (k, g) in graphs.iter().enumerate() {
        let bad = |what: String| Err(SavedError::malformed(format_args!("graph {k}"), what));
        let Some(own) = depth[k] else { return bad("it is no region of an earlier graph".into()) };
        if own > MAX_NESTING {
            return bad(format!("regions are nested more than {MAX_NESTING} deep"));
        }
        for &r in &g.regions {
            match depth.get_mut(r as usize).filter(|_| r as usize > k) {
                Some(free @ None) => *free = Some(own + 1),
                _ => return bad(format!("graph {r} cannot be its region")),
            }
        }
    }
    Ok(())
}

/// Dtype, extents and size in bytes.
fn layout(c: &proto::Constant) -> Result<(DType, Vec<usize>, usize), String> {
    let dtype = dtype(c.dtype)?;
    let shape: Option<Vec<usize>> = c.shape.iter().map(|&d| usize::try_from(d).ok()).collect();
    let shape = shape.ok_or_else(|| format!("extents {:?} do not fit this machine", c.shape))?;
    let size = byte_count(dtype, &shape).map_err(|e| e.to_string())?;
    Ok((dtype, shape, size))
}

/// The dtype of a code.
fn dtype(code: i32) -> Result<DType, String> {
    use proto::DType as Code;
    Ok(match Code::try_from(code) {
        Ok(Code::Bool) => DType::Bool,
        Ok(Code::I8) => DType::I8,
        Ok(Code::U8) => DType::U8,
        Ok(Code::I16) => DType::I16,
        Ok(Code::U16) => DType::U16,
        Ok(Code::I32) => DType::I32,
        Ok(Code::U32) => DType::U32,
        Ok(Code::I64) => DType::I64,
        Ok(Code::U64) => DType::U64,
        Ok(Code::F16) => DType::F16,
        Ok(Code::Bf16) => DType::BF16,
        Ok(Code::F32) => DType::F32,
        Ok(Code::F64) => DType::F64,
        Ok(Code::UnknownDtype) | Err(_) => return Err(format!("dtype {code} is unknown")),
    })
}
