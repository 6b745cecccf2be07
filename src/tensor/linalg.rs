//! Matrix products and sums of products.

use fornax_ir::graph::ValueId;
use fornax_ir::graph::builder::{Builder, Result as BuildResult};
use fornax_ir::graph::ops::DotGeneral;
use fornax_ir::scalar::ReduceOp;

use super::Tensor;
use super::elementwise::one_dtype;
use crate::eager::{Key, Operand, apply_one, fail, fitting, one};

impl Tensor {
    /// The matrix product by NumPy's rules: the last two axes multiply, leading axes broadcast, a vector is a row on the
    /// left and a column on the right, whose axis vanishes.
    ///
    /// # Panics
    /// At the caller's line, when the extents don't fit or dtypes differ.
    ///
    /// ```
    /// # use fornax::Tensor;
    /// let a = Tensor::from([[1.0f32, 2.0], [3.0, 4.0]]);
    /// assert_eq!(a.matmul(&a.t()), Tensor::from([[5.0f32, 11.0], [11.0, 25.0]]));
    /// ```
    #[must_use]
    #[track_caller]
    pub fn matmul(&self, other: &Tensor) -> Tensor {
        let operands = [self.into(), other.into()];
        one_dtype("matmul", &operands);
        let (ra, rb) = (self.rank(), other.rank());
        let mut key = Key::tensors("matmul");
        if ra > 0 && rb > 0 {
            let (batch_a, batch_b) = (ra.saturating_sub(2), rb.saturating_sub(2));
            key = key.broadcast(0, 0..batch_a).broadcast(1, 0..batch_b).link((1, batch_b), (0, ra - 1));
            for k in 0..batch_a.min(batch_b) {
                key = key.link((1, batch_b - 1 - k), (0, batch_a - 1 - k));
            }
        }
        apply_one(key, &operands, &|b, v| Ok(one(b.matmul(v[0], v[1])?)))
    }

    /// The sum of the products of two vectors.
    ///
    /// # Panics
    /// At the caller's line, when they are no vectors of one length and dtype.
    #[must_use]
    #[track_caller]
    pub fn dot(&self, other: &Tensor) -> Tensor {
        if (self.rank(), other.rank()) != (1, 1) {
            fail(
                "dot",
                &[self.into(), other.into()],
                "both operands must be vectors; `matmul` multiplies matrices",
            );
        }
        self.matmul(other)
    }

    /// `x w^T + bias` for `w: [out, in]` and a bias of length `out`: a linear layer on the last axis.
    ///
    /// # Panics
    /// At the caller's line, when the extents don't fit or dtypes differ.
    #[must_use]
    #[track_caller]
    pub fn linear(&self, weight: &Tensor, bias: Option<&Tensor>) -> Tensor {
        let operands: Vec<Operand<'_>> = [self, weight].into_iter().chain(bias).map(Operand::from).collect();
        one_dtype("linear", &operands);
        let rank = self.rank();
        if rank == 0 || weight.rank() != 2 || bias.is_some_and(|b| b.rank() != 1) {
            fail("linear", &operands, "x needs an axis, the weight must be [out, in] and the bias [out]");
        }
        let key = Key::tensors("linear").link((1, 1), (0, rank - 1)).link((2, 0), (1, 0));
        apply_one(key, &operands, &|b, v| {
            let op = DotGeneral { batch: vec![], contract: vec![(rank as u32 - 1, 1)] };
            let product = b.add(op, &v[..2])?;
            Ok(one(v.get(2).map_or(Ok(product), |&bias| b.add_values(product, bias))?))
        })
    }
}

/// An equation of [`einsum`]: a label for each axis of each operand and of the result.
struct Equation {
    operands: Vec<Vec<char>>,
    result: Vec<char>,
}

impl Equation {
    fn parse(text: &str, ranks: &[usize]) -> Result<Equation, String> {
        let labels = |part: &str| -> Result<Vec<char>, String> {
            let labels: Vec<char> = part.chars().filter(|c| !c.is_whitespace()).collect();
            match labels.iter().find(|c| !c.is_ascii_alphabetic()) {
                Some(c) => Err(format!(
                    "'{c}' is no label; a label is a letter, and operands are separated by commas"
                )),
                None => Ok(labels),
            }
        };
        let (left, right) = text.split_once("->").map_or((text, None), |(l, r)| (l, Some(r)));
        let operands = left.split(',').map(labels).collect::<Result<Vec<_>, _>>()?;
        let given: Vec<usize> = operands.iter().map(Vec::len).collect();
        if given != ranks {
            return Err(format!(
                "the equation '{text}' is for operands of ranks {given:?}, but they have {ranks:?}"
            ));
        }
        for labels in &operands {
            if let Some(c) = labels.iter().enumerate().find_map(|(i, c)| labels[..i].contains(c).then_some(c))
            {
                return Err(format!("the label '{c}' stands twice in one operand, which is not supported"));
            }
        }
        let count = |c: &char| operands.iter().filter(|labels| labels.contains(c)).count();
        let result = match right {
            Some(right) => labels(right)?,
            None => {
                // By NumPy's rule: labels that stand once, in alphabetical order.
                let mut once: Vec<char> =
                    operands.iter().flatten().copied().filter(|c| count(c) == 1).collect();
                once.sort_unstable();
                once
            }
        };
        if let Some(c) = result
            .iter()
            .enumerate()
            .find_map(|(i, c)| (result[..i].contains(c) || count(c) == 0).then_some(c))
        {
            return Err(format!(
                "the label '{c}' of the result must stand in an operand, and once in the result"
            ));
        }
        Ok(Equation { operands, result })
    }

    /// Multiplies the operands from left to right.
    fn build(&self, b: &mut Builder, values: &[ValueId]) -> BuildResult<ValueId> {
        let mut labels = self.operands[0].clone();
        let mut x = self.summed(b, values[0], &mut labels, 0)?;
        for (i, &value) in values.iter().enumerate().skip(1) {
            let mut other = self.operands[i].clone();
            let needed =
                |c: &char| self.result.contains(c) || self.operands[i + 1..].iter().any(|l| l.contains(c));
            let y = self.summed_where(b, value, &mut other, |c| !needed(c) && !labels.contains(c))?;
            let mut op = DotGeneral { batch: vec![], contract: vec![] };
            let mut result = vec![];
            for (k, c) in labels.iter().enumerate() {
                let Some(j) = other.iter().position(|o| o == c) else { continue };
                if needed(c) {
                    op.batch.push((k as u32, j as u32));
                    result.push(*c);
                } else {
                    op.contract.push((k as u32, j as u32));
                }
            }
            result.extend(labels.iter().filter(|c| !other.contains(c)));
            result.extend(other.iter().filter(|c| !labels.contains(c)));
            x = b.add(op, &[x, y])?;
            labels = result;
        }
        let perm = self.result.iter().map(|c| labels.iter().position(|l| l == c).expect("checked") as u32);
        b.permute(x, &perm.collect::<Vec<_>>())
    }

    /// Sums over the labels of one operand that neither the result nor a later operand has.
    fn summed(&self, b: &mut Builder, x: ValueId, labels: &mut Vec<char>, at: usize) -> BuildResult<ValueId> {
        let later = &self.operands[at + 1..];
        self.summed_where(b, x, labels, |c| !self.result.contains(c) && !later.iter().any(|l| l.contains(c)))
    }

    fn summed_where(
        &self,
        b: &mut Builder,
        x: ValueId,
        labels: &mut Vec<char>,
        gone: impl Fn(&char) -> bool,
    ) -> BuildResult<ValueId> {
        let axes: Vec<u32> = (0..labels.len() as u32).filter(|&k| gone(&labels[k as usize])).collect();
        labels.retain(|c| !gone(c));
        b.reduce(ReduceOp::Sum, x, &axes)
    }
}

/// Sums of products by Einstein's convention: `einsum("bij,bjk->bik", &[&a, &b])`. Labels that the result lacks are
/// summed over; without `->` the result has the labels that stand once, in alphabetical order.
///
/// # Panics
/// At the caller's line, when the equation does not fit the operands.
///
/// ```
/// use fornax::{Tensor, einsum};
///
/// let x = Tensor::from([[1.0f32, 2.0], [3.0, 4.0]]);
/// assert_eq!(einsum("ij->j", &[&x]), Tensor::from([4.0f32, 6.0]));
/// assert_eq!(einsum("ij,kj->ik", &[&x, &x]), x.matmul(&x.t()));
/// ```
#[track_caller]
pub fn einsum(equation: &str, operands: &[&Tensor]) -> Tensor {
    let operands: Vec<Operand<'_>> = operands.iter().map(|&t| t.into()).collect();
    let ranks: Vec<usize> = operands.iter().map(Operand::rank).collect();
    let parsed = fitting("einsum", &operands, Equation::parse(equation, &ranks));
    one_dtype("einsum", &operands);
    let mut key = Key::tensors("einsum");
    for labels in parsed.operands.iter().chain([&parsed.result]) {
        key = key.ints(labels.iter().map(|&c| i64::from(u32::from(c))));
    }
    for (i, labels) in parsed.operands.iter().enumerate() {
        for (k, c) in labels.iter().enumerate() {
            let place = |(j, earlier): (usize, &Vec<char>)| Some((j, earlier.iter().position(|l| l == c)?));
            if let Some((j, at)) = parsed.operands[..i].iter().enumerate().find_map(place) {
                key = key.link((i as u8, k), (j as u8, at));
            }
        }
    }
    apply_one(key, &operands, &|b, v| Ok(one(parsed.build(b, v)?)))
}
