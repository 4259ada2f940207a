//! A mistake in a source file, with its position.

use std::fmt;

/// A text file with the name that messages show.
#[derive(Clone, Debug)]
pub struct SourceFile {
    /// The path relative to the repository, with `/`.
    pub name: String,
    /// Its contents.
    pub text: String,
}

/// A mistake in a source file, with its position and its fix.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The file to edit.
    pub file: String,
    /// The line, counted from 1.
    pub line: u64,
    /// The mistake and the fix.
    pub text: String,
}

impl Problem {
    /// Creates the problem of a mistake in `file` at `line`.
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
