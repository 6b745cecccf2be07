//! What the tests of real models share: the manifest, the reference arrays, and the comparison.
#![allow(dead_code, reason = "each test uses a part of this")]

pub mod graphs;
pub mod orders;

use std::io::Write;
use std::path::{Path, PathBuf};

use fornax::{Outputs, Tensor, Tolerance, compare, io};

/// The models that must run; the manifest holds further ones for later.
pub const MODELS: [&str; 11] = [
    "magika_v3_3",
    "ppocr_cls_v2",
    "ppocr_v4_det",
    "mtcnn_pnet",
    "mtcnn_rnet",
    "mtcnn_onet",
    "dnsmos_sig_bak_ovr",
    "basic_pitch_nmp",
    "thai_attacut_sc",
    "atspm_pair_tcn",
    "minilm_l6_int8w",
];

/// A model of the manifest whose file is present.
pub struct Entry {
    /// Its file.
    pub path: PathBuf,
    /// `max|a-b| / max|b|` that its outputs may reach.
    pub tolerance: f64,
    /// Its cases.
    pub cases: Vec<Case>,
}

/// Inputs and reference outputs.
pub struct Case {
    inputs: PathBuf,
    outputs: PathBuf,
}

impl Case {
    /// The arrays beside a model `NAME.onnx`: `NAME.in.npz` and `NAME.out.npz`.
    pub fn beside(model: &Path) -> Case {
        Case { inputs: model.with_extension("in.npz"), outputs: model.with_extension("out.npz") }
    }

    /// Whether both files are there.
    pub fn exists(&self) -> bool {
        self.inputs.exists() && self.outputs.exists()
    }

    /// The inputs by name.
    pub fn inputs(&self) -> Vec<(String, Tensor)> {
        io::read_npz(&self.inputs).unwrap()
    }

    /// The reference outputs by name.
    pub fn expected(&self) -> Vec<(String, Tensor)> {
        io::read_npz(&self.outputs).unwrap()
    }
}

/// Borrowed, as `Model::run` takes them.
pub fn borrowed(named: &[(String, Tensor)]) -> Vec<(&str, &Tensor)> {
    named.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect()
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models")
}

/// A model of the manifest; `None`, and a word about it, where its file was not fetched.
pub fn model(id: &str) -> Option<Entry> {
    let text = std::fs::read_to_string(folder().join("manifest.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_str(&text).unwrap();
    let models = manifest["models"].as_array().unwrap();
    let entry =
        models.iter().find(|m| m["id"] == id).unwrap_or_else(|| panic!("{id} is not in the manifest"));
    let path = folder().join("files").join(entry["file"].as_str().unwrap());
    if !path.exists() {
        // Written past the capture of the test harness: a skipped model must be seen.
        let mut err = std::io::stderr().lock();
        let _ =
            writeln!(err, "SKIPPED {id}: {} is missing; tests/models/fetch.py fetches it", path.display());
        return None;
    }
    let reference =
        |case: &serde_json::Value, key: &str| folder().join("reference").join(case[key].as_str().unwrap());
    let case = |c| Case { inputs: reference(c, "inputs_file"), outputs: reference(c, "outputs_file") };
    Some(Entry {
        path,
        tolerance: entry["tolerance"].as_f64().unwrap(),
        cases: entry["cases"].as_array().unwrap().iter().map(case).collect(),
    })
}

/// Asserts that outputs are all there and within the tolerance of the case's references.
#[track_caller]
pub fn assert_agrees(what: &str, outputs: &Outputs, case: &Case, tolerance: f64) {
    let expected = case.expected();
    assert_eq!(outputs.len(), expected.len(), "{what}: number of outputs");
    for (name, reference) in &expected {
        let actual = outputs.get(name).unwrap_or_else(|| panic!("{what}: no output '{name}'"));
        let found = compare(actual, reference, Tolerance::Relative(tolerance));
        let error = found.relative_error();
        assert!(
            found.passed(),
            "{what}: {name}: relative error {error:e}; {}",
            found.failure.unwrap_or_default()
        );
    }
}

/// Asserts that two runs gave the same bits.
#[track_caller]
pub fn assert_same_bits(what: &str, a: &Outputs, b: &Outputs) {
    for ((name, x), (_, y)) in a.iter().zip(b.iter()) {
        assert!(x.bytes() == y.bytes(), "{what}: '{name}' differs");
    }
}
