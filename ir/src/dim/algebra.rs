//! Polynomial arithmetic on normal forms, minima and maxima.

use super::{Atom, Dim, MAX_DEPTH, MAX_MONOMIALS, MAX_WEIGHT, Repr, Sum, Term};
use rustc_hash::FxHasher;
use std::cmp::Ordering;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// The term order, leading monomial first: higher degree, then lexicographic with smaller atoms
/// more significant. It is a graded lexicographic (admissible) order: multiplying two monomials by
/// a third keeps their order, which polynomial division relies on.
pub(super) fn mono_cmp(a: &[Atom], b: &[Atom]) -> Ordering {
    b.len().cmp(&a.len()).then_with(|| a.cmp(b))
}

impl Dim {
    /// One atom with coefficient one. The atom must be in normal form.
    pub(super) fn raw_atom(a: Atom) -> Dim {
        Dim::monomial(Arc::from([a]), 1)
    }

    /// `coeff * product of factors`; factors sorted.
    pub(super) fn monomial(factors: Arc<[Atom]>, coeff: i64) -> Dim {
        if factors.is_empty() {
            return Dim::constant(coeff);
        }
        build(vec![Term { factors, coeff }], 0)
    }

    /// The least of the two.
    pub fn min(&self, other: &Dim) -> Dim {
        extremum(self, other, Ordering::Less)
    }

    /// The greatest of the two.
    pub fn max(&self, other: &Dim) -> Dim {
        extremum(self, other, Ordering::Greater)
    }

    /// [`Dim::min`] under a name that `Ord` does not have.
    pub fn at_most(&self, bound: &Dim) -> Dim {
        self.min(bound)
    }

    /// [`Dim::max`] under a name that `Ord` does not have.
    pub fn at_least(&self, bound: &Dim) -> Dim {
        self.max(bound)
    }
}

/// A dim from sorted terms with distinct monomials; drops zero coefficients, poisons what is too large.
pub(super) fn build(mut terms: Vec<Term>, constant: i64) -> Dim {
    terms.retain(|t| t.coeff != 0);
    if terms.is_empty() {
        return Dim::constant(constant);
    }
    let (mut weight, mut depth, mut has_axes) = (1u32, 0u16, false);
    for t in &terms {
        weight = weight.saturating_add(1);
        for a in t.factors.iter() {
            weight = weight.saturating_add(1);
            has_axes |= a.has_axes();
            for d in a.dims() {
                weight = weight.saturating_add(d.weight());
                depth = depth.max(d.depth() + 1);
            }
        }
    }
    if weight > MAX_WEIGHT || depth > MAX_DEPTH {
        return Dim::POISONED;
    }
    let mut h = FxHasher::default();
    terms.hash(&mut h);
    constant.hash(&mut h);
    let hash = h.finish();
    Dim(Repr::Sum(Arc::new(Sum { terms, constant, hash, weight, depth, has_axes })))
}

/// Sorts and merges arbitrary terms.
fn collect(mut terms: Vec<Term>, constant: i64) -> Dim {
    terms.sort_by(|a, b| mono_cmp(&a.factors, &b.factors));
    let mut out: Vec<Term> = Vec::with_capacity(terms.len());
    for t in terms {
        match out.last_mut() {
            Some(last) if last.factors == t.factors => match last.coeff.checked_add(t.coeff) {
                Some(c) => last.coeff = c,
                None => return Dim::POISONED,
            },
            _ => out.push(t),
        }
    }
    build(out, constant)
}

/// `a + b`.
pub(super) fn add(a: &Dim, b: &Dim) -> Dim {
    sum(a, b, 1)
}

/// `a + k*b` for `k` of 1 or -1.
fn sum(a: &Dim, b: &Dim, k: i64) -> Dim {
    let (Some((ta, ca)), Some((tb, cb))) = (a.parts(), b.parts()) else {
        return Dim::POISONED;
    };
    let Some(constant) = cb.checked_mul(k).and_then(|cb| ca.checked_add(cb)) else {
        return Dim::POISONED;
    };
    if tb.is_empty() && cb == 0 {
        return a.clone();
    }
    if ta.is_empty() && ca == 0 {
        return scale(b, k);
    }
    if ta.is_empty() && tb.is_empty() {
        return Dim::constant(constant);
    }
    if k != 1 && tb.iter().any(|t| t.coeff.checked_mul(k).is_none()) {
        return Dim::POISONED;
    }
    let scaled = |t: &Term| Term { factors: t.factors.clone(), coeff: t.coeff * k };
    let mut out = Vec::with_capacity(ta.len() + tb.len());
    let (mut i, mut j) = (0, 0);
    while i < ta.len() && j < tb.len() {
        match mono_cmp(&ta[i].factors, &tb[j].factors) {
            Ordering::Less => {
                out.push(ta[i].clone());
                i += 1;
            }
            Ordering::Greater => {
                out.push(scaled(&tb[j]));
                j += 1;
            }
            Ordering::Equal => {
                let Some(coeff) = ta[i].coeff.checked_add(tb[j].coeff * k) else {
                    return Dim::POISONED;
                };
                if coeff != 0 {
                    out.push(Term { factors: ta[i].factors.clone(), coeff });
                }
                i += 1;
                j += 1;
            }
        }
    }
    out.extend_from_slice(&ta[i..]);
    out.extend(tb[j..].iter().map(scaled));
    build(out, constant)
}

/// `a - b`.
pub(super) fn sub(a: &Dim, b: &Dim) -> Dim {
    sum(a, b, -1)
}

/// `k * a`.
pub(super) fn scale(a: &Dim, k: i64) -> Dim {
    let Some((terms, constant)) = a.parts() else {
        return Dim::POISONED;
    };
    if k == 1 {
        return a.clone();
    }
    if terms.is_empty() || k == 0 {
        return constant.checked_mul(k).map_or(Dim::POISONED, Dim::constant);
    }
    let scaled: Option<Vec<Term>> = terms
        .iter()
        .map(|t| Some(Term { factors: t.factors.clone(), coeff: t.coeff.checked_mul(k)? }))
        .collect();
    match (scaled, constant.checked_mul(k)) {
        (Some(terms), Some(constant)) => build(terms, constant),
        _ => Dim::POISONED,
    }
}

/// `a * b`, distributed unless that gives more than [`MAX_MONOMIALS`] monomials.
pub(super) fn mul(a: &Dim, b: &Dim) -> Dim {
    let (Some((ta, ca)), Some((tb, cb))) = (a.parts(), b.parts()) else {
        return Dim::POISONED;
    };
    if tb.is_empty() {
        return scale(a, cb);
    }
    if ta.is_empty() {
        return scale(b, ca);
    }
    let count = |t: &[Term], c: i64| t.len() + usize::from(c != 0);
    let (na, nb) = (count(ta, ca), count(tb, cb));
    let weight = u64::from(a.weight()) * nb as u64 + u64::from(b.weight()) * na as u64;
    if na * nb > MAX_MONOMIALS || weight > 4 * u64::from(MAX_WEIGHT) {
        let mut pair = [a.clone(), b.clone()];
        pair.sort();
        return Dim::raw_atom(Atom::Product(Arc::from(pair)));
    }
    let mut out = Vec::with_capacity(na * nb);
    let mut push = |factors: Arc<[Atom]>, x: i64, y: i64| -> Option<()> {
        let coeff = x.checked_mul(y)?;
        out.push(Term { factors, coeff });
        Some(())
    };
    let mut expand = || -> Option<i64> {
        for x in ta {
            for y in tb {
                push(mono_mul(&x.factors, &y.factors), x.coeff, y.coeff)?;
            }
            push(x.factors.clone(), x.coeff, cb)?;
        }
        for y in tb {
            push(y.factors.clone(), y.coeff, ca)?;
        }
        ca.checked_mul(cb)
    };
    match expand() {
        Some(constant) => collect(out, constant),
        None => Dim::POISONED,
    }
}

/// The merged (sorted) factors of two monomials.
fn mono_mul(a: &[Atom], b: &[Atom]) -> Arc<[Atom]> {
    let mut out: Vec<Atom> = a.iter().chain(b).cloned().collect();
    out.sort();
    out.into()
}

/// The factors of `m` without those of `by`, or `None` if `by` does not divide `m`.
pub(super) fn mono_div(m: &[Atom], by: &[Atom]) -> Option<Arc<[Atom]>> {
    if by.len() > m.len() {
        return None;
    }
    let mut out = Vec::with_capacity(m.len() - by.len());
    let mut j = 0;
    for a in m {
        if j < by.len() && *a == by[j] {
            j += 1;
        } else {
            out.push(a.clone());
        }
    }
    (j == by.len()).then(|| out.into())
}

/// The factors common to both monomials, with multiplicity.
pub(super) fn mono_gcd(a: &[Atom], b: &[Atom]) -> Vec<Atom> {
    let (mut i, mut j, mut out) = (0, 0, Vec::new());
    while i < a.len() && j < b.len() {
        match a[i].cmp(&b[j]) {
            Ordering::Less => i += 1,
            Ordering::Greater => j += 1,
            Ordering::Equal => {
                out.push(a[i].clone());
                i += 1;
                j += 1;
            }
        }
    }
    out
}

/// Greatest common divisor; `gcd(0, x) = |x|`.
pub(super) fn gcd(a: i64, b: i64) -> u64 {
    let (mut a, mut b) = (a.unsigned_abs(), b.unsigned_abs());
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// `min` (`keep == Less`) or `max` (`keep == Greater`): nested ones are flattened, an argument that
/// differs from another by a constant is resolved (constants among themselves too), the rest sorted.
fn extremum(a: &Dim, b: &Dim, keep: Ordering) -> Dim {
    if a.is_poisoned() || b.is_poisoned() {
        return Dim::POISONED;
    }
    let mut args: Vec<Dim> = Vec::new();
    for d in [a, b] {
        let nested: &[Dim] = match d.as_atom() {
            Some(Atom::Min(l)) if keep == Ordering::Less => l,
            Some(Atom::Max(l)) if keep == Ordering::Greater => l,
            _ => std::slice::from_ref(d),
        };
        for x in nested {
            insert_arg(&mut args, x, keep);
        }
    }
    if args.len() == 1 {
        return args.swap_remove(0);
    }
    args.sort();
    let args = args.into();
    Dim::raw_atom(if keep == Ordering::Less { Atom::Min(args) } else { Atom::Max(args) })
}

fn insert_arg(args: &mut Vec<Dim>, x: &Dim, keep: Ordering) {
    for old in args.iter_mut() {
        if let Some(diff) = sub(x, old).as_const() {
            if diff.cmp(&0) == keep {
                *old = x.clone();
            }
            return;
        }
    }
    args.push(x.clone());
}
