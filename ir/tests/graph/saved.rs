//! The two forms of saved graphs: everything comes back, and files of every version stay readable.

use super::{dim, filled, lit, ty};
use bytes::Bytes;
use fornax_ir::graph::builder::ScanOperands;
use fornax_ir::graph::ops::{Bitcast, Conv, Gather, Pad, Reduce, ReduceWindow, Slice};
use fornax_ir::graph::saved::{Weights, decode, write};
use fornax_ir::graph::{Builder, Graph, difference, text};
use fornax_ir::scalar::{BinaryOp, CompareOp, ReduceOp, Scalar, UnaryOp};
use fornax_ir::{DType, Dim};
use std::path::{Path, PathBuf};

fn saved(g: &Graph) -> Vec<u8> {
    let mut bytes = vec![];
    write(g, &Weights::Inside, &mut bytes).expect("a built graph can be saved");
    bytes
}

fn loaded(bytes: Vec<u8>) -> Graph {
    let none = &mut |_: &_| Err("no other file is needed".into());
    decode(Bytes::from(bytes), none).expect("a saved graph can be read")
}

/// Holds where a graph comes back from both forms, with the same text.
pub fn assert_round_trips(g: &Graph) {
    let want = text::print(g, true);
    let from_text = text::parse(&want).unwrap_or_else(|e| panic!("{e}\n{want}"));
    for (form, back) in [("text", from_text), ("binary", loaded(saved(g)))] {
        assert_eq!(difference(g, &back, true), None, "{form}\n{want}");
        assert_eq!(text::print(&back, true), want, "{form}");
    }
}

/// A layer with its activation.
fn layer() -> Graph {
    let mut b = Builder::new("layer");
    b.set_range("n", 1, Some(64));
    let x = b.input("x", ty("f32 n 3"));
    b.set_loc("layer.rs:7");
    let w = b.constant("weight", filled(&[3, 8], |i| i as f32 * 0.25 - 1.0));
    let bias = b.constant("bias", filled(&[8], |i| i as f32));
    let y = b.matmul(x, w).unwrap();
    let y = b.binary(BinaryOp::Add, y, bias).unwrap();
    b.set_loc("layer.rs:9");
    let zero = b.scalar_f64(DType::F32, 0.0);
    let y = b.binary(BinaryOp::Max, y, zero).unwrap();
    b.output("y", y);
    b.finish()
}

/// Every kind of extent, guards, and every dtype.
fn extents() -> Graph {
    let mut b = Builder::new("extents");
    b.set_range("odd-name", -1, None);
    let x = b.input("x", ty("f64 n m"));
    let y = b.input("y", ty("f64 max(n,min(3*m-1,'odd-name')) floordiv(n*m+1,2)"));
    let square = b.input("square", ty("f64 k k"));
    let dims = ["n*m-floordiv(n,3)", "min(n,m,4)", "max(n*n,7)", "'odd-name'"].map(dim).to_vec();
    let d = b.dims(dims, false).unwrap();
    let cut = Slice { start: vec![dim("n-1"), dim("0")], size: vec![dim("1"), dim("2")], step: vec![-1, 1] };
    b.set_loc("cut");
    let cut = b.add(cut, &[x]).unwrap();
    let sum = b.binary(BinaryOp::Add, x, square).unwrap();
    for (name, v) in [("dims", d), ("cut", cut), ("sum", sum), ("y", y)] {
        b.output(name, v);
    }
    for row in fornax_ir::dtype::DTYPES.iter() {
        let v = b.scalar(Scalar::from_f64(row.dtype, 1.0));
        let v = b.reshape(v, vec![Dim::ONE]).unwrap();
        b.output(row.name, v);
    }
    b.finish()
}

/// Windows, views and comparisons.
fn image() -> Graph {
    let mut b = Builder::new("image");
    let x = b.input("x", ty("f32 1 2 6 6"));
    let w = b.constant("w", filled(&[4, 1, 3, 3], |i| i as f32 / 7.0));
    let pads = vec![(dim("1"), dim("1")), (dim("0"), dim("1"))];
    let conv = Conv { strides: vec![1, 2], pads: pads.clone(), dilations: vec![1, 1], groups: 2 };
    let y = b.add(conv, &[x, w]).unwrap();
    let window = ReduceWindow {
        op: ReduceOp::Max,
        window: vec![2, 2],
        strides: vec![2, 2],
        pads,
        dilations: vec![1, 1],
    };
    let y = b.add(window, &[y]).unwrap();
    let edge = b.scalar_f64(DType::F32, -1.0);
    let around = |n: &str| [n, "0", "0", n].map(dim).to_vec();
    let y = b.add(Pad { lo: around("0"), hi: around("1") }, &[y, edge]).unwrap();
    let y = b.permute(y, &[0, 2, 3, 1]).unwrap();
    let most = b.add(Reduce { op: ReduceOp::Max, axes: vec![3] }, &[y]).unwrap();
    let index = b.constant("index", lit(&[2], &[0i64, -1]));
    let picked = b.add(Gather { axes: vec![1] }, &[y, index]).unwrap();
    let less = b.compare(CompareOp::Lt, picked, edge).unwrap();
    let chosen = b.select(less, edge, picked).unwrap();
    let bits = b.add(Bitcast(DType::I32), &[chosen]).unwrap();
    let small = b.cast(chosen, DType::I8).unwrap();
    let both = b.softmax(most, 1).unwrap();
    for (name, v) in [("bits", bits), ("small", small), ("both", both)] {
        b.output(name, v);
    }
    b.finish()
}

/// A scan whose body loops and branches.
fn control() -> Graph {
    let mut b = Builder::new("control");
    b.set_range("t", 1, None);
    let xs = b.input("xs", ty("f32 t 4"));
    let mut body = b.region("step");
    let (sum, x) = (body.input("sum", ty("f32 4")), body.input("x", ty("f32 4")));
    let branch = |name: &str, op| {
        let mut r = body.region(name);
        let x = r.input("x", ty("f32 4"));
        r.set_loc("control.rs:3");
        let y = r.unary(op, x).unwrap();
        r.output("y", y);
        r.finish()
    };
    let (then, otherwise) = (branch("then", UnaryOp::Neg), branch("otherwise", UnaryOp::Tanh));
    let most = body.reduce(ReduceOp::Max, x, &[0]).unwrap();
    let one = body.scalar_f64(DType::F32, 1.0);
    let pred = body.compare(CompareOp::Gt, most, one).unwrap();
    let y = body.cond(pred, then, otherwise, &[x]).unwrap()[0];
    let sum = body.binary(BinaryOp::Add, sum, y).unwrap();
    body.output("sum", sum);
    body.output("y", y);
    let zeros = b.constant("start", filled(&[4], |_| 0.0));
    let length = Dim::symbol("t");
    let of = ScanOperands { carried: &[zeros], xs: &[xs], captured: &[], length, reverse: false };
    let scanned = b.scan(body.finish(), &of).unwrap();
    let mut cond = b.region("go on");
    let i = cond.input("i", ty("i64"));
    let ten = cond.scalar(Scalar::from_i64(DType::I64, 10));
    let more = cond.compare(CompareOp::Lt, i, ten).unwrap();
    cond.output("more", more);
    let mut next = b.region("next");
    let i = next.input("i", ty("i64"));
    let three = next.scalar(Scalar::from_i64(DType::I64, 3));
    let i = next.binary(BinaryOp::Add, i, three).unwrap();
    next.output("i", i);
    let zero = b.scalar(Scalar::from_i64(DType::I64, 0));
    let i = b.while_loop(cond.finish(), next.finish(), &[zero], &[]).unwrap()[0];
    for (name, v) in [("sum", scanned[0]), ("ys", scanned[1]), ("i", i)] {
        b.output(name, v);
    }
    b.finish()
}

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/graph/golden")
}

#[test]
fn graphs_of_every_kind_come_back() {
    for g in [layer(), extents(), image(), control()] {
        assert_round_trips(&g);
    }
}

/// Files that were written once are read for ever, as the graphs whose texts stand beside them. With
/// `FORNAX_BLESS=1` missing files are added and texts rewritten; a `.fnxb` file that is there never changes.
#[test]
fn golden_files_are_read() {
    let blessing = std::env::var_os("FORNAX_BLESS").is_some_and(|v| v == "1");
    for g in [layer(), extents(), image(), control()].iter().filter(|_| blessing) {
        let path = golden().join(format!("{}.v1.fnxb", g.name));
        if !path.exists() {
            std::fs::write(&path, saved(g)).unwrap();
        }
    }
    let mut files: Vec<PathBuf> = std::fs::read_dir(golden()).unwrap().map(|e| e.unwrap().path()).collect();
    files.retain(|f| f.extension().is_some_and(|e| e == "fnxb"));
    assert!(files.len() >= 4, "{files:?}");
    for file in files {
        let got = loaded(std::fs::read(&file).unwrap());
        let beside = file.with_extension("fnx");
        if blessing {
            std::fs::write(&beside, text::print(&got, true)).unwrap();
        }
        let want = text::parse(&std::fs::read_to_string(&beside).unwrap()).unwrap();
        assert_eq!(difference(&got, &want, true), None, "{}", file.display());
    }
}
