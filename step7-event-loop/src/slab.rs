//! A table whose keys go stale: the small idea that makes handles safe.
//!
//! A value lives in a slot, and a slot is used again when its value has gone. So the slot's number alone does not say
//! *which* value is meant. A key therefore also carries the slot's generation, which grows every time the slot is
//! vacated: an old key finds nothing, never somebody else's value.

/// The name of one value, for ever: no two values of a slab have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    index: u32,
    generation: u32,
}

impl Key {
    /// The key as a poller's token.
    pub fn to_token(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.index)
    }

    /// The key that a token was made of.
    pub fn from_token(token: u64) -> Self {
        Key { index: token as u32, generation: (token >> 32) as u32 }
    }
}

struct Slot<T> {
    generation: u32,
    value: Option<T>,
}

/// The table. Insertion, look-up and removal take constant time.
pub struct Slab<T> {
    slots: Vec<Slot<T>>,
    vacant: Vec<u32>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Slab { slots: Vec::new(), vacant: Vec::new() }
    }
}

impl<T> Slab<T> {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many values it holds.
    pub fn len(&self) -> usize {
        self.slots.len() - self.vacant.len()
    }

    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes a value in; the key is its name from here on.
    pub fn insert(&mut self, value: T) -> Key {
        self.insert_with(|_| value)
    }

    /// The same for a value that is to know its own name.
    pub fn insert_with(&mut self, value: impl FnOnce(Key) -> T) -> Key {
        let index = self.vacant.pop().unwrap_or_else(|| {
            self.slots.push(Slot { generation: 0, value: None });
            (self.slots.len() - 1) as u32
        });
        let slot = &mut self.slots[index as usize];
        let key = Key { index, generation: slot.generation };
        slot.value = Some(value(key));
        key
    }

    /// The value of that name, unless it has gone.
    pub fn get(&self, key: Key) -> Option<&T> {
        let slot = self.slots.get(key.index as usize)?;
        if slot.generation == key.generation { slot.value.as_ref() } else { None }
    }

    /// The same, to be changed.
    pub fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let slot = self.slots.get_mut(key.index as usize)?;
        if slot.generation == key.generation { slot.value.as_mut() } else { None }
    }

    /// Takes the value of that name out, unless it has gone.
    pub fn remove(&mut self, key: Key) -> Option<T> {
        let slot = self.slots.get_mut(key.index as usize)?;
        if slot.generation != key.generation {
            return None;
        }
        let value = slot.value.take()?;
        // A slot whose generations are used up stays empty for ever. That takes four thousand million values.
        if let Some(generation) = slot.generation.checked_add(1) {
            slot.generation = generation;
            self.vacant.push(key.index);
        }
        Some(value)
    }

    /// All values, by slot.
    pub fn iter(&self) -> impl Iterator<Item = (Key, &T)> {
        self.slots.iter().enumerate().filter_map(|(index, slot)| {
            let key = Key { index: index as u32, generation: slot.generation };
            slot.value.as_ref().map(|value| (key, value))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_key_finds_nothing_even_when_its_slot_is_used_again() {
        let mut slab = Slab::new();
        let first = slab.insert('a');
        assert_eq!(slab.remove(first), Some('a'));
        let second = slab.insert('b');
        assert_eq!(first.index, second.index);
        assert_eq!(slab.get(first), None);
        assert_eq!(slab.remove(first), None);
        assert_eq!(slab.get(second), Some(&'b'));
        assert_eq!(slab.len(), 1);
    }

    #[test]
    fn a_token_is_its_key_again() {
        let key = Key { index: 7, generation: u32::MAX };
        assert_eq!(Key::from_token(key.to_token()), key);
    }

    #[test]
    fn a_slot_is_retired_rather_than_let_a_generation_come_round_again() {
        let mut slab = Slab::new();
        let first = slab.insert('a');
        slab.remove(first);
        slab.slots[0].generation = u32::MAX;
        let last = Key { index: 0, generation: u32::MAX };
        assert_eq!(slab.insert('b'), last);
        assert_eq!(slab.remove(last), Some('b'));
        assert_eq!(slab.get(last), None);
        assert_ne!(slab.insert('c').index, 0);
    }
}
