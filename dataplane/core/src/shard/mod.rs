//! What a shard keeps its state in, whatever the state is: objects by address, deadlines, rows of the shared table,
//! datagrams that wait, randomness.

pub(crate) mod control_queue;
pub(crate) mod rows;
pub(crate) mod seed;
pub(crate) mod slab;
pub(crate) mod timer;
