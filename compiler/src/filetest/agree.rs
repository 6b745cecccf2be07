//! Three ways to run a graph, which must agree: the graph interpreter, its program on the kernel
//! interpreter, and native code.

use super::stage::lower_merged;
use crate::canonicalize::{CanonicalizeOptions, canonicalize};
use crate::rewrite::differential;
use crate::{Lowered, Optimizer, Options, interp};
use fornax_codegen::{self as codegen, Cpu, Leaf, Target};
use fornax_ir::graph::interp::{Bindings, InterpError, bind, run};
use fornax_ir::graph::{Graph, ValueId};
use fornax_ir::{DType, Literal};
use fornax_runtime::abi::{FNX_DIMS, FNX_INDEX, FNX_SHAPE};
use fornax_runtime::{AlignedBuffer, InstanceOptions, RunError, ThreadPool};
use std::sync::Arc;

/// How far floats may lie apart, relative to the largest of the tensor.
const TOLERANCE: f64 = 1e-5;

/// What a graph does with its arguments, by unanimous vote.
pub(super) enum Verdict {
    /// A condition on extents does not hold: why.
    Refused(String),
    /// It runs.
    Results {
        /// The outputs, as the graph interpreter has them.
        outputs: Vec<Literal>,
        /// Where an index was out of range.
        index_error: Option<String>,
    },
}

/// What the graph interpreter says.
struct Reference {
    outputs: Vec<Literal>,
    index_error: Option<String>,
    refused: Option<String>,
}

/// Runs the graph on the graph interpreter, then planned by each optimizer (and with kernels merged, if there
/// are merges) on the kernel interpreter and as native code, for the weakest CPU and this one, on one thread and two.
///
/// # Errors
/// What could not run or which results differ, in words.
pub(super) fn agree(
    graph: &Graph,
    args: &[Literal],
    strict: bool,
    merges: &[(usize, usize)],
) -> Result<Verdict, String> {
    let shapes: Vec<_> = args.iter().map(|a| (a.shape(), a.dtype())).collect();
    let bound = bind(graph, &shapes).map_err(|e| e.to_string())?;
    let reference = match run(graph, args) {
        Ok(o) => Reference { outputs: o.outputs, index_error: o.index_error, refused: None },
        Err(e @ InterpError::Guard { .. }) => Reference {
            outputs: empty_outputs(graph, &bound)?,
            index_error: None,
            refused: Some(e.to_string()),
        },
        Err(e) => return Err(e.to_string()),
    };
    let canonical = CanonicalizeOptions { strict, ..Default::default() };
    let canonical = canonicalize(graph.clone(), &canonical).map_err(|e| e.to_string())?;
    if reference.refused.is_none() {
        differential::check(&canonical, args, strict).map_err(|e| format!("e-graph: {e}"))?;
    }
    let mut ways =
        vec![(Optimizer::None, &[][..]), (Optimizer::Greedy, &[][..]), (Optimizer::EGraph, &[][..])];
    if !merges.is_empty() {
        ways.push((Optimizer::Greedy, merges));
    }
    for (optimizer, merges) in ways {
        let options = Options { optimizer, strict, ..Options::default() };
        let plan = || lower_merged(graph.clone(), &options, merges).map_err(|e| e.to_string());
        let merged = if merges.is_empty() { "" } else { ", kernels merged" };
        let name = format!("optimizer {optimizer:?}{merged}").to_lowercase();
        let outcome = on_kernels(&plan()?, bound.values(), args);
        reference.compare(&format!("{name}, kernel interpreter"), outcome)?;
        for cpu in [Cpu::Baseline, Cpu::Native] {
            let target = Target::host(cpu).map_err(|e| e.to_string())?;
            let compiled = plan()?.compile(&target, Leaf::default().name(), &codegen::Options::default());
            let compiled = compiled.map_err(|e| e.to_string())?;
            for threads in [1, 2] {
                let outcome = native(&compiled, bound.values(), args, &reference.outputs, threads);
                reference.compare(&format!("{name}, native code ({cpu}) on {threads} threads"), outcome)?;
            }
        }
    }
    Ok(match reference.refused {
        Some(why) => Verdict::Refused(why),
        None => Verdict::Results { outputs: reference.outputs, index_error: reference.index_error },
    })
}

/// Outputs of the right sizes for a run that is refused; empty where an extent has no value.
fn empty_outputs(graph: &Graph, bound: &Bindings) -> Result<Vec<Literal>, String> {
    let zeros = |v: ValueId| {
        let ty = graph.ty(v);
        let extent = |d| bound.dim(d).ok().and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
        let shape: Vec<usize> = ty.shape.iter().map(extent).collect();
        Literal::zeros(ty.dtype, &shape).map_err(|e| e.to_string())
    };
    graph.outputs.iter().map(|o| zeros(o.value)).collect()
}

/// How a run ended.
enum Outcome {
    /// The outputs' bytes, and whether an index was out of range.
    Ran(Vec<Vec<u8>>, bool),
    /// A condition on extents does not hold.
    Refused,
    /// Anything else.
    Failed(String),
}

fn on_kernels(lowered: &Lowered, dims: &[i64], args: &[Literal]) -> Outcome {
    let weights = lowered.weight_bytes();
    let inputs: Vec<Vec<u8>> = args.iter().map(|a| a.bytes().to_vec()).collect();
    match interp::run(&lowered.program, dims, &inputs, &weights) {
        Ok((outputs, raised)) => Outcome::Ran(outputs, raised.is_some()),
        Err(why)
            if lowered.program.guards.iter().any(|g| lowered.program.messages[g.message as usize] == why) =>
        {
            Outcome::Refused
        }
        Err(why) => Outcome::Failed(why),
    }
}

fn native(
    compiled: &crate::Compiled,
    dims: &[i64],
    args: &[Literal],
    like: &[Literal],
    threads: usize,
) -> Outcome {
    let attempt = || -> Result<_, String> {
        let options = InstanceOptions {
            pool: Arc::new(ThreadPool::new(threads).map_err(|e| e.to_string())?),
            weights: Some(compiled.weights.clone()),
            memory_limit: None,
            byte_lengths: None,
        };
        let instance = compiled.code.instance(options).map_err(|e| e.to_string())?;
        let copied = args.iter().map(|a| AlignedBuffer::copy_of(a.bytes()));
        let inputs: Vec<_> = copied.collect::<Result<_, _>>().map_err(|e| e.to_string())?;
        let inputs: Vec<&[u8]> = inputs.iter().map(AlignedBuffer::as_slice).collect();
        let zeroed = like.iter().map(|o| AlignedBuffer::zeroed(o.bytes().len()));
        let mut outputs: Vec<_> = zeroed.collect::<Result<_, _>>().map_err(|e| e.to_string())?;
        let mut slices: Vec<&mut [u8]> = outputs.iter_mut().map(AlignedBuffer::as_mut_slice).collect();
        let result = instance.run(dims, &inputs, &mut slices);
        Ok((result, outputs.iter().map(|o| o.as_slice().to_vec()).collect()))
    };
    match attempt() {
        Ok((Ok(()), outputs)) => Outcome::Ran(outputs, false),
        Ok((Err(RunError::Program { code: FNX_INDEX, .. }), outputs)) => Outcome::Ran(outputs, true),
        Ok((Err(RunError::Program { code: FNX_SHAPE | FNX_DIMS, .. }), _)) => Outcome::Refused,
        Ok((Err(e), _)) => Outcome::Failed(e.to_string()),
        Err(e) => Outcome::Failed(e),
    }
}

impl Reference {
    fn compare(&self, who: &str, outcome: Outcome) -> Result<(), String> {
        let (outputs, raised) = match (outcome, &self.refused) {
            (Outcome::Failed(why), _) => return Err(format!("{who}: {why}")),
            (Outcome::Refused, Some(_)) => return Ok(()),
            (Outcome::Refused, None) => {
                return Err(format!("{who}: refused, but the graph interpreter runs it"));
            }
            (Outcome::Ran(..), Some(why)) => {
                return Err(format!("{who}: it runs, but the graph interpreter refuses: {why}"));
            }
            (Outcome::Ran(outputs, raised), None) => (outputs, raised),
        };
        if raised != self.index_error.is_some() {
            let says = |b| if b { "an index out of range" } else { "none" };
            let (has, want) = (says(raised), says(self.index_error.is_some()));
            return Err(format!("{who}: it reports {has}, the graph interpreter {want}"));
        }
        for (k, (bytes, want)) in outputs.into_iter().zip(&self.outputs).enumerate() {
            let got = Literal::from_bytes(want.dtype(), want.shape(), bytes.into());
            let got = got.map_err(|e| format!("{who}, output {k}: {e}"))?;
            if let Some(i) = first_difference(&got, want) {
                let (got, want) = (got.get_f64(i), want.get_f64(i));
                return Err(format!(
                    "{who}, output {k}, element {i}: {got:?}, the graph interpreter has {want:?}"
                ));
            }
        }
        Ok(())
    }
}

/// The first element that differs: floats by more than the tolerance (or their dtype's own, if that is
/// coarser), or as NaN, infinity or zero of the other sign; all else at all.
fn first_difference(got: &Literal, want: &Literal) -> Option<usize> {
    let unit = match want.dtype() {
        DType::F16 => 2f64.powi(-10),
        DType::BF16 => 2f64.powi(-7),
        _ => 0.0,
    };
    let finite = (0..want.len()).map(|i| want.get_f64(i).abs()).filter(|v| v.is_finite());
    let tolerance = TOLERANCE.max(unit) * finite.fold(0.0, f64::max);
    (0..want.len()).find(|&i| {
        if !want.dtype().is_float() {
            return got.get_i64(i) != want.get_i64(i);
        }
        let (x, y) = (got.get_f64(i), want.get_f64(i));
        let same = match (x == y, x == 0.0) {
            (true, true) => x.is_sign_negative() == y.is_sign_negative(),
            (true, false) => true,
            _ => (x.is_nan() && y.is_nan()) || (x.is_finite() && (x - y).abs() <= tolerance),
        };
        !same
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn f32s(values: &[f32]) -> Literal {
        Literal::from_vec(&[values.len()], values.to_vec()).unwrap()
    }

    #[test]
    fn floats_differ_beyond_the_tolerance_and_in_what_they_are() {
        let differs = |a: &[f32], b: &[f32]| first_difference(&f32s(a), &f32s(b));
        assert_eq!(differs(&[100.0, 1.0001], &[100.0, 1.0]), None);
        assert_eq!(differs(&[100.0, 1.01], &[100.0, 1.0]), Some(1));
        assert_eq!(differs(&[f32::NAN, f32::INFINITY], &[f32::NAN, f32::INFINITY]), None);
        assert_eq!(differs(&[1.0, 2.0], &[1.0, f32::NAN]), Some(1));
        assert_eq!(differs(&[f32::NAN], &[0.0]), Some(0));
        assert_eq!(differs(&[f32::NEG_INFINITY], &[f32::INFINITY]), Some(0));
        assert_eq!(differs(&[f32::MAX], &[f32::INFINITY]), Some(0));
        // An infinity does not make everything else equal.
        assert_eq!(differs(&[f32::INFINITY, 2.0], &[f32::INFINITY, 1.0]), Some(1));
        assert_eq!(differs(&[0.0], &[-0.0]), Some(0));
    }

    #[test]
    fn integers_differ_exactly() {
        let of = |v: i64| Literal::from_vec(&[1], vec![v]).unwrap();
        assert_eq!(first_difference(&of(i64::MAX), &of(i64::MAX - 1)), Some(0));
        assert_eq!(first_difference(&of(7), &of(7)), None);
    }

    #[test]
    fn every_way_to_disagree_is_named() {
        let ran = |v: f32, raised| Outcome::Ran(vec![f32s(&[v]).bytes().to_vec()], raised);
        let runs = |index_error: Option<&str>, refused: Option<&str>| Reference {
            outputs: vec![f32s(&[1.0])],
            index_error: index_error.map(str::to_owned),
            refused: refused.map(str::to_owned),
        };
        let says = |reference: &Reference, outcome| reference.compare("code", outcome).unwrap_err();
        assert_eq!(runs(None, None).compare("code", ran(1.0, false)), Ok(()));
        assert_eq!(runs(None, Some("why")).compare("code", Outcome::Refused), Ok(()));
        assert!(says(&runs(None, None), ran(2.0, false)).contains("output 0, element 0: 2.0"));
        assert!(says(&runs(None, None), ran(1.0, true)).contains("it reports an index out of range"));
        assert!(says(&runs(Some("here"), None), ran(1.0, false)).contains("it reports none"));
        assert!(says(&runs(None, None), Outcome::Refused).contains("refused"));
        assert!(says(&runs(None, Some("why")), ran(1.0, false)).contains("refuses: why"));
        assert!(says(&runs(None, Some("why")), Outcome::Failed("broken".into())).contains("broken"));
    }
}
