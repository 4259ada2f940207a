//! Imports images from registries, and from OCI layouts and archives on this machine's disk.
//!
//! The steps of an import:
//! 1. `source` parses which image to import.
//! 2. `prepare` downloads and verifies the missing layers. A helper of the sandbox crate unpacks
//!    them inside the user namespace.
//! 3. `commit` makes the image in one transaction.
//!
//! Before the commit, all data is in the operation's run directory and in layer rows that are not
//! ready. Cleanup removes both, so an import that ends early leaves nothing behind.

mod archive_size;
mod commit;
mod context;
mod decompress;
mod docker_archive;
mod download;
mod error;
mod error_code;
pub(crate) mod imports;
mod job;
mod local_file;
mod oci_layout;
pub(crate) mod plan;
mod prepare;
mod prepared;
pub(crate) mod progress;
pub(crate) mod source;
mod tasks;
mod unpack;
mod verify;

pub(crate) use job::begin;
