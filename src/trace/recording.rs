//! Graphs in the making: what operations on traced tensors are recorded in.

use std::cell::RefCell;
use std::panic::Location;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fornax_ir::graph::{Builder, Graph, GraphError, TensorType, ValueId};
use fornax_ir::{DType, Literal};
use rustc_hash::FxHashMap;

use super::error::{TraceError, fail, line_of};
use crate::dim::Dim;
use crate::eager::{Body, Operand, Outputs};
use crate::tensor::{Array, Repr, Tensor};

/// A constant with more elements belongs to the outermost graph, and regions capture it; smaller ones may take part in
/// shape arithmetic, which sees constants of its own graph only.
const LOCAL_ELEMENTS: usize = 256;

/// A trace, or a region of one that is being traced.
pub(crate) struct Trace {
    /// `the trace at src/main.rs:7`.
    what: String,
    parent: Option<Arc<Trace>>,
    /// Captured constants of more bytes are worth a warning.
    warn_above: usize,
    state: Mutex<State>,
}

struct State {
    /// `None` once the trace has ended.
    builder: Option<Builder>,
    constants: FxHashMap<ConstantKey, ValueId>,
    /// The tensors whose storage the keys of constants name, so that none is reused for another.
    kept: Vec<Tensor>,
    /// Values of the parent and the inputs that stand for them, in order.
    captured: Vec<(ValueId, ValueId)>,
    warnings: Vec<String>,
}

/// What makes two concrete tensors the same constant: address of the first element, dtype, shape and strides.
type ConstantKey = (usize, DType, Vec<usize>, Vec<isize>);

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
    /// What its trace is called, if that has ended.
    pub(super) fn ended(&self) -> Option<&str> {
        self.trace.state().builder.is_none().then_some(&*self.trace.what)
    }
    /// Its extents, where all are constant.
    pub(crate) fn constant_shape(&self) -> Option<&[usize]> {
        self.constant.as_deref()
    }
}

thread_local! {
    /// Traces whose functions run on this thread, outermost first.
    static ACTIVE: RefCell<Vec<Arc<Trace>>> = const { RefCell::new(Vec::new()) };
}

/// Whether a traced function runs on this thread.
pub(crate) fn is_active() -> bool {
    ACTIVE.with_borrow(|active| !active.is_empty())
}

/// The innermost trace whose function runs on this thread.
pub(super) fn active() -> Option<Arc<Trace>> {
    ACTIVE.with_borrow(|active| active.last().cloned())
}

/// Leaves the trace when dropped.
struct Entered;

impl Drop for Entered {
    fn drop(&mut self) {
        ACTIVE.with_borrow_mut(|active| active.pop());
    }
}

impl Trace {
    /// A trace of its own.
    pub(super) fn root(name: &str, location: &Location<'_>, warn_above: usize) -> Arc<Trace> {
        let mut builder = Builder::new(name);
        builder.set_loc(&line_of(location));
        Trace::with(format!("the trace at {}", line_of(location)), None, warn_above, builder)
    }

    /// A region of this trace: what `name` (a branch or body) computes.
    pub(super) fn region(self: &Arc<Self>, name: &str, location: &Location<'_>) -> Arc<Trace> {
        let mut builder = self.build(location, |b| b.region(name));
        builder.set_loc(&line_of(location));
        let what = format!("the {name} at {}", line_of(location));
        Trace::with(what, Some(self.clone()), self.warn_above, builder)
    }

    fn with(what: String, parent: Option<Arc<Trace>>, warn_above: usize, builder: Builder) -> Arc<Trace> {
        let state = State {
            builder: Some(builder),
            constants: FxHashMap::default(),
            kept: Vec::new(),
            captured: Vec::new(),
            warnings: Vec::new(),
        };
        Arc::new(Trace { what, parent, warn_above, state: Mutex::new(state) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `f` as a function of this trace.
    pub(super) fn enter<T>(self: &Arc<Self>, f: impl FnOnce() -> T) -> T {
        ACTIVE.with_borrow_mut(|active| active.push(self.clone()));
        let _entered = Entered;
        f()
    }

    /// Gives the builder, with the caller's line as the place of new nodes.
    #[track_caller]
    pub(super) fn build<T>(&self, location: &Location<'_>, f: impl FnOnce(&mut Builder) -> T) -> T {
        let mut state = self.state();
        let Some(builder) = &mut state.builder else {
            drop(state);
            fail(TraceError::Escaped { location: line_of(location), trace: self.what.clone() })
        };
        builder.set_loc(&line_of(location));
        f(builder)
    }

    /// A new input.
    pub(super) fn input(self: &Arc<Self>, name: &str, ty: TensorType, location: &Location<'_>) -> Tensor {
        self.build(location, |builder| {
            let value = builder.input(name, ty);
            TracedValue::new(self, builder, value).into()
        })
    }

    /// The tensor of a value.
    pub(super) fn tensor(self: &Arc<Self>, value: ValueId, location: &Location<'_>) -> Tensor {
        self.build(location, |builder| TracedValue::new(self, builder, value).into())
    }

    /// The value of a tensor in this trace: its own, captured from a trace around it, or a constant.
    pub(super) fn value_of(self: &Arc<Self>, tensor: &Tensor, location: &Location<'_>) -> ValueId {
        match tensor.repr() {
            Repr::Traced(traced) => match self.capture(&traced.trace, traced.value, location) {
                Some(value) => value,
                None => fail(traced.trace.foreign(self, location)),
            },
            Repr::Array(array) => self.constant(tensor, array, location),
            Repr::Spec(_) => {
                let message = super::reading_error(tensor);
                fail(TraceError::Read { location: line_of(location), message })
            }
        }
    }

    /// The error of meeting a value of this trace in another.
    fn foreign(&self, other: &Trace, location: &Location<'_>) -> TraceError {
        let location = line_of(location);
        if self.state().builder.is_none() {
            return TraceError::Escaped { location, trace: self.what.clone() };
        }
        TraceError::Mixed { location, one: other.what.clone(), other: self.what.clone() }
    }

    /// Whether this is the other trace, or a region somewhere inside it.
    fn is_within(&self, other: &Trace) -> bool {
        let mut at = Some(self);
        while let Some(trace) = at {
            if std::ptr::eq(trace, other) {
                return true;
            }
            at = trace.parent.as_deref();
        }
        false
    }

    /// What stands here for a value of this trace or one around it; `None` if `from` is neither.
    fn capture(self: &Arc<Self>, from: &Trace, value: ValueId, location: &Location<'_>) -> Option<ValueId> {
        // From here outward until the owner; then inward again, one input a level.
        let mut levels = Vec::new();
        let mut at = self;
        while !std::ptr::eq(&**at, from) {
            levels.push(at);
            at = at.parent.as_ref()?;
        }
        let mut value = value;
        let mut owner = at;
        for level in levels.into_iter().rev() {
            let known = level.state().captured.iter().find(|(outer, _)| *outer == value).map(|(_, own)| *own);
            value = match known {
                Some(own) => own,
                None => {
                    let ty = owner.build(location, |b| b.ty(value).clone());
                    level.add_capture(value, ty)
                }
            };
            owner = level;
        }
        Some(value)
    }

    fn add_capture(&self, outer: ValueId, ty: TensorType) -> ValueId {
        let mut state = self.state();
        let name = format!("captured{}", state.captured.len());
        let own = match &mut state.builder {
            Some(builder) => builder.input(&name, ty),
            // A region that has ended is the innermost of no operation.
            None => return outer,
        };
        state.captured.push((outer, own));
        own
    }

    /// The captured values of the parent, in the order of the inputs that stand for them.
    pub(super) fn captured(&self) -> Vec<ValueId> {
        self.state().captured.iter().map(|(outer, _)| *outer).collect()
    }

    /// Gives this region an input for each of these values of the parent, in their order, as far as it has none; what it
    /// captures already must be the first of them.
    pub(super) fn capture_all(&self, values: &[(ValueId, TensorType)]) {
        for (outer, ty) in &values[self.captured().len()..] {
            self.add_capture(*outer, ty.clone());
        }
    }

    /// A concrete tensor as a constant; the same tensor is the same constant.
    fn constant(self: &Arc<Self>, tensor: &Tensor, array: &Array, location: &Location<'_>) -> ValueId {
        if let Some(root) = self.outermost().filter(|_| array.numel() > LOCAL_ELEMENTS) {
            let value = root.constant(tensor, array, location);
            return self.capture(root, value, location).expect("the outermost trace is around this one");
        }
        let address = array.behind(array.numel().min(1)).as_ptr().addr();
        let key = (address, array.dtype(), array.shape().to_vec(), array.strides().to_vec());
        if let Some(&known) = self.state().constants.get(&key) {
            return known;
        }
        let value = self.build(location, |builder| repeated(builder, array));
        let value = value.unwrap_or_else(|| {
            self.warn(array, location);
            self.build(location, |builder| builder.constant("", tensor.as_literal()))
        });
        let mut state = self.state();
        state.constants.insert(key, value);
        state.kept.push(tensor.clone());
        value
    }

    /// The trace around all regions, for a region.
    fn outermost(&self) -> Option<&Arc<Trace>> {
        let mut outer = self.parent.as_ref()?;
        while let Some(parent) = &outer.parent {
            outer = parent;
        }
        Some(outer)
    }

    fn warn(&self, array: &Array, location: &Location<'_>) {
        let bytes = array.numel() * array.dtype().bytes();
        if bytes <= self.warn_above {
            return;
        }
        let dims: Vec<String> = array.shape().iter().map(usize::to_string).collect();
        let warning = format!(
            "{}: a concrete tensor {}[{}] of {:.1} MB becomes a constant of the graph; make it an argument to keep it out",
            line_of(location),
            array.dtype(),
            dims.join(", "),
            bytes as f64 / f64::from(1 << 20),
        );
        tracing::warn!("{warning}");
        self.state().warnings.push(warning);
    }

    /// Adds the warnings of a region.
    pub(super) fn add_warnings(&self, warnings: Vec<String>) {
        self.state().warnings.extend(warnings);
    }

    /// Ends the trace: the graph and its warnings. Its tensors are useless from now on.
    pub(super) fn finish(&self) -> (Graph, Vec<String>) {
        let mut state = self.state();
        state.constants.clear();
        state.kept.clear();
        let builder = state.builder.take().unwrap_or_default();
        (builder.finish(), std::mem::take(&mut state.warnings))
    }
}

/// One value at all places is a scalar that is broadcast.
fn repeated(builder: &mut Builder, array: &Array) -> Option<ValueId> {
    let one = array.numel() > 1 && array.strides().iter().zip(array.shape()).all(|(s, n)| *s == 0 || *n == 1);
    if !one {
        return None;
    }
    let literal = Literal::from_bytes(array.dtype(), &[], array.behind(1).to_vec().into()).ok()?;
    let scalar = builder.constant("", literal);
    let shape: Vec<fornax_ir::Dim> = array.shape().iter().map(|&n| n.into()).collect();
    builder.broadcast_to(scalar, &shape).ok()
}

/// Whether operations on this are recorded instead of run.
pub(crate) fn is_traced(operand: &Operand<'_>) -> bool {
    matches!(operand, Operand::Tensor(t) if !matches!(t.repr(), Repr::Array(_)))
}

/// Adds the nodes of an operation to the innermost trace that its traced operands allow; other operands become constants.
/// `location` is the caller's line.
#[track_caller]
pub(crate) fn record(
    operands: &[Operand<'_>],
    location: &Location<'_>,
    body: Body<'_>,
) -> Result<Outputs, GraphError> {
    let trace = target(operands, location);
    let mut values = Vec::with_capacity(operands.len());
    for operand in operands {
        values.push(match operand {
            Operand::Scalar(s) => trace.build(location, |b| b.scalar(*s)),
            Operand::Tensor(t) => trace.value_of(t, location),
        });
    }
    trace.build(location, |builder| {
        let outputs = body(builder, &values)?;
        Ok(outputs.into_iter().map(|v| TracedValue::new(&trace, builder, v).into()).collect())
    })
}

/// A concrete tensor as a value of the trace that runs on this thread: for operations whose result depends on symbolic dims.
/// `None` where there is no trace.
#[track_caller]
pub(crate) fn lifted(tensor: &Tensor) -> Option<Tensor> {
    let location = Location::caller();
    active().map(|trace| {
        let value = trace.value_of(tensor, location);
        trace.tensor(value, location)
    })
}

/// Where an operation on these belongs: the innermost trace that runs on this thread if it is within those of all operands,
/// else the innermost of the operands'.
#[track_caller]
pub(super) fn target(operands: &[Operand<'_>], location: &Location<'_>) -> Arc<Trace> {
    let traced = || {
        operands.iter().filter_map(|operand| match operand {
            Operand::Tensor(t) => match t.repr() {
                Repr::Traced(value) => Some(&value.trace),
                _ => None,
            },
            Operand::Scalar(_) => None,
        })
    };
    if let Some(active) = active().filter(|active| traced().all(|t| active.is_within(t))) {
        return active;
    }
    let mut inner: Option<&Arc<Trace>> = None;
    for trace in traced() {
        if inner.is_none_or(|inner| trace.is_within(inner)) {
            inner = Some(trace);
        }
    }
    match inner {
        Some(inner) => inner.clone(),
        None => {
            let spec = operands.iter().find_map(|operand| match operand {
                Operand::Tensor(t) if matches!(t.repr(), Repr::Spec(_)) => Some(*t),
                _ => None,
            });
            let message = spec.map_or_else(|| "no operand is traced".to_string(), super::reading_error);
            fail(TraceError::Read { location: line_of(location), message })
        }
    }
}
