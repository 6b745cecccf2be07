//! Which axes of a kernel threads share, and in which pieces.
//!
//! A thread takes neighbouring work items, so the first shared axis is the one that is divided: each
//! thread reads the parts of the operands that walk it, and all of the others. For a product of few
//! rows and large weights that is the axis of the weights' columns, for one of many rows the rows. Pieces
//! are whole register tiles. Nothing here depends on the number of threads, and no result on the pieces.

use super::const_extent;
use crate::Machine;
use fornax_ir::kernel::{Affine, AxisId, AxisKind, Buf, IndexVar, Inst, Kernel, Size, StageSchedule};

/// What an extent known only at run time is taken for, and how much that counts. A batch may be long, and is often 1.
const UNKNOWN: [(i64, f64); 2] = [(128, 1.0), (1, 0.25)];
/// Least number of points of a vector axis that stay together: a cache line of 32-bit elements.
const RUN: i64 = 16;
/// Points of the only axis of a stage without accumulations that stay together.
const LONG_RUN: i64 = 512;
/// Numbers of threads that divisions are compared for.
const THREADS: [i64; 2] = [2, 4];
/// Picoseconds of one element's instruction, in vectors.
const INSTRUCTION: f64 = 8.0;
/// Picoseconds to bring a byte from a cache that threads share.
const BYTE: f64 = 12.0;
/// Points of a vector axis below which it is not divided where there are other axes: threads would read parts
/// of the same short rows.
const SHORT: i64 = 128;
/// By how much a division along one axis may be slower than one along two, whose outer loop runs over
/// pieces instead of in the order that suits the tile.
const SIMPLER: f64 = 1.06;

/// A parallel axis that can be divided.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    axis: AxisId,
    /// Of unknown extents, what they are taken for.
    extent: i64,
    known: bool,
    /// Points of a piece.
    chunk: i64,
}

impl Candidate {
    fn pieces(&self) -> i64 {
        (self.extent + self.chunk - 1) / self.chunk
    }
}

/// What dividing a stage is judged by.
struct Division<'k> {
    kernel: &'k Kernel,
    /// Picoseconds of all instructions.
    compute: f64,
    /// Index and bytes an element of each load from a buffer.
    loads: Vec<(&'k Affine, f64)>,
    /// What unknown extents are taken for.
    unknown: i64,
}

/// Work items of a kernel of one stage without outer axes: the axis to divide first, and its pieces.
pub(super) fn share_out(kernel: &Kernel, schedule: &StageSchedule, machine: Machine) -> Vec<(AxisId, i64)> {
    let stage = &kernel.stages[0];
    if let Some((rows, tile)) = schedule.rows.filter(|_| !schedule.block.is_empty()) {
        // Each thread copies its own rows.
        return vec![(rows, i64::from(tile))];
    }
    let accumulates = stage.body.iter().any(|op| matches!(op.inst, Inst::Accumulate { .. }));
    let parallel: Vec<AxisId> = (0..stage.axes.len() as AxisId)
        .filter(|a| stage.axes[*a as usize].kind == AxisKind::Parallel)
        .collect();
    let chunk = |a: AxisId| match (schedule.vector, schedule.rows) {
        (Some((v, _)), _) if v == a && !accumulates && parallel.len() == 1 => LONG_RUN,
        (Some((v, vecs)), _) if v == a => {
            let tile = i64::from(vecs.max(1)) * machine.lanes();
            (RUN + tile - 1) / tile * tile
        }
        (_, Some((r, rows))) if r == a => i64::from(rows),
        _ => 1,
    };
    let all = parallel.iter().map(|&axis| {
        let extent = stage.axes[axis as usize].extent;
        let known = extent.as_const().is_some();
        Candidate { axis, extent: const_extent(extent, UNKNOWN[0].0), known, chunk: chunk(axis) }
    });
    // An axis of unknown extent may turn out long.
    let long = |c: &Candidate| {
        let short = parallel.len() > 1 && schedule.vector.is_some_and(|v| v.0 == c.axis) && c.extent < SHORT;
        (c.pieces() > 1 && !short) || !c.known
    };
    let all: Vec<Candidate> = all.collect();
    let mut candidates: Vec<Candidate> = all.iter().copied().filter(long).collect();
    if candidates.is_empty() {
        candidates = all.into_iter().filter(|c| c.pieces() > 1).collect();
    }
    let divisions = UNKNOWN.map(|(unknown, counts)| (Division::of(kernel, unknown), counts));
    let mut best: Option<(f64, Vec<Candidate>)> = None;
    let singles = candidates.iter().map(|c| vec![*c]);
    let pairs = candidates.iter().flat_map(|a| {
        candidates.iter().filter(|b| b.axis != a.axis).map(|b| vec![*a, *b]).collect::<Vec<_>>()
    });
    for choice in singles.chain(pairs) {
        let simpler = if choice.len() == 1 { 1.0 } else { SIMPLER };
        let times = divisions.iter().map(|(division, counts)| division.part(&choice) * counts);
        let time = times.sum::<f64>() * simpler;
        if best.as_ref().is_none_or(|b| time < b.0) {
            best = Some((time, choice));
        }
    }
    best.map_or(vec![], |(_, choice)| choice.iter().map(|c| (c.axis, c.chunk)).collect())
}

impl<'k> Division<'k> {
    fn of(kernel: &'k Kernel, unknown: i64) -> Self {
        let stage = &kernel.stages[0];
        let end = stage.body.iter().rposition(|op| matches!(op.inst, Inst::Accumulate { .. }));
        let product = |inside: bool| {
            let counted = stage.axes.iter().filter(|a| inside || a.kind != AxisKind::Reduce);
            counted.map(|a| const_extent(a.extent, unknown) as f64).product::<f64>()
        };
        let computes = |k: usize| {
            !matches!(stage.body[k].inst, Inst::Const(_) | Inst::Arg(_) | Inst::Axis(_) | Inst::Load { .. })
        };
        let each = |k: usize| if computes(k) { product(end.is_some_and(|end| k <= end)) } else { 0.0 };
        let loads = stage.body.iter().filter_map(|op| match &op.inst {
            Inst::Load { src: Buf::Arg(_), at, .. } => Some((at, op.dtype.bytes() as f64)),
            _ => None,
        });
        let compute = (0..stage.body.len()).map(each).sum::<f64>() * INSTRUCTION;
        Division { kernel, compute, loads: loads.collect(), unknown }
    }

    /// The part of one thread's instructions that the thread with most to do takes the time of, with what it reads;
    /// over the numbers of threads together.
    fn part(&self, choice: &[Candidate]) -> f64 {
        let choice: Vec<Candidate> = choice
            .iter()
            .map(|c| Candidate { extent: if c.known { c.extent } else { self.unknown }, ..*c })
            .collect();
        THREADS.iter().map(|&threads| self.time_on(&choice, threads)).sum::<f64>() / self.compute.max(1.0)
    }

    fn time_on(&self, choice: &[Candidate], threads: i64) -> f64 {
        let items: i64 = choice.iter().map(Candidate::pieces).product();
        let most = (items + threads - 1) / threads;
        // A thread's neighbouring items: whole axes from the inside, pieces of the first that is larger.
        let mut left = most;
        let mut parts: Vec<(AxisId, f64)> = vec![];
        for c in choice.iter().rev() {
            let taken = left.min(c.pieces()).max(1);
            parts.push((c.axis, ((taken * c.chunk) as f64).min(c.extent as f64)));
            left = (left + c.pieces() - 1) / c.pieces().max(1);
        }
        let bytes: f64 = self.loads.iter().map(|(at, bytes)| self.elements(at, &parts) * bytes).sum();
        let all: f64 = choice.iter().map(|c| c.extent as f64).product();
        self.compute * points(choice, most) / all.max(1.0) + bytes * BYTE
    }

    /// About how many elements an access touches, where some axes are restricted to so many points.
    fn elements(&self, at: &Affine, parts: &[(AxisId, f64)]) -> f64 {
        let (mut points, mut span) = (1.0f64, Some(1.0f64));
        for (var, stride) in &at.terms {
            let IndexVar::Axis(a) = var else {
                // A value may be anything: every point has its element.
                return self.all_points(parts);
            };
            let whole = const_extent(self.kernel.axis(0, *a).extent, self.unknown) as f64;
            let extent = parts.iter().find(|p| p.0 == *a).map_or(whole, |p| p.1);
            points *= extent;
            span = match (span, stride) {
                (Some(span), Size::Const(s)) => {
                    Some(span + s.unsigned_abs() as f64 * (extent - 1.0).max(0.0))
                }
                _ => None,
            };
        }
        span.map_or(points, |span| span.min(points))
    }

    fn all_points(&self, parts: &[(AxisId, f64)]) -> f64 {
        let stage = &self.kernel.stages[0];
        let extent = |(a, axis): (usize, &fornax_ir::kernel::Axis)| {
            let whole = const_extent(axis.extent, self.unknown) as f64;
            parts.iter().find(|p| p.0 as usize == a).map_or(whole, |p| p.1)
        };
        stage.axes.iter().enumerate().map(extent).product()
    }
}

/// Points of the first `items` pieces, row-major.
fn points(axes: &[Candidate], items: i64) -> f64 {
    let Some((first, inner)) = axes.split_first() else { return 1.0 };
    let inner_items: i64 = inner.iter().map(Candidate::pieces).product();
    let inner_points: f64 = inner.iter().map(|c| c.extent as f64).product();
    let (full, rest) = (items / inner_items, items % inner_items);
    let rest = if rest == 0 { 0.0 } else { first.chunk.min(first.extent) as f64 * points(inner, rest) };
    (full * first.chunk).min(first.extent) as f64 * inner_points + rest
}

#[cfg(test)]
mod tests {
    use super::super::lower;
    use super::*;
    use crate::Machine;
    use crate::plan::Group;
    use fornax_ir::graph::text::parse;

    /// The pieces of the kernel of a graph's last value: extent of each shared axis, and points of a piece.
    fn pieces(lines: &[&str]) -> Vec<(Size, i64)> {
        let text = format!("graph \"g\" {{\n{}\n}}\n", lines.join("\n"));
        let graph = parse(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
        let kernel = lower(&graph, &Group::new(graph.outputs[0].value), Machine::PORTABLE).unwrap().kernel;
        kernel.schedule.parallel.iter().map(|p| (kernel.axis(0, p.0).extent, p.1)).collect()
    }

    fn product(m: &str, k: i64, n: i64) -> Vec<(Size, i64)> {
        pieces(&[
            &format!("%0: f32[{m}, {k}] = input \"x\""),
            &format!("%1: f32[{k}, {n}] = input \"w\""),
            &format!("%2: f32[{m}, {n}] = dot %0, %1 batch [] contract [1:0]"),
            "output \"y\" %2",
        ])
    }

    #[test]
    fn the_operand_that_is_larger_is_divided() {
        // Few rows and large weights, then many rows and small ones.
        assert_eq!(product("128", 768, 3072)[0].0, Size::Const(3072));
        assert_eq!(product("1", 784, 512)[0].0, Size::Const(512));
        assert_eq!(product("3136", 64, 64)[0].0, Size::Const(3136));
        assert_eq!(product("n", 64, 48)[0].0, Size::Arg(0));
    }

    #[test]
    fn an_unknown_axis_is_not_divided_alone() {
        // One image or many: rows of the image are divided, with the batch or without.
        let pieces = pieces(&[
            "%0: f32[n, 8, 172, 264] = input \"x\"",
            "%1: f32[16, 8, 3, 3] = input \"w\"",
            "%2: f32[n, 16, 172, 264] = conv %0, %1 strides [1, 1] pads [1:1, 1:1] dilations [1, 1] groups 1",
            "output \"y\" %2",
        ]);
        assert!(pieces.iter().any(|p| p.0.as_const().is_some()), "{pieces:?}");
    }

    #[test]
    fn pieces_are_even_for_two_threads_and_enough_for_four() {
        for (m, k, n) in [(128, 768, 768), (64, 784, 512), (49, 2048, 512), (196, 192, 768), (784, 512, 128)]
        {
            let pieces = product(&m.to_string(), k, n);
            let items: i64 = pieces
                .iter()
                .map(|(extent, chunk)| (extent.as_const().unwrap() + chunk - 1) / chunk)
                .product();
            for threads in [2, 4] {
                let most = (items + threads - 1) / threads * threads;
                assert!(most as f64 <= 1.1 * items as f64, "{m}x{k}x{n}: {pieces:?} on {threads} threads");
            }
        }
    }

    #[test]
    fn short_rows_stay_together() {
        // Panels of a packed matrix: 128 of 32 columns each.
        let pieces = pieces(&[
            "%0: f32[4096] = input \"x\"",
            "%1: f32[128, 4096, 32] = input \"w\"",
            "%2: f32[128, 32] = dot %1, %0 batch [] contract [1:0]",
            "output \"y\" %2",
        ]);
        assert_eq!(pieces.len(), 1);
        assert_eq!(pieces[0].0, Size::Const(128));
    }

    #[test]
    fn batches_are_divided_before_what_is_inside_them() {
        let pieces = pieces(&[
            "%0: f32[12, 128, 64] = input \"x\"",
            "%1: f32[12, 64, 128] = input \"w\"",
            "%2: f32[12, 128, 128] = dot %0, %1 batch [0:0] contract [2:1]",
            "output \"y\" %2",
        ]);
        assert_eq!(pieces[0], (Size::Const(12), 1));
    }

    #[test]
    fn a_pointwise_kernel_has_long_pieces() {
        let lines =
            |shape: &str| [format!("%0: f32[{shape}] = input \"x\""), format!("%1: f32[{shape}] = exp %0")];
        for shape in ["4096, 1024", "n, 7"] {
            let [x, y] = lines(shape);
            let pieces = pieces(&[&x, &y, "output \"y\" %1"]);
            assert_eq!(pieces.len(), 1);
            assert_eq!(pieces[0].1, LONG_RUN);
        }
    }
}
