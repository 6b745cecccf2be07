//! Control flow: operators whose computation is a graph of its own, a *region*.
//!
//! A region sees nothing but its inputs; values from outside are operands (captured values). The node
//! of a region operator has the token type `bool[0]`, which only [`Proj`] reads: it is the k-th
//! result. Conditions on extents (guards) of a region count as the graph's: they are checked before
//! anything runs, whether the region then runs or not.

use super::super::{Graph, OpError, RegionId, SymValue, TensorType};
use super::check::{bad_dtype, bad_shape};
use super::strided::bad_eval;
use super::{EvalCx, InferCx, Meaning, Op, Vjp};
use crate::dim::{Dim, simplify};
use crate::dtype::DType;
use crate::literal::Literal;
use smallvec::{SmallVec, smallvec};

/// `if pred { then } else { otherwise }`. Operands: `pred: bool[]`, then the captured values, which
/// are the inputs of both regions. Results: the outputs of the region that runs; both have the same types.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Cond {
    /// Runs if `pred` is true.
    pub then: RegionId,
    /// Runs if not.
    pub otherwise: RegionId,
}

/// `while cond(x) { x = body(x) }`. Operands: the first values of what is carried from one iteration to
/// the next, then the captured values; both together are the inputs of both regions. Results: the
/// carried values when `cond` first gives false; their types never change.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct While {
    /// Gives one `bool[]`: whether `body` runs (again).
    pub cond: RegionId,
    /// Gives the next carried values.
    pub body: RegionId,
    /// How many of the operands are carried.
    pub carried: u32,
}

/// A loop of `length` iterations over the leading axis of some operands. Operands: first values of what is
/// carried; the tensors that are walked, `[length, ..]` each; captured values. The body's inputs are
/// the carried values, for each walked tensor its element at the iteration's place (without the
/// leading axis), and the captured values; its outputs the next carried values, then `y`s of any
/// type. Results: the last carried values, then each `y` stacked, `[length, ..]`, at the same places.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Scan {
    /// One iteration.
    pub body: RegionId,
    /// How many of the operands are carried.
    pub carried: u32,
    /// How many of the operands are walked.
    pub xs: u32,
    /// The number of iterations.
    pub length: Dim,
    /// Walks from the last place to the first instead.
    pub reverse: bool,
}

/// The result of that number of the region operator that is its operand.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Proj(
    /// Number of the result.
    pub u32,
);

/// The type of the node of a region operator: no elements.
pub fn token() -> TensorType {
    TensorType::new(DType::Bool, vec![Dim::ZERO])
}

impl Op {
    /// Whether it is an operator whose computation is a region: its node is a token.
    pub fn has_regions(&self) -> bool {
        matches!(self, Op::Cond(_) | Op::While(_) | Op::Scan(_))
    }
    /// The regions it names.
    pub fn regions(&self) -> SmallVec<[RegionId; 2]> {
        match self {
            Op::Cond(c) => smallvec![c.then, c.otherwise],
            Op::While(w) => smallvec![w.cond, w.body],
            Op::Scan(s) => smallvec![s.body],
            _ => smallvec![],
        }
    }
    /// Renames the regions it names.
    pub fn map_regions(&mut self, mut to: impl FnMut(RegionId) -> RegionId) {
        match self {
            Op::Cond(c) => (c.then, c.otherwise) = (to(c.then), to(c.otherwise)),
            Op::While(w) => (w.cond, w.body) = (to(w.cond), to(w.body)),
            Op::Scan(s) => s.body = to(s.body),
            _ => {}
        }
    }
    /// The types of its results, if it is a region operator whose region is one of `regions`.
    pub fn results(&self, regions: &[Graph]) -> Vec<TensorType> {
        let (region, fixed) = match self {
            Op::Cond(c) => (c.then, usize::MAX),
            Op::While(w) => (w.body, usize::MAX),
            Op::Scan(s) => (s.body, s.carried as usize),
            _ => return vec![],
        };
        let Some(region) = regions.get(region.index()) else { return vec![] };
        let mut types = region.output_types();
        if let Op::Scan(s) = self {
            types.iter_mut().skip(fixed).for_each(|t| t.shape.insert(0, s.length.clone()));
        }
        types
    }
}

impl Graph {
    /// The types of its outputs.
    pub fn output_types(&self) -> Vec<TensorType> {
        self.outputs.iter().map(|o| self.ty(o.value).clone()).collect()
    }
}

impl<'a> InferCx<'a> {
    fn region(&self, op: &'static str, id: RegionId) -> Result<&'a Graph, OpError> {
        match self.regions.get(id.index()) {
            Some(r) => Ok(r),
            None => bad_shape(op, format!("there is no region {id}; the graph has {}", self.regions.len())),
        }
    }

    fn same(&self, a: &TensorType, b: &TensorType) -> bool {
        let equal = |(x, y): (&Dim, &Dim)| x == y || simplify(&(x - y), self.ranges).is_const(0);
        a.dtype == b.dtype && a.rank() == b.rank() && a.shape.iter().zip(&b.shape).all(equal)
    }

    /// Demands that values fit: `got` are the types there are, `want` those needed.
    fn fits(
        &self,
        op: &'static str,
        what: &str,
        got: &[TensorType],
        want: &[TensorType],
    ) -> Result<(), OpError> {
        if got.len() != want.len() {
            return bad_shape(op, format!("{what} must be {} values, not {}", want.len(), got.len()));
        }
        match got.iter().zip(want).position(|(g, w)| !self.same(g, w)) {
            Some(k) => bad_shape(op, format!("{what} number {k} must be {}, but is {}", want[k], got[k])),
            None => Ok(()),
        }
    }
}

fn inputs_of(region: &Graph) -> Vec<TensorType> {
    region.inputs.iter().map(|i| i.ty.clone()).collect()
}

fn owned(types: &[&TensorType]) -> Vec<TensorType> {
    types.iter().map(|&t| t.clone()).collect()
}

/// Splits off the first `n` operands.
fn split<'t, 'o>(
    op: &'static str,
    what: &str,
    operands: &'o [&'t TensorType],
    n: u32,
) -> Result<(&'o [&'t TensorType], &'o [&'t TensorType]), OpError> {
    match operands.split_at_checked(n as usize) {
        Some(parts) => Ok(parts),
        None => bad_shape(op, format!("{n} operands are {what}, but there are only {}", operands.len())),
    }
}

const BY_INTERPRETER: &str = "a region is evaluated by the graph's interpreter, which keeps its results";

impl Meaning for Cond {
    fn infer(&self, cx: &mut InferCx<'_>, operands: &[&TensorType]) -> Result<TensorType, OpError> {
        const OP: &str = "cond";
        let (then, otherwise) = (cx.region(OP, self.then)?, cx.region(OP, self.otherwise)?);
        let (pred, captured) = split(OP, "the predicate", operands, 1)?;
        if pred[0].dtype != DType::Bool || pred[0].rank() != 0 {
            return bad_dtype(OP, format!("the predicate must be bool[], but is {}", pred[0]));
        }
        let captured = owned(captured);
        cx.fits(OP, "inputs of `then`", &inputs_of(then), &captured)?;
        cx.fits(OP, "inputs of `otherwise`", &inputs_of(otherwise), &captured)?;
        cx.fits(OP, "outputs of `otherwise`", &otherwise.output_types(), &then.output_types())?;
        Ok(token())
    }
    fn symbolic(&self, _: &[Option<&SymValue>], _: &[&TensorType], _: &TensorType) -> Option<SymValue> {
        None
    }
    fn eval(&self, _: &EvalCx<'_>, _: &[&Literal]) -> Result<Literal, OpError> {
        bad_eval("cond", BY_INTERPRETER)
    }
    fn vjp(&self) -> Vjp {
        Vjp::NotYet
    }
}

impl Meaning for While {
    fn infer(&self, cx: &mut InferCx<'_>, operands: &[&TensorType]) -> Result<TensorType, OpError> {
        const OP: &str = "while";
        let (cond, body) = (cx.region(OP, self.cond)?, cx.region(OP, self.body)?);
        let (carried, _) = split(OP, "carried", operands, self.carried)?;
        let all = owned(operands);
        cx.fits(OP, "inputs of `cond`", &inputs_of(cond), &all)?;
        cx.fits(OP, "inputs of `body`", &inputs_of(body), &all)?;
        let pred = TensorType::new(DType::Bool, vec![]);
        cx.fits(OP, "outputs of `cond`", &cond.output_types(), &[pred])?;
        cx.fits(OP, "outputs of `body`", &body.output_types(), &owned(carried))?;
        Ok(token())
    }
    fn symbolic(&self, _: &[Option<&SymValue>], _: &[&TensorType], _: &TensorType) -> Option<SymValue> {
        None
    }
    fn eval(&self, _: &EvalCx<'_>, _: &[&Literal]) -> Result<Literal, OpError> {
        bad_eval("while", BY_INTERPRETER)
    }
    fn vjp(&self) -> Vjp {
        Vjp::NotDifferentiable("the number of iterations is not bounded; use scan, which has a length")
    }
}

impl Meaning for Scan {
    fn infer(&self, cx: &mut InferCx<'_>, operands: &[&TensorType]) -> Result<TensorType, OpError> {
        const OP: &str = "scan";
        let body = cx.region(OP, self.body)?;
        let length = cx.extent(OP, &self.length, "the number of iterations")?;
        let (carried, rest) = split(OP, "carried", operands, self.carried)?;
        let (xs, captured) = split(OP, "walked", rest, self.xs)?;
        let mut want = owned(carried);
        for (k, x) in xs.iter().enumerate() {
            let Some((first, inner)) = x.shape.split_first() else {
                return bad_shape(OP, format!("operand {k} to walk over has no axis: {x}"));
            };
            if first != &length {
                cx.equal(OP, first, &length, &format!("operand {k} to walk over, the length"))?;
            }
            want.push(TensorType::new(x.dtype, inner));
        }
        want.extend(owned(captured));
        cx.fits(OP, "inputs of `body`", &inputs_of(body), &want)?;
        let got = body.output_types();
        let given = &got[..got.len().min(carried.len())];
        cx.fits(OP, "carried outputs of `body`", given, &owned(carried))?;
        Ok(token())
    }
    fn symbolic(&self, _: &[Option<&SymValue>], _: &[&TensorType], _: &TensorType) -> Option<SymValue> {
        None
    }
    fn eval(&self, _: &EvalCx<'_>, _: &[&Literal]) -> Result<Literal, OpError> {
        bad_eval("scan", BY_INTERPRETER)
    }
    fn vjp(&self) -> Vjp {
        Vjp::NotYet
    }
}

impl Meaning for Proj {
    fn infer(&self, cx: &mut InferCx<'_>, _: &[&TensorType]) -> Result<TensorType, OpError> {
        const OP: &str = "proj";
        let Some(producer) = cx.producer.filter(|p| p.has_regions()) else {
            return bad_shape(OP, "its operand must be a cond, while or scan");
        };
        let mut types = producer.results(cx.regions);
        if self.0 as usize >= types.len() {
            let (name, n) = (producer.name(), types.len());
            return bad_shape(OP, format!("there is no result {}; the {name} has {n}", self.0));
        }
        let ty = types.swap_remove(self.0 as usize);
        cx.result(OP, ty.dtype, ty.shape)
    }
    fn symbolic(&self, _: &[Option<&SymValue>], _: &[&TensorType], _: &TensorType) -> Option<SymValue> {
        None
    }
    fn eval(&self, _: &EvalCx<'_>, _: &[&Literal]) -> Result<Literal, OpError> {
        bad_eval("proj", BY_INTERPRETER)
    }
    fn vjp(&self) -> Vjp {
        Vjp::NotYet
    }
}
