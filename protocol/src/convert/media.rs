//! Media parameters on the wire.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use super::{FieldError, missing, narrow, out_of_range, unknown};
use crate::media::{Codec, CodecKind, ExtensionIds, Label, MasterKey, MediaKind, PayloadType, SrtpKeys, SrtpProfile};
use crate::wire;

pub(super) fn payload_type(value: u32, field: &'static str) -> Result<PayloadType, FieldError> {
    if value > 127 { Err(out_of_range(field)) } else { narrow(value, field).map(PayloadType) }
}

/// Reads a label; the empty string is the empty label.
pub(super) fn label(text: &str, field: &'static str) -> Result<Label, FieldError> {
    if text.is_empty() {
        return Ok(Label::default());
    }
    Label::new(text.as_bytes()).ok_or_else(|| out_of_range(field))
}

pub(super) fn optional_label(text: &str, field: &'static str) -> Result<Option<Label>, FieldError> {
    if text.is_empty() { Ok(None) } else { label(text, field).map(Some) }
}

pub(super) fn write_label(label: Label) -> String {
    label.as_str().into()
}

pub(super) fn media_kind(value: i32, field: &'static str) -> Result<MediaKind, FieldError> {
    match wire::MediaKind::try_from(value) {
        Ok(wire::MediaKind::Audio) => Ok(MediaKind::Audio),
        Ok(wire::MediaKind::Video) => Ok(MediaKind::Video),
        Ok(wire::MediaKind::Unspecified) => Err(missing(field)),
        Err(_) => Err(unknown(field)),
    }
}

pub(super) fn write_media_kind(kind: MediaKind) -> i32 {
    match kind {
        MediaKind::Audio => wire::MediaKind::Audio.into(),
        MediaKind::Video => wire::MediaKind::Video.into(),
    }
}

pub(super) fn codec(codec: &wire::Codec) -> Result<Codec, FieldError> {
    Ok(Codec {
        payload_type: payload_type(codec.payload_type, "Codec.payload_type")?,
        rtx: codec.rtx.map(|value| payload_type(value, "Codec.rtx")).transpose()?,
        kind: codec_kind(codec.kind),
        clock_rate: codec.clock_rate,
    })
}

pub(super) fn write_codec(codec: Codec) -> wire::Codec {
    wire::Codec {
        payload_type: codec.payload_type.0.into(),
        rtx: codec.rtx.map(|payload_type| payload_type.0.into()),
        kind: write_codec_kind(codec.kind),
        clock_rate: codec.clock_rate,
    }
}

/// A codec that this version does not know is forwarded unread, like one that nobody knows.
fn codec_kind(value: i32) -> CodecKind {
    match wire::CodecKind::try_from(value) {
        Ok(wire::CodecKind::Opus) => CodecKind::Opus,
        Ok(wire::CodecKind::Vp8) => CodecKind::Vp8,
        Ok(wire::CodecKind::Vp9) => CodecKind::Vp9,
        Ok(wire::CodecKind::H264) => CodecKind::H264,
        Ok(wire::CodecKind::Av1) => CodecKind::Av1,
        Ok(wire::CodecKind::Other) | Err(_) => CodecKind::Other,
    }
}

fn write_codec_kind(kind: CodecKind) -> i32 {
    match kind {
        CodecKind::Opus => wire::CodecKind::Opus,
        CodecKind::Vp8 => wire::CodecKind::Vp8,
        CodecKind::Vp9 => wire::CodecKind::Vp9,
        CodecKind::H264 => wire::CodecKind::H264,
        CodecKind::Av1 => wire::CodecKind::Av1,
        CodecKind::Other => wire::CodecKind::Other,
    }
    .into()
}

pub(super) fn extension_ids(ids: Option<&wire::ExtensionIds>) -> Result<ExtensionIds, FieldError> {
    let Some(ids) = ids else { return Ok(ExtensionIds::default()) };
    Ok(ExtensionIds {
        mid: narrow(ids.mid, "ExtensionIds.mid")?,
        rid: narrow(ids.rid, "ExtensionIds.rid")?,
        repaired_rid: narrow(ids.repaired_rid, "ExtensionIds.repaired_rid")?,
        audio_level: narrow(ids.audio_level, "ExtensionIds.audio_level")?,
        abs_send_time: narrow(ids.abs_send_time, "ExtensionIds.abs_send_time")?,
        transport_sequence: narrow(ids.transport_sequence, "ExtensionIds.transport_sequence")?,
        playout_delay: narrow(ids.playout_delay, "ExtensionIds.playout_delay")?,
        video_orientation: narrow(ids.video_orientation, "ExtensionIds.video_orientation")?,
        dependency_descriptor: narrow(ids.dependency_descriptor, "ExtensionIds.dependency_descriptor")?,
    })
}

pub(super) fn write_extension_ids(ids: &ExtensionIds) -> Option<wire::ExtensionIds> {
    (*ids != ExtensionIds::default()).then(|| wire::ExtensionIds {
        mid: ids.mid.into(),
        rid: ids.rid.into(),
        repaired_rid: ids.repaired_rid.into(),
        audio_level: ids.audio_level.into(),
        abs_send_time: ids.abs_send_time.into(),
        transport_sequence: ids.transport_sequence.into(),
        playout_delay: ids.playout_delay.into(),
        video_orientation: ids.video_orientation.into(),
        dependency_descriptor: ids.dependency_descriptor.into(),
    })
}

pub(super) fn srtp_keys(keys: &wire::SrtpKeys) -> Result<SrtpKeys, FieldError> {
    let profile = match wire::SrtpProfile::try_from(keys.profile) {
        Ok(wire::SrtpProfile::AeadAes128Gcm) => SrtpProfile::AeadAes128Gcm,
        Ok(wire::SrtpProfile::AeadAes256Gcm) => SrtpProfile::AeadAes256Gcm,
        Ok(wire::SrtpProfile::AesCm128HmacSha180) => SrtpProfile::AesCm128HmacSha1_80,
        Ok(wire::SrtpProfile::Unspecified) => return Err(missing("SrtpKeys.profile")),
        Err(_) => return Err(unknown("SrtpKeys.profile")),
    };
    let local = keys.local.as_ref().ok_or_else(|| missing("SrtpKeys.local"))?;
    let remote = keys.remote.as_ref().ok_or_else(|| missing("SrtpKeys.remote"))?;
    Ok(SrtpKeys { profile, local: master_key(profile, local)?, remote: master_key(profile, remote)? })
}

pub(super) fn write_srtp_keys(keys: &SrtpKeys) -> wire::SrtpKeys {
    let profile = match keys.profile {
        SrtpProfile::AeadAes128Gcm => wire::SrtpProfile::AeadAes128Gcm,
        SrtpProfile::AeadAes256Gcm => wire::SrtpProfile::AeadAes256Gcm,
        SrtpProfile::AesCm128HmacSha1_80 => wire::SrtpProfile::AesCm128HmacSha180,
    };
    wire::SrtpKeys {
        profile: profile.into(),
        local: Some(write_master_key(keys.profile, &keys.local)),
        remote: Some(write_master_key(keys.profile, &keys.remote)),
    }
}

fn master_key(profile: SrtpProfile, wire: &wire::MasterKey) -> Result<MasterKey, FieldError> {
    let mut master = MasterKey { key: [0; 32], salt: [0; 14] };
    fill(&mut master.key, &wire.key, profile.key_bytes()).ok_or_else(|| out_of_range("MasterKey.key"))?;
    fill(&mut master.salt, &wire.salt, profile.salt_bytes()).ok_or_else(|| out_of_range("MasterKey.salt"))?;
    Ok(master)
}

fn fill(target: &mut [u8], bytes: &[u8], size_bytes: usize) -> Option<()> {
    if bytes.len() != size_bytes {
        return None;
    }
    target.get_mut(..size_bytes)?.copy_from_slice(bytes);
    Some(())
}

fn write_master_key(profile: SrtpProfile, master: &MasterKey) -> wire::MasterKey {
    wire::MasterKey {
        key: master.key.iter().copied().take(profile.key_bytes()).collect(),
        salt: master.salt.iter().copied().take(profile.salt_bytes()).collect(),
    }
}

pub(super) fn ip_address(bytes: &[u8], field: &'static str) -> Result<IpAddr, FieldError> {
    if let Ok(four) = <[u8; 4]>::try_from(bytes) {
        return Ok(Ipv4Addr::from(four).into());
    }
    <[u8; 16]>::try_from(bytes).map(|sixteen| Ipv6Addr::from(sixteen).into()).map_err(|_| out_of_range(field))
}

pub(super) fn write_ip_address(address: &IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

pub(super) fn socket_address(
    address: Option<&wire::SocketAddress>,
    field: &'static str,
) -> Result<SocketAddr, FieldError> {
    let address = address.ok_or_else(|| missing(field))?;
    let port = narrow(address.port, "SocketAddress.port")?;
    Ok(match ip_address(&address.ip, "SocketAddress.ip")? {
        IpAddr::V4(ip) => SocketAddr::from((ip, port)),
        IpAddr::V6(ip) => SocketAddrV6::new(ip, port, 0, address.scope).into(),
    })
}

pub(super) fn write_socket_address(address: &SocketAddr) -> wire::SocketAddress {
    let scope = match address {
        SocketAddr::V4(_) => 0,
        SocketAddr::V6(address) => address.scope_id(),
    };
    wire::SocketAddress { ip: write_ip_address(&address.ip()), port: address.port().into(), scope }
}
