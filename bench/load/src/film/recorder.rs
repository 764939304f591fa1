//! Keeps every packet of pictures that comes in a call, as the foreign stack has decrypted and repaired it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use anyhow::Result;
use str0m::media::Direction;
use str0m::rtp::RtpPacket;

use super::descriptor::Value;
use crate::limits::RECORDED_PACKETS_MAX;
use crate::payload::Codec;
use crate::peer::connection::Connection;
use crate::peer::endpoint::{Arrival, Endpoint, Role, Setup};
use crate::peer::handle::Handle;
use crate::peer::local_ip_towards;
use crate::peer::worker::Worker;

/// A packet that came.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// When.
    pub at: Instant,
    /// The SSRC of the stream, not of its repairs.
    pub ssrc: u32,
    /// The sequence number with its roll-overs.
    pub sequence: u64,
    /// The RTP timestamp.
    pub timestamp: u32,
    /// Whether it says that its picture ends.
    pub marker: bool,
    /// The payload.
    pub payload: Vec<u8>,
    /// The dependency descriptor.
    pub descriptor: Option<Vec<u8>>,
}

/// A subscriber connection that takes one codec and keeps what comes, on a thread of its own.
#[derive(Debug)]
pub struct Recorder {
    // Declared before the worker: it is removed from there first.
    handle: Handle,
    packets: Arc<Mutex<Vec<Recorded>>>,
    _worker: Arc<Worker>,
}

impl Recorder {
    /// Answers the first offer of the server at `url`; dependency descriptors are taken or not.
    ///
    /// # Errors
    /// When the offer cannot be answered.
    pub fn answer(url: &str, codec: Codec, descriptors: bool, offer: &str) -> Result<(Self, String)> {
        let worker = Arc::new(Worker::spawn("recorder")?);
        let packets: Arc<Mutex<Vec<Recorded>>> = Arc::default();
        let setup = Setup {
            direction: Direction::RecvOnly,
            kinds: Vec::new(),
            encodings: &[],
            codecs: vec![codec],
            watch_rtcp: false,
            local_ip: local_ip_towards(url)?,
            trickle: false,
            descriptors,
        };
        let role = Role::Recorder(Box::new(RecorderRole(Arc::clone(&packets))));
        let (endpoint, answer) = Endpoint::answering(&setup, role, offer)?;
        Ok((Self { handle: Handle::new(Arc::clone(&worker), endpoint), packets, _worker: worker }, answer))
    }

    /// Answers a later offer.
    ///
    /// # Errors
    /// When it cannot be answered.
    pub async fn answer_again(&self, offer: String) -> Result<String> {
        self.handle.ask(move |endpoint| endpoint.accept_offer(&offer)).await
    }

    /// Times, states, datagrams.
    pub fn connection(&self) -> Connection {
        self.handle.connection()
    }

    /// Packets that have come.
    pub fn count(&self) -> usize {
        self.packets.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Takes what has come, in the order of its coming. A recorder that is full takes nothing more.
    pub fn take(&self) -> Vec<Recorded> {
        std::mem::take(&mut *self.packets.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Receives for one recorder.
#[derive(Debug)]
pub(crate) struct RecorderRole(Arc<Mutex<Vec<Recorded>>>);

impl RecorderRole {
    pub(crate) fn handle_packet(&self, arrival: Arrival, packet: &RtpPacket) {
        let mut packets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if packets.len() < RECORDED_PACKETS_MAX {
            packets.push(Recorded {
                at: arrival.at,
                ssrc: *packet.header.ssrc,
                sequence: *packet.seq_no,
                timestamp: packet.header.timestamp,
                marker: packet.header.marker,
                payload: packet.payload.to_vec(),
                descriptor: packet.header.ext_vals.user_values.get::<Value>().map(|value| value.0.clone()),
            });
        }
    }
}
