//! Simplifies the axes of a draft: unit axes vanish, axes that an index divides are split, and
//! neighbouring axes that every index walks through as one are merged.

use super::draft::{DraftAxis, DraftInst, DraftKernel, DraftStage};
use fornax_ir::dim::{Atom, Ranges, simplify};
use fornax_ir::kernel::AxisKind;
use fornax_ir::{DType, Dim};

/// Brings a draft's axes into the form that schedules best.
pub(crate) fn simplify_axes(kernel: &mut DraftKernel, ranges: &mut Ranges) {
    let mut next = 1 + kernel
        .outer
        .iter()
        .chain(kernel.stages.iter().flat_map(|s| &s.axes))
        .map(|a| a.id)
        .max()
        .unwrap_or(0);
    drop_unit_axes(kernel, ranges);
    split_outer(kernel, ranges, &mut next);
    for s in 0..kernel.stages.len() {
        split_divided(&mut kernel.stages[s], ranges, &mut next);
        merge_neighbours(&mut kernel.stages[s], ranges, &mut next);
    }
    merge_outer(kernel, ranges, &mut next);
}

fn replace(stage: &mut DraftStage, ranges: &Ranges, with: &dyn Fn(u32) -> Option<Dim>) {
    for (inst, _) in &mut stage.ops {
        inst.for_each_dim(|d| {
            if d.has_axes() {
                *d = simplify(&d.substitute(&|_| None, with), ranges);
            }
        });
    }
}

fn drop_unit_axes(kernel: &mut DraftKernel, ranges: &Ranges) {
    let unit = |a: &DraftAxis| a.extent.is_const(1);
    let gone: Vec<u32> = kernel
        .outer
        .iter()
        .chain(kernel.stages.iter().flat_map(|s| &s.axes))
        .filter(|a| unit(a))
        .map(|a| a.id)
        .collect();
    if gone.is_empty() {
        return;
    }
    kernel.outer.retain(|a| !unit(a));
    for s in &mut kernel.stages {
        s.axes.retain(|a| !unit(a));
        replace(s, ranges, &|k| gone.contains(&k).then(|| Dim::constant(0)));
    }
}

/// One of the axes and a divisor of its extent by which some index of the stage divides it.
fn divided_axis(axes: &[DraftAxis], ops: &mut [(DraftInst, DType)]) -> Option<(usize, Dim)> {
    let mut found = None;
    for (inst, _) in ops {
        inst.for_each_dim(|d| {
            if found.is_some() || !d.has_axes() {
                return;
            }
            for (_, atom) in d.split_axes().atoms {
                let Atom::FloorDiv(num, den) = atom else { continue };
                if den.has_axes() {
                    continue;
                }
                for (k, stride) in num.split_axes().linear {
                    let Some(at) = axes.iter().position(|a| a.id == k) else { continue };
                    // floor((stride * axis + ..) / den): splitting the axis by den / stride isolates the quotient.
                    let Some(by) = den.div_exact(&stride) else { continue };
                    if !by.is_const(1) && axes[at].extent.div_exact(&by).is_some_and(|n| !n.is_const(1)) {
                        found = Some((at, by));
                        return;
                    }
                }
            }
        });
    }
    found
}

/// How often the axes of one stage, and the outer ones, are split at most.
const MAX_SPLITS: usize = 16;

fn split_divided(stage: &mut DraftStage, ranges: &mut Ranges, next: &mut u32) {
    for _ in 0..MAX_SPLITS {
        let Some((at, by)) = divided_axis(&stage.axes, &mut stage.ops) else { return };
        let Some(parts) = split(&stage.axes[at], by, ranges, next) else { return };
        replace_split(stage, ranges, &parts);
        stage.axes.splice(at..=at, [parts.hi, parts.lo]);
    }
}

/// Splits outer axes that some stage divides, such as heads of which several share what they read.
fn split_outer(kernel: &mut DraftKernel, ranges: &mut Ranges, next: &mut u32) {
    for _ in 0..MAX_SPLITS {
        let outer = &kernel.outer;
        let mut found = kernel.stages.iter_mut().filter_map(|s| divided_axis(outer, &mut s.ops));
        let Some((at, by)) = found.next() else { return };
        let Some(parts) = split(&outer[at], by, ranges, next) else { return };
        kernel.stages.iter_mut().for_each(|s| replace_split(s, ranges, &parts));
        kernel.outer.splice(at..=at, [parts.hi, parts.lo]);
    }
}

/// An axis as two: `id = hi * extent(lo) + lo`.
struct Parts {
    id: u32,
    hi: DraftAxis,
    lo: DraftAxis,
}

fn split(axis: &DraftAxis, by: Dim, ranges: &mut Ranges, next: &mut u32) -> Option<Parts> {
    let count = axis.extent.div_exact(&by)?;
    let (hi, lo) = (*next, *next + 1);
    *next += 2;
    ranges.set_axis(hi, count.clone());
    ranges.set_axis(lo, by.clone());
    let kind = axis.kind;
    Some(Parts {
        id: axis.id,
        hi: DraftAxis { id: hi, extent: count, kind },
        lo: DraftAxis { id: lo, extent: by, kind },
    })
}

fn replace_split(stage: &mut DraftStage, ranges: &Ranges, parts: &Parts) {
    let whole = Dim::axis(parts.hi.id) * &parts.lo.extent + Dim::axis(parts.lo.id);
    replace(stage, ranges, &|k| (k == parts.id).then(|| whole.clone()));
}

/// Whether every index that walks axis `a` walks it as the carry of `b`: `stride(a) = extent(b) * stride(b)`,
/// and neither occurs in a division.
fn walks_as_one(stage: &mut DraftStage, a: &DraftAxis, b: &DraftAxis) -> bool {
    let mut ok = true;
    for (inst, _) in &mut stage.ops {
        inst.for_each_dim(|d| {
            if !ok || !d.has_axes() {
                return;
            }
            let split = d.split_axes();
            let inside = |atom: &Atom| {
                let used = atom_axes(atom);
                used.contains(&a.id) || used.contains(&b.id)
            };
            let stride =
                |id| split.linear.iter().find(|t| t.0 == id).map_or(Dim::constant(0), |t| t.1.clone());
            ok =
                !split.atoms.iter().any(|(_, atom)| inside(atom)) && stride(a.id) == stride(b.id) * &b.extent;
        });
    }
    ok
}

fn atom_axes(atom: &Atom) -> std::collections::BTreeSet<u32> {
    match atom {
        Atom::Symbol(_) => Default::default(),
        Atom::Axis(k) => [*k].into(),
        Atom::FloorDiv(a, b) => a.axes().union(&b.axes()).copied().collect(),
        Atom::Min(v) | Atom::Max(v) | Atom::Product(v) => v.iter().flat_map(|d| d.axes()).collect(),
    }
}

fn merged(a: &DraftAxis, b: &DraftAxis, next: &mut u32, ranges: &mut Ranges) -> DraftAxis {
    let id = *next;
    *next += 1;
    let extent = a.extent.clone() * &b.extent;
    ranges.set_axis(id, extent.clone());
    DraftAxis { id, extent, kind: a.kind }
}

fn merge_neighbours(stage: &mut DraftStage, ranges: &mut Ranges, next: &mut u32) {
    let mut k = 0;
    while k + 1 < stage.axes.len() {
        let (a, b) = (stage.axes[k].clone(), stage.axes[k + 1].clone());
        if a.kind == b.kind && a.kind != AxisKind::Sequential && walks_as_one(stage, &a, &b) {
            let c = merged(&a, &b, next, ranges);
            // a * extent(b) + b = c, so a can stand for 0 and b for c.
            replace(stage, ranges, &|id| match id {
                id if id == a.id => Some(Dim::constant(0)),
                id if id == b.id => Some(Dim::axis(c.id)),
                _ => None,
            });
            stage.axes.splice(k..=k + 1, [c]);
            k = k.saturating_sub(1);
        } else {
            k += 1;
        }
    }
}

fn merge_outer(kernel: &mut DraftKernel, ranges: &mut Ranges, next: &mut u32) {
    while let [.., a, b] = &kernel.outer[..] {
        let (a, b) = (a.clone(), b.clone());
        if !kernel.stages.iter_mut().all(|s| walks_as_one(s, &a, &b)) {
            return;
        }
        let c = merged(&a, &b, next, ranges);
        for s in &mut kernel.stages {
            replace(s, ranges, &|id| match id {
                id if id == a.id => Some(Dim::constant(0)),
                id if id == b.id => Some(Dim::axis(c.id)),
                _ => None,
            });
        }
        let n = kernel.outer.len();
        kernel.outer.splice(n - 2.., [c]);
    }
}
