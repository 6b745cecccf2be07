//! Elements in order. NaN is larger than every number, and equal elements keep the order in which they stand, also where
//! it descends.

use fornax_ir::Dim as Expr;
use fornax_ir::graph::ops::{Sort, Sorted};

use super::Tensor;
use crate::eager::{Key, apply_one, one};

impl Tensor {
    /// The first elements of an order, or their places.
    #[track_caller]
    fn ordered(
        &self,
        name: &'static str,
        of: Sorted,
        axis: usize,
        descending: bool,
        count: Option<usize>,
    ) -> Tensor {
        let wanted = count.map_or(-1, super::index::place);
        let key = Key::tensors(name).int(of as i64).int(axis as i64).flag(descending).int(wanted);
        apply_one(key, &[self.into()], &|b, v| {
            let all = b.shape(v[0]).get(axis).cloned().unwrap_or(Expr::ONE);
            let count = if count.is_some() { Expr::constant(wanted) } else { all };
            Ok(one(b.add(Sort { of, axis: axis as u32, descending, count }, v)?))
        })
    }

    /// Elements and places; where tensors have elements, these are read at the places found.
    #[track_caller]
    fn both(
        &self,
        name: &'static str,
        axis: isize,
        descending: bool,
        count: Option<usize>,
    ) -> (Tensor, Tensor) {
        let at = self.axis(name, axis);
        let places = self.ordered(name, Sorted::Places, at, descending, count);
        let values = match self.is_concrete() {
            true => self.gather(at as isize, &places),
            false => self.ordered(name, Sorted::Values, at, descending, count),
        };
        (values, places)
    }

    /// The elements in ascending (or descending) order along an axis, and their places in this tensor, i64.
    ///
    /// # Panics
    /// At the caller's line, when there is no such axis.
    ///
    /// ```
    /// # use fornax::Tensor;
    /// let (values, places) = Tensor::from([3.0f32, 1.0, 2.0]).sort(0, false);
    /// assert_eq!(values, Tensor::from([1.0f32, 2.0, 3.0]));
    /// assert_eq!(places, Tensor::from([1i64, 2, 0]));
    /// ```
    #[must_use]
    #[track_caller]
    pub fn sort(&self, axis: isize, descending: bool) -> (Tensor, Tensor) {
        self.both("sort", axis, descending, None)
    }

    /// The places of the elements in ascending (or descending) order along an axis, i64.
    ///
    /// # Panics
    /// At the caller's line, when there is no such axis.
    #[must_use]
    #[track_caller]
    pub fn argsort(&self, axis: isize, descending: bool) -> Tensor {
        let axis = self.axis("argsort", axis);
        self.ordered("argsort", Sorted::Places, axis, descending, None)
    }

    /// The `k` largest (or smallest) elements along an axis, the best first, and their places, i64.
    ///
    /// # Panics
    /// At the caller's line, when there is no such axis, or it has fewer elements.
    ///
    /// ```
    /// # use fornax::Tensor;
    /// let (values, places) = Tensor::from([3, 1, 4, 1, 5]).topk(2, 0, true);
    /// assert_eq!((values, places), (Tensor::from([5, 4]), Tensor::from([4i64, 2])));
    /// ```
    #[must_use]
    #[track_caller]
    pub fn topk(&self, k: usize, axis: isize, largest: bool) -> (Tensor, Tensor) {
        self.both("topk", axis, largest, Some(k))
    }
}
