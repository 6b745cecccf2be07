//! Reference semantics of what is no function of single elements: slow, exact, on bytes in host order. The graph's
//! and the kernels' interpreters share them.

use crate::dtype::DType;
use crate::kernel::interp::{read, write};
use crate::scalar::{ReduceOp, Scalar, eval};

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
