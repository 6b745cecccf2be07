//! Operators that a function of the runtime library computes: with what comes before and after them, on symbolic
//! shapes, fused and unfused, they agree with the graph interpreter.

mod support;

use fornax_compiler::{Optimizer, Options, lower};
use fornax_ir::graph::{self, Builder, Graph, TensorType, ops, saved, text};
use fornax_ir::scalar::{ReduceOp, UnaryOp};
use fornax_ir::{DType, Dim, Literal};
use support::{dims, f32s, native, noise, on_e_nodes, on_kernels};

/// Runs a graph in every way there is; the number of kernels when all is fused.
fn agree(name: &str, g: &Graph, args: &[Literal]) -> usize {
    let mut bytes = vec![];
    saved::write(g, &saved::Weights::Inside, &mut bytes).unwrap_or_else(|e| panic!("{name}: {e}"));
    let back = saved::decode(bytes.into(), &mut |_| Err("there is no other file".into()));
    assert_eq!(graph::difference(g, &back.unwrap_or_else(|e| panic!("{name}: {e}")), true), None, "{name}");
    let printed = text::print(g, true);
    let read = text::parse(&printed).unwrap_or_else(|e| panic!("{name}: {e}\n{printed}"));
    assert_eq!(graph::difference(g, &read, true), None, "{name}");
    let want = graph::interp::run(g, args).unwrap_or_else(|e| panic!("{name}: {e}"));
    let shapes: Vec<_> = args.iter().map(|a| (a.shape(), a.dtype())).collect();
    let bound = graph::interp::bind(g, &shapes).unwrap();
    on_e_nodes(name, g, args);
    let mut kernels = 0;
    for optimizer in [Optimizer::None, Optimizer::Greedy, Optimizer::EGraph] {
        let lowered = lower(g.clone(), &Options { optimizer, ..Options::default() })
            .unwrap_or_else(|e| panic!("{name}, {optimizer:?}: {e}"));
        on_kernels(&format!("{name}, {optimizer:?}"), &lowered, bound.values(), args, &want);
        kernels = lowered.program.calls.len();
        native(name, lowered, bound.values(), args, &want);
    }
    kernels
}

#[test]
fn running_combinations_between_elementwise_operators() {
    for (op, axis) in [(ReduceOp::Sum, 0), (ReduceOp::Max, 1), (ReduceOp::Prod, 2), (ReduceOp::Sum, 2)] {
        for form in 0..4 {
            let mut b = Builder::new("cumulative");
            let x = b.input("x", f32s(&["n", "5", "m"]));
            let y = b.unary(UnaryOp::Tanh, x).unwrap();
            let c = ops::Cumulative { op, axis, exclusive: form & 1 != 0, reverse: form & 2 != 0 };
            let z = b.add(c, &[y]).unwrap();
            let z = b.unary(UnaryOp::Neg, z).unwrap();
            b.output("z", z);
            let args = [noise(&[3, 5, 37], 2)];
            assert_eq!(agree(&format!("{op} {axis} {form}"), &b.finish(), &args), 3);
        }
    }
}

#[test]
fn running_combinations_of_what_no_memory_holds_and_of_every_dtype() {
    for dtype in
        [DType::I8, DType::U8, DType::I16, DType::I32, DType::U64, DType::F16, DType::BF16, DType::F64]
    {
        let mut b = Builder::new("cumulative");
        let x = b.input("x", TensorType::new(DType::I32, dims(&["n", "600"])));
        let x = b.cast(x, dtype).unwrap();
        for axis in 0..2 {
            let c = ops::Cumulative { op: ReduceOp::Max, axis, exclusive: false, reverse: axis == 0 };
            let y = b.add(c, &[x]).unwrap();
            b.output(&format!("y{axis}"), y);
        }
        let count = b.add(ops::Iota { dtype, shape: dims(&["n", "2"]), axis: 0 }, &[]).unwrap();
        let sums = b.cumsum(count, 0, true, false).unwrap();
        b.output("sums", sums);
        let numbers: Vec<i32> = (0..4 * 600).map(|i| (i * 7919) % 100).collect();
        agree(dtype.info().name, &b.finish(), &[Literal::from_vec(&[4, 600], numbers).unwrap()]);
    }
}

/// Integers below a limit, as indices.
fn places(shape: &[usize], limit: i64, seed: i64) -> Literal {
    let n = shape.iter().product::<usize>() as i64;
    let at = |i: i64| (i * 7919 + seed * 31) % (2 * limit) - limit;
    Literal::from_vec(shape, (0..n).map(at).collect::<Vec<i64>>()).unwrap()
}

#[test]
fn updates_of_rows_elements_and_places_of_several_axes() {
    for update in ops::Update::ALL {
        let mut b = Builder::new("scatter");
        let x = b.input("x", f32s(&["n", "6", "m"]));
        let rows = b.input("rows", TensorType::new(DType::I64, dims(&["k"])));
        let u = b.input("u", f32s(&["n", "k", "m"]));
        let x = b.unary(UnaryOp::Neg, x).unwrap();
        let y = b.scatter(*update, &[1], x, u, &[rows]).unwrap();
        let y = b.unary(UnaryOp::Abs, y).unwrap();
        b.output("rows", y);
        let each = b.input("each", TensorType::new(DType::I64, dims(&["n", "3", "m"])));
        let v = b.input("v", f32s(&["n", "3", "m"]));
        let z = b.scatter_elements(*update, 1, x, v, each).unwrap();
        b.output("each", z);
        let pairs = b.input("pairs", TensorType::new(DType::I32, dims(&["2", "4"])));
        let pair = |b: &mut Builder, at: i64| {
            let one = b.slice_axis(pairs, 0, at.into(), 1.into()).unwrap();
            b.reshape(one, dims(&["4"])).unwrap()
        };
        let (p, q) = (pair(&mut b, 0), pair(&mut b, 1));
        let w = b.input("w", f32s(&["4", "6"]));
        // Axes that are no neighbours: the others stand behind those of the indices.
        let z = b.scatter(*update, &[0, 2], x, w, &[p, q]).unwrap();
        b.output("several", z);
        let pairs = Literal::from_vec(&[2, 4], vec![0i32, 1, -1, 0, 2, -3, 4, 2]).unwrap();
        let args = [
            noise(&[2, 6, 5], 1),
            places(&[9], 6, 1),
            noise(&[2, 9, 5], 2),
            places(&[2, 3, 5], 6, 2),
            noise(&[2, 3, 5], 3),
            pairs,
            noise(&[4, 6], 4),
        ];
        agree(update.name(), &b.finish(), &args);
    }
}

#[test]
fn updates_outside_are_dropped_and_reported() {
    let mut b = Builder::new("outside");
    let x = b.input("x", f32s(&["4"]));
    let i = b.input("i", TensorType::new(DType::I64, dims(&["k"])));
    let u = b.input("u", f32s(&["k"]));
    let y = b.scatter(ops::Update::Add, &[0], x, u, &[i]).unwrap();
    b.output("y", y);
    let indices = Literal::from_vec(&[3], vec![4i64, 1, -5]).unwrap();
    agree("outside", &b.finish(), &[noise(&[4], 1), indices, noise(&[3], 2)]);
}

#[test]
fn a_scatter_takes_over_the_memory_of_what_it_updates() {
    let mut b = Builder::new("chain");
    let mut x = b.input("x", f32s(&["50", "8"]));
    let i = b.input("i", TensorType::new(DType::I64, dims(&["k"])));
    let u = b.input("u", f32s(&["k", "8"]));
    for _ in 0..5 {
        x = b.scatter(ops::Update::Add, &[0], x, u, &[i]).unwrap();
    }
    let y = b.unary(UnaryOp::Neg, x).unwrap();
    b.output("y", y);
    let g = b.finish();
    agree("chain", &g, &[noise(&[50, 8], 1), places(&[7], 50, 3), noise(&[7, 8], 2)]);
    let lowered = lower(g, &Options::default()).unwrap();
    assert_eq!(lowered.program.slots.len(), 1, "{}", lowered.program);
}

#[test]
fn elements_and_places_in_order_are_one_kernel() {
    for (axis, descending, count) in [(0, false, "n"), (1, true, "3"), (2, false, "m"), (2, true, "2")] {
        let mut b = Builder::new("sort");
        let x = b.input("x", f32s(&["n", "20", "m"]));
        let y = b.unary(UnaryOp::Tanh, x).unwrap();
        let y = b.unary(UnaryOp::Round, y).unwrap();
        let (values, at) = b.sort(y, axis, descending, count.parse().unwrap()).unwrap();
        let at = b.unary(UnaryOp::Neg, at).unwrap();
        b.output("values", values);
        b.output("at", at);
        let mut x = noise(&[3, 20, 7], 2).to_slice::<f32>().unwrap().into_owned();
        x[5] = f32::NAN;
        let args = [Literal::from_vec(&[3, 20, 7], x).unwrap()];
        assert_eq!(agree(&format!("{axis} {count}"), &b.finish(), &args), 3);
    }
}

#[test]
fn long_rows_of_every_dtype_in_order() {
    for dtype in [DType::I8, DType::U16, DType::I32, DType::U64, DType::F16, DType::BF16, DType::F64] {
        let mut b = Builder::new("sort");
        let x = b.input("x", TensorType::new(DType::I64, dims(&["2", "n"])));
        let x = b.cast(x, dtype).unwrap();
        let (sorted, _) = b.sort(x, 1, false, Dim::symbol("n")).unwrap();
        let (_, best) = b.sort(x, 1, true, Dim::constant(5)).unwrap();
        b.output("sorted", sorted);
        b.output("best", best);
        agree(dtype.info().name, &b.finish(), &[places(&[2, 900], 120, 5)]);
    }
}
