//! Frames on the wire.

use prost::Message;

use super::event::{event, refusal, write_event, write_refusal};
use super::media::{ip_address, write_ip_address};
use super::plan::{key, object, write_key, write_object};
use super::stats::{stats, write_stats};
use super::{FieldError, bounded, missing, narrow, out_of_range, unknown};
use crate::ice::NodeSecret;
use crate::ids::TrackId;
use crate::limits::{
    CAPABILITIES_MAX, COMMANDS_IN_FLIGHT_MAX, DESCRIPTORS_PER_FRAME_MAX, LISTEN_ADDRESSES_MAX, SHARDS_MAX,
    SOFTWARE_BYTES_MAX,
};
use crate::plan::Change;
use crate::session::{
    Ack, AddressFamily, Command, Configuration, DescriptorKind, ErrorCode, Frame, Hello, Identity, Ready, Role,
};
use crate::wire;
use crate::wire::frame::Body;

/// A frame that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// It is not protobuf.
    #[error("a frame is not protobuf")]
    Malformed,
    /// One of its fields cannot be read.
    #[error(transparent)]
    Field(#[from] FieldError),
    /// It is a command that cannot be read; a data plane refuses it and goes on.
    #[error(transparent)]
    Command(#[from] CommandError),
}

/// A command that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("command {sequence}: {error}")]
pub struct CommandError {
    /// Its sequence number.
    pub sequence: u64,
    /// What is wrong.
    pub error: FieldError,
}

/// Appends `frame` as protobuf, without a length before it.
pub fn write(frame: &Frame, buffer: &mut Vec<u8>) {
    let body = write_body(frame);
    wire::Frame { body: Some(body) }.encode(buffer).expect("a vector takes any number of bytes");
}

/// Reads a frame without a length before it; `None` for a frame that this version does not know, which is to be ignored.
///
/// # Errors
///
/// See [`ParseError`].
pub fn parse(bytes: &[u8]) -> Result<Option<Frame>, ParseError> {
    let frame = wire::Frame::decode(bytes).map_err(|_| ParseError::Malformed)?;
    frame.body.map_or(Ok(None), |body| parse_body(&body))
}

fn write_body(frame: &Frame) -> Body {
    match frame {
        Frame::Hello(hello) => Body::Hello(write_hello(hello)),
        Frame::Error { code, text } => Body::Error(wire::Error { code: write_error_code(*code), text: text.clone() }),
        Frame::Ping(nonce) => Body::Ping(wire::Ping { nonce: *nonce }),
        Frame::Pong(nonce) => Body::Pong(wire::Pong { nonce: *nonce }),
        Frame::Configure(configuration) => {
            Body::Configure(wire::Configure { configuration: Some(write_configuration(configuration)) })
        }
        Frame::Ready(ready) => Body::Ready(wire::Ready {
            configuration: Some(write_configuration(&ready.configuration)),
            shards: ready.shards.into(),
        }),
        Frame::Descriptors(kinds) => {
            Body::Descriptors(wire::Descriptors { kinds: kinds.iter().copied().map(write_descriptor_kind).collect() })
        }
        Frame::SnapshotRequest => Body::SnapshotRequest(wire::SnapshotRequest {}),
        Frame::SnapshotObject(object) => {
            Body::SnapshotObject(wire::SnapshotObject { object: Some(write_object(object)) })
        }
        Frame::SnapshotEnd => Body::SnapshotEnd(wire::SnapshotEnd {}),
        Frame::Command(command) => Body::Command(write_command(command)),
        Frame::Ack(ack) => {
            let refusals = ack
                .refusals
                .iter()
                .map(|(sequence, refusal)| wire::Refused { sequence: *sequence, refusal: write_refusal(*refusal) });
            Body::Ack(wire::Ack { up_to: ack.up_to, refusals: refusals.collect() })
        }
        Frame::Event(event) => Body::Event(write_event(event)),
        Frame::RequestKeyFrame(track) => Body::RequestKeyFrame(wire::RequestKeyFrame { track: track.word() }),
        Frame::StatsRequest(id) => Body::StatsRequest(wire::StatsRequest { id: *id }),
        Frame::StatsReply { id, part, last } => {
            Body::StatsReply(wire::StatsReply { id: *id, part: Some(write_stats(part)), last: *last })
        }
    }
}

fn parse_body(body: &Body) -> Result<Option<Frame>, ParseError> {
    Ok(Some(match body {
        Body::Hello(wire) => Frame::Hello(hello(wire)?),
        Body::Error(wire) => Frame::Error { code: error_code(wire.code), text: wire.text.clone() },
        Body::Ping(wire) => Frame::Ping(wire.nonce),
        Body::Pong(wire) => Frame::Pong(wire.nonce),
        Body::Configure(wire) => {
            let wire = wire.configuration.as_ref().ok_or_else(|| missing("Configure.configuration"))?;
            Frame::Configure(configuration(wire)?)
        }
        Body::Ready(wire) => Frame::Ready(ready(wire)?),
        Body::Descriptors(wire) => {
            bounded(&wire.kinds, DESCRIPTORS_PER_FRAME_MAX, "Descriptors.kinds")?;
            Frame::Descriptors(wire.kinds.iter().map(descriptor_kind).collect::<Result<_, _>>()?)
        }
        Body::SnapshotRequest(wire::SnapshotRequest {}) => Frame::SnapshotRequest,
        Body::SnapshotObject(wire) => {
            let wire = wire.object.as_ref().ok_or_else(|| missing("SnapshotObject.object"))?;
            let Some(object) = object(wire)? else { return Ok(None) };
            Frame::SnapshotObject(Box::new(object))
        }
        Body::SnapshotEnd(wire::SnapshotEnd {}) => Frame::SnapshotEnd,
        Body::Command(wire) => {
            let change = change(wire).map_err(|error| CommandError { sequence: wire.sequence, error })?;
            Frame::Command(Command { sequence: wire.sequence, change, resume: wire.resume })
        }
        Body::Ack(wire) => Frame::Ack(ack(wire)?),
        Body::Event(wire) => {
            let Some(event) = event(wire)? else { return Ok(None) };
            Frame::Event(event)
        }
        Body::RequestKeyFrame(wire) => Frame::RequestKeyFrame(TrackId::from_word(wire.track)),
        Body::StatsRequest(wire) => Frame::StatsRequest(wire.id),
        Body::StatsReply(wire) => {
            let part = wire.part.as_ref().map(stats).transpose()?.unwrap_or_default();
            Frame::StatsReply { id: wire.id, part, last: wire.last }
        }
    }))
}

fn hello(wire: &wire::Hello) -> Result<Hello, FieldError> {
    bounded(wire.software.as_bytes(), SOFTWARE_BYTES_MAX, "Hello.software")?;
    bounded(&wire.capabilities, CAPABILITIES_MAX, "Hello.capabilities")?;
    let role = match wire::Role::try_from(wire.role) {
        Ok(wire::Role::Controller) => Role::Controller,
        Ok(wire::Role::Dataplane) => Role::Dataplane,
        Ok(wire::Role::Unspecified) => return Err(missing("Hello.role")),
        Err(_) => return Err(unknown("Hello.role")),
    };
    Ok(Hello {
        role,
        version_min: wire.version_min,
        version_max: wire.version_max,
        identity: Identity {
            software: wire.software.clone(),
            instance: wire.instance,
            capabilities: wire.capabilities.clone(),
        },
        epoch: narrow(wire.epoch, "Hello.epoch")?,
        shards: shards(wire.shards, "Hello.shards")?,
        running: wire.running,
    })
}

fn write_hello(hello: &Hello) -> wire::Hello {
    let role = match hello.role {
        Role::Controller => wire::Role::Controller,
        Role::Dataplane => wire::Role::Dataplane,
    };
    wire::Hello {
        role: role.into(),
        version_min: hello.version_min,
        version_max: hello.version_max,
        software: hello.identity.software.clone(),
        instance: hello.identity.instance,
        epoch: hello.epoch.into(),
        capabilities: hello.identity.capabilities.clone(),
        shards: hello.shards.into(),
        running: hello.running,
    }
}

fn shards(value: u32, field: &'static str) -> Result<u8, FieldError> {
    let shards: u8 = narrow(value, field)?;
    if usize::from(shards) > SHARDS_MAX { Err(out_of_range(field)) } else { Ok(shards) }
}

fn shard(value: u32, field: &'static str) -> Result<u8, FieldError> {
    let shard: u8 = narrow(value, field)?;
    if usize::from(shard) >= SHARDS_MAX { Err(out_of_range(field)) } else { Ok(shard) }
}

fn error_code(value: i32) -> ErrorCode {
    match wire::ErrorCode::try_from(value) {
        Ok(wire::ErrorCode::Version) => ErrorCode::Version,
        Ok(wire::ErrorCode::Fenced) => ErrorCode::Fenced,
        Ok(wire::ErrorCode::FrameTooLong) => ErrorCode::FrameTooLong,
        Ok(wire::ErrorCode::Malformed) => ErrorCode::Malformed,
        Ok(wire::ErrorCode::Protocol) => ErrorCode::Protocol,
        Ok(wire::ErrorCode::Stalled) => ErrorCode::Stalled,
        Ok(wire::ErrorCode::Configuration) => ErrorCode::Configuration,
        Ok(wire::ErrorCode::Unspecified) | Err(_) => ErrorCode::Other,
    }
}

fn write_error_code(code: ErrorCode) -> i32 {
    match code {
        ErrorCode::Other => wire::ErrorCode::Unspecified,
        ErrorCode::Version => wire::ErrorCode::Version,
        ErrorCode::Fenced => wire::ErrorCode::Fenced,
        ErrorCode::FrameTooLong => wire::ErrorCode::FrameTooLong,
        ErrorCode::Malformed => wire::ErrorCode::Malformed,
        ErrorCode::Protocol => wire::ErrorCode::Protocol,
        ErrorCode::Stalled => wire::ErrorCode::Stalled,
        ErrorCode::Configuration => wire::ErrorCode::Configuration,
    }
    .into()
}

fn configuration(wire: &wire::Configuration) -> Result<Configuration, FieldError> {
    bounded(&wire.listen, LISTEN_ADDRESSES_MAX, "Configuration.listen")?;
    let secret = wire.node_secret.as_slice().try_into().map_err(|_| out_of_range("Configuration.node_secret"))?;
    let listen = wire.listen.iter().map(|bytes| ip_address(bytes, "Configuration.listen"));
    Ok(Configuration {
        node_secret: NodeSecret::new(secret),
        media_port: narrow(wire.media_port, "Configuration.media_port")?,
        listen: listen.collect::<Result<_, _>>()?,
    })
}

fn write_configuration(configuration: &Configuration) -> wire::Configuration {
    wire::Configuration {
        node_secret: configuration.node_secret.bytes().to_vec(),
        media_port: configuration.media_port.into(),
        listen: configuration.listen.iter().map(write_ip_address).collect(),
    }
}

fn ready(wire: &wire::Ready) -> Result<Ready, FieldError> {
    let configuration = configuration(wire.configuration.as_ref().ok_or_else(|| missing("Ready.configuration"))?)?;
    Ok(Ready { configuration, shards: shards(wire.shards, "Ready.shards")? })
}

fn descriptor_kind(wire: &wire::DescriptorKind) -> Result<DescriptorKind, FieldError> {
    use wire::descriptor_kind::Kind;
    match &wire.kind {
        Some(Kind::MediaSocket(socket)) => {
            let family = match wire::AddressFamily::try_from(socket.family) {
                Ok(wire::AddressFamily::Ipv4) => AddressFamily::Ipv4,
                Ok(wire::AddressFamily::Ipv6) => AddressFamily::Ipv6,
                Ok(wire::AddressFamily::Unspecified) => return Err(missing("MediaSocket.family")),
                Err(_) => return Ok(DescriptorKind::Unknown),
            };
            Ok(DescriptorKind::MediaSocket { shard: shard(socket.shard, "MediaSocket.shard")?, family })
        }
        Some(Kind::Table(value)) => Ok(DescriptorKind::Table { shard: shard(*value, "DescriptorKind.table")? }),
        Some(Kind::PacketStream(value)) => {
            Ok(DescriptorKind::PacketStream { shard: shard(*value, "DescriptorKind.packet_stream")? })
        }
        None => Ok(DescriptorKind::Unknown),
    }
}

fn write_descriptor_kind(kind: DescriptorKind) -> wire::DescriptorKind {
    use wire::descriptor_kind::Kind;
    let kind = match kind {
        DescriptorKind::MediaSocket { shard, family } => {
            let family = match family {
                AddressFamily::Ipv4 => wire::AddressFamily::Ipv4,
                AddressFamily::Ipv6 => wire::AddressFamily::Ipv6,
            };
            Kind::MediaSocket(wire::MediaSocket { shard: shard.into(), family: family.into() })
        }
        DescriptorKind::Table { shard } => Kind::Table(shard.into()),
        DescriptorKind::PacketStream { shard } => Kind::PacketStream(shard.into()),
        DescriptorKind::Unknown => return wire::DescriptorKind { kind: None },
    };
    wire::DescriptorKind { kind: Some(kind) }
}

fn change(wire: &wire::Command) -> Result<Change, FieldError> {
    use wire::command::Change as Wire;
    match &wire.change {
        Some(Wire::Put(wire)) => {
            object(wire)?.map(|object| Change::Put(Box::new(object))).ok_or_else(|| unknown("Command.put"))
        }
        Some(Wire::Remove(wire)) => key(wire).map(Change::Remove).ok_or_else(|| unknown("Command.remove")),
        None => Err(missing("Command.change")),
    }
}

fn write_command(command: &Command) -> wire::Command {
    use wire::command::Change as Wire;
    let change = match &command.change {
        Change::Put(object) => Wire::Put(write_object(object)),
        Change::Remove(key) => Wire::Remove(write_key(key)),
    };
    wire::Command { sequence: command.sequence, change: Some(change), resume: command.resume }
}

fn ack(wire: &wire::Ack) -> Result<Ack, FieldError> {
    bounded(&wire.refusals, COMMANDS_IN_FLIGHT_MAX, "Ack.refusals")?;
    let refusals = wire.refusals.iter().map(|refused| Ok((refused.sequence, refusal(refused.refusal)?)));
    Ok(Ack { up_to: wire.up_to, refusals: refusals.collect::<Result<_, FieldError>>()? })
}
