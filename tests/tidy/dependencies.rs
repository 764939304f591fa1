//! Who may depend on whom.

use std::process::Command;

use crate::repository::{files, root, text};

/// Returns the names of all crates that `package` is built from, itself left out.
fn dependencies(package: &str) -> Vec<String> {
    dependencies_by(package, "normal,build")
}

/// Returns the names of all crates that `package` needs by some kinds of edges, itself left out.
fn dependencies_by(package: &str, edges: &str) -> Vec<String> {
    let arguments = ["tree", "--offline", "-p", package, "--edges", edges, "--prefix", "none"];
    let output = Command::new(env!("CARGO")).args(arguments).current_dir(root()).output().unwrap();
    assert!(output.status.success(), "cargo tree: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let names = text.lines().skip(1).filter_map(|line| line.split_whitespace().next());
    let names: Vec<String> = names.map(str::to_owned).collect();
    assert!(!names.is_empty(), "{package} depends on something");
    names
}

#[test]
fn the_foreign_endpoint_and_the_harness_link_no_crate_of_ours() {
    for package in ["sluice-load", "sluice-tests"] {
        let ours: Vec<String> = dependencies(package).into_iter().filter(|name| name.starts_with("sluice")).collect();
        assert!(ours.is_empty(), "{package} links {ours:?}");
    }
}

/// The package of the tests may use Sluice's crates, for simulation, corpora and this kind; what has real processes at the
/// other end may not.
#[test]
fn kinds_with_real_processes_name_no_crate_of_ours_but_the_foreign_endpoint() {
    let inside = ["corpus", "sim", "tidy"];
    let mut uses_endpoint = 0;
    for path in files().iter().filter(|path| path.ends_with(".rs")) {
        let Some(("tests", rest)) = path.split_once('/') else { continue };
        if inside.iter().any(|kind| rest.starts_with(&format!("{kind}/"))) {
            continue;
        }
        for name in crates_of_ours(&text(path)) {
            assert!(["sluice_load", "sluice_tests"].contains(&name.as_str()), "{path} uses {name}");
            uses_endpoint += usize::from(name == "sluice_load");
        }
    }
    assert!(uses_endpoint > 10, "those kinds and what they use are found");
}

/// Returns the names of Sluice's crates that a source file uses: each stands before two colons, or behind `extern crate`.
fn crates_of_ours(source: &str) -> Vec<String> {
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let words = source.split("sluice_").skip(1).filter_map(|rest| {
        let name: String = rest.chars().take_while(|letter| is_part(*letter)).collect();
        let behind = rest.get(name.len()..)?.trim_start();
        (behind.starts_with("::") || behind.starts_with(" as") || behind.starts_with(';'))
            .then(|| format!("sluice_{name}"))
    });
    words.collect()
}

#[test]
fn cores_and_the_contract_know_no_runtime() {
    let runtimes = ["tokio", "glommio", "axum", "mio", "async-std", "rustix", "socket2"];
    for package in ["sluice-protocol", "sluice-dataplane-core", "sluice-controlplane-core"] {
        // What is linked counts; a build script may write files.
        let linked = dependencies_by(package, "normal");
        let found: Vec<String> = linked.into_iter().filter(|name| runtimes.contains(&name.as_str())).collect();
        assert!(found.is_empty(), "{package} depends on {found:?}");
    }
}

#[test]
fn the_planes_do_not_link_each_other() {
    assert!(!dependencies("sluice-dataplane").iter().any(|name| name.starts_with("sluice-controlplane")));
    assert!(!dependencies("sluice-controlplane").iter().any(|name| name.starts_with("sluice-dataplane")));
}
