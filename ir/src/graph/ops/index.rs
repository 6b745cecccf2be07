//! Operators whose element places depend on data.

use super::super::{OpError, SymValue, TensorType};
use super::check::{ascending_axes, bad_dtype, bad_shape, moved, numbered};
use super::strided::{Layout, bad_eval, by_width, copy, count, literal, row_major, words, zeros};
use super::{EvalCx, InferCx, Meaning, Vjp};
use crate::dtype::DType;
use crate::literal::Literal;

/// Elements of the first operand at places given by the others, one integer index tensor for each of `axes`.
///
/// All index tensors have one shape I and one integer dtype. The result's shape is the data's with the
/// indexed axes removed and I inserted where the first of them stood. Negative indices count from the end;
/// an index still outside gives 0 and sets the index error flag.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Gather {
    /// The indexed axes of the data, ascending.
    pub axes: Vec<u32>,
}

impl Meaning for Gather {
    fn infer(&self, cx: &mut InferCx<'_>, inputs: &[&TensorType]) -> Result<TensorType, OpError> {
        const OP: &str = "gather";
        let (data, index) = (inputs[0], inputs[1]);
        ascending_axes(OP, &self.axes, data.rank(), data)?;
        if self.axes.len() != inputs.len() - 1 {
            let what =
                format!("{} axes need as many index tensors, not {}", self.axes.len(), inputs.len() - 1);
            return bad_shape(OP, what);
        }
        let mut indices = index.clone();
        for (i, t) in inputs.iter().enumerate().skip(1) {
            if !t.dtype.is_int() {
                return bad_dtype(OP, format!("operand {i} must hold integer indices, but is {t}"));
            }
            if t.dtype != index.dtype {
                let what = format!("index operands must have one dtype, but are {index} and {t}");
                return bad_dtype(OP, what);
            }
            indices.shape = cx.same_shape(OP, &indices, t)?;
        }
        let first = self.axes[0] as usize;
        let mut shape = data.shape[..first].to_vec();
        shape.extend(indices.shape);
        let rest = (first..data.rank()).filter(|&k| !self.axes.contains(&(k as u32)));
        shape.extend(rest.map(|k| data.shape[k].clone()));
        cx.result(OP, data.dtype, shape)
    }
    fn symbolic(
        &self,
        inputs: &[Option<&SymValue>],
        types: &[&TensorType],
        out: &TensorType,
    ) -> Option<SymValue> {
        let data = inputs[0]?;
        let mut operands = vec![numbered(data, 0)?];
        for (x, ty) in inputs.iter().zip(types).skip(1) {
            let x = (*x)?;
            let mut places = x.as_consts()?;
            if ty.dtype == DType::U64 && places.iter().any(|&p| p < 0) {
                places.fill(i64::MAX); // beyond every extent
            }
            operands.push(Literal::from_vec(&x.shape, places).ok()?);
        }
        moved(self, &operands.iter().collect::<Vec<_>>(), &data.elems, out)
    }
    fn eval(&self, cx: &EvalCx<'_>, inputs: &[&Literal]) -> Result<Literal, OpError> {
        by_width!(inputs[0].dtype(), T => self.eval_words::<T>(cx, inputs[0], &inputs[1..]))
    }
    fn vjp(&self) -> Vjp {
        Vjp::NotYet
    }
}

impl Gather {
    fn eval_words<T>(&self, cx: &EvalCx<'_>, data: &Literal, indices: &[&Literal]) -> Result<Literal, OpError>
    where
        T: bytemuck::Pod + Send + Sync,
    {
        const OP: &str = "gather";
        let n = count(OP, data.dtype(), cx.shape)?;
        let (first, shape) = (self.axes[0] as usize, data.shape());
        let strides = row_major(shape);
        let rest: Vec<usize> = (first..shape.len()).filter(|&k| !self.axes.contains(&(k as u32))).collect();
        let block: Vec<usize> = rest.iter().map(|&k| shape[k]).collect();
        let mut from = Layout { at: 0, strides: rest.iter().map(|&k| strides[k]).collect() };
        let mut to = Layout::row_major(&block);
        let size: usize = block.iter().product();
        let before: usize = shape[..first].iter().product();
        let step: usize = shape[first..].iter().product();
        let places = self.places(cx, shape, &strides, indices);
        if before * places.len() * size != n {
            return bad_eval(OP, format!("the indices do not give the shape {:?}", cx.shape));
        }
        let src = words::<T>(data);
        let mut out = zeros::<T>(OP, n)?;
        for outer in 0..before {
            for (i, place) in places.iter().enumerate() {
                let Some(place) = place else { continue };
                from.at = (outer * step) as isize + place;
                to.at = ((outer * places.len() + i) * size) as isize;
                copy(&block, &src, &from, &mut out, &to);
            }
        }
        literal(OP, data.dtype(), cx.shape, out)
    }

    /// Where each index tuple points, in elements; `None` (and the flag) where outside.
    fn places(
        &self,
        cx: &EvalCx<'_>,
        shape: &[usize],
        strides: &[isize],
        indices: &[&Literal],
    ) -> Vec<Option<isize>> {
        let mut places = vec![Some(0); indices[0].len()];
        for (index, &axis) in indices.iter().zip(&self.axes) {
            let n = shape[axis as usize] as i64;
            for (i, place) in places.iter_mut().enumerate() {
                let v = index.get_i64(i);
                // An unsigned index beyond i64 reads as negative, and must not wrap.
                let unsigned = index.dtype() == DType::U64;
                let at = if v < 0 && !unsigned { v + n } else { v };
                let inside = (0..n).contains(&at);
                *place = place.filter(|_| inside).map(|p| p + at as isize * strides[axis as usize]);
            }
        }
        if places.contains(&None) {
            cx.index_error.set(true);
        }
        places
    }
}
