//! From a traced function to one that runs: each stage can be looked at.

use std::collections::BTreeSet;
use std::fmt;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use fornax_ir::graph::interp::bind;
use fornax_ir::graph::verify::verify;
use fornax_ir::graph::{Graph, TensorType, ValueId};

use super::error::{TraceError, line_of};
use super::recording::Trace;
use super::signature::{Flat, ROOTS, Signature, listed};
use crate::RewriteReport;
use crate::dim::Dim;
use crate::eager::pool_of;
use crate::error::{Error, InputError};
use crate::executable::{self, Executable};
use crate::graph_file::{self, SaveOptions};
use crate::inspect::{Stage, operator_count, text_of};
use crate::model::{fix_dims, signature_of};
use crate::options::{Backend, Options};
use crate::tensor::Tensor;
use crate::tree::{self, TensorTree, Tensors, walk};

/// A function while it is being traced.
pub(super) struct Recording {
    pub(super) trace: Arc<Trace>,
    pub(super) inputs: Vec<Tensor>,
}

impl Recording {
    /// A trace with an input for each tensor of the arguments.
    pub(super) fn start(
        name: &str,
        signature: &Signature,
        warn_above: usize,
        location: &Location<'_>,
    ) -> Recording {
        let trace = Trace::root(name, location, warn_above);
        let types: Vec<(&str, &TensorType)> = signature.tensors().collect();
        trace.build(location, |builder| {
            for symbol in types.iter().flat_map(|(_, ty)| &ty.shape).flat_map(fornax_ir::Dim::symbols) {
                let (lo, hi) = signature.ranges.symbol(&symbol);
                builder.set_range(&symbol, lo, hi);
            }
        });
        let names = unique(types.iter().map(|(path, _)| path.to_string()));
        let input =
            |(name, (_, ty)): (String, &(&str, &TensorType))| trace.input(&name, (*ty).clone(), location);
        let inputs = names.into_iter().zip(&types).map(input).collect();
        Recording { trace, inputs }
    }

    /// Names and values of the tensors that the function returned.
    pub(super) fn outputs<T: TensorTree>(
        &self,
        result: &T,
        location: &Location<'_>,
    ) -> Vec<(String, ValueId)> {
        let mut tensors = Tensors(Vec::new());
        walk(result, &mut tensors);
        let names = unique(tensors.0.iter().map(|(path, _)| path.name_or(ROOTS[1])));
        let values = tensors.0.iter().map(|(_, tensor)| self.trace.value_of(tensor, location));
        names.into_iter().zip(values).collect()
    }

    /// Ends the trace.
    pub(super) fn finish<T>(
        self,
        signature: Signature,
        template: T,
        outputs: Vec<(String, ValueId)>,
    ) -> Result<Traced<T>, Error> {
        let (mut graph, warnings) = self.trace.finish();
        graph.outputs =
            outputs.into_iter().map(|(name, value)| fornax_ir::graph::Output { name, value }).collect();
        check_symbols(&graph)?;
        verify(&graph)
            .map_err(|e| Error::Internal(format!("tracing made a faulty graph: {e}; please report this")))?;
        Ok(Traced { function: Arc::new(Function { graph, signature, template, warnings }) })
    }
}

/// Names that are there already get a number.
fn unique(names: impl Iterator<Item = String>) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let fresh = |name: String| {
        let mut candidates = std::iter::once(name.clone()).chain((2..).map(|k| format!("{name}#{k}")));
        let free = candidates.find(|name| seen.insert(name.clone()));
        free.expect("there are more numbers than names")
    };
    names.map(fresh).collect()
}

/// Symbols that stand in no argument have no value when the function runs.
fn check_symbols(graph: &Graph) -> Result<(), TraceError> {
    for value in graph.values() {
        for symbol in graph.ty(value).shape.iter().flat_map(fornax_ir::Dim::symbols) {
            if !graph.symbols.iter().any(|known| **known == *symbol) {
                let message = format!(
                    "the dim `{symbol}` is an extent of no argument, so nothing gives it a value; the arguments have {}",
                    if graph.symbols.is_empty() { "none".to_string() } else { graph.symbols.join(", ") }
                );
                return Err(TraceError::Operation { location: graph.loc(value).to_string(), message });
            }
        }
    }
    Ok(())
}

/// A traced function.
struct Function<T> {
    graph: Graph,
    signature: Signature,
    /// The result, with specs for its tensors.
    template: T,
    warnings: Vec<String>,
}

/// What a function computes, as a graph. `T` is what it returns.
///
/// Its text form is that of the graph.
pub struct Traced<T> {
    function: Arc<Function<T>>,
}

impl<T> Clone for Traced<T> {
    fn clone(&self) -> Self {
        Traced { function: self.function.clone() }
    }
}

impl<T> Traced<T> {
    /// The graph. Its inputs and outputs are the tensors of the argument and of the result, in the order of the trees.
    pub fn graph(&self) -> &Graph {
        &self.function.graph
    }

    /// Operators of the graph that compute: all but inputs, constants and views, and what no result needs.
    pub fn operators(&self) -> usize {
        operator_count(self.graph())
    }

    /// What is unusual about the trace, but no error: large tensors that became constants.
    pub fn warnings(&self) -> &[String] {
        &self.function.warnings
    }

    /// What the function returns, with the types of its tensors in place of them.
    pub fn result(&self) -> &T {
        &self.function.template
    }

    /// Saves the graph as a file that [`crate::Model`] and the command load: `.fnxb` or `.fnx`, see
    /// [`crate::graph_file::save`], which has options. Captured tensors are in it.
    ///
    /// # Errors
    /// [`Error::GraphFile`] when the name says neither, or the system refuses.
    pub fn save(&self, path: impl AsRef<std::path::Path>) -> Result<(), Error> {
        graph_file::save(self.graph(), path, &SaveOptions::default())
    }

    /// Optimises the graph and plans its kernels.
    ///
    /// # Errors
    /// [`Error::Compile`], and [`Error::Option`] where an option makes no sense.
    pub fn lower(&self, options: &Options) -> Result<Lowered<T>, Error> {
        let mut graph = self.function.graph.clone();
        fix_dims(&mut graph, options)?;
        let lowered = executable::lowered(graph.clone(), options)?;
        Ok(Lowered { function: self.function.clone(), graph, lowered })
    }
}

impl<T> fmt::Display for Traced<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.function.graph.fmt(f)
    }
}

impl<T> fmt::Debug for Traced<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A function as kernels, for no machine yet. Its text form is the plan and the program.
pub struct Lowered<T> {
    function: Arc<Function<T>>,
    /// As traced, with fixed dims.
    graph: Graph,
    lowered: fornax_compiler::Lowered,
}

impl<T> Lowered<T> {
    /// The optimised graph.
    pub fn graph(&self) -> &Graph {
        &self.lowered.graph
    }

    /// How many times one run calls a kernel, copies included; the body of a loop counts once.
    pub fn kernels(&self) -> usize {
        self.lowered.program.calls.len()
    }

    /// Bytes that all kernels of one run read and write, as an expression over the symbolic dims; the body of a loop counts
    /// once.
    pub fn bytes(&self) -> Dim {
        let bytes = self.lowered.program.calls.iter().map(|call| &call.bytes).sum();
        Dim::from_expr(&bytes, &self.graph.ranges)
    }

    /// Bytes of constants that the program holds.
    pub fn weights_bytes(&self) -> u64 {
        self.lowered.program.weights.bytes
    }

    /// What equality saturation found and what of it is used: nodes of the e-graph, rules that applied, spellings that were
    /// tried, and what each kernel is estimated to cost. Of the graph without its regions; empty for other optimizers.
    ///
    /// ```
    /// use fornax::{DType, Options, Tensor, trace};
    ///
    /// let traced = trace(|x: Tensor| x.softmax(-1), Tensor::spec(DType::F32, [4, 16]))?;
    /// let lowered = traced.lower(&Options::default())?;
    /// assert!(lowered.report().nodes > 0);
    /// # Ok::<(), fornax::Error>(())
    /// ```
    pub fn report(&self) -> &RewriteReport {
        &self.lowered.report
    }

    /// How long optimising and planning took.
    pub fn optimize_time(&self) -> Duration {
        self.lowered.optimize_time
    }

    /// Its text at a stage: the plan, the kernels with the buffers they use, the code for this machine.
    ///
    /// # Errors
    /// As [`Lowered::compile`].
    pub fn text(&self, stage: Stage, options: &Options) -> Result<String, Error> {
        if stage == Stage::Graph {
            return Ok(self.graph.to_string());
        }
        text_of(&self.lowered, stage, options)
    }

    /// Makes native code for the CPU that the options name, which runs on their threads. Their optimiser and fixed dims were
    /// taken when it was lowered.
    ///
    /// # Errors
    /// [`Error::Compile`], and [`Error::MemoryLimit`].
    pub fn compile(self, options: &Options) -> Result<Compiled<T>, Error> {
        let pool = pool_of(options.threads)?;
        let kernels = self.kernels();
        let signature = signature_of(&self.graph);
        let (executable, isa, codegen_time) = match options.backend {
            Backend::Interp => {
                (Executable::Interp(Box::new(self.graph)), "interpreter".to_string(), Duration::ZERO)
            }
            Backend::Jit => {
                let built = executable::compile(self.lowered, options, &pool)?;
                (built.executable, built.isa, built.codegen_time)
            }
        };
        Ok(Compiled { function: self.function, signature, executable, kernels, isa, codegen_time })
    }
}

impl<T> fmt::Display for Lowered<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{}", self.lowered.plan.listing(&self.lowered.graph), self.lowered.program)
    }
}

impl<T> fmt::Debug for Lowered<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lowered").field("kernels", &self.kernels()).finish_non_exhaustive()
    }
}

/// A function in native code. `T` is what it returns; it may be called from many threads at once.
pub struct Compiled<T> {
    function: Arc<Function<T>>,
    /// Inputs, symbols and their ranges; no nodes.
    signature: Graph,
    executable: Executable,
    kernels: usize,
    isa: String,
    codegen_time: Duration,
}

impl<T: TensorTree> Compiled<T> {
    /// Runs on arguments of the structure that was traced, with tensors that fit its types.
    ///
    /// # Errors
    /// [`Error::Trace`] for another structure or configuration, [`Error::Input`] for a tensor of another type or a symbolic
    /// dim out of its range, and as [`crate::Model::run`].
    #[track_caller]
    pub fn call<A: TensorTree>(&self, arguments: &A) -> Result<T::Owned, Error> {
        let flat = Flat::of(arguments);
        if !self.function.signature.matches(&flat, false) {
            let given = Signature::of(arguments, Location::caller())?;
            let message = self.difference(&given);
            return Err(TraceError::Arguments { message }.into());
        }
        self.run(&flat.tensors(), Location::caller())
    }

    fn difference(&self, given: &Signature) -> String {
        let differences = self.function.signature.differences(given);
        format!("the arguments differ from what was compiled: {}", listed(&differences))
    }

    /// Runs on the tensors of arguments whose structure was compared.
    pub(crate) fn run(&self, tensors: &[&Tensor], location: &Location<'_>) -> Result<T::Owned, Error> {
        if let Some(traced) = tensors.iter().find(|t| !t.is_concrete()) {
            let message = format!(
                "a compiled program runs on concrete tensors, not on the traced {}; within a trace call the function \
                 itself, or its `jit`",
                traced.type_text()
            );
            return Err(TraceError::Read { location: line_of(location), message }.into());
        }
        let shapes: Vec<_> = tensors.iter().map(|t| (t.shape(), t.dtype())).collect();
        let bindings = bind(&self.signature, &shapes).map_err(InputError::Type)?;
        let mut results = self.executable.run(tensors, &bindings, None)?.into_iter();
        let next = &mut |_: &tree::TreePath, _: &Tensor| results.next().expect("one result for each tensor");
        Ok(tree::map(&self.function.template, next))
    }

    /// How many kernels one run calls, copies included; the body of a loop counts once.
    pub fn kernels(&self) -> usize {
        self.kernels
    }

    /// How long making native code of the kernels took; 0 for the interpreter.
    pub fn codegen_time(&self) -> Duration {
        self.codegen_time
    }

    /// Instruction set and leaf emitter of the code.
    pub fn isa(&self) -> &str {
        &self.isa
    }

    /// The graph that was traced.
    pub fn graph(&self) -> &Graph {
        &self.function.graph
    }

    /// What the arguments were traced as.
    pub(crate) fn arguments(&self) -> &Signature {
        &self.function.signature
    }
}

impl<T> fmt::Debug for Compiled<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compiled")
            .field("kernels", &self.kernels)
            .field("isa", &self.isa)
            .finish_non_exhaustive()
    }
}
