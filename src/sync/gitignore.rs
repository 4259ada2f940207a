//! The `.gitignore` files at and below a directory that is sent.

use std::io;
use std::path::Path;
use std::sync::Arc;

use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};

const NAME: &str = ".gitignore";
/// The mark that some editors write before UTF-8 text.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// The `.gitignore` files that apply to the entries of a directory, the innermost last.
#[derive(Clone, Debug, Default)]
pub(super) struct IgnoreFiles(Vec<Arc<Gitignore>>);

impl IgnoreFiles {
    /// Returns the files that apply in a directory, given those of its parent.
    ///
    /// As in git, a line that is not a pattern excludes nothing, and a link is not followed.
    ///
    /// # Errors
    /// If there is a file that cannot be read. Without it, secrets could be sent.
    pub(super) fn entered(&self, directory: &Path) -> io::Result<Self> {
        let path = directory.join(NAME);
        let is_file = std::fs::symlink_metadata(&path).is_ok_and(|found| found.is_file());
        if !is_file {
            return Ok(self.clone());
        }
        let text = std::fs::read(&path)?;
        let text = String::from_utf8_lossy(&text);
        let mut builder = GitignoreBuilder::new(directory);
        for line in text.trim_start_matches(BYTE_ORDER_MARK).lines() {
            let _ = builder.add_line(None, &escape_braces(line));
        }
        let mut files = self.0.clone();
        if let Ok(file) = builder.build() {
            files.push(Arc::new(file));
        }
        Ok(Self(files))
    }

    /// Reports whether an entry is excluded. The innermost file that has a pattern for it decides.
    pub(super) fn exclude(&self, path: &Path, is_directory: bool) -> bool {
        let matches = self.0.iter().rev();
        let mut matches = matches.map(|file| file.matched(path, is_directory));
        matches
            .find(|matched| !matched.is_none())
            .is_some_and(|matched| matches!(matched, Match::Ignore(_)))
    }
}

/// Escapes the braces in a pattern. git takes them literally (gitignore(5), "PATTERN FORMAT"), and
/// the `ignore` crate takes them for alternatives.
pub(crate) fn escape_braces(pattern: &str) -> String {
    let mut escaped = String::with_capacity(pattern.len());
    let mut is_in_class = false;
    let mut characters = pattern.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => {
                escaped.push(character);
                escaped.extend(characters.next());
                continue;
            }
            '[' => is_in_class = true,
            ']' => is_in_class = false,
            '{' | '}' if !is_in_class => escaped.push('\\'),
            _ => {}
        }
        escaped.push(character);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(folder: &Path, lines: &[(&str, &str)]) -> IgnoreFiles {
        let mut files = IgnoreFiles::default();
        for (directory, text) in lines {
            let directory = folder.join(directory);
            std::fs::create_dir_all(&directory).unwrap();
            std::fs::write(directory.join(NAME), text).unwrap();
            files = files.entered(&directory).unwrap();
        }
        files
    }

    #[test]
    fn the_innermost_file_with_a_pattern_decides() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let files = files(
            root,
            &[("", "*.log\n.env\nbuild/\n"), ("a", "!keep.log\n/only\n")],
        );
        for (path, is_directory, expected) in [
            ("a/x.log", false, true),
            ("a/keep.log", false, false),
            ("a/.env", false, true),
            ("a/only", false, true),
            ("a/b/only", false, false),
            ("a/build", true, true),
            ("a/build", false, false),
            ("a/x", false, false),
        ] {
            assert_eq!(
                files.exclude(&root.join(path), is_directory),
                expected,
                "{path}"
            );
        }
    }

    #[test]
    fn lines_are_read_as_git_reads_them() {
        let folder = tempfile::tempdir().unwrap();
        let text = "\u{feff}first\r\n# comment\n\\#literal\n[z-a]\n{x}\ntrailing  \nlast";
        let files = files(folder.path(), &[("", text)]);
        for (name, expected) in [
            ("first", true),
            ("# comment", false),
            ("#literal", true),
            ("z", false),
            ("{x}", true),
            ("x", false),
            ("trailing", true),
            ("last", true),
        ] {
            assert_eq!(
                files.exclude(&folder.path().join(name), false),
                expected,
                "{name}"
            );
        }
    }
}
