//! Random graphs: the canonical form computes what the graph computes.

use super::testing::*;
use fornax_ir::dim::Dim;
use fornax_ir::dtype::DType;
use fornax_ir::graph::ops::{Concat, Conv, DotGeneral, Gather, Pad, ReduceWindow, Slice};
use fornax_ir::graph::{Builder, ValueId};
use fornax_ir::scalar::{CompareOp, ReduceOp};

/// A graph in the making, and what drives its choices.
struct Random {
    b: Builder,
    values: Vec<ValueId>,
    state: u64,
}

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.state = self.state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.state >> 33) as usize % n
    }
    fn pick<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())]
    }
    /// A float value.
    fn float(&mut self) -> ValueId {
        let floats: Vec<ValueId> =
            self.values.iter().copied().filter(|&v| self.b.dtype(v) == DType::F32).collect();
        self.pick(&floats)
    }
    fn extents(&self, v: ValueId) -> Vec<Dim> {
        self.b.shape(v).to_vec()
    }
    /// Numbers with few bits, so that sums and products of some of them are exact in any order.
    fn weights(&mut self, shape: &[usize]) -> ValueId {
        let n: usize = shape.iter().product();
        let v: Vec<f32> = (0..n).map(|_| self.pick(&[-2.0, -1.0, -0.5, 0.5, 1.0, 2.0, 4.0])).collect();
        self.b.constant("", f32s(shape, &v))
    }
    fn scalar(&mut self) -> ValueId {
        let c = self.pick(&[0.0, -0.0, 1.0, -1.0, 2.0, 0.5, 3.0]);
        self.b.scalar_f64(DType::F32, c)
    }

    fn elementwise(&mut self) -> Option<ValueId> {
        use BinaryOp::*;
        let x = self.float();
        match self.below(7) {
            0 => {
                let op =
                    self.pick(&[UnaryOp::Neg, UnaryOp::Neg, UnaryOp::Abs, UnaryOp::Floor, UnaryOp::Round]);
                self.b.unary(op, x).ok()
            }
            1 => {
                let (op, y) = (self.pick(&[Add, Sub, Mul, Min, Max]), self.float());
                self.b.binary(op, x, y).ok()
            }
            2 => {
                let (op, c) = (self.pick(&[Add, Sub, Mul, Div, Max, Pow]), self.scalar());
                self.b.binary(op, x, c).ok()
            }
            3 => {
                let (op, c) = (self.pick(&[Add, Sub, Mul]), self.scalar());
                self.b.binary(op, c, x).ok()
            }
            4 | 5 => {
                let axis = self.below(self.extents(x).len().max(1));
                let extent = self.extents(x).get(axis)?.as_const()? as usize;
                let mut shape = vec![1; self.extents(x).len()];
                shape[axis] = extent;
                let (op, c) = (self.pick(&[Add, Sub, Mul, Div, Mul]), self.weights(&shape));
                self.b.binary(op, x, c).ok()
            }
            _ => {
                let (y, c) = (self.float(), self.scalar());
                let t = self.b.compare(self.state_compare(), x, c).ok()?;
                let t = if self.below(2) == 0 { t } else { self.b.unary(UnaryOp::Not, t).ok()? };
                self.b.select(t, x, y).ok()
            }
        }
    }
    fn state_compare(&self) -> CompareOp {
        CompareOp::ALL[(self.state >> 40) as usize % CompareOp::ALL.len()]
    }

    fn view(&mut self) -> Option<ValueId> {
        let x = self.float();
        let shape = self.extents(x);
        let rank = shape.len();
        match self.below(8) {
            0 => {
                let mut perm: Vec<u32> = (0..rank as u32).collect();
                perm.rotate_left(self.below(rank.max(1)));
                self.b.permute(x, &perm).ok()
            }
            1 => {
                let mut shape = shape;
                shape.insert(self.below(rank + 1), Dim::ONE);
                self.b.reshape(x, shape).ok()
            }
            2 => {
                let squeezed: Vec<Dim> = shape.into_iter().filter(|d| !d.is_const(1)).collect();
                self.b.reshape(x, squeezed).ok()
            }
            3 => {
                let flat = self.b.ty(x).elements();
                self.b.reshape(x, vec![flat]).ok()
            }
            4 => {
                let mut to = vec![Dim::constant(2)];
                to.extend(shape);
                self.b.broadcast_to(x, &to).ok()
            }
            5 => self.slice(x),
            6 => {
                let value = self.scalar();
                let mut lo = || (0..rank).map(|_| Dim::constant(self.below(2) as i64)).collect();
                let pad = Pad { lo: lo(), hi: lo() };
                self.b.add(pad, &[x, value]).ok()
            }
            _ => {
                let mut parts = vec![x; 1 + self.below(2)];
                parts.push(self.float());
                let axis = self.below(rank.max(1)) as u32;
                parts.retain(|&p| {
                    self.b.shape(p).len() == rank
                        && (0..rank).all(|k| k == axis as usize || self.b.shape(p)[k] == shape[k])
                });
                self.b.add(Concat { axis }, &parts).ok()
            }
        }
    }

    fn slice(&mut self, x: ValueId) -> Option<ValueId> {
        let shape = self.extents(x);
        let axis = self.below(shape.len().max(1));
        let extent = shape.get(axis)?.as_const()?;
        let (mut start, mut size, mut step) =
            (vec![Dim::ZERO; shape.len()], shape.clone(), vec![1; shape.len()]);
        if self.below(3) == 0 {
            start[axis] = Dim::constant(extent - 1);
            step[axis] = -1;
        } else if extent > 1 {
            let first = self.below(2) as i64;
            start[axis] = Dim::constant(first);
            size[axis] = Dim::constant(extent - first - self.below((extent - first) as usize) as i64);
        }
        self.b.add(Slice { start, size, step }, &[x]).ok()
    }

    fn contraction(&mut self) -> Option<ValueId> {
        let x = self.float();
        let shape = self.extents(x);
        let rank = shape.len();
        let last = shape.last()?.as_const()? as usize;
        match self.below(5) {
            0 => self.b.reduce(self.reduction(), x, &[rank as u32 - 1]).ok(),
            1 => {
                let k = rank as u32 - 1;
                let (shape, contract) =
                    if self.below(2) == 0 { ([last, 3], (k, 0)) } else { ([3, last], (k, 1)) };
                let w = self.weights(&shape);
                self.b.add(DotGeneral { batch: vec![], contract: vec![contract] }, &[x, w]).ok()
            }
            2 if rank == 3 => {
                let c = shape[1].as_const()? as usize;
                let groups = self.pick(&[1, c]);
                let w = self.weights(&[c, c / groups, 2]);
                let pads = vec![(Dim::constant(self.below(2) as i64), Dim::ONE)];
                let conv = Conv { strides: vec![1], pads, dilations: vec![1], groups: groups as i64 };
                self.b.add(conv, &[x, w]).ok()
            }
            3 => {
                let pads = vec![(Dim::ZERO, Dim::constant(self.below(2) as i64))];
                let op = self.reduction();
                let window = ReduceWindow { op, window: vec![1], strides: vec![1], pads, dilations: vec![1] };
                self.b.add(window, &[x]).ok()
            }
            _ => {
                let i = self.pick(&[0i64, -1, 1]);
                let i = self.b.scalar(fornax_ir::scalar::Scalar::i64(i));
                let axis = self.below(rank) as u32;
                self.b.add(Gather { axes: vec![axis] }, &[x, i]).ok()
            }
        }
    }
    fn reduction(&self) -> ReduceOp {
        [ReduceOp::Sum, ReduceOp::Max, ReduceOp::Min][(self.state >> 40) as usize % 3]
    }

    fn step(&mut self) -> Option<ValueId> {
        match self.below(10) {
            0..5 => self.elementwise(),
            5..8 => self.view(),
            8 => self.contraction(),
            _ => {
                let x = self.pick(&self.values.clone());
                let to = self.pick(&[DType::F32, DType::F32, DType::I32, DType::F64, DType::I8, DType::F16]);
                let wide = self.b.cast(x, to).ok()?;
                self.b.cast(wide, DType::F32).ok()
            }
        }
    }
}

fn random_graph(seed: u64) -> Builder {
    let mut r = Random { b: builder(), values: vec![], state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) };
    for (k, shape) in [["n", "3", "4"], ["2", "3", "1"]].iter().enumerate() {
        let v = input(&mut r.b, &format!("x{k}"), shape);
        r.values.push(v);
    }
    for _ in 0..14 {
        if let Some(v) = r.step() {
            r.values.push(v);
        }
    }
    let first = r.values.len() - r.values.len().min(4);
    for (k, &v) in r.values[first..].iter().enumerate() {
        r.b.output(&format!("y{k}"), v);
    }
    r.b
}

#[test]
fn strict_canonical_graphs_compute_the_same_bits() {
    let mut changed = 0;
    for seed in 0..1000 {
        let before = random_graph(seed).graph().nodes.len();
        changed += usize::from(strictly(random_graph(seed)).nodes.len() != before);
    }
    assert!(changed > 500, "only {changed} graphs changed");
}

#[test]
fn canonical_graphs_compute_the_same_numbers() {
    for seed in 0..1000 {
        canonical(random_graph(seed), 1e-5);
    }
}
