//! Random kernels with random schedules, native against the interpreter.

mod support;

use fornax_ir::dtype::DType;
use fornax_ir::kernel::{
    Affine, Axis, AxisId, AxisKind, Buf, InRange, IndexVar, Inst, Kernel, Mask, Order, Schedule, Size,
    StageSchedule, ValueId,
};
use fornax_ir::scalar::{BinaryOp, CompareOp, ReduceOp, Scalar, UnaryOp};
use support::build::*;
use support::check;

/// A kernel under construction with the buffers it needs.
struct Gen {
    rng: Rng,
    axes: Vec<Axis>,
    extents: Vec<i64>,
    scalars: Vec<i64>,
    body: Body,
    kernel: Kernel,
    buffers: Vec<Vec<u8>>,
    dtype: DType,
    /// The axis along which most loads and stores are contiguous.
    along: Option<AxisId>,
    /// How likely they are, in percent; else strides and masks are as they come.
    contiguous: usize,
}

impl Gen {
    fn new(seed: u64) -> Gen {
        let mut rng = Rng::new(seed);
        let dtypes = [
            DType::F32,
            DType::F32,
            DType::F32,
            DType::F32,
            DType::F32,
            DType::F64,
            DType::I32,
            DType::I64,
            DType::U8,
            DType::U32,
            DType::I8,
            DType::U64,
        ];
        let dtype = rng.pick(&dtypes);
        Gen {
            rng,
            axes: Vec::new(),
            extents: Vec::new(),
            scalars: Vec::new(),
            body: Body::default(),
            kernel: Kernel::default(),
            buffers: Vec::new(),
            dtype,
            along: None,
            contiguous: 97,
        }
    }

    /// A size: mostly a constant, sometimes an argument of that value.
    fn size(&mut self, n: i64) -> Size {
        if n == 0 || !self.rng.chance(12) {
            return c(n);
        }
        self.scalars.push(n);
        Size::Arg(self.scalars.len() as u32 - 1)
    }

    fn axis(&mut self, kind: AxisKind) {
        let n = if self.rng.chance(2) { 0 } else { self.rng.pick(&[1, 2, 3, 4, 5, 7, 8, 9, 12, 17, 19, 33]) };
        let extent = self.size(n);
        self.axes.push(Axis { extent, kind });
        self.extents.push(n);
    }

    fn buffer(&mut self, dtype: DType, len: i64, output: bool) -> u32 {
        let bytes = if output {
            vec![0x5a; len as usize * dtype.bytes()]
        } else {
            elements(&mut self.rng, dtype, len as usize, true)
        };
        self.buffers.push(bytes);
        self.kernel.buffers.push(if output { write(dtype) } else { read(dtype) });
        self.kernel.buffers.len() as u32 - 1
    }

    /// A load through coordinates of random axes, some of which leave their range and are masked.
    fn load(&mut self, dtype: DType, among: &[AxisId]) -> (ValueId, Mask) {
        let mut unused: Vec<AxisId> = among.to_vec();
        let along = self.along.filter(|_| self.rng.chance(self.contiguous));
        if self.rng.chance(20) {
            unused.retain(|&a| Some(a) != along);
        }
        let mut conds = Mask::new();
        let (mut offset, mut terms) = (0, Vec::new());
        let mut pitch = 1;
        while !unused.is_empty() && (pitch == 1 || self.rng.chance(75)) {
            let mut coordinate = Vec::new();
            let (mut low, mut high) = (0, 0);
            let count = if self.rng.chance(30) { 2 } else { 1 };
            for _ in 0..count.min(unused.len()) {
                let k = unused.iter().position(|&a| Some(a) == along);
                let axis = unused.remove(k.unwrap_or_else(|| self.rng.below(unused.len())));
                let stride = if k.is_some() || self.rng.chance(75) { 1 } else { self.rng.pick(&[2, -1, 3]) };
                let reach = stride * (self.extents[axis as usize] - 1).max(0);
                low += reach.min(0);
                high += reach.max(0);
                coordinate.push((axis, stride));
            }
            let shift = if self.rng.chance(30) { self.rng.below(7) as i64 - 3 } else { -low };
            let dim = if self.rng.chance(30) {
                (high - low + 1 + self.rng.below(5) as i64 - 2).max(1)
            } else {
                high - low + 1
            };
            if low + shift < 0 || high + shift >= dim {
                let index = at(shift, &coordinate);
                let limit = self.size(dim);
                conds.push(InRange { index, limit });
            }
            offset += shift * pitch;
            terms.extend(coordinate.iter().map(|&(a, s)| (a, s * pitch)));
            pitch *= dim;
        }
        if terms.is_empty() {
            offset = 0;
        }
        let buf = self.buffer(dtype, pitch, false);
        let strides: Vec<_> = terms.iter().map(|&(a, s)| (a, s)).collect();
        let mut sized = Vec::new();
        for (a, s) in strides {
            let s = if s == 1 { c(1) } else { self.size(s) };
            sized.push((a, s));
        }
        let place = at_sizes(c(offset), &sized);
        (self.body.load_if(Buf::Arg(buf), dtype, place, conds.clone()), conds)
    }

    /// A row of a table chosen by loaded numbers.
    fn gather(&mut self, among: &[AxisId]) -> ValueId {
        let (rows, last) = (5, among.len() - 1);
        let (index, _) = self.load(DType::I64, &among[..last]);
        let three = self.body.scalar(Scalar::i64(3));
        let shifted = self.body.bin(BinaryOp::And, index, three);
        let width = self.extents[among[last] as usize].max(1);
        let buf = self.buffer(self.dtype, rows * width, false);
        let place =
            Affine::new(c(0), [(IndexVar::Axis(among[last]), c(1)), (IndexVar::Value(shifted), c(width))]);
        self.body.load(buf, self.dtype, place)
    }

    /// A few operators on the values.
    fn compute(&mut self, values: &mut Vec<ValueId>, steps: usize) {
        for _ in 0..steps {
            let (a, b) = (self.rng.pick(values), self.rng.pick(values));
            let float = self.dtype.is_float();
            let v = match self.rng.below(10) {
                0 => {
                    let cmp = self.rng.pick(CompareOp::ALL);
                    let cond = self.body.cmp(cmp, a, b);
                    self.body.select(cond, b, a)
                }
                1 => {
                    let ops: &[UnaryOp] = if float {
                        &[UnaryOp::Neg, UnaryOp::Abs, UnaryOp::Sign, UnaryOp::Sqrt, UnaryOp::Floor]
                    } else {
                        &[UnaryOp::Neg, UnaryOp::Abs, UnaryOp::Not, UnaryOp::Sign]
                    };
                    let op = self.rng.pick(ops);
                    self.body.un(op, a)
                }
                2 => {
                    let s = Scalar::from_f64(self.dtype, self.rng.below(9) as f64 - 4.0);
                    self.body.scalar(s)
                }
                3 if self.rng.chance(10) => {
                    let to = self.rng.pick(&[
                        DType::F32,
                        DType::I32,
                        DType::F64,
                        DType::I64,
                        DType::I8,
                        DType::U16,
                        DType::Bool,
                    ]);
                    let there = self.body.cast(a, to);
                    self.body.cast(there, self.dtype)
                }
                4 if !float => {
                    let op = self.rng.pick(&[
                        BinaryOp::Div,
                        BinaryOp::Rem,
                        BinaryOp::Shl,
                        BinaryOp::Shr,
                        BinaryOp::Xor,
                        BinaryOp::And,
                    ]);
                    self.body.bin(op, a, b)
                }
                _ => {
                    let op = self.rng.pick(&[
                        BinaryOp::Add,
                        BinaryOp::Sub,
                        BinaryOp::Mul,
                        BinaryOp::Max,
                        BinaryOp::Min,
                    ]);
                    self.body.bin(op, a, b)
                }
            };
            values.push(v);
        }
    }

    /// Stores the values over all `axes`, dense, in random order of axes, sometimes masked.
    fn store(&mut self, axes: &[AxisId], value: ValueId) {
        let mut order = axes.to_vec();
        if self.rng.chance(30) && order.len() > 1 {
            let k = self.rng.below(order.len());
            order.swap(0, k);
        }
        if let Some(k) = order.iter().position(|&a| Some(a) == self.along && self.rng.chance(self.contiguous))
        {
            let along = order.remove(k);
            order.push(along);
        }
        let (mut terms, mut pitch) = (Vec::new(), 1);
        for &a in order.iter().rev() {
            terms.push((a, pitch));
            pitch *= self.extents[a as usize];
        }
        let mut conds = Mask::new();
        if self.rng.chance(20) && !axes.is_empty() {
            let a = self.rng.pick(axes);
            conds.push(within(at(-2, &[(a, 1)]), 5));
        }
        let buf = self.buffer(self.body.dtype(value), pitch, true);
        self.body.store_if(Buf::Arg(buf), at(0, &terms), value, conds);
    }

    fn kernel(mut self, seed: u64) -> (Kernel, Vec<Vec<u8>>, Vec<i64>) {
        self.contiguous = if seed.is_multiple_of(3) { 40 } else { 97 };
        let parallel = self.rng.below(4);
        let reduces = if self.rng.chance(60) { 1 + self.rng.below(3) } else { 0 };
        for _ in 0..parallel {
            self.axis(AxisKind::Parallel);
        }
        for _ in 0..reduces {
            self.axis(AxisKind::Reduce);
        }
        let outer: Vec<AxisId> = (0..parallel as AxisId).collect();
        let all: Vec<AxisId> = (0..(parallel + reduces) as AxisId).collect();
        let among = if self.rng.chance(70) { &outer } else { &all };
        self.along = among.last().copied();
        let (mut values, mut masks) = (Vec::new(), Vec::new());
        for _ in 0..1 + self.rng.below(3) {
            let (v, m) = self.load(self.dtype, &all);
            values.push(v);
            masks.push(m);
        }
        if all.len() > 1 && self.rng.chance(20) {
            values.push(self.gather(&all));
        }
        let steps = self.rng.below(5);
        self.compute(&mut values, steps);
        if reduces > 0 {
            let mut results = Vec::new();
            for _ in 0..1 + self.rng.below(2) {
                let (a, b) = (self.rng.pick(&values), self.rng.pick(&values));
                let element = if self.rng.chance(50) { self.body.bin(BinaryOp::Mul, a, b) } else { a };
                let op = self.rng.pick(&[
                    ReduceOp::Sum,
                    ReduceOp::Sum,
                    ReduceOp::Max,
                    ReduceOp::Min,
                    ReduceOp::Prod,
                ]);
                let order = self.rng.pick(&[Order::Chain, Order::Interleaved]);
                let m = if self.rng.chance(70) { masks[0].clone() } else { Mask::new() };
                results.push(self.body.acc(op, order, element, m));
            }
            if self.rng.chance(40) {
                let (v, _) = self.load(self.dtype, &outer);
                results.push(v);
            }
            let steps = self.rng.below(4);
            self.compute(&mut results, steps);
            values = results;
        }
        for _ in 0..1 + self.rng.below(2) {
            let value = *values.last().unwrap();
            self.store(&outer, value);
            values.rotate_right(1);
        }
        let schedule = self.schedule(&outer, &all);
        let parallel = self.chunks(&outer);
        let Gen { axes, scalars, body, kernel, buffers, .. } = self;
        let kernel = Kernel {
            name: format!("random {seed}"),
            scalars: scalars.len() as u32,
            stages: vec![body.stage(axes)],
            schedule: Schedule { parallel, stages: vec![schedule], ..Schedule::default() },
            ..kernel
        };
        (kernel, buffers, scalars)
    }

    fn schedule(&mut self, outer: &[AxisId], all: &[AxisId]) -> StageSchedule {
        let ordered = self.body.0.iter().any(|op| match op.inst {
            Inst::Accumulate { op: r, order, .. } => {
                order == Order::Chain && op.dtype.is_float() && matches!(r, ReduceOp::Sum | ReduceOp::Prod)
            }
            _ => false,
        });
        let candidates = if ordered { outer } else { all };
        let mut s = StageSchedule { unroll: self.rng.below(5) as u32, ..StageSchedule::default() };
        if self.rng.chance(85) && !candidates.is_empty() {
            let along = self.along.filter(|a| candidates.contains(a) && self.rng.chance(85));
            let axis = along.unwrap_or_else(|| self.rng.pick(candidates));
            s.vector = Some((axis, 1 + self.rng.below(3) as u32));
        }
        if self.rng.chance(70) && !outer.is_empty() {
            let rows = self.rng.pick(outer);
            if s.vector.is_none_or(|v| v.0 != rows) {
                s.rows = Some((rows, 1 + self.rng.below(6) as u32));
            }
        }
        if self.rng.chance(40) && !outer.is_empty() {
            let mut order = outer.to_vec();
            let k = self.rng.below(order.len());
            order.swap(0, k);
            order.extend(all.iter().skip(outer.len()));
            s.order = order;
        }
        s
    }

    fn chunks(&mut self, outer: &[AxisId]) -> Vec<(AxisId, i64)> {
        let mut chunks = Vec::new();
        for &a in outer {
            if self.rng.chance(40) {
                chunks.push((a, 1 + self.rng.below(9) as i64));
            }
        }
        chunks
    }
}

#[test]
fn random_kernels_agree_with_their_interpreter() {
    // `FORNAX_SEEDS=1000..9000` tries others.
    let range = std::env::var("FORNAX_SEEDS").ok().and_then(|s| {
        let (from, to) = s.split_once("..")?;
        Some(from.parse::<u64>().ok()?..to.parse().ok()?)
    });
    let seeds = range.unwrap_or(0..300);
    let (mut vectors, all) = (0, seeds.clone().count());
    for seed in seeds {
        let (kernel, buffers, scalars) = Gen::new(seed).kernel(seed);
        vectors += usize::from(check(&kernel, &buffers, &scalars));
    }
    assert!(all == 1 || vectors * 5 > all, "only {vectors} of {all} kernels used vectors");
}
