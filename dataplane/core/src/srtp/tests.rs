//! `webrtc-srtp` as the independent oracle, and what is refused.

use proptest::prelude::*;
use webrtc_srtp::context::Context;
use webrtc_srtp::protection_profile::ProtectionProfile;

use super::*;

/// Decodes a hexadecimal vector; white space is skipped.
pub(crate) fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> =
        text.chars().filter(|c| !c.is_whitespace()).map(|c| u8::try_from(c.to_digit(16).unwrap()).unwrap()).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

const PROFILES: [SrtpProfile; 3] =
    [SrtpProfile::AeadAes128Gcm, SrtpProfile::AeadAes256Gcm, SrtpProfile::AesCm128HmacSha1_80];

pub(super) fn master() -> MasterKey {
    let byte = |n: usize| u8::try_from(n * 7 + 3).unwrap();
    MasterKey { key: std::array::from_fn(byte), salt: std::array::from_fn(|n| byte(n) ^ 0xff) }
}

fn pair(profile: SrtpProfile) -> (Opener, Sealer) {
    (Opener::new(profile, &master()).unwrap(), Sealer::new(profile, &master()).unwrap())
}

/// Returns a context of `webrtc-srtp`.
pub(crate) fn oracle(profile: SrtpProfile, master: &MasterKey) -> Context {
    let (key, salt) = (&master.key[..profile.key_bytes()], &master.salt[..profile.salt_bytes()]);
    let profile = match profile {
        SrtpProfile::AeadAes128Gcm => ProtectionProfile::AeadAes128Gcm,
        SrtpProfile::AeadAes256Gcm => ProtectionProfile::AeadAes256Gcm,
        SrtpProfile::AesCm128HmacSha1_80 => ProtectionProfile::Aes128CmHmacSha1_80,
    };
    Context::new(key, salt, profile, None, None).unwrap()
}

pub(super) fn rtp(sequence: u16, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x90, 96];
    packet.extend(sequence.to_be_bytes());
    packet.extend([0, 0, 0, 9, 0xca, 0xfe, 0xba, 0xbe, 0xbe, 0xde, 0, 1, 0x10, 7, 0, 0]);
    packet.extend(payload);
    packet
}

const HEADER: usize = 20;

fn rtcp(reports: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x80, 201, 0, u8::try_from(reports.len() / 4 + 1).unwrap(), 1, 2, 3, 4];
    packet.extend(reports);
    packet
}

fn sealed_rtp(sealer: &Sealer, plain: &[u8], index: u64) -> Vec<u8> {
    let mut buffer = [plain, &[0; RTP_OVERHEAD_BYTES_MAX]].concat();
    let size = sealer.seal_rtp(&mut buffer, HEADER, plain.len(), index).unwrap();
    assert_eq!(size, plain.len() + sealer.rtp_overhead_bytes());
    buffer.truncate(size);
    buffer
}

fn sealed_rtcp(sealer: &Sealer, plain: &[u8], index: u32) -> Vec<u8> {
    let mut buffer = [plain, &[0; RTCP_OVERHEAD_BYTES_MAX]].concat();
    let size = sealer.seal_rtcp(&mut buffer, plain.len(), index).unwrap();
    assert_eq!(size, plain.len() + sealer.rtcp_overhead_bytes());
    buffer.truncate(size);
    buffer
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Both sides walk over several roll-overs, with gaps and reordering, each from sequence numbers alone.
    #[test]
    fn rtp_agrees_with_webrtc_srtp_both_ways_across_roll_overs(
        steps in prop::collection::vec((-40i64..9000, prop::collection::vec(any::<u8>(), 0..64)), 1..40),
        start in 0xf000u64..0xffff,
    ) {
        for profile in PROFILES {
            let (opener, sealer) = pair(profile);
            let (mut theirs_seals, mut theirs_opens) = (oracle(profile, &master()), oracle(profile, &master()));
            let mut window = ReplayWindow::new();
            let mut index = start;
            for (at, (step, payload)) in steps.iter().enumerate() {
                // Both sides take the first packet for roll-over 0.
                if at > 0 {
                    index = index.checked_add_signed(*step).unwrap();
                }
                if window.check(index).is_err() {
                    continue;
                }
                let sequence = u16::try_from(index % 0x1_0000).unwrap();
                let plain = rtp(sequence, payload);

                let sealed = sealed_rtp(&sealer, &plain, index);
                prop_assert_eq!(&theirs_opens.decrypt_rtp(&sealed).unwrap()[..], &plain[..]);

                let mut packet = theirs_seals.encrypt_rtp(&plain).unwrap().to_vec();
                prop_assert_eq!(&packet, &sealed);
                let highest = window.highest().unwrap_or_else(|| u64::from(sequence));
                let estimate = estimate_index(highest, sequence);
                prop_assert_eq!(estimate, index);
                prop_assert_eq!(opener.open_rtp(&mut packet, HEADER, estimate), Ok(plain.len()));
                prop_assert_eq!(&packet[..plain.len()], &plain[..]);
                window.commit(estimate);
            }
        }
    }

    #[test]
    fn rtcp_agrees_with_webrtc_srtp_both_ways(reports in prop::collection::vec(any::<[u8; 4]>(), 0..60)) {
        let plain = rtcp(&reports.concat());
        for profile in PROFILES {
            let (opener, sealer) = pair(profile);
            let (mut theirs_seals, mut theirs_opens) = (oracle(profile, &master()), oracle(profile, &master()));
            for index in 1..4 {
                let sealed = sealed_rtcp(&sealer, &plain, index);
                prop_assert_eq!(&theirs_opens.decrypt_rtcp(&sealed).unwrap()[..], &plain[..]);

                let mut packet = theirs_seals.encrypt_rtcp(&plain).unwrap().to_vec();
                let sent = opener.rtcp_index(&packet).unwrap();
                prop_assert_eq!(&packet, &sealed_rtcp(&sealer, &plain, sent));
                prop_assert_eq!(opener.open_rtcp(&mut packet), Ok(plain.len()));
                prop_assert_eq!(&packet[..plain.len()], &plain[..]);
            }
        }
    }

    #[test]
    fn a_packet_with_any_bit_changed_is_refused(payload in prop::collection::vec(any::<u8>(), 0..40), at: usize, bit in 0u8..8) {
        for profile in PROFILES {
            let (opener, sealer) = pair(profile);
            let mut packet = sealed_rtp(&sealer, &rtp(7, &payload), 7);
            let at_rtp = at % packet.len();
            packet[at_rtp] ^= 1 << bit;
            prop_assert_eq!(opener.open_rtp(&mut packet, HEADER, 7), Err(SrtpError::Authentication));

            let mut packet = sealed_rtcp(&sealer, &rtcp(&[5; 8]), 7);
            let at_rtcp = at % packet.len();
            packet[at_rtcp] ^= 1 << bit;
            let refused = opener.open_rtcp(&mut packet);
            prop_assert!(matches!(refused, Err(SrtpError::Authentication | SrtpError::Unencrypted)), "{:?}", refused);
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic_nor_open(bytes in prop::collection::vec(any::<u8>(), 0..200), index: u64) {
        crate::fuzzing::fuzz_srtp(&bytes);
        for profile in PROFILES {
            let (opener, _) = pair(profile);
            prop_assert!(opener.open_rtp(&mut bytes.clone(), HEADER, index).is_err());
            prop_assert!(opener.open_rtcp(&mut bytes.clone()).is_err());
        }
    }
}

/// The packet that libsrtp validates `AES_CM_128_HMAC_SHA1_80` with, made with the master key of RFC 3711 appendix B.3.
#[test]
fn counter_mode_seals_the_reference_packet_of_libsrtp() {
    let mut master = MasterKey { key: [0; 32], salt: hex("0ec675ad498afeebb6960b3aabe6").try_into().unwrap() };
    master.key[..16].copy_from_slice(&hex("e1f97a0d3e018be0d64fa32c06de4139"));
    let plain = hex("800f1234decafbadcafebabeabababababababababababababababab");
    let sealer = Sealer::new(SrtpProfile::AesCm128HmacSha1_80, &master).unwrap();
    let mut buffer = [&plain[..], &[0; 10]].concat();
    assert_eq!(sealer.seal_rtp(&mut buffer, 12, plain.len(), 0x1234), Ok(38));
    assert_eq!(buffer, hex("800f1234decafbadcafebabe4e55dc4ce79978d88ca4d215949d2402b78d6acc99ea179b8dbb"));
}

#[test]
fn sizes_and_indices_out_of_range_are_refused_by_name() {
    for profile in PROFILES {
        let (opener, sealer) = pair(profile);
        let plain = rtp(1, &[1, 2, 3]);
        let overhead = sealer.rtp_overhead_bytes();

        let mut tight = [&plain[..], &vec![0; overhead - 1]].concat();
        assert_eq!(sealer.seal_rtp(&mut tight, HEADER, plain.len(), 1), Err(SrtpError::Buffer));
        let mut room = [&plain[..], &[0; 32]].concat();
        assert_eq!(sealer.seal_rtp(&mut room, HEADER, HEADER - 1, 1), Err(SrtpError::Buffer));
        assert_eq!(sealer.seal_rtp(&mut room, 11, plain.len(), 1), Err(SrtpError::Buffer));
        assert_eq!(sealer.seal_rtp(&mut room, HEADER, plain.len(), RTP_INDEX_MAX + 1), Err(SrtpError::Index));
        assert_eq!(sealer.seal_rtp(&mut room, HEADER, usize::MAX, 1), Err(SrtpError::Buffer));
        assert_eq!(sealer.seal_rtcp(&mut room, 8, RTCP_INDEX_MAX + 1), Err(SrtpError::Index));
        assert_eq!(sealer.seal_rtcp(&mut room, 7, 1), Err(SrtpError::Buffer));

        let sealed = sealed_rtp(&sealer, &rtp(1, &[]), 1);
        let short = &mut sealed[..sealed.len() - 1].to_vec();
        assert_eq!(opener.open_rtp(short, HEADER, 1), Err(SrtpError::Truncated));
        assert_eq!(opener.open_rtp(&mut sealed.clone(), 11, 1), Err(SrtpError::Truncated));
        assert_eq!(opener.open_rtp(&mut sealed.clone(), HEADER, RTP_INDEX_MAX + 1), Err(SrtpError::Index));
        assert_eq!(opener.open_rtp(&mut sealed.clone(), HEADER, 0x1_0001), Err(SrtpError::Authentication));
    }
}

#[test]
fn an_unencrypted_report_is_refused_although_its_tag_is_right() {
    // RFC 7714 section 17.3, a packet that is tagged only.
    let (opener, _) = pair(SrtpProfile::AeadAes128Gcm);
    let mut packet = hex("81c8000d4d6172734e5450314e545032525450200000042a0000e9304c756e61\
         deadbeefdeadbeefdeadbeefdeadbeefdeadbeef841dd9683dd78ec92ae58790125f62b3000005d4");
    assert_eq!(opener.rtcp_index(&packet), Err(SrtpError::Unencrypted));
    assert_eq!(opener.open_rtcp(&mut packet), Err(SrtpError::Unencrypted));
}

#[test]
fn keys_do_not_show_in_debug_output() {
    for profile in PROFILES {
        let (opener, _) = pair(profile);
        let text = format!("{opener:?}");
        assert!(text.len() < 80 && text.contains("rtcp"), "{text}");
    }
}
