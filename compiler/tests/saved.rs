//! Every graph of the file tests comes back from both of its saved forms, and so does what the compiler makes of it.

use bytes::Bytes;
use fornax_compiler::{Options, lower};
use fornax_ir::graph::saved::{Weights, decode, write};
use fornax_ir::graph::{Graph, difference, text};
use std::path::{Path, PathBuf};

/// The files beneath a folder, at any depth.
fn files(folder: &Path) -> Vec<PathBuf> {
    let (mut found, mut open) = (vec![], vec![folder.to_path_buf()]);
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { open.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    found
}

#[track_caller]
fn assert_round_trips(name: &str, g: &Graph) {
    let want = text::print(g, true);
    let mut bytes = vec![];
    write(g, &Weights::Inside, &mut bytes).unwrap_or_else(|e| panic!("{name}: {e}"));
    let binary = decode(Bytes::from(bytes), &mut |_| Err("there is no other file".into()));
    let binary = binary.unwrap_or_else(|e| panic!("{name}: {e}"));
    let parsed = text::parse(&want).unwrap_or_else(|e| panic!("{name}: {e}"));
    for (form, back) in [("binary", binary), ("text", parsed)] {
        assert_eq!(difference(g, &back, true), None, "{name}, {form}");
        assert_eq!(text::print(&back, true), want, "{name}, {form}");
    }
}

#[test]
fn graphs_of_file_tests_round_trip() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/files");
    let graphs: Vec<PathBuf> =
        files(&folder).into_iter().filter(|f| f.extension().is_some_and(|e| e == "gir")).collect();
    assert!(graphs.len() > 25, "{}", graphs.len());
    let mut lowered = 0;
    for file in graphs {
        let name = file.strip_prefix(&folder).unwrap().display().to_string();
        let g =
            text::parse(&std::fs::read_to_string(&file).unwrap()).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_round_trips(&name, &g);
        if let Ok(compiled) = lower(g, &Options::default()) {
            assert_round_trips(&format!("{name}, optimised"), &compiled.graph);
            lowered += 1;
        }
    }
    assert!(lowered > 20, "{lowered}");
}
