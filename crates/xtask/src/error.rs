//! Errors of the repository's tasks.

use std::io;
use std::path::PathBuf;

use contree_codegen::manifest::{Problem, documents};

/// An error of a task.
#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    /// A source of the generated files cannot be read. The message of the error names it.
    #[error(transparent)]
    Source(io::Error),
    /// A generated file, or one that an earlier task generated, cannot be read, written or removed.
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        /// The action, as a verb.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// `cargo metadata` cannot be run, or failed.
    #[error("cargo metadata failed: {0}")]
    Metadata(String),
    /// The answer of `cargo metadata` cannot be read.
    #[error("cannot read the answer of cargo metadata: {0}")]
    MetadataAnswer(#[from] serde_json::Error),
    /// The workspace has no such package.
    #[error("the workspace has no package {0}")]
    NoPackage(String),
    /// A manifest has mistakes.
    #[error("{}", join_problems(.0))]
    Manifest(Vec<Problem>),
    /// A page has no region for generated text.
    #[error(
        "{page} needs these lines for its region:\n{}\n{}",
        documents::BEGIN,
        documents::END
    )]
    NoRegion {
        /// The path of the page.
        page: String,
    },
    /// A text that a task replaces is missing, or occurs more than once.
    #[error("{file} does not contain this text exactly once: {text}")]
    Text {
        /// The name of the file.
        file: String,
        /// The text.
        text: String,
    },
    /// An edit names a file that the fixture does not have.
    #[error("the fixture has no {0}")]
    NoFile(String),
    /// The edits of a mistake do not apply.
    #[error("{mistake}: {source}")]
    Mistake {
        /// The name of the mistake.
        mistake: &'static str,
        /// The reason.
        source: Box<TaskError>,
    },
    /// The compiler accepts a mistake.
    #[error("the mistake `{0}` compiles")]
    Accepted(&'static str),
}

impl From<Vec<Problem>> for TaskError {
    fn from(problems: Vec<Problem>) -> Self {
        Self::Manifest(problems)
    }
}

/// Joins problems, one per line.
fn join_problems(problems: &[Problem]) -> String {
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    lines.join("\n")
}
