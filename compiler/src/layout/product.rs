//! Products with their right operand in panels as wide as a register tile.
//!
//! `x [.., k] . w [k, n] = (x . pack(w) [n / width, k, width])`, reshaped to `[.., n]`: a tile of the product reads one
//! panel from front to end, where it would read a piece of each row of `w`. Constants are packed when the program is
//! compiled; other operands in a kernel of their own, which pays when there are enough rows to use it.

use crate::canonicalize::rebuild::Rebuild;
use crate::machine::Machine;
use crate::schedule::MAX_PRODUCTS;
use fornax_ir::Dim;
use fornax_ir::graph::ops::{DotGeneral, OpClass, Pack, Reshape, Slice};
use fornax_ir::graph::{Graph, GraphError, Op, ValueId};

/// Rows of the left operand from which packing the right one at run time pays.
const MIN_ROWS: i64 = 64;
/// Bytes of a right operand that is packed at run time, at least: less stays in the first-level cache anyway.
const MIN_BYTES: i64 = 128 << 10;

/// Bytes of a right operand from which packing pays also if the last panel is not full.
const MIN_CUT_BYTES: i64 = 16 << 20;

/// Every product whose right operand should lie in panels.
pub(super) fn panels(graph: Graph, machine: Machine) -> Result<Graph, GraphError> {
    let slices = slices(&graph);
    let width = |v: ValueId| width(&graph, v, slices[v.index()], machine);
    if !graph.values().any(|v| width(v).is_some()) {
        return Ok(graph);
    }
    Rebuild::new(&graph).sweep(|r, v| match width(v) {
        Some(width) => in_panels(r, v, width),
        None => r.copy(v),
    })
}

/// For each product: how many slices are taken of it or of what is computed from it element by element. Gates of a
/// recurrent step are such slices, which a kernel accumulates side by side.
fn slices(graph: &Graph) -> Vec<usize> {
    let mut count = vec![0; graph.nodes.len()];
    let mut product: Vec<Option<ValueId>> = vec![None; graph.nodes.len()];
    for v in graph.values() {
        let node = graph.node(v);
        let of = || node.inputs.iter().find_map(|i| product[i.index()]);
        match &node.op {
            Op::DotGeneral(_) => product[v.index()] = Some(v),
            Op::Slice(_) => of().into_iter().for_each(|p| count[p.index()] += 1),
            op if matches!(op, Op::Reshape(_)) || op.class() == OpClass::Elementwise => {
                product[v.index()] = of();
            }
            _ => {}
        }
    }
    count
}

/// How wide the panels of a product's right operand should be; `None` where it is no such product.
pub(super) fn width(graph: &Graph, v: ValueId, slices: usize, machine: Machine) -> Option<i64> {
    let node = graph.node(v);
    let Op::DotGeneral(dot) = &node.op else { return None };
    let (x, w) = (graph.ty(node.inputs[0]), graph.ty(node.inputs[1]));
    let [(_, along)] = dot.contract[..] else { return None };
    if !dot.batch.is_empty() || w.rank() != 2 || !matches!(w.dtype.bytes(), 4 | 8) || x.dtype != w.dtype {
        return None;
    }
    let lanes = i64::from(machine.vector_bytes) / w.dtype.bytes() as i64;
    let n = w.shape[1 - along as usize].as_const()?;
    let k = w.shape[along as usize].as_const()?;
    let rows = dot.free(0, x.rank()).iter().fold(Dim::constant(1), |n, &a| n * &x.shape[a]);
    let constant = matches!(graph.node(node.inputs[1]).op, Op::Const(_));
    let known = rows.as_const();
    let run_time = known.is_some_and(|m| m >= MIN_ROWS) && n * k * w.dtype.bytes() as i64 >= MIN_BYTES;
    if n < 2 * lanes || !(constant || run_time) {
        return None;
    }
    // A single row has no others to keep the multiply-adds busy.
    let vecs = match known {
        Some(m) if m < 2 && (3..=MAX_PRODUCTS).contains(&slices) => 4,
        Some(m) if m < 2 => 8,
        Some(m) if m < 4 => 4,
        _ => 2,
    };
    let fits = |vecs: &i64| n % (vecs * lanes) == 0;
    let whole = [8, 4, 2].into_iter().filter(|v| *v <= vecs).find(fits);
    // Columns that leave a panel in part are cut off by a kernel of their own.
    let large = vecs == 2 && n * k * w.dtype.bytes() as i64 >= MIN_CUT_BYTES;
    whole.or(large.then_some(2)).map(|v| v * lanes)
}

fn in_panels(r: &mut Rebuild<'_>, v: ValueId, width: i64) -> Result<ValueId, GraphError> {
    let old = r.old;
    let node = old.node(v);
    let Op::DotGeneral(dot) = &node.op else { return r.copy(v) };
    let operands = r.operands(v);
    let (left, along) = dot.contract[0];
    let perm = if along == 0 { vec![0, 1] } else { vec![1, 0] };
    let w = r.add(Pack { perm, width }, &[operands[1]])?;
    let product = r.add(DotGeneral { batch: vec![], contract: vec![(left, 1)] }, &[operands[0], w])?;
    let shape = &node.ty.shape;
    let (n, outer) = shape.split_last().expect("a product of matrices has columns");
    let all: Dim = Dim::from(width) * &r.ty(w).shape[0];
    let whole = *n == all;
    let mut wide = outer.to_vec();
    wide.push(all);
    let y = r.add(Reshape { shape: wide }, &[product])?;
    if whole {
        return Ok(y);
    }
    let zeros = vec![Dim::constant(0); shape.len()];
    r.add(Slice { start: zeros, size: shape.clone(), step: vec![1; shape.len()] }, &[y])
}

#[cfg(test)]
mod tests {
    use super::*;
    use fornax_ir::graph::text::parse;

    const WIDE: Machine = Machine { vector_bytes: 64, registers: 32, near_bytes: 1 << 20 };

    fn packed(rows: &str, w: &str, contract: &str, n: i64, k: i64) -> String {
        let text = format!(
            "graph \"g\" {{\n  %0: f32[{rows}, {k}] = input \"x\"\n  %1: f32{w} = input \"w\"\n  \
             %2: f32[{rows}, {n}] = dot %0, %1 batch [] contract [{contract}]\n  output \"y\" %2\n}}\n"
        );
        let graph = parse(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
        let graph = panels(graph, WIDE).unwrap();
        fornax_ir::graph::verify::verify(&graph).unwrap();
        graph.to_string()
    }

    #[test]
    fn operands_are_packed_where_rows_pay_for_it() {
        for (rows, n, k, want) in [
            ("64", 512, 512, Some("f32[16, 512, 32] = pack %1 perm [0, 1] width 32")),
            ("64", 520, 512, None),
            ("64", 5200, 1000, Some("f32[163, 1000, 32] = pack %1 perm [0, 1] width 32")),
            ("63", 512, 512, None),
            ("m", 512, 512, None),
            ("64", 24, 4096, None),
            ("64", 64, 64, None),
        ] {
            let text = packed(rows, &format!("[{k}, {n}]"), "1:0", n, k);
            match want {
                Some(want) => assert!(text.contains(want), "{text}"),
                None => assert!(!text.contains("pack"), "{text}"),
            }
            assert_eq!(text.contains("slice"), want.is_some() && n % 32 != 0, "{text}");
        }
        let turned = packed("64", "[512, 256]", "1:1", 512, 256);
        assert!(turned.contains("f32[16, 256, 32] = pack %1 perm [1, 0] width 32"), "{turned}");
    }
}
