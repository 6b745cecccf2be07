//! Eager operations agree with plain loops over `f64`, on every layout and dtype, and say what is wrong at the caller's
//! line.

mod elementwise;
mod errors;
mod index;
mod nn;
mod reduce;
mod reference;
mod shape;
mod traced;
