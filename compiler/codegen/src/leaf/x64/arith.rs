//! Arithmetic, comparisons and conversions in vector registers.

use super::asm::{Mask, Source};
use super::codes::{self, Row};
use super::state::{Emission, MASK};
use super::values::Class;
use fornax_ir::dtype::DType;
use fornax_ir::leaf::{Type, ValueId};
use fornax_ir::scalar::{BinaryOp, CompareOp, Scalar, UnaryOp, eval};
use iced_x86::{Code, Register};

/// Predicates of `vcmpps`: equal, unordered, "not equal or unordered", and the ordered comparisons.
const EQ: i32 = 0x00;
const UNORDERED: i32 = 0x03;
const GE: i32 = 0x1d;

impl Emission<'_> {
    /// Bits of a constant that every lane is combined with.
    fn bits(&mut self, dtype: DType, bits: u64) -> Source {
        let as_int = if dtype.bytes() == 8 { DType::U64 } else { DType::U32 };
        let number = self.pool(Scalar::new(as_int, bits));
        let mem = super::asm::Mem::Pool(number);
        // Instructions on bits have 32-bit broadcasts alone.
        if self.f.wide && dtype.bytes() == 4 { Source::Splat(mem) } else { Source::Mem(mem) }
    }

    /// The same in a register.
    fn bits_in(&mut self, class: Class, to: Register, dtype: DType, bits: u64) {
        let as_int = if dtype.bytes() == 8 { DType::U64 } else { DType::U32 };
        let lane = Type::vector(as_int, 1);
        self.constant(class, to, Scalar::new(as_int, bits), lane);
    }

    pub fn unary(&mut self, v: ValueId, op: UnaryOp, a: ValueId) {
        let (class, form) = (self.class(a), self.form(self.class(a)));
        let dtype = self.values.types[a as usize].dtype;
        let width = dtype.bytes();
        let sign = 1u64 << (8 * width - 1);
        if dtype == DType::Bool {
            return self.not(v, a);
        }
        if width < 4 {
            return self.asm.refuse(format!("no {op} of {dtype}"));
        }
        match op {
            UnaryOp::Neg if dtype.is_float() => self.with_bits(v, codes::PXOR, a, sign),
            UnaryOp::Abs if dtype.is_float() => self.with_bits(v, codes::PAND, a, sign - 1),
            UnaryOp::Not => self.with_bits(v, codes::PXOR, a, u64::MAX),
            UnaryOp::Neg => {
                let from = self.reg(a);
                let to = self.result(v, true);
                self.zero(to);
                let row = self.by_width(a, codes::PSUBD, codes::PSUBQ);
                self.asm.vec((row, form), to, Some(to), Source::Reg(from), None, None);
            }
            UnaryOp::Abs if !dtype.is_signed_int() => self.same(v, a),
            UnaryOp::Abs | UnaryOp::Sqrt => {
                let row = match (op, dtype) {
                    (UnaryOp::Sqrt, DType::F32) => codes::SQRTPS,
                    (UnaryOp::Sqrt, _) => codes::SQRTPD,
                    _ => self.by_width(a, codes::PABSD, codes::PABSQ),
                };
                let from = self.reg(a);
                let to = self.result(v, false);
                self.asm.vec((row, form), to, None, Source::Reg(from), None, None);
            }
            UnaryOp::IsNan if dtype.is_float() => {
                let from = self.reg(a);
                self.test(v, class, dtype, (from, from), UNORDERED);
            }
            _ => self.asm.refuse(format!("no {op} of {dtype}")),
        }
    }

    fn with_bits(&mut self, v: ValueId, row: Row, a: ValueId, bits: u64) {
        let class = self.class(v);
        let dtype = self.values.types[v as usize].dtype;
        let form = self.form(class);
        let from = self.reg(a);
        if class == Class::Float || (self.f.wide && dtype.bytes() == 8) {
            let to = self.result(v, true);
            self.bits_in(class, to, dtype, bits);
            return self.asm.vec((row, form), to, Some(from), Source::Reg(to), None, None);
        }
        let other = self.bits(dtype, bits);
        let to = self.result(v, false);
        self.asm.vec((row, form), to, Some(from), other, None, None);
    }

    fn not(&mut self, v: ValueId, a: ValueId) {
        let from = self.reg(a);
        if self.class(a) == Class::Mask {
            let to = self.result(v, false);
            return self.asm.rr(Code::VEX_Knotq_kr_kr, to, from);
        }
        let to = self.result(v, true);
        let form = self.form(Class::Wide);
        self.asm.vec((codes::PCMPEQD, form), to, Some(to), Source::Reg(to), None, None);
        self.asm.vec((codes::PXOR, form), to, Some(from), Source::Reg(to), None, None);
    }

    pub fn binary(&mut self, v: ValueId, op: BinaryOp, mut a: ValueId, mut b: ValueId) {
        let class = self.class(v);
        let dtype = self.values.types[v as usize].dtype;
        if dtype == DType::Bool {
            return self.logic(v, op, a, b);
        }
        if dtype.is_float() && matches!(op, BinaryOp::Min | BinaryOp::Max) {
            return self.extremum(v, op == BinaryOp::Max, a, b);
        }
        let Some(row) = row(op, dtype) else {
            return self.asm.refuse(format!("no {op} of {dtype}"));
        };
        let commutes =
            matches!(op, BinaryOp::Add | BinaryOp::Mul | BinaryOp::And | BinaryOp::Or | BinaryOp::Xor);
        let place = |e: &Self, x: ValueId| e.s.places[x as usize];
        if commutes
            && (place(self, a).load.is_some()
                || (place(self, a).reg.is_none() && place(self, b).reg.is_some()))
        {
            (a, b) = (b, a);
        }
        let first = self.reg(a);
        let plain =
            self.f.wide && dtype.bytes() == 8 && matches!(op, BinaryOp::And | BinaryOp::Or | BinaryOp::Xor);
        let last = if plain { Source::Reg(self.reg(b)) } else { self.source(b) };
        let to = self.result(v, false);
        self.asm.vec((row, self.form(class)), to, Some(first), last, None, None);
    }

    /// `a * 2^n`: one instruction of AVX-512, else two products as in [`crate::leaf::scale_shift`].
    pub fn scale(&mut self, v: ValueId, a: ValueId, n: ValueId) {
        let (class, dtype) = (self.class(v), self.values.types[v as usize].dtype);
        let form = self.form(class);
        let (value, exponent) = (self.reg(a), self.reg(n));
        if self.f.wide {
            let row = self.by_width(v, codes::SCALEFPS, codes::SCALEFPD);
            let to = self.result(v, false);
            return self.asm.vec((row, form), to, Some(value), Source::Reg(exponent), None, None);
        }
        let (mantissa, shift) = crate::leaf::scale_shift(dtype);
        let (both, half) = (self.temp(class), self.temp(class));
        let (add, multiply, subtract) = (
            self.by_width(v, codes::ADDPS, codes::ADDPD),
            self.by_width(v, codes::MULPS, codes::MULPD),
            self.by_width(v, codes::PSUBD, codes::PSUBQ),
        );
        let (left, right) =
            (self.by_width(v, codes::PSLLVD, codes::PSLLVQ), self.by_width(v, codes::PSRLVD, codes::PSRLVQ));
        let number = self.bits(dtype, shift.bits);
        self.asm.vec((add, form), both, Some(exponent), number, None, None);
        let one = self.bits(dtype, 1);
        self.asm.vec((right, form), half, Some(both), one, None, None);
        self.asm.vec((subtract, form), both, Some(both), Source::Reg(half), None, None);
        let count = self.bits(dtype, mantissa as u64);
        self.asm.vec((left, form), half, Some(half), count, None, None);
        let count = self.bits(dtype, mantissa as u64);
        self.asm.vec((left, form), both, Some(both), count, None, None);
        self.asm.vec((multiply, form), half, Some(value), Source::Reg(half), None, None);
        let to = self.result(v, false);
        self.asm.vec((multiply, form), to, Some(half), Source::Reg(both), None, None);
    }

    /// `to = a op b` in registers; `to` may be `a`.
    pub fn arithmetic(
        &mut self,
        op: BinaryOp,
        dtype: DType,
        class: Class,
        to: Register,
        a: Register,
        b: Register,
    ) {
        if dtype.is_float() && matches!(op, BinaryOp::Min | BinaryOp::Max) {
            return self.exact_extremum(op == BinaryOp::Max, dtype, class, to, a, b);
        }
        match row(op, dtype) {
            Some(row) => self.asm.vec((row, self.form(class)), to, Some(a), Source::Reg(b), None, None),
            None => self.asm.refuse(format!("no {op} of {dtype}")),
        }
    }

    fn logic(&mut self, v: ValueId, op: BinaryOp, a: ValueId, b: ValueId) {
        let (x, y) = (self.reg(a), self.reg(b));
        let to = self.result(v, false);
        let (mask, vector) = match op {
            BinaryOp::And | BinaryOp::Min | BinaryOp::Mul => (Code::VEX_Kandq_kr_kr_kr, codes::PAND),
            BinaryOp::Or | BinaryOp::Max | BinaryOp::Add => (Code::VEX_Korq_kr_kr_kr, codes::POR),
            _ => (Code::VEX_Kxorq_kr_kr_kr, codes::PXOR),
        };
        match self.class(v) {
            Class::Mask => self.asm.rrr(mask, to, x, y),
            class => self.asm.vec((vector, self.form(class)), to, Some(x), Source::Reg(y), None, None),
        }
    }

    /// The larger or smaller; NaN if either is NaN; -0 < +0.
    fn extremum(&mut self, v: ValueId, max: bool, a: ValueId, b: ValueId) {
        let (class, dtype) = (self.class(v), self.values.types[v as usize].dtype);
        let form = self.form(class);
        let constant =
            |e: &Self, x: ValueId| e.s.places[x as usize].constant.filter(|c| !c.as_f64().is_nan());
        let beside = match (constant(self, a), constant(self, b)) {
            (_, Some(c)) => Some((a, b, c)),
            (Some(c), _) => Some((b, a, c)),
            _ => None,
        };
        if let Some((x, y, c)) = beside {
            let zero = c.as_f64() == 0.0;
            let wins = c.as_f64().is_sign_negative() != max;
            // `vmaxps c, x` is x where x is NaN or both are zeros. Adding +0 turns -0 into +0 and nothing else.
            if !zero || (wins && max) {
                let (other, limit) = (self.reg(x), self.reg(y));
                let to = self.result(v, zero);
                let row = extreme_row(max, dtype);
                self.asm.vec((row, form), to, Some(limit), Source::Reg(other), None, None);
                if zero {
                    let add = if dtype == DType::F32 { codes::ADDPS } else { codes::ADDPD };
                    self.asm.vec((add, form), to, Some(to), Source::Reg(limit), None, None);
                }
                return;
            }
        }
        let (x, y) = (self.reg(a), self.reg(b));
        let to = self.result(v, true);
        self.exact_extremum(max, dtype, class, to, x, y);
    }

    /// The same of any two registers. `to` may be `a`.
    fn exact_extremum(
        &mut self,
        max: bool,
        dtype: DType,
        class: Class,
        to: Register,
        a: Register,
        b: Register,
    ) {
        let form = self.form(class);
        let single = dtype == DType::F32;
        if self.f.wide {
            // `vrangeps` orders zeros and prefers numbers to NaN; where either is NaN their sum is one.
            let (range, compare, add) = match single {
                true => (codes::RANGEPS, codes::CMPPS, codes::ADDPS),
                false => (codes::RANGEPD, codes::CMPPD, codes::ADDPD),
            };
            self.asm.vec((compare, form), MASK, Some(a), Source::Reg(b), Some(UNORDERED), None);
            let sum = if to == a {
                let sum = self.temp(class);
                self.copy(class, sum, a);
                sum
            } else {
                a
            };
            let imm = if max { 5 } else { 4 };
            self.asm.vec((range, form), to, Some(a), Source::Reg(b), Some(imm), None);
            let mask = Some(Mask::Merge(MASK));
            self.asm.vec((add, form), to, Some(sum), Source::Reg(b), None, mask);
            return;
        }
        // Either order agrees but for zeros of two signs, which `and` or `or` settles, and NaN, where the
        // comparison sets all bits.
        let other = self.temp(class);
        let nan = self.temp(class);
        let row = extreme_row(max, dtype);
        let compare = if single { codes::CMPPS } else { codes::CMPPD };
        self.asm.vec((compare, form), nan, Some(a), Source::Reg(b), Some(UNORDERED), None);
        self.asm.vec((row, form), other, Some(b), Source::Reg(a), None, None);
        self.asm.vec((row, form), to, Some(a), Source::Reg(b), None, None);
        let settle = if max { codes::PAND } else { codes::POR };
        self.asm.vec((settle, form), to, Some(to), Source::Reg(other), None, None);
        self.asm.vec((codes::POR, form), to, Some(to), Source::Reg(nan), None, None);
    }

    pub fn compare(&mut self, v: ValueId, op: CompareOp, a: ValueId, b: ValueId) {
        let (class, dtype) = (self.class(a), self.values.types[a as usize].dtype);
        if dtype == DType::Bool {
            return match op {
                CompareOp::Ne => self.logic(v, BinaryOp::Xor, a, b),
                _ => self.asm.refuse("no such comparison of bools"),
            };
        }
        if dtype.is_float() {
            let (x, y) = (self.reg(a), self.reg(b));
            let predicate = match op {
                CompareOp::Eq => EQ,
                CompareOp::Ne => 0x04,
                CompareOp::Lt => 0x11,
                CompareOp::Le => 0x12,
                CompareOp::Gt => 0x1e,
                CompareOp::Ge => GE,
            };
            return self.test(v, class, dtype, (x, y), predicate);
        }
        if dtype.bytes() < 4 {
            // Widened, they compare as signed numbers of 32 bits.
            return self.compare_ints(v, op, DType::I32, a, b);
        }
        self.compare_ints(v, op, dtype, a, b);
    }

    /// A comparison of floats by its predicate, as a mask, a vector or a word.
    fn test(&mut self, v: ValueId, class: Class, dtype: DType, (x, y): (Register, Register), predicate: i32) {
        let form = self.form(class);
        let row = if dtype == DType::F32 { codes::CMPPS } else { codes::CMPPD };
        if class == Class::Float {
            let [rax, _] = super::state::SCRATCH;
            if self.f.wide {
                self.asm.vec((row, form), MASK, Some(x), Source::Reg(y), Some(predicate), None);
                self.asm.rr(Code::VEX_Kmovq_r64_kr, rax, MASK);
            } else {
                let all = self.temp(class);
                self.asm.vec((row, form), all, Some(x), Source::Reg(y), Some(predicate), None);
                self.asm.rr(codes::TO_GPR.0[form.0], rax, all);
            }
            self.asm.ri(Code::And_rm64_imm32, rax, 1);
            let to = self.word(v);
            return self.asm.mr(Code::Mov_rm64_r64, to, rax);
        }
        let to = self.result(v, false);
        self.asm.vec((row, form), to, Some(x), Source::Reg(y), Some(predicate), None);
    }

    fn compare_ints(&mut self, v: ValueId, op: CompareOp, dtype: DType, a: ValueId, b: ValueId) {
        let form = self.form(Class::Wide);
        let (x, y) = (self.reg(a), self.reg(b));
        let (signed, four) = (dtype.is_signed_int(), dtype.bytes() == 4);
        if self.f.wide {
            let row = match (signed, four) {
                (true, true) => codes::PCMPD,
                (false, true) => codes::PCMPUD,
                (true, false) => codes::PCMPQ,
                (false, false) => codes::PCMPUQ,
            };
            let predicate = match op {
                CompareOp::Eq => 0,
                CompareOp::Lt => 1,
                CompareOp::Le => 2,
                CompareOp::Ne => 4,
                CompareOp::Ge => 5,
                CompareOp::Gt => 6,
            };
            let to = self.result(v, false);
            return self.asm.vec((row, form), to, Some(x), Source::Reg(y), Some(predicate), None);
        }
        let equal = matches!(op, CompareOp::Eq | CompareOp::Ne);
        let to = self.result(v, true);
        let (mut x, mut y) = (x, y);
        if !signed && !equal {
            let sign = 1u64 << (8 * dtype.bytes() - 1);
            let (left, right) = (self.temp(Class::Wide), self.temp(Class::Wide));
            for (to, from) in [(left, x), (right, y)] {
                let bits = self.bits(dtype, sign);
                self.asm.vec((codes::PXOR, form), to, Some(from), bits, None, None);
            }
            (x, y) = (left, right);
        }
        let row = match (equal, four) {
            (true, true) => codes::PCMPEQD,
            (true, false) => codes::PCMPEQQ,
            (false, true) => codes::PCMPGTD,
            (false, false) => codes::PCMPGTQ,
        };
        let (first, last) = if matches!(op, CompareOp::Lt | CompareOp::Ge) { (y, x) } else { (x, y) };
        self.asm.vec((row, form), to, Some(first), Source::Reg(last), None, None);
        if matches!(op, CompareOp::Ne | CompareOp::Le | CompareOp::Ge) {
            let ones = self.bits(DType::I32, u64::MAX);
            self.asm.vec((codes::PXOR, form), to, Some(to), ones, None, None);
        }
    }

    pub fn select(&mut self, v: ValueId, c: ValueId, a: ValueId, b: ValueId) {
        match self.class(v) {
            Class::Wide if self.values.types[v as usize].dtype != DType::Bool => {
                let (cond, yes, no) = (self.reg(c), self.reg(a), self.reg(b));
                let to = self.result(v, false);
                self.blend(v, to, cond, yes, no);
            }
            Class::Float if self.class(c) == Class::Word => {
                let (yes, no) = (self.reg(a), self.reg(b));
                let to = self.result(v, true);
                self.copy(Class::Float, to, yes);
                let done = self.asm.label();
                let word = self.word(c);
                self.asm.mi(Code::Cmp_rm64_imm8, word, 0);
                self.asm.branch(Code::Jne_rel32_64, done);
                self.copy(Class::Float, to, no);
                self.asm.bind(done);
            }
            _ => self.asm.refuse("no selection of bools"),
        }
    }

    pub fn cast(&mut self, v: ValueId, a: ValueId, to: Type) {
        let from = self.values.types[a as usize];
        if from.dtype == to.dtype {
            return self.same(v, a);
        }
        let class = (self.class(a), self.class(v));
        if let (Some(c), Class::Wide | Class::Float) = (self.s.places[a as usize].constant, class.1) {
            let known = eval::cast(c, to.dtype);
            self.s.places[v as usize].constant = Some(known);
            return;
        }
        match class {
            (Class::Wide | Class::Float, _) if to.dtype == DType::Bool => self.truth(v, a),
            (Class::Wide, Class::Wide) if from.dtype == DType::Bool => self.ones(v, a, to),
            (Class::Mask, Class::Wide) => self.ones(v, a, to),
            (Class::Wide, Class::Wide) => self.cast_lanes(v, a, from.dtype, to.dtype),
            (Class::Word | Class::Float, Class::Float) => self.cast_to_float(v, a, from.dtype, to.dtype),
            _ => self.asm.refuse(format!("no cast of {} to {}", from.dtype, to.dtype)),
        }
    }

    /// Whether a value is not zero.
    fn truth(&mut self, v: ValueId, a: ValueId) {
        let (class, dtype) = (self.class(a), self.values.types[a as usize].dtype);
        if !dtype.is_float() {
            return self.asm.refuse(format!("no cast of {dtype} to bool"));
        }
        let from = self.reg(a);
        let zero = self.temp(class);
        self.zero(zero);
        self.test(v, class, dtype, (from, zero), 0x04);
    }

    /// One where a bool is true.
    fn ones(&mut self, v: ValueId, a: ValueId, to: Type) {
        let one = Scalar::from_i64(to.dtype, 1);
        let cond = self.reg(a);
        let known = self.temp(Class::Wide);
        self.constant(Class::Wide, known, one, to);
        let result = self.result(v, true);
        if self.f.wide {
            if to.dtype.bytes() == 8 {
                self.zero(result);
                return self.blend(v, result, cond, known, result);
            }
            return self.keep(Class::Wide, result, known, cond);
        }
        let form = self.form(Class::Wide);
        self.asm.vec((codes::PAND, form), result, Some(known), Source::Reg(cond), None, None);
    }

    fn cast_lanes(&mut self, v: ValueId, a: ValueId, from: DType, to: DType) {
        let form = self.form(Class::Wide);
        if from.is_float() && to.is_int() {
            return self.integers(v, a, from, to);
        }
        if from.is_int() && to.is_int() && from.bytes().max(4) == to.bytes() {
            return self.same(v, a);
        }
        let row = match (from, to) {
            (DType::U32, DType::F32) => codes::CVTUDQ2PS,
            (d, DType::F32) if d.is_int() && d.bytes() <= 4 => codes::CVTDQ2PS,
            (DType::I64, DType::F64) => codes::CVTQQ2PD,
            (DType::U64, DType::F64) => codes::CVTUQQ2PD,
            _ => return self.asm.refuse(format!("no cast of {from} to {to}")),
        };
        let x = self.reg(a);
        let result = self.result(v, false);
        self.asm.vec((row, form), result, None, Source::Reg(x), None, None);
    }

    /// Truncates; beyond the range the nearest integer, of NaN 0.
    fn integers(&mut self, v: ValueId, a: ValueId, from: DType, to: DType) {
        let form = self.form(Class::Wide);
        let (row, compare) = match (from, to) {
            (DType::F32, DType::I32) => (codes::CVTTPS2DQ, codes::CMPPS),
            (DType::F64, DType::I64) => (codes::CVTTPD2QQ, codes::CMPPD),
            (DType::F32, DType::U32) => (codes::CVTTPS2UDQ, codes::MAXPS),
            (DType::F64, DType::U64) => (codes::CVTTPD2UQQ, codes::MAXPD),
            _ => return self.asm.refuse(format!("no cast of {from} to {to}")),
        };
        let x = self.reg(a);
        let result = self.result(v, true);
        if !to.is_signed_int() {
            // `vmaxps x, 0` is 0 where x is NaN; what is too large converts to all ones.
            self.zero(result);
            self.asm.vec((compare, form), result, Some(x), Source::Reg(result), None, None);
            return self.asm.vec((row, form), result, None, Source::Reg(result), None, None);
        }
        // What is out of range converts to the least integer: right below, its complement above, 0 for NaN.
        let limit = self.temp(Class::Wide);
        let bound =
            if from == DType::F32 { Scalar::f32(2147483648.0) } else { Scalar::f64(9223372036854775808.0) };
        self.constant(Class::Wide, limit, bound, Type::scalar(from));
        if self.f.wide {
            self.asm.vec((compare, form), MASK, Some(x), Source::Reg(limit), Some(GE), None);
            self.asm.vec((row, form), result, None, Source::Reg(x), None, None);
            let most = if to == DType::I32 { i64::from(i32::MAX) } else { i64::MAX };
            self.constant(Class::Wide, limit, Scalar::from_i64(to, most), Type::scalar(to));
            self.blend(v, result, MASK, limit, result);
            self.asm.vec((compare, form), MASK, Some(x), Source::Reg(x), Some(UNORDERED), None);
            self.zero(limit);
            return self.blend(v, result, MASK, limit, result);
        }
        self.asm.vec((compare, form), limit, Some(x), Source::Reg(limit), Some(GE), None);
        self.asm.vec((row, form), result, None, Source::Reg(x), None, None);
        self.asm.vec((codes::PXOR, form), result, Some(result), Source::Reg(limit), None, None);
        self.asm.vec((compare, form), limit, Some(x), Source::Reg(x), Some(UNORDERED), None);
        self.asm.vec((codes::PANDN, form), result, Some(limit), Source::Reg(result), None, None);
    }

    fn cast_to_float(&mut self, v: ValueId, a: ValueId, from: DType, to: DType) {
        let form = self.form(Class::Float);
        if from.is_float() {
            let row = if to == DType::F64 { codes::F32_TO_F64 } else { codes::F64_TO_F32 };
            let x = self.reg(a);
            let result = self.result(v, false);
            return self.asm.vec((row, form), result, None, Source::Reg(x), None, None);
        }
        if from == DType::U64 {
            return self.asm.refuse("no cast of one u64 to a float");
        }
        let code = if to == DType::F32 { codes::I64_TO_F32 } else { codes::I64_TO_F64 };
        let result = self.result(v, true);
        let word = self.word(a);
        self.zero(result);
        self.asm.rm(Code::Mov_r64_rm64, super::state::SCRATCH[0], word);
        self.asm.rrr(code.0[form.0], result, result, super::state::SCRATCH[0]);
    }
}

fn extreme_row(max: bool, dtype: DType) -> Row {
    match (max, dtype == DType::F32) {
        (true, true) => codes::MAXPS,
        (true, false) => codes::MAXPD,
        (false, true) => codes::MINPS,
        (false, false) => codes::MINPD,
    }
}

/// The single instruction of an operator, if there is one: of floats, and of integers of 4 and 8 bytes.
fn row(op: BinaryOp, dtype: DType) -> Option<Row> {
    let (signed, eight) = (dtype.is_signed_int(), dtype.bytes() == 8);
    if dtype.is_float() {
        return Some(match (op, eight) {
            (BinaryOp::Add, false) => codes::ADDPS,
            (BinaryOp::Add, true) => codes::ADDPD,
            (BinaryOp::Sub, false) => codes::SUBPS,
            (BinaryOp::Sub, true) => codes::SUBPD,
            (BinaryOp::Mul, false) => codes::MULPS,
            (BinaryOp::Mul, true) => codes::MULPD,
            (BinaryOp::Div, false) => codes::DIVPS,
            (BinaryOp::Div, true) => codes::DIVPD,
            _ => return None,
        });
    }
    if dtype.bytes() < 4 {
        return None;
    }
    let pick = |four: Row, wide: Row| if eight { wide } else { four };
    Some(match op {
        BinaryOp::Add => pick(codes::PADDD, codes::PADDQ),
        BinaryOp::Sub => pick(codes::PSUBD, codes::PSUBQ),
        BinaryOp::Mul => pick(codes::PMULLD, codes::PMULLQ),
        BinaryOp::Min if signed => pick(codes::PMINSD, codes::PMINSQ),
        BinaryOp::Min => pick(codes::PMINUD, codes::PMINUQ),
        BinaryOp::Max if signed => pick(codes::PMAXSD, codes::PMAXSQ),
        BinaryOp::Max => pick(codes::PMAXUD, codes::PMAXUQ),
        BinaryOp::And => codes::PAND,
        BinaryOp::Or => codes::POR,
        BinaryOp::Xor => codes::PXOR,
        // Counts of the width or more give zeros or signs, negative ones are such.
        BinaryOp::Shl => pick(codes::PSLLVD, codes::PSLLVQ),
        BinaryOp::Shr if signed => pick(codes::PSRAVD, codes::PSRAVQ),
        BinaryOp::Shr => pick(codes::PSRLVD, codes::PSRLVQ),
        BinaryOp::Div | BinaryOp::Rem | BinaryOp::Pow => return None,
    })
}
