//! What fronts ask for sessions with a signalling connection.

use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;
use sluice_controlplane_core::plan::PublishTrack;
use sluice_controlplane_core::room::{ParticipantChange, RoomChange, RoomId, SubscriptionChange};
use sluice_controlplane_core::sdp::{Answer, Offer};
use sluice_controlplane_core::session::{OfferId, SessionId};
use sluice_protocol::ids::{TrackId, TransportId};
use sluice_protocol::media::Mid;

use super::line::Line;
use super::told::{Arrival, RequestId, Stay};
use crate::conductor::{ConductorError, Entrant, IceServer};

/// The owner of sessions, as fronts with a signalling connection see it.
///
/// What clients are told comes over the session's [`Line`], answers to requests among it, so that everything has one order.
#[async_trait]
pub trait Sessions: Send + Sync + 'static {
    /// Opens a session, and lets it into its first room.
    ///
    /// # Errors
    /// [`ConductorError`]; there is no session then.
    async fn open_session(&self, opener: Opener) -> Result<Opened, ConductorError>;

    /// Goes on with a session over a new connection.
    ///
    /// # Errors
    /// [`ConductorError::NoSuchSession`], also for a token that is none.
    async fn resume_session(&self, resume: Resume) -> Result<Resumed, ConductorError>;

    /// Says that the connection `holder` of a session is gone. Unless another one comes in time, others learn of it.
    async fn lose_connection(&self, session: &SessionId, holder: u64);

    /// Ends a session, because its client said so.
    async fn close_session(&self, session: &SessionId);

    /// Carries a request out; whatever comes of it but a refusal is told over the line.
    ///
    /// # Errors
    /// [`ConductorError`]; nothing has changed then.
    async fn ask(&self, session: &SessionId, id: Option<RequestId>, request: Request) -> Result<(), ConductorError>;
}

/// Where a client signals from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The client's address, as far as it is known behind proxies.
    pub client: IpAddr,
    /// Whether it signals over loopback without a proxy in between: then it may be told loopback candidates.
    pub is_loopback: bool,
}

/// Who opens a session.
#[derive(Clone, Debug)]
pub struct Opener {
    /// The room to enter first.
    pub room: RoomId,
    /// Who enters it.
    pub entrant: Entrant,
    /// Whether to be subscribed to everything there.
    pub auto_subscribe: bool,
    /// Where the client is.
    pub origin: Origin,
}

/// An open session.
#[derive(Clone, Debug)]
pub struct Opened {
    /// Its id.
    pub session: SessionId,
    /// Who it is in all its rooms.
    pub identity: String,
    /// What resumes it.
    pub resume_token: String,
    /// What its client is told; the stay in the first room is there already.
    pub line: Arc<Line>,
    /// The connection's number as the line's holder.
    pub holder: u64,
    /// The number after which its messages follow.
    pub after: u64,
    /// ICE servers that the client is told.
    pub ice_servers: Vec<IceServer>,
}

/// Which session is to go on.
#[derive(Clone, Debug)]
pub struct Resume {
    /// What [`Opened`] gave.
    pub token: String,
    /// The number of the last message that arrived.
    pub seq: u64,
    /// Where the client is now.
    pub origin: Origin,
}

/// A session that goes on.
#[derive(Clone, Debug)]
pub struct Resumed {
    /// The session.
    pub opened: Opened,
    /// How things are, where messages were missed that are not kept.
    pub state: Option<SessionState>,
    /// The number of the publisher's last offer that was taken.
    pub publisher_offer: OfferId,
    /// The publisher's connection.
    pub publisher: Option<TransportId>,
    /// The subscriber's connection.
    pub subscriber: Option<TransportId>,
}

/// How things are in a session.
#[derive(Clone, Debug)]
pub struct SessionState {
    /// Its rooms.
    pub stays: Vec<Stay>,
    /// The tracks that arrive.
    pub arrivals: Vec<Arrival>,
    /// The tracks that are sent.
    pub sent: Vec<(Mid, TrackId)>,
}

/// A newer token of a session's identity.
#[derive(Clone, Debug)]
pub struct Renewer {
    /// The rooms that it names; `None` for all.
    pub rooms: Option<Vec<RoomId>>,
    /// What it says of its holder.
    pub entrant: Entrant,
}

/// What a client wants.
#[derive(Debug)]
#[expect(missing_docs, reason = "fields are the ids and values that the variant's name says")]
pub enum Request {
    /// Enters a further room.
    JoinRoom { room: RoomId, entrant: Box<Entrant>, auto_subscribe: bool },
    /// Stays for as long as a newer token is good.
    Renew(Box<Renewer>),
    /// Leaves a room.
    LeaveRoom { room: RoomId },
    /// Says what the next offer sends.
    DeclareTrack(PublishTrack),
    /// Publishes in further rooms what is sent already; in all of the session's when none is named.
    PublishIn { track: TrackId, rooms: Vec<RoomId> },
    /// Publishes a track no more, in one room or all.
    Unpublish { track: TrackId, room: Option<RoomId> },
    /// Subscribes to a track.
    Subscribe { room: RoomId, track: TrackId },
    /// Ends a subscription.
    Unsubscribe { room: RoomId, track: TrackId },
    /// Wants more or less of a track.
    UpdateSubscription { room: RoomId, track: TrackId, change: SubscriptionChange },
    /// Mutes a track of its own in one room or all, or one of somebody else.
    Mute { room: Option<RoomId>, participant: Option<String>, track: Option<TrackId>, muted: bool },
    /// Changes somebody; itself where none is named.
    UpdateParticipant { room: RoomId, participant: Option<String>, change: ParticipantChange },
    /// Removes somebody.
    Remove { room: RoomId, participant: String },
    /// Moves somebody to another room.
    Move { room: RoomId, participant: String, to: RoomId },
    /// Changes the room.
    UpdateRoom { room: RoomId, change: RoomChange },
    /// Ends the room for all.
    EndRoom { room: RoomId },
    /// Offers what the publisher's connection sends.
    Offer { number: OfferId, offer: Box<Offer> },
    /// Answers an offer of the subscriber's connection.
    Answer { number: OfferId, answer: Box<Answer> },
    /// Has the subscriber's connection restart ICE.
    RestartSubscriber,
    /// Gives up the subscriber's connection, if it is this one: another one is offered.
    RenewSubscriber { transport: TransportId },
    /// Nothing: to be answered once everything before it is.
    Nothing,
}
