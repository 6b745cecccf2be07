//! Checks that inference of several families shares, and symbolic values of operators that only
//! move elements.

use super::super::{OpError, SymValue, TensorType};
use super::{EvalCx, InferCx, Meaning};
use crate::dim::{Dim, prove_le, simplify};
use crate::dtype::DType;
use crate::literal::Literal;
use std::cell::Cell;

/// A shape or attribute error.
pub(super) fn bad_shape<T>(op: &'static str, what: impl Into<String>) -> Result<T, OpError> {
    Err(OpError::Shape { op, what: what.into() })
}

/// A dtype error.
pub(super) fn bad_dtype<T>(op: &'static str, what: impl Into<String>) -> Result<T, OpError> {
    Err(OpError::DType { op, what: what.into() })
}

/// Extents as text: `[n, 3]`.
pub(super) fn extents(shape: &[Dim]) -> String {
    let parts: Vec<String> = shape.iter().map(Dim::to_string).collect();
    format!("[{}]", parts.join(", "))
}

/// Checks that axes are below the rank and strictly ascending.
pub(super) fn ascending_axes(
    op: &'static str,
    axes: &[u32],
    rank: usize,
    of: &TensorType,
) -> Result<(), OpError> {
    if let Some(a) = axes.iter().find(|&&a| a as usize >= rank) {
        return bad_shape(op, format!("axis {a} is out of range: {of} has {rank} axes, numbered from 0"));
    }
    if axes.windows(2).any(|w| w[0] >= w[1]) {
        return bad_shape(op, format!("axes must ascend without repetition, but are {axes:?}"));
    }
    Ok(())
}

/// Checks that an attribute has one entry for each of `want` axes.
pub(super) fn entries(op: &'static str, name: &str, got: usize, want: usize) -> Result<(), OpError> {
    if got == want {
        return Ok(());
    }
    bad_shape(op, format!("{name} needs {want} entries, one for each axis, not {got}"))
}

/// Checks that both operands have one dtype.
pub(super) fn same_dtype(op: &'static str, a: &TensorType, b: &TensorType) -> Result<DType, OpError> {
    if a.dtype == b.dtype {
        return Ok(a.dtype);
    }
    bad_dtype(op, format!("operands must have one dtype, but are {a} and {b}; cast one of them"))
}

impl InferCx<'_> {
    /// An extent given as attribute: simplified, and not negative (a guard where not provable).
    pub(super) fn extent(&mut self, op: &'static str, d: &Dim, what: &str) -> Result<Dim, OpError> {
        let d = simplify(d, self.ranges);
        if d.is_poisoned() {
            return bad_shape(op, format!("{what} is an expression that overflows 64 bits"));
        }
        self.at_most(op, &Dim::ZERO, &d, &format!("{what} must not be negative"))?;
        Ok(d)
    }

    /// The type of the result, with simplified extents, if its size can be addressed.
    pub(super) fn result(
        &self,
        op: &'static str,
        dtype: DType,
        shape: Vec<Dim>,
    ) -> Result<TensorType, OpError> {
        let shape: Vec<Dim> = shape.iter().map(|d| simplify(d, self.ranges)).collect();
        if let Some(k) = shape.iter().position(Dim::is_poisoned) {
            return bad_shape(op, format!("the result's extent of axis {k} overflows 64 bits"));
        }
        let ty = TensorType::new(dtype, shape);
        if !ty.shape.iter().any(|d| d.is_const(0)) && ty.bytes().is_poisoned() {
            return bad_shape(op, format!("the result {ty} has more bytes than memory can hold"));
        }
        Ok(ty)
    }

    /// The common shape of two operands that must have equal shapes.
    pub(super) fn same_shape(
        &mut self,
        op: &'static str,
        a: &TensorType,
        b: &TensorType,
    ) -> Result<Vec<Dim>, OpError> {
        if a.rank() != b.rank() {
            return bad_shape(
                op,
                format!("operands must have one shape, but are {a} and {b}; broadcast them first"),
            );
        }
        let mut shape = Vec::with_capacity(a.rank());
        for (k, (x, y)) in a.shape.iter().zip(&b.shape).enumerate() {
            let what = || format!("operands {a} and {b} must have one shape, axis {k}");
            shape.push(if x == y { x.clone() } else { self.equal(op, x, y, &what())? });
        }
        Ok(shape)
    }
}

/// The extent of an output of a sliding window, and the demand that the window fits:
/// `floor((extent + lo + hi - ((taps - 1) * dilation + 1)) / stride) + 1`.
pub(super) fn windowed(
    cx: &mut InferCx<'_>,
    op: &'static str,
    extent: &Dim,
    taps: &Dim,
    axis: &WindowAxis<'_>,
) -> Result<Dim, OpError> {
    let (k, stride, dilation) = (axis.number, axis.stride, axis.dilation);
    if stride < 1 || dilation < 1 {
        return bad_shape(
            op,
            format!("stride and dilation must be at least 1, but are {stride} and {dilation} on axis {k}"),
        );
    }
    let lo = cx.extent(op, &axis.pads.0, &format!("padding before axis {k}"))?;
    let hi = cx.extent(op, &axis.pads.1, &format!("padding after axis {k}"))?;
    cx.at_most(op, &Dim::ONE, taps, &format!("window extent on axis {k} must be positive"))?;
    let window = (taps - 1) * dilation + 1;
    let padded = extent + lo + hi;
    cx.at_most(op, &window, &padded, &format!("the window must fit the padded extent of axis {k}"))?;
    let out = (padded - window).floor_div(&Dim::constant(stride)) + 1;
    Ok(simplify(&out, cx.ranges))
}

/// How a window moves along one axis.
pub(super) struct WindowAxis<'a> {
    /// The axis' number, for messages.
    pub number: usize,
    /// Distance of windows.
    pub stride: i64,
    /// Distance of taps.
    pub dilation: i64,
    /// Padding before and after.
    pub pads: &'a (Dim, Dim),
}

/// The numbers `first..` in the shape of a symbolic value: stands for its elements in [`moved`].
pub(super) fn numbered(sym: &SymValue, first: usize) -> Option<Literal> {
    let numbers: Vec<i64> = (first as i64..).take(sym.elems.len()).collect();
    Literal::from_vec(&sym.shape, numbers).ok()
}

/// The symbolic result of an operator that only moves elements: its evaluation on element numbers
/// tells which of `pool` goes where.
pub(super) fn moved(
    op: &dyn Meaning,
    operands: &[&Literal],
    pool: &[Dim],
    out: &TensorType,
) -> Option<SymValue> {
    let shape = out.const_shape()?;
    let index_error = Cell::new(false);
    let cx = EvalCx {
        args: &[],
        consts: &[],
        symbol: &|_| None,
        dtype: DType::I64,
        shape: &shape,
        index_error: &index_error,
    };
    let places = op.eval(&cx, operands).ok()?;
    if index_error.get() {
        return None;
    }
    let elem = |i| pool.get(usize::try_from(places.get_i64(i)).ok()?).cloned();
    let elems = (0..places.len()).map(elem).collect::<Option<Vec<_>>>()?;
    Some(SymValue { shape, elems })
}

/// Whether `d >= 0` for nonnegative symbols.
pub(super) fn nonneg(d: &Dim) -> bool {
    prove_le(&Dim::ZERO, d, &Default::default())
}
