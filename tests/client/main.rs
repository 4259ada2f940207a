//! The client against servers that misbehave: retries, resumed streams, and secrets that never
//! show.

#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a test program: it fails by panicking, and has no outside"
)]

mod access;
mod domain;
mod events;
#[cfg(feature = "testing")]
mod faults;
mod files;
mod images;
mod mocks;
mod newer_service;
mod operations;
mod redirects;
mod retries;
mod runtimes;
mod secrets;
mod spellings;
mod support;
mod unix;
