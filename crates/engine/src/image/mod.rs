//! Images: the one of this machine's programs, views into them, archives, searches, and short chains of layers.

pub(crate) mod archive;
pub(crate) mod host;
pub(crate) mod lookup;
pub(crate) mod search;
pub(crate) mod squash;
pub(crate) mod squash_queue;
pub(crate) mod tar_writer;
pub(crate) mod views;

/// `PATH` of a command whose image and request give none.
pub(crate) const DEFAULT_PATH: &str =
    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
