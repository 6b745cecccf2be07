//! Traced functions: what is recorded, what runs, and what errors say.

use std::collections::BTreeMap;

use fornax::{Backend, DType, Dim, Error, Model, Options, Tensor, TensorTree, Traced, trace};

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

#[test]
fn the_same_function_gives_the_same_text() {
    let w = t(&[1.0, 2.0]);
    let make = || {
        let spec = (Tensor::spec(DType::F32, [Dim::symbol("n", 1..), 2.into()]), t(&[0.5]));
        trace(|(x, y): (Tensor, Tensor)| [&(&x + &w) + &y, &x + &w], spec).unwrap()
    };
    let text = make().to_string();
    assert_eq!(text, make().to_string());
    let here = format!("tests/trace.rs:{}", line!() - 4);
    for part in [
        "graph \"the_same_function_gives_the_same_text\"",
        "symbol n in 1..",
        "f32[n, 2] = input \"0\"",
        "f32[1] = input \"1\"",
        "output \"0\"",
        "output \"1\"",
        here.as_str(),
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
}

#[test]
fn captured_tensors_become_constants_once() {
    let w = t(&[1.0, 2.0, 3.0]);
    let same = w.clone();
    let other = t(&[1.0, 2.0, 3.0]);
    let x = t(&[1.0, 1.0, 1.0]);
    let traced = trace(|x: Tensor| &(&(&x + &w) + &same) + &w, &x).unwrap();
    assert_eq!(traced.graph().consts.len(), 1, "{traced}");
    assert_eq!(run(&traced, &x), [t(&[4.0, 7.0, 10.0])]);
    let traced = trace(|x: Tensor| &(&x + &w) + &other, &x).unwrap();
    assert_eq!(traced.graph().consts.len(), 2, "{traced}");
    // Temporary tensors whose memory is used again stay apart.
    let traced = trace(|x: Tensor| (0..20).fold(x, |x, i| &x + &t(&[i as f32, 1.0, 2.0])), &x).unwrap();
    assert_eq!(run(&traced, &x), [t(&[191.0, 21.0, 41.0])]);
    assert!(traced.warnings().is_empty());
}

#[test]
fn a_large_constant_is_worth_a_warning_at_its_first_use() {
    let large = Tensor::zeros(&[1025, 4096], DType::F32).unwrap();
    let at = line!() + 1;
    let f = |x: Tensor| &(&x + &large) + &large;
    let traced = trace(f, Tensor::spec(DType::F32, [1025, 4096])).unwrap();
    let [warning] = traced.warnings() else { panic!("{:?}", traced.warnings()) };
    assert!(warning.starts_with(&format!("tests/trace.rs:{at}: ")), "{warning}");
    assert!(warning.contains("f32[1025, 4096] of 16.0 MB"), "{warning}");
}

#[test]
fn results_may_be_arguments_constants_and_repetitions() {
    let w = t(&[7.0]);
    let f = |x: Tensor| (x.clone(), w.clone(), vec![&x + &w; 2], ());
    let traced = trace(f, t(&[1.0])).unwrap();
    assert_eq!(run(&traced, &t(&[3.0])), [t(&[3.0]), w.clone(), t(&[10.0]), t(&[10.0])]);
    // Equal texts of paths are told apart.
    let twice = BTreeMap::from([("a.0".to_string(), vec![]), ("a".to_string(), vec![w.clone()])]);
    let twice = (twice, BTreeMap::from([("x".to_string(), w.clone())]));
    let traced = trace(|x: (BTreeMap<String, Vec<Tensor>>, BTreeMap<String, Tensor>)| x, &twice).unwrap();
    assert_eq!(run(&traced, &twice), [w.clone(), w]);
}

/// The message of what a traced function does wrong, which must begin with its line, counted from `line`.
#[track_caller]
fn at_line<O: TensorTree>(line: u32, f: impl FnOnce(Tensor) -> O) -> String {
    let message = error(trace(f, Tensor::spec(DType::F32, [Dim::symbol("n", 1..), 4.into()])));
    let place = format!("tests/trace.rs:{line}: ");
    let rest = message.strip_prefix(&place);
    rest.unwrap_or_else(|| panic!("{message:?} does not begin with {place:?}")).to_string()
}

#[test]
fn reading_a_traced_value_names_the_line() {
    type Case = (&'static str, fn(&Tensor) -> u32);
    let reads: [Case; 5] = [
        ("to_vec", |x| {
            let _ = x.to_vec::<f32>();
            line!() - 1
        }),
        ("as_slice", |x| {
            let _ = x.as_slice::<f32>();
            line!() - 1
        }),
        ("==", |x| u32::from(*x == *x)),
        ("to_f64_vec", |x| {
            let _ = x.to_f64_vec();
            line!() - 1
        }),
        ("bytes", |x| x.bytes().len() as u32),
    ];
    for (name, read) in reads {
        let result = trace(|x: Tensor| (read(&x), ()).1, Tensor::spec(DType::F32, [2]));
        let message = error(result);
        assert!(message.starts_with("tests/trace.rs:"), "{name}: {message}");
        for part in ["f32[2]", "`cond`", "`while_loop`", "`scan`"] {
            assert!(message.contains(part), "{name}: {message}");
        }
    }
    let message = at_line(line!(), |x| if x.to_vec::<f32>().unwrap()[0] > 0.0 { &x + &x } else { x });
    assert!(message.contains("f32[n, 4]") && message.contains("`cond`"), "{message}");
}

#[test]
fn misfits_name_the_line_and_both_types() {
    let w = t(&[1.0, 2.0, 3.0]);
    let message = at_line(line!(), |x| &x + &w);
    assert!(
        message.contains("add") && message.contains("f32[n, 4]") && message.contains("f32[3]"),
        "{message}"
    );
    let ints = Tensor::from_slice(&[1i64], &[1]).unwrap();
    let message = at_line(line!(), |x| &x + &ints);
    assert!(message.contains("f32") && message.contains("i64") && message.contains("to_dtype"), "{message}");
    // What the function itself panics with goes on.
    let panicked = std::panic::catch_unwind(|| {
        trace(
            |_: Tensor| {
                if true {
                    panic!("mine")
                }
            },
            t(&[1.0]),
        )
    });
    assert_eq!(panicked.unwrap_err().downcast_ref::<&str>(), Some(&"mine"));
    // And tracing works afterwards.
    assert_eq!(run(&trace(|x: Tensor| &x + &x, t(&[1.0])).unwrap(), &t(&[2.0])), [t(&[4.0])]);
}

#[test]
fn a_reshape_that_fits_no_size_says_what_numpy_would() {
    for (sizes, text) in [
        (&[-1, -1][..], "only one extent can be -1"),
        (&[0, -1], "the 6 elements do not fill the shape [0, -1]"),
        (&[4, -1], "the 6 elements do not fill the shape [4, -1]"),
        (&[-2, 3], "an extent cannot be -2"),
    ] {
        let message = error(trace(|x: Tensor| x.reshape(sizes), Tensor::zeros(&[2, 3], DType::F32).unwrap()));
        assert!(message.ends_with(&format!("reshape(f32[2, 3]): {text}")), "{message}");
    }
    let symbolic = || Tensor::spec(DType::F32, [Dim::symbol("n", 1..)]);
    assert!(error(trace(|x: Tensor| x.reshape([-1, -1]), symbolic())).contains("only one extent"));
    assert!(error(trace(|x: Tensor| x.reshape([2, -3]), symbolic())).contains("an extent cannot be -3"));
}

#[test]
fn a_result_that_memory_cannot_hold_is_an_error() {
    let traced = trace(|x: Tensor| x.broadcast_to([1i64 << 45, 2]), t(&[1.0, 2.0])).unwrap();
    let compiled = traced.lower(&options()).unwrap().compile(&options()).unwrap();
    let message = compiled.call(&t(&[1.0, 2.0])).unwrap_err().to_string();
    assert!(message.contains("more elements than memory can hold"), "{message}");
}

#[test]
fn traces_do_not_mix() {
    let mut message = String::new();
    let outer = trace(
        |x: Tensor| {
            let at = line!() + 1;
            let inner = trace(|y: Tensor| &x + &y, t(&[1.0]));
            message = error(inner);
            assert!(message.starts_with(&format!("tests/trace.rs:{at}: ")), "{message}");
            // An inner trace may be of its own, and the outer goes on.
            let inner = trace(|y: Tensor| &y + &y, t(&[1.0])).unwrap();
            assert_eq!(run(&inner, &t(&[4.0])), [t(&[8.0])]);
            &x + &x
        },
        t(&[1.0]),
    );
    assert!(message.contains("mixes tensors of two traces"), "{message}");
    assert_eq!(run(&outer.unwrap(), &t(&[2.0])), [t(&[4.0])]);
}

#[test]
fn a_traced_tensor_does_not_outlive_its_trace() {
    let mut kept = None;
    trace(|x: Tensor| kept = Some(&x + &x), t(&[1.0])).unwrap();
    let kept = kept.unwrap();
    assert_eq!(kept.shape(), [1]);
    for (name, (message, line)) in [
        ("used", caught(|| (line!(), drop(&kept + &kept)).0)),
        ("used in another trace", {
            let at = line!() + 1;
            (error(trace(|x: Tensor| &x + &kept, t(&[1.0]))), at)
        }),
        ("returned by another trace", {
            let at = line!() + 1;
            (error(trace(|_: Tensor| kept.clone(), t(&[1.0]))), at)
        }),
        ("read", caught(|| (line!(), kept.to_f64_vec()).0)),
    ] {
        assert!(message.starts_with(&format!("tests/trace.rs:{line}: ")), "{name}, line {line}: {message}");
        assert!(message.contains("which has ended"), "{name}: {message}");
    }
}

/// The message of a panic, and the line that it names.
fn caught(f: impl FnOnce() -> u32) -> (String, u32) {
    let payload = std::panic::catch_unwind(std::panic::AssertUnwindSafe(f)).unwrap_err();
    let message = payload.downcast_ref::<String>().expect("a message").clone();
    let line = message.split(':').nth(1).and_then(|n| n.parse().ok()).expect("a line");
    (message, line)
}

#[test]
fn specs_must_agree() {
    let spec = |hi| Tensor::spec(DType::F32, [Dim::symbol("n", 1..=hi)]);
    let at = line!() + 1;
    let message = error(trace(|(x, y): (Tensor, Tensor)| &x + &y, (spec(8), spec(9))));
    assert!(message.starts_with(&format!("tests/trace.rs:{at}: `1`: ")), "{message}");
    assert!(message.contains("`n` is declared as 1..=8 and as 1..=9"), "{message}");
    // What tells the symbols is the plain extents.
    for (dim, text) in [(Dim::symbol("n", 1..=8) * 2, "2*n is neither"), (Dim::from(-1), "-1 is neither")] {
        let at = line!() + 1;
        let message = error(trace(|x: Tensor| &x + &x, Tensor::spec(DType::F32, [dim])));
        assert!(message.starts_with(&format!("tests/trace.rs:{at}: `input`: ")), "{message}");
        assert!(message.contains(text), "{message}");
    }
    // A spec has a type, and no elements.
    let (message, _) = caught(|| (line!(), drop(spec(8).to_vec::<f32>())).0);
    assert!(message.contains("f32[n] is a spec"), "{message}");
}

#[test]
fn every_stage_can_be_looked_at() {
    let traced =
        trace(|x: Tensor| &(&x + &x) + &x, Tensor::spec(DType::F32, [Dim::symbol("n", 1..), 4.into()]))
            .unwrap();
    let lowered = traced.lower(&options()).unwrap();
    assert_eq!(lowered.kernels(), 1);
    assert_eq!(lowered.bytes().to_string(), "32*n");
    for stage in fornax::Stage::ALL {
        assert!(!lowered.text(stage, &options()).unwrap().is_empty(), "{}", stage.name());
    }
    let unfused = traced.lower(&options().optimizer(fornax::Optimizer::None)).unwrap();
    assert_eq!(unfused.kernels(), 2);
    let fixed = options().dim("n", 3);
    let compiled = traced.lower(&fixed).unwrap().compile(&fixed).unwrap();
    assert!(compiled.call(&Tensor::zeros(&[3, 4], DType::F32).unwrap()).is_ok());
    assert!(error(compiled.call(&Tensor::zeros(&[2, 4], DType::F32).unwrap())).contains('3'));
    assert!(traced.lower(&options().dim("m", 3)).is_err());
}

#[test]
fn a_traced_graph_is_a_model() {
    let f = |(x, y): (Tensor, Tensor)| BTreeMap::from([("sum".to_string(), &x + &y)]);
    let traced =
        trace(f, (Tensor::spec(DType::F32, [Dim::symbol("n", 1..), 2.into()]), t(&[1.0, 2.0]))).unwrap();
    let model = Model::from_graph(traced.graph().clone(), options()).unwrap();
    let x = Tensor::from_slice(&[1.0f32, 2.0, 3.0, 4.0], &[2, 2]).unwrap();
    let outputs = model.run(&[("1", &t(&[10.0, 20.0])), ("0", &x)]).unwrap();
    assert_eq!(outputs["sum"].to_vec::<f32>().unwrap(), [11.0, 22.0, 13.0, 24.0]);
}

#[test]
fn constants_take_sizes_of_the_trace() {
    let f = |x: Tensor| Tensor::scalar(1.5f32).broadcast_to((x.dim(0), 2)) + x.sum(.., false);
    let traced = trace(f, Tensor::spec(DType::F32, [Dim::symbol("n", 1..), 3.into()])).unwrap();
    for n in [1, 4] {
        let x = Tensor::ones([n, 3], DType::F32);
        assert_eq!(run(&traced, &x), [f(x)]);
    }
    // As do parts of them: a table of positions, a mask.
    let (table, mask) = (Tensor::arange(0.0f32, 8.0, 1.0), Tensor::ones([8, 8], DType::F32).tril(0));
    let f = |x: Tensor| {
        let n = x.dim(0);
        mask.narrow(0, 0, &n).narrow(1, 0, &n).matmul(&x) + table.narrow(0, 8 - &n, &n)
    };
    let traced = trace(f, Tensor::spec(DType::F32, [Dim::symbol("n", 1..=8)])).unwrap();
    for n in [1, 5, 8] {
        let x = Tensor::arange(1.0f32, n as f32 + 1.0, 1.0);
        assert_eq!(run(&traced, &x), [f(x)]);
    }
    // A symbol of no argument has no value.
    let stray = Dim::symbol("stray", 1..);
    let at = line!() + 1;
    let message = error(trace(|x: Tensor| x.sum(.., false).broadcast_to([stray]), t(&[1.0])));
    assert!(
        message.starts_with(&format!("tests/trace.rs:{at}: the dim `stray` is an extent of no argument")),
        "{message}"
    );
}

#[test]
fn every_operation_names_the_line() {
    type Case = (&'static str, fn(&Tensor) -> Tensor, u32);
    let cases: [Case; 10] = [
        ("matmul", |x| x.matmul(&t(&[1.0, 2.0, 3.0])), line!()),
        ("reshape", |x| x.sum(0, false).reshape([3, -1]), line!()),
        ("sum", |x| x.sum(5, false), line!()),
        ("cat", |x| fornax::cat(&[x, &t(&[1.0])], 0), line!()),
        ("%", |x| x % &Tensor::scalar(1i64), line!()),
        ("not", |x| !x, line!()),
        ("numel", |x| Tensor::scalar(x.numel() as i64), line!()),
        ("item", |x| Tensor::scalar(x.item::<f32>()), line!()),
        ("is_true", |x| Tensor::scalar(i64::from(x.sum(.., false).gt(0.0).is_true())), line!()),
        ("narrow", |x| x.narrow(1, 2, 3), line!()),
    ];
    for (name, f, line) in cases {
        let message =
            error(trace(|x: Tensor| f(&x), Tensor::spec(DType::F32, [Dim::symbol("n", 1..), 4.into()])));
        assert!(message.starts_with(&format!("tests/trace.rs:{line}: ")), "{name}: {message}");
    }
}

#[test]
fn long_functions_need_no_deep_stack() {
    let steps = 100_000;
    let work = move || {
        let traced = trace(|x: Tensor| (0..steps).fold(x, |x, i| x + f64::from(i % 7)), t(&[1.0])).unwrap();
        assert!(traced.graph().nodes.len() > steps as usize);
    };
    std::thread::Builder::new().stack_size(512 << 10).spawn(work).unwrap().join().unwrap();
}
