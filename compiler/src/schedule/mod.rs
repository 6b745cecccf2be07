//! From a plan's groups to scheduled kernels.
//!
//! ```text
//! group -> emit (scalar bodies, index maps) -> axes (drop, split, merge) -> reuse (locals) -> finish (KIR) -> tile (schedule)
//! ```
//! [`lower`] runs all of it. A group that is no single kernel is refused with a reason, which is how
//! planning asks whether a fusion is admissible.

mod axes;
mod cache;
pub mod draft;
mod emit;
mod finish;
mod library;
mod maps;
mod reuse;
mod share;
mod stores;
pub mod tile;
mod work;

pub use cache::Cache;
pub(crate) use emit::MAX_PRODUCTS;
pub(crate) use finish::DETAIL;
pub(crate) use library::is_library;

use crate::Machine;
use crate::plan::Group;
use draft::Place;
use fornax_ir::graph::{Graph, ValueId};
use fornax_ir::kernel::{AxisKind, Buf, Inst, Kernel, Size};
use fornax_ir::scalar::Scalar;
use fornax_ir::{DType, Dim, Literal};
pub use work::operations;

/// Why a group is no single kernel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Refuse(pub &'static str);

/// A tensor that a kernel works on.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Operand {
    /// A materialised tensor: an input, a constant, or what another kernel stores.
    Tensor(ValueId),
    /// A tensor that the kernel stores; of a copy, the output.
    Target(ValueId),
}

/// A kernel, scheduled, with what its arguments stand for.
#[derive(Clone, Debug)]
pub struct Lowered {
    /// The kernel.
    pub kernel: Kernel,
    /// What each buffer argument is.
    pub operands: Vec<Operand>,
    /// What each scalar argument is.
    pub scalars: Vec<Dim>,
    /// Operands whose memory the root may take over: each point reads only what it writes itself. The
    /// root is stored last, so no point reads behind its store, whichever other tensors it stores.
    pub in_place: Vec<ValueId>,
    /// Estimated nanoseconds of one run on one thread.
    pub work: Dim,
    /// Bytes read and written, each element that is touched counted once.
    pub bytes: Dim,
}

/// Lowers a group to a scheduled kernel, or says why it cannot be one.
pub fn lower(graph: &Graph, group: &Group, machine: Machine) -> Result<Lowered, Refuse> {
    if is_library(graph, group.root) && group.copy_to.is_none() {
        return library::lower(graph, group, machine);
    }
    let (mut draft, mut ranges) = emit::emit(graph, group)?;
    axes::simplify_axes(&mut draft, &mut ranges);
    reuse::share_locals(&mut draft);
    let bytes = bytes(graph, group, &draft);
    let dtype_of = |p: Place| match p {
        Place::Tensor(v) | Place::Local(v) | Place::Target(v) => graph.ty(v).dtype,
    };
    let mut done = finish::finish(&draft, &ranges, &dtype_of)?;
    tile::choose(&mut done.kernel, machine);
    let work = work::work(&done.kernel, &done.scalars, &bytes, machine);
    let operand = |p: &Place| match p {
        Place::Tensor(v) => Operand::Tensor(*v),
        Place::Target(v) | Place::Local(v) => Operand::Target(*v),
    };
    let operands: Vec<Operand> = done.buffers.iter().map(operand).collect();
    let in_place = in_place(&done.kernel, &operands);
    let mut kernel = done.kernel;
    kernel.name = graph.loc(group.root).to_string();
    debug_assert!(
        fornax_ir::kernel::verify::verify(&kernel).is_ok(),
        "{:?}\n{kernel}",
        fornax_ir::kernel::verify::verify(&kernel)
    );
    Ok(Lowered { kernel, operands, scalars: done.scalars, in_place, work, bytes })
}

fn bytes(graph: &Graph, group: &Group, draft: &draft::DraftKernel) -> Dim {
    let mut touched: Vec<(ValueId, Dim)> = vec![];
    for stage in &draft.stages {
        let axes: Vec<_> = draft.outer.iter().chain(&stage.axes).collect();
        for (inst, _) in &stage.ops {
            let draft::DraftInst::Load { src: Place::Tensor(v), at, .. } = inst else { continue };
            let used = at.axes();
            let gathers = used.iter().any(|a| *a >= draft::VALUE_BASE);
            let walked =
                axes.iter().filter(|a| gathers && a.kind == AxisKind::Parallel || used.contains(&a.id));
            let elements = walked.fold(Dim::constant(1), |n, a| n * &a.extent);
            match touched.iter_mut().find(|t| t.0 == *v) {
                Some(t) => t.1 = t.1.clone() + elements,
                None => touched.push((*v, elements)),
            }
        }
    }
    let read = touched.into_iter().map(|(v, n)| {
        let ty = graph.ty(v);
        (n * ty.dtype.bytes() as i64).at_most(&ty.bytes())
    });
    let written = group.also.iter().fold(graph.ty(group.root).bytes(), |n, &v| n + graph.ty(v).bytes());
    read.fold(written, |a, b| a + b)
}

/// Operands that a kernel reads exactly where it writes the root.
fn in_place(kernel: &Kernel, operands: &[Operand]) -> Vec<ValueId> {
    let [stage] = &kernel.stages[..] else { return vec![] };
    if stage.axes.iter().any(|a| a.kind != AxisKind::Parallel) || !kernel.outer.is_empty() {
        return vec![];
    }
    // The root's store is the last.
    let stores = stage.body.iter().rev().find_map(|op| match &op.inst {
        Inst::Store { dst: Buf::Arg(b), at, .. } => Some((*b, at)),
        _ => None,
    });
    let Some((target, at)) = stores else { return vec![] };
    let fits = |&(k, o): &(usize, &Operand)| {
        let same_place = |op: &fornax_ir::kernel::Op| match &op.inst {
            Inst::Load { src: Buf::Arg(b), at: from, mask } if *b as usize == k => {
                from == at && mask.is_empty()
            }
            _ => true,
        };
        matches!(o, Operand::Tensor(_))
            && kernel.buffers[k].dtype.bytes() == kernel.buffers[target as usize].dtype.bytes()
            && stage.body.iter().all(same_place)
    };
    operands
        .iter()
        .enumerate()
        .filter(fits)
        .filter_map(|(_, o)| if let Operand::Tensor(v) = o { Some(*v) } else { None })
        .collect()
}

/// Whether the innermost work of every stage runs over neighbouring elements: what keeps a
/// contraction fast, and so the test for inlining a view into one.
pub fn is_vectorised(kernel: &Kernel) -> bool {
    kernel.stages.iter().zip(&kernel.schedule.stages).all(|(stage, s)| tile::is_smooth(stage, s))
}

pub(crate) fn literal_scalar(l: &Literal) -> Scalar {
    match l.dtype() {
        DType::U64 | DType::I64 => Scalar::new(l.dtype(), l.get_i64(0) as u64),
        d if d.is_float() => Scalar::from_f64(d, l.get_f64(0)),
        d => Scalar::from_i64(d, l.get_i64(0)),
    }
}

pub(crate) fn const_extent(s: Size, default: i64) -> i64 {
    s.as_const().unwrap_or(default)
}
