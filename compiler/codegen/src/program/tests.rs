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

/// A scan over rows of the input: adds each to what is carried, in a loop of its own that never runs.
fn looped() -> Program {
    let row = || Dim::from(12);
    let copy = |from, to| Call { buffers: vec![from, to], scalars: vec![row()], ..example().calls.remove(0) };
    let carried = |now, next, first| Carried { now, next, first, buffers: [0, 1] };
    let inner = Step::While {
        cond: vec![],
        pred: Place::Slot(0),
        body: vec![Step::Call(1)],
        carried: vec![Carried { buffers: [1, 2], ..carried(2, 3, Place::Slice(0)) }],
    };
    let body = vec![Step::Call(0), inner];
    let scan = Step::Scan {
        length: Dim::symbol("n"),
        reverse: true,
        counter: 0,
        body,
        carried: vec![carried(0, 1, Place::Input(0))],
    };
    let cond = Step::Cond { pred: Place::Input(0), then: vec![Step::Call(2)], otherwise: vec![] };
    Program {
        calls: vec![
            copy(Place::Slice(0), Place::Variable(1)),
            copy(Place::Variable(2), Place::Variable(3)),
            copy(Place::Variable(0), Place::Slot(0)),
        ],
        steps: vec![scan, cond],
        slices: vec![Slice { of: Place::Input(0), counter: 0, stride: row() }],
        slots: vec![row(), row(), row()],
        variables: 4,
        counters: 1,
        ..example()
    }
}

#[test]
fn control_flow_verifies_and_prints() {
    let program = looped();
    assert_eq!(program.verify(), Ok(()));
    let text = program.to_string();
    let from = text.find("  slice0").unwrap();
    assert_eq!(
        &text[from..],
        "  slice0 12 bytes of in0 at counter0\n  \
         carry var0 to var1 from in0 in slot0, slot1\n  \
         scan counter0 down from n {\n    \
         call 0: k0 copy(slice0, var1) scalars (12) work 3*n bytes 24*n ; Identity\n    \
         carry var2 to var3 from slice0 in slot1, slot2\n    \
         while {\n    } gives slot0 do {\n      \
         call 1: k0 copy(var2, var3) scalars (12) work 3*n bytes 24*n ; Identity\n    }\n  }\n  \
         if in0 {\n    \
         call 2: k0 copy(var0, slot0) scalars (12) work 3*n bytes 24*n ; Identity\n  } else {\n  }\n}\n"
    );
}

#[test]
fn every_invariant_of_control_flow_is_checked() {
    let fault = |change: &dyn Fn(&mut Program)| {
        let mut program = looped();
        change(&mut program);
        program.verify().unwrap_err().to_string()
    };
    let says = |want: &str, change: &dyn Fn(&mut Program)| {
        let got = fault(change);
        assert!(got.contains(want), "{got}\nwanted: {want}");
    };
    says("call 2 is made by no step", &|p| p.steps.truncate(1));
    says("call 2 is used by two steps", &|p| p.steps.push(Step::Call(2)));
    says("call 7 does not exist", &|p| p.steps.push(Step::Call(7)));
    says("reads var2 before its loop", &|p| p.calls[2].buffers[0] = Place::Variable(2));
    says("stores to var0, which is not the next value", &|p| p.calls[0].buffers[1] = Place::Variable(0));
    says("stores to var1, which is not", &|p| p.calls[2].buffers[1] = Place::Variable(1));
    says("uses slice0 outside of the scan with counter0", &|p| p.calls[2].buffers[0] = Place::Slice(0));
    says("is stored to, and is an input", &|p| p.calls[0].buffers[1] = Place::Slice(0));
    says("variable 9 does not exist", &|p| p.calls[2].buffers[0] = Place::Variable(9));
    says("slice 4 does not exist", &|p| p.calls[2].buffers[0] = Place::Slice(4));
    says("no earlier one", &|p| p.slices[0].of = Place::Slice(0));
    says("counter 3 does not exist", &|p| p.slices[0].counter = 3);
    says("slice 0: the dim", &|p| p.slices[0].stride = Dim::symbol("m"));
    let scan = |p: &mut Program, f: &dyn Fn(&mut Dim, &mut u32, &mut Vec<Carried>)| match &mut p.steps[0] {
        Step::Scan { length, counter, carried, .. } => f(length, counter, carried),
        _ => panic!(),
    };
    says("a scan's length", &|p| scan(p, &|length, _, _| *length = Dim::symbol("m")));
    says("counter 5 does not exist", &|p| scan(p, &|_, counter, _| *counter = 5));
    says("variable 0 is used by two steps", &|p| scan(p, &|_, _, c| c[0].next = 0));
    says("in slot 1 alone", &|p| scan(p, &|_, _, c| c[0].buffers = [1, 1]));
    says("slot 8 does not exist", &|p| scan(p, &|_, _, c| c[0].buffers = [1, 8]));
    says("input 3 does not exist", &|p| scan(p, &|_, _, c| c[0].first = Place::Input(3)));
}
