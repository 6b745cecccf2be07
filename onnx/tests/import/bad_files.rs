//! Files that are no models, tensors that contradict themselves, and data outside the model file.

use crate::build::*;
use fornax_ir::DType;
use fornax_onnx::proto::{StringStringEntryProto, TensorProto};
use fornax_onnx::{ErrorKind, inspect, load, read_tensor};
use prost::Message;
use std::fs;
use std::path::Path;

fn relu() -> Model {
    Model::new(13, vec![node("Relu", &["x"], &["y"], vec![])]).input("x", 1, &["N"]).output("y")
}

/// The message for a file with these bytes; it names the file.
fn message(bytes: &[u8]) -> String {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("some model.onnx");
    fs::write(&path, bytes).unwrap();
    let text = load(&path).unwrap_err().to_string();
    assert!(text.starts_with(path.to_str().unwrap()), "{text}");
    assert_eq!(text, inspect(&path).unwrap_err().to_string());
    text
}

#[test]
fn files_that_are_no_models() {
    assert!(message(b"").contains("the file is empty"));
    assert!(message(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n").contains("git lfs pull"));
    assert!(message(b"\n <!DOCTYPE html><html></html>").contains("web page"));
    assert!(message(b"PK\x03\x04rest").contains("ZIP"));
    let whole = relu().bytes();
    let cut = message(&whole[..whole.len() - 7]);
    assert!(cut.contains("only a part of one"), "{cut}");
    // An empty message has no graph; so has a tensor's.
    assert!(message(&[0x08, 8]).contains("no graph"));
    let noise: Vec<u8> = (0..4096u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    assert!(message(&noise).contains("no ONNX model"));
}

#[test]
fn every_cut_of_a_model_is_an_error_or_a_model() {
    let whole = relu().stored(f32s("w", &[2], &[1.0, 2.0])).bytes();
    for n in 0..whole.len() {
        let _ = fornax_onnx::from_bytes(whole.slice(..n), None);
    }
}

#[test]
fn paths_that_are_no_files() {
    let dir = tempfile::tempdir().unwrap();
    assert!(load(dir.path()).unwrap_err().to_string().contains("it is a folder"));
    let missing = load(dir.path().join("no.onnx")).unwrap_err();
    assert!(matches!(missing.kind, ErrorKind::Read(_)) && missing.to_string().contains("no.onnx"));
}

#[test]
fn nesting_beyond_the_limit_is_an_error() {
    let mut inner = node("Relu", &["x"], &["y"], vec![]);
    for _ in 0..200 {
        let g = fornax_onnx::proto::GraphProto { node: vec![inner], ..Default::default() };
        inner = node("If", &["c"], &["y"], vec![graph_attr("then_branch", g)]);
    }
    let text = Model::new(13, vec![inner]).output("y").error();
    assert!(text.contains("nested more than 100 deep"), "{text}");
}

#[track_caller]
fn refuse(t: TensorProto, words: &[&str]) {
    let text = Model::new(13, vec![node("Relu", &["w"], &["y"], vec![])]).stored(t).output("y").error();
    for w in words {
        assert!(text.contains(w), "'{w}' is not in: {text}");
    }
}

#[test]
fn tensors_that_contradict_themselves() {
    refuse(f32s("w", &[-3], &[1.0]), &["tensor 'w'", "-3", "negative"]);
    refuse(f32s("w", &[3], &[1.0]), &["needs 12 bytes", "but 4 are there"]);
    refuse(f32s("w", &[1 << 40, 1 << 40], &[1.0]), &["more elements than memory can hold"]);
    refuse(f32s("w", &[1 << 50], &[]), &["but 0 are there"]);
    refuse(f32s("w", &[1; 100], &[1.0]), &["100 axes"]);
    let raw = TensorProto { raw_data: vec![0; 5].into(), ..f32s("w", &[1], &[]) };
    refuse(raw, &["needs 4 bytes", "but 5 are there"]);
    refuse(TensorProto { data_type: 8, ..f32s("w", &[1], &[]) }, &["type string", "not supported"]);
    refuse(TensorProto { data_type: 22, ..f32s("w", &[1], &[]) }, &["type int4", "not supported"]);
    refuse(TensorProto { data_type: 99, ..f32s("w", &[1], &[]) }, &["code 99 is unknown"]);
    let wide = TensorProto { data_type: 3, int32_data: vec![300], ..f32s("w", &[1], &[]) };
    refuse(wide, &["300 does not fit i8"]);
}

#[test]
fn every_storage_of_every_dtype_reads() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.pb");
    let read = |t: TensorProto| {
        fs::write(&path, t.encode_to_vec()).unwrap();
        read_tensor(&path).unwrap()
    };
    let base =
        |code: i32| TensorProto { data_type: code, dims: vec![2], name: "t".into(), ..Default::default() };
    for (code, dtype) in [(2, DType::U8), (3, DType::I8), (4, DType::U16), (5, DType::I16), (6, DType::I32)] {
        let (name, l) = read(TensorProto { int32_data: vec![1, 7], ..base(code) });
        assert_eq!((name.as_str(), l.dtype(), l.get_i64(0), l.get_i64(1)), ("t", dtype, 1, 7));
    }
    let halves = read(TensorProto { int32_data: vec![0x3c00, 0xc000], ..base(10) }).1;
    assert_eq!((halves.get_f64(0), halves.get_f64(1)), (1.0, -2.0));
    let brain = read(TensorProto { int32_data: vec![0x3f80, 0xc000], ..base(16) }).1;
    assert_eq!((brain.dtype(), brain.get_f64(0), brain.get_f64(1)), (DType::BF16, 1.0, -2.0));
    let truth = read(TensorProto { raw_data: vec![0, 7].into(), ..base(9) }).1;
    assert_eq!(truth.bytes().as_ref(), [0, 1]);
    assert_eq!(read(TensorProto { uint64_data: vec![1, 5], ..base(12) }).1.dtype(), DType::U32);
    assert_eq!(read(TensorProto { uint64_data: vec![1, u64::MAX], ..base(13) }).1.get_i64(1), -1);
    assert_eq!(read(TensorProto { double_data: vec![1.5, 2.5], ..base(11) }).1.get_f64(1), 2.5);
    let raw: Vec<u8> = [3i64, -4].iter().flat_map(|v| v.to_le_bytes()).collect();
    assert_eq!(read(TensorProto { raw_data: raw.into(), ..base(7) }).1.get_i64(1), -4);
}

/// A model whose only weight lies in `location`.
fn external(dir: &Path, location: &str, offset: &str, length: &str) -> Result<fornax_onnx::Import, String> {
    let entry = |key: &str, value: &str| StringStringEntryProto { key: key.into(), value: value.into() };
    let t = TensorProto {
        data_location: 1,
        external_data: vec![entry("location", location), entry("offset", offset), entry("length", length)],
        ..f32s("w", &[2], &[])
    };
    let model = Model::new(13, vec![node("Relu", &["w"], &["y"], vec![])]).stored(t).output("y");
    let path = dir.join("m.onnx");
    fs::write(&path, model.bytes()).unwrap();
    load(&path).map_err(|e| e.to_string())
}

#[test]
fn external_data_stays_in_the_models_folder() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("model");
    fs::create_dir_all(dir.join("sub")).unwrap();
    let data: Vec<u8> = [0.0f32, 1.5, -2.0].iter().flat_map(|v| v.to_le_bytes()).collect();
    for p in ["model/w.bin", "model/sub/w.bin", "out.bin"] {
        fs::write(root.path().join(p), &data).unwrap();
    }
    for location in ["w.bin", "sub/w.bin", "./w.bin"] {
        let import = external(&dir, location, "4", "8").unwrap();
        assert_eq!(import.graph.consts[0].literal.get_f64(1), -2.0);
    }
    let refused = |location: &str, offset: &str, length: &str, word: &str| {
        let text = external(&dir, location, offset, length).unwrap_err();
        assert!(text.contains(word), "'{word}' is not in: {text}");
    };
    refused("../out.bin", "0", "8", "would leave the model's folder");
    refused("sub/../../out.bin", "0", "8", "would leave the model's folder");
    refused(root.path().join("out.bin").to_str().unwrap(), "0", "8", "absolute");
    refused("w.bin", "8", "8", "lies outside");
    refused("w.bin", "18446744073709551610", "8", "lies outside");
    refused("w.bin", "0", "12", "need 8 bytes");
    refused("w.bin", "x", "8", "'x' is no size");
    refused("none.bin", "0", "8", "cannot be read");
    refused("sub", "0", "8", "no regular file");
    refused("", "0", "8", "none is named");
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(root.path().join("out.bin"), dir.join("link.bin")).unwrap();
        std::os::unix::fs::symlink(root.path(), dir.join("up")).unwrap();
        refused("link.bin", "0", "8", "links are not followed");
        refused("up/out.bin", "0", "8", "links are not followed");
    }
}
