//! One integer or bool at a time, in general registers: each comes from the block and goes back there.

use super::asm::Label;
use super::state::{Emission, POINTER, SCRATCH};
use fornax_ir::dtype::DType;
use fornax_ir::leaf::{Inst, Op, ValueId};
use fornax_ir::scalar::{BinaryOp, CompareOp, UnaryOp};
use iced_x86::{Code, Register};

const RAX: Register = SCRATCH[0];
const RCX: Register = SCRATCH[1];

impl Emission<'_> {
    /// An instruction whose operands and result are words.
    pub fn word_op(&mut self, v: ValueId, op: &Op) {
        let dtype = op.ty.dtype;
        match &op.inst {
            Inst::Unary(o, a) => {
                self.fetch(RAX, *a);
                self.word_unary(*o, dtype);
            }
            Inst::Binary(o, a, b) => {
                self.fetch(RAX, *a);
                self.fetch(RCX, *b);
                self.word_binary(*o, dtype);
            }
            Inst::Compare(o, a, b) => {
                let signed = self.values.types[*a as usize].dtype.is_signed_int();
                self.fetch(RAX, *a);
                self.fetch(RCX, *b);
                self.word_compare(*o, signed);
            }
            Inst::Select(c, a, b) => {
                self.fetch(RAX, *b);
                self.fetch(RCX, *a);
                let cond = self.word(*c);
                self.asm.mi(Code::Cmp_rm64_imm8, cond, 0);
                self.asm.rr(Code::Cmovne_r64_rm64, RAX, RCX);
            }
            Inst::Cast(a) if dtype == DType::Bool => {
                self.fetch(RAX, *a);
                self.asm.rr(Code::Xor_r64_rm64, RCX, RCX);
                self.word_compare(CompareOp::Ne, false);
            }
            Inst::Cast(a) => self.fetch(RAX, *a),
            Inst::Fma(a, b, c) => {
                self.fetch(RAX, *a);
                self.fetch(RCX, *b);
                self.asm.rr(Code::Imul_r64_rm64, RAX, RCX);
                self.fetch(RCX, *c);
                self.asm.rr(Code::Add_r64_rm64, RAX, RCX);
            }
            other => self.asm.refuse(format!("no code for {other:?}")),
        }
        self.canonical(dtype);
        let to = self.word(v);
        self.asm.mr(Code::Mov_rm64_r64, to, RAX);
    }

    fn fetch(&mut self, to: Register, v: ValueId) {
        let word = self.word(v);
        self.asm.rm(Code::Mov_r64_rm64, to, word);
    }

    /// The first scratch register extended from the width of the dtype.
    pub fn canonical(&mut self, dtype: DType) {
        match dtype {
            DType::U8 => self.asm.rr(Code::Movzx_r64_rm8, RAX, Register::AL),
            DType::I8 => self.asm.rr(Code::Movsx_r64_rm8, RAX, Register::AL),
            DType::U16 | DType::F16 | DType::BF16 => self.asm.rr(Code::Movzx_r64_rm16, RAX, Register::AX),
            DType::I16 => self.asm.rr(Code::Movsx_r64_rm16, RAX, Register::AX),
            DType::I32 => self.asm.rr(Code::Movsxd_r64_rm32, RAX, Register::EAX),
            DType::U32 | DType::F32 => self.asm.rr(Code::Mov_r32_rm32, Register::EAX, Register::EAX),
            DType::Bool | DType::I64 | DType::U64 | DType::F64 => {}
        }
    }

    fn word_unary(&mut self, op: UnaryOp, dtype: DType) {
        match op {
            UnaryOp::Not if dtype == DType::Bool => self.asm.ri(Code::Xor_rm64_imm32, RAX, 1),
            UnaryOp::Not => self.asm.r(Code::Not_rm64, RAX),
            UnaryOp::Neg => self.asm.r(Code::Neg_rm64, RAX),
            UnaryOp::Abs if dtype.is_signed_int() => {
                self.asm.rr(Code::Mov_r64_rm64, RCX, RAX);
                self.asm.r(Code::Neg_rm64, RCX);
                self.asm.rr(Code::Cmovns_r64_rm64, RAX, RCX);
            }
            UnaryOp::Abs => {}
            _ => self.asm.refuse(format!("no {op} of one {dtype}")),
        }
    }

    /// `rax = rax op rcx`.
    fn word_binary(&mut self, op: BinaryOp, dtype: DType) {
        let signed = dtype.is_signed_int();
        let code = match op {
            BinaryOp::Min | BinaryOp::Max => {
                self.asm.rr(Code::Cmp_r64_rm64, RCX, RAX);
                let code = match (op == BinaryOp::Min, signed) {
                    (true, true) => Code::Cmovl_r64_rm64,
                    (true, false) => Code::Cmovb_r64_rm64,
                    (false, true) => Code::Cmovg_r64_rm64,
                    (false, false) => Code::Cmova_r64_rm64,
                };
                return self.asm.rr(code, RAX, RCX);
            }
            BinaryOp::Mul if dtype == DType::Bool => Code::And_r64_rm64,
            BinaryOp::Add if dtype == DType::Bool => Code::Or_r64_rm64,
            BinaryOp::Add => Code::Add_r64_rm64,
            BinaryOp::Sub => Code::Sub_r64_rm64,
            BinaryOp::Mul => Code::Imul_r64_rm64,
            BinaryOp::And => Code::And_r64_rm64,
            BinaryOp::Or => Code::Or_r64_rm64,
            BinaryOp::Xor => Code::Xor_r64_rm64,
            BinaryOp::Shl | BinaryOp::Shr => return self.word_shift(op, dtype),
            BinaryOp::Div | BinaryOp::Rem => return self.word_divide(op, signed),
            BinaryOp::Pow => return self.asm.refuse(format!("no {op} of one {dtype}")),
        };
        self.asm.rr(code, RAX, RCX);
    }

    /// Counts of the width or more, or below 0, shift everything out; where signs come in, they stay.
    fn word_shift(&mut self, op: BinaryOp, dtype: DType) {
        let bits = dtype.bytes() as i32 * 8;
        let arithmetic = op == BinaryOp::Shr && dtype.is_signed_int();
        self.s.pointer = None;
        if arithmetic {
            self.asm.ri(Code::Mov_rm64_imm32, POINTER, 63);
        } else {
            self.asm.rr(Code::Xor_r64_rm64, POINTER, POINTER);
        }
        self.asm.ri(Code::Cmp_rm64_imm32, RCX, bits);
        if arithmetic {
            self.asm.rr(Code::Cmovae_r64_rm64, RCX, POINTER);
            return self.asm.rr(Code::Sar_rm64_CL, RAX, Register::CL);
        }
        // The flags of the comparison hold until the value is replaced by 0.
        self.asm.rr(Code::Cmovae_r64_rm64, RAX, POINTER);
        let code = if op == BinaryOp::Shl { Code::Shl_rm64_CL } else { Code::Shr_rm64_CL };
        self.asm.rr(code, RAX, Register::CL);
    }

    /// By magnitudes; a divisor of 0 gives 0.
    fn word_divide(&mut self, op: BinaryOp, signed: bool) {
        self.s.pointer = None;
        let zero: Label = self.asm.label();
        let done = self.asm.label();
        self.asm.rr(Code::Test_rm64_r64, RCX, RCX);
        self.asm.branch(Code::Je_rel32_64, zero);
        if signed {
            // By -1 the quotient is the negated dividend, whatever that is; the remainder 0.
            let usual = self.asm.label();
            self.asm.ri(Code::Cmp_rm64_imm8, RCX, -1);
            self.asm.branch(Code::Jne_rel32_64, usual);
            self.asm.r(Code::Neg_rm64, RAX);
            self.asm.rr(Code::Xor_r64_rm64, POINTER, POINTER);
            self.asm.branch(Code::Jmp_rel32_64, done);
            self.asm.bind(usual);
            self.asm.plain(Code::Cqo);
            self.asm.r(Code::Idiv_rm64, RCX);
        } else {
            self.asm.rr(Code::Xor_r64_rm64, POINTER, POINTER);
            self.asm.r(Code::Div_rm64, RCX);
        }
        self.asm.branch(Code::Jmp_rel32_64, done);
        self.asm.bind(zero);
        self.asm.rr(Code::Xor_r64_rm64, RAX, RAX);
        self.asm.rr(Code::Xor_r64_rm64, POINTER, POINTER);
        self.asm.bind(done);
        if op == BinaryOp::Rem {
            self.asm.rr(Code::Mov_r64_rm64, RAX, POINTER);
        }
    }

    /// `rax = rax op rcx`, 0 or 1.
    fn word_compare(&mut self, op: CompareOp, signed: bool) {
        self.asm.rr(Code::Cmp_r64_rm64, RAX, RCX);
        let code = match (op, signed) {
            (CompareOp::Eq, _) => Code::Sete_rm8,
            (CompareOp::Ne, _) => Code::Setne_rm8,
            (CompareOp::Lt, true) => Code::Setl_rm8,
            (CompareOp::Lt, false) => Code::Setb_rm8,
            (CompareOp::Le, true) => Code::Setle_rm8,
            (CompareOp::Le, false) => Code::Setbe_rm8,
            (CompareOp::Gt, true) => Code::Setg_rm8,
            (CompareOp::Gt, false) => Code::Seta_rm8,
            (CompareOp::Ge, true) => Code::Setge_rm8,
            (CompareOp::Ge, false) => Code::Setae_rm8,
        };
        self.asm.r(code, Register::AL);
        self.asm.rr(Code::Movzx_r64_rm8, RAX, Register::AL);
    }
}
