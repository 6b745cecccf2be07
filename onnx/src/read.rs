//! Opening and decoding files.

use crate::error::{ErrorKind, Result};
use crate::proto;
use bytes::Bytes;
use prost::Message;
use std::fs::File;
use std::path::Path;

/// The bytes of a regular, non-empty file, mapped into memory.
pub(crate) fn open(path: &Path) -> Result<Bytes> {
    let meta = std::fs::metadata(path).map_err(|e| ErrorKind::Read(e.to_string()))?;
    if meta.is_dir() {
        return Err(ErrorKind::Read("it is a folder; name a model file inside it".into()));
    }
    if !meta.is_file() {
        return Err(ErrorKind::Read("it is no regular file".into()));
    }
    if meta.len() == 0 {
        return Err(ErrorKind::Format("the file is empty".into()));
    }
    let file = File::open(path).map_err(|e| ErrorKind::Read(e.to_string()))?;
    fornax_ir::file::map(&file).map_err(|e| ErrorKind::Read(format!("it cannot be mapped into memory: {e}")))
}

/// What the first bytes show when they are a well-known other thing.
fn other_format(bytes: &[u8]) -> Option<&'static str> {
    let head = &bytes[..bytes.len().min(512)];
    let text = head.trim_ascii_start();
    let begins =
        |prefix: &[u8]| text.len() >= prefix.len() && text[..prefix.len()].eq_ignore_ascii_case(prefix);
    match head {
        _ if begins(b"version https://git-lfs") => {
            Some("it is a Git LFS pointer, not the model itself; fetch the content with `git lfs pull`")
        }
        _ if begins(b"<!doctype html") || begins(b"<html") => {
            Some("it is a web page, not a model; the download gave an HTML page instead of the file")
        }
        _ if begins(b"<?xml") => Some("it is an XML document, not a model"),
        [b'P', b'K', 3, 4, ..] => {
            Some("it is a ZIP archive (PyTorch checkpoints are); export the model to ONNX")
        }
        [0x1f, 0x8b, ..] => Some("it is gzip-compressed; unpack it first"),
        [0x89, b'H', b'D', b'F', ..] => {
            Some("it is an HDF5 file (Keras models are); export the model to ONNX")
        }
        [b'G', b'G', b'U', b'F', ..] => Some("it is a GGUF file; export the model to ONNX"),
        _ => None,
    }
}

fn decode<M: Message + Default>(bytes: Bytes, what: &str) -> Result<M> {
    let hint = other_format(&bytes);
    M::decode(bytes).map_err(|e| {
        ErrorKind::Format(match hint {
            Some(hint) => hint.to_string(),
            None if e.to_string().contains("recursion limit") => {
                format!("messages are nested more than 100 deep, which no {what} needs")
            }
            None => format!("it is no {what}, or only a part of one: {e}"),
        })
    })
}

/// Decodes a model. Byte fields share `bytes`.
///
/// # Errors
/// [`ErrorKind::Format`] where the bytes are something else, cut short, nested too deeply, or have no graph.
pub(crate) fn model(bytes: Bytes) -> Result<proto::ModelProto> {
    if bytes.is_empty() {
        return Err(ErrorKind::Format("the file is empty".into()));
    }
    let head = bytes.clone();
    let model: proto::ModelProto = decode(bytes, "ONNX model")?;
    if model.graph.is_none() {
        let hint = other_format(&head).unwrap_or("it is no ONNX model: there is no graph in it");
        return Err(ErrorKind::Format(hint.into()));
    }
    Ok(model)
}

/// Decodes a tensor file.
pub(crate) fn tensor(bytes: Bytes) -> Result<proto::TensorProto> {
    decode(bytes, "ONNX tensor")
}
