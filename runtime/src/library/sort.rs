//! Sorting along an axis, and the first elements of what sorting would give.
//!
//! Elements become unsigned keys in the same order (NaN above all, both zeros one), and a key together with its place
//! is one number: all numbers of a row differ, so whatever sorts them is stable. Short rows are sorted by comparison,
//! long ones by digits of 11 bits from the lowest on. For few of many elements, a block of keys is compared with the
//! worst one that still counts, without branches; the few that are better are collected, and thinned out when there is
//! no room for more.

use super::Block;
use super::widest::{Task, widest};
use crate::io::DType;
use std::ffi::c_void;

/// Bits of a digit.
const DIGIT: u32 = 11;
/// Rows of at most so many elements are sorted by comparison.
const SHORT: usize = 256;
/// Keys that are compared at once.
const BLOCK: usize = 64;

/// Buffers: the operand, then K results. Scalars: dtype, what a single result is (0 elements, 1 places), descending,
/// the extents before the axis, of it, and behind it, how many are wanted, numbers in the scratch, the items (the
/// rows), and words in the scratch. Of two results, elements come first. The scratch of a worker has room for so many numbers of 8 bytes
/// (16 for elements of 8): for all of a row, twice that to sort by digits, or four times as many as are wanted, and 256
/// more.
///
/// # Safety
/// `arg` is the block of such a call; buffers and scratch are as large as the extents say and do not overlap.
pub(super) unsafe extern "C" fn sort<const K: usize>(arg: *mut c_void, begin: i64, end: i64, worker: u32) {
    // SAFETY: the caller's promise.
    let block: Block<0> = unsafe { Block::new(arg, 1 + K + 10) };
    let extent = |n: usize| block.extent(1 + K + n);
    let places = K == 2 || extent(1) == 1;
    let values = K == 2 || extent(1) == 0;
    let call = Call {
        x: block.buffer::<u8>(0).cast_const(),
        values: if values { block.buffer(1) } else { std::ptr::null_mut() },
        places: if places { block.buffer(K) } else { std::ptr::null_mut() },
        descending: extent(2) != 0,
        n: extent(4),
        inner: extent(5),
        wanted: extent(6),
        scratch: block.scratch(worker),
        room: extent(7),
        items: usize::try_from(begin).unwrap_or(0)..usize::try_from(end).unwrap_or(0),
    };
    match block.dtype(1 + K) {
        Some(DType::Bool | DType::U8) => widest(Run::<u8>::of(call)),
        Some(DType::I8) => widest(Run::<i8>::of(call)),
        Some(DType::U16) => widest(Run::<u16>::of(call)),
        Some(DType::I16) => widest(Run::<i16>::of(call)),
        Some(DType::U32) => widest(Run::<u32>::of(call)),
        Some(DType::I32) => widest(Run::<i32>::of(call)),
        Some(DType::U64) => widest(Run::<u64>::of(call)),
        Some(DType::I64) => widest(Run::<i64>::of(call)),
        Some(DType::F16) => widest(Run::<Half<0x7c00>>::of(call)),
        Some(DType::BF16) => widest(Run::<Half<0x7f80>>::of(call)),
        Some(DType::F32) => widest(Run::<f32>::of(call)),
        Some(DType::F64) => widest(Run::<f64>::of(call)),
        None => {}
    }
}

/// An element that can be sorted.
trait Ordered: Copy + 'static {
    /// A key and a place.
    type Number: Number;
    /// Bits of a key.
    const BITS: u32;
    /// The key, below `1 << BITS`.
    fn key(self) -> <Self::Number as Number>::Key;
}

/// A key above a place.
trait Number: Copy + Ord + 'static {
    /// A key.
    type Key: Copy + Ord + std::ops::BitXor<Output = Self::Key>;
    /// That many low bits.
    fn ones(bits: u32) -> Self::Key;
    /// Both.
    fn new(key: Self::Key, place: usize) -> Self;
    /// The key.
    fn key(self) -> Self::Key;
    /// The place.
    fn place(self) -> usize;
    /// Digit number `n` of the key.
    fn digit(self, n: u32) -> usize;
}

macro_rules! numbers {
    ($($Number:ident of $Key:ident;)*) => { $(
        impl Number for $Number {
            type Key = $Key;
            #[inline(always)]
            fn ones(bits: u32) -> $Key { $Key::MAX.checked_shr($Key::BITS - bits).unwrap_or(0) }
            #[inline(always)]
            fn new(key: $Key, place: usize) -> $Number {
                $Number::from(key) << $Key::BITS | place as $Number
            }
            #[inline(always)]
            fn key(self) -> $Key { (self >> $Key::BITS) as $Key }
            #[inline(always)]
            fn place(self) -> usize { self as $Key as usize }
            #[inline(always)]
            fn digit(self, n: u32) -> usize {
                (self >> ($Key::BITS + n * DIGIT)) as usize & ((1 << DIGIT) - 1)
            }
        }
    )* };
}
numbers! { u64 of u32; u128 of u64; }

macro_rules! ordered {
    ($($T:ty, $Number:ident, $Key:ident, $bits:literal, |$x:ident| $key:expr;)*) => { $(
        impl Ordered for $T {
            type Number = $Number;
            const BITS: u32 = $bits;
            #[inline(always)]
            fn key(self) -> $Key { let $x = self; $key }
        }
    )* };
}
ordered! {
    u8, u64, u32, 8, |x| x.into();
    u16, u64, u32, 16, |x| x.into();
    u32, u64, u32, 32, |x| x;
    u64, u128, u64, 64, |x| x;
    i8, u64, u32, 8, |x| (x.cast_unsigned() ^ 1 << 7).into();
    i16, u64, u32, 16, |x| (x.cast_unsigned() ^ 1 << 15).into();
    i32, u64, u32, 32, |x| x.cast_unsigned() ^ 1 << 31;
    i64, u128, u64, 64, |x| x.cast_unsigned() ^ 1 << 63;
    f32, u64, u32, 32, |x| {
        let bits = (x + 0.0).to_bits();
        let ordered = bits ^ ((bits.cast_signed() >> 31).cast_unsigned() | 1 << 31);
        if x.is_nan() { u32::MAX } else { ordered }
    };
    f64, u128, u64, 64, |x| {
        let bits = (x + 0.0).to_bits();
        let ordered = bits ^ ((bits.cast_signed() >> 63).cast_unsigned() | 1 << 63);
        if x.is_nan() { u64::MAX } else { ordered }
    };
}

/// A float of 16 bits whose infinity is `INFINITY`.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct Half<const INFINITY: u16>(u16);

impl<const INFINITY: u16> Ordered for Half<INFINITY> {
    type Number = u64;
    const BITS: u32 = 16;
    #[inline(always)]
    fn key(self) -> u32 {
        let bits = if self.0 == 0x8000 { 0 } else { self.0 };
        let ordered = bits ^ ((bits.cast_signed() >> 15).cast_unsigned() | 1 << 15);
        u32::from(if bits & 0x7fff > INFINITY { u16::MAX } else { ordered })
    }
}

struct Call {
    x: *const u8,
    values: *mut u8,
    places: *mut i64,
    descending: bool,
    n: usize,
    inner: usize,
    wanted: usize,
    scratch: *mut u8,
    room: usize,
    items: std::ops::Range<usize>,
}

struct Run<T> {
    call: Call,
    element: std::marker::PhantomData<T>,
}

impl<T> Run<T> {
    fn of(call: Call) -> Self {
        Run { call, element: std::marker::PhantomData }
    }
}

impl<T: Ordered> Task for Run<T> {
    type Output = ();
    #[inline(always)]
    fn run(self) {
        let Call { n, inner, wanted, room, .. } = self.call;
        if wanted == 0 || wanted > n || inner == 0 || room < wanted {
            return;
        }
        // SAFETY: a worker's scratch has room for so many numbers, is aligned to 64 bytes, and no other thread has it.
        let numbers = unsafe {
            let scratch = self.call.scratch.cast::<std::mem::MaybeUninit<T::Number>>();
            scratch.write_bytes(0, room);
            std::slice::from_raw_parts_mut(scratch.cast::<T::Number>(), room)
        };
        let flip = T::Number::ones(if self.call.descending { T::BITS } else { 0 });
        for item in self.call.items.clone() {
            let (outer, w) = (item / inner, item % inner);
            // SAFETY: items are the rows of the operand, which has all their elements.
            let first = unsafe { self.call.x.cast::<T>().add(outer * n * inner + w) };
            let row = Row { first, n, step: inner, flip };
            let few = wanted * 4 <= n && wanted * 4 + 256 <= room;
            let best = if few { row.select(numbers, wanted) } else { row.sort(numbers) };
            self.store(&best[..wanted], &row, outer * wanted * inner + w);
        }
    }
}

impl<T: Ordered> Run<T> {
    #[inline(always)]
    fn store(&self, best: &[T::Number], row: &Row<T>, first: usize) {
        for (k, number) in best.iter().enumerate() {
            let (place, to) = (number.place(), first + k * row.step);
            // SAFETY: places are of the row's elements; results have a place for each that is wanted.
            unsafe {
                if !self.call.values.is_null() {
                    self.call.values.cast::<T>().add(to).write(row.first.add(place * row.step).read());
                }
                if !self.call.places.is_null() {
                    self.call.places.add(to).write(place as i64);
                }
            }
        }
    }
}

/// Elements `step` apart.
struct Row<T: Ordered> {
    first: *const T,
    n: usize,
    step: usize,
    /// What turns keys around.
    flip: <T::Number as Number>::Key,
}

impl<T: Ordered> Row<T> {
    #[inline(always)]
    fn key(&self, place: usize) -> <T::Number as Number>::Key {
        debug_assert!(place < self.n);
        // SAFETY: a row has n elements.
        unsafe { self.first.add(place * self.step).read() }.key() ^ self.flip
    }

    /// All numbers in order.
    #[inline(always)]
    fn sort<'s>(&self, numbers: &'s mut [T::Number]) -> &'s [T::Number] {
        let n = self.n;
        if n <= SHORT || numbers.len() < 2 * n {
            let numbers = &mut numbers[..n];
            numbers.iter_mut().enumerate().for_each(|(j, x)| *x = T::Number::new(self.key(j), j));
            numbers.sort_unstable();
            return numbers;
        }
        let (from, to) = numbers[..2 * n].split_at_mut(n);
        // Six digits are enough for 64 bits.
        let mut counts = [[0u32; 1 << DIGIT]; 6];
        let counts = &mut counts[..T::BITS.div_ceil(DIGIT) as usize];
        for (j, x) in from.iter_mut().enumerate() {
            *x = T::Number::new(self.key(j), j);
            for (d, count) in counts.iter_mut().enumerate() {
                count[x.digit(d as u32)] += 1;
            }
        }
        let (mut from, mut to) = (from, to);
        for (d, count) in counts.iter_mut().enumerate() {
            if count[from[0].digit(d as u32)] as usize == n {
                continue;
            }
            let mut before = 0;
            for c in count.iter_mut() {
                before += std::mem::replace(c, before);
            }
            for &x in from.iter() {
                let place = &mut count[x.digit(d as u32)];
                to[*place as usize] = x;
                *place += 1;
            }
            std::mem::swap(&mut from, &mut to);
        }
        from
    }

    /// The first `wanted` numbers in order; there is room for four times as many, and 256.
    #[inline(always)]
    fn select<'s>(&self, numbers: &'s mut [T::Number], wanted: usize) -> &'s [T::Number] {
        let mut len = self.n.min(2 * wanted + BLOCK);
        numbers[..len].iter_mut().enumerate().for_each(|(j, x)| *x = T::Number::new(self.key(j), j));
        let mut place = len;
        let mut worst = thinned(&mut numbers[..len], wanted);
        len = wanted;
        while place < self.n {
            let block = BLOCK.min(self.n - place);
            if block == BLOCK && !self.any_below(place, worst) {
                place += BLOCK;
                continue;
            }
            if len + block > numbers.len() {
                worst = thinned(&mut numbers[..len], wanted);
                len = wanted;
            }
            for j in place..place + block {
                // Of equals the first counts.
                let key = self.key(j);
                numbers[len] = T::Number::new(key, j);
                len += usize::from(key < worst);
            }
            place += block;
            if len >= 2 * wanted + BLOCK {
                worst = thinned(&mut numbers[..len], wanted);
                len = wanted;
            }
        }
        thinned(&mut numbers[..len], wanted);
        numbers[..wanted].sort_unstable();
        &numbers[..wanted]
    }

    /// Whether a key of the block at a place is below another.
    #[inline(always)]
    fn any_below(&self, place: usize, worst: <T::Number as Number>::Key) -> bool {
        let mut any = false;
        if self.step == 1 {
            for j in 0..BLOCK {
                // SAFETY: a whole block of the row's elements.
                let x = unsafe { self.first.add(place + j).read() };
                any |= (x.key() ^ self.flip) < worst;
            }
        } else {
            for j in 0..BLOCK {
                any |= self.key(place + j) < worst;
            }
        }
        any
    }
}

/// Moves the `wanted` smallest numbers to the front; the largest key among them.
fn thinned<N: Number>(numbers: &mut [N], wanted: usize) -> N::Key {
    numbers.select_nth_unstable(wanted - 1).1.key()
}

#[cfg(test)]
mod tests {
    use super::super::testing::call;
    use super::*;

    fn code(dtype: DType) -> i64 {
        DType::ALL.iter().position(|d| *d == dtype).unwrap() as i64
    }

    /// The elements and places that sorting [outer, n, inner] gives.
    fn both<T: Copy + Default>(
        dtype: DType,
        x: &[T],
        [outer, n, inner]: [usize; 3],
        (descending, wanted, room): (bool, usize, usize),
    ) -> (Vec<T>, Vec<i64>) {
        let len = outer * wanted * inner;
        let (mut values, mut places) = (vec![T::default(); len], vec![-1i64; len]);
        let words = if size_of::<T>() == 8 { 2 } else { 1 };
        let mut scratch = vec![0u128; (room * words).div_ceil(2)];
        let scratch = bytes(&mut scratch);
        let [o, e, i, k, r] = [outer, n, inner, wanted, room].map(|v| v as i64);
        let scalars = [code(dtype), 0, descending.into(), o, e, i, k, r, o * i, r * words as i64];
        let buffers = [x.as_ptr().cast_mut().cast(), values.as_mut_ptr().cast(), places.as_mut_ptr().cast()];
        call(sort::<2>, &buffers, &scalars, scratch, &[(0, o * i / 2), (o * i / 2, o * i)]);
        (values, places)
    }

    fn bytes(scratch: &mut [u128]) -> &mut [u64] {
        // SAFETY: the same memory as twice as many words.
        unsafe { std::slice::from_raw_parts_mut(scratch.as_mut_ptr().cast(), scratch.len() * 2) }
    }

    fn numbers(n: usize) -> impl Iterator<Item = u64> {
        let mut state = 0x9e37_79b9_7f4a_7c15u64;
        std::iter::repeat_with(move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        })
        .take(n)
    }

    /// Rows are sorted stably by a comparison.
    fn check<T: Copy + Default + std::fmt::Debug>(
        dtype: DType,
        x: &[T],
        shape: [usize; 3],
        order: impl Fn(&T, &T) -> std::cmp::Ordering,
    ) {
        let [outer, n, inner] = shape;
        for descending in [false, true] {
            for (wanted, room) in [(n, 2 * n), (n, n), (n.div_ceil(5), 2 * n), (n.min(3), 4 * n.min(3) + 256)]
            {
                let room = room.max(wanted);
                if room < n && wanted * 4 > n {
                    continue;
                }
                let (values, places) = both(dtype, x, shape, (descending, wanted, room));
                for row in 0..outer * inner {
                    let (o, w) = (row / inner, row % inner);
                    let at = |j: usize| x[(o * n + j) * inner + w];
                    let mut want: Vec<usize> = (0..n).collect();
                    want.sort_by(
                        |&a, &b| if descending { order(&at(b), &at(a)) } else { order(&at(a), &at(b)) },
                    );
                    for (k, &from) in want.iter().enumerate().take(wanted) {
                        let to = (o * wanted + k) * inner + w;
                        assert_eq!(
                            places[to], from as i64,
                            "{dtype:?} {shape:?} {descending} {wanted} {room}"
                        );
                        assert_eq!(format!("{:?}", values[to]), format!("{:?}", at(from)));
                    }
                }
            }
        }
    }

    fn floats(a: &f32, b: &f32) -> std::cmp::Ordering {
        match (a.is_nan(), b.is_nan()) {
            (true, true) => std::cmp::Ordering::Equal,
            (true, false) => std::cmp::Ordering::Greater,
            (false, true) => std::cmp::Ordering::Less,
            _ => a.partial_cmp(b).unwrap(),
        }
    }

    #[test]
    fn floats_in_order_with_nan_above_all_and_one_zero() {
        let special = [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0, -0.0, 1e-40, -1e-40];
        for shape in [[1, 1, 1], [3, 17, 1], [2, 300, 1], [1, 700, 2], [2, 5000, 1]] {
            let x: Vec<f32> =
                numbers(shape.iter().product())
                    .map(|r| {
                        if r % 7 == 0 {
                            special[(r >> 8) as usize % 8]
                        } else {
                            (r >> 40) as i32 as f32 - 8e6
                        }
                    })
                    .collect();
            check(DType::F32, &x, shape, floats);
            let wide: Vec<f64> = x.iter().map(|&v| v.into()).collect();
            check(DType::F64, &wide, shape, |a, b| floats(&(*a as f32), &(*b as f32)));
        }
    }

    #[test]
    fn integers_in_order_equals_as_they_stand() {
        for shape in [[2, 9, 1], [1, 1000, 1], [2, 300, 3]] {
            let n = shape.iter().product();
            check(DType::I8, &numbers(n).map(|r| r as i8).collect::<Vec<_>>(), shape, i8::cmp);
            check(DType::U8, &numbers(n).map(|r| r as u8).collect::<Vec<_>>(), shape, u8::cmp);
            check(DType::I16, &numbers(n).map(|r| r as i16).collect::<Vec<_>>(), shape, i16::cmp);
            check(DType::U16, &numbers(n).map(|r| r as u16).collect::<Vec<_>>(), shape, u16::cmp);
            check(DType::I32, &numbers(n).map(|r| r as i32 >> 20).collect::<Vec<_>>(), shape, i32::cmp);
            check(DType::U32, &numbers(n).map(|r| r as u32).collect::<Vec<_>>(), shape, u32::cmp);
            check(DType::I64, &numbers(n).map(|r| r as i64).collect::<Vec<_>>(), shape, i64::cmp);
            check(DType::U64, &numbers(n).collect::<Vec<_>>(), shape, u64::cmp);
        }
    }

    #[test]
    fn halves_are_ordered_as_their_values() {
        let x = [0x3c00u16, 0xbc00, 0x7e00, 0x7c00, 0xfc00, 0x8000, 0, 0xfe00];
        let (_, places) = both(DType::F16, &x, [1, 8, 1], (false, 8, 16));
        assert_eq!(places, [4, 1, 5, 6, 0, 3, 2, 7]);
        let x = [0x3f80u16, 0x7f80, 0x7f81, 0xff80];
        let (_, places) = both(DType::BF16, &x, [1, 4, 1], (true, 4, 8));
        assert_eq!(places, [2, 1, 0, 3]);
    }
}
