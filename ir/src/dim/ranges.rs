//! Ranges of symbols and axes, and interval arithmetic over them.

use super::algebra::gcd;
use super::memo::Memo;
use super::{Atom, Dim};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Expressions with more nodes are bounded without recognising remainders.
const MAX_DETAILED: u32 = 512;

/// What is known about variables: a symbol lies in `lo..=hi`, axis `k` runs over `0..=extent-1`.
///
/// A symbol without entry lies in `0..`. An axis with an extent is taken to have at least one
/// value wherever an expression mentions it: under an empty loop nothing is evaluated.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ranges {
    symbols: BTreeMap<Arc<str>, (i64, Option<i64>)>,
    axes: BTreeMap<u32, Dim>,
    /// What was simplified and proven under these ranges of symbols; clones share it.
    pub(super) memo: Memo,
}

impl Ranges {
    /// Nothing known beyond the defaults.
    pub fn new() -> Ranges {
        Ranges::default()
    }

    /// Declares `lo <= name <= hi`, inclusive; `None` is unbounded above.
    pub fn set_symbol(&mut self, name: &str, lo: i64, hi: Option<i64>) {
        if self.symbols.get(name) != Some(&(lo, hi)) {
            self.symbols.insert(name.into(), (lo, hi));
            self.memo = Memo::default();
        }
    }

    /// The inclusive range of a symbol, `(0, None)` if not declared.
    pub fn symbol(&self, name: &str) -> (i64, Option<i64>) {
        self.symbols.get(name).copied().unwrap_or((0, None))
    }

    /// Declares that axis `k` runs over `0..extent`; the extent is free of axes.
    pub fn set_axis(&mut self, k: u32, extent: Dim) {
        self.axes.insert(k, extent);
    }

    /// The extent of axis `k`, if declared.
    pub fn axis(&self, k: u32) -> Option<&Dim> {
        self.axes.get(&k)
    }
}

/// An end of an interval: infinities are `i128::MIN` and `i128::MAX`, products saturate to them.
type End = i128;
const NEG: End = i128::MIN;
const POS: End = i128::MAX;

/// A closed interval with possibly infinite ends.
#[derive(Clone, Copy, Debug)]
struct Interval(End, End);

fn end_mul(a: End, b: End) -> End {
    let infinite = |v| v == NEG || v == POS;
    if a == 0 || b == 0 {
        return 0;
    }
    let sign = if (a < 0) == (b < 0) { POS } else { NEG };
    if infinite(a) || infinite(b) { sign } else { a.checked_mul(b).unwrap_or(sign) }
}

fn end_add(a: End, b: End, undefined: End) -> End {
    match (a, b) {
        (NEG, POS) | (POS, NEG) => undefined,
        (NEG | POS, _) => a,
        (_, NEG | POS) => b,
        _ => a.saturating_add(b),
    }
}

impl Interval {
    const ALL: Interval = Interval(NEG, POS);

    fn point(v: i64) -> Interval {
        Interval(v.into(), v.into())
    }

    fn add(self, o: Interval) -> Interval {
        Interval(end_add(self.0, o.0, NEG), end_add(self.1, o.1, POS))
    }

    fn mul(self, o: Interval) -> Interval {
        let c = [end_mul(self.0, o.0), end_mul(self.0, o.1), end_mul(self.1, o.0), end_mul(self.1, o.1)];
        Interval(c.into_iter().min().unwrap_or(NEG), c.into_iter().max().unwrap_or(POS))
    }

    fn intersect(self, o: Interval) -> Interval {
        Interval(self.0.max(o.0), self.1.min(o.1))
    }

    /// Floored quotient; the divisor is at least one.
    fn floor_div(self, c: Interval) -> Interval {
        let (near, far) = (c.0.max(1), c.1.max(1));
        let div = |x: End, by: End| match (x, by) {
            (NEG | POS, _) => x,
            (_, POS) => -End::from(x < 0),
            _ => x.div_euclid(by),
        };
        let lo = if self.0 >= 0 { div_far(self.0, far) } else { div(self.0, near) };
        let hi = if self.1 >= 0 { div(self.1, near) } else { div(self.1, far) };
        Interval(lo, hi)
    }
}

/// Floored quotient of a nonnegative lower end by the largest divisor.
fn div_far(x: End, far: End) -> End {
    if far == POS { 0 } else { x.div_euclid(far) }
}

impl Dim {
    /// Inclusive bounds by interval arithmetic; `None` is unbounded (or beyond `i64`).
    pub fn bounds(&self, ranges: &Ranges) -> (Option<i64>, Option<i64>) {
        let detail = if self.weight() > MAX_DETAILED { 0 } else { 3 };
        let Interval(lo, hi) = interval(self, ranges, detail);
        let lo = if lo < i64::MIN.into() { None } else { Some(i64::try_from(lo).unwrap_or(i64::MAX)) };
        let hi = if hi > i64::MAX.into() { None } else { Some(i64::try_from(hi).unwrap_or(i64::MIN)) };
        (lo, hi)
    }
}

/// `detail` limits how many remainders are recognised one inside another; each level multiplies the
/// work by the number of divisions in a sum.
fn interval(d: &Dim, ranges: &Ranges, detail: u32) -> Interval {
    let Some((terms, constant)) = d.parts() else {
        return Interval::ALL;
    };
    let mut sum = Interval::point(constant);
    for t in terms {
        let product = t.factors.iter().map(|a| atom_interval(a, ranges, detail.saturating_sub(1)));
        sum = sum.add(product.fold(Interval::point(t.coeff), Interval::mul));
    }
    if detail == 0 {
        return sum;
    }
    for t in terms {
        if let [Atom::FloorDiv(x, c)] = &t.factors[..]
            && let Some(c) = c.as_const()
            && let Some((base, m, k)) = remainder_form(d, x, c, t.coeff)
        {
            let part = Interval(0, i128::from(k) - 1).mul(Interval::point(m));
            sum = sum.intersect(interval(&base, ranges, detail - 1).add(part));
        }
    }
    sum
}

/// With `f = floor(x / c)` of coefficient `coeff` in `d`: `(base, m, k)` such that
/// `d = base + m*rho` for some `rho` in `0..k`, where `base` is free of that `f`. From
/// `rho = floor(x / p) - k*f` with `c = p*k`.
pub(super) fn remainder_form(d: &Dim, x: &Dim, c: i64, coeff: i64) -> Option<(Dim, i64, i64)> {
    let k = i64::try_from(gcd(coeff, c)).ok().filter(|&k| k > 1 && c > 0)?;
    let m = coeff.checked_div(k)?.checked_neg()?;
    let f = Dim::raw_atom(Atom::FloorDiv(x.clone(), Dim::constant(c)));
    let rho = x.floor_div(&Dim::constant(c / k)) - f * k;
    let base = d - rho * m;
    (!base.is_poisoned()).then_some((base, m, k))
}

fn atom_interval(a: &Atom, ranges: &Ranges, detail: u32) -> Interval {
    let fold = |list: &[Dim], join: fn(Interval, Interval) -> Interval| {
        let all = list.iter().map(|d| interval(d, ranges, detail));
        all.reduce(join).unwrap_or(Interval::ALL)
    };
    match a {
        Atom::Symbol(name) => {
            let (lo, hi) = ranges.symbol(name);
            Interval(lo.into(), hi.map_or(POS, Into::into))
        }
        Atom::Axis(k) => match ranges.axis(*k) {
            Some(extent) if !extent.has_axes() => {
                let hi = interval(extent, ranges, detail).1;
                Interval(0, if hi == POS { POS } else { (hi - 1).max(0) })
            }
            _ => Interval(0, POS),
        },
        Atom::FloorDiv(x, c) => interval(x, ranges, detail).floor_div(interval(c, ranges, detail)),
        Atom::Min(l) => fold(l, |a, b| Interval(a.0.min(b.0), a.1.min(b.1))),
        Atom::Max(l) => fold(l, |a, b| Interval(a.0.max(b.0), a.1.max(b.1))),
        Atom::Product(l) => fold(l, Interval::mul),
    }
}
