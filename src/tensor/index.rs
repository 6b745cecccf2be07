//! Indexing as in NumPy, and iteration along the first axis.

use std::ops::{Range, RangeFrom, RangeFull, RangeInclusive, RangeTo, RangeToInclusive};

use super::{Array, Shape, Strides, Tensor};
use crate::dim::Dim;
use crate::eager::fail;
use fornax_ir::Dim as Expr;
use fornax_ir::graph::ops::Slice;
use smallvec::SmallVec;

/// What an index says of one axis.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Index {
    /// One place; the axis vanishes.
    At(i64),
    /// Places from `start` to before `end`, every `step`-th. Negative bounds count from the end, bounds beyond the axis
    /// are its ends. A negative step goes backwards, from the last place unless there is a start.
    Range {
        /// First place.
        start: Option<i64>,
        /// The place to stop before.
        end: Option<i64>,
        /// Distance, not 0.
        step: i64,
    },
    /// As many whole axes as are left.
    Rest,
    /// A new axis of extent 1.
    New,
}

/// In an index, stands for as many whole axes as the other entries leave.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ellipsis;

/// In an index, a new axis of extent 1.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NewAxis;

/// Every `step`-th place of a range, in an index. A negative step goes backwards.
///
/// ```
/// use fornax::{Tensor, step};
///
/// let x = Tensor::arange(0, 6, 1);
/// assert_eq!(x.i(step(1.., 2)), Tensor::from([1, 3, 5]));
/// assert_eq!(x.i(step(.., -2)), Tensor::from([5, 3, 1]));
/// ```
pub fn step(range: impl Into<Index>, step: i64) -> Index {
    match range.into() {
        Index::Range { start, end, .. } => Index::Range { start, end, step },
        other => other,
    }
}

/// An index of [`Tensor::i`]: an entry, or a tuple of entries.
pub trait Indices {
    /// The entries.
    fn entries(self) -> SmallVec<[Index; 4]>;
}

macro_rules! indices {
    ($($Int:ty)*) => { $(
        impl From<$Int> for Index {
            fn from(at: $Int) -> Self {
                Index::At(place(at))
            }
        }
        impl From<Range<$Int>> for Index {
            fn from(r: Range<$Int>) -> Self {
                range(Some(place(r.start)), Some(place(r.end)))
            }
        }
        impl From<RangeInclusive<$Int>> for Index {
            fn from(r: RangeInclusive<$Int>) -> Self {
                range(Some(place(*r.start())), after(place(*r.end())))
            }
        }
        impl From<RangeFrom<$Int>> for Index {
            fn from(r: RangeFrom<$Int>) -> Self {
                range(Some(place(r.start)), None)
            }
        }
        impl From<RangeTo<$Int>> for Index {
            fn from(r: RangeTo<$Int>) -> Self {
                range(None, Some(place(r.end)))
            }
        }
        impl From<RangeToInclusive<$Int>> for Index {
            fn from(r: RangeToInclusive<$Int>) -> Self {
                range(None, after(place(r.end)))
            }
        }
    )* };
}
indices!(i32 i64 isize usize);

/// A number as a place: none lies beyond `i64::MAX`, and what did so would count from the end.
pub(super) fn place(number: impl TryInto<i64>) -> i64 {
    number.try_into().unwrap_or(i64::MAX)
}

fn range(start: Option<i64>, end: Option<i64>) -> Index {
    Index::Range { start, end, step: 1 }
}

/// The bound behind the last place; behind -1 is the end.
fn after(last: i64) -> Option<i64> {
    (last != -1).then_some(last.saturating_add(1))
}

impl From<RangeFull> for Index {
    fn from(_: RangeFull) -> Self {
        range(None, None)
    }
}
impl From<Ellipsis> for Index {
    fn from(_: Ellipsis) -> Self {
        Index::Rest
    }
}
impl From<NewAxis> for Index {
    fn from(_: NewAxis) -> Self {
        Index::New
    }
}

impl<T: Into<Index>> Indices for T {
    fn entries(self) -> SmallVec<[Index; 4]> {
        SmallVec::from_iter([self.into()])
    }
}
impl Indices for &[Index] {
    fn entries(self) -> SmallVec<[Index; 4]> {
        self.iter().cloned().collect()
    }
}
macro_rules! tuples {
    ($($($T:ident)*;)*) => { $(
        impl<$($T: Into<Index>),*> Indices for ($($T,)*) {
            #[allow(non_snake_case)] // the names of the types serve for the values
            fn entries(self) -> SmallVec<[Index; 4]> {
                let ($($T,)*) = self;
                [$($T.into()),*].into_iter().collect()
            }
        }
    )* };
}
tuples! { A; A B; A B C; A B C D; A B C D E; A B C D E F; A B C D E F G; A B C D E F G H; }

/// Places along one axis: `start + i * step` for `i` below `len`.
struct Places {
    start: Dim,
    len: Dim,
    step: i64,
}

impl Places {
    /// Of an axis whose extent is known.
    fn of(start: Option<i64>, end: Option<i64>, step: i64, n: usize) -> Places {
        let n = n as i64;
        let clipped =
            |bound: i64, lo: i64, hi: i64| (if bound < 0 { bound + n } else { bound }).clamp(lo, hi);
        let (start, len) = if step > 0 {
            let start = start.map_or(0, |b| clipped(b, 0, n));
            let end = end.map_or(n, |b| clipped(b, 0, n));
            (start, (end - start).max(0).div_ceil_by(step))
        } else {
            let start = start.map_or(n - 1, |b| clipped(b, -1, n - 1));
            let end = end.map_or(-1, |b| clipped(b, -1, n - 1));
            (start, (start - end).max(0).div_ceil_by(step.saturating_neg()))
        };
        Places { start: Dim::from(if len == 0 { 0 } else { start }), len: Dim::from(len), step }
    }

    /// Of an axis whose extent is symbolic: bounds are taken to lie within it, which the graph checks.
    fn symbolic(start: Option<i64>, end: Option<i64>, step: i64, n: &Dim) -> Places {
        let bound = |b: i64| if b < 0 { n + b } else { Dim::from(b) };
        let (start, room) = if step > 0 {
            let start = start.map_or(Dim::from(0), bound);
            let room = end.map_or(n.clone(), bound) - &start;
            (start, room)
        } else {
            let start = start.map_or(n - 1, bound);
            let room = &start - end.map_or(Dim::from(-1), bound);
            (start, room)
        };
        let len = if step.abs_diff(0) == 1 { room } else { room.div_ceil(step.saturating_abs()) };
        Places { start, len, step }
    }
}

/// Division rounding up, of numbers that are not negative.
trait DivCeil {
    fn div_ceil_by(self, by: Self) -> Self;
}
impl DivCeil for i64 {
    fn div_ceil_by(self, by: i64) -> i64 {
        self / by + i64::from(self % by != 0)
    }
}

impl Tensor {
    /// The part that an index names, as in NumPy: an entry for each axis from the first on (a number, a range, `..` for
    /// a whole axis, [`step`], [`Ellipsis`], [`NewAxis`]); further axes are whole. It shares this tensor's storage.
    ///
    /// # Panics
    /// At the caller's line, when there are too many entries, a number is not within its axis, or a step is 0.
    ///
    /// ```
    /// use fornax::{Ellipsis, NewAxis, Tensor};
    ///
    /// let x = Tensor::arange(0, 12, 1).reshape([3, 4]);
    /// assert_eq!(x.i(1), Tensor::from([4, 5, 6, 7]));
    /// assert_eq!(x.i((.., -1)), Tensor::from([3, 7, 11]));
    /// assert_eq!(x.i((1.., 0..2)), Tensor::from([[4, 5], [8, 9]]));
    /// assert_eq!(x.i((Ellipsis, NewAxis, 0)).shape(), [3, 1]);
    /// ```
    #[must_use]
    #[track_caller]
    pub fn i(&self, index: impl Indices) -> Tensor {
        let mut entries = index.entries();
        self.fill_rest(&mut entries);
        let mut places = Vec::with_capacity(self.rank());
        // What becomes of the sliced axes: dropped, kept, or a new one before them.
        let mut result: SmallVec<[Index; 4]> = SmallVec::new();
        for entry in entries {
            if entry != Index::New {
                places.push(self.places(places.len(), &entry));
            }
            result.push(entry);
        }
        let sliced = self.sliced(&places);
        let mut axis = 0;
        let mut out = sliced;
        for entry in result {
            match entry {
                Index::At(_) => out = out.squeeze(axis),
                Index::New => {
                    out = out.unsqueeze(axis);
                    axis += 1;
                }
                _ => axis += 1,
            }
        }
        out
    }

    /// Replaces [`Index::Rest`] by whole axes, and adds those that are missing at the end.
    #[track_caller]
    fn fill_rest(&self, entries: &mut SmallVec<[Index; 4]>) {
        let named = entries.iter().filter(|e| !matches!(e, Index::Rest | Index::New)).count();
        let rests = entries.iter().filter(|e| **e == Index::Rest).count();
        if named > self.rank() || rests > 1 {
            let what = if rests > 1 {
                "an index can have one `Ellipsis`".to_string()
            } else {
                format!("the index has {named} entries for {} axes", self.rank())
            };
            fail("index", &[self.into()], &what);
        }
        let at = entries.iter().position(|e| *e == Index::Rest);
        if let Some(at) = at {
            entries.remove(at);
        }
        let at = at.unwrap_or(entries.len());
        entries.insert_many(at, std::iter::repeat_n(range(None, None), self.rank() - named));
    }

    #[track_caller]
    fn places(&self, axis: usize, entry: &Index) -> Places {
        let own = self.dim(axis as isize);
        match *entry {
            Index::At(at) => {
                let start = if at < 0 { &own + at } else { Dim::from(at) };
                if own.value().is_some_and(|n| start.value().is_none_or(|i| i >= n)) {
                    let what = format!("there is no index {at} on axis {axis}, whose extent is {own}");
                    fail("index", &[self.into()], &what);
                }
                Places { start, len: Dim::from(1), step: 1 }
            }
            Index::Range { step: 0, .. } => fail("index", &[self.into()], "a step must not be 0"),
            Index::Range { start, end, step } => match own.value() {
                Some(n) => Places::of(start, end, step, n),
                None => Places::symbolic(start, end, step, &own),
            },
            Index::Rest | Index::New => unreachable!("these name no axis"),
        }
    }

    #[track_caller]
    fn sliced(&self, places: &[Places]) -> Tensor {
        let view = |a: &Array| {
            let (mut shape, mut strides) = (Shape::new(), Strides::new());
            let mut first = 0;
            for (p, &stride) in places.iter().zip(a.strides()) {
                shape.push(p.len.value().expect("the extents of an array are numbers"));
                // Of one place there is no next one.
                let one = p.len.value().is_some_and(|len| len <= 1);
                strides.push(if one { stride } else { stride * p.step as isize });
                first += p.start.value().expect("as its extents") as isize * stride;
            }
            a.view(if shape.contains(&0) { 0 } else { first }, shape, strides)
        };
        let expressions =
            |f: fn(&Places) -> &Dim| -> Vec<Expr> { places.iter().map(|p| f(p).expr().clone()).collect() };
        let op = Slice {
            start: expressions(|p| &p.start),
            size: expressions(|p| &p.len),
            step: places.iter().map(|p| p.step).collect(),
        };
        self.view_or_record("index", view, |b, x| b.add(op.clone(), &[x]))
    }

    /// The parts along the first axis, one after the other.
    ///
    /// # Panics
    /// At the caller's line, when there is no axis, or its extent is symbolic.
    #[track_caller]
    pub fn iter(&self) -> Rows<'_> {
        if self.rank() == 0 {
            fail("iter", &[self.into()], "a tensor of rank 0 has no axis to go along");
        }
        let n = self.dim(0);
        let Some(n) = n.value() else {
            fail(
                "iter",
                &[self.into()],
                &format!("the extent {n} is symbolic; `scan` goes along such an axis"),
            )
        };
        Rows { tensor: self, range: 0..n }
    }
}

/// The parts of a tensor along its first axis.
#[derive(Clone, Debug)]
pub struct Rows<'a> {
    tensor: &'a Tensor,
    range: Range<usize>,
}

impl Iterator for Rows<'_> {
    type Item = Tensor;
    fn next(&mut self) -> Option<Tensor> {
        self.range.next().map(|i| self.tensor.select(0, i as isize))
    }
    fn size_hint(&self) -> (usize, Option<usize>) {
        self.range.size_hint()
    }
}
impl DoubleEndedIterator for Rows<'_> {
    fn next_back(&mut self) -> Option<Tensor> {
        self.range.next_back().map(|i| self.tensor.select(0, i as isize))
    }
}
impl ExactSizeIterator for Rows<'_> {}

impl<'a> IntoIterator for &'a Tensor {
    type Item = Tensor;
    type IntoIter = Rows<'a>;
    #[track_caller]
    fn into_iter(self) -> Rows<'a> {
        self.iter()
    }
}
