use super::reference::{Nd, agree, numbers};
use fornax::{
    Backend, DType, Dim, Ellipsis, NewAxis, Options, Tensor, Window, cat, einsum, jit, stack, step,
};

type Function = (&'static str, fn(Tensor) -> Tensor);

/// Functions of a matrix of 6 columns.
const FUNCTIONS: &[Function] = &[
    ("arithmetic", |x| (1.0 - &x) * (&x + 2) / (x.abs() + 0.5) % 1.5),
    ("weights", |x| x.linear(&numbers(&[3, 6], DType::F32, 1), Some(&numbers(&[3], DType::F32, 2)))),
    ("choice", |x| x.gt(0).where_(&x.gelu(), &x.tanh()).clamp(-0.5, 2)),
    ("masks and pads", |x| x.masked_fill(&x.gt(0), 2).pad(&[(1, 0), (0, 2)], -1)),
    ("logic", |x| x.gt(0).logical_and(&x.lt(1)).to_dtype(DType::F32)),
    ("powers", |x| x.pow(2) + x.abs().pow(0.5) + x.leaky_relu(0.1) + x.elu(1.0)),
    ("sums", |x| x.sum(0, true) + x.mean(-1, true) + x.max(.., false)),
    ("spread", |x| x.var(0, 1, false) + x.std(.., 0, false)),
    ("extremes", |x| x.argmax(1, true) + x.argmin(0, false) + x.argmax(.., true)),
    ("running sums", |x| x.cumsum(0)),
    ("whole numbers", |x| x.to_dtype(DType::I32).sum(1, false)),
    ("any", |x| x.gt(2).any(1, false).to_dtype(DType::I8) + x.gt(-9).all(.., false).to_dtype(DType::I8)),
    ("softmax", |x| x.softmax(-1) + x.log_softmax(0) + x.logsumexp(1, true)),
    ("norms", |x| x.layer_norm(None, None, 1e-5) + x.rms_norm(Some(&Tensor::ones([6], DType::F32)), 1e-5)),
    ("views", |x| x.t().unsqueeze(0).transpose(1, 2).squeeze(0).flip(1)),
    ("reshapes", |x| x.reshape([-1, 2, 3]).permute([2, 0, 1]).flatten(1, 2)),
    ("flat", |x| x.flatten(0, -1)),
    ("spec of shape", |x| x.reshape((x.dim(0) * 2, 3))),
    ("broadcast", |x| x.i(0).broadcast_to((x.dim(0), 6)) + x.i((.., ..1)).expand([-1, 6])),
    ("index", |x| x.i((1.., step(.., -2))) + x.i((..-1, 0, NewAxis))),
    ("ellipsis", |x| x.i((Ellipsis, -1)) - x.select(1, 2)),
    ("every other row", |x| x.i((step(.., 2), ..))),
    ("parts", |x| cat(&x.chunk(2, 1).iter().rev().collect::<Vec<_>>(), 1)),
    ("narrow", |x| x.narrow(0, 1, x.dim(0) - 1)),
    ("stack", |x| stack(&[&x, &(&x * 2)], -1)),
    ("many", |x| cat(&[&x; 20], 0)),
    ("repeat", |x| x.repeat(&[2, 1, 2])),
    ("matmul", |x| x.matmul(&x.t()).tril(0).matmul(&x).triu(1)),
    ("einsum", |x| einsum("ij,kj->ki", &[&x, &x])),
    ("lookup", |x| x.index_select(0, &Tensor::from([1i64, -1])) + x.embedding(&Tensor::from([0i32, 1]))),
    ("gather", |x| x.gather(1, &x.argmax(1, true))),
    ("one_hot", |x| x.argmax(1, false).one_hot(6)),
    ("image", |x| {
        let image = x.reshape((1, 1, x.dim(0), 6));
        let y = image.conv2d(
            &numbers(&[2, 1, 3, 3], DType::F32, 3),
            None,
            Window { padding: [1, 1], ..Window::default() },
        );
        y.max_pool2d([2, 2], Window::stride([1, 1])) + y.avg_pool2d([2, 2], Window::stride([1, 1]))
    }),
    ("attention", |x| {
        let mask = Tensor::from([true, true, true, false]);
        let keys = x.narrow(0, 0, 4);
        x.scaled_dot_product_attention(&keys, &keys, Some(&mask))
    }),
];

fn check(backend: Backend, names: &[&str]) {
    for (name, f) in FUNCTIONS.iter().filter(|(name, _)| names.is_empty() || names.contains(name)) {
        let spec = Tensor::spec(DType::F32, [Dim::symbol("n", 4..), Dim::from(6)]);
        let compiled = jit(*f).options(Options::default().threads(1).backend(backend)).spec(spec);
        for n in [4, 7] {
            let x = numbers(&[n, 6], DType::F32, n as u64);
            let (eager, traced) = (f(x.clone()), compiled.call(&x));
            assert_eq!(eager.dtype(), traced.dtype(), "{name}");
            agree(name, &traced, &Nd::of(&eager), 1e-5);
        }
        assert_eq!(compiled.compilations(), 1, "{name}");
    }
}

#[test]
fn a_traced_function_computes_what_the_eager_one_does() {
    check(Backend::Interp, &[]);
}

#[test]
fn and_so_does_its_code() {
    check(Backend::Jit, &["arithmetic", "norms", "views", "index", "matmul", "attention"]);
}
