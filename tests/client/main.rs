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
mod files;
mod images;
mod mocks;
mod operations;
mod retries;
mod spellings;
mod support;
mod unix;
