//! Kernels that are functions of the runtime library: what their arguments stand for.
//!
//! Such a kernel computes its tensors alone, from tensors in memory: nothing is fused into it.

use super::{Lowered, Operand, Refuse};
use crate::Machine;
use crate::plan::{Group, storage};
use fornax_ir::DType;
use fornax_ir::Dim;
use fornax_ir::graph::ops::{Cumulative, OpClass};
use fornax_ir::graph::{Graph, Op, ValueId};
use fornax_ir::kernel::library::dtype_code;
use fornax_ir::kernel::{Access, Axis, AxisKind, BufferDecl, Kernel, Library, Schedule, Size};

/// Picoseconds to read or write a byte in a cache that is not the nearest.
const BYTE: i64 = 20;

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
        self.kernel.schedule = Schedule { parallel: vec![(0, 1)], stages: vec![] };
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
    if !group.members.is_empty() || !group.locals.is_empty() || !group.also.is_empty() {
        return Err(Refuse("a library function computes its tensors alone"));
    }
    match &node.op {
        Op::Cumulative(op) => Ok(cumulative(graph, group.root, op)),
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
