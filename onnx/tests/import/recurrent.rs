//! LSTM beside its equations, written as loops over numbers.

use crate::build::*;
use fornax_ir::Literal;
use fornax_onnx::proto::{AttributeProto, TensorProto};

const SEQUENCE: usize = 3;
const BATCH: usize = 2;
const INPUT: usize = 2;
const HIDDEN: usize = 3;
const ROWS: usize = 4 * HIDDEN;

/// What a case has beyond X, W and R.
#[derive(Clone, Copy, Default)]
struct Case {
    directions: &'static str,
    bias: bool,
    lengths: Option<[i64; BATCH]>,
    states: bool,
    peepholes: bool,
    batch_first: bool,
    input_forget: bool,
    clip: Option<f32>,
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
    c: Vec<f32>,
    p: Vec<f32>,
}

impl Data {
    fn new(case: &Case, dirs: usize) -> Data {
        let on = |yes: bool, v: Vec<f32>| if yes { v } else { vec![0.0; v.len()] };
        Data {
            x: values(SEQUENCE * BATCH * INPUT, 1),
            w: values(dirs * ROWS * INPUT, 2),
            r: values(dirs * ROWS * HIDDEN, 3),
            b: on(case.bias, values(dirs * 2 * ROWS, 4)),
            h: on(case.states, values(dirs * BATCH * HIDDEN, 5)),
            c: on(case.states, values(dirs * BATCH * HIDDEN, 6)),
            p: on(case.peepholes, values(dirs * 3 * HIDDEN, 7)),
        }
    }
}

fn function(name: &str, x: f64) -> f64 {
    match name {
        "Sigmoid" => 1.0 / (1.0 + (-x).exp()),
        "Tanh" => x.tanh(),
        "Relu" => x.max(0.0),
        "HardSigmoid" => (0.3 * x + 0.5).clamp(0.0, 1.0),
        "Affine" => 0.7 * x + 0.1,
        other => panic!("no function {other}"),
    }
}

/// Y `[SEQUENCE, dirs, BATCH, HIDDEN]`, then the last h and c, `[dirs, BATCH, HIDDEN]`.
fn expected(case: &Case, dirs: usize, data: &Data) -> [Vec<f64>; 3] {
    let names = if case.activations.is_empty() { &["Sigmoid", "Tanh", "Tanh"][..] } else { case.activations };
    let mut out = [vec![0.0; SEQUENCE * dirs * BATCH * HIDDEN], vec![], vec![]];
    for d in 0..dirs {
        let name = |k: usize| names[(3 * d + k) % names.len()];
        for n in 0..BATCH {
            let at = (d * BATCH + n) * HIDDEN;
            let wide = |v: &[f32]| v[at..at + HIDDEN].iter().map(|&v| f64::from(v)).collect::<Vec<_>>();
            let (mut h, mut c) = (wide(&data.h), wide(&data.c));
            let length = case.lengths.map_or(SEQUENCE, |l| l[n] as usize);
            let backwards = case.directions == "reverse" || d == 1;
            for step in 0..length {
                let t = if backwards { length - 1 - step } else { step };
                let x = &data.x[(t * BATCH + n) * INPUT..][..INPUT];
                let sum = |row: usize| {
                    let bias =
                        f64::from(data.b[d * 2 * ROWS + row]) + f64::from(data.b[(d * 2 + 1) * ROWS + row]);
                    let w = &data.w[(d * ROWS + row) * INPUT..][..INPUT];
                    let r = &data.r[(d * ROWS + row) * HIDDEN..][..HIDDEN];
                    let input: f64 = w.iter().zip(x).map(|(&w, &x)| f64::from(w) * f64::from(x)).sum();
                    let recurrent: f64 = r.iter().zip(&h).map(|(&r, h)| f64::from(r) * h).sum();
                    input + recurrent + bias
                };
                let limited = |v: f64| case.clip.map_or(v, |l| v.clamp(-f64::from(l), f64::from(l)));
                let gate = |k: usize, v: f64| function(name(k), limited(v));
                let peep = |k: usize, j: usize| f64::from(data.p[(d * 3 + k) * HIDDEN + j]);
                let mut next = (vec![], vec![]);
                for (j, &last) in c.iter().enumerate() {
                    let i = gate(0, sum(j) + peep(0, j) * last);
                    let coupled = case.input_forget;
                    let f = if coupled { 1.0 - i } else { gate(0, sum(2 * HIDDEN + j) + peep(2, j) * last) };
                    let cell = f * last + i * gate(1, sum(3 * HIDDEN + j));
                    let o = gate(0, sum(HIDDEN + j) + peep(1, j) * cell);
                    next.0.push(o * gate(2, cell));
                    next.1.push(cell);
                }
                (h, c) = next;
                out[0][((t * dirs + d) * BATCH + n) * HIDDEN..][..HIDDEN].copy_from_slice(&h);
            }
            out[1].extend(h);
            out[2].extend(c);
        }
    }
    out
}

/// Moves the batch before the first of `lead` axes of `[.., BATCH, inner]`.
fn batch_first<T: Copy>(v: &[T], lead: usize, inner: usize) -> Vec<T> {
    let order = (0..BATCH).flat_map(|n| (0..lead).map(move |k| (k * BATCH + n) * inner));
    order.flat_map(|at| v[at..at + inner].to_vec()).collect()
}

fn attributes(case: &Case) -> Vec<AttributeProto> {
    let mut all = vec![int("hidden_size", HIDDEN as i64), text("direction", case.directions)];
    all.extend(case.clip.map(|c| float("clip", c)));
    all.extend(case.batch_first.then(|| int("layout", 1)));
    all.extend(case.input_forget.then(|| int("input_forget", 1)));
    if !case.activations.is_empty() {
        all.push(texts("activations", case.activations));
        all.push(floats("activation_alpha", &[0.3, 0.7]));
        all.push(floats("activation_beta", &[0.5, 0.1]));
    }
    all
}

#[track_caller]
fn agrees(case: Case) {
    let dirs = if case.directions == "bidirectional" { 2 } else { 1 };
    let data = Data::new(&case, dirs);
    let on = |yes: bool, name: &'static str| if yes { name } else { "" };
    let operands = [
        "x",
        "w",
        "r",
        on(case.bias, "b"),
        on(case.lengths.is_some(), "lengths"),
        on(case.states, "h"),
        on(case.states, "c"),
        on(case.peepholes, "p"),
    ];
    let n = node("LSTM", &operands, &["y", "y_h", "y_c"], attributes(&case));
    let turned =
        |v: &[f32], lead, inner| if case.batch_first { batch_first(v, lead, inner) } else { v.to_vec() };
    let x = turned(&data.x, SEQUENCE, INPUT);
    let mut shape = [SEQUENCE, BATCH];
    let mut symbols = ["T", "2"];
    if case.batch_first {
        shape.reverse();
        symbols.reverse();
    }
    let mut model = Model::new(17, vec![n]).input("x", 1, &[symbols[0], symbols[1], "2"]);
    let mut args = vec![lit(&[shape[0], shape[1], INPUT], &x)];
    let state = if case.batch_first { [BATCH, dirs, HIDDEN] } else { [dirs, BATCH, HIDDEN] };
    let (h, c) = (turned(&data.h, dirs, HIDDEN), turned(&data.c, dirs, HIDDEN));
    let tensors: [(&str, Vec<usize>, &[f32]); 6] = [
        ("w", vec![dirs, ROWS, INPUT], &data.w),
        ("r", vec![dirs, ROWS, HIDDEN], &data.r),
        ("b", vec![dirs, 2 * ROWS], &data.b),
        ("h", state.to_vec(), &h),
        ("c", state.to_vec(), &c),
        ("p", vec![dirs, 3 * HIDDEN], &data.p),
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
        let t = TensorProto {
            data_type: 6,
            int32_data: lengths.map(|l| l as i32).to_vec(),
            ..Default::default()
        };
        model = model.stored(TensorProto { name: "lengths".into(), dims: vec![BATCH as i64], ..t });
    }
    let got = model.output("y").output("y_h").output("y_c").run(&args);
    let want = expected(&case, dirs, &data);
    let narrow = |v: &[f64]| v.iter().map(|&v| v as f32).collect::<Vec<_>>();
    let y: Literal = if case.batch_first {
        // [T, D, B, H] to [B, T, D, H].
        lit(&[BATCH, SEQUENCE, dirs, HIDDEN], &batch_first(&narrow(&want[0]), SEQUENCE * dirs, HIDDEN))
    } else {
        lit(&[SEQUENCE, dirs, BATCH, HIDDEN], &narrow(&want[0]))
    };
    close(&got[0], &y);
    for k in [1, 2] {
        close(&got[k], &lit(&state, &turned(&narrow(&want[k]), dirs, HIDDEN)));
    }
}

#[test]
fn lstm_follows_its_equations() {
    let plain = Case { directions: "forward", ..Case::default() };
    let full = Case { bias: true, states: true, peepholes: true, ..plain };
    let cases = [
        plain,
        Case { bias: true, ..plain },
        Case { given: true, ..full },
        Case { directions: "reverse", ..full },
        Case { directions: "bidirectional", ..full },
        Case { directions: "bidirectional", given: true, lengths: Some([3, 1]), ..full },
        Case { lengths: Some([2, 0]), ..full },
        Case { directions: "reverse", lengths: Some([1, 2]), ..plain },
        Case { batch_first: true, ..plain },
        Case { directions: "bidirectional", batch_first: true, ..full },
        Case { input_forget: true, clip: Some(0.4), ..full },
        Case { activations: &["HardSigmoid", "Affine", "Relu"], ..full },
    ];
    cases.into_iter().for_each(agrees);
}

#[test]
fn bad_lstms_say_what_would_work() {
    let n = |attrs| node("LSTM", &["x", "w", "r"], &["y"], attrs);
    let error = |attrs, rows: i64| {
        let zeros =
            |name, dims: [i64; 3]| f32s(name, &dims, &vec![0.0; dims.iter().product::<i64>() as usize]);
        let model = Model::new(17, vec![n(attrs)]).input("x", 1, &["3", "2", "2"]).output("y");
        model.stored(zeros("w", [1, rows, 2])).stored(zeros("r", [1, rows, 3])).error()
    };
    let bad = [
        (vec![text("direction", "up")], 12, "must be forward, reverse or bidirectional"),
        (vec![text("direction", "bidirectional")], 12, "must be [2, 12, input] and [2, 12, 3]"),
        (vec![int("hidden_size", 4)], 12, "hidden_size is not 3"),
        (vec![], 9, "must be [1, 12, input] and [1, 12, 3]"),
        (vec![texts("activations", &["Tanh"])], 12, "needs 3 entries, but has 1"),
        (vec![texts("activations", &["Tanh", "Sin", "Tanh"])], 12, "names 'Sin', which is unknown"),
    ];
    for (attrs, rows, want) in bad {
        let got = error(attrs, rows);
        assert!(got.contains(want), "{got}");
    }
}
