//! Where an SSRC belongs that is heard for the first time.

use sluice_protocol::event::Event;
use sluice_protocol::ids::{TrackId, TransportId};
use sluice_protocol::media::{Label, Rid, Ssrc};
use sluice_protocol::plan::{self, Key, Object, StreamRole};
use sluice_protocol::table::Role;
use sluice_protocol::time::Instant;

use super::Engine;
use super::publishing::table_role;
use crate::discard::Discard;
use crate::ingress::StreamIndex;
use crate::ingress::sources::{Source, SourceRole};
use crate::limits::{LEARNING_WINDOW, LEARNT_PER_WINDOW_MAX};
use crate::route::track::{Payload, Track};
use crate::wire::extension::parse_label;
use crate::wire::rtp::RtpView;

/// Where an SSRC belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) track: TrackId,
    pub(super) stream: StreamIndex,
    pub(super) role: SourceRole,
}

impl Engine {
    /// Finds the track of an SSRC that is heard for the first time, and remembers it: senders stop saying mid and rid once
    /// a report names them. One that stopped before a predecessor's controller heard of it is found in the shared table.
    pub(super) fn learn(&mut self, now: Instant, id: TransportId, view: &RtpView<'_>) -> Result<Place, Discard> {
        let place = self.place_said(id, view).or_else(|unknown| self.place_left(id, view).ok_or(unknown))?;
        let transport = self.transports.get_mut(id.0).ok_or(Discard::UnvalidatedFiveTuple)?;
        if !transport.learning.take(now, LEARNING_WINDOW, LEARNT_PER_WINDOW_MAX) {
            return Err(Discard::StreamsFull);
        }
        if transport.sources.is_full() {
            self.forget_silent_source(id)?;
        }
        self.add_learnt(id, view.ssrc(), place)
    }

    /// Finds the place of a packet by mid and rid, or by a payload type that only one track has (RFC 8843 section 9.2).
    fn place_said(&mut self, id: TransportId, view: &RtpView<'_>) -> Result<Place, Discard> {
        let Self { transports, tracks, .. } = self;
        let transport = transports.get(id.0).ok_or(Discard::UnvalidatedFiveTuple)?;
        let named = |track: &Track| label(view, track.plan.extensions.mid) == Some(track.plan.mid.0);
        let fits = |track: &Track| track.payload(view.payload_type()).is_some();
        let living = || transport.tracks.iter().filter_map(|track| tracks.get(track.0));
        let by_mid = living().find(|track| named(track)).map(|track| track.plan.id);
        let has_mid = living().any(|track| label(view, track.plan.extensions.mid).is_some());
        let mut fitting = living().filter(|track| fits(track)).map(|track| track.plan.id);
        let by_payload = fitting.next().filter(|_| fitting.next().is_none() && !has_mid);
        let track_id = by_mid.or(by_payload).ok_or(Discard::SsrcUnknown)?;
        let track = tracks.get_mut(track_id.0).ok_or(Discard::SsrcUnknown)?;
        let payload = track.payload(view.payload_type()).ok_or(Discard::PayloadTypeUnknown)?;
        let stream = match payload {
            Payload::Media(_) => media_place(track, label(view, track.plan.extensions.rid).map(Rid)),
            Payload::Rtx(_) => repair_place(track, label(view, track.plan.extensions.repaired_rid).map(Rid)),
        }?;
        let role = match payload {
            Payload::Media(_) => SourceRole::Media,
            Payload::Rtx(_) => SourceRole::Rtx { of: track.stream(stream).and_then(|stream| stream.ssrc) },
        };
        Ok(Place { track: track_id, stream, role })
    }

    /// Finds the place that a predecessor gave an SSRC: in its track, or in the one that lives now at the m-line of that.
    fn place_left(&mut self, id: TransportId, view: &RtpView<'_>) -> Option<Place> {
        let rows = [Role::Ingress, Role::IngressRtx].map(|role| self.rows.find(id, view.ssrc(), role));
        let left = self.rows.key(rows.into_iter().flatten().next()?)?;
        let living = &self.transports.get(id.0)?.tracks;
        let find = |is_it: &dyn Fn(&Track) -> bool| {
            living.iter().copied().find(|track| self.tracks.get(track.0).is_some_and(is_it))
        };
        let owner = find(&|track| track.plan.id.word() == left.owner);
        let track_id = owner.or_else(|| find(&|track| track.plan.mid.0 == left.mid))?;
        let track = self.tracks.get_mut(track_id.0)?;
        let rid = (left.rid != Label::default()).then_some(Rid(left.rid));
        let stream = track.place(rid)?;
        let role = match (left.role, track.payload(view.payload_type())?) {
            (Role::Ingress, Payload::Media(_)) => SourceRole::Media,
            (Role::IngressRtx, Payload::Rtx(_)) => SourceRole::rtx(left.repairs),
            _ => return None,
        };
        Some(Place { track: track_id, stream, role })
    }

    fn add_learnt(&mut self, id: TransportId, ssrc: Ssrc, place: Place) -> Result<Place, Discard> {
        let Place { track, stream, role } = place;
        // A predecessor may have heard it, and its controller may not have heard of that.
        self.add_source(id, track, stream, ssrc, role).map_err(|_| Discard::StreamsFull)?;
        let carried = self.tracks.get(track.0).and_then(|track| track.stream(stream));
        let rid = carried.and_then(|stream| stream.rid);
        let role = match role {
            SourceRole::Media => StreamRole::Media,
            SourceRole::Rtx { .. } => StreamRole::Rtx { of: role.repaired() },
        };
        self.raise(Event::Learnt(Box::new(Object::Stream(plan::Stream { track, ssrc, role, rid }))));
        Ok(place)
    }

    /// Makes room for a new SSRC: of those that carry nothing now, the one that was silent longest is forgotten. A repair
    /// SSRC carries something as long as none of its stream was heard later, for a publisher that renews its SSRCs renews
    /// both.
    pub(super) fn forget_silent_source(&mut self, id: TransportId) -> Result<(), Discard> {
        let Self { transports, tracks, rows, .. } = self;
        let transport = transports.get_mut(id.0).ok_or(Discard::UnvalidatedFiveTuple)?;
        let sources = &transport.sources;
        let is_superseded = |source: &Source| {
            let later = |other: &Source| (other.heard, other.ssrc) > (source.heard, source.ssrc);
            let place = |source: &Source| (source.track, source.stream, table_role(source.role));
            let same = |other: &Source| place(other) == place(source);
            sources.iter().any(|other| same(other) && later(other))
        };
        let carries = |source: &Source| match source.role {
            SourceRole::Rtx { .. } => !is_superseded(source),
            SourceRole::Media => {
                let stream = tracks.get(source.track.0).and_then(|track| track.stream(source.stream));
                stream.is_some_and(|stream| stream.ssrc == Some(source.ssrc))
            }
        };
        let idle = transport.sources.iter().filter(|source| !carries(source));
        let (track, ssrc) = idle
            .min_by_key(|source| source.heard)
            .map(|source| (source.track, source.ssrc))
            .ok_or(Discard::StreamsFull)?;
        for gone in transport.sources.remove_where(|source| source.ssrc == ssrc) {
            if let Some(row) = gone.row {
                rows.free(row);
            }
        }
        self.raise(Event::Forgotten(Key::Stream(track, ssrc)));
        Ok(())
    }
}

fn label(view: &RtpView<'_>, id: u8) -> Option<Label> {
    if id == 0 { None } else { view.extension(id).and_then(parse_label) }
}

/// Returns the stream of media that names this rid. Of several streams without names none is it: all SSRCs of theirs were
/// announced.
fn media_place(track: &mut Track, rid: Option<Rid>) -> Result<StreamIndex, Discard> {
    if rid.is_some() || track.has_rids() {
        return track.place(rid).ok_or(Discard::RidUnknown);
    }
    track.place(None).filter(|_| track.streams.len() == 1).ok_or(Discard::SsrcUnknown)
}

/// Returns the stream that repairs with this repaired rid are of. Who cannot name it repairs the only stream there is.
fn repair_place(track: &mut Track, repaired: Option<Rid>) -> Result<StreamIndex, Discard> {
    let may_be_named = track.has_rids() && track.plan.extensions.repaired_rid != 0;
    if repaired.is_some() || may_be_named {
        return repaired.and_then(|rid| track.place(Some(rid))).ok_or(Discard::RidUnknown);
    }
    track.only().ok_or(Discard::SsrcUnknown)
}
