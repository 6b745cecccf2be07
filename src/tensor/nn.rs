//! The functions that neural networks are made of.

use fornax_ir::DType;
use fornax_ir::Dim as Expr;
use fornax_ir::graph::composite::Pool;
use fornax_ir::graph::ops::{Conv, DotGeneral, Iota};
use fornax_ir::scalar::{BinaryOp, CompareOp};

use super::Tensor;
use super::elementwise::one_dtype;
use crate::eager::{Key, Operand, apply_one, fail, one};

/// How a window moves over `N` spatial axes, as of a convolution.
///
/// ```
/// use fornax::Window;
///
/// let w = Window { stride: [2, 2], padding: [1, 1], ..Window::default() };
/// assert_eq!(w.dilation, [1, 1]);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Window<const N: usize> {
    /// Distance of windows.
    pub stride: [usize; N],
    /// Padding on both sides: zeros, or for pools nothing.
    pub padding: [usize; N],
    /// Distance of the elements of a window.
    pub dilation: [usize; N],
    /// Groups of channels that don't see each other (of convolutions).
    pub groups: usize,
    /// Whether a last window that reaches beyond the padding counts (of pools).
    pub ceil: bool,
}

impl<const N: usize> Default for Window<N> {
    /// Stride and dilation 1, no padding, one group.
    fn default() -> Self {
        Window { stride: [1; N], padding: [0; N], dilation: [1; N], groups: 1, ceil: false }
    }
}

impl<const N: usize> Window<N> {
    /// Moves by these strides.
    pub fn stride(stride: [usize; N]) -> Self {
        Window { stride, ..Self::default() }
    }

    fn key(&self, key: Key) -> Key {
        let lists = [self.stride, self.padding, self.dilation];
        let key = lists.iter().fold(key, |key, list| key.ints(list.iter().map(|&v| v as i64)));
        key.int(self.groups as i64).flag(self.ceil)
    }

    fn pads(&self) -> Vec<(Expr, Expr)> {
        let pad = |p: &usize| (Expr::constant(*p as i64), Expr::constant(*p as i64));
        self.padding.iter().map(pad).collect()
    }

    fn conv(&self) -> Conv {
        Conv {
            strides: ints(&self.stride),
            pads: self.pads(),
            dilations: ints(&self.dilation),
            groups: self.groups as i64,
        }
    }

    fn pool(&self, window: [usize; N]) -> Pool {
        Pool {
            window: ints(&window),
            strides: ints(&self.stride),
            pads: self.pads(),
            dilations: ints(&self.dilation),
            ceil: self.ceil,
        }
    }
}

fn ints(list: &[usize]) -> Vec<i64> {
    list.iter().map(|&v| v as i64).collect()
}

/// The given ones, as operands.
fn given<'a>(first: &'a Tensor, others: &[Option<&'a Tensor>]) -> Vec<Operand<'a>> {
    [Some(first)].iter().chain(others).flatten().map(|&t| t.into()).collect()
}

impl Tensor {
    /// `exp(x) / sum(exp(x))` along an axis, without overflow.
    ///
    /// # Panics
    /// At the caller's line, when there is no such axis, or the dtype is no float.
    #[must_use]
    #[track_caller]
    pub fn softmax(&self, axis: isize) -> Tensor {
        self.need_float("softmax");
        let axis = self.axis("softmax", axis) as u32;
        let key = Key::tensors("softmax").int(axis.into());
        apply_one(key, &[self.into()], &|b, v| Ok(one(b.softmax(v[0], axis)?)))
    }

    /// The logarithm of [`Tensor::softmax`].
    ///
    /// # Panics
    /// At the caller's line, when there is no such axis, or the dtype is no float.
    #[must_use]
    #[track_caller]
    pub fn log_softmax(&self, axis: isize) -> Tensor {
        self.need_float("log_softmax");
        let axis = self.axis("log_softmax", axis) as u32;
        let key = Key::tensors("log_softmax").int(axis.into());
        apply_one(key, &[self.into()], &|b, v| Ok(one(b.log_softmax(v[0], axis)?)))
    }

    /// `(x - mean) / sqrt(var + eps) * weight + bias`. Mean and variance are over the trailing axes that the weight has,
    /// or the bias; without both, over the last.
    ///
    /// # Panics
    /// At the caller's line, when shapes or dtypes don't fit.
    #[must_use]
    #[track_caller]
    pub fn layer_norm(&self, weight: Option<&Tensor>, bias: Option<&Tensor>, eps: f64) -> Tensor {
        let operands = given(self, &[weight, bias]);
        one_dtype("layer_norm", &operands);
        self.need_float("layer_norm");
        let first = self.normalised("layer_norm", weight.or(bias), &operands);
        let (has_weight, has_bias) = (weight.is_some(), bias.is_some());
        let key = Key::aligned("layer_norm").int(first.into()).float(eps).flag(has_weight).flag(has_bias);
        apply_one(key, &operands, &|b, v| {
            let mut rest = v[1..].iter().copied();
            let weight = if has_weight { rest.next() } else { None };
            Ok(one(b.layer_norm(v[0], first, weight, rest.next(), eps)?))
        })
    }

    /// `x / sqrt(mean(x^2) + eps) * weight`. The mean is over the trailing axes that the weight has; without one, over
    /// the last.
    ///
    /// # Panics
    /// At the caller's line, when shapes or dtypes don't fit.
    #[must_use]
    #[track_caller]
    pub fn rms_norm(&self, weight: Option<&Tensor>, eps: f64) -> Tensor {
        let operands = given(self, &[weight]);
        one_dtype("rms_norm", &operands);
        self.need_float("rms_norm");
        let first = self.normalised("rms_norm", weight, &operands);
        let key = Key::aligned("rms_norm").int(first.into()).float(eps);
        apply_one(key, &operands, &|b, v| Ok(one(b.rms_norm(v[0], first, v.get(1).copied(), eps)?)))
    }

    /// The first of the axes that a norm is over.
    #[track_caller]
    fn normalised(&self, op: &str, like: Option<&Tensor>, operands: &[Operand<'_>]) -> u32 {
        let axes = like.map_or(1, Tensor::rank);
        if axes > self.rank() || self.rank() == 0 {
            fail(op, operands, "the weight and the bias must have the extents of x's last axes");
        }
        if let Some(like) = like {
            let (own, its) = (self.dims(), like.dims());
            let differs = own[own.len() - axes..]
                .iter()
                .zip(&its)
                .any(|(a, b)| a.value().is_some_and(|a| b.value().is_some_and(|b| a != b)));
            if differs {
                fail(op, operands, "the weight and the bias must have the extents of x's last axes");
            }
        }
        (self.rank() - axes) as u32
    }

    /// `(x - mean) / sqrt(var + eps) * weight + bias` for `x: [N, C, ..]` and given statistics, vectors of length C as
    /// weight and bias are.
    ///
    /// # Panics
    /// At the caller's line, when shapes or dtypes don't fit.
    #[must_use]
    #[track_caller]
    pub fn batch_norm(
        &self,
        mean: &Tensor,
        var: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        eps: f64,
    ) -> Tensor {
        let operands: [Operand<'_>; 5] = [self, weight, bias, mean, var].map(Operand::from);
        one_dtype("batch_norm", &operands);
        self.need_float("batch_norm");
        let mut key = Key::tensors("batch_norm").float(eps);
        for operand in 1..5 {
            key = key.link((operand, 0), (0, 1));
        }
        apply_one(key, &operands, &|b, v| Ok(one(b.batch_norm(v[0], [v[1], v[2], v[3], v[4]], eps)?)))
    }

    /// `(x - mean) / sqrt(var + eps) * weight + bias` for `x: [N, C, ..]`, with statistics of each group of `C / groups`
    /// channels; weight and bias have length C.
    ///
    /// # Panics
    /// At the caller's line, when shapes or dtypes don't fit.
    #[must_use]
    #[track_caller]
    pub fn group_norm(&self, groups: usize, weight: &Tensor, bias: &Tensor, eps: f64) -> Tensor {
        let operands: [Operand<'_>; 3] = [self, weight, bias].map(Operand::from);
        one_dtype("group_norm", &operands);
        self.need_float("group_norm");
        // The number of channels in a group is a number.
        let key = Key::tensors("group_norm").int(groups as i64).float(eps);
        let key = key.exact(0, 1..2).exact(1, 0..1).exact(2, 0..1);
        apply_one(key, &operands, &|b, v| Ok(one(b.group_norm(v[0], groups as i64, v[1], v[2], eps)?)))
    }

    /// The convolution of `x: [N, C, L]` with `weight: [O, C / groups, K]`, plus a bias of length O.
    ///
    /// # Panics
    /// At the caller's line, when shapes or dtypes don't fit.
    #[must_use]
    #[track_caller]
    pub fn conv1d(&self, weight: &Tensor, bias: Option<&Tensor>, window: Window<1>) -> Tensor {
        self.conv("conv1d", weight, bias, window)
    }

    /// The convolution of `x: [N, C, H, W]` with `weight: [O, C / groups, KH, KW]`, plus a bias of length O.
    ///
    /// # Panics
    /// At the caller's line, when shapes or dtypes don't fit.
    ///
    /// ```
    /// use fornax::{DType, Tensor, Window};
    ///
    /// let x = Tensor::ones([1, 3, 8, 8], DType::F32);
    /// let w = Tensor::ones([4, 3, 3, 3], DType::F32);
    /// let y = x.conv2d(&w, None, Window { stride: [2, 2], padding: [1, 1], ..Window::default() });
    /// assert_eq!(y.shape(), [1, 4, 4, 4]);
    /// ```
    #[must_use]
    #[track_caller]
    pub fn conv2d(&self, weight: &Tensor, bias: Option<&Tensor>, window: Window<2>) -> Tensor {
        self.conv("conv2d", weight, bias, window)
    }

    #[track_caller]
    fn conv<const N: usize>(
        &self,
        name: &'static str,
        weight: &Tensor,
        bias: Option<&Tensor>,
        window: Window<N>,
    ) -> Tensor {
        let operands = given(self, &[Some(weight), bias]);
        one_dtype(name, &operands);
        if [self.rank(), weight.rank()] != [N + 2; 2] {
            fail(name, &operands, &format!("x and the weight must have {} axes", N + 2));
        }
        let mut key = window.key(Key::tensors(name)).exact(1, 2..N + 2).link((2, 0), (1, 0));
        // Groups divide the numbers of channels.
        key = if window.groups == 1 { key.link((1, 1), (0, 1)) } else { key.exact(0, 1..2).exact(1, 0..2) };
        let op = window.conv();
        apply_one(key, &operands, &|b, v| Ok(one(b.conv(op.clone(), v[0], v[1], v.get(2).copied())?)))
    }

    /// The largest element of each window over the last axis of `[N, C, L]`; the padding takes no part.
    ///
    /// # Panics
    /// At the caller's line, when the window does not fit.
    #[must_use]
    #[track_caller]
    pub fn max_pool1d(&self, size: [usize; 1], window: Window<1>) -> Tensor {
        self.max_pool("max_pool1d", size, window)
    }

    /// The largest element of each window over the last two axes of `[N, C, H, W]`; the padding takes no part.
    ///
    /// # Panics
    /// At the caller's line, when the window does not fit.
    #[must_use]
    #[track_caller]
    pub fn max_pool2d(&self, size: [usize; 2], window: Window<2>) -> Tensor {
        self.max_pool("max_pool2d", size, window)
    }

    #[track_caller]
    fn max_pool<const N: usize>(&self, name: &'static str, size: [usize; N], window: Window<N>) -> Tensor {
        let key = window.key(Key::tensors(name)).ints(size.iter().map(|&v| v as i64));
        let pool = window.pool(size);
        apply_one(key, &[self.into()], &|b, v| Ok(one(b.max_pool(v[0], &pool)?)))
    }

    /// The mean of each window over the last axis of `[N, C, L]`, zeros of the padding included.
    ///
    /// # Panics
    /// At the caller's line, when the window does not fit, or the dtype is no float.
    #[must_use]
    #[track_caller]
    pub fn avg_pool1d(&self, size: [usize; 1], window: Window<1>) -> Tensor {
        self.avg_pool("avg_pool1d", size, window)
    }

    /// The mean of each window over the last two axes of `[N, C, H, W]`, zeros of the padding included.
    ///
    /// # Panics
    /// At the caller's line, when the window does not fit, or the dtype is no float.
    #[must_use]
    #[track_caller]
    pub fn avg_pool2d(&self, size: [usize; 2], window: Window<2>) -> Tensor {
        self.avg_pool("avg_pool2d", size, window)
    }

    #[track_caller]
    fn avg_pool<const N: usize>(&self, name: &'static str, size: [usize; N], window: Window<N>) -> Tensor {
        self.need_float(name);
        let key = window.key(Key::tensors(name)).ints(size.iter().map(|&v| v as i64));
        let pool = window.pool(size);
        apply_one(key, &[self.into()], &|b, v| Ok(one(b.avg_pool(v[0], &pool, true)?)))
    }

    /// `softmax(q k^T / sqrt(E) + mask) v` for queries `[.., L, E]` (this), keys `[.., S, E]` and values `[.., S, V]`
    /// with equal leading axes. The mask broadcasts to `[.., L, S]`: a bool one tells where a query may look, another is
    /// added.
    ///
    /// # Panics
    /// At the caller's line, when shapes or dtypes don't fit.
    #[must_use]
    #[track_caller]
    pub fn scaled_dot_product_attention(
        &self,
        keys: &Tensor,
        values: &Tensor,
        mask: Option<&Tensor>,
    ) -> Tensor {
        const OP: &str = "attention";
        let operands = given(self, &[Some(keys), Some(values), mask]);
        one_dtype(OP, &operands[..3]);
        self.need_float(OP);
        let rank = self.rank();
        if rank < 2 || [keys.rank(), values.rank()] != [rank; 2] {
            fail(OP, &operands, "queries, keys and values must have the same number of axes, at least 2");
        }
        let mut key = Key::tensors(OP).link((1, rank - 1), (0, rank - 1)).link((2, rank - 2), (1, rank - 2));
        for k in 0..rank - 2 {
            key = key.link((1, k), (0, k)).link((2, k), (0, k));
        }
        if let Some(m) = mask {
            let axes = m.rank();
            key = key.broadcast(3, 0..axes);
            let from_end =
                [(1, rank - 2), (0, rank - 2)].into_iter().chain((0..rank - 2).rev().map(|k| (0, k)));
            for (k, earlier) in (0..axes).rev().zip(from_end) {
                key = key.link((3, k), earlier);
            }
        }
        apply_one(key, &operands, &|b, v| {
            let last = rank as u32 - 1;
            let batch: Vec<(u32, u32)> = (0..last - 1).map(|k| (k, k)).collect();
            let extent = b.dims(vec![b.shape(v[0])[rank - 1].clone()], true)?;
            let extent = b.cast(extent, b.dtype(v[0]))?;
            let root = b.unary(fornax_ir::scalar::UnaryOp::Sqrt, extent)?;
            let scores = DotGeneral { batch: batch.clone(), contract: vec![(last, last)] };
            let scores = b.add(scores, &v[..2])?;
            let mut scores = b.div(scores, root)?;
            if let Some(&mask) = v.get(3) {
                scores = if b.dtype(mask) == DType::Bool {
                    let never = b.scalar_f64(b.dtype(scores), f64::NEG_INFINITY);
                    b.select(mask, scores, never)?
                } else {
                    b.binary(BinaryOp::Add, scores, mask)?
                };
            }
            let weights = b.softmax(scores, last)?;
            Ok(one(b.add(DotGeneral { batch, contract: vec![(last, last - 1)] }, &[weights, v[2]])?))
        })
    }

    /// The lower triangle of the matrices in the last two axes: zero right of the diagonal with that number (0 is the
    /// main one, positive ones lie right of it).
    ///
    /// # Panics
    /// At the caller's line, when there are fewer than two axes.
    #[must_use]
    #[track_caller]
    pub fn tril(&self, diagonal: i64) -> Tensor {
        self.triangle("tril", CompareOp::Le, diagonal)
    }

    /// The upper triangle of the matrices in the last two axes: zero left of the diagonal with that number.
    ///
    /// # Panics
    /// At the caller's line, when there are fewer than two axes.
    #[must_use]
    #[track_caller]
    pub fn triu(&self, diagonal: i64) -> Tensor {
        self.triangle("triu", CompareOp::Ge, diagonal)
    }

    #[track_caller]
    fn triangle(&self, name: &'static str, side: CompareOp, diagonal: i64) -> Tensor {
        if self.rank() < 2 {
            fail(name, &[self.into()], "a triangle needs two axes");
        }
        // No row has a number that brings these out of range.
        let diagonal = fornax_ir::scalar::Scalar::i64(diagonal.clamp(i64::MIN / 2, i64::MAX / 2));
        apply_one(Key::tensors(name), &[self.into(), Operand::Scalar(diagonal)], &|b, v| {
            let matrix = b.shape(v[0])[b.shape(v[0]).len() - 2..].to_vec();
            let place = |axis| Iota { dtype: DType::I64, shape: matrix.clone(), axis };
            let (row, column) = (b.add(place(0), &[])?, b.add(place(1), &[])?);
            let limit = b.binary(BinaryOp::Add, row, v[1])?;
            let inside = b.compare(side, column, limit)?;
            let zero = b.scalar_f64(b.dtype(v[0]), 0.0);
            Ok(one(b.select(inside, v[0], zero)?))
        })
    }
}
