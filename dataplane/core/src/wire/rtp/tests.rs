use super::*;
use proptest::prelude::*;
use rtp::packet::Packet;
use webrtc_util::marshal::{Marshal, Unmarshal};

fn fields() -> impl Strategy<Value = RtpFields> {
    (any::<bool>(), 0u8..128, any::<u16>(), any::<u32>(), any::<u32>()).prop_map(
        |(marker, payload_type, sequence, timestamp, ssrc)| RtpFields {
            marker,
            payload_type: PayloadType(payload_type),
            sequence,
            timestamp,
            ssrc: Ssrc(ssrc),
        },
    )
}

fn extensions(form: ExtensionForm) -> impl Strategy<Value = Vec<(u8, Vec<u8>)>> {
    let (ids, sizes) = match form {
        ExtensionForm::OneByte => (1u8..=14, 1usize..=16),
        ExtensionForm::TwoByte => (1u8..=255, 0usize..=255),
    };
    prop::collection::btree_map(ids, prop::collection::vec(any::<u8>(), sizes), 0..6)
        .prop_map(|map| map.into_iter().collect())
}

fn borrowed(extensions: &[(u8, Vec<u8>)]) -> Vec<Extension<'_>> {
    extensions.iter().map(|(id, value)| Extension { id: *id, value }).collect()
}

fn written(
    fields: &RtpFields,
    form: ExtensionForm,
    extensions: &[(u8, Vec<u8>)],
    payload: &[u8],
    padding: u8,
) -> Vec<u8> {
    let extensions = borrowed(extensions);
    let mut buffer = vec![0xaa; 4096];
    let header = write_header(&mut buffer, fields, form, &extensions).unwrap();
    assert_eq!(header, header_size_bytes(form, extensions.iter().map(|e| e.value.len())));
    buffer[header..header + payload.len()].copy_from_slice(payload);
    let mut size = header + payload.len();
    if let Some(padding) = NonZeroU8::new(padding) {
        size = write_padding(&mut buffer, size, padding).unwrap();
    }
    buffer.truncate(size);
    buffer
}

proptest! {
    #[test]
    fn what_is_written_is_read_back_by_the_view_and_by_the_rtp_crate(
        fields in fields(),
        (form, extensions) in prop_oneof![Just(ExtensionForm::OneByte), Just(ExtensionForm::TwoByte)]
            .prop_flat_map(|form| (Just(form), extensions(form))),
        payload in prop::collection::vec(any::<u8>(), 1..200),
        padding in 0u8..=255,
    ) {
        let bytes = written(&fields, form, &extensions, &payload, padding);
        let view = RtpView::parse(&bytes).unwrap();
        prop_assert_eq!(view.payload(), &payload[..]);
        prop_assert_eq!(view.padding_size_bytes(), usize::from(padding));
        prop_assert_eq!(view.extensions().collect::<Vec<_>>(), borrowed(&extensions));
        let header = view.header();
        prop_assert_eq!(
            (header.marker, header.payload_type, header.sequence, header.timestamp, header.ssrc),
            (fields.marker, fields.payload_type, fields.sequence, fields.timestamp, fields.ssrc)
        );

        let oracle = Packet::unmarshal(&mut &bytes[..]).unwrap();
        prop_assert_eq!(oracle.header.marker, fields.marker);
        prop_assert_eq!(oracle.header.payload_type, fields.payload_type.0);
        prop_assert_eq!(oracle.header.sequence_number, fields.sequence);
        prop_assert_eq!(oracle.header.timestamp, fields.timestamp);
        prop_assert_eq!(oracle.header.ssrc, fields.ssrc.0);
        prop_assert_eq!(&oracle.payload[..], &payload[..]);
        for (id, value) in &extensions {
            let theirs = oracle.header.get_extension(*id);
            prop_assert_eq!(theirs.as_deref(), Some(&value[..]));
        }
    }

    #[test]
    fn what_the_rtp_crate_writes_is_read_by_the_view(
        fields in fields(),
        extensions in extensions(ExtensionForm::OneByte),
        csrcs in prop::collection::vec(any::<u32>(), 0..=15),
        payload in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let mut packet = Packet { payload: payload.clone().into(), ..Packet::default() };
        packet.header.version = 2;
        packet.header.marker = fields.marker;
        packet.header.payload_type = fields.payload_type.0;
        packet.header.sequence_number = fields.sequence;
        packet.header.timestamp = fields.timestamp;
        packet.header.ssrc = fields.ssrc.0;
        packet.header.csrc = csrcs;
        for (id, value) in &extensions {
            packet.header.set_extension(*id, value.clone().into()).unwrap();
        }
        let bytes = packet.marshal().unwrap();
        let view = RtpView::parse(&bytes).unwrap();
        prop_assert_eq!(view.payload(), &payload[..]);
        prop_assert_eq!((view.marker(), view.payload_type()), (fields.marker, fields.payload_type));
        prop_assert_eq!((view.sequence(), view.timestamp(), view.ssrc()), (fields.sequence, fields.timestamp, fields.ssrc));
        for (id, value) in &extensions {
            prop_assert_eq!(view.extension(*id), Some(&value[..]));
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..256), first in 0x80u8..=0xbf) {
        crate::fuzzing::fuzz_rtp(&bytes);
        let mut versioned = bytes;
        if let Some(byte) = versioned.first_mut() {
            *byte = first;
        }
        crate::fuzzing::fuzz_rtp(&versioned);
    }
}

#[test]
fn malformed_packets_are_refused_by_name() {
    let plain = [0x80, 96, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0xaa];
    let with = |changes: &[(usize, u8)]| {
        let mut bytes = plain.to_vec();
        for (at, value) in changes {
            bytes[*at] = *value;
        }
        bytes
    };
    let cases: [(Vec<u8>, RtpError); 8] = [
        (Vec::new(), RtpError::Truncated),
        (plain[..11].to_vec(), RtpError::Truncated),
        (with(&[(0, 0x40)]), RtpError::Version),
        (with(&[(0, 0x81)]), RtpError::Truncated),
        (with(&[(0, 0x90)]), RtpError::Truncated),
        (with(&[(0, 0xa0), (12, 0)]), RtpError::Padding),
        (with(&[(0, 0xa0), (12, 2)]), RtpError::Padding),
        ([&with(&[(0, 0xa0)])[..12], &[]].concat(), RtpError::Padding),
    ];
    for (bytes, error) in cases {
        assert_eq!(RtpView::parse(&bytes).unwrap_err(), error, "{bytes:02x?}");
    }
    assert!(RtpView::parse(&with(&[(0, 0xa0), (12, 1)])).unwrap().payload().is_empty());
}

#[test]
fn extension_id_15_ends_a_one_byte_block_and_padding_is_skipped() {
    let mut bytes = vec![0x90, 96, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0xbe, 0xde, 0, 2];
    bytes.extend([0, 0x10, 7, 0, 0xf0, 1, 0x20, 8]);
    let view = RtpView::parse(&bytes).unwrap();
    assert_eq!(view.extension(1), Some(&[7][..]));
    assert_eq!(view.extension(2), None);
    assert_eq!(view.extensions().count(), 1);
}

#[test]
fn an_extension_that_reaches_past_its_block_ends_it() {
    let mut bytes = vec![0x90, 96, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0x10, 0, 0, 1];
    bytes.extend([1, 5, 1, 2, 9, 9, 9, 9]);
    let view = RtpView::parse(&bytes).unwrap();
    assert_eq!(view.header().extension_form(), Some(ExtensionForm::TwoByte));
    assert_eq!(view.extensions().count(), 0);
    assert_eq!(view.payload(), &[9; 4]);
}

#[test]
fn the_application_bits_of_the_two_byte_form_are_ignored() {
    let mut bytes = vec![0x90, 96, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0x10, 0x0f, 0, 2];
    bytes.extend([15, 0, 0, 200, 2, 8, 9, 0, 7]);
    let view = RtpView::parse(&bytes).unwrap();
    assert_eq!(view.extension(15), Some(&[][..]));
    assert_eq!(view.extension(200), Some(&[8, 9][..]));
    assert_eq!(view.payload(), &[7]);
}

#[test]
fn a_block_of_an_unknown_profile_is_skipped_whole() {
    let mut bytes = vec![0x90, 96, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0xab, 0xcd, 0, 1];
    bytes.extend([0x10, 5, 1, 2, 9]);
    let view = RtpView::parse(&bytes).unwrap();
    assert_eq!(view.header().extension_form(), None);
    assert_eq!(view.extensions().count(), 0);
    assert_eq!(view.payload(), &[9]);
}

#[test]
fn extensions_that_do_not_fit_their_form_or_buffer_are_refused() {
    let fields = RtpFields { marker: false, payload_type: PayloadType(96), sequence: 1, timestamp: 2, ssrc: Ssrc(3) };
    let long = [0; 17];
    let mut buffer = [0; 64];
    let cases = [
        (ExtensionForm::OneByte, Extension { id: 15, value: &[1] }),
        (ExtensionForm::OneByte, Extension { id: 0, value: &[1] }),
        (ExtensionForm::OneByte, Extension { id: 1, value: &[] }),
        (ExtensionForm::OneByte, Extension { id: 1, value: &long }),
        (ExtensionForm::TwoByte, Extension { id: 0, value: &[1] }),
    ];
    for (form, extension) in cases {
        assert_eq!(write_header(&mut buffer, &fields, form, &[extension]), Err(RtpError::Extension));
    }
    let extension = Extension { id: 1, value: &long };
    assert_eq!(ExtensionForm::fitting(&[extension]), ExtensionForm::TwoByte);
    assert_eq!(write_header(&mut buffer[..35], &fields, ExtensionForm::TwoByte, &[extension]), Err(RtpError::Buffer));
    assert_eq!(write_header(&mut buffer[..36], &fields, ExtensionForm::TwoByte, &[extension]), Ok(36));
    assert_eq!(write_padding(&mut buffer, 60, NonZeroU8::new(5).unwrap()), Err(RtpError::Buffer));
}
