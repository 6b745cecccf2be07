//! The derive macro for structs of tensors.
//!
//! `fornax` re-exports it; what it implements is documented at `fornax::TensorTree`.

mod expand;

use proc_macro::TokenStream;

/// Implements `fornax::TensorTree` for a struct or enum: its fields are visited in order, under their names (positions in
/// tuple structs), and it is rebuilt with other tensors.
///
/// Every field is itself a tree of tensors, or is marked `#[tensor(static)]`: configuration that is cloned, and of which
/// each value is compiled for itself. Such a field is `f32`, `f64`, or implements `Clone + Hash + Eq + Debug + Send + Sync`.
#[proc_macro_derive(TensorTree, attributes(tensor))]
pub fn tensor_tree(input: TokenStream) -> TokenStream {
    expand::expand(input.into()).unwrap_or_else(syn::Error::into_compile_error).into()
}
