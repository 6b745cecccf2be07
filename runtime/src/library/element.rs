//! Elements of tensors, and what they are computed in.

/// A number that elements are computed in.
pub(super) trait Number: Copy + PartialOrd + Send + Sync + 'static {
    /// What changes no sum.
    const ZERO: Self;
    /// What changes no product.
    const ONE: Self;
    /// Below all others.
    const LOWEST: Self;
    /// Above all others.
    const HIGHEST: Self;
    /// Sum; integers wrap.
    fn plus(self, other: Self) -> Self;
    /// Product; integers wrap.
    fn times(self, other: Self) -> Self;
    /// Larger one; NaN if either is.
    fn larger(self, other: Self) -> Self;
    /// Smaller one; NaN if either is.
    fn smaller(self, other: Self) -> Self;
}

/// An element as it lies in memory.
pub(super) trait Element: Copy + Send + Sync + 'static {
    /// What it is computed in.
    type Number: Number;
    /// Its value.
    fn get(self) -> Self::Number;
    /// The element nearest to a value.
    fn of(value: Self::Number) -> Self;
}

macro_rules! integers {
    ($($T:ty)*) => { $(
        impl Number for $T {
            const ZERO: Self = 0;
            const ONE: Self = 1;
            const LOWEST: Self = <$T>::MIN;
            const HIGHEST: Self = <$T>::MAX;
            #[inline(always)]
            fn plus(self, other: Self) -> Self { self.wrapping_add(other) }
            #[inline(always)]
            fn times(self, other: Self) -> Self { self.wrapping_mul(other) }
            #[inline(always)]
            fn larger(self, other: Self) -> Self { self.max(other) }
            #[inline(always)]
            fn smaller(self, other: Self) -> Self { self.min(other) }
        }
        impl Element for $T {
            type Number = $T;
            #[inline(always)]
            fn get(self) -> $T { self }
            #[inline(always)]
            fn of(value: $T) -> $T { value }
        }
    )* };
}
integers!(i8 u8 i16 u16 i32 u32 i64 u64);

macro_rules! floats {
    ($($T:ty)*) => { $(
        impl Number for $T {
            const ZERO: Self = 0.0;
            const ONE: Self = 1.0;
            const LOWEST: Self = <$T>::NEG_INFINITY;
            const HIGHEST: Self = <$T>::INFINITY;
            #[inline(always)]
            fn plus(self, other: Self) -> Self { self + other }
            #[inline(always)]
            fn times(self, other: Self) -> Self { self * other }
            #[inline(always)]
            fn larger(self, other: Self) -> Self {
                if self > other || self.is_nan() { self } else { other }
            }
            #[inline(always)]
            fn smaller(self, other: Self) -> Self {
                if self < other || self.is_nan() { self } else { other }
            }
        }
        impl Element for $T {
            type Number = $T;
            #[inline(always)]
            fn get(self) -> $T { self }
            #[inline(always)]
            fn of(value: $T) -> $T { value }
        }
    )* };
}
floats!(f32 f64);

/// IEEE 754 binary16, in its bits.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(super) struct F16(u16);

impl Element for F16 {
    type Number = f32;
    #[inline(always)]
    fn get(self) -> f32 {
        let bits = u32::from(self.0);
        let (sign, magnitude) = ((bits & 0x8000) << 16, bits & 0x7fff);
        // The exponent's bias differs by 112; the product is exact, also for subnormal numbers.
        let scaled = (f32::from_bits(magnitude << 13) * f32::from_bits((127 + 112) << 23)).to_bits();
        let special = 0x7f80_0000 | (magnitude & 0x3ff) << 13;
        f32::from_bits(sign | if magnitude >= 0x7c00 { special } else { scaled })
    }
    #[inline(always)]
    fn of(value: f32) -> F16 {
        let bits = value.to_bits();
        let (sign, magnitude) = ((bits >> 16) & 0x8000, bits & 0x7fff_ffff);
        // Half has the last place of the subnormal numbers as its own, so the addition rounds to it.
        let subnormal = (f32::from_bits(magnitude) + 0.5).to_bits().wrapping_sub(0x3f00_0000);
        let odd = (magnitude >> 13) & 1;
        let normal = magnitude.wrapping_add(0xfff + odd).wrapping_sub(112 << 23) >> 13;
        let finite = if magnitude < 0x3880_0000 { subnormal } else { normal };
        let special = if magnitude > 0x7f80_0000 { 0x7e00 } else { 0x7c00 };
        F16((sign | if magnitude >= 0x4780_0000 { special } else { finite }) as u16)
    }
}

/// bfloat16, in its bits.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(super) struct BF16(u16);

impl Element for BF16 {
    type Number = f32;
    #[inline(always)]
    fn get(self) -> f32 {
        f32::from_bits(u32::from(self.0) << 16)
    }
    #[inline(always)]
    fn of(value: f32) -> BF16 {
        let bits = value.to_bits();
        let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16;
        let quiet = bits >> 16 | 0x40;
        BF16(if value.is_nan() { quiet } else { rounded } as u16)
    }
}

/// How two numbers become one.
pub(super) trait Combine: Copy + Send + Sync + 'static {
    /// What changes no other number.
    fn identity<N: Number>() -> N;
    /// Of both.
    fn combine<N: Number>(a: N, b: N) -> N;
}

macro_rules! combine {
    ($($(#[$doc:meta])* $Name:ident: $identity:ident, $function:ident;)*) => { $(
        $(#[$doc])*
        #[derive(Clone, Copy)]
        pub(super) struct $Name;
        impl Combine for $Name {
            #[inline(always)]
            fn identity<N: Number>() -> N { N::$identity }
            #[inline(always)]
            fn combine<N: Number>(a: N, b: N) -> N { a.$function(b) }
        }
    )* };
}
combine! {
    /// Their sum.
    Sum: ZERO, plus;
    /// Their product.
    Product: ONE, times;
    /// The larger one.
    Largest: LOWEST, larger;
    /// The smaller one.
    Smallest: HIGHEST, smaller;
}

/// Runs a block with `T` as the element type of a dtype; nothing for bools.
macro_rules! by_dtype {
    ($dtype:expr, $T:ident => $body:expr) => {
        match $dtype {
            DType::I8 => {
                type $T = i8;
                $body
            }
            DType::U8 => {
                type $T = u8;
                $body
            }
            DType::I16 => {
                type $T = i16;
                $body
            }
            DType::U16 => {
                type $T = u16;
                $body
            }
            DType::I32 => {
                type $T = i32;
                $body
            }
            DType::U32 => {
                type $T = u32;
                $body
            }
            DType::I64 => {
                type $T = i64;
                $body
            }
            DType::U64 => {
                type $T = u64;
                $body
            }
            DType::F16 => {
                type $T = crate::library::element::F16;
                $body
            }
            DType::BF16 => {
                type $T = crate::library::element::BF16;
                $body
            }
            DType::F32 => {
                type $T = f32;
                $body
            }
            DType::F64 => {
                type $T = f64;
                $body
            }
            DType::Bool => {}
        }
    };
}
pub(super) use by_dtype;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_survive_and_round_to_even() {
        for bits in 0..=u16::MAX {
            let value = F16(bits).get();
            let back = F16::of(value).0;
            assert!(
                back == bits || value.is_nan() && back & 0x7c00 == 0x7c00 && back & 0x3ff != 0,
                "{bits:#x}"
            );
            let value = BF16(bits).get();
            let back = BF16::of(value).0;
            assert!(back == bits || value.is_nan() && BF16(back).get().is_nan(), "{bits:#x}");
        }
        let cases = [
            (1.0 + 1.0 / 2048.0, 0x3c00),
            (1.0 + 3.0 / 2048.0, 0x3c02),
            (65519.0, 0x7bff),
            (65520.0, 0x7c00),
            (f32::INFINITY, 0x7c00),
            (-1.0, 0xbc00),
            (2f32.powi(-25), 0x0000),
            (2f32.powi(-25) * 1.5, 0x0001),
            (2f32.powi(-14) - 2f32.powi(-26), 0x0400),
        ];
        for (value, want) in cases {
            assert_eq!(F16::of(value).0, want, "{value}");
        }
        assert_eq!(BF16::of(1.0 + 1.0 / 256.0).0, 0x3f80);
        assert_eq!(BF16::of(1.0 + 3.0 / 256.0).0, 0x3f82);
    }

    #[test]
    fn extremes_pass_nan_on() {
        assert!(f32::NAN.larger(1.0).is_nan() && 1.0f32.larger(f32::NAN).is_nan());
        assert!(f64::NAN.smaller(1.0).is_nan() && 1.0f64.smaller(f64::NAN).is_nan());
        assert_eq!((2i8.larger(-3), 2u8.smaller(3), 127i8.plus(1)), (2, 2, -128));
    }
}
