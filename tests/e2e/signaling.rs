//! The conversation of `docs/SIGNALING.md`, held with a running server.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use sluice_tests::{Options, Sent, Server, Signaller, answer, encode, nominating_check, offer};
use tokio::net::UdpSocket;

const DOCUMENT: &str = include_str!("../../docs/SIGNALING.md");
const SCHEMA: &str = include_str!("../../docs/signaling.schema.json");
/// What a `ClientHello` asks for (RFC 5246 section 7.4.1.2): one cipher suite, no compression, and the extensions groups,
/// signature algorithms, point formats and extended master secret; not `use_srtp`, without which there are no keys for media.
const WITHOUT_SRTP: [u8; 34] =
    [0, 2, 0xc0, 0x2b, 1, 0, 0, 26, 0, 10, 0, 4, 0, 2, 0, 29, 0, 13, 0, 4, 0, 2, 4, 3, 0, 11, 0, 2, 1, 0, 0, 23, 0, 0];

/// A message of the document.
#[derive(Debug)]
struct Block {
    name: String,
    is_from_client: bool,
    line: usize,
    message: Value,
}

/// Returns the document's messages in their order.
fn blocks() -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut lines = DOCUMENT.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let Some(fence) = line.strip_prefix("```json ") else { continue };
        let text: Vec<&str> = lines.by_ref().map(|(_, line)| line).take_while(|line| *line != "```").collect();
        let message = serde_json::from_str(&text.join("\n")).unwrap_or_else(|error| panic!("line {number}: {error}"));
        let (direction, name) = fence.split_once('=').unwrap();
        assert!(["from", "to"].contains(&direction), "line {number}");
        blocks.push(Block { name: name.to_owned(), is_from_client: direction == "from", line: number + 1, message });
    }
    blocks
}

/// Returns the types of all messages that the schema has.
fn types() -> BTreeSet<String> {
    fn collect(schema: &Value, types: &mut BTreeSet<String>) {
        if let Some(names) = schema.pointer("/properties/type/enum").and_then(Value::as_array) {
            types.extend(names.iter().filter_map(Value::as_str).map(str::to_owned));
        }
        match schema {
            Value::Object(fields) => fields.values().for_each(|field| collect(field, types)),
            Value::Array(items) => items.iter().for_each(|item| collect(item, types)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    let mut types = BTreeSet::new();
    for name in ["ClientRequest", "Said"] {
        collect(&schema["components"]["schemas"][name], &mut types);
    }
    types
}

#[test]
fn every_message_of_the_schema_has_an_example() {
    let types = types();
    assert!(types.len() >= 40, "{types:?}");
    let shown: BTreeSet<String> =
        blocks().iter().map(|block| block.message["type"].as_str().unwrap().to_owned()).collect();
    let unknown: Vec<_> = shown.difference(&types).collect();
    assert!(unknown.is_empty(), "the schema does not know {unknown:?}");
    let missing: Vec<_> = types.difference(&shown).collect();
    assert!(missing.is_empty(), "docs/SIGNALING.md shows no {missing:?}");
}

/// One of those who talk.
struct Talker {
    client: Signaller,
    /// The number before its first message.
    base: u64,
    /// The newest offer of the server.
    offered: String,
}

/// The conversation as it goes.
struct Conversation {
    server: Server,
    talkers: BTreeMap<String, Talker>,
    /// What the document's ids, tokens and times are in this run.
    known: BTreeMap<String, String>,
}

#[tokio::test(flavor = "multi_thread")]
async fn the_documented_conversation_is_what_a_server_says() {
    let server = Server::start(Options::default()).await.unwrap();
    for (id, name) in [("demo", "Demo"), ("other", "Other")] {
        let room = serde_json::json!({ "id": id, "name": name });
        let (status, answer) = server.api(reqwest::Method::POST, "/api/rooms", &room).await.unwrap();
        assert_eq!(status, 201, "{answer}");
    }
    let mut talk = Conversation { server, talkers: BTreeMap::new(), known: BTreeMap::new() };
    let blocks = blocks();
    assert!(blocks.len() > 30, "the document's messages are found");
    for block in &blocks {
        println!("line {}: {} {}", block.line, block.name, block.message["type"]);
        if block.is_from_client {
            talk.say(block).await;
        } else {
            talk.hear(block).await;
        }
    }
    // Who has shown a document wrong everywhere would pass too.
    let ids = talk.known.keys().filter(|id| id.starts_with("PA_") || id.starts_with("TR_") || id.starts_with("CO_"));
    assert!(ids.count() >= 6, "{:?}", talk.known);
}

/// Returns a datagram with a `ClientHello` (RFC 6347 section 4.3) that the server cannot take.
fn client_hello() -> Vec<u8> {
    const VERSION: [u8; 2] = [0xfe, 0xfd];
    let hello = [&VERSION[..], &[7; 32], &[0, 0], &WITHOUT_SRTP].concat();
    let length = u32::try_from(hello.len()).unwrap().to_be_bytes();
    let message = [&[1], &length[1..], &[0; 5], &length[1..], &hello].concat();
    let length = u16::try_from(message.len()).unwrap().to_be_bytes();
    [&[22], &VERSION[..], &[0; 8], &length, &message].concat()
}

/// Ends the connection that an offer describes, as a client does whose DTLS fails: checks the path, and begins a handshake that
/// cannot succeed.
async fn fail_dtls(offered: &str) {
    let of = |name: &str| offered.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    let candidate: Vec<&str> = of("a=candidate:").split(' ').collect();
    let server = format!("{}:{}", candidate[4], candidate[5]);
    let socket = UdpSocket::bind("0.0.0.0:0").await.unwrap();
    let check = nominating_check(&format!("{}:viewer00", of("a=ice-ufrag:")), of("a=ice-pwd:")).unwrap();
    let mut answer = [0; 512];
    let _sent = socket.send_to(&encode(check).unwrap(), &server).await.unwrap();
    let (size, _from) = socket.recv_from(&mut answer).await.unwrap();
    assert_eq!(answer[..size][..2], [1, 1], "the check succeeds");
    let _sent = socket.send_to(&client_hello(), &server).await.unwrap();
    let (_size, _from) = socket.recv_from(&mut answer).await.unwrap();
    assert_eq!((answer[0], answer[13]), (21, 2), "a fatal alert");
}

impl Conversation {
    /// Mints a token as the document's people have them: Ann is the host, and has a name.
    async fn token(&self, room: &str, identity: &str) -> String {
        let (role, name) = if identity == "ann" { ("host", "Ann") } else { ("speaker", identity) };
        let wanted = serde_json::json!({ "identity": identity, "role": role, "name": name });
        let path = format!("/api/rooms/{room}/tokens");
        let (_, answer) = self.server.api(reqwest::Method::POST, &path, &wanted).await.unwrap();
        answer["token"].as_str().unwrap().to_owned()
    }

    async fn say(&mut self, block: &Block) {
        let mut message = block.message.clone();
        let kind = message["type"].as_str().unwrap().to_owned();
        self.fill(&mut message);
        if message["token"] == "JWT" {
            message["token"] = self.token(message["room_id"].as_str().unwrap_or("demo"), &block.name).await.into();
        }
        if kind == "resume" {
            let talker = self.talkers.remove(&block.name).unwrap();
            let (base, seq) = (talker.base, message["seq"].as_u64().unwrap());
            assert!(talker.base + seq <= talker.client.seq(), "line {}: it has heard less", block.line);
            talker.client.cut();
            let mut client = Signaller::connect(self.server.base(), "").await.unwrap();
            message["seq"] = (base + seq).into();
            client.say(&message).await.unwrap();
            self.talkers.insert(block.name.clone(), Talker { client, base, offered: String::new() });
            return;
        }
        let talker = self.talkers.get_mut(&block.name).unwrap();
        match kind.as_str() {
            "offer" => message["sdp"] = offer(7, &[Sent::Audio, Sent::Video]).into(),
            "answer" => message["sdp"] = answer(&talker.offered).into(),
            _ => {}
        }
        talker.client.say(&message).await.unwrap();
    }

    /// Waits for the message with the document's number, and compares it.
    async fn hear(&mut self, block: &Block) {
        let place = format!("line {}", block.line);
        if block.message["type"] == "welcome" {
            let token = self.token("demo", &block.name).await;
            let client = Signaller::connect(self.server.base(), &format!("token={token}")).await.unwrap();
            self.talkers.insert(block.name.clone(), Talker { client, base: 0, offered: String::new() });
        }
        let talker = self.talkers.get_mut(&block.name).unwrap();
        if block.message["type"] == "pong" {
            let heard = talker.client.pong().await.unwrap_or_else(|error| panic!("{place}: {error:#}"));
            return self.compare(&block.message, &heard, &format!("{place}: $"));
        }
        if block.message["type"] == "connection_closed" {
            fail_dtls(&talker.offered).await;
        }
        let number = block.message["seq"].as_u64().unwrap();
        let mut heard = loop {
            let next = talker.client.next().await.unwrap_or_else(|error| panic!("{place}: {error:#}"));
            if next["type"] == "offer" {
                next["sdp"].as_str().unwrap().clone_into(&mut talker.offered);
            }
            let seq = next["seq"].as_u64().unwrap();
            if next["type"] == "welcome" {
                talker.base = seq - 1;
            }
            assert!(seq <= talker.base + number, "{place}: {} came before {next}", block.message);
            if seq == talker.base + number {
                break next;
            }
            println!("{place}: before that came {next:.300}");
        };
        heard["seq"] = number.into();
        self.compare(&block.message, &heard, &format!("{place}: $"));
    }

    /// Puts this run's ids and tokens where the document's stand.
    fn fill(&self, value: &mut Value) {
        match value {
            Value::String(text) => {
                if let Some(known) = self.known.get(text.as_str()) {
                    known.clone_into(text);
                }
            }
            Value::Array(values) => values.iter_mut().for_each(|value| self.fill(value)),
            Value::Object(fields) => fields.values_mut().for_each(|value| self.fill(value)),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    /// Compares what came with what the document has there.
    fn compare(&mut self, documented: &Value, heard: &Value, path: &str) {
        match (documented, heard) {
            (Value::Object(ours), Value::Object(theirs)) => {
                let keys = |fields: &serde_json::Map<String, Value>| fields.keys().cloned().collect::<Vec<_>>();
                let (mut own, mut other) = (keys(ours), keys(theirs));
                own.sort();
                other.sort();
                assert_eq!(own, other, "{path}: {heard}");
                for (key, value) in ours {
                    self.compare(value, &theirs[key], &format!("{path}.{key}"));
                }
            }
            (Value::Array(ours), Value::Array(theirs)) => {
                assert_eq!(ours.len(), theirs.len(), "{path}: {heard}");
                for (index, (own, other)) in ours.iter().zip(theirs).enumerate() {
                    self.compare(own, other, &format!("{path}[{index}]"));
                }
            }
            (Value::String(own), Value::String(other)) => self.compare_text(own, other, path),
            // Some of a day has passed when it is said.
            (Value::Number(own), Value::Number(other)) if path.ends_with(".expires_in") => {
                assert!(own.as_u64().unwrap().abs_diff(other.as_u64().unwrap()) < 60, "{path}: {heard}");
            }
            _ => assert_eq!(documented, heard, "{path}"),
        }
    }

    /// What the document shows of an id, a token or a time stands for one thing all the way.
    fn compare_text(&mut self, documented: &str, heard: &str, path: &str) {
        let prefix = ["PA_", "TR_", "CO_"].into_iter().find(|prefix| documented.starts_with(prefix));
        if documented == "JWT" {
            assert_eq!(heard.split('.').filter(|part| !part.is_empty()).count(), 3, "{path}: {heard}");
        } else if documented.starts_with("v=0") {
            assert!(heard.starts_with("v=0\r\n") && heard.contains("\r\nm="), "{path}: {heard}");
        } else if path.ends_with("_at") {
            let shape = |text: &str| {
                text.chars().map(|letter| if letter.is_ascii_digit() { '0' } else { letter }).collect::<String>()
            };
            assert_eq!(shape(documented), shape(heard), "{path}");
        } else if prefix.is_some() || documented.contains('…') {
            let start = prefix.unwrap_or_default();
            assert!(heard.starts_with(start) && heard.len() > start.len() + 8, "{path}: {heard}");
            let known = self.known.entry(documented.to_owned()).or_insert_with(|| heard.to_owned());
            assert_eq!(known, heard, "{path}: {documented} was another one before");
        } else {
            assert_eq!(documented, heard, "{path}");
        }
    }
}
