//! Kinds of numbers that graphs are evaluated in: integers modulo a prime, and sizes of what is added up.

use super::super::differential::evaluate;
use fornax_ir::dtype::DType;
use fornax_ir::graph::interp::Bindings;
use fornax_ir::graph::ops::{Binary, OpClass, Reduce, Unary};
use fornax_ir::graph::{Const, Graph, Op, TensorType};
use fornax_ir::literal::Literal;
use fornax_ir::scalar::{BinaryOp, ReduceOp, UnaryOp};

/// The largest prime below 2^26: a sum of 2^11 products of two residues fits 64 bits.
const PRIME: i64 = 67_108_859;

/// Integers up to this are exact in single precision, and so is what was computed of them and is no larger.
const EXACT: f64 = 16_777_216.0;

/// Numbers in which every polynomial identity holds, or fails.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// Integers modulo [`PRIME`]: no rounding, so equal polynomials are equal here.
    Modular,
    /// Double precision, with every term's size in the place of the term: what rounding errors are relative to.
    Sizes,
}

/// Whether an operator's result is a polynomial of its operands.
fn is_polynomial(op: &Op) -> bool {
    match op {
        Op::Binary(Binary(b)) => matches!(b, BinaryOp::Add | BinaryOp::Sub | BinaryOp::Mul),
        Op::Unary(Unary(u)) => *u == UnaryOp::Neg,
        Op::Reduce(Reduce { op, .. }) => *op == ReduceOp::Sum,
        Op::DotGeneral(_) | Op::Conv(_) | Op::Input(_) | Op::Const(_) => true,
        op => op.class() == OpClass::View,
    }
}

impl Kind {
    fn dtype(self) -> DType {
        if self == Kind::Modular { DType::I64 } else { DType::F64 }
    }

    /// A float tensor in these numbers; `None` where it has no such value, as a fraction has no residue.
    pub fn of(self, literal: &Literal) -> Option<Literal> {
        // Numbers of half precision are few: their products are rounded.
        if !literal.dtype().is_float() || (self == Kind::Modular && literal.dtype() == DType::F16) {
            return None;
        }
        let all = || (0..literal.len()).map(|i| literal.get_f64(i));
        match self {
            Kind::Modular => {
                let residue =
                    |v: f64| (v.fract() == 0.0 && v.abs() <= EXACT).then(|| (v as i64).rem_euclid(PRIME));
                Literal::from_vec(literal.shape(), all().map(residue).collect::<Option<Vec<i64>>>()?).ok()
            }
            Kind::Sizes => Literal::from_vec(literal.shape(), all().map(f64::abs).collect::<Vec<f64>>()).ok(),
        }
    }

    /// A node's value; `None` for operators that are no polynomials, and tensors that are no floats.
    pub fn evaluate(
        self,
        op: &Op,
        ty: &TensorType,
        operands: &[&Literal],
        given: (&[Literal], &[Const]),
        bindings: &Bindings,
    ) -> Option<Literal> {
        if !is_polynomial(op) || !ty.dtype.is_float() {
            return None;
        }
        match op {
            Op::Input(i) => return self.of(given.0.get(i.0 as usize)?),
            Op::Const(c) => return self.of(&given.1[c.index()].literal),
            _ => {}
        }
        let ty = TensorType::new(self.dtype(), ty.shape.clone());
        let op = match (self, op) {
            (Kind::Sizes, Op::Binary(Binary(BinaryOp::Sub))) => &Binary(BinaryOp::Add).into(),
            (Kind::Sizes, Op::Unary(_)) => return operands.first().map(|&l| l.clone()),
            (_, op) => op,
        };
        let value = evaluate(op, &ty, operands, given.0, given.1, bindings)?;
        match self {
            Kind::Sizes => Some(value),
            Kind::Modular => {
                let residues =
                    (0..value.len()).map(|i| value.get_i64(i).rem_euclid(PRIME)).collect::<Vec<i64>>();
                Literal::from_vec(value.shape(), residues).ok()
            }
        }
    }

    /// The values of a graph's nodes, where they have some.
    pub fn of_graph(self, graph: &Graph, args: &[Literal], bindings: &Bindings) -> Vec<Option<Literal>> {
        let mut values: Vec<Option<Literal>> = vec![];
        for n in &graph.nodes {
            let operands: Option<Vec<&Literal>> =
                n.inputs.iter().map(|v| values[v.index()].as_ref()).collect();
            let value =
                operands.and_then(|o| self.evaluate(&n.op, &n.ty, &o, (args, &graph.consts), bindings));
            values.push(value);
        }
        values
    }
}
