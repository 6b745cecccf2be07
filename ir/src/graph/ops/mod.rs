//! The operator table, and what every operator must say of itself.
//!
//! One row of [`TABLE`] holds an operator's facts, one struct its attributes, and the family's
//! file its meaning ([`Meaning`]): `infer`, `eval`, `vjp`. A new operator is a row and a variant
//! here, a struct in its family's file, and its lowering in the compiler; see
//! `docs/adding-an-operator.md`.

mod check;
pub mod conv;
pub mod cumulative;
pub mod dot;
pub mod elementwise;
pub mod index;
pub mod leaf;
pub mod pack;
pub mod reduce;
pub mod region;
mod ring;
pub mod scatter;
pub mod sort;
mod strided;
pub mod view;
pub mod window;
pub mod winograd;

pub use conv::Conv;
pub use cumulative::Cumulative;
pub use dot::DotGeneral;
pub use elementwise::{Binary, Bitcast, Cast, Compare, Select, Unary};
pub use index::Gather;
pub use leaf::{Constant, Dims, InputRef, Iota};
pub use pack::Pack;
pub use reduce::Reduce;
pub use region::{Cond, Proj, Scan, While};
pub use scatter::{Scatter, Update};
pub use sort::{Sort, Sorted};
pub use view::{Broadcast, Concat, Pad, Permute, Reshape, Slice};
pub use window::ReduceWindow;
pub use winograd::{WinogradInput, WinogradOutput, WinogradWeights};

use super::{Const, Graph, Guard, GuardKind, Input, LocId, OpError, SymValue, TensorType};
use crate::dim::{Dim, Ranges};
use crate::dtype::DType;
use crate::literal::Literal;

/// How a family of operators treats memory: what fusion asks first.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum OpClass {
    /// No operands.
    Leaf,
    /// Moves elements, computes nothing.
    View,
    /// One result element from the operand elements at the same index.
    Elementwise,
    /// One result element from many operand elements.
    Contraction,
    /// Element places depend on data.
    Indexing,
    /// Computed by a function of the runtime library, from tensors in memory.
    Library,
    /// Control flow, and the results of it.
    Region,
}

/// The facts of one operator.
#[derive(Clone, Copy, Debug)]
pub struct OpRow {
    /// The operator.
    pub kind: OpKind,
    /// Its name in every text form.
    pub name: &'static str,
    /// Fewest operands.
    pub min_arity: usize,
    /// Most operands.
    pub max_arity: usize,
    /// How it treats memory.
    pub class: OpClass,
    /// Version of its semantics in saved graphs.
    pub version: u32,
}

/// What differentiating an operator needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Vjp {
    /// The derivative is zero almost everywhere, or there is nothing to differentiate.
    Zero,
    /// There is none, and why.
    NotDifferentiable(&'static str),
    /// The rule is not written yet; a test lists these.
    NotYet,
}

/// The graph's facts that inference may use, and what it leaves to run time.
pub struct InferCx<'a> {
    /// Inputs of the graph.
    pub inputs: &'a [Input],
    /// Constants of the graph.
    pub consts: &'a [Const],
    /// Regions of the graph.
    pub regions: &'a [Graph],
    /// The operator that gives the first operand.
    pub producer: Option<&'a Op>,
    /// Declared ranges of symbols.
    pub ranges: &'a Ranges,
    /// Guards; inference appends.
    pub guards: &'a mut Vec<Guard>,
    /// Location of the node, for guards.
    pub loc: LocId,
}

impl InferCx<'_> {
    /// The common value of two extents that must be equal: an error when they cannot be, a guard when
    /// it is not provable. Prefers the constant one.
    pub fn equal(&mut self, op: &'static str, a: &Dim, b: &Dim, what: &str) -> Result<Dim, OpError> {
        if a == b {
            return Ok(a.clone());
        }
        let difference = crate::dim::simplify(&(a - b), self.ranges);
        if difference.is_const(0) {
            return Ok(if b.as_const().is_some() { b.clone() } else { a.clone() });
        }
        let (lo, hi) = difference.bounds(self.ranges);
        if lo.is_some_and(|v| v > 0) || hi.is_some_and(|v| v < 0) {
            return Err(OpError::Shape { op, what: format!("{what}: {a} is not {b}") });
        }
        self.guards.push(Guard {
            kind: GuardKind::Eq,
            lhs: a.clone(),
            rhs: b.clone(),
            what: format!("{op}: {what}"),
            loc: self.loc,
        });
        Ok(if b.as_const().is_some() { b.clone() } else { a.clone() })
    }
    /// Demands `a <= b`: nothing when provable, an error when impossible, else a guard.
    pub fn at_most(&mut self, op: &'static str, a: &Dim, b: &Dim, what: &str) -> Result<(), OpError> {
        if crate::dim::prove_le(a, b, self.ranges) {
            return Ok(());
        }
        if (a.clone() - b).bounds(self.ranges).0.is_some_and(|v| v > 0) {
            return Err(OpError::Shape { op, what: format!("{what}: {a} is more than {b}") });
        }
        self.guards.push(Guard {
            kind: GuardKind::Le,
            lhs: a.clone(),
            rhs: b.clone(),
            what: format!("{op}: {what}"),
            loc: self.loc,
        });
        Ok(())
    }
}

/// What evaluation of one node has at hand.
pub struct EvalCx<'a> {
    /// The graph's arguments.
    pub args: &'a [Literal],
    /// The graph's constants.
    pub consts: &'a [Const],
    /// Values of the symbols.
    pub symbol: &'a dyn Fn(&str) -> Option<i64>,
    /// The node's dtype and extents, as numbers.
    pub dtype: DType,
    /// See `dtype`.
    pub shape: &'a [usize],
    /// Set when an index was out of range.
    pub index_error: &'a std::cell::Cell<bool>,
}

impl EvalCx<'_> {
    /// The value of an extent.
    pub fn dim(&self, d: &Dim) -> Result<i64, OpError> {
        d.eval_symbols(self.symbol).map_err(|e| OpError::Eval { op: "dim", what: e.to_string() })
    }
}

/// What an operator means. Required in full, so that nothing is forgotten.
pub trait Meaning {
    /// The result's type, or what is wrong with the operands (arity is checked already).
    fn infer(&self, cx: &mut InferCx<'_>, inputs: &[&TensorType]) -> Result<TensorType, OpError>;
    /// The result's elements as expressions, where the operands' are known and the result is a
    /// small integer tensor; `None` if it does not follow. `types` are the operands' types, `out` the result's.
    fn symbolic(
        &self,
        inputs: &[Option<&SymValue>],
        types: &[&TensorType],
        out: &TensorType,
    ) -> Option<SymValue>;
    /// Reference semantics: the result for concrete operands of dtype and shape `cx.dtype`, `cx.shape`.
    fn eval(&self, cx: &EvalCx<'_>, inputs: &[&Literal]) -> Result<Literal, OpError>;
    /// How to differentiate.
    fn vjp(&self) -> Vjp;
}

macro_rules! operators {
    ($($Variant:ident($Ty:ty) = $name:literal, $min:literal..=$max:expr, $class:ident, $version:literal;)*) => {
        /// An operator with its attributes.
        #[derive(Clone, PartialEq, Eq, Hash, Debug)]
        #[allow(missing_docs)] // each variant's struct says what it does
        pub enum Op { $($Variant($Ty)),* }
        /// An operator without its attributes.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
        #[allow(missing_docs)]
        pub enum OpKind { $($Variant),* }
        /// All operators, in the order of [`OpKind`].
        pub static TABLE: &[OpRow] = &[
            $(OpRow { kind: OpKind::$Variant, name: $name, min_arity: $min, max_arity: $max, class: OpClass::$class, version: $version }),*
        ];
        impl Op {
            /// Which operator it is.
            pub fn kind(&self) -> OpKind { match self { $(Op::$Variant(_) => OpKind::$Variant),* } }
            /// Its meaning.
            pub fn meaning(&self) -> &dyn Meaning { match self { $(Op::$Variant(a) => a),* } }
        }
        $(impl From<$Ty> for Op { fn from(a: $Ty) -> Op { Op::$Variant(a) } })*
    };
}

operators! {
    Input(InputRef) = "input", 0..=0, Leaf, 1;
    Const(Constant) = "const", 0..=0, Leaf, 1;
    Iota(Iota) = "iota", 0..=0, Leaf, 1;
    Dims(Dims) = "dims", 0..=0, Leaf, 1;
    Reshape(Reshape) = "reshape", 1..=1, View, 1;
    Permute(Permute) = "permute", 1..=1, View, 1;
    Broadcast(Broadcast) = "broadcast", 1..=1, View, 1;
    Slice(Slice) = "slice", 1..=1, View, 1;
    Pad(Pad) = "pad", 2..=2, View, 1;
    Concat(Concat) = "concat", 1..=usize::MAX, View, 1;
    Pack(Pack) = "pack", 1..=1, View, 1;
    Unary(Unary) = "unary", 1..=1, Elementwise, 1;
    Binary(Binary) = "binary", 2..=2, Elementwise, 1;
    Compare(Compare) = "compare", 2..=2, Elementwise, 1;
    Select(Select) = "select", 3..=3, Elementwise, 1;
    Cast(Cast) = "cast", 1..=1, Elementwise, 1;
    Bitcast(Bitcast) = "bitcast", 1..=1, Elementwise, 1;
    Reduce(Reduce) = "reduce", 1..=1, Contraction, 1;
    DotGeneral(DotGeneral) = "dot", 2..=2, Contraction, 1;
    Conv(Conv) = "conv", 2..=2, Contraction, 1;
    ReduceWindow(ReduceWindow) = "reduce_window", 1..=1, Contraction, 1;
    WinogradInput(WinogradInput) = "winograd_input", 1..=1, Contraction, 1;
    WinogradWeights(WinogradWeights) = "winograd_weights", 1..=1, Contraction, 1;
    WinogradOutput(WinogradOutput) = "winograd_output", 1..=1, Contraction, 1;
    Gather(Gather) = "gather", 2..=usize::MAX, Indexing, 1;
    Cumulative(Cumulative) = "cumulative", 1..=1, Library, 1;
    Scatter(Scatter) = "scatter", 3..=usize::MAX, Library, 1;
    Sort(Sort) = "sort", 1..=1, Library, 1;
    Cond(Cond) = "cond", 1..=usize::MAX, Region, 1;
    While(While) = "while", 0..=usize::MAX, Region, 1;
    Scan(Scan) = "scan", 0..=usize::MAX, Region, 1;
    Proj(Proj) = "proj", 1..=1, Region, 1;
}

impl OpKind {
    /// The facts of this operator.
    pub fn row(self) -> &'static OpRow {
        &TABLE[self as usize]
    }
}
impl Op {
    /// The facts of this operator.
    pub fn row(&self) -> &'static OpRow {
        self.kind().row()
    }
    /// How it treats memory.
    pub fn class(&self) -> OpClass {
        self.row().class
    }
    /// The name a person reads: `add` rather than `binary`.
    pub fn name(&self) -> &'static str {
        match self {
            Op::Unary(u) => u.0.name(),
            Op::Binary(b) => b.0.name(),
            Op::Compare(c) => c.0.name(),
            _ => self.row().name,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_in_enum_order_with_unique_names() {
        let mut names = std::collections::HashSet::new();
        for (i, row) in TABLE.iter().enumerate() {
            assert_eq!(row.kind as usize, i);
            assert!(row.min_arity <= row.max_arity && names.insert(row.name), "{row:?}");
        }
    }
}
