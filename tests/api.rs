//! The library as its users see it: threads, names, dims, intermediate values, cancelling, limits.

use std::path::PathBuf;
use std::thread;

use fornax::ir::graph::ops::{Binary, DotGeneral};
use fornax::ir::graph::{Builder, Graph, TensorType};
use fornax::ir::scalar::BinaryOp;
use fornax::ir::{DType, Dim};
use fornax::{Backend, CancelToken, Error, Extent, InputError, Model, Options, Tensor, io};

fn example(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("examples/data").join(file)
}

fn digits() -> Tensor {
    io::read_npz(example("digits.images.npz")).unwrap().remove(0).1
}

/// `(x + y) . w` with `x: f32[n, 8]`, `y: f32[n, 8]`.
fn graph() -> Graph {
    let mut b = Builder::new("api");
    let ty = || TensorType::new(DType::F32, vec![Dim::symbol("n"), Dim::from(8usize)]);
    let (x, y) = (b.input("x", ty()), b.input("y", ty()));
    let sum = b.add(Binary(BinaryOp::Add), &[x, y]).unwrap();
    let w = Tensor::from_vec((0..32).map(|i| i as f32).collect(), &[8, 4]).unwrap();
    let w = b.constant("w", w.into());
    let product = b.add(DotGeneral { batch: vec![], contract: vec![(1, 0)] }, &[sum, w]).unwrap();
    b.output("product", product);
    b.finish()
}

fn ones(n: usize) -> Tensor {
    Tensor::from_vec(vec![1.0f32; n * 8], &[n, 8]).unwrap()
}

#[test]
fn models_are_shared_between_threads() {
    fn check<T: Send + Sync>() {}
    check::<Model>();
    check::<Tensor>();
    check::<CancelToken>();
    let model = Model::load_with(example("digits.onnx"), Options::default().threads(2)).unwrap();
    let images = digits();
    let expected = model.run(&[("images", &images)]).unwrap();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..10 {
                    assert!(model.run(&[("images", &images)]).unwrap() == expected);
                }
            });
        }
    });
}

#[test]
fn outputs_have_names_and_places() {
    let model = Model::load(example("digits.onnx")).unwrap();
    assert_eq!(model.inputs()[0].to_string(), "images: u8[N, 8, 8]");
    let symbol = &model.inputs()[0].dims[0];
    assert!(matches!(symbol, Extent::Symbol { name, .. } if name == "N"));
    let outputs = model.run(&[("images", &digits())]).unwrap();
    assert_eq!(outputs["probabilities"].shape(), [500, 10]);
    assert_eq!(outputs[0].bytes().as_ptr(), outputs["probabilities"].bytes().as_ptr());
    assert!(outputs.get("none").is_none());
}

#[test]
fn inputs_are_checked_by_name_and_type() {
    for backend in Backend::ALL {
        let model = Model::from_graph(graph(), Options::default().backend(backend)).unwrap();
        let (a, b) = (ones(2), ones(3));
        let ints = Tensor::zeros(&[2, 8], DType::I32).unwrap();
        let flat = Tensor::zeros(&[16], DType::F32).unwrap();
        let wide = Tensor::zeros(&[2, 9], DType::F32).unwrap();
        let check = |inputs: &[(&str, &Tensor)], parts: &[&str]| {
            let error = model.run(inputs).unwrap_err();
            assert!(error.is_bad_input() && matches!(error, Error::Input(_)), "{error:?}");
            let text = error.to_string();
            assert!(parts.iter().all(|p| text.contains(p)), "{text} lacks one of {parts:?}");
        };
        check(&[("x", &a)], &["'y'", "missing", "f32[n, 8]"]);
        check(&[("x", &a), ("z", &a)], &["'z'", "x, y"]);
        check(&[("x", &a), ("x", &a)], &["'x'", "twice"]);
        check(&[("x", &ints), ("y", &a)], &["x", "f32", "i32"]);
        check(&[("x", &flat), ("y", &a)], &["x", "[16]"]);
        check(&[("x", &wide), ("y", &a)], &["x", "8", "9"]);
        check(&[("x", &a), ("y", &b)], &["y", "2", "3", "n"]);
        assert_eq!(model.run(&[("y", &a), ("x", &a)]).unwrap()[0].shape(), [2, 4]);
    }
}

#[test]
fn one_compilation_serves_all_sizes_and_none() {
    let model = Model::from_graph(graph(), Options::default()).unwrap();
    for n in [1, 2, 7, 100, 0] {
        let outputs = model.run(&[("x", &ones(n)), ("y", &ones(n))]).unwrap();
        assert_eq!(outputs[0].shape(), [n, 4]);
        assert!(
            outputs[0].as_slice::<f32>().unwrap().chunks(4).all(|row| row == [224.0, 240.0, 256.0, 272.0])
        );
    }
    assert_eq!(model.compilations(), 1);
}

#[test]
fn a_dim_can_be_fixed() {
    for backend in Backend::ALL {
        let options = Options::default().backend(backend).dim("n", 3);
        let model = Model::from_graph(graph(), options).unwrap();
        assert_eq!(model.inputs()[0].dims[0], Extent::Fixed(3));
        assert!(model.run(&[("x", &ones(3)), ("y", &ones(3))]).is_ok());
        assert!(matches!(
            model.run(&[("x", &ones(2)), ("y", &ones(2))]),
            Err(Error::Input(InputError::Type(_)))
        ));
    }
    let error = Model::from_graph(graph(), Options::default().dim("m", 3)).unwrap_err();
    assert!(error.is_bad_input() && error.to_string().contains("'m'"), "{error}");
    assert!(Model::from_graph(graph(), Options::default().dim("n", -1)).unwrap_err().is_bad_input());
}

#[test]
fn intermediate_values_have_names() {
    for backend in Backend::ALL {
        let model = Model::load_with(example("digits.onnx"), Options::default().backend(backend)).unwrap();
        let images = digits();
        let plain = model.run(&[("images", &images)]).unwrap();
        let outputs = model.run_with(&[("images", &images)], &["logits", "relu1", "probabilities"]).unwrap();
        assert_eq!(outputs["logits"].shape(), [500, 10]);
        assert_eq!(outputs["relu1"].shape(), [500, 8, 8, 8]);
        assert_eq!(outputs["probabilities"], plain["probabilities"]);
        let logits = outputs["logits"].as_slice::<f32>().unwrap();
        let row: Vec<f64> = logits[..10].iter().map(|&z| f64::from(z).exp()).collect();
        let first = row[0] / row.iter().sum::<f64>();
        assert!((first - f64::from(plain[0].as_slice::<f32>().unwrap()[0])).abs() < 1e-5);
        let compilations = model.compilations();
        model.run_with(&[("images", &images)], &["logits", "relu1"]).unwrap();
        assert_eq!(model.compilations(), compilations, "a variant is compiled once");
        let error = model.run_with(&[("images", &images)], &["Logit"]).unwrap_err().to_string();
        assert!(error.contains("'Logit'") && error.contains("logits"), "{error}");
    }
}

#[test]
fn kernels_are_timed_in_their_order() {
    let model = Model::load(example("digits.onnx")).unwrap();
    let images = digits();
    let (outputs, kernels) = model.profile(&[("images", &images)]).unwrap();
    assert!(outputs == model.run(&[("images", &images)]).unwrap());
    assert_eq!(kernels.len(), model.stats().kernels);
    assert!(kernels.iter().all(|k| !k.time.is_zero() && k.bytes > 0));
    let dims = model.dims_of(&[("images", &images)]).unwrap();
    assert_eq!(kernels.iter().map(|k| k.bytes).sum::<u64>(), model.bytes_moved(&dims).unwrap());
}

#[test]
fn a_run_can_be_cancelled() {
    for backend in Backend::ALL {
        let model = Model::load_with(example("digits.onnx"), Options::default().backend(backend)).unwrap();
        let (images, cancel) = (digits(), CancelToken::new());
        assert!(model.run_cancellable(&[("images", &images)], &cancel).is_ok());
        thread::scope(|scope| {
            scope.spawn(|| cancel.cancel());
        });
        assert!(matches!(model.run_cancellable(&[("images", &images)], &cancel), Err(Error::Cancelled)));
        assert!(model.run(&[("images", &images)]).is_ok());
    }
}

#[test]
fn memory_is_limited_before_it_is_taken() {
    let load = |limit| Model::load_with(example("digits.onnx"), Options::default().memory_limit(Some(limit)));
    let error = load(1000).unwrap_err();
    assert!(error.is_bad_input() && matches!(error, Error::MemoryLimit { limit: 1000, .. }), "{error}");
    let model = load(100_000).unwrap();
    let images = digits();
    let few = Tensor::from_slice(&images.as_slice::<u8>().unwrap()[..64], &[1, 8, 8]).unwrap();
    assert!(model.run(&[("images", &few)]).is_ok());
    let error = model.run(&[("images", &images)]).unwrap_err();
    assert!(error.is_bad_input() && matches!(error, Error::Run(_)), "{error}");
    let many = Tensor::zeros(&[1 << 40, 0, 8], DType::U8).unwrap();
    assert!(model.run(&[("images", &many)]).unwrap_err().is_bad_input());
}

#[test]
fn threads_are_counted_from_one() {
    let error = Model::from_graph(graph(), Options::default().threads(0)).unwrap_err();
    assert!(error.is_bad_input(), "{error}");
}
