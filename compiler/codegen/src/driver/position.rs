//! Where the driver's loops stand, and expressions over that.

use crate::tile::{IntArg, PtrArg};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, Value, types};
use cranelift_frontend::FunctionBuilder;
use fornax_ir::kernel::{Affine, AxisId, Buf, InRange, IndexVar, Kernel, Size};

/// Arguments and loop positions while a driver is emitted. All values are i64.
#[derive(Clone)]
pub(super) struct Position {
    pub buffers: Vec<Value>,
    pub scalars: Vec<Value>,
    pub locals: Vec<Value>,
    pub flag: Value,
    /// The present point of each axis (of a tile, its first); 0 where none is set.
    pub axes: Vec<Option<Value>>,
    /// Ranges of shared axes; others run over their extent.
    ranges: Vec<Option<(Value, Value)>>,
    /// What the bounds of these ranges are multiples of, but for the axis's end; 0 for whole axes.
    chunks: Vec<i64>,
}

impl Position {
    pub fn new(buffers: Vec<Value>, scalars: Vec<Value>, flag: Value, kernel: &Kernel) -> Self {
        let own = kernel.stages.iter().map(|s| s.axes.len()).max().unwrap_or(0);
        let axes = kernel.outer.len() + own;
        Position {
            buffers,
            scalars,
            locals: Vec::new(),
            flag,
            axes: vec![None; axes],
            ranges: vec![None; axes],
            chunks: vec![0; axes],
        }
    }

    /// Restricts an axis to a range whose start is a multiple of `chunk`, and whose end is one or the axis's.
    pub fn share(&mut self, axis: AxisId, range: (Value, Value), chunk: i64) {
        self.ranges[axis as usize] = Some(range);
        self.chunks[axis as usize] = chunk;
    }

    /// The same arguments at the start of a stage of so many axes, each of which runs over its extent.
    pub fn restarted(&self, axes: usize) -> Self {
        Position { axes: vec![None; axes], ranges: vec![None; axes], chunks: vec![0; axes], ..self.clone() }
    }

    /// Whether the loop over an axis, in steps of so many points, leaves over what it would of the whole axis.
    pub fn keeps_steps(&self, axis: AxisId, points: i64) -> bool {
        self.chunks[axis as usize] % points.max(1) == 0
    }

    /// The value of a size.
    pub fn size(&self, b: &mut FunctionBuilder<'_>, size: Size) -> Value {
        match size {
            Size::Const(n) => b.ins().iconst(types::I64, n),
            Size::Arg(n) => self.scalars[n as usize],
        }
    }

    /// The range an axis runs over.
    pub fn range(&self, b: &mut FunctionBuilder<'_>, axis: AxisId, extent: Size) -> (Value, Value) {
        match self.ranges[axis as usize] {
            Some(range) => range,
            None => (b.ins().iconst(types::I64, 0), self.size(b, extent)),
        }
    }

    fn times(&self, b: &mut FunctionBuilder<'_>, at: Value, stride: Size, scale: i64) -> Value {
        match stride {
            Size::Const(n) => b.ins().imul_imm_s(at, n.wrapping_mul(scale)),
            Size::Arg(_) => {
                let stride = self.size(b, stride);
                let product = b.ins().imul(at, stride);
                if scale == 1 { product } else { b.ins().imul_imm_s(product, scale) }
            }
        }
    }

    /// `scale * (offset + sum of stride * position)`.
    pub fn index(
        &self,
        b: &mut FunctionBuilder<'_>,
        offset: Size,
        terms: impl IntoIterator<Item = (AxisId, Size)>,
        scale: i64,
    ) -> Value {
        let one = b.ins().iconst(types::I64, 1);
        let mut sum = self.times(b, one, offset, scale);
        for (axis, stride) in terms {
            if let Some(at) = self.axes[axis as usize] {
                let term = self.times(b, at, stride, scale);
                sum = b.ins().iadd(sum, term);
            }
        }
        sum
    }

    /// An index's part that does not depend on values.
    pub fn affine(&self, b: &mut FunctionBuilder<'_>, affine: &Affine) -> Value {
        let axes = affine.terms.iter().filter_map(|t| match t.0 {
            IndexVar::Axis(a) => Some((a, t.1)),
            IndexVar::Value(_) => None,
        });
        let terms: Vec<_> = axes.collect();
        self.index(b, affine.offset, terms, 1)
    }

    /// Whether a condition holds at the present point, i8.
    pub fn holds(&self, b: &mut FunctionBuilder<'_>, cond: &InRange) -> Value {
        let index = self.affine(b, &cond.index);
        let limit = self.size(b, cond.limit);
        let zero = b.ins().iconst(types::I64, 0);
        let above = b.ins().icmp(IntCC::SignedGreaterThanOrEqual, index, zero);
        let below = b.ins().icmp(IntCC::SignedLessThan, index, limit);
        b.ins().band(above, below)
    }

    /// The address a pointer argument stands for; `frame` is that of the frame's memory.
    pub fn ptr(
        &self,
        b: &mut FunctionBuilder<'_>,
        arg: &PtrArg,
        bytes: i64,
        frame: impl FnOnce(&mut FunctionBuilder<'_>) -> Value,
    ) -> Value {
        match arg {
            PtrArg::Frame => frame(b),
            PtrArg::Element { buf, offset, terms } => self.element(b, *buf, (*offset, terms), bytes),
            PtrArg::InRange { axis, buf, offset, terms } => {
                let address = self.element(b, *buf, (*offset, terms), bytes);
                let stride = terms.iter().find(|t| t.0 == *axis).map(|t| t.1);
                let (Some(stride), Some((start, _))) = (stride, self.ranges[*axis as usize]) else {
                    return address;
                };
                let before = self.times(b, start, stride, bytes);
                b.ins().isub(address, before)
            }
        }
    }

    /// The address of the element `offset + sum of stride * position` of a buffer.
    fn element(
        &self,
        b: &mut FunctionBuilder<'_>,
        buf: Buf,
        (offset, terms): (Size, &[(AxisId, Size)]),
        bytes: i64,
    ) -> Value {
        let base = match buf {
            Buf::Arg(n) => self.buffers[n as usize],
            Buf::Local(n) => self.locals[n as usize],
        };
        let offset = self.index(b, offset, terms.iter().copied(), bytes);
        b.ins().iadd(base, offset)
    }

    /// Integer arguments that depend on sizes and positions alone.
    pub fn int(&self, b: &mut FunctionBuilder<'_>, arg: &IntArg) -> Option<Value> {
        Some(match arg {
            IntArg::Sum(sizes) => {
                let mut sum = b.ins().iconst(types::I64, 0);
                for &(size, scale) in sizes {
                    let size = self.size(b, size);
                    let term = b.ins().imul_imm_s(size, scale);
                    sum = b.ins().iadd(sum, term);
                }
                sum
            }
            IntArg::Product(sizes) => {
                let mut product = b.ins().iconst(types::I64, 1);
                for &size in sizes {
                    let size = self.size(b, size);
                    product = b.ins().imul(product, size);
                }
                product
            }
            IntArg::Index(affine) => self.affine(b, affine),
            IntArg::Blocks(size) => {
                let size = self.size(b, *size);
                b.ins().ushr_imm_u(size, 5)
            }
            IntArg::Rest(size) => {
                let size = self.size(b, *size);
                b.ins().band_imm_s(size, 31)
            }
            IntArg::Point | IntArg::Left | IntArg::Cond(_) | IntArg::Trips(_) | IntArg::Live => return None,
        })
    }

    /// The range `lo..hi` of an axis with constant stride where a condition holds for all points
    /// of the `inner` axes (with constant strides, over their extents); the other axes stay where
    /// they stand. May be empty or beyond the axis's own range.
    pub fn bounds(
        &self,
        b: &mut FunctionBuilder<'_>,
        cond: &InRange,
        axis: AxisId,
        inner: u64,
        extent: impl Fn(AxisId) -> Size,
    ) -> (Value, Value) {
        let mut others = Vec::new();
        let (mut low, mut high) = (Vec::new(), Vec::new());
        let mut stride = 1;
        for &(var, s) in &cond.index.terms {
            let IndexVar::Axis(a) = var else { continue };
            if a == axis {
                stride = s.as_const().unwrap_or(1);
            } else if inner & (1 << a) != 0 {
                let s = s.as_const().unwrap_or(0);
                if s < 0 { low.push((a, s)) } else { high.push((a, s)) }
            } else {
                others.push((a, s));
            }
        }
        let rest = self.index(b, cond.index.offset, others, 1);
        let mut reach = |axes: &[(AxisId, i64)]| {
            axes.iter().fold(rest, |sum, &(a, s)| {
                let n = self.size(b, extent(a));
                let last = b.ins().iadd_imm_s(n, -1);
                let term = b.ins().imul_imm_s(last, s);
                b.ins().iadd(sum, term)
            })
        };
        let (least, most) = (reach(&low), reach(&high));
        let limit = self.size(b, cond.limit);
        // stride * x + least >= 0 and stride * x + most < limit
        let room = b.ins().isub(limit, most);
        let by = stride.unsigned_abs() as i64;
        if stride > 0 {
            let below = b.ins().ineg(least);
            (ceil_div(b, below, by), ceil_div(b, room, by))
        } else {
            // x <= least / by and x > -room / by
            let first = b.ins().ineg(room);
            let (first, last) = (floor_div(b, first, by), floor_div(b, least, by));
            (b.ins().iadd_imm_s(first, 1), b.ins().iadd_imm_s(last, 1))
        }
    }
}

/// Towards minus infinity; `by` is positive.
fn floor_div(b: &mut FunctionBuilder<'_>, x: Value, by: i64) -> Value {
    if by == 1 {
        return x;
    }
    if by.count_ones() == 1 {
        return b.ins().sshr_imm_u(x, i64::from(by.trailing_zeros()));
    }
    let divisor = b.ins().iconst(types::I64, by);
    let quotient = b.ins().sdiv(x, divisor);
    let product = b.ins().imul(quotient, divisor);
    let below = b.ins().icmp(IntCC::SignedLessThan, x, product);
    let below = b.ins().uextend(types::I64, below);
    b.ins().isub(quotient, below)
}

/// Towards plus infinity; `by` is positive.
fn ceil_div(b: &mut FunctionBuilder<'_>, x: Value, by: i64) -> Value {
    if by == 1 {
        return x;
    }
    let up = b.ins().iadd_imm_s(x, by - 1);
    floor_div(b, up, by)
}
