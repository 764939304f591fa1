//! Bodies of the fuzz targets: each takes arbitrary bytes and asserts what must hold for all input. Fuzz targets and
//! the replay of their corpus call them; nothing else does.

use sluice_protocol::media::{MasterKey, SrtpProfile};

use crate::srtp::{Opener, Sealer};
use crate::wire::rtp::{self, Extension, RtpHeader, RtpView};

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
