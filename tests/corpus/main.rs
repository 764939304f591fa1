//! The corpora of the fuzz targets, replayed on the stable toolchain.
//!
//! `SLUICE_WRITE_CORPUS=1` writes the seeds again, after a format changed.
#![cfg(test)]

mod seeds;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The body of a target.
type Body = fn(&[u8]);

/// Every target with its body.
const TARGETS: &[(&str, Body)] = &[
    ("rtp", sluice_dataplane_core::fuzzing::fuzz_rtp),
    ("srtp", sluice_dataplane_core::fuzzing::fuzz_srtp),
    ("stun", sluice_dataplane_core::fuzzing::fuzz_stun),
    ("dtls", sluice_dataplane_core::fuzzing::fuzz_dtls),
    ("rtcp", sluice_dataplane_core::fuzzing::fuzz_rtcp),
    ("payloads", sluice_dataplane_core::fuzzing::fuzz_payloads),
    ("dependency_descriptor", sluice_dataplane_core::fuzzing::fuzz_dependency_descriptor),
    ("engine", sluice_dataplane_core::fuzzing::fuzz_engine),
    ("ipc_frames", sluice_protocol::fuzzing::ipc_frames),
    ("packet_batch", sluice_protocol::fuzzing::packet_batch),
    ("sdp_offer", sluice_controlplane_core::fuzzing::sdp_offer),
    ("sdp_answer", sluice_controlplane_core::fuzzing::sdp_answer),
    ("sdp_fragment", sluice_controlplane_core::fuzzing::sdp_fragment),
    ("client_hello", sluice_controlplane::dtls::fuzzing::client_hello),
    ("open_datagram", sluice_controlplane::dtls::fuzzing::open_datagram),
];

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz")
}

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn every_target_has_a_body_a_corpus_and_seeds() {
    let targets: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let files = names(&fuzz().join("fuzz_targets"));
    let files: BTreeSet<String> = files.iter().map(|file| file.trim_end_matches(".rs").to_owned()).collect();
    assert_eq!(files, targets);
    for (target, _) in TARGETS {
        let folder = fuzz().join("corpus").join(target);
        let seeds = seeds::of(target);
        assert!(!seeds.is_empty(), "{target} has seeds");
        for (name, bytes) in seeds {
            let file = folder.join(name);
            if std::env::var_os("SLUICE_WRITE_CORPUS").is_some() {
                fs::create_dir_all(&folder).unwrap();
                fs::write(&file, &bytes).unwrap();
            }
            let written = fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
            assert_eq!(written, bytes, "{} is what its writer writes", file.display());
        }
    }
}

#[test]
fn no_body_finds_a_fault_in_its_corpus() {
    for (target, body) in TARGETS {
        let folder = fuzz().join("corpus").join(target);
        for file in names(&folder) {
            let bytes = fs::read(folder.join(&file)).unwrap();
            let outcome = std::panic::catch_unwind(|| body(&bytes));
            assert!(outcome.is_ok(), "{target} fails with {file}");
        }
    }
}
