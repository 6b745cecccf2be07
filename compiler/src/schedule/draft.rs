//! A kernel in the making: as KIR, but extents and indices are still expressions.
//!
//! Indices are [`Dim`]s over draft axes (`Dim::axis(id)`) and over values of the stage's body
//! (`Dim::axis(VALUE_BASE + value)`: gathered indices). So views compose by substitution, and axes
//! merge and split by substitution too; only at the end they become affine maps and scalar arguments.

use fornax_ir::graph::ValueId;
use fornax_ir::kernel::{self, AxisKind, Order};
use fornax_ir::scalar::ReduceOp;
use fornax_ir::{DType, Dim};

/// Axis numbers from here on stand for values of the body.
pub(crate) const VALUE_BASE: u32 = 1 << 20;

/// A condition: `0 <= index < limit`.
pub(crate) type Bound = (Dim, Dim);
/// A conjunction.
pub(crate) type Bounds = Vec<Bound>;

#[derive(Clone, Debug)]
pub(crate) struct DraftAxis {
    pub id: u32,
    pub extent: Dim,
    pub kind: AxisKind,
}

/// A tensor in memory, or the row of one in a worker's scratch.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Place {
    /// The materialised tensor.
    Tensor(ValueId),
    /// A tensor that the kernel stores; of a copy, the output.
    Target(ValueId),
    /// A local of the group.
    Local(ValueId),
}

#[derive(Clone, Debug)]
pub(crate) enum DraftInst {
    /// An instruction without indices.
    Plain(Box<kernel::Inst>),
    /// The value of an index expression, i64.
    Index(Dim),
    Load {
        src: Place,
        at: Dim,
        mask: Bounds,
    },
    InRange(Bounds),
    Accumulate {
        op: ReduceOp,
        order: Order,
        value: kernel::ValueId,
        mask: Bounds,
    },
    Store {
        dst: Place,
        at: Dim,
        value: kernel::ValueId,
        mask: Bounds,
    },
    Raise {
        cond: kernel::ValueId,
        detail: u32,
    },
}

#[derive(Clone, Debug, Default)]
pub(crate) struct DraftStage {
    pub axes: Vec<DraftAxis>,
    pub ops: Vec<(DraftInst, DType)>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct DraftKernel {
    pub outer: Vec<DraftAxis>,
    /// Locals with their lengths in elements.
    pub locals: Vec<(ValueId, DType, Dim)>,
    pub stages: Vec<DraftStage>,
}

impl DraftInst {
    /// Calls `f` on every index expression, to change it.
    pub fn for_each_dim(&mut self, mut f: impl FnMut(&mut Dim)) {
        let bounds = |m: &mut Bounds, f: &mut dyn FnMut(&mut Dim)| m.iter_mut().for_each(|(i, _)| f(i));
        match self {
            DraftInst::Plain(_) | DraftInst::Raise { .. } => {}
            DraftInst::Index(d) => f(d),
            DraftInst::Load { at, mask, .. } | DraftInst::Store { at, mask, .. } => {
                f(at);
                bounds(mask, &mut f);
            }
            DraftInst::InRange(m) | DraftInst::Accumulate { mask: m, .. } => bounds(m, &mut f),
        }
    }
}
