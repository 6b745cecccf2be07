//! Equality of graphs.

use super::{Graph, Guard, LocId, Node};
use std::fmt::Debug;

/// The first difference of two graphs in words, or `None` if they are equal: the same nodes in the same order,
/// with the same types, constants, names, ranges, guards and regions. Locations are equal if their texts are,
/// and count only where `with_locs`; symbolic values follow from the rest and do not count.
pub fn difference(a: &Graph, b: &Graph, with_locs: bool) -> Option<String> {
    let mut open = vec![(a, b, String::new())];
    while let Some((a, b, path)) = open.pop() {
        if let Some(found) = own_difference(a, b, with_locs) {
            return Some(format!("{path}{found}"));
        }
        if a.regions.len() != b.regions.len() {
            let (a, b) = (a.regions.len(), b.regions.len());
            return Some(format!("{path}number of regions: {a} is not {b}"));
        }
        let pairs = a.regions.iter().zip(&b.regions).enumerate();
        open.extend(pairs.map(|(k, (a, b))| (a, b, format!("{path}region r{k}, "))));
    }
    None
}

/// `what: left is not right`, unless they are equal.
fn differ<T: PartialEq + Debug>(what: impl FnOnce() -> String, a: T, b: T) -> Option<String> {
    (a != b).then(|| format!("{}: {a:?} is not {b:?}", what()))
}

/// As [`difference`], regions aside.
fn own_difference(a: &Graph, b: &Graph, with_locs: bool) -> Option<String> {
    let ranges = |g: &Graph| g.symbols.iter().map(|s| g.ranges.symbol(s)).collect::<Vec<_>>();
    let named = |what: &'static str| move || what.to_string();
    let loc = |g: &'_ Graph, l: LocId| with_locs.then(|| g.loc_text(l).to_string());
    differ(named("name"), &a.name, &b.name)
        .or_else(|| differ(named("symbols"), &a.symbols, &b.symbols))
        .or_else(|| differ(named("ranges"), ranges(a), ranges(b)))
        .or_else(|| differ(named("inputs"), &a.inputs, &b.inputs))
        .or_else(|| differ(named("outputs"), &a.outputs, &b.outputs))
        .or_else(|| differ(named("number of constants"), a.consts.len(), b.consts.len()))
        .or_else(|| {
            let mut pairs = a.consts.iter().zip(&b.consts).enumerate();
            pairs.find_map(|(k, (x, y))| differ(|| format!("constant c{k}"), x, y))
        })
        .or_else(|| differ(named("number of nodes"), a.nodes.len(), b.nodes.len()))
        .or_else(|| {
            let facts = |n: &Node| (n.op.clone(), n.inputs.clone(), n.ty.clone());
            let mut pairs = a.nodes.iter().zip(&b.nodes).enumerate();
            pairs.find_map(|(k, (x, y))| {
                differ(|| format!("node %{k}"), (facts(x), loc(a, x.loc)), (facts(y), loc(b, y.loc)))
            })
        })
        .or_else(|| {
            let facts =
                |g: &Graph, x: &Guard| (x.kind, x.lhs.clone(), x.rhs.clone(), x.what.clone(), loc(g, x.loc));
            let all = |g: &Graph| g.guards.iter().map(|x| facts(g, x)).collect::<Vec<_>>();
            differ(named("guards"), all(a), all(b))
        })
}
