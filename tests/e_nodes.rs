//! Every node of every class of an e-graph computes what its class is, on small inputs: a wrong rule shows, whatever would
//! be selected.

mod common;

use std::path::{Path, PathBuf};

use common::graphs::{Choice, arguments, canonical, check_nodes, check_regions, transformer};
use fornax_compiler::rewrite::differential::Checked;
use fornax_ir::graph::builder::Result;
use fornax_ir::graph::interp::{bind, check_guards};
use fornax_ir::graph::text::parse;
use fornax_ir::graph::{Builder, Graph, TensorType, ValueId};
use fornax_ir::{DType, Dim};

/// Checks a graph whose symbols have these values (2, unless they are named), and tells whether more nodes were compared than
/// it has.
#[track_caller]
fn check(name: &str, graph: &Graph, sizes: &[(&str, i64)], strict: bool) -> bool {
    let size = |s: &str| {
        let (lo, _) = graph.ranges.symbol(s);
        Some(sizes.iter().find(|(name, _)| *name == s).map_or(lo.max(2), |(_, n)| *n))
    };
    let args = arguments(graph, &size);
    let Checked { classes, nodes } =
        check_nodes(graph, &args, strict).unwrap_or_else(|e| panic!("{name}: {e}"));
    let written = canonical(graph, strict).nodes.len();
    eprintln!("{name}: {nodes} nodes in {classes} classes agree; the graph has {written}");
    assert!(classes > 0 || graph.outputs.is_empty(), "{name}: nothing was compared");
    nodes > written
}

#[track_caller]
fn check_model(id: &str, sizes: &[(&str, i64)]) -> bool {
    let Some(entry) = common::model(id) else { return true };
    let graph = fornax::graph_of(&entry.path, &fornax::Options::default()).unwrap();
    check(id, &graph, sizes, false)
}

#[test]
fn magika() {
    check_model("magika_v3_3", &[("unk__214", 1)]);
}

#[test]
fn text_direction() {
    check_model("ppocr_cls_v2", &[("x.0", 1), ("x.2", 48), ("x.3", 48)]);
}

#[test]
fn text_detection() {
    let [batch, height, width] =
        ["p2o.DynamicDimension.0", "p2o.DynamicDimension.1", "p2o.DynamicDimension.2"];
    check_model("ppocr_v4_det", &[(batch, 1), (height, 32), (width, 32)]);
}

#[test]
fn faces() {
    check_model("mtcnn_pnet", &[("N", 1), ("M1", 14), ("M2", 12)]);
    check_model("mtcnn_rnet", &[("N", 1)]);
    check_model("mtcnn_onet", &[("N", 1)]);
}

#[test]
fn speech_quality() {
    check_model("dnsmos_sig_bak_ovr", &[("N", 1)]);
}

#[test]
fn music() {
    check_model("basic_pitch_nmp", &[("unk__749", 1)]);
}

#[test]
fn words_and_signals() {
    check_model("thai_attacut_sc", &[("seq_len", 3)]);
    check_model("atspm_pair_tcn", &[("N", 2), ("T", 5)]);
}

/// Queries, keys and values may be one product: there are more spellings than the model has nodes.
#[test]
fn sentences_have_alternatives() {
    assert!(check_model("minilm_l6_int8w", &[("batch", 1), ("sequence", 3)]));
}

#[test]
fn transformer_blocks_have_alternatives() {
    for strict in [false, true] {
        check("two blocks", &transformer(2, 8, 2), &[("length", 3)], strict);
    }
    assert!(check("a block", &transformer(1, 8, 2), &[("length", 3)], false));
}

type Build = fn(&mut Builder, ValueId, ValueId) -> Result<ValueId>;

/// Each on `x: f32[n, 4, 6]` and `v: f32[6]`.
const COMPOSITES: [(&str, Build); 28] = [
    ("relu", |b, x, _| b.relu(x)),
    ("leaky_relu", |b, x, _| b.leaky_relu(x, 0.1)),
    ("prelu", |b, x, v| b.prelu(x, v)),
    ("sigmoid", |b, x, _| b.sigmoid(x)),
    ("silu", |b, x, _| b.silu(x)),
    ("hard_sigmoid", |b, x, _| b.hard_sigmoid(x, 0.2, 0.5)),
    ("hard_swish", |b, x, _| b.hard_swish(x)),
    ("elu", |b, x, _| b.elu(x, 0.7)),
    ("selu", |b, x, _| b.selu(x, 1.6, 1.1)),
    ("celu", |b, x, _| b.celu(x, 2.0)),
    ("softplus", |b, x, _| b.softplus(x)),
    ("softsign", |b, x, _| b.softsign(x)),
    ("mish", |b, x, _| b.mish(x)),
    ("gelu", |b, x, _| b.gelu(x)),
    ("gelu_tanh", |b, x, _| b.gelu_tanh(x)),
    ("clip", |b, x, _| {
        let [lo, hi] = [-0.5, 0.5].map(|v| b.scalar_f64(DType::F32, v));
        b.clip(x, Some(lo), Some(hi))
    }),
    ("softmax", |b, x, _| b.softmax(x, 1)),
    ("log_softmax", |b, x, _| b.log_softmax(x, 2)),
    ("logsumexp", |b, x, _| b.logsumexp_keep(x, &[0, 2])),
    ("mean", |b, x, _| b.mean(x, &[0])),
    ("variance", |b, x, _| b.var_keep(x, &[1])),
    ("layer_norm", |b, x, v| b.layer_norm(x, 2, Some(v), Some(v), 1e-5)),
    ("rms_norm", |b, x, v| b.rms_norm(x, 2, Some(v), 1e-5)),
    ("batch_norm", |b, x, v| {
        let x = b.permute(x, &[0, 2, 1])?;
        let positive = b.with_const(fornax_ir::scalar::BinaryOp::Add, v, 2.0)?;
        b.batch_norm(x, [v, v, v, positive], 1e-5)
    }),
    ("group_norm", |b, x, v| {
        let x = b.permute(x, &[0, 2, 1])?;
        b.group_norm(x, 2, v, v, 1e-5)
    }),
    ("argmax", |b, x, _| b.arg_extreme(fornax_ir::scalar::ReduceOp::Max, x, 2, false)),
    ("cumsum", |b, x, _| b.cumsum(x, 1, false, true)),
    ("projections", |b, x, v| {
        let mut choice = Choice(3);
        let [p, q] = [(); 2].map(|()| {
            let w = b.constant("w", choice.tensor(DType::F32, &[6, 6]));
            let y = b.matmul(x, w)?;
            b.mul(y, v)
        });
        let (p, q) = (p?, q?);
        let q = b.permute(q, &[0, 2, 1])?;
        let scores = b.matmul(p, q)?;
        b.softmax(scores, 2)
    }),
];

#[test]
fn composites() {
    let mut alternatives = 0;
    for (name, build) in COMPOSITES {
        let mut b = Builder::new(name);
        let x = b.input("x", TensorType::new(DType::F32, [Dim::symbol("n"), 4.into(), 6.into()]));
        let v = b.input("v", TensorType::new(DType::F32, [Dim::from(6)]));
        let y = build(&mut b, x, v).unwrap();
        b.output("y", y);
        let graph = b.finish();
        for strict in [false, true] {
            alternatives += usize::from(check(name, &graph, &[], strict));
        }
    }
    assert!(alternatives > 0, "no composite has a spelling besides its own");
}

/// The files beneath a folder that end like this.
fn files(folder: &str, extension: &str) -> Vec<PathBuf> {
    let (mut found, mut open) = (vec![], vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)]);
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|e| e == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// Those that are `test run` are compared on their own inputs as well, by that test.
#[test]
fn graphs_of_files() {
    let (mut compared, mut refused) = (0, vec![]);
    for (folder, extension) in [("compiler/tests/files", "gir"), ("ir/tests/graph/golden", "fnx")] {
        for path in files(folder, extension) {
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            let text = std::fs::read_to_string(&path).unwrap();
            let graph = parse(&text).unwrap_or_else(|e| panic!("{name}: {e}"));
            if !fits(&graph) {
                refused.push(name);
                continue;
            }
            for strict in [false, true] {
                if graph.regions.is_empty() {
                    check(&name, &graph, &[], strict);
                } else {
                    check_inner(&name, &graph, strict);
                }
            }
            compared += 1;
        }
    }
    assert!(compared > 40 && refused.len() <= 3, "{compared} files; too small for {refused:?}");
}

/// Whether a graph takes arguments of extents 2.
fn fits(graph: &Graph) -> bool {
    let args = arguments(graph, &|s| Some(graph.ranges.symbol(s).0.max(2)));
    let shapes: Vec<_> = args.iter().map(|a| (a.shape(), a.dtype())).collect();
    bind(graph, &shapes).is_ok_and(|sizes| check_guards(graph, &sizes).is_ok())
}

/// Checks the regions alone: a loop on small arguments need not end.
fn check_inner(name: &str, graph: &Graph, strict: bool) {
    let args = arguments(graph, &|s| Some(graph.ranges.symbol(s).0.max(2)));
    let shapes: Vec<_> = args.iter().map(|a| (a.shape(), a.dtype())).collect();
    let sizes = bind(graph, &shapes).unwrap();
    let mut checked = Checked::default();
    check_regions(&canonical(graph, strict), &sizes, strict, &mut checked)
        .unwrap_or_else(|e| panic!("{name}: {e}"));
    eprintln!("{name}: in its regions {} nodes in {} classes agree", checked.nodes, checked.classes);
}
