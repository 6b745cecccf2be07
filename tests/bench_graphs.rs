//! The benchmark graphs, with seeded weights: what each leaf emitter computes agrees with the reference, on one thread and
//! on two, with the same bits for either.
//!
//! `python3 benches/peers/compare.py --fill-only` writes them where the tests look: the folder that `FORNAX_BENCH_GRAPHS`
//! names, else `target/bench`.

mod common;

use std::io::Write;
use std::path::{Path, PathBuf};

use fornax::{Cpu, Leaf, Model, Options};
use fornax_compiler::codegen::Target;

/// `max|a-b| / max|b|` over each output.
const TOLERANCE: f64 = 1e-4;

fn folder() -> PathBuf {
    let named = std::env::var_os("FORNAX_BENCH_GRAPHS").map(PathBuf::from);
    named.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench"))
}

/// The CPUs that code of a leaf emitter is made for, of those that this machine can be: the wide ones encode by
/// instruction set.
fn cpus(leaf: Leaf) -> Vec<Cpu> {
    let all = if leaf == Leaf::Clif { vec![Cpu::Native] } else { vec![Cpu::V3, Cpu::Native] };
    all.into_iter().filter(|&cpu| Target::host(cpu).is_ok()).collect()
}

fn agrees(name: &str) {
    let path = folder().join(format!("{name}.onnx"));
    let case = common::Case::beside(&path);
    if !(path.exists() && case.exists()) {
        // Past the capture of the test harness: a skipped graph must be seen.
        let mut err = std::io::stderr().lock();
        let _ = writeln!(err, "SKIPPED {name}: {} or its arrays are missing", path.display());
        return;
    }
    let inputs = case.inputs();
    let inputs = common::borrowed(&inputs);
    // `auto` is one of the others.
    for leaf in Leaf::ALL.into_iter().filter(|&leaf| leaf != Leaf::Auto) {
        for cpu in cpus(leaf) {
            let load = |threads| {
                let options = Options::default().leaf(leaf).cpu(cpu).threads(threads);
                Model::load_with(&path, options).unwrap_or_else(|e| panic!("{name}: {e}"))
            };
            let what = format!("{name}, leaf {leaf}, cpu {cpu}");
            let one = load(1).run(&inputs).unwrap();
            common::assert_agrees(&what, &one, &case, TOLERANCE);
            let two = load(2).run(&inputs).unwrap();
            common::assert_same_bits(&format!("{what}: two threads"), &one, &two);
        }
    }
}

macro_rules! graphs { ($($id:ident)*) => {
    $(#[test]
    fn $id() {
        agrees(stringify!($id));
    })*
} }
graphs! {
    mlp_b1 mlp_b64 resnet18 resnet50 mobilenet_v2 vit_tiny minilm bert_base gpt2 lstm ew_chain layernorm softmax reduce
    mm512 mm1024 mm2048 mmc1024 gemv4096
}
