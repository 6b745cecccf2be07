//! The living definition of a [`Leaf`]: one round at a time, every access checked.
//!
//! Memory is a list of buffers in host byte order; a pointer is a byte offset into one of them. Buffers
//! are taken to start aligned, so that an access is aligned if its offset is a multiple of the element's bytes.

use super::verify::{Block, VerifyError, verify};
use super::{Addr, Inst, Leaf, Op, PtrId, ValueId};
use crate::dtype::DType;
use crate::kernel::Size;
use crate::kernel::interp::{read, write};
use crate::scalar::{Scalar, eval};

/// A pointer argument.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Pointer {
    /// Which of the buffers.
    pub buffer: usize,
    /// Where in it, in bytes; it may lie outside as long as nothing is accessed there.
    pub offset: i64,
}

/// Why a leaf could not be run.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum LeafError {
    /// The leaf breaks an invariant.
    #[error(transparent)]
    Invalid(#[from] VerifyError),
    /// Another number of pointers or integers was passed.
    #[error("the leaf takes {expected} {what}, not {found}")]
    ArgumentCount {
        /// Pointers or integers.
        what: &'static str,
        /// Declared ones.
        expected: usize,
        /// Passed ones.
        found: usize,
    },
    /// A pointer into a buffer that was not passed.
    #[error("pointer p{ptr} points into buffer {buffer} of {count}")]
    NoBuffer {
        /// The pointer.
        ptr: usize,
        /// The buffer it names.
        buffer: usize,
        /// How many there are.
        count: usize,
    },
    /// An access beyond its buffer.
    #[error("instruction %{value}: bytes {first}..{end} at p{ptr}, whose buffer has {len}")]
    OutOfBounds {
        /// The instruction's number.
        value: ValueId,
        /// Its pointer.
        ptr: PtrId,
        /// The first byte accessed.
        first: i128,
        /// The one after the last.
        end: i128,
        /// Bytes of the buffer.
        len: usize,
    },
    /// An access at an offset that is no multiple of its element's bytes.
    #[error("instruction %{value}: byte {first} at p{ptr} is not aligned for {dtype}")]
    Misaligned {
        /// The instruction's number.
        value: ValueId,
        /// Its pointer.
        ptr: PtrId,
        /// The first byte accessed.
        first: i128,
        /// The element.
        dtype: DType,
    },
}

/// Runs a verified leaf. `fused` tells whether [`Inst::Fma`] rounds once. The result is the detail of the
/// first raise whose condition held.
///
/// # Errors
/// A leaf that [`verify`] refuses, wrong arguments, and the first access out of bounds or misaligned; what
/// was stored until then stays.
pub fn run(
    leaf: &Leaf,
    buffers: &mut [&mut [u8]],
    ptrs: &[Pointer],
    ints: &[i64],
    fused: bool,
) -> Result<Option<i64>, LeafError> {
    verify(leaf)?;
    for (what, expected, found) in
        [("pointers", leaf.ptrs.len(), ptrs.len()), ("integers", leaf.ints as usize, ints.len())]
    {
        if expected != found {
            return Err(LeafError::ArgumentCount { what, expected, found });
        }
    }
    if let Some(ptr) = ptrs.iter().position(|p| p.buffer >= buffers.len()) {
        let (buffer, count) = (ptrs[ptr].buffer, buffers.len());
        return Err(LeafError::NoBuffer { ptr, buffer, count });
    }
    let places = ptrs.iter().map(|p| p.offset as i128).collect();
    let values = vec![Vec::new(); leaf.first_finish() as usize + leaf.finish.len()];
    let counters = vec![0; leaf.loops.len()];
    let mut run = Run { leaf, buffers, ptrs, ints, fused, places, counters, values, raised: None };
    run.all()?;
    Ok(run.raised)
}

struct Run<'a, 'b> {
    leaf: &'a Leaf,
    buffers: &'a mut [&'b mut [u8]],
    ptrs: &'a [Pointer],
    ints: &'a [i64],
    fused: bool,
    /// Where the pointers stand, in bytes from their buffers' starts.
    places: Vec<i128>,
    counters: Vec<i64>,
    /// Lanes of the values.
    values: Vec<Vec<Scalar>>,
    raised: Option<i64>,
}

impl Run<'_, '_> {
    fn all(&mut self) -> Result<(), LeafError> {
        let leaf = self.leaf;
        self.block(Block::Init)?;
        let first = leaf.first_carried() as usize;
        for (i, c) in leaf.carried.iter().enumerate() {
            self.values[first + i] = self.values[c.init as usize].clone();
        }
        let counts: Vec<i64> = leaf.loops.iter().map(|l| self.size(l.count)).collect();
        let mut running = counts.iter().all(|&n| n > 0);
        while running {
            self.place();
            self.block(Block::Body)?;
            let next: Vec<_> = leaf.carried.iter().map(|c| self.values[c.next as usize].clone()).collect();
            for (i, v) in next.into_iter().enumerate() {
                self.values[first + i] = v;
            }
            let step = (0..counts.len()).rev().find(|&l| self.counters[l] + 1 < counts[l]);
            running = step.is_some();
            if let Some(l) = step {
                self.counters[l] += 1;
                self.counters[l + 1..].fill(0);
            }
        }
        self.counters.fill(0);
        self.place();
        self.block(Block::Finish)
    }

    /// Puts the pointers where they stand at the present point of the loops.
    fn place(&mut self) {
        for (place, ptr) in self.places.iter_mut().zip(self.ptrs) {
            *place = ptr.offset as i128;
        }
        for (l, &counter) in self.leaf.loops.iter().zip(&self.counters) {
            for &(ptr, by) in &l.bumps {
                self.places[ptr as usize] += counter as i128 * self.size(by) as i128;
            }
        }
    }

    fn size(&self, size: Size) -> i64 {
        match size {
            Size::Const(v) => v,
            Size::Arg(n) => self.ints[n as usize],
        }
    }

    fn block(&mut self, block: Block) -> Result<(), LeafError> {
        let ops = block.of(self.leaf);
        let first = block.first(self.leaf) as usize;
        let mut i = 0;
        while i < ops.len() {
            let op = &ops[i];
            match &op.inst {
                Inst::If(cond, count) if !self.truth(*cond) => i += *count as usize,
                Inst::If(..) | Inst::Prefetch(_) => {}
                Inst::Raise(cond, detail) => {
                    if self.truth(*cond) && self.raised.is_none() {
                        self.raised = Some(self.size(*detail));
                    }
                }
                Inst::Store(at, v) => {
                    let lanes = self.values[*v as usize].clone();
                    self.store(at, &lanes, op.ty.dtype, (first + i) as ValueId)?;
                }
                Inst::StorePart(at, v, count) => {
                    let number = (first + i) as ValueId;
                    let lanes = self.values[*v as usize].clone();
                    let count = self.part(*count, lanes.len());
                    self.store(at, &lanes[..count], op.ty.dtype, number)?;
                }
                _ => self.values[first + i] = self.value(op, (first + i) as ValueId)?,
            }
            i += 1;
        }
        Ok(())
    }

    /// Writes lanes to neighbouring elements; none touch no memory.
    fn store(&mut self, at: &Addr, lanes: &[Scalar], dtype: DType, number: ValueId) -> Result<(), LeafError> {
        if lanes.is_empty() {
            return Ok(());
        }
        let bytes = self.bytes(number, at, dtype, lanes.len())?;
        for (bytes, lane) in bytes.chunks_mut(dtype.bytes()).zip(lanes) {
            write(*lane, bytes);
        }
        Ok(())
    }

    /// How many of so many lanes a count takes.
    fn part(&self, count: ValueId, lanes: usize) -> usize {
        self.one(count).as_i64().clamp(0, lanes as i64) as usize
    }

    fn one(&self, v: ValueId) -> Scalar {
        self.values[v as usize][0]
    }

    fn truth(&self, v: ValueId) -> bool {
        self.one(v).bits != 0
    }

    fn value(&mut self, op: &Op, number: ValueId) -> Result<Vec<Scalar>, LeafError> {
        let (d, lanes) = (op.ty.dtype, op.ty.lanes as usize);
        let arg = |v: ValueId, l: usize| self.values[v as usize][l];
        let each = |f: &dyn Fn(usize) -> Scalar| (0..lanes).map(f).collect::<Vec<_>>();
        Ok(match &op.inst {
            Inst::Const(v) => vec![*v; lanes],
            Inst::Int(n) => vec![Scalar::i64(self.ints[*n as usize])],
            Inst::Counter(l) => vec![Scalar::i64(self.counters[*l as usize])],
            Inst::Load(at) => {
                let bytes = self.bytes(number, at, d, lanes)?;
                bytes.chunks(d.bytes()).map(|b| read(d, b)).collect()
            }
            Inst::LoadStrided(at, by) => {
                let apart = |l: usize| by.wrapping_mul(l as i64).wrapping_mul(d.bytes() as i64);
                let element = |l: usize| {
                    let at = Addr { disp: at.disp.wrapping_add(apart(l)), ..*at };
                    self.bytes(number, &at, d, 1).map(|b| read(d, b))
                };
                (0..lanes).map(element).collect::<Result<_, _>>()?
            }
            Inst::LoadSplat(at) => {
                let bytes = self.bytes(number, at, d, 1)?;
                vec![read(d, bytes); lanes]
            }
            Inst::LoadIf(cond, at) => match self.truth(*cond) {
                true => self.bytes(number, at, d, lanes)?.chunks(d.bytes()).map(|b| read(d, b)).collect(),
                false => vec![Scalar::new(d, 0); lanes],
            },
            Inst::LoadPart(at, count) => {
                let mut all = vec![Scalar::new(d, 0); lanes];
                let count = self.part(*count, lanes);
                if count > 0 {
                    let bytes = self.bytes(number, at, d, count)?;
                    all.iter_mut().zip(bytes.chunks(d.bytes())).for_each(|(lane, b)| *lane = read(d, b));
                }
                all
            }
            Inst::Splat(a) => vec![self.one(*a); lanes],
            Inst::Ramp(a) => {
                let start = self.one(*a).as_i64();
                each(&|l| eval::cast(Scalar::i64(start.wrapping_add(l as i64)), op.ty.dtype))
            }
            Inst::Pack(values) => values.iter().map(|v| self.one(*v)).collect(),
            Inst::Interleave(a, b, upper) => {
                let first = if *upper { lanes / 2 } else { 0 };
                each(&|l| arg(if l % 2 == 0 { *a } else { *b }, first + l / 2))
            }
            Inst::Lane(a, k) => vec![arg(*a, *k as usize)],
            Inst::Unary(o, a) => each(&|l| eval::unary(*o, arg(*a, l))),
            Inst::Binary(o, a, b) => each(&|l| eval::binary(*o, arg(*a, l), arg(*b, l))),
            Inst::Compare(o, a, b) => each(&|l| Scalar::bool(eval::compare(*o, arg(*a, l), arg(*b, l)))),
            Inst::Select(c, a, b) => each(&|l| arg(if arg(*c, l).bits != 0 { *a } else { *b }, l)),
            Inst::Cast(a) => each(&|l| eval::cast(arg(*a, l), d)),
            Inst::Bitcast(a) => each(&|l| eval::bitcast(arg(*a, l), d)),
            Inst::Scale(a, n) => each(&|l| eval::scale(arg(*a, l), arg(*n, l))),
            Inst::Fma(a, b, c) => each(&|l| eval::fma(arg(*a, l), arg(*b, l), arg(*c, l), self.fused)),
            Inst::Horizontal(o, a) => {
                let mut all = self.values[*a as usize].clone();
                while all.len() > 1 {
                    let upper = all.split_off(all.len() / 2);
                    all = all.iter().zip(&upper).map(|(a, b)| eval::reduce_step(*o, *a, *b)).collect();
                }
                all
            }
            Inst::Store(..) | Inst::StorePart(..) | Inst::Prefetch(_) | Inst::If(..) | Inst::Raise(..) => {
                Vec::new()
            }
        })
    }

    /// The bytes of `count` neighbouring elements at an address.
    fn bytes(
        &mut self,
        value: ValueId,
        at: &Addr,
        dtype: DType,
        count: usize,
    ) -> Result<&mut [u8], LeafError> {
        let mut first = self.places[at.ptr as usize] + at.disp as i128;
        first += at.int.map_or(0, |n| self.ints[n as usize]) as i128;
        first += at.value.map_or(0, |v| self.one(v).as_i64()) as i128;
        let ptr = at.ptr;
        let buffer = &mut *self.buffers[self.ptrs[ptr as usize].buffer];
        let end = first + (count * dtype.bytes()) as i128;
        let len = buffer.len();
        match (usize::try_from(first), usize::try_from(end)) {
            _ if first.rem_euclid(dtype.bytes() as i128) != 0 => {
                Err(LeafError::Misaligned { value, ptr, first, dtype })
            }
            (Ok(from), Ok(to)) if to <= len => Ok(&mut buffer[from..to]),
            _ => Err(LeafError::OutOfBounds { value, ptr, first, end, len }),
        }
    }
}

#[cfg(test)]
mod tests;
