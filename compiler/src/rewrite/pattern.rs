//! Patterns with attributes, behind egg's `Searcher`.
//!
//! egg compiles a pattern node to the lookup of one literal node, so that an operator with unknown
//! attributes is never found. Here a pattern node is a predicate on operators; what it matched is bound,
//! attributes and all. Operands of commutative operators are tried in both orders, and repeats of scalars
//! (`broadcast` of rank-0 values) are matched by their number.

use super::facts::Typing;
use super::language::{Attrs, Node, Space, op};
use egg::{Id, SearchMatches, Searcher, Subst, Var};
use fornax_ir::graph::Op;
use fornax_ir::graph::ops::{Binary, Unary};
use fornax_ir::scalar::{BinaryOp, ReduceOp, Scalar, UnaryOp};
use smallvec::SmallVec;

/// Places for classes in a match.
const VARS: usize = 16;
/// Places for operators in a match.
const OPS: usize = 8;
/// Matches of one pattern at one class, at most.
const MAX_MATCHES: usize = 64;

/// What a pattern node demands of an operator.
#[derive(Clone, Debug)]
pub enum Test {
    /// Any operator that the function accepts.
    Op(fn(&Op) -> bool),
    /// Equal to this operator, attributes included.
    Exactly(Op),
    /// A reduction of this kind, over any axes.
    Reduces(ReduceOp),
}

impl Test {
    fn accepts(&self, op: &Op) -> bool {
        match self {
            Test::Op(accepts) => accepts(op),
            Test::Exactly(want) => op == want,
            Test::Reduces(by) => matches!(op, Op::Reduce(r) if r.op == *by),
        }
    }
}

/// A pattern.
#[derive(Clone, Debug)]
pub enum Pattern {
    /// Any class; the same one wherever the number stands.
    Var(usize),
    /// A class all of whose elements are one number; bound to a variable.
    Uniform(usize),
    /// A class all of whose elements are this number, rounded to the dtype.
    Number(f64),
    /// An operator on operands.
    Node {
        /// Where the operator is bound, if it is needed.
        bind: Option<usize>,
        /// What it must be.
        test: Test,
        /// Its operands.
        operands: Vec<Pattern>,
    },
    /// The pattern itself, or any reshape or broadcast of it.
    Spread(Box<Pattern>),
}

/// Any class.
pub fn var(k: usize) -> Pattern {
    Pattern::Var(k)
}
/// An operator that `test` accepts, bound to place `bind`.
pub fn node(bind: usize, test: fn(&Op) -> bool, operands: Vec<Pattern>) -> Pattern {
    Pattern::Node { bind: Some(bind), test: Test::Op(test), operands }
}
/// A unary operator.
pub fn unary(op: UnaryOp, x: Pattern) -> Pattern {
    Pattern::Node { bind: None, test: Test::Exactly(Unary(op).into()), operands: vec![x] }
}
/// A binary operator.
pub fn binary(op: BinaryOp, a: Pattern, b: Pattern) -> Pattern {
    Pattern::Node { bind: None, test: Test::Exactly(Binary(op).into()), operands: vec![a, b] }
}

/// What a pattern matched.
#[derive(Clone, Default, PartialEq, Eq, Hash, Debug)]
pub struct Match {
    vars: [Option<Id>; VARS],
    ops: [Option<Attrs>; OPS],
}

impl Match {
    /// The class of a variable that the pattern binds.
    pub fn var(&self, k: usize) -> Id {
        self.vars[k].expect("the pattern binds it")
    }
    /// The class of a variable, if it is bound.
    pub fn get(&self, k: usize) -> Option<Id> {
        self.vars.get(k).copied().flatten()
    }
    /// What is bound to a place for an operator, if anything is.
    pub fn attrs(&self, k: usize) -> Option<Attrs> {
        self.ops[k]
    }
    /// Binds the class that matched, for rules that need it.
    pub fn with_class(self, class: Id) -> Match {
        self.with_var(VARS - 1, class)
    }
    /// The class that matched, if it is bound.
    pub fn class(&self) -> Option<Id> {
        self.vars[VARS - 1]
    }
    /// The operator bound to a place.
    pub fn op<'s>(&self, space: &'s Space, k: usize) -> &'s Op {
        space.analysis.op(self.ops[k].expect("the pattern binds it"))
    }
    /// Binds a variable, for searchers that are no patterns.
    pub fn with_var(mut self, k: usize, id: Id) -> Match {
        self.vars[k] = Some(id);
        self
    }
    /// Binds an operator, for searchers that are no patterns.
    pub fn with_op(mut self, k: usize, attrs: Attrs) -> Match {
        self.ops[k] = Some(attrs);
        self
    }

    /// In egg's terms: variable `k` is number `k`; operators follow, each as an id of its number.
    pub fn to_subst(&self) -> Subst {
        let mut subst = Subst::with_capacity(VARS);
        for (k, id) in self.vars.iter().enumerate().filter_map(|(k, v)| Some((k, (*v)?))) {
            subst.insert(Var::from_u32(k as u32), id);
        }
        for (k, attrs) in self.ops.iter().enumerate().filter_map(|(k, a)| Some((k, (*a)?))) {
            subst.insert(Var::from_u32((VARS + k) as u32), Id::from(attrs.0 as usize));
        }
        subst
    }
    /// The inverse of [`Match::to_subst`].
    pub fn from_subst(subst: &Subst) -> Match {
        let get = |k: usize| subst.get(Var::from_u32(k as u32)).copied();
        let mut found = Match::default();
        found.vars.iter_mut().enumerate().for_each(|(k, v)| *v = get(k));
        let attrs = |id: Id| Attrs(usize::from(id) as u32);
        found.ops.iter_mut().enumerate().for_each(|(k, a)| *a = get(VARS + k).map(attrs));
        found
    }
}

impl Pattern {
    /// All matches at a class, in the order of its nodes.
    pub fn matches(&self, space: &Space, class: Id) -> Vec<Match> {
        let mut found = vec![];
        self.extend(space, class, &Match::default(), &mut found);
        found
    }

    fn extend(&self, space: &Space, class: Id, so_far: &Match, found: &mut Vec<Match>) {
        if found.len() >= MAX_MATCHES {
            return;
        }
        let class = space.find(class);
        match self {
            Pattern::Var(k) => match so_far.vars[*k] {
                Some(known) if space.find(known) != class => {}
                Some(_) => found.push(so_far.clone()),
                None => found.push(so_far.clone().with_var(*k, class)),
            },
            Pattern::Uniform(k) => {
                if space[class].data.uniform.is_some() {
                    found.push(so_far.clone().with_var(*k, class));
                }
            }
            Pattern::Number(want) => {
                let equal = |s: Scalar| s == Scalar::from_f64(s.dtype, *want);
                if space[class].data.uniform.is_some_and(equal) {
                    found.push(so_far.clone());
                }
            }
            Pattern::Spread(inner) => {
                inner.extend(space, class, so_far, found);
                for n in &space[class].nodes {
                    if matches!(op(space, n), Some(Op::Reshape(_) | Op::Broadcast(_)))
                        && space.find(n.children[0]) != class
                    {
                        self.extend(space, n.children[0], so_far, found);
                    }
                }
            }
            Pattern::Node { bind, test, operands } => {
                for n in &space[class].nodes {
                    self.at_node(space, n, (*bind, test, operands), so_far, found);
                }
            }
        }
    }

    fn at_node(
        &self,
        space: &Space,
        n: &Node,
        (bind, test, operands): (Option<usize>, &Test, &[Pattern]),
        so_far: &Match,
        found: &mut Vec<Match>,
    ) {
        let Some(operator) = op(space, n) else { return };
        if !test.accepts(operator) || n.children.len() != operands.len() {
            return;
        }
        let start = match bind {
            Some(k) => so_far.clone().with_op(k, n.attrs),
            None => so_far.clone(),
        };
        let swapped = commutes(operator) && n.children[0] != n.children[1];
        let orders: &[bool] = if swapped { &[false, true] } else { &[false] };
        for &swap in orders {
            let mut partial = vec![start.clone()];
            for (k, operand) in operands.iter().enumerate() {
                let child = n.children[if swap { 1 - k } else { k }];
                let mut next = vec![];
                partial.iter().for_each(|m| operand.extend(space, child, m, &mut next));
                partial = next;
            }
            partial
                .into_iter()
                .filter(|m| !found.contains(m))
                .collect::<Vec<_>>()
                .drain(..)
                .for_each(|m| found.push(m));
        }
    }

    /// The kind that the root must have, if it must be an operator: classes without are passed over.
    fn root(&self) -> Option<&Test> {
        match self {
            Pattern::Node { test, .. } => Some(test),
            _ => None,
        }
    }
}

/// Operators of two operands whose order does not matter.
fn commutes(op: &Op) -> bool {
    use BinaryOp::{Add, And, Max, Min, Mul, Or, Xor};
    matches!(op, Op::Binary(Binary(Add | Mul | Min | Max | And | Or | Xor)))
}

impl Searcher<Node, Typing> for Pattern {
    fn search_eclass_with_limit(
        &self,
        space: &Space,
        class: Id,
        limit: usize,
    ) -> Option<SearchMatches<'_, Node>> {
        if let Some(test) = self.root() {
            let fits = |n: &Node| op(space, n).is_some_and(|o| test.accepts(o));
            if !space[class].nodes.iter().any(fits) {
                return None;
            }
        }
        found_at(class, self.matches(space, class), limit)
    }
    fn vars(&self) -> Vec<Var> {
        vec![]
    }
}

/// Matches at one class in egg's terms.
pub fn found_at(class: Id, matches: Vec<Match>, limit: usize) -> Option<SearchMatches<'static, Node>> {
    let substs: SmallVec<[Subst; 4]> = matches.iter().take(limit).map(Match::to_subst).collect();
    (!substs.is_empty()).then(|| SearchMatches { eclass: class, substs: substs.to_vec(), ast: None })
}
