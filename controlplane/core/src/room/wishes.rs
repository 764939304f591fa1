//! What participants with a signalling connection are subscribed to.
//!
//! The room says who is subscribed to what; on which m-line of which connection it arrives is their session's to find.

use sluice_protocol::ids::TrackId;

use super::subscription::feed;
use super::{
    Detail, Output, Participant, ParticipantId, PublishedTrack, Room, RoomError, Subscription, SubscriptionChange,
    TemporalLayers, Wish,
};
use crate::limits;
use crate::sdp::NegotiatedCodec;

impl Room {
    /// Returns a track that is published here, with who publishes it.
    #[must_use]
    pub fn published(&self, track: TrackId) -> Option<(&Participant, &PublishedTrack)> {
        self.all_published().find(|(_, own)| own.id == track)
    }

    /// Returns all tracks that are published here, each with who publishes it.
    pub fn all_published(&self) -> impl Iterator<Item = (&Participant, &PublishedTrack)> {
        let publishers = self.publishers.values().filter_map(|id| self.participants.get(id));
        publishers.flat_map(|publisher| publisher.tracks.iter().map(move |own| (&**publisher, own)))
    }

    /// Brings what a participant is subscribed to in line with what it wants, may have, and what is there.
    pub(super) fn refresh_subscriptions(&mut self, id: &ParticipantId, output: &mut Vec<Output>) {
        let Some(participant) = self.participants.get(id) else { return };
        let wanted: Vec<TrackId> = self.wanted(participant).into_iter().map(|track| track.id).collect();
        let before = &participant.subscriptions;
        let mut after: Vec<Subscription> = before.iter().filter(|own| wanted.contains(&own.track)).copied().collect();
        for track in wanted {
            if after.len() < limits::WISHED_TRACKS_MAX && after.iter().all(|own| own.track != track) {
                after.push(Subscription {
                    track,
                    is_paused: false,
                    detail: Detail::default(),
                    temporal_layers: TemporalLayers::default(),
                });
            }
        }
        if after != *before {
            self.set_subscriptions(id, after, output);
        }
    }

    fn set_subscriptions(&mut self, id: &ParticipantId, after: Vec<Subscription>, output: &mut Vec<Output>) {
        if let Ok(participant) = self.participant_mut(id) {
            participant.subscriptions = after;
            output.push(Output::Changed(id.clone()));
        }
    }

    /// Subscribes to a track that the participant can know of.
    pub(super) fn handle_subscribe(
        &mut self,
        id: &ParticipantId,
        track: TrackId,
        output: &mut Vec<Output>,
    ) -> Result<(), RoomError> {
        let participant = self.participants.get(id).ok_or(RoomError::NoSuchParticipant)?;
        if !participant.permissions().can_subscribe {
            return Err(RoomError::MayNotSubscribe);
        }
        let (publisher, _) = self.published(track).ok_or(RoomError::NoSuchTrack)?;
        let is_known = publisher.id != *id && (!publisher.is_hidden() || participant.permissions().can_manage);
        if !is_known {
            return Err(RoomError::NoSuchTrack);
        }
        let mut wish = self.known_wish(participant);
        match &mut wish {
            Wish::Everything { except } => except.retain(|word| *word != track.word()),
            Wish::Tracks(words) if !words.contains(&track.word()) => words.push(track.word()),
            Wish::Tracks(_) | Wish::Participant(_) | Wish::LongestPublishing => {}
        }
        self.change_wish(id, wish, output)
    }

    /// Ends the subscription to a track.
    pub(super) fn handle_unsubscribe(
        &mut self,
        id: &ParticipantId,
        track: TrackId,
        output: &mut Vec<Output>,
    ) -> Result<(), RoomError> {
        let participant = self.participants.get(id).ok_or(RoomError::NoSuchParticipant)?;
        if participant.subscriptions.iter().all(|own| own.track != track) {
            return Err(RoomError::NoSuchTrack);
        }
        let mut wish = self.known_wish(participant);
        match &mut wish {
            Wish::Everything { except } => except.push(track.word()),
            Wish::Tracks(words) => words.retain(|word| *word != track.word()),
            Wish::Participant(_) | Wish::LongestPublishing => {}
        }
        self.change_wish(id, wish, output)
    }

    pub(super) fn handle_update_subscription(
        &mut self,
        id: &ParticipantId,
        track: TrackId,
        change: SubscriptionChange,
        output: &mut Vec<Output>,
    ) -> Result<(), RoomError> {
        let participant = self.participant_mut(id)?;
        let own = participant.subscriptions.iter_mut().find(|own| own.track == track).ok_or(RoomError::NoSuchTrack)?;
        own.is_paused = change.is_paused.unwrap_or(own.is_paused);
        own.detail = change.detail.unwrap_or(own.detail);
        own.temporal_layers = change.temporal_layers.unwrap_or(own.temporal_layers);
        output.push(Output::Changed(id.clone()));
        Ok(())
    }

    /// Takes new codecs of a track; whoever receives it is fed anew.
    pub(super) fn handle_renegotiated(
        &mut self,
        id: &ParticipantId,
        track: TrackId,
        codecs: &[NegotiatedCodec],
        layers: u8,
        output: &mut Vec<Output>,
    ) -> Result<(), RoomError> {
        let participant = self.participant_mut(id)?;
        let own = participant.tracks.iter_mut().find(|own| own.id == track).ok_or(RoomError::NoSuchTrack)?;
        if own.codecs == codecs && own.layers == layers {
            return Ok(());
        }
        (own.codecs, own.layers) = (codecs.to_vec(), layers);
        let own = own.clone();
        output.push(Output::Changed(id.clone()));
        for other in self.participants.values() {
            if other.subscriptions.iter().any(|subscribed| subscribed.track == track) {
                output.push(Output::Changed(other.id.clone()));
            }
            for receiver in other.receivers.iter().filter(|receiver| receiver.track == Some(track)) {
                let source = feed(&own, receiver).ok();
                output.push(Output::Feed { participant: other.id.clone(), egress: receiver.egress, source });
            }
        }
        Ok(())
    }

    /// Returns a participant's wish by tracks that are there: words of those that are gone say nothing any more.
    fn known_wish(&self, participant: &Participant) -> Wish {
        let is_there = |word: &u64| self.published(TrackId::from_word(*word)).is_some();
        match &participant.wish {
            Wish::Everything { except } => {
                Wish::Everything { except: except.iter().copied().filter(is_there).collect() }
            }
            Wish::Tracks(words) => Wish::Tracks(words.iter().copied().filter(is_there).collect()),
            Wish::Participant(_) | Wish::LongestPublishing => {
                Wish::Tracks(participant.subscriptions.iter().map(|own| own.track.word()).collect())
            }
        }
    }

    fn change_wish(&mut self, id: &ParticipantId, wish: Wish, output: &mut Vec<Output>) -> Result<(), RoomError> {
        super::settings::check_wish(&wish)?;
        self.participant_mut(id)?.wish = wish;
        output.push(Output::Changed(id.clone()));
        self.refresh(id, output);
        Ok(())
    }
}
