//! Results of simplifications and proofs, remembered.
//!
//! What [`super::simplify`] and the proofs say depends on the dims, on the ranges of symbols, and on the
//! extents of the axes that the dims mention. A [`Memo`] belongs to ranges of symbols that do not
//! change; the rest is the key. So it changes no result, and serves every kernel of a graph.

use super::{Dim, Ranges};
use rustc_hash::FxHashMap;
use smallvec::SmallVec;
use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

/// Entries of one kind after which all are forgotten: bounds memory.
const MAX_ENTRIES: usize = 1 << 14;

/// The extents of the axes that a dim mentions, ascending; a poisoned one stands for none declared.
type Extents = SmallVec<[Dim; 4]>;

#[derive(Default)]
struct Tables {
    simplified: FxHashMap<(Dim, Extents), Dim>,
    proven: FxHashMap<(Dim, Dim, bool, Extents), bool>,
    /// Quotients without axes, under facts.
    quotients: FxHashMap<(Dim, Dim, Extents), Dim>,
}

/// A table shared by all clones of some ranges. No part of equality.
#[derive(Clone, Default)]
pub(super) struct Memo(Arc<Mutex<Tables>>);

impl PartialEq for Memo {
    fn eq(&self, _: &Memo) -> bool {
        true
    }
}
impl Eq for Memo {}

impl fmt::Debug for Memo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Memo")
    }
}

impl Memo {
    /// The simplified dim, computed if it is not known.
    pub(super) fn simplified(&self, d: &Dim, r: &Ranges, compute: impl FnOnce() -> Dim) -> Dim {
        let key = (d.clone(), extents([d], r));
        self.get(|t| &mut t.simplified, key, compute)
    }

    /// Whether `a <= b` (or `a < b`, if strict), computed if it is not known.
    pub(super) fn proven(
        &self,
        a: &Dim,
        b: &Dim,
        strict: bool,
        r: &Ranges,
        compute: impl FnOnce() -> bool,
    ) -> bool {
        let key = (a.clone(), b.clone(), strict, extents([a, b], r));
        self.get(|t| &mut t.proven, key, compute)
    }

    /// The simplified `floor(n / c)`, both free of axes, where these facts hold.
    pub(super) fn quotient(&self, n: &Dim, c: &Dim, facts: &[Dim], compute: impl FnOnce() -> Dim) -> Dim {
        let key = (n.clone(), c.clone(), facts.iter().cloned().collect());
        self.get(|t| &mut t.quotients, key, compute)
    }

    /// The lock is not held while the result is computed, which asks for others.
    fn get<K: Hash + Eq, V: Clone>(
        &self,
        table: impl Fn(&mut Tables) -> &mut FxHashMap<K, V>,
        key: K,
        compute: impl FnOnce() -> V,
    ) -> V {
        let lock = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = table(&mut lock()).get(&key) {
            return known.clone();
        }
        let value = compute();
        let mut tables = lock();
        let entries = table(&mut tables);
        if entries.len() >= MAX_ENTRIES {
            entries.clear();
        }
        entries.insert(key, value.clone());
        value
    }
}

fn extents<'d>(dims: impl IntoIterator<Item = &'d Dim>, r: &Ranges) -> Extents {
    let mut axes = SmallVec::new();
    dims.into_iter().for_each(|d| d.add_axes(&mut axes));
    axes.sort_unstable();
    axes.dedup();
    axes.iter().map(|&k| r.axis(k).cloned().unwrap_or(Dim::POISONED)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::{prove_lt, simplify};
    use super::*;

    #[test]
    fn what_is_remembered_belongs_to_its_ranges() {
        let dim = |s: &str| s.parse::<Dim>().unwrap();
        let mut r = Ranges::new();
        r.set_symbol("n", 0, Some(7));
        r.set_axis(0, dim("8"));
        let d = dim("floordiv(i0+n,16)");
        assert_eq!(simplify(&d, &r), dim("0"));
        assert!(prove_lt(&dim("i0"), &dim("9"), &r));
        // A clone knows it, and asks again where an axis or a symbol is another one.
        let mut other = r.clone();
        other.set_axis(0, dim("80"));
        assert_eq!(simplify(&d, &other), d);
        assert!(!prove_lt(&dim("i0"), &dim("9"), &other));
        let mut other = r.clone();
        other.set_symbol("n", 0, Some(16));
        assert_eq!(simplify(&d, &other), d);
        assert_eq!(simplify(&d, &r), dim("0"));
        assert_eq!(r, {
            let mut same = Ranges::new();
            same.set_symbol("n", 0, Some(7));
            same.set_axis(0, dim("8"));
            same
        });
    }

    #[test]
    fn memory_is_bounded() {
        let mut r = Ranges::new();
        r.set_axis(0, Dim::constant(8));
        for k in 0..MAX_ENTRIES as i64 + 10 {
            let d = (Dim::axis(0) + k).floor_div(&Dim::constant(16));
            assert_eq!(simplify(&d, &r).as_const().is_some(), k % 16 <= 8, "{k}");
        }
        assert!(r.memo.0.lock().unwrap().simplified.len() <= MAX_ENTRIES);
    }
}
