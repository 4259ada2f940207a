//! Walks a directory and finds the files to send.

use std::fs::Metadata;
use std::path::{Path, PathBuf};

use ignore::gitignore::{Gitignore, GitignoreBuilder};

use super::error::SyncError;
use super::gitignore::{IgnoreFiles, escape_braces};
use super::host::{Refusal, SyncHost};
use super::skipped::{SkipReason, SkippedPaths};
use super::stamp::{FileStamp, stamp};
use crate::types::{InstanceFile, InstanceFileXKind};

/// Files between two checks for cancellation.
const CHECK_INTERVAL: usize = 512;
/// The mode of a directory that a backend makes for the files in it.
pub(crate) const IMPLIED_MODE: u32 = 0o755;

/// A file to be sent.
#[derive(Clone, Debug)]
pub(crate) struct FoundFile {
    pub(crate) path: PathBuf,
    /// Path below the directory, with `/` as separator.
    pub(crate) relative: String,
    pub(crate) stamp: FileStamp,
    /// The permission bits.
    pub(crate) mode: u32,
}

/// A directory or a symbolic link to be sent.
#[derive(Clone, Debug)]
pub(crate) struct FoundOther {
    #[cfg(feature = "mcp")]
    pub(crate) path: PathBuf,
    /// Path below the directory, with `/` as separator.
    pub(crate) relative: String,
    pub(crate) kind: OtherKind,
}

/// A type of file that has no content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum OtherKind {
    /// A directory. Those that files imply have the mode 0755, and are not sent on their own.
    Directory { mode: u32, is_empty: bool },
    /// A symbolic link.
    Symlink { target: String },
}

impl OtherKind {
    /// Returns the entry of a run's request that makes it.
    pub(crate) fn to_place(&self) -> InstanceFile {
        let (kind, mode, target) = match self {
            Self::Directory { mode, .. } => {
                (InstanceFileXKind::Directory, Some(octal(*mode)), None)
            }
            Self::Symlink { target } => (InstanceFileXKind::Symlink, None, Some(target.clone())),
        };
        InstanceFile {
            uuid: None,
            mode,
            uid: None,
            gid: None,
            x_kind: Some(kind),
            x_target: target,
        }
    }
}

/// Returns the entry of a run's request that removes a path from the image.
pub(crate) fn absent() -> InstanceFile {
    InstanceFile {
        uuid: None,
        mode: None,
        uid: None,
        gid: None,
        x_kind: Some(InstanceFileXKind::Absent),
        x_target: None,
    }
}

/// Permission bits as requests have them.
pub(crate) fn octal(mode: u32) -> String {
    format!("{mode:04o}")
}

/// Result of a walk.
#[derive(Debug, Default)]
pub(crate) struct FoundFiles {
    pub(super) files: Vec<FoundFile>,
    pub(super) others: Vec<FoundOther>,
    /// The directories that were read, with their stamps from before.
    pub(super) directories: Vec<(PathBuf, FileStamp)>,
    pub(super) skipped: SkippedPaths,
}

/// Compiles patterns in the syntax of `.gitignore`, relative to `root`.
pub(super) fn compile_excludes(root: &Path, patterns: &[String]) -> Result<Gitignore, SyncError> {
    let mut builder = GitignoreBuilder::new(root);
    for pattern in patterns {
        if pattern.contains('\n') {
            return Err(SyncError::LineBreak(pattern.clone()));
        }
        let pattern = escape_braces(pattern);
        let added = builder.add_line(None, &pattern);
        added.map_err(SyncError::Pattern)?;
    }
    builder.build().map_err(SyncError::Patterns)
}

/// Walks `root`, which must be a real path. Links are found, and not followed. With `gitignore`,
/// the `.gitignore` files at and below `root` count, after `excludes`. May block.
pub(super) fn walk(
    root: &Path,
    excludes: &Gitignore,
    gitignore: bool,
    host: &impl SyncHost,
) -> Result<FoundFiles, SyncError> {
    let mut walked = FoundFiles::default();
    let mut directories = vec![(root.to_owned(), IgnoreFiles::default())];
    while let Some((directory, outer)) = directories.pop() {
        let ignore_files = match gitignore {
            true => outer
                .entered(&directory)
                .map_err(|error| SyncError::local(&directory.join(".gitignore"), error))?,
            false => outer,
        };
        let before = std::fs::symlink_metadata(&directory);
        let entries = match std::fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(error) if directory == root => {
                return Err(SyncError::local(root, error));
            }
            Err(error) => {
                walked
                    .skipped
                    .add(relative_path(root, &directory), (&error).into());
                continue;
            }
        };
        let (mut is_empty, mut has_sent) = (true, false);
        for entry in entries {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    walked
                        .skipped
                        .add(relative_path(root, &directory), (&error).into());
                    break;
                }
            };
            if walked.files.len().is_multiple_of(CHECK_INTERVAL) && host.is_cancelled() {
                return Err(SyncError::Cancelled);
            }
            let path = entry.path();
            let relative = relative_path(root, &path);
            let metadata = match entry.metadata() {
                Ok(metadata) => metadata,
                Err(error) => {
                    is_empty = false;
                    walked.skipped.add(relative, (&error).into());
                    continue;
                }
            };
            let excluded = excludes.matched(&path, metadata.is_dir());
            if excluded.is_ignore() {
                continue;
            }
            is_empty = false;
            if excluded.is_none() && ignore_files.exclude(&path, metadata.is_dir()) {
                walked.skipped.add(relative, SkipReason::Gitignore);
                continue;
            }
            match host.check(&path, &metadata) {
                Ok(()) => {}
                // Some paths below the directory may still be allowed.
                Err(Refusal::Outside) if metadata.is_dir() => {}
                Err(Refusal::Outside) => {
                    walked.skipped.add(relative, SkipReason::Outside);
                    continue;
                }
                Err(Refusal::Credentials) => {
                    walked.skipped.add(relative, SkipReason::Credentials);
                    continue;
                }
            }
            if metadata.is_dir() {
                has_sent = true;
                directories.push((path, ignore_files.clone()));
                continue;
            }
            if metadata.is_symlink() {
                has_sent |= walked.add_link(root, &path);
                continue;
            }
            if let Some(reason) = SkipReason::of_kind(&metadata) {
                walked.skipped.add(relative, reason);
                continue;
            }
            let Some(name) = relative.to_str() else {
                walked.skipped.add(relative, SkipReason::Name);
                continue;
            };
            has_sent = true;
            walked.files.push(FoundFile {
                relative: with_slashes(name),
                stamp: stamp(&metadata),
                mode: mode(&metadata),
                path,
            });
        }
        if let Ok(metadata) = before {
            let mode = mode(&metadata);
            if directory != root && (!has_sent || mode != IMPLIED_MODE) {
                walked.add_directory(root, &directory, mode, is_empty);
            }
            walked.directories.push((directory, stamp(&metadata)));
        }
    }
    walked
        .others
        .sort_unstable_by(|a, b| a.relative.cmp(&b.relative));
    walked
        .files
        .sort_unstable_by(|a, b| a.relative.cmp(&b.relative));
    walked
        .skipped
        .named
        .sort_unstable_by(|a, b| a.path.cmp(&b.path));
    Ok(walked)
}

impl FoundFiles {
    /// Adds a link. Returns whether it can be sent.
    fn add_link(&mut self, root: &Path, path: &Path) -> bool {
        let relative = relative_path(root, path);
        let target = match path.read_link() {
            Ok(target) => target,
            Err(error) => {
                self.skipped.add(relative, (&error).into());
                return false;
            }
        };
        let (Some(name), Some(target)) = (relative.to_str(), target.to_str()) else {
            self.skipped.add(relative, SkipReason::Name);
            return false;
        };
        self.others.push(FoundOther {
            #[cfg(feature = "mcp")]
            path: path.to_owned(),
            relative: with_slashes(name),
            kind: OtherKind::Symlink {
                target: target.to_owned(),
            },
        });
        true
    }

    fn add_directory(&mut self, root: &Path, path: &Path, mode: u32, is_empty: bool) {
        let relative = relative_path(root, path);
        let Some(name) = relative.to_str() else {
            self.skipped.add(relative, SkipReason::Name);
            return;
        };
        self.others.push(FoundOther {
            #[cfg(feature = "mcp")]
            path: path.to_owned(),
            relative: with_slashes(name),
            kind: OtherKind::Directory { mode, is_empty },
        });
    }
}

/// Returns a path relative to `root`.
fn relative_path<'a>(root: &Path, path: &'a Path) -> &'a Path {
    path.strip_prefix(root).unwrap_or(path)
}

/// Returns a relative path with `/` as separator.
fn with_slashes(relative: &str) -> String {
    if std::path::MAIN_SEPARATOR == '/' {
        relative.to_owned()
    } else {
        relative.replace(std::path::MAIN_SEPARATOR, "/")
    }
}

/// The permission bits.
#[cfg(unix)]
pub(crate) fn mode(metadata: &Metadata) -> u32 {
    use std::os::unix::fs::PermissionsExt as _;
    metadata.permissions().mode() & 0o7777
}

/// The permission bits, which this system does not have.
#[cfg(not(unix))]
pub(crate) fn mode(metadata: &Metadata) -> u32 {
    if metadata.is_dir() { 0o755 } else { 0o644 }
}

#[cfg(feature = "mcp")]
#[cfg(unix)]
pub(crate) fn executable(metadata: &Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    metadata.permissions().mode() & 0o111 != 0
}

#[cfg(feature = "mcp")]
#[cfg(not(unix))]
pub(crate) fn executable(_metadata: &Metadata) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_mean_what_gitignore_means() {
        let root = Path::new("/r");
        let patterns = [
            "build",
            "*.log",
            "!keep.log",
            "/top",
            "__pycache__",
            "a/**/z",
            "only/",
            "{arch}",
            "x.{a,b}",
            "[{]c",
            r"\{d",
        ];
        let patterns: Vec<String> = patterns.iter().map(ToString::to_string).collect();
        let excludes = compile_excludes(root, &patterns).unwrap();
        let is_excluded =
            |path: &str, is_dir| excludes.matched(root.join(path), is_dir).is_ignore();
        for (path, is_dir, expected) in [
            ("build", true, true),
            ("deep/build", true, true),
            ("build.rs", false, false),
            ("rebuild", true, false),
            ("x.log", false, true),
            ("deep/x.log", false, true),
            ("keep.log", false, false),
            ("top", true, true),
            ("deep/top", true, false),
            ("deep/er/__pycache__", true, true),
            ("a/b/c/z", false, true),
            ("only", true, true),
            ("only", false, false),
            // Braces are literal.
            ("{arch}", true, true),
            ("arch", true, false),
            ("x.{a,b}", false, true),
            ("x.a", false, false),
            ("{c", false, true),
            ("{d", false, true),
        ] {
            assert_eq!(is_excluded(path, is_dir), expected, "{path}");
        }
        assert!(super::compile_excludes(root, &["[z-a]".into()]).is_err());
        let error = super::compile_excludes(root, &["a\nb".into()]).unwrap_err();
        assert!(error.to_string().contains("line break"), "{error}");
    }
}
