//! Clients' messages, read and put into the conductor's words.

use serde_json::Value;
use sluice_controlplane_core::limits::ROOMS_PER_SESSION_MAX;
use sluice_controlplane_core::plan::PublishTrack;
use sluice_controlplane_core::room::{
    Detail, ParticipantChange, RoomChange, RoomId, SubscriptionChange, TemporalLayers, track_of_text,
};
use sluice_controlplane_core::sdp::{Answer, Offer};
use sluice_controlplane_core::session::OfferId;
use sluice_protocol::ids::{Address, TrackId, TransportId};
use sluice_protocol::media::{Label, MediaKind, Mid};

use super::client_messages::{self as messages, ClientRequest};
use super::limits::DEAR_TEXT_BYTES;
use super::refusal::{invalid, not_built};
use crate::auth::metadata_text;
use crate::conductor::signalled::{Request, RequestId, SaidRefusal};
use crate::json::{self, JsonError};

/// The largest number that JavaScript counts to.
const REQUEST_ID_MAX: RequestId = (1 << 53) - 1;

/// Reads a message: the number that it bears, as far as that can be read, and what it wants.
pub(super) fn read(text: &[u8]) -> (Option<RequestId>, Result<ClientRequest, SaidRefusal>) {
    let value = match json::parse::<Value>(text) {
        Ok(value) => value,
        Err(error) => return (None, Err(refusal_of(&error))),
    };
    let Value::Object(mut fields) = value else {
        return (None, Err(invalid("$", "a message is a JSON object with the field type")));
    };
    let id = match fields.remove("id") {
        None | Some(Value::Null) => None,
        Some(id) => match id.as_u64().filter(|id| *id <= REQUEST_ID_MAX) {
            Some(id) => Some(id),
            None => return (None, Err(invalid("id", "this is a whole number up to 2^53 - 1"))),
        },
    };
    (id, json::from_value(Value::Object(fields)).map_err(|error| refusal_of(&error)))
}

fn refusal_of(error: &JsonError) -> SaidRefusal {
    match error {
        JsonError::Syntax { .. } => {
            SaidRefusal { code: "json_syntax".to_owned(), message: error.to_string(), field: None }
        }
        JsonError::Value { path, what } => invalid(path, what),
    }
}

/// What a message wants of whom.
pub(super) enum Wanted {
    /// Of the conductor.
    Request(Request),
    /// To enter a room, for which the door has to be asked.
    JoinRoom(messages::JoinRoom),
    /// To show a newer token to the door.
    RenewToken(String),
    /// To know that somebody is there.
    Pong,
}

impl Wanted {
    /// Returns how much work it makes for everybody in a room, where an entry is 1; 0 when it makes none.
    pub(super) fn price(&self) -> u32 {
        match self {
            Self::JoinRoom(_) => 1,
            Self::Request(Request::UpdateParticipant { change, .. }) => price_of_text([&change.name, &change.metadata]),
            Self::Request(Request::UpdateRoom { change, .. }) => price_of_text([&change.name, &change.metadata]),
            Self::Request(
                Request::Offer { .. }
                | Request::Move { .. }
                | Request::PublishIn { .. }
                | Request::Unpublish { .. }
                | Request::Mute { .. }
                | Request::Remove { .. },
            ) => 1,
            Self::Request(_) | Self::RenewToken(_) | Self::Pong => 0,
        }
    }
}

/// Prices text that everybody in a room is told.
fn price_of_text(texts: [&Option<String>; 2]) -> u32 {
    let bytes: usize = texts.into_iter().flatten().map(String::len).sum();
    u32::try_from(1 + bytes / DEAR_TEXT_BYTES).unwrap_or(u32::MAX)
}

/// Puts what a message wants into the conductor's words.
pub(super) fn wanted(request: ClientRequest) -> Result<Wanted, SaidRefusal> {
    Ok(Wanted::Request(match request {
        ClientRequest::JoinRoom(join) => return Ok(Wanted::JoinRoom(join)),
        ClientRequest::RenewToken(renew) => return Ok(Wanted::RenewToken(renew.token)),
        ClientRequest::Ping => return Ok(Wanted::Pong),
        ClientRequest::Resume(_) => {
            return Err(invalid("type", "resume is the first message of a connection without token"));
        }
        ClientRequest::SendData(_) => return Err(not_built("send_data")),
        ClientRequest::Chat(_) => return Err(not_built("chat")),
        ClientRequest::LeaveRoom(messages::InRoom { room_id }) => Request::LeaveRoom { room: room(room_id)? },
        ClientRequest::EndRoom(messages::InRoom { room_id }) => Request::EndRoom { room: room(room_id)? },
        ClientRequest::PublishTrack(publish) => publish_track(publish)?,
        ClientRequest::UnpublishTrack(messages::UnpublishTrack { track_id, room_id }) => {
            Request::Unpublish { track: track(&track_id)?, room: room_id.map(room).transpose()? }
        }
        ClientRequest::SubscribeTrack(messages::TrackOfRoom { room_id, track_id }) => {
            Request::Subscribe { room: room(room_id)?, track: track(&track_id)? }
        }
        ClientRequest::UnsubscribeTrack(messages::TrackOfRoom { room_id, track_id }) => {
            Request::Unsubscribe { room: room(room_id)?, track: track(&track_id)? }
        }
        ClientRequest::UpdateSubscription(update) => update_subscription(update)?,
        ClientRequest::UpdateMetadata(messages::UpdateMetadata { room_id, name, metadata }) => {
            let metadata = metadata.as_ref().map(metadata_text);
            let change = ParticipantChange { name, metadata, role: None, permissions: None };
            Request::UpdateParticipant { room: room(room_id)?, participant: None, change }
        }
        ClientRequest::MuteTrack(mute) => mute_track(mute)?,
        ClientRequest::UpdateParticipant(update) => {
            let messages::UpdateParticipant { room_id, participant_id, name, role, permissions } = update;
            let change = ParticipantChange { name, metadata: None, role, permissions };
            Request::UpdateParticipant { room: room(room_id)?, participant: Some(participant_id), change }
        }
        ClientRequest::RemoveParticipant(messages::ParticipantOfRoom { room_id, participant_id }) => {
            Request::Remove { room: room(room_id)?, participant: participant_id }
        }
        ClientRequest::MoveParticipant(messages::MoveParticipant { room_id, participant_id, to_room_id }) => {
            Request::Move { room: room(room_id)?, participant: participant_id, to: room(to_room_id)? }
        }
        ClientRequest::UpdateRoom(messages::UpdateRoom { room_id, name, metadata, pin, locked }) => {
            let metadata = metadata.as_ref().map(metadata_text);
            let change = RoomChange { name, metadata, pin, is_locked: locked, ..RoomChange::default() };
            Request::UpdateRoom { room: room(room_id)?, change }
        }
        ClientRequest::Offer(messages::Description { offer_id, sdp }) => {
            let offer = Offer::parse(sdp.as_bytes()).map_err(|error| said(error.code(), &error, "sdp"))?;
            Request::Offer { number: OfferId(offer_id), offer: Box::new(offer) }
        }
        ClientRequest::Answer(messages::Description { offer_id, sdp }) => {
            let answer = Answer::parse(sdp.as_bytes()).map_err(|error| said(error.code(), &error, "sdp"))?;
            Request::Answer { number: OfferId(offer_id), answer: Box::new(answer) }
        }
        ClientRequest::Candidate(_) => Request::Nothing,
        ClientRequest::RestartIce => Request::RestartSubscriber,
        ClientRequest::RenewConnection(messages::RenewConnection { connection_id }) => {
            Request::RenewSubscriber { transport: connection(&connection_id)? }
        }
    }))
}

fn publish_track(publish: messages::PublishTrack) -> Result<Request, SaidRefusal> {
    let messages::PublishTrack { kind, source, mid, track_id, room_ids, muted, width, height } = publish;
    let rooms = rooms(room_ids.unwrap_or_default())?;
    if let Some(track_id) = track_id {
        if mid.is_some() {
            return Err(invalid("track_id", "a track is named by mid or by track_id, not by both"));
        }
        return Ok(Request::PublishIn { track: track(&track_id)?, rooms });
    }
    let mid = mid.ok_or_else(|| invalid("mid", "this is needed and not there"))?;
    let mid = Label::new(mid.as_bytes()).filter(|_| !mid.is_empty()).map(Mid);
    let mid = mid.ok_or_else(|| invalid("mid", "this is no name of an m-line"))?;
    let source = source.ok_or_else(|| invalid("source", "this is needed and not there"))?;
    let own_kind = source.kind();
    if kind.is_some_and(|kind| kind != sluice_controlplane_core::room::kind_text(own_kind)) {
        return Err(invalid("kind", "the source is of another kind"));
    }
    let [width, height] = [width, height].map(|side| side.filter(|_| own_kind == MediaKind::Video));
    Ok(Request::DeclareTrack(PublishTrack { mid, source, rooms, muted, width, height }))
}

fn update_subscription(update: messages::UpdateSubscription) -> Result<Request, SaidRefusal> {
    let messages::UpdateSubscription { room_id, track_id, paused, quality, size, temporal_layers } = update;
    let detail = size.map(|messages::Size { width, height }| Detail::Size { width, height });
    let detail = detail.or_else(|| quality.map(Detail::Quality));
    let temporal_layers = match temporal_layers.map(TemporalLayers::new) {
        Some(None) => return Err(invalid("temporal_layers", "there are 1 to 8")),
        layers => layers.flatten(),
    };
    let change = SubscriptionChange { is_paused: paused, detail, temporal_layers };
    Ok(Request::UpdateSubscription { room: room(room_id)?, track: track(&track_id)?, change })
}

fn mute_track(mute: messages::MuteTrack) -> Result<Request, SaidRefusal> {
    let messages::MuteTrack { track_id, muted, room_id, participant_id } = mute;
    if participant_id.is_some() && room_id.is_none() {
        return Err(invalid("room_id", "whose track it is needs the room"));
    }
    Ok(Request::Mute {
        room: room_id.map(room).transpose()?,
        participant: participant_id,
        track: track_id.as_deref().map(track).transpose()?,
        muted,
    })
}

/// Checks the ids of rooms, each of which counts once.
fn rooms(ids: Vec<String>) -> Result<Vec<RoomId>, SaidRefusal> {
    if ids.len() > ROOMS_PER_SESSION_MAX {
        return Err(invalid("room_ids", "these are more rooms than a session may be in"));
    }
    let mut rooms = Vec::with_capacity(ids.len());
    for id in ids {
        let room = room(id)?;
        if !rooms.contains(&room) {
            rooms.push(room);
        }
    }
    Ok(rooms)
}

/// Checks the id of a room.
pub(super) fn room(id: String) -> Result<RoomId, SaidRefusal> {
    if sluice_controlplane_core::access::is_id(&id) {
        Ok(RoomId(id))
    } else {
        Err(invalid("room_id", "an id is 1 to 64 of A-Z, a-z, 0-9, _ and -"))
    }
}

fn connection(id: &str) -> Result<TransportId, SaidRefusal> {
    let word = id.strip_prefix("CO_").filter(|digits| digits.len() == 16);
    let word = word.and_then(|digits| u64::from_str_radix(digits, 16).ok());
    let transport = word.map(|word| TransportId(Address::from_word(word)));
    transport.ok_or_else(|| invalid("connection_id", "an id of a connection is as the server told it"))
}

fn track(id: &str) -> Result<TrackId, SaidRefusal> {
    track_of_text(id).ok_or_else(|| said("no_such_track", &"there is no such track", "track_id"))
}

fn said(code: &str, error: &dyn std::fmt::Display, field: &str) -> SaidRefusal {
    SaidRefusal { code: code.to_owned(), message: error.to_string(), field: Some(field.to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a message's number, and code and field of the refusal where it is refused.
    fn judged(text: &str) -> (Option<RequestId>, String) {
        let (id, request) = read(text.as_bytes());
        let refusal = request.and_then(wanted).err();
        let told = |refusal: SaidRefusal| format!("{} {}", refusal.code, refusal.field.unwrap_or_default());
        (id, refusal.map_or_else(|| "taken".to_owned(), told))
    }

    #[test]
    fn a_message_is_taken_or_refused_by_its_number_and_the_name_of_what_is_wrong() {
        let track = "TR_0001000200000001";
        let about = |rest: &str| format!(r#"{{"id":7,"track_id":"{track}",{rest}}}"#);
        let cases = [
            (r#"{"type":"ping","id":9007199254740991}"#.to_owned(), Some(REQUEST_ID_MAX), "taken"),
            (r#"{"type":"ping","id":null}"#.to_owned(), None, "taken"),
            (r#"{"type":"ping","id":9007199254740992}"#.to_owned(), None, "invalid_value id"),
            (r#"{"type":"ping","id":1.5}"#.to_owned(), None, "invalid_value id"),
            (r#"["ping"]"#.to_owned(), None, "invalid_value $"),
            (r#"{"type":"chat","id":7,"text":"hello"}"#.to_owned(), Some(7), "not_built type"),
            (r#"{"type":"leave_room","id":7,"room_id":"a b"}"#.to_owned(), Some(7), "invalid_value room_id"),
            (about(r#""type":"mute_track","muted":true"#), Some(7), "taken"),
            (about(r#""type":"mute_track","muted":true,"participant_id":"ann"#), None, "json_syntax "),
            (about(r#""type":"mute_track","muted":true,"participant_id":"ann""#), Some(7), "invalid_value room_id"),
            (about(r#""type":"publish_track","mid":"0""#), Some(7), "invalid_value track_id"),
            (about(r#""type":"publish_track","room_ids":["a"]"#), Some(7), "taken"),
            (r#"{"type":"publish_track","id":7,"source":"camera"}"#.to_owned(), Some(7), "invalid_value mid"),
            (r#"{"type":"publish_track","id":7,"mid":"0"}"#.to_owned(), Some(7), "invalid_value source"),
            (
                r#"{"type":"publish_track","id":7,"mid":"0","source":"camera","kind":"audio"}"#.to_owned(),
                Some(7),
                "invalid_value kind",
            ),
            (r#"{"type":"offer","id":7,"offer_id":1,"sdp":""}"#.to_owned(), Some(7), "sdp_syntax sdp"),
            (r#"{"type":"resume","id":7,"resume_token":"x","seq":0}"#.to_owned(), Some(7), "invalid_value type"),
        ];
        for (text, id, told) in cases {
            assert_eq!(judged(&text), (id, told.to_owned()), "{text}");
        }
    }
}
