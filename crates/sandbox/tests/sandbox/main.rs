//! Tests with real sandboxes, run as the current user.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod programs;
#[path = "../shared/proof.rs"]
mod proof;
mod support;

mod bound;
mod changes;
mod commands;
mod connections;
mod devices;
mod disk;
mod faults;
mod files;
mod floods;
mod init;
mod layers;
mod lifecycle;
mod limits;
mod network;
mod squash;
mod stores;
mod surroundings;
mod terminals;
mod unavailable;
mod unpack;
mod views;
