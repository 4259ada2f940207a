//! Pushes images to registries, OCI layouts and archives.
//!
//! The steps of a push:
//! 1. `target` parses the target.
//! 2. `plan` reads the layers of the image, and the known archives of each.
//! 3. `send` finds, mounts, fetches or packs each layer, and sends what is missing. `pack` lets a
//!    helper of the sandbox crate write a layer as an archive.
//! 4. `job` sends the configuration and then the manifest, which makes the image complete.
//!
//! Until the manifest exists, no reader sees the image. A push that ends early leaves blobs,
//! which the next push finds.

mod docker_archive;
mod error;
mod job;
mod layout;
mod pack;
pub(crate) mod plan;
mod send;
pub(crate) mod target;
mod tasks;

pub(crate) use job::begin;
