//! Generated protobuf messages; nothing outside [`crate::convert`] uses them.

#![expect(
    unreachable_pub,
    unnameable_types,
    clippy::doc_markdown,
    clippy::trivially_copy_pass_by_ref,
    clippy::derive_partial_eq_without_eq,
    reason = "generated code"
)]

include!(concat!(env!("OUT_DIR"), "/sluice.ipc.v1.rs"));
