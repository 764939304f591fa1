//! Viewers: WHEP sessions that count what they are given.

mod frames;
mod role;
mod stats;
mod track;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use str0m::media::{Direction, MediaKind};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

pub use frames::FrameCounts;
pub(crate) use role::{Tracks, ViewerRole, identify};
pub use stats::ViewerStats;
pub use track::{Gap, RtpStats, SourceStats, TrackStats};

use crate::measure::process::raise_descriptor_limit;
use crate::payload::Codec;
use crate::peer::endpoint::{Role, Setup};
use crate::peer::worker::Worker;
use crate::peer::{Peer, local_ip_towards, wait_until};
use crate::publisher::Candidates;
use crate::signalling::Resource;

/// How viewers play.
#[derive(Debug, Clone)]
pub struct ViewerConfig {
    /// WHEP endpoint and token.
    pub resource: Resource,
    /// Kinds to receive, one m-line each.
    pub kinds: Vec<MediaKind>,
    /// Codecs to offer.
    pub codecs: Vec<Codec>,
    /// A picture that stands still this long, while packets come, asks for a key frame; `None` never asks.
    pub key_frame_patience: Option<Duration>,
    /// Arrival times kept per track for [`ViewerStats::first_packet_after`].
    pub history: usize,
    /// Whether to look for BYE. Costs a copy of every packet.
    pub watch_rtcp: bool,
    /// How candidates go.
    pub candidates: Candidates,
    /// Local address; `None`: the one that the route to the server takes.
    pub local_ip: Option<IpAddr>,
}

impl ViewerConfig {
    /// One audio and one video line with all codecs.
    pub fn new(resource: Resource) -> Self {
        Self {
            resource,
            kinds: vec![MediaKind::Audio, MediaKind::Video],
            codecs: Codec::VIDEO.into_iter().chain([Codec::Opus]).collect(),
            key_frame_patience: Some(Duration::from_millis(200)),
            history: 4096,
            watch_rtcp: false,
            candidates: Candidates::Offered,
            local_ip: None,
        }
    }

    pub(crate) fn setup(&self, local_ip: IpAddr) -> Setup {
        Setup {
            direction: Direction::RecvOnly,
            kinds: self.kinds.clone(),
            encodings: &[],
            codecs: self.codecs.clone(),
            watch_rtcp: self.watch_rtcp,
            local_ip,
            trickle: self.candidates == Candidates::Trickled,
            descriptors: false,
        }
    }

    pub(crate) fn role(&self) -> ViewerRole {
        ViewerRole::new(self.key_frame_patience, self.history)
    }
}

/// One viewer among [`Viewers`], in order of joining.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ViewerId(u64);

#[cfg(test)]
impl ViewerId {
    pub(crate) fn first() -> Self {
        Self(0)
    }
}

#[derive(Debug)]
struct Member {
    peer: Peer,
    tracks: Arc<Mutex<Tracks>>,
}

impl Member {
    fn stats(&self, id: ViewerId) -> ViewerStats {
        let tracks = self.tracks.lock().unwrap_or_else(PoisonError::into_inner).clone();
        ViewerStats::new(id, self.peer.location().to_owned(), self.peer.connection(), tracks)
    }
}

#[derive(Debug)]
struct Shared {
    members: Mutex<BTreeMap<ViewerId, Arc<Member>>>,
    workers: Vec<Arc<Worker>>,
    next: AtomicU64,
    config: ViewerConfig,
    local_ip: IpAddr,
}

/// Viewers of one stream on a few threads. Clones are handles of the same ones; dropping the last makes them vanish.
#[derive(Debug, Clone)]
pub struct Viewers {
    shared: Arc<Shared>,
}

impl Viewers {
    /// Nobody yet, on `threads` threads. Raises the process's limit of open descriptors, for a socket per viewer.
    pub fn new(threads: usize, config: ViewerConfig) -> Result<Self> {
        raise_descriptor_limit();
        let workers: Result<Vec<_>, _> =
            (0..threads.max(1)).map(|index| Worker::spawn(&format!("viewers-{index}")).map(Arc::new)).collect();
        let local_ip = match config.local_ip {
            Some(ip) => ip,
            None => local_ip_towards(&config.resource.url)?,
        };
        let shared = Shared { members: Mutex::default(), workers: workers?, next: AtomicU64::new(0), config, local_ip };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// A viewer for each resource on one thread, eight joining at a time.
    pub async fn start_each(resources: &[Resource], config: ViewerConfig) -> Result<Self> {
        let viewers = Self::new(1, config)?;
        viewers.join_each(resources, 8).await?;
        Ok(viewers)
    }

    /// `count` viewers with one token, on one thread, eight joining at a time.
    ///
    /// Where an identity has one connection, the newer replaces the older: see [`Viewers::start_each`].
    pub async fn start(count: usize, config: ViewerConfig) -> Result<Self> {
        let viewers = Self::new(1, config)?;
        viewers.join_many(count, 8).await?;
        Ok(viewers)
    }

    /// Adds a viewer; returns when the answer is accepted.
    pub async fn join(&self) -> Result<ViewerId> {
        self.join_resource(&self.shared.config.resource).await
    }

    /// Adds a viewer who plays something else than the others, or with another token.
    pub async fn join_resource(&self, resource: &Resource) -> Result<ViewerId> {
        let shared = &self.shared;
        let id = ViewerId(shared.next.fetch_add(1, Ordering::Relaxed));
        let place = usize::try_from(id.0).unwrap_or(0) % shared.workers.len();
        let worker = shared.workers.get(place).context("there is at least one thread")?;
        let role = shared.config.role();
        let tracks = role.tracks_handle();
        let setup = shared.config.setup(shared.local_ip);
        let role = Role::Viewer(Box::new(role));
        let peer = Peer::join(Arc::clone(worker), resource, &setup, role).await?;
        self.members().insert(id, Arc::new(Member { peer, tracks }));
        Ok(id)
    }

    /// Adds `count` viewers, `at_once` of them joining at any time; ends with the first error.
    pub async fn join_many(&self, count: usize, at_once: usize) -> Result<Vec<ViewerId>> {
        self.join_each(&vec![self.shared.config.resource.clone(); count], at_once).await
    }

    /// Adds a viewer for each resource, `at_once` of them joining at any time; ends with the first error.
    pub async fn join_each(&self, resources: &[Resource], at_once: usize) -> Result<Vec<ViewerId>> {
        let gate = Arc::new(Semaphore::new(at_once.max(1)));
        let mut joining = JoinSet::new();
        for resource in resources {
            let (viewers, gate, resource) = (self.clone(), Arc::clone(&gate), resource.clone());
            joining.spawn(async move {
                let _permit = gate.acquire_owned().await?;
                viewers.join_resource(&resource).await
            });
        }
        let mut ids = Vec::with_capacity(resources.len());
        while let Some(joined) = joining.join_next().await {
            ids.push(joined??);
        }
        ids.sort_unstable();
        Ok(ids)
    }

    /// Makes a viewer say goodbye and delete its session; returns what it had seen.
    pub async fn leave(&self, id: ViewerId) -> Result<ViewerStats> {
        let member = self.members().remove(&id).context("no such viewer")?;
        let stats = member.stats(id);
        member.peer.leave().await?;
        Ok(stats)
    }

    /// Makes all viewers leave.
    pub async fn leave_all(&self) -> Result<()> {
        let ids: Vec<_> = self.members().keys().copied().collect();
        for id in ids {
            self.leave(id).await?;
        }
        Ok(())
    }

    /// Takes a viewer away without a word, as a killed browser; returns what it had seen.
    pub fn vanish(&self, id: ViewerId) -> Option<ViewerStats> {
        let member = self.members().remove(&id)?;
        member.peer.vanish();
        Some(member.stats(id))
    }

    /// What every present viewer has seen, in order of joining.
    pub fn snapshot(&self) -> Vec<ViewerStats> {
        self.present().iter().map(|(id, member)| member.stats(*id)).collect()
    }

    /// What one viewer has seen.
    pub fn viewer(&self, id: ViewerId) -> Option<ViewerStats> {
        let member = self.members().get(&id).cloned()?;
        Some(member.stats(id))
    }

    /// Number of present viewers.
    pub fn count(&self) -> usize {
        self.members().len()
    }

    /// Packets delivered to all present viewers: authenticated and decrypted, each once.
    pub fn delivered(&self) -> u64 {
        let members: Vec<_> = self.members().values().cloned().collect();
        members
            .iter()
            .map(|member| {
                let tracks = member.tracks.lock().unwrap_or_else(PoisonError::into_inner);
                tracks.tracks.iter().map(|track| track.packets).sum::<u64>()
            })
            .sum()
    }

    /// Makes one viewer ask for a key frame whatever it has.
    pub fn request_key_frame(&self, id: ViewerId) {
        if let Some(member) = self.members().get(&id) {
            member.peer.act(|endpoint, _| {
                endpoint.request_key_frames();
                Ok(())
            });
        }
    }

    /// Restarts the ICE of one viewer by PATCH.
    pub async fn restart_ice(&self, id: ViewerId) -> Result<()> {
        let member = self.members().get(&id).cloned().context("no such viewer")?;
        member.peer.restart_ice().await
    }

    /// Waits until media may flow to everybody.
    pub async fn wait_connected(&self, limit: Duration) -> Result<()> {
        let members: Vec<_> = self.members().values().cloned().collect();
        for member in members {
            member.peer.wait_connected(limit).await?;
        }
        Ok(())
    }

    /// Waits until `condition` has held once for every present viewer; false when `limit` is over.
    pub async fn wait_all(&self, limit: Duration, condition: impl Fn(&ViewerStats) -> bool) -> bool {
        // Records are large: one that was seen to hold is not copied again.
        let mut held = BTreeSet::new();
        let look = || {
            let mut members = self.present().into_iter();
            members.all(|(id, member)| held.contains(&id) || (condition(&member.stats(id)) && held.insert(id)))
        };
        wait_until(limit, look).await
    }

    /// CPU time of the viewers' threads.
    pub fn cpu(&self) -> Duration {
        self.shared.workers.iter().map(|worker| worker.cpu()).sum()
    }

    /// Number of threads.
    pub fn threads(&self) -> usize {
        self.shared.workers.len()
    }

    /// Handles of all, so that the map is not held while records are copied.
    fn present(&self) -> Vec<(ViewerId, Arc<Member>)> {
        self.members().iter().map(|(id, member)| (*id, Arc::clone(member))).collect()
    }

    fn members(&self) -> MutexGuard<'_, BTreeMap<ViewerId, Arc<Member>>> {
        self.shared.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
