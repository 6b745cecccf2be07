//! Windows of 3 x 3 transformed for Winograd convolutions, in panels.

use super::share_out;
use fornax_ir::graph::ops::WinogradWeights;
use fornax_ir::{DType, Literal};

/// Places of a transform and rows of it, at most.
const MOST: (usize, usize) = (36, 6);
/// Lanes of a panel that are computed together.
const LANES: usize = 16;

/// Neighbouring lanes, in 64 bits.
type Block = [f64; LANES];

/// Bytes of the transformed constant.
pub(super) fn bytes(literal: &Literal, op: &WinogradWeights) -> usize {
    let [outputs, channels, ..] = literal.shape()[..] else { return 0 };
    let (width, places) = (op.width as usize, ((op.tile + 2) * (op.tile + 2)) as usize);
    outputs.div_ceil(width) * places * channels * width * literal.dtype().bytes()
}

/// Writes the panels of a constant of 32- or 64-bit floats.
pub(super) fn write(literal: &Literal, op: &WinogradWeights, to: &mut [u8]) {
    let [outputs, channels, ..] = literal.shape()[..] else { return };
    if to.is_empty() {
        return;
    }
    let (width, rows) = (op.width as usize, op.tile as usize + 2);
    let element = literal.dtype().bytes();
    // The places of each panel lie apart.
    let (bytes, count) = (channels * width * element, outputs.div_ceil(width));
    let mut panels: Vec<Vec<&mut [u8]>> = (0..count).map(|_| Vec::with_capacity(rows * rows)).collect();
    let all = to.len();
    to.chunks_mut(bytes).enumerate().for_each(|(k, part)| panels[k % count].push(part));
    let panel = |panel: usize, mut to: Vec<&mut [u8]>| {
        let read = |o: usize, c: usize, k: usize| load(literal, ((o * channels) + c) * 9 + k);
        for c in 0..channels {
            for first in (0..width).step_by(LANES) {
                let (output, lanes) = (panel * width + first, LANES.min(width - first));
                let mut window = [[0.0; LANES]; 9];
                let present = lanes.min(outputs.saturating_sub(output));
                for (k, values) in window.iter_mut().enumerate() {
                    let values = values[..present].iter_mut().enumerate();
                    values.for_each(|(lane, v)| *v = read(output + lane, c, k));
                }
                let mut result = [[0.0; LANES]; MOST.0];
                transformed(&window, rows, &mut result);
                for (to, values) in to.iter_mut().zip(&result[..rows * rows]) {
                    let at = (c * width + first) * element;
                    store(literal.dtype(), &values[..lanes], &mut to[at..][..lanes * element]);
                }
            }
        }
    };
    share_out(panels, all, panel);
}

fn load(literal: &Literal, at: usize) -> f64 {
    let data = literal.bytes();
    let word = |n: usize| &data[at * n..][..n];
    match literal.dtype() {
        DType::F64 => word(8).try_into().map_or(0.0, f64::from_ne_bytes),
        _ => word(4).try_into().map_or(0.0, |b| f64::from(f32::from_ne_bytes(b))),
    }
}

fn store(dtype: DType, values: &[f64], to: &mut [u8]) {
    if dtype == DType::F64 {
        to.chunks_exact_mut(8).zip(values).for_each(|(to, v)| to.copy_from_slice(&v.to_ne_bytes()));
    } else {
        to.chunks_exact_mut(4).zip(values).for_each(|(to, v)| to.copy_from_slice(&(*v as f32).to_ne_bytes()));
    }
}

/// `G g G^T` of each lane, row-major.
fn transformed(window: &[Block; 9], rows: usize, to: &mut [Block; MOST.0]) {
    let mut half = [[[0.0; LANES]; 3]; MOST.1];
    for j in 0..3 {
        let column = axis([&window[j], &window[3 + j], &window[6 + j]], rows);
        (0..rows).for_each(|i| half[i][j] = column[i]);
    }
    for (i, [a, b, c]) in half[..rows].iter().enumerate() {
        let row = axis([a, b, c], rows);
        to[i * rows..][..rows].copy_from_slice(&row[..rows]);
    }
}

/// `G` times the values along one axis.
fn axis(g: [&Block; 3], rows: usize) -> [Block; MOST.1] {
    let mut to = [[0.0; LANES]; MOST.1];
    for l in 0..LANES {
        let [a, b, c] = g.map(|g| g[l]);
        let values = match rows {
            4 => [a, (a + b + c) * 0.5, (a - b + c) * 0.5, c, 0.0, 0.0],
            _ => {
                let (ends, far) = (a + c, a / 24.0 + c / 6.0);
                [a * 0.25, (ends + b) / -6.0, (ends - b) / -6.0, far + b / 12.0, far - b / 12.0, c]
            }
        };
        (0..MOST.1).for_each(|i| to[i][l] = values[i]);
    }
    to
}

#[cfg(test)]
mod tests {
    use super::*;
    use fornax_ir::graph::interp::run;
    use fornax_ir::graph::{Builder, TensorType};

    /// Panels as they are written are those that the operator's reference semantics gives, but for the last bit.
    #[test]
    fn panels_are_those_of_the_operator() {
        for (outputs, channels, tile, width) in
            [(5, 3, 2, 4), (7, 2, 4, 8), (40, 3, 4, 20), (32, 1, 2, 32), (0, 3, 4, 2)]
        {
            let n = outputs * channels * 9;
            let data: Vec<f32> = (0..n).map(|i| ((i * 37) % 101) as f32 / 50.0 - 1.0).collect();
            let literal = Literal::from_vec(&[outputs, channels, 3, 3], data).unwrap();
            let op = WinogradWeights { tile, width };
            let mut b = Builder::new("weights");
            let extents: Vec<fornax_ir::Dim> = literal.shape().iter().map(|&n| n.into()).collect();
            let w = b.input("w", TensorType::new(DType::F32, extents));
            let u = b.add(op.clone(), &[w]).unwrap();
            b.output("u", u);
            let want = &run(&b.finish(), std::slice::from_ref(&literal)).unwrap().outputs[0];
            let mut to = vec![0xAA; bytes(&literal, &op)];
            assert_eq!(to.len(), want.bytes().len());
            write(&literal, &op, &mut to);
            let got = Literal::from_bytes(DType::F32, want.shape(), to.into()).unwrap();
            for i in 0..got.len() {
                let (a, b) = (got.get_f64(i), want.get_f64(i));
                assert!((a - b).abs() <= f64::from(f32::EPSILON) * b.abs().max(1e-6), "{i}: {a} {b}");
            }
        }
    }
}
