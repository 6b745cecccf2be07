//! What scheduling knows of the machine: its vectors and its caches.
//!
//! Kernels stay right on any other machine; only how well their tiles fit depends on this.

use fornax_codegen::{Leaf, Target, leaf};
use fornax_ir::dtype::DType;

/// A machine as schedules see it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Machine {
    /// Bytes of a vector register.
    pub vector_bytes: u32,
    /// Number of vector registers.
    pub registers: u32,
    /// Bytes of the second-level cache of one core.
    pub near_bytes: i64,
}

impl Machine {
    /// 16 registers of 128 bits: what every common machine has.
    pub const PORTABLE: Machine = Machine { vector_bytes: 16, registers: 16, near_bytes: 1 << 20 };

    /// What a leaf emitter has for a target.
    pub fn of(target: &Target, leaf: Leaf) -> Machine {
        let emitter = leaf::emitter(target, leaf);
        let vector_bytes = (emitter.lanes(DType::F32) * 4).max(Machine::PORTABLE.vector_bytes);
        Machine { vector_bytes, registers: emitter.registers(), ..Machine::PORTABLE }
    }

    /// Lanes of a register of 32-bit elements.
    pub const fn lanes(self) -> i64 {
        self.vector_bytes as i64 / 4
    }

    /// Products of 32-bit floats that a core adds up in a nanosecond where a matrix has so many rows: two registers a
    /// cycle at about 4 GHz, but few rows leave registers without work.
    pub(crate) fn products(self, rows: i64) -> f64 {
        let tile = rows.clamp(1, 14) as f64;
        7.2 * self.lanes() as f64 * tile / (tile + 1.0)
    }

    /// Nanoseconds that a product waits for so many bytes of weights, which it reads once: 16 bytes a nanosecond
    /// where they do not stay in the second-level cache.
    pub(crate) fn streamed(self, bytes: f64) -> f64 {
        let rate = if bytes <= self.near_bytes as f64 { 0.015 } else { 0.06 };
        bytes * rate
    }

    /// Nanoseconds to read or write so many bytes that another kernel wrote or reads.
    pub(crate) fn moved(self, bytes: f64) -> f64 {
        bytes * 0.015
    }

    /// Output channels of a convolution whose weights lie side by side: two registers of 32-bit elements.
    pub const fn panel(self) -> usize {
        self.vector_bytes as usize / 2
    }
}

impl Default for Machine {
    fn default() -> Machine {
        Machine::PORTABLE
    }
}
