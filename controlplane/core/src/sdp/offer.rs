//! A client's offer as a model: what matters of the text, within limits, and nothing else.

use serde::{Deserialize, Serialize};
use sluice_protocol::media::{Label, MediaKind, Mid, PayloadType, Rid, Ssrc};

use super::codec::{Feedback, Format, parameter};
use super::error::OfferError;
use super::extension::Extension;
use crate::limits;

/// An offer within [`limits`]. Sections stand in the order of the text, each with a mid of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The sections (m-lines), at least one.
    pub sections: Vec<Section>,
    /// The mids of the first BUNDLE group, in its order.
    pub bundle: Vec<Mid>,
}

/// One m-line of an offer. What stands at session level is copied into every section that does not say otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is an attribute that is there or not")]
pub struct Section {
    /// The media type of the m-line.
    pub media: SectionMedia,
    /// The protocol of the m-line, which the answer repeats.
    pub protocol: String,
    /// Its first format, which the answer repeats when it rejects the section.
    pub first_format: String,
    /// Its name.
    pub mid: Mid,
    /// Whether its port is zero and it is not `bundle-only`: the client disabled it.
    pub is_disabled: bool,
    /// Which way media flows, as the client sees it.
    pub direction: Direction,
    /// `a=rtcp-mux`.
    pub rtcp_mux: bool,
    /// `a=rtcp-rsize` (RFC 5506).
    pub rtcp_rsize: bool,
    /// `a=extmap-allow-mixed`, here or at session level.
    pub extmap_allow_mixed: bool,
    /// The client's ICE credentials.
    pub ice: Option<IceCredentials>,
    /// The client's certificate fingerprints by SHA-256 or better.
    pub fingerprints: Vec<Fingerprint>,
    /// Who starts DTLS; `actpass` when absent, as RFC 8842 section 5.3 has it for offers.
    pub setup: Setup,
    /// The codecs that Sluice knows, in the client's order of preference.
    pub codecs: Vec<OfferedCodec>,
    /// The header extensions that Sluice knows.
    pub extensions: Vec<OfferedExtension>,
    /// SSRCs that the client announces to send, repairs inside.
    pub encodings: Vec<OfferedEncoding>,
    /// Names of encodings that the client offers to send (`a=simulcast:send`, RFC 8853), in its order, alternatives
    /// left out; empty without simulcast.
    pub simulcast: Vec<OfferedRid>,
}

/// The media type of a section.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SectionMedia {
    /// `m=audio`.
    Audio,
    /// `m=video`.
    Video,
    /// `m=application`.
    Application,
    /// `m=text`, `m=message`, `m=image`.
    Other,
}

impl SectionMedia {
    /// Returns the kind of media, where it is media.
    #[must_use]
    pub const fn kind(self) -> Option<MediaKind> {
        match self {
            Self::Audio => Some(MediaKind::Audio),
            Self::Video => Some(MediaKind::Video),
            Self::Application | Self::Other => None,
        }
    }
}

/// Which way media flows (RFC 3264 section 5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Direction {
    /// Both ways.
    SendRecv,
    /// From the speaker of the description.
    SendOnly,
    /// To the speaker of the description.
    RecvOnly,
    /// No way.
    Inactive,
}

impl Direction {
    /// Tells whether the speaker of the description sends.
    #[must_use]
    pub const fn sends(self) -> bool {
        matches!(self, Self::SendRecv | Self::SendOnly)
    }

    /// Tells whether the speaker of the description receives.
    #[must_use]
    pub const fn receives(self) -> bool {
        matches!(self, Self::SendRecv | Self::RecvOnly)
    }

    /// Returns the attribute's name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SendRecv => "sendrecv",
            Self::SendOnly => "sendonly",
            Self::RecvOnly => "recvonly",
            Self::Inactive => "inactive",
        }
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        [Self::SendRecv, Self::SendOnly, Self::RecvOnly, Self::Inactive]
            .into_iter()
            .find(|direction| direction.as_str() == text)
    }
}

/// A peer's ICE credentials (RFC 8839 section 5.4); never printed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IceCredentials {
    /// The user fragment.
    #[serde(rename = "u")]
    pub ufrag: String,
    /// The password.
    #[serde(rename = "p")]
    pub password: String,
}

impl IceCredentials {
    /// Takes credentials of the allowed lengths and characters.
    #[must_use]
    pub fn new(ufrag: &str, password: &str) -> Option<Self> {
        let is_ice = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/');
        // Some stacks use '-' and '_' against the grammar; browsers take them, so do we.
        let is_taken = |text: &str| is_ice(&text.replace(['-', '_'], "+"));
        let fits = (4..=limits::UFRAG_BYTES_MAX).contains(&ufrag.len())
            && (22..=limits::PASSWORD_BYTES_MAX).contains(&password.len());
        (fits && is_taken(ufrag) && is_taken(password))
            .then(|| Self { ufrag: ufrag.to_owned(), password: password.to_owned() })
    }
}

impl std::fmt::Debug for IceCredentials {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("IceCredentials(redacted)")
    }
}

/// A hash of a certificate (RFC 8122 section 5).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// The hash function.
    #[serde(rename = "h")]
    pub hash: FingerprintHash,
    /// The hash in upper-case hexadecimal digits, bytes parted by colons, as SDP writes it.
    #[serde(rename = "v")]
    pub value: String,
}

/// A hash function that certificates are checked with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FingerprintHash {
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

impl FingerprintHash {
    /// Returns the name that SDP uses.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sha256 => "sha-256",
            Self::Sha384 => "sha-384",
            Self::Sha512 => "sha-512",
        }
    }

    const fn size_bytes(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }
}

impl Fingerprint {
    /// Reads the value of `a=fingerprint`; `None` for other hash functions and malformed values.
    #[must_use]
    pub fn parse(value: &str) -> Option<Self> {
        let (name, digits) = value.trim().split_once(' ')?;
        let hash = [FingerprintHash::Sha256, FingerprintHash::Sha384, FingerprintHash::Sha512]
            .into_iter()
            .find(|hash| hash.as_str().eq_ignore_ascii_case(name))?;
        let value = digits.trim().to_ascii_uppercase();
        let is_byte = |pair: &str| pair.len() == 2 && pair.bytes().all(|byte| byte.is_ascii_hexdigit());
        (value.split(':').count() == hash.size_bytes() && value.split(':').all(is_byte)).then_some(Self { hash, value })
    }

    /// Writes the hash of a certificate.
    #[must_use]
    pub fn sha256(digest: &[u8; 32]) -> Self {
        let pairs: Vec<String> = digest.iter().map(|byte| format!("{byte:02X}")).collect();
        Self { hash: FingerprintHash::Sha256, value: pairs.join(":") }
    }
}

/// Who starts the DTLS handshake (RFC 8842 section 5.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setup {
    /// Either.
    ActPass,
    /// The offerer.
    Active,
    /// The answerer, or nobody yet: not served.
    Passive,
}

/// A codec of an offer that Sluice knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OfferedCodec {
    /// Its payload type.
    pub payload_type: PayloadType,
    /// The payload type of its repair stream (RFC 4588).
    pub rtx: Option<PayloadType>,
    /// The codec.
    pub format: Format,
    /// The feedback that the client offers for it.
    pub feedback: Feedback,
}

/// A header extension of an offer that Sluice knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OfferedExtension {
    /// Its id, 1 to 255.
    pub id: u8,
    /// What it is.
    pub extension: Extension,
    /// Which way the client offers it.
    pub direction: Direction,
}

/// An SSRC that a client announces to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OfferedEncoding {
    /// The media SSRC.
    pub ssrc: Ssrc,
    /// Its repair SSRC (`ssrc-group:FID`).
    pub rtx: Option<Ssrc>,
}

/// A named encoding of a simulcast offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OfferedRid {
    /// The name.
    pub rid: Rid,
    /// Whether it starts paused (RFC 8853 section 5.1).
    pub is_paused: bool,
    /// The greatest number of pixels that `a=rid` allows it, where it says so.
    pub pixels_max: Option<u64>,
}

impl Offer {
    /// Reads an offer.
    ///
    /// # Errors
    /// [`OfferError`], one name for each thing that can be wrong; the text is never partly taken.
    pub fn parse(text: &[u8]) -> Result<Self, OfferError> {
        check_size(text)?;
        let session = sdp_types::Session::parse(text).map_err(|error| OfferError::Syntax(error.to_string()))?;
        if session.medias.is_empty() {
            return Err(OfferError::NoSection);
        }
        let top = Attributes(&session.attributes);
        let bundle = top
            .values("group")
            .find_map(|value| value.strip_prefix("BUNDLE"))
            .map(|mids| mids.split_ascii_whitespace().filter_map(mid).collect::<Vec<_>>())
            .filter(|mids| !mids.is_empty())
            .ok_or(OfferError::NoBundle)?;
        let mut sections: Vec<Section> = Vec::with_capacity(session.medias.len());
        for (index, media) in session.medias.iter().enumerate() {
            let section = Section::parse(index, top, media)?;
            if sections.iter().any(|earlier| earlier.mid == section.mid) {
                return Err(OfferError::BadMid { section: index });
            }
            sections.push(section);
        }
        Ok(Self { sections, bundle })
    }
}

fn check_size(text: &[u8]) -> Result<(), OfferError> {
    if text.len() > limits::SDP_BYTES_MAX {
        return Err(OfferError::TooLarge { size_bytes: text.len() });
    }
    let lines = || text.split(|byte| *byte == b'\n');
    let count = lines().filter(|line| line.starts_with(b"m=")).count();
    if count > limits::SECTIONS_MAX {
        return Err(OfferError::TooManySections { count });
    }
    if lines().count() > limits::SDP_LINES_MAX || lines().any(|line| line.len() > limits::SDP_LINE_BYTES_MAX) {
        return Err(OfferError::TooManyLines);
    }
    Ok(())
}

/// The attributes of one level of a description.
#[derive(Clone, Copy)]
struct Attributes<'a>(&'a [sdp_types::Attribute]);

impl<'a> Attributes<'a> {
    fn has(self, name: &str) -> bool {
        self.0.iter().any(|attribute| attribute.attribute == name)
    }

    fn values(self, name: &'static str) -> impl Iterator<Item = &'a str> + use<'a> {
        self.0
            .iter()
            .filter(move |attribute| attribute.attribute == name)
            .filter_map(|attribute| attribute.value.as_deref())
    }

    fn value(self, name: &'static str) -> Option<&'a str> {
        self.values(name).next()
    }

    fn direction(self) -> Option<Direction> {
        self.0.iter().find_map(|attribute| Direction::parse(&attribute.attribute))
    }

    fn ice(self) -> Option<IceCredentials> {
        IceCredentials::new(self.value("ice-ufrag")?.trim(), self.value("ice-pwd")?.trim())
    }

    fn fingerprints(self) -> Vec<Fingerprint> {
        self.values("fingerprint").filter_map(Fingerprint::parse).take(limits::FINGERPRINTS_MAX).collect()
    }
}

impl Section {
    fn parse(index: usize, top: Attributes<'_>, media: &sdp_types::Media) -> Result<Self, OfferError> {
        let own = Attributes(&media.attributes);
        let kind = match media.media.as_str() {
            "audio" => SectionMedia::Audio,
            "video" => SectionMedia::Video,
            "application" => SectionMedia::Application,
            _ => SectionMedia::Other,
        };
        let fingerprints =
            Some(own.fingerprints()).filter(|list| !list.is_empty()).unwrap_or_else(|| top.fingerprints());
        let setup = match own.value("setup").or_else(|| top.value("setup")).map(str::trim) {
            None | Some("actpass") => Setup::ActPass,
            Some("active") => Setup::Active,
            Some(_) => Setup::Passive,
        };
        let codecs = match kind.kind() {
            Some(kind) => offered_codecs(index, kind, &media.fmt, own)?,
            None => Vec::new(),
        };
        Ok(Self {
            media: kind,
            protocol: media.proto.clone(),
            first_format: media.fmt.split_ascii_whitespace().next().unwrap_or("0").to_owned(),
            mid: own.value("mid").and_then(|value| mid(value.trim())).ok_or(OfferError::BadMid { section: index })?,
            is_disabled: media.port == 0 && !own.has("bundle-only"),
            direction: own.direction().or_else(|| top.direction()).unwrap_or(Direction::SendRecv),
            rtcp_mux: own.has("rtcp-mux"),
            rtcp_rsize: own.has("rtcp-rsize"),
            extmap_allow_mixed: own.has("extmap-allow-mixed") || top.has("extmap-allow-mixed"),
            ice: own.ice().or_else(|| top.ice()),
            fingerprints,
            setup,
            codecs,
            extensions: offered_extensions(index, top, own)?,
            encodings: offered_encodings(index, own)?,
            simulcast: offered_simulcast(index, own)?,
        })
    }
}

fn mid(text: &str) -> Option<Mid> {
    Label::new(text.as_bytes()).map(Mid)
}

fn offered_codecs(
    section: usize,
    kind: MediaKind,
    formats: &str,
    own: Attributes<'_>,
) -> Result<Vec<OfferedCodec>, OfferError> {
    if formats.split_ascii_whitespace().count() > limits::FORMATS_MAX {
        return Err(OfferError::TooMany { section, what: "formats" });
    }
    let number = |text: &str| text.parse::<u8>().ok().filter(|number| *number < 128).map(PayloadType);
    let by_payload_type = |name: &'static str| {
        own.values(name).filter_map(move |value| {
            let (left, right) = value.split_once(' ')?;
            Some((number(left.trim())?, right.trim()))
        })
    };
    let fmtp =
        |payload_type| by_payload_type("fmtp").find(|(own, _)| *own == payload_type).map_or("", |(_, value)| value);
    let mut codecs: Vec<OfferedCodec> = Vec::new();
    for payload_type in formats.split_ascii_whitespace().filter_map(number) {
        if codecs.iter().any(|codec| codec.payload_type == payload_type) {
            continue;
        }
        let format = match by_payload_type("rtpmap").find(|(own, _)| *own == payload_type) {
            Some((_, value)) => {
                let mut parts = value.split('/');
                let name = parts.next().unwrap_or("");
                let clock_rate = parts.next().and_then(|rate| rate.trim().parse().ok()).unwrap_or(0);
                Format::recognise(kind, name, clock_rate, fmtp(payload_type))
            }
            None => Format::of_static(kind, payload_type),
        };
        if let Some(format) = format {
            let feedback = feedback(payload_type, own);
            codecs.push(OfferedCodec { payload_type, rtx: None, format, feedback });
        }
    }
    for (payload_type, value) in by_payload_type("rtpmap") {
        let is_rtx = value.split('/').next().is_some_and(|name| name.eq_ignore_ascii_case("rtx"));
        let repaired = parameter(fmtp(payload_type), "apt").and_then(number);
        if let Some(codec) = codecs.iter_mut().find(|codec| is_rtx && Some(codec.payload_type) == repaired) {
            codec.rtx.get_or_insert(payload_type);
        }
    }
    Ok(codecs)
}

fn feedback(payload_type: PayloadType, own: Attributes<'_>) -> Feedback {
    own.values("rtcp-fb")
        .filter_map(|value| value.split_once(' '))
        .filter(|(subject, _)| *subject == "*" || subject.parse() == Ok(payload_type.0))
        .filter_map(|(_, name)| Feedback::NAMES.into_iter().find(|(_, known)| *known == name.trim()))
        .fold(Feedback::NONE, |feedback, (one, _)| feedback.with(one))
}

fn offered_extensions(
    section: usize,
    top: Attributes<'_>,
    own: Attributes<'_>,
) -> Result<Vec<OfferedExtension>, OfferError> {
    let mut extensions: Vec<OfferedExtension> = Vec::new();
    for (count, value) in own.values("extmap").chain(top.values("extmap")).enumerate() {
        if count >= limits::EXTENSIONS_MAX {
            return Err(OfferError::TooMany { section, what: "header extensions" });
        }
        let malformed = OfferError::Malformed { section, what: "extmap" };
        let (number, uri) = value.trim().split_once(' ').ok_or_else(|| malformed.clone())?;
        let (id, direction) = number.split_once('/').unwrap_or((number, "sendrecv"));
        let direction = Direction::parse(direction).ok_or_else(|| malformed.clone())?;
        let Ok(id) = id.parse::<u16>() else { return Err(malformed) };
        let known = uri.split_ascii_whitespace().next().and_then(Extension::of_uri);
        // Ids over 255 are for offers that leave the choice to the answerer (RFC 8285 section 7); nobody sends them.
        // 15 ends a one-byte header, so it is left out too.
        if let (Some(extension), Ok(id @ (1..=14 | 16..=255))) = (known, u8::try_from(id))
            && !extensions.iter().any(|earlier| earlier.extension == extension || earlier.id == id)
        {
            extensions.push(OfferedExtension { id, extension, direction });
        }
    }
    Ok(extensions)
}

fn offered_encodings(section: usize, own: Attributes<'_>) -> Result<Vec<OfferedEncoding>, OfferError> {
    let too_many = OfferError::TooMany { section, what: "SSRCs" };
    let mut pairs: Vec<(Ssrc, Ssrc)> = Vec::new();
    for value in own.values("ssrc-group") {
        let mut words = value.split_ascii_whitespace();
        if words.next() != Some("FID") {
            continue;
        }
        let mut number = || words.next().and_then(|word| word.parse().ok()).map(Ssrc);
        let (Some(media), Some(repair)) = (number(), number()) else {
            return Err(OfferError::Malformed { section, what: "ssrc-group" });
        };
        if pairs.len() >= limits::SSRCS_MAX {
            return Err(too_many);
        }
        pairs.push((media, repair));
    }
    let mut encodings: Vec<OfferedEncoding> = Vec::new();
    for value in own.values("ssrc") {
        let word = value.split_ascii_whitespace().next().unwrap_or("");
        let Ok(ssrc) = word.parse().map(Ssrc) else {
            return Err(OfferError::Malformed { section, what: "ssrc" });
        };
        let is_repair = pairs.iter().any(|(_, repair)| *repair == ssrc);
        if is_repair || encodings.iter().any(|encoding| encoding.ssrc == ssrc) {
            continue;
        }
        if encodings.len() >= limits::SSRCS_MAX {
            return Err(too_many);
        }
        let rtx = pairs.iter().find(|(media, _)| *media == ssrc).map(|(_, repair)| *repair);
        encodings.push(OfferedEncoding { ssrc, rtx });
    }
    Ok(encodings)
}

fn offered_simulcast(section: usize, own: Attributes<'_>) -> Result<Vec<OfferedRid>, OfferError> {
    let Some(value) = own.value("simulcast") else { return Ok(Vec::new()) };
    let mut words = value.split_ascii_whitespace();
    let streams = loop {
        match (words.next(), words.next()) {
            (Some("send"), Some(streams)) => break streams,
            (Some(_), Some(_)) => {}
            _ => return Ok(Vec::new()),
        }
    };
    let mut rids = Vec::new();
    for stream in streams.split(';') {
        let first = stream.split(',').next().unwrap_or("");
        let name = first.strip_prefix('~').unwrap_or(first);
        let malformed = OfferError::Malformed { section, what: "simulcast" };
        let rid = Label::new(name.as_bytes()).map(Rid).ok_or(malformed)?;
        if rids.len() >= limits::RIDS_MAX {
            return Err(OfferError::TooMany { section, what: "encodings" });
        }
        rids.push(OfferedRid { rid, is_paused: first.starts_with('~'), pixels_max: pixels_max(name, own) });
    }
    Ok(rids)
}

/// Reads the restrictions of `a=rid` (RFC 8851 section 5).
fn pixels_max(name: &str, own: Attributes<'_>) -> Option<u64> {
    let line = own.values("rid").find(|value| value.split_ascii_whitespace().next() == Some(name))?;
    let restrictions = line.splitn(3, ' ').nth(2)?;
    let number = |key| parameter(restrictions, key).and_then(|value| value.parse::<u32>().ok()).map(u64::from);
    Some(number("max-width")? * number("max-height")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\n";

    fn parse(rest: &str) -> Result<Offer, OfferError> {
        Offer::parse(format!("{HEAD}{rest}").as_bytes())
    }

    #[test]
    fn hostile_sizes_have_names_of_their_own() {
        let megabyte = vec![b'a'; 1 << 20];
        assert_eq!(Offer::parse(&megabyte), Err(OfferError::TooLarge { size_bytes: 1 << 20 }));
        let sections = "m=audio 9 X 0\n".repeat(4000);
        assert!(matches!(parse(&sections), Err(OfferError::TooManySections { count: 4000 })));
        assert_eq!(parse(&"a=x\n".repeat(10_000)), Err(OfferError::TooManyLines));
        assert_eq!(parse(&format!("a=x:{}\n", "y".repeat(5000))), Err(OfferError::TooManyLines));
        let formats = (0..200).map(|number| number.to_string()).collect::<Vec<_>>().join(" ");
        let section = format!("m=audio 9 UDP/TLS/RTP/SAVPF {formats}\r\na=mid:0\r\n");
        assert_eq!(parse(&section), Err(OfferError::TooMany { section: 0, what: "formats" }));
        let ssrcs: String = (0..100).map(|number| format!("a=ssrc:{number} cname:x\r\n")).collect();
        let section = format!("m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:0\r\n{ssrcs}");
        assert_eq!(parse(&section), Err(OfferError::TooMany { section: 0, what: "SSRCs" }));
    }

    #[test]
    fn what_is_not_a_description_is_a_syntax_error() {
        for text in ["", "hello", "{\"sdp\":1}", "v=1\r\n", "m=audio"] {
            assert!(matches!(Offer::parse(text.as_bytes()), Err(OfferError::Syntax(_))), "{text:?}");
        }
        assert_eq!(parse(""), Err(OfferError::NoSection));
        let section = "m=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\n";
        assert_eq!(Offer::parse(format!("v=0\r\n{section}").as_bytes()), Err(OfferError::NoBundle));
        assert_eq!(parse(&section.repeat(2)), Err(OfferError::BadMid { section: 1 }));
        assert_eq!(parse("m=audio 9 UDP/TLS/RTP/SAVPF 0\r\n"), Err(OfferError::BadMid { section: 0 }));
        assert_eq!(
            parse(&format!("{section}a=extmap:x y\r\n")),
            Err(OfferError::Malformed { section: 0, what: "extmap" })
        );
    }

    #[test]
    fn simulcast_names_the_encodings_with_pause_and_restrictions() {
        let offer = parse(concat!(
            "m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:0\r\n",
            "a=rid:a send max-width=1280;max-height=720\r\na=rid:b send\r\n",
            "a=simulcast:recv x send a,c;~b\r\n"
        ));
        let rids = offer.unwrap().sections[0].simulcast.clone();
        assert_eq!(rids.len(), 2);
        assert_eq!((rids[0].rid.0.as_str(), rids[0].pixels_max, rids[0].is_paused), ("a", Some(1280 * 720), false));
        assert_eq!((rids[1].rid.0.as_str(), rids[1].pixels_max, rids[1].is_paused), ("b", None, true));
    }

    #[test]
    fn repairs_belong_to_what_they_repair() {
        let offer = parse(concat!(
            "m=video 9 UDP/TLS/RTP/SAVPF 97 96\r\na=mid:0\r\na=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\n",
            "a=rtpmap:96 VP8/90000\r\na=rtcp-fb:* nack\r\na=rtcp-fb:96 nack pli\r\n",
            "a=ssrc-group:FID 1 2\r\na=ssrc:1 cname:x\r\na=ssrc:2 cname:x\r\n"
        ));
        let section = &offer.unwrap().sections[0];
        assert_eq!(section.codecs.len(), 1);
        assert_eq!(section.codecs[0].rtx, Some(PayloadType(97)));
        assert_eq!(section.codecs[0].feedback, Feedback::NACK.with(Feedback::PLI));
        assert_eq!(section.encodings, [OfferedEncoding { ssrc: Ssrc(1), rtx: Some(Ssrc(2)) }]);
    }

    #[test]
    fn only_strong_fingerprints_of_the_right_length_are_taken() {
        let good = Fingerprint::sha256(&[0xab; 32]);
        assert_eq!(Fingerprint::parse(&format!("SHA-256 {}", good.value.to_lowercase())), Some(good.clone()));
        for bad in ["sha-1 AA:BB", "sha-256 AA:BB", "sha-256", &format!("sha-512 {}", good.value)] {
            assert_eq!(Fingerprint::parse(bad), None, "{bad}");
        }
    }
}
