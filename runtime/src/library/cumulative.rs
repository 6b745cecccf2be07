//! Running sums, products and extremes along an axis.
//!
//! One pass over memory. Where neighbouring elements lie along another axis, columns of up to [`COLUMNS`] elements run
//! side by side, each one chain in the order of the axis. Along neighbouring elements, blocks of [`LANES`] are combined
//! in registers, in as many steps as the number of lanes has bits, and meet what came before; so a float's rounding
//! errors differ from those of one chain there. Which of the two it is follows from the shape alone.

use super::Block;
use super::element::{Combine, Element, Largest, Number, Product, Smallest, Sum, by_dtype};
use super::widest::{Task, widest};
use crate::io::DType;
use std::ffi::c_void;

/// Columns that run side by side. The number of items follows from it.
const COLUMNS: usize = 512;
/// Elements that are combined in registers.
const LANES: usize = 16;

/// Buffers: the operand, the result. Scalars: dtype, operation (0 sum, 1 product, 2 largest, 3 smallest), exclusive,
/// reverse, the extents before the axis, of it, and behind it, and the number of items: for each place before the
/// axis, the columns behind it in blocks of 512.
///
/// # Safety
/// `arg` is the block of such a call; the buffers are as large as the extents say and do not overlap.
pub(super) unsafe extern "C" fn cumulative(arg: *mut c_void, begin: i64, end: i64, _worker: u32) {
    // SAFETY: the caller's promise.
    let block: Block<2> = unsafe { Block::new(arg, 8) };
    let shape = Shape {
        exclusive: block.scalar(2) != 0,
        reverse: block.scalar(3) != 0,
        n: block.extent(5),
        inner: block.extent(6),
        begin: usize::try_from(begin).unwrap_or(0),
        end: usize::try_from(end).unwrap_or(0),
    };
    let Some(dtype) = block.dtype(0) else { return };
    by_dtype!(dtype, T => {
        let (x, y) = (block.buffer::<T>(0).cast_const(), block.buffer::<T>(1));
        match block.scalar(1) {
            0 => widest(Run::<T, Sum> { x, y, shape, op: Sum }),
            1 => widest(Run::<T, Product> { x, y, shape, op: Product }),
            2 => widest(Run::<T, Largest> { x, y, shape, op: Largest }),
            _ => widest(Run::<T, Smallest> { x, y, shape, op: Smallest }),
        }
    });
}

#[derive(Clone, Copy)]
struct Shape {
    exclusive: bool,
    reverse: bool,
    n: usize,
    inner: usize,
    begin: usize,
    end: usize,
}

struct Run<T, C> {
    x: *const T,
    y: *mut T,
    shape: Shape,
    #[allow(dead_code, reason = "names the operation")]
    op: C,
}

impl<T: Element, C: Combine> Task for Run<T, C> {
    type Output = ();
    #[inline(always)]
    fn run(self) {
        let Shape { n, inner, begin, end, .. } = self.shape;
        let blocks = inner.div_ceil(COLUMNS);
        if n == 0 || blocks == 0 {
            return;
        }
        for item in begin..end {
            let (outer, block) = (item / blocks, item % blocks);
            let first = block * COLUMNS;
            let start = outer * n * inner + first;
            // SAFETY: items lie within the extents, and the buffers hold all elements of these.
            let (x, y) = unsafe { (self.x.add(start), self.y.add(start)) };
            if inner == 1 {
                // SAFETY: a row of both buffers, which do not overlap; no other item has it.
                let (x, y) =
                    unsafe { (std::slice::from_raw_parts(x, n), std::slice::from_raw_parts_mut(y, n)) };
                along::<T, C>(x, y, self.shape);
            } else {
                columns::<T, C>(x, y, COLUMNS.min(inner - first), self.shape);
            }
        }
    }
}

/// `width` columns, elements of one column `inner` apart.
#[inline(always)]
fn columns<T: Element, C: Combine>(x: *const T, y: *mut T, width: usize, shape: Shape) {
    let mut running = [C::identity::<T::Number>(); COLUMNS];
    let running = &mut running[..width.min(COLUMNS)];
    for j in 0..shape.n {
        let place = if shape.reverse { shape.n - 1 - j } else { j } * shape.inner;
        // SAFETY: the columns lie within the buffers, which do not overlap; no other item has them.
        let (x, y) = unsafe {
            (
                std::slice::from_raw_parts(x.add(place), running.len()),
                std::slice::from_raw_parts_mut(y.add(place), running.len()),
            )
        };
        if shape.exclusive {
            for ((r, x), y) in running.iter_mut().zip(x).zip(y) {
                *y = T::of(*r);
                *r = C::combine(*r, x.get());
            }
        } else {
            for ((r, x), y) in running.iter_mut().zip(x).zip(y) {
                *r = C::combine(*r, x.get());
                *y = T::of(*r);
            }
        }
    }
}

/// A row of neighbouring elements.
#[inline(always)]
fn along<T: Element, C: Combine>(x: &[T], y: &mut [T], shape: Shape) {
    if shape.reverse {
        row::<T, C, true>(x, y, shape.exclusive)
    } else {
        row::<T, C, false>(x, y, shape.exclusive)
    }
}

#[inline(always)]
fn row<T: Element, C: Combine, const REVERSE: bool>(x: &[T], y: &mut [T], exclusive: bool) {
    let mut before = C::identity::<T::Number>();
    let n = x.len();
    let whole = n / LANES * LANES;
    let mut done = 0;
    while done < whole {
        let at = if REVERSE { n - done - LANES } else { done };
        let mut v = [C::identity::<T::Number>(); LANES];
        for (v, x) in v.iter_mut().zip(&x[at..at + LANES]) {
            *v = x.get();
        }
        v = prefix::<_, C, 1, REVERSE>(v);
        v = prefix::<_, C, 2, REVERSE>(v);
        v = prefix::<_, C, 4, REVERSE>(v);
        v = prefix::<_, C, 8, REVERSE>(v);
        let last = v[if REVERSE { 0 } else { LANES - 1 }];
        if exclusive {
            v = shifted::<_, C, 1, REVERSE>(v);
        }
        for (y, v) in y[at..at + LANES].iter_mut().zip(v) {
            *y = T::of(C::combine(before, v));
        }
        before = C::combine(before, last);
        done += LANES;
    }
    for j in done..n {
        let at = if REVERSE { n - 1 - j } else { j };
        let next = C::combine(before, x[at].get());
        y[at] = T::of(if exclusive { before } else { next });
        before = next;
    }
}

/// The elements `BY` places further along, identities where there are none before.
#[inline(always)]
fn shifted<N: Number, C: Combine, const BY: usize, const REVERSE: bool>(v: [N; LANES]) -> [N; LANES] {
    let mut out = [C::identity::<N>(); LANES];
    for (i, out) in out.iter_mut().enumerate() {
        if REVERSE && i + BY < LANES {
            *out = v[i + BY];
        } else if !REVERSE && i >= BY {
            *out = v[i - BY];
        }
    }
    out
}

/// Each element with the one `BY` places before it.
#[inline(always)]
fn prefix<N: Number, C: Combine, const BY: usize, const REVERSE: bool>(v: [N; LANES]) -> [N; LANES] {
    let before = shifted::<N, C, BY, REVERSE>(v);
    let mut out = v;
    for (out, b) in out.iter_mut().zip(before) {
        *out = C::combine(b, *out);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::testing::call;
    use super::*;

    /// Element by element, in the order of the axis.
    fn reference(
        x: &[i64],
        [outer, n, inner]: [usize; 3],
        op: i64,
        exclusive: bool,
        reverse: bool,
    ) -> Vec<i64> {
        let mut y = vec![0; x.len()];
        for o in 0..outer {
            for w in 0..inner {
                let mut running = [0, 1, i64::MIN, i64::MAX][op as usize];
                for j in 0..n {
                    let j = if reverse { n - 1 - j } else { j };
                    let at = (o * n + j) * inner + w;
                    let next = match op {
                        0 => running.wrapping_add(x[at]),
                        1 => running.wrapping_mul(x[at]),
                        2 => running.max(x[at]),
                        _ => running.min(x[at]),
                    };
                    y[at] = if exclusive { running } else { next };
                    running = next;
                }
            }
        }
        y
    }

    #[test]
    fn every_form_on_every_kind_of_shape() {
        let shapes =
            [[1, 1, 1], [3, 5, 1], [2, 16, 1], [2, 47, 1], [3, 7, 5], [1, 9, 513], [2, 0, 3], [0, 4, 2]];
        for shape in shapes {
            let [outer, n, inner] = shape;
            let x: Vec<i64> = (0..outer * n * inner).map(|i| (i as i64 * 7919) % 23 - 11).collect();
            for op in 0..4 {
                for form in 0..4 {
                    let (exclusive, reverse) = (form & 1 != 0, form & 2 != 0);
                    let mut y = vec![-1; x.len()];
                    let code = DType::ALL.iter().position(|d| *d == DType::I64).unwrap() as i64;
                    let [o, n, i] = shape.map(|n| n as i64);
                    let items = o * ((i + 511) / 512);
                    let scalars = [code, op, exclusive.into(), reverse.into(), o, n, i, items];
                    let ranges = [(0, items / 2), (items / 2, items)];
                    let buffers = [x.as_ptr().cast_mut().cast(), y.as_mut_ptr().cast()];
                    call(cumulative, &buffers, &scalars, &mut [], &ranges);
                    assert_eq!(y, reference(&x, shape, op, exclusive, reverse), "{shape:?} {op} {form}");
                }
            }
        }
    }

    #[test]
    fn floats_keep_infinities_and_nan_where_they_are() {
        let mut x = [1f32; 40];
        (x[20], x[30]) = (f32::INFINITY, f32::NAN);
        let mut y = vec![0f32; 40];
        let code = DType::ALL.iter().position(|d| *d == DType::F32).unwrap() as i64;
        let buffers = [x.as_ptr().cast_mut().cast(), y.as_mut_ptr().cast()];
        call(cumulative, &buffers, &[code, 0, 0, 0, 1, 40, 1, 1], &mut [], &[(0, 1)]);
        assert_eq!(y[..20], (1..=20).map(|n| n as f32).collect::<Vec<_>>()[..]);
        assert!(y[20..30].iter().all(|v| *v == f32::INFINITY) && y[30..].iter().all(|v| v.is_nan()));
    }
}
