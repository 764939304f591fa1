//! A network of a test's own: a namespace with loopback and one made address, where nothing else can be reached.
//!
//! Browsers and foreign stacks gather candidates from every address of the machine, and some send nothing to loopback
//! candidates. In a namespace they find one address that is the same everywhere, and no packet leaves the machine. The
//! namespace holds the test's processes too: whatever a test has started ends with it.

use std::future::Future;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::Script;

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

/// Loss on the way into a port of the test's own network; there is none any more when it is dropped.
#[derive(Debug)]
pub struct Loss(());

impl Loss {
    /// Loses every `one_in`th packet of pictures, and of their repairs.
    ///
    /// # Errors
    /// When there are no nftables, or outside of [`in_own_network`].
    pub fn towards(port: u16, one_in: u32) -> Result<Self> {
        Self::of(&format!("udp dport {port} udp length > 300 numgen inc mod {one_in} == 0"))
    }

    /// Loses every `one_in`th datagram, whoever sends it: media, repairs and reports.
    ///
    /// # Errors
    /// When there are no nftables, or outside of [`in_own_network`].
    pub fn of_datagrams(one_in: u32) -> Result<Self> {
        Self::of(&format!("meta l4proto udp numgen inc mod {one_in} == 0"))
    }

    /// Loses all of UDP, as networks do that let the web through and nothing else.
    ///
    /// # Errors
    /// When there are no nftables, or outside of [`in_own_network`].
    pub fn of_all_udp() -> Result<Self> {
        Self::of("meta l4proto udp")
    }

    fn of(which: &str) -> Result<Self> {
        ensure!(std::env::var_os(INSIDE).is_some(), "packets are lost in a network of the test's own");
        let loss = Self(());
        for words in [
            "add table inet loss",
            "add chain inet loss in { type filter hook input priority 0 ; }",
            &format!("add rule inet loss in {which} counter drop"),
        ] {
            run(Command::new("nft").args(words.split(' ')))?;
        }
        Ok(loss)
    }

    /// Returns how many packets were lost.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn count(&self) -> Result<u64> {
        let text = run(Command::new("nft").args(["list", "chain", "inet", "loss", "in"]))?;
        let count = text.split("counter packets ").nth(1).and_then(|rest| rest.split(' ').next());
        count.and_then(|count| count.parse().ok()).with_context(|| format!("no count in {text}"))
    }
}

impl Drop for Loss {
    fn drop(&mut self) {
        drop(run(Command::new("nft").args(["delete", "table", "inet", "loss"])));
    }
}

/// The address at the far end of a [`Link`].
const FAR: &str = "192.0.2.2/24";

/// A link out of the network of a test, with a namespace of its own at the far end. It ends with the network.
#[derive(Debug)]
pub struct Link {
    /// Keeps the namespace.
    holder: Child,
}

impl Link {
    /// Puts the far end of the test's one interface into a namespace of its own.
    ///
    /// # Errors
    /// When that cannot be made, for example outside of [`in_own_network`].
    pub fn start() -> Result<Self> {
        ensure!(std::env::var_os(INSIDE).is_some(), "a link leads out of a network of the test's own");
        let holder = Command::new("unshare").args(["--net", "sleep", "infinity"]).stdin(Stdio::null()).spawn()?;
        let link = Self { holder };
        let own = std::fs::read_link("/proc/self/ns/net")?;
        let deadline = Instant::now() + Duration::from_secs(10);
        while std::fs::read_link(link.namespace()).is_ok_and(|namespace| namespace == own) {
            ensure!(Instant::now() < deadline, "`unshare` makes no namespace");
            std::thread::sleep(Duration::from_millis(5));
        }
        run(Command::new("ip").args(["link", "set", "t1", "netns", &link.holder.id().to_string()]))?;
        for words in ["link set lo up", "link set t1 up", &format!("addr add {FAR} dev t1")] {
            run(link.enter("ip").args(words.split(' ')))?;
        }
        Ok(link)
    }

    /// Starts a peer of aiortc at the far end.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn aiortc(&self, script: &str, arguments: &[&str]) -> Result<Script> {
        Script::aiortc_by(|program| self.enter(program), script, arguments)
    }

    /// Makes the link slow, towards the far end: `rate` and `queue` in the words of `tc`.
    ///
    /// # Errors
    /// When the kernel has no `tbf`.
    pub fn narrow(&self, rate: &str, queue: &str) -> Result<()> {
        let shape = ["tbf", "rate", rate, "burst", "4kb", "limit", queue];
        run(Command::new("tc").args(["qdisc", "replace", "dev", "t0", "root"]).args(shape)).map(drop)
    }

    /// Takes the slowness away, with what waits in the queue.
    ///
    /// # Errors
    /// When it is not slow.
    pub fn widen(&self) -> Result<()> {
        run(Command::new("tc").args(["qdisc", "del", "dev", "t0", "root"])).map(drop)
    }

    /// Returns how many packets a slow link has dropped because its queue was full.
    ///
    /// # Errors
    /// When it is not slow.
    pub fn dropped(&self) -> Result<u64> {
        let text = run(Command::new("tc").args(["-s", "qdisc", "show", "dev", "t0"]))?;
        let count = text.split("(dropped ").nth(1).and_then(|rest| rest.split(',').next());
        count.and_then(|count| count.parse().ok()).with_context(|| format!("no count of drops in {text}"))
    }

    fn namespace(&self) -> String {
        format!("/proc/{}/ns/net", self.holder.id())
    }

    fn enter(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.namespace())).arg(program);
        command
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        drop(self.holder.kill());
        drop(self.holder.wait());
    }
}

fn run(command: &mut Command) -> Result<String> {
    let output = command.output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {said}");
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
