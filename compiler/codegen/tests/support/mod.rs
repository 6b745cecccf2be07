//! Compiles single kernels, runs them natively beside guard pages, and compares with the interpreter.
#![allow(
    dead_code,
    unsafe_code,
    reason = "each test file uses a part of this; compiled kernels are called by address"
)]

pub mod build;
pub mod memory;

use cranelift_codegen::Context;
use cranelift_codegen::ir::UserFuncName;
use cranelift_module::{Linkage, Module};
use fornax_codegen::block::{BlockLayout, ScratchLayout, work_items};
use fornax_codegen::driver::{KernelCode, define_kernel, signature};
use fornax_codegen::leaf::{Clif, LeafCall, LeafEmitter, X64};
use fornax_codegen::{Cpu, Image, ImageModule, Target, trapping_instruction};
use fornax_ir::dtype::DType;
use fornax_ir::kernel::interp::{self, Options};
use fornax_ir::kernel::{Access, Kernel};
use fornax_ir::leaf::Leaf;
use memory::Guarded;
use std::sync::Arc;

/// Clif without vectors, as on targets that have none.
pub struct OneLane(pub Clif);

impl LeafEmitter for OneLane {
    fn name(&self) -> &str {
        "one-lane"
    }
    fn lanes(&self, _: DType) -> u32 {
        1
    }
    fn registers(&self) -> u32 {
        self.0.registers()
    }
    fn supports(&self, leaf: &Leaf) -> Result<(), String> {
        self.0.supports(leaf)
    }
    fn emit(&self, b: &mut cranelift_frontend::FunctionBuilder<'_>, call: &LeafCall<'_>) {
        self.0.emit(b, call);
    }
}

/// A kernel in executable memory.
pub struct Native {
    pub kernel: Kernel,
    pub leaves: Vec<(String, Leaf)>,
    pub clif: String,
    pub asm: String,
    scratch: ScratchLayout,
    image: Arc<Image>,
    entry: usize,
}

type Entry = extern "sysv64" fn(*mut u64, i64, i64, u32);

impl Native {
    pub fn compile(kernel: &Kernel, target: &Target, emitter: &dyn LeafEmitter) -> Native {
        fornax_ir::kernel::verify::verify(kernel).unwrap();
        let mut code = define_kernel(kernel, target, emitter).unwrap();
        let mut module = ImageModule::new(target.isa.clone(), []);
        code.define_leaves(&mut module, "kernel").unwrap();
        let KernelCode { function, leaves, scratch, .. } = code;
        for (name, leaf) in &leaves {
            if let Err(e) = fornax_ir::leaf::verify::verify(leaf) {
                panic!("{name}: {e}\n{leaf}");
            }
        }
        assert_eq!(trapping_instruction(&function), None, "{}", function.display());
        let id = module.declare_function("kernel", Linkage::Export, &signature()).unwrap();
        let clif = function.display().to_string();
        let mut ctx = Context::for_function(function);
        ctx.func.name = UserFuncName::user(0, id.as_u32());
        ctx.set_disasm(true);
        if let Err(e) = module.define_function(id, &mut ctx) {
            panic!("{e:?}\n{clif}");
        }
        let asm = ctx.compiled_code().and_then(|c| c.vcode.clone()).unwrap_or_default();
        let image = module.finish().unwrap();
        let entry = image.address(id).unwrap() as usize;
        Native { kernel: kernel.clone(), leaves, clif, asm, scratch, image, entry }
    }

    /// Runs all work items, in pieces given to different workers. Returns the error flag.
    pub fn run(&self, buffers: &mut [Guarded], scalars: &[i64], pieces: i64) -> i64 {
        let layout = BlockLayout::of(&self.kernel);
        let stride = self.scratch.bytes(scalars).unwrap();
        let workers = pieces.clamp(1, 3);
        let mut scratch = Guarded::new(&vec![0xab; (stride * workers) as usize], 64, true);
        let mut flag = 0i64;
        let mut block: Vec<u64> = buffers.iter_mut().map(|b| b.as_mut_ptr() as u64).collect();
        block.extend(scalars.iter().map(|&s| s as u64));
        block.extend([scratch.as_mut_ptr() as u64, stride as u64, &raw mut flag as u64]);
        assert_eq!(block.len(), layout.words());
        let items = work_items(&self.kernel, scalars).unwrap();
        // SAFETY: the address is that of a function of this signature in the image, which `self` keeps alive.
        let entry: Entry = unsafe { std::mem::transmute(self.entry) };
        let step = (items / pieces).max(1);
        let mut begin = 0;
        let mut worker = 0;
        while begin < items {
            let end = if begin + 2 * step > items { items } else { begin + step };
            entry(block.as_mut_ptr(), begin, end, worker);
            worker = (worker + 1) % workers as u32;
            begin = end;
        }
        // SAFETY: `flag` lives and is written only by the calls above.
        unsafe { (&raw const flag).read_volatile() }
    }
}

/// Buffers for a test: bytes of each.
pub type Buffers = Vec<Vec<u8>>;

/// Runs the kernel natively for several targets and emitters, and compares all stored bytes with the interpreter's.
/// Tells whether vectors were used.
pub fn check(kernel: &Kernel, buffers: &Buffers, scalars: &[i64]) -> bool {
    let mut vectors = false;
    for cpu in [Cpu::V3, Cpu::V4] {
        let Ok(target) = Target::host(cpu) else { continue };
        let x64 = X64::new(&target).unwrap();
        vectors |= check_with(kernel, buffers, scalars, &target, &x64);
    }
    for cpu in [Cpu::Native, Cpu::Baseline] {
        let target = Target::host(cpu).unwrap();
        let clif = Clif::new(&target);
        vectors |= check_with(kernel, buffers, scalars, &target, &clif);
        if cpu == Cpu::Native {
            let any = check_with(kernel, buffers, scalars, &target, &OneLane(clif));
            assert!(!any, "vectors where there are none");
        }
    }
    vectors
}

pub fn check_with(
    kernel: &Kernel,
    buffers: &Buffers,
    scalars: &[i64],
    target: &Target,
    emitter: &dyn LeafEmitter,
) -> bool {
    let mut expected = buffers.clone();
    let mut views: Vec<&mut [u8]> = expected.iter_mut().map(|b| &mut b[..]).collect();
    // What code generation computes: basic instructions, whose definition is the expanded kernel's.
    let expanded = fornax_ir::kernel::math::expand(kernel);
    let options = Options { fma: target.fma, contract: target.fma };
    let raised = interp::run(&expanded, &mut views, scalars, options).unwrap();
    let native = Native::compile(kernel, target, emitter);
    for (pieces, at_end) in [(1, true), (3, false)] {
        let guarded =
            |(b, d): (&Vec<u8>, &fornax_ir::kernel::BufferDecl)| Guarded::new(b, d.dtype.bytes(), at_end);
        let mut actual: Vec<Guarded> = buffers.iter().zip(&kernel.buffers).map(guarded).collect();
        let flag = native.run(&mut actual, scalars, pieces);
        assert_eq!(flag != 0, raised.is_some(), "error flag {flag}, expected {raised:?}\n{kernel:?}");
        for (n, (a, e)) in actual.iter().zip(&expected).enumerate() {
            if kernel.buffers[n].access != Access::Read {
                compare(kernel, n, a.bytes(), e, &native, emitter.name());
            }
        }
    }
    let wide = |leaf: &Leaf| leaf.init.iter().chain(&leaf.body).chain(&leaf.finish).any(|op| op.ty.lanes > 1);
    native.leaves.iter().any(|(_, leaf)| wide(leaf))
}

fn compare(kernel: &Kernel, n: usize, actual: &[u8], expected: &[u8], native: &Native, emitter: &str) {
    let dtype = kernel.buffers[n].dtype;
    let width = dtype.bytes();
    for (i, (a, e)) in actual.chunks(width).zip(expected.chunks(width)).enumerate() {
        if a != e && !(is_nan(dtype, a) && is_nan(dtype, e)) {
            let (a, e) = (show(dtype, a), show(dtype, e));
            let leaves: String =
                native.leaves.iter().map(|(name, leaf)| format!("{name}\n{leaf}\n")).collect();
            panic!("buffer {n}, element {i}: {a}, expected {e} ({emitter})\n{leaves}\n{kernel:#?}");
        }
    }
}

fn is_nan(dtype: DType, bytes: &[u8]) -> bool {
    match dtype {
        DType::F32 => f32::from_ne_bytes(bytes.try_into().unwrap()).is_nan(),
        DType::F64 => f64::from_ne_bytes(bytes.try_into().unwrap()).is_nan(),
        DType::F16 => half_is_nan(bytes, 0x7c00),
        DType::BF16 => half_is_nan(bytes, 0x7f80),
        _ => false,
    }
}

fn half_is_nan(bytes: &[u8], infinity: u16) -> bool {
    u16::from_ne_bytes(bytes.try_into().unwrap()) & 0x7fff > infinity
}

fn show(dtype: DType, bytes: &[u8]) -> String {
    let mut word = [0; 8];
    word[..bytes.len()].copy_from_slice(bytes);
    format!("{:?}", fornax_ir::scalar::Scalar::new(dtype, u64::from_le_bytes(word)))
}
