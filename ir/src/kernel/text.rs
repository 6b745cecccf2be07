//! The text form of kernels: printed by `Display`, read by [`parse`].
//!
//! ```text
//! kernel "row_sum" {
//!   scalars 1
//!   buffer b0: read f32
//!   buffer b1: write f32
//!   local l0: f32[$0]
//!   outer a0: parallel $0
//!   stage {
//!     axis a1: reduce 64
//!     %0 = load f32 b0[a0*64 + a1] if [a1] < 60
//!     %1 = accumulate f32 sum interleaved %0
//!     store f32 b1[a0], %1
//!   }
//!   parallel a0/16
//!   schedule 0: vector a1*2, unroll 2, order a1
//! }
//! ```
//! `$n` is a scalar argument, `bn` a buffer argument, `ln` a local, `an` an axis, `%n` the value of
//! instruction n. `library cumulative` names a function that the kernel is instead of stages. An index is
//! `[offset + variable*stride + ...]`; offsets of 0 and strides of 1 are left out.
//! `if [index] < limit & ...` is a mask. `block a0*4` runs points of an outer axis together. `;` starts a comment. A schedule that is left out is the default one.

use super::{
    Access, Affine, Axis, AxisKind, Buf, BufferDecl, InRange, IndexVar, Inst, Kernel, Library, LocalDecl,
    Mask, Op, Order, Size, Stage, StageSchedule,
};
use crate::dtype::DType;
use crate::scalar::{BinaryOp, CompareOp, ReduceOp, UnaryOp};
use lex::{Line, lines, quote, show_scalar, unquote};
use std::fmt;
use std::str::FromStr;

pub(crate) mod lex;
#[cfg(test)]
mod tests;

pub use lex::TextError;

impl fmt::Display for IndexVar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            IndexVar::Axis(a) => write!(f, "a{a}"),
            IndexVar::Value(v) => write!(f, "%{v}"),
        }
    }
}

impl fmt::Display for Affine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut plus = "[";
        if self.offset != Size::ZERO || self.terms.is_empty() {
            write!(f, "{plus}{}", self.offset)?;
            plus = " + ";
        }
        for (var, stride) in &self.terms {
            write!(f, "{plus}{var}")?;
            if *stride != Size::ONE {
                write!(f, "*{stride}")?;
            }
            plus = " + ";
        }
        f.write_str("]")
    }
}

/// A mask as it stands at the end of an instruction.
struct If<'a>(&'a Mask);

impl fmt::Display for If<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, c) in self.0.iter().enumerate() {
            write!(f, "{} {} < {}", if i == 0 { " if" } else { " &" }, c.index, c.limit)?;
        }
        Ok(())
    }
}

impl fmt::Display for Op {
    /// The instruction without its number.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let d = self.dtype;
        match &self.inst {
            Inst::Const(v) => write!(f, "const {d} {}", show_scalar(*v)),
            Inst::Axis(a) => write!(f, "axis {d} a{a}"),
            Inst::Arg(n) => write!(f, "arg {d} ${n}"),
            Inst::Load { src, at, mask } => write!(f, "load {d} {src}{at}{}", If(mask)),
            Inst::InRange(mask) => write!(f, "inrange {d}{}", If(mask)),
            Inst::Unary(o, a) => write!(f, "{o} {d} %{a}"),
            Inst::Binary(o, a, b) => write!(f, "{o} {d} %{a}, %{b}"),
            Inst::Compare(o, a, b) => write!(f, "{o} {d} %{a}, %{b}"),
            Inst::Select(c, a, b) => write!(f, "select {d} %{c}, %{a}, %{b}"),
            Inst::Cast(a) => write!(f, "cast {d} %{a}"),
            Inst::Bitcast(a) => write!(f, "bitcast {d} %{a}"),
            Inst::Scale(a, n) => write!(f, "scale {d} %{a}, %{n}"),
            Inst::Fma(a, b, c) => write!(f, "fma {d} %{a}, %{b}, %{c}"),
            Inst::Accumulate { op, order, value, mask } => {
                write!(f, "accumulate {d} {op} {order} %{value}{}", If(mask))
            }
            Inst::Store { dst, at, value, mask } => write!(f, "store {d} {dst}{at}, %{value}{}", If(mask)),
            Inst::Raise { cond, detail } => write!(f, "raise {d} %{cond}, {detail}"),
        }
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "kernel {} {{", quote(&self.name))?;
        if self.scalars != 0 {
            writeln!(f, "  scalars {}", self.scalars)?;
        }
        for (i, b) in self.buffers.iter().enumerate() {
            writeln!(f, "  buffer b{i}: {} {}", b.access, b.dtype)?;
        }
        for (i, l) in self.locals.iter().enumerate() {
            writeln!(f, "  local l{i}: {}[{}]", l.dtype, l.len)?;
        }
        for (i, a) in self.outer.iter().enumerate() {
            writeln!(f, "  outer a{i}: {} {}", a.kind, a.extent)?;
        }
        if let Some(function) = self.library {
            writeln!(f, "  library {function}")?;
        }
        for stage in &self.stages {
            writeln!(f, "  stage {{")?;
            for (i, a) in stage.axes.iter().enumerate() {
                writeln!(f, "    axis a{}: {} {}", self.outer.len() + i, a.kind, a.extent)?;
            }
            for (i, op) in stage.body.iter().enumerate() {
                if op.inst.has_result() {
                    writeln!(f, "    %{i} = {op}")?;
                } else {
                    writeln!(f, "    {op}")?;
                }
            }
            writeln!(f, "  }}")?;
        }
        for (i, (axis, chunk)) in self.schedule.parallel.iter().enumerate() {
            write!(f, "{}a{axis}/{chunk}", if i == 0 { "  parallel " } else { ", " })?;
        }
        if !self.schedule.parallel.is_empty() {
            writeln!(f)?;
        }
        if let Some((axis, points)) = self.schedule.block {
            writeln!(f, "  block a{axis}*{points}")?;
        }
        for (i, s) in self.schedule.stages.iter().enumerate() {
            writeln!(f, "  schedule {i}:{s}")?;
        }
        f.write_str("}\n")
    }
}

impl fmt::Display for StageSchedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        if let Some((axis, n)) = self.vector {
            parts.push(format!(" vector a{axis}*{n}"));
        }
        if let Some((axis, n)) = self.rows {
            parts.push(format!(" rows a{axis}*{n}"));
        }
        if self.unroll != 0 {
            parts.push(format!(" unroll {}", self.unroll));
        }
        if !self.order.is_empty() {
            let axes: Vec<_> = self.order.iter().map(|a| format!(" a{a}")).collect();
            parts.push(format!(" order{}", axes.concat()));
        }
        if !self.block.is_empty() {
            let axes: Vec<_> = self.block.iter().map(|(a, n)| format!(" a{a}*{n}")).collect();
            parts.push(format!(" block{}", axes.concat()));
        }
        f.write_str(&parts.join(","))
    }
}

impl FromStr for Kernel {
    type Err = TextError;
    /// One kernel, see [`parse`].
    fn from_str(text: &str) -> Result<Kernel, TextError> {
        let mut kernels = parse(text)?;
        match (kernels.pop(), kernels.is_empty()) {
            (Some(kernel), true) => Ok(kernel),
            (found, _) => {
                let count = kernels.len() + found.is_some() as usize;
                Err(TextError { line: 1, message: format!("{count} kernels where one is expected") })
            }
        }
    }
}

/// The kernels of a text. What they say is not verified.
///
/// # Errors
/// The first line that does not follow the form above.
pub fn parse(text: &str) -> Result<Vec<Kernel>, TextError> {
    let mut kernels = Vec::new();
    let mut lines = lines(text).into_iter();
    while let Some(mut line) = lines.next() {
        line.expect("kernel")?;
        let name = line.parse("a name in quotes", unquote)?;
        line.expect("{")?;
        line.end()?;
        let mut kernel = Kernel { name, ..Kernel::default() };
        loop {
            let Some(mut statement) = lines.next() else {
                return line.error("the kernel does not end");
            };
            if statement.eat("}") {
                statement.end()?;
                break;
            }
            if statement.eat("stage") {
                statement.expect("{")?;
                statement.end()?;
                stage(&mut kernel, &statement, &mut lines)?;
                continue;
            }
            declaration(&mut kernel, &mut statement)?;
            statement.end()?;
        }
        if kernel.schedule.stages.is_empty() {
            kernel.schedule.stages = vec![StageSchedule::default(); kernel.stages.len()];
        }
        kernels.push(kernel);
    }
    Ok(kernels)
}

fn declaration(kernel: &mut Kernel, line: &mut Line<'_>) -> Result<(), TextError> {
    match line.word("a declaration")? {
        "scalars" => kernel.scalars = line.count("a number of scalars")?,
        "buffer" => {
            heading(line, "b", kernel.buffers.len())?;
            let access = line.parse("read, write or readwrite", Access::from_name)?;
            kernel.buffers.push(BufferDecl { dtype: line.dtype()?, access });
        }
        "local" => {
            heading(line, "l", kernel.locals.len())?;
            let dtype = line.dtype()?;
            line.expect("[")?;
            kernel.locals.push(LocalDecl { dtype, len: line.size()? });
            line.expect("]")?;
        }
        "outer" => {
            heading(line, "a", kernel.outer.len())?;
            kernel.outer.push(axis(line)?);
        }
        "library" => {
            kernel.library = Some(line.parse("a library function", Library::from_name)?);
        }
        "parallel" => loop {
            let axis = line.numbered("a", "an axis, such as a0,")?;
            line.expect("/")?;
            kernel.schedule.parallel.push((axis, line.int("a chunk")?));
            if !line.eat(",") {
                break;
            }
        },
        "block" => {
            let axis = line.numbered("a", "an axis, such as a0,")?;
            line.expect("*")?;
            kernel.schedule.block = Some((axis, line.int("a number of points")?));
        }
        "schedule" => {
            heading(line, "", kernel.schedule.stages.len())?;
            let plan = stage_schedule(line)?;
            kernel.schedule.stages.push(plan);
        }
        other => {
            return line.error(format!(
                "`{other}` where scalars, buffer, local, outer, library, stage, parallel, block, schedule or }} is expected"
            ));
        }
    }
    Ok(())
}

/// `b3:`, which must count on.
fn heading(line: &mut Line<'_>, prefix: &str, next: usize) -> Result<(), TextError> {
    let found = line.numbered(prefix, &format!("{prefix}{next}"))?;
    if found as usize != next {
        return line.error(format!("{prefix}{found} where {prefix}{next} is next"));
    }
    line.expect(":")
}

fn axis(line: &mut Line<'_>) -> Result<Axis, TextError> {
    let kind = line.parse("parallel, reduce or sequential", AxisKind::from_name)?;
    Ok(Axis { extent: line.size()?, kind })
}

fn stage_schedule(line: &mut Line<'_>) -> Result<StageSchedule, TextError> {
    let mut plan = StageSchedule::default();
    while let Some(word) = line.peek() {
        line.word("")?;
        match word {
            "vector" | "rows" => {
                let axis = line.numbered("a", "an axis, such as a0,")?;
                line.expect("*")?;
                let tile = Some((axis, line.count("a count")?));
                if word == "rows" { plan.rows = tile } else { plan.vector = tile }
            }
            "unroll" => plan.unroll = line.count("a count")?,
            "block" => {
                while line.peek().is_some_and(|t| t != ",") {
                    let axis = line.numbered("a", "an axis, such as a0,")?;
                    line.expect("*")?;
                    plan.block.push((axis, line.count("a count")?));
                }
            }
            "order" => {
                while line.peek().is_some_and(|t| t != ",") {
                    plan.order.push(line.numbered("a", "an axis, such as a0,")?);
                }
            }
            other => {
                return line
                    .error(format!("`{other}` where vector, rows, unroll, order or block is expected"));
            }
        }
        if line.peek().is_some() {
            line.expect(",")?;
        }
    }
    Ok(plan)
}

fn stage<'a>(
    kernel: &mut Kernel,
    start: &Line<'_>,
    lines: &mut impl Iterator<Item = Line<'a>>,
) -> Result<(), TextError> {
    let mut stage = Stage::default();
    loop {
        let Some(mut line) = lines.next() else {
            return start.error("the stage does not end");
        };
        if line.eat("}") {
            line.end()?;
            kernel.stages.push(stage);
            return Ok(());
        }
        if stage.body.is_empty() && line.eat("axis") {
            heading(&mut line, "a", kernel.outer.len() + stage.axes.len())?;
            stage.axes.push(axis(&mut line)?);
        } else {
            stage.body.push(instruction(&mut line, stage.body.len())?);
        }
        line.end()?;
    }
}

fn instruction(line: &mut Line<'_>, number: usize) -> Result<Op, TextError> {
    let numbered = line.peek().is_some_and(|t| t.starts_with('%'));
    if numbered {
        let found = line.value()?;
        if found as usize != number {
            return line.error(format!("%{found} where %{number} is next"));
        }
        line.expect("=")?;
    }
    let name = line.word("an instruction")?;
    let dtype = line.dtype()?;
    let inst = operation(line, name, dtype)?;
    if inst.has_result() != numbered {
        return line.error(if numbered {
            format!("{name} has no result")
        } else {
            format!("the result of {name} needs its number: %{number} = {name} ...")
        });
    }
    Ok(Op { inst, dtype })
}

fn operation(line: &mut Line<'_>, name: &str, dtype: DType) -> Result<Inst, TextError> {
    Ok(match name {
        "const" => Inst::Const(line.scalar(dtype)?),
        "axis" => Inst::Axis(line.numbered("a", "an axis, such as a0,")?),
        "arg" => Inst::Arg(line.numbered("$", "a scalar argument, such as $0,")?),
        "load" => Inst::Load { src: buf(line)?, at: affine(line)?, mask: mask(line)? },
        "inrange" => Inst::InRange(mask(line)?),
        "select" => line.three_values().map(|(c, a, b)| Inst::Select(c, a, b))?,
        "cast" => Inst::Cast(line.value()?),
        "bitcast" => Inst::Bitcast(line.value()?),
        "scale" => line.two_values().map(|(a, n)| Inst::Scale(a, n))?,
        "fma" => line.three_values().map(|(a, b, c)| Inst::Fma(a, b, c))?,
        "accumulate" => {
            let op = line.parse("sum, prod, max or min", ReduceOp::from_name)?;
            let order = line.parse("chain or interleaved", Order::from_name)?;
            Inst::Accumulate { op, order, value: line.value()?, mask: mask(line)? }
        }
        "store" => {
            let (dst, at) = (buf(line)?, affine(line)?);
            line.expect(",")?;
            Inst::Store { dst, at, value: line.value()?, mask: mask(line)? }
        }
        "raise" => {
            let cond = line.value()?;
            line.expect(",")?;
            Inst::Raise { cond, detail: line.size()? }
        }
        _ => {
            if let Some(o) = UnaryOp::from_name(name) {
                Inst::Unary(o, line.value()?)
            } else if let Some(o) = BinaryOp::from_name(name) {
                line.two_values().map(|(a, b)| Inst::Binary(o, a, b))?
            } else if let Some(o) = CompareOp::from_name(name) {
                line.two_values().map(|(a, b)| Inst::Compare(o, a, b))?
            } else {
                return line.error(format!("unknown instruction `{name}`"));
            }
        }
    })
}

fn buf(line: &mut Line<'_>) -> Result<Buf, TextError> {
    line.parse("a buffer, such as b0 or l0,", |t| {
        lex::number(t, "b").map(Buf::Arg).or_else(|| lex::number(t, "l").map(Buf::Local))
    })
}

fn affine(line: &mut Line<'_>) -> Result<Affine, TextError> {
    line.expect("[")?;
    let mut index = Affine::constant(Size::ZERO);
    let mut first = true;
    loop {
        let var = line.peek().and_then(|t| {
            lex::number(t, "a").map(IndexVar::Axis).or_else(|| lex::number(t, "%").map(IndexVar::Value))
        });
        match var {
            Some(var) => {
                line.word("")?;
                let stride = if line.eat("*") { line.size()? } else { Size::ONE };
                index.terms.push((var, stride));
            }
            None if first => index.offset = line.size()?,
            None => return line.error("an index is an offset, then variables with strides"),
        }
        first = false;
        if !line.eat("+") {
            line.expect("]")?;
            return Ok(index);
        }
    }
}

fn mask(line: &mut Line<'_>) -> Result<Mask, TextError> {
    let mut mask = Mask::new();
    if !line.eat("if") {
        return Ok(mask);
    }
    loop {
        let index = affine(line)?;
        line.expect("<")?;
        mask.push(InRange { index, limit: line.size()? });
        if !line.eat("&") {
            return Ok(mask);
        }
    }
}
