use super::reference::{Nd, agree, indices, layouts, numbers};
use fornax::{DType, Tensor, cat, stack};

/// The address of the first element: views share it with what they are made of.
fn start(x: &Tensor) -> *const u8 {
    x.as_literal().bytes().as_ptr()
}

#[test]
fn views_move_no_element() {
    let x = numbers(&[2, 3, 4], DType::F32, 1);
    let n = Nd::of(&x);
    agree("permute", &x.permute([2, 0, 1]), &Nd::from_fn(&[4, 2, 3], |i| n.at(&[i[1], i[2], i[0]])), 0.0);
    agree("transpose", &x.transpose(0, -1), &Nd::from_fn(&[4, 3, 2], |i| n.at(&[i[2], i[1], i[0]])), 0.0);
    agree("t", &x.t(), &Nd::from_fn(&[2, 4, 3], |i| n.at(&[i[0], i[2], i[1]])), 0.0);
    agree("flip", &x.flip([0, 2]), &Nd::from_fn(&[2, 3, 4], |i| n.at(&[1 - i[0], i[1], 3 - i[2]])), 0.0);
    agree("narrow", &x.narrow(1, 1, 2), &Nd::from_fn(&[2, 2, 4], |i| n.at(&[i[0], i[1] + 1, i[2]])), 0.0);
    agree("select", &x.select(-2, -1), &Nd::from_fn(&[2, 4], |i| n.at(&[i[0], 2, i[1]])), 0.0);
    assert_eq!(x.unsqueeze(-1).shape(), [2, 3, 4, 1]);
    assert_eq!(x.unsqueeze(1).squeeze(1), x);
    assert_eq!(x.narrow(0, 0, 1).squeeze(..).shape(), [3, 4]);
    assert_eq!(x.broadcast_to([5, 2, 3, 4]).shape(), [5, 2, 3, 4]);
    assert_eq!(x.narrow(0, 0, 1).expand([2, -1, -1]).i(1), x.i(0));
    assert_eq!(x.flatten(1, 2).shape(), [2, 12]);
    assert_eq!(x.flatten(0, -1).shape(), [24]);
    assert_eq!(Tensor::from(1.0f32).flatten(0, -1).shape(), [1]);
    for view in [x.reshape([4, 6]), x.view((2, -1)), x.unsqueeze(0), x.narrow(0, 0, 1), x.squeeze(..)] {
        assert_eq!(start(&view), start(&x));
    }
    assert!(!x.t().is_contiguous() && x.t().contiguous().is_contiguous());
    assert_eq!(x.t().contiguous(), x.t());
}

#[test]
fn reshapes_keep_the_order_of_every_layout() {
    for x in layouts(&[4, 6], DType::I32, 1) {
        for shape in [&[24i32][..], &[2, 2, 6], &[4, 3, 2], &[8, 3], &[3, -1], &[1, 4, 1, 6]] {
            assert_eq!(x.reshape(shape).to_f64_vec(), x.to_f64_vec(), "{shape:?}");
        }
    }
    let none = Tensor::zeros(&[0, 3], DType::F32).unwrap();
    assert_eq!(none.reshape([3, 0]).shape(), [3, 0]);
    assert_eq!(Tensor::from([7]).reshape(()).item::<i32>(), 7);
    assert_eq!(numbers(&[2, 3], DType::F32, 1).reshape((fornax::Dim::from(3), -1)).shape(), [3, 2]);
}

#[test]
fn parts_and_wholes() {
    let x = Tensor::arange(0, 14, 1).reshape([2, 7]);
    let shapes = |parts: Vec<Tensor>| parts.iter().map(|p| p.shape()[1]).collect::<Vec<_>>();
    assert_eq!(shapes(x.split(3, 1)), [3, 3, 1]);
    assert_eq!(shapes(x.chunk(3, -1)), [3, 3, 1]);
    assert_eq!(shapes(x.chunk(9, 1)), [1; 7]);
    let parts = x.split(3, 1);
    assert_eq!(cat(&parts.iter().collect::<Vec<_>>(), 1), x);
    let columns = x.unbind(1);
    assert_eq!(stack(&columns.iter().collect::<Vec<_>>(), -1), x);
    let rows: Vec<Tensor> = x.iter().collect();
    assert_eq!(stack(&rows.iter().collect::<Vec<_>>(), 0), x);
    assert_eq!(Tensor::from([1, 2]).repeat(&[2, 2]), Tensor::from([[1, 2, 1, 2], [1, 2, 1, 2]]));
    // More than one program joins.
    let many: Vec<Tensor> = (0..100).map(|i| Tensor::arange(i, i + i % 3, 1)).collect();
    let expected: Vec<i32> = (0..100).flat_map(|i| i..i + i % 3).collect();
    assert_eq!(cat(&many.iter().collect::<Vec<_>>(), 0), Tensor::from(expected));
    for (a, b) in layouts(&[2, 3], DType::F32, 1).iter().zip(layouts(&[2, 3], DType::F32, 5).iter().rev()) {
        let (m, n) = (Nd::of(a), Nd::of(b));
        let joined = |i: &[usize]| if i[0] < 2 { m.at(i) } else { n.at(&[i[0] - 2, i[1]]) };
        agree("cat", &cat(&[a, b], 0), &Nd::from_fn(&[4, 3], joined), 0.0);
    }
}

#[test]
fn tensors_from_values() {
    assert_eq!(Tensor::from([[1.0f32, 2.0], [3.0, 4.0]]).shape(), [2, 2]);
    assert_eq!(Tensor::from([[[1u8; 4]; 3]; 2]).shape(), [2, 3, 4]);
    assert_eq!(Tensor::from([[true], [false]]).dtype(), DType::Bool);
    assert_eq!((0..3).collect::<Tensor>(), Tensor::from([0, 1, 2]));
    assert_eq!([1.5f64, 2.5].into_iter().collect::<Tensor>(), Tensor::from(vec![1.5f64, 2.5]));
    assert_eq!(Tensor::arange(5, 0, -2), Tensor::from([5, 3, 1]));
    assert_eq!(Tensor::arange(0.0f32, 1.0, 0.25), Tensor::from([0.0f32, 0.25, 0.5, 0.75]));
    assert_eq!(Tensor::arange(3, 0, 1).shape(), [0]);
    assert_eq!(Tensor::linspace(0.0, 1.0, 5, DType::F64), Tensor::from([0.0, 0.25, 0.5, 0.75, 1.0]));
    assert_eq!(Tensor::linspace(2.0, 9.0, 1, DType::F32), Tensor::from([2.0f32]));
    assert_eq!(Tensor::eye(2, DType::I32), Tensor::from([[1, 0], [0, 1]]));
    assert_eq!(Tensor::ones([2], DType::I8), Tensor::from([1i8, 1]));
    assert_eq!(Tensor::full([1, 2], -3, DType::F32), Tensor::from([[-3.0f32, -3.0]]));
    let x = numbers(&[2, 3], DType::I64, 1);
    assert_eq!(x.zeros_like() + x.ones_like(), Tensor::ones([2, 3], DType::I64));
}

#[test]
fn pads() {
    for x in layouts(&[2, 3, 4], DType::F32, 1) {
        let n = Nd::of(&x);
        let inside = |i: &[usize]| {
            let at = [Some(i[0]), i[1].checked_sub(1), Some(i[2])];
            let at: Option<Vec<usize>> = at.into_iter().collect();
            at.filter(|at| at[1] < 3 && at[2] < 4).map_or(0.5, |at| n.at(&at))
        };
        agree("pad", &x.pad(&[(1, 1), (0, 2)], 0.5), &Nd::from_fn(&[2, 5, 6], inside), 0.0);
    }
}

#[test]
fn triangles() {
    for x in layouts(&[2, 3, 4], DType::F32, 1) {
        let n = Nd::of(&x);
        for d in [-2i64, -1, 0, 1, 3] {
            let lower = |i: &[usize]| if i[2] as i64 <= i[1] as i64 + d { n.at(i) } else { 0.0 };
            let upper = |i: &[usize]| if i[2] as i64 >= i[1] as i64 + d { n.at(i) } else { 0.0 };
            agree("tril", &x.tril(d), &Nd::from_fn(&[2, 3, 4], lower), 0.0);
            agree("triu", &x.triu(d), &Nd::from_fn(&[2, 3, 4], upper), 0.0);
        }
    }
}

#[test]
fn elements_by_index() {
    for x in layouts(&[5, 3], DType::F32, 1) {
        let n = Nd::of(&x);
        let at = Tensor::from([4i64, 0, -2]);
        agree(
            "index_select",
            &x.index_select(0, &at),
            &Nd::from_fn(&[3, 3], |i| n.at(&[[4, 0, 3][i[0]], i[1]])),
            0.0,
        );
        let at = Tensor::from([[1i32, 4], [2, 0]]);
        let place = |i: &[usize]| [[1, 4], [2, 0]][i[0]][i[1]];
        agree("embedding", &x.embedding(&at), &Nd::from_fn(&[2, 2, 3], |i| n.at(&[place(i), i[2]])), 0.0);
        agree("gather", &x.gather(0, &at), &Nd::from_fn(&[2, 2], |i| n.at(&[place(i), i[1]])), 0.0);
    }
    let numbers = Tensor::from([[2i64, 0], [7, 1]]);
    let expected = |i: &[usize]| f64::from([[2, 0], [7, 1]][i[0]][i[1]] == i[2]);
    agree("one_hot", &numbers.one_hot(3), &Nd::from_fn(&[2, 2, 3], expected), 0.0);
    assert_eq!(indices(&[2, 2]).len(), 4);
}
