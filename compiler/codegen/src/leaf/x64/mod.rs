//! Leaves as functions of AVX2 or AVX-512 instructions, with all vector registers of the machine.
//!
//! A leaf's function takes the address of an argument block in `rdi`: pointers, integers, the error flag's
//! address, then room for what no register holds. It writes no other register than those that a caller of
//! the System V ABI saves, keeps the stack pointer, and ends with `vzeroupper`. Its constants lie behind its
//! code. What it has no instructions for is left to Cranelift, leaf by leaf; so are leaves without vectors.
//!
//! Values that live across rounds have registers of their own as long as those last; what lives within a
//! round is assigned a register when it is computed, and the register whose value is used last is freed
//! where all are taken. A load that is used once becomes a memory operand.

mod arith;
mod asm;
mod codes;
mod memory;
mod nest;
mod ops;
mod state;
mod values;
mod words;

use super::{Clif, LeafCall, LeafEmitter};
use crate::target::Target;
use cranelift_codegen::ir::{
    AbiParam, ExtFuncData, ExternalName, FuncRef, InstBuilder, SigRef, Signature, StackSlot, StackSlotData,
    StackSlotKind, UserExternalName, Value, types,
};
use cranelift_codegen::isa::CallConv;
use cranelift_frontend::FunctionBuilder;
use fornax_ir::dtype::DType;
use fornax_ir::leaf::{Leaf, Op};
use rustc_hash::FxHashMap;
use std::cell::RefCell;
use target_lexicon::Architecture;

/// What the emitter needs to know of the target.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Features {
    /// AVX-512 F, BW, DQ and VL.
    pub wide: bool,
    /// Bytes of a vector register.
    pub bytes: usize,
    /// Number of vector registers.
    pub registers: usize,
}

/// The function of a leaf.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Encoded {
    /// Its code and constants.
    pub code: Vec<u8>,
    /// Bytes of its argument block.
    pub block: u32,
}

/// The emitter.
pub struct X64 {
    inner: Clif,
    features: Features,
    kernel: RefCell<Collected>,
    /// What is known of leaves that were asked for: kernels of one program ask for the same ones again.
    supported: RefCell<FxHashMap<Leaf, Result<(), String>>>,
}

/// What the leaves of the present kernel have in common.
#[derive(Default)]
struct Collected {
    functions: Vec<Vec<u8>>,
    references: Vec<FuncRef>,
    signature: Option<SigRef>,
    block: Option<StackSlot>,
}

impl X64 {
    /// For that target; `None` where it has no AVX2 with fused multiply-add.
    #[must_use]
    pub fn new(target: &Target) -> Option<X64> {
        let x86 = target.isa.triple().architecture == Architecture::X86_64;
        if !(x86 && target.avx2 && target.fma) {
            return None;
        }
        let features = match target.avx512 {
            true => Features { wide: true, bytes: 64, registers: 32 },
            false => Features { wide: false, bytes: 32, registers: 16 },
        };
        Some(X64 {
            inner: Clif::new(target),
            features,
            kernel: RefCell::default(),
            supported: RefCell::default(),
        })
    }

    /// The instruction set used, for cache keys.
    #[must_use]
    pub fn level(&self) -> &'static str {
        if self.features.wide { "avx512" } else { "avx2" }
    }

    /// The code of a leaf's function, if this emitter makes one.
    ///
    /// # Errors
    /// What it has no instruction sequence for.
    pub fn function(&self, leaf: &Leaf, unroll: u32) -> Result<Vec<u8>, String> {
        nest::encode(leaf, unroll, self.features).map(|e| e.code)
    }

    /// Whether the leaf is not better left to Cranelift.
    fn own(&self, leaf: &Leaf) -> bool {
        let vector = |op: &Op| op.ty.lanes > 1;
        let ops = leaf.init.iter().chain(&leaf.body).chain(&leaf.finish);
        let mut ops = ops;
        ops.any(vector) || self.left(leaf).is_err()
    }

    /// Whether Cranelift's vectors are wide enough, and it has the instructions.
    fn left(&self, leaf: &Leaf) -> Result<(), String> {
        let wide = |op: &Op| op.ty.lanes > 1 && op.ty.lanes as usize * op.ty.dtype.bytes().max(4) > 16;
        match leaf.init.iter().chain(&leaf.body).chain(&leaf.finish).any(wide) {
            true => Err("vectors of more than 128 bits".to_owned()),
            false => self.inner.supports(leaf),
        }
    }

    fn call(&self, b: &mut FunctionBuilder<'_>, call: &LeafCall<'_>, encoded: Encoded) {
        let mut kernel = self.kernel.borrow_mut();
        let slot = *kernel.block.get_or_insert_with(|| {
            b.create_sized_stack_slot(StackSlotData::new(StackSlotKind::ExplicitSlot, 0, 4))
        });
        let size = &mut b.func.sized_stack_slots[slot].size;
        *size = (*size).max(encoded.block);
        let flag = [call.flag];
        let words = call.ptrs.iter().chain(call.ints).chain(&flag);
        for (i, &word) in words.enumerate() {
            b.ins().stack_store(types::I64, word, slot, 8 * i as i32);
        }
        let callee = kernel.reference(b, encoded.code);
        let block: Value = b.ins().stack_addr(types::I64, slot, 0);
        b.ins().call(callee, &[block]);
    }
}

impl Collected {
    /// The function of that code, as the present kernel names it.
    fn reference(&mut self, b: &mut FunctionBuilder<'_>, code: Vec<u8>) -> FuncRef {
        if let Some(known) = self.functions.iter().position(|f| *f == code) {
            return self.references[known];
        }
        let signature = *self.signature.get_or_insert_with(|| {
            let mut signature = Signature::new(CallConv::SystemV);
            signature.params.push(AbiParam::new(types::I64));
            b.import_signature(signature)
        });
        let name = UserExternalName::new(super::LEAF_NAMESPACE, self.functions.len() as u32);
        let name = b.func.declare_imported_user_function(name);
        let data =
            ExtFuncData { name: ExternalName::user(name), signature, colocated: true, patchable: false };
        let reference = b.import_function(data);
        self.functions.push(code);
        self.references.push(reference);
        reference
    }
}

impl LeafEmitter for X64 {
    fn name(&self) -> &str {
        "x64"
    }
    fn lanes(&self, dtype: DType) -> u32 {
        match dtype.bytes() {
            bytes @ (4 | 8) => (self.features.bytes / bytes) as u32,
            _ => 1,
        }
    }
    fn partial(&self, dtype: DType) -> bool {
        dtype.bytes() >= 4
    }
    fn registers(&self) -> u32 {
        self.features.registers as u32
    }
    fn supports(&self, leaf: &Leaf) -> Result<(), String> {
        if let Some(known) = self.supported.borrow().get(leaf) {
            return known.clone();
        }
        let found = match self.own(leaf) {
            false => Ok(()),
            true => match nest::encode(leaf, 1, self.features) {
                Ok(_) => Ok(()),
                Err(what) => self.left(leaf).map_err(|_| what),
            },
        };
        self.supported.borrow_mut().insert(leaf.clone(), found.clone());
        found
    }
    fn emit(&self, b: &mut FunctionBuilder<'_>, call: &LeafCall<'_>) {
        let own = self.own(call.leaf);
        match nest::encode(call.leaf, call.unroll, self.features) {
            Ok(encoded) if own => self.call(b, call, encoded),
            _ => self.inner.emit(b, call),
        }
    }
    fn prefetches(&self) -> bool {
        true
    }
    fn interleaves(&self) -> bool {
        true
    }
    fn functions(&self) -> Vec<Vec<u8>> {
        self.kernel.take().functions
    }
}

#[cfg(test)]
mod tests;
