//! What the commands do with good input.

mod common;

use common::{example, fornax, onnx, write};
use fornax::{DType, Tensor, io};

fn digits(command: &str, options: &[&str]) -> common::Ran {
    let (model, images) = (example("digits.onnx"), example("digits.images.npz"));
    fornax(&[&[command, model.as_str(), "--inputs", images.as_str()][..], options].concat())
}

#[test]
fn the_example_agrees_with_its_reference() {
    let expected = example("digits.expected.npz");
    for backend in ["jit", "interp"] {
        for threads in ["1", "2"] {
            let options = ["--expect", expected.as_str(), "--backend", backend, "--threads", threads];
            let ran = digits("run", &options);
            assert_eq!(ran.code, 0, "{}{}", ran.stdout, ran.stderr);
            assert!(
                ran.stdout.contains("probabilities: f32[500, 10]") && ran.stdout.contains("PASS"),
                "{}",
                ran.stdout
            );
            assert!(ran.stderr.is_empty(), "no word when nothing is unusual: {}", ran.stderr);
        }
    }
}

#[test]
fn a_difference_is_measured_and_exits_with_1() {
    let folder = tempfile::tempdir().unwrap();
    let (_, tensor) = io::read_npz(example("digits.expected.npz")).unwrap().remove(0);
    let mut values = tensor.to_f64_vec();
    values[37] += 0.25;
    let wrong = Tensor::from_f64s(values, DType::F32, tensor.shape()).unwrap();
    let path = folder.path().join("wrong.npz");
    io::write_npz(&path, [("probabilities", &wrong)]).unwrap();
    let path = path.to_str().unwrap();
    let ran = digits("run", &["--expect", path]);
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert!(ran.stdout.contains("2.500e-1") && ran.stdout.contains("[3, 7]") && ran.stdout.contains("FAIL"));
    assert_eq!(digits("run", &["--expect", path, "--tol", "0.3"]).code, 0);
    assert_eq!(digits("run", &["--expect", path, "--atol", "0.3"]).code, 0);
    assert_eq!(digits("run", &["--expect", path, "--rtol", "1e-3", "--atol", "1e-3"]).code, 1);

    let short = Tensor::zeros(&[500, 9], DType::F32).unwrap();
    io::write_npz(path, [("probabilities", &short)]).unwrap();
    let ran = digits("run", &["--expect", path, "--tol", "9"]);
    assert!(ran.code == 1 && ran.stdout.contains("[500, 9]"), "{}", ran.stdout);
}

#[test]
fn outputs_are_written_and_serve_as_references() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.npz");
    let path = path.to_str().unwrap();
    assert_eq!(digits("run", &["--outputs", path]).code, 0);
    assert_eq!(
        digits("run", &["--expect", path, "--tol", "0", "--threads", "2"]).code,
        0,
        "the same bits again"
    );
    let names: Vec<String> = io::read_npz(path).unwrap().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["probabilities"]);
}

#[test]
fn inputs_are_drawn_by_seed_and_dims() {
    let model = example("digits.onnx");
    let run = |options: &[&str]| fornax(&[&["run", model.as_str()][..], options].concat());
    let ran = run(&[]);
    assert_eq!(ran.code, 0);
    assert!(ran.stdout.contains("f32[1, 10]"), "{}", ran.stdout);
    assert!(ran.stderr.starts_with("note: ") && ran.stderr.contains("N=1"), "{}", ran.stderr);
    let values = |ran: common::Ran| ran.stdout.lines().last().unwrap().to_string();
    assert_eq!(values(run(&[])), values(run(&["--seed", "0"])));
    assert_ne!(
        values(run(&["--int-range", "0..=16"])),
        values(run(&["--int-range", "0..=16", "--seed", "1"]))
    );
    let ran = run(&["--dim", "N=7"]);
    assert!(ran.stdout.contains("f32[7, 10]") && !ran.stderr.contains("N=1"), "{}{}", ran.stdout, ran.stderr);
}

#[test]
fn folders_of_tensors_are_matched_by_name_or_number() {
    let folder = tempfile::tempdir().unwrap();
    let value = |name: &str| onnx::value(name, onnx::FLOAT, &[Ok(2)]);
    let graph = onnx::Graph {
        nodes: vec![onnx::node("Sub", "difference", &["a", "b"], &["c"])],
        inputs: vec![value("a"), value("w"), value("b")],
        initializers: vec![onnx::tensor("w", onnx::FLOAT, &[2], &[0; 8])],
        outputs: vec![value("c")],
    };
    let model = write(&folder, "sub.onnx", &graph.model());
    let floats = |v: [f32; 2]| v.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
    let tensor = |file: &str, name: &str, v| {
        write(&folder, file, onnx::tensor(name, onnx::FLOAT, &[2], &floats(v)).as_ref());
    };
    let run = || {
        let data = folder.path().to_str().unwrap();
        fornax(&["run", &model, "--inputs", data, "--expect", data, "--tol", "0"])
    };
    // By number, initializers aside.
    tensor("input_0.pb", "", [5.0, 7.0]);
    tensor("input_1.pb", "", [1.0, 10.0]);
    tensor("output_0.pb", "", [4.0, -3.0]);
    assert_eq!(run().code, 0, "{}", run().stderr);
    // By name, whatever the number.
    tensor("input_0.pb", "b", [1.0, 10.0]);
    tensor("input_1.pb", "a", [5.0, 7.0]);
    assert_eq!(run().code, 0, "{}", run().stderr);
    tensor("input_1.pb", "b", [5.0, 7.0]);
    assert_eq!(run().code, 2, "two tensors for one input");
    tensor("input_1.pb", "", [5.0, 7.0]);
    assert_eq!(run().code, 2, "the second number is taken by name");
}

#[test]
fn bench_reports_every_key() {
    let ran = digits("bench", &["--json", "--threads", "1"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let report: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    let keys = "model backend isa threads runs median_ms p10_ms p90_ms import_ms optimize_ms codegen_ms first_result_ms \
                operators optimizer e_nodes kernels bytes_moved arena_bytes weights_bytes bare_rss_bytes \
                peak_rss_bytes version";
    let mut wanted: Vec<&str> = keys.split_whitespace().collect();
    let mut found: Vec<&str> = report.as_object().unwrap().keys().map(String::as_str).collect();
    wanted.sort_unstable();
    found.sort_unstable();
    assert_eq!(found, wanted);
    let number = |key: &str| report[key].as_f64().unwrap();
    assert!(number("p10_ms") <= number("median_ms") && number("median_ms") <= number("p90_ms"));
    assert!(number("first_result_ms") >= number("import_ms") + number("optimize_ms") + number("codegen_ms"));
    for key in [
        "median_ms",
        "codegen_ms",
        "kernels",
        "e_nodes",
        "bytes_moved",
        "arena_bytes",
        "weights_bytes",
        "operators",
    ] {
        assert!(number(key) > 0.0, "{key}");
    }
    assert_eq!(report["optimizer"], "egraph");
    assert_eq!(report["threads"], 1);
    assert_eq!(report["model"], "digits.onnx");
    let help = fornax(&["bench", "--help"]).stdout;
    for key in wanted {
        assert!(
            help.split(|c: char| c.is_whitespace()).any(|word| word == key),
            "--help does not define {key}"
        );
    }
    let ran = digits("bench", &["--threads", "1"]);
    assert!(ran.code == 0 && ran.stdout.contains("latency"), "{}{}", ran.stdout, ran.stderr);
}

#[test]
fn every_stage_is_dumped() {
    let model = example("digits.onnx");
    for (stage, part) in [
        ("graph", "conv"),
        ("rewrite", "e-graph: "),
        ("plan", "k0"),
        ("kernels", "call 0"),
        ("leaves", "loop"),
        ("clif", "function"),
        ("asm", "ret"),
    ] {
        let ran = fornax(&["dump", &model, "--stage", stage]);
        assert_eq!(ran.code, 0, "{stage}: {}", ran.stderr);
        assert!(ran.stdout.contains(part), "{stage} lacks {part:?}:\n{}", ran.stdout);
    }
    let kernels = fornax(&["dump", &model, "--stage", "kernels"]).stdout;
    let calls = kernels.lines().filter(|line| line.trim_start().starts_with("call ")).count();
    let report = digits("bench", &["--json"]).stdout;
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["kernels"].as_u64(), Some(calls as u64));
}

#[test]
fn info_and_verify_do_not_compile() {
    let model = example("digits.onnx");
    let info = fornax(&["info", &model]);
    assert_eq!(info.code, 0);
    for part in
        ["images: u8[N, 8, 8]", "probabilities: f32[N, 10]", "BatchNormalization", "multiply-adds", "opset"]
    {
        assert!(info.stdout.contains(part), "{part}: {}", info.stdout);
    }
    let verify = fornax(&["verify", &model]);
    assert!(verify.code == 0 && verify.stdout.contains("ok"), "{}{}", verify.stdout, verify.stderr);
}

#[test]
fn a_profile_lists_each_kernel() {
    let ran = digits("run", &["--profile"]);
    assert_eq!(ran.code, 0);
    assert!(ran.stdout.contains("GB/s") && ran.stdout.contains("conv"), "{}", ran.stdout);
    let numbers = |line: &str| -> Option<f64> {
        let [us, share, _] = [0, 1, 2].map(|i| line.split_whitespace().nth(i)?.parse::<f64>().ok());
        us.and(share)
    };
    let shares: f64 = ran.stdout.lines().filter_map(numbers).sum();
    assert!((99.0..101.0).contains(&shares), "the shares of the kernels are {shares} %: {}", ran.stdout);
    assert_eq!(digits("run", &["--profile", "--backend", "interp"]).code, 2);
}

#[test]
fn rules_are_certified() {
    let ran = fornax(&["certify", "scale-scale", "permute-permute", "--graphs", "40"]);
    assert_eq!(ran.code, 0, "{}{}", ran.stdout, ran.stderr);
    assert!(ran.stdout.contains("holds  scale-scale") && ran.stdout.contains("2 rules, 1 guards: 0 failed"));
    let unknown = fornax(&["certify", "no-such-rule"]);
    assert!(unknown.code == 2 && unknown.stderr.contains("permute-permute"), "{}", unknown.stderr);
    // Nothing would be shown by no graph.
    assert_eq!(fornax(&["certify", "scale-scale", "--graphs", "0"]).code, 2);
}

#[test]
fn every_command_has_help_with_an_example() {
    for command in ["run", "bench", "dump", "info", "verify", "certify"] {
        let ran = fornax(&[command, "--help"]);
        assert!(
            ran.code == 0 && ran.stdout.contains(&format!("Example: fornax {command} ")),
            "{}",
            ran.stdout
        );
    }
    assert_eq!(fornax(&["--version"]).code, 0);
    let none: [&str; 0] = [];
    assert_eq!(fornax(&none).code, 2);
}

#[test]
#[cfg(unix)]
fn a_reader_that_goes_away_is_no_error() {
    use std::process::{Command, Stdio};
    let mut child = Command::new(env!("CARGO_BIN_EXE_fornax"))
        .args(["dump", &example("digits.onnx"), "--stage", "asm"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stderr.is_empty());
}

#[test]
fn log_filters_are_obeyed() {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_fornax"))
        .args(["verify", &example("digits.onnx")])
        .env("FORNAX_LOG", "trace")
        .output()
        .unwrap();
    assert!(output.status.success());
}
