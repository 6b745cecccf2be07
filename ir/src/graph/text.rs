//! The text form of graphs: what [`print()`] writes, [`parse`] reads back as the same graph.
//!
//! ```text
//! graph "mlp" {
//!   symbol n in 1..64                         ; inclusive range; `1..` is unbounded
//!   c0: f32[3, 4] "w" = @9ae16a3b2f90404f     ; bytes in the data section, or elsewhere
//!   c1: f32[4] "b" = [0.5, 1.0, -2.0, 0.0]
//!   c2: f32[] "" = splat 3.0
//!   %0: f32[n, 3] = input "x"
//!   %1: f32[3, 4] = const c0
//!   %2: f32[n, 4] = dot %0, %1 batch [] contract [1:0] loc("net.rs:7")
//!   output "y" %2
//!   guard n <= 64 "reshape: it must fit" loc("net.rs:9")
//! }
//! data c0 00000000000080bf...
//! ```
//! A region stands before the nodes that use it, as `region r0 "name" { .. }` with the same lines
//! inside, but that each of its symbols is listed without a range (which is that of the graph around
//! it). The data section names a region's constants by the way to them: `data r0 r2 c1 ..`.
//!
//! A semicolon starts a comment. Attributes are in the order of their declaration; extents are in the
//! text form of [`Dim`]. Floats are in shortest decimal form, or bits (`0x7fc00000`) where not finite.
//! The hash behind `@` is FNV-1a (64 bits) of the bytes, little-endian; the data are those bytes.

mod parse;
mod scan;

pub use parse::parse;

use super::{Graph, Guard, GuardKind, LocId, Node, Op};
use crate::dim::Dim;
use crate::dtype::DType;
use crate::literal::Literal;
use std::fmt::{self, Write};
use thiserror::Error;

/// Constants of more elements are printed as a hash, unless all are equal.
const MAX_INLINE: usize = 16;

/// Why a text is no graph.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[error("line {line}, column {column}: {what}")]
pub struct TextError {
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// What was found or expected.
    pub what: String,
}

/// The text of a graph. With `with_data` large constants are included and the text is complete;
/// without, they stand as hashes.
pub fn print(graph: &Graph, with_data: bool) -> String {
    let mut out = String::new();
    write_graph(&mut out, graph, with_data).expect("writing to a string cannot fail");
    out
}

/// The text without the data of large constants.
impl fmt::Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&print(self, false))
    }
}

fn write_graph(out: &mut String, g: &Graph, with_data: bool) -> fmt::Result {
    writeln!(out, "graph {} {{", quoted(&g.name))?;
    for s in &g.symbols {
        let (lo, hi) = g.ranges.symbol(s);
        if (lo, hi) != (0, None) {
            let hi = hi.map_or(String::new(), |h| h.to_string());
            writeln!(out, "  symbol {} in {lo}..{hi}", Dim::symbol(s))?;
        }
    }
    let mut large = Large { path: vec![], found: vec![] };
    write_body(out, g, "  ", &mut large)?;
    out.push_str("}\n");
    for (name, literal) in large.found.into_iter().filter(|_| with_data) {
        write!(out, "data {name} ")?;
        for b in literal.little_endian() {
            write!(out, "{b:02x}")?;
        }
        out.push('\n');
    }
    Ok(())
}

/// Constants that are printed as hashes, by the names of the data section.
struct Large<'g> {
    /// The regions around, from the outside.
    path: Vec<usize>,
    found: Vec<(String, &'g Literal)>,
}

/// What stands between the braces, behind the symbols.
fn write_body<'g>(out: &mut String, g: &'g Graph, indent: &str, large: &mut Large<'g>) -> fmt::Result {
    for (k, c) in g.consts.iter().enumerate() {
        let value = inline(&c.literal).unwrap_or_else(|| {
            let path: String = large.path.iter().map(|r| format!("r{r} ")).collect();
            large.found.push((format!("{path}c{k}"), &c.literal));
            format!("@{:016x}", hash(&c.literal))
        });
        let shape = list(c.literal.shape());
        writeln!(out, "{indent}c{k}: {}{shape} {} = {value}", c.literal.dtype(), quoted(&c.name))?;
    }
    for (k, r) in g.regions.iter().enumerate() {
        writeln!(out, "{indent}region r{k} {} {{", quoted(&r.name))?;
        let inner = format!("{indent}  ");
        for s in &r.symbols {
            writeln!(out, "{inner}symbol {}", Dim::symbol(s))?;
        }
        large.path.push(k);
        write_body(out, r, &inner, large)?;
        large.path.pop();
        writeln!(out, "{indent}}}")?;
    }
    for (k, n) in g.nodes.iter().enumerate() {
        write!(out, "{indent}%{k}: {} = ", n.ty)?;
        write_node(out, g, n)?;
        write_loc(out, g, n.loc)?;
        out.push('\n');
    }
    for o in &g.outputs {
        writeln!(out, "{indent}output {} {}", quoted(&o.name), o.value)?;
    }
    for guard in &g.guards {
        out.push_str(indent);
        write_guard(out, g, guard)?;
    }
    Ok(())
}

fn write_guard(out: &mut String, g: &Graph, guard: &Guard) -> fmt::Result {
    let relation = match guard.kind {
        GuardKind::Eq => "==",
        GuardKind::Le => "<=",
    };
    write!(out, "guard {} {relation} {} {}", guard.lhs, guard.rhs, quoted(&guard.what))?;
    write_loc(out, g, guard.loc)?;
    out.push('\n');
    Ok(())
}

fn write_loc(out: &mut String, g: &Graph, loc: LocId) -> fmt::Result {
    match g.loc_text(loc) {
        "" => Ok(()),
        text => write!(out, " loc({})", quoted(text)),
    }
}

fn list<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<String> = items.into_iter().map(|i| i.to_string()).collect();
    format!("[{}]", items.join(", "))
}

fn pairs<T: fmt::Display>(items: &[(T, T)]) -> String {
    list(items.iter().map(|(a, b)| format!("{a}:{b}")))
}

/// The operator with its operands and attributes.
fn write_node(out: &mut String, g: &Graph, n: &Node) -> fmt::Result {
    let name = n.op.name();
    let operands = n.inputs.iter().map(|v| v.to_string()).collect::<Vec<_>>().join(", ");
    match &n.op {
        Op::Input(i) => {
            let name = g.inputs.get(i.0 as usize).map_or("", |i| &i.name);
            write!(out, "input {}", quoted(name))
        }
        Op::Const(c) => write!(out, "const {c}"),
        Op::Iota(a) => write!(out, "{name} shape {} axis {}", list(&a.shape), a.axis),
        Op::Dims(a) => write!(out, "{name} {}", list(&a.dims)),
        Op::Reshape(a) => write!(out, "{name} {operands} shape {}", list(&a.shape)),
        Op::Permute(a) => write!(out, "{name} {operands} perm {}", list(&a.perm)),
        Op::Broadcast(a) => write!(out, "{name} {operands} shape {} axes {}", list(&a.shape), list(&a.axes)),
        Op::Slice(a) => {
            let (start, size, step) = (list(&a.start), list(&a.size), list(&a.step));
            write!(out, "{name} {operands} start {start} size {size} step {step}")
        }
        Op::Pad(a) => write!(out, "{name} {operands} lo {} hi {}", list(&a.lo), list(&a.hi)),
        Op::Pack(a) => write!(out, "{name} {operands} perm {} width {}", list(&a.perm), a.width),
        Op::Concat(a) => write!(out, "{name} {operands} axis {}", a.axis),
        Op::Unary(_) | Op::Binary(_) | Op::Compare(_) | Op::Select(_) | Op::Cast(_) | Op::Bitcast(_) => {
            write!(out, "{name} {operands}")
        }
        Op::Reduce(a) => write!(out, "{name} {operands} by {} axes {}", a.op, list(&a.axes)),
        Op::DotGeneral(a) => {
            write!(out, "{name} {operands} batch {} contract {}", pairs(&a.batch), pairs(&a.contract))
        }
        Op::Conv(a) => {
            let (strides, pads, dilations) = (list(&a.strides), pairs(&a.pads), list(&a.dilations));
            write!(
                out,
                "{name} {operands} strides {strides} pads {pads} dilations {dilations} groups {}",
                a.groups
            )
        }
        Op::ReduceWindow(a) => {
            let (strides, pads, dilations) = (list(&a.strides), pairs(&a.pads), list(&a.dilations));
            let window = list(&a.window);
            write!(
                out,
                "{name} {operands} by {} window {window} strides {strides} pads {pads} dilations {dilations}",
                a.op
            )
        }
        Op::WinogradInput(a) => {
            write!(out, "{name} {operands} tile {} lo {} tiles {}", a.tile, list(&a.lo), list(&a.tiles))
        }
        Op::WinogradWeights(a) => write!(out, "{name} {operands} tile {} width {}", a.tile, a.width),
        Op::WinogradOutput(a) => write!(out, "{name} {operands} tile {} size {}", a.tile, list(&a.size)),
        Op::Gather(a) => write!(out, "{name} {operands} axes {}", list(&a.axes)),
        Op::Cumulative(a) => {
            let exclusive = if a.exclusive { " exclusive" } else { "" };
            let reverse = if a.reverse { " reverse" } else { "" };
            write!(out, "{name} {operands} by {} axis {}{exclusive}{reverse}", a.op, a.axis)
        }
        Op::Scatter(a) => {
            let each = if a.each { " each" } else { "" };
            write!(out, "{name} {operands} by {} axes {}{each}", a.update, list(&a.axes))
        }
        Op::Sort(a) => {
            let descending = if a.descending { " descending" } else { "" };
            write!(out, "{name} {operands} of {} axis {} count [{}]{descending}", a.of, a.axis, a.count)
        }
        Op::Cond(a) => write!(out, "{name} {operands} then {} otherwise {}", a.then, a.otherwise),
        Op::While(a) => {
            write!(out, "{name} {operands} cond {} body {} carried {}", a.cond, a.body, a.carried)
        }
        Op::Scan(a) => {
            let reverse = if a.reverse { " reverse" } else { "" };
            let (length, carried, xs) = (&a.length, a.carried, a.xs);
            write!(
                out,
                "{name} {operands} body {} carried {carried} xs {xs} length [{length}]{reverse}",
                a.body
            )
        }
        Op::Proj(a) => write!(out, "{name} {operands} result {}", a.0),
    }
}

/// Text in double quotes.
fn quoted(s: &str) -> String {
    let mut out = String::from('"');
    for c in s.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            c if c.is_control() => out.push_str(&format!("\\u{{{:x}}}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// The elements, if they are few or all equal.
fn inline(l: &Literal) -> Option<String> {
    let n = l.dtype().bytes();
    let bytes = l.bytes();
    if l.len() > 1 && bytes[n..] == bytes[..bytes.len() - n] || l.shape().is_empty() {
        return Some(format!("splat {}", element(l, 0)));
    }
    (l.len() <= MAX_INLINE).then(|| list((0..l.len()).map(|i| element(l, i))))
}

fn element(l: &Literal, i: usize) -> String {
    let v = l.get_f64(i);
    match l.dtype() {
        DType::Bool => (v != 0.0).to_string(),
        DType::U64 => (l.get_i64(i) as u64).to_string(),
        d if !d.is_float() => l.get_i64(i).to_string(),
        DType::F32 if v.is_finite() => format!("{:?}", v as f32),
        _ if v.is_finite() => format!("{v:?}"),
        d => {
            let mut bytes = l.bytes()[i * d.bytes()..][..d.bytes()].to_vec();
            if cfg!(target_endian = "little") {
                bytes.reverse();
            }
            bytes.iter().fold(String::from("0x"), |s, b| s + &format!("{b:02x}"))
        }
    }
}

/// FNV-1a with the 64-bit offset basis and prime (public domain, Fowler, Noll and Vo).
fn hash(l: &Literal) -> u64 {
    l.little_endian()
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |h, &b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3))
}

#[cfg(test)]
pub(super) mod tests;
