//! The way of every operation: recorded where a trace is, else run by its program.

use std::panic::Location;

use fornax_ir::DType;
use fornax_ir::graph::builder::{Builder, Result as BuildResult};
use fornax_ir::graph::{GraphError, ValueId};
use fornax_ir::scalar::Scalar;
use smallvec::{SmallVec, smallvec};

use super::cache::{self, Known};
use super::key::Key;
use super::layout::{self, Misfit, Prepared};
use super::program::{Failure, Program};
use crate::error::Error;
use crate::tensor::{Array, Repr, Tensor};
use crate::trace;

/// The results of an operation in a graph.
pub(crate) type Values = SmallVec<[ValueId; 2]>;
/// The results of an operation.
pub(crate) type Outputs = SmallVec<[Tensor; 1]>;
/// What adds an operation to a graph, given its operands.
pub(crate) type Body<'a> = &'a dyn Fn(&mut Builder, &[ValueId]) -> BuildResult<Values>;

/// One operand of an operation.
#[derive(Clone, Copy)]
pub(crate) enum Operand<'a> {
    Tensor(&'a Tensor),
    /// A number of rank 0, which is an argument of the program and no part of its key.
    Scalar(Scalar),
}

impl<'a> From<&'a Tensor> for Operand<'a> {
    fn from(tensor: &'a Tensor) -> Self {
        Operand::Tensor(tensor)
    }
}

impl<'a> Operand<'a> {
    pub(super) fn shape(&self) -> &'a [usize] {
        match self {
            Operand::Tensor(t) => t.shape(),
            Operand::Scalar(_) => &[],
        }
    }
    pub(crate) fn dtype(&self) -> DType {
        match self {
            Operand::Tensor(t) => t.dtype(),
            Operand::Scalar(s) => s.dtype,
        }
    }
    pub(super) fn array(&self) -> &'a Array {
        match self {
            Operand::Tensor(t) => t.array(),
            Operand::Scalar(_) => unreachable!("a scalar has no gaps"),
        }
    }
    pub(crate) fn rank(&self) -> usize {
        match self {
            Operand::Tensor(t) => t.rank(),
            Operand::Scalar(_) => 0,
        }
    }
    pub(crate) fn type_text(&self) -> String {
        match self {
            Operand::Tensor(t) => t.type_text(),
            Operand::Scalar(s) => format!("{}[]", s.dtype),
        }
    }
}

/// One result.
pub(crate) fn one(value: ValueId) -> Values {
    smallvec![value]
}

/// Panics at the caller's line: an operation's name, its operands' types, and what is wrong.
#[track_caller]
pub(crate) fn fail(op: &str, operands: &[Operand<'_>], what: &str) -> ! {
    let types: Vec<String> = operands.iter().map(Operand::type_text).collect();
    trace::refuse(format!("{op}({}): {what}", types.join(", ")))
}

/// The value, or [`fail`].
#[track_caller]
pub(crate) fn fitting<T, E: std::fmt::Display>(
    op: &str,
    operands: &[Operand<'_>],
    result: Result<T, E>,
) -> T {
    match result {
        Ok(value) => value,
        Err(what) => fail(op, operands, &what.to_string()),
    }
}

/// Applies an operation of one result: `body` adds it to a graph, `key` tells it from others. `body` depends on nothing
/// but what the key holds and the types of the operands.
///
/// Panics at the caller's line when the operands don't fit.
#[track_caller]
pub(crate) fn apply_one(key: Key, operands: &[Operand<'_>], body: Body<'_>) -> Tensor {
    let name = key.name;
    if !operands.iter().any(trace::is_traced) {
        return match run(key, operands, body) {
            Ok(array) => array.into(),
            Err(what) => fail(name, operands, &what),
        };
    }
    let spec = |o: &&Operand<'_>| matches!(o, Operand::Tensor(t) if matches!(t.repr(), Repr::Spec(_)));
    if let Some(Operand::Tensor(spec)) = operands.iter().find(spec) {
        trace::refuse_reading(spec);
    }
    let recorded = trace::record(operands, Location::caller(), body);
    let mut outputs = fitting(name, operands, recorded.map_err(|error| error_text(name, &error)));
    outputs.pop().expect("an operation has a result")
}

fn run(mut key: Key, operands: &[Operand<'_>], body: Body<'_>) -> Result<Array, String> {
    let attributes = key.words.len();
    let mut prepared = layout::prepare(&mut key, operands).map_err(|misfit| misfit_text(misfit, operands))?;
    let slot = cache::slot(&prepared.words);
    match slot.get(|| compile(&key, &prepared, operands, body)) {
        Ok(Known::Program(program)) => match program.run(&prepared) {
            Ok(array) => return Ok(array),
            Err(Failure::Shape(what)) => match concretely(operands, body) {
                Err(error) => return Err(error_text(key.name, &error)),
                // What the program demands of any extents is not demanded of these.
                Ok(()) if !key.is_exact() => {}
                Ok(()) => return Err(what),
            },
            Err(Failure::Index(what)) => return Err(format!("an index is out of range: {what}")),
            Err(Failure::Other(what)) => return Err(what),
        },
        Ok(Known::Exact) => {}
        Err(what) => {
            cache::forget(&prepared.words, &slot);
            return Err(what);
        }
    }
    prepared.words.truncate(attributes);
    key.words = prepared.words;
    run(key.all_exact(), operands, body)
}

fn compile(
    key: &Key,
    prepared: &Prepared<'_>,
    operands: &[Operand<'_>],
    body: Body<'_>,
) -> Result<Known, String> {
    let exact = key.is_exact();
    match program(key, prepared, operands, body) {
        Ok(program) => Ok(Known::Program(Box::new(program))),
        Err(Cause::Operands(symbolic)) => match concretely(operands, body) {
            Err(error) => Err(error_text(key.name, &error)),
            Ok(()) if exact => Err(error_text(key.name, &symbolic)),
            Ok(()) => Ok(Known::Exact),
        },
        Err(Cause::Compiler(_)) if !exact => Ok(Known::Exact),
        Err(Cause::Compiler(error)) => Err(error.to_string()),
    }
}

/// Why there is no program.
enum Cause {
    /// The operands don't fit, or not for every extent.
    Operands(GraphError),
    /// The graph could not be compiled.
    Compiler(Error),
}

fn program(
    key: &Key,
    prepared: &Prepared<'_>,
    operands: &[Operand<'_>],
    body: Body<'_>,
) -> Result<Program, Cause> {
    let mut b = Builder::new(key.name);
    let inputs = prepared.inputs(&mut b, operands).map_err(Cause::Operands)?;
    let values = body(&mut b, &inputs).map_err(Cause::Operands)?;
    for (i, value) in values.into_iter().enumerate() {
        b.output(&format!("y{i}"), value);
    }
    Program::new(b.finish()).map_err(Cause::Compiler)
}

/// Builds the operation for the operands' own shapes, for the error that this gives.
fn concretely(operands: &[Operand<'_>], body: Body<'_>) -> Result<(), GraphError> {
    let mut b = Builder::new("");
    let inputs = layout::concrete_inputs(&mut b, operands);
    body(&mut b, &inputs).map(drop)
}

/// What is wrong, without the name of the operation at its beginning.
fn error_text(name: &str, error: &GraphError) -> String {
    let text = error.source.to_string();
    match text.strip_prefix(name).and_then(|rest| rest.strip_prefix(": ")) {
        Some(rest) => rest.to_string(),
        None => text,
    }
}

fn misfit_text(misfit: Misfit, operands: &[Operand<'_>]) -> String {
    match misfit {
        Misfit::Limit(what) => what,
        Misfit::Memory(error) => error.to_string(),
        Misfit::Broadcast(axis) => {
            let rank = operands.iter().map(|o| o.shape().len()).max().unwrap_or(0);
            let extents = operands.iter().filter_map(|o| {
                let at = (axis + o.shape().len()).checked_sub(rank)?;
                Some(o.shape()[at].to_string())
            });
            format!(
                "the shapes do not broadcast: counted from the end, axis {} has extents {}, which must be equal or 1",
                axis as isize - rank as isize,
                extents.collect::<Vec<_>>().join(" and ")
            )
        }
    }
}

/// Whether a tensor has its elements in memory.
pub(crate) fn in_memory(tensor: &Tensor) -> Option<&Array> {
    match tensor.repr() {
        Repr::Array(array) => Some(array),
        _ => None,
    }
}
