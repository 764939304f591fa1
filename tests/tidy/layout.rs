//! Where things are, and what does not belong anywhere.

use std::collections::BTreeSet;

use crate::repository::{files, text};

#[test]
fn the_top_level_is_what_the_readme_says() {
    let allowed = [
        "Cargo.lock",
        "Cargo.toml",
        "LICENSE-APACHE",
        "LICENSE-MIT",
        "Makefile",
        "README.md",
        "bench",
        "controlplane",
        "dataplane",
        "docs",
        "fuzz",
        "protocol",
        "tests",
    ];
    let found: BTreeSet<String> = files()
        .iter()
        .map(|path| path.split('/').next().unwrap().to_owned())
        .filter(|name| !name.starts_with('.'))
        .collect();
    assert_eq!(found, allowed.map(str::to_owned).into());
}

/// What a build or a package manager leaves behind has other endings than these.
#[test]
fn every_file_is_of_a_kind_that_belongs_here() {
    let kinds = [
        "conf",
        "css",
        "hex",
        "html",
        "js",
        "json",
        "lock",
        "md",
        "mjs",
        "png",
        "proto",
        "py",
        "rs",
        "sdp",
        "service",
        "sql",
        "svelte",
        "svg",
        "toml",
        "ts",
        "txt",
        "webmanifest",
    ];
    // Seeds of fuzz targets are what they are, and some files are known by their name alone.
    let named = ["LICENSE-APACHE", "LICENSE-MIT", "Makefile", "PROVENANCE"];
    for path in files().iter().filter(|path| !path.starts_with("fuzz/corpus/")) {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        let plain = name.starts_with('.') || folder.starts_with('.') || named.contains(&name);
        let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending);
        assert!(plain || kinds.contains(&ending), "{path}: a kind of file that nothing here needs");
    }
}

#[test]
fn nothing_is_left_unfinished() {
    let marks = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("todo", "!("), concat!("unimplemented", "!(")];
    for path in files().iter().filter(|path| is_source(path)) {
        let text = text(path);
        for mark in marks {
            assert!(!text.contains(mark), "{path} has {mark}");
        }
    }
}

#[test]
fn lints_are_expected_with_a_reason_and_never_allowed() {
    for path in files().iter().filter(|path| path.ends_with(".rs")) {
        let text = text(path);
        let allow = concat!("#[", "allow(");
        assert!(!text.contains(allow) && !text.contains(&allow.replace('[', "![")), "{path} allows a lint");
    }
}

#[test]
fn unsafe_code_stays_where_the_style_puts_it() {
    let places = ["dataplane/worker/src/udp/", "dataplane/worker/src/table/"];
    let word = concat!("uns", "afe ");
    for path in files().iter().filter(|path| path.ends_with(".rs")) {
        let in_place = places.iter().any(|place| path.starts_with(place))
            || ((path.starts_with("bench/") || path.starts_with("tests/")) && path.contains("sys"));
        let code = text(path);
        let lines = code.lines().map(str::trim_start).filter(|line| !line.starts_with("//"));
        let blocks = lines.filter(|line| line.contains(&format!("{word}{{")) || line.contains(&format!("{word}fn")));
        assert!(in_place || blocks.count() == 0, "{path} has code outside the borrow checker's sight");
    }
}

#[test]
fn no_file_names_a_machine() {
    let words = [concat!("/wo", "rk/"), concat!("/ro", "ot/")];
    for path in files().iter().filter(|path| !path.contains("/dist/") && !path.ends_with("tidy/layout.rs")) {
        let text = text(path);
        for word in words {
            assert!(!text.contains(word), "{path} names {word}");
        }
    }
}

#[test]
fn lock_files_name_no_hosts_of_their_own() {
    for path in files().iter().filter(|path| path.ends_with("package-lock.json")) {
        assert!(!text(path).contains("\"resolved\""), "{path} names where packages came from");
    }
}

fn is_source(path: &str) -> bool {
    [".rs", ".ts", ".svelte", ".mjs", ".sh", ".toml", ".proto"].iter().any(|end| path.ends_with(end))
        && !path.contains("/dist/")
}
