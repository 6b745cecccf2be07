//! How long a kernel takes on one thread, as a size that the program computes when it runs: from that
//! it decides how many threads to take.
//!
//! The larger of what instructions and what bytes take. Rough, but in a unit: nanoseconds, of a core
//! at about 4 GHz that starts two vector instructions a cycle.

use crate::Machine;
use crate::rewrite::cost::instructions;
use fornax_ir::Dim;
use fornax_ir::kernel::{Axis, AxisKind, Inst, Kernel, Op, Size, Stage};
use fornax_ir::scalar::BinaryOp;

/// Picoseconds of one instruction on one register or scalar.
const INSTRUCTION: f64 = 125.0;
/// Picoseconds to read or write a byte in a cache that is not the nearest.
const BYTE: i64 = 20;

/// Nanoseconds of one run on one thread. `scalars` are what the kernel's arguments stand for, `bytes` what
/// it reads and writes.
pub(super) fn work(kernel: &Kernel, scalars: &[Dim], bytes: &Dim, machine: Machine) -> Dim {
    let extent = |size: Size| match size {
        Size::Const(n) => Dim::constant(n),
        Size::Arg(k) => scalars[k as usize].clone(),
    };
    let outer = Dim::product(kernel.outer.iter().map(|a| extent(a.extent)).collect());
    let mut compute = Dim::constant(0);
    for (stage, schedule) in kernel.stages.iter().zip(&kernel.schedule.stages) {
        let product = |reduces: bool| {
            let counted = stage.axes.iter().filter(|a| (a.kind == AxisKind::Reduce) == reduces);
            Dim::product(counted.map(|a| extent(a.extent)).collect())
        };
        let lanes = if schedule.vector.is_some() { machine.lanes() as f64 } else { 1.0 };
        let (inside, outside) = picoseconds(stage, lanes);
        let points = product(false);
        compute = compute + &points * &(product(true) * inside) + points * outside;
    }
    let compute = compute * outer;
    let memory = bytes * BYTE;
    compute.at_least(&memory).floor_div(&Dim::constant(1000))
}

/// Arithmetic operations of one run on elements: a multiplication and an addition are two, also where one instruction
/// computes both; a function such as `exp` counts as the instructions that it is expanded into.
pub fn operations(kernel: &Kernel, scalars: &[Dim]) -> Dim {
    let extent = |size: Size| match size {
        Size::Const(n) => Dim::constant(n),
        Size::Arg(k) => scalars[k as usize].clone(),
    };
    let product =
        |axes: &mut dyn Iterator<Item = &Axis>| Dim::product(axes.map(|a| extent(a.extent)).collect());
    let of_stage = |stage: &Stage| {
        let end = stage.body.iter().rposition(|op| matches!(op.inst, Inst::Accumulate { .. }));
        let count = |ops: &[Op]| ops.iter().map(arithmetic).sum::<f64>() as i64;
        let (inside, outside) = stage.body.split_at(end.map_or(0, |end| end + 1));
        let points = product(&mut stage.axes.iter().filter(|a| a.kind != AxisKind::Reduce));
        let elements = product(&mut stage.axes.iter().filter(|a| a.kind == AxisKind::Reduce));
        &points * &(elements * count(inside)) + points * count(outside)
    };
    let stages = kernel.stages.iter().map(of_stage);
    product(&mut kernel.outer.iter()) * stages.fold(Dim::constant(0), |sum, n| sum + n)
}

fn arithmetic(op: &Op) -> f64 {
    match op.inst {
        Inst::Load { .. } | Inst::Store { .. } | Inst::Axis(_) | Inst::InRange(_) | Inst::Raise { .. } => 0.0,
        Inst::Accumulate { .. } => 1.0,
        Inst::Fma(..) => 2.0,
        _ => instructions(op),
    }
}

/// Picoseconds of what is computed for each element that is accumulated, and for each point.
fn picoseconds(stage: &Stage, lanes: f64) -> (i64, i64) {
    let end = stage.body.iter().rposition(|op| matches!(op.inst, Inst::Accumulate { .. }));
    let (mut inside, mut outside) = (0.0, 0.0);
    for (k, op) in stage.body.iter().enumerate() {
        let accumulated = end.is_some_and(|end| k <= end);
        *(if accumulated { &mut inside } else { &mut outside }) += weight(op, accumulated);
    }
    let picoseconds = |instructions: f64| (instructions * INSTRUCTION / lanes).ceil() as i64;
    (picoseconds(inside), picoseconds(outside))
}

/// Instructions of one operation. Inside an accumulation tiles share loads, and a product is part of the
/// sum that follows.
fn weight(op: &Op, accumulated: bool) -> f64 {
    match op.inst {
        Inst::Load { .. } | Inst::Axis(_) => 0.25,
        Inst::Binary(BinaryOp::Mul, ..) if accumulated => 0.0,
        Inst::InRange(_) => 0.5,
        Inst::Store { .. } | Inst::Accumulate { .. } => 1.0,
        _ => instructions(op),
    }
}
