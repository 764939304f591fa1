//! The text of a description of ours: of an answer, or of an offer.

use std::fmt::Write as _;
use std::net::SocketAddr;

use super::codec::{Feedback, NegotiatedCodec};
use super::extension::Extension;
use super::negotiate::{Negotiated, NegotiatedSection, Role};
use super::offer::{SectionMedia, Setup};
use super::offered::Direction;
use super::transport::Fingerprint;

/// Our end of the transport, which a description shows.
#[derive(Clone, Copy, Debug)]
pub struct LocalTransport<'a> {
    /// The user fragment ([`sluice_protocol::ice::UfragText`]).
    pub ufrag: &'a str,
    /// The password ([`sluice_protocol::ice::NodeSecret::password`]).
    pub password: &'a str,
    /// The fingerprint of the certificate that DTLS will show.
    pub fingerprint: &'a Fingerprint,
    /// The addresses that the data plane listens on for UDP, the preferred one first. All are named at once: a lite agent
    /// has nothing to gather.
    pub candidates: &'a [SocketAddr],
}

/// Writes the answer that describes `negotiated`. Every m-line of the offer is in it, in its order.
#[must_use]
pub fn write_answer(negotiated: &Negotiated, local: &LocalTransport<'_>) -> String {
    write(negotiated, local, Setup::Passive)
}

/// Writes the offer of `offered`: what we would send at each m-line. The client is to start DTLS, as it may.
#[must_use]
pub fn write_offer(offered: &Negotiated, local: &LocalTransport<'_>) -> String {
    write(offered, local, Setup::ActPass)
}

fn write(negotiated: &Negotiated, local: &LocalTransport<'_>, setup: Setup) -> String {
    let mut lines = Lines(String::with_capacity(4096));
    lines.push(format_args!("v=0"));
    lines.push(format_args!("o=- {} {} IN IP4 0.0.0.0", negotiated.session_id, negotiated.session_version));
    lines.push(format_args!("s=-"));
    lines.push(format_args!("t=0 0"));
    let bundle: Vec<_> = negotiated.bundle().collect();
    let mids: Vec<&str> = bundle.iter().map(|mid| mid.0.as_str()).collect();
    if negotiated.has_bundle {
        lines.push(format_args!("a=group:BUNDLE {}", mids.join(" ")));
    }
    lines.push(format_args!("a=ice-lite"));
    if negotiated.extmap_allow_mixed {
        lines.push(format_args!("a=extmap-allow-mixed"));
    }
    lines.push(format_args!("a=msid-semantic:WMS *"));
    for section in &negotiated.sections {
        if !section.is_bundled() {
            write_rejected(&mut lines, section);
            continue;
        }
        write_transport(&mut lines, section, local, setup);
        write_media(&mut lines, section);
        write_streams(&mut lines, section, negotiated);
        if bundle.first() == Some(&section.mid) {
            write_candidates(&mut lines, local.candidates);
        }
    }
    lines.0
}

/// Text that grows by lines.
pub(super) struct Lines(pub(super) String);

impl Lines {
    pub(super) fn push(&mut self, line: std::fmt::Arguments<'_>) {
        self.0.write_fmt(line).expect("a string takes everything");
        self.0.push_str("\r\n");
    }
}

const fn media_name(media: SectionMedia) -> &'static str {
    match media {
        SectionMedia::Audio => "audio",
        SectionMedia::Video => "video",
        SectionMedia::Application => "application",
        SectionMedia::Other => "text",
    }
}

fn write_rejected(lines: &mut Lines, section: &NegotiatedSection) {
    lines.push(format_args!("m={} 0 {} {}", media_name(section.media), section.protocol, section.first_format));
    lines.push(format_args!("c=IN IP4 0.0.0.0"));
    lines.push(format_args!("a=inactive"));
    lines.push(format_args!("a=mid:{}", section.mid.0.as_str()));
}

fn write_transport(lines: &mut Lines, section: &NegotiatedSection, local: &LocalTransport<'_>, setup: Setup) {
    let mut formats = String::new();
    for codec in &section.codecs {
        for payload_type in [Some(codec.payload_type), codec.rtx].into_iter().flatten() {
            write!(formats, " {}", payload_type.0).expect("a string takes everything");
        }
    }
    lines.push(format_args!("m={} 9 {}{formats}", media_name(section.media), section.protocol));
    lines.push(format_args!("c=IN IP4 0.0.0.0"));
    lines.push(format_args!("a=rtcp:9 IN IP4 0.0.0.0"));
    lines.push(format_args!("a=mid:{}", section.mid.0.as_str()));
    lines.push(format_args!("a=ice-ufrag:{}", local.ufrag));
    lines.push(format_args!("a=ice-pwd:{}", local.password));
    lines.push(format_args!("a=ice-options:trickle"));
    lines.push(format_args!("a=fingerprint:{} {}", local.fingerprint.hash.as_str(), local.fingerprint.value));
    lines.push(format_args!("a=setup:{}", setup.as_str()));
    lines.push(format_args!("a=rtcp-mux"));
    if section.rtcp_rsize {
        lines.push(format_args!("a=rtcp-rsize"));
    }
    lines.push(format_args!("a={}", section.direction.as_str()));
}

fn write_media(lines: &mut Lines, section: &NegotiatedSection) {
    for extension in Extension::ALL {
        let id = extension.id_in(&section.extensions);
        if id == 0 {
            continue;
        }
        let direction = match (section.directed_extensions.contains(&id), section.direction) {
            (true, Direction::SendOnly) => "/sendonly",
            (true, Direction::RecvOnly) => "/recvonly",
            (true, Direction::Inactive) => "/inactive",
            (_, _) => "",
        };
        lines.push(format_args!("a=extmap:{id}{direction} {}", extension.uri()));
    }
    for codec in &section.codecs {
        write_codec(lines, codec);
    }
}

fn write_codec(lines: &mut Lines, codec: &NegotiatedCodec) {
    let payload_type = codec.payload_type.0;
    lines.push(format_args!("a=rtpmap:{payload_type} {}", codec.format.rtpmap()));
    for (feedback, name) in Feedback::NAMES {
        if codec.feedback.contains(feedback) {
            lines.push(format_args!("a=rtcp-fb:{payload_type} {name}"));
        }
    }
    if let Some(fmtp) = codec.format.fmtp() {
        lines.push(format_args!("a=fmtp:{payload_type} {fmtp}"));
    }
    if let Some(rtx) = codec.rtx {
        lines.push(format_args!("a=rtpmap:{} rtx/{}", rtx.0, codec.format.clock_rate()));
        lines.push(format_args!("a=fmtp:{} apt={payload_type}", rtx.0));
    }
}

fn write_streams(lines: &mut Lines, section: &NegotiatedSection, negotiated: &Negotiated) {
    if negotiated.role == Role::Publish {
        let rids: Vec<&str> =
            section.encodings.iter().filter_map(|own| own.rid.as_ref()).map(|rid| rid.0.as_str()).collect();
        for rid in &rids {
            lines.push(format_args!("a=rid:{rid} recv"));
        }
        if !rids.is_empty() {
            lines.push(format_args!("a=simulcast:recv {}", rids.join(";")));
        }
    }
    let Some(sent) = &section.sent else { return };
    let cname = &negotiated.cname;
    lines.push(format_args!("a=msid:{} {}", sent.stream.as_ref().unwrap_or(cname), sent.track));
    if let Some(rtx) = sent.rtx {
        lines.push(format_args!("a=ssrc-group:FID {} {}", sent.ssrc.0, rtx.0));
    }
    for ssrc in [Some(sent.ssrc), sent.rtx].into_iter().flatten() {
        lines.push(format_args!("a=ssrc:{} cname:{cname}", ssrc.0));
    }
}

pub(super) fn write_candidates(lines: &mut Lines, candidates: &[SocketAddr]) {
    for (index, candidate) in candidates.iter().enumerate() {
        // RFC 8445 section 5.1.2.1 with the type preference of host candidates.
        let local_preference = u16::MAX.saturating_sub(u16::try_from(index).unwrap_or(u16::MAX));
        let priority = (126_u32 << 24) | (u32::from(local_preference) << 8) | 255;
        let (address, port, foundation) = (candidate.ip(), candidate.port(), index + 1);
        lines.push(format_args!("a=candidate:{foundation} 1 udp {priority} {address} {port} typ host"));
    }
    lines.push(format_args!("a=end-of-candidates"));
}
