//! Recurrent layers, by the equations of the ONNX operator reference: one scan for each direction.
//!
//! What does not depend on the state, the product of the whole sequence with the input weights, is one contraction
//! before the scan. Weights that are stored become constants of the scan's body, where each iteration reads them.
//! LSTM is here, layers of one state are in `simple`.

mod simple;

pub(super) use simple::{gru, rnn};

use crate::error::Result;
use crate::import::NodeCx;
use fornax_ir::graph::builder::ScanOperands;
use fornax_ir::graph::ops::{Concat, DotGeneral};
use fornax_ir::graph::{Builder, GraphError, TensorType, ValueId};
use fornax_ir::scalar::{BinaryOp, CompareOp, UnaryOp};
use fornax_ir::{DType, Dim, Literal};

type Out = Result<Vec<ValueId>>;
type Built = std::result::Result<ValueId, GraphError>;

/// A function of the attribute `activations`.
#[derive(Clone, Copy)]
struct Activation {
    kind: Kind,
    alpha: f64,
    beta: f64,
}

#[derive(Clone, Copy)]
enum Kind {
    Relu,
    Tanh,
    Sigmoid,
    Affine,
    LeakyRelu,
    ThresholdedRelu,
    ScaledTanh,
    HardSigmoid,
    Elu,
    Softsign,
    Softplus,
}

/// Name in lower case, function, and the defaults of alpha and beta where it has them.
#[rustfmt::skip]
const ACTIVATIONS: [(&str, Kind, Option<f64>, Option<f64>); 11] = [
    ("relu", Kind::Relu, None, None),
    ("tanh", Kind::Tanh, None, None),
    ("sigmoid", Kind::Sigmoid, None, None),
    ("affine", Kind::Affine, Some(1.0), Some(0.0)),
    ("leakyrelu", Kind::LeakyRelu, Some(0.01), None),
    ("thresholdedrelu", Kind::ThresholdedRelu, Some(1.0), None),
    ("scaledtanh", Kind::ScaledTanh, Some(1.0), Some(1.0)),
    ("hardsigmoid", Kind::HardSigmoid, Some(0.2), Some(0.5)),
    ("elu", Kind::Elu, Some(1.0), None),
    ("softsign", Kind::Softsign, None, None),
    ("softplus", Kind::Softplus, None, None),
];

impl Activation {
    fn apply(self, b: &mut Builder, x: ValueId) -> Built {
        let Activation { kind, alpha, beta } = self;
        let scaled = |b: &mut Builder, x: ValueId, by: f64| {
            let c = b.scalar_f64(b.dtype(x), by);
            b.binary(BinaryOp::Mul, x, c)
        };
        match kind {
            Kind::Relu => b.relu(x),
            Kind::Tanh => b.unary(UnaryOp::Tanh, x),
            Kind::Sigmoid => b.sigmoid(x),
            Kind::Affine => {
                let y = scaled(b, x, alpha)?;
                let c = b.scalar_f64(b.dtype(x), beta);
                b.binary(BinaryOp::Add, y, c)
            }
            Kind::LeakyRelu => b.leaky_relu(x, alpha),
            Kind::ThresholdedRelu => {
                let limit = b.scalar_f64(b.dtype(x), alpha);
                let zero = b.scalar_f64(b.dtype(x), 0.0);
                let above = b.compare(CompareOp::Gt, x, limit)?;
                b.select(above, x, zero)
            }
            Kind::ScaledTanh => {
                let y = scaled(b, x, beta)?;
                let y = b.unary(UnaryOp::Tanh, y)?;
                scaled(b, y, alpha)
            }
            Kind::HardSigmoid => b.hard_sigmoid(x, alpha, beta),
            Kind::Elu => b.elu(x, alpha),
            Kind::Softsign => b.softsign(x),
            Kind::Softplus => b.softplus(x),
        }
    }
}

/// The functions of all directions: those that have an alpha (or a beta) take the next one listed.
fn activations(cx: &NodeCx<'_, '_>, defaults: &[&str], directions: usize) -> Result<Vec<Activation>> {
    let names = cx.texts("activations")?.unwrap_or_else(|| defaults.repeat(directions));
    if names.len() != defaults.len() * directions {
        let (want, got) = (defaults.len() * directions, names.len());
        return Err(cx.bad(format!("attribute 'activations' needs {want} entries, but has {got}")));
    }
    let mut alphas = cx.floats("activation_alpha")?.unwrap_or_default().iter();
    let mut betas = cx.floats("activation_beta")?.unwrap_or_default().iter();
    let mut all = vec![];
    for name in names {
        let lower = name.to_ascii_lowercase();
        let Some(&(_, kind, alpha, beta)) = ACTIVATIONS.iter().find(|a| a.0 == lower) else {
            return Err(cx.bad(format!("attribute 'activations' names '{name}', which is unknown")));
        };
        let next = |default: Option<f64>, given: &mut std::slice::Iter<'_, f32>| {
            default.map_or(0.0, |d| given.next().map_or(d, |&v| f64::from(v)))
        };
        all.push(Activation { kind, alpha: next(alpha, &mut alphas), beta: next(beta, &mut betas) });
    }
    Ok(all)
}

/// A recurrent layer: the operands that all kinds have, and extents.
struct Layer {
    /// `[sequence, batch, input]`.
    x: ValueId,
    sequence: Dim,
    batch: Dim,
    hidden: i64,
    /// For each direction, whether it walks from the end.
    reverse: Vec<bool>,
    /// `i32[batch]`: how many places of the sequence count.
    lengths: Option<ValueId>,
    clip: Option<f64>,
    /// Batch comes before sequence and direction in operands and results.
    batch_first: bool,
}

impl Layer {
    /// Of a node whose weights have `gates` blocks of rows.
    fn new(cx: &mut NodeCx<'_, '_>, gates: i64) -> Result<Self> {
        let (x, w, r) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
        if [x, w, r].iter().any(|&v| cx.rank(v) != 3) {
            let types = [x, w, r].map(|v| cx.b.ty(v).to_string()).join(", ");
            return Err(cx.bad(format!("X, W and R need three axes each, but are {types}")));
        }
        let reverse = match cx.text_or("direction", "forward")? {
            "forward" => vec![false],
            "reverse" => vec![true],
            "bidirectional" => vec![false, true],
            other => {
                let what = "attribute 'direction' must be forward, reverse or bidirectional";
                return Err(cx.bad(format!("{what}, not '{other}'")));
            }
        };
        let hidden = cx.shape(r)[2].as_const().ok_or_else(|| cx.bad("R must have constant extents"))?;
        if cx.int("hidden_size")?.is_some_and(|h| h != hidden) {
            return Err(cx.bad(format!("hidden_size is not {hidden}, the last extent of R")));
        }
        let d = reverse.len() as i64;
        let input = cx.shape(x)[2].clone();
        let rows = Dim::constant(gates * hidden);
        let of = |last| vec![Dim::constant(d), rows.clone(), last];
        if cx.shape(r) != of(Dim::constant(hidden)) || cx.shape(w) != of(input) {
            let (x, w, r) = (cx.b.ty(x), cx.b.ty(w), cx.b.ty(r));
            let what = format!("[{d}, {rows}, input] and [{d}, {rows}, {hidden}]");
            return Err(cx.bad(format!("W and R must be {what}, but are {w} and {r}; X is {x}")));
        }
        let batch_first = cx.flag("layout", false)?;
        let x = if batch_first { cx.permute(x, &[1, 0, 2])? } else { x };
        let shape = cx.shape(x);
        let (sequence, batch) = (shape[0].clone(), shape[1].clone());
        let clip = cx.float("clip")?.map(f64::from);
        Ok(Layer { x, sequence, batch, hidden, reverse, lengths: cx.opt(4), clip, batch_first })
    }

    /// `[batch, hidden]`: the state of direction `d` that operand `k` gives, or zeros.
    fn state(&self, cx: &mut NodeCx<'_, '_>, k: usize, d: usize) -> Result<ValueId> {
        let shape = vec![self.batch.clone(), Dim::constant(self.hidden)];
        let Some(given) = cx.opt(k) else {
            let zero = cx.c(self.x, 0.0);
            return cx.fill(zero, &shape);
        };
        if cx.rank(given) != 3 {
            return Err(cx.bad(format!("a first state needs three axes, but is {}", cx.b.ty(given))));
        }
        let axis = usize::from(self.batch_first);
        let one = cx.slice(given, axis, Dim::constant(d as i64), Dim::ONE, 1)?;
        Ok(cx.b.reshape(one, shape)?)
    }

    /// `[sequence, batch, rows]`: the products of all places with the input weights, and the biases.
    fn projected(&self, cx: &mut NodeCx<'_, '_>, d: usize, rows: i64) -> Result<ValueId> {
        let y = self.product(cx, d, rows)?;
        let Some([input, recurrent]) = self.biases(cx, d, rows)? else { return Ok(y) };
        let sum = cx.add(input, recurrent)?;
        cx.add(y, sum)
    }

    /// `[sequence, batch, rows]`: the products of all places with the input weights.
    fn product(&self, cx: &mut NodeCx<'_, '_>, d: usize, rows: i64) -> Result<ValueId> {
        let w = cx.input(1)?;
        let shape = [rows, cx.shape(w)[2].as_const().unwrap_or(0)];
        let w = match stored(cx, w, d, &shape) {
            Some(l) => cx.b.constant("", l),
            None => {
                let shape = cx.shape(w)[1..].to_vec();
                let one = cx.slice(w, 0, Dim::constant(d as i64), Dim::ONE, 1)?;
                cx.b.reshape(one, shape)?
            }
        };
        Ok(cx.b.add(DotGeneral { batch: vec![], contract: vec![(2, 1)] }, &[self.x, w])?)
    }

    /// `[1, rows]` each: the input and the recurrent biases, if there are any.
    fn biases(&self, cx: &mut NodeCx<'_, '_>, d: usize, rows: i64) -> Result<Option<[ValueId; 2]>> {
        let Some(bias) = cx.opt(3) else { return Ok(None) };
        let one = cx.slice(bias, 0, Dim::constant(d as i64), Dim::ONE, 1)?;
        let halves = cx.b.reshape(one, vec![Dim::constant(2), Dim::constant(rows)])?;
        let input = cx.slice(halves, 0, Dim::ZERO, Dim::ONE, 1)?;
        Ok(Some([input, cx.slice(halves, 0, Dim::ONE, Dim::ONE, 1)?]))
    }

    /// Results of all directions: the sequence of states stacked, and last states.
    fn joined(&self, cx: &mut NodeCx<'_, '_>, of: &[ValueId], sequence: bool) -> Result<ValueId> {
        let axis = u32::from(sequence);
        let mut parts = vec![];
        for &v in of {
            parts.push(cx.b.unsqueeze(v, &[axis])?);
        }
        let y = if let [one] = parts[..] { one } else { cx.b.add(Concat { axis }, &parts)? };
        match (self.batch_first, sequence) {
            (false, _) => Ok(y),
            (true, true) => cx.permute(y, &[2, 0, 1, 3]),
            (true, false) => cx.permute(y, &[1, 0, 2]),
        }
    }
}

/// Part `d` of a stored tensor's first axis, in that shape; shares the tensor's bytes.
fn stored(cx: &NodeCx<'_, '_>, v: ValueId, d: usize, shape: &[i64]) -> Option<Literal> {
    let literal = cx.b.graph().literal(v)?;
    let shape: Vec<usize> = shape.iter().map(|&n| usize::try_from(n).ok()).collect::<Option<_>>()?;
    let bytes = shape.iter().product::<usize>() * literal.dtype().bytes();
    let part = (d * bytes..(d + 1) * bytes).end <= literal.bytes().len();
    part.then(|| literal.bytes().slice(d * bytes..(d + 1) * bytes))
        .and_then(|bytes| Literal::from_bytes(literal.dtype(), &shape, bytes).ok())
}

/// The body of a scan in the making: what it captures are operands of the scan.
struct Body {
    b: Builder,
    captured: Vec<ValueId>,
}

impl Body {
    /// An input for a value from outside; inputs come after all that is carried or walked.
    fn capture(&mut self, cx: &NodeCx<'_, '_>, v: ValueId) -> ValueId {
        self.captured.push(v);
        self.b.input(&format!("captured{}", self.captured.len()), cx.b.ty(v).clone())
    }

    /// `x` within `-limit..=limit`.
    fn clip(&mut self, x: ValueId, limit: Option<f64>) -> Built {
        let Some(limit) = limit else { return Ok(x) };
        let dtype = self.b.dtype(x);
        let (lo, hi) = (self.b.scalar_f64(dtype, -limit), self.b.scalar_f64(dtype, limit));
        self.b.clip(x, Some(lo), Some(hi))
    }

    fn add(&mut self, a: ValueId, b: ValueId) -> Built {
        self.b.binary(BinaryOp::Add, a, b)
    }

    fn mul(&mut self, a: ValueId, b: ValueId) -> Built {
        self.b.binary(BinaryOp::Mul, a, b)
    }
}

/// LSTM: Hochreiter and Schmidhuber 1997, with forget gates and optional peepholes. Gates i, o, f, c, each of
/// `x W' + h R' + biases`; `c = f c + i g(..)`, `h = o h(c)`. Results: all h, the last h, the last c.
pub(super) fn lstm(cx: &mut NodeCx<'_, '_>) -> Out {
    let layer = Layer::new(cx, 4)?;
    let functions = activations(cx, &["Sigmoid", "Tanh", "Tanh"], layer.reverse.len())?;
    let (mut all, mut last_h, mut last_c) = (vec![], vec![], vec![]);
    for d in 0..layer.reverse.len() {
        let of: [Activation; 3] = std::array::from_fn(|k| functions[3 * d + k]);
        let results = lstm_direction(cx, &layer, d, of)?;
        last_h.push(results[0]);
        last_c.push(results[1]);
        all.push(results[2]);
    }
    Ok(vec![
        layer.joined(cx, &all, true)?,
        layer.joined(cx, &last_h, false)?,
        layer.joined(cx, &last_c, false)?,
    ])
}

/// One direction: last h, last c, all h.
fn lstm_direction(cx: &mut NodeCx<'_, '_>, layer: &Layer, d: usize, functions: [Activation; 3]) -> Out {
    let rows = 4 * layer.hidden;
    let x = layer.projected(cx, d, rows)?;
    let (h, c) = (layer.state(cx, 5, d)?, layer.state(cx, 6, d)?);
    let mut body = Body { b: cx.b.region("lstm"), captured: vec![] };
    body.b.set_loc(cx.label);
    let (dtype, state) = (cx.dtype(x), cx.shape(h));
    let inner_h = body.b.input("h", TensorType::new(dtype, state.clone()));
    let inner_c = body.b.input("c", TensorType::new(dtype, state));
    let inner_x = body.b.input("x", TensorType::new(dtype, cx.shape(x)[1..].to_vec()));
    let mut walked = vec![x];
    let place = match layer.lengths {
        Some(_) => {
            walked.push(cx.iota(&layer.sequence, DType::I32)?);
            Some(body.b.input("t", TensorType::new(DType::I32, vec![])))
        }
        None => None,
    };
    let r = recurrent_weights(cx, &mut body, d, [rows, layer.hidden])?;
    let product = body.b.add(DotGeneral { batch: vec![], contract: vec![(1, 1)] }, &[inner_h, r])?;
    let gates = body.add(product, inner_x)?;
    let peepholes = cx.opt(7);
    let (mut next_h, mut next_c) =
        lstm_cell(cx, &mut body, layer, (gates, inner_c), functions, peepholes, d)?;
    let mut y = next_h;
    if let (Some(lengths), Some(place)) = (layer.lengths, place) {
        // Behind its end a sequence keeps its state and gives zeros.
        let lengths = body.capture(cx, lengths);
        let counts = body.b.compare(CompareOp::Lt, place, lengths)?;
        let counts = body.b.unsqueeze(counts, &[1])?;
        let zero = body.b.scalar_f64(dtype, 0.0);
        y = body.b.select(counts, next_h, zero)?;
        next_h = body.b.select(counts, next_h, inner_h)?;
        next_c = body.b.select(counts, next_c, inner_c)?;
    }
    for (name, v) in [("h", next_h), ("c", next_c), ("y", y)] {
        body.b.output(name, v);
    }
    let of = ScanOperands {
        carried: &[h, c],
        xs: &walked,
        captured: &body.captured,
        length: layer.sequence.clone(),
        reverse: layer.reverse[d],
    };
    Ok(cx.b.scan(body.b.finish(), &of)?)
}

/// R of one direction, `[rows, hidden]`, inside the body.
fn recurrent_weights(cx: &mut NodeCx<'_, '_>, body: &mut Body, d: usize, shape: [i64; 2]) -> Result<ValueId> {
    let r = cx.input(2)?;
    if let Some(literal) = stored(cx, r, d, &shape) {
        return Ok(body.b.constant("", literal));
    }
    let one = cx.slice(r, 0, Dim::constant(d as i64), Dim::ONE, 1)?;
    let one = cx.b.reshape(one, shape.map(Dim::constant).to_vec())?;
    Ok(body.capture(cx, one))
}

/// The next h and c from the sums of all gates and the last c.
fn lstm_cell(
    cx: &mut NodeCx<'_, '_>,
    body: &mut Body,
    layer: &Layer,
    (gates, c): (ValueId, ValueId),
    [f, g, h]: [Activation; 3],
    peepholes: Option<ValueId>,
    d: usize,
) -> Result<(ValueId, ValueId)> {
    let n = Dim::constant(layer.hidden);
    let part = |body: &mut Body, k: i64| body.b.slice_axis(gates, 1, &n * k, n.clone());
    let (i, o, forget, cell) = (part(body, 0)?, part(body, 1)?, part(body, 2)?, part(body, 3)?);
    // P holds the weights of i, o, f.
    let p = match peepholes {
        None => None,
        Some(p) => {
            let one = cx.slice(p, 0, Dim::constant(d as i64), Dim::ONE, 1)?;
            let three = cx.b.reshape(one, vec![Dim::constant(3), n.clone()])?;
            Some(body.capture(cx, three))
        }
    };
    let peep = |body: &mut Body, sum: ValueId, k: i64, c: ValueId| -> Built {
        let Some(p) = p else { return Ok(sum) };
        let weights = body.b.slice_axis(p, 0, Dim::constant(k), Dim::ONE)?;
        let product = body.mul(weights, c)?;
        body.add(sum, product)
    };
    let gate = |body: &mut Body, sum: ValueId, by: Activation| -> Built {
        let sum = body.clip(sum, layer.clip)?;
        by.apply(&mut body.b, sum)
    };
    let i = peep(body, i, 0, c)?;
    let i = gate(body, i, f)?;
    let forget = if cx.flag("input_forget", false)? {
        let one = body.b.scalar_f64(body.b.dtype(i), 1.0);
        body.b.binary(BinaryOp::Sub, one, i)?
    } else {
        let sum = peep(body, forget, 2, c)?;
        gate(body, sum, f)?
    };
    let cell = gate(body, cell, g)?;
    let (kept, new) = (body.mul(forget, c)?, body.mul(i, cell)?);
    let next_c = body.add(kept, new)?;
    let o = peep(body, o, 1, next_c)?;
    let o = gate(body, o, f)?;
    let shown = gate(body, next_c, h)?;
    let next_h = body.mul(o, shown)?;
    Ok((next_h, next_c))
}
