//! Binding, guards, errors and liveness of the interpreter.

use super::{dim, dims, f32s, filled, lit, ty};
use fornax_ir::graph::interp::{InterpError, bind, eval_const, run, run_all};
use fornax_ir::graph::ops::*;
use fornax_ir::graph::{Builder, Graph, Op};
use fornax_ir::scalar::{BinaryOp, UnaryOp};
use fornax_ir::{DType, Literal};

fn sum_graph() -> Graph {
    let mut b = Builder::new("t");
    b.set_range("n", 1, Some(8));
    let x = b.input("x", ty("f32 n 3"));
    let y = b.input("y", ty("f32 n m"));
    b.set_loc("Add 'sum'");
    let z = b.binary(BinaryOp::Add, x, y).unwrap();
    b.output("z", z);
    b.finish()
}

#[test]
fn binding_errors_name_input_axis_symbol_and_values() {
    let g = sum_graph();
    let zeros = |shape: &[usize]| filled(shape, |_| 0.0);
    let table: Vec<(Vec<Literal>, &str)> = vec![
        (vec![zeros(&[2, 3])], "the graph takes 2 inputs (x, y), but 1 were given"),
        (vec![zeros(&[2, 3]), lit(&[1, 1], &[0i64])], "input `y` must be f32, but i64 was given"),
        (
            vec![zeros(&[2, 3]), zeros(&[2])],
            "input `y` must be f32[n, m], with 2 axes, but shape [2] was given",
        ),
        (vec![zeros(&[2, 4]), zeros(&[2, 3])], "input `x`: axis 1 must be 3, but is 4"),
        (
            vec![zeros(&[2, 3]), zeros(&[5, 3])],
            "input `y`: axis 0 must be n = 2 (n = 2 from axis 0 of `x`), but is 5",
        ),
        (
            vec![zeros(&[9, 3]), zeros(&[9, 3])],
            "input `x`, axis 0: dimension `n` is 9, outside its declared range 1..=8",
        ),
        (vec![zeros(&[0, 3]), zeros(&[0, 3])], "dimension `n` is 0, outside"),
        (
            vec![zeros(&[2, 3]), zeros(&[2, 4])],
            "Add 'sum': broadcast: extents must be equal or 1: 3 is not m = 4",
        ),
    ];
    for (args, want) in table {
        let e = run(&g, &args).expect_err(want).to_string();
        assert!(e.contains(want), "`{e}` lacks `{want}`");
    }
    let z = run(&g, &[zeros(&[2, 3]), filled(&[2, 3], |i| i as f32)]).unwrap();
    assert_eq!(f32s(&z.outputs[0]), [0., 1., 2., 3., 4., 5.]);
    assert_eq!(z.index_error, None);
}

#[test]
fn linear_extents_give_their_symbol() {
    let mut b = Builder::new("t");
    let x = b.input("x", ty("f32 2*n+1 n*m"));
    b.output("x", x);
    let g = b.finish();
    let shape = |s: &'static [usize]| bind(&g, &[(s, DType::F32)]);
    let bound = shape(&[7, 12]).unwrap();
    assert_eq!((bound.get("n"), bound.get("m"), bound.values().len()), (Some(3), Some(4), 2));
    assert!(matches!(shape(&[8, 12]), Err(InterpError::Unsolvable { axis: 0, .. })));
    assert!(matches!(shape(&[7, 13]), Err(InterpError::Unsolvable { axis: 1, .. })));
    assert!(matches!(shape(&[0, 0]), Err(InterpError::Unsolvable { .. } | InterpError::Range { .. })));
}

#[test]
fn the_first_index_error_is_told_beside_the_outputs() {
    let mut b = Builder::new("t");
    let x = b.input("x", ty("f32 3"));
    let i = b.input("i", ty("i64 2"));
    b.set_loc("Gather 'rows'");
    let y = b.add(Gather { axes: vec![0] }, &[x, i]).unwrap();
    b.set_loc("Gather 'again'");
    let z = b.add(Gather { axes: vec![0] }, &[y, i]).unwrap();
    b.output("y", y);
    b.output("z", z);
    let g = b.finish();
    let x = lit(&[3], &[1f32, 2., 3.]);
    let out = run(&g, &[x.clone(), lit(&[2], &[-3i64, 3])]).unwrap();
    assert_eq!(out.index_error.as_deref(), Some("Gather 'rows'"));
    assert_eq!(f32s(&out.outputs[0]), [1.0, 0.0]);
    let out = run(&g, &[x, lit(&[2], &[0i64, 2])]).unwrap();
    assert_eq!(out.index_error.as_deref(), Some("Gather 'again'"));
    assert_eq!(f32s(&out.outputs[1]), [1.0, 0.0]);
}

#[test]
fn dead_nodes_do_not_run_and_run_all_gives_every_value() {
    let mut b = Builder::new("t");
    let x = b.input("x", ty("f32 2"));
    let y = b.unary(UnaryOp::Neg, x).unwrap();
    let huge = b.broadcast_to(y, &dims("1099511627776 2")).unwrap();
    let z = b.unary(UnaryOp::Abs, y).unwrap();
    b.output("z", z);
    b.output("x", x);
    let g = b.finish();
    let out = run(&g, &[lit(&[2], &[1f32, -2.])]).unwrap();
    assert_eq!((f32s(&out.outputs[0]), f32s(&out.outputs[1])), (vec![1., 2.], vec![1., -2.]));

    let mut b = Builder::new("t");
    let x = b.input("x", ty("f32 n"));
    b.unary(UnaryOp::Neg, x).unwrap();
    let all = run_all(&b.finish(), &[lit(&[2], &[1f32, -2.])]).unwrap();
    assert_eq!(f32s(&all[1]), [-1., 2.]);
    assert_eq!(g.ty(huge).rank(), 2);
}

#[test]
fn what_cannot_be_allocated_is_an_error_with_its_place() {
    let mut b = Builder::new("t");
    let x = b.input("x", ty("f32 n"));
    b.set_loc("Expand 'big'");
    let shape = [dim("n*288230376151711744"), dim("n")];
    let y = b.broadcast_to(x, &shape).unwrap();
    b.output("y", y);
    let e = run(&b.finish(), &[filled(&[3], |_| 0.0)]).unwrap_err().to_string();
    assert!(e.starts_with("Expand 'big': ") && e.contains("than memory can hold"), "{e}");
}

#[test]
fn constants_fold() {
    let mut b = Builder::new("t");
    let x = b.constant("", lit(&[2], &[1.5f32, -2.]));
    let i = b.constant("", lit(&[1], &[2i64]));
    let (neg, input) = (b.unary(UnaryOp::Neg, x).unwrap(), b.input("in", ty("f32 2")));
    let outside = b.add(Gather { axes: vec![0] }, &[x, i]).unwrap();
    let count = b.add(Iota { dtype: DType::I32, shape: dims("3"), axis: 0 }, &[]).unwrap();
    let sized = b.add(Iota { dtype: DType::I32, shape: dims("n"), axis: 0 }, &[]).unwrap();
    let mixed = b.add(Op::from(Binary(BinaryOp::Add)), &[x, input]).unwrap();
    let g = b.finish();
    assert_eq!(eval_const(&g, neg), Some(lit(&[2], &[-1.5f32, 2.])));
    assert_eq!(eval_const(&g, count), Some(lit(&[3], &[0i32, 1, 2])));
    for v in [outside, sized, mixed, input] {
        assert_eq!(eval_const(&g, v), None);
    }
}
