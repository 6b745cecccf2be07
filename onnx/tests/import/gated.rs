//! RNN and GRU beside their equations, written as loops over numbers.

use crate::build::*;
use fornax_onnx::proto::{AttributeProto, TensorProto};

const SEQUENCE: usize = 3;
const BATCH: usize = 2;
const INPUT: usize = 2;
const HIDDEN: usize = 3;

/// What a case has beyond X, W and R.
#[derive(Clone, Copy, Default)]
struct Case {
    gru: bool,
    directions: &'static str,
    bias: bool,
    lengths: Option<[i64; BATCH]>,
    state: bool,
    linear: bool,
    batch_first: bool,
    clip: Option<f64>,
    activations: &'static [&'static str],
    /// Weights are inputs of the graph, and the sequence's length a symbol.
    given: bool,
}

fn values(n: usize, seed: usize) -> Vec<f32> {
    (0..n).map(|i| ((i * 37 + seed * 11) % 23) as f32 / 16.0 - 0.7).collect()
}

struct Data {
    x: Vec<f32>,
    w: Vec<f32>,
    r: Vec<f32>,
    b: Vec<f32>,
    h: Vec<f32>,
}

fn function(name: &str, x: f64) -> f64 {
    match name {
        "Sigmoid" => 1.0 / (1.0 + (-x).exp()),
        "Tanh" => x.tanh(),
        "Relu" => x.max(0.0),
        "Affine" => 0.7 * x + 0.1,
        other => panic!("no function {other}"),
    }
}

impl Case {
    fn gates(&self) -> usize {
        if self.gru { 3 } else { 1 }
    }
    fn dirs(&self) -> usize {
        if self.directions == "bidirectional" { 2 } else { 1 }
    }
    fn data(&self) -> Data {
        let (dirs, rows) = (self.dirs(), self.gates() * HIDDEN);
        let on = |yes: bool, v: Vec<f32>| if yes { v } else { vec![0.0; v.len()] };
        Data {
            x: values(SEQUENCE * BATCH * INPUT, 1),
            w: values(dirs * rows * INPUT, 2),
            r: values(dirs * rows * HIDDEN, 3),
            b: on(self.bias, values(dirs * 2 * rows, 4)),
            h: on(self.state, values(dirs * BATCH * HIDDEN, 5)),
        }
    }

    /// The next state of one sequence in direction `d`.
    fn step(&self, data: &Data, d: usize, x: &[f32], h: &[f64]) -> Vec<f64> {
        let rows = self.gates() * HIDDEN;
        let names: &[&str] = match (self.activations, self.gru) {
            ([], true) => &["Sigmoid", "Tanh"],
            ([], false) => &["Tanh"],
            (names, _) => names,
        };
        let per = if self.gru { 2 } else { 1 };
        let gate = |k: usize, v: f64| {
            function(names[(per * d + k) % names.len()], self.clip.map_or(v, |l| v.clamp(-l, l)))
        };
        let bias = |half: usize, row: usize| f64::from(data.b[(d * 2 + half) * rows + row]);
        let input = |row: usize| -> f64 {
            let w = &data.w[(d * rows + row) * INPUT..][..INPUT];
            w.iter().zip(x).map(|(&w, &x)| f64::from(w) * f64::from(x)).sum::<f64>() + bias(0, row)
        };
        let recurrent = |row: usize, h: &[f64]| -> f64 {
            let r = &data.r[(d * rows + row) * HIDDEN..][..HIDDEN];
            r.iter().zip(h).map(|(&r, h)| f64::from(r) * h).sum::<f64>() + bias(1, row)
        };
        if !self.gru {
            return (0..HIDDEN).map(|j| gate(0, input(j) + recurrent(j, h))).collect();
        }
        let r: Vec<f64> = (HIDDEN..2 * HIDDEN).map(|row| gate(0, input(row) + recurrent(row, h))).collect();
        let kept: Vec<f64> = r.iter().zip(h).map(|(r, h)| r * h).collect();
        let next = |j: usize| {
            let (z, row) = (gate(0, input(j) + recurrent(j, h)), 2 * HIDDEN + j);
            let from_h = if self.linear { r[j] * recurrent(row, h) } else { recurrent(row, &kept) };
            (1.0 - z) * gate(1, input(row) + from_h) + z * h[j]
        };
        (0..HIDDEN).map(next).collect()
    }

    /// Y `[SEQUENCE, dirs, BATCH, HIDDEN]`, then the last h, `[dirs, BATCH, HIDDEN]`.
    fn expected(&self, data: &Data) -> [Vec<f32>; 2] {
        let dirs = self.dirs();
        let mut out = [vec![0.0; SEQUENCE * dirs * BATCH * HIDDEN], vec![]];
        for d in 0..dirs {
            for n in 0..BATCH {
                let first = &data.h[(d * BATCH + n) * HIDDEN..][..HIDDEN];
                let mut h: Vec<f64> = first.iter().map(|&v| f64::from(v)).collect();
                let length = self.lengths.map_or(SEQUENCE, |l| l[n] as usize);
                for step in 0..length {
                    let backwards = self.directions == "reverse" || d == 1;
                    let t = if backwards { length - 1 - step } else { step };
                    h = self.step(data, d, &data.x[(t * BATCH + n) * INPUT..][..INPUT], &h);
                    let y = &mut out[0][((t * dirs + d) * BATCH + n) * HIDDEN..][..HIDDEN];
                    y.iter_mut().zip(&h).for_each(|(y, h)| *y = *h as f32);
                }
                out[1].extend(h.iter().map(|&v| v as f32));
            }
        }
        out
    }

    fn attributes(&self) -> Vec<AttributeProto> {
        let mut all = vec![int("hidden_size", HIDDEN as i64), text("direction", self.directions)];
        all.extend(self.clip.map(|c| float("clip", c as f32)));
        all.extend(self.batch_first.then(|| int("layout", 1)));
        all.extend(self.linear.then(|| int("linear_before_reset", 1)));
        if !self.activations.is_empty() {
            all.push(texts("activations", self.activations));
            all.push(floats("activation_alpha", &[0.7]));
            all.push(floats("activation_beta", &[0.1]));
        }
        all
    }
}

/// Moves the batch before the first of `lead` axes of `[.., BATCH, inner]`.
fn batch_first(v: &[f32], lead: usize, inner: usize) -> Vec<f32> {
    let order = (0..BATCH).flat_map(|n| (0..lead).map(move |k| (k * BATCH + n) * inner));
    order.flat_map(|at| v[at..at + inner].to_vec()).collect()
}

#[track_caller]
fn agrees(case: Case) {
    let (dirs, data, rows) = (case.dirs(), case.data(), case.gates() * HIDDEN);
    let on = |yes: bool, name: &'static str| if yes { name } else { "" };
    let operands =
        ["x", "w", "r", on(case.bias, "b"), on(case.lengths.is_some(), "lengths"), on(case.state, "h")];
    let kind = if case.gru { "GRU" } else { "RNN" };
    let n = node(kind, &operands, &["y", "y_h"], case.attributes());
    let turned =
        |v: &[f32], lead, inner| if case.batch_first { batch_first(v, lead, inner) } else { v.to_vec() };
    let (mut shape, mut symbols) = ([SEQUENCE, BATCH], ["T", "2"]);
    if case.batch_first {
        shape.reverse();
        symbols.reverse();
    }
    let mut model = Model::new(17, vec![n]).input("x", 1, &[symbols[0], symbols[1], "2"]);
    let mut args = vec![lit(&[shape[0], shape[1], INPUT], &turned(&data.x, SEQUENCE, INPUT))];
    let state = if case.batch_first { [BATCH, dirs, HIDDEN] } else { [dirs, BATCH, HIDDEN] };
    let h = turned(&data.h, dirs, HIDDEN);
    let tensors: [(&str, Vec<usize>, &[f32]); 4] = [
        ("w", vec![dirs, rows, INPUT], &data.w),
        ("r", vec![dirs, rows, HIDDEN], &data.r),
        ("b", vec![dirs, 2 * rows], &data.b),
        ("h", state.to_vec(), &h),
    ];
    for (name, shape, data) in tensors.iter().filter(|t| operands.contains(&t.0)) {
        if case.given {
            let dims: Vec<String> = shape.iter().map(usize::to_string).collect();
            model = model.input(name, 1, &dims.iter().map(String::as_str).collect::<Vec<_>>());
            args.push(lit(shape, data));
        } else {
            let dims: Vec<i64> = shape.iter().map(|&n| n as i64).collect();
            model = model.stored(f32s(name, &dims, data));
        }
    }
    if let Some(lengths) = case.lengths {
        let int32_data = lengths.map(|l| l as i32).to_vec();
        let t = TensorProto { data_type: 6, int32_data, ..Default::default() };
        model = model.stored(TensorProto { name: "lengths".into(), dims: vec![BATCH as i64], ..t });
    }
    let got = model.output("y").output("y_h").run(&args);
    let [y, last] = case.expected(&data);
    let (y, shape) = if case.batch_first {
        (batch_first(&y, SEQUENCE * dirs, HIDDEN), [BATCH, SEQUENCE, dirs, HIDDEN])
    } else {
        (y, [SEQUENCE, dirs, BATCH, HIDDEN])
    };
    close(&got[0], &lit(&shape, &y));
    close(&got[1], &lit(&state, &turned(&last, dirs, HIDDEN)));
}

fn cases(plain: Case) -> Vec<Case> {
    let full = Case { bias: true, state: true, ..plain };
    vec![
        plain,
        full,
        Case { given: true, ..full },
        Case { directions: "reverse", ..full },
        Case { directions: "bidirectional", ..full },
        Case { directions: "bidirectional", given: true, lengths: Some([3, 1]), ..full },
        Case { lengths: Some([2, 0]), ..full },
        Case { directions: "reverse", lengths: Some([1, 2]), ..plain },
        Case { batch_first: true, ..plain },
        Case { directions: "bidirectional", batch_first: true, ..full },
        Case { clip: Some(0.4), ..full },
    ]
}

#[test]
fn rnn_follows_its_equation() {
    let plain = Case { directions: "forward", ..Case::default() };
    cases(plain).into_iter().for_each(agrees);
    agrees(Case { activations: &["Relu"], bias: true, ..plain });
    agrees(Case { activations: &["Affine"], state: true, ..plain });
}

#[test]
fn gru_follows_its_equations() {
    let plain = Case { gru: true, directions: "forward", ..Case::default() };
    for linear in [false, true] {
        cases(Case { linear, ..plain }).into_iter().for_each(agrees);
        agrees(Case { linear, activations: &["Affine", "Relu"], bias: true, ..plain });
    }
}
