//! The result of applying an image.

/// The treatment of files that changed both in the image and in the local directory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Conflicts {
    /// If there are any, nothing at all is written.
    #[default]
    Stop,
    /// They keep their local version.
    Skip,
    /// They get the version of the image.
    Theirs,
}

/// A path below the local directory, with a reason.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PathReason {
    /// The path.
    pub path: String,
    /// The reason.
    pub why: String,
}

/// The result of applying an image. Paths are below the local directory, and sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Applied {
    /// Files, links and directories that were written, and those whose permissions were set.
    pub written: Vec<String>,
    /// The written files in which both versions were merged.
    pub merged: Vec<String>,
    /// Files, links and directories that were removed.
    pub removed: Vec<String>,
    /// Paths that the image changed, and that kept their local version because of a conflict or
    /// because a directory has other files.
    pub kept: Vec<String>,
    /// Paths that changed on both sides, with both versions.
    pub conflicts: Vec<PathReason>,
    /// Paths that must not be written, with the reasons.
    pub refused: Vec<PathReason>,
    /// Whether this is what would be done.
    pub dry_run: bool,
}

/// A path as text. Bytes that are not UTF-8 are replaced.
pub(super) fn text(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}
