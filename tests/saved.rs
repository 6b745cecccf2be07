//! Saved graphs: real models come back equal from every form, and run from them with the same bits.

mod common;

use std::path::Path;

use fornax::graph_file::{self, SaveOptions, Weights};
use fornax::ir::graph::{Graph, difference, text};
use fornax::{Backend, DType, Dim, Error, Model, Options, Tensor, Traced, inspect, scan, trace, verify};

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

fn example() -> String {
    format!("{}/examples/data/digits.onnx", env!("CARGO_MANIFEST_DIR"))
}

/// The forms a graph can be saved in: a file name and options.
fn forms() -> [(&'static str, SaveOptions); 3] {
    let inside = SaveOptions::default();
    [
        ("m.fnxb", inside.clone()),
        ("beside.fnxb", inside.clone().weights(Weights::Safetensors)),
        ("m.fnx", inside),
    ]
}

#[track_caller]
fn assert_comes_back(what: &str, graph: &Graph, folder: &Path) {
    let want = text::print(graph, false);
    for (name, options) in forms() {
        let path = folder.join(name);
        graph_file::save(graph, &path, &options).unwrap_or_else(|e| panic!("{what}: {e}"));
        let back = graph_file::load(&path).unwrap_or_else(|e| panic!("{what}: {e}"));
        // Weights are data of megabytes: not to be printed where they differ.
        assert!(difference(graph, &back, true).is_none(), "{what}: {name} gives another graph");
        assert!(text::print(&back, false) == want, "{what}: {name} gives another text");
    }
}

#[test]
fn real_models_come_back_equal() {
    for id in common::MODELS {
        let Some(entry) = common::model(id) else { continue };
        let graph = graph_file::load(&entry.path).unwrap();
        assert_comes_back(id, &graph, folder().path());
    }
}

#[test]
fn a_saved_model_runs_with_the_same_bits() {
    let folder = folder();
    let from_onnx = Model::load(example()).unwrap();
    let images = Tensor::from_f64s((0..128).map(f64::from), DType::U8, &[2, 8, 8]).unwrap();
    let want = from_onnx.run(&[("images", &images)]).unwrap();
    let graph = graph_file::load(example()).unwrap();
    assert_comes_back("digits", &graph, folder.path());
    for (name, _) in forms() {
        let path = folder.path().join(name);
        for backend in [Backend::Jit, Backend::Interp] {
            let model = Model::load_with(&path, Options::default().backend(backend)).unwrap();
            let got = model.run(&[("images", &images)]).unwrap();
            if backend == Backend::Jit {
                common::assert_same_bits(name, &want, &got);
            }
            let last = model.run_with(&[("images", &images)], &["%1"]).unwrap();
            assert_eq!(last.len(), 2, "values of a saved graph are named by their numbers");
        }
        let info = inspect(&path).unwrap();
        info.supported().unwrap();
        let text = info.to_string();
        assert!(text.contains("saved as .fnx") && text.contains("probabilities: f32["), "{text}");
        assert_eq!(verify(&path).unwrap().values, graph.nodes.len());
    }
}

/// The content decides, whatever the name is, where it shows what it is.
#[test]
fn files_are_known_by_their_content() {
    let folder = folder();
    let graph = graph_file::load(example()).unwrap();
    assert_comes_back("digits", &graph, folder.path());
    for (from, to) in [("m.fnxb", "m.onnx"), ("m.fnxb", "m.bin"), ("m.fnx", "m.txt")] {
        std::fs::copy(folder.path().join(from), folder.path().join(to)).unwrap();
        let back = graph_file::load(folder.path().join(to)).unwrap();
        assert_eq!(difference(&graph, &back, true), None, "{to}");
    }
}

#[test]
fn what_is_no_model_is_refused_with_the_reason() {
    let folder = folder();
    let refuse = |name: &str, bytes: &[u8], part: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let error = Model::load(&path).unwrap_err();
        assert!(error.is_bad_input());
        let text = error.to_string();
        assert!(text.contains(name) && text.contains(part), "{text}\nlacks: {part}");
    };
    refuse("a.fnxb", b"not a graph", "a .fnxb file begins with the bytes 89 46 4e 58 42, not 6e 6f 74");
    refuse("b.fnxb", b"", "empty");
    refuse("a.fnx", b"graph \"g\" {", "line 1, column 12");
    refuse("b.fnx", b"\xff\xfe", "text form");
    refuse("a.weights", b"anything", "a model is an .onnx, .fnxb or .fnx file");
    for missing in ["none.fnxb", "none.fnx", "none.onnx"] {
        let error = Model::load(folder.path().join(missing)).unwrap_err().to_string();
        assert!(error.contains(missing) && error.contains("cannot be read"), "{error}");
    }
    let graph = graph_file::load(example()).unwrap();
    let save = |name: &str, options: SaveOptions| {
        graph_file::save(&graph, folder.path().join(name), &options).unwrap_err().to_string()
    };
    assert!(save("g.onnx", SaveOptions::default()).contains(".fnxb (binary) or .fnx (text)"));
    assert!(save("g.fnx", SaveOptions::default().weights(Weights::Safetensors)).contains("save as .fnxb"));
    assert!(save("none/g.fnxb", SaveOptions::default()).contains("cannot be written"));
}

const WEIGHT: [f32; 3] = [0.5, -1.0, 2.0];

/// `3 x + weight`, with a captured weight and a symbolic batch.
fn affine() -> Traced<Tensor> {
    let weight = Tensor::from_slice(&WEIGHT, &[3]).unwrap();
    let spec = Tensor::spec(DType::F32, [Dim::symbol("n", 1..=64), Dim::from(3)]);
    trace(move |x: Tensor| &(&(&x + &x) + &x) + &weight, spec).unwrap()
}

/// Sums rows and a captured weight into a start, by a scan.
fn sums() -> Traced<Tensor> {
    let weight = Tensor::from_slice(&WEIGHT, &[3]).unwrap();
    let rows = Tensor::spec(DType::F32, [Dim::symbol("n", 1..=64), Dim::from(3)]);
    let body = move |sum: Tensor, x: Tensor| (&sum + &(&x + &weight), ());
    let start = Tensor::from_slice(&[0.0f32; 3], &[3]).unwrap();
    trace(move |rows: Tensor| scan(&body, start.clone(), rows).0, rows).unwrap()
}

/// Runs a saved form of a function on two batch sizes, with nothing at hand but the file.
#[track_caller]
fn assert_runs(path: &Path, backend: Backend, want: impl Fn(&[f32]) -> Vec<f32>) {
    let model = Model::load_with(path, Options::default().backend(backend)).unwrap();
    let name = model.inputs()[0].name.clone();
    for n in [1, 4] {
        let rows: Vec<f32> = (0..3 * n).map(|i| i as f32).collect();
        let x = Tensor::from_slice(&rows, &[n, 3]).unwrap();
        let outputs = model.run(&[(&name, &x)]).unwrap();
        assert_eq!(outputs[0].to_vec::<f32>().unwrap(), want(&rows), "{} on {n} rows", path.display());
    }
    assert_eq!(
        model.compilations(),
        usize::from(backend == Backend::Jit),
        "one compilation serves both sizes"
    );
}

#[track_caller]
fn assert_affine(path: &Path) {
    let want = |rows: &[f32]| rows.iter().enumerate().map(|(i, x)| 3.0 * x + WEIGHT[i % 3]).collect();
    assert_runs(path, Backend::Jit, want);
    assert_runs(path, Backend::Interp, want);
}

#[track_caller]
fn assert_sums(path: &Path) {
    let want = |rows: &[f32]| {
        (0..3).map(|k| rows.iter().skip(k).step_by(3).map(|x| x + WEIGHT[k]).sum()).collect::<Vec<f32>>()
    };
    assert_runs(path, Backend::Jit, want);
    assert_runs(path, Backend::Interp, want);
}

#[test]
fn a_traced_function_is_saved_and_runs_from_its_file() {
    let folder = folder();
    for (function, check) in [(affine(), assert_affine as fn(&Path)), (sums(), assert_sums)] {
        let graph = function.graph().clone();
        let paths = ["f.fnxb", "f.fnx"].map(|name| folder.path().join(name));
        paths.iter().for_each(|path| function.save(path).unwrap());
        drop(function);
        for path in paths {
            assert_eq!(difference(&graph, &graph_file::load(&path).unwrap(), true), None);
            check(&path);
        }
    }
}

/// Files that an earlier version of these functions saved run whatever has become of their source. With
/// `FORNAX_BLESS=1` they are written if they are missing; they never change.
#[test]
fn a_traced_function_runs_after_its_source_changed() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/saved");
    let path = |name: &str| folder.join(name);
    if std::env::var_os("FORNAX_BLESS").is_some_and(|v| v == "1") {
        for (name, function) in [("affine.v1.fnxb", affine()), ("sums.v1.fnxb", sums())] {
            if !path(name).exists() {
                function.save(path(name)).unwrap();
            }
        }
    }
    assert_affine(&path("affine.v1.fnxb"));
    assert_sums(&path("sums.v1.fnxb"));
}

/// Writes a model with its weights beside, changes something, and gives the error of loading it.
fn broken(change: impl FnOnce(&Path, &Path)) -> String {
    let folder = folder();
    let path = folder.path().join("m.fnxb");
    let options = SaveOptions::default().weights(Weights::Safetensors);
    graph_file::save(&graph_file::load(example()).unwrap(), &path, &options).unwrap();
    let mut names: Vec<_> =
        std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["m.fnxb", "m.fnxb.safetensors"], "no part stays");
    change(&path, &folder.path().join("m.fnxb.safetensors"));
    match graph_file::load(&path) {
        Ok(_) => "no error".into(),
        Err(Error::GraphFile(e)) => e.to_string(),
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn weights_beside_are_checked() {
    let change = |edit: fn(&mut Vec<u8>)| {
        broken(|_, weights| {
            let mut bytes = std::fs::read(weights).unwrap();
            edit(&mut bytes);
            std::fs::write(weights, bytes).unwrap();
        })
    };
    assert!(change(|b| *b.last_mut().unwrap() ^= 1).contains("its checksum differs"));
    assert!(change(|b| b.truncate(b.len() - 1)).contains("bytes, not the"));
    assert!(change(|b| b.clear()).contains("empty"));
    assert!(broken(|_, weights| std::fs::remove_file(weights).unwrap()).contains("m.fnxb.safetensors"));
    #[cfg(unix)]
    assert!(
        broken(|_, weights| {
            let elsewhere = weights.with_file_name("other");
            std::fs::rename(weights, &elsewhere).unwrap();
            std::os::unix::fs::symlink(elsewhere, weights).unwrap();
        })
        .contains("links are not followed")
    );
}

/// No file outside the graph's folder is opened, whatever path the graph's file names.
#[test]
fn weights_outside_the_folder_are_refused() {
    use fornax::ir::graph::saved;
    let folder = folder();
    let inside = folder.path().join("in");
    std::fs::create_dir(&inside).unwrap();
    std::fs::write(folder.path().join("w.safetensors"), b"secret").unwrap();
    let graph = graph_file::load(example()).unwrap();
    let absolute = folder.path().join("w.safetensors").to_str().unwrap().to_string();
    for (path, part) in [("../w.safetensors", "leave the model's folder"), (&absolute, "absolute")] {
        let file =
            saved::Beside { path: path.to_string(), size: 6, checksum: saved::Checksum::of(b"secret") };
        let mut bytes = vec![];
        saved::write(&graph, &saved::Weights::Beside(file), &mut bytes).unwrap();
        std::fs::write(inside.join("m.fnxb"), bytes).unwrap();
        let error = graph_file::load(inside.join("m.fnxb")).unwrap_err().to_string();
        assert!(error.contains("is refused") && error.contains(part), "{error}");
    }
}
