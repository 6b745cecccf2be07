//! Attention: products with a softmax of rows between them, spelled in primitives; the compiler makes one kernel of
//! these by itself.

use crate::error::Result;
use crate::import::NodeCx;
use fornax_ir::graph::ValueId;
use fornax_ir::graph::ops::{Concat, DotGeneral};
use fornax_ir::scalar::{CompareOp, ReduceOp, UnaryOp};
use fornax_ir::{DType, Dim};

type Out = Result<Vec<ValueId>>;

/// Operands with heads as an axis: `[batch, heads, length, width]`.
struct Heads {
    q: ValueId,
    k: ValueId,
    v: ValueId,
    /// Whether the node's own operands have heads side by side in their last axis.
    flat: bool,
}

/// Attention: `softmax(softcap(scale q k^T) + mask) v`; with the outputs for keys and values so far, and the scores.
pub(super) fn attention(cx: &mut NodeCx<'_, '_>) -> Out {
    if cx.opt(6).is_some() {
        return Err(cx.bad("a number of valid keys for each batch is not supported"));
    }
    let Heads { q, k, v, flat } = heads(cx)?;
    let (own, width) = (cx.dtype(q), cx.shape(q)[3].clone());
    let past = match cx.opt(4) {
        Some(past) if cx.rank(past) == 4 => cx.shape(past)[2].clone(),
        Some(_) => return Err(cx.bad("keys of the past need four axes")),
        None => Dim::ZERO,
    };
    let (k, v) = (before(cx, 4, k)?, before(cx, 5, v)?);
    let root = match cx.float("scale")? {
        Some(scale) => cx.c(q, f64::from(scale).sqrt()),
        None => {
            let width = cx.extent(&width, own)?;
            let root = cx.un(UnaryOp::Sqrt, width)?;
            let root = cx.un(UnaryOp::Sqrt, root)?;
            let one = cx.c(q, 1.0);
            cx.div(one, root)?
        }
    };
    let (shared_k, shared_v) = (repeated(cx, k, q)?, repeated(cx, v, q)?);
    let (left, right) = (cx.mul(q, root)?, cx.mul(shared_k, root)?);
    let right = cx.permute(right, &[0, 1, 3, 2])?;
    let scores = product(cx, left, right)?;
    let cap = f64::from(cx.float_or("softcap", 0.0)?);
    let capped = if cap <= 0.0 {
        scores
    } else {
        let inner = cx.scale(scores, 1.0 / cap)?;
        let inner = cx.un(UnaryOp::Tanh, inner)?;
        cx.scale(inner, cap)?
    };
    let (masked, may_hide) = masked(cx, capped, &past)?;
    let code = i32::try_from(cx.int_or("softmax_precision", 0)?).unwrap_or(-1);
    let wide = match code {
        0 => own,
        code => crate::tensor::dtype(code).map_err(|what| cx.bad(format!("softmax_precision: {what}")))?,
    };
    let exact = cx.b.cast(masked, wide)?;
    let weights = softmax(cx, exact, may_hide)?;
    let weights = cx.b.cast(weights, own)?;
    let mut y = product(cx, weights, shared_v)?;
    if flat {
        let shape = cx.shape(y);
        y = cx.permute(y, &[0, 2, 1, 3])?;
        y = cx.b.reshape(y, vec![shape[0].clone(), shape[2].clone(), &shape[1] * &shape[3]])?;
    }
    let shown = match cx.int_or("qk_matmul_output_mode", 0)? {
        0 => scores,
        1 => capped,
        2 => masked,
        3 => weights,
        mode => return Err(cx.bad(format!("no scores are number {mode}"))),
    };
    Ok(vec![y, k, v, shown])
}

/// The first three operands with their heads apart.
fn heads(cx: &mut NodeCx<'_, '_>) -> Result<Heads> {
    let [q, k, v] = [cx.input(0)?, cx.input(1)?, cx.input(2)?];
    let ranks = [q, k, v].map(|x| cx.rank(x));
    match ranks {
        [4, 4, 4] => Ok(Heads { q, k, v, flat: false }),
        [3, 3, 3] => {
            let (own, few) = (cx.int("q_num_heads")?, cx.int("kv_num_heads")?);
            let (Some(own), Some(few)) = (own.filter(|n| *n > 0), few.filter(|n| *n > 0)) else {
                return Err(cx.bad("operands of three axes need their numbers of heads"));
            };
            let (q, k, v) = (apart(cx, q, own)?, apart(cx, k, few)?, apart(cx, v, few)?);
            Ok(Heads { q, k, v, flat: true })
        }
        _ => Err(cx.bad(format!("queries, keys and values have {ranks:?} axes; all need three, or four"))),
    }
}

/// `[batch, length, heads * width]` as `[batch, heads, length, width]`.
fn apart(cx: &mut NodeCx<'_, '_>, x: ValueId, heads: i64) -> Result<ValueId> {
    let shape = cx.shape(x);
    let Some(width) = shape[2].div_exact(&Dim::constant(heads)) else {
        return Err(cx.bad(format!("{} elements are no {heads} heads", shape[2])));
    };
    let x = cx.b.reshape(x, vec![shape[0].clone(), shape[1].clone(), Dim::constant(heads), width])?;
    cx.permute(x, &[0, 2, 1, 3])
}

/// Keys or values behind those of the past, if there are any.
fn before(cx: &mut NodeCx<'_, '_>, past: usize, x: ValueId) -> Result<ValueId> {
    if cx.opt(4).is_some() != cx.opt(5).is_some() {
        return Err(cx.bad("keys and values of the past are given together, or not at all"));
    }
    match cx.opt(past) {
        Some(past) => Ok(cx.b.add(Concat { axis: 2 }, &[past, x])?),
        None => Ok(x),
    }
}

/// Keys or values for each head of the queries: neighbouring heads share them.
fn repeated(cx: &mut NodeCx<'_, '_>, x: ValueId, q: ValueId) -> Result<ValueId> {
    let (all, mut shape) = (cx.shape(q)[1].clone(), cx.shape(x));
    if all == shape[1] {
        return Ok(x);
    }
    let Some(each) = all.div_exact(&shape[1]) else {
        return Err(cx.bad(format!("{all} heads cannot share those of {} others", shape[1])));
    };
    let mut wide = shape.clone();
    wide.insert(2, Dim::ONE);
    let one = cx.b.reshape(x, wide.clone())?;
    wide[2] = each;
    let every = cx.fill(one, &wide)?;
    shape[1] = all;
    Ok(cx.b.reshape(every, shape)?)
}

fn product(cx: &mut NodeCx<'_, '_>, a: ValueId, b: ValueId) -> Result<ValueId> {
    let op = DotGeneral { batch: vec![(0, 0), (1, 1)], contract: vec![(3, 2)] };
    Ok(cx.b.add(op, &[a, b])?)
}

/// The scores with the masks of the node, and whether these may hide a whole row.
fn masked(cx: &mut NodeCx<'_, '_>, scores: ValueId, past: &Dim) -> Result<(ValueId, bool)> {
    let (mut masked, mut may_hide) = (scores, false);
    let shape = cx.shape(scores);
    let never = cx.c(scores, f64::NEG_INFINITY);
    if cx.flag("is_causal", false)? {
        let (row, key) = (cx.iota(&shape[2], DType::I64)?, cx.iota(&shape[3], DType::I64)?);
        let (row, key) = (cx.along(row, 2, 4)?, cx.along(key, 3, 4)?);
        let past = cx.extent(past, DType::I64)?;
        let last = cx.add(row, past)?;
        let seen = cx.cmp(CompareOp::Le, key, last)?;
        masked = cx.select(seen, masked, never)?;
    }
    if let Some(mask) = cx.opt(3) {
        let mask = cx.fill(mask, &shape)?;
        may_hide = true;
        masked = match cx.dtype(mask) {
            DType::Bool => cx.select(mask, masked, never)?,
            _ => cx.add(masked, mask)?,
        };
    }
    Ok((masked, may_hide))
}

/// The softmax of rows. A row of minus infinities that a mask may leave gives zeros.
fn softmax(cx: &mut NodeCx<'_, '_>, x: ValueId, may_hide: bool) -> Result<ValueId> {
    if !may_hide {
        return Ok(cx.b.softmax(x, 3)?);
    }
    let most = cx.reduce_keep(ReduceOp::Max, x, &[3])?;
    let (never, zero, one) = (cx.c(x, f64::NEG_INFINITY), cx.c(x, 0.0), cx.c(x, 1.0));
    let hidden = cx.cmp(CompareOp::Eq, most, never)?;
    let most = cx.select(hidden, zero, most)?;
    let apart = cx.sub(x, most)?;
    let parts = cx.un(UnaryOp::Exp, apart)?;
    let sum = cx.reduce_keep(ReduceOp::Sum, parts, &[3])?;
    let sum = cx.select(hidden, one, sum)?;
    cx.div(parts, sum)
}
