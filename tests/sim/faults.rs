//! Where runs go wrong on purpose. Each point has a name and a counter, and a run of several seeds proves that each fired.

macro_rules! faults {
    ($($(#[$doc:meta])* $name:ident = $label:literal,)*) => {
        /// A point where something goes wrong.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(usize)]
        pub(crate) enum Fault {
            $($(#[$doc])* $name,)*
        }

        impl Fault {
            pub(crate) const ALL: &'static [(Self, &'static str)] = &[$((Self::$name, $label),)*];
        }
    };
}

faults! {
    /// The network loses a datagram.
    Loss = "loss",
    /// A datagram overtakes the one before it.
    Reorder = "reorder",
    /// The network delivers a datagram twice.
    Duplicate = "duplicate",
    /// A peer's address changes.
    AddressChange = "address_change",
    /// A peer restarts ICE.
    IceRestart = "ice_restart",
    /// The control stream delivers late and in pieces.
    IpcDelay = "ipc_delay",
    /// The connection between the planes breaks, and both live on.
    IpcCut = "ipc_cut",
    /// The data plane dies between two turns of its loop.
    DataplaneKilled = "dataplane_killed",
    /// The data plane dies inside a flush, with indices stored and packets sealed that never leave.
    DataplaneKilledInFlush = "dataplane_killed_in_flush",
    /// Datagrams wait in the inherited sockets for a successor.
    DatagramsInherited = "datagrams_inherited",
    /// The control plane dies.
    ControlplaneKilled = "controlplane_killed",
    /// The control plane dies while it replays its plan to a new data plane.
    ControlplaneKilledInReplay = "controlplane_killed_in_replay",
    /// The control plane dies while somebody's handshake is half done.
    HandshakeInterrupted = "handshake_interrupted",
    /// The outbox takes no more.
    OutboxFull = "outbox_full",
    /// A viewer leaves and comes back.
    ViewerLeft = "viewer_left",
    /// A publisher leaves and comes back.
    PublisherLeft = "publisher_left",
    /// A participant goes without a word.
    PeerVanished = "peer_vanished",
    /// A host mutes a publisher.
    Mute = "mute",
    /// A publisher goes on under another SSRC.
    SsrcChange = "ssrc_change",
    /// A publisher is silent for a while.
    PublisherPause = "publisher_pause",
    /// A publisher leaves out one of its encodings for a while.
    EncodingSilence = "encoding_silence",
    /// A viewer wants another encoding.
    LayerWish = "layer_wish",
    /// A member of a call leaves and comes back.
    MemberLeft = "member_left",
    /// A member's browser goes without a word.
    MemberVanished = "member_vanished",
    /// A member's socket breaks, with what was under way on it.
    SocketCut = "socket_cut",
    /// A member enters or leaves its second room.
    RoomChange = "room_change",
    /// A member wants another quality of a picture, or nothing of it.
    SubscriptionChange = "subscription_change",
    /// The shard's loop turns late.
    ShardStall = "shard_stall",
}

/// How often each point fired.
#[derive(Clone, Debug)]
pub(crate) struct Fired([u64; Fault::ALL.len()]);

impl Fired {
    pub(crate) const fn new() -> Self {
        Self([0; Fault::ALL.len()])
    }

    pub(crate) fn count(&mut self, fault: Fault) {
        self.0[fault as usize] += 1;
    }

    pub(crate) fn of(&self, fault: Fault) -> u64 {
        self.0[fault as usize]
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (sum, count) in self.0.iter_mut().zip(other.0) {
            *sum += count;
        }
    }

    /// Names the points that never fired.
    pub(crate) fn missing(&self) -> Vec<&'static str> {
        Fault::ALL.iter().filter(|(fault, _)| self.of(*fault) == 0).map(|(_, name)| *name).collect()
    }

    pub(crate) fn report(&self) -> String {
        let rows = Fault::ALL.iter().map(|(fault, name)| format!("{name} {}", self.of(*fault)));
        rows.collect::<Vec<_>>().join(", ")
    }
}
