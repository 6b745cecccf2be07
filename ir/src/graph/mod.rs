//! GIR, the graph IR: tensors in SSA form, pure, in one arena.
//!
//! A [`Graph`] is a list of [`Node`]s; a node's operands come before it, so the list is a
//! topological order. Every node has one tensor as its value, with a dtype and a shape of static
//! rank whose extents are constants or expressions over named symbols ([`Dim`]). What inference
//! could not prove about extents stands in [`Graph::guards`] and is checked when the program runs.
//!
//! Graphs are made by a [`Builder`], which infers types as nodes are added.

pub mod builder;
pub mod composite;
pub mod interp;
pub mod ops;
mod same;
pub mod saved;
pub mod text;
pub mod verify;
pub mod visit;

pub use builder::Builder;
pub use ops::{Op, OpKind};
pub use same::difference;

use crate::dim::{Dim, Ranges};
use crate::dtype::DType;
use crate::literal::Literal;
use smallvec::SmallVec;
use std::fmt;
use thiserror::Error;

macro_rules! ids { ($($(#[$m:meta])* $Name:ident $prefix:literal),*) => { $(
    $(#[$m])*
    #[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
    pub struct $Name(pub u32);
    impl $Name {
        /// As an index.
        pub fn index(self) -> usize { self.0 as usize }
    }
    impl fmt::Debug for $Name {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { write!(f, concat!($prefix, "{}"), self.0) }
    }
    impl fmt::Display for $Name {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { fmt::Debug::fmt(self, f) }
    }
)* } }
ids! {
    /// A node, and the tensor that is its value.
    ValueId "%",
    /// An entry of [`Graph::consts`].
    ConstId "c",
    /// An entry of [`Graph::regions`].
    RegionId "r",
    /// An entry of [`Graph::locs`]; 0 is "unknown".
    LocId "loc"
}

/// Dtype and shape of a tensor.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct TensorType {
    /// Element type.
    pub dtype: DType,
    /// Extents, outermost first.
    pub shape: Vec<Dim>,
}

impl TensorType {
    /// From its parts.
    pub fn new(dtype: DType, shape: impl Into<Vec<Dim>>) -> Self {
        TensorType { dtype, shape: shape.into() }
    }
    /// The number of axes.
    pub fn rank(&self) -> usize {
        self.shape.len()
    }
    /// The number of elements.
    pub fn elements(&self) -> Dim {
        let known = self.shape.iter().try_fold(1i64, |n, d| n.checked_mul(d.as_const()?));
        known.map_or_else(|| self.shape.iter().fold(Dim::constant(1), |n, d| n * d), Dim::constant)
    }
    /// The number of bytes.
    pub fn bytes(&self) -> Dim {
        self.elements() * self.dtype.bytes() as i64
    }
    /// The extents, if all are constant and non-negative.
    pub fn const_shape(&self) -> Option<Vec<usize>> {
        self.shape.iter().map(|d| d.as_const().and_then(|v| usize::try_from(v).ok())).collect()
    }
}
impl fmt::Display for TensorType {
    /// `f32[batch, 3, 224]`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[", self.dtype)?;
        for (i, d) in self.shape.iter().enumerate() {
            write!(f, "{}{d}", if i == 0 { "" } else { ", " })?;
        }
        write!(f, "]")
    }
}
impl fmt::Debug for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The elements of a small integer tensor as expressions over symbols: what shape arithmetic computes.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct SymValue {
    /// Constant extents; rank 0 or 1 in practice, any rank is allowed.
    pub shape: Vec<usize>,
    /// Elements in row-major order.
    pub elems: Vec<Dim>,
}

impl SymValue {
    /// The largest number of elements that is followed symbolically.
    pub const MAX: usize = 256;
    /// All elements, if constant.
    pub fn as_consts(&self) -> Option<Vec<i64>> {
        self.elems.iter().map(Dim::as_const).collect()
    }
}

/// One operator applied to earlier values.
#[derive(Clone, Debug)]
pub struct Node {
    /// What it computes.
    pub op: Op,
    /// Its operands.
    pub inputs: SmallVec<[ValueId; 3]>,
    /// Type of its value.
    pub ty: TensorType,
    /// Its value, where it is a small integer tensor that follows from shapes and constants.
    pub sym: Option<SymValue>,
    /// Where the user wrote it; outside equality and hash of graphs.
    pub loc: LocId,
}

/// An input of a graph.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Input {
    /// Its name, unique among the inputs.
    pub name: String,
    /// Its type; each symbol used in a graph is an extent of some input.
    pub ty: TensorType,
    /// Its node.
    pub value: ValueId,
}

/// An output of a graph.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Output {
    /// Its name, unique among the outputs.
    pub name: String,
    /// The value.
    pub value: ValueId,
}

/// A constant tensor.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Const {
    /// The data.
    pub literal: Literal,
    /// Its name in the source model; empty if it has none.
    pub name: String,
}

/// What a guard demands.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum GuardKind {
    /// `lhs == rhs`.
    Eq,
    /// `lhs <= rhs`.
    Le,
}

/// A condition on extents that could not be proven and is checked when the program runs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Guard {
    /// The relation.
    pub kind: GuardKind,
    /// Left side.
    pub lhs: Dim,
    /// Right side.
    pub rhs: Dim,
    /// What needs it, for the error message.
    pub what: String,
    /// Where.
    pub loc: LocId,
}

/// Where a node comes from.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Loc(
    /// The name shown to people: an ONNX node (`Conv 'layer1/conv'`) or a source line (`src/net.rs:12`).
    pub String,
);

/// A computation on tensors.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    /// Its name.
    pub name: String,
    /// Nodes in topological order.
    pub nodes: Vec<Node>,
    /// Inputs, in the order of the caller's arguments.
    pub inputs: Vec<Input>,
    /// Outputs, in the caller's order.
    pub outputs: Vec<Output>,
    /// Constant tensors, each named by one `Const` operator kind.
    pub consts: Vec<Const>,
    /// Declared ranges of the symbols; every symbol in use is declared.
    pub ranges: Ranges,
    /// Graphs inside this one: what its `Cond`, `While` and `Scan` compute. They see nothing but their
    /// inputs; their extents may use this graph's symbols.
    pub regions: Vec<Graph>,
    /// Names of the symbols in order of first use by the inputs: the order of run-time dims.
    /// Those of a region are some of the symbols of the graph around it.
    pub symbols: Vec<String>,
    /// Conditions checked at run time.
    pub guards: Vec<Guard>,
    /// Locations; entry 0 is "unknown".
    pub locs: Vec<Loc>,
}

impl Graph {
    /// The node of a value.
    pub fn node(&self, v: ValueId) -> &Node {
        &self.nodes[v.index()]
    }
    /// The type of a value.
    pub fn ty(&self, v: ValueId) -> &TensorType {
        &self.nodes[v.index()].ty
    }
    /// All values, in topological order.
    pub fn values(&self) -> impl DoubleEndedIterator<Item = ValueId> + use<> {
        (0..self.nodes.len() as u32).map(ValueId)
    }
    /// Where a value comes from, for messages.
    pub fn loc(&self, v: ValueId) -> &str {
        self.loc_text(self.node(v).loc)
    }
    /// The text of a location.
    pub fn loc_text(&self, loc: LocId) -> &str {
        self.locs.get(loc.index()).map_or("", |l| l.0.as_str())
    }
    /// The literal of a constant node.
    pub fn literal(&self, v: ValueId) -> Option<&Literal> {
        match self.node(v).op {
            Op::Const(c) => Some(&self.consts[c.index()].literal),
            _ => None,
        }
    }
    /// Computes the symbolic values of all nodes, also of the regions', as a builder knows them.
    pub(crate) fn fill_symbolic(&mut self) {
        for v in 0..self.nodes.len() {
            self.nodes[v].sym = self.symbolic(ValueId(v as u32));
        }
        self.regions.iter_mut().for_each(Graph::fill_symbolic);
    }
    /// The elements of a small integer tensor, from the operator and its operands.
    fn symbolic(&self, v: ValueId) -> Option<SymValue> {
        let node = self.node(v);
        let small = node.ty.dtype.is_int() || node.ty.dtype == DType::Bool;
        let count = node.ty.elements().as_const()?;
        if !small || count > SymValue::MAX as i64 {
            return None;
        }
        if let Op::Const(c) = node.op {
            let l = &self.consts[c.index()].literal;
            let elems = (0..l.len()).map(|i| Dim::constant(l.get_i64(i))).collect();
            return Some(SymValue { shape: l.shape().to_vec(), elems });
        }
        let syms: Vec<_> = node.inputs.iter().map(|&i| self.node(i).sym.as_ref()).collect();
        let types: Vec<&TensorType> = node.inputs.iter().map(|&i| self.ty(i)).collect();
        node.op.meaning().symbolic(&syms, &types, &node.ty)
    }
    /// How often each value is used, by nodes and outputs.
    pub fn use_counts(&self) -> Vec<u32> {
        let mut uses = vec![0; self.nodes.len()];
        for n in &self.nodes {
            n.inputs.iter().for_each(|v| uses[v.index()] += 1);
        }
        self.outputs.iter().for_each(|o| uses[o.value.index()] += 1);
        uses
    }
    /// Which values the outputs depend on.
    pub fn live(&self) -> Vec<bool> {
        let mut live = vec![false; self.nodes.len()];
        self.outputs.iter().for_each(|o| live[o.value.index()] = true);
        for v in self.values().rev() {
            if live[v.index()] {
                self.node(v).inputs.iter().for_each(|i| live[i.index()] = true);
            }
        }
        live
    }
}

/// Why an operator cannot be applied to its operands.
#[derive(Debug, Error, Clone, PartialEq)]
pub enum OpError {
    /// Wrong number of operands.
    #[error("{op} takes {want} operands, not {got}")]
    Arity {
        /// The operator.
        op: &'static str,
        /// The number it takes, in words.
        want: String,
        /// The number given.
        got: usize,
    },
    /// Dtypes that do not fit.
    #[error("{op}: {what}")]
    DType {
        /// The operator.
        op: &'static str,
        /// What was wrong and what would work.
        what: String,
    },
    /// Shapes or attributes that do not fit.
    #[error("{op}: {what}")]
    Shape {
        /// The operator.
        op: &'static str,
        /// What was wrong and what would work.
        what: String,
    },
    /// An evaluation needs more memory than there can be, or an extent is negative.
    #[error("{op}: {what}")]
    Eval {
        /// The operator.
        op: &'static str,
        /// What was wrong.
        what: String,
    },
}

/// An error of building or evaluating a graph, with its place.
#[derive(Debug, Error, Clone, PartialEq)]
#[error("{}{source}", if .loc.is_empty() { String::new() } else { format!("{}: ", .loc) })]
pub struct GraphError {
    /// The node's location.
    pub loc: String,
    /// What was wrong.
    #[source]
    pub source: OpError,
}
