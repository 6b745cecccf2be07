//! Neighbouring reduce axes that every index walks as one become one.
//!
//! The elements of a reduction are numbered row-major over its axes, so this changes no result;
//! but it leaves fewer loops, and longer ones to run vectors along (a mean over height and width).

use fornax_ir::kernel::{Affine, AxisId, AxisKind, IndexVar, Inst, Kernel, Size};

/// The kernel with its reduce axes merged where that is possible.
#[must_use]
pub fn collapse(mut kernel: Kernel) -> Kernel {
    for stage in 0..kernel.stages.len() {
        let first = kernel.outer.len() as AxisId;
        let mut inner = first + kernel.stages[stage].axes.len() as AxisId;
        // From the innermost pair outwards; `inner` is the inner one of a pair.
        while inner > first + 1 {
            inner -= 1;
            if can_merge(&kernel, stage, inner) {
                merge(&mut kernel, stage, inner);
            }
        }
    }
    kernel
}

/// Whether `inner` and the axis before it are reduce axes of known extents that all indices
/// name together, with the strides of a single axis.
fn can_merge(kernel: &Kernel, stage: usize, inner: AxisId) -> bool {
    let (a, b) = (kernel.axis(stage, inner - 1), kernel.axis(stage, inner));
    let (Size::Const(outer_extent), Size::Const(extent)) = (a.extent, b.extent) else { return false };
    let reduces = a.kind == AxisKind::Reduce && b.kind == AxisKind::Reduce;
    let together = |affine: &Affine| match (affine.stride(inner - 1), affine.stride(inner)) {
        (Size::Const(s), Size::Const(t)) => t.checked_mul(extent) == Some(s),
        _ => false,
    };
    let fits = |inst: &Inst| {
        let mut all = !matches!(inst, Inst::Axis(n) if *n == inner || *n == inner - 1);
        inst.for_each_affine(|affine| all &= together(affine));
        all
    };
    reduces
        && outer_extent.checked_mul(extent).is_some()
        && kernel.stages[stage].body.iter().all(|op| fits(&op.inst))
}

/// Makes `inner` run over both axes, and removes the one before it.
fn merge(kernel: &mut Kernel, stage: usize, inner: AxisId) {
    let (outer, gone) = (kernel.outer.len(), inner - 1);
    let renumber = |a: AxisId| if a > gone { a - 1 } else { a };
    let at = gone as usize - outer;
    let axes = &mut kernel.stages[stage].axes;
    let removed = axes.remove(at);
    if let (Size::Const(a), Size::Const(b)) = (removed.extent, axes[at].extent) {
        axes[at].extent = Size::Const(a * b);
    }
    for op in &mut kernel.stages[stage].body {
        if let Inst::Axis(a) = &mut op.inst {
            *a = renumber(*a);
        }
        for_each_affine_mut(&mut op.inst, |affine| {
            affine.terms.retain(|t| t.0 != IndexVar::Axis(gone));
            for (var, _) in &mut affine.terms {
                if let IndexVar::Axis(a) = var {
                    *a = renumber(*a);
                }
            }
        });
    }
    let schedule = &mut kernel.schedule.stages[stage];
    // Both names become that of the merged axis.
    schedule.vector = schedule.vector.map(|(a, n)| (renumber(a), n));
    schedule.rows = schedule.rows.map(|(a, n)| (renumber(a), n));
    schedule.order.retain(|&a| a != gone);
    schedule.order.iter_mut().for_each(|a| *a = renumber(*a));
}

fn for_each_affine_mut(inst: &mut Inst, mut f: impl FnMut(&mut Affine)) {
    let (at, mask) = match inst {
        Inst::Load { at, mask, .. } | Inst::Store { at, mask, .. } => (Some(at), Some(mask)),
        Inst::InRange(mask) | Inst::Accumulate { mask, .. } => (None, Some(mask)),
        _ => (None, None),
    };
    if let Some(at) = at {
        f(at);
    }
    mask.into_iter().flatten().for_each(|c| f(&mut c.index));
}
