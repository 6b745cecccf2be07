//! Every command takes graphs of our own forms as it takes ONNX files.

mod common;

use common::{example, fornax};

#[track_caller]
fn works(arguments: &[&str]) -> String {
    let ran = fornax(arguments);
    assert_eq!(ran.code, 0, "{arguments:?}\nstdout: {}\nstderr: {}", ran.stdout, ran.stderr);
    ran.stdout
}

#[test]
fn a_model_is_saved_and_used_in_every_form() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_string();
    let (onnx, inputs, expected) =
        (example("digits.onnx"), example("digits.images.npz"), example("digits.expected.npz"));
    let graph = works(&["dump", &onnx, "--stage", "graph"]);
    let arrays = fornax::io::read_npz(&inputs).unwrap();
    let tensors = path("in.safetensors");
    fornax::io::save_safetensors(&tensors, arrays.iter().map(|(n, t)| (n.as_str(), t))).unwrap();
    let forms = [("a.fnxb", "inside"), ("b.fnxb", "beside"), ("c.fnx", "inside")];
    let outputs = path("out.safetensors");
    works(&["run", &onnx, "--inputs", &inputs, "--outputs", &outputs]);
    assert!(works(&["run", &onnx, "--inputs", &inputs, "--expect", &outputs]).contains("PASS"));
    for (name, weights) in forms {
        let saved = path(name);
        works(&["dump", &onnx, "--stage", "graph", "-o", &saved, "--weights", weights]);
        assert_eq!(works(&["dump", &saved, "--stage", "graph"]), graph, "{name}");
        assert!(works(&["verify", &saved]).contains(": ok,"));
        assert!(works(&["info", &saved]).contains("probabilities: f32["));
        for given in [&inputs, &tensors] {
            let ran = works(&["run", &saved, "--inputs", given, "--expect", &expected]);
            assert!(ran.contains("PASS"), "{ran}");
        }
    }
    assert!(std::fs::exists(path("b.fnxb.safetensors")).unwrap());
    assert!(works(&["bench", &path("a.fnxb"), "--json"]).contains("\"model\":\"a.fnxb\""));
    works(&["dump", &path("c.fnx"), "--stage", "plan", "--output", &path("plan.txt")]);
    assert!(std::fs::read_to_string(path("plan.txt")).unwrap().contains("graph"));
}

#[test]
fn damaged_files_are_bad_input() {
    let folder = tempfile::tempdir().unwrap();
    let saved = folder.path().join("a.fnxb").to_str().unwrap().to_string();
    works(&["dump", &example("digits.onnx"), "--stage", "graph", "-o", &saved]);
    let mut bytes = std::fs::read(&saved).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    let bad = common::write(&folder, "bad.fnxb", &bytes);
    let cut = common::write(&folder, "cut.fnxb", &bytes[..middle]);
    let text = common::write(&folder, "bad.fnx", b"graph \"g\" { %0: f32[] = mystery }");
    for (file, part) in [(&bad, "checksum"), (&cut, "incomplete"), (&text, "unknown operator `mystery`")] {
        for command in ["run", "bench", "info", "verify"] {
            let ran = fornax(&[command, file.as_str()]);
            assert_eq!(ran.code, 2, "{command}: {}", ran.stderr);
            assert!(
                ran.stderr.contains(part) && ran.stderr.contains(file.as_str()),
                "{command}: {}",
                ran.stderr
            );
        }
    }
    let refused = |arguments: &[&str]| {
        let ran = fornax(arguments);
        assert_eq!(ran.code, 2, "{}", ran.stderr);
        ran.stderr
    };
    let dump = ["dump", &saved, "--stage", "plan", "-o", "x.txt", "--weights", "beside"];
    assert!(refused(&dump).contains("--weights beside is for a graph written as .fnxb"));
    assert!(
        refused(&["dump", &saved, "--stage", "graph", "-o", "/no/such/folder/x.fnx"]).contains("/no/such/")
    );
}
