//! KIR, the kernel IR: what one pass over memory computes, as loop nests with a scalar body.
//!
//! A [`Kernel`] is a tree of fixed shape: shared `outer` axes, then an ordered list of [`Stage`]s.
//! Each stage is a perfect loop nest over its own axes with a scalar SSA body, and stages meet in
//! `locals`, buffers private to one worker. How the nests are tiled, vectorised and parallelised is
//! data beside the body: the [`Schedule`].
//!
//! # Meaning
//! For every point of the outer axes, in order, the stages run one after the other. A stage
//! without [`Inst::Accumulate`] evaluates its body at every point of its axes. A stage with
//! accumulations evaluates, at every point of its non-reduce axes, the accumulations over all
//! points of its reduce axes (row-major, the last axis fastest), then everything that depends on
//! them, once. Stores of such a stage depend on no reduce axis.
//!
//! Points of `Parallel` axes (outer ones included) are independent: no point reads what another
//! one stores. A kernel may be a function of the runtime library instead ([`Library`]). A kernel bakes no address in: buffers and scalars are arguments.

pub mod analysis;
pub mod block;
pub mod interp;
pub mod library;
pub mod math;
pub mod text;
pub mod verify;

pub use library::Library;

use crate::dtype::DType;
use crate::scalar::{BinaryOp, CompareOp, ReduceOp, Scalar, UnaryOp, named_enum};
use smallvec::SmallVec;
use std::fmt;
use std::hash::{Hash, Hasher};

/// An integer known when the kernel is made, or passed as a scalar argument.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Size {
    /// Known.
    Const(i64),
    /// The kernel's scalar argument of that number, an i64.
    Arg(u32),
}

/// Number of an axis: outer axes first, then the stage's own. Stages number theirs from
/// `kernel.outer.len()` on, each anew.
pub type AxisId = u32;
/// Number of a value: its index in the stage's body.
pub type ValueId = u32;

named_enum! {
    /// How the points of an axis depend on each other.
    pub enum AxisKind {
        /// Not at all.
        Parallel = "parallel",
        /// They meet in the stage's accumulations.
        Reduce = "reduce",
        /// Each may read what earlier ones stored.
        Sequential = "sequential",
    }
}

/// A loop: `0..extent`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Axis {
    /// Trip count; may be 0.
    pub extent: Size,
    /// Dependence between points.
    pub kind: AxisKind,
}

named_enum! {
    /// What a kernel does with a buffer argument.
    pub enum Access {
        /// Only loads.
        Read = "read",
        /// Only stores; every element in reach is written.
        Write = "write",
        /// Loads and stores.
        ReadWrite = "readwrite",
    }
}

/// A buffer argument: elements of one dtype, addressed from its first.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct BufferDecl {
    /// Element type.
    pub dtype: DType,
    /// Loads, stores, or both.
    pub access: Access,
}

/// A buffer in the worker's scratch, 64-byte aligned; its content does not outlive one point of the outer axes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct LocalDecl {
    /// Element type.
    pub dtype: DType,
    /// Number of elements.
    pub len: Size,
}

/// A buffer named by a load or store.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Buf {
    /// Buffer argument.
    Arg(u32),
    /// Local buffer.
    Local(u32),
}

/// What a stride of an [`Affine`] multiplies.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum IndexVar {
    /// A loop's counter.
    Axis(AxisId),
    /// An i64 value of the body (a gathered index, a quotient of axes).
    Value(ValueId),
}

/// An element index: `offset + sum of stride * variable`. No variable occurs twice.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Affine {
    /// The constant part, in elements.
    pub offset: Size,
    /// Variables with their strides, in elements, sorted by variable; strides may be negative, never `Const(0)`.
    pub terms: SmallVec<[(IndexVar, Size); 4]>,
}

/// One condition: `0 <= index < limit`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct InRange {
    /// The tested index.
    pub index: Affine,
    /// Its exclusive upper limit.
    pub limit: Size,
}

/// A conjunction of conditions; the empty one is true.
pub type Mask = SmallVec<[InRange; 1]>;

named_enum! {
    /// In which order an accumulation combines its elements.
    pub enum Order {
        /// One after the other, in the order of the reduce axes.
        Chain = "chain",
        /// Element number i (row-major over the reduce axes) goes to partial `i mod 32`, each a chain from the
        /// identity; then partial p combines with p+16, then p+8, p+4, p+2, p+1.
        Interleaved = "interleaved",
    }
}

/// One instruction; its result, if any, is the value numbered by its place in the body.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Inst {
    /// A constant.
    Const(Scalar),
    /// A loop's counter, i64.
    Axis(AxisId),
    /// A scalar argument, i64.
    Arg(u32),
    /// The element at `at`; where the mask is false nothing is read and the value is 0.
    Load {
        /// Which buffer.
        src: Buf,
        /// Which element.
        at: Affine,
        /// Where it may be read.
        mask: Mask,
    },
    /// Whether the mask holds, bool.
    InRange(Mask),
    /// Operator of one operand.
    Unary(UnaryOp, ValueId),
    /// Operator of two operands.
    Binary(BinaryOp, ValueId, ValueId),
    /// Comparison; bool.
    Compare(CompareOp, ValueId, ValueId),
    /// Second operand where the first (bool) is true, else the third; both are evaluated.
    Select(ValueId, ValueId, ValueId),
    /// Conversion to the instruction's dtype: floats to integers truncate and saturate, NaN to 0; integers wrap; to bool: `!= 0`.
    Cast(ValueId),
    /// Same bits, the instruction's dtype of equal width.
    Bitcast(ValueId),
    /// `a * b + c`, one rounding where the target has a fused multiply-add, else two.
    Fma(ValueId, ValueId, ValueId),
    /// `a * 2^n` of f32 or f64, rounded once, denormal results included: for NaN, and for a magnitude of a between 1/4 and 4
    /// and an integral n (a float) of at most twice the format's largest exponent. Other operands give any number.
    Scale(ValueId, ValueId),
    /// Combines `value` over the stage's reduce axes, points where the mask is false left out.
    Accumulate {
        /// How two elements combine, from [`Scalar::identity`].
        op: ReduceOp,
        /// In which order.
        order: Order,
        /// The element.
        value: ValueId,
        /// Which points take part.
        mask: Mask,
    },
    /// Writes `value` where the mask holds. No result.
    Store {
        /// Which buffer.
        dst: Buf,
        /// Which element.
        at: Affine,
        /// What.
        value: ValueId,
        /// Where it may be written.
        mask: Mask,
    },
    /// Sets the program's error flag to FNX_INDEX with this detail, where the condition (bool) is true. No result.
    Raise {
        /// When.
        cond: ValueId,
        /// Which message of the program's table; a scalar argument, so that equal kernels stay equal.
        detail: Size,
    },
}

/// An instruction with the dtype of its result (of the stored value for `Store`, bool for `Raise`).
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Op {
    /// What it does.
    pub inst: Inst,
    /// Dtype of the result.
    pub dtype: DType,
}

/// A perfect nest: axes outermost first (non-reduce before reduce), and a body in SSA order.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Stage {
    /// The stage's own axes.
    pub axes: Vec<Axis>,
    /// Instructions; operands come before their uses.
    pub body: Vec<Op>,
}

/// How one stage runs.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct StageSchedule {
    /// The axis whose neighbouring points share a vector register, and how many registers of the
    /// target's width stand side by side. `None`: one point at a time.
    pub vector: Option<(AxisId, u32)>,
    /// A second axis of which several points are computed together (register tile), and how many.
    pub rows: Option<(AxisId, u32)>,
    /// How often the innermost reduce loop is unrolled; 0 and 1 mean not at all.
    pub unroll: u32,
    /// The order of the loops over all own axes of the stage, and that of [`Schedule::block`], outermost first (reduce
    /// loops innermost; a tiled axis stands for its loop over tiles). Empty: as the axes stand.
    pub order: Vec<AxisId>,
    /// Loops around all others, outermost first: so many points of these axes at a time. The last is the `rows` axis;
    /// the load that [`analysis::copied_load`] names reads each of its blocks from a copy in the worker's scratch.
    pub block: Vec<(AxisId, u32)>,
}

/// How a kernel runs: data beside the body, never a change of meaning.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Schedule {
    /// Axes whose points are shared out among workers, outermost first, each in chunks of so many
    /// neighbouring points: outer axes or, in a kernel of one stage without outer axes, `Parallel`
    /// axes of that stage. Work items count row-major over the chunks. Empty: one item.
    pub parallel: Vec<(AxisId, i64)>,
    /// So many neighbouring points of the last outer axis run together: each stage runs for all of them before the
    /// next one does, with that axis as the first of its own, and there is a copy of every local for each point
    /// ([`block::unblocked`] spells that out). `None`: one point after the other.
    pub block: Option<(AxisId, i64)>,
    /// One entry a stage.
    pub stages: Vec<StageSchedule>,
}

/// One pass over memory.
#[derive(Clone, Debug, Default)]
pub struct Kernel {
    /// For people; no part of equality or hash.
    pub name: String,
    /// Buffer arguments. Two of them never overlap, except where a `Write` buffer is given the very
    /// address of a `Read` one: then each point loads from it only what it stores itself, or earlier, and no stage
    /// accumulates, since points of such may be computed twice.
    pub buffers: Vec<BufferDecl>,
    /// Number of scalar arguments, all i64.
    pub scalars: u32,
    /// Buffers in the worker's scratch.
    pub locals: Vec<LocalDecl>,
    /// Axes that all stages share; none is `Reduce`.
    pub outer: Vec<Axis>,
    /// What runs at each point of the outer axes, in order.
    pub stages: Vec<Stage>,
    /// The function of the runtime library that it is, instead of stages.
    pub library: Option<Library>,
    /// How it runs.
    pub schedule: Schedule,
}

impl Kernel {
    fn key(&self) -> impl Hash + Eq + '_ {
        (&self.buffers, self.scalars, &self.locals, &self.outer, &self.stages, self.library, &self.schedule)
    }
    /// The axis of that number, as a stage sees it.
    pub fn axis(&self, stage: usize, id: AxisId) -> &Axis {
        let id = id as usize;
        if id < self.outer.len() { &self.outer[id] } else { &self.stages[stage].axes[id - self.outer.len()] }
    }
}
impl PartialEq for Kernel {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}
impl Eq for Kernel {}
impl Hash for Kernel {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}

impl Size {
    /// Zero.
    pub const ZERO: Size = Size::Const(0);
    /// One.
    pub const ONE: Size = Size::Const(1);
    /// The value, if known.
    pub fn as_const(self) -> Option<i64> {
        match self {
            Size::Const(v) => Some(v),
            Size::Arg(_) => None,
        }
    }
}
impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Size::Const(v) => write!(f, "{v}"),
            Size::Arg(n) => write!(f, "${n}"),
        }
    }
}

impl Affine {
    /// A constant index.
    pub fn constant(offset: Size) -> Self {
        Affine { offset, terms: SmallVec::new() }
    }
    /// From terms in any order; those with stride `Const(0)` are dropped. A variable must not occur twice.
    pub fn new(offset: Size, terms: impl IntoIterator<Item = (IndexVar, Size)>) -> Self {
        let mut terms: SmallVec<[(IndexVar, Size); 4]> =
            terms.into_iter().filter(|t| t.1 != Size::ZERO).collect();
        terms.sort();
        Affine { offset, terms }
    }
    /// The stride along an axis (`Const(0)` if the index does not depend on it).
    pub fn stride(&self, axis: AxisId) -> Size {
        let found = self.terms.iter().find(|t| t.0 == IndexVar::Axis(axis));
        found.map_or(Size::ZERO, |t| t.1)
    }
}

impl Inst {
    /// Calls `f` on every operand, those of indices and masks included.
    pub fn for_each_operand(&self, mut f: impl FnMut(ValueId)) {
        fn affine(a: &Affine, f: &mut impl FnMut(ValueId)) {
            for (v, _) in &a.terms {
                if let IndexVar::Value(v) = v {
                    f(*v);
                }
            }
        }
        fn mask(m: &Mask, f: &mut impl FnMut(ValueId)) {
            m.iter().for_each(|c| affine(&c.index, f));
        }
        match self {
            Inst::Const(_) | Inst::Axis(_) | Inst::Arg(_) => {}
            Inst::Load { at, mask: m, .. } => {
                affine(at, &mut f);
                mask(m, &mut f);
            }
            Inst::InRange(m) => mask(m, &mut f),
            Inst::Unary(_, a) | Inst::Cast(a) | Inst::Bitcast(a) | Inst::Raise { cond: a, .. } => f(*a),
            Inst::Binary(_, a, b) | Inst::Compare(_, a, b) | Inst::Scale(a, b) => {
                f(*a);
                f(*b);
            }
            Inst::Select(a, b, c) | Inst::Fma(a, b, c) => {
                f(*a);
                f(*b);
                f(*c);
            }
            Inst::Accumulate { value, mask: m, .. } => {
                f(*value);
                mask(m, &mut f);
            }
            Inst::Store { at, value, mask: m, .. } => {
                affine(at, &mut f);
                f(*value);
                mask(m, &mut f);
            }
        }
    }
    /// Calls `f` on every index: of the access itself, then of the mask's conditions.
    pub fn for_each_affine<'a>(&'a self, mut f: impl FnMut(&'a Affine)) {
        let (at, mask) = match self {
            Inst::Load { at, mask, .. } | Inst::Store { at, mask, .. } => (Some(at), Some(mask)),
            Inst::InRange(mask) | Inst::Accumulate { mask, .. } => (None, Some(mask)),
            _ => (None, None),
        };
        if let Some(at) = at {
            f(at);
        }
        mask.into_iter().flatten().for_each(|c| f(&c.index));
    }
    /// Whether it defines a value.
    pub fn has_result(&self) -> bool {
        !matches!(self, Inst::Store { .. } | Inst::Raise { .. })
    }
}
