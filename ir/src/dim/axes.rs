//! Decomposition of index maps over axis variables, and the view for code generators.

use super::{Atom, Dim, Repr};
use std::sync::Arc;

/// A polynomial for code generators. See [`Dim::kind`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DimKind {
    /// A constant.
    Const(i64),
    /// The sum of `coefficient * product of atoms`; an empty product is 1 (the constant, last).
    Sum(Vec<(i64, Vec<Atom>)>),
    /// The expression overflowed while it was built and has no value.
    Poisoned,
}

/// `offset + sum(stride * axis) + sum(stride * atom)`; offset and strides are free of axes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AxisSplit {
    /// The part without axes.
    pub offset: Dim,
    /// Axis variables with their strides, ascending, each once, no stride zero.
    pub linear: Vec<(u32, Dim)>,
    /// Strides of the atoms that contain axes: divisions, minima, maxima and products of several
    /// axis-dependent factors.
    pub atoms: Vec<(Dim, Atom)>,
}

impl Dim {
    /// Decomposes `self = offset + sum(stride_k * axis_k)` with offset and strides free of axes,
    /// axes ascending. `None` if an axis occurs inside an atom or in a product with another axis.
    pub fn linear_in_axes(&self) -> Option<(Dim, Vec<(u32, Dim)>)> {
        let split = self.split_axes();
        split.atoms.is_empty().then_some((split.offset, split.linear))
    }

    /// Like [`Dim::linear_in_axes`], with non-linear atoms listed apart.
    pub fn split_axes(&self) -> AxisSplit {
        let Some((terms, constant)) = self.parts() else {
            return AxisSplit { offset: Dim::POISONED, linear: Vec::new(), atoms: Vec::new() };
        };
        let mut offset = Dim::constant(constant);
        let mut atoms: Vec<(Dim, Atom)> = Vec::new();
        for t in terms {
            let (bound, free): (Vec<Atom>, Vec<Atom>) = t.factors.iter().cloned().partition(Atom::has_axes);
            let stride = Dim::monomial(free.into(), t.coeff);
            let atom = match <[Atom; 1]>::try_from(bound) {
                Ok([one]) => one,
                Err(none) if none.is_empty() => {
                    offset = offset + stride;
                    continue;
                }
                Err(many) => Atom::Product(many.into_iter().map(Dim::raw_atom).collect()),
            };
            match atoms.iter_mut().find(|(_, a)| *a == atom) {
                Some((s, _)) => *s = &*s + stride,
                None => atoms.push((stride, atom)),
            }
        }
        let mut linear = Vec::new();
        atoms.retain(|(stride, atom)| match atom {
            Atom::Axis(k) => {
                linear.push((*k, stride.clone()));
                false
            }
            _ => true,
        });
        linear.sort();
        AxisSplit { offset, linear, atoms }
    }

    /// The normal form as data.
    pub fn kind(&self) -> DimKind {
        match &self.0 {
            Repr::Const(c) => DimKind::Const(*c),
            Repr::Poisoned => DimKind::Poisoned,
            Repr::Sum(s) => {
                let mut out: Vec<_> = s.terms.iter().map(|t| (t.coeff, t.factors.to_vec())).collect();
                if s.constant != 0 {
                    out.push((s.constant, Vec::new()));
                }
                DimKind::Sum(out)
            }
        }
    }

    /// `self = rest + sum(coefficient * atom)` over the atoms for which `select` holds; `None` if
    /// a monomial has two such factors.
    pub(super) fn collect_by(&self, select: &dyn Fn(&Atom) -> bool) -> Option<(Dim, Vec<(Atom, Dim)>)> {
        let (terms, constant) = self.parts()?;
        let mut rest = Dim::constant(constant);
        let mut out: Vec<(Atom, Dim)> = Vec::new();
        for t in terms {
            let mut hits = t.factors.iter().enumerate().filter(|(_, a)| select(a));
            let Some((at, atom)) = hits.next() else {
                rest = rest + Dim::monomial(t.factors.clone(), t.coeff);
                continue;
            };
            if hits.next().is_some() {
                return None;
            }
            let others: Arc<[Atom]> =
                t.factors.iter().enumerate().filter(|(i, _)| *i != at).map(|(_, a)| a.clone()).collect();
            let coeff = Dim::monomial(others, t.coeff);
            match out.iter_mut().find(|(a, _)| a == atom) {
                Some((_, c)) => *c = &*c + coeff,
                None => out.push((atom.clone(), coeff)),
            }
        }
        Some((rest, out))
    }
}
