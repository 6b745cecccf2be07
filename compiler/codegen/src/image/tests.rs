use super::*;
use crate::target::{Cpu, Target};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{F32, I64};
use cranelift_codegen::ir::{AbiParam, InstBuilder, MemFlagsData, Signature, UserFuncName};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};

fn module(cpu: Cpu, imports: &[(&str, usize)]) -> ImageModule {
    let isa = Target::host(cpu).unwrap().isa;
    ImageModule::new(isa, imports.iter().map(|&(n, a)| (n.to_owned(), a)))
}

fn i64_to_i64(module: &ImageModule) -> Signature {
    let mut signature = module.make_signature();
    signature.params.push(AbiParam::new(I64));
    signature.returns.push(AbiParam::new(I64));
    signature
}

#[allow(clippy::result_large_err, reason = "the error of the trait under test")]
/// Defines `id` with a body that maps its parameter to the value to return.
fn define(
    module: &mut ImageModule,
    id: FuncId,
    body: impl FnOnce(&mut ImageModule, &mut FunctionBuilder<'_>, ir::Value) -> ir::Value,
) -> ModuleResult<()> {
    let mut ctx = module.make_context();
    ctx.func.signature = module.declarations().get_function_decl(id).signature.clone();
    ctx.func.name = UserFuncName::user(0, id.as_u32());
    let config = module.target_config();
    let mut scratch = FunctionBuilderContext::new();
    let mut b = FunctionBuilder::new(&mut ctx.func, &mut scratch);
    let block = b.create_block();
    b.append_block_params_for_function_params(block);
    b.switch_to_block(block);
    let x = b.block_params(block)[0];
    let result = body(module, &mut b, x);
    b.ins().return_(&[result]);
    b.seal_all_blocks();
    b.finalize(config);
    module.define_function(id, &mut ctx)
}

fn call(image: &Image, id: FuncId, x: i64) -> i64 {
    let code = image.address(id).unwrap();
    // SAFETY: the function was defined above with the signature i64 -> i64, and `image` is alive.
    unsafe { std::mem::transmute::<*const u8, extern "C" fn(i64) -> i64>(code)(x) }
}

fn adder(cpu: Cpu, step: i64) -> (Arc<Image>, FuncId) {
    let mut m = module(cpu, &[]);
    let signature = i64_to_i64(&m);
    let id = m.declare_function("add", Linkage::Export, &signature).unwrap();
    define(&mut m, id, |_, b, x| b.ins().iadd_imm_s(x, step)).unwrap();
    (m.finish().unwrap(), id)
}

extern "C" fn triple(x: i64) -> i64 {
    3 * x
}

#[test]
fn code_runs_and_stays_until_the_last_owner_goes() {
    let (image, id) = adder(Cpu::Baseline, 5);
    let other = Arc::clone(&image);
    drop(image);
    assert_eq!(call(&other, id, 37), 42);
    assert_eq!(call(&other, id, i64::MAX), i64::MIN + 4);
}

#[test]
fn calls_reach_other_functions_and_imports_far_away() {
    let mut m = module(Cpu::Baseline, &[("triple", triple as *const () as usize)]);
    let signature = i64_to_i64(&m);
    let outer = m.declare_function("outer", Linkage::Export, &signature).unwrap();
    let inner = m.declare_function("inner", Linkage::Local, &signature).unwrap();
    let import = m.declare_function("triple", Linkage::Import, &signature).unwrap();
    // The caller is defined before the callee: references go both ways.
    define(&mut m, outer, |m, b, x| {
        let inner = m.declare_func_in_func(inner, b.func);
        let call = b.ins().call(inner, &[x]);
        b.inst_results(call)[0]
    })
    .unwrap();
    define(&mut m, inner, |m, b, x| {
        let import = m.declare_func_in_func(import, b.func);
        let call = b.ins().call(import, &[x]);
        let y = b.inst_results(call)[0];
        b.ins().iadd_imm_s(y, 1)
    })
    .unwrap();
    assert_eq!(m.external_symbols().unwrap(), ["triple"]);
    let image = m.finish().unwrap();
    assert_eq!(call(&image, outer, 7), 22);
}

#[test]
fn given_bytes_reach_an_import_through_its_stub() {
    if !cfg!(target_arch = "x86_64") {
        return;
    }
    let mut m = module(Cpu::Baseline, &[("triple", triple as *const () as usize)]);
    let signature = i64_to_i64(&m);
    let import = m.declare_function("triple", Linkage::Import, &signature).unwrap();
    let id = m.declare_function("jump", Linkage::Export, &signature).unwrap();
    // jmp rel32
    let reloc = ModuleReloc { offset: 1, kind: Reloc::X86CallPLTRel4, name: import.into(), addend: -4 };
    m.define_function_bytes(id, 64, &[0xe9, 0, 0, 0, 0], &[reloc]).unwrap();
    let image = m.finish().unwrap();
    assert_eq!(image.address(id).unwrap() as usize % 64, 0);
    assert_eq!(call(&image, id, -4), -12);
}

#[test]
fn constants_are_readable_and_may_hold_addresses() {
    let mut m = module(Cpu::Baseline, &[]);
    let signature = i64_to_i64(&m);
    let inner = m.declare_function("inner", Linkage::Local, &signature).unwrap();
    let outer = m.declare_function("outer", Linkage::Export, &signature).unwrap();
    let data = m.declare_data("table", Linkage::Local, false, false).unwrap();
    let mut description = DataDescription::new();
    let mut contents = [0u8; 24];
    contents[8..16].copy_from_slice(&1000i64.to_le_bytes());
    description.define(Box::new(contents));
    let inner_in_data = m.declare_func_in_data(inner, &mut description);
    description.write_function_addr(16, inner_in_data);
    m.define_data(data, &description).unwrap();
    define(&mut m, inner, |_, b, x| b.ins().imul_imm_s(x, 10)).unwrap();
    define(&mut m, outer, |m, b, x| {
        let table = m.declare_data_in_func(data, b.func);
        let table = b.ins().symbol_value(I64, table);
        let bias = b.ins().load(I64, MemFlagsData::trusted(), table, 8);
        let function = b.ins().load(I64, MemFlagsData::trusted(), table, 16);
        let signature = b.import_signature(i64_to_i64(m));
        let call = b.ins().call_indirect(signature, function, &[x]);
        let y = b.inst_results(call)[0];
        b.ins().iadd(y, bias)
    })
    .unwrap();
    let image = m.finish().unwrap();
    assert_eq!(call(&image, outer, 4), 1040);
}

#[test]
fn an_unknown_import_is_an_error_that_names_the_known_ones() {
    let mut m = module(Cpu::Baseline, &[("triple", triple as *const () as usize)]);
    let signature = i64_to_i64(&m);
    let import = m.declare_function("quadruple", Linkage::Import, &signature).unwrap();
    let id = m.declare_function("f", Linkage::Export, &signature).unwrap();
    define(&mut m, id, |m, b, x| {
        let import = m.declare_func_in_func(import, b.func);
        let call = b.ins().call(import, &[x]);
        b.inst_results(call)[0]
    })
    .unwrap();
    let text = m.finish().unwrap_err().to_string();
    assert!(text.contains("quadruple") && text.contains("triple"), "{text}");
}

#[test]
fn a_libcall_is_an_import_like_any_other() {
    let mut m = module(Cpu::Baseline, &[]);
    let signature = i64_to_i64(&m);
    let id = m.declare_function("f", Linkage::Export, &signature).unwrap();
    define(&mut m, id, |_, b, x| {
        let x = b.ins().fcvt_from_sint(F32, x);
        let y = b.ins().floor(x);
        b.ins().fcvt_to_sint_sat(I64, y)
    })
    .unwrap();
    let names = m.external_symbols().unwrap();
    if cfg!(target_arch = "x86_64") {
        assert_eq!(names, ["floorf"]);
        assert!(matches!(m.finish(), Err(LinkError::UnknownImport { .. })));
    }
}

#[test]
fn wrong_definitions_are_errors() {
    let mut m = module(Cpu::Baseline, &[]);
    let signature = i64_to_i64(&m);
    let f = m.declare_function("f", Linkage::Export, &signature).unwrap();
    let g = m.declare_function("g", Linkage::Local, &signature).unwrap();
    let import = m.declare_function("i", Linkage::Import, &signature).unwrap();
    let writable = m.declare_data("w", Linkage::Local, true, false).unwrap();
    let mut contents = DataDescription::new();
    contents.define_zeroinit(8);
    assert!(m.define_data(writable, &contents).unwrap_err().to_string().contains("constants"));
    let imported = define(&mut m, import, |_, _, x| x);
    assert!(matches!(imported, Err(ModuleError::InvalidImportDefinition(_))));
    define(&mut m, f, |m, b, x| {
        let g = m.declare_func_in_func(g, b.func);
        let call = b.ins().call(g, &[x]);
        b.inst_results(call)[0]
    })
    .unwrap();
    let twice = define(&mut m, f, |_, _, x| x);
    assert!(matches!(twice, Err(ModuleError::DuplicateDefinition(_))));
    assert!(matches!(m.finish(), Err(LinkError::Undefined { name }) if name == "g"));
}

/// Lines of this process's table of mappings that are executable.
fn executable_mappings() -> usize {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    maps.lines().filter(|l| l.split_whitespace().nth(1).is_some_and(|p| p.contains('x'))).count()
}

#[test]
fn two_thousand_dropped_images_leave_no_mapping() {
    if !cfg!(target_os = "linux") {
        return;
    }
    let before = executable_mappings();
    for step in 0..2000 {
        let (image, id) = adder(Cpu::Baseline, step);
        assert_eq!(call(&image, id, 1), step + 1);
    }
    let after = executable_mappings();
    // Other tests of this process may hold an image at either moment.
    assert!(after.abs_diff(before) < 100, "{before} executable mappings became {after}");
}

#[test]
fn no_page_is_writable_and_executable() {
    if !cfg!(target_os = "linux") {
        return;
    }
    let (image, id) = adder(Cpu::Baseline, 1);
    let address = image.address(id).unwrap() as usize;
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let line = maps.lines().find(|line| {
        let (from, to) = line.split_once(' ').unwrap().0.split_once('-').unwrap();
        let parse = |s| usize::from_str_radix(s, 16).unwrap();
        (parse(from)..parse(to)).contains(&address)
    });
    assert_eq!(line.unwrap().split_whitespace().nth(1), Some("r-xp"));
}

#[test]
fn code_for_v3_runs_where_the_machine_has_it() {
    if Target::host(Cpu::V3).is_err() {
        return;
    }
    let mut m = module(Cpu::V3, &[]);
    let signature = i64_to_i64(&m);
    let id = m.declare_function("f", Linkage::Export, &signature).unwrap();
    define(&mut m, id, |_, b, x| {
        let y = b.ins().fcvt_from_sint(F32, x);
        let half = b.ins().f32const(0.5);
        let z = b.ins().fma(y, half, half);
        let down = b.ins().floor(z);
        let small = b.ins().icmp_imm_s(IntCC::SignedLessThan, x, 0);
        let out = b.ins().fcvt_to_sint_sat(I64, down);
        let zero = b.ins().iconst(I64, 0);
        b.ins().select(small, zero, out)
    })
    .unwrap();
    assert!(m.external_symbols().unwrap().is_empty());
    let image = m.finish().unwrap();
    assert_eq!((call(&image, id, 8), call(&image, id, -8)), (4, 0));
}
