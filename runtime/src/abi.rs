//! The C ABI between a compiled program and whoever calls it.
//!
//! Structures are *size-prefixed*: their first field is their size in bytes as the caller knows
//! them, new fields are only ever added at the end, and a program that needs a field beyond the
//! given size returns [`FNX_ABI`]. Every offset that generated code uses is a constant here.

use std::ffi::c_void;
use std::mem::{offset_of, size_of};
use std::sync::atomic::AtomicU32;

/// Version of this ABI, returned by a program's `m_abi_version`. It changes only when the meaning
/// of an existing field changes; a field added at the end does not change it.
pub const ABI_VERSION: u32 = 2;

/// Alignment, in bytes, of `scratch` and `weights` in [`FnxArgs`].
pub const ALIGNMENT: usize = 64;

/// A loop body of a parallel kernel: computes the indices `begin..end` as worker `worker`.
///
/// It must not unwind; a body made from a Rust closure catches panics itself
/// (see [`crate::ThreadPool::run`]).
pub type FnxBody = unsafe extern "C" fn(arg: *mut c_void, begin: i64, end: i64, worker: u32);

/// Runs `body` over `0..n` in contiguous chunks, on at most `most` threads (the caller's included), and
/// returns after every chunk is done.
///
/// Worker ids are below `ctx->max_threads`, and no two chunks that run at the same time within
/// one call share an id, so that an id may index per-worker scratch. It may run serially.
pub type FnxParallelFor =
    unsafe extern "C" fn(ctx: *const FnxCtx, body: FnxBody, arg: *mut c_void, n: i64, most: u32);

/// Asks for room of `bytes` bytes for output `output`, whose size is known only at run time.
/// Returns the new buffer, aligned to 64 bytes, or NULL when it cannot grow.
pub type FnxGrow = unsafe extern "C" fn(ctx: *const FnxCtx, output: u32, bytes: usize) -> *mut c_void;

/// Told that the kernel call of that number (its place in the program, from 0) has returned.
pub type FnxAfterKernel = unsafe extern "C" fn(ctx: *const FnxCtx, call: u32);

/// The execution context of a run: threads, growth of outputs, cancellation.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct FnxCtx {
    /// Size of this structure in bytes as its maker knows it.
    pub size: u32,
    /// Upper bound on worker ids, at least 1; per-worker scratch is sized with it.
    pub max_threads: u32,
    /// Parallel loop; NULL means that the program runs every loop itself, on one thread.
    pub parallel_for: Option<FnxParallelFor>,
    /// Growth of an output of unbounded size; NULL means [`FNX_CAPACITY`] instead.
    pub grow: Option<FnxGrow>,
    /// Bits of [`cpu_features`], for programs that hold code for several ISA levels.
    pub cpu_features: u64,
    /// Belongs to the maker of the context (here: the thread pool); programs don't read it.
    pub data: *mut c_void,
    /// A word that becomes nonzero to cancel the run; polled between kernels. NULL: never.
    pub cancel: *const AtomicU32,
    /// Called on the caller's thread after every kernel, for profiles. NULL: not wanted.
    pub after_kernel: Option<FnxAfterKernel>,
}

/// The arguments of one `m_run`.
///
/// Outputs overlap nothing except the exact pairs in the program's alias table. `scratch` and
/// `weights` are aligned to [`ALIGNMENT`], inputs and outputs to their element's size.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct FnxArgs {
    /// Size of this structure in bytes as the caller knows it.
    pub size: u32,
    /// Values of the symbolic dims in the order of the program's symbol table; NULL if none.
    pub dims: *const i64,
    /// Input buffers, in the program's order.
    pub inputs: *const *const c_void,
    /// Output buffers, in the program's order.
    pub outputs: *const *mut c_void,
    /// Written by `m_run`: actual sizes, where a size depends on data or is an expression.
    pub out_dims: *mut i64,
    /// The program's weights; NULL when they are embedded or there are none.
    pub weights: *const c_void,
    /// At least `m_scratch_bytes(dims, max_threads)` bytes; not read before written.
    pub scratch: *mut c_void,
    /// Execution context; NULL: one thread, no cancellation.
    pub ctx: *const FnxCtx,
    /// Where the detail of an error goes: an index into the program's table of messages (the
    /// node, guard or symbol at fault). NULL: not wanted.
    pub error_detail: *mut i64,
}

/// Byte offsets of the fields of [`FnxArgs`], for generated code.
pub mod args_offset {
    use super::{FnxArgs, offset_of};
    /// Offset of [`FnxArgs::size`].
    pub const SIZE: usize = offset_of!(FnxArgs, size);
    /// Offset of [`FnxArgs::dims`].
    pub const DIMS: usize = offset_of!(FnxArgs, dims);
    /// Offset of [`FnxArgs::inputs`].
    pub const INPUTS: usize = offset_of!(FnxArgs, inputs);
    /// Offset of [`FnxArgs::outputs`].
    pub const OUTPUTS: usize = offset_of!(FnxArgs, outputs);
    /// Offset of [`FnxArgs::out_dims`].
    pub const OUT_DIMS: usize = offset_of!(FnxArgs, out_dims);
    /// Offset of [`FnxArgs::weights`].
    pub const WEIGHTS: usize = offset_of!(FnxArgs, weights);
    /// Offset of [`FnxArgs::scratch`].
    pub const SCRATCH: usize = offset_of!(FnxArgs, scratch);
    /// Offset of [`FnxArgs::ctx`].
    pub const CTX: usize = offset_of!(FnxArgs, ctx);
    /// Offset of [`FnxArgs::error_detail`].
    pub const ERROR_DETAIL: usize = offset_of!(FnxArgs, error_detail);
}

/// Byte offsets of the fields of [`FnxCtx`], for generated code.
pub mod ctx_offset {
    use super::{FnxCtx, offset_of};
    /// Offset of [`FnxCtx::size`].
    pub const SIZE: usize = offset_of!(FnxCtx, size);
    /// Offset of [`FnxCtx::max_threads`].
    pub const MAX_THREADS: usize = offset_of!(FnxCtx, max_threads);
    /// Offset of [`FnxCtx::parallel_for`].
    pub const PARALLEL_FOR: usize = offset_of!(FnxCtx, parallel_for);
    /// Offset of [`FnxCtx::grow`].
    pub const GROW: usize = offset_of!(FnxCtx, grow);
    /// Offset of [`FnxCtx::cpu_features`].
    pub const CPU_FEATURES: usize = offset_of!(FnxCtx, cpu_features);
    /// Offset of [`FnxCtx::data`].
    pub const DATA: usize = offset_of!(FnxCtx, data);
    /// Offset of [`FnxCtx::cancel`].
    pub const CANCEL: usize = offset_of!(FnxCtx, cancel);
    /// Offset of [`FnxCtx::after_kernel`].
    pub const AFTER_KERNEL: usize = offset_of!(FnxCtx, after_kernel);
}

/// Size of [`FnxArgs`] in this version of the ABI, in bytes.
pub const ARGS_SIZE: u32 = size_of::<FnxArgs>() as u32;
/// Size of [`FnxCtx`] in this version of the ABI, in bytes.
pub const CTX_SIZE: u32 = size_of::<FnxCtx>() as u32;

/// Success.
pub const FNX_OK: i32 = 0;
/// A size prefix is smaller than what the program needs.
pub const FNX_ABI: i32 = 1;
/// A symbolic dim lies outside its declared range.
pub const FNX_DIMS: i32 = 2;
/// A shape condition that could only be checked at run time does not hold.
pub const FNX_SHAPE: i32 = 3;
/// An index was out of range. The run went on (reads gave 0, writes were dropped): outputs are
/// complete.
pub const FNX_INDEX: i32 = 4;
/// An output of unbounded size does not fit and cannot grow.
pub const FNX_CAPACITY: i32 = 5;
/// The run was cancelled; outputs are unspecified.
pub const FNX_CANCELLED: i32 = 6;
/// A fault of the compiler or the runtime.
pub const FNX_INTERNAL: i32 = 7;

/// The name and meaning of a code returned by `m_run`.
#[must_use]
pub const fn error_string(code: i32) -> &'static str {
    match code {
        FNX_OK => "FNX_OK: success",
        FNX_ABI => "FNX_ABI: the caller's structures are older than the program needs",
        FNX_DIMS => "FNX_DIMS: a symbolic dim is outside its declared range",
        FNX_SHAPE => "FNX_SHAPE: a shape condition does not hold for these inputs",
        FNX_INDEX => "FNX_INDEX: an index is out of range",
        FNX_CAPACITY => "FNX_CAPACITY: an output does not fit its buffer and cannot grow",
        FNX_CANCELLED => "FNX_CANCELLED: the run was cancelled",
        FNX_INTERNAL => "FNX_INTERNAL: a fault of the compiler or the runtime",
        _ => "unknown error code",
    }
}

/// ISA levels in [`FnxCtx::cpu_features`], each implying those below it (levels of the x86-64
/// psABI).
pub mod cpu {
    /// SSE4.2, POPCNT.
    pub const X86_64_V2: u64 = 1 << 0;
    /// AVX2, FMA, BMI1, BMI2, F16C, LZCNT, MOVBE.
    pub const X86_64_V3: u64 = 1 << 1;
    /// AVX-512 F, BW, CD, DQ, VL.
    pub const X86_64_V4: u64 = 1 << 2;
}

/// The [`cpu`] bits of the machine this runs on, including that the OS saves the registers;
/// 0 on anything but x86-64.
#[must_use]
pub fn cpu_features() -> u64 {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::is_x86_feature_detected as has;
        let v2 = has!("sse4.2") && has!("popcnt") && has!("ssse3") && has!("cmpxchg16b");
        let v3 = v2
            && has!("avx2")
            && has!("fma")
            && has!("bmi1")
            && has!("bmi2")
            && has!("f16c")
            && has!("lzcnt")
            && has!("movbe");
        let v4 = v3
            && has!("avx512f")
            && has!("avx512bw")
            && has!("avx512cd")
            && has!("avx512dq")
            && has!("avx512vl");
        let bit = |on: bool, bit: u64| if on { bit } else { 0 };
        bit(v2, cpu::X86_64_V2) | bit(v3, cpu::X86_64_V3) | bit(v4, cpu::X86_64_V4)
    }
    #[cfg(not(target_arch = "x86_64"))]
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_pointer_width = "64")]
    fn layout_of_args_is_that_of_the_c_declaration() {
        let offsets = [
            args_offset::SIZE,
            args_offset::DIMS,
            args_offset::INPUTS,
            args_offset::OUTPUTS,
            args_offset::OUT_DIMS,
            args_offset::WEIGHTS,
            args_offset::SCRATCH,
            args_offset::CTX,
            args_offset::ERROR_DETAIL,
        ];
        assert_eq!(offsets, [0, 8, 16, 24, 32, 40, 48, 56, 64]);
        assert_eq!(ARGS_SIZE, 72);
    }

    #[test]
    #[cfg(target_pointer_width = "64")]
    fn layout_of_ctx_is_that_of_the_c_declaration() {
        let offsets = [
            ctx_offset::SIZE,
            ctx_offset::MAX_THREADS,
            ctx_offset::PARALLEL_FOR,
            ctx_offset::GROW,
            ctx_offset::CPU_FEATURES,
            ctx_offset::DATA,
            ctx_offset::CANCEL,
            ctx_offset::AFTER_KERNEL,
        ];
        assert_eq!(offsets, [0, 4, 8, 16, 24, 32, 40, 48]);
        assert_eq!(CTX_SIZE, 56);
    }

    #[test]
    fn every_code_has_its_own_text() {
        let texts: std::collections::HashSet<_> = (FNX_OK..=FNX_INTERNAL).map(error_string).collect();
        assert_eq!(texts.len(), 8);
        assert!(!texts.contains(error_string(-1)));
        assert_eq!(error_string(i32::MAX), error_string(-1));
    }

    #[test]
    fn an_isa_level_implies_those_below() {
        let bits = cpu_features();
        assert!(bits & cpu::X86_64_V4 == 0 || bits & cpu::X86_64_V3 != 0);
        assert!(bits & cpu::X86_64_V3 == 0 || bits & cpu::X86_64_V2 != 0);
    }
}
