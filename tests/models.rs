//! Real models: every case within the model's tolerance of its reference, by the interpreter and by native code on one
//! thread and on two, with the same bits from run to run and for either number of threads.

mod common;

use fornax::{Backend, Model, Options};

fn interpreted(id: &str) {
    let Some(entry) = common::model(id) else { return };
    let model = Model::load_with(&entry.path, Options::default().backend(Backend::Interp)).unwrap();
    for (i, case) in entry.cases.iter().enumerate() {
        let outputs = model.run(&common::borrowed(&case.inputs())).unwrap();
        common::assert_agrees(&format!("{id}, case {i}, interpreted"), &outputs, case, entry.tolerance);
    }
}

fn compiled(id: &str) {
    let Some(entry) = common::model(id) else { return };
    let load = |threads| Model::load_with(&entry.path, Options::default().threads(threads)).unwrap();
    let (one, two) = (load(1), load(2));
    for (i, case) in entry.cases.iter().enumerate() {
        let inputs = case.inputs();
        let inputs = common::borrowed(&inputs);
        let what = format!("{id}, case {i}");
        let first = one.run(&inputs).unwrap();
        common::assert_agrees(&what, &first, case, entry.tolerance);
        common::assert_same_bits(&format!("{what}: one thread, again"), &first, &one.run(&inputs).unwrap());
        common::assert_same_bits(&format!("{what}: two threads"), &first, &two.run(&inputs).unwrap());
        common::assert_same_bits(&format!("{what}: two threads, again"), &first, &two.run(&inputs).unwrap());
    }
}

macro_rules! models { ($($id:ident)*) => {
    $(mod $id {
        #[test]
        fn interpreted() {
            super::interpreted(stringify!($id));
        }
        #[test]
        fn compiled() {
            super::compiled(stringify!($id));
        }
    })*
    const TESTED: &[&str] = &[$(stringify!($id)),*];
} }
models! {
    magika_v3_3 ppocr_cls_v2 ppocr_v4_det mtcnn_pnet mtcnn_rnet mtcnn_onet dnsmos_sig_bak_ovr basic_pitch_nmp
    thai_attacut_sc atspm_pair_tcn minilm_l6_int8w silero_vad_16k_sequence
}

#[test]
fn every_model_has_its_tests() {
    assert_eq!(common::MODELS.iter().find(|id| !TESTED.contains(id)), None);
}
