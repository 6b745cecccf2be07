//! Functions that compile themselves: traced and compiled when a call needs it, and found again by the types of the call.

mod cache;
mod explain;

use std::any::type_name;
use std::cell::RefCell;
use std::fmt;
use std::marker::PhantomData;
use std::panic::Location;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

pub use explain::{Compilation, Explanation};

use crate::error::Error;
use crate::options::Options;
use crate::trace::{self, CONSTANT_WARNING, Compiled, Flat, Signature, TraceError, line_of};
use crate::tree::{self, TensorTree};
use cache::Cache;

/// Programs that a [`Jit`] keeps, unless [`Jit::cache_limit`] says otherwise.
const CACHE_LIMIT: usize = 64;
/// Compilations that are remembered, to say what a later one differs in.
const REMEMBERED: usize = 256;

/// A function that is traced and compiled at the first call with arguments of new types, and runs as native code. Made by
/// [`jit()`].
pub struct Jit<F, I, O> {
    f: F,
    name: String,
    options: Options,
    warn_above: usize,
    once: bool,
    specs: Vec<Spec<I>>,
    state: Mutex<State<O>>,
    /// Held while compiling, so that concurrent calls compile once.
    compiling: Mutex<()>,
    compilations: AtomicUsize,
    arguments: PhantomData<fn(I)>,
}

/// Types that were declared for all calls that fit them.
struct Spec<I> {
    tree: I,
    signature: Signature,
    location: &'static Location<'static>,
}

struct State<O> {
    cache: Cache<Arc<Compiled<O>>>,
    history: Vec<Compilation>,
    /// The arguments of the last compilations.
    signatures: Vec<Arc<Signature>>,
}

/// Makes a function that compiles itself.
///
/// The function takes one argument, any [`TensorTree`] (several arguments are a tuple), and returns one. A call may hold
/// references where the function takes values. The first call with arguments of new dtypes, shapes, structure or static
/// fields traces and compiles it; later ones run that code. [`Jit::spec`] declares symbolic dims, for which one compilation
/// serves every size.
///
/// Tensors that the function captures are constants of the code, as they are when it is compiled. Called within a trace, it
/// is traced with its surroundings.
///
/// ```
/// use fornax::{Tensor, jit};
///
/// let f = jit(|(w, x): (Tensor, Tensor)| x.matmul(&w).relu());
/// let w = Tensor::from([[1.0f32, -1.0], [0.5, 2.0]]);
/// for rows in [1, 2, 1] {
///     let x = Tensor::ones([rows, 2], fornax::DType::F32);
///     assert_eq!(f.call((&w, &x)), x.matmul(&w).relu());
/// }
/// assert_eq!(f.compilations(), 2);
/// # Ok::<(), fornax::Error>(())
/// ```
pub fn jit<F, I, O>(f: F) -> Jit<F, I, O>
where
    F: Fn(I) -> O,
    I: TensorTree<Owned = I>,
    O: TensorTree<Owned = O>,
{
    Jit {
        f,
        name: trace::function_name(type_name::<F>()),
        options: Options::default(),
        warn_above: CONSTANT_WARNING,
        once: false,
        specs: Vec::new(),
        state: Mutex::new(State {
            cache: Cache::new(CACHE_LIMIT),
            history: Vec::new(),
            signatures: Vec::new(),
        }),
        compiling: Mutex::new(()),
        compilations: AtomicUsize::new(0),
        arguments: PhantomData,
    }
}

impl<F, I, O> Jit<F, I, O>
where
    F: Fn(I) -> O,
    I: TensorTree<Owned = I>,
    O: TensorTree<Owned = O>,
{
    /// Compiles and runs with these options. Fixed dims ([`Options::dim`]) must be symbols of every spec.
    #[must_use]
    pub fn options(self, options: Options) -> Self {
        self.state().cache.clear();
        Jit { options, ..self }
    }

    /// Declares types of arguments: all calls that fit them run one program. Extents may be symbolic ([`crate::Dim::symbol`]),
    /// also in several specs, of which the first that fits is taken. Other calls are compiled for their own types.
    ///
    /// ```
    /// use fornax::{DType, Dim, Tensor, jit};
    ///
    /// let f = jit(|x: Tensor| x.relu()).spec(Tensor::spec(DType::F32, [Dim::symbol("n", 1..=64)]));
    /// for n in [1, 10, 64] {
    ///     f.call(Tensor::ones([n], DType::F32));
    /// }
    /// assert_eq!(f.compilations(), 1);
    /// # Ok::<(), fornax::Error>(())
    /// ```
    ///
    /// # Panics
    /// At the caller's line, when a symbol has two ranges.
    #[must_use]
    #[track_caller]
    pub fn spec<S: TensorTree<Owned = I>>(mut self, spec: S) -> Self {
        let location = Location::caller();
        let tree = tree::map(&spec, &mut |_, tensor| tensor.to_spec());
        let signature = match Signature::of(&tree, location) {
            Ok(signature) => signature,
            Err(error) => trace::fail(error),
        };
        self.specs.push(Spec { tree, signature, location });
        self
    }

    /// Makes a second compilation an error, which says what differs.
    #[must_use]
    pub fn compile_once(self) -> Self {
        Jit { once: true, ..self }
    }

    /// How many programs are kept; the one not used for longest goes first. At least one is.
    #[must_use]
    pub fn cache_limit(self, programs: usize) -> Self {
        self.state().cache.set_limit(programs);
        self
    }

    /// Captured tensors of more bytes than this are worth a warning (by default [`CONSTANT_WARNING`]).
    #[must_use]
    pub fn warn_constants_above(self, bytes: usize) -> Self {
        Jit { warn_above: bytes, ..self }
    }

    /// Calls the function.
    ///
    /// # Panics
    /// At the caller's line, with the error of [`Jit::try_call`].
    #[track_caller]
    pub fn call<A: TensorTree<Owned = I>>(&self, arguments: A) -> O {
        match self.call_at(&arguments, Location::caller()) {
            Ok(result) => result,
            Err(error) => trace::stop(error),
        }
    }

    /// Calls the function.
    ///
    /// # Errors
    /// As [`trace()`](crate::trace()), [`crate::Traced::lower`] and [`crate::Lowered::compile`] where the call is compiled, and as
    /// [`crate::Model::run`] where it runs.
    #[track_caller]
    pub fn try_call<A: TensorTree<Owned = I>>(&self, arguments: A) -> Result<O, Error> {
        self.call_at(&arguments, Location::caller())
    }

    fn call_at<A: TensorTree<Owned = I>>(
        &self,
        arguments: &A,
        location: &'static Location<'static>,
    ) -> Result<O, Error> {
        let flat = Flat::of(arguments);
        if flat.is_traced() {
            return Ok((self.f)(tree::map(arguments, &mut |_, tensor| tensor.clone())));
        }
        let tensors = flat.tensors();
        if let Some(spec) = tensors.iter().find(|tensor| !tensor.is_concrete()) {
            let message = trace::reading_error(spec);
            return Err(TraceError::Read { location: line_of(location), message }.into());
        }
        self.program(arguments, &flat, location)?.run(&tensors, location)
    }

    /// The program for a call.
    fn program<A: TensorTree<Owned = I>>(
        &self,
        arguments: &A,
        flat: &Flat<'_>,
        location: &'static Location<'static>,
    ) -> Result<Arc<Compiled<O>>, Error> {
        let digest = flat.digest();
        if let Some(known) = self.known(flat, digest) {
            return Ok(known);
        }
        let _turn = Turn::take(&self.compiling);
        if let Some(known) = self.known(flat, digest) {
            return Ok(known);
        }
        let spec = self.specs.iter().position(|spec| spec.signature.admits(flat));
        let given = Arc::new(Signature::of(arguments, location)?);
        let reason = self.reason(&given, flat, location);
        if self.once && self.compilations() > 0 {
            return Err(TraceError::Recompile { location: line_of(location), reason }.into());
        }
        let start = Instant::now();
        let traced = match spec {
            Some(i) => {
                let spec = &self.specs[i];
                trace::trace_at(&self.f, &spec.tree, self.warn_above, spec.location, &self.name)?
            }
            None => {
                let types = tree::map(arguments, &mut |_, tensor| tensor.to_spec());
                trace::trace_at(&self.f, &types, self.warn_above, location, &self.name)?
            }
        };
        let warnings = traced.warnings().to_vec();
        let compiled = Arc::new(traced.lower(&self.options)?.compile(&self.options)?);
        self.compilations.fetch_add(1, Ordering::Relaxed);
        let mut state = self.state();
        let arguments = match spec {
            Some(i) => self.specs[i].signature.types_text(),
            None => given.types_text(),
        };
        if state.signatures.len() == REMEMBERED {
            state.signatures.remove(0);
            state.history.remove(0);
        }
        state.history.push(Compilation {
            location: line_of(location),
            reason,
            arguments,
            kernels: compiled.kernels(),
            time: start.elapsed(),
            warnings,
        });
        state.signatures.push(given);
        state.cache.insert(spec.map_or(cache::Key::Types(digest), cache::Key::Spec), compiled.clone());
        Ok(compiled)
    }

    /// The program that a call fits, if it is there.
    fn known(&self, flat: &Flat<'_>, digest: u64) -> Option<Arc<Compiled<O>>> {
        if let Some(i) = self.specs.iter().position(|spec| spec.signature.admits(flat)) {
            return self.state().cache.get(cache::Key::Spec(i), |_| true);
        }
        let fits = |compiled: &Arc<Compiled<O>>| compiled.arguments().matches(flat, true);
        self.state().cache.get(cache::Key::Types(digest), fits)
    }

    /// Why there is no program for a call yet.
    fn reason(&self, given: &Signature, flat: &Flat<'_>, location: &Location<'_>) -> String {
        let state = self.state();
        let refused = self.specs.iter().filter_map(|spec| spec.signature.refusal(given, flat));
        // Of equally close calls the last.
        let calls = state.signatures.iter().rev();
        let closest = calls.map(|call| (call.differences(given), call)).min_by_key(|(found, _)| found.len());
        let closest = closest.map(|(differences, call)| explain::Closest {
            differences,
            extents_only: call.differs_in_extents(given),
        });
        explain::reason(&self.name, closest, &refused.collect::<Vec<_>>(), location)
    }

    /// How often it was compiled.
    pub fn compilations(&self) -> usize {
        self.compilations.load(Ordering::Relaxed)
    }

    /// The compilations (the last 256) with their reasons: which argument differed from the calls before, how, and on which line of the
    /// source.
    ///
    /// ```
    /// use fornax::{Tensor, jit};
    ///
    /// let f = jit(|x: Tensor| x.relu());
    /// f.call(Tensor::from([1.0f32]));
    /// f.call(Tensor::from([1.0f32, 2.0]));
    /// assert!(f.explain().to_string().contains("`input` was f32[1] and is f32[2]"));
    /// ```
    pub fn explain(&self) -> Explanation {
        let compilations = self.state().history.clone();
        Explanation { function: self.name.clone(), count: self.compilations(), compilations }
    }

    fn state(&self) -> MutexGuard<'_, State<O>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<F, I, O> fmt::Debug for Jit<F, I, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jit")
            .field("function", &self.name)
            .field("compilations", &self.compilations)
            .finish_non_exhaustive()
    }
}

thread_local! {
    /// The locks that this thread compiles under: a function may call itself, on other types, while it is traced.
    static HELD: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
}

/// The right to compile; a thread that has it may take it again.
struct Turn<'a>(Option<MutexGuard<'a, ()>>);

impl<'a> Turn<'a> {
    fn take(lock: &'a Mutex<()>) -> Self {
        let address = std::ptr::from_ref(lock).addr();
        if HELD.with_borrow(|held| held.contains(&address)) {
            return Turn(None);
        }
        let guard = lock.lock().unwrap_or_else(PoisonError::into_inner);
        HELD.with_borrow_mut(|held| held.push(address));
        Turn(Some(guard))
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if self.0.is_some() {
            HELD.with_borrow_mut(|held| held.pop());
        }
    }
}
