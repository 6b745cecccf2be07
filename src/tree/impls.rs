//! Trees of the standard library's types.

use std::collections::BTreeMap;

use super::{Mapper, Step, TensorTree, Visitor};
use crate::tensor::Tensor;

impl TensorTree for Tensor {
    type Owned = Tensor;

    fn visit<'a>(&'a self, visitor: &mut Visitor<'_, 'a>) {
        visitor.tensor(self);
    }

    fn map(&self, mapper: &mut Mapper<'_>) -> Tensor {
        mapper.tensor(self)
    }
}

/// A reference stands for what it refers to.
impl<T: TensorTree + ?Sized> TensorTree for &T {
    type Owned = T::Owned;

    fn visit<'a>(&'a self, visitor: &mut Visitor<'_, 'a>) {
        T::visit(self, visitor);
    }

    fn map(&self, mapper: &mut Mapper<'_>) -> T::Owned {
        T::map(self, mapper)
    }
}

/// A box adds no step to paths.
impl<T: TensorTree> TensorTree for Box<T> {
    type Owned = Box<T::Owned>;

    fn visit<'a>(&'a self, visitor: &mut Visitor<'_, 'a>) {
        T::visit(self, visitor);
    }

    fn map(&self, mapper: &mut Mapper<'_>) -> Box<T::Owned> {
        Box::new(T::map(self, mapper))
    }
}

/// An option adds no step to paths.
impl<T: TensorTree> TensorTree for Option<T> {
    type Owned = Option<T::Owned>;

    fn visit<'a>(&'a self, visitor: &mut Visitor<'_, 'a>) {
        visitor.variant(if self.is_some() { "Some" } else { "None" });
        if let Some(tree) = self {
            tree.visit(visitor);
        }
    }

    fn map(&self, mapper: &mut Mapper<'_>) -> Option<T::Owned> {
        self.as_ref().map(|tree| tree.map(mapper))
    }
}

impl<T: TensorTree> TensorTree for [T] {
    type Owned = Vec<T::Owned>;

    fn visit<'a>(&'a self, visitor: &mut Visitor<'_, 'a>) {
        visitor.count(self.len());
        for (i, tree) in self.iter().enumerate() {
            visitor.child(Step::Index(i), tree);
        }
    }

    fn map(&self, mapper: &mut Mapper<'_>) -> Vec<T::Owned> {
        self.iter().enumerate().map(|(i, tree)| mapper.child(Step::Index(i), tree)).collect()
    }
}

impl<T: TensorTree> TensorTree for Vec<T> {
    type Owned = Vec<T::Owned>;

    fn visit<'a>(&'a self, visitor: &mut Visitor<'_, 'a>) {
        self.as_slice().visit(visitor);
    }

    fn map(&self, mapper: &mut Mapper<'_>) -> Vec<T::Owned> {
        self.as_slice().map(mapper)
    }
}

impl<T: TensorTree, const N: usize> TensorTree for [T; N] {
    type Owned = [T::Owned; N];

    fn visit<'a>(&'a self, visitor: &mut Visitor<'_, 'a>) {
        for (i, tree) in self.iter().enumerate() {
            visitor.child(Step::Index(i), tree);
        }
    }

    fn map(&self, mapper: &mut Mapper<'_>) -> [T::Owned; N] {
        std::array::from_fn(|i| mapper.child(Step::Index(i), &self[i]))
    }
}

/// The keys are steps of the paths, in their order.
impl<T: TensorTree> TensorTree for BTreeMap<String, T> {
    type Owned = BTreeMap<String, T::Owned>;

    fn visit<'a>(&'a self, visitor: &mut Visitor<'_, 'a>) {
        visitor.count(self.len());
        for (key, tree) in self {
            visitor.key(key);
            visitor.child(Step::Key(key.clone()), tree);
        }
    }

    fn map(&self, mapper: &mut Mapper<'_>) -> BTreeMap<String, T::Owned> {
        self.iter().map(|(key, tree)| (key.clone(), mapper.child(Step::Key(key.clone()), tree))).collect()
    }
}

macro_rules! tuples {
    ($(($($T:ident $index:tt),*))*) => { $(
        impl<$($T: TensorTree),*> TensorTree for ($($T,)*) {
            type Owned = ($($T::Owned,)*);

            #[allow(unused_variables)]
            fn visit<'a>(&'a self, visitor: &mut Visitor<'_, 'a>) {
                $(visitor.child(Step::Index($index), &self.$index);)*
            }

            #[allow(unused_variables, clippy::unused_unit)]
            fn map(&self, mapper: &mut Mapper<'_>) -> Self::Owned {
                ($(mapper.child(Step::Index($index), &self.$index),)*)
            }
        }
    )* };
}
tuples! {
    ()
    (A 0)
    (A 0, B 1)
    (A 0, B 1, C 2)
    (A 0, B 1, C 2, D 3)
    (A 0, B 1, C 2, D 3, E 4)
    (A 0, B 1, C 2, D 3, E 4, F 5)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7)
}
