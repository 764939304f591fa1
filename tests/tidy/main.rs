//! The repository checks itself: its layout, its documents, its dependencies.
#![cfg(test)]

mod dependencies;
mod documents;
mod layout;
mod repository;
