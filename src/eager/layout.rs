//! From operands to a program's arguments: which bytes, which symbols, and what the program's graph begins with.
//!
//! An operand whose elements lie without gaps is passed as it lies: the graph begins with a permutation of its axes, and
//! for elementwise operations with a broadcast where strides are 0. Other views are copied first.

use fornax_ir::DType;
use fornax_ir::Dim;
use fornax_ir::graph::builder::{Builder, Result as BuildResult};
use fornax_ir::graph::ops::Broadcast;
use fornax_ir::graph::{TensorType, ValueId};
use fornax_ir::literal::LiteralError;
use fornax_ir::scalar::Scalar;
use smallvec::SmallVec;

use super::dispatch::Operand;
use super::key::{Key, Relation, Words};
use crate::tensor::{Array, Shape, scalar_word};

/// The most axes a tensor may have here.
pub(super) const MAX_RANK: usize = 8;

/// An extent that is a constant given in the key, and one that is the constant 1.
const EXACT: u8 = 255;
const ONE: u8 = 254;
/// Symbols that a program may have.
const MAX_SYMBOLS: usize = 250;

/// Why operands cannot be arguments.
#[derive(Debug)]
pub(super) enum Misfit {
    /// Shapes that don't broadcast: the axis of the result.
    Broadcast(usize),
    /// Too many axes or operands.
    Limit(String),
    /// No memory for a copy.
    Memory(LiteralError),
}

/// A list of at most [`MAX_RANK`] small numbers.
#[derive(Clone, Copy, Default)]
pub(super) struct Few {
    len: u8,
    items: [u8; MAX_RANK],
}

impl Few {
    /// `0..n`.
    fn counting(n: usize) -> Few {
        Few { len: n as u8, items: std::array::from_fn(|i| i as u8) }
    }
    fn push(&mut self, item: u8) {
        self.items[self.len as usize] = item;
        self.len += 1;
    }
}

impl std::ops::Deref for Few {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.items[..self.len as usize]
    }
}

impl std::ops::DerefMut for Few {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.items[..self.len as usize]
    }
}

/// The bytes of an argument.
pub(super) enum Source<'a> {
    Borrowed(&'a [u8]),
    Copied(Box<Array>),
    Word(u64, usize),
}

impl Source<'_> {
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Source::Borrowed(bytes) => bytes,
            Source::Copied(array) => array.bytes(),
            Source::Word(word, width) => &bytemuck::bytes_of(word)[..*width],
        }
    }
}

/// How the program's graph sees one operand.
pub(super) struct Argument {
    pub(super) dtype: DType,
    /// The extents that the operation sees, by number of symbol; or [`EXACT`], [`ONE`].
    pub(super) codes: Few,
    /// Axes in the order in which the elements lie; those left out are broadcast.
    pub(super) order: Few,
}

/// Operands in the form that a program takes.
#[derive(Default)]
pub(super) struct Prepared<'a> {
    /// The key's words, operands included.
    pub(super) words: Words,
    pub(super) sources: SmallVec<[Source<'a>; 4]>,
    /// Values of the symbols.
    pub(super) extents: SmallVec<[i64; MAX_RANK]>,
    /// The common shape of elementwise operands; bit k of the mask tells that all repeat along axis k, and so will the
    /// result.
    pub(super) shape: Option<(Shape, u8)>,
    /// How the graph sees operand by operand.
    pub(super) arguments: SmallVec<[Argument; 3]>,
}

/// Arranges operands for a key, whose words it takes over.
pub(super) fn prepare<'a>(key: &mut Key, operands: &[Operand<'a>]) -> Result<Prepared<'a>, Misfit> {
    let mut prepared = Prepared { words: std::mem::take(&mut key.words), ..Prepared::default() };
    prepared.words.push(operands.len() as u64);
    match key.relation {
        Relation::Elementwise => prepared.elementwise(operands)?,
        _ => prepared.whole(key, operands)?,
    }
    Ok(prepared)
}

/// Strides of one operand along the axes of the common shape; 0 where it repeats.
type Steps = [isize; MAX_RANK];

fn common_shape(operands: &[Operand<'_>]) -> Result<Shape, Misfit> {
    let rank = operands.iter().map(|o| o.shape().len()).max().unwrap_or(0);
    if rank > MAX_RANK {
        return Err(Misfit::Limit(format!("{rank} axes are too many, at most {MAX_RANK} work")));
    }
    let mut shape: Shape = SmallVec::from_elem(1, rank);
    for operand in operands {
        let own = operand.shape();
        let first = rank - own.len();
        for (k, &n) in own.iter().enumerate() {
            let common = &mut shape[first + k];
            match (*common, n) {
                (a, b) if a == b => {}
                (1, _) => *common = n,
                (_, 1) => {}
                _ => return Err(Misfit::Broadcast(first + k)),
            }
        }
    }
    Ok(shape)
}

/// Strides along the axes of `shape`, to which the array's own broadcasts.
fn steps(own: &[usize], strides: &[isize], shape: &[usize]) -> Steps {
    let mut steps = [0; MAX_RANK];
    let first = shape.len() - own.len();
    for k in 0..own.len() {
        if own[k] != 1 {
            steps[first + k] = strides[k];
        }
    }
    steps
}

/// Axes merged: extents and strides, innermost last.
struct Merged {
    extents: SmallVec<[i64; MAX_RANK]>,
    steps: SmallVec<[SmallVec<[isize; MAX_RANK]>; 3]>,
}

/// Axes of extent 1, and those along which every operand repeats, are left out.
fn merge(shape: &[usize], steps: &[Steps]) -> Merged {
    let mut axes: SmallVec<[(usize, i64); MAX_RANK]> = SmallVec::new();
    for k in (0..shape.len()).rev().filter(|&k| shape[k] != 1 && steps.iter().any(|s| s[k] != 0)) {
        match axes.last_mut() {
            Some((inner, extent)) if steps.iter().all(|s| s[k] == s[*inner] * *extent as isize) => {
                *extent *= shape[k] as i64;
            }
            _ => axes.push((k, shape[k] as i64)),
        }
    }
    axes.reverse();
    Merged {
        extents: axes.iter().map(|a| a.1).collect(),
        steps: steps.iter().map(|s| axes.iter().map(|a| s[a.0]).collect()).collect(),
    }
}

/// The axes with a stride, outermost in memory first, if the elements along them lie without gaps.
fn packed_order(extents: impl Fn(usize) -> i64, steps: &[isize]) -> Option<Few> {
    let mut order = Few::default();
    (0..steps.len() as u8).filter(|&k| steps[k as usize] != 0).for_each(|k| order.push(k));
    order.sort_by_key(|&k| std::cmp::Reverse(steps[k as usize]));
    let mut next = 1;
    for &k in order.iter().rev() {
        if steps[k as usize] != next {
            return None;
        }
        next *= extents(k as usize) as isize;
    }
    Some(order)
}

fn order_word(order: &[u8]) -> u64 {
    order.iter().enumerate().fold(0, |word, (i, &k)| word | u64::from(k) << (4 * i))
}

impl<'a> Prepared<'a> {
    fn elementwise(&mut self, operands: &[Operand<'a>]) -> Result<(), Misfit> {
        if self.alike(operands) {
            return Ok(());
        }
        let shape = common_shape(operands)?;
        let empty = shape.contains(&0);
        let mut copies: Vec<(usize, Array)> = Vec::new();
        loop {
            let copy = |i: usize| copies.iter().find(|(of, _)| *of == i).map(|(_, copy)| copy);
            let strided = operands.iter().enumerate().map(|(i, operand)| match (operand, copy(i)) {
                // Nothing is read of an empty result, so every operand may pass for a row of none.
                _ if empty => [isize::from(!operand.shape().is_empty()); MAX_RANK],
                (_, Some(copy)) => steps(copy.shape(), copy.strides(), &shape),
                (Operand::Tensor(t), None) => steps(t.shape(), t.array().strides(), &shape),
                (Operand::Scalar(_), None) => [0; MAX_RANK],
            });
            let strided: SmallVec<[Steps; 3]> = strided.collect();
            let merged = if empty { merge(&[0], &strided) } else { merge(&shape, &strided) };
            let orders = merged.steps.iter().map(|s| packed_order(|k| merged.extents[k], s));
            let orders: SmallVec<[_; 3]> = orders.collect();
            let Some(gappy) = orders.iter().position(Option::is_none) else {
                self.extents = merged.extents;
                for (i, (operand, order)) in operands.iter().zip(orders).enumerate() {
                    let copy = copies.iter().position(|(of, _)| *of == i).map(|at| copies.swap_remove(at).1);
                    self.push_elementwise(operand, copy, order.expect("all are there"));
                }
                self.words.push(self.extents.len() as u64);
                let repeats = |k: &usize| shape[*k] != 1 && !empty && strided.iter().all(|s| s[*k] == 0);
                let mask = (0..shape.len()).filter(repeats).fold(0, |mask, k| mask | 1 << k);
                self.shape = Some((shape, mask));
                return Ok(());
            };
            copies.push((gappy, operands[gappy].array().to_dense().map_err(Misfit::Memory)?));
        }
    }

    /// Arranges operands that all lie in row-major order and have one shape, beside scalars: the most frequent case, in
    /// which all axes are one. Whether they are such.
    fn alike(&mut self, operands: &[Operand<'a>]) -> bool {
        let mut shape: Option<&[usize]> = None;
        for operand in operands {
            if let Operand::Tensor(t) = operand {
                let array = t.array();
                if shape.is_some_and(|shape| shape != array.shape()) || !array.is_dense() {
                    return false;
                }
                shape = Some(array.shape());
            }
        }
        let Some(shape) = shape.filter(|shape| shape.len() <= MAX_RANK) else { return false };
        self.extents.push(shape.iter().product::<usize>() as i64);
        for operand in operands {
            let axes = usize::from(matches!(operand, Operand::Tensor(_)));
            self.push_elementwise(operand, None, Few::counting(axes));
        }
        self.words.push(1);
        self.shape = Some((Shape::from_slice(shape), 0));
        true
    }

    fn push_elementwise(&mut self, operand: &Operand<'a>, copy: Option<Array>, order: Few) {
        let elements: i64 = order.iter().map(|&k| self.extents[k as usize]).product();
        self.sources.push(match (operand, copy) {
            (Operand::Scalar(s), _) => Source::Word(scalar_word(*s), s.dtype.bytes()),
            (_, Some(copy)) => Source::Copied(Box::new(copy)),
            (Operand::Tensor(t), None) => Source::Borrowed(t.array().behind(elements as usize)),
        });
        let dtype = operand.dtype();
        self.words.push(dtype as u64 | (order.len() as u64) << 8 | order_word(&order) << 16);
        self.arguments.push(Argument { dtype, codes: Few::counting(self.extents.len()), order });
    }

    fn whole(&mut self, key: &Key, operands: &[Operand<'a>]) -> Result<(), Misfit> {
        for (index, operand) in operands.iter().enumerate() {
            let codes = self.codes(key, index, operands)?;
            let (source, order) = match operand {
                Operand::Scalar(s) => (Source::Word(scalar_word(*s), s.dtype.bytes()), Few::default()),
                Operand::Tensor(t) => lying(t.array())?,
            };
            let dtype = operand.dtype();
            let identity = order.len() == codes.len() && order.is_sorted();
            let layout = if identity { u64::MAX << 24 } else { order_word(&order) << 24 };
            self.words.push(dtype as u64 | (codes.len() as u64) << 8 | (order.len() as u64) << 16 | layout);
            let mut packed = [0; MAX_RANK];
            packed[..codes.len()].copy_from_slice(&codes);
            self.words.push(u64::from_le_bytes(packed));
            for (k, _) in codes.iter().enumerate().filter(|(_, c)| **c == EXACT) {
                self.words.push(operand.shape()[k] as u64);
            }
            self.sources.push(source);
            self.arguments.push(Argument { dtype, codes, order });
        }
        Ok(())
    }

    /// Numbers the extents of an operand.
    fn codes(&mut self, key: &Key, index: usize, operands: &[Operand<'a>]) -> Result<Few, Misfit> {
        let shape = operands[index].shape();
        if shape.len() > MAX_RANK {
            return Err(Misfit::Limit(format!("{} axes are too many, at most {MAX_RANK} work", shape.len())));
        }
        let entry = index.min(key.exact.len() - 1);
        let (exact, ones) = (key.exact[entry], key.ones[entry]);
        let mut codes = Few::default();
        for (k, &n) in shape.iter().enumerate() {
            if exact >> k & 1 == 1 {
                codes.push(EXACT);
                continue;
            }
            if n == 1 && ones >> k & 1 == 1 {
                codes.push(ONE);
                continue;
            }
            let linked = |&((o, a), (p, b)): &((u8, u8), (u8, u8))| {
                let here = (o as usize, a as usize) == (index, k);
                (here && operands[p as usize].shape().get(b as usize) == Some(&n))
                    .then(|| self.arguments[p as usize].codes[b as usize])
            };
            let aligned = || {
                let first = operands.first().filter(|_| index > 0 && key.relation == Relation::Aligned)?;
                let at = (k + first.shape().len()).checked_sub(shape.len())?;
                (first.shape()[at] == n).then(|| self.arguments[0].codes[at])
            };
            match key.links.iter().find_map(linked).or_else(aligned) {
                Some(code) if code < ONE => codes.push(code),
                _ => {
                    if self.extents.len() == MAX_SYMBOLS {
                        return Err(Misfit::Limit("too many operands".into()));
                    }
                    codes.push(self.extents.len() as u8);
                    self.extents.push(n as i64);
                }
            }
        }
        Ok(codes)
    }

    /// Declares the program's inputs and brings them into the form that the operation sees.
    pub(super) fn inputs(&self, b: &mut Builder, operands: &[Operand<'_>]) -> BuildResult<Vec<ValueId>> {
        let mut values = Vec::with_capacity(self.arguments.len());
        for (i, argument) in self.arguments.iter().enumerate() {
            let extent = |k: usize| match argument.codes[k] {
                ONE => Dim::ONE,
                EXACT => Dim::constant(operands[i].shape()[k] as i64),
                symbol => Dim::symbol(&symbol_name(symbol as usize)),
            };
            let stored: Vec<Dim> = argument.order.iter().map(|&k| extent(k as usize)).collect();
            let input = b.input(&format!("x{i}"), TensorType::new(argument.dtype, stored));
            let mut axes: Vec<u32> = argument.order.iter().map(|&k| u32::from(k)).collect();
            axes.sort_unstable();
            // Axis j of the operand's own order lies at this place of the memory's order.
            let place =
                |a: &u32| argument.order.iter().position(|&k| u32::from(k) == *a).expect("stored") as u32;
            let perm: Vec<u32> = axes.iter().map(place).collect();
            let mut value = b.permute(input, &perm)?;
            if axes.len() < argument.codes.len() {
                let shape = (0..argument.codes.len()).map(extent).collect();
                value = b.add(Broadcast { shape, axes }, &[value])?;
            }
            values.push(value);
        }
        Ok(values)
    }
}

/// The name of a program's symbol of that number.
pub(super) fn symbol_name(number: usize) -> String {
    format!("d{number}")
}

/// The number in a symbol's name.
pub(super) fn symbol_number(name: &str) -> Option<usize> {
    name.strip_prefix('d')?.parse().ok()
}

/// How an array's elements lie: its axes in the order of memory. Copied where they have gaps.
fn lying<'a>(array: &'a Array) -> Result<(Source<'a>, Few), Misfit> {
    let rank = array.shape().len();
    if array.is_dense() {
        return Ok((Source::Borrowed(array.behind(array.numel())), Few::counting(rank)));
    }
    let shape = array.shape();
    let steps = steps(shape, array.strides(), shape);
    let repeats = |k: usize| steps[k] == 0 && shape[k] != 1;
    if let Some(mut order) =
        packed_order(|k| shape[k] as i64, &steps[..shape.len()]).filter(|_| !(0..shape.len()).any(repeats))
    {
        let elements = order.iter().map(|&k| shape[k as usize]).product();
        // Axes of extent 1 lie anywhere.
        (0..rank).filter(|&k| shape[k] == 1).for_each(|k| order.push(k as u8));
        return Ok((Source::Borrowed(array.behind(elements)), order));
    }
    Ok((Source::Copied(Box::new(array.to_dense().map_err(Misfit::Memory)?)), Few::counting(rank)))
}

/// Inputs of the shapes that the operands have: errors about them speak of numbers.
pub(super) fn concrete_inputs(b: &mut Builder, operands: &[Operand<'_>]) -> Vec<ValueId> {
    let mut values = Vec::with_capacity(operands.len());
    for (i, operand) in operands.iter().enumerate() {
        values.push(match operand {
            Operand::Scalar(s) => b.scalar(Scalar::new(s.dtype, s.bits)),
            Operand::Tensor(_) => {
                let shape: Vec<Dim> = operand.shape().iter().map(|&n| Dim::constant(n as i64)).collect();
                b.input(&format!("x{i}"), TensorType::new(operand.dtype(), shape))
            }
        });
    }
    values
}
