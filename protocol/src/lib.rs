//! The contract between Sluice's control plane and data plane.
