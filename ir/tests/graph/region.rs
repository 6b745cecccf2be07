//! Control flow: types, evaluation, and what the verifier holds regions to.

use super::*;
use fornax_ir::graph::builder::ScanOperands;
use fornax_ir::graph::ops::{Cond, Op, Proj};
use fornax_ir::graph::verify::verify;
use fornax_ir::graph::{RegionId, text};
use fornax_ir::scalar::{BinaryOp, CompareOp, Scalar, UnaryOp};

/// A region over inputs of those types.
fn region(
    of: &Builder,
    inputs: &[&str],
    build: impl FnOnce(&mut Builder, &[ValueId]) -> Vec<ValueId>,
) -> Graph {
    let mut b = of.region("region");
    let inputs: Vec<_> = inputs.iter().enumerate().map(|(k, t)| b.input(&format!("i{k}"), ty(t))).collect();
    let outputs = build(&mut b, &inputs);
    outputs.iter().enumerate().for_each(|(k, &v)| b.output(&format!("o{k}"), v));
    b.finish()
}

fn binary(b: &mut Builder, op: BinaryOp, x: ValueId, y: ValueId) -> ValueId {
    b.binary(op, x, y).unwrap()
}

/// Verifies, goes through text, and runs.
fn run(b: Builder, args: &[Literal]) -> Vec<Literal> {
    let g = b.finish();
    verify(&g).unwrap();
    let text = text::print(&g, true);
    let back = text::parse(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
    assert_eq!(text::print(&back, true), text);
    let outputs = graph_interp::run(&g, args).unwrap().outputs;
    assert_eq!(graph_interp::run(&back, args).unwrap().outputs, outputs);
    outputs
}

fn one_of_two(b: &mut Builder) -> Vec<ValueId> {
    let (p, x, y) = (b.input("p", ty("bool")), b.input("x", ty("f32 n")), b.input("y", ty("f32 n")));
    let sum = region(b, &["f32 n", "f32 n"], |b, v| {
        let s = binary(b, BinaryOp::Add, v[0], v[1]);
        vec![s, v[0]]
    });
    let product = region(b, &["f32 n", "f32 n"], |b, v| {
        let p = binary(b, BinaryOp::Mul, v[0], v[1]);
        vec![p, v[1]]
    });
    b.cond(p, sum, product, &[x, y]).unwrap()
}

#[test]
fn a_conditional_runs_one_of_its_regions() {
    for (p, want) in [(true, [[5f32, 9.], [2., 3.]]), (false, [[6., 18.], [3., 6.]])] {
        let mut b = Builder::new("cond");
        let r = one_of_two(&mut b);
        r.iter().enumerate().for_each(|(k, &v)| b.output(&format!("y{k}"), v));
        let args = [Literal::from_bools(&[], &[p]).unwrap(), lit(&[2], &[2f32, 3.]), lit(&[2], &[3f32, 6.])];
        let got: Vec<_> = run(b, &args).iter().map(f32s).collect();
        assert_eq!(got, want);
    }
}

/// Halves until at most 1, and counts: `x` carried, the limit captured.
fn halving() -> Builder {
    let mut b = Builder::new("while");
    let (x, limit) = (b.input("x", ty("f32")), b.input("limit", ty("f32")));
    let n = b.scalar(Scalar::i64(0));
    let cond = region(&b, &["f32", "i64", "f32"], |b, v| vec![b.compare(CompareOp::Gt, v[0], v[2]).unwrap()]);
    let body = region(&b, &["f32", "i64", "f32"], |b, v| {
        let (half, one) = (b.scalar_f64(DType::F32, 0.5), b.scalar(Scalar::i64(1)));
        vec![binary(b, BinaryOp::Mul, v[0], half), binary(b, BinaryOp::Add, v[1], one)]
    });
    let r = b.while_loop(cond, body, &[x, n], &[limit]).unwrap();
    b.output("x", r[0]);
    b.output("n", r[1]);
    b
}

#[test]
fn a_loop_runs_while_its_condition_holds() {
    for (x, want, trips) in [(20f32, 0.625f32, 5), (1.0, 1.0, 0), (f32::NAN, f32::NAN, 0)] {
        let got = run(halving(), &[Literal::scalar(x), Literal::scalar(1f32)]);
        assert_eq!(got[0].get_f64(0).to_bits(), f64::from(want).to_bits());
        assert_eq!(i64s(&got[1]), [trips]);
    }
}

fn running_sum(reverse: bool) -> Builder {
    let mut b = Builder::new("scan");
    let (x, scale) = (b.input("x", ty("f32 n 2")), b.input("scale", ty("f32 2")));
    let zero = b.scalar_f64(DType::F32, 0.0);
    let zero = b.broadcast_to(zero, &dims("2")).unwrap();
    let body = region(&b, &["f32 2", "f32 2", "f32 2"], |b, v| {
        let scaled = binary(b, BinaryOp::Mul, v[1], v[2]);
        let sum = binary(b, BinaryOp::Add, v[0], scaled);
        let shown = b.reshape(sum, dims("2 1")).unwrap();
        vec![sum, shown]
    });
    let of = ScanOperands { carried: &[zero], xs: &[x], captured: &[scale], length: dim("n"), reverse };
    let r = b.scan(body, &of).unwrap();
    assert_eq!([b.ty(r[0]), b.ty(r[1])], [&ty("f32 2"), &ty("f32 n 2 1")]);
    b.output("last", r[0]);
    b.output("sums", r[1]);
    b
}

#[test]
fn a_scan_walks_the_leading_axis_either_way() {
    let args = |n: usize| [filled(&[n, 2], |i| i as f32), lit(&[2], &[1f32, 10.])];
    for (n, reverse, last, sums) in [
        (3, false, [6f32, 90.], vec![0f32, 10., 2., 40., 6., 90.]),
        (3, true, [6., 90.], vec![6., 90., 6., 80., 4., 50.]),
        (0, false, [0., 0.], vec![]),
    ] {
        let got = run(running_sum(reverse), &args(n));
        assert_eq!(got[1].shape(), [n, 2, 1]);
        assert_eq!((f32s(&got[0]), f32s(&got[1])), (last.to_vec(), sums));
    }
}

#[test]
fn regions_nest_and_report_indices() {
    let mut b = Builder::new("nested");
    let (table, ids) = (b.input("table", ty("f32 4")), b.input("ids", ty("i64 n")));
    let body = region(&b, &["i64", "f32 4"], |b, v| {
        let zero = b.scalar(Scalar::i64(0));
        let pred = b.compare(CompareOp::Lt, v[0], zero).unwrap();
        let then = region(b, &["i64", "f32 4"], |b, _| vec![b.scalar_f64(DType::F32, -1.0)]);
        let otherwise = region(b, &["i64", "f32 4"], |b, v| {
            vec![b.add(fornax_ir::graph::ops::Gather { axes: vec![0] }, &[v[1], v[0]]).unwrap()]
        });
        b.cond(pred, then, otherwise, v).unwrap()
    });
    let of = ScanOperands { carried: &[], xs: &[ids], captured: &[table], length: dim("n"), reverse: false };
    let y = b.scan(body, &of).unwrap()[0];
    b.output("y", y);
    let g = b.finish();
    verify(&g).unwrap();
    let table = lit(&[4], &[10f32, 11., 12., 13.]);
    let outcome = graph_interp::run(&g, &[table.clone(), lit(&[3], &[2i64, -5, 0])]).unwrap();
    assert_eq!(f32s(&outcome.outputs[0]), [12., -1., 10.]);
    assert_eq!(outcome.index_error, None);
    let outcome = graph_interp::run(&g, &[table.clone(), lit(&[2], &[9i64, 1])]).unwrap();
    assert_eq!(f32s(&outcome.outputs[0]), [0., 11.]);
    assert!(outcome.index_error.is_some());
    let all = graph_interp::run_all(&g, &[table, lit(&[1], &[3i64])]).unwrap();
    assert_eq!(all.len(), g.nodes.len());
    assert_eq!(f32s(&all[g.outputs[0].value.index()]), [13.]);
}

#[test]
fn conditions_of_a_region_count_even_if_it_does_not_run() {
    let mut b = Builder::new("guarded");
    let p = b.input("p", ty("bool"));
    let (x, y) = (b.input("x", ty("f32 n")), b.input("y", ty("f32 m")));
    let add = region(&b, &["f32 n", "f32 m"], |b, v| vec![binary(b, BinaryOp::Add, v[0], v[1])]);
    assert!(!add.guards.is_empty());
    let same = region(&b, &["f32 n", "f32 m"], |b, v| vec![b.unary(UnaryOp::Neg, v[0]).unwrap()]);
    let r = b.cond(p, add, same, &[x, y]).unwrap()[0];
    b.output("r", r);
    let g = b.finish();
    verify(&g).unwrap();
    let args =
        |m: usize| [Literal::from_bools(&[], &[false]).unwrap(), filled(&[2], |_| 1.), filled(&[m], |_| 1.)];
    assert_eq!(f32s(&graph_interp::run(&g, &args(2)).unwrap().outputs[0]), [-1., -1.]);
    let e = graph_interp::run(&g, &args(3)).unwrap_err().to_string();
    assert!(e.contains("n = 2 is not m = 3"), "{e}");
}

#[test]
fn operators_that_do_not_fit_their_regions_are_refused() {
    let refused = |build: &dyn Fn(&mut Builder, ValueId, ValueId) -> Result<(), String>, want: &str| {
        let mut b = Builder::new("g");
        let (x, p) = (b.input("x", ty("f32 n")), b.input("p", ty("bool")));
        let got = build(&mut b, x, p).unwrap_err();
        assert!(got.contains(want), "{got}\nwanted: {want}");
        assert!(b.graph().regions.is_empty());
    };
    let id = |b: &Builder, t: &str| region(b, &[t], |_, v| v.to_vec());
    let fail = |r: Result<Vec<ValueId>, fornax_ir::graph::GraphError>| match r {
        Ok(_) => Ok(()),
        Err(e) => Err(e.to_string()),
    };
    refused(
        &|b, x, _| fail(b.cond(x, id(b, "f32 n"), id(b, "f32 n"), &[x])),
        "the predicate must be bool[], but is f32[n]",
    );
    refused(
        &|b, x, p| fail(b.cond(p, id(b, "f32 n"), id(b, "f32 n"), &[x, x])),
        "inputs of `then` must be 2 values, not 1",
    );
    refused(
        &|b, x, p| {
            let other = region(b, &["f32 n"], |b, v| vec![b.cast(v[0], DType::F64).unwrap()]);
            fail(b.cond(p, id(b, "f32 n"), other, &[x]))
        },
        "outputs of `otherwise` number 0 must be f32[n], but is f64[n]",
    );
    refused(
        &|b, x, _| fail(b.while_loop(id(b, "f32 n"), id(b, "f32 n"), &[x], &[])),
        "outputs of `cond` number 0 must be bool[]",
    );
    let scan = |b: &mut Builder, body, xs: &[ValueId], length: &str| {
        let of = ScanOperands { carried: &[], xs, captured: &[], length: dim(length), reverse: false };
        fail(b.scan(body, &of))
    };
    refused(&|b, x, _| scan(b, id(b, "f32 n"), &[x], "n"), "inputs of `body` number 0 must be f32[], but");
    refused(&|b, x, _| scan(b, id(b, "f32"), &[x], "n+1"), "the length: n is not n+1");
    refused(&|b, _, p| scan(b, id(b, "bool"), &[p], "n"), "has no axis: bool[]");
}

#[test]
fn each_broken_rule_about_regions_is_named() {
    let sample = || {
        let mut b = Builder::new("g");
        let r = one_of_two(&mut b);
        b.output("y", r[0]);
        let mut g = b.finish();
        g.ranges.set_symbol("n", 1, Some(9));
        g.regions.iter_mut().for_each(|r| r.ranges.set_symbol("n", 1, Some(9)));
        verify(&g).unwrap();
        g
    };
    let token = |g: &Graph| ValueId(g.nodes.iter().position(|n| n.op.has_regions()).unwrap() as u32);
    type Change<'a> = &'a dyn Fn(&mut Graph);
    let cases: [(Change<'_>, &str); 8] = [
        (&|g| g.regions.truncate(1), "there is no region r1; the graph has 1"),
        (&|g| g.regions[1].symbols.clear(), "region r1: the symbol `n` of a region"),
        (&|g| g.regions[1].symbols.push("n".into()), "region r1: the symbol `n` of a region"),
        (&|g| g.regions[0].ranges.set_symbol("n", 0, None), "region r0: the symbol `n` of a region"),
        (&|g| g.regions[0].nodes[2].inputs[0] = ValueId(7), "region r0: node %2: operand %7 does not"),
        (&|g| g.outputs[0].value = token(g), "is no tensor, but has results"),
        (
            &|g| {
                let t = token(g);
                let last = g.nodes.len() - 1;
                g.nodes[last].op = Op::from(fornax_ir::graph::ops::Unary(UnaryOp::Not));
                g.nodes[last].inputs[0] = t;
            },
            "is no tensor, but has results",
        ),
        (
            &|g| {
                let last = g.nodes.len() - 1;
                g.nodes[last].op = Op::from(Proj(5));
            },
            "there is no result 5; the cond has 2",
        ),
    ];
    for (change, want) in cases {
        let mut g = sample();
        change(&mut g);
        let got = verify(&g).unwrap_err().to_string();
        assert!(got.contains(want), "{got}\nwanted: {want}");
    }
    let op: Op = Cond { then: RegionId(0), otherwise: RegionId(1) }.into();
    assert_eq!(op.results(&sample().regions).len(), 2);
}

#[test]
fn too_deep_nesting_is_an_error_and_no_overflow() {
    let deep = |n: usize| {
        let open: String = (0..n).map(|_| "region r0 \"\" {\n").collect();
        let close: String = (0..n).map(|_| "}\n").collect();
        text::parse(&format!("graph \"\" {{\n{open}{close}}}\n"))
    };
    assert!(deep(32).is_ok());
    assert!(deep(100_000).unwrap_err().what.contains("nested more than 32 deep"));
    let mut g = Graph { locs: vec![Default::default()], ..Graph::default() };
    for _ in 0..33 {
        g = Graph { regions: vec![g], locs: vec![Default::default()], ..Graph::default() };
    }
    assert!(verify(&g).unwrap_err().to_string().contains("nested more than 32 deep"));
}
