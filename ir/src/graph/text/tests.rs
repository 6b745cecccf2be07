//! Tests of the text form.

use super::super::builder::ScanOperands;
use super::super::ops::*;
use super::super::{Builder, TensorType, ValueId};
use super::*;
use crate::scalar::{BinaryOp, CompareOp, ReduceOp, Scalar, UnaryOp};

fn ty(dtype: DType, shape: &[&str]) -> TensorType {
    TensorType::new(dtype, shape.iter().map(|d| d.parse().unwrap()).collect::<Vec<Dim>>())
}
fn dims(list: &[i64]) -> Vec<Dim> {
    list.iter().map(|&d| Dim::constant(d)).collect()
}

/// Every operator kind, every kind of constant, odd names.
pub(in super::super) fn everything() -> Graph {
    let mut b = Builder::new("every \"thing\"\n");
    b.set_range("n", 1, Some(64));
    b.set_range("odd name", -1, None);
    let x = b.input("x", ty(DType::F32, &["n", "4", "6", "6"]));
    let i = b.input("index", ty(DType::I64, &["'odd name'"]));
    let c = b.input("on", ty(DType::Bool, &["n", "4", "6", "6"]));
    b.set_loc("conv 'a' \\ \u{1}");
    let w = b.constant("w", Literal::from_vec(&[8, 2, 3, 3], (0..144).map(|v| v as f32).collect()).unwrap());
    let pads = vec![(Dim::ONE, Dim::ZERO), (Dim::symbol("n"), Dim::ONE)];
    let conv = Conv { strides: vec![1, 2], pads: pads.clone(), dilations: vec![1; 2], groups: 2 };
    let y = b.add(conv, &[x, w]).unwrap();
    let window = ReduceWindow {
        op: ReduceOp::Max,
        window: vec![2; 2],
        strides: vec![1; 2],
        pads,
        dilations: vec![1; 2],
    };
    let pooled = b.add(window, &[x]).unwrap();
    b.set_loc("net.rs:9");
    let s = b.reduce(ReduceOp::Sum, x, &[2, 3]).unwrap();
    let t = b.permute(s, &[1, 0]).unwrap();
    let d = b.add(DotGeneral { batch: vec![], contract: vec![(1, 0)] }, &[s, t]).unwrap();
    let g = b.add(Gather { axes: vec![0] }, &[s, i]).unwrap();
    let cut = Slice {
        start: vec![Dim::ZERO, Dim::constant(3)],
        size: vec![Dim::symbol("n"), Dim::constant(2)],
        step: vec![1, -1],
    };
    let cut = b.add(cut, &[s]).unwrap();
    let panels = b.add(Pack { perm: vec![1, 0], width: 16 }, &[s]).unwrap();
    b.output("panels", panels);
    let image = b.input("image", TensorType::new(DType::F32, dims(&[2, 5, 7, 3])));
    let tiles = b.add(WinogradInput { tile: 4, lo: vec![1, 0], tiles: dims(&[2, 2]) }, &[image]).unwrap();
    let windows = b.input("windows", TensorType::new(DType::F32, dims(&[8, 3, 3, 3])));
    let windows = b.add(WinogradWeights { tile: 4, width: 8 }, &[windows]).unwrap();
    let sums = DotGeneral { batch: vec![(0, 0)], contract: vec![(4, 2)] };
    let sums = b.add(sums, &[tiles, windows]).unwrap();
    let sums = b.reshape(sums, dims(&[36, 2, 2, 2, 8])).unwrap();
    let image = b.add(WinogradOutput { tile: 4, size: dims(&[6, 5]) }, &[sums]).unwrap();
    b.output("image", image);
    let nan = b.scalar(Scalar::new(DType::F32, 0x7fc0_0001));
    let padded = b.add(Pad { lo: dims(&[0, 1]), hi: dims(&[2, 0]) }, &[s, nan]).unwrap();
    let joined = b.add(Concat { axis: 1 }, &[s, cut]).unwrap();
    let bits = b.add(Bitcast(DType::I32), &[joined]).unwrap();
    let half = b.cast(joined, DType::F16).unwrap();
    let neg = b.unary(UnaryOp::Neg, x).unwrap();
    let chosen = b.select(c, x, neg).unwrap();
    let less = b.compare(CompareOp::Lt, chosen, neg).unwrap();
    let flat = b.reshape(x, vec![Dim::symbol("n") * 144]).unwrap();
    let iota = b.add(Iota { dtype: DType::F32, shape: vec![Dim::symbol("n") * 144], axis: 0 }, &[]).unwrap();
    let sum = b.binary(BinaryOp::Add, flat, iota).unwrap();
    let three = b.scalar_f64(DType::F32, 3.0);
    let sum = b.binary(BinaryOp::Mul, sum, three).unwrap();
    let n =
        b.dims(vec![Dim::symbol("n").floor_div(&Dim::constant(2)), Dim::symbol("odd name")], false).unwrap();
    let one = b.dims(vec![Dim::symbol("n")], true).unwrap();
    let regions = regions(&mut b, x);
    let running = b.cumsum(s, 1, true, true).unwrap();
    let (sorted, places) = b.sort(s, 1, true, Dim::ONE).unwrap();
    let added = b.scatter_elements(Update::Add, 1, s, sorted, places).unwrap();
    let list = [
        Literal::from_vec(&[3], vec![0.1f32, -0.0, f32::NEG_INFINITY]).unwrap(),
        Literal::from_vec(&[2], vec![u64::MAX, 1]).unwrap(),
        Literal::from_vec(&[2], vec![i64::MIN, i64::MAX]).unwrap(),
        Literal::from_vec(&[2], vec![half::f16::from_f32(0.1), half::f16::NAN]).unwrap(),
        Literal::from_bools(&[2], &[true, false]).unwrap(),
        Literal::from_vec(&[100], vec![-7i8; 100]).unwrap(),
        Literal::from_vec(&[0, 3], Vec::<f64>::new()).unwrap(),
        Literal::from_vec(&[1], vec![1e300f64]).unwrap(),
    ];
    for (k, l) in list.into_iter().enumerate() {
        let v = b.constant(&format!("k{k}"), l);
        b.output(&format!("k{k}"), v);
    }
    regions.iter().enumerate().for_each(|(k, &v)| b.output(&format!("region{k}"), v));
    let outputs = [y, pooled, d, g, padded, bits, half, less, sum, n, one, running, added];
    outputs.iter().enumerate().for_each(|(k, &v)| b.output(&format!("out{k}"), v));
    b.finish()
}

/// A conditional within a loop within a scan over `x`, with large constants inside.
fn regions(b: &mut Builder, x: ValueId) -> Vec<ValueId> {
    let inner = ty(DType::F32, &["4", "6", "6"]);
    let weight = |seed: f32| Literal::from_vec(&[36], (0..36).map(|v| v as f32 * seed).collect()).unwrap();
    let mut body = b.region("scan body");
    let (sum, row) = (body.input("sum", inner.clone()), body.input("row", inner.clone()));
    let bits = TensorType::new(DType::Bool, vec![]);
    let mut cond = body.region("go on");
    cond.input("sum", inner.clone());
    let no = cond.scalar(Scalar::bool(false));
    cond.output("no", no);
    let mut again = body.region("again");
    let s = again.input("sum", inner.clone());
    let branch = |b: &Builder, name: &str, seed| {
        let mut r = b.region(name);
        let s = r.input("s", inner.clone());
        r.set_loc("branch.rs:1");
        let w = r.constant("w", weight(seed));
        let w = r.reshape(w, dims(&[6, 6])).unwrap();
        let s = r.binary(BinaryOp::Mul, s, w).unwrap();
        r.output("s", s);
        r.finish()
    };
    let (then, otherwise) = (branch(&again, "then", 0.5), branch(&again, "else", 0.25));
    let pred = again.scalar(Scalar::bool(true));
    assert_eq!(again.ty(pred), &bits);
    let s = again.cond(pred, then, otherwise, &[s]).unwrap()[0];
    again.output("s", s);
    let looped = body.while_loop(cond.finish(), again.finish(), &[sum], &[]).unwrap()[0];
    let next = body.binary(BinaryOp::Add, looped, row).unwrap();
    body.output("next", next);
    body.output("y", looped);
    let zero = b.scalar_f64(DType::F32, 0.0);
    let zero = b.broadcast_to(zero, &inner.shape).unwrap();
    let of =
        ScanOperands { carried: &[zero], xs: &[x], captured: &[], length: Dim::symbol("n"), reverse: true };
    b.scan(body.finish(), &of).unwrap()
}

fn assert_same(a: &Graph, b: &Graph) {
    assert_eq!((&a.name, &a.inputs, &a.outputs, &a.consts), (&b.name, &b.inputs, &b.outputs, &b.consts));
    assert_eq!(a.symbols, b.symbols);
    a.symbols.iter().for_each(|s| assert_eq!(a.ranges.symbol(s), b.ranges.symbol(s)));
    assert_eq!(a.regions.len(), b.regions.len());
    a.regions.iter().zip(&b.regions).for_each(|(a, b)| assert_same(a, b));
    assert_eq!(a.nodes.len(), b.nodes.len());
    for (k, (x, y)) in a.nodes.iter().zip(&b.nodes).enumerate() {
        assert_eq!((&x.op, &x.inputs, &x.ty, &x.sym), (&y.op, &y.inputs, &y.ty, &y.sym), "%{k}");
        assert_eq!(a.loc_text(x.loc), b.loc_text(y.loc));
    }
    assert_eq!(a.guards.len(), b.guards.len());
    for (x, y) in a.guards.iter().zip(&b.guards) {
        assert_eq!((x.kind, &x.lhs, &x.rhs, &x.what), (y.kind, &y.lhs, &y.rhs, &y.what));
        assert_eq!(a.loc_text(x.loc), b.loc_text(y.loc));
    }
}

#[test]
fn every_operator_is_read_back_as_printed() {
    let g = everything();
    let mut kinds = std::collections::HashSet::new();
    let mut graphs = vec![&g];
    while let Some(g) = graphs.pop() {
        kinds.extend(g.nodes.iter().map(|n| n.op.kind()));
        graphs.extend(&g.regions);
    }
    assert_eq!(kinds.len(), TABLE.len(), "the sample must use every operator");
    let text = print(&g, true);
    let back = parse(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
    assert_same(&g, &back);
    assert_eq!(print(&back, true), text);
}

#[test]
fn a_small_graph_reads_well() {
    let mut b = Builder::new("mlp");
    b.set_range("n", 1, Some(8));
    let x = b.input("x", ty(DType::F32, &["n", "2"]));
    b.set_loc("net.rs:7");
    let w = b.constant("w", Literal::from_vec(&[2], vec![0.5f32, 1.0]).unwrap());
    let y = b.binary(BinaryOp::Mul, x, w).unwrap();
    b.output("y", y);
    let want = r#"graph "mlp" {
  symbol n in 1..8
  c0: f32[2] "w" = [0.5, 1.0]
  %0: f32[n, 2] = input "x"
  %1: f32[2] = const c0 loc("net.rs:7")
  %2: f32[n, 2] = broadcast %1 shape [n, 2] axes [1] loc("net.rs:7")
  %3: f32[n, 2] = mul %0, %2 loc("net.rs:7")
  output "y" %3
}
"#;
    assert_eq!(b.finish().to_string(), want);
    let spaced = want.replace(" = mul", " ; a comment\n\n  = mul");
    assert_eq!(parse(&spaced).unwrap().to_string(), want);
}

/// The error of a text with one part replaced, or of the text itself.
fn error(part: &str, by: &str) -> String {
    let text = print(&everything(), true);
    assert!(text.contains(part), "{part}");
    parse(&text.replacen(part, by, 1)).unwrap_err().to_string()
}

#[test]
fn errors_name_place_and_reason() {
    for (part, by, want) in [
        ("graph", "grap", "line 1, column 1: expected `graph`, found `grap`"),
        ("by max", "by most", "`most` is no reduction"),
        ("= neg", "= negate", "unknown operator `negate`"),
        ("%0: f32[n, ", "%0: f33[n, ", "unknown dtype `f33`"),
        ("%0: f32[n, ", "%1: f32[n, ", "values are numbered in order: expected `%0`"),
        ("permute %", "permute %9", "is used before it is defined"),
        ("groups 2", "groups 3", "conv"),
        ("perm [1, 0]", "perm [1, 0", "expected `,` or `]`"),
        ("perm [1, 0]", "perm [1, -1]", "`-1` is no axis number"),
        ("[n, 4, 6, 6]", "[n, 4*, 6, 6]", "expected a number, name or `(`"),
        ("-7", "200", "`200` is no i8 element"),
        ("output \"k0\"", "output \"k1\"", "not unique among the outputs"),
        ("input \"x\"", "input \"x", "closing quote"),
        ("symbol n in", "symbol n+1 in", "is no symbol"),
        ("const c0", "const c99", "`c99` is no constant declared above"),
        ("\ndata c0", "\ndata c1", "is not the next constant without data"),
        ("data r0 r1 r0 c0", "data r0 r1 r1 c0", "`r0 r1 r1 c0` is not the next constant"),
        ("region r1", "region r2", "expected `r1`: regions are numbered in order"),
        ("then r0", "then r7", "`r7` is no region declared above"),
        ("symbol n\n", "symbol k\n", "the symbol `k` of a region"),
        ("result 1", "result 2", "there is no result 2; the scan has 2"),
        ("length [n]", "length [n, n]", "a scan has one length"),
        ("carried 1 xs 1", "carried 2 xs 1", "1 operands are walked, but there are only 0"),
    ] {
        let got = error(part, by);
        assert!(got.contains(want), "{part} -> {by}: {got}");
    }
}

#[test]
fn missing_and_changed_data_are_errors() {
    let g = everything();
    let e = parse(&print(&g, false)).unwrap_err();
    assert!(e.what.contains("has no data"), "{e}");
    let text = print(&g, true);
    let at = text.rfind("data c").unwrap();
    let digit = text[at..].find("00").unwrap() + at;
    let changed = format!("{}1{}", &text[..digit], &text[digit + 1..]);
    assert!(parse(&changed).unwrap_err().what.contains("hash"));
    let short = &text[..text.len() - 3];
    assert!(parse(short).unwrap_err().what.contains("bytes"), "{:?}", parse(short));
}

#[test]
fn damaged_texts_give_errors_and_no_panics() {
    let text = print(&everything(), true);
    let marks = ['%', '9', '[', ']', '"', '-', 'x', '(', '\'', '\u{e9}', ';', '\\'];
    let (mut state, mut refused) = (7u64, 0);
    for _ in 0..600 {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let mut chars: Vec<char> = text.chars().collect();
        let at = (state >> 33) as usize % chars.len();
        match state >> 60 {
            0..5 => chars.truncate(at),
            5..10 => drop(chars.remove(at)),
            _ => chars[at] = marks[(state >> 40) as usize % marks.len()],
        }
        let damaged: String = chars.into_iter().collect();
        refused += usize::from(parse(&damaged).is_err());
    }
    assert!(refused > 300, "{refused}");
}

#[test]
fn a_huge_splat_is_refused() {
    let text =
        "graph \"g\" { c0: f64[1000000, 1000000] \"\" = splat 0.0 %0: f64[1000000, 1000000] = const c0 }";
    assert!(parse(text).unwrap_err().what.contains("splat"));
    // Each alone would do.
    let two = "graph \"g\" { c0: u8[2] \"\" = splat 7 c1: u8[1073741823] \"\" = splat 7 }";
    assert!(parse(two).unwrap_err().what.contains("splat"));
    assert_eq!(ValueId(0).to_string(), "%0");
}
