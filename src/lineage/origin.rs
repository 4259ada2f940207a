//! Origins of images, and what remembers them.

/// How an image was made. An image's origin never changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ImageProvenance {
    pub(crate) image: String,
    /// `None` for an import.
    pub(crate) parent: Option<String>,
    pub(crate) operation: Option<String>,
    /// `instance` or `image_import`.
    pub(crate) kind: String,
    /// The command, or the reference that was imported.
    pub(crate) source: Option<String>,
    pub(crate) made_at: Option<String>,
}

/// Remembers origins of images. A failing store counts as empty.
pub(crate) trait OriginStore: Sync {
    /// Finds an image's origin.
    fn find(&self, image: &str) -> impl Future<Output = Option<ImageProvenance>> + Send;

    /// Finds the images made directly from an image, oldest first.
    fn child_images(&self, image: &str) -> impl Future<Output = Vec<String>> + Send;

    /// Remembers origins. For a known image, only a missing source or time is filled in.
    fn insert(&self, origins: Vec<ImageProvenance>) -> impl Future<Output = ()> + Send;

    /// Reports whether all of these origins are known.
    fn are_known(&self, origins: &[ImageProvenance]) -> impl Future<Output = bool> + Send;

    /// Receives a note about an incomplete answer.
    fn warn(&self, note: &str) {
        let _ = note;
    }

    /// Whether the caller has given up.
    fn is_cancelled(&self) -> bool {
        false
    }
}

/// Bytes of a command that are remembered.
const MAX_COMMAND_BYTES: usize = 4096;

/// Returns the beginning of a command.
pub(crate) fn shorten(command: &str) -> String {
    match command
        .char_indices()
        .find(|(at, _)| *at >= MAX_COMMAND_BYTES)
    {
        Some((at, _)) => format!("{}…", &command[..at]),
        None => command.to_owned(),
    }
}
