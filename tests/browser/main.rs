//! People's browsers on Sluice's own page: somebody goes live in one, somebody watches in another, and some meet.
#![cfg(test)]

mod call;
mod failures;
mod keyboard;
mod layers;
mod orders;
mod phone;
mod show;
mod two_rooms;
mod watching;
