//! Comparing a result with its reference; `docs/numerics.md` states the rules for users.

use std::fmt;

use fornax_ir::{DType, Literal};

use crate::tensor::Tensor;

/// How far floats may be from their reference.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Tolerance {
    /// `max |a - b| <= T * max |b|` over all finite elements.
    Relative(f64),
    /// `|a - b| <= atol + rtol * |b|` for each finite element.
    PerElement {
        /// The factor of the reference's size.
        rtol: f64,
        /// The allowance that does not depend on the reference.
        atol: f64,
    },
}

impl Default for Tolerance {
    /// `Relative(1e-4)`.
    fn default() -> Self {
        Tolerance::Relative(1e-4)
    }
}

impl fmt::Display for Tolerance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Tolerance::Relative(t) => write!(f, "max|a-b| <= {t:e} max|b|"),
            Tolerance::PerElement { rtol, atol } => write!(f, "|a-b| <= {atol:e} + {rtol:e} |b|"),
        }
    }
}

/// What a comparison of two tensors found. Float measures leave NaN and infinities out.
#[derive(Clone, PartialEq, Debug)]
pub struct Comparison {
    /// The greatest `|a - b|`.
    pub max_abs_error: f64,
    /// The greatest `|b|`.
    pub max_abs_expected: f64,
    /// Elements that do not match: unequal integers or bools, NaN or infinity against another value, and with
    /// [`Tolerance::PerElement`] those outside the tolerance.
    pub mismatches: usize,
    /// The worst element in row-major order, with its value and the reference's: the first mismatch, else the one of
    /// the greatest error.
    pub worst: Option<(usize, f64, f64)>,
    /// Why the tensors do not agree; `None` if they do.
    pub failure: Option<String>,
}

impl Comparison {
    /// Whether the result agrees with its reference.
    pub fn passed(&self) -> bool {
        self.failure.is_none()
    }

    /// `max|a-b| / max|b|`: 0 where nothing differs, infinite where a reference of zeros is missed.
    pub fn relative_error(&self) -> f64 {
        if self.max_abs_error == 0.0 { 0.0 } else { self.max_abs_error / self.max_abs_expected }
    }
}

/// Compares a result with its reference. Dtypes and shapes must be equal, and so must integers and bools. A NaN
/// matches a NaN and an infinity one of its own sign; neither takes part in the measures.
pub fn compare(actual: &Tensor, expected: &Tensor, tolerance: Tolerance) -> Comparison {
    let mut c =
        Comparison { max_abs_error: 0.0, max_abs_expected: 0.0, mismatches: 0, worst: None, failure: None };
    if actual.dtype() != expected.dtype() {
        c.failure = Some(format!("dtype is {}, expected {}", actual.dtype(), expected.dtype()));
    } else if actual.shape() != expected.shape() {
        c.failure = Some(format!("shape is {:?}, expected {:?}", actual.shape(), expected.shape()));
    } else if actual.dtype().is_float() {
        compare_floats(&mut c, actual, expected, tolerance);
    } else {
        compare_exactly(&mut c, actual, expected);
    }
    c
}

fn compare_exactly(c: &mut Comparison, actual: &Tensor, expected: &Tensor) {
    let width = actual.dtype().bytes();
    let (left, right) = (actual.as_literal(), expected.as_literal());
    let pairs = actual.bytes().chunks_exact(width).zip(expected.bytes().chunks_exact(width));
    for (i, (a, b)) in pairs.enumerate() {
        let (x, y) = (left.get_f64(i), right.get_f64(i));
        c.max_abs_expected = c.max_abs_expected.max(y.abs());
        if a == b {
            continue;
        }
        c.mismatches += 1;
        c.worst.get_or_insert((i, x, y));
        c.max_abs_error = c.max_abs_error.max(integer_distance(&left, &right, i));
    }
    if c.mismatches > 0 {
        c.failure = Some(format!(
            "{} of {} elements differ{}",
            c.mismatches,
            actual.numel(),
            at_worst(c, actual.shape())
        ));
    }
}

/// `|a - b|` of the integers at `i`, which may differ in bits that `f64` does not hold.
fn integer_distance(actual: &Literal, expected: &Literal, i: usize) -> f64 {
    let value = |t: &Literal| {
        let v = i128::from(t.get_i64(i));
        if t.dtype() == DType::U64 && v < 0 { v + (1i128 << 64) } else { v }
    };
    (value(actual) - value(expected)).unsigned_abs() as f64
}

fn compare_floats(c: &mut Comparison, actual: &Tensor, expected: &Tensor, tolerance: Tolerance) {
    let mut furthest = -1.0;
    let mut first_mismatch = None;
    let (left, right) = (actual.as_literal(), expected.as_literal());
    for i in 0..left.len() {
        let (a, b) = (left.get_f64(i), right.get_f64(i));
        if !a.is_finite() || !b.is_finite() {
            if a != b && !(a.is_nan() && b.is_nan()) {
                c.mismatches += 1;
                first_mismatch.get_or_insert((i, a, b));
            }
            continue;
        }
        let error = (a - b).abs();
        c.max_abs_error = c.max_abs_error.max(error);
        c.max_abs_expected = c.max_abs_expected.max(b.abs());
        if let Tolerance::PerElement { rtol, atol } = tolerance
            && error > atol + rtol * b.abs()
        {
            c.mismatches += 1;
            first_mismatch.get_or_insert((i, a, b));
        }
        if error > furthest {
            furthest = error;
            c.worst = Some((i, a, b));
        }
    }
    c.worst = first_mismatch.or(c.worst);
    let beyond = matches!(tolerance, Tolerance::Relative(t) if c.max_abs_error > t * c.max_abs_expected);
    if c.mismatches > 0 {
        let n = actual.numel();
        c.failure =
            Some(format!("{} of {n} elements do not match{}", c.mismatches, at_worst(c, actual.shape())));
    } else if beyond {
        c.failure = Some(format!("the error is too large{}", at_worst(c, actual.shape())));
    }
}

fn at_worst(c: &Comparison, shape: &[usize]) -> String {
    let Some((mut flat, a, b)) = c.worst else { return String::new() };
    let mut index = vec![0; shape.len()];
    for (slot, &extent) in index.iter_mut().zip(shape).rev() {
        *slot = flat % extent.max(1);
        flat /= extent.max(1);
    }
    format!("; at {index:?}: {a} where {b} is expected")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn floats(v: &[f32]) -> Tensor {
        Tensor::from_slice(v, &[v.len()]).unwrap()
    }
    fn passes(a: &[f32], b: &[f32], tolerance: Tolerance) -> bool {
        compare(&floats(a), &floats(b), tolerance).passed()
    }

    #[test]
    fn floats_are_measured_by_the_largest_reference_or_each_by_its_own() {
        let relative = Tolerance::Relative(1e-2);
        assert!(passes(&[100.5, 0.4], &[100.0, 0.0], relative));
        assert!(!passes(&[101.5, 0.0], &[100.0, 0.0], relative));
        let each = Tolerance::PerElement { rtol: 1e-2, atol: 0.1 };
        assert!(passes(&[100.5, 0.05], &[100.0, 0.0], each));
        assert!(!passes(&[100.5, 0.4], &[100.0, 0.0], each));
    }

    #[test]
    fn zeros_are_matched_by_zeros_alone() {
        let relative = Tolerance::Relative(1e-2);
        assert!(passes(&[0.0, -0.0], &[0.0, 0.0], relative));
        assert!(!passes(&[1e-30, 0.0], &[0.0, 0.0], relative));
        let c = compare(&floats(&[1e-30]), &floats(&[0.0]), relative);
        assert_eq!(c.relative_error(), f64::INFINITY);
        assert!(passes(&[], &[], relative));
    }

    #[test]
    fn nan_and_infinities_match_their_kind_and_stay_out_of_the_measures() {
        let (nan, inf) = (f32::NAN, f32::INFINITY);
        let relative = Tolerance::Relative(1e-2);
        assert!(passes(&[nan, inf, -inf, 1.0], &[nan, inf, -inf, 1.001], relative));
        assert!(!passes(&[inf, 1.2], &[inf, 1.0], relative), "an infinity must not widen the tolerance");
        for (a, b) in [(nan, 1.0), (1.0, nan), (inf, -inf), (inf, f32::MAX), (nan, inf)] {
            for tolerance in [relative, Tolerance::PerElement { rtol: 1e9, atol: 1e9 }] {
                assert!(!passes(&[a], &[b], tolerance), "{a} {b}");
            }
        }
    }

    #[test]
    fn integers_dtypes_and_shapes_must_be_equal() {
        let loose = Tolerance::Relative(1.0);
        let ints = |v: &[i64], shape: &[usize]| Tensor::from_slice(v, shape).unwrap();
        let c = compare(&ints(&[1 << 60, 7], &[2]), &ints(&[(1 << 60) + 1, 7], &[2]), loose);
        assert_eq!((c.mismatches, c.max_abs_error), (1, 1.0));
        assert!(!compare(&ints(&[1, 2], &[2]), &ints(&[1, 2], &[2, 1]), loose).passed());
        assert!(!compare(&ints(&[1], &[1]), &floats(&[1.0]), loose).passed());
        let text =
            compare(&ints(&[1, 2, 3, 4], &[2, 2]), &ints(&[1, 2, 9, 4], &[2, 2]), loose).failure.unwrap();
        assert!(text.contains("1 of 4") && text.contains("[1, 0]"), "{text}");
    }
}
