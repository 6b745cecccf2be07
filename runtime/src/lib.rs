//! What a compiled program needs to run: the C ABI, buffers, the thread pool, and a safe
//! wrapper that calls a loaded program.
//!
//! The crate knows nothing of graphs or of the compiler: a program is two function pointers
//! ([`Entry`]), a table of its inputs and outputs ([`ProgramIo`]), its weights, and whatever
//! keeps its code mapped. [`Instance`] puts these together and may be run from many threads.
#![allow(
    unsafe_code,
    reason = "this crate is the boundary to generated code: raw pointers, function pointers, \
              the control register of the floating-point unit, and hand-made allocation"
)]

pub mod abi;
pub mod buffer;
mod float_mode;
pub mod io;
pub mod library;
pub mod pool;
pub mod program;

pub use abi::{ABI_VERSION, FnxArgs, FnxBody, FnxCtx, error_string};
pub use buffer::{AlignedBuffer, Arena, BufferError, Shelf};
pub use io::{DType, Dim, IoError, ProgramIo, SymbolInfo, TensorInfo};
pub use pool::{PoolError, PoolOptions, ThreadPool};
pub use program::{CallTime, CancelToken, Entry, Instance, InstanceError, InstanceOptions, RunError};
