//! Elements by index, and tensors joined to one.

use fornax_ir::graph::ops::{Concat, Gather, Iota, Pad};
use fornax_ir::{DType, Dim as Expr};

use super::Tensor;
use super::args::{Number, Value};
use super::elementwise::one_dtype;
use crate::eager::{Key, Operand, apply_one, fail, one};

/// Most tensors that one program joins; more are joined in several steps.
const JOINED: usize = 8;

/// Tensors one after the other along an axis; their other extents are equal.
///
/// # Panics
/// At the caller's line, when there are none, or shapes or dtypes don't fit.
///
/// ```
/// use fornax::{Tensor, cat};
///
/// let x = Tensor::from([[1, 2]]);
/// assert_eq!(cat(&[&x, &x], 0), Tensor::from([[1, 2], [1, 2]]));
/// assert_eq!(cat(&[&x, &x], -1), Tensor::from([[1, 2, 1, 2]]));
/// ```
#[track_caller]
pub fn cat(tensors: &[&Tensor], axis: isize) -> Tensor {
    let Some(first) = tensors.first() else { panic!("cat: there is no tensor to join") };
    let operands: Vec<Operand<'_>> = tensors.iter().map(|&t| t.into()).collect();
    one_dtype("cat", &operands);
    let axis = first.axis("cat", axis);
    if let Some(other) = tensors.iter().find(|t| t.rank() != first.rank()) {
        fail("cat", &[(*first).into(), (*other).into()], "the tensors must have the same number of axes");
    }
    let mut parts: Vec<Tensor> = tensors.iter().map(|&t| t.clone()).collect();
    while parts.len() > 1 {
        let mut joined = Vec::with_capacity(parts.len().div_ceil(JOINED));
        for group in parts.chunks(JOINED) {
            joined.push(joined_group(group, axis));
        }
        parts = joined;
    }
    parts.pop().expect("one is left")
}

#[track_caller]
fn joined_group(group: &[Tensor], axis: usize) -> Tensor {
    if let [only] = group {
        return only.clone();
    }
    let operands: Vec<Operand<'_>> = group.iter().map(|t| t.into()).collect();
    let mut key = Key::tensors("cat").int(axis as i64);
    for i in 1..group.len() {
        for k in (0..group[0].rank()).filter(|&k| k != axis) {
            key = key.link((i as u8, k), (0, k));
        }
    }
    apply_one(key, &operands, &|b, v| Ok(one(b.add(Concat { axis: axis as u32 }, v)?)))
}

/// Tensors of one shape along a new axis, which then stands at `axis`.
///
/// # Panics
/// At the caller's line, when there are none, or shapes or dtypes differ.
///
/// ```
/// use fornax::{Tensor, stack};
///
/// let x = Tensor::from([1, 2]);
/// assert_eq!(stack(&[&x, &x], 1), Tensor::from([[1, 1], [2, 2]]));
/// ```
#[track_caller]
pub fn stack(tensors: &[&Tensor], axis: isize) -> Tensor {
    let Some(first) = tensors.first() else { panic!("stack: there is no tensor to join") };
    let axis = if axis < 0 { axis + first.rank() as isize + 1 } else { axis };
    let mut apart = Vec::with_capacity(tensors.len());
    for tensor in tensors {
        apart.push(tensor.unsqueeze(axis));
    }
    cat(&apart.iter().collect::<Vec<_>>(), axis)
}

impl Tensor {
    /// The parts of an axis that a vector of integers names, in its order. Negative indices count from the end.
    ///
    /// # Panics
    /// At the caller's line, when an index is out of range, or `indices` is no vector of integers.
    #[must_use]
    #[track_caller]
    pub fn index_select(&self, axis: isize, indices: &Tensor) -> Tensor {
        let axis = self.axis("index_select", axis);
        if indices.rank() != 1 {
            fail("index_select", &[self.into(), indices.into()], "the indices must be a vector");
        }
        self.gathered("index_select", axis, indices)
    }

    /// The rows of this table (its first axis) that integers of any shape name: `[rows, width]` and `[a, b]` give
    /// `[a, b, width]`.
    ///
    /// # Panics
    /// At the caller's line, when an index is out of range, or `indices` has no integer dtype.
    #[must_use]
    #[track_caller]
    pub fn embedding(&self, indices: &Tensor) -> Tensor {
        let axis = self.axis("embedding", 0);
        self.gathered("embedding", axis, indices)
    }

    #[track_caller]
    fn gathered(&self, name: &'static str, axis: usize, indices: &Tensor) -> Tensor {
        let operands = [self.into(), indices.into()];
        let key = Key::tensors(name).int(axis as i64);
        apply_one(key, &operands, &|b, v| Ok(one(b.add(Gather { axes: vec![axis as u32] }, v)?)))
    }

    /// At each place of `indices` the element of this tensor at the same place, but with that index along `axis`:
    /// `out[i][j] = x[indices[i][j]][j]` for axis 0. Extents of the indices are at most this tensor's elsewhere.
    ///
    /// # Panics
    /// At the caller's line, when an index is out of range, or ranks differ.
    #[must_use]
    #[track_caller]
    pub fn gather(&self, axis: isize, indices: &Tensor) -> Tensor {
        let axis = self.axis("gather", axis);
        let operands = [self.into(), indices.into()];
        if self.rank() != indices.rank() {
            fail("gather", &operands, "the indices must have as many axes as the tensor");
        }
        let key = Key::tensors("gather").int(axis as i64);
        apply_one(key, &operands, &|b, v| {
            if !b.dtype(v[1]).is_int() {
                return b.add(Gather { axes: vec![axis as u32] }, v).map(one);
            }
            let shape = b.shape(v[1]).to_vec();
            // Places of the other axes may exceed what the dtype of the indices holds.
            let along = b.cast(v[1], DType::I64)?;
            let mut inputs = vec![v[0]];
            for k in 0..shape.len() {
                let own = Iota { dtype: DType::I64, shape: shape.clone(), axis: k as u32 };
                inputs.push(if k == axis { along } else { b.add(own, &[])? });
            }
            Ok(one(b.add(Gather { axes: (0..shape.len() as u32).collect() }, &inputs)?))
        })
    }

    /// Surrounded by a value: so many elements before and after each of the last axes, of which the pads are in order.
    ///
    /// # Panics
    /// At the caller's line, when there are more pads than axes, or the dtype cannot hold the value.
    ///
    /// ```
    /// # use fornax::Tensor;
    /// assert_eq!(Tensor::from([[1, 2]]).pad(&[(0, 1), (1, 0)], 9), Tensor::from([[9, 1, 2], [9, 9, 9]]));
    /// ```
    #[must_use]
    #[track_caller]
    pub fn pad(&self, pads: &[(usize, usize)], value: impl Into<Number>) -> Tensor {
        let operands = [self.into(), Value::from(value.into()).beside("pad", self)];
        let Some(whole) = self.rank().checked_sub(pads.len()) else {
            fail("pad", &operands, &format!("{} pads are given for {} axes", pads.len(), self.rank()));
        };
        let side = |f: fn(&(usize, usize)) -> usize| -> Vec<i64> {
            std::iter::repeat_n(0, whole).chain(pads.iter().map(|p| f(p) as i64)).collect()
        };
        let (lo, hi) = (side(|p| p.0), side(|p| p.1));
        let key = Key::tensors("pad").ints(lo.iter().chain(&hi).copied().collect::<Vec<_>>().into_iter());
        let dims = |side: &[i64]| side.iter().map(|&n| Expr::constant(n)).collect();
        apply_one(key, &operands, &|b, v| Ok(one(b.add(Pad { lo: dims(&lo), hi: dims(&hi) }, v)?)))
    }

    /// One where a new last axis of extent `classes` has the element's number, else zero; i64. A number out of range
    /// gives zeros alone.
    ///
    /// # Panics
    /// At the caller's line, when the dtype is no integer one.
    ///
    /// ```
    /// # use fornax::Tensor;
    /// assert_eq!(Tensor::from([2, 0]).one_hot(3), Tensor::from([[0i64, 0, 1], [1, 0, 0]]));
    /// ```
    #[must_use]
    #[track_caller]
    pub fn one_hot(&self, classes: usize) -> Tensor {
        if !self.dtype().is_int() {
            fail("one_hot", &[self.into()], "the class numbers must be integers; use `to_dtype`");
        }
        let numbers = Tensor::arange(0, super::index::place(classes), 1);
        self.to_dtype(DType::I64).unsqueeze(-1).eq(&numbers).to_dtype(DType::I64)
    }
}
