//! What the server says that it discarded, and what else its shards counted.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use sluice_tests::Server;

use crate::http::Request;

const LIMIT: Duration = Duration::from_secs(15);

/// Counters of `sluice_shard_discards_total`, all shards added up.
#[derive(Debug, Clone, Default)]
pub(crate) struct Discards(BTreeMap<String, u64>);

impl Discards {
    pub(crate) async fn read(server: &Server) -> Self {
        let counts = added_up(server, "sluice_shard_discards_total", "reason").await;
        assert!(counts.contains_key("stun_forged"), "the data plane tells its counters: {counts:?}");
        Self(counts)
    }

    /// Returns the counter of a reason that `docs/METRICS.md` names.
    pub(crate) fn of(&self, reason: &str) -> u64 {
        *self.0.get(reason).unwrap_or_else(|| panic!("no counter is called {reason}"))
    }

    /// Waits until the counter of `reason` has risen by `least` from here.
    pub(crate) async fn wait_rise(&self, server: &Server, reason: &str, least: u64) {
        let deadline = Instant::now() + LIMIT;
        loop {
            let now = Self::read(server).await;
            let risen = now.of(reason) - self.of(reason);
            if risen >= least {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "{reason} rose by {risen}, not by {least}: {self:?}, then {now:?}\n{}",
                server.logs()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// Counters of `sluice_shard_events_total`, all shards added up.
#[derive(Debug, Clone, Default)]
pub(crate) struct ShardEvents(BTreeMap<String, u64>);

impl ShardEvents {
    pub(crate) async fn read(server: &Server) -> Self {
        Self(added_up(server, "sluice_shard_events_total", "name").await)
    }

    /// Returns a counter that `docs/METRICS.md` names.
    pub(crate) fn of(&self, name: &str) -> u64 {
        *self.0.get(name).unwrap_or_else(|| panic!("no counter is called {name}"))
    }
}

/// Returns a metric's values by one of its labels.
async fn added_up(server: &Server, metric: &str, label: &str) -> BTreeMap<String, u64> {
    let answer = Request::new("GET", "/metrics").bearer(server.secret()).send(server).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let (start, label) = (format!("{metric}{{"), format!("{label}=\""));
    let mut counts = BTreeMap::new();
    for line in answer.text().lines().filter(|line| line.starts_with(&start)) {
        let (labels, value) = line.rsplit_once(' ').unwrap();
        let value_of_label = labels.split(&label).nth(1).and_then(|rest| rest.split('"').next()).unwrap();
        *counts.entry(value_of_label.to_owned()).or_default() += value.parse::<u64>().unwrap();
    }
    counts
}
