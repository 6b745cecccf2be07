//! Operators that a function of the runtime library computes: with what comes before and after them, on symbolic
//! shapes, fused and unfused, they agree with the graph interpreter.

mod support;

use fornax_compiler::{Optimizer, Options, lower};
use fornax_ir::graph::{self, Builder, Graph, TensorType, ops, saved, text};
use fornax_ir::scalar::{ReduceOp, UnaryOp};
use fornax_ir::{DType, Literal};
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
