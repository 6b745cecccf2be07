//! Composition of views. Views only move elements, so that each rule is exact: it names the same
//! element of the same operand.

use super::constant::uniform;
use super::rebuild::Rebuild;
use super::simplify::{Site, Step};
use fornax_ir::dim::Dim;
use fornax_ir::graph::ops::{Broadcast, Concat, Gather, Pad, Permute, Reshape, Slice};
use fornax_ir::graph::{Op, ValueId};

/// Operands of a concatenation that nested ones are merged into, at most: bounds the work on chains.
const MAX_MERGED: usize = 64;

fn operand(r: &Rebuild<'_>, v: ValueId) -> ValueId {
    r.node(v).inputs[0]
}

/// Reshape to the same extents, of a reshape, of equal elements.
pub(super) fn reshape(r: &mut Rebuild<'_>, s: &Site<'_>) -> Option<Step> {
    let Op::Reshape(Reshape { shape }) = s.op else { return None };
    let x = s.inputs[0];
    if r.ty(x).shape == *shape {
        return Some(Step::Value(x));
    }
    match &r.node(x).op {
        // Row-major order is kept by both.
        Op::Reshape(_) => Step::unary(s.op.clone(), operand(r, x)),
        Op::Broadcast(_) => {
            let c = uniform(r.graph(), x)?;
            let c = r.scalar(c);
            Step::unary(Broadcast { shape: shape.clone(), axes: vec![] }, c)
        }
        Op::Pad(p) => {
            let p = p.clone();
            unsqueezed_pad(r, x, &p, shape)
        }
        _ => None,
    }
}

/// A reshape of a pad that only inserts axes of extent 1, as the pad of a reshape: there the pad may
/// meet the window it is for.
fn unsqueezed_pad(r: &mut Rebuild<'_>, x: ValueId, pad: &Pad, shape: &[Dim]) -> Option<Step> {
    let places = aligned(&r.ty(x).shape, shape)?;
    let (inner, value) = (operand(r, x), r.node(x).inputs[1]);
    let mut outer = vec![Dim::ONE; shape.len()];
    let (mut lo, mut hi) = (vec![Dim::ZERO; shape.len()], vec![Dim::ZERO; shape.len()]);
    for (k, &to) in places.iter().enumerate() {
        outer[to] = r.ty(inner).shape[k].clone();
        lo[to] = pad.lo[k].clone();
        hi[to] = pad.hi[k].clone();
    }
    let inner = r.add(Reshape { shape: outer }, &[inner]).ok()?;
    Step::binary(Pad { lo, hi }, inner, value)
}

/// Where the axes of `small` stand in `large`, in order, if all others have extent 1. Where axes of
/// extent 1 leave a choice, the first place is taken.
fn aligned(small: &[Dim], large: &[Dim]) -> Option<Vec<usize>> {
    let mut places = vec![];
    for (k, d) in large.iter().enumerate() {
        if small.get(places.len()) == Some(d) {
            places.push(k);
        } else if !d.is_const(1) {
            return None;
        }
    }
    (places.len() == small.len()).then_some(places)
}

/// Identity permutations, permutations of permutations and of broadcasts, and those that move only
/// axes of extent 1, which are reshapes.
pub(super) fn permute(r: &mut Rebuild<'_>, s: &Site<'_>) -> Option<Step> {
    let Op::Permute(Permute { perm }) = s.op else { return None };
    let x = s.inputs[0];
    if perm.iter().copied().eq(0..perm.len() as u32) {
        return Some(Step::Value(x));
    }
    if let Op::Permute(inner) = &r.node(x).op {
        let perm = perm.iter().map(|&k| inner.perm[k as usize]).collect();
        return Step::unary(Permute { perm }, operand(r, x));
    }
    let shape = &r.ty(x).shape;
    let kept: Vec<u32> = perm.iter().copied().filter(|&k| !shape[k as usize].is_const(1)).collect();
    if kept.is_sorted() {
        return Step::unary(Reshape { shape: perm.iter().map(|&k| shape[k as usize].clone()).collect() }, x);
    }
    let Op::Broadcast(b) = r.node(x).op.clone() else { return None };
    let shape = perm.iter().map(|&k| b.shape[k as usize].clone()).collect();
    let (order, axes) = permuted_axes(&b.axes, perm);
    let inner = operand(r, x);
    let inner = match order.is_sorted() {
        true => inner,
        false => r.add(Permute { perm: order }, &[inner]).ok()?,
    };
    Step::unary(Broadcast { shape, axes }, inner)
}

/// For a broadcast with `axes` under a permutation: the order in which the operand's axes appear, and
/// where they then stand, ascending.
pub(crate) fn permuted_axes(axes: &[u32], perm: &[u32]) -> (Vec<u32>, Vec<u32>) {
    let place = |k: u32| axes.iter().position(|&a| a == k);
    let found = perm.iter().enumerate().filter_map(|(to, &k)| Some((place(k)? as u32, to as u32)));
    found.unzip()
}

/// Broadcasts that repeat nothing, of broadcasts, and of reshapes that insert axes of extent 1.
pub(super) fn broadcast(r: &mut Rebuild<'_>, s: &Site<'_>) -> Option<Step> {
    let Op::Broadcast(Broadcast { shape, axes }) = s.op else { return None };
    let x = s.inputs[0];
    if r.ty(x).shape == *shape {
        return Some(Step::Value(x));
    }
    let from = &r.ty(x).shape;
    let repeats = shape.iter().enumerate().any(|(k, d)| match axes.iter().position(|&a| a as usize == k) {
        Some(i) => from[i] != *d,
        None => !d.is_const(1),
    });
    if !repeats {
        return Step::unary(Reshape { shape: shape.clone() }, x);
    }
    match &r.node(x).op {
        Op::Broadcast(inner) => {
            let axes = inner.axes.iter().map(|&a| axes[a as usize]).collect();
            Step::unary(Broadcast { shape: shape.clone(), axes }, operand(r, x))
        }
        Op::Reshape(_) => {
            let y = operand(r, x);
            let places = unsqueezed(&r.ty(y).shape, from)?;
            let axes = places.iter().map(|&k| axes[k]).collect();
            Step::unary(Broadcast { shape: shape.clone(), axes }, y)
        }
        _ => None,
    }
}

/// Where the axes of `small` stand in `large`, if all others have extent 1. Axes of `small` that have
/// extent 1 themselves leave it open where they went.
fn unsqueezed(small: &[Dim], large: &[Dim]) -> Option<Vec<usize>> {
    let wide: Vec<usize> = (0..large.len()).filter(|&k| !large[k].is_const(1)).collect();
    let same = wide.len() == small.len() && wide.iter().zip(small).all(|(&k, d)| large[k] == *d);
    same.then_some(wide)
}

/// Slices that take everything, of slices, and of one operand of a concatenation.
pub(super) fn slice(r: &mut Rebuild<'_>, s: &Site<'_>) -> Option<Step> {
    let Op::Slice(Slice { start, size, step }) = s.op else { return None };
    let x = s.inputs[0];
    let whole = |k: usize, from: &[Dim]| start[k] == Dim::ZERO && step[k] == 1 && size[k] == from[k];
    let from = &r.ty(x).shape;
    if (0..from.len()).all(|k| whole(k, from)) {
        return Some(Step::Value(x));
    }
    match &r.node(x).op {
        Op::Slice(inner) => {
            let start = (0..start.len()).map(|k| &inner.start[k] + &start[k] * inner.step[k]).collect();
            let step = step.iter().zip(&inner.step).map(|(a, b)| a.checked_mul(*b)).collect::<Option<_>>()?;
            Step::unary(Slice { start, size: size.clone(), step }, operand(r, x))
        }
        Op::Concat(c) => {
            let axis = c.axis as usize;
            let (part, before) =
                part_of(r, x, axis, start[axis].as_const()?, size[axis].as_const()?, step[axis])?;
            let mut start = start.clone();
            start[axis] = &start[axis] - before;
            Step::unary(Slice { start, size: size.clone(), step: step.clone() }, part)
        }
        _ => None,
    }
}

/// The operand of a concatenation that holds all of a slice, and the extent before it.
fn part_of(
    r: &Rebuild<'_>,
    x: ValueId,
    axis: usize,
    start: i64,
    size: i64,
    step: i64,
) -> Option<(ValueId, i64)> {
    let last = size.checked_sub(1)?.checked_mul(step)?.checked_add(start)?;
    let (low, high) = (start.min(last), start.max(last));
    let mut before = 0;
    for &part in &r.node(x).inputs {
        let extent = r.ty(part).shape[axis].as_const()?;
        if low < before {
            return None;
        }
        if high < before + extent {
            return (size > 0).then_some((part, before));
        }
        before += extent;
    }
    None
}

/// Pads of nothing, and pads of pads with the same value.
pub(super) fn pad(r: &mut Rebuild<'_>, s: &Site<'_>) -> Option<Step> {
    let Op::Pad(Pad { lo, hi }) = s.op else { return None };
    let (x, value) = (s.inputs[0], s.inputs[1]);
    if lo.iter().chain(hi).all(|d| d.is_const(0)) {
        return Some(Step::Value(x));
    }
    let Op::Pad(inner) = &r.node(x).op else { return None };
    if r.node(x).inputs[1] != value {
        return None;
    }
    let sum = |a: &[Dim], b: &[Dim]| a.iter().zip(b).map(|(a, b)| a + b).collect();
    let both = Pad { lo: sum(lo, &inner.lo), hi: sum(hi, &inner.hi) };
    Step::binary(both, operand(r, x), value)
}

/// Concatenations of one, without their empty operands, and with nested ones merged.
pub(super) fn concat(r: &mut Rebuild<'_>, s: &Site<'_>) -> Option<Step> {
    let Op::Concat(Concat { axis }) = s.op else { return None };
    if let [x] = s.inputs {
        return Some(Step::Value(*x));
    }
    let mut flat = vec![];
    for &v in s.inputs {
        let node = r.node(v);
        match &node.op {
            Op::Concat(inner) if inner.axis == *axis && r.used_once(v) && node.inputs.len() <= MAX_MERGED => {
                flat.extend_from_slice(&node.inputs)
            }
            _ => flat.push(v),
        }
    }
    let merged = flat.len() > s.inputs.len() && flat.len() <= MAX_MERGED;
    let mut parts = if merged { flat } else { s.inputs.to_vec() };
    parts.retain(|&v| !r.ty(v).shape[*axis as usize].is_const(0));
    if parts.is_empty() || parts[..] == *s.inputs {
        return None;
    }
    Some(Step::Node(s.op.clone(), parts.into_iter().collect()))
}

/// A gather of one constant place is a slice: the index must be known to exist.
pub(super) fn gather(r: &mut Rebuild<'_>, s: &Site<'_>) -> Option<Step> {
    let Op::Gather(Gather { axes }) = s.op else { return None };
    let &[axis] = axes.as_slice() else { return None };
    let (x, index) = (s.inputs[0], s.inputs[1]);
    if !r.ty(index).elements().is_const(1) {
        return None;
    }
    let place = uniform(r.graph(), index)?.as_i64();
    let mut size = r.ty(x).shape.clone();
    let extent = size[axis as usize].as_const()?;
    let place = if place < 0 { place + extent } else { place };
    if !(0..extent).contains(&place) {
        return None;
    }
    let mut start = vec![Dim::ZERO; size.len()];
    start[axis as usize] = Dim::constant(place);
    size[axis as usize] = Dim::ONE;
    let step = vec![1; size.len()];
    let part = r.add(Slice { start, size, step }, &[x]).ok()?;
    Step::unary(Reshape { shape: s.node.ty.shape.clone() }, part)
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;
    use fornax_ir::graph::{Builder, Graph, TensorType};

    fn dims(list: &[i64]) -> Vec<Dim> {
        list.iter().map(|&d| Dim::constant(d)).collect()
    }

    /// Simplifies what `f` makes of an input and checks that it computes the same.
    fn on(shape: &[&str], f: impl Fn(&mut Builder, ValueId) -> ValueId) -> Graph {
        let mut b = builder();
        let x = input(&mut b, "x", shape);
        let y = f(&mut b, x);
        b.output("y", y);
        simplified(b)
    }
    fn names(g: &Graph) -> Vec<&'static str> {
        ops(g).split_off(1)
    }

    #[test]
    fn reshapes_and_permutations_compose() {
        let g = on(&["2", "3", "4"], |b, x| {
            let y = b.reshape(x, dims(&[6, 4])).unwrap();
            b.reshape(y, dims(&[2, 12])).unwrap()
        });
        assert_eq!(names(&g), ["reshape"]);
        let g = on(&["2", "3", "4"], |b, x| {
            let y = b.permute(x, &[1, 2, 0]).unwrap();
            b.permute(y, &[2, 0, 1]).unwrap()
        });
        assert!(names(&g).is_empty());
        let g = on(&["n", "3", "1", "1"], |b, x| b.permute(x, &[0, 2, 3, 1]).unwrap());
        assert_eq!(names(&g), ["reshape"]);
    }

    #[test]
    fn broadcasts_compose_and_move_before_permutations() {
        let g = on(&["3"], |b, x| {
            let y = b.reshape(x, dims(&[1, 3, 1])).unwrap();
            let y = b.broadcast_to(y, &dims(&[2, 3, 4])).unwrap();
            b.permute(y, &[2, 0, 1]).unwrap()
        });
        assert_eq!(names(&g), ["broadcast"]);
        let g = on(&["3", "5"], |b, x| {
            let y = b.broadcast_to(x, &dims(&[2, 3, 5])).unwrap();
            b.permute(y, &[2, 0, 1]).unwrap()
        });
        assert_eq!(names(&g), ["permute", "broadcast"]);
        let g = on(&["3"], |b, x| b.broadcast_to(x, &dims(&[1, 3])).unwrap());
        assert_eq!(names(&g), ["reshape"]);
    }

    fn cut(start: &[i64], size: &[i64], step: &[i64]) -> Slice {
        Slice { start: dims(start), size: dims(size), step: step.to_vec() }
    }

    #[test]
    fn slices_compose() {
        let g = on(&["10", "4"], |b, x| {
            let y = b.add(cut(&[9, 0], &[5, 4], &[-2, 1]), &[x]).unwrap();
            b.add(cut(&[1, 1], &[2, 3], &[2, 1]), &[y]).unwrap()
        });
        assert_eq!(names(&g), ["slice"]);
        let g = on(&["3", "4"], |b, x| b.add(cut(&[0, 0], &[3, 4], &[1, 1]), &[x]).unwrap());
        assert!(names(&g).is_empty());
    }

    #[test]
    fn slices_of_concatenations_take_the_operand() {
        let g = on(&["4", "2"], |b, x| {
            let y = b.unary(fornax_ir::scalar::UnaryOp::Neg, x).unwrap();
            let c = b.add(Concat { axis: 0 }, &[x, y]).unwrap();
            b.add(cut(&[5, 0], &[2, 2], &[1, 1]), &[c]).unwrap()
        });
        assert_eq!(names(&g), ["neg", "slice"]);
        let g = on(&["4", "2"], |b, x| {
            let y = b.unary(fornax_ir::scalar::UnaryOp::Neg, x).unwrap();
            let c = b.add(Concat { axis: 0 }, &[x, y]).unwrap();
            b.add(cut(&[3, 0], &[2, 2], &[1, 1]), &[c]).unwrap()
        });
        assert_eq!(names(&g), ["neg", "concat", "slice"]);
    }

    #[test]
    fn pads_add_up_and_concatenations_flatten() {
        let g = on(&["2", "n"], |b, x| {
            let zero = b.scalar_f64(fornax_ir::DType::F32, 0.0);
            let p = b.add(Pad { lo: dims(&[0, 1]), hi: dims(&[2, 0]) }, &[x, zero]).unwrap();
            b.add(Pad { lo: dims(&[1, 1]), hi: dims(&[0, 3]) }, &[p, zero]).unwrap()
        });
        assert_eq!(names(&g), ["const", "pad"]);
        let g = on(&["2", "1", "n"], |b, x| {
            let zero = b.scalar_f64(fornax_ir::DType::F32, 0.0);
            let p = b.add(Pad { lo: dims(&[0, 0, 1]), hi: dims(&[0, 0, 2]) }, &[x, zero]).unwrap();
            b.reshape(p, vec![2.into(), 1.into(), 1.into(), Dim::symbol("n") + 3]).unwrap()
        });
        assert_eq!(names(&g), ["const", "reshape", "pad"]);
        let g = on(&["2", "n"], |b, x| {
            let y = b.unary(fornax_ir::scalar::UnaryOp::Neg, x).unwrap();
            let c = b.add(Concat { axis: 1 }, &[x, y]).unwrap();
            let c = b.add(Concat { axis: 1 }, &[c]).unwrap();
            b.add(Concat { axis: 1 }, &[y, c]).unwrap()
        });
        assert_eq!(names(&g), ["neg", "concat"]);
        assert_eq!(g.nodes.last().unwrap().inputs.len(), 3);
    }

    #[test]
    fn a_gather_of_one_known_place_is_a_slice() {
        let g = on(&["n", "5", "3"], |b, x| {
            let i = b.scalar(fornax_ir::scalar::Scalar::i64(-2));
            b.add(Gather { axes: vec![1] }, &[x, i]).unwrap()
        });
        assert_eq!(names(&g), ["slice", "reshape"]);
        assert_eq!(
            *g.ty(g.outputs[0].value),
            TensorType::new(fornax_ir::DType::F32, vec![Dim::symbol("n"), 3.into()])
        );
        let g = on(&["n", "5"], |b, x| {
            let i = b.scalar(fornax_ir::scalar::Scalar::i64(5));
            b.add(Gather { axes: vec![1] }, &[x, i]).unwrap()
        });
        assert_eq!(names(&g), ["const", "gather"]);
    }
}
