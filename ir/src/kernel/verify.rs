//! The invariants of a [`Kernel`]. What later stages rely on is exactly this list:
//!
//! Kernel
//! - Scalar arguments that sizes, masks and instructions name exist. Known extents and local lengths are not negative.
//! - Outer axes are `Parallel` or `Sequential`. A stage sees at most 64 axes, outer ones included.
//!
//! - A kernel that is a library function has the arguments of that, and no stages ([`super::Library::check`]).
//!
//! Stage
//! - `Reduce` axes come after all others, and a stage that has some has an accumulation.
//!
//! Instruction
//! - Operands are values of earlier instructions of the same body that have a result.
//! - Named axes are outer ones or the stage's own; named buffers exist.
//! - Operand and result dtypes fit the operator (as [`crate::scalar::eval`] states), conditions are bool,
//!   counters and arguments i64.
//! - Terms of an index are sorted by variable, each variable occurs once, no stride is `Const(0)`; value variables are i64.
//! - A load or store has its buffer's dtype. `Read` buffers are not stored to, `Write` buffers not loaded from.
//! - An accumulation's element and mask depend on no accumulation of the stage.
//! - Nothing that depends on an accumulation names a reduce axis, nor does a store depend on one.
//!
//! Schedule
//! - There is one [`StageSchedule`] a stage.
//! - `vector` and `rows` name different axes, own ones or `Parallel` outer ones, with counts of at least 1.
//!   `rows` is `Parallel`. `vector` is not `Sequential`; if it is `Reduce`, then every accumulation of the stage
//!   is `Interleaved` or gives the same in any order (maxima, minima, integers).
//! - `order` is empty or a permutation of the stage's own axes, and that of the kernel's `block`, in which reduce axes
//!   come last and neither these nor the sequential ones change places among themselves.
//! - The kernel's `block` names its last outer axis, `Parallel`, with a count of at least 1 of which the chunk of that
//!   axis, if it is shared, is a multiple; the kernel then has several stages.
//! - A stage's `block` is empty or names different `Parallel` axes, the last of them that of `rows` with a multiple of its points;
//!   the kernel then has a load that reads copies ([`super::analysis::copied_load`]).
//! - `parallel` names different `Parallel` axes with chunks of at least 1: outer ones or, in a kernel of one
//!   stage without outer axes, that stage's.

use super::analysis::{StageInfo, axis_mask, copied_load};
use super::{
    Access, Affine, AxisId, AxisKind, Buf, IndexVar, Inst, Kernel, Mask, Op, Order, Size, Stage,
    StageSchedule, ValueId,
};
use crate::dtype::DType;
use crate::scalar::{ReduceOp, eval};
use rustc_hash::FxHashSet;
use std::fmt;

/// What a kernel violates, and where.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("kernel `{kernel}`, {place}: {fault}")]
pub struct VerifyError {
    /// The kernel's name.
    pub kernel: String,
    /// Where in it.
    pub place: Place,
    /// What is wrong.
    pub fault: Fault,
}

/// A place in a kernel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// Its arguments, locals or outer axes.
    Header,
    /// A stage as a whole.
    Stage(usize),
    /// An instruction of a stage.
    Inst(usize, usize),
    /// The schedule of the kernel.
    Schedule,
    /// The schedule of a stage.
    StageSchedule(usize),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Header => f.write_str("header"),
            Place::Stage(s) => write!(f, "stage {s}"),
            Place::Inst(s, i) => write!(f, "stage {s}, instruction %{i}"),
            Place::Schedule => f.write_str("schedule"),
            Place::StageSchedule(s) => write!(f, "schedule of stage {s}"),
        }
    }
}

/// A violated invariant.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[allow(missing_docs)] // the messages say it
pub enum Fault {
    #[error("scalar argument ${arg} does not exist; there are {count}")]
    NoScalar { arg: u32, count: u32 },
    #[error("a size is negative: {0}")]
    NegativeSize(i64),
    #[error("{0} axes are too many for one stage; at most 64 fit")]
    TooManyAxes(usize),
    #[error("outer axis {0} is a reduce axis")]
    OuterReduce(AxisId),
    #[error("axis {0} follows a reduce axis and is none")]
    ReduceBefore(AxisId),
    #[error("the stage has reduce axes and accumulates nothing")]
    NothingAccumulated,
    #[error("operand %{0} is no value of an earlier instruction")]
    NoOperand(ValueId),
    #[error("axis {0} does not exist in this stage")]
    NoAxis(AxisId),
    #[error("buffer {0} does not exist")]
    NoBuffer(Buf),
    #[error("operand %{value} is {found}, expected {expected}")]
    OperandType { value: ValueId, found: DType, expected: DType },
    #[error("{op} is not defined for {dtype}")]
    NotDefined { op: &'static str, dtype: DType },
    #[error("the result is declared as {found}, but is {expected}")]
    ResultType { found: DType, expected: DType },
    #[error("bitcast from {from} to {to}")]
    Bitcast { from: DType, to: DType },
    #[error("the terms of an index are not sorted by different variables")]
    TermOrder,
    #[error("an index has a stride of 0")]
    ZeroStride,
    #[error("buffer {buf} may only be {allowed}")]
    Access { buf: Buf, allowed: &'static str },
    #[error("the accumulation depends on another accumulation of its stage")]
    NestedAccumulation,
    #[error("it depends on an accumulation and on a reduce axis")]
    ReduceAfterAccumulation,
    #[error("the store depends on a reduce axis")]
    StoreInReduce,
    #[error("{0}")]
    Library(&'static str),
    #[error("{found} stage schedules for {stages} stages")]
    ScheduleCount { found: usize, stages: usize },
    #[error("axis {0} cannot be the {1} axis")]
    ScheduledAxis(AxisId, &'static str),
    #[error("vector and rows are both axis {0}")]
    SameAxis(AxisId),
    #[error("a count or chunk of {0}; it must be at least 1")]
    Count(i64),
    #[error("axis {0} is vectorised, but an accumulation along it is a chain of floats")]
    VectorChain(AxisId),
    #[error(
        "blocks {0:?} of other axes than parallel ones and rows last, of no whole tiles, or without a load to copy"
    )]
    Blocks(Vec<(AxisId, u32)>),
    #[error(
        "a block of {1} points of axis {0}, which is not the last outer one, or not parallel, or not shared in whole blocks, or of a kernel of one stage"
    )]
    OuterBlock(AxisId, i64),
    #[error("the order {0:?} is no legal permutation of the stage's axes")]
    LoopOrder(Vec<AxisId>),
}

impl fmt::Display for Buf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Buf::Arg(n) => write!(f, "b{n}"),
            Buf::Local(n) => write!(f, "l{n}"),
        }
    }
}

/// Checks every invariant of the list above.
///
/// # Errors
/// The first violation found, with its place. A kernel that fails was made wrongly: it is no user's error.
pub fn verify(kernel: &Kernel) -> Result<(), VerifyError> {
    let at = |place: Place| move |fault: Fault| VerifyError { kernel: kernel.name.clone(), place, fault };
    header(kernel).map_err(at(Place::Header))?;
    for (s, stage) in kernel.stages.iter().enumerate() {
        axes(kernel, stage).map_err(at(Place::Stage(s)))?;
        for (i, op) in stage.body.iter().enumerate() {
            let check = Check { kernel, stage: s, earlier: &stage.body[..i] };
            check.inst(op).map_err(at(Place::Inst(s, i)))?;
        }
        let info = StageInfo::of(kernel, s);
        let reduce = axis_mask(kernel, s, |k| k == AxisKind::Reduce);
        for (i, op) in stage.body.iter().enumerate() {
            phases(op, i, &info, reduce).map_err(at(Place::Inst(s, i)))?;
        }
    }
    schedule(kernel).map_err(at(Place::Schedule))?;
    if let Some(function) = kernel.library {
        function.check(kernel).map_err(Fault::Library).map_err(at(Place::Header))?;
    }
    for (s, plan) in kernel.schedule.stages.iter().enumerate() {
        stage_schedule(kernel, s, plan).map_err(at(Place::StageSchedule(s)))?;
    }
    Ok(())
}

fn size(kernel: &Kernel, size: Size) -> Result<(), Fault> {
    match size {
        Size::Arg(arg) if arg >= kernel.scalars => Err(Fault::NoScalar { arg, count: kernel.scalars }),
        _ => Ok(()),
    }
}

/// A size that counts something.
fn extent(kernel: &Kernel, value: Size) -> Result<(), Fault> {
    match value {
        Size::Const(v) if v < 0 => Err(Fault::NegativeSize(v)),
        other => size(kernel, other),
    }
}

fn header(kernel: &Kernel) -> Result<(), Fault> {
    kernel.locals.iter().try_for_each(|l| extent(kernel, l.len))?;
    for (i, axis) in kernel.outer.iter().enumerate() {
        extent(kernel, axis.extent)?;
        if axis.kind == AxisKind::Reduce {
            return Err(Fault::OuterReduce(i as AxisId));
        }
    }
    Ok(())
}

fn axes(kernel: &Kernel, stage: &Stage) -> Result<(), Fault> {
    let total = kernel.outer.len() + stage.axes.len();
    if total > 64 {
        return Err(Fault::TooManyAxes(total));
    }
    let mut reduce = false;
    for (i, axis) in stage.axes.iter().enumerate() {
        extent(kernel, axis.extent)?;
        if axis.kind == AxisKind::Reduce {
            reduce = true;
        } else if reduce {
            return Err(Fault::ReduceBefore((kernel.outer.len() + i) as AxisId));
        }
    }
    if reduce && !stage.body.iter().any(|op| matches!(op.inst, Inst::Accumulate { .. })) {
        return Err(Fault::NothingAccumulated);
    }
    Ok(())
}

/// The checks of one instruction by itself.
struct Check<'a> {
    kernel: &'a Kernel,
    stage: usize,
    earlier: &'a [Op],
}

impl Check<'_> {
    fn operand(&self, v: ValueId) -> Result<DType, Fault> {
        let op = self.earlier.get(v as usize).filter(|op| op.inst.has_result());
        op.map(|op| op.dtype).ok_or(Fault::NoOperand(v))
    }

    fn expect(&self, value: ValueId, expected: DType) -> Result<(), Fault> {
        let found = self.operand(value)?;
        if found == expected { Ok(()) } else { Err(Fault::OperandType { value, found, expected }) }
    }

    fn axis(&self, a: AxisId) -> Result<(), Fault> {
        let count = self.kernel.outer.len() + self.kernel.stages[self.stage].axes.len();
        if (a as usize) < count { Ok(()) } else { Err(Fault::NoAxis(a)) }
    }

    fn affine(&self, a: &Affine) -> Result<(), Fault> {
        size(self.kernel, a.offset)?;
        if a.terms.windows(2).any(|w| w[0].0 >= w[1].0) {
            return Err(Fault::TermOrder);
        }
        for &(var, stride) in &a.terms {
            if stride == Size::ZERO {
                return Err(Fault::ZeroStride);
            }
            size(self.kernel, stride)?;
            match var {
                IndexVar::Axis(axis) => self.axis(axis)?,
                IndexVar::Value(v) => self.expect(v, DType::I64)?,
            }
        }
        Ok(())
    }

    fn mask(&self, mask: &Mask) -> Result<(), Fault> {
        for cond in mask {
            self.affine(&cond.index)?;
            size(self.kernel, cond.limit)?;
        }
        Ok(())
    }

    fn buffer(&self, buf: Buf, forbidden: Access, allowed: &'static str) -> Result<DType, Fault> {
        match buf {
            Buf::Local(n) => {
                let local = self.kernel.locals.get(n as usize).ok_or(Fault::NoBuffer(buf))?;
                Ok(local.dtype)
            }
            Buf::Arg(n) => {
                let arg = self.kernel.buffers.get(n as usize).ok_or(Fault::NoBuffer(buf))?;
                if arg.access == forbidden {
                    return Err(Fault::Access { buf, allowed });
                }
                Ok(arg.dtype)
            }
        }
    }

    fn inst(&self, op: &Op) -> Result<(), Fault> {
        let expected = match &op.inst {
            Inst::Const(v) => v.dtype,
            Inst::Axis(a) => self.axis(*a).map(|()| DType::I64)?,
            Inst::Arg(n) => size(self.kernel, Size::Arg(*n)).map(|()| DType::I64)?,
            Inst::Load { src, at, mask } => {
                self.affine(at)?;
                self.mask(mask)?;
                self.buffer(*src, Access::Write, "stored to")?
            }
            Inst::InRange(mask) => self.mask(mask).map(|()| DType::Bool)?,
            Inst::Unary(o, a) => {
                let d = defined(self.operand(*a)?, o.name(), |d| eval::unary_accepts(*o, d))?;
                eval::unary_result(*o, d)
            }
            Inst::Binary(o, a, b) => {
                let d = defined(self.operand(*a)?, o.name(), |d| eval::binary_accepts(*o, d))?;
                self.expect(*b, d).map(|()| d)?
            }
            Inst::Compare(_, a, b) => {
                self.expect(*b, self.operand(*a)?)?;
                DType::Bool
            }
            Inst::Select(c, a, b) => {
                self.expect(*c, DType::Bool)?;
                let d = self.operand(*a)?;
                self.expect(*b, d).map(|()| d)?
            }
            Inst::Cast(a) => self.operand(*a).map(|_| op.dtype)?,
            Inst::Bitcast(a) => {
                let from = self.operand(*a)?;
                if !eval::bitcast_accepts(from, op.dtype) {
                    return Err(Fault::Bitcast { from, to: op.dtype });
                }
                op.dtype
            }
            Inst::Fma(a, b, c) => {
                let d = defined(self.operand(*a)?, "fma", DType::is_float)?;
                self.expect(*b, d)?;
                self.expect(*c, d).map(|()| d)?
            }
            Inst::Scale(a, n) => {
                let d = defined(self.operand(*a)?, "scale", eval::scale_accepts)?;
                self.expect(*n, d).map(|()| d)?
            }
            Inst::Accumulate { op: o, value, mask, .. } => {
                self.mask(mask)?;
                defined(self.operand(*value)?, o.name(), |d| eval::reduce_accepts(*o, d))?
            }
            Inst::Store { dst, at, value, mask } => {
                self.affine(at)?;
                self.mask(mask)?;
                let d = self.buffer(*dst, Access::Read, "loaded from")?;
                self.expect(*value, d).map(|()| d)?
            }
            Inst::Raise { cond, detail } => {
                size(self.kernel, *detail)?;
                self.expect(*cond, DType::Bool).map(|()| DType::Bool)?
            }
        };
        let found = op.dtype;
        if found == expected { Ok(()) } else { Err(Fault::ResultType { found, expected }) }
    }
}

fn defined(dtype: DType, op: &'static str, accepts: impl Fn(DType) -> bool) -> Result<DType, Fault> {
    if accepts(dtype) { Ok(dtype) } else { Err(Fault::NotDefined { op, dtype }) }
}

/// What comes before, within and after the reduce loops keeps apart.
fn phases(op: &Op, i: usize, info: &StageInfo, reduce: u64) -> Result<(), Fault> {
    let in_reduce = info.axes[i] & reduce != 0;
    match op.inst {
        Inst::Accumulate { .. } => {
            let mut nested = false;
            op.inst.for_each_operand(|v| nested |= info.post[v as usize]);
            if nested { Err(Fault::NestedAccumulation) } else { Ok(()) }
        }
        Inst::Store { .. } if in_reduce => Err(Fault::StoreInReduce),
        _ if info.post[i] && in_reduce => Err(Fault::ReduceAfterAccumulation),
        _ => Ok(()),
    }
}

fn count(n: i64) -> Result<(), Fault> {
    if n >= 1 { Ok(()) } else { Err(Fault::Count(n)) }
}

fn schedule(kernel: &Kernel) -> Result<(), Fault> {
    let plan = &kernel.schedule;
    if plan.stages.len() != kernel.stages.len() {
        let (found, stages) = (plan.stages.len(), kernel.stages.len());
        return Err(Fault::ScheduleCount { found, stages });
    }
    let inner = kernel.outer.is_empty() && kernel.stages.len() == 1;
    let candidates = if inner { &kernel.stages[0].axes } else { &kernel.outer };
    let mut seen = FxHashSet::default();
    for &(axis, chunk) in &plan.parallel {
        count(chunk)?;
        let fits = candidates.get(axis as usize).is_some_and(|a| a.kind == AxisKind::Parallel);
        if !fits || !seen.insert(axis) {
            return Err(Fault::ScheduledAxis(axis, "parallel"));
        }
    }
    if let Some((axis, points)) = plan.block {
        let last = kernel.outer.last().filter(|_| axis as usize + 1 == kernel.outer.len());
        let whole = |&(a, chunk): &(AxisId, i64)| a != axis || chunk % points == 0;
        let fits = last.is_some_and(|a| a.kind == AxisKind::Parallel) && kernel.stages.len() > 1;
        if !fits || points < 1 || !plan.parallel.iter().all(whole) {
            return Err(Fault::OuterBlock(axis, points));
        }
    }
    Ok(())
}

fn stage_schedule(kernel: &Kernel, s: usize, plan: &StageSchedule) -> Result<(), Fault> {
    let outer = kernel.outer.len();
    let stage = &kernel.stages[s];
    let kind = |a: AxisId| {
        let known = (a as usize) < outer + stage.axes.len();
        let kind = known.then(|| kernel.axis(s, a).kind)?;
        ((a as usize) >= outer || kind == AxisKind::Parallel).then_some(kind)
    };
    if let Some((axis, n)) = plan.vector {
        count(n as i64)?;
        match kind(axis) {
            Some(AxisKind::Parallel) => {}
            Some(AxisKind::Reduce) if stage.body.iter().all(reorders) => {}
            Some(AxisKind::Reduce) => return Err(Fault::VectorChain(axis)),
            _ => return Err(Fault::ScheduledAxis(axis, "vector")),
        }
    }
    if let Some((axis, n)) = plan.rows {
        count(n as i64)?;
        if kind(axis) != Some(AxisKind::Parallel) {
            return Err(Fault::ScheduledAxis(axis, "rows"));
        }
        if plan.vector.is_some_and(|(v, _)| v == axis) {
            return Err(Fault::SameAxis(axis));
        }
    }
    if let Some((&(last, points), others)) = plan.block.split_last() {
        let mut seen: FxHashSet<AxisId> = [last].into_iter().collect();
        let whole = |&(axis, n): &(AxisId, u32)| {
            axis == last && points > 0 && points.is_multiple_of(n) && copied_load(kernel, axis).is_some()
        };
        let parallel = |&(a, n): &(AxisId, u32)| n > 0 && kind(a) == Some(AxisKind::Parallel);
        if !plan.rows.as_ref().is_some_and(whole) || !others.iter().all(|o| parallel(o) && seen.insert(o.0)) {
            return Err(Fault::Blocks(plan.block.clone()));
        }
    }
    // The blocked axis stands in every stage.
    let first = outer - usize::from(kernel.schedule.block.is_some() && outer > 0);
    let own = first as AxisId..(outer + stage.axes.len()) as AxisId;
    let of_kind = |kind: AxisKind, axes: &mut dyn Iterator<Item = AxisId>| -> Vec<AxisId> {
        axes.filter(|&a| own.contains(&a) && kernel.axis(s, a).kind == kind).collect()
    };
    if !plan.order.is_empty() {
        let order = || plan.order.iter().copied();
        let same = |k| of_kind(k, &mut order()) == of_kind(k, &mut own.clone());
        let mut sorted = plan.order.clone();
        sorted.sort_unstable();
        let reduce = of_kind(AxisKind::Reduce, &mut own.clone());
        let permutes = sorted.iter().copied().eq(own.clone());
        if !permutes || !plan.order.ends_with(&reduce) || !same(AxisKind::Sequential) {
            return Err(Fault::LoopOrder(plan.order.clone()));
        }
    }
    Ok(())
}

/// Whether the instruction allows its stage's reduce axes to be spread over vector lanes.
fn reorders(op: &Op) -> bool {
    match op.inst {
        Inst::Accumulate { op: reduce, order, .. } => {
            order == Order::Interleaved
                || !op.dtype.is_float()
                || matches!(reduce, ReduceOp::Max | ReduceOp::Min)
        }
        _ => true,
    }
}

#[cfg(test)]
mod tests;
