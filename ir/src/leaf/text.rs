//! The text form of leaves: printed by `Display`, read by [`parse`].
//!
//! ```text
//! leaf {
//!   ptr p0: f32
//!   ptr p1: f32
//!   ints 1
//!   init {
//!     %0 = const f32x8 0.0
//!   }
//!   loop $0: p0+32
//!   carry %1: f32x8 = %0, %3
//!   body {
//!     %2 = load f32x8 [p0]
//!     %3 = add f32x8 %1, %2
//!   }
//!   finish {
//!     store f32x8 [p1 + 64], %1
//!   }
//! }
//! ```
//! `pn` is a pointer argument, `$n` an integer argument, `%n` a value, `f32x8` eight lanes of f32. A loop
//! has its count and the bytes it advances pointers by. A carried value has its type, its first value and
//! what a round yields. An address is `[pointer + bytes + $n + %n]`, what is 0 or absent left out.
//! `;` starts a comment.

use super::{Addr, Carried, Inst, Leaf, Loop, Op, Type, ValueId};
use crate::dtype::DType;
use crate::kernel::Size;
use crate::kernel::text::lex::{Line, lines, number, show_scalar};
use crate::scalar::{BinaryOp, CompareOp, ReduceOp, UnaryOp};
use std::fmt;
use std::str::FromStr;

pub use crate::kernel::text::TextError;

impl fmt::Display for Addr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[p{}", self.ptr)?;
        if self.disp != 0 {
            write!(f, " + {}", self.disp)?;
        }
        if let Some(n) = self.int {
            write!(f, " + ${n}")?;
        }
        if let Some(v) = self.value {
            write!(f, " + %{v}")?;
        }
        f.write_str("]")
    }
}

impl fmt::Display for Op {
    /// The instruction without its number.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let t = self.ty;
        match &self.inst {
            Inst::Const(v) => write!(f, "const {t} {}", show_scalar(*v)),
            Inst::Int(n) => write!(f, "int {t} ${n}"),
            Inst::Counter(l) => write!(f, "counter {t} {l}"),
            Inst::Load(at) => write!(f, "load {t} {at}"),
            Inst::LoadStrided(at, by) => write!(f, "load_strided {t} {at}, {by}"),
            Inst::LoadSplat(at) => write!(f, "load_splat {t} {at}"),
            Inst::LoadIf(c, at) => write!(f, "load_if {t} %{c}, {at}"),
            Inst::Splat(a) => write!(f, "splat {t} %{a}"),
            Inst::Ramp(a) => write!(f, "ramp {t} %{a}"),
            Inst::Pack(lanes) => {
                write!(f, "pack {t}")?;
                lanes.iter().enumerate().try_for_each(|(k, v)| match k {
                    0 => write!(f, " %{v}"),
                    _ => write!(f, ", %{v}"),
                })
            }
            Inst::Interleave(a, b, upper) => write!(f, "interleave {t} %{a}, %{b}, {}", u32::from(*upper)),
            Inst::Lane(a, k) => write!(f, "lane {t} %{a}, {k}"),
            Inst::Unary(o, a) => write!(f, "{o} {t} %{a}"),
            Inst::Binary(o, a, b) => write!(f, "{o} {t} %{a}, %{b}"),
            Inst::Compare(o, a, b) => write!(f, "{o} {t} %{a}, %{b}"),
            Inst::Select(c, a, b) => write!(f, "select {t} %{c}, %{a}, %{b}"),
            Inst::Cast(a) => write!(f, "cast {t} %{a}"),
            Inst::Bitcast(a) => write!(f, "bitcast {t} %{a}"),
            Inst::Scale(a, n) => write!(f, "scale {t} %{a}, %{n}"),
            Inst::Fma(a, b, c) => write!(f, "fma {t} %{a}, %{b}, %{c}"),
            Inst::Horizontal(o, a) => write!(f, "horizontal {t} {o} %{a}"),
            Inst::Store(at, v) => write!(f, "store {t} {at}, %{v}"),
            Inst::LoadPart(at, count) => write!(f, "load_part {t} {at}, %{count}"),
            Inst::StorePart(at, v, count) => write!(f, "store_part {t} {at}, %{v}, %{count}"),
            Inst::Prefetch(at) => write!(f, "prefetch {t} {at}"),
            Inst::If(c, count) => write!(f, "if {t} %{c}, {count}"),
            Inst::Raise(c, detail) => write!(f, "raise {t} %{c}, {detail}"),
        }
    }
}

impl fmt::Display for Leaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "leaf {{")?;
        for (i, dtype) in self.ptrs.iter().enumerate() {
            writeln!(f, "  ptr p{i}: {dtype}")?;
        }
        if self.ints != 0 {
            writeln!(f, "  ints {}", self.ints)?;
        }
        block(f, "init", &self.init, 0)?;
        for l in &self.loops {
            write!(f, "  loop {}:", l.count)?;
            for (i, (ptr, by)) in l.bumps.iter().enumerate() {
                write!(f, "{} p{ptr}+{by}", if i == 0 { "" } else { "," })?;
            }
            writeln!(f)?;
        }
        for (v, c) in (self.first_carried()..).zip(&self.carried) {
            writeln!(f, "  carry %{v}: {} = %{}, %{}", c.ty, c.init, c.next)?;
        }
        block(f, "body", &self.body, self.first_body())?;
        block(f, "finish", &self.finish, self.first_finish())?;
        f.write_str("}\n")
    }
}

fn block(f: &mut fmt::Formatter<'_>, name: &str, ops: &[Op], first: ValueId) -> fmt::Result {
    if ops.is_empty() {
        return Ok(());
    }
    writeln!(f, "  {name} {{")?;
    for (v, op) in (first..).zip(ops) {
        if op.inst.has_result() {
            writeln!(f, "    %{v} = {op}")?;
        } else {
            writeln!(f, "    {op}")?;
        }
    }
    writeln!(f, "  }}")
}

impl FromStr for Leaf {
    type Err = TextError;
    /// One leaf, see [`parse`].
    fn from_str(text: &str) -> Result<Leaf, TextError> {
        let mut leaves = parse(text)?;
        match (leaves.pop(), leaves.is_empty()) {
            (Some(leaf), true) => Ok(leaf),
            (found, _) => {
                let count = leaves.len() + found.is_some() as usize;
                Err(TextError { line: 1, message: format!("{count} leaves where one is expected") })
            }
        }
    }
}

/// The leaves of a text. What they say is not verified. Parts of a leaf come in the order shown above.
///
/// # Errors
/// The first line that does not follow the form above.
pub fn parse(text: &str) -> Result<Vec<Leaf>, TextError> {
    let mut leaves = Vec::new();
    let mut lines = lines(text).into_iter();
    while let Some(mut line) = lines.next() {
        line.expect("leaf")?;
        line.expect("{")?;
        line.end()?;
        let mut leaf = Leaf::default();
        loop {
            let Some(mut statement) = lines.next() else {
                return line.error("the leaf does not end");
            };
            if statement.eat("}") {
                statement.end()?;
                break;
            }
            part(&mut leaf, &mut statement, &mut lines)?;
        }
        leaves.push(leaf);
    }
    Ok(leaves)
}

fn part<'a>(
    leaf: &mut Leaf,
    line: &mut Line<'_>,
    lines: &mut impl Iterator<Item = Line<'a>>,
) -> Result<(), TextError> {
    match line.word("a part of a leaf")? {
        "ptr" => {
            counted(line, "p", leaf.ptrs.len() as u32)?;
            leaf.ptrs.push(line.dtype()?);
        }
        "ints" => leaf.ints = line.count("a number of integers")?,
        "init" => leaf.init = instructions(line, lines, 0)?,
        "loop" => {
            let count = line.size()?;
            line.expect(":")?;
            let mut bumps = Vec::new();
            while line.peek().is_some() {
                if !bumps.is_empty() {
                    line.expect(",")?;
                }
                let ptr = line.numbered("p", "a pointer, such as p0,")?;
                line.expect("+")?;
                bumps.push((ptr, line.size()?));
            }
            leaf.loops.push(Loop { count, bumps });
        }
        "carry" => {
            counted(line, "%", leaf.first_body())?;
            let ty = ty(line)?;
            line.expect("=")?;
            let (init, next) = line.two_values()?;
            leaf.carried.push(Carried { ty, init, next });
        }
        "body" => leaf.body = instructions(line, lines, leaf.first_body())?,
        "finish" => leaf.finish = instructions(line, lines, leaf.first_finish())?,
        other => {
            return line.error(format!(
                "`{other}` where ptr, ints, init, loop, carry, body, finish or }} is expected"
            ));
        }
    }
    line.end()
}

/// `p3:`, which must count on.
fn counted(line: &mut Line<'_>, prefix: &str, next: u32) -> Result<(), TextError> {
    let found = line.numbered(prefix, &format!("{prefix}{next}"))?;
    if found != next {
        return line.error(format!("{prefix}{found} where {prefix}{next} is next"));
    }
    line.expect(":")
}

fn ty(line: &mut Line<'_>) -> Result<Type, TextError> {
    line.parse("a type, such as f32 or f32x8,", |t| match t.split_once('x') {
        Some((dtype, lanes)) => Some(Type { dtype: dtype.parse().ok()?, lanes: number(lanes, "")? }),
        None => Some(Type { dtype: t.parse::<DType>().ok()?, lanes: 1 }),
    })
}

fn instructions<'a>(
    start: &mut Line<'_>,
    lines: &mut impl Iterator<Item = Line<'a>>,
    first: ValueId,
) -> Result<Vec<Op>, TextError> {
    start.expect("{")?;
    let mut ops = Vec::new();
    loop {
        let Some(mut line) = lines.next() else {
            return start.error("the block does not end");
        };
        if line.eat("}") {
            line.end()?;
            return Ok(ops);
        }
        ops.push(instruction(&mut line, first + ops.len() as ValueId)?);
        line.end()?;
    }
}

fn instruction(line: &mut Line<'_>, next: ValueId) -> Result<Op, TextError> {
    let numbered = line.peek().is_some_and(|t| t.starts_with('%'));
    if numbered {
        let found = line.value()?;
        if found != next {
            return line.error(format!("%{found} where %{next} is next"));
        }
        line.expect("=")?;
    }
    let name = line.word("an instruction")?;
    let ty = ty(line)?;
    let inst = operation(line, name, ty)?;
    if inst.has_result() != numbered {
        return line.error(if numbered {
            format!("{name} has no result")
        } else {
            format!("the result of {name} needs its number: %{next} = {name} ...")
        });
    }
    Ok(Op { inst, ty })
}

fn operation(line: &mut Line<'_>, name: &str, ty: Type) -> Result<Inst, TextError> {
    let then = |line: &mut Line<'_>| {
        let v = line.value()?;
        line.expect(",").map(|()| v)
    };
    Ok(match name {
        "const" => Inst::Const(line.scalar(ty.dtype)?),
        "int" => Inst::Int(line.numbered("$", "an integer argument, such as $0,")?),
        "counter" => Inst::Counter(line.count("the number of a loop")?),
        "load" => Inst::Load(addr(line)?),
        "load_strided" => {
            let at = addr(line)?;
            line.expect(",")?;
            Inst::LoadStrided(at, line.int("a number of elements")?)
        }
        "load_splat" => Inst::LoadSplat(addr(line)?),
        "load_if" => Inst::LoadIf(then(line)?, addr(line)?),
        "splat" => Inst::Splat(line.value()?),
        "ramp" => Inst::Ramp(line.value()?),
        "pack" => {
            let mut lanes = vec![line.value()?];
            while line.eat(",") {
                lanes.push(line.value()?);
            }
            Inst::Pack(lanes)
        }
        "interleave" => {
            let (a, b) = (then(line)?, then(line)?);
            match line.count("0 for the lower halves, or 1")? {
                half @ (0 | 1) => Inst::Interleave(a, b, half == 1),
                _ => return line.error("a value has two halves: 0 and 1"),
            }
        }
        "lane" => Inst::Lane(then(line)?, line.count("the number of a lane")?),
        "select" => line.three_values().map(|(c, a, b)| Inst::Select(c, a, b))?,
        "cast" => Inst::Cast(line.value()?),
        "bitcast" => Inst::Bitcast(line.value()?),
        "scale" => line.two_values().map(|(a, n)| Inst::Scale(a, n))?,
        "fma" => line.three_values().map(|(a, b, c)| Inst::Fma(a, b, c))?,
        "horizontal" => {
            let op = line.parse("sum, prod, max or min", ReduceOp::from_name)?;
            Inst::Horizontal(op, line.value()?)
        }
        "load_part" => {
            let at = addr(line)?;
            line.expect(",")?;
            Inst::LoadPart(at, line.value()?)
        }
        "store_part" => {
            let at = addr(line)?;
            line.expect(",")?;
            line.two_values().map(|(v, count)| Inst::StorePart(at, v, count))?
        }
        "store" => {
            let at = addr(line)?;
            line.expect(",")?;
            Inst::Store(at, line.value()?)
        }
        "prefetch" => Inst::Prefetch(addr(line)?),
        "if" => Inst::If(then(line)?, line.count("a number of instructions")?),
        "raise" => Inst::Raise(then(line)?, line.size()?),
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

fn addr(line: &mut Line<'_>) -> Result<Addr, TextError> {
    line.expect("[")?;
    let mut at = Addr { ptr: line.numbered("p", "a pointer, such as p0,")?, disp: 0, int: None, value: None };
    while line.eat("+") {
        let token = line.word("bytes, $n or %n")?;
        let size: Option<Size> = crate::kernel::text::lex::size(token);
        match (number(token, "%"), size) {
            (Some(v), _) if at.value.is_none() => at.value = Some(v),
            (None, Some(Size::Arg(n))) if at.int.is_none() && at.value.is_none() => at.int = Some(n),
            (None, Some(Size::Const(v))) if at.disp == 0 && at.int.is_none() && at.value.is_none() => {
                at.disp = v;
            }
            _ => return line.error("an address is [pointer + bytes + $n + %n]"),
        }
    }
    line.expect("]")?;
    Ok(at)
}

#[cfg(test)]
mod tests;
