//! Control flow that depends on the elements of tensors.
//!
//! On concrete tensors these functions run in Rust. Within a trace their branches and bodies are traced as nested graphs,
//! *regions*, and a region operator is recorded; what a region uses from outside becomes an operand of its own accord.

use std::panic::Location;
use std::sync::Arc;

use fornax_ir::DType;
use fornax_ir::dim::simplify;
use fornax_ir::graph::builder::ScanOperands;
use fornax_ir::graph::{Builder, Graph, GraphError, TensorType, ValueId};

use super::error::{TraceError, fail, line_of};
use super::recording::{self, Trace};
use super::signature::{Signature, listed};
use super::{CONSTANT_WARNING, stop, trace_at};
use crate::tensor::{Shape, Strides, Tensor};
use crate::tree::{self, TensorTree, Tensors, walk};

type Place = &'static Location<'static>;

/// What `then` gives for the operands if `pred` is true, else what `otherwise` gives.
///
/// Both return trees of the same structure with tensors of the same types. When `pred` is concrete one of them is called,
/// when it is traced both are traced, and the program runs one.
///
/// ```
/// use fornax::{Tensor, trace::cond};
///
/// let x = Tensor::from([1.0f32, -2.0]);
/// let y = cond(&x.sum(.., false).gt(0.0), |x: Tensor| x, |x: Tensor| -x, &x);
/// assert_eq!(y, Tensor::from([-1.0f32, 2.0]));
/// ```
///
/// # Panics
/// At the caller's line (an error of the trace, within one) when `pred` is no `bool[]`, or the branches' types differ.
#[track_caller]
pub fn cond<S, R>(
    pred: &Tensor,
    then: impl FnOnce(S::Owned) -> R,
    otherwise: impl FnOnce(S::Owned) -> R,
    operands: S,
) -> R
where
    S: TensorTree,
    R: TensorTree<Owned = R>,
{
    let location = Location::caller();
    require_predicate("cond: the predicate", pred, location);
    let operands = || tree::map(&operands, &mut |_, tensor| tensor.clone());
    if pred.is_concrete() {
        return if is_true(pred) { then(operands()) } else { otherwise(operands()) };
    }
    let parent = recording::target(&[pred.into()], location);
    let first = Region::open(&parent, "branch `then` of cond", location);
    let first = first.run(|| then(operands()), RESULT, location);
    let second = Region::open(&parent, "branch `otherwise` of cond", location);
    second.trace.capture_all(&captures(&parent, &first.trace, location));
    let second = second.run(|| otherwise(operands()), RESULT, location);
    let captured = captures(&parent, &second.trace, location);
    first.trace.capture_all(&captured);
    same_types("cond: the branches differ", ("`then`", "`otherwise`"), &first.types, &second.types, location);
    let pred = parent.value_of(pred, location);
    let captured: Vec<ValueId> = captured.into_iter().map(|(value, _)| value).collect();
    let (then, otherwise) = (first.trace.finish_region(&parent), second.trace.finish_region(&parent));
    let values = add(&parent, location, |b| b.cond(pred, then, otherwise, &captured));
    rebuild(&parent, &first.result, values, location)
}

/// Applies `body` to the carried tree again and again, while `condition` gives true for it.
///
/// `body` returns a tree of the structure and types of `init`.
///
/// ```
/// use fornax::{Tensor, trace::while_loop};
///
/// // The smallest power of two above 100.
/// let x = while_loop(|x: &Tensor| x.le(100.0), |x: Tensor| x * 2.0, Tensor::scalar(1.0f32));
/// assert_eq!(x.to_vec::<f32>()?, [128.0]);
/// # Ok::<(), fornax::Error>(())
/// ```
///
/// # Panics
/// At the caller's line (an error of the trace, within one) when `condition` gives no `bool[]`, or `body` changes a type.
#[track_caller]
pub fn while_loop<S>(
    condition: impl Fn(&S::Owned) -> Tensor,
    body: impl Fn(S::Owned) -> S::Owned,
    init: S,
) -> S::Owned
where
    S: TensorTree,
{
    const CONDITION: &str = "while_loop: the condition";
    let location = Location::caller();
    let types = signature(&init, CARRY, location);
    let Some(parent) = enclosing(&[&leaves(&init)], location) else {
        let mut carried = tree::map(&init, &mut |_, tensor| tensor.clone());
        loop {
            let more = condition(&carried);
            require_predicate(CONDITION, &more, location);
            if !is_true(&more) {
                return carried;
            }
            carried = body(carried);
            same_types(BODY_OF_WHILE, CARRIED, &types, &signature(&carried, CARRY, location), location);
        }
    };
    let carried = values(&parent, &leaves(&init), location);
    let enter = |name: &str| {
        let region = Region::open(&parent, name, location);
        let state = region.inputs(&init, CARRY, location, |ty| ty.clone());
        (region, state)
    };
    let (first, state) = enter("condition of while_loop");
    let first = first.run(|| condition(&state), RESULT, location);
    if let Some(result) = first.types.tensors().next().filter(|(_, ty)| !is_predicate(ty)) {
        mismatch(
            format!(
                "{CONDITION} must give bool[], not {}; compare, and reduce with `all` or `any`",
                result.1
            ),
            location,
        );
    }
    let (second, state) = enter("body of while_loop");
    second.trace.capture_all(&captures(&parent, &first.trace, location));
    let second = second.run(|| body(state), CARRY, location);
    same_types(BODY_OF_WHILE, CARRIED, &types, &second.types, location);
    let captured = captures(&parent, &second.trace, location);
    first.trace.capture_all(&captured);
    let captured: Vec<ValueId> = captured.into_iter().map(|(value, _)| value).collect();
    let (condition, body) = (first.trace.finish_region(&parent), second.trace.finish_region(&parent));
    let values = add(&parent, location, |b| b.while_loop(condition, body, &carried, &captured));
    rebuild(&parent, &second.result, values, location)
}

const BODY_OF_WHILE: &str = "while_loop: the body changes a type";
const BODY_OF_SCAN: &str = "scan: the body changes the type of what is carried";
/// Names of trees that are one tensor.
const CARRY: &str = "carry";
const WALKED: &str = "x";
const RESULT: &str = "result";
const CARRIED: (&str, &str) = ("before", "after");

/// A loop over the first axis: `f(carry, x)` gives the next carry and a `y`, for each `x` along the first axis of the tensors
/// of `xs`. Returns the last carry, and the `y`s stacked along a new first axis.
///
/// ```
/// use fornax::{Tensor, trace::scan};
///
/// let xs = Tensor::from([1.0f32, 2.0, 3.0]);
/// let (total, sums) = scan(|sum: Tensor, x: Tensor| (&sum + &x, &sum + &x), Tensor::scalar(0.0f32), &xs);
/// assert_eq!(total.to_vec::<f32>()?, [6.0]);
/// assert_eq!(sums, Tensor::from([1.0f32, 3.0, 6.0]));
/// # Ok::<(), fornax::Error>(())
/// ```
///
/// # Panics
/// At the caller's line (an error of the trace, within one) when `f` changes the carry's types, or the first extents of `xs`
/// differ.
#[track_caller]
pub fn scan<S, X, Y>(f: impl Fn(S::Owned, X::Owned) -> (S::Owned, Y), init: S, xs: X) -> (S::Owned, Y)
where
    S: TensorTree,
    X: TensorTree,
    Y: TensorTree<Owned = Y>,
{
    scan_at(f, &init, &xs, false, Location::caller())
}

/// As [`scan`], from the last place of the first axis to the first; each `y` stands at the place of its `x`.
///
/// # Panics
/// As [`scan`].
#[track_caller]
pub fn scan_reverse<S, X, Y>(f: impl Fn(S::Owned, X::Owned) -> (S::Owned, Y), init: S, xs: X) -> (S::Owned, Y)
where
    S: TensorTree,
    X: TensorTree,
    Y: TensorTree<Owned = Y>,
{
    scan_at(f, &init, &xs, true, Location::caller())
}

#[track_caller]
fn scan_at<S: TensorTree, X: TensorTree, Y: TensorTree<Owned = Y>>(
    f: impl Fn(S::Owned, X::Owned) -> (S::Owned, Y),
    init: &S,
    xs: &X,
    reverse: bool,
    location: Place,
) -> (S::Owned, Y) {
    let types = signature(init, CARRY, location);
    let length = length_of(&signature(xs, WALKED, location), location);
    let Some(parent) = enclosing(&[&leaves(init), &leaves(xs)], location) else {
        return scan_concrete(f, init, xs, reverse, location);
    };
    let region = Region::open(&parent, "body of scan", location);
    let carry = region.inputs(init, CARRY, location, |ty| ty.clone());
    let x = region.inputs(xs, WALKED, location, |ty| TensorType::new(ty.dtype, &ty.shape[1..]));
    let region = region.run(|| f(carry, x), RESULT, location);
    same_types(BODY_OF_SCAN, CARRIED, &types, &signature(&region.result.0, CARRY, location), location);
    let captured = region.trace.captured();
    let (carried, walked) =
        (values(&parent, &leaves(init), location), values(&parent, &leaves(xs), location));
    let body = region.trace.finish_region(&parent);
    let of = ScanOperands { carried: &carried, xs: &walked, captured: &captured, length, reverse };
    let values = add(&parent, location, |b| b.scan(body, &of));
    rebuild(&parent, &region.result, values, location)
}

/// The first extent that all of these have.
#[track_caller]
fn length_of(xs: &Signature, location: Place) -> fornax_ir::Dim {
    let mut found: Option<(&str, &TensorType)> = None;
    for (path, ty) in xs.tensors() {
        if ty.rank() == 0 {
            mismatch(format!("scan: `{path}` is {ty}, which has no axis to walk along"), location);
        }
        match found {
            None => found = Some((path, ty)),
            Some((first, other)) if other.shape[0] != ty.shape[0] => mismatch(
                format!("scan: the first extents of `{first}` and `{path}` differ: {other} and {ty}"),
                location,
            ),
            Some(_) => {}
        }
    }
    let Some((_, ty)) = found else {
        mismatch("scan: there is no tensor to walk along; give an `arange` of as many steps".into(), location)
    };
    ty.shape[0].clone()
}

#[track_caller]
fn scan_concrete<S: TensorTree, X: TensorTree, Y: TensorTree<Owned = Y>>(
    f: impl Fn(S::Owned, X::Owned) -> (S::Owned, Y),
    init: &S,
    xs: &X,
    reverse: bool,
    location: Place,
) -> (S::Owned, Y) {
    let types = signature(init, CARRY, location);
    let length = leaves(xs).first().map_or(0, |x| x.shape()[0]);
    if length == 0 {
        return scan_nothing(f, init, xs, location);
    }
    let mut carry = tree::map(init, &mut |_, tensor| tensor.clone());
    let mut ys: Vec<Y> = Vec::with_capacity(length);
    for step in 0..length {
        let at = if reverse { length - 1 - step } else { step };
        let (next, y) = f(carry, tree::map(xs, &mut |_, tensor| element(tensor, at)));
        same_types(BODY_OF_SCAN, CARRIED, &types, &signature(&next, CARRY, location), location);
        if let Some(first) = ys.first() {
            let (first, y) = (signature(first, "y", location), signature(&y, "y", location));
            same_types("scan: the results of steps differ", ("first", "later"), &first, &y, location);
        }
        carry = next;
        ys.push(y);
    }
    if reverse {
        ys.reverse();
    }
    let columns: Vec<Vec<Tensor>> = ys.iter().map(|y| leaves(y)).collect();
    let mut column = 0;
    let stacked = tree::map(&ys[0], &mut |_, _| {
        let parts: Vec<&Tensor> = columns.iter().map(|row| &row[column]).collect();
        column += 1;
        stack(&parts)
    });
    (carry, stacked)
}

/// A scan of no steps: only tracing tells the types of its results.
#[track_caller]
fn scan_nothing<S: TensorTree, X: TensorTree, Y: TensorTree<Owned = Y>>(
    f: impl Fn(S::Owned, X::Owned) -> (S::Owned, Y),
    init: &S,
    xs: &X,
    location: Place,
) -> (S::Owned, Y) {
    let x = tree::map(xs, &mut |_, tensor| Tensor::spec(tensor.dtype(), &tensor.dims()[1..]));
    let traced = trace_at(|(carry, x)| f(carry, x), &(init, x), CONSTANT_WARNING, location, "scan");
    let traced = match traced {
        Ok(traced) => traced,
        Err(error) => stop(error),
    };
    let empty = tree::map(&traced.result().1, &mut |_, tensor| {
        let shape: Vec<usize> = [&[0], tensor.shape()].concat();
        Tensor::zeros(&shape, tensor.dtype()).expect("a tensor without elements needs no memory")
    });
    (tree::map(init, &mut |_, tensor| tensor.clone()), empty)
}

/// The part of a tensor at a place of its first axis: a view.
fn element(tensor: &Tensor, at: usize) -> Tensor {
    let array = tensor.array();
    let first = at as isize * array.strides()[0];
    array
        .view(first, Shape::from_slice(&array.shape()[1..]), Strides::from_slice(&array.strides()[1..]))
        .into()
}

/// Tensors of one type along a new first axis.
fn stack(parts: &[&Tensor]) -> Tensor {
    let shape: Vec<usize> = [&[parts.len()], parts[0].shape()].concat();
    let mut bytes = Vec::with_capacity(parts.iter().map(|p| p.bytes().len()).sum());
    parts.iter().for_each(|part| bytes.extend_from_slice(part.bytes()));
    Tensor::from_bytes(bytes, parts[0].dtype(), &shape).expect("as many bytes as the parts have")
}

/// The trace that control flow over these tensors belongs to: that of the function that is being traced, or theirs.
#[track_caller]
fn enclosing(tensors: &[&[Tensor]], location: Place) -> Option<Arc<Trace>> {
    let operands: Vec<_> = tensors.iter().flat_map(|t| t.iter()).map(Into::into).collect();
    let traced = operands.iter().any(recording::is_traced);
    (recording::is_active() || traced).then(|| recording::target(&operands, location))
}

fn leaves(tree: &impl TensorTree) -> Vec<Tensor> {
    let mut tensors = Tensors(Vec::new());
    walk(tree, &mut tensors);
    tensors.0.into_iter().map(|(_, tensor)| tensor.clone()).collect()
}

fn values(trace: &Arc<Trace>, tensors: &[Tensor], location: Place) -> Vec<ValueId> {
    tensors.iter().map(|tensor| trace.value_of(tensor, location)).collect()
}

/// Types and structure of a tree.
#[track_caller]
fn signature(tree: &impl TensorTree, root: &'static str, location: Place) -> Signature {
    Signature::named(tree, root, location).unwrap_or_else(|error| fail(error))
}

/// What a region captures of its parent, with the types.
fn captures(parent: &Trace, region: &Trace, location: Place) -> Vec<(ValueId, TensorType)> {
    let captured = region.captured();
    parent.build(location, |b| captured.into_iter().map(|value| (value, b.ty(value).clone())).collect())
}

/// A region before its function has run.
struct Region {
    trace: Arc<Trace>,
}

/// A region whose function has run.
struct Done<R> {
    trace: Arc<Trace>,
    result: R,
    types: Signature,
}

impl Region {
    fn open(parent: &Arc<Trace>, name: &str, location: Place) -> Region {
        Region { trace: parent.region(name, location) }
    }

    /// An input for each tensor of a tree, of a type made from the tensor's.
    fn inputs<S: TensorTree>(
        &self,
        tree: &S,
        prefix: &str,
        location: Place,
        ty: impl Fn(&TensorType) -> TensorType,
    ) -> S::Owned {
        tree::map(tree, &mut |path, tensor| {
            let shape: Vec<_> = tensor.dims().iter().map(|d| d.expr().clone()).collect();
            let name = if path.is_root() { prefix.to_string() } else { format!("{prefix}.{path}") };
            self.trace.input(&name, ty(&TensorType::new(tensor.dtype(), shape)), location)
        })
    }

    /// Traces its function; the tensors of the result are its outputs.
    #[track_caller]
    fn run<R: TensorTree>(self, f: impl FnOnce() -> R, root: &'static str, location: Place) -> Done<R> {
        let result = self.trace.enter(f);
        let values = values(&self.trace, &leaves(&result), location);
        let types = signature(&result, root, location);
        self.trace.build(location, |builder| {
            for (i, value) in values.into_iter().enumerate() {
                builder.output(&format!("y{i}"), value);
            }
        });
        Done { trace: self.trace, result, types }
    }
}

/// Adds a region operator; the builder's refusal is the caller's error.
#[track_caller]
fn add(
    parent: &Trace,
    location: Place,
    f: impl FnOnce(&mut Builder) -> Result<Vec<ValueId>, GraphError>,
) -> Vec<ValueId> {
    parent.build(location, f).unwrap_or_else(|error| mismatch(error.source.to_string(), location))
}

/// A tree with the operator's results in place of its tensors.
fn rebuild<R: TensorTree>(
    parent: &Arc<Trace>,
    result: &R,
    values: Vec<ValueId>,
    location: Place,
) -> R::Owned {
    let mut values = values.into_iter();
    tree::map(result, &mut |_, _| {
        let value = values.next().expect("one result for each tensor");
        parent.tensor(value, location)
    })
}

/// Demands that two trees have the same structure, and tensors of the same types.
#[track_caller]
fn same_types(what: &str, sides: (&str, &str), a: &Signature, b: &Signature, location: Place) {
    let equal = |x: &TensorType, y: &TensorType| {
        let same =
            |(x, y): (&fornax_ir::Dim, &fornax_ir::Dim)| x == y || simplify(&(x - y), &a.ranges).is_const(0);
        x.dtype == y.dtype && x.rank() == y.rank() && x.shape.iter().zip(&y.shape).all(same)
    };
    if !a.same_structure(b) {
        let differences = listed(&a.differences(b));
        mismatch(
            format!("{what}: {} and {} have another structure: {differences}", sides.0, sides.1),
            location,
        );
    }
    for ((path, x), (_, y)) in a.tensors().zip(b.tensors()) {
        if !equal(x, y) {
            let message = format!("{what}: `{path}` is {x} {} and {y} {}", placed(sides.0), placed(sides.1));
            mismatch(message, location);
        }
    }
}

/// `in `then``, but `before`.
fn placed(side: &str) -> String {
    if side.starts_with('`') { format!("in {side}") } else { side.to_string() }
}

#[track_caller]
fn mismatch(message: String, location: Place) -> ! {
    fail(TraceError::Mismatch { location: line_of(location), message })
}

fn is_predicate(ty: &TensorType) -> bool {
    ty.dtype == DType::Bool && ty.rank() == 0
}

#[track_caller]
fn require_predicate(what: &str, pred: &Tensor, location: Place) {
    if pred.dtype() != DType::Bool || pred.rank() != 0 {
        let ty = pred.type_text();
        mismatch(
            format!("{what} must be bool[], not {ty}; compare, and reduce with `all` or `any`"),
            location,
        );
    }
}

fn is_true(pred: &Tensor) -> bool {
    pred.as_literal().get_i64(0) != 0
}

impl Trace {
    /// Ends a region; its warnings are the parent's.
    fn finish_region(&self, parent: &Trace) -> Graph {
        let (graph, warnings) = self.finish();
        parent.add_warnings(warnings);
        graph
    }
}
