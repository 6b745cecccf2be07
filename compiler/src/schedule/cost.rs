//! What one run of a kernel costs, as far as its text tells: the facts a cost model weighs.
//!
//! Extents that are not known count as [`TYPICAL`], or the nearest value in their symbols' ranges.
//! Scalar work counts as often as generated code does it: once a point of the axes it stands under,
//! once a register tile or run where it is the same for all points along the vector axis. Address
//! arithmetic and integer work are not counted.

use super::Operand;
use fornax_ir::Dim;
use fornax_ir::graph::Graph;
use fornax_ir::kernel::analysis::{StageInfo, axis_mask};
use fornax_ir::kernel::{Affine, AxisKind, Buf, IndexVar, Inst, Kernel, Op, Size};
use fornax_ir::scalar::{BinaryOp, UnaryOp};
use smallvec::SmallVec;

/// Stands for an extent of which nothing is known.
pub const TYPICAL: i64 = 128;
/// Points that share a register of 128 bits, of 4 bytes each.
const LANES: f64 = 4.0;

/// How neighbouring points of a stage's innermost axis lie in a tensor; the later, the dearer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Walk {
    /// All at the same element.
    Broadcast,
    /// One after the other.
    Contiguous,
    /// At a distance.
    Strided,
    /// Where other data says.
    Gathered,
}

/// The traffic of a kernel with one tensor.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Traffic {
    /// The tensor: read if [`Operand::Tensor`], else written.
    pub operand: Operand,
    /// Bytes that are touched, each once.
    pub bytes: f64,
    /// Bytes that loads or stores move, repeated ones counted each time.
    pub moved: f64,
    /// How the innermost axis walks it; of several accesses the dearest.
    pub walk: Walk,
}

/// What one run of a kernel costs.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Cost {
    /// Floating-point additions, multiplications, comparisons, selections, conversions, accumulations.
    pub simple: f64,
    /// Multiply-adds of sums of products; `simple` has each as two operations.
    pub contracted: f64,
    /// Floating-point divisions, remainders and square roots.
    pub divisions: f64,
    /// Floating-point exponentials, logarithms, powers, trigonometric and error functions.
    pub transcendental: f64,
    /// Whether neighbouring points share vector registers in every stage.
    pub vectorised: bool,
    /// One entry a buffer argument, in the order of [`super::Lowered::operands`].
    pub traffic: SmallVec<[Traffic; 4]>,
}

impl Cost {
    /// Floating-point operations of all classes.
    pub fn flops(&self) -> f64 {
        self.simple + self.divisions + self.transcendental
    }

    /// Bytes touched in all tensors, each once.
    pub fn bytes(&self) -> f64 {
        self.traffic.iter().map(|t| t.bytes).sum()
    }

    /// The cost of a scheduled kernel whose arguments stand for these.
    pub(super) fn of(graph: &Graph, kernel: &Kernel, operands: &[Operand], scalars: &[Dim]) -> Cost {
        let typical = |d: &Dim| typical(graph, d);
        let values: SmallVec<[f64; 8]> = scalars.iter().map(typical).collect();
        let traffic = operands.iter().map(|&operand| Traffic {
            operand,
            bytes: 0.0,
            moved: 0.0,
            walk: Walk::Broadcast,
        });
        let mut cost =
            Cost { vectorised: super::is_vectorised(kernel), traffic: traffic.collect(), ..Cost::default() };
        for number in 0..kernel.stages.len() {
            Stage::of(kernel, number, &values).add_to(&mut cost);
        }
        for t in &mut cost.traffic {
            let (Operand::Tensor(v) | Operand::Target(v)) = t.operand;
            t.bytes = t.bytes.min(typical(&graph.ty(v).bytes()));
        }
        cost
    }
}

/// The value of a dim at typical values of its symbols.
fn typical(graph: &Graph, d: &Dim) -> f64 {
    if let Some(v) = d.as_const() {
        return v as f64;
    }
    let value = |name: &str| {
        let (lo, hi) = graph.ranges.symbol(name);
        Some(TYPICAL.min(hi.unwrap_or(TYPICAL)).max(lo))
    };
    d.eval_symbols(&value).map_or(TYPICAL as f64, |v| v as f64)
}

/// A stage of a kernel with its extents.
struct Stage<'k> {
    kernel: &'k Kernel,
    number: usize,
    info: StageInfo,
    extents: SmallVec<[f64; 8]>,
    reduce: u64,
    /// The axis along which neighbouring points are computed, and how many together.
    along: Option<(u32, f64)>,
}

impl<'k> Stage<'k> {
    fn of(kernel: &'k Kernel, number: usize, values: &[f64]) -> Self {
        let stage = &kernel.stages[number];
        let extent = |s: Size| match s {
            Size::Const(v) => v as f64,
            Size::Arg(n) => values.get(n as usize).copied().unwrap_or(TYPICAL as f64),
        };
        let axes = kernel.outer.iter().chain(&stage.axes);
        let extents: SmallVec<[f64; 8]> = axes.map(|a| extent(a.extent).max(0.0)).collect();
        let pointwise = stage.body.iter().all(|op| !matches!(op.inst, Inst::Accumulate { .. }));
        let schedule = kernel.schedule.stages.get(number);
        let vector = schedule.and_then(|s| s.vector);
        let along = match vector {
            // A pointwise leaf runs along the whole axis.
            Some((a, _)) if pointwise => Some((a, extents[a as usize])),
            Some((a, vecs)) => Some((a, f64::from(vecs) * LANES)),
            None => extents.len().checked_sub(1).map(|a| (a as u32, 1.0)),
        };
        let reduce = axis_mask(kernel, number, |k| k == AxisKind::Reduce);
        Stage { kernel, number, info: StageInfo::of(kernel, number), extents, reduce, along }
    }

    /// How often an instruction of the body runs.
    fn times(&self, i: usize) -> f64 {
        let mut n = 1.0;
        for (a, extent) in self.extents.iter().enumerate() {
            if self.info.in_reduce[i] || self.reduce & (1 << a) == 0 {
                n *= extent;
            }
        }
        match self.along {
            Some((a, together)) if self.info.axes[i] & (1 << a) == 0 && self.reduce & (1 << a) == 0 => {
                n / together.min(self.extents[a as usize]).max(1.0)
            }
            _ => n,
        }
    }

    fn add_to(&self, cost: &mut Cost) {
        let body = &self.kernel.stages[self.number].body;
        for (i, op) in body.iter().enumerate() {
            match &op.inst {
                Inst::Load { src: Buf::Arg(b), at, .. } => self.access(*b, op, at, self.times(i), cost),
                Inst::Store { dst: Buf::Arg(b), at, .. } => {
                    let points = self.extents.iter().enumerate().filter(|(a, _)| self.reduce & (1 << a) == 0);
                    self.access(*b, op, at, points.map(|p| p.1).product(), cost);
                }
                Inst::Accumulate { value, .. } if op.dtype.is_float() => {
                    cost.simple += self.times(i);
                    if matches!(body[*value as usize].inst, Inst::Binary(BinaryOp::Mul, ..)) {
                        cost.contracted += self.times(i);
                    }
                }
                inst => self.arithmetic(inst, op, i, cost),
            }
        }
    }

    fn arithmetic(&self, inst: &Inst, op: &Op, i: usize, cost: &mut Cost) {
        let body = &self.kernel.stages[self.number].body;
        let float = |v: u32| body[v as usize].dtype.is_float();
        let class = match inst {
            Inst::Unary(o, a) if float(*a) => match o {
                UnaryOp::Sqrt => &mut cost.divisions,
                UnaryOp::Neg
                | UnaryOp::Abs
                | UnaryOp::Not
                | UnaryOp::IsNan
                | UnaryOp::Floor
                | UnaryOp::Ceil
                | UnaryOp::Round
                | UnaryOp::Trunc
                | UnaryOp::Sign => &mut cost.simple,
                _ => &mut cost.transcendental,
            },
            Inst::Binary(o, a, _) if float(*a) => match o {
                BinaryOp::Div | BinaryOp::Rem => &mut cost.divisions,
                BinaryOp::Pow => &mut cost.transcendental,
                _ => &mut cost.simple,
            },
            Inst::Compare(_, a, _) | Inst::Cast(a) if float(*a) || op.dtype.is_float() => &mut cost.simple,
            Inst::Select(_, a, _) if float(*a) => &mut cost.simple,
            Inst::Fma(..) => {
                cost.simple += self.times(i);
                &mut cost.simple
            }
            _ => return,
        };
        *class += self.times(i);
    }

    fn access(&self, buffer: u32, op: &Op, at: &Affine, times: f64, cost: &mut Cost) {
        let bytes = op.dtype.bytes() as f64;
        let mut elements = 1.0;
        let mut gathered = false;
        for (a, extent) in self.extents.iter().enumerate() {
            if at.stride(a as u32) != Size::ZERO {
                elements *= extent;
            }
        }
        let mut walk = match self.along.map(|(a, _)| at.stride(a)) {
            None | Some(Size::ZERO) => Walk::Broadcast,
            Some(Size::ONE) => Walk::Contiguous,
            Some(_) => Walk::Strided,
        };
        for (var, _) in &at.terms {
            let IndexVar::Value(v) = *var else { continue };
            let axes = self.info.axes[v as usize];
            let own = (0..self.extents.len()).filter(|&a| axes & (1 << a) != 0);
            elements *=
                own.filter(|&a| at.stride(a as u32) == Size::ZERO).fold(1.0, |n, a| n * self.extents[a]);
            gathered |= self.along.is_some_and(|(a, _)| axes & (1 << a) != 0);
        }
        if gathered {
            walk = Walk::Gathered;
        }
        let t = &mut cost.traffic[buffer as usize];
        t.bytes += elements * bytes;
        t.moved += times * bytes;
        t.walk = t.walk.max(walk);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::greedy;
    use fornax_ir::graph::text;

    /// The costs of a graph's kernels, planned greedily.
    fn costs(source: &str) -> Vec<Cost> {
        let graph = text::parse(source).unwrap();
        let plan = greedy::plan(&graph);
        plan.groups.iter().map(|g| super::super::lower(&graph, g).unwrap().cost).collect()
    }

    fn walks(c: &Cost) -> Vec<(f64, Walk)> {
        c.traffic.iter().map(|t| (t.bytes, t.walk)).collect()
    }

    #[test]
    fn pointwise_kernels_count_operations_by_class() {
        let c = costs(
            r#"graph "g" {
              %0: f32[n, 64] = input "x"
              %1: f32[64] = input "w"
              %2: f32[n, 64] = broadcast %1 shape [n, 64] axes [1]
              %3: f32[n, 64] = add %0, %2
              %4: f32[n, 64] = exp %3
              %5: f32[n, 64] = div %4, %0
              output "y" %5
            }"#,
        );
        let n = 128.0 * 64.0;
        let [c] = &c[..] else { panic!("{c:?}") };
        assert_eq!((c.simple, c.divisions, c.transcendental), (n, n, n));
        assert_eq!((c.contracted, c.flops(), c.vectorised), (0.0, 3.0 * n, true));
        assert_eq!(
            walks(c),
            [(4.0 * n, Walk::Contiguous), (256.0, Walk::Contiguous), (4.0 * n, Walk::Contiguous)]
        );
    }

    #[test]
    fn products_count_multiply_adds_and_share_loads() {
        let c = costs(
            r#"graph "g" {
              %0: f32[32, 48] = input "x"
              %1: f32[48, 64] = input "w"
              %2: f32[32, 64] = dot %0, %1 batch [] contract [1:0]
              output "y" %2
            }"#,
        );
        let [c] = &c[..] else { panic!("{c:?}") };
        let n = 32.0 * 48.0 * 64.0;
        assert_eq!((c.simple, c.contracted), (2.0 * n, n));
        let (x, w) = (4.0 * 32.0 * 48.0, 4.0 * 48.0 * 64.0);
        assert_eq!(
            walks(c),
            [(x, Walk::Broadcast), (w, Walk::Contiguous), (4.0 * 32.0 * 64.0, Walk::Contiguous)]
        );
        // Two registers of a tile share each element of the left operand.
        assert_eq!(c.traffic[0].moved, 4.0 * n / 8.0);
    }

    #[test]
    fn walks_tell_strides_and_gathers_and_ranges_bound_symbols() {
        let c = costs(
            r#"graph "g" {
              symbol n in 1..16
              %0: f32[n, 64] = input "x"
              %1: f32[64, n] = permute %0 perm [1, 0]
              %2: i64[8] = input "i"
              %3: f32[8, n] = gather %1, %2 axes [0]
              output "t" %1
              output "g" %3
            }"#,
        );
        assert_eq!(c.len(), 2, "{c:?}");
        let transposed = &c[0];
        assert_eq!(transposed.bytes(), 2.0 * 4.0 * 16.0 * 64.0);
        assert!(transposed.traffic.iter().any(|t| t.walk == Walk::Strided));
        let gathered = &c[1];
        assert!(gathered.traffic.iter().any(|t| t.bytes == 64.0 && t.operand != Operand::Target(ValueId(3))));
        assert!(gathered.traffic.iter().all(|t| t.bytes <= 4.0 * 16.0 * 64.0));
    }

    use fornax_ir::graph::ValueId;
}
