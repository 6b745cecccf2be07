//! The entry points of a program: `m_run`, `m_scratch_bytes`, `m_abi_version`.
//!
//! `m_run` computes offsets and calls kernels, nothing else. It goes through these steps:
//!
//! 1. The size prefixes of the arguments and of the context: `FNX_ABI` if too small.
//! 2. Every symbol against its declared range: `FNX_DIMS`, detail: the symbol's message.
//! 3. The local function `prepare`: guards in order (`FNX_SHAPE`, detail: the guard's message), and
//!    every size that depends on symbols, once, into the head of scratch (`FNX_DIMS` if one of them
//!    overflows or a slot's size is negative). A program without symbols has no such function.
//! 4. `out_dims`: extents of outputs that are expressions.
//! 5. The steps. For each call: fill the argument block (on the stack, shared by the calls of a segment)
//!    and call the local function `dispatch`, which polls the cancel word (`FNX_CANCELLED`), runs the
//!    kernel directly or by `parallel_for`, and tells `after_kernel`. Branches and loops call the
//!    segments of their own steps; a loop polls the cancel word before each iteration. Variables and
//!    counters of loops stand in the frame.
//! 6. The error flag: `FNX_INDEX`, detail: what raised it.
//!
//! # Scratch
//! `values | arena slots | scratch of worker 0, 1, ...`, each part aligned to 64 bytes. The stride
//! between workers is what the most demanding call needs.
//!
//! # Messages
//! Error details index the program's messages, continued by one per symbol and a last one for
//! overflow: see [`messages`].

mod code;
mod run;
mod segment;
mod sizes;

use cranelift_codegen::ir::types::I64;
use cranelift_codegen::ir::{InstBuilder, MemFlagsData, Value};
use cranelift_frontend::FunctionBuilder;
use fornax_ir::kernel::{Kernel, Size};

use crate::block::{LOCAL_ALIGN, ScratchLayout};
use crate::program::{Call, GuardKind, Program, ProgramError, Step, SymbolRange};
use sizes::{SizeError, SizeId, Sizes};

pub(crate) use code::{EntryIds, Unit, define};

/// The least work of each thread that takes part in a call, nanoseconds: a call forks to as many threads
/// as have that much, and stays on the caller's thread if it is enough for one only.
pub const SHARE: i64 = 1 << SHARE_SHIFT;
const SHARE_SHIFT: i64 = 12;

/// Alignment of the parts of scratch, bytes.
const ALIGN: i64 = fornax_runtime::abi::ALIGNMENT as i64;

/// What error details index: the program's own messages, then for each symbol that it is out of
/// range, and last that a size overflows.
#[must_use]
pub fn messages(program: &Program) -> Vec<String> {
    let range = |s: &SymbolRange| match s.hi {
        Some(hi) => format!("the dim `{}` must lie in {}..={hi}", s.name, s.lo),
        None => format!("the dim `{}` must be at least {}", s.name, s.lo),
    };
    let own = program.messages.iter().cloned();
    let symbols = program.symbols.iter().map(range);
    own.chain(symbols).chain(["a size of the program overflows for these dims".to_owned()]).collect()
}

/// The sizes of one call.
struct CallSizes {
    scalars: Vec<SizeId>,
    /// Work items.
    items: SizeId,
    /// Estimated time on one thread, nanoseconds.
    work: SizeId,
}

/// A guard that can only be decided at run time.
struct GuardSizes {
    kind: GuardKind,
    lhs: SizeId,
    rhs: SizeId,
    /// `floor(rhs / lhs)`, where the guard is about division.
    quotient: Option<SizeId>,
    message: i64,
}

/// Every number the entry points need.
struct Layout {
    sizes: Sizes,
    guards: Vec<GuardSizes>,
    /// Offset of each slot from the arena's start.
    slots: Vec<SizeId>,
    /// Bytes of the arena.
    arena: SizeId,
    /// Bytes of one worker's scratch.
    stride: SizeId,
    calls: Vec<CallSizes>,
    /// Bytes of each slice.
    strides: Vec<SizeId>,
    /// Iterations of each scan, by its counter.
    lengths: Vec<SizeId>,
    /// Extents written to `out_dims`.
    out_dims: Vec<SizeId>,
    /// Bytes of inputs and outputs: they only have to be representable.
    tensors: Vec<SizeId>,
    /// Sizes that make no sense when negative.
    counts: Vec<SizeId>,
    /// What `prepare` stores at the head of scratch, in order.
    stored: Vec<SizeId>,
}

impl Layout {
    fn of(program: &Program, scratch: &[&ScratchLayout]) -> Result<Layout, ProgramError> {
        let mut layout = Layout {
            sizes: Sizes::new(program.symbols.iter().map(|s| s.name.as_str())),
            guards: Vec::new(),
            slots: Vec::with_capacity(program.slots.len()),
            arena: SizeId::default(),
            stride: SizeId::default(),
            calls: Vec::with_capacity(program.calls.len()),
            strides: Vec::with_capacity(program.slices.len()),
            lengths: Vec::new(),
            out_dims: Vec::new(),
            tensors: Vec::new(),
            counts: Vec::new(),
            stored: Vec::new(),
        };
        layout.guards(program)?;
        layout.arena(program).map_err(|e| never(&e, "the arena"))?;
        layout.stride = layout.sizes.constant(0);
        for (i, call) in program.calls.iter().enumerate() {
            let named = |e: SizeError| never(&e, &format!("call {i} ({})", call.label));
            layout.call(&program.kernels[call.kernel], scratch[call.kernel], call).map_err(named)?;
        }
        layout.loops(program).map_err(|e| never(&e, "a loop"))?;
        layout.tensors(program).map_err(|e| never(&e, "an input or output"))?;
        layout.store();
        Ok(layout)
    }

    fn guards(&mut self, program: &Program) -> Result<(), ProgramError> {
        for (i, guard) in program.guards.iter().enumerate() {
            let named = |e: SizeError| never(&e, &format!("guard {i}"));
            let lhs = self.sizes.dim(&guard.lhs).map_err(named)?;
            let rhs = self.sizes.dim(&guard.rhs).map_err(named)?;
            if let (Some(l), Some(r)) = (self.sizes.as_const(lhs), self.sizes.as_const(rhs)) {
                let holds = match guard.kind {
                    GuardKind::Eq => l == r,
                    GuardKind::Le => l <= r,
                    GuardKind::Divides => l > 0 && r.checked_rem(l) == Some(0),
                };
                if !holds {
                    let message = &program.messages[guard.message as usize];
                    return Err(ProgramError::NeverRuns(format!("`{guard}` never holds: {message}")));
                }
                continue;
            }
            let quotient = match guard.kind {
                GuardKind::Divides => Some(self.sizes.floor_div(rhs, lhs).map_err(named)?),
                GuardKind::Eq | GuardKind::Le => None,
            };
            let message = i64::from(guard.message);
            self.guards.push(GuardSizes { kind: guard.kind, lhs, rhs, quotient, message });
        }
        Ok(())
    }

    fn arena(&mut self, program: &Program) -> Result<(), SizeError> {
        let mut offset = self.sizes.constant(0);
        for bytes in &program.slots {
            self.slots.push(offset);
            let bytes = self.sizes.dim(bytes)?;
            self.counts.push(bytes);
            let bytes = self.sizes.align(bytes, ALIGN)?;
            offset = self.sizes.add(offset, bytes)?;
        }
        self.arena = offset;
        Ok(())
    }

    fn call(&mut self, kernel: &Kernel, scratch: &ScratchLayout, call: &Call) -> Result<(), SizeError> {
        let sizes = &mut self.sizes;
        let scalars = call.scalars.iter().map(|d| sizes.dim(d)).collect::<Result<Vec<_>, _>>()?;
        let resolve = |sizes: &mut Sizes, size: Size| match size {
            Size::Const(value) => Ok(sizes.constant(value)),
            Size::Arg(n) => scalars.get(n as usize).copied().ok_or(SizeError::Unbound),
        };
        let mut local = sizes.constant(0);
        for slot in &scratch.slots {
            let (len, element) = (resolve(sizes, slot.len)?, sizes.constant(slot.element));
            self.counts.push(len);
            let bytes = sizes.mul(len, element)?;
            let bytes = sizes.align(bytes, LOCAL_ALIGN)?;
            local = sizes.add(local, bytes)?;
        }
        self.stride = sizes.max(self.stride, local)?;
        let (zero, mut items) = (sizes.constant(0), sizes.constant(1));
        for &(axis, chunk) in &kernel.schedule.parallel {
            let extent = resolve(sizes, kernel.axis(0, axis).extent)?;
            let chunks = sizes.ceil_div(extent, chunk)?;
            let chunks = sizes.max(chunks, zero)?;
            items = sizes.mul(items, chunks)?;
        }
        let work = sizes.dim(&call.work)?;
        self.calls.push(CallSizes { scalars, items, work });
        Ok(())
    }

    fn loops(&mut self, program: &Program) -> Result<(), SizeError> {
        for slice in &program.slices {
            let stride = self.sizes.dim(&slice.stride)?;
            self.strides.push(stride);
        }
        let zero = self.sizes.constant(0);
        self.lengths = vec![zero; program.counters as usize];
        let mut blocks = vec![&program.steps[..]];
        while let Some(steps) = blocks.pop() {
            for step in steps {
                if let Step::Scan { length, counter, .. } = step {
                    let length = self.sizes.dim(length)?;
                    self.counts.push(length);
                    self.lengths[*counter as usize] = length;
                }
                blocks.extend(step.blocks());
            }
        }
        Ok(())
    }

    fn tensors(&mut self, program: &Program) -> Result<(), SizeError> {
        for tensor in program.inputs.iter().chain(&program.outputs) {
            let bytes = self.sizes.dim(&tensor.bytes())?;
            self.tensors.push(bytes);
        }
        for extent in program.computed_dims() {
            let extent = self.sizes.dim(extent)?;
            self.out_dims.push(extent);
        }
        Ok(())
    }

    /// Chooses what `prepare` stores: each size that `m_run` uses and that is not constant, once.
    fn store(&mut self) {
        let of_calls = self.calls.iter().flat_map(|c| c.scalars.iter().chain([&c.items, &c.work]));
        let loops = self.strides.iter().chain(&self.lengths);
        let others = self.slots.iter().chain(&self.out_dims).chain(loops).chain([&self.arena, &self.stride]);
        let mut stored: Vec<SizeId> = of_calls.chain(others).copied().collect();
        stored.retain(|&id| self.sizes.as_const(id).is_none());
        stored.sort_unstable();
        stored.dedup();
        self.stored = stored;
    }

    /// Emits a size: a constant, or a load of what `prepare` stored.
    fn size(&self, b: &mut FunctionBuilder<'_>, scratch: Value, id: SizeId) -> Value {
        if let Some(value) = self.sizes.as_const(id) {
            return b.ins().iconst(I64, value);
        }
        let index = self.stored.binary_search(&id).unwrap_or_default();
        b.ins().load(I64, MemFlagsData::trusted(), scratch, 8 * index as i32)
    }

    /// Bytes of the head of scratch.
    fn head(&self) -> i64 {
        (8 * self.stored.len() as i64 + ALIGN - 1) & !(ALIGN - 1)
    }
}

fn never(error: &SizeError, place: &str) -> ProgramError {
    ProgramError::NeverRuns(format!("{place}: {error}"))
}

#[cfg(test)]
mod tests;
