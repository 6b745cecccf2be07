//! Reference semantics of convolutions: blocks of output positions become columns of a matrix of
//! their taps, which the weights multiply in ascending order of (taps, channel).

use super::super::EvalCx;
use super::super::dot::matmul;
use super::super::ring::{Ring, by_ring, narrowed, widened};
use super::super::strided::{bad_eval, count, words, zeros};
use super::{Conv, OpError};
use crate::literal::Literal;
use std::borrow::Cow;

const OP: &str = "conv";
/// Elements of a block's tap matrix.
const BLOCK: usize = 1 << 18;

pub(super) fn conv(op: &Conv, cx: &EvalCx<'_>, x: &Literal, w: &Literal) -> Result<Literal, OpError> {
    by_ring!(cx.dtype, T => conv_in::<T>(op, cx, &widened(OP, x)?, &widened(OP, w)?))
}

/// The convolution in numbers.
struct Geometry {
    /// Spatial extents of the operand.
    input: Vec<usize>,
    /// Taps along each spatial axis.
    kernel: Vec<usize>,
    /// Spatial extents of the result.
    output: Vec<usize>,
    /// `(stride, dilation, padding before)` of each spatial axis.
    steps: Vec<(i64, i64, i64)>,
}

impl Geometry {
    fn new(op: &Conv, cx: &EvalCx<'_>, x: &Literal, w: &Literal) -> Result<Geometry, OpError> {
        let mut steps = vec![];
        for (k, (lo, _)) in op.pads.iter().enumerate() {
            let lo = cx.dim(lo)?;
            if !(0..=i64::MAX / 4).contains(&lo) {
                return bad_eval(OP, format!("padding of {lo} elements before axis {}", k + 2));
            }
            steps.push((op.strides[k], op.dilations[k], lo));
        }
        Ok(Geometry {
            input: x.shape()[2..].to_vec(),
            kernel: w.shape()[2..].to_vec(),
            output: cx.shape[2..].to_vec(),
            steps,
        })
    }

    fn taps(&self) -> usize {
        self.kernel.iter().product()
    }

    /// Where output position `p` reads tap `t` along axis `k`, unless outside.
    fn place(&self, k: usize, p: usize, t: usize) -> Option<usize> {
        let (stride, dilation, lo) = self.steps[k];
        let at = p as i64 * stride + t as i64 * dilation - lo;
        usize::try_from(at).ok().filter(|&at| at < self.input[k])
    }

    /// The place in one channel that tap `tap` (row-major number) reads at the first position of
    /// output row `row` (over all axes but the last), the last axis left out.
    fn row_base(&self, row: usize, tap: usize) -> Option<usize> {
        let last = self.kernel.len() - 1;
        let (mut row, mut tap) = (row, tap / self.kernel[last]);
        let (mut base, mut step) = (0, self.input[last]);
        for k in (0..last).rev() {
            base += self.place(k, row % self.output[k], tap % self.kernel[k])? * step;
            step *= self.input[k];
            row /= self.output[k];
            tap /= self.kernel[k];
        }
        Some(base)
    }

    /// Writes what one tap reads in one channel at positions `p0..p0 + out.len()`; 0 where outside.
    fn gather<T: Ring>(&self, x: &[T], tap: usize, p0: usize, out: &mut [T]) {
        let Some(last) = self.kernel.len().checked_sub(1) else {
            out.copy_from_slice(&x[p0..][..out.len()]);
            return;
        };
        let width = self.output[last];
        let (stride, dilation, lo) = self.steps[last];
        let shift = (tap % self.kernel[last]) as i64 * dilation - lo;
        let mut done = 0;
        while done < out.len() {
            let (row, from) = ((p0 + done) / width, (p0 + done) % width);
            let n = (width - from).min(out.len() - done);
            let run = &mut out[done..done + n];
            done += n;
            let Some(base) = self.row_base(row, tap) else {
                run.fill(T::zeroed());
                continue;
            };
            let line = &x[base..base + self.input[last]];
            let first = from as i64 * stride + shift;
            if stride == 1 && first >= 0 && first as usize + n <= line.len() {
                run.copy_from_slice(&line[first as usize..][..n]);
                continue;
            }
            for (i, y) in run.iter_mut().enumerate() {
                let at = first + i as i64 * stride;
                *y = usize::try_from(at).ok().and_then(|at| line.get(at)).copied().unwrap_or(T::zeroed());
            }
        }
    }
}

fn conv_in<T: Ring>(op: &Conv, cx: &EvalCx<'_>, x: &Literal, w: &Literal) -> Result<Literal, OpError> {
    let total = count(OP, cx.dtype, cx.shape)?;
    let geometry = Geometry::new(op, cx, x, w)?;
    let groups = op.groups as usize;
    let (channels, outputs) = (x.shape()[1], w.shape()[0]);
    let agree = cx.shape[0] == x.shape()[0] && cx.shape[1] == outputs;
    if !agree || channels != groups * w.shape()[1] || !outputs.is_multiple_of(groups) {
        let what = format!("{:?} and {:?} do not give {:?}", x.shape(), w.shape(), cx.shape);
        return bad_eval(OP, what);
    }
    let mut out = zeros::<T>(OP, total)?;
    let depth = w.shape()[1] * geometry.taps();
    if total > 0 && depth > 0 && !x.is_empty() {
        let w = channels_innermost(words::<T>(w), w.shape()[1], geometry.taps());
        let x = words::<T>(x);
        let per_in = x.len() / (cx.shape[0] * groups);
        let per_out = total / (cx.shape[0] * groups);
        let weights = w.len() / groups;
        for (i, y) in out.chunks_exact_mut(per_out).enumerate() {
            let w = &w[i % groups * weights..][..weights];
            let x = &x[i * per_in..][..per_in];
            // A weight that is not finite must not meet padding: inf * 0 is NaN.
            if w.iter().all(|&v| v.times(T::zeroed()) == T::zeroed()) {
                by_columns(&geometry, x, w, y, depth)?;
            } else {
                one_by_one(&geometry, x, w, y, depth);
            }
        }
    }
    narrowed(OP, cx.dtype, cx.shape, out)
}

/// Weights `[output, channel, taps..]` as `[output, taps.., channel]`: the order in which products are summed.
fn channels_innermost<T: Ring>(w: Cow<'_, [T]>, channels: usize, taps: usize) -> Cow<'_, [T]> {
    if taps == 1 || channels == 1 {
        return w;
    }
    let mut turned = w.to_vec();
    for (from, to) in w.chunks_exact(channels * taps).zip(turned.chunks_exact_mut(channels * taps)) {
        for (c, from) in from.chunks_exact(taps).enumerate() {
            from.iter().enumerate().for_each(|(tap, w)| to[tap * channels + c] = *w);
        }
    }
    turned.into()
}

/// One group of one image, in blocks of positions.
fn by_columns<T: Ring>(
    geometry: &Geometry,
    x: &[T],
    w: &[T],
    y: &mut [T],
    depth: usize,
) -> Result<(), OpError> {
    let positions: usize = geometry.output.iter().product();
    let plane = geometry.input.iter().product::<usize>();
    let channels = depth / geometry.taps();
    let block = (BLOCK / depth).clamp(64, 4096).min(positions);
    let mut columns = zeros::<T>(OP, depth * block)?;
    let outputs = y.len() / positions;
    let mut product = zeros::<T>(OP, outputs * block)?;
    for p0 in (0..positions).step_by(block) {
        let n = block.min(positions - p0);
        let columns = &mut columns[..depth * n];
        for (d, row) in columns.chunks_exact_mut(n).enumerate() {
            geometry.gather(&x[d % channels * plane..][..plane], d / channels, p0, row);
        }
        let product = &mut product[..outputs * n];
        product.fill(T::zeroed());
        matmul(w, columns, product, n)?;
        for (o, row) in product.chunks_exact(n).enumerate() {
            y[o * positions + p0..][..n].copy_from_slice(row);
        }
    }
    Ok(())
}

/// The same, one product after the other, leaving out what lies outside.
fn one_by_one<T: Ring>(geometry: &Geometry, x: &[T], w: &[T], y: &mut [T], depth: usize) {
    let positions: usize = geometry.output.iter().product();
    let plane = geometry.input.iter().product::<usize>();
    let channels = depth / geometry.taps();
    let last = geometry.kernel.len().checked_sub(1);
    for (o, y) in y.chunks_exact_mut(positions).enumerate() {
        for (d, &w) in w[o * depth..][..depth].iter().enumerate() {
            for (p, y) in y.iter_mut().enumerate() {
                let place = match last {
                    None => Some(0),
                    Some(k) => {
                        let (row, column) = (p / geometry.output[k], p % geometry.output[k]);
                        let at = geometry.place(k, column, d / channels % geometry.kernel[k]);
                        geometry.row_base(row, d / channels).zip(at).map(|(base, at)| base + at)
                    }
                };
                if let Some(place) = place {
                    *y = y.plus(w.times(x[d % channels * plane + place]));
                }
            }
        }
    }
}
