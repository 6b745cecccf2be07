//! Tracing and the stages of compilation.
//!
//! [`trace()`] runs a function once on tensors that have types but no elements, and records what it does in a graph:
//! [`Traced`]. [`Traced::lower`] plans the kernels ([`Lowered`]), [`Lowered::compile`] makes native code of them
//! ([`Compiled`]), which is called as the function was. [`crate::jit()`] does all three when a call needs it.
//!
//! What does not depend on traced tensors runs as usual while the function is traced: concrete tensors become constants,
//! `if` and `for` over numbers of Rust are decided once. Decisions and loops that depend on the elements of traced tensors
//! are made by [`cond`], [`while_loop`] and [`scan`].

mod control;
mod error;
mod recording;
mod signature;
mod stages;

use std::any::type_name;
use std::panic::Location;

pub use control::{cond, scan, scan_reverse, while_loop};
pub use error::TraceError;
pub use stages::{Compiled, Lowered, Traced};

pub(crate) use error::{fail, line_of};
pub(crate) use recording::{Abstract, TracedValue, is_traced, lifted, record};
pub(crate) use signature::{Flat, Signature, listed};

use crate::dim::Dim;
use crate::error::Error;
use crate::tensor::{Repr, Tensor};
use crate::tree::{self, TensorTree};
use fornax_ir::DType;

/// Captured tensors of more bytes than this are worth a warning: 16 MB.
pub const CONSTANT_WARNING: usize = 16 << 20;

/// Records what a function computes.
///
/// `spec` stands for the argument: a tree whose tensors are examples, of which only the types count, or [`Tensor::spec`]s,
/// whose extents may be symbolic. The function gets the tree with traced tensors. Inputs and outputs of the graph are named
/// by the tensors' paths; an argument or result that is a tensor as a whole is `input` or `output`.
///
/// ```
/// use fornax::{DType, Dim, Options, Tensor, trace};
///
/// let batch = Dim::symbol("batch", 1..=512);
/// let w = Tensor::from([[1.0f32, 2.0], [3.0, 4.0]]);
/// let traced = trace(|x: Tensor| x.matmul(&w).relu(), Tensor::spec(DType::F32, [batch, Dim::from(2)]))?;
/// let compiled = traced.lower(&Options::default())?.compile(&Options::default())?;
/// for rows in [1, 3] {
///     let x = Tensor::ones([rows, 2], DType::F32);
///     assert_eq!(compiled.call(&x)?, x.matmul(&w).relu());
/// }
/// # Ok::<(), fornax::Error>(())
/// ```
///
/// # Errors
/// [`Error::Trace`] for an operation that does not fit its operands, for reading a traced tensor's elements, and for what
/// else the function may not do, each with the line of the source that did it.
#[track_caller]
pub fn trace<S, F, O>(f: F, spec: S) -> Result<Traced<O::Owned>, Error>
where
    S: TensorTree,
    F: FnOnce(S::Owned) -> O,
    O: TensorTree,
{
    let name = function_name(type_name::<F>());
    trace_at(f, &spec, CONSTANT_WARNING, Location::caller(), &name)
}

/// As [`trace()`], called at `location`, of a function of that name, with the size in bytes from which captured tensors are
/// worth a warning.
pub(crate) fn trace_at<S, F, O>(
    f: F,
    spec: &S,
    warn_above: usize,
    location: &'static Location<'static>,
    name: &str,
) -> Result<Traced<O::Owned>, Error>
where
    S: TensorTree,
    F: FnOnce(S::Owned) -> O,
    O: TensorTree,
{
    let signature = Signature::of(spec, location)?;
    let recording = stages::Recording::start(name, &signature, warn_above, location);
    let mut inputs = recording.inputs.iter();
    let arguments = tree::map(spec, &mut |_, _| inputs.next().expect("one input for each tensor").clone());
    let (template, outputs) = error::catch(|| {
        recording.trace.enter(|| {
            let result = f(arguments);
            let outputs = recording.outputs(&result, location);
            (tree::map(&result, &mut |_, tensor| tensor.to_spec()), outputs)
        })
    })?;
    recording.finish(signature, template, outputs)
}

/// The name of a function: the last part of its path, of a closure that of the function that it is in.
pub(crate) fn function_name(path: &str) -> String {
    // A generic function's parameters hold paths of their own.
    let path = path.split('<').next().unwrap_or_default();
    let name = path.split("::").filter(|part| !part.starts_with('{') && !part.is_empty()).last();
    name.unwrap_or("traced").to_string()
}

impl Tensor {
    /// A type without elements, for [`trace()`] and [`crate::Jit::spec`]: a tensor of these extents, some of which may be
    /// symbolic.
    ///
    /// ```
    /// use fornax::{DType, Dim, Tensor};
    ///
    /// let images = Tensor::spec(DType::F32, [Dim::symbol("batch", 1..), 3.into(), 224.into(), 224.into()]);
    /// assert_eq!(images.dims()[0].to_string(), "batch");
    /// ```
    pub fn spec<D: Into<Dim>>(dtype: DType, dims: impl IntoIterator<Item = D>) -> Tensor {
        let dims: Vec<Dim> = dims.into_iter().map(Into::into).collect();
        Abstract::new(dtype, &dims).into()
    }

    /// Its type without elements.
    pub(crate) fn to_spec(&self) -> Tensor {
        Abstract::new(self.dtype(), &self.dims()).into()
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

/// Refuses to read the elements of a tensor that has none: the error of the trace, else a panic at the caller's line.
#[track_caller]
pub(crate) fn refuse_reading(tensor: &Tensor) -> ! {
    let location = line_of(Location::caller());
    if let Repr::Traced(value) = tensor.repr()
        && let Some(trace) = value.ended()
    {
        fail(TraceError::Escaped { location, trace: trace.to_string() });
    }
    fail(TraceError::Read { location, message: reading_error(tensor) })
}

/// Ends the calling function with an error: the error of the trace that runs, else a panic at the caller's line.
#[track_caller]
pub(crate) fn stop(error: Error) -> ! {
    match error {
        Error::Trace(error) => fail(error),
        error => panic!("{error}"),
    }
}

/// Refuses an operation: the error of the trace, else a panic at the caller's line with the message alone.
#[track_caller]
pub(crate) fn refuse(message: String) -> ! {
    if !recording::is_active() {
        panic!("{message}");
    }
    fail(TraceError::Operation { location: line_of(Location::caller()), message })
}
