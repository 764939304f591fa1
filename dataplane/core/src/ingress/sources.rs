//! The SSRCs that one transport is heard with: whose they are, and which of their packets were seen.

use sluice_protocol::ids::TrackId;
use sluice_protocol::media::Ssrc;
use sluice_protocol::table::RowIndex;
use sluice_protocol::time::Instant;

use super::StreamIndex;
use crate::limits::STREAMS_MAX;
use crate::srtp::ReplayWindow;

/// What an SSRC carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SourceRole {
    /// The media of a stream.
    Media,
    /// Repairs of a stream (RFC 4588): of what `of` sends, as far as that is known. Without a description that says so it
    /// is the SSRC that carried the stream when the repair SSRC came.
    Rtx { of: Option<Ssrc> },
}

impl SourceRole {
    /// Makes the role of a repair SSRC; `of` is 0 when nobody knows.
    pub(crate) fn rtx(of: Ssrc) -> Self {
        Self::Rtx { of: Some(of).filter(|of| *of != Ssrc(0)) }
    }

    /// Returns the SSRC that is repaired; 0 for media, and when nobody knows.
    pub(crate) fn repaired(self) -> Ssrc {
        match self {
            Self::Media => Ssrc(0),
            Self::Rtx { of } => of.unwrap_or(Ssrc(0)),
        }
    }
}

/// One SSRC. Its replay window outlives a change of the stream to another SSRC, so that nobody can play it back.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) ssrc: Ssrc,
    pub(crate) track: TrackId,
    pub(crate) stream: StreamIndex,
    pub(crate) role: SourceRole,
    pub(crate) window: ReplayWindow,
    /// The row of the shared table, taken with the first packet.
    pub(crate) row: Option<RowIndex>,
    /// When it was last heard; `None` while it was only announced.
    pub(crate) heard: Option<Instant>,
}

/// The sources of one transport, sorted by SSRC; at most [`STREAMS_MAX`].
#[derive(Debug, Default)]
pub(crate) struct Sources {
    sorted: Vec<Source>,
}

impl Sources {
    pub(crate) const fn new() -> Self {
        Self { sorted: Vec::new() }
    }

    pub(crate) fn get_mut(&mut self, ssrc: Ssrc) -> Option<&mut Source> {
        let index = self.sorted.binary_search_by_key(&ssrc, |source| source.ssrc).ok()?;
        self.sorted.get_mut(index)
    }

    pub(crate) fn get(&self, ssrc: Ssrc) -> Option<&Source> {
        let index = self.sorted.binary_search_by_key(&ssrc, |source| source.ssrc).ok()?;
        self.sorted.get(index)
    }

    pub(crate) fn len(&self) -> usize {
        self.sorted.len()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.sorted.len() >= STREAMS_MAX
    }

    /// Adds a source, unless its SSRC is there already or there are [`STREAMS_MAX`].
    pub(crate) fn insert(&mut self, source: Source) -> Option<&mut Source> {
        if self.is_full() {
            return None;
        }
        let index = self.sorted.binary_search_by_key(&source.ssrc, |other| other.ssrc).err()?;
        self.sorted.insert(index, source);
        self.sorted.get_mut(index)
    }

    /// Removes all sources that `gone` tells, and returns them.
    pub(crate) fn remove_where(&mut self, gone: impl Fn(&Source) -> bool) -> Vec<Source> {
        self.sorted.extract_if(.., |source| gone(source)).collect()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Source> {
        self.sorted.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(ssrc: u32) -> Source {
        Source {
            ssrc: Ssrc(ssrc),
            track: TrackId::new(0, ssrc % 2, 1),
            stream: StreamIndex(0),
            role: SourceRole::Media,
            window: ReplayWindow::new(),
            row: None,
            heard: None,
        }
    }

    #[test]
    fn sources_are_found_by_ssrc_and_bounded() {
        let mut sources = Sources::default();
        for ssrc in (0..64).rev() {
            assert!(sources.insert(source(ssrc)).is_some());
        }
        assert!(sources.insert(source(64)).is_none(), "one too many");
        assert!((0..64).all(|ssrc| sources.get_mut(Ssrc(ssrc)).unwrap().ssrc == Ssrc(ssrc)));
        let gone = sources.remove_where(|source| source.track == TrackId::new(0, 1, 1));
        assert_eq!((gone.len(), sources.iter().count()), (32, 32));
        assert!(sources.get(Ssrc(1)).is_none());
        assert!(sources.insert(source(2)).is_none(), "nobody takes an SSRC that is in use");
    }
}
