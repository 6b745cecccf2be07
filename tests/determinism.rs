//! The same graph gives the same plan, kernels and program, byte for byte: run after run, on whatever thread, and in
//! whatever order its nodes and tables were filled.

mod common;

use std::collections::BTreeSet;
use std::path::Path;

use common::graphs::{Choice, transformer};
use common::orders::{lowered, shuffled};
use fornax_ir::graph::Graph;
use fornax_ir::graph::text::parse;

#[track_caller]
fn assert_same(what: &str, want: &(String, Vec<u8>), got: &(String, Vec<u8>)) {
    let mut lines = want.0.lines().zip(got.0.lines()).enumerate();
    if let Some((k, (a, b))) = lines.find(|(_, (a, b))| a != b) {
        panic!("{what}: line {} of the lowered graph is\n{b}\ninstead of\n{a}", k + 1);
    }
    assert!(want == got, "{what}: the weights differ, or how much there is");
}

/// Lowers a graph again and again, from several threads, in other orders.
fn check(name: &str, graph: &Graph, runs: usize) {
    let want = lowered(graph);
    std::thread::scope(|scope| {
        for thread in 0..2 {
            let want = &want;
            scope.spawn(move || {
                let mut choice = Choice(thread + 1);
                for run in 0..runs.div_ceil(2) {
                    let what = format!("{name}, thread {thread}, run {run}");
                    assert_same(&what, want, &lowered(graph));
                    assert_same(&format!("{what}, shuffled"), want, &lowered(&shuffled(graph, &mut choice)));
                }
            });
        }
    });
}

fn check_model(id: &str, runs: usize) {
    let Some(entry) = common::model(id) else { return };
    check(id, &fornax::graph_of(&entry.path, &fornax::Options::default()).unwrap(), runs);
}

#[test]
fn small_models() {
    for id in ["magika_v3_3", "mtcnn_pnet", "mtcnn_rnet", "mtcnn_onet", "thai_attacut_sc"] {
        check_model(id, 20);
    }
}

/// `cargo bench --bench bars` lowers these 20 times too.
#[test]
fn large_models() {
    for id in [
        "dnsmos_sig_bak_ovr",
        "basic_pitch_nmp",
        "atspm_pair_tcn",
        "ppocr_cls_v2",
        "ppocr_v4_det",
        "minilm_l6_int8w",
    ] {
        check_model(id, 2);
    }
}

#[test]
fn transformer_blocks() {
    check("transformer", &transformer(2, 16, 4), 20);
}

/// The graphs of `test run` files: guards, branches and loops, one in the other.
#[test]
fn graphs_of_files() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("compiler/tests/files/run");
    let mut regions = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let graph = parse(&std::fs::read_to_string(&path).unwrap()).unwrap();
        regions += graph.regions.len();
        check(&path.display().to_string(), &graph, 4);
    }
    assert!(regions > 10, "{regions}");
}

/// The test itself: other orders are other texts of equal graphs.
#[test]
fn shuffling_changes_the_order() {
    let graph = transformer(1, 8, 2);
    let mut choice = Choice(7);
    let texts: BTreeSet<String> = (0..8).map(|_| shuffled(&graph, &mut choice).to_string()).collect();
    assert_eq!(texts.len(), 8);
    assert!(!texts.contains(&graph.to_string()));
}
