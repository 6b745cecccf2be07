//! The code of the real models: right at every CPU level and without fusion, no trapping instruction
//! in its bytes, and no call to anything outside.

mod common;

use fornax::{Cpu, Error, Model, Optimizer, Options, Stage, dump};

/// Instructions that stop a program instead of computing.
const TRAPS: [&str; 5] = ["ud2", "int3", "hlt", "udf", "trap"];

#[test]
fn every_cpu_level_computes_the_same_and_calls_nothing() {
    for id in ["mtcnn_onet", "thai_attacut_sc", "magika_v3_3", "ppocr_cls_v2", "minilm_l6_int8w"] {
        let Some(entry) = common::model(id) else { continue };
        let case = &entry.cases[0];
        for cpu in ["baseline", "x86-64-v3", "x86-64-v4", "native"] {
            let options = Options::default().cpu(cpu.parse::<Cpu>().unwrap()).threads(1);
            let what = format!("{id} for {cpu}");
            let model = match Model::load_with(&entry.path, options) {
                // A level that this machine lacks is refused, and nothing else may be.
                Err(e @ Error::Compile(_)) if cpu != "baseline" && cpu != "native" => {
                    eprintln!("SKIPPED {what}: {e}");
                    continue;
                }
                other => other.unwrap(),
            };
            assert_eq!(model.stats().imports, Vec::<String>::new(), "{what}");
            let outputs = model.run(&common::borrowed(&case.inputs())).unwrap();
            common::assert_agrees(&what, &outputs, case, entry.tolerance);
        }
    }
}

#[test]
fn no_model_imports_or_traps() {
    for id in common::MODELS {
        let Some(entry) = common::model(id) else { continue };
        let options = Options::default().threads(1);
        assert_eq!(
            Model::load_with(&entry.path, options.clone()).unwrap().stats().imports,
            Vec::<String>::new()
        );
        let assembly = dump(&entry.path, Stage::Asm, &options).unwrap();
        assert!(assembly.lines().count() > 100, "{id}: the dump holds no code");
        for line in assembly.lines() {
            let opcode = line.split_whitespace().next().unwrap_or("");
            assert!(!TRAPS.contains(&opcode), "{id}: {line}");
        }
    }
}

#[test]
fn models_agree_without_fusion() {
    for id in ["mtcnn_pnet", "atspm_pair_tcn", "basic_pitch_nmp"] {
        let Some(entry) = common::model(id) else { continue };
        let model = Model::load_with(&entry.path, Options::default().optimizer(Optimizer::None)).unwrap();
        let case = &entry.cases[0];
        let outputs = model.run(&common::borrowed(&case.inputs())).unwrap();
        common::assert_agrees(&format!("{id}, unfused"), &outputs, case, entry.tolerance);
    }
}
