//! Plain arrays of `f64` that operations are compared with, and tensors of many layouts.

use fornax::{DType, Tensor, step};

/// Elements in row-major order.
#[derive(Clone, PartialEq, Debug)]
pub struct Nd {
    pub shape: Vec<usize>,
    pub data: Vec<f64>,
}

/// Every index of a shape, in row-major order.
pub fn indices(shape: &[usize]) -> Vec<Vec<usize>> {
    let n: usize = shape.iter().product();
    let index = |mut i: usize| {
        let mut at = vec![0; shape.len()];
        for k in (0..shape.len()).rev() {
            at[k] = i % shape[k];
            i /= shape[k];
        }
        at
    };
    (0..n).map(index).collect()
}

impl Nd {
    pub fn of(x: &Tensor) -> Nd {
        Nd { shape: x.shape().to_vec(), data: x.to_f64_vec() }
    }

    pub fn from_fn(shape: &[usize], f: impl Fn(&[usize]) -> f64) -> Nd {
        Nd { shape: shape.to_vec(), data: indices(shape).iter().map(|i| f(i)).collect() }
    }

    pub fn at(&self, index: &[usize]) -> f64 {
        let place = index.iter().zip(&self.shape).fold(0, |p, (i, n)| p * n + i);
        self.data[place]
    }

    /// The element at an index of a shape that this broadcasts to.
    pub fn broadcast_at(&self, index: &[usize]) -> f64 {
        let own = &index[index.len() - self.shape.len()..];
        let own: Vec<usize> =
            own.iter().zip(&self.shape).map(|(&i, &n)| if n == 1 { 0 } else { i }).collect();
        self.at(&own)
    }

    pub fn map(&self, f: impl Fn(f64) -> f64) -> Nd {
        Nd { shape: self.shape.clone(), data: self.data.iter().map(|&v| f(v)).collect() }
    }

    pub fn zip(&self, other: &Nd, f: impl Fn(f64, f64) -> f64) -> Nd {
        let shape = common(&self.shape, &other.shape);
        Nd::from_fn(&shape, |i| f(self.broadcast_at(i), other.broadcast_at(i)))
    }

    /// The elements along some axes, for every index of the others.
    pub fn fold(&self, axes: &[usize], keep: bool, f: impl Fn(&[f64]) -> f64) -> Nd {
        let outer: Vec<usize> =
            self.shape.iter().enumerate().map(|(k, &n)| if axes.contains(&k) { 1 } else { n }).collect();
        let inner: Vec<usize> =
            self.shape.iter().enumerate().map(|(k, &n)| if axes.contains(&k) { n } else { 1 }).collect();
        let row = |o: &[usize]| -> Vec<f64> {
            let place = |i: &Vec<usize>| o.iter().zip(i).map(|(a, b)| a + b).collect::<Vec<_>>();
            indices(&inner).iter().map(|i| self.at(&place(i))).collect()
        };
        let mut folded = Nd::from_fn(&outer, |o| f(&row(o)));
        if !keep {
            let kept = self.shape.iter().enumerate().filter(|(k, _)| !axes.contains(k));
            folded.shape = kept.map(|(_, &n)| n).collect();
        }
        folded
    }
}

/// The shape that two broadcast to.
pub fn common(a: &[usize], b: &[usize]) -> Vec<usize> {
    let rank = a.len().max(b.len());
    let extent = |s: &[usize], k: usize| (k + s.len()).checked_sub(rank).map_or(1, |i| s[i]);
    (0..rank).map(|k| if extent(a, k) == 1 { extent(b, k) } else { extent(a, k) }).collect()
}

/// Numbers that a dtype can hold, of both signs where it has them, between -3 and 3.
pub fn numbers(shape: &[usize], dtype: DType, seed: u64) -> Tensor {
    let n: usize = shape.iter().product();
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    let mut next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((state >> 40) as f64 / (1u64 << 24) as f64) * 6.0 - 3.0
    };
    let value = |v: f64| match dtype {
        d if d.is_float() => v,
        DType::Bool => f64::from(v > 0.0),
        DType::U8 => (v + 3.0).floor(),
        _ => v.floor(),
    };
    Tensor::from_f64s((0..n).map(|_| value(next())).collect::<Vec<_>>(), dtype, shape).unwrap()
}

/// Tensors of a shape that lie in memory in different ways: row-major, permuted, reversed, with gaps, repeated.
pub fn layouts(shape: &[usize], dtype: DType, seed: u64) -> Vec<Tensor> {
    let dense = numbers(shape, dtype, seed);
    let mut all = vec![dense.clone()];
    let rank = shape.len();
    if rank == 0 {
        return all;
    }
    let backwards: Vec<usize> = shape.iter().rev().copied().collect();
    let order: Vec<usize> = (0..rank).rev().collect();
    all.push(numbers(&backwards, dtype, seed + 1).permute(&order[..]));
    all.push(dense.flip(-1));
    let mut wide = shape.to_vec();
    wide[rank - 1] = wide[rank - 1] * 2 + 1;
    all.push(numbers(&wide, dtype, seed + 2).i((fornax::Ellipsis, step(1.., 2))));
    let mut one = shape.to_vec();
    one[0] = 1;
    all.push(numbers(&one, dtype, seed + 3).broadcast_to(shape));
    all
}

/// Panics unless values agree: NaN with NaN, else `|a - b| <= tolerance * (1 + |b|)`.
#[track_caller]
pub fn agree(what: &str, actual: &Tensor, expected: &Nd, tolerance: f64) {
    assert_eq!(actual.shape(), expected.shape, "{what}: shapes");
    for (i, (a, b)) in actual.to_f64_vec().iter().zip(&expected.data).enumerate() {
        let same = a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= tolerance * (1.0 + b.abs());
        assert!(same, "{what}: element {i} is {a}, expected {b}");
    }
}

pub fn tolerance(dtype: DType) -> f64 {
    match dtype {
        DType::F64 => 1e-11,
        DType::F32 => 3e-6,
        DType::F16 => 4e-3,
        DType::BF16 => 3e-2,
        _ => 0.0,
    }
}
