//! Changes between encodings that a viewer's decoder never notices: the pictures show their number, and whatever the viewer
//! asks for, with losses on both ways, the numbers go forward and every picture reads.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sluice_load::film::{Draft, Projector, Recorder};
use sluice_load::payload::Codec;
use sluice_load::{Rooms, wait_until};
use sluice_tests::{ADDRESS, Chance, Loss, Options, Server, Signaller, bound, in_own_network};

use crate::assembled::{Whole, assemble};
use crate::film::{self, PICTURES, RATE, SIZES, Seen};

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

#[test]
fn decoded_numbers_of_vp9_by_descriptor_never_repeat_step_back_or_read_corrupt_whatever_a_viewer_asks_for() {
    let name = "switches::\
                decoded_numbers_of_vp9_by_descriptor_never_repeat_step_back_or_read_corrupt_whatever_a_viewer_asks_for";
    in_own_network(name, watches(Codec::Vp9));
}

#[test]
fn decoded_numbers_of_av1_by_descriptor_never_repeat_step_back_or_read_corrupt_whatever_a_viewer_asks_for() {
    let name = "switches::\
                decoded_numbers_of_av1_by_descriptor_never_repeat_step_back_or_read_corrupt_whatever_a_viewer_asks_for";
    in_own_network(name, watches(Codec::Av1));
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
    /// How many temporal layers of it.
    layers: u8,
}

/// How many temporal layers a film has.
fn layers(codec: Codec) -> u8 {
    film::pattern(codec).iter().map(|step| step.temporal + 1).max().unwrap()
}

/// How many pictures come within `time` of so many temporal layers, in thousandths.
fn expected(codec: Codec, layers: u8, time: Duration) -> u128 {
    let pattern = film::pattern(codec);
    let wanted = pattern.iter().filter(|step| step.temporal < layers).count();
    time.as_millis() * u128::from(RATE) * wanted as u128 / pattern.len() as u128
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
        let (recorder, sdp) =
            Recorder::answer(server.base(), codec, film::is_described(codec), offer["sdp"].as_str().unwrap()).unwrap();
        let answer = json!({ "type": "answer", "offer_id": offer["offer_id"], "sdp": sdp });
        let _ok = signaller.done(answer).await.unwrap();
        let track = signaller.told("track_subscribed").await.unwrap()["track_id"].clone();
        let comes = wait_until(LIMIT, || recorder.count() > 100).await;
        assert!(comes, "{codec} comes: {:?}\n{}", recorder.connection().states, server.logs());
        let now = Instant::now();
        let wishes = vec![Wish { said: now, since: now, encoding: Some(2), layers: layers(codec) }];
        Self { codec, folder, projector, publisher, recorder, signaller, room, track, wishes }
    }

    async fn wish(&mut self, encoding: Option<usize>, layers: u8) {
        let (room, track, paused) = (&self.room, &self.track, encoding.is_none());
        let mut update = json!({ "type": "update_subscription", "room_id": room, "track_id": track, "paused": paused });
        if let Some(encoding) = encoding {
            update["quality"] = QUALITIES[encoding].into();
            update["temporal_layers"] = layers.into();
        }
        // Who says nothing for long is taken to be gone.
        let _news = self.publisher.unread().await.unwrap();
        let said = Instant::now();
        let _ok = self.signaller.done(update).await.unwrap();
        self.wishes.push(Wish { said, since: Instant::now(), encoding, layers });
    }

    /// Wants one thing and then another, and now and then nothing; every other time all of its temporal layers.
    async fn wander(&mut self, chance: &mut Chance, time: Duration) {
        let (end, all) = (Instant::now() + time, layers(self.codec));
        while Instant::now() < end {
            let encoding = usize::try_from(chance.below(4)).unwrap();
            let fewer = u8::try_from(chance.below(u64::from(all) * 2)).unwrap();
            self.wish((encoding < SIZES.len()).then_some(encoding), all.min(fewer + 1)).await;
            tokio::time::sleep(chance.moment(STAY)).await;
        }
    }

    /// Wants each encoding for as long as it may take, and a second more; then of the last one the base layer, all but the
    /// highest temporal layer, and all.
    async fn see_all(&mut self, chance: &mut Chance, calm: Duration) {
        let (mut encodings, all) = ([0, 1, 2], layers(self.codec));
        chance.shuffle(&mut encodings);
        let mut wishes = encodings.map(|encoding| (encoding, all)).to_vec();
        if all > 1 {
            wishes.extend([1, all - 1, all].map(|layers| (encodings[2], layers)));
        }
        for (encoding, layers) in wishes {
            self.wish(Some(encoding), layers).await;
            tokio::time::sleep(calm + Duration::from_secs(1)).await;
        }
    }

    async fn judge(mut self, calm: Duration) {
        let ended = Instant::now();
        self.wish(None, layers(self.codec)).await;
        let Self { codec, folder, projector, publisher, recorder, signaller, wishes, .. } = self;
        let assembled = assemble(codec, film::is_described(codec), recorder.take()).unwrap();
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
        assert_wishes(codec, &wishes, calm, &seen);
        assert!(progress.requests > 0, "{codec}: key frames were asked for");
        // A picture whose loss is not repaired costs those up to the next key frame.
        let until = wishes.iter().skip(1).map(|it| it.since).chain([ended]);
        let watched = wishes.iter().zip(until).filter(|(wish, _)| wish.encoding.is_some());
        let all: u128 = watched
            .map(|(wish, until)| expected(codec, wish.layers, until.saturating_duration_since(wish.since)))
            .sum();
        let least = all * 6 / 10 / 1000;
        assert!(seen.len() as u128 >= least, "{codec}: {} pictures of {least} at least", seen.len());
        signaller.leave().await.unwrap();
        publisher.leave().await.unwrap();
    }
}

/// While a wish stands that has been reached, its encoding comes, in the temporal layers that were wanted and no others, as often
/// as those have pictures; while nothing is wanted nothing comes.
fn assert_wishes(codec: Codec, wishes: &[Wish], calm: Duration, seen: &[(Whole, Seen)]) {
    let (mut steady, mut fewer) = (0, 0);
    for (wish, next) in wishes.iter().zip(wishes.iter().skip(1)) {
        let during = |since: Instant| seen.iter().filter(move |(whole, _)| (since..next.said).contains(&whole.at));
        let Some(encoding) = wish.encoding else {
            let late = during(wish.since + bound(Duration::from_millis(500))).count();
            assert_eq!(late, 0, "{codec}: nothing was wanted");
            continue;
        };
        let settled = wish.since + calm;
        let time = next.said.saturating_duration_since(settled);
        if time < Duration::from_millis(500) {
            continue;
        }
        let sizes: Vec<[u16; 2]> = during(settled).map(|(_, seen)| seen.size).collect();
        let wanted = [SIZES[encoding].width, SIZES[encoding].height];
        let share = expected(codec, wish.layers, time);
        let what = format!("{codec}: {} temporal layers of {wanted:?} for {time:?}: {sizes:?}", wish.layers);
        assert!(sizes.iter().all(|size| *size == wanted), "another encoding: {what}");
        // Half of them may be on their way again, or behind one that is.
        assert!(sizes.len() as u128 >= share / 2000, "too few: {what}");
        let highest = during(settled).map(|(whole, _)| whole.temporal).max();
        assert!(highest < Some(wish.layers), "temporal layer {highest:?}: {what}");
        if wish.layers < layers(codec) {
            // What was on its way before, and one at either end.
            assert!(sizes.len() as u128 <= share / 1000 + 3, "too many: {what}");
            fewer += u8::from(time > Duration::from_millis(900));
        } else if time > Duration::from_millis(900) {
            assert_eq!(highest, Some(wish.layers - 1), "the highest layer does not come again: {what}");
        }
        steady += 1;
    }
    assert!(steady >= SIZES.len(), "{codec}: each encoding was seen");
    assert!(layers(codec) == 1 || fewer >= 2, "{codec}: fewer temporal layers were seen");
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
