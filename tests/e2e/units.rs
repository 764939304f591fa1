//! The units for systemd, as systemd itself reads them.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/deploy");
const UNITS: [&str; 2] = ["sluice-controlplane.service", "sluice-dataplane.service"];

fn text(unit: &str) -> String {
    std::fs::read_to_string(Path::new(FOLDER).join(unit)).unwrap()
}

/// Returns the values of a unit by section and key.
fn directives(unit: &str) -> BTreeMap<(String, String), Vec<String>> {
    let (mut section, mut directives) = (String::new(), BTreeMap::<_, Vec<String>>::new());
    let joined = text(unit).replace("\\\n", " ");
    for line in joined.lines().filter(|line| !line.starts_with('#')) {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            name.clone_into(&mut section);
        } else if let Some((key, value)) = line.split_once('=') {
            directives.entry((section.clone(), key.to_owned())).or_default().push(value.to_owned());
        }
    }
    directives
}

/// Returns what `systemd-analyze verify` has to say of both units, whose programs are taken to be where this test is.
fn complaints(change: impl Fn(String) -> String) -> String {
    let folder = tempfile::tempdir().unwrap();
    for program in ["sluice-controlplane", "sluice-dataplane"] {
        std::os::unix::fs::symlink("/bin/true", folder.path().join(program)).unwrap();
    }
    let bin = folder.path().to_str().unwrap();
    let units = UNITS.map(|unit| folder.path().join(unit));
    for (unit, path) in UNITS.iter().zip(&units) {
        std::fs::write(path, change(text(unit).replace("/usr/local/bin", bin))).unwrap();
    }
    let mut verify = Command::new("systemd-analyze");
    let output = verify.args(["verify", "--man=no"]).args(&units).output().expect("`systemd-analyze` of systemd");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() { said } else { format!("{said}{}", output.status) }
}

#[test]
fn systemd_understands_every_line_of_both_units() {
    assert_eq!(complaints(|text| text), "");
    let misspelt = complaints(|text| text.replace("RestartSec=", "RestartSecs="));
    assert!(misspelt.contains("RestartSecs"), "what is wrong is seen: {misspelt}");
}

#[test]
fn neither_unit_takes_the_other_along() {
    for unit in UNITS {
        let directives = directives(unit);
        let value = |section: &str, key: &str| {
            directives.get(&(section.to_owned(), key.to_owned())).map(|values| values.join(" ")).unwrap_or_default()
        };
        for tie in ["Requires", "Requisite", "BindsTo", "PartOf", "Upholds", "Conflicts", "PropagatesStopTo"] {
            assert_eq!(value("Unit", tie), "", "{unit}: {tie}= would stop one with the other");
        }
        assert_eq!(value("Service", "KillMode"), "", "{unit}: the whole of its own cgroup and nothing else");
        assert_eq!(value("Service", "Restart"), "always", "{unit}");
        assert_eq!(value("Unit", "StartLimitIntervalSec"), "0", "{unit}: restarted however often");
        // The socket and, with it, the way to the keys outlive either.
        assert_eq!(value("Service", "RuntimeDirectory"), "sluice", "{unit}");
        assert_eq!(value("Service", "RuntimeDirectoryPreserve"), "yes", "{unit}");
        assert_eq!(value("Service", "LimitCORE"), "0", "{unit}: no key gets to a disk");
        assert!(value("Service", "ExecStart").contains("/run/sluice/dataplane.sock"), "{unit}: one socket");
        assert!(!value("Service", "ExecStart").contains("--stop-dataplane"), "{unit}");
    }
}
