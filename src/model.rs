//! Models: loaded, described, and run.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Index;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use fornax_compiler::Optimizer;
use fornax_ir::graph::interp::bind;
use fornax_ir::graph::{Graph, Output};
use fornax_ir::{DType, Dim, Ranges};
use fornax_runtime::{CancelToken, ThreadPool};

pub use fornax_ir::graph::interp::Bindings;

use crate::error::{Error, InputError};
use crate::executable::{Executable, KernelTime, build};
use crate::loading::{self, Loaded};
use crate::options::{Backend, Options};
use crate::tensor::Tensor;

/// An extent of an input or output.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Extent {
    /// A constant.
    Fixed(usize),
    /// A symbol: any size in its range, the same one wherever the symbol stands.
    Symbol {
        /// Its name, as in [`Options::dim`].
        name: String,
        /// Its smallest value.
        min: usize,
        /// Its largest value; `None` if it is unbounded.
        max: Option<usize>,
    },
    /// An expression over symbols, as text.
    Expression(String),
}

impl fmt::Display for Extent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Extent::Fixed(n) => n.fmt(f),
            Extent::Symbol { name, .. } => name.fmt(f),
            Extent::Expression(text) => text.fmt(f),
        }
    }
}

/// An input or output of a model.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TensorInfo {
    /// Its name.
    pub name: String,
    /// Element type.
    pub dtype: DType,
    /// Extents, outermost first.
    pub dims: Vec<Extent>,
}

impl fmt::Display for TensorInfo {
    /// `x: f32[batch, 3, 224]`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dims: Vec<String> = self.dims.iter().map(Extent::to_string).collect();
        write!(f, "{}: {}[{}]", self.name, self.dtype, dims.join(", "))
    }
}

impl TensorInfo {
    pub(crate) fn new(name: &str, dtype: DType, dims: &[Dim], ranges: &Ranges) -> Self {
        let size = |n: i64| usize::try_from(n).unwrap_or(0);
        let extent = |d: &Dim| match (d.as_const(), d.as_symbol()) {
            (Some(n), _) => Extent::Fixed(size(n)),
            (None, Some(name)) => match ranges.symbol(name) {
                (lo, Some(hi)) if lo == hi => Extent::Fixed(size(lo)),
                (lo, hi) => Extent::Symbol { name: name.to_string(), min: size(lo), max: hi.map(size) },
            },
            (None, None) => Extent::Expression(d.to_string()),
        };
        TensorInfo { name: name.to_string(), dtype, dims: dims.iter().map(extent).collect() }
    }
}

/// What a run gave: tensors by name and by position.
#[derive(Clone, PartialEq, Debug)]
pub struct Outputs {
    named: Vec<(String, Tensor)>,
}

impl Outputs {
    /// The output of that name.
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.named.iter().find(|(known, _)| known == name).map(|(_, tensor)| tensor)
    }

    /// Names and tensors, in the model's order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Tensor)> {
        self.named.iter().map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.named.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.named.is_empty()
    }
}

impl Index<usize> for Outputs {
    type Output = Tensor;
    /// The output at a position in the model's order. Panics when there are fewer.
    fn index(&self, position: usize) -> &Tensor {
        &self.named[position].1
    }
}

impl Index<&str> for Outputs {
    type Output = Tensor;
    /// The output of that name. Panics when there is none; see [`Outputs::get`].
    fn index(&self, name: &str) -> &Tensor {
        self.get(name).unwrap_or_else(|| panic!("no output is named '{name}'"))
    }
}

impl IntoIterator for Outputs {
    type Item = (String, Tensor);
    type IntoIter = std::vec::IntoIter<(String, Tensor)>;
    fn into_iter(self) -> Self::IntoIter {
        self.named.into_iter()
    }
}

/// What loading took and gave.
#[derive(Clone, PartialEq, Debug)]
pub struct Stats {
    /// From the file to a graph.
    pub import_time: Duration,
    /// From the graph to scheduled kernels.
    pub optimize_time: Duration,
    /// From kernels to native code.
    pub codegen_time: Duration,
    /// Operators of the model that compute: see `fornax bench --help`.
    pub operators: usize,
    /// Kernel calls of one run, copies included; 0 for the interpreter.
    pub kernels: usize,
    /// Who planned the kernels.
    pub optimizer: Optimizer,
    /// Nodes of the e-graph, that of regions left out; 0 for other optimizers and for the interpreter.
    pub e_nodes: usize,
    /// Bytes of weights that the compiled program holds; 0 for the interpreter.
    pub weights_bytes: u64,
    /// Instruction set and leaf emitter of the code.
    pub isa: String,
    /// Functions outside that the generated code calls, besides the caller's parallel loop.
    pub imports: Vec<String>,
}

/// Where a model's graph comes from, should it be needed again.
enum Source {
    File(PathBuf),
    Graph(Box<Graph>),
}

/// A model that can be run, from any number of threads at once.
pub struct Model {
    source: Source,
    options: Options,
    /// Inputs, symbols and their ranges; no nodes.
    signature: Graph,
    inputs: Vec<TensorInfo>,
    outputs: Vec<TensorInfo>,
    /// Inputs declared with rank 0.
    rank0: Vec<bool>,
    warnings: Vec<String>,
    stats: Stats,
    pool: Arc<ThreadPool>,
    executable: Executable,
    /// Variants with further outputs, by their names.
    variants: Mutex<BTreeMap<Vec<String>, Arc<Executable>>>,
    compilations: AtomicUsize,
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Model")
            .field("inputs", &self.inputs)
            .field("outputs", &self.outputs)
            .field("stats", &self.stats)
            .finish_non_exhaustive()
    }
}

impl Model {
    /// Reads and compiles a model for this machine, on all its cores: an `.onnx` file, or a graph saved as `.fnxb` or
    /// `.fnx` (see [`crate::graph_file`]).
    ///
    /// # Errors
    /// [`Error`]: [`Error::is_bad_input`] tells a fault of the file from one of this library.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, Error> {
        Model::load_with(path, Options::default())
    }

    /// As [`Model::load`], with options.
    ///
    /// # Errors
    /// As [`Model::load`], and [`Error::Option`] where an option makes no sense.
    pub fn load_with(path: impl AsRef<Path>, options: Options) -> Result<Self, Error> {
        let path = path.as_ref();
        let start = Instant::now();
        let loaded = loading::load(path)?;
        let import_time = start.elapsed();
        Model::build(loaded, Source::File(path.to_owned()), import_time, options)
    }

    /// Compiles a graph.
    ///
    /// # Errors
    /// As [`Model::load_with`].
    pub fn from_graph(graph: Graph, options: Options) -> Result<Self, Error> {
        let source = Source::Graph(Box::new(graph.clone()));
        Model::build(Loaded::of(graph), source, Duration::ZERO, options)
    }

    fn build(loaded: Loaded, source: Source, import_time: Duration, options: Options) -> Result<Self, Error> {
        let Loaded { mut graph, rank0, warnings, operators, .. } = loaded;
        fix_dims(&mut graph, &options)?;
        let pool = Arc::new(ThreadPool::new(options.threads)?);
        let signature = signature_of(&graph);
        let info = |name: &str, value| {
            let ty = graph.ty(value);
            TensorInfo::new(name, ty.dtype, &ty.shape, &graph.ranges)
        };
        let inputs = graph.inputs.iter().map(|i| info(&i.name, i.value)).collect();
        let outputs = graph.outputs.iter().map(|o| info(&o.name, o.value)).collect();
        let built = build(graph, &options, &pool)?;
        let stats = Stats {
            import_time,
            optimize_time: built.optimize_time,
            codegen_time: built.codegen_time,
            operators,
            kernels: built.kernels,
            optimizer: options.optimizer,
            e_nodes: built.e_nodes,
            weights_bytes: built.weights_bytes,
            isa: built.isa,
            imports: built.imports,
        };
        Ok(Model {
            source,
            signature,
            inputs,
            outputs,
            rank0,
            warnings,
            stats,
            pool,
            executable: built.executable,
            variants: Mutex::default(),
            compilations: AtomicUsize::new(usize::from(options.backend == Backend::Jit)),
            options,
        })
    }

    /// The inputs that a run takes.
    pub fn inputs(&self) -> &[TensorInfo] {
        &self.inputs
    }

    /// The outputs that a run gives.
    pub fn outputs(&self) -> &[TensorInfo] {
        &self.outputs
    }

    /// What is unusual about the model's file, but no error.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// What loading took and gave.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Threads of parallel loops, the caller's included.
    pub fn threads(&self) -> usize {
        self.options.threads
    }

    /// How often native code was generated for this model: once when it was loaded, and once for each set of
    /// intermediate values asked for.
    pub fn compilations(&self) -> usize {
        self.compilations.load(Ordering::Relaxed)
    }

    /// Runs the model on inputs by name, in any order.
    ///
    /// # Errors
    /// [`Error::Input`] when names, dtypes or shapes don't fit; [`Error::Index`] when an index of the model's is out of
    /// range; [`Error::Run`] when memory does not suffice.
    pub fn run(&self, inputs: &[(&str, &Tensor)]) -> Result<Outputs, Error> {
        self.execute(&self.executable, inputs, &[], None)
    }

    /// As [`Model::run`]; `cancel` ends it early from another thread, with [`Error::Cancelled`]. Native code looks
    /// before each kernel, the interpreter before it starts.
    ///
    /// # Errors
    /// As [`Model::run`].
    pub fn run_cancellable(
        &self,
        inputs: &[(&str, &Tensor)],
        cancel: &CancelToken,
    ) -> Result<Outputs, Error> {
        self.execute(&self.executable, inputs, &[], Some(cancel))
    }

    /// As [`Model::run`], and gives the intermediate values of these names after the outputs. The names are those of the
    /// model's file (an ONNX value, such as a node's output); a graph's own values are `%0`, `%1` and so on. The first
    /// run for a set of names compiles the model for it.
    ///
    /// # Errors
    /// As [`Model::run`], and [`Error::UnknownValue`].
    pub fn run_with(&self, inputs: &[(&str, &Tensor)], values: &[&str]) -> Result<Outputs, Error> {
        let mut names: Vec<String> = Vec::new();
        for name in values {
            if !names.iter().any(|n| n == name) && !self.outputs.iter().any(|o| o.name == *name) {
                names.push(name.to_string());
            }
        }
        if names.is_empty() {
            return self.run(inputs);
        }
        let variant = self.variant(&names)?;
        self.execute(&variant, inputs, &names, None)
    }

    /// As [`Model::run`], and tells how long each kernel took, in the order they ran; the interpreter has none.
    ///
    /// # Errors
    /// As [`Model::run`].
    pub fn profile(&self, inputs: &[(&str, &Tensor)]) -> Result<(Outputs, Vec<KernelTime>), Error> {
        let (ordered, bindings) = self.checked(inputs)?;
        let (tensors, kernels) = self.executable.profile(&ordered.iter().collect::<Vec<_>>(), &bindings)?;
        Ok((self.named(tensors, &[]), kernels))
    }

    /// The values of symbolic dims that these inputs stand for.
    ///
    /// # Errors
    /// [`Error::Input`] when names, dtypes or shapes don't fit.
    pub fn dims_of(&self, inputs: &[(&str, &Tensor)]) -> Result<Bindings, Error> {
        Ok(self.checked(inputs)?.1)
    }

    /// Bytes of working memory that a run takes at these dims, beside its inputs and outputs.
    ///
    /// # Errors
    /// [`Error::Run`] when it cannot be addressed.
    pub fn arena_bytes(&self, dims: &Bindings) -> Result<u64, Error> {
        self.executable.arena_bytes(dims)
    }

    /// Bytes that all kernels of a run read and write at these dims.
    ///
    /// # Errors
    /// [`Error::Shape`] when it overflows.
    pub fn bytes_moved(&self, dims: &Bindings) -> Result<u64, Error> {
        self.executable.bytes_moved(dims)
    }

    fn execute(
        &self,
        executable: &Executable,
        inputs: &[(&str, &Tensor)],
        further: &[String],
        cancel: Option<&CancelToken>,
    ) -> Result<Outputs, Error> {
        let (ordered, bindings) = self.checked(inputs)?;
        let tensors = executable.run(&ordered.iter().collect::<Vec<_>>(), &bindings, cancel)?;
        Ok(self.named(tensors, further))
    }

    fn named(&self, tensors: Vec<Tensor>, further: &[String]) -> Outputs {
        let names = self.outputs.iter().map(|o| &o.name).chain(further).cloned();
        Outputs { named: names.zip(tensors).collect() }
    }

    /// The inputs in the graph's order, checked, and the values of the symbols.
    fn checked(&self, given: &[(&str, &Tensor)]) -> Result<(Vec<Tensor>, Bindings), Error> {
        for (i, (name, _)) in given.iter().enumerate() {
            if !self.inputs.iter().any(|known| known.name == *name) {
                let known: Vec<&str> = self.inputs.iter().map(|i| i.name.as_str()).collect();
                let known = if known.is_empty() { "none".to_string() } else { known.join(", ") };
                return Err(InputError::Unknown { name: name.to_string(), known }.into());
            }
            if given[..i].iter().any(|(other, _)| other == name) {
                return Err(InputError::Duplicate { name: name.to_string() }.into());
            }
        }
        let mut ordered = Vec::with_capacity(self.inputs.len());
        for (info, &rank0) in self.inputs.iter().zip(&self.rank0) {
            let found = given.iter().find(|(name, _)| *name == info.name);
            let missing = || {
                let ty = info.to_string();
                let ty = ty.rsplit_once(": ").map_or(ty.as_str(), |(_, ty)| ty).to_string();
                InputError::Missing { name: info.name.clone(), ty }
            };
            let mut tensor = found.ok_or_else(missing)?.1.clone();
            if rank0 && tensor.shape() == [1] {
                tracing::warn!("input '{}' has rank 0; a tensor of shape [1] is taken for it", info.name);
                tensor = tensor.as_literal().reshaped(&[])?.into();
            }
            ordered.push(tensor);
        }
        let shapes: Vec<_> = ordered.iter().map(|t| (t.shape(), t.dtype())).collect();
        let bindings = bind(&self.signature, &shapes).map_err(InputError::Type)?;
        Ok((ordered, bindings))
    }

    /// The model with further outputs, compiled if it is not there yet.
    fn variant(&self, names: &[String]) -> Result<Arc<Executable>, Error> {
        // Held while compiling, so that concurrent runs compile once.
        let mut variants = self.variants.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = variants.get(names) {
            return Ok(known.clone());
        }
        let loaded = match &self.source {
            Source::File(path) => loading::load(path)?,
            Source::Graph(graph) => Loaded::of((**graph).clone()),
        };
        let values = loaded.values();
        let mut graph = loaded.graph;
        for name in names {
            let Some(&value) = values.get(name) else { return Err(unknown_value(name, values.keys())) };
            graph.outputs.push(Output { name: name.clone(), value });
        }
        fix_dims(&mut graph, &self.options)?;
        let built = build(graph, &self.options, &self.pool)?;
        self.compilations.fetch_add(usize::from(self.options.backend == Backend::Jit), Ordering::Relaxed);
        let executable = Arc::new(built.executable);
        variants.insert(names.to_vec(), executable.clone());
        Ok(executable)
    }
}

fn unknown_value<'a>(name: &str, known: impl Iterator<Item = &'a String>) -> Error {
    let lower = name.to_lowercase();
    let mut near: Vec<&str> =
        known.map(String::as_str).filter(|k| k.to_lowercase().contains(&lower)).take(5).collect();
    near.sort_unstable();
    let near = if near.is_empty() { String::new() } else { format!("; there are {}", near.join(", ")) };
    Error::UnknownValue { name: name.to_string(), near }
}

/// A graph's inputs, symbols and ranges, without nodes: what arguments are checked against.
pub(crate) fn signature_of(graph: &Graph) -> Graph {
    Graph {
        name: graph.name.clone(),
        inputs: graph.inputs.clone(),
        ranges: graph.ranges.clone(),
        symbols: graph.symbols.clone(),
        ..Graph::default()
    }
}

/// Narrows the symbols that options fix to their one value.
pub(crate) fn fix_dims(graph: &mut Graph, options: &Options) -> Result<(), Error> {
    for (name, value) in &options.dims {
        if !graph.symbols.contains(name) {
            let known = if graph.symbols.is_empty() { "none".into() } else { graph.symbols.join(", ") };
            return Err(Error::Option(format!(
                "the model has no symbolic dim '{name}' in its inputs; it has {known}"
            )));
        }
        let (lo, hi) = graph.ranges.symbol(name);
        if *value < lo || hi.is_some_and(|hi| *value > hi) {
            let range = hi.map_or(format!("at least {lo}"), |hi| format!("in {lo}..={hi}"));
            return Err(Error::Option(format!("the dim '{name}' cannot be {value}; it must be {range}")));
        }
        graph.ranges.set_symbol(name, *value, Some(*value));
    }
    Ok(())
}
