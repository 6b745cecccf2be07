//! Looking at models: what a file holds, whether it is sound, and each stage of its compilation.

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::path::Path;
use std::str::FromStr;

use fornax_compiler::Lowered;
use fornax_compiler::codegen::{self, Target};
use fornax_ir::graph::ops::OpClass;
use fornax_ir::graph::verify::verify as verify_graph;
use fornax_ir::graph::{Graph, Op, ValueId};
use fornax_ir::{Dim, Ranges};
use fornax_onnx::{InputInfo, Inspection};

use crate::error::Error;
use crate::executable::{compile_error, lowered};
use crate::graph_file::Format;
use crate::loading::{self, Loaded, import_error};
use crate::model::{TensorInfo, fix_dims};
use crate::options::Options;

/// A stage of compilation that can be printed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Stage {
    /// The graph as imported.
    Graph,
    /// What the e-graph found, and what of it is used.
    Rewrite,
    /// Which tensors are materialised, by which kernels.
    Plan,
    /// Kernels as loop nests, and their calls.
    Kernels,
    /// The kernels' innermost programs.
    Leaves,
    /// Functions in Cranelift's IR.
    Clif,
    /// Functions in the machine's assembly.
    Asm,
}

impl Stage {
    /// All stages, in order.
    pub const ALL: [Stage; 7] =
        [Stage::Graph, Stage::Rewrite, Stage::Plan, Stage::Kernels, Stage::Leaves, Stage::Clif, Stage::Asm];

    /// The name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Stage::Graph => "graph",
            Stage::Rewrite => "rewrite",
            Stage::Plan => "plan",
            Stage::Kernels => "kernels",
            Stage::Leaves => "leaves",
            Stage::Clif => "clif",
            Stage::Asm => "asm",
        }
    }
}

impl FromStr for Stage {
    type Err = String;
    /// The stage of that name; the error lists the known ones.
    fn from_str(s: &str) -> Result<Self, String> {
        let known = || Stage::ALL.map(Stage::name).join(", ");
        Stage::ALL
            .into_iter()
            .find(|stage| stage.name() == s)
            .ok_or_else(|| format!("unknown stage `{s}`; known are {}", known()))
    }
}

/// The text of a model at a stage of compilation.
///
/// # Errors
/// As [`crate::Model::load_with`].
pub fn dump(path: impl AsRef<Path>, stage: Stage, options: &Options) -> Result<String, Error> {
    dump_graph(graph_of(path, options)?, stage, options)
}

/// The graph of a model's file, with the dims that the options fix.
///
/// # Errors
/// As [`crate::Model::load_with`].
pub fn graph_of(path: impl AsRef<Path>, options: &Options) -> Result<Graph, Error> {
    let mut graph = loading::load(path.as_ref())?.graph;
    fix_dims(&mut graph, options)?;
    Ok(graph)
}

/// The text of a graph at a stage of compilation.
///
/// # Errors
/// As [`crate::Model::from_graph`].
pub fn dump_graph(graph: Graph, stage: Stage, options: &Options) -> Result<String, Error> {
    if stage == Stage::Graph {
        return Ok(graph.to_string());
    }
    text_of(&lowered(graph, options)?, stage, options)
}

/// The text of a program at a stage from the plan on.
pub(crate) fn text_of(lowered: &Lowered, stage: Stage, options: &Options) -> Result<String, Error> {
    match stage {
        Stage::Graph => return Ok(lowered.graph.to_string()),
        Stage::Rewrite => return Ok(lowered.report.to_string()),
        Stage::Plan => return Ok(format!("{}\n{}", lowered.graph, lowered.plan.listing(&lowered.graph))),
        Stage::Kernels => {
            let mut text = lowered.program.to_string();
            for (i, kernel) in lowered.program.kernels.iter().enumerate() {
                // Writing to a string cannot fail.
                let _ = write!(text, "\n; k{i}\n{kernel}");
            }
            return Ok(text);
        }
        _ => {}
    }
    let target = Target::host(options.cpu).map_err(compile_error)?;
    let keep = codegen::Options {
        dump_leaves: stage == Stage::Leaves,
        dump_clif: stage == Stage::Clif,
        dump_asm: stage == Stage::Asm,
        ..Default::default()
    };
    let code =
        codegen::compile(&lowered.program, &target, options.leaf.name(), &keep).map_err(compile_error)?;
    Ok(match stage {
        Stage::Leaves => code.dumps.leaves,
        Stage::Clif => code.dumps.clif,
        _ => code.dumps.asm,
    })
}

/// What a model's file holds. Its text form is a listing for people.
#[derive(Debug)]
pub struct ModelInfo {
    listing: Listing,
    inputs: Vec<TensorInfo>,
    work: Result<Work, Error>,
}

/// What a kind of file says beside the model's inputs and outputs.
#[derive(Debug)]
enum Listing {
    Onnx(Inspection),
    Graph(GraphListing),
}

/// What a graph of ours consists of, its regions included.
#[derive(Debug)]
struct GraphListing {
    name: String,
    format: Format,
    constants: usize,
    bytes: u64,
    regions: usize,
    nodes: usize,
    guards: usize,
    /// Operators by name, with how often they are used.
    operators: BTreeMap<&'static str, usize>,
}

/// What a run computes.
#[derive(Debug)]
struct Work {
    outputs: Vec<TensorInfo>,
    operators: usize,
    /// Multiply-adds of all contractions, and other element operations, as expressions over the symbols.
    multiply_adds: Dim,
    others: Dim,
    symbols: Vec<(String, i64)>,
}

/// Lists what a model's file holds, and what its graph computes if it can be imported. Nothing is compiled.
///
/// # Errors
/// [`Error::Import`] or [`Error::GraphFile`] when the file cannot be read or is no model.
pub fn inspect(path: impl AsRef<Path>) -> Result<ModelInfo, Error> {
    let path = path.as_ref();
    let format = Format::of_file(path);
    if format != Format::Onnx {
        let Loaded { graph, operators, .. } = loading::load(path)?;
        let info = |name: &str, v| tensor_info(&graph, name, v);
        return Ok(ModelInfo {
            inputs: graph.inputs.iter().map(|i| info(&i.name, i.value)).collect(),
            listing: Listing::Graph(GraphListing::of(&graph, format)),
            work: Ok(Work::of(&graph, operators)),
        });
    }
    let inspection = fornax_onnx::inspect(path).map_err(|e| import_error(e, path))?;
    let info = |i: &InputInfo| TensorInfo::new(&i.name, i.dtype, &i.dims, &Ranges::new());
    let inputs = inspection.inputs.iter().map(info).collect();
    let work = loading::load(path).map(|l| Work::of(&l.graph, l.operators));
    Ok(ModelInfo { listing: Listing::Onnx(inspection), inputs, work })
}

fn tensor_info(graph: &Graph, name: &str, v: ValueId) -> TensorInfo {
    let ty = graph.ty(v);
    TensorInfo::new(name, ty.dtype, &ty.shape, &graph.ranges)
}

impl GraphListing {
    fn of(graph: &Graph, format: Format) -> Self {
        let mut out = GraphListing {
            name: graph.name.clone(),
            format,
            constants: 0,
            bytes: 0,
            regions: 0,
            nodes: 0,
            guards: 0,
            operators: BTreeMap::new(),
        };
        let mut open = vec![graph];
        while let Some(g) = open.pop() {
            out.constants += g.consts.len();
            out.bytes += g.consts.iter().map(|c| c.literal.bytes().len() as u64).sum::<u64>();
            out.regions += g.regions.len();
            out.nodes += g.nodes.len();
            out.guards += g.guards.len();
            g.nodes.iter().for_each(|n| *out.operators.entry(n.op.name()).or_default() += 1);
            open.extend(&g.regions);
        }
        out
    }
}

impl ModelInfo {
    /// The inputs that a run takes.
    pub fn inputs(&self) -> &[TensorInfo] {
        &self.inputs
    }

    /// Whether the model can be imported.
    ///
    /// # Errors
    /// Why not.
    pub fn supported(&self) -> Result<(), &Error> {
        self.work.as_ref().map(|_| ())
    }
}

impl Work {
    fn of(graph: &Graph, operators: usize) -> Self {
        let live = graph.live();
        let (mut multiply_adds, mut others) = (Dim::constant(0), Dim::constant(0));
        for v in graph.values().filter(|v| live[v.index()]) {
            let node = graph.node(v);
            match (&node.op, node.op.class()) {
                (Op::DotGeneral(dot), _) => {
                    let left = graph.ty(node.inputs[0]);
                    let terms = dot
                        .contract
                        .iter()
                        .fold(Dim::constant(1), |n, &(axis, _)| n * &left.shape[axis as usize]);
                    multiply_adds = multiply_adds + node.ty.elements() * terms;
                }
                // Each output element sums over the kernel's input channels and positions.
                (Op::Conv(_), _) => {
                    let kernel = graph.ty(node.inputs[1]);
                    let terms = kernel.shape[1..].iter().fold(Dim::constant(1), |n, d| n * d);
                    multiply_adds = multiply_adds + node.ty.elements() * terms;
                }
                (_, OpClass::Contraction) => others = others + graph.ty(node.inputs[0]).elements(),
                (_, OpClass::Elementwise) => others = others + node.ty.elements(),
                _ => {}
            }
        }
        let symbol = |s: &String| (s.clone(), graph.ranges.symbol(s).0.max(1));
        Work {
            outputs: graph.outputs.iter().map(|o| tensor_info(graph, &o.name, o.value)).collect(),
            operators,
            multiply_adds,
            others,
            symbols: graph.symbols.iter().map(symbol).collect(),
        }
    }

    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = |d: &Dim| {
            let symbol = |name: &str| self.symbols.iter().find(|(s, _)| s == name).map(|(_, n)| *n);
            d.eval_symbols(&symbol).map_or_else(|_| "too many".to_string(), |n| grouped(n.unsigned_abs()))
        };
        writeln!(f, "outputs")?;
        for output in &self.outputs {
            writeln!(f, "  {output}")?;
        }
        writeln!(f, "supported   yes, {} operators after constant folding, views aside", self.operators)?;
        write!(
            f,
            "operations  {} multiply-adds, {} others",
            value(&self.multiply_adds),
            value(&self.others)
        )?;
        let dims: Vec<String> = self.symbols.iter().map(|(name, n)| format!("{name}={n}")).collect();
        if dims.is_empty() { writeln!(f) } else { writeln!(f, " at {}", dims.join(", ")) }
    }
}

/// `1234567` as `1,234,567`.
fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

impl fmt::Display for ModelInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.listing {
            Listing::Onnx(onnx) => self.write_onnx(f, onnx),
            Listing::Graph(graph) => self.write_graph(f, graph),
        }
    }
}

impl ModelInfo {
    fn write_inputs(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "inputs")?;
        self.inputs.iter().try_for_each(|input| writeln!(f, "  {input}"))
    }

    fn write_graph(&self, f: &mut fmt::Formatter<'_>, g: &GraphListing) -> fmt::Result {
        writeln!(f, "graph       {} (saved as {})", g.name, g.format)?;
        writeln!(f, "weights     {} tensors, {} bytes", g.constants, grouped(g.bytes))?;
        self.write_inputs(f)?;
        if let Ok(work) = &self.work {
            work.fmt(f)?;
        }
        writeln!(f, "conditions  {} on extents, checked when it runs", g.guards)?;
        let regions = if g.regions > 0 { format!(", {} regions", g.regions) } else { String::new() };
        writeln!(f, "operators   {} nodes{regions}", g.nodes)?;
        g.operators.iter().try_for_each(|(name, count)| writeln!(f, "  {count:>6}  {name}"))
    }

    fn write_onnx(&self, f: &mut fmt::Formatter<'_>, i: &Inspection) -> fmt::Result {
        let m = &i.metadata;
        let opsets: Vec<String> =
            m.opsets.iter().map(|(domain, version)| format!("{domain} {version}")).collect();
        writeln!(f, "graph       {} (ONNX IR {}, opset {})", m.name, m.ir_version, opsets.join(", "))?;
        if !m.producer.is_empty() {
            writeln!(f, "producer    {} {}", m.producer, m.producer_version)?;
        }
        writeln!(f, "weights     {} tensors, {} bytes", i.initializers, grouped(i.initializer_bytes))?;
        self.write_inputs(f)?;
        match &self.work {
            Ok(work) => work.fmt(f)?,
            Err(error) => {
                writeln!(f, "outputs\n  {}", i.outputs.join("\n  "))?;
                writeln!(f, "supported   no: {error}")?;
            }
        }
        writeln!(f, "operators   {} nodes", i.nodes)?;
        for used in &i.operators {
            let opset = used.opset.map_or("no opset".to_string(), |v| format!("opset {v}"));
            let state = match (used.supported, used.why.as_str()) {
                (true, _) => String::new(),
                (false, "") => "  not supported".to_string(),
                (false, why) => format!("  not supported: {why}"),
            };
            writeln!(f, "  {:>6}  {} ({opset}){state}", used.count, used.operator)?;
        }
        i.warnings.iter().try_for_each(|w| writeln!(f, "warning: {w}"))
    }
}

/// A file that was imported and verified.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verified {
    /// Operators of the model that compute: see `fornax bench --help`.
    pub operators: usize,
    /// Values of its graph.
    pub values: usize,
    /// What is unusual about the file, but no error.
    pub warnings: Vec<String>,
}

/// Reads a model and verifies its graph, without compiling or running it.
///
/// # Errors
/// [`Error::Import`] or [`Error::GraphFile`] when the file is at fault, [`Error::Internal`] when import made an
/// invalid graph of it.
pub fn verify(path: impl AsRef<Path>) -> Result<Verified, Error> {
    let loaded = loading::load(path.as_ref())?;
    let invalid = |e| Error::Internal(format!("import made an invalid graph: {e}"));
    verify_graph(&loaded.graph).map_err(invalid)?;
    let values = loaded.graph.nodes.len();
    Ok(Verified { operators: loaded.operators, values, warnings: loaded.warnings })
}

/// Operators of a graph that compute: all but inputs, constants and views.
pub(crate) fn operator_count(graph: &Graph) -> usize {
    let live = graph.live();
    let computes = |v: &ValueId| {
        let class = graph.node(*v).op.class();
        live[v.index()] && !matches!(class, OpClass::Leaf | OpClass::View)
    };
    graph.values().filter(computes).count()
}

#[cfg(test)]
mod tests {
    #[test]
    fn numbers_are_grouped_by_thousands() {
        assert_eq!([0, 999, 1000, 1234567].map(super::grouped), ["0", "999", "1,000", "1,234,567"]);
    }
}
