//! Kernels that are no loop nest but a function of the runtime library, and what these functions compute.
//!
//! Such a kernel has buffers, scalars and locals as any other, no stages, and one outer axis: the items that threads
//! share. The scalars begin with what the function is to do; each function's arguments are listed here. Dtypes are
//! given by their place among all dtypes.

use super::{Access, AxisKind, BufferDecl, Kernel};
use crate::dtype::{DTYPES, DType};
use crate::graph::ops::scatter::MAX_INDEXED;
use crate::graph::ops::{Sorted, Update};
use crate::reference;
use crate::scalar::{ReduceOp, named_enum};
use std::fmt;

named_enum! {
    /// A function of the runtime library.
    pub enum Library {
        /// Running sums and the like along an axis. Buffers: operand, result. Scalars: dtype, operation (the
        /// place of its [`ReduceOp`]), exclusive, reverse, extents before the axis, of it, behind it; items.
        Cumulative = "cumulative",
        /// Updates at places that indices give. Buffers: data, updates, K index tensors, result. Scalars: dtype, what
        /// an update does (the place of its [`Update`]), dtype of the indices, whether each update has an index of its
        /// own, extents before the indexed axes, of the indices (of the updates along the axis), behind the axes, the K
        /// indexed extents, ranges of rows, detail of an index error; items.
        Scatter = "scatter",
        /// Sorting along an axis. Buffers: operand, one or two results. Scalars: dtype, what a single result is (the
        /// place of its [`Sorted`]), descending, extents before the axis, of it, behind it, how many elements are wanted,
        /// numbers in the local; items; length of the local, which has 8 bytes for each number, 16 for elements of 8
        /// bytes. Of two results, the elements come first.
        Sort = "sort",
    }
}

impl Library {
    /// Columns that an item of [`Library::Cumulative`] has.
    pub const COLUMNS: i64 = 512;

    /// The name under which a program finds the function that a kernel of this kind is.
    pub fn symbol(self, kernel: &Kernel) -> String {
        match self {
            Library::Cumulative => "fnx_cumulative".to_string(),
            Library::Scatter => format!("fnx_scatter_{}", kernel.buffers.len().saturating_sub(3)),
            Library::Sort => format!("fnx_sort_{}", kernel.buffers.len().saturating_sub(1)),
        }
    }

    /// Checks that a kernel has the arguments of its function.
    ///
    /// # Errors
    /// What it has instead.
    pub fn check(self, kernel: &Kernel) -> Result<(), &'static str> {
        let [axis] = kernel.outer[..] else { return Err("a library function has one axis of items") };
        if axis.kind != AxisKind::Parallel || kernel.schedule.parallel != [(0, 1)] {
            return Err("the items of a library function are shared out one by one");
        }
        if !kernel.stages.is_empty() {
            return Err("a library function has no stages");
        }
        let access: Vec<Access> = kernel.buffers.iter().map(|b| b.access).collect();
        match self {
            Library::Cumulative => {
                let same = kernel.buffers.windows(2).all(|w| w[0].dtype == w[1].dtype);
                if access != [Access::Read, Access::Write] || !same || kernel.scalars != 8 {
                    return Err(
                        "a cumulative kernel reads one buffer, writes one like it, and has 8 scalars",
                    );
                }
            }
            Library::Scatter => {
                let reads = access.split_last().is_some_and(|(last, reads)| {
                    *last == Access::Write && reads.iter().all(|a| *a == Access::Read)
                });
                let indices = access.len().saturating_sub(3);
                if !reads || !(1..=MAX_INDEXED).contains(&indices) || kernel.scalars as usize != 10 + indices
                {
                    return Err(
                        "a scatter kernel reads data, updates and indices, writes one buffer, and has 10 scalars \
                                and one for each index",
                    );
                }
            }
            Library::Sort => {
                let fits = matches!(
                    access[..],
                    [Access::Read, Access::Write] | [Access::Read, Access::Write, Access::Write]
                );
                if !fits || kernel.scalars != 10 || kernel.locals.len() != 1 {
                    return Err(
                        "a sorting kernel reads one buffer, writes one or two, and has 10 scalars and one local",
                    );
                }
            }
        }
        Ok(())
    }
}

/// The number of a dtype among the scalars.
pub fn dtype_code(dtype: DType) -> i64 {
    dtype as i64
}

fn extents<const N: usize>(scalars: &[i64]) -> [usize; N] {
    std::array::from_fn(|k| usize::try_from(scalars[k]).unwrap_or(0))
}

/// Runs a verified kernel that is a library function; gives the detail of an index error.
///
/// # Errors
/// Buffers that are smaller than the scalars say, in words.
pub(super) fn run(
    function: Library,
    buffers: &mut [&mut [u8]],
    decls: &[BufferDecl],
    scalars: &[i64],
) -> Result<Option<i64>, String> {
    let dtype = DTYPES.get(scalars[0] as usize).map(|row| row.dtype);
    if dtype != Some(decls[0].dtype) {
        return Err(format!("scalar 0 is {}, which is not {}", scalars[0], decls[0].dtype));
    }
    match function {
        Library::Cumulative => {
            let [x, y] = buffers else { return Err("two buffers are needed".into()) };
            let op = ReduceOp::ALL.get(scalars[1] as usize).ok_or("an unknown operation")?;
            let of = reference::Cumulative {
                dtype: decls[0].dtype,
                shape: extents(&scalars[4..]),
                op: *op,
                exclusive: scalars[2] != 0,
                reverse: scalars[3] != 0,
            };
            of.run(x, y).map(|()| None)
        }
        Library::Scatter => scatter(buffers, decls, scalars),
        Library::Sort => {
            let of = reference::Sort {
                dtype: decls[0].dtype,
                shape: extents(&scalars[3..]),
                descending: scalars[2] != 0,
                count: extents::<1>(&scalars[6..])[0],
            };
            match buffers {
                [x, values, places] => of.run(x, Some(values), Some(places)),
                [x, values] if scalars[1] == Sorted::Values as i64 => of.run(x, Some(values), None),
                [x, places] => of.run(x, None, Some(places)),
                _ => Err("two or three buffers are needed".into()),
            }
            .map(|()| None)
        }
    }
}

fn scatter(buffers: &mut [&mut [u8]], decls: &[BufferDecl], scalars: &[i64]) -> Result<Option<i64>, String> {
    let Some((out, [data, updates, indices @ ..])) = buffers.split_last_mut() else {
        return Err("four buffers are needed".into());
    };
    let k = indices.len();
    let limits: Vec<usize> = scalars[7..7 + k].iter().map(|&n| usize::try_from(n).unwrap_or(0)).collect();
    let [outer, count, inner] = extents(&scalars[4..]);
    let update = Update::ALL.get(scalars[1] as usize).ok_or("an unknown update")?;
    let of = reference::Scatter {
        dtype: decls[0].dtype,
        operator: update.operator(),
        index: decls[2].dtype,
        each: scalars[3] != 0,
        outer,
        count,
        inner,
        limits: &limits,
    };
    let indices: Vec<&[u8]> = indices.iter().map(|i| &**i).collect();
    let inside = of.run(data, updates, &indices, out)?;
    Ok((!inside).then_some(scalars[8 + k]))
}
