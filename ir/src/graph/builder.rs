//! Makes graphs: every node's type is inferred as it is added, equal nodes are one node, and small
//! integer tensors that follow from shapes are known symbolically from the start.

mod region;

pub use region::ScanOperands;

use super::ops::*;
use super::{
    Const, ConstId, Graph, GraphError, Input, Loc, LocId, Node, OpError, Output, SymValue, TensorType,
    ValueId,
};
use crate::dim::Dim;
use crate::dtype::DType;
use crate::literal::Literal;
use crate::scalar::{BinaryOp, CompareOp, ReduceOp, Scalar, UnaryOp};
use rustc_hash::{FxHashMap, FxHashSet};
use smallvec::SmallVec;

/// A graph in the making.
#[derive(Default)]
pub struct Builder {
    graph: Graph,
    known: FxHashMap<(Op, SmallVec<[ValueId; 3]>), ValueId>,
    scalars: FxHashMap<Scalar, ValueId>,
    loc_ids: FxHashMap<Loc, LocId>,
    loc: LocId,
}

/// What building gives.
pub type Result<T> = std::result::Result<T, GraphError>;

impl Builder {
    /// An empty graph of that name.
    pub fn new(name: &str) -> Self {
        let mut b = Builder::default();
        b.graph.name = name.to_string();
        b.graph.locs.push(Loc::default());
        b
    }

    /// The graph so far.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }
    /// The type of a value.
    pub fn ty(&self, v: ValueId) -> &TensorType {
        self.graph.ty(v)
    }
    /// The extents of a value.
    pub fn shape(&self, v: ValueId) -> &[Dim] {
        &self.graph.ty(v).shape
    }
    /// The element type of a value.
    pub fn dtype(&self, v: ValueId) -> DType {
        self.graph.ty(v).dtype
    }
    /// The elements of a small integer tensor as expressions, where they follow from shapes and constants.
    pub fn sym(&self, v: ValueId) -> Option<&SymValue> {
        self.graph.node(v).sym.as_ref()
    }

    /// Nodes added from now on come from here.
    pub fn set_loc(&mut self, text: &str) -> LocId {
        let loc = Loc(text.to_string());
        let next = LocId(self.graph.locs.len() as u32);
        self.loc = *self.loc_ids.entry(loc.clone()).or_insert_with(|| {
            self.graph.locs.push(loc);
            next
        });
        self.loc
    }
    /// Takes over what another graph declares of its symbols.
    pub fn set_ranges(&mut self, ranges: &crate::dim::Ranges) {
        self.graph.ranges = ranges.clone();
    }
    /// Declares a symbol's inclusive range (by default `0..`).
    pub fn set_range(&mut self, symbol: &str, lo: i64, hi: Option<i64>) {
        self.graph.ranges.set_symbol(symbol, lo, hi);
    }

    /// Adds an input. Its extents must be constants or expressions over symbols; symbols are declared
    /// by their first appearance.
    pub fn input(&mut self, name: &str, ty: TensorType) -> ValueId {
        for s in ty.shape.iter().flat_map(Dim::symbols) {
            if !self.graph.symbols.iter().any(|k| **k == *s) {
                self.graph.symbols.push(s.to_string());
            }
        }
        let index = self.graph.inputs.len() as u32;
        let value = ValueId(self.graph.nodes.len() as u32);
        self.graph.inputs.push(Input { name: name.to_string(), ty: ty.clone(), value });
        let op = Op::Input(InputRef(index));
        self.graph.nodes.push(Node { op, inputs: SmallVec::new(), ty, sym: None, loc: self.loc });
        value
    }
    /// Names a value as an output.
    pub fn output(&mut self, name: &str, value: ValueId) {
        self.graph.outputs.push(Output { name: name.to_string(), value });
    }
    /// Adds a constant tensor under its name in the source model (may be empty).
    pub fn constant(&mut self, name: &str, literal: Literal) -> ValueId {
        if literal.shape().is_empty() && name.is_empty() {
            let bits = read_bits(&literal);
            return self.scalar(Scalar::new(literal.dtype(), bits));
        }
        self.push_const(name, literal)
    }
    /// Adds a rank-0 constant.
    pub fn scalar(&mut self, s: Scalar) -> ValueId {
        if let Some(&v) = self.scalars.get(&s) {
            return v;
        }
        let literal = Literal::from_bytes(s.dtype, &[], scalar_bytes(s)).expect("one element");
        let v = self.push_const("", literal);
        self.scalars.insert(s, v);
        v
    }
    /// A rank-0 constant of `dtype` nearest to `v`.
    pub fn scalar_f64(&mut self, dtype: DType, v: f64) -> ValueId {
        self.scalar(Scalar::from_f64(dtype, v))
    }
    fn push_const(&mut self, name: &str, literal: Literal) -> ValueId {
        let id = ConstId(self.graph.consts.len() as u32);
        self.graph.consts.push(Const { literal, name: name.to_string() });
        self.add(id, &[]).expect("a constant has a type")
    }

    /// Adds an operator, or finds the equal node that is there already.
    pub fn add(&mut self, op: impl Into<Op>, inputs: &[ValueId]) -> Result<ValueId> {
        let op = op.into();
        let key = (op, SmallVec::from_slice(inputs));
        if let Some(&v) = self.known.get(&key) {
            return Ok(v);
        }
        let (ty, sym) = self
            .infer(&key.0, &key.1)
            .map_err(|source| GraphError { loc: self.graph.loc_text(self.loc).to_string(), source })?;
        Ok(self.push(key, ty, sym))
    }
    /// Adds what `node` of the graph `of` is, on other operands, or finds the equal node that is there already.
    ///
    /// Where the operands are to inference what those of `node` were, nothing is inferred again: the type and the
    /// symbolic value are the node's, and of its guards nothing is said here, as `of` has them.
    ///
    /// # Errors
    /// As [`Builder::add`], where the operands differ and the operator refuses them.
    pub fn add_like(&mut self, of: &Graph, node: &Node, inputs: &[ValueId]) -> Result<ValueId> {
        let same = |(&old, &new): (&ValueId, &ValueId)| {
            let (old, new) = (of.node(old), self.graph.node(new));
            old.ty == new.ty && old.sym == new.sym
        };
        // A projection looks at the operator of its operand.
        let known = !node.op.has_regions() && !matches!(node.op, Op::Proj(_));
        if !(known && node.inputs.len() == inputs.len() && node.inputs.iter().zip(inputs).all(same)) {
            return self.add(node.op.clone(), inputs);
        }
        let key = (node.op.clone(), SmallVec::from_slice(inputs));
        if let Some(&v) = self.known.get(&key) {
            return Ok(v);
        }
        Ok(self.push(key, node.ty.clone(), node.sym.clone()))
    }
    fn push(
        &mut self,
        (op, inputs): (Op, SmallVec<[ValueId; 3]>),
        ty: TensorType,
        sym: Option<SymValue>,
    ) -> ValueId {
        let value = ValueId(self.graph.nodes.len() as u32);
        self.graph.nodes.push(Node { op: op.clone(), inputs: inputs.clone(), ty, sym, loc: self.loc });
        self.known.insert((op, inputs), value);
        value
    }

    fn infer(
        &mut self,
        op: &Op,
        inputs: &[ValueId],
    ) -> std::result::Result<(TensorType, Option<SymValue>), OpError> {
        let row = op.row();
        if inputs.len() < row.min_arity || inputs.len() > row.max_arity {
            let want = match (row.min_arity, row.max_arity) {
                (a, b) if a == b => a.to_string(),
                (a, usize::MAX) => format!("{a} or more"),
                (a, b) => format!("{a} to {b}"),
            };
            return Err(OpError::Arity { op: row.name, want, got: inputs.len() });
        }
        let g = &mut self.graph;
        let types: Vec<&TensorType> = inputs.iter().map(|v| &g.nodes[v.index()].ty).collect();
        let mut cx = InferCx {
            inputs: &g.inputs,
            consts: &g.consts,
            regions: &g.regions,
            producer: inputs.first().map(|v| &g.nodes[v.index()].op),
            ranges: &g.ranges,
            guards: &mut g.guards,
            loc: self.loc,
        };
        let before = cx.guards.len();
        let inferred = op.meaning().infer(&mut cx, &types);
        if inferred.is_err() {
            cx.guards.truncate(before);
        }
        let ty = inferred?;
        let small = ty.dtype.is_int() || ty.dtype == DType::Bool;
        let count = ty.elements().as_const();
        let sym = if small && count.is_some_and(|n| n <= SymValue::MAX as i64) {
            let syms: Vec<_> = inputs.iter().map(|v| g.nodes[v.index()].sym.as_ref()).collect();
            if let Op::Const(c) = op {
                literal_sym(&g.consts[c.index()].literal)
            } else {
                op.meaning().symbolic(&syms, &types, &ty)
            }
        } else {
            None
        };
        Ok((ty, sym))
    }

    /// Ends building: drops repeated guards.
    pub fn finish(self) -> Graph {
        let mut graph = self.graph;
        let mut seen = FxHashSet::default();
        graph.guards.retain(|g| seen.insert((g.kind, g.lhs.clone(), g.rhs.clone())));
        graph
    }

    /// Adds a unary operator.
    pub fn unary(&mut self, op: UnaryOp, x: ValueId) -> Result<ValueId> {
        self.add(Unary(op), &[x])
    }
    /// Adds a binary operator after broadcasting both operands to their common shape.
    pub fn binary(&mut self, op: BinaryOp, a: ValueId, b: ValueId) -> Result<ValueId> {
        let v = self.broadcast_all(&[a, b])?;
        self.add(Binary(op), &v)
    }
    /// Adds a comparison after broadcasting both operands to their common shape.
    pub fn compare(&mut self, op: CompareOp, a: ValueId, b: ValueId) -> Result<ValueId> {
        let v = self.broadcast_all(&[a, b])?;
        self.add(Compare(op), &v)
    }
    /// `if c { a } else { b }`, element by element, after broadcasting.
    pub fn select(&mut self, c: ValueId, a: ValueId, b: ValueId) -> Result<ValueId> {
        let v = self.broadcast_all(&[c, a, b])?;
        self.add(Select, &v)
    }
    /// Converts to a dtype (nothing if it has it).
    pub fn cast(&mut self, x: ValueId, dtype: DType) -> Result<ValueId> {
        if self.dtype(x) == dtype { Ok(x) } else { self.add(Cast(dtype), &[x]) }
    }
    /// Reshapes (nothing if the shape is that already).
    pub fn reshape(&mut self, x: ValueId, shape: impl Into<Vec<Dim>>) -> Result<ValueId> {
        let shape = shape.into();
        if self.shape(x) == shape { Ok(x) } else { self.add(Reshape { shape }, &[x]) }
    }
    /// Permutes the axes (nothing for the identity).
    pub fn permute(&mut self, x: ValueId, perm: &[u32]) -> Result<ValueId> {
        let identity =
            perm.iter().enumerate().all(|(i, &p)| i == p as usize) && perm.len() == self.shape(x).len();
        if identity { Ok(x) } else { self.add(Permute { perm: perm.to_vec() }, &[x]) }
    }
    /// Reduces over axes, which vanish.
    pub fn reduce(&mut self, op: ReduceOp, x: ValueId, axes: &[u32]) -> Result<ValueId> {
        if axes.is_empty() { Ok(x) } else { self.add(Reduce { op, axes: axes.to_vec() }, &[x]) }
    }
    /// Reduces over axes, which stay with extent 1.
    pub fn reduce_keep(&mut self, op: ReduceOp, x: ValueId, axes: &[u32]) -> Result<ValueId> {
        let mut shape = self.shape(x).to_vec();
        let r = self.reduce(op, x, axes)?;
        for &a in axes {
            shape[a as usize] = Dim::constant(1);
        }
        self.reshape(r, shape)
    }
    /// An i64 tensor holding extents: rank 0 for `scalar` (one element), else rank 1.
    pub fn dims(&mut self, dims: Vec<Dim>, scalar: bool) -> Result<ValueId> {
        self.add(Dims { dims, scalar }, &[])
    }

    /// Broadcasts to a shape by NumPy's rule: trailing axes align, extents of 1 repeat, new axes come first.
    pub fn broadcast_to(&mut self, x: ValueId, shape: &[Dim]) -> Result<ValueId> {
        if self.shape(x) == shape {
            return Ok(x);
        }
        let rank = self.shape(x).len();
        if rank > shape.len() {
            let what = format!("cannot broadcast {} to {} axes", self.ty(x), shape.len());
            return Err(self.error(OpError::Shape { op: "broadcast", what }));
        }
        let first = (shape.len() - rank) as u32;
        self.add(
            Broadcast { shape: shape.to_vec(), axes: (0..rank as u32).map(|i| i + first).collect() },
            &[x],
        )
    }
    /// Broadcasts all values to their common shape by NumPy's rule. Symbolic extents that are not
    /// provably equal become guards.
    pub fn broadcast_all(&mut self, values: &[ValueId]) -> Result<Vec<ValueId>> {
        let rank = values.iter().map(|&v| self.shape(v).len()).max().unwrap_or(0);
        let mut shape = vec![Dim::constant(1); rank];
        for &v in values {
            let own = self.shape(v).to_vec();
            for (k, d) in own.iter().enumerate() {
                let at = rank - own.len() + k;
                shape[at] = self.common_extent(&shape[at].clone(), d)?;
            }
        }
        values.iter().map(|&v| self.broadcast_to(v, &shape)).collect()
    }
    fn common_extent(&mut self, a: &Dim, b: &Dim) -> Result<Dim> {
        if a.is_const(1) {
            return Ok(b.clone());
        }
        if b.is_const(1) {
            return Ok(a.clone());
        }
        let g = &mut self.graph;
        let mut cx = InferCx {
            inputs: &g.inputs,
            consts: &g.consts,
            regions: &g.regions,
            producer: None,
            ranges: &g.ranges,
            guards: &mut g.guards,
            loc: self.loc,
        };
        cx.equal("broadcast", a, b, "extents must be equal or 1").map_err(|e| self.error(e))
    }
    /// An error at the present location.
    pub fn error(&self, source: OpError) -> GraphError {
        GraphError { loc: self.graph.loc_text(self.loc).to_string(), source }
    }
}

fn scalar_bytes(s: Scalar) -> bytes::Bytes {
    let n = s.dtype.bytes();
    let all = s.bits.to_le_bytes();
    let mut part = all[..n].to_vec();
    if cfg!(target_endian = "big") {
        part.reverse();
    }
    bytes::Bytes::from(part)
}

fn read_bits(l: &Literal) -> u64 {
    let mut part = l.bytes().to_vec();
    if cfg!(target_endian = "big") {
        part.reverse();
    }
    part.resize(8, 0);
    u64::from_le_bytes(part.try_into().expect("eight bytes"))
}

fn literal_sym(l: &Literal) -> Option<SymValue> {
    let elems = (0..l.len()).map(|i| Dim::constant(l.get_i64(i))).collect();
    Some(SymValue { shape: l.shape().to_vec(), elems })
}
