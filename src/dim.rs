//! Extents of tensors: constants, named symbols with a range, and arithmetic over both.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::{Add, Bound, Div, Mul, RangeBounds, Rem, Sub};
use std::sync::Arc;

use fornax_ir::Dim as Expr;
use fornax_ir::Ranges;

/// An inclusive range of a symbol; `None` is unbounded above.
pub(crate) type SymbolRange = (i64, Option<i64>);

/// An extent of a tensor, in specs and in shape arguments.
///
/// A dim is a number of elements that is known now (`Dim::from(3)`), or an expression over named symbols that get their
/// values when the program runs. Equal expressions are equal dims: `2 * n + n == 3 * n`.
///
/// ```
/// use fornax::Dim;
///
/// let batch = Dim::symbol("batch", 1..=512);
/// let rows = &batch * 4 + 1;
/// assert_eq!(rows.to_string(), "4*batch+1");
/// assert_eq!(rows.bounds(), (Some(5), Some(2049)));
/// assert_eq!(Dim::from(12) / 5, 2);
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Dim {
    expr: Expr,
    /// Declared ranges of the symbols in `expr`, by name.
    symbols: Symbols,
}

/// Ranges by name, sorted; `None` for a dim without symbols.
type Symbols = Option<Arc<BTreeMap<Arc<str>, SymbolRange>>>;

impl Dim {
    /// A symbol that may have any value in a range: `Dim::symbol("batch", 1..=512)`, `Dim::symbol("length", 1..)`. The
    /// same name is the same extent wherever it stands.
    ///
    /// # Panics
    /// When the name or the range is empty, or the range ends beyond `i64::MAX`.
    #[track_caller]
    pub fn symbol(name: &str, range: impl RangeBounds<usize>) -> Self {
        let number = |n: usize| i64::try_from(n).unwrap_or_else(|_| panic!("`{name}`: {n} exceeds 64 bits"));
        let lo = match range.start_bound() {
            Bound::Included(&n) => number(n),
            Bound::Excluded(&n) => number(n) + 1,
            Bound::Unbounded => 0,
        };
        let hi = match range.end_bound() {
            Bound::Included(&n) => Some(number(n)),
            Bound::Excluded(&n) => Some(number(n) - 1),
            Bound::Unbounded => None,
        };
        assert!(!name.is_empty(), "a symbolic dim needs a name");
        assert!(
            hi.is_none_or(|hi| lo <= hi),
            "the range of the dim `{name}` is empty; write for example 1..=512, or 1.. for any size"
        );
        let symbols = BTreeMap::from([(Arc::from(name), (lo, hi))]);
        Dim { expr: Expr::symbol(name), symbols: Some(Arc::new(symbols)) }
    }

    /// From an expression, with the ranges that are declared for its symbols.
    pub(crate) fn from_expr(expr: &Expr, ranges: &Ranges) -> Self {
        if expr.as_const().is_some() {
            return Dim { expr: expr.clone(), symbols: None };
        }
        let symbols: BTreeMap<_, _> =
            expr.symbols().into_iter().map(|s| (s.clone(), ranges.symbol(&s))).collect();
        Dim { expr: expr.clone(), symbols: (!symbols.is_empty()).then(|| Arc::new(symbols)) }
    }

    /// The expression.
    pub(crate) fn expr(&self) -> &Expr {
        &self.expr
    }

    /// The declared ranges of its symbols, by name.
    pub(crate) fn symbols(&self) -> impl Iterator<Item = (&str, SymbolRange)> {
        self.symbols.iter().flat_map(|s| s.iter().map(|(name, range)| (&**name, *range)))
    }

    /// The value, if it is a non-negative constant.
    pub fn value(&self) -> Option<usize> {
        usize::try_from(self.expr.as_const()?).ok()
    }

    /// The value where the symbols have these values; `None` where a symbol has none, and where the value is negative or
    /// has none (a division by 0, or beyond 64 bits).
    ///
    /// ```
    /// use fornax::Dim;
    ///
    /// let bytes = Dim::symbol("batch", 1..) * 4 + 16;
    /// assert_eq!(bytes.at(&[("batch", 8)]), Some(48));
    /// assert_eq!(bytes.at(&[("length", 8)]), None);
    /// ```
    pub fn at(&self, values: &[(&str, usize)]) -> Option<usize> {
        let value = |symbol: &str| {
            let (_, value) = values.iter().find(|(name, _)| *name == symbol)?;
            i64::try_from(*value).ok()
        };
        usize::try_from(self.expr.eval_symbols(&value).ok()?).ok()
    }

    /// Whether its value depends on symbols.
    pub(crate) fn is_symbolic(&self) -> bool {
        self.symbols.is_some()
    }

    /// The smallest and largest value that the symbols' ranges allow, by interval arithmetic; `None` is unbounded.
    pub fn bounds(&self) -> (Option<i64>, Option<i64>) {
        let mut ranges = Ranges::new();
        self.symbols().for_each(|(name, (lo, hi))| ranges.set_symbol(name, lo, hi));
        self.expr.bounds(&ranges)
    }

    /// `self / divisor`, rounded up.
    ///
    /// # Panics
    /// When the divisor is a constant below 1, or a symbol has two different ranges.
    #[must_use]
    #[track_caller]
    pub fn div_ceil(&self, divisor: impl Into<Dim>) -> Dim {
        let divisor = divisor.into();
        (self + &divisor - 1) / divisor
    }

    /// The smaller of the two.
    ///
    /// # Panics
    /// When a symbol has two different ranges.
    #[must_use]
    #[track_caller]
    pub fn min(&self, other: impl Into<Dim>) -> Dim {
        join(self, &other.into(), Expr::min)
    }

    /// The larger of the two.
    ///
    /// # Panics
    /// When a symbol has two different ranges.
    #[must_use]
    #[track_caller]
    pub fn max(&self, other: impl Into<Dim>) -> Dim {
        join(self, &other.into(), Expr::max)
    }
}

/// Why a name cannot stand for two ranges.
pub(crate) fn conflict(name: &str, a: SymbolRange, b: SymbolRange) -> String {
    let (a, b) = (range_text(a), range_text(b));
    format!("the dim `{name}` is declared as {a} and as {b}; give it one range, or two names")
}

/// `1..=512`, or `1..` where there is no end.
pub(crate) fn range_text((lo, hi): SymbolRange) -> String {
    hi.map_or_else(|| format!("{lo}.."), |hi| format!("{lo}..={hi}"))
}

#[track_caller]
fn join(a: &Dim, b: &Dim, f: impl Fn(&Expr, &Expr) -> Expr) -> Dim {
    let expr = f(&a.expr, &b.expr);
    assert!(!expr.is_poisoned(), "the extents {a} and {b} combine to one beyond 64 bits");
    let all = match (&a.symbols, &b.symbols) {
        (None, None) => return Dim { expr, symbols: None },
        (Some(only), None) | (None, Some(only)) => only.clone(),
        (Some(a), Some(b)) if Arc::ptr_eq(a, b) => a.clone(),
        (Some(a), Some(b)) => {
            let mut all = (**a).clone();
            for (name, range) in b.iter() {
                let known = *all.entry(name.clone()).or_insert(*range);
                assert!(known == *range, "{}", conflict(name, known, *range));
            }
            Arc::new(all)
        }
    };
    // Symbols that cancel are gone, so that equal extents are equal dims.
    let used = expr.symbols();
    if used.is_empty() {
        return Dim { expr, symbols: None };
    }
    let symbols = if used.len() == all.len() {
        all
    } else {
        Arc::new(all.iter().filter(|(name, _)| used.contains(*name)).map(|(n, r)| (n.clone(), *r)).collect())
    };
    Dim { expr, symbols: Some(symbols) }
}

#[track_caller]
fn divide(a: &Dim, b: &Dim, f: fn(&Expr, &Expr) -> Expr) -> Dim {
    assert!(b.expr.as_const().is_none_or(|c| c > 0), "the extent {a} is divided by {b}; divide by 1 or more");
    join(a, b, f)
}

macro_rules! operator {
    ($Trait:ident, $method:ident, |$a:ident, $b:ident| $body:expr) => {
        impl<R: Into<Dim>> $Trait<R> for &Dim {
            type Output = Dim;
            #[track_caller]
            fn $method(self, rhs: R) -> Dim {
                let ($a, $b) = (self, &rhs.into());
                $body
            }
        }
        impl<R: Into<Dim>> $Trait<R> for Dim {
            type Output = Dim;
            #[track_caller]
            fn $method(self, rhs: R) -> Dim {
                let ($a, $b) = (&self, &rhs.into());
                $body
            }
        }
        operator!(scalar $Trait, $method, |$a, $b| $body, usize i32 i64);
    };
    (scalar $Trait:ident, $method:ident, |$a:ident, $b:ident| $body:expr, $($Number:ty)*) => { $(
        impl $Trait<Dim> for $Number {
            type Output = Dim;
            #[track_caller]
            fn $method(self, rhs: Dim) -> Dim {
                let ($a, $b) = (&Dim::from(self), &rhs);
                $body
            }
        }
        impl $Trait<&Dim> for $Number {
            type Output = Dim;
            #[track_caller]
            fn $method(self, rhs: &Dim) -> Dim {
                let ($a, $b) = (&Dim::from(self), rhs);
                $body
            }
        }
    )* };
}

operator!(Add, add, |a, b| join(a, b, |a, b| a + b));
operator!(Sub, sub, |a, b| join(a, b, |a, b| a - b));
operator!(Mul, mul, |a, b| join(a, b, |a, b| a * b));
// Extents are divided as integers are, rounding down.
operator!(Div, div, |a, b| divide(a, b, Expr::floor_div));
operator!(Rem, rem, |a, b| divide(a, b, Expr::rem));

macro_rules! from_number {
    ($($Number:ty)*) => { $(
        impl From<$Number> for Dim {
            /// A constant extent. Panics when it exceeds `i64::MAX`.
            #[track_caller]
            fn from(n: $Number) -> Self {
                match i64::try_from(n) {
                    Ok(n) => Dim { expr: Expr::constant(n), symbols: None },
                    Err(_) => panic!("the extent {n} exceeds 64 bits"),
                }
            }
        }
        impl PartialEq<$Number> for Dim {
            fn eq(&self, n: &$Number) -> bool {
                self.expr.as_const().is_some_and(|c| i64::try_from(*n) == Ok(c))
            }
        }
    )* };
}
from_number!(usize isize u64 i64);

macro_rules! from_small {
    ($($Number:ty)*) => { $(
        impl From<$Number> for Dim {
            fn from(n: $Number) -> Self {
                Dim { expr: Expr::constant(n.into()), symbols: None }
            }
        }
        impl PartialEq<$Number> for Dim {
            fn eq(&self, n: &$Number) -> bool {
                self.expr.is_const((*n).into())
            }
        }
    )* };
}
from_small!(u8 i8 u16 i16 u32 i32);

impl From<&Dim> for Dim {
    fn from(dim: &Dim) -> Self {
        dim.clone()
    }
}

impl fmt::Display for Dim {
    /// `4*batch+1`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.expr.fmt(f)
    }
}

impl fmt::Debug for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_keeps_the_ranges_of_what_remains() {
        let (n, m) = (Dim::symbol("n", 1..=8), Dim::symbol("m", 2..));
        let sum = &n * 2 + &m - 1usize;
        assert_eq!(sum.to_string(), "m+2*n-1");
        assert_eq!(sum.bounds(), (Some(3), None));
        assert_eq!(sum - &m, &n * 2i64 - 1);
        assert_eq!((3 * &n) % 2, n.clone() * 3 % Dim::from(2u8));
        assert_eq!((&n + &m - &n).symbols().count(), 1);
        assert_eq!(&n - &n, 0);
        assert_eq!((12usize - Dim::from(5)).value(), Some(7));
        assert_eq!((Dim::from(2) - 5).value(), None);
        assert_eq!(Dim::from(7).div_ceil(2), 4);
        assert_eq!(n.min(8).bounds(), (Some(1), Some(8)));
        assert_eq!(n.max(&m).bounds(), (Some(2), None));
        assert_eq!(Dim::symbol("k", ..4).bounds(), (Some(0), Some(3)));
    }

    #[test]
    fn what_makes_no_extent_is_refused_at_the_callers_line() {
        fn message(f: impl FnOnce() -> Dim + std::panic::UnwindSafe) -> String {
            let payload = std::panic::catch_unwind(f).map(|d| d.to_string()).unwrap_err();
            payload.downcast_ref::<String>().cloned().unwrap_or_default()
        }
        let n = || Dim::symbol("n", 1..=8);
        let conflict = message(|| n() + Dim::symbol("n", 1..));
        assert_eq!(conflict, "the dim `n` is declared as 1..=8 and as 1..; give it one range, or two names");
        assert!(message(|| n() / 0).contains("n is divided by 0"));
        #[allow(clippy::reversed_empty_ranges)]
        let empty = message(|| Dim::symbol("n", 5..=4));
        assert!(empty.contains("the range of the dim `n` is empty"), "{empty}");
        assert!(message(|| Dim::from(usize::MAX)).contains("64 bits"));
        assert!(message(|| Dim::from(i64::MAX) * n() * 2).contains("64 bits"));
    }
}
