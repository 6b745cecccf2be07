//! Puts a leaf together section by section, before its value numbers are known.

use super::args::{IntArg, PtrArg};
use fornax_ir::dtype::DType;
use fornax_ir::leaf::{Addr, Carried, Inst, IntId, Leaf, Loop, Op, PtrId, Type};
use rustc_hash::FxHashMap;

/// A part of a leaf.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Section {
    /// Before the loops.
    Init,
    /// In the innermost loop.
    Body,
    /// After the loops.
    Finish,
}

/// A value whose number is not known yet: a section in the upper two bits, its place there below.
pub type Ref = u32;
const CARRIED: u32 = 3;
const SHIFT: u32 = 30;

/// A leaf under construction with what its arguments stand for.
#[derive(Default)]
pub struct LeafBuilder {
    sections: [Vec<Op>; 3],
    carried: Vec<(Type, Ref, Ref)>,
    ptrs: Vec<(PtrArg, DType)>,
    ints: Vec<IntArg>,
    known: FxHashMap<(Section, Inst, Type), Ref>,
}

impl LeafBuilder {
    /// Appends an instruction; an equal one without effects is reused.
    pub fn push(&mut self, section: Section, inst: Inst, ty: Type) -> Ref {
        let pure = is_pure(&inst);
        if pure {
            for s in [Section::Init, section] {
                if let Some(&r) = self.known.get(&(s, inst.clone(), ty)) {
                    return r;
                }
            }
        }
        let ops = &mut self.sections[section as usize];
        let r = (section as u32) << SHIFT | ops.len() as u32;
        ops.push(Op { inst: inst.clone(), ty });
        if pure {
            self.known.insert((section, inst, ty), r);
        }
        r
    }
    /// A new carried value that starts as `init`.
    pub fn carry(&mut self, ty: Type, init: Ref) -> Ref {
        let r = CARRIED << SHIFT | self.carried.len() as u32;
        self.carried.push((ty, init, r));
        r
    }
    /// What a round yields for a carried value.
    pub fn set_next(&mut self, carried: Ref, next: Ref) {
        self.carried[(carried & !(CARRIED << SHIFT)) as usize].2 = next;
    }
    /// The pointer argument, a new one if need be.
    pub fn ptr(&mut self, arg: &PtrArg, dtype: DType) -> PtrId {
        let found = self.ptrs.iter().position(|p| p.0 == *arg && p.1 == dtype);
        found.unwrap_or_else(|| {
            self.ptrs.push((arg.clone(), dtype));
            self.ptrs.len() - 1
        }) as PtrId
    }
    /// The pointer arguments so far.
    pub fn ptr_args(&self) -> &[(PtrArg, DType)] {
        &self.ptrs
    }
    /// The integer argument, a new one if need be.
    pub fn int(&mut self, arg: IntArg) -> IntId {
        let found = self.ints.iter().position(|i| *i == arg);
        found.unwrap_or_else(|| {
            self.ints.push(arg);
            self.ints.len() - 1
        }) as IntId
    }
    /// The finished leaf, and what its pointers and integers stand for.
    pub fn finish(self, loops: Vec<Loop>) -> (Leaf, Vec<PtrArg>, Vec<IntArg>) {
        let init = self.sections[0].len() as u32;
        let body = init + self.carried.len() as u32;
        let finish = body + self.sections[1].len() as u32;
        let base = [0, body, finish, init];
        let number = |r: Ref| base[(r >> SHIFT) as usize] + (r & !(CARRIED << SHIFT));
        let [mut init, mut body, mut finish] = self.sections;
        for op in init.iter_mut().chain(&mut body).chain(&mut finish) {
            map_operands(&mut op.inst, number);
        }
        let carried = self.carried.into_iter();
        let carried =
            carried.map(|(ty, init, next)| Carried { ty, init: number(init), next: number(next) }).collect();
        let ptrs = self.ptrs.iter().map(|p| p.1).collect();
        let leaf = Leaf { ptrs, ints: self.ints.len() as u32, init, loops, carried, body, finish };
        (leaf, self.ptrs.into_iter().map(|p| p.0).collect(), self.ints)
    }
}

fn is_pure(inst: &Inst) -> bool {
    !matches!(
        inst,
        Inst::Load(_)
            | Inst::LoadSplat(_)
            | Inst::LoadStrided(..)
            | Inst::LoadIf(..)
            | Inst::LoadPart(..)
            | Inst::StorePart(..)
            | Inst::Store(..)
            | Inst::Prefetch(_)
            | Inst::If(..)
            | Inst::Raise(..)
    )
}

/// Replaces every operand.
fn map_operands(inst: &mut Inst, f: impl Fn(u32) -> u32) {
    let addr = |a: &mut Addr| a.value = a.value.map(&f);
    match inst {
        Inst::Const(_) | Inst::Int(_) | Inst::Counter(_) => {}
        Inst::Load(a) | Inst::LoadSplat(a) | Inst::LoadStrided(a, _) | Inst::Prefetch(a) => addr(a),
        Inst::Pack(lanes) => lanes.iter_mut().for_each(|v| *v = f(*v)),
        Inst::Splat(a)
        | Inst::Lane(a, _)
        | Inst::Ramp(a)
        | Inst::Unary(_, a)
        | Inst::Cast(a)
        | Inst::Bitcast(a)
        | Inst::Horizontal(_, a)
        | Inst::If(a, _)
        | Inst::Raise(a, _) => *a = f(*a),
        Inst::Binary(_, a, b) | Inst::Compare(_, a, b) | Inst::Scale(a, b) | Inst::Interleave(a, b, _) => {
            (*a, *b) = (f(*a), f(*b))
        }
        Inst::Select(a, b, c) | Inst::Fma(a, b, c) => (*a, *b, *c) = (f(*a), f(*b), f(*c)),
        Inst::Store(a, v) => {
            addr(a);
            *v = f(*v);
        }
        Inst::LoadIf(c, a) | Inst::LoadPart(a, c) => {
            addr(a);
            *c = f(*c);
        }
        Inst::StorePart(a, v, n) => {
            addr(a);
            (*v, *n) = (f(*v), f(*n));
        }
    }
}
