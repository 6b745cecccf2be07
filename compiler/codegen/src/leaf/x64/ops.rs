//! One instruction of a leaf.

use super::asm::{Mask, Mem, Source};
use super::codes::{self, Row};
use super::state::{Emission, MASK, SCRATCH, number};
use super::values::Class;
use fornax_ir::dtype::DType;
use fornax_ir::kernel::Size;
use fornax_ir::leaf::{Inst, Op, Type, ValueId};
use fornax_ir::scalar::{ReduceOp, Scalar};
use iced_x86::{Code, Register};

impl Emission<'_> {
    /// Emits it. `v` is its number.
    pub fn op(&mut self, v: ValueId, op: &Op) {
        let ty = op.ty;
        match &op.inst {
            Inst::Const(scalar) => self.define_constant(v, *scalar, ty),
            // Words of the block.
            Inst::Int(_) | Inst::Counter(_) => {}
            Inst::Load(addr) => self.load(v, addr, false),
            Inst::LoadSplat(addr) => self.load(v, addr, true),
            Inst::LoadStrided(addr, by) => self.load_strided(v, addr, *by, ty),
            Inst::LoadIf(cond, addr) => self.load_if(v, *cond, addr),
            Inst::LoadPart(addr, count) => self.load_part(v, addr, *count),
            Inst::StorePart(addr, value, count) => self.store_part(addr, *value, *count),
            Inst::Store(addr, value) => self.store(addr, *value),
            Inst::Prefetch(addr) => self.prefetch(addr),
            Inst::Splat(a) => self.splat(v, *a, ty),
            Inst::Ramp(a) => self.ramp(v, *a, ty),
            Inst::Pack(lanes) => self.pack(v, lanes, ty),
            Inst::Interleave(a, b, upper) => self.interleave(v, *a, *b, *upper),
            Inst::Lane(a, k) => self.lane(v, *a, *k, ty),
            Inst::Horizontal(reduce, a) => self.horizontal(v, *reduce, *a),
            Inst::Raise(cond, detail) => self.raise(*cond, *detail),
            Inst::Bitcast(a) => self.bitcast(v, *a),
            Inst::If(..) => {}
            _ if self.on_words(v, op) => self.word_op(v, op),
            Inst::Unary(o, a) => self.unary(v, *o, *a),
            Inst::Binary(o, a, b) => self.binary(v, *o, *a, *b),
            Inst::Compare(o, a, b) => self.compare(v, *o, *a, *b),
            Inst::Select(c, a, b) => self.select(v, *c, *a, *b),
            Inst::Cast(a) => self.cast(v, *a, ty),
            Inst::Scale(a, n) => self.scale(v, *a, *n),
            Inst::Fma(a, b, c) => self.fma(v, [*a, *b, *c]),
        }
    }

    /// Whether the operands and the result are words.
    fn on_words(&self, v: ValueId, op: &Op) -> bool {
        let mut all = self.class(v) == Class::Word;
        crate::leaf::for_each_operand(&op.inst, |a| all &= self.class(a) == Class::Word);
        all
    }

    fn define_constant(&mut self, v: ValueId, scalar: Scalar, ty: Type) {
        match self.class(v) {
            Class::Word => {
                let to = self.word(v);
                match i32::try_from(scalar.as_i64()) {
                    Ok(n) => self.asm.mi(Code::Mov_rm64_imm32, to, n),
                    Err(_) => {
                        self.asm.ri64(SCRATCH[0], scalar.as_i64());
                        self.asm.mr(Code::Mov_rm64_r64, to, SCRATCH[0]);
                    }
                }
            }
            class => {
                self.s.places[v as usize].constant = Some(scalar);
                if self.hints[v as usize].is_some_and(|h| h.1.is_none()) {
                    let to = self.result(v, true);
                    self.constant(class, to, scalar, ty);
                }
            }
        }
    }

    /// Row by width of the lanes.
    pub fn by_width(&self, v: ValueId, four: Row, eight: Row) -> Row {
        if self.values.types[v as usize].dtype.bytes() == 8 { eight } else { four }
    }

    fn fma(&mut self, v: ValueId, [mut a, mut b, c]: [ValueId; 3]) {
        let class = self.class(v);
        if !self.values.types[v as usize].dtype.is_float() {
            return self.asm.refuse("no multiply-add of integers");
        }
        let form = self.form(class);
        let (add, multiply) = (
            self.by_width(v, codes::FMADD231PS, codes::FMADD231PD),
            self.by_width(v, codes::FMADD213PS, codes::FMADD213PD),
        );
        let lies = |e: &Self, x: ValueId| e.s.places[x as usize].reg.is_some();
        // The one that may be memory comes last.
        if !lies(self, a) && lies(self, b) || self.s.places[a as usize].load.is_some() {
            (a, b) = (b, a);
        }
        if lies(self, c) && self.overwrites(c, v).is_some() {
            let first = self.reg(a);
            let to = self.reg(c);
            let last = self.source(b);
            self.asm.vec((add, form), to, Some(first), last, None, None);
            self.rename(c, v);
            return;
        }
        for (x, y) in [(a, b), (b, a)] {
            if lies(self, x) && self.overwrites(x, v).is_some() && self.hints[v as usize].is_none() {
                let to = self.reg(x);
                let second = self.reg(y);
                let last = self.source(c);
                self.asm.vec((multiply, form), to, Some(second), last, None, None);
                self.rename(x, v);
                return;
            }
        }
        let first = self.reg(a);
        let to = self.result(v, true);
        self.fill(c, to);
        let last = self.source(b);
        self.asm.vec((add, form), to, Some(first), last, None, None);
    }

    /// The register of a dying operand is now the result's.
    fn rename(&mut self, from: ValueId, to: ValueId) {
        if let Some(n) = self.s.places[from as usize].reg {
            self.bound(to, n);
        }
    }

    fn splat(&mut self, v: ValueId, a: ValueId, ty: Type) {
        let class = self.class(v);
        if ty.lanes == 1 {
            return self.same(v, a);
        }
        if self.class(a) == Class::Float {
            let from = self.reg(a);
            let from = self.named(Class::Float, number(from) as u8);
            let to = self.result(v, false);
            let row = self.by_width(v, codes::SPLAT4_REG, codes::SPLAT8_REG);
            return self.asm.vec((row, self.form(class)), to, None, Source::Reg(from), None, None);
        }
        let to = self.result(v, true);
        let word = self.word(a);
        self.asm.rm(Code::Mov_r64_rm64, SCRATCH[0], word);
        self.spread(class, to, ty.dtype);
    }

    /// The operand as another value.
    pub fn same(&mut self, v: ValueId, a: ValueId) {
        match self.class(v) {
            Class::Word => {
                let (from, to) = (self.word(a), self.word(v));
                self.asm.rm(Code::Mov_r64_rm64, SCRATCH[0], from);
                self.asm.mr(Code::Mov_rm64_r64, to, SCRATCH[0]);
            }
            class => {
                if let Some(scalar) = self.s.places[a as usize].constant {
                    self.s.places[v as usize].constant =
                        Some(Scalar::new(self.values.types[v as usize].dtype, scalar.bits));
                    return;
                }
                if self.overwrites(a, v).is_some() && class != Class::Mask {
                    return self.rename(a, v);
                }
                let from = self.reg(a);
                let to = self.result(v, false);
                self.copy(class, to, from);
            }
        }
    }

    fn ramp(&mut self, v: ValueId, a: ValueId, ty: Type) {
        if self.class(v) != Class::Wide || !matches!(ty.dtype, DType::I32 | DType::I64) {
            return self.asm.refuse("no ramp of that width");
        }
        let to = self.result(v, true);
        let word = self.word(a);
        let form = self.form(Class::Wide);
        let narrow = ty.dtype == DType::I32;
        let (splat, add) = if narrow { (codes::SPLAT4, codes::PADDD) } else { (codes::SPLAT8, codes::PADDQ) };
        self.asm.vec((splat, form), to, None, Source::Mem(word), None, None);
        let bytes = |l: i64| l.to_le_bytes().into_iter().take(ty.dtype.bytes());
        let steps = (0..i64::from(ty.lanes)).flat_map(bytes).collect();
        let steps = Mem::Pool(self.asm.constant(steps));
        self.asm.vec((add, form), to, Some(to), Source::Mem(steps), None, None);
    }

    /// Through the block: one lane after the other, then all of them.
    fn pack(&mut self, v: ValueId, lanes: &[ValueId], ty: Type) {
        if let [one] = lanes {
            return self.same(v, *one);
        }
        if ty.dtype == DType::Bool {
            return self.pack_bools(v, lanes);
        }
        let width = ty.dtype.bytes();
        if self.class(v) != Class::Wide || width < 4 {
            return self.asm.refuse(format!("no packing of {}", ty.dtype));
        }
        for (k, &lane) in lanes.iter().enumerate() {
            let mem = self.at(self.stage + (k * width) as i32);
            if self.class(lane) == Class::Float {
                let from = self.reg(lane);
                let row = if width == 4 { codes::STORE_F32 } else { codes::STORE_F64 };
                self.asm.store((row, self.form(Class::Float)), mem, from, None);
                self.unlock(from);
            } else {
                let word = self.word(lane);
                self.asm.rm(Code::Mov_r64_rm64, SCRATCH[0], word);
                match width {
                    4 => self.asm.mr(Code::Mov_rm32_r32, mem, Register::EAX),
                    _ => self.asm.mr(Code::Mov_rm64_r64, mem, SCRATCH[0]),
                }
            }
        }
        let to = self.result(v, true);
        let mem = self.at(self.stage);
        self.asm.vec((codes::LOAD, self.form(Class::Wide)), to, None, Source::Mem(mem), None, None);
    }

    /// The bits of a mask register, the last lane first; else all bits of each lane.
    fn pack_bools(&mut self, v: ValueId, lanes: &[ValueId]) {
        let to = self.result(v, true);
        let [rax, bits] = SCRATCH;
        if self.class(v) == Class::Mask {
            self.asm.ri(Code::Mov_rm64_imm32, bits, 0);
            for &lane in lanes.iter().rev() {
                let word = self.word(lane);
                self.asm.rr(Code::Add_r64_rm64, bits, bits);
                self.asm.rm(Code::Mov_r64_rm64, rax, word);
                self.asm.rr(Code::Or_r64_rm64, bits, rax);
            }
            return self.asm.rr(Code::VEX_Kmovq_kr_r64, to, bits);
        }
        let width = self.f.bytes / lanes.len();
        for (k, &lane) in lanes.iter().enumerate() {
            let word = self.word(lane);
            self.asm.rm(Code::Mov_r64_rm64, rax, word);
            self.asm.ri(Code::Mov_rm64_imm32, bits, 0);
            self.asm.rr(Code::Sub_r64_rm64, bits, rax);
            let mem = self.at(self.stage + (k * width) as i32);
            match width {
                4 => self.asm.mr(Code::Mov_rm32_r32, mem, Register::ECX),
                _ => self.asm.mr(Code::Mov_rm64_r64, mem, bits),
            }
        }
        let mem = self.at(self.stage);
        self.asm.vec((codes::LOAD, self.form(Class::Wide)), to, None, Source::Mem(mem), None, None);
    }

    fn interleave(&mut self, v: ValueId, a: ValueId, b: ValueId, upper: bool) {
        let ty = self.values.types[v as usize];
        if self.class(v) != Class::Wide || ty.dtype.bytes() != 4 {
            return self.asm.refuse(format!("no interleaving of {}", ty.dtype));
        }
        let form = self.form(Class::Wide);
        let (x, y) = (self.reg(a), self.reg(b));
        let to = self.result(v, true);
        if self.f.wide {
            // The destination of `vpermi2ps` begins as the index; from 16 on it means the second table.
            let first = if upper { 8 } else { 0 };
            let pick = (0..16i32).flat_map(|l| (first + l / 2 + 16 * (l % 2)).to_le_bytes()).collect();
            let pick = Mem::Pool(self.asm.constant(pick));
            self.asm.vec((codes::LOAD, form), to, None, Source::Mem(pick), None, None);
            return self.asm.vec((codes::PERMI2PS, form), to, Some(x), Source::Reg(y), None, None);
        }
        // Both halves of each 128 bits, of which the lower or upper 128 bits are joined.
        let high = self.temp(Class::Wide);
        self.asm.vec((codes::UNPCKLPS, form), to, Some(x), Source::Reg(y), None, None);
        self.asm.vec((codes::UNPCKHPS, form), high, Some(x), Source::Reg(y), None, None);
        let halves = if upper { 0x31 } else { 0x20 };
        self.asm.vec((codes::HALVES, form), to, Some(to), Source::Reg(high), Some(halves), None);
    }

    fn unlock(&mut self, reg: Register) {
        self.s.vectors.locked[number(reg)] = false;
    }

    fn lane(&mut self, v: ValueId, a: ValueId, k: u32, ty: Type) {
        let from = self.values.types[a as usize];
        match self.class(a) {
            _ if from.lanes == 1 => self.same(v, a),
            Class::Mask => {
                let mask = self.reg(a);
                self.asm.rri(Code::VEX_Kshiftrq_kr_kr_imm8, MASK, mask, k as i32);
                self.asm.rr(Code::VEX_Kmovq_r64_kr, SCRATCH[0], MASK);
                self.asm.ri(Code::And_rm64_imm32, SCRATCH[0], 1);
                let to = self.word(v);
                self.asm.mr(Code::Mov_rm64_r64, to, SCRATCH[0]);
            }
            _ => {
                // Narrow integers and bools have the width of their register's lanes.
                let width = self.f.bytes as u32 / from.lanes;
                let slot = match self.s.places[a as usize].slot {
                    Some(slot) => slot,
                    None => {
                        let reg = self.reg(a);
                        let slot = self.slot(Class::Wide);
                        self.save(Class::Wide, slot, reg);
                        self.s.places[a as usize].slot = Some(slot);
                        slot
                    }
                };
                let mem = self.at(slot + (k * width) as i32);
                if self.class(v) == Class::Float {
                    let to = self.result(v, true);
                    let row = if width == 4 { codes::LOAD_F32 } else { codes::LOAD_F64 };
                    let form = self.form(Class::Float);
                    return self.asm.vec((row, form), to, None, Source::Mem(mem), None, None);
                }
                self.load_word(ty.dtype, mem);
                if ty.dtype == DType::Bool {
                    self.asm.ri(Code::And_rm64_imm32, SCRATCH[0], 1);
                }
                let to = self.word(v);
                self.asm.mr(Code::Mov_rm64_r64, to, SCRATCH[0]);
            }
        }
    }

    /// Halves combined, then quarters, and so on: at full width, with the upper part brought down.
    fn horizontal(&mut self, v: ValueId, reduce: ReduceOp, a: ValueId) {
        let ty = self.values.types[a as usize];
        if ty.lanes == 1 {
            return self.same(v, a);
        }
        if self.class(a) != Class::Wide || ty.dtype.bytes() < 4 {
            return self.asm.refuse(format!("no horizontal reduction of {}", ty.dtype));
        }
        let form = self.form(Class::Wide);
        let from = self.reg(a);
        let all = self.temp(Class::Wide);
        let upper = self.temp(Class::Wide);
        self.copy(Class::Wide, all, from);
        let combine = crate::tile::build::combiner(reduce, ty.dtype);
        let mut bytes = self.f.bytes;
        while bytes > ty.dtype.bytes() {
            let (row, imm, two) = match bytes {
                64 => (codes::HALVES, 0x4e, true),
                32 if self.f.wide => (codes::HALVES, 0xb1, true),
                32 => (codes::HALVES, 0x01, true),
                16 => (codes::PSHUFD, 0x4e, false),
                _ => (codes::PSHUFD, 0xb1, false),
            };
            let first = two.then_some(all);
            self.asm.vec((row, form), upper, first, Source::Reg(all), Some(imm), None);
            self.arithmetic(combine, ty.dtype, Class::Wide, all, all, upper);
            bytes /= 2;
        }
        if self.class(v) == Class::Word {
            let low = self.named(Class::Float, number(all) as u8);
            let code = codes::TO_GPR.0[self.form(Class::Float).0];
            self.asm.rr(code, SCRATCH[0], low);
            self.canonical(ty.dtype);
            let to = self.word(v);
            return self.asm.mr(Code::Mov_rm64_r64, to, SCRATCH[0]);
        }
        let to = self.result(v, true);
        let low = self.named(Class::Float, number(all) as u8);
        self.copy(Class::Float, to, low);
    }

    fn raise(&mut self, cond: ValueId, detail: Size) {
        let [rax, rcx] = SCRATCH;
        let skip = self.skip_unless(cond);
        match detail {
            Size::Const(n) => self.asm.ri64(rax, n),
            Size::Arg(n) => {
                let from = self.at(self.int(n));
                self.asm.rm(Code::Mov_r64_rm64, rax, from);
            }
        }
        self.asm.ri(Code::Add_rm64_imm32, rax, 1);
        let flag = self.at(self.flag());
        self.asm.rm(Code::Mov_r64_rm64, rcx, flag);
        let flag = Mem::At { base: rcx, index: Register::None, disp: 0 };
        self.asm.mr(Code::Mov_rm64_r64, flag, rax);
        self.asm.bind(skip);
    }

    fn bitcast(&mut self, v: ValueId, a: ValueId) {
        let form = self.form(Class::Float);
        let (from, to) = (self.values.types[a as usize].dtype, self.values.types[v as usize].dtype);
        match (self.class(a), self.class(v)) {
            (Class::Word, Class::Word) => {
                let word = self.word(a);
                self.asm.rm(Code::Mov_r64_rm64, SCRATCH[0], word);
                self.canonical(to);
                let word = self.word(v);
                self.asm.mr(Code::Mov_rm64_r64, word, SCRATCH[0]);
            }
            (Class::Word, Class::Float) => {
                let result = self.result(v, true);
                let word = self.word(a);
                let row = if to.bytes() == 4 { codes::LOAD_F32 } else { codes::LOAD_F64 };
                self.asm.vec((row, form), result, None, Source::Mem(word), None, None);
            }
            (Class::Float, Class::Word) => {
                let reg = self.reg(a);
                self.asm.rr(codes::TO_GPR.0[form.0], SCRATCH[0], reg);
                self.canonical(to);
                let word = self.word(v);
                self.asm.mr(Code::Mov_rm64_r64, word, SCRATCH[0]);
            }
            (Class::Wide, Class::Wide) if from.bytes() < 4 && from != to => {
                self.asm.refuse("no bitcast of narrow integers");
            }
            _ => self.same(v, a),
        }
    }

    /// Lanes of `yes` where the mask or the vector `cond` is set, else of `no`.
    pub fn blend(&mut self, v: ValueId, to: Register, cond: Register, yes: Register, no: Register) {
        let class = self.class(v);
        let eight = self.values.types[v as usize].dtype.bytes() == 8;
        let form = self.form(class);
        if self.f.wide {
            let row = if eight { codes::PBLENDMQ } else { codes::PBLENDMD };
            self.asm.vec((row, form), to, Some(no), Source::Reg(yes), None, Some(Mask::Merge(cond)));
        } else {
            let row = if eight { codes::BLENDVPD } else { codes::BLENDVPS };
            self.asm.blend((row, form), to, no, yes, cond);
        }
    }
}
