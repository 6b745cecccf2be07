//! The container of code that runs in this process.
//!
//! [`ImageModule`] gathers functions and constant data as a [`cranelift_module::Module`];
//! [`ImageModule::finish`] puts them into one mapping, an [`Image`], which goes away with its last
//! `Arc`. The mapping is filled while it is writable and made executable after that: no page is
//! ever both. In the order of addresses it holds
//!
//! - functions and data, as they were defined, each at its alignment;
//! - for every import a *stub*, a jump through the import table, for calls that reach 2 GB only;
//! - the *import table*, one absolute address per symbol that code names through it.
//!
//! Everything else is relative to the program counter, so the code may lie anywhere.

mod reloc;

use std::collections::HashMap;
use std::io;
use std::ptr::{self, NonNull};
use std::sync::Arc;

use cranelift_codegen::binemit::Reloc;
use cranelift_codegen::control::ControlPlane;
use cranelift_codegen::isa::{OwnedTargetIsa, TargetIsa};
use cranelift_codegen::{CodegenError, Context, ir};
use cranelift_module::{
    DataDescription, DataId, FuncId, Init, Linkage, Module, ModuleDeclarations, ModuleError, ModuleReloc,
    ModuleRelocTarget, ModuleResult, default_libcall_names,
};
use rustc_hash::FxHashMap;

use crate::error::LinkError;
use reloc::{STUB_BYTES, Via};

/// Alignment of data whose description asks for none: that of a vector register.
const DATA_ALIGNMENT: u64 = 16;

/// Functions and constants on their way into an [`Image`].
pub struct ImageModule {
    isa: OwnedTargetIsa,
    declarations: ModuleDeclarations,
    imports: HashMap<String, usize>,
    bytes: Vec<u8>,
    functions: FxHashMap<FuncId, u64>,
    data: FxHashMap<DataId, u64>,
    relocs: Vec<Pending>,
}

/// A relocation of the object that starts at `base` in the bytes gathered so far.
struct Pending {
    base: u64,
    owner: ModuleRelocTarget,
    reloc: ModuleReloc,
}

/// What a relocation names.
enum Symbol {
    /// At this offset of the image.
    Inside(u64),
    /// Outside of it.
    Import(String),
}

impl ImageModule {
    /// An empty module whose code may refer to `imports` (name, address) outside of it. The
    /// addresses must stay valid for as long as the image's code may run.
    pub fn new(isa: OwnedTargetIsa, imports: impl IntoIterator<Item = (String, usize)>) -> Self {
        ImageModule {
            isa,
            declarations: ModuleDeclarations::default(),
            imports: imports.into_iter().collect(),
            bytes: Vec::new(),
            functions: FxHashMap::default(),
            data: FxHashMap::default(),
            relocs: Vec::new(),
        }
    }

    /// Bytes of code and data gathered so far.
    #[must_use]
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// The names of everything outside that the code refers to, sorted.
    ///
    /// # Errors
    /// [`LinkError::Undefined`] and [`LinkError::Relocation`], as [`ImageModule::finish`].
    pub fn external_symbols(&self) -> Result<Vec<String>, LinkError> {
        let mut names = Vec::new();
        for pending in &self.relocs {
            if let Symbol::Import(name) = self.symbol(pending)? {
                names.push(name);
            }
        }
        names.sort();
        names.dedup();
        Ok(names)
    }

    /// Maps what was gathered and makes it executable.
    ///
    /// # Errors
    /// [`LinkError`]: an unknown import, a symbol without definition, a relocation that the
    /// target does not use or that does not reach, memory refused by the system.
    pub fn finish(mut self) -> Result<Arc<Image>, LinkError> {
        let relocs = std::mem::take(&mut self.relocs);
        let mut table = Table::default();
        let mut fixes = Vec::with_capacity(relocs.len());
        for pending in &relocs {
            let symbol = self.symbol(pending)?;
            let via = reloc::via(pending.reloc.kind, matches!(symbol, Symbol::Import(_)));
            let refuse = || LinkError::Relocation {
                kind: format!("{:?}", pending.reloc.kind),
                symbol: self.name_of(&pending.owner),
            };
            let entry = match (via.ok_or_else(refuse)?, &symbol) {
                (Via::Direct, Symbol::Inside(_)) => 0,
                _ => table.entry(&symbol, &self.imports)?,
            };
            fixes.push((symbol, entry));
        }
        self.pad(STUB_BYTES as u64);
        let stubs = self.bytes.len();
        let entries = stubs + STUB_BYTES * table.targets.len();
        let mut mapping = Mapping::new(entries + 8 * table.targets.len())?;
        let base = mapping.address();
        let bytes = mapping.bytes();
        bytes[..stubs].copy_from_slice(&self.bytes);
        for (i, target) in table.targets.iter().enumerate() {
            let address = match *target {
                Address::Inside(offset) => base + offset,
                Address::Outside(address) => address,
            };
            let (stub, entry) = (stubs + STUB_BYTES * i, entries + 8 * i);
            bytes[entry..entry + 8].copy_from_slice(&address.to_ne_bytes());
            let distance = (entry - stub) as u64;
            bytes[stub..stub + STUB_BYTES].copy_from_slice(&reloc::stub(
                self.isa.triple().architecture,
                distance,
                address,
            ));
        }
        for (pending, (symbol, entry)) in relocs.iter().zip(fixes) {
            let imported = matches!(symbol, Symbol::Import(_));
            let target = match (reloc::via(pending.reloc.kind, imported), symbol) {
                (Some(Via::Table), _) => base + (entries + 8 * entry) as u64,
                (Some(Via::Stub), _) => base + (stubs + STUB_BYTES * entry) as u64,
                (_, Symbol::Inside(offset)) => base + offset,
                (_, Symbol::Import(_)) => table.targets[entry].outside(),
            };
            let at = pending.base + u64::from(pending.reloc.offset);
            let value = target.wrapping_add_signed(pending.reloc.addend);
            reloc::apply(pending.reloc.kind, &mut bytes[at as usize..], base + at, value).ok_or_else(
                || LinkError::OutOfReach {
                    kind: format!("{:?}", pending.reloc.kind),
                    symbol: self.name_of(&pending.owner),
                },
            )?;
        }
        mapping.make_executable()?;
        let code_bytes = self.bytes.len();
        Ok(Arc::new(Image { mapping, functions: self.functions, code_bytes }))
    }

    fn symbol(&self, pending: &Pending) -> Result<Symbol, LinkError> {
        let undefined = |name: String| Err(LinkError::Undefined { name });
        match &pending.reloc.name {
            name @ ModuleRelocTarget::User { namespace: 0, index } => {
                let id = FuncId::from_u32(*index);
                match (self.functions.get(&id), self.declarations.get_function_decl(id).linkage) {
                    (Some(&offset), _) => Ok(Symbol::Inside(offset)),
                    (None, Linkage::Import | Linkage::Preemptible) => Ok(Symbol::Import(self.name_of(name))),
                    _ => undefined(self.name_of(name)),
                }
            }
            name @ ModuleRelocTarget::User { index, .. } => {
                let id = DataId::from_u32(*index);
                match (self.data.get(&id), self.declarations.get_data_decl(id).linkage) {
                    (Some(&offset), _) => Ok(Symbol::Inside(offset)),
                    (None, Linkage::Import | Linkage::Preemptible) => Ok(Symbol::Import(self.name_of(name))),
                    _ => undefined(self.name_of(name)),
                }
            }
            ModuleRelocTarget::FunctionOffset(id, offset) => match self.functions.get(id) {
                Some(start) => Ok(Symbol::Inside(start + u64::from(*offset))),
                None => undefined(self.name_of(&(*id).into())),
            },
            ModuleRelocTarget::LibCall(call) => Ok(Symbol::Import(default_libcall_names()(*call))),
            ModuleRelocTarget::KnownSymbol(known) => undefined(known.to_string()),
        }
    }

    fn name_of(&self, target: &ModuleRelocTarget) -> String {
        match target {
            ModuleRelocTarget::User { namespace: 0, index } => {
                let id = FuncId::from_u32(*index);
                self.declarations.get_function_decl(id).linkage_name(id).into_owned()
            }
            ModuleRelocTarget::User { index, .. } => {
                let id = DataId::from_u32(*index);
                self.declarations.get_data_decl(id).linkage_name(id).into_owned()
            }
            other => other.to_string(),
        }
    }

    fn pad(&mut self, alignment: u64) {
        let filler = reloc::filler(self.isa.triple().architecture);
        let len = (self.bytes.len() as u64).next_multiple_of(alignment.max(1));
        self.bytes.resize(len as usize, filler);
    }

    /// Appends an object and queues its relocations; returns its offset.
    fn append(
        &mut self,
        owner: ModuleRelocTarget,
        alignment: u64,
        bytes: &[u8],
        relocs: impl IntoIterator<Item = ModuleReloc>,
    ) -> u64 {
        self.pad(alignment);
        let base = self.bytes.len() as u64;
        self.bytes.extend_from_slice(bytes);
        let pending = relocs.into_iter().map(|reloc| Pending { base, owner: owner.clone(), reloc });
        self.relocs.extend(pending);
        base
    }
}

/// The import table as it grows.
#[derive(Default)]
struct Table {
    targets: Vec<Address>,
    by_name: HashMap<String, usize>,
    by_offset: FxHashMap<u64, usize>,
}

#[derive(Clone, Copy)]
enum Address {
    Inside(u64),
    Outside(u64),
}

impl Address {
    /// The address of an import; an entry of an import is never `Inside`.
    fn outside(self) -> u64 {
        match self {
            Address::Outside(address) | Address::Inside(address) => address,
        }
    }
}

impl Table {
    fn entry(&mut self, symbol: &Symbol, imports: &HashMap<String, usize>) -> Result<usize, LinkError> {
        let next = self.targets.len();
        let (index, address) = match symbol {
            Symbol::Inside(offset) => {
                (*self.by_offset.entry(*offset).or_insert(next), Address::Inside(*offset))
            }
            Symbol::Import(name) => {
                let &address = imports.get(name).ok_or_else(|| unknown_import(name, imports))?;
                let index = *self.by_name.entry(name.clone()).or_insert(next);
                (index, Address::Outside(address as u64))
            }
        };
        if index == next {
            self.targets.push(address);
        }
        Ok(index)
    }
}

fn unknown_import(name: &str, imports: &HashMap<String, usize>) -> LinkError {
    let mut known: Vec<&str> = imports.keys().map(String::as_str).collect();
    known.sort_unstable();
    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    LinkError::UnknownImport { name: name.to_owned(), known }
}

impl Module for ImageModule {
    fn isa(&self) -> &dyn TargetIsa {
        &*self.isa
    }

    fn declarations(&self) -> &ModuleDeclarations {
        &self.declarations
    }

    fn declare_function(
        &mut self,
        name: &str,
        linkage: Linkage,
        signature: &ir::Signature,
    ) -> ModuleResult<FuncId> {
        Ok(self.declarations.declare_function(name, linkage, signature)?.0)
    }

    fn declare_anonymous_function(&mut self, signature: &ir::Signature) -> ModuleResult<FuncId> {
        self.declarations.declare_anonymous_function(signature)
    }

    fn declare_data(
        &mut self,
        name: &str,
        linkage: Linkage,
        writable: bool,
        tls: bool,
    ) -> ModuleResult<DataId> {
        Ok(self.declarations.declare_data(name, linkage, writable, tls)?.0)
    }

    fn declare_anonymous_data(&mut self, writable: bool, tls: bool) -> ModuleResult<DataId> {
        self.declarations.declare_anonymous_data(writable, tls)
    }

    fn define_function_with_control_plane(
        &mut self,
        id: FuncId,
        ctx: &mut Context,
        control: &mut ControlPlane,
    ) -> ModuleResult<()> {
        let compiled = ctx.compile(&*self.isa, control)?;
        let alignment = u64::from(compiled.buffer.alignment);
        let code = compiled.buffer.data().to_vec();
        let mach = compiled.buffer.relocs().to_vec();
        let relocs: Vec<ModuleReloc> =
            mach.iter().map(|r| ModuleReloc::from_mach_reloc(r, &ctx.func, id)).collect();
        self.define_function_bytes(id, alignment, &code, &relocs)
    }

    fn define_function_bytes(
        &mut self,
        id: FuncId,
        alignment: u64,
        bytes: &[u8],
        relocs: &[ModuleReloc],
    ) -> ModuleResult<()> {
        let decl = self.declarations.get_function_decl(id);
        if !decl.linkage.is_definable() {
            let name = decl.linkage_name(id).into_owned();
            return Err(ModuleError::InvalidImportDefinition(name));
        }
        if self.functions.contains_key(&id) {
            return Err(ModuleError::DuplicateDefinition(decl.linkage_name(id).into_owned()));
        }
        let alignment = alignment
            .max(self.isa.symbol_alignment())
            .max(u64::from(self.isa.function_alignment().preferred));
        let offset = self.append(id.into(), alignment, bytes, relocs.iter().cloned());
        self.functions.insert(id, offset);
        Ok(())
    }

    fn define_data(&mut self, id: DataId, data: &DataDescription) -> ModuleResult<()> {
        let decl = self.declarations.get_data_decl(id);
        let name = decl.linkage_name(id).into_owned();
        let refuse = |what: &str| {
            let what = format!("data object `{name}` {what}");
            ModuleError::Compilation(CodegenError::Unsupported(what))
        };
        if !decl.linkage.is_definable() {
            return Err(ModuleError::InvalidImportDefinition(name));
        }
        if self.data.contains_key(&id) {
            return Err(ModuleError::DuplicateDefinition(name));
        }
        if decl.writable || decl.tls {
            return Err(refuse("is writable or thread-local; an image holds constants only"));
        }
        let contents = match &data.init {
            Init::Uninitialized => return Err(refuse("has no contents")),
            Init::Zeros { size } => vec![0; *size],
            Init::Bytes { contents } => contents.to_vec(),
        };
        let alignment = data.align.unwrap_or(DATA_ALIGNMENT);
        let relocs: Vec<ModuleReloc> = data.all_relocs(Reloc::Abs8).collect();
        let offset = self.append(id.into(), alignment, &contents, relocs);
        self.data.insert(id, offset);
        Ok(())
    }
}

/// Executable code in this process. Its addresses are valid until the last `Arc` goes.
#[derive(Debug)]
pub struct Image {
    mapping: Mapping,
    functions: FxHashMap<FuncId, u64>,
    code_bytes: usize,
}

impl Image {
    /// The address of a function that was defined in the module.
    #[must_use]
    pub fn address(&self, function: FuncId) -> Option<*const u8> {
        let offset = *self.functions.get(&function)?;
        Some(self.mapping.base.as_ptr().wrapping_add(offset as usize).cast_const())
    }

    /// Bytes of functions and data, without stubs and import table.
    #[must_use]
    pub fn code_bytes(&self) -> usize {
        self.code_bytes
    }
}

/// Pages of our own; unmapped on drop.
#[derive(Debug)]
struct Mapping {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: a mapping is plain memory with one owner; after `make_executable` nobody writes to it.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Zeroed writable pages, at least `len` bytes of them.
    fn new(len: usize) -> Result<Self, LinkError> {
        // SAFETY: sysconf has no preconditions.
        let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096);
        let len = len.max(1).next_multiple_of(page);
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a new private mapping at an address of the system's choice aliases nothing.
        let base =
            unsafe { libc::mmap(ptr::null_mut(), len, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0) };
        match NonNull::new(base.cast::<u8>()) {
            Some(base) if base.as_ptr().cast() != libc::MAP_FAILED => Ok(Mapping { base, len }),
            _ => Err(LinkError::Map { bytes: len, source: io::Error::last_os_error() }),
        }
    }

    fn address(&self) -> u64 {
        self.base.as_ptr() as u64
    }

    /// The bytes; only before [`Mapping::make_executable`].
    fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: `len` bytes at `base` are mapped and writable, and `self` is their only owner.
        unsafe { std::slice::from_raw_parts_mut(self.base.as_ptr(), self.len) }
    }

    /// Takes the right to write and gives the right to execute. On AArch64 the kernel makes the
    /// instruction cache coherent with pages that become executable.
    fn make_executable(&mut self) -> Result<(), LinkError> {
        let protection = libc::PROT_READ | libc::PROT_EXEC;
        // SAFETY: the range is a mapping of our own, and no reference into it is alive.
        let status = unsafe { libc::mprotect(self.base.as_ptr().cast(), self.len, protection) };
        if status != 0 {
            return Err(LinkError::Map { bytes: self.len, source: io::Error::last_os_error() });
        }
        Ok(())
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the range is a mapping of our own; code in it runs under an `Arc` of its image.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.len) };
    }
}

#[cfg(test)]
mod tests;
