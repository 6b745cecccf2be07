//! The functions around kernels, but for `m_run` itself: declarations, signatures, `prepare`,
//! `dispatch`, `m_scratch_bytes`, `m_abi_version`.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{I32, I64};
use cranelift_codegen::ir::{
    AbiParam, FuncRef, Function, InstBuilder, MemFlagsData, Signature, Type, UserFuncName, Value,
};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use cranelift_module::{FuncId, Linkage, Module};
use fornax_runtime::abi::{ABI_VERSION, FNX_CANCELLED, FNX_DIMS, FNX_OK, FNX_SHAPE};

use super::sizes::{Emitter, floor_div_body};
use super::{GuardSizes, Layout, SHARE_SHIFT, run, segment};
use crate::block::ScratchLayout;
use crate::error::{Error, LinkError};
use crate::program::{GuardKind, Program, Step};

/// The entry points in a module.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EntryIds {
    pub(crate) run: FuncId,
    pub(crate) scratch_bytes: FuncId,
    pub(crate) abi_version: FuncId,
}

/// A function that is built but not compiled.
pub(crate) struct Unit {
    pub(crate) id: FuncId,
    pub(crate) name: String,
    pub(crate) func: Function,
}

/// What `prepare` returns: 0, or a code in the low byte and a detail above it.
pub(super) fn packed(code: i32, detail: i64) -> i64 {
    i64::from(code) | detail << 8
}

/// Word offsets in the frame that `m_run` shares with `dispatch`, bytes.
pub(super) mod frame {
    use crate::program::Program;

    /// The context, or NULL.
    pub(in super::super) const CTX: i32 = 0;
    /// Threads to fork to: 1 if there is no context or it has no `parallel_for`.
    pub(in super::super) const THREADS: i32 = 8;
    /// `parallel_for`.
    pub(in super::super) const PARALLEL_FOR: i32 = 16;
    /// Address of the cancel word, never NULL.
    pub(in super::super) const CANCEL: i32 = 24;
    /// `after_kernel`, or NULL.
    pub(in super::super) const AFTER: i32 = 32;
    /// A word that stays 0: the cancel word of runs without one.
    pub(in super::super) const ZERO: i32 = 40;
    /// The error flag of kernels: detail + 1.
    pub(in super::super) const FLAG: i32 = 48;
    /// The counters of scans, then the variables of loops, 8 bytes each.
    const LOOPS: i32 = 56;

    /// A scan's counter.
    pub(in super::super) fn counter(n: u32) -> i32 {
        LOOPS + 8 * n as i32
    }
    /// A loop's variable.
    pub(in super::super) fn variable(program: &Program, n: u32) -> i32 {
        counter(program.counters + n)
    }
    /// Size of the frame.
    pub(in super::super) fn bytes(program: &Program) -> u32 {
        variable(program, program.variables) as u32
    }
}

/// The functions of a program besides its kernels, on their way into a module.
pub(super) struct Functions<'m> {
    pub(super) module: &'m mut dyn Module,
    scratch: FunctionBuilderContext,
    units: Vec<Unit>,
}

impl Functions<'_> {
    pub(super) fn signature(&self, params: &[Type], result: Option<Type>) -> Signature {
        let mut signature = self.module.make_signature();
        signature.params.extend(params.iter().map(|&t| AbiParam::new(t)));
        signature.returns.extend(result.map(AbiParam::new));
        signature
    }

    /// Declares a function.
    fn declare(&mut self, name: &str, linkage: Linkage, signature: &Signature) -> Result<FuncId, LinkError> {
        Ok(self.module.declare_function(name, linkage, signature)?)
    }

    /// Builds the body of a declared function.
    fn build<R>(
        &mut self,
        id: FuncId,
        body: impl FnOnce(&mut dyn Module, &mut FunctionBuilder<'_>) -> R,
    ) -> R {
        let decl = self.module.declarations().get_function_decl(id);
        let name = decl.linkage_name(id).into_owned();
        let signature = decl.signature.clone();
        let mut func = Function::with_name_signature(UserFuncName::user(0, id.as_u32()), signature);
        let config = self.module.target_config();
        let mut b = FunctionBuilder::new(&mut func, &mut self.scratch);
        let result = body(self.module, &mut b);
        b.seal_all_blocks();
        b.finalize(config);
        self.units.push(Unit { id, name, func });
        result
    }
}

/// Declares and builds every function of the program but the kernels, which are declared already:
/// `kernels[i]` is the function of `program.kernels[i]`, and `scratch[i]` what it needs.
pub(crate) fn define(
    program: &Program,
    kernels: &[FuncId],
    scratch: &[&ScratchLayout],
    module: &mut dyn Module,
) -> Result<(EntryIds, Vec<Unit>), Error> {
    let malformed = |source| Error::Program { program: program.name.clone(), source };
    let layout = Layout::of(program, scratch).map_err(malformed)?;
    let mut functions = Functions { module, scratch: FunctionBuilderContext::new(), units: Vec::new() };
    let entry = functions
        .define_all(program, &layout, kernels)
        .map_err(|source| Error::Link { program: program.name.clone(), source })?;
    Ok((entry, functions.units))
}

impl Functions<'_> {
    fn define_all(
        &mut self,
        program: &Program,
        layout: &Layout,
        kernels: &[FuncId],
    ) -> Result<EntryIds, LinkError> {
        let ptr = self.module.target_config().pointer_type();
        let signature = self.signature(&[], Some(I32));
        let abi_version = self.declare("m_abi_version", Linkage::Export, &signature)?;
        self.build(abi_version, |_, b| {
            let block = b.create_block();
            b.switch_to_block(block);
            let version = b.ins().iconst(I32, i64::from(ABI_VERSION));
            b.ins().return_(&[version]);
        });
        let divide = self.floor_div(layout)?;
        let signature = self.signature(&[ptr, I32], Some(ptr));
        let scratch_bytes = self.declare("m_scratch_bytes", Linkage::Export, &signature)?;
        self.build(scratch_bytes, |module, b| scratch_bytes_body(layout, divide, module, b));
        let prepare = self.prepare(program, layout, divide)?;
        let signature = self.signature(&[ptr, ptr, ptr, I64, I64, I64], Some(I32));
        let dispatch = self.declare("dispatch", Linkage::Local, &signature)?;
        let kernel_signature = self.signature(&[ptr, I64, I64, I32], None);
        let parallel_for = self.signature(&[ptr, ptr, ptr, I64, I32], None);
        let after_kernel = self.signature(&[ptr, I32], None);
        self.build(dispatch, |_, b| {
            dispatch_body(b, [kernel_signature, parallel_for, after_kernel]);
        });
        let callees = segment::Callees { dispatch, kernels };
        let segments = self.segments(program, layout, &callees, &program.steps)?;
        let signature = self.signature(&[ptr], Some(I32));
        let run = self.declare("m_run", Linkage::Export, &signature)?;
        let callees = run::Callees { prepare, segments: &segments };
        self.build(run, |module, b| run::body(program, layout, &callees, module, b));
        Ok(EntryIds { run, scratch_bytes, abi_version })
    }

    /// The functions that run these steps, in order; those of steps inside come before.
    fn segments(
        &mut self,
        program: &Program,
        layout: &Layout,
        callees: &segment::Callees<'_>,
        steps: &[Step],
    ) -> Result<Vec<FuncId>, LinkError> {
        let ptr = self.module.target_config().pointer_type();
        let signature = self.signature(&[ptr, ptr], Some(I32));
        let mut segments = Vec::new();
        for steps in steps.chunks(segment::STEPS) {
            let mut inner = Vec::with_capacity(steps.len());
            for step in steps {
                let blocks = step.blocks().into_iter();
                let blocks = blocks.map(|block| self.segments(program, layout, callees, block));
                inner.push(blocks.collect::<Result<Vec<_>, _>>()?);
            }
            let name = format!("steps_{}", self.units.len());
            let id = self.declare(&name, Linkage::Local, &signature)?;
            let chunk = segment::Chunk { steps, inner: &inner };
            self.build(id, |module, b| segment::body(program, layout, &chunk, callees, module, b));
            segments.push(id);
        }
        Ok(segments)
    }

    /// The function that divides by what is not constant, if the program needs it.
    fn floor_div(&mut self, layout: &Layout) -> Result<Option<FuncId>, LinkError> {
        let quotients = layout.guards.iter().filter_map(|g| g.quotient);
        let guards = layout.guards.iter().flat_map(|g| [g.lhs, g.rhs]).chain(quotients);
        let others = layout.stored.iter().chain(&layout.tensors).chain(&layout.counts).copied();
        let roots: Vec<_> = guards.chain(others).collect();
        if !layout.sizes.divides(&roots) {
            return Ok(None);
        }
        let signature = self.signature(&[I64, I64], Some(I64));
        let id = self.declare("floor_div", Linkage::Local, &signature)?;
        self.build(id, |_, b| floor_div_body(b));
        Ok(Some(id))
    }

    /// `prepare(dims, values) -> packed`, if there is anything to prepare.
    fn prepare(
        &mut self,
        program: &Program,
        layout: &Layout,
        divide: Option<FuncId>,
    ) -> Result<Option<FuncId>, LinkError> {
        let constant = |id: &_| layout.sizes.as_const(*id).is_some_and(|c| c >= 0);
        if layout.guards.is_empty() && layout.stored.is_empty() && layout.counts.iter().all(constant) {
            return Ok(None);
        }
        let ptr = self.module.target_config().pointer_type();
        let signature = self.signature(&[ptr, ptr], Some(I64));
        let id = self.declare("prepare", Linkage::Local, &signature)?;
        let overflow = (program.messages.len() + program.symbols.len()) as i64;
        self.build(id, |module, b| prepare_body(layout, overflow, divide, module, b));
        Ok(Some(id))
    }
}

fn import(module: &mut dyn Module, b: &mut FunctionBuilder<'_>, id: Option<FuncId>) -> Option<FuncRef> {
    id.map(|id| module.declare_func_in_func(id, b.func))
}

fn scratch_bytes_body(
    layout: &Layout,
    divide: Option<FuncId>,
    module: &mut dyn Module,
    b: &mut FunctionBuilder<'_>,
) {
    let block = b.create_block();
    b.append_block_params_for_function_params(block);
    b.switch_to_block(block);
    let (dims, threads) = (b.block_params(block)[0], b.block_params(block)[1]);
    let divide = import(module, b, divide);
    let mut emitter = Emitter::new(&layout.sizes, b, dims, divide);
    for &tensor in &layout.tensors {
        emitter.refuse_negative(b, tensor);
    }
    for &count in &layout.counts {
        emitter.refuse_negative(b, count);
    }
    let (arena, stride) = (emitter.value(b, layout.arena), emitter.value(b, layout.stride));
    let threads = b.ins().uextend(I64, threads);
    let one = b.ins().iconst(I64, 1);
    let threads = b.ins().umax(threads, one);
    let workers = emitter.mul(b, stride, threads);
    let head = b.ins().iconst(I64, layout.head());
    let fixed = emitter.add(b, head, arena);
    let total = emitter.add(b, fixed, workers);
    let overflow = b.ins().iconst(I64, -1);
    let bytes = b.ins().select(emitter.fault(), overflow, total);
    b.ins().return_(&[bytes]);
}

fn prepare_body(
    layout: &Layout,
    overflow: i64,
    divide: Option<FuncId>,
    module: &mut dyn Module,
    b: &mut FunctionBuilder<'_>,
) {
    let block = b.create_block();
    b.append_block_params_for_function_params(block);
    b.switch_to_block(block);
    let (dims, out) = (b.block_params(block)[0], b.block_params(block)[1]);
    let divide = import(module, b, divide);
    let mut emitter = Emitter::new(&layout.sizes, b, dims, divide);
    let stop = b.create_block();
    b.append_block_param(stop, I64);
    b.set_cold_block(stop);
    for guard in &layout.guards {
        let fails = guard_fails(&mut emitter, b, guard);
        let next = b.create_block();
        let result = b.ins().iconst(I64, packed(FNX_SHAPE, guard.message));
        b.ins().brif(fails, stop, &[result.into()], next, &[]);
        b.switch_to_block(next);
    }
    for &count in &layout.counts {
        emitter.refuse_negative(b, count);
    }
    for (i, &id) in layout.stored.iter().enumerate() {
        let value = emitter.value(b, id);
        b.ins().store(MemFlagsData::trusted(), value, out, 8 * i as i32);
    }
    let zero = b.ins().iconst(I64, packed(FNX_OK, 0));
    let wrong = b.ins().iconst(I64, packed(FNX_DIMS, overflow));
    let result = b.ins().select(emitter.fault(), wrong, zero);
    b.ins().return_(&[result]);
    b.switch_to_block(stop);
    let result = b.block_params(stop)[0];
    b.ins().return_(&[result]);
}

/// i8: nonzero where the guard does not hold.
fn guard_fails(emitter: &mut Emitter<'_>, b: &mut FunctionBuilder<'_>, guard: &GuardSizes) -> Value {
    let (lhs, rhs) = (emitter.value(b, guard.lhs), emitter.value(b, guard.rhs));
    match (guard.kind, guard.quotient) {
        (GuardKind::Le, _) => b.ins().icmp(IntCC::SignedGreaterThan, lhs, rhs),
        (GuardKind::Divides, Some(quotient)) => {
            let quotient = emitter.value(b, quotient);
            let product = b.ins().imul(quotient, lhs);
            let rest = b.ins().icmp(IntCC::NotEqual, product, rhs);
            let senseless = b.ins().icmp_imm_s(IntCC::SignedLessThan, lhs, 1);
            b.ins().bor(rest, senseless)
        }
        _ => b.ins().icmp(IntCC::NotEqual, lhs, rhs),
    }
}

/// `dispatch(frame, kernel, block, items, work, call) -> code`: one call of a kernel.
fn dispatch_body(b: &mut FunctionBuilder<'_>, [kernel_sig, parallel_sig, after_sig]: [Signature; 3]) {
    let [entry, poll, fork, serial, done, tell, out, cancelled] = [(); 8].map(|()| b.create_block());
    b.append_block_params_for_function_params(entry);
    b.switch_to_block(entry);
    let &[frame, kernel, block, items, work, call] = b.block_params(entry) else { return };
    let ptr = b.func.dfg.value_type(frame);
    let flags = MemFlagsData::trusted();
    let cancel = b.ins().load(ptr, flags, frame, frame::CANCEL);
    let cancel = b.ins().load(I32, flags, cancel, 0);
    b.set_cold_block(cancelled);
    b.ins().brif(cancel, cancelled, &[], poll, &[]);

    b.switch_to_block(poll);
    let threads = b.ins().load(I64, flags, frame, frame::THREADS);
    let shares = b.ins().sshr_imm_u(work, SHARE_SHIFT);
    let most = b.ins().smin(threads, shares);
    let least = b.ins().smin(most, items);
    let forks = b.ins().icmp_imm_s(IntCC::SignedGreaterThan, least, 1);
    b.ins().brif(forks, fork, &[], serial, &[]);

    b.switch_to_block(fork);
    let ctx = b.ins().load(ptr, flags, frame, frame::CTX);
    let parallel_for = b.ins().load(ptr, flags, frame, frame::PARALLEL_FOR);
    let sig = b.import_signature(parallel_sig);
    let most = b.ins().ireduce(I32, most);
    b.ins().call_indirect(sig, parallel_for, &[ctx, kernel, block, items, most]);
    b.ins().jump(done, &[]);

    b.switch_to_block(serial);
    let (begin, worker) = (b.ins().iconst(I64, 0), b.ins().iconst(I32, 0));
    let sig = b.import_signature(kernel_sig);
    b.ins().call_indirect(sig, kernel, &[block, begin, items, worker]);
    b.ins().jump(done, &[]);

    b.switch_to_block(done);
    let after = b.ins().load(ptr, flags, frame, frame::AFTER);
    b.ins().brif(after, tell, &[], out, &[]);
    b.switch_to_block(tell);
    let ctx = b.ins().load(ptr, flags, frame, frame::CTX);
    let call = b.ins().ireduce(I32, call);
    let sig = b.import_signature(after_sig);
    b.ins().call_indirect(sig, after, &[ctx, call]);
    b.ins().jump(out, &[]);
    b.switch_to_block(out);
    let ok = b.ins().iconst(I32, i64::from(FNX_OK));
    b.ins().return_(&[ok]);
    b.switch_to_block(cancelled);
    let code = b.ins().iconst(I32, i64::from(FNX_CANCELLED));
    b.ins().return_(&[code]);
}
