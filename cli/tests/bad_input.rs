//! Bad input gets one clear message on stderr and exit code 2; nothing panics, and nothing half-written stays.

mod common;

use common::onnx::{self, FLOAT, Graph, Message, node, value};
use common::{asked, example, fornax, write};
use fornax::{DType, Tensor, io};

/// Runs a command that must be refused, for a reason that names all of `parts`.
#[track_caller]
fn refused(arguments: &[&str], parts: &[&str]) {
    refused_after(arguments, b"", parts);
}

/// As [`refused`], with that standard input.
#[track_caller]
fn refused_after(arguments: &[&str], input: &[u8], parts: &[&str]) {
    let ran = asked(arguments, input);
    let shown = format!("{arguments:?}\nstdout: {}\nstderr: {}", ran.stdout, ran.stderr);
    assert_eq!(ran.code, 2, "{shown}");
    let lines: Vec<&str> = ran.stderr.lines().filter(|line| !line.starts_with("note: ")).collect();
    assert!(lines.first().is_some_and(|line| line.starts_with("error: ")), "{shown}");
    assert_eq!(ran.stderr.matches("error:").count(), 1, "more than one message: {shown}");
    assert!(!ran.stderr.contains("panicked"), "{shown}");
    for part in parts {
        assert!(ran.stderr.contains(part), "the message lacks {part:?}: {shown}");
    }
}

/// A model file that must be refused by each command that reads one.
#[track_caller]
fn bad_model(model: &str, parts: &[&str]) {
    refused(&["run", model], parts);
    refused(&["verify", model], parts);
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

#[test]
fn files_that_are_no_models() {
    let folder = folder();
    let whole = std::fs::read(example("digits.onnx")).unwrap();
    for keep in [1, 2, 100, whole.len() / 2, whole.len() - 1] {
        let name = format!("cut{keep}.onnx");
        bad_model(&write(&folder, &name, &whole[..keep]), &[&name]);
    }
    bad_model(&write(&folder, "empty.onnx", b""), &["empty.onnx", "empty"]);
    let mut state = 1u64;
    let random: Vec<u8> = (0..10_000)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        })
        .collect();
    bad_model(&write(&folder, "random.onnx", &random), &["random.onnx"]);
    bad_model(&write(&folder, "text.onnx", b"this is no model\n"), &["text.onnx"]);
    bad_model(folder.path().to_str().unwrap(), &["folder"]);
    bad_model("no/such/file.onnx", &["no/such/file.onnx"]);
    refused(&["info", "no/such/file.onnx"], &["no/such/file.onnx"]);
    refused(&["dump", "no/such/file.onnx", "--stage", "graph"], &["no/such/file.onnx"]);
    refused(&["bench", "no/such/file.onnx"], &["no/such/file.onnx"]);
}

#[test]
fn unknown_operators_are_listed_all_at_once() {
    let folder = folder();
    let mut graph = onnx::unary("Frobnicate");
    graph.nodes = vec![
        node("Frobnicate", "first", &["x"], &["a"]),
        node("Relu", "known", &["a"], &["b"]),
        node("Frobnicate", "second", &["b"], &["c"]),
        node("Twiddle", "third", &["c"], &["y"]),
    ];
    let model = write(&folder, "unknown.onnx", &graph.model());
    bad_model(&model, &["Frobnicate", "first", "second", "Twiddle", "third", "opset 17"]);
    let info = fornax(&["info", &model]);
    assert_eq!(info.code, 0, "{}", info.stderr);
    assert!(info.stdout.contains("Frobnicate") && info.stdout.contains("not supported"), "{}", info.stdout);
}

#[test]
fn a_cycle_is_named() {
    let folder = folder();
    let graph = Graph {
        nodes: vec![node("Add", "left", &["x", "b"], &["a"]), node("Relu", "right", &["a"], &["b"])],
        outputs: vec![value("b", FLOAT, &[Err("n"), Ok(2)])],
        ..onnx::unary("Relu")
    };
    bad_model(&write(&folder, "cycle.onnx", &graph.model()), &["cycle", "left", "right"]);
}

#[test]
fn inputs_that_do_not_fit() {
    let folder = folder();
    let model = write(&folder, "relu.onnx", &onnx::unary("Relu").model());
    let file = |name: &str, arrays: &[(&str, Tensor)]| {
        let path = folder.path().join(name);
        io::write_npz(&path, arrays.iter().map(|(n, t)| (*n, t))).unwrap();
        path.to_str().unwrap().to_string()
    };
    let zeros = |shape: &[usize], dtype| Tensor::zeros(shape, dtype).unwrap();
    let check = |arrays: &[(&str, Tensor)], parts: &[&str]| {
        refused(&["run", &model, "--inputs", &file("in.npz", arrays)], parts);
    };
    check(&[("x", zeros(&[3, 5], DType::F32))], &["x", "5", "2"]);
    check(&[("x", zeros(&[6], DType::F32))], &["x", "[6]"]);
    check(&[("x", zeros(&[3, 2], DType::F64))], &["x", "f64", "f32"]);
    check(&[("y", zeros(&[3, 2], DType::F32))], &["'y'", "x"]);
    check(&[], &["x", "missing"]);
    refused(&["run", &model, "--inputs", "no/such.npz"], &["no/such.npz"]);
    let text = write(&folder, "text.npz", b"this is no archive");
    refused(&["run", &model, "--inputs", &text], &["text.npz"]);
    refused(&["run", &model, "--inputs", folder.path().to_str().unwrap()], &["input_K.pb"]);
    let cut = std::fs::read(file("whole.npz", &[("x", zeros(&[300, 2], DType::F32))])).unwrap();
    refused(&["run", &model, "--inputs", &write(&folder, "cut.npz", &cut[..cut.len() / 2])], &["cut.npz"]);

    let other = file("other.npz", &[("z", zeros(&[1, 2], DType::F32))]);
    refused(&["run", &model, "--expect", &other], &["'z'", "y"]);
    refused(&["run", &model, "--expect", &file("none.npz", &[])], &["none.npz"]);
    refused(&["run", &model, "--outputs", "no/such/folder/out.npz"], &["no/such/folder/out.npz"]);
    refused(&["run", &model, "--outputs", folder.path().to_str().unwrap()], &["cannot write"]);
    let parts = std::fs::read_dir(folder.path()).unwrap();
    let parts = parts.filter(|f| f.as_ref().unwrap().path().extension().is_some_and(|e| e == "part"));
    assert_eq!(parts.count(), 0, "a partial file is left");
}

#[test]
fn options_that_make_no_sense() {
    let digits = example("digits.onnx");
    let check = |options: &[&str], parts: &[&str]| {
        refused(&[&["run", digits.as_str()][..], options].concat(), parts);
    };
    check(&["--dim", "N=-3"], &["N", "-3"]);
    check(&["--dim", "N=x"], &["x"]);
    check(&["--dim", "N"], &["NAME=N"]);
    check(&["--dim", "M=3"], &["'M'", "N"]);
    check(&["--dim", "N=3", "--dim", "N=4"], &["N", "3", "4"]);
    check(&["--dim", "N=9223372036854775807"], &["N"]);
    check(&["--cpu", "z80"], &["z80", "native"]);
    check(&["--leaf", "oak"], &["oak", "clif"]);
    check(&["--leaf", "x64", "--cpu", "baseline"], &["x64", "baseline", "AVX2"]);
    check(&["--backend", "gpu"], &["gpu", "interp"]);
    check(&["--threads", "0"], &["0"]);
    check(&["--tol", "-1", "--expect", "x.npz"], &["tol"]);
    check(&["--memory-limit", "100"], &["100"]);
    check(&["--int-range", "0..=256"], &["256", "u8"]);
    refused(&["dump", &digits, "--stage", "nonsense"], &["nonsense", "clif"]);
}

#[test]
fn lines_that_ask_for_nothing() {
    let digits = example("digits.onnx");
    let endless = [b'1'; 1 << 20];
    for line in [
        &b"hello\n"[..],
        b"run\n",
        b"run 0\n",
        b"run -1\n",
        b"run 1.5\n",
        b"run 99999999999999999999\n",
        &endless,
    ] {
        refused_after(&["bench", &digits, "--serve"], line, &["--serve", "run N"]);
    }
    refused_after(&["bench", &digits, "--serve"], b"run \xff\n", &["stdin"]);
    let ran = asked(&["bench", &digits, "--serve"], b"run 2\nrun 1\n");
    assert_eq!((ran.code, ran.stdout.lines().count()), (0, 3), "{}", ran.stderr);
}

#[test]
fn initializers_that_make_no_sense() {
    let folder = folder();
    let check = |name: &str, w: Message, parts: &[&str]| {
        bad_model(&write(&folder, name, &onnx::add(w).model()), parts);
    };
    check("negative.onnx", onnx::tensor("w", FLOAT, &[-2], &[0; 8]), &["'w'", "-2"]);
    check("short.onnx", onnx::tensor("w", FLOAT, &[2], &[0; 4]), &["'w'", "8", "4"]);
    check("long.onnx", onnx::tensor("w", FLOAT, &[2], &[0; 400]), &["'w'", "8", "400"]);
    check("none.onnx", onnx::declared("w", FLOAT, &[2]), &["'w'"]);
    check("large.onnx", onnx::declared("w", FLOAT, &[1 << 40, 1 << 40]), &["'w'"]);
    check("dtype.onnx", onnx::tensor("w", 99, &[2], &[0; 8]), &["'w'", "99"]);
}

#[test]
fn data_outside_of_the_folder_is_not_opened() {
    let folder = folder();
    let inner = folder.path().join("model");
    std::fs::create_dir(&inner).unwrap();
    std::fs::write(folder.path().join("secret.bin"), [0; 8]).unwrap();
    let model = |name: &str, location: &str| {
        let path = inner.join(name);
        std::fs::write(&path, onnx::add(onnx::external("w", FLOAT, &[2], location)).model()).unwrap();
        path.to_str().unwrap().to_string()
    };
    bad_model(&model("up.onnx", "../secret.bin"), &["'w'", "../secret.bin"]);
    bad_model(&model("deep.onnx", "a/../../secret.bin"), &["'w'", "secret.bin"]);
    let absolute = folder.path().join("secret.bin");
    bad_model(&model("absolute.onnx", absolute.to_str().unwrap()), &["'w'"]);
    bad_model(&model("missing.onnx", "missing.bin"), &["'w'", "missing.bin"]);
    std::fs::write(inner.join("short.bin"), [0; 4]).unwrap();
    bad_model(&model("short.onnx", "short.bin"), &["'w'"]);
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink("../secret.bin", inner.join("link.bin")).unwrap();
        bad_model(&model("link.onnx", "link.bin"), &["'w'", "link"]);
        std::os::unix::fs::symlink("..", inner.join("up")).unwrap();
        bad_model(&model("through.onnx", "up/secret.bin"), &["'w'", "link"]);
    }
    std::fs::write(inner.join("own.bin"), [0; 8]).unwrap();
    let ran = fornax(&["run", &model("fine.onnx", "own.bin")]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
}

#[test]
fn shapes_whose_product_overflows() {
    let folder = folder();
    let mut graph = onnx::unary("Relu");
    let huge = [Ok(1 << 40), Ok(1 << 40)];
    graph.inputs = vec![value("x", FLOAT, &huge)];
    graph.outputs = vec![value("y", FLOAT, &huge)];
    refused(&["run", &write(&folder, "huge.onnx", &graph.model())], &[]);
    let relu = write(&folder, "relu.onnx", &onnx::unary("Relu").model());
    refused(&["run", &relu, "--dim", "n=4611686018427387904"], &["n"]);
    let shape: Vec<u8> = [1i64 << 40, 1 << 40].iter().flat_map(|d| d.to_le_bytes()).collect();
    let mut graph = onnx::add(onnx::tensor("w", 7, &[2], &shape));
    graph.nodes = vec![node("Expand", "huge", &["x", "w"], &["y"])];
    graph.inputs = vec![value("x", FLOAT, &[Ok(1), Ok(1)])];
    refused(&["run", &write(&folder, "expand.onnx", &graph.model())], &[]);
}

/// Neither a long chain nor deep nesting uses up the stack: a chain runs, nesting beyond reason is refused.
#[test]
fn a_hundred_thousand_nodes() {
    const N: usize = 100_000;
    let folder = folder();
    let name = |i: usize| if i == N { "y".to_string() } else { format!("v{i}") };
    let chain = |i: usize| {
        let from = if i == 0 { "x".to_string() } else { name(i) };
        node("Neg", "", &[&from], &[&name(i + 1)])
    };
    let mut graph = onnx::unary("Neg");
    graph.nodes = (0..N).map(chain).collect();
    let model = write(&folder, "chain.onnx", &graph.model());
    for command in ["verify", "info", "run"] {
        let ran = fornax(&[command, &model]);
        assert_eq!(ran.code, 0, "{command}: {}", ran.stderr);
    }

    let opset = Message::default().bytes(1, "").int(2, 17);
    let nested = Message::default().int(1, 8).bytes(7, onnx::nested(N)).bytes(8, opset);
    bad_model(&write(&folder, "nested.onnx", nested.as_ref()), &["nested.onnx"]);
}
