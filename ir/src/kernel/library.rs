//! Kernels that are no loop nest but a function of the runtime library, and what these functions compute.
//!
//! Such a kernel has buffers, scalars and locals as any other, no stages, and one outer axis: the items that threads
//! share. The scalars begin with what the function is to do; each function's arguments are listed here. Dtypes are
//! given by their place among all dtypes.

use super::{Access, AxisKind, BufferDecl, Kernel};
use crate::dtype::{DTYPES, DType};
use crate::reference;
use crate::scalar::{ReduceOp, named_enum};
use std::fmt;

named_enum! {
    /// A function of the runtime library.
    pub enum Library {
        /// Running sums and the like along an axis. Buffers: operand, result. Scalars: dtype, operation (the
        /// place of its [`ReduceOp`]), exclusive, reverse, extents before the axis, of it, behind it; items.
        Cumulative = "cumulative",
    }
}

impl Library {
    /// Columns that an item of [`Library::Cumulative`] has.
    pub const COLUMNS: i64 = 512;

    /// The name under which a program finds the function that a kernel of this kind is.
    pub fn symbol(self, _kernel: &Kernel) -> String {
        match self {
            Library::Cumulative => "fnx_cumulative".to_string(),
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
    }
}
