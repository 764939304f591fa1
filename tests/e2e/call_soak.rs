//! A room of thirty foreign participants who come and go, with kills of either plane: at the end everybody gets what they
//! should and nothing else, and nothing has grown. `SLUICE_SOAK_SECONDS` makes it long, which is what `make soak` does.

use std::time::Duration;

use anyhow::Result;
use sluice_load::Shape;
use sluice_load::scenario::call::{Config, Driver, run};
use sluice_tests::{Chance, Options, Server};

/// How long people come and go.
const SECONDS: &str = "SLUICE_SOAK_SECONDS";
const SHORT: Duration = Duration::from_secs(30);
/// A long run kills a plane this often, in its first half.
const KILLED_EVERY: Duration = Duration::from_secs(90);
/// How long the control plane is away at most, and how long another data plane may take.
const AWAY: Duration = Duration::from_secs(3);
const LIMIT: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn thirty_people_come_and_go_while_either_plane_is_killed_and_in_the_end_everybody_gets_what_they_should() {
    let mut chance = Chance::new();
    let churn = match std::env::var(SECONDS) {
        Ok(text) => Duration::from_secs(text.parse().expect("SLUICE_SOAK_SECONDS is a number")),
        Err(_) => SHORT,
    };
    let server = Server::start(Options::default()).await.unwrap();
    let turns = usize::try_from(churn.as_secs() / 2 / KILLED_EVERY.as_secs()).unwrap().max(2);
    let config = Config {
        seed: chance.below(1 << 32),
        churn,
        strikes: turns,
        // Few packets: it is sessions that are tried here, beside whatever else the machine does.
        shape: Shape { audio_packets_per_second: 10, frames_per_second: 8, ..Shape::default() },
        files: Some(server.data_dir()),
        ..Config::new(server.base(), server.secret())
    };
    let mut planes = Planes { server, chance };
    let report = run(&config, &mut planes).await.unwrap();
    println!("{report}");
    println!(
        "measured: call: {} joins, {} delivered, p99 of joins {:.0} ms",
        report.counts.joins, report.delivered, report.joins.p99_ms
    );
    let logs = planes.server.logs();
    assert!(report.counts.joins > 30 && report.counts.resumes > 0, "people came and went:\n{report}");
    assert!(report.present > 10, "there are people left at the end:\n{report}");
    assert!(report.faults.is_empty(), "{report}\n{logs}");
}

/// Both planes, killed by turns.
struct Planes {
    server: Server,
    chance: Chance,
}

impl Driver for Planes {
    async fn processes(&mut self) -> Result<Vec<u32>> {
        Ok(vec![self.server.dataplane_pid().await?, self.server.controlplane_pid()?])
    }

    async fn strike(&mut self, turn: usize) -> Result<()> {
        if turn.is_multiple_of(2) {
            let old = self.server.dataplane_pid().await?;
            let _at = self.server.kill_dataplane().await?;
            let _new = self.server.wait_replaced(old, LIMIT).await?;
        } else {
            self.server.kill_controlplane()?;
            self.chance.wait(AWAY).await;
            self.server.start_controlplane().await?;
        }
        Ok(())
    }
}
