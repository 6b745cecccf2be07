//! The program: what the compiler hands to code generation.

/// What is wrong with a program, and where.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ProgramError(pub String);
