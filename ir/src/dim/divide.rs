//! Polynomial division and floor division.

use super::algebra::{gcd, mono_div};
use super::{Atom, Dim, Term};

/// Steps after which a polynomial division is given up (the dividend then stays whole).
const MAX_STEPS: usize = 512;

impl Dim {
    /// `floor(self / divisor)`; the divisor is assumed positive. A constant divisor below one gives
    /// an expression that evaluates to an error.
    pub fn floor_div(&self, divisor: &Dim) -> Dim {
        let (q, rest) = floor_div_parts(self, divisor);
        match rest {
            None => q,
            Some((n, c)) => q + Dim::raw_atom(Atom::FloorDiv(n, c)),
        }
    }

    /// `ceil(self / divisor)`, normalised to `floor((self + divisor - 1) / divisor)`.
    pub fn ceil_div(&self, divisor: &Dim) -> Dim {
        (self + divisor - 1).floor_div(divisor)
    }

    /// The floored remainder `self - divisor * floor(self / divisor)`, in `0..divisor`.
    pub fn rem(&self, divisor: &Dim) -> Dim {
        self - divisor * self.floor_div(divisor)
    }

    /// The quotient if `self` is a polynomial multiple of `divisor`; else `None`, also where the
    /// values may happen to divide.
    pub fn div_exact(&self, divisor: &Dim) -> Option<Dim> {
        match divide(self, divisor)? {
            (q, r) if r.is_const(0) => Some(q),
            _ => None,
        }
    }
}

/// Quotient and remainder of polynomials: `n = q*c + r`, where no monomial of `r` that the leading
/// monomial of `c` divides has a coefficient outside `0..|leading coefficient|`. The remainder is
/// unique, so `divide(n + m*c, c)` has the same one. `None`: poisoned, `c` zero, or too large.
pub(super) fn divide(n: &Dim, c: &Dim) -> Option<(Dim, Dim)> {
    let (n_terms, _) = n.parts()?;
    let (c_terms, c_const) = c.parts()?;
    let Some(lead) = c_terms.first() else {
        return divide_by_const(n, c_const);
    };
    if !n_terms.iter().any(|t| mono_div(&t.factors, &lead.factors).is_some()) {
        return Some((Dim::ZERO, n.clone()));
    }
    let tail = c - Dim::monomial(lead.factors.clone(), lead.coeff);
    let (mut work, mut q, mut r) = (n.clone(), Dim::ZERO, Dim::ZERO);
    for _ in 0..MAX_STEPS {
        let Some(t) = work.terms().first().cloned() else {
            let out = (q, r + work);
            return (!out.0.is_poisoned() && !out.1.is_poisoned()).then_some(out);
        };
        let term = Dim::monomial(t.factors.clone(), t.coeff);
        work = work - &term;
        let Some(m) = mono_div(&t.factors, &lead.factors) else {
            r = r + term;
            continue;
        };
        let k = t.coeff.checked_div_euclid(lead.coeff)?;
        let step = Dim::monomial(m, 1) * k;
        work = work - &step * &tail;
        q = q + step;
        r = r + Dim::monomial(t.factors, t.coeff.checked_rem_euclid(lead.coeff)?);
    }
    None
}

fn divide_by_const(n: &Dim, c: i64) -> Option<(Dim, Dim)> {
    let (terms, constant) = n.parts()?;
    let mut q = Vec::with_capacity(terms.len());
    let mut r = Vec::with_capacity(terms.len());
    for Term { factors, coeff } in terms {
        let factors = factors.clone();
        q.push(Term { factors: factors.clone(), coeff: coeff.checked_div_euclid(c)? });
        r.push(Term { factors, coeff: coeff.checked_rem_euclid(c)? });
    }
    let (qc, rc) = (constant.checked_div_euclid(c)?, constant.checked_rem_euclid(c)?);
    Some((super::algebra::build(q, qc), super::algebra::build(r, rc)))
}

/// `floor(n / c) = q + floor(n2 / c2)`, the second part absent when it is zero.
pub(super) fn floor_div_parts(n: &Dim, c: &Dim) -> (Dim, Option<(Dim, Dim)>) {
    if n.is_poisoned() || c.is_poisoned() {
        return (Dim::POISONED, None);
    }
    let (mut n, mut c, mut q) = (n.clone(), c.clone(), Dim::ZERO);
    if c.as_const().is_some_and(|v| v <= 0) {
        return (q, Some((n, c)));
    }
    loop {
        if let Some((whole, rest)) = divide(&n, &c) {
            q = q + whole;
            n = rest;
        } else if c.as_const().is_some() {
            return (Dim::POISONED, None);
        }
        if n.is_const(0) {
            return (q, None);
        }
        // floor(-1 / c) = -1 for every c >= 1.
        if n.is_const(-1) {
            return (q - 1, None);
        }
        let next = reduce_content(&n, &c).or_else(|| cancel_symbols(&n, &c)).or_else(|| merge_nested(&n, &c));
        match next {
            Some((n2, c2)) if !n2.is_poisoned() && !c2.is_poisoned() => (n, c) = (n2, c2),
            _ => return (q, Some((n, c))),
        }
    }
}

/// `floor((g*a + k) / (g*c)) = floor((a + floor(k/g)) / c)` for a positive constant `g`.
fn reduce_content(n: &Dim, c: &Dim) -> Option<(Dim, Dim)> {
    let ((n_terms, n_const), (c_terms, c_const)) = (n.parts()?, c.parts()?);
    let mut g = gcd(c_const, 0);
    for t in c_terms.iter().chain(n_terms) {
        g = gcd(t.coeff, i64::try_from(g).ok()?);
        if g == 1 {
            return None;
        }
    }
    let g = i64::try_from(g).ok().filter(|&g| g > 1)?;
    let shrink = |terms: &[Term], k: i64| {
        let t = terms.iter().map(|t| Term { factors: t.factors.clone(), coeff: t.coeff / g });
        super::algebra::build(t.collect(), k.div_euclid(g))
    };
    Some((shrink(n_terms, n_const), shrink(c_terms, c_const)))
}

/// Cancels a symbol that every term of both sides has as factor.
fn cancel_symbols(n: &Dim, c: &Dim) -> Option<(Dim, Dim)> {
    let ((n_terms, n_const), (c_terms, c_const)) = (n.parts()?, c.parts()?);
    if n_const != 0 || c_const != 0 {
        return None;
    }
    let common = c_terms.first()?.factors.iter().find(|a| {
        matches!(a, Atom::Symbol(_))
            && n_terms.iter().chain(c_terms).all(|t| t.factors.binary_search(a).is_ok())
    })?;
    let common = Dim::raw_atom(common.clone());
    Some((n.div_exact(&common)?, c.div_exact(&common)?))
}

/// `floor((floor(x/a) + k) / c) = floor((x + a*k) / (a*c))`, when the numerator has one division.
fn merge_nested(n: &Dim, c: &Dim) -> Option<(Dim, Dim)> {
    let is_div = |t: &&Term| t.factors.iter().any(|f| matches!(f, Atom::FloorDiv(..)));
    let mut divs = n.terms().iter().filter(is_div);
    let term = divs.next()?;
    let [Atom::FloorDiv(x, a)] = &term.factors[..] else {
        return None;
    };
    if divs.next().is_some() || term.coeff != 1 || a.as_const().is_some_and(|v| v <= 0) {
        return None;
    }
    let rest = n - Dim::monomial(term.factors.clone(), 1);
    Some((x + a * rest, a * c))
}
