//! The files of the repository.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Returns the top folder.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Returns the paths, relative to the top, of all files under version control.
pub(crate) fn files() -> Vec<String> {
    let output = Command::new("git").args(["ls-files", "-z"]).current_dir(root()).output().unwrap();
    assert!(output.status.success(), "git ls-files");
    let text = String::from_utf8(output.stdout).unwrap();
    let files: Vec<String> = text.split('\0').filter(|path| !path.is_empty()).map(str::to_owned).collect();
    assert!(files.len() > 50, "git lists the repository's files");
    files
}

/// Returns a file's text; empty for files that are not text, or that were removed and not yet committed.
pub(crate) fn text(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_default()
}
