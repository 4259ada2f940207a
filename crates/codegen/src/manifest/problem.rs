//! A mistake in the manifest, with its place.

use std::fmt;

/// A text file under the name that messages show.
#[derive(Clone, Debug)]
pub struct Source {
    /// The path relative to the repository, with `/`.
    pub name: String,
    /// Its contents.
    pub text: String,
}

/// One mistake. The text says what is wrong and what to do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The file to edit.
    pub file: String,
    /// The line, counted from 1.
    pub line: u64,
    /// What is wrong, and the remedy.
    pub text: String,
}

impl Problem {
    /// A mistake in `file` at `line`.
    pub fn new(file: &str, line: u64, text: impl Into<String>) -> Self {
        Self {
            file: file.to_owned(),
            line,
            text: text.into(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.text)
    }
}
