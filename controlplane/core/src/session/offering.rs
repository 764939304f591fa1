//! What a subscriber's connection offers: which track stands at which m-line, and the one offer in flight.
//!
//! ```text
//!            make_offer                    take_answer
//!  stable ───────────────► outstanding ───────────────► stable
//!     ▲                      │   ▲  │                     │
//!     │                      └───┘  └─ tracks come and go: │ anything changed meanwhile?
//!     │                     repeated   told with the next  ▼
//!     └──────────── no ◄───────────────────────────── make_offer again, when enough was gathered
//! ```
//!
//! An m-line carries one track under one SSRC. When the track is gone nothing leaves there any more, the next offer makes the
//! m-line inactive, and once that is answered it can take another track of its kind, under an SSRC that was never used. So the
//! m-lines are never more than twice the tracks that were subscribed to at the same time. An m-line that the client
//! disabled comes back under a new mid, for either kind (RFC 8829 section 5.2.2).

use std::collections::{BTreeMap, BTreeSet};

use sluice_protocol::ids::TrackId;
use sluice_protocol::media::{ExtensionIds, Label, MediaKind, Mid};
use sluice_protocol::plan::Layer;

use super::{PeerConnection, SectionObject, kind_of};
use crate::limits;
use crate::room::track_text;
use crate::sdp::{
    Answer, AnswerError, Direction, Extension, IceCredentials, Negotiated, NegotiatedCodec, NegotiatedSection,
    PayloadTypes, Rejection, Role, SectionMedia, SentStream, apply_answer,
};

/// The number of an offer of ours; each is greater than those before it in its session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct OfferId(pub u64);

/// What a connection for which we make the offers knows besides what was answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Offering {
    /// What formats are called.
    pub payload_types: PayloadTypes,
    /// Which track stands at each m-line from now on, in the order of the newest offer; absent where nothing does.
    pub places: Vec<Option<TrackId>>,
    /// The offer that waits for its answer.
    pub outstanding: Option<Outstanding>,
    /// Tracks that the client refused; they are not offered again while they are subscribed to.
    pub refused: BTreeSet<TrackId>,
    /// The mid that the next new m-line gets.
    pub next_mid: u32,
    /// Whether the next offer is to carry new ICE credentials.
    pub wants_restart: bool,
}

/// An offer in flight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outstanding {
    /// Its number.
    pub id: OfferId,
    /// What it offers.
    pub offered: Negotiated,
    /// The track that stands at each of its m-lines.
    pub tracks: Vec<Option<TrackId>>,
}

/// What waits to be offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// Nothing.
    Nothing,
    /// M-lines whose tracks have ended are to become inactive.
    Ended,
    /// Tracks have come.
    Added,
    /// What a client waits for: a connection, or new ICE credentials.
    Urgent,
}

/// A track that a session is subscribed to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedTrack {
    /// Audio or video.
    pub kind: MediaKind,
    /// The codecs that its publisher may send.
    pub codecs: Vec<NegotiatedCodec>,
    /// The media stream's id: tracks that share it are played in sync.
    pub stream: String,
    /// Whether nothing is to be sent for now.
    pub is_paused: bool,
    /// The highest layer that may be sent.
    pub max_layer: Layer,
}

/// The tracks that a session is subscribed to.
pub type WantedTracks = BTreeMap<TrackId, WantedTrack>;

/// What an answer led to, by m-line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settled {
    /// M-lines that now carry a track, which needs an egress stream.
    pub started: Vec<(usize, TrackId)>,
    /// Tracks that the client refused.
    pub refused: Vec<TrackId>,
}

impl PeerConnection {
    /// Returns the table of a connection that nothing was offered on.
    #[must_use]
    pub(crate) const fn nothing_negotiated(session_id: u64, cname: String) -> Negotiated {
        Negotiated {
            role: Role::Play,
            session_id: session_id & (u64::MAX >> 1),
            session_version: 0,
            sections: Vec::new(),
            remote_ice: IceCredentials { ufrag: String::new(), password: String::new() },
            remote_fingerprints: Vec::new(),
            extmap_allow_mixed: true,
            has_bundle: true,
            wants_remb: false,
            cname,
            remote_origin: None,
        }
    }

    /// Returns what waits to be offered; nothing does while an offer is in flight, whose answer comes first.
    #[must_use]
    pub fn waiting(&self, wanted: &WantedTracks) -> Waiting {
        let Some(offering) = self.offering.as_ref().filter(|own| own.outstanding.is_none()) else {
            return Waiting::Nothing;
        };
        let is_retired =
            |(place, section): (&Option<TrackId>, &NegotiatedSection)| place.is_none() && section.is_served();
        let has_ended = offering.places.iter().zip(&self.negotiated.sections).any(is_retired);
        // Where no m-line is left, those whose tracks have ended are needed.
        let can_have = |(_, track): (_, &WantedTrack)| has_ended || self.free_place(offering, track.kind).is_some();
        if offering.wants_restart {
            Waiting::Urgent
        } else if offering.waiting(wanted).any(can_have) {
            Waiting::Added
        } else if has_ended {
            Waiting::Ended
        } else {
            Waiting::Nothing
        }
    }

    /// Takes tracks away that are not wanted any more. Returns them with their m-lines.
    pub fn retire(&mut self, wanted: &WantedTracks) -> Vec<(usize, TrackId)> {
        let Some(offering) = &mut self.offering else { return Vec::new() };
        offering.refused.retain(|track| wanted.contains_key(track));
        let mut retired = Vec::new();
        for (index, place) in offering.places.iter_mut().enumerate() {
            if let Some(track) = place.filter(|track| !wanted.contains_key(track)) {
                *place = None;
                retired.push((index, track));
            }
        }
        retired
    }

    /// Makes the next offer, with at most `tracks_max` further tracks; `false` when nothing would change.
    pub fn make_offer(&mut self, id: OfferId, wanted: &WantedTracks, tracks_max: usize, random: u32) -> bool {
        if self.waiting(wanted) == Waiting::Nothing {
            return false;
        }
        let Some(mut offering) = self.offering.take() else { return false };
        let mut offered = self.negotiated.clone();
        for (section, place) in offered.sections.iter_mut().zip(&offering.places) {
            if place.is_none() && section.is_bundled() {
                fall_silent(section, &offering.payload_types);
            }
        }
        let waiting: Vec<TrackId> = offering.waiting(wanted).map(|(id, _)| id).take(tracks_max).collect();
        let mut is_changed = offering.wants_restart || offered.sections != self.negotiated.sections;
        for (track, wish) in waiting.iter().filter_map(|track| Some((*track, wanted.get(track)?))) {
            let Some(index) = self.free_place(&offering, wish.kind) else { continue };
            let section = self.new_section(&mut offering, index, track, wish);
            match offered.sections.get_mut(index) {
                Some(place) => *place = section,
                None => offered.sections.push(section),
            }
            match offering.places.get_mut(index) {
                Some(place) => *place = Some(track),
                None => offering.places.push(Some(track)),
            }
            is_changed = true;
        }
        if is_changed {
            if std::mem::take(&mut offering.wants_restart) {
                self.restart_ice(self.negotiated.remote_ice.clone(), random);
            }
            offered.session_version += 1;
            offered.extmap_allow_mixed = true;
            offering.outstanding = Some(Outstanding { id, offered, tracks: offering.places.clone() });
        }
        self.offering = Some(offering);
        is_changed
    }

    /// Takes the answer to the offer in flight.
    ///
    /// # Errors
    /// [`AnswerError`]; the offer is still in flight then.
    pub fn take_answer(&mut self, answer: &Answer) -> Result<Settled, AnswerError> {
        let mut settled = Settled::default();
        let Some(offering) = &mut self.offering else { return Ok(settled) };
        let Some(outstanding) = &offering.outstanding else { return Ok(settled) };
        let answered = apply_answer(&outstanding.offered, answer)?;
        let Some(Outstanding { tracks, .. }) = offering.outstanding.take() else { return Ok(settled) };
        self.sections.resize(answered.sections.len(), SectionObject::Nothing);
        let rows = answered.sections.iter().zip(tracks).zip(&mut offering.places).zip(&mut self.sections);
        for (index, (((section, offered), place), object)) in rows.enumerate() {
            if !section.is_served() {
                *object = SectionObject::Nothing;
            }
            let Some(track) = offered.filter(|track| *place == Some(*track)) else { continue };
            if !section.is_served() {
                *place = None;
                offering.refused.insert(track);
                settled.refused.push(track);
            } else if *object == SectionObject::Nothing {
                settled.started.push((index, track));
            }
        }
        self.negotiated = answered;
        Ok(settled)
    }

    /// Returns the mid of the m-line that carries a track.
    #[must_use]
    pub fn mid_of(&self, track: TrackId) -> Option<Mid> {
        let places = &self.offering.as_ref()?.places;
        let (_, section) = places.iter().zip(&self.negotiated.sections).find(|(place, _)| **place == Some(track))?;
        section.is_served().then_some(section.mid)
    }

    /// Returns the m-line that a further track of a kind can have; the one after the last where none is free.
    fn free_place(&self, offering: &Offering, kind: MediaKind) -> Option<usize> {
        let is_free = |index: &usize| {
            let is_empty = offering.places.get(*index).is_some_and(Option::is_none);
            let section = self.negotiated.sections.get(*index);
            let fits = |own: &NegotiatedSection| !own.is_served() && (!own.is_bundled() || kind_of(own) == kind);
            is_empty && section.is_some_and(fits)
        };
        let count = offering.places.len();
        let next = (count < limits::SUBSCRIBED_SECTIONS_MAX).then_some(count);
        (0..count).find(is_free).or(next)
    }

    /// Makes the m-line of a track, at a place that is free.
    fn new_section(
        &mut self,
        offering: &mut Offering,
        index: usize,
        track: TrackId,
        wish: &WantedTrack,
    ) -> NegotiatedSection {
        let before = self.negotiated.sections.get(index).filter(|own| own.is_bundled()).map(|own| own.mid);
        let mid = before.unwrap_or_else(|| {
            offering.next_mid += 1;
            mid_of_number(offering.next_mid - 1)
        });
        let media = match wish.kind {
            MediaKind::Audio => SectionMedia::Audio,
            MediaKind::Video => SectionMedia::Video,
        };
        let codecs = offering.payload_types.offer(wish.kind, &wish.codecs);
        let mut extensions = ExtensionIds::default();
        for extension in Extension::ALL.into_iter().filter(|own| own.is_answered(Role::Play, wish.kind)) {
            extension.set_in(&mut extensions, extension.offered_id());
        }
        let rtx = codecs.iter().any(|codec| codec.rtx.is_some()).then(|| self.ssrcs.mint());
        let sent =
            SentStream { ssrc: self.ssrcs.mint(), rtx, track: track_text(track), stream: Some(wish.stream.clone()) };
        NegotiatedSection {
            media,
            protocol: "UDP/TLS/RTP/SAVPF".to_owned(),
            first_format: codecs.first().map_or_else(|| "0".to_owned(), |codec| codec.payload_type.0.to_string()),
            mid,
            direction: Direction::SendOnly,
            rejection: None,
            codecs,
            extensions,
            directed_extensions: Vec::new(),
            rtcp_rsize: true,
            encodings: Vec::new(),
            sent: Some(sent),
        }
    }
}

impl Offering {
    /// Returns tracks that are wanted and stand nowhere.
    fn waiting<'a>(&'a self, wanted: &'a WantedTracks) -> impl Iterator<Item = (TrackId, &'a WantedTrack)> {
        let is_waiting = |track: &TrackId| !self.refused.contains(track) && !self.places.contains(&Some(*track));
        wanted.iter().map(|(track, wish)| (*track, wish)).filter(move |(track, _)| is_waiting(track))
    }
}

/// Makes an m-line inactive.
fn fall_silent(section: &mut NegotiatedSection, payload_types: &PayloadTypes) {
    section.rejection = Some(Rejection::Direction);
    section.direction = Direction::Inactive;
    section.codecs = payload_types.least(kind_of(section));
    section.sent = None;
}

fn mid_of_number(number: u32) -> Mid {
    Mid(Label::new(number.to_string().as_bytes()).unwrap_or_default())
}
