//! Control flow that depends on tensors: run eagerly, interpreted and compiled, it computes the same.

use fornax::{
    Backend, DType, Dim, Error, Options, Tensor, TensorTree, Traced, cond, scan, scan_reverse, trace,
    while_loop,
};

fn t(values: &[f32]) -> Tensor {
    Tensor::from_slice(values, &[values.len()]).unwrap()
}

fn counting(shape: &[usize]) -> Tensor {
    let n: usize = shape.iter().product();
    Tensor::from_f64s((0..n).map(|i| i as f64 / 4.0 - 1.0), DType::F32, shape).unwrap()
}

fn tensors(tree: &impl TensorTree) -> Vec<Tensor> {
    tree.tensors().into_iter().map(|(_, tensor)| tensor).collect()
}

fn compiled<T: TensorTree>(
    traced: &Traced<T>,
    arguments: &impl TensorTree,
    options: &Options,
) -> Vec<Tensor> {
    let compiled = traced.lower(options).unwrap().compile(options).unwrap();
    tensors(&compiled.call(arguments).unwrap_or_else(|e| panic!("{e}\n{traced}")))
}

/// Traces a function once for the spec, and demands for each argument that the eager function, the interpreter and native code
/// on one thread and two agree. The text of the graph.
#[track_caller]
fn agree<S, A, O>(f: impl Fn(A) -> O, spec: S, arguments: &[A]) -> String
where
    S: TensorTree<Owned = A>,
    A: TensorTree<Owned = A>,
    O: TensorTree,
{
    let traced = trace(&f, spec).unwrap_or_else(|e| panic!("{e}"));
    for arguments in arguments {
        let eager = tensors(&f(tensors_of(arguments)));
        let interpreted = compiled(&traced, arguments, &Options::default().backend(Backend::Interp));
        assert_eq!(eager, interpreted, "eager and interpreted\n{traced}");
        for threads in [1, 2] {
            let native = compiled(&traced, arguments, &Options::default().threads(threads));
            assert_eq!(eager, native, "eager and native on {threads} threads\n{traced}");
        }
    }
    traced.to_string()
}

fn tensors_of<A: TensorTree<Owned = A>>(tree: &A) -> A {
    tree.map_tensors(|_, tensor| tensor.clone())
}

fn vector(n: &str) -> Tensor {
    Tensor::spec(DType::F32, [Dim::symbol(n, 0..)])
}

#[test]
fn a_condition_chooses_the_branch() {
    let w = t(&[3.0]);
    let f = |(x, y): (Tensor, Tensor)| {
        let twice = &y * 2.0;
        // Captured: the traced `twice`, the concrete `w`.
        let (a, b) = cond(
            &x.sum(.., false).gt(0.0),
            |x: Tensor| (&x + &twice, w.clone()),
            |x: Tensor| (&x - &y, &w * 2.0),
            &x,
        );
        a * b
    };
    let text =
        agree(f, (vector("n"), vector("n")), &[(t(&[1.0, 2.0]), t(&[5.0, 6.0])), (t(&[-4.0]), t(&[1.0]))]);
    assert!(text.contains("= cond "), "{text}");
    // A concrete predicate is decided while tracing.
    let f = |x: Tensor| cond(&Tensor::from(true), |x: Tensor| &x + 1.0, |x: Tensor| x, x);
    assert!(!agree(f, vector("n"), &[t(&[1.0])]).contains("= cond "));
}

#[test]
fn conditions_nest() {
    let f = |x: Tensor| {
        let sum = x.sum(.., false);
        let inner = |x: Tensor| cond(&sum.gt(10.0), |x: Tensor| &x * &sum, |x: Tensor| x.clone() + &x, x);
        cond(&sum.gt(0.0), inner, |x: Tensor| -x, &x)
    };
    agree(f, vector("n"), &[t(&[1.0, 2.0]), t(&[-1.0, -2.0]), t(&[8.0, 9.0, 10.0]), t(&[])]);
}

#[test]
fn a_loop_runs_as_often_as_its_data_say() {
    // Collatz steps of each start, with the largest number on the way.
    let f = |n: Tensor| {
        let step = |(n, steps, top): (Tensor, Tensor, Tensor)| {
            let odd = (&n % 2i64).eq(1i64);
            let next = cond(&odd, |n: Tensor| n * 3i64 + 1i64, |n: Tensor| n / 2i64, &n);
            (next.clone(), steps + 1i64, top.maximum(&next))
        };
        let (_, steps, top) = while_loop(
            |(n, _, _): &(Tensor, Tensor, Tensor)| n.gt(1i64),
            step,
            (&n, Tensor::scalar(0i64), &n),
        );
        (steps, top)
    };
    let starts = [1i64, 2, 7, 27].map(Tensor::scalar);
    let text = agree(f, Tensor::spec(DType::I64, [0usize; 0]), &starts);
    assert!(text.contains("while") && text.contains("cond"), "{text}");
    let (steps, top) = f(Tensor::scalar(27i64));
    assert_eq!((steps, top), (Tensor::scalar(111i64), Tensor::scalar(9232i64)));
}

#[test]
fn a_loop_carries_tensors_and_captures_others() {
    let f = |(x, limit): (Tensor, Tensor)| {
        while_loop(|x: &Tensor| x.sum(.., false).lt(&limit), |y: Tensor| &y * 2.0 + &x * &x, &x)
    };
    let arguments = [
        (t(&[1.0, 0.5]), Tensor::scalar(100.0f32)),
        (t(&[1.0, 0.5, 3.0]), Tensor::scalar(1e6f32)),
        (t(&[7.0]), Tensor::scalar(0.0f32)),
    ];
    agree(f, (vector("n"), Tensor::spec(DType::F32, [0usize; 0])), &arguments);
}

#[derive(TensorTree, Clone)]
struct Cell {
    input: Tensor,
    hidden: Tensor,
    #[tensor(static)]
    gated: bool,
}

impl Cell {
    fn new(gated: bool) -> Cell {
        Cell { input: counting(&[3, 2]), hidden: counting(&[2, 2]), gated }
    }

    fn step(&self, h: &Tensor, x: &Tensor) -> Tensor {
        let h = x.matmul(&self.input) + h.matmul(&self.hidden);
        if self.gated { h.relu() } else { h }
    }
}

#[test]
fn a_scan_walks_along_the_first_axis() {
    let (batch, length) = (Dim::symbol("batch", 1..), Dim::symbol("length", 0..));
    for gated in [false, true] {
        let cell = Cell::new(gated);
        let spec = (
            &cell,
            Tensor::spec(DType::F32, [batch.clone(), 2.into()]),
            Tensor::spec(DType::F32, [length.clone(), batch.clone(), 3.into()]),
        );
        let case = |length, batch| (cell.clone(), counting(&[batch, 2]), counting(&[length, batch, 3]));
        let cases = [case(1, 1), case(4, 2), case(3, 5), case(0, 2)];
        let forward = |(cell, h, xs): (Cell, Tensor, Tensor)| {
            scan(
                |h: Tensor, x: Tensor| {
                    let h = cell.step(&h, &x);
                    (h.clone(), (h.sum(.., false), h))
                },
                &h,
                &xs,
            )
        };
        let text = agree(forward, &spec, &cases);
        assert!(text.contains("scan"), "{text}");
        let backward = |(cell, h, xs): (Cell, Tensor, Tensor)| {
            scan_reverse(|h: Tensor, x: Tensor| (cell.step(&h, &x), &h + 1.0), &h, &xs)
        };
        agree(backward, &spec, &cases);
    }
}

#[test]
fn loops_nest() {
    // Powers of each row's matrix until its trace exceeds a bound, within a scan, within a branch.
    let f = |xs: Tensor| {
        let total = xs.sum(.., false);
        let walk = |xs: Tensor| {
            let row = |sum: Tensor, x: Tensor| {
                let grown = while_loop(
                    |y: &Tensor| y.sum(.., false).lt(&total),
                    |y: Tensor| &y * 3.0 + &x.abs() + 1.0,
                    &x,
                );
                (&sum + &grown.sum(.., false), grown)
            };
            scan(row, Tensor::scalar(0.0f32), &xs)
        };
        cond(&total.gt(0.0), walk, |xs: Tensor| (xs.sum(.., false), xs), &xs)
    };
    let spec = Tensor::spec(DType::F32, [Dim::symbol("n", 1..), 2.into()]);
    agree(f, spec, &[counting(&[3, 2]), counting(&[9, 2]), counting(&[1, 2])]);
}

#[test]
fn large_constants_are_shared_by_regions() {
    let w = Tensor::from_f64s((0..1600).map(|i| f64::from(i % 7)), DType::F32, &[40, 40]).unwrap();
    let f = |x: Tensor| {
        let y = x.matmul(&w);
        let body = |h: Tensor, x: Tensor| (x.matmul(&w) + &h, ());
        let (y, ()) = scan(body, y.sum(0, false), &x);
        y.matmul(&w)
    };
    let x = Tensor::from_f64s((0..120).map(|i| f64::from(i % 5)), DType::F32, &[3, 40]).unwrap();
    let traced = trace(f, &x).unwrap();
    assert_eq!(traced.graph().consts.iter().filter(|c| c.literal.len() == 1600).count(), 1, "{traced}");
    agree(f, &x, &[tensors_of(&x)]);
}

#[test]
fn regions_know_the_sizes_around_them() {
    let f = |x: Tensor| {
        let n = x.dim(0);
        let zeros = || Tensor::scalar(0.0f32).broadcast_to((n.clone(), 2));
        let fill = |v: Tensor| {
            v.broadcast_to((n.clone(), 2)) + Tensor::scalar(1.0f32).broadcast_to([n.clone(), 1.into()])
        };
        let a = cond(&x.sum(.., false).gt(0.0), |_: Tensor| zeros(), fill, Tensor::scalar(2.0f32));
        let (b, ys) = scan(|h: Tensor, x: Tensor| (&h + &x, h.sum(0, false)), zeros(), &x);
        (
            a,
            b,
            ys,
            while_loop(
                |h: &Tensor| h.sum(.., false).lt(50.0),
                |h: Tensor| h * 2.0 + fill(x.sum(.., false).abs()),
                zeros(),
            ),
        )
    };
    let spec = Tensor::spec(DType::F32, [Dim::symbol("n", 1..), 2.into()]);
    agree(f, spec, &[counting(&[3, 2]), counting(&[7, 2]), counting(&[1, 2])]);
}

/// What a traced function does wrong, which begins with the line of the call.
#[track_caller]
fn refused<O: TensorTree>(line: u32, f: impl Fn(Tensor) -> O, parts: &[&str]) {
    let result = trace(&f, Tensor::spec(DType::F32, [Dim::symbol("n", 1..), 2.into()]));
    let message = match result {
        Err(Error::Trace(error)) => error.to_string(),
        Err(other) => panic!("another error: {other}"),
        Ok(_) => panic!("no error"),
    };
    let eager =
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(f(counting(&[3, 2]))))).unwrap_err();
    let eager = eager.downcast_ref::<String>().unwrap();
    for message in [&message, eager] {
        assert!(message.starts_with(&format!("tests/control.rs:{line}: ")), "line {line}: {message}");
    }
    for part in parts {
        assert!(message.contains(part), "{part}: {message}");
    }
}

#[test]
fn predicates_are_single_truth_values() {
    let at = line!() + 1;
    let many = |x: Tensor| cond(&x.gt(0.0), |x: Tensor| x, |x: Tensor| x, &x);
    refused(at, many, &["bool[n, 2]", "`all` or `any`"]);
    let at = line!() + 1;
    let number = |x: Tensor| cond(&x.sum(.., false), |x: Tensor| x, |x: Tensor| x, &x);
    refused(at, number, &["predicate", "f32[]"]);
    let at = line!() + 1;
    let many = |x: Tensor| while_loop(|x: &Tensor| x.gt(0.0), |x: Tensor| x, &x);
    refused(at, many, &["condition", "bool[n, 2]"]);
}

#[test]
fn types_do_not_change() {
    let at = line!() + 1;
    let body = |x: Tensor| while_loop(|x: &Tensor| x.sum(.., false).lt(9.0), |x: Tensor| x.sum(0, false), &x);
    refused(at, body, &["while_loop: the body changes a type: `carry`", "f32[n, 2] before", "f32[2] after"]);
    let at = line!() + 1;
    let body = |x: Tensor| scan(|h: Tensor, x: Tensor| (&h + &x, ()), Tensor::scalar(0.0f32), &x);
    refused(at, body, &["scan", "`carry`", "f32[] before", "f32[2] after"]);
    let at = line!() + 1;
    let walk = |x: Tensor| scan(|h: Tensor, _: Tensor| (h, ()), &x, x.sum(.., false));
    refused(at, walk, &["`x` is f32[]", "no axis to walk along"]);
    let uneven = |x: Tensor| scan(|h: Tensor, _: (Tensor, Tensor)| (h, ()), &x, (&x, &x.i(1..)));
    let message = trace(uneven, counting(&[3, 2])).unwrap_err().to_string();
    assert!(message.contains("`0` and `1` differ: f32[3, 2] and f32[2, 2]"), "{message}");
    // Branches: only a trace sees both.
    let at = line!() + 2;
    let differ = |x: Tensor| {
        cond(&x.sum(.., false).gt(0.0), |x: Tensor| (x.clone(), x), |x: Tensor| (x.sum(0, false), x), &x)
    };
    let message = trace(differ, counting(&[3, 2])).unwrap_err().to_string();
    assert!(message.starts_with(&format!("tests/control.rs:{at}: cond: the branches differ")), "{message}");
    assert!(message.contains("`0` is f32[3, 2] in `then` and f32[2] in `otherwise`"), "{message}");
    let differ =
        |x: Tensor| cond(&x.sum(.., false).gt(0.0), |x: Tensor| vec![x], |x: Tensor| vec![x.clone(), x], &x);
    let message = trace(differ, counting(&[3, 2])).unwrap_err().to_string();
    assert!(
        message.contains("another structure") && message.contains("had 1 elements and has 2"),
        "{message}"
    );
}

#[test]
fn values_stay_in_their_branch() {
    let at = line!() + 3;
    let leak = |x: Tensor| {
        let mut kept = None;
        cond(&x.sum(.., false).gt(0.0), |x: Tensor| kept.insert(&x + 1.0).clone(), |x: Tensor| x, &x)
            + kept.unwrap()
    };
    let message = trace(leak, counting(&[2])).unwrap_err().to_string();
    assert!(message.starts_with(&format!("tests/control.rs:{at}: ")), "{message}");
    assert!(message.contains("branch `then` of cond") && message.contains("has ended"), "{message}");
    // Reading inside a branch is refused as outside.
    let at = line!() + 2;
    let read = |x: Tensor| {
        cond(&x.sum(.., false).gt(0.0), |x: Tensor| t(&x.to_vec::<f32>().unwrap()), |x: Tensor| x, &x)
    };
    let message = trace(read, counting(&[2])).unwrap_err().to_string();
    assert!(message.starts_with(&format!("tests/control.rs:{at}: the elements of f32[2]")), "{message}");
}
