//! Proofs of inequalities between dims.
//!
//! Sound and incomplete: a proof found holds for all values in range, failure means nothing. The
//! work of one query is bounded by [`FUEL`], its recursion by [`MAX_STEPS_DEEP`].

use super::divide::divide;
use super::ranges::remainder_form;
use super::{Atom, Dim, Ranges};
use std::cell::Cell;

/// Work of one query: a proof step costs one, and one more per eight nodes of its goal.
const FUEL: u32 = 2000;
/// Proof steps one inside another.
const MAX_STEPS_DEEP: u32 = 48;

/// Whether `a >= 0` is proven for all values of symbols and axes in range. Axes are taken
/// nonnegative, and nonempty if their extent is declared (see [`Ranges`]).
pub fn prove_nonneg(a: &Dim, r: &Ranges) -> bool {
    prove_le(&Dim::ZERO, a, r)
}

/// Whether `a <= b` is proven; see [`prove_nonneg`].
pub fn prove_le(a: &Dim, b: &Dim, r: &Ranges) -> bool {
    decide(a, b, false, r)
}

/// Whether `a < b` is proven; see [`prove_nonneg`].
pub fn prove_lt(a: &Dim, b: &Dim, r: &Ranges) -> bool {
    decide(a, b, true, r)
}

fn decide(a: &Dim, b: &Dim, strict: bool, r: &Ranges) -> bool {
    if let (Some(a), Some(b)) = (a.as_const(), b.as_const()) {
        // A difference beyond 64 bits has no value, and nothing is proven of it.
        let difference = b.checked_sub(a).and_then(|d| d.checked_sub(i64::from(strict)));
        return difference.is_some_and(|d| d >= 0);
    }
    r.memo.proven(a, b, strict, r, || {
        let difference = if strict { b - a - 1 } else { b - a };
        Prover::new(r, [a, b]).query(&difference)
    })
}

/// How an expression moves when one variable grows.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Trend {
    Up,
    Down,
}

impl Trend {
    fn flip(self) -> Trend {
        match self {
            Trend::Up => Trend::Down,
            Trend::Down => Trend::Up,
        }
    }
}

/// The state of one query: what is assumed and how many steps remain.
pub(super) struct Prover<'a> {
    ranges: &'a Ranges,
    /// Dims known to be at least one: extents of the axes mentioned, and their factors.
    facts: Vec<Dim>,
    fuel: Cell<u32>,
    deep: Cell<u32>,
}

impl<'a> Prover<'a> {
    /// Assumes that the axes mentioned in `context` have at least one value.
    pub(super) fn new<'d>(ranges: &'a Ranges, context: impl IntoIterator<Item = &'d Dim>) -> Self {
        let mut p = Prover { ranges, facts: Vec::new(), fuel: Cell::new(FUEL), deep: Cell::new(0) };
        let mut axes = smallvec::SmallVec::new();
        for d in context {
            d.add_axes(&mut axes);
        }
        axes.sort_unstable();
        axes.dedup();
        for k in axes {
            if let Some(extent) = p.extent(k) {
                p.add_fact(extent);
            }
        }
        p
    }

    pub(super) fn ranges(&self) -> &Ranges {
        self.ranges
    }

    /// Dims known to be at least one.
    pub(super) fn facts(&self) -> &[Dim] {
        &self.facts
    }

    /// Proves `a >= 0` with fresh fuel.
    pub(super) fn query(&self, a: &Dim) -> bool {
        self.fuel.set(FUEL);
        self.nonneg(a)
    }

    fn extent(&self, k: u32) -> Option<Dim> {
        self.ranges.axis(k).filter(|e| !e.has_axes() && !e.is_poisoned()).cloned()
    }

    fn add_fact(&mut self, d: Dim) {
        if d.as_const().is_some() || self.facts.contains(&d) {
            return;
        }
        // A product of nonnegative factors that is at least one has no factor below one.
        if let Some(term) = d.terms().first().filter(|_| d.terms().len() == 1)
            && d.parts().is_some_and(|(_, c)| c == 0)
            && term.coeff > 0
        {
            let factors: Vec<Dim> = term.factors.iter().cloned().map(Dim::raw_atom).collect();
            if factors.iter().all(|f| f.bounds(self.ranges).0 >= Some(0)) {
                for f in factors {
                    if !self.facts.contains(&f) {
                        self.facts.push(f);
                    }
                }
                return;
            }
        }
        self.facts.push(d);
    }

    fn nonneg(&self, a: &Dim) -> bool {
        if let Some(c) = a.as_const() {
            return c >= 0;
        }
        let cost = 1 + a.weight() / 8;
        if a.is_poisoned() || self.fuel.get() < cost || self.deep.get() >= MAX_STEPS_DEEP {
            return false;
        }
        self.fuel.set(self.fuel.get() - cost);
        self.deep.set(self.deep.get() + 1);
        let proven = self.step(a);
        self.deep.set(self.deep.get() - 1);
        proven
    }

    fn step(&self, a: &Dim) -> bool {
        if a.bounds(self.ranges).0 >= Some(0) {
            return true;
        }
        if let Some(answer) = self.by_axes(a) {
            return answer;
        }
        self.by_choice(a) || self.by_remainder(a) || self.by_facts(a) || self.by_symbols(a)
    }

    /// Removes an axis in which `a` is monotone or linear: the least value is at an end.
    fn by_axes(&self, a: &Dim) -> Option<bool> {
        for k in a.axis_list() {
            let at = |v: &Dim| a.substitute(&|_| None, &|j| (j == k).then(|| v.clone()));
            let var = Atom::Axis(k);
            let last = self.extent(k).map(|e| e - 1);
            match (self.trend(a, &var), last) {
                (Some(Trend::Up), _) => return Some(self.nonneg(&at(&Dim::ZERO))),
                (Some(Trend::Down), Some(last)) => return Some(self.nonneg(&at(&last))),
                (None, Some(last)) if is_linear(a, &var) => {
                    return Some(self.nonneg(&at(&Dim::ZERO)) && self.nonneg(&at(&last)));
                }
                _ => {}
            }
        }
        None
    }

    /// Like [`Prover::by_axes`] for symbols, which may be unbounded above; then moves every lower
    /// bound to zero, so that nonnegative coefficients suffice.
    fn by_symbols(&self, a: &Dim) -> bool {
        let mut shifted = Ranges::new();
        let mut moves = false;
        for name in a.symbols() {
            let (lo, hi) = self.ranges.symbol(&name);
            let at = |v: i64| a.substitute(&|s| (*s == *name).then(|| Dim::constant(v)), &|_| None);
            let var = Atom::Symbol(name.clone());
            match (self.trend(a, &var), hi) {
                (Some(Trend::Up), _) => return self.nonneg(&at(lo)),
                (Some(Trend::Down), Some(hi)) => return self.nonneg(&at(hi)),
                (None, Some(hi)) if is_linear(a, &var) => {
                    return self.nonneg(&at(lo)) && self.nonneg(&at(hi));
                }
                _ => {}
            }
            moves |= lo != 0;
            shifted.set_symbol(&name, 0, hi.and_then(|h| h.checked_sub(lo)));
        }
        if !moves || a.has_axes() {
            return false;
        }
        let moved = a.substitute(&|s| Some(Dim::symbol(s) + self.ranges.symbol(s).0), &|_| None);
        moved.bounds(&shifted).0 >= Some(0)
    }

    /// Splits on a minimum or maximum: every argument may be the value; where the value is a bound
    /// in the right direction one argument suffices.
    fn by_choice(&self, a: &Dim) -> bool {
        let is_choice = |x: &Atom| matches!(x, Atom::Min(_) | Atom::Max(_));
        let Some(choice) = a.terms().iter().flat_map(|t| t.factors.iter()).find(|x| is_choice(x)) else {
            return false;
        };
        let Some((rest, found)) = a.collect_by(&|x| x == choice) else {
            return false;
        };
        let (Atom::Min(args) | Atom::Max(args)) = choice else {
            return false;
        };
        let [(_, coeff)] = found.as_slice() else {
            return false;
        };
        let with = |arg: &Dim| self.nonneg(&(&rest + coeff * arg));
        if args.iter().all(with) {
            return true;
        }
        let helps = match choice {
            Atom::Max(_) => self.nonneg(coeff),
            _ => self.nonneg(&-coeff),
        };
        helps && args.iter().any(with)
    }

    /// Removes a floor division `f = floor(x / c)` by writing `a = base + m*rho` with a remainder
    /// `rho` in `0..k`.
    fn by_remainder(&self, a: &Dim) -> bool {
        let Some((_, found)) = a.collect_by(&|x| matches!(x, Atom::FloorDiv(..))) else {
            return false;
        };
        for (f, coeff) in found {
            let Atom::FloorDiv(x, c) = &f else { continue };
            let proven = match (c.as_const(), coeff.as_const()) {
                (Some(c), Some(coeff)) => self.by_const_remainder(a, x, c, coeff),
                _ => self.by_symbolic_remainder(a, &f, x, c, &coeff),
            };
            if proven {
                return true;
            }
        }
        false
    }

    fn by_const_remainder(&self, a: &Dim, x: &Dim, c: i64, coeff: i64) -> bool {
        if c <= 0 {
            return false;
        }
        let least = |a: &Dim, coeff: i64| match remainder_form(a, x, c, coeff) {
            Some((base, m, _)) if m >= 0 => self.nonneg(&base),
            Some((base, m, k)) => self.nonneg(&(base + Dim::constant(m) * (k - 1))),
            None => false,
        };
        if least(a, coeff) {
            return true;
        }
        // a >= 0 for an integer a exactly when s*a + s - 1 >= 0; s makes c divide the coefficient.
        let s = c / i64::try_from(super::algebra::gcd(coeff, c)).unwrap_or(c);
        s > 1 && coeff.checked_mul(s).is_some_and(|coeff| least(&(a * s + (s - 1)), coeff))
    }

    fn by_symbolic_remainder(&self, a: &Dim, f: &Atom, x: &Dim, c: &Dim, coeff: &Dim) -> bool {
        let Some(m) = coeff.div_exact(c).map(|m| -m) else {
            return false;
        };
        let base = a - &m * (x - c * Dim::raw_atom(f.clone()));
        if self.nonneg(&m) {
            self.nonneg(&base)
        } else {
            self.nonneg(&-&m) && self.nonneg(&(base + m * (c - 1)))
        }
    }

    /// With `a = q*fact + r`, `fact >= 1` and `q >= 0`: `a >= q + r`.
    fn by_facts(&self, a: &Dim) -> bool {
        self.facts.iter().any(|fact| match divide(a, fact) {
            Some((q, r)) if !q.is_const(0) => self.nonneg(&q) && self.nonneg(&(q + r)),
            _ => false,
        })
    }

    /// Whether `a` is monotone in `var` (weakly), everything else fixed.
    fn trend(&self, a: &Dim, var: &Atom) -> Option<Trend> {
        let (_, found) = a.collect_by(&|x| mentions(x, var))?;
        let mut out = None;
        for (atom, coeff) in found {
            let mut t = self.atom_trend(&atom, var)?;
            if !self.nonneg(&coeff) {
                if !self.nonneg(&-coeff) {
                    return None;
                }
                t = t.flip();
            }
            if out.is_some_and(|o| o != t) {
                return None;
            }
            out = Some(t);
        }
        Some(out.unwrap_or(Trend::Up))
    }

    fn atom_trend(&self, a: &Atom, var: &Atom) -> Option<Trend> {
        match a {
            _ if a == var => Some(Trend::Up),
            Atom::FloorDiv(x, c) if !dim_mentions(c, var) => self.trend(x, var),
            Atom::Min(l) | Atom::Max(l) => {
                let mut trends = l.iter().filter(|d| dim_mentions(d, var)).map(|d| self.trend(d, var));
                let first = trends.next()??;
                trends.all(|t| t == Some(first)).then_some(first)
            }
            _ => None,
        }
    }
}

/// Whether `var` occurs only as a linear factor.
fn is_linear(a: &Dim, var: &Atom) -> bool {
    a.collect_by(&|x| mentions(x, var)).is_some_and(|(_, found)| found.iter().all(|(x, _)| x == var))
}

fn mentions(a: &Atom, var: &Atom) -> bool {
    a == var || a.dims().any(|d| dim_mentions(d, var))
}

fn dim_mentions(d: &Dim, var: &Atom) -> bool {
    d.terms().iter().any(|t| t.factors.iter().any(|a| mentions(a, var)))
}
