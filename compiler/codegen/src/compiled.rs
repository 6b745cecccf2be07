//! A compiled program.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use cranelift_module::FuncId;
use fornax_ir::Dim;
use fornax_runtime::program::{ByteLengths, Entry, MRun, MScratch};
use fornax_runtime::{DType, Instance, InstanceOptions, ProgramIo, SymbolInfo, TensorInfo};

use crate::compile::Dumps;
use crate::entry::{EntryIds, messages};
use crate::error::Error;
use crate::image::Image;
use crate::program::{Program, TensorSpec, is_computed};

/// What compiling took and gave.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stats {
    /// Kernels of the program.
    pub kernels: usize,
    /// Kernels compiled: equal ones count once.
    pub distinct_kernels: usize,
    /// Kernel calls of one run.
    pub calls: usize,
    /// Bytes of code and constants.
    pub code_bytes: usize,
    /// Time from the program to executable code.
    pub duration: Duration,
}

/// A program whose code is mapped in this process.
pub struct Compiled {
    image: Arc<Image>,
    entry: Entry,
    io: ProgramIo,
    tensors: Arc<[TensorSpec]>,
    weights_bytes: usize,
    /// What compiling took and gave.
    pub stats: Stats,
    /// Everything outside that the code refers to, sorted.
    pub external_symbols: Vec<String>,
    /// What error details index.
    pub messages: Vec<String>,
    /// Texts kept on request.
    pub dumps: Dumps,
}

impl fmt::Debug for Compiled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compiled").field("io", &self.io).field("stats", &self.stats).finish_non_exhaustive()
    }
}

impl Compiled {
    pub(crate) fn new(
        program: &Program,
        image: Arc<Image>,
        ids: EntryIds,
        stats: Stats,
        external_symbols: Vec<String>,
        dumps: Dumps,
    ) -> Result<Self, Error> {
        let entry = entry(&image, ids)?;
        Ok(Compiled {
            image,
            entry,
            io: io(program),
            tensors: program.inputs.iter().chain(&program.outputs).cloned().collect(),
            weights_bytes: usize::try_from(program.weights.bytes).unwrap_or(usize::MAX),
            stats,
            external_symbols,
            messages: messages(program),
            dumps,
        })
    }

    /// The entry points; callable while this value, or an instance made of it, lives.
    #[must_use]
    pub fn entry(&self) -> Entry {
        self.entry
    }

    /// Inputs, outputs and symbols. Extents of outputs that are expressions are computed ones.
    #[must_use]
    pub fn io(&self) -> &ProgramIo {
        &self.io
    }

    /// Joins the code with weights and threads into something that runs. The rule for the byte
    /// lengths of tensors is filled in here.
    ///
    /// # Errors
    /// [`Error::Weights`] if the weights are fewer bytes than the program reads;
    /// [`Error::Instance`] as [`Instance::new`].
    pub fn instance(&self, mut options: InstanceOptions) -> Result<Instance, Error> {
        let found = options.weights.as_ref().map_or(0, |weights| weights.len());
        if found < self.weights_bytes {
            return Err(Error::Weights { expected: self.weights_bytes, found });
        }
        options.byte_lengths = Some(self.byte_lengths());
        let (io, image) = (self.io.clone(), self.image.clone());
        // SAFETY: the code was generated from a verified program with these inputs and outputs, and
        // it lives as long as the image; it follows the ABI, is reentrant and never unwinds; the
        // weights are as large as the program's layout says.
        unsafe { Instance::new(self.entry, io, image, options) }.map_err(Error::Instance)
    }

    /// The rule by which an instance sizes the buffers of inputs and outputs.
    fn byte_lengths(&self) -> Box<ByteLengths> {
        let tensors = self.tensors.clone();
        let names: Vec<String> = self.io.symbols.iter().map(|s| s.name.clone()).collect();
        Box::new(move |dims: &[i64], lengths: &mut [usize]| {
            let value = |name: &str| {
                let index = names.iter().position(|n| n == name)?;
                dims.get(index).copied()
            };
            let bytes = |tensor: &TensorSpec| {
                tensor.shape.iter().try_fold(tensor.dtype.bytes(), |bytes, extent: &Dim| {
                    let extent = match extent.as_const() {
                        Some(extent) => extent,
                        None => extent.eval_symbols(&value).ok()?,
                    };
                    bytes.checked_mul(usize::try_from(extent).ok()?)
                })
            };
            tensors.iter().zip(lengths).all(|(tensor, length)| match bytes(tensor) {
                Some(bytes) => {
                    *length = bytes;
                    true
                }
                None => false,
            })
        })
    }
}

fn entry(image: &Image, ids: EntryIds) -> Result<Entry, Error> {
    let address = |id: FuncId| {
        image.address(id).ok_or_else(|| Error::Cranelift {
            function: format!("{id}"),
            what: "an entry point is not in the image".to_owned(),
        })
    };
    let (run, scratch) = (address(ids.run)?, address(ids.scratch_bytes)?);
    let version = address(ids.abi_version)?;
    // SAFETY: `entry::define` built these functions with the signatures of `MRun`, `MScratch` and
    // `() -> u32` in the C calling convention of this machine, and the image is executable.
    unsafe {
        let version: extern "C" fn() -> u32 = std::mem::transmute(version);
        Ok(Entry {
            abi_version: version(),
            run: std::mem::transmute::<*const u8, MRun>(run),
            scratch_bytes: std::mem::transmute::<*const u8, MScratch>(scratch),
        })
    }
}

/// The program's inputs and outputs in the terms of the runtime.
fn io(program: &Program) -> ProgramIo {
    let mut computed = 0;
    let mut dim = |dim: &Dim| {
        if is_computed(dim) {
            computed += 1;
            return fornax_runtime::Dim::Computed(computed - 1);
        }
        let symbol = dim.as_symbol().and_then(|s| program.symbols.iter().position(|r| r.name == s));
        match symbol {
            Some(index) => fornax_runtime::Dim::Symbol(index),
            None => fornax_runtime::Dim::Const(dim.as_const().unwrap_or_default()),
        }
    };
    let mut tensor = |spec: &TensorSpec| TensorInfo {
        name: spec.name.clone(),
        dtype: runtime_dtype(spec.dtype),
        dims: spec.shape.iter().map(&mut dim).collect(),
    };
    ProgramIo {
        inputs: program.inputs.iter().map(&mut tensor).collect(),
        outputs: program.outputs.iter().map(&mut tensor).collect(),
        symbols: program
            .symbols
            .iter()
            .map(|s| SymbolInfo { name: s.name.clone(), min: s.lo, max: s.hi.unwrap_or(i64::MAX) })
            .collect(),
        aliases: program.aliases.iter().map(|&(i, o)| (i as usize, o as usize)).collect(),
    }
}

/// The runtime's name for a dtype; both crates list the same ones in the same order.
fn runtime_dtype(dtype: fornax_ir::DType) -> DType {
    DType::ALL[dtype as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_crates_know_the_same_dtypes() {
        for row in &fornax_ir::dtype::DTYPES {
            let there = runtime_dtype(row.dtype);
            assert_eq!((there.name(), there.size()), (row.name, row.bytes));
        }
        assert_eq!(DType::ALL.len(), fornax_ir::dtype::DTYPES.len());
    }
}
