//! The verifier: what every graph holds to, whoever made it.
//!
//! 1. A node's operands come before it; so the list is a topological order and there is no cycle.
//! 2. A node has as many operands as its operator's row in the table allows.
//! 3. A node's type is what inference gives for its operands' types (extents equal within the declared
//!    ranges), and every condition that inference leaves to run time stands in the guards.
//! 4. An input and its node point at each other and have one type; every input has exactly one node.
//! 5. `Const` nodes name an entry of the constants.
//! 6. Names are unique among the inputs and among the outputs; outputs name existing nodes.
//! 7. The symbols are those of the inputs' extents in order of first use; no other symbol occurs in a
//!    type, an attribute, a symbolic value or a guard.
//! 8. Extents are free of axis variables and of overflow.
//! 9. A symbolic value belongs to an integer or bool tensor of constant shape and has its element count.
//! 10. Locations of nodes and guards exist; entry 0 is the unknown one.
//! 11. All this holds for every region too, but that its symbols are a subset of those of the graph
//!     around it (each once, with the same range) that contains those of its inputs.
//! 12. Region operators name existing regions; their nodes are read by `Proj` alone, and are no outputs.
//! 13. Regions are nested [`MAX_NESTING`] deep at most.

use super::ops::{InferCx, Op};
use super::{Graph, Guard, GuardKind, LocId, OpError, RegionId, TensorType, ValueId};
use crate::dim::{Dim, simplify};
use crate::dtype::DType;
use rustc_hash::FxHashSet;
use std::sync::Arc;
use thiserror::Error;

/// Regions within regions within ... at most.
pub const MAX_NESTING: usize = 32;

/// The first violated invariant of a graph. A graph made by a [`super::Builder`] has none: an error
/// is a defect of the code that made the graph.
#[derive(Debug, Error, Clone, PartialEq)]
pub enum VerifyError {
    /// Something is wrong with one node.
    #[error("node {node}{}: {what}", at(.loc))]
    Node {
        /// The node.
        node: ValueId,
        /// Its location; empty if unknown.
        loc: String,
        /// What is wrong.
        what: NodeFault,
    },
    /// Something is wrong with an input.
    #[error("input `{name}`: {what}")]
    Input {
        /// Its name.
        name: String,
        /// What is wrong.
        what: String,
    },
    /// Something is wrong with an output.
    #[error("output `{name}`: {what}")]
    Output {
        /// Its name.
        name: String,
        /// What is wrong.
        what: String,
    },
    /// Something is wrong with a guard.
    #[error("guard {index} ({what}): {fault}")]
    Guard {
        /// Its place in the list.
        index: usize,
        /// What it demands, in words.
        what: String,
        /// What is wrong.
        fault: String,
    },
    /// The list of symbols is not that of the inputs.
    #[error("the symbols are {got:?}, but the inputs use {want:?}, in this order")]
    Symbols {
        /// As listed.
        got: Vec<String>,
        /// As used.
        want: Vec<String>,
    },
    /// Something is wrong with a region.
    #[error("region {region}: {source}")]
    Region {
        /// Its number.
        region: RegionId,
        /// What is wrong in it.
        #[source]
        source: Box<VerifyError>,
    },
    /// A region has a symbol that the graph around it has not, or with another range, or twice.
    #[error("the symbol `{0}` of a region must be one of the graph around it, with the same range, once")]
    RegionSymbol(String),
    /// Regions are nested too deep.
    #[error("regions are nested more than {MAX_NESTING} deep")]
    Nesting,
    /// Location 0 is missing or has a text.
    #[error("location 0 must exist and be empty: it stands for unknown")]
    Unknown,
}

/// What is wrong with a node.
#[derive(Debug, Error, Clone, PartialEq)]
pub enum NodeFault {
    /// An operand does not come before it.
    #[error("operand {0} does not come before it")]
    Order(ValueId),
    /// Too few or too many operands.
    #[error("{op} with {got} operands")]
    Arity {
        /// The operator.
        op: &'static str,
        /// The number of operands.
        got: usize,
    },
    /// Inference refuses it.
    #[error("it has no type: {0}")]
    Infer(#[source] OpError),
    /// Inference gives another type.
    #[error("its type is {got}, but inference gives {want}")]
    Type {
        /// As stored.
        got: TensorType,
        /// As inferred.
        want: TensorType,
    },
    /// A condition of its inference is not among the guards.
    #[error("its inference needs `{0}`, which is not among the guards")]
    Guard(String),
    /// It names an input, constant or location that does not exist, or that names another node.
    #[error("{0}")]
    Reference(String),
    /// A symbol that no input declares, an axis variable or an overflow.
    #[error("extent `{0}` {1}")]
    Extent(Dim, String),
    /// A symbolic value that does not fit the type.
    #[error("its symbolic value has shape {0:?}, which does not fit its type {1}")]
    Sym(Vec<usize>, TensorType),
}

fn at(loc: &str) -> String {
    if loc.is_empty() { String::new() } else { format!(" ({loc})") }
}

/// Checks all invariants of the module's header.
///
/// # Errors
/// The first violation found.
pub fn verify(graph: &Graph) -> Result<(), VerifyError> {
    verify_within(graph, None, 0)
}

/// Verifies a graph, or a region of `around`.
fn verify_within(graph: &Graph, around: Option<&Graph>, depth: usize) -> Result<(), VerifyError> {
    if depth > MAX_NESTING {
        return Err(VerifyError::Nesting);
    }
    if graph.locs.first().is_none_or(|l| !l.0.is_empty()) {
        return Err(VerifyError::Unknown);
    }
    let v = Verifier {
        graph,
        symbols: graph.symbols.iter().map(|s| Arc::from(s.as_str())).collect(),
        guards: graph.guards.iter().map(guard_key).collect(),
    };
    match around {
        Some(around) => v.symbols_of_region(around)?,
        None => v.symbols_of_inputs()?,
    }
    v.inputs()?;
    for (k, r) in graph.regions.iter().enumerate() {
        let region = RegionId(k as u32);
        let named = |source| VerifyError::Region { region, source: Box::new(source) };
        verify_within(r, Some(graph), depth + 1).map_err(named)?;
    }
    for value in graph.values() {
        v.node(value).map_err(|what| VerifyError::Node {
            node: value,
            loc: graph.loc(value).to_string(),
            what,
        })?;
    }
    v.outputs()?;
    v.guards()
}

/// Equations compare equal in either direction.
fn guard_key(g: &Guard) -> (GuardKind, Dim, Dim) {
    match g.kind == GuardKind::Eq && g.rhs < g.lhs {
        true => (g.kind, g.rhs.clone(), g.lhs.clone()),
        false => (g.kind, g.lhs.clone(), g.rhs.clone()),
    }
}

struct Verifier<'g> {
    graph: &'g Graph,
    symbols: FxHashSet<Arc<str>>,
    guards: FxHashSet<(GuardKind, Dim, Dim)>,
}

impl Verifier<'_> {
    fn symbols_of_inputs(&self) -> Result<(), VerifyError> {
        let mut want: Vec<String> = vec![];
        let mut seen = FxHashSet::default();
        for d in self.graph.inputs.iter().flat_map(|i| &i.ty.shape) {
            want.extend(d.symbols().iter().filter(|s| seen.insert((*s).clone())).map(|s| s.to_string()));
        }
        let got = self.graph.symbols.clone();
        if got == want { Ok(()) } else { Err(VerifyError::Symbols { got, want }) }
    }

    fn symbols_of_region(&self, around: &Graph) -> Result<(), VerifyError> {
        let g = self.graph;
        let mut seen = FxHashSet::default();
        for s in &g.symbols {
            let known = around.symbols.contains(s) && g.ranges.symbol(s) == around.ranges.symbol(s);
            if !known || !seen.insert(s) {
                return Err(VerifyError::RegionSymbol(s.clone()));
            }
        }
        let used = g.inputs.iter().flat_map(|i| &i.ty.shape).flat_map(Dim::symbols);
        match used.into_iter().find(|s| !self.symbols.contains(s)) {
            Some(s) => Err(VerifyError::RegionSymbol(s.to_string())),
            None => Ok(()),
        }
    }

    fn inputs(&self) -> Result<(), VerifyError> {
        let mut names = FxHashSet::default();
        for (k, i) in self.graph.inputs.iter().enumerate() {
            let fail = |what: String| Err(VerifyError::Input { name: i.name.clone(), what });
            if !names.insert(&i.name) {
                return fail("the name is not unique among the inputs".into());
            }
            let Some(node) = self.graph.nodes.get(i.value.index()) else {
                return fail(format!("node {} does not exist", i.value));
            };
            if !matches!(&node.op, Op::Input(r) if r.0 as usize == k) {
                return fail(format!("node {} is not input number {k}", i.value));
            }
            if node.ty != i.ty {
                return fail(format!("declared as {}, but its node {} is {}", i.ty, i.value, node.ty));
            }
        }
        Ok(())
    }

    fn outputs(&self) -> Result<(), VerifyError> {
        let mut names = FxHashSet::default();
        for o in &self.graph.outputs {
            let fail = |what: String| Err(VerifyError::Output { name: o.name.clone(), what });
            if !names.insert(&o.name) {
                return fail("the name is not unique among the outputs".into());
            }
            if o.value.index() >= self.graph.nodes.len() {
                return fail(format!("node {} does not exist", o.value));
            }
            if self.graph.node(o.value).op.has_regions() {
                return fail(format!("node {} is no tensor, but has results", o.value));
            }
        }
        Ok(())
    }

    fn guards(&self) -> Result<(), VerifyError> {
        for (index, g) in self.graph.guards.iter().enumerate() {
            let fail = |fault: String| Err(VerifyError::Guard { index, what: g.what.clone(), fault });
            for d in [&g.lhs, &g.rhs] {
                if let Err(why) = self.dim(d) {
                    return fail(format!("`{d}` {why}"));
                }
            }
            if !self.has_loc(g.loc) {
                return fail(format!("location {} does not exist", g.loc));
            }
        }
        Ok(())
    }

    fn has_loc(&self, loc: LocId) -> bool {
        loc.index() < self.graph.locs.len()
    }

    fn dim(&self, d: &Dim) -> Result<(), String> {
        if d.as_const().is_some() {
            return Ok(());
        }
        if d.is_poisoned() {
            return Err("overflows".into());
        }
        if d.has_axes() {
            return Err("holds an axis variable".into());
        }
        match d.symbols().iter().find(|s| !self.symbols.contains(&**s)) {
            Some(s) => Err(format!("uses the symbol `{s}`, which no input declares")),
            None => Ok(()),
        }
    }

    fn node(&self, v: ValueId) -> Result<(), NodeFault> {
        let g = self.graph;
        let node = g.node(v);
        if let Some(&i) = node.inputs.iter().find(|i| **i >= v) {
            return Err(NodeFault::Order(i));
        }
        let row = node.op.row();
        let got = node.inputs.len();
        if got < row.min_arity || got > row.max_arity {
            return Err(NodeFault::Arity { op: row.name, got });
        }
        if !self.has_loc(node.loc) {
            return Err(NodeFault::Reference(format!("location {} does not exist", node.loc)));
        }
        match &node.op {
            Op::Const(c) if c.index() >= g.consts.len() => {
                return Err(NodeFault::Reference(format!("constant {c} does not exist")));
            }
            Op::Input(i) if g.inputs.get(i.0 as usize).is_none_or(|i| i.value != v) => {
                return Err(NodeFault::Reference(format!("input number {} is not this node", i.0)));
            }
            _ => {}
        }
        let reads_token = |i: &&ValueId| g.node(**i).op.has_regions();
        if let Some(i) = node.inputs.iter().find(reads_token).filter(|_| !matches!(node.op, Op::Proj(_))) {
            return Err(NodeFault::Reference(format!("operand {i} is no tensor, but has results")));
        }
        let known = node.sym.iter().flat_map(|s| &s.elems);
        for d in node.ty.shape.iter().chain(attribute_dims(&node.op)).chain(known) {
            self.dim(d).map_err(|why| NodeFault::Extent(d.clone(), why))?;
        }
        self.node_type(v)?;
        self.sym(v)
    }

    fn node_type(&self, v: ValueId) -> Result<(), NodeFault> {
        let g = self.graph;
        let node = g.node(v);
        let types: Vec<&TensorType> = node.inputs.iter().map(|&i| g.ty(i)).collect();
        let mut guards = vec![];
        let mut cx = InferCx {
            inputs: &g.inputs,
            consts: &g.consts,
            regions: &g.regions,
            producer: node.inputs.first().map(|&i| &g.node(i).op),
            ranges: &g.ranges,
            guards: &mut guards,
            loc: node.loc,
        };
        let want = node.op.meaning().infer(&mut cx, &types).map_err(NodeFault::Infer)?;
        let same = |(a, b): (&Dim, &Dim)| a == b || simplify(&(a - b), &g.ranges).is_const(0);
        let equal = want.dtype == node.ty.dtype
            && want.rank() == node.ty.rank()
            && want.shape.iter().zip(&node.ty.shape).all(same);
        if !equal {
            return Err(NodeFault::Type { got: node.ty.clone(), want });
        }
        match guards.iter().find(|guard| !self.guards.contains(&guard_key(guard))) {
            Some(guard) => {
                let relation = if guard.kind == GuardKind::Eq { "==" } else { "<=" };
                Err(NodeFault::Guard(format!("{} {relation} {}", guard.lhs, guard.rhs)))
            }
            None => Ok(()),
        }
    }

    fn sym(&self, v: ValueId) -> Result<(), NodeFault> {
        let node = self.graph.node(v);
        let Some(s) = &node.sym else { return Ok(()) };
        let small = node.ty.dtype.is_int() || node.ty.dtype == DType::Bool;
        let fits = node.ty.const_shape().is_some_and(|shape| shape == s.shape)
            && s.shape.iter().product::<usize>() == s.elems.len();
        if small && fits { Ok(()) } else { Err(NodeFault::Sym(s.shape.clone(), node.ty.clone())) }
    }
}

/// The extents among an operator's attributes.
fn attribute_dims(op: &Op) -> Vec<&Dim> {
    fn pairs(list: &[(Dim, Dim)]) -> Vec<&Dim> {
        list.iter().flat_map(|p| [&p.0, &p.1]).collect()
    }
    match op {
        Op::Iota(a) => a.shape.iter().collect(),
        Op::Dims(a) => a.dims.iter().collect(),
        Op::Reshape(a) => a.shape.iter().collect(),
        Op::Broadcast(a) => a.shape.iter().collect(),
        Op::Slice(a) => a.start.iter().chain(&a.size).collect(),
        Op::Pad(a) => a.lo.iter().chain(&a.hi).collect(),
        Op::Conv(a) => pairs(&a.pads),
        Op::ReduceWindow(a) => pairs(&a.pads),
        Op::Scan(a) => vec![&a.length],
        Op::Sort(a) => vec![&a.count],
        Op::WinogradInput(a) => a.tiles.iter().collect(),
        Op::WinogradOutput(a) => a.size.iter().collect(),
        Op::Input(_)
        | Op::Const(_)
        | Op::Permute(_)
        | Op::Concat(_)
        | Op::Pack(_)
        | Op::WinogradWeights(_)
        | Op::Unary(_)
        | Op::Binary(_)
        | Op::Compare(_)
        | Op::Select(_)
        | Op::Cast(_)
        | Op::Bitcast(_)
        | Op::Reduce(_)
        | Op::DotGeneral(_)
        | Op::Gather(_)
        | Op::Cumulative(_)
        | Op::Scatter(_)
        | Op::Cond(_)
        | Op::While(_)
        | Op::Proj(_) => vec![],
    }
}

#[cfg(test)]
mod tests {
    use super::super::ops::InputRef;
    use super::super::{Builder, ConstId, SymValue};
    use super::*;
    use crate::literal::Literal;
    use crate::scalar::{BinaryOp, UnaryOp};

    fn sample() -> Graph {
        let mut b = Builder::new("g");
        let x = b.input("x", TensorType::new(DType::F32, vec![Dim::symbol("n"), 3.into()]));
        let y = b.input("y", TensorType::new(DType::F32, vec![Dim::symbol("m"), 3.into()]));
        b.set_loc("net.rs:3");
        let z = b.binary(BinaryOp::Add, x, y).unwrap();
        let c = b.constant("c", Literal::from_vec(&[3], vec![1f32; 3]).unwrap());
        let z = b.binary(BinaryOp::Mul, z, c).unwrap();
        let n = b.dims(vec![Dim::symbol("n")], true).unwrap();
        b.output("z", z);
        b.output("n", n);
        b.finish()
    }

    /// Verifies the sample after a change and gives the message.
    fn broken(change: impl Fn(&mut Graph)) -> String {
        let mut g = sample();
        verify(&g).unwrap();
        change(&mut g);
        verify(&g).unwrap_err().to_string()
    }
    fn find(g: &Graph, name: &str) -> usize {
        g.nodes.iter().position(|n| n.op.name() == name).unwrap()
    }

    #[test]
    fn each_broken_invariant_is_named() {
        type Change = fn(&mut Graph);
        let cases: [(Change, &str); 18] = [
            (|g| g.nodes[3].inputs[1] = ValueId(9), "node %3 (net.rs:3): operand %9 does not come before it"),
            (|g| g.nodes[3].inputs[0] = ValueId(3), "operand %3 does not come before it"),
            (|g| g.nodes[3].inputs.truncate(1), "binary with 1 operands"),
            (|g| g.nodes[3].ty.dtype = DType::F64, "inference gives f32[n, 3]"),
            (|g| g.nodes[3].ty.shape[1] = 4.into(), "its type is f32[n, 4]"),
            (|g| g.guards.clear(), "which is not among the guards"),
            (|g| g.nodes[1].op = Op::Input(InputRef(0)), "is not input number 1"),
            (
                |g| {
                    let k = find(g, "const");
                    g.nodes[k].op = Op::Const(ConstId(7))
                },
                "constant c7 does not exist",
            ),
            (|g| g.inputs[1].name = "x".into(), "input `x`: the name is not unique"),
            (|g| g.inputs[1].ty.dtype = DType::F64, "declared as f64[m, 3]"),
            (|g| g.outputs[1].name = "z".into(), "output `z`: the name is not unique"),
            (|g| g.outputs[0].value = ValueId(99), "node %99 does not exist"),
            (|g| g.symbols.reverse(), "the symbols are [\"m\", \"n\"]"),
            (|g| g.guards[0].lhs = Dim::symbol("q"), "symbol `q`, which no input declares"),
            (|g| g.nodes[3].loc = LocId(9), "location loc9 does not exist"),
            (|g| g.locs[0].0 = "here".into(), "location 0 must exist and be empty"),
            (
                |g| {
                    let k = find(g, "dims");
                    g.nodes[k].op =
                        Op::from(super::super::ops::Dims { dims: vec![Dim::axis(0)], scalar: true })
                },
                "holds an axis variable",
            ),
            (
                |g| {
                    let k = find(g, "dims");
                    g.nodes[k].sym = Some(SymValue { shape: vec![2], elems: vec![Dim::ONE; 2] })
                },
                "does not fit its type i64[]",
            ),
        ];
        for (change, want) in cases {
            let got = broken(change);
            assert!(got.contains(want), "{got}\nwanted: {want}");
        }
    }

    #[test]
    fn refused_types_carry_the_reason() {
        let got = broken(|g| {
            let k = find(g, "mul");
            g.nodes[k].op = Op::from(super::super::ops::Unary(UnaryOp::Not));
            g.nodes[k].inputs.truncate(1);
        });
        assert!(got.contains("it has no type") && got.contains("not"), "{got}");
    }

    #[test]
    fn equal_extents_in_another_form_are_accepted() {
        let mut b = Builder::new("g");
        let n = Dim::symbol("n");
        let x = b.input("x", TensorType::new(DType::F32, vec![n.clone()]));
        let y = b.unary(UnaryOp::Neg, x).unwrap();
        b.output("y", y);
        let mut g = b.finish();
        g.ranges.set_symbol("n", 4, Some(64));
        g.nodes[1].ty.shape[0] = Dim::max(&n, &Dim::constant(2));
        assert_eq!(verify(&g), Ok(()));
    }
}
