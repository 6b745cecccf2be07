//! Simplification with ranges.

use super::algebra::{gcd, mono_gcd};
use super::divide::{divide, floor_div_parts};
use super::prove::Prover;
use super::{Atom, Dim, Ranges, Term};

/// Rounds after which simplification stops even if the last one changed something.
const ROUNDS: usize = 4;
/// Expressions with more nodes are returned as they are.
const MAX_SIMPLIFIED: u32 = 2048;
/// Arguments of a minimum or maximum up to which all pairs are compared.
const MAX_ARGS: usize = 8;
/// Common divisors tried per floor division.
const MAX_DIVISORS: usize = 12;

/// An equal dim for all values in range, with floor divisions and minima/maxima resolved where a
/// proof is found: `floor((q*c + r) / c) = q` if `0 <= r < c` is provable, for constant and
/// symbolic `c`; remainders follow. Works inside out; a very large expression is returned unchanged. The axes that `d` mentions are taken to have
/// at least one value (see [`Ranges`]).
pub fn simplify(d: &Dim, r: &Ranges) -> Dim {
    if d.is_plain() || d.weight() > MAX_SIMPLIFIED {
        return d.clone();
    }
    r.memo.simplified(d, r, || simplified(d, r))
}

fn simplified(d: &Dim, r: &Ranges) -> Dim {
    let prover = Prover::new(r, [d]);
    let mut now = d.clone();
    for _ in 0..ROUNDS {
        let next = simplify_once(&now, &prover);
        if next == now {
            break;
        }
        now = next;
    }
    now
}

fn simplify_once(d: &Dim, p: &Prover<'_>) -> Dim {
    if d.is_plain() {
        return d.clone();
    }
    d.map_atoms(&mut |a| match a {
        Atom::FloorDiv(n, c) => {
            let result = || quotient(&simplify_once(n, p), &simplify_once(c, p), p);
            if a.has_axes() { result() } else { p.ranges().memo.quotient(n, c, p.facts(), result) }
        }
        Atom::Min(l) => extremum(l, p, Dim::min, |keep, drop, p| p.query(&(drop - keep))),
        Atom::Max(l) => extremum(l, p, Dim::max, |keep, drop, p| p.query(&(keep - drop))),
        _ => a.map_dims(&mut |d| simplify_once(d, p)),
    })
}

fn extremum(
    args: &[Dim],
    p: &Prover<'_>,
    join: fn(&Dim, &Dim) -> Dim,
    beats: fn(&Dim, &Dim, &Prover<'_>) -> bool,
) -> Dim {
    let args: Vec<Dim> = args.iter().map(|d| simplify_once(d, p)).collect();
    let mut kept: Vec<Dim> = Vec::with_capacity(args.len());
    for d in args {
        if kept.len() <= MAX_ARGS {
            if kept.iter().any(|k| beats(k, &d, p)) {
                continue;
            }
            kept.retain(|k| !beats(&d, k, p));
        }
        kept.push(d);
    }
    kept.into_iter().reduce(|a, b| join(&a, &b)).unwrap_or(Dim::POISONED)
}

/// `floor(n / c)`, resolved as far as provable.
fn quotient(n: &Dim, c: &Dim, p: &Prover<'_>) -> Dim {
    let (q, rest) = floor_div_parts(n, c);
    let Some((n, c)) = rest else { return q };
    let whole = &q + Dim::raw_atom(Atom::FloorDiv(n.clone(), c.clone()));
    if c.as_const().is_some_and(|v| v <= 0) {
        return whole;
    }
    if let Some(v) = constant_quotient(&n, &c, p).or_else(|| shifted_quotient(&n, &c, p)) {
        return q + v;
    }
    let divisors = common_divisors(&n, &c, p);
    if let Some((n, c)) = divisors.iter().find_map(|g| drop_low_part(&n, &c, g, p)) {
        return q + quotient(&n, &c, p);
    }
    let two_steps = divisors.iter().filter_map(|g| {
        let rest_divisor = c.div_exact(g)?;
        Some(&q + n.floor_div(g).floor_div(&rest_divisor))
    });
    two_steps.fold(whole, |best, d| if d.weight() < best.weight() { d } else { best })
}

/// The quotient, if it is one constant over the whole range.
fn constant_quotient(n: &Dim, c: &Dim, p: &Prover<'_>) -> Option<Dim> {
    if let (Some(cv), (Some(lo), Some(hi))) = (c.as_const(), n.bounds(p.ranges()))
        && lo.div_euclid(cv) == hi.div_euclid(cv)
    {
        return Some(Dim::constant(lo.div_euclid(cv)));
    }
    for k in [0, -1, 1] {
        let rest = n - c * k;
        if p.query(&rest) && p.query(&(c - rest - 1)) {
            return Some(Dim::constant(k));
        }
    }
    None
}

/// A quotient that is constant once coefficients in `0..c` are taken from `-c..0` instead: the
/// normal form turns `floor((c-1-i) / c)` into `floor(((c-1)*i + c-1) / c) - i`.
fn shifted_quotient(n: &Dim, c: &Dim, p: &Prover<'_>) -> Option<Dim> {
    let cv = c.as_const()?;
    let large = |t: &&Term| t.coeff > cv / 2;
    let lift =
        |terms: Vec<&Term>| -> Dim { terms.into_iter().map(|t| Dim::monomial(t.factors.clone(), 1)).sum() };
    let all = lift(n.terms().iter().collect());
    let some = lift(n.terms().iter().filter(large).collect());
    for extra in [some, all] {
        if !extra.is_const(0)
            && let Some(v) = constant_quotient(&(n - c * &extra), c, p)
        {
            return Some(extra + v);
        }
    }
    None
}

/// `floor((g*a + r) / (g*b)) = floor(a / b)` where `0 <= r < g` is provable: `(a, b)`.
fn drop_low_part(n: &Dim, c: &Dim, g: &Dim, p: &Prover<'_>) -> Option<(Dim, Dim)> {
    let rest_divisor = c.div_exact(g)?;
    let (whole, low) = divide(n, g)?;
    (!low.is_const(0) && p.query(&low) && p.query(&(g - &low - 1))).then_some((whole, rest_divisor))
}

/// Candidates for common divisors of numerator and divisor: of the divisor and single terms of the
/// numerator, and extents of axes in it.
fn common_divisors(n: &Dim, c: &Dim, p: &Prover<'_>) -> Vec<Dim> {
    let mut out: Vec<Dim> = Vec::new();
    let mut push = |g: Dim| {
        if g.as_const().is_none_or(|v| v > 1) && !out.contains(&g) && out.len() < MAX_DIVISORS {
            out.push(g);
        }
    };
    let (c_terms, c_const) = c.parts().unwrap_or((&[], 0));
    let lead = match c_terms {
        [] => Some((c_const, &[][..])),
        [t] if c_const == 0 => Some((t.coeff, &t.factors[..])),
        _ => None,
    };
    if let Some((coeff, factors)) = lead {
        for t in n.terms() {
            let k = i64::try_from(gcd(t.coeff, coeff)).unwrap_or(1);
            push(Dim::monomial(mono_gcd(&t.factors, factors).into(), k));
        }
    }
    for k in n.axis_list() {
        if let Some(extent) = p.ranges().axis(k) {
            push(extent.clone());
        }
    }
    out
}
