//! A client of a session with a signalling connection, as far as descriptions go: it knows nothing of ours but their text.

use std::collections::BTreeSet;

/// An m-line that the client offers.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) mid: String,
    pub(super) is_video: bool,
    /// Whether it sends, is inactive, or has been stopped.
    pub(super) state: LineState,
    ssrc: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LineState {
    Sends,
    Inactive,
    Stopped,
}

#[derive(Clone, Debug)]
pub(super) struct Client {
    number: u32,
    pub(super) lines: Vec<Line>,
    pub(super) offers: u64,
    version: u64,
    mids: u32,
    restarts: u32,
    /// How many it has made; each has a certificate of its own.
    connections: u32,
}

/// What the client does to one m-line of an offer of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reaction {
    TakesAll,
    LacksH264,
    /// Disables the m-line with this place, modulo their number.
    Disables(usize),
    /// Does not receive at the m-line with this place.
    Declines(usize),
}

const OFFER: &str = include_str!("../../../tests/vectors/sdp/chromium-a-vp8-opus.offer.sdp");

impl Client {
    pub(super) const fn new(number: u32) -> Self {
        Self { number, lines: Vec::new(), offers: 0, version: 1, mids: 0, restarts: 0, connections: 1 }
    }

    /// Starts anew, as after its connection failed.
    pub(super) fn forget_connection(&mut self) {
        self.lines.retain(|line| line.state == LineState::Sends);
        (self.mids, self.version) = (0, 1);
        for line in &mut self.lines {
            line.mid = self.mids.to_string();
            self.mids += 1;
        }
        self.restarts += 1;
        self.connections += 1;
    }

    /// Sends one more track: at a stopped m-line where there is one, else at a new one.
    pub(super) fn add(&mut self, is_video: bool) {
        let ssrc = 1_000_000 * (self.number + 1) + 10 * self.mids;
        let line = Line { mid: self.mids.to_string(), is_video, state: LineState::Sends, ssrc };
        self.mids += 1;
        match self.lines.iter_mut().find(|line| line.state == LineState::Stopped) {
            Some(stopped) => *stopped = line,
            None => self.lines.push(line),
        }
    }

    pub(super) fn restart_ice(&mut self) {
        self.restarts += 1;
    }

    pub(super) fn change_certificate(&mut self) {
        self.connections += 1;
    }

    /// Writes the next offer.
    pub(super) fn offer(&mut self) -> String {
        self.offers += 1;
        self.version += 1;
        self.text()
    }

    /// Writes the newest offer.
    pub(super) fn text(&self) -> String {
        let (head, video) = OFFER.split_once("m=video").unwrap();
        let (session, audio) = head.split_once("m=audio").unwrap();
        let alive = self.lines.iter().filter(|line| line.state != LineState::Stopped);
        let mids: Vec<&str> = alive.map(|line| line.mid.as_str()).collect();
        let mut text = String::new();
        for line in session.lines() {
            if line.starts_with("o=") {
                text += &format!("o=- {} {} IN IP4 127.0.0.1\r\n", self.number, self.version);
            } else if line.starts_with("a=group:BUNDLE") {
                text += &format!("a=group:BUNDLE {}\r\n", mids.join(" "));
            } else {
                text += &format!("{line}\r\n");
            }
        }
        for line in &self.lines {
            text +=
                &self.section(line, &if line.is_video { format!("m=video{video}") } else { format!("m=audio{audio}") });
        }
        text
    }

    fn section(&self, own: &Line, template: &str) -> String {
        let mut text = String::new();
        let rename = |line: &str| {
            let (name, rest) = line.split_once(':').unwrap_or((line, ""));
            let (first, after) = rest.split_once(' ').unwrap_or((rest, ""));
            let (ssrc, rtx) = (own.ssrc, own.ssrc + 1);
            match name {
                "a=mid" => format!("a=mid:{}", own.mid),
                "a=sendonly" if own.state != LineState::Sends => "a=inactive".to_owned(),
                "a=ssrc-group" => format!("a=ssrc-group:FID {ssrc} {rtx}"),
                // The first two numbers of the template are the media's and the repairs'.
                "a=ssrc" => format!("a=ssrc:{} {after}", if is_first(template, first) { ssrc } else { rtx }),
                "a=ice-ufrag" => format!("a=ice-ufrag:u{:04}{:04}", self.number, self.restarts),
                // The first byte of the digest tells the connection.
                "a=fingerprint" => {
                    format!("a=fingerprint:{first} {:02X}{}", self.connections % 256, &after[2..])
                }
                _ => line.to_owned(),
            }
        };
        for line in template.lines() {
            let line = rename(line);
            let line = if own.state == LineState::Stopped { line.replacen(" 9 ", " 0 ", 1) } else { line };
            let is_silent = own.state != LineState::Sends && (line.starts_with("a=ssrc") || line.starts_with("a=msid"));
            if !is_silent {
                text += &format!("{line}\r\n");
            }
        }
        text
    }
}

fn is_first(template: &str, ssrc: &str) -> bool {
    let mut lines = template.lines().filter_map(|line| line.strip_prefix("a=ssrc:"));
    lines.next().is_some_and(|line| line.split(' ').next() == Some(ssrc))
}

/// Answers an offer of ours as browsers do: the same m-lines and numbers, the other direction, its own transport.
pub(super) fn answer(offer: &str, number: u32, reaction: Reaction) -> String {
    let sections: Vec<&str> = offer.split("m=").skip(1).collect();
    let count = sections.len();
    let place = |place: usize| place % count.max(1);
    let mut text = String::new();
    let mut bundle = Vec::new();
    for (index, section) in sections.iter().enumerate() {
        let mid = section.lines().find_map(|line| line.strip_prefix("a=mid:")).unwrap();
        let is_disabled = section.split(' ').nth(1) == Some("0")
            || matches!(reaction, Reaction::Disables(which) if place(which) == index);
        let declines = matches!(reaction, Reaction::Declines(which) if place(which) == index);
        if !is_disabled {
            bundle.push(mid);
        }
        text += &answer_section(section, number, is_disabled, declines, reaction == Reaction::LacksH264);
    }
    let head =
        format!("v=0\r\no=- {number} 2 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=group:BUNDLE {}\r\n", bundle.join(" "));
    format!("{head}a=extmap-allow-mixed\r\n{text}")
}

fn answer_section(section: &str, number: u32, is_disabled: bool, declines: bool, lacks_h264: bool) -> String {
    let mut dropped: BTreeSet<&str> = BTreeSet::new();
    for line in section.lines().filter(|_| lacks_h264) {
        let Some((number, codec)) = line.strip_prefix("a=rtpmap:").and_then(|rest| rest.split_once(' ')) else {
            continue;
        };
        if codec.starts_with("H264") {
            dropped.insert(number);
        }
    }
    for line in section.lines() {
        if let Some((number, apt)) = line.strip_prefix("a=fmtp:").and_then(|rest| rest.split_once(" apt="))
            && dropped.contains(apt)
        {
            dropped.insert(number);
        }
    }
    let mut text = String::new();
    for (index, line) in section.lines().enumerate() {
        if index == 0 {
            let words: Vec<&str> = line.split(' ').filter(|word| !dropped.contains(word)).collect();
            let line = words.join(" ");
            text += &format!("m={}\r\n", if is_disabled { line.replacen(" 9 ", " 0 ", 1) } else { line });
            continue;
        }
        let subject = line.split_once(':').map_or("", |(_, rest)| rest.split(' ').next().unwrap());
        let about_format = ["a=rtpmap:", "a=fmtp:", "a=rtcp-fb:"].iter().any(|name| line.starts_with(name));
        let is_theirs =
            ["a=ssrc", "a=msid", "a=candidate", "a=end-of-candidates"].iter().any(|name| line.starts_with(name));
        if is_theirs || (about_format && dropped.contains(subject)) {
            continue;
        }
        let line = match line {
            "a=sendonly" if declines => "a=inactive".to_owned(),
            "a=sendonly" => "a=recvonly".to_owned(),
            "a=setup:actpass" => "a=setup:active".to_owned(),
            _ if line.starts_with("a=ice-ufrag:") => format!("a=ice-ufrag:s{number:08}"),
            _ if line.starts_with("a=ice-pwd:") => "a=ice-pwd:abcdefghijklmnopqrstuvwx".to_owned(),
            _ if line.starts_with("a=fingerprint:") => format!("a=fingerprint:sha-256 {}", vec!["CD"; 32].join(":")),
            _ => line.to_owned(),
        };
        text += &format!("{line}\r\n");
    }
    text
}
