//! Changes between encodings that a viewer's decoder never notices: the pictures show their number, and whatever the viewer
//! asks for, with losses on both ways, the numbers go forward and every picture reads.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sluice_load::film::{Draft, Projector, Recorder};
use sluice_load::payload::Codec;
use sluice_load::{Rooms, wait_until};
use sluice_tests::{ADDRESS, Chance, Loss, Options, Server, Signaller, bound, in_own_network};

use crate::film::{self, PICTURES, RATE, SIZES, Seen, Whole};

/// How long a viewer changes its mind; a soak test says another time.
const SECONDS: &str = "SLUICE_SOAK_SECONDS";
const SHORT: Duration = Duration::from_secs(12);
/// The longest that it stays with a wish, and with nothing: shorter than the film is long, so that numbers stay unambiguous.
const STAY: Duration = Duration::from_millis(2500);
/// How long a wish may take on a path with losses: a key frame is asked for again after a second.
const REACHED_WITHIN: Duration = Duration::from_secs(2);
/// One of so many datagrams is lost, on both ways.
const ONE_IN: u32 = 100;
const LIMIT: Duration = Duration::from_secs(20);
const QUALITIES: [&str; 3] = ["low", "medium", "high"];

#[test]
fn decoded_numbers_never_repeat_step_back_or_read_corrupt_whatever_a_viewer_asks_for() {
    let name = "switches::decoded_numbers_never_repeat_step_back_or_read_corrupt_whatever_a_viewer_asks_for";
    in_own_network(name, watches(Codec::Vp8));
}

#[test]
fn decoded_numbers_of_h264_never_repeat_step_back_or_read_corrupt_whatever_a_viewer_asks_for() {
    let name = "switches::decoded_numbers_of_h264_never_repeat_step_back_or_read_corrupt_whatever_a_viewer_asks_for";
    in_own_network(name, watches(Codec::H264));
}

async fn watches(codec: Codec) {
    let options = Options { announce: Some(ADDRESS.to_owned()), ..Options::default() };
    let server = Server::start(options).await.unwrap();
    let mut chance = Chance::new();
    let time = std::env::var(SECONDS).map_or(SHORT, |text| Duration::from_secs(text.parse().expect("seconds")));
    let mut screening = Screening::start(&server, codec).await;
    let loss = Loss::of_datagrams(ONE_IN).unwrap();
    screening.wander(&mut chance, time).await;
    let lost = loss.count().unwrap();
    drop(loss);
    assert!(lost > 10, "the network loses datagrams: {lost}");
    let calm = bound(REACHED_WITHIN);
    screening.see_all(&mut chance, calm).await;
    println!("measured: {codec}: {lost} datagrams lost while a viewer changed its mind for {time:?}");
    screening.judge(calm).await;
}

/// What a viewer wanted, and since when: an encoding, or nothing.
#[derive(Debug, Clone, Copy)]
struct Wish {
    /// When it was said, and when the server had heard it.
    said: Instant,
    since: Instant,
    encoding: Option<usize>,
}

/// A film, and somebody who watches it.
struct Screening {
    codec: Codec,
    folder: tempfile::TempDir,
    projector: Projector,
    /// Keeps the publisher's session.
    publisher: Signaller,
    recorder: Recorder,
    signaller: Signaller,
    room: String,
    track: Value,
    wishes: Vec<Wish>,
}

impl Screening {
    async fn start(server: &Server, codec: Codec) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_owned();
        let film = tokio::task::spawn_blocking(move || film::encode(codec, &path)).await.unwrap().unwrap();
        let rooms = Rooms::new(server.base(), server.secret()).unwrap();
        let room = rooms.create("screening").await.unwrap();
        let token = rooms.token(&room, "publisher", "speaker").await.unwrap();
        let mut publisher = Signaller::enter(server.base(), &token).await.unwrap();
        let draft = Draft::new(server.base(), film).unwrap();
        let track = json!({ "type": "publish_track", "mid": draft.mid, "kind": "video", "source": "camera" });
        let _ok = publisher.done(track).await.unwrap();
        let offer = json!({ "type": "offer", "offer_id": 1, "sdp": draft.offer });
        let answer = publisher.done(offer).await.unwrap();
        let projector = draft.open(answer["sdp"].as_str().unwrap()).unwrap();
        let connected = wait_until(LIMIT, || projector.connection().is_connected()).await;
        assert!(connected, "{codec}: {:?}\n{}", projector.connection().states, server.logs());
        let token = rooms.token(&room, "viewer", "attendee").await.unwrap();
        let mut signaller = Signaller::enter(server.base(), &token).await.unwrap();
        let offer = signaller.told("offer").await.unwrap();
        let (recorder, sdp) = Recorder::answer(server.base(), codec, offer["sdp"].as_str().unwrap()).unwrap();
        let answer = json!({ "type": "answer", "offer_id": offer["offer_id"], "sdp": sdp });
        let _ok = signaller.done(answer).await.unwrap();
        let track = signaller.told("track_subscribed").await.unwrap()["track_id"].clone();
        let comes = wait_until(LIMIT, || recorder.count() > 100).await;
        assert!(comes, "{codec} comes: {:?}\n{}", recorder.connection().states, server.logs());
        let now = Instant::now();
        let wishes = vec![Wish { said: now, since: now, encoding: Some(2) }];
        Self { codec, folder, projector, publisher, recorder, signaller, room, track, wishes }
    }

    async fn wish(&mut self, encoding: Option<usize>) {
        let (room, track, paused) = (&self.room, &self.track, encoding.is_none());
        let mut update = json!({ "type": "update_subscription", "room_id": room, "track_id": track, "paused": paused });
        if let Some(encoding) = encoding {
            update["quality"] = QUALITIES[encoding].into();
        }
        // Who says nothing for long is taken to be gone.
        let _news = self.publisher.unread().await.unwrap();
        let said = Instant::now();
        let _ok = self.signaller.done(update).await.unwrap();
        self.wishes.push(Wish { said, since: Instant::now(), encoding });
    }

    /// Wants one thing and then another, and now and then nothing.
    async fn wander(&mut self, chance: &mut Chance, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            let encoding = usize::try_from(chance.below(4)).unwrap();
            self.wish((encoding < SIZES.len()).then_some(encoding)).await;
            tokio::time::sleep(chance.moment(STAY)).await;
        }
    }

    /// Wants each encoding for as long as it may take, and a second more.
    async fn see_all(&mut self, chance: &mut Chance, calm: Duration) {
        let mut all = [0, 1, 2];
        chance.shuffle(&mut all);
        for encoding in all {
            self.wish(Some(encoding)).await;
            tokio::time::sleep(calm + Duration::from_secs(1)).await;
        }
    }

    async fn judge(mut self, calm: Duration) {
        let ended = Instant::now();
        self.wish(None).await;
        let Self { codec, folder, projector, publisher, recorder, signaller, wishes, .. } = self;
        let assembled = film::assemble(codec, recorder.take()).unwrap();
        let (pictures, path) = (assembled.pictures.clone(), folder.path().to_owned());
        let decoded = tokio::task::spawn_blocking(move || film::decode(codec, &pictures, &path));
        let seen: Vec<(Whole, Seen)> = assembled.pictures.into_iter().zip(decoded.await.unwrap().unwrap()).collect();
        let progress = projector.progress();
        println!(
            "measured: {codec}: {} pictures decoded over {} wishes, {} packets missing, {} pictures passed over, {} \
             key frame requests",
            seen.len(),
            wishes.len(),
            assembled.missing,
            assembled.passed_over,
            progress.requests
        );
        assert_forward(&seen);
        let mut steady = 0;
        for (wish, next) in wishes.iter().zip(wishes.iter().skip(1)) {
            let during = |since: Instant| seen.iter().filter(move |(whole, _)| (since..next.said).contains(&whole.at));
            let Some(encoding) = wish.encoding else {
                let late = during(wish.since + bound(Duration::from_millis(500))).count();
                assert_eq!(late, 0, "{codec}: nothing was wanted");
                continue;
            };
            let settled = wish.since + calm;
            if next.said < settled + Duration::from_millis(500) {
                continue;
            }
            let sizes: Vec<[u16; 2]> = during(settled).map(|(_, seen)| seen.size).collect();
            let wanted = [SIZES[encoding].width, SIZES[encoding].height];
            assert!(sizes.len() >= 4, "{codec}: {} pictures of {wanted:?}", sizes.len());
            assert!(sizes.iter().all(|size| *size == wanted), "{codec}: {wanted:?} was wanted: {sizes:?}");
            steady += 1;
        }
        assert!(steady >= SIZES.len(), "{codec}: each encoding was seen");
        assert!(progress.requests > 0, "{codec}: key frames were asked for");
        // A picture whose loss is not repaired costs those up to the next key frame.
        let watched: Duration = wishes
            .iter()
            .zip(wishes.iter().skip(1).map(|it| it.since).chain([ended]))
            .filter(|(wish, _)| wish.encoding.is_some())
            .map(|(wish, until)| until.saturating_duration_since(wish.since))
            .sum();
        let least = watched.as_millis() * u128::from(RATE) / 1000 * 6 / 10;
        assert!(seen.len() as u128 >= least, "{codec}: {} pictures of {least} at least", seen.len());
        signaller.leave().await.unwrap();
        publisher.leave().await.unwrap();
    }
}

/// Each picture shows a number, later than the one before; so are its timestamp and the id in its descriptor. Where another
/// encoding begins its first picture may show the moment of the last one again, in another size: the last one was sent before
/// anybody knew of the key frame, and without that nothing after it can be decoded.
fn assert_forward(seen: &[(Whole, Seen)]) {
    for (place, (whole, seen)) in seen.iter().enumerate() {
        assert!(
            seen.number.is_some(),
            "picture {place} is corrupt: {seen:?}, key {}, {}",
            whole.is_key,
            whole.timestamp
        );
    }
    for (place, pair) in seen.windows(2).enumerate() {
        let [(before, shown), (after, shows)] = pair else { continue };
        let step = (shows.number.unwrap() + PICTURES - shown.number.unwrap()) % PICTURES;
        let what = format!("picture {place} and the next: {shown:?} {shows:?}");
        let least = usize::from(shown.size == shows.size);
        assert!((least..PICTURES / 2).contains(&step), "a number repeats or steps back: {what}");
        let ticks = after.timestamp.wrapping_sub(before.timestamp).cast_signed();
        assert!(ticks > 0, "time repeats or steps back by {ticks}: {what}");
        if let (Some(before), Some(after)) = (before.picture_id, after.picture_id) {
            let step = after.wrapping_sub(before) & 0x7fff;
            assert!((1..1 << 14).contains(&step), "the picture id repeats or steps back: {before} {after}");
        }
    }
}
