//! Traced functions: what is recorded, what runs, and what errors say.

use std::collections::BTreeMap;

use fornax::ir::graph::interp;
use fornax::{Backend, DType, Dim, Error, Options, Tensor, TensorTree, Traced, trace};

fn t(values: &[f32]) -> Tensor {
    Tensor::from_slice(values, &[values.len()]).unwrap()
}

fn options() -> Options {
    Options::default().threads(1)
}

/// Runs a traced function in native code and by the interpreter, which must agree, and gives its tensors.
#[track_caller]
fn run<T: TensorTree, A: TensorTree>(traced: &Traced<T>, arguments: &A) -> Vec<Tensor> {
    let native = traced.lower(&options()).unwrap().compile(&options()).unwrap();
    let native = tensors(&native.call(arguments).unwrap());
    let interp = options().backend(Backend::Interp);
    let interpreted = traced.lower(&interp).unwrap().compile(&interp).unwrap();
    assert_eq!(native, tensors(&interpreted.call(arguments).unwrap()), "native and interpreted");
    native
}

fn tensors(tree: &impl TensorTree) -> Vec<Tensor> {
    tree.tensors().into_iter().map(|(_, tensor)| tensor).collect()
}

#[track_caller]
fn error<T>(result: Result<T, Error>) -> String {
    match result {
        Ok(_) => panic!("there was no error"),
        Err(error @ (Error::Trace(_) | Error::Input(_))) => error.to_string(),
        Err(other) => panic!("an error of another kind: {other}"),
    }
}

#[derive(TensorTree, Clone)]
struct Affine {
    scale: Tensor,
    shift: Option<Tensor>,
    #[tensor(static)]
    times: usize,
}

impl Affine {
    fn apply(&self, x: &Tensor) -> Tensor {
        let mut y = x + &self.scale;
        for _ in 0..self.times {
            y = &y + x;
        }
        match &self.shift {
            Some(shift) => &y + shift,
            None => y,
        }
    }
}

#[test]
fn one_trace_serves_every_size_in_the_range() {
    let batch = Dim::symbol("batch", 1..=8);
    let w = t(&[1.0, 2.0]);
    let traced = trace(|x: Tensor| &x + &w, Tensor::spec(DType::F32, [batch, 2.into()])).unwrap();
    let compiled = traced.lower(&options()).unwrap().compile(&options()).unwrap();
    for rows in [1, 3, 8] {
        let x = Tensor::from_f64s((0..rows * 2).map(|i| i as f64), DType::F32, &[rows, 2]).unwrap();
        let want: Vec<f32> = (0..rows * 2).map(|i| i as f32 + if i % 2 == 0 { 1.0 } else { 2.0 }).collect();
        assert_eq!(compiled.call(&x).unwrap().to_vec::<f32>().unwrap(), want);
    }
    let far = error(compiled.call(&Tensor::zeros(&[9, 2], DType::F32).unwrap()));
    assert!(far.contains("`batch` is 9, outside its declared range 1..=8"), "{far}");
}

#[test]
fn structs_go_in_and_out() {
    let layer = Affine { scale: t(&[1.0, 2.0]), shift: Some(t(&[5.0, 5.0])), times: 2 };
    let f = |(layer, x): (Affine, Tensor)| {
        let y = layer.apply(&x);
        BTreeMap::from([("y".to_string(), (y, layer))])
    };
    let x = t(&[10.0, 20.0]);
    let traced = trace(f, (&layer, &x)).unwrap();
    let names = |all: &[fornax::ir::graph::Input]| all.iter().map(|i| i.name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&traced.graph().inputs), ["0.scale", "0.shift", "1"]);
    let outputs: Vec<_> = traced.graph().outputs.iter().map(|o| o.name.as_str()).collect();
    assert_eq!(outputs, ["y.0", "y.1.scale", "y.1.shift"]);
    assert_eq!(run(&traced, &(&layer, &x)), tensors(&f((layer.clone(), x.clone()))));
    let compiled = traced.lower(&options()).unwrap().compile(&options()).unwrap();
    assert_eq!(compiled.call(&(&layer, &x)).unwrap()["y"].1.times, 2);
    // Another structure or configuration is another function.
    let message = error(compiled.call(&(&Affine { times: 3, ..layer.clone() }, &x)));
    assert!(message.contains("the static field `0.times` was 2 and is 3"), "{message}");
    let message = error(compiled.call(&(&Affine { shift: None, ..layer }, &x)));
    assert!(message.contains("`0.shift` was Some and is None"), "{message}");
}
