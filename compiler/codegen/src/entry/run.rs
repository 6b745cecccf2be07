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

use super::Layout;
use super::code::frame;
use crate::program::Program;

/// The functions that `m_run` calls.
pub(super) struct Callees<'a> {
    pub(super) prepare: Option<FuncId>,
    /// The steps, see [`super::segment`].
    pub(super) segments: &'a [FuncId],
}

/// `m_run` under construction.
struct Run<'a, 'b> {
    b: &'a mut FunctionBuilder<'b>,
    layout: &'a Layout,
    ptr: Type,
    args: Value,
    /// Shared with `dispatch`, see [`frame`].
    frame: StackSlot,
    /// Returns its first parameter, an i32, after its second one has gone to `error_detail`.
    fail: Block,
    /// Returns its parameter, an i32.
    leave: Block,
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
    let bytes = frame::bytes(program);
    let slot = StackSlotData::new(StackSlotKind::ExplicitSlot, bytes, 4);
    let frame = b.create_sized_stack_slot(slot);
    let [entry, fail, leave] = [(); 3].map(|()| b.create_block());
    b.append_block_params_for_function_params(entry);
    b.append_block_param(fail, I32);
    b.append_block_param(fail, I64);
    b.append_block_param(leave, I32);
    b.switch_to_block(entry);
    let args = b.block_params(entry)[0];
    let mut run = Run { b, layout, ptr, args, frame, fail, leave };
    run.check_sizes_and_fill_frame();
    run.check_symbols(program);
    if let Some(prepare) = callees.prepare {
        let prepare = module.declare_func_in_func(prepare, run.b.func);
        run.prepare(prepare);
    }
    run.write_out_dims();
    for &segment in callees.segments {
        let segment = module.declare_func_in_func(segment, run.b.func);
        run.segment(segment);
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
            let value = self.layout.size(self.b, scratch, self.layout.out_dims[i]);
            self.b.ins().store(MemFlagsData::trusted(), value, out, 8 * i as i32);
        }
        self.b.ins().jump(next, &[]);
        self.b.switch_to_block(next);
    }

    /// Step 5, for some of the steps.
    fn segment(&mut self, segment: FuncRef) {
        let frame = self.b.ins().stack_addr(self.ptr, self.frame, 0);
        let call = self.b.ins().call(segment, &[self.args, frame]);
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
