//! What an encoding has to know of a leaf's values before it starts: where they are kept, when they are used.

use super::Features;
use crate::leaf::for_each_operand;
use fornax_ir::dtype::DType;
use fornax_ir::leaf::verify::Block;
use fornax_ir::leaf::{Addr, Inst, Leaf, Op, Type, ValueId};

/// Where values of a type are kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Class {
    /// A vector register of full width.
    Wide,
    /// The lowest lane of a vector register: one float.
    Float,
    /// A mask register.
    Mask,
    /// Eight bytes of the block: one integer or bool, extended to 64 bits by its sign.
    Word,
}

impl Class {
    /// Of values of that type.
    ///
    /// # Errors
    /// A type that is not kept anywhere, named.
    pub fn of(ty: Type, f: Features) -> Result<Class, String> {
        let refuse = || Err(format!("{} lanes of {} do not fill a register", ty.lanes, ty.dtype));
        let (lanes, bytes) = (ty.lanes as usize, ty.dtype.bytes());
        match ty.dtype {
            DType::F16 | DType::BF16 => refuse(),
            DType::F32 | DType::F64 if lanes == 1 => Ok(Class::Float),
            _ if lanes == 1 => Ok(Class::Word),
            DType::Bool if lanes * 4 != f.bytes && lanes * 8 != f.bytes => refuse(),
            DType::Bool if f.wide => Ok(Class::Mask),
            DType::Bool => Ok(Class::Wide),
            // Narrow integers are kept widened to 32 bits.
            _ if lanes * bytes.max(4) == f.bytes => Ok(Class::Wide),
            _ => refuse(),
        }
    }
}

/// Facts about the values of one leaf.
pub(super) struct Values {
    pub classes: Vec<Class>,
    pub types: Vec<Type>,
    /// Instructions of the present block that use each value, ascending; those that the loops and `finish` need.
    uses: [Vec<Vec<u32>>; 3],
    /// Loads that become memory operands of their only use.
    pub folded: Vec<bool>,
}

/// Counts as a use behind the last instruction.
pub(super) const END: u32 = u32::MAX;

impl Values {
    pub fn new(leaf: &Leaf, f: Features) -> Result<Values, String> {
        let mut types: Vec<Type> = leaf.init.iter().map(|op| op.ty).collect();
        types.extend(leaf.carried.iter().map(|c| c.ty));
        types.extend(leaf.body.iter().chain(&leaf.finish).map(|op| op.ty));
        let classes = types.iter().map(|&ty| Class::of(ty, f)).collect::<Result<Vec<_>, _>>()?;
        let mut uses = [0; 3].map(|_| vec![Vec::new(); types.len()]);
        for (list, block) in uses.iter_mut().zip(Block::ALL) {
            for (i, op) in block.of(leaf).iter().enumerate() {
                for_each_operand(&op.inst, |v| list[v as usize].push(i as u32));
            }
        }
        for c in &leaf.carried {
            uses[0][c.init as usize].push(END);
            uses[1][c.next as usize].push(END);
        }
        let [init, body, finish] = &mut uses;
        for ((init, body), finish) in init.iter_mut().zip(body).zip(finish).take(leaf.init.len()) {
            if !body.is_empty() || !finish.is_empty() {
                init.push(END);
                body.push(END);
            }
        }
        let mut folded = vec![false; types.len()];
        for (list, block) in uses.iter().zip(Block::ALL) {
            fold(block.of(leaf), block.first(leaf), list, &classes, f, &mut folded);
        }
        Ok(Values { classes, types, uses, folded })
    }

    fn of(&self, block: Block) -> &[Vec<u32>] {
        &self.uses[block as usize]
    }

    /// The first use at or behind that instruction; `None` if there is none.
    pub fn next_use(&self, block: Block, v: ValueId, from: u32) -> Option<u32> {
        let uses = &self.of(block)[v as usize];
        uses.get(uses.partition_point(|&at| at < from)).copied()
    }

    /// The last use in the block.
    pub fn last_use(&self, block: Block, v: ValueId) -> Option<u32> {
        self.of(block)[v as usize].last().copied()
    }

    /// How many operands of the block it is.
    pub fn count(&self, block: Block, v: ValueId) -> usize {
        self.of(block)[v as usize].iter().filter(|&&at| at != END).count()
    }
}

fn fold(ops: &[Op], first: ValueId, uses: &[Vec<u32>], classes: &[Class], f: Features, folded: &mut [bool]) {
    for (i, op) in ops.iter().enumerate() {
        let v = first as usize + i;
        let whole = match op.inst {
            Inst::Load(Addr { value: None, .. }) => op.ty.dtype.bytes() >= 4,
            Inst::LoadSplat(Addr { value: None, .. }) => f.wide && op.ty.dtype.bytes() >= 4,
            _ => false,
        };
        let ([at], true) = (&uses[v][..], whole && classes[v] == Class::Wide) else { continue };
        let (at, v) = (*at as usize, v as ValueId);
        let between = ops.get(i + 1..at).unwrap_or_default();
        let barrier = |op: &Op| {
            matches!(op.inst, Inst::Store(..) | Inst::StorePart(..) | Inst::If(..) | Inst::Raise(..))
        };
        let taken = |x: ValueId| x != v && x >= first && folded[x as usize];
        folded[v as usize] = !between.iter().any(barrier)
            && ops.get(at).is_some_and(|user| match user.inst {
                Inst::Fma(a, b, _) => (a == v && !taken(b)) || (b == v && !taken(a)),
                Inst::Binary(o, a, b) => arithmetic(o, op.ty.dtype, a == v) && !taken(a) && !taken(b),
                _ => false,
            });
    }
}

/// One instruction whose second operand may be memory; the first one too where they may be exchanged.
fn arithmetic(op: fornax_ir::scalar::BinaryOp, dtype: DType, first: bool) -> bool {
    use fornax_ir::scalar::BinaryOp;
    match op {
        BinaryOp::Add | BinaryOp::Mul => true,
        BinaryOp::Sub => !first,
        BinaryOp::Div => !first && dtype.is_float(),
        _ => false,
    }
}
