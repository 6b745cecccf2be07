//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use fornax::graph_file::Weights;
use fornax::{Backend, Cpu, Float, Leaf, Optimizer, Stage, Tolerance};

/// A deep-learning compiler: reads a trained model, compiles it to native code, and runs it.
#[derive(Parser, Debug)]
#[command(name = "fornax", version, max_term_width = 100)]
#[command(after_help = "Exit codes: 0 fine, 1 a comparison failed, 2 bad input, 3 internal error.\n\
    FORNAX_LOG filters what is logged to stderr, such as FORNAX_LOG=debug.\n\n\
    Example: fornax run model.onnx --inputs in.npz --expect out.npz")]
pub struct CommandLine {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand, Debug)]
pub enum Command {
    /// Run a model, and compare its results with references
    Run(RunArgs),
    /// Measure how long compiling and running a model takes
    Bench(BenchArgs),
    /// Print a model at a stage of compilation
    Dump(DumpArgs),
    /// Show a model's inputs, outputs and operators without compiling it
    #[command(after_help = "Example: fornax info model.onnx")]
    Info(FileArgs),
    /// Check a model's file without compiling it
    #[command(after_help = "Example: fornax verify model.onnx")]
    Verify(FileArgs),
    /// Try to refute the rewriter's rules, and each of their guards, by random graphs
    Certify(CertifyArgs),
}

#[derive(Args, Debug)]
#[command(
    after_help = "Every rule is applied to random graphs, and both sides are compared: types with symbolic extents,\n\
    polynomials modulo a prime, rounding, and NaN, infinities and zeros. Every guard is left out once, and\n\
    something must go wrong then.\n\n\
    Example: fornax certify scale-scale --graphs 200"
)]
pub struct CertifyArgs {
    /// Names of rules [default: all]
    #[arg(value_name = "RULE")]
    pub rules: Vec<String>,
    /// Random graphs for each rule and for each guard
    #[arg(long, default_value_t = 1000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub graphs: u32,
    /// Where the random choices begin
    #[arg(long, default_value_t = 1, value_name = "SEED")]
    pub seed: u64,
}

#[derive(Args, Debug)]
#[command(after_help = "Floats are compared by one of\n  \
    --tol T             max|a-b| <= T max|b| over a whole output\n  \
    --rtol R --atol A   |a-b| <= A + R|b| for each element\n\
    NaN matches NaN, an infinity its own sign. Integers, bools, dtypes and shapes must be equal.\n\n\
    Example: fornax run model.onnx --inputs in.npz --expect out.npz --tol 1e-4 --threads 2")]
pub struct RunArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// What executes the model: `jit` (native code) or `interp` (the slow, exact reference)
    #[arg(long, default_value = "jit", value_name = "BACKEND")]
    pub backend: Backend,
    /// References to compare the outputs with: an .npz or .safetensors keyed by output names, or a folder
    /// of output_K.pb
    #[arg(long, value_name = "OUT")]
    pub expect: Option<PathBuf>,
    /// Tolerance relative to the largest value of an output [default: 1e-4]
    #[arg(long, value_name = "T", value_parser = tolerance, allow_hyphen_values = true, requires = "expect")]
    pub tol: Option<f64>,
    /// Tolerance relative to each element [default: 0 if --atol is given]
    #[arg(long, value_name = "R", value_parser = tolerance, allow_hyphen_values = true, conflicts_with = "tol", requires = "expect")]
    pub rtol: Option<f64>,
    /// Absolute tolerance for each element [default: 0 if --rtol is given]
    #[arg(long, value_name = "A", value_parser = tolerance, allow_hyphen_values = true, conflicts_with = "tol", requires = "expect")]
    pub atol: Option<f64>,
    /// Where to write the outputs: as safetensors if the name ends so, else as an .npz
    #[arg(long, value_name = "OUT")]
    pub outputs: Option<PathBuf>,
    /// Print how long each kernel takes
    #[arg(long)]
    pub profile: bool,
}

impl RunArgs {
    /// How far outputs may be from their references.
    pub fn tolerance(&self) -> Tolerance {
        match (self.tol, self.rtol, self.atol) {
            (Some(t), ..) => Tolerance::Relative(t),
            (None, None, None) => Tolerance::default(),
            (None, rtol, atol) => {
                Tolerance::PerElement { rtol: rtol.unwrap_or(0.0), atol: atol.unwrap_or(0.0) }
            }
        }
    }
}

#[derive(Args, Debug)]
#[command(after_help = "Keys of --json (times in milliseconds, sizes in bytes):\n  \
    model             file name of the model\n  \
    backend           what executes it: jit\n  \
    isa               instruction set and leaf emitter of the code\n  \
    threads           threads of parallel loops, the caller's included\n  \
    runs              measured runs, after warm-up\n  \
    median_ms p10_ms p90_ms\n                    \
    latency of a run: median, 10th and 90th percentile\n  \
    import_ms         from the file to a graph\n  \
    optimize_ms       from the graph to scheduled kernels\n  \
    codegen_ms        from kernels to native code\n  \
    first_result_ms   from opening the file to the end of the first run\n  \
    operators         nodes of the file left after constant folding, less Identity, Reshape,\n                    \
    Transpose, Slice, Squeeze, Unsqueeze, Expand and Flatten\n  \
    optimizer         who planned the kernels: egraph, greedy or none\n  \
    e_nodes           nodes of the e-graph, without those of branches and loops; 0 for other optimizers\n  \
    kernels           passes over memory, copies included, as `dump --stage kernels` lists them\n  \
    bytes_moved       bytes that all kernels of a run read and write\n  \
    arena_bytes       working memory of a run\n  \
    weights_bytes     weights resident in the compiled program\n  \
    bare_rss_bytes    the same before the model was opened, with the inputs of a file read\n  \
    peak_rss_bytes    most physical memory the command had at once (VmHWM); 0 where unknown\n  \
    version           version of fornax\n\n\
    --serve prints one JSON object with these keys, less those of measured runs, when the first run is done. Then it\n\
    answers each line `run N` of stdin with one line: the milliseconds of N runs in a row, as a JSON array. It ends\n\
    with stdin. So several programs that do so can be measured in turns.\n\n\
    Example: fornax bench model.onnx --dim batch=8 --threads 2 --json")]
pub struct BenchArgs {
    #[command(flatten)]
    pub model: ModelArgs,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    /// Measure what stdin asks for: answer each line `run N` with the latencies of N runs
    #[arg(long, conflicts_with = "json")]
    pub serve: bool,
}

#[derive(Args, Debug)]
#[command(
    after_help = "Stages: graph (as imported), rewrite (what the e-graph found and what is used), plan (which\n\
    tensors and kernels), kernels (loop nests), leaves (innermost programs), clif (Cranelift IR), asm (machine code).\n\n\
    Example: fornax dump model.onnx --stage kernels\n\
    Example: fornax dump model.onnx --stage graph -o model.fnxb"
)]
pub struct DumpArgs {
    /// The model: an .onnx, .fnxb or .fnx file
    pub model: PathBuf,
    /// Which stage to print: graph, rewrite, plan, kernels, leaves, clif or asm
    #[arg(long)]
    pub stage: Stage,
    /// Where to write it instead; a graph is saved complete as .fnxb (binary) or .fnx (text)
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Where a graph written as .fnxb has its weights: `inside`, or `beside` in a .safetensors file
    #[arg(long, value_name = "WHERE", default_value = "inside", value_parser = weights, requires = "output")]
    pub weights: Weights,
    #[command(flatten)]
    pub target: TargetArgs,
}

#[derive(Args, Debug)]
pub struct FileArgs {
    /// The model: an .onnx, .fnxb or .fnx file
    pub file: PathBuf,
}

/// What is compiled, for which machine, and on which inputs it runs.
#[derive(Args, Debug)]
pub struct ModelArgs {
    /// The model: an .onnx, .fnxb or .fnx file
    pub model: PathBuf,
    /// Inputs: an .npz or .safetensors keyed by input names, or a folder of input_K.pb; drawn at random if
    /// missing
    #[arg(long, value_name = "IN")]
    pub inputs: Option<PathBuf>,
    /// Range of integers drawn for missing inputs
    #[arg(long, value_name = "LO..=HI", default_value = "0..=1", value_parser = int_range, allow_hyphen_values = true)]
    pub int_range: (i64, i64),
    /// Seed of drawn inputs
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    #[command(flatten)]
    pub target: TargetArgs,
    /// Threads of parallel loops [default: the machine's cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub threads: Option<u32>,
    /// Most bytes of weights and working memory
    #[arg(long, value_name = "BYTES")]
    pub memory_limit: Option<usize>,
}

/// How a model is compiled.
#[derive(Args, Debug)]
pub struct TargetArgs {
    /// Fixes a symbolic dim of the inputs; may be repeated
    #[arg(long = "dim", value_name = "NAME=N", value_parser = dim)]
    pub dims: Vec<(String, i64)>,
    /// Which CPU the code is for: baseline, x86-64-v3, x86-64-v4 or native
    #[arg(long, value_name = "CPU", default_value = "native")]
    pub cpu: Cpu,
    /// Who encodes innermost loops: clif, x64, or auto (x64 where the CPU has AVX2)
    #[arg(long, value_name = "LEAF", default_value = "auto")]
    pub leaf: Leaf,
    /// Who plans kernels: egraph, greedy, or none (each operator its own)
    #[arg(long, value_name = "OPTIMIZER", default_value = "egraph")]
    pub optimizer: Optimizer,
    /// Floating-point arithmetic: strict (every bit as the model says), reassoc (sums may be regrouped), or fast
    #[arg(long, value_name = "FLOAT", default_value = "reassoc")]
    pub float: Float,
}

/// `NAME=N`; a name may itself contain `=`.
fn dim(text: &str) -> Result<(String, i64), String> {
    let (name, value) = text.rsplit_once('=').ok_or("write NAME=N, such as batch=4")?;
    let n: i64 =
        value.parse().map_err(|_| format!("`{value}` is no integer; write NAME=N, such as batch=4"))?;
    if n < 0 {
        return Err(format!("the dim `{name}` cannot be {n}; it must be 0 or more"));
    }
    if name.is_empty() {
        Err("a dim has a name: write NAME=N, such as batch=4".into())
    } else {
        Ok((name.into(), n))
    }
}

/// `inside` or `beside`.
fn weights(text: &str) -> Result<Weights, String> {
    match text {
        "inside" => Ok(Weights::Embed),
        "beside" => Ok(Weights::Safetensors),
        _ => Err(format!("`{text}` is no place for weights; there are inside, beside")),
    }
}

/// A finite number, 0 or more.
fn tolerance(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| format!("`{text}` is no number"))?;
    if value.is_finite() && value >= 0.0 {
        Ok(value)
    } else {
        Err("a tolerance is finite and 0 or more".into())
    }
}

/// `LO..=HI`, both inclusive.
fn int_range(text: &str) -> Result<(i64, i64), String> {
    let (lo, hi) = text.split_once("..=").ok_or("write LO..=HI, such as 0..=99")?;
    let number = |s: &str| s.trim().parse::<i64>().map_err(|_| format!("`{s}` is no integer"));
    let (lo, hi) = (number(lo)?, number(hi)?);
    if lo <= hi { Ok((lo, hi)) } else { Err(format!("the range {lo}..={hi} is empty")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn every_command_has_an_example() {
        for command in CommandLine::command().get_subcommands() {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains(&format!("Example: fornax {} ", command.get_name())), "{help}");
        }
    }

    #[test]
    fn dims_tolerances_and_ranges_are_parsed() {
        assert_eq!(dim("batch=4"), Ok(("batch".into(), 4)));
        assert_eq!(dim("a=b=0"), Ok(("a=b".into(), 0)));
        for bad in ["batch", "batch=", "batch=x", "batch=-1", "=3", "n=99999999999999999999"] {
            assert!(dim(bad).is_err(), "{bad}");
        }
        assert_eq!(tolerance("1e-3"), Ok(1e-3));
        for bad in ["x", "-1", "NaN", "inf"] {
            assert!(tolerance(bad).is_err(), "{bad}");
        }
        assert_eq!(int_range("-5..=7"), Ok((-5, 7)));
        for bad in ["5", "3..=1", "0..4", "a..=b"] {
            assert!(int_range(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_three_ways_to_compare_exclude_each_other() {
        let parse = |options: &[&str]| {
            let line = ["fornax", "run", "m.onnx", "--expect", "o.npz"].iter().chain(options);
            CommandLine::try_parse_from(line).map(|line| match line.command {
                Command::Run(args) => args.tolerance(),
                _ => unreachable!("the command is run"),
            })
        };
        assert_eq!(parse(&[]).unwrap(), Tolerance::Relative(1e-4));
        assert_eq!(parse(&["--tol", "1e-2"]).unwrap(), Tolerance::Relative(1e-2));
        let each = Tolerance::PerElement { rtol: 0.5, atol: 0.0 };
        assert_eq!(parse(&["--rtol", "0.5"]).unwrap(), each);
        assert!(parse(&["--tol", "1", "--atol", "1"]).is_err());
    }
}
