//! Runs a program on the kernel interpreter: what its kernels mean, without code generation.
//!
//! Slow and exact. A difference from the graph interpreter is a fault of planning or scheduling, a
//! difference from the compiled program one of code generation.

use fornax_codegen::program::{Place, Program};
use fornax_ir::kernel::interp::{self, Options};
use fornax_ir::kernel::{Access, Kernel};

/// A program's memory: inputs, outputs, weights and slots, each in bytes.
struct Memory {
    inputs: Vec<Vec<u8>>,
    outputs: Vec<Vec<u8>>,
    weights: Vec<u8>,
    slots: Vec<Vec<u8>>,
}

impl Memory {
    fn at(&mut self, p: Place) -> &mut Vec<u8> {
        match p {
            Place::Input(i) => &mut self.inputs[i as usize],
            Place::Output(i) => &mut self.outputs[i as usize],
            Place::Slot(i) => &mut self.slots[i as usize],
            Place::Weights(_) => &mut self.weights,
        }
    }
    fn bytes(&mut self, p: Place) -> Vec<u8> {
        match p {
            Place::Weights(at) => self.weights[at as usize..].to_vec(),
            p => self.at(p).clone(),
        }
    }
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
    let symbol = |name: &str| program.symbols.iter().position(|s| s.name == name).map(|i| dims[i]);
    let value = |d: &fornax_ir::Dim| d.eval_symbols(&symbol).map_err(|e| format!("{d}: {e}"));
    let zeros = |d: &fornax_ir::Dim| value(d).map(|n| vec![0u8; n.max(0) as usize]);
    for g in &program.guards {
        use fornax_codegen::program::GuardKind;
        let (l, r) = (value(&g.lhs)?, value(&g.rhs)?);
        let holds = match g.kind {
            GuardKind::Eq => l == r,
            GuardKind::Le => l <= r,
            GuardKind::Divides => l > 0 && r % l == 0,
        };
        if !holds {
            return Err(program.messages[g.message as usize].clone());
        }
    }
    let mut memory = Memory {
        inputs: inputs.to_vec(),
        outputs: program.outputs.iter().map(|o| zeros(&o.bytes())).collect::<Result<_, _>>()?,
        weights: weights.to_vec(),
        slots: program.slots.iter().map(zeros).collect::<Result<_, _>>()?,
    };
    let mut raised = None;
    for (i, call) in program.calls.iter().enumerate() {
        let scalars = call.scalars.iter().map(value).collect::<Result<Vec<_>, _>>()?;
        let kernel = &program.kernels[call.kernel];
        let detail = run_kernel(kernel, &call.buffers, &scalars, &mut memory)
            .map_err(|e| format!("call {i} ({}): {e}\n{kernel:?}", call.label))?;
        raised = raised.or(detail);
    }
    let message = raised.map(|m| program.messages[m as usize].clone());
    Ok((memory.outputs, message))
}

fn run_kernel(
    kernel: &Kernel,
    places: &[Place],
    scalars: &[i64],
    memory: &mut Memory,
) -> Result<Option<i64>, String> {
    let mut buffers: Vec<Vec<u8>> = places.iter().map(|p| memory.bytes(*p)).collect();
    let mut slices: Vec<&mut [u8]> = buffers.iter_mut().map(Vec::as_mut_slice).collect();
    let detail = interp::run(kernel, &mut slices, scalars, Options::default()).map_err(|e| e.to_string())?;
    for ((decl, place), bytes) in kernel.buffers.iter().zip(places).zip(buffers) {
        if decl.access != Access::Read {
            *memory.at(*place) = bytes;
        }
    }
    Ok(detail)
}
