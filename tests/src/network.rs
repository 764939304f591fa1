//! A network of a test's own: a namespace with loopback and one made address, where nothing else can be reached.
//!
//! Browsers and foreign stacks gather candidates from every address of the machine, and some send nothing to loopback
//! candidates. In a namespace they find one address that is the same everywhere, and no packet leaves the machine. The
//! namespace holds the test's processes too: whatever a test has started ends with it.

use std::future::Future;
use std::process::{Command, Output, Stdio};

/// The made address, of a block that is kept for documentation (RFC 5737 section 3).
pub const ADDRESS: &str = "192.0.2.1";

/// Set in the process that runs inside.
const INSIDE: &str = "SLUICE_TESTS_INSIDE";

/// Makes the network, then runs the test; the shell stays, as the process that reaps what loses its parent. Without
/// a default route Firefox gathers no candidates; where it leads nobody answers.
const SETUP: &str = "set -e
ip link set lo up
ip link add t0 type veth peer name t1
ip addr add 192.0.2.1/24 dev t0
ip link set t0 up
ip link set t1 up
ip route add default via 192.0.2.254 dev t0
set +e
\"$0\" \"$@\"
exit $?";

/// Runs the body of the test `name` (its path as the test runner prints it) in a network of its own: starts this
/// test binary again inside for that one test.
///
/// # Panics
/// When the body fails inside, with what it printed; when no network can be made.
pub fn in_own_network(name: &str, body: impl Future<Output = ()>) {
    if std::env::var_os(INSIDE).is_some() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        return runtime.expect("a runtime starts").block_on(body);
    }
    let output = inside(name).expect("`unshare` of util-linux starts");
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{name} failed in a network of its own:\n{text}");
    assert!(text.contains("1 passed"), "no test is called {name}:\n{text}");
    // The runner shows it when asked to, as it does with other tests' output. A line may begin with what the runner says.
    for mark in ["expected failure: ", "measured: "] {
        for found in text.lines().filter_map(|line| line.get(line.find(mark)?..)) {
            #[expect(clippy::print_stdout, reason = "what a test has found out belongs into its output")]
            {
                println!("{found}");
            }
        }
    }
}

fn inside(name: &str) -> std::io::Result<Output> {
    let mut command = Command::new("unshare");
    command.args(["--net", "--pid", "--mount-proc", "--fork", "--kill-child"]);
    if !rustix::process::geteuid().is_root() {
        command.args(["--user", "--map-current-user", "--keep-caps"]);
    }
    command.args(["sh", "-c", SETUP]).arg(std::env::current_exe()?);
    command.args(["--exact", name, "--nocapture", "--test-threads", "1"]);
    command.env(INSIDE, "1").stdin(Stdio::null()).output()
}
