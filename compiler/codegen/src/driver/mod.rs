//! Drivers: the Cranelift function of a kernel, with its loops, addresses and tails around the leaves.

mod blocks;
mod nest;
mod position;

use crate::block::{BlockLayout, LOCAL_ALIGN, LocalSlot, ScratchLayout};
use crate::error::Error;
use crate::leaf::{LEAF_ALIGNMENT, LEAF_NAMESPACE, LeafEmitter};
use crate::target::Target;
use crate::tile::StagePlan;
use crate::tile::collapse::collapse;
use blocks::Blocks;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{
    AbiParam, BlockArg, Function, InstBuilder, MemFlagsData, Signature, StackSlotData, StackSlotKind,
    UserExternalName, UserFuncName, Value, types,
};
use cranelift_codegen::isa::CallConv;
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use cranelift_module::{Linkage, Module, ModuleResult};
use fornax_ir::kernel::block::unblocked;
use fornax_ir::kernel::{AxisId, Kernel, Size, math};
use fornax_ir::leaf::Leaf;
use position::Position;

/// Most bytes of the frame that leaves may use.
const FRAME_MAX: i64 = 64 << 10;

/// The code of a kernel before it is compiled.
pub struct KernelCode {
    /// The function; its external name is still to be set.
    pub function: Function,
    /// The leaves it contains, with a name that tells stage and tile.
    pub leaves: Vec<(String, Leaf)>,
    /// Functions that it calls, see [`LEAF_NAMESPACE`].
    pub functions: Vec<Vec<u8>>,
    /// What a worker's scratch has to hold.
    pub scratch: ScratchLayout,
}

impl KernelCode {
    /// Defines the functions that the leaves are, and has the kernel's function name them as the module does.
    /// Their names begin with `name`.
    ///
    /// # Errors
    /// What the module refuses.
    #[expect(clippy::result_large_err, reason = "the module's own error")]
    pub fn define_leaves(&mut self, module: &mut dyn Module, name: &str) -> ModuleResult<()> {
        let mut signature = Signature::new(CallConv::SystemV);
        signature.params.push(AbiParam::new(types::I64));
        let mut ids = Vec::new();
        for (n, code) in self.functions.iter().enumerate() {
            let id = module.declare_function(&format!("{name}_leaf{n}"), Linkage::Local, &signature)?;
            module.define_function_bytes(id, LEAF_ALIGNMENT, code, &[])?;
            ids.push(id);
        }
        let names: Vec<_> =
            self.function.params.user_named_funcs().iter().map(|(r, n)| (r, n.clone())).collect();
        for (reference, old) in names {
            if old.namespace == LEAF_NAMESPACE {
                let id = ids[old.index as usize];
                self.function.params.reset_user_func_name(reference, UserExternalName::new(0, id.as_u32()));
            }
        }
        Ok(())
    }
}

/// The signature of every kernel function, see [`crate::block`].
#[must_use]
pub fn signature() -> Signature {
    let mut signature = Signature::new(CallConv::SystemV);
    let params = [types::I64, types::I64, types::I64, types::I32];
    signature.params.extend(params.map(AbiParam::new));
    signature
}

/// Makes the function of a verified kernel.
///
/// # Errors
/// [`Error::Kernel`] for what no leaf can compute, naming it.
pub fn define_kernel(
    kernel: &Kernel,
    target: &Target,
    emitter: &dyn LeafEmitter,
) -> Result<KernelCode, Error> {
    let refuse = |what: String| Error::Kernel { kernel: kernel.name.clone(), what };
    if target.pointer_type() != types::I64 {
        return Err(refuse("addresses of 64 bits are needed".to_owned()));
    }
    let expanded = unblocked(collapse(math::expand(kernel)));
    let blocks = Blocks::of(&expanded);
    let kernel = blocks.as_ref().map_or(&expanded, |b| &b.kernel);
    let copy = blocks.as_ref().map(|b| (b, b.plan(emitter)));
    let plans: Vec<StagePlan<'_>> =
        (0..kernel.stages.len()).map(|s| StagePlan::new(kernel, s, emitter)).collect();
    let mut function = Function::with_name_signature(UserFuncName::default(), signature());
    let mut context = FunctionBuilderContext::new();
    let mut b = FunctionBuilder::new(&mut function, &mut context);
    let slot = StackSlotData::new(StackSlotKind::ExplicitSlot, 0, 4);
    let frame = b.create_sized_stack_slot(slot);
    let mut driver =
        Driver { kernel, plans: &plans, copy: &copy, emitter, leaves: Vec::new(), frame_bytes: 0, frame };
    let made = driver.function(&mut b);
    let functions = emitter.functions();
    made.map_err(refuse)?;
    b.seal_all_blocks();
    b.finalize(target.isa.frontend_config());
    let (leaves, bytes) = (driver.leaves, driver.frame_bytes);
    if bytes > FRAME_MAX {
        return Err(refuse(format!("partial accumulations of {bytes} bytes; the frame has {FRAME_MAX}")));
    }
    function.sized_stack_slots[frame].size = bytes as u32;
    Ok(KernelCode { function, leaves, functions, scratch: ScratchLayout::of(kernel) })
}

struct Driver<'a> {
    kernel: &'a Kernel,
    plans: &'a [StagePlan<'a>],
    /// What the only stage reads copies of, and the plan of the stage that copies.
    copy: &'a Option<(&'a Blocks, StagePlan<'a>)>,
    emitter: &'a dyn LeafEmitter,
    leaves: Vec<(String, Leaf)>,
    frame: cranelift_codegen::ir::StackSlot,
    frame_bytes: i64,
}

impl Driver<'_> {
    fn function(&mut self, b: &mut FunctionBuilder<'_>) -> Result<(), String> {
        let entry = b.create_block();
        b.append_block_params_for_function_params(entry);
        b.switch_to_block(entry);
        let params: Vec<Value> = b.block_params(entry).to_vec();
        let mut pos = self.arguments(b, params[0], params[3]);
        let outer: Vec<AxisId> =
            if self.plans.len() == 1 { Vec::new() } else { (0..self.kernel.outer.len() as AxisId).collect() };
        self.items(b, &mut pos, params[1], params[2], &outer)?;
        b.ins().return_(&[]);
        Ok(())
    }

    /// Runs work items `begin..end`: neighbouring chunks of the last shared axis as one range, inside a
    /// loop over the chunks of the others.
    fn items(
        &mut self,
        b: &mut FunctionBuilder<'_>,
        pos: &mut Position,
        begin: Value,
        end: Value,
        outer: &[AxisId],
    ) -> Result<(), String> {
        let shared = &self.kernel.schedule.parallel;
        let Some((&last, others)) = shared.split_last() else { return self.outer(b, pos, outer) };
        if others.is_empty() {
            self.range(b, pos, last, begin, end);
            return self.outer(b, pos, outer);
        }
        let chunks = self.chunks(b, pos, last);
        let first = b.ins().udiv(begin, chunks);
        let up = b.ins().iadd(end, chunks);
        let up = b.ins().iadd_imm_s(up, -1);
        let past = b.ins().udiv(up, chunks);
        counted(b, first, past, |b, number| {
            self.numbers(b, pos, others, number);
            let before = b.ins().imul(number, chunks);
            let (from, to) = (b.ins().isub(begin, before), b.ins().isub(end, before));
            let zero = b.ins().iconst(types::I64, 0);
            let (from, to) = (b.ins().smax(from, zero), b.ins().smin(to, chunks));
            self.range(b, pos, last, from, to);
            self.outer(b, pos, outer)
        })
    }

    /// Loads the block's words and places the locals.
    fn arguments(&self, b: &mut FunctionBuilder<'_>, block: Value, worker: Value) -> Position {
        let layout = BlockLayout::of(self.kernel);
        let flags = MemFlagsData::trusted().with_readonly().with_can_move();
        let mut word = |offset: i32| b.ins().load(types::I64, flags, block, offset);
        let buffers = (0..layout.buffers).map(|n| word(layout.buffer(n))).collect();
        let scalars = (0..layout.scalars).map(|n| word(layout.scalar(n))).collect();
        let (base, stride) = (word(layout.worker_base()), word(layout.worker_stride()));
        let flag = word(layout.flag());
        let mut pos = Position::new(buffers, scalars, flag, self.kernel);
        if !self.kernel.locals.is_empty() {
            let worker = b.ins().uextend(types::I64, worker);
            let offset = b.ins().imul(worker, stride);
            let mut at = b.ins().iadd(base, offset);
            for local in &self.kernel.locals {
                pos.locals.push(at);
                let slot = LocalSlot::of(self.kernel, local);
                let len = pos.size(b, slot.len);
                let bytes = b.ins().imul_imm_s(len, slot.element);
                let bytes = b.ins().iadd_imm_s(bytes, LOCAL_ALIGN - 1);
                let bytes = b.ins().band_imm_s(bytes, -LOCAL_ALIGN);
                at = b.ins().iadd(at, bytes);
            }
        }
        pos
    }

    /// How many chunks a shared axis has, at least 1.
    fn chunks(&self, b: &mut FunctionBuilder<'_>, pos: &Position, (axis, chunk): (AxisId, i64)) -> Value {
        match self.kernel.axis(0, axis).extent {
            Size::Const(n) => b.ins().iconst(types::I64, ((n + chunk - 1) / chunk).max(1)),
            Size::Arg(n) => {
                let up = b.ins().iadd_imm_s(pos.scalars[n as usize], chunk - 1);
                let by = b.ins().iconst(types::I64, chunk);
                let chunks = b.ins().udiv(up, by);
                let one = b.ins().iconst(types::I64, 1);
                b.ins().umax(chunks, one)
            }
        }
    }

    /// The range that chunks `from..to` of a shared axis make.
    fn range(
        &self,
        b: &mut FunctionBuilder<'_>,
        pos: &mut Position,
        (axis, chunk): (AxisId, i64),
        from: Value,
        to: Value,
    ) {
        let extent = pos.size(b, self.kernel.axis(0, axis).extent);
        let start = b.ins().imul_imm_s(from, chunk);
        let end = b.ins().imul_imm_s(to, chunk);
        let end = b.ins().smin(end, extent);
        pos.share(axis, (start, end), chunk);
    }

    /// The ranges of shared axes in their chunks number `number`, row-major.
    fn numbers(
        &self,
        b: &mut FunctionBuilder<'_>,
        pos: &mut Position,
        shared: &[(AxisId, i64)],
        number: Value,
    ) {
        let mut rest = number;
        for (i, &axis) in shared.iter().enumerate().rev() {
            let number = if i == 0 {
                rest
            } else {
                let chunks = self.chunks(b, pos, axis);
                let number = b.ins().urem(rest, chunks);
                rest = b.ins().udiv(rest, chunks);
                number
            };
            let next = b.ins().iadd_imm_s(number, 1);
            self.range(b, pos, axis, number, next);
        }
    }

    /// Loops over the outer axes around all stages.
    fn outer(
        &mut self,
        b: &mut FunctionBuilder<'_>,
        pos: &mut Position,
        axes: &[AxisId],
    ) -> Result<(), String> {
        let Some((&axis, inner)) = axes.split_first() else {
            let plans = self.plans;
            if let Some((blocks, copy)) = self.copy {
                let all = &self.kernel.schedule.stages[0].block;
                return self.blocks(b, pos, (blocks, copy), all);
            }
            if let Some(block) = self.kernel.schedule.block {
                return self.outer_blocks(b, pos, block);
            }
            for plan in plans {
                nest::emit(self, b, pos, plan)?;
            }
            return Ok(());
        };
        let (start, end) = pos.range(b, axis, self.kernel.axis(0, axis).extent);
        counted(b, start, end, |b, at| {
            pos.axes[axis as usize] = Some(at);
            self.outer(b, pos, inner)
        })
    }
}

/// `for at in start..end` around what `body` emits.
fn counted<'f>(
    b: &mut FunctionBuilder<'f>,
    start: Value,
    end: Value,
    body: impl FnOnce(&mut FunctionBuilder<'f>, Value) -> Result<(), String>,
) -> Result<(), String> {
    counted_by(b, (start, end), 1, body)
}

/// As [`counted`], in steps of so many.
fn counted_by<'f>(
    b: &mut FunctionBuilder<'f>,
    (start, end): (Value, Value),
    step: i64,
    body: impl FnOnce(&mut FunctionBuilder<'f>, Value) -> Result<(), String>,
) -> Result<(), String> {
    let (head, inside, done) = (b.create_block(), b.create_block(), b.create_block());
    let at = b.append_block_param(head, types::I64);
    b.ins().jump(head, &[BlockArg::Value(start)]);
    b.switch_to_block(head);
    let more = b.ins().icmp(IntCC::SignedLessThan, at, end);
    b.ins().brif(more, inside, &[], done, &[]);
    b.switch_to_block(inside);
    body(b, at)?;
    let next = b.ins().iadd_imm_s(at, step);
    b.ins().jump(head, &[BlockArg::Value(next)]);
    b.switch_to_block(done);
    Ok(())
}
