//! A graph in the form that runs: native code, or the graph itself for the interpreter.

use std::sync::Arc;
use std::time::Duration;

use fornax_compiler::codegen::program::{Call, Program, TensorSpec};
use fornax_compiler::codegen::{self, Target};
use fornax_compiler::schedule::operations;
use fornax_compiler::{Lowered, Machine, lower};
use fornax_ir::Dim;
use fornax_ir::dim::DimError;
use fornax_ir::graph::Graph;
use fornax_ir::graph::interp::{self, Bindings};
use fornax_ir::literal::byte_count;
use fornax_runtime::abi::{FNX_INDEX, FNX_SHAPE};
use fornax_runtime::{CallTime, CancelToken, Instance, InstanceOptions, RunError, Shelf, ThreadPool};

use crate::error::{Error, InputError};
use crate::options::{Backend, Float, Options};
use crate::tensor::{Array, Shape, Storage, Tensor};

/// How long a kernel took in one run.
#[derive(Clone, PartialEq, Debug)]
pub struct KernelTime {
    /// Which operators it computes, and where they come from.
    pub label: String,
    /// Its time, forking and joining included, over all of its calls.
    pub time: Duration,
    /// How often it was called: once for each iteration of a loop, never in a branch not taken.
    pub calls: u64,
    /// Bytes that one call reads and writes.
    pub bytes: u64,
    /// Arithmetic operations of one call on elements; a multiplication and an addition are two, and a function such as `exp` counts
    /// as the instructions that it is expanded into.
    pub operations: u64,
    /// What one call was expected to take on one thread; from that the program decides how many it takes.
    pub expected: Duration,
}

/// What runs.
pub(crate) enum Executable {
    /// Native code.
    Native(Box<Native>),
    /// The graph as imported.
    Interp(Box<Graph>),
}

/// A program in native code with its weights and threads.
pub(crate) struct Native {
    instance: Instance,
    program: Facts,
    messages: Vec<String>,
    /// Memory of outputs, from run to run.
    shelf: Arc<Shelf>,
}

/// What is kept of a program once its code is made.
struct Facts {
    symbols: Vec<String>,
    outputs: Vec<TensorSpec>,
    calls: Vec<CallFacts>,
}

/// What is known of a call of a kernel.
struct CallFacts {
    label: String,
    bytes: Dim,
    operations: Dim,
    /// Expected nanoseconds on one thread.
    work: Dim,
}

/// What compiling took and gave.
pub(crate) struct Built {
    pub(crate) executable: Executable,
    pub(crate) optimize_time: Duration,
    pub(crate) codegen_time: Duration,
    pub(crate) kernels: usize,
    pub(crate) e_nodes: usize,
    pub(crate) weights_bytes: u64,
    pub(crate) isa: String,
    pub(crate) imports: Vec<String>,
}

/// Makes a graph runnable.
pub(crate) fn build(graph: Graph, options: &Options, pool: &Arc<ThreadPool>) -> Result<Built, Error> {
    if options.backend == Backend::Interp {
        return Ok(Built {
            executable: Executable::Interp(Box::new(graph)),
            optimize_time: Duration::ZERO,
            codegen_time: Duration::ZERO,
            kernels: 0,
            e_nodes: 0,
            weights_bytes: 0,
            isa: "interpreter".into(),
            imports: vec![],
        });
    }
    compile(lowered(graph, options)?, options, pool)
}

/// Makes native code of a program.
pub(crate) fn compile(lowered: Lowered, options: &Options, pool: &Arc<ThreadPool>) -> Result<Built, Error> {
    let target = Target::host(options.cpu).map_err(compile_error)?;
    let weights_bytes = lowered.program.weights.bytes;
    if let Some(limit) = options.memory_limit.filter(|&limit| weights_bytes > limit as u64) {
        return Err(Error::MemoryLimit { what: "the model's weights", needed: weights_bytes, limit });
    }
    let optimize_time = lowered.optimize_time;
    let e_nodes = lowered.report.nodes;
    let compiled = lowered.compile(&target, options.leaf.name(), &codegen::Options::default())?;
    let instance = compiled.code.instance(InstanceOptions {
        pool: pool.clone(),
        weights: Some(compiled.weights.clone()),
        memory_limit: options.memory_limit,
        byte_lengths: None,
    });
    let native = Native {
        instance: instance.map_err(compile_error)?,
        messages: compiled.code.messages.clone(),
        program: Facts::of(&compiled.program),
        shelf: Arc::default(),
    };
    Ok(Built {
        kernels: native.program.calls.len(),
        e_nodes,
        executable: Executable::Native(Box::new(native)),
        optimize_time,
        codegen_time: compiled.codegen_time,
        weights_bytes,
        isa: target.id(options.leaf),
        imports: compiled.code.external_symbols,
    })
}

/// The graph's program, before code is made of it.
pub(crate) fn lowered(graph: Graph, options: &Options) -> Result<Lowered, Error> {
    let target = Target::host(options.cpu).map_err(compile_error)?;
    let machine = Machine::of(&target, options.leaf);
    let strict = options.float == Float::Strict;
    let options =
        fornax_compiler::Options { optimizer: options.optimizer, machine, strict, ..Default::default() };
    Ok(lower(graph, &options)?)
}

pub(crate) fn compile_error(error: codegen::Error) -> Error {
    Error::Compile(error.into())
}

impl Facts {
    fn of(program: &Program) -> Self {
        Facts {
            symbols: program.symbols.iter().map(|s| s.name.clone()).collect(),
            outputs: program.outputs.clone(),
            calls: program.calls.iter().map(|c| CallFacts::of(program, c)).collect(),
        }
    }
}

impl CallFacts {
    fn of(program: &Program, call: &Call) -> Self {
        CallFacts {
            label: call.label.clone(),
            bytes: call.bytes.clone(),
            operations: operations(&program.kernels[call.kernel], &call.scalars),
            work: call.work.clone(),
        }
    }
}

impl Executable {
    /// Runs on inputs in the graph's order, whose types were checked and gave `bindings`.
    pub(crate) fn run(
        &self,
        inputs: &[&Tensor],
        bindings: &Bindings,
        cancel: Option<&CancelToken>,
    ) -> Result<Vec<Tensor>, Error> {
        match self {
            Executable::Native(native) => native.run(inputs, bindings, cancel),
            Executable::Interp(graph) => interpret(graph, inputs, cancel),
        }
    }

    /// Runs, and tells how long each kernel took; the interpreter has none.
    pub(crate) fn profile(
        &self,
        inputs: &[&Tensor],
        bindings: &Bindings,
    ) -> Result<(Vec<Tensor>, Vec<KernelTime>), Error> {
        match self {
            Executable::Native(native) => native.profile(inputs, bindings),
            Executable::Interp(graph) => Ok((interpret(graph, inputs, None)?, Vec::new())),
        }
    }

    /// Bytes that the kernels of a run read and write.
    pub(crate) fn bytes_moved(&self, bindings: &Bindings) -> Result<u64, Error> {
        let Executable::Native(native) = self else { return Ok(0) };
        native
            .program
            .calls
            .iter()
            .try_fold(0u64, |sum, call| Ok(sum.saturating_add(size(&call.bytes, bindings)?)))
    }

    /// Bytes of working memory that a run takes.
    pub(crate) fn arena_bytes(&self, bindings: &Bindings) -> Result<u64, Error> {
        let Executable::Native(native) = self else { return Ok(0) };
        let dims = native.dims(bindings)?;
        Ok(native.instance.scratch_bytes(&dims).map_err(|e| native.error(e))? as u64)
    }
}

fn size(bytes: &Dim, bindings: &Bindings) -> Result<u64, Error> {
    let value = bindings.dim(bytes).map_err(|e| dim_error(bytes, &e))?;
    Ok(u64::try_from(value).unwrap_or(0))
}

fn dim_error(dim: &Dim, error: &DimError) -> Error {
    Error::Shape(format!("the extent {dim} has no value for these inputs: {error}"))
}

fn interpret(graph: &Graph, inputs: &[&Tensor], cancel: Option<&CancelToken>) -> Result<Vec<Tensor>, Error> {
    if cancel.is_some_and(CancelToken::is_cancelled) {
        return Err(Error::Cancelled);
    }
    let arguments: Vec<_> = inputs.iter().map(|t| t.as_literal()).collect();
    let outcome = interp::run(graph, &arguments).map_err(InputError::Type)?;
    match outcome.index_error {
        Some(place) => Err(Error::Index(place)),
        None => Ok(outcome.outputs.into_iter().map(Tensor::from_literal).collect()),
    }
}

/// Storage of an output that is to be written, and how many of its bytes count.
struct Buffer {
    storage: Storage,
    bytes: usize,
    shape: Shape,
}

impl Native {
    /// Values of the program's symbols, in its order.
    fn dims(&self, bindings: &Bindings) -> Result<Vec<i64>, Error> {
        let value = |name: &String| {
            let missing = || Error::Internal(format!("the program's symbol {name} is in no input"));
            bindings.get(name).ok_or_else(missing)
        };
        self.program.symbols.iter().map(value).collect()
    }

    fn buffers(&self, bindings: &Bindings) -> Result<Vec<Buffer>, Error> {
        let buffer = |spec: &TensorSpec| {
            let extent = |d: &Dim| {
                let value = bindings.dim(d).map_err(|e| dim_error(d, &e))?;
                let negative =
                    |_| Error::Shape(format!("output '{}' would have an extent of {d} = {value}", spec.name));
                usize::try_from(value).map_err(negative)
            };
            let shape = spec.shape.iter().map(extent).collect::<Result<Shape, _>>()?;
            let bytes = byte_count(spec.dtype, &shape)?;
            Ok(Buffer { storage: Storage::of_shelf(&self.shelf, bytes, &shape)?, bytes, shape })
        };
        self.program.outputs.iter().map(buffer).collect()
    }

    fn run(
        &self,
        inputs: &[&Tensor],
        bindings: &Bindings,
        cancel: Option<&CancelToken>,
    ) -> Result<Vec<Tensor>, Error> {
        let dims = self.dims(bindings)?;
        let mut buffers = self.buffers(bindings)?;
        let bytes: Vec<&[u8]> = inputs.iter().map(|t| t.bytes()).collect();
        let mut outputs = slices(&mut buffers);
        self.instance.run_with(&dims, &bytes, &mut outputs, None, cancel).map_err(|e| self.error(e))?;
        Ok(self.tensors(buffers))
    }

    fn profile(
        &self,
        inputs: &[&Tensor],
        bindings: &Bindings,
    ) -> Result<(Vec<Tensor>, Vec<KernelTime>), Error> {
        let dims = self.dims(bindings)?;
        let mut buffers = self.buffers(bindings)?;
        let bytes: Vec<&[u8]> = inputs.iter().map(|t| t.bytes()).collect();
        let mut outputs = slices(&mut buffers);
        let mut times = vec![CallTime::default(); self.program.calls.len()];
        self.instance.run_timed(&dims, &bytes, &mut outputs, &mut times).map_err(|e| self.error(e))?;
        let kernel = |(call, took): (&CallFacts, CallTime)| {
            Ok(KernelTime {
                label: call.label.clone(),
                time: took.time,
                calls: took.runs,
                bytes: size(&call.bytes, bindings)?,
                operations: size(&call.operations, bindings)?,
                expected: Duration::from_nanos(size(&call.work, bindings)?),
            })
        };
        let kernels = self.program.calls.iter().zip(times).map(kernel).collect::<Result<_, Error>>()?;
        Ok((self.tensors(buffers), kernels))
    }

    fn tensors(&self, buffers: Vec<Buffer>) -> Vec<Tensor> {
        let specs = self.program.outputs.iter();
        let tensor = |(spec, b): (&TensorSpec, Buffer)| Array::trusted(b.storage, spec.dtype, b.shape).into();
        specs.zip(buffers).map(tensor).collect()
    }

    /// A failed run in terms of the model.
    fn error(&self, error: RunError) -> Error {
        let RunError::Program { code, detail } = &error else {
            return if error == RunError::Cancelled { Error::Cancelled } else { Error::Run(error) };
        };
        let message = detail.and_then(|i| self.messages.get(usize::try_from(i).ok()?)).cloned();
        match (*code, message) {
            (FNX_INDEX, Some(message)) => Error::Index(message),
            (FNX_SHAPE, Some(message)) => Error::Shape(message),
            (_, Some(message)) if error.is_bad_input() => Error::Shape(message),
            _ => Error::Run(error),
        }
    }
}

fn slices(buffers: &mut [Buffer]) -> Vec<&mut [u8]> {
    let mut slices = Vec::with_capacity(buffers.len());
    for buffer in buffers {
        slices.push(&mut buffer.storage.unique().expect("nobody shares it yet")[..buffer.bytes]);
    }
    slices
}
