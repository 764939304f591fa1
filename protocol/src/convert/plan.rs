//! A plan's objects and keys on the wire.

use super::media::{
    codec, extension_ids, label, media_kind, optional_label, payload_type, socket_address, srtp_keys, write_codec,
    write_extension_ids, write_label, write_media_kind, write_socket_address, write_srtp_keys,
};
use super::{FieldError, bounded, missing, narrow, out_of_range};
use crate::ice::Ufrag;
use crate::ids::{EgressId, TrackId, TransportId};
use crate::limits::{CNAME_BYTES_MAX, CODECS_MAX, COOKIE_BYTES_MAX, CREDENTIALS_MAX, ENCODINGS_MAX};
use crate::media::{Bitrate, Mid, Rid, Ssrc};
use crate::plan::{
    Cookie, Egress, Encoding, Key, Layer, Object, Path, PayloadMap, PlayoutDelay, Source, Stream, StreamRole, Track,
    Transport,
};
use crate::wire;

/// Reads an object; `None` when it is of a kind that this version does not know.
pub(super) fn object(object: &wire::Object) -> Result<Option<Object>, FieldError> {
    use wire::object::Kind;
    let Some(kind) = &object.kind else { return Ok(None) };
    Ok(Some(match kind {
        Kind::Transport(wire) => Object::Transport(transport(wire)?),
        Kind::Path(wire) => Object::Path(path(wire)?),
        Kind::Track(wire) => Object::Track(track(wire)?),
        Kind::Stream(wire) => Object::Stream(stream(wire)?),
        Kind::Egress(wire) => Object::Egress(egress(wire)?),
        Kind::Cookie(wire) => {
            bounded(&wire.bytes, COOKIE_BYTES_MAX, "Cookie.bytes")?;
            Object::Cookie(Cookie { key: wire.key, bytes: wire.bytes.clone() })
        }
    }))
}

pub(super) fn write_object(object: &Object) -> wire::Object {
    use wire::object::Kind;
    let kind = match object {
        Object::Transport(transport) => Kind::Transport(write_transport(transport)),
        Object::Path(path) => Kind::Path(wire::Path {
            transport: path.transport.word(),
            local: Some(write_socket_address(&path.local)),
            remote: Some(write_socket_address(&path.remote)),
            credentials: Some(write_ufrag(&path.credentials)),
        }),
        Object::Track(track) => Kind::Track(write_track(track)),
        Object::Stream(stream) => Kind::Stream(write_stream(stream)),
        Object::Egress(egress) => Kind::Egress(write_egress(egress)),
        Object::Cookie(cookie) => Kind::Cookie(wire::Cookie { key: cookie.key, bytes: cookie.bytes.clone() }),
    };
    wire::Object { kind: Some(kind) }
}

/// Reads a key; `None` when it is of a kind that this version does not know.
pub(super) fn key(key: &wire::Key) -> Option<Key> {
    use wire::key::Kind;
    Some(match key.kind.as_ref()? {
        Kind::Transport(word) => Key::Transport(TransportId::from_word(*word)),
        Kind::Path(word) => Key::Path(TransportId::from_word(*word)),
        Kind::Track(word) => Key::Track(TrackId::from_word(*word)),
        Kind::Stream(stream) => Key::Stream(TrackId::from_word(stream.track), Ssrc(stream.ssrc)),
        Kind::Egress(word) => Key::Egress(EgressId::from_word(*word)),
        Kind::Cookie(number) => Key::Cookie(*number),
    })
}

pub(super) fn write_key(key: &Key) -> wire::Key {
    use wire::key::Kind;
    let kind = match key {
        Key::Transport(id) => Kind::Transport(id.word()),
        Key::Path(id) => Kind::Path(id.word()),
        Key::Track(id) => Kind::Track(id.word()),
        Key::Stream(track, ssrc) => Kind::Stream(wire::StreamKey { track: track.word(), ssrc: ssrc.0 }),
        Key::Egress(id) => Kind::Egress(id.word()),
        Key::Cookie(number) => Kind::Cookie(*number),
    };
    wire::Key { kind: Some(kind) }
}

fn ufrag(ufrag: &wire::Ufrag) -> Result<Ufrag, FieldError> {
    Ok(Ufrag {
        transport: TransportId::from_word(ufrag.transport),
        restart: narrow(ufrag.restart, "Ufrag.restart")?,
        random: ufrag.random,
    })
}

fn write_ufrag(ufrag: &Ufrag) -> wire::Ufrag {
    wire::Ufrag { transport: ufrag.transport.word(), restart: ufrag.restart.into(), random: ufrag.random }
}

fn transport(wire: &wire::Transport) -> Result<Transport, FieldError> {
    bounded(&wire.credentials, CREDENTIALS_MAX, "Transport.credentials")?;
    bounded(wire.cname.as_bytes(), CNAME_BYTES_MAX, "Transport.cname")?;
    Ok(Transport {
        id: TransportId::from_word(wire.id),
        credentials: wire.credentials.iter().map(ufrag).collect::<Result<_, _>>()?,
        keys: wire.keys.as_ref().map(srtp_keys).transpose()?,
        cname: wire.cname.clone(),
        extmap_allow_mixed: wire.extmap_allow_mixed,
        remb_cap: wire.remb_cap.map(Bitrate),
        rtcp_rsize: wire.rtcp_rsize,
    })
}

fn write_transport(transport: &Transport) -> wire::Transport {
    wire::Transport {
        id: transport.id.word(),
        credentials: transport.credentials.iter().map(write_ufrag).collect(),
        keys: transport.keys.as_ref().map(write_srtp_keys),
        cname: transport.cname.clone(),
        extmap_allow_mixed: transport.extmap_allow_mixed,
        remb_cap: transport.remb_cap.map(|bitrate| bitrate.0),
        rtcp_rsize: transport.rtcp_rsize,
    }
}

fn path(wire: &wire::Path) -> Result<Path, FieldError> {
    Ok(Path {
        transport: TransportId::from_word(wire.transport),
        local: socket_address(wire.local.as_ref(), "Path.local")?,
        remote: socket_address(wire.remote.as_ref(), "Path.remote")?,
        credentials: ufrag(wire.credentials.as_ref().ok_or_else(|| missing("Path.credentials"))?)?,
    })
}

fn track(wire: &wire::Track) -> Result<Track, FieldError> {
    bounded(&wire.codecs, CODECS_MAX, "Track.codecs")?;
    bounded(&wire.encodings, ENCODINGS_MAX, "Track.encodings")?;
    Ok(Track {
        id: TrackId::from_word(wire.id),
        transport: TransportId::from_word(wire.transport),
        kind: media_kind(wire.kind, "Track.kind")?,
        mid: Mid(label(&wire.mid, "Track.mid")?),
        codecs: wire.codecs.iter().map(codec).collect::<Result<_, _>>()?,
        extensions: extension_ids(wire.extensions.as_ref())?,
        encodings: wire.encodings.iter().map(encoding).collect::<Result<_, _>>()?,
        muted: wire.muted,
        nack: wire.nack,
    })
}

fn write_track(track: &Track) -> wire::Track {
    wire::Track {
        id: track.id.word(),
        transport: track.transport.word(),
        kind: write_media_kind(track.kind),
        mid: write_label(track.mid.0),
        codecs: track.codecs.iter().copied().map(write_codec).collect(),
        extensions: write_extension_ids(&track.extensions),
        encodings: track.encodings.iter().map(write_encoding).collect(),
        muted: track.muted,
        nack: track.nack,
    }
}

fn encoding(wire: &wire::Encoding) -> Result<Encoding, FieldError> {
    Ok(Encoding {
        rid: optional_label(&wire.rid, "Encoding.rid")?.map(Rid),
        ssrc: wire.ssrc.map(Ssrc),
        rtx: wire.rtx.map(Ssrc),
    })
}

fn write_encoding(encoding: &Encoding) -> wire::Encoding {
    wire::Encoding {
        rid: encoding.rid.map_or_else(String::new, |rid| write_label(rid.0)),
        ssrc: encoding.ssrc.map(|ssrc| ssrc.0),
        rtx: encoding.rtx.map(|ssrc| ssrc.0),
    }
}

fn stream(wire: &wire::Stream) -> Result<Stream, FieldError> {
    Ok(Stream {
        track: TrackId::from_word(wire.track),
        ssrc: Ssrc(wire.ssrc),
        role: wire.repairs.map_or(StreamRole::Media, |ssrc| StreamRole::Rtx { of: Ssrc(ssrc) }),
        rid: optional_label(&wire.rid, "Stream.rid")?.map(Rid),
    })
}

fn write_stream(stream: &Stream) -> wire::Stream {
    wire::Stream {
        track: stream.track.word(),
        ssrc: stream.ssrc.0,
        repairs: match stream.role {
            StreamRole::Media => None,
            StreamRole::Rtx { of } => Some(of.0),
        },
        rid: stream.rid.map_or_else(String::new, |rid| write_label(rid.0)),
    }
}

fn egress(wire: &wire::Egress) -> Result<Egress, FieldError> {
    Ok(Egress {
        id: EgressId::from_word(wire.id),
        transport: TransportId::from_word(wire.transport),
        kind: media_kind(wire.kind, "Egress.kind")?,
        mid: Mid(label(&wire.mid, "Egress.mid")?),
        ssrc: Ssrc(wire.ssrc),
        rtx: wire.rtx.map(Ssrc),
        nack: wire.nack,
        extensions: extension_ids(wire.extensions.as_ref())?,
        source: wire.source.as_ref().map(source).transpose()?,
        paused: wire.paused,
        max_layer: wire.max_layer.map_or(Ok(Layer::MAX), layer)?,
        playout_delay: wire.playout_delay.map(playout_delay).transpose()?,
    })
}

fn write_egress(egress: &Egress) -> wire::Egress {
    let max_layer = (egress.max_layer != Layer::MAX)
        .then(|| wire::Layer { spatial: egress.max_layer.spatial.into(), temporal: egress.max_layer.temporal.into() });
    wire::Egress {
        id: egress.id.word(),
        transport: egress.transport.word(),
        kind: write_media_kind(egress.kind),
        mid: write_label(egress.mid.0),
        ssrc: egress.ssrc.0,
        rtx: egress.rtx.map(|ssrc| ssrc.0),
        nack: egress.nack,
        extensions: write_extension_ids(&egress.extensions),
        source: egress.source.as_ref().map(write_source),
        paused: egress.paused,
        max_layer,
        playout_delay: egress
            .playout_delay
            .map(|delay| wire::PlayoutDelay { min: delay.min.into(), max: delay.max.into() }),
    }
}

fn source(wire: &wire::Source) -> Result<Source, FieldError> {
    bounded(&wire.payloads, CODECS_MAX, "Source.payloads")?;
    let payloads = wire.payloads.iter().map(|map| {
        Ok(PayloadMap {
            from: payload_type(map.from, "PayloadMap.from")?,
            to: payload_type(map.to, "PayloadMap.to")?,
            rtx: map.rtx.map(|value| payload_type(value, "PayloadMap.rtx")).transpose()?,
        })
    });
    Ok(Source { track: TrackId::from_word(wire.track), payloads: payloads.collect::<Result<_, FieldError>>()? })
}

fn write_source(source: &Source) -> wire::Source {
    let payloads = source.payloads.iter().map(|map| wire::PayloadMap {
        from: map.from.0.into(),
        to: map.to.0.into(),
        rtx: map.rtx.map(|payload_type| payload_type.0.into()),
    });
    wire::Source { track: source.track.word(), payloads: payloads.collect() }
}

fn layer(wire: wire::Layer) -> Result<Layer, FieldError> {
    Ok(Layer { spatial: narrow(wire.spatial, "Layer.spatial")?, temporal: narrow(wire.temporal, "Layer.temporal")? })
}

fn playout_delay(wire: wire::PlayoutDelay) -> Result<PlayoutDelay, FieldError> {
    let in_range = |value: u32, field| if value > 4095 { Err(out_of_range(field)) } else { narrow(value, field) };
    Ok(PlayoutDelay { min: in_range(wire.min, "PlayoutDelay.min")?, max: in_range(wire.max, "PlayoutDelay.max")? })
}
