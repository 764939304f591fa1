//! The vectors of RFC 5769, and `stun-rs` as the independent oracle.

use std::net::SocketAddr;

use proptest::prelude::*;
use stun_rs::attributes::ice::{IceControlled, IceControlling, Priority, UseCandidate};
use stun_rs::attributes::stun::{ErrorCode as TheirErrorCode, Fingerprint, MessageIntegrity, UserName};
use stun_rs::attributes::stun::{UnknownAttributes, XorMappedAddress};
use stun_rs::methods::BINDING;
use stun_rs::{
    DecoderContextBuilder, HMACKey, MessageClass, MessageDecoderBuilder, MessageEncoderBuilder, StunMessage,
    StunMessageBuilder,
};

use super::*;
use crate::srtp::tests::hex;

const PASSWORD: &str = "VOkJxbRl1RmTxUk/WvJxBt";
const TRANSACTION: &str = "b7e7a701bc34d686fa87dfae";

/// RFC 5769 section 2.1.
const REQUEST: &str = "000100582112a442b7e7a701bc34d686fa87dfae802200105354554e207465737420636c69656e74\
    002400046e0001ff80290008932ff9b151263b36000600096576746a3a68367659202020\
    000800149aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a280280004e57a3bcf";
/// RFC 5769 section 2.2.
const RESPONSE_V4: &str = "0101003c2112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7220\
    002000080001a147e112a643000800142b91f599fd9e90c38c7489f92af9ba53f06be7d780280004c07d4c96";
/// RFC 5769 section 2.3.
const RESPONSE_V6: &str = "010100482112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7220\
    002000140002a1470113a9faa5d3f179bc25f4b5bed2b9d900080014a382954e4be67bf11784c97c8292c275bfe3ed41\
    80280004c8fb0b4c";

fn key() -> ShortTermKey {
    ShortTermKey::new(PASSWORD.as_bytes())
}

fn transaction() -> TransactionId {
    TransactionId(hex(TRANSACTION).try_into().unwrap())
}

fn decode(bytes: &[u8]) -> StunMessage {
    let context =
        DecoderContextBuilder::default().with_key(HMACKey::new_short_term(PASSWORD).unwrap()).with_validation().build();
    let (message, size) = MessageDecoderBuilder::default().with_context(context).build().decode(bytes).unwrap();
    assert_eq!(size, bytes.len());
    message
}

fn encode(message: &StunMessage) -> Vec<u8> {
    let mut buffer = vec![0; 1024];
    let size = MessageEncoderBuilder::default().build().encode(&mut buffer, message).unwrap();
    buffer.truncate(size);
    buffer
}

#[test]
fn the_request_of_rfc_5769_reads_and_verifies() {
    let bytes = hex(REQUEST);
    let binding = Binding::parse(&bytes).unwrap();
    assert_eq!(binding.class, Class::Request);
    assert_eq!(binding.transaction, transaction());
    assert_eq!(binding.ufrags(), Some((&b"evtj"[..], &b"h6vY"[..])));
    assert_eq!(binding.priority, Some(0x6e00_01ff));
    assert_eq!(binding.role, Some(Role::Controlled(0x932f_f9b1_5126_3b36)));
    assert!(!binding.use_candidate);
    assert!(binding.has_fingerprint);
    assert!(binding.verify(&key()));
    assert!(!binding.verify(&ShortTermKey::new(b"VOkJxbRl1RmTxUk/WvJxBu")));
    assert!(binding.unknown_attributes().is_empty());
}

#[test]
fn the_answers_of_rfc_5769_verify_and_ours_carry_the_same_address() {
    for (vector, address) in
        [(RESPONSE_V4, "192.0.2.1:32853"), (RESPONSE_V6, "[2001:db8:1234:5678:11:2233:4455:6677]:32853")]
    {
        let bytes = hex(vector);
        let binding = Binding::parse(&bytes).unwrap();
        assert_eq!(binding.class, Class::Success);
        assert!(binding.verify(&key()) && binding.has_fingerprint);

        let mut buffer = [0; RESPONSE_SIZE_BYTES_MAX];
        let size = write_success(&mut buffer, transaction(), address.parse().unwrap(), &key()).unwrap();
        // Ours has no SOFTWARE; the next attribute is the same byte for byte.
        let mapped = 4 + usize::from(bytes[39]);
        assert_eq!(buffer[20..20 + mapped], bytes[36..36 + mapped]);
        let theirs = decode(&buffer[..size]);
        assert_eq!(theirs.class(), MessageClass::SuccessResponse);
        let theirs = theirs.get::<XorMappedAddress>().unwrap().as_xor_mapped_address().unwrap();
        assert_eq!(*theirs.socket_address(), address.parse::<SocketAddr>().unwrap());
    }
}

#[test]
fn an_ipv4_peer_of_a_dual_stack_socket_is_told_its_ipv4_address() {
    let mut mapped = [0; RESPONSE_SIZE_BYTES_MAX];
    let mut plain = [0; RESPONSE_SIZE_BYTES_MAX];
    write_success(&mut mapped, transaction(), "[::ffff:192.0.2.1]:9".parse().unwrap(), &key()).unwrap();
    write_success(&mut plain, transaction(), "192.0.2.1:9".parse().unwrap(), &key()).unwrap();
    assert_eq!(mapped, plain);
}

#[test]
fn error_answers_are_read_by_stun_rs() {
    let cases =
        [(ErrorCode::UnknownAttribute, 420, "Unknown Attribute"), (ErrorCode::RoleConflict, 487, "Role Conflict")];
    for (code, number, reason) in cases {
        let mut buffer = [0; RESPONSE_SIZE_BYTES_MAX];
        let key = key();
        let unknown = [0x7777, 0x0042, 0x0043];
        let size = write_error(&mut buffer, transaction(), code, &unknown, &key).unwrap();
        let message = decode(&buffer[..size]);
        assert_eq!(message.class(), MessageClass::ErrorResponse);
        let theirs = message.get::<TheirErrorCode>().unwrap().as_error_code().unwrap().error_code();
        assert_eq!((theirs.error_code(), theirs.reason()), (number, reason));
        assert!(message.get::<MessageIntegrity>().is_some());
        let named = message.get::<UnknownAttributes>().map(|named| {
            let named = named.as_unknown_attributes().unwrap();
            named.attributes().to_vec()
        });
        assert_eq!(named, (code == ErrorCode::UnknownAttribute).then(|| unknown.to_vec()));
        let ours = Binding::parse(&buffer[..size]).unwrap();
        assert_eq!((ours.class, ours.transaction, ours.verify(&key)), (Class::Error, transaction(), true));
    }
}

#[test]
fn unknown_attributes_that_must_be_understood_are_named() {
    let mut bytes = hex("000100002112a442b7e7a701bc34d686fa87dfae");
    for attribute in 0x7000u16..0x700c {
        bytes.extend(attribute.to_be_bytes());
        bytes.extend([0, 1, 9, 0, 0, 0]);
    }
    bytes.extend(hex("c05700040000000a"));
    bytes[3] = u8::try_from(bytes.len() - 20).unwrap();
    let binding = Binding::parse(&bytes).unwrap();
    assert_eq!(binding.unknown_attributes(), &(0x7000..0x7008).collect::<Vec<u16>>()[..]);
    assert!(!binding.verify(&key()));
}

#[test]
fn what_follows_integrity_is_not_believed() {
    // USE-CANDIDATE appended by somebody on the path, with the fingerprint made again.
    let mut bytes = hex(REQUEST);
    bytes.truncate(bytes.len() - 8);
    bytes.extend(hex("00250000"));
    bytes[3] += 4;
    let value = fingerprint::fingerprint(&bytes).to_be_bytes();
    bytes.extend([0x80, 0x28, 0, 4]);
    bytes.extend(value);
    let binding = Binding::parse(&bytes).unwrap();
    assert!(binding.verify(&key()));
    assert!(!binding.use_candidate);
}

#[test]
fn malformed_messages_are_refused_by_name() {
    let good = hex(REQUEST);
    let with = |at: usize, value: u8| {
        let mut bytes = good.clone();
        bytes[at] = value;
        bytes
    };
    let cases = [
        (Vec::new(), StunError::Malformed),
        (good[..19].to_vec(), StunError::Malformed),
        (good[..104].to_vec(), StunError::Malformed),
        (with(4, 0x22), StunError::Malformed),
        (with(3, 0x54), StunError::Malformed),
        (with(0, 0x80), StunError::Malformed),
        (with(1, 0x03), StunError::Method),
        (with(23, 0xff), StunError::Malformed),
        (with(43, 0x03), StunError::Malformed),
        (with(107, 0), StunError::Fingerprint),
        (with(30, 0), StunError::Fingerprint),
    ];
    for (bytes, error) in cases {
        assert_eq!(Binding::parse(&bytes).unwrap_err(), error, "{bytes:02x?}");
    }
    let large = vec![0; MESSAGE_SIZE_BYTES_MAX + 4];
    assert_eq!(Binding::parse(&large).unwrap_err(), StunError::Malformed);
    let mut small = [0; 63];
    assert_eq!(
        write_success(&mut small, transaction(), "192.0.2.1:1".parse().unwrap(), &key()),
        Err(StunError::Buffer)
    );
}

#[test]
fn an_indication_without_attributes_is_read() {
    let binding_indication = hex("001100002112a442b7e7a701bc34d686fa87dfae");
    assert_eq!(Binding::parse(&binding_indication).unwrap().class, Class::Indication);
}

proptest! {
    #[test]
    fn what_stun_rs_writes_is_read_and_verified(
        local in "[a-zA-Z0-9+/]{4,32}",
        remote in "[a-zA-Z0-9+/]{4,32}",
        priority: u32,
        tie_breaker: u64,
        controlling: bool,
        nominates: bool,
    ) {
        let mut message = StunMessageBuilder::new(BINDING, MessageClass::Request)
            .with_attribute(UserName::new(format!("{local}:{remote}")).unwrap())
            .with_attribute(Priority::from(priority));
        message = if controlling {
            message.with_attribute(IceControlling::from(tie_breaker))
        } else {
            message.with_attribute(IceControlled::from(tie_breaker))
        };
        if nominates {
            message = message.with_attribute(UseCandidate::default());
        }
        let message = message
            .with_attribute(MessageIntegrity::new(HMACKey::new_short_term(PASSWORD).unwrap()))
            .with_attribute(Fingerprint::default())
            .build();
        let mut bytes = encode(&message);
        let binding = Binding::parse(&bytes).unwrap();
        prop_assert_eq!(&binding.transaction.0[..], message.transaction_id().as_bytes());
        prop_assert_eq!(binding.ufrags(), Some((local.as_bytes(), remote.as_bytes())));
        prop_assert_eq!(binding.priority, Some(priority));
        let role = if controlling { Role::Controlling(tie_breaker) } else { Role::Controlled(tie_breaker) };
        prop_assert_eq!(binding.role, Some(role));
        prop_assert_eq!(binding.use_candidate, nominates);
        prop_assert!(binding.verify(&key()));
        // Any change before integrity breaks it.
        bytes[24] ^= 1;
        prop_assert_eq!(Binding::parse(&bytes).unwrap_err(), StunError::Fingerprint);
        let end = bytes.len() - 8;
        bytes.truncate(end);
        bytes[3] -= 8;
        prop_assert!(!Binding::parse(&bytes).unwrap().verify(&key()));
    }

    #[test]
    fn addresses_survive_stun_rs(v6: u128, v4: u32, port: u16, id: [u8; 12]) {
        let (address, v4) = (std::net::Ipv6Addr::from(v6), std::net::Ipv4Addr::from(v4));
        prop_assume!(address.to_ipv4_mapped().is_none());
        for address in [SocketAddr::new(address.into(), port), SocketAddr::new(v4.into(), port)] {
            let mut buffer = [0; RESPONSE_SIZE_BYTES_MAX];
            let size = write_success(&mut buffer, TransactionId(id), address, &key()).unwrap();
            let message = decode(&buffer[..size]);
            prop_assert_eq!(message.transaction_id().as_bytes(), &id);
            let mapped = message.get::<XorMappedAddress>().unwrap().as_xor_mapped_address().unwrap();
            prop_assert_eq!(*mapped.socket_address(), address);
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
        crate::fuzzing::fuzz_stun(&bytes);
        let attributes = bytes.len() / 4 * 4;
        let mut message = hex("000100002112a442b7e7a701bc34d686fa87dfae");
        message[3] = u8::try_from(attributes).unwrap();
        message.extend(&bytes[..attributes]);
        crate::fuzzing::fuzz_stun(&message);
    }
}
