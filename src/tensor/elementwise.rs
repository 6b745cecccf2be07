//! Operations place by place: the result has the operands' common shape.

use fornax_ir::DType;
use fornax_ir::graph::ValueId;
use fornax_ir::graph::builder::{Builder, Result as BuildResult};
use fornax_ir::scalar::{BinaryOp, CompareOp, UnaryOp};

use super::Tensor;
use super::args::{Number, Value};
use crate::eager::{Key, Operand, apply_one, fail, one};

/// Panics at the caller's line unless all operands have one dtype.
#[track_caller]
pub(crate) fn one_dtype(op: &str, operands: &[Operand<'_>]) {
    let first = operands[0].dtype();
    if let Some(other) = operands.iter().map(Operand::dtype).find(|d| *d != first) {
        fail(op, operands, &format!("the dtypes {first} and {other} differ; convert one with `to_dtype`"));
    }
}

/// Applies a binary operator to operands of one dtype, broadcast.
#[track_caller]
pub(super) fn binary(op: BinaryOp, a: Operand<'_>, b: Operand<'_>) -> Tensor {
    let operands = [a, b];
    one_dtype(op.name(), &operands);
    apply_one(Key::elementwise(op.name()), &operands, &|g, v| Ok(one(g.binary(op, v[0], v[1])?)))
}

#[track_caller]
fn compare(op: CompareOp, a: &Tensor, b: Value<'_>) -> Tensor {
    let operands = [a.into(), b.beside(op.name(), a)];
    one_dtype(op.name(), &operands);
    apply_one(Key::elementwise(op.name()), &operands, &|g, v| Ok(one(g.compare(op, v[0], v[1])?)))
}

/// Applies a function of one value.
#[track_caller]
fn unary(key: Key, x: &Tensor, f: impl Fn(&mut Builder, ValueId) -> BuildResult<ValueId>) -> Tensor {
    apply_one(key, &[x.into()], &|g, v| Ok(one(f(g, v[0])?)))
}

macro_rules! unary_methods {
    ($($(#[$doc:meta])* $name:ident = |$g:ident, $x:ident| $body:expr;)*) => {
        impl Tensor { $(
            $(#[$doc])*
            ///
            /// # Panics
            /// At the caller's line, when the dtype has no such function.
            #[must_use]
            #[track_caller]
            pub fn $name(&self) -> Tensor {
                unary(Key::elementwise(stringify!($name)), self, |$g, $x| $body)
            }
        )* }
    };
}

unary_methods! {
    /// `-x`; integers wrap.
    neg = |g, x| g.unary(UnaryOp::Neg, x);
    /// `|x|`.
    abs = |g, x| g.unary(UnaryOp::Abs, x);
    /// -1, 0 or 1; NaN for NaN.
    sign = |g, x| g.unary(UnaryOp::Sign, x);
    /// e to the power x.
    exp = |g, x| g.unary(UnaryOp::Exp, x);
    /// The natural logarithm.
    log = |g, x| g.unary(UnaryOp::Log, x);
    /// The logarithm to base 2.
    log2 = |g, x| {
        let log = g.unary(UnaryOp::Log, x)?;
        g.with_const(BinaryOp::Mul, log, std::f64::consts::LOG2_E)
    };
    /// The logarithm to base 10.
    log10 = |g, x| {
        let log = g.unary(UnaryOp::Log, x)?;
        g.with_const(BinaryOp::Mul, log, std::f64::consts::LOG10_E)
    };
    /// The square root.
    sqrt = |g, x| g.unary(UnaryOp::Sqrt, x);
    /// `1 / sqrt(x)`.
    rsqrt = |g, x| {
        let root = g.unary(UnaryOp::Sqrt, x)?;
        g.reciprocal(root)
    };
    /// `1 / x`.
    reciprocal = |g, x| g.reciprocal(x);
    /// `x * x`.
    square = |g, x| g.mul(x, x);
    /// The sine.
    sin = |g, x| g.unary(UnaryOp::Sin, x);
    /// The cosine.
    cos = |g, x| g.unary(UnaryOp::Cos, x);
    /// The tangent, as sine over cosine.
    tan = |g, x| {
        let (sin, cos) = (g.unary(UnaryOp::Sin, x)?, g.unary(UnaryOp::Cos, x)?);
        g.div(sin, cos)
    };
    /// The arc tangent.
    atan = |g, x| g.unary(UnaryOp::Atan, x);
    /// The hyperbolic tangent.
    tanh = |g, x| g.unary(UnaryOp::Tanh, x);
    /// The error function.
    erf = |g, x| g.unary(UnaryOp::Erf, x);
    /// Rounds down.
    floor = |g, x| g.unary(UnaryOp::Floor, x);
    /// Rounds up.
    ceil = |g, x| g.unary(UnaryOp::Ceil, x);
    /// To the nearest integer, ties to the even one.
    round = |g, x| g.unary(UnaryOp::Round, x);
    /// Rounds towards zero.
    trunc = |g, x| g.unary(UnaryOp::Trunc, x);
    /// Whether each element is NaN.
    isnan = |g, x| g.unary(UnaryOp::IsNan, x);
    /// Not of a bool, the complement of an integer.
    bitwise_not = |g, x| g.unary(UnaryOp::Not, x);
    /// `max(x, 0)`.
    relu = |g, x| g.relu(x);
    /// `1 / (1 + exp(-x))`.
    sigmoid = |g, x| g.sigmoid(x);
    /// `x * sigmoid(x)`.
    silu = |g, x| g.silu(x);
    /// `x / 2 * (1 + erf(x / sqrt(2)))`.
    gelu = |g, x| g.gelu(x);
    /// gelu's approximation `x / 2 * (1 + tanh(sqrt(2/pi) * (x + 0.044715 x^3)))`.
    gelu_tanh = |g, x| g.gelu_tanh(x);
    /// `log(1 + exp(x))`.
    softplus = |g, x| g.softplus(x);
    /// `x / (1 + |x|)`.
    softsign = |g, x| g.softsign(x);
    /// `x * tanh(softplus(x))`.
    mish = |g, x| g.mish(x);
    /// `max(0, min(1, x / 6 + 1/2))`.
    hardsigmoid = |g, x| g.hard_sigmoid(x, 1.0 / 6.0, 0.5);
    /// `x * hardsigmoid(x)`.
    hardswish = |g, x| g.hard_swish(x);
    /// Whether each element is zero (false).
    logical_not = |g, x| {
        let zero = g.scalar_f64(g.dtype(x), 0.0);
        g.compare(CompareOp::Eq, x, zero)
    };
}

macro_rules! binary_methods {
    ($($(#[$doc:meta])* $name:ident = $op:ident;)*) => {
        impl Tensor { $(
            $(#[$doc])*
            ///
            /// # Panics
            /// At the caller's line, when shapes don't broadcast or dtypes differ.
            #[must_use]
            #[track_caller]
            pub fn $name<'a>(&self, other: impl Into<Value<'a>>) -> Tensor {
                let op = BinaryOp::$op;
                binary(op, self.into(), other.into().beside(op.name(), self))
            }
        )* }
    };
}

binary_methods! {
    /// The larger of both; NaN if either is.
    maximum = Max;
    /// The smaller of both; NaN if either is.
    minimum = Min;
    /// And, of bools or of the bits of integers.
    bitwise_and = And;
    /// Or, of bools or of the bits of integers.
    bitwise_or = Or;
    /// Exclusive or, of bools or of the bits of integers.
    bitwise_xor = Xor;
}

macro_rules! compare_methods {
    ($($(#[$doc:meta])* $name:ident = $op:ident;)*) => {
        impl Tensor { $(
            $(#[$doc])*
            ///
            /// # Panics
            /// At the caller's line, when shapes don't broadcast or dtypes differ.
            #[must_use]
            #[track_caller]
            pub fn $name<'a>(&self, other: impl Into<Value<'a>>) -> Tensor {
                compare(CompareOp::$op, self, other.into())
            }
        )* }
    };
}

compare_methods! {
    /// Where elements are equal (`==` tells whether whole tensors are).
    eq = Eq;
    /// Where elements differ.
    ne = Ne;
    /// Where elements are less.
    lt = Lt;
    /// Where elements are less or equal.
    le = Le;
    /// Where elements are greater.
    gt = Gt;
    /// Where elements are greater or equal.
    ge = Ge;
}

/// Whether elements are not zero.
pub(super) fn truth(g: &mut Builder, x: ValueId) -> BuildResult<ValueId> {
    if g.dtype(x) == DType::Bool {
        return Ok(x);
    }
    let zero = g.scalar_f64(g.dtype(x), 0.0);
    g.compare(CompareOp::Ne, x, zero)
}

impl Tensor {
    /// Whether both are true. An element counts as true unless it is zero.
    ///
    /// # Panics
    /// At the caller's line, when shapes don't broadcast.
    #[must_use]
    #[track_caller]
    pub fn logical_and(&self, other: &Tensor) -> Tensor {
        logical(BinaryOp::And, "logical_and", self, other)
    }

    /// Whether either is true. An element counts as true unless it is zero.
    ///
    /// # Panics
    /// At the caller's line, when shapes don't broadcast.
    #[must_use]
    #[track_caller]
    pub fn logical_or(&self, other: &Tensor) -> Tensor {
        logical(BinaryOp::Or, "logical_or", self, other)
    }

    /// Whether one alone is true. An element counts as true unless it is zero.
    ///
    /// # Panics
    /// At the caller's line, when shapes don't broadcast.
    #[must_use]
    #[track_caller]
    pub fn logical_xor(&self, other: &Tensor) -> Tensor {
        logical(BinaryOp::Xor, "logical_xor", self, other)
    }

    /// `self` to the power of the other. Integers multiply repeatedly.
    ///
    /// # Panics
    /// At the caller's line, when shapes don't broadcast or dtypes differ.
    #[must_use]
    #[track_caller]
    pub fn pow<'a>(&self, exponent: impl Into<Value<'a>>) -> Tensor {
        match exponent.into() {
            Value::Number(Number::Int(2)) => self.square(),
            Value::Number(Number::Float(2.0)) => self.square(),
            value => binary(BinaryOp::Pow, self.into(), value.beside("pow", self)),
        }
    }

    /// Elements below `min` become `min`, then those above `max` become `max`; NaN stays.
    ///
    /// # Panics
    /// At the caller's line, when a bound is no value of the dtype, or a tensor that does not broadcast.
    ///
    /// ```
    /// let x = fornax::Tensor::from([-2.0f32, 0.5, 9.0]);
    /// assert_eq!(x.clamp(0, 1).to_vec::<f32>()?, [0.0, 0.5, 1.0]);
    /// # Ok::<(), fornax::TensorError>(())
    /// ```
    #[must_use]
    #[track_caller]
    pub fn clamp<'a>(&self, min: impl Into<Value<'a>>, max: impl Into<Value<'a>>) -> Tensor {
        let operands = [self.into(), min.into().beside("clamp", self), max.into().beside("clamp", self)];
        one_dtype("clamp", &operands);
        apply_one(Key::elementwise("clamp"), &operands, &|g, v| {
            Ok(one(g.clip(v[0], Some(v[1]), Some(v[2]))?))
        })
    }

    /// `x` where not negative, else `slope * x`.
    ///
    /// # Panics
    /// At the caller's line, when the dtype cannot hold the slope.
    #[must_use]
    #[track_caller]
    pub fn leaky_relu(&self, slope: f64) -> Tensor {
        let operands = [self.into(), Value::from(slope).beside("leaky_relu", self)];
        apply_one(Key::elementwise("leaky_relu"), &operands, &|g, v| Ok(one(g.prelu(v[0], v[1])?)))
    }

    /// `x` where not negative, else `alpha * (exp(x) - 1)`.
    ///
    /// # Panics
    /// At the caller's line, when the dtype is no float.
    #[must_use]
    #[track_caller]
    pub fn elu(&self, alpha: f64) -> Tensor {
        unary(Key::elementwise("elu").float(alpha), self, |g, x| g.elu(x, alpha))
    }

    /// The elements converted to a dtype: floats round, float to integer saturates (NaN is 0), integers wrap, bool is
    /// whether the value is not zero. Itself if it has that dtype.
    #[must_use]
    #[track_caller]
    pub fn to_dtype(&self, dtype: DType) -> Tensor {
        if self.dtype() == dtype {
            return self.clone();
        }
        unary(Key::elementwise("to_dtype").dtype(dtype), self, |g, x| g.cast(x, dtype))
    }

    /// The value where the mask is true, elsewhere this tensor's element.
    ///
    /// # Panics
    /// At the caller's line, when the mask is not bool, shapes don't broadcast, or the dtype cannot hold the value.
    #[must_use]
    #[track_caller]
    pub fn masked_fill(&self, mask: &Tensor, value: impl Into<Number>) -> Tensor {
        let value = Value::from(value.into()).beside("masked_fill", self);
        apply_one(Key::elementwise("masked_fill"), &[mask.into(), value, self.into()], &|g, v| {
            Ok(one(g.select(v[0], v[1], v[2])?))
        })
    }

    /// Where this condition is true the element of `then`, elsewhere that of `otherwise`; all three broadcast.
    ///
    /// # Panics
    /// At the caller's line, when this is not bool, shapes don't broadcast or dtypes differ.
    ///
    /// ```
    /// let x = fornax::Tensor::from([1.0f32, -2.0]);
    /// assert_eq!(x.gt(0).where_(&x, 0.5), fornax::Tensor::from([1.0f32, 0.5]));
    /// ```
    #[must_use]
    #[track_caller]
    pub fn where_<'a>(&self, then: &Tensor, otherwise: impl Into<Value<'a>>) -> Tensor {
        let otherwise = otherwise.into().beside("where", then);
        one_dtype("where", &[then.into(), otherwise]);
        apply_one(Key::elementwise("where"), &[self.into(), then.into(), otherwise], &|g, v| {
            Ok(one(g.select(v[0], v[1], v[2])?))
        })
    }
}

#[track_caller]
fn logical(op: BinaryOp, name: &'static str, a: &Tensor, b: &Tensor) -> Tensor {
    apply_one(Key::elementwise(name), &[a.into(), b.into()], &|g, v| {
        let (a, b) = (truth(g, v[0])?, truth(g, v[1])?);
        Ok(one(g.binary(op, a, b)?))
    })
}
