use super::*;
use fornax_ir::kernel::{Access, BufferDecl};

fn copy_kernel() -> Kernel {
    let buffer = |access| BufferDecl { dtype: DType::F32, access };
    let buffers = vec![buffer(Access::Read), buffer(Access::Write)];
    Kernel { name: "copy".into(), buffers, scalars: 1, ..Kernel::default() }
}

fn example() -> Program {
    let n = || Dim::symbol("n");
    let tensor =
        |name: &str| TensorSpec { name: name.into(), dtype: DType::F32, shape: vec![n(), Dim::from(3)] };
    Program {
        name: "example".into(),
        symbols: vec![SymbolRange { name: "n".into(), lo: 1, hi: None }],
        inputs: vec![tensor("x")],
        outputs: vec![tensor("y")],
        guards: vec![Guard { kind: GuardKind::Divides, lhs: Dim::from(4), rhs: n(), message: 0 }],
        messages: vec!["n must be a multiple of 4".into()],
        kernels: vec![copy_kernel()],
        calls: vec![Call {
            kernel: 0,
            buffers: vec![Place::Input(0), Place::Output(0)],
            scalars: vec![n() * 3],
            work: n() * 3,
            label: "Identity".into(),
            bytes: n() * 24,
        }],
        steps: Step::calls(1),
        slots: vec![n() * 12],
        weights: WeightsLayout { bytes: 64 },
        aliases: vec![(0, 0)],
        ..Program::default()
    }
}

fn fault(change: impl FnOnce(&mut Program)) -> String {
    let mut program = example();
    change(&mut program);
    program.verify().unwrap_err().to_string()
}

#[test]
fn a_right_program_verifies_and_prints() {
    let program = example();
    assert_eq!(program.verify(), Ok(()));
    assert_eq!(
        program.to_string(),
        "program example {\n  symbol n in 1..=\n  in0 x: f32[n, 3]\n  out0 y: f32[n, 3] may be in0\n  \
         weights 64 bytes\n  guard 4 divides n else \"n must be a multiple of 4\"\n  slot0 12*n bytes\n  \
         call 0: k0 copy(in0, out0) scalars (3*n) work 3*n bytes 24*n ; Identity\n}\n"
    );
    assert_eq!(program.inputs[0].bytes(), Dim::symbol("n") * 12);
}

#[test]
fn every_invariant_is_checked() {
    assert!(fault(|p| p.symbols.push(p.symbols[0].clone())).contains("twice"));
    assert!(fault(|p| p.symbols[0].lo = -1).contains("range"));
    assert!(fault(|p| p.symbols[0].hi = Some(0)).contains("range"));
    assert!(fault(|p| p.slots[0] = Dim::symbol("m")).contains("`m`"));
    assert!(fault(|p| p.slots[0] = Dim::axis(0)).contains("axis"));
    assert!(fault(|p| p.slots[0] = Dim::from(i64::MAX) * Dim::symbol("n") * 2).contains("overflow"));
    assert!(fault(|p| p.inputs[0].shape[0] = Dim::symbol("n") + 1).contains("`x`"));
    assert!(fault(|p| p.inputs[0].shape[1] = Dim::from(-1)).contains("-1"));
    assert!(fault(|p| p.aliases[0] = (0, 1)).contains("output 1"));
    assert!(fault(|p| p.guards[0].message = 1).contains("message 1"));
    assert!(fault(|p| p.kernels[0].outer.push(reduce())).contains("copy"));
    assert!(fault(|p| p.calls[0].kernel = 1).contains("kernel 1"));
    assert!(fault(|p| p.calls[0].buffers.truncate(1)).contains("takes 2 buffers"));
    assert!(fault(|p| p.calls[0].scalars.clear()).contains("takes 1 scalars"));
    assert!(fault(|p| p.calls[0].buffers[0] = Place::Slot(1)).contains("slot 1"));
    assert!(fault(|p| p.calls[0].buffers[0] = Place::Weights(65)).contains("weights byte"));
    assert!(fault(|p| p.calls[0].buffers[0] = Place::Weights(2)).contains("aligned"));
    assert!(fault(|p| p.calls[0].buffers[1] = Place::Weights(0)).contains("stored to"));
    assert!(fault(|p| p.calls[0].buffers[1] = Place::Input(0)).contains("stored to"));
}

fn reduce() -> fornax_ir::kernel::Axis {
    let kind = fornax_ir::kernel::AxisKind::Reduce;
    fornax_ir::kernel::Axis { extent: fornax_ir::kernel::Size::ONE, kind }
}
