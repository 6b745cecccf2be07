//! Tensors of the ONNX format as literals.

use crate::error::{Error, ErrorKind, Result};
use crate::proto::tensor_proto::DataType;
use crate::proto::{TensorProto, tensor_proto};
use crate::read;
use bytes::Bytes;
use fornax_ir::file::{self, beneath};
use fornax_ir::literal::byte_count;
use fornax_ir::{DType, Literal};
use rustc_hash::FxHashMap;
use std::fs::File;
use std::path::{Path, PathBuf};

/// Most axes a tensor may have.
pub(crate) const MAX_RANK: usize = 64;

/// The dtype of an ONNX element type code.
///
/// # Errors
/// Words that name the type, where there is no such dtype.
pub(crate) fn dtype(code: i32) -> Result<DType, String> {
    Ok(match DataType::try_from(code) {
        Ok(DataType::Float) => DType::F32,
        Ok(DataType::Uint8) => DType::U8,
        Ok(DataType::Int8) => DType::I8,
        Ok(DataType::Uint16) => DType::U16,
        Ok(DataType::Int16) => DType::I16,
        Ok(DataType::Int32) => DType::I32,
        Ok(DataType::Int64) => DType::I64,
        Ok(DataType::Bool) => DType::Bool,
        Ok(DataType::Float16) => DType::F16,
        Ok(DataType::Double) => DType::F64,
        Ok(DataType::Uint32) => DType::U32,
        Ok(DataType::Uint64) => DType::U64,
        Ok(DataType::Bfloat16) => DType::BF16,
        Ok(DataType::Undefined) => return Err("no element type is given".into()),
        Ok(other) => {
            return Err(format!("elements of type {} are not supported", other.as_str_name().to_lowercase()));
        }
        Err(_) => return Err(format!("element type code {code} is unknown")),
    })
}

/// Where tensors come from: the model's own folder for data outside the model file.
pub(crate) struct TensorSource {
    folder: Option<PathBuf>,
    mapped: FxHashMap<String, Bytes>,
}

impl TensorSource {
    /// Data outside the model file is looked for beneath `folder`; without it there can be none.
    pub(crate) fn new(folder: Option<&Path>) -> Self {
        TensorSource { folder: folder.map(Path::to_path_buf), mapped: FxHashMap::default() }
    }

    /// The tensor as a literal; raw and external data are shared, not copied.
    ///
    /// # Errors
    /// [`ErrorKind::Tensor`]: an element type without dtype, bad extents, data of another size than
    /// dtype and extents need, or external data that may not or cannot be read.
    pub(crate) fn literal(&mut self, t: &TensorProto) -> Result<Literal> {
        self.try_literal(t).map_err(|what| ErrorKind::Tensor { name: t.name.clone(), what })
    }

    fn try_literal(&mut self, t: &TensorProto) -> Result<Literal, String> {
        let (dtype, shape, want) = layout(t)?;
        let data = if t.data_location() == tensor_proto::DataLocation::External {
            native(self.external(t, want)?, dtype)
        } else if !t.raw_data.is_empty() {
            native(t.raw_data.clone(), dtype)
        } else {
            typed(t, dtype)?
        };
        let data = if dtype == DType::Bool { truth_values(data) } else { data };
        if data.len() != want {
            return Err(format!("{dtype}{shape:?} needs {want} bytes of data, but {} are there", data.len()));
        }
        Literal::from_bytes(dtype, &shape, data).map_err(|e| e.to_string())
    }

    /// The bytes of data outside the model file, see "External data" of the ONNX specification.
    fn external(&mut self, t: &TensorProto, want: usize) -> Result<Bytes, String> {
        let entry = |key: &str| t.external_data.iter().find(|e| e.key == key).map(|e| e.value.as_str());
        let location = entry("location").unwrap_or_default();
        let number = |key: &str| match entry(key).filter(|v| !v.is_empty()) {
            None => Ok(None),
            Some(v) => v.trim().parse::<usize>().map(Some).map_err(|_| format!("{key} '{v}' is no size")),
        };
        let offset = number("offset")?.unwrap_or(0);
        let length = number("length")?.unwrap_or(want);
        if length != want {
            return Err(format!(
                "dtype and extents need {want} bytes, but the external data has length {length}"
            ));
        }
        let bytes = self.map_external(location)?;
        let end = offset.checked_add(length).filter(|&e| e <= bytes.len());
        match end {
            Some(end) => Ok(bytes.slice(offset..end)),
            None => Err(format!(
                "external data at offset {offset} with {length} bytes lies outside '{location}', which has {} bytes",
                bytes.len()
            )),
        }
    }

    fn map_external(&mut self, location: &str) -> Result<Bytes, String> {
        if let Some(b) = self.mapped.get(location) {
            return Ok(b.clone());
        }
        let folder = self.folder.as_deref();
        let folder = folder.ok_or("its data is in another file, but the model was not read from a folder")?;
        if location.is_empty() {
            return Err("its data is said to be in another file, but none is named".into());
        }
        let path = beneath(folder, location).map_err(|why| format!("external data '{location}' {why}"))?;
        let fail = |e: std::io::Error| format!("external data '{location}' cannot be read: {e}");
        let file = File::open(&path).map_err(fail)?;
        let bytes = file::map(&file).map_err(fail)?;
        self.mapped.insert(location.to_string(), bytes.clone());
        Ok(bytes)
    }
}

/// Dtype, extents and byte count, without looking at the data.
fn layout(t: &TensorProto) -> Result<(DType, Vec<usize>, usize), String> {
    let dtype = dtype(t.data_type)?;
    if t.segment.is_some() {
        return Err("it is stored in segments, which are not supported".into());
    }
    if t.dims.len() > MAX_RANK {
        return Err(format!("it has {} axes; at most {MAX_RANK} are supported", t.dims.len()));
    }
    if let Some(k) = t.dims.iter().position(|&d| d < 0) {
        return Err(format!("extent {} of axis {k} is negative in {:?}", t.dims[k], t.dims));
    }
    let shape: Option<Vec<usize>> = t.dims.iter().map(|&d| usize::try_from(d).ok()).collect();
    let shape = shape.ok_or_else(|| format!("extents {:?} do not fit this machine", t.dims))?;
    let want = byte_count(dtype, &shape).map_err(|e| e.to_string())?;
    Ok((dtype, shape, want))
}

/// Checks everything that can be checked without copying or opening: element type, extents, and the
/// size of data inside the model file.
pub(crate) fn check(t: &TensorProto) -> Result<()> {
    let inner = || {
        let (dtype, shape, want) = layout(t)?;
        let external = t.data_location() == tensor_proto::DataLocation::External;
        let got = if external {
            want
        } else if !t.raw_data.is_empty() {
            t.raw_data.len()
        } else {
            typed_len(t, dtype) * dtype.bytes()
        };
        if got != want {
            return Err(format!("{dtype}{shape:?} needs {want} bytes of data, but {got} are there"));
        }
        Ok(())
    };
    inner().map_err(|what| ErrorKind::Tensor { name: t.name.clone(), what })
}

/// Bytes of the tensor's data, by its element type and extents.
pub(crate) fn byte_len(t: &TensorProto) -> Result<u64> {
    let name = || t.name.clone();
    layout(t).map(|(_, _, want)| want as u64).map_err(|what| ErrorKind::Tensor { name: name(), what })
}

fn typed_len(t: &TensorProto, dtype: DType) -> usize {
    match dtype {
        DType::F32 => t.float_data.len(),
        DType::F64 => t.double_data.len(),
        DType::I64 => t.int64_data.len(),
        DType::U32 | DType::U64 => t.uint64_data.len(),
        _ => t.int32_data.len(),
    }
}

/// Elements stored in the typed fields, by the specification's table of which field holds which type.
fn typed(t: &TensorProto, dtype: DType) -> Result<Bytes, String> {
    fn narrow<T: TryFrom<i32>, const N: usize>(
        t: &TensorProto,
        dtype: DType,
        bytes: impl Fn(T) -> [u8; N],
    ) -> Result<Vec<u8>, String> {
        let mut out = Vec::with_capacity(t.int32_data.len() * N);
        for &v in &t.int32_data {
            let v = T::try_from(v).map_err(|_| format!("element {v} does not fit {dtype}"))?;
            out.extend(bytes(v));
        }
        Ok(out)
    }
    let data: Vec<u8> = match dtype {
        DType::F32 => t.float_data.iter().flat_map(|v| v.to_ne_bytes()).collect(),
        DType::F64 => t.double_data.iter().flat_map(|v| v.to_ne_bytes()).collect(),
        DType::I64 => t.int64_data.iter().flat_map(|v| v.to_ne_bytes()).collect(),
        DType::U64 => t.uint64_data.iter().flat_map(|v| v.to_ne_bytes()).collect(),
        DType::I32 => t.int32_data.iter().flat_map(|v| v.to_ne_bytes()).collect(),
        DType::U32 => {
            let narrow = |v: &u64| u32::try_from(*v).map_err(|_| format!("element {v} does not fit {dtype}"));
            let all: Vec<u32> = t.uint64_data.iter().map(narrow).collect::<Result<_, _>>()?;
            all.iter().flat_map(|v| v.to_ne_bytes()).collect()
        }
        DType::Bool => t.int32_data.iter().map(|&v| u8::from(v != 0)).collect(),
        DType::I8 => narrow(t, dtype, i8::to_ne_bytes)?,
        DType::U8 => narrow(t, dtype, u8::to_ne_bytes)?,
        DType::I16 => narrow(t, dtype, i16::to_ne_bytes)?,
        // f16 and bf16 are stored as their bits.
        DType::U16 | DType::F16 | DType::BF16 => narrow(t, dtype, u16::to_ne_bytes)?,
    };
    Ok(Bytes::from(data))
}

/// Little-endian bytes of the file in this machine's order.
fn native(data: Bytes, dtype: DType) -> Bytes {
    if cfg!(target_endian = "little") || dtype.bytes() == 1 {
        return data;
    }
    let mut out = data.to_vec();
    out.chunks_exact_mut(dtype.bytes()).for_each(<[u8]>::reverse);
    Bytes::from(out)
}

/// Any byte but 0 is true; a literal holds 0 and 1 alone.
fn truth_values(data: Bytes) -> Bytes {
    if data.iter().all(|&b| b <= 1) {
        return data;
    }
    Bytes::from(data.iter().map(|&b| u8::from(b != 0)).collect::<Vec<_>>())
}

/// Reads a tensor file (a serialized TensorProto, `input_0.pb`): its own name, which may be empty, and its value.
///
/// # Errors
/// As [`crate::load`]: the file cannot be read, is no tensor, or its size contradicts its data.
pub fn read_tensor(path: impl AsRef<Path>) -> Result<(String, Literal), Error> {
    let path = path.as_ref();
    let inner = || {
        // A rank-0 zero may encode as very little, but never as nothing: it has an element type.
        let t = read::tensor(read::open(path)?)?;
        let literal = TensorSource::new(path.parent()).literal(&t)?;
        Ok((t.name.clone(), literal))
    };
    inner().map_err(|e: ErrorKind| e.at(path))
}
