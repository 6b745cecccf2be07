//! Evaluation of regions.

use super::{InterpError, Run, Values};
use crate::dtype::DType;
use crate::graph::ops::{Op, Scan, While};
use crate::graph::{GraphError, OpError, RegionId, TensorType, ValueId};
use crate::literal::Literal;
use bytes::Bytes;

type Result<T> = std::result::Result<T, InterpError>;

impl Run<'_> {
    /// The results of a region operator.
    pub(super) fn region(&mut self, v: ValueId, operands: &[&Literal]) -> Result<Vec<Literal>> {
        let graph = self.graph;
        match &graph.node(v).op {
            Op::Cond(c) => {
                let region = if truth(operands[0]) { c.then } else { c.otherwise };
                self.inner(region, &owned(&operands[1..]))
            }
            Op::While(w) => self.while_loop(w, operands),
            Op::Scan(s) => self.scan(v, s, operands),
            _ => Ok(vec![]),
        }
    }

    /// One run of a region.
    fn inner(&mut self, region: RegionId, args: &[Literal]) -> Result<Vec<Literal>> {
        let graph = &self.graph.regions[region.index()];
        let mut run = Run { graph, args, bindings: self.bindings, index_error: self.index_error.take() };
        let outputs = run.outputs();
        self.index_error = run.index_error;
        outputs
    }

    fn while_loop(&mut self, op: &While, operands: &[&Literal]) -> Result<Vec<Literal>> {
        let mut args = owned(operands);
        while truth(&self.inner(op.cond, &args)?[0]) {
            let next = self.inner(op.body, &args)?;
            args.splice(..op.carried as usize, next);
        }
        args.truncate(op.carried as usize);
        Ok(args)
    }

    fn scan(&mut self, v: ValueId, op: &Scan, operands: &[&Literal]) -> Result<Vec<Literal>> {
        let (carried, xs) = (op.carried as usize, op.xs as usize);
        let refuse = |what: String| {
            let loc = self.graph.loc(v).to_string();
            InterpError::from(GraphError { loc, source: OpError::Eval { op: "scan", what } })
        };
        let types = self.graph.node(v).op.results(&self.graph.regions);
        let length = self.bindings.dim(&op.length).map_err(|e| refuse(e.to_string()))?;
        let length = usize::try_from(length).map_err(|_| refuse(format!("{length} iterations")))?;
        let mut stacks = vec![vec![]; types.len() - carried];
        let mut args = owned(operands);
        for i in 0..length {
            let at = if op.reverse { length - 1 - i } else { i };
            for (arg, x) in args[carried..][..xs].iter_mut().zip(&operands[carried..]) {
                *arg = element(x, at);
            }
            let mut next = self.inner(op.body, &args)?;
            let ys = next.split_off(carried);
            args.splice(..carried, next);
            stacks.iter_mut().zip(ys).for_each(|(stack, y)| stack.push(y));
        }
        args.truncate(carried);
        for (mut stack, ty) in stacks.into_iter().zip(&types[carried..]) {
            if op.reverse {
                stack.reverse();
            }
            args.push(self.stacked(v, &stack, ty)?);
        }
        Ok(args)
    }

    /// Tensors of one type along a new leading axis.
    fn stacked(&self, v: ValueId, parts: &[Literal], ty: &TensorType) -> Result<Literal> {
        let extents = ty.shape.iter().map(|d| {
            let value = self.bindings.dim(d).map_err(|e| e.to_string())?;
            usize::try_from(value).map_err(|_| format!("extent {d} cannot be: it is {value}"))
        });
        let bytes: Vec<u8> = parts.iter().flat_map(|p| p.bytes().iter().copied()).collect();
        let made = extents.collect::<std::result::Result<Vec<_>, _>>().and_then(|shape| {
            Literal::from_bytes(ty.dtype, &shape, Bytes::from(bytes)).map_err(|e| e.to_string())
        });
        made.map_err(|what| {
            let loc = self.graph.loc(v).to_string();
            GraphError { loc, source: OpError::Eval { op: "scan", what } }.into()
        })
    }
}

fn owned(operands: &[&Literal]) -> Vec<Literal> {
    operands.iter().map(|&l| l.clone()).collect()
}

fn truth(pred: &Literal) -> bool {
    pred.get_i64(0) != 0
}

/// Place `i` of the leading axis.
fn element(l: &Literal, i: usize) -> Literal {
    let shape = &l.shape()[1..];
    let bytes = shape.iter().product::<usize>() * l.dtype().bytes();
    let data = l.bytes().slice(i * bytes..(i + 1) * bytes);
    Literal::from_bytes(l.dtype(), shape, data).expect("a part of a tensor is one")
}

/// What a node's evaluation gave.
#[derive(Clone)]
pub(super) enum Value {
    Tensor(Literal),
    /// The results of a region operator.
    Results(Vec<Literal>),
}

impl Value {
    /// The tensor; for a region operator its token.
    pub(super) fn into_literal(self) -> Literal {
        match self {
            Value::Tensor(l) => l,
            Value::Results(_) => Literal::zeros(DType::Bool, &[0]).expect("no elements"),
        }
    }
}

impl Values {
    /// The tensors that a node reads.
    pub(super) fn operands(&self, inputs: &[ValueId]) -> Vec<&Literal> {
        let tensor = |v: &ValueId| match &self.0[v.index()] {
            Some(Value::Tensor(l)) => Some(l),
            _ => None,
        };
        inputs.iter().filter_map(tensor).collect()
    }
    /// The k-th result of a region operator.
    pub(super) fn result(&self, of: ValueId, k: u32) -> Option<&Literal> {
        match &self.0[of.index()] {
            Some(Value::Results(results)) => results.get(k as usize),
            _ => None,
        }
    }
}
