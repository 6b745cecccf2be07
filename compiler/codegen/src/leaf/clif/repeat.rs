//! Broadcasts that are loaded again for each multiply-add.
//!
//! x86-64's fused multiply-adds, as Cranelift selects them, overwrite a factor, and it broadcasts
//! from memory in one instruction only where the result has a single use. So a broadcast that
//! several multiply-adds share is best loaded once for each: through copies of its pointer, since
//! equal loads through one pointer would be merged again.

use super::Emission;
use cranelift_codegen::ir::{BlockArg, InstBuilder, Value};
use cranelift_frontend::FunctionBuilder;
use fornax_ir::kernel::Size;
use fornax_ir::leaf::{Addr, Inst, Op, PtrId, Type, ValueId};
use rustc_hash::FxHashMap;

/// Most copies of one pointer.
const COPIES: usize = 4;

/// The broadcasts of a body that are loaded again for each use.
#[derive(Default)]
pub(super) struct Repeated {
    /// Their addresses, types, and uses so far.
    splats: FxHashMap<ValueId, (Addr, Type, usize)>,
    /// For each pointer, how many copies it needs beside itself.
    wanted: Vec<usize>,
    /// The copies at their present positions.
    pub aliases: Vec<Vec<Value>>,
}

impl Repeated {
    /// Finds them in the emission's leaf.
    pub fn of(emission: &Emission<'_>) -> Self {
        let leaf = emission.call.leaf;
        let ptrs = leaf.ptrs.len();
        let mut found =
            Repeated { aliases: vec![Vec::new(); ptrs], wanted: vec![0; ptrs], ..Repeated::default() };
        if !(emission.f.x86 && emission.f.fma) {
            return found;
        }
        let mut uses: FxHashMap<ValueId, (usize, usize)> = FxHashMap::default();
        for op in &leaf.body {
            if let Inst::Fma(x, y, _) = op.inst {
                uses.entry(x).or_default().0 += 1;
                uses.entry(y).or_default().0 += 1;
            }
            super::super::for_each_operand(&op.inst, |v| uses.entry(v).or_default().1 += 1);
        }
        leaf.carried.iter().for_each(|c| uses.entry(c.next).or_default().1 += 1);
        for (i, op) in leaf.body.iter().enumerate() {
            let id = leaf.first_body() + i as ValueId;
            let (factors, all) = uses.get(&id).copied().unwrap_or_default();
            if let Inst::LoadSplat(addr) = op.inst {
                let p = addr.ptr as usize;
                if all == factors
                    && (2..=COPIES).contains(&all)
                    && emission.movable[p]
                    && addr.value.is_none()
                {
                    found.wanted[p] = found.wanted[p].max(all - 1);
                    found.splats.insert(id, (addr, op.ty, 0));
                }
            }
        }
        found
    }
    /// Whether there are any.
    pub fn any(&self) -> bool {
        !self.splats.is_empty()
    }
    /// Whether this instruction is one of them.
    pub fn holds(&self, op: &Op) -> bool {
        let Inst::LoadSplat(addr) = op.inst else { return false };
        self.splats.values().any(|s| s.0 == addr && s.1 == op.ty)
    }
    /// The bumped pointers that need copies, once for each copy.
    pub fn copies(&self, bumps: &[(PtrId, Size)]) -> Vec<(PtrId, Size)> {
        bumps.iter().flat_map(|&bump| std::iter::repeat_n(bump, self.wanted[bump.0 as usize])).collect()
    }
    /// Where the next use of the value loads it, and through which copy of its pointer (`None`: itself).
    pub fn next(&self, id: ValueId) -> Option<(Addr, Type, Option<Value>)> {
        let &(addr, ty, used) = self.splats.get(&id)?;
        let alias = used.checked_sub(1).and_then(|k| self.aliases[addr.ptr as usize].get(k));
        Some((addr, ty, alias.copied()))
    }
    /// Counts a use.
    pub fn used(&mut self, id: ValueId) {
        if let Some(splat) = self.splats.get_mut(&id) {
            splat.2 += 1;
        }
    }
    /// The copies' positions after a round, as arguments for the next one; forgets them.
    pub fn advance(
        &self,
        b: &mut FunctionBuilder<'_>,
        copied: &[(PtrId, Size)],
        mut step: impl FnMut(&mut FunctionBuilder<'_>, Size) -> Value,
        again: &mut Vec<BlockArg>,
    ) {
        let mut taken = vec![0; self.aliases.len()];
        for &(p, bytes) in copied {
            let at = self.aliases[p as usize][taken[p as usize]];
            taken[p as usize] += 1;
            let step = step(b, bytes);
            again.push(BlockArg::Value(b.ins().iadd(at, step)));
        }
    }
}
