//! What documents say is there.

use std::collections::BTreeSet;
use std::path::Path;

use crate::repository::{files, root, text};

#[test]
fn links_between_documents_resolve() {
    let mut checked = 0;
    for path in files().iter().filter(|path| path.ends_with(".md")) {
        let folder = Path::new(path).parent().unwrap();
        for target in links(&text(path)) {
            if target.contains("://") || target.starts_with('#') || target.starts_with("mailto:") {
                continue;
            }
            let file = target.split('#').next().unwrap();
            assert!(root().join(folder).join(file).exists(), "{path} links to {target}");
            checked += 1;
        }
    }
    assert!(checked > 5, "documents link to each other");
}

#[test]
fn places_in_the_tree_that_the_maps_name_are_there() {
    let mut checked = 0;
    for path in ["docs/ARCHITECTURE.md", "docs/life-of-a-packet.md"] {
        let map = text(path);
        for word in map.split('`').skip(1).step_by(2) {
            let is_place = word.ends_with(".rs") || (word.contains('/') && word.contains("src"));
            for place in alternatives(word).iter().filter(|_| is_place) {
                // The life of a packet names files of one crate.
                let exists = root().join(place).exists() || root().join("dataplane/core/src").join(place).exists();
                assert!(exists, "{path} names {place}");
                checked += 1;
            }
        }
    }
    assert!(checked > 30, "the maps name places");
}

#[test]
fn commands_of_the_readme_exist() {
    let makefile = text("Makefile");
    let readme = text("README.md");
    let mut found = 0;
    for line in readme.lines() {
        let Some(target) = line.trim().strip_prefix("make ").and_then(|rest| rest.split_whitespace().next()) else {
            continue;
        };
        assert!(makefile.contains(&format!("\n{target}:")), "README.md says make {target}");
        found += 1;
    }
    assert!(found >= 2, "README.md shows how to run and to test");
    assert!(readme.lines().count() <= 150, "README.md is short");
}

#[test]
fn commands_that_documents_name_exist() {
    let makefile = text("Makefile");
    let mut found = 0;
    for path in files().iter().filter(|path| path.ends_with(".md")) {
        for piece in text(path).split("`make ").skip(1) {
            let target: String = piece.chars().take_while(|letter| letter.is_ascii_alphanumeric()).collect();
            assert!(makefile.contains(&format!("\n{target}:")), "{path} says make {target}");
            found += 1;
        }
    }
    assert!(found > 5, "documents name commands");
}

#[test]
fn every_target_of_the_makefile_has_a_recipe() {
    let makefile = text("Makefile");
    let phony = makefile.lines().find_map(|line| line.strip_prefix(".PHONY:")).unwrap();
    let has_recipe = |target: &str| {
        let rule = format!("\n{target}:");
        let recipe = makefile.split(&rule).nth(1).and_then(|rest| rest.lines().nth(1));
        recipe.is_some_and(|line| line.starts_with('\t'))
    };
    let without: Vec<&str> = phony.split_whitespace().filter(|target| !has_recipe(target)).collect();
    assert!(without.is_empty() && phony.split_whitespace().count() > 5, "no recipe for {without:?} in {phony}");
}

#[test]
fn every_discard_is_explained() {
    let metrics = text("docs/METRICS.md");
    let names = sluice_dataplane_core::discard::Discard::ALL.iter().map(|discard| discard.name());
    let missing: Vec<&str> = names.filter(|name| !metrics.contains(&format!("`{name}`"))).collect();
    assert!(missing.is_empty(), "docs/METRICS.md lacks {missing:?}");
}

#[test]
fn every_metric_is_explained() {
    let source = text("controlplane/server/src/http/metrics.rs");
    let mut names: Vec<String> = quoted(&source).filter(|word| word.starts_with("sluice_")).collect();
    assert!(names.len() > 5, "the names of metrics are found: {names:?}");
    for path in ["dataplane/worker/src/shard/mod.rs", "dataplane/core/src/engine/stats.rs"] {
        let source = text(path);
        let table =
            source.split("let counters = [").nth(1).and_then(|rest| rest.split("];").next()).unwrap_or_default();
        let before = names.len();
        names.extend(quoted(table));
        assert!(names.len() > before, "{path} has a table of counters");
    }
    let metrics = text("docs/METRICS.md");
    let missing: Vec<&String> = names.iter().filter(|name| !metrics.contains(&format!("`{name}`"))).collect();
    assert!(missing.is_empty(), "docs/METRICS.md lacks {missing:?}");
}

#[test]
fn every_explained_metric_and_discard_is_named_by_a_test() {
    let metrics = text("docs/METRICS.md");
    let tables = metrics.split("## What to watch").next().unwrap();
    let names: Vec<&str> = tables.lines().filter_map(|row| row.strip_prefix("| `")?.split('`').next()).collect();
    assert!(names.len() > 70, "the tables have rows: {names:?}");
    let tests: String = files().iter().filter(|path| path.ends_with(".rs")).map(|path| tests_of(path)).collect();
    let is_named = |name: &str| {
        let discard = sluice_dataplane_core::discard::Discard::ALL.iter().find(|discard| discard.name() == name);
        discard.is_some_and(|discard| tests.contains(&format!("Discard::{discard:?}")))
            || tests.contains(&format!("\"{name}\""))
            || [" ", "{", "_count"].iter().any(|next| tests.contains(&format!("\"{name}{next}")))
            || tests.contains(&format!("\\\"{name}\\\""))
            || tests.contains(&format!("counters().{name}"))
    };
    let missing: Vec<&&str> = names.iter().filter(|name| !is_named(name)).collect();
    assert!(missing.is_empty(), "no test names {missing:?}");
}

/// Codes of errors that `/ws` cannot send, each for a reason.
const HTTP_ALONE: [&str; 12] = [
    // Rooms and their limits are made over HTTP.
    "room_exists",
    "bad_limit",
    // Ids of stays are the server's own, and identities are judged with their token.
    "participant_exists",
    "bad_id",
    // Preconditions and fragments are WHIP's and WHEP's, and so are offers of viewers.
    "if_match_missing",
    "if_match_failed",
    "sdpfrag_too_large",
    "sdpfrag_too_many_lines",
    "sdpfrag_syntax",
    "sdpfrag_bad_candidate",
    "sdpfrag_bad_credentials",
    "sdp_nothing_to_play",
];

#[test]
fn every_code_of_an_error_in_signalling_is_explained() {
    let mut sent = BTreeSet::new();
    for path in files().iter().filter(|path| path.starts_with("controlplane/") && path.ends_with(".rs")) {
        if path.contains("/tests/") {
            continue;
        }
        let source = text(path);
        // What enums of errors call themselves.
        for body in source.split("fn code(").skip(1) {
            sent.extend(quoted(body.split("\n    }\n").next().unwrap()));
        }
        // What the front says itself.
        let is_front = path.starts_with("controlplane/server/src/signalling/");
        for place in ["code: \"", "said(\""].into_iter().filter(|_| is_front) {
            let code = |rest: &str| rest.split('"').next().unwrap().to_owned();
            sent.extend(source.split("\nmod tests {").next().unwrap().split(place).skip(1).map(code));
        }
    }
    // Who lets sessions into rooms makes these as problems, of which HTTP has more.
    let door = text("controlplane/server/src/http/problem.rs") + &text("controlplane/server/src/http/tokens.rs");
    for code in ["forbidden", "too_many_requests"] {
        assert!(door.contains(&format!("\"{code}\"")), "{code}");
        sent.insert(code.to_owned());
    }
    sent.retain(|code| !HTTP_ALONE.contains(&code.as_str()));
    let document = text("docs/SIGNALING.md");
    let section = document.split("\n## Codes of errors\n").nth(1).expect("docs/SIGNALING.md has its codes of errors");
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `")?.split(" |").next());
    let explained: BTreeSet<String> =
        rows.flat_map(|row| row.trim_end_matches('`').split("`, `")).map(str::to_owned).collect();
    let difference: Vec<_> = sent.symmetric_difference(&explained).collect();
    assert!(difference.is_empty(), "sent and not explained, or the other way round: {difference:?}");
    assert!(explained.len() > 50, "{explained:?}");
}

/// Returns the part of a file that is tests: all of it in folders and files of tests, else what follows `cfg(test)`.
fn tests_of(path: &str) -> String {
    let source = text(path);
    // This file names nothing itself.
    let is_tidy = path.starts_with("tests/tidy/");
    let is_test = path.starts_with("tests/") || path.contains("/tests/") || path.ends_with("/tests.rs");
    match source.find("#[cfg(test)]\nmod tests {") {
        _ if is_tidy => String::new(),
        _ if is_test => source,
        Some(start) => source[start..].to_owned(),
        None => String::new(),
    }
}

/// Returns each path that `a/{b,c}.rs` stands for.
fn alternatives(path: &str) -> Vec<String> {
    let Some((before, (list, after))) =
        path.split_once('{').and_then(|(before, rest)| Some((before, rest.split_once('}')?)))
    else {
        return vec![path.to_owned()];
    };
    list.split(',').map(|name| format!("{before}{name}{after}")).collect()
}

/// Returns what stands between quotes.
fn quoted(text: &str) -> impl Iterator<Item = String> + '_ {
    text.split('"').skip(1).step_by(2).map(str::to_owned)
}

/// Returns the targets of Markdown links outside code blocks.
fn links(text: &str) -> Vec<String> {
    let mut links = Vec::new();
    let mut in_code = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        if in_code {
            continue;
        }
        for piece in line.split("](").skip(1) {
            if let Some((target, _)) = piece.split_once(')') {
                links.push(target.to_owned());
            }
        }
    }
    links
}
