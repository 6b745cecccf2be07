//! The parser of the text form.

mod region;

use super::super::ops::*;
use super::super::{
    Const, ConstId, Graph, Guard, GuardKind, Input, Loc, LocId, Node, Output, TensorType, ValueId,
};
use super::TextError;
use super::scan::{Result, Scanner};
use crate::dim::Dim;
use crate::dtype::DType;
use crate::graph::verify::{VerifyError, verify};
use crate::literal::{Literal, byte_count};
use crate::scalar::{BinaryOp, CompareOp, ReduceOp, Scalar, UnaryOp};
use bytes::Bytes;
use rustc_hash::FxHashMap;
use smallvec::SmallVec;

/// Bytes of all splat constants together at most: a text of a few bytes must not ask for all memory.
const MAX_SPLAT_BYTES: usize = 1 << 30;

/// Reads the text form and verifies the graph.
///
/// # Errors
/// [`TextError`] with the place: of a text that does not follow the form, of a node that has no type or
/// not the one written, of a large constant without data, of any other violated invariant.
pub fn parse(text: &str) -> std::result::Result<Graph, TextError> {
    let mut p = Parser {
        s: Scanner::new(text),
        graph: Graph { locs: vec![Loc::default()], ..Graph::default() },
        loc_ids: FxHashMap::default(),
        pending: vec![],
        node_places: vec![],
        splat: 0,
        path: vec![],
        region_places: FxHashMap::default(),
    };
    p.graph()?;
    region::spread_ranges(&mut p.graph);
    p.data()?;
    p.graph_is_valid()?;
    Ok(p.graph)
}

/// A constant whose data comes later.
struct Pending {
    /// The regions around, from the outside.
    path: Vec<usize>,
    constant: usize,
    place: usize,
    hash: u64,
    shape: Vec<usize>,
    dtype: DType,
}

struct Parser<'t> {
    s: Scanner<'t>,
    graph: Graph,
    loc_ids: FxHashMap<String, LocId>,
    pending: Vec<Pending>,
    node_places: Vec<usize>,
    /// Bytes of the splat constants so far.
    splat: usize,
    /// The regions around the present line, from the outside.
    path: Vec<usize>,
    region_places: FxHashMap<Vec<usize>, usize>,
}

impl Parser<'_> {
    fn graph(&mut self) -> Result<()> {
        self.s.expect_word("graph")?;
        self.graph.name = self.s.string()?;
        self.s.expect("{")?;
        self.body()
    }

    /// What stands between braces, and the closing one.
    fn body(&mut self) -> Result<()> {
        while !self.s.eat("}") {
            if self.s.eat("%") {
                self.node()?;
                continue;
            }
            match self.s.peek_word() {
                "symbol" => self.symbol()?,
                "output" => self.output()?,
                "guard" => self.guard()?,
                "region" => self.region()?,
                c if c.starts_with('c') => self.constant()?,
                _ => return self.s.expected("`symbol`, `c0:`, `region`, `%0:`, `output`, `guard` or `}`"),
            }
        }
        Ok(())
    }

    fn symbol(&mut self) -> Result<()> {
        self.s.expect_word("symbol")?;
        if !self.path.is_empty() {
            return self.region_symbol();
        }
        let place = self.s.place();
        let d = self.s.dim(&[" in "])?;
        let Some(name) = d.as_symbol().map(str::to_string) else {
            return self.s.error_at(place, format!("`{d}` is no symbol"));
        };
        self.s.expect_word("in")?;
        let lo = self.s.integer("64-bit integer")?;
        self.s.expect("..")?;
        let bounded = self.s.peek_word().starts_with(|c: char| c.is_ascii_digit());
        let hi = if bounded { Some(self.s.integer("64-bit integer")?) } else { None };
        self.graph.ranges.set_symbol(&name, lo, hi);
        Ok(())
    }

    fn output(&mut self) -> Result<()> {
        self.s.expect_word("output")?;
        let name = self.s.string()?;
        let value = self.value()?;
        self.graph.outputs.push(Output { name, value });
        Ok(())
    }

    fn guard(&mut self) -> Result<()> {
        self.s.expect_word("guard")?;
        let lhs = self.s.dim(&["==", "<="])?;
        let kind = if self.s.eat("==") { GuardKind::Eq } else { GuardKind::Le };
        if kind == GuardKind::Le {
            self.s.expect("<=")?;
        }
        let rhs = self.s.dim(&["\""])?;
        let what = self.s.string()?;
        let loc = self.loc()?;
        self.graph.guards.push(Guard { kind, lhs, rhs, what, loc });
        Ok(())
    }

    fn loc(&mut self) -> Result<LocId> {
        if !self.s.eat_word("loc") {
            return Ok(LocId::default());
        }
        self.s.expect("(")?;
        let text = self.s.string()?;
        self.s.expect(")")?;
        let locs = &mut self.graph.locs;
        Ok(*self.loc_ids.entry(text).or_insert_with_key(|text| {
            locs.push(Loc(text.clone()));
            LocId(locs.len() as u32 - 1)
        }))
    }

    fn value(&mut self) -> Result<ValueId> {
        let place = self.s.place();
        self.s.expect("%")?;
        let v = ValueId(self.s.integer("value number")?);
        if v.index() >= self.graph.nodes.len() {
            return self.s.error_at(place, format!("{v} is used before it is defined"));
        }
        Ok(v)
    }

    fn dtype(&mut self) -> Result<DType> {
        let place = self.s.place();
        match self.s.word("a dtype")?.parse() {
            Ok(d) => Ok(d),
            Err(what) => self.s.error_at(place, what),
        }
    }

    /// `c0: f32[2] "name" = value`.
    fn constant(&mut self) -> Result<()> {
        let place = self.s.place();
        let want = format!("c{}", self.graph.consts.len());
        if self.s.word("a constant")? != want {
            return self.s.error_at(place, format!("constants are numbered in order: expected `{want}`"));
        }
        self.s.expect(":")?;
        let place = self.s.place();
        let dtype = self.dtype()?;
        let shape: Vec<usize> = self.s.list(|s| s.integer("extent"))?;
        let name = self.s.string()?;
        self.s.expect("=")?;
        let total = match byte_count(dtype, &shape) {
            Ok(n) => n,
            Err(e) => return self.s.error_at(place, e.to_string()),
        };
        let bytes = if self.s.eat("@") {
            let place = self.s.place();
            let digits = self.s.word("a hash of 16 hexadecimal digits")?;
            let Ok(hash) = u64::from_str_radix(digits, 16) else {
                return self.s.error_at(place, format!("`{digits}` is no hash of 16 hexadecimal digits"));
            };
            self.pending.push(Pending {
                path: self.path.clone(),
                constant: self.graph.consts.len(),
                place,
                hash,
                shape: shape.clone(),
                dtype,
            });
            self.graph.consts.push(Const { literal: Literal::scalar(0u8), name });
            return Ok(());
        } else if self.s.eat_word("splat") {
            self.splat = self.splat.saturating_add(total);
            if self.splat > MAX_SPLAT_BYTES {
                let what = format!("with this splat of {total} bytes there are more than {MAX_SPLAT_BYTES}");
                return self.s.error_at(place, what);
            }
            let one = element_bytes(self.element(dtype)?);
            one.repeat(total / dtype.bytes())
        } else {
            let elements = self.elements(dtype)?;
            elements.into_iter().flat_map(element_bytes).collect()
        };
        match Literal::from_bytes(dtype, &shape, Bytes::from(bytes)) {
            Ok(literal) => self.graph.consts.push(Const { literal, name }),
            Err(e) => return self.s.error_at(place, e.to_string()),
        }
        Ok(())
    }

    fn elements(&mut self, dtype: DType) -> Result<Vec<Scalar>> {
        self.s.expect("[")?;
        let mut out = vec![];
        while !self.s.eat("]") {
            if !out.is_empty() {
                self.s.expect(",")?;
            }
            out.push(self.element(dtype)?);
        }
        Ok(out)
    }

    fn element(&mut self, dtype: DType) -> Result<Scalar> {
        let place = self.s.place();
        let text = self.s.until(&[",", "]", "\n", " ", ";"]);
        let read = match dtype {
            _ if text.starts_with("0x") => {
                u64::from_str_radix(&text[2..], 16).ok().map(|b| Scalar::new(dtype, b))
            }
            DType::Bool => text.parse().ok().map(Scalar::bool),
            DType::F32 => text.parse().ok().map(Scalar::f32),
            d if d.is_float() => text.parse().ok().map(|v| Scalar::from_f64(d, v)),
            DType::U64 => text.parse().ok().map(|v| Scalar::new(DType::U64, v)),
            d => text.parse().ok().map(|v| Scalar::from_i64(d, v)).filter(|s| s.as_i64().to_string() == text),
        };
        match read {
            Some(s) => Ok(s),
            None => self.s.error_at(place, format!("`{text}` is no {dtype} element")),
        }
    }

    /// `%0: type = operator`, after the mark.
    fn node(&mut self) -> Result<()> {
        let place = self.s.place();
        let number: u32 = self.s.integer("value number")?;
        let v = ValueId(self.graph.nodes.len() as u32);
        if v.0 != number {
            return self.s.error_at(place, format!("values are numbered in order: expected `{v}`"));
        }
        self.s.expect(":")?;
        let dtype = self.dtype()?;
        let ty = TensorType::new(dtype, self.dims()?);
        self.s.expect("=")?;
        let (op, inputs) = self.operator(v, &ty)?;
        let loc = self.loc()?;
        self.node_places.push(place);
        self.graph.nodes.push(Node { op, inputs, ty, sym: None, loc });
        Ok(())
    }

    fn dims(&mut self) -> Result<Vec<Dim>> {
        self.s.list(|s| s.dim(&[",", "]", "\n"]))
    }
    fn axes(&mut self, name: &str) -> Result<Vec<u32>> {
        self.s.expect_word(name)?;
        self.s.list(|s| s.integer("axis number"))
    }
    fn numbers(&mut self, name: &str) -> Result<Vec<i64>> {
        self.s.expect_word(name)?;
        self.s.list(|s| s.integer("64-bit integer"))
    }
    fn named_dims(&mut self, name: &str) -> Result<Vec<Dim>> {
        self.s.expect_word(name)?;
        self.dims()
    }
    fn pads(&mut self) -> Result<Vec<(Dim, Dim)>> {
        self.s.expect_word("pads")?;
        self.s.list(|s| {
            let lo = s.dim(&[":", ",", "]", "\n"])?;
            s.expect(":")?;
            Ok((lo, s.dim(&[",", "]", "\n"])?))
        })
    }
    fn axis_pairs(&mut self, name: &str) -> Result<Vec<(u32, u32)>> {
        self.s.expect_word(name)?;
        self.s.list(|s| {
            let a = s.integer("axis number")?;
            s.expect(":")?;
            Ok((a, s.integer("axis number")?))
        })
    }
    fn reduce_op(&mut self) -> Result<ReduceOp> {
        self.s.expect_word("by")?;
        let place = self.s.place();
        let name = self.s.word("a reduction")?;
        match ReduceOp::from_name(name) {
            Some(op) => Ok(op),
            None => {
                self.s.error_at(place, format!("`{name}` is no reduction; there are sum, prod, max, min"))
            }
        }
    }
    fn operands(&mut self) -> Result<SmallVec<[ValueId; 3]>> {
        let mut out = SmallVec::new();
        while self.s.next_is("%") {
            out.push(self.value()?);
            if !self.s.eat(",") {
                break;
            }
        }
        Ok(out)
    }

    fn operator(&mut self, v: ValueId, ty: &TensorType) -> Result<(Op, SmallVec<[ValueId; 3]>)> {
        let place = self.s.place();
        let name = self.s.word("an operator")?;
        let leaf = matches!(name, "input" | "const" | "iota" | "dims");
        let inputs = if leaf { SmallVec::new() } else { self.operands()? };
        let op: Op = match name {
            "input" => {
                let name = self.s.string()?;
                let index = self.graph.inputs.len() as u32;
                for s in ty.shape.iter().flat_map(Dim::symbols) {
                    if !self.graph.symbols.iter().any(|k| **k == *s) {
                        self.graph.symbols.push(s.to_string());
                    }
                }
                self.graph.inputs.push(Input { name, ty: ty.clone(), value: v });
                InputRef(index).into()
            }
            "const" => self.const_ref()?.into(),
            "iota" => {
                let shape = self.named_dims("shape")?;
                self.s.expect_word("axis")?;
                Iota { dtype: ty.dtype, shape, axis: self.s.integer("axis number")? }.into()
            }
            "dims" => Dims { dims: self.dims()?, scalar: ty.rank() == 0 }.into(),
            "reshape" => Reshape { shape: self.named_dims("shape")? }.into(),
            "permute" => Permute { perm: self.axes("perm")? }.into(),
            "broadcast" => Broadcast { shape: self.named_dims("shape")?, axes: self.axes("axes")? }.into(),
            "slice" => {
                let (start, size) = (self.named_dims("start")?, self.named_dims("size")?);
                Slice { start, size, step: self.numbers("step")? }.into()
            }
            "pad" => Pad { lo: self.named_dims("lo")?, hi: self.named_dims("hi")? }.into(),
            "pack" => {
                let perm = self.axes("perm")?;
                self.s.expect_word("width")?;
                Pack { perm, width: self.s.integer("width of a panel")? }.into()
            }
            "concat" => {
                self.s.expect_word("axis")?;
                Concat { axis: self.s.integer("axis number")? }.into()
            }
            "select" => Select.into(),
            "cast" => Cast(ty.dtype).into(),
            "bitcast" => Bitcast(ty.dtype).into(),
            "reduce" => Reduce { op: self.reduce_op()?, axes: self.axes("axes")? }.into(),
            "dot" => {
                DotGeneral { batch: self.axis_pairs("batch")?, contract: self.axis_pairs("contract")? }.into()
            }
            "conv" => self.conv()?.into(),
            "reduce_window" => self.window()?.into(),
            "winograd_input" => {
                let tile = self.tile()?;
                WinogradInput { tile, lo: self.numbers("lo")?, tiles: self.named_dims("tiles")? }.into()
            }
            "winograd_weights" => {
                let tile = self.tile()?;
                self.s.expect_word("width")?;
                WinogradWeights { tile, width: self.s.integer("width of a panel")? }.into()
            }
            "winograd_output" => WinogradOutput { tile: self.tile()?, size: self.named_dims("size")? }.into(),
            "gather" => Gather { axes: self.axes("axes")? }.into(),
            "cumulative" => self.cumulative()?.into(),
            "scatter" => self.scatter()?.into(),
            "sort" => self.sort()?.into(),
            name => match (scalar_operator(name), self.region_operator(name)?) {
                (Some(op), _) | (None, Some(op)) => op,
                (None, None) => return self.s.error_at(place, format!("unknown operator `{name}`")),
            },
        };
        Ok((op, inputs))
    }

    fn const_ref(&mut self) -> Result<ConstId> {
        let place = self.s.place();
        let name = self.s.word("a constant")?;
        let number = name.strip_prefix('c').and_then(|d| d.parse().ok());
        match number.filter(|&k| (k as usize) < self.graph.consts.len()) {
            Some(k) => Ok(ConstId(k)),
            None => self.s.error_at(place, format!("`{name}` is no constant declared above")),
        }
    }

    fn tile(&mut self) -> Result<i64> {
        self.s.expect_word("tile")?;
        self.s.integer("outputs of a tile along an axis")
    }

    fn conv(&mut self) -> Result<Conv> {
        let (strides, pads, dilations) = (self.numbers("strides")?, self.pads()?, self.numbers("dilations")?);
        self.s.expect_word("groups")?;
        Ok(Conv { strides, pads, dilations, groups: self.s.integer("64-bit integer")? })
    }

    fn window(&mut self) -> Result<ReduceWindow> {
        let op = self.reduce_op()?;
        let window = self.numbers("window")?;
        let (strides, pads, dilations) = (self.numbers("strides")?, self.pads()?, self.numbers("dilations")?);
        Ok(ReduceWindow { op, window, strides, pads, dilations })
    }

    fn cumulative(&mut self) -> Result<Cumulative> {
        let op = self.reduce_op()?;
        self.s.expect_word("axis")?;
        let axis = self.s.integer("axis number")?;
        let (exclusive, reverse) = (self.s.eat_word("exclusive"), self.s.eat_word("reverse"));
        Ok(Cumulative { op, axis, exclusive, reverse })
    }

    fn scatter(&mut self) -> Result<Scatter> {
        self.s.expect_word("by")?;
        let update = self.one_of("an update", Update::from_name)?;
        Ok(Scatter { update, axes: self.axes("axes")?, each: self.s.eat_word("each") })
    }

    fn sort(&mut self) -> Result<Sort> {
        self.s.expect_word("of")?;
        let of = self.one_of("a result of sorting", Sorted::from_name)?;
        self.s.expect_word("axis")?;
        let axis = self.s.integer("axis number")?;
        let place = self.s.place();
        let Ok([count]) = <[Dim; 1]>::try_from(self.named_dims("count")?) else {
            return self.s.error_at(place, "the count is one extent");
        };
        Ok(Sort { of, axis, count, descending: self.s.eat_word("descending") })
    }

    /// A word that names one of several.
    fn one_of<T>(&mut self, what: &str, find: fn(&str) -> Option<T>) -> Result<T> {
        let place = self.s.place();
        let name = self.s.word(what)?;
        match find(name) {
            Some(found) => Ok(found),
            None => self.s.error_at(place, format!("`{name}` is not {what}")),
        }
    }

    /// The data section behind the graph.
    fn data(&mut self) -> Result<()> {
        let mut pending = std::mem::take(&mut self.pending).into_iter();
        while !self.s.at_end() {
            self.s.expect_word("data")?;
            let place = self.s.place();
            let mut name = self.s.word("a constant")?.to_string();
            while name.rsplit(' ').next().is_some_and(|w| w.starts_with('r')) {
                name = format!("{name} {}", self.s.word("a constant")?);
            }
            let Some(p) = pending.next().filter(|p| name == p.name()) else {
                return self.s.error_at(place, format!("`{name}` is not the next constant without data"));
            };
            let place = self.s.place();
            let digits = if p.shape.contains(&0) { "" } else { self.s.word("hexadecimal digits")? };
            let Some(bytes) = from_hex(digits) else {
                return self.s.error_at(place, "data must be an even number of hexadecimal digits");
            };
            let literal = match Literal::from_little_endian(p.dtype, &p.shape, Bytes::from(bytes)) {
                Ok(l) => l,
                Err(e) => return self.s.error_at(place, e.to_string()),
            };
            if super::hash(&literal) != p.hash {
                return self.s.error_at(place, format!("the data of {} does not have its hash", p.name()));
            }
            let within = p.path.iter().fold(&mut self.graph, |g, &r| &mut g.regions[r]);
            within.consts[p.constant].literal = literal;
        }
        match pending.next() {
            Some(p) => {
                self.s.error_at(p.place, format!("{} has no data: print the graph with its data", p.name()))
            }
            None => Ok(()),
        }
    }

    /// Verifies, and computes the symbolic values, which are not written.
    fn graph_is_valid(&mut self) -> Result<()> {
        if let Err(e) = verify(&self.graph) {
            return self.s.error_at(self.place_of(&e), e.to_string());
        }
        self.graph.fill_symbolic();
        Ok(())
    }

    /// Where something wrong stands: the node, or the region with it inside.
    fn place_of(&self, mut error: &VerifyError) -> usize {
        let mut path = vec![];
        while let VerifyError::Region { region, source } = error {
            path.push(region.index());
            error = source;
        }
        let place = match error {
            VerifyError::Node { node, .. } if path.is_empty() => self.node_places.get(node.index()),
            _ => self.region_places.get(&path),
        };
        place.copied().unwrap_or(0)
    }
}

impl Pending {
    /// As the data section calls it.
    fn name(&self) -> String {
        let path: String = self.path.iter().map(|r| format!("r{r} ")).collect();
        format!("{path}c{}", self.constant)
    }
}

fn scalar_operator(name: &str) -> Option<Op> {
    let unary = || UnaryOp::from_name(name).map(|op| Unary(op).into());
    let binary = || BinaryOp::from_name(name).map(|op| Binary(op).into());
    let compare = || CompareOp::from_name(name).map(|op| Compare(op).into());
    unary().or_else(binary).or_else(compare)
}

fn element_bytes(s: Scalar) -> Vec<u8> {
    let n = s.dtype.bytes();
    match cfg!(target_endian = "big") {
        true => s.bits.to_be_bytes()[8 - n..].to_vec(),
        false => s.bits.to_le_bytes()[..n].to_vec(),
    }
}

fn from_hex(digits: &str) -> Option<Vec<u8>> {
    let digit = |c: u8| char::from(c).to_digit(16).map(|d| d as u8);
    let (pairs, rest) = digits.as_bytes().as_chunks::<2>();
    let bytes = pairs.iter().map(|p| Some(digit(p[0])? << 4 | digit(p[1])?)).collect();
    if rest.is_empty() { bytes } else { None }
}
