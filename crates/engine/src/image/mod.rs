//! Images: the host image, views, archives, comparisons, searches, and squashing of layer chains.

pub(crate) mod archive;
pub(crate) mod diff;
pub(crate) mod host;
pub(crate) mod lookup;
pub(crate) mod search;
pub(crate) mod squash;
pub(crate) mod squash_queue;
pub(crate) mod view_cache;

/// The `PATH` of a command when neither its image nor its request sets one.
pub(crate) const DEFAULT_PATH: &str =
    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
