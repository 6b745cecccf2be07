//! Random choices: numbers, types, operators, and graphs in which a pattern is found.

use super::super::pattern::{Pattern, Test};
use fornax_ir::Dim;
use fornax_ir::dtype::DType;
use fornax_ir::graph::ops::{
    Binary, Broadcast, Cast, Compare, Conv, DotGeneral, Permute, Reduce, Reshape, Select, Slice, Unary,
};
use fornax_ir::graph::{Builder, Graph, Op, TensorType, ValueId};
use fornax_ir::literal::Literal;
use fornax_ir::scalar::{BinaryOp, CompareOp, ReduceOp, Scalar, UnaryOp};

/// Extents are below this: small shapes are where rules go wrong.
const EXTENTS: usize = 4;
/// Axes of a tensor, at most.
const RANK: usize = 4;
/// Operators that are tried until one fits its operands.
const TRIES: usize = 40;

/// A stream of random choices; the same seed gives the same ones.
#[derive(Clone, Debug)]
pub struct Draw {
    state: u64,
}

/// Which numbers are drawn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Numbers {
    /// Integers from -8 to 8.
    Whole,
    /// Small ones of both signs, with zeros.
    Small,
    /// Floats between `2^-40` and `2^40` of both signs, zeros, and all integers.
    Moderate,
    /// NaN, infinities, zeros of both signs, the largest and the smallest floats, among small ones.
    Special,
}

impl Draw {
    /// The stream of a seed.
    pub fn new(seed: u64) -> Draw {
        Draw { state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x2545_f491_4f6c_dd1d }
    }
    fn bits(&mut self) -> u64 {
        // SplitMix64 (Steele, Lea and Flood, 2014).
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    /// A number below `n`, which is not 0.
    pub fn below(&mut self, n: usize) -> usize {
        (self.bits() % n as u64) as usize
    }
    /// One of a list.
    pub fn pick<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())]
    }
    /// Whether something of that many percent happens.
    pub fn percent(&mut self, n: usize) -> bool {
        self.below(100) < n
    }
    /// An extent: 0 to 3, or one of two symbols.
    pub fn extent(&mut self) -> Dim {
        match self.below(20) {
            0 => Dim::ZERO,
            1..5 => Dim::ONE,
            5..9 => Dim::constant(2),
            9..13 => Dim::constant(EXTENTS as i64 - 1),
            13..18 => Dim::symbol("n"),
            _ => Dim::symbol("m"),
        }
    }
    fn shape(&mut self) -> Vec<Dim> {
        let rank = self.pick(&[0, 1, 1, 2, 2, 2, 3, 3, RANK]);
        (0..rank).map(|_| self.extent()).collect()
    }
    fn dtype(&mut self) -> DType {
        use DType::{Bool, F16, F32, F64, I8, I32, I64};
        self.pick(&[F32, F32, F32, F32, F32, F32, F64, F16, I32, I64, I8, Bool])
    }

    /// A number of a dtype.
    pub fn number(&mut self, dtype: DType, numbers: Numbers) -> Scalar {
        let sign = if self.percent(50) { -1.0 } else { 1.0 };
        match (dtype, numbers) {
            (DType::Bool, _) => Scalar::bool(self.percent(50)),
            (d, _) if !d.is_float() => {
                let small = self.below(7) as i64 - 3;
                let bits = self.bits() as i64;
                Scalar::from_i64(d, if numbers == Numbers::Whole || self.percent(60) { small } else { bits })
            }
            (d, Numbers::Whole) => Scalar::from_f64(d, sign * self.below(9) as f64),
            (d, Numbers::Small) => Scalar::from_f64(d, sign * self.below(33) as f64 / 8.0),
            (d, Numbers::Moderate) => {
                let reach = if d == DType::F16 { 3 } else { 40 };
                let exponent = self.below(2 * reach + 1) as i32 - reach as i32;
                let digits = 1.0 + self.below(1 << 20) as f64 / f64::from(1 << 20);
                let size = if self.percent(8) { 0.0 } else { digits * 2f64.powi(exponent - 1) };
                Scalar::from_f64(d, sign * size)
            }
            (d, Numbers::Special) => {
                let list =
                    [f64::NAN, f64::INFINITY, 0.0, -0.0, limit(d, true), limit(d, false), 1.0, 0.5, 3.0];
                Scalar::from_f64(d, sign * self.pick(&list))
            }
        }
    }
    /// A tensor of numbers that a graph may have as a constant: whole or moderate ones.
    pub fn literal(&mut self, dtype: DType, shape: &[usize]) -> Literal {
        let numbers = self.pick(&[Numbers::Whole, Numbers::Moderate]);
        self.tensor(dtype, shape, numbers)
    }
    /// A tensor of numbers.
    pub fn tensor(&mut self, dtype: DType, shape: &[usize], numbers: Numbers) -> Literal {
        let mut bytes = vec![];
        for _ in 0..shape.iter().product() {
            bytes.extend(&self.number(dtype, numbers).bits.to_le_bytes()[..dtype.bytes()]);
        }
        Literal::from_little_endian(dtype, shape, bytes.into()).expect("as many bytes as the shape has")
    }
}

/// The largest float of a dtype, or its smallest above zero.
fn limit(dtype: DType, largest: bool) -> f64 {
    match (dtype, largest) {
        (DType::F64, true) => f64::MAX,
        (DType::F64, false) => f64::from_bits(1),
        (DType::F16, true) => 65504.0,
        (DType::F16, false) => 2f64.powi(-24),
        (_, true) => f64::from(f32::MAX),
        (_, false) => f64::from(f32::from_bits(1)),
    }
}

/// A graph whose output matches a pattern but for guards; `None` where the choices did not fit.
pub(super) fn of_pattern(pattern: &Pattern, draw: &mut Draw) -> Option<Graph> {
    let mut b = Build { b: Builder::new("instance"), vars: vec![], draw };
    let y = b.value(pattern, None)?;
    b.b.output("y", y);
    Some(b.b.finish())
}

/// A graph in the making.
struct Build<'d> {
    b: Builder,
    /// What the pattern's variables stand for.
    vars: Vec<(usize, ValueId)>,
    draw: &'d mut Draw,
}

impl Build<'_> {
    /// A value that matches; of a type, where one fits the others better.
    fn value(&mut self, pattern: &Pattern, like: Option<&TensorType>) -> Option<ValueId> {
        match pattern {
            Pattern::Var(k) => Some(self.var(*k, like)),
            Pattern::Uniform(_) => {
                let ty = like.cloned().unwrap_or_else(|| self.ty());
                let kinds =
                    [Numbers::Whole, Numbers::Whole, Numbers::Small, Numbers::Moderate, Numbers::Special];
                let numbers = self.draw.pick(&kinds);
                let far = self.draw.percent(25) && ty.dtype == DType::F32;
                let number = match far {
                    true => Scalar::f32(f32::from_bits((1 + self.draw.below(253) as u32) << 23 | 0x2a_aaaa)),
                    false => self.draw.number(ty.dtype, numbers),
                };
                self.repeated(number, &ty)
            }
            Pattern::Number(n) => {
                let ty = like.cloned().unwrap_or_else(|| self.ty());
                self.repeated(Scalar::from_f64(ty.dtype, *n), &ty)
            }
            Pattern::Spread(inner) => self.value(inner, like),
            Pattern::Node { test, operands, .. } => self.node(test, operands, like),
        }
    }

    fn var(&mut self, k: usize, like: Option<&TensorType>) -> ValueId {
        if let Some(known) = self.vars.iter().find(|v| v.0 == k) {
            return known.1;
        }
        let ty = match like {
            Some(ty) if self.draw.percent(85) => ty.clone(),
            _ => self.ty(),
        };
        let fixed: Option<Vec<usize>> =
            ty.shape.iter().map(|d| usize::try_from(d.as_const()?).ok()).collect();
        let v = match fixed {
            Some(shape) if self.draw.percent(30) => {
                let literal = self.draw.literal(ty.dtype, &shape);
                self.b.constant("w", literal)
            }
            _ => self.b.input(&format!("x{k}"), ty),
        };
        self.vars.push((k, v));
        v
    }

    /// A type: often one that is there already, or one of its extents.
    fn ty(&mut self) -> TensorType {
        let known: Vec<TensorType> = self.vars.iter().map(|v| self.b.ty(v.1).clone()).collect();
        let (mut shape, mut dtype) = (self.draw.shape(), self.draw.dtype());
        if !known.is_empty() {
            let other = &known[self.draw.below(known.len())];
            dtype = if self.draw.percent(95) { other.dtype } else { dtype };
            for d in &mut shape {
                if self.draw.percent(60) && !other.shape.is_empty() {
                    *d = other.shape[self.draw.below(other.shape.len())].clone();
                }
            }
        }
        TensorType::new(dtype, shape)
    }

    fn repeated(&mut self, number: Scalar, ty: &TensorType) -> Option<ValueId> {
        let c = self.b.scalar(number);
        match ty.shape.is_empty() {
            true => Some(c),
            false => self.b.add(Broadcast { shape: ty.shape.clone(), axes: vec![] }, &[c]).ok(),
        }
    }

    fn node(&mut self, test: &Test, operands: &[Pattern], like: Option<&TensorType>) -> Option<ValueId> {
        let number = |p: &Pattern| matches!(p, Pattern::Uniform(_) | Pattern::Number(_));
        let selects = operands.len() == 3;
        let mut values: Vec<Option<ValueId>> = vec![None; operands.len()];
        // Numbers repeat over what stands beside them, which is therefore made first.
        let mut first: Option<TensorType> = like.filter(|_| self.draw.percent(80)).cloned();
        let (plain, numbers): (Vec<usize>, Vec<usize>) =
            (0..operands.len()).partition(|&k| !number(&operands[k]));
        let last_first = plain.into_iter().rev().chain(numbers);
        for k in last_first {
            let condition = |ty: &TensorType| TensorType::new(DType::Bool, ty.shape.clone());
            let wanted = if selects && k == 0 { first.as_ref().map(condition) } else { first.clone() };
            let v = self.value(&operands[k], wanted.as_ref())?;
            first = Some(self.b.ty(v).clone());
            values[k] = Some(v);
        }
        let values: Vec<ValueId> = values.into_iter().collect::<Option<_>>()?;
        match test {
            Test::Exactly(op) => self.b.add(op.clone(), &values).ok(),
            Test::Reduces(by) => {
                let axes =
                    (0..self.b.shape(values[0]).len() as u32).filter(|_| self.draw.percent(50)).collect();
                self.b.add(Reduce { op: *by, axes }, &values).ok()
            }
            Test::Op(accepts) => (0..TRIES).find_map(|_| {
                let op = self.operator(&values)?;
                if accepts(&op) { self.b.add(op, &values).ok() } else { None }
            }),
        }
    }

    /// Some operator of as many operands, with attributes that may fit them.
    fn operator(&mut self, values: &[ValueId]) -> Option<Op> {
        let shape = self.b.shape(values[0]).to_vec();
        Some(match values.len() {
            1 => match self.draw.below(7) {
                0 => Unary(self.draw.pick(UnaryOp::ALL)).into(),
                1 => Cast(self.draw.dtype()).into(),
                2 => self.permute(shape.len()).into(),
                3 => Reshape { shape: self.reshaped(&shape) }.into(),
                4 => self.broadcast(&shape)?.into(),
                5 => {
                    let axes = (0..shape.len() as u32).filter(|_| self.draw.percent(50)).collect();
                    Reduce { op: self.draw.pick(&[ReduceOp::Sum, ReduceOp::Max]), axes }.into()
                }
                _ => self.slice(&shape).into(),
            },
            2 => match self.draw.below(4) {
                0 => Binary(self.draw.pick(BinaryOp::ALL)).into(),
                1 => Compare(self.draw.pick(CompareOp::ALL)).into(),
                2 => self.dot(&shape, values[1]).into(),
                _ => self.conv(shape.len().checked_sub(2)?).into(),
            },
            _ => Select.into(),
        })
    }

    fn permute(&mut self, rank: usize) -> Permute {
        let mut perm: Vec<u32> = (0..rank as u32).collect();
        for k in (1..rank).rev() {
            perm.swap(k, self.draw.below(k + 1));
        }
        Permute { perm }
    }

    fn reshaped(&mut self, shape: &[Dim]) -> Vec<Dim> {
        let mut to = shape.to_vec();
        for _ in 0..1 + self.draw.below(2) {
            if self.draw.percent(50) && to.len() >= 2 {
                let k = self.draw.below(to.len() - 1);
                let merged = to[k].clone() * &to[k + 1];
                to.splice(k..=k + 1, [merged]);
            } else if to.len() < RANK {
                to.insert(self.draw.below(to.len() + 1), Dim::ONE);
            }
        }
        to
    }

    fn broadcast(&mut self, shape: &[Dim]) -> Option<Broadcast> {
        let mut to: Vec<Dim> = vec![];
        let mut axes = vec![];
        for d in shape {
            if self.draw.percent(30) {
                to.push(self.draw.extent());
            }
            axes.push(to.len() as u32);
            to.push(if d.is_const(1) && self.draw.percent(50) { self.draw.extent() } else { d.clone() });
        }
        if self.draw.percent(30) {
            to.push(self.draw.extent());
        }
        (to.len() <= RANK + 1).then_some(Broadcast { shape: to, axes })
    }

    fn slice(&mut self, shape: &[Dim]) -> Slice {
        let mut slice = Slice { start: vec![], size: vec![], step: vec![] };
        for d in shape {
            let n = d.as_const().unwrap_or(0);
            let (start, size, step) = match self.draw.below(4) {
                0 if n > 0 => {
                    let first = self.draw.below(n as usize) as i64;
                    (Dim::constant(first), Dim::constant(self.draw.below((n - first) as usize + 1) as i64), 1)
                }
                1 if n > 0 => (Dim::constant(n - 1), d.clone(), -1),
                2 if n > 2 => (Dim::ZERO, Dim::constant((n + 1) / 2), 2),
                _ => (Dim::ZERO, d.clone(), 1),
            };
            slice.start.push(start);
            slice.size.push(size);
            slice.step.push(step);
        }
        slice
    }

    fn dot(&mut self, left: &[Dim], right: ValueId) -> DotGeneral {
        let right = self.b.shape(right).to_vec();
        let mut free: Vec<u32> = (0..right.len() as u32).collect();
        let mut dot = DotGeneral { batch: vec![], contract: vec![] };
        for (a, d) in left.iter().enumerate() {
            let fits: Vec<usize> = (0..free.len()).filter(|&k| right[free[k] as usize] == *d).collect();
            if fits.is_empty() || self.draw.percent(25) {
                continue;
            }
            let b = free.remove(fits[self.draw.below(fits.len())]);
            let pairs = if self.draw.percent(35) { &mut dot.batch } else { &mut dot.contract };
            pairs.push((a as u32, b));
        }
        dot
    }

    fn conv(&mut self, axes: usize) -> Conv {
        let mut numbers =
            |from: i64, n: usize| (0..axes).map(|_| from + self.draw.below(n) as i64).collect::<Vec<_>>();
        let (strides, dilations, lo, hi) = (numbers(1, 2), numbers(1, 2), numbers(0, 2), numbers(0, 2));
        let pads = lo.into_iter().zip(hi).map(|(a, b)| (Dim::constant(a), Dim::constant(b))).collect();
        Conv { strides, pads, dilations, groups: 1 + self.draw.below(2) as i64 }
    }
}
