//! Winograd convolutions: stages that walk tiles and compute all elements of each at once.
//!
//! A stage of a transform runs over the tiles and, innermost, the channels; it loads what a tile reads, applies the
//! transform of one axis to all columns and then to all rows, and stores each result at a place of its own. Behind
//! the last transform the group's other operators follow, once for each point of the tile.

use super::{Emitter, Result, Val};
use crate::schedule::draft::{Bounds, Place};
use crate::schedule::{Refuse, maps, stores};
use fornax_ir::dim::simplify;
use fornax_ir::graph::ops::{WinogradInput, WinogradWeights};
use fornax_ir::graph::{Op, ValueId};
use fornax_ir::kernel::Inst;
use fornax_ir::scalar::{BinaryOp, Scalar};
use fornax_ir::{DType, Dim};

/// The transform of one axis: the values along it to those of the result.
type Transform = fn(&mut Arithmetic<'_, '_>, &[Val]) -> Vec<Val>;

/// Floating-point operations on values of the stage.
struct Arithmetic<'e, 'g> {
    e: &'e mut Emitter<'g>,
    dtype: DType,
}

impl Arithmetic<'_, '_> {
    fn binary(&mut self, op: BinaryOp, a: Val, b: Val) -> Val {
        self.e.plain(Inst::Binary(op, a, b), self.dtype)
    }
    fn add(&mut self, a: Val, b: Val) -> Val {
        self.binary(BinaryOp::Add, a, b)
    }
    fn sub(&mut self, a: Val, b: Val) -> Val {
        self.binary(BinaryOp::Sub, a, b)
    }
    fn times(&mut self, a: Val, factor: f64) -> Val {
        let factor = self.e.constant(Scalar::from_f64(self.dtype, factor));
        self.binary(BinaryOp::Mul, a, factor)
    }

    /// A transform of the columns and then of the rows of `x`, row-major.
    fn both(&mut self, transform: Transform, x: &[Vec<Val>]) -> Vec<Val> {
        let columns: Vec<Vec<Val>> = (0..x.len())
            .map(|j| {
                let column: Vec<Val> = x.iter().map(|row| row[j]).collect();
                transform(self, &column)
            })
            .collect();
        let row = |i: usize| columns.iter().map(|c| c[i]).collect::<Vec<Val>>();
        (0..columns[0].len()).flat_map(|i| transform(self, &row(i))).collect()
    }
}

fn input_of(tile: i64) -> Transform {
    match tile {
        2 => |a, d| vec![a.sub(d[0], d[2]), a.add(d[1], d[2]), a.sub(d[2], d[1]), a.sub(d[1], d[3])],
        _ => |a, d| {
            let (near, far) = (a.sub(d[4], d[2]), a.sub(d[3], d[1]));
            let (first, four) = (a.sub(d[0], d[2]), a.times(d[2], 4.0));
            let even = a.sub(d[4], four);
            let four = a.times(d[1], 4.0);
            let odd = a.sub(d[3], four);
            let first = a.times(first, 4.0);
            let first = a.add(first, near);
            let twice = a.times(far, 2.0);
            let four = a.times(far, -4.0);
            let last = a.sub(d[5], d[3]);
            let last = a.add(last, four);
            vec![first, a.add(even, odd), a.sub(even, odd), a.add(near, twice), a.sub(near, twice), last]
        },
    }
}

fn weights_of(tile: i64) -> Transform {
    match tile {
        2 => |a, g| {
            let ends = a.add(g[0], g[2]);
            let (sum, difference) = (a.add(ends, g[1]), a.sub(ends, g[1]));
            vec![g[0], a.times(sum, 0.5), a.times(difference, 0.5), g[2]]
        },
        _ => |a, g| {
            let ends = a.add(g[0], g[2]);
            let (sum, difference) = (a.add(ends, g[1]), a.sub(ends, g[1]));
            let (one, two, four) =
                (a.times(g[0], 1.0 / 24.0), a.times(g[1], 1.0 / 12.0), a.times(g[2], 1.0 / 6.0));
            let ends = a.add(one, four);
            vec![
                a.times(g[0], 0.25),
                a.times(sum, -1.0 / 6.0),
                a.times(difference, -1.0 / 6.0),
                a.add(ends, two),
                a.sub(ends, two),
                g[2],
            ]
        },
    }
}

fn output_of(tile: i64) -> Transform {
    match tile {
        2 => |a, m| {
            let (first, second) = (a.add(m[0], m[1]), a.sub(m[1], m[2]));
            vec![a.add(first, m[2]), a.sub(second, m[3])]
        },
        _ => |a, m| {
            let (sum, difference) = (a.add(m[1], m[2]), a.sub(m[1], m[2]));
            let (far, apart) = (a.add(m[3], m[4]), a.sub(m[3], m[4]));
            let first = a.add(m[0], sum);
            let (two, four, eight) = (a.times(apart, 2.0), a.times(far, 4.0), a.times(apart, 8.0));
            let last = a.add(difference, m[5]);
            vec![a.add(first, far), a.add(difference, two), a.add(sum, four), a.add(last, eight)]
        },
    }
}

impl Emitter<'_> {
    /// The root's stage, if it is one over tiles.
    pub(super) fn tiled_stage(&mut self) -> Result<bool> {
        let group = self.group;
        if group.copy_to.is_some() {
            return Ok(false);
        }
        let single = group.also.is_empty() && group.locals.is_empty();
        let whole = if single { Ok(()) } else { Err(Refuse("a transform is stored alone")) };
        match &self.graph.node(group.root).op {
            Op::WinogradInput(w) => whole.and_then(|()| self.winograd_input(w)).map(|()| true),
            Op::WinogradWeights(w) => whole.and_then(|()| self.winograd_weights(w)).map(|()| true),
            _ => {
                let computed = group.members.iter().chain(&group.also).chain([&group.root]);
                let output = |v: &&ValueId| matches!(self.graph.node(**v).op, Op::WinogradOutput(_));
                match computed.copied().filter(|v| output(&v)).min() {
                    Some(anchor) => self.tiles_of(anchor).map(|()| true),
                    None => Ok(false),
                }
            }
        }
    }

    /// Stores the values of a transform of `[places, rest..]` at all places.
    fn store_places(&mut self, rest: &[Dim], values: &[Val]) {
        let (root, ty) = (self.group.root, self.graph.ty(self.group.root).clone());
        for (p, &value) in values.iter().enumerate() {
            let mut index = vec![Dim::from(p)];
            index.extend_from_slice(rest);
            self.store(Place::Target(root), maps::linear(&index, &ty.shape), value, ty.dtype);
        }
    }

    fn winograd_input(&mut self, w: &WinogradInput) -> Result<()> {
        let root = self.group.root;
        let (x, shape) = (self.graph.node(root).inputs[0], self.graph.ty(root).shape.clone());
        let ty = self.graph.ty(x).clone();
        let index = self.open_stage(root, &shape[1..]);
        let [n, row, column, c] = &index[..] else { return Err(Refuse("tiles have four axes")) };
        let mut tile = vec![];
        for i in 0..w.tile + 2 {
            let mut values = vec![];
            for j in 0..w.tile + 2 {
                let at = |tile: &Dim, k: i64, lo: i64| tile.clone() * w.tile + (k - lo);
                let at = [n.clone(), at(row, i, w.lo[0]), at(column, j, w.lo[1]), c.clone()];
                let mut inside = vec![];
                for k in [1, 2] {
                    self.bound(&mut inside, &at[k], &ty.shape[k]);
                }
                values.push(self.masked(x, &at, &vec![], inside, None)?);
            }
            tile.push(values);
        }
        let values = Arithmetic { e: self, dtype: ty.dtype }.both(input_of(w.tile), &tile);
        self.store_places(&index, &values);
        self.close_stage();
        Ok(())
    }

    fn winograd_weights(&mut self, w: &WinogradWeights) -> Result<()> {
        let root = self.group.root;
        let (x, shape) = (self.graph.node(root).inputs[0], self.graph.ty(root).shape.clone());
        let ty = self.graph.ty(x).clone();
        let index = self.open_stage(root, &shape[1..]);
        let [panel, channel, lane] = &index[..] else { return Err(Refuse("panels have three axes")) };
        let output = panel.clone() * w.width + lane;
        let mut window = vec![];
        for i in 0..3usize {
            let mut values = vec![];
            for j in 0..3usize {
                let at = [output.clone(), channel.clone(), Dim::from(i), Dim::from(j)];
                let mut inside = vec![];
                self.bound(&mut inside, &output, &ty.shape[0]);
                values.push(self.masked(x, &at, &vec![], inside, None)?);
            }
            window.push(values);
        }
        let values = Arithmetic { e: self, dtype: ty.dtype }.both(weights_of(w.tile), &window);
        self.store_places(&index, &values);
        self.close_stage();
        Ok(())
    }

    /// The stage over the tiles of an image and what is computed from it, point by point.
    fn tiles_of(&mut self, anchor: ValueId) -> Result<()> {
        let node = self.graph.node(anchor);
        let Op::WinogradOutput(w) = &node.op else { return Err(Refuse("not a tiled image")) };
        let root = self.group.root;
        if self.graph.ty(root).shape != node.ty.shape || !self.group.locals.is_empty() || self.group.outer > 0
        {
            return Err(Refuse("a tiled image is stored with its own axes"));
        }
        let image = node.ty.shape.clone();
        let mut tiles = self.graph.ty(node.inputs[0]).shape[1..].to_vec();
        tiles[3] = image[3].clone();
        let index = self.open_stage(root, &tiles);
        let mut all = vec![];
        for (i, j) in (0..w.tile).flat_map(|i| (0..w.tile).map(move |j| (i, j))) {
            let point = |tile: &Dim, k: i64| tile.clone() * w.tile + k;
            let at = vec![index[0].clone(), point(&index[1], i), point(&index[2], j), index[3].clone()];
            let mut mask = Bounds::new();
            for k in [1, 2] {
                self.bound(&mut mask, &at[k], &image[k]);
            }
            for (v, at) in stores::indices(self.graph, self.group, &at, &self.ranges)? {
                if self.graph.ty(v).shape != image {
                    return Err(Refuse("a tiled image is stored with its own axes"));
                }
                let value = self.value(v, &at, &mask)?;
                all.push((v, at, value, mask.clone()));
            }
        }
        for (v, at, value, mask) in all {
            let ty = self.graph.ty(v);
            self.store_where(Place::Target(v), maps::linear(&at, &ty.shape), value, ty.dtype, mask);
        }
        self.close_stage();
        Ok(())
    }

    /// One point of a tiled image: all points of its tile are computed together.
    pub(super) fn winograd_output(&mut self, v: ValueId, tile: i64, index: &[Dim]) -> Result<Val> {
        let [n, row, column, c] = index else { return Err(Refuse("an image has four axes")) };
        let split = |at: &Dim| {
            let tiles = simplify(&at.floor_div(&Dim::constant(tile)), &self.ranges);
            let point = simplify(&(at - &(tiles.clone() * tile)), &self.ranges).as_const()?;
            Some((tiles, usize::try_from(point).ok()?))
        };
        let (Some((row, i)), Some((column, j))) = (split(row), split(column)) else {
            return Err(Refuse("a tiled image is computed tile by tile"));
        };
        let at = vec![n.clone(), row, column, c.clone()];
        let key = (v, at.clone());
        if !self.tiles.contains_key(&key) {
            let m = self.graph.node(v).inputs[0];
            let mut sums = vec![];
            for p in 0..tile + 2 {
                let mut values = vec![];
                for q in 0..tile + 2 {
                    let mut at = at.clone();
                    at.insert(0, Dim::constant((tile + 2) * p + q));
                    values.push(self.value(m, &at, &vec![])?);
                }
                sums.push(values);
            }
            let dtype = self.graph.ty(v).dtype;
            let values = Arithmetic { e: self, dtype }.both(output_of(tile), &sums);
            self.tiles.insert(key.clone(), values);
        }
        Ok(self.tiles[&key][i * tile as usize + j])
    }
}
