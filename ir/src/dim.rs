//! Symbolic integer dimensions: extents, strides and index maps of tensors.
//!
//! A [`Dim`] is an integer expression over named symbols and loop axes, always held in normal
//! form: a polynomial with `i64` coefficients whose variables are [`Atom`]s (symbols, axes, floor
//! divisions, minima, maxima). Two dims are equal exactly when their normal forms are. The normal
//! form decides `+`, `-` and `*` completely; for floor division it guarantees that
//! `floor_div(q*c + r, c)` and `q + floor_div(r, c)` are the same dim (polynomial division by a
//! single divisor in a graded order has one remainder).
//!
//! Divisors are assumed positive. An expression evaluated where a divisor is not positive is an
//! error; a simplification may remove the division and with it the error.
//!
//! Coefficients never wrap: an overflow (or an expression beyond [`MAX_WEIGHT`] nodes or
//! [`MAX_DEPTH`] levels) yields a *poisoned* dim, which absorbs everything and evaluates to
//! [`DimError::Overflow`].

mod algebra;
mod axes;
mod divide;
mod memo;
mod ops;
mod parts;
mod prove;
mod ranges;
mod simplify;
#[cfg(test)]
mod tests;
mod text;

pub use axes::{AxisSplit, DimKind};
pub use prove::{prove_le, prove_lt, prove_nonneg};
pub use ranges::Ranges;
pub use simplify::simplify;

use smallvec::SmallVec;
use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// Largest number of nodes of one expression, counted as a tree.
pub const MAX_WEIGHT: u32 = 1 << 16;
/// Deepest nesting of divisions, minima and maxima: recursion over a dim is bounded by it.
pub const MAX_DEPTH: u16 = 96;
/// A product that would expand to more monomials than this stays an opaque [`Atom::Product`].
pub const MAX_MONOMIALS: usize = 256;

/// Why a dim has no value, or a text is no dim.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DimError {
    /// A value or coefficient leaves the range of `i64`, or the expression grew past its limits.
    #[error("dimension arithmetic overflows 64 bits or exceeds the expression size limit")]
    Overflow,
    /// A divisor is zero or negative at the given values.
    #[error("division by zero or by a negative number in a dimension")]
    DivisionByZero,
    /// A symbol or axis (`i0`, `i1`, ...) without a value.
    #[error("no value for `{0}`: bind it to evaluate the dimension")]
    Unbound(String),
    /// The text is no dimension expression.
    #[error("bad dimension expression at byte {at}: {what}")]
    Parse {
        /// Byte offset into the text.
        at: usize,
        /// What was found or expected.
        what: String,
    },
}

/// A symbolic integer expression in normal form. Cheap to clone; constants do not allocate.
///
/// `Ord` is a structural total order for deterministic containers, not the order of values. Because
/// `Ord` also has methods `min` and `max`, call the symbolic ones on owned dims as
/// `Dim::min(&a, &b)`, or use [`Dim::at_most`] and [`Dim::at_least`].
#[derive(Clone)]
pub struct Dim(Repr);

#[derive(Clone)]
enum Repr {
    Const(i64),
    Poisoned,
    Sum(Arc<Sum>),
}

/// `constant + sum of terms`. Invariants: `terms` is not empty, sorted by [`algebra::mono_cmp`]
/// without repeated monomials; no coefficient is zero; no factor list is empty.
struct Sum {
    terms: Vec<Term>,
    constant: i64,
    hash: u64,
    weight: u32,
    depth: u16,
    has_axes: bool,
}

/// `coeff * product of factors`; factors sorted ascending, repeated for powers.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Term {
    factors: Arc<[Atom]>,
    coeff: i64,
}

/// A variable of the polynomial.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Atom {
    /// A named extent, constant during one run.
    Symbol(Arc<str>),
    /// A loop index, printed `i0`, `i1`, ...
    Axis(u32),
    /// `floor(numerator / divisor)`, divisor positive.
    FloorDiv(Dim, Dim),
    /// The least of two or more dims, sorted.
    Min(Arc<[Dim]>),
    /// The greatest of two or more dims, sorted.
    Max(Arc<[Dim]>),
    /// A product that is not expanded: of sums too large to distribute, or (from
    /// [`Dim::split_axes`]) of several factors that depend on axes.
    Product(Arc<[Dim]>),
}

impl Dim {
    /// The constant zero.
    pub const ZERO: Dim = Dim(Repr::Const(0));
    /// The constant one.
    pub const ONE: Dim = Dim(Repr::Const(1));
    pub(crate) const POISONED: Dim = Dim(Repr::Poisoned);

    /// A constant.
    pub fn constant(v: i64) -> Dim {
        Dim(Repr::Const(v))
    }

    /// A named symbol. Any text is a name; it is quoted when printed if it is no identifier.
    pub fn symbol(name: &str) -> Dim {
        Dim::raw_atom(Atom::Symbol(name.into()))
    }

    /// The loop index variable `i`.
    pub fn axis(i: u32) -> Dim {
        Dim::raw_atom(Atom::Axis(i))
    }

    /// The value, if it does not depend on any symbol or axis.
    pub fn as_const(&self) -> Option<i64> {
        match self.0 {
            Repr::Const(v) => Some(v),
            _ => None,
        }
    }

    /// Whether this is the constant `v`.
    pub fn is_const(&self, v: i64) -> bool {
        self.as_const() == Some(v)
    }

    /// The name, if this is exactly one symbol.
    pub fn as_symbol(&self) -> Option<&str> {
        match self.as_atom() {
            Some(Atom::Symbol(name)) => Some(name),
            _ => None,
        }
    }

    /// The atom, if this is exactly one atom with coefficient one.
    pub fn as_atom(&self) -> Option<&Atom> {
        match &self.0 {
            Repr::Sum(s) if s.constant == 0 => match s.terms.as_slice() {
                [t] if t.coeff == 1 && t.factors.len() == 1 => Some(&t.factors[0]),
                _ => None,
            },
            _ => None,
        }
    }

    /// Whether building this dim overflowed; it then evaluates to [`DimError::Overflow`].
    pub fn is_poisoned(&self) -> bool {
        matches!(self.0, Repr::Poisoned)
    }

    /// Evaluates with values of symbols and axes, in exact arithmetic.
    ///
    /// # Errors
    /// `Unbound` names a symbol or axis without value, `DivisionByZero` a divisor below one,
    /// `Overflow` a result or operand of a division outside `i64` (or a poisoned dim).
    pub fn eval(
        &self,
        sym: &dyn Fn(&str) -> Option<i64>,
        axis: &dyn Fn(u32) -> Option<i64>,
    ) -> Result<i64, DimError> {
        let (terms, constant) = self.parts().ok_or(DimError::Overflow)?;
        let mut sum = i128::from(constant);
        for t in terms {
            let mut value = i128::from(t.coeff);
            for f in t.factors.iter() {
                let v = i128::from(f.eval(sym, axis)?);
                value = value.checked_mul(v).ok_or(DimError::Overflow)?;
            }
            sum = sum.checked_add(value).ok_or(DimError::Overflow)?;
        }
        i64::try_from(sum).map_err(|_| DimError::Overflow)
    }

    /// Evaluates an expression without axes; the errors of [`Dim::eval`].
    ///
    /// # Errors
    /// As [`Dim::eval`]; an axis is `Unbound`.
    pub fn eval_symbols(&self, sym: &dyn Fn(&str) -> Option<i64>) -> Result<i64, DimError> {
        self.eval(sym, &|_| None)
    }

    /// Replaces symbols and axes by dims, all at once; `None` keeps the variable.
    pub fn substitute(&self, sym: &dyn Fn(&str) -> Option<Dim>, axis: &dyn Fn(u32) -> Option<Dim>) -> Dim {
        self.map_atoms(&mut |a| match a {
            Atom::Symbol(name) => sym(name).unwrap_or_else(|| Dim::raw_atom(a.clone())),
            Atom::Axis(k) => axis(*k).unwrap_or_else(|| Dim::raw_atom(a.clone())),
            _ => a.map_dims(&mut |d| d.substitute(sym, axis)),
        })
    }

    /// All symbols that occur, at any depth.
    pub fn symbols(&self) -> BTreeSet<Arc<str>> {
        let mut out = BTreeSet::new();
        self.visit(&mut |a| {
            if let Atom::Symbol(name) = a {
                out.insert(name.clone());
            }
        });
        out
    }

    /// All axis variables that occur, at any depth.
    pub fn axes(&self) -> BTreeSet<u32> {
        let mut out = BTreeSet::new();
        if self.has_axes() {
            self.visit(&mut |a| {
                if let Atom::Axis(k) = a {
                    out.insert(*k);
                }
            });
        }
        out
    }

    /// As [`Dim::axes`], for use where there are few.
    fn axis_list(&self) -> SmallVec<[u32; 8]> {
        let mut out = SmallVec::new();
        self.add_axes(&mut out);
        out.sort_unstable();
        out.dedup();
        out
    }

    fn add_axes(&self, out: &mut SmallVec<[u32; 8]>) {
        if self.has_axes() {
            for a in self.terms().iter().flat_map(|t| t.factors.iter()) {
                match a {
                    Atom::Axis(k) => out.push(*k),
                    _ => a.dims().for_each(|d| d.add_axes(out)),
                }
            }
        }
    }

    /// Whether it is a polynomial over symbols and axes alone.
    fn is_plain(&self) -> bool {
        let plain = |a: &Atom| matches!(a, Atom::Symbol(_) | Atom::Axis(_));
        self.terms().iter().all(|t| t.factors.iter().all(plain))
    }

    /// Whether any axis variable occurs (constant time).
    pub fn has_axes(&self) -> bool {
        matches!(&self.0, Repr::Sum(s) if s.has_axes)
    }

    /// Non-constant terms and the constant; `None` if poisoned.
    fn parts(&self) -> Option<(&[Term], i64)> {
        match &self.0 {
            Repr::Const(c) => Some((&[], *c)),
            Repr::Poisoned => None,
            Repr::Sum(s) => Some((&s.terms, s.constant)),
        }
    }

    /// Non-constant terms; empty if constant or poisoned.
    fn terms(&self) -> &[Term] {
        self.parts().map_or(&[], |(t, _)| t)
    }

    fn weight(&self) -> u32 {
        match &self.0 {
            Repr::Sum(s) => s.weight,
            _ => 1,
        }
    }

    fn depth(&self) -> u16 {
        match &self.0 {
            Repr::Sum(s) => s.depth,
            _ => 0,
        }
    }

    /// Calls `f` on every atom at any depth.
    fn visit(&self, f: &mut dyn FnMut(&Atom)) {
        for a in self.terms().iter().flat_map(|t| t.factors.iter()) {
            f(a);
            for d in a.dims() {
                d.visit(f);
            }
        }
    }

    /// Rebuilds the polynomial with every top-level atom replaced by a dim.
    fn map_atoms(&self, f: &mut dyn FnMut(&Atom) -> Dim) -> Dim {
        let Some((terms, constant)) = self.parts() else {
            return Dim::POISONED;
        };
        let mut sum = Dim::constant(constant);
        for t in terms {
            let mut value = Dim::constant(t.coeff);
            for a in t.factors.iter() {
                value = value * f(a);
            }
            sum = sum + value;
        }
        sum
    }
}

impl Atom {
    /// The dims inside this atom.
    fn dims(&self) -> impl Iterator<Item = &Dim> {
        let (pair, list): ([Option<&Dim>; 2], &[Dim]) = match self {
            Atom::Symbol(_) | Atom::Axis(_) => ([None, None], &[]),
            Atom::FloorDiv(a, b) => ([Some(a), Some(b)], &[]),
            Atom::Min(l) | Atom::Max(l) | Atom::Product(l) => ([None, None], l),
        };
        pair.into_iter().flatten().chain(list)
    }

    /// Rebuilds the atom, in normal form, from its dims mapped by `f`.
    fn map_dims(&self, f: &mut dyn FnMut(&Dim) -> Dim) -> Dim {
        let mut fold = |list: &[Dim], join: fn(&Dim, &Dim) -> Dim| {
            let mut it = list.iter();
            let first = it.next().map_or(Dim::ONE, &mut *f);
            it.fold(first, |acc, d| join(&acc, &f(d)))
        };
        match self {
            Atom::Symbol(_) | Atom::Axis(_) => Dim::raw_atom(self.clone()),
            Atom::FloorDiv(a, b) => f(a).floor_div(&f(b)),
            Atom::Min(l) => fold(l, Dim::min),
            Atom::Max(l) => fold(l, Dim::max),
            Atom::Product(l) => fold(l, |a, b| a * b),
        }
    }

    fn has_axes(&self) -> bool {
        matches!(self, Atom::Axis(_)) || self.dims().any(Dim::has_axes)
    }

    fn eval(
        &self,
        sym: &dyn Fn(&str) -> Option<i64>,
        axis: &dyn Fn(u32) -> Option<i64>,
    ) -> Result<i64, DimError> {
        let fold = |list: &[Dim], pick: fn(i64, i64) -> Option<i64>| {
            let mut out: Option<i64> = None;
            for d in list {
                let v = d.eval(sym, axis)?;
                out = Some(out.map_or(Some(v), |o| pick(o, v)).ok_or(DimError::Overflow)?);
            }
            Ok(out.unwrap_or(1))
        };
        match self {
            Atom::Symbol(name) => sym(name).ok_or_else(|| DimError::Unbound(name.to_string())),
            Atom::Axis(k) => axis(*k).ok_or_else(|| DimError::Unbound(format!("i{k}"))),
            Atom::FloorDiv(a, b) => {
                let (a, b) = (a.eval(sym, axis)?, b.eval(sym, axis)?);
                if b <= 0 {
                    return Err(DimError::DivisionByZero);
                }
                Ok(a.div_euclid(b))
            }
            Atom::Min(l) => fold(l, |a, b| Some(a.min(b))),
            Atom::Max(l) => fold(l, |a, b| Some(a.max(b))),
            Atom::Product(l) => fold(l, i64::checked_mul),
        }
    }
}

/// The atom as a dim in normal form (so `FloorDiv(6, 3)` becomes `2`).
impl From<&Atom> for Dim {
    fn from(a: &Atom) -> Dim {
        a.map_dims(&mut Dim::clone)
    }
}

impl PartialEq for Dim {
    fn eq(&self, other: &Dim) -> bool {
        match (&self.0, &other.0) {
            (Repr::Const(a), Repr::Const(b)) => a == b,
            (Repr::Poisoned, Repr::Poisoned) => true,
            (Repr::Sum(a), Repr::Sum(b)) => {
                Arc::ptr_eq(a, b) || (a.hash == b.hash && a.constant == b.constant && a.terms == b.terms)
            }
            _ => false,
        }
    }
}

impl Eq for Dim {}

impl Hash for Dim {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match &self.0 {
            Repr::Const(c) => (0u8, *c).hash(state),
            Repr::Poisoned => 1u8.hash(state),
            Repr::Sum(s) => (2u8, s.hash).hash(state),
        }
    }
}

impl Ord for Dim {
    fn cmp(&self, other: &Dim) -> Ordering {
        let rank = |d: &Dim| match d.0 {
            Repr::Const(_) => 0u8,
            Repr::Poisoned => 1,
            Repr::Sum(_) => 2,
        };
        match (&self.0, &other.0) {
            (Repr::Const(a), Repr::Const(b)) => a.cmp(b),
            (Repr::Sum(a), Repr::Sum(b)) if Arc::ptr_eq(a, b) => Ordering::Equal,
            (Repr::Sum(a), Repr::Sum(b)) => a.terms.cmp(&b.terms).then(a.constant.cmp(&b.constant)),
            _ => rank(self).cmp(&rank(other)),
        }
    }
}

impl PartialOrd for Dim {
    fn partial_cmp(&self, other: &Dim) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
