//! What figures are made of: clocks, durations, sets of numbers, the price of the kernel and of processes.

pub(crate) mod clock;
pub(crate) mod floor;
pub(crate) mod histogram;
pub(crate) mod process;
pub(crate) mod ranges;
