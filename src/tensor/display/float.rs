//! Floats in as many digits as they need, at one width.

use fornax_ir::DType;
use fornax_ir::scalar::Scalar;

/// Digits behind the point at most.
const PRECISION: usize = 8;

/// Decimal digits that a dtype always keeps: the value `numpy.finfo` calls `precision`. bf16 has 2; it is printed by the
/// limits of f32, whose range it shares.
fn digits(dtype: DType) -> i32 {
    match dtype {
        DType::F16 => 3,
        DType::BF16 | DType::F32 => 6,
        _ => 15,
    }
}

/// The dtype's value nearest to `v`.
fn rounded(v: f64, dtype: DType) -> f64 {
    Scalar::from_f64(dtype, v).as_f64()
}

/// The fewest significant digits that give the value back, in the form `-1.5e-7`.
fn shortest(v: f64, dtype: DType) -> String {
    match dtype {
        DType::F32 => format!("{:e}", v as f32),
        DType::F16 | DType::BF16 => {
            let back = |text: &String| text.parse::<f64>().is_ok_and(|w| rounded(w, dtype) == v);
            let mut forms = (0..17).map(|n| format!("{v:.n$e}"));
            forms.find(back).unwrap_or_else(|| format!("{v:e}"))
        }
        _ => format!("{v:e}"),
    }
}

/// Sign and digits of the form `-1.5e-7`, and its exponent.
fn split(form: &str) -> (bool, String, i32) {
    let (mantissa, exponent) = form.split_once('e').unwrap_or((form, "0"));
    let negative = mantissa.starts_with('-');
    let digits = mantissa.chars().filter(char::is_ascii_digit).collect();
    (negative, digits, exponent.parse().unwrap_or(0))
}

/// The digits before and behind the point, with the sign before; the shortest, or rounded to the precision.
fn positional(v: f64, dtype: DType, precision: usize) -> (String, String) {
    let (negative, digits, exponent) = split(&shortest(v, dtype));
    let behind = (digits.len() as i32 - 1 - exponent).max(0) as usize;
    let (whole, fraction) = if behind > precision {
        let text = format!("{:.precision$}", v.abs());
        let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
        (whole.to_string(), fraction.trim_end_matches('0').to_string())
    } else if exponent < 0 {
        ("0".into(), format!("{}{digits}", "0".repeat((-exponent - 1) as usize)))
    } else {
        let padded = format!("{digits:0<width$}", width = exponent as usize + 1);
        let (whole, fraction) = padded.split_at(exponent as usize + 1);
        (whole.to_string(), fraction.to_string())
    };
    let fraction = fraction.trim_end_matches('0').to_string();
    (if negative { format!("-{whole}") } else { whole }, fraction)
}

/// The digits behind the point of the scientific form; the shortest, or rounded to the precision.
fn scientific_fraction(v: f64, dtype: DType) -> usize {
    let fraction = |form: &str| split(form).1[1..].trim_end_matches('0').len();
    let own = fraction(&shortest(v, dtype));
    if own > PRECISION { fraction(&format!("{v:.PRECISION$e}")) } else { own }
}

/// `1.50e-07`: a mantissa with its point, and an exponent with sign of at least two digits.
fn scientific(v: f64, fraction: usize, exponent_digits: usize) -> String {
    let form = format!("{v:.fraction$e}");
    let (mantissa, exponent) = form.split_once('e').unwrap_or((&form, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let point = if fraction == 0 { "." } else { "" };
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}{point}e{sign}{:0>exponent_digits$}", exponent.abs())
}

fn exponent_digits(v: f64, fraction: usize) -> usize {
    split(&format!("{v:.fraction$e}")).2.abs().to_string().len().max(2)
}

/// A value without company: shortest, positional from 0.0001 up to the digits of the dtype.
pub(super) fn alone(v: f64, dtype: DType) -> String {
    if !v.is_finite() {
        return special(v).into();
    }
    let limit = if dtype == DType::F64 { 16 } else { digits(dtype) };
    if v == 0.0 || (1e-4..10f64.powi(limit)).contains(&v.abs()) {
        let (whole, fraction) = positional(v, dtype, usize::MAX);
        return format!("{whole}.{}", if fraction.is_empty() { "0" } else { &fraction });
    }
    let (negative, digits, exponent) = split(&shortest(v, dtype));
    let (first, rest) = digits.split_at(1);
    let point = if rest.is_empty() { "" } else { "." };
    let (minus, sign) = (if negative { "-" } else { "" }, if exponent < 0 { '-' } else { '+' });
    format!("{minus}{first}{point}{rest}e{sign}{:02}", exponent.abs())
}

fn special(v: f64) -> &'static str {
    match v {
        _ if v.is_nan() => "nan",
        _ if v > 0.0 => "inf",
        _ => "-inf",
    }
}

/// The common format of floats that are shown together.
pub(super) struct FloatFormat {
    dtype: DType,
    /// Width before the point.
    left: usize,
    /// Width behind the point.
    right: usize,
    /// Digits behind the point and of the exponent, if scientific.
    scientific: Option<(usize, usize)>,
}

impl FloatFormat {
    pub(super) fn of(values: &[f64], dtype: DType) -> FloatFormat {
        let finite: Vec<f64> = values.iter().copied().filter(|v| v.is_finite()).collect();
        let mut format = FloatFormat { dtype, left: 0, right: 0, scientific: None };
        if needs_exponent(&finite, dtype) {
            let fraction = finite.iter().map(|&v| scientific_fraction(v, dtype)).max().unwrap_or(0);
            let exponent = finite.iter().map(|&v| exponent_digits(v, fraction)).max().unwrap_or(2);
            format.scientific = Some((fraction, exponent));
            format.left = if finite.iter().any(|v| v.is_sign_negative()) { 2 } else { 1 };
            // Behind the point: the digits, `e`, the sign, and the exponent.
            format.right = fraction + exponent + 2;
        } else {
            let parts = finite.iter().map(|&v| positional(v, dtype, PRECISION));
            for (whole, fraction) in parts {
                format.left = format.left.max(whole.len());
                format.right = format.right.max(fraction.len());
            }
        }
        let widest = values.iter().filter(|v| !v.is_finite()).map(|&v| special(v).len()).max();
        format.left = format.left.max(widest.unwrap_or(0).saturating_sub(format.right + 1));
        format
    }

    pub(super) fn write(&self, v: f64) -> String {
        let FloatFormat { dtype, left, right, scientific: form } = *self;
        if !v.is_finite() {
            return format!("{:>width$}", special(v), width = left + right + 1);
        }
        match form {
            Some((fraction, exponent)) => {
                let text = scientific(v, fraction, exponent);
                format!("{text:>width$}", width = left + right + 1)
            }
            None => {
                let (whole, fraction) = positional(v, dtype, PRECISION);
                format!("{whole:>left$}.{fraction:<right$}")
            }
        }
    }
}

/// Whether these finite values are far apart, large or small; compared in their own dtype.
fn needs_exponent(finite: &[f64], dtype: DType) -> bool {
    let sizes = || finite.iter().map(|v| v.abs()).filter(|v| *v != 0.0);
    let (Some(max), Some(min)) = (sizes().reduce(f64::max), sizes().reduce(f64::min)) else { return false };
    let most = 10f64.powi(digits(dtype).min(8));
    max >= most || min < rounded(1e-4, dtype) || rounded(max / min, dtype) > 1000.0
}
