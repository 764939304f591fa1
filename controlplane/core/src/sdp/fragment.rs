//! Trickle fragments and ICE restarts by HTTP PATCH (`application/trickle-ice-sdpfrag`, RFC 8840, RFC 9725 section 4.3).

use super::answer::{Lines, LocalTransport, write_candidates};
use super::negotiate::Negotiated;
use super::transport::IceCredentials;
use crate::limits;

/// What a fragment says that matters to a lite agent. Candidates are checked for their form and otherwise not needed: the
/// peer's address is learnt from its connectivity checks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fragment {
    /// The credentials that the fragment is for; others than the session's ask for an ICE restart.
    pub ice: Option<IceCredentials>,
    /// How many candidates it names.
    pub candidates: usize,
    /// Whether no candidate will follow.
    pub end_of_candidates: bool,
}

/// Why a fragment is refused. Lines are counted from one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FragmentError {
    /// More bytes than [`limits::SDP_BYTES_MAX`].
    #[error("the fragment is larger than {max} bytes", max = limits::SDP_BYTES_MAX)]
    TooLarge,
    /// More lines than [`limits::SDP_LINES_MAX`], or more candidates than [`limits::CANDIDATES_MAX`].
    #[error("the fragment has more lines or candidates than are read")]
    TooMany,
    /// Not of the form `type=value`.
    #[error("line {line} is not a line of a session description")]
    Syntax {
        /// The line.
        line: usize,
    },
    /// A candidate against RFC 8839 section 5.1.
    #[error("line {line} is not a candidate")]
    Candidate {
        /// The line.
        line: usize,
    },
    /// Half of the credentials, or ones against RFC 8839 section 5.4.
    #[error("the fragment's ICE credentials are incomplete or malformed")]
    Credentials,
}

impl FragmentError {
    /// Returns a stable name in `snake_case`.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::TooLarge => "sdpfrag_too_large",
            Self::TooMany => "sdpfrag_too_many_lines",
            Self::Syntax { .. } => "sdpfrag_syntax",
            Self::Candidate { .. } => "sdpfrag_bad_candidate",
            Self::Credentials => "sdpfrag_bad_credentials",
        }
    }
}

impl Fragment {
    /// Reads a fragment.
    ///
    /// # Errors
    /// [`FragmentError`]; the text is never partly taken.
    pub fn parse(text: &[u8]) -> Result<Self, FragmentError> {
        if text.len() > limits::SDP_BYTES_MAX {
            return Err(FragmentError::TooLarge);
        }
        let mut fragment = Self::default();
        let (mut ufrag, mut password) = (None, None);
        for (index, line) in text.split(|byte| *byte == b'\n').enumerate() {
            let line_number = index + 1;
            let syntax = FragmentError::Syntax { line: line_number };
            let line = std::str::from_utf8(line).map_err(|_| syntax)?.trim_end_matches('\r');
            if index >= limits::SDP_LINES_MAX {
                return Err(FragmentError::TooMany);
            }
            if line.is_empty() {
                continue;
            }
            let (kind, value) = line.split_once('=').filter(|(kind, _)| kind.len() == 1).ok_or(syntax)?;
            if kind != "a" {
                continue;
            }
            match value.split_once(':') {
                Some(("ice-ufrag", value)) => ufrag = ufrag.or_else(|| Some(value.trim())),
                Some(("ice-pwd", value)) => password = password.or_else(|| Some(value.trim())),
                Some(("candidate", value)) => {
                    check_candidate(value).ok_or(FragmentError::Candidate { line: line_number })?;
                    fragment.candidates += 1;
                }
                Some(_) => {}
                None => fragment.end_of_candidates |= value == "end-of-candidates",
            }
            if fragment.candidates > limits::CANDIDATES_MAX {
                return Err(FragmentError::TooMany);
            }
        }
        fragment.ice = match (ufrag, password) {
            (None, None) => None,
            (Some(ufrag), Some(password)) => {
                Some(IceCredentials::new(ufrag, password).ok_or(FragmentError::Credentials)?)
            }
            (_, _) => return Err(FragmentError::Credentials),
        };
        Ok(fragment)
    }
}

/// Checks foundation, component, transport, priority, address, port and type of a candidate; names may stand for
/// addresses, as browsers hide theirs behind `.local`.
fn check_candidate(value: &str) -> Option<()> {
    let mut words = value.split_ascii_whitespace();
    let foundation = words.next().filter(|foundation| foundation.len() <= 32)?;
    words.next()?.parse::<u16>().ok().filter(|component| (1..=256).contains(component))?;
    words.next().filter(|transport| ["udp", "tcp"].iter().any(|known| known.eq_ignore_ascii_case(transport)))?;
    words.next()?.parse::<u32>().ok()?;
    words.next().filter(|address| address.len() <= 255)?;
    words.next()?.parse::<u16>().ok()?;
    let is_type = words.next()? == "typ" && words.next().is_some();
    (is_type && foundation.bytes().all(|byte| byte.is_ascii_graphic())).then_some(())
}

/// Writes the answer to an ICE restart: our new credentials and all candidates, for the first section of the bundle.
#[must_use]
pub fn write_fragment(negotiated: &Negotiated, local: &LocalTransport<'_>) -> String {
    let mut lines = Lines(String::with_capacity(512));
    lines.push(format_args!("a=ice-lite"));
    lines.push(format_args!("a=ice-options:trickle"));
    let mids: Vec<_> = negotiated.bundle().collect();
    let names: Vec<&str> = mids.iter().map(|mid| mid.0.as_str()).collect();
    if negotiated.has_bundle {
        lines.push(format_args!("a=group:BUNDLE {}", names.join(" ")));
    }
    let tagged = negotiated.sections.iter().find(|section| section.is_bundled());
    if let Some(section) = tagged {
        let media = if section.media == super::SectionMedia::Video { "video" } else { "audio" };
        lines.push(format_args!("m={media} 9 {} 0", section.protocol));
        lines.push(format_args!("a=mid:{}", section.mid.0.as_str()));
    }
    lines.push(format_args!("a=ice-ufrag:{}", local.ufrag));
    lines.push(format_args!("a=ice-pwd:{}", local.password));
    write_candidates(&mut lines, local.candidates);
    lines.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trickled_candidate_is_checked_and_counted() {
        let text = b"a=ice-ufrag:PwLo\r\na=ice-pwd:5l+He/EFAiLujBUmURn5+eE2\r\nm=audio 9 RTP/AVP 0\r\na=mid:0\r\n\
            a=candidate:1 1 UDP 2122317823 4c26cc15.local 51556 typ host generation 0\r\na=end-of-candidates\r\n";
        let fragment = Fragment::parse(text).unwrap();
        assert_eq!((fragment.candidates, fragment.end_of_candidates), (1, true));
        assert_eq!(fragment.ice.unwrap().ufrag, "PwLo");
        assert_eq!(Fragment::parse(b""), Ok(Fragment::default()));
    }

    #[test]
    fn malformed_fragments_have_names() {
        for (text, error) in [
            ("a=ice-ufrag:PwLo\r\n".to_owned(), FragmentError::Credentials),
            ("a=ice-ufrag:P\r\na=ice-pwd:x\r\n".to_owned(), FragmentError::Credentials),
            ("a=candidate:1 1 udp x 192.0.2.1 1 typ host\r\n".to_owned(), FragmentError::Candidate { line: 1 }),
            ("\r\na=candidate:\r\n".to_owned(), FragmentError::Candidate { line: 2 }),
            ("{}".to_owned(), FragmentError::Syntax { line: 1 }),
            ("a=x\n".repeat(5000), FragmentError::TooMany),
            ("a=candidate:1 1 udp 1 192.0.2.1 1 typ host\n".repeat(200), FragmentError::TooMany),
            ("a".repeat(70_000), FragmentError::TooLarge),
        ] {
            assert_eq!(Fragment::parse(text.as_bytes()), Err(error));
        }
    }
}
