//! Writes generated files, or compares them with their expected text.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::error::TaskError;

/// The action for files that are out of date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncMode {
    /// Write them.
    Write,
    /// Report them.
    Check,
}

/// A generated file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GeneratedFile {
    /// Its path in the repository.
    pub path: PathBuf,
    /// Its content.
    pub text: String,
}

impl GeneratedFile {
    /// A file at `path` with the content `text`.
    pub fn new(path: impl Into<PathBuf>, text: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            text: text.into(),
        }
    }
}

/// A file that is out of date.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaleFile {
    /// Its path in the repository.
    pub path: PathBuf,
    /// The reason, as the rest of a sentence that begins with the path.
    pub why: String,
}

impl fmt::Display for StaleFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.path.display(), self.why)
    }
}

/// Writes or checks `files` below `root`. Returns those that are out of date.
///
/// # Errors
/// Fails if a file cannot be read or written.
pub fn sync(
    root: &Path,
    files: &[GeneratedFile],
    mode: SyncMode,
) -> Result<Vec<StaleFile>, TaskError> {
    let mut stale = Vec::new();
    for file in files {
        let path = root.join(&file.path);
        let actual = match fs::read_to_string(&path) {
            Ok(text) => Some(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(source) => return Err(file_error("read", &path)(source)),
        };
        if actual.as_ref() == Some(&file.text) {
            continue;
        }
        let why = actual.map_or_else(
            || "does not exist".to_owned(),
            |actual| format!("is out of date: {}", difference(&actual, &file.text)),
        );
        if mode == SyncMode::Write {
            write(&path, &file.text).map_err(file_error("write", &path))?;
        }
        stale.push(StaleFile {
            path: file.path.clone(),
            why,
        });
    }
    Ok(stale)
}

/// Removes or reports the files in `directory`, a path below `root`, that are not in `files`.
///
/// # Errors
/// Fails if the directory cannot be read or a file cannot be removed.
pub fn remove_stale(
    root: &Path,
    directory: &str,
    files: &[GeneratedFile],
    mode: SyncMode,
) -> Result<Vec<StaleFile>, TaskError> {
    let mut stale = Vec::new();
    let listed = root.join(directory);
    for entry in fs::read_dir(&listed).map_err(file_error("list", &listed))? {
        let entry = entry.map_err(file_error("list", &listed))?;
        let path = Path::new(directory).join(entry.file_name());
        if files.iter().any(|file| file.path == path) {
            continue;
        }
        if mode == SyncMode::Write {
            let file = root.join(&path);
            fs::remove_file(&file).map_err(file_error("remove", &file))?;
        }
        stale.push(StaleFile {
            path,
            why: "is no longer generated".to_owned(),
        });
    }
    stale.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(stale)
}

fn file_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> TaskError {
    let path = path.to_owned();
    move |source| TaskError::File {
        action,
        path,
        source,
    }
}

/// Replaces a file atomically, because a test may be reading it.
fn write(path: &Path, text: &str) -> io::Result<()> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{}.new", std::process::id()));
    fs::write(&temporary, text)?;
    fs::rename(&temporary, path)
}

/// Describes the first line that differs.
fn difference(actual: &str, expected: &str) -> String {
    let actual_lines = actual.lines().map(Some).chain(std::iter::repeat(None));
    let expected_lines = expected.lines().map(Some).chain([None]);
    let difference = actual_lines
        .zip(expected_lines)
        .enumerate()
        .find(|(_, (actual, expected))| actual != expected);
    difference.map_or_else(
        || "only line ends differ".to_owned(),
        |(index, (actual, expected))| {
            let shown = |line: Option<&str>| line.unwrap_or("(end)").to_owned();
            format!(
                "line {}:\n  found:    {}\n  expected: {}",
                index + 1,
                shown(actual),
                shown(expected)
            )
        },
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test")]

    use super::*;

    #[test]
    fn check_reports_and_write_updates() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        let files = [
            GeneratedFile::new("made/same.txt", "same\n"),
            GeneratedFile::new("made/other.txt", "one\ntwo\n"),
            GeneratedFile::new("made/deep/new.txt", "new\n"),
        ];
        fs::create_dir(root.join("made")).unwrap();
        fs::write(root.join("made/same.txt"), "same\n").unwrap();
        fs::write(root.join("made/other.txt"), "one\n2\n").unwrap();

        let stale = sync(root, &files, SyncMode::Check).unwrap();
        let reports: Vec<String> = stale.iter().map(ToString::to_string).collect();
        assert_eq!(
            reports,
            [
                "made/other.txt is out of date: line 2:\n  found:    2\n  expected: two",
                "made/deep/new.txt does not exist",
            ]
        );
        assert!(!root.join("made/deep").exists());

        assert_eq!(sync(root, &files, SyncMode::Write).unwrap(), stale);
        assert!(sync(root, &files, SyncMode::Check).unwrap().is_empty());
        assert_eq!(
            fs::read_to_string(root.join("made/other.txt")).unwrap(),
            "one\ntwo\n"
        );
        // No temporary file is left.
        assert_eq!(fs::read_dir(root.join("made")).unwrap().count(), 3);
    }

    #[test]
    fn files_that_are_no_longer_generated_are_removed() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        fs::create_dir(root.join("made")).unwrap();
        fs::write(root.join("made/old.json"), "{}").unwrap();
        fs::write(root.join("made/kept.json"), "{}").unwrap();
        let files = [GeneratedFile::new("made/kept.json", "{}")];

        let stale = remove_stale(root, "made", &files, SyncMode::Check).unwrap();
        assert_eq!(stale[0].to_string(), "made/old.json is no longer generated");
        assert!(root.join("made/old.json").exists());
        assert_eq!(
            remove_stale(root, "made", &files, SyncMode::Write).unwrap(),
            stale
        );
        assert!(!root.join("made/old.json").exists());
        assert!(root.join("made/kept.json").exists());
    }
}
