//! Importing images: from registries, from layouts and archives on this machine's disk.
//!
//! `request` -> `source` (which image) -> `prepare` (layers that are missing: downloaded and verified, then unpacked by a helper
//! of the sandbox crate inside the user namespace) -> `commit` (one transaction). What is under way lives in the operation's run
//! directory and in layer rows that are not ready, so that whatever ends an import leaves nothing behind.

mod commit;
mod context;
mod decompress;
mod docker_archive;
mod download;
mod error;
pub(crate) mod imports;
mod job;
mod local_file;
mod oci_layout;
mod plan;
mod prepare;
mod prepared;
mod progress;
pub(crate) mod source;
mod tasks;
mod unpack;
mod verify;

pub(crate) use job::begin;
