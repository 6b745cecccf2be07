//! Generated code, the image it lies in, the thread pool and the mapped model file under valgrind: no
//! read or write outside what was allocated, nothing that depends on bytes never written.

mod common;

use common::example;
use std::path::Path;
use std::process::Command;

fn is_clean(arguments: &[&str]) {
    // valgrind knows AVX2 and no AVX-512, so the code is for a CPU of the third level.
    let output = Command::new("valgrind")
        .args(["--quiet", "--error-exitcode=99", "--leak-check=full", "--errors-for-leak-kinds=definite"])
        .arg(env!("CARGO_BIN_EXE_fornax"))
        .args(arguments)
        .args(["--cpu", "x86-64-v3", "--threads", "2"])
        .output();
    match output {
        Err(e) => eprintln!("SKIPPED: valgrind does not start ({e}); install it to run this test"),
        Ok(o) => {
            let text = [&o.stdout[..], &o.stderr[..]].concat();
            assert!(o.status.success(), "{}", String::from_utf8_lossy(&text));
        }
    }
}

#[test]
fn the_example_runs_clean() {
    let [model, inputs, expect] = ["digits.onnx", "digits.images.npz", "digits.expected.npz"].map(example);
    is_clean(&["run", &model, "--inputs", &inputs, "--expect", &expect]);
}

#[test]
fn models_with_symbolic_sizes_run_clean() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/models");
    for id in ["mtcnn_rnet", "thai_attacut_sc"] {
        let model = tests.join("files").join(format!("{id}.onnx"));
        if !model.exists() {
            eprintln!("SKIPPED: {} is missing", model.display());
            continue;
        }
        let reference = |kind: &str| tests.join("reference").join(format!("{id}.case0.{kind}.npz"));
        let paths = [model, reference("in"), reference("out")].map(|p| p.to_str().unwrap().to_string());
        is_clean(&["run", &paths[0], "--inputs", &paths[1], "--expect", &paths[2]]);
    }
}
