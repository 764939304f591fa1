//! A participant's subscriber connection: the server offers, the participant answers and receives.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Result;
use str0m::media::Direction;

use super::description::{OfferedLine, lines_of};
use super::ledger::Ledger;
use super::receiver::{Received, Receiver};
use super::stay::Shared;
use crate::payload::Codec;
use crate::peer::endpoint::{Endpoint, Role, Setup};
use crate::peer::handle::Handle;
use crate::peer::worker::{Farewell, Worker};

/// A subscriber connection.
#[derive(Debug)]
pub(crate) struct Subscriber {
    /// What the server calls it.
    pub(crate) connection_id: String,
    handle: Handle,
    received: Arc<Mutex<Received>>,
    /// The m-lines of the last offer by their names.
    lines: BTreeMap<String, OfferedLine>,
    /// The track of every SSRC that was ever offered.
    tracks: HashMap<u32, String>,
}

impl Subscriber {
    /// Makes a connection that answers its first offer.
    pub(crate) fn open(
        worker: Arc<Worker>,
        shared: &Shared,
        connection_id: &str,
        offer: &str,
    ) -> Result<(Self, String)> {
        let received: Arc<Mutex<Received>> = Arc::default();
        let setup = Setup {
            direction: Direction::RecvOnly,
            kinds: Vec::new(),
            encodings: &[],
            codecs: vec![Codec::Opus, Codec::Vp8],
            watch_rtcp: false,
            local_ip: shared.local_ip,
            trickle: false,
            descriptors: false,
        };
        let role = Role::Receiver(Box::new(Receiver::new(Arc::clone(&received), Arc::clone(&shared.delivered))));
        let (endpoint, answer) = Endpoint::answering(&setup, role, offer)?;
        let subscriber = Self {
            connection_id: connection_id.to_owned(),
            handle: Handle::new(worker, endpoint),
            received,
            lines: BTreeMap::new(),
            tracks: HashMap::new(),
        };
        Ok((subscriber, answer))
    }

    /// Answers a later offer.
    pub(crate) async fn answer(&self, offer: &str) -> Result<String> {
        let offer = offer.to_owned();
        self.handle.ask(move |endpoint| endpoint.accept_offer(&offer)).await
    }

    /// Notes what an offer that was answered says.
    pub(crate) fn note_offer(&mut self, who: &str, offer: &str, ledger: &mut Ledger) {
        let lines = lines_of(offer);
        ledger.note_description(lines.len(), offer.len());
        let mut gone: Vec<u32> = self.lines.values().flat_map(|line| line.ssrcs.clone()).collect();
        for line in &lines {
            gone.retain(|ssrc| !line.ssrcs.contains(ssrc));
            let Some(track) = line.track.as_ref().filter(|_| line.sends) else { continue };
            for ssrc in &line.ssrcs {
                let before = self.tracks.insert(*ssrc, track.clone());
                if let Some(other) = before.filter(|before| before != track) {
                    ledger.fault(format!("{who}: SSRC {ssrc} of {other} is used again for {track}"));
                }
            }
        }
        self.settle_pairs(ledger);
        self.received().forget(&gone);
        if !gone.is_empty() {
            self.handle.act(move |endpoint, _| {
                endpoint.forget_streams(&gone);
                Ok(())
            });
        }
        self.lines = lines.into_iter().map(|line| (line.mid.clone(), line)).collect();
    }

    /// Tells the ledger which streams came under which tracks' SSRCs.
    fn settle_pairs(&self, ledger: &mut Ledger) {
        for (ssrc, stream) in self.received().pairs() {
            match self.tracks.get(&ssrc) {
                Some(track) => drop(ledger.pairs.insert((track.clone(), stream))),
                None => ledger.fault(format!("packets came under SSRC {ssrc}, which no offer names")),
            }
        }
    }

    /// The SSRC under which a track comes at an m-line, as the last offer says.
    pub(crate) fn ssrc_of(&self, track: &str, mid: &str) -> Option<u32> {
        let line = self.lines.get(mid).filter(|line| line.sends && line.track.as_deref() == Some(track))?;
        line.ssrcs.first().copied()
    }

    pub(crate) fn received(&self) -> MutexGuard<'_, Received> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tracks by SSRC.
    pub(crate) fn track_of(&self, ssrc: u32) -> Option<&String> {
        self.tracks.get(&ssrc)
    }

    /// Why the connection does not carry media.
    pub(crate) fn trouble(&self) -> Option<String> {
        let connection = self.handle.connection();
        (!connection.is_connected()).then(|| format!("{:?} {:?}", connection.states, connection.error))
    }

    /// Ends the connection and adds its counts to the ledger.
    pub(crate) fn close(self, farewell: Farewell, ledger: &mut Ledger) {
        self.settle_pairs(ledger);
        self.handle.remove(farewell);
        let received = self.received();
        ledger.duplicates += received.duplicates;
        ledger.out_of_order += received.out_of_order;
        ledger.unreadable += received.unreadable;
    }
}
