//! People's browsers on Sluice's own page: somebody goes live in one, somebody watches in another.
#![cfg(test)]

mod failures;
mod keyboard;
mod phone;
mod show;
mod watching;
