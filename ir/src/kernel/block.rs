//! Blocks of the last outer axis: kernels whose stages run for several of its points at once.
//!
//! Rows that pass through stages one by one leave each stage a single row to work on; a product then reads all of its
//! right operand for that row. In a block the axis stands inside every stage, so that a register tile has rows of it.

use super::analysis::copied_stride;
use super::{Affine, Axis, Buf, IndexVar, Inst, Kernel, LocalDecl, Size};

/// Bytes from which copies of a local begin an odd number of cache lines apart.
const LONG: i64 = 64;

/// Elements from the copy of a local for one point of a block to that for the next.
pub fn local_stride(local: &LocalDecl) -> Size {
    let bytes = local.dtype.bytes() as i64;
    match local.len {
        Size::Const(n) if n.saturating_mul(bytes) > LONG && n < i64::MAX >> 8 => {
            Size::Const(copied_stride(n, bytes))
        }
        len => len,
    }
}

/// The kernel in which the blocked axis is the first of every stage's own, if there is one. Numbers of axes stay.
/// A local is indexed by the point of that axis, too, so that it begins where the copy for point 0 would lie.
pub fn unblocked(mut kernel: Kernel) -> Kernel {
    let Some((axis, _)) = kernel.schedule.block else { return kernel };
    let Some(blocked) = kernel.outer.pop() else { return kernel };
    let strides: Vec<Size> = kernel.locals.iter().map(local_stride).collect();
    for stage in &mut kernel.stages {
        stage.axes.insert(0, Axis { ..blocked });
        for op in &mut stage.body {
            if let Inst::Load { src: Buf::Local(n), at, .. } | Inst::Store { dst: Buf::Local(n), at, .. } =
                &mut op.inst
            {
                let more = (IndexVar::Axis(axis), strides[*n as usize]);
                *at = Affine::new(at.offset, at.terms.iter().copied().chain([more]));
            }
        }
    }
    kernel
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_axis_moves_into_the_stages_and_locals_have_a_copy_for_each_point() {
        let text = "kernel \"k\" {
          buffer b0: read f32
          buffer b1: write f32
          local l0: f32[40]
          local l1: f32[1]
          outer a0: parallel 9
          stage {
            axis a1: parallel 40
            %0 = load f32 b0[a0*40 + a1]
            store f32 l0[a1], %0
          }
          stage {
            axis a1: reduce 40
            %0 = load f32 l0[a1]
            %1 = accumulate f32 sum chain %0
            store f32 l1[0], %1
          }
          stage {
            %0 = load f32 l1[0]
            store f32 b1[a0], %0
          }
          parallel a0/8
          block a0*4
        }";
        let kernel: Kernel = text.parse().unwrap();
        crate::kernel::verify::verify(&kernel).unwrap();
        assert_eq!(kernel.to_string().parse::<Kernel>().unwrap(), kernel);
        let inside = unblocked(kernel);
        let text = inside.to_string();
        for line in ["store f32 l0[a0*48 + a1], %0", "load f32 l0[a0*48 + a1]", "store f32 l1[a0], %1"] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        assert!(inside.outer.is_empty() && inside.stages.iter().all(|s| s.axes[0].extent == Size::Const(9)));
    }
}
