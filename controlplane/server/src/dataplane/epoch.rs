//! The epoch of this control plane: greater than that of every one before it on this data directory.

use std::io;
use std::path::Path;

/// Raises the epoch in `directory` and returns it.
///
/// # Errors
/// When the file cannot be read or written, or holds no number.
pub(super) fn raise(directory: &Path) -> io::Result<u16> {
    let last = match std::fs::read_to_string(directory.join("epoch")) {
        Ok(text) => text.trim().parse::<u16>().map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(error) => return Err(error),
    };
    // After 65,535 starts it begins anew; a data plane that has seen a higher one has it raised further.
    let epoch = last.checked_add(1).unwrap_or(1);
    store(directory, epoch)?;
    Ok(epoch)
}

/// Stores an epoch that a data plane made necessary. Written aside and moved, so that a crash leaves a whole number.
///
/// # Errors
/// When the file cannot be written.
pub(super) fn store(directory: &Path, epoch: u16) -> io::Result<()> {
    let aside = directory.join("epoch.new");
    std::fs::write(&aside, format!("{epoch}\n"))?;
    std::fs::rename(aside, directory.join("epoch"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_start_has_a_higher_epoch() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(raise(folder.path()).unwrap(), 1);
        assert_eq!(raise(folder.path()).unwrap(), 2);
        store(folder.path(), 77).unwrap();
        assert_eq!(raise(folder.path()).unwrap(), 78);
        std::fs::write(folder.path().join("epoch"), "x").unwrap();
        assert!(raise(folder.path()).is_err());
    }
}
