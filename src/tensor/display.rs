//! Tensors as text, by the rules NumPy prints arrays by (its documentation of `printoptions`, version 2.4): `{}` as
//! `print(a)`, `{:?}` as `repr(a)` with our names.
//!
//! - More than 1000 elements are summarised: three at each end of every axis that has more than six.
//! - All elements shown share one format. Floats have the digits that tell them from their neighbours, at most 8 behind
//!   the point, and are padded to one width. They are scientific where the largest magnitude has more digits than the
//!   dtype holds (at most 8), the smallest is below 0.0001, or they are more than a factor of 1000 apart. Infinities, NaN
//!   and zeros don't count.
//! - Lines are at most 75 characters; rows that are longer go on below their first element.
//! - `{}` of a single element (rank 0) is the number alone.

mod float;
#[cfg(test)]
mod tests;

use std::fmt;

use fornax_ir::DType;
use fornax_ir::scalar::Scalar;

use super::{Array, Repr, Tensor};
use float::FloatFormat;

/// Longest line.
const LINE: usize = 75;
/// Arrays of more elements are summarised.
const THRESHOLD: usize = 1000;
/// Elements shown at each end of a summarised axis.
const EDGE: usize = 3;
const PREFIX: &str = "tensor(";

impl fmt::Display for Tensor {
    /// As NumPy prints an array. A tensor that is being traced has no elements: its type.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.repr {
            Repr::Array(array) if array.shape().is_empty() => f.write_str(&alone(element(array, 0))),
            Repr::Array(array) => f.write_str(&Layout::new(array, " ", 0, LINE).text()),
            _ => f.write_str(&self.type_text()),
        }
    }
}

impl fmt::Debug for Tensor {
    /// As NumPy represents an array: `tensor([1., 2.], dtype=f32)`; a summarised or empty one says its shape. A tensor
    /// that is being traced has no elements: its type.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Repr::Array(array) = &self.repr else { return f.write_str(&self.type_text()) };
        let body = Layout::new(array, ", ", PREFIX.len(), LINE - 1).text();
        let text = format!("{PREFIX}{body},");
        let size = array.numel();
        let mut facts = format!("dtype={})", array.dtype());
        if size > THRESHOLD || size == 0 && array.shape() != [0] {
            facts = format!("shape={}, {facts}", tuple(array.shape()));
        }
        let last = text.rsplit('\n').next().map_or(0, |line| line.chars().count());
        let gap = if last + facts.len() + 1 > LINE {
            format!("\n{}", " ".repeat(PREFIX.len()))
        } else {
            " ".into()
        };
        write!(f, "{text}{gap}{facts}")
    }
}

/// `(2, 3)`, and `(2,)` of one.
fn tuple(shape: &[usize]) -> String {
    let items: Vec<String> = shape.iter().map(usize::to_string).collect();
    format!("({}{})", items.join(", "), if items.len() == 1 { "," } else { "" })
}

/// The element at a distance from the first one, in elements of storage.
fn element(array: &Array, distance: isize) -> Scalar {
    let one = array.view(distance, Default::default(), Default::default());
    let mut bits = [0u8; 8];
    let bytes = one.behind(1);
    bits[..bytes.len()].copy_from_slice(bytes);
    if cfg!(target_endian = "big") {
        bits[..bytes.len()].reverse();
    }
    Scalar::new(array.dtype(), u64::from_le_bytes(bits))
}

/// An element without company.
fn alone(s: Scalar) -> String {
    match s.dtype {
        DType::Bool => if s.bits != 0 { "True" } else { "False" }.into(),
        d if d.is_float() => float::alone(s.as_f64(), d),
        _ => integer(s),
    }
}

fn integer(s: Scalar) -> String {
    if s.dtype == DType::U64 { s.bits.to_string() } else { s.as_i64().to_string() }
}

/// How the elements shown are written: at one width.
enum Format {
    Bool,
    Integer(usize),
    Float(FloatFormat),
}

impl Format {
    fn of(shown: &[Scalar], dtype: DType) -> Format {
        match dtype {
            DType::Bool => Format::Bool,
            d if d.is_float() => {
                let values: Vec<f64> = shown.iter().map(|s| s.as_f64()).collect();
                Format::Float(FloatFormat::of(&values, d))
            }
            _ => Format::Integer(shown.iter().map(|s| integer(*s).len()).max().unwrap_or(0)),
        }
    }
    fn write(&self, s: Scalar, alone: bool) -> String {
        match self {
            Format::Bool if s.bits == 0 => "False".into(),
            Format::Bool => if alone { "True" } else { " True" }.into(),
            Format::Integer(width) => format!("{:>width$}", integer(s)),
            Format::Float(format) => format.write(s.as_f64()),
        }
    }
}

/// How an array is laid out in lines.
struct Layout<'a> {
    array: &'a Array,
    separator: &'static str,
    /// Columns before the array's first bracket.
    indent: usize,
    width: usize,
    summary: bool,
    format: Format,
}

/// A place along an axis that is shown, or the gap of a summary.
#[derive(Clone, Copy)]
enum Place {
    At(usize),
    Gap,
}

impl<'a> Layout<'a> {
    fn new(array: &'a Array, separator: &'static str, indent: usize, width: usize) -> Self {
        let summary = array.numel() > THRESHOLD;
        let mut layout = Layout { array, separator, indent, width, summary, format: Format::Bool };
        let shown: Vec<Scalar> =
            layout.distances().into_iter().map(|distance| element(array, distance)).collect();
        layout.format = Format::of(&shown, array.dtype());
        layout
    }

    /// The places shown along an axis, in order.
    fn places(&self, axis: usize) -> Vec<Place> {
        let n = self.array.shape()[axis];
        if self.summary && n > 2 * EDGE {
            let ends = [(0..EDGE).map(Place::At), (n - EDGE..n).map(Place::At)];
            let [first, last] = ends;
            return first.chain([Place::Gap]).chain(last).collect();
        }
        (0..n).map(Place::At).collect()
    }

    /// Where the elements shown lie.
    fn distances(&self) -> Vec<isize> {
        let mut distances = vec![0];
        for (axis, &stride) in self.array.strides().iter().enumerate() {
            let places = self.places(axis);
            let steps = |d: isize| {
                places.iter().filter_map(move |p| match p {
                    Place::At(i) => Some(d + *i as isize * stride),
                    Place::Gap => None,
                })
            };
            distances = distances.into_iter().flat_map(steps).collect();
        }
        distances
    }

    fn text(&self) -> String {
        if self.array.numel() == 0 {
            return "[]".into();
        }
        self.part(0, 0)
    }

    /// The part of the array from `axis` on whose first element lies at `distance`. The depth is the rank.
    fn part(&self, axis: usize, distance: isize) -> String {
        let rank = self.array.shape().len();
        if axis == rank {
            return self.format.write(element(self.array, distance), rank == 0);
        }
        if axis + 1 == rank {
            return self.row(axis, distance);
        }
        let stride = self.array.strides()[axis];
        let parts: Vec<String> = self
            .places(axis)
            .iter()
            .map(|place| match place {
                Place::At(i) => self.part(axis + 1, distance + *i as isize * stride),
                Place::Gap => "...".into(),
            })
            .collect();
        let lines = "\n".repeat(rank - axis - 1);
        let gap = format!("{}{lines}{}", self.separator.trim_end(), " ".repeat(self.indent + axis + 1));
        format!("[{}]", parts.join(&gap))
    }

    /// A row, in as many lines as it takes.
    fn row(&self, axis: usize, distance: isize) -> String {
        let stride = self.array.strides()[axis];
        let words: Vec<String> = self
            .places(axis)
            .iter()
            .map(|place| match place {
                Place::At(i) => self.part(axis + 1, distance + *i as isize * stride),
                Place::Gap => "...".into(),
            })
            .collect();
        // Brackets of the axes around may follow on the last line; room for them is kept on all, and for what
        // comes behind each word.
        let behind = 1.max(self.separator.trim_end().len());
        let room = self.width.saturating_sub(axis + behind);
        let start = self.indent + axis + 1;
        let (mut text, mut column) = (String::from("["), start);
        for (k, word) in words.iter().enumerate() {
            let length = word.chars().count();
            if k > 0 {
                let behind = self.separator.trim_end();
                if column + self.separator.len() + length > room {
                    text.push_str(behind);
                    text.push('\n');
                    text.push_str(&" ".repeat(start));
                    column = start;
                } else {
                    text.push_str(self.separator);
                    column += self.separator.len();
                }
            }
            text.push_str(word);
            column += length;
        }
        text.push(']');
        text
    }
}
