//! The real router in process, over a conductor that keeps rooms in a map.

mod access;
mod bodies;
mod conductor;
mod connections;
mod documents;
mod event_streams;
mod guests;
mod lines;
mod operation;
mod page;
mod rooms;
mod same_origin;
mod sessions;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Method, Request, StatusCode};
use serde_json::{Value, json};
use sluice_controlplane_core::access::{Claims, Role};
use tower::ServiceExt as _;

use super::{Parts, Peer, Server, now_seconds, router};
use crate::auth::{ApiKey, KeyRing, issue};
use crate::config::{Guests, Http};
use crate::events::Events;
use crate::store::Store;
use conductor::Rooms;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// The application with its surroundings.
struct Api {
    app: Router,
    server: Server,
    conductor: Arc<Rooms>,
    store: Store,
    _folder: tempfile::TempDir,
}

/// An answer.
#[derive(Debug)]
struct Reply {
    status: u16,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Reply {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {:?}", self.text()))
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Asserts that this is a whole problem document, and returns its code.
    fn code(&self) -> String {
        assert_eq!(self.header("content-type"), "application/problem+json", "{self:?}");
        let problem = self.json();
        assert_eq!(problem["status"], self.status);
        assert_eq!(problem["request_id"], self.header("x-request-id"));
        for member in ["type", "title", "detail"] {
            assert!(problem[member].as_str().is_some_and(|text| !text.is_empty()), "{member} in {problem}");
        }
        problem["code"].as_str().unwrap().to_owned()
    }
}

/// A request that is being put together.
struct Call {
    request: axum::http::request::Builder,
    body: Body,
}

impl Call {
    fn new(method: &str, path: &str) -> Self {
        let peer = Peer(SocketAddr::from(([192, 0, 2, 1], 40_000)));
        let request = Request::builder().method(Method::try_from(method).unwrap()).uri(path).extension(peer);
        Self { request, body: Body::empty() }
    }

    fn from(mut self, address: [u8; 4]) -> Self {
        self.request = self.request.extension(Peer(SocketAddr::from((address, 40_000))));
        self
    }

    fn header(mut self, name: &str, value: &str) -> Self {
        self.request = self.request.header(name, value);
        self
    }

    fn bearer(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    fn key(self) -> Self {
        self.bearer(SECRET)
    }

    fn json(self, body: &Value) -> Self {
        self.body("application/json", body.to_string())
    }

    fn body(self, media_type: &str, body: impl Into<Body>) -> Self {
        let mut call = self.header("content-type", media_type);
        call.body = body.into();
        call
    }
}

impl Api {
    async fn new(guests: Guests) -> Self {
        Self::with(guests, Http::default()).await
    }

    async fn with(guests: Guests, http: Http) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).await.unwrap();
        let conductor = Arc::new(Rooms::default());
        let server = Server::new(Parts {
            config: Http { request_timeout: Duration::from_secs(2), ..http },
            guests,
            keys: KeyRing::new([ApiKey::new("main", SECRET).unwrap()]),
            sessions: conductor.clone(),
            conductor: conductor.clone(),
            events: Arc::new(Events::new(7)),
            store: store.clone(),
        });
        Self { app: router(server.clone()), server, conductor, store, _folder: folder }
    }

    async fn send(&self, call: Call) -> Reply {
        let request = call.request.body(call.body).unwrap();
        let response = self.app.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = to_bytes(body, usize::MAX).await.unwrap().to_vec();
        Reply { status: parts.status.as_u16(), headers: parts.headers, body }
    }

    async fn get(&self, path: &str) -> Reply {
        self.send(Call::new("GET", path)).await
    }

    async fn room(&self, id: &str) {
        let reply = self.send(Call::new("POST", "/api/rooms").key().json(&json!({"id": id, "name": id}))).await;
        assert_eq!(reply.status, StatusCode::CREATED.as_u16(), "{}", reply.text());
    }
}

/// A token as an application would mint it.
fn token(room_id: &str, identity: &str, role: Role) -> String {
    let claims = json!({
        "room_id": room_id, "user_id": identity, "role": role, "exp": now_seconds() + 60, "iat": now_seconds()
    });
    sign(&claims)
}

fn sign(claims: &Value) -> String {
    let claims: Claims = serde_json::from_value(claims.clone()).unwrap();
    issue(&ApiKey::new("main", SECRET).unwrap(), &claims)
}
