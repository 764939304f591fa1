//! Who may depend on whom.

use std::process::Command;

use crate::repository::root;

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
fn the_foreign_endpoint_links_no_crate_of_ours() {
    let ours: Vec<String> = dependencies("sluice-load").into_iter().filter(|name| name.starts_with("sluice")).collect();
    assert!(ours.is_empty(), "{ours:?}");
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
