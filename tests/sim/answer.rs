//! An SDP answer as a peer reads it.

use std::collections::BTreeMap;
use std::net::SocketAddr;

/// The dependency descriptor's URI.
pub(crate) const DESCRIPTOR: &str =
    "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension";

/// What a peer learns from an answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answer {
    pub(crate) ufrag: String,
    pub(crate) password: String,
    pub(crate) candidate: Option<SocketAddr>,
    pub(crate) sections: Vec<Section>,
}

/// One m-line of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Section {
    pub(crate) kind: String,
    pub(crate) mid: String,
    /// Payload types by codec, in capitals.
    pub(crate) codecs: BTreeMap<String, u8>,
    /// The payload type that repairs another.
    pub(crate) repairs: BTreeMap<u8, u8>,
    /// Header extensions by URI.
    pub(crate) extensions: BTreeMap<String, u8>,
    pub(crate) ssrc: Option<u32>,
    pub(crate) rtx: Option<u32>,
}

impl Answer {
    pub(crate) fn parse(text: &str) -> Self {
        let mut answer = Self::default();
        for line in text.lines() {
            if let Some(media) = line.strip_prefix("m=") {
                let kind = media.split(' ').next().unwrap_or_default().to_owned();
                answer.sections.push(Section { kind, ..Section::default() });
            } else if let Some(attribute) = line.strip_prefix("a=") {
                let (name, value) = attribute.split_once(':').unwrap_or((attribute, ""));
                answer.take(name, value);
            }
        }
        answer
    }

    fn take(&mut self, name: &str, value: &str) {
        match name {
            "ice-ufrag" => self.ufrag = value.to_owned(),
            "ice-pwd" => self.password = value.to_owned(),
            "candidate" => {
                let words: Vec<&str> = value.split(' ').collect();
                self.candidate = Some(SocketAddr::new(words[4].parse().unwrap(), words[5].parse().unwrap()));
            }
            _ => {
                if let Some(section) = self.sections.last_mut() {
                    section.take(name, value);
                }
            }
        }
    }

    pub(crate) fn section(&self, kind: &str) -> Option<&Section> {
        self.sections.iter().find(|section| section.kind == kind)
    }
}

/// What a rid names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RidOf {
    Media,
    Repairs,
}

impl Section {
    /// Returns the ids and values of the extensions that say whose a packet is (RFC 9143 section 15, RFC 8852).
    pub(crate) fn says<'a>(&'a self, rid: Option<(RidOf, &'a str)>) -> Vec<(u8, &'a [u8])> {
        let id = |name: &str| self.extensions[&format!("urn:ietf:params:rtp-hdrext:sdes:{name}")];
        let rid = rid.map(|(of, rid)| match of {
            RidOf::Media => (id("rtp-stream-id"), rid.as_bytes()),
            RidOf::Repairs => (id("repaired-rtp-stream-id"), rid.as_bytes()),
        });
        [(id("mid"), self.mid.as_bytes())].into_iter().chain(rid).collect()
    }

    /// Returns the codec that a publisher offered, VP8 or AV1, with its payload type.
    pub(crate) fn picture(&self) -> (&'static str, u8) {
        match self.codecs.get("VP8") {
            Some(payload_type) => ("VP8", *payload_type),
            None => ("AV1", self.codecs["AV1"]),
        }
    }

    /// Returns the id of the dependency descriptor.
    pub(crate) fn descriptor(&self) -> u8 {
        self.extensions[DESCRIPTOR]
    }

    fn take(&mut self, name: &str, value: &str) {
        let (first, rest) = value.split_once(' ').unwrap_or((value, ""));
        match name {
            "mid" => self.mid = value.to_owned(),
            "rtpmap" => {
                let codec = rest.split('/').next().unwrap_or_default().to_uppercase();
                self.codecs.entry(codec).or_insert_with(|| first.parse().unwrap());
            }
            "fmtp" => {
                if let Some(repaired) = rest.strip_prefix("apt=") {
                    self.repairs.insert(repaired.parse().unwrap(), first.parse().unwrap());
                }
            }
            "extmap" => {
                self.extensions.insert(rest.to_owned(), first.parse().unwrap());
            }
            "ssrc-group" if first == "FID" => {
                let (media, repair) = rest.split_once(' ').unwrap();
                self.ssrc = Some(media.parse().unwrap());
                self.rtx = Some(repair.parse().unwrap());
            }
            "ssrc" => {
                self.ssrc.get_or_insert_with(|| first.parse().unwrap());
            }
            _ => {}
        }
    }
}
