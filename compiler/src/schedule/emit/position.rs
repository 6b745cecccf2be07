//! Comparisons of positions, such as those of a causal mask: conditions on indices, which bound loops where a compared
//! pair of counters would be computed point by point.

use super::Emitter;
use crate::plan::storage;
use crate::schedule::draft::Bounds;
use crate::schedule::{literal_scalar, maps};
use fornax_ir::graph::{Op, ValueId};
use fornax_ir::scalar::{BinaryOp, CompareOp};
use fornax_ir::{DType, Dim};

/// Beyond every difference of positions.
const FAR: i64 = 1 << 40;
/// Constants that are larger are no offsets of positions.
const NEAR: i64 = 1 << 31;
/// Operators between a comparison and its counters, at most.
const MAX_STEPS: u32 = 16;

impl Emitter<'_> {
    /// The condition that a comparison of two positions is, outside of products, whose tiles have no borders.
    pub(super) fn comparison(&self, op: CompareOp, inputs: &[ValueId], index: &[Dim]) -> Option<Bounds> {
        if self.in_contraction || !self.contractions.is_empty() {
            return None;
        }
        let (a, b) = (self.position(inputs[0], index, 0)?, self.position(inputs[1], index, 0)?);
        let at_least = match op {
            CompareOp::Ge => a - &b,
            CompareOp::Gt => a - &b - 1,
            CompareOp::Le => b - &a,
            CompareOp::Lt => b - &a - 1,
            _ => return None,
        };
        let mut bounds = Bounds::new();
        self.bound(&mut bounds, &at_least, &Dim::constant(FAR));
        Some(bounds)
    }

    /// The value at an index as an index expression, if it is one: counters and small constants, added.
    fn position(&self, v: ValueId, index: &[Dim], steps: u32) -> Option<Dim> {
        let node = self.graph.node(v);
        if steps > MAX_STEPS || !matches!(node.ty.dtype, DType::I64 | DType::I32) {
            return None;
        }
        if let Some(l) = self.graph.literal(v).filter(|l| l.len() == 1) {
            let c = literal_scalar(l).as_i64();
            return (-NEAR..NEAR).contains(&c).then(|| Dim::constant(c));
        }
        if let Op::Reshape(_) = node.op {
            let s = storage(self.graph, v);
            let (from, to) = (&node.ty.shape, &self.graph.ty(s).shape);
            return self.position(s, &maps::reshape(index, from, to, &self.ranges), steps + 1);
        }
        if let Op::Iota(i) = &node.op {
            return Some(index[i.axis as usize].clone());
        }
        if !self.group.computes(v) || self.group.locals.contains(&v) {
            return None;
        }
        let operand = |k: usize, at: &[Dim]| self.position(node.inputs[k], at, steps + 1);
        match &node.op {
            Op::Permute(p) => {
                let mut at = vec![Dim::constant(0); index.len()];
                p.perm.iter().zip(index).for_each(|(&p, i)| at[p as usize] = i.clone());
                operand(0, &at)
            }
            Op::Broadcast(b) => {
                let shape = &self.graph.ty(node.inputs[0]).shape;
                let repeat = |(d, &a): (&Dim, &u32)| {
                    if d.is_const(1) { Dim::constant(0) } else { index[a as usize].clone() }
                };
                let at: Vec<Dim> = shape.iter().zip(&b.axes).map(repeat).collect();
                operand(0, &at)
            }
            Op::Slice(s) => {
                let at = |k: usize| s.start[k].clone() + index[k].clone() * s.step[k];
                operand(0, &(0..index.len()).map(at).collect::<Vec<_>>())
            }
            Op::Binary(b) if node.ty.dtype == DType::I64 => match b.0 {
                BinaryOp::Add => Some(operand(0, index)? + operand(1, index)?),
                BinaryOp::Sub => Some(operand(0, index)? - &operand(1, index)?),
                _ => None,
            },
            _ => None,
        }
    }
}
