//! Scales of dequantised weights, moved behind the product that uses the weights.
//!
//! `x . (w * s) = (x . w) * s` up to rounding, when `s` varies along free axes only. The product then
//! converts integers and multiplies them by nothing, and `s` is part of its epilogue.

use super::CanonicalizeOptions;
use super::constant::{axis_constant, magnitude};
use super::rebuild::Rebuild;
use fornax_ir::dim::Dim;
use fornax_ir::dtype::DType;
use fornax_ir::graph::ops::{Binary, Broadcast, DotGeneral, Reshape};
use fornax_ir::graph::{Graph, GraphError, Op, ValueId};
use fornax_ir::scalar::BinaryOp;

/// Moves the scales of all right operands that are converted integers; nothing under strict.
pub(super) fn scale_products(graph: &Graph, options: &CanonicalizeOptions) -> Result<Graph, GraphError> {
    Rebuild::new(graph).sweep(|r, v| {
        let scaled = match &graph.node(v).op {
            Op::DotGeneral(op) if !options.strict => scaled_product(r, op, v),
            _ => None,
        };
        match scaled {
            Some(new) if *r.ty(new) == graph.node(v).ty => Ok(new),
            _ => r.copy(v),
        }
    })
}

fn scaled_product(r: &mut Rebuild<'_>, op: &DotGeneral, old: ValueId) -> Option<ValueId> {
    let operands = r.operands(old);
    let ty = r.old.ty(old).clone();
    let w = r.node(operands[1]);
    if !matches!(w.op, Op::Binary(Binary(BinaryOp::Mul))) || !matches!(ty.dtype, DType::F32 | DType::F64) {
        return None;
    }
    let scale =
        |k: usize| axis_constant(r.graph(), w.inputs[k]).map(|c| (w.inputs[1 - k], w.inputs[k], c.axis));
    let (integers, scale, axis) = scale(1).or_else(|| scale(0))?;
    // Converted integers: finite, so that the product with the unscaled weights overflows only where
    // activations are beyond all use.
    let source = r.node(integers);
    let converted = matches!(source.op, Op::Cast(_)) && r.ty(source.inputs[0]).dtype.is_int();
    if !converted || magnitude(r.graph(), integers).is_none() || magnitude(r.graph(), scale).is_none() {
        return None;
    }
    let along = match axis {
        None => None,
        Some(axis) => {
            let at = op.free(1, w.ty.rank()).iter().position(|&k| k == axis)?;
            Some(op.batch.len() + op.free(0, r.ty(operands[0]).rank()).len() + at)
        }
    };
    let (c, flat) = source_of(r.graph(), scale)?;
    let y = r.add(op.clone(), &[operands[0], integers]).ok()?;
    let c = if r.ty(c).shape == flat { c } else { r.add(Reshape { shape: flat }, &[c]).ok()? };
    let axes = along.iter().map(|&k| k as u32).collect();
    let c = r.add(Broadcast { shape: ty.shape, axes }, &[c]).ok()?;
    r.add(Binary(BinaryOp::Mul), &[y, c]).ok()
}

/// The constant below the views, and its extents without those of 1.
fn source_of(g: &Graph, mut v: ValueId) -> Option<(ValueId, Vec<Dim>)> {
    while !matches!(g.node(v).op, Op::Const(_)) {
        v = *g.node(v).inputs.first()?;
    }
    Some((v, g.ty(v).shape.iter().filter(|d| !d.is_const(1)).cloned().collect()))
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;
    use fornax_ir::graph::Builder;

    fn product(scale_shape: &[usize]) -> Builder {
        let mut b = builder();
        let x = input(&mut b, "x", &["2", "n", "300"]);
        let w = b.constant("w", i8s(&[300, 256]));
        let scale = b.constant("scale", ramp(scale_shape));
        let w = b.cast(w, DType::F32).unwrap();
        let w = b.binary(BinaryOp::Mul, scale, w).unwrap();
        let y = b.add(DotGeneral { batch: vec![], contract: vec![(2, 0)] }, &[x, w]).unwrap();
        b.output("y", y);
        b
    }

    #[test]
    fn scales_of_free_axes_move_behind_the_product() {
        for shape in [&[1, 256][..], &[256], &[], &[1]] {
            let g = canonical(product(shape), 1e-5);
            assert_eq!(arithmetic(&g), ["cast", "dot", "mul"], "{shape:?}");
            assert_eq!(g.consts.iter().find(|c| c.name == "w").unwrap().literal.dtype(), DType::I8);
        }
    }

    #[test]
    fn permuted_weights_are_no_obstacle() {
        let mut b = builder();
        let x = input(&mut b, "x", &["n", "256"]);
        let w = b.constant("w", i8s(&[300, 256]));
        let scale = b.constant("scale", ramp(&[300, 1]));
        let w = b.cast(w, DType::F32).unwrap();
        let w = b.binary(BinaryOp::Mul, w, scale).unwrap();
        let w = b.permute(w, &[1, 0]).unwrap();
        let y = matmul(&mut b, x, w);
        let bias = b.constant("bias", ramp(&[300]));
        let y = b.binary(BinaryOp::Add, y, bias).unwrap();
        b.output("y", y);
        let g = canonical(b, 1e-5);
        assert_eq!(arithmetic(&g), ["cast", "dot", "mul", "add"]);
        assert!(!ops(&g).contains(&"permute"));
    }

    #[test]
    fn scales_of_contracted_axes_stay_and_strict_moves_nothing() {
        assert_eq!(arithmetic(&canonical(product(&[300, 1]), 1e-5)), ["cast", "mul", "dot"]);
        assert_eq!(arithmetic(&strictly(product(&[1, 256]))), ["cast", "mul", "dot"]);
    }
}
