//! The subscriber's connection of a signalled session: a viewer for each m-line that something arrives at.

use std::collections::BTreeMap;

use rtp::packet::Packet;
use sluice_protocol::time::Instant;

use crate::answer::{Answer, Section};
use crate::srtp::Protection;
use crate::viewer::Viewer;

/// What arrives at one m-line.
#[derive(Debug)]
struct Line {
    ssrc: u32,
    rtx: Option<u32>,
    /// The description of this m-line alone; one of sound has a section of pictures in which nothing arrives.
    alone: Answer,
    viewer: Viewer,
}

#[derive(Debug, Default)]
pub(crate) struct Subscriber {
    lines: Vec<Line>,
    /// Frames of lines that are gone, by whether they came with descriptors.
    decoded: u64,
}

impl Subscriber {
    /// Takes an offer: each SSRC that is new begins a stream, and one that is named no more has ended.
    pub(crate) fn follow_offer(&mut self, now: Instant, offer: &Answer) {
        let named: BTreeMap<u32, &Section> =
            offer.sections.iter().filter_map(|section| Some((section.ssrc?, section))).collect();
        for ended in self.lines.extract_if(.., |line| !named.contains_key(&line.ssrc)) {
            self.decoded += ended.viewer.decoder.decoded;
        }
        for (ssrc, section) in named {
            if self.lines.iter().any(|line| line.ssrc == ssrc) {
                continue;
            }
            let mut alone = Answer { sections: vec![section.clone()], ..Answer::default() };
            if section.kind != "video" {
                alone.sections.push(Section { kind: "video".to_owned(), ..Section::default() });
            }
            self.lines.push(Line { ssrc, rtx: section.rtx, alone, viewer: Viewer::new(now) });
        }
    }

    /// Takes a packet that authenticated; one of a stream that has ended may be on its way still.
    pub(crate) fn receive(&mut self, now: Instant, index: u64, packet: &Packet) {
        let ssrc = packet.header.ssrc;
        if let Some(line) = self.lines.iter_mut().find(|line| line.ssrc == ssrc || line.rtx == Some(ssrc)) {
            line.viewer.receive(now, index, packet, &line.alone);
        }
    }

    /// Returns what is due to be said, sealed.
    pub(crate) fn tick(&mut self, now: Instant, protection: &mut Protection) -> Vec<Vec<u8>> {
        self.lines.iter_mut().flat_map(|line| line.viewer.tick(now, &line.alone, protection)).collect()
    }

    /// What arrives.
    pub(crate) fn viewers(&self) -> impl Iterator<Item = &Viewer> {
        self.lines.iter().map(|line| &line.viewer)
    }

    /// Frames decoded so far.
    pub(crate) fn decoded(&self) -> u64 {
        self.decoded + self.viewers().map(|viewer| viewer.decoder.decoded).sum::<u64>()
    }
}
