//! What is known of every class: its type, where it comes from, and whether all its elements are one number.

use super::language::{Attrs, Kind, Node, Space};
use super::pattern::Match;
use super::rules::Added;
use crate::canonicalize::constant::{scalar_literal, uniform_literal};
use egg::{Analysis, DidMerge, Id};
use fornax_ir::graph::ops::InferCx;
use fornax_ir::graph::{Const, ConstId, Graph, Input, LocId, Op, OpKind, TensorType};
use fornax_ir::literal::Literal;
use fornax_ir::scalar::Scalar;
use fornax_ir::{Dim, Ranges};
use rustc_hash::{FxHashMap, FxHashSet};
use smallvec::SmallVec;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Facts of a class.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Type of the tensor, or of the scalar's domain.
    pub ty: Arc<TensorType>,
    /// Where the oldest of its nodes comes from.
    pub loc: LocId,
    /// The value of all elements, if that is one known number.
    pub uniform: Option<Scalar>,
    /// The constant that it is the elements of, at the same indices.
    pub constant: Option<ConstId>,
}

/// What was derived for a node that is about to be added.
struct Pending {
    ty: Arc<TensorType>,
    loc: LocId,
}

/// Types of the classes, and the tables that nodes index.
pub struct Typing {
    ops: Vec<Op>,
    known: FxHashMap<Op, Attrs>,
    /// Inputs of the graph.
    pub inputs: Vec<Input>,
    /// Constants of the graph, and those that rules made.
    pub consts: Vec<Const>,
    scalars: FxHashMap<Scalar, ConstId>,
    /// Ranges of the symbols.
    pub ranges: Ranges,
    pending: Option<Pending>,
    /// Operator nodes that the rule at hand has inserted, and their classes, whether they were there before or not.
    pub recent: Vec<(Id, Node)>,
    /// What rules have added, in order.
    pub added: Vec<Added>,
    /// How often each rule made two classes one.
    pub fired: BTreeMap<&'static str, usize>,
    /// Matches that rules were applied to.
    applied: FxHashSet<(&'static str, Id, Match)>,
    /// The first claim of a rule that was not believed: it gave a class another type.
    pub refused: Option<String>,
    /// The guard of rules that is left out, on trial.
    pub left_out: Option<&'static str>,
    /// The first contradiction between types: a rule was wrong, and the e-graph is of no use.
    pub conflict: Option<String>,
}

impl Typing {
    /// The tables of a graph.
    pub fn new(graph: &Graph) -> Typing {
        Typing {
            ops: vec![],
            known: FxHashMap::default(),
            inputs: graph.inputs.clone(),
            consts: graph.consts.clone(),
            scalars: FxHashMap::default(),
            ranges: graph.ranges.clone(),
            pending: None,
            recent: vec![],
            added: vec![],
            fired: BTreeMap::new(),
            applied: FxHashSet::default(),
            refused: None,
            left_out: None,
            conflict: None,
        }
    }
    /// An operator by number.
    pub fn op(&self, attrs: Attrs) -> &Op {
        &self.ops[attrs.0 as usize]
    }
    /// Notes that a rule is applied to a match; false if it was before.
    pub fn is_new(&mut self, rule: &'static str, class: Id, found: &Match) -> bool {
        self.applied.insert((rule, class, found.clone()))
    }
    fn attrs(&mut self, op: Op) -> Attrs {
        let next = Attrs(self.ops.len() as u32);
        *self.known.entry(op).or_insert_with_key(|op| {
            self.ops.push(op.clone());
            next
        })
    }
    /// The result's type; `None` where the operands do not fit or fit only under a condition.
    fn infer(&mut self, op: &Op, types: &[&TensorType]) -> Option<TensorType> {
        let row = op.row();
        if !(row.min_arity..=row.max_arity).contains(&types.len()) {
            return None;
        }
        let mut guards = vec![];
        let mut cx = InferCx {
            inputs: &self.inputs,
            consts: &self.consts,
            ranges: &self.ranges,
            // No rule makes control flow.
            regions: &[],
            producer: None,
            guards: &mut guards,
            loc: LocId::default(),
        };
        let ty = op.meaning().infer(&mut cx, types).ok()?;
        guards.is_empty().then_some(ty)
    }
}

impl Analysis<Node> for Typing {
    type Data = Facts;

    fn make(space: &mut Space, node: &Node, _: Id) -> Facts {
        let pending = space.analysis.pending.take();
        let child = |k: usize| space[node.children[k]].data.clone();
        let (ty, loc) = match pending {
            Some(p) => (p.ty, p.loc),
            None => {
                let operand = child(0);
                (operand.ty, operand.loc)
            }
        };
        let constant = match node.kind {
            Kind::Op(OpKind::Const) => match space.analysis.op(node.attrs) {
                Op::Const(c) => Some(*c),
                _ => None,
            },
            Kind::Mat | Kind::Load => child(0).constant,
            _ => None,
        };
        let uniform = match node.kind {
            Kind::Op(OpKind::Const) => constant.and_then(|c| {
                let literal = &space.analysis.consts[c.index()].literal;
                (literal.len() == 1).then(|| uniform_literal(literal)).flatten()
            }),
            Kind::Mat | Kind::Load | Kind::Op(OpKind::Broadcast | OpKind::Reshape | OpKind::Permute) => {
                child(0).uniform
            }
            _ => None,
        };
        Facts { ty, loc, uniform, constant }
    }

    fn remake(space: &mut Space, _: &Node, id: Id) -> Facts {
        space[id].data.clone()
    }

    fn merge(&mut self, a: &mut Facts, b: Facts) -> DidMerge {
        if a.ty != b.ty && self.conflict.is_none() {
            self.conflict = Some(format!("{} was made equal to {}", a.ty, b.ty));
        }
        let before = (a.loc, a.uniform, a.constant);
        a.loc = a.loc.min(b.loc);
        a.uniform = a.uniform.or(b.uniform);
        a.constant = a.constant.min(b.constant).or(a.constant).or(b.constant);
        let now = (a.loc, a.uniform, a.constant);
        DidMerge(now != before, now != (b.loc, b.uniform, b.constant))
    }
}

/// Adds `op` on scalars, with the tensor that stores it and the load of that, and gives the scalar.
/// `None` where the operator does not apply, or only under a condition.
pub fn add(space: &mut Space, op: impl Into<Op>, children: &[Id], loc: LocId) -> Option<Id> {
    let op = op.into();
    if is_identity(space, &op, children) {
        return Some(space.find(children[0]));
    }
    let types: SmallVec<[Arc<TensorType>; 3]> = children.iter().map(|&c| space[c].data.ty.clone()).collect();
    let types: SmallVec<[&TensorType; 3]> = types.iter().map(|t| &**t).collect();
    let ty = space.analysis.infer(&op, &types)?;
    Some(insert(space, op, children, Arc::new(ty), loc))
}

/// As [`add`], for a node whose type is known.
pub fn insert(space: &mut Space, op: Op, children: &[Id], ty: Arc<TensorType>, loc: LocId) -> Id {
    let stored = matches!(op, Op::Input(_) | Op::Const(_));
    let kind = Kind::Op(op.kind());
    let attrs = space.analysis.attrs(op);
    let node = Node { kind, attrs, children: SmallVec::from_slice(children) };
    let id = put(space, node, ty, loc);
    if stored { space.add(Node::load(id)) } else { with_tensor(space, id) }
}

/// Adds a name for what the class `body` computes. Its operand is the class itself, so that no two classes
/// become one by their names.
pub fn insert_name(space: &mut Space, name: u32, body: Id) -> Id {
    let (ty, loc) = (space[body].data.ty.clone(), space[body].data.loc);
    let node = Node { kind: Kind::Named, attrs: Attrs(name), children: SmallVec::from_slice(&[body]) };
    put(space, node, ty, loc)
}

fn put(space: &mut Space, node: Node, ty: Arc<TensorType>, loc: LocId) -> Id {
    space.analysis.pending = Some(Pending { ty, loc });
    let id = space.add(node.clone());
    space.analysis.recent.push((id, node));
    space.analysis.pending = None;
    id
}

fn with_tensor(space: &mut Space, scalar: Id) -> Id {
    let tensor = space.add(Node::mat(scalar));
    space.add(Node::load(tensor));
    scalar
}

/// Operators that change nothing: reshapes and broadcasts to the same shape, identity permutations.
fn is_identity(space: &Space, op: &Op, children: &[Id]) -> bool {
    match op {
        Op::Reshape(r) => space[children[0]].data.ty.shape == r.shape,
        Op::Broadcast(b) => space[children[0]].data.ty.shape == b.shape && b.axes.is_sorted(),
        Op::Permute(p) => p.perm.iter().enumerate().all(|(i, &p)| i == p as usize),
        Op::Slice(s) => {
            let whole = space[children[0]].data.ty.shape == s.size;
            whole && s.start.iter().all(|d| d.is_const(0)) && s.step.iter().all(|&d| d == 1)
        }
        _ => false,
    }
}

/// Adds a constant tensor and gives its elements as scalars.
pub fn add_const(space: &mut Space, name: &str, literal: Literal, loc: LocId) -> Id {
    let shape: Vec<Dim> = literal.shape().iter().map(|&n| Dim::from(n)).collect();
    let ty = Arc::new(TensorType::new(literal.dtype(), shape));
    let id = ConstId(space.analysis.consts.len() as u32);
    space.analysis.consts.push(Const { literal, name: name.to_string() });
    insert(space, Op::Const(id), &[], ty, loc)
}

/// Adds a rank-0 constant; equal ones are one.
pub fn add_scalar(space: &mut Space, s: Scalar, loc: LocId) -> Id {
    if let Some(&c) = space.analysis.scalars.get(&s) {
        let ty = Arc::new(TensorType::new(s.dtype, vec![]));
        return insert(space, Op::Const(c), &[], ty, loc);
    }
    let next = ConstId(space.analysis.consts.len() as u32);
    space.analysis.scalars.insert(s, next);
    add_const(space, "", scalar_literal(s), loc)
}

/// The literal whose elements a class is, at the same indices.
pub fn literal(space: &Space, id: Id) -> Option<&Literal> {
    space[id].data.constant.map(|c| &space.analysis.consts[c.index()].literal)
}
