//! One instruction of a leaf.

use super::{Emission, clif_type, int};
use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::immediates::{Ieee32, Ieee64};
use cranelift_codegen::ir::{
    BlockArg, ConstantData, Endianness, InstBuilder, MemFlagsData, Type as ClifType, Value, types,
};
use cranelift_frontend::FunctionBuilder;
use fornax_ir::dtype::DType;
use fornax_ir::leaf::{Addr, Inst, Op, Type, ValueId};
use fornax_ir::scalar::{BinaryOp, CompareOp, Scalar, UnaryOp};

impl Emission<'_> {
    /// Emits it; its result, if it has one.
    pub(super) fn op(&mut self, b: &mut FunctionBuilder<'_>, op: &Op) -> Option<Value> {
        let ty = op.ty;
        Some(match &op.inst {
            Inst::Const(scalar) => constant(b, *scalar, ty),
            Inst::Int(n) => self.call.ints[*n as usize],
            Inst::Counter(l) => self.counters[*l as usize],
            Inst::Load(addr) => self.load(b, addr, ty, false),
            Inst::LoadStrided(addr, by) => self.load_strided(b, addr, *by, ty),
            Inst::LoadSplat(_) if self.in_body && self.repeated.holds(op) => return None,
            Inst::LoadSplat(addr) => {
                let one = self.load(b, addr, Type { lanes: 1, ..ty }, false);
                self.splat(b, one, ty)
            }
            Inst::Splat(a) => {
                let a = self.get(*a);
                self.splat(b, a, ty)
            }
            Inst::Ramp(a) => {
                let a = self.get(*a);
                self.ramp(b, a, ty)
            }
            Inst::Pack(lanes) => self.pack(b, lanes, ty),
            Inst::Lane(a, k) => self.lane(b, *a, *k, ty),
            Inst::Unary(o, a) => self.unary(b, *o, self.get(*a), ty_of(self, *a)),
            Inst::Binary(o, x, y) => self.binary(b, *o, (*x, *y), ty),
            Inst::Compare(o, x, y) => compare(b, *o, self.get(*x), self.get(*y), ty_of(self, *x)),
            Inst::Select(c, x, y) => self.select(b, self.get(*c), self.get(*x), self.get(*y), ty),
            Inst::Cast(a) => self.cast(b, self.get(*a), ty_of(self, *a), ty),
            Inst::Bitcast(a) => bitcast(b, clif_type(ty), self.get(*a)),
            Inst::Fma(x, y, z) => {
                let (x, y) = if self.repeated.next(*y).is_some() { (*y, *x) } else { (*x, *y) };
                let (x, y, z) = (self.factor(b, x), self.factor(b, y), self.get(*z));
                self.fma(b, [x, y, z], ty)
            }
            Inst::Scale(a, n) => self.scale(b, self.get(*a), self.get(*n), ty),
            Inst::Horizontal(reduce, a) => self.horizontal(b, *reduce, self.get(*a), ty_of(self, *a)),
            Inst::LoadIf(cond, addr) => self.load_if(b, *cond, addr, ty),
            Inst::Store(addr, value) => {
                let value = self.get(*value);
                self.store(b, addr, value, ty);
                return None;
            }
            Inst::Raise(cond, detail) => {
                let (then, join) = (b.create_block(), b.create_block());
                b.ins().brif(self.get(*cond), then, &[], join, &[]);
                b.switch_to_block(then);
                let detail = self.size(b, *detail);
                let mark = b.ins().iadd_imm_s(detail, 1);
                b.ins().store(MemFlagsData::trusted(), mark, self.call.flag, 0);
                b.ins().jump(join, &[]);
                b.switch_to_block(join);
                return None;
            }
            // Not supported; `If` is handled where its block is.
            Inst::Prefetch(_)
            | Inst::Interleave(..)
            | Inst::LoadPart(..)
            | Inst::StorePart(..)
            | Inst::If(..) => return None,
        })
    }

    /// A factor of a multiply-add, loaded anew if that is how its load is repeated.
    fn factor(&mut self, b: &mut FunctionBuilder<'_>, x: ValueId) -> Value {
        let Some((addr, ty, ptr)) = self.repeated.next(x) else { return self.get(x) };
        self.repeated.used(x);
        let p = addr.ptr as usize;
        let own = self.ptrs[p];
        self.ptrs[p] = ptr.unwrap_or(own);
        let one = self.load(b, &addr, Type { lanes: 1, ..ty }, false);
        self.ptrs[p] = own;
        self.splat(b, one, ty)
    }

    /// Pointer and displacement of an address.
    fn address(&self, b: &mut FunctionBuilder<'_>, addr: &Addr) -> (Value, i32) {
        let mut at = self.ptrs[addr.ptr as usize];
        if let Some(n) = addr.int {
            at = b.ins().iadd(at, self.call.ints[n as usize]);
        }
        if let Some(v) = addr.value {
            at = b.ins().iadd(at, self.get(v));
        }
        let disp = addr.disp.wrapping_add(self.extra[addr.ptr as usize]);
        match i32::try_from(disp) {
            Ok(disp) => (at, disp),
            Err(_) => (b.ins().iadd_imm_s(at, disp), 0),
        }
    }

    fn load(&mut self, b: &mut FunctionBuilder<'_>, addr: &Addr, ty: Type, guarded: bool) -> Value {
        let mut flags = MemFlagsData::new().with_notrap();
        if self.in_body && !guarded && addr.value.is_none() && self.movable[addr.ptr as usize] {
            flags = flags.with_readonly().with_can_move();
        }
        let (at, disp) = self.address(b, addr);
        let clif = clif_type(ty);
        if ty.lanes > 1 && ty.dtype.is_float() && self.f.x86 && !self.f.fma {
            // Cranelift folds a load of floats into a comparison, which without AVX needs aligned memory.
            let bits = b.ins().load(clif.as_int(), flags, at, disp);
            return bitcast(b, clif, bits);
        }
        if ty.lanes == 1 || clif.bytes() == ty.dtype.bytes() as u32 * ty.lanes {
            return b.ins().load(clif, flags, at, disp);
        }
        // Narrow integers, widened to 32 bits.
        let signed = ty.dtype.is_signed_int();
        let half = if ty.dtype.bytes() == 1 {
            let packed = b.ins().load(types::I32, flags, at, disp);
            let register = b.ins().scalar_to_vector(types::I32X4, packed);
            let bytes = bitcast(b, types::I8X16, register);
            if signed { b.ins().swiden_low(bytes) } else { b.ins().uwiden_low(bytes) }
        } else {
            let packed = b.ins().load(types::I64, flags, at, disp);
            let register = b.ins().scalar_to_vector(types::I64X2, packed);
            bitcast(b, types::I16X8, register)
        };
        if signed { b.ins().swiden_low(half) } else { b.ins().uwiden_low(half) }
    }

    /// Four elements of four bytes, two from each of two registers. Neither reaches beyond the
    /// outermost of the four.
    fn load_strided(&mut self, b: &mut FunctionBuilder<'_>, addr: &Addr, by: i64, ty: Type) -> Value {
        if ty.lanes == 1 {
            return self.load(b, addr, ty, false);
        }
        let at = |elements: i64| Addr { disp: addr.disp.wrapping_add(4 * elements), ..*addr };
        // Elements 0 and `by` lie in the one, `2 by` and `3 by` in the other.
        let (near, far) = if by < 0 { (-3, 3 * by) } else { (0, 3 * by - 3) };
        let lanes = [-near, by - near, 2 * by - far + 4, 3 * by - far + 4];
        let near = self.load(b, &at(near), ty, false);
        let far = self.load(b, &at(far), ty, false);
        let (near, far) = (bitcast(b, types::I8X16, near), bitcast(b, types::I8X16, far));
        let bytes: Vec<u8> = lanes.iter().flat_map(|&l| (0..4).map(move |k| (l * 4 + k) as u8)).collect();
        let mask = b.func.dfg.immediates.push(ConstantData::from(bytes));
        let shuffled = b.ins().shuffle(near, far, mask);
        bitcast(b, clif_type(ty), shuffled)
    }

    fn load_if(&mut self, b: &mut FunctionBuilder<'_>, cond: ValueId, addr: &Addr, ty: Type) -> Value {
        let (then, join) = (b.create_block(), b.create_block());
        let result = b.append_block_param(join, clif_type(ty));
        let zero = constant(b, Scalar::new(ty.dtype, 0), ty);
        b.ins().brif(self.get(cond), then, &[], join, &[BlockArg::Value(zero)]);
        b.switch_to_block(then);
        let loaded = self.load(b, addr, ty, true);
        b.ins().jump(join, &[BlockArg::Value(loaded)]);
        b.switch_to_block(join);
        result
    }

    fn store(&mut self, b: &mut FunctionBuilder<'_>, addr: &Addr, value: Value, _ty: Type) {
        let (at, disp) = self.address(b, addr);
        b.ins().store(MemFlagsData::new().with_notrap(), value, at, disp);
    }

    fn pack(&self, b: &mut FunctionBuilder<'_>, lanes: &[ValueId], ty: Type) -> Value {
        let clif = clif_type(ty);
        if ty.lanes == 1 {
            return self.get(lanes[0]);
        }
        let first = self.as_lane(b, self.get(lanes[0]), ty);
        let mut all = b.ins().scalar_to_vector(clif, first);
        for (k, &v) in lanes.iter().enumerate().skip(1) {
            let one = self.as_lane(b, self.get(v), ty);
            all = b.ins().insertlane(all, one, k as u8);
        }
        all
    }

    fn lane(&self, b: &mut FunctionBuilder<'_>, a: ValueId, k: u32, ty: Type) -> Value {
        let from = ty_of(self, a);
        if from.lanes == 1 {
            return self.get(a);
        }
        let one = b.ins().extractlane(self.get(a), k as u8);
        let (lane, own) = (clif_type(from).lane_type(), clif_type(ty));
        let one = if ty.dtype == DType::Bool { b.ins().band_imm_s(one, 1) } else { one };
        if lane == own { one } else { b.ins().ireduce(own, one) }
    }

    /// A one-lane value as wide as it is in a register of several lanes.
    fn as_lane(&self, b: &mut FunctionBuilder<'_>, one: Value, ty: Type) -> Value {
        let lane = clif_type(ty).lane_type();
        if ty.dtype == DType::Bool {
            b.ins().bmask(lane, one)
        } else if ty.dtype.bytes() < lane.bytes() as usize {
            if ty.dtype.is_signed_int() { b.ins().sextend(lane, one) } else { b.ins().uextend(lane, one) }
        } else {
            one
        }
    }

    fn splat(&self, b: &mut FunctionBuilder<'_>, one: Value, ty: Type) -> Value {
        let one = self.as_lane(b, one, ty);
        b.ins().splat(clif_type(ty), one)
    }

    fn ramp(&self, b: &mut FunctionBuilder<'_>, first: Value, ty: Type) -> Value {
        let clif = clif_type(ty);
        let lane = clif.lane_type();
        let first = if lane == types::I64 { first } else { b.ins().ireduce(lane, first) };
        let base = b.ins().splat(clif, first);
        let bytes: Vec<u8> =
            (0..ty.lanes as u64).flat_map(|k| k.to_le_bytes()[..lane.bytes() as usize].to_vec()).collect();
        let steps = b.func.dfg.constants.insert(ConstantData::from(bytes));
        let steps = b.ins().vconst(clif, steps);
        b.ins().iadd(base, steps)
    }

    /// The scalar in every lane of a value, if it is a constant.
    pub(super) fn as_const(&self, id: ValueId) -> Option<Scalar> {
        let leaf = self.call.leaf;
        let place = |id: ValueId| {
            let in_section = |first: ValueId, ops: &[Op]| {
                let i = id.checked_sub(first)? as usize;
                ops.get(i).map(|op| op.inst.clone())
            };
            in_section(0, &leaf.init)
                .or_else(|| in_section(leaf.first_body(), &leaf.body))
                .or_else(|| in_section(leaf.first_finish(), &leaf.finish))
        };
        match place(id)? {
            Inst::Const(scalar) => Some(scalar),
            Inst::Splat(inner) => match place(inner)? {
                Inst::Const(scalar) => Some(scalar),
                _ => None,
            },
            _ => None,
        }
    }

    pub(super) fn select(
        &self,
        b: &mut FunctionBuilder<'_>,
        cond: Value,
        x: Value,
        y: Value,
        ty: Type,
    ) -> Value {
        if ty.lanes == 1 {
            return b.ins().select(cond, x, y);
        }
        let mask = bitcast(b, clif_type(ty), cond);
        b.ins().bitselect(mask, x, y)
    }

    fn unary(&self, b: &mut FunctionBuilder<'_>, op: UnaryOp, a: Value, ty: Type) -> Value {
        if ty.dtype == DType::Bool {
            // Only `not` takes a bool.
            return if ty.lanes == 1 { b.ins().bxor_imm_s(a, 1) } else { b.ins().bnot(a) };
        }
        if ty.dtype.is_float() { self.float_unary(b, op, a) } else { int::unary(b, op, a, ty) }
    }

    fn binary(
        &self,
        b: &mut FunctionBuilder<'_>,
        op: BinaryOp,
        (x, y): (ValueId, ValueId),
        ty: Type,
    ) -> Value {
        let (a, c) = (self.get(x), self.get(y));
        if ty.dtype == DType::Bool {
            return match op {
                BinaryOp::And | BinaryOp::Min | BinaryOp::Mul => b.ins().band(a, c),
                BinaryOp::Or | BinaryOp::Max | BinaryOp::Add => b.ins().bor(a, c),
                _ => b.ins().bxor(a, c),
            };
        }
        let (left, right) = (self.as_const(x), self.as_const(y));
        if ty.dtype.is_float() {
            self.float_binary(b, op, (a, left), (c, right), ty)
        } else {
            int::binary(b, op, a, (c, right), ty)
        }
    }

    /// Lanes combined as [`Inst::Horizontal`] says.
    fn horizontal(
        &self,
        b: &mut FunctionBuilder<'_>,
        reduce: fornax_ir::scalar::ReduceOp,
        a: Value,
        ty: Type,
    ) -> Value {
        let op = crate::tile::build::combiner(reduce, ty.dtype);
        let one = Type { lanes: 1, ..ty };
        let mut lanes: Vec<Value> = (0..ty.lanes).map(|k| b.ins().extractlane(a, k as u8)).collect();
        while lanes.len() > 1 {
            let half = lanes.len() / 2;
            lanes = (0..half)
                .map(|k| {
                    let (x, y) = (lanes[k], lanes[k + half]);
                    if ty.dtype.is_float() {
                        self.float_binary(b, op, (x, None), (y, None), one)
                    } else {
                        int::binary(b, op, x, (y, None), one)
                    }
                })
                .collect();
        }
        lanes[0]
    }
}

pub(super) fn ty_of(emission: &Emission<'_>, id: ValueId) -> Type {
    emission.types[id as usize]
}

/// Same bits, another type of the same width.
pub(super) fn bitcast(b: &mut FunctionBuilder<'_>, to: ClifType, a: Value) -> Value {
    if b.func.dfg.value_type(a) == to {
        return a;
    }
    // Vectors of different lane widths need a byte order; there are none on big-endian targets.
    b.ins().bitcast(to, MemFlagsData::new().with_endianness(Endianness::Little), a)
}

/// The constant in every lane.
pub(super) fn constant(b: &mut FunctionBuilder<'_>, scalar: Scalar, ty: Type) -> Value {
    let clif = clif_type(ty);
    let lane = clif.lane_type();
    let one = match scalar.dtype {
        DType::F32 => b.ins().f32const(Ieee32::with_bits(scalar.bits as u32)),
        DType::F64 => b.ins().f64const(Ieee64::with_bits(scalar.bits)),
        DType::Bool if ty.lanes > 1 => {
            let ones = if lane == types::I64 { u64::MAX } else { u64::from(u32::MAX) };
            b.ins().iconst(lane, if scalar.bits != 0 { ones as i64 } else { 0 })
        }
        d if ty.lanes > 1 && d.bytes() < 4 => b.ins().iconst(lane, i64::from(scalar.as_i64() as u32)),
        _ => b.ins().iconst(lane, scalar.bits as i64),
    };
    if ty.lanes == 1 { one } else { b.ins().splat(clif, one) }
}

fn compare(b: &mut FunctionBuilder<'_>, op: CompareOp, x: Value, y: Value, ty: Type) -> Value {
    if ty.dtype.is_float() {
        let cc = match op {
            CompareOp::Eq => FloatCC::Equal,
            CompareOp::Ne => FloatCC::NotEqual,
            CompareOp::Lt => FloatCC::LessThan,
            CompareOp::Le => FloatCC::LessThanOrEqual,
            CompareOp::Gt => FloatCC::GreaterThan,
            CompareOp::Ge => FloatCC::GreaterThanOrEqual,
        };
        return b.ins().fcmp(cc, x, y);
    }
    let signed = ty.dtype.is_signed_int();
    let pick = |s, u| if signed { s } else { u };
    let cc = match op {
        CompareOp::Eq => IntCC::Equal,
        CompareOp::Ne => IntCC::NotEqual,
        CompareOp::Lt => pick(IntCC::SignedLessThan, IntCC::UnsignedLessThan),
        CompareOp::Le => pick(IntCC::SignedLessThanOrEqual, IntCC::UnsignedLessThanOrEqual),
        CompareOp::Gt => pick(IntCC::SignedGreaterThan, IntCC::UnsignedGreaterThan),
        CompareOp::Ge => pick(IntCC::SignedGreaterThanOrEqual, IntCC::UnsignedGreaterThanOrEqual),
    };
    b.ins().icmp(cc, x, y)
}
