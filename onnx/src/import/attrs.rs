//! Typed access to a node's attributes.

use super::NodeCx;
use crate::error::{ErrorKind, Result};
use crate::proto::attribute_proto::AttributeType;
use crate::proto::{AttributeProto, TensorProto};

impl<'m> NodeCx<'_, 'm> {
    /// The attribute of that name; inside a function, what the caller gave where it refers to that.
    pub(crate) fn attr(&self, name: &str) -> Option<&'m AttributeProto> {
        let own = self.node.attribute.iter().find(|a| a.name == name)?;
        match own.ref_attr_name.as_str() {
            "" => Some(own),
            outer => self.attrs.get(outer).copied(),
        }
    }

    /// The attribute, if it is there and of that type. Files of early formats give no type.
    fn typed(&self, name: &str, want: AttributeType) -> Result<Option<&'m AttributeProto>> {
        let Some(a) = self.attr(name) else { return Ok(None) };
        if a.r#type() == want || a.r#type() == AttributeType::Undefined {
            return Ok(Some(a));
        }
        let (want, got) = (want.as_str_name().to_lowercase(), a.r#type().as_str_name().to_lowercase());
        Err(self.bad(format!("attribute '{name}' must be of type {want}, not {got}")))
    }

    /// An integer attribute.
    pub(crate) fn int(&self, name: &str) -> Result<Option<i64>> {
        Ok(self.typed(name, AttributeType::Int)?.map(|a| a.i))
    }
    /// An integer attribute with its default.
    pub(crate) fn int_or(&self, name: &str, default: i64) -> Result<i64> {
        Ok(self.int(name)?.unwrap_or(default))
    }
    /// An integer attribute that says yes (not 0) or no.
    pub(crate) fn flag(&self, name: &str, default: bool) -> Result<bool> {
        Ok(self.int(name)?.map_or(default, |v| v != 0))
    }
    /// A float attribute.
    pub(crate) fn float(&self, name: &str) -> Result<Option<f32>> {
        Ok(self.typed(name, AttributeType::Float)?.map(|a| a.f))
    }
    /// A float attribute with its default.
    pub(crate) fn float_or(&self, name: &str, default: f32) -> Result<f32> {
        Ok(self.float(name)?.unwrap_or(default))
    }
    /// A list of integers.
    pub(crate) fn ints(&self, name: &str) -> Result<Option<&'m [i64]>> {
        Ok(self.typed(name, AttributeType::Ints)?.map(|a| a.ints.as_slice()))
    }
    /// A list of floats.
    pub(crate) fn floats(&self, name: &str) -> Result<Option<&'m [f32]>> {
        Ok(self.typed(name, AttributeType::Floats)?.map(|a| a.floats.as_slice()))
    }
    /// A tensor.
    pub(crate) fn tensor(&self, name: &str) -> Result<Option<&'m TensorProto>> {
        Ok(self.typed(name, AttributeType::Tensor)?.and_then(|a| a.t.as_ref()))
    }
    /// A text with its default.
    pub(crate) fn text_or(&self, name: &str, default: &'static str) -> Result<&'m str> {
        match self.typed(name, AttributeType::String)? {
            None => Ok(default),
            Some(a) => std::str::from_utf8(&a.s)
                .map_err(|_| self.bad(format!("attribute '{name}' is no UTF-8 text"))),
        }
    }
    /// A list of texts.
    pub(crate) fn texts(&self, name: &str) -> Result<Option<Vec<&'m str>>> {
        let Some(a) = self.typed(name, AttributeType::Strings)? else { return Ok(None) };
        let text = |s: &'m bytes::Bytes| {
            std::str::from_utf8(s).map_err(|_| self.bad(format!("attribute '{name}' is no UTF-8 text")))
        };
        a.strings.iter().map(text).collect::<Result<_>>().map(Some)
    }
    /// A list of integers with one entry per axis, all at least `least`; absent means `default` everywhere.
    pub(crate) fn per_axis(&self, name: &str, axes: usize, default: i64, least: i64) -> Result<Vec<i64>> {
        let Some(list) = self.ints(name)? else { return Ok(vec![default; axes]) };
        if list.len() != axes {
            return Err(self.bad(format!("attribute '{name}' needs {axes} entries, but is {list:?}")));
        }
        if let Some(v) = list.iter().find(|&&v| v < least) {
            return Err(
                self.bad(format!("attribute '{name}' must be at least {least} everywhere, but has {v}"))
            );
        }
        Ok(list.to_vec())
    }
    /// An error about this node.
    pub(crate) fn bad(&self, what: impl Into<String>) -> ErrorKind {
        ErrorKind::Node { node: self.label.to_string(), what: what.into() }
    }
}
