//! Updates written to, or combined with, places that data names.
//!
//! The result begins as a copy of the data (or is the data, in place). Items are ranges of its rows: each is copied
//! and updated by one thread, which looks at all indices in their order and does what falls into its range. So every
//! element meets its updates in the order in which they stand, however many threads there are, and nothing is atomic.

use super::Block;
use super::element::{Combine, Element, Largest, Number, Product, Smallest, Sum, by_dtype};
use super::widest::{Task, widest};
use crate::io::DType;
use std::ffi::c_void;

/// The update in place of what was there.
#[derive(Clone, Copy)]
struct Put;

impl Combine for Put {
    fn identity<N: Number>() -> N {
        N::ZERO
    }
    #[inline(always)]
    fn combine<N: Number>(_: N, b: N) -> N {
        b
    }
}

/// Most index tensors.
const MOST: usize = 8;

/// Buffers: data, updates, K index tensors, the result. Scalars: dtype, what an update does (0 replace, 1 add, 2
/// multiply, 3 larger, 4 smaller), dtype of the indices, whether each update has an index of its own, the extents
/// before the indexed axes, of the indices, and behind the axes, the K extents that are indexed, the ranges of rows,
/// the detail of an index error, and the number of items: for each place before the axes, the ranges.
///
/// # Safety
/// `arg` is the block of such a call; the buffers are as large as the extents say. The result is the data, or overlaps
/// no other buffer.
pub(super) unsafe extern "C" fn scatter<const K: usize>(
    arg: *mut c_void,
    begin: i64,
    end: i64,
    _worker: u32,
) {
    // SAFETY: the caller's promise; its words are counted from the first buffer on.
    run(unsafe { Block::new(arg, K + 3 + 10 + K) }, K, begin, end);
}

/// As [`scatter`], for `k` index tensors.
fn run(block: Block<0>, k: usize, begin: i64, end: i64) {
    let scalar = |n: usize| block.scalar(k + 3 + n);
    let extent = |n: usize| block.extent(k + 3 + n);
    let limits: [usize; MOST] = std::array::from_fn(|n| if n < k { extent(7 + n) } else { 1 });
    let index = |n: usize| if n < k { block.buffer::<u8>(2 + n).cast_const() } else { std::ptr::null() };
    let call = Call {
        indices: std::array::from_fn(index),
        k,
        index: block.dtype(k + 3 + 2).unwrap_or(DType::I64),
        wide: block.dtype(k + 3 + 2) == Some(DType::I64),
        own: scalar(3) != 0,
        count: extent(5),
        inner: extent(6),
        limits,
        rows: limits.iter().product(),
        ranges: extent(7 + k).max(1),
        items: usize::try_from(begin).unwrap_or(0)..usize::try_from(end).unwrap_or(0),
    };
    let Some(dtype) = block.dtype(k + 3) else { return };
    let (data, updates, out) = (block.buffer::<u8>(0), block.buffer::<u8>(1), block.buffer::<u8>(2 + k));
    let buffers = (data.cast_const(), updates.cast_const(), out);
    let inside = match scalar(1) {
        0 => match dtype.size() {
            1 => call.run::<u8, Put>(buffers),
            2 => call.run::<u16, Put>(buffers),
            4 => call.run::<u32, Put>(buffers),
            _ => call.run::<u64, Put>(buffers),
        },
        op => {
            let mut inside = true;
            by_dtype!(dtype, T => {
                inside = match op {
                    1 => call.run::<T, Sum>(buffers),
                    2 => call.run::<T, Product>(buffers),
                    3 => call.run::<T, Largest>(buffers),
                    _ => call.run::<T, Smallest>(buffers),
                };
            });
            inside
        }
    };
    if !inside {
        block.raise(scalar(8 + k));
    }
}

#[derive(Clone)]
struct Call {
    indices: [*const u8; MOST],
    k: usize,
    index: DType,
    /// Indices are i64.
    wide: bool,
    own: bool,
    count: usize,
    inner: usize,
    limits: [usize; MOST],
    rows: usize,
    ranges: usize,
    items: std::ops::Range<usize>,
}

/// Data, updates, result.
type Buffers = (*const u8, *const u8, *mut u8);

impl Call {
    /// Whether all indices were inside.
    fn run<T: Element, C: Combine>(&self, (data, updates, out): Buffers) -> bool {
        widest(Run::<T, C> {
            call: self.clone(),
            data: data.cast(),
            updates: updates.cast(),
            out: out.cast(),
            kind: std::marker::PhantomData,
        })
    }

    /// The row that the indices at a place name, if it is inside; negative ones count from the end.
    #[inline(always)]
    fn row(&self, place: usize) -> Option<usize> {
        if self.k == 1 {
            return self.place(0, place);
        }
        (0..self.k).try_fold(0, |row, n| Some(row * self.limits[n] + self.place(n, place)?))
    }

    #[inline(always)]
    fn place(&self, n: usize, place: usize) -> Option<usize> {
        let (index, limit) = (self.indices[n], self.limits[n]);
        macro_rules! read {
            ($T:ty) => {
                // SAFETY: places of updates' indices lie within the index tensors.
                unsafe { index.cast::<$T>().add(place).read() }
            };
        }
        let at: i64 = match self.index {
            // The usual one first: a comparison instead of a jump through a table.
            _ if self.wide => read!(i64),
            DType::I32 => read!(i32).into(),
            DType::I8 => read!(i8).into(),
            DType::U8 => read!(u8).into(),
            DType::I16 => read!(i16).into(),
            DType::U16 => read!(u16).into(),
            DType::U32 => read!(u32).into(),
            DType::I64 => read!(i64),
            // Beyond i64 it is beyond every extent.
            _ => i64::try_from(read!(u64)).unwrap_or(i64::MAX),
        };
        let at = if at < 0 { at.wrapping_add(limit as i64) } else { at };
        (at.cast_unsigned() < limit as u64).then_some(at as usize)
    }
}

struct Run<T, C> {
    call: Call,
    data: *const T,
    updates: *const T,
    out: *mut T,
    kind: std::marker::PhantomData<C>,
}

impl<T: Element, C: Combine> Task for Run<T, C> {
    type Output = bool;
    #[inline(always)]
    fn run(self) -> bool {
        let (rows, ranges) = (self.call.rows, self.call.ranges);
        let mut inside = true;
        let mut item = self.call.items.start;
        while item < self.call.items.end {
            // Neighbouring ranges of one place before the axes are one.
            let (outer, first) = (item / ranges, item % ranges);
            let last = (first + self.call.items.end - item).min(ranges);
            let bound = |r: usize| (rows as u128 * r as u128 / ranges as u128) as usize;
            inside &= self.range(outer, bound(first)..bound(last));
            item += last - first;
        }
        inside
    }
}

impl<T: Element, C: Combine> Run<T, C> {
    /// Rows `range` at one place before the axes.
    #[inline(always)]
    fn range(&self, outer: usize, range: std::ops::Range<usize>) -> bool {
        // A copy whose address nobody has: stores to the result cannot change it.
        let call = self.call.clone();
        let (count, inner, rows) = (call.count, call.inner, call.rows);
        let base = outer * rows * inner;
        let (start, len) = (base + range.start * inner, range.len() * inner);
        if !std::ptr::eq(self.data, self.out.cast_const()) {
            // SAFETY: rows of both, which are as large as the extents say and do not overlap.
            unsafe { std::ptr::copy_nonoverlapping(self.data.add(start), self.out.add(start), len) };
        }
        let mut inside = true;
        for j in 0..count {
            let update = (outer * count + j) * inner;
            if !call.own {
                match call.row(j) {
                    Some(row) if range.contains(&row) => self.combine(base + row * inner, update, inner),
                    Some(_) => {}
                    None => inside = false,
                }
                continue;
            }
            for w in 0..inner {
                match call.row(update + w) {
                    Some(row) if range.contains(&row) => self.combine_one(base + row * inner + w, update + w),
                    Some(_) => {}
                    None => inside = false,
                }
            }
        }
        inside
    }

    /// An element of the result with an update.
    #[inline(always)]
    fn combine_one(&self, to: usize, from: usize) {
        // SAFETY: places inside the result and the updates; no other thread has that of the result.
        unsafe {
            let (y, u) = (self.out.add(to), self.updates.add(from));
            y.write(T::of(C::combine(y.read().get(), u.read().get())));
        }
    }

    /// `len` elements of the result with as many updates.
    #[inline(always)]
    fn combine(&self, to: usize, from: usize, len: usize) {
        // SAFETY: a row inside the result, and one of the updates; they do not overlap, and no other thread has them.
        let (out, updates) = unsafe {
            (
                std::slice::from_raw_parts_mut(self.out.add(to), len),
                std::slice::from_raw_parts(self.updates.add(from), len),
            )
        };
        for (y, u) in out.iter_mut().zip(updates) {
            *y = T::of(C::combine(y.get(), u.get()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::call;
    use super::*;

    fn code(dtype: DType) -> i64 {
        DType::ALL.iter().position(|d| *d == dtype).unwrap() as i64
    }

    /// Rows of 3 in a table of 4, updated at places given by one index each.
    fn rows(op: i64, indices: &[i64], ranges: i64, parts: &[(i64, i64)]) -> (Vec<f32>, i64) {
        let data: Vec<f32> = (0..12).map(|i| i as f32).collect();
        let updates: Vec<f32> = (0..3 * indices.len()).map(|i| 10.0 + i as f32).collect();
        let mut out = vec![f32::NAN; 12];
        let m = indices.len() as i64;
        let scalars = [code(DType::F32), op, code(DType::I64), 0, 1, m, 3, 4, ranges, 77, ranges];
        let buffers = [
            data.as_ptr().cast_mut().cast(),
            updates.as_ptr().cast_mut().cast(),
            indices.as_ptr().cast_mut().cast(),
            out.as_mut_ptr().cast(),
        ];
        let flag = call(scatter::<1>, &buffers, &scalars, &mut [], parts);
        (out, flag)
    }

    #[test]
    fn rows_meet_their_updates_in_order_however_they_are_divided() {
        let want =
            vec![0., 1., 2., 3. + 10. + 16., 4. + 11. + 17., 5. + 12. + 18., 6., 7., 8., 22., 24., 26.];
        let parts: [&[(i64, i64)]; 4] = [&[(0, 1)], &[(0, 4)], &[(0, 1), (1, 4)], &[(2, 4), (0, 1), (1, 2)]];
        for (k, parts) in parts.into_iter().enumerate() {
            let ranges = if k == 0 { 1 } else { 4 };
            assert_eq!(rows(1, &[1, -1, 1], ranges, parts), (want.clone(), 0), "{k}");
            let (put, _) = rows(0, &[1, -1, 1], ranges, parts);
            assert_eq!(put[3..6], [16., 17., 18.]);
            assert_eq!(put[9..], [13., 14., 15.]);
        }
    }

    #[test]
    fn updates_outside_are_dropped_and_noted() {
        let (out, flag) = rows(1, &[4, 0, -5], 1, &[(0, 1)]);
        assert_eq!(
            (&out[..3], &out[3..], flag),
            (&[13., 15., 17.][..], &(3..12).map(|i| i as f32).collect::<Vec<_>>()[..], 78)
        );
    }

    #[test]
    fn each_update_may_have_its_own_index() {
        // Along the middle axis of [2, 3, 2], updates [2, 2, 2].
        let data = [0i32; 12];
        let updates: Vec<i32> = (1..=8).collect();
        let indices = [0u8, 2, 2, 1, 1, 1, 1, 0];
        let mut out = [-1i32; 12];
        let scalars = [code(DType::I32), 3, code(DType::U8), 1, 2, 2, 2, 3, 1, 0, 2];
        let buffers = [
            data.as_ptr().cast_mut().cast(),
            updates.as_ptr().cast_mut().cast(),
            indices.as_ptr().cast_mut().cast(),
            out.as_mut_ptr().cast(),
        ];
        assert_eq!(call(scatter::<1>, &buffers, &scalars, &mut [], &[(0, 2)]), 0);
        assert_eq!(out, [1, 0, 0, 4, 3, 2, 0, 8, 7, 6, 0, 0]);
    }
}
