//! LIR, the leaf IR: the innermost program of a kernel, over vector registers.
//!
//! A [`Leaf`] is `init; up to MAX_LOOPS nested counted loops around one straight-line body; finish`.
//! Values have a dtype and a number of lanes. Memory is reached through pointer arguments that
//! each loop advances by a fixed number of bytes, so that a leaf knows no shapes.
//!
//! # Meaning
//! `init` runs once. Then the body runs for every point of the loops, the last loop fastest; at
//! the point `(i_0, ..)` pointer `p` has the value `ptrs[p] + sum of i_l * loops[l].bumps[p]`.
//! In `init` and `finish` pointers have their argument's value. `carried` values enter the first
//! round of the body as given by `init`, each later one as the round before yielded them, and
//! `finish` as the last round (or `init`, if there was none) left them.
//!
//! Value numbers run through `init`, then the carried values, then `body`, then `finish`; the
//! body sees values of `init` and the carried ones, `finish` those of `init` and the final carried ones.

pub mod interp;
pub mod text;
pub mod verify;

use crate::dtype::DType;
use crate::kernel::Size;
use crate::scalar::{BinaryOp, CompareOp, ReduceOp, Scalar, UnaryOp};

/// The deepest nest of loops a leaf may have.
pub const MAX_LOOPS: usize = 4;

/// Number of a pointer argument.
pub type PtrId = u32;
/// Number of an integer argument.
pub type IntId = u32;
/// Number of a value.
pub type ValueId = u32;

/// The type of a value: lanes of one dtype. A bool with several lanes is a mask for `Select`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Type {
    /// Element type.
    pub dtype: DType,
    /// Number of lanes, 1 for scalars.
    pub lanes: u32,
}

/// An address: `pointer + disp + integer argument + value`, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Addr {
    /// The pointer, at its present position.
    pub ptr: PtrId,
    /// Constant displacement, bytes.
    pub disp: i64,
    /// Integer argument added, bytes.
    pub int: Option<IntId>,
    /// One-lane i64 value added, bytes (gathers).
    pub value: Option<ValueId>,
}

/// One instruction.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Inst {
    /// The constant in every lane.
    Const(Scalar),
    /// Integer argument, one-lane i64.
    Int(IntId),
    /// The counter of a loop, one-lane i64; only in the body.
    Counter(u32),
    /// `lanes` neighbouring elements.
    Load(Addr),
    /// `lanes` elements so many elements apart; the address is the first one's.
    LoadStrided(Addr, i64),
    /// One element into every lane.
    LoadSplat(Addr),
    /// A one-lane value into every lane.
    Splat(ValueId),
    /// Lane k is `value + k`, i64 or wrapped to i32; of a one-lane i64 (index vectors).
    Ramp(ValueId),
    /// Lane k is the k-th of these one-lane values.
    Pack(Vec<ValueId>),
    /// Lanes of two values by turns: of their lower halves or, where true, of their upper halves.
    Interleave(ValueId, ValueId, bool),
    /// The lane of that number, as a one-lane value.
    Lane(ValueId, u32),
    /// Lane by lane.
    Unary(UnaryOp, ValueId),
    /// Lane by lane.
    Binary(BinaryOp, ValueId, ValueId),
    /// Lane by lane; the result's dtype is bool.
    Compare(CompareOp, ValueId, ValueId),
    /// Lane by lane: the second where the first (bool) is true, else the third.
    Select(ValueId, ValueId, ValueId),
    /// Lane by lane, to the instruction's dtype; as in KIR.
    Cast(ValueId),
    /// Lane by lane, same bits.
    Bitcast(ValueId),
    /// Lane by lane `a * b + c`; fused where the target can.
    Fma(ValueId, ValueId, ValueId),
    /// Lane by lane `a * 2^n`; as in KIR.
    Scale(ValueId, ValueId),
    /// All lanes combined to one: lane l with l + n/2, then n/4, .. (n lanes).
    Horizontal(ReduceOp, ValueId),
    /// Writes all lanes to neighbouring elements. No result.
    Store(Addr, ValueId),
    /// Runs the next `count` instructions only where the one-lane bool is true; those define no value used outside. No result.
    If(ValueId, u32),
    /// `lanes` neighbouring elements, or zeros where the one-lane bool is false (then nothing is read).
    LoadIf(ValueId, Addr),
    /// The lanes of neighbouring elements below the count (one-lane i64, any value); the others are 0 and not read.
    LoadPart(Addr, ValueId),
    /// Writes the lanes of the first value below the count (one-lane i64, any value), the second. No result.
    StorePart(Addr, ValueId, ValueId),
    /// Asks for the memory around an address, which may be anywhere: it changes how soon later loads are done, never
    /// what they give. The type is one lane of the pointer's dtype. No result.
    Prefetch(Addr),
    /// Sets the error flag where the one-lane bool is true; detail as in KIR, from a constant or an integer argument. No result.
    Raise(ValueId, Size),
}

/// An instruction with its result's type.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Op {
    /// What it does.
    pub inst: Inst,
    /// Type of the result (of the stored value for stores).
    pub ty: Type,
}

/// A counted loop.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Loop {
    /// Trip count (`Arg`: an integer argument); may be 0 or negative, which means 0.
    pub count: Size,
    /// Bytes (`Arg`: an integer argument) by which each round advances a pointer.
    pub bumps: Vec<(PtrId, Size)>,
}

/// A value carried from round to round.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Carried {
    /// Its type.
    pub ty: Type,
    /// Its first value, from `init`.
    pub init: ValueId,
    /// What a round yields, from the body (or unchanged).
    pub next: ValueId,
}

/// The innermost program of a kernel.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Leaf {
    /// Element types of the pointer arguments.
    pub ptrs: Vec<DType>,
    /// Number of integer arguments, all i64.
    pub ints: u32,
    /// Runs once, first.
    pub init: Vec<Op>,
    /// Loops, outermost first; with none the body runs once.
    pub loops: Vec<Loop>,
    /// Carried values.
    pub carried: Vec<Carried>,
    /// Runs at every point of the loops.
    pub body: Vec<Op>,
    /// Runs once, last.
    pub finish: Vec<Op>,
}

impl Leaf {
    /// The number of the first carried value.
    pub fn first_carried(&self) -> ValueId {
        self.init.len() as ValueId
    }
    /// The number of the body's first value.
    pub fn first_body(&self) -> ValueId {
        self.first_carried() + self.carried.len() as ValueId
    }
    /// The number of `finish`'s first value.
    pub fn first_finish(&self) -> ValueId {
        self.first_body() + self.body.len() as ValueId
    }
}

impl Inst {
    /// Whether it defines a value.
    pub fn has_result(&self) -> bool {
        !matches!(
            self,
            Inst::Store(..) | Inst::StorePart(..) | Inst::Prefetch(_) | Inst::If(..) | Inst::Raise(..)
        )
    }
}
