//! Compiled operations: at most so many, found by key; the longest unused makes room.

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, LazyLock, Mutex, OnceLock, PoisonError};

use rustc_hash::FxHashMap;

use super::program::Program;

/// What is known for a key.
pub(super) enum Known {
    /// A program.
    Program(Box<Program>),
    /// The operation can only be compiled for exact extents.
    Exact,
}

/// A place of the cache. Filled once, by the first who needs it; others wait.
#[derive(Default)]
pub(super) struct Slot {
    known: OnceLock<Known>,
    /// Held while compiling.
    compiling: Mutex<()>,
    /// Number of the latest lookup.
    used: AtomicU64,
    /// Whether the cache has dropped it.
    dropped: AtomicBool,
}

type Map = FxHashMap<Box<[u64]>, Arc<Slot>>;

/// Entries of a thread's own table of recent slots.
const RECENT: usize = 512;

thread_local! {
    /// Slots this thread has used: looked up without a lock.
    static FRONT: RefCell<Map> = RefCell::default();
}

#[derive(Default)]
struct Shared {
    map: Mutex<Map>,
    lookups: AtomicU64,
    misses: AtomicU64,
}

static SHARED: LazyLock<Shared> = LazyLock::new(Shared::default);
static LIMIT: AtomicUsize = AtomicUsize::new(1024);

/// What the cache of compiled operations has done in this program so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct CacheStats {
    /// Operations whose program was there.
    pub hits: u64,
    /// Operations whose program had to be compiled.
    pub misses: u64,
    /// Programs kept now.
    pub entries: usize,
}

/// The state of the cache of compiled operations, over all threads. An operation on a new shape is a hit, unless the
/// pattern of its extents (which of them are equal where they must be, which broadcast) is new as well.
pub fn cache_stats() -> CacheStats {
    let entries = lock(&SHARED.map).len();
    let (lookups, misses) = (SHARED.lookups.load(Relaxed), SHARED.misses.load(Relaxed));
    CacheStats { hits: lookups.saturating_sub(misses), misses, entries }
}

/// Keeps at most so many compiled operations (at least 1; 1024 by default); the longest unused are dropped.
pub fn set_cache_limit(entries: usize) {
    LIMIT.store(entries.max(1), Relaxed);
    shrink(&mut lock(&SHARED.map), 0);
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes room for `further` entries.
fn shrink(map: &mut Map, further: usize) {
    while map.len() + further > LIMIT.load(Relaxed).max(further) {
        let oldest = map.iter().min_by_key(|(_, slot)| slot.used.load(Relaxed)).map(|(key, _)| key.clone());
        let Some(slot) = oldest.and_then(|key| map.remove(&key)) else { return };
        slot.dropped.store(true, Relaxed);
    }
}

/// The slot of a key.
pub(super) fn slot(key: &[u64]) -> Arc<Slot> {
    let tick = SHARED.lookups.fetch_add(1, Relaxed);
    let recent = FRONT.with(|front| front.borrow().get(key).filter(|s| !s.dropped.load(Relaxed)).cloned());
    if let Some(slot) = recent {
        slot.used.store(tick, Relaxed);
        return slot;
    }
    let slot = {
        let mut map = lock(&SHARED.map);
        if !map.contains_key(key) {
            shrink(&mut map, 1);
        }
        let slot = map.entry(key.into()).or_default();
        slot.used.store(tick, Relaxed);
        slot.clone()
    };
    FRONT.with(|front| {
        let mut front = front.borrow_mut();
        if front.len() >= RECENT {
            front.clear();
        }
        front.insert(key.into(), slot.clone());
    });
    slot
}

impl Slot {
    /// What is known, found out by `make` at the first call. An error is not kept.
    pub(super) fn get<E>(&self, make: impl FnOnce() -> Result<Known, E>) -> Result<&Known, E> {
        if let Some(known) = self.known.get() {
            return Ok(known);
        }
        let _alone = lock(&self.compiling);
        if self.known.get().is_none() {
            SHARED.misses.fetch_add(1, Relaxed);
            let known = make()?;
            return Ok(self.known.get_or_init(|| known));
        }
        Ok(self.known.get().expect("filled by another thread"))
    }
}

/// Forgets a key for which nothing could be made.
pub(super) fn forget(key: &[u64], slot: &Slot) {
    slot.dropped.store(true, Relaxed);
    lock(&SHARED.map).remove(key);
}
