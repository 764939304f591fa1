//! What an offer and Sluice have in common.

use serde::{Deserialize, Serialize};
use sluice_protocol::limits::{CODECS_MAX, ENCODINGS_MAX, STREAMS_PER_TRANSPORT_MAX};
use sluice_protocol::media::{ExtensionIds, MediaKind, Mid, Rid, Ssrc};

use super::codec::{Feedback, H264Profile, NegotiatedCodec};
use super::error::{OfferError, Rejection, Rejections};
use super::extension::Extension;
use super::offer::{Offer, Origin, Section, SectionMedia, Setup};
use super::offered::{Direction, OfferedCodec, OfferedRid};
use super::stored;
use super::transport::{Fingerprint, IceCredentials};

/// What the client of a peer connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    /// It sends media (WHIP).
    Publish,
    /// It receives media (WHEP).
    Play,
}

/// What was negotiated of a peer connection: the m-line table, from which the answer is written and which a restarted
/// control plane reads back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Negotiated {
    /// What the client is.
    pub role: Role,
    /// The number of our descriptions of this connection (`o=`, RFC 8866 section 5.2).
    pub session_id: u64,
    /// The version of our last description; grows by one with each.
    pub session_version: u64,
    /// The sections in the order of the offer; none is ever removed.
    pub sections: Vec<NegotiatedSection>,
    /// The client's ICE credentials; others in a fragment mean an ICE restart.
    pub remote_ice: IceCredentials,
    /// The client's certificate fingerprints, of which one must fit.
    pub remote_fingerprints: Vec<Fingerprint>,
    /// Whether one- and two-byte header extensions may be mixed (RFC 8285 section 4.1.2).
    pub extmap_allow_mixed: bool,
    /// Whether the offer had a BUNDLE group, which the answer then repeats; an offer of one section needs none.
    #[serde(default = "is_bundled_by_default")]
    pub has_bundle: bool,
    /// Whether the publisher has no transport-wide feedback and takes `goog-remb`, which then needs a fixed cap.
    pub wants_remb: bool,
    /// The canonical name of all that we send, and its media stream id where a stream has none of its own: what shares that
    /// is played in sync.
    pub cname: String,
    /// Which of its descriptions the client last sent (`o=`); absent in what earlier versions parked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote_origin: Option<Origin>,
}

/// One m-line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NegotiatedSection {
    /// The media type.
    pub media: SectionMedia,
    /// The m-line's protocol, as offered.
    pub protocol: String,
    /// The first format, which a rejected m-line repeats.
    pub first_format: String,
    /// The name.
    #[serde(with = "stored::mid")]
    pub mid: Mid,
    /// Which way media flows, as we see it.
    pub direction: Direction,
    /// Why it is not served; with [`Rejection::Direction`] it is inactive, else its port is zero and it has left BUNDLE.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejection: Option<Rejection>,
    /// The common codecs in the order of the answer.
    #[serde(default)]
    pub codecs: Vec<NegotiatedCodec>,
    /// The common header extensions.
    #[serde(with = "stored::extensions")]
    pub extensions: ExtensionIds,
    /// Ids of header extensions that were offered one way, which the answer must say too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub directed_extensions: Vec<u8>,
    /// Reduced-size RTCP (RFC 5506).
    pub rtcp_rsize: bool,
    /// What a publisher announced to send and we accepted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub encodings: Vec<ReceivedEncoding>,
    /// What we announced to send.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent: Option<SentStream>,
}

/// An encoding of a publisher.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceivedEncoding {
    /// Its name, where the answer accepts it by name.
    #[serde(rename = "i", with = "stored::rid_option", default)]
    pub rid: Option<Rid>,
    /// Its SSRC, where announced.
    #[serde(rename = "s", with = "stored::ssrc_option", default)]
    pub ssrc: Option<Ssrc>,
    /// Its repair SSRC, where announced.
    #[serde(rename = "r", with = "stored::ssrc_option", default)]
    pub rtx: Option<Ssrc>,
}

/// The one stream that an m-line of a viewer carries for its whole life, whoever feeds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SentStream {
    /// Its SSRC.
    #[serde(with = "stored::ssrc")]
    pub ssrc: Ssrc,
    /// The SSRC of its repair stream, where any codec has one.
    #[serde(with = "stored::ssrc_option", default)]
    pub rtx: Option<Ssrc>,
    /// The track's id in `a=msid`.
    pub track: String,
    /// The media stream's id in `a=msid`, where it is not the canonical name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<String>,
}

const fn is_bundled_by_default() -> bool {
    true
}

/// Which of the encodings that a publisher offers by name are accepted (RFC 8853).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Simulcast {
    /// The one with the best picture.
    #[default]
    Best,
    /// All of them, at most [`ENCODINGS_MAX`], from the lowest quality to the highest.
    All,
}

/// What [`negotiate`] needs besides the offer.
#[derive(Clone, Debug)]
pub struct Parameters<'a> {
    /// What the client is.
    pub role: Role,
    /// Which encodings of a publisher are accepted.
    pub simulcast: Simulcast,
    /// A random number, the id of our descriptions; its highest bit is not used (RFC 8866 section 5.2).
    pub session_id: u64,
    /// Canonical name and media stream id of what we send, at most 32 characters.
    pub cname: &'a str,
}

/// Negotiates an offer. `mint_ssrc` gives SSRCs that this transport never had; it is called again while it gives one that
/// the client announced.
///
/// # Errors
/// [`OfferError`] when a section that would be served cannot share one transport, or when nothing is left to serve.
pub fn negotiate(
    offer: &Offer,
    parameters: &Parameters<'_>,
    mint_ssrc: &mut impl FnMut() -> Ssrc,
) -> Result<Negotiated, OfferError> {
    let role = parameters.role;
    let mut sections = negotiate_sections(offer, role, parameters.simulcast)?;
    if !sections.iter().any(NegotiatedSection::is_served) {
        let reasons =
            sections.iter().filter_map(|section| Some((section.mid.0.as_str().to_owned(), section.rejection?)));
        let reasons = Rejections(reasons.collect());
        return Err(match role {
            Role::Publish => OfferError::NothingToPublish(reasons),
            Role::Play => OfferError::NothingToPlay(reasons),
        });
    }
    let wants_remb = role == Role::Publish && settle_congestion_feedback(&mut sections);
    if role == Role::Play {
        announce_streams(&mut sections, offer, mint_ssrc);
    }
    let (remote_ice, remote_fingerprints) = transport_of(offer, &sections)?;
    let mixed = |mid| offer.sections.iter().any(|section| section.mid == mid && section.extmap_allow_mixed);
    Ok(Negotiated {
        role,
        session_id: parameters.session_id & (u64::MAX >> 1),
        session_version: 1,
        extmap_allow_mixed: sections.iter().filter(|section| section.is_bundled()).all(|section| mixed(section.mid)),
        sections,
        remote_ice,
        remote_fingerprints,
        has_bundle: offer.has_bundle,
        wants_remb,
        cname: parameters.cname.to_owned(),
        remote_origin: Some(offer.origin.clone()),
    })
}

/// Negotiates each section, and refuses what cannot share one transport.
pub(super) fn negotiate_sections(
    offer: &Offer,
    role: Role,
    simulcast: Simulcast,
) -> Result<Vec<NegotiatedSection>, OfferError> {
    let mut sections = Vec::with_capacity(offer.sections.len());
    for (index, section) in offer.sections.iter().enumerate() {
        sections.push(negotiate_section(index, section, offer, role, simulcast)?);
    }
    check_extensions(&sections)?;
    check_ssrcs(&sections)?;
    Ok(sections)
}

impl Negotiated {
    /// Returns the mids that share the transport, in the order of the sections.
    pub fn bundle(&self) -> impl Iterator<Item = Mid> {
        self.sections.iter().filter(|section| section.is_bundled()).map(|section| section.mid)
    }

    /// Tells whether the client takes RTCP of reduced size (RFC 5506). Sections of one transport are to say the same of it
    /// (RFC 8859); where one does not take it, none is taken to.
    #[must_use]
    pub fn has_rtcp_rsize(&self) -> bool {
        self.sections.iter().filter(|section| section.is_bundled()).all(|section| section.rtcp_rsize)
    }
}

impl NegotiatedSection {
    /// Tells whether media flows.
    #[must_use]
    pub const fn is_served(&self) -> bool {
        self.rejection.is_none()
    }

    /// Tells whether the section shares the transport, served or inactive.
    #[must_use]
    pub const fn is_bundled(&self) -> bool {
        matches!(self.rejection, None | Some(Rejection::Direction))
    }

    /// Returns how many encodings there are to choose from, at least one.
    #[must_use]
    pub fn layers(&self) -> u8 {
        u8::try_from(self.encodings.len()).unwrap_or(u8::MAX).max(1)
    }

    /// Tells whether losses may be asked for.
    #[must_use]
    pub fn has_nack(&self) -> bool {
        self.codecs.iter().any(|codec| codec.feedback.contains(Feedback::NACK))
    }
}

fn negotiate_section(
    index: usize,
    section: &Section,
    offer: &Offer,
    role: Role,
    simulcast: Simulcast,
) -> Result<NegotiatedSection, OfferError> {
    let (kind, rejection) = match (section.media.kind(), rejection(section, offer, role)) {
        (Some(kind), None | Some(Rejection::Direction)) => (kind, rejection(section, offer, role)),
        (_, rejection) => return Ok(rejected(section, rejection.unwrap_or(Rejection::NotMedia))),
    };
    if !section.rtcp_mux {
        return Err(OfferError::NoRtcpMux { section: index });
    }
    let mut answered = rejected(section, Rejection::Direction);
    answered.rejection = rejection;
    answered.direction = match (rejection, role) {
        (Some(_), _) => Direction::Inactive,
        (None, Role::Publish) => Direction::RecvOnly,
        (None, Role::Play) => Direction::SendOnly,
    };
    answered.rtcp_rsize = section.rtcp_rsize;
    answered.codecs = section.codecs.iter().take(CODECS_MAX).map(|codec| negotiate_codec(codec, role)).collect();
    if role == Role::Publish {
        prefer_constrained_baseline(&mut answered.codecs);
    }
    for offered in &section.extensions {
        let is_usable = match role {
            Role::Publish => offered.direction.sends(),
            Role::Play => offered.direction.receives(),
        };
        if is_usable && offered.extension.is_answered(role, kind) {
            offered.extension.set_in(&mut answered.extensions, offered.id);
            if offered.direction != Direction::SendRecv {
                answered.directed_extensions.push(offered.id);
            }
        }
    }
    if role == Role::Publish && rejection.is_none() {
        answered.encodings = received_encodings(section, &answered.extensions, simulcast);
    }
    // What an inactive section leaves out, Chromium does not offer again when it sends there again.
    if rejection.is_none() && answered.encodings.iter().all(|encoding| encoding.rid.is_none()) {
        (answered.extensions.rid, answered.extensions.repaired_rid) = (0, 0);
    }
    Ok(answered)
}

/// Returns why a section is not served, if so.
fn rejection(section: &Section, offer: &Offer, role: Role) -> Option<Rejection> {
    let flows = match role {
        Role::Publish => section.direction.sends(),
        Role::Play => section.direction.receives(),
    };
    let reasons = [
        (section.is_disabled, Rejection::Disabled),
        (section.media.kind().is_none(), Rejection::NotMedia),
        (!offer.bundle.contains(&section.mid), Rejection::NotBundled),
        (
            !matches!(section.protocol.as_str(), "UDP/TLS/RTP/SAVPF" | "TCP/TLS/RTP/SAVPF" | "RTP/SAVPF"),
            Rejection::Protocol,
        ),
        (section.codecs.is_empty(), Rejection::NoCommonCodec),
        (!flows, Rejection::Direction),
    ];
    reasons.into_iter().find(|(applies, _)| *applies).map(|(_, reason)| reason)
}

fn rejected(section: &Section, rejection: Rejection) -> NegotiatedSection {
    NegotiatedSection {
        media: section.media,
        protocol: section.protocol.clone(),
        first_format: section.first_format.clone(),
        mid: section.mid,
        direction: Direction::Inactive,
        rejection: Some(rejection),
        codecs: Vec::new(),
        extensions: ExtensionIds::default(),
        directed_extensions: Vec::new(),
        rtcp_rsize: false,
        encodings: Vec::new(),
        sent: None,
    }
}

/// Losses are repaired by RTX alone towards viewers: a repeat under the old number would have to be byte-identical to the
/// sealed packet. A publisher without RTX may repeat as it likes, the receiver only sees a late packet.
fn negotiate_codec(offered: &OfferedCodec, role: Role) -> NegotiatedCodec {
    let rtx = offered.rtx.filter(|_| offered.feedback.contains(Feedback::NACK));
    let feedback = match role {
        Role::Publish => offered.feedback,
        Role::Play if rtx.is_some() => offered.feedback.and(Feedback::NACK.with(Feedback::PLI).with(Feedback::FIR)),
        Role::Play => offered.feedback.and(Feedback::PLI.with(Feedback::FIR)),
    };
    NegotiatedCodec { payload_type: offered.payload_type, rtx, format: offered.format, feedback }
}

/// Puts Constrained Baseline before Baseline of the same packetization mode: encoders make the same stream of both, and
/// more viewers take the former. All else keeps the order of the offer, whose first codec a publisher uses.
fn prefer_constrained_baseline(codecs: &mut [NegotiatedCodec]) {
    for mode in [0, 1] {
        let place = |codecs: &[NegotiatedCodec], wanted: H264Profile| {
            codecs.iter().position(|codec| codec.format.h264() == Some((mode, wanted)))
        };
        let places = (place(codecs, H264Profile::Baseline), place(codecs, H264Profile::ConstrainedBaseline));
        if let (Some(baseline), Some(constrained)) = places
            && baseline < constrained
            && let Some(span) = codecs.get_mut(baseline..=constrained)
        {
            span.rotate_right(1);
        }
    }
}

/// Returns the encodings that we accept: of named ones the best alone or all, of announced SSRCs all.
///
/// Browsers disable an encoding whose rid the answer leaves out (RFC 8853 section 5.3.2), so the uplink carries just those
/// that are forwarded. An encoding's SSRC is not tied to its rid by the description, so it is learnt from the wire.
fn received_encodings(section: &Section, extensions: &ExtensionIds, simulcast: Simulcast) -> Vec<ReceivedEncoding> {
    if section.simulcast.is_empty() {
        let of_ssrc = |encoding: &super::OfferedEncoding| ReceivedEncoding {
            rid: None,
            ssrc: Some(encoding.ssrc),
            rtx: encoding.rtx,
        };
        return section.encodings.iter().take(ENCODINGS_MAX).map(of_ssrc).collect();
    }
    if extensions.rid == 0 {
        return Vec::new();
    }
    let all: Vec<&OfferedRid> = section.simulcast.iter().collect();
    let accepted: Vec<Rid> = match simulcast {
        Simulcast::Best => best_rid(&all).into_iter().collect(),
        Simulcast::All => by_quality(&all).into_iter().take(ENCODINGS_MAX).collect(),
    };
    accepted.into_iter().map(|rid| ReceivedEncoding { rid: Some(rid), ssrc: None, rtx: None }).collect()
}

/// Chooses the encoding with the best picture of those that do not start paused; the last, where all do.
fn best_rid(simulcast: &[&OfferedRid]) -> Option<Rid> {
    let active: Vec<&OfferedRid> = simulcast.iter().copied().filter(|rid| !rid.is_paused).collect();
    by_quality(&active).last().copied().or_else(|| simulcast.last().map(|rid| rid.rid))
}

/// Orders encodings from the lowest quality to the highest: by the restrictions of `a=rid` where all have them, else by the
/// names that the field uses, else as they stand, as browsers scale the earlier ones down by default (WebRTC section 5.2).
fn by_quality(simulcast: &[&OfferedRid]) -> Vec<Rid> {
    const NAMES: [&[&str]; 3] = [&["q", "l", "lo", "low"], &["h", "m", "mid", "medium"], &["f", "hi", "high", "full"]];
    let rank = |rid: &OfferedRid| {
        let name = rid.rid.0.as_str();
        NAMES.iter().position(|names| names.iter().any(|known| known.eq_ignore_ascii_case(name)))
    };
    let mut ordered = simulcast.to_vec();
    if ordered.iter().all(|rid| rid.pixels_max.is_some()) {
        ordered.sort_by_key(|rid| rid.pixels_max);
    } else if ordered.iter().all(|rid| rank(rid).is_some()) {
        ordered.sort_by_key(|rid| rank(rid));
    }
    ordered.into_iter().map(|rid| rid.rid).collect()
}

/// Refuses a description in which one id means two extensions, or one extension has two ids, on the shared transport.
fn check_extensions(sections: &[NegotiatedSection]) -> Result<(), OfferError> {
    let mut seen: Vec<(Extension, u8)> = Vec::new();
    for (index, section) in sections.iter().enumerate() {
        for extension in Extension::ALL {
            let id = extension.id_in(&section.extensions);
            if id == 0 || seen.contains(&(extension, id)) {
                continue;
            }
            if seen.iter().any(|(other, used)| *other == extension || *used == id) {
                return Err(OfferError::ExtensionConflict { section: index });
            }
            seen.push((extension, id));
        }
    }
    Ok(())
}

/// Refuses a description that gives one SSRC two meanings on the shared transport, or names more than a transport takes.
fn check_ssrcs(sections: &[NegotiatedSection]) -> Result<(), OfferError> {
    let mut seen = std::collections::BTreeSet::new();
    for (index, section) in sections.iter().enumerate() {
        let mut ssrcs = section.encodings.iter().flat_map(|encoding| [encoding.ssrc, encoding.rtx]).flatten();
        if !ssrcs.all(|ssrc| seen.insert(ssrc)) {
            return Err(OfferError::SsrcConflict { section: index });
        }
        if seen.len() > STREAMS_PER_TRANSPORT_MAX {
            return Err(OfferError::TooMany { section: index, what: "SSRCs" });
        }
    }
    Ok(())
}

/// Leaves either transport-wide feedback or REMB in a publisher's sections, and tells whether it is REMB. Where nothing is
/// sent for now, that goes by what will be.
pub(super) fn settle_congestion_feedback(sections: &mut [NegotiatedSection]) -> bool {
    let is_transport_wide = |section: &NegotiatedSection| {
        section.extensions.transport_sequence != 0
            && section.codecs.iter().any(|codec| codec.feedback.contains(Feedback::TRANSPORT_CC))
    };
    let has_served = sections.iter().any(NegotiatedSection::is_served);
    let heeded = || sections.iter().filter(|section| section.is_served() || (!has_served && section.is_bundled()));
    let has_transport_wide = heeded().any(is_transport_wide);
    let has_remb = heeded().any(|section| section.codecs.iter().any(|codec| codec.feedback.contains(Feedback::REMB)));
    let dropped = if has_transport_wide { Feedback::REMB } else { Feedback::TRANSPORT_CC };
    for section in sections {
        if !has_transport_wide {
            section.extensions.transport_sequence = 0;
        }
        for codec in &mut section.codecs {
            codec.feedback = codec.feedback.without(dropped);
        }
    }
    has_remb && !has_transport_wide
}

/// Names the stream of each section that we send.
fn announce_streams(sections: &mut [NegotiatedSection], offer: &Offer, mint_ssrc: &mut impl FnMut() -> Ssrc) {
    let is_announced = |ssrc: Ssrc| {
        let theirs = |section: &Section| {
            section.encodings.iter().any(|encoding| encoding.ssrc == ssrc || encoding.rtx == Some(ssrc))
        };
        offer.sections.iter().any(theirs)
    };
    let mut mint = || loop {
        let ssrc = mint_ssrc();
        if !is_announced(ssrc) {
            return ssrc;
        }
    };
    let mut counts = [0_u32; 2];
    for section in sections.iter_mut().filter(|section| section.is_served()) {
        let [audio, video] = &mut counts;
        let (name, count) = match section.media.kind() {
            Some(MediaKind::Audio) => ("audio", audio),
            Some(MediaKind::Video) | None => ("video", video),
        };
        let ssrc = mint();
        let rtx = section.codecs.iter().any(|codec| codec.rtx.is_some()).then(&mut mint);
        section.sent = Some(SentStream { ssrc, rtx, track: format!("{name}-{count}"), stream: None });
        *count += 1;
    }
}

/// Returns the transport's credentials and fingerprints: those of the first section of the BUNDLE group that we accept
/// (RFC 9143 section 7.3.1).
pub(super) fn transport_of(
    offer: &Offer,
    sections: &[NegotiatedSection],
) -> Result<(IceCredentials, Vec<Fingerprint>), OfferError> {
    let is_accepted = |mid| sections.iter().any(|section| section.mid == mid && section.is_bundled());
    let tagged = offer.bundle.iter().filter(|mid| is_accepted(**mid));
    let tagged = tagged.filter_map(|mid| offer.sections.iter().find(|section| section.mid == *mid)).next();
    let section = tagged.ok_or(OfferError::NoBundle)?;
    if section.setup == Setup::Passive {
        return Err(OfferError::SetupPassive);
    }
    let ice = section.ice.clone().ok_or(OfferError::NoIceCredentials)?;
    if section.fingerprints.is_empty() {
        return Err(OfferError::NoFingerprint);
    }
    Ok((ice, section.fingerprints.clone()))
}
