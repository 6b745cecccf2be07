//! Arguments of operations: axes, shapes, and numbers beside tensors.

use std::ops::RangeFull;

use fornax_ir::DType;
use fornax_ir::scalar::Scalar;
use smallvec::SmallVec;

use super::Tensor;
use super::index::place;
use crate::dim::Dim;
use crate::eager::{Operand, fitting};

/// One axis, several, or all (`..`). Negative axes count from the end.
pub trait Axes {
    /// The axes as written; `None` is all.
    fn list(self) -> Option<SmallVec<[i64; 4]>>;
}

/// The extents of a shape: numbers, of which -1 stands for what the element count leaves, and [`Dim`]s. Arrays, slices,
/// vectors and tuples of these.
pub trait IntoShape {
    /// The extents as written.
    fn sizes(self) -> SmallVec<[Size; 4]>;
}

/// An extent in a shape argument.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Size {
    /// So many; -1 is what the element count leaves.
    Number(i64),
    /// An extent that may be symbolic.
    Dim(Dim),
}

/// A number beside a tensor: it takes the tensor's dtype.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Number {
    /// A truth value.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A float.
    Float(f64),
}

/// The second operand of an operation: a tensor, or a number that takes the first one's dtype.
#[derive(Clone, Copy, Debug)]
pub enum Value<'a> {
    /// A tensor.
    Tensor(&'a Tensor),
    /// A number.
    Number(Number),
}

macro_rules! integers {
    ($($Int:ty)*) => { $(
        impl Axes for $Int {
            fn list(self) -> Option<SmallVec<[i64; 4]>> {
                Some(SmallVec::from_slice(&[place(self)]))
            }
        }
        impl<const N: usize> Axes for [$Int; N] {
            fn list(self) -> Option<SmallVec<[i64; 4]>> {
                Some(self.iter().map(|&a| place(a)).collect())
            }
        }
        impl Axes for &[$Int] {
            fn list(self) -> Option<SmallVec<[i64; 4]>> {
                Some(self.iter().map(|&a| place(a)).collect())
            }
        }
        impl From<$Int> for Size {
            fn from(n: $Int) -> Self {
                Size::Number(place(n))
            }
        }
        impl From<&$Int> for Size {
            fn from(n: &$Int) -> Self {
                Size::Number(place(*n))
            }
        }
    )* };
}
integers!(i32 i64 isize usize);

impl Axes for RangeFull {
    fn list(self) -> Option<SmallVec<[i64; 4]>> {
        None
    }
}

impl From<Dim> for Size {
    fn from(dim: Dim) -> Self {
        Size::Dim(dim)
    }
}
impl From<&Dim> for Size {
    fn from(dim: &Dim) -> Self {
        Size::Dim(dim.clone())
    }
}

impl<T: Into<Size>, const N: usize> IntoShape for [T; N] {
    fn sizes(self) -> SmallVec<[Size; 4]> {
        self.into_iter().map(Into::into).collect()
    }
}
impl<'a, T, const N: usize> IntoShape for &'a [T; N]
where
    &'a T: Into<Size>,
{
    fn sizes(self) -> SmallVec<[Size; 4]> {
        self.iter().map(Into::into).collect()
    }
}
impl<'a, T> IntoShape for &'a [T]
where
    &'a T: Into<Size>,
{
    fn sizes(self) -> SmallVec<[Size; 4]> {
        self.iter().map(Into::into).collect()
    }
}
impl<T: Into<Size>> IntoShape for Vec<T> {
    fn sizes(self) -> SmallVec<[Size; 4]> {
        self.into_iter().map(Into::into).collect()
    }
}
impl<'a, T> IntoShape for &'a Vec<T>
where
    &'a T: Into<Size>,
{
    fn sizes(self) -> SmallVec<[Size; 4]> {
        self.iter().map(Into::into).collect()
    }
}
impl IntoShape for () {
    fn sizes(self) -> SmallVec<[Size; 4]> {
        SmallVec::new()
    }
}
macro_rules! tuples {
    ($($($T:ident)*;)*) => { $(
        impl<$($T: Into<Size>),*> IntoShape for ($($T,)*) {
            #[allow(non_snake_case)] // the names of the types serve for the values
            fn sizes(self) -> SmallVec<[Size; 4]> {
                let ($($T,)*) = self;
                [$($T.into()),*].into_iter().collect()
            }
        }
    )* };
}
tuples! { A; A B; A B C; A B C D; A B C D E; A B C D E F; }

macro_rules! numbers {
    ($($Variant:ident: $($Number:ty)*;)*) => { $($(
        impl From<$Number> for Number {
            fn from(v: $Number) -> Self {
                Number::$Variant(v.into())
            }
        }
        impl From<$Number> for Value<'_> {
            fn from(v: $Number) -> Self {
                Value::Number(v.into())
            }
        }
    )*)* };
}
numbers! { Bool: bool; Int: i64 i32 u8 i8; Float: f64 f32; }

impl From<usize> for Number {
    /// Saturates at `i64::MAX`.
    fn from(v: usize) -> Self {
        Number::Int(i64::try_from(v).unwrap_or(i64::MAX))
    }
}
impl From<usize> for Value<'_> {
    fn from(v: usize) -> Self {
        Value::Number(v.into())
    }
}

impl From<Number> for Value<'_> {
    fn from(number: Number) -> Self {
        Value::Number(number)
    }
}
impl<'a> From<&'a Tensor> for Value<'a> {
    fn from(tensor: &'a Tensor) -> Self {
        Value::Tensor(tensor)
    }
}

impl Number {
    /// The nearest of a dtype, or why the dtype cannot hold it.
    pub(crate) fn to(self, dtype: DType) -> Result<Scalar, String> {
        match self {
            Number::Bool(v) => Ok(Scalar::from_i64(dtype, v.into())),
            Number::Int(v) if dtype.is_float() => Ok(Scalar::from_f64(dtype, v as f64)),
            Number::Int(v) => {
                let scalar = Scalar::from_i64(dtype, v);
                let fits = scalar.as_i64() == v && !(dtype == DType::U64 && v < 0);
                if fits {
                    Ok(scalar)
                } else {
                    Err(format!("{v} is no value of {dtype}; use `to_dtype` on the tensor first"))
                }
            }
            Number::Float(v) if dtype.is_float() => Ok(Scalar::from_f64(dtype, v)),
            // A whole number is one in any spelling.
            Number::Float(v) if v.fract() == 0.0 && v.abs() < 9e15 => Number::Int(v as i64).to(dtype),
            Number::Float(v) => {
                Err(format!("{v} is no value of {dtype}; use `to_dtype` to make the tensor a float one"))
            }
        }
    }
}

impl<'a> Value<'a> {
    /// As operand beside `first`.
    #[track_caller]
    pub(crate) fn beside(self, op: &str, first: &Tensor) -> Operand<'a> {
        match self {
            Value::Tensor(t) => Operand::Tensor(t),
            Value::Number(n) => Operand::Scalar(fitting(op, &[first.into()], n.to(first.dtype()))),
        }
    }
}

/// The place of an axis; `what` names it in errors.
pub(crate) fn axis_of(axis: i64, rank: usize) -> Result<usize, String> {
    let place = if axis < 0 { axis + rank as i64 } else { axis };
    if (0..rank as i64).contains(&place) {
        return Ok(place as usize);
    }
    Err(match rank {
        0 => format!("there is no axis {axis}: a tensor of rank 0 has none"),
        _ => format!("there is no axis {axis}: they are 0 to {}, or -{rank} to -1", rank - 1),
    })
}

/// The places of axes, in the order written; each at most once.
pub(crate) fn axes_of(axes: impl Axes, rank: usize) -> Result<SmallVec<[u32; 4]>, String> {
    let Some(list) = axes.list() else { return Ok((0..rank as u32).collect()) };
    let mut places: SmallVec<[u32; 4]> = SmallVec::new();
    for axis in list {
        let place = axis_of(axis, rank)? as u32;
        if places.contains(&place) {
            return Err(format!("axis {place} is given twice"));
        }
        places.push(place);
    }
    Ok(places)
}

impl Tensor {
    /// The place of one of this tensor's axes; panics at the caller's line when there is none.
    #[track_caller]
    pub(crate) fn axis(&self, op: &str, axis: isize) -> usize {
        fitting(op, &[self.into()], axis_of(axis as i64, self.rank()))
    }

    /// The places of some of this tensor's axes, ascending.
    #[track_caller]
    pub(crate) fn sorted_axes(&self, op: &str, axes: impl Axes) -> SmallVec<[u32; 4]> {
        let mut places = fitting(op, &[self.into()], axes_of(axes, self.rank()));
        places.sort_unstable();
        places
    }
}
