//! Scalar operators shared by the three languages, and scalar values.
//!
//! What each operator computes, for every dtype and corner case, is stated in `docs/numerics.md`
//! and implemented once for the interpreters in [`eval`]; code generation implements it
//! independently.

use crate::dtype::{DType, DTypeClass};
use half::{bf16, f16};
use std::fmt;

pub mod eval;

macro_rules! named_enum {
    ($(#[$m:meta])* $vis:vis enum $Name:ident { $($(#[$vm:meta])* $V:ident = $s:literal),* $(,)? }) => {
        $(#[$m])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
        $vis enum $Name { $($(#[$vm])* $V),* }
        impl $Name {
            /// All of them, in order.
            pub const ALL: &'static [$Name] = &[$($Name::$V),*];
            /// The name in every text form.
            pub fn name(self) -> &'static str { match self { $($Name::$V => $s),* } }
            /// The one of that name.
            pub fn from_name(s: &str) -> Option<Self> { match s { $($s => Some($Name::$V),)* _ => None } }
        }
        impl fmt::Display for $Name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.write_str(self.name()) }
        }
    };
}
pub(crate) use named_enum;

named_enum! {
    /// Operators of one operand; the result has the operand's dtype (`IsNan`: bool).
    pub enum UnaryOp {
        /// Negation; integers wrap.
        Neg = "neg",
        /// Absolute value; the smallest signed integer is its own absolute value.
        Abs = "abs",
        /// -1, 0 or 1; NaN for NaN, and zero keeps its sign.
        Sign = "sign",
        /// Logical not of a bool, bitwise complement of an integer.
        Not = "not",
        /// e^x.
        Exp = "exp",
        /// Natural logarithm.
        Log = "log",
        /// Square root, correctly rounded.
        Sqrt = "sqrt",
        /// Sine.
        Sin = "sin",
        /// Cosine.
        Cos = "cos",
        /// Hyperbolic tangent.
        Tanh = "tanh",
        /// Error function.
        Erf = "erf",
        /// Arc tangent.
        Atan = "atan",
        /// Towards minus infinity.
        Floor = "floor",
        /// Towards plus infinity.
        Ceil = "ceil",
        /// To the nearest integer, ties to even.
        Round = "round",
        /// Towards zero.
        Trunc = "trunc",
        /// Whether the value is NaN.
        IsNan = "isnan",
    }
}
named_enum! {
    /// Operators of two operands of one dtype, which is the result's.
    pub enum BinaryOp {
        /// Sum; integers wrap. Not for bool.
        Add = "add",
        /// Difference; integers wrap.
        Sub = "sub",
        /// Product; integers wrap.
        Mul = "mul",
        /// Quotient. Integers truncate; x/0 = 0; MIN/-1 = MIN.
        Div = "div",
        /// Remainder with the dividend's sign; integers: x%0 = 0, MIN%-1 = 0.
        Rem = "rem",
        /// Power. Integers: by repeated multiplication, wrapping; a negative exponent truncates the real result.
        Pow = "pow",
        /// Smaller; NaN if either is NaN; -0 < +0.
        Min = "min",
        /// Larger; NaN if either is NaN; -0 < +0.
        Max = "max",
        /// Logical or bitwise and.
        And = "and",
        /// Logical or bitwise or.
        Or = "or",
        /// Logical or bitwise exclusive or.
        Xor = "xor",
        /// Shift left; by the width or more (or a negative count): 0.
        Shl = "shl",
        /// Shift right, arithmetic for signed integers; by the width or more (or a negative count): 0, or the sign's fill.
        Shr = "shr",
    }
}
named_enum! {
    /// Comparisons of two operands of one dtype; the result is bool. NaN is unequal to everything.
    pub enum CompareOp {
        /// Equal.
        Eq = "eq",
        /// Not equal (true where either is NaN).
        Ne = "ne",
        /// Less.
        Lt = "lt",
        /// Less or equal.
        Le = "le",
        /// Greater.
        Gt = "gt",
        /// Greater or equal.
        Ge = "ge",
    }
}
named_enum! {
    /// How many elements become one; the empty reduction gives the identity in brackets.
    pub enum ReduceOp {
        /// Sum (0); integers wrap.
        Sum = "sum",
        /// Product (1); integers wrap.
        Prod = "prod",
        /// Largest (-inf, the smallest integer, false); NaN if any is NaN.
        Max = "max",
        /// Smallest (+inf, the largest integer, true); NaN if any is NaN.
        Min = "min",
    }
}

/// One value of a dtype: its bits in the low bytes, the rest zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Scalar {
    /// The value's dtype.
    pub dtype: DType,
    /// The value's bits; bool is 0 or 1.
    pub bits: u64,
}

impl Scalar {
    /// From bits; those beyond the dtype's width are dropped.
    pub fn new(dtype: DType, bits: u64) -> Self {
        let width = dtype.bytes() * 8;
        let mask = if width == 64 { u64::MAX } else { (1 << width) - 1 };
        Scalar { dtype, bits: bits & mask }
    }
    /// The dtype's value nearest to `v`: floats round, integers saturate (NaN is 0), bool is `v != 0`.
    pub fn from_f64(dtype: DType, v: f64) -> Self {
        let bits = match dtype {
            DType::Bool => (v != 0.0) as u64,
            DType::I8 => v as i8 as u64,
            DType::U8 => v as u8 as u64,
            DType::I16 => v as i16 as u64,
            DType::U16 => v as u16 as u64,
            DType::I32 => v as i32 as u64,
            DType::U32 => v as u32 as u64,
            DType::I64 => v as i64 as u64,
            DType::U64 => v as u64,
            DType::F16 => f16::from_f64(v).to_bits() as u64,
            DType::BF16 => bf16::from_f64(v).to_bits() as u64,
            DType::F32 => (v as f32).to_bits() as u64,
            DType::F64 => v.to_bits(),
        };
        Scalar::new(dtype, bits)
    }
    /// From an integer: integers wrap, floats round, bool is `v != 0`.
    pub fn from_i64(dtype: DType, v: i64) -> Self {
        match dtype.class() {
            DTypeClass::Float => Scalar::from_f64(dtype, v as f64),
            DTypeClass::Bool => Scalar::new(dtype, (v != 0) as u64),
            _ => Scalar::new(dtype, v as u64),
        }
    }
    /// An f32.
    pub fn f32(v: f32) -> Self {
        Scalar::new(DType::F32, v.to_bits() as u64)
    }
    /// An f64.
    pub fn f64(v: f64) -> Self {
        Scalar::new(DType::F64, v.to_bits())
    }
    /// An i64.
    pub fn i64(v: i64) -> Self {
        Scalar::new(DType::I64, v as u64)
    }
    /// A bool.
    pub fn bool(v: bool) -> Self {
        Scalar::new(DType::Bool, v as u64)
    }
    /// The value as f64 (integers beyond 2^53 round).
    pub fn as_f64(self) -> f64 {
        match self.dtype {
            DType::F16 => f16::from_bits(self.bits as u16).to_f64(),
            DType::BF16 => bf16::from_bits(self.bits as u16).to_f64(),
            DType::F32 => f32::from_bits(self.bits as u32) as f64,
            DType::F64 => f64::from_bits(self.bits),
            DType::U64 => self.bits as f64,
            _ => self.as_i64() as f64,
        }
    }
    /// The value as i64: integers sign- or zero-extend (u64 wraps), floats saturate.
    pub fn as_i64(self) -> i64 {
        match self.dtype {
            DType::I8 => self.bits as i8 as i64,
            DType::I16 => self.bits as i16 as i64,
            DType::I32 => self.bits as i32 as i64,
            d if d.is_float() => self.as_f64() as i64,
            _ => self.bits as i64,
        }
    }
    /// What an empty reduction gives, see [`ReduceOp`].
    pub fn identity(op: ReduceOp, dtype: DType) -> Self {
        let (lo, hi) = match dtype {
            DType::Bool => (0, 1),
            d if d.is_float() => {
                let inf = if op == ReduceOp::Max { f64::NEG_INFINITY } else { f64::INFINITY };
                return match op {
                    ReduceOp::Sum => Scalar::from_f64(d, 0.0),
                    ReduceOp::Prod => Scalar::from_f64(d, 1.0),
                    _ => Scalar::from_f64(d, inf),
                };
            }
            d if d.is_signed_int() => {
                let bits = d.bytes() as u32 * 8;
                (i64::MIN >> (64 - bits), i64::MAX >> (64 - bits))
            }
            d => (0, (u64::MAX >> (64 - d.bytes() as u32 * 8)) as i64),
        };
        Scalar::from_i64(
            dtype,
            match op {
                ReduceOp::Sum => 0,
                ReduceOp::Prod => 1,
                ReduceOp::Max => lo,
                ReduceOp::Min => hi,
            },
        )
    }
}

impl fmt::Debug for Scalar {
    /// `f32 1.5`; floats that do not survive decimal text print as bits: `f32 0x7fc00001`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.dtype)?;
        match self.dtype {
            DType::Bool => write!(f, "{}", self.bits != 0),
            d if d.is_float() => {
                let v = self.as_f64();
                if v.is_finite() { write!(f, "{v:?}") } else { write!(f, "{:#x}", self.bits) }
            }
            DType::U64 => write!(f, "{}", self.bits),
            _ => write!(f, "{}", self.as_i64()),
        }
    }
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}
