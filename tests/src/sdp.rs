//! Descriptions of a peer that signals and sends nothing: offers as Chromium writes them, and answers to what a server offers.

/// Chromium's offer of a microphone and a camera.
const OFFER: &str = include_str!("../../controlplane/core/tests/vectors/sdp/chromium-a-vp8-opus.offer.sdp");

/// What an offer sends at one m-line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// Sound.
    Audio,
    /// A picture.
    Video,
    /// Sound no more: the m-line is inactive.
    NoAudio,
    /// A picture no more.
    NoVideo,
}

/// Writes an offer of these m-lines, whose mids count from 0. Offers of other numbers are of other peer connections, with SSRCs
/// of their own.
#[must_use]
pub fn offer(number: u32, sent: &[Sent]) -> String {
    let (head, video) = OFFER.split_once("m=video").unwrap_or((OFFER, ""));
    let (session, audio) = head.split_once("m=audio").unwrap_or((head, ""));
    let mids: Vec<String> = (0..sent.len()).map(|mid| mid.to_string()).collect();
    let mut text = String::new();
    for line in session.lines() {
        if line.starts_with("a=group:BUNDLE") {
            text += &format!("a=group:BUNDLE {}\r\n", mids.join(" "));
        } else {
            text += &format!("{line}\r\n");
        }
    }
    for (mid, sent) in mids.iter().zip(sent) {
        let section = match sent {
            Sent::Audio | Sent::NoAudio => format!("m=audio{audio}"),
            Sent::Video | Sent::NoVideo => format!("m=video{video}"),
        };
        text += &section_at(&section, number, mid, matches!(sent, Sent::Audio | Sent::Video));
    }
    text
}

/// Returns an m-line of the template as that of another mid and other SSRCs.
fn section_at(section: &str, number: u32, mid: &str, is_active: bool) -> String {
    let place: u32 = mid.parse().unwrap_or(0);
    let first = 1_000_000 * (number + 1) + 10 * place;
    // The first SSRC that is named is the media's, the other one the repairs'.
    let media = section.lines().find_map(|line| line.strip_prefix("a=ssrc:")?.split(' ').next()).unwrap_or("");
    let mut text = String::new();
    for line in section.lines() {
        let line = match line.split_once(':') {
            Some(("a=mid", _)) => format!("a=mid:{mid}"),
            Some(("a=ssrc" | "a=ssrc-group" | "a=msid", _)) if !is_active => continue,
            Some(("a=ssrc-group", _)) => format!("a=ssrc-group:FID {first} {}", first + 1),
            Some(("a=ssrc", rest)) => {
                let (ssrc, about) = rest.split_once(' ').unwrap_or((rest, ""));
                format!("a=ssrc:{} {about}", if ssrc == media { first } else { first + 1 })
            }
            Some(("a=ice-ufrag", _)) => format!("a=ice-ufrag:u{number:08}"),
            _ if line == "a=sendonly" && !is_active => "a=inactive".to_owned(),
            _ => line.to_owned(),
        };
        text += &format!("{line}\r\n");
    }
    text
}

/// Answers an offer as who receives everything: the same m-lines, codecs and extensions, a transport of its own that never
/// says anything.
#[must_use]
pub fn answer(offer: &str) -> String {
    let theirs = ["a=ssrc", "a=msid", "a=candidate", "a=end-of-candidates"];
    let mut text = String::new();
    for line in offer.lines().filter(|line| !theirs.iter().any(|name| line.starts_with(name))) {
        let line = match line.split_once(':') {
            Some(("a=setup", _)) => "a=setup:active".to_owned(),
            Some(("a=ice-ufrag", _)) => "a=ice-ufrag:viewer00".to_owned(),
            Some(("a=ice-pwd", _)) => "a=ice-pwd:abcdefghijklmnopqrstuvwx".to_owned(),
            Some(("a=fingerprint", _)) => format!("a=fingerprint:sha-256 {}", ["CD"; 32].join(":")),
            _ if line == "a=sendonly" => "a=recvonly".to_owned(),
            _ if line == "a=ice-lite" => continue,
            _ => line.to_owned(),
        };
        text += &format!("{line}\r\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offer_has_its_m_lines_with_ssrcs_of_their_own_and_its_answer_receives_them() {
        let text = offer(3, &[Sent::Audio, Sent::Video, Sent::NoVideo, Sent::Video]);
        assert!(text.contains("a=group:BUNDLE 0 1 2 3\r\n") && text.contains("a=mid:3\r\n"));
        assert_eq!(text.matches("m=video").count(), 3);
        assert_eq!((text.matches("a=sendonly").count(), text.matches("a=inactive").count()), (3, 1));
        for ssrc in ["a=ssrc:4000000 ", "a=ssrc-group:FID 4000010 4000011", "a=ssrc:4000031 "] {
            assert!(text.contains(ssrc), "{ssrc}");
        }
        assert!(!text.contains("4000020"), "what is inactive has none");
        let answer = answer(&text);
        assert_eq!((answer.matches("a=recvonly").count(), answer.matches("m=").count()), (3, 4));
        assert!(!answer.contains("a=ssrc") && answer.contains("a=setup:active"));
    }
}
