//! Values out of tensors.

use fornax_ir::literal::Element;

use super::Tensor;
use crate::eager::fail;

impl Tensor {
    /// The value of a tensor of one element. Bool reads as `u8`; [`Tensor::is_true`] gives a `bool`.
    ///
    /// # Panics
    /// At the caller's line, when there is not one element, the dtype is another, or the tensor is being traced.
    ///
    /// ```
    /// # use fornax::Tensor;
    /// assert_eq!(Tensor::from([[2.5f32]]).item::<f32>(), 2.5);
    /// ```
    #[track_caller]
    pub fn item<T: Element>(&self) -> T {
        let elements = self.array().numel();
        if elements != 1 {
            fail("item", &[self.into()], &format!("it reads one element, and there are {elements}"));
        }
        match self.as_slice::<T>() {
            Ok(values) => values[0],
            Err(error) => fail("item", &[self.into()], &format!("{error}; use `to_dtype`")),
        }
    }

    /// Whether the one element is true (not zero).
    ///
    /// # Panics
    /// At the caller's line, when there is not one element, or the tensor is being traced.
    #[track_caller]
    pub fn is_true(&self) -> bool {
        let literal = self.as_literal();
        if literal.len() != 1 {
            fail(
                "is_true",
                &[self.into()],
                &format!("it reads one element, and there are {}", literal.len()),
            );
        }
        literal.get_f64(0) != 0.0
    }

    /// Whether shapes are equal and each pair of elements is close: `|a - b| <= atol + rtol * |b|`. NaN is close to
    /// nothing, an infinity to itself.
    ///
    /// # Panics
    /// At the caller's line, when a tensor is being traced.
    #[track_caller]
    pub fn allclose(&self, other: &Tensor, rtol: f64, atol: f64) -> bool {
        let (a, b) = (self.as_literal(), other.as_literal());
        let close = |i| {
            let (a, b) = (a.get_f64(i), b.get_f64(i));
            a == b || (b.is_finite() && (a - b).abs() <= atol + rtol * b.abs())
        };
        a.shape() == b.shape() && (0..a.len()).all(close)
    }
}
