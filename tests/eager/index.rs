#![allow(clippy::reversed_empty_ranges, reason = "bounds count from the end, and steps may go backwards")]

use fornax::{DType, Ellipsis, Index, NewAxis, Tensor, step};

fn matrix() -> Tensor {
    Tensor::arange(0, 12, 1).reshape([3, 4])
}

#[test]
fn indices_name_parts_as_in_numpy() {
    let x = matrix();
    let rows: [(Tensor, Tensor); 14] = [
        (x.i(1), Tensor::from([4, 5, 6, 7])),
        (x.i(-1), Tensor::from([8, 9, 10, 11])),
        (x.i((2, 3)), Tensor::from(11)),
        (x.i((.., 1)), Tensor::from([1, 5, 9])),
        (x.i((1.., ..2)), Tensor::from([[4, 5], [8, 9]])),
        (x.i((-2.., -1)), Tensor::from([7, 11])),
        (x.i((0..=1, 1..=-1)), Tensor::from([[1, 2, 3], [5, 6, 7]])),
        (x.i((Ellipsis, 0)), Tensor::from([0, 4, 8])),
        (x.i((0, step(.., 2))), Tensor::from([0, 2])),
        (x.i((0, step(.., -1))), Tensor::from([3, 2, 1, 0])),
        (x.i((0, step(3..0, -2))), Tensor::from([3, 1])),
        (x.i((step(.., -2), 0)), Tensor::from([8, 0])),
        (x.i((5.., 0)), Tensor::zeros(&[0], DType::I32).unwrap()),
        (x.i((0, 1..100)), Tensor::from([1, 2, 3])),
    ];
    for (i, (actual, expected)) in rows.iter().enumerate() {
        assert_eq!(actual, expected, "row {i}");
    }
    assert_eq!(x.i((NewAxis, .., NewAxis, 0)).shape(), [1, 3, 1]);
    assert_eq!(x.i(&[Index::Rest, Index::At(-1)][..]), Tensor::from([3, 7, 11]));
    let deep = Tensor::arange(0, 256, 1).reshape([2; 8]);
    assert_eq!(deep.i((1, Ellipsis, 1)).shape(), [2; 6]);
    assert_eq!(deep.i((1, 1, 1, 1, 1, 1, 1, 1)).item::<i32>(), 255);
}

#[test]
fn parts_of_parts_compute() {
    let x = matrix();
    let part = x.i((step(.., -1), step(1.., 2)));
    assert_eq!(&part + &part, Tensor::from([[18, 22], [10, 14], [2, 6]]));
    assert_eq!(part.i(0).sum(.., false).item::<i64>(), 20);
    let nothing = x.i((0..0, ..));
    assert_eq!((&nothing * 2).shape(), [0, 4]);
}

#[test]
fn rows_are_iterated() {
    let x = matrix();
    let mut sum = 0;
    for row in &x {
        sum += row.i(0).item::<i32>();
    }
    assert_eq!(sum, 12);
    assert_eq!(x.iter().next_back().unwrap(), x.i(2));
    assert_eq!(x.iter().len(), 3);
}

#[test]
fn values_are_read() {
    assert!(matrix().ge(0).all(.., false).is_true());
    assert_eq!(matrix().t().to_vec::<i32>().unwrap()[..3], [0, 4, 8]);
    assert_eq!(matrix().t().as_slice::<i32>().unwrap().len(), 12);
    let x = Tensor::from([1.0f32, 2.0]);
    assert!(x.allclose(&(&x + 1e-6), 1e-5, 0.0) && !x.allclose(&(&x + 1e-3), 1e-5, 0.0));
    assert!(!x.allclose(&x.unsqueeze(0), 1.0, 1.0));
    assert!(x == x.clone() && x != Tensor::from([1.0f64, 2.0]));
}

#[test]
fn indices_of_a_narrow_dtype_reach_every_row() {
    let x = Tensor::arange(0, 600, 1).reshape([300, 2]);
    let (last, narrow) = (x.i((.., 1..)), Tensor::full([300, 1], 1, DType::U8));
    assert_eq!(x.gather(1, &narrow), last);
    assert_eq!(x.gather(-1, &(narrow.to_dtype(DType::I8) * -1)), last);
    assert_eq!(x.gather(0, &Tensor::from([[-1i8, 127]])), Tensor::from([[598, 255]]));
}

#[test]
fn triangles_of_any_diagonal() {
    let x = matrix();
    for (diagonal, lower) in [(i64::MAX, true), (9, true), (-9, false), (i64::MIN, false)] {
        let (all, none) = (x.clone(), x.zeros_like());
        let expected = if lower { (&all, &none) } else { (&none, &all) };
        assert_eq!((&x.tril(diagonal), &x.triu(diagonal)), expected, "{diagonal}");
    }
}
