//! Where a tensor stands in a tree.

use std::fmt;

/// One step into a tree.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Step {
    /// A field.
    Name(&'static str),
    /// A position in a tuple, array or vector.
    Index(usize),
    /// A key of a map.
    Key(String),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Name(name) => f.write_str(name),
            Step::Index(index) => index.fmt(f),
            Step::Key(key) => f.write_str(key),
        }
    }
}

/// The steps from a tree's root to a part of it; its text is `encoder.layers.0.weight`, and empty for the root.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct TreePath {
    steps: Vec<Step>,
}

impl TreePath {
    /// The steps, from the root.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Whether this is the root.
    pub fn is_root(&self) -> bool {
        self.steps.is_empty()
    }

    /// Its text, or a name for what is a tensor as a whole.
    pub(crate) fn name_or(&self, root: &str) -> String {
        if self.is_root() { root.to_string() } else { self.to_string() }
    }

    pub(super) fn push(&mut self, step: Step) {
        self.steps.push(step);
    }

    pub(super) fn pop(&mut self) {
        self.steps.pop();
    }
}

impl fmt::Display for TreePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, step) in self.steps.iter().enumerate() {
            write!(f, "{}{step}", if i == 0 { "" } else { "." })?;
        }
        Ok(())
    }
}
