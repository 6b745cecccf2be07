//! What is compiled for eager operations, and what is found again. One test, because the cache belongs to the whole
//! program.

use fornax::{DType, Tensor, Window, cat, eager};

fn floats(shape: &[usize]) -> Tensor {
    let n: usize = shape.iter().product();
    Tensor::from_f64s((0..n).map(|i| (i % 7) as f64 - 3.0), DType::F32, shape).unwrap()
}

/// Programs compiled by `f`.
fn compiled(f: impl FnOnce()) -> u64 {
    let before = eager::cache_stats();
    f();
    let after = eager::cache_stats();
    assert!(after.hits + after.misses > before.hits + before.misses, "nothing ran");
    after.misses - before.misses
}

/// A name, and what runs.
type Operation = (&'static str, Box<dyn Fn()>);

/// Each operation on sizes from `n` on.
fn operations(n: usize) -> Vec<Operation> {
    let x = floats(&[n, n + 3]);
    let (row, square, weight) = (floats(&[n + 3]), floats(&[n + 3, n + 3]), floats(&[n + 5, n + 3]));
    let (image, kernel) = (floats(&[2, n, n + 9, n + 8]), floats(&[n + 1, n, 3, 3]));
    let table = floats(&[n * 4, n]);
    let at = Tensor::from([1i64, 0]).repeat(&[n]);
    let queries = floats(&[2, n + 1, n]);
    let number = n as f64 + 0.5;
    vec![
        (
            "add",
            Box::new({
                let x = x.clone();
                move || drop(&x + &x)
            }),
        ),
        (
            "add a row",
            Box::new({
                let (x, row) = (x.clone(), row.clone());
                move || drop(&x + &row)
            }),
        ),
        (
            "scale",
            Box::new({
                let x = x.clone();
                move || drop(&x * number)
            }),
        ),
        (
            "transposed",
            Box::new({
                let x = x.clone();
                move || drop(x.t().exp())
            }),
        ),
        (
            "sliced",
            Box::new({
                let x = x.clone();
                move || drop(x.i((.., 1..)).tanh())
            }),
        ),
        (
            "sum",
            Box::new({
                let x = x.clone();
                move || drop(x.sum(1, true))
            }),
        ),
        (
            "softmax",
            Box::new({
                let x = x.clone();
                move || drop(x.softmax(-1))
            }),
        ),
        (
            "cumsum",
            Box::new({
                let x = x.clone();
                move || drop(x.cumsum(0))
            }),
        ),
        (
            "argmax",
            Box::new({
                let x = x.clone();
                move || drop(x.argmax(0, false))
            }),
        ),
        (
            "layer_norm",
            Box::new({
                let (x, row) = (x.clone(), row.clone());
                move || drop(x.layer_norm(Some(&row), Some(&row), 1e-5))
            }),
        ),
        (
            "matmul",
            Box::new({
                let (x, square) = (x.clone(), square.clone());
                move || drop(x.matmul(&square))
            }),
        ),
        (
            "linear",
            Box::new({
                let x = x.clone();
                move || drop(x.linear(&weight, None))
            }),
        ),
        (
            "batched",
            Box::new({
                let q = queries.clone();
                move || drop(q.matmul(&q.t()))
            }),
        ),
        (
            "attention",
            Box::new({
                let q = queries.clone();
                move || drop(q.scaled_dot_product_attention(&q, &q, None))
            }),
        ),
        (
            "conv2d",
            Box::new(move || {
                drop(image.conv2d(&kernel, None, Window { padding: [1, 1], ..Window::default() }))
            }),
        ),
        (
            "cat",
            Box::new({
                let x = x.clone();
                move || drop(cat(&[&x, &x, &x], 0))
            }),
        ),
        ("embedding", Box::new(move || drop(table.embedding(&at)))),
        (
            "tril",
            Box::new({
                let x = x.clone();
                move || drop(x.tril(number as i64 - 4))
            }),
        ),
    ]
}

#[test]
fn a_new_shape_compiles_nothing() {
    for (name, run) in operations(4) {
        assert!(compiled(&run) >= 1, "{name}: its first use compiles");
        assert_eq!(compiled(&run), 0, "{name}: its second use compiles");
    }
    for n in [5, 11, 16] {
        for (name, run) in operations(n) {
            assert_eq!(compiled(run), 0, "{name}: a new size compiles");
        }
    }
    // Rank does not matter where axes lie as one.
    let deep = floats(&[2, 3, 4, 5]);
    assert_eq!(compiled(|| drop(&deep + &deep)), 0);
    assert_eq!(compiled(|| drop(deep.t().reshape([-1]) + 1)), 1);

    // Another number of threads runs the same code, and another thread finds it.
    let x = floats(&[9, 12]);
    let sum = x.sum(1, true);
    assert_eq!(compiled(|| assert_eq!(eager::with_threads(1, || x.sum(1, true)), sum)), 0);
    let other = std::thread::spawn({
        let x = x.clone();
        move || x.sum(1, true)
    });
    assert_eq!(other.join().unwrap(), sum);
    assert_eq!(eager::with_threads(2, eager::threads), 2);

    // Many threads that need one new program compile it once.
    let threads = |x: &Tensor| {
        std::thread::scope(|s| {
            for _ in 0..4 {
                s.spawn(|| assert_eq!(x.prod(0, false).shape(), [12]));
            }
        });
    };
    assert_eq!(compiled(|| threads(&x)), 1);

    // A program that only fits exact extents is compiled for each; a failed one is not kept.
    let images = [floats(&[2, 6, 4]), floats(&[2, 8, 4])];
    let norm = |x: &Tensor| drop(x.group_norm(2, &floats(&[x.shape()[1]]), &floats(&[x.shape()[1]]), 1e-5));
    assert_eq!(images.each_ref().map(|x| compiled(|| norm(x))), [1, 1]);
    assert_eq!(compiled(|| norm(&images[0])), 0);

    // The bound holds, the longest unused goes first, and what was dropped is compiled again.
    eager::set_cache_limit(4);
    assert_eq!(eager::cache_stats().entries, 4);
    let uses: [fn(&Tensor) -> Tensor; 4] = [Tensor::sin, Tensor::cos, Tensor::exp, Tensor::sqrt];
    uses.iter().for_each(|f| drop(f(&x)));
    let _ = x.sin();
    assert_eq!(compiled(|| drop(x.abs())), 1);
    assert_eq!(compiled(|| drop(x.sin())), 0);
    assert_eq!(compiled(|| drop(x.cos())), 1);
    assert_eq!(eager::cache_stats().entries, 4);
}
