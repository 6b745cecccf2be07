//! The listing of a [`Program`].

use super::{Guard, GuardKind, Place, Program, TensorSpec};
use std::fmt;

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Input(n) => write!(f, "in{n}"),
            Place::Output(n) => write!(f, "out{n}"),
            Place::Weights(offset) => write!(f, "weights+{offset}"),
            Place::Slot(n) => write!(f, "slot{n}"),
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

/// One line a symbol, tensor, guard, slot and call; kernels by name.
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
        for (i, call) in self.calls.iter().enumerate() {
            let kernel = self.kernels.get(call.kernel).map_or("?", |k| k.name.as_str());
            write!(f, "  call {i}: k{} {kernel}({})", call.kernel, list(&call.buffers))?;
            if !call.scalars.is_empty() {
                write!(f, " scalars ({})", list(&call.scalars))?;
            }
            writeln!(f, " work {} bytes {} ; {}", call.work, call.bytes, call.label)?;
        }
        f.write_str("}\n")
    }
}
