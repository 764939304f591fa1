//! WHIP, WHEP and the REST calls of [`crate::Rooms`] for tests: every session is answered by an endpoint of our own.

use std::collections::HashMap;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, patch, post};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::link::{Faults, Link};
use crate::peer::endpoint::{Endpoint, Role};
use crate::peer::worker::{Farewell, Worker};
use crate::publisher::{PublisherConfig, PublisherStats, Sent};
use crate::signalling::Resource;
use crate::signalling::sdp;
use crate::viewer::{Tracks, ViewerConfig, ViewerId, ViewerStats};

/// The far end of a session.
struct Far {
    worker_id: u64,
    connection: Arc<Mutex<crate::Connection>>,
    tracks: Option<Arc<Mutex<Tracks>>>,
    sent: Option<Arc<Mutex<Sent>>>,
    /// The client's description that is in force.
    offer: String,
    etag: u32,
    _link: Option<Link>,
}

pub(super) struct Inner {
    worker: Worker,
    sessions: Mutex<HashMap<u32, Far>>,
    next: Mutex<u32>,
    publishing: PublisherConfig,
    viewing: ViewerConfig,
    pub(super) faults: Option<Arc<Faults>>,
    pub(super) patches: Mutex<Vec<String>>,
}

/// A server on a port of its own, until it is dropped.
pub(super) struct Server {
    pub(super) inner: Arc<Inner>,
    base: String,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
pub(super) const TOKEN: &str = "open";

impl Server {
    pub(super) async fn start() -> Self {
        Self::with(|_, _| {}, None).await
    }

    /// `shape` changes what the far ends send and how they view.
    pub(super) async fn with(
        shape: impl FnOnce(&mut PublisherConfig, &mut ViewerConfig),
        faults: Option<Arc<Faults>>,
    ) -> Self {
        let nowhere = Resource { url: String::new(), token: None };
        let (mut publishing, mut viewing) = (PublisherConfig::new(nowhere.clone()), ViewerConfig::new(nowhere));
        viewing.watch_rtcp = true;
        shape(&mut publishing, &mut viewing);
        let inner = Arc::new(Inner {
            worker: Worker::spawn("far").unwrap(),
            sessions: Mutex::default(),
            next: Mutex::new(1),
            publishing,
            viewing,
            faults,
            patches: Mutex::default(),
        });
        let router = Router::new()
            .route("/whip/{room}", post(publish))
            .route("/whep/{room}", post(play))
            .route("/session/{id}", patch(change).delete(end))
            .route("/api/rooms", post(create_room))
            .route("/api/rooms/{room}", delete(remove_room))
            .route("/api/rooms/{room}/tokens", post(create_token))
            .with_state(Arc::clone(&inner));
        let listener = TcpListener::bind((LOCAL, 0)).await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { inner, base, task }
    }

    pub(super) fn url(&self) -> &str {
        &self.base
    }

    pub(super) fn whip(&self) -> Resource {
        Resource { url: format!("{}/whip/room", self.base), token: Some(TOKEN.to_owned()) }
    }

    pub(super) fn whep(&self) -> Resource {
        Resource { url: format!("{}/whep/room", self.base), token: Some(TOKEN.to_owned()) }
    }

    pub(super) fn sessions(&self) -> usize {
        self.inner.sessions.lock().unwrap().len()
    }

    /// What the far end of a WHIP session has seen.
    pub(super) fn far_viewer(&self, session: u32) -> ViewerStats {
        let sessions = self.inner.sessions.lock().unwrap();
        let far = &sessions[&session];
        let tracks = far.tracks.as_ref().unwrap().lock().unwrap().clone();
        let connection = far.connection.lock().unwrap().clone();
        ViewerStats::new(ViewerId::first(), String::new(), connection, tracks)
    }

    /// What the far end of a WHEP session has sent.
    pub(super) fn far_publisher(&self, session: u32) -> PublisherStats {
        let sessions = self.inner.sessions.lock().unwrap();
        let far = &sessions[&session];
        let connection = far.connection.lock().unwrap().clone();
        PublisherStats::new(connection, &far.sent.as_ref().unwrap().lock().unwrap())
    }

    /// Makes the far end of a WHIP session ask for a key frame.
    pub(super) fn request_key_frame(&self, session: u32) {
        let id = self.inner.sessions.lock().unwrap()[&session].worker_id;
        self.inner.worker.act(id, |endpoint, _| {
            endpoint.request_key_frames();
            Ok(())
        });
    }
}

fn authorized(headers: &HeaderMap) -> bool {
    let tokens = ["Bearer open", "Bearer fanout "];
    let value = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    tokens.iter().any(|token| value.starts_with(token))
}

async fn publish(State(inner): State<Arc<Inner>>, headers: HeaderMap, offer: String) -> Response {
    let role = inner.viewing.role();
    let tracks = role.tracks_handle();
    let setup = inner.viewing.setup(LOCAL);
    let answered = Endpoint::answering(&setup, Role::Viewer(Box::new(role)), &offer);
    inner.answer(&headers, offer, answered, Some(tracks), None)
}

async fn play(State(inner): State<Arc<Inner>>, headers: HeaderMap, offer: String) -> Response {
    let role = inner.publishing.role();
    let sent = role.sent_handle();
    let setup = inner.publishing.setup(LOCAL);
    let answered = Endpoint::answering(&setup, Role::Publisher(Box::new(role)), &offer);
    inner.answer(&headers, offer, answered, None, Some(sent))
}

impl Inner {
    fn answer(
        &self,
        headers: &HeaderMap,
        offer: String,
        answered: anyhow::Result<(Endpoint, String)>,
        tracks: Option<Arc<Mutex<Tracks>>>,
        sent: Option<Arc<Mutex<Sent>>>,
    ) -> Response {
        if !authorized(headers) {
            return (StatusCode::UNAUTHORIZED, "no such token").into_response();
        }
        let (endpoint, mut answer) = answered.unwrap();
        let address = endpoint.local_address();
        let link = self.faults.clone().map(|faults| Link::towards(address, faults));
        if let Some(link) = &link {
            answer = answer.replace(&format!(" {} ", address.port()), &format!(" {} ", link.address().port()));
        }
        let connection = endpoint.connection_handle();
        let worker_id = self.worker.add(endpoint);
        let mut next = self.next.lock().unwrap();
        let id = *next;
        *next += 1;
        let far = Far { worker_id, connection, tracks, sent, offer, etag: 1, _link: link };
        self.sessions.lock().unwrap().insert(id, far);
        let headers = [(header::LOCATION, format!("/session/{id}")), (header::ETAG, "\"1\"".to_owned())];
        (StatusCode::CREATED, headers, answer).into_response()
    }
}

async fn change(
    State(inner): State<Arc<Inner>>,
    Path(id): Path<u32>,
    headers: HeaderMap,
    fragment: String,
) -> Response {
    inner.patches.lock().unwrap().push(fragment.clone());
    let restart = headers[header::IF_MATCH] == "*";
    let (worker_id, offer, etag) = {
        let mut sessions = inner.sessions.lock().unwrap();
        let far = sessions.get_mut(&id).unwrap();
        if !restart && headers[header::IF_MATCH] != format!("\"{}\"", far.etag) {
            return StatusCode::PRECONDITION_FAILED.into_response();
        }
        far.offer = sdp::apply_fragment(&far.offer, &fragment);
        far.etag += u32::from(restart);
        (far.worker_id, far.offer.clone(), format!("\"{}\"", far.etag))
    };
    let (sender, receiver) = tokio::sync::oneshot::channel();
    inner.worker.act(worker_id, move |endpoint, _| {
        sender.send(endpoint.accept_offer(&offer)?).unwrap();
        Ok(())
    });
    let answer = receiver.await.unwrap();
    if !restart {
        return StatusCode::NO_CONTENT.into_response();
    }
    (StatusCode::OK, [(header::ETAG, etag)], sdp::fragment_of(&answer)).into_response()
}

async fn end(State(inner): State<Arc<Inner>>, Path(id): Path<u32>) -> StatusCode {
    match inner.sessions.lock().unwrap().remove(&id) {
        Some(far) => {
            inner.worker.remove(far.worker_id, Farewell::Vanish);
            StatusCode::NO_CONTENT
        }
        None => StatusCode::NOT_FOUND,
    }
}

async fn create_room(headers: HeaderMap, body: String) -> Response {
    if !authorized(&headers) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let name: serde_json::Value = serde_json::from_str(&body).unwrap();
    (StatusCode::CREATED, serde_json::json!({ "id": name["name"] }).to_string()).into_response()
}

async fn remove_room() -> StatusCode {
    StatusCode::NO_CONTENT
}

async fn create_token(Path(room): Path<String>, body: String) -> Response {
    let wanted: serde_json::Value = serde_json::from_str(&body).unwrap();
    let token = format!("{room} {} {}", wanted["identity"], wanted["role"]).replace('"', "");
    (StatusCode::CREATED, serde_json::json!({ "token": token }).to_string()).into_response()
}
