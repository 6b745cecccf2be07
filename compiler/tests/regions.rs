//! Control flow in programs: random graphs with regions in regions, and work that is shared among threads.
//! The random ones compute with integers, so that every way to run them gives the same bits.

mod support;

use fornax_compiler::codegen::entry::SHARE;
use fornax_compiler::{Optimizer, Options, interp, lower};
use fornax_ir::graph::builder::ScanOperands;
use fornax_ir::graph::verify::verify;
use fornax_ir::graph::{self, Builder, Graph, TensorType, ValueId, ops, text};
use fornax_ir::scalar::{BinaryOp, CompareOp, ReduceOp, Scalar, UnaryOp};
use fornax_ir::{DType, Dim, Literal};
use support::{dims, f32s, native, noise, on_e_nodes, on_kernels};

/// Checks that the text is read back, runs every way (native code if asked for), and compares.
fn agree(name: &str, g: &Graph, args: &[Literal], as_native: bool) {
    verify(g).unwrap_or_else(|e| panic!("{name}: {e}"));
    let printed = text::print(g, true);
    assert_eq!(text::print(&text::parse(&printed).unwrap(), true), printed, "{name}");
    let want = graph::interp::run(g, args).unwrap_or_else(|e| panic!("{name}: {e}\n{printed}"));
    let shapes: Vec<_> = args.iter().map(|a| (a.shape(), a.dtype())).collect();
    let bound = graph::interp::bind(g, &shapes).unwrap();
    on_e_nodes(name, g, args);
    for optimizer in [Optimizer::None, Optimizer::Greedy] {
        let name = format!("{name}, {optimizer:?}");
        let options = Options { optimizer, ..Options::default() };
        let lowered = lower(g.clone(), &options).unwrap_or_else(|e| panic!("{name}: {e}\n{printed}"));
        on_kernels(&name, &lowered, bound.values(), args, &want);
        if as_native {
            native(&name, lowered, bound.values(), args, &want);
        }
    }
}

/// What a value is: a matrix `[n, 4]`, a row `[4]`, or a number.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Kind {
    Matrix,
    Row,
    Number,
}
use Kind::{Matrix, Number, Row};

impl Kind {
    fn ty(self) -> TensorType {
        TensorType::new(
            DType::I32,
            match self {
                Matrix => dims(&["n", "4"]),
                Row => dims(&["4"]),
                Number => vec![],
            },
        )
    }
}

/// Makes random graphs.
struct Random(u64);

/// The values of a graph in the making, at least one of each kind.
struct Pool<'b> {
    b: &'b mut Builder,
    values: Vec<(Kind, ValueId)>,
}

impl Pool<'_> {
    fn push(&mut self, kind: Kind, v: ValueId) {
        assert_eq!(self.b.ty(v), &kind.ty());
        self.values.push((kind, v));
    }
}

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % n
    }

    fn kind(&mut self) -> Kind {
        [Matrix, Row, Number][self.below(3)]
    }

    fn kinds(&mut self, most: usize) -> Vec<Kind> {
        (0..=self.below(most)).map(|_| self.kind()).collect()
    }

    fn value(&mut self, p: &Pool<'_>, kind: Kind) -> ValueId {
        let some: Vec<_> = p.values.iter().filter(|v| v.0 == kind).collect();
        some[self.below(some.len())].1
    }

    /// Operands of a region operator: some that are used elsewhere too, some that die with it.
    fn operands(&mut self, p: &mut Pool<'_>, kinds: &[Kind]) -> Vec<ValueId> {
        let mut operands = vec![];
        for kind in kinds {
            let x = self.value(p, *kind);
            let c = p.b.scalar(Scalar::from_i64(DType::I32, self.below(90) as i64));
            let fresh = p.b.binary(BinaryOp::Add, x, c).unwrap();
            operands.push(if self.below(3) == 0 { x } else { fresh });
        }
        operands
    }

    /// A region of those inputs (the first ones of the given types) that gives values of those kinds.
    fn region(
        &mut self,
        of: &Builder,
        inputs: &[Kind],
        outputs: &[Kind],
        depth: usize,
        also: impl FnOnce(&mut Builder) -> Option<ValueId>,
    ) -> Graph {
        let mut b = of.region("region");
        let mut values: Vec<_> =
            inputs.iter().enumerate().map(|(i, k)| (*k, b.input(&format!("i{i}"), k.ty()))).collect();
        let also = also(&mut b);
        for kind in [Matrix, Row, Number] {
            let c = b.scalar(Scalar::from_i64(DType::I32, self.below(7) as i64 - 3));
            values.push((kind, b.broadcast_to(c, &kind.ty().shape).unwrap()));
        }
        let mut p = Pool { b: &mut b, values };
        self.grow(&mut p, 4, depth);
        let results: Vec<_> = outputs.iter().map(|k| self.value(&p, *k)).collect();
        also.into_iter().chain(results).enumerate().for_each(|(k, v)| b.output(&format!("o{k}"), v));
        b.finish()
    }

    fn grow(&mut self, p: &mut Pool<'_>, steps: usize, depth: usize) {
        for _ in 0..steps {
            match self.below(if depth > 0 { 10 } else { 6 }) {
                0 | 1 => {
                    let kind = self.kind();
                    let (x, y) = (self.value(p, kind), self.value(p, kind));
                    let op = [BinaryOp::Add, BinaryOp::Sub, BinaryOp::Mul, BinaryOp::Max][self.below(4)];
                    let v = p.b.binary(op, x, y).unwrap();
                    p.push(kind, v);
                }
                2 => {
                    let (x, row) = (self.value(p, Matrix), self.value(p, Row));
                    let v = p.b.binary(BinaryOp::Add, x, row).unwrap();
                    p.push(Matrix, v);
                }
                3 => self.reversed(p),
                4 => {
                    let x = self.value(p, Matrix);
                    let v = p.b.reduce(ReduceOp::Sum, x, &[0]).unwrap();
                    p.push(Row, v);
                }
                5 => {
                    let x = self.value(p, Row);
                    let v = p.b.reduce(ReduceOp::Sum, x, &[0]).unwrap();
                    p.push(Number, v);
                }
                6 | 7 => self.cond(p, depth - 1),
                8 => self.while_loop(p, depth - 1),
                _ => self.scan(p, depth - 1),
            }
        }
    }

    /// A reader that may not share memory with what it reads.
    fn reversed(&mut self, p: &mut Pool<'_>) {
        let x = self.value(p, Matrix);
        let start = vec![Dim::symbol("n") - 1, Dim::constant(3)];
        let size = Matrix.ty().shape;
        let v = p.b.add(ops::Slice { start, size, step: vec![-1, -1] }, &[x]).unwrap();
        p.push(Matrix, v);
    }

    fn cond(&mut self, p: &mut Pool<'_>, depth: usize) {
        let (x, two, zero) =
            (self.value(p, Number), Scalar::from_i64(DType::I32, 2), Scalar::from_i64(DType::I32, 0));
        let (two, zero) = (p.b.scalar(two), p.b.scalar(zero));
        let rest = p.b.binary(BinaryOp::Rem, x, two).unwrap();
        let pred = p.b.compare(CompareOp::Eq, rest, zero).unwrap();
        let (inputs, outputs) = (self.kinds(3), self.kinds(3));
        let then = self.region(p.b, &inputs, &outputs, depth, |_| None);
        let otherwise = self.region(p.b, &inputs, &outputs, depth, |_| None);
        let captured = self.operands(p, &inputs);
        let results = p.b.cond(pred, then, otherwise, &captured).unwrap();
        outputs.iter().zip(results).for_each(|(k, v)| p.push(*k, v));
    }

    /// Up to three iterations, as data say; the counter is carried first, the limit captured last.
    fn while_loop(&mut self, p: &mut Pool<'_>, depth: usize) {
        let (x, four) = (self.value(p, Number), p.b.scalar(Scalar::from_i64(DType::I32, 4)));
        let limit = p.b.binary(BinaryOp::Rem, x, four).unwrap();
        let zero = p.b.scalar(Scalar::from_i64(DType::I32, 0));
        let (state, fixed) = (self.kinds(3), self.kinds(2));
        let inputs = [&[Number], &state[..], &fixed, &[Number]].concat();
        let mut cond = p.b.region("go on");
        let seen: Vec<_> =
            inputs.iter().enumerate().map(|(i, k)| cond.input(&format!("i{i}"), k.ty())).collect();
        let more = cond.compare(CompareOp::Lt, seen[0], seen[seen.len() - 1]).unwrap();
        cond.output("more", more);
        let body = self.region(p.b, &inputs, &state, depth, |b| {
            let one = b.scalar(Scalar::from_i64(DType::I32, 1));
            let counter = b.graph().inputs[0].value;
            Some(b.binary(BinaryOp::Add, counter, one).unwrap())
        });
        let carried = [vec![zero], self.operands(p, &state)].concat();
        let captured = [self.operands(p, &fixed), vec![limit]].concat();
        let results = p.b.while_loop(cond.finish(), body, &carried, &captured).unwrap();
        state.iter().zip(&results[1..]).for_each(|(k, v)| p.push(*k, *v));
    }

    fn scan(&mut self, p: &mut Pool<'_>, depth: usize) {
        let (state, fixed) = (self.kinds(2), self.kinds(2));
        let xs = vec![Matrix; self.below(3)];
        let inputs = [&state[..], &vec![Row; xs.len()], &fixed].concat();
        let outputs = [&state[..], &[Row]].concat();
        let body = self.region(p.b, &inputs, &outputs, depth, |_| None);
        let (carried, xs) = (self.operands(p, &state), self.operands(p, &xs));
        let of = ScanOperands {
            carried: &carried,
            xs: &xs,
            captured: &self.operands(p, &fixed),
            length: Dim::symbol("n"),
            reverse: self.below(2) == 1,
        };
        let results = p.b.scan(body, &of).unwrap();
        outputs[..state.len()].iter().zip(&results).for_each(|(k, v)| p.push(*k, *v));
        p.push(Matrix, results[state.len()]);
    }

    fn graph(&mut self) -> Graph {
        let mut b = Builder::new("random");
        let values = [Matrix, Row, Number].map(|k| (k, b.input(&format!("{k:?}"), k.ty()))).to_vec();
        let mut p = Pool { b: &mut b, values };
        self.grow(&mut p, 4, 2);
        self.cond(&mut p, 1);
        self.while_loop(&mut p, 1);
        self.scan(&mut p, 1);
        let outputs: Vec<_> = p.values.iter().rev().step_by(2).map(|v| v.1).collect();
        outputs.iter().enumerate().for_each(|(k, v)| b.output(&format!("y{k}"), *v));
        b.finish()
    }
}

fn integers(shape: &[usize], seed: usize) -> Literal {
    let n = shape.iter().product();
    Literal::from_vec(shape, (0..n).map(|i| ((i * 37 + seed * 11) % 17) as i32 - 8).collect()).unwrap()
}

#[test]
fn random_regions_agree() {
    for seed in 0..100 {
        let mut random = Random(seed * 7919 + 1);
        random.below(2);
        let g = random.graph();
        let n = [0, 1, 3, 6][seed as usize % 4];
        let s = seed as usize;
        let args = [integers(&[n, 4], s), integers(&[4], s + 1), integers(&[], s + 2)];
        // Buffers are assigned alike for all; code is made of some.
        agree(&format!("seed {seed}"), &g, &args, seed % 10 == 2);
    }
}

/// `h' = tanh(h W + x)` for a batch that is worth several threads, then as many more steps as data say.
#[test]
fn loops_share_their_kernels_among_threads() {
    let mut b = Builder::new("recurrent");
    let (x, h) = (b.input("x", f32s(&["t", "n", "64"])), b.input("h", f32s(&["n", "64"])));
    let more = b.input("more", TensorType::new(DType::I64, vec![]));
    let step = |b: &mut Builder, h: ValueId, x: ValueId| {
        // Small enough that differences of rounding die out.
        let w: Vec<f32> = (0..64 * 64).map(|i| ((i * 29 % 61) as f32 - 30.0) / 1000.0).collect();
        let w = b.constant("w", Literal::from_vec(&[64, 64], w).unwrap());
        let y = b.add(ops::DotGeneral { batch: vec![], contract: vec![(1, 0)] }, &[h, w]).unwrap();
        let y = b.binary(BinaryOp::Add, y, x).unwrap();
        b.unary(UnaryOp::Tanh, y).unwrap()
    };
    let mut body = b.region("step");
    let (s, e) = (body.input("h", f32s(&["n", "64"])), body.input("x", f32s(&["n", "64"])));
    let next = step(&mut body, s, e);
    body.output("h", next);
    body.output("y", next);
    let of =
        ScanOperands { carried: &[h], xs: &[x], captured: &[], length: Dim::symbol("t"), reverse: false };
    let scanned = b.scan(body.finish(), &of).unwrap();
    let inputs = |b: &mut Builder| {
        let h = b.input("h", f32s(&["n", "64"]));
        let i = b.input("i", TensorType::new(DType::I64, vec![]));
        (h, i)
    };
    let mut cond = b.region("more");
    let (_, i) = inputs(&mut cond);
    let zero = cond.scalar(Scalar::i64(0));
    let positive = cond.compare(CompareOp::Gt, i, zero).unwrap();
    cond.output("more", positive);
    let mut body = b.region("step");
    let (s, i) = inputs(&mut body);
    let next = step(&mut body, s, s);
    let one = body.scalar(Scalar::i64(1));
    let less = body.binary(BinaryOp::Sub, i, one).unwrap();
    body.output("h", next);
    body.output("i", less);
    let looped = b.while_loop(cond.finish(), body.finish(), &[scanned[0], more], &[]).unwrap();
    b.output("last", looped[0]);
    b.output("all", scanned[1]);
    let args = [noise(&[3, 200, 64], 1), noise(&[200, 64], 2), Literal::scalar(2i64)];
    let g = b.finish();
    let work = lower(g.clone(), &Options::default()).unwrap().program.calls[0].work.clone();
    assert!(work.eval_symbols(&|s| Some(if s == "n" { 200 } else { 3 })).unwrap() > 4 * SHARE);
    agree("recurrent", &g, &args, true);
}

/// What a loop hands on unchanged costs no kernel, and results go where they are wanted.
#[test]
fn nothing_is_copied_without_need() {
    let mut b = Builder::new("copies");
    let (x, w) = (b.input("x", f32s(&["n", "8"])), b.input("w", f32s(&["8"])));
    let mut body = b.region("body");
    let (sum, fixed) = (body.input("sum", f32s(&["8"])), body.input("w", f32s(&["8"])));
    let row = body.input("row", f32s(&["8"]));
    let scaled = body.binary(BinaryOp::Mul, row, fixed).unwrap();
    let next = body.binary(BinaryOp::Add, sum, scaled).unwrap();
    body.output("sum", next);
    body.output("w", fixed);
    body.output("y", scaled);
    let zero = b.constant("zero", noise(&[8], 5));
    let of = ScanOperands {
        carried: &[zero, w],
        xs: &[x],
        captured: &[],
        length: Dim::symbol("n"),
        reverse: false,
    };
    let r = b.scan(body.finish(), &of).unwrap();
    let minus = b.unary(UnaryOp::Neg, r[0]).unwrap();
    b.output("minus", minus);
    b.output("ys", r[2]);
    let g = b.finish();
    let lowered = lower(g.clone(), &Options::default()).unwrap();
    let labels: Vec<_> = lowered.program.calls.iter().map(|c| c.label.as_str()).collect();
    assert!(labels.iter().all(|l| !l.starts_with("copy")), "{labels:?}");
    assert!(labels.len() <= 3, "{labels:?}");
    let weights = lowered.weight_bytes();
    let (outputs, _) = interp::run(&lowered.program, &[0], &[vec![], vec![0; 32]], &weights).unwrap();
    assert_eq!(outputs[1], Vec::<u8>::new());
    agree("copies", &g, &[noise(&[5, 8], 1), noise(&[8], 2)], true);
}
