//! What clients are told, put into messages.

use sluice_controlplane_core::room::{RoomId, track_text};
use sluice_controlplane_core::sdp::Role;
use sluice_protocol::ids::{TrackId, TransportId};
use sluice_protocol::media::Mid;
use sluice_protocol::time::Instant;

use super::door::Door;
use super::limits::IDLE_TIMEOUT;
use super::server_messages::{
    Answer, ConnectionClosed, IceServer, InRoom, Moved, Offer, ParticipantLeft, ParticipantNews, Refused, Removed,
    RenewedStay, Resumed, RoomInfo, RoomJoined, RoomUpdated, Said, ServerMessage, TokenRenewed, TrackAtMid, TrackMuted,
    TrackPublished, TrackSubscribed, TrackUnpublished, TrackUnsubscribed, Welcome,
};
use crate::auth::metadata_value;
use crate::clock;
use crate::conductor::signalled::limits::RESUME_WITHIN;
use crate::conductor::signalled::{Arrival, News, Opened, Reply, RequestId, SaidRefusal, Stay, Told};
use crate::conductor::{ParticipantSnapshot, RoomSnapshot, signalled};
use crate::documents::{ParticipantDocument, TrackDocument};

/// Writes a message that is numbered. Tokens that are told are signed by `door`.
pub(super) fn numbered(seq: u64, told: &Told, door: &dyn Door) -> String {
    let (id, said) = said(told, door);
    text(&ServerMessage { seq: Some(seq), id, said })
}

/// Writes a message without a number.
pub(super) fn unnumbered(id: Option<RequestId>, said: Said) -> String {
    text(&ServerMessage { seq: None, id, said })
}

/// Writes a message.
pub(super) fn text(message: &ServerMessage) -> String {
    serde_json::to_string(message).expect("a message is plain data")
}

/// Returns the first message of a session.
pub(super) fn welcome(opened: &Opened) -> Said {
    let servers = opened.ice_servers.iter().map(|server| {
        let (username, credential) = server.credentials.clone().unzip();
        IceServer { urls: server.url.clone(), username, credential }
    });
    Said::Welcome(Welcome {
        session_id: opened.session.0.clone(),
        identity: opened.identity.clone(),
        resume_token: opened.resume_token.clone(),
        resume_within: RESUME_WITHIN.as_secs(),
        idle_timeout: IDLE_TIMEOUT.as_secs(),
        ice_servers: servers.collect(),
    })
}

/// Returns the first message of a session that goes on.
pub(super) fn resumed(resumed: &signalled::Resumed) -> Said {
    let state = resumed.state.as_ref();
    Said::Resumed(Resumed {
        session_id: resumed.opened.session.0.clone(),
        complete: state.is_none(),
        rooms: state.map(|state| state.stays.iter().map(room_joined).collect()),
        subscribed: state.map(|state| state.arrivals.iter().map(subscribed).collect()),
        published: state.map(|state| tracks_at_mids(&state.sent)),
        publisher_offer_id: resumed.publisher_offer.0,
        publisher_connection_id: resumed.publisher.map(connection_id),
        subscriber_connection_id: resumed.subscriber.map(connection_id),
    })
}

/// Returns a refusal.
pub(super) fn refused(refusal: &SaidRefusal) -> Said {
    let SaidRefusal { code, message, field } = refusal.clone();
    Said::Error(Refused { code, message, field })
}

fn said(told: &Told, door: &dyn Door) -> (Option<RequestId>, Said) {
    match told {
        Told::Reply(id, reply) => (*id, answer(reply)),
        Told::News(news) => (None, said_news(news, door)),
    }
}

fn answer(reply: &Reply) -> Said {
    match reply {
        Reply::Done => Said::Ok,
        Reply::Refused(refusal) => refused(refusal),
        Reply::Joined(stay) => Said::RoomJoined(room_joined(stay)),
        Reply::Renewed(rooms) => {
            let stay = |(room, until): &(RoomId, Option<Instant>)| RenewedStay {
                room_id: room.0.clone(),
                expires_in: until.map(seconds_until),
            };
            Said::TokenRenewed(TokenRenewed { rooms: rooms.iter().map(stay).collect() })
        }
        Reply::Left(room) => Said::RoomLeft(InRoom { room_id: room.0.clone() }),
        Reply::Answered { offer, transport, sdp, tracks } => {
            let (connection_id, tracks) = (connection_id(*transport), tracks_at_mids(tracks));
            Said::Answer(Answer { offer_id: offer.0, connection_id, sdp: sdp.clone(), tracks })
        }
    }
}

fn said_news(news: &News, door: &dyn Door) -> Said {
    match news {
        News::Offer { offer, transport, sdp } => {
            let connection_id = connection_id(*transport);
            Said::Offer(Offer { offer_id: offer.0, connection_id, sdp: sdp.clone() })
        }
        News::ParticipantJoined { room, participant } => {
            Said::ParticipantJoined(ParticipantNews { room_id: room.0.clone(), participant: shown(participant) })
        }
        News::ParticipantUpdated { room, participant } => {
            Said::ParticipantUpdated(ParticipantNews { room_id: room.0.clone(), participant: shown(participant) })
        }
        News::ParticipantLeft { room, participant, identity, reason } => Said::ParticipantLeft(ParticipantLeft {
            room_id: room.0.clone(),
            participant_id: participant.0.clone(),
            identity: identity.0.clone(),
            reason: reason.as_str(),
        }),
        News::TrackPublished { room, participant, track } => Said::TrackPublished(TrackPublished {
            room_id: room.0.clone(),
            participant_id: participant.0.clone(),
            track: TrackDocument::from(&**track),
        }),
        News::TrackUnpublished { room, participant, track } => Said::TrackUnpublished(TrackUnpublished {
            room_id: room.0.clone(),
            participant_id: participant.0.clone(),
            track_id: track.clone(),
        }),
        News::TrackMuted { room, participant, track, muted, by_host, muted_by_host } => Said::TrackMuted(TrackMuted {
            room_id: room.0.clone(),
            participant_id: participant.0.clone(),
            track_id: track.clone(),
            muted: *muted,
            by_host: *by_host,
            muted_by_host: *muted_by_host,
        }),
        News::Subscribed(arrival) => Said::TrackSubscribed(subscribed(arrival)),
        News::Unsubscribed { track, refused } => {
            Said::TrackUnsubscribed(TrackUnsubscribed { track_id: track_text(*track), refused: *refused })
        }
        News::RoomUpdated(room) => Said::RoomUpdated(RoomUpdated { room_id: room.id.clone(), room: room_info(room) }),
        News::Moved { room, to, claims } => Said::Moved(Moved {
            room_id: room.0.clone(),
            to_room_id: to.0.clone(),
            token: claims.as_ref().and_then(|claims| door.sign(claims)),
        }),
        News::Removed { room, reason } => Said::Removed(Removed { room_id: room.0.clone(), reason: reason.as_str() }),
        News::ConnectionClosed { role, transport } => Said::ConnectionClosed(ConnectionClosed {
            connection: match role {
                Role::Publish => "publisher",
                Role::Play => "subscriber",
            },
            connection_id: connection_id(*transport),
        }),
    }
}

fn shown(participant: &ParticipantSnapshot) -> ParticipantDocument {
    ParticipantDocument::from(participant.clone())
}

fn room_joined(stay: &Stay) -> RoomJoined {
    RoomJoined {
        room_id: stay.room.id.clone(),
        room: room_info(&stay.room),
        participant: shown(&stay.own),
        participants: stay.others.iter().map(shown).collect(),
        expires_in: stay.own.participant.term.as_ref().map(|term| seconds_until(term.until)),
    }
}

/// Returns the whole seconds that are left.
fn seconds_until(until: Instant) -> u64 {
    until.saturating_since(clock::now()).as_secs()
}

fn room_info(room: &RoomSnapshot) -> RoomInfo {
    RoomInfo {
        name: room.settings.name.clone(),
        metadata: metadata_value(&room.settings.metadata),
        locked: room.settings.is_locked,
        pin_required: room.settings.pin.is_some(),
        state: room.stage.as_str(),
    }
}

fn subscribed(arrival: &Arrival) -> TrackSubscribed {
    TrackSubscribed {
        track_id: track_text(arrival.track),
        mid: arrival.mid.0.as_str().to_owned(),
        undecodable: arrival.undecodable.clone(),
    }
}

fn tracks_at_mids(sent: &[(Mid, TrackId)]) -> Vec<TrackAtMid> {
    let at_mid =
        |(mid, track): &(Mid, TrackId)| TrackAtMid { mid: mid.0.as_str().to_owned(), track_id: track_text(*track) };
    sent.iter().map(at_mid).collect()
}

fn connection_id(transport: TransportId) -> String {
    format!("CO_{:016x}", transport.word())
}
