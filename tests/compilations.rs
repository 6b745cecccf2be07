//! One compilation serves every size of a model's symbolic dims.

mod common;

use fornax::{Model, Options};

/// Runs every case of a model, which differ in shape, on one `Model`.
fn one_compilation(id: &str) {
    let Some(entry) = common::model(id) else { return };
    assert!(entry.cases.len() > 1, "{id} has one case only");
    let shapes =
        |case: &common::Case| case.inputs().iter().map(|(_, t)| t.shape().to_vec()).collect::<Vec<_>>();
    assert_ne!(shapes(&entry.cases[0]), shapes(&entry.cases[1]), "the cases of {id} don't differ in shape");
    let model = Model::load_with(&entry.path, Options::default().threads(2)).unwrap();
    for case in &entry.cases {
        let inputs = case.inputs();
        let outputs = model.run(&common::borrowed(&inputs)).unwrap();
        common::assert_agrees(id, &outputs, case, entry.tolerance);
    }
    assert_eq!(model.compilations(), 1);
}

#[test]
fn both_sizes_of_magika_run_on_one_compilation() {
    one_compilation("magika_v3_3");
}

#[test]
fn both_sizes_of_mtcnn_pnet_run_on_one_compilation() {
    one_compilation("mtcnn_pnet");
}
