//! A client's offer as a model: what matters of the text, within limits, and nothing else.

use serde::{Deserialize, Serialize};
use sluice_protocol::media::{Label, MediaKind, Mid};

use super::attributes::{Attributes, offered_codecs, offered_encodings, offered_extensions, offered_simulcast};
use super::error::OfferError;
use super::offered::{Direction, OfferedCodec, OfferedEncoding, OfferedExtension, OfferedRid};
use super::transport::{Fingerprint, IceCredentials};
use crate::limits;

/// An offer within [`limits`]. Sections stand in the order of the text, each with a mid of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The sections (m-lines), at least one.
    pub sections: Vec<Section>,
    /// The mids of the first BUNDLE group, in its order; without a group that of the only section.
    pub bundle: Vec<Mid>,
    /// Whether there is a BUNDLE group.
    pub has_bundle: bool,
    /// Which of the client's descriptions this is.
    pub origin: Origin,
}

/// Which description of which connection this is (`o=`, RFC 8866 section 5.2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The number of the connection's descriptions, as text; at most [`limits::ORIGIN_BYTES_MAX`] of it are kept. Some stacks
    /// take a new one for each description.
    #[serde(rename = "s")]
    pub session_id: String,
    /// The version, which grows with each description of the same number.
    #[serde(rename = "v")]
    pub version: u64,
}

impl Origin {
    /// Tells whether `later` may follow this description: it does not go back.
    #[must_use]
    pub fn may_be_followed_by(&self, later: &Self) -> bool {
        self.session_id != later.session_id || self.version <= later.version
    }
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
    /// `a=rtcp-mux` (RFC 5761) or `a=rtcp-mux-only` (RFC 8858).
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

impl Setup {
    /// Returns the value of `a=setup`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ActPass => "actpass",
            Self::Active => "active",
            Self::Passive => "passive",
        }
    }
}

impl Offer {
    /// Reads an offer.
    ///
    /// # Errors
    /// [`OfferError`], one name for each thing that can be wrong; the text is never partly taken.
    pub fn parse(text: &[u8]) -> Result<Self, OfferError> {
        let offer = Self::read(text, limits::SDP_BYTES_MAX, limits::SECTIONS_MAX)?;
        if offer.bundle.is_empty() {
            return Err(OfferError::NoBundle);
        }
        Ok(offer)
    }

    /// Reads a description of at most so many bytes and sections.
    pub(super) fn read(text: &[u8], bytes_max: usize, sections_max: usize) -> Result<Self, OfferError> {
        check_size(text, bytes_max, sections_max)?;
        let session = sdp_types::Session::parse(text).map_err(|error| OfferError::Syntax(error.to_string()))?;
        if session.medias.is_empty() {
            return Err(OfferError::NoSection);
        }
        let top = Attributes(&session.attributes);
        let mut sections: Vec<Section> = Vec::with_capacity(session.medias.len());
        for (index, media) in session.medias.iter().enumerate() {
            let section = Section::parse(index, top, media)?;
            if sections.iter().any(|earlier| earlier.mid == section.mid) {
                return Err(OfferError::BadMid { section: index });
            }
            sections.push(section);
        }
        let group = top.values("group").find_map(|value| value.strip_prefix("BUNDLE"));
        let mut bundle: Vec<Mid> = group.into_iter().flat_map(str::split_ascii_whitespace).filter_map(mid).collect();
        let has_bundle = !bundle.is_empty();
        if let ([only], false) = (sections.as_slice(), has_bundle) {
            bundle.push(only.mid);
        }
        let mut session_id = session.origin.sess_id;
        session_id.truncate(session_id.floor_char_boundary(limits::ORIGIN_BYTES_MAX));
        let origin = Origin { session_id, version: session.origin.sess_version };
        Ok(Self { sections, bundle, has_bundle, origin })
    }
}

fn check_size(text: &[u8], bytes_max: usize, sections_max: usize) -> Result<(), OfferError> {
    if text.len() > bytes_max {
        return Err(OfferError::TooLarge { size_bytes: text.len() });
    }
    let lines = || text.split(|byte| *byte == b'\n');
    let count = lines().filter(|line| line.starts_with(b"m=")).count();
    if count > sections_max {
        return Err(OfferError::TooManySections { count });
    }
    if lines().count() > limits::SDP_LINES_MAX || lines().any(|line| line.len() > limits::SDP_LINE_BYTES_MAX) {
        return Err(OfferError::TooManyLines);
    }
    Ok(())
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
            rtcp_mux: own.has("rtcp-mux") || own.has("rtcp-mux-only"),
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
        let two = format!("v=0\r\n{section}{}", section.replace("mid:0", "mid:1"));
        assert_eq!(Offer::parse(two.as_bytes()), Err(OfferError::NoBundle));
        assert_eq!(parse(&section.repeat(2)), Err(OfferError::BadMid { section: 1 }));
        assert_eq!(parse("m=audio 9 UDP/TLS/RTP/SAVPF 0\r\n"), Err(OfferError::BadMid { section: 0 }));
        assert_eq!(
            parse(&format!("{section}a=extmap:x y\r\n")),
            Err(OfferError::Malformed { section: 0, what: "extmap" })
        );
    }
}
