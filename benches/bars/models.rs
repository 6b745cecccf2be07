//! The real models, each in a process of its own.

use std::path::Path;
use std::process::Command;

use super::{Bar, Report, common};

/// Bytes of a model's initializers as stored, as `fornax info` says.
fn initializer_bytes(fornax: &Path, model: &Path) -> f64 {
    let out = Command::new(fornax).arg("info").arg(model).output().expect("the command runs");
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let line = text.lines().find(|l| l.starts_with("weights")).expect("info names the weights");
    let bytes = line.split(',').skip(1).collect::<Vec<_>>().concat();
    bytes.chars().filter(char::is_ascii_digit).collect::<String>().parse().expect("a byte count")
}

/// Compile time and memory of each model, as the command says, and kernels over all of them.
pub fn bars(report: &mut Report, fornax: &Path) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models");
    let (mut operators, mut kernels) = (0.0, 0.0);
    for id in common::MODELS {
        let model = root.join("files").join(format!("{id}.onnx"));
        if !model.exists() {
            println!(
                "{id}: skipped, {} is missing (python3 tests/models/fetch.py brings it)",
                model.display()
            );
            continue;
        }
        let inputs = root.join("reference").join(format!("{id}.case0.in.npz"));
        let out =
            Command::new(fornax).arg("bench").arg(&model).arg("--inputs").arg(&inputs).arg("--json").output();
        let out = out.expect("the command runs");
        assert!(out.status.success(), "{id}: {}", String::from_utf8_lossy(&out.stderr));
        let json: serde_json::Value = serde_json::from_slice(&out.stdout).expect("bench prints JSON");
        let number = |key: &str| json[key].as_f64().unwrap_or_else(|| panic!("{id}: no number {key}"));
        let compile = number("import_ms") + number("optimize_ms") + number("codegen_ms");
        report.line(&format!("{id} import + optimize + codegen"), compile, "ms", Bar::AtMost(1000.0));
        let limit = 2.0 * initializer_bytes(fornax, &model) + number("arena_bytes") + 60e6;
        report.line(
            &format!("{id} peak memory"),
            number("peak_rss_bytes") / 1e6,
            "MB",
            Bar::AtMost(limit / 1e6),
        );
        println!("{id:<31} median latency {:>10.3} ms on {} threads", number("median_ms"), number("threads"));
        operators += number("operators");
        kernels += number("kernels");
    }
    if operators > 0.0 {
        report.line("kernels to operators, all models", kernels / operators, "", Bar::AtMost(0.5));
    }
}
