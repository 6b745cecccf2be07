//! Addresses, loads and stores.

use super::asm::{Mask, Mem, Source};
use super::codes::{self, Row};
use super::state::{Bank, Emission, MASK, SCRATCH};
use super::values::Class;
use fornax_ir::dtype::DType;
use fornax_ir::leaf::{Addr, Inst, Type, ValueId};
use iced_x86::{Code, Register};

/// Most masks of counts that are kept in registers.
const PARTS: usize = 3;
/// Bytes of a cache line.
const LINE: i64 = 64;

impl Emission<'_> {
    /// The memory operand of an address. It may take the scratch registers and that of pointers.
    pub fn address(&mut self, addr: &Addr) -> Mem {
        let mut base = self.pointer(addr.ptr);
        let mut index = Register::None;
        if let Some(n) = addr.int {
            let from = self.at(self.int(n));
            self.asm.rm(Code::Mov_r64_rm64, SCRATCH[0], from);
            index = SCRATCH[0];
        }
        if let Some(v) = addr.value {
            let from = self.word(v);
            let code = if addr.int.is_some() { Code::Add_r64_rm64 } else { Code::Mov_r64_rm64 };
            self.asm.rm(code, SCRATCH[0], from);
            index = SCRATCH[0];
        }
        let disp = addr.disp.wrapping_add(self.extra[addr.ptr as usize]);
        let disp = i32::try_from(disp).unwrap_or_else(|_| {
            self.asm.ri64(SCRATCH[1], disp);
            self.asm.rr(Code::Add_r64_rm64, SCRATCH[1], base);
            base = SCRATCH[1];
            0
        });
        Mem::At { base, index, disp }
    }

    /// The slot of a word.
    pub fn word(&self, v: ValueId) -> Mem {
        self.at(self.s.places[v as usize].slot.unwrap_or(0))
    }

    /// All lanes of a register from memory: neighbours, or one element.
    pub fn load_whole(&mut self, v: ValueId, to: Register, addr: &Addr, splat: bool) {
        let ty = self.values.types[v as usize];
        let class = self.class(v);
        if splat {
            return self.load_splat(class, to, addr, ty.dtype);
        }
        let row = match (class, ty.dtype) {
            (Class::Float, DType::F32) => codes::LOAD_F32,
            (Class::Float, _) => codes::LOAD_F64,
            (_, DType::I8) => codes::WIDEN_I8,
            (_, DType::U8) => codes::WIDEN_U8,
            (_, DType::I16) => codes::WIDEN_I16,
            (_, DType::U16) => codes::WIDEN_U16,
            (Class::Wide, d) if d.bytes() >= 4 => codes::LOAD,
            _ => return self.asm.refuse(format!("no load of {} lanes of {}", ty.lanes, ty.dtype)),
        };
        let mem = self.address(addr);
        self.asm.vec((row, self.form(class)), to, None, Source::Mem(mem), None, None);
    }

    fn load_splat(&mut self, class: Class, to: Register, addr: &Addr, dtype: DType) {
        let mem = self.address(addr);
        match (class, dtype.bytes()) {
            (Class::Wide, 4 | 8) => {
                let row = if dtype.bytes() == 4 { codes::SPLAT4 } else { codes::SPLAT8 };
                self.asm.vec((row, self.form(class)), to, None, Source::Mem(mem), None, None);
            }
            (Class::Float, 4) => {
                self.asm.vec((codes::LOAD_F32, self.form(class)), to, None, Source::Mem(mem), None, None);
            }
            (Class::Float, _) => {
                self.asm.vec((codes::LOAD_F64, self.form(class)), to, None, Source::Mem(mem), None, None);
            }
            _ => {
                self.load_word(dtype, mem);
                self.spread(class, to, dtype);
            }
        }
    }

    /// The word in the first scratch register in every lane.
    pub fn spread(&mut self, class: Class, to: Register, dtype: DType) {
        let rax = SCRATCH[0];
        if dtype == DType::Bool {
            self.asm.r(Code::Neg_rm64, rax);
        }
        if class == Class::Mask {
            return self.asm.rr(Code::VEX_Kmovq_kr_r64, to, rax);
        }
        let mem = self.at(self.stage);
        self.asm.mr(Code::Mov_rm64_r64, mem, rax);
        let row = if dtype.bytes() == 8 || dtype == DType::Bool { codes::SPLAT8 } else { codes::SPLAT4 };
        self.asm.vec((row, self.form(Class::Wide)), to, None, Source::Mem(mem), None, None);
    }

    /// Elements `by` apart.
    pub fn load_strided(&mut self, v: ValueId, addr: &Addr, by: i64, ty: Type) {
        if ty.lanes == 1 {
            return self.load(v, addr, false);
        }
        let lanes = i64::from(ty.lanes);
        let reach = i32::try_from(by.saturating_mul(lanes * 4)).is_ok();
        if ty.dtype.bytes() != 4 || self.class(v) != Class::Wide || !reach {
            return self.asm.refuse(format!("no strided load of {}", ty.dtype));
        }
        if self.f.wide && by == 2 {
            return self.load_pairs(v, addr, lanes);
        }
        let to = self.result(v, true);
        let index = self.temp(Class::Wide);
        let steps = (0..lanes).flat_map(|l| ((l * by) as i32).to_le_bytes()).collect();
        let steps = Mem::Pool(self.asm.constant(steps));
        let form = self.form(Class::Wide);
        self.asm.vec((codes::LOAD, form), index, None, Source::Mem(steps), None, None);
        let mem = self.address(addr);
        self.asm.rm(Code::Lea_r64_m, SCRATCH[0], mem);
        let code = codes::GATHER4.0[form.0];
        if self.f.wide {
            self.asm.rrr(Code::VEX_Kxnorw_kr_kr_kr, MASK, MASK, MASK);
            self.asm.gather(code, to, SCRATCH[0], index, MASK);
        } else {
            let all = self.temp(Class::Wide);
            self.asm.rrr(Code::VEX_Vpcmpeqd_ymm_ymm_ymmm256, all, all, all);
            self.asm.gather(code, to, SCRATCH[0], index, all);
        }
    }

    /// Every second element: of two registers that end with the last one.
    fn load_pairs(&mut self, v: ValueId, addr: &Addr, lanes: i64) {
        let to = self.result(v, true);
        let (near, far) = (self.temp(Class::Wide), self.temp(Class::Wide));
        let form = self.form(Class::Wide);
        let pick: Vec<u8> = (0..lanes)
            .map(|l| if 2 * l < lanes { 2 * l } else { 2 * l - (lanes - 1) + lanes })
            .flat_map(|l| (l as i32).to_le_bytes())
            .collect();
        let pick = Mem::Pool(self.asm.constant(pick));
        for (reg, skip) in [(near, 0), (far, 4 * (lanes - 1))] {
            let mem = self.address(&Addr { disp: addr.disp.wrapping_add(skip), ..*addr });
            self.asm.vec((codes::LOAD, form), reg, None, Source::Mem(mem), None, None);
        }
        // The index register of `vpermi2ps` is its destination; `vpermt2ps` overwrites the first table.
        let index = to;
        self.asm.vec((codes::LOAD, form), index, None, Source::Mem(pick), None, None);
        self.asm.vec((codes::PERMT2PS, form), near, Some(index), Source::Reg(far), None, None);
        self.copy(Class::Wide, to, near);
    }

    /// A load into the value's own register, or its slot.
    pub fn load(&mut self, v: ValueId, addr: &Addr, splat: bool) {
        if self.class(v) == Class::Word {
            let mem = self.address(addr);
            let dtype = self.values.types[v as usize].dtype;
            self.load_word(dtype, mem);
            let to = self.word(v);
            return self.asm.mr(Code::Mov_rm64_r64, to, SCRATCH[0]);
        }
        if self.values.folded[v as usize] {
            self.s.places[v as usize].load = Some((*addr, splat));
            return;
        }
        let to = self.result(v, true);
        if self.class(v) == Class::Mask && !splat {
            return self.asm.refuse("no load of bools");
        }
        self.load_whole(v, to, addr, splat);
    }

    /// Zeros where the condition is false.
    pub fn load_if(&mut self, v: ValueId, cond: ValueId, addr: &Addr) {
        if self.class(v) == Class::Word {
            let to = self.word(v);
            self.asm.mi(Code::Mov_rm64_imm32, to, 0);
            let skip = self.skip_unless(cond);
            self.load(v, addr, false);
            self.s.pointer = None;
            return self.asm.bind(skip);
        }
        if self.class(v) == Class::Mask {
            return self.asm.refuse("no load of bools");
        }
        let to = self.result(v, true);
        self.zero(to);
        let skip = self.skip_unless(cond);
        self.load_whole(v, to, addr, false);
        self.s.pointer = None;
        self.asm.bind(skip);
    }

    /// Lanes below a count.
    pub fn load_part(&mut self, v: ValueId, addr: &Addr, count: ValueId) {
        let ty = self.values.types[v as usize];
        if self.class(v) != Class::Wide || ty.dtype.bytes() < 4 {
            return self.asm.refuse(format!("no partial load of {}", ty.dtype));
        }
        let to = self.result(v, true);
        let form = self.form(Class::Wide);
        let wide = ty.dtype.bytes() == 8;
        if self.f.wide {
            let mask = self.part(count);
            let mem = self.address(addr);
            let row = if wide { codes::LOADPD } else { codes::LOAD };
            self.asm.vec((row, form), to, None, Source::Mem(mem), None, Some(Mask::Zero(mask)));
        } else {
            let mask = self.part_vector(count, ty);
            let mem = self.address(addr);
            let row = if wide { codes::MASK_LOAD8 } else { codes::MASK_LOAD4 };
            self.asm.rrm(row.0[form.0], to, mask, mem);
        }
    }

    /// The same for stores.
    pub fn store_part(&mut self, addr: &Addr, value: ValueId, count: ValueId) {
        let ty = self.values.types[value as usize];
        if self.class(value) != Class::Wide || ty.dtype.bytes() < 4 {
            return self.asm.refuse(format!("no partial store of {}", ty.dtype));
        }
        let from = self.reg(value);
        let form = self.form(Class::Wide);
        let wide = ty.dtype.bytes() == 8;
        if self.f.wide {
            let mask = self.part(count);
            let mem = self.address(addr);
            let row = if wide { codes::STOREPD } else { codes::STORE };
            self.asm.store((row, form), mem, from, Some(mask));
        } else {
            let mask = self.part_vector(count, ty);
            let mem = self.address(addr);
            let row = if wide { codes::MASK_STORE8 } else { codes::MASK_STORE4 };
            self.asm.mrr(row.0[form.0], mem, mask, from);
        }
    }

    /// The mask of the lanes below a count.
    fn part(&mut self, count: ValueId) -> Register {
        if let Some(&(_, mask)) = self.parts.iter().find(|p| p.0 == count) {
            return mask;
        }
        self.part_mask(count, MASK);
        MASK
    }

    /// The count, at least 0 and at most `lanes`, in the first scratch register.
    fn clamped(&mut self, count: ValueId, lanes: i32) {
        let [rax, rcx] = SCRATCH;
        let from = self.word(count);
        self.asm.rm(Code::Mov_r64_rm64, rax, from);
        self.asm.rr(Code::Xor_r64_rm64, rcx, rcx);
        self.asm.rr(Code::Test_rm64_r64, rax, rax);
        self.asm.rr(Code::Cmovl_r64_rm64, rax, rcx);
        self.asm.ri(Code::Mov_rm64_imm32, rcx, lanes);
        self.asm.rr(Code::Cmp_r64_rm64, rax, rcx);
        self.asm.rr(Code::Cmovg_r64_rm64, rax, rcx);
    }

    fn part_mask(&mut self, count: ValueId, mask: Register) {
        let [rax, rcx] = SCRATCH;
        // Registers have at most 64 lanes, and what is beyond a register's does not matter.
        self.clamped(count, 63);
        self.asm.ri(Code::Mov_rm64_imm32, rcx, -1);
        self.asm.rrr(Code::VEX_Bzhi_r64_rm64_r64, rcx, rcx, rax);
        self.asm.rr(Code::VEX_Kmovq_kr_r64, mask, rcx);
    }

    /// The same as a vector whose lanes' signs tell.
    fn part_vector(&mut self, count: ValueId, ty: Type) -> Register {
        let [rax, rcx] = SCRATCH;
        let (lanes, width) = (ty.lanes as i32, ty.dtype.bytes());
        let mask = self.temp(Class::Wide);
        self.clamped(count, lanes);
        if width == 4 {
            self.asm.rri(Code::Imul_r64_rm64_imm32, rax, rax, -4);
        } else {
            self.asm.rri(Code::Imul_r64_rm64_imm32, rax, rax, -8);
        }
        // As many ones as the register has bytes, then as many zeros.
        let mut table = vec![0xff; self.f.bytes];
        table.resize(2 * self.f.bytes, 0);
        let table = Mem::Pool(self.asm.constant(table));
        self.asm.rm(Code::Lea_r64_m, rcx, table);
        let mem = Mem::At { base: rcx, index: rax, disp: self.f.bytes as i32 };
        let form = self.form(Class::Wide);
        self.asm.vec((codes::LOAD, form), mask, None, Source::Mem(mem), None, None);
        mask
    }

    /// Masks of counts from `init` that later instructions use.
    pub fn part_masks(&mut self) {
        if !self.f.wide {
            return;
        }
        let leaf = self.leaf;
        for op in leaf.body.iter().chain(&leaf.finish) {
            let (Inst::LoadPart(_, count) | Inst::StorePart(_, _, count)) = op.inst else { continue };
            let known = self.parts.iter().any(|p| p.0 == count);
            if known || count >= leaf.first_carried() || self.parts.len() == PARTS {
                continue;
            }
            let n = 7 - self.parts.len();
            if let Some(v) = self.s.masks.held[n] {
                self.evict(Bank::Mask, n as u8, v);
            }
            self.s.masks.reserved[n] = true;
            let mask = Register::K0 + n as u32;
            self.part_mask(count, mask);
            self.parts.push((count, mask));
        }
    }

    /// All lanes to memory.
    pub fn store(&mut self, addr: &Addr, value: ValueId) {
        let (class, ty) = (self.class(value), self.values.types[value as usize]);
        match class {
            Class::Word => {
                let mem = self.address(addr);
                let from = self.word(value);
                self.asm.rm(Code::Mov_r64_rm64, SCRATCH[1], from);
                if matches!(mem, Mem::At { base, .. } if base == SCRATCH[1]) {
                    return self.asm.refuse("an address beyond 2 GB from its pointer");
                }
                match ty.dtype.bytes() {
                    1 => self.asm.mr(Code::Mov_rm8_r8, mem, Register::CL),
                    2 => self.asm.mr(Code::Mov_rm16_r16, mem, Register::CX),
                    4 => self.asm.mr(Code::Mov_rm32_r32, mem, Register::ECX),
                    _ => self.asm.mr(Code::Mov_rm64_r64, mem, SCRATCH[1]),
                }
            }
            Class::Wide if ty.dtype.bytes() >= 4 => {
                let from = self.reg(value);
                let mem = self.address(addr);
                self.asm.store((codes::STORE, self.form(class)), mem, from, None);
            }
            Class::Float => {
                let from = self.reg(value);
                let mem = self.address(addr);
                let row: Row = if ty.dtype == DType::F32 { codes::STORE_F32 } else { codes::STORE_F64 };
                self.asm.store((row, self.form(class)), mem, from, None);
            }
            _ => self.asm.refuse(format!("no store of {} lanes of {}", ty.lanes, ty.dtype)),
        }
    }

    /// Into the second-level cache. In unrolled rounds those that stay in the line asked for last are left out.
    pub fn prefetch(&mut self, addr: &Addr) {
        let plain = addr.int.is_none() && addr.value.is_none();
        let disp = addr.disp.wrapping_add(self.extra[addr.ptr as usize]);
        let last = self.asked.iter_mut().find(|a| a.0 == *addr);
        if let Some((_, last)) = last {
            if plain && (0..LINE).contains(&disp.wrapping_sub(*last)) {
                return;
            }
            *last = disp;
        } else {
            self.asked.push((*addr, disp));
        }
        let mem = self.address(addr);
        self.asm.m(Code::Prefetcht1_m8, mem);
    }

    /// An element, extended to 64 bits, into the first scratch register.
    pub fn load_word(&mut self, dtype: DType, mem: Mem) {
        let (code, to) = match dtype {
            DType::Bool | DType::U8 => (Code::Movzx_r64_rm8, SCRATCH[0]),
            DType::I8 => (Code::Movsx_r64_rm8, SCRATCH[0]),
            DType::U16 | DType::F16 | DType::BF16 => (Code::Movzx_r64_rm16, SCRATCH[0]),
            DType::I16 => (Code::Movsx_r64_rm16, SCRATCH[0]),
            DType::I32 => (Code::Movsxd_r64_rm32, SCRATCH[0]),
            DType::U32 | DType::F32 => (Code::Mov_r32_rm32, Register::EAX),
            DType::I64 | DType::U64 | DType::F64 => (Code::Mov_r64_rm64, SCRATCH[0]),
        };
        self.asm.rm(code, to, mem);
    }
}
