//! The same bits for every number of threads: kernels of every kind at sizes that neither threads, pieces
//! nor registers divide, and that are worth several threads.

#[allow(dead_code, reason = "shared by several tests")]
mod support;

use fornax_compiler::codegen::block::work_items;
use fornax_compiler::codegen::entry::SHARE;
use fornax_compiler::{Machine, Options, lower};
use fornax_ir::graph::text::parse;
use fornax_ir::graph::{self, Graph};
use fornax_ir::{Dim, Literal};
use support::{native, noise};

/// Runs a graph of float inputs on several numbers of threads, tiled for several machines.
fn check(name: &str, lines: &[&str], n: i64) {
    let text = format!("graph \"{name}\" {{\n{}\n}}\n", lines.join("\n"));
    let graph: Graph = parse(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
    let value = |name: &str| (name == "n").then_some(n);
    let size = |d: &Dim| d.eval_symbols(&value).unwrap();
    let shape = |i: &graph::Input| -> Vec<usize> {
        graph.ty(i.value).shape.iter().map(|d| size(d) as usize).collect()
    };
    let args: Vec<Literal> = graph.inputs.iter().zip(1..).map(|(i, seed)| noise(&shape(i), seed)).collect();
    let want = graph::interp::run(&graph, &args).unwrap_or_else(|e| panic!("{name}: {e}"));
    let wide = Machine { vector_bytes: 64, registers: 32, ..Machine::PORTABLE };
    for machine in [Machine::PORTABLE, wide] {
        let options = Options { machine, ..Options::default() };
        let lowered = lower(graph.clone(), &options).unwrap();
        for call in &lowered.program.calls {
            let scalars: Vec<i64> = call.scalars.iter().map(size).collect();
            let items = work_items(&lowered.program.kernels[call.kernel], &scalars).unwrap();
            let work = size(&call.work);
            assert!(work >= 3 * SHARE && items > 4, "{name}: {work} ns in {items} items\n{call:?}");
        }
        let dims: Vec<i64> = lowered.program.symbols.iter().map(|_| n).collect();
        native(name, lowered, &dims, &args, &want);
    }
}

#[test]
fn products() {
    let dot = |m: &str, k: u32, n: u32, value: i64| {
        check(
            &format!("{m} {k} {n}"),
            &[
                &format!("%0: f32[{m}, {k}] = input \"x\""),
                &format!("%1: f32[{k}, {n}] = input \"w\""),
                &format!("%2: f32[{n}] = input \"b\""),
                &format!("%3: f32[{m}, {n}] = dot %0, %1 batch [] contract [1:0]"),
                &format!("%4: f32[{m}, {n}] = broadcast %2 shape [{m}, {n}] axes [1]"),
                &format!("%5: f32[{m}, {n}] = add %3, %4"),
                "output \"y\" %5",
            ],
            value,
        );
    };
    dot("1", 301, 1999, 1);
    dot("37", 129, 515, 1);
    dot("1001", 65, 33, 1);
    dot("n", 61, 203, 131);
}

#[test]
fn products_in_batches() {
    check(
        "batches",
        &[
            "%0: f32[5, n, 63] = input \"x\"",
            "%1: f32[5, 63, 77] = input \"y\"",
            "%2: f32[5, n, 77] = dot %0, %1 batch [0:0] contract [2:1]",
            "output \"z\" %2",
        ],
        51,
    );
}

#[test]
fn convolutions() {
    for (groups, weights, padding) in [(1, "[13, 6, 3, 3]", "1:1, 1:1"), (3, "[6, 2, 3, 3]", "2:0, 0:1")] {
        let out = &weights[1..weights.find(',').unwrap()];
        let columns = if groups == 1 { 103 } else { 102 };
        check(
            &format!("{groups} groups"),
            &[
                "%0: f32[3, 6, 97, 103] = input \"x\"",
                &format!("%1: f32{weights} = input \"w\""),
                &format!(
                    "%2: f32[3, {out}, 97, {columns}] = conv %0, %1 strides [1, 1] pads [{padding}] dilations \
                     [1, 1] groups {groups}"
                ),
                "output \"y\" %2",
            ],
            1,
        );
    }
}

#[test]
fn rows_that_are_normalised() {
    let lines = [
        "%0: f32[n, 301] = input \"x\"",
        "%1: f32[n] = reduce %0 by max axes [1]",
        "%2: f32[n, 301] = broadcast %1 shape [n, 301] axes [0]",
        "%3: f32[n, 301] = sub %0, %2",
        "%4: f32[n, 301] = exp %3",
        "%5: f32[n] = reduce %4 by sum axes [1]",
        "%6: f32[n, 301] = broadcast %5 shape [n, 301] axes [0]",
        "%7: f32[n, 301] = div %4, %6",
        "output \"y\" %7",
    ];
    check("softmax", &lines, 203);
}

#[test]
fn sums_and_elements() {
    for (n, axis, left) in [(4003, 1, "n"), (2017, 0, "211")] {
        let reduce = format!("%1: f32[{left}] = reduce %0 by sum axes [{axis}]");
        check("sums", &["%0: f32[n, 211] = input \"x\"", &reduce, "output \"y\" %1"], n);
    }
    let gelu = ["%0: f32[n, 7, 31] = input \"x\"", "%1: f32[n, 7, 31] = tanh %0", "output \"y\" %1"];
    check("elements", &gelu, 311);
    let turned = [
        "%0: f32[n, 7, 131] = input \"x\"",
        "%1: f32[131, 7, n] = permute %0 perm [2, 1, 0]",
        "output \"y\" %1",
    ];
    check("permutation", &turned, 319);
}
