//! Other shapes of the same elements. On tensors in memory these are views, which cost nothing, except where a reshape
//! has to copy.

use fornax_ir::Dim as Expr;
use fornax_ir::graph::ValueId;
use fornax_ir::graph::builder::{Builder, Result as BuildResult};
use fornax_ir::literal::byte_count;
use smallvec::SmallVec;

use super::args::{Axes, IntoShape, Size, axes_of, axis_of};
use super::{Array, Shape, Strides, Tensor};
use crate::dim::Dim;
use crate::eager::{Key, apply_one, fail, fitting, in_memory, one};
use crate::trace;

/// A shape whose open extent is found.
fn completed(sizes: &[Size], elements: usize, own: impl Fn() -> String) -> Result<Shape, String> {
    let mut shape = Shape::new();
    let mut open = None;
    for (k, size) in sizes.iter().enumerate() {
        let n = match size {
            Size::Number(-1) if open.is_some() => return Err("only one extent can be -1".into()),
            Size::Number(-1) => {
                open = Some(k);
                1
            }
            Size::Number(n) => usize::try_from(*n).map_err(|_| format!("an extent cannot be {n}"))?,
            Size::Dim(d) => {
                d.value().ok_or_else(|| format!("{} has no extent {d}, which is symbolic", own()))?
            }
        };
        shape.push(n);
    }
    let product = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
    if let (Some(k), Some(product)) = (open, product)
        && product > 0
        && elements.is_multiple_of(product)
    {
        shape[k] = elements / product;
        return Ok(shape);
    }
    if open.is_none() && product == Some(elements) {
        return Ok(shape);
    }
    let text: Vec<String> = sizes.iter().map(Size::to_string).collect();
    Err(format!("the {elements} elements do not fill the shape [{}]", text.join(", ")))
}

impl std::fmt::Display for Size {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Size::Number(n) => n.fmt(f),
            Size::Dim(d) => d.fmt(f),
        }
    }
}

/// As [`completed`], in a graph.
fn completed_dims(b: &Builder, x: ValueId, sizes: &[Size]) -> Vec<Expr> {
    let fixed = sizes.iter().map(|size| match size {
        Size::Number(-1) => None,
        Size::Number(n) => Some(Expr::constant(*n)),
        Size::Dim(d) => Some(d.expr().clone()),
    });
    let fixed: Vec<Option<Expr>> = fixed.collect();
    let product: Expr = fixed.iter().flatten().product();
    let rest = b.ty(x).elements().floor_div(&product);
    fixed.into_iter().map(|d| d.unwrap_or_else(|| rest.clone())).collect()
}

fn pick<T: Copy>(from: &[T], axes: &[u32]) -> SmallVec<[T; 4]> {
    axes.iter().map(|&a| from[a as usize]).collect()
}

impl Tensor {
    /// A view of an array, or the node of a trace.
    #[track_caller]
    pub(super) fn view_or_record(
        &self,
        name: &'static str,
        view: impl FnOnce(&Array) -> Array,
        body: impl Fn(&mut Builder, ValueId) -> BuildResult<ValueId>,
    ) -> Tensor {
        match in_memory(self) {
            Some(array) => view(array).into(),
            None => apply_one(Key::tensors(name), &[self.into()], &|b, v| Ok(one(body(b, v[0])?))),
        }
    }

    /// The extent of an axis, which is symbolic where a trace has symbolic dims.
    ///
    /// # Panics
    /// At the caller's line, when there is no such axis.
    #[track_caller]
    pub fn dim(&self, axis: isize) -> Dim {
        let axis = self.axis("dim", axis);
        match in_memory(self) {
            Some(array) => Dim::from(array.shape()[axis]),
            None => self.dims().swap_remove(axis),
        }
    }

    /// The same elements in row-major order under another shape; one extent may be -1, which is what the others leave.
    ///
    /// # Panics
    /// At the caller's line, when the number of elements differs.
    ///
    /// ```
    /// let x = fornax::Tensor::arange(0, 6, 1);
    /// assert_eq!(x.reshape([2, -1]), fornax::Tensor::from([[0, 1, 2], [3, 4, 5]]));
    /// ```
    #[must_use]
    #[track_caller]
    pub fn reshape(&self, shape: impl IntoShape) -> Tensor {
        let sizes = shape.sizes();
        let Some(array) = in_memory(self) else {
            fitting("reshape", &[self.into()], self.fillable(&sizes));
            return apply_one(Key::tensors("reshape"), &[self.into()], &|b, v| {
                let shape = completed_dims(b, v[0], &sizes);
                Ok(one(b.reshape(v[0], shape)?))
            });
        };
        let shape = completed(&sizes, array.numel(), || self.type_text());
        let shape = fitting("reshape", &[self.into()], shape);
        if let Some(view) = array.reshaped(&shape) {
            return view.into();
        }
        let dense = fitting("reshape", &[self.into()], array.to_dense());
        dense.reshaped(&shape).expect("a dense array takes any shape").into()
    }

    /// Whether the elements of a tensor that has none in memory can fill a shape, as far as numbers tell.
    fn fillable(&self, sizes: &[Size]) -> Result<(), String> {
        let number = |size: &Size| match size {
            Size::Number(_) => true,
            Size::Dim(d) => d.value().is_some(),
        };
        let own: Option<Vec<usize>> = self.dims().iter().map(Dim::value).collect();
        match own {
            Some(own) if sizes.iter().all(number) => {
                completed(sizes, own.iter().product(), || self.type_text()).map(drop)
            }
            _ if sizes.iter().filter(|size| **size == Size::Number(-1)).count() > 1 => {
                Err("only one extent can be -1".into())
            }
            _ => match sizes.iter().find(|size| matches!(size, Size::Number(..-1))) {
                Some(size) => Err(format!("an extent cannot be {size}")),
                None => Ok(()),
            },
        }
    }

    /// [`Tensor::reshape`] under its other name.
    #[must_use]
    #[track_caller]
    pub fn view(&self, shape: impl IntoShape) -> Tensor {
        self.reshape(shape)
    }

    /// The axes from `start` to `end`, both included, made one.
    ///
    /// # Panics
    /// At the caller's line, when there are no such axes.
    #[must_use]
    #[track_caller]
    pub fn flatten(&self, start: isize, end: isize) -> Tensor {
        if self.rank() == 0 {
            return self.reshape([1]);
        }
        let (start, end) = (self.axis("flatten", start), self.axis("flatten", end));
        if start > end {
            fail("flatten", &[self.into()], &format!("axis {start} is behind axis {end}"));
        }
        let mut sizes: Vec<Size> = self.dims().into_iter().map(Size::Dim).collect();
        let merged = sizes.drain(start..=end).fold(Dim::from(1), |n, size| match size {
            Size::Dim(d) => n * d,
            Size::Number(k) => n * k,
        });
        sizes.insert(start, Size::Dim(merged));
        self.reshape(sizes)
    }

    /// The axes in another order.
    ///
    /// # Panics
    /// At the caller's line, when the axes are no permutation.
    #[must_use]
    #[track_caller]
    pub fn permute(&self, axes: impl Axes) -> Tensor {
        let perm = fitting("permute", &[self.into()], axes_of(axes, self.rank()));
        if perm.len() != self.rank() {
            let what = format!("{} axes are given, all {} are needed", perm.len(), self.rank());
            fail("permute", &[self.into()], &what);
        }
        let view = |a: &Array| a.view(0, pick(a.shape(), &perm), pick(a.strides(), &perm));
        self.view_or_record("permute", view, |b, x| b.permute(x, &perm))
    }

    /// Two axes exchanged.
    ///
    /// # Panics
    /// At the caller's line, when there are no such axes.
    #[must_use]
    #[track_caller]
    pub fn transpose(&self, a: isize, b: isize) -> Tensor {
        let (a, b) = (self.axis("transpose", a), self.axis("transpose", b));
        let mut perm: SmallVec<[usize; 8]> = (0..self.rank()).collect();
        perm.swap(a, b);
        self.permute(&perm[..])
    }

    /// The transpose of a matrix, or of the matrices in the last two axes; itself for fewer axes.
    #[must_use]
    #[track_caller]
    pub fn t(&self) -> Tensor {
        if self.rank() < 2 { self.clone() } else { self.transpose(-2, -1) }
    }

    /// Without these axes, whose extents must be 1; with `..`, without every axis of constant extent 1.
    ///
    /// # Panics
    /// At the caller's line, when an extent is not 1.
    #[must_use]
    #[track_caller]
    pub fn squeeze(&self, axes: impl Axes) -> Tensor {
        let dims = self.dims();
        let axes: SmallVec<[u32; 4]> = match axes.list() {
            None => (0..dims.len() as u32).filter(|&k| dims[k as usize] == 1).collect(),
            Some(list) => self.sorted_axes("squeeze", &list[..]),
        };
        if let Some(&k) = axes.iter().find(|&&k| dims[k as usize].value().is_some_and(|n| n != 1)) {
            fail("squeeze", &[self.into()], &format!("axis {k} has the extent {}, not 1", dims[k as usize]));
        }
        let kept: SmallVec<[u32; 4]> = (0..dims.len() as u32).filter(|k| !axes.contains(k)).collect();
        let view = |a: &Array| a.view(0, pick(a.shape(), &kept), pick(a.strides(), &kept));
        self.view_or_record("squeeze", view, |b, x| b.squeeze(x, &axes))
    }

    /// With a new axis of extent 1, which then stands at `axis`.
    ///
    /// # Panics
    /// At the caller's line, when the axis is beyond the end.
    #[must_use]
    #[track_caller]
    pub fn unsqueeze(&self, axis: isize) -> Tensor {
        let at = fitting("unsqueeze", &[self.into()], axis_of(axis as i64, self.rank() + 1));
        let view = |a: &Array| {
            let (mut shape, mut strides) = (Shape::from_slice(a.shape()), Strides::from_slice(a.strides()));
            shape.insert(at, 1);
            strides.insert(at, 1);
            a.view(0, shape, strides)
        };
        self.view_or_record("unsqueeze", view, |b, x| b.unsqueeze(x, &[at as u32]))
    }

    /// Repeated along new leading axes and along axes of extent 1, until the shape is this; -1 keeps an extent.
    ///
    /// # Panics
    /// At the caller's line, when an extent is neither 1 nor the wanted one.
    #[must_use]
    #[track_caller]
    pub fn broadcast_to(&self, shape: impl IntoShape) -> Tensor {
        let sizes = shape.sizes();
        let own = self.dims();
        if sizes.len() < own.len() {
            let what = format!("{} extents are given for {} axes", sizes.len(), own.len());
            fail("broadcast_to", &[self.into()], &what);
        }
        let first = sizes.len() - own.len();
        let mut wanted: SmallVec<[Dim; 4]> = SmallVec::new();
        for (k, size) in sizes.into_iter().enumerate() {
            wanted.push(match size {
                Size::Dim(d) => d,
                Size::Number(-1) if k >= first => own[k - first].clone(),
                Size::Number(n) if n >= 0 => Dim::from(n),
                Size::Number(n) => {
                    fail("broadcast_to", &[self.into()], &format!("axis {k} cannot have the extent {n}"))
                }
            });
        }
        if let Some(k) = (0..own.len()).find(|&k| {
            let (have, want) = (&own[k], &wanted[first + k]);
            have.value().is_some_and(|have| have != 1 && want.value().is_some_and(|want| have != want))
        }) {
            let what =
                format!("axis {k} has the extent {}, which cannot become {}", own[k], wanted[first + k]);
            fail("broadcast_to", &[self.into()], &what);
        }
        let shape: Option<Shape> = wanted.iter().map(Dim::value).collect();
        if shape.is_none() && in_memory(self).is_some() {
            // Its size follows from symbols, so it becomes a constant of the trace that has them.
            return match trace::lifted(self) {
                Some(constant) => constant.broadcast_to(wanted.to_vec()),
                None => {
                    fail("broadcast_to", &[self.into()], "an extent is symbolic, and nothing is being traced")
                }
            };
        }
        if let (Some(shape), true) = (&shape, in_memory(self).is_some()) {
            fitting("broadcast_to", &[self.into()], byte_count(self.dtype(), shape));
        }
        let view = |a: &Array| {
            let shape = shape.unwrap_or_default();
            let mut strides: Strides = SmallVec::from_elem(0, shape.len());
            for k in 0..a.shape().len() {
                if a.shape()[k] == shape[first + k] {
                    strides[first + k] = a.strides()[k];
                }
            }
            a.view(0, shape, strides)
        };
        let target: Vec<Expr> = wanted.iter().map(|d| d.expr().clone()).collect();
        self.view_or_record("broadcast_to", view, |b, x| b.broadcast_to(x, &target))
    }

    /// [`Tensor::broadcast_to`] under its other name.
    #[must_use]
    #[track_caller]
    pub fn expand(&self, shape: impl IntoShape) -> Tensor {
        self.broadcast_to(shape)
    }

    /// `len` elements of an axis, from `start` on.
    ///
    /// # Panics
    /// At the caller's line, when these elements don't exist.
    #[must_use]
    #[track_caller]
    pub fn narrow(&self, axis: isize, start: impl Into<Dim>, len: impl Into<Dim>) -> Tensor {
        let axis = self.axis("narrow", axis);
        let (start, len, own) = (start.into(), len.into(), self.dim(axis as isize));
        if start.is_symbolic() || len.is_symbolic() {
            // What follows from symbols is a part of the trace that has them.
            if let Some(constant) = in_memory(self).and_then(|_| trace::lifted(self)) {
                return constant.narrow(axis as isize, start, len);
            }
        }
        let exists = match (start.value(), len.value(), own.value()) {
            (Some(start), Some(len), Some(own)) => start.checked_add(len).is_some_and(|end| end <= own),
            // A graph checks what depends on symbols.
            (_, _, own) => own.is_none() || in_memory(self).is_none(),
        };
        if !exists {
            let what =
                format!("{len} elements from {start} on are not within axis {axis}, whose extent is {own}");
            fail("narrow", &[self.into()], &what);
        }
        let view = |a: &Array| {
            let (start, len) = (start.value().unwrap_or(0), len.value().unwrap_or(0));
            let mut shape = Shape::from_slice(a.shape());
            shape[axis] = len;
            let first = if len == 0 { 0 } else { start as isize * a.strides()[axis] };
            a.view(first, shape, Strides::from_slice(a.strides()))
        };
        let (from, size) = (start.expr().clone(), len.expr().clone());
        self.view_or_record("narrow", view, |b, x| b.slice_axis(x, axis as u32, from.clone(), size.clone()))
    }

    /// The part of an axis with that index, without the axis. A negative index counts from the end.
    ///
    /// # Panics
    /// At the caller's line, when there is no such index.
    #[must_use]
    #[track_caller]
    pub fn select(&self, axis: isize, index: isize) -> Tensor {
        let axis = self.axis("select", axis) as isize;
        let own = self.dim(axis);
        let start = if index < 0 { &own + index } else { Dim::from(index) };
        if own.value().is_some_and(|n| start.value().is_none_or(|i| i >= n)) {
            let what = format!("there is no index {index} on axis {axis}, whose extent is {own}");
            fail("select", &[self.into()], &what);
        }
        self.narrow(axis, start, 1).squeeze(axis)
    }

    /// Reversed along these axes.
    ///
    /// # Panics
    /// At the caller's line, when there is no such axis.
    #[must_use]
    #[track_caller]
    pub fn flip(&self, axes: impl Axes) -> Tensor {
        let axes = self.sorted_axes("flip", axes);
        let view = |a: &Array| {
            let mut strides = Strides::from_slice(a.strides());
            let mut first = 0;
            for &k in &axes {
                let k = k as usize;
                first += a.strides()[k] * (a.shape()[k].max(1) - 1) as isize;
                strides[k] = -strides[k];
            }
            let first = if a.numel() == 0 { 0 } else { first };
            a.view(first, Shape::from_slice(a.shape()), strides)
        };
        self.view_or_record("flip", view, |b, x| axes.iter().try_fold(x, |x, &k| b.reverse(x, k)))
    }

    /// The elements in row-major order in memory: itself if they lie so.
    ///
    /// # Panics
    /// At the caller's line, when memory does not suffice.
    #[must_use]
    #[track_caller]
    pub fn contiguous(&self) -> Tensor {
        match in_memory(self) {
            None => self.clone(),
            Some(array) => fitting("contiguous", &[self.into()], array.to_dense()).into(),
        }
    }

    /// Whether the elements lie in row-major order in memory. A traced tensor's do.
    pub fn is_contiguous(&self) -> bool {
        in_memory(self).is_none_or(Array::is_dense)
    }

    /// Parts of `size` elements along an axis; the last may be shorter.
    ///
    /// # Panics
    /// At the caller's line, when the size is 0, or the extent is symbolic.
    #[track_caller]
    pub fn split(&self, size: usize, axis: isize) -> Vec<Tensor> {
        let axis = self.axis("split", axis) as isize;
        let own = self.dim(axis);
        let Some(n) = own.value().filter(|_| size > 0) else {
            fail(
                "split",
                &[self.into()],
                &format!("axis {axis} of extent {own} has no parts of {size} elements"),
            )
        };
        let mut parts = Vec::with_capacity(n.div_ceil(size));
        for start in (0..n.max(1)).step_by(size) {
            parts.push(self.narrow(axis, start, size.min(n - start)));
        }
        parts
    }

    /// At most `count` parts of equal size along an axis; the last may be shorter.
    ///
    /// # Panics
    /// At the caller's line, when the count is 0, or the extent is symbolic and not divided by it.
    #[track_caller]
    pub fn chunk(&self, count: usize, axis: isize) -> Vec<Tensor> {
        let axis = self.axis("chunk", axis) as isize;
        let own = self.dim(axis);
        if count == 0 {
            fail("chunk", &[self.into()], "0 parts hold nothing");
        }
        match own.value() {
            Some(n) => self.split(n.div_ceil(count).max(1), axis),
            None => {
                let part = &own / count;
                if &part * count != own {
                    let what =
                        format!("the extent {own} of axis {axis} is not known to be a multiple of {count}");
                    fail("chunk", &[self.into()], &what);
                }
                let mut parts = Vec::with_capacity(count);
                for i in 0..count {
                    parts.push(self.narrow(axis, &part * i, &part));
                }
                parts
            }
        }
    }

    /// The parts along an axis, each without it.
    ///
    /// # Panics
    /// At the caller's line, when the extent is symbolic.
    #[track_caller]
    pub fn unbind(&self, axis: isize) -> Vec<Tensor> {
        let axis = self.axis("unbind", axis) as isize;
        let own = self.dim(axis);
        let Some(n) = own.value() else {
            fail("unbind", &[self.into()], &format!("the extent {own} of axis {axis} is symbolic"))
        };
        let mut parts = Vec::with_capacity(n);
        for i in 0..n {
            parts.push(self.select(axis, i as isize));
        }
        parts
    }

    /// Repeated so often along each axis; the last counts belong to the last axes.
    ///
    /// # Panics
    /// At the caller's line, when there are more axes than counts.
    #[must_use]
    #[track_caller]
    pub fn repeat(&self, counts: &[usize]) -> Tensor {
        let own = self.dims();
        if counts.len() < own.len() {
            fail(
                "repeat",
                &[self.into()],
                &format!("{} counts are given for {} axes", counts.len(), own.len()),
            );
        }
        let first = counts.len() - own.len();
        let (mut apart, mut spread, mut whole) = (Vec::new(), Vec::new(), Vec::new());
        for (k, &count) in counts.iter().enumerate() {
            let n = if k < first { Dim::from(1) } else { own[k - first].clone() };
            apart.extend([Dim::from(1), n.clone()]);
            spread.extend([Dim::from(count), n.clone()]);
            whole.push(n * count);
        }
        self.reshape(apart).broadcast_to(spread).reshape(whole)
    }
}
