//! WebRTC endpoints on a foreign stack (`str0m`), which publish numbered media by WHIP and count it by WHEP, or hold a call
//! over `WebSocket`s.
//!
//! They are the load generator of Sluice and the other end of its end-to-end tests, and so depend on nothing of it:
//! what they measure, any server can be measured with. A delivered packet is one that the foreign endpoint has
//! authenticated and decrypted.
//!
//! ```no_run
//! # use std::time::Duration;
//! # use sluice_load::{Publisher, PublisherConfig, Rooms, ViewerConfig, Viewers};
//! # async fn example() -> anyhow::Result<()> {
//! let rooms = Rooms::new("http://127.0.0.1:8080", "secret")?;
//! let room = rooms.create("a test").await?;
//! let token = rooms.token(&room, "publisher", "speaker").await?;
//! let publisher = Publisher::start(PublisherConfig::new(rooms.whip(&room, &token)?)).await?;
//! let each = rooms.whep_each(&room, "viewer", 50).await?;
//! let viewers = Viewers::start_each(&each, ViewerConfig::new(each[0].clone())).await?;
//! viewers.wait_all(Duration::from_secs(10), |viewer| viewer.key_frame_time().is_some()).await;
//!
//! let (stream, from) = publisher.stats().video_position().expect("video is sent");
//! let killed_at = std::time::Instant::now();
//! // … a plane is killed, and three seconds pass …
//! let (_, to) = publisher.stats().video_position().expect("video is sent");
//! let complete = |viewer: &sluice_load::ViewerStats| viewer.missing(stream, from..to).is_empty();
//! assert!(viewers.wait_all(Duration::from_secs(1), complete).await);
//! for viewer in viewers.snapshot() {
//!     let video = viewer.video().expect("video came");
//!     assert!(video.longest_silence(killed_at..killed_at + Duration::from_secs(3)) < Duration::from_millis(500));
//! }
//! # Ok(())
//! # }
//! ```

mod call;
pub mod film;
mod limits;
mod measure;
pub mod payload;
mod peer;
mod publisher;
pub mod scenario;
mod signalling;
mod sys;
mod viewer;

#[cfg(test)]
mod loopback;

pub use call::{Counts, DescriptionMax, Shape};
pub use measure::clock::Now;
pub use measure::floor::Floor;
pub use measure::histogram::{Histogram, Summary, quantile};
pub use measure::process::{Usage, UsageError};
pub use measure::ranges::RangeSet;
pub use peer::connection::{Connection, State, WireCounts};
pub use peer::wait_until;
pub use publisher::{
    Begin, Candidates, Publisher, PublisherConfig, PublisherStats, Sends, SourceConfig, SourceProgress, Spacing,
};
pub use signalling::{Refused, Resource, Rooms};
pub use str0m::media::MediaKind;
pub use viewer::{FrameCounts, Gap, RtpStats, SourceStats, TrackStats, ViewerConfig, ViewerId, ViewerStats, Viewers};
