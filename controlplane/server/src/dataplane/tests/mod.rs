//! The supervisor against processes that die, hang, refuse and are taken over.

pub(crate) mod fake;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use rustix::process::{Pid, Signal, kill_process};
use sluice_protocol::event::{Event, Refusal};
use sluice_protocol::ids::{EgressId, TrackId, TransportId};
use sluice_protocol::limits::COOKIE_BYTES_MAX;
use sluice_protocol::media::{ExtensionIds, MediaKind, Mid, Ssrc};
use sluice_protocol::plan::{Change, Cookie, Egress, Key, Layer, Object, Plan, Transport};
use tempfile::TempDir;
use tokio::sync::mpsc::Receiver;
use tokio::time::{Instant, timeout};

use super::limits::{EVENTS_MAX, PING_INTERVAL, PONG_LIMIT};
use super::{DataplaneEvent, DataplaneHandle, NotDone, Setup, Status, Supervisor};
use crate::clock;

/// Far beyond what anything here takes, for machines that are busy.
const PATIENCE: Duration = Duration::from_secs(30);

struct Rig {
    supervisor: Supervisor,
    handle: DataplaneHandle,
    events: Receiver<DataplaneEvent>,
}

fn rig(folder: &Path, socket: &Path, stop: bool, broken: bool) -> Rig {
    rig_of(folder, socket, true, stop, broken)
}

fn rig_of(folder: &Path, socket: &Path, start: bool, stop: bool, broken: bool) -> Rig {
    let setup = Setup {
        data_dir: folder.to_owned(),
        socket: socket.to_owned(),
        start,
        program: fake::program(folder, broken),
        arguments: Vec::new(),
        media_port: 0,
        stop,
    };
    let (supervisor, handle, events) = super::start(setup).unwrap();
    Rig { supervisor, handle, events }
}

impl Rig {
    async fn new(folder: &TempDir) -> Self {
        let mut rig = rig(folder.path(), &folder.path().join("socket"), true, false);
        assert_eq!(rig.adopt().await, Plan::new());
        rig
    }

    async fn event(&mut self) -> DataplaneEvent {
        timeout(PATIENCE, self.events.recv()).await.expect("an event in time").expect("the supervisor runs")
    }

    /// Waits for the snapshot, adopts it as it is, and returns it.
    async fn adopt(&mut self) -> Plan {
        loop {
            if let DataplaneEvent::Snapshot(plan) = self.event().await {
                self.handle.adopt(plan.clone());
                return plan;
            }
        }
    }

    async fn change(&self, changes: Vec<Change>) {
        let outcome = timeout(PATIENCE, self.handle.change(changes)).await.expect("an acknowledgement in time");
        assert_eq!(outcome, Ok(()));
    }

    async fn running_after(&self, before: Option<u32>) -> u32 {
        let wait = async {
            loop {
                let status = self.handle.status();
                if let Some(pid) = status.pid.filter(|pid| Some(*pid) != before)
                    && status.state == Status::Running
                {
                    return pid;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(PATIENCE, wait).await.expect("a running data plane in time")
    }

    async fn failing(&self) -> String {
        let wait = async {
            loop {
                if let Status::Failing { reason } = self.handle.status().state {
                    return reason;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(PATIENCE, wait).await.expect("a failure that is reported")
    }

    async fn counters(&self) -> BTreeMap<String, u64> {
        let stats = timeout(PATIENCE, self.handle.stats()).await.unwrap().expect("statistics");
        stats.shards[0].counters.iter().cloned().collect()
    }
}

fn pid(number: u32) -> Pid {
    Pid::from_raw(i32::try_from(number).unwrap()).unwrap()
}

/// A process that ended and was not collected by its parent, which is this one, is dead too.
fn is_alive(number: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{number}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.trim_start().starts_with(['Z', 'X']))
}

fn transport(slot: u32) -> Object {
    Object::Transport(Transport {
        id: TransportId::new(0, slot, 1),
        credentials: Vec::new(),
        keys: None,
        cname: String::new(),
        extmap_allow_mixed: false,
        rtcp_rsize: false,
        remb_cap: None,
    })
}

fn egress(slot: u32) -> Object {
    Object::Egress(Egress {
        id: EgressId::new(0, slot, 1),
        transport: TransportId::new(0, 1, 1),
        kind: MediaKind::Audio,
        mid: Mid::default(),
        ssrc: Ssrc(1),
        rtx: None,
        nack: false,
        extensions: ExtensionIds::default(),
        source: None,
        paused: false,
        max_layer: Layer::MAX,
        playout_delay: None,
    })
}

fn put(object: Object) -> Change {
    Change::Put(Box::new(object))
}

#[tokio::test]
async fn one_is_started_and_outlives_its_supervisor_and_is_adopted_by_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("socket");
    let mut first = rig(folder.path(), &socket, false, false);
    assert_eq!(first.adopt().await, Plan::new());
    let cookie = Object::Cookie(Cookie { key: 7, bytes: vec![1; 50_000] });
    first.change(vec![put(transport(1)), put(cookie.clone())]).await;
    let process = first.running_after(None).await;
    first.supervisor.shut_down().await;
    assert!(is_alive(process));

    let mut second = rig(folder.path(), &socket, true, false);
    assert_eq!(second.adopt().await, [transport(1), cookie].into_iter().collect());
    assert_eq!(second.running_after(None).await, process);
    assert_eq!(second.handle.status().restarts, 0);
    second.change(vec![Change::Remove(transport(1).key())]).await;
    let removed = second.event().await;
    assert!(matches!(removed, DataplaneEvent::Removed(key) if key == transport(1).key()), "{removed:?}");
    second.supervisor.shut_down().await;
    assert!(!is_alive(process), "stopped");
}

#[tokio::test]
async fn one_that_is_killed_is_replaced_and_given_everything_again() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::new(&folder).await;
    rig.change(vec![put(transport(1)), put(transport(2)), put(Object::Cookie(Cookie { key: 1, bytes: vec![1] }))])
        .await;
    let mut process = rig.running_after(None).await;
    for restarts in 1..=3 {
        kill_process(pid(process), Signal::KILL).unwrap();
        let killed = Instant::now();
        let next = rig.running_after(Some(process)).await;
        assert!(!is_alive(process), "the old one is proved dead first");
        // A change made now is acknowledged after everything that was replayed.
        rig.change(vec![put(transport(10 + restarts))]).await;
        let gap = killed.elapsed();
        assert!(gap < Duration::from_secs(3), "replaced in {gap:?}");
        let counters = rig.counters().await;
        let replayed = u64::from(restarts) + 1;
        assert_eq!(counters["resumed"], replayed, "what was acknowledged before");
        assert_eq!(counters["commands"], replayed + 1);
        assert_eq!(counters["inherited"], 1, "the table");
        let status = rig.handle.status();
        assert_eq!(status.restarts, u64::from(restarts));
        assert_eq!(status.replacements.are_too_many(clock::now()), restarts == 3);
        process = next;
    }
    rig.supervisor.shut_down().await;
}

#[tokio::test]
async fn one_that_a_service_manager_starts_is_waited_for_and_never_started() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("socket");
    let mut rig = rig_of(folder.path(), &socket, false, true, false);
    let program = folder.path().join("fake-dataplane");
    let manager = || std::process::Command::new(&program).arg("--ipc").arg(&socket).spawn().unwrap();
    let mut first = manager();
    assert_eq!(rig.adopt().await, Plan::new());
    rig.change(vec![put(transport(1))]).await;
    let process = rig.running_after(None).await;
    assert_eq!(process, first.id());
    first.kill().unwrap();
    first.wait().unwrap();
    let mut second = manager();
    assert_eq!(rig.running_after(Some(process)).await, second.id());
    rig.change(vec![put(transport(2))]).await;
    assert_eq!(rig.counters().await["resumed"], 1);
    let starts = std::fs::read_to_string(folder.path().join("starts")).unwrap();
    assert_eq!(starts.len(), 2, "the manager's alone");
    rig.supervisor.shut_down().await;
    second.wait().unwrap();
}

#[tokio::test]
async fn one_that_hangs_is_killed_before_another_is_started() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::new(&folder).await;
    rig.change(vec![put(transport(1))]).await;
    let process = rig.running_after(None).await;
    kill_process(pid(process), Signal::STOP).unwrap();
    let next = rig.running_after(Some(process)).await;
    assert!(!is_alive(process), "never two");
    rig.change(vec![put(transport(2))]).await;
    assert_eq!(rig.counters().await["resumed"], 1);
    assert!(is_alive(next));
    rig.supervisor.shut_down().await;
}

#[tokio::test]
async fn one_that_breaks_its_connection_and_lives_is_spoken_to_again() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::new(&folder).await;
    rig.change(vec![put(transport(1))]).await;
    let process = rig.running_after(None).await;
    rig.handle.request_key_frame(fake::BREAKS);
    rig.change(vec![put(transport(2))]).await;
    assert_eq!((rig.running_after(None).await, rig.handle.status().restarts), (process, 0));
    rig.supervisor.shut_down().await;
    assert!(!is_alive(process), "stopped, though it was connected to twice");
}

#[tokio::test]
async fn one_that_breaks_its_connection_and_cannot_be_reached_is_dead_before_another_is_started() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::new(&folder).await;
    rig.change(vec![put(transport(1))]).await;
    let process = rig.running_after(None).await;
    std::fs::remove_file(folder.path().join("socket")).unwrap();
    rig.handle.request_key_frame(fake::BREAKS);
    let next = rig.running_after(Some(process)).await;
    assert!(!is_alive(process), "never two on one set of keys");
    rig.change(vec![put(transport(2))]).await;
    assert_eq!(rig.counters().await["resumed"], 1);
    assert_eq!(rig.handle.status().restarts, 1);
    rig.supervisor.shut_down().await;
    assert!(!is_alive(next));
}

#[tokio::test]
async fn a_socket_that_somebody_else_holds_without_answering_is_reported_and_nothing_started_beside() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("socket");
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    let _waiting = std::os::unix::net::UnixStream::connect(&socket).unwrap();
    let rig = rig(folder.path(), &socket, true, false);
    let reason = rig.failing().await;
    assert!(reason.contains("takes no connection"), "{reason}");
    assert!(!folder.path().join("starts").exists(), "nothing was started");
    rig.supervisor.shut_down().await;
}

#[tokio::test]
async fn refusals_key_frames_and_datagrams_find_their_way() {
    let folder = tempfile::tempdir().unwrap();
    let mut rig = Rig::new(&folder).await;
    let egress = egress(1);
    let key = egress.key();
    let both = rig.handle.change(vec![put(transport(1)), put(egress)]);
    let outcome = timeout(PATIENCE, both).await.expect("an answer in time");
    assert_eq!(outcome, Err(NotDone::Refused(vec![(key, Refusal::NoSuchReference)])));
    rig.change(vec![put(transport(2))]).await;
    let refused = rig.event().await;
    assert!(matches!(refused, DataplaneEvent::Refused { key: Key::Egress(_), .. }), "{refused:?}");
    let large = Object::Cookie(Cookie { key: 1, bytes: vec![0; COOKIE_BYTES_MAX + 1] });
    let key = large.key();
    assert_eq!(rig.handle.change(vec![put(large)]).await, Err(NotDone::Refused(vec![(key, Refusal::Invalid)])));
    let refused = rig.event().await;
    assert!(matches!(refused, DataplaneEvent::Refused { key: Key::Cookie(_), .. }), "{refused:?}");
    rig.handle.request_key_frame(TrackId::new(0, 3, 1));
    let started = rig.event().await;
    assert!(matches!(started, DataplaneEvent::Happened(Event::TrackStarted { .. })), "{started:?}");
    let expected: fake::Punted = (TransportId::new(0, 9, 1), Bytes::from(vec![22; 2048]));
    rig.handle.send_dtls(expected.0, &expected.1);
    assert_eq!(rig.handle.dtls_unsent(), 0);
    rig.handle.send_dtls(TransportId::new(1, 9, 1), &expected.1);
    assert_eq!(rig.handle.dtls_unsent(), 1, "a shard that is not there");
    let DataplaneEvent::Punt(transport, datagram) = rig.event().await else { panic!("a datagram") };
    assert_eq!((transport, datagram), expected);
    rig.supervisor.shut_down().await;
}

#[tokio::test]
async fn an_owner_of_the_plan_who_is_slow_misses_nothing_and_costs_no_data_plane() {
    let folder = tempfile::tempdir().unwrap();
    let mut rig = Rig::new(&folder).await;
    let process = rig.running_after(None).await;
    let count = u32::try_from(EVENTS_MAX).unwrap() + 500;
    // Each is refused, and nobody takes the refusals: the link stops in the midst of them.
    let refused = rig.handle.change((0..count).map(|slot| put(egress(slot))).collect());
    while rig.events.len() < EVENTS_MAX {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let later = rig.handle.change(vec![put(transport(1))]);
    tokio::time::sleep(PONG_LIMIT + 2 * PING_INTERVAL).await;
    assert_eq!(rig.events.len(), EVENTS_MAX, "the rest waits");
    for slot in 0..count {
        let event = rig.event().await;
        let expected = egress(slot).key();
        assert!(matches!(event, DataplaneEvent::Refused { key, .. } if key == expected), "{slot}: {event:?}");
    }
    let outcomes = timeout(PATIENCE, async { (refused.await, later.await) }).await.expect("answers in time");
    assert!(matches!(&outcomes, (Err(NotDone::Refused(refused)), Ok(())) if refused.len() == count as usize));
    assert_eq!((rig.running_after(None).await, rig.handle.status().restarts), (process, 0), "not taken for hung");
    rig.supervisor.shut_down().await;
}

#[tokio::test]
async fn a_program_that_ends_at_once_is_reported_and_started_ever_more_slowly() {
    for broken in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let rig = rig(folder.path(), &folder.path().join("socket"), true, broken);
        if !broken {
            // No data plane at all: it ends before it answers.
            std::fs::write(folder.path().join("fake-dataplane"), "#!/bin/sh\necho >> \"$0.starts\"\nexit 3\n").unwrap();
        }
        let reason = rig.failing().await;
        let expected = if broken { "the port is taken" } else { "exit status: 3" };
        assert!(reason.contains(expected), "{reason}");
        let starts = folder.path().join(if broken { "starts" } else { "fake-dataplane.starts" });
        let count = || std::fs::read_to_string(&starts).unwrap().len();
        let before = count();
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(count() <= before + 5, "{} starts in a second", count() - before);
        rig.supervisor.shut_down().await;
    }
}

#[tokio::test]
async fn a_control_plane_that_was_succeeded_leaves_the_data_plane_alone() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let socket = folders[0].path().join("socket");
    let first = Rig::new(&folders[0]).await;
    first.change(vec![put(transport(1))]).await;
    let process = first.running_after(None).await;
    // Another data directory, whose epochs begin at 1 again: the data plane's greeting tells what to exceed.
    let mut second = rig(folders[1].path(), &socket, false, false);
    assert_eq!(second.adopt().await, [transport(1)].into_iter().collect());
    let reason = first.failing().await;
    assert!(reason.contains("another control plane"), "{reason}");
    second.change(vec![put(transport(2))]).await;
    first.supervisor.shut_down().await;
    assert_eq!(second.running_after(None).await, process, "neither killed nor stopped by the first");
    assert_eq!(second.handle.status().restarts, 0);
    second.supervisor.shut_down().await;
    kill_process(pid(process), Signal::KILL).unwrap();
}
