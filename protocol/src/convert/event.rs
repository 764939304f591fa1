//! Events and refusals on the wire.

use super::media::payload_type;
use super::plan::{key, object, write_key, write_object};
use super::{FieldError, missing};
use crate::event::{Event, Refusal};
use crate::ids::{EgressId, TrackId, TransportId};
use crate::media::Ssrc;
use crate::wire;

/// Reads an event; `None` when it is of a kind that this version does not know, or about an object of such a kind.
pub(super) fn event(event: &wire::Event) -> Result<Option<Event>, FieldError> {
    use wire::event::Kind;
    let Some(kind) = &event.kind else { return Ok(None) };
    Ok(Some(match kind {
        Kind::Learnt(wire) => match object(wire)? {
            Some(object) if object.is_learnt() => Event::Learnt(Box::new(object)),
            Some(_) => return Err(super::out_of_range("Event.learnt")),
            None => return Ok(None),
        },
        Kind::Forgotten(wire) => match key(wire) {
            Some(key) => Event::Forgotten(key),
            None => return Ok(None),
        },
        Kind::TransportConnected(word) => Event::TransportConnected(TransportId::from_word(*word)),
        Kind::TransportSilent(word) => Event::TransportSilent(TransportId::from_word(*word)),
        Kind::TrackStarted(wire) => Event::TrackStarted {
            track: TrackId::from_word(wire.track),
            ssrc: Ssrc(wire.ssrc),
            payload_type: payload_type(wire.payload_type, "TrackStarted.payload_type")?,
        },
        Kind::TrackStopped(wire) => {
            Event::TrackStopped { track: TrackId::from_word(wire.track), ssrc: Ssrc(wire.ssrc) }
        }
        Kind::Undecodable(wire) => Event::Undecodable {
            egress: EgressId::from_word(wire.egress),
            payload_type: payload_type(wire.payload_type, "Undecodable.payload_type")?,
        },
    }))
}

pub(super) fn write_event(event: &Event) -> wire::Event {
    use wire::event::Kind;
    let kind = match event {
        Event::Learnt(object) => Kind::Learnt(write_object(object)),
        Event::Forgotten(key) => Kind::Forgotten(write_key(key)),
        Event::TransportConnected(transport) => Kind::TransportConnected(transport.word()),
        Event::TransportSilent(transport) => Kind::TransportSilent(transport.word()),
        Event::TrackStarted { track, ssrc, payload_type } => Kind::TrackStarted(wire::TrackStarted {
            track: track.word(),
            ssrc: ssrc.0,
            payload_type: payload_type.0.into(),
        }),
        Event::TrackStopped { track, ssrc } => {
            Kind::TrackStopped(wire::TrackStopped { track: track.word(), ssrc: ssrc.0 })
        }
        Event::Undecodable { egress, payload_type } => {
            Kind::Undecodable(wire::Undecodable { egress: egress.word(), payload_type: payload_type.0.into() })
        }
    };
    wire::Event { kind: Some(kind) }
}

/// Reads a refusal; one that this version does not know means [`Refusal::Invalid`].
pub(super) fn refusal(value: i32) -> Result<Refusal, FieldError> {
    Ok(match wire::Refusal::try_from(value) {
        Ok(wire::Refusal::NoSuchAddress) => Refusal::NoSuchAddress,
        Ok(wire::Refusal::NoSuchReference) => Refusal::NoSuchReference,
        Ok(wire::Refusal::StaleGeneration) => Refusal::StaleGeneration,
        Ok(wire::Refusal::PlanFull) => Refusal::PlanFull,
        Ok(wire::Refusal::NoTableRow) => Refusal::NoTableRow,
        Ok(wire::Refusal::Invalid) | Err(_) => Refusal::Invalid,
        Ok(wire::Refusal::Unspecified) => return Err(missing("Refused.refusal")),
    })
}

pub(super) fn write_refusal(refusal: Refusal) -> i32 {
    match refusal {
        Refusal::NoSuchAddress => wire::Refusal::NoSuchAddress,
        Refusal::NoSuchReference => wire::Refusal::NoSuchReference,
        Refusal::StaleGeneration => wire::Refusal::StaleGeneration,
        Refusal::PlanFull => wire::Refusal::PlanFull,
        Refusal::NoTableRow => wire::Refusal::NoTableRow,
        Refusal::Invalid => wire::Refusal::Invalid,
    }
    .into()
}
