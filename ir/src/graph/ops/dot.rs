//! Contractions.

mod eval;

pub(super) use eval::matmul;

use super::super::{OpError, SymValue, TensorType};
use super::check::{bad_dtype, bad_shape, same_dtype};
use super::{EvalCx, InferCx, Meaning, Vjp};
use crate::dtype::DType;
use crate::literal::Literal;

/// Sum of products over the contracted axes, for every index of the batch axes and of both free axes.
///
/// The result's axes: batch axes in the order listed, free axes of the left operand, free axes of the
/// right one. Products are summed in ascending order of the contracted index (the first listed pair outermost).
/// f16 and bf16 are summed in f32 and rounded once; integers wrap.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct DotGeneral {
    /// Pairs of (left, right) axes that run together.
    pub batch: Vec<(u32, u32)>,
    /// Pairs of (left, right) axes that are summed over.
    pub contract: Vec<(u32, u32)>,
}

impl DotGeneral {
    /// The axes of the left (`side` 0) or right (1) operand of that rank that are neither batch nor
    /// contracted, ascending.
    pub fn free(&self, side: usize, rank: usize) -> Vec<usize> {
        let pick = |p: &(u32, u32)| if side == 0 { p.0 } else { p.1 } as usize;
        let used: Vec<usize> = self.batch.iter().chain(&self.contract).map(pick).collect();
        (0..rank).filter(|k| !used.contains(k)).collect()
    }

    fn check_axes(&self, side: usize, x: &TensorType) -> Result<(), OpError> {
        const OP: &str = "dot";
        let name = ["left", "right"][side];
        let pick = |p: &(u32, u32)| if side == 0 { p.0 } else { p.1 };
        let mut used: Vec<u32> = self.batch.iter().chain(&self.contract).map(pick).collect();
        if let Some(a) = used.iter().find(|&&a| a as usize >= x.rank()) {
            let what = format!("axis {a} of the {name} operand is out of range: it is {x}");
            return bad_shape(OP, what);
        }
        used.sort_unstable();
        if let Some(w) = used.windows(2).find(|w| w[0] == w[1]) {
            let what = format!("axis {} of the {name} operand {x} is listed twice", w[0]);
            return bad_shape(OP, what);
        }
        Ok(())
    }
}

impl Meaning for DotGeneral {
    fn infer(&self, cx: &mut InferCx<'_>, inputs: &[&TensorType]) -> Result<TensorType, OpError> {
        const OP: &str = "dot";
        let (a, b) = (inputs[0], inputs[1]);
        let dtype = same_dtype(OP, a, b)?;
        if dtype == DType::Bool {
            return bad_dtype(OP, format!("multiplies integers or floats, not {a}; cast it first"));
        }
        self.check_axes(0, a)?;
        self.check_axes(1, b)?;
        let mut shape = vec![];
        for (pairs, name) in [(&self.batch, "batch"), (&self.contract, "contracted")] {
            for &(i, j) in pairs {
                let what = format!("{name} axes {i} of {a} and {j} of {b} must have one extent");
                let d = cx.equal(OP, &a.shape[i as usize], &b.shape[j as usize], &what)?;
                if name == "batch" {
                    shape.push(d);
                }
            }
        }
        shape.extend(self.free(0, a.rank()).into_iter().map(|k| a.shape[k].clone()));
        shape.extend(self.free(1, b.rank()).into_iter().map(|k| b.shape[k].clone()));
        cx.result(OP, dtype, shape)
    }
    fn symbolic(&self, _: &[Option<&SymValue>], _: &[&TensorType], _: &TensorType) -> Option<SymValue> {
        None
    }
    fn eval(&self, cx: &EvalCx<'_>, inputs: &[&Literal]) -> Result<Literal, OpError> {
        eval::dot(self, cx, inputs[0], inputs[1])
    }
    fn vjp(&self) -> Vjp {
        Vjp::NotYet
    }
}
