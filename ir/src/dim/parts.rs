//! Dims in parts and back, for forms outside this module that store them.

use super::{Atom, Dim};

impl Dim {
    /// The constant, and the coefficient and factors of every other monomial, in their order; `None` if poisoned.
    pub fn monomials(&self) -> Option<(i64, impl ExactSizeIterator<Item = (i64, &[Atom])>)> {
        let (terms, constant) = self.parts()?;
        Some((constant, terms.iter().map(|t| (t.coeff, &*t.factors))))
    }

    /// The sum of many dims, in time that is nearly linear in their size.
    pub fn sum(dims: Vec<Dim>) -> Dim {
        join(dims, Dim::ZERO, |a, b| a + b)
    }

    /// The product of many dims, in time that is nearly linear in their size where it is a monomial.
    pub fn product(dims: Vec<Dim>) -> Dim {
        join(dims, Dim::ONE, |a, b| a * b)
    }
}

/// Joins neighbours until one is left.
fn join(mut dims: Vec<Dim>, empty: Dim, f: impl Fn(&Dim, &Dim) -> Dim) -> Dim {
    while dims.len() > 1 {
        let pair = |p: &[Dim]| if let [a, b] = p { f(a, b) } else { p[0].clone() };
        dims = dims.chunks(2).map(pair).collect();
    }
    dims.pop().unwrap_or(empty)
}
