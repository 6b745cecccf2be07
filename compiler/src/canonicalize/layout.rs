//! Padding and permutations around contractions, in the form that loops like best.
//!
//! - Padding before a window becomes the window's own.
//! - A permutation before a product becomes other axis numbers, unless that takes the axis that runs
//!   innermost out of its place.
//! - A constant right operand has its free axis last, so that rows of it are vectors.
//! - A permutation of an expression over constants permutes the constants.

use super::CanonicalizeOptions;
use super::constant::{folded, magnitude, uniform};
use super::rebuild::Rebuild;
use super::views::permuted_axes;
use fornax_ir::dim::Dim;
use fornax_ir::graph::ops::{Broadcast, Conv, DotGeneral, OpClass, Permute, ReduceWindow};
use fornax_ir::graph::{Graph, GraphError, Op, TensorType, ValueId};
use fornax_ir::scalar::{ReduceOp, Scalar};

/// Operators between a permutation and the constants it is pushed to, at most.
const MAX_DEPTH: usize = 8;

/// Applies the rules to every node, in order. A rule's result is taken only when it has exactly the
/// type of the node it stands for.
pub(super) fn normalize(graph: &Graph, options: &CanonicalizeOptions) -> Result<Graph, GraphError> {
    Rebuild::new(graph).sweep(|r, v| {
        let node = graph.node(v);
        let operands = r.operands(v);
        let better = match &node.op {
            Op::Conv(op) => padded_conv(r, op, &operands, options),
            Op::ReduceWindow(op) => padded_window(r, op, operands[0], options),
            Op::DotGeneral(op) => product(r, op, [operands[0], operands[1]], options),
            Op::Permute(op) => permuted_constants(r, operands[0], &op.perm, options),
            _ => None,
        };
        match better {
            Some(new) if *r.ty(new) == node.ty => Ok(new),
            _ => r.copy(v),
        }
    })
}

/// Padding before and after each spatial axis.
type Pads = Vec<(Dim, Dim)>;

/// The operand, the value and the spatial padding of a pad of the axes from `first` on.
fn spatial_pad(r: &Rebuild<'_>, v: ValueId, first: usize) -> Option<(ValueId, Scalar, Pads)> {
    let node = r.node(v);
    let Op::Pad(p) = &node.op else { return None };
    let leading = p.lo[..first].iter().chain(&p.hi[..first]).all(|d| d.is_const(0));
    let pads = p.lo[first..].iter().cloned().zip(p.hi[first..].iter().cloned()).collect();
    leading.then_some((node.inputs[0], uniform(r.graph(), node.inputs[1])?, pads))
}

fn sum_pads(a: &[(Dim, Dim)], b: &[(Dim, Dim)]) -> Pads {
    a.iter().zip(b).map(|(a, b)| (&a.0 + &b.0, &a.1 + &b.1)).collect()
}

/// Zero padding before a convolution. What it adds are products `0 * w`: nothing for integers, zeros
/// for finite weights, which can change the sign of a zero and hence are left out only when not strict.
fn padded_conv(
    r: &mut Rebuild<'_>,
    op: &Conv,
    operands: &[ValueId],
    options: &CanonicalizeOptions,
) -> Option<ValueId> {
    let (x, zero, pads) = spatial_pad(r, operands[0], 2)?;
    let is_zero = zero.as_f64() == 0.0;
    let exact = zero.dtype.is_int();
    if !is_zero || !(exact || (!options.strict && magnitude(r.graph(), operands[1]).is_some())) {
        return None;
    }
    let op = Conv { pads: sum_pads(&op.pads, &pads), ..op.clone() };
    r.add(op, &[x, operands[1]]).ok()
}

/// Padding before a window reduction with the value that does not change it. Exact, but for sums of
/// floats, where adding 0 can change the sign of a zero.
fn padded_window(
    r: &mut Rebuild<'_>,
    op: &ReduceWindow,
    x: ValueId,
    options: &CanonicalizeOptions,
) -> Option<ValueId> {
    let first = r.ty(x).rank() - op.window.len();
    let (x, value, pads) = spatial_pad(r, x, first)?;
    let inexact = op.op == ReduceOp::Sum && value.dtype.is_float();
    if value != Scalar::identity(op.op, value.dtype) || (inexact && options.strict) {
        return None;
    }
    let op = ReduceWindow { pads: sum_pads(&op.pads, &pads), ..op.clone() };
    r.add(op, &[x]).ok()
}

fn pick(side: usize, pair: (u32, u32)) -> u32 {
    if side == 0 { pair.0 } else { pair.1 }
}

fn renumbered(op: &DotGeneral, side: usize, f: impl Fn(u32) -> u32) -> DotGeneral {
    let map = |list: &[(u32, u32)]| {
        let one = |&(a, b): &(u32, u32)| if side == 0 { (f(a), b) } else { (a, f(b)) };
        list.iter().map(one).collect()
    };
    DotGeneral { batch: map(&op.batch), contract: map(&op.contract) }
}

/// Permutations of a product's operands as other axis numbers, and its constant right operand with the
/// free axis last. Exact: the same products are summed in the same order.
fn product(
    r: &mut Rebuild<'_>,
    op: &DotGeneral,
    mut operands: [ValueId; 2],
    options: &CanonicalizeOptions,
) -> Option<ValueId> {
    let mut now = op.clone();
    for (side, operand) in operands.iter_mut().enumerate() {
        if let Some((next, x)) = without_permute(r, &now, side, *operand) {
            now = next;
            *operand = x;
        }
    }
    if let Some((next, w)) = free_axis_last(r, &now, operands[1], options) {
        now = next;
        operands[1] = w;
    }
    (now != *op).then(|| r.add(now, &operands).ok())?
}

/// Whether the innermost axis of an operand is the one its loads should run along: contracted on the
/// left (a row is read element by element), free on the right (a row is read as vectors).
fn runs_well(op: &DotGeneral, side: usize, axis: u32) -> bool {
    let contracted = op.contract.iter().any(|&p| pick(side, p) == axis);
    let batch = op.batch.iter().any(|&p| pick(side, p) == axis);
    !batch && contracted == (side == 0)
}

fn without_permute(
    r: &Rebuild<'_>,
    op: &DotGeneral,
    side: usize,
    v: ValueId,
) -> Option<(DotGeneral, ValueId)> {
    let node = r.node(v);
    let Op::Permute(Permute { perm }) = &node.op else { return None };
    let rank = perm.len();
    let free: Vec<u32> = op.free(side, rank).iter().map(|&k| perm[k]).collect();
    let next = renumbered(op, side, |k| perm[k as usize]);
    let last = rank as u32 - 1;
    let good = runs_well(&next, side, last) || !runs_well(op, side, last);
    (free.is_sorted() && good).then_some((next, node.inputs[0]))
}

/// The right operand, made of constants, as `[batch.., contracted.., free..]`.
fn free_axis_last(
    r: &mut Rebuild<'_>,
    op: &DotGeneral,
    w: ValueId,
    options: &CanonicalizeOptions,
) -> Option<(DotGeneral, ValueId)> {
    let rank = r.ty(w).rank();
    let free = op.free(1, rank);
    if free.is_empty() || runs_well(op, 1, rank as u32 - 1) {
        return None;
    }
    let mut order: Vec<u32> = op.batch.iter().chain(&op.contract).map(|p| p.1).collect();
    order.extend(free.iter().map(|&k| k as u32));
    let w = permuted_constants(r, w, &order, options)?;
    let place = |k: u32| order.iter().position(|&o| o == k).map_or(k, |p| p as u32);
    Some((renumbered(op, 1, place), w))
}

/// The permutation of a value made of constants by elementwise operators and broadcasts, as the same
/// expression of permuted constants; nothing grows. Exact: elementwise operators compute each element
/// from the operands' elements at its place.
fn permuted_constants(
    r: &mut Rebuild<'_>,
    v: ValueId,
    perm: &[u32],
    options: &CanonicalizeOptions,
) -> Option<ValueId> {
    let possible = can_permute(r, v, perm, options, MAX_DEPTH);
    if possible { permute_below(r, v, perm, options) } else { None }
}

fn can_permute(
    r: &Rebuild<'_>,
    v: ValueId,
    perm: &[u32],
    options: &CanonicalizeOptions,
    depth: usize,
) -> bool {
    let node = r.node(v);
    let Some(depth) = depth.checked_sub(1) else { return false };
    match &node.op {
        Op::Const(c) => {
            let bytes = r.graph().consts[c.index()].literal.bytes().len();
            r.used_once(v) || bytes <= options.fold_budget
        }
        Op::Broadcast(b) => {
            let (order, _) = permuted_axes(&b.axes, perm);
            order.is_sorted() || can_permute(r, node.inputs[0], &order, options, depth)
        }
        op if op.class() == OpClass::Elementwise => {
            r.used_once(v) && node.inputs.iter().all(|&i| can_permute(r, i, perm, options, depth))
        }
        _ => false,
    }
}

fn permute_below(
    r: &mut Rebuild<'_>,
    v: ValueId,
    perm: &[u32],
    options: &CanonicalizeOptions,
) -> Option<ValueId> {
    let node = r.node(v).clone();
    let shape = perm.iter().map(|&k| node.ty.shape[k as usize].clone()).collect::<Vec<_>>();
    match &node.op {
        Op::Const(c) => {
            let constant = &r.graph().consts[c.index()];
            let name = constant.name.clone();
            let op = Op::from(Permute { perm: perm.to_vec() });
            let l = folded(options, &op, &TensorType::new(node.ty.dtype, shape), &[&constant.literal])?;
            Some(r.constant(&name, l))
        }
        Op::Broadcast(b) => {
            let (order, axes) = permuted_axes(&b.axes, perm);
            let inner = match order.is_sorted() {
                true => node.inputs[0],
                false => permute_below(r, node.inputs[0], &order, options)?,
            };
            r.add(Broadcast { shape, axes }, &[inner]).ok()
        }
        op => {
            let operands: Option<Vec<_>> =
                node.inputs.iter().map(|&i| permute_below(r, i, perm, options)).collect();
            r.add(op.clone(), &operands?).ok()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;
    use fornax_ir::dtype::DType;
    use fornax_ir::graph::Builder;
    use fornax_ir::graph::ops::Pad;
    use fornax_ir::scalar::BinaryOp;

    fn padded(b: &mut Builder, x: ValueId, value: f64) -> ValueId {
        let value = b.scalar_f64(DType::F32, value);
        let lo = [0, 0, 1, 2].map(Dim::constant).to_vec();
        let hi = [0, 0, 0, 1].map(Dim::constant).to_vec();
        b.add(Pad { lo, hi }, &[x, value]).unwrap()
    }
    fn pads(n: i64) -> Vec<(Dim, Dim)> {
        vec![(Dim::constant(n), Dim::constant(n)); 2]
    }

    fn conv_of_pad(value: f64, weight: f32) -> Builder {
        let mut b = builder();
        let x = input(&mut b, "x", &["n", "2", "5", "4"]);
        let x = padded(&mut b, x, value);
        let mut w = vec![0.5f32; 3 * 2 * 9];
        w[7] = weight;
        let w = b.constant("w", f32s(&[3, 2, 3, 3], &w));
        let op = Conv { strides: vec![1, 2], pads: pads(1), dilations: vec![1; 2], groups: 1 };
        let y = b.add(op, &[x, w]).unwrap();
        b.output("y", y);
        b
    }

    #[test]
    fn zero_padding_becomes_the_convolutions() {
        let g = canonical(conv_of_pad(0.0, 2.0), 0.0);
        let Op::Conv(c) = &g.nodes.last().unwrap().op else { panic!() };
        assert_eq!(c.pads, [(2.into(), 1.into()), (3.into(), 2.into())]);
        assert!(!ops(&g).contains(&"pad"));
    }

    #[test]
    fn other_padding_and_infinite_weights_stay() {
        assert!(ops(&canonical(conv_of_pad(1.0, 2.0), 0.0)).contains(&"pad"));
        assert!(ops(&canonical(conv_of_pad(0.0, f32::INFINITY), 0.0)).contains(&"pad"));
        assert!(ops(&strictly(conv_of_pad(0.0, 2.0))).contains(&"pad"));
    }

    #[test]
    fn padding_with_the_identity_becomes_the_windows() {
        for (op, value, gone) in [
            (ReduceOp::Max, f64::NEG_INFINITY, true),
            (ReduceOp::Min, f64::INFINITY, true),
            (ReduceOp::Sum, 0.0, true),
            (ReduceOp::Max, 0.0, false),
        ] {
            let mut b = builder();
            let x = input(&mut b, "x", &["n", "2", "5", "4"]);
            let x = padded(&mut b, x, value);
            let window = ReduceWindow {
                op,
                window: vec![2; 2],
                strides: vec![1; 2],
                pads: pads(0),
                dilations: vec![1; 2],
            };
            let y = b.add(window, &[x]).unwrap();
            b.output("y", y);
            assert_eq!(!ops(&canonical(b, 0.0)).contains(&"pad"), gone, "{op} {value}");
        }
    }

    #[test]
    fn attention_heads_need_no_copies() {
        let mut b = builder();
        let q = input(&mut b, "q", &["n", "s", "2", "8"]);
        let k = input(&mut b, "k", &["n", "s", "2", "8"]);
        let q = b.permute(q, &[0, 2, 1, 3]).unwrap();
        let k = b.permute(k, &[0, 2, 1, 3]).unwrap();
        let op = DotGeneral { batch: vec![(0, 0), (1, 1)], contract: vec![(3, 3)] };
        let y = b.add(op, &[q, k]).unwrap();
        b.output("y", y);
        let g = canonical(b, 0.0);
        assert_eq!(ops(&g), ["input", "input", "dot"]);
        // Here the permutation puts the free axis last: it stays.
        let mut b = builder();
        let q = input(&mut b, "q", &["s", "8"]);
        let k = input(&mut b, "k", &["s", "8"]);
        let k = b.permute(k, &[1, 0]).unwrap();
        let y = matmul(&mut b, q, k);
        b.output("y", y);
        assert_eq!(ops(&canonical(b, 0.0)), ["input", "input", "permute", "dot"]);
    }

    #[test]
    fn constant_weights_get_their_free_axis_last() {
        let mut b = builder();
        let x = input(&mut b, "x", &["n", "6"]);
        let w = b.constant("w", ramp(&[4, 6]));
        let op = DotGeneral { batch: vec![], contract: vec![(1, 1)] };
        let y = b.add(op, &[x, w]).unwrap();
        b.output("y", y);
        let g = canonical(b, 0.0);
        assert_eq!(ops(&g), ["input", "const", "dot"]);
        assert_eq!(g.consts[0].literal.shape(), [6, 4]);
    }

    #[test]
    fn dequantised_weights_stay_small_when_permuted() {
        for transposed in [false, true] {
            let mut b = builder();
            let x = input(&mut b, "x", &["n", "512"]);
            let w = b.constant("w", i8s(&[300, 512]));
            let scale = b.constant("scale", ramp(&[300, 1]));
            let w = b.cast(w, DType::F32).unwrap();
            let w = b.binary(BinaryOp::Mul, w, scale).unwrap();
            let y = if transposed {
                let w = b.permute(w, &[1, 0]).unwrap();
                matmul(&mut b, x, w)
            } else {
                b.add(DotGeneral { batch: vec![], contract: vec![(1, 1)] }, &[x, w]).unwrap()
            };
            b.output("y", y);
            let g = strictly(b);
            let w = g.consts.iter().find(|c| c.name == "w").unwrap();
            assert_eq!((w.literal.dtype(), w.literal.shape()), (DType::I8, &[512, 300][..]));
            assert!(!ops(&g).contains(&"permute"));
        }
    }
}
