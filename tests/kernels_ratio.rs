//! Fusion on real models: over all of them, kernels are at most 0.6 of operators.
#![allow(clippy::print_stdout, reason = "`--nocapture` shows the numbers of each model")]

mod common;

use fornax::{Model, Optimizer, Options};

#[test]
fn kernels_are_at_most_six_tenths_of_operators() {
    let (mut operators, mut kernels, mut unfused) = (0, 0, 0);
    for id in common::MODELS {
        let Some(entry) = common::model(id) else { return };
        let model = Model::load(&entry.path).unwrap();
        let stats = model.stats();
        let baseline = Model::load_with(&entry.path, Options::default().optimizer(Optimizer::None)).unwrap();
        assert!(stats.kernels <= baseline.stats().kernels, "{id}: fusion adds kernels");
        println!(
            "{id}: {} operators, {} kernels, {} unfused",
            stats.operators,
            stats.kernels,
            baseline.stats().kernels
        );
        operators += stats.operators;
        kernels += stats.kernels;
        unfused += baseline.stats().kernels;
    }
    println!("all: {operators} operators, {kernels} kernels, {unfused} unfused");
    assert!(kernels * 10 <= operators * 6, "{kernels} kernels for {operators} operators");
}
