//! Locals in the memory of others: a stage that reads an element of a row for the last time where it stores one of
//! another row can store it there. Exponentials take the place of the scores they are computed from.

use super::draft::{DraftInst, DraftKernel, DraftStage, Place};
use fornax_ir::Dim;
use fornax_ir::graph::ValueId;

/// Gives locals the memory of those that they replace point by point.
pub(crate) fn share_locals(kernel: &mut DraftKernel) {
    for s in 0..kernel.stages.len() {
        let Some((local, at)) = stored(&kernel.stages[s]) else { continue };
        let Some(other) = replaced(kernel, s, local, &at) else { continue };
        let rename = |p: &mut Place| {
            if *p == Place::Local(local) {
                *p = Place::Local(other);
            }
        };
        for (inst, _) in kernel.stages[s..].iter_mut().flat_map(|s| &mut s.ops) {
            match inst {
                DraftInst::Load { src, .. } => rename(src),
                DraftInst::Store { dst, .. } => rename(dst),
                _ => {}
            }
        }
        kernel.locals.retain(|l| l.0 != local);
    }
}

/// The only local that a pointwise stage stores, and where.
fn stored(stage: &DraftStage) -> Option<(ValueId, Dim)> {
    let mut found = None;
    for (inst, _) in &stage.ops {
        match inst {
            DraftInst::Accumulate { .. } => return None,
            DraftInst::Store { dst: Place::Local(v), at, mask, .. } => {
                if found.is_some() || !mask.is_empty() {
                    return None;
                }
                found = Some((*v, at.clone()));
            }
            _ => {}
        }
    }
    found
}

/// A local of the same elements that stage `s` reads only where it stores `local`, and that no later stage reads.
fn replaced(kernel: &DraftKernel, s: usize, local: ValueId, at: &Dim) -> Option<ValueId> {
    let decl = |v: ValueId| kernel.locals.iter().find(|l| l.0 == v);
    let (_, dtype, len) = decl(local)?;
    let loads = |stage: &DraftStage, v: ValueId, fits: &dyn Fn(&Dim) -> bool| {
        stage.ops.iter().all(|(inst, _)| match inst {
            DraftInst::Load { src: Place::Local(l), at, .. } if *l == v => fits(at),
            _ => true,
        })
    };
    let candidates = kernel.stages[s].ops.iter().filter_map(|(inst, _)| match inst {
        DraftInst::Load { src: Place::Local(v), .. } if *v != local => Some(*v),
        _ => None,
    });
    let fits = |v: &ValueId| {
        let same = decl(*v).is_some_and(|(_, d, n)| d == dtype && n == len);
        let earlier = |s: &DraftStage| {
            let stores =
                |i: &DraftInst| matches!(i, DraftInst::Store { dst: Place::Local(l), .. } if *l == local);
            !s.ops.iter().any(|(i, _)| stores(i))
        };
        same && loads(&kernel.stages[s], *v, &|from| from == at)
            && kernel.stages[s + 1..].iter().all(|later| loads(later, *v, &|_| false))
            && kernel.stages[..s].iter().all(earlier)
    };
    let mut candidates = candidates;
    candidates.find(|v| fits(v))
}
