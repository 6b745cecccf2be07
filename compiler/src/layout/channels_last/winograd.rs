//! Which convolutions take fewer multiplications in tiles, and their parts.
//!
//! A 3 x 3 window of stride 1 over `t x t` outputs at a time takes `(t + 2)^2` products of matrices `[tiles, channels]`
//! and `[channels, outputs]`, for 4 (`t = 4`) or 2.25 (`t = 2`) times fewer multiplications. What that costs is memory:
//! the transformed weights are 4 or 1.8 times as large, and transformed tiles and sums of products are written and
//! read. So small images with many channels stay as they are.

use super::{Layouts, panel_of};
use crate::Machine;
use crate::canonicalize::constant::magnitude;
use fornax_ir::DType;
use fornax_ir::dim::Dim;
use fornax_ir::graph::ValueId;
use fornax_ir::graph::ops::{Conv, DotGeneral, Reshape, WinogradInput, WinogradOutput, WinogradWeights};

/// Outputs of a tile along an axis.
const TILES: [i64; 2] = [4, 2];
/// Fraction of the time of a direct convolution that tiles may take, so that estimates a little off lose nothing.
const WORTH: f64 = 0.85;
/// Fewer input channels than this are sums too short to pay for their tiles.
const MIN_CHANNELS: i64 = 16;

/// A convolution of stride 1 with windows of 3 x 3, in numbers.
#[derive(Clone, Copy, Debug)]
struct Shape {
    /// Images; 1 where that is known only at run time.
    images: i64,
    channels: i64,
    outputs: i64,
    /// Extents of the result.
    size: [i64; 2],
}

impl Shape {
    /// Tiles along each axis.
    fn tiles(&self, tile: i64) -> [i64; 2] {
        self.size.map(|n| (n + tile - 1) / tile)
    }

    /// Nanoseconds of the direct convolution on one thread.
    fn direct(&self, machine: Machine) -> f64 {
        let [h, w] = self.size.map(|n| n as f64);
        let windows = (self.channels * self.outputs * 9) as f64;
        let products = self.images as f64 * h * w * windows;
        products / machine.products(self.images * self.size[1]) + machine.streamed(4.0 * windows)
    }

    /// Nanoseconds in tiles, on one thread.
    fn tiled(&self, tile: i64, machine: Machine) -> f64 {
        let places = ((tile + 2) * (tile + 2)) as f64;
        let tiles = self.images * self.tiles(tile).iter().product::<i64>();
        let (channels, outputs) = (self.channels as f64, self.outputs as f64);
        let products = places * tiles as f64 * channels * outputs;
        // Each transform reads and writes its tiles once, and the products read and write them again.
        let moved = 2.0 * 4.0 * places * tiles as f64 * (channels + outputs);
        products / machine.products(tiles)
            + machine.streamed(4.0 * places * channels * outputs)
            + machine.moved(moved)
    }

    /// The tile that takes least time, where that is worth it.
    fn best(&self, machine: Machine) -> Option<i64> {
        let times = TILES.map(|t| (self.tiled(t, machine), t));
        let best = times.into_iter().min_by(|a, b| a.0.total_cmp(&b.0))?;
        (best.0 < WORTH * self.direct(machine)).then_some(best.1)
    }
}

/// The convolution in numbers, if it has this form.
fn shape(op: &Conv, x: &[Dim], w: &[usize]) -> Option<Shape> {
    let plain = op.groups == 1 && op.strides == [1, 1] && op.dilations == [1, 1];
    let [outputs, channels, 3, 3] = w[..] else { return None };
    let (outputs, channels) = (i64::try_from(outputs).ok()?, i64::try_from(channels).ok()?);
    if !plain || channels < MIN_CHANNELS || outputs < MIN_CHANNELS {
        return None;
    }
    let extent = |k: usize| {
        let (lo, hi) = &op.pads[k];
        let n = x[k + 2].as_const()?.checked_add(lo.as_const()?)?.checked_add(hi.as_const()?)? - 2;
        (1..=i64::from(i32::MAX)).contains(&n).then_some(n)
    };
    let images = x[0].as_const().unwrap_or(1);
    Some(Shape { images, channels, outputs, size: [extent(0)?, extent(1)?] })
}

impl Layouts<'_, '_> {
    /// The convolution in tiles, its result in channels-last order; `None` where that does not pay, has no such
    /// form, or the weights are not finite. `dims` are the weights' extents.
    pub(super) fn winograd(&mut self, op: &Conv, [x, w]: [ValueId; 2], dims: &[usize]) -> Option<ValueId> {
        let ty = self.r.ty(x).clone();
        if ty.dtype != DType::F32 || ty.rank() != 4 {
            return None;
        }
        let shape = shape(op, &ty.shape, dims)?;
        let tile = shape.best(self.machine)?;
        magnitude(self.r.graph(), w)?;
        let tiles: Vec<Dim> = shape.tiles(tile).map(Dim::constant).to_vec();
        let lo = op.pads.iter().map(|p| p.0.as_const()).collect::<Option<Vec<i64>>>()?;
        let x = self.last(x)?;
        let v = self.r.add(WinogradInput { tile, lo, tiles }, &[x]).ok()?;
        let width = panel_of(dims[0], self.machine.panel()) as i64;
        let u = self.r.add(WinogradWeights { tile, width }, &[w]).ok()?;
        let m = self.r.add(DotGeneral { batch: vec![(0, 0)], contract: vec![(4, 2)] }, &[v, u]).ok()?;
        let mut sums = self.r.ty(v).shape.clone();
        sums[4] = shape.outputs.into();
        let m = self.r.add(Reshape { shape: sums }, &[m]).ok()?;
        self.r.add(WinogradOutput { tile, size: shape.size.map(Dim::constant).to_vec() }, &[m]).ok()
    }
}
