//! The frames of the control stream as the contract's own types.

use std::net::IpAddr;

use crate::event::{Event, Refusal};
use crate::ice::NodeSecret;
use crate::ids::TrackId;
use crate::plan::{Change, Object};
use crate::stats::Stats;

/// One message of the control stream. `docs/IPC.md` says who sends which, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// Who speaks.
    Hello(Hello),
    /// Why the sender closes the connection after this frame.
    Error {
        /// What a program looks at.
        code: ErrorCode,
        /// What a person reads.
        text: String,
    },
    /// Asks for a [`Frame::Pong`] with the same number.
    Ping(u64),
    /// Answers [`Frame::Ping`].
    Pong(u64),
    /// What a data plane needs to run.
    Configure(Configuration),
    /// What a data plane runs with.
    Ready(Ready),
    /// What the descriptors are that came with this frame, in their order.
    Descriptors(Vec<DescriptorKind>),
    /// Asks for everything that the data plane has.
    SnapshotRequest,
    /// One object of the snapshot.
    SnapshotObject(Box<Object>),
    /// The snapshot is whole.
    SnapshotEnd,
    /// One step towards the controller's plan.
    Command(Command),
    /// Commands that are done.
    Ack(Ack),
    /// Something that happened.
    Event(Event),
    /// Asks the publisher of a track for a key frame.
    RequestKeyFrame(TrackId),
    /// Asks for statistics under this id.
    StatsRequest(u64),
    /// A part of the statistics.
    StatsReply {
        /// The id of the request.
        id: u64,
        /// Counters; the parts of one id are joined.
        part: Stats,
        /// Whether nothing follows.
        last: bool,
    },
}

impl Frame {
    /// Returns the message's name, for errors.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Hello(_) => "Hello",
            Self::Error { .. } => "Error",
            Self::Ping(_) => "Ping",
            Self::Pong(_) => "Pong",
            Self::Configure(_) => "Configure",
            Self::Ready(_) => "Ready",
            Self::Descriptors(_) => "Descriptors",
            Self::SnapshotRequest => "SnapshotRequest",
            Self::SnapshotObject(_) => "SnapshotObject",
            Self::SnapshotEnd => "SnapshotEnd",
            Self::Command(_) => "Command",
            Self::Ack(_) => "Ack",
            Self::Event(_) => "Event",
            Self::RequestKeyFrame(_) => "RequestKeyFrame",
            Self::StatsRequest(_) => "StatsRequest",
            Self::StatsReply { .. } => "StatsReply",
        }
    }
}

/// Which end of the control stream speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// The control plane.
    Controller,
    /// The data plane.
    Dataplane,
}

/// The first frame of either side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Which end speaks.
    pub role: Role,
    /// The oldest version of this protocol that the sender speaks.
    pub version_min: u32,
    /// The newest one.
    pub version_max: u32,
    /// The sender's process.
    pub identity: Identity,
    /// The controller's epoch; in a data plane's hello the highest one that it admitted, 0 when none.
    pub epoch: u16,
    /// Shards of a data plane, 0 when it does not know yet, and in a controller's hello.
    pub shards: u8,
    /// Whether the data plane has been configured already.
    pub running: bool,
}

/// A process, as it introduces itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Name and version of the program, for logs; at most [`crate::limits::SOFTWARE_BYTES_MAX`] bytes.
    pub software: String,
    /// A random number of the process; another one means that all of its state is gone.
    pub instance: u64,
    /// Optional abilities, by name; at most [`crate::limits::CAPABILITIES_MAX`].
    pub capabilities: Vec<String>,
}

/// Why a connection is closed, for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// A reason that this version does not know.
    Other,
    /// No common version.
    Version,
    /// A controller with a higher epoch, or another one with the same, was here.
    Fenced,
    /// A frame was longer than [`crate::limits::FRAME_BYTES_MAX`].
    FrameTooLong,
    /// A frame, or a field of it, could not be read.
    Malformed,
    /// A frame came that was not allowed at this point.
    Protocol,
    /// The other side does not read.
    Stalled,
    /// The data plane could not run with the configuration.
    Configuration,
}

/// What a data plane needs to run. It outlives either process in the other one's memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Configuration {
    /// The secret that ICE passwords come from.
    pub node_secret: NodeSecret,
    /// The UDP port of media; 0 lets the data plane choose one.
    pub media_port: u16,
    /// Addresses to bind, at most [`crate::limits::LISTEN_ADDRESSES_MAX`]; none means both wildcards.
    pub listen: Vec<IpAddr>,
}

/// What a data plane runs with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ready {
    /// Its configuration, with the port that it bound.
    pub configuration: Configuration,
    /// Its number of shards.
    pub shards: u8,
}

/// The family of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AddressFamily {
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
}

/// What a passed descriptor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DescriptorKind {
    /// A UDP socket of a shard. A shard has one per address that it binds.
    MediaSocket {
        /// The shard.
        shard: u8,
        /// The family of its address.
        family: AddressFamily,
    },
    /// The memory of a shard's [`crate::table`].
    Table {
        /// The shard.
        shard: u8,
    },
    /// The controller's end of a shard's packet stream, a `SOCK_SEQPACKET` pair made by the data plane.
    PacketStream {
        /// The shard.
        shard: u8,
    },
    /// Something that this version does not know; it is closed unused.
    Unknown,
}

/// One step towards the controller's plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// 1 for the first command of a connection, then one more each.
    pub sequence: u64,
    /// What to do.
    pub change: Change,
    /// Whether a data plane that is gone had acknowledged this object. Its keys have been used, so the indices go on
    /// from the shared table; without a row there it is refused with [`Refusal::NoTableRow`].
    pub resume: bool,
}

/// Commands that are done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ack {
    /// All commands up to this one.
    pub up_to: u64,
    /// Those among them, since the last acknowledgement, that were not carried out.
    pub refusals: Vec<(u64, Refusal)>,
}
