//! Operators without operands.

use super::super::ConstId;
use super::super::{OpError, SymValue, TensorType};
use super::check::{bad_dtype, bad_shape};
use super::strided::{bad_eval, count, filled, literal};
use super::{EvalCx, InferCx, Meaning, Vjp};
use crate::dim::{Dim, simplify};
use crate::dtype::DType;
use crate::literal::Literal;
use crate::scalar::Scalar;

/// The graph's input of that number.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct InputRef(
    /// Index into the graph's inputs.
    pub u32,
);

/// Element `i` along `axis` is `i`, at every place of the other axes.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Iota {
    /// Element type: an integer or float.
    pub dtype: DType,
    /// Extents.
    pub shape: Vec<Dim>,
    /// The axis that counts.
    pub axis: u32,
}

/// Extents as data: an i64 tensor of rank 0 or 1 whose elements are expressions over the symbols.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Dims {
    /// The elements; exactly one for rank 0.
    pub dims: Vec<Dim>,
    /// Rank 0 instead of rank 1.
    pub scalar: bool,
}

/// The graph's constant of that number.
pub type Constant = ConstId;

impl Meaning for InputRef {
    fn infer(&self, cx: &mut InferCx<'_>, _: &[&TensorType]) -> Result<TensorType, OpError> {
        match cx.inputs.get(self.0 as usize) {
            Some(i) => Ok(i.ty.clone()),
            None => {
                bad_shape("input", format!("there is no input {}; the graph has {}", self.0, cx.inputs.len()))
            }
        }
    }
    fn symbolic(&self, _: &[Option<&SymValue>], _: &[&TensorType], _: &TensorType) -> Option<SymValue> {
        None
    }
    fn eval(&self, cx: &EvalCx<'_>, _: &[&Literal]) -> Result<Literal, OpError> {
        match cx.args.get(self.0 as usize) {
            Some(l) => Ok(l.clone()),
            None => bad_eval("input", format!("there is no argument {}", self.0)),
        }
    }
    fn vjp(&self) -> Vjp {
        Vjp::Zero
    }
}

impl Meaning for Iota {
    fn infer(&self, cx: &mut InferCx<'_>, _: &[&TensorType]) -> Result<TensorType, OpError> {
        const OP: &str = "iota";
        if self.dtype == DType::Bool {
            return bad_dtype(OP, "counts in integers or floats, not bool");
        }
        let rank = self.shape.len();
        if self.axis as usize >= rank {
            return bad_shape(OP, format!("axis {} is out of range for {rank} axes", self.axis));
        }
        let shape = self.shape.iter().enumerate();
        let shape = shape
            .map(|(k, d)| cx.extent(OP, d, &format!("the extent of axis {k}")))
            .collect::<Result<_, _>>()?;
        cx.result(OP, self.dtype, shape)
    }
    fn symbolic(&self, _: &[Option<&SymValue>], _: &[&TensorType], out: &TensorType) -> Option<SymValue> {
        let shape = out.const_shape()?;
        let inner: usize = shape[self.axis as usize + 1..].iter().product();
        let n = shape[self.axis as usize];
        let elem = |i: usize| {
            let v = Scalar::from_i64(self.dtype, (i / inner % n) as i64);
            Dim::constant(v.as_i64())
        };
        let elems = (0..shape.iter().product()).map(elem).collect();
        Some(SymValue { shape, elems })
    }
    fn eval(&self, cx: &EvalCx<'_>, _: &[&Literal]) -> Result<Literal, OpError> {
        let total = count("iota", cx.dtype, cx.shape)?;
        let axis = self.axis as usize;
        let inner: usize = cx.shape[axis + 1..].iter().product();
        let (n, width) = (cx.shape[axis], cx.dtype.bytes());
        let mut out = filled("iota", total * width, 0u8)?;
        for (i, run) in out.chunks_exact_mut((inner * width).max(1)).enumerate() {
            let bits = Scalar::from_i64(cx.dtype, (i % n) as i64).bits;
            let le = bits.to_le_bytes();
            let mut word = le[..width].to_vec();
            if cfg!(target_endian = "big") {
                word.reverse();
            }
            run.chunks_exact_mut(width).for_each(|e| e.copy_from_slice(&word));
        }
        literal("iota", cx.dtype, cx.shape, out)
    }
    fn vjp(&self) -> Vjp {
        Vjp::Zero
    }
}

impl Meaning for Dims {
    fn infer(&self, cx: &mut InferCx<'_>, _: &[&TensorType]) -> Result<TensorType, OpError> {
        const OP: &str = "dims";
        let n = self.dims.len();
        if self.scalar && n != 1 {
            return bad_shape(OP, format!("rank 0 holds exactly one element, not {n}"));
        }
        if let Some(k) = self.dims.iter().position(Dim::is_poisoned) {
            return bad_shape(OP, format!("element {k} is an expression that overflows 64 bits"));
        }
        let shape = if self.scalar { vec![] } else { vec![Dim::from(n)] };
        cx.result(OP, DType::I64, shape)
    }
    fn symbolic(&self, _: &[Option<&SymValue>], _: &[&TensorType], out: &TensorType) -> Option<SymValue> {
        let elems = self.dims.iter().map(|d| simplify(d, &Default::default())).collect();
        Some(SymValue { shape: out.const_shape()?, elems })
    }
    fn eval(&self, cx: &EvalCx<'_>, _: &[&Literal]) -> Result<Literal, OpError> {
        let values = self.dims.iter().map(|d| cx.dim(d)).collect::<Result<Vec<i64>, _>>()?;
        literal("dims", DType::I64, cx.shape, values)
    }
    fn vjp(&self) -> Vjp {
        Vjp::Zero
    }
}

impl Meaning for Constant {
    fn infer(&self, cx: &mut InferCx<'_>, _: &[&TensorType]) -> Result<TensorType, OpError> {
        let Some(c) = cx.consts.get(self.index()) else {
            let what = format!("there is no constant {self}; the graph has {}", cx.consts.len());
            return bad_shape("const", what);
        };
        let shape: Vec<Dim> = c.literal.shape().iter().map(|&n| Dim::from(n)).collect();
        Ok(TensorType::new(c.literal.dtype(), shape))
    }
    fn symbolic(&self, _: &[Option<&SymValue>], _: &[&TensorType], _: &TensorType) -> Option<SymValue> {
        None // the builder, which holds the data, gives the value
    }
    fn eval(&self, cx: &EvalCx<'_>, _: &[&Literal]) -> Result<Literal, OpError> {
        match cx.consts.get(self.index()) {
            Some(c) => Ok(c.literal.clone()),
            None => bad_eval("const", format!("there is no constant {self}")),
        }
    }
    fn vjp(&self) -> Vjp {
        Vjp::Zero
    }
}
