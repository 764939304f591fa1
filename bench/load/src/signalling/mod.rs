//! WHIP (RFC 9725) and WHEP over HTTP.

pub(crate) mod sdp;

use std::sync::LazyLock;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, ETAG, HeaderMap, IF_MATCH, LOCATION};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode, Url};

/// Where to publish or play, and as whom.
#[derive(Debug, Clone)]
pub struct Resource {
    /// The endpoint's address, as `http://127.0.0.1:8080/whip/room`.
    pub url: String,
    /// Bearer token.
    pub token: Option<String>,
}

/// A request of this kind is given up after this time.
const REQUEST_LIMIT: Duration = Duration::from_secs(15);

static CLIENT: LazyLock<Client> = LazyLock::new(|| {
    // Test traffic never goes to a proxy of the environment. Nothing is pooled: each peer of the field has its own
    // connection, and a pooled one would die with the runtime that made it.
    Client::builder()
        .no_proxy()
        .pool_max_idle_per_host(0)
        .timeout(REQUEST_LIMIT)
        .build()
        .expect("a client without TLS needs nothing")
});

/// An answer that is not the expected one.
#[derive(Debug, Clone)]
pub struct Refused {
    /// HTTP status.
    pub status: StatusCode,
    /// Body, usually problem+json.
    pub body: String,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.status, self.body)
    }
}

impl std::error::Error for Refused {}

/// A session that the server has created.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    location: Url,
    etag: Option<String>,
    token: Option<String>,
    /// The description that is in force on the server's side.
    pub(crate) answer: String,
}

impl Session {
    /// Posts an offer.
    pub(crate) async fn create(resource: &Resource, offer: String) -> Result<Self> {
        let url = Url::parse(&resource.url).with_context(|| format!("not an address: {}", resource.url))?;
        let request = CLIENT.request(Method::POST, url.clone()).header(CONTENT_TYPE, "application/sdp").body(offer);
        let response = expect(authorized(request, resource.token.as_deref()), &[StatusCode::CREATED]).await?;
        let location = header(response.headers(), LOCATION.as_str()).context("an answer without Location")?;
        let location = url.join(&location).context("Location is not an address")?;
        let etag = header(response.headers(), ETAG.as_str());
        Ok(Self { location, etag, token: resource.token.clone(), answer: response.text().await? })
    }

    /// Address of the session.
    pub(crate) fn location(&self) -> &str {
        self.location.as_str()
    }

    /// Sends candidates after the offer, RFC 9725 section 4.3.1.
    pub(crate) async fn trickle(&self, offer: &str, candidates: &[String]) -> Result<()> {
        let fragment = sdp::fragment_with_candidates(offer, candidates);
        let mut request = self.patch(fragment);
        if let Some(etag) = &self.etag {
            request = request.header(IF_MATCH, etag);
        }
        expect(request, &[StatusCode::NO_CONTENT, StatusCode::OK]).await?;
        Ok(())
    }

    /// Sends new credentials, RFC 9725 section 4.3.2, and returns the whole answer with the server's new ones.
    pub(crate) async fn restart(&mut self, offer: &str) -> Result<String> {
        let request = self.patch(sdp::fragment_of(offer)).header(IF_MATCH, "*");
        let response = expect(request, &[StatusCode::OK]).await?;
        if let Some(etag) = header(response.headers(), ETAG.as_str()) {
            self.etag = Some(etag);
        }
        self.answer = sdp::apply_fragment(&self.answer, &response.text().await?);
        Ok(self.answer.clone())
    }

    /// Ends the session.
    pub(crate) async fn delete(&self) -> Result<()> {
        let request = authorized(CLIENT.delete(self.location.clone()), self.token.as_deref());
        expect(request, &[StatusCode::OK, StatusCode::NO_CONTENT]).await?;
        Ok(())
    }

    fn patch(&self, fragment: String) -> RequestBuilder {
        let request = CLIENT.patch(self.location.clone()).body(fragment);
        authorized(request, self.token.as_deref()).header(CONTENT_TYPE, "application/trickle-ice-sdpfrag")
    }
}

fn authorized(request: RequestBuilder, token: Option<&str>) -> RequestBuilder {
    match token {
        Some(token) => request.header(AUTHORIZATION, format!("Bearer {token}")),
        None => request,
    }
}

fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}

async fn expect(request: RequestBuilder, wanted: &[StatusCode]) -> Result<Response> {
    let response = request.send().await?;
    let status = response.status();
    if wanted.contains(&status) {
        return Ok(response);
    }
    let path = response.url().path().to_owned();
    let body = response.text().await.unwrap_or_default();
    Err(anyhow::Error::new(Refused { status, body }).context(format!("{path} was refused")))
}

/// The REST API that makes rooms and tokens, with an API secret.
#[derive(Debug, Clone)]
pub struct Rooms {
    base: Url,
    secret: String,
}

impl Rooms {
    /// `base` is the server's address, as `http://127.0.0.1:8080`.
    pub fn new(base: &str, secret: &str) -> Result<Self> {
        let base = Url::parse(base).with_context(|| format!("not an address: {base}"))?;
        ensure!(base.scheme() == "http", "only http is spoken here, not {}", base.scheme());
        Ok(Self { base, secret: secret.to_owned() })
    }

    /// Makes a room and returns its id.
    pub async fn create(&self, name: &str) -> Result<String> {
        let room = self.post("/api/rooms", &serde_json::json!({ "name": name })).await?;
        string_of(&room, "id")
    }

    /// Makes a token for `identity` with the role `host`, `speaker` or `attendee`.
    pub async fn token(&self, room_id: &str, identity: &str, role: &str) -> Result<String> {
        let wanted = serde_json::json!({ "identity": identity, "role": role, "expires_in": 86_400 });
        let token = self.post(&format!("/api/rooms/{room_id}/tokens"), &wanted).await?;
        string_of(&token, "token")
    }

    /// Where calls are signalled, as `ws://127.0.0.1:8080/ws`.
    pub(crate) fn signalling(&self) -> Result<String> {
        let url = self.base.join("/ws")?.to_string();
        Ok(url.replacen("http", "ws", 1))
    }

    /// Removes a room.
    pub async fn remove(&self, room_id: &str) -> Result<()> {
        let url = self.base.join(&format!("/api/rooms/{room_id}"))?;
        let request = authorized(CLIENT.delete(url), Some(&self.secret));
        expect(request, &[StatusCode::NO_CONTENT]).await?;
        Ok(())
    }

    /// Where to publish into the room.
    pub fn whip(&self, room_id: &str, token: &str) -> Result<Resource> {
        self.resource("whip", room_id, token)
    }

    /// Where to play the room.
    pub fn whep(&self, room_id: &str, token: &str) -> Result<Resource> {
        self.resource("whep", room_id, token)
    }

    /// Makes `count` attendees with tokens of their own.
    pub async fn whep_each(&self, room_id: &str, prefix: &str, count: usize) -> Result<Vec<Resource>> {
        let mut resources = Vec::with_capacity(count);
        for index in 0..count {
            let token = self.token(room_id, &format!("{prefix}-{index}"), "attendee").await?;
            resources.push(self.whep(room_id, &token)?);
        }
        Ok(resources)
    }

    fn resource(&self, protocol: &str, room_id: &str, token: &str) -> Result<Resource> {
        let url = self.base.join(&format!("/{protocol}/{room_id}"))?.to_string();
        Ok(Resource { url, token: Some(token.to_owned()) })
    }

    async fn post(&self, path: &str, body: &serde_json::Value) -> Result<serde_json::Value> {
        let request = authorized(CLIENT.post(self.base.join(path)?), Some(&self.secret)).json(body);
        let response = expect(request, &[StatusCode::OK, StatusCode::CREATED]).await?;
        Ok(response.json().await?)
    }
}

fn string_of(value: &serde_json::Value, key: &str) -> Result<String> {
    let text = value.get(key).and_then(serde_json::Value::as_str);
    text.map(str::to_owned).with_context(|| format!("the reply has no {key}"))
}
