//! Mistakes in Dockerfiles.

/// A mistake in a Dockerfile, with its line.
#[derive(Debug, thiserror::Error)]
#[error("line {line}: {problem}")]
pub(crate) struct DockerfileError {
    /// The line, counted from 1.
    pub(crate) line: usize,
    /// The mistake.
    #[source]
    pub(crate) problem: Problem,
}

/// The kind of a mistake. Each message says what to write instead.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Problem {
    #[error("{0}")]
    Syntax(String),
    #[error("the here-document `{0}` has no end; write {0} on a line of its own")]
    UnendedHereDocument(String),
    #[error("`{text}` is not a variable with a value; write NAME=VALUE")]
    NoPair { text: String },
    #[error(
        "`{0}` does not begin a substitution that is supported; write ${{NAME}} or ${{NAME:-DEFAULT}}"
    )]
    Substitution(String),
    #[error("too many substitutions are within each other; use a variable for the inner ones")]
    NestedTooDeeply,
    #[error("the variable `{name}` is needed: {message}")]
    Required { name: String, message: String },
    #[error("{keyword} has the unknown option --{option}; leave it out")]
    Option {
        keyword: &'static str,
        option: String,
    },
    #[error("{keyword} --{option} needs a value, as in --{option}={example}")]
    OptionValue {
        keyword: &'static str,
        option: &'static str,
        example: &'static str,
    },
    #[error("{what} is not supported; {instead}")]
    Unsupported { what: String, instead: &'static str },
    #[error(
        "FROM names no image: `{0}` is empty without the value of an ARG before the first FROM"
    )]
    NoImage(String),
    #[error("--platform={given} is not the platform of this machine, {own}; leave it out")]
    Platform { given: String, own: String },
    #[error("the stage `{0}` comes later or is this one; copy from an earlier stage")]
    LaterStage(String),
    #[error("SHELL needs a list of words, as in SHELL [\"/bin/sh\", \"-c\"]")]
    Shell,
    #[error("several sources need a directory as their destination; write `{0}/`")]
    NeedsDirectory(String),
}

impl Problem {
    /// The mistake on a line.
    pub(crate) fn at(self, line: usize) -> DockerfileError {
        DockerfileError {
            line,
            problem: self,
        }
    }
}
