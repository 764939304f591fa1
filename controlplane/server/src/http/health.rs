//! Health: whether this process lives, whether it can serve, and what it depends on.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::Server;
use crate::conductor::DataplaneState;

/// Whether everything is as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Status {
    /// All of it.
    Ok,
    /// Something is missing or keeps failing; what goes on goes on.
    Degraded,
    /// It cannot serve.
    Unavailable,
}

/// How the server is.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Health)]
pub(super) struct HealthDocument {
    /// The whole.
    status: Status,
    /// Liveness: always true in an answer.
    live: bool,
    /// Readiness: whether calls can begin.
    ready: bool,
    /// What it depends on.
    dependencies: Dependencies,
    /// Rooms.
    rooms: usize,
    /// Participants in all rooms, without those who are hidden.
    participants: usize,
    /// The version of the control plane.
    version: &'static str,
}

/// What the server depends on.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Dependencies {
    /// The database.
    database: DatabaseHealth,
    /// The other plane.
    dataplane: DataplaneHealth,
}

/// How the database is.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DatabaseHealth {
    /// Whether it answers.
    status: Status,
}

/// How the data plane is.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DataplaneHealth {
    /// Its state: `degraded` while it starts or when it was started again often lately, `unavailable` when it keeps dying.
    status: Status,
    /// Its process.
    pid: Option<u32>,
    /// How often it was started again since the control plane started.
    restarts: u64,
    /// What is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// Gives liveness, readiness and the state of each dependency.
#[utoipa::path(get, path = "/api/health", tag = "operation", responses(
    (status = 200, description = "The server can serve", body = HealthDocument),
    (status = 503, description = "The server lives, but cannot serve now", body = HealthDocument)))]
pub(super) async fn health(State(server): State<Server>) -> Response {
    let is_stored = server.store.is_ready().await;
    let conductor = server.conductor.health().await;
    let is_up = matches!(conductor.dataplane, DataplaneState::Running | DataplaneState::Unstable { .. });
    let (dataplane, reason) = match conductor.dataplane {
        DataplaneState::Running => (Status::Ok, None),
        DataplaneState::Unstable { reason } => (Status::Degraded, Some(reason)),
        DataplaneState::Starting => (Status::Degraded, Some("it is being started".to_owned())),
        DataplaneState::Failing { reason } => (Status::Unavailable, Some(reason)),
    };
    let ready = is_stored && is_up;
    // Rooms that are there go on without the database, and calls while the data plane is replaced.
    let status = if ready { dataplane } else { dataplane.max(Status::Degraded) };
    let document = HealthDocument {
        status,
        live: true,
        ready,
        dependencies: Dependencies {
            database: DatabaseHealth { status: if is_stored { Status::Ok } else { Status::Unavailable } },
            dataplane: DataplaneHealth {
                status: dataplane,
                pid: conductor.dataplane_pid,
                restarts: conductor.dataplane_restarts,
                reason,
            },
        },
        rooms: conductor.rooms,
        participants: conductor.participants.saturating_sub(conductor.hidden_participants),
        version: env!("CARGO_PKG_VERSION"),
    };
    let code = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, axum::Json(document)).into_response()
}

/// The same as `/api/health`, where load balancers look for it.
#[utoipa::path(get, path = "/health", tag = "operation", responses(
    (status = 200, description = "The server can serve", body = HealthDocument),
    (status = 503, description = "The server lives, but cannot serve now", body = HealthDocument)))]
pub(super) async fn health_at_root(server: State<Server>) -> Response {
    health(server).await
}
