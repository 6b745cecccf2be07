use std::panic::{self, AssertUnwindSafe};
use std::sync::{Mutex, PoisonError};

use fornax::{DType, Tensor, Window, cat, eager, einsum, step};

/// What a panic says, and the line of this file where it is.
fn panic_of(f: impl FnOnce() -> Tensor) -> (String, u32) {
    // The hook belongs to the whole program.
    static HOOK: Mutex<()> = Mutex::new(());
    static PLACE: Mutex<Option<(String, u32)>> = Mutex::new(None);
    let _alone = HOOK.lock().unwrap_or_else(PoisonError::into_inner);
    let before = panic::take_hook();
    let here = std::thread::current().id();
    panic::set_hook(Box::new(move |info| {
        if std::thread::current().id() == here {
            let at = info.location().expect("a panic has a place");
            *PLACE.lock().unwrap() = Some((at.file().to_string(), at.line()));
        }
    }));
    let result = panic::catch_unwind(AssertUnwindSafe(f));
    panic::set_hook(before);
    let payload = result.expect_err("it panics");
    let text = payload.downcast_ref::<String>().cloned();
    let text = text.or_else(|| payload.downcast_ref::<&str>().map(|s| s.to_string())).unwrap();
    let (file, line) = PLACE.lock().unwrap().take().expect("the hook ran");
    assert!(file.ends_with("errors.rs"), "{text}: at {file}:{line}");
    (text, line)
}

/// Checks that an expression panics on its own line, with these parts in its message.
macro_rules! panics {
    ($expression:expr, $($part:literal),+) => {{
        let (text, line) = panic_of(|| $expression);
        assert_eq!(line, line!(), "{text}");
        $(assert!(text.contains($part), "`{text}` lacks `{}`", $part);)+
    }};
}

fn zeros(shape: &[usize]) -> Tensor {
    Tensor::zeros(shape, DType::F32).unwrap()
}

#[test]
fn shapes_that_do_not_fit_name_both_at_the_callers_line() {
    let (x, y) = (zeros(&[2, 3]), zeros(&[4, 5]));
    panics!(&x + &y, "add(f32[2, 3], f32[4, 5])", "broadcast", "2 and 4");
    panics!(x.maximum(&y), "max(f32[2, 3], f32[4, 5])");
    panics!(x.matmul(&y), "matmul(f32[2, 3], f32[4, 5])", "one extent", "3 is not 4");
    // A program for such operands is there by now, and finds out when it runs.
    let _ = x.matmul(&zeros(&[3, 2]));
    panics!(x.matmul(&y), "3 is not 4");
    panics!(x.linear(&y, None), "linear(f32[2, 3], f32[4, 5])", "3 is not 5");
    panics!(x.reshape([4, -1]), "reshape(f32[2, 3])", "6 elements", "[4, -1]");
    panics!(x.broadcast_to([2, 4]), "axis 1 has the extent 3, which cannot become 4");
    panics!(x.permute([0, 0]), "axis 0 is given twice");
    panics!(x.squeeze(1), "axis 1 has the extent 3, not 1");
    panics!(cat(&[&x, &y], 0), "cat(f32[2, 3], f32[4, 5])", "3 is not 5");
    panics!(x.layer_norm(Some(&zeros(&[4])), None, 1e-5), "layer_norm(f32[2, 3], f32[4])");
    let (image, w, whole) = (zeros(&[1, 3, 8, 8]), zeros(&[4, 2, 3, 3]), Window::default());
    panics!(image.conv2d(&w, None, whole), "conv2d(f32[1, 3, 8, 8], f32[4, 2, 3, 3])", "channels");
    let (image, w) = (zeros(&[1, 4, 8, 8]), zeros(&[4, 4, 9, 9]));
    panics!(image.conv2d(&w, None, whole), "window must fit");
    panics!(einsum("ij,jk->ik", &[&x, &y]), "einsum(f32[2, 3], f32[4, 5])", "3 is not 4");
    panics!(einsum("ij->ik", &[&x]), "the label 'k'");
    panics!(x.sum(2, false), "there is no axis 2", "0 to 1, or -2 to -1");
    panics!(x.narrow(0, 1, 2), "2 elements from 1 on", "extent is 2");
    panics!(x.i(2), "there is no index 2 on axis 0, whose extent is 2");
    panics!(x.i((0, 0, 0)), "3 entries for 2 axes");
    panics!(Tensor::zeros(&[1; 9], DType::F32).unwrap() + 1, "9 axes are too many");
}

#[test]
fn dtypes_that_do_not_fit_name_both_and_the_remedy() {
    let (x, n) = (zeros(&[2]), Tensor::from([1i32, 2]));
    panics!(&x + &n, "add(f32[2], i32[2])", "f32 and i32 differ", "to_dtype");
    panics!(x.eq(&n), "f32 and i32 differ");
    panics!(&n * 0.5, "mul(i32[2])", "0.5 is no value of i32", "to_dtype");
    panics!(Tensor::from([1u8]) + 300, "300 is no value of u8");
    panics!(n.exp(), "exp(i32[2])", "f32");
    panics!(n.mean(0, false), "floats, not i32", "to_dtype");
    panics!(n.softmax(0), "floats, not i32");
    panics!(x.index_select(0, &x), "integer");
    panics!(x.where_(&x, &x), "where(f32[2], f32[2], f32[2])", "bool");
    panics!(x.matmul(&n), "f32 and i32 differ");
    panics!(-Tensor::from([true]), "neg(bool[1])");
}

#[test]
fn what_memory_cannot_hold_is_refused() {
    const LARGE: usize = 1 << 45;
    let (x, row) = (zeros(&[2]), Tensor::ones([1 << 40, 1], DType::F32));
    for shape in [&[usize::MAX, 2][..], &[1 << 62, 1 << 62, 0], &[0, 1 << 62, 1 << 62]] {
        assert!(Tensor::zeros(shape, DType::I8).is_err(), "{shape:?}");
        panics!(Tensor::ones(shape, DType::I8), "ones()", "than memory can hold");
        panics!(Tensor::full(shape, 2, DType::I8), "full()", "than memory can hold");
    }
    assert!(Tensor::from_f64s([1.0], DType::F32, &[LARGE]).is_err());
    panics!(Tensor::eye(1 << 33, DType::F32), "eye()", "than memory can hold");
    panics!(Tensor::arange(0, i64::MAX, 1), "arange()", "than memory can hold");
    panics!(Tensor::arange(0.0, f32::INFINITY, 1.0), "arange()", "than memory can hold");
    panics!(Tensor::linspace(0.0, 1.0, LARGE, DType::F32), "linspace()", "than memory can hold");
    panics!(x.pad(&[(LARGE, 0)], 0), "pad(f32[2], f32[])", "than memory can hold");
    panics!(x.to_dtype(DType::I64).one_hot(usize::MAX), "than memory can hold");
    panics!(x.repeat(&[usize::MAX]), "exceeds 64 bits");
    panics!(x.broadcast_to([1i64 << 62, 2]), "broadcast_to(f32[2])", "than memory can hold");
    // A repeated element takes no memory, until it is asked for.
    assert_eq!((&row + 1).shape(), row.shape());
    panics!(&row + row.t(), "add(f32[1099511627776, 1], f32[1, 1099511627776])", "than memory can hold");
    let rows = row.repeat(&[4, 4]);
    panics!(rows.contiguous(), "contiguous(f32[4398046511104, 4])", "than memory can hold");
    panics!(Tensor::from(rows.to_vec::<f32>().unwrap()), "copied to row-major order");
    panics!(Tensor::from_literal(rows.as_literal()), "copied to row-major order");
    assert!(rows.to_string().ends_with("[1. 1. 1. 1.]]"));
}

#[test]
fn numbers_beyond_i64_do_not_count_from_the_end() {
    let x = zeros(&[2, 3]);
    panics!(x.i(usize::MAX), "there is no index");
    panics!(x.reshape([usize::MAX, 3]), "6 elements");
    panics!(x.sum(usize::MAX, false), "there is no axis");
    assert_eq!(x.i(usize::MAX..).shape(), [0, 3]);
    assert_eq!(x.i(..=i64::MAX).shape(), [2, 3]);
    for (distance, first) in [(i64::MIN, 2), (i64::MAX, 0)] {
        let x = Tensor::arange(0, 3, 1);
        assert_eq!(x.i(step(.., distance)), Tensor::from([first]), "{distance}");
    }
}

#[test]
fn values_that_do_not_fit_are_named() {
    panics!(zeros(&[0, 3]).argmax(0, false), "argmax(f32[0, 3])", "an axis of extent 0");
    panics!(zeros(&[0]).argmin(.., true), "argmin(f32[0])", "an axis of extent 0");
    assert_eq!(zeros(&[3, 0]).argmax(0, false).shape(), [0]);
    let x = zeros(&[3]);
    panics!(x.index_select(0, &Tensor::from([0i64, 3])), "index_select", "out of range");
    panics!(Tensor::from(x.item::<f32>()), "item(f32[3])", "3");
    panics!(Tensor::from(Tensor::from([1]).item::<f32>()), "i32");
    panics!(eager::with_threads(0, || x.clone()), "with_threads(0)");
    panics!(cat(&[], 0), "no tensor");
}

#[test]
fn updates_and_orders_that_do_not_fit() {
    let x = zeros(&[2, 3]);
    let (i, u) = (Tensor::from([[0, 1, 0]]), zeros(&[1, 3]));
    panics!(x.scatter(0, &Tensor::from([0]), &u), "scatter(f32[2, 3], i32[1], f32[1, 3])", "as many axes");
    panics!(x.scatter(0, &u, &u), "integer indices");
    panics!(x.scatter(0, &i, &u.to_dtype(DType::F64)), "must have the dtype of the data");
    panics!(x.scatter_add(0, &Tensor::from([[0, 2, 0]]), &u), "an index is out of range");
    panics!(x.index_add(1, &Tensor::from([0]), &u), "2 is not 1");
    panics!(x.index_put(&[], &u, false), "index tensors of one shape");
    panics!(x.topk(4, 1, true).0, "topk(f32[2, 3])", "as many elements as are wanted");
    panics!(x.sort(2, false).0, "there is no axis 2");
    panics!(Tensor::from([true]).cummax(0), "cast it first");
}
