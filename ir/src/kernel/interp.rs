//! The living definition of a [`Kernel`]: one point at a time, in order, every access checked.
//!
//! Beyond what [`super`] says:
//! - A stage with accumulations evaluates, per point of its other axes, first what does not depend
//!   on its reduce axes, then the reduce axes' points, then what depends on the accumulations, and its stores.
//! - An accumulation of f16 or bf16 is carried in f32 and rounded once, at its end.
//! - Memory holds elements in the host's byte order. Locals are filled with [`POISON`] at every
//!   point of the outer axes, so that a read of what was not written shows.

use super::analysis::StageInfo;
use super::verify::{VerifyError, verify};
use super::{Affine, Axis, AxisKind, Buf, IndexVar, Inst, Kernel, Mask, Op, Order, Size, Stage, ValueId};
use crate::dtype::DType;
use crate::scalar::{BinaryOp, ReduceOp, Scalar, eval};

/// The byte that unwritten locals consist of.
pub const POISON: u8 = 0xab;

/// Number of partial accumulations of [`Order::Interleaved`].
pub const PARTIALS: usize = 32;

/// Where the definition leaves a choice to the target.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Options {
    /// [`Inst::Fma`] rounds once instead of twice.
    pub fma: bool,
    /// A sum of products of floats is one fused multiply-add an element.
    pub contract: bool,
}

/// Why a kernel could not be run.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum KernelError {
    /// The kernel breaks an invariant.
    #[error(transparent)]
    Invalid(#[from] VerifyError),
    /// Another number of buffers was passed.
    #[error("kernel `{kernel}` takes {expected} buffers, not {found}")]
    BufferCount {
        /// The kernel's name.
        kernel: String,
        /// Declared ones.
        expected: usize,
        /// Passed ones.
        found: usize,
    },
    /// Another number of scalars was passed.
    #[error("kernel `{kernel}` takes {expected} scalars, not {found}")]
    ScalarCount {
        /// The kernel's name.
        kernel: String,
        /// Declared ones.
        expected: usize,
        /// Passed ones.
        found: usize,
    },
    /// A local's length is negative.
    #[error("kernel `{kernel}`: local l{local} has length {len}")]
    LocalLength {
        /// The kernel's name.
        kernel: String,
        /// Its number.
        local: usize,
        /// Its length.
        len: i64,
    },
    /// A library function cannot work with these arguments.
    #[error("kernel `{kernel}`: {what}")]
    Library {
        /// The kernel's name.
        kernel: String,
        /// Why.
        what: String,
    },
    /// An access beyond its buffer, or an index that does not fit 64 bits.
    #[error(
        "kernel `{kernel}`, stage {stage}, instruction %{inst}: element {index} of {buf}, which has {len}"
    )]
    OutOfBounds {
        /// The kernel's name.
        kernel: String,
        /// The stage.
        stage: usize,
        /// The instruction.
        inst: usize,
        /// The buffer.
        buf: Buf,
        /// The element's number.
        index: i128,
        /// How many whole elements the buffer has.
        len: usize,
    },
}

/// Runs a verified kernel over byte buffers (one an argument, elements in host byte order) and
/// scalar arguments. The result is the detail of the first raise whose condition held.
///
/// # Errors
/// A kernel that [`verify`] refuses, wrong numbers of arguments, and the first access out of
/// bounds; what was stored until then stays.
pub fn run(
    kernel: &Kernel,
    buffers: &mut [&mut [u8]],
    scalars: &[i64],
    options: Options,
) -> Result<Option<i64>, KernelError> {
    verify(kernel)?;
    let name = || kernel.name.clone();
    if buffers.len() != kernel.buffers.len() {
        let (expected, found) = (kernel.buffers.len(), buffers.len());
        return Err(KernelError::BufferCount { kernel: name(), expected, found });
    }
    if scalars.len() != kernel.scalars as usize {
        let (expected, found) = (kernel.scalars as usize, scalars.len());
        return Err(KernelError::ScalarCount { kernel: name(), expected, found });
    }
    if let Some(function) = kernel.library {
        let result = super::library::run(function, buffers, &kernel.buffers, scalars);
        return result.map_err(|what| KernelError::Library { kernel: name(), what });
    }
    let mut locals = Vec::new();
    for (i, local) in kernel.locals.iter().enumerate() {
        let len = resolve(local.len, scalars);
        let bytes = usize::try_from(len).ok().and_then(|n| n.checked_mul(local.dtype.bytes()));
        let bytes = bytes.ok_or(KernelError::LocalLength { kernel: name(), local: i, len })?;
        locals.push(vec![POISON; bytes]);
    }
    let infos: Vec<_> = (0..kernel.stages.len()).map(|s| StageInfo::of(kernel, s)).collect();
    let mut run = Run { kernel, scalars, options, buffers, locals, counters: Vec::new(), raised: None };
    for_each_point(&kernel.outer, scalars, |outer| {
        run.locals.iter_mut().for_each(|l| l.fill(POISON));
        for (s, info) in infos.iter().enumerate() {
            run.counters.clear();
            run.counters.extend_from_slice(outer);
            run.stage(s, info)?;
        }
        Ok::<(), KernelError>(())
    })?;
    Ok(run.raised)
}

/// The value of a size, given the scalar arguments.
pub fn resolve(size: Size, scalars: &[i64]) -> i64 {
    match size {
        Size::Const(v) => v,
        Size::Arg(n) => scalars[n as usize],
    }
}

/// Calls `f` with the counters of every point, the last axis fastest.
fn for_each_point<E>(
    axes: &[Axis],
    scalars: &[i64],
    mut f: impl FnMut(&[i64]) -> Result<(), E>,
) -> Result<(), E> {
    let extents: Vec<i64> = axes.iter().map(|a| resolve(a.extent, scalars)).collect();
    if extents.iter().any(|&n| n <= 0) {
        return Ok(());
    }
    let mut at = vec![0; axes.len()];
    loop {
        f(&at)?;
        let Some(axis) = (0..at.len()).rev().find(|&i| at[i] + 1 < extents[i]) else {
            return Ok(());
        };
        at[axis] += 1;
        at[axis + 1..].fill(0);
    }
}

struct Run<'a, 'b> {
    kernel: &'a Kernel,
    scalars: &'a [i64],
    options: Options,
    buffers: &'a mut [&'b mut [u8]],
    locals: Vec<Vec<u8>>,
    /// Outer axes, then the stage's own.
    counters: Vec<i64>,
    raised: Option<i64>,
}

/// An accumulation under way.
struct Partials {
    op: ReduceOp,
    order: Order,
    values: Vec<Scalar>,
    next: usize,
}

impl Run<'_, '_> {
    fn stage(&mut self, s: usize, info: &StageInfo) -> Result<(), KernelError> {
        let kernel = self.kernel;
        let stage = &kernel.stages[s];
        let outer = self.counters.len();
        let first_reduce = stage.axes.iter().position(|a| a.kind == AxisKind::Reduce);
        let (plain, reduce) = stage.axes.split_at(first_reduce.unwrap_or(stage.axes.len()));
        let phase = |select: &dyn Fn(usize) -> bool| -> Vec<usize> {
            (0..stage.body.len()).filter(|&i| select(i)).collect()
        };
        let before = phase(&|i| !info.post[i] && !info.in_reduce[i]);
        let within = phase(&|i| info.in_reduce[i]);
        let after = phase(&|i| info.post[i] && !info.in_reduce[i]);
        let mut values = vec![Scalar::bool(false); stage.body.len()];
        for_each_point(plain, self.scalars, |point| {
            self.counters.truncate(outer);
            self.counters.extend_from_slice(point);
            self.phase(s, &before, &mut values, &mut [])?;
            let mut partials = accumulations(stage);
            for_each_point(reduce, self.scalars, |point| {
                self.counters.truncate(outer + plain.len());
                self.counters.extend_from_slice(point);
                self.phase(s, &within, &mut values, &mut partials)
            })?;
            for (partial, (i, op)) in partials.into_iter().zip(each_accumulation(stage)) {
                values[i] = eval::cast(partial.finish(), op.dtype);
            }
            self.phase(s, &after, &mut values, &mut [])
        })
    }

    /// Evaluates the chosen instructions in order; `partials` belong to the accumulations among them.
    fn phase(
        &mut self,
        s: usize,
        chosen: &[usize],
        values: &mut [Scalar],
        partials: &mut [Partials],
    ) -> Result<(), KernelError> {
        let body = &self.kernel.stages[s].body;
        let mut accumulation = 0;
        for &i in chosen {
            let op = &body[i];
            match &op.inst {
                Inst::Accumulate { value, mask, .. } => {
                    let product = match body[*value as usize].inst {
                        Inst::Binary(BinaryOp::Mul, a, b) if self.options.contract => {
                            Some((values[a as usize], values[b as usize]))
                        }
                        _ => None,
                    };
                    let taken = self.holds(mask, values);
                    partials[accumulation].add(taken, values[*value as usize], product);
                    accumulation += 1;
                }
                Inst::Store { dst, at, value, mask } => {
                    if self.holds(mask, values) {
                        let index = self.index(at, values);
                        let bytes = self.element(s, i, *dst, op.dtype, index)?;
                        write(values[*value as usize], bytes);
                    }
                }
                Inst::Raise { cond, detail } => {
                    if values[*cond as usize].bits != 0 && self.raised.is_none() {
                        self.raised = Some(resolve(*detail, self.scalars));
                    }
                }
                Inst::Load { src, at, mask } => {
                    values[i] = Scalar::new(op.dtype, 0);
                    if self.holds(mask, values) {
                        let index = self.index(at, values);
                        let bytes = self.element(s, i, *src, op.dtype, index)?;
                        values[i] = read(op.dtype, bytes);
                    }
                }
                Inst::Axis(a) => values[i] = Scalar::i64(self.counters[*a as usize]),
                Inst::Arg(n) => values[i] = Scalar::i64(self.scalars[*n as usize]),
                Inst::InRange(mask) => values[i] = Scalar::bool(self.holds(mask, values)),
                _ => values[i] = pure(op, |v| values[v as usize], self.options.fma),
            }
        }
        Ok(())
    }

    fn index(&self, at: &Affine, values: &[Scalar]) -> i128 {
        at.terms.iter().fold(resolve(at.offset, self.scalars) as i128, |sum, &(var, stride)| {
            let var = match var {
                IndexVar::Axis(a) => self.counters[a as usize],
                IndexVar::Value(v) => values[v as usize].as_i64(),
            };
            sum + var as i128 * resolve(stride, self.scalars) as i128
        })
    }

    fn holds(&self, mask: &Mask, values: &[Scalar]) -> bool {
        mask.iter().all(|c| {
            let index = self.index(&c.index, values);
            index >= 0 && index < resolve(c.limit, self.scalars) as i128
        })
    }

    fn element(
        &mut self,
        stage: usize,
        inst: usize,
        buf: Buf,
        dtype: DType,
        index: i128,
    ) -> Result<&mut [u8], KernelError> {
        let bytes: &mut [u8] = match buf {
            Buf::Arg(n) => self.buffers[n as usize],
            Buf::Local(n) => &mut self.locals[n as usize],
        };
        let width = dtype.bytes();
        let len = bytes.len() / width;
        match usize::try_from(index).ok().filter(|&i| i < len) {
            Some(i) => Ok(&mut bytes[i * width..(i + 1) * width]),
            None => {
                let kernel = self.kernel.name.clone();
                Err(KernelError::OutOfBounds { kernel, stage, inst, buf, index, len })
            }
        }
    }
}

fn each_accumulation(stage: &Stage) -> impl Iterator<Item = (usize, &Op)> {
    stage.body.iter().enumerate().filter(|(_, op)| matches!(op.inst, Inst::Accumulate { .. }))
}

fn accumulations(stage: &Stage) -> Vec<Partials> {
    let start = |op: &Op| match op.inst {
        Inst::Accumulate { op: reduce, order, .. } => Some(Partials::new(reduce, order, op.dtype)),
        _ => None,
    };
    stage.body.iter().filter_map(start).collect()
}

impl Partials {
    fn new(op: ReduceOp, order: Order, dtype: DType) -> Self {
        let wide = if matches!(dtype, DType::F16 | DType::BF16) { DType::F32 } else { dtype };
        let count = if order == Order::Chain { 1 } else { PARTIALS };
        Partials { op, order, values: vec![Scalar::identity(op, wide); count], next: 0 }
    }

    /// Takes the next element, or passes it over; `product` holds the factors of a product to be contracted.
    fn add(&mut self, taken: bool, value: Scalar, product: Option<(Scalar, Scalar)>) {
        let count = self.values.len();
        let acc = &mut self.values[self.next];
        self.next = (self.next + 1) % count;
        if !taken {
            return;
        }
        let wide = |v| eval::cast(v, acc.dtype);
        *acc = match product {
            Some((a, b)) if self.op == ReduceOp::Sum && a.dtype.is_float() => {
                eval::fma(wide(a), wide(b), *acc, true)
            }
            _ => eval::reduce_step(self.op, *acc, wide(value)),
        };
    }

    fn finish(mut self) -> Scalar {
        if self.order == Order::Interleaved {
            let mut half = PARTIALS / 2;
            while half > 0 {
                for p in 0..half {
                    self.values[p] = eval::reduce_step(self.op, self.values[p], self.values[p + half]);
                }
                half /= 2;
            }
        }
        self.values[0]
    }
}

/// The value of an instruction that touches neither memory nor loops: constants, operators, casts, select, fma.
///
/// # Panics
/// On any other instruction, and on operands that [`verify`] refuses.
pub fn pure(op: &Op, value: impl Fn(ValueId) -> Scalar, fused: bool) -> Scalar {
    match op.inst {
        Inst::Const(v) => v,
        Inst::Unary(o, a) => eval::unary(o, value(a)),
        Inst::Binary(o, a, b) => eval::binary(o, value(a), value(b)),
        Inst::Compare(o, a, b) => Scalar::bool(eval::compare(o, value(a), value(b))),
        Inst::Select(c, a, b) => {
            if value(c).bits != 0 {
                value(a)
            } else {
                value(b)
            }
        }
        Inst::Cast(a) => eval::cast(value(a), op.dtype),
        Inst::Bitcast(a) => eval::bitcast(value(a), op.dtype),
        Inst::Fma(a, b, c) => eval::fma(value(a), value(b), value(c), fused),
        Inst::Scale(a, n) => eval::scale(value(a), value(n)),
        _ => panic!("{:?} depends on memory or loops", op.inst),
    }
}

/// An element from memory in host byte order; a bool is true unless its byte is 0.
pub fn read(dtype: DType, bytes: &[u8]) -> Scalar {
    let bits = match *bytes {
        [a] => a as u64,
        [a, b] => u16::from_ne_bytes([a, b]) as u64,
        [a, b, c, d] => u32::from_ne_bytes([a, b, c, d]) as u64,
        [a, b, c, d, e, f, g, h] => u64::from_ne_bytes([a, b, c, d, e, f, g, h]),
        _ => unreachable!("elements have 1, 2, 4 or 8 bytes"),
    };
    Scalar::new(dtype, if dtype == DType::Bool { (bits != 0) as u64 } else { bits })
}

/// Writes an element to memory in host byte order; `bytes` has the dtype's width.
pub fn write(value: Scalar, bytes: &mut [u8]) {
    match bytes.len() {
        1 => bytes[0] = value.bits as u8,
        2 => bytes.copy_from_slice(&(value.bits as u16).to_ne_bytes()),
        4 => bytes.copy_from_slice(&(value.bits as u32).to_ne_bytes()),
        _ => bytes.copy_from_slice(&value.bits.to_ne_bytes()),
    }
}

#[cfg(test)]
mod tests;
