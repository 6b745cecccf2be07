//! Generated code never traps: the scan that holds it to that.
//!
//! An instruction is accepted if it cannot trap by its opcode, or
//! - it is a load or store marked as not trapping (addresses are right by construction);
//! - it is a division whose divisor is visibly positive: a constant, or a maximum with one;
//! - it is a call or a return.

use cranelift_codegen::ir::{Function, Inst, InstructionData, Opcode, Value, ValueDef};

/// The first instruction that might trap, as text.
#[must_use]
pub fn trapping_instruction(func: &Function) -> Option<String> {
    let blocks = func.layout.blocks();
    let mut insts = blocks.flat_map(|block| func.layout.block_insts(block));
    insts.find(|&inst| may_trap(func, inst)).map(|inst| func.dfg.display_inst(inst).to_string())
}

fn may_trap(func: &Function, inst: Inst) -> bool {
    let data = &func.dfg.insts[inst];
    let opcode = data.opcode();
    if let Some(flags) = data.memflags_data(&func.dfg)
        && (opcode.can_load() || opcode.can_store())
    {
        return flags.trap_code().is_some();
    }
    if !opcode.can_trap() || opcode.is_call() || opcode.is_return() {
        return false;
    }
    match (opcode, data) {
        (
            Opcode::Udiv | Opcode::Urem | Opcode::Sdiv | Opcode::Srem,
            InstructionData::Binary { args: [_, divisor], .. },
        ) => !positive(func, *divisor),
        _ => true,
    }
}

/// Whether the value is at least 1 by the very instruction that makes it.
fn positive(func: &Function, value: Value) -> bool {
    let ValueDef::Result(inst, _) = func.dfg.value_def(func.dfg.resolve_aliases(value)) else {
        return false;
    };
    match &func.dfg.insts[inst] {
        InstructionData::UnaryImm { opcode: Opcode::Iconst, imm } => imm.bits() > 0,
        InstructionData::Binary { opcode: Opcode::Umax | Opcode::Smax, args } => {
            args.iter().any(|&arg| positive(func, arg))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cranelift_codegen::ir::types::{F64, I64};
    use cranelift_codegen::ir::{AbiParam, InstBuilder, MemFlagsData, Signature, TrapCode, UserFuncName};
    use cranelift_codegen::isa::CallConv;
    use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};

    /// What the scan finds in a function of one pointer with this body.
    fn scan(body: impl FnOnce(&mut FunctionBuilder<'_>, Value) -> Value) -> Option<String> {
        let mut signature = Signature::new(CallConv::SystemV);
        signature.params.push(AbiParam::new(I64));
        signature.returns.push(AbiParam::new(I64));
        let mut func = Function::with_name_signature(UserFuncName::default(), signature);
        let mut context = FunctionBuilderContext::new();
        let mut b = FunctionBuilder::new(&mut func, &mut context);
        let block = b.create_block();
        b.append_block_params_for_function_params(block);
        b.switch_to_block(block);
        let x = b.block_params(block)[0];
        let result = body(&mut b, x);
        b.ins().return_(&[result]);
        b.seal_all_blocks();
        let target = crate::Target::host(crate::Cpu::Baseline).unwrap();
        b.finalize(target.isa.frontend_config());
        trapping_instruction(&func)
    }

    #[test]
    fn divisions_are_accepted_with_a_positive_divisor_only() {
        assert!(scan(|b, x| b.ins().udiv(x, x)).unwrap().contains("udiv"));
        let by_constant = |by| {
            move |b: &mut FunctionBuilder<'_>, x| {
                let by = b.ins().iconst(I64, by);
                b.ins().sdiv(x, by)
            }
        };
        assert!(scan(by_constant(0)).is_some() && scan(by_constant(-1)).is_some());
        assert_eq!(scan(by_constant(7)), None);
        let guarded = scan(|b, x| {
            let one = b.ins().iconst(I64, 1);
            let by = b.ins().umax(x, one);
            b.ins().urem(x, by)
        });
        assert_eq!(guarded, None);
    }

    #[test]
    fn loads_and_traps_are_told_apart() {
        assert_eq!(scan(|b, x| b.ins().load(I64, MemFlagsData::trusted(), x, 0)), None);
        let bits = scan(|b, x| {
            let bits = b.ins().bitcast(F64, MemFlagsData::new(), x);
            b.ins().bitcast(I64, MemFlagsData::new(), bits)
        });
        assert_eq!(bits, None);
        let checked = MemFlagsData::new().with_trap_code(Some(TrapCode::HEAP_OUT_OF_BOUNDS));
        assert!(scan(|b, x| b.ins().load(I64, checked, x, 0)).unwrap().contains("load"));
        let code = TrapCode::unwrap_user(1);
        let trap = scan(|b, x| {
            b.ins().trapz(x, code);
            x
        });
        assert!(trap.unwrap().contains("trapz"));
    }
}
