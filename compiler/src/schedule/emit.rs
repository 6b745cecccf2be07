//! From graph values to scalar bodies: a value at an index is an expression over materialised
//! tensors, and every view on the way is a map of indices.

mod position;
mod winograd;

use super::Refuse;
use super::draft::{Bounds, DraftAxis, DraftInst, DraftKernel, DraftStage, Place, VALUE_BASE};
use super::{maps, stores};
use crate::plan::{Group, storage};
use fornax_ir::dim::{Ranges, prove_lt, prove_nonneg, simplify};
use fornax_ir::graph::ops::{Conv, DotGeneral, Gather, OpClass, Reduce, ReduceWindow};
use fornax_ir::graph::{Graph, Op, TensorType, ValueId};
use fornax_ir::kernel::{AxisKind, Inst, Order, ValueId as Val};
use fornax_ir::scalar::{BinaryOp, CompareOp, Scalar};
use fornax_ir::{DType, Dim};
use rustc_hash::{FxHashMap, FxHashSet};

/// More values than this in one kernel are refused: it bounds code size and compile time.
const MAX_OPS: usize = 1024;
/// Deeper nesting of inlined values than this is refused.
const MAX_DEPTH: usize = 192;
/// Elements of one product that a point accumulates together, at most: the gates of a recurrent step are four.
pub(crate) const MAX_PRODUCTS: usize = 4;

/// The lowering of one group.
pub(crate) struct Emitter<'g> {
    graph: &'g Graph,
    group: &'g Group,
    ranges: Ranges,
    next_axis: u32,
    pub kernel: DraftKernel,
    stage: DraftStage,
    memo: FxHashMap<(ValueId, Vec<Dim>, Bounds), Val>,
    /// The contractions of the present stage, each with its index and result: one, or reductions that
    /// share their axes.
    contractions: Vec<(ValueId, Vec<Dim>, Val)>,
    /// The reduce axes of the first of them.
    reduce_axes: Vec<Dim>,
    in_contraction: bool,
    depth: usize,
    /// The outputs of tiles of Winograd convolutions that were computed, by value and index of the tile.
    tiles: FxHashMap<(ValueId, Vec<Dim>), Vec<Val>>,
    /// The local or root that the present stage computes.
    target: ValueId,
    /// Values that are computed here from contractions.
    behind: FxHashSet<ValueId>,
}

type Result<T> = std::result::Result<T, Refuse>;

/// Lowers a group to a draft, or says why it is no single kernel.
pub(crate) fn emit(graph: &Graph, group: &Group) -> Result<(DraftKernel, Ranges)> {
    let mut e = Emitter {
        graph,
        group,
        ranges: graph.ranges.clone(),
        next_axis: 0,
        kernel: DraftKernel::default(),
        stage: DraftStage::default(),
        memo: FxHashMap::default(),
        contractions: vec![],
        reduce_axes: vec![],
        in_contraction: false,
        depth: 0,
        tiles: FxHashMap::default(),
        target: group.root,
        behind: behind_contractions(graph, group),
    };
    stores::check(graph, group)?;
    let root_shape = graph.ty(group.root).shape.clone();
    if group.outer > root_shape.len() {
        return Err(Refuse("the root has fewer axes than its rows"));
    }
    for d in &root_shape[..group.outer] {
        let axis = e.new_axis(d, AxisKind::Parallel);
        e.kernel.outer.push(axis);
    }
    for &local in &group.locals {
        e.local_stage(local)?;
    }
    e.root_stage()?;
    Ok((e.kernel, e.ranges))
}

/// The contractions of a group, and the values that it computes from them.
fn behind_contractions(graph: &Graph, group: &Group) -> FxHashSet<ValueId> {
    let computed = group.members.iter().chain(&group.also).chain([&group.root]);
    let mut computed: Vec<ValueId> = computed.copied().collect();
    computed.sort();
    let mut behind = FxHashSet::default();
    for v in computed {
        let node = graph.node(v);
        let contraction = node.op.class() == OpClass::Contraction;
        if contraction || node.inputs.iter().any(|&i| behind.contains(&storage(graph, i))) {
            behind.insert(v);
        }
    }
    behind
}

impl Emitter<'_> {
    fn new_axis(&mut self, extent: &Dim, kind: AxisKind) -> DraftAxis {
        let id = self.next_axis;
        self.next_axis += 1;
        self.ranges.set_axis(id, extent.clone());
        DraftAxis { id, extent: extent.clone(), kind }
    }

    fn outer_index(&self) -> Vec<Dim> {
        self.kernel.outer.iter().map(at).collect()
    }

    /// Opens a stage over the axes of `shape` behind the outer ones and returns the full index.
    fn open_stage(&mut self, target: ValueId, shape: &[Dim]) -> Vec<Dim> {
        self.target = target;
        self.memo.clear();
        self.tiles.clear();
        self.contractions.clear();
        self.reduce_axes.clear();
        self.stage = DraftStage::default();
        let mut index = self.outer_index();
        for d in &shape[index.len()..] {
            let axis = self.new_axis(d, AxisKind::Parallel);
            index.push(at(&axis));
            self.stage.axes.push(axis);
        }
        index
    }

    fn store(&mut self, dst: Place, at: Dim, value: Val, dtype: DType) {
        self.store_where(dst, at, value, dtype, vec![]);
    }

    fn store_where(&mut self, dst: Place, at: Dim, value: Val, dtype: DType, mask: Bounds) {
        let at = simplify(&at, &self.ranges);
        self.push(DraftInst::Store { dst, at, value, mask }, dtype);
    }

    fn close_stage(&mut self) {
        let stage = std::mem::take(&mut self.stage);
        self.kernel.stages.push(stage);
    }

    fn local_stage(&mut self, local: ValueId) -> Result<()> {
        let ty = self.graph.ty(local).clone();
        let outer = self.kernel.outer.len();
        let root = &self.graph.ty(self.group.root).shape;
        if ty.rank() < outer || ty.shape[..outer] != root[..outer] {
            return Err(Refuse("a local's leading axes are not the rows"));
        }
        let index = self.open_stage(local, &ty.shape);
        let value = self.value(local, &index, &vec![])?;
        let len = ty.shape[outer..].iter().fold(Dim::constant(1), |n, d| n * d);
        let at = maps::linear(&index[outer..], &ty.shape[outer..]);
        self.kernel.locals.push((local, ty.dtype, len));
        self.store(Place::Local(local), at, value, ty.dtype);
        if self.group.also.contains(&local) {
            self.store(Place::Target(local), maps::linear(&index, &ty.shape), value, ty.dtype);
        }
        self.close_stage();
        Ok(())
    }

    fn root_stage(&mut self) -> Result<()> {
        if self.tiled_stage()? {
            return Ok(());
        }
        let ty = self.graph.ty(self.group.root).clone();
        let index = self.open_stage(self.group.root, &ty.shape);
        if self.group.copy_to.is_some() {
            let value = self.load(Place::Tensor(self.group.root), &ty, &index, &vec![]);
            self.store(Place::Target(self.group.root), maps::linear(&index, &ty.shape), value, ty.dtype);
            self.close_stage();
            return Ok(());
        }
        let stored = stores::indices(self.graph, self.group, &index, &self.ranges)?;
        let values = self.stored_values(&stored)?;
        // Every value is computed before the first store: a point reads nothing behind it.
        for ((v, index), value) in stored.into_iter().zip(values) {
            let ty = self.graph.ty(v);
            self.store(Place::Target(v), maps::linear(&index, &ty.shape), value, ty.dtype);
        }
        self.close_stage();
        Ok(())
    }

    /// The values that a stage stores. Contractions come first: what follows them does not come between them.
    fn stored_values(&mut self, stored: &[(ValueId, Vec<Dim>)]) -> Result<Vec<Val>> {
        let contracts = |v: ValueId| self.graph.node(v).op.class() == OpClass::Contraction;
        let (first, last): (Vec<_>, Vec<_>) = (0..stored.len()).partition(|&k| contracts(stored[k].0));
        let mut values: Vec<Val> = vec![0; stored.len()];
        for again in [false, true] {
            for &k in first.iter().chain(&last) {
                values[k] = self.value(stored[k].0, &stored[k].1, &vec![])?;
            }
            let products =
                |c: &(ValueId, Vec<Dim>, Val)| matches!(self.graph.node(c.0).op, Op::DotGeneral(_));
            if again || self.contractions.len() < 2 || !self.contractions.iter().all(products) {
                break;
            }
            // Which products there are is known now: all of them, then what is computed from them.
            let found = std::mem::take(&mut self.contractions);
            self.stage.ops.clear();
            self.stage.axes.retain(|a| a.kind != AxisKind::Reduce);
            self.reduce_axes.clear();
            self.memo.clear();
            for (v, index, _) in found {
                self.contract(v, &index, &vec![])?;
            }
        }
        Ok(values)
    }

    fn push(&mut self, inst: DraftInst, dtype: DType) -> Val {
        self.stage.ops.push((inst, dtype));
        self.stage.ops.len() as Val - 1
    }
    fn plain(&mut self, inst: Inst, dtype: DType) -> Val {
        self.push(DraftInst::Plain(Box::new(inst)), dtype)
    }
    fn constant(&mut self, s: Scalar) -> Val {
        self.plain(Inst::Const(s), s.dtype)
    }
    fn index(&mut self, d: &Dim) -> Val {
        let d = simplify(d, &self.ranges);
        match d.as_const() {
            Some(v) => self.constant(Scalar::i64(v)),
            None => self.push(DraftInst::Index(d), DType::I64),
        }
    }
    /// Adds the condition `0 <= index < limit` unless it is provable.
    fn bound(&self, mask: &mut Bounds, index: &Dim, limit: &Dim) {
        if !(prove_nonneg(index, &self.ranges) && prove_lt(index, limit, &self.ranges)) {
            let new = (index.clone(), limit.clone());
            if !mask.contains(&new) {
                mask.push(new);
            }
        }
    }

    fn load(&mut self, src: Place, ty: &TensorType, index: &[Dim], mask: &Bounds) -> Val {
        let skip = if matches!(src, Place::Local(_)) { self.kernel.outer.len() } else { 0 };
        let at = simplify(&maps::linear(&index[skip..], &ty.shape[skip..]), &self.ranges);
        self.push(DraftInst::Load { src, at, mask: mask.clone() }, ty.dtype)
    }

    /// The value at an index. Where the mask is false the result is not used and no memory is read.
    fn value(&mut self, v: ValueId, index: &[Dim], mask: &Bounds) -> Result<Val> {
        if let Op::Reshape(_) = self.graph.node(v).op {
            let s = storage(self.graph, v);
            let (from, to) = (&self.graph.ty(v).shape, &self.graph.ty(s).shape);
            let index = maps::reshape(index, from, to, &self.ranges);
            return self.value(s, &index, mask);
        }
        let key = (v, index.to_vec(), mask.clone());
        if let Some(&val) = self.memo.get(&key) {
            return Ok(val);
        }
        if self.stage.ops.len() > MAX_OPS || self.depth > MAX_DEPTH {
            return Err(Refuse("the body is too large"));
        }
        self.depth += 1;
        let val = self.fresh_value(v, index, mask);
        self.depth -= 1;
        self.memo.insert(key, val?);
        val
    }

    fn fresh_value(&mut self, v: ValueId, index: &[Dim], mask: &Bounds) -> Result<Val> {
        let node = self.graph.node(v);
        let ty = node.ty.clone();
        if let Some(l) = self.graph.literal(v).filter(|l| l.len() == 1) {
            return Ok(self.constant(super::literal_scalar(l)));
        }
        if v != self.target && self.group.locals.contains(&v) {
            let outer = self.outer_index();
            if index[..outer.len()] != outer[..] {
                return Err(Refuse("a local is read from another row"));
            }
            return Ok(self.load(Place::Local(v), &ty, index, mask));
        }
        let leaf = matches!(node.op, Op::Iota(_) | Op::Dims(_));
        let (members, also) = (&self.group.members, &self.group.also);
        let here = v == self.target || members.contains(&v) || leaf || also.contains(&v);
        if !here {
            return Ok(self.load(Place::Tensor(v), &ty, index, mask));
        }
        self.operator(v, index, mask)
    }

    fn operator(&mut self, v: ValueId, index: &[Dim], mask: &Bounds) -> Result<Val> {
        let node = self.graph.node(v);
        let (inputs, ty) = (node.inputs.clone(), node.ty.clone());
        match &node.op {
            Op::Input(_) | Op::Const(_) | Op::Proj(_) => Ok(self.load(Place::Tensor(v), &ty, index, mask)),
            Op::Iota(i) => {
                let count = self.index(&index[i.axis as usize].clone());
                Ok(if ty.dtype == DType::I64 { count } else { self.plain(Inst::Cast(count), ty.dtype) })
            }
            Op::Cumulative(_) | Op::Scatter(_) | Op::Sort(_) => {
                Err(Refuse("a library function computes its tensors alone"))
            }
            Op::Dims(d) => self.extents(&d.dims.clone(), index),
            Op::Reshape(_) => unreachable!("reshapes are maps"),
            Op::Permute(p) => {
                let mut at = vec![Dim::constant(0); index.len()];
                p.perm.iter().zip(index).for_each(|(&p, i)| at[p as usize] = i.clone());
                self.value(inputs[0], &at, mask)
            }
            Op::Broadcast(b) => {
                let shape = &self.graph.ty(inputs[0]).shape;
                let repeat = |(d, &a): (&Dim, &u32)| {
                    if d.is_const(1) { Dim::constant(0) } else { index[a as usize].clone() }
                };
                let at: Vec<Dim> = shape.iter().zip(&b.axes).map(repeat).collect();
                self.value(inputs[0], &at, mask)
            }
            Op::Slice(s) => {
                let at: Vec<Dim> =
                    (0..index.len()).map(|k| s.start[k].clone() + index[k].clone() * s.step[k]).collect();
                self.value(inputs[0], &at, mask)
            }
            Op::Pad(p) => self.pad(&p.lo.clone(), &inputs, index, mask),
            Op::Pack(p) => {
                let (perm, width) = (p.perm.clone(), p.width);
                self.pack(&perm, width, inputs[0], index, mask)
            }
            Op::Concat(c) => self.concat(c.axis as usize, &inputs, index, mask),
            Op::Compare(o) if let Some(inside) = self.comparison(o.0, &inputs, index) => {
                Ok(self.push(DraftInst::InRange(inside), DType::Bool))
            }
            Op::Unary(_) | Op::Binary(_) | Op::Compare(_) | Op::Select(_) | Op::Cast(_) | Op::Bitcast(_) => {
                let mut args = [0; 3];
                // Contractions first: what is not accumulated comes behind them.
                for first in [true, false] {
                    for (k, &i) in inputs.iter().enumerate() {
                        if self.behind.contains(&storage(self.graph, i)) == first {
                            args[k] = self.value(i, index, mask)?;
                        }
                    }
                }
                let [a, b, c] = args;
                let inst = match &node.op {
                    Op::Unary(u) => Inst::Unary(u.0, a),
                    Op::Binary(o) => Inst::Binary(o.0, a, b),
                    Op::Compare(o) => Inst::Compare(o.0, a, b),
                    Op::Select(_) => Inst::Select(a, b, c),
                    Op::Cast(_) => Inst::Cast(a),
                    _ => Inst::Bitcast(a),
                };
                Ok(self.plain(inst, ty.dtype))
            }
            Op::WinogradInput(_) | Op::WinogradWeights(_) => Err(Refuse("a transform is stored as a whole")),
            Op::WinogradOutput(w) => self.winograd_output(v, w.tile, index),
            Op::Cond(_) | Op::While(_) | Op::Scan(_) => Err(Refuse("control flow is no kernel")),
            Op::Gather(g) => self.gather(v, &g.clone(), index, mask),
            Op::Reduce(_) | Op::DotGeneral(_) | Op::Conv(_) | Op::ReduceWindow(_) => {
                self.contract(v, index, mask)
            }
        }
    }

    fn extents(&mut self, dims: &[Dim], index: &[Dim]) -> Result<Val> {
        let Some(i) = index.first() else { return Ok(self.index(&dims[0])) };
        if let Some(k) = i.as_const() {
            return Ok(self.index(&dims[k as usize]));
        }
        let at = self.index(i);
        let mut val = self.constant(Scalar::i64(0));
        for (k, d) in dims.iter().enumerate() {
            let (k, d) = (self.constant(Scalar::i64(k as i64)), self.index(d));
            let hit = self.plain(Inst::Compare(CompareOp::Eq, at, k), DType::Bool);
            val = self.plain(Inst::Select(hit, d, val), DType::I64);
        }
        Ok(val)
    }

    fn pad(&mut self, lo: &[Dim], inputs: &[ValueId], index: &[Dim], mask: &Bounds) -> Result<Val> {
        let ty = self.graph.ty(inputs[0]).clone();
        let at: Vec<Dim> = index.iter().zip(lo).map(|(i, lo)| i - lo).collect();
        let mut inside = vec![];
        for (i, d) in at.iter().zip(&ty.shape) {
            self.bound(&mut inside, i, d);
        }
        self.masked(inputs[0], &at, mask, inside, Some(inputs[1]))
    }

    fn pack(&mut self, perm: &[u32], width: i64, x: ValueId, index: &[Dim], mask: &Bounds) -> Result<Val> {
        let [panel, inner @ .., lane] = index else { return Err(Refuse("panels have two axes or more")) };
        let last = panel.clone() * width + lane.clone();
        let mut at = vec![Dim::constant(0); perm.len()];
        perm.iter().zip(inner.iter().chain([&last])).for_each(|(&p, i)| at[p as usize] = i.clone());
        let mut inside = vec![];
        if let Some(&axis) = perm.last() {
            let extent = self.graph.ty(x).shape[axis as usize].clone();
            self.bound(&mut inside, &last, &extent);
        }
        self.masked(x, &at, mask, inside, None)
    }

    /// `inside ? value : other`, where no `other` means 0.
    fn masked(
        &mut self,
        v: ValueId,
        at: &[Dim],
        mask: &Bounds,
        inside: Bounds,
        other: Option<ValueId>,
    ) -> Result<Val> {
        let mut both = mask.clone();
        inside.iter().filter(|b| !mask.contains(b)).for_each(|b| both.push(b.clone()));
        let first = self.stage.ops.len();
        let val = self.value(v, at, &both)?;
        if inside.is_empty() {
            return Ok(val);
        }
        let dtype = self.graph.ty(v).dtype;
        let zero_outside = match other {
            None => true,
            Some(o) => self.graph.literal(o).is_some_and(|l| l.bytes().iter().all(|&b| b == 0)),
        };
        let plain_load = val as usize >= first
            && matches!(&self.stage.ops[val as usize].0, DraftInst::Load { mask, .. } if *mask == both);
        if zero_outside && plain_load && mask.is_empty() {
            return Ok(val);
        }
        let other = match other {
            Some(o) => self.value(o, &[], mask)?,
            None => self.constant(Scalar::from_i64(dtype, 0)),
        };
        let cond = self.push(DraftInst::InRange(inside), DType::Bool);
        Ok(self.plain(Inst::Select(cond, val, other), dtype))
    }

    fn concat(&mut self, axis: usize, inputs: &[ValueId], index: &[Dim], mask: &Bounds) -> Result<Val> {
        let mut start = Dim::constant(0);
        let mut result: Option<Val> = None;
        let dtype = self.graph.ty(inputs[0]).dtype;
        for &v in inputs {
            let len = self.graph.ty(v).shape[axis].clone();
            let mut at = index.to_vec();
            at[axis] = simplify(&(index[axis].clone() - &start), &self.ranges);
            start = start + &len;
            if len.is_const(0) {
                continue;
            }
            let mut inside = vec![];
            self.bound(&mut inside, &at[axis], &len);
            let mut both = mask.clone();
            both.extend(inside.iter().filter(|b| !mask.contains(b)).cloned());
            let val = self.value(v, &at, &both)?;
            result = Some(match result {
                None => val,
                Some(before) => {
                    let cond = self.push(DraftInst::InRange(inside), DType::Bool);
                    self.plain(Inst::Select(cond, val, before), dtype)
                }
            });
        }
        Ok(result.unwrap_or_else(|| self.constant(Scalar::from_i64(dtype, 0))))
    }

    fn gather(&mut self, v: ValueId, g: &Gather, index: &[Dim], mask: &Bounds) -> Result<Val> {
        let node = self.graph.node(v);
        let inputs = node.inputs.clone();
        let data = self.graph.ty(inputs[0]).clone();
        let count = self.graph.ty(inputs[1]).rank();
        let first = g.axes[0] as usize;
        let place = &index[first..first + count];
        let mut rest = index[..first].iter().chain(&index[first + count..]).cloned();
        let mut at = vec![];
        let mut inside = vec![];
        for (axis, extent) in data.shape.iter().enumerate() {
            let Some(k) = g.axes.iter().position(|&a| a as usize == axis) else {
                at.push(rest.next().ok_or(Refuse("gather index"))?);
                continue;
            };
            let (i, checked) = self.gathered(inputs[k + 1], place, extent, mask)?;
            if checked {
                inside.push((i.clone(), extent.clone()));
            }
            at.push(i);
        }
        let val = self.masked(inputs[0], &at, mask, inside.clone(), None)?;
        if !inside.is_empty() {
            let ok = self.push(DraftInst::InRange(inside), DType::Bool);
            let mut bad = self.plain(Inst::Unary(fornax_ir::scalar::UnaryOp::Not, ok), DType::Bool);
            if !mask.is_empty() {
                let reached = self.push(DraftInst::InRange(mask.clone()), DType::Bool);
                bad = self.plain(Inst::Binary(BinaryOp::And, bad, reached), DType::Bool);
            }
            self.push(DraftInst::Raise { cond: bad, detail: v.0 }, DType::Bool);
        }
        Ok(val)
    }

    /// One index of a gather, negative ones wrapped, and whether it may be out of range.
    fn gathered(&mut self, v: ValueId, place: &[Dim], extent: &Dim, mask: &Bounds) -> Result<(Dim, bool)> {
        // A counter is an index expression, and needs no load.
        let s = storage(self.graph, v);
        if let Op::Iota(iota) = &self.graph.node(s).op {
            let at = maps::reshape(place, &self.graph.ty(v).shape, &iota.shape, &self.ranges);
            let i = simplify(&at[iota.axis as usize], &self.ranges);
            let safe = prove_nonneg(&i, &self.ranges) && prove_lt(&i, extent, &self.ranges);
            if safe {
                return Ok((i, false));
            }
        }
        let raw = self.value(v, place, mask)?;
        let raw =
            if self.graph.ty(v).dtype == DType::I64 { raw } else { self.plain(Inst::Cast(raw), DType::I64) };
        let (n, zero) = (self.index(extent), self.constant(Scalar::i64(0)));
        let wrapped = self.plain(Inst::Binary(BinaryOp::Add, raw, n), DType::I64);
        let negative = self.plain(Inst::Compare(CompareOp::Lt, raw, zero), DType::Bool);
        let i = self.plain(Inst::Select(negative, wrapped, raw), DType::I64);
        Ok((Dim::axis(VALUE_BASE + i), true))
    }

    /// The stage's contraction: reduce axes, operands, accumulation.
    fn contract(&mut self, v: ValueId, index: &[Dim], mask: &Bounds) -> Result<Val> {
        if self.in_contraction {
            return Err(Refuse("a contraction inside a contraction"));
        }
        if !mask.is_empty() {
            return Err(Refuse("a contraction under a mask"));
        }
        if let Some(done) = self.contractions.iter().find(|c| c.0 == v && c.1 == index) {
            return Ok(done.2);
        }
        if !self.shares_axes(v, index) {
            return Err(Refuse("two contractions in one stage"));
        }
        if self.needs_contraction(v) {
            return Err(Refuse("a contraction of what another one of its stage gives"));
        }
        self.in_contraction = true;
        let (op, order, value, bounds) = match self.graph.node(v).op.clone() {
            Op::Reduce(r) => self.reduce(v, &r, index)?,
            Op::DotGeneral(d) => self.dot(v, &d, index)?,
            Op::Conv(c) => self.conv(v, &c, index)?,
            Op::ReduceWindow(w) => self.window(v, &w, index)?,
            _ => return Err(Refuse("not a contraction")),
        };
        self.in_contraction = false;
        let dtype = self.graph.ty(v).dtype;
        let val = self.push(DraftInst::Accumulate { op, order, value, mask: bounds }, dtype);
        self.contractions.push((v, index.to_vec(), val));
        Ok(val)
    }

    /// Whether what a contraction accumulates is computed here from another one of the stage.
    fn needs_contraction(&self, v: ValueId) -> bool {
        if self.contractions.is_empty() {
            return false;
        }
        let mut open = vec![v];
        let mut seen = FxHashSet::default();
        while let Some(v) = open.pop() {
            for &i in &self.graph.node(v).inputs {
                let i = storage(self.graph, i);
                if self.contractions.iter().any(|c| c.0 == i) {
                    return true;
                }
                let local = i != self.target && self.group.locals.contains(&i);
                if self.group.computes(i) && !local && seen.insert(i) {
                    open.push(i);
                }
            }
        }
        false
    }

    /// Whether a contraction is the first of its stage, or can accumulate in the loops of the first:
    /// both reduce the same axes of the same domain, at the same place, or are elements of the same product.
    fn shares_axes(&self, v: ValueId, index: &[Dim]) -> bool {
        let Some((other, at, _)) = self.contractions.first() else { return true };
        let (a, b) = (self.graph.node(*other), self.graph.node(v));
        if let (Op::DotGeneral(_), Op::DotGeneral(_)) = (&a.op, &b.op) {
            return *other == v && self.contractions.len() < MAX_PRODUCTS;
        }
        let (Op::Reduce(r), Op::Reduce(s)) = (&a.op, &b.op) else { return false };
        let same_shape = self.graph.ty(a.inputs[0]).shape == self.graph.ty(b.inputs[0]).shape;
        r.axes == s.axes && same_shape && at == index
    }

    fn reduce_axis(&mut self, extent: &Dim) -> Dim {
        let axis = self.new_axis(extent, AxisKind::Reduce);
        let d = Dim::axis(axis.id);
        self.stage.axes.push(axis);
        d
    }

    fn reduce(&mut self, v: ValueId, r: &Reduce, index: &[Dim]) -> Result<Contraction> {
        let x = self.graph.node(v).inputs[0];
        let shape = self.graph.ty(x).shape.clone();
        if self.contractions.is_empty() {
            let reduced = (0..shape.len()).filter(|&k| r.axes.contains(&(k as u32)));
            self.reduce_axes = reduced.map(|k| self.reduce_axis(&shape[k])).collect();
        }
        let mut kept = index.iter();
        let mut reduced = self.reduce_axes.clone().into_iter();
        let mut at = vec![];
        for k in 0..shape.len() {
            at.push(match r.axes.contains(&(k as u32)) {
                true => reduced.next().ok_or(Refuse("reduce index"))?,
                false => kept.next().ok_or(Refuse("reduce index"))?.clone(),
            });
        }
        let val = self.value(x, &at, &vec![])?;
        Ok((r.op, Order::Interleaved, val, vec![]))
    }

    fn dot(&mut self, v: ValueId, d: &DotGeneral, index: &[Dim]) -> Result<Contraction> {
        let inputs = self.graph.node(v).inputs.clone();
        let (lhs, rhs) = (self.graph.ty(inputs[0]).clone(), self.graph.ty(inputs[1]).clone());
        let mut l = vec![None; lhs.rank()];
        let mut r = vec![None; rhs.rank()];
        for (k, &(a, b)) in d.batch.iter().enumerate() {
            l[a as usize] = Some(index[k].clone());
            r[b as usize] = Some(index[k].clone());
        }
        if self.contractions.is_empty() {
            self.reduce_axes =
                d.contract.iter().map(|c| self.reduce_axis(&lhs.shape[c.0 as usize])).collect();
        }
        for (&(a, b), axis) in d.contract.iter().zip(&self.reduce_axes) {
            l[a as usize] = Some(axis.clone());
            r[b as usize] = Some(axis.clone());
        }
        let mut free = index[d.batch.len()..].iter().cloned();
        let mut fill = |at: Vec<Option<Dim>>| -> Option<Vec<Dim>> {
            at.into_iter().map(|d| d.or_else(|| free.next())).collect()
        };
        let l = fill(l).ok_or(Refuse("dot index"))?;
        let r = fill(r).ok_or(Refuse("dot index"))?;
        let a = self.value(inputs[0], &l, &vec![])?;
        let b = self.value(inputs[1], &r, &vec![])?;
        let dtype = self.graph.ty(v).dtype;
        let product = self.plain(Inst::Binary(BinaryOp::Mul, a, b), dtype);
        Ok((fornax_ir::scalar::ReduceOp::Sum, Order::Chain, product, vec![]))
    }

    fn conv(&mut self, v: ValueId, c: &Conv, index: &[Dim]) -> Result<Contraction> {
        let inputs = self.graph.node(v).inputs.clone();
        let (x, w) = (self.graph.ty(inputs[0]).clone(), self.graph.ty(inputs[1]).clone());
        let out_channel = index[1].clone();
        let per_group = simplify(&w.shape[0].floor_div(&Dim::constant(c.groups)), &self.ranges);
        let group = if c.groups == 1 {
            Dim::constant(0)
        } else {
            simplify(&out_channel.floor_div(&per_group), &self.ranges)
        };
        // The channel is summed innermost.
        let taps: Vec<Dim> = w.shape[2..].iter().map(|d| self.reduce_axis(d)).collect();
        let channel = self.reduce_axis(&w.shape[1]);
        let mut x_at = vec![index[0].clone(), group * &w.shape[1] + &channel];
        let mut w_at = vec![out_channel, channel];
        let mut bounds = vec![];
        for (k, tap) in taps.into_iter().enumerate() {
            let at = index[k + 2].clone() * c.strides[k] + tap.clone() * c.dilations[k] - &c.pads[k].0;
            if !(c.pads[k].0.is_const(0) && c.pads[k].1.is_const(0)) {
                bounds.push((simplify(&at, &self.ranges), x.shape[k + 2].clone()));
            }
            x_at.push(at);
            w_at.push(tap);
        }
        let a = self.value(inputs[0], &x_at, &bounds)?;
        let b = self.value(inputs[1], &w_at, &vec![])?;
        let dtype = self.graph.ty(v).dtype;
        let product = self.plain(Inst::Binary(BinaryOp::Mul, a, b), dtype);
        Ok((fornax_ir::scalar::ReduceOp::Sum, Order::Chain, product, bounds))
    }

    fn window(&mut self, v: ValueId, w: &ReduceWindow, index: &[Dim]) -> Result<Contraction> {
        let x = self.graph.node(v).inputs[0];
        let ty = self.graph.ty(x).clone();
        let lead = ty.rank() - w.window.len();
        let mut at = index[..lead].to_vec();
        let mut bounds = vec![];
        for k in 0..w.window.len() {
            let tap = self.reduce_axis(&Dim::constant(w.window[k]));
            let i = index[lead + k].clone() * w.strides[k] + tap * w.dilations[k] - &w.pads[k].0;
            if !(w.pads[k].0.is_const(0) && w.pads[k].1.is_const(0)) {
                bounds.push((simplify(&i, &self.ranges), ty.shape[lead + k].clone()));
            }
            at.push(i);
        }
        let val = self.value(x, &at, &bounds)?;
        Ok((w.op, Order::Chain, val, bounds))
    }
}

/// The index along an axis: 0 where it has one point, so that all ways to it have the same index.
fn at(axis: &DraftAxis) -> Dim {
    if axis.extent.is_const(1) { Dim::constant(0) } else { Dim::axis(axis.id) }
}

type Contraction = (fornax_ir::scalar::ReduceOp, Order, Val, Bounds);
