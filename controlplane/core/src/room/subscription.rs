//! What is published, and who receives it where.

use std::sync::Arc;

use sluice_protocol::ids::{EgressId, TrackId};
use sluice_protocol::media::MediaKind;
use sluice_protocol::plan;

use super::{
    Event, Notice, Output, Participant, ParticipantId, PublishedTrack, Receiver, Room, RoomError, Wish, kind_text,
    track_text,
};
use crate::limits;
use crate::sdp::payload_map;

impl Room {
    pub(super) fn handle_publish(
        &mut self,
        id: &ParticipantId,
        mut track: PublishedTrack,
        output: &mut Vec<Output>,
    ) -> Result<(), RoomError> {
        let limit = usize::try_from(self.settings.limits.tracks_per_participant).unwrap_or(usize::MAX);
        let order = self.order;
        let participant = self.participant_mut(id)?;
        if !participant.permissions().allows_source(track.source) {
            return Err(RoomError::MayNotPublish);
        }
        if participant.tracks.len() >= limit {
            return Err(RoomError::TooManyTracks);
        }
        track.order = order;
        track.muted_by_host = false;
        let (audience, event) = (participant.audience(), published(id, &track));
        participant.tracks.push(track);
        self.order += 1;
        self.index_publisher(id);
        output.push(Output::Changed(id.clone()));
        output.push(Output::Event { audience, event });
        self.go_on_air(output);
        self.is_stale = true;
        Ok(())
    }

    pub(super) fn handle_unpublish(
        &mut self,
        id: &ParticipantId,
        track: TrackId,
        output: &mut Vec<Output>,
    ) -> Result<(), RoomError> {
        if self.participant_mut(id)?.tracks.iter().all(|own| own.id != track) {
            return Err(RoomError::NoSuchTrack);
        }
        self.withdraw(id, track, output);
        self.is_stale = true;
        Ok(())
    }

    /// Takes a track away; the caller refreshes subscriptions afterwards.
    pub(super) fn withdraw(&mut self, id: &ParticipantId, track: TrackId, output: &mut Vec<Output>) {
        let Ok(participant) = self.participant_mut(id) else { return };
        participant.tracks.retain(|own| own.id != track);
        let audience = participant.audience();
        self.index_publisher(id);
        output.push(Output::Withdrawn { participant: id.clone(), track });
        output.push(Output::Changed(id.clone()));
        output.push(Output::Event { audience, event: unpublished(id, track) });
    }

    /// Keeps the index of publishers in line with one participant's tracks.
    pub(super) fn index_publisher(&mut self, id: &ParticipantId) {
        self.publishers.retain(|_, publisher| publisher != id);
        let first = self.participants.get(id).and_then(|own| own.tracks.iter().map(|track| track.order).min());
        if let Some(order) = first {
            self.publishers.insert(order, id.clone());
        }
    }

    pub(super) fn handle_add_receivers(
        &mut self,
        id: &ParticipantId,
        receivers: Vec<Receiver>,
        output: &mut Vec<Output>,
    ) -> Result<(), RoomError> {
        let participant = self.participant_mut(id)?;
        if !participant.permissions().can_subscribe {
            return Err(RoomError::MayNotSubscribe);
        }
        if participant.receivers.len() + receivers.len() > limits::SECTIONS_MAX {
            return Err(RoomError::TooManyTracks);
        }
        let empty = receivers.into_iter().map(|receiver| Receiver { track: None, ..receiver });
        participant.receivers.extend(empty);
        output.push(Output::Changed(id.clone()));
        self.refresh(id, output);
        Ok(())
    }

    pub(super) fn refresh_all(&mut self, output: &mut Vec<Output>) {
        let receives = |own: &&Arc<Participant>| own.is_signalled || !own.receivers.is_empty();
        let receiving = self.participants.values().filter(receives);
        let receiving: Vec<ParticipantId> = receiving.map(|participant| participant.id.clone()).collect();
        for id in receiving {
            self.refresh(&id, output);
        }
    }

    /// Brings what a participant receives in line with what it wants, may have, and what is there. A track keeps its
    /// place for as long as it is wanted; places that are free take the wanted tracks of their kind in order.
    pub(super) fn refresh(&mut self, id: &ParticipantId, output: &mut Vec<Output>) {
        let Some(participant) = self.participants.get(id) else { return };
        if participant.is_signalled {
            self.refresh_subscriptions(id, output);
            return;
        }
        let wanted = self.wanted(participant);
        let mut places: Vec<Option<TrackId>> = participant.receivers.iter().map(|receiver| receiver.track).collect();
        for place in &mut places {
            *place = place.filter(|track| wanted.iter().any(|wanted| wanted.id == *track));
        }
        for track in &wanted {
            if places.contains(&Some(track.id)) {
                continue;
            }
            let free = places.iter_mut().zip(&participant.receivers);
            let free = free.filter(|(place, receiver)| place.is_none() && receiver.kind == track.kind);
            if let Some((place, _)) = free.into_iter().next() {
                *place = Some(track.id);
            }
        }
        let mut changes = Vec::new();
        for (receiver, place) in participant.receivers.iter().zip(&places) {
            if receiver.track != *place {
                let track = place.and_then(|id| wanted.iter().find(|track| track.id == id));
                changes.push((receiver.egress, receiver.track, *place, track.map(|track| feed(track, receiver))));
            }
        }
        for (egress, before, after, feed) in changes {
            self.move_to(id, egress, before, after, feed, output);
        }
    }

    fn move_to(
        &mut self,
        id: &ParticipantId,
        egress: EgressId,
        before: Option<TrackId>,
        after: Option<TrackId>,
        feed: Option<Result<plan::Source, Vec<&'static str>>>,
        output: &mut Vec<Output>,
    ) {
        let receivers = self.participant_mut(id).into_iter().flat_map(|own| &mut own.receivers);
        for receiver in receivers.filter(|receiver| receiver.egress == egress) {
            receiver.track = after;
        }
        let mut notice = |notice| output.push(Output::Notice { participant: id.clone(), notice });
        if let Some(track) = before {
            notice(Notice::Unsubscribed { track, egress });
        }
        if let Some(track) = after {
            notice(Notice::Subscribed { track, egress });
            if let Some(Err(codecs)) = &feed {
                notice(Notice::Undecodable { track, egress, codecs: codecs.clone() });
            }
        }
        output.push(Output::Feed { participant: id.clone(), egress, source: feed.and_then(Result::ok) });
    }

    /// Returns the tracks that a participant wants and may have, in order of preference.
    pub(super) fn wanted(&self, participant: &Participant) -> Vec<&PublishedTrack> {
        if !participant.permissions().can_subscribe {
            return Vec::new();
        }
        let of = |id: &ParticipantId| self.participants.get(id).into_iter().flat_map(|publisher| &publisher.tracks);
        let sees_hidden = participant.permissions().can_manage;
        let is_there = |id: &ParticipantId| {
            *id != participant.id && self.participants.get(id).is_some_and(|own| sees_hidden || !own.is_hidden())
        };
        let others = || self.publishers.values().filter(|publisher| is_there(publisher));
        match &participant.wish {
            Wish::Everything { except } => {
                others().flat_map(of).filter(|track| !except.contains(&track.id.word())).collect()
            }
            Wish::Tracks(words) => others().flat_map(of).filter(|track| words.contains(&track.id.word())).collect(),
            Wish::Participant(name) => {
                let is_meant = |id: &&ParticipantId| {
                    id.0 == *name || self.participants.get(*id).is_some_and(|publisher| publisher.identity.0 == *name)
                };
                others().find(is_meant).into_iter().flat_map(of).collect()
            }
            Wish::LongestPublishing => others().next().into_iter().flat_map(of).collect(),
        }
    }

    pub(super) fn handle_undecodable(&self, egress: EgressId, output: &mut Vec<Output>) {
        let receiving = self
            .participants
            .values()
            .flat_map(|participant| participant.receivers.iter().map(move |receiver| (participant, receiver)));
        for (participant, receiver) in receiving.filter(|(_, receiver)| receiver.egress == egress) {
            let Some(track) = receiver.track else { continue };
            let published = self.participants.values().flat_map(|own| &own.tracks).find(|own| own.id == track);
            let codecs = published.map_or_else(Vec::new, codec_names);
            let notice = Notice::Undecodable { track, egress, codecs };
            output.push(Output::Notice { participant: participant.id.clone(), notice });
        }
    }

    /// Returns who receives a track, as (participant, stream), in the order of ids.
    #[cfg(test)]
    pub(crate) fn subscribers(&self, track: TrackId) -> impl Iterator<Item = (&ParticipantId, EgressId)> {
        let receiving = self
            .participants
            .values()
            .flat_map(|participant| participant.receivers.iter().map(move |receiver| (&participant.id, receiver)));
        receiving.filter(move |(_, receiver)| receiver.track == Some(track)).map(|(id, receiver)| (id, receiver.egress))
    }
}

/// Returns the event of a track that is there.
pub(super) fn published(id: &ParticipantId, track: &PublishedTrack) -> Event {
    Event::TrackPublished {
        participant_id: id.clone(),
        track_id: track_text(track.id),
        kind: kind_text(track.kind),
        source: track.source,
    }
}

/// Returns the event of a track that is gone.
pub(super) fn unpublished(id: &ParticipantId, track: TrackId) -> Event {
    Event::TrackUnpublished { participant_id: id.clone(), track_id: track_text(track) }
}

/// Returns what feeds a receiver from a track, or the codecs of which the receiver decodes none.
pub(super) fn feed(track: &PublishedTrack, receiver: &Receiver) -> Result<plan::Source, Vec<&'static str>> {
    let payloads = payload_map(&track.codecs, &receiver.codecs);
    if payloads.is_empty() { Err(codec_names(track)) } else { Ok(plan::Source { track: track.id, payloads }) }
}

pub(crate) fn codec_names(track: &PublishedTrack) -> Vec<&'static str> {
    let mut names: Vec<&'static str> = Vec::new();
    for codec in &track.codecs {
        if !names.contains(&codec.format.name()) {
            names.push(codec.format.name());
        }
    }
    names
}

/// The source that WHIP's tracks are taken for: it does not say.
#[must_use]
pub const fn default_source(kind: MediaKind) -> crate::access::Source {
    match kind {
        MediaKind::Audio => crate::access::Source::Microphone,
        MediaKind::Video => crate::access::Source::Camera,
    }
}
