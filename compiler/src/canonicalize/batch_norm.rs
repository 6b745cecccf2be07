//! Scales of a convolution's or product's result, as part of its constant weights: what is left of a
//! batch normalisation is its shift, a bias.
//!
//! `scale[o] * sum(x * w[o, ..]) = sum(x * (scale[o] * w[o, ..]))` up to rounding.

use super::CanonicalizeOptions;
use super::constant::{LARGE, rounded};
use super::rebuild::Rebuild;
use fornax_ir::graph::ops::DotGeneral;
use fornax_ir::graph::{Graph, Op, ValueId};
use fornax_ir::literal::Literal;

/// The new contraction that computes `old` times `scale` along `axis` (one value: the same everywhere).
/// `None` if its weights are not constant along that axis, or if the unscaled result or (beyond
/// the fold budget) the unscaled weights are needed elsewhere, or a scaled weight overflows.
pub(super) fn scaled_contraction(
    r: &mut Rebuild<'_>,
    old: ValueId,
    axis: Option<usize>,
    scale: &[f64],
    options: &CanonicalizeOptions,
) -> Option<ValueId> {
    let g = r.old;
    let node = g.node(old);
    if r.old_uses[old.index()] != 1 {
        return None;
    }
    let (side, along) = weights_axis(g, old, axis.filter(|_| scale.len() > 1))?;
    let w = node.inputs[side];
    let Op::Const(c) = g.node(w).op else { return None };
    let constant = &g.consts[c.index()];
    if constant.literal.bytes().len() > options.fold_budget && r.old_uses[w.index()] != 1 {
        return None;
    }
    let l = match options.estimate && constant.literal.bytes().len() >= LARGE {
        true => constant.literal.clone(),
        false => scaled(&constant.literal, along, scale)?,
    };
    let mut operands = r.operands(old);
    operands[side] = r.constant(&constant.name, l);
    r.add(node.op.clone(), &operands).ok()
}

/// The constant operand that makes up an axis of the result, and its axis. Any will do for a scale
/// that is the same everywhere.
fn weights_axis(g: &Graph, v: ValueId, axis: Option<usize>) -> Option<(usize, usize)> {
    let node = g.node(v);
    let constant = |side: usize| matches!(g.node(node.inputs[side]).op, Op::Const(_));
    let (side, along) = match (&node.op, axis) {
        (Op::Conv(_), None | Some(1)) => (1, 0),
        (Op::DotGeneral(_), None) => (if constant(1) { 1 } else { 0 }, 0),
        (Op::DotGeneral(d), Some(axis)) => free_axis(d, [0, 1].map(|k| g.ty(node.inputs[k]).rank()), axis)?,
        _ => return None,
    };
    constant(side).then_some((side, along))
}

/// The operand and its axis that an axis of a product's result runs along; `None` for batch axes.
fn free_axis(d: &DotGeneral, ranks: [usize; 2], axis: usize) -> Option<(usize, usize)> {
    let at = axis.checked_sub(d.batch.len())?;
    let left = d.free(0, ranks[0]);
    match left.get(at) {
        Some(&k) => Some((0, k)),
        None => Some((1, *d.free(1, ranks[1]).get(at - left.len())?)),
    }
}

/// The elements times the scale of their place along `axis`, computed in f64 and rounded once.
fn scaled(l: &Literal, axis: usize, scale: &[f64]) -> Option<Literal> {
    let shape = l.shape();
    let inner: usize = shape.get(axis + 1..)?.iter().product();
    let extent = *shape.get(axis)?;
    if scale.len() != 1 && scale.len() != extent {
        return None;
    }
    let factor = |i: usize| if let &[s] = scale { s } else { scale[i / inner % extent] };
    if let Ok(w) = l.to_slice::<f32>() {
        let out: Vec<f32> = w.iter().enumerate().map(|(i, &w)| (f64::from(w) * factor(i)) as f32).collect();
        return if out.iter().all(|v| v.is_finite()) { Literal::from_vec(shape, out).ok() } else { None };
    }
    let out = rounded(l.dtype(), shape, (0..l.len()).map(|i| l.get_f64(i) * factor(i)).collect())?;
    (0..out.len()).all(|i| out.get_f64(i).is_finite()).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;
    use fornax_ir::dim::Dim;
    use fornax_ir::graph::Builder;
    use fornax_ir::graph::ops::Conv;
    use fornax_ir::scalar::{BinaryOp, UnaryOp};

    fn conv2d(b: &mut Builder, x: ValueId, w: ValueId, groups: i64) -> ValueId {
        let zero = (Dim::ZERO, Dim::ZERO);
        let op = Conv { strides: vec![1; 2], pads: vec![zero.clone(), zero], dilations: vec![1; 2], groups };
        b.add(op, &[x, w]).unwrap()
    }

    /// `(x - mean) / sqrt(variance + eps) * gamma + beta` along an axis of extent 4.
    fn normalized(b: &mut Builder, x: ValueId, shape: &[usize]) -> ValueId {
        let c = |b: &mut Builder, v: [f32; 4]| b.constant("", f32s(shape, &v));
        let (mean, var) = (c(b, [0.1, -0.2, 0.3, 1.4]), c(b, [1.0, 0.5, 2.0, 0.01]));
        let (gamma, beta) = (c(b, [1.0, 2.0, -3.0, 0.5]), c(b, [0.0, 1.0, 2.0, 3.0]));
        let eps = b.scalar_f64(fornax_ir::DType::F32, 1e-5);
        let var = b.binary(BinaryOp::Add, var, eps).unwrap();
        let std = b.unary(UnaryOp::Sqrt, var).unwrap();
        let y = b.binary(BinaryOp::Sub, x, mean).unwrap();
        let y = b.binary(BinaryOp::Div, y, std).unwrap();
        let y = b.binary(BinaryOp::Mul, y, gamma).unwrap();
        b.binary(BinaryOp::Add, y, beta).unwrap()
    }

    #[test]
    fn normalisation_goes_into_convolutions() {
        for (groups, per_group) in [(1, 4), (2, 2), (4, 1)] {
            let mut b = builder();
            let x = input(&mut b, "x", &["n", "4", "6", "5"]);
            let w = b.constant("w", ramp(&[4, per_group, 3, 3]));
            let bias = b.constant("b", f32s(&[1, 4, 1, 1], &[1.0, -1.0, 2.0, 0.5]));
            let y = conv2d(&mut b, x, w, groups);
            let y = b.binary(BinaryOp::Add, y, bias).unwrap();
            let y = normalized(&mut b, y, &[1, 4, 1, 1]);
            b.output("y", y);
            let g = canonical(b, 1e-5);
            assert_eq!(arithmetic(&g), ["conv", "add"], "{groups} groups");
            assert!(g.consts.iter().any(|c| c.name == "w"));
        }
    }

    #[test]
    fn normalisation_goes_into_products() {
        let mut b = builder();
        let x = input(&mut b, "x", &["n", "6"]);
        let w = b.constant("w", ramp(&[6, 4]));
        let y = matmul(&mut b, x, w);
        let y = normalized(&mut b, y, &[4]);
        b.output("y", y);
        assert_eq!(arithmetic(&canonical(b, 1e-5)), ["dot", "add"]);
        // The constant on the left makes the rows.
        let mut b = builder();
        let x = input(&mut b, "x", &["6", "n"]);
        let w = b.constant("w", ramp(&[4, 6]));
        let y = matmul(&mut b, w, x);
        let y = normalized(&mut b, y, &[4, 1]);
        b.output("y", y);
        assert_eq!(arithmetic(&canonical(b, 1e-5)), ["dot", "add"]);
    }

    #[test]
    fn a_result_that_is_needed_itself_is_not_scaled() {
        let mut b = builder();
        let x = input(&mut b, "x", &["n", "4", "6", "5"]);
        let w = b.constant("w", ramp(&[4, 4, 3, 3]));
        let y = conv2d(&mut b, x, w, 1);
        let z = normalized(&mut b, y, &[1, 4, 1, 1]);
        b.output("y", y);
        b.output("z", z);
        assert_eq!(arithmetic(&canonical(b, 1e-5)), ["conv", "mul", "add"]);
    }

    #[test]
    fn strict_and_other_axes_leave_weights_alone() {
        let mut b = builder();
        let x = input(&mut b, "x", &["n", "6"]);
        let w = b.constant("w", ramp(&[6, 4]));
        let y = matmul(&mut b, x, w);
        let y = normalized(&mut b, y, &[4]);
        b.output("y", y);
        assert_eq!(arithmetic(&strictly(b)), ["dot", "sub", "div", "mul", "add"]);
        let mut b = builder();
        let x = input(&mut b, "x", &["n", "4", "6", "4"]);
        let w = b.constant("w", ramp(&[4, 4, 3, 1]));
        let y = conv2d(&mut b, x, w, 1);
        let y = normalized(&mut b, y, &[4]);
        b.output("y", y);
        assert_eq!(arithmetic(&canonical(b, 1e-5)), ["conv", "mul", "add"]);
    }

    #[test]
    fn a_weight_that_would_overflow_stays() {
        let mut b = builder();
        let x = input(&mut b, "x", &["n", "2"]);
        let w = b.constant("w", f32s(&[2, 2], &[1e30, 1.0, 2.0, 3.0]));
        let c = b.scalar_f64(fornax_ir::DType::F32, 1e30);
        let y = matmul(&mut b, x, w);
        let y = b.binary(BinaryOp::Mul, y, c).unwrap();
        b.output("y", y);
        assert_eq!(arithmetic(&canonical(b, 1e-5)), ["dot", "mul"]);
    }
}
