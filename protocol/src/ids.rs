//! Ids as compiled addresses: shard, slot and generation in one word, minted by the control plane alone.

use std::fmt;

/// Where an object lives: shard (8 bits), slot on that shard (24 bits), generation of the slot (32 bits).
///
/// The same word stands in plans, in the shared table, in ICE user fragments and later in relay headers. A slot is used
/// again only after the data plane acknowledged its absence, and under a new generation. The upper half of a generation
/// is the controller's epoch, so that generations never fall back when the control plane restarts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address(u64);

impl Address {
    /// Makes an address. Bits of `slot` above the lowest 24 are dropped.
    #[must_use]
    pub const fn new(shard: u8, slot: u32, generation: u32) -> Self {
        Self(((shard as u64) << 56) | (((slot & 0x00ff_ffff) as u64) << 32) | generation as u64)
    }

    /// Makes an address from its word, as it stands in messages and in the shared table.
    #[must_use]
    pub const fn from_word(word: u64) -> Self {
        Self(word)
    }

    /// Returns the word.
    #[must_use]
    pub const fn word(self) -> u64 {
        self.0
    }

    /// Returns the shard.
    #[must_use]
    pub const fn shard(self) -> u8 {
        (self.0 >> 56) as u8
    }

    /// Returns the slot on the shard, below [`crate::limits::SLOTS_MAX`] in every address that a plan accepts.
    #[must_use]
    pub const fn slot(self) -> u32 {
        ((self.0 >> 32) & 0x00ff_ffff) as u32
    }

    /// Returns the generation of the slot.
    #[must_use]
    pub const fn generation(self) -> u32 {
        (self.0 & 0xffff_ffff) as u32
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}.{:x}", self.shard(), self.slot(), self.generation())
    }
}

macro_rules! address_newtype {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub Address);

        impl $name {
            /// Makes an id from its parts; see [`Address::new`].
            #[must_use]
            pub const fn new(shard: u8, slot: u32, generation: u32) -> Self {
                Self(Address::new(shard, slot, generation))
            }

            /// Makes an id from its word.
            #[must_use]
            pub const fn from_word(word: u64) -> Self {
                Self(Address::from_word(word))
            }

            /// Returns the word.
            #[must_use]
            pub const fn word(self) -> u64 {
                self.0.word()
            }

            /// Returns the shard.
            #[must_use]
            pub const fn shard(self) -> u8 {
                self.0.shard()
            }

            /// Returns the slot on the shard.
            #[must_use]
            pub const fn slot(self) -> u32 {
                self.0.slot()
            }

            /// Returns the generation of the slot.
            #[must_use]
            pub const fn generation(self) -> u32 {
                self.0.generation()
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(formatter, "{}({:?})", stringify!($name), self.0)
            }
        }
    };
}

address_newtype! {
    /// One BUNDLE of one peer connection: ICE, DTLS and SRTP together.
    TransportId
}
address_newtype! {
    /// What one m-line of a publisher sends, in all its layers.
    TrackId
}
address_newtype! {
    /// One SSRC (with its repair SSRC) that one m-line of a subscriber receives.
    EgressId
}

/// Mints addresses for one kind of object, lowest free slot first.
///
/// A removed slot comes back by [`Allocator::release`], which the owner calls when the data plane has acknowledged the
/// removal. Returns `None` from [`Allocator::mint`] when all slots of the shard are in use.
#[derive(Clone, Debug)]
pub struct Allocator {
    shard: u8,
    epoch: u16,
    next: u32,
    free: Vec<(u32, u16)>,
}

impl Allocator {
    /// Makes an allocator for `shard`; `epoch` is the controller's, and larger than that of every controller before it.
    #[must_use]
    pub const fn new(shard: u8, epoch: u16) -> Self {
        Self { shard, epoch, next: 0, free: Vec::new() }
    }

    /// Takes a slot that a previous controller uses, so that it is not minted again while it lives.
    ///
    /// Call it for every address of a snapshot, in any order, before the first [`Allocator::mint`].
    pub fn adopt(&mut self, address: Address) {
        let slot = address.slot();
        while self.next <= slot {
            self.free.push((self.next, 0));
            self.next += 1;
        }
        self.free.retain(|(free, _)| *free != slot);
    }

    /// Mints an address that no living object has.
    pub fn mint(&mut self) -> Option<Address> {
        let (slot, count) = match self.free.pop() {
            Some(entry) => entry,
            None if self.next < crate::limits::SLOTS_MAX => {
                let slot = self.next;
                self.next += 1;
                (slot, 0)
            }
            None => return None,
        };
        Some(Address::new(self.shard, slot, (u32::from(self.epoch) << 16) | u32::from(count)))
    }

    /// Gives a slot back after the data plane acknowledged that nothing lives there.
    ///
    /// A slot that was used 65,536 times in one epoch rests until the next one.
    pub fn release(&mut self, address: Address) {
        let of_this_epoch = address.generation() >> 16 == u32::from(self.epoch);
        let used = if of_this_epoch { address.generation() & 0xffff } else { 0 };
        let next = if of_this_epoch { used + 1 } else { 0 };
        if let Ok(count) = u16::try_from(next) {
            self.free.push((address.slot(), count));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_keeps_its_parts() {
        let address = Address::new(7, 0x00ab_cdef, 0x0102_0304);
        assert_eq!((address.shard(), address.slot(), address.generation()), (7, 0x00ab_cdef, 0x0102_0304));
        assert_eq!(Address::from_word(address.word()), address);
    }

    #[test]
    fn a_released_slot_comes_back_under_a_new_generation() {
        let mut allocator = Allocator::new(0, 3);
        let first = allocator.mint().unwrap();
        allocator.release(first);
        let second = allocator.mint().unwrap();
        assert_eq!(first.slot(), second.slot());
        assert_eq!(second.generation(), first.generation() + 1);
    }

    #[test]
    fn adopted_slots_are_not_minted_and_later_epochs_are_greater() {
        let mut old = Allocator::new(0, 1);
        let kept = [old.mint().unwrap(), old.mint().unwrap(), old.mint().unwrap()];
        let mut new = Allocator::new(0, 2);
        new.adopt(kept[2]);
        new.adopt(kept[0]);
        let minted = [new.mint().unwrap(), new.mint().unwrap()];
        assert_eq!(minted[0].slot(), 1);
        assert_eq!(minted[1].slot(), 3);
        new.release(kept[0]);
        assert!(new.mint().unwrap().generation() > kept[0].generation());
    }

    #[test]
    fn a_slot_used_up_in_one_epoch_rests() {
        let mut allocator = Allocator::new(0, 1);
        allocator.release(Address::new(0, 0, 0x0001_ffff));
        assert_eq!(allocator.mint().unwrap().generation(), 0x0001_0000, "a fresh slot, not the worn one");
    }
}
