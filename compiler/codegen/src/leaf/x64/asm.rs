//! Machine code with labels and constants behind it.

use super::codes::Row;
use iced_x86::{Code, Encoder, IcedError, Instruction, MemoryOperand, Register};
use rustc_hash::FxHashMap;

/// Width and encoding of a vector instruction: a column of [`Row`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Form(pub usize);

/// A place in the code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Label(usize);

/// A memory operand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Mem {
    /// `[base + index + disp]`; the index may be none.
    At { base: Register, index: Register, disp: i32 },
    /// Bytes behind the code, by their number.
    Pool(usize),
}

/// The last source of an instruction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Source {
    /// A register.
    Reg(Register),
    /// Memory as wide as the register.
    Mem(Mem),
    /// One element of memory in every lane (EVEX).
    Splat(Mem),
}

/// Masking by an opmask register.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Mask {
    /// Other lanes keep what the destination holds.
    Merge(Register),
    /// Other lanes become zero.
    Zero(Register),
}

/// A field of four bytes that is filled at the end: its place, the end of its instruction.
struct Fix {
    field: usize,
    end: usize,
    to: usize,
}

/// Code being encoded. What cannot be encoded is remembered and reported at the end.
pub(super) struct Asm {
    encoder: Encoder,
    len: usize,
    labels: Vec<Option<usize>>,
    branches: Vec<Fix>,
    uses: Vec<Fix>,
    pool: Vec<Vec<u8>>,
    numbers: FxHashMap<Vec<u8>, usize>,
    fault: Option<String>,
}

impl Asm {
    pub fn new() -> Self {
        Asm {
            encoder: Encoder::new(64),
            len: 0,
            labels: Vec::new(),
            branches: Vec::new(),
            uses: Vec::new(),
            pool: Vec::new(),
            numbers: FxHashMap::default(),
            fault: None,
        }
    }

    /// Remembers why there is no code.
    pub fn refuse(&mut self, what: impl Into<String>) {
        self.fault.get_or_insert_with(|| what.into());
    }

    /// Whether something was refused.
    pub fn refused(&self) -> bool {
        self.fault.is_some()
    }

    /// The number of these bytes behind the code.
    pub fn constant(&mut self, bytes: Vec<u8>) -> usize {
        let next = self.pool.len();
        let number = *self.numbers.entry(bytes.clone()).or_insert(next);
        if number == next {
            self.pool.push(bytes);
        }
        number
    }

    pub fn label(&mut self) -> Label {
        self.labels.push(None);
        Label(self.labels.len() - 1)
    }

    pub fn bind(&mut self, label: Label) {
        self.labels[label.0] = Some(self.len);
    }

    /// A branch to a label, by a code that takes a distance of 32 bits.
    pub fn branch(&mut self, code: Code, to: Label) {
        let ins = Instruction::with_branch(code, self.len as u64);
        self.put(ins, None);
        self.branches.push(Fix { field: self.len - 4, end: self.len, to: to.0 });
    }

    fn put(&mut self, ins: Result<Instruction, IcedError>, pool: Option<usize>) {
        let encoded = ins.and_then(|ins| {
            if ins.code() == Code::INVALID {
                return Ok(None);
            }
            self.encoder.encode(&ins, self.len as u64).map(Some)
        });
        match encoded {
            Ok(Some(bytes)) => {
                let start = self.len;
                self.len += bytes;
                if let Some(to) = pool {
                    let field = start + self.encoder.get_constant_offsets().displacement_offset();
                    self.uses.push(Fix { field, end: self.len, to });
                }
            }
            Ok(None) => self.refuse("no instruction of that width"),
            Err(e) => self.refuse(e.to_string()),
        }
    }

    fn operand(&self, mem: Mem, broadcast: bool) -> (MemoryOperand, Option<usize>) {
        match mem {
            Mem::At { base, index, disp } => {
                let size = if disp == 0 { 0 } else { 1 };
                let disp = i64::from(disp);
                (MemoryOperand::new(base, index, 1, disp, size, broadcast, Register::None), None)
            }
            Mem::Pool(n) => {
                let here = self.len as i64;
                (
                    MemoryOperand::new(Register::RIP, Register::None, 1, here, 8, broadcast, Register::None),
                    Some(n),
                )
            }
        }
    }

    /// No operand.
    pub fn plain(&mut self, code: Code) {
        self.put(Ok(Instruction::with(code)), None);
    }
    pub fn r(&mut self, code: Code, a: Register) {
        self.put(Instruction::with1(code, a), None);
    }
    pub fn rr(&mut self, code: Code, a: Register, b: Register) {
        self.put(Instruction::with2(code, a, b), None);
    }
    pub fn rrr(&mut self, code: Code, a: Register, b: Register, c: Register) {
        self.put(Instruction::with3(code, a, b, c), None);
    }
    pub fn ri(&mut self, code: Code, a: Register, imm: i32) {
        self.put(Instruction::with2(code, a, imm), None);
    }
    pub fn ri64(&mut self, a: Register, imm: i64) {
        self.put(Instruction::with2(Code::Mov_r64_imm64, a, imm), None);
    }
    pub fn rri(&mut self, code: Code, a: Register, b: Register, imm: i32) {
        self.put(Instruction::with3(code, a, b, imm), None);
    }
    pub fn rm(&mut self, code: Code, a: Register, mem: Mem) {
        let (operand, pool) = self.operand(mem, false);
        self.put(Instruction::with2(code, a, operand), pool);
    }
    pub fn m(&mut self, code: Code, mem: Mem) {
        let (operand, pool) = self.operand(mem, false);
        self.put(Instruction::with1(code, operand), pool);
    }
    pub fn mr(&mut self, code: Code, mem: Mem, a: Register) {
        let (operand, pool) = self.operand(mem, false);
        self.put(Instruction::with2(code, operand, a), pool);
    }
    pub fn mi(&mut self, code: Code, mem: Mem, imm: i32) {
        let (operand, pool) = self.operand(mem, false);
        self.put(Instruction::with2(code, operand, imm), pool);
    }
    pub fn rrm(&mut self, code: Code, a: Register, b: Register, mem: Mem) {
        let (operand, pool) = self.operand(mem, false);
        self.put(Instruction::with3(code, a, b, operand), pool);
    }
    pub fn mrr(&mut self, code: Code, mem: Mem, a: Register, b: Register) {
        let (operand, pool) = self.operand(mem, false);
        self.put(Instruction::with3(code, operand, a, b), pool);
    }
    /// `vgatherdps`: EVEX under `mask`, which it clears; VEX by the signs of the vector `mask`.
    pub fn gather(&mut self, code: Code, dst: Register, base: Register, index: Register, mask: Register) {
        let operand = MemoryOperand::new(base, index, 4, 0, 0, false, Register::None);
        let ins = if mask.is_k() {
            Instruction::with2(code, dst, operand).map(|mut ins| {
                ins.set_op_mask(mask);
                ins
            })
        } else {
            Instruction::with3(code, dst, operand, mask)
        };
        self.put(ins, None);
    }

    /// A vector instruction: destination, sources of which the last may be memory, immediate, mask.
    pub fn vec(
        &mut self,
        (row, form): (Row, Form),
        dst: Register,
        first: Option<Register>,
        last: Source,
        imm: Option<i32>,
        mask: Option<Mask>,
    ) {
        let code = row.0[form.0];
        if code == Code::INVALID {
            return self.refuse("no instruction of that width");
        }
        let mut number = None;
        let ins = match (last, first, imm) {
            (Source::Reg(c), Some(b), Some(imm)) => Instruction::with4(code, dst, b, c, imm),
            (Source::Reg(c), Some(b), None) => Instruction::with3(code, dst, b, c),
            (Source::Reg(c), None, Some(imm)) => Instruction::with3(code, dst, c, imm),
            (Source::Reg(c), None, None) => Instruction::with2(code, dst, c),
            (Source::Mem(mem) | Source::Splat(mem), first, imm) => {
                let (operand, pool) = self.operand(mem, matches!(last, Source::Splat(_)));
                number = pool;
                match (first, imm) {
                    (Some(b), Some(imm)) => Instruction::with4(code, dst, b, operand, imm),
                    (Some(b), None) => Instruction::with3(code, dst, b, operand),
                    (None, Some(imm)) => Instruction::with3(code, dst, operand, imm),
                    (None, None) => Instruction::with2(code, dst, operand),
                }
            }
        };
        let ins = ins.map(|mut ins| {
            match mask {
                Some(Mask::Merge(k)) => ins.set_op_mask(k),
                Some(Mask::Zero(k)) => {
                    ins.set_op_mask(k);
                    ins.set_zeroing_masking(true);
                }
                None => {}
            }
            ins
        });
        self.put(ins, number);
    }

    /// A vector store, under a mask if there is one.
    pub fn store(&mut self, (row, form): (Row, Form), mem: Mem, value: Register, mask: Option<Register>) {
        let code = row.0[form.0];
        if code == Code::INVALID {
            return self.refuse("no instruction of that width");
        }
        let (operand, pool) = self.operand(mem, false);
        let ins = Instruction::with2(code, operand, value).map(|mut ins| {
            if let Some(k) = mask {
                ins.set_op_mask(k);
            }
            ins
        });
        self.put(ins, pool);
    }

    /// Four operands of which the last is a register (`vblendvps`).
    pub fn blend(
        &mut self,
        (row, form): (Row, Form),
        dst: Register,
        no: Register,
        yes: Register,
        mask: Register,
    ) {
        let code = row.0[form.0];
        if code == Code::INVALID {
            return self.refuse("no instruction of that width");
        }
        self.put(Instruction::with4(code, dst, no, yes, mask), None);
    }

    /// The code with its constants behind it, each aligned to its size.
    ///
    /// # Errors
    /// What was refused.
    pub fn finish(mut self) -> Result<Vec<u8>, String> {
        if let Some(what) = self.fault {
            return Err(what);
        }
        let mut bytes = self.encoder.take_buffer();
        let mut places = Vec::with_capacity(self.pool.len());
        let mut order: Vec<usize> = (0..self.pool.len()).collect();
        order.sort_by_key(|&n| std::cmp::Reverse(self.pool[n].len()));
        places.resize(self.pool.len(), 0);
        for n in order {
            let align = self.pool[n].len().next_power_of_two().min(64);
            bytes.resize(bytes.len().next_multiple_of(align), 0xcc);
            places[n] = bytes.len();
            bytes.extend_from_slice(&self.pool[n]);
        }
        let mut fill = |fix: &Fix, target: usize| {
            let distance = target as i64 - fix.end as i64;
            let distance = i32::try_from(distance).map_err(|_| "code beyond 2 GB".to_owned())?;
            bytes[fix.field..fix.field + 4].copy_from_slice(&distance.to_le_bytes());
            Ok::<(), String>(())
        };
        for fix in &self.branches {
            fill(fix, self.labels[fix.to].ok_or("a label without a place")?)?;
        }
        for fix in &self.uses {
            fill(fix, places[fix.to])?;
        }
        Ok(bytes)
    }
}
