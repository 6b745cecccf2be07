//! Maps of indices: row-major linearisation, and reshapes as affine maps where they are.

use fornax_ir::Dim;
use fornax_ir::dim::{Ranges, simplify};

/// The row-major element number of an index.
pub(crate) fn linear(index: &[Dim], shape: &[Dim]) -> Dim {
    let mut at = Dim::constant(0);
    for (i, d) in index.iter().zip(shape) {
        at = at * d + i;
    }
    at
}

/// The index in shape `to` of the element at `index` in shape `from`, both row-major over the same
/// elements. Axes are matched in the smallest groups of equal products, so that only truly split or
/// merged axes meet a division.
pub(crate) fn reshape(index: &[Dim], from: &[Dim], to: &[Dim], ranges: &Ranges) -> Vec<Dim> {
    let one = Dim::constant(1);
    let (mut i, mut j) = (0, 0);
    let mut result = Vec::with_capacity(to.len());
    while j < to.len() {
        if to[j] == one {
            result.push(Dim::constant(0));
            j += 1;
            continue;
        }
        while i < from.len() && from[i] == one {
            i += 1;
        }
        let Some((i2, j2)) = next_group(&from[i..], &to[j..]) else {
            // Extents that are equal only by a guard: the rest is one group.
            result.extend(split(&linear(&index[i..], &from[i..]), &to[j..], ranges));
            return result;
        };
        result.extend(split(&linear(&index[i..i + i2], &from[i..i + i2]), &to[j..j + j2], ranges));
        (i, j) = (i + i2, j + j2);
    }
    result
}

/// The shortest prefixes (not empty) of both shapes with provably equal products.
fn next_group(from: &[Dim], to: &[Dim]) -> Option<(usize, usize)> {
    let mut b = Dim::constant(1);
    for (j, d) in to.iter().enumerate() {
        b = b * d;
        let mut a = Dim::constant(1);
        for (i, d) in from.iter().enumerate() {
            a = a * d;
            if a == b {
                return Some((i + 1, j + 1));
            }
        }
    }
    None
}

/// The index of element number `at` in a row-major shape.
fn split(at: &Dim, shape: &[Dim], ranges: &Ranges) -> Vec<Dim> {
    let mut rest = at.clone();
    let mut index = vec![Dim::constant(0); shape.len()];
    let first = shape.iter().position(|d| !d.is_const(1)).unwrap_or(0);
    for k in (0..shape.len()).rev() {
        if shape[k].is_const(1) {
            continue;
        }
        if k == first {
            index[k] = simplify(&rest, ranges);
        } else {
            let quotient = simplify(&rest.floor_div(&shape[k]), ranges);
            index[k] = simplify(&(rest - quotient.clone() * &shape[k]), ranges);
            rest = quotient;
        }
    }
    index
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(from: &[&str], to: &[&str], want: &[&str]) {
        let parse = |s: &[&str]| -> Vec<Dim> { s.iter().map(|s| s.parse().unwrap()).collect() };
        let (from, to) = (parse(from), parse(to));
        let mut ranges = Ranges::new();
        for (k, d) in from.iter().enumerate() {
            ranges.set_axis(k as u32, d.clone());
        }
        let index: Vec<Dim> = (0..from.len() as u32).map(Dim::axis).collect();
        assert_eq!(reshape(&index, &from, &to, &ranges), parse(want));
    }

    #[test]
    fn reshapes_are_affine_where_they_can_be() {
        check(&["2", "3"], &["2", "3"], &["i0", "i1"]);
        check(
            &["b", "s", "384"],
            &["b", "s", "12", "32"],
            &["i0", "i1", "floordiv(i2,32)", "i2-32*floordiv(i2,32)"],
        );
        check(&["b", "s", "12", "32"], &["b", "s", "384"], &["i0", "i1", "32*i2+i3"]);
        check(&["b", "1", "s"], &["b", "s", "1"], &["i0", "i2", "0"]);
        check(&["b", "s", "8"], &["b*s", "8"], &["i0*s+i1", "i2"]);
        check(&["2", "3"], &["3", "2"], &["floordiv(3*i0+i1,2)", "3*i0+i1-2*floordiv(3*i0+i1,2)"]);
    }
}
