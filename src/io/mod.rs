//! Arrays in files: `.npy`, `.npz`, `.safetensors`, and folders of ONNX tensors.
//!
//! Sizes that a file claims are checked against what it holds before memory is taken for them.

mod folder;
mod npy;
mod npz;
pub(crate) mod safetensors;

pub use folder::{NumberedTensor, read_tensor_folder};
pub use npz::{read_npz, write_npz};
pub use safetensors::{load_safetensors, save_safetensors};

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use fornax_ir::literal::LiteralError;

use crate::tensor::Tensor;

/// Why a file of arrays could not be read.
#[derive(Debug, thiserror::Error)]
#[error("{}: {source}", path.display())]
pub struct FileError {
    /// The file; for a member of an archive, the archive.
    pub path: PathBuf,
    /// What is wrong with it.
    pub source: ReadError,
}

/// What is wrong with a file of arrays.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The system's reason.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// It is not an `.npy` file.
    #[error("not an .npy array: {0}")]
    Header(String),
    /// It is an array of something else than numbers.
    #[error(
        "an array of dtype {0} cannot be read; bool, integers of 1 to 8 bytes and floats of 2, 4 or 8 bytes can"
    )]
    Dtype(String),
    /// It holds less than it claims.
    #[error("{shape} takes {want} bytes of data, the file holds {got}")]
    Short {
        /// Dtype and shape.
        shape: String,
        /// Bytes of data that these take.
        want: u64,
        /// Bytes of data that are there.
        got: u64,
    },
    /// Its shape makes no tensor.
    #[error(transparent)]
    Shape(#[from] LiteralError),
    /// It is not an archive of `.npy` files.
    #[error("not an .npz archive: {0}")]
    Archive(String),
    /// It is not a safetensors file.
    #[error("not a .safetensors file: {0}")]
    Safetensors(String),
    /// A member of the archive is at fault.
    #[error("array '{name}': {source}")]
    Member {
        /// The member's name, without `.npy`.
        name: String,
        /// What is wrong with it.
        source: Box<ReadError>,
    },
    /// A file of an ONNX tensor is malformed.
    #[error("not an ONNX tensor: {0}")]
    Onnx(String),
    /// A folder without what it should hold.
    #[error("a folder without files named input_K.pb or output_K.pb")]
    EmptyFolder,
}

impl ReadError {
    fn at(self, path: &Path) -> FileError {
        FileError { path: path.to_owned(), source: self }
    }
}

/// Reads one array from an `.npy` file.
///
/// # Errors
/// [`FileError`] when the file cannot be read or is no array of numbers.
pub fn read_npy(path: impl AsRef<Path>) -> Result<Tensor, FileError> {
    let path = path.as_ref();
    let open = || -> Result<Tensor, ReadError> {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        npy::read(BufReader::new(file), length)
    };
    open().map_err(|e| e.at(path))
}
