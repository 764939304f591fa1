//! The attributes of a section, read into what they mean.

use std::collections::{BTreeMap, BTreeSet};

use sluice_protocol::media::{Label, MediaKind, PayloadType, Rid, Ssrc};

use super::codec::{Feedback, Format, parameter};
use super::error::OfferError;
use super::extension::Extension;
use super::offered::{Direction, OfferedCodec, OfferedEncoding, OfferedExtension, OfferedRid};
use super::transport::{Fingerprint, IceCredentials};
use crate::limits;

/// The attributes of one level of a description.
#[derive(Clone, Copy)]
pub(super) struct Attributes<'a>(pub(super) &'a [sdp_types::Attribute]);

impl<'a> Attributes<'a> {
    pub(super) fn has(self, name: &str) -> bool {
        self.0.iter().any(|attribute| attribute.attribute == name)
    }

    pub(super) fn values(self, name: &'static str) -> impl Iterator<Item = &'a str> + use<'a> {
        self.0
            .iter()
            .filter(move |attribute| attribute.attribute == name)
            .filter_map(|attribute| attribute.value.as_deref())
    }

    pub(super) fn value(self, name: &'static str) -> Option<&'a str> {
        self.values(name).next()
    }

    pub(super) fn direction(self) -> Option<Direction> {
        self.0.iter().find_map(|attribute| Direction::parse(&attribute.attribute))
    }

    pub(super) fn ice(self) -> Option<IceCredentials> {
        IceCredentials::new(self.value("ice-ufrag")?.trim(), self.value("ice-pwd")?.trim())
    }

    pub(super) fn fingerprints(self) -> Vec<Fingerprint> {
        self.values("fingerprint").filter_map(Fingerprint::parse).take(limits::FINGERPRINTS_MAX).collect()
    }
}

pub(super) fn offered_codecs(
    section: usize,
    kind: MediaKind,
    formats: &str,
    own: Attributes<'_>,
) -> Result<Vec<OfferedCodec>, OfferError> {
    if formats.split_ascii_whitespace().count() > limits::FORMATS_MAX {
        return Err(OfferError::TooMany { section, what: "formats" });
    }
    // Each line is read once, whatever it names: a long description is no more work than its lines.
    let mut lines = FormatLines::new(own);
    let mut codecs: Vec<OfferedCodec> = Vec::new();
    for payload_type in formats.split_ascii_whitespace().filter_map(payload_type_of) {
        let Some(of_type) = lines.take(payload_type) else { continue };
        let format = match of_type.rtpmap {
            Some(value) => {
                let mut parts = value.split('/');
                let name = parts.next().unwrap_or("");
                let clock_rate = parts.next().and_then(|rate| rate.trim().parse().ok()).unwrap_or(0);
                Format::recognise(kind, name, clock_rate, of_type.fmtp.unwrap_or(""))
            }
            None => Format::of_static(kind, payload_type),
        };
        if let Some(format) = format {
            let feedback = lines.feedback_of_all.with(of_type.feedback);
            codecs.push(OfferedCodec { payload_type, rtx: None, format, feedback });
        }
    }
    for (payload_type, repaired) in lines.repairs {
        if let Some(codec) = codecs.iter_mut().find(|codec| codec.payload_type == repaired) {
            codec.rtx.get_or_insert(payload_type);
        }
    }
    Ok(codecs)
}

fn payload_type_of(text: &str) -> Option<PayloadType> {
    text.parse::<u8>().ok().filter(|number| *number < 128).map(PayloadType)
}

/// What the lines of a section say of its payload types; the first line of each kind counts.
struct FormatLines<'a> {
    by_payload_type: BTreeMap<u8, OfPayloadType<'a>>,
    feedback_of_all: Feedback,
    /// Payload types of repairs, each with what it repairs, in the order of their lines.
    repairs: Vec<(PayloadType, PayloadType)>,
    /// What was taken: a format that is named twice counts once.
    taken: BTreeSet<u8>,
}

#[derive(Clone, Copy)]
struct OfPayloadType<'a> {
    rtpmap: Option<&'a str>,
    fmtp: Option<&'a str>,
    feedback: Feedback,
}

impl<'a> FormatLines<'a> {
    fn new(own: Attributes<'a>) -> Self {
        let none = OfPayloadType { rtpmap: None, fmtp: None, feedback: Feedback::NONE };
        let mut by_payload_type: BTreeMap<u8, OfPayloadType<'a>> = BTreeMap::new();
        let mut feedback_of_all = Feedback::NONE;
        let mut repairing: Vec<PayloadType> = Vec::new();
        for attribute in own.0 {
            let Some((subject, value)) = attribute.value.as_deref().and_then(|value| value.split_once(' ')) else {
                continue;
            };
            let (name, value) = (attribute.attribute.as_str(), value.trim());
            let feedback = || Feedback::NAMES.into_iter().find(|(_, known)| *known == value).map(|(one, _)| one);
            if name == "rtcp-fb" && subject == "*" {
                feedback_of_all = feedback().map_or(feedback_of_all, |one| feedback_of_all.with(one));
                continue;
            }
            let Some(payload_type) = payload_type_of(subject.trim()) else { continue };
            if !["rtpmap", "fmtp", "rtcp-fb"].contains(&name) {
                continue;
            }
            let lines = by_payload_type.entry(payload_type.0).or_insert(none);
            match name {
                "rtpmap" => {
                    lines.rtpmap.get_or_insert(value);
                    let is_repair = value.split('/').next().is_some_and(|name| name.eq_ignore_ascii_case("rtx"));
                    if is_repair && !repairing.contains(&payload_type) {
                        repairing.push(payload_type);
                    }
                }
                "fmtp" => drop(lines.fmtp.get_or_insert(value)),
                _ => lines.feedback = feedback().map_or(lines.feedback, |one| lines.feedback.with(one)),
            }
        }
        let repaired = |payload_type: &PayloadType| {
            let fmtp = by_payload_type.get(&payload_type.0)?.fmtp?;
            Some((*payload_type, payload_type_of(parameter(fmtp, "apt")?)?))
        };
        let repairs = repairing.iter().filter_map(repaired).collect();
        Self { by_payload_type, feedback_of_all, repairs, taken: BTreeSet::new() }
    }

    /// Returns what is said of a payload type, once.
    fn take(&mut self, payload_type: PayloadType) -> Option<OfPayloadType<'a>> {
        let none = OfPayloadType { rtpmap: None, fmtp: None, feedback: Feedback::NONE };
        self.taken.insert(payload_type.0).then(|| self.by_payload_type.get(&payload_type.0).copied().unwrap_or(none))
    }
}

pub(super) fn offered_extensions(
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

/// Reads the media SSRCs of a section (RFC 5576): those of `ssrc-group:SIM` in its order, from the smallest picture to the
/// largest, where there is one.
pub(super) fn offered_encodings(section: usize, own: Attributes<'_>) -> Result<Vec<OfferedEncoding>, OfferError> {
    let too_many = OfferError::TooMany { section, what: "SSRCs" };
    let mut pairs: Vec<(Ssrc, Ssrc)> = Vec::new();
    let mut layers: Vec<Ssrc> = Vec::new();
    for value in own.values("ssrc-group") {
        let mut words = value.split_ascii_whitespace();
        let semantics = words.next();
        let mut numbers = words.map_while(|word| word.parse().ok()).map(Ssrc);
        match semantics {
            Some("SIM") if layers.is_empty() => layers.extend(numbers.take(limits::SSRCS_MAX)),
            // Correction data is no encoding, and left out of answers.
            Some("FID" | "FEC" | "FEC-FR") => {
                let (media, repair) = match (numbers.next(), numbers.next()) {
                    (Some(media), Some(repair)) if media != repair => (media, repair),
                    (_, _) => return Err(OfferError::Malformed { section, what: "ssrc-group" }),
                };
                if pairs.len() >= limits::SSRCS_MAX {
                    return Err(too_many);
                }
                let is_repair = semantics == Some("FID");
                pairs.push((if is_repair { media } else { repair }, repair));
            }
            _ => {}
        }
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
    let layer = |encoding: &OfferedEncoding| layers.iter().position(|ssrc| *ssrc == encoding.ssrc);
    if encodings.iter().any(|encoding| layer(encoding).is_some()) {
        encodings.retain(|encoding| layer(encoding).is_some());
        encodings.sort_by_key(layer);
    }
    Ok(encodings)
}

pub(super) fn offered_simulcast(section: usize, own: Attributes<'_>) -> Result<Vec<OfferedRid>, OfferError> {
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
    use super::super::Offer;
    use super::*;
    use crate::cpu_time::cpu_time;

    const HEAD: &str = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\n";

    fn parse(rest: &str) -> Result<Offer, OfferError> {
        Offer::parse(format!("{HEAD}{rest}").as_bytes())
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
    fn a_description_of_many_lines_costs_no_more_than_its_lines() {
        let formats: Vec<String> = (0..128).map(|number| number.to_string()).collect();
        let section = |lines: usize| {
            let mut text = format!("{HEAD}m=video 9 UDP/TLS/RTP/SAVPF {}\r\na=mid:0\r\n", formats.join(" "));
            for number in 0..lines {
                text += if number % 2 == 0 { "a=rtpmap:96 VP8/90000\n" } else { "a=fmtp:5 x\n" };
            }
            let began = cpu_time();
            let offer = Offer::parse(text.as_bytes()).unwrap();
            assert_eq!(offer.sections[0].codecs.len(), 1);
            cpu_time() - began
        };
        let least = |lines: usize| (0..5).map(|_| section(lines)).min().unwrap();
        let (few, many) = (least(400), least(3600));
        assert!(many < few * 30, "{few:?} for 400 lines, {many:?} for 3600");
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
    fn a_group_of_layers_tells_which_ssrcs_are_encodings_and_in_which_order() {
        let section = |groups: &str| {
            let ssrcs: String = (1..=7).map(|ssrc| format!("a=ssrc:{ssrc} cname:x\r\n")).collect();
            parse(&format!("m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:0\r\n{groups}{ssrcs}")).unwrap().sections[0]
                .encodings
                .iter()
                .map(|encoding| (encoding.ssrc.0, encoding.rtx.map(|rtx| rtx.0)))
                .collect::<Vec<_>>()
        };
        let repairs = "a=ssrc-group:FID 5 1\r\na=ssrc-group:FID 3 2\r\na=ssrc-group:FEC-FR 3 6\r\n";
        let layers = format!("a=ssrc-group:SIM 5 3 4\r\n{repairs}");
        assert_eq!(section(&layers), [(5, Some(1)), (3, Some(2)), (4, None)], "7 belongs to nothing");
        assert_eq!(section(repairs), [(3, Some(2)), (4, None), (5, Some(1)), (7, None)], "without a group all are");
        assert_eq!(section("a=ssrc-group:SIM 70 71\r\n").len(), 7, "a group of others tells nothing");
    }
}
