//! What a leaf asks of its driver: pointers and integers, as expressions over loop positions.

use fornax_ir::kernel::{Affine, AxisId, Buf, Size};
use smallvec::SmallVec;

/// Number of a condition in a stage's table ([`super::cond::Conds`]).
pub type CondId = usize;

/// A pointer argument.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum PtrArg {
    /// The element `offset + sum of stride * position` of a buffer.
    Element {
        /// Which buffer.
        buf: Buf,
        /// Constant part, elements.
        offset: Size,
        /// Axes with strides in elements.
        terms: SmallVec<[(AxisId, Size); 4]>,
    },
    /// As `Element`, with the position of one axis counted from where its present range begins.
    InRange {
        /// Which axis.
        axis: AxisId,
        /// Which buffer.
        buf: Buf,
        /// Constant part, elements.
        offset: Size,
        /// Axes with strides in elements.
        terms: SmallVec<[(AxisId, Size); 4]>,
    },
    /// Memory of the function's frame.
    Frame,
}

impl PtrArg {
    /// Axes with strides in elements.
    #[must_use]
    pub fn terms(&self) -> &[(AxisId, Size)] {
        match self {
            PtrArg::Element { terms, .. } | PtrArg::InRange { terms, .. } => terms,
            PtrArg::Frame => &[],
        }
    }
}

/// An integer argument, i64.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum IntArg {
    /// Sum of sizes, each times a constant.
    Sum(SmallVec<[(Size, i64); 2]>),
    /// Product of sizes.
    Product(SmallVec<[Size; 2]>),
    /// An index without value variables, at the present positions.
    Index(Affine),
    /// Number of the present point of the reduce axes (row-major).
    Point,
    /// 1 if the condition holds at the present positions, else 0.
    Cond(CondId),
    /// Trip count of the loop over an axis (number of tiles for the axis a leaf runs along).
    Trips(AxisId),
    /// 1 if all conditions of [`super::Built::live`] hold, else 0.
    Live,
    /// Points left along the vector axis, from a partial tile's first one on.
    Left,
    /// How many whole blocks of 32 the size has.
    Blocks(Size),
    /// The size modulo 32.
    Rest(Size),
}

/// The points of a stage that one run of a leaf covers together.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Tile {
    /// Points along the `rows` axis.
    pub rows: u32,
    /// Registers side by side along the `vector` axis.
    pub vecs: u32,
    /// Lanes of one register; 1 is one point at a time.
    pub lanes: u32,
    /// Only the first of its points along the `vector` axis exist: as many as are left.
    pub part: bool,
}

impl Tile {
    /// A single point.
    pub const POINT: Tile = Tile { rows: 1, vecs: 1, lanes: 1, part: false };
    /// Points along the `vector` axis.
    #[must_use]
    pub fn width(self) -> i64 {
        i64::from(self.vecs * self.lanes)
    }
}
