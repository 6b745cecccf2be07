//! What a function was traced for: the types of its arguments' tensors, their structure and configuration.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::panic::Location;

use fornax_ir::Ranges;
use fornax_ir::graph::interp::{InterpError, bind};
use fornax_ir::graph::{Builder, Graph, TensorType};
use rustc_hash::FxHasher;

use super::error::{TraceError, line_of};
use crate::dim::{self, Dim, SymbolRange};
use crate::tensor::{Repr, Tensor};
use crate::tree::{Part, Sink, StaticValue, TensorTree, TreePath, walk};

/// The name of an argument, or result, that is one tensor.
pub(super) const ROOTS: [&str; 2] = ["input", "output"];

/// How many differences a message lists.
const LISTED: usize = 4;

/// The abstract value of a tree of tensors.
pub(crate) struct Signature {
    items: Vec<Item>,
    pub(crate) ranges: Ranges,
    /// A graph with an input for each tensor, and no nodes: what shapes are checked against.
    inputs: Graph,
}

struct Item {
    path: String,
    kind: Kind,
}

enum Kind {
    Tensor(TensorType),
    Count(usize),
    Variant(&'static str),
    Key(String),
    Float(u64),
    Fixed(Box<dyn StaticValue>),
}

/// The parts of a call's arguments, in order.
#[derive(Default)]
pub(crate) struct Flat<'a> {
    parts: Vec<FlatPart<'a>>,
}

enum FlatPart<'a> {
    Tensor(&'a Tensor),
    Part(Part<'a>),
}

impl<'a> Sink<'a> for Flat<'a> {
    fn tensor(&mut self, _path: &TreePath, tensor: &'a Tensor) {
        self.parts.push(FlatPart::Tensor(tensor));
    }
    fn part(&mut self, _path: &TreePath, part: Part<'a>) {
        self.parts.push(FlatPart::Part(part));
    }
}

impl<'a> Flat<'a> {
    pub(crate) fn of(tree: &'a (impl TensorTree + ?Sized)) -> Self {
        let mut flat = Flat::default();
        walk(tree, &mut flat);
        flat
    }

    /// The tensors, in order.
    pub(crate) fn tensors(&self) -> Vec<&'a Tensor> {
        let tensor = |part: &FlatPart<'a>| match part {
            FlatPart::Tensor(tensor) => Some(*tensor),
            FlatPart::Part(_) => None,
        };
        self.parts.iter().filter_map(tensor).collect()
    }

    /// Whether some tensor is of a trace.
    pub(crate) fn is_traced(&self) -> bool {
        self.parts.iter().any(|p| matches!(p, FlatPart::Tensor(t) if matches!(t.repr(), Repr::Traced(_))))
    }

    /// Of types, structure and configuration.
    pub(crate) fn digest(&self) -> u64 {
        let mut hasher = FxHasher::default();
        for part in &self.parts {
            match part {
                FlatPart::Tensor(tensor) => match tensor.repr() {
                    Repr::Array(array) => (0u8, array.dtype(), array.shape()).hash(&mut hasher),
                    _ => (0u8, tensor.dtype(), tensor.dims()).hash(&mut hasher),
                },
                FlatPart::Part(Part::Count(n)) => (1u8, n).hash(&mut hasher),
                FlatPart::Part(Part::Variant(name)) => (2u8, name).hash(&mut hasher),
                FlatPart::Part(Part::Key(key)) => (3u8, key).hash(&mut hasher),
                FlatPart::Part(Part::Float(bits)) => (4u8, bits).hash(&mut hasher),
                FlatPart::Part(Part::Fixed(value)) => {
                    5u8.hash(&mut hasher);
                    value.feed(&mut hasher);
                }
            }
        }
        hasher.finish()
    }
}

/// Collects a signature.
struct Collect {
    signature: Signature,
    declared: BTreeMap<String, SymbolRange>,
    root: &'static str,
    location: String,
    error: Option<TraceError>,
}

impl Collect {
    fn push(&mut self, path: &TreePath, kind: Kind) {
        let path = path.name_or(self.root);
        self.signature.items.push(Item { path, kind });
    }

    fn declare(&mut self, path: &TreePath, dim: &Dim) {
        for (name, range) in dim.symbols() {
            let known = *self.declared.entry(name.to_string()).or_insert(range);
            if known != range && self.error.is_none() {
                let message = format!("`{}`: {}", path.name_or(self.root), dim::conflict(name, known, range));
                self.error = Some(TraceError::Spec { location: self.location.clone(), message });
            }
            self.signature.ranges.set_symbol(name, range.0, range.1);
        }
    }
}

impl<'a> Sink<'a> for Collect {
    fn tensor(&mut self, path: &TreePath, tensor: &'a Tensor) {
        let dims = tensor.dims();
        for dim in &dims {
            self.declare(path, dim);
            if self.root == ROOTS[0] && dim.value().is_none() && dim.expr().as_symbol().is_none() {
                let path = path.name_or(self.root);
                let message =
                    format!("`{path}`: an argument's extent is a size or a symbol, but {dim} is neither");
                let error = TraceError::Spec { location: self.location.clone(), message };
                self.error.get_or_insert(error);
            }
        }
        let shape: Vec<_> = dims.iter().map(|d| d.expr().clone()).collect();
        self.push(path, Kind::Tensor(TensorType::new(tensor.dtype(), shape)));
    }

    fn part(&mut self, path: &TreePath, part: Part<'a>) {
        let kind = match part {
            Part::Count(n) => Kind::Count(n),
            Part::Variant(name) => Kind::Variant(name),
            Part::Key(key) => Kind::Key(key.to_string()),
            Part::Float(bits) => Kind::Float(bits),
            Part::Fixed(value) => Kind::Fixed(value.copied()),
        };
        self.push(path, kind);
    }
}

impl Signature {
    /// Of arguments, which were given at `location`.
    ///
    /// # Errors
    /// [`TraceError::Spec`] when a symbol has two ranges.
    pub(crate) fn of(tree: &(impl TensorTree + ?Sized), location: &Location<'_>) -> Result<Self, TraceError> {
        Signature::collect(tree, ROOTS[0], location)
    }

    /// Of a tree inside a trace; `root` is its name if it is one tensor.
    ///
    /// # Errors
    /// As [`Signature::of`].
    pub(super) fn named(
        tree: &(impl TensorTree + ?Sized),
        root: &'static str,
        location: &Location<'_>,
    ) -> Result<Self, TraceError> {
        Signature::collect(tree, root, location)
    }

    fn collect(
        tree: &(impl TensorTree + ?Sized),
        root: &'static str,
        location: &Location<'_>,
    ) -> Result<Self, TraceError> {
        let signature = Signature { items: Vec::new(), ranges: Ranges::new(), inputs: Graph::default() };
        let declared = BTreeMap::new();
        let mut collect = Collect { signature, declared, root, location: line_of(location), error: None };
        walk(tree, &mut collect);
        if let Some(error) = collect.error {
            return Err(error);
        }
        let mut signature = collect.signature;
        let mut builder = Builder::new("");
        for (path, ty) in signature.tensors() {
            builder.input(path, ty.clone());
        }
        signature.inputs = builder.finish();
        signature.inputs.ranges = signature.ranges.clone();
        Ok(signature)
    }

    /// The tensors' paths and types, in order.
    pub(crate) fn tensors(&self) -> impl Iterator<Item = (&str, &TensorType)> {
        self.items.iter().filter_map(|item| match &item.kind {
            Kind::Tensor(ty) => Some((item.path.as_str(), ty)),
            _ => None,
        })
    }

    /// Whether arguments have the same structure and configuration; and, if `types`, tensors of the same types.
    pub(crate) fn matches(&self, flat: &Flat<'_>, types: bool) -> bool {
        self.items.len() == flat.parts.len()
            && self.items.iter().zip(&flat.parts).all(|(item, part)| match (&item.kind, part) {
                (Kind::Tensor(ty), FlatPart::Tensor(tensor)) => !types || same_type(ty, tensor),
                (Kind::Count(a), FlatPart::Part(Part::Count(b))) => a == b,
                (Kind::Variant(a), FlatPart::Part(Part::Variant(b))) => a == b,
                (Kind::Key(a), FlatPart::Part(Part::Key(b))) => a == b,
                (Kind::Float(a), FlatPart::Part(Part::Float(b))) => a == b,
                (Kind::Fixed(a), FlatPart::Part(Part::Fixed(b))) => a.equals(*b),
                _ => false,
            })
    }

    /// Whether arguments have this structure, and tensors of these types for some values of the symbols.
    pub(crate) fn admits(&self, flat: &Flat<'_>) -> bool {
        self.matches(flat, false) && self.bound(flat).is_ok()
    }

    /// Whether the shapes of arguments of this structure give values to the symbols.
    fn bound(&self, flat: &Flat<'_>) -> Result<(), InterpError> {
        let tensors = flat.tensors();
        let shapes: Vec<_> = tensors.iter().map(|t| (t.shape(), t.dtype())).collect();
        bind(&self.inputs, &shapes).map(drop)
    }

    /// Whether another signature has other extents, and nothing else is different.
    pub(crate) fn differs_in_extents(&self, other: &Signature) -> bool {
        let types = || self.tensors().zip(other.tensors()).map(|((_, a), (_, b))| (a, b));
        self.same_structure(other)
            && types().all(|(a, b)| a.dtype == b.dtype && a.rank() == b.rank())
            && types().any(|(a, b)| a != b)
    }

    /// Why arguments of the signature `given` don't fit; `None` if they do.
    pub(crate) fn refusal(&self, given: &Signature, flat: &Flat<'_>) -> Option<String> {
        if !self.same_structure(given) {
            return Some(listed(&self.differences(given)));
        }
        self.bound(flat).err().map(|error| error.to_string())
    }

    /// Paths and types of the tensors: `x: f32[batch, 3], w: f32[3, 4]`.
    pub(crate) fn types_text(&self) -> String {
        let texts: Vec<String> = self.tensors().map(|(path, ty)| format!("{path}: {ty}")).collect();
        if texts.is_empty() { "no tensors".to_string() } else { texts.join(", ") }
    }

    /// Whether another signature has the same structure and configuration.
    pub(super) fn same_structure(&self, other: &Signature) -> bool {
        let same = |(a, b): (&Item, &Item)| {
            a.path == b.path
                && std::mem::discriminant(&a.kind) == std::mem::discriminant(&b.kind)
                && (matches!(a.kind, Kind::Tensor(_)) || change("", &a.kind, &b.kind).is_none())
        };
        self.items.len() == other.items.len() && self.items.iter().zip(&other.items).all(same)
    }

    /// What another signature has that this has not: each change with its path. Empty if they are equal.
    pub(crate) fn differences(&self, new: &Signature) -> Vec<String> {
        let mut found = Vec::new();
        let mut structure = false;
        for item in &new.items {
            let same_kind = |old: &&Item| {
                old.path == item.path
                    && std::mem::discriminant(&old.kind) == std::mem::discriminant(&item.kind)
            };
            let old = self.items.iter().find(same_kind);
            let (is_tensor, path) = (matches!(item.kind, Kind::Tensor(_)), &item.path);
            match old.map(|old| change(path, &old.kind, &item.kind)) {
                Some(None) => {}
                Some(Some(text)) => {
                    structure |= !is_tensor;
                    found.push(text);
                }
                None if !structure => {
                    structure = true;
                    found.push(format!("`{path}` is new"));
                }
                None => {}
            }
        }
        let kept = |old: &&Item| new.items.iter().any(|item| item.path == old.path);
        match self.items.iter().find(|old| !kept(old)) {
            Some(gone) if !structure => found.push(format!("`{}` is missing", gone.path)),
            _ => {}
        }
        found
    }
}

/// Texts as one, with a limit on how many are spelled out.
pub(crate) fn listed(differences: &[String]) -> String {
    let mut text = differences[..differences.len().min(LISTED)].join(", ");
    if differences.len() > LISTED {
        text.push_str(&format!(" and {} more", differences.len() - LISTED));
    }
    text
}

fn same_type(ty: &TensorType, tensor: &Tensor) -> bool {
    match tensor.repr() {
        Repr::Array(array) => {
            let equal = |(d, n): (&fornax_ir::Dim, &usize)| d.as_const() == i64::try_from(*n).ok();
            ty.dtype == array.dtype()
                && ty.rank() == array.shape().len()
                && ty.shape.iter().zip(array.shape()).all(equal)
        }
        _ => {
            let dims = tensor.dims();
            ty.dtype == tensor.dtype()
                && ty.rank() == dims.len()
                && ty.shape.iter().zip(&dims).all(|(d, n)| d == n.expr())
        }
    }
}

/// What changed between two items of one kind, if anything.
fn change(path: &str, old: &Kind, new: &Kind) -> Option<String> {
    match (old, new) {
        (Kind::Tensor(a), Kind::Tensor(b)) if a != b => Some(format!("`{path}` was {a} and is {b}")),
        (Kind::Count(a), Kind::Count(b)) if a != b => Some(format!("`{path}` had {a} elements and has {b}")),
        (Kind::Variant(a), Kind::Variant(b)) if a != b => Some(format!("`{path}` was {a} and is {b}")),
        (Kind::Key(a), Kind::Key(b)) if a != b => Some(format!("a key of `{path}` was {a:?} and is {b:?}")),
        (Kind::Float(a), Kind::Float(b)) if a != b => {
            let (a, b) = (f64::from_bits(*a), f64::from_bits(*b));
            Some(format!("the static field `{path}` was {a:?} and is {b:?}"))
        }
        (Kind::Fixed(a), Kind::Fixed(b)) if !a.equals(&**b) => {
            Some(format!("the static field `{path}` was {a:?} and is {b:?}"))
        }
        _ => None,
    }
}
