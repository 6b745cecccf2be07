//! What each value of a stage depends on: where code generation may evaluate it.

use super::{Access, AxisId, AxisKind, Buf, IndexVar, Inst, Kernel, Size, ValueId};

/// Facts of a stage's values, one entry an instruction (stores and raises included).
///
/// In a stage with accumulations the three kinds of instruction are
/// - neither `post` nor `in_reduce`: the same at every point of the reduce axes, so evaluated once before their loops;
/// - `in_reduce`: evaluated at every point of the reduce axes (accumulations update there);
/// - `post` without `in_reduce`: evaluated once after the reduce loops, in the order of the body.
///
/// Only accumulations are both.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct StageInfo {
    /// Bit `a` is set where the value may differ between points of axis `a`. An accumulation does
    /// not depend on the stage's reduce axes. A load from a buffer that some stage of the kernel
    /// stores to depends on all outer axes, and on all axes of the stage if that is the stage.
    pub axes: Vec<u64>,
    /// The instruction is an accumulation, depends on one, or is a store of a stage with accumulations
    /// (so that such a stage reads first and writes last).
    pub post: Vec<bool>,
    /// The instruction depends on a reduce axis, or is an accumulation.
    pub in_reduce: Vec<bool>,
}

impl StageInfo {
    /// The facts of stage number `stage`. Axis and value numbers must be in range ([`super::verify`]);
    /// axes beyond the 64th are left out.
    pub fn of(kernel: &Kernel, stage: usize) -> StageInfo {
        let body = &kernel.stages[stage].body;
        let reduce = axis_mask(kernel, stage, |k| k == AxisKind::Reduce);
        let outer = bits(0, kernel.outer.len());
        let all = bits(0, kernel.outer.len() + kernel.stages[stage].axes.len());
        let accumulating = body.iter().any(|op| matches!(op.inst, Inst::Accumulate { .. }));
        let mut info = StageInfo::default();
        for op in body {
            let (mut axes, mut post) = (0u64, false);
            op.inst.for_each_operand(|v| {
                axes |= info.axes[v as usize];
                post |= info.post[v as usize];
            });
            for_each_axis(&op.inst, |a| axes |= bit(a));
            if let Inst::Load { src, .. } = &op.inst {
                let here = stores(kernel, stage, *src);
                if here {
                    axes |= all & !reduce;
                } else if (0..kernel.stages.len()).any(|s| stores(kernel, s, *src)) {
                    axes |= outer;
                }
            }
            post |= accumulating && matches!(op.inst, Inst::Store { .. });
            let accumulates = matches!(op.inst, Inst::Accumulate { .. });
            let in_reduce = accumulates || axes & reduce != 0;
            if accumulates {
                axes &= !reduce;
            }
            info.axes.push(axes);
            info.post.push(post || accumulates);
            info.in_reduce.push(in_reduce);
        }
        info
    }

    /// Whether the value may differ between points of the axis.
    pub fn depends(&self, value: ValueId, axis: AxisId) -> bool {
        self.axes[value as usize] & bit(axis) != 0
    }
}

/// Elements of a row that [`copied_load`] copies, at most.
const LONGEST_COPY: i64 = 1 << 24;

/// The load whose elements a block of points of the axis `rows` can read from a copy: the only one inside the
/// reduction that walks nothing but `rows` and, by single elements, the only reduce axis, whose extent is known. The
/// copy has a row of [`copied_stride`] elements for each point. Kernels of one stage without outer axes alone have one.
pub fn copied_load(kernel: &Kernel, rows: AxisId) -> Option<ValueId> {
    let [stage] = &kernel.stages[..] else { return None };
    if !kernel.outer.is_empty() {
        return None;
    }
    let mut reduce = (0..).zip(&stage.axes).filter(|(_, a)| a.kind == AxisKind::Reduce);
    let (Some((k, axis)), None) = (reduce.next(), reduce.next()) else { return None };
    axis.extent.as_const().filter(|n| (1..=LONGEST_COPY).contains(n))?;
    let wanted = |inst: &Inst| {
        let Inst::Load { src: Buf::Arg(b), at, mask } = inst else { return false };
        let known = kernel.buffers.get(*b as usize).is_some_and(|b| b.access == Access::Read);
        let walks = at.terms.iter().all(|t| t.0 == IndexVar::Axis(rows) || t.0 == IndexVar::Axis(k));
        known && walks && mask.is_empty() && at.stride(k) == Size::ONE && at.stride(rows) != Size::ZERO
    };
    let mut loads = (0..).zip(&stage.body).filter(|(_, op)| wanted(&op.inst));
    match (loads.next(), loads.next()) {
        (Some((load, _)), None) => Some(load),
        _ => None,
    }
}

/// Elements from one row of [`copied_load`]'s copy to the next, for rows of so many elements of `bytes` bytes: an odd
/// number of cache lines, so that neighbouring rows lie in different sets of a cache.
pub fn copied_stride(row: i64, bytes: i64) -> i64 {
    const LINE: i64 = 64;
    let lines = (row * bytes + LINE - 1) / LINE;
    (lines | 1) * LINE / bytes
}

/// The stage's axes (outer ones included) whose kind satisfies `select`, as a bit mask.
pub fn axis_mask(kernel: &Kernel, stage: usize, select: impl Fn(AxisKind) -> bool) -> u64 {
    let axes = kernel.outer.iter().chain(&kernel.stages[stage].axes).enumerate();
    axes.filter(|(_, a)| select(a.kind)).fold(0, |m, (i, _)| m | bit(i as AxisId))
}

/// Calls `f` on every axis the instruction itself names, in indices and masks.
pub fn for_each_axis(inst: &Inst, mut f: impl FnMut(AxisId)) {
    if let Inst::Axis(a) = inst {
        f(*a);
    }
    inst.for_each_affine(|affine| {
        for (var, _) in &affine.terms {
            if let IndexVar::Axis(a) = var {
                f(*a);
            }
        }
    });
}

/// Whether the stage stores to the buffer.
pub fn stores(kernel: &Kernel, stage: usize, buf: Buf) -> bool {
    kernel.stages[stage].body.iter().any(|op| matches!(&op.inst, Inst::Store { dst, .. } if *dst == buf))
}

fn bit(axis: AxisId) -> u64 {
    1u64.checked_shl(axis).unwrap_or(0)
}

fn bits(from: usize, to: usize) -> u64 {
    (from..to).fold(0, |m, a| m | bit(a as AxisId))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_know_their_axes_and_their_phase() {
        let text = "kernel \"k\" {
          buffer b0: read f32
          buffer b1: readwrite f32
          local l0: f32[1]
          outer a0: parallel 4
          stage {
            axis a1: parallel 8
            axis a2: reduce 16
            %0 = load f32 b0[a2]
            %1 = load f32 b0[a1]
            %2 = mul f32 %0, %1
            %3 = const f32 1.0
            %4 = accumulate f32 sum chain %2
            %5 = load f32 l0[0]
            %6 = add f32 %4, %5
            %7 = load f32 b1[a1]
            %8 = accumulate f32 sum chain %3 if [a0] < 2
            store f32 b1[a1], %6
            store f32 b1[0], %3
          }
          stage {
            %0 = const f32 0.0
            store f32 l0[0], %0
          }
        }";
        let kernel: Kernel = text.parse().unwrap();
        let info = StageInfo::of(&kernel, 0);
        // Axes (outer 1, parallel 2, reduce 4), after the accumulations, within the reduce loops.
        let want = [
            (4, false, true),
            (2, false, false),
            (6, false, true),
            (0, false, false),
            (2, true, true),
            (1, false, false),
            (3, true, false),
            (3, false, false),
            (1, true, true),
            (3, true, false),
            (0, true, false),
        ];
        for (i, want) in want.into_iter().enumerate() {
            assert_eq!((info.axes[i], info.post[i], info.in_reduce[i]), want, "%{i}");
        }
        assert!(info.depends(2, 2) && !info.depends(2, 0));
        // Without accumulations a store is nothing special.
        assert_eq!(StageInfo::of(&kernel, 1).post, [false, false]);
    }
}
