//! What was found out a moment ago.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::time::Duration;

/// A bounded memory in which everything lives equally long; the oldest goes
/// first.
#[derive(Debug)]
pub(super) struct Recent<K, V> {
    lifetime: Duration,
    capacity: usize,
    entries: HashMap<K, (Duration, V)>,
    /// One for each time that something was put, the oldest first.
    order: VecDeque<(Duration, K)>,
}

// === impl Recent ===

impl<K: Clone + Eq + Hash, V> Recent<K, V> {
    /// Of at most `capacity`, for at most `lifetime`.
    pub(super) fn new(lifetime: Duration, capacity: usize) -> Self {
        Self {
            lifetime,
            capacity,
            entries: HashMap::new(),
            order: VecDeque::new(),
        }
    }

    /// What is known of `key`. `now` is the time of a clock that never goes
    /// back.
    pub(super) fn get(&self, key: &K, now: Duration) -> Option<&V> {
        let (since, value) = self.entries.get(key)?;
        (now.saturating_sub(*since) < self.lifetime).then_some(value)
    }

    /// Remembers `value`, instead of what was known of `key`.
    pub(super) fn put(&mut self, key: K, value: V, now: Duration) {
        while let Some((since, _)) = self.order.front() {
            let is_over = now.saturating_sub(*since) >= self.lifetime;
            if !is_over && self.order.len() < self.capacity {
                break;
            }
            self.forget_oldest();
        }
        self.entries.insert(key.clone(), (now, value));
        self.order.push_back((now, key));
    }

    fn forget_oldest(&mut self) {
        let Some((since, key)) = self.order.pop_front() else {
            return;
        };
        // It may have been put again since.
        if self.entries.get(&key).is_some_and(|(at, _)| *at == since) {
            self.entries.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn it_lasts_as_long_as_it_should() {
        let mut recent = Recent::new(at(10), 8);
        recent.put("a", 1, at(100));
        assert_eq!(recent.get(&"a", at(109)), Some(&1));
        assert_eq!(recent.get(&"a", at(110)), None);
        recent.put("a", 2, at(111));
        assert_eq!(recent.get(&"a", at(120)), Some(&2));
        assert_eq!(recent.get(&"b", at(120)), None);
    }

    #[test]
    fn it_is_bounded_and_the_oldest_goes() {
        let mut recent = Recent::new(at(10), 2);
        for (index, key) in ["a", "b", "c"].into_iter().enumerate() {
            recent.put(key, index, at(index as u64));
        }
        assert_eq!(recent.get(&"a", at(3)), None);
        assert_eq!(recent.get(&"b", at(3)), Some(&1));
        assert_eq!(recent.get(&"c", at(3)), Some(&2));
        assert_eq!((recent.entries.len(), recent.order.len()), (2, 2));
    }

    #[test]
    fn what_is_put_again_stays() {
        let mut recent = Recent::new(at(10), 2);
        recent.put("a", 1, at(1));
        recent.put("a", 2, at(2));
        recent.put("b", 3, at(3));
        assert_eq!(recent.get(&"a", at(3)), Some(&2));
        assert_eq!(recent.get(&"b", at(3)), Some(&3));
        for now in 4..100 {
            recent.put("a", now, at(now));
        }
        assert!(recent.order.len() <= 2 && recent.entries.len() <= 2);
    }
}
