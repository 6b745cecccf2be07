use super::*;
use crate::image::{Image, ImageModule};
use crate::target::{Cpu, Target};
use cranelift_codegen::ir::{AbiParam, UserFuncName};
use cranelift_frontend::FunctionBuilderContext;
use cranelift_module::{FuncId, Linkage, Module};
use std::sync::Arc;

/// Code that evaluates one node over symbols `a` and `b`.
struct Code {
    image: Arc<Image>,
    id: FuncId,
}

impl Code {
    fn of(sizes: &Sizes, root: SizeId) -> Code {
        let mut module = ImageModule::new(Target::host(Cpu::Native).unwrap().isa, []);
        let mut scratch = FunctionBuilderContext::new();
        let config = module.target_config();
        let mut define =
            |module: &mut ImageModule,
             name: &str,
             body: &mut dyn FnMut(&mut ImageModule, &mut FunctionBuilder<'_>)| {
                let mut ctx = module.make_context();
                ctx.func.signature.params.extend([AbiParam::new(I64); 2]);
                ctx.func.signature.returns.push(AbiParam::new(I64));
                let id = module.declare_function(name, Linkage::Export, &ctx.func.signature).unwrap();
                ctx.func.name = UserFuncName::user(0, id.as_u32());
                let mut b = FunctionBuilder::new(&mut ctx.func, &mut scratch);
                body(module, &mut b);
                b.seal_all_blocks();
                b.finalize(config);
                assert_eq!(crate::traps::trapping_instruction(&ctx.func), None);
                module.define_function(id, &mut ctx).unwrap();
                id
            };
        let divide = define(&mut module, "floor_div", &mut |_, b| floor_div_body(b));
        let id = define(&mut module, "value", &mut |module, b| {
            let block = b.create_block();
            b.append_block_params_for_function_params(block);
            b.switch_to_block(block);
            let (dims, fault) = (b.block_params(block)[0], b.block_params(block)[1]);
            let divide = module.declare_func_in_func(divide, b.func);
            let mut emitter = Emitter::new(sizes, b, dims, Some(divide));
            let value = emitter.value(b, root);
            let flag = emitter.fault();
            b.ins().store(MemFlagsData::trusted(), flag, fault, 0);
            b.ins().return_(&[value]);
        });
        Code { image: module.finish().unwrap(), id }
    }

    fn eval(&self, dims: [i64; 2]) -> Option<i64> {
        let code = self.image.address(self.id).unwrap();
        let mut fault = 0u8;
        // SAFETY: `value` was built above with this signature; both pointers are valid.
        let value = unsafe {
            let code: extern "C" fn(*const i64, *mut u8) -> i64 = std::mem::transmute(code);
            code(dims.as_ptr(), &raw mut fault)
        };
        (fault == 0).then_some(value)
    }
}

fn code_of(dim: &Dim) -> Code {
    let mut sizes = Sizes::new(["a", "b"]);
    let root = sizes.dim(dim).unwrap();
    Code::of(&sizes, root)
}

fn eval(dim: &Dim, [a, b]: [i64; 2]) -> Option<i64> {
    dim.eval_symbols(&|name| Some(if name == "a" { a } else { b })).ok()
}

const EDGES: [i64; 14] = [0, 1, 2, 3, 7, 63, 64, 1000, -1, -2, -7, i64::MAX, i64::MIN, 0x7fff_ffff_ffff_fff0];

#[test]
fn code_agrees_with_the_exact_value_or_flags_it() {
    let (a, b) = (Dim::symbol("a"), Dim::symbol("b"));
    let c = |v: i64| Dim::constant(v);
    let dims = [
        &a + &b,
        &a * &b - 3,
        &a * &a * &b + &a * 5 - 7,
        a.floor_div(&c(3)) + b.floor_div(&c(8)),
        (&a + &b).ceil_div(&c(64)) * 64,
        a.floor_div(&b),
        (&a * 3 + 1).floor_div(&(&b + 2)),
        Dim::min(&a, &b) + Dim::max(&(&a - 5), &(&b * 2)),
        a.rem(&c(7)),
    ];
    for dim in &dims {
        let code = code_of(dim);
        for x in EDGES {
            for y in EDGES {
                let (found, exact) = (code.eval([x, y]), eval(dim, [x, y]));
                // The code may give up where only a partial result overflows.
                let small = x.abs_diff(0).max(y.abs_diff(0)) < 1 << 20;
                assert!(found == exact || (found.is_none() && !small), "{dim} at {x}, {y}: {found:?}");
            }
        }
    }
}

#[test]
fn division_by_constants_is_exact_at_the_edges_of_every_quotient() {
    for by in [1, 2, 3, 5, 6, 7, 10, 48, 64, 641, 1000, 65_537, (1 << 32) + 1, (1 << 62) + 1, i64::MAX] {
        let code = code_of(&Dim::symbol("a").floor_div(&Dim::constant(by)));
        let multiples = [0, 1, 2, -1, -2, i64::MAX / by, i64::MIN / by, (i64::MAX / by) / 2];
        for m in multiples {
            for near in [-1, 0, 1] {
                let Some(x) = m.checked_mul(by).and_then(|x| x.checked_add(near)) else { continue };
                assert_eq!(code.eval([x, 0]), Some(x.div_euclid(by)), "{x} / {by}");
            }
        }
    }
}

#[test]
fn long_division_is_exact() {
    let code = code_of(&Dim::symbol("a").floor_div(&Dim::symbol("b")));
    for x in EDGES {
        for by in [1, 2, 3, 10, 64, 1 << 40, i64::MAX - 1, i64::MAX] {
            assert_eq!(code.eval([x, by]), Some(x.div_euclid(by)), "{x} / {by}");
        }
        for by in [0, -1, i64::MIN] {
            assert_eq!(code.eval([x, by]), None);
        }
    }
}

#[test]
fn equal_sizes_are_one_node_and_constants_fold() {
    let mut sizes = Sizes::new(["a"]);
    let a = sizes.dim(&Dim::symbol("a")).unwrap();
    let two = sizes.constant(2);
    assert_eq!(sizes.mul(a, two).unwrap(), sizes.mul(two, a).unwrap());
    let seven = sizes.constant(7);
    let aligned = sizes.align(seven, 64).unwrap();
    assert_eq!(sizes.as_const(aligned), Some(64));
    let huge = sizes.constant(i64::MAX);
    assert_eq!(sizes.add(huge, two), Err(SizeError::Overflow));
    let zero = sizes.constant(0);
    assert_eq!(sizes.floor_div(two, zero), Err(SizeError::Divisor));
    assert_eq!(sizes.dim(&Dim::symbol("b")), Err(SizeError::Unbound));
}

#[test]
fn negative_sizes_are_flagged_on_demand() {
    let mut sizes = Sizes::new(["a", "b"]);
    let root = sizes.dim(&(Dim::symbol("a") - 5)).unwrap();
    assert_eq!(Code::of(&sizes, root).eval([3, 0]), Some(-2));
}
