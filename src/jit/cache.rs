//! Compiled programs by what they were compiled for, as many as a limit allows.

/// What a program serves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Key {
    /// All calls that fit the spec of that number.
    Spec(usize),
    /// Calls of one signature, with its hash.
    Types(u64),
}

/// Values by key; keys may be equal, then a predicate tells the values apart.
pub(super) struct Cache<V> {
    entries: Vec<Entry<V>>,
    limit: usize,
    /// Counts uses.
    now: u64,
}

struct Entry<V> {
    key: Key,
    value: V,
    used: u64,
}

impl<V: Clone> Cache<V> {
    pub(super) fn new(limit: usize) -> Self {
        Cache { entries: Vec::new(), limit: limit.max(1), now: 0 }
    }

    pub(super) fn set_limit(&mut self, limit: usize) {
        self.limit = limit.max(1);
    }

    pub(super) fn clear(&mut self) {
        self.entries.clear();
    }

    /// The value of that key for which `fits` holds.
    pub(super) fn get(&mut self, key: Key, fits: impl Fn(&V) -> bool) -> Option<V> {
        let entry = self.entries.iter_mut().find(|entry| entry.key == key && fits(&entry.value))?;
        self.now += 1;
        entry.used = self.now;
        Some(entry.value.clone())
    }

    /// Adds a value; those not used for longest make room for it.
    pub(super) fn insert(&mut self, key: Key, value: V) {
        while self.entries.len() >= self.limit {
            let oldest = self.entries.iter().enumerate().min_by_key(|(_, entry)| entry.used);
            let Some((oldest, _)) = oldest else { break };
            self.entries.swap_remove(oldest);
        }
        self.now += 1;
        self.entries.push(Entry { key, value, used: self.now });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_value_not_used_for_longest_goes_first() {
        let mut cache = Cache::new(2);
        cache.insert(Key::Types(1), 'a');
        cache.insert(Key::Types(2), 'b');
        assert_eq!(cache.get(Key::Types(1), |_| true), Some('a'));
        cache.insert(Key::Spec(1), 'c');
        assert_eq!(cache.get(Key::Types(2), |_| true), None);
        assert_eq!(cache.get(Key::Types(1), |_| true), Some('a'));
        assert_eq!(cache.get(Key::Spec(1), |_| true), Some('c'));
    }

    #[test]
    fn equal_hashes_are_told_apart() {
        let mut cache = Cache::new(8);
        cache.insert(Key::Types(1), 'a');
        cache.insert(Key::Types(1), 'b');
        assert_eq!(cache.get(Key::Types(1), |v| *v == 'b'), Some('b'));
        assert_eq!(cache.get(Key::Types(1), |v| *v == 'x'), None);
    }
}
