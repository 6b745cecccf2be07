//! Matrix products.

use crate::error::Result;
use crate::import::NodeCx;
use fornax_ir::graph::ValueId;
use fornax_ir::graph::ops::DotGeneral;
use fornax_ir::{DType, Dim};

type Out = Result<Vec<ValueId>>;

pub(super) fn matmul(cx: &mut NodeCx<'_, '_>) -> Out {
    let (a, b) = (cx.input(0)?, cx.input(1)?);
    Ok(vec![product(cx, a, b)?])
}

/// Products of the last two axes, batched over the others by NumPy's rule (`numpy.matmul`).
pub(super) fn product(cx: &mut NodeCx<'_, '_>, a: ValueId, b: ValueId) -> Result<ValueId> {
    let (ra, rb) = (cx.rank(a), cx.rank(b));
    if ra == 0 || rb == 0 {
        return Err(cx.bad(format!("cannot multiply {} by {}: rank 0", cx.b.ty(a), cx.b.ty(b))));
    }
    if ra == 1 && rb > 2 {
        // [k] x [.., k, n] is [.., n].
        let contract = vec![(0, rb as u32 - 2)];
        return Ok(cx.b.add(DotGeneral { batch: vec![], contract }, &[a, b])?);
    }
    let mut b = b;
    let mut sb = cx.shape(b);
    if rb > 2 && sb[..rb - 2].iter().all(|d| d.is_const(1)) && ra >= rb {
        sb = sb.split_off(rb - 2);
        b = cx.b.reshape(b, sb.clone())?;
    }
    if sb.len() <= 2 {
        // Every row of the left operand meets the same matrix (or vector).
        let k = sb.len().saturating_sub(2) as u32;
        let op = DotGeneral { batch: vec![], contract: vec![(ra as u32 - 1, k)] };
        return Ok(cx.b.add(op, &[a, b])?);
    }
    let sa = cx.shape(a);
    let (batch_a, batch_b) = (&sa[..ra.saturating_sub(2)], &sb[..sb.len() - 2]);
    let batch = common_shape(batch_a, batch_b);
    let n = batch.len();
    let full = |tail: &[Dim]| [&batch[..], tail].concat();
    let (wa, wb) = (full(&sa[ra - 2..]), full(&sb[sb.len() - 2..]));
    let (a, b) = (cx.fill(a, &wa)?, cx.fill(b, &wb)?);
    let op = DotGeneral {
        batch: (0..n as u32).map(|k| (k, k)).collect(),
        contract: vec![(n as u32 + 1, n as u32)],
    };
    Ok(cx.b.add(op, &[a, b])?)
}

/// The shape two shapes broadcast to; where two extents are neither equal nor 1, the later broadcast
/// demands their equality.
pub(super) fn common_shape(a: &[Dim], b: &[Dim]) -> Vec<Dim> {
    let rank = a.len().max(b.len());
    let at = |s: &[Dim], k: usize| (k + s.len()).checked_sub(rank).map_or(Dim::ONE, |i| s[i].clone());
    let pick =
        |x: Dim, y: Dim| if x.is_const(1) || (y.as_const().is_some() && !y.is_const(1)) { y } else { x };
    (0..rank).map(|k| pick(at(a, k), at(b, k))).collect()
}

/// alpha A' B' + beta C, with A' and B' transposed on demand.
pub(super) fn gemm(cx: &mut NodeCx<'_, '_>) -> Out {
    let (a, b) = (cx.input(0)?, cx.input(1)?);
    if cx.rank(a) != 2 || cx.rank(b) != 2 {
        return Err(cx.bad(format!("needs two matrices, not {} and {}", cx.b.ty(a), cx.b.ty(b))));
    }
    let (ta, tb) = (cx.flag("transA", false)?, cx.flag("transB", false)?);
    let (alpha, beta) = (cx.float_or("alpha", 1.0)?, cx.float_or("beta", 1.0)?);
    let contract = vec![(u32::from(!ta), u32::from(tb))];
    let y = cx.b.add(DotGeneral { batch: vec![], contract }, &[a, b])?;
    let mut y = cx.scale(y, alpha.into())?;
    if let Some(c) = cx.opt(2) {
        let c = cx.scale(c, beta.into())?;
        let shape = cx.shape(y);
        let c = cx.fill(c, &shape)?;
        y = cx.add(y, c)?;
    }
    Ok(vec![y])
}

/// (A - a0)(B - b0) of 8-bit integers, summed in i32.
pub(super) fn matmul_integer(cx: &mut NodeCx<'_, '_>) -> Out {
    let (a, b) = (cx.input(0)?, cx.input(1)?);
    let a = centred(cx, a, 2, false)?;
    let b = centred(cx, b, 3, true)?;
    Ok(vec![product(cx, a, b)?])
}

/// The operand in i32, less the zero point that operand `zero` holds: a number, or one per row of a
/// left and per column of a right operand.
fn centred(cx: &mut NodeCx<'_, '_>, x: ValueId, zero: usize, right: bool) -> Result<ValueId> {
    let wide = cx.b.cast(x, DType::I32)?;
    let Some(z) = cx.opt(zero) else { return Ok(wide) };
    let z = cx.b.cast(z, DType::I32)?;
    let shape = cx.shape(z);
    let z = if shape.len() == 1 && !right && !shape[0].is_const(1) {
        cx.b.reshape(z, vec![shape[0].clone(), Dim::ONE])?
    } else {
        z
    };
    cx.sub(wide, z)
}
