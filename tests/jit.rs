//! Functions that compile themselves: what compiles, what does not, and what they say about it.

use fornax::{Backend, DType, Dim, Error, Options, Tensor, TensorTree, jit, trace};

fn t(values: &[f32]) -> Tensor {
    Tensor::from_slice(values, &[values.len()]).unwrap()
}

fn zeros(shape: &[usize]) -> Tensor {
    Tensor::zeros(shape, DType::F32).unwrap()
}

fn options() -> Options {
    Options::default().threads(1)
}

#[derive(TensorTree, Clone)]
struct Layer {
    weight: Tensor,
    parts: Vec<Tensor>,
    #[tensor(static)]
    times: u32,
    #[tensor(static)]
    eps: f32,
}

fn layer() -> Layer {
    Layer { weight: t(&[1.0, 2.0]), parts: vec![t(&[3.0])], times: 1, eps: 0.5 }
}

fn apply((layer, x): (Layer, Tensor)) -> Tensor {
    let y = (0..layer.times).fold(x, |y, _| &y + &layer.weight);
    layer.parts.iter().fold(y, |y, part| &y + part)
}

#[test]
fn calls_of_known_types_run_known_code() {
    let f = jit(apply).options(options());
    let x = t(&[10.0, 20.0]);
    for _ in 0..3 {
        assert_eq!(f.call((&layer(), &x)), t(&[14.0, 25.0]));
    }
    assert_eq!(f.compilations(), 1);
    assert_eq!(f.call((layer(), zeros(&[3, 2]))).shape(), [3, 2]);
    assert_eq!(f.compilations(), 2);
    // Other weights of the same types are no reason.
    assert_eq!(f.call((Layer { weight: t(&[0.0, 0.0]), ..layer() }, x.clone())), t(&[13.0, 23.0]));
    assert_eq!(f.compilations(), 2);
    let interpreted = jit(apply).options(options().backend(Backend::Interp));
    assert_eq!(interpreted.call((layer(), x)), t(&[14.0, 25.0]));
}

#[test]
fn explanations_name_the_argument_both_types_and_the_line() {
    let f = jit(apply).options(options());
    let x = t(&[10.0, 20.0]);
    let mut lines = Vec::new();
    let mut call = |layer: Layer, x: &Tensor| {
        lines.push(line!() + 1);
        f.call((layer, x));
    };
    call(layer(), &x);
    call(layer(), &zeros(&[3, 2]));
    call(Layer { times: 2, ..layer() }, &x);
    call(Layer { eps: 0.25, ..layer() }, &x);
    call(Layer { parts: vec![t(&[3.0]); 2], ..layer() }, &x);
    call(Layer { weight: Tensor::from_slice(&[1.0f32], &[1]).unwrap(), ..layer() }, &zeros(&[3, 2]));
    let explanation = f.explain();
    let want = [
        "the first call",
        "`1` was f32[2] and is f32[3, 2]",
        "the static field `0.times` was 1 and is 2",
        "the static field `0.eps` was 0.5 and is 0.25",
        "`0.parts` had 1 elements and has 2",
        "`0.weight` was f32[2] and is f32[1]",
    ];
    assert_eq!(explanation.compilations.len(), want.len());
    for ((compilation, want), line) in explanation.compilations.iter().zip(want).zip(lines) {
        assert!(compilation.reason.starts_with(want), "{want}: {}", compilation.reason);
        let advises = compilation.reason.contains("a `spec` with symbolic dims");
        assert_eq!(advises, want.starts_with("`0.weight`"), "{}", compilation.reason);
        assert_eq!(compilation.location, format!("tests/jit.rs:{line}"));
    }
    let text = explanation.to_string();
    assert!(text.starts_with("`apply` was compiled 6 times\n1. at tests/jit.rs:"), "{text}");
    assert!(text.contains("for 0.weight: f32[2], 0.parts.0: f32[1], 1: f32[3, 2]; 1 kernel"), "{text}");
}

#[test]
fn one_program_serves_all_sizes_of_a_spec() {
    let spec = Tensor::spec(DType::F32, [Dim::symbol("batch", 1..=4), 2.into()]);
    let f = jit(|x: Tensor| &x + &x).options(options()).spec(spec);
    for rows in 1..=4 {
        assert_eq!(f.call(&zeros(&[rows, 2])).shape(), [rows, 2]);
    }
    assert_eq!(f.compilations(), 1);
    // Outside the range it is compiled for its own types, and says why.
    assert_eq!(f.call(&zeros(&[5, 2])).shape(), [5, 2]);
    assert_eq!(f.compilations(), 2);
    let explanation = f.explain().to_string();
    assert!(explanation.contains("for input: f32[batch, 2]"), "{explanation}");
    assert!(explanation.contains("`batch` is 5, outside its declared range 1..=4"), "{explanation}");
    let f = f.compile_once();
    assert_eq!(f.call(&zeros(&[2, 2])).shape(), [2, 2]);
    let at = line!() + 1;
    let Err(Error::Trace(error)) = f.try_call(&zeros(&[6, 2])) else { panic!("it was compiled") };
    let message = error.to_string();
    assert!(message.starts_with(&format!("tests/jit.rs:{at}: ")), "{message}");
    for part in
        ["`compile_once`", "`input` was f32[5, 2] and is f32[6, 2]", "outside its declared range 1..=4"]
    {
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn a_call_panics_at_the_callers_line() {
    let f = jit(|(x, y): (Tensor, Tensor)| &x + &y).options(options());
    let at = line!() - 1;
    let call = || f.call((t(&[1.0, 2.0]), t(&[1.0, 2.0, 3.0])));
    let payload = std::panic::catch_unwind(std::panic::AssertUnwindSafe(call)).unwrap_err();
    let message = payload.downcast_ref::<String>().unwrap().clone();
    assert!(message.starts_with(&format!("tests/jit.rs:{at}: add(f32[2], f32[3])")), "{message}");
    let failed = f.try_call((t(&[1.0, 2.0]), t(&[1.0, 2.0, 3.0])));
    assert_eq!(failed.unwrap_err().to_string(), message);
    assert_eq!(f.compilations(), 0);
    let spec = f.try_call((Tensor::spec(DType::F32, [2]), t(&[1.0, 2.0])));
    assert!(spec.unwrap_err().to_string().contains("is a spec"));
    // As does a spec that makes no sense.
    let spec = || Tensor::spec(DType::F32, [Dim::symbol("n", 1..) * 2]);
    let at = line!() + 1;
    let call = || jit(|x: Tensor| x).spec(spec()).compilations();
    let payload = std::panic::catch_unwind(call).unwrap_err();
    let message = payload.downcast_ref::<String>().unwrap();
    assert!(message.starts_with(&format!("tests/jit.rs:{at}: `input`: ")), "{message}");
}

#[test]
fn the_cache_is_bounded() {
    let f = jit(|x: Tensor| &x + &x).options(options()).cache_limit(2);
    for n in [1, 2, 1, 3, 1, 2] {
        f.call(&zeros(&[n]));
    }
    // 2 made room for 3, and 3 for 2.
    assert_eq!(f.compilations(), 4);
    assert!(f.explain().compilations[3].reason.contains("had left the cache"), "{}", f.explain());
}

#[test]
fn other_options_are_another_program() {
    let f = jit(|x: Tensor| &x + &x).options(options());
    f.call(t(&[1.0]));
    let f = f.options(options().backend(Backend::Interp));
    assert_eq!(f.call(t(&[1.0])), t(&[2.0]));
    assert_eq!((f.compilations(), f.explain().count), (2, 2));
}

#[test]
fn within_a_trace_it_is_part_of_it() {
    let f = jit(|x: Tensor| &x + &x).options(options());
    let traced = trace(|x: Tensor| f.call(&f.call(&x)), t(&[1.0])).unwrap();
    assert_eq!((f.compilations(), traced.graph().nodes.len()), (0, 3), "{traced}");
    let g = jit(|x: Tensor| f.call(x)).options(options());
    assert_eq!(g.call(t(&[3.0])), t(&[6.0]));
    // On concrete tensors it runs, also there; a function may call itself.
    let h = jit(|(n, x): (Tensor, Tensor)| &n + &f.call(t(&[x.rank() as f32]))).options(options());
    assert_eq!(h.call((t(&[1.0]), zeros(&[1, 1, 1]))), t(&[7.0]));
    assert_eq!((f.compilations(), g.compilations(), h.compilations()), (1, 1, 1));
}

#[test]
fn threads_share_one_compilation() {
    let f = jit(apply).options(options());
    let (f, layer) = (&f, &layer());
    std::thread::scope(|scope| {
        for thread in 0..4 {
            scope.spawn(move || {
                for i in 0..20 {
                    let x = (thread * 100 + i) as f32;
                    assert_eq!(f.call((layer, t(&[x, x]))), t(&[x + 4.0, x + 5.0]));
                }
            });
        }
    });
    assert_eq!(f.compilations(), 1);
}

#[test]
fn warnings_reach_the_explanation() {
    let w = t(&[1.0, 2.0]);
    let f = jit(|x: Tensor| &x + &w).options(options()).warn_constants_above(4);
    let at = line!() - 1;
    f.call(t(&[1.0, 2.0]));
    let explanation = f.explain().to_string();
    assert!(
        explanation.contains(&format!("warning: tests/jit.rs:{at}: a concrete tensor f32[2]")),
        "{explanation}"
    );
}
