//! Fornax: a deep-learning compiler.
