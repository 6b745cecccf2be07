//! Reference semantics of what is no function of single elements: slow, exact, on bytes in host order. The graph's
//! and the kernels' interpreters share them.

use crate::dtype::DType;
use crate::kernel::interp::{read, write};
use crate::scalar::{BinaryOp, ReduceOp, Scalar, eval};
use std::cmp::Ordering;

/// The element at a place, or why there is none.
fn at(bytes: &[u8], dtype: DType, place: usize) -> Result<Scalar, String> {
    let width = dtype.bytes();
    let found = place.checked_mul(width).and_then(|start| bytes.get(start..start.checked_add(width)?));
    found.map(|b| read(dtype, b)).ok_or_else(|| outside(bytes, dtype, place))
}

fn put(bytes: &mut [u8], place: usize, value: Scalar) -> Result<(), String> {
    let width = value.dtype.bytes();
    let range = place.checked_mul(width).and_then(|start| Some(start..start.checked_add(width)?));
    match range.and_then(|r| bytes.get_mut(r)) {
        Some(b) => {
            write(value, b);
            Ok(())
        }
        None => Err(outside(bytes, value.dtype, place)),
    }
}

fn outside(bytes: &[u8], dtype: DType, place: usize) -> String {
    format!("element {place} of a buffer of {}", bytes.len() / dtype.bytes())
}

/// What elements of a dtype are combined in.
fn wide(dtype: DType) -> DType {
    if matches!(dtype, DType::F16 | DType::BF16) { DType::F32 } else { dtype }
}

/// Running combinations along the middle one of three axes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cumulative {
    pub dtype: DType,
    pub shape: [usize; 3],
    pub op: ReduceOp,
    pub exclusive: bool,
    pub reverse: bool,
}

impl Cumulative {
    /// Fills `y`. One chain in the order of the axis; f16 and bf16 are combined in f32, each result rounded.
    pub fn run(&self, x: &[u8], y: &mut [u8]) -> Result<(), String> {
        let [outer, n, inner] = self.shape;
        let wide = wide(self.dtype);
        for row in 0..outer * inner {
            let first = row / inner * n * inner + row % inner;
            let mut running = Scalar::identity(self.op, wide);
            for j in 0..n {
                let place = first + if self.reverse { n - 1 - j } else { j } * inner;
                let element = eval::cast(at(x, self.dtype, place)?, wide);
                let next = eval::reduce_step(self.op, running, element);
                let shown = if self.exclusive { running } else { next };
                put(y, place, eval::cast(shown, self.dtype))?;
                running = next;
            }
        }
        Ok(())
    }
}

/// Updates at places that indices give.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scatter<'a> {
    pub dtype: DType,
    /// Of element and update; none where the update replaces.
    pub operator: Option<BinaryOp>,
    /// Dtype of the indices.
    pub index: DType,
    /// Every update has an index of its own.
    pub each: bool,
    /// Places before the indexed axes.
    pub outer: usize,
    /// Indices, or with `each` updates along the axis.
    pub count: usize,
    /// Places behind the indexed axes.
    pub inner: usize,
    /// Extents of the indexed axes.
    pub limits: &'a [usize],
}

impl Scatter<'_> {
    /// Fills `out`, as large as the data; whether all indices were inside.
    pub fn run(
        &self,
        data: &[u8],
        updates: &[u8],
        indices: &[&[u8]],
        out: &mut [u8],
    ) -> Result<bool, String> {
        if data.len() != out.len() {
            return Err(format!("data of {} bytes for a result of {}", data.len(), out.len()));
        }
        out.copy_from_slice(data);
        let rows: usize = self.limits.iter().product();
        let mut inside = true;
        for update in 0..self.outer * self.count * self.inner {
            let (o, j, w) =
                (update / self.inner / self.count, update / self.inner % self.count, update % self.inner);
            let mut row = Some(0);
            for (index, &limit) in indices.iter().zip(self.limits) {
                let v = at(index, self.index, if self.each { update } else { j })?;
                // An unsigned index beyond i64 reads as negative, and must not wrap.
                let (v, unsigned) = (v.as_i64(), self.index == DType::U64);
                let v = if v < 0 && !unsigned { v + limit as i64 } else { v };
                let found = usize::try_from(v).ok().filter(|v| *v < limit);
                row = row.zip(found).map(|(row, v)| row * limit + v);
            }
            let Some(row) = row else {
                inside = false;
                continue;
            };
            let place = (o * rows + row) * self.inner + w;
            let new = at(updates, self.dtype, update)?;
            let old = at(out, self.dtype, place)?;
            put(out, place, self.operator.map_or(new, |op| eval::binary(op, old, new)))?;
        }
        Ok(inside)
    }
}

/// Sorting along the middle one of three axes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sort {
    pub dtype: DType,
    pub shape: [usize; 3],
    pub descending: bool,
    /// How many elements are wanted.
    pub count: usize,
}

impl Sort {
    /// Fills what is given of the elements and their places.
    pub fn run(
        &self,
        x: &[u8],
        mut values: Option<&mut [u8]>,
        mut places: Option<&mut [u8]>,
    ) -> Result<(), String> {
        let [outer, n, inner] = self.shape;
        for row in 0..outer * inner {
            let (o, w) = (row / inner, row % inner);
            let elements: Vec<Scalar> =
                (0..n).map(|j| at(x, self.dtype, (o * n + j) * inner + w)).collect::<Result<_, _>>()?;
            let mut order: Vec<usize> = (0..n).collect();
            order.sort_by(|&a, &b| {
                let by = ordering(elements[a], elements[b]);
                if self.descending { by.reverse() } else { by }
            });
            for (k, &j) in order.iter().enumerate().take(self.count) {
                let to = (o * self.count + k) * inner + w;
                if let Some(values) = &mut values {
                    put(values, to, elements[j])?;
                }
                if let Some(places) = &mut places {
                    put(places, to, Scalar::i64(j as i64))?;
                }
            }
        }
        Ok(())
    }
}

/// The order of two elements of one dtype: NaN above all, both zeros one.
fn ordering(a: Scalar, b: Scalar) -> Ordering {
    if a.dtype.is_float() {
        let (a, b) = (a.as_f64(), b.as_f64());
        return a.partial_cmp(&b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()));
    }
    if a.dtype == DType::U64 { a.bits.cmp(&b.bits) } else { a.as_i64().cmp(&b.as_i64()) }
}
