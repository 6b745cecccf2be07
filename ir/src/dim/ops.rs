//! Conversions and operator traits of [`Dim`].

use super::{Dim, algebra};
use std::iter::{Product, Sum};
use std::ops::{Add, Mul, Neg, Sub};

impl From<i64> for Dim {
    fn from(v: i64) -> Dim {
        Dim::constant(v)
    }
}

impl From<i32> for Dim {
    fn from(v: i32) -> Dim {
        Dim::constant(v.into())
    }
}

/// A size beyond `i64::MAX` is a poisoned dim.
impl From<usize> for Dim {
    fn from(v: usize) -> Dim {
        i64::try_from(v).map_or(Dim::POISONED, Dim::constant)
    }
}

macro_rules! binary {
    ($trait:ident, $method:ident, $f:path) => {
        impl $trait<&Dim> for &Dim {
            type Output = Dim;
            fn $method(self, rhs: &Dim) -> Dim {
                $f(self, rhs)
            }
        }
        impl $trait<Dim> for &Dim {
            type Output = Dim;
            fn $method(self, rhs: Dim) -> Dim {
                $f(self, &rhs)
            }
        }
        impl $trait<&Dim> for Dim {
            type Output = Dim;
            fn $method(self, rhs: &Dim) -> Dim {
                $f(&self, rhs)
            }
        }
        impl $trait<Dim> for Dim {
            type Output = Dim;
            fn $method(self, rhs: Dim) -> Dim {
                $f(&self, &rhs)
            }
        }
        impl $trait<i64> for &Dim {
            type Output = Dim;
            fn $method(self, rhs: i64) -> Dim {
                $f(self, &Dim::constant(rhs))
            }
        }
        impl $trait<i64> for Dim {
            type Output = Dim;
            fn $method(self, rhs: i64) -> Dim {
                $f(&self, &Dim::constant(rhs))
            }
        }
    };
}

binary!(Add, add, algebra::add);
binary!(Sub, sub, algebra::sub);
binary!(Mul, mul, algebra::mul);

impl Neg for &Dim {
    type Output = Dim;
    fn neg(self) -> Dim {
        algebra::scale(self, -1)
    }
}

impl Neg for Dim {
    type Output = Dim;
    fn neg(self) -> Dim {
        -&self
    }
}

impl Sum for Dim {
    fn sum<I: Iterator<Item = Dim>>(iter: I) -> Dim {
        iter.fold(Dim::ZERO, |a, b| a + b)
    }
}

impl<'a> Sum<&'a Dim> for Dim {
    fn sum<I: Iterator<Item = &'a Dim>>(iter: I) -> Dim {
        iter.fold(Dim::ZERO, |a, b| a + b)
    }
}

impl Product for Dim {
    fn product<I: Iterator<Item = Dim>>(iter: I) -> Dim {
        iter.fold(Dim::ONE, |a, b| a * b)
    }
}

impl<'a> Product<&'a Dim> for Dim {
    fn product<I: Iterator<Item = &'a Dim>>(iter: I) -> Dim {
        iter.fold(Dim::ONE, |a, b| a * b)
    }
}
