//! Views against index formulas.

use super::{dims, eval, f32s, filled, lit};
use fornax_ir::graph::ops::*;
use fornax_ir::scalar::Scalar;
use fornax_ir::{DType, Dim, Literal};
use proptest::prelude::*;

/// All indices of a shape, in row-major order.
pub fn indices(shape: &[usize]) -> Vec<Vec<usize>> {
    shape.iter().fold(vec![vec![]], |all, &n| {
        all.into_iter().flat_map(|i| (0..n).map(move |k| [i.clone(), vec![k]].concat())).collect()
    })
}

/// The row-major place of an index.
pub fn place(shape: &[usize], index: &[usize]) -> usize {
    index.iter().zip(shape).fold(0, |p, (&i, &n)| p * n + i)
}

fn consts(v: &[usize]) -> Vec<Dim> {
    v.iter().map(|&d| Dim::from(d)).collect()
}

/// An array of the numbers 0, 1, .. in some dtype.
fn numbers(dtype: DType, shape: &[usize]) -> Literal {
    let n: usize = shape.iter().product();
    let bytes = (0..n).flat_map(|i| {
        let bits = Scalar::from_i64(dtype, i as i64).bits.to_le_bytes();
        let mut word = bits[..dtype.bytes()].to_vec();
        if cfg!(target_endian = "big") {
            word.reverse();
        }
        word
    });
    Literal::from_bytes(dtype, shape, bytes.collect::<Vec<u8>>().into()).unwrap()
}

fn shapes() -> impl Strategy<Value = (DType, Vec<usize>)> {
    let dtype = prop::sample::select(vec![DType::U8, DType::F16, DType::I32, DType::F64]);
    (dtype, prop::collection::vec(0usize..5, 1..4))
}

proptest! {
    #[test]
    fn permute((dtype, shape) in shapes(), seed in 0usize..6) {
        let mut perm: Vec<u32> = (0..shape.len() as u32).collect();
        perm.rotate_left(seed % shape.len());
        if seed > 2 { perm.reverse() }
        let y = eval(&[numbers(dtype, &shape)], |b, v| b.add(Permute { perm: perm.clone() }, v));
        let out: Vec<usize> = perm.iter().map(|&p| shape[p as usize]).collect();
        prop_assert_eq!(y.shape(), &out[..]);
        for (k, index) in indices(&out).iter().enumerate() {
            let mut from = vec![0; shape.len()];
            perm.iter().zip(index).for_each(|(&p, &i)| from[p as usize] = i);
            prop_assert_eq!(y.get_i64(k), place(&shape, &from) as i64);
        }
    }

    #[test]
    fn slice((dtype, shape) in shapes(), raw in prop::collection::vec((0usize..5, 0usize..5, -3i64..4), 3)) {
        let (mut start, mut size, mut step) = (vec![], vec![], vec![]);
        for (&n, &(s, len, by)) in shape.iter().zip(&raw) {
            let by = if by == 0 { 1 } else { by };
            let s = s.min(n.saturating_sub(1));
            let room = if by > 0 { n.saturating_sub(s + 1) } else { s };
            let most = if n == 0 { 0 } else { room / by.unsigned_abs() as usize + 1 };
            start.push(s);
            size.push(len.min(most));
            step.push(by);
        }
        let op = Slice { start: consts(&start), size: consts(&size), step: step.clone() };
        let y = eval(&[numbers(dtype, &shape)], |b, v| b.add(op, v));
        prop_assert_eq!(y.shape(), &size[..]);
        for (k, index) in indices(&size).iter().enumerate() {
            let from: Vec<usize> =
                (0..shape.len()).map(|a| (start[a] as i64 + index[a] as i64 * step[a]) as usize).collect();
            prop_assert_eq!(y.get_i64(k), place(&shape, &from) as i64);
        }
    }

    #[test]
    fn pad((dtype, shape) in shapes(), lo in prop::collection::vec(0usize..3, 3), hi in prop::collection::vec(0usize..3, 3)) {
        let (lo, hi) = (&lo[..shape.len()], &hi[..shape.len()]);
        let value = numbers(dtype, &[100]);
        let value = Literal::from_bytes(dtype, &[], value.bytes().slice(99 * dtype.bytes()..)).unwrap();
        let y = eval(&[numbers(dtype, &shape), value], |b, v| b.add(Pad { lo: consts(lo), hi: consts(hi) }, v));
        for (k, index) in indices(y.shape()).iter().enumerate() {
            let from: Option<Vec<usize>> = (0..shape.len())
                .map(|a| index[a].checked_sub(lo[a]).filter(|&i| i < shape[a]))
                .collect();
            let want = from.map_or(99, |i| place(&shape, &i) as i64);
            prop_assert_eq!(y.get_i64(k), want);
        }
    }

    #[test]
    fn broadcast((dtype, shape) in shapes(), ones in prop::collection::vec(any::<bool>(), 3), n in 0usize..4) {
        let own: Vec<usize> = shape.iter().zip(&ones).map(|(&d, &one)| if one { 1 } else { d }).collect();
        // A new axis stands second.
        let mut out = shape.clone();
        out.insert(1, n);
        let axes: Vec<u32> = (0..shape.len() as u32).map(|k| if k == 0 { 0 } else { k + 1 }).collect();
        let op = Broadcast { shape: consts(&out), axes };
        let y = eval(&[numbers(dtype, &own)], |b, v| b.add(op, v));
        for (k, index) in indices(&out).iter().enumerate() {
            let mut from = index.clone();
            from.remove(1);
            from.iter_mut().zip(&own).for_each(|(i, &n)| if n == 1 { *i = 0 });
            prop_assert_eq!(y.get_i64(k), place(&own, &from) as i64);
        }
    }

    #[test]
    fn concat((dtype, shape) in shapes(), other in 0usize..4, axis in 0usize..3) {
        let axis = axis % shape.len();
        let mut second = shape.clone();
        second[axis] = other;
        let args = [numbers(dtype, &shape), numbers(dtype, &second), numbers(dtype, &shape)];
        let y = eval(&args, |b, v| b.add(Concat { axis: axis as u32 }, v));
        for (k, index) in indices(y.shape()).iter().enumerate() {
            let mut from = index.clone();
            let mut of = &shape;
            if from[axis] >= shape[axis] + other {
                from[axis] -= shape[axis] + other;
            } else if from[axis] >= shape[axis] {
                from[axis] -= shape[axis];
                of = &second;
            }
            prop_assert_eq!(y.get_i64(k), place(of, &from) as i64);
        }
    }
}

#[test]
fn gather_takes_rows_wraps_negatives_and_indexes_several_axes() {
    let x = filled(&[2, 3, 2], |i| i as f32);
    let rows = eval(&[x.clone(), lit(&[2], &[-1i64, 0])], |b, v| b.add(Gather { axes: vec![1] }, v));
    assert_eq!(f32s(&rows), [4., 5., 0., 1., 10., 11., 6., 7.]);
    let args = [x.clone(), lit(&[3], &[0i32, 1, -1]), lit(&[3], &[1i32, 0, -1])];
    let ends = eval(&args, |b, v| b.add(Gather { axes: vec![0, 2] }, v));
    assert_eq!(ends.shape(), [3, 3]);
    assert_eq!(f32s(&ends), [1., 3., 5., 6., 8., 10., 7., 9., 11.]);
    let matrix = eval(&[x, lit(&[1, 2], &[1u8, 1])], |b, v| b.add(Gather { axes: vec![0] }, v));
    assert_eq!((matrix.shape(), matrix.get_f64(0)), (&[1, 2, 3, 2][..], 6.0));
}

#[test]
fn leaves() {
    let count = eval(&[], |b, _| b.add(Iota { dtype: DType::F16, shape: dims("2 3 2"), axis: 1 }, &[]));
    let values: Vec<f64> = (0..12).map(|i| count.get_f64(i)).collect();
    assert_eq!(values, [0., 0., 1., 1., 2., 2., 0., 0., 1., 1., 2., 2.]);
    let x = filled(&[3, 2], |i| i as f32);
    let mut b = fornax_ir::graph::Builder::new("t");
    b.input("x", super::ty("f32 n m"));
    let y = b.dims(dims("n m n*m+1"), false).unwrap();
    b.output("y", y);
    let out = super::graph_interp::run(&b.finish(), &[x]).unwrap();
    assert_eq!(super::i64s(&out.outputs[0]), [3, 2, 7]);
}

/// Panels wider than memory are an error where they are evaluated, and no end of the process.
#[test]
fn panels_that_do_not_fit_memory_are_an_error() {
    use fornax_ir::graph::{Builder, TensorType, interp};
    let mut b = Builder::new("wide");
    let x = b.input("x", TensorType::new(DType::F32, [5i64, 7].map(fornax_ir::Dim::from)));
    let y = b.add(Pack { perm: vec![0, 1], width: 1 << 50 }, &[x]).unwrap();
    b.output("y", y);
    let graph = b.finish();
    let error = interp::run(&graph, &[numbers(DType::F32, &[5, 7])]).unwrap_err().to_string();
    assert!(error.contains("pack"), "{error}");
}
