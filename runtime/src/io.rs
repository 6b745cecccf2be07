//! What a program takes and gives: names, dtypes, shapes, ranges of dims, donation.
//!
//! There are two forms: the C one that a program's `m_io` returns ([`FnxIo`] and the structures
//! it points to), and the owned one used in Rust ([`ProgramIo`]). [`ProgramIo::to_c`] and
//! [`ProgramIo::from_c`] convert.

use std::ffi::{CStr, CString, c_char};
use std::fmt;
use std::mem::size_of;

/// Element types with their code in the ABI. The codes are stable and of this ABI alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum DType {
    /// One byte that is 0 or 1.
    Bool = 1,
    /// Signed, 8 bits.
    I8 = 2,
    /// Unsigned, 8 bits.
    U8 = 3,
    /// Signed, 16 bits.
    I16 = 4,
    /// Unsigned, 16 bits.
    U16 = 5,
    /// Signed, 32 bits.
    I32 = 6,
    /// Unsigned, 32 bits.
    U32 = 7,
    /// Signed, 64 bits.
    I64 = 8,
    /// Unsigned, 64 bits.
    U64 = 9,
    /// IEEE 754 binary16.
    F16 = 10,
    /// bfloat16.
    BF16 = 11,
    /// IEEE 754 binary32.
    F32 = 12,
    /// IEEE 754 binary64.
    F64 = 13,
}

impl DType {
    /// Every dtype, in the order of the codes.
    pub const ALL: [Self; 13] = [
        Self::Bool,
        Self::I8,
        Self::U8,
        Self::I16,
        Self::U16,
        Self::I32,
        Self::U32,
        Self::I64,
        Self::U64,
        Self::F16,
        Self::BF16,
        Self::F32,
        Self::F64,
    ];

    /// The code in the ABI.
    #[must_use]
    pub const fn code(self) -> u32 {
        self as u32
    }

    /// The dtype of a code, if there is one.
    #[must_use]
    pub fn from_code(code: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|dtype| dtype.code() == code)
    }

    /// Bytes of one element, which is also its alignment.
    #[must_use]
    pub const fn size(self) -> usize {
        match self {
            Self::Bool | Self::I8 | Self::U8 => 1,
            Self::I16 | Self::U16 | Self::F16 | Self::BF16 => 2,
            Self::I32 | Self::U32 | Self::F32 => 4,
            Self::I64 | Self::U64 | Self::F64 => 8,
        }
    }

    /// The name, as the rest of the project spells it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::I8 => "i8",
            Self::U8 => "u8",
            Self::I16 => "i16",
            Self::U16 => "u16",
            Self::I32 => "i32",
            Self::U32 => "u32",
            Self::I64 => "i64",
            Self::U64 => "u64",
            Self::F16 => "f16",
            Self::BF16 => "bf16",
            Self::F32 => "f32",
            Self::F64 => "f64",
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// [`FnxDimInfo::kind`]: the extent is `value`.
pub const FNX_DIM_CONST: u32 = 0;
/// [`FnxDimInfo::kind`]: the extent is `dims[value]`.
pub const FNX_DIM_SYMBOL: u32 = 1;
/// [`FnxDimInfo::kind`]: the extent is `out_dims[value]` after the run: an expression over symbols,
/// or known from data alone.
pub const FNX_DIM_COMPUTED: u32 = 2;

/// One dim of a tensor, in C.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FnxDimInfo {
    /// One of the `FNX_DIM_` constants.
    pub kind: u32,
    /// Zero.
    pub reserved: u32,
    /// The extent, or an index, by kind.
    pub value: i64,
}

/// One input or output, in C.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct FnxTensorInfo {
    /// Its name, UTF-8.
    pub name: *const c_char,
    /// A [`DType`] code.
    pub dtype: u32,
    /// Number of dims.
    pub rank: u32,
    /// `rank` dims, outermost first; elements are contiguous in row-major order.
    pub dims: *const FnxDimInfo,
}

/// A symbolic dim and its declared range, in C.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct FnxSymbolInfo {
    /// Its name, UTF-8.
    pub name: *const c_char,
    /// Smallest value allowed.
    pub min: i64,
    /// Largest value allowed; `INT64_MAX` when unbounded.
    pub max: i64,
}

/// An output that may be given the very buffer of an input (donation), in C.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FnxAlias {
    /// Index of the input.
    pub input: u32,
    /// Index of the output.
    pub output: u32,
}

/// What `m_io` points to.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct FnxIo {
    /// Size of this structure in bytes as its maker knows it.
    pub size: u32,
    /// Number of inputs.
    pub num_inputs: u32,
    /// The inputs.
    pub inputs: *const FnxTensorInfo,
    /// The outputs.
    pub outputs: *const FnxTensorInfo,
    /// Number of outputs.
    pub num_outputs: u32,
    /// Number of symbols.
    pub num_symbols: u32,
    /// The symbols, in the order of `dims` in the arguments of a run.
    pub symbols: *const FnxSymbolInfo,
    /// The alias table.
    pub aliases: *const FnxAlias,
    /// Number of pairs in the alias table.
    pub num_aliases: u32,
    /// Number of entries of `out_dims` that a run writes.
    pub num_out_dims: u32,
}

/// One dim of a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dim {
    /// A fixed extent.
    Const(i64),
    /// The value of the symbol of this index.
    Symbol(usize),
    /// Entry of `out_dims` written by the run.
    Computed(usize),
}

/// One input or output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// Its name.
    pub name: String,
    /// Element type.
    pub dtype: DType,
    /// Dims, outermost first; elements are contiguous in row-major order.
    pub dims: Vec<Dim>,
}

/// A symbolic dim with its declared range, both ends inclusive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SymbolInfo {
    /// Its name.
    pub name: String,
    /// Smallest value allowed.
    pub min: i64,
    /// Largest value allowed; `i64::MAX` when unbounded.
    pub max: i64,
}

/// Inputs, outputs and symbols of a program.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProgramIo {
    /// Inputs, in the program's order.
    pub inputs: Vec<TensorInfo>,
    /// Outputs, in the program's order.
    pub outputs: Vec<TensorInfo>,
    /// Symbols, in the order of `dims` in a run.
    pub symbols: Vec<SymbolInfo>,
    /// Pairs (input, output) that may share one buffer.
    pub aliases: Vec<(usize, usize)>,
}

/// Why a table of inputs and outputs is not usable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IoError {
    /// The C table is smaller than the fields that are read.
    #[error("the program's io table has {size} bytes; this runtime needs {needed}")]
    Size {
        /// Its size prefix.
        size: u32,
        /// The size of the structure here.
        needed: u32,
    },
    /// A pointer that is needed is NULL.
    #[error("the program's io table has a NULL pointer for {what}")]
    Null {
        /// What the pointer should lead to.
        what: &'static str,
    },
    /// A name holds a NUL byte, or in C is not UTF-8.
    #[error("the name {name:?} in the program's io table is not NUL-free UTF-8")]
    Name {
        /// The name, with replacements.
        name: String,
    },
    /// A code that this version does not know.
    #[error("tensor '{tensor}' has an unknown {what} code {code}")]
    Code {
        /// The tensor.
        tensor: String,
        /// "dtype" or "dim kind".
        what: &'static str,
        /// The code.
        code: u32,
    },
    /// An extent is negative, or an index leads nowhere.
    #[error("{place}: {value} is not {expected}")]
    Value {
        /// Where it stands.
        place: String,
        /// The value found.
        value: i64,
        /// What it should be.
        expected: &'static str,
    },
}

impl ProgramIo {
    /// Number of entries of `out_dims` that a run writes.
    #[must_use]
    pub fn out_dims(&self) -> usize {
        let computed = |dim: &Dim| match dim {
            Dim::Computed(index) => index + 1,
            _ => 0,
        };
        self.tensors().flat_map(|tensor| tensor.dims.iter().map(computed)).max().unwrap_or(0)
    }

    /// Inputs, then outputs.
    pub fn tensors(&self) -> impl Iterator<Item = &TensorInfo> {
        self.inputs.iter().chain(&self.outputs)
    }

    /// Checks extents, indices and ranges.
    ///
    /// # Errors
    /// [`IoError::Value`] for the first that makes no sense: a negative extent, a symbol or alias
    /// index without target, an input with a computed dim, an empty range.
    pub fn validate(&self) -> Result<(), IoError> {
        let bad = |place: String, value: i64, expected| Err(IoError::Value { place, value, expected });
        let slots: usize = self.outputs.iter().map(|tensor| tensor.dims.len()).sum();
        for (index, tensor) in self.tensors().enumerate() {
            for (axis, dim) in tensor.dims.iter().enumerate() {
                let place = || format!("tensor '{}', axis {axis}", tensor.name);
                match *dim {
                    Dim::Const(extent) if extent < 0 => {
                        return bad(place(), extent, "an extent (0 or more)");
                    }
                    Dim::Symbol(symbol) if symbol >= self.symbols.len() => {
                        return bad(place(), symbol as i64, "the index of a symbol");
                    }
                    Dim::Computed(slot) if index < self.inputs.len() => {
                        return bad(place(), slot as i64, "possible: an input's dim is not computed");
                    }
                    // At most one slot per axis of every output; `out_dims` is allocated by this.
                    Dim::Computed(slot) if slot >= slots => {
                        return bad(place(), slot as i64, "an index into out_dims");
                    }
                    _ => {}
                }
            }
        }
        for symbol in &self.symbols {
            if symbol.min < 0 || symbol.min > symbol.max {
                return bad(
                    format!("symbol '{}'", symbol.name),
                    symbol.min,
                    "a lower bound from 0 to the upper bound",
                );
            }
        }
        for &(input, output) in &self.aliases {
            if input >= self.inputs.len() {
                return bad("alias table".into(), input as i64, "the index of an input");
            }
            if output >= self.outputs.len() {
                return bad("alias table".into(), output as i64, "the index of an output");
            }
        }
        Ok(())
    }

    /// The C form, which owns what it points to.
    ///
    /// # Errors
    /// [`IoError::Name`] when a name holds a NUL byte.
    pub fn to_c(&self) -> Result<IoTable, IoError> {
        let mut table = IoTable::default();
        let inputs = self.inputs.iter().map(|info| table.tensor(info)).collect::<Result<_, _>>()?;
        let outputs = self.outputs.iter().map(|info| table.tensor(info)).collect::<Result<_, _>>()?;
        let symbol = |info: &SymbolInfo| {
            let name = table.name(&info.name)?;
            Ok(FnxSymbolInfo { name, min: info.min, max: info.max })
        };
        let symbols = self.symbols.iter().map(symbol).collect::<Result<_, _>>()?;
        let alias =
            |&(input, output): &(usize, usize)| FnxAlias { input: input as u32, output: output as u32 };
        table.inputs = inputs;
        table.outputs = outputs;
        table.symbols = symbols;
        table.aliases = self.aliases.iter().map(alias).collect();
        table.num_out_dims = self.out_dims() as u32;
        Ok(table)
    }

    /// Copies the C form and validates it.
    ///
    /// # Errors
    /// An [`IoError`] that names the first thing wrong.
    ///
    /// # Safety
    /// `io` is NULL or points to an [`FnxIo`] at least as long as its size prefix says, whose
    /// pointers, where not NULL, lead to as many elements as it counts and to C strings.
    pub unsafe fn from_c(io: *const FnxIo) -> Result<Self, IoError> {
        if io.is_null() {
            return Err(IoError::Null { what: "the table" });
        }
        let needed = size_of::<FnxIo>() as u32;
        // SAFETY: not NULL, and the first field is always there.
        let size = unsafe { (*io).size };
        if size < needed {
            return Err(IoError::Size { size, needed });
        }
        // SAFETY: the structure is at least as long as this one.
        let io = unsafe { *io };
        // SAFETY: counts and pointers belong together by the caller's promise, in every call below.
        let program = unsafe {
            Self {
                inputs: list(io.inputs, io.num_inputs, "inputs", |&info| tensor_from_c(info))?,
                outputs: list(io.outputs, io.num_outputs, "outputs", |&info| tensor_from_c(info))?,
                symbols: list(io.symbols, io.num_symbols, "symbols", |info| {
                    let name = name_from_c(info.name)?;
                    Ok(SymbolInfo { name, min: info.min, max: info.max })
                })?,
                aliases: list(io.aliases, io.num_aliases, "the alias table", |alias| {
                    Ok((alias.input as usize, alias.output as usize))
                })?,
            }
        };
        program.validate()?;
        Ok(program)
    }
}

/// Converts `count` elements at `start`.
///
/// # Safety
/// `start` is NULL or leads to `count` elements.
unsafe fn list<C, R>(
    start: *const C,
    count: u32,
    what: &'static str,
    convert: impl Fn(&C) -> Result<R, IoError>,
) -> Result<Vec<R>, IoError> {
    match (count, start.is_null()) {
        (0, _) => Ok(Vec::new()),
        (_, true) => Err(IoError::Null { what }),
        // SAFETY: not NULL; `count` elements by the caller's promise.
        _ => unsafe { std::slice::from_raw_parts(start, count as usize) }.iter().map(convert).collect(),
    }
}

/// # Safety
/// `name` is NULL or a C string.
unsafe fn name_from_c(name: *const c_char) -> Result<String, IoError> {
    if name.is_null() {
        return Err(IoError::Null { what: "a name" });
    }
    // SAFETY: a C string by the caller's promise.
    let name = unsafe { CStr::from_ptr(name) };
    let text = name.to_str().map_err(|_| IoError::Name { name: name.to_string_lossy().into() })?;
    Ok(text.to_owned())
}

/// # Safety
/// The pointers are as [`ProgramIo::from_c`] demands.
unsafe fn tensor_from_c(info: FnxTensorInfo) -> Result<TensorInfo, IoError> {
    // SAFETY: by the caller's promise.
    let name = unsafe { name_from_c(info.name)? };
    let unknown = |what, code| IoError::Code { tensor: name.clone(), what, code };
    let dtype = DType::from_code(info.dtype).ok_or_else(|| unknown("dtype", info.dtype))?;
    let dim = |dim: &FnxDimInfo| {
        let index = || {
            usize::try_from(dim.value).map_err(|_| IoError::Value {
                place: format!("tensor '{name}'"),
                value: dim.value,
                expected: "an index",
            })
        };
        match dim.kind {
            FNX_DIM_CONST => Ok(Dim::Const(dim.value)),
            FNX_DIM_SYMBOL => Ok(Dim::Symbol(index()?)),
            FNX_DIM_COMPUTED => Ok(Dim::Computed(index()?)),
            kind => Err(unknown("dim kind", kind)),
        }
    };
    // SAFETY: by the caller's promise.
    let dims = unsafe { list(info.dims, info.rank, "the dims of a tensor", dim)? };
    Ok(TensorInfo { name, dtype, dims })
}

/// The C form of a [`ProgramIo`] with everything it points to.
#[derive(Debug, Default)]
pub struct IoTable {
    names: Vec<CString>,
    dims: Vec<Box<[FnxDimInfo]>>,
    inputs: Box<[FnxTensorInfo]>,
    outputs: Box<[FnxTensorInfo]>,
    symbols: Box<[FnxSymbolInfo]>,
    aliases: Box<[FnxAlias]>,
    num_out_dims: u32,
}

// SAFETY: the raw pointers lead into heap blocks owned by the table that are never written again.
unsafe impl Send for IoTable {}
// SAFETY: as above.
unsafe impl Sync for IoTable {}

impl IoTable {
    /// The structure that `m_io` returns; valid while the table lives, wherever it is moved.
    #[must_use]
    pub fn as_c(&self) -> FnxIo {
        FnxIo {
            size: size_of::<FnxIo>() as u32,
            num_inputs: self.inputs.len() as u32,
            inputs: self.inputs.as_ptr(),
            outputs: self.outputs.as_ptr(),
            num_outputs: self.outputs.len() as u32,
            num_symbols: self.symbols.len() as u32,
            symbols: self.symbols.as_ptr(),
            aliases: self.aliases.as_ptr(),
            num_aliases: self.aliases.len() as u32,
            num_out_dims: self.num_out_dims,
        }
    }

    /// Stores a name and returns where it stays.
    fn name(&mut self, name: &str) -> Result<*const c_char, IoError> {
        let owned = CString::new(name).map_err(|_| IoError::Name { name: name.to_owned() })?;
        let start = owned.as_ptr();
        self.names.push(owned);
        Ok(start)
    }

    fn tensor(&mut self, info: &TensorInfo) -> Result<FnxTensorInfo, IoError> {
        let name = self.name(&info.name)?;
        let dim = |dim: &Dim| {
            let (kind, value) = match *dim {
                Dim::Const(extent) => (FNX_DIM_CONST, extent),
                Dim::Symbol(index) => (FNX_DIM_SYMBOL, index as i64),
                Dim::Computed(index) => (FNX_DIM_COMPUTED, index as i64),
            };
            FnxDimInfo { kind, reserved: 0, value }
        };
        let dims: Box<[FnxDimInfo]> = info.dims.iter().map(dim).collect();
        let start = dims.as_ptr();
        self.dims.push(dims);
        Ok(FnxTensorInfo { name, dtype: info.dtype.code(), rank: info.dims.len() as u32, dims: start })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> ProgramIo {
        let tensor =
            |name: &str, dtype, dims: &[Dim]| TensorInfo { name: name.into(), dtype, dims: dims.to_vec() };
        ProgramIo {
            inputs: vec![
                tensor("x", DType::F32, &[Dim::Symbol(0), Dim::Const(3)]),
                tensor("état", DType::I64, &[]),
            ],
            outputs: vec![tensor("y", DType::BF16, &[Dim::Computed(1), Dim::Symbol(0)])],
            symbols: vec![SymbolInfo { name: "batch".into(), min: 1, max: i64::MAX }],
            aliases: vec![(1, 0)],
        }
    }

    #[test]
    fn dtype_codes_are_stable_and_invertible() {
        let codes: Vec<_> = DType::ALL.into_iter().map(DType::code).collect();
        assert_eq!(codes, (1..=13).collect::<Vec<_>>());
        for dtype in DType::ALL {
            assert_eq!(DType::from_code(dtype.code()), Some(dtype));
        }
        assert_eq!((DType::from_code(0), DType::from_code(14)), (None, None));
        assert_eq!(DType::from_code(12).unwrap().to_string(), "f32");
    }

    #[test]
    fn the_c_form_round_trips() {
        let io = example();
        // Moved after the pointers were taken.
        let table = Box::new(io.to_c().unwrap());
        let c = table.as_c();
        assert_eq!((c.num_inputs, c.num_outputs, c.num_out_dims), (2, 1, 2));
        // SAFETY: the table is alive.
        assert_eq!(unsafe { ProgramIo::from_c(&raw const c) }.unwrap(), io);
    }

    #[test]
    fn broken_c_forms_are_errors() {
        let table = example().to_c().unwrap();
        let good = table.as_c();
        // SAFETY: in every use the table is alive and counts are not raised.
        let read = |io: FnxIo| unsafe { ProgramIo::from_c(&raw const io) }.unwrap_err();
        assert!(matches!(read(FnxIo { size: 8, ..good }), IoError::Size { size: 8, .. }));
        let null = read(FnxIo { outputs: std::ptr::null(), ..good });
        assert_eq!(null, IoError::Null { what: "outputs" });
        let dangling = read(FnxIo { num_symbols: 0, ..good });
        assert!(dangling.to_string().contains("'x', axis 0"), "{dangling}");
        // SAFETY: NULL is allowed.
        assert!(unsafe { ProgramIo::from_c(std::ptr::null()) }.is_err());

        // SAFETY: the table is alive.
        let unknown = FnxTensorInfo { dtype: 77, ..unsafe { *good.outputs } };
        let error = read(FnxIo { outputs: &raw const unknown, ..good });
        assert!(matches!(error, IoError::Code { what: "dtype", code: 77, .. }));
    }

    #[test]
    fn senseless_tables_are_errors() {
        let with = |change: fn(&mut ProgramIo)| {
            let mut io = example();
            change(&mut io);
            io.validate().map_err(|error| error.to_string())
        };
        assert_eq!(with(|_| {}), Ok(()));
        assert!(with(|io| io.inputs[0].dims[1] = Dim::Const(-1)).is_err());
        assert!(with(|io| io.inputs[0].dims[1] = Dim::Symbol(1)).is_err());
        assert!(with(|io| io.inputs[0].dims[1] = Dim::Computed(0)).is_err());
        assert!(with(|io| io.outputs[0].dims[0] = Dim::Computed(2)).is_err());
        assert!(with(|io| io.symbols[0].max = 0).is_err());
        assert!(with(|io| io.aliases[0] = (2, 0)).is_err());
        assert!(with(|io| io.aliases[0] = (0, 1)).is_err());
        let mut io = example();
        io.inputs[0].name = "a\0b".into();
        assert!(matches!(io.to_c(), Err(IoError::Name { .. })));
    }
}
