//! Both directions of a peer's SRTP, with `webrtc-srtp` looking over our shoulder.

use std::collections::BTreeMap;

use rtp::packet::Packet;
use sluice_dataplane_core::srtp::{Opener, ReplayWindow, Sealer, estimate_index};
use sluice_protocol::media::{MasterKey, SrtpKeys, SrtpProfile};
use webrtc_srtp::context::Context;
use webrtc_srtp::protection_profile::ProtectionProfile;
use webrtc_util::marshal::{Marshal, MarshalSize, Unmarshal};

/// One packet in so many is sealed and opened by the oracle as well.
const ORACLE_EVERY: u64 = 16;

/// Opens what one side sealed, and knows under which index.
pub(crate) struct Receiver {
    opener: Opener,
    oracle: Context,
    /// By SSRC: the highest index, and how many packets were opened.
    streams: BTreeMap<u32, (u64, u64)>,
}

impl std::fmt::Debug for Receiver {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Receiver").finish_non_exhaustive()
    }
}

impl Receiver {
    pub(crate) fn new(profile: SrtpProfile, master: &MasterKey) -> Self {
        let opener = Opener::new(profile, master).unwrap();
        Self { opener, oracle: context(profile, master), streams: BTreeMap::new() }
    }

    /// Authenticates and decrypts a packet, and returns the index under which it was sealed.
    pub(crate) fn open_rtp(&mut self, sealed: &[u8]) -> Option<(u64, Packet)> {
        let header = rtp::header::Header::unmarshal(&mut &sealed[..]).ok()?;
        let (highest, opened) =
            self.streams.get(&header.ssrc).copied().unwrap_or_else(|| (u64::from(header.sequence_number), 0));
        let index = estimate_index(highest, header.sequence_number);
        let mut bytes = sealed.to_vec();
        let size = self.opener.open_rtp(&mut bytes, header.marshal_size(), index).ok()?;
        bytes.truncate(size);
        if opened % ORACLE_EVERY == 0 {
            let plain = self.oracle.decrypt_rtp(sealed).expect("the oracle opens what we open");
            assert_eq!(&plain[..], &bytes[..], "the oracle reads what we read");
        }
        self.streams.insert(header.ssrc, (highest.max(index), opened + 1));
        Some((index, Packet::unmarshal(&mut &bytes[..]).ok()?))
    }

    /// Authenticates and decrypts a compound, and returns its index.
    pub(crate) fn open_rtcp(&self, sealed: &[u8]) -> Option<(u32, Vec<u8>)> {
        let index = self.opener.rtcp_index(sealed).ok()?;
        let mut bytes = sealed.to_vec();
        let size = self.opener.open_rtcp(&mut bytes).ok()?;
        bytes.truncate(size);
        Some((index, bytes))
    }
}

/// Keys of a peer at work.
pub(crate) struct Protection {
    sealer: Sealer,
    oracle: Context,
    sealed: u64,
    rtcp_index: u32,
    receiver: Receiver,
    windows: BTreeMap<u32, ReplayWindow>,
}

impl std::fmt::Debug for Protection {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Protection").finish_non_exhaustive()
    }
}

impl Protection {
    /// Takes keys as the data plane has them: what is remote to it is the peer's own.
    pub(crate) fn new(keys: &SrtpKeys) -> Self {
        Self {
            sealer: Sealer::new(keys.profile, &keys.remote).unwrap(),
            oracle: context(keys.profile, &keys.remote),
            sealed: 0,
            rtcp_index: 0,
            receiver: Receiver::new(keys.profile, &keys.local),
            windows: BTreeMap::new(),
        }
    }

    pub(crate) fn seal_rtp(&mut self, packet: &Packet, index: u64) -> Vec<u8> {
        let plain = packet.marshal().unwrap();
        let mut bytes = plain.to_vec();
        bytes.resize(plain.len() + 32, 0);
        let size = self.sealer.seal_rtp(&mut bytes, packet.header.marshal_size(), plain.len(), index).unwrap();
        bytes.truncate(size);
        self.sealed += 1;
        if self.sealed % ORACLE_EVERY == 1 && index < 1 << 16 {
            // Before the sequence number wraps the oracle needs to see no packet but this one.
            assert_eq!(bytes, self.oracle.encrypt_rtp(&plain).unwrap(), "the oracle seals as we do");
        }
        bytes
    }

    pub(crate) fn seal_rtcp(&mut self, packets: &[Box<dyn rtcp::packet::Packet + Send + Sync>]) -> Vec<u8> {
        let plain = rtcp::packet::marshal(packets).unwrap();
        let mut bytes = plain.to_vec();
        bytes.resize(plain.len() + 32, 0);
        self.rtcp_index += 1;
        let size = self.sealer.seal_rtcp(&mut bytes, plain.len(), self.rtcp_index).unwrap();
        bytes.truncate(size);
        bytes
    }

    /// Opens a packet that was not seen before.
    pub(crate) fn open_rtp(&mut self, sealed: &[u8]) -> Option<(u64, Packet)> {
        let (index, packet) = self.receiver.open_rtp(sealed)?;
        let window = self.windows.entry(packet.header.ssrc).or_insert_with(ReplayWindow::new);
        window.check(index).ok()?;
        window.commit(index);
        Some((index, packet))
    }

    pub(crate) fn open_rtcp(&self, sealed: &[u8]) -> Option<Vec<u8>> {
        self.receiver.open_rtcp(sealed).map(|(_, plain)| plain)
    }
}

fn context(profile: SrtpProfile, master: &MasterKey) -> Context {
    let (key, salt) = (&master.key[..profile.key_bytes()], &master.salt[..profile.salt_bytes()]);
    let profile = match profile {
        SrtpProfile::AeadAes128Gcm => ProtectionProfile::AeadAes128Gcm,
        SrtpProfile::AeadAes256Gcm => ProtectionProfile::AeadAes256Gcm,
        SrtpProfile::AesCm128HmacSha1_80 => ProtectionProfile::Aes128CmHmacSha1_80,
    };
    Context::new(key, salt, profile, None, None).unwrap()
}
