//! Import, on models built here and on trained ones where their files are present.

mod bad_files;
mod bad_models;
mod build;
mod gated;
mod operators;
mod opsets;
mod recurrent;
mod structure;
mod trained;
