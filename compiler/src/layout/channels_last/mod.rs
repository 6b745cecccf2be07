//! Networks of convolutions in channels-last order, with their weights packed.
//!
//! A convolution with weights of known extents becomes `first(last(conv(first(x), view(packed))))`, where `last` moves the
//! channels behind the spatial axes and `first` moves them back: `last(conv(..))` is what is stored, and the
//! permutations of the operands are index maps of its kernel. Neighbouring points along the channels then fill
//! the vectors, the weights are read one whole panel row after the other, and each element of `x` serves all of them.
//!
//! What follows a convolution ([`moved`]) computes on what is stored, so that `first` is applied to its result
//! instead, and meets the `last` of the next convolution. What has no such form gets the permuted value.
//! Every step is exact: the same elements are combined in the same order. Only where multiplications can be saved
//! ([`winograd`]) they are not, and strict does without.
//!
//! Along the innermost spatial axis padding is written out ([`padded`]), so that all columns of a row are computed
//! alike; along the others it bounds the loop over the taps, which costs nothing.
//!
//! Constant weights are packed when the program is compiled, others by a kernel of their own where enough products are
//! made of them ([`reused`]): those of a network in training, and what stands in the place of weights when the gradient
//! of weights is spelled as a convolution.

mod moved;
mod winograd;

use super::Freedom;
use crate::canonicalize::constant::magnitude;
use crate::canonicalize::rebuild::Rebuild;
use crate::canonicalize::{permuted_axes, simplified};
use crate::machine::Machine;
use fornax_ir::dim::Dim;
use fornax_ir::graph::ops::{Broadcast, Conv, Pack, Pad, Permute, Reshape};
use fornax_ir::graph::{Graph, GraphError, Op, TensorType, ValueId};
use fornax_ir::scalar::Scalar;
use rustc_hash::FxHashMap;

/// Channels per group from which vectors along them pay, unless there is one group for each channel.
const FEW: usize = 4;
/// More output channels than this in one row of weights would spread each step over too many pages.
const MAX_ROW: usize = 512;

/// Places of the result from which packing weights at run time pays.
const MIN_PLACES: i64 = 64;
/// Output channels per group from which moving the other operand pays then.
const MIN_PRODUCTS: usize = 16;

/// The order that moves axis 1 to the end.
fn last_order(rank: usize) -> Vec<u32> {
    [0].into_iter().chain(2..rank as u32).chain([1]).collect()
}
/// The order that moves the last axis to place 1.
fn first_order(rank: usize) -> Vec<u32> {
    [0, rank as u32 - 1].into_iter().chain(1..rank as u32 - 1).collect()
}

/// A graph in the making, and which of its values are permutations of channels-last ones.
struct Layouts<'r, 'g> {
    r: &'r mut Rebuild<'g>,
    /// Values in channels-first order with what is stored in channels-last order.
    stored: &'r mut FxHashMap<ValueId, ValueId>,
    machine: Machine,
    freedom: Freedom,
}

impl Layouts<'_, '_> {
    /// The stored value in channels-last order, if there is one already.
    fn known(&self, v: ValueId) -> Option<ValueId> {
        self.stored.get(&v).copied()
    }

    /// The value in channels-last order.
    fn last(&mut self, v: ValueId) -> Option<ValueId> {
        if let Some(stored) = self.known(v) {
            return Some(stored);
        }
        let node = self.r.node(v).clone();
        let order = last_order(node.ty.rank());
        match &node.op {
            Op::Permute(p) if p.perm == first_order(order.len()) => Some(node.inputs[0]),
            Op::Broadcast(b) => {
                let shape = order.iter().map(|&k| b.shape[k as usize].clone()).collect();
                let (inner, axes) = permuted_axes(&b.axes, &order);
                let x = match inner.is_sorted() {
                    true => node.inputs[0],
                    false => self.r.add(Permute { perm: inner }, &[node.inputs[0]]).ok()?,
                };
                self.r.add(Broadcast { shape, axes }, &[x]).ok()
            }
            _ => self.r.add(Permute { perm: order }, &[v]).ok(),
        }
    }

    /// The value in channels-first order of one in channels-last order.
    fn first(&mut self, stored: ValueId) -> Option<ValueId> {
        let perm = first_order(self.r.ty(stored).rank());
        let v = self.r.add(Permute { perm }, &[stored]).ok()?;
        self.stored.insert(v, stored);
        Some(v)
    }

    fn conv(&mut self, op: &Conv, [x, w]: [ValueId; 2]) -> Option<ValueId> {
        let constant = self.r.literal(w).is_some();
        let shape: Option<Vec<usize>> =
            self.r.ty(w).shape.iter().map(|d| usize::try_from(d.as_const()?).ok()).collect();
        let shape = shape?;
        if !constant && !reused(op, self.r.ty(x), &shape) {
            return None;
        }
        let groups = usize::try_from(op.groups).ok()?;
        let outputs = shape[0] / groups.max(1);
        let depthwise = outputs == 1 && shape[1] == 1;
        let empty = shape.contains(&0) || op.strides.is_empty();
        if empty || (outputs < FEW && !depthwise) {
            return None;
        }
        if constant
            && self.freedom.tiles
            && let Some(y) = self.winograd(op, [x, w], &shape)
        {
            return self.first(y);
        }
        let mut op = op.clone();
        let mut x = self.last(x)?;
        if !depthwise {
            x = padded(self.r, &mut op, x, w, self.freedom.strict).unwrap_or(x);
        }
        let x = self.first(x)?;
        let width = if depthwise { groups } else { panel_of(outputs, self.machine.panel()) };
        let w = packed(self.r, w, &shape, width)?;
        let y = self.r.add(op, &[x, w]).ok()?;
        let y = self.r.add(Permute { perm: last_order(shape.len()) }, &[y]).ok()?;
        self.first(y)
    }
}

/// Whether packing weights at run time pays: each is met by enough places of the result, and each element of `x` by
/// enough channels for its own move.
fn reused(op: &Conv, x: &TensorType, shape: &[usize]) -> bool {
    let places = |k: usize| {
        let n = x.shape[k + 2].as_const()?;
        let reach = (shape[k + 2] as i64 - 1) * op.dilations[k] + 1;
        let pads = op.pads[k].0.as_const()? + op.pads[k].1.as_const()?;
        Some(((n + pads - reach) / op.strides[k] + 1).max(0))
    };
    // An extent that is known only at run time may be 1.
    let images = x.shape[0].as_const().unwrap_or(1);
    let all: i64 =
        (0..op.strides.len()).map(|k| places(k).unwrap_or(1)).product::<i64>().saturating_mul(images);
    let products = shape[0] / usize::try_from(op.groups).unwrap_or(1).max(1);
    all >= MIN_PLACES && products >= MIN_PRODUCTS && matches!(x.dtype.bytes(), 4 | 8)
}

/// The operand in channels-last order with the padding of its innermost spatial axis written out, which the
/// convolution then lacks. What that adds are products `0 * w` of finite weights: zeros, which can change the sign
/// of a zero and are hence left out only when not strict.
fn padded(r: &mut Rebuild<'_>, op: &mut Conv, x: ValueId, w: ValueId, strict: bool) -> Option<ValueId> {
    let (lo, hi) = op.pads.last()?.clone();
    let ty = r.ty(x).clone();
    let exact = ty.dtype.is_int();
    if (lo.is_const(0) && hi.is_const(0)) || !(exact || (!strict && magnitude(r.graph(), w).is_some())) {
        return None;
    }
    let axis = ty.rank() - 2;
    let mut pad = Pad { lo: vec![Dim::ZERO; ty.rank()], hi: vec![Dim::ZERO; ty.rank()] };
    (pad.lo[axis], pad.hi[axis]) = (lo, hi);
    let zero = r.scalar(Scalar::from_i64(ty.dtype, 0));
    let x = r.add(pad, &[x, zero]).ok()?;
    *op.pads.last_mut()? = (Dim::ZERO, Dim::ZERO);
    Some(x)
}

/// Lays out the convolutions of a canonical graph; `None` where there are none. Strict keeps every bit.
///
/// # Errors
/// A fault of this compiler: an operator refuses its operands in their new layout.
pub(super) fn channels_last(
    graph: &Graph,
    machine: Machine,
    freedom: Freedom,
) -> Result<Option<Graph>, GraphError> {
    if !graph.nodes.iter().any(|n| matches!(n.op, Op::Conv(_))) {
        return Ok(None);
    }
    simplified(laid_out(graph, machine, freedom)?, reads_stored).map(Some)
}

/// Whether a value is how a convolution reads what another one stores: one permutation does not undo the other, as
/// what is stored between them would no longer have its channels last.
fn reads_stored(graph: &Graph, v: ValueId) -> bool {
    let operand = |v: ValueId| match graph.node(v).op {
        Op::Permute(_) => Some(graph.node(v).inputs[0]),
        _ => None,
    };
    let stored = operand(v).and_then(operand);
    stored.is_some_and(|v| matches!(graph.node(v).op, Op::Conv(_)) && graph.ty(v).rank() > 2)
}

fn laid_out(graph: &Graph, machine: Machine, freedom: Freedom) -> Result<Graph, GraphError> {
    let mut stored = FxHashMap::default();
    Rebuild::new(graph).sweep(|r, v| {
        let node = graph.node(v);
        let operands = r.operands(v);
        let mut layouts = Layouts { r, stored: &mut stored, machine, freedom };
        let better = match &node.op {
            Op::Conv(op) => layouts.conv(op, [operands[0], operands[1]]),
            op => layouts.moved(op, &operands),
        };
        match better {
            Some(new) if *r.ty(new) == node.ty => Ok(new),
            _ => r.copy(v),
        }
    })
}

/// Output channels that lie side by side: a panel, unless the channels of a group are no whole number of them.
fn panel_of(outputs: usize, panel: usize) -> usize {
    let whole = |w: &usize| *w > 1 && outputs.is_multiple_of(*w);
    let narrow = [panel / 2, panel / 4];
    match () {
        _ if whole(&panel) => panel,
        _ if outputs <= MAX_ROW => outputs,
        _ => narrow.into_iter().find(whole).unwrap_or(outputs),
    }
}

/// Weights `[output, channel, taps..]` of `shape` as a view of panels `[panels, taps.., channel, width]`.
fn packed(r: &mut Rebuild<'_>, w: ValueId, shape: &[usize], width: usize) -> Option<ValueId> {
    let rank = shape.len() as u32;
    let perm = (2..rank).chain([1, 0]).collect();
    let panels = r.add(Pack { perm, width: width as i64 }, &[w]).ok()?;
    // To [panels, width, channel, taps..].
    let perm = [0, rank, rank - 1].into_iter().chain(1..rank - 1).collect();
    let view = r.add(Permute { perm }, &[panels]).ok()?;
    r.add(Reshape { shape: shape.iter().map(|&n| Dim::from(n)).collect() }, &[view]).ok()
}

#[cfg(test)]
mod tests;
