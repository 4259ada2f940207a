//! Walks a directory and finds the files to send.

use std::fs::Metadata;
use std::path::{Path, PathBuf};

use ignore::gitignore::{Gitignore, GitignoreBuilder};

use super::super::local_access::{AccessRefusal, LocalAccess};
use super::super::{Context, ToolError};
use super::gitignore::{IgnoreFiles, escape_braces};
use super::skipped::{SkipReason, SkippedPaths};
use crate::store::hashes::FileStamp;

/// Files between two checks for cancellation.
const CHECK_INTERVAL: usize = 512;

/// A file to be sent.
#[derive(Clone, Debug)]
pub(super) struct FoundFile {
    pub(super) path: PathBuf,
    /// Path below the directory, with `/` as separator.
    pub(super) relative: String,
    pub(super) stamp: FileStamp,
    pub(super) executable: bool,
}

/// Result of a walk.
#[derive(Debug, Default)]
pub(super) struct FoundFiles {
    pub(super) files: Vec<FoundFile>,
    pub(super) skipped: SkippedPaths,
}

/// Compiles patterns in the syntax of `.gitignore`, relative to `root`.
pub(super) fn compile_excludes(root: &Path, patterns: &[String]) -> Result<Gitignore, ToolError> {
    let mut builder = GitignoreBuilder::new(root);
    for pattern in patterns {
        if pattern.contains('\n') {
            return Err(ToolError::invalid(format!(
                "`exclude`: the pattern {pattern:?} contains a line break"
            ))
            .with_hint("Give each pattern as an element of its own."));
        }
        let pattern = escape_braces(pattern);
        builder.add_line(None, &pattern).map_err(|error| {
            ToolError::invalid_because("`exclude`", error).with_hint(
                "Use patterns as in .gitignore: `*.log`, `build/`, `/only/here`, `!keep`.",
            )
        })?;
    }
    builder
        .build()
        .map_err(|error| ToolError::invalid_because("`exclude`", error))
}

/// Rules for the entries of a walk.
pub(super) struct WalkRules<'a> {
    /// The patterns of the call. They come before `.gitignore` files.
    pub(super) excludes: &'a Gitignore,
    /// Whether `.gitignore` files count.
    pub(super) gitignore: bool,
    pub(super) access: &'a LocalAccess,
}

/// Walks `root`, which must be a real path. Links are not followed. May block.
pub(super) fn walk(
    root: &Path,
    rules: &WalkRules<'_>,
    cx: &Context,
) -> Result<FoundFiles, ToolError> {
    let WalkRules {
        excludes,
        gitignore,
        access,
    } = rules;
    let mut walked = FoundFiles::default();
    let mut directories = vec![(root.to_owned(), IgnoreFiles::default())];
    while let Some((directory, outer)) = directories.pop() {
        let ignore_files = match gitignore {
            true => outer
                .entered(&directory)
                .map_err(|error| ToolError::local_file(&directory.join(".gitignore"), error))?,
            false => outer,
        };
        let entries = match std::fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(error) if directory == root => {
                return Err(ToolError::local_file(root, error));
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
            if walked.files.len().is_multiple_of(CHECK_INTERVAL) && cx.is_cancelled() {
                return Err(ToolError::cancelled("the call was cancelled"));
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
            match access.check_metadata(&path, &metadata) {
                Ok(()) => {}
                // Some paths below the directory may still be allowed.
                Err(AccessRefusal::Outside) if metadata.is_dir() => {}
                Err(AccessRefusal::Outside) => {
                    walked.skipped.add(relative, SkipReason::Outside);
                    continue;
                }
                Err(AccessRefusal::Secret) => {
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
pub(super) fn stamp(metadata: &Metadata) -> FileStamp {
    use std::os::unix::fs::MetadataExt as _;
    let nanoseconds =
        |seconds: i64, rest: i64| seconds.saturating_mul(1_000_000_000).saturating_add(rest);
    FileStamp {
        device: metadata.dev().cast_signed(),
        inode: metadata.ino().cast_signed(),
        size: metadata.size().cast_signed(),
        mtime: nanoseconds(metadata.mtime(), metadata.mtime_nsec()),
        ctime: nanoseconds(metadata.ctime(), metadata.ctime_nsec()),
    }
}

#[cfg(not(unix))]
pub(super) fn stamp(metadata: &Metadata) -> FileStamp {
    let modified = metadata
        .modified()
        .ok()
        .and_then(|time| time.duration_since(std::time::SystemTime::UNIX_EPOCH).ok())
        .map_or(0, |time| i64::try_from(time.as_nanos()).unwrap_or(i64::MAX));
    FileStamp {
        device: 0,
        inode: 0,
        size: i64::try_from(metadata.len()).unwrap_or(i64::MAX),
        mtime: modified,
        ctime: modified,
    }
}

#[cfg(unix)]
pub(in super::super) fn executable(metadata: &Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    metadata.permissions().mode() & 0o111 != 0
}

#[cfg(not(unix))]
pub(in super::super) fn executable(_metadata: &Metadata) -> bool {
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
