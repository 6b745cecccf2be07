//! The listing of a [`Program`].

use super::{Carried, Guard, GuardKind, Place, Program, Step, TensorSpec};
use std::fmt;

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Input(n) => write!(f, "in{n}"),
            Place::Output(n) => write!(f, "out{n}"),
            Place::Weights(offset) => write!(f, "weights+{offset}"),
            Place::Slot(n) => write!(f, "slot{n}"),
            Place::Variable(n) => write!(f, "var{n}"),
            Place::Slice(n) => write!(f, "slice{n}"),
        }
    }
}

impl fmt::Display for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let relation = match self.kind {
            GuardKind::Eq => "==",
            GuardKind::Le => "<=",
            GuardKind::Divides => "divides",
        };
        write!(f, "{} {relation} {}", self.lhs, self.rhs)
    }
}

impl fmt::Display for TensorSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}[{}]", self.name, self.dtype, list(&self.shape))
    }
}

fn list<T: fmt::Display>(items: &[T]) -> String {
    items.iter().map(T::to_string).collect::<Vec<_>>().join(", ")
}

/// One line a symbol, tensor, guard, slot, slice and call; kernels by name.
impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "program {} {{", self.name)?;
        for s in &self.symbols {
            let hi = s.hi.map_or(String::new(), |hi| hi.to_string());
            writeln!(f, "  symbol {} in {}..={hi}", s.name, s.lo)?;
        }
        for (i, tensor) in self.inputs.iter().enumerate() {
            writeln!(f, "  in{i} {tensor}")?;
        }
        for (i, tensor) in self.outputs.iter().enumerate() {
            let alias = self.aliases.iter().find(|a| a.1 as usize == i);
            let alias = alias.map_or(String::new(), |a| format!(" may be in{}", a.0));
            writeln!(f, "  out{i} {tensor}{alias}")?;
        }
        if self.weights.bytes != 0 {
            writeln!(f, "  weights {} bytes", self.weights.bytes)?;
        }
        for guard in &self.guards {
            let message = self.messages.get(guard.message as usize).map_or("", String::as_str);
            writeln!(f, "  guard {guard} else \"{}\"", message.escape_debug())?;
        }
        for (i, bytes) in self.slots.iter().enumerate() {
            writeln!(f, "  slot{i} {bytes} bytes")?;
        }
        for (i, slice) in self.slices.iter().enumerate() {
            let (of, counter, stride) = (slice.of, slice.counter, &slice.stride);
            writeln!(f, "  slice{i} {stride} bytes of {of} at counter{counter}")?;
        }
        self.write_steps(f, &self.steps, "  ")?;
        f.write_str("}\n")
    }
}

impl Program {
    fn write_steps(&self, f: &mut fmt::Formatter<'_>, steps: &[Step], indent: &str) -> fmt::Result {
        let inner = format!("{indent}  ");
        for step in steps {
            match step {
                Step::Call(i) => self.write_call(f, *i, indent)?,
                Step::Cond { pred, then, otherwise } => {
                    writeln!(f, "{indent}if {pred} {{")?;
                    self.write_steps(f, then, &inner)?;
                    writeln!(f, "{indent}}} else {{")?;
                    self.write_steps(f, otherwise, &inner)?;
                }
                Step::While { cond, pred, body, carried } => {
                    write_carried(f, carried, indent)?;
                    writeln!(f, "{indent}while {{")?;
                    self.write_steps(f, cond, &inner)?;
                    writeln!(f, "{indent}}} gives {pred} do {{")?;
                    self.write_steps(f, body, &inner)?;
                }
                Step::Scan { length, reverse, counter, body, carried } => {
                    write_carried(f, carried, indent)?;
                    let way = if *reverse { "down from" } else { "up to" };
                    writeln!(f, "{indent}scan counter{counter} {way} {length} {{")?;
                    self.write_steps(f, body, &inner)?;
                }
            }
            if !matches!(step, Step::Call(_)) {
                writeln!(f, "{indent}}}")?;
            }
        }
        Ok(())
    }

    fn write_call(&self, f: &mut fmt::Formatter<'_>, i: usize, indent: &str) -> fmt::Result {
        let Some(call) = self.calls.get(i) else { return writeln!(f, "{indent}call {i}: ?") };
        let kernel = self.kernels.get(call.kernel).map_or("?", |k| k.name.as_str());
        write!(f, "{indent}call {i}: k{} {kernel}({})", call.kernel, list(&call.buffers))?;
        if !call.scalars.is_empty() {
            write!(f, " scalars ({})", list(&call.scalars))?;
        }
        writeln!(f, " work {} bytes {} ; {}", call.work, call.bytes, call.label)
    }
}

fn write_carried(f: &mut fmt::Formatter<'_>, carried: &[Carried], indent: &str) -> fmt::Result {
    for c in carried {
        let [a, b] = c.buffers;
        writeln!(f, "{indent}carry var{} to var{} from {} in slot{a}, slot{b}", c.now, c.next, c.first)?;
    }
    Ok(())
}
