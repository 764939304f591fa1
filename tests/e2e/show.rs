//! A room with a publisher and viewers, of whom some may be browsers.

use std::collections::BTreeSet;
use std::time::Duration;

use sluice_load::{Publisher, PublisherConfig, Rooms, ViewerConfig, ViewerId, ViewerStats, Viewers, wait_until};
use sluice_tests::{ADDRESS, Browser, Options, Server};

use crate::audience::{Audience, pictures};
use crate::identity::Identity;

pub(crate) const LIMIT: Duration = Duration::from_secs(15);
/// A plane is killed at a random moment within this time: longer than peers take between two reports, feedback or key
/// frames, so that all of it is met.
pub(crate) const KILLED_WITHIN: Duration = Duration::from_secs(2);

/// Everybody in it decodes.
pub(crate) struct Show {
    pub(crate) server: Server,
    pub(crate) rooms: Rooms,
    pub(crate) room: String,
    pub(crate) publisher: Publisher,
    pub(crate) viewers: Viewers,
    /// The foreign viewers who are there from the beginning.
    pub(crate) residents: BTreeSet<ViewerId>,
    pub(crate) audience: Option<Audience>,
}

/// Who was there at a moment, and what the publisher was about to send.
pub(crate) struct Mark {
    stream: u64,
    from: u64,
    viewers: BTreeSet<ViewerId>,
}

impl Show {
    /// A show for `count` foreign viewers, over loopback.
    pub(crate) async fn start(count: usize) -> Self {
        Self::begin(Options::default(), count, |config| config).await
    }

    /// A show of a publisher of one's own making, in a network of the test's own.
    pub(crate) async fn start_with(count: usize, make: impl Fn(PublisherConfig) -> PublisherConfig) -> Self {
        let options = Options { announce: Some(ADDRESS.to_owned()), ..Options::default() };
        Self::begin(options, count, make).await
    }

    /// A show with real pictures and browsers among the viewers, in a network of the test's own.
    pub(crate) async fn start_with_browsers(count: usize, browsers: &[Browser]) -> Self {
        let pictures = pictures();
        let make = |config| PublisherConfig { pictures: Some(pictures.clone()), ..config };
        let mut show = Self::start_with(count, make).await;
        show.audience = Some(Audience::join(&show.server, &show.rooms, &show.room, browsers).await);
        show
    }

    async fn begin(options: Options, count: usize, make: impl Fn(PublisherConfig) -> PublisherConfig) -> Self {
        let server = Server::start(options).await.unwrap();
        let rooms = Rooms::new(server.base(), server.secret()).unwrap();
        let room = rooms.create("survival").await.unwrap();
        let token = rooms.token(&room, "publisher", "speaker").await.unwrap();
        let config = make(PublisherConfig::new(rooms.whip(&room, &token).unwrap()));
        let publisher = Publisher::start(config).await.unwrap();
        publisher.wait_connected(LIMIT).await.unwrap();
        let resources = rooms.whep_each(&room, "viewer", count).await.unwrap();
        let viewers = Viewers::new(1, ViewerConfig::new(resources[0].clone())).unwrap();
        let residents = viewers.join_each(&resources, 8).await.unwrap().into_iter().collect();
        viewers.wait_connected(LIMIT).await.unwrap();
        let show = Self { server, rooms, room, publisher, viewers, residents, audience: None };
        let is_served = |viewer: &ViewerStats| viewer.key_frame_time().is_some() && viewer.audio().is_some();
        let served = show.viewers.wait_all(LIMIT, is_served).await;
        assert!(served, "every viewer has a whole key frame and sound\n{}", show.server.logs());
        show
    }

    /// Notes who is there, and the number of the next video packet.
    pub(crate) fn mark(&self) -> Mark {
        let (stream, from) = self.publisher.stats().video_position().unwrap();
        Mark { stream, from, viewers: self.viewers.snapshot().iter().map(|viewer| viewer.id).collect() }
    }

    /// Checks that everybody who was there at a mark, and still is, has every video packet since; returns how many those
    /// are.
    pub(crate) async fn assert_complete(&self, mark: &Mark) -> u64 {
        let (stream, to) = self.publisher.stats().video_position().unwrap();
        assert_eq!(stream, mark.stream, "the publisher numbers one stream");
        let missing = |viewer: &ViewerStats| match mark.viewers.contains(&viewer.id) {
            true => viewer.missing(stream, mark.from..to),
            false => Vec::new(),
        };
        // What lies in a viewer's socket has arrived, and is read when there is time.
        if !self.viewers.wait_all(LIMIT, |viewer| missing(viewer).is_empty()).await {
            for viewer in self.viewers.snapshot() {
                let (missing, wire) = (missing(&viewer), viewer.connection.wire);
                let span = mark.from..to;
                assert_eq!(missing, [], "{:?} lost packets of {span:?}, {wire:?}\n{}", viewer.id, self.server.logs());
            }
        }
        to - mark.from
    }

    /// Checks that everybody sees a frame that was made after now.
    pub(crate) async fn assert_goes_on(&self) {
        let now = std::time::Instant::now();
        let back = self.viewers.wait_all(LIMIT, |viewer| viewer.first_decoded_after(now).is_some()).await;
        assert!(back, "everybody sees a frame again\n{}", self.server.logs());
    }

    /// Everything that identifies the publisher and the resident viewers, to themselves and to the server.
    pub(crate) async fn identity(&self) -> Identity {
        Identity::of(self).await
    }

    /// Lets somebody new in.
    pub(crate) async fn join(&self, identity: &str) -> ViewerId {
        let token = self.rooms.token(&self.room, identity, "attendee").await.unwrap();
        self.viewers.join_resource(&self.rooms.whep(&self.room, &token).unwrap()).await.unwrap()
    }

    /// Checks that somebody who has just come sees a picture.
    pub(crate) async fn assert_served(&self, id: ViewerId) {
        let decodes =
            wait_until(LIMIT, || self.viewers.viewer(id).is_some_and(|viewer| viewer.key_frame_time().is_some()));
        assert!(decodes.await, "a new viewer has a whole key frame\n{}", self.server.logs());
    }

    /// Checks that somebody new sees a picture, and that somebody who has been there leaves.
    pub(crate) async fn assert_people_come_and_go(&self) {
        let latecomer = self.join("latecomer").await;
        self.assert_served(latecomer).await;
        let oldest = self.viewers.snapshot()[0].id;
        let _stats = self.viewers.leave(oldest).await.unwrap();
    }

    /// Everybody says goodbye.
    pub(crate) async fn end(self) {
        if let Some(audience) = self.audience {
            audience.leave().await;
        }
        self.viewers.leave_all().await.unwrap();
        self.publisher.stop().await.unwrap();
    }
}
