//! What a participant publishes during its stay: its connection, its tracks, and what it says of them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde_json::{Value, json};
use str0m::media::{Direction, MediaKind, Mid};

use super::{Failure, Stay};
use crate::call::publisher::{Draft, LineState, OwnTrack, Publisher};
use crate::call::roster::list;
use crate::call::session::text;
use crate::peer::worker::Farewell;

impl Stay {
    /// Publishes sound and a camera over a new connection.
    pub(crate) async fn open_publisher(&mut self) -> Result<(), Failure> {
        self.is_publisher_lost = false;
        let shared = Arc::clone(&self.shared);
        let draft = Draft::new(shared.shape, shared.local_ip, Arc::clone(&shared.sent));
        let draft = draft.map_err(|error| Failure::Refused(format!("{error:#}")))?;
        let opened = self.try_open_publisher(draft).await;
        self.is_publisher_lost |= opened.is_err();
        opened
    }

    async fn try_open_publisher(&mut self, draft: Draft) -> Result<(), Failure> {
        for (mid, media) in draft.lines.clone() {
            self.declare(mid, media).await?;
        }
        let answer = self.offer(&draft.offer).await?;
        let connection_id = text(&answer, "connection_id");
        let worker = Arc::clone(&self.shared.sending);
        let opened = Publisher::open(draft, worker, self.shared.shape, connection_id, &text(&answer, "sdp"));
        match opened {
            Ok(publisher) => self.publisher = Some(publisher),
            Err(error) => {
                self.shared.ledger().fault(format!("{}: the answer does not fit: {error:#}", self.identity));
                return Err(Failure::NoPublisher);
            }
        }
        self.begin_tracks(&answer);
        Ok(())
    }

    async fn declare(&mut self, mid: Mid, media: MediaKind) -> Result<(), Failure> {
        let (source, kind) = if media == MediaKind::Audio { ("microphone", "audio") } else { ("camera", "video") };
        let height = (media == MediaKind::Video).then_some(720);
        let mut message = json!({"type": "publish_track", "mid": mid.to_string(), "kind": kind, "source": source});
        if let (Some(object), Some(height)) = (message.as_object_mut(), height) {
            object.insert("height".to_owned(), json!(height));
        }
        self.request(message).await.map(drop)
    }

    async fn offer(&mut self, sdp: &str) -> Result<Value, Failure> {
        self.last_offer += 1;
        let offer = json!({"type": "offer", "offer_id": self.last_offer, "sdp": sdp});
        let answer = self.request(offer).await?;
        self.shared.ledger().counts.offers_made += 1;
        Ok(answer)
    }

    /// Sends what an answer says is published and was not before.
    fn begin_tracks(&mut self, answer: &Value) {
        let Some(publisher) = &mut self.publisher else { return };
        let is_live = self.shared.is_live.load(Ordering::Relaxed);
        for each in list(answer, "tracks") {
            let (mid, id) = (Mid::from(text(each, "mid").as_str()), text(each, "track_id"));
            let Some(line) = publisher.lines.iter().find(|line| line.mid == mid) else { continue };
            if matches!(&line.state, LineState::Sending(track) if track.id == id) {
                continue;
            }
            let stream_ids = publisher.new_stream_ids(line.kind);
            {
                let mut ledger = self.shared.ledger();
                ledger.counts.tracks_published += 1;
                ledger.streams.extend(stream_ids.iter().map(|stream| (*stream, id.clone())));
            }
            if is_live {
                publisher.send(mid, stream_ids.clone());
            }
            let track = OwnTrack { id, muted: false, stream_ids };
            if let Some(line) = publisher.line_mut(mid) {
                line.state = LineState::Sending(track);
            }
        }
    }

    /// Sends what was published before publishers were to send.
    pub(crate) fn go_live(&self) {
        for (line, track) in self.publisher.iter().flat_map(Publisher::tracks) {
            self.publisher.iter().for_each(|publisher| publisher.send(line.mid, track.stream_ids.clone()));
        }
    }

    /// The own m-lines.
    pub(crate) fn own_lines(&self) -> Vec<(Mid, LineState)> {
        let lines = self.publisher.iter().flat_map(|publisher| &publisher.lines);
        lines.map(|line| (line.mid, line.state.clone())).collect()
    }

    /// Mutes a track, or unmutes it. It goes on being sent.
    pub(crate) async fn toggle_mute(&mut self, mid: Mid, track: &OwnTrack) -> Result<(), Failure> {
        let muted = !track.muted;
        self.request(json!({"type": "mute_track", "track_id": track.id, "muted": muted})).await?;
        self.shared.ledger().counts.mutes += 1;
        let line = self.publisher.as_mut().and_then(|publisher| publisher.line_mut(mid));
        if let Some(LineState::Sending(track)) = line.map(|line| &mut line.state) {
            track.muted = muted;
        }
        Ok(())
    }

    /// Makes an m-line inactive.
    pub(crate) async fn make_inactive(&mut self, mid: Mid) -> Result<(), Failure> {
        self.turn(mid, Direction::Inactive).await?;
        self.set_state(mid, LineState::Inactive);
        Ok(())
    }

    /// Withdraws a track by a message, and goes on sending.
    pub(crate) async fn withdraw(&mut self, mid: Mid, track: &OwnTrack) -> Result<(), Failure> {
        self.request(json!({"type": "unpublish_track", "track_id": track.id})).await?;
        self.set_state(mid, LineState::Withdrawn);
        Ok(())
    }

    fn set_state(&mut self, mid: Mid, state: LineState) {
        if let Some(line) = self.publisher.as_mut().and_then(|publisher| publisher.line_mut(mid)) {
            line.state = state;
        }
    }

    /// Publishes a new track at an m-line that was used before.
    pub(crate) async fn publish_again(&mut self, mid: Mid) -> Result<(), Failure> {
        let line = self.publisher.as_mut().and_then(|publisher| publisher.line_mut(mid));
        let media = line.ok_or(Failure::NoPublisher)?.kind;
        // What was sent to nobody is to end before anybody is there.
        if let Some(publisher) = &self.publisher {
            publisher.send(mid, Vec::new());
        }
        self.declare(mid, media).await?;
        let answer = self.turn(mid, Direction::SendOnly).await?;
        self.begin_tracks(&answer);
        Ok(())
    }

    /// Offers with an m-line turned, and takes the answer.
    async fn turn(&mut self, mid: Mid, direction: Direction) -> Result<Value, Failure> {
        let publisher = self.publisher.as_mut().ok_or(Failure::NoPublisher)?;
        if direction == Direction::Inactive {
            publisher.send(mid, Vec::new());
        }
        let offer = publisher.offer(mid, direction).await;
        let (offer, is_new) = offer.map_err(|_| Failure::NoPublisher)?;
        let answer = self.offer(&offer).await?;
        let publisher = self.publisher.as_ref().ok_or(Failure::NoPublisher)?;
        if is_new && let Err(error) = publisher.take_answer(text(&answer, "sdp")).await {
            self.shared.ledger().fault(format!("{}: the answer does not fit: {error:#}", self.identity));
        }
        Ok(answer)
    }

    pub(super) fn lose_publisher(&mut self) {
        if let Some(publisher) = self.publisher.take() {
            publisher.close(Farewell::Vanish);
        }
        self.is_publisher_lost = true;
    }

    /// Compares what the server says is published after a resumption with what was.
    pub(super) fn check_published(&self, resumed: &Value) {
        let Some(publisher) = &self.publisher else { return };
        let said: BTreeSet<String> = list(resumed, "published").iter().map(|each| text(each, "track_id")).collect();
        let own: BTreeSet<String> = publisher.tracks().map(|(_, track)| track.id.clone()).collect();
        if said != own {
            let mut ledger = self.shared.ledger();
            ledger.fault_in_peace(format!("{}: {own:?} are published, resumed with {said:?}", self.identity));
        }
    }
}
