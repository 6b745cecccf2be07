//! The body of `m_run`.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{I32, I64};
use cranelift_codegen::ir::{
    Block, FuncRef, InstBuilder, MemFlagsData, StackSlot, StackSlotData, StackSlotKind, Type, Value,
};
use cranelift_frontend::FunctionBuilder;
use cranelift_module::{FuncId, Module};
use fornax_runtime::abi::{
    ARGS_SIZE, CTX_SIZE, FNX_ABI, FNX_DIMS, FNX_INDEX, FNX_OK, args_offset, ctx_offset,
};

use super::code::frame;
use super::sizes::SizeId;
use super::{CallSizes, Layout};
use crate::block::BlockLayout;
use crate::program::{Call, Place, Program};

/// The functions that `m_run` calls.
pub(super) struct Callees<'a> {
    pub(super) prepare: Option<FuncId>,
    pub(super) dispatch: FuncId,
    /// One a kernel of the program.
    pub(super) kernels: &'a [FuncId],
}

/// `m_run` under construction.
struct Run<'a, 'b> {
    b: &'a mut FunctionBuilder<'b>,
    layout: &'a Layout,
    ptr: Type,
    args: Value,
    /// Shared with `dispatch`, see [`frame`].
    frame: StackSlot,
    /// The argument block of the current call.
    block: StackSlot,
    /// Returns its first parameter, an i32, after its second one has gone to `error_detail`.
    fail: Block,
    /// Returns its parameter, an i32.
    leave: Block,
}

/// What all calls use; one load or addition each, before the first call.
struct Bases {
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

/// Builds the body, see the list of steps in [`super`].
pub(super) fn body(
    program: &Program,
    layout: &Layout,
    callees: &Callees<'_>,
    module: &mut dyn Module,
    b: &mut FunctionBuilder<'_>,
) {
    let ptr = module.target_config().pointer_type();
    let words = program.calls.iter().map(|c| BlockLayout::of(&program.kernels[c.kernel]).words()).max();
    let mut slot =
        |bytes: u32| b.create_sized_stack_slot(StackSlotData::new(StackSlotKind::ExplicitSlot, bytes, 4));
    let (frame, block) = (slot(frame::BYTES), slot(8 * words.unwrap_or(1) as u32));
    let [entry, fail, leave] = [(); 3].map(|()| b.create_block());
    b.append_block_params_for_function_params(entry);
    b.append_block_param(fail, I32);
    b.append_block_param(fail, I64);
    b.append_block_param(leave, I32);
    b.switch_to_block(entry);
    let args = b.block_params(entry)[0];
    let mut run = Run { b, layout, ptr, args, frame, block, fail, leave };
    run.check_sizes_and_fill_frame();
    run.check_symbols(program);
    if let Some(prepare) = callees.prepare {
        let prepare = module.declare_func_in_func(prepare, run.b.func);
        run.prepare(prepare);
    }
    run.write_out_dims();
    let dispatch = module.declare_func_in_func(callees.dispatch, run.b.func);
    let bases = run.bases(dispatch);
    let kernels: Vec<FuncRef> =
        callees.kernels.iter().map(|&id| module.declare_func_in_func(id, run.b.func)).collect();
    for (i, (call, sizes)) in program.calls.iter().zip(&layout.calls).enumerate() {
        let block = BlockLayout::of(&program.kernels[call.kernel]);
        run.fill_block(&bases, block, call, sizes);
        run.dispatch(&bases, kernels[call.kernel], sizes, i as i64);
    }
    run.finish();
}

impl Run<'_, '_> {
    fn arg(&mut self, ty: Type, offset: usize) -> Value {
        self.b.ins().load(ty, MemFlagsData::trusted(), self.args, offset as i32)
    }

    fn code(&mut self, code: i32) -> Value {
        self.b.ins().iconst(I32, i64::from(code))
    }

    /// Goes on in a new block unless `condition`; then leaves with a constant code.
    fn leave_if(&mut self, condition: Value, code: i32) {
        let code = self.code(code);
        let next = self.b.create_block();
        self.b.ins().brif(condition, self.leave, &[code.into()], next, &[]);
        self.b.switch_to_block(next);
    }

    fn fill_frame(&mut self, value: Value, offset: i32) {
        self.b.ins().stack_store(self.ptr, value, self.frame, offset);
    }

    /// Steps 1: size prefixes; the frame's words, with neutral ones where there is no context.
    fn check_sizes_and_fill_frame(&mut self) {
        let flags = MemFlagsData::trusted();
        let size = self.arg(I32, args_offset::SIZE);
        let small = self.b.ins().icmp_imm_u(IntCC::UnsignedLessThan, size, i64::from(ARGS_SIZE));
        self.leave_if(small, FNX_ABI);
        let ctx = self.arg(self.ptr, args_offset::CTX);
        let (zero, one) = (self.b.ins().iconst(I64, 0), self.b.ins().iconst(I64, 1));
        let no_cancel = self.b.ins().stack_addr(self.ptr, self.frame, frame::ZERO);
        for offset in [frame::ZERO, frame::FLAG, frame::PARALLEL_FOR, frame::AFTER] {
            self.fill_frame(zero, offset);
        }
        self.fill_frame(ctx, frame::CTX);
        self.fill_frame(one, frame::THREADS);
        self.fill_frame(no_cancel, frame::CANCEL);
        let (given, next) = (self.b.create_block(), self.b.create_block());
        self.b.ins().brif(ctx, given, &[], next, &[]);

        self.b.switch_to_block(given);
        let size = self.b.ins().load(I32, flags, ctx, ctx_offset::SIZE as i32);
        let small = self.b.ins().icmp_imm_u(IntCC::UnsignedLessThan, size, i64::from(CTX_SIZE));
        self.leave_if(small, FNX_ABI);
        let threads = self.b.ins().load(I32, flags, ctx, ctx_offset::MAX_THREADS as i32);
        let threads = self.b.ins().uextend(I64, threads);
        let parallel_for = self.b.ins().load(self.ptr, flags, ctx, ctx_offset::PARALLEL_FOR as i32);
        let threads = self.b.ins().select(parallel_for, threads, one);
        let cancel = self.b.ins().load(self.ptr, flags, ctx, ctx_offset::CANCEL as i32);
        let cancel = self.b.ins().select(cancel, cancel, no_cancel);
        let after = self.b.ins().load(self.ptr, flags, ctx, ctx_offset::AFTER_KERNEL as i32);
        self.fill_frame(threads, frame::THREADS);
        self.fill_frame(parallel_for, frame::PARALLEL_FOR);
        self.fill_frame(cancel, frame::CANCEL);
        self.fill_frame(after, frame::AFTER);
        self.b.ins().jump(next, &[]);
        self.b.switch_to_block(next);
    }

    /// Step 2.
    fn check_symbols(&mut self, program: &Program) {
        if program.symbols.is_empty() {
            return;
        }
        let dims = self.arg(self.ptr, args_offset::DIMS);
        for (i, symbol) in program.symbols.iter().enumerate() {
            let value = self.b.ins().load(I64, MemFlagsData::trusted(), dims, 8 * i as i32);
            let mut wrong = self.b.ins().icmp_imm_s(IntCC::SignedLessThan, value, symbol.lo);
            if let Some(hi) = symbol.hi {
                let above = self.b.ins().icmp_imm_s(IntCC::SignedGreaterThan, value, hi);
                wrong = self.b.ins().bor(wrong, above);
            }
            let code = self.code(FNX_DIMS);
            let detail = self.b.ins().iconst(I64, (program.messages.len() + i) as i64);
            let next = self.b.create_block();
            self.b.ins().brif(wrong, self.fail, &[code.into(), detail.into()], next, &[]);
            self.b.switch_to_block(next);
        }
    }

    /// Step 3.
    fn prepare(&mut self, prepare: FuncRef) {
        let (dims, scratch) =
            (self.arg(self.ptr, args_offset::DIMS), self.arg(self.ptr, args_offset::SCRATCH));
        let call = self.b.ins().call(prepare, &[dims, scratch]);
        let packed = self.b.inst_results(call)[0];
        let (bad, next) = (self.b.create_block(), self.b.create_block());
        self.b.set_cold_block(bad);
        self.b.ins().brif(packed, bad, &[], next, &[]);
        self.b.switch_to_block(bad);
        let code = self.b.ins().band_imm_u(packed, 0xff);
        let code = self.b.ins().ireduce(I32, code);
        let detail = self.b.ins().sshr_imm_u(packed, 8);
        self.b.ins().jump(self.fail, &[code.into(), detail.into()]);
        self.b.switch_to_block(next);
    }

    /// Step 4.
    fn write_out_dims(&mut self) {
        if self.layout.out_dims.is_empty() {
            return;
        }
        let scratch = self.arg(self.ptr, args_offset::SCRATCH);
        let out = self.arg(self.ptr, args_offset::OUT_DIMS);
        let (write, next) = (self.b.create_block(), self.b.create_block());
        self.b.ins().brif(out, write, &[], next, &[]);
        self.b.switch_to_block(write);
        for i in 0..self.layout.out_dims.len() {
            let value = self.size(scratch, self.layout.out_dims[i]);
            self.b.ins().store(MemFlagsData::trusted(), value, out, 8 * i as i32);
        }
        self.b.ins().jump(next, &[]);
        self.b.switch_to_block(next);
    }

    /// A size: a constant, or what `prepare` stored.
    fn size(&mut self, scratch: Value, id: SizeId) -> Value {
        if let Some(value) = self.layout.sizes.as_const(id) {
            return self.b.ins().iconst(I64, value);
        }
        let index = self.layout.stored.binary_search(&id).unwrap_or_default();
        self.b.ins().load(I64, MemFlagsData::trusted(), scratch, 8 * index as i32)
    }

    fn bases(&mut self, dispatch: FuncRef) -> Bases {
        let [inputs, outputs, weights, scratch] =
            [args_offset::INPUTS, args_offset::OUTPUTS, args_offset::WEIGHTS, args_offset::SCRATCH]
                .map(|offset| self.arg(self.ptr, offset));
        let arena = self.size(scratch, self.layout.arena);
        let worker_base = self.b.ins().iadd(scratch, arena);
        let worker_base = self.b.ins().iadd_imm_s(worker_base, self.layout.head());
        let frame = self.b.ins().stack_addr(self.ptr, self.frame, 0);
        let block = self.b.ins().stack_addr(self.ptr, self.block, 0);
        let flag = self.b.ins().stack_addr(self.ptr, self.frame, frame::FLAG);
        Bases { inputs, outputs, weights, scratch, worker_base, frame, block, flag, dispatch }
    }

    /// The address of a place.
    fn place(&mut self, bases: &Bases, place: Place) -> Value {
        match place {
            Place::Input(n) => {
                self.b.ins().load(self.ptr, MemFlagsData::trusted(), bases.inputs, 8 * n as i32)
            }
            Place::Output(n) => {
                self.b.ins().load(self.ptr, MemFlagsData::trusted(), bases.outputs, 8 * n as i32)
            }
            Place::Weights(offset) => self.b.ins().iadd_imm_s(bases.weights, offset as i64),
            Place::Slot(n) => {
                let (offset, head) = (self.layout.slots[n as usize], self.layout.head());
                if let Some(offset) = self.layout.sizes.as_const(offset) {
                    return self.b.ins().iadd_imm_s(bases.scratch, head + offset);
                }
                let offset = self.size(bases.scratch, offset);
                let slot = self.b.ins().iadd(bases.scratch, offset);
                self.b.ins().iadd_imm_s(slot, head)
            }
        }
    }

    fn fill_block(&mut self, bases: &Bases, block: BlockLayout, call: &Call, sizes: &CallSizes) {
        let flags = MemFlagsData::trusted();
        for (&place, i) in call.buffers.iter().zip(0..) {
            let address = self.place(bases, place);
            self.b.ins().store(flags, address, bases.block, block.buffer(i));
        }
        for (&scalar, i) in sizes.scalars.iter().zip(0..) {
            let value = self.size(bases.scratch, scalar);
            self.b.ins().store(flags, value, bases.block, block.scalar(i));
        }
        let stride = self.size(bases.scratch, self.layout.stride);
        self.b.ins().store(flags, bases.worker_base, bases.block, block.worker_base());
        self.b.ins().store(flags, stride, bases.block, block.worker_stride());
        self.b.ins().store(flags, bases.flag, bases.block, block.flag());
    }

    fn dispatch(&mut self, bases: &Bases, kernel: FuncRef, sizes: &CallSizes, index: i64) {
        let kernel = self.b.ins().func_addr(self.ptr, kernel);
        let items = self.size(bases.scratch, sizes.items);
        let work = self.size(bases.scratch, sizes.work);
        let index = self.b.ins().iconst(I64, index);
        let call = self.b.ins().call(bases.dispatch, &[bases.frame, kernel, bases.block, items, work, index]);
        let code = self.b.inst_results(call)[0];
        let next = self.b.create_block();
        self.b.ins().brif(code, self.leave, &[code.into()], next, &[]);
        self.b.switch_to_block(next);
    }

    /// Step 6, and the two ways out.
    fn finish(&mut self) {
        let flags = MemFlagsData::trusted();
        let flag = self.b.ins().stack_load(self.ptr, I64, self.frame, frame::FLAG);
        let detail = self.b.ins().iadd_imm_s(flag, -1);
        let (ok, index) = (self.code(FNX_OK), self.code(FNX_INDEX));
        self.b.ins().brif(flag, self.fail, &[index.into(), detail.into()], self.leave, &[ok.into()]);

        self.b.set_cold_block(self.fail);
        self.b.switch_to_block(self.fail);
        let (code, detail) = (self.b.block_params(self.fail)[0], self.b.block_params(self.fail)[1]);
        let to = self.arg(self.ptr, args_offset::ERROR_DETAIL);
        let store = self.b.create_block();
        self.b.set_cold_block(store);
        self.b.ins().brif(to, store, &[], self.leave, &[code.into()]);
        self.b.switch_to_block(store);
        self.b.ins().store(flags, detail, to, 0);
        self.b.ins().jump(self.leave, &[code.into()]);

        self.b.switch_to_block(self.leave);
        let code = self.b.block_params(self.leave)[0];
        self.b.ins().return_(&[code]);
    }
}
