//! Operators on channels-last values, where convolutions gave them.

use super::{Layouts, last_order};
use fornax_ir::dim::Dim;
use fornax_ir::graph::ops::{Concat, Gather, OpClass, Pad, Permute, Reduce, ReduceWindow, Reshape, Slice};
use fornax_ir::graph::{Op, ValueId};

/// Where an axis stands in channels-last order.
fn place(axis: u32, rank: usize) -> u32 {
    match axis {
        0 => 0,
        1 => rank as u32 - 1,
        k => k - 1,
    }
}

/// Entries of the axes in channels-last order.
fn reordered<T: Clone>(entries: &[T]) -> Vec<T> {
    last_order(entries.len()).iter().map(|&k| entries[k as usize].clone()).collect()
}

impl Layouts<'_, '_> {
    /// The operator on channels-last operands, its result in the order that is expected; `None` where no operand
    /// is known in that order, or the operator has no such form.
    pub(super) fn moved(&mut self, op: &Op, operands: &[ValueId]) -> Option<ValueId> {
        let known = operands.iter().find_map(|&v| Some((v, self.known(v)?)));
        let (v, x) = known?;
        let rank = self.r.ty(x).rank();
        match op {
            op if op.class() == OpClass::Elementwise => {
                let stored: Option<Vec<_>> = operands.iter().map(|&v| self.last(v)).collect();
                self.stored_result(op.clone(), &stored?)
            }
            Op::Concat(c) => {
                let stored: Option<Vec<_>> = operands.iter().map(|&v| self.last(v)).collect();
                self.stored_result(Concat { axis: place(c.axis, rank) }, &stored?)
            }
            Op::Pad(p) => {
                let op = Pad { lo: reordered(&p.lo), hi: reordered(&p.hi) };
                self.stored_result(op, &[x, operands[1]])
            }
            Op::Slice(s) => {
                let op =
                    Slice { start: reordered(&s.start), size: reordered(&s.size), step: reordered(&s.step) };
                self.stored_result(op, &[x])
            }
            Op::ReduceWindow(w) => self.window(w, x),
            Op::Reduce(r) => self.reduce(r, x),
            Op::Reshape(s) => self.reshape(&s.shape, v, x),
            Op::Gather(g) if operands[0] == v && g.axes.len() == 1 && self.r.ty(operands[1]).rank() == 1 => {
                self.stored_result(Gather { axes: vec![place(g.axes[0], rank)] }, &[x, operands[1]])
            }
            Op::Permute(p) => {
                let order = super::first_order(rank);
                let perm: Vec<u32> = p.perm.iter().map(|&k| order[k as usize]).collect();
                if perm.is_sorted() { Some(x) } else { self.r.add(Permute { perm }, &[x]).ok() }
            }
            _ => None,
        }
    }

    fn stored_result(&mut self, op: impl Into<Op>, operands: &[ValueId]) -> Option<ValueId> {
        let stored = self.r.add(op, operands).ok()?;
        self.first(stored)
    }

    /// A window over spatial axes; the channels become a windowed axis of one tap.
    fn window(&mut self, w: &ReduceWindow, x: ValueId) -> Option<ValueId> {
        if w.window.is_empty() || self.r.ty(x).rank() < w.window.len() + 2 {
            return None;
        }
        let mut op = w.clone();
        op.window.push(1);
        op.strides.push(1);
        op.pads.push((Dim::ZERO, Dim::ZERO));
        op.dilations.push(1);
        self.stored_result(op, &[x])
    }

    /// A reduction of spatial axes or of the channels; both together would combine in another order.
    fn reduce(&mut self, r: &Reduce, x: ValueId) -> Option<ValueId> {
        let rank = self.r.ty(x).rank();
        let spatial = r.axes.iter().all(|&k| k >= 2);
        if !spatial && r.axes != [1] {
            return None;
        }
        let axes = r.axes.iter().map(|&k| place(k, rank)).collect();
        let y = self.r.add(Reduce { op: r.op, axes }, &[x]).ok()?;
        if spatial && self.r.ty(y).rank() > 2 { self.first(y) } else { Some(y) }
    }

    /// Reshapes of the spatial axes among themselves, and of those of one element alone.
    fn reshape(&mut self, shape: &[Dim], v: ValueId, x: ValueId) -> Option<ValueId> {
        let from = self.r.ty(v).shape.clone();
        let single = from[2..].iter().all(|d| d.is_const(1));
        if single {
            let flat = self.r.add(Reshape { shape: from[..2].to_vec() }, &[x]).ok()?;
            return match shape == &from[..2] {
                true => Some(flat),
                false => self.r.add(Reshape { shape: shape.to_vec() }, &[flat]).ok(),
            };
        }
        if shape.len() < 3 || shape[..2] != from[..2] {
            return None;
        }
        self.stored_result(Reshape { shape: reordered(shape) }, &[x])
    }
}
