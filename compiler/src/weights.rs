//! Weights as kernels read them: constants as they are, or in panels.

mod winograd;

use crate::WeightSource;
use fornax_ir::Literal;
use fornax_ir::graph::Op;
use fornax_ir::graph::ops::Pack;
use std::sync::{Mutex, PoisonError};

/// Rows of a panel that are gathered together, where its elements do not lie side by side: what is read of each
/// column is a cache line or two.
const BLOCK: usize = 32;
/// Bytes from which panels are shared out among threads.
const PARALLEL_BYTES: usize = 8 << 20;

/// Bytes of a constant, as it is or in panels.
pub(crate) fn laid_out_bytes(literal: &Literal, layout: Option<&Op>) -> usize {
    match layout {
        Some(Op::Pack(pack)) => packed_bytes(literal, pack),
        Some(Op::WinogradWeights(op)) => winograd::bytes(literal, op),
        _ => literal.bytes().len(),
    }
}

fn packed_bytes(literal: &Literal, pack: &Pack) -> usize {
    let last = pack.perm.last().map_or(1, |&p| literal.shape()[p as usize]);
    let others = literal.len().checked_div(last).unwrap_or(0);
    last.div_ceil(pack.width as usize) * pack.width as usize * others * literal.dtype().bytes()
}

impl WeightSource {
    /// Writes the constant's bytes, as they lie in the weights, to the front of `to`.
    pub(crate) fn write(&self, literal: &Literal, to: &mut [u8]) {
        let to = &mut to[..laid_out_bytes(literal, self.layout.as_ref())];
        let pack = match &self.layout {
            Some(Op::Pack(pack)) => pack,
            Some(Op::WinogradWeights(op)) => return winograd::write(literal, op, to),
            _ => return to.copy_from_slice(literal.bytes()),
        };
        match literal.dtype().bytes() {
            1 => write_panels::<1>(literal, pack, to),
            2 => write_panels::<2>(literal, pack, to),
            4 => write_panels::<4>(literal, pack, to),
            _ => write_panels::<8>(literal, pack, to),
        }
    }
}

/// The panels of a constant with elements of `B` bytes.
fn write_panels<const B: usize>(literal: &Literal, pack: &Pack, to: &mut [u8]) {
    let rank = pack.perm.len();
    let mut strides = vec![1usize; rank];
    (1..rank).rev().for_each(|k| strides[k - 1] = strides[k] * literal.shape()[k]);
    let axes: Vec<(usize, usize)> =
        pack.perm.iter().map(|&p| (literal.shape()[p as usize], strides[p as usize])).collect();
    let (Some(&(last, lane_stride)), width) = (axes.last(), pack.width as usize) else { return };
    let panels = last.div_ceil(width);
    if to.is_empty() || panels == 0 {
        return;
    }
    let bytes = to.len() / panels;
    let panel = |p: usize, to: &mut [u8]| {
        let lanes = width.min(last - p * width);
        let from = |row: usize| {
            // The row's element in lane 0.
            let (mut rest, mut at) = (row, p * width * lane_stride);
            for &(n, stride) in axes[..rank - 1].iter().rev() {
                at += rest % n * stride;
                rest /= n;
            }
            at
        };
        write_panel::<B>(literal.bytes(), to, (width, lanes, lane_stride), from);
    };
    let all = to.len();
    share_out(to.chunks_mut(bytes).collect(), all, panel);
}

/// Runs `panel` on all panels with their numbers, on several threads where there are many bytes to write.
fn share_out<P: Send>(panels: Vec<P>, bytes: usize, panel: impl Fn(usize, P) + Sync) {
    let threads = match bytes {
        n if n < PARALLEL_BYTES => 1,
        _ => std::thread::available_parallelism().map_or(1, usize::from).min(panels.len()),
    };
    let left = Mutex::new(panels.into_iter().enumerate());
    let next = || left.lock().unwrap_or_else(PoisonError::into_inner).next();
    let work = || {
        while let Some((p, to)) = next() {
            panel(p, to);
        }
    };
    std::thread::scope(|scope| {
        // A thread that the system refuses only leaves more to the others.
        let spawned: Vec<_> =
            (1..threads).map(|_| std::thread::Builder::new().spawn_scoped(scope, work)).collect();
        work();
        drop(spawned);
    });
}

/// One panel: a row of `width` elements, the first `lanes` of them from the constant, for each position of the other axes.
fn write_panel<const B: usize>(
    data: &[u8],
    to: &mut [u8],
    (width, lanes, lane_stride): (usize, usize, usize),
    from: impl Fn(usize) -> usize,
) {
    if lane_stride == 1 {
        for (row, to) in to.chunks_mut(width * B).enumerate() {
            to[..lanes * B].copy_from_slice(&data[from(row) * B..][..lanes * B]);
            to[lanes * B..].fill(0);
        }
        return;
    }
    let mut starts = [0; BLOCK];
    for (block, to) in to.chunks_mut(BLOCK * width * B).enumerate() {
        let rows = to.len() / (width * B);
        (0..rows).for_each(|k| starts[k] = from(block * BLOCK + k) * B);
        for (row, &start) in to.chunks_mut(width * B).zip(&starts) {
            let (filled, padding) = row.split_at_mut(lanes * B);
            let lane = |k: usize| start + k * lane_stride * B;
            for (k, to) in filled.chunks_exact_mut(B).enumerate() {
                to.copy_from_slice(&data[lane(k)..][..B]);
            }
            padding.fill(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fornax_ir::dtype::DType;
    use fornax_ir::graph::Builder;
    use fornax_ir::graph::interp::run;
    use fornax_ir::graph::{ConstId, TensorType};

    /// Panels as they are written are those that the operator's reference semantics gives.
    #[test]
    fn panels_are_those_of_the_operator() {
        for (shape, perm, width) in [
            (vec![5, 7], vec![0, 1], 4),
            (vec![5, 7], vec![1, 0], 4),
            (vec![70, 64], vec![1, 0], 16),
            (vec![3, 2, 4, 6], vec![2, 3, 1, 0], 2),
            (vec![3, 2, 4, 6], vec![0, 1, 2, 3], 8),
            (vec![9], vec![0], 4),
            (vec![0, 3], vec![0, 1], 2),
            (vec![3, 0], vec![0, 1], 2),
        ] {
            for dtype in [DType::U8, DType::F16, DType::I32, DType::F64] {
                let n: usize = shape.iter().product();
                let data: Vec<u8> = (0..n * dtype.bytes()).map(|i| (i * 7 + 1) as u8).collect();
                let literal = Literal::from_bytes(dtype, &shape, data.into()).unwrap();
                let pack = Pack { perm: perm.clone(), width };
                let mut b = Builder::new("pack");
                let extents: Vec<fornax_ir::Dim> = shape.iter().map(|&n| n.into()).collect();
                let x = b.input("x", TensorType::new(dtype, extents));
                let y = b.add(pack.clone(), &[x]).unwrap();
                b.output("y", y);
                let graph = b.finish();
                let want = &run(&graph, std::slice::from_ref(&literal)).unwrap().outputs[0];
                let source = WeightSource {
                    regions: vec![],
                    constant: ConstId(0),
                    layout: Some(pack.clone().into()),
                    offset: 0,
                };
                let mut bytes = vec![0xAAu8; packed_bytes(&literal, &pack) + 3];
                source.write(&literal, &mut bytes);
                let len = bytes.len() - 3;
                assert_eq!(&bytes[..len], &want.bytes()[..], "{shape:?} {perm:?} {width} {dtype}");
                assert_eq!(&bytes[len..], [0xAA; 3]);
            }
        }
    }
}
