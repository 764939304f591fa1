//! What tests of calls do all the time.

use serde_json::{Value, json};
use sluice_tests::{Options, Sent, Server, Signaller, answer, offer};

/// Starts a server with these rooms.
pub(crate) async fn with_rooms(rooms: &[&str]) -> Server {
    let server = Server::start(Options::default()).await.unwrap();
    for room in rooms {
        server.make_room(room).await.unwrap();
    }
    server
}

/// Lets somebody into a room; hosts are called so, all others are speakers.
pub(crate) async fn enter(server: &Server, room: &str, identity: &str) -> Signaller {
    let role = if identity.starts_with("host") { "host" } else { "speaker" };
    let token = server.token(room, identity, role).await.unwrap();
    Signaller::enter(server.base(), &token).await.unwrap_or_else(|error| panic!("{error:#}\n{}", server.logs()))
}

/// Lets a session into a further room.
pub(crate) async fn enter_too(client: &mut Signaller, server: &Server, room: &str, identity: &str) -> Value {
    let role = if identity.starts_with("host") { "host" } else { "speaker" };
    let token = server.token(room, identity, role).await.unwrap();
    let joined = client.done(json!({ "type": "join_room", "room_id": room, "token": token })).await.unwrap();
    assert_eq!((&joined["type"], &joined["room_id"]), (&json!("room_joined"), &json!(room)));
    joined
}

/// Publishes with the first offer of a session, and returns the tracks' ids; `fields` are those of each `publish_track`.
pub(crate) async fn publish(client: &mut Signaller, number: u32, sent: &[Sent], fields: &Value) -> Vec<String> {
    for (mid, sent) in sent.iter().enumerate() {
        let source = if *sent == Sent::Audio { "microphone" } else { "camera" };
        let mut request = json!({ "type": "publish_track", "mid": mid.to_string(), "source": source });
        for (key, value) in fields.as_object().into_iter().flatten() {
            request[key] = value.clone();
        }
        client.done(request).await.unwrap();
    }
    let answer = client.done(json!({ "type": "offer", "offer_id": 1, "sdp": offer(number, sent) })).await.unwrap();
    assert_eq!((&answer["type"], &answer["offer_id"]), (&json!("answer"), &json!(1)));
    let tracks = answer["tracks"].as_array().unwrap();
    assert_eq!(tracks.len(), sent.len(), "{answer}");
    tracks.iter().map(|track| text(&track["track_id"])).collect()
}

/// Answers the next offer of the server, and returns it.
pub(crate) async fn answer_offer(client: &mut Signaller) -> Value {
    let offer = client.told("offer").await.unwrap();
    let request =
        json!({ "type": "answer", "offer_id": offer["offer_id"], "sdp": answer(offer["sdp"].as_str().unwrap()) });
    client.done(request).await.unwrap();
    offer
}

pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text")).to_owned()
}

/// Returns the types of messages, in their order.
pub(crate) fn types(messages: &[Value]) -> Vec<&str> {
    messages.iter().map(|message| message["type"].as_str().unwrap()).collect()
}
