//! Problems with the arguments of a call.

use std::fmt;

/// A problem with one argument.
#[derive(Debug, thiserror::Error)]
pub(super) enum ArgumentProblem {
    #[error("`{tool}` takes no arguments; leave out `{name}`")]
    NoneTaken { tool: String, name: String },
    #[error("`{tool}` has no argument `{name}`{} It takes: {known}", suggestion(.meant.as_deref()))]
    Unknown {
        tool: String,
        name: String,
        meant: Option<String>,
        known: String,
    },
    #[error("`{0}` is given twice, under two names and with different values; give it once")]
    GivenTwice(String),
    #[error("`{tool}` needs {names}")]
    Missing { tool: String, names: String },
    #[error("`{path}` must be of type {kind}, not {shown}")]
    WrongType {
        path: String,
        kind: String,
        shown: String,
    },
    #[error("`{path}` must be one of {choices}, not {shown}")]
    UnknownChoice {
        path: String,
        choices: String,
        shown: String,
    },
    #[error("`{path}` must be a UUID, not {shown}")]
    InvalidUuid { path: String, shown: String },
    #[error("`{path}` must be a time such as 2030-12-31T23:59:59Z, not {shown}")]
    InvalidTime { path: String, shown: String },
    #[error("`{path}` must match {pattern}, not {shown}")]
    NoMatch {
        path: String,
        pattern: String,
        shown: String,
    },
    #[error("`{path}` must be at least {least}, not {value}")]
    TooSmall {
        path: String,
        least: String,
        value: String,
    },
    #[error("`{path}` must be at most {most}, not {value}")]
    TooLarge {
        path: String,
        most: String,
        value: String,
    },
    #[error("`{path}` must have at least {least} character(s), not {length}")]
    TooShort {
        path: String,
        least: u64,
        length: u64,
    },
    #[error("`{path}` must have at most {most} character(s), not {length}")]
    TooLong {
        path: String,
        most: u64,
        length: u64,
    },
}

fn suggestion(meant: Option<&str>) -> String {
    meant.map_or_else(
        || ".".to_owned(),
        |meant| format!("; did you mean `{meant}`?"),
    )
}

/// All problems with the arguments of a call, one per line.
#[derive(Debug)]
pub(super) struct ArgumentProblems(pub(super) Vec<ArgumentProblem>);

impl fmt::Display for ArgumentProblems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, problem) in self.0.iter().enumerate() {
            let separator = if at == 0 { "" } else { "\n" };
            write!(f, "{separator}{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ArgumentProblems {}
