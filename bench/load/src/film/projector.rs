//! Sends a film in a call: all its encodings, each in its own time and numbers.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use str0m::media::{Direction, MediaKind, Mid, Rid};
use str0m::rtp::{ExtensionValues, RtpWrite};
use str0m::{Event, Rtc};

use super::cut::{Numbers, cut};
use super::descriptor::{Descriptor, Structure, Value};
use super::{Encoding, Film, RIDS};
use crate::measure::clock::Now;
use crate::peer::connection::Connection;
use crate::peer::endpoint::{Endpoint, Role, Setup};
use crate::peer::handle::Handle;
use crate::peer::local_ip_towards;
use crate::peer::worker::Worker;
use crate::publisher::{next_stream_id, payload_type_of, scramble};

/// What was sent, as of now.
#[derive(Debug, Clone, Default)]
pub struct Projection {
    /// Pictures begun, of each encoding.
    pub pictures: u64,
    /// Key frame requests that came, of all encodings.
    pub requests: u64,
}

/// A connection that is not answered yet.
#[derive(Debug)]
pub struct Draft {
    endpoint: Box<Endpoint>,
    progress: Arc<Mutex<Projection>>,
    /// The offer.
    pub offer: String,
    /// Its one m-line.
    pub mid: String,
}

/// A film being sent, on a thread of its own. Dropping it vanishes without a word.
#[derive(Debug)]
pub struct Projector {
    // Declared before the worker: it is removed from there first.
    handle: Handle,
    progress: Arc<Mutex<Projection>>,
    _worker: Arc<Worker>,
}

impl Draft {
    /// Makes the offer of a publisher connection to the server at `url`.
    ///
    /// # Errors
    /// When there is no socket to be had.
    pub fn new(url: &str, film: Film) -> Result<Self> {
        let progress: Arc<Mutex<Projection>> = Arc::default();
        let setup = Setup {
            direction: Direction::SendOnly,
            kinds: vec![MediaKind::Video],
            encodings: RIDS,
            codecs: vec![film.codec],
            watch_rtcp: false,
            local_ip: local_ip_towards(url)?,
            trickle: false,
            descriptors: film.descriptors,
        };
        let role = Role::Projector(Box::new(ProjectorRole::new(film, Arc::clone(&progress))));
        let (mut endpoint, offer) = Endpoint::offering(&setup, role)?;
        let mid = endpoint.projector_mut().and_then(|role| role.mid).context("an m-line")?.to_string();
        Ok(Self { endpoint: Box::new(endpoint), progress, offer, mid })
    }

    /// Takes the answer; the film begins once connected.
    ///
    /// # Errors
    /// When the answer does not fit the offer.
    pub fn open(mut self, answer: &str) -> Result<Projector> {
        self.endpoint.accept_answer(answer)?;
        let worker = Arc::new(Worker::spawn("projector")?);
        let handle = Handle::new(Arc::clone(&worker), *self.endpoint);
        Ok(Projector { handle, progress: self.progress, _worker: worker })
    }
}

impl Projector {
    /// Times, states, datagrams.
    pub fn connection(&self) -> Connection {
        self.handle.connection()
    }

    /// What was sent so far.
    pub fn progress(&self) -> Projection {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Sends for one projector.
#[derive(Debug)]
pub(crate) struct ProjectorRole {
    film: Film,
    progress: Arc<Mutex<Projection>>,
    mid: Option<Mid>,
    /// When the first picture was due; none before it is connected.
    began: Option<Instant>,
    /// Pictures since then.
    picture: u64,
    streams: Vec<Stream>,
    /// Packets of the picture that is due, of all encodings.
    queue: VecDeque<Packet>,
}

#[derive(Debug)]
struct Packet {
    stream: usize,
    payload: Vec<u8>,
    /// The dependency descriptor; empty where there is none.
    descriptor: Vec<u8>,
    is_last: bool,
}

/// One encoding on its way.
#[derive(Debug)]
struct Stream {
    rid: Rid,
    sequence: u64,
    timestamp: u32,
    /// What distinguishes its picture ids from the others'.
    first_picture: u64,
    /// Pictures of the base layer sent.
    base: u64,
    /// The group that is sent, and the place in it.
    group: usize,
    place: usize,
    wants_key_frame: bool,
}

impl Stream {
    fn new(rid: &str) -> Self {
        let id = next_stream_id();
        Self {
            rid: rid.into(),
            // A first number above 2^15 would make an early wrap ambiguous, RFC 3711 section 3.3.1.
            sequence: u64::from(scramble(id) >> 17),
            timestamp: scramble(id ^ 1),
            first_picture: u64::from(scramble(id ^ 2)),
            base: u64::from(scramble(id ^ 3)),
            group: 0,
            place: 0,
            wants_key_frame: false,
        }
    }

    /// Goes on to a picture of the film, and returns its place in its group and what it is.
    fn show<'a>(&mut self, encoding: &'a Encoding, entry_every: usize, picture: u64) -> (usize, &'a [u8]) {
        let groups = encoding.groups.len();
        let entry = usize::try_from(picture % (groups * entry_every) as u64).unwrap_or(0);
        let is_over = encoding.groups.get(self.group).is_none_or(|group| self.place >= group.len());
        if entry.is_multiple_of(entry_every) && (is_over || self.wants_key_frame) {
            (self.group, self.place, self.wants_key_frame) = (entry / entry_every, 0, false);
        }
        let found = encoding.groups.get(self.group).and_then(|group| group.get(self.place));
        self.place += 1;
        (self.place - 1, found.map_or(&[], Vec::as_slice))
    }
}

impl ProjectorRole {
    fn new(film: Film, progress: Arc<Mutex<Projection>>) -> Self {
        let streams = RIDS.iter().map(|rid| Stream::new(rid)).collect();
        Self { film, progress, mid: None, began: None, picture: 0, streams, queue: VecDeque::new() }
    }

    pub(crate) const fn add_media(&mut self, mid: Mid) {
        self.mid = Some(mid);
    }

    pub(crate) const fn handle_connected(&mut self, at: Instant) {
        self.began = Some(at);
    }

    pub(crate) fn handle_event(&mut self, event: &Event) {
        let Event::KeyframeRequest(request) = event else { return };
        self.progress.lock().unwrap_or_else(PoisonError::into_inner).requests += 1;
        for stream in self.streams.iter_mut().filter(|stream| request.rid.is_none_or(|rid| rid == stream.rid)) {
            stream.wants_key_frame = true;
        }
    }

    /// When the next packet is due.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let since = Duration::from_secs(self.picture) / self.film.rate.max(1);
        self.began.map(|began| began + since)
    }

    /// Writes one packet if one is due.
    pub(crate) fn write_due(&mut self, rtc: &mut Rtc) -> bool {
        let Some(mid) = self.mid else { return false };
        let now = Now::read();
        if self.queue.is_empty() {
            if self.poll_timeout().is_none_or(|due| due > now.instant) {
                return false;
            }
            self.begin_picture();
        }
        let Some(Packet { stream, payload, descriptor, is_last }) = self.queue.pop_front() else { return false };
        let Some(stream) = self.streams.get_mut(stream) else { return false };
        let Some(payload_type) = payload_type_of(rtc, mid, self.film.codec) else { return false };
        if let Some(sending) = rtc.direct_api().stream_tx_by_mid(mid, Some(stream.rid)) {
            let packet = RtpWrite::new(payload_type, stream.sequence.into(), stream.timestamp, now.instant, payload);
            let mut values = ExtensionValues::default();
            if !descriptor.is_empty() {
                values.user_values.set(Value(descriptor));
            }
            sending.write_rtp(packet.marker(is_last).nackable(true).ext_vals(values));
        }
        stream.sequence += 1;
        true
    }

    /// Cuts the next picture of each encoding; their packets mix.
    fn begin_picture(&mut self) {
        let Self { film, streams, queue, picture, .. } = self;
        let ticks = 90_000 / film.rate.max(1);
        let mut packets = Vec::new();
        for (index, (stream, encoding)) in streams.iter_mut().zip(film.encodings.iter()).enumerate() {
            stream.timestamp = stream.timestamp.wrapping_add(ticks);
            let (shown_at, shown) = stream.show(encoding, film.entry_every, *picture);
            let step = film.pattern.get(shown_at % film.pattern.len().max(1));
            stream.base += u64::from(step.is_none_or(|step| step.temporal == 0));
            let number = stream.first_picture + *picture;
            let numbers = Numbers { picture: number, base: stream.base, place: shown_at, pattern: film.pattern };
            let payloads = cut(film.codec, numbers, shown);
            let count = payloads.len();
            packets.extend(payloads.into_iter().enumerate().map(|(place, payload)| {
                // The packets of an encoding stay in their order.
                let rank = (place * 64 + index) / (index + 1);
                let is_last = place + 1 == count;
                let descriptor =
                    if film.descriptors { describe(film, numbers, place == 0, is_last) } else { Vec::new() };
                (rank, Packet { stream: index, payload, descriptor, is_last })
            }));
        }
        packets.sort_by_key(|(rank, _)| *rank);
        queue.extend(packets.into_iter().map(|(_, packet)| packet));
        *picture += 1;
        self.progress.lock().unwrap_or_else(PoisonError::into_inner).pictures = *picture;
    }
}

/// The dependency descriptor of a packet; the first one of a key frame has the structure.
fn describe(film: &Film, numbers: Numbers, starts: bool, ends: bool) -> Vec<u8> {
    let structure = Structure::of(film.pattern);
    let [.., high, low] = numbers.picture.to_be_bytes();
    let descriptor = Descriptor {
        starts,
        ends,
        frame: u16::from_be_bytes([high, low]),
        template: structure.template_at(film.pattern, numbers.place),
        structure: (starts && numbers.place == 0).then_some(structure),
        active: None,
        back: None,
    };
    descriptor.write()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_answered_at_the_next_entry_and_a_group_that_is_over_by_the_entry_there() {
        // Groups of four pictures, an entry every second one: each picture tells its group and place.
        let group = |group: u8| (0..4).map(|place| vec![group, place]).collect();
        let encoding = Encoding { groups: (0..3).map(group).collect() };
        let mut stream = Stream::new("q");
        let mut shown = Vec::new();
        for picture in 0..10 {
            stream.wants_key_frame |= picture == 7;
            shown.push(<[u8; 2]>::try_from(stream.show(&encoding, 2, picture).1).unwrap());
        }
        let expected = [[0, 0], [0, 1], [0, 2], [0, 3], [2, 0], [2, 1], [2, 2], [2, 3], [1, 0], [1, 1]];
        assert_eq!(shown, expected);
        stream.wants_key_frame = true;
        assert_eq!(stream.show(&encoding, 2, 10), (0, &[2, 0][..]));
    }
}
