//! What the data plane may do, by who started it: read from the kernel, not from Sluice.

use std::net::UdpSocket;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::net::sockopt::{set_socket_recv_buffer_size, socket_recv_buffer_size};
use rustix::process::geteuid;
use sluice_tests::{Options, Server, in_own_network};

/// Beyond any usual limit of the system.
const ASKED_BYTES: usize = 64 << 20;
const LIMIT: Duration = Duration::from_secs(15);
/// The data plane's user when it was started as root.
const USER: &str = "nobody";

#[test]
fn a_data_plane_started_as_root_has_the_port_and_buffers_that_were_asked_for_and_no_rights() {
    in_own_network(
        "privileges::a_data_plane_started_as_root_has_the_port_and_buffers_that_were_asked_for_and_no_rights",
        async {
            let unforced_bytes = unforced_bytes();
            assert!(unforced_bytes < ASKED_BYTES, "a size that needs rights: {unforced_bytes}");
            let folder = tempfile::tempdir().unwrap();
            let is_root = geteuid().is_root();
            // A user without rights gets neither; root is given both, and its data plane is not root any more.
            let (media_port, expected_bytes) = if is_root { (443, ASKED_BYTES) } else { (4443, unforced_bytes) };
            let options = Options { media_port, wrapper: configured(folder.path()), ..Options::default() };
            let mut server = Server::start(options).await.unwrap();
            let mut pid = server.dataplane_pid().await.unwrap();
            for _ in 0..2 {
                let buffers = buffers(media_port);
                assert_eq!(buffers.len(), 2, "IPv4 and IPv6");
                for (receive_bytes, send_bytes) in buffers {
                    assert_eq!((receive_bytes, send_bytes), (expected_bytes, expected_bytes), "{}", server.logs());
                }
                let user = if is_root { id_of(USER) } else { geteuid().as_raw().to_string() };
                without_rights(pid, &user, is_root).await;
                // Who inherits the sockets needs no rights for them, and keeps none.
                let _killed = server.kill_dataplane().await.unwrap();
                pid = successor(&mut server, pid).await;
            }
        },
    );
}

/// Returns the wrapper that has the data plane ask for large buffers.
fn configured(folder: &Path) -> Vec<String> {
    let file = folder.join("dataplane.toml");
    let text = format!("[udp]\nreceive_buffer = {ASKED_BYTES}\nsend_buffer = {ASKED_BYTES}\n");
    std::fs::write(&file, text).unwrap();
    vec!["env".to_owned(), format!("SLUICE_DATAPLANE_CONFIG={}", file.display())]
}

/// Returns what a socket gets without rights; the kernel reports the double.
fn unforced_bytes() -> usize {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    set_socket_recv_buffer_size(&socket, ASKED_BYTES).unwrap();
    socket_recv_buffer_size(&socket).unwrap() / 2
}

/// Returns the receive and send buffers of all UDP sockets of a port, as the kernel's diagnosis has them.
fn buffers(port: u16) -> Vec<(usize, usize)> {
    let output = Command::new("ss").args(["-uamnH", &format!("sport = :{port}")]).output().expect("`ss` of iproute2");
    let text = String::from_utf8(output.stdout).unwrap();
    let size = |memory: &str, name: &str| {
        let field = memory.split([',', '(', ')']).find_map(|field| field.strip_prefix(name)?.parse::<usize>().ok());
        field.expect("a size") / 2
    };
    text.split("skmem:").skip(1).map(|memory| (size(memory, "rb"), size(memory, "tb"))).collect()
}

/// Waits until no thread of a process may do anything that its user may not.
async fn without_rights(pid: u32, user: &str, gains_none: bool) {
    let begun = Instant::now();
    loop {
        let excess = excess(pid, user, gains_none);
        if excess.is_empty() {
            return;
        }
        assert!(begun.elapsed() < LIMIT, "{excess:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Returns the lines of `/proc/PID/task/*/status` that say more than a user without rights would have there.
fn excess(pid: u32, user: &str, gains_none: bool) -> Vec<String> {
    let mut excess = Vec::new();
    let mut threads = 0;
    for task in std::fs::read_dir(format!("/proc/{pid}/task")).unwrap() {
        let status = std::fs::read_to_string(task.unwrap().path().join("status")).unwrap();
        threads += 1;
        for line in status.lines() {
            let (name, value) = line.split_once(':').unwrap();
            let is_harmless = match name {
                "Uid" => value.split_whitespace().all(|id| id == user),
                "CapInh" | "CapPrm" | "CapEff" | "CapAmb" => value.trim().chars().all(|digit| digit == '0'),
                "NoNewPrivs" => !gains_none || value.trim() == "1",
                _ => true,
            };
            if !is_harmless {
                excess.push(line.to_owned());
            }
        }
    }
    assert!(threads >= 2, "the control thread and a shard");
    excess
}

/// Waits for the data plane that takes the place of another one.
async fn successor(server: &mut Server, killed: u32) -> u32 {
    let begun = Instant::now();
    loop {
        if let Ok(pid) = server.dataplane_pid().await
            && pid != killed
            && server.health().await.is_ok_and(|health| health["status"] == "ok")
        {
            return pid;
        }
        assert!(begun.elapsed() < LIMIT, "{}", server.logs());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn id_of(user: &str) -> String {
    let output = Command::new("id").args(["-u", user]).output().expect("`id`");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
