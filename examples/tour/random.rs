//! Numbers from a seed: the same on every machine.

use fornax::{DType, Tensor};

/// SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
pub struct Random(u64);

impl Random {
    /// Numbers of this seed.
    pub fn seeded(seed: u64) -> Self {
        Random(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// In `[0, 1)`.
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// f32 of variance `scale^2` around 0, almost normal: sums of four uniform numbers, each of variance 1/12.
    pub fn normal(&mut self, scale: f64, shape: &[usize]) -> Tensor {
        let count = shape.iter().product::<usize>();
        let values = (0..count).map(|_| {
            let sum: f64 = (0..4).map(|_| self.unit() - 0.5).sum();
            sum * scale * 3f64.sqrt()
        });
        Tensor::from_f64s(values, DType::F32, shape).expect("as many values as the shape has")
    }

    /// f32 in `low..high`.
    pub fn uniform(&mut self, low: f64, high: f64, shape: &[usize]) -> Tensor {
        let count = shape.iter().product::<usize>();
        let values = (0..count).map(|_| low + self.unit() * (high - low));
        Tensor::from_f64s(values, DType::F32, shape).expect("as many values as the shape has")
    }

    /// i64 in `0..end`.
    pub fn integers(&mut self, end: usize, shape: &[usize]) -> Tensor {
        let count = shape.iter().product::<usize>();
        let values: Vec<i64> = (0..count).map(|_| (self.next() % end as u64) as i64).collect();
        Tensor::from_vec(values, shape).expect("as many values as the shape has")
    }
}
