//! The derive macro for structs of tensors.
