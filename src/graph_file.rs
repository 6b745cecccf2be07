//! Graphs in files of our own: `.fnxb`, binary, with the weights inside or in a file beside; and `.fnx`, text.
//!
//! ```
//! use fornax::graph_file::{self, SaveOptions};
//!
//! let graph = graph_file::load("examples/data/digits.onnx")?;
//! let folder = tempfile::tempdir()?;
//! let path = folder.path().join("digits.fnxb");
//! graph_file::save(&graph, &path, &SaveOptions::default())?;
//! let model = fornax::Model::load(&path)?;
//! assert_eq!(model.inputs()[0].name, "images");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Both forms hold everything: names, symbols with their ranges, constants, guards, source locations, regions.
//! `fornax_ir::graph::saved` describes the binary one; it is mapped into memory, and weights are used where they
//! lie in the file, which must not change meanwhile.

use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use fornax_ir::Literal;
use fornax_ir::file::{beneath, map, open, write_whole};
use fornax_ir::graph::Graph;
use fornax_ir::graph::saved::{self, Beside, Checksum, SavedError};
use fornax_ir::graph::text::{self, TextError};
use rustc_hash::FxHashMap;

use crate::error::Error;
use crate::io::safetensors;

/// A kind of model file.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Format {
    /// `.onnx`
    Onnx,
    /// `.fnxb`
    Binary,
    /// `.fnx`
    Text,
}

/// Where a saved graph keeps its weights.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Weights {
    /// In the graph's own file.
    #[default]
    Embed,
    /// In a safetensors file beside it, named as the graph's file with `.safetensors` behind. A `.fnxb` file
    /// holds its name and checksum: both files belong together.
    Safetensors,
}

/// How a graph is saved.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct SaveOptions {
    /// Where the weights go.
    pub weights: Weights,
}

impl SaveOptions {
    /// These options with the weights there.
    pub fn weights(mut self, weights: Weights) -> Self {
        self.weights = weights;
        self
    }
}

/// Why a file of a graph could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("{}: {kind}", path.display())]
pub struct GraphFileError {
    /// The file.
    pub path: PathBuf,
    /// What was wrong.
    pub kind: GraphFileErrorKind,
}

/// What was wrong with a file of a graph.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GraphFileErrorKind {
    /// It cannot be read.
    #[error("cannot be read: {0}")]
    Read(String),
    /// It cannot be written.
    #[error("cannot be written: {0}")]
    Write(#[source] std::io::Error),
    /// Its name does not say what to write.
    #[error("a graph is saved as .fnxb (binary) or .fnx (text); name the file so")]
    Extension,
    /// The form cannot keep its weights in another file.
    #[error("the text form holds its weights itself; save as .fnxb to have them in a file beside")]
    TextWeights,
    /// It is no graph in binary form.
    #[error(transparent)]
    Binary(Box<SavedError>),
    /// It is no graph in text form.
    #[error("not a graph in text form (.fnx): {0}")]
    Text(#[from] TextError),
}

impl GraphFileErrorKind {
    fn at(self, path: &Path) -> GraphFileError {
        GraphFileError { path: path.to_owned(), kind: self }
    }
}

/// The name of the kinds of files, for messages.
impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Format::Onnx => ".onnx",
            Format::Binary => ".fnxb",
            Format::Text => ".fnx",
        })
    }
}

impl Format {
    /// What a file's name says it is.
    pub fn of_name(path: &Path) -> Option<Format> {
        let extension = path.extension()?.to_str()?.to_ascii_lowercase();
        match extension.as_str() {
            "onnx" => Some(Format::Onnx),
            "fnxb" => Some(Format::Binary),
            "fnx" => Some(Format::Text),
            _ => None,
        }
    }

    /// What a file is: by its first bytes if they are those of a graph of ours, else by its name. A file that is
    /// neither is taken for ONNX, which has no mark of its own.
    pub fn of_file(path: &Path) -> Format {
        let head = head_of(path).unwrap_or_default();
        if saved::is_saved(&head) {
            return Format::Binary;
        }
        match Format::of_name(path) {
            Some(format) => format,
            None if begins_as_text(&head) => Format::Text,
            None => Format::Onnx,
        }
    }
}

/// The first bytes of a regular file.
fn head_of(path: &Path) -> std::io::Result<Vec<u8>> {
    use std::io::Read;
    let mut head = vec![];
    if std::fs::metadata(path)?.is_file() {
        File::open(path)?.take(4096).read_to_end(&mut head)?;
    }
    Ok(head)
}

/// Whether the first word, comments aside, is that of a graph in text form.
fn begins_as_text(head: &[u8]) -> bool {
    let mut lines = head.split(|&b| b == b'\n').map(<[u8]>::trim_ascii_start);
    let first = lines.find(|line| !line.is_empty() && !line.starts_with(b";"));
    first.is_some_and(|line| line.starts_with(b"graph \""))
}

/// Saves a graph as what the file's name says: `.fnxb` or `.fnx`. Each file appears complete or not at all, and
/// replaces one of the same name.
///
/// # Errors
/// [`Error::GraphFile`] when the name says neither, the graph is not valid, or the system refuses.
pub fn save(graph: &Graph, path: impl AsRef<Path>, options: &SaveOptions) -> Result<(), Error> {
    let path = path.as_ref();
    let write = || match (Format::of_name(path), options.weights) {
        (Some(Format::Binary), weights) => save_binary(graph, path, weights),
        (Some(Format::Text), Weights::Embed) => {
            let text = text::print(graph, true);
            write_whole(path, |to| std::io::Write::write_all(to, text.as_bytes()))
                .map_err(GraphFileErrorKind::Write)
        }
        (Some(Format::Text), Weights::Safetensors) => Err(GraphFileErrorKind::TextWeights),
        _ => Err(GraphFileErrorKind::Extension),
    };
    write().map_err(|kind| kind.at(path).into())
}

fn save_binary(graph: &Graph, path: &Path, weights: Weights) -> Result<(), GraphFileErrorKind> {
    let fail = GraphFileErrorKind::Write;
    let weights = match weights {
        Weights::Embed => saved::Weights::Inside,
        Weights::Safetensors => {
            let mut name = path.file_name().unwrap_or_default().to_owned();
            name.push(".safetensors");
            let beside = path.with_file_name(&name);
            let Some(name) = name.to_str() else {
                let what = "a file with weights beside needs a name in UTF-8";
                return Err(fail(std::io::Error::new(std::io::ErrorKind::InvalidInput, what)));
            };
            safetensors::write_literals(&beside, saved::weights_beside(graph)).map_err(fail)?;
            let bytes = map(&File::open(&beside).map_err(fail)?).map_err(fail)?;
            let (size, checksum) = (bytes.len() as u64, Checksum::of(&bytes));
            saved::Weights::Beside(Beside { path: name.to_string(), size, checksum })
        }
    };
    write_whole(path, |to| saved::write(graph, &weights, to)).map_err(fail)
}

/// Reads a graph from an `.onnx`, `.fnxb` or `.fnx` file; see [`Format::of_file`].
///
/// # Errors
/// [`Error::Import`] or [`Error::GraphFile`] when the file cannot be read or holds no graph.
pub fn load(path: impl AsRef<Path>) -> Result<Graph, Error> {
    Ok(crate::loading::load(path.as_ref())?.graph)
}

/// Reads a graph in one of our own forms.
pub(crate) fn load_own(path: &Path, format: Format) -> Result<Graph, GraphFileError> {
    let read = || {
        let bytes = open(path).map_err(GraphFileErrorKind::Read)?;
        if format == Format::Binary {
            let folder = path.parent().unwrap_or(Path::new(""));
            let graph = saved::decode(bytes, &mut |file| weights_of(folder, file));
            return graph.map_err(|e| GraphFileErrorKind::Binary(Box::new(e)));
        }
        let text = std::str::from_utf8(&bytes)
            .map_err(|e| GraphFileErrorKind::Read(format!("not a graph in text form (.fnx): {e}")))?;
        Ok(text::parse(text)?)
    };
    read().map_err(|kind: GraphFileErrorKind| kind.at(path))
}

/// Opens a file of weights that a graph's file names, and gives what finds a tensor in it.
fn weights_of(folder: &Path, file: &Beside) -> Result<saved::Finder<'static>, String> {
    let path = beneath(folder, &file.path).map_err(|why| format!("the file {why}"))?;
    let bytes: Bytes = open(&path)?;
    if bytes.len() as u64 != file.size {
        return Err(format!("the file has {} bytes, not the {} it was saved with", bytes.len(), file.size));
    }
    if Checksum::of(&bytes) != file.checksum {
        return Err("the file is not the one that was saved with the graph: its checksum differs".into());
    }
    let tensors: FxHashMap<String, Literal> =
        safetensors::literals(&bytes).map_err(|e| e.to_string())?.into_iter().collect();
    Ok(Box::new(move |key| tensors.get(key).cloned().ok_or_else(|| format!("there is no tensor '{key}'"))))
}
