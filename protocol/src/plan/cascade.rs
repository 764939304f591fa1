//! What was learnt about an object goes with it.

use super::{Key, Object, Plan};
use crate::media::Ssrc;

impl Key {
    /// Returns what a learnt object was learnt about: the transport of a path, the track of a stream.
    #[must_use]
    pub const fn parent(&self) -> Option<Self> {
        match self {
            Self::Path(transport) => Some(Self::Transport(*transport)),
            Self::Stream(track, _) => Some(Self::Track(*track)),
            Self::Transport(_) | Self::Track(_) | Self::Egress(_) | Self::Cookie(_) => None,
        }
    }
}

impl Plan {
    /// Returns the keys of what was learnt about `key`: the path of a transport, the streams of a track.
    #[must_use]
    pub fn learnt_about(&self, key: &Key) -> Vec<Key> {
        let (first, last) = match key {
            Key::Transport(transport) => (Key::Path(*transport), Key::Path(*transport)),
            Key::Track(track) => (Key::Stream(*track, Ssrc(0)), Key::Stream(*track, Ssrc(u32::MAX))),
            Key::Path(_) | Key::Stream(..) | Key::Egress(_) | Key::Cookie(_) => return Vec::new(),
        };
        self.objects.range(first..=last).map(|(key, _)| *key).collect()
    }

    /// Removes what is under `key`, and what was learnt about it; returns all of it, `key` first.
    pub fn remove_with_learnt(&mut self, key: &Key) -> Vec<Object> {
        let learnt = self.learnt_about(key);
        let removed = self.objects.remove(key);
        removed
            .into_iter()
            .chain(learnt.iter().filter_map(|key| self.objects.remove(key)).collect::<Vec<_>>())
            .collect()
    }
}
