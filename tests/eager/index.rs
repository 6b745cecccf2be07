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

#[test]
fn updates_are_written_or_added_in_their_order() {
    let x = matrix();
    let (i, u) = (Tensor::from([[2, 0, -1, 2], [2, 1, 2, 2]]), Tensor::arange(100, 112, 1).reshape([3, 4]));
    let put = x.scatter(0, &i, &u);
    assert_eq!(put, Tensor::from([[0, 101, 2, 3], [4, 105, 6, 7], [104, 9, 106, 107]]));
    let sum = x.scatter_add(0, &i, &u);
    assert_eq!(sum, Tensor::from([[0, 102, 2, 3], [4, 110, 6, 7], [212, 9, 218, 221]]));
    // Fewer indices than elements along the other axis.
    let one = x.scatter(1, &Tensor::from([[3]]), &u);
    assert_eq!(one, Tensor::from([[0, 1, 2, 100], [4, 5, 6, 7], [8, 9, 10, 11]]));
    for n in 1..4i32 {
        let (rows, more) = (Tensor::arange(0, n, 1), Tensor::ones([n as usize, 4], DType::I32));
        let sums = x.index_add(0, &rows, &more);
        assert_eq!(sums.sum(.., false).item::<i64>(), 66 + 4 * i64::from(n));
    }
    let table = Tensor::zeros(&[5, 3], DType::F32).unwrap();
    let words = Tensor::from([[1, 4], [1, 0]]);
    let grown = table.index_put(&[&words], &Tensor::from([1.0f32, 2.0, 3.0]), true);
    assert_eq!(grown.i((.., 2)), Tensor::from([3.0f32, 6.0, 0.0, 0.0, 3.0]));
    assert_eq!(
        table
            .index_put(&[&words, &Tensor::from([[0, 1], [-1, 0]])], &Tensor::from(7.0f32), false)
            .sum(.., false)
            .item::<f32>(),
        28.0
    );
}

#[test]
fn elements_in_order_and_the_best_of_them() {
    let x = Tensor::from([[3.0f32, f32::NAN, 1.0, 3.0], [0.0, -0.0, -5.0, 9.0]]);
    let (values, places) = x.sort(1, false);
    assert_eq!(places, Tensor::from([[2i64, 0, 3, 1], [2, 0, 1, 3]]));
    assert_eq!(values.i((.., 0)), Tensor::from([1.0f32, -5.0]));
    assert_eq!(x.argsort(-1, true), Tensor::from([[1i64, 0, 3, 2], [3, 0, 1, 2]]));
    assert_eq!(x.argsort(0, false).i(0), Tensor::from([1i64, 1, 1, 0]));
    let (best, at) = x.topk(2, 1, false);
    assert_eq!((best, at), (Tensor::from([[1.0f32, 3.0], [-5.0, 0.0]]), Tensor::from([[2i64, 0], [2, 0]])));
    let n = 5000;
    let long =
        Tensor::from_slice(&(0..n).map(|i| (i * 7919) % n).collect::<Vec<i32>>(), &[n as usize]).unwrap();
    assert_eq!(long.sort(0, false).0, Tensor::arange(0, n, 1));
    assert_eq!(long.topk(3, 0, true).0, Tensor::from([n - 1, n - 2, n - 3]));
    let both = fornax::jit(|x: Tensor| x.topk(2, -1, true));
    assert_eq!(both.call(Tensor::from([1, 9, 4])), (Tensor::from([9, 4]), Tensor::from([1i64, 2])));
}
