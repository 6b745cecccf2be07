//! The loops of one stage around its leaves.

use super::Driver;
use super::position::Position;
use crate::leaf::LeafCall;
use crate::tile::{Built, CondId, IntArg, Mode, Split, StagePlan, Tile};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{BlockArg, InstBuilder, Value, types};
use cranelift_frontend::FunctionBuilder;
use fornax_ir::kernel::analysis::stores;
use fornax_ir::kernel::{AxisId, Inst};
use rustc_hash::FxHashMap;

/// Emits all points of a stage's own axes (and of the outer ones, in a kernel of one stage).
pub(super) fn emit(
    driver: &mut Driver<'_>,
    b: &mut FunctionBuilder<'_>,
    pos: &mut Position,
    plan: &StagePlan<'_>,
) -> Result<(), String> {
    let known = vec![None; plan.conds.count()];
    let lanes = if plan.mode == Mode::Along { plan.vector } else { None };
    let tile = lanes.map_or(Tile::POINT, |(_, vecs, lanes)| Tile { vecs, lanes, ..Tile::POINT });
    let trips = FxHashMap::default();
    let mut nest = Nest { driver, plan, pos, known, decisions: 0, tile, trips, left: None };
    let all = nest.plan.all_reduce_mask();
    for axis in 0..nest.pos.axes.len() {
        // Positions of another stage's axes of the same number are not this one's.
        if axis >= nest.driver.kernel.outer.len() || all & (1 << axis) != 0 {
            nest.pos.axes[axis] = None;
        }
    }
    nest.level(b, 0)
}

/// Most conditions of a stage that are decided by branches around its loops, and fewest where its body is long.
const MAX_DECISIONS: u32 = 24;
const MIN_DECISIONS: u32 = 8;
/// Instructions of all copies of a body that these branches make, roughly.
const MAX_COPIES: u32 = 1024;

struct Nest<'n, 'd> {
    driver: &'n mut Driver<'d>,
    plan: &'n StagePlan<'n>,
    pos: &'n mut Position,
    /// What is known of each condition in the present tile.
    known: Vec<Option<bool>>,
    /// Conditions decided by a branch so far.
    decisions: u32,
    /// The present tile.
    tile: Tile,
    /// Trip counts of the leaf's loops.
    trips: FxHashMap<AxisId, Value>,
    /// Points left along the vector axis, in a partial tile.
    left: Option<Value>,
}

/// Where an axis's conditions change, and where several of its points may be taken together.
struct Borders {
    /// The next point at which a condition changes.
    next: Value,
    /// Whether every condition of [`Split::Interior`] holds for all inner points, i8; `None` if there is none.
    inside: Option<Value>,
    /// Those conditions.
    interior: Vec<CondId>,
    /// The point from which on every condition is as it is here.
    since: Value,
}

/// A tile to try.
#[derive(Clone, Copy)]
struct Choice {
    tile: Tile,
    /// Points that it takes along the axis.
    points: i64,
    /// It ends where its conditions do, and begins before the present point: some points are computed again.
    back: bool,
}

impl Choice {
    fn of(tile: Tile, points: i64) -> Self {
        Choice { tile, points, back: false }
    }
}

impl Nest<'_, '_> {
    fn level(&mut self, b: &mut FunctionBuilder<'_>, depth: usize) -> Result<(), String> {
        if let Some(cond) = self.decidable(depth) {
            return self.decide(b, depth, cond);
        }
        let Some(&axis) = self.plan.nest.get(depth) else { return self.leaf(b) };
        let choices = self.choices(axis);
        let runs = self.plan.leaf_axis() == Some(axis);
        let (start, end) = self.pos.range(b, axis, self.plan.extent(axis));
        let (head, inside, done) = (b.create_block(), b.create_block(), b.create_block());
        let at = b.append_block_param(head, types::I64);
        b.ins().jump(head, &[BlockArg::Value(start)]);
        b.switch_to_block(head);
        let more = b.ins().icmp(IntCC::SignedLessThan, at, end);
        b.ins().brif(more, inside, &[], done, &[]);
        b.switch_to_block(inside);
        self.pos.axes[axis as usize] = Some(at);
        let tiled = runs || choices.len() > 1 || choices[0].points > 1;
        let borders = if tiled { self.borders(b, axis, (start, at, end)) } else { Borders::none(start, end) };
        let before = self.tile;
        for (i, &Choice { tile, points, back }) in choices.iter().enumerate() {
            let last = i + 1 == choices.len();
            let room = b.ins().isub(borders.next, at);
            let after = (!last).then(|| {
                let (take, other) = (b.create_block(), b.create_block());
                let fits = if back {
                    let from = b.ins().iadd_imm_s(borders.next, -points);
                    b.ins().icmp(IntCC::SignedGreaterThanOrEqual, from, borders.since)
                } else {
                    b.ins().icmp_imm_s(IntCC::SignedGreaterThanOrEqual, room, points)
                };
                let fits = match borders.inside {
                    Some(inside) if points > 1 => b.ins().band(fits, inside),
                    _ => fits,
                };
                b.ins().brif(fits, take, &[], other, &[]);
                b.switch_to_block(take);
                other
            });
            self.tile = tile;
            let was = self.known.clone();
            if points > 1 {
                borders.interior.iter().for_each(|&c| self.known[c] = Some(true));
            }
            if back {
                self.pos.axes[axis as usize] = Some(b.ins().iadd_imm_s(borders.next, -points));
            }
            let advance = if back {
                room
            } else if tile.part && !before.part {
                self.left = Some(room);
                self.trips.insert(axis, b.ins().iconst(types::I64, 1));
                room
            } else if runs {
                let trips = self.trips(b, room, points);
                self.trips.insert(axis, trips);
                b.ins().imul_imm_s(trips, points)
            } else {
                b.ins().iconst(types::I64, points)
            };
            self.level(b, depth + 1)?;
            self.known = was;
            self.pos.axes[axis as usize] = Some(at);
            let next = b.ins().iadd(at, advance);
            b.ins().jump(head, &[BlockArg::Value(next)]);
            if let Some(other) = after {
                b.switch_to_block(other);
            }
        }
        self.tile = before;
        b.switch_to_block(done);
        Ok(())
    }

    /// A condition that is the same for all points of the loops from `depth` on, and not known yet.
    /// There are leaves for both cases, so only pointwise stages have such, and not many.
    fn decidable(&self, depth: usize) -> Option<CondId> {
        let body = self.plan.stage.body.len().max(1) as u32;
        let most = (MAX_COPIES / body).clamp(MIN_DECISIONS, MAX_DECISIONS);
        if self.plan.mode != Mode::Map || self.decisions >= most {
            return None;
        }
        let nest = &self.plan.nest;
        let fixed = match nest.get(depth) {
            Some(&axis) => self.outside(axis) & !(1 << axis),
            None => nest.last().map_or(0, |&axis| self.outside(axis)),
        };
        let conds = &self.plan.conds;
        (0..conds.count()).find(|&c| {
            let tiled = self.plan.rows.filter(|_| self.tile.rows > 1).map(|r| r.0);
            let mut runs = tiled.into_iter().chain(self.plan.leaf_axis());
            let same = |a: AxisId| conds.axes(c) & (1 << a) == 0 || self.plan.split(c, a) == Split::Uniform;
            self.known[c].is_none() && !conds.has_values(c) && conds.axes(c) & !fixed == 0 && runs.all(same)
        })
    }

    /// The loops from `depth` on, once for each outcome of a condition.
    fn decide(&mut self, b: &mut FunctionBuilder<'_>, depth: usize, cond: CondId) -> Result<(), String> {
        self.decisions += 1;
        let holds = self.pos.holds(b, self.plan.conds.get(cond));
        let (yes, no, join) = (b.create_block(), b.create_block(), b.create_block());
        b.ins().brif(holds, yes, &[], no, &[]);
        for (block, outcome) in [(yes, true), (no, false)] {
            b.switch_to_block(block);
            let was = self.known.clone();
            self.plan.conds.learn(cond, outcome, self.plan.span(cond), &mut self.known);
            self.level(b, depth)?;
            self.known = was;
            b.ins().jump(join, &[]);
        }
        b.switch_to_block(join);
        Ok(())
    }

    fn trips(&self, b: &mut FunctionBuilder<'_>, room: Value, points: i64) -> Value {
        if points == 1 {
            return room;
        }
        // The room is at least `points`.
        if points.count_ones() == 1 {
            return b.ins().ushr_imm_u(room, i64::from(points.trailing_zeros()));
        }
        let by = b.ins().iconst(types::I64, points);
        b.ins().udiv(room, by)
    }

    /// Tiles to try along an axis, widest first, with their numbers of points. The last one
    /// always fits.
    fn choices(&self, axis: AxisId) -> Vec<Choice> {
        let tile = self.tile;
        let extent = self.plan.extent(axis).as_const();
        let conds = (0..self.plan.conds.count())
            .any(|c| self.known[c].is_none() && self.plan.split(c, axis) != Split::No);
        // With a constant extent, whole steps and no borders the remainder is known.
        let known = |points: i64| extent.filter(|_| self.pos.keeps_steps(axis, points) && !conds);
        let mut choices = Vec::new();
        if let Some((_, rows)) = self.plan.rows.filter(|r| r.0 == axis) {
            let mut sizes = vec![rows];
            let known = known(i64::from(rows));
            match known {
                Some(n) => sizes.push((n.max(0) % i64::from(rows)) as u32),
                None if rows >= 4 => sizes.extend([rows / 2, 1]),
                None => sizes.push(1),
            }
            sizes.retain(|&s| s > 0 && known.is_none_or(|n| i64::from(s) <= n));
            choices.extend(sizes.into_iter().map(|rows| Choice::of(Tile { rows, ..tile }, i64::from(rows))));
        } else if let Some((_, vecs, lanes)) =
            self.plan.vector.filter(|v| v.0 == axis && self.plan.mode != Mode::Along)
        {
            let width = i64::from(vecs * lanes);
            let known = known(width);
            let mut sizes = if self.plan.partial { vec![] } else { vec![vecs] };
            match known {
                _ if self.plan.partial => choices = self.parts(known, (vecs, lanes)),
                Some(n) => sizes.push((n.max(0) % width) as u32 / lanes),
                None => sizes.push(1),
            }
            sizes.dedup();
            sizes.retain(|&s| s > 0 && known.is_none_or(|n| i64::from(s * lanes) <= n));
            let wide = |vecs| Tile { vecs, lanes, ..tile };
            choices.extend(sizes.into_iter().map(|vecs| Choice::of(wide(vecs), i64::from(vecs * lanes))));
            if !self.plan.partial && known.is_none_or(|n| n % i64::from(lanes) != 0) {
                if extent.is_none_or(|n| n >= i64::from(lanes)) && self.repeatable() {
                    choices.push(Choice { back: true, ..Choice::of(wide(1), i64::from(lanes)) });
                }
                choices.push(Choice::of(tile, 1));
            }
        }
        if choices.is_empty() {
            choices.push(Choice::of(tile, 1));
        }
        choices
    }

    /// Whether points may be computed twice: nothing that they read is stored by others of the stage.
    fn repeatable(&self) -> bool {
        let (kernel, number) = (self.plan.kernel, self.plan.number);
        let own = |op: &fornax_ir::kernel::Op| match op.inst {
            Inst::Load { src, .. } => stores(kernel, number, src),
            Inst::Raise { .. } => true,
            _ => false,
        };
        self.plan.mode == Mode::Reduce && !self.plan.stage.body.iter().any(own)
    }

    /// Whole tiles along the vector axis, and one for what is left over.
    fn parts(&self, known: Option<i64>, (vecs, lanes): (u32, u32)) -> Vec<Choice> {
        let width = i64::from(vecs * lanes);
        let whole = |vecs| Choice::of(Tile { vecs, lanes, ..self.tile }, i64::from(vecs * lanes));
        let part = |left: i64| {
            let vecs = left.unsigned_abs().div_ceil(u64::from(lanes)) as u32;
            Choice::of(Tile { vecs, lanes, part: true, ..self.tile }, left)
        };
        let Some(n) = known else { return vec![whole(vecs), part(width)] };
        let mut choices = Vec::new();
        if n >= width {
            choices.push(whole(vecs));
        }
        match n.max(0) % width {
            0 => {}
            left if left % i64::from(lanes) == 0 => choices.push(whole((left / i64::from(lanes)) as u32)),
            left => choices.push(part(left)),
        }
        choices
    }

    fn borders(
        &mut self,
        b: &mut FunctionBuilder<'_>,
        axis: AxisId,
        (start, at, end): (Value, Value, Value),
    ) -> Borders {
        let mut borders = Borders::none(start, end);
        for c in 0..self.plan.conds.count() {
            let split = self.plan.split(c, axis);
            if self.known[c].is_some() || split == Split::No {
                continue;
            }
            let cond = self.plan.conds.get(c);
            let inner = if split == Split::Interior { !self.outside(axis) } else { 0 };
            let (lo, hi) = self.pos.bounds(b, cond, axis, inner, |a| self.plan.extent(a));
            let after = b.ins().icmp(IntCC::SignedGreaterThanOrEqual, at, lo);
            let before = b.ins().icmp(IntCC::SignedLessThan, at, hi);
            // Next change: lo if that is ahead, else hi if that is, else the end. An empty range has none.
            let some = b.ins().icmp(IntCC::SignedLessThan, lo, hi);
            let to_hi = b.ins().select(before, hi, end);
            let change = b.ins().select(after, to_hi, lo);
            let change = b.ins().select(some, change, end);
            borders.next = b.ins().smin(borders.next, change);
            // The last change: hi if that is behind, else lo if that is, else the start.
            let from_lo = b.ins().select(after, lo, start);
            let from = b.ins().select(before, from_lo, hi);
            let from = b.ins().select(some, from, start);
            borders.since = b.ins().smax(borders.since, from);
            if split == Split::Interior {
                let within = b.ins().band(after, before);
                borders.inside = Some(match borders.inside {
                    Some(all) => b.ins().band(all, within),
                    None => within,
                });
                borders.interior.push(c);
            }
        }
        borders
    }

    /// The axes whose positions are fixed while the loop over `axis` runs, itself included.
    fn outside(&self, axis: AxisId) -> u64 {
        let outer = (0..self.driver.kernel.outer.len()).fold(0u64, |m, a| m | 1 << a);
        let own = self.plan.nest.iter().fold(0u64, |m, a| m | 1 << a);
        let before = self.plan.nest.iter().take_while(|&&a| a != axis).fold(0u64, |m, a| m | 1 << a);
        (outer & !own) | before | 1 << axis
    }

    fn leaf(&mut self, b: &mut FunctionBuilder<'_>) -> Result<(), String> {
        for part in self.plan.parts(self.tile) {
            let built = self.plan.build(part, self.tile, &self.known)?;
            self.driver.emitter.supports(&built.leaf)?;
            self.call(b, &built);
            self.driver.frame_bytes = self.driver.frame_bytes.max(built.frame);
            let Tile { rows, vecs, lanes, part: last } = self.tile;
            let name = format!(
                "stage {} {part:?} {rows} x {vecs} x {lanes}{}",
                self.plan.number,
                if last { " in part" } else { "" }
            );
            self.driver.leaves.push((name, built.leaf));
        }
        Ok(())
    }

    fn call(&mut self, b: &mut FunctionBuilder<'_>, built: &Built) {
        let trips = self.reduce_loops(b, built);
        let live = built.live.iter().fold(None, |all, &c| {
            let holds = self.pos.holds(b, self.plan.conds.get(c));
            Some(all.map_or(holds, |all| b.ins().band(all, holds)))
        });
        let live = live.map(|live| b.ins().uextend(types::I64, live));
        let frame = self.driver.frame;
        let mut ptrs = Vec::new();
        for (arg, dtype) in built.ptrs.iter().zip(&built.leaf.ptrs) {
            let address = |b: &mut FunctionBuilder<'_>| b.ins().stack_addr(types::I64, frame, 0);
            ptrs.push(self.pos.ptr(b, arg, dtype.bytes() as i64, address));
        }
        let mut ints = Vec::new();
        for arg in &built.ints {
            let value = match arg {
                IntArg::Trips(axis) => {
                    let count = trips.get(axis).or_else(|| self.trips.get(axis)).copied();
                    let count = count.unwrap_or_else(|| self.pos.size(b, self.plan.extent(*axis)));
                    match live {
                        Some(live) if built.loop_axes.first() == Some(axis) => b.ins().imul(count, live),
                        _ => count,
                    }
                }
                IntArg::Live => live.unwrap_or_else(|| b.ins().iconst(types::I64, 1)),
                IntArg::Cond(c) => {
                    let holds = self.pos.holds(b, self.plan.conds.get(*c));
                    b.ins().uextend(types::I64, holds)
                }
                IntArg::Left => self.left.unwrap_or_else(|| b.ins().iconst(types::I64, 0)),
                IntArg::Point => self.point(b),
                other => self.pos.int(b, other).unwrap_or_else(|| b.ins().iconst(types::I64, 0)),
            };
            ints.push(value);
        }
        for &axis in &self.plan.reduce {
            self.pos.axes[axis as usize] = None;
        }
        let (leaf, readonly, flag) = (&built.leaf, &built.readonly[..], self.pos.flag);
        let call = LeafCall { leaf, unroll: self.plan.unroll, ptrs: &ptrs, readonly, ints: &ints, flag };
        self.driver.emitter.emit(b, &call);
    }

    /// Positions of the reduce axes at their loops' start; trip counts of those with bounds.
    fn reduce_loops(&mut self, b: &mut FunctionBuilder<'_>, built: &Built) -> FxHashMap<AxisId, Value> {
        let mut trips = FxHashMap::default();
        for (axis, conds) in &built.clamps {
            let mut lo = b.ins().iconst(types::I64, 0);
            let mut hi = self.pos.size(b, self.plan.extent(*axis));
            for &c in conds {
                let cond = self.plan.conds.get(c);
                let (first, past) = self.pos.bounds(b, cond, *axis, 0, |a| self.plan.extent(a));
                lo = b.ins().smax(lo, first);
                hi = b.ins().smin(hi, past);
            }
            trips.insert(*axis, b.ins().isub(hi, lo));
            self.pos.axes[*axis as usize] = Some(lo);
        }
        if let Some(axis) = built.after_blocks {
            let extent = self.pos.size(b, self.plan.extent(axis));
            self.pos.axes[axis as usize] = Some(b.ins().band_imm_s(extent, -32));
        }
        trips
    }

    /// The number of the point at which the reduce loops start.
    fn point(&self, b: &mut FunctionBuilder<'_>) -> Value {
        let mut point = b.ins().iconst(types::I64, 0);
        for &axis in &self.plan.reduce {
            let extent = self.pos.size(b, self.plan.extent(axis));
            point = b.ins().imul(point, extent);
            if let Some(at) = self.pos.axes[axis as usize] {
                point = b.ins().iadd(point, at);
            }
        }
        point
    }
}

impl Borders {
    fn none(start: Value, end: Value) -> Self {
        Borders { next: end, inside: None, interior: Vec::new(), since: start }
    }
}
