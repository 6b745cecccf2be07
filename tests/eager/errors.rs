use std::panic::{self, AssertUnwindSafe};
use std::sync::{Mutex, PoisonError};

use fornax::{DType, Tensor, Window, cat, eager, einsum};

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
fn values_that_do_not_fit_are_named() {
    let x = zeros(&[3]);
    panics!(x.index_select(0, &Tensor::from([0i64, 3])), "index_select", "out of range");
    panics!(Tensor::from(x.item::<f32>()), "item(f32[3])", "3");
    panics!(Tensor::from(Tensor::from([1]).item::<f32>()), "i32");
    panics!(eager::with_threads(0, || x.clone()), "with_threads(0)");
    panics!(cat(&[], 0), "no tensor");
}
