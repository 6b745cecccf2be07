//! What the tests of whole programs share: arguments, and runs that are compared with the graph interpreter.

use fornax_compiler::canonicalize::{CanonicalizeOptions, canonicalize};
use fornax_compiler::codegen::{self, Cpu, Leaf, Target};
use fornax_compiler::renumber::renumber;
use fornax_compiler::rewrite::differential;
use fornax_compiler::{Lowered, interp};
use fornax_ir::graph::{self, Graph, TensorType};
use fornax_ir::{DType, Dim, Literal};
use fornax_runtime::{AlignedBuffer, InstanceOptions, ThreadPool};
use std::collections::BTreeSet;
use std::sync::Arc;

pub fn dims(s: &[&str]) -> Vec<Dim> {
    s.iter().map(|d| d.parse().unwrap()).collect()
}
pub fn f32s(s: &[&str]) -> TensorType {
    TensorType::new(DType::F32, dims(s))
}
/// Numbers in -2..2 that look random.
pub fn noise(shape: &[usize], seed: u32) -> Literal {
    let mut state = seed.wrapping_mul(2654435761).wrapping_add(12345);
    let mut next = || {
        state = state.wrapping_mul(1664525).wrapping_add(1013904223);
        (state >> 8) as f32 / (1 << 22) as f32 - 2.0
    };
    let n = shape.iter().product();
    Literal::from_vec(shape, (0..n).map(|_| next()).collect::<Vec<f32>>()).unwrap()
}

fn close(a: &Literal, b: &Literal) -> bool {
    let peak = (0..b.len()).map(|i| b.get_f64(i).abs()).fold(0.0, f64::max);
    a.shape() == b.shape()
        && (0..a.len()).all(|i| {
            let (x, y) = (a.get_f64(i), b.get_f64(i));
            x == y || (x.is_nan() && y.is_nan()) || (x - y).abs() <= 1e-5 * peak.max(1e-3)
        })
}

/// Compares every node of the graph's e-graph with its class, and the graphs of spellings that nobody would choose.
pub fn on_e_nodes(name: &str, g: &Graph, args: &[Literal]) {
    for strict in [false, true] {
        let options = CanonicalizeOptions { strict, ..Default::default() };
        let canonical = canonicalize(renumber(g), &options).unwrap_or_else(|e| panic!("{name}: {e}"));
        differential::check(&canonical, args, strict).unwrap_or_else(|e| panic!("{name}, e-graph: {e}"));
        differential::check_chaos(&canonical, args, strict, 4)
            .unwrap_or_else(|e| panic!("{name}, chaos: {e}"));
    }
}

/// Runs a program on the kernel interpreter, and compares.
pub fn on_kernels(
    name: &str,
    lowered: &Lowered,
    dims: &[i64],
    args: &[Literal],
    want: &graph::interp::Outcome,
) {
    let weights = lowered.weight_bytes();
    let inputs: Vec<Vec<u8>> = args.iter().map(|a| a.bytes().to_vec()).collect();
    let (outputs, raised) =
        interp::run(&lowered.program, dims, &inputs, &weights).unwrap_or_else(|e| panic!("{name}: {e}"));
    assert_eq!(raised.is_some(), want.index_error.is_some(), "{name}: {raised:?}");
    for (bytes, want) in outputs.into_iter().zip(&want.outputs) {
        let got = Literal::from_bytes(want.dtype(), want.shape(), bytes.into()).unwrap();
        let listing = lowered.plan.listing(&lowered.graph);
        assert!(close(&got, want), "{name}:\n{got:?}\n{want:?}\n{listing}");
    }
}

/// Compiles for the native CPU with portable leaves, runs on one to four threads, and compares.
pub fn native(name: &str, lowered: Lowered, dims: &[i64], args: &[Literal], want: &graph::interp::Outcome) {
    native_for(name, lowered, (&Target::host(Cpu::Native).unwrap(), Leaf::Clif), dims, args, want);
}

/// As [`native`], for a target and with a leaf emitter.
pub fn native_for(
    name: &str,
    lowered: Lowered,
    (target, leaf): (&Target, Leaf),
    dims: &[i64],
    args: &[Literal],
    want: &graph::interp::Outcome,
) {
    let library = lowered.program.kernels.iter().filter_map(|k| Some(k.library?.symbol(k)));
    let imports: BTreeSet<String> = library.collect();
    let compiled = lowered
        .compile(target, leaf.name(), &codegen::Options::default())
        .unwrap_or_else(|e| panic!("{name}: {e}"));
    assert!(
        compiled.code.external_symbols.iter().eq(&imports),
        "{name}: {:?}",
        compiled.code.external_symbols
    );
    let mut first: Option<Vec<Vec<u8>>> = None;
    for threads in 1..=4 {
        let pool = Arc::new(ThreadPool::new(threads).unwrap());
        let options = InstanceOptions {
            pool,
            weights: Some(compiled.weights.clone()),
            memory_limit: None,
            byte_lengths: None,
        };
        let instance = compiled.code.instance(options).unwrap();
        let inputs: Vec<AlignedBuffer> =
            args.iter().map(|a| AlignedBuffer::copy_of(a.bytes()).unwrap()).collect();
        let inputs: Vec<&[u8]> = inputs.iter().map(|a| a.as_slice()).collect();
        let mut outputs: Vec<AlignedBuffer> =
            want.outputs.iter().map(|o| AlignedBuffer::zeroed(o.bytes().len()).unwrap()).collect();
        let mut slices: Vec<&mut [u8]> = outputs.iter_mut().map(|o| o.as_mut_slice()).collect();
        let result = instance.run(dims, &inputs, &mut slices);
        assert_eq!(result.is_err(), want.index_error.is_some(), "{name}: {result:?}");
        let bytes: Vec<Vec<u8>> = outputs.iter().map(|o| o.as_slice().to_vec()).collect();
        for (bytes, want) in bytes.iter().zip(&want.outputs) {
            let got = Literal::from_bytes(want.dtype(), want.shape(), bytes.clone().into()).unwrap();
            assert!(
                close(&got, want),
                "{name}, native on {threads}:\n{got:?}\n{want:?}\n{}",
                compiled.program
            );
        }
        assert_eq!(*first.get_or_insert(bytes.clone()), bytes, "{name}: other bits on {threads} threads");
    }
}
