//! Tensors with elements replaced, or added to, at places that integers name. Negative indices count from the end;
//! several updates of one place follow each other in their order, so results are the same on any number of threads.

use fornax_ir::Dim as Expr;
use fornax_ir::graph::ValueId;
use fornax_ir::graph::builder::{Builder, Result as BuildResult};
use fornax_ir::graph::ops::Update;

use super::Tensor;
use crate::eager::{Key, Operand, apply_one, fail, one};

/// The part of `x` from the first element on that has a shape.
fn corner(b: &mut Builder, mut x: ValueId, shape: &[Expr]) -> BuildResult<ValueId> {
    for (k, d) in shape.iter().enumerate() {
        if b.shape(x).get(k).is_some_and(|own| own != d) {
            x = b.slice_axis(x, k as u32, Expr::ZERO, d.clone())?;
        }
    }
    Ok(x)
}

impl Tensor {
    #[track_caller]
    fn scattered(
        &self,
        name: &'static str,
        update: Update,
        (axis, indices, src): (isize, &Tensor, &Tensor),
    ) -> Tensor {
        let operands = [self.into(), indices.into(), src.into()];
        let axis = self.axis(name, axis);
        if indices.rank() != self.rank() || src.rank() != self.rank() {
            fail(name, &operands, "indices and updates must have as many axes as the tensor");
        }
        let mut key = Key::tensors(name).int(update as i64).int(axis as i64);
        for k in 0..self.rank() {
            if k != axis {
                key = key.link((1, k), (0, k));
            }
            key = key.link((2, k), (1, k));
        }
        apply_one(key, &operands, &|b, v| {
            let shape = b.shape(v[1]).to_vec();
            let updates = corner(b, v[2], &shape)?;
            Ok(one(b.scatter_elements(update, axis as u32, v[0], updates, v[1])?))
        })
    }

    /// This tensor with each element of `src` written to the place that the element of `indices` at the same place names
    /// along an axis: `out[indices[i][j]][j] = src[i][j]` for axis 0. Extents of the indices are at most this tensor's
    /// elsewhere, and at most those of `src`. The last of several updates of one place counts.
    ///
    /// # Panics
    /// At the caller's line, when an index is out of range, or shapes or dtypes do not fit.
    ///
    /// ```
    /// # use fornax::Tensor;
    /// let x = Tensor::from([1, 2, 3]);
    /// assert_eq!(x.scatter(0, &Tensor::from([2, 0]), &Tensor::from([7, 8])), Tensor::from([8, 2, 7]));
    /// ```
    #[must_use]
    #[track_caller]
    pub fn scatter(&self, axis: isize, indices: &Tensor, src: &Tensor) -> Tensor {
        self.scattered("scatter", Update::Put, (axis, indices, src))
    }

    /// As [`Tensor::scatter`], but elements of `src` are added, in their order.
    ///
    /// # Panics
    /// As [`Tensor::scatter`].
    #[must_use]
    #[track_caller]
    pub fn scatter_add(&self, axis: isize, indices: &Tensor, src: &Tensor) -> Tensor {
        self.scattered("scatter_add", Update::Add, (axis, indices, src))
    }

    /// This tensor with the parts of `source` along an axis added to those that a vector of integers names.
    ///
    /// # Panics
    /// At the caller's line, when an index is out of range, `indices` is no vector of integers, or shapes or dtypes do
    /// not fit.
    ///
    /// ```
    /// # use fornax::Tensor;
    /// let x = Tensor::from([[1, 1], [2, 2]]);
    /// let sums = x.index_add(0, &Tensor::from([1, 1]), &Tensor::from([[10, 20], [30, 40]]));
    /// assert_eq!(sums, Tensor::from([[1, 1], [42, 62]]));
    /// ```
    #[must_use]
    #[track_caller]
    pub fn index_add(&self, axis: isize, indices: &Tensor, source: &Tensor) -> Tensor {
        let operands = [self.into(), source.into(), indices.into()];
        let axis = self.axis("index_add", axis);
        if indices.rank() != 1 || source.rank() != self.rank() {
            fail("index_add", &operands, "it needs a vector of indices, and a source of as many axes");
        }
        let mut key = Key::tensors("index_add").int(axis as i64).link((2, 0), (1, axis));
        for k in (0..self.rank()).filter(|k| *k != axis) {
            key = key.link((1, k), (0, k));
        }
        apply_one(key, &operands, &|b, v| {
            Ok(one(b.scatter(Update::Add, &[axis as u32], v[0], v[1], &[v[2]])?))
        })
    }

    /// This tensor with `values` written to (or added to) the parts that index tensors name, one for each of the first
    /// axes, all of one shape: `out[i[k]][j[k]] = values[k]`. The values broadcast to the indices' shape followed by the
    /// axes that are not indexed.
    ///
    /// # Panics
    /// At the caller's line, when an index is out of range, or shapes or dtypes do not fit.
    ///
    /// ```
    /// # use fornax::Tensor;
    /// let x = Tensor::from([[0, 0], [0, 0]]);
    /// let (i, j) = (Tensor::from([0, 1]), Tensor::from([1, 0]));
    /// assert_eq!(x.index_put(&[&i, &j], &Tensor::from(5), false), Tensor::from([[0, 5], [5, 0]]));
    /// ```
    #[must_use]
    #[track_caller]
    pub fn index_put(&self, indices: &[&Tensor], values: &Tensor, accumulate: bool) -> Tensor {
        let mut operands: Vec<Operand<'_>> = vec![self.into()];
        operands.extend(indices.iter().map(|&i| Operand::from(i)));
        operands.push(values.into());
        let n = indices.len();
        let ranks = indices.first().map(|i| i.rank());
        if n == 0 || n > self.rank() || indices.iter().any(|i| Some(i.rank()) != ranks) {
            fail(
                "index_put",
                &operands,
                "it needs index tensors of one shape, one for each of the first axes",
            );
        }
        let rank = ranks.unwrap_or(0);
        let mut key = Key::tensors("index_put").int(n as i64).flag(accumulate);
        for later in 2..=n {
            key = (0..rank).fold(key, |key, k| key.link((later as u8, k), (1, k)));
        }
        key = key.broadcast((n + 1).min(3), 0..values.rank());
        // Values that do not broadcast have extents of the indices, then of the other axes.
        if let Some(missing) = (rank + self.rank() - n).checked_sub(values.rank()) {
            for k in 0..values.rank() {
                let at = k + missing;
                let like = if at < rank { (1, at) } else { (0, at - rank + n) };
                key = key.link((n as u8 + 1, k), like);
            }
        }
        let update = if accumulate { Update::Add } else { Update::Put };
        apply_one(key, &operands, &|b, v| {
            let mut shape = b.shape(v[1]).to_vec();
            shape.extend_from_slice(&b.shape(v[0])[n..]);
            let values = b.broadcast_to(v[n + 1], &shape)?;
            let axes: Vec<u32> = (0..n as u32).collect();
            Ok(one(b.scatter(update, &axes, v[0], values, &v[1..=n])?))
        })
    }
}
