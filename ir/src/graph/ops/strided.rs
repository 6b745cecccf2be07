//! Storage for evaluation: checked allocation, elements by width, and strided copies.

use super::super::OpError;
use crate::dtype::DType;
use crate::literal::{Literal, byte_count};
use bytemuck::{AnyBitPattern, NoUninit, Zeroable};
use bytes::Bytes;
use std::borrow::Cow;

/// Runs a block with `T` as the unsigned integer of a dtype's width.
macro_rules! by_width {
    ($dtype:expr, $T:ident => $body:expr) => {
        match $dtype.bytes() {
            1 => {
                type $T = u8;
                $body
            }
            2 => {
                type $T = u16;
                $body
            }
            4 => {
                type $T = u32;
                $body
            }
            _ => {
                type $T = u64;
                $body
            }
        }
    };
}
pub(super) use by_width;

/// An evaluation error.
pub(super) fn bad_eval<T>(op: &'static str, what: impl Into<String>) -> Result<T, OpError> {
    Err(OpError::Eval { op, what: what.into() })
}

/// The number of elements of a tensor that can be addressed.
pub(super) fn count(op: &'static str, dtype: DType, shape: &[usize]) -> Result<usize, OpError> {
    match byte_count(dtype, shape) {
        Ok(n) => Ok(n / dtype.bytes()),
        Err(e) => bad_eval(op, e.to_string()),
    }
}

/// `n` elements of value `fill`, or an error where memory does not suffice.
pub(super) fn filled<T: Clone>(op: &'static str, n: usize, fill: T) -> Result<Vec<T>, OpError> {
    let mut v = Vec::new();
    if v.try_reserve_exact(n).is_err() {
        return bad_eval(op, format!("no memory for {n} elements of {} bytes", size_of::<T>()));
    }
    v.resize(n, fill);
    Ok(v)
}

/// `n` zeros, or an error where memory does not suffice.
pub(super) fn zeros<T: Zeroable + Clone>(op: &'static str, n: usize) -> Result<Vec<T>, OpError> {
    filled(op, n, T::zeroed())
}

/// The elements as words of their width; copied only when they are not aligned.
pub(super) fn words<T: AnyBitPattern + NoUninit>(l: &Literal) -> Cow<'_, [T]> {
    match bytemuck::try_cast_slice(l.bytes()) {
        Ok(s) => Cow::Borrowed(s),
        Err(_) => {
            let chunks = l.bytes().chunks_exact(size_of::<T>());
            Cow::Owned(chunks.map(bytemuck::pod_read_unaligned).collect())
        }
    }
}

/// An array of words under their dtype; the vector becomes the storage.
pub(super) fn literal<T: NoUninit + Send + Sync>(
    op: &'static str,
    dtype: DType,
    shape: &[usize],
    data: Vec<T>,
) -> Result<Literal, OpError> {
    struct Words<T>(Vec<T>);
    impl<T: NoUninit> AsRef<[u8]> for Words<T> {
        fn as_ref(&self) -> &[u8] {
            bytemuck::cast_slice(&self.0)
        }
    }
    let bytes = Bytes::from_owner(Words(data));
    Literal::from_bytes(dtype, shape, bytes).map_err(|e| OpError::Eval { op, what: e.to_string() })
}

/// Row-major strides, in elements.
pub(super) fn row_major(shape: &[usize]) -> Vec<isize> {
    let mut strides = vec![1; shape.len()];
    for k in (1..shape.len()).rev() {
        strides[k - 1] = strides[k] * shape[k] as isize;
    }
    strides
}

/// A place in memory and the step along each axis, in elements.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    /// Place of the first element.
    pub at: isize,
    /// Steps, outermost axis first.
    pub strides: Vec<isize>,
}

impl Layout {
    /// Row-major from the start.
    pub(super) fn row_major(shape: &[usize]) -> Layout {
        Layout { at: 0, strides: row_major(shape) }
    }
}

/// Copies `shape` elements from one layout to another. Axes that run on in both are merged first.
pub(super) fn copy<T: Copy>(shape: &[usize], src: &[T], from: &Layout, dst: &mut [T], to: &Layout) {
    if shape.contains(&0) {
        return;
    }
    let mut axes: Vec<(usize, isize, isize)> = vec![];
    for (k, &n) in shape.iter().enumerate().filter(|&(_, &n)| n != 1) {
        let (s, d) = (from.strides[k], to.strides[k]);
        match axes.last_mut() {
            Some(a) if a.1 == s * n as isize && a.2 == d * n as isize => *a = (a.0 * n, s, d),
            _ => axes.push((n, s, d)),
        }
    }
    let inner = axes.pop().unwrap_or((1, 1, 1));
    // Where neighbours lie along another axis, they are copied with the innermost one, in blocks.
    let turned = axes.iter().position(|a| a.1 == 1 && inner.1 != 1 && inner.2 == 1);
    let across = turned.map_or((1, 0, 0), |k| axes.remove(k));
    let mut index = vec![0; axes.len()];
    let (mut i, mut o) = (from.at, to.at);
    loop {
        match turned {
            None => copy_run(inner, src, i, dst, o),
            Some(_) => copy_turned(across, inner, (src, i), (dst, o)),
        }
        let mut k = axes.len();
        loop {
            if k == 0 {
                return;
            }
            k -= 1;
            let (n, s, d) = axes[k];
            index[k] += 1;
            i += s;
            o += d;
            if index[k] < n {
                break;
            }
            index[k] = 0;
            i -= s * n as isize;
            o -= d * n as isize;
        }
    }
}

/// Copies a plane of two axes, of which the first runs along the source and the second along the destination, in
/// squares whose lines stay in the nearest cache.
fn copy_turned<T: Copy>(
    (rows, s_row, d_row): (usize, isize, isize),
    (columns, s, d): (usize, isize, isize),
    (src, i): (&[T], isize),
    (dst, o): (&mut [T], isize),
) {
    const SIDE: usize = 32;
    for row in (0..rows).step_by(SIDE) {
        for column in (0..columns).step_by(SIDE) {
            let width = SIDE.min(columns - column);
            for r in row..rows.min(row + SIDE) {
                let (i, o) = (i + r as isize * s_row, o + r as isize * d_row);
                let (i, o) = (i + column as isize * s, o + column as isize * d);
                copy_run((width, s, d), src, i, dst, o);
            }
        }
    }
}

fn copy_run<T: Copy>((n, s, d): (usize, isize, isize), src: &[T], i: isize, dst: &mut [T], o: isize) {
    let (first, out) = (i as usize, o as usize);
    match (s, d) {
        (1, 1) => dst[out..out + n].copy_from_slice(&src[first..first + n]),
        (0, 1) => dst[out..out + n].fill(src[first]),
        (_, 1) => {
            for (j, y) in dst[out..out + n].iter_mut().enumerate() {
                *y = src[(i + j as isize * s) as usize];
            }
        }
        _ => {
            for j in 0..n as isize {
                dst[(o + j * d) as usize] = src[(i + j * s) as usize];
            }
        }
    }
}

/// The elements of `l` in the axis order `perm`, contiguous.
pub(super) fn permuted<T: AnyBitPattern + NoUninit>(
    op: &'static str,
    l: &Literal,
    perm: &[usize],
) -> Result<Vec<T>, OpError> {
    let strides = row_major(l.shape());
    let shape: Vec<usize> = perm.iter().map(|&p| l.shape()[p]).collect();
    let from = Layout { at: 0, strides: perm.iter().map(|&p| strides[p]).collect() };
    let n = count(op, l.dtype(), &shape)?;
    let mut out = zeros::<T>(op, n)?;
    copy(&shape, &words::<T>(l), &from, &mut out, &Layout::row_major(&shape));
    Ok(out)
}
