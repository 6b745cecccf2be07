//! Kernels that are functions of the runtime library: what their arguments stand for.
//!
//! Such a kernel computes its tensors alone, from tensors in memory: nothing is fused into it.

use super::{DETAIL, Lowered, Operand, Refuse};
use crate::Machine;
use crate::plan::{Group, storage};
use fornax_ir::DType;
use fornax_ir::Dim;
use fornax_ir::graph::ops::{Cumulative, OpClass, Scatter, Sort, Sorted};
use fornax_ir::graph::{Graph, Op, ValueId};
use fornax_ir::kernel::library::dtype_code;
use fornax_ir::kernel::{Access, Axis, AxisKind, BufferDecl, Kernel, Library, LocalDecl, Schedule, Size};

/// Picoseconds to read or write a byte in a cache that is not the nearest.
const BYTE: i64 = 20;
/// Picoseconds for each index of a scatter.
const INDEX: i64 = 1000;
/// Picoseconds to sort one of many elements.
const SORT: i64 = 12_000;
/// Picoseconds to compare an element with those wanted so far.
const SELECT: i64 = 500;
/// Ranges of rows that threads may share in a scatter, where places before the axes are not enough for them.
const RANGES: i64 = 16;
/// As many elements are selected instead of sorting all, at most.
const SELECTED: i64 = 1024;

/// Whether a value is computed by a function of the runtime library.
pub(crate) fn is_library(graph: &Graph, v: ValueId) -> bool {
    graph.node(v).op.class() == OpClass::Library
}

/// A kernel in the making.
struct Call {
    kernel: Kernel,
    operands: Vec<Operand>,
    scalars: Vec<Dim>,
    /// Bytes read and written.
    bytes: Dim,
    /// Picoseconds of one run on one thread, where that is more than the bytes take.
    time: Dim,
}

impl Call {
    fn new(function: Library) -> Self {
        let kernel = Kernel { library: Some(function), ..Kernel::default() };
        let zero = || Dim::constant(0);
        Call { kernel, operands: vec![], scalars: vec![], bytes: zero(), time: zero() }
    }

    fn buffer(&mut self, dtype: DType, access: Access, operand: Operand) {
        self.kernel.buffers.push(BufferDecl { dtype, access });
        self.operands.push(operand);
    }

    /// A tensor that is read as a whole.
    fn reads(&mut self, graph: &Graph, v: ValueId) {
        let ty = graph.ty(v);
        self.buffer(ty.dtype, Access::Read, Operand::Tensor(storage(graph, v)));
        self.bytes = self.bytes.clone() + ty.bytes();
    }

    /// A tensor that is written.
    fn writes(&mut self, graph: &Graph, v: ValueId) {
        let ty = graph.ty(v);
        self.buffer(ty.dtype, Access::Write, Operand::Target(v));
        self.bytes = self.bytes.clone() + ty.bytes();
    }

    fn scalar(&mut self, value: impl Into<Dim>) -> Size {
        self.scalars.push(value.into());
        Size::Arg(self.scalars.len() as u32 - 1)
    }

    /// The kernel, with so many items; their number is the last scalar.
    fn finish(mut self, graph: &Graph, root: ValueId, items: Dim) -> Lowered {
        let extent = self.scalar(items);
        self.kernel.outer = vec![Axis { extent, kind: AxisKind::Parallel }];
        self.kernel.schedule = Schedule { parallel: vec![(0, 1)], ..Schedule::default() };
        self.kernel.scalars = self.scalars.len() as u32;
        self.kernel.name = graph.loc(root).to_string();
        let work = self.time.at_least(&(self.bytes.clone() * BYTE)).floor_div(&Dim::constant(1000));
        let Call { kernel, operands, scalars, bytes, .. } = self;
        Lowered { kernel, operands, scalars, in_place: vec![], work, bytes }
    }
}

/// Lowers a group whose root is such an operator's result.
pub(super) fn lower(graph: &Graph, group: &Group, _machine: Machine) -> Result<Lowered, Refuse> {
    let node = graph.node(group.root);
    if !group.members.is_empty() || !group.locals.is_empty() {
        return Err(Refuse("a library function computes its tensors alone"));
    }
    if let Op::Sort(op) = &node.op {
        return sort(graph, group, op);
    }
    if !group.also.is_empty() {
        return Err(Refuse("a library function computes its tensors alone"));
    }
    match &node.op {
        Op::Cumulative(op) => Ok(cumulative(graph, group.root, op)),
        Op::Scatter(op) => Ok(scatter(graph, group.root, op)),
        _ => Err(Refuse("no library function computes this")),
    }
}

/// The extents before an axis, of it, and behind it.
fn around(shape: &[Dim], axis: u32) -> [Dim; 3] {
    let (before, rest) = shape.split_at(axis as usize);
    [Dim::product(before.to_vec()), rest[0].clone(), Dim::product(rest[1..].to_vec())]
}

fn cumulative(graph: &Graph, root: ValueId, op: &Cumulative) -> Lowered {
    let x = graph.node(root).inputs[0];
    let mut call = Call::new(Library::Cumulative);
    call.reads(graph, x);
    call.writes(graph, root);
    let [before, n, behind] = around(&graph.ty(root).shape, op.axis);
    let constants =
        [dtype_code(graph.ty(x).dtype), op.op as i64, i64::from(op.exclusive), i64::from(op.reverse)];
    constants.into_iter().for_each(|c| _ = call.scalar(c));
    let items = before.clone() * &behind.ceil_div(&Dim::constant(Library::COLUMNS));
    [before, n, behind].into_iter().for_each(|d| _ = call.scalar(d));
    call.finish(graph, root, items)
}

fn scatter(graph: &Graph, root: ValueId, op: &Scatter) -> Lowered {
    let inputs = &graph.node(root).inputs;
    let mut call = Call::new(Library::Scatter);
    inputs.iter().for_each(|&v| call.reads(graph, v));
    call.writes(graph, root);
    let shape = &graph.ty(root).shape;
    let (first, after) = (op.axes[0] as usize, op.axes[op.axes.len() - 1] as usize + 1);
    let index = graph.ty(inputs[2]);
    let count = if op.each { index.shape[first].clone() } else { index.elements() };
    let (outer, inner) = (Dim::product(shape[..first].to_vec()), Dim::product(shape[after..].to_vec()));
    let ranges = if outer.as_const().is_some_and(|n| n >= 4 * RANGES) { 1 } else { RANGES };
    call.time = index.elements() * INDEX + call.bytes.clone() * BYTE;
    let constants =
        [dtype_code(graph.ty(root).dtype), op.update as i64, dtype_code(index.dtype), i64::from(op.each)];
    constants.into_iter().for_each(|c| _ = call.scalar(c));
    [outer.clone(), count, inner].into_iter().for_each(|d| _ = call.scalar(d));
    shape[first..after].iter().for_each(|d| _ = call.scalar(d.clone()));
    call.scalar(ranges);
    call.scalar(Dim::symbol(&format!("{DETAIL}{}", root.0)));
    let mut lowered = call.finish(graph, root, outer * ranges);
    // Each range of rows is read by the item that writes it.
    lowered.in_place = vec![storage(graph, inputs[0])];
    lowered
}

/// One or both results of sorting a tensor.
fn sort(graph: &Graph, group: &Group, op: &Sort) -> Result<Lowered, Refuse> {
    let x = graph.node(group.root).inputs[0];
    let mut results = [None, None];
    for v in group.stored() {
        let node = graph.node(v);
        match &node.op {
            Op::Sort(other) if node.inputs[0] == x && Sort { of: op.of, ..other.clone() } == *op => {
                results[usize::from(other.of == Sorted::Places)] = Some(v);
            }
            _ => return Err(Refuse("a library function computes its tensors alone")),
        }
    }
    let mut call = Call::new(Library::Sort);
    call.reads(graph, x);
    results.iter().flatten().for_each(|&v| call.writes(graph, v));
    let ty = graph.ty(x);
    let [outer, n, inner] = around(&ty.shape, op.axis);
    let constants = [dtype_code(ty.dtype), op.of as i64, i64::from(op.descending)];
    constants.into_iter().for_each(|c| _ = call.scalar(c));
    let items = outer.clone() * &inner;
    let few = op.count.as_const().filter(|&k| k <= SELECTED);
    let room = few.map_or(n.clone() * 2, |k| (n.clone() * 2).at_most(&Dim::constant(4 * k + 256)));
    call.time = items.clone() * &n * if few.is_some() { SELECT } else { SORT };
    [outer, n, inner, op.count.clone(), room.clone()].into_iter().for_each(|d| _ = call.scalar(d));
    let words = if ty.dtype.bytes() == 8 { 2 } else { 1 };
    let mut lowered = call.finish(graph, group.root, items);
    lowered.scalars.push(room * words);
    lowered.kernel.locals.push(LocalDecl { dtype: DType::U64, len: Size::Arg(lowered.kernel.scalars) });
    lowered.kernel.scalars += 1;
    Ok(lowered)
}
