//! A map that forgets what was used longest ago.

use std::collections::{BTreeMap, HashMap};

/// Values by key, at most so many.
#[derive(Debug)]
pub(super) struct Recent<V> {
    most: usize,
    clock: u64,
    values: HashMap<String, (u64, V)>,
    /// Keys by when they were last used.
    order: BTreeMap<u64, String>,
}

impl<V: Clone> Recent<V> {
    pub(super) fn new(most: usize) -> Self {
        Self { most, clock: 0, values: HashMap::new(), order: BTreeMap::new() }
    }

    pub(super) fn get(&mut self, key: &str) -> Option<V> {
        let (used, value) = self.values.get_mut(key)?;
        self.clock += 1;
        self.order.remove(used);
        *used = self.clock;
        self.order.insert(self.clock, key.to_owned());
        Some(value.clone())
    }

    pub(super) fn insert(&mut self, key: &str, value: V) {
        if self.most == 0 {
            return;
        }
        self.clock += 1;
        if let Some((used, _)) = self.values.insert(key.to_owned(), (self.clock, value)) {
            self.order.remove(&used);
        }
        self.order.insert(self.clock, key.to_owned());
        while self.values.len() > self.most {
            let Some((_, oldest)) = self.order.pop_first() else { break };
            self.values.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_used_longest_ago_is_forgotten() {
        let mut recent = Recent::new(2);
        recent.insert("a", 1);
        recent.insert("b", 2);
        assert_eq!(recent.get("a"), Some(1));
        recent.insert("c", 3);
        assert_eq!((recent.get("a"), recent.get("b"), recent.get("c")), (Some(1), None, Some(3)));
        recent.insert("a", 4);
        recent.insert("d", 5);
        assert_eq!((recent.get("a"), recent.get("c"), recent.get("d")), (Some(4), None, Some(5)));
        assert_eq!((recent.values.len(), recent.order.len()), (2, 2));
        let mut none = Recent::new(0);
        none.insert("a", 1);
        assert_eq!(none.get("a"), None);
    }
}
