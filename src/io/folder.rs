//! Folders of ONNX tensors, as conformance cases come: `input_K.pb` and `output_K.pb`.

use std::path::Path;

use super::{FileError, ReadError};
use crate::tensor::Tensor;

/// A tensor of a folder.
#[derive(Clone, PartialEq, Debug)]
pub struct NumberedTensor {
    /// K of its file's name.
    pub number: usize,
    /// The tensor's own name; may be empty.
    pub name: String,
    /// Its value.
    pub tensor: Tensor,
}

/// Reads the tensors of `prefix_K.pb` files in a folder, ordered by K. `prefix` is `input` or `output`.
///
/// # Errors
/// [`FileError`] when the folder or a file cannot be read, a file is no tensor, or there is none.
pub fn read_tensor_folder(path: impl AsRef<Path>, prefix: &str) -> Result<Vec<NumberedTensor>, FileError> {
    let path = path.as_ref();
    let entries = std::fs::read_dir(path).map_err(|e| ReadError::Io(e).at(path))?;
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|e| ReadError::Io(e).at(path))?;
        let name = entry.file_name();
        let Some(number) = name.to_str().and_then(|name| numbered(name, prefix)) else { continue };
        found.push((number, entry.path()));
    }
    if found.is_empty() {
        return Err(ReadError::EmptyFolder.at(path));
    }
    found.sort();
    found.into_iter().map(|(number, file)| read_one(number, &file).map_err(|e| e.at(&file))).collect()
}

/// K of `prefix_K.pb`.
fn numbered(name: &str, prefix: &str) -> Option<usize> {
    let digits = name.strip_prefix(prefix)?.strip_prefix('_')?.strip_suffix(".pb")?;
    digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok())?
}

fn read_one(number: usize, file: &Path) -> Result<NumberedTensor, ReadError> {
    let (name, literal) = fornax_onnx::read_tensor(file).map_err(|e| ReadError::Onnx(e.kind.to_string()))?;
    Ok(NumberedTensor { number, name, tensor: Tensor::from_literal(literal) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_numbered_files_count() {
        assert_eq!(numbered("input_0.pb", "input"), Some(0));
        assert_eq!(numbered("input_12.pb", "input"), Some(12));
        for name in
            ["input_.pb", "input_1.pbx", "output_1.pb", "input_+1.pb", "input_99999999999999999999.pb"]
        {
            assert_eq!(numbered(name, "input"), None, "{name}");
        }
    }
}
