//! Layers with one state: RNN and GRU.

use super::*;
use std::ops::Range;

/// What computes the next state, given the body, the layer, this place's part of the projected sequence, and the state.
type Cell<'f> = &'f mut dyn FnMut(&mut NodeCx<'_, '_>, &mut Body, ValueId, ValueId) -> Result<ValueId>;

/// RNN (Elman 1990): `h = f(x W' + h R' + biases)`. Results: all h, the last h.
pub(in crate::ops) fn rnn(cx: &mut NodeCx<'_, '_>) -> Out {
    let layer = Layer::new(cx, 1)?;
    let functions = activations(cx, &["Tanh"], layer.reverse.len())?;
    let mut results = vec![];
    for (d, f) in functions.into_iter().enumerate() {
        let x = layer.projected(cx, d, layer.hidden)?;
        let mut cell = |cx: &mut NodeCx<'_, '_>, body: &mut Body, x, h| -> Result<ValueId> {
            let r = recurrent_rows(cx, body, d, &layer, (1, 0..1))?;
            let product = body.product(h, r)?;
            let sum = body.add(product, x)?;
            let sum = body.clip(sum, layer.clip)?;
            Ok(f.apply(&mut body.b, sum)?)
        };
        results.push(direction(cx, &layer, (d, "rnn"), x, &mut cell)?);
    }
    joined(cx, &layer, &results)
}

/// GRU (Cho et al. 2014), gates z, r, h: `z = f(x Wz' + h Rz' + biases)`, r in the same way, `n = g(x Wh' + (r h) Rh' +
/// biases)`, or with `linear_before_reset` `n = g(x Wh' + bias + r (h Rh' + bias))`; `h = (1 - z) n + z h`.
/// Results: all h, the last h.
pub(in crate::ops) fn gru(cx: &mut NodeCx<'_, '_>) -> Out {
    let layer = Layer::new(cx, 3)?;
    let functions = activations(cx, &["Sigmoid", "Tanh"], layer.reverse.len())?;
    let linear = cx.flag("linear_before_reset", false)?;
    let mut results = vec![];
    for d in 0..layer.reverse.len() {
        let of = [functions[2 * d], functions[2 * d + 1]];
        let (x, bias) = if linear {
            before_reset(cx, &layer, d)?
        } else {
            (layer.projected(cx, d, 3 * layer.hidden)?, None)
        };
        let mut cell = |cx: &mut NodeCx<'_, '_>, body: &mut Body, x, h| match linear {
            true => linear_cell(cx, body, &layer, (d, bias), (x, h), of),
            false => gated_cell(cx, body, &layer, d, (x, h), of),
        };
        results.push(direction(cx, &layer, (d, "gru"), x, &mut cell)?);
    }
    joined(cx, &layer, &results)
}

/// The projected sequence without the recurrent bias of the last gate, and that.
fn before_reset(cx: &mut NodeCx<'_, '_>, layer: &Layer, d: usize) -> Result<(ValueId, Option<ValueId>)> {
    let rows = 3 * layer.hidden;
    let product = layer.product(cx, d, rows)?;
    let Some([input, recurrent]) = layer.biases(cx, d, rows)? else { return Ok((product, None)) };
    let n = Dim::constant(layer.hidden);
    let gates = cx.slice(recurrent, 1, Dim::ZERO, &n * 2, 1)?;
    let last = cx.slice(recurrent, 1, &n * 2, n.clone(), 1)?;
    let zero = cx.c(last, 0.0);
    let none = cx.fill(zero, &[Dim::ONE, n])?;
    let gates = cx.b.add(Concat { axis: 1 }, &[gates, none])?;
    let sum = cx.add(input, gates)?;
    Ok((cx.add(product, sum)?, Some(last)))
}

/// The next h, where the reset gate acts on what the product of h and its weights gives.
fn linear_cell(
    cx: &mut NodeCx<'_, '_>,
    body: &mut Body,
    layer: &Layer,
    (d, bias): (usize, Option<ValueId>),
    (x, h): (ValueId, ValueId),
    [f, g]: [Activation; 2],
) -> Result<ValueId> {
    let n = Dim::constant(layer.hidden);
    let weights = recurrent_rows(cx, body, d, layer, (3, 0..3))?;
    let product = body.product(h, weights)?;
    let part = |body: &mut Body, v: ValueId, k: i64, m: i64| body.b.slice_axis(v, 1, &n * k, &n * m);
    let (px, ph) = (part(body, x, 0, 2)?, part(body, product, 0, 2)?);
    let sum = body.add(ph, px)?;
    let sum = body.clip(sum, layer.clip)?;
    let gates = f.apply(&mut body.b, sum)?;
    let (z, r) = (part(body, gates, 0, 1)?, part(body, gates, 1, 1)?);
    let (px, mut ph) = (part(body, x, 2, 1)?, part(body, product, 2, 1)?);
    if let Some(bias) = bias {
        let bias = body.capture(cx, bias);
        ph = body.add(ph, bias)?;
    }
    let kept = body.mul(r, ph)?;
    let new = body.add(px, kept)?;
    let new = body.clip(new, layer.clip)?;
    let new = g.apply(&mut body.b, new)?;
    Ok(body.blend(z, new, h)?)
}

/// The next h, where the reset gate acts on h.
fn gated_cell(
    cx: &mut NodeCx<'_, '_>,
    body: &mut Body,
    layer: &Layer,
    d: usize,
    (x, h): (ValueId, ValueId),
    [f, g]: [Activation; 2],
) -> Result<ValueId> {
    let n = Dim::constant(layer.hidden);
    let weights = recurrent_rows(cx, body, d, layer, (3, 0..2))?;
    let product = body.product(h, weights)?;
    let part = |body: &mut Body, v: ValueId, k: i64, m: i64| body.b.slice_axis(v, 1, &n * k, &n * m);
    let px = part(body, x, 0, 2)?;
    let sum = body.add(product, px)?;
    let sum = body.clip(sum, layer.clip)?;
    let gates = f.apply(&mut body.b, sum)?;
    let (z, r) = (part(body, gates, 0, 1)?, part(body, gates, 1, 1)?);
    let kept = body.mul(r, h)?;
    let weights = recurrent_rows(cx, body, d, layer, (3, 2..3))?;
    let product = body.product(kept, weights)?;
    let px = part(body, x, 2, 1)?;
    let new = body.add(product, px)?;
    let new = body.clip(new, layer.clip)?;
    let new = g.apply(&mut body.b, new)?;
    Ok(body.blend(z, new, h)?)
}

/// One direction: last h, all h.
fn direction(
    cx: &mut NodeCx<'_, '_>,
    layer: &Layer,
    (d, name): (usize, &str),
    x: ValueId,
    cell: Cell<'_>,
) -> Out {
    let h = layer.state(cx, 5, d)?;
    let mut body = Body { b: cx.b.region(name), captured: vec![] };
    body.b.set_loc(cx.label);
    let (dtype, state) = (cx.dtype(x), cx.shape(h));
    let inner_h = body.b.input("h", TensorType::new(dtype, state));
    let inner_x = body.b.input("x", TensorType::new(dtype, cx.shape(x)[1..].to_vec()));
    let mut walked = vec![x];
    let mut place = None;
    if layer.lengths.is_some() {
        walked.push(cx.iota(&layer.sequence, DType::I32)?);
        place = Some(body.b.input("t", TensorType::new(DType::I32, vec![])));
    }
    let mut next = cell(cx, &mut body, inner_x, inner_h)?;
    let mut y = next;
    if let (Some(lengths), Some(place)) = (layer.lengths, place) {
        // Behind its end a sequence keeps its state and gives zeros.
        let lengths = body.capture(cx, lengths);
        let counts = body.b.compare(CompareOp::Lt, place, lengths)?;
        let counts = body.b.unsqueeze(counts, &[1])?;
        let zero = body.b.scalar_f64(dtype, 0.0);
        y = body.b.select(counts, next, zero)?;
        next = body.b.select(counts, next, inner_h)?;
    }
    body.b.output("h", next);
    body.b.output("y", y);
    let of = ScanOperands {
        carried: &[h],
        xs: &walked,
        captured: &body.captured,
        length: layer.sequence.clone(),
        reverse: layer.reverse[d],
    };
    Ok(cx.b.scan(body.b.finish(), &of)?)
}

/// All h and the last h, of all directions.
fn joined(cx: &mut NodeCx<'_, '_>, layer: &Layer, directions: &[Vec<ValueId>]) -> Out {
    let of = |k: usize| directions.iter().map(|d| d[k]).collect::<Vec<_>>();
    Ok(vec![layer.joined(cx, &of(1), true)?, layer.joined(cx, &of(0), false)?])
}

/// Some of the `gates` blocks of R of one direction, inside the body.
fn recurrent_rows(
    cx: &mut NodeCx<'_, '_>,
    body: &mut Body,
    d: usize,
    layer: &Layer,
    (gates, range): (i64, Range<i64>),
) -> Result<ValueId> {
    let (r, n) = (cx.input(2)?, layer.hidden);
    let rows = (range.end - range.start) * n;
    if let Some(all) = stored(cx, r, d, &[gates * n, n]) {
        let row = n as usize * all.dtype().bytes();
        let bytes =
            all.bytes().slice(range.start as usize * n as usize * row..range.end as usize * n as usize * row);
        if let Ok(part) = Literal::from_bytes(all.dtype(), &[rows as usize, n as usize], bytes) {
            return Ok(body.b.constant("", part));
        }
    }
    let one = cx.slice(r, 0, Dim::constant(d as i64), Dim::ONE, 1)?;
    let one = cx.slice(one, 1, Dim::constant(range.start * n), Dim::constant(rows), 1)?;
    let one = cx.b.reshape(one, [rows, n].map(Dim::constant).to_vec())?;
    Ok(body.capture(cx, one))
}

impl Body {
    /// `[batch, rows]`: each row of `h` with each row of `weights`.
    fn product(&mut self, h: ValueId, weights: ValueId) -> Built {
        self.b.add(DotGeneral { batch: vec![], contract: vec![(1, 1)] }, &[h, weights])
    }

    /// `(1 - z) a + z b`.
    fn blend(&mut self, z: ValueId, a: ValueId, b: ValueId) -> Built {
        let one = self.b.scalar_f64(self.b.dtype(z), 1.0);
        let rest = self.b.binary(BinaryOp::Sub, one, z)?;
        let (a, b) = (self.mul(rest, a)?, self.mul(z, b)?);
        self.add(a, b)
    }
}
