//! One peer connection: what was negotiated, where it lives in the plan, and its transport.
//!
//! It decides nothing: rooms say what feeds its egress streams and which of its tracks are silent, and
//! [`PeerConnection::objects`] says so in the plan.

use std::collections::BTreeSet;

use sluice_protocol::ice::Ufrag;
use sluice_protocol::ids::{EgressId, TrackId, TransportId};
use sluice_protocol::limits::CREDENTIALS_MAX;
use sluice_protocol::media::{Bitrate, MediaKind, SrtpKeys, Ssrc};
use sluice_protocol::plan::{Egress, Encoding, Key, Layer, Object, Source, Track, Transport};

use super::{Offering, SsrcMinter, cookie_key_of_session};
use crate::sdp::{IceCredentials, Negotiated, NegotiatedSection};

/// What lives in the plan for one m-line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SectionObject {
    /// Nothing: it is rejected, inactive, or was withdrawn.
    Nothing,
    /// A publisher's track.
    Track {
        /// Its address.
        id: TrackId,
        /// Whether it is silent.
        muted: bool,
    },
    /// A subscriber's stream.
    Egress {
        /// Its address.
        id: EgressId,
        /// What feeds it.
        source: Option<Source>,
        /// Whether nothing is to leave for now.
        is_paused: bool,
        /// The highest layer that may leave.
        max_layer: Layer,
    },
}

/// A peer connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerConnection {
    /// The m-line table.
    pub negotiated: Negotiated,
    /// What lives in the plan for each of its sections, in their order.
    pub sections: Vec<SectionObject>,
    /// Its transport.
    pub transport: TransportId,
    /// The valid local credentials, oldest first; two between an ICE restart and its nomination.
    pub credentials: Vec<Ufrag>,
    /// SRTP keys, once the DTLS handshake is done.
    pub keys: Option<SrtpKeys>,
    /// The fixed cap that a publisher without transport-wide feedback is told.
    pub remb_cap: Option<Bitrate>,
    /// The certificate with its private key as the server wrote it; pinned, as another fingerprint would ask clients for
    /// a new DTLS association. At most [`crate::limits::CERTIFICATE_BYTES_MAX`].
    pub certificate: Vec<u8>,
    /// The exported DTLS state as the server wrote it, at most [`crate::limits::DTLS_STATE_BYTES_MAX`]; empty before the
    /// handshake is done.
    pub dtls_state: Vec<u8>,
    /// Mints the SSRCs of this transport.
    pub ssrcs: SsrcMinter,
    /// What it offers, where we make the offers: of a session with a signalling connection, the subscriber's.
    pub offering: Option<Offering>,
    /// SSRCs that the data plane learnt of its tracks.
    pub(crate) streams: BTreeSet<(TrackId, Ssrc)>,
}

impl SectionObject {
    /// Makes a subscriber's stream that nothing feeds yet.
    #[must_use]
    pub const fn egress(id: EgressId) -> Self {
        Self::Egress { id, source: None, is_paused: false, max_layer: Layer::MAX }
    }
}

impl PeerConnection {
    /// Returns the transport, tracks and egress streams as the plan should have them; the cookie is apart, see
    /// [`super::Session::park`].
    #[must_use]
    pub fn objects(&self) -> Vec<Object> {
        let mut objects = vec![Object::Transport(Transport {
            id: self.transport,
            credentials: self.credentials.clone(),
            keys: self.keys,
            cname: self.negotiated.cname.clone(),
            extmap_allow_mixed: self.negotiated.extmap_allow_mixed,
            remb_cap: self.remb_cap.filter(|_| self.negotiated.wants_remb),
            rtcp_rsize: self.negotiated.has_rtcp_rsize(),
        })];
        for (section, object) in self.negotiated.sections.iter().zip(&self.sections) {
            match object {
                SectionObject::Nothing => {}
                SectionObject::Track { id, muted } => objects.push(self.track(section, *id, *muted)),
                SectionObject::Egress { id, source, is_paused, max_layer } => {
                    let egress = self.egress(section, *id, source.as_ref());
                    objects.extend(
                        egress.map(|egress| {
                            Object::Egress(Egress { paused: *is_paused, max_layer: *max_layer, ..egress })
                        }),
                    );
                }
            }
        }
        objects
    }

    /// Returns the keys of everything that this connection has in a plan, learnt objects and cookie included.
    #[must_use]
    pub fn plan_keys(&self) -> Vec<Key> {
        let mut keys = vec![Key::Transport(self.transport), Key::Path(self.transport)];
        keys.push(Key::Cookie(cookie_key_of_session(self.transport)));
        keys.extend(self.streams.iter().map(|(track, ssrc)| Key::Stream(*track, *ssrc)));
        keys.extend(self.sections.iter().filter_map(|object| match object {
            SectionObject::Nothing => None,
            SectionObject::Track { id, .. } => Some(Key::Track(*id)),
            SectionObject::Egress { id, .. } => Some(Key::Egress(*id)),
        }));
        keys
    }

    /// Returns the newest local credentials, which an answer shows.
    ///
    /// # Panics
    /// Never: a connection has one set at least.
    #[must_use]
    pub fn ufrag(&self) -> Ufrag {
        *self.credentials.last().expect("a connection has credentials")
    }

    /// Returns the entity tag of the connection's HTTP resource: it changes with each ICE restart (RFC 9725 section 4.3.1).
    #[must_use]
    pub fn entity_tag(&self) -> String {
        let ufrag = self.ufrag();
        format!("\"{:02x}-{:08x}\"", ufrag.restart, ufrag.random)
    }

    /// Tells whether `ice` asks for an ICE restart (RFC 8839 section 4.4.1.1.1).
    #[must_use]
    pub fn is_restart(&self, ice: &IceCredentials) -> bool {
        self.negotiated.remote_ice != *ice
    }

    /// Makes new local credentials for an ICE restart. The old ones stay valid until [`PeerConnection::handle_nominated`]; of
    /// several restarts in a row only the last counts.
    pub fn restart_ice(&mut self, remote: IceCredentials, random: u32) {
        let newest = self.ufrag();
        self.credentials.truncate(CREDENTIALS_MAX - 1);
        self.credentials.push(Ufrag { restart: newest.restart.wrapping_add(1), random, ..newest });
        self.negotiated.remote_ice = remote;
    }

    /// Drops credentials older than those that a nomination used, and tells whether there were any.
    pub fn handle_nominated(&mut self, credentials: Ufrag) -> bool {
        let Some(place) = self.credentials.iter().position(|own| *own == credentials) else { return false };
        self.credentials.drain(..place).count() > 0
    }

    fn track(&self, section: &NegotiatedSection, id: TrackId, muted: bool) -> Object {
        let encoding = |encoding: &crate::sdp::ReceivedEncoding| Encoding {
            rid: encoding.rid,
            ssrc: encoding.ssrc,
            rtx: encoding.rtx,
        };
        Object::Track(Track {
            id,
            transport: self.transport,
            kind: kind_of(section),
            mid: section.mid,
            codecs: section.codecs.iter().map(|codec| codec.to_codec()).collect(),
            extensions: section.extensions,
            encodings: section.encodings.iter().map(encoding).collect(),
            muted,
            nack: section.has_nack(),
        })
    }

    fn egress(&self, section: &NegotiatedSection, id: EgressId, source: Option<&Source>) -> Option<Egress> {
        let sent = section.sent.as_ref()?;
        Some(Egress {
            id,
            transport: self.transport,
            kind: kind_of(section),
            mid: section.mid,
            ssrc: sent.ssrc,
            rtx: sent.rtx,
            nack: section.has_nack(),
            extensions: section.extensions,
            source: source.cloned(),
            paused: false,
            max_layer: Layer::MAX,
            playout_delay: None,
        })
    }
}

/// Returns the kind of a section that carries media.
pub(crate) fn kind_of(section: &NegotiatedSection) -> MediaKind {
    section.media.kind().unwrap_or(MediaKind::Video)
}
