//! Addresses and random numbers.

use sluice_protocol::ids::{Address, Allocator, EgressId, TrackId, TransportId};
use sluice_protocol::plan::Key;

use crate::room::RoomId;

/// The allocators of all shards.
#[derive(Clone, Debug)]
pub(super) struct Addresses {
    shards: Vec<ShardAddresses>,
}

#[derive(Clone, Debug)]
struct ShardAddresses {
    transports: Allocator,
    tracks: Allocator,
    egresses: Allocator,
}

impl Addresses {
    pub(super) fn new(shards: u8, epoch: u16) -> Self {
        let shard = |shard| ShardAddresses {
            transports: Allocator::new(shard, epoch),
            tracks: Allocator::new(shard, epoch),
            egresses: Allocator::new(shard, epoch),
        };
        Self { shards: (0..shards).map(shard).collect() }
    }

    fn shard(&mut self, shard: u8) -> Option<&mut ShardAddresses> {
        self.shards.get_mut(usize::from(shard))
    }

    pub(super) fn mint_transport(&mut self, shard: u8) -> Option<TransportId> {
        self.shard(shard)?.transports.mint().map(TransportId)
    }

    pub(super) fn mint_track(&mut self, shard: u8) -> Option<TrackId> {
        self.shard(shard)?.tracks.mint().map(TrackId)
    }

    pub(super) fn mint_egress(&mut self, shard: u8) -> Option<EgressId> {
        self.shard(shard)?.egresses.mint().map(EgressId)
    }

    fn allocator(&mut self, key: &Key) -> Option<(&mut Allocator, Address)> {
        match key {
            Key::Transport(id) => Some((&mut self.shard(id.shard())?.transports, id.0)),
            Key::Track(id) => Some((&mut self.shard(id.shard())?.tracks, id.0)),
            Key::Egress(id) => Some((&mut self.shard(id.shard())?.egresses, id.0)),
            Key::Path(_) | Key::Stream(..) | Key::Cookie(_) => None,
        }
    }

    pub(super) fn adopt(&mut self, key: &Key) {
        if let Some((allocator, address)) = self.allocator(key) {
            allocator.adopt(address);
        }
    }

    pub(super) fn release(&mut self, key: &Key) {
        if let Some((allocator, address)) = self.allocator(key) {
            allocator.release(address);
        }
    }
}

/// Returns the shard of a room: the same for all its members, whoever asks (FNV-1a over the id).
pub(super) fn shard_of(room: &RoomId, shards: u8) -> u8 {
    let hash = room.0.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    u8::try_from(hash % u32::from(shards.max(1))).unwrap_or(0)
}
