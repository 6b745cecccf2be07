//! What the e-graph holds: tensors in memory and scalars at an index, in one language.
//!
//! Two sorts. `T` is a tensor in memory: an input, a constant, or `Mat(S)`, an expression that is computed
//! for every index and stored. `S` is a scalar at an index of a named domain: `Load(T)`, the element of a
//! tensor at that index, or an operator of GIR applied to scalars (a view is a map of the index; a
//! contraction takes scalars at the indices it sums over). An operator's domain is the shape of its
//! type, so constants at two domains are two nodes.
//!
//! One rule, `Load(Mat(s)) = s`, makes fusion a choice: where an operand's class holds both, the kernel
//! may load the tensor or compute the scalar in place (`rules/load.rs`).

use super::facts::Typing;
use egg::{EGraph, Id, Language};
use fornax_ir::graph::{Op, OpKind};
use smallvec::SmallVec;

/// What a node does, without attributes. Declared in an order that keeps equal kinds together: egg
/// looks classes of many nodes up by it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Kind {
    /// `T`: the tensor that stores a scalar expression at every index.
    Mat,
    /// `S`: the element of a tensor at the index.
    Load,
    /// A composite known by name; an `S` in the class of its body, which is its operand. `Attrs` index
    /// [`super::composites::TABLE`].
    Named,
    /// An operator of GIR: a `T` for inputs and constants, an `S` otherwise.
    Op(OpKind),
}

/// Number of an operator with its attributes, in the e-graph's [`Typing`]; numbers follow the order of first use.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Attrs(pub u32);

/// A node of the e-graph. Its order is (kind, attributes, children), so that nodes of one kind are
/// neighbours, and those of one operator among them.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Node {
    /// What it does.
    pub kind: Kind,
    /// With which attributes; 0 for `Mat` and `Load`.
    pub attrs: Attrs,
    /// Classes of its operands.
    pub children: SmallVec<[Id; 3]>,
}

impl Node {
    /// The tensor that stores `s`.
    pub fn mat(s: Id) -> Node {
        Node { kind: Kind::Mat, attrs: Attrs(0), children: SmallVec::from_slice(&[s]) }
    }
    /// The element of `t` at the index.
    pub fn load(t: Id) -> Node {
        Node { kind: Kind::Load, attrs: Attrs(0), children: SmallVec::from_slice(&[t]) }
    }
}

impl Language for Node {
    type Discriminant = Kind;
    fn discriminant(&self) -> Kind {
        self.kind
    }
    fn matches(&self, other: &Self) -> bool {
        self.kind == other.kind && self.attrs == other.attrs && self.children.len() == other.children.len()
    }
    fn children(&self) -> &[Id] {
        &self.children
    }
    fn children_mut(&mut self) -> &mut [Id] {
        &mut self.children
    }
}

/// The e-graph of one graph.
pub type Space = EGraph<Node, Typing>;

/// The operator of a node; `None` for `Mat`, `Load` and names.
pub fn op<'s>(space: &'s Space, node: &Node) -> Option<&'s Op> {
    matches!(node.kind, Kind::Op(_)).then(|| space.analysis.op(node.attrs))
}
