//! Trees of tensors: what traced functions take and return.

mod impls;
mod path;

use std::any::Any;
use std::fmt::Debug;
use std::hash::{Hash, Hasher};

pub use path::{Step, TreePath};

use crate::tensor::Tensor;

/// A value made of tensors: a tensor, a tuple, array, `Vec`, `Option`, `Box` or `BTreeMap<String, _>` of trees, or a struct or
/// enum that derives it.
///
/// A tree can be visited (each tensor has a path, such as `layers.0.weight`) and rebuilt with other tensors in the same
/// places. Fields marked `#[tensor(static)]` are configuration: they are cloned, and a function is compiled for each of
/// their values.
///
/// ```
/// use fornax::{Tensor, TensorTree};
///
/// #[derive(TensorTree)]
/// struct Linear {
///     weight: Tensor,
///     bias: Option<Tensor>,
///     #[tensor(static)]
///     name: String,
/// }
///
/// let layer = Linear { weight: Tensor::scalar(2.0f32), bias: None, name: "head".into() };
/// let pair = (layer, vec![Tensor::scalar(1i64)]);
/// assert_eq!(pair.tensors().iter().map(|(path, _)| path.as_str()).collect::<Vec<_>>(), ["0.weight", "1.0"]);
/// let other = pair.map_tensors(|_, _| Tensor::scalar(0u8));
/// assert_eq!(other.0.name, "head");
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no tree of tensors",
    label = "holds no tensors that could be traced",
    note = "derive it with `#[derive(fornax::TensorTree)]`",
    note = "a field that is configuration is marked `#[tensor(static)]`"
)]
pub trait TensorTree {
    /// The tree with all its tensors owned: itself, except where it holds references.
    type Owned: TensorTree<Owned = Self::Owned>;

    /// Shows every part to the visitor, always in the same order.
    fn visit<'a>(&'a self, visitor: &mut Visitor<'_, 'a>);

    /// The tree with other tensors in the places of its own, asked for in the order of [`TensorTree::visit`].
    fn map(&self, mapper: &mut Mapper<'_>) -> Self::Owned;

    /// All tensors with the text of their paths, in order.
    fn tensors(&self) -> Vec<(String, Tensor)> {
        let mut all = Tensors(Vec::new());
        walk(self, &mut all);
        all.0.into_iter().map(|(path, tensor)| (path.to_string(), tensor.clone())).collect()
    }

    /// The tree with what `f` makes of each of its tensors.
    fn map_tensors(&self, mut f: impl FnMut(&TreePath, &Tensor) -> Tensor) -> Self::Owned
    where
        Self: Sized,
    {
        map(self, &mut f)
    }
}

/// What receives the parts of a tree.
pub(crate) trait Sink<'a> {
    /// A tensor.
    fn tensor(&mut self, path: &TreePath, tensor: &'a Tensor);
    /// A fact about the structure.
    fn part(&mut self, path: &TreePath, part: Part<'a>);
}

/// A fact about a tree's structure or configuration, beside its tensors.
#[derive(Clone, Copy)]
pub(crate) enum Part<'a> {
    /// How many children follow.
    Count(usize),
    /// Which variant an enum has.
    Variant(&'static str),
    /// A key of a map.
    Key(&'a str),
    /// A static field that is a floating-point number: its bits.
    Float(u64),
    /// Another static field.
    Fixed(&'a dyn StaticValue),
}

/// A static field's value: compared, hashed, copied and printed as a part of what a function is compiled for.
pub trait StaticValue: Any + Send + Sync + Debug {
    /// Whether the other value is of the same type and equal.
    fn equals(&self, other: &dyn StaticValue) -> bool;
    /// Feeds the hasher.
    fn feed(&self, hasher: &mut dyn Hasher);
    /// A copy.
    fn copied(&self) -> Box<dyn StaticValue>;
}

impl<T: Any + Send + Sync + Debug + Clone + Hash + Eq> StaticValue for T {
    fn equals(&self, other: &dyn StaticValue) -> bool {
        (other as &dyn Any).downcast_ref::<T>() == Some(self)
    }

    fn feed(&self, mut hasher: &mut dyn Hasher) {
        self.hash(&mut hasher);
    }

    fn copied(&self) -> Box<dyn StaticValue> {
        Box::new(self.clone())
    }
}

/// Walks a tree; given to [`TensorTree::visit`].
pub struct Visitor<'v, 'a> {
    path: TreePath,
    sink: &'v mut dyn Sink<'a>,
}

impl<'a> Visitor<'_, 'a> {
    /// The tensor at the present path.
    pub fn tensor(&mut self, tensor: &'a Tensor) {
        self.sink.tensor(&self.path, tensor);
    }

    /// A part of the tree that is a tree itself.
    pub fn child<T: TensorTree + ?Sized>(&mut self, step: Step, tree: &'a T) {
        self.path.push(step);
        tree.visit(self);
        self.path.pop();
    }

    /// A static field.
    pub fn fixed(&mut self, step: Step, value: &'a dyn StaticValue) {
        self.at(step, Part::Fixed(value));
    }

    /// A static field that is a floating-point number; equal means equal bits.
    pub fn float(&mut self, step: Step, value: impl Into<f64>) {
        self.at(step, Part::Float(value.into().to_bits()));
    }

    /// Which variant of an enum this is.
    pub fn variant(&mut self, name: &'static str) {
        self.sink.part(&self.path, Part::Variant(name));
    }

    /// How many children follow, where the type does not say it.
    pub fn count(&mut self, count: usize) {
        self.sink.part(&self.path, Part::Count(count));
    }

    /// A key of a map; its value follows.
    pub fn key(&mut self, key: &'a str) {
        self.sink.part(&self.path, Part::Key(key));
    }

    fn at(&mut self, step: Step, part: Part<'a>) {
        self.path.push(step);
        self.sink.part(&self.path, part);
        self.path.pop();
    }
}

/// Rebuilds a tree; given to [`TensorTree::map`].
pub struct Mapper<'m> {
    path: TreePath,
    f: &'m mut dyn FnMut(&TreePath, &Tensor) -> Tensor,
}

impl Mapper<'_> {
    /// What takes the place of the tensor at the present path.
    pub fn tensor(&mut self, tensor: &Tensor) -> Tensor {
        (self.f)(&self.path, tensor)
    }

    /// A part of the tree that is a tree itself.
    pub fn child<T: TensorTree + ?Sized>(&mut self, step: Step, tree: &T) -> T::Owned {
        self.path.push(step);
        let mapped = tree.map(self);
        self.path.pop();
        mapped
    }
}

/// Shows a tree's parts to a sink.
pub(crate) fn walk<'a>(tree: &'a (impl TensorTree + ?Sized), sink: &mut dyn Sink<'a>) {
    tree.visit(&mut Visitor { path: TreePath::default(), sink });
}

/// The tree with what `f` makes of each tensor.
pub(crate) fn map<T: TensorTree + ?Sized>(
    tree: &T,
    f: &mut dyn FnMut(&TreePath, &Tensor) -> Tensor,
) -> T::Owned {
    tree.map(&mut Mapper { path: TreePath::default(), f })
}

/// Collects the tensors with their paths.
pub(crate) struct Tensors<'a>(pub(crate) Vec<(TreePath, &'a Tensor)>);

impl<'a> Sink<'a> for Tensors<'a> {
    fn tensor(&mut self, path: &TreePath, tensor: &'a Tensor) {
        self.0.push((path.clone(), tensor));
    }
    fn part(&mut self, _path: &TreePath, _part: Part<'a>) {}
}

#[cfg(test)]
mod tests;
