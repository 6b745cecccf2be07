//! Leaves as Cranelift instructions, in place: every target, vectors of 128 bits.

mod cast;
mod float;
mod int;
mod ops;
mod repeat;
mod supports;

use super::{LeafCall, LeafEmitter};
use crate::target::Target;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{BlockArg, Endianness, InstBuilder, Type as ClifType, Value, types};
use cranelift_frontend::FunctionBuilder;
use fornax_ir::dtype::DType;
use fornax_ir::kernel::Size;
use fornax_ir::leaf::{Inst, Leaf, Op, Type, ValueId};
use repeat::Repeated;
use target_lexicon::Architecture;

/// What the emitter needs to know of the target.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Features {
    /// `fma` is one instruction.
    pub fma: bool,
    /// Vectors of 128 bits exist.
    pub vectors: bool,
    /// Lanes of a register lie in memory in ascending order.
    pub little: bool,
    /// x86-64.
    pub x86: bool,
}

/// The emitter.
#[derive(Clone, Copy, Debug)]
pub struct Clif {
    features: Features,
    registers: u32,
}

impl Clif {
    /// For that target.
    #[must_use]
    pub fn new(target: &Target) -> Self {
        let x86 = target.isa.triple().architecture == Architecture::X86_64;
        let features = Features {
            fma: target.fma,
            vectors: target.has_vectors,
            little: target.isa.endianness() == Endianness::Little,
            x86,
        };
        Clif { features, registers: if x86 { 16 } else { 32 } }
    }
}

impl LeafEmitter for Clif {
    fn name(&self) -> &str {
        "clif"
    }
    fn lanes(&self, dtype: DType) -> u32 {
        let bytes = dtype.bytes() as u32;
        if self.features.vectors && self.features.little && bytes >= 4 && dtype != DType::Bool {
            16 / bytes
        } else {
            1
        }
    }
    fn registers(&self) -> u32 {
        self.registers
    }
    fn supports(&self, leaf: &Leaf) -> Result<(), String> {
        supports::check(leaf, self.features)
    }
    fn emit(&self, b: &mut FunctionBuilder<'_>, call: &LeafCall<'_>) {
        let leaf = call.leaf;
        let total = leaf.first_finish() as usize + leaf.finish.len();
        let inner = leaf.loops.len().wrapping_sub(1);
        let bumped =
            |p: usize| leaf.loops.get(inner).is_some_and(|l| l.bumps.iter().any(|b| b.0 as usize == p));
        // A load through a pointer that the innermost loop moves cannot leave that loop, so that it may move inside it.
        let movable = (0..leaf.ptrs.len()).map(|p| call.readonly[p] && bumped(p)).collect();
        let mut emission = Emission {
            f: self.features,
            call,
            values: vec![None; total],
            types: types_of(leaf),
            ptrs: call.ptrs.to_vec(),
            extra: vec![0; leaf.ptrs.len()],
            counters: Vec::new(),
            movable,
            in_body: false,
            repeated: Repeated::default(),
        };
        emission.repeated = Repeated::of(&emission);
        emission.run(b, 0, &leaf.init);
        let start = leaf.carried.iter().map(|c| emission.get(c.init)).collect();
        let last = emission.nest(b, 0, start);
        emission.define_carried(&last);
        emission.ptrs = call.ptrs.to_vec();
        emission.run(b, leaf.first_finish(), &leaf.finish);
    }
}

fn types_of(leaf: &Leaf) -> Vec<Type> {
    let ops = |ops: &[Op]| ops.iter().map(|op| op.ty).collect::<Vec<_>>();
    let mut types = ops(&leaf.init);
    types.extend(leaf.carried.iter().map(|c| c.ty));
    types.extend(ops(&leaf.body));
    types.extend(ops(&leaf.finish));
    types
}

/// The Cranelift type of a value: bool is i8 or a mask of integers as wide as the lanes; narrow
/// integers in several lanes are kept widened to 32 bits.
pub(crate) fn clif_type(ty: Type) -> ClifType {
    let scalar = match ty.dtype {
        DType::Bool | DType::I8 | DType::U8 => types::I8,
        DType::I16 | DType::U16 | DType::F16 | DType::BF16 => types::I16,
        DType::I32 | DType::U32 => types::I32,
        DType::I64 | DType::U64 => types::I64,
        DType::F32 => types::F32,
        DType::F64 => types::F64,
    };
    match (ty.lanes, ty.dtype.bytes()) {
        (1, _) => scalar,
        (2, 1) => types::I64X2,
        (_, 1 | 2) => types::I32X4,
        (lanes, _) => scalar.by(lanes).unwrap_or(types::INVALID),
    }
}

/// One leaf being emitted.
struct Emission<'c> {
    f: Features,
    call: &'c LeafCall<'c>,
    values: Vec<Option<Value>>,
    types: Vec<Type>,
    /// Pointers at their present positions.
    ptrs: Vec<Value>,
    /// Constant bytes added to each pointer (rounds of an unrolled loop).
    extra: Vec<i64>,
    /// Counters of the loops around.
    counters: Vec<Value>,
    /// Pointers whose loads in the body may be moved.
    movable: Vec<bool>,
    in_body: bool,
    repeated: Repeated,
}

impl Emission<'_> {
    fn get(&self, id: ValueId) -> Value {
        self.values[id as usize].expect("operands are defined before their uses")
    }

    fn define_carried(&mut self, values: &[Value]) {
        let first = self.call.leaf.first_carried() as usize;
        for (i, &v) in values.iter().enumerate() {
            self.values[first + i] = Some(v);
        }
    }

    fn size(&self, b: &mut FunctionBuilder<'_>, size: Size) -> Value {
        match size {
            Size::Const(n) => b.ins().iconst(types::I64, n),
            Size::Arg(n) => self.call.ints[n as usize],
        }
    }

    /// Instructions in order; those after an `If` in a block of their own.
    fn run(&mut self, b: &mut FunctionBuilder<'_>, first: ValueId, ops: &[Op]) {
        let mut i = 0;
        while i < ops.len() {
            let op = &ops[i];
            if let Inst::If(cond, count) = op.inst {
                let (then, join) = (b.create_block(), b.create_block());
                b.ins().brif(self.get(cond), then, &[], join, &[]);
                b.switch_to_block(then);
                let end = (i + 1 + count as usize).min(ops.len());
                self.run(b, first + i as ValueId + 1, &ops[i + 1..end]);
                b.ins().jump(join, &[]);
                b.switch_to_block(join);
                i = end;
            } else {
                self.values[first as usize + i] = self.op(b, op);
                i += 1;
            }
        }
    }

    /// Loop number `level` and those inside it; the carried values after it.
    fn nest(&mut self, b: &mut FunctionBuilder<'_>, level: usize, carried: Vec<Value>) -> Vec<Value> {
        let leaf = self.call.leaf;
        let Some(this) = leaf.loops.get(level) else {
            return self.body(b, &carried);
        };
        let count = self.size(b, this.count);
        let innermost = level + 1 == leaf.loops.len();
        let rounds = if innermost && !self.repeated.any() { self.rounds(this.count) } else { 1 };
        let counter_used = leaf.body.iter().any(|op| op.inst == Inst::Counter(level as u32));

        let (head, done) = (b.create_block(), b.create_block());
        let left = b.append_block_param(head, types::I64);
        let mut enter = vec![BlockArg::Value(count)];
        let bumps = this.bumps.clone();
        let outside = self.ptrs.clone();
        for &(p, _) in &bumps {
            enter.push(BlockArg::Value(outside[p as usize]));
            self.ptrs[p as usize] = b.append_block_param(head, types::I64);
        }
        let copied = if innermost { self.repeated.copies(&bumps) } else { Vec::new() };
        for &(p, _) in &copied {
            enter.push(BlockArg::Value(outside[p as usize]));
            let copy = b.append_block_param(head, types::I64);
            self.repeated.aliases[p as usize].push(copy);
        }
        enter.extend(carried.iter().map(|&v| BlockArg::Value(v)));
        let types: Vec<ClifType> = leaf.carried.iter().map(|c| clif_type(c.ty)).collect();
        let entered: Vec<Value> = types.iter().map(|&t| b.append_block_param(head, t)).collect();
        b.ins().jump(head, &enter);

        // The test stands at the top and the loop's results are its parameters, so that what a round
        // computes has a single use: only then Cranelift folds loads into it.
        b.switch_to_block(head);
        let inside = b.create_block();
        let args = |values: &[Value]| values.iter().map(|&v| BlockArg::Value(v)).collect::<Vec<_>>();
        let (after, leave) = if rounds == 1 {
            (entered.clone(), Vec::new())
        } else {
            (types.iter().map(|&t| b.append_block_param(done, t)).collect(), args(&entered))
        };
        let more = b.ins().icmp_imm_s(IntCC::SignedGreaterThan, left, 0);
        b.ins().brif(more, inside, &[], done, &leave);
        b.switch_to_block(inside);
        let starts = self.ptrs.clone();
        let (mut rest, mut now) = (left, entered);
        for round in 0..rounds {
            let done_rounds = if counter_used { b.ins().isub(count, rest) } else { rest };
            self.counters.push(done_rounds);
            now = self.nest(b, level + 1, now);
            self.counters.pop();
            rest = b.ins().iadd_imm_s(rest, -1);
            if round + 1 < rounds {
                let next = b.create_block();
                let more = b.ins().icmp_imm_s(IntCC::NotEqual, rest, 0);
                b.ins().brif(more, next, &[], done, &args(&now));
                b.switch_to_block(next);
                self.advance(b, &bumps, &starts, i64::from(round) + 1);
            }
        }
        let mut again = vec![BlockArg::Value(rest)];
        for &(p, bytes) in &bumps {
            let p = p as usize;
            self.ptrs[p] = starts[p];
            self.extra[p] = 0;
            let step = self.step(b, bytes, i64::from(rounds));
            again.push(BlockArg::Value(b.ins().iadd(starts[p], step)));
        }
        self.repeated.advance(b, &copied, |b, bytes| self.step(b, bytes, i64::from(rounds)), &mut again);
        again.extend(args(&now));
        b.ins().jump(head, &again);
        self.ptrs = outside;
        b.switch_to_block(done);
        after
    }

    /// How many rounds of the innermost loop stand one after the other.
    fn rounds(&self, count: Size) -> u32 {
        let wanted = self.call.unroll.clamp(1, 16);
        match count {
            Size::Const(n) => (wanted as i64).min(n.max(1)) as u32,
            Size::Arg(_) => wanted,
        }
    }

    fn step(&self, b: &mut FunctionBuilder<'_>, bytes: Size, rounds: i64) -> Value {
        match bytes {
            Size::Const(n) => b.ins().iconst(types::I64, n.wrapping_mul(rounds)),
            Size::Arg(n) => b.ins().imul_imm_s(self.call.ints[n as usize], rounds),
        }
    }

    /// Pointers at round number `round` of an unrolled loop.
    fn advance(&mut self, b: &mut FunctionBuilder<'_>, bumps: &[(u32, Size)], starts: &[Value], round: i64) {
        for &(p, bytes) in bumps {
            let p = p as usize;
            match bytes {
                Size::Const(n) if n.abs() < 1 << 24 => self.extra[p] = n * round,
                _ => {
                    let step = self.step(b, bytes, round);
                    self.ptrs[p] = b.ins().iadd(starts[p], step);
                }
            }
        }
    }

    fn body(&mut self, b: &mut FunctionBuilder<'_>, carried: &[Value]) -> Vec<Value> {
        let leaf = self.call.leaf;
        self.define_carried(carried);
        self.in_body = true;
        self.run(b, leaf.first_body(), &leaf.body);
        self.in_body = false;
        leaf.carried.iter().map(|c| self.get(c.next)).collect()
    }
}
