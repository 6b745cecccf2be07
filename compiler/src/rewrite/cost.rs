//! What a plan costs: for each kernel its start, and the larger of the time its instructions and its
//! bytes take, as it is scheduled.
//!
//! The figures are of a core with 128-bit vectors at about 3 GHz. They order plans; they predict no
//! times. They are constants, so that the same graph gives the same plan on every machine.

use crate::Error;
use crate::plan::{Group, Plan};
use crate::schedule::{Cache, Lowered, Refuse};
use fornax_ir::Dim;
use fornax_ir::dtype::DType;
use fornax_ir::graph::Graph;
use fornax_ir::kernel::{Affine, AxisId, AxisKind, IndexVar, Inst, Kernel, Op, Size, Stage};
use fornax_ir::scalar::{BinaryOp, UnaryOp};

/// Stands for an extent known only at run time, within its range.
const TYPICAL: i64 = 32;
/// Elements of 32 bits in a vector.
const LANES: f64 = 4.0;
/// How much slower a long operation is behind a contraction, where all accumulators of the tile wait in
/// registers, than in a loop of its own.
const CROWDED: f64 = 3.0;
/// Registers of accumulators beside which there is room for a long operation.
const FEW: f64 = 8.0;
/// Instructions from which an operation counts as long.
const LONG: f64 = 20.0;

/// A machine's figures, in nanoseconds.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Profile {
    /// To start a kernel, and now and then to hand it out to threads.
    pub launch: f64,
    /// One simple instruction, on a vector or a scalar.
    pub instruction: f64,
    /// Around one run of a loop of vectors, or one tile of a contraction.
    pub run: f64,
    /// To read or write a byte that is in the second-level cache.
    pub near_byte: f64,
    /// To read or write a byte that is not.
    pub far_byte: f64,
    /// Bytes of the second-level cache.
    pub near: f64,
}

impl Default for Profile {
    fn default() -> Self {
        Profile { launch: 400.0, instruction: 0.12, run: 8.0, near_byte: 0.03, far_byte: 0.1, near: 1e6 }
    }
}

/// An extent as a number.
pub fn typical(graph: &Graph, d: &Dim) -> f64 {
    let value = |name: &str| {
        let (lo, hi) = graph.ranges.symbol(name);
        Some(TYPICAL.clamp(lo, hi.unwrap_or(i64::MAX).max(lo)))
    };
    d.eval_symbols(&value).map_or(TYPICAL as f64, |n| n.max(0) as f64)
}

/// Simple instructions that one operation is worth, on a whole vector.
pub(crate) fn instructions(op: &Op) -> f64 {
    let wide = if op.dtype == DType::F64 { 2.0 } else { 1.0 };
    wide * match &op.inst {
        Inst::Const(_) | Inst::Arg(_) => 0.0,
        Inst::Unary(u, _) => match u {
            UnaryOp::Neg | UnaryOp::Abs | UnaryOp::Not | UnaryOp::IsNan | UnaryOp::Sign => 1.0,
            UnaryOp::Floor | UnaryOp::Ceil | UnaryOp::Round | UnaryOp::Trunc => 4.0,
            UnaryOp::Sqrt => 10.0,
            UnaryOp::Exp => 24.0,
            UnaryOp::Log => 36.0,
            UnaryOp::Tanh => 44.0,
            UnaryOp::Erf | UnaryOp::Sin | UnaryOp::Cos | UnaryOp::Atan => 50.0,
        },
        Inst::Binary(b, ..) => match b {
            BinaryOp::Pow => 90.0,
            BinaryOp::Rem => 60.0,
            BinaryOp::Div if op.dtype.is_float() => 8.0,
            BinaryOp::Div => 40.0,
            BinaryOp::Min | BinaryOp::Max => 3.0,
            _ => 1.0,
        },
        Inst::InRange(m) => 3.0 * m.len() as f64,
        // Most loads are an operand of the instruction that follows.
        Inst::Load { mask, .. } => 0.5 + 4.0 * mask.len() as f64,
        Inst::Store { mask, .. } => 1.0 + 4.0 * mask.len() as f64,
        Inst::Accumulate { mask, .. } => 1.0 + 4.0 * mask.len() as f64,
        _ => 1.0,
    }
}

/// How a value changes between neighbouring points.
#[derive(Clone, Copy, Default)]
struct Changes {
    /// Along the vector axis.
    vector: bool,
    /// Along the axis of the tile's rows.
    rows: bool,
}

/// One stage with its extents as numbers.
struct StageCost<'k> {
    kernel: &'k Kernel,
    index: usize,
    extent: &'k dyn Fn(Size) -> f64,
}

impl StageCost<'_> {
    fn stage(&self) -> &Stage {
        &self.kernel.stages[self.index]
    }
    fn axis(&self, a: AxisId) -> f64 {
        (self.extent)(self.kernel.axis(self.index, a).extent)
    }

    /// Instructions for all points of the stage's axes, and loops run around them.
    fn count(&self) -> (f64, f64) {
        let (stage, schedule) = (self.stage(), &self.kernel.schedule.stages[self.index]);
        let first = self.kernel.outer.len() as AxisId;
        let own = first..first + stage.axes.len() as AxisId;
        let kind = |a: &AxisId| self.kernel.axis(self.index, *a).kind;
        let product =
            |k: AxisKind| own.clone().filter(|a| kind(a) == k).map(|a| self.axis(a)).product::<f64>();
        let (points, elements) =
            (product(AxisKind::Parallel), product(AxisKind::Reduce) * product(AxisKind::Sequential));
        let end = stage.body.iter().rposition(|op| matches!(op.inst, Inst::Accumulate { .. }));
        let vector = schedule.vector.map(|v| v.0);
        let along = vector.filter(|a| kind(a) == AxisKind::Reduce);
        let rows = schedule.rows.map(|r| (r.0, f64::from(r.1)));
        // Points that run as vectors; what is left over, or near a border, runs one by one.
        let lanes = vector.map_or(0.0, |v| {
            let n = self.axis(v).max(1.0);
            let inside = if along.is_some() { n } else { self.interior(v) };
            (inside / LANES).floor() * LANES / n
        });
        let lone = 1.0 - lanes;
        let width = schedule.vector.map_or(1.0, |v| f64::from(v.1) * LANES);
        let accumulates = |op: &&Op| matches!(op.inst, Inst::Accumulate { .. });
        let waiting = stage.body.iter().filter(accumulates).count() as f64
            * schedule.vector.map_or(1.0, |v| f64::from(v.1))
            * rows.map_or(1.0, |r| r.1);
        let mut changes: Vec<Changes> = vec![];
        let mut total = 0.0;
        for (k, op) in stage.body.iter().enumerate() {
            let change = self.change(op, vector, rows.map(|r| r.0), &changes);
            changes.push(change);
            let inside = end.is_some_and(|end| k <= end);
            let times = points * if inside { elements } else { 1.0 };
            let vectorised = lanes / LANES * self.lane_penalty(op, vector, &changes) + lone;
            let mut each = if change.vector || matches!(op.inst, Inst::Accumulate { .. }) {
                vectorised
            } else {
                lanes / width + lone
            };
            if along.is_some() && !inside {
                each = 1.0;
            }
            if !change.rows && inside {
                each /= rows.map_or(1.0, |r| r.1);
            }
            let fused = inside && self.is_fused_product(k);
            let long = end.is_some() && !inside && instructions(op) >= LONG;
            let crowded = if long && waiting > FEW { CROWDED } else { 1.0 };
            total += if fused { 0.0 } else { times * each * crowded * self.masked(op, vector) };
        }
        let tile = rows.map_or(1.0, |r| r.1) * if along.is_some() { 1.0 } else { width };
        let runs = match (end, vector) {
            (Some(_), _) => points / tile.max(1.0),
            (None, Some(v)) => points / self.axis(v).max(1.0) / rows.map_or(1.0, |r| r.1),
            (None, None) => points,
        };
        (total, runs.max(1.0))
    }

    /// Instructions of an operation; conditions that hold in the interior of the vector axis cost nothing there.
    fn masked(&self, op: &Op, vector: Option<AxisId>) -> f64 {
        match (&op.inst, vector) {
            (Inst::Load { .. }, Some(_)) => 0.5,
            (Inst::Accumulate { .. }, Some(_)) => 1.0,
            _ => instructions(op),
        }
    }

    /// Whether an operation is a product whose only purpose is the accumulation behind it: one instruction
    /// computes both.
    fn is_fused_product(&self, k: usize) -> bool {
        let body = &self.stage().body;
        let Inst::Binary(BinaryOp::Mul, ..) = body[k].inst else { return false };
        let next = body[k + 1..].iter().find(|op| matches!(op.inst, Inst::Accumulate { .. }));
        next.is_some_and(|op| matches!(op.inst, Inst::Accumulate { value, .. } if value as usize == k))
    }

    /// How many places along an axis have every condition of the accumulated loads hold.
    fn interior(&self, axis: AxisId) -> f64 {
        let n = self.axis(axis);
        let (mut lo, mut hi) = (0.0f64, n - 1.0);
        let masks = self.stage().body.iter().filter_map(|op| match &op.inst {
            Inst::Load { mask, .. } | Inst::Accumulate { mask, .. } => Some(mask),
            _ => None,
        });
        for condition in masks.flatten() {
            let stride = (self.extent)(condition.index.stride(axis));
            if stride <= 0.0 {
                continue;
            }
            let mut span = ((self.extent)(condition.index.offset), (self.extent)(condition.index.offset));
            for (var, step) in &condition.index.terms {
                let IndexVar::Axis(a) = var else { continue };
                let reduces = self.kernel.axis(self.index, *a).kind == AxisKind::Reduce;
                let reach = (self.extent)(*step) * (self.axis(*a) - 1.0).max(0.0);
                if reduces {
                    span = (span.0 + reach.min(0.0), span.1 + reach.max(0.0));
                }
            }
            let limit = (self.extent)(condition.limit);
            lo = lo.max((-span.0 / stride).ceil());
            hi = hi.min(((limit - 1.0 - span.1) / stride).floor());
        }
        (hi - lo + 1.0).clamp(0.0, n)
    }

    /// Instructions for one vector of an access that does not step by one element.
    fn lane_penalty(&self, op: &Op, vector: Option<AxisId>, changes: &[Changes]) -> f64 {
        let (Some(v), Inst::Load { at, .. } | Inst::Store { at, .. }) = (vector, &op.inst) else {
            return 1.0;
        };
        let gathered =
            at.terms.iter().any(|t| matches!(t.0, IndexVar::Value(x) if changes[x as usize].vector));
        match at.stride(v) {
            Size::Const(1) if !gathered => 1.0,
            Size::Const(0) if !gathered => 1.0,
            Size::Const(-3..=3) if !gathered => 3.0,
            _ => 2.0 * LANES,
        }
    }

    fn change(&self, op: &Op, vector: Option<AxisId>, rows: Option<AxisId>, before: &[Changes]) -> Changes {
        let mut change = Changes::default();
        let mut walk = |at: &Affine| {
            for (var, _) in &at.terms {
                if let IndexVar::Axis(a) = var {
                    change.vector |= Some(*a) == vector;
                    change.rows |= Some(*a) == rows;
                }
            }
        };
        op.inst.for_each_affine(&mut walk);
        if let Inst::Axis(a) = op.inst {
            change.vector |= Some(a) == vector;
            change.rows |= Some(a) == rows;
        }
        op.inst.for_each_operand(|v| {
            change.vector |= before[v as usize].vector;
            change.rows |= before[v as usize].rows;
        });
        change
    }
}

impl Profile {
    /// Nanoseconds of one kernel on one thread.
    pub fn kernel(&self, graph: &Graph, lowered: &Lowered) -> f64 {
        let extent = |s: Size| match s {
            Size::Const(n) => n as f64,
            Size::Arg(k) => typical(graph, &lowered.scalars[k as usize]),
        };
        let kernel = &lowered.kernel;
        let outer: f64 = kernel.outer.iter().map(|a| extent(a.extent)).product();
        let mut compute = 0.0;
        for index in 0..kernel.stages.len() {
            let (count, runs) = StageCost { kernel, index, extent: &extent }.count();
            compute += outer * (count * self.instruction + runs * self.run);
        }
        let bytes = typical(graph, &lowered.bytes);
        let memory = bytes.min(self.near) * self.near_byte + (bytes - self.near).max(0.0) * self.far_byte;
        self.launch + compute.max(memory)
    }

    /// Nanoseconds of the kernel of a group, or why it is none.
    pub fn group(&self, graph: &Graph, cache: &Cache, group: &Group) -> Result<f64, Refuse> {
        cache.inspect(graph, group, |lowered| self.kernel(graph, lowered))
    }

    /// Nanoseconds of all kernels of a plan.
    pub fn plan(&self, graph: &Graph, cache: &Cache, plan: &Plan) -> Result<f64, Error> {
        let refused = |r: Refuse| Error::Internal { stage: "rewrite", what: r.0.to_string() };
        plan.groups.iter().map(|g| self.group(graph, cache, g).map_err(refused)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fornax_ir::graph::text::parse;

    /// The cost of the kernel of a graph's last value, with all others inlined.
    fn cost(lines: &[&str]) -> f64 {
        let mut text =
            String::from("graph \"g\" {\n  %0: f32[64, 96] = input \"x\"\n  %1: f32[96, 64] = input \"y\"\n");
        for (k, l) in lines.iter().enumerate() {
            text.push_str(&format!("  %{}: {l}\n", k + 2));
        }
        text.push_str(&format!("  output \"y\" %{}\n}}\n", lines.len() + 1));
        let graph = parse(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
        let mut group = Group::new(graph.outputs[0].value);
        group.members = graph.values().filter(|v| v.0 > 1 && *v != group.root).collect();
        Profile::default().group(&graph, &Cache::new(&graph), &group).unwrap()
    }

    #[test]
    fn more_work_costs_more() {
        let neg = cost(&["f32[64, 96] = neg %0"]);
        let exp = cost(&["f32[64, 96] = exp %0"]);
        let erf = cost(&["f32[64, 96] = erf %0"]);
        let both = cost(&["f32[64, 96] = exp %0", "f32[64, 96] = erf %2"]);
        assert!(neg < exp && exp < erf && erf < both, "{neg} {exp} {erf} {both}");
    }

    #[test]
    fn strided_walks_and_repeated_work_cost_more() {
        let straight = cost(&["f32[64, 96] = neg %0"]);
        let turned = cost(&["f32[96, 64] = permute %0 perm [1, 0]", "f32[96, 64] = neg %2"]);
        assert!(turned > straight, "{turned} {straight}");
        let product = cost(&["f32[64, 64] = dot %0, %1 batch [] contract [1:0]"]);
        let prologue = cost(&["f32[64, 96] = exp %0", "f32[64, 64] = dot %2, %1 batch [] contract [1:0]"]);
        let epilogue = cost(&["f32[64, 64] = dot %0, %1 batch [] contract [1:0]", "f32[64, 64] = exp %2"]);
        assert!(product < epilogue && epilogue < prologue, "{product} {epilogue} {prologue}");
    }
}
