//! Reference semantics of contractions: operands are packed to row-major matrices, then rows of the
//! result grow by rows of the right one, in ascending order of the contracted index.

use super::super::EvalCx;
use super::super::ring::{Ring, by_ring, narrowed, widened};
use super::super::strided::{bad_eval, count, permuted, words, zeros};
use super::{DotGeneral, OpError};
use crate::literal::Literal;
use std::borrow::Cow;

const OP: &str = "dot";
/// Columns and contracted indices of a block of the right operand, which stays in the cache.
const BLOCK: (usize, usize) = (512, 64);
/// With fewer columns than this, rows of the result run together instead of columns.
const NARROW: usize = 16;
/// That many rows.
const ROWS: usize = 16;
/// Contracted indices of those rows that are turned at a time, so that they stay in the cache.
const PANEL: usize = 128;

pub(super) fn dot(op: &DotGeneral, cx: &EvalCx<'_>, a: &Literal, b: &Literal) -> Result<Literal, OpError> {
    by_ring!(cx.dtype, T => dot_in::<T>(op, cx, &widened(OP, a)?, &widened(OP, b)?))
}

fn dot_in<T: Ring>(op: &DotGeneral, cx: &EvalCx<'_>, a: &Literal, b: &Literal) -> Result<Literal, OpError> {
    let total = count(OP, cx.dtype, cx.shape)?;
    let extent = |l: &Literal, axes: &[usize]| axes.iter().map(|&k| l.shape()[k]).product();
    let left = |p: &(u32, u32)| p.0 as usize;
    let right = |p: &(u32, u32)| p.1 as usize;
    let batch: [Vec<usize>; 2] = [op.batch.iter().map(left).collect(), op.batch.iter().map(right).collect()];
    let inner: [Vec<usize>; 2] =
        [op.contract.iter().map(left).collect(), op.contract.iter().map(right).collect()];
    let free = [op.free(0, a.shape().len()), op.free(1, b.shape().len())];
    let (m, n): (usize, usize) = (extent(a, &free[0]), extent(b, &free[1]));
    let (batches, k): (usize, usize) = (extent(a, &batch[0]), extent(a, &inner[0]));
    let agree = batches == extent(b, &batch[1]) && k == extent(b, &inner[1]);
    if !agree || batches.checked_mul(m).and_then(|v| v.checked_mul(n)) != Some(total) {
        let what = format!("{:?} and {:?} do not give {:?}", a.shape(), b.shape(), cx.shape);
        return bad_eval(OP, what);
    }
    let mut out = zeros::<T>(OP, total)?;
    if total > 0 && k > 0 {
        let a = packed::<T>(a, [&batch[0], &free[0], &inner[0]])?;
        let b = packed::<T>(b, [&batch[1], &inner[1], &free[1]])?;
        for (i, y) in out.chunks_exact_mut(m * n).enumerate() {
            matmul(&a[i * m * k..][..m * k], &b[i * k * n..][..k * n], y, n)?;
        }
    }
    narrowed(OP, cx.dtype, cx.shape, out)
}

/// The elements in the order of those axes; borrowed where that is their order already.
fn packed<'a, T: Ring>(x: &'a Literal, axes: [&[usize]; 3]) -> Result<Cow<'a, [T]>, OpError> {
    let perm = axes.concat();
    let own_order = perm.is_sorted();
    Ok(if own_order { words::<T>(x) } else { Cow::Owned(permuted::<T>(OP, x, &perm)?) })
}

/// Adds the product of `a: [m, k]` and `b: [k, n]` to `y: [m, n]`, all row-major without gaps, in
/// ascending order of `k`, each product and sum rounded. No extent is 0; `m` and `k` follow from `n`.
///
/// # Errors
/// Where memory for a packed copy does not suffice.
pub(in super::super) fn matmul<T: Ring>(a: &[T], b: &[T], y: &mut [T], n: usize) -> Result<(), OpError> {
    let (m, k) = (y.len() / n, b.len() / n);
    if n >= NARROW || n >= m {
        add_product(a, b, y, n);
        return Ok(());
    }
    let mut panel = zeros::<T>(OP, PANEL * ROWS)?;
    for (y, a) in y.chunks_mut(ROWS * n).zip(a.chunks(ROWS * k)) {
        let rows = a.len() / k;
        for p0 in (0..k).step_by(PANEL) {
            let depth = PANEL.min(k - p0);
            for (r, row) in a.chunks_exact(k).enumerate() {
                row[p0..p0 + depth].iter().enumerate().for_each(|(p, &v)| panel[p * ROWS + r] = v);
            }
            for j in 0..n {
                let mut sums = [T::zeroed(); ROWS];
                (0..rows).for_each(|r| sums[r] = y[r * n + j]);
                for (column, b) in panel.chunks_exact(ROWS).zip(b[p0 * n..][..depth * n].chunks_exact(n)) {
                    let b = b[j];
                    for (sum, &a) in sums.iter_mut().zip(column) {
                        *sum = sum.plus(a.times(b));
                    }
                }
                (0..rows).for_each(|r| y[r * n + j] = sums[r]);
            }
        }
    }
    Ok(())
}

fn add_product<T: Ring>(a: &[T], b: &[T], y: &mut [T], n: usize) {
    let k = b.len() / n;
    for j0 in (0..n).step_by(BLOCK.0) {
        let j1 = (j0 + BLOCK.0).min(n);
        for k0 in (0..k).step_by(BLOCK.1) {
            let k1 = (k0 + BLOCK.1).min(k);
            for (row, a) in y.chunks_exact_mut(n).zip(a.chunks_exact(k)) {
                add_row(&mut row[j0..j1], &a[k0..k1], &b[k0 * n..k1 * n], n, j0);
            }
        }
    }
}

/// `y += sum over k of a[k] * b[k, j0..]`, in ascending order of k.
fn add_row<T: Ring>(y: &mut [T], a: &[T], b: &[T], n: usize, j0: usize) {
    let width = y.len();
    let rows = |i: usize| &b[i * n + j0..][..width];
    let mut i = 0;
    while i + 4 <= a.len() {
        let (a0, a1, a2, a3) = (a[i], a[i + 1], a[i + 2], a[i + 3]);
        let (b0, b1, b2, b3) = (rows(i), rows(i + 1), rows(i + 2), rows(i + 3));
        for (j, y) in y.iter_mut().enumerate() {
            let sum = y.plus(a0.times(b0[j])).plus(a1.times(b1[j]));
            *y = sum.plus(a2.times(b2[j])).plus(a3.times(b3[j]));
        }
        i += 4;
    }
    for (i, &a) in a.iter().enumerate().skip(i) {
        for (y, &b) in y.iter_mut().zip(rows(i)) {
            *y = y.plus(a.times(b));
        }
    }
}
