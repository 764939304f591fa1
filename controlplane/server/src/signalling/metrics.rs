//! What is counted of signalling connections, for Prometheus.

use std::time::Duration;

use prometheus::{Histogram, HistogramOpts, IntCounterVec, IntGauge, Opts, Registry};

use super::close::Close;

/// Upper bounds of the buckets of a request's time, in seconds. Who asks for more than its share waits for seconds.
const REQUEST_BUCKETS: [f64; 8] = [0.001, 0.002, 0.005, 0.01, 0.05, 0.25, 1.0, 5.0];

/// Counters of all connections; clones are the same ones.
#[derive(Clone, Debug)]
pub struct Metrics {
    open: IntGauge,
    begun: IntCounterVec,
    ended: IntCounterVec,
    messages: IntCounterVec,
    request_seconds: Histogram,
}

/// How a connection begins.
#[derive(Clone, Copy, Debug)]
pub(super) enum Beginning {
    /// With a new session.
    Opened,
    /// With an earlier session, and everything that was missed.
    Resumed,
    /// With an earlier session, and how things are, as not everything that was missed is kept.
    ResumedAnew,
    /// With no session.
    Refused,
}

/// Which way a message goes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Direction {
    /// From the client.
    Received,
    /// To the client.
    Sent,
}

impl Metrics {
    /// Makes the counters, each of them registered.
    ///
    /// # Panics
    /// When `registry` has counters of these names already.
    #[must_use]
    pub fn new(registry: &Registry) -> Self {
        let counters = |name: &str, help: &str, label: &str| {
            let counters = IntCounterVec::new(Opts::new(name, help), &[label]).expect("the options are constant");
            registry.register(Box::new(counters.clone())).expect("registered once");
            counters
        };
        let open = IntGauge::new("sluice_websocket_connections", "Signalling connections that are open.");
        let open = open.expect("the options are constant");
        registry.register(Box::new(open.clone())).expect("registered once");
        let help = "Time from a request over a signalling connection until it was carried out or refused.";
        let options = HistogramOpts::new("sluice_websocket_request_seconds", help).buckets(REQUEST_BUCKETS.to_vec());
        let request_seconds = Histogram::with_opts(options).expect("the options are constant");
        registry.register(Box::new(request_seconds.clone())).expect("registered once");
        Self {
            open,
            begun: counters("sluice_websocket_begun_total", "Signalling connections that began, by how.", "how"),
            ended: counters("sluice_websocket_ended_total", "Signalling connections that ended, by code.", "code"),
            messages: counters("sluice_websocket_messages_total", "Messages over signalling connections.", "direction"),
            request_seconds,
        }
    }

    /// Counts a connection, which is open until what comes back is dropped.
    pub(super) fn open(&self) -> OpenConnection {
        self.open.inc();
        OpenConnection(self.open.clone())
    }

    /// Counts how a connection began.
    pub(super) fn begin(&self, beginning: Beginning) {
        let how = match beginning {
            Beginning::Opened => "opened",
            Beginning::Resumed => "resumed",
            Beginning::ResumedAnew => "resumed_anew",
            Beginning::Refused => "refused",
        };
        self.begun.with_label_values(&[how]).inc();
    }

    /// Counts a connection's end.
    pub(super) fn end(&self, close: &Close) {
        self.ended.with_label_values(&[close.code().to_string()]).inc();
    }

    /// Counts a message.
    pub(super) fn message(&self, direction: Direction) {
        let direction = match direction {
            Direction::Received => "received",
            Direction::Sent => "sent",
        };
        self.messages.with_label_values(&[direction]).inc();
    }

    /// Notes how long a request took.
    pub(super) fn request(&self, took: Duration) {
        self.request_seconds.observe(took.as_secs_f64());
    }
}

/// A connection that is counted as open.
#[derive(Debug)]
pub(super) struct OpenConnection(IntGauge);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.dec();
    }
}
