//! Trained models, where `tests/models/fetch.py` has brought their files.

use fornax_onnx::{inspect, load};
use std::path::{Path, PathBuf};

/// Models whose operators import knows, all of them.
const KNOWN: &[&str] = &[
    "atspm_head_attn",
    "atspm_pair_tcn",
    "basic_pitch_nmp",
    "dnsmos_sig_bak_ovr",
    "magika_v3_3",
    "minilm_l6_int8w",
    "mtcnn_onet",
    "mtcnn_pnet",
    "mtcnn_rnet",
    "plcmos_v2_gru",
    "ppocr_cls_v2",
    "ppocr_v4_det",
    "ppocr_v4_rec",
    "silero_vad_16k_sequence",
    "thai_attacut_sc",
];

fn file(id: &str) -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/models/files");
    let path = folder.join(format!("{id}.onnx"));
    if path.is_file() {
        return Some(path);
    }
    eprintln!("SKIPPED {id}: {} is not there; tests/models/fetch.py brings it", path.display());
    None
}

#[test]
fn trained_models_import_and_verify() {
    for id in KNOWN {
        let Some(path) = file(id) else { continue };
        let import = load(&path).unwrap_or_else(|e| panic!("{e}"));
        fornax_ir::graph::verify::verify(&import.graph).unwrap_or_else(|e| panic!("{id}: {e}"));
        let seen = inspect(&path).unwrap();
        assert!(seen.operators.iter().all(|o| o.supported), "{id}: {:?}", seen.operators);
        assert_eq!(seen.inputs, import.inputs, "{id}");
        assert!(import.operators > 0 && import.operators <= seen.nodes, "{id}: {}", import.operators);
        let unnamed = import.graph.values().filter(|&v| import.graph.loc(v).is_empty()).count();
        assert_eq!(unnamed, 0, "{id}: values without an ONNX node as location");
    }
}

#[test]
fn weights_share_the_mapped_file() {
    let Some(path) = file("minilm_l6_int8w") else { return };
    let import = load(&path).unwrap();
    let stored = std::fs::metadata(&path).unwrap().len() as usize;
    let weights: Vec<_> = import.graph.consts.iter().filter(|c| c.literal.bytes().len() > 1 << 16).collect();
    assert!(!weights.is_empty());
    let starts = weights.iter().map(|c| c.literal.bytes().as_ptr() as usize);
    let ends = weights.iter().map(|c| c.literal.bytes().as_ptr() as usize + c.literal.bytes().len());
    let span = ends.max().unwrap() - starts.min().unwrap();
    assert!(span <= stored, "the weights span {span} bytes, the file has {stored}");
}

#[test]
fn what_is_missing_is_said() {
    let Some(path) = file("silero_vad_v6_if") else { return };
    let Err(e) = load(&path) else { panic!("it imports: move it to the known models") };
    assert!(e.to_string().contains("condition follows from shapes"), "{e}");
}
