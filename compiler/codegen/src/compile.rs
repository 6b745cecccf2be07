//! From a [`Program`] to code in this process.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use cranelift_codegen::Context;
use cranelift_codegen::control::ControlPlane;
use cranelift_codegen::ir::{AbiParam, Function, Signature, UserFuncName, types};
use cranelift_codegen::isa::CallConv;
use cranelift_module::{FuncId, Linkage, Module, ModuleReloc, ModuleRelocTarget};
use fornax_ir::kernel::Kernel;
use rustc_hash::FxHashMap;

use crate::block::ScratchLayout;
use crate::compiled::{Compiled, Stats};
use crate::driver::{KernelCode, define_kernel, signature};
use crate::entry::{self, Unit};
use crate::error::Error;
use crate::image::ImageModule;
use crate::leaf::{self, LeafEmitter};
use crate::program::Program;
use crate::target::{Leaf, Target};
use crate::traps::trapping_instruction;

/// What to do besides compiling.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Options {
    /// Threads to compile on; 0: as many as the machine has.
    pub threads: usize,
    /// Keep the text of every kernel's leaves.
    pub dump_leaves: bool,
    /// Keep the text of every function in Cranelift's IR.
    pub dump_clif: bool,
    /// Keep the text of every function in the target's assembly.
    pub dump_asm: bool,
}

/// Texts kept on request, each function under a line that names it; empty if not asked for.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Dumps {
    /// Leaves of the kernels.
    pub leaves: String,
    /// Functions in Cranelift's IR.
    pub clif: String,
    /// Functions in the target's assembly.
    pub asm: String,
}

static COMPILATIONS: AtomicU64 = AtomicU64::new(0);

/// How many programs this process has compiled; for tests of caches.
#[must_use]
pub fn compilations() -> u64 {
    COMPILATIONS.load(Ordering::Relaxed)
}

/// Compiles a program and links it into an image. Equal kernels are compiled once.
///
/// # Errors
/// [`Error::UnknownLeaf`] if no leaf emitter is called `leaf`; [`Error::Program`] if the program
/// breaks an invariant or a guard of it never holds; [`Error::Kernel`] if a kernel uses what code
/// generation does not cover; the rest are faults of the compiler or of the system.
pub fn compile(program: &Program, target: &Target, leaf: &str, options: &Options) -> Result<Compiled, Error> {
    let start = Instant::now();
    let leaf: Leaf = leaf.parse()?;
    if leaf == Leaf::X64 && leaf::X64::new(target).is_none() {
        return Err(Error::LeafLacking { leaf, cpu: target.cpu });
    }
    let malformed = |source| Error::Program { program: program.name.clone(), source };
    program.verify().map_err(malformed)?;
    COMPILATIONS.fetch_add(1, Ordering::Relaxed);
    let (distinct, number) = deduplicate(&program.kernels);
    let emitter = || leaf::emitter(target, leaf);
    #[expect(clippy::borrowed_box, reason = "what a thread has made is lent as it is")]
    let kernel =
        |emitter: &Box<dyn LeafEmitter>, kernel: &&Kernel| kernel_object(kernel, target, &**emitter, options);
    let kernels = in_parallel(&distinct, options.threads, emitter, kernel)?;
    let mut linker =
        Linker { program, module: ImageModule::new(target.isa.clone(), library()), dumps: Dumps::default() };
    let ids = kernels
        .iter()
        .enumerate()
        .map(|(i, kernel)| linker.kernel(i, kernel))
        .collect::<Result<Vec<_>, _>>()?;
    let functions: Vec<FuncId> = number.iter().map(|&n| ids[n]).collect();
    let scratch: Vec<&ScratchLayout> = number.iter().map(|&n| kernels[n].scratch()).collect();
    let (entry, units) = entry::define(program, &functions, &scratch, &mut linker.module)?;
    let unit = |(): &(), unit: &Unit| unit_object(unit, target, options);
    let objects = in_parallel(&units, options.threads, || (), unit)?;
    for (unit, object) in units.iter().zip(&objects) {
        linker.function(unit.id, object, &[])?;
    }
    let Linker { module, dumps, .. } = linker;
    let link = |source| Error::Link { program: program.name.clone(), source };
    let external_symbols = module.external_symbols().map_err(link)?;
    let image = module.finish().map_err(link)?;
    let stats = Stats {
        kernels: program.kernels.len(),
        distinct_kernels: distinct.len(),
        calls: program.calls.len(),
        code_bytes: image.code_bytes(),
        duration: start.elapsed(),
    };
    tracing::debug!(program = program.name, target = target.id(leaf), ?stats, "compiled");
    Compiled::new(program, image, entry, stats, external_symbols, dumps)
}

/// The functions of the runtime library, with their addresses.
fn library() -> impl Iterator<Item = (String, usize)> {
    fornax_runtime::library::TABLE.iter().map(|&(name, f)| (name.to_string(), f as usize))
}

/// The distinct kernels, and for each kernel the number of the one it equals.
fn deduplicate(kernels: &[Kernel]) -> (Vec<&Kernel>, Vec<usize>) {
    let mut distinct = Vec::new();
    let mut seen: FxHashMap<&Kernel, usize> = FxHashMap::default();
    let number = kernels.iter().map(|kernel| {
        *seen.entry(kernel).or_insert_with(|| {
            distinct.push(kernel);
            distinct.len() - 1
        })
    });
    let number = number.collect();
    (distinct, number)
}

/// A compiled function that is not yet linked.
struct Object {
    name: String,
    alignment: u64,
    code: Vec<u8>,
    relocs: Vec<ModuleReloc>,
    clif: Option<String>,
    asm: Option<String>,
}

/// A compiled kernel.
enum KernelObject {
    /// Code of its own.
    Code(CodeObject),
    /// A function of the runtime library, by its name.
    Library(String, ScratchLayout),
}

impl KernelObject {
    fn scratch(&self) -> &ScratchLayout {
        match self {
            KernelObject::Code(code) => &code.scratch,
            KernelObject::Library(_, scratch) => scratch,
        }
    }
}

struct CodeObject {
    object: Object,
    /// Functions of its leaves.
    functions: Vec<Vec<u8>>,
    scratch: ScratchLayout,
    leaves: Option<String>,
}

fn kernel_object(
    kernel: &Kernel,
    target: &Target,
    emitter: &dyn LeafEmitter,
    options: &Options,
) -> Result<KernelObject, Error> {
    if let Some(library) = kernel.library {
        return Ok(KernelObject::Library(library.symbol(kernel), ScratchLayout::of(kernel)));
    }
    let KernelCode { function, leaves, functions, scratch } = define_kernel(kernel, target, emitter)?;
    let leaves = options.dump_leaves.then(|| {
        let text = |(name, leaf): &(String, fornax_ir::leaf::Leaf)| format!("; {name}\n{leaf}\n");
        leaves.iter().map(text).collect()
    });
    let object = compile_function(function, &kernel.name, FuncId::from_u32(0), target, options)?;
    Ok(KernelObject::Code(CodeObject { object, functions, scratch, leaves }))
}

fn unit_object(unit: &Unit, target: &Target, options: &Options) -> Result<Object, Error> {
    compile_function(unit.func.clone(), &unit.name, unit.id, target, options)
}

/// Compiles one function. `id` is what relocations inside the function refer to.
fn compile_function(
    function: Function,
    name: &str,
    id: FuncId,
    target: &Target,
    options: &Options,
) -> Result<Object, Error> {
    let mut ctx = Context::for_function(function);
    if ctx.func.name == UserFuncName::default() {
        ctx.func.name = UserFuncName::user(0, id.as_u32());
    }
    if cfg!(debug_assertions)
        && let Some(inst) = trapping_instruction(&ctx.func)
    {
        let what = format!("`{inst}` may trap");
        return Err(Error::Cranelift { function: name.to_owned(), what });
    }
    let clif = options.dump_clif.then(|| ctx.func.display().to_string());
    ctx.set_disasm(options.dump_asm);
    let compiled = ctx
        .compile(&*target.isa, &mut ControlPlane::default())
        .map_err(|e| Error::cranelift(name, &e.inner))?;
    let alignment = u64::from(compiled.buffer.alignment);
    let code = compiled.buffer.data().to_vec();
    let asm = compiled.vcode.clone();
    let mach = compiled.buffer.relocs().to_vec();
    let relocs = mach.iter().map(|r| ModuleReloc::from_mach_reloc(r, &ctx.func, id)).collect();
    Ok(Object { name: name.to_owned(), alignment, code, relocs, clif, asm })
}

/// What linking gathers.
struct Linker<'a> {
    program: &'a Program,
    module: ImageModule,
    dumps: Dumps,
}

impl Linker<'_> {
    fn kernel(&mut self, number: usize, kernel: &KernelObject) -> Result<FuncId, Error> {
        match kernel {
            KernelObject::Code(code) => self.code(number, code),
            KernelObject::Library(symbol, _) => {
                let declared = self.module.declare_function(symbol, Linkage::Import, &signature());
                declared.map_err(|e| self.refuse(e))
            }
        }
    }

    fn code(&mut self, number: usize, kernel: &CodeObject) -> Result<FuncId, Error> {
        let declared = self.module.declare_function(&format!("k{number}"), Linkage::Local, &signature());
        let id = declared.map_err(|e| self.refuse(e))?;
        if let Some(leaves) = &kernel.leaves {
            self.dumps.leaves.push_str(&format!("; kernel k{number} {}\n{leaves}", kernel.object.name));
        }
        let leaves = self.leaves(number, &kernel.functions)?;
        if kernel.object.asm.is_some() {
            for (n, code) in kernel.functions.iter().enumerate() {
                self.dumps.asm.push_str(&format!(
                    "; leaf {n} of {}, {} bytes\n",
                    kernel.object.name,
                    code.len()
                ));
                for line in code.chunks(32) {
                    let bytes = line.iter().map(|byte| format!("{byte:02x}"));
                    self.dumps.asm.push_str(&format!("  {}\n", bytes.collect::<String>()));
                }
            }
        }
        self.function(id, &kernel.object, &leaves)?;
        Ok(id)
    }

    /// Defines the functions of a kernel's leaves.
    fn leaves(&mut self, kernel: usize, functions: &[Vec<u8>]) -> Result<Vec<FuncId>, Error> {
        let mut signature = Signature::new(CallConv::SystemV);
        signature.params.push(AbiParam::new(types::I64));
        let mut ids = Vec::with_capacity(functions.len());
        for (n, code) in functions.iter().enumerate() {
            let name = format!("k{kernel}_leaf{n}");
            let id = self.module.declare_function(&name, Linkage::Local, &signature);
            let id = id.map_err(|e| self.refuse(e))?;
            let defined = self.module.define_function_bytes(id, leaf::LEAF_ALIGNMENT, code, &[]);
            defined.map_err(|e| self.refuse(e))?;
            ids.push(id);
        }
        Ok(ids)
    }

    /// Defines a function. `leaves` are those its relocations name in [`leaf::LEAF_NAMESPACE`].
    fn function(&mut self, id: FuncId, object: &Object, leaves: &[FuncId]) -> Result<(), Error> {
        let mut dump = |to: fn(&mut Dumps) -> &mut String, text: &Option<String>| {
            if let Some(text) = text {
                to(&mut self.dumps).push_str(&format!("; function {}\n{text}\n", object.name));
            }
        };
        dump(|d| &mut d.clif, &object.clif);
        dump(|d| &mut d.asm, &object.asm);
        let mut relocs = object.relocs.clone();
        for reloc in &mut relocs {
            if let ModuleRelocTarget::User { namespace: leaf::LEAF_NAMESPACE, index } = reloc.name {
                reloc.name = leaves[index as usize].into();
            }
        }
        let defined = self.module.define_function_bytes(id, object.alignment, &object.code, &relocs);
        defined.map_err(|e| self.refuse(e))
    }

    fn refuse(&self, error: cranelift_module::ModuleError) -> Error {
        Error::Link { program: self.program.name.clone(), source: error.into() }
    }
}

/// Applies `f` to every item on up to `threads` threads, each with an `own` of its own; the results are in the
/// items' order, the error is that of the first item that has one.
fn in_parallel<S, T: Sync, R: Send>(
    items: &[T],
    threads: usize,
    own: impl Fn() -> S + Sync,
    f: impl Fn(&S, &T) -> Result<R, Error> + Sync,
) -> Result<Vec<R>, Error> {
    let all = thread::available_parallelism().map_or(1, usize::from);
    let threads = if threads == 0 { all } else { threads }.min(items.len());
    let next = AtomicUsize::new(0);
    let results: Mutex<Vec<(usize, Result<R, Error>)>> = Mutex::new(Vec::with_capacity(items.len()));
    let work = || {
        let mut own_of_thread = own();
        while let Some((i, item)) = {
            let i = next.fetch_add(1, Ordering::Relaxed);
            items.get(i).map(|item| (i, item))
        } {
            let result =
                catch_unwind(AssertUnwindSafe(|| f(&own_of_thread, item))).unwrap_or_else(|payload| {
                    own_of_thread = own();
                    Err(Error::Panicked { what: panic_message(&*payload) })
                });
            results.lock().unwrap_or_else(PoisonError::into_inner).push((i, result));
        }
    };
    thread::scope(|scope| {
        // A thread that the system refuses only leaves more to the others.
        let spawned: Vec<_> =
            (1..threads).map(|_| thread::Builder::new().spawn_scoped(scope, work)).collect();
        work();
        drop(spawned);
    });
    let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.sort_unstable_by_key(|(i, _)| *i);
    results.into_iter().map(|(_, result)| result).collect()
}

fn panic_message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|s| (*s).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
}
