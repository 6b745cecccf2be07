//! Leaf emitters: what turns a LIR program into instructions.
//!
//! The driver of a kernel computes pointers and integers and hands them to an emitter with the
//! leaf; an emitter may put the code where it stands ([`Clif`]) or define a function and emit a
//! call to it.

pub mod clif;
pub mod x64;

pub use clif::Clif;
pub use x64::X64;

use crate::target::Target;
use cranelift_codegen::ir::Value;
use cranelift_frontend::FunctionBuilder;
use fornax_ir::dtype::DType;
use fornax_ir::leaf::{Inst, Leaf, ValueId};
use fornax_ir::scalar::Scalar;

/// One use of a leaf in a driver.
pub struct LeafCall<'a> {
    /// The program.
    pub leaf: &'a Leaf,
    /// How often the innermost loop should be unrolled; 0 and 1 mean not at all.
    pub unroll: u32,
    /// Pointer arguments, addresses.
    pub ptrs: &'a [Value],
    /// For each pointer: nothing the kernel stores lies in what is loaded through it.
    pub readonly: &'a [bool],
    /// Integer arguments, i64.
    pub ints: &'a [Value],
    /// Address of the error flag, an i64.
    pub flag: Value,
}

/// Emits leaves for one target.
pub trait LeafEmitter {
    /// For options and display.
    fn name(&self) -> &str;
    /// Lanes of one vector register of that element type; 1 where there are no vectors.
    fn lanes(&self, dtype: DType) -> u32;
    /// Whether it has [`Inst::LoadPart`] and [`Inst::StorePart`] of that element type.
    fn partial(&self, dtype: DType) -> bool {
        let _ = dtype;
        false
    }
    /// Number of vector registers.
    fn registers(&self) -> u32;
    /// Whether this emitter has an instruction sequence for every operation of the leaf.
    ///
    /// # Errors
    /// Names the first operation it has none for.
    fn supports(&self, leaf: &Leaf) -> Result<(), String>;
    /// Emits the leaf at the builder's position; afterwards the builder stands where the driver goes on.
    fn emit(&self, b: &mut FunctionBuilder<'_>, call: &LeafCall<'_>);
    /// Whether [`Inst::Prefetch`] is an instruction; else it is left out.
    fn prefetches(&self) -> bool {
        false
    }
    /// Whether it has [`Inst::Interleave`] of full registers of 32-bit elements.
    fn interleaves(&self) -> bool {
        false
    }
    /// Hands over the code of the functions that the kernel's leaves call, by their numbers in
    /// [`LEAF_NAMESPACE`], and starts a new kernel.
    fn functions(&self) -> Vec<Vec<u8>> {
        Vec::new()
    }
}

/// The namespace of the functions that a kernel's leaves are, in its Cranelift function.
pub const LEAF_NAMESPACE: u32 = 2;

/// Alignment of a leaf's function.
pub const LEAF_ALIGNMENT: u64 = 64;

/// The emitter of that name for a target; `Clif` where the target does not have what it needs.
#[must_use]
pub fn emitter(target: &Target, leaf: crate::target::Leaf) -> Box<dyn LeafEmitter> {
    match leaf {
        crate::target::Leaf::Clif => Box::new(Clif::new(target)),
        crate::target::Leaf::X64 | crate::target::Leaf::Auto => match X64::new(target) {
            Some(emitter) => Box::new(emitter),
            None => Box::new(Clif::new(target)),
        },
    }
}

/// The stored bits of a float's significand, and the number of that type which, added to an integer n, leaves n and two
/// biases in the low bits.
pub(crate) fn scale_shift(dtype: DType) -> (i64, Scalar) {
    let (mantissa, bias) = if dtype == DType::F64 { (52, 1023) } else { (23, 127) };
    (mantissa, Scalar::from_f64(dtype, 1.5 * (1u64 << mantissa) as f64 + 2.0 * f64::from(bias)))
}

/// Calls `f` on every operand of a leaf's instruction.
pub(crate) fn for_each_operand(inst: &Inst, mut f: impl FnMut(ValueId)) {
    match inst {
        Inst::Const(_) | Inst::Int(_) | Inst::Counter(_) => {}
        Inst::Load(a) | Inst::LoadSplat(a) | Inst::LoadStrided(a, _) | Inst::Prefetch(a) => {
            a.value.into_iter().for_each(f);
        }
        Inst::Pack(lanes) => lanes.iter().copied().for_each(f),
        Inst::Splat(a)
        | Inst::Lane(a, _)
        | Inst::Ramp(a)
        | Inst::Unary(_, a)
        | Inst::Cast(a)
        | Inst::Bitcast(a)
        | Inst::Horizontal(_, a)
        | Inst::If(a, _)
        | Inst::Raise(a, _) => f(*a),
        Inst::Binary(_, a, b) | Inst::Compare(_, a, b) | Inst::Scale(a, b) | Inst::Interleave(a, b, _) => {
            [*a, *b].into_iter().for_each(f)
        }
        Inst::Select(a, b, c) | Inst::Fma(a, b, c) => [*a, *b, *c].into_iter().for_each(f),
        Inst::StorePart(a, v, n) => a.value.into_iter().chain([*v, *n]).for_each(f),
        Inst::Store(a, v) | Inst::LoadIf(v, a) | Inst::LoadPart(a, v) => {
            a.value.into_iter().chain([*v]).for_each(f)
        }
    }
}
