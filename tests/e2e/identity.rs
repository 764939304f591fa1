//! What would change if anybody had to connect or negotiate anew, as those who are connected see it and as the server does.

use std::collections::BTreeMap;

use serde_json::Value;
use sluice_load::{Connection, State, ViewerId, ViewerStats};

use crate::show::Show;

/// Participants on one page of the list, more than any show has.
const PAGE: usize = 200;

/// None of it may change when a plane is killed.
#[derive(Debug, PartialEq)]
pub(crate) struct Identity {
    publisher: Transport,
    viewers: BTreeMap<ViewerId, (Transport, Vec<Stream>)>,
    /// By identity: the stay's id, when it began, and the tracks that it publishes, in the words of the server.
    participants: BTreeMap<String, [Value; 4]>,
}

/// What a foreign stack says of its ICE agent and its DTLS association.
#[derive(Debug, PartialEq)]
struct Transport {
    state: Option<State>,
    state_changes: u64,
    /// Datagrams of DTLS that have come: a handshake would bring more.
    dtls: u64,
    error: Option<String>,
}

/// What a receiver knows a stream by.
#[derive(Debug, PartialEq)]
struct Stream {
    mid: String,
    ssrcs: Vec<u32>,
    payload_types: Vec<u8>,
    byes: u64,
}

impl Identity {
    /// Asks those who are connected, and the server, where each session is also addressed by its resource.
    pub(crate) async fn of(show: &Show) -> Self {
        let viewers: Vec<ViewerStats> = show.viewers.snapshot();
        let residents: Vec<&ViewerStats> =
            viewers.iter().filter(|viewer| show.residents.contains(&viewer.id)).collect();
        let publisher = show.publisher.stats();
        let participants = participants(show).await;
        assert!(participants.len() > residents.len(), "the server lists everybody: {participants:?}");
        for location in residents.iter().map(|viewer| viewer.location.as_str()).chain([show.publisher.location()]) {
            assert_known(show, location).await;
        }
        let viewer = |viewer: &&ViewerStats| (viewer.id, (Transport::of(&viewer.connection), streams(viewer)));
        Self {
            publisher: Transport::of(&publisher.connection),
            viewers: residents.iter().map(viewer).collect(),
            participants,
        }
    }
}

impl Transport {
    fn of(connection: &Connection) -> Self {
        assert!(connection.is_connected(), "connected: {connection:?}");
        Self {
            state: connection.states.last().map(|(_, state)| *state),
            state_changes: connection.state_changes,
            dtls: connection.wire.dtls,
            error: connection.error.clone(),
        }
    }
}

fn streams(viewer: &ViewerStats) -> Vec<Stream> {
    let mut streams: Vec<Stream> = viewer
        .tracks
        .iter()
        .map(|track| Stream {
            mid: track.mid.to_string(),
            ssrcs: track.rtp.ssrcs.clone(),
            payload_types: track.rtp.payload_types.clone(),
            byes: track.byes,
        })
        .collect();
    streams.sort_by(|one, other| one.mid.cmp(&other.mid));
    streams
}

/// Whom the server knows of those who stay.
async fn participants(show: &Show) -> BTreeMap<String, [Value; 4]> {
    let url = format!("{}/api/rooms/{}/participants?limit={PAGE}", show.server.base(), show.room);
    let answer = reqwest::Client::new().get(url).bearer_auth(show.server.secret()).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let page: Value = answer.json().await.unwrap();
    assert!(page["next_cursor"].is_null(), "one page has everybody");
    let stays = page["participants"].as_array().unwrap().iter();
    let kept = ["id", "joined_at", "state", "tracks"];
    let stays = stays.map(|stay| (stay["identity"].as_str().unwrap().to_owned(), kept.map(|key| stay[key].clone())));
    stays.filter(|(identity, _)| identity == "publisher" || identity.starts_with("viewer-")).collect()
}

/// Checks that a session's resource is there: it takes a fragment that changes nothing, which one that is gone answers with
/// 404 (RFC 9725 section 4.3).
async fn assert_known(show: &Show, location: &str) {
    let request = reqwest::Client::new().patch(location).bearer_auth(show.server.secret()).header("if-match", "*");
    let request = request.header("content-type", "application/trickle-ice-sdpfrag").body("a=end-of-candidates\r\n");
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), 204, "{location} is a session\n{}", show.server.logs());
}
