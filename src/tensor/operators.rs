//! `+ - * / %`, `& | ^`, unary `-` and `!`, between tensors and numbers, by value and by reference.
//!
//! The right side may be a number of any type; the result's type never depends on it, so that `(x * 0.5).exp()` needs no
//! annotation. For the same reason a number on the left is `f64` or `i32`, which literals are.

use std::ops::{Add, BitAnd, BitOr, BitXor, Div, Mul, Neg, Not, Rem, Sub};

use fornax_ir::scalar::BinaryOp;

use super::Tensor;
use super::args::{Number, Value};
use super::elementwise::binary;

/// What may stand on the right of an operator: a tensor, by value or by reference, or a number, which takes the dtype of
/// the tensor on the left.
pub trait RightOperand {
    /// As operand.
    fn value(&self) -> Value<'_>;
}

impl RightOperand for Tensor {
    fn value(&self) -> Value<'_> {
        Value::Tensor(self)
    }
}
impl RightOperand for &Tensor {
    fn value(&self) -> Value<'_> {
        Value::Tensor(self)
    }
}

macro_rules! numbers {
    ($($Number:ty)*) => { $(
        impl RightOperand for $Number {
            fn value(&self) -> Value<'_> {
                Value::Number(Number::from(*self))
            }
        }
    )* };
}
numbers!(f32 f64 i32 i64 u8 i8 usize bool);

macro_rules! operators {
    ($($Trait:ident $method:ident $Op:ident: $($Left:ty)*;)*) => { $(
        impl<R: RightOperand> $Trait<R> for &Tensor {
            type Output = Tensor;
            #[track_caller]
            fn $method(self, rhs: R) -> Tensor {
                let op = BinaryOp::$Op;
                binary(op, self.into(), rhs.value().beside(op.name(), self))
            }
        }
        impl<R: RightOperand> $Trait<R> for Tensor {
            type Output = Tensor;
            #[track_caller]
            fn $method(self, rhs: R) -> Tensor {
                let op = BinaryOp::$Op;
                binary(op, (&self).into(), rhs.value().beside(op.name(), &self))
            }
        }
        $(
            impl $Trait<&Tensor> for $Left {
                type Output = Tensor;
                #[track_caller]
                fn $method(self, rhs: &Tensor) -> Tensor {
                    let op = BinaryOp::$Op;
                    binary(op, Value::from(self).beside(op.name(), rhs), rhs.into())
                }
            }
            impl $Trait<Tensor> for $Left {
                type Output = Tensor;
                #[track_caller]
                fn $method(self, rhs: Tensor) -> Tensor {
                    $Trait::$method(self, &rhs)
                }
            }
        )*
    )* };
}
// Integers divide as in Rust, towards zero, and a remainder has the dividend's sign; division by zero gives 0.
operators! {
    Add add Add: f64 i32;
    Sub sub Sub: f64 i32;
    Mul mul Mul: f64 i32;
    Div div Div: f64 i32;
    Rem rem Rem: f64 i32;
    BitAnd bitand And: i32;
    BitOr bitor Or: i32;
    BitXor bitxor Xor: i32;
}

macro_rules! unary_operators {
    ($($Trait:ident $method:ident $inherent:ident;)*) => { $(
        impl $Trait for &Tensor {
            type Output = Tensor;
            #[track_caller]
            fn $method(self) -> Tensor {
                Tensor::$inherent(self)
            }
        }
        impl $Trait for Tensor {
            type Output = Tensor;
            #[track_caller]
            fn $method(self) -> Tensor {
                Tensor::$inherent(&self)
            }
        }
    )* };
}
unary_operators! {
    Neg neg neg;
    Not not bitwise_not;
}
