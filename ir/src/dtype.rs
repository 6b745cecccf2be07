//! Element types, as data: everything that depends on an element type asks its row in [`DType::info`].

use std::fmt;
use std::str::FromStr;

/// What kind of numbers a dtype holds.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum DTypeClass {
    /// Truth values, stored as one byte that is 0 or 1.
    Bool,
    /// Two's complement integers.
    Signed,
    /// Unsigned integers.
    Unsigned,
    /// IEEE 754 binary floats, and bfloat16.
    Float,
}

/// The element type of a tensor.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[repr(u8)]
#[allow(missing_docs)] // the names say it; the facts are in the table below
pub enum DType {
    Bool,
    I8,
    U8,
    I16,
    U16,
    I32,
    U32,
    I64,
    U64,
    F16,
    BF16,
    F32,
    F64,
}

/// The facts of one dtype.
#[derive(Clone, Copy, Debug)]
pub struct DTypeInfo {
    /// The dtype this row describes.
    pub dtype: DType,
    /// Its name in every text form.
    pub name: &'static str,
    /// Bytes of one element in memory (and its alignment).
    pub bytes: usize,
    /// What kind of numbers it holds.
    pub class: DTypeClass,
}

const fn row(dtype: DType, name: &'static str, bytes: usize, class: DTypeClass) -> DTypeInfo {
    DTypeInfo { dtype, name, bytes, class }
}

/// All dtypes, in the order of the enum.
pub static DTYPES: [DTypeInfo; 13] = [
    row(DType::Bool, "bool", 1, DTypeClass::Bool),
    row(DType::I8, "i8", 1, DTypeClass::Signed),
    row(DType::U8, "u8", 1, DTypeClass::Unsigned),
    row(DType::I16, "i16", 2, DTypeClass::Signed),
    row(DType::U16, "u16", 2, DTypeClass::Unsigned),
    row(DType::I32, "i32", 4, DTypeClass::Signed),
    row(DType::U32, "u32", 4, DTypeClass::Unsigned),
    row(DType::I64, "i64", 8, DTypeClass::Signed),
    row(DType::U64, "u64", 8, DTypeClass::Unsigned),
    row(DType::F16, "f16", 2, DTypeClass::Float),
    row(DType::BF16, "bf16", 2, DTypeClass::Float),
    row(DType::F32, "f32", 4, DTypeClass::Float),
    row(DType::F64, "f64", 8, DTypeClass::Float),
];

impl DType {
    /// The facts of this dtype.
    pub fn info(self) -> &'static DTypeInfo {
        &DTYPES[self as usize]
    }
    /// Bytes of one element.
    pub fn bytes(self) -> usize {
        self.info().bytes
    }
    /// What kind of numbers it holds.
    pub fn class(self) -> DTypeClass {
        self.info().class
    }
    /// Its name in every text form.
    pub fn name(self) -> &'static str {
        self.info().name
    }
    /// f16, bf16, f32 or f64.
    pub fn is_float(self) -> bool {
        self.class() == DTypeClass::Float
    }
    /// A signed or unsigned integer (not bool).
    pub fn is_int(self) -> bool {
        matches!(self.class(), DTypeClass::Signed | DTypeClass::Unsigned)
    }
    /// A two's complement integer.
    pub fn is_signed_int(self) -> bool {
        self.class() == DTypeClass::Signed
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for DType {
    type Err = String;
    /// The dtype of that name; the error lists the known names.
    fn from_str(s: &str) -> Result<Self, String> {
        DTYPES.iter().find(|i| i.name == s).map(|i| i.dtype).ok_or_else(|| {
            let known: Vec<_> = DTYPES.iter().map(|i| i.name).collect();
            format!("unknown dtype `{s}`; known are {}", known.join(", "))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_enum_order_and_names_round_trip() {
        for (i, row) in DTYPES.iter().enumerate() {
            assert_eq!(row.dtype as usize, i);
            assert_eq!(row.name.parse::<DType>(), Ok(row.dtype));
        }
        assert!("f8".parse::<DType>().unwrap_err().contains("bf16"));
    }
}
