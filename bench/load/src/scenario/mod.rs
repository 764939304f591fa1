//! Whole runs against a server, each in its own file, each with a report that can be printed and serialized.

pub mod call;
pub mod fanout;
