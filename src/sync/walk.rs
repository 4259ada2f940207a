//! Walks a directory and finds the files to send.

use std::fs::Metadata;
use std::path::{Path, PathBuf};

use ignore::gitignore::{Gitignore, GitignoreBuilder};

use super::error::SyncError;
use super::gitignore::{IgnoreFiles, escape_braces};
use super::host::{Refusal, SyncHost};
use super::skipped::{SkipReason, SkippedPaths};
use super::stamp::{FileStamp, stamp};

/// Files between two checks for cancellation.
const CHECK_INTERVAL: usize = 512;

/// A file to be sent.
#[derive(Clone, Debug)]
pub(crate) struct FoundFile {
    pub(crate) path: PathBuf,
    /// Path below the directory, with `/` as separator.
    pub(crate) relative: String,
    pub(crate) stamp: FileStamp,
    pub(crate) executable: bool,
}

/// Result of a walk.
#[derive(Debug, Default)]
pub(crate) struct FoundFiles {
    pub(super) files: Vec<FoundFile>,
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

/// Walks `root`, which must be a real path. Links are not followed. With `gitignore`, the
/// `.gitignore` files at and below `root` count, after `excludes`. May block.
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
        let mut is_empty = true;
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
                // The entry was removed meanwhile.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
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
                directories.push((path, ignore_files.clone()));
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
            walked.files.push(FoundFile {
                relative: with_slashes(name),
                stamp: stamp(&metadata),
                executable: executable(&metadata),
                path,
            });
        }
        if is_empty && directory != root {
            walked
                .skipped
                .add(relative_path(root, &directory), SkipReason::EmptyDirectory);
        }
    }
    walked
        .files
        .sort_unstable_by(|a, b| a.relative.cmp(&b.relative));
    walked
        .skipped
        .named
        .sort_unstable_by(|a, b| a.path.cmp(&b.path));
    Ok(walked)
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

#[cfg(unix)]
pub(crate) fn executable(metadata: &Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    metadata.permissions().mode() & 0o111 != 0
}

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
