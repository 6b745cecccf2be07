//! Einstein summation, two operands at a time.

use crate::error::Result;
use crate::import::NodeCx;
use fornax_ir::graph::ValueId;
use fornax_ir::graph::ops::{DotGeneral, Gather};
use fornax_ir::scalar::ReduceOp;
use fornax_ir::{DType, Dim};

type Out = Result<Vec<ValueId>>;

/// An index of the equation: a letter, or an axis that `...` stands for (counted from the last).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Label {
    Hidden(std::cmp::Reverse<usize>),
    Letter(char),
}

/// An operand with the label of each axis.
#[derive(Clone)]
struct Term {
    value: ValueId,
    labels: Vec<Label>,
}

pub(super) fn einsum(cx: &mut NodeCx<'_, '_>) -> Out {
    let equation = cx.text_or("equation", "")?;
    let (left, right) = match equation.split_once("->") {
        Some((l, r)) => (l, Some(r)),
        None => (equation, None),
    };
    let texts: Vec<&str> = left.split(',').collect();
    let values = cx.all_inputs()?;
    if texts.len() != values.len() {
        let what = format!("'{equation}' names {} operands, but there are {}", texts.len(), values.len());
        return Err(cx.bad(what));
    }
    let mut terms = vec![];
    for (text, &value) in texts.iter().zip(&values) {
        let labels = labels(cx, text, Some(cx.rank(value)))?;
        terms.push(diagonal(cx, Term { value, labels })?);
    }
    let hidden = terms.iter().flat_map(|t| &t.labels).filter(|l| matches!(l, Label::Hidden(_)));
    let mut hidden: Vec<Label> = hidden.copied().collect();
    hidden.sort_unstable();
    hidden.dedup();
    let wanted = match right {
        Some(text) => {
            let mut own = labels(cx, text, None)?;
            if let Some(at) = own.iter().position(|l| matches!(l, Label::Hidden(_))) {
                own.splice(at..=at, hidden);
            }
            own
        }
        None => implicit(&texts, hidden),
    };
    if let Some(l) = wanted.iter().find(|l| !terms.iter().any(|t| t.labels.contains(l))) {
        return Err(cx.bad(format!("'{equation}': the result's index {l:?} is in no operand")));
    }
    contract(cx, terms, &wanted)
}

/// The labels of one side; `...` takes the axes that the letters leave of `rank`, or marks its place.
fn labels(cx: &NodeCx<'_, '_>, text: &str, rank: Option<usize>) -> Result<Vec<Label>> {
    let text: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    let letters = text.chars().filter(|c| *c != '.').count();
    let mut out = vec![];
    let mut rest = text.as_str();
    while let Some(c) = rest.chars().next() {
        if let Some(after) = rest.strip_prefix("...") {
            let n = rank.map_or(1, |r| r.saturating_sub(letters));
            out.extend((0..n).rev().map(|k| Label::Hidden(std::cmp::Reverse(k))));
            rest = after;
        } else if c.is_ascii_alphabetic() {
            out.push(Label::Letter(c));
            rest = &rest[1..];
        } else {
            return Err(cx.bad(format!("'{text}' is no list of indices: '{c}'")));
        }
    }
    match rank {
        Some(r) if r != out.len() => {
            Err(cx.bad(format!("'{text}' names {} axes, but the operand has {r}", out.len())))
        }
        _ => Ok(out),
    }
}

/// Without an arrow the result has the hidden axes, then the letters that occur once, in order.
fn implicit(texts: &[&str], hidden: Vec<Label>) -> Vec<Label> {
    let mut letters: Vec<char> =
        texts.iter().flat_map(|t| t.chars()).filter(char::is_ascii_alphabetic).collect();
    letters.sort_unstable();
    let once = |c: &char| letters.iter().filter(|l| *l == c).count() == 1;
    hidden.into_iter().chain(letters.iter().copied().filter(once).map(Label::Letter)).collect()
}

/// Where one operand has an index twice, its diagonal.
fn diagonal(cx: &mut NodeCx<'_, '_>, mut term: Term) -> Result<Term> {
    let twice = |t: &Term| {
        (0..t.labels.len())
            .find_map(|i| (i + 1..t.labels.len()).find(|&j| t.labels[i] == t.labels[j]).map(|j| (i, j)))
    };
    while let Some((i, j)) = twice(&term) {
        let n = cx.shape(term.value)[i].clone();
        let places = cx.iota(&n, DType::I64)?;
        let op = Gather { axes: vec![i as u32, j as u32] };
        term.value = cx.b.add(op, &[term.value, places, places])?;
        term.labels.remove(j);
    }
    Ok(term)
}

/// Multiplies the operands from left to right, summing each index as soon as nothing needs it.
fn contract(cx: &mut NodeCx<'_, '_>, terms: Vec<Term>, wanted: &[Label]) -> Out {
    let mut terms = terms.into_iter();
    let mut acc = terms.next().ok_or_else(|| cx.bad("needs an operand"))?;
    let mut rest: Vec<Term> = terms.collect();
    while !rest.is_empty() {
        let next = rest.remove(0);
        let needed = |l: &Label| wanted.contains(l) || rest.iter().any(|t| t.labels.contains(l));
        acc = pair(cx, acc, next, &needed)?;
    }
    let acc = sum_out(cx, acc, &|l| wanted.contains(l))?;
    let perm: Vec<usize> = wanted.iter().filter_map(|w| acc.labels.iter().position(|l| l == w)).collect();
    Ok(vec![cx.permute(acc.value, &perm)?])
}

fn sum_out(cx: &mut NodeCx<'_, '_>, t: Term, keep: &dyn Fn(&Label) -> bool) -> Result<Term> {
    let over: Vec<u32> = (0..t.labels.len()).filter(|&k| !keep(&t.labels[k])).map(|k| k as u32).collect();
    let value = cx.b.reduce(ReduceOp::Sum, t.value, &over)?;
    Ok(Term { value, labels: t.labels.into_iter().filter(keep).collect() })
}

/// Drops axes of extent 1 that the other operand has with another extent: they repeat.
fn drop_repeating(cx: &mut NodeCx<'_, '_>, t: Term, other: &Term) -> Result<Term> {
    let (own, others) = (cx.shape(t.value), cx.shape(other.value));
    let repeats = |k: &usize| {
        let at = other.labels.iter().position(|l| *l == t.labels[*k]);
        own[*k].is_const(1) && at.is_some_and(|i| !others[i].is_const(1))
    };
    let kept: Vec<usize> = (0..own.len()).filter(|k| !repeats(k)).collect();
    let shape: Vec<Dim> = kept.iter().map(|&k| own[k].clone()).collect();
    let labels = kept.iter().map(|&k| t.labels[k]).collect();
    Ok(Term { value: cx.b.reshape(t.value, shape)?, labels })
}

fn pair(cx: &mut NodeCx<'_, '_>, a: Term, b: Term, needed: &dyn Fn(&Label) -> bool) -> Result<Term> {
    let a = drop_repeating(cx, a, &b)?;
    let b = drop_repeating(cx, b, &a)?;
    let (in_a, in_b) = (a.labels.clone(), b.labels.clone());
    let a = sum_out(cx, a, &|l| needed(l) || in_b.contains(l))?;
    let b = sum_out(cx, b, &|l| needed(l) || in_a.contains(l))?;
    let mut op = DotGeneral { batch: vec![], contract: vec![] };
    let mut labels = vec![];
    for (i, l) in a.labels.iter().enumerate() {
        let Some(j) = b.labels.iter().position(|m| m == l) else { continue };
        if needed(l) {
            op.batch.push((i as u32, j as u32));
            labels.push(*l);
        } else {
            op.contract.push((i as u32, j as u32));
        }
    }
    labels.extend(a.labels.iter().filter(|l| !b.labels.contains(l)));
    labels.extend(b.labels.iter().filter(|l| !a.labels.contains(l)));
    let value = cx.b.add(op, &[a.value, b.value])?;
    Ok(Term { value, labels })
}
