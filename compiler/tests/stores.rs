//! Kernels that store several tensors: random graphs whose kernels are merged at random agree with the
//! graph interpreter, and what no kernel can store is refused.

mod support;

use fornax_compiler::plan::{Group, Plan, greedy};
use fornax_compiler::schedule::{self, Operand};
use fornax_compiler::{Machine, Options, canonicalize, lower_with};
use fornax_ir::graph::{self, Builder, Graph, Op, ValueId, ops};
use fornax_ir::scalar::{BinaryOp, ReduceOp, UnaryOp};
use support::{dims, f32s, native, noise, on_e_nodes, on_kernels};

/// Numbers below `n` that look random.
struct Choice(u64);

impl Choice {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % n
    }
}

const UNARY: [UnaryOp; 4] = [UnaryOp::Neg, UnaryOp::Tanh, UnaryOp::Abs, UnaryOp::Exp];
const BINARY: [BinaryOp; 4] = [BinaryOp::Add, BinaryOp::Sub, BinaryOp::Mul, BinaryOp::Max];

/// A graph over square matrices, so that every operator fits everywhere. Every second value is an output.
fn random_graph(c: &mut Choice) -> Graph {
    let mut b = Builder::new("random");
    let mut values: Vec<ValueId> = vec![b.input("x", f32s(&["n", "n"])), b.input("y", f32s(&["n", "n"]))];
    let mut rows: Vec<ValueId> = vec![];
    for k in 0..7 {
        let v = values[values.len() - 1 - c.below(values.len().min(3))];
        let w = values[c.below(values.len())];
        let new = match c.below(9) {
            0 => b.unary(UNARY[c.below(4)], v).unwrap(),
            1 | 2 => b.binary(BINARY[c.below(4)], v, w).unwrap(),
            3 => b.permute(v, &[1, 0]).unwrap(),
            4 => b.add(ops::DotGeneral { batch: vec![], contract: vec![(1, 0)] }, &[v, w]).unwrap(),
            5 => {
                let slice =
                    ops::Slice { start: dims(&["n-1", "0"]), size: dims(&["n", "n"]), step: vec![-1, 1] };
                b.add(slice, &[v]).unwrap()
            }
            6 => {
                let kept = b.reduce_keep(ReduceOp::Max, v, &[1]).unwrap();
                b.binary(BinaryOp::Sub, w, kept).unwrap()
            }
            _ => {
                let op = [ReduceOp::Sum, ReduceOp::Max, ReduceOp::Min][c.below(3)];
                let row = b.reduce(op, v, &[c.below(2) as u32]).unwrap();
                rows.push(row);
                b.unary(UnaryOp::Neg, v).unwrap()
            }
        };
        values.push(new);
        if k % 2 == 0 {
            b.output(&format!("v{k}"), new);
        }
    }
    rows.iter().enumerate().for_each(|(k, r)| b.output(&format!("r{k}"), *r));
    b.finish()
}

/// Merges pairs of kernels at random, as far as they are kernels, and counts.
fn merged(graph: &Graph, mut plan: Plan, c: &mut Choice, merges: &mut usize) -> Plan {
    for _ in 0..24 {
        let n = plan.groups.len();
        if let Ok(new) = plan.merge(graph, c.below(n), c.below(n)) {
            plan = new;
            *merges += 1;
        }
    }
    plan
}

#[test]
fn merged_kernels_agree() {
    let (mut merges, mut stored) = (0, 0);
    for seed in 0..60 {
        let mut c = Choice(seed);
        let g = random_graph(&mut c);
        let n = [1, 5, 40][c.below(3)];
        let args = [noise(&[n, n], 1), noise(&[n, n], 2)];
        let want = graph::interp::run(&g, &args).unwrap();
        on_e_nodes(&format!("seed {seed}\n{g}"), &g, &args);
        let unfused = c.below(2) == 0;
        let lowered = lower_with(g.clone(), &Options::default(), |graph, _| {
            let plan = if unfused { Plan::unfused(graph) } else { greedy::plan(graph) };
            Ok(merged(graph, plan, &mut c, &mut merges))
        });
        let lowered = lowered.unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        stored += lowered.plan.groups.iter().map(|g| g.also.len()).sum::<usize>();
        let name = format!("seed {seed}, n {n}\n{g}{}", lowered.plan.listing(&lowered.graph));
        on_kernels(&name, &lowered, &[n as i64], &args, &want);
        native(&name, lowered, &[n as i64], &args, &want);
    }
    assert!(merges > 60 && stored > 40, "only {merges} merges, {stored} tensors stored on the side");
}

fn group(root: ValueId, also: &[ValueId]) -> Group {
    Group { also: also.to_vec(), ..Group::new(root) }
}

#[test]
fn what_no_kernel_can_store_is_refused() {
    let mut b = Builder::new("refused");
    let x = b.input("x", f32s(&["n", "8"]));
    let w = b.input("w", f32s(&["8", "8"]));
    let row = b.reduce(ReduceOp::Sum, x, &[1]).unwrap();
    let column = b.reduce(ReduceOp::Sum, x, &[0]).unwrap();
    let wide = b.unary(UnaryOp::Neg, x).unwrap();
    let dot = b.add(ops::DotGeneral { batch: vec![], contract: vec![(1, 0)] }, &[x, w]).unwrap();
    let other = b.add(ops::DotGeneral { batch: vec![], contract: vec![(1, 1)] }, &[x, w]).unwrap();
    let shaped = b.reshape(wide, dims(&["8*n"])).unwrap();
    for v in [row, column, wide, dot, other, shaped] {
        b.output(&format!("{v}"), v);
    }
    let g = b.finish();
    let why =
        |root, also: &[ValueId]| schedule::lower(&g, &group(root, also), Machine::PORTABLE).unwrap_err().0;
    assert_eq!(why(wide, &[row]), "a stored tensor has other elements than the root");
    assert_eq!(why(wide, &[column]), "a stored tensor has other elements than the root");
    assert_eq!(why(other, &[dot]), "two contractions in one stage");
    assert_eq!(why(dot, &[shaped]), "what a kernel stores is computed by no operator");
    assert_eq!(why(dot, &[wide, wide]), "the stored tensors are not ascending and different");
    assert_eq!(why(dot, &[dot]), "the stored tensors are not ascending and different");
    let copy = Group { copy_to: Some(0), ..group(wide, &[dot]) };
    assert_eq!(schedule::lower(&g, &copy, Machine::PORTABLE).unwrap_err().0, "a copy stores one tensor");
    // A product and a sibling over the same elements are a kernel.
    let l = schedule::lower(&g, &group(dot, &[wide]), Machine::PORTABLE).unwrap();
    let targets: Vec<_> = l.operands.iter().filter(|o| matches!(o, Operand::Target(_))).collect();
    assert_eq!(targets, [&Operand::Target(wide), &Operand::Target(dot)]);
}

/// The rows' sums and maxima that a softmax makes on its way are stored from their stages.
#[test]
fn locals_are_stored() {
    let mut b = Builder::new("softmax");
    let x = b.input("x", f32s(&["n", "33"]));
    let m = b.reduce_keep(ReduceOp::Max, x, &[1]).unwrap();
    let d = b.binary(BinaryOp::Sub, x, m).unwrap();
    let e = b.unary(UnaryOp::Exp, d).unwrap();
    let s = b.reduce_keep(ReduceOp::Sum, e, &[1]).unwrap();
    let y = b.binary(BinaryOp::Div, e, s).unwrap();
    b.output("y", y);
    let g = b.finish();
    let args = [noise(&[4, 33], 6)];
    // The same graph, with the locals of its one kernel as outputs; they take the kernel's memory.
    let mut with_locals = g.clone();
    let canonical = canonicalize::canonicalize(g, &Default::default()).unwrap();
    let plan = greedy::plan(&canonical);
    let [kernel] = &plan.groups[..] else { panic!("{}", plan.listing(&canonical)) };
    assert_eq!(kernel.locals.len(), 3);
    for (k, v) in with_locals.clone().values().enumerate() {
        if matches!(with_locals.node(v).op, Op::Reduce(_)) || with_locals.node(v).op.name() == "exp" {
            let (name, value) = (format!("l{k}"), v);
            with_locals.outputs.push(graph::Output { name, value });
        }
    }
    let want = graph::interp::run(&with_locals, &args).unwrap();
    assert_eq!(want.outputs.len(), 4);
    let lowered = lower_with(with_locals, &Options::default(), |_, _| {
        let groups = vec![Group { also: kernel.locals.clone(), ..kernel.clone() }];
        Ok(Plan { groups, ..Plan::default() })
    });
    let lowered = lowered.unwrap();
    on_kernels("softmax", &lowered, &[4], &args, &want);
    native("softmax", lowered, &[4], &args, &want);
}

#[test]
fn plans_without_an_order_are_refused() {
    let mut b = Builder::new("cycle");
    let x = b.input("x", f32s(&["n", "n"]));
    let first = b.unary(UnaryOp::Neg, x).unwrap();
    let dot = b.add(ops::DotGeneral { batch: vec![], contract: vec![(1, 0)] }, &[first, x]).unwrap();
    let last = b.binary(BinaryOp::Add, dot, first).unwrap();
    for v in [first, dot, last] {
        b.output(&format!("{v}"), v);
    }
    let g = b.finish();
    let plan = Plan::unfused(&g);
    // The product stands between the two.
    assert_eq!(plan.merge(&g, 0, 2), Err("a third kernel needs the one and is needed by the other"));
    let good = plan.merge(&g, 1, 2).unwrap();
    assert_eq!(good.verify(&g), Ok(()));
    let mut twice = plan.clone();
    twice.groups.push(Group::new(last));
    assert_eq!(twice.verify(&g), Err((last, "is stored twice")));
    let mut backwards = plan.clone();
    backwards.groups.reverse();
    assert_eq!(backwards.verify(&g), Err((first, "is loaded before it is stored")));
    backwards.sort(&g).unwrap();
    assert_eq!(backwards, plan);
    let absent = Plan { groups: plan.groups[..2].to_vec(), ..Plan::default() };
    assert_eq!(absent.verify(&g), Err((last, "is an output and never stored")));
}
