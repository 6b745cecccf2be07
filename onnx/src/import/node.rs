//! What an operator's import function sees of its node, and the small steps all of them share.

use crate::error::Result;
use crate::proto::{AttributeProto, NodeProto};
use crate::tensor::TensorSource;
use fornax_ir::dim::{Ranges, prove_le};
use fornax_ir::graph::ops::EvalCx;
use fornax_ir::graph::{Builder, Op, SymValue, ValueId};
use fornax_ir::scalar::{BinaryOp, CompareOp, ReduceOp, UnaryOp};
use fornax_ir::{DType, Dim, Literal};
use rustc_hash::FxHashMap;
use std::cell::Cell;

/// A node being converted.
pub(crate) struct NodeCx<'a, 'm> {
    /// Where the result goes.
    pub(crate) b: &'a mut Builder,
    /// The node.
    pub(crate) node: &'m NodeProto,
    /// The node as messages name it.
    pub(crate) label: &'a str,
    /// Version of the operator set of the node's domain.
    pub(crate) opset: i64,
    /// Its operands; `None` where an optional one is left out.
    pub(crate) inputs: Vec<Option<ValueId>>,
    /// Attributes of the function around it.
    pub(crate) attrs: &'a FxHashMap<&'m str, &'m AttributeProto>,
    /// Turns stored tensors into literals.
    pub(crate) tensors: &'a mut TensorSource,
}

impl NodeCx<'_, '_> {
    /// Operand `i`, if given.
    pub(crate) fn opt(&self, i: usize) -> Option<ValueId> {
        self.inputs.get(i).copied().flatten()
    }
    /// Operand `i`, which the operator requires.
    pub(crate) fn input(&self, i: usize) -> Result<ValueId> {
        self.opt(i).ok_or_else(|| self.bad(format!("operand {i} is missing")))
    }
    /// All operands, of which there must be one or more.
    pub(crate) fn all_inputs(&self) -> Result<Vec<ValueId>> {
        if self.inputs.is_empty() {
            return Err(self.bad("needs at least one operand"));
        }
        (0..self.inputs.len()).map(|i| self.input(i)).collect()
    }
    /// Whether something may use output `i`.
    pub(crate) fn wants(&self, i: usize) -> bool {
        self.node.output.get(i).is_some_and(|o| !o.is_empty())
    }
    /// The extents of a value.
    pub(crate) fn shape(&self, v: ValueId) -> Vec<Dim> {
        self.b.shape(v).to_vec()
    }
    /// The number of axes of a value.
    pub(crate) fn rank(&self, v: ValueId) -> usize {
        self.b.shape(v).len()
    }
    /// The element type of a value.
    pub(crate) fn dtype(&self, v: ValueId) -> DType {
        self.b.dtype(v)
    }
    /// Declared ranges of the symbols.
    pub(crate) fn ranges(&self) -> &Ranges {
        &self.b.graph().ranges
    }
    /// Whether `a <= b` for all values of the symbols.
    pub(crate) fn le(&self, a: &Dim, b: &Dim) -> bool {
        prove_le(a, b, self.ranges())
    }

    /// An axis counted from the front; negative ones count from the end.
    pub(crate) fn axis(&self, axis: i64, rank: usize) -> Result<usize> {
        let r = rank as i64;
        if axis < -r || axis >= r {
            return Err(self.bad(format!(
                "axis {axis} is out of range for {rank} axes ({}..={})",
                -r,
                r - 1
            )));
        }
        Ok(if axis < 0 { axis + r } else { axis } as usize)
    }
    /// Several axes, ascending; a repeated one is an error.
    pub(crate) fn axes(&self, axes: &[i64], rank: usize) -> Result<Vec<usize>> {
        let mut out = axes.iter().map(|&a| self.axis(a, rank)).collect::<Result<Vec<_>>>()?;
        out.sort_unstable();
        if out.windows(2).any(|w| w[0] == w[1]) {
            return Err(self.bad(format!("an axis is repeated in {axes:?}")));
        }
        Ok(out)
    }

    /// The elements of an integer operand as extents, in row-major order.
    pub(crate) fn dims_of(&self, v: ValueId, what: &str) -> Result<Vec<Dim>> {
        if !self.dtype(v).is_int() {
            return Err(self.bad(format!("{what} must be integers, but are {}", self.b.ty(v))));
        }
        if let Some(SymValue { elems, .. }) = self.b.sym(v) {
            return Ok(elems.clone());
        }
        if let Some(l) = self.literal(v) {
            return Ok((0..l.len()).map(|i| Dim::constant(l.get_i64(i))).collect());
        }
        let place = self.b.graph().loc(v);
        Err(self.bad(format!(
            "{what} depend on data (through {place}); they must follow from shapes and constants"
        )))
    }
    /// The elements of an integer operand that must be constants.
    pub(crate) fn ints_of(&self, v: ValueId, what: &str) -> Result<Vec<i64>> {
        let dims = self.dims_of(v, what)?;
        let consts: Option<Vec<i64>> = dims.iter().map(Dim::as_const).collect();
        consts
            .ok_or_else(|| self.bad(format!("{what} must be constant, but depend on extents of the inputs")))
    }
    /// The elements of an operand that must be constants, as floats.
    pub(crate) fn floats_of(&self, v: ValueId, what: &str) -> Result<Vec<f64>> {
        match self.literal(v) {
            Some(l) => Ok((0..l.len()).map(|i| l.get_f64(i)).collect()),
            None => Err(self.bad(format!("{what} must follow from constants"))),
        }
    }

    /// The value of a small computation on constants alone.
    pub(crate) fn literal(&self, v: ValueId) -> Option<Literal> {
        let graph = self.b.graph();
        if let Some(l) = graph.literal(v) {
            return Some(l.clone());
        }
        let small = |v: ValueId| {
            let n = graph.ty(v).elements().as_const();
            n.is_some_and(|n| (0..=SymValue::MAX as i64).contains(&n))
        };
        let mut needed = vec![v];
        let mut at = 0;
        while at < needed.len() {
            let n = graph.node(needed[at]);
            if matches!(n.op, Op::Input(_)) || !small(needed[at]) || needed.len() > SymValue::MAX {
                return None;
            }
            needed.extend(n.inputs.iter().copied());
            at += 1;
        }
        needed.sort_unstable();
        needed.dedup();
        let mut known: FxHashMap<ValueId, Literal> = FxHashMap::default();
        for v in needed {
            let n = graph.node(v);
            let shape = n.ty.const_shape()?;
            let index_error = Cell::new(false);
            let cx = EvalCx {
                args: &[],
                consts: &graph.consts,
                symbol: &|_| None,
                dtype: n.ty.dtype,
                shape: &shape,
                index_error: &index_error,
            };
            let operands: Vec<&Literal> = n.inputs.iter().map(|i| known.get(i)).collect::<Option<_>>()?;
            let value = n.op.meaning().eval(&cx, &operands).ok().filter(|_| !index_error.get())?;
            known.insert(v, value);
        }
        known.remove(&v)
    }

    /// A rank-0 constant of `like`'s dtype.
    pub(crate) fn c(&mut self, like: ValueId, v: f64) -> ValueId {
        let dtype = self.dtype(like);
        self.b.scalar_f64(dtype, v)
    }
    /// An extent as a rank-0 value of that dtype.
    pub(crate) fn extent(&mut self, d: &Dim, dtype: DType) -> Result<ValueId> {
        if let Some(v) = d.as_const() {
            return Ok(self.b.scalar(fornax_ir::scalar::Scalar::from_i64(dtype, v)));
        }
        let v = self.b.dims(vec![d.clone()], true)?;
        Ok(self.b.cast(v, dtype)?)
    }
    /// Repeats a rank-0 or narrower value to a shape, by NumPy's rule.
    pub(crate) fn fill(&mut self, v: ValueId, shape: &[Dim]) -> Result<ValueId> {
        Ok(self.b.broadcast_to(v, shape)?)
    }
    /// A value of rank 1 laid along `axis` of `rank` axes, extent 1 elsewhere.
    pub(crate) fn along(&mut self, v: ValueId, axis: usize, rank: usize) -> Result<ValueId> {
        let n = match self.shape(v).as_slice() {
            [] => Dim::ONE,
            [n] => n.clone(),
            _ => return Err(self.bad(format!("an operand must have one axis, but is {}", self.b.ty(v)))),
        };
        let mut shape = vec![Dim::ONE; rank];
        shape[axis] = n;
        Ok(self.b.reshape(v, shape)?)
    }

    /// A unary operator.
    pub(crate) fn un(&mut self, op: UnaryOp, x: ValueId) -> Result<ValueId> {
        Ok(self.b.unary(op, x)?)
    }
    /// A binary operator with broadcasting.
    pub(crate) fn bin(&mut self, op: BinaryOp, a: ValueId, b: ValueId) -> Result<ValueId> {
        Ok(self.b.binary(op, a, b)?)
    }
    /// Sum.
    pub(crate) fn add(&mut self, a: ValueId, b: ValueId) -> Result<ValueId> {
        self.bin(BinaryOp::Add, a, b)
    }
    /// Difference.
    pub(crate) fn sub(&mut self, a: ValueId, b: ValueId) -> Result<ValueId> {
        self.bin(BinaryOp::Sub, a, b)
    }
    /// Product.
    pub(crate) fn mul(&mut self, a: ValueId, b: ValueId) -> Result<ValueId> {
        self.bin(BinaryOp::Mul, a, b)
    }
    /// Quotient.
    pub(crate) fn div(&mut self, a: ValueId, b: ValueId) -> Result<ValueId> {
        self.bin(BinaryOp::Div, a, b)
    }
    /// Larger.
    pub(crate) fn max(&mut self, a: ValueId, b: ValueId) -> Result<ValueId> {
        self.bin(BinaryOp::Max, a, b)
    }
    /// Smaller.
    pub(crate) fn min(&mut self, a: ValueId, b: ValueId) -> Result<ValueId> {
        self.bin(BinaryOp::Min, a, b)
    }
    /// A comparison with broadcasting.
    pub(crate) fn cmp(&mut self, op: CompareOp, a: ValueId, b: ValueId) -> Result<ValueId> {
        Ok(self.b.compare(op, a, b)?)
    }
    /// `if c { a } else { b }` with broadcasting.
    pub(crate) fn select(&mut self, c: ValueId, a: ValueId, b: ValueId) -> Result<ValueId> {
        Ok(self.b.select(c, a, b)?)
    }
    /// Product with a constant.
    pub(crate) fn scale(&mut self, x: ValueId, by: f64) -> Result<ValueId> {
        if by == 1.0 {
            return Ok(x);
        }
        let c = self.c(x, by);
        self.mul(x, c)
    }
    /// Sum with a constant.
    pub(crate) fn shift(&mut self, x: ValueId, by: f64) -> Result<ValueId> {
        let c = self.c(x, by);
        self.add(x, c)
    }
    /// A reduction whose axes stay with extent 1.
    pub(crate) fn reduce_keep(&mut self, op: ReduceOp, x: ValueId, axes: &[usize]) -> Result<ValueId> {
        let axes: Vec<u32> = axes.iter().map(|&a| a as u32).collect();
        Ok(self.b.reduce_keep(op, x, &axes)?)
    }
    /// The mean over axes, which stay with extent 1.
    pub(crate) fn mean_keep(&mut self, x: ValueId, axes: &[usize]) -> Result<ValueId> {
        let n = self.count(x, axes)?;
        let sum = self.reduce_keep(ReduceOp::Sum, x, axes)?;
        self.div(sum, n)
    }
    /// The number of elements along axes, as a rank-0 value of `x`'s dtype.
    pub(crate) fn count(&mut self, x: ValueId, axes: &[usize]) -> Result<ValueId> {
        let shape = self.shape(x);
        let n: Dim = axes.iter().map(|&a| &shape[a]).product();
        self.extent(&n, self.dtype(x))
    }
    /// Permutes axes.
    pub(crate) fn permute(&mut self, x: ValueId, perm: &[usize]) -> Result<ValueId> {
        let perm: Vec<u32> = perm.iter().map(|&p| p as u32).collect();
        Ok(self.b.permute(x, &perm)?)
    }
    /// Elements `start, start + step, ..` (`size` of them) along one axis; all of the other axes.
    pub(crate) fn slice(
        &mut self,
        x: ValueId,
        axis: usize,
        start: Dim,
        size: Dim,
        step: i64,
    ) -> Result<ValueId> {
        let shape = self.shape(x);
        if start == Dim::ZERO && step == 1 && size == shape[axis] {
            return Ok(x);
        }
        let mut op = fornax_ir::graph::ops::Slice {
            start: vec![Dim::ZERO; shape.len()],
            step: vec![1; shape.len()],
            size: shape,
        };
        (op.start[axis], op.size[axis], op.step[axis]) = (start, size, step);
        Ok(self.b.add(op, &[x])?)
    }
    /// The numbers 0, 1, .. along the only axis.
    pub(crate) fn iota(&mut self, n: &Dim, dtype: DType) -> Result<ValueId> {
        Ok(self.b.add(fornax_ir::graph::ops::Iota { dtype, shape: vec![n.clone()], axis: 0 }, &[])?)
    }
    /// Slices of `x` along `axis` at the places of an integer value of rank 1.
    pub(crate) fn take(&mut self, x: ValueId, axis: usize, indices: ValueId) -> Result<ValueId> {
        Ok(self.b.add(fornax_ir::graph::ops::Gather { axes: vec![axis as u32] }, &[x, indices])?)
    }
}
