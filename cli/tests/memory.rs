//! Peak memory of the command on real models: at most twice the weights, the arena, and 60 MB.
#![cfg(target_os = "linux")]

mod common;

use std::io::Write;
use std::path::Path;

use common::fornax;

const MB: u64 = 1_000_000;

#[test]
fn peak_memory_is_bounded_by_weights_and_arena() {
    // The largest weights, the largest arena, and the most kernels.
    for id in ["minilm_l6_int8w", "dnsmos_sig_bak_ovr", "ppocr_v4_det"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/models");
        let model = folder.join("files").join(format!("{id}.onnx"));
        if !model.exists() {
            let _ = writeln!(std::io::stderr().lock(), "SKIPPED {id}: tests/models/fetch.py fetches it");
            continue;
        }
        let inputs = folder.join("reference").join(format!("{id}.case0.in.npz"));
        let ran = fornax(&[
            "bench".as_ref(),
            model.as_os_str(),
            "--inputs".as_ref(),
            inputs.as_os_str(),
            "--json".as_ref(),
        ]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        let report: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
        let bytes = |key: &str| report[key].as_u64().unwrap();
        let bound = 2 * bytes("weights_bytes") + bytes("arena_bytes") + 60 * MB;
        assert!(bytes("peak_rss_bytes") <= bound, "{id}: peak {} above {bound}", bytes("peak_rss_bytes"));
    }
}
