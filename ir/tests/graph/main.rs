//! The graph language: inference, symbolic values, reference semantics, interpreter, composites.

mod composite;
mod contraction;
mod elementwise;
mod infer;
mod interp;
mod region;
mod saved;
mod symbolic;
mod view;
mod vjp;

use fornax_ir::graph::{Builder, Graph, OpError, TensorType, ValueId, interp as graph_interp};
use fornax_ir::literal::Element;
use fornax_ir::{DType, Dim, Literal};

/// A dim from its text.
fn dim(text: &str) -> Dim {
    text.parse().expect("a dimension")
}

/// Dims from their texts, separated by blanks.
fn dims(text: &str) -> Vec<Dim> {
    text.split_whitespace().map(dim).collect()
}

/// `f32 n 3`: dtype and extents.
fn ty(text: &str) -> TensorType {
    let (dtype, shape) = text.split_once(' ').unwrap_or((text, ""));
    TensorType::new(dtype.parse::<DType>().expect("a dtype"), dims(shape))
}

/// An array.
fn lit<T: Element>(shape: &[usize], data: &[T]) -> Literal {
    Literal::from_vec(shape, data.to_vec()).expect("sizes agree")
}

/// An f32 array of `f(0), f(1), ..`.
fn filled(shape: &[usize], f: impl Fn(usize) -> f32) -> Literal {
    lit(shape, &(0..shape.iter().product()).map(f).collect::<Vec<f32>>())
}

/// The type of an array.
fn type_of(l: &Literal) -> TensorType {
    TensorType::new(l.dtype(), l.shape().iter().map(|&n| Dim::from(n)).collect::<Vec<_>>())
}

/// A graph of one output over inputs of those types. Each valid one comes back from its saved forms.
fn graph(
    inputs: &[TensorType],
    build: impl FnOnce(&mut Builder, &[ValueId]) -> Result<ValueId, fornax_ir::graph::GraphError>,
) -> Result<Graph, OpError> {
    let mut b = Builder::new("test");
    let values: Vec<ValueId> =
        inputs.iter().enumerate().map(|(i, t)| b.input(&format!("x{i}"), t.clone())).collect();
    let y = build(&mut b, &values).map_err(|e| e.source)?;
    b.output("y", y);
    let g = b.finish();
    if fornax_ir::graph::verify::verify(&g).is_ok() {
        saved::assert_round_trips(&g);
    }
    Ok(g)
}

/// What a graph over these arguments gives.
fn eval(
    args: &[Literal],
    build: impl FnOnce(&mut Builder, &[ValueId]) -> Result<ValueId, fornax_ir::graph::GraphError>,
) -> Literal {
    let types: Vec<_> = args.iter().map(type_of).collect();
    let g = graph(&types, build).expect("the graph builds");
    graph_interp::run(&g, args).expect("the graph runs").outputs.remove(0)
}

fn f32s(l: &Literal) -> Vec<f32> {
    l.to_slice::<f32>().expect("f32").into_owned()
}

fn i64s(l: &Literal) -> Vec<i64> {
    l.to_slice::<i64>().expect("i64").into_owned()
}

/// Holds where both agree to `tol` of the largest magnitude.
fn assert_close(got: &Literal, want: &[f64], tol: f64) {
    assert_eq!(got.len(), want.len(), "{got:?}");
    let scale = want.iter().fold(1e-6f64, |m, v| m.max(v.abs()));
    for (i, w) in want.iter().enumerate() {
        let g = got.get_f64(i);
        assert!((g - w).abs() <= tol * scale, "element {i}: {g}, not {w}");
    }
}
