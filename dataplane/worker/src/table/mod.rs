//! The memory of the shared table: made, or inherited, mapped and locked for the life of the process.
#![expect(unsafe_code, reason = "a mapping shared with another process")]

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::AtomicU64;

use rustix::fs::{FlockOperation, MemfdFlags, SealFlags};
use rustix::mm::{MapFlags, ProtFlags};
use sluice_protocol::table::{ROW_BYTES, ROWS_PER_SHARD, Table};
use thiserror::Error;

/// Bytes of a table; pages are taken as rows are used.
const TABLE_BYTES: usize = ROWS_PER_SHARD * ROW_BYTES;

/// Why a table cannot be used.
#[derive(Debug, Error)]
pub(crate) enum TableError {
    /// A system call failed.
    #[error("the shared table cannot be set up: {0}")]
    System(#[from] io::Error),
    /// Another process holds the lock: a data plane that is not dead yet. Its keys must not be used.
    #[error("another data plane still holds the shared table's lock")]
    Locked,
    /// The memory handed in is smaller than a table.
    #[error("the shared table has {0} bytes, too few")]
    TooSmall(u64),
}

/// A mapped table, and the descriptors that keep it.
#[derive(Debug)]
pub(crate) struct Mapping {
    memory: OwnedFd,
    _lock: File,
    table: Table,
}

impl Mapping {
    /// Makes a new table, all rows free.
    ///
    /// # Errors
    /// [`TableError::System`] when memory or descriptors are short.
    pub(crate) fn create() -> Result<Self, TableError> {
        let memory = rustix::fs::memfd_create("sluice-table", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)
            .map_err(io::Error::from)?;
        rustix::fs::ftruncate(&memory, TABLE_BYTES as u64).map_err(io::Error::from)?;
        rustix::fs::fcntl_add_seals(&memory, SealFlags::SHRINK | SealFlags::GROW).map_err(io::Error::from)?;
        Self::adopt(memory)
    }

    /// Takes over a table that a predecessor used, and its lock.
    ///
    /// # Errors
    /// [`TableError::Locked`] while the predecessor lives, [`TableError::TooSmall`] for other memory.
    pub(crate) fn adopt(memory: OwnedFd) -> Result<Self, TableError> {
        let size = rustix::fs::fstat(&memory).map_err(io::Error::from)?.st_size;
        let size = u64::try_from(size).unwrap_or(0);
        if size < TABLE_BYTES as u64 {
            return Err(TableError::TooSmall(size));
        }
        let lock = lock(&memory)?;
        let words = map(&memory)?;
        Ok(Self { memory, _lock: lock, table: Table::new(words) })
    }

    /// Returns the rows.
    #[must_use]
    pub(crate) const fn table(&self) -> Table {
        self.table
    }

    /// Returns the memory, to be passed to the control plane.
    #[must_use]
    pub(crate) fn memory(&self) -> BorrowedFd<'_> {
        use std::os::fd::AsFd;
        self.memory.as_fd()
    }
}

/// Locks the memory for the life of this process.
///
/// The lock belongs to an open file description of its own: the one that was passed around is shared with the control
/// plane, and a lock on it would outlive us there.
fn lock(memory: &OwnedFd) -> Result<File, TableError> {
    let own = File::options().read(true).write(true).open(format!("/proc/self/fd/{}", memory.as_raw_fd()))?;
    match rustix::fs::flock(&own, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(own),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(TableError::Locked),
        Err(error) => Err(TableError::System(error.into())),
    }
}

/// Maps the memory for good; it lives as long as the process does.
fn map(memory: &OwnedFd) -> Result<&'static [AtomicU64], TableError> {
    let protection = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: a fresh shared mapping at an address of the kernel's choice touches nothing of ours.
    let address =
        unsafe { rustix::mm::mmap(std::ptr::null_mut(), TABLE_BYTES, protection, MapFlags::SHARED, memory, 0) }
            .map_err(io::Error::from)?;
    // SAFETY: the mapping is page-aligned, `TABLE_BYTES` long, sealed against shrinking, never unmapped, and only ever
    // accessed as atomics, in this process and in any other that holds it.
    Ok(unsafe { std::slice::from_raw_parts(address.cast::<AtomicU64>(), TABLE_BYTES / size_of::<AtomicU64>()) })
}

#[cfg(test)]
mod tests {
    use sluice_protocol::ids::TransportId;
    use sluice_protocol::media::{Label, Ssrc};
    use sluice_protocol::table::{Role, RowIndex, RowKey};

    use super::*;

    #[test]
    fn a_table_is_locked_while_it_lives_and_keeps_its_rows_afterwards() {
        let first = Mapping::create().unwrap();
        let kept = first.memory().try_clone_to_owned().unwrap();
        let key = RowKey {
            transport: TransportId::new(0, 1, 65_536),
            owner: 0,
            ssrc: Ssrc(0),
            role: Role::Transport,
            mid: Label::default(),
            rid: Label::default(),
            repairs: Ssrc(0),
        };
        first.table().occupy(RowIndex(5), &key, 42);
        let early = Mapping::adopt(kept.try_clone().unwrap());
        assert!(matches!(early, Err(TableError::Locked)), "{early:?}");
        drop(first);
        let second = Mapping::adopt(kept).unwrap();
        assert_eq!(second.table().key(RowIndex(5)), Some(key));
        assert_eq!(second.table().index(RowIndex(5)), 42);
    }

    #[test]
    fn other_memory_is_no_table() {
        let memory = rustix::fs::memfd_create("other", MemfdFlags::CLOEXEC).unwrap();
        assert!(matches!(Mapping::adopt(memory), Err(TableError::TooSmall(0))));
    }
}
