//! The safetensors format: named tensors behind a header in JSON.
//!
//! The header's claims are checked by the `safetensors` crate before any tensor is made: offsets that do not
//! lie one after the other within the file, sizes that contradict shapes, headers beyond its limit.

use std::borrow::Cow;
use std::io::{self, Write};
use std::path::Path;

use ::safetensors::tensor::{Dtype, Metadata, SafeTensorError, SafeTensors, View};
use bytes::Bytes;
use fornax_ir::file::{open, write_whole};
use fornax_ir::{DType, Literal};

use super::{FileError, ReadError};
use crate::tensor::Tensor;

/// Dtypes by their names in the format.
const DTYPES: [(Dtype, DType); 13] = [
    (Dtype::BOOL, DType::Bool),
    (Dtype::I8, DType::I8),
    (Dtype::U8, DType::U8),
    (Dtype::I16, DType::I16),
    (Dtype::U16, DType::U16),
    (Dtype::I32, DType::I32),
    (Dtype::U32, DType::U32),
    (Dtype::I64, DType::I64),
    (Dtype::U64, DType::U64),
    (Dtype::F16, DType::F16),
    (Dtype::BF16, DType::BF16),
    (Dtype::F32, DType::F32),
    (Dtype::F64, DType::F64),
];

/// Reads every tensor of a safetensors file by name, in the order of their data. The file is mapped into memory
/// and tensors share it where their elements are aligned in it: it must not change while they live.
///
/// # Errors
/// [`FileError`] when the file cannot be read, is malformed, or holds elements that no dtype stands for.
pub fn load_safetensors(path: impl AsRef<Path>) -> Result<Vec<(String, Tensor)>, FileError> {
    let path = path.as_ref();
    let read = || {
        let bytes = open(path).map_err(ReadError::Safetensors)?;
        let named = literals(&bytes)?.into_iter();
        Ok(named.map(|(name, literal)| (name, Tensor::from_literal(literal))).collect())
    };
    read().map_err(|e: ReadError| e.at(path))
}

/// Writes tensors as a safetensors file, which appears complete or not at all.
///
/// # Errors
/// [`std::io::Error`] when the system refuses, or a name is used twice or is `__metadata__`.
pub fn save_safetensors<'a>(
    path: impl AsRef<Path>,
    tensors: impl IntoIterator<Item = (&'a str, &'a Tensor)>,
) -> io::Result<()> {
    let literal = |(name, tensor): (&str, &Tensor)| (name.to_string(), Literal::from(tensor.clone()));
    write_literals(path.as_ref(), tensors.into_iter().map(literal).collect())
}

/// The tensors of a file in memory, which share it.
pub(crate) fn literals(bytes: &Bytes) -> Result<Vec<(String, Literal)>, ReadError> {
    let bad = |e: SafeTensorError| ReadError::Safetensors(e.to_string());
    let (header, metadata) = SafeTensors::read_metadata(bytes).map_err(bad)?;
    let data = bytes.slice(LENGTH + header..);
    let mut found = vec![];
    for name in metadata.offset_keys() {
        let literal = literal(&metadata, &name, &data)
            .map_err(|source| ReadError::Member { name: name.clone(), source: Box::new(source) })?;
        found.push((name, literal));
    }
    Ok(found)
}

/// Bytes before the header, which hold its length.
const LENGTH: usize = 8;

fn literal(metadata: &Metadata, name: &str, data: &Bytes) -> Result<Literal, ReadError> {
    let info = metadata.info(name).expect("the name is the metadata's own");
    let (from, to) = info.data_offsets;
    let dtype = DTYPES.iter().find(|(theirs, _)| *theirs == info.dtype);
    let (_, dtype) = dtype.ok_or_else(|| ReadError::Dtype(format!("{:?}", info.dtype)))?;
    if from > to || to > data.len() {
        return Err(ReadError::Safetensors(format!("its bytes {from}..{to} are outside the data")));
    }
    Ok(Literal::from_little_endian(*dtype, &info.shape, data.slice(from..to))?)
}

/// A tensor on its way into a file.
struct Written {
    literal: Literal,
    bytes: Bytes,
}

impl View for &Written {
    fn dtype(&self) -> Dtype {
        let own = self.literal.dtype();
        DTYPES.iter().find(|(_, d)| *d == own).expect("the table holds every dtype").0
    }
    fn shape(&self) -> &[usize] {
        self.literal.shape()
    }
    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.bytes)
    }
    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}

/// Writes named arrays.
pub(crate) fn write_literals(path: &Path, named: Vec<(String, Literal)>) -> io::Result<()> {
    let mut names: Vec<&str> = named.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    let twice = names.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0]);
    if let Some(name) = twice.or(names.iter().find(|name| **name == "__metadata__").copied()) {
        let what = format!("a safetensors file cannot hold a tensor named '{name}' here: the name is taken");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
    }
    let written: Vec<(String, Written)> = named
        .into_iter()
        .map(|(name, literal)| (name, Written { bytes: literal.little_endian(), literal }))
        .collect();
    let views = written.iter().map(|(name, tensor)| (name, tensor));
    let bytes = ::safetensors::serialize(views, None).map_err(io::Error::other)?;
    write_whole(path, |to| to.write_all(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    #[test]
    fn every_dtype_comes_back_and_aligned_ones_share_the_file() {
        let folder = folder();
        let path = folder.path().join("a.safetensors");
        let mut tensors: Vec<(String, Tensor)> = vec![];
        for row in fornax_ir::dtype::DTYPES.iter() {
            for shape in [&[][..], &[3], &[2, 0], &[2, 3]] {
                let n: usize = shape.iter().product();
                let t = Tensor::from_f64s((0..n).map(|i| i as f64), row.dtype, shape).unwrap();
                tensors.push((format!("{} {shape:?} \"\u{e9}\"", row.name), t));
            }
        }
        save_safetensors(&path, tensors.iter().map(|(n, t)| (n.as_str(), t))).unwrap();
        let mut read = load_safetensors(&path).unwrap();
        read.sort_by(|a, b| a.0.cmp(&b.0));
        tensors.sort_by(|a, b| a.0.cmp(&b.0));
        assert_eq!(read, tensors);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no part stays");
    }

    #[test]
    fn a_file_written_by_hand_is_read() {
        let folder = folder();
        let path = folder.path().join("a.safetensors");
        let header = br#"{"__metadata__":{"k":"v"},"b":{"dtype":"I32","shape":[2],"data_offsets":[0,8]}}"#;
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header);
        bytes.extend([1, 0, 0, 0, 2, 0, 0, 0]);
        std::fs::write(&path, &bytes).unwrap();
        let read = load_safetensors(&path).unwrap();
        assert_eq!(read[0].0, "b");
        assert_eq!(read[0].1.to_vec::<i32>().unwrap(), [1, 2]);
    }

    #[test]
    fn malformed_files_are_errors() {
        let folder = folder();
        let path = folder.path().join("a.safetensors");
        let refuse = |header: &str, data: usize, part: &str| {
            let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
            bytes.extend(header.as_bytes());
            bytes.resize(bytes.len() + data, 7);
            std::fs::write(&path, &bytes).unwrap();
            let error = load_safetensors(&path).unwrap_err().to_string();
            assert!(error.contains("a.safetensors") && error.contains(part), "{error} lacks {part}");
        };
        let one = |dtype: &str, shape: &str, to: u64| {
            format!(r#"{{"x":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[0,{to}]}}}}"#)
        };
        refuse(&one("F32", "[2]", 8), 4, "not a .safetensors file");
        refuse(&one("F32", "[3]", 8), 8, "not a .safetensors file");
        refuse(&one("F32", "[4294967296,4294967296,16]", 8), 8, "not a .safetensors file");
        refuse(&one("F8_E4M3", "[8]", 8), 8, "'x'");
        refuse(&one("BOOL", "[2]", 2), 2, "byte of 0 or 1");
        refuse("{", 0, "not a .safetensors file");
        std::fs::write(&path, [255; 16]).unwrap();
        assert!(load_safetensors(&path).is_err());
        std::fs::write(&path, b"").unwrap();
        assert!(load_safetensors(&path).unwrap_err().to_string().contains("empty"));
        let x = Tensor::scalar(1i32);
        for names in [["x", "x"], ["x", "__metadata__"]] {
            assert!(save_safetensors(&path, names.map(|n| (n, &x))).is_err());
        }
    }
}
