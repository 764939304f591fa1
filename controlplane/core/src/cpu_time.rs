//! What tests measure: work, and not how busy the machine is with others'.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Returns how long the calling thread has run.
pub(crate) fn cpu_time() -> Duration {
    clock_gettime(ClockId::ThreadCPUTime).try_into().unwrap()
}
