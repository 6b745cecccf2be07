//! The invariants of a [`Leaf`]:
//!
//! - There are at most [`MAX_LOOPS`] loops. Pointers and integer arguments that are named exist; a loop
//!   bumps a pointer at most once.
//! - Lanes are a power of two, at most [`MAX_LANES`].
//! - Operands have a result and are visible: `init` sees its own earlier values; `body` those of `init`,
//!   the carried ones and its own earlier ones; `finish` those of `init`, the carried ones and its own.
//! - Operand and result types fit the operator, lane counts included; addresses add one-lane i64 values.
//! - A load, store or prefetch has its pointer's dtype. Constants have the instruction's dtype.
//! - Counters are read in the body alone, of loops that exist.
//! - A carried value starts from a value of `init` and continues with one of `init`, a carried one or one of
//!   the body, all of its type.
//! - The instructions under an `If` lie in its block (and within the `If` around it), and define no value
//!   that is used outside.

use super::{Addr, Carried, Inst, Leaf, MAX_LOOPS, Op, Type, ValueId};
use crate::dtype::DType;
use crate::kernel::Size;
use crate::scalar::eval;
use std::fmt;

/// The greatest number of lanes of a value: a 512-bit register of bytes.
pub const MAX_LANES: u32 = 64;

/// What a leaf violates, and where.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{place}: {fault}")]
pub struct VerifyError {
    /// Where.
    pub place: Place,
    /// What is wrong.
    pub fault: Fault,
}

/// A block of a leaf.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Block {
    /// Before the loops.
    Init,
    /// Within them.
    Body,
    /// After them.
    Finish,
}

impl Block {
    /// All of them, in order.
    pub const ALL: [Block; 3] = [Block::Init, Block::Body, Block::Finish];
    /// Its instructions.
    pub fn of(self, leaf: &Leaf) -> &[Op] {
        match self {
            Block::Init => &leaf.init,
            Block::Body => &leaf.body,
            Block::Finish => &leaf.finish,
        }
    }
    /// The number of its first value.
    pub fn first(self, leaf: &Leaf) -> ValueId {
        match self {
            Block::Init => 0,
            Block::Body => leaf.first_body(),
            Block::Finish => leaf.first_finish(),
        }
    }
}

/// A place in a leaf.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// A loop.
    Loop(usize),
    /// The loops as a whole.
    Loops,
    /// The carried value of that number.
    Carried(ValueId),
    /// The instruction of that number.
    Inst(Block, ValueId),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Loop(n) => write!(f, "loop {n}"),
            Place::Loops => f.write_str("loops"),
            Place::Carried(v) => write!(f, "carried value %{v}"),
            Place::Inst(Block::Init, v) => write!(f, "init, instruction %{v}"),
            Place::Inst(Block::Body, v) => write!(f, "body, instruction %{v}"),
            Place::Inst(Block::Finish, v) => write!(f, "finish, instruction %{v}"),
        }
    }
}

/// A violated invariant.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[allow(missing_docs)] // the messages say it
pub enum Fault {
    #[error("{0} loops; at most {MAX_LOOPS} nest")]
    TooManyLoops(usize),
    #[error("pointer p{0} does not exist")]
    NoPointer(u32),
    #[error("pointer p{0} is bumped twice")]
    BumpedTwice(u32),
    #[error("integer argument ${0} does not exist")]
    NoInt(u32),
    #[error("{0} lanes; a power of two up to {MAX_LANES} is allowed")]
    Lanes(u32),
    #[error("lane {lane} of {of} does not exist")]
    NoLane { lane: u32, of: Type },
    #[error("operand %{0} is no value that is visible here")]
    NoOperand(ValueId),
    #[error("operand %{value} is {found}, expected {expected}")]
    OperandType { value: ValueId, found: Type, expected: Type },
    #[error("the result is declared as {found}, but is {expected}")]
    ResultType { found: Type, expected: Type },
    #[error("{op} is not defined for {dtype}")]
    NotDefined { op: &'static str, dtype: DType },
    #[error("bitcast from {from} to {to}")]
    Bitcast { from: DType, to: DType },
    #[error("the pointer's dtype is {pointer}, the access's {access}")]
    Access { pointer: DType, access: DType },
    #[error("loop counter {0} cannot be read here")]
    Counter(u32),
    #[error("the If covers {0} instructions, beyond what encloses it")]
    IfRange(u32),
    #[error("operand %{0} is defined under an If that does not enclose its use")]
    UnderIf(ValueId),
}

impl fmt::Display for Type {
    /// `f32x8`; `f32` for one lane.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.lanes {
            1 => write!(f, "{}", self.dtype),
            n => write!(f, "{}x{n}", self.dtype),
        }
    }
}

impl Type {
    /// Several lanes.
    pub const fn vector(dtype: DType, lanes: u32) -> Type {
        Type { dtype, lanes }
    }
    /// One lane.
    pub const fn scalar(dtype: DType) -> Type {
        Type { dtype, lanes: 1 }
    }
}

const INDEX: Type = Type::scalar(DType::I64);
const CONDITION: Type = Type::scalar(DType::Bool);

/// Checks every invariant of the list above.
///
/// # Errors
/// The first violation found, with its place. A leaf that fails was made wrongly: it is no user's error.
pub fn verify(leaf: &Leaf) -> Result<(), VerifyError> {
    let at = |place: Place| move |fault: Fault| VerifyError { place, fault };
    if leaf.loops.len() > MAX_LOOPS {
        return Err(at(Place::Loops)(Fault::TooManyLoops(leaf.loops.len())));
    }
    for (i, l) in leaf.loops.iter().enumerate() {
        check_loop(leaf, l).map_err(at(Place::Loop(i)))?;
    }
    for block in Block::ALL {
        let mut check = Check { leaf, block, open: Vec::new(), closed: Vec::new() };
        for (i, op) in block.of(leaf).iter().enumerate() {
            let v = block.first(leaf) + i as ValueId;
            check.inst(op, v).map_err(at(Place::Inst(block, v)))?;
        }
    }
    for (i, c) in leaf.carried.iter().enumerate() {
        let v = leaf.first_carried() + i as ValueId;
        carried(leaf, c).map_err(at(Place::Carried(v)))?;
    }
    Ok(())
}

fn size(leaf: &Leaf, size: Size) -> Result<(), Fault> {
    match size {
        Size::Arg(n) if n >= leaf.ints => Err(Fault::NoInt(n)),
        _ => Ok(()),
    }
}

fn check_loop(leaf: &Leaf, l: &super::Loop) -> Result<(), Fault> {
    size(leaf, l.count)?;
    for (i, &(ptr, by)) in l.bumps.iter().enumerate() {
        size(leaf, by)?;
        if ptr as usize >= leaf.ptrs.len() {
            return Err(Fault::NoPointer(ptr));
        }
        if l.bumps[..i].iter().any(|b| b.0 == ptr) {
            return Err(Fault::BumpedTwice(ptr));
        }
    }
    Ok(())
}

/// The instruction of that number and its block; none for carried values.
fn op_of(leaf: &Leaf, v: ValueId) -> Option<(Block, &Op)> {
    let find = |block: Block| {
        let i = v.checked_sub(block.first(leaf))?;
        block.of(leaf).get(i as usize).map(|op| (block, op))
    };
    Block::ALL.into_iter().find_map(find)
}

fn carried(leaf: &Leaf, c: &Carried) -> Result<(), Fault> {
    lanes(c.ty)?;
    let expect = |value: ValueId, found: Type| match found == c.ty {
        true => Ok(()),
        false => Err(Fault::OperandType { value, found, expected: c.ty }),
    };
    match op_of(leaf, c.init) {
        Some((Block::Init, op)) if op.inst.has_result() => expect(c.init, op.ty)?,
        _ => return Err(Fault::NoOperand(c.init)),
    }
    let first = leaf.first_carried();
    if let Some(other) = c.next.checked_sub(first).and_then(|i| leaf.carried.get(i as usize)) {
        return expect(c.next, other.ty);
    }
    match op_of(leaf, c.next) {
        Some((Block::Init | Block::Body, op)) if op.inst.has_result() => expect(c.next, op.ty)?,
        _ => return Err(Fault::NoOperand(c.next)),
    }
    // Defined only where the condition holds?
    for block in [Block::Init, Block::Body] {
        for value in [c.init, c.next] {
            if under_if(block.of(leaf), block.first(leaf), value) {
                return Err(Fault::UnderIf(value));
            }
        }
    }
    Ok(())
}

fn under_if(ops: &[Op], first: ValueId, value: ValueId) -> bool {
    let covers = |(i, op): (usize, &Op)| match op.inst {
        Inst::If(_, count) => {
            let start = first + i as ValueId + 1;
            (start..start + count).contains(&value)
        }
        _ => false,
    };
    ops.iter().enumerate().any(covers)
}

fn lanes(ty: Type) -> Result<(), Fault> {
    if ty.lanes.is_power_of_two() && ty.lanes <= MAX_LANES { Ok(()) } else { Err(Fault::Lanes(ty.lanes)) }
}

/// The checks of a block's instructions, one after the other.
struct Check<'a> {
    leaf: &'a Leaf,
    block: Block,
    /// Values covered by the `If`s around the present instruction: first, and the one after the last.
    open: Vec<(ValueId, ValueId)>,
    /// Those of `If`s that have ended.
    closed: Vec<(ValueId, ValueId)>,
}

impl Check<'_> {
    fn operand(&self, v: ValueId, now: ValueId) -> Result<Type, Fault> {
        let leaf = self.leaf;
        let carried = v.checked_sub(leaf.first_carried()).and_then(|i| leaf.carried.get(i as usize));
        if let Some(c) = carried.filter(|_| self.block != Block::Init) {
            return Ok(c.ty);
        }
        let visible = |block: Block| block == self.block || block == Block::Init;
        match op_of(leaf, v) {
            Some((block, op)) if visible(block) && v < now && op.inst.has_result() => {
                let hidden = match block == self.block {
                    true => self.closed.iter().any(|r| (r.0..r.1).contains(&v)),
                    false => under_if(block.of(leaf), block.first(leaf), v),
                };
                if hidden { Err(Fault::UnderIf(v)) } else { Ok(op.ty) }
            }
            _ => Err(Fault::NoOperand(v)),
        }
    }

    fn expect(&self, value: ValueId, now: ValueId, expected: Type) -> Result<(), Fault> {
        let found = self.operand(value, now)?;
        if found == expected { Ok(()) } else { Err(Fault::OperandType { value, found, expected }) }
    }

    fn access(&self, a: &Addr, now: ValueId, access: DType) -> Result<(), Fault> {
        let pointer = *self.leaf.ptrs.get(a.ptr as usize).ok_or(Fault::NoPointer(a.ptr))?;
        if let Some(n) = a.int {
            size(self.leaf, Size::Arg(n))?;
        }
        if let Some(v) = a.value {
            self.expect(v, now, INDEX)?;
        }
        if pointer == access { Ok(()) } else { Err(Fault::Access { pointer, access }) }
    }

    fn inst(&mut self, op: &Op, now: ValueId) -> Result<(), Fault> {
        while self.open.last().is_some_and(|r| r.1 <= now) {
            self.closed.extend(self.open.pop());
        }
        lanes(op.ty)?;
        let expected = self.result(op, now)?;
        if let Inst::If(_, count) = op.inst {
            let block_end = self.block.first(self.leaf) + self.block.of(self.leaf).len() as ValueId;
            let end = self.open.last().map_or(block_end, |r| r.1);
            let last = now.checked_add(1).and_then(|n| n.checked_add(count)).filter(|&n| n <= end);
            self.open.push((now + 1, last.ok_or(Fault::IfRange(count))?));
        }
        if op.ty == expected { Ok(()) } else { Err(Fault::ResultType { found: op.ty, expected }) }
    }

    /// The type that the instruction's result has, given its operands.
    fn result(&self, op: &Op, now: ValueId) -> Result<Type, Fault> {
        let with = |dtype: DType| Type { dtype, lanes: op.ty.lanes };
        let scalar = Type::scalar(op.ty.dtype);
        Ok(match &op.inst {
            Inst::Const(v) => with(v.dtype),
            Inst::Int(n) => size(self.leaf, Size::Arg(*n)).map(|()| INDEX)?,
            Inst::Counter(l) => match self.block == Block::Body && (*l as usize) < self.leaf.loops.len() {
                true => INDEX,
                false => return Err(Fault::Counter(*l)),
            },
            Inst::Load(a) | Inst::LoadSplat(a) | Inst::LoadStrided(a, _) => {
                self.access(a, now, op.ty.dtype).map(|()| op.ty)?
            }
            Inst::Prefetch(a) => self.access(a, now, op.ty.dtype).map(|()| scalar)?,
            Inst::Splat(a) => self.expect(*a, now, scalar).map(|()| op.ty)?,
            Inst::Ramp(a) => {
                let narrow = op.ty.dtype == DType::I32;
                self.expect(*a, now, INDEX).map(|()| with(if narrow { DType::I32 } else { DType::I64 }))?
            }
            Inst::Pack(values) => {
                values.iter().try_for_each(|v| self.expect(*v, now, scalar))?;
                let ty = Type { lanes: u32::try_from(values.len()).unwrap_or(u32::MAX), ..op.ty };
                lanes(ty).map(|()| ty)?
            }
            Inst::Interleave(a, b, _) => {
                let ty = self.operand(*a, now)?;
                self.expect(*b, now, ty)?;
                if ty.lanes < 2 { return Err(Fault::Lanes(ty.lanes)) } else { ty }
            }
            Inst::Lane(a, k) => match self.operand(*a, now)? {
                ty if *k < ty.lanes => Type::scalar(ty.dtype),
                ty => return Err(Fault::NoLane { lane: *k, of: ty }),
            },
            Inst::Unary(o, a) => {
                let ty = defined(self.operand(*a, now)?, o.name(), |d| eval::unary_accepts(*o, d))?;
                Type { dtype: eval::unary_result(*o, ty.dtype), ..ty }
            }
            Inst::Binary(o, a, b) => {
                let ty = defined(self.operand(*a, now)?, o.name(), |d| eval::binary_accepts(*o, d))?;
                self.expect(*b, now, ty).map(|()| ty)?
            }
            Inst::Compare(_, a, b) => {
                let ty = self.operand(*a, now)?;
                self.expect(*b, now, ty)?;
                Type { dtype: DType::Bool, ..ty }
            }
            Inst::Select(c, a, b) => {
                let ty = self.operand(*a, now)?;
                self.expect(*c, now, Type { dtype: DType::Bool, ..ty })?;
                self.expect(*b, now, ty).map(|()| ty)?
            }
            Inst::Cast(a) => Type { dtype: op.ty.dtype, ..self.operand(*a, now)? },
            Inst::Bitcast(a) => {
                let from = self.operand(*a, now)?;
                if !eval::bitcast_accepts(from.dtype, op.ty.dtype) {
                    return Err(Fault::Bitcast { from: from.dtype, to: op.ty.dtype });
                }
                Type { dtype: op.ty.dtype, ..from }
            }
            Inst::Fma(a, b, c) => {
                let ty = defined(self.operand(*a, now)?, "fma", DType::is_float)?;
                self.expect(*b, now, ty)?;
                self.expect(*c, now, ty).map(|()| ty)?
            }
            Inst::Scale(a, n) => {
                let ty = defined(self.operand(*a, now)?, "scale", eval::scale_accepts)?;
                self.expect(*n, now, ty).map(|()| ty)?
            }
            Inst::Horizontal(o, a) => {
                let ty = defined(self.operand(*a, now)?, o.name(), |d| eval::reduce_accepts(*o, d))?;
                Type::scalar(ty.dtype)
            }
            Inst::Store(a, v) => {
                let ty = self.operand(*v, now)?;
                self.access(a, now, ty.dtype).map(|()| ty)?
            }
            Inst::StorePart(a, v, count) => {
                self.expect(*count, now, INDEX)?;
                let ty = self.operand(*v, now)?;
                self.access(a, now, ty.dtype).map(|()| ty)?
            }
            Inst::LoadPart(a, count) => {
                self.expect(*count, now, INDEX)?;
                self.access(a, now, op.ty.dtype)?;
                op.ty
            }
            Inst::If(c, _) | Inst::Raise(c, _) => {
                if let Inst::Raise(_, detail) = op.inst {
                    size(self.leaf, detail)?;
                }
                self.expect(*c, now, CONDITION).map(|()| CONDITION)?
            }
            Inst::LoadIf(c, a) => {
                self.expect(*c, now, CONDITION)?;
                self.access(a, now, op.ty.dtype)?;
                op.ty
            }
        })
    }
}

fn defined(ty: Type, op: &'static str, accepts: impl Fn(DType) -> bool) -> Result<Type, Fault> {
    if accepts(ty.dtype) { Ok(ty) } else { Err(Fault::NotDefined { op, dtype: ty.dtype }) }
}

#[cfg(test)]
mod tests;
