//! Tracing: operations on traced tensors are recorded in a graph instead of run.

use std::panic::Location;
use std::sync::{Arc, Mutex, PoisonError};

use fornax_ir::DType;
use fornax_ir::graph::{Builder, GraphError, TensorType, ValueId};

use crate::dim::Dim;
use crate::eager::{Body, Operand, Outputs};
use crate::tensor::{Repr, Tensor};

/// A graph in the making.
#[derive(Default)]
pub(crate) struct Trace {
    builder: Mutex<Builder>,
}

/// A value of a trace.
#[derive(Clone)]
pub(crate) struct TracedValue {
    trace: Arc<Trace>,
    value: ValueId,
    ty: Arc<TensorType>,
    dims: Arc<[Dim]>,
    constant: Option<Arc<[usize]>>,
}

/// A type without a value.
#[derive(Clone)]
pub(crate) struct Abstract {
    /// Its element type.
    pub(crate) dtype: DType,
    /// Its extents.
    pub(crate) dims: Arc<[Dim]>,
    /// Its extents, where all are constant.
    constant: Option<Arc<[usize]>>,
}

impl Abstract {
    /// From its parts.
    pub(crate) fn new(dtype: DType, dims: &[Dim]) -> Self {
        Abstract { dtype, dims: dims.into(), constant: constant(dims) }
    }
    /// Its extents, where all are constant.
    pub(crate) fn constant_shape(&self) -> Option<&[usize]> {
        self.constant.as_deref()
    }
}

fn constant(dims: &[Dim]) -> Option<Arc<[usize]>> {
    dims.iter().map(Dim::value).collect()
}

impl TracedValue {
    fn new(trace: &Arc<Trace>, builder: &Builder, value: ValueId) -> Self {
        let ty = builder.ty(value).clone();
        let ranges = &builder.graph().ranges;
        let dims: Arc<[Dim]> = ty.shape.iter().map(|d| Dim::from_expr(d, ranges)).collect();
        TracedValue { trace: trace.clone(), value, ty: Arc::new(ty), constant: constant(&dims), dims }
    }
    /// Its element type.
    pub(crate) fn dtype(&self) -> DType {
        self.ty.dtype
    }
    /// The number of its axes.
    pub(crate) fn rank(&self) -> usize {
        self.ty.shape.len()
    }
    /// Its extents.
    pub(crate) fn dims(&self) -> Vec<Dim> {
        self.dims.to_vec()
    }
    /// Its extents, where all are constant.
    pub(crate) fn constant_shape(&self) -> Option<&[usize]> {
        self.constant.as_deref()
    }
}

/// What to say where the elements of a tensor are wanted that has none.
pub(crate) fn reading_error(tensor: &Tensor) -> String {
    let ty = tensor.type_text();
    match tensor.repr() {
        Repr::Spec(_) => format!("{ty} is a spec: it has a type, but no elements; give it to `trace`"),
        _ => format!(
            "the elements of {ty} are not known while it is being traced; for decisions and loops that depend on them \
             use `cond`, `while_loop` or `scan`, or read them outside the traced function"
        ),
    }
}

/// Whether operations on this are recorded instead of run.
pub(crate) fn is_traced(operand: &Operand<'_>) -> bool {
    matches!(operand, Operand::Tensor(t) if !matches!(t.repr(), Repr::Array(_)))
}

/// Adds the nodes of an operation to the trace that its traced operands belong to; other operands become constants.
/// `location` is the caller's line.
pub(crate) fn record(
    operands: &[Operand<'_>],
    location: &Location<'_>,
    body: Body<'_>,
) -> Result<Outputs, GraphError> {
    let traced = operands.iter().find_map(|o| match o {
        Operand::Tensor(t) => match t.repr() {
            Repr::Traced(value) => Some(value),
            _ => None,
        },
        Operand::Scalar(_) => None,
    });
    let trace = traced.expect("one operand is traced").trace.clone();
    let mut builder = trace.builder.lock().unwrap_or_else(PoisonError::into_inner);
    builder.set_loc(&format!("{}:{}", location.file(), location.line()));
    let mut values = Vec::with_capacity(operands.len());
    for operand in operands {
        values.push(match operand {
            Operand::Scalar(s) => builder.scalar(*s),
            Operand::Tensor(t) => match t.repr() {
                Repr::Traced(value) => value.value,
                _ => builder.constant("", t.as_literal()),
            },
        });
    }
    let outputs = body(&mut builder, &values)?;
    Ok(outputs.into_iter().map(|v| TracedValue::new(&trace, &builder, v).into()).collect())
}
