//! The three parts of a Winograd convolution: a 3 x 3 window of stride 1 computed for a tile of `t x t` outputs at
//! once, with `(t + 2)^2` products in place of `9 t^2`.
//!
//! `y = A^T [(G g G^T) * (B^T d B)] A` for each tile `d` of `t + 2` rows and columns, where `*` multiplies element by
//! element and sums over the channels: for each of the `(t + 2)^2` places a matrix product of its own. Source: A. Lavin
//! and S. Gray, Fast Algorithms for Convolutional Neural Networks, 2015; interpolation points 0, 1, -1 and infinity for
//! `t = 2`, and 2, -2 with them for `t = 4`.
//!
//! These are operators of the compiled program: layouts put them in place of a convolution.

mod eval;

use super::super::{OpError, SymValue, TensorType};
use super::check::{bad_dtype, bad_shape, entries};
use super::{EvalCx, InferCx, Meaning, Vjp};
use crate::dim::Dim;
use crate::dtype::DType;
use crate::literal::Literal;

/// Why none of them has a derivative.
const LAYOUT: Vjp = Vjp::NotDifferentiable(
    "a part of a convolution in the compiled program; the graph is differentiated before it has one",
);

/// The tiles of an image, transformed: of `x: [N, H, W, C]` to `[(t + 2)^2, N, TH, TW, C]` with `t` the tile.
///
/// `v[(t + 2) p + q, n, y, x, c] = sum over i, j of B[i][p] B[j][q] x[n, t y + i - lo0, t x + j - lo1, c]`; positions
/// outside `x` are 0. Floats of 32 or 64 bits.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct WinogradInput {
    /// Outputs of a tile along each spatial axis: 2 or 4.
    pub tile: i64,
    /// Padding before each of the two spatial axes; not negative.
    pub lo: Vec<i64>,
    /// Tiles along each of them.
    pub tiles: Vec<Dim>,
}

/// The transformed windows `w: [O, C, 3, 3]`, in panels as wide as [`super::Pack`] makes them:
/// `u[k, p, c, j] = (G w[p * width + j, c] G^T)[k]`, 0 beyond the last output, of shape
/// `[(t + 2)^2, ceil(O / width), C, width]` with `t` the tile. Computed in 64 bits and rounded once.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct WinogradWeights {
    /// Outputs of a tile along each spatial axis: 2 or 4.
    pub tile: i64,
    /// Elements of a panel's last axis; positive.
    pub width: i64,
}

/// The image whose tiles these sums are: of `m: [(t + 2)^2, N, TH, TW, O]` to `[N, size0, size1, O]` with `t` the tile.
///
/// `y[n, t y + i, t x + j, o] = sum over p, q of A[p][i] A[q][j] m[(t + 2) p + q, n, y, x, o]`. What of the last tiles
/// is outside the size is dropped.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct WinogradOutput {
    /// Outputs of a tile along each spatial axis: 2 or 4.
    pub tile: i64,
    /// Extents of the two spatial axes; no more than the tiles hold.
    pub size: Vec<Dim>,
}

/// Places of a tile's transform: `(tile + 2)^2`.
fn places(op: &'static str, tile: i64) -> Result<Dim, OpError> {
    match tile {
        2 | 4 => Ok(Dim::constant((tile + 2) * (tile + 2))),
        _ => bad_shape(op, format!("tiles have 2 or 4 outputs along an axis, not {tile}")),
    }
}

fn floats(op: &'static str, x: &TensorType) -> Result<(), OpError> {
    match x.dtype {
        DType::F32 | DType::F64 => Ok(()),
        _ => bad_dtype(op, format!("works on f32 or f64, not {x}")),
    }
}

fn rank(op: &'static str, x: &TensorType, axes: &[&str]) -> Result<(), OpError> {
    if x.rank() == axes.len() {
        return Ok(());
    }
    bad_shape(op, format!("the operand must be [{}], but is {x}", axes.join(", ")))
}

impl Meaning for WinogradInput {
    fn infer(&self, cx: &mut InferCx<'_>, inputs: &[&TensorType]) -> Result<TensorType, OpError> {
        const OP: &str = "winograd_input";
        let x = inputs[0];
        floats(OP, x)?;
        rank(OP, x, &["N", "H", "W", "C"])?;
        let places = places(OP, self.tile)?;
        entries(OP, "lo", self.lo.len(), 2)?;
        entries(OP, "tiles", self.tiles.len(), 2)?;
        if self.lo.iter().any(|&lo| !(0..=i64::from(i32::MAX)).contains(&lo)) {
            return bad_shape(OP, format!("padding must not be negative or huge, but is {:?}", self.lo));
        }
        let mut shape = vec![places, x.shape[0].clone()];
        for (k, tiles) in self.tiles.iter().enumerate() {
            shape.push(cx.extent(OP, tiles, &format!("number of tiles along axis {}", k + 1))?);
        }
        shape.push(x.shape[3].clone());
        cx.result(OP, x.dtype, shape)
    }
    fn symbolic(&self, _: &[Option<&SymValue>], _: &[&TensorType], _: &TensorType) -> Option<SymValue> {
        None
    }
    fn eval(&self, cx: &EvalCx<'_>, inputs: &[&Literal]) -> Result<Literal, OpError> {
        eval::input(self, cx, inputs[0])
    }
    fn vjp(&self) -> Vjp {
        LAYOUT
    }
}

impl Meaning for WinogradWeights {
    fn infer(&self, cx: &mut InferCx<'_>, inputs: &[&TensorType]) -> Result<TensorType, OpError> {
        const OP: &str = "winograd_weights";
        let w = inputs[0];
        floats(OP, w)?;
        rank(OP, w, &["O", "C", "3", "3"])?;
        let places = places(OP, self.tile)?;
        for axis in [2, 3] {
            cx.equal(
                OP,
                &w.shape[axis],
                &Dim::constant(3),
                &format!("axis {axis} of the window {w} must be 3"),
            )?;
        }
        if self.width < 1 {
            return bad_shape(OP, format!("panels must be 1 wide or more, but are {}", self.width));
        }
        let panels = (w.shape[0].clone() + (self.width - 1)).floor_div(&self.width.into());
        cx.result(OP, w.dtype, vec![places, panels, w.shape[1].clone(), self.width.into()])
    }
    fn symbolic(&self, _: &[Option<&SymValue>], _: &[&TensorType], _: &TensorType) -> Option<SymValue> {
        None
    }
    fn eval(&self, cx: &EvalCx<'_>, inputs: &[&Literal]) -> Result<Literal, OpError> {
        eval::weights(self, cx, inputs[0])
    }
    fn vjp(&self) -> Vjp {
        LAYOUT
    }
}

impl Meaning for WinogradOutput {
    fn infer(&self, cx: &mut InferCx<'_>, inputs: &[&TensorType]) -> Result<TensorType, OpError> {
        const OP: &str = "winograd_output";
        let m = inputs[0];
        floats(OP, m)?;
        rank(OP, m, &["(tile + 2)^2", "N", "TH", "TW", "O"])?;
        let places = places(OP, self.tile)?;
        cx.equal(
            OP,
            &m.shape[0],
            &places,
            &format!("axis 0 of {m} must have (tile + 2)^2 = {places} places"),
        )?;
        entries(OP, "size", self.size.len(), 2)?;
        let mut shape = vec![m.shape[1].clone()];
        for (k, size) in self.size.iter().enumerate() {
            let size = cx.extent(OP, size, &format!("size along axis {}", k + 1))?;
            let most = &m.shape[k + 2] * &Dim::constant(self.tile);
            cx.at_most(OP, &size, &most, &format!("the tiles of axis {} of {m} must hold the size", k + 2))?;
            shape.push(size);
        }
        shape.push(m.shape[4].clone());
        cx.result(OP, m.dtype, shape)
    }
    fn symbolic(&self, _: &[Option<&SymValue>], _: &[&TensorType], _: &TensorType) -> Option<SymValue> {
        None
    }
    fn eval(&self, cx: &EvalCx<'_>, inputs: &[&Literal]) -> Result<Literal, OpError> {
        eval::output(self, cx, inputs[0])
    }
    fn vjp(&self) -> Vjp {
        LAYOUT
    }
}
