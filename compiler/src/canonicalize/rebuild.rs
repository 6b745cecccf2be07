//! Building the next graph out of the last one.

use fornax_ir::dim::Dim;
use fornax_ir::graph::{
    Builder, ConstId, Graph, GraphError, Guard, GuardKind, LocId, Node, Op, TensorType, ValueId,
};
use fornax_ir::literal::Literal;
use fornax_ir::scalar::Scalar;
use rustc_hash::{FxHashMap, FxHashSet};
use smallvec::SmallVec;
use std::hash::{Hash, Hasher};

/// Constants up to this many bytes are compared, so that equal ones become one.
const COMPARED_BYTES: usize = 64 << 10;

/// Bytes of a constant that go into its hash: so many at its front, and so many spread over it.
const HASHED_BYTES: usize = 32;

/// Operands of a node.
pub(crate) type Operands = SmallVec<[ValueId; 3]>;

/// A constant among those that are compared. Every pass looks up every one, so the hash is of a few elements and
/// equality asks first whether both are the same memory: the weights of a deep model are not read over and over.
#[derive(Eq)]
struct Compared(Literal);

impl PartialEq for Compared {
    fn eq(&self, other: &Self) -> bool {
        let ((a, b), of) =
            ((&self.0, &other.0), |l: &Literal| (l.dtype(), l.bytes().as_ptr(), l.bytes().len()));
        (of(a) == of(b) && a.shape() == b.shape()) || a == b
    }
}

impl Hash for Compared {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let bytes = self.0.bytes();
        (self.0.dtype(), self.0.shape(), &bytes[..bytes.len().min(HASHED_BYTES)]).hash(state);
        let step = (bytes.len() / HASHED_BYTES).max(1);
        bytes.iter().step_by(step).for_each(|b| state.write_u8(*b));
    }
}

/// A graph in the making, with the correspondence to the one it is made from. Values of the old graph
/// and of the new one are both [`ValueId`]s; [`Rebuild::new_value`] leads from one to the other.
pub(crate) struct Rebuild<'g> {
    /// The graph that is rebuilt.
    pub(crate) old: &'g Graph,
    builder: Builder,
    map: Vec<Option<ValueId>>,
    consts: Vec<Option<ValueId>>,
    small: FxHashMap<Compared, ValueId>,
    /// How often each value of the old graph is used.
    pub(crate) old_uses: Vec<u32>,
    /// How often each value of the new graph is used, or will be by what is made of the nodes to come.
    expected_uses: Vec<u32>,
    /// Location of the node at hand.
    loc: LocId,
    node_locs: Vec<LocId>,
    /// Locations of the guards; `None` for those of a node that was not made after all.
    guard_locs: Vec<Option<LocId>>,
}

impl<'g> Rebuild<'g> {
    /// Starts with the inputs and declarations of `old`, which has no dead nodes.
    pub(crate) fn new(old: &'g Graph) -> Self {
        let mut builder = Builder::new(&old.name);
        builder.set_ranges(&old.ranges);
        let mut r = Rebuild {
            old,
            builder,
            map: vec![None; old.nodes.len()],
            consts: vec![None; old.consts.len()],
            small: FxHashMap::default(),
            old_uses: old.use_counts(),
            expected_uses: vec![],
            loc: LocId::default(),
            node_locs: vec![],
            guard_locs: vec![],
        };
        // Region operators keep their numbers.
        for region in &old.regions {
            r.builder.add_region(region.clone());
        }
        for i in &old.inputs {
            r.loc = old.node(i.value).loc;
            let v = r.builder.input(&i.name, i.ty.clone());
            r.note();
            r.set(i.value, v);
        }
        r
    }

    /// Sweeps the nodes in order; `f` makes the new value of each node but inputs.
    pub(crate) fn sweep(
        mut self,
        mut f: impl FnMut(&mut Self, ValueId) -> Result<ValueId, GraphError>,
    ) -> Result<Graph, GraphError> {
        for v in self.old.values() {
            if self.map[v.index()].is_some() {
                continue;
            }
            let node = self.old.node(v);
            self.loc = node.loc;
            let first_new = self.graph().nodes.len();
            let new = f(&mut self, v)?;
            // The uses by the old node are over; what was made for it uses its own operands.
            for &i in &node.inputs {
                let i = self.new_value(i).index();
                self.expected_uses[i] -= 1;
            }
            self.expected_uses.resize(self.builder.graph().nodes.len(), 0);
            for made in &self.builder.graph().nodes[first_new..] {
                made.inputs.iter().for_each(|i| self.expected_uses[i.index()] += 1);
            }
            self.set(v, new);
        }
        Ok(self.finish())
    }

    fn set(&mut self, old: ValueId, new: ValueId) {
        self.map[old.index()] = Some(new);
        if self.expected_uses.len() <= new.index() {
            self.expected_uses.resize(new.index() + 1, 0);
        }
        self.expected_uses[new.index()] += self.old_uses[old.index()];
    }

    /// Records the location of what the builder has added.
    fn note(&mut self) {
        self.node_locs.resize(self.builder.graph().nodes.len(), self.loc);
        self.guard_locs.resize(self.builder.graph().guards.len(), Some(self.loc));
    }

    fn finish(self) -> Graph {
        let old = self.old;
        let mut guards = old.guards.clone();
        let mut seen: FxHashSet<_> = guards.iter().map(condition).collect();
        for (g, loc) in self.builder.graph().guards.iter().zip(&self.guard_locs) {
            if let &Some(loc) = loc
                && seen.insert(condition(g))
            {
                guards.push(Guard { loc, ..g.clone() });
            }
        }
        let mut builder = self.builder;
        for o in &old.outputs {
            builder.output(&o.name, self.map[o.value.index()].expect("the sweep visits every node"));
        }
        let mut graph = builder.finish();
        graph.guards = guards;
        graph.ranges = old.ranges.clone();
        graph.symbols = old.symbols.clone();
        graph.locs = old.locs.clone();
        graph.nodes.iter_mut().zip(self.node_locs).for_each(|(n, loc)| n.loc = loc);
        graph
    }

    /// What an already visited value of the old graph has become.
    pub(crate) fn new_value(&self, old: ValueId) -> ValueId {
        self.map[old.index()].expect("operands come before their users")
    }
    /// The new operands of a node of the old graph.
    pub(crate) fn operands(&self, old: ValueId) -> Operands {
        self.old.node(old).inputs.iter().map(|&i| self.new_value(i)).collect()
    }
    /// The node of a new value.
    pub(crate) fn node(&self, v: ValueId) -> &Node {
        self.builder.graph().node(v)
    }
    /// The new graph so far.
    pub(crate) fn graph(&self) -> &Graph {
        self.builder.graph()
    }
    /// The type of a new value.
    pub(crate) fn ty(&self, v: ValueId) -> &TensorType {
        self.builder.ty(v)
    }
    /// The literal of a new value that is a constant node.
    pub(crate) fn literal(&self, v: ValueId) -> Option<&Literal> {
        self.builder.graph().literal(v)
    }
    /// Whether a new value has one use at most, as far as is known: what is made for that use
    /// replaces it.
    pub(crate) fn used_once(&self, v: ValueId) -> bool {
        self.expected_uses(v) <= 1
    }
    /// How often a new value will be used, as far as is known.
    pub(crate) fn expected_uses(&self, v: ValueId) -> usize {
        self.expected_uses.get(v.index()).map_or(0, |&n| n as usize)
    }

    /// Adds an operator at the location of the node at hand.
    pub(crate) fn add(&mut self, op: impl Into<Op>, inputs: &[ValueId]) -> Result<ValueId, GraphError> {
        let added = self.builder.add(op, inputs);
        self.added(added)
    }
    fn added(&mut self, added: Result<ValueId, GraphError>) -> Result<ValueId, GraphError> {
        if added.is_err() {
            self.guard_locs.resize(self.builder.graph().guards.len(), None);
        }
        self.note();
        added.map_err(|e| GraphError { loc: self.old.loc_text(self.loc).to_string(), ..e })
    }
    /// Adds a rank-0 constant.
    pub(crate) fn scalar(&mut self, s: Scalar) -> ValueId {
        let v = self.builder.scalar(s);
        self.note();
        v
    }
    /// Adds a constant; small equal ones are one.
    pub(crate) fn constant(&mut self, name: &str, literal: Literal) -> ValueId {
        let compared = Compared(literal);
        let small = compared.0.bytes().len() <= COMPARED_BYTES;
        if small && let Some(&v) = self.small.get(&compared) {
            return v;
        }
        let v = self.builder.constant(name, compared.0.clone());
        self.note();
        if small {
            self.small.insert(compared, v);
        }
        v
    }
    /// The same operator on the new operands.
    pub(crate) fn copy(&mut self, old: ValueId) -> Result<ValueId, GraphError> {
        let graph = self.old;
        match &graph.node(old).op {
            Op::Const(c) => Ok(self.copy_const(*c)),
            _ => {
                let operands = self.operands(old);
                let added = self.builder.add_like(graph, graph.node(old), &operands);
                self.added(added)
            }
        }
    }
    fn copy_const(&mut self, c: ConstId) -> ValueId {
        if let Some(v) = self.consts[c.index()] {
            return v;
        }
        let old = &self.old.consts[c.index()];
        let v = self.constant(&old.name, old.literal.clone());
        self.consts[c.index()] = Some(v);
        v
    }
}

/// What a guard demands; equations are equal in either direction.
fn condition(g: &Guard) -> (GuardKind, Dim, Dim) {
    match g.kind == GuardKind::Eq && g.rhs < g.lhs {
        true => (g.kind, g.rhs.clone(), g.lhs.clone()),
        false => (g.kind, g.lhs.clone(), g.rhs.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    #[test]
    fn a_copy_keeps_everything_and_merges_equal_constants() {
        let mut b = builder();
        b.set_range("n", 1, Some(64));
        let x = input(&mut b, "x", &["n"]);
        let y = input(&mut b, "y", &["m"]);
        b.set_loc("here");
        let s = b.binary(BinaryOp::Add, x, y).unwrap();
        b.set_loc("there");
        let c = b.constant("c", f32s(&[1], &[3.5]));
        let d = b.constant("d", f32s(&[1], &[3.5]));
        let p = b.binary(BinaryOp::Mul, s, c).unwrap();
        let q = b.binary(BinaryOp::Mul, s, d).unwrap();
        b.output("p", p);
        b.output("q", q);
        let old = b.finish();
        let new = Rebuild::new(&old).sweep(|r, v| r.copy(v)).unwrap();
        assert_eq!(new.outputs[0].value, new.outputs[1].value);
        assert_eq!((&new.inputs, &new.symbols, &new.ranges), (&old.inputs, &old.symbols, &old.ranges));
        assert_eq!(new.guards, old.guards);
        assert_eq!(new.loc_text(new.guards[0].loc), "here");
        assert_eq!(new.loc(new.outputs[0].value), "there");
    }
}
