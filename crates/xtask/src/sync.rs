//! Writing generated files, or comparing them with what they should be.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// What to do with a file that is not up to date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Write it.
    Write,
    /// Report it.
    Check,
}

/// A generated file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generated {
    /// Its path in the repository.
    pub path: PathBuf,
    /// Its contents.
    pub text: String,
}

impl Generated {
    /// A file at `path` with the contents `text`.
    pub fn new(path: impl Into<PathBuf>, text: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            text: text.into(),
        }
    }
}

/// A file that was not up to date.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stale {
    /// Its path in the repository.
    pub path: PathBuf,
    /// What is wrong with it.
    pub why: String,
}

impl fmt::Display for Stale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.path.display(), self.why)
    }
}

/// Writes or checks `files` below `root`. Returns those that were not up to date.
///
/// # Errors
/// Fails if a file cannot be read or written.
pub fn sync(root: &Path, files: &[Generated], mode: Mode) -> Result<Vec<Stale>, String> {
    let mut stale = Vec::new();
    for file in files {
        let path = root.join(&file.path);
        let found = match fs::read_to_string(&path) {
            Ok(found) => Some(found),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(format!("cannot read {}: {error}", path.display())),
        };
        if found.as_ref() == Some(&file.text) {
            continue;
        }
        let why = found.map_or_else(
            || "does not exist".to_owned(),
            |found| format!("is not up to date, {}", difference(&found, &file.text)),
        );
        if mode == Mode::Write {
            write(&path, &file.text)
                .map_err(|error| format!("cannot write {}: {error}", path.display()))?;
        }
        stale.push(Stale {
            path: file.path.clone(),
            why,
        });
    }
    Ok(stale)
}

/// Removes or reports the files in `folder`, a path below `root`, that are none of `files`.
///
/// # Errors
/// Fails if the folder cannot be read or a file cannot be removed.
pub fn remove_others(
    root: &Path,
    folder: &str,
    files: &[Generated],
    mode: Mode,
) -> Result<Vec<Stale>, String> {
    let report = |error: io::Error| format!("{folder}: {error}");
    let mut stale = Vec::new();
    for entry in fs::read_dir(root.join(folder)).map_err(report)? {
        let path = Path::new(folder).join(entry.map_err(report)?.file_name());
        if files.iter().any(|file| file.path == path) {
            continue;
        }
        if mode == Mode::Write {
            fs::remove_file(root.join(&path)).map_err(report)?;
        }
        stale.push(Stale {
            path,
            why: "is no longer generated".to_owned(),
        });
    }
    stale.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(stale)
}

/// Replaces a file at once, since a test may be reading it.
fn write(path: &Path, text: &str) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut whole = path.as_os_str().to_owned();
    whole.push(format!(".{}.new", std::process::id()));
    fs::write(&whole, text)?;
    fs::rename(&whole, path)
}

/// The first line that differs.
fn difference(found: &str, expected: &str) -> String {
    let pairs = found.lines().map(Some).chain(std::iter::repeat(None));
    let lines = expected.lines().map(Some).chain([None]);
    let difference = pairs
        .zip(lines)
        .enumerate()
        .find(|(_, (found, expected))| found != expected);
    difference.map_or_else(
        || "at a line's end".to_owned(),
        |(index, (found, expected))| {
            let shown = |line: Option<&str>| line.unwrap_or("(end)").to_owned();
            format!(
                "line {}:\n  there: {}\n  now:   {}",
                index + 1,
                shown(found),
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
    fn checking_reports_and_writing_repairs() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        let files = [
            Generated::new("made/same.txt", "same\n"),
            Generated::new("made/other.txt", "one\ntwo\n"),
            Generated::new("made/deep/new.txt", "new\n"),
        ];
        fs::create_dir(root.join("made")).unwrap();
        fs::write(root.join("made/same.txt"), "same\n").unwrap();
        fs::write(root.join("made/other.txt"), "one\n2\n").unwrap();

        let stale = sync(root, &files, Mode::Check).unwrap();
        let said: Vec<String> = stale.iter().map(ToString::to_string).collect();
        assert_eq!(
            said,
            [
                "made/other.txt is not up to date, line 2:\n  there: 2\n  now:   two",
                "made/deep/new.txt does not exist",
            ]
        );
        assert!(!root.join("made/deep").exists());

        assert_eq!(sync(root, &files, Mode::Write).unwrap(), stale);
        assert!(sync(root, &files, Mode::Check).unwrap().is_empty());
        assert_eq!(
            fs::read_to_string(root.join("made/other.txt")).unwrap(),
            "one\ntwo\n"
        );
        // Nothing is left of the writing.
        assert_eq!(fs::read_dir(root.join("made")).unwrap().count(), 3);
    }

    #[test]
    fn what_is_no_longer_generated_goes() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        fs::create_dir(root.join("made")).unwrap();
        fs::write(root.join("made/old.json"), "{}").unwrap();
        fs::write(root.join("made/kept.json"), "{}").unwrap();
        let files = [Generated::new("made/kept.json", "{}")];

        let stale = remove_others(root, "made", &files, Mode::Check).unwrap();
        assert_eq!(stale[0].to_string(), "made/old.json is no longer generated");
        assert!(root.join("made/old.json").exists());
        assert_eq!(
            remove_others(root, "made", &files, Mode::Write).unwrap(),
            stale
        );
        assert!(!root.join("made/old.json").exists());
        assert!(root.join("made/kept.json").exists());
    }
}
