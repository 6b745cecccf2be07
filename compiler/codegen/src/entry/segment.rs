//! Segments: functions of a few dozen steps each, so that the time to compile `m_run` stays
//! proportional to the number of steps. Branches and loops (`control`) call the segments of the steps
//! inside them.

mod control;

use cranelift_codegen::ir::types::{I32, I64};
use cranelift_codegen::ir::{
    Block, FuncRef, Inst, InstBuilder, MemFlagsData, StackSlotData, StackSlotKind, Type, Value,
};
use cranelift_frontend::FunctionBuilder;
use cranelift_module::{FuncId, Module};
use fornax_runtime::abi::{FNX_OK, args_offset};
use rustc_hash::FxHashMap;

use super::code::frame;
use super::sizes::SizeId;
use super::{CallSizes, Layout};
use crate::block::BlockLayout;
use crate::program::{Call, Place, Program, Step};

/// Steps of one segment at most.
pub(super) const STEPS: usize = 64;

/// The functions that all segments call.
pub(super) struct Callees<'a> {
    pub(super) dispatch: FuncId,
    /// By the program's kernels.
    pub(super) kernels: &'a [FuncId],
}

/// What one segment does.
pub(super) struct Chunk<'a> {
    pub(super) steps: &'a [Step],
    /// For each step, for each list of steps inside it, the segments that run it.
    pub(super) inner: &'a [Vec<Vec<FuncId>>],
}

/// A segment `(args, frame) -> code` under construction.
struct Segment<'a, 'b> {
    b: &'a mut FunctionBuilder<'b>,
    program: &'a Program,
    layout: &'a Layout,
    ptr: Type,
    bases: Bases,
    /// Returns its parameter, an i32.
    leave: Block,
}

/// What all calls use; one load or addition each, before the first call.
struct Bases {
    args: Value,
    inputs: Value,
    outputs: Value,
    weights: Value,
    scratch: Value,
    worker_base: Value,
    frame: Value,
    block: Value,
    flag: Value,
    dispatch: FuncRef,
}

/// Builds a segment.
pub(super) fn body(
    program: &Program,
    layout: &Layout,
    chunk: &Chunk<'_>,
    callees: &Callees<'_>,
    module: &mut dyn Module,
    b: &mut FunctionBuilder<'_>,
) {
    let ptr = module.target_config().pointer_type();
    let (entry, leave) = (b.create_block(), b.create_block());
    b.append_block_params_for_function_params(entry);
    b.append_block_param(leave, I32);
    b.switch_to_block(entry);
    let (args, frame) = (b.block_params(entry)[0], b.block_params(entry)[1]);
    let words = chunk.steps.iter().filter_map(|s| match s {
        Step::Call(i) => Some(BlockLayout::of(&program.kernels[program.calls[*i].kernel]).words()),
        _ => None,
    });
    let dispatch = module.declare_func_in_func(callees.dispatch, b.func);
    let bases = Bases::load(layout, b, ptr, [args, frame], words.max().unwrap_or(1), dispatch);
    let mut segment = Segment { b, program, layout, ptr, bases, leave };
    let mut references: FxHashMap<FuncId, FuncRef> = FxHashMap::default();
    for (step, inner) in chunk.steps.iter().zip(chunk.inner) {
        let Step::Call(i) = step else {
            let mut refer = |id: &FuncId| module.declare_func_in_func(*id, segment.b.func);
            let blocks: Vec<Vec<FuncRef>> =
                inner.iter().map(|block| block.iter().map(&mut refer).collect()).collect();
            segment.control(step, &blocks);
            continue;
        };
        let (call, sizes) = (&program.calls[*i], &layout.calls[*i]);
        let id = callees.kernels[call.kernel];
        let func = &mut *segment.b.func;
        let kernel = *references.entry(id).or_insert_with(|| module.declare_func_in_func(id, func));
        segment.fill_block(BlockLayout::of(&program.kernels[call.kernel]), call, sizes);
        segment.dispatch(kernel, sizes, *i as i64);
    }
    let ok = segment.b.ins().iconst(I32, i64::from(FNX_OK));
    segment.b.ins().jump(leave, &[ok.into()]);
    segment.b.switch_to_block(leave);
    let code = segment.b.block_params(leave)[0];
    segment.b.ins().return_(&[code]);
}

impl Bases {
    fn load(
        layout: &Layout,
        b: &mut FunctionBuilder<'_>,
        ptr: Type,
        [args, frame]: [Value; 2],
        words: usize,
        dispatch: FuncRef,
    ) -> Bases {
        let [inputs, outputs, weights, scratch] =
            [args_offset::INPUTS, args_offset::OUTPUTS, args_offset::WEIGHTS, args_offset::SCRATCH]
                .map(|offset| b.ins().load(ptr, MemFlagsData::trusted(), args, offset as i32));
        let arena = layout.size(b, scratch, layout.arena);
        let worker_base = b.ins().iadd(scratch, arena);
        let worker_base = b.ins().iadd_imm_s(worker_base, layout.head());
        let slot = StackSlotData::new(StackSlotKind::ExplicitSlot, 8 * words as u32, 4);
        let slot = b.create_sized_stack_slot(slot);
        let block = b.ins().stack_addr(ptr, slot, 0);
        let flag = b.ins().iadd_imm_s(frame, i64::from(frame::FLAG));
        Bases { args, inputs, outputs, weights, scratch, worker_base, frame, block, flag, dispatch }
    }
}

impl Segment<'_, '_> {
    fn size(&mut self, id: SizeId) -> Value {
        self.layout.size(self.b, self.bases.scratch, id)
    }

    /// The address of a place.
    fn place(&mut self, place: Place) -> Value {
        match place {
            Place::Input(n) => {
                self.b.ins().load(self.ptr, MemFlagsData::trusted(), self.bases.inputs, 8 * n as i32)
            }
            Place::Output(n) => {
                self.b.ins().load(self.ptr, MemFlagsData::trusted(), self.bases.outputs, 8 * n as i32)
            }
            Place::Variable(n) => {
                let at = frame::variable(self.program, n);
                self.b.ins().load(self.ptr, MemFlagsData::trusted(), self.bases.frame, at)
            }
            Place::Slice(n) => self.slice(n),
            Place::Weights(offset) => self.b.ins().iadd_imm_s(self.bases.weights, offset as i64),
            Place::Slot(n) => {
                let (offset, head) = (self.layout.slots[n as usize], self.layout.head());
                if let Some(offset) = self.layout.sizes.as_const(offset) {
                    return self.b.ins().iadd_imm_s(self.bases.scratch, head + offset);
                }
                let offset = self.size(offset);
                let slot = self.b.ins().iadd(self.bases.scratch, offset);
                self.b.ins().iadd_imm_s(slot, head)
            }
        }
    }

    fn fill_block(&mut self, block: BlockLayout, call: &Call, sizes: &CallSizes) {
        let flags = MemFlagsData::trusted();
        for (&place, i) in call.buffers.iter().zip(0..) {
            let address = self.place(place);
            self.b.ins().store(flags, address, self.bases.block, block.buffer(i));
        }
        for (&scalar, i) in sizes.scalars.iter().zip(0..) {
            let value = self.size(scalar);
            self.b.ins().store(flags, value, self.bases.block, block.scalar(i));
        }
        let stride = self.size(self.layout.stride);
        self.b.ins().store(flags, self.bases.worker_base, self.bases.block, block.worker_base());
        self.b.ins().store(flags, stride, self.bases.block, block.worker_stride());
        self.b.ins().store(flags, self.bases.flag, self.bases.block, block.flag());
    }

    fn dispatch(&mut self, kernel: FuncRef, sizes: &CallSizes, index: i64) {
        let kernel = self.b.ins().func_addr(self.ptr, kernel);
        let items = self.size(sizes.items);
        let work = self.size(sizes.work);
        let index = self.b.ins().iconst(I64, index);
        let call = self
            .b
            .ins()
            .call(self.bases.dispatch, &[self.bases.frame, kernel, self.bases.block, items, work, index]);
        self.leave_unless_ok(call);
    }

    /// Goes on in a new block if a call returned 0; else returns what it returned.
    fn leave_unless_ok(&mut self, call: Inst) {
        let code = self.b.inst_results(call)[0];
        let next = self.b.create_block();
        self.b.ins().brif(code, self.leave, &[code.into()], next, &[]);
        self.b.switch_to_block(next);
    }
}
