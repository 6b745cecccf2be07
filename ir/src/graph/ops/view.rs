//! Operators that move elements and compute nothing.

mod eval;

use super::super::{OpError, SymValue, TensorType};
use super::check::{ascending_axes, bad_dtype, bad_shape, entries, extents, moved, numbered, same_dtype};
use super::{EvalCx, InferCx, Meaning, Vjp};
use crate::dim::Dim;
use crate::literal::Literal;

/// The same elements in row-major order under other extents; the element count must not change.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Reshape {
    /// The new extents.
    pub shape: Vec<Dim>,
}

/// Axis `k` of the result is axis `perm[k]` of the operand.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Permute {
    /// A permutation of the axes.
    pub perm: Vec<u32>,
}

/// Repeats the operand along new axes and along axes of extent 1.
///
/// Axis `i` of the operand becomes axis `axes[i]` (ascending) of the result; its extent is that axis'
/// extent, or 1, which repeats.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Broadcast {
    /// The result's extents.
    pub shape: Vec<Dim>,
    /// Where each operand axis goes.
    pub axes: Vec<u32>,
}

/// Element `i` along axis `k` is the operand's element `start[k] + i * step[k]`; all must exist.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Slice {
    /// First element, an axis each.
    pub start: Vec<Dim>,
    /// The result's extents.
    pub size: Vec<Dim>,
    /// Distance of elements; may be negative, never 0.
    pub step: Vec<i64>,
}

/// The first operand, surrounded by the second (rank 0, same dtype).
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Pad {
    /// Elements before, an axis each; not negative.
    pub lo: Vec<Dim>,
    /// Elements after, an axis each; not negative.
    pub hi: Vec<Dim>,
}

/// The operands one after the other along `axis`; other extents are equal.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Concat {
    /// The axis.
    pub axis: u32,
}

impl Meaning for Reshape {
    fn infer(&self, cx: &mut InferCx<'_>, inputs: &[&TensorType]) -> Result<TensorType, OpError> {
        const OP: &str = "reshape";
        let x = inputs[0];
        let shape = attribute_extents(cx, OP, &self.shape)?;
        let ty = cx.result(OP, x.dtype, shape)?;
        let what = format!("{x} and {} must have equally many elements", extents(&ty.shape));
        cx.equal(OP, &x.elements(), &ty.elements(), &what)?;
        Ok(ty)
    }
    fn symbolic(
        &self,
        inputs: &[Option<&SymValue>],
        _: &[&TensorType],
        out: &TensorType,
    ) -> Option<SymValue> {
        let x = inputs[0]?;
        let shape = out.const_shape()?;
        let fits = shape.iter().product::<usize>() == x.elems.len();
        fits.then(|| SymValue { shape, elems: x.elems.clone() })
    }
    fn eval(&self, cx: &EvalCx<'_>, inputs: &[&Literal]) -> Result<Literal, OpError> {
        eval::reshape(cx, inputs[0])
    }
    fn vjp(&self) -> Vjp {
        Vjp::NotYet
    }
}

impl Meaning for Permute {
    fn infer(&self, cx: &mut InferCx<'_>, inputs: &[&TensorType]) -> Result<TensorType, OpError> {
        const OP: &str = "permute";
        let x = inputs[0];
        let mut sorted = self.perm.clone();
        sorted.sort_unstable();
        if !sorted.iter().copied().eq(0..x.rank() as u32) {
            let what = format!("{:?} is no permutation of the {} axes of {x}", self.perm, x.rank());
            return bad_shape(OP, what);
        }
        let shape = self.perm.iter().map(|&p| x.shape[p as usize].clone()).collect();
        cx.result(OP, x.dtype, shape)
    }
    fn symbolic(
        &self,
        inputs: &[Option<&SymValue>],
        _: &[&TensorType],
        out: &TensorType,
    ) -> Option<SymValue> {
        moved_one(self, inputs[0]?, out)
    }
    fn eval(&self, cx: &EvalCx<'_>, inputs: &[&Literal]) -> Result<Literal, OpError> {
        eval::permute(self, cx, inputs[0])
    }
    fn vjp(&self) -> Vjp {
        Vjp::NotYet
    }
}

impl Meaning for Broadcast {
    fn infer(&self, cx: &mut InferCx<'_>, inputs: &[&TensorType]) -> Result<TensorType, OpError> {
        const OP: &str = "broadcast";
        let x = inputs[0];
        let mut shape = attribute_extents(cx, OP, &self.shape)?;
        entries(OP, "axes", self.axes.len(), x.rank())?;
        let target = TensorType::new(x.dtype, shape.clone());
        ascending_axes(OP, &self.axes, shape.len(), &target)?;
        for (k, (d, &a)) in x.shape.iter().zip(&self.axes).enumerate() {
            let to = &mut shape[a as usize];
            if d.is_const(1) || d == to {
                continue;
            }
            let what = format!("axis {k} of {x} must be 1 or equal to axis {a} of {target}");
            *to = cx.equal(OP, d, to, &what)?;
        }
        cx.result(OP, x.dtype, shape)
    }
    fn symbolic(
        &self,
        inputs: &[Option<&SymValue>],
        _: &[&TensorType],
        out: &TensorType,
    ) -> Option<SymValue> {
        moved_one(self, inputs[0]?, out)
    }
    fn eval(&self, cx: &EvalCx<'_>, inputs: &[&Literal]) -> Result<Literal, OpError> {
        eval::broadcast(self, cx, inputs[0])
    }
    fn vjp(&self) -> Vjp {
        Vjp::NotYet
    }
}

impl Meaning for Slice {
    fn infer(&self, cx: &mut InferCx<'_>, inputs: &[&TensorType]) -> Result<TensorType, OpError> {
        const OP: &str = "slice";
        let x = inputs[0];
        entries(OP, "start", self.start.len(), x.rank())?;
        entries(OP, "size", self.size.len(), x.rank())?;
        entries(OP, "step", self.step.len(), x.rank())?;
        let shape = attribute_extents(cx, OP, &self.size)?;
        for (k, size) in shape.iter().enumerate().filter(|(_, size)| !size.is_const(0)) {
            let (start, step) = (&self.start[k], self.step[k]);
            if step == 0 {
                return bad_shape(OP, format!("step must not be 0, but is on axis {k}"));
            }
            if start == &Dim::ZERO && step == 1 && size == &x.shape[k] {
                continue;
            }
            let last = start + (size - 1) * step;
            let (low, high) = if step > 0 { (start, &last) } else { (&last, start) };
            let what = format!(
                "elements {start}, {start}+{step}, .. ({size} of them) must exist on axis {k} of {x}"
            );
            cx.at_most(OP, &Dim::ZERO, low, &what)?;
            cx.at_most(OP, &(high + 1), &x.shape[k], &what)?;
        }
        cx.result(OP, x.dtype, shape)
    }
    fn symbolic(
        &self,
        inputs: &[Option<&SymValue>],
        _: &[&TensorType],
        out: &TensorType,
    ) -> Option<SymValue> {
        moved_one(self, inputs[0]?, out)
    }
    fn eval(&self, cx: &EvalCx<'_>, inputs: &[&Literal]) -> Result<Literal, OpError> {
        eval::slice(self, cx, inputs[0])
    }
    fn vjp(&self) -> Vjp {
        Vjp::NotYet
    }
}

impl Meaning for Pad {
    fn infer(&self, cx: &mut InferCx<'_>, inputs: &[&TensorType]) -> Result<TensorType, OpError> {
        const OP: &str = "pad";
        let (x, value) = (inputs[0], inputs[1]);
        entries(OP, "lo", self.lo.len(), x.rank())?;
        entries(OP, "hi", self.hi.len(), x.rank())?;
        same_dtype(OP, x, value)?;
        if value.rank() != 0 {
            return bad_shape(OP, format!("the padding value must have rank 0, but is {value}"));
        }
        let mut shape = Vec::with_capacity(x.rank());
        for (k, d) in x.shape.iter().enumerate() {
            let lo = cx.extent(OP, &self.lo[k], &format!("padding before axis {k}"))?;
            let hi = cx.extent(OP, &self.hi[k], &format!("padding after axis {k}"))?;
            shape.push(lo + d + hi);
        }
        cx.result(OP, x.dtype, shape)
    }
    fn symbolic(
        &self,
        inputs: &[Option<&SymValue>],
        _: &[&TensorType],
        out: &TensorType,
    ) -> Option<SymValue> {
        moved_all(self, inputs, out)
    }
    fn eval(&self, cx: &EvalCx<'_>, inputs: &[&Literal]) -> Result<Literal, OpError> {
        eval::pad(self, cx, inputs[0], inputs[1])
    }
    fn vjp(&self) -> Vjp {
        Vjp::NotYet
    }
}

impl Meaning for Concat {
    fn infer(&self, cx: &mut InferCx<'_>, inputs: &[&TensorType]) -> Result<TensorType, OpError> {
        const OP: &str = "concat";
        let (first, axis) = (inputs[0], self.axis as usize);
        if axis >= first.rank() {
            let what = format!("axis {axis} is out of range: {first} has {} axes", first.rank());
            return bad_shape(OP, what);
        }
        let mut shape = first.shape.clone();
        for (i, x) in inputs.iter().enumerate().skip(1) {
            if x.dtype != first.dtype {
                let what = format!("operand {i} is {x}, but operand 0 is {first}; cast one of them");
                return bad_dtype(OP, what);
            }
            if x.rank() != first.rank() {
                let what = format!("operand {i} is {x}, but operand 0 is {first}; ranks must be equal");
                return bad_shape(OP, what);
            }
            for (k, d) in x.shape.iter().enumerate() {
                shape[k] = if k == axis {
                    &shape[k] + d
                } else {
                    let what = format!("axis {k} of operand 0 ({first}) and operand {i} ({x})");
                    cx.equal(OP, &shape[k], d, &what)?
                };
            }
        }
        cx.result(OP, first.dtype, shape)
    }
    fn symbolic(
        &self,
        inputs: &[Option<&SymValue>],
        _: &[&TensorType],
        out: &TensorType,
    ) -> Option<SymValue> {
        moved_all(self, inputs, out)
    }
    fn eval(&self, cx: &EvalCx<'_>, inputs: &[&Literal]) -> Result<Literal, OpError> {
        eval::concat(self, cx, inputs)
    }
    fn vjp(&self) -> Vjp {
        Vjp::NotYet
    }
}

/// The extents of an attribute, simplified and not negative.
fn attribute_extents(cx: &mut InferCx<'_>, op: &'static str, shape: &[Dim]) -> Result<Vec<Dim>, OpError> {
    let named = shape.iter().enumerate();
    named.map(|(k, d)| cx.extent(op, d, &format!("the result's extent of axis {k}"))).collect()
}

fn moved_one(op: &dyn Meaning, x: &SymValue, out: &TensorType) -> Option<SymValue> {
    moved(op, &[&numbered(x, 0)?], &x.elems, out)
}

fn moved_all(op: &dyn Meaning, inputs: &[Option<&SymValue>], out: &TensorType) -> Option<SymValue> {
    let mut pool = vec![];
    let mut literals = vec![];
    for x in inputs {
        let x = (*x)?;
        literals.push(numbered(x, pool.len())?);
        pool.extend(x.elems.iter().cloned());
    }
    moved(op, &literals.iter().collect::<Vec<_>>(), &pool, out)
}
