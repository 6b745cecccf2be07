//! A tour: a transformer and a convolutional network are written as eager code, stepped through, traced, optimised,
//! compiled, compared with the interpreter, timed, saved and loaded.
//!
//! `cargo run --release --example tour`; it fails where a result differs from what it should be.

mod cnn;
mod random;
mod table;
mod transformer;

use std::error::Error;
use std::io::Write;
use std::process::ExitCode;

use fornax::{Backend, Compiled, DType, Dim, Model, Options, Tensor, Tolerance, Traced, compare, jit, trace};

use cnn::Cnn;
use random::Random;
use table::{Row, table};
use transformer::Transformer;

/// How far native code may be from the interpreter, relative to the largest element: sums are in another order.
pub const TOLERANCE: Tolerance = Tolerance::Relative(1e-4);

/// How large the tour is.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Examples in a batch of the measured runs.
    pub batch: usize,
    /// Measured runs of each program.
    pub runs: usize,
}

fn main() -> ExitCode {
    let settings = Settings { batch: 4, runs: 40 };
    match tour(&mut std::io::stdout().lock(), settings) {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tour: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Both models through all stages; gives the rows of their tables.
pub fn tour(out: &mut dyn Write, settings: Settings) -> Result<[Vec<Row>; 2], Box<dyn Error>> {
    let mut random = Random::seeded(7);

    writeln!(out, "A transformer")?;
    let model = Transformer::new(&mut random);
    let tokens = random.integers(transformer::VOCABULARY, &[settings.batch, transformer::LENGTH]);
    model.step_through(&tokens, out)?;
    let spec = Tensor::spec(DType::I64, [batch(), transformer::LENGTH.into()]);
    let traced = trace(|tokens: Tensor| model.forward(&tokens), spec)?;
    let transformer = stages(out, &traced, &|x| model.forward(x), &tokens, settings)?;

    writeln!(out, "\nA convolutional network")?;
    let model = Cnn::new(&mut random);
    let images = random.normal(1.0, &[settings.batch, 3, cnn::SIDE, cnn::SIDE]);
    model.step_through(&images, out)?;
    let spec = Tensor::spec(DType::F32, [batch(), 3.into(), cnn::SIDE.into(), cnn::SIDE.into()]);
    let traced = trace(|images: Tensor| model.forward(&images), spec)?;
    let cnn = stages(out, &traced, &|x| model.forward(x), &images, settings)?;

    writeln!(out, "\nWhy a function was compiled again")?;
    explain(out, &model, &mut random)?;
    Ok([transformer, cnn])
}

/// The extent that stays open when the models are compiled.
fn batch() -> Dim {
    Dim::symbol("batch", 1..=64)
}

/// What a traced model becomes: its table, other sizes, a file.
fn stages(
    out: &mut dyn Write,
    traced: &Traced<Tensor>,
    forward: &dyn Fn(&Tensor) -> Tensor,
    input: &Tensor,
    settings: Settings,
) -> Result<Vec<Row>, Box<dyn Error>> {
    let graph = traced.graph();
    let (operators, constants) = (traced.operators(), graph.consts.len());
    writeln!(
        out,
        "traced once, for any batch: {} values, {operators} operators, {constants} constants",
        graph.values().count()
    )?;
    let interpreter = Options::default().backend(Backend::Interp);
    let interpreter = traced.lower(&interpreter)?.compile(&interpreter)?;
    let (rows, compiled) = table(out, traced, &interpreter, forward, input, settings)?;
    sizes(out, &compiled, &interpreter, input)?;
    saved(out, traced, &compiled, input)?;
    Ok(rows)
}

/// One compilation serves every batch.
fn sizes(
    out: &mut dyn Write,
    compiled: &Compiled<Tensor>,
    interpreter: &Compiled<Tensor>,
    input: &Tensor,
) -> Result<(), Box<dyn Error>> {
    let one = input.i(..1);
    for x in [input, &one] {
        let result = compiled.call(x)?;
        let difference = agreement("another batch", &result, &interpreter.call(x)?)?;
        let (from, to) = (type_of(x), type_of(&result));
        writeln!(out, "same code: {from} -> {to}, {difference:.1e} from the interpreter")?;
    }
    Ok(())
}

/// The graph as a file is the same model, to the bit.
fn saved(
    out: &mut dyn Write,
    traced: &Traced<Tensor>,
    compiled: &Compiled<Tensor>,
    input: &Tensor,
) -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("model.fnxb");
    traced.save(&path)?;
    let model = Model::load(&path)?;
    let name = &model.inputs()[0].name;
    let outputs = model.run(&[(name, input)])?;
    if outputs[0].bytes() != compiled.call(input)?.bytes() {
        return Err("the saved model gives other bits than the traced one".into());
    }
    let size = table::size(std::fs::metadata(&path)?.len());
    writeln!(
        out,
        "saved as .fnxb ({size}), loaded and compiled again: {}, the same bits",
        model.inputs()[0]
    )?;
    Ok(())
}

/// Sizes that no spec leaves open are compiled each for itself, and the reason is told; other weights are the same types.
fn explain(out: &mut dyn Write, model: &Cnn, random: &mut Random) -> Result<(), Box<dyn Error>> {
    let classifier = &model.classifier;
    let other = Cnn::new(random).classifier;
    let f = jit(|(layer, x): (cnn::Linear, Tensor)| layer.forward(&x).softmax(-1));
    for (layer, rows) in [(classifier, 2), (&other, 2), (classifier, 3)] {
        let x = random.normal(1.0, &[rows, cnn::FEATURES]);
        let result = f.try_call((layer, &x))?;
        agreement("the classifier", &result, &layer.forward(&x).softmax(-1))?;
    }
    let explanation = f.explain();
    if explanation.count != 2 {
        return Err(format!("two types of calls were compiled {} times", explanation.count).into());
    }
    write!(out, "{explanation}")?;
    Ok(())
}

/// The largest difference of two tensors, if they agree.
pub fn agreement(what: &str, actual: &Tensor, expected: &Tensor) -> Result<f64, Box<dyn Error>> {
    let comparison = compare(actual, expected, TOLERANCE);
    match comparison.failure {
        None => Ok(comparison.max_abs_error),
        Some(failure) => Err(format!("{what}: {failure}").into()),
    }
}

/// `f32[2, 3]`
pub fn type_of(x: &Tensor) -> String {
    format!("{}{:?}", x.dtype(), x.shape())
}

/// Prints a tensor's type and its first elements.
pub fn look(out: &mut dyn Write, name: &str, x: &Tensor) -> std::io::Result<()> {
    let first = x.reshape([x.numel()]).i(..4.min(x.numel()));
    writeln!(out, "  {name:<12} {:<22} {first}", type_of(x))
}
