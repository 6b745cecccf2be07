//! Tensors from values.

use std::path::Path;

use fornax_ir::DType;
use fornax_ir::literal::{Literal, LiteralError};
use fornax_ir::scalar::Scalar;

use super::args::Number;
use super::{Array, Tensor};
use crate::eager::{fail, fitting};
use crate::io::{FileError, read_npy};

/// A number of which there are ranges: the dtypes of [`Tensor::arange`].
pub trait RangeElement: fornax_ir::literal::Element {
    /// How many steps lie below the end.
    fn count(start: Self, end: Self, step: Self) -> usize;
    /// `start + i * step`.
    fn at(start: Self, step: Self, i: usize) -> Self;
}

macro_rules! range_elements {
    ($($Int:ty)*; $($Float:ty)*) => {
        $(impl RangeElement for $Int {
            fn count(start: Self, end: Self, step: Self) -> usize {
                let (start, end, step) = (start as i128, end as i128, step as i128);
                if step == 0 {
                    return 0;
                }
                let steps = (end - start + step - step.signum()) / step;
                usize::try_from(steps).unwrap_or(0)
            }
            fn at(start: Self, step: Self, i: usize) -> Self {
                (start as i128 + step as i128 * i as i128) as $Int
            }
        })*
        $(impl RangeElement for $Float {
            fn count(start: Self, end: Self, step: Self) -> usize {
                let steps = ((f64::from(end) - f64::from(start)) / f64::from(step)).ceil();
                if steps > 0.0 { steps as usize } else { 0 }
            }
            fn at(start: Self, step: Self, i: usize) -> Self {
                (f64::from(start) + i as f64 * f64::from(step)) as $Float
            }
        })*
    };
}
range_elements!(i64 i32 i8 u8; f32 f64);

impl Tensor {
    /// The number at every place. It takes the memory of one element.
    ///
    /// # Panics
    /// At the caller's line, when the number is no value of the dtype, or memory could not hold the shape.
    ///
    /// ```
    /// # use fornax::{DType, Tensor};
    /// assert_eq!(Tensor::full([2], 1.5, DType::F32), Tensor::from([1.5f32, 1.5]));
    /// ```
    #[track_caller]
    pub fn full(shape: impl AsRef<[usize]>, value: impl Into<Number>, dtype: DType) -> Self {
        let scalar = fitting("full", &[], value.into().to(dtype));
        Tensor::filled("full", scalar, shape.as_ref())
    }

    /// One at every place (true). It takes the memory of one element.
    ///
    /// # Panics
    /// At the caller's line, when memory could not hold the shape.
    #[track_caller]
    pub fn ones(shape: impl AsRef<[usize]>, dtype: DType) -> Self {
        Tensor::filled("ones", Scalar::from_i64(dtype, 1), shape.as_ref())
    }

    #[track_caller]
    fn filled(name: &str, scalar: Scalar, shape: &[usize]) -> Self {
        fitting(name, &[], Array::filled(scalar, shape)).into()
    }

    /// Zero at every place (false), in the shape and dtype of this tensor.
    ///
    /// # Panics
    /// As [`Tensor::shape`].
    #[must_use]
    #[track_caller]
    pub fn zeros_like(&self) -> Self {
        Tensor::filled("zeros_like", Scalar::from_i64(self.dtype(), 0), self.shape())
    }

    /// One at every place (true), in the shape and dtype of this tensor.
    ///
    /// # Panics
    /// As [`Tensor::shape`].
    #[must_use]
    #[track_caller]
    pub fn ones_like(&self) -> Self {
        Tensor::filled("ones_like", Scalar::from_i64(self.dtype(), 1), self.shape())
    }

    /// The `n`-by-`n` matrix with ones on its diagonal.
    ///
    /// # Panics
    /// At the caller's line, when memory does not suffice.
    #[track_caller]
    pub fn eye(n: usize, dtype: DType) -> Self {
        let values = (0..n).flat_map(|row| (0..n).map(move |column| i64::from(row == column)));
        fitting("eye", &[], Tensor::from_i64s(values, dtype, &[n, n]))
    }

    /// `start`, `start + step`, .. below `end` (above it, for a negative step).
    ///
    /// # Panics
    /// At the caller's line, when the step is zero, or memory does not suffice.
    ///
    /// ```
    /// # use fornax::Tensor;
    /// assert_eq!(Tensor::arange(0, 7, 3), Tensor::from([0, 3, 6]));
    /// ```
    #[track_caller]
    pub fn arange<T: RangeElement>(start: T, end: T, step: T) -> Self {
        assert!(step != T::zeroed(), "arange: the step must not be 0");
        let n = T::count(start, end, step);
        let mut values = Vec::new();
        if values.try_reserve_exact(n).is_err() {
            fail("arange", &[], &LiteralError::TooLarge(vec![n]).to_string());
        }
        values.extend((0..n).map(|i| T::at(start, step, i)));
        Tensor::vector(values)
    }

    /// `n` numbers from `start` to `end`, both included, at equal distances; of a float dtype.
    ///
    /// # Panics
    /// At the caller's line, when the dtype is no float, or memory does not suffice.
    #[track_caller]
    pub fn linspace(start: f64, end: f64, n: usize, dtype: DType) -> Self {
        assert!(dtype.is_float(), "linspace: {dtype} is no float dtype");
        let step = if n > 1 { (end - start) / (n - 1) as f64 } else { 0.0 };
        // From the nearer end, so that both ends are exact.
        let value =
            |i: usize| if 2 * i < n { start + i as f64 * step } else { end - (n - 1 - i) as f64 * step };
        let value = |i| if n == 1 { start } else { value(i) };
        fitting("linspace", &[], Tensor::from_f64s((0..n).map(value), dtype, &[n]))
    }

    /// Reads an array from an `.npy` file; [`crate::io`] has archives and folders of arrays.
    ///
    /// # Errors
    /// [`FileError`] when the file cannot be read or is no array of numbers.
    pub fn read_npy(path: impl AsRef<Path>) -> Result<Self, FileError> {
        read_npy(path)
    }

    fn vector<T: fornax_ir::literal::Element>(data: Vec<T>) -> Self {
        Literal::from_vec(&[data.len()], data).expect("as long as it is").into()
    }
}

macro_rules! conversions {
    ($($Number:ty)*) => { $(
        impl From<$Number> for Tensor {
            /// A tensor of rank 0.
            fn from(value: $Number) -> Self {
                Tensor::scalar(value)
            }
        }
        impl From<Vec<$Number>> for Tensor {
            /// A vector, without a copy.
            fn from(data: Vec<$Number>) -> Self {
                Tensor::vector(data)
            }
        }
        impl FromIterator<$Number> for Tensor {
            /// A vector.
            fn from_iter<I: IntoIterator<Item = $Number>>(values: I) -> Self {
                Tensor::vector(values.into_iter().collect())
            }
        }
        nested!($Number, |data, shape| Tensor::from_vec(data, shape));
    )* };
}

macro_rules! nested {
    ($Number:ty, |$data:ident, $shape:ident| $make:expr) => {
        impl From<&[$Number]> for Tensor {
            /// A vector, copied.
            fn from(values: &[$Number]) -> Self {
                let ($data, $shape) = (values.to_vec(), &[values.len()][..]);
                $make.expect("as long as it is")
            }
        }
        impl<const A: usize> From<[$Number; A]> for Tensor {
            /// A vector.
            fn from(values: [$Number; A]) -> Self {
                let ($data, $shape) = (values.to_vec(), &[A][..]);
                $make.expect("as many elements as the arrays have")
            }
        }
        impl<const A: usize, const B: usize> From<[[$Number; B]; A]> for Tensor {
            /// A matrix.
            fn from(values: [[$Number; B]; A]) -> Self {
                let ($data, $shape) = (values.as_flattened().to_vec(), &[A, B][..]);
                $make.expect("as many elements as the arrays have")
            }
        }
        impl<const A: usize, const B: usize, const C: usize> From<[[[$Number; C]; B]; A]> for Tensor {
            /// A tensor of three axes.
            fn from(values: [[[$Number; C]; B]; A]) -> Self {
                let ($data, $shape) = (values.as_flattened().as_flattened().to_vec(), &[A, B, C][..]);
                $make.expect("as many elements as the arrays have")
            }
        }
        impl<const A: usize, const B: usize, const C: usize, const D: usize> From<[[[[$Number; D]; C]; B]; A]>
            for Tensor
        {
            /// A tensor of four axes.
            fn from(values: [[[[$Number; D]; C]; B]; A]) -> Self {
                let flat = values.as_flattened().as_flattened().as_flattened();
                let ($data, $shape) = (flat.to_vec(), &[A, B, C, D][..]);
                $make.expect("as many elements as the arrays have")
            }
        }
    };
}

conversions!(f32 f64 i32 i64 u8 i8);
nested!(bool, |data, shape| Tensor::from_bools(&data, shape));

impl From<bool> for Tensor {
    /// A tensor of rank 0.
    fn from(value: bool) -> Self {
        Tensor::filled("from", Scalar::bool(value), &[])
    }
}

impl From<Vec<bool>> for Tensor {
    /// A vector.
    fn from(data: Vec<bool>) -> Self {
        Tensor::from(&data[..])
    }
}

impl FromIterator<bool> for Tensor {
    /// A vector.
    fn from_iter<I: IntoIterator<Item = bool>>(values: I) -> Self {
        values.into_iter().collect::<Vec<bool>>().into()
    }
}
