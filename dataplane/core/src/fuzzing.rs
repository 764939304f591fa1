//! Bodies of the fuzz targets: each takes arbitrary bytes and asserts what must hold for all input. Fuzz targets and
//! the replay of their corpus call them; nothing else does.

use sluice_protocol::media::{MasterKey, SrtpProfile};

use crate::srtp::{Opener, Sealer};
use crate::wire::dtls;
use crate::wire::rtp::{self, Extension, RtpHeader, RtpView};
use crate::wire::stun::{self, Binding};

/// Parses an RTP packet; what is parsed is written again and must read the same.
pub fn fuzz_rtp(data: &[u8]) {
    let Ok(view) = RtpView::parse(data) else { return };
    assert_eq!(RtpHeader::parse(data).map(|header| header.size_bytes()), Ok(view.header_size_bytes()));
    assert_eq!(view.header_size_bytes() + view.payload().len() + view.padding_size_bytes(), data.len());
    let Some(form) = view.header().extension_form() else { return };
    let extensions: Vec<Extension<'_>> = view.extensions().collect();
    let mut buffer = vec![0; data.len() + 64];
    let size = rtp::write_header(
        &mut buffer,
        &rtp::RtpFields {
            marker: view.marker(),
            payload_type: view.payload_type(),
            sequence: view.sequence(),
            timestamp: view.timestamp(),
            ssrc: view.ssrc(),
        },
        form,
        &extensions,
    )
    .expect("what was read in a form can be written in it");
    buffer.truncate(size);
    let again = RtpView::parse(&buffer).expect("what was written can be read");
    assert!(again.extensions().eq(extensions), "extensions survive a rewrite");
}

/// Opens arbitrary bytes as SRTP and SRTCP in every profile; without the key nothing may open.
pub fn fuzz_srtp(data: &[u8]) {
    let master = MasterKey { key: [0x5a; 32], salt: [0xa5; 14] };
    for profile in [SrtpProfile::AeadAes128Gcm, SrtpProfile::AeadAes256Gcm, SrtpProfile::AesCm128HmacSha1_80] {
        let opener = Opener::new(profile, &master).expect("every key works");
        let sealer = Sealer::new(profile, &master).expect("every key works");
        let mut packet = data.to_vec();
        assert!(opener.open_rtcp(&mut packet).is_err(), "nobody sealed this");
        let Ok(header) = RtpHeader::parse(data) else { continue };
        let index = u64::from(header.sequence);
        let mut packet = data.to_vec();
        assert!(opener.open_rtp(&mut packet, header.size_bytes(), index).is_err(), "nobody sealed this");
        let mut packet = data.to_vec();
        packet.resize(data.len() + sealer.rtp_overhead_bytes(), 0);
        sealer.seal_rtp(&mut packet, header.size_bytes(), data.len(), index).expect("there is room");
        let plain = opener.open_rtp(&mut packet, header.size_bytes(), index);
        assert_eq!(plain.map(|size| packet.get(..size)), Ok(Some(data)), "what was sealed opens");
    }
}

/// Parses a STUN message; a request gets an answer that parses and verifies.
pub fn fuzz_stun(data: &[u8]) {
    let Ok(binding) = Binding::parse(data) else { return };
    assert!(stun::is_stun(data));
    let key = stun::ShortTermKey::new(b"no request can know this password");
    assert!(!binding.verify(&key), "nobody signed this");
    let mut buffer = [0; stun::RESPONSE_SIZE_BYTES_MAX];
    let code = stun::ErrorCode::UnknownAttribute;
    let size = stun::write_error(&mut buffer, binding.transaction, code, binding.unknown_attributes(), Some(&key))
        .expect("every answer fits");
    let answer = buffer.get(..size).map(Binding::parse).expect("the size is inside").expect("answers parse");
    assert!(answer.verify(&key) && answer.has_fingerprint && answer.transaction == binding.transaction);
}

/// Walks DTLS records and judges them; what passes after the handshake has no plaintext alert and no short record.
pub fn fuzz_dtls(data: &[u8]) {
    let connected = dtls::filter(data, dtls::Association::Connected);
    if connected.is_ok() {
        assert_eq!(dtls::filter(data, dtls::Association::Handshaking), Ok(()));
        let sizes = dtls::records(data).map(|record| record.expect("it passed the filter"));
        let total: usize = sizes.map(|record| record.fragment.len() + dtls::RECORD_HEADER_SIZE_BYTES).sum();
        assert_eq!(total, data.len());
    }
}
