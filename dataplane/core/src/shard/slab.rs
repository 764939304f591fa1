//! Objects by compiled address: a slot, and the generation that it must have.

use sluice_protocol::ids::Address;
use sluice_protocol::limits::SLOTS_MAX;

/// Objects of one kind on one shard. A stale generation finds nothing.
///
/// Slots are minted lowest first, so the vector is as long as the most objects that ever lived at once; objects are
/// boxed, so that a free slot costs two words.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    slots: Vec<Slot<T>>,
    living: usize,
}

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    object: Option<Box<T>>,
}

/// What an address finds in its slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Nothing lives there, nor did anything newer.
    Free,
    /// The object itself.
    Living,
    /// An object of an older generation, which must go first.
    Older,
    /// The slot has seen a newer generation.
    Newer,
    /// The slot is beyond the last one.
    Beyond,
}

impl<T> Slab<T> {
    pub(crate) const fn new() -> Self {
        Self { slots: Vec::new(), living: 0 }
    }

    pub(crate) fn place(&self, address: Address) -> Place {
        if address.slot() >= SLOTS_MAX {
            return Place::Beyond;
        }
        let Some(slot) = self.slots.get(address.slot() as usize) else { return Place::Free };
        match (slot.generation.cmp(&address.generation()), &slot.object) {
            (std::cmp::Ordering::Equal, Some(_)) => Place::Living,
            (std::cmp::Ordering::Less, Some(_)) => Place::Older,
            (std::cmp::Ordering::Greater, _) => Place::Newer,
            (std::cmp::Ordering::Less | std::cmp::Ordering::Equal, None) => Place::Free,
        }
    }

    /// Puts `object` into a free slot and returns it; `None` when the slot is beyond the last.
    pub(crate) fn insert(&mut self, address: Address, object: T) -> Option<&mut T> {
        let index = address.slot() as usize;
        if address.slot() >= SLOTS_MAX {
            return None;
        }
        while self.slots.len() <= index {
            self.slots.push(Slot { generation: 0, object: None });
        }
        let slot = self.slots.get_mut(index)?;
        self.living += usize::from(slot.object.is_none());
        slot.generation = address.generation();
        Some(slot.object.insert(Box::new(object)))
    }

    pub(crate) fn remove(&mut self, address: Address) -> Option<T> {
        let slot = self.slots.get_mut(address.slot() as usize)?;
        if slot.generation != address.generation() {
            return None;
        }
        let object = slot.object.take()?;
        self.living -= 1;
        Some(*object)
    }

    pub(crate) fn get(&self, address: Address) -> Option<&T> {
        let slot = self.slots.get(address.slot() as usize)?;
        slot.object.as_deref().filter(|_| slot.generation == address.generation())
    }

    pub(crate) fn get_mut(&mut self, address: Address) -> Option<&mut T> {
        let slot = self.slots.get_mut(address.slot() as usize)?;
        if slot.generation == address.generation() { slot.object.as_deref_mut() } else { None }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.slots.iter().filter_map(|slot| slot.object.as_deref())
    }

    pub(crate) const fn len(&self) -> usize {
        self.living
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_generation_finds_nothing() {
        let mut slab = Slab::new();
        let [old, new] = [Address::new(0, 3, 7), Address::new(0, 3, 8)];
        assert_eq!(slab.place(old), Place::Free);
        slab.insert(old, "old");
        assert_eq!((slab.place(old), slab.place(new)), (Place::Living, Place::Older));
        assert_eq!(slab.get(new), None);
        assert_eq!(slab.remove(old), Some("old"));
        slab.insert(new, "new");
        assert!(slab.get(old).is_none() && slab.get_mut(old).is_none() && slab.remove(old).is_none());
        assert_eq!((slab.place(old), slab.get(new), slab.len()), (Place::Newer, Some(&"new"), 1));
        assert_eq!(slab.remove(new), Some("new"));
        assert_eq!(slab.place(old), Place::Newer, "what was removed still outranks what came before it");
    }

    #[test]
    fn slots_end_somewhere() {
        let mut slab = Slab::new();
        let beyond = Address::new(0, SLOTS_MAX, 1);
        assert_eq!(slab.place(beyond), Place::Beyond);
        assert!(slab.insert(beyond, ()).is_none());
        assert_eq!(slab.len(), 0);
    }
}
