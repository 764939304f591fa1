//! A participant's publisher connection: the participant offers and sends.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use anyhow::{Context, Result};
use str0m::media::{Direction, MediaKind, Mid};

use super::sender::{Sender, codec_of};
use super::shape::Shape;
use crate::peer::endpoint::{Endpoint, Role, Setup};
use crate::peer::handle::Handle;
use crate::peer::worker::{Farewell, Worker};
use crate::publisher::next_stream_id;

/// What an own m-line does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LineState {
    /// It sends a track.
    Sending(OwnTrack),
    /// It was made inactive.
    Inactive,
    /// Its track was withdrawn by a message; it goes on sending, to nobody.
    Withdrawn,
}

/// A track that is published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OwnTrack {
    pub(crate) id: String,
    pub(crate) muted: bool,
    /// Numbered streams, one per encoding.
    pub(crate) stream_ids: Vec<u64>,
}

/// An own m-line.
#[derive(Debug, Clone)]
pub(crate) struct OwnLine {
    pub(crate) mid: Mid,
    pub(crate) kind: MediaKind,
    pub(crate) state: LineState,
}

/// A publisher connection that is not offered yet.
pub(crate) struct Draft {
    endpoint: Box<Endpoint>,
    pub(crate) offer: String,
    pub(crate) lines: Vec<(Mid, MediaKind)>,
}

/// A publisher connection.
#[derive(Debug)]
pub(crate) struct Publisher {
    /// What the server calls it.
    pub(crate) connection_id: String,
    handle: Handle,
    shape: Shape,
    pub(crate) lines: Vec<OwnLine>,
    /// The last description that was offered.
    offered: String,
}

impl Draft {
    /// Makes a connection with sound and a camera, and its offer.
    pub(crate) fn new(shape: Shape, local_ip: IpAddr, sent: Arc<AtomicU64>) -> Result<Self> {
        let kinds = vec![MediaKind::Audio, MediaKind::Video];
        let setup = Setup {
            direction: Direction::SendOnly,
            codecs: kinds.iter().map(|kind| codec_of(*kind)).collect(),
            kinds,
            encodings: shape.encoding_names(),
            watch_rtcp: false,
            local_ip,
            trickle: false,
            descriptors: false,
        };
        let role = Role::Sender(Box::new(Sender::new(shape, sent)));
        let (mut endpoint, offer) = Endpoint::offering(&setup, role)?;
        let lines = endpoint.sender_mut().context("it sends")?.mids();
        Ok(Self { endpoint: Box::new(endpoint), offer, lines })
    }
}

impl Publisher {
    /// Takes the answer to a first offer; nothing is sent yet.
    pub(crate) fn open(
        draft: Draft,
        worker: Arc<Worker>,
        shape: Shape,
        connection_id: String,
        answer: &str,
    ) -> Result<Self> {
        let Draft { mut endpoint, offer, lines } = draft;
        endpoint.accept_answer(answer)?;
        let lines = lines.into_iter().map(|(mid, kind)| OwnLine { mid, kind, state: LineState::Inactive });
        let (handle, lines) = (Handle::new(worker, *endpoint), lines.collect());
        Ok(Self { connection_id, handle, shape, lines, offered: offer })
    }

    /// Makes an offer with m-lines turned on or off; the last one again when nothing in it changes.
    pub(crate) async fn offer(&mut self, mid: Mid, direction: Direction) -> Result<(String, bool)> {
        let offer = self.handle.ask(move |endpoint| Ok(endpoint.offer_directions(&[(mid, direction)]))).await?;
        let is_new = offer.is_some();
        if let Some(offer) = offer {
            self.offered = offer;
        }
        Ok((self.offered.clone(), is_new))
    }

    pub(crate) async fn take_answer(&self, answer: String) -> Result<()> {
        self.handle.ask(move |endpoint| endpoint.accept_answer(&answer)).await
    }

    /// Names for the streams of a track.
    pub(crate) fn new_stream_ids(&self, kind: MediaKind) -> Vec<u64> {
        (0..self.shape.streams_of(kind)).map(|_| next_stream_id()).collect()
    }

    /// Sends streams of these names at an m-line; none to be silent.
    pub(crate) fn send(&self, mid: Mid, stream_ids: Vec<u64>) {
        self.handle.act(move |endpoint, _| {
            if let Some(sender) = endpoint.sender_mut() {
                sender.set_line(mid, stream_ids);
            }
            Ok(())
        });
    }

    pub(crate) fn line_mut(&mut self, mid: Mid) -> Option<&mut OwnLine> {
        self.lines.iter_mut().find(|line| line.mid == mid)
    }

    /// Tracks that are published.
    pub(crate) fn tracks(&self) -> impl Iterator<Item = (&OwnLine, &OwnTrack)> {
        self.lines.iter().filter_map(|line| match &line.state {
            LineState::Sending(track) => Some((line, track)),
            LineState::Inactive | LineState::Withdrawn => None,
        })
    }

    pub(crate) fn close(self, farewell: Farewell) {
        self.handle.remove(farewell);
    }
}
