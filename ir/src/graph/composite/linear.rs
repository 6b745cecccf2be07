//! Matrix products and transposed convolutions.

use super::super::builder::{Builder, Result};
use super::super::ops::{Conv, DotGeneral, Pad, Slice};
use super::super::{OpError, ValueId};
use crate::dim::Dim;
use crate::scalar::BinaryOp::Mul;

/// Attributes of [`Builder::conv_transpose`], an entry for each spatial axis.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConvTranspose {
    /// Distance of the taps' origins in the result, positive.
    pub strides: Vec<i64>,
    /// Elements removed before and after the full result.
    pub pads: Vec<(Dim, Dim)>,
    /// Distance of taps, positive.
    pub dilations: Vec<i64>,
    /// Elements added after the result.
    pub output_pads: Vec<i64>,
    /// Number of groups; divides both channel counts.
    pub groups: i64,
}

impl Builder {
    /// Matrix product by NumPy's rules: the last two axes multiply, leading axes broadcast, a rank-1
    /// operand is a row on the left and a column on the right, whose axis vanishes.
    ///
    /// Nothing is broadcast in memory: a leading axis that only one operand has becomes one of its
    /// free axes.
    pub fn matmul(&mut self, a: ValueId, b: ValueId) -> Result<ValueId> {
        let (ra, rb) = (self.shape(a).len(), self.shape(b).len());
        if ra == 0 || rb == 0 {
            let what = format!("operands need at least 1 axis, but are {} and {}", self.ty(a), self.ty(b));
            return self.shape_error("matmul", what);
        }
        if rb <= 2 || ra == 1 {
            let contract = vec![(ra as u32 - 1, rb.saturating_sub(2) as u32)];
            return self.add(DotGeneral { batch: vec![], contract }, &[a, b]);
        }
        self.batched_matmul(a, b)
    }

    fn batched_matmul(&mut self, a: ValueId, b: ValueId) -> Result<ValueId> {
        let (ra, rb) = (self.shape(a).len(), self.shape(b).len());
        let (la, lb) = (ra - 2, rb - 2);
        let lead = la.max(lb);
        // The axis of each operand at each leading place of the result, unless it has none or repeats.
        let mut places: Vec<(Option<usize>, Option<usize>)> = vec![];
        for i in 0..lead {
            let i_a = (i + la).checked_sub(lead);
            let i_b = (i + lb).checked_sub(lead);
            let one = |v: ValueId, k: Option<usize>| k.is_some_and(|k| self.shape(v)[k].is_const(1));
            places.push(match (one(a, i_a), one(b, i_b)) {
                (true, false) if i_b.is_some() => (None, i_b),
                (false, true) if i_a.is_some() => (i_a, None),
                _ => (i_a, i_b),
            });
        }
        let keep_a: Vec<usize> = places.iter().filter_map(|p| p.0).chain([la, la + 1]).collect();
        let keep_b: Vec<usize> = places.iter().filter_map(|p| p.1).chain([lb, lb + 1]).collect();
        let (a, b) = (self.keep_axes(a, &keep_a)?, self.keep_axes(b, &keep_b)?);
        let new = |keep: &[usize], k: usize| keep.iter().position(|&x| x == k).map(|p| p as u32);
        let mut batch = vec![];
        // Where each leading place lands among the product's axes.
        let shared = places.iter().filter(|p| p.0.is_some() && p.1.is_some()).count();
        let only_a = places.iter().filter(|p| p.1.is_none()).count();
        let (mut next_batch, mut next_a, mut next_b) = (0, shared, shared + only_a + 1);
        let mut perm = vec![];
        for p in &places {
            let next = match *p {
                (Some(i), Some(j)) => {
                    batch.extend(new(&keep_a, i).zip(new(&keep_b, j)));
                    &mut next_batch
                }
                (Some(_), None) => &mut next_a,
                _ => &mut next_b,
            };
            perm.push(*next as u32);
            *next += 1;
        }
        perm.push((shared + only_a) as u32);
        perm.push(next_b as u32);
        let contract = vec![(keep_a.len() as u32 - 1, keep_b.len() as u32 - 2)];
        let product = self.add(DotGeneral { batch, contract }, &[a, b])?;
        self.permute(product, &perm)
    }

    /// Drops axes of extent 1: all but those kept.
    fn keep_axes(&mut self, x: ValueId, keep: &[usize]) -> Result<ValueId> {
        let shape: Vec<Dim> = keep.iter().map(|&k| self.shape(x)[k].clone()).collect();
        self.reshape(x, shape)
    }

    /// `alpha * op(a) . op(b) + beta * c` for matrices; `op` transposes where told. `c` broadcasts.
    pub fn gemm(
        &mut self,
        (a, transpose_a): (ValueId, bool),
        (b, transpose_b): (ValueId, bool),
        c: Option<ValueId>,
        alpha: f64,
        beta: f64,
    ) -> Result<ValueId> {
        for v in [a, b] {
            if self.shape(v).len() != 2 {
                return self
                    .shape_error("gemm", format!("operands must be matrices, but one is {}", self.ty(v)));
            }
        }
        let contract = vec![(u32::from(!transpose_a), u32::from(transpose_b))];
        let product = self.add(DotGeneral { batch: vec![], contract }, &[a, b])?;
        let product = if alpha == 1.0 { product } else { self.with_const(Mul, product, alpha)? };
        let Some(c) = c.filter(|_| beta != 0.0) else { return Ok(product) };
        let c = if beta == 1.0 { c } else { self.with_const(Mul, c, beta)? };
        self.add_values(product, c)
    }

    /// The transpose of a convolution: `x: [N, C, spatial..]`, `w: [C, M / groups, kernel..]` to `[N, M, out..]`
    /// with `out = (in - 1) * stride + (k - 1) * dilation + 1 - pad_lo - pad_hi + output_pad`.
    ///
    /// As a matrix product where taps do not overlap, else as a convolution of x with zeros between its
    /// elements and the flipped kernel.
    pub fn conv_transpose(&mut self, x: ValueId, w: ValueId, a: &ConvTranspose) -> Result<ValueId> {
        const OP: &str = "conv_transpose";
        let (rx, rw) = (self.shape(x).len(), self.shape(w).len());
        if rx < 2 || rx != rw {
            let what = format!(
                "x must be [N, C, spatial..] and w [C, M / groups, kernel..] of one rank, but they are {} and {}",
                self.ty(x),
                self.ty(w)
            );
            return self.shape_error(OP, what);
        }
        let n = rx - 2;
        if [a.strides.len(), a.pads.len(), a.dilations.len(), a.output_pads.len()] != [n; 4] {
            return self.shape_error(OP, format!("attributes need {n} entries, one for each spatial axis"));
        }
        let positive = |v: &Vec<i64>| v.iter().all(|&s| s >= 1);
        if !positive(&a.strides) || !positive(&a.dilations) || a.groups < 1 {
            return self.shape_error(OP, "strides, dilations and groups must be at least 1".into());
        }
        if !self.shape(w)[0].rem(&Dim::constant(a.groups)).is_const(0) {
            let what = format!("{} groups do not divide axis 0 of w, {}", a.groups, self.ty(w));
            return self.shape_error(OP, what);
        }
        let disjoint = (0..n).all(|k| {
            self.shape(w)[k + 2].is_const(a.strides[k])
                && a.dilations[k] == 1
                && a.output_pads[k] == 0
                && a.pads[k].0.is_const(0)
                && a.pads[k].1.is_const(0)
        });
        if disjoint { self.disjoint_taps(x, w, a.groups) } else { self.overlapping_taps(x, w, a) }
    }

    fn disjoint_taps(&mut self, x: ValueId, w: ValueId, groups: i64) -> Result<ValueId> {
        let (sx, sw) = (self.shape(x).to_vec(), self.shape(w).to_vec());
        let (g, n) = (Dim::constant(groups), sx.len() - 2);
        let mut split_x = vec![sx[0].clone(), g.clone(), sx[1].floor_div(&g)];
        split_x.extend_from_slice(&sx[2..]);
        let mut split_w = vec![g.clone(), sw[0].floor_div(&g)];
        split_w.extend_from_slice(&sw[1..]);
        let (x, w) = (self.reshape(x, split_x)?, self.reshape(w, split_w)?);
        // [g, N, spatial.., M / g, kernel..]
        let product = self.add(DotGeneral { batch: vec![(1, 0)], contract: vec![(2, 1)] }, &[x, w])?;
        let mut perm = vec![1, 0, n as u32 + 2];
        let mut out = vec![sx[0].clone(), &sw[1] * &g];
        for k in 0..n {
            perm.extend([k as u32 + 2, (n + k) as u32 + 3]);
            out.push(&sx[k + 2] * &sw[k + 2]);
        }
        let sorted = self.permute(product, &perm)?;
        self.reshape(sorted, out)
    }

    fn overlapping_taps(&mut self, x: ValueId, w: ValueId, a: &ConvTranspose) -> Result<ValueId> {
        let n = a.strides.len();
        let mut pads = vec![];
        let mut crop = vec![];
        for k in 0..n {
            let reach = (&self.shape(w)[k + 2] - 1) * a.dilations[k];
            // Spreading leaves stride - 1 zeros after the last element.
            let lo = &reach - &a.pads[k].0;
            let hi = &reach - &a.pads[k].1 + a.output_pads[k] - (a.strides[k] - 1);
            pads.push((lo.at_least(&Dim::ZERO), hi.at_least(&Dim::ZERO)));
            crop.push(((-&lo).at_least(&Dim::ZERO), (-&hi).at_least(&Dim::ZERO)));
        }
        let spread = self.spread(x, &a.strides)?;
        let cropped = self.crop(spread, &crop)?;
        let flipped = self.transposed_kernel(w, a.groups)?;
        let op = Conv { strides: vec![1; n], pads, dilations: a.dilations.clone(), groups: a.groups };
        self.add(op, &[cropped, flipped])
    }

    /// Puts `stride - 1` zeros after every element of the spatial axes.
    fn spread(&mut self, x: ValueId, strides: &[i64]) -> Result<ValueId> {
        if strides.iter().all(|&s| s == 1) {
            return Ok(x);
        }
        let shape = self.shape(x).to_vec();
        let (mut apart, mut hi, mut out) = (shape[..2].to_vec(), vec![Dim::ZERO; 2], shape[..2].to_vec());
        for (d, &s) in shape[2..].iter().zip(strides) {
            apart.extend([d.clone(), Dim::ONE]);
            hi.extend([Dim::ZERO, Dim::constant(s - 1)]);
            out.push(d * s);
        }
        let x = self.reshape(x, apart)?;
        let zero = self.scalar_f64(self.dtype(x), 0.0);
        let x = self.add(Pad { lo: vec![Dim::ZERO; hi.len()], hi }, &[x, zero])?;
        self.reshape(x, out)
    }

    /// Removes elements before and after each spatial axis.
    fn crop(&mut self, x: ValueId, by: &[(Dim, Dim)]) -> Result<ValueId> {
        if by.iter().all(|(lo, hi)| lo.is_const(0) && hi.is_const(0)) {
            return Ok(x);
        }
        let mut size = self.shape(x).to_vec();
        let mut start = vec![Dim::ZERO; size.len()];
        for (k, (lo, hi)) in by.iter().enumerate() {
            start[k + 2] = lo.clone();
            size[k + 2] = &size[k + 2] - lo - hi;
        }
        let step = vec![1; size.len()];
        self.add(Slice { start, size, step }, &[x])
    }

    /// `[C, M / g, kernel..]` to `[M, C / g, kernel..]`, every spatial axis reversed.
    fn transposed_kernel(&mut self, w: ValueId, groups: i64) -> Result<ValueId> {
        let size = self.shape(w).to_vec();
        let g = Dim::constant(groups);
        let spatial = 2..size.len();
        let at_end = |k: usize| spatial.contains(&k);
        let start = size.iter().enumerate().map(|(k, d)| if at_end(k) { d - 1 } else { Dim::ZERO });
        let step = (0..size.len()).map(|k| if at_end(k) { -1 } else { 1 });
        let op = Slice { start: start.collect(), size: size.clone(), step: step.collect() };
        let flipped = self.add(op, &[w])?;
        let mut split = vec![g.clone(), size[0].floor_div(&g)];
        split.extend_from_slice(&size[1..]);
        let split = self.reshape(flipped, split)?;
        let mut perm: Vec<u32> = (0..size.len() as u32 + 1).collect();
        perm.swap(1, 2);
        let swapped = self.permute(split, &perm)?;
        let mut out = vec![&size[1] * &g, size[0].floor_div(&g)];
        out.extend_from_slice(&size[2..]);
        self.reshape(swapped, out)
    }

    /// A convolution ([`Conv`]) with an optional bias of one value for each output channel.
    pub fn conv(&mut self, op: Conv, x: ValueId, w: ValueId, bias: Option<ValueId>) -> Result<ValueId> {
        let y = self.add(op, &[x, w])?;
        let Some(bias) = bias else { return Ok(y) };
        if self.shape(bias).len() != 1 {
            let what =
                format!("the bias must have one value for each output channel, but is {}", self.ty(bias));
            return Err(self.error(OpError::Shape { op: "conv", what }));
        }
        let bias = self.per_channel(y, bias)?;
        self.add_values(y, bias)
    }
}
