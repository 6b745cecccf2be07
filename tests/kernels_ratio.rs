//! Fusion on real models: how many kernels are left of their operators, and how many bytes of those that unfused
//! kernels move. Code is generated for none of it. Convolutions are counted as one kernel each: tiles that save
//! multiplications take more kernels and bytes, which is no matter of fusion.

mod common;

use std::sync::LazyLock;

use fornax_compiler::layout::WINOGRAD;
use fornax_compiler::rewrite::rules::LOAD;
use fornax_compiler::{Lowered, Optimizer, Options, lower};
use fornax_ir::graph::Graph;
use fornax_ir::graph::interp::{Bindings, bind};

/// One way to plan a model.
struct Planned {
    kernels: usize,
    bytes: i64,
}

/// A model, planned in several ways.
struct Measured {
    id: &'static str,
    operators: usize,
    fused: Planned,
    unfused: Planned,
    graph: Graph,
    sizes: Bindings,
}

fn planned(graph: &Graph, sizes: &Bindings, options: Options) -> Planned {
    let Lowered { program, .. } = lower(graph.clone(), &options).unwrap();
    let bytes = program.calls.iter().map(|call| sizes.dim(&call.bytes).unwrap()).sum();
    Planned { kernels: program.calls.len(), bytes }
}

fn measured(id: &'static str) -> Option<Measured> {
    let entry = common::model(id)?;
    let operators = fornax::verify(&entry.path).unwrap().operators;
    let graph = fornax::graph_of(&entry.path, &fornax::Options::default()).unwrap();
    let inputs = entry.cases[0].inputs();
    let of = |name: &str| &inputs.iter().find(|(n, _)| n == name).expect("the case has every input").1;
    let shapes: Vec<_> = graph.inputs.iter().map(|i| (of(&i.name).shape(), of(&i.name).dtype())).collect();
    let sizes = bind(&graph, &shapes).unwrap();
    Some(Measured {
        id,
        operators,
        fused: planned(&graph, &sizes, Options { without: &[WINOGRAD], ..Options::default() }),
        unfused: planned(&graph, &sizes, Options { optimizer: Optimizer::None, ..Options::default() }),
        graph,
        sizes,
    })
}

/// The models whose files are there.
static MODELS: LazyLock<Vec<Measured>> = LazyLock::new(|| {
    let found: Vec<Measured> = common::MODELS.into_iter().filter_map(measured).collect();
    for m in &found {
        let Measured { id, operators, fused, unfused, .. } = m;
        eprintln!(
            "{id}: {operators} operators; kernels {}, unfused {}; bytes {:.3} of unfused",
            fused.kernels,
            unfused.kernels,
            fused.bytes as f64 / unfused.bytes as f64
        );
    }
    found
});

/// The sum over all models.
fn total(of: impl Fn(&Measured) -> f64) -> f64 {
    MODELS.iter().map(of).sum()
}

#[test]
fn over_all_models_kernels_are_at_most_half_of_the_operators() {
    let (kernels, operators) = (total(|m| m.fused.kernels as f64), total(|m| m.operators as f64));
    assert!(kernels <= 0.5 * operators, "{kernels} kernels for {operators} operators");
}

#[test]
fn no_model_of_some_size_is_left_with_most_of_its_operators() {
    for Measured { id, operators, fused: Planned { kernels, .. }, .. } in MODELS.iter() {
        assert!(
            *operators < 20 || kernels * 4 <= operators * 3,
            "{id}: {kernels} kernels, {operators} operators"
        );
    }
}

#[test]
fn over_all_models_fused_kernels_move_at_most_half_of_the_bytes() {
    let (fused, unfused) = (total(|m| m.fused.bytes as f64), total(|m| m.unfused.bytes as f64));
    assert!(fused <= 0.5 * unfused, "{fused} bytes of {unfused}");
}

#[test]
fn fusion_adds_kernels_or_bytes_to_no_model() {
    for Measured { id, fused, unfused, .. } in MODELS.iter() {
        assert!(fused.kernels <= unfused.kernels, "{id}: {} of {} kernels", fused.kernels, unfused.kernels);
        assert!(fused.bytes <= unfused.bytes, "{id}: {} of {} bytes", fused.bytes, unfused.bytes);
    }
}

/// Without the rule that lets a kernel compute what it would load.
#[test]
fn without_its_rule_there_is_no_fusion() {
    for Measured { id, fused, graph, sizes, .. } in MODELS.iter() {
        let loading = planned(graph, sizes, Options { without: &[LOAD, WINOGRAD], ..Options::default() });
        eprintln!("{id}: {} kernels, loading everything {}", fused.kernels, loading.kernels);
        assert!(
            loading.kernels > fused.kernels,
            "{id}: {} kernels, {} without",
            fused.kernels,
            loading.kernels
        );
    }
}
