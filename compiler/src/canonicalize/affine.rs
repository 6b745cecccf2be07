//! Chains of multiplications by and additions of constants that vary along one axis at most.
//!
//! A chain `((x * a) + b - c) / d ...` whose links have no other use is `x * s + t`, with `s` and `t`
//! computed in f64 and rounded once. Where `x` is a convolution or product with constant weights, `s`
//! goes into the weights ([`super::batch_norm`]). Both reassociate, so that strict mode leaves all
//! chains as they are.

use super::CanonicalizeOptions;
use super::batch_norm::scaled_contraction;
use super::constant::{AxisConstant, axis_constant, rounded};
use super::rebuild::Rebuild;
use fornax_ir::graph::ops::{Binary, Broadcast};
use fornax_ir::graph::{Graph, GraphError, Op, TensorType, ValueId};
use fornax_ir::scalar::{BinaryOp, UnaryOp};

/// One link: `x * mul + add`.
struct Link {
    x: ValueId,
    mul: Option<Vec<f64>>,
    add: Option<Vec<f64>>,
    axis: Option<usize>,
}

/// The links that end at a value.
#[derive(Clone, Copy)]
struct Chain {
    /// The value of the first link's operand.
    base: ValueId,
    axis: Option<usize>,
    multiplications: u32,
    additions: u32,
}

/// Reads a node as a link.
fn link(g: &Graph, v: ValueId) -> Option<Link> {
    let node = g.node(v);
    if !node.ty.dtype.is_float() {
        return None;
    }
    let constant =
        |k: usize| axis_constant(g, node.inputs[k]).filter(|c| c.values.iter().all(|v| v.is_finite()));
    let made = |k: usize, axis, mul, add| Some(Link { x: node.inputs[k], mul, add, axis });
    let minus = |c: AxisConstant| c.values.iter().map(|v| -v).collect();
    match node.op {
        Op::Unary(ref u) if u.0 == UnaryOp::Neg => made(0, None, Some(vec![-1.0]), None),
        Op::Binary(Binary(op @ (BinaryOp::Mul | BinaryOp::Add))) => {
            let (x, c) = match constant(1) {
                Some(c) => (0, c),
                None => (1, constant(0)?),
            };
            match op {
                BinaryOp::Mul => made(x, c.axis, Some(c.values), None),
                _ => made(x, c.axis, None, Some(c.values)),
            }
        }
        Op::Binary(Binary(BinaryOp::Sub)) => match constant(1) {
            Some(c) => made(0, c.axis, None, Some(minus(c))),
            None => {
                let c = constant(0)?;
                made(1, c.axis, Some(vec![-1.0]), Some(c.values))
            }
        },
        Op::Binary(Binary(BinaryOp::Div)) => {
            let c = constant(1)?;
            let inverse: Vec<f64> = c.values.iter().map(|v| 1.0 / v).collect();
            let finite = inverse.iter().all(|v| v.is_finite());
            if finite { made(0, c.axis, Some(inverse), None) } else { None }
        }
        _ => None,
    }
}

/// The chains of a graph: what ends at each value, and whether the next link goes on.
struct Chains {
    at: Vec<Option<Chain>>,
    continued: Vec<bool>,
}

fn find_chains(g: &Graph, uses: &[u32]) -> Chains {
    let n = g.nodes.len();
    let mut chains = Chains { at: vec![None; n], continued: vec![false; n] };
    for v in g.values() {
        let Some(l) = link(g, v) else { continue };
        let before = chains.at[l.x.index()].filter(|c| {
            let agrees = c.axis.is_none() || l.axis.is_none() || c.axis == l.axis;
            uses[l.x.index()] == 1 && agrees && g.ty(l.x) == g.ty(v)
        });
        chains.continued[l.x.index()] |= before.is_some();
        let c = before.unwrap_or(Chain { base: l.x, axis: None, multiplications: 0, additions: 0 });
        chains.at[v.index()] = Some(Chain {
            axis: c.axis.or(l.axis),
            multiplications: c.multiplications + u32::from(l.mul.is_some()),
            additions: c.additions + u32::from(l.add.is_some()),
            ..c
        });
    }
    chains
}

/// `a op b`, where one value stands for all places.
fn zip(a: &[f64], b: &[f64], op: fn(f64, f64) -> f64) -> Vec<f64> {
    match (a, b) {
        (_, &[b]) => a.iter().map(|&a| op(a, b)).collect(),
        (&[a], _) => b.iter().map(|&b| op(a, b)).collect(),
        _ => a.iter().zip(b).map(|(&a, &b)| op(a, b)).collect(),
    }
}

/// What a chain computes: `x * scale + shift`.
struct Affine {
    scale: Option<Vec<f64>>,
    shift: Option<Vec<f64>>,
}

fn compose(g: &Graph, base: ValueId, end: ValueId) -> Option<Affine> {
    let mut links = vec![];
    let mut at = end;
    while at != base {
        let l = link(g, at)?;
        at = l.x;
        links.push(l);
    }
    let mut all = Affine { scale: None, shift: None };
    for l in links.into_iter().rev() {
        if let Some(m) = &l.mul {
            all.scale = Some(all.scale.map_or_else(|| m.clone(), |s| zip(&s, m, |a, b| a * b)));
            all.shift = all.shift.map(|t| zip(&t, m, |a, b| a * b));
        }
        if let Some(a) = &l.add {
            all.shift = Some(all.shift.map_or_else(|| a.clone(), |t| zip(&t, a, |a, b| a + b)));
        }
    }
    Some(all)
}

/// Folds chains of constants, and scales into the weights before them.
pub(super) fn fold_affine(graph: &Graph, options: &CanonicalizeOptions) -> Result<Graph, GraphError> {
    let r = Rebuild::new(graph);
    if options.strict {
        return r.sweep(|r, v| r.copy(v));
    }
    let chains = find_chains(graph, &r.old_uses);
    r.sweep(|r, v| match chains.at[v.index()] {
        Some(c) if !chains.continued[v.index()] => match fold_chain(r, c, v, options) {
            Some(new) => Ok(new),
            None => r.copy(v),
        },
        _ => r.copy(v),
    })
}

fn fold_chain(
    r: &mut Rebuild<'_>,
    chain: Chain,
    end: ValueId,
    options: &CanonicalizeOptions,
) -> Option<ValueId> {
    let g = r.old;
    let ty = g.ty(end);
    let long = chain.multiplications > 1 || chain.additions > 1;
    let contracts = matches!(g.node(chain.base).op, Op::Conv(_) | Op::DotGeneral(_));
    if g.ty(chain.base) != ty || !(long || (contracts && chain.multiplications > 0)) {
        return None;
    }
    let all = compose(g, chain.base, end)?;
    let folded = match &all.scale {
        Some(scale) => scaled_contraction(r, chain.base, chain.axis, scale, options),
        None => None,
    };
    if folded.is_none() && !long {
        return None;
    }
    let mut y = folded.unwrap_or_else(|| r.new_value(chain.base));
    if let (Some(scale), None) = (all.scale, folded) {
        y = with_constant(r, BinaryOp::Mul, y, chain.axis, scale, ty)?;
    }
    if let Some(shift) = all.shift {
        y = with_constant(r, BinaryOp::Add, y, chain.axis, shift, ty)?;
    }
    (r.ty(y) == ty).then_some(y)
}

/// `x op c` for values along an axis, rounded once; `None` if one does not fit the dtype.
fn with_constant(
    r: &mut Rebuild<'_>,
    op: BinaryOp,
    x: ValueId,
    axis: Option<usize>,
    values: Vec<f64>,
    ty: &TensorType,
) -> Option<ValueId> {
    let along = axis.filter(|_| values.len() > 1);
    let shape: Vec<usize> = along.iter().map(|_| values.len()).collect();
    let l = rounded(ty.dtype, &shape, values)?;
    if (0..l.len()).any(|i| !l.get_f64(i).is_finite()) {
        return None;
    }
    let c = r.constant("", l);
    let axes = along.iter().map(|&k| k as u32).collect();
    let c = if ty.rank() == 0 { c } else { r.add(Broadcast { shape: ty.shape.clone(), axes }, &[c]).ok()? };
    r.add(Binary(op), &[x, c]).ok()
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;
    use fornax_ir::graph::Builder;

    fn chained(f: impl Fn(&mut Builder, ValueId) -> ValueId) -> Graph {
        let mut b = builder();
        let x = input(&mut b, "x", &["n", "3", "2"]);
        let y = f(&mut b, x);
        b.output("y", y);
        canonical(b, 1e-6)
    }
    fn channels(b: &mut Builder, v: [f32; 3]) -> ValueId {
        b.constant("", f32s(&[3, 1], &v))
    }

    #[test]
    fn a_chain_is_one_multiplication_and_one_addition() {
        let g = chained(|b, x| {
            let (c, d) = (channels(b, [1.0, 2.0, 3.0]), channels(b, [0.5, -0.25, 7.0]));
            let y = b.binary(BinaryOp::Sub, x, c).unwrap();
            let y = b.binary(BinaryOp::Div, y, d).unwrap();
            let y = b.binary(BinaryOp::Mul, c, y).unwrap();
            let y = b.unary(UnaryOp::Neg, y).unwrap();
            b.binary(BinaryOp::Sub, d, y).unwrap()
        });
        assert_eq!(arithmetic(&g), ["mul", "add"]);
    }

    #[test]
    fn constants_along_different_axes_stay_apart() {
        let g = chained(|b, x| {
            let c = channels(b, [1.0, 2.0, 3.0]);
            let d = b.constant("", f32s(&[2], &[3.0, 5.0]));
            let y = b.binary(BinaryOp::Mul, x, c).unwrap();
            let y = b.binary(BinaryOp::Mul, y, c).unwrap();
            b.binary(BinaryOp::Mul, y, d).unwrap()
        });
        assert_eq!(arithmetic(&g), ["mul", "mul"]);
    }

    #[test]
    fn a_link_with_another_use_stays() {
        let mut b = builder();
        let x = input(&mut b, "x", &["n"]);
        let c = b.scalar_f64(fornax_ir::DType::F32, 3.0);
        let y = b.binary(BinaryOp::Mul, x, c).unwrap();
        let z = b.binary(BinaryOp::Mul, y, c).unwrap();
        b.output("y", y);
        b.output("z", z);
        assert_eq!(arithmetic(&canonical(b, 1e-6)), ["mul", "mul"]);
    }

    #[test]
    fn strict_reassociates_nothing() {
        let mut b = builder();
        let x = input(&mut b, "x", &["n"]);
        let c = b.scalar_f64(fornax_ir::DType::F32, 0.1);
        let y = b.binary(BinaryOp::Add, x, c).unwrap();
        let z = b.binary(BinaryOp::Add, y, c).unwrap();
        b.output("z", z);
        assert_eq!(arithmetic(&strictly(b)), ["add", "add"]);
    }
}
