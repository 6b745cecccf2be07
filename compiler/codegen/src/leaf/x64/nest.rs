//! A leaf's loops, and what lives across them.

use super::asm::{Asm, Label, Mem};
use super::state::{Bank, Emission, File, LASTING, POINTER, SCRATCH, State, Where, number};
use super::values::{Class, END, Values};
use super::{Encoded, Features};
use fornax_ir::kernel::Size;
use fornax_ir::leaf::verify::Block;
use fornax_ir::leaf::{Inst, Leaf, Op, ValueId};
use fornax_ir::scalar::BinaryOp;
use iced_x86::{Code, Register};

/// Registers that are left to what lives within a round: of multiply-adds, and of anything else.
const TEMPORARIES: [usize; 2] = [4, 7];
/// Most bytes of a block.
const BLOCK_MAX: i32 = 128 << 10;
/// Most instructions of an unrolled body.
const UNROLLED_MAX: usize = 512;

/// Encodes a leaf.
///
/// # Errors
/// What there is no instruction sequence for.
pub(super) fn encode(leaf: &Leaf, unroll: u32, f: Features) -> Result<Encoded, String> {
    let mut e = Emission::new(leaf, f)?;
    e.prologue();
    e.run(Block::Init);
    e.enter();
    if leaf.loops.is_empty() {
        e.round();
    } else {
        e.nest(0, unroll);
    }
    e.leave();
    e.run(Block::Finish);
    e.asm.plain(Code::VEX_Vzeroupper);
    e.asm.plain(Code::Retnq);
    if e.size > BLOCK_MAX {
        return Err(format!("a block of {} bytes", e.size));
    }
    let block = e.size as u32;
    Ok(Encoded { code: e.asm.finish()?, block })
}

impl<'l> Emission<'l> {
    fn new(leaf: &'l Leaf, f: Features) -> Result<Self, String> {
        let values = Values::new(leaf, f)?;
        let count = values.classes.len();
        let state = State {
            places: vec![Where::default(); count],
            vectors: File::new(f.registers, 0),
            masks: File::new(8, 2),
            pointer: None,
        };
        let ptrs = leaf.ptrs.len();
        let size = 8 * (ptrs as i32 + leaf.ints as i32 + 1);
        let mut e = Emission {
            leaf,
            f,
            values,
            asm: Asm::new(),
            s: state,
            block: Block::Init,
            at: 0,
            pointers: vec![None; ptrs],
            extra: vec![0; ptrs],
            size,
            free: Vec::new(),
            taken: Vec::new(),
            positions: (0..ptrs).map(|p| 8 * p as i32).collect(),
            counters: Vec::new(),
            stage: 0,
            hints: vec![None; count],
            asked: Vec::new(),
            parts: Vec::new(),
        };
        e.stage = e.reserve(f.bytes);
        e.counters = (0..leaf.loops.len()).map(|_| e.reserve(8)).collect();
        for v in 0..count {
            if e.values.classes[v] == Class::Word {
                let slot = match op_of(leaf, v as ValueId).map(|op| &op.inst) {
                    Some(Inst::Int(n)) => e.int(*n),
                    Some(Inst::Counter(l)) => e.counters[*l as usize],
                    _ => e.reserve(8),
                };
                e.s.places[v].slot = Some(slot);
            }
        }
        e.homes();
        Ok(e)
    }

    /// Offset of an integer argument.
    pub fn int(&self, n: u32) -> i32 {
        8 * (self.leaf.ptrs.len() as i32 + n as i32)
    }

    /// Offset of the error flag's address.
    pub fn flag(&self) -> i32 {
        8 * (self.leaf.ptrs.len() as i32 + self.leaf.ints as i32)
    }

    /// Registers for carried values, and for values of `init` that the body uses.
    fn homes(&mut self) {
        let (leaf, total) = (self.leaf, self.f.registers);
        let mut next = total;
        let simple = |op: &Op| match &op.inst {
            Inst::Binary(o, ..) => matches!(o, BinaryOp::Add | BinaryOp::Sub | BinaryOp::Mul),
            inst => matches!(
                inst,
                Inst::Const(_)
                    | Inst::Load(_)
                    | Inst::LoadSplat(_)
                    | Inst::LoadPart(..)
                    | Inst::Store(..)
                    | Inst::Prefetch(_)
                    | Inst::Fma(..)
            ),
        };
        let temporaries = TEMPORARIES[usize::from(!leaf.body.iter().all(simple))];
        let vector = |c: Class| matches!(c, Class::Wide | Class::Float);
        let first = leaf.first_carried();
        for (i, c) in leaf.carried.iter().enumerate() {
            let v = first + i as ValueId;
            if !vector(self.class(v)) || next <= temporaries {
                continue;
            }
            next -= 1;
            self.hints[v as usize] = Some((next as u8, None));
            if c.next >= leaf.first_body() && self.hints[c.next as usize].is_none() {
                self.hints[c.next as usize] = Some((next as u8, Some(v)));
            }
        }
        let room = next.saturating_sub(self.pressure().max(temporaries));
        let mut wanted: Vec<(usize, ValueId)> = (0..leaf.init.len() as ValueId)
            .filter(|&v| vector(self.class(v)))
            .map(|v| (self.values.count(Block::Body, v), v))
            .filter(|w| w.0 > 0)
            .collect();
        wanted.sort_by_key(|&(uses, v)| (std::cmp::Reverse(uses), v));
        for (_, v) in wanted.into_iter().take(room) {
            next -= 1;
            self.s.vectors.reserved[next] = true;
            self.hints[v as usize] = Some((next as u8, None));
        }
    }

    /// How many values of the body are alive at once, those in homes left out.
    fn pressure(&self) -> usize {
        let leaf = self.leaf;
        let first = leaf.first_body();
        let mut ends = vec![0usize; leaf.body.len() + 1];
        let (mut now, mut most) = (0, 0);
        for (i, op) in leaf.body.iter().enumerate() {
            let v = first + i as ValueId;
            let vector = matches!(self.class(v), Class::Wide | Class::Float) && op.inst.has_result();
            let held = vector && !self.values.folded[v as usize] && self.hints[v as usize].is_none();
            if held {
                now += 1;
                most = most.max(now);
                let last = self.values.last_use(Block::Body, v).unwrap_or(i as u32);
                ends[(last as usize).min(leaf.body.len())] += 1;
            }
            now -= ends[i];
        }
        most + 1
    }

    fn prologue(&mut self) {
        let leaf = self.leaf;
        let uses = |ops: &[Op]| pointer_uses(leaf, ops);
        let bumped = |p: usize| leaf.loops.iter().any(|l| l.bumps.iter().any(|b| b.0 as usize == p));
        for p in 0..leaf.ptrs.len() {
            if bumped(p) {
                self.positions[p] = self.reserve(8);
            }
        }
        let counter = usize::from(!leaf.loops.is_empty());
        self.assign(&uses(&leaf.body), LASTING.len() - counter);
        for p in 0..leaf.ptrs.len() {
            if self.pointers[p].is_none() && bumped(p) {
                let (from, to) = (self.at(8 * p as i32), self.at(self.positions[p]));
                self.asm.rm(Code::Mov_r64_rm64, SCRATCH[0], from);
                self.asm.mr(Code::Mov_rm64_r64, to, SCRATCH[0]);
            }
        }
    }

    /// Loads the pointers used most into registers.
    fn assign(&mut self, uses: &[usize], most: usize) {
        let mut order: Vec<usize> = (0..uses.len()).filter(|&p| uses[p] > 0).collect();
        order.sort_by_key(|&p| (std::cmp::Reverse(uses[p]), p));
        self.pointers.fill(None);
        for (p, reg) in order.into_iter().zip(LASTING).take(most) {
            let from = self.at(8 * p as i32);
            self.asm.rm(Code::Mov_r64_rm64, reg, from);
            self.pointers[p] = Some(reg);
        }
    }

    /// From the end of `init` to the first round.
    fn enter(&mut self) {
        self.at = END;
        let leaf = self.leaf;
        self.part_masks();
        let first = leaf.first_carried();
        for v in first..leaf.first_body() {
            let Some((n, _)) = self.hints[v as usize] else { continue };
            if let Some(other) = self.s.vectors.held[n as usize] {
                self.evict(Bank::Vector, n, other);
            }
            self.s.vectors.reserved[n as usize] = true;
        }
        for (i, c) in leaf.carried.iter().enumerate() {
            let v = first + i as ValueId;
            self.give(c.init, v);
        }
        for v in 0..leaf.init.len() {
            let place = self.s.places[v];
            let class = self.values.classes[v];
            let alive = self.values.next_use(Block::Body, v as ValueId, 0).is_some();
            let stored = place.slot.is_some() || place.constant.is_some();
            if class == Class::Word || !leaf.init[v].inst.has_result() {
                continue;
            }
            if let Some((n, _)) = self.hints[v].filter(|_| alive) {
                if place.reg != Some(n) {
                    let home = self.named(class, n);
                    self.fill(v as ValueId, home);
                }
                self.s.places[v].reg = Some(n);
                continue;
            }
            if alive && !stored {
                let reg = self.reg(v as ValueId);
                let slot = self.slot(class);
                self.save(class, slot, reg);
                self.s.places[v].slot = Some(slot);
                self.unlock_all();
            }
            if let Some(n) = self.s.places[v].reg.take() {
                let file = if class == Class::Mask { &mut self.s.masks } else { &mut self.s.vectors };
                file.held[n as usize] = None;
            }
        }
        for file in [&mut self.s.vectors, &mut self.s.masks] {
            file.held.fill(None);
            file.locked.fill(false);
        }
        let last = first as usize + leaf.carried.len();
        for v in 0..last {
            if let Some(n) = self.s.places[v].reg {
                self.s.vectors.held[n as usize] = Some(v as ValueId);
            }
        }
        self.taken.clear();
        self.block = Block::Body;
    }

    /// Makes the carried value `to` start, or go on, as `from`.
    fn give(&mut self, from: ValueId, to: ValueId) {
        let class = self.class(to);
        match (class, self.hints[to as usize]) {
            (Class::Word, _) => {
                let (a, b) = (self.word(from), self.word(to));
                self.asm.rm(Code::Mov_r64_rm64, SCRATCH[0], a);
                self.asm.mr(Code::Mov_rm64_r64, b, SCRATCH[0]);
            }
            (Class::Wide | Class::Float, Some((n, _))) => {
                let home = self.named(class, n);
                self.fill(from, home);
                self.s.places[to as usize] = Where { reg: Some(n), ..Where::default() };
            }
            _ => {
                let reg = self.temp(class);
                self.fill(from, reg);
                let slot = match self.s.places[to as usize].slot {
                    Some(slot) => slot,
                    None => self.slot(class),
                };
                self.save(class, slot, reg);
                self.s.places[to as usize] = Where { slot: Some(slot), ..Where::default() };
                let n = number(reg);
                let file = if class == Class::Mask { &mut self.s.masks } else { &mut self.s.vectors };
                file.locked[n] = false;
            }
        }
    }

    /// One pass over the body, from the values at its start to the same places.
    fn round(&mut self) {
        let start = self.s.clone();
        self.run(Block::Body);
        self.at = END;
        let (leaf, first) = (self.leaf, self.leaf.first_carried());
        let carried = first..leaf.first_body();
        // What is about to be overwritten is copied first.
        let mut staged = Vec::new();
        for (i, c) in leaf.carried.iter().enumerate() {
            if carried.contains(&c.next) && c.next != first + i as ValueId {
                let class = self.class(c.next);
                let slot = self.slot(class);
                if class == Class::Word {
                    let (from, to) = (self.word(c.next), self.at(slot));
                    self.asm.rm(Code::Mov_r64_rm64, SCRATCH[0], from);
                    self.asm.mr(Code::Mov_rm64_r64, to, SCRATCH[0]);
                } else {
                    let reg = self.reg(c.next);
                    self.save(class, slot, reg);
                    self.unlock_all();
                }
                staged.push((i, slot));
            }
        }
        for (i, c) in leaf.carried.iter().enumerate() {
            let to = first + i as ValueId;
            if c.next == to || self.stays(c.next, to) {
                continue;
            }
            let slot = staged.iter().find(|s| s.0 == i).map(|s| s.1);
            let home = start.places[to as usize];
            let was = self.s.places[c.next as usize];
            if slot.is_some() {
                self.s.places[c.next as usize] = Where { slot, ..Where::default() };
            }
            self.s.places[to as usize].slot = home.slot;
            self.give(c.next, to);
            self.s.places[c.next as usize] = was;
        }
        let pointer = self.s.pointer;
        self.s = start;
        self.s.pointer = pointer;
        self.free.append(&mut self.taken);
        self.free.sort_unstable();
        self.free.dedup();
    }

    /// Whether the next value already lies where the carried one lives.
    fn stays(&self, next: ValueId, to: ValueId) -> bool {
        let place = self.s.places[next as usize];
        self.hints[to as usize].is_some_and(|h| place.reg == Some(h.0)) && self.class(to) != Class::Word
    }

    /// Loop number `level` and those inside it.
    fn nest(&mut self, level: usize, unroll: u32) {
        let this = &self.leaf.loops[level];
        let innermost = level + 1 == self.leaf.loops.len();
        let reads = self.leaf.body.iter().any(|op| op.inst == Inst::Counter(level as u32));
        let saved = self.save_positions(level);
        let done = self.asm.label();
        if reads {
            let counter = self.at(self.counters[level]);
            self.asm.mi(Code::Mov_rm64_imm32, counter, 0);
        }
        let rounds = if innermost && !reads { self.rounds(this.count, unroll) } else { 1 };
        let left = if innermost { Count::Reg(self.counter_register()) } else { Count::Slot(self.reserve(8)) };
        match this.count {
            Size::Const(n) if n <= 0 => {}
            Size::Const(n) => {
                let (whole, rest) = (n / i64::from(rounds), n % i64::from(rounds));
                for (trips, rounds) in [(whole, rounds), (rest, 1)] {
                    if trips == 0 {
                        continue;
                    }
                    self.set(left, trips);
                    self.repeat(level, rounds, left, 1, unroll);
                }
            }
            Size::Arg(n) => {
                let from = self.at(self.int(n));
                self.asm.rm(Code::Mov_r64_rm64, SCRATCH[0], from);
                if rounds > 1 {
                    let few = self.asm.label();
                    self.asm.ri(Code::Sub_rm64_imm32, SCRATCH[0], rounds as i32);
                    self.put(left);
                    self.asm.branch(Code::Jl_rel32_64, few);
                    self.repeat(level, rounds, left, rounds, unroll);
                    self.asm.bind(few);
                    self.add(left, rounds as i32);
                    self.asm.branch(Code::Jle_rel32_64, done);
                } else {
                    self.asm.rr(Code::Test_rm64_r64, SCRATCH[0], SCRATCH[0]);
                    self.put(left);
                    self.asm.branch(Code::Jle_rel32_64, done);
                }
                self.repeat(level, 1, left, 1, unroll);
            }
        }
        self.asm.bind(done);
        self.s.pointer = None;
        self.restore_positions(level, &saved);
    }

    /// Rounds one after the other until the counter, lowered by `step`, is spent.
    fn repeat(&mut self, level: usize, rounds: u32, left: Count, step: u32, unroll: u32) {
        let this = &self.leaf.loops[level];
        let reads = self.leaf.body.iter().any(|op| op.inst == Inst::Counter(level as u32));
        self.s.pointer = None;
        self.asked.clear();
        let head = self.asm.label();
        self.asm.bind(head);
        if level + 1 < self.leaf.loops.len() {
            self.nest(level + 1, unroll);
        }
        for round in 0..rounds {
            if level + 1 == self.leaf.loops.len() {
                self.round();
            }
            for &(p, by) in &this.bumps {
                match by {
                    Size::Const(n) if round + 1 < rounds => self.extra[p as usize] += n,
                    Size::Const(n) => {
                        self.extra[p as usize] = 0;
                        self.bump(p, n.wrapping_mul(i64::from(rounds)));
                    }
                    Size::Arg(n) => self.bump_by(p, n),
                }
            }
        }
        if reads {
            let counter = self.at(self.counters[level]);
            self.asm.mi(Code::Add_rm64_imm32, counter, 1);
        }
        self.add(left, -(step as i32));
        let again = if step > 1 { Code::Jge_rel32_64 } else { Code::Jg_rel32_64 };
        self.asm.branch(again, head);
        self.s.pointer = None;
    }

    fn rounds(&self, count: Size, unroll: u32) -> u32 {
        let fits = (UNROLLED_MAX / self.leaf.body.len().max(1)).max(1) as u32;
        let wanted = unroll.clamp(1, 16).min(fits);
        match count {
            Size::Const(n) => i64::from(wanted).min(n.max(1)) as u32,
            Size::Arg(_) => wanted,
        }
    }

    fn counter_register(&self) -> Register {
        let taken = |r: &Register| self.pointers.contains(&Some(*r));
        LASTING.into_iter().find(|r| !taken(r)).unwrap_or(LASTING[4])
    }

    fn set(&mut self, left: Count, n: i64) {
        self.asm.ri64(SCRATCH[0], n);
        self.put(left);
    }

    /// The counter becomes the first scratch register; flags stay.
    fn put(&mut self, left: Count) {
        match left {
            Count::Reg(r) => self.asm.rr(Code::Mov_r64_rm64, r, SCRATCH[0]),
            Count::Slot(slot) => {
                let mem = self.at(slot);
                self.asm.mr(Code::Mov_rm64_r64, mem, SCRATCH[0]);
            }
        }
    }

    fn add(&mut self, left: Count, n: i32) {
        match left {
            Count::Reg(r) => self.asm.ri(Code::Add_rm64_imm32, r, n),
            Count::Slot(slot) => {
                let mem = self.at(slot);
                self.asm.mi(Code::Add_rm64_imm32, mem, n);
            }
        }
    }

    fn bump(&mut self, p: u32, by: i64) {
        let place = self.pointers[p as usize];
        let position = self.at(self.positions[p as usize]);
        match (i32::try_from(by), place) {
            (Ok(0), _) => {}
            (Ok(by), Some(r)) => self.asm.ri(Code::Add_rm64_imm32, r, by),
            (Ok(by), None) => self.asm.mi(Code::Add_rm64_imm32, position, by),
            (Err(_), place) => {
                self.asm.ri64(SCRATCH[0], by);
                self.bump_scratch(place, position);
            }
        }
        self.moved(p);
    }

    fn bump_by(&mut self, p: u32, n: u32) {
        let from = self.at(self.int(n));
        self.asm.rm(Code::Mov_r64_rm64, SCRATCH[0], from);
        let position = self.at(self.positions[p as usize]);
        self.bump_scratch(self.pointers[p as usize], position);
        self.moved(p);
    }

    fn bump_scratch(&mut self, place: Option<Register>, position: Mem) {
        match place {
            Some(r) => self.asm.rr(Code::Add_r64_rm64, r, SCRATCH[0]),
            None => self.asm.mr(Code::Add_rm64_r64, position, SCRATCH[0]),
        }
    }

    fn moved(&mut self, p: u32) {
        if self.s.pointer == Some(p) {
            self.s.pointer = None;
        }
    }

    /// Keeps the positions of pointers that an inner loop moves.
    fn save_positions(&mut self, level: usize) -> Vec<(u32, i32)> {
        if level == 0 {
            return Vec::new();
        }
        let bumps = self.leaf.loops[level].bumps.iter();
        let saved: Vec<(u32, i32)> = bumps.map(|b| (b.0, self.reserve(8))).collect();
        for &(p, slot) in &saved {
            let reg = self.pointers[p as usize].unwrap_or_else(|| {
                let from = self.at(self.positions[p as usize]);
                self.asm.rm(Code::Mov_r64_rm64, SCRATCH[0], from);
                SCRATCH[0]
            });
            let mem = self.at(slot);
            self.asm.mr(Code::Mov_rm64_r64, mem, reg);
        }
        saved
    }

    fn restore_positions(&mut self, _level: usize, saved: &[(u32, i32)]) {
        for &(p, slot) in saved {
            let reg = self.pointers[p as usize];
            let from = self.at(slot);
            self.asm.rm(Code::Mov_r64_rm64, reg.unwrap_or(SCRATCH[0]), from);
            if reg.is_none() {
                let to = self.at(self.positions[p as usize]);
                self.asm.mr(Code::Mov_rm64_r64, to, SCRATCH[0]);
            }
        }
    }

    /// From the last round to `finish`: pointers stand at their arguments again.
    fn leave(&mut self) {
        self.block = Block::Finish;
        self.at = 0;
        self.hints.fill(None);
        self.s.pointer = None;
        self.positions = (0..self.leaf.ptrs.len()).map(|p| 8 * p as i32).collect();
        let uses = pointer_uses(self.leaf, &self.leaf.finish);
        self.assign(&uses, LASTING.len());
        self.s.vectors.reserved.fill(false);
        for n in 0..self.s.vectors.held.len() {
            if let Some(v) = self.s.vectors.held[n]
                && self.values.next_use(Block::Finish, v, 0).is_none()
            {
                self.s.vectors.held[n] = None;
                self.s.places[v as usize].reg = None;
            }
        }
    }

    /// All instructions of a block.
    fn run(&mut self, block: Block) {
        self.block = block;
        let ops = block.of(self.leaf);
        self.range(block.first(self.leaf), ops, 0, ops.len());
    }

    fn range(&mut self, first: ValueId, ops: &[Op], from: usize, to: usize) {
        let mut i = from;
        while i < to && !self.asm.refused() {
            self.at = i as u32;
            if let Inst::If(cond, count) = ops[i].inst {
                let end = (i + 1 + count as usize).min(to);
                self.conditional(cond, first, ops, (i + 1, end));
                i = end;
            } else {
                self.op(first + i as ValueId, &ops[i]);
                self.recycle(first, &ops[i].inst);
                self.done();
                i += 1;
            }
        }
    }

    /// Instructions under a condition: behind them every value is where it was before.
    fn conditional(&mut self, cond: ValueId, first: ValueId, ops: &[Op], (from, to): (usize, usize)) {
        let skip = self.skip_unless(cond);
        let before = self.s.clone();
        self.range(first, ops, from, to);
        self.at = (to - 1) as u32;
        for n in 0..before.vectors.held.len() {
            let Some(v) = before.vectors.held[n] else { continue };
            if self.s.places[v as usize].reg != Some(n as u8) && !self.dies(v) {
                let to = self.named(self.class(v), n as u8);
                self.s.places[v as usize].reg = None;
                self.fill(v, to);
            }
        }
        for n in 0..before.masks.held.len() {
            let Some(v) = before.masks.held[n] else { continue };
            if self.s.places[v as usize].reg != Some(n as u8) && !self.dies(v) {
                let to = self.named(Class::Mask, n as u8);
                self.s.places[v as usize].reg = None;
                self.fill(v, to);
            }
        }
        self.s = before;
        self.s.pointer = None;
        self.done();
        self.asm.bind(skip);
    }

    /// A branch that is taken where the condition is false.
    pub fn skip_unless(&mut self, cond: ValueId) -> Label {
        let skip = self.asm.label();
        let mem = self.word(cond);
        self.asm.mi(Code::Cmp_rm64_imm8, mem, 0);
        self.asm.branch(Code::Je_rel32_64, skip);
        skip
    }

    /// The register of a pointer, at its present position.
    pub fn pointer(&mut self, p: u32) -> Register {
        if let Some(r) = self.pointers[p as usize] {
            return r;
        }
        if self.s.pointer != Some(p) {
            let from = self.at(self.positions[p as usize]);
            self.asm.rm(Code::Mov_r64_rm64, POINTER, from);
            self.s.pointer = Some(p);
        }
        POINTER
    }
}

/// Where a loop counts.
#[derive(Clone, Copy)]
enum Count {
    Reg(Register),
    Slot(i32),
}

pub(super) fn op_of(leaf: &Leaf, v: ValueId) -> Option<&Op> {
    let find = |block: Block| block.of(leaf).get(v.checked_sub(block.first(leaf))? as usize);
    Block::ALL.into_iter().find_map(find)
}

/// How many instructions reach memory through each pointer.
fn pointer_uses(leaf: &Leaf, ops: &[Op]) -> Vec<usize> {
    let mut uses = vec![0; leaf.ptrs.len()];
    for op in ops {
        match &op.inst {
            Inst::Load(a)
            | Inst::LoadStrided(a, _)
            | Inst::LoadSplat(a)
            | Inst::LoadIf(_, a)
            | Inst::LoadPart(a, _)
            | Inst::Store(a, _)
            | Inst::Prefetch(a)
            | Inst::StorePart(a, ..) => uses[a.ptr as usize] += 1,
            _ => {}
        }
    }
    uses
}
