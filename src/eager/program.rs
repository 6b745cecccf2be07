//! A compiled operation.

use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use fornax_compiler::codegen::{self, Cpu, Leaf, Target};
use fornax_compiler::{Optimizer, lower};
use fornax_ir::graph::Graph;
use fornax_ir::literal::{LiteralError, byte_count};
use fornax_ir::{DType, Dim};
use fornax_runtime::abi::{FNX_INDEX, FNX_SHAPE};
use fornax_runtime::{AlignedBuffer, Instance, InstanceOptions, RunError, ThreadPool};
use smallvec::SmallVec;

use super::layout::{Prepared, symbol_number};
use super::threads;
use crate::error::Error;
use crate::tensor::{Array, Shape, Storage};

/// An extent of an output.
enum Extent {
    Constant(usize),
    /// The prepared extent of that number.
    Symbol(usize),
    Expression(Dim),
}

/// Native code of one operation.
pub(super) struct Program {
    /// On the default threads.
    instance: Instance,
    code: codegen::Compiled,
    weights: Arc<AlignedBuffer>,
    /// On other numbers of threads.
    further: Mutex<Vec<Arc<Instance>>>,
    /// Which prepared extent each symbol of the program is.
    symbols: SmallVec<[usize; 8]>,
    /// The result's dtype and extents.
    dtype: DType,
    shape: SmallVec<[Extent; 4]>,
}

/// Why a program did not run to its end.
#[derive(Debug)]
pub(super) enum Failure {
    /// Shapes that don't fit.
    Shape(String),
    /// An index out of range.
    Index(String),
    /// Anything else.
    Other(String),
}

impl From<LiteralError> for Failure {
    fn from(error: LiteralError) -> Self {
        Failure::Other(error.to_string())
    }
}

fn instance(
    code: &codegen::Compiled,
    weights: &Arc<AlignedBuffer>,
    pool: &Arc<ThreadPool>,
) -> Result<Instance, codegen::Error> {
    code.instance(InstanceOptions {
        pool: pool.clone(),
        weights: Some(weights.clone()),
        memory_limit: None,
        byte_lengths: None,
    })
}

impl Program {
    /// Compiles a graph whose symbols are named by [`super::layout::symbol_name`].
    pub(super) fn new(graph: Graph) -> Result<Program, Error> {
        static HOST: LazyLock<Result<Target, String>> =
            LazyLock::new(|| Target::host(Cpu::Native).map_err(|e| e.to_string()));
        let target = HOST.as_ref().map_err(|e| Error::Internal(e.clone()))?;
        // A graph of one operation leaves an optimizer nothing to choose.
        let options = fornax_compiler::Options { optimizer: Optimizer::Greedy, ..Default::default() };
        let lowered = lower(graph, &options)?;
        let compiled = lowered.compile(target, Leaf::default().name(), &codegen::Options::default())?;
        let number =
            |name: &str| symbol_number(name).ok_or_else(|| Error::Internal(format!("unknown symbol {name}")));
        let symbols = compiled.program.symbols.iter().map(|s| number(&s.name)).collect::<Result<_, _>>()?;
        let extent = |d: &Dim| match (d.as_const(), d.as_symbol()) {
            (Some(value), _) => {
                usize::try_from(value).map(Extent::Constant).map_err(|e| Error::Internal(e.to_string()))
            }
            (_, Some(name)) => Ok(Extent::Symbol(number(name)?)),
            _ => Ok(Extent::Expression(d.clone())),
        };
        let [result] = &compiled.program.outputs[..] else {
            return Err(Error::Internal("an eager program has one output".into()));
        };
        let shape = result.shape.iter().map(extent).collect::<Result<_, _>>()?;
        let dtype = result.dtype;
        let instance = instance(&compiled.code, &compiled.weights, threads::default_pool())
            .map_err(|e| Error::Compile(e.into()))?;
        let (code, weights) = (compiled.code, compiled.weights);
        Ok(Program { instance, code, weights, further: Mutex::default(), symbols, dtype, shape })
    }

    /// Runs it on prepared operands.
    pub(super) fn run(&self, prepared: &Prepared<'_>) -> Result<Array, Failure> {
        let inputs: SmallVec<[&[u8]; 4]> = prepared.sources.iter().map(|s| s.bytes()).collect();
        let dims: SmallVec<[i64; 8]> = self.symbols.iter().map(|&i| prepared.extents[i]).collect();
        let shape = self.shape(prepared)?;
        let bytes = byte_count(self.dtype, &shape)?;
        let mut storage = Storage::zeroed(bytes, &shape)?;
        let to = &mut storage.unique().expect("nobody shares it yet")[..bytes];
        match threads::chosen() {
            None => self.instance.run_small(&dims, &inputs, &mut [to]),
            Some(pool) => self.instance_on(&pool)?.run_small(&dims, &inputs, &mut [to]),
        }
        .map_err(|error| self.failure(error))?;
        Ok(match &prepared.shape {
            None => Array::trusted(storage, self.dtype, shape),
            Some((common, mask)) => {
                // What repeats, or is empty, has extents that the storage says nothing about.
                byte_count(self.dtype, common)?;
                Array::repeated(storage, self.dtype, common, *mask)
            }
        })
    }

    /// The result's extents.
    fn shape(&self, prepared: &Prepared<'_>) -> Result<Shape, Failure> {
        let mut shape = Shape::new();
        for extent in &self.shape {
            shape.push(match extent {
                Extent::Constant(n) => *n,
                Extent::Symbol(i) => prepared.extents[*i] as usize,
                Extent::Expression(d) => {
                    let value = |name: &str| prepared.extents.get(symbol_number(name)?).copied();
                    let n = d.eval_symbols(&value).map_err(|e| Failure::Shape(e.to_string()))?;
                    usize::try_from(n)
                        .map_err(|_| Failure::Shape(format!("an extent of the result would be {n}")))?
                }
            });
        }
        Ok(shape)
    }

    /// The program on those threads.
    fn instance_on(&self, pool: &Arc<ThreadPool>) -> Result<Arc<Instance>, Failure> {
        let mut further = self.further.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = further.iter().find(|i| Arc::ptr_eq(i.pool(), pool)) {
            return Ok(known.clone());
        }
        let new = instance(&self.code, &self.weights, pool).map_err(|e| Failure::Other(e.to_string()))?;
        further.push(Arc::new(new));
        Ok(further[further.len() - 1].clone())
    }

    fn failure(&self, error: RunError) -> Failure {
        let RunError::Program { code, detail: Some(detail) } = error else {
            return Failure::Other(error.to_string());
        };
        let message = usize::try_from(detail).ok().and_then(|i| self.code.messages.get(i)).cloned();
        match (code, message) {
            (FNX_SHAPE, Some(message)) => Failure::Shape(message),
            (FNX_INDEX, Some(message)) => Failure::Index(message),
            _ => Failure::Other(error.to_string()),
        }
    }
}
