//! The few things that WHIP needs to know about session descriptions: trickle fragments, RFC 8840.

/// Credentials, media section and candidates of a whole description, as `application/trickle-ice-sdpfrag`.
pub(crate) fn fragment_of(description: &str) -> String {
    let wanted = |line: &&str| {
        ["a=ice-ufrag:", "a=ice-pwd:", "a=ice-options:", "a=group:BUNDLE", "a=candidate:", "a=end-of-candidates"]
            .iter()
            .any(|prefix| line.starts_with(prefix))
    };
    let mut session = Vec::new();
    let mut media = Vec::new();
    let mut sections = 0;
    for line in description.lines().map(str::trim_end) {
        sections += usize::from(line.starts_with("m="));
        match sections {
            0 if wanted(&line) => session.push(line),
            // All media are bundled: the first section speaks for the transport.
            1 if line.starts_with("m=") || line.starts_with("a=mid:") || wanted(&line) => media.push(line),
            _ => {}
        }
    }
    // Credentials stand at session level in a fragment, RFC 8840 section 4.4.
    let (credentials, media): (Vec<_>, Vec<_>) = media.into_iter().partition(|line| line.starts_with("a=ice-"));
    if !session.iter().any(|line| line.starts_with("a=ice-ufrag:")) {
        session.extend(credentials);
    }
    lines(session.into_iter().chain(media))
}

/// A fragment of one candidate list under the credentials and first section of `offer`.
pub(crate) fn fragment_with_candidates(offer: &str, candidates: &[String]) -> String {
    let base = fragment_of(offer);
    let kept = base.lines().filter(|line| !line.starts_with("a=candidate:") && *line != "a=end-of-candidates");
    let attributes: Vec<String> = candidates.iter().map(|candidate| format!("a={candidate}")).collect();
    lines(kept.chain(attributes.iter().map(String::as_str)).chain(["a=end-of-candidates"]))
}

/// The answer that a fragment makes of an earlier one: new credentials everywhere, and its candidates if it has any.
pub(crate) fn apply_fragment(answer: &str, fragment: &str) -> String {
    let find = |prefix: &str| fragment.lines().map(str::trim_end).find(|line| line.starts_with(prefix));
    let candidates: Vec<&str> =
        fragment.lines().map(str::trim_end).filter(|line| line.starts_with("a=candidate:")).collect();
    let mut result = Vec::new();
    for line in answer.lines().map(str::trim_end) {
        if line.starts_with("a=candidate:") && !candidates.is_empty() {
            continue;
        }
        let replaced =
            ["a=ice-ufrag:", "a=ice-pwd:"].into_iter().find(|prefix| line.starts_with(prefix)).and_then(find);
        result.push(replaced.unwrap_or(line));
        if line.starts_with("a=ice-pwd:") {
            result.extend(&candidates);
        }
    }
    lines(result.into_iter())
}

fn lines(lines: impl Iterator<Item = impl AsRef<str>>) -> String {
    lines.fold(String::new(), |text, line| text + line.as_ref() + "\r\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFFER: &str = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=group:BUNDLE a b\r\n\
        m=audio 9 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 0.0.0.0\r\na=ice-ufrag:uu\r\na=ice-pwd:pp\r\na=mid:a\r\n\
        a=candidate:1 1 udp 1 127.0.0.1 5 typ host\r\na=rtpmap:111 opus/48000/2\r\n\
        m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=ice-ufrag:uu\r\na=ice-pwd:pp\r\na=mid:b\r\n";

    #[test]
    fn a_fragment_has_credentials_the_first_section_and_its_candidates() {
        assert_eq!(
            fragment_of(OFFER),
            "a=group:BUNDLE a b\r\na=ice-ufrag:uu\r\na=ice-pwd:pp\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:a\r\n\
             a=candidate:1 1 udp 1 127.0.0.1 5 typ host\r\n"
        );
    }

    #[test]
    fn a_trickled_fragment_has_the_given_candidates_and_an_end() {
        let fragment = fragment_with_candidates(OFFER, &["candidate:9".to_owned()]);
        assert!(fragment.ends_with("a=mid:a\r\na=candidate:9\r\na=end-of-candidates\r\n"), "{fragment}");
    }

    #[test]
    fn a_restart_answer_takes_credentials_and_candidates_from_the_fragment() {
        let fragment = "a=ice-ufrag:vv\r\na=ice-pwd:qq\r\nm=audio 9 RTP 0\r\na=candidate:2 new\r\n";
        let answer = apply_fragment(OFFER, fragment);
        assert_eq!(answer.matches("a=ice-ufrag:vv").count(), 2);
        assert_eq!(answer.matches("a=ice-pwd:qq").count(), 2);
        assert_eq!(answer.matches("a=candidate:2 new").count(), 2);
        assert!(!answer.contains("a=candidate:1") && !answer.contains(":uu"));
        let without = apply_fragment(OFFER, "a=ice-ufrag:vv\r\na=ice-pwd:qq\r\n");
        assert!(without.contains("a=candidate:1 1 udp"));
    }
}
