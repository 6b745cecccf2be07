//! Which register holds which value, and what lies in the block.

use super::Features;
use super::asm::{Asm, Form, Mask, Mem, Source};
use super::codes;
use super::values::{Class, Values};
use fornax_ir::leaf::verify::Block;
use fornax_ir::leaf::{Addr, Inst, ValueId};
use fornax_ir::scalar::Scalar;
use iced_x86::{Code, Register};

/// Registers of the block's address and for addresses and integers that live for one instruction.
pub(super) const BLOCK: Register = Register::RDI;
pub(super) const SCRATCH: [Register; 2] = [Register::RAX, Register::RCX];
/// Holds the pointer used last among those that have no register.
pub(super) const POINTER: Register = Register::RDX;
/// Pointers and the innermost counter.
pub(super) const LASTING: [Register; 5] =
    [Register::RSI, Register::R8, Register::R9, Register::R10, Register::R11];
/// Masks that live for one instruction, or between two that belong together.
pub(super) const MASK: Register = Register::K1;

/// The number of a vector or mask register.
pub(super) fn number(reg: Register) -> usize {
    let first = match reg {
        r if r.is_k() => Register::K0,
        r if r.is_zmm() => Register::ZMM0,
        r if r.is_ymm() => Register::YMM0,
        _ => Register::XMM0,
    };
    reg as usize - first as usize
}

/// A register file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Bank {
    Vector,
    Mask,
}

/// Where a value that was computed is.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Where {
    /// Number of its register.
    pub reg: Option<u8>,
    /// Offset in the block.
    pub slot: Option<i32>,
    /// All lanes are this.
    pub constant: Option<Scalar>,
    /// Read where it is used.
    pub load: Option<(Addr, bool)>,
}

/// The registers of a file.
#[derive(Clone, Debug)]
pub(super) struct File {
    /// What each holds.
    pub held: Vec<Option<ValueId>>,
    /// Kept for values that live across rounds.
    pub reserved: Vec<bool>,
    /// Needed by the present instruction.
    pub locked: Vec<bool>,
}

impl File {
    pub fn new(count: usize, unusable: usize) -> File {
        let reserved = (0..count).map(|r| r < unusable).collect();
        File { held: vec![None; count], reserved, locked: vec![false; count] }
    }
}

/// The state of all values at a point of the code.
#[derive(Clone)]
pub(super) struct State {
    pub places: Vec<Where>,
    pub vectors: File,
    pub masks: File,
    /// The pointer in [`POINTER`].
    pub pointer: Option<u32>,
}

/// A leaf being encoded.
pub(super) struct Emission<'l> {
    pub leaf: &'l fornax_ir::leaf::Leaf,
    pub f: Features,
    pub values: Values,
    pub asm: Asm,
    pub s: State,
    pub block: Block,
    /// The present instruction of the block.
    pub at: u32,
    /// Registers of pointers that have one.
    pub pointers: Vec<Option<Register>>,
    /// Constant bytes added to pointers.
    pub extra: Vec<i64>,
    /// The block's size so far, and slots that are free again.
    pub size: i32,
    pub free: Vec<i32>,
    /// Slots taken since the round began.
    pub taken: Vec<i32>,
    /// Where each pointer's present position is kept, if not in a register.
    pub positions: Vec<i32>,
    /// Counters that the body reads.
    pub counters: Vec<i32>,
    /// Where a vector is put to reach its lanes.
    pub stage: i32,
    /// Registers that a value should be computed in, and the carried value whose home they are.
    pub hints: Vec<Option<(u8, Option<ValueId>)>>,
    /// The places asked for since the present loop's rounds began: address, and displacement in the round that did.
    pub asked: Vec<(Addr, i64)>,
    /// Masks of counts that live as long as the leaf.
    pub parts: Vec<(ValueId, Register)>,
}

impl Emission<'_> {
    /// The register of that number, as wide as values of the class.
    pub fn named(&self, class: Class, n: u8) -> Register {
        let from = match class {
            Class::Mask => Register::K0,
            Class::Wide if self.f.wide => Register::ZMM0,
            Class::Wide => Register::YMM0,
            _ => Register::XMM0,
        };
        from + u32::from(n)
    }

    /// The form of instructions on the class.
    pub fn form(&self, class: Class) -> Form {
        Form(2 * usize::from(self.f.wide) + usize::from(class == Class::Wide))
    }

    pub fn class(&self, v: ValueId) -> Class {
        self.values.classes[v as usize]
    }

    fn file(&mut self, bank: Bank) -> &mut File {
        match bank {
            Bank::Vector => &mut self.s.vectors,
            Bank::Mask => &mut self.s.masks,
        }
    }

    /// Bytes of the block.
    pub fn reserve(&mut self, bytes: usize) -> i32 {
        let at = self.size;
        self.size += bytes as i32;
        at
    }

    pub fn at(&self, slot: i32) -> Mem {
        Mem::At { base: BLOCK, index: Register::None, disp: slot }
    }

    /// A slot for a value of the class.
    pub fn slot(&mut self, class: Class) -> i32 {
        match class {
            Class::Wide | Class::Float => {
                let slot = self.free.pop().unwrap_or_else(|| self.reserve(self.f.bytes));
                self.taken.push(slot);
                slot
            }
            Class::Mask | Class::Word => self.reserve(8),
        }
    }

    /// Moves a register to a slot.
    pub fn save(&mut self, class: Class, slot: i32, reg: Register) {
        let mem = self.at(slot);
        match class {
            Class::Mask => self.asm.mr(Code::VEX_Kmovq_m64_kr, mem, reg),
            _ => self.asm.store((codes::STORE, self.form(class)), mem, reg, None),
        }
    }

    fn restore(&mut self, class: Class, reg: Register, slot: i32) {
        let mem = self.at(slot);
        match class {
            Class::Mask => self.asm.rm(Code::VEX_Kmovq_kr_km64, reg, mem),
            _ => self.asm.vec((codes::LOAD, self.form(class)), reg, None, Source::Mem(mem), None, None),
        }
    }

    /// Copies between registers of the class.
    pub fn copy(&mut self, class: Class, to: Register, from: Register) {
        if to == from {
            return;
        }
        match class {
            Class::Mask => self.asm.rr(Code::VEX_Kmovq_kr_km64, to, from),
            _ => self.asm.vec((codes::MOVE, self.form(class)), to, None, Source::Reg(from), None, None),
        }
    }

    /// A free register, locked until the instruction is done; what it held is kept in the block.
    pub fn temp(&mut self, class: Class) -> Register {
        let bank = if class == Class::Mask { Bank::Mask } else { Bank::Vector };
        let n = self.take(bank);
        self.file(bank).locked[n as usize] = true;
        self.named(class, n)
    }

    fn take(&mut self, bank: Bank) -> u8 {
        let file = self.file(bank);
        let usable = |r: &usize| !file.reserved[*r] && !file.locked[*r];
        if let Some(n) = (0..file.held.len()).find(|r| usable(r) && file.held[*r].is_none()) {
            return n as u8;
        }
        let candidates: Vec<(usize, ValueId)> =
            (0..file.held.len()).filter(usable).filter_map(|r| Some((r, file.held[r]?))).collect();
        let (block, at) = (self.block, self.at);
        let farthest = candidates.into_iter().max_by_key(|&(r, v)| {
            (self.values.next_use(block, v, at).map_or(u64::MAX, u64::from), std::cmp::Reverse(r))
        });
        let Some((n, v)) = farthest else {
            self.asm.refuse("an instruction needs more registers than there are");
            return 0;
        };
        self.evict(bank, n as u8, v);
        n as u8
    }

    /// Frees a register; its value is kept in the block if it is nowhere else.
    pub fn evict(&mut self, bank: Bank, n: u8, v: ValueId) {
        let place = self.s.places[v as usize];
        if place.slot.is_none() && place.constant.is_none() && place.load.is_none() {
            let class = self.class(v);
            let slot = self.slot(class);
            self.save(class, slot, self.named(class, n));
            self.s.places[v as usize].slot = Some(slot);
        }
        self.s.places[v as usize].reg = None;
        self.file(bank).held[n as usize] = None;
    }

    /// The register of a value, loaded if need be, locked until the instruction is done.
    pub fn reg(&mut self, v: ValueId) -> Register {
        let class = self.class(v);
        let bank = if class == Class::Mask { Bank::Mask } else { Bank::Vector };
        let n = match self.s.places[v as usize].reg {
            Some(n) => n,
            None => {
                let n = self.take(bank);
                self.file(bank).locked[n as usize] = true;
                let to = self.named(class, n);
                self.fill(v, to);
                self.s.places[v as usize].reg = Some(n);
                self.file(bank).held[n as usize] = Some(v);
                n
            }
        };
        self.file(bank).locked[n as usize] = true;
        self.named(class, n)
    }

    /// Brings a value that is in no register into one.
    pub fn fill(&mut self, v: ValueId, to: Register) {
        let (class, place) = (self.class(v), self.s.places[v as usize]);
        if let Some(n) = place.reg {
            let from = self.named(class, n);
            self.copy(class, to, from);
        } else if let Some(constant) = place.constant {
            let ty = self.values.types[v as usize];
            self.constant(class, to, constant, ty);
        } else if let Some((addr, splat)) = place.load {
            self.load_whole(v, to, &addr, splat);
        } else if let Some(slot) = place.slot {
            self.restore(class, to, slot);
        } else {
            self.asm.refuse("a value that is nowhere");
        }
    }

    /// A value as the last operand: its register, or memory.
    pub fn source(&mut self, v: ValueId) -> Source {
        let place = self.s.places[v as usize];
        if place.reg.is_some() || self.class(v) != Class::Wide {
            return Source::Reg(self.reg(v));
        }
        if let Some(constant) = place.constant.filter(|c| c.dtype.bytes() >= 4) {
            let number = self.pool(constant);
            return if self.f.wide {
                Source::Splat(Mem::Pool(number))
            } else {
                Source::Mem(Mem::Pool(number))
            };
        }
        match place {
            Where { load: Some((addr, true)), .. } => Source::Splat(self.address(&addr)),
            Where { load: Some((addr, false)), .. } => Source::Mem(self.address(&addr)),
            Where { slot: Some(slot), .. } => Source::Mem(self.at(slot)),
            _ => Source::Reg(self.reg(v)),
        }
    }

    /// A constant in memory: one element, or as many as fill a register where memory is not broadcast.
    pub fn pool(&mut self, constant: Scalar) -> usize {
        let width = constant.dtype.bytes();
        let one = &constant.bits.to_le_bytes()[..width];
        let times = if self.f.wide { 1 } else { self.f.bytes / width };
        self.asm.constant(one.repeat(times))
    }

    /// Whether nothing needs the value behind the present instruction.
    pub fn dies(&self, v: ValueId) -> bool {
        self.values.next_use(self.block, v, self.at + 1).is_none()
    }

    /// The register for the result of the present instruction. With `early` it is written before all operands
    /// are read.
    pub fn result(&mut self, v: ValueId, early: bool) -> Register {
        let class = self.class(v);
        let bank = if class == Class::Mask { Bank::Mask } else { Bank::Vector };
        if let Some(n) = self.hinted(v, early) {
            self.file(bank).locked[n as usize] = true;
            return self.bound(v, n);
        }
        if !early {
            self.release();
        }
        let n = self.take(bank);
        self.file(bank).locked[n as usize] = true;
        self.bound(v, n)
    }

    /// The register that the value should end in, if it is free by now.
    fn hinted(&self, v: ValueId, early: bool) -> Option<u8> {
        let (n, owner) = self.hints[v as usize]?;
        let from = if early { self.at } else { self.at + 1 };
        let taken = owner.is_some_and(|o| {
            self.s.places[o as usize].reg == Some(n) && self.values.next_use(self.block, o, from).is_some()
        });
        let other = self.s.vectors.held[n as usize];
        let foreign = other.is_some_and(|o| Some(o) != owner && o != v);
        (!taken && !foreign).then_some(n)
    }

    /// Makes a register the value's.
    pub fn bound(&mut self, v: ValueId, n: u8) -> Register {
        let class = self.class(v);
        let bank = if class == Class::Mask { Bank::Mask } else { Bank::Vector };
        if let Some(old) = self.file(bank).held[n as usize].replace(v)
            && old != v
        {
            self.s.places[old as usize].reg = None;
        }
        self.s.places[v as usize].reg = Some(n);
        self.named(class, n)
    }

    /// Whether a dying operand's register may be overwritten by the result `v`.
    pub fn overwrites(&self, operand: ValueId, v: ValueId) -> Option<u8> {
        let n = self.s.places[operand as usize].reg?;
        let own = self.hints[v as usize].map(|h| h.0);
        let kept = self.s.vectors.reserved[n as usize] && own != Some(n);
        let elsewhere = own.is_some_and(|o| o != n) && self.hinted(v, false).is_some();
        (self.dies(operand) && !kept && !elsewhere && self.class(operand) == self.class(v)).then_some(n)
    }

    /// Frees the registers of values that the present instruction used last.
    fn release(&mut self) {
        for bank in [Bank::Vector, Bank::Mask] {
            for n in 0..self.file(bank).held.len() {
                let Some(v) = self.file(bank).held[n] else { continue };
                if self.dies(v) && !self.file(bank).reserved[n] {
                    self.file(bank).held[n] = None;
                    self.file(bank).locked[n] = false;
                    self.s.places[v as usize].reg = None;
                }
            }
        }
    }

    /// Frees the slots of values of this block, which begins with `first`, that the present instruction used last.
    pub fn recycle(&mut self, first: ValueId, inst: &Inst) {
        crate::leaf::for_each_operand(inst, |v| {
            let vector = matches!(self.class(v), Class::Wide | Class::Float);
            if v >= first && vector && self.dies(v) {
                self.free.extend(self.s.places[v as usize].slot.take());
            }
        });
    }

    /// Ends the present instruction.
    pub fn done(&mut self) {
        self.release();
        self.unlock_all();
    }

    /// Registers of the present instruction may be taken again.
    pub fn unlock_all(&mut self) {
        self.s.vectors.locked.fill(false);
        self.s.masks.locked.fill(false);
    }

    /// Puts a constant into a register.
    pub fn constant(&mut self, class: Class, to: Register, constant: Scalar, ty: fornax_ir::leaf::Type) {
        match class {
            Class::Mask => {
                let all = constant.bits != 0;
                let code = if all { Code::VEX_Kxnorq_kr_kr_kr } else { Code::VEX_Kxorq_kr_kr_kr };
                self.asm.rrr(code, to, to, to);
            }
            _ if constant.bits == 0 => self.zero(to),
            _ if constant.dtype.bytes() < 4 => {
                let bits = if ty.dtype == fornax_ir::dtype::DType::Bool { -1 } else { constant.as_i64() };
                let wide = Scalar::new(fornax_ir::dtype::DType::I32, bits as u64);
                self.constant(class, to, wide, ty);
            }
            _ => {
                let number = self.pool(constant);
                let row = if constant.dtype.bytes() == 4 { codes::SPLAT4 } else { codes::SPLAT8 };
                self.asm.vec((row, self.form(class)), to, None, Source::Mem(Mem::Pool(number)), None, None);
            }
        }
    }

    /// All bits zero.
    pub fn zero(&mut self, to: Register) {
        let n = number(to) as u32;
        match n {
            0..16 => {
                let x = Register::XMM0 + n;
                self.asm.rrr(Code::VEX_Vpxor_xmm_xmm_xmmm128, x, x, x);
            }
            _ => {
                let z = Register::ZMM0 + n;
                self.asm.vec((codes::PXOR, Form(3)), z, Some(z), Source::Reg(z), None, None);
            }
        }
    }

    /// Lanes from a register where the mask is clear become zero.
    pub fn keep(&mut self, class: Class, to: Register, from: Register, mask: Register) {
        let row = (codes::MOVE, self.form(class));
        self.asm.vec(row, to, None, Source::Reg(from), None, Some(Mask::Zero(mask)));
    }
}
