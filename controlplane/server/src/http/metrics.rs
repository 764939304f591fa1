//! Counters for Prometheus: of HTTP and signalling, and what the conductor tells of rooms and the data plane.

use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use prometheus::{
    Encoder, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};
use sluice_controlplane_core::access::Endpoint;
use sluice_protocol::stats::Stats;

use super::extract::Shown;
use super::refusals::AccessErrors;
use super::{Problem, Server};
use crate::conductor::{ConductorCounts, ConductorHealth, DataplaneState};
use crate::signalling;

/// Upper bounds of the latency histogram's buckets, in seconds.
const LATENCY_BUCKETS: [f64; 10] = [0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0];
/// Methods that are counted by name; a caller may send any word.
const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
/// What a shard tells among its counters that goes up and down: it would break rates of a counter.
const HELD: [&str; 4] = ["transports", "tracks", "egresses", "replays"];

/// The counters of HTTP.
#[derive(Debug)]
pub(super) struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    seconds: HistogramVec,
    pub(super) signalling: signalling::Metrics,
}

impl Metrics {
    pub(super) fn new() -> Self {
        let registry = Registry::new();
        let requests = IntCounterVec::new(
            Opts::new("sluice_http_requests_total", "HTTP requests answered."),
            &["method", "route", "status"],
        );
        let seconds = HistogramVec::new(
            HistogramOpts::new("sluice_http_request_seconds", "Time from a request's head to its answer's head.")
                .buckets(LATENCY_BUCKETS.to_vec()),
            &["route"],
        );
        let (requests, seconds) =
            (requests.expect("the options are constant"), seconds.expect("the options are constant"));
        registry.register(Box::new(requests.clone())).expect("registered once");
        registry.register(Box::new(seconds.clone())).expect("registered once");
        let signalling = signalling::Metrics::new(&registry);
        Self { registry, requests, seconds, signalling }
    }

    pub(super) fn count(&self, method: &str, route: &str, status: StatusCode, took: Duration) {
        let method = METHODS.iter().find(|known| **known == method).unwrap_or(&"other");
        self.requests.with_label_values(&[*method, route, status.as_str()]).inc();
        self.seconds.with_label_values(&[route]).observe(took.as_secs_f64());
    }
}

/// Gives all metrics.
#[utoipa::path(get, path = "/metrics", tag = "operation", security(("key" = [])),
    responses((status = 200, description = "Metrics in Prometheus' text format", content_type = "text/plain"), AccessErrors))]
pub(super) async fn metrics(State(server): State<Server>, shown: Shown) -> Result<Response, Problem> {
    server.authorize(&shown, None, Endpoint::Metrics).await?;
    let health = server.conductor.health().await;
    // Without the data plane its counters are absent, which is not the same as zero.
    let stats = server.conductor.stats().await.ok();
    let mut families = server.metrics.registry.gather();
    families.extend(snapshot(&health, stats.as_ref()).gather());
    families.extend(of_conductor(&server.conductor.counts()).gather());
    let mut text = Vec::new();
    let encoder = TextEncoder::new();
    encoder
        .encode(&families, &mut text)
        .map_err(|error| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", error.to_string()))?;
    Ok(([(CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response())
}

/// Returns what is counted elsewhere, as it is now.
fn snapshot(health: &ConductorHealth, stats: Option<&Stats>) -> Registry {
    let registry = Registry::new();
    let gauge = |name: &str, help: &str, value: usize| {
        let gauge = IntGauge::new(name, help).expect("the names are constant");
        gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        registry.register(Box::new(gauge)).expect("each name once");
    };
    let is_up = matches!(health.dataplane, DataplaneState::Running | DataplaneState::Unstable { .. });
    gauge("sluice_rooms", "Rooms.", health.rooms);
    gauge("sluice_participants", "Participants in all rooms.", health.participants);
    gauge("sluice_dataplane_up", "Whether the data plane runs and has its plan.", usize::from(is_up));
    let counters = |name: &str, help: &str, labels: &[&str]| {
        let counters = IntCounterVec::new(Opts::new(name, help), labels).expect("the names are constant");
        registry.register(Box::new(counters.clone())).expect("each name once");
        counters
    };
    let restarts = counters("sluice_dataplane_restarts_total", "How often the data plane was started again.", &[]);
    restarts.with_label_values::<&str>(&[]).inc_by(health.dataplane_restarts);
    let Some(stats) = stats else { return registry };
    gauge("sluice_transports", "Transports in the data plane.", stats.transports.len());
    gauge("sluice_ingress_streams", "Streams that the data plane receives.", stats.ingress.len());
    gauge("sluice_egress_streams", "Streams that the data plane sends.", stats.egress.len());
    let named = counters("sluice_shard_events_total", "What a shard counted, by name.", &["shard", "name"]);
    let discards =
        counters("sluice_shard_discards_total", "Datagrams and packets discarded, by reason.", &["shard", "reason"]);
    let held = gauges(&registry, "sluice_shard_held", "What a shard holds now, by name.", &["shard", "name"]);
    for shard in &stats.shards {
        let label = shard.shard.to_string();
        for (name, value) in &shard.counters {
            if HELD.contains(&name.as_str()) {
                held.with_label_values(&[label.as_str(), name.as_str()]).set(i64::try_from(*value).unwrap_or(i64::MAX));
            } else {
                named.with_label_values(&[label.as_str(), name.as_str()]).inc_by(*value);
            }
        }
        for (reason, value) in &shard.discards {
            discards.with_label_values(&[label.as_str(), reason.as_str()]).inc_by(*value);
        }
    }
    stream_gauges(&registry, stats);
    registry
}

/// Returns what the control plane itself counts.
fn of_conductor(counts: &ConductorCounts) -> Registry {
    let registry = Registry::new();
    for (name, help, value) in [
        ("sluice_dtls_dropped_total", "DTLS datagrams and records that were dropped.", counts.dtls.dropped),
        ("sluice_dtls_handshakes_deferred_total", "Handshakes' first datagrams without a place.", counts.dtls.deferred),
        ("sluice_dtls_unsent_total", "DTLS datagrams that found no way to the data plane.", counts.dtls_unsent),
    ] {
        let counter = IntCounter::new(name, help).expect("the names are constant");
        counter.inc_by(value);
        registry.register(Box::new(counter)).expect("each name once");
    }
    let help = "Changed objects of the plan that wait for the data plane.";
    let waiting = IntGauge::new("sluice_plan_changes_waiting", help).expect("the names are constant");
    waiting.set(i64::try_from(counts.changes_waiting).unwrap_or(i64::MAX));
    registry.register(Box::new(waiting)).expect("each name once");
    registry
}

fn gauges(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
    let family = IntGaugeVec::new(Opts::new(name, help), labels).expect("the names are constant");
    registry.register(Box::new(family.clone())).expect("each name once");
    family
}

/// Sums over streams that come and go may fall, so they are gauges.
fn stream_gauges(registry: &Registry, stats: &Stats) {
    let help = "Datagrams of the transports that exist now, by direction.";
    let family = gauges(registry, "sluice_transport_packets", help, &["direction"]);
    let received: u64 = stats.transports.iter().map(|transport| transport.received_packets).sum();
    let sent: u64 = stats.transports.iter().map(|transport| transport.sent_packets).sum();
    for (direction, packets) in [("received", received), ("sent", sent)] {
        family.with_label_values(&[direction]).set(i64::try_from(packets).unwrap_or(i64::MAX));
    }
}
