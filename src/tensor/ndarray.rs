//! Conversion to and from arrays of the `ndarray` crate (feature `ndarray`).

use ::ndarray::{Array, ArrayBase, ArrayD, Data, Dimension, IxDyn};
use fornax_ir::literal::{Element, LiteralError};

use super::Tensor;

/// An element of an `ndarray` array that a tensor can hold.
pub trait ArrayElement: Copy + sealed::Sealed {
    /// A tensor of these elements in row-major order; the vector becomes the storage where it can.
    #[doc(hidden)]
    fn tensor(elements: Vec<Self>, shape: &[usize]) -> Result<Tensor, LiteralError>;
    /// The elements of a tensor in row-major order.
    #[doc(hidden)]
    fn elements(tensor: &Tensor) -> Result<Vec<Self>, LiteralError>;
}

mod sealed {
    pub trait Sealed {}
}

macro_rules! elements { ($($t:ty)*) => { $(
    impl sealed::Sealed for $t {}
    impl ArrayElement for $t {
        fn tensor(elements: Vec<Self>, shape: &[usize]) -> Result<Tensor, LiteralError> {
            Tensor::from_vec(elements, shape)
        }
        #[track_caller]
        fn elements(tensor: &Tensor) -> Result<Vec<Self>, LiteralError> {
            // A tensor of bool reads as u8, but an array of u8 is another thing.
            match (tensor.dtype(), <$t as Element>::DTYPE) {
                (got, want) if got != want => Err(LiteralError::DType { want, got }),
                _ => tensor.to_vec(),
            }
        }
    }
)* } }
elements!(f32 f64 i32 i64 u8 i8);

impl sealed::Sealed for bool {}
impl ArrayElement for bool {
    fn tensor(elements: Vec<Self>, shape: &[usize]) -> Result<Tensor, LiteralError> {
        Tensor::from_bools(&elements, shape)
    }
    #[track_caller]
    fn elements(tensor: &Tensor) -> Result<Vec<Self>, LiteralError> {
        let (want, got) = (fornax_ir::DType::Bool, tensor.dtype());
        if got != want {
            return Err(LiteralError::DType { want, got });
        }
        Ok(tensor.to_vec::<u8>()?.into_iter().map(|b| b != 0).collect())
    }
}

/// The elements are copied, in the order of the axes whatever their strides are.
impl<A: ArrayElement, S: Data<Elem = A>, D: Dimension> From<&ArrayBase<S, D>> for Tensor {
    fn from(array: &ArrayBase<S, D>) -> Tensor {
        let elements = array.iter().copied().collect();
        A::tensor(elements, array.shape()).expect("an array has as many elements as its shape")
    }
}

/// The array's storage becomes the tensor's where its elements fill it in row-major order; else they are copied.
impl<A: ArrayElement, D: Dimension> From<Array<A, D>> for Tensor {
    fn from(array: Array<A, D>) -> Tensor {
        let shape = array.shape().to_vec();
        let count = array.len();
        if !array.is_standard_layout() {
            return Tensor::from(&array);
        }
        let (elements, offset) = array.into_raw_vec_and_offset();
        let from = offset.unwrap_or(0);
        let elements = match from == 0 && elements.len() == count {
            true => elements,
            false => elements[from..from + count].to_vec(),
        };
        A::tensor(elements, &shape).expect("an array has as many elements as its shape")
    }
}

/// Errors when the tensor holds another dtype. Panics at the caller's line when the tensor is being traced.
impl<A: ArrayElement> TryFrom<&Tensor> for ArrayD<A> {
    type Error = LiteralError;
    #[track_caller]
    fn try_from(tensor: &Tensor) -> Result<ArrayD<A>, LiteralError> {
        let elements = A::elements(tensor)?;
        let array = ArrayD::from_shape_vec(IxDyn(tensor.shape()), elements);
        Ok(array.expect("a tensor has as many elements as its shape"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::ndarray::{Array2, arr0, arr2, s};
    use fornax_ir::DType;

    #[track_caller]
    fn comes_back<A: ArrayElement + PartialEq + std::fmt::Debug>(values: Vec<A>, dtype: DType) {
        let array = ArrayD::from_shape_vec(IxDyn(&[3, 2]), values).unwrap();
        let tensor = Tensor::from(&array);
        assert_eq!((tensor.dtype(), tensor.shape()), (dtype, &[3, 2][..]));
        assert_eq!(ArrayD::<A>::try_from(&tensor).unwrap(), array);
        // Axes in another order, as a view and owned; and a part.
        let turned = array.t().to_owned();
        for t in [Tensor::from(&array.t()), Tensor::from(turned.clone())] {
            assert_eq!(t.shape(), [2, 3]);
            assert_eq!(ArrayD::<A>::try_from(&t).unwrap(), turned);
        }
        let part = array.slice(s![1..;-1, ..]).to_owned();
        assert_eq!(
            ArrayD::<A>::try_from(&Tensor::from(&array.slice(s![1..;-1, ..]))).unwrap(),
            part.into_dyn()
        );
        let cut = array.clone().slice_move(s![1.., ..]);
        assert_eq!(Tensor::from(cut.clone()), Tensor::from(&cut));
        assert_eq!(Tensor::from(array), tensor);
    }

    #[test]
    fn every_element_type_comes_back() {
        comes_back(vec![0.5f32, -1.0, 2.0, 3.0, f32::INFINITY, -0.0], DType::F32);
        comes_back(vec![0.1f64, -1.0, 2.0, 3.0, 1e300, -0.0], DType::F64);
        comes_back(vec![i32::MIN, -1, 0, 1, 2, i32::MAX], DType::I32);
        comes_back(vec![i64::MIN, -1, 0, 1, 2, i64::MAX], DType::I64);
        comes_back(vec![0u8, 1, 2, 3, 4, 255], DType::U8);
        comes_back(vec![-128i8, -1, 0, 1, 2, 127], DType::I8);
        comes_back(vec![true, false, false, true, true, true], DType::Bool);
    }

    #[test]
    fn other_dtypes_are_errors_and_edges_work() {
        let bools = Tensor::from_bools(&[true], &[1]).unwrap();
        let error = ArrayD::<u8>::try_from(&bools).unwrap_err();
        assert_eq!(error, LiteralError::DType { want: DType::U8, got: DType::Bool });
        assert!(ArrayD::<bool>::try_from(&Tensor::scalar(1u8)).is_err());
        assert!(ArrayD::<f32>::try_from(&Tensor::scalar(1f64)).is_err());
        let empty = Array2::<f32>::zeros((0, 4));
        assert_eq!(Tensor::from(&empty).shape(), [0, 4]);
        assert_eq!(ArrayD::<f32>::try_from(&Tensor::from(empty)).unwrap().shape(), [0, 4]);
        assert_eq!(Tensor::from(&arr0(2.5f64)), Tensor::scalar(2.5f64));
        let data = arr2(&[[1.0f32, 2.0], [3.0, 4.0]]);
        let place = data.as_ptr();
        assert_eq!(Tensor::from(data).bytes().as_ptr().cast(), place, "row-major storage is taken over");
    }
}
