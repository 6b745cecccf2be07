//! Runs a program on the kernel interpreter: what its kernels mean, without code generation.
//!
//! Slow and exact. A difference from the graph interpreter is a fault of planning or scheduling, a
//! difference from the compiled program one of code generation.

use fornax_codegen::program::{Carried, GuardKind, Place, Program, Step};
use fornax_ir::Dim;
use fornax_ir::kernel::Access;
use fornax_ir::kernel::interp::{self, Options};
use std::ops::Range;

/// Bytes of a program's memory: a place that is no variable and no slice, and which of its bytes.
#[derive(Clone)]
struct Part {
    of: Place,
    bytes: Range<usize>,
}

/// A program on its way: inputs, outputs, weights and slots, each in bytes, and what loops keep.
struct Run<'p> {
    program: &'p Program,
    dims: &'p [i64],
    inputs: Vec<Vec<u8>>,
    outputs: Vec<Vec<u8>>,
    weights: Vec<u8>,
    slots: Vec<Vec<u8>>,
    variables: Vec<Option<Part>>,
    counters: Vec<usize>,
    raised: Option<i64>,
}

/// Runs a program for the given dims (in the order of its symbols), inputs and weights. Returns the
/// outputs' bytes and the message of an index error, if there was one.
///
/// # Errors
/// An extent without a value, a guard that does not hold, or a kernel that breaks its contract, in words.
pub fn run(
    program: &Program,
    dims: &[i64],
    inputs: &[Vec<u8>],
    weights: &[u8],
) -> Result<(Vec<Vec<u8>>, Option<String>), String> {
    let mut run = Run {
        program,
        dims,
        inputs: inputs.to_vec(),
        outputs: vec![],
        weights: weights.to_vec(),
        slots: vec![],
        variables: vec![None; program.variables as usize],
        counters: vec![0; program.counters as usize],
        raised: None,
    };
    run.check_guards()?;
    let zeros = |d: &Dim| run.value(d).map(|n| vec![0u8; n.max(0) as usize]);
    let outputs = program.outputs.iter().map(|o| zeros(&o.bytes())).collect::<Result<_, _>>()?;
    let slots = program.slots.iter().map(zeros).collect::<Result<_, _>>()?;
    (run.outputs, run.slots) = (outputs, slots);
    run.steps(&program.steps)?;
    let message = run.raised.map(|m| program.messages[m as usize].clone());
    Ok((run.outputs, message))
}

impl Run<'_> {
    fn value(&self, d: &Dim) -> Result<i64, String> {
        let symbols = &self.program.symbols;
        let symbol = |name: &str| symbols.iter().position(|s| s.name == name).map(|i| self.dims[i]);
        d.eval_symbols(&symbol).map_err(|e| format!("{d}: {e}"))
    }

    fn check_guards(&self) -> Result<(), String> {
        for g in &self.program.guards {
            let (l, r) = (self.value(&g.lhs)?, self.value(&g.rhs)?);
            let holds = match g.kind {
                GuardKind::Eq => l == r,
                GuardKind::Le => l <= r,
                GuardKind::Divides => l > 0 && r % l == 0,
            };
            if !holds {
                return Err(self.program.messages[g.message as usize].clone());
            }
        }
        Ok(())
    }

    /// The bytes behind a place.
    fn part(&self, place: Place) -> Result<Part, String> {
        let whole = |bytes: usize| Ok(Part { of: place, bytes: 0..bytes });
        match place {
            Place::Input(i) => whole(self.inputs[i as usize].len()),
            Place::Output(i) => whole(self.outputs[i as usize].len()),
            Place::Slot(i) => whole(self.slots[i as usize].len()),
            Place::Weights(at) => Ok(Part { of: place, bytes: at as usize..self.weights.len() }),
            Place::Variable(n) => {
                self.variables[n as usize].clone().ok_or_else(|| format!("{place} points nowhere"))
            }
            Place::Slice(n) => {
                let slice = &self.program.slices[n as usize];
                let Part { of, bytes } = self.part(slice.of)?;
                let stride = self.value(&slice.stride)?.max(0) as usize;
                let start = bytes.start + self.counters[slice.counter as usize] * stride;
                if start + stride > bytes.end {
                    return Err(format!("{place} ends behind {}", slice.of));
                }
                Ok(Part { of, bytes: start..start + stride })
            }
        }
    }

    fn memory(&mut self, place: Place) -> &mut Vec<u8> {
        match place {
            Place::Input(i) => &mut self.inputs[i as usize],
            Place::Output(i) => &mut self.outputs[i as usize],
            Place::Slot(i) => &mut self.slots[i as usize],
            Place::Weights(_) | Place::Variable(_) | Place::Slice(_) => &mut self.weights,
        }
    }

    fn steps(&mut self, steps: &[Step]) -> Result<(), String> {
        for step in steps {
            match step {
                Step::Call(i) => self.call(*i)?,
                Step::Cond { pred, then, otherwise } => {
                    let chosen = if self.truth(*pred)? { then } else { otherwise };
                    self.steps(chosen)?;
                }
                Step::While { cond, pred, body, carried } => {
                    self.enter(carried)?;
                    self.steps(cond)?;
                    while self.truth(*pred)? {
                        self.steps(body)?;
                        self.advance(carried)?;
                        self.steps(cond)?;
                    }
                }
                Step::Scan { length, reverse, counter, body, carried } => {
                    self.enter(carried)?;
                    let length = self.value(length)?.max(0) as usize;
                    for i in 0..length {
                        self.counters[*counter as usize] = if *reverse { length - 1 - i } else { i };
                        self.steps(body)?;
                        self.advance(carried)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn truth(&mut self, place: Place) -> Result<bool, String> {
        let part = self.part(place)?;
        self.memory(part.of).get(part.bytes.start).map(|b| *b != 0).ok_or_else(|| format!("{place} is empty"))
    }

    fn enter(&mut self, carried: &[Carried]) -> Result<(), String> {
        for c in carried {
            self.variables[c.now as usize] = Some(self.part(c.first)?);
            self.variables[c.next as usize] = Some(self.part(Place::Slot(c.buffers[0]))?);
        }
        Ok(())
    }

    fn advance(&mut self, carried: &[Carried]) -> Result<(), String> {
        for c in carried {
            let made = self.part(Place::Variable(c.next))?;
            let [a, b] = c.buffers.map(Place::Slot);
            let other = if made.of == a { b } else { a };
            self.variables[c.next as usize] = Some(self.part(other)?);
            self.variables[c.now as usize] = Some(made);
        }
        Ok(())
    }

    fn call(&mut self, i: usize) -> Result<(), String> {
        let program = self.program;
        let call = &program.calls[i];
        let kernel = &program.kernels[call.kernel];
        let scalars = call.scalars.iter().map(|d| self.value(d)).collect::<Result<Vec<_>, _>>()?;
        let parts = call.buffers.iter().map(|p| self.part(*p)).collect::<Result<Vec<_>, _>>()?;
        let mut buffers: Vec<Vec<u8>> =
            parts.iter().map(|p| self.memory(p.of)[p.bytes.clone()].to_vec()).collect();
        let mut slices: Vec<&mut [u8]> = buffers.iter_mut().map(Vec::as_mut_slice).collect();
        let detail = interp::run(kernel, &mut slices, &scalars, Options::default())
            .map_err(|e| format!("call {i} ({}): {e}\n{kernel:?}", call.label))?;
        for ((decl, part), bytes) in kernel.buffers.iter().zip(parts).zip(buffers) {
            if decl.access != Access::Read {
                self.memory(part.of)[part.bytes].copy_from_slice(&bytes);
            }
        }
        self.raised = self.raised.or(detail);
        Ok(())
    }
}
