//! The rules of the e-graph, one file a topic.
//!
//! A rule says what equals what ([`Rule::equation`]), why that pays, how exact it is, and where it
//! applies. [`super::certify`] tries to refute it, and its guards one by one. A rule adds nothing but an equality: whether the other
//! spelling is used is the search's decision (`search.rs`), by what the kernels cost.

mod contraction;
mod identities;
mod load;
mod merge;
mod names;
mod scale;
mod views;

use super::certify::Draw;
use super::facts::Typing;
use super::language::{Node, Space};
use super::pattern::{Match, Pattern, found_at};
use egg::{Applier, Id, PatternAst, Rewrite, SearchMatches, Searcher, Subst, Symbol, Var};
use fornax_ir::graph::{Graph, LocId};

pub use load::NAME as LOAD;

/// How the results of two equal spellings may differ.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Float {
    /// Not at all.
    Exact,
    /// By the rounding of sums and products in another order.
    Reassociates,
}

/// What a group of rules is about.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Topic {
    /// Loading a tensor, or computing it where it is used.
    Fusion,
    /// Algebra of elementwise operators.
    Identities,
    /// Composition of index maps.
    Views,
    /// Factors moved through products.
    Scale,
    /// Axes of contractions.
    Contraction,
    /// Contractions that share an operand.
    Merge,
    /// Names of composites.
    Names,
}

/// Where a rule applies.
pub enum Find {
    /// At every match of a pattern.
    Pattern(fn() -> Pattern),
    /// At what a function finds at a class.
    Class(fn(&Space, Id) -> Vec<Match>),
}

/// Pairs of a class and what equals it.
pub type Equal = Vec<(Id, Id)>;

/// What a rule makes.
pub enum Make {
    /// The other spelling of the class that matched; `None` where a condition does not hold.
    One(fn(&mut Space, &Match, LocId) -> Option<Id>),
    /// Other spellings of several classes at once, which pay only together.
    Several(fn(&mut Space, &Match, LocId) -> Option<Equal>),
}

/// A condition of a rule: without it the equation is wrong somewhere, which its certificate shows.
pub struct Guard {
    /// What must hold, in words; unique among the guards of its rule.
    pub name: &'static str,
    /// Whether it does at a match.
    pub holds: Condition,
}

/// Whether something holds at a match.
pub type Condition = fn(&Space, &Match) -> bool;

/// A rule.
pub struct Rule {
    /// Its name, unique.
    pub name: &'static str,
    /// What it is about.
    pub topic: Topic,
    /// What equals what.
    pub equation: &'static str,
    /// Why the right side can be cheaper.
    pub why: &'static str,
    /// How exact it is.
    pub float: Float,
    /// Conditions of the equation.
    pub guards: &'static [Guard],
    /// Where the other spelling can pay; elsewhere it is right, and not worth a node.
    pub pays: Option<Condition>,
    /// Where it applies.
    pub find: Find,
    /// What it makes there.
    pub make: Make,
    /// Random graphs in which it applies, for its certificate; those of a pattern are made from it.
    pub drawn: Option<fn(&mut Draw) -> Option<Graph>>,
}

impl Rule {
    /// What an entry need not say: it pays everywhere, and its pattern gives its examples.
    pub(super) const BARE: Rule = Rule {
        name: "",
        topic: Topic::Identities,
        equation: "",
        why: "",
        float: Float::Exact,
        guards: &[],
        pays: None,
        find: Find::Class(|_, _| vec![]),
        make: Make::One(|_, _, _| None),
        drawn: None,
    };

    /// Whether the rule may be applied to a match: all guards hold, but for one that is left out on trial.
    fn admits(&self, space: &Space, found: &Match) -> bool {
        let left_out = space.analysis.left_out;
        let holds = |g: &Guard| left_out == Some(g.name) || (g.holds)(space, found);
        self.guards.iter().all(holds) && self.pays.is_none_or(|pays| pays(space, found))
    }
}

/// All rules, by topic.
pub fn all() -> impl Iterator<Item = &'static Rule> {
    [
        load::RULES,
        identities::RULES,
        views::RULES,
        scale::RULES,
        contraction::RULES,
        merge::RULES,
        names::RULES,
    ]
    .into_iter()
    .flatten()
}

/// An equality that a rule has added: the class had no such node before.
#[derive(Clone, Debug)]
pub struct Added {
    /// The rule.
    pub rule: &'static str,
    /// A class.
    pub class: Id,
    /// The node that now is one of its spellings; children as they were numbered then.
    pub node: Node,
}

/// The rule in egg's terms.
pub fn rewrite(rule: &'static Rule) -> Rewrite<Node, Typing> {
    let applier = Apply { rule };
    let made = match rule.find {
        Find::Pattern(pattern) => Rewrite::new(rule.name, pattern(), applier),
        Find::Class(find) => Rewrite::new(rule.name, ByClass(find), applier),
    };
    made.expect("a rule's applier demands no variables")
}

struct ByClass(fn(&Space, Id) -> Vec<Match>);

impl Searcher<Node, Typing> for ByClass {
    fn search_eclass_with_limit(
        &self,
        space: &Space,
        id: Id,
        limit: usize,
    ) -> Option<SearchMatches<'_, Node>> {
        found_at(id, (self.0)(space, id), limit)
    }
    fn vars(&self) -> Vec<Var> {
        vec![]
    }
}

struct Apply {
    rule: &'static Rule,
}

impl Applier<Node, Typing> for Apply {
    fn apply_one(
        &self,
        space: &mut Space,
        class: Id,
        subst: &Subst,
        _: Option<&PatternAst<Node>>,
        _: Symbol,
    ) -> Vec<Id> {
        let found = Match::from_subst(subst).with_class(space.find(class));
        if !space.analysis.is_new(self.rule.name, class, &found) || !self.rule.admits(space, &found) {
            return vec![];
        }
        space.analysis.recent.clear();
        let loc = space[class].data.loc;
        let equal = match self.rule.make {
            Make::One(make) => make(space, &found, loc).map(|new| vec![(class, new)]),
            Make::Several(make) => make(space, &found, loc),
        };
        let mut changed = vec![];
        for (old, new) in equal.into_iter().flatten() {
            if unite(space, self.rule.name, old, new) {
                changed.push(space.find(old));
            }
        }
        changed
    }
}

/// Makes two classes one; refuses what has another type, which no rule may claim.
fn unite(space: &mut Space, rule: &'static str, old: Id, new: Id) -> bool {
    let (old, canonical) = (space.find(old), space.find(new));
    if old == canonical {
        return false;
    }
    let (was, is) = (space[old].data.ty.clone(), space[canonical].data.ty.clone());
    if was != is {
        space.analysis.refused.get_or_insert_with(|| format!("{rule} claims that {was} is {is}"));
        return false;
    }
    let made = space.analysis.recent.iter().rev().find(|(id, _)| space.find(*id) == canonical);
    if let Some((_, node)) = made.cloned() {
        space.analysis.added.push(Added { rule, class: old, node });
    }
    *space.analysis.fired.entry(rule).or_insert(0) += 1;
    space.union(old, canonical);
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = all().map(|r| r.name).collect();
        names.sort();
        assert!(names.windows(2).all(|w| w[0] != w[1]), "{names:?}");
        assert!(all().all(|r| !r.equation.is_empty() && !r.why.is_empty()));
    }
}
