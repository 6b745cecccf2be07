//! The threads that eager operations run on.

use std::cell::RefCell;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use fornax_runtime::ThreadPool;

thread_local! {
    /// The pool of the innermost [`with_threads`].
    static CHOSEN: RefCell<Option<Arc<ThreadPool>>> = const { RefCell::new(None) };
}

/// All cores; fewer where the system refuses threads.
static DEFAULT: LazyLock<Arc<ThreadPool>> = LazyLock::new(|| {
    let all = std::thread::available_parallelism().map_or(1, usize::from);
    let mut tries = std::iter::successors(Some(all), |n| (*n > 1).then_some(n / 2));
    Arc::new(tries.find_map(|n| ThreadPool::new(n).ok()).expect("a pool of the caller's thread alone"))
});

/// The pool of eager operations on this thread, if it is not the default.
pub(super) fn chosen() -> Option<Arc<ThreadPool>> {
    CHOSEN.with(|pool| pool.borrow().clone())
}

/// The pool of all cores, started at its first use.
pub(super) fn default_pool() -> &'static Arc<ThreadPool> {
    &DEFAULT
}

/// Threads that eager operations of the calling thread run on: all cores, unless [`with_threads`] says otherwise.
pub fn threads() -> usize {
    chosen().map_or_else(|| DEFAULT.threads(), |pool| pool.threads())
}

/// Runs `f` with its eager operations on `n` threads, the caller's included. Results don't depend on the number.
///
/// # Panics
/// At the caller's line, when `n` is 0 or more than the system can start.
///
/// ```
/// use fornax::{Tensor, eager};
///
/// let x = Tensor::from([1.0f32, 2.0]);
/// let y = eager::with_threads(1, || &x + &x);
/// assert_eq!(y, &x + &x);
/// ```
#[track_caller]
pub fn with_threads<R>(n: usize, f: impl FnOnce() -> R) -> R {
    struct Restore(Option<Arc<ThreadPool>>);
    impl Drop for Restore {
        fn drop(&mut self) {
            let outer = self.0.take();
            CHOSEN.with(|pool| *pool.borrow_mut() = outer);
        }
    }
    let pool = match pool_of(n) {
        Ok(pool) => pool,
        Err(error) => panic!("with_threads({n}): {error}"),
    };
    let _restore = Restore(CHOSEN.with(|chosen| chosen.borrow_mut().replace(pool)));
    f()
}

/// Pools are kept: a number of threads is started once.
pub(crate) fn pool_of(n: usize) -> Result<Arc<ThreadPool>, fornax_runtime::PoolError> {
    static POOLS: Mutex<Vec<Arc<ThreadPool>>> = Mutex::new(Vec::new());
    let mut pools = POOLS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(pool) = pools.iter().find(|pool| pool.threads() == n) {
        return Ok(pool.clone());
    }
    let pool = Arc::new(ThreadPool::new(n)?);
    pools.push(pool.clone());
    Ok(pool)
}
