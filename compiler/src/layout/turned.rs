//! Products whose right operand walks the summed axis by single elements: `x [.., k] . w [n, k]`, as queries meet keys.
//!
//! Neighbouring columns of the result then read elements a row apart, one by one. Transposed first, which a kernel of
//! its own does in registers, they are loaded together. The sums keep their order and every bit.

use crate::canonicalize::rebuild::Rebuild;
use crate::machine::Machine;
use fornax_ir::Dim;
use fornax_ir::graph::ops::{DotGeneral, Permute};
use fornax_ir::graph::{Graph, GraphError, Op, ValueId};

/// Multiplications below which a kernel that transposes takes longer to start than it saves.
const MIN_PRODUCTS: i64 = 4096;

/// Every such product with its right operand transposed, but for those that are packed, and constants.
pub(super) fn columns(
    graph: Graph,
    machine: Machine,
    packed: &dyn Fn(&Graph, ValueId) -> bool,
) -> Result<Graph, GraphError> {
    let wanted = |v: ValueId| column(&graph, v, machine).filter(|_| !packed(&graph, v));
    if !graph.values().any(|v| wanted(v).is_some()) {
        return Ok(graph);
    }
    Rebuild::new(&graph).sweep(|r, v| match wanted(v) {
        Some(column) => transposed(r, v, column),
        None => r.copy(v),
    })
}

/// The axis of the right operand along which it should lie, if it does not.
fn column(graph: &Graph, v: ValueId, machine: Machine) -> Option<usize> {
    let node = graph.node(v);
    let Op::DotGeneral(dot) = &node.op else { return None };
    let (x, w) = (graph.ty(node.inputs[0]), graph.ty(node.inputs[1]));
    let [(_, along)] = dot.contract[..] else { return None };
    let [column] = dot.free(1, w.rank())[..] else { return None };
    let constant = matches!(graph.node(node.inputs[1]).op, Op::Const(_));
    if along as usize + 1 != w.rank() || constant || w.dtype.bytes() != 4 {
        return None;
    }
    let lanes = i64::from(machine.vector_bytes) / w.dtype.bytes() as i64;
    let short = |d: &Dim| d.as_const().is_some_and(|n| n < lanes);
    let rows = dot.free(0, x.rank()).iter().fold(Dim::constant(1), |n, &a| n * &x.shape[a]);
    let few = (rows * &w.elements()).as_const().is_some_and(|n| n < MIN_PRODUCTS);
    (!short(&w.shape[column]) && !few).then_some(column)
}

fn transposed(r: &mut Rebuild<'_>, v: ValueId, column: usize) -> Result<ValueId, GraphError> {
    let Op::DotGeneral(dot) = r.old.node(v).op.clone() else { return r.copy(v) };
    let operands = r.operands(v);
    let rank = r.ty(operands[1]).rank();
    let perm: Vec<u32> = (0..rank).filter(|&a| a != column).chain([column]).map(|a| a as u32).collect();
    let place = |pairs: &[(u32, u32)]| -> Vec<(u32, u32)> {
        let moved = |b: u32| perm.iter().position(|&p| p == b).unwrap_or_default() as u32;
        pairs.iter().map(|&(a, b)| (a, moved(b))).collect()
    };
    let dot = DotGeneral { batch: place(&dot.batch), contract: place(&dot.contract) };
    let w = r.add(Permute { perm: perm.clone() }, &[operands[1]])?;
    r.add(dot, &[operands[0], w])
}

#[cfg(test)]
mod tests {
    use super::*;
    use fornax_ir::graph::text::parse;

    const WIDE: Machine = Machine { vector_bytes: 64, registers: 32, near_bytes: 1 << 20 };

    fn turned(x: &str, w: &str, batch: &str, contract: &str, y: &str) -> String {
        let text = format!(
            "graph \"g\" {{\n  %0: f32{x} = input \"x\"\n  %1: f32{w} = input \"w\"\n  \
             %2: f32{y} = dot %0, %1 batch {batch} contract {contract}\n  output \"y\" %2\n}}\n"
        );
        let graph = parse(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
        let graph = columns(graph, WIDE, &|_, _| false).unwrap();
        fornax_ir::graph::verify::verify(&graph).unwrap();
        graph.to_string()
    }

    #[test]
    fn right_operands_are_turned_where_columns_are_rows_apart() {
        let keys = turned("[2, 3, m, 64]", "[2, 3, n, 64]", "[0:0, 1:1]", "[3:3]", "[2, 3, m, n]");
        assert!(keys.contains("f32[2, 3, 64, n] = permute %1 perm [0, 1, 3, 2]"), "{keys}");
        assert!(keys.contains("dot %0, %2 batch [0:0, 1:1] contract [3:2]"), "{keys}");
        // Heads between rows and elements, as a model splits them.
        let heads = turned("[3, m, 64]", "[n, 3, 64]", "[0:1]", "[2:2]", "[3, m, n]");
        assert!(heads.contains("f32[3, 64, n] = permute %1 perm [1, 2, 0]"), "{heads}");
        assert!(heads.contains("batch [0:0] contract [2:1]"), "{heads}");
        for (x, w, contract, y) in [
            ("[40, 64]", "[64, 40]", "[1:0]", "[40, 40]"),
            ("[40, 64]", "[8, 64]", "[1:1]", "[40, 8]"),
            ("[1, 8]", "[64, 8]", "[1:1]", "[1, 64]"),
        ] {
            let text = turned(x, w, "[]", contract, y);
            assert!(!text.contains("permute"), "{text}");
        }
    }
}
