//! What a participant reads in the descriptions that the server offers.

/// An m-line of an offer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct OfferedLine {
    /// Its name.
    pub(crate) mid: String,
    /// Whether the server sends there.
    pub(crate) sends: bool,
    /// The track, by its `a=msid` (RFC 8830).
    pub(crate) track: Option<String>,
    /// The SSRC of the media and, if any, of its repairs.
    pub(crate) ssrcs: Vec<u32>,
}

/// Reads the m-lines of an offer.
pub(crate) fn lines_of(offer: &str) -> Vec<OfferedLine> {
    let mut lines: Vec<OfferedLine> = Vec::new();
    for text in offer.lines().map(str::trim_end) {
        if text.starts_with("m=") {
            lines.push(OfferedLine::default());
        }
        let Some(line) = lines.last_mut() else { continue };
        if let Some(mid) = text.strip_prefix("a=mid:") {
            mid.clone_into(&mut line.mid);
        } else if matches!(text, "a=sendonly" | "a=sendrecv") {
            line.sends = true;
        } else if let Some(msid) = text.strip_prefix("a=msid:") {
            line.track = msid.split_whitespace().nth(1).map(str::to_owned);
        } else if let Some(rest) = text.strip_prefix("a=ssrc:") {
            let ssrc = rest.split_whitespace().next().and_then(|ssrc| ssrc.parse().ok());
            line.ssrcs.extend(ssrc.filter(|ssrc| !line.ssrcs.contains(ssrc)));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_their_names_tracks_and_sources() {
        let offer = "v=0\r\na=group:BUNDLE 0 1\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\na=sendonly\r\n\
            a=msid:PA_1 TR_1\r\na=ssrc:5 cname:x\r\na=ssrc:5 msid:y\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:1\r\n\
            a=inactive\r\na=ssrc-group:FID 6 7\r\na=ssrc:6 cname:x\r\na=ssrc:7 cname:x\r\n";
        let line = |mid: &str, sends, track: Option<&str>, ssrcs: &[u32]| OfferedLine {
            mid: mid.to_owned(),
            sends,
            track: track.map(str::to_owned),
            ssrcs: ssrcs.to_vec(),
        };
        assert_eq!(lines_of(offer), [line("0", true, Some("TR_1"), &[5]), line("1", false, None, &[6, 7])]);
        assert_eq!(lines_of("v=0\r\na=mid:9\r\n"), []);
    }
}
