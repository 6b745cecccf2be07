//! Fusion: the element of a stored expression is the expression.

use super::super::language::{Kind, Space};
use super::super::pattern::Match;
use super::{Find, Float, Make, Rule, Topic};
use egg::Id;

/// The name of the rule that makes fusion a choice; without it every operator is its own kernel.
pub const NAME: &str = "load-mat";

pub(super) static RULES: &[Rule] = &[Rule {
    name: NAME,
    topic: Topic::Fusion,
    equation: "Load(Mat(s)) = s",
    why: "a kernel that computes s where it needs it reads and writes no tensor",
    float: Float::Exact,
    guards: &[],

    find: Find::Class(loads),
    make: Make::One(|_, m, _| Some(m.var(0))),
    ..Rule::BARE
}];

/// The expressions of stored tensors that a class loads.
fn loads(space: &Space, id: Id) -> Vec<Match> {
    let class = space.find(id);
    let tensors = space[class].nodes.iter().filter(|n| n.kind == Kind::Load);
    let stored = tensors.flat_map(|n| &space[n.children[0]].nodes).filter(|n| n.kind == Kind::Mat);
    let scalars = stored.map(|n| space.find(n.children[0])).filter(|&s| s != class);
    scalars.map(|s| Match::default().with_var(0, s)).collect()
}
