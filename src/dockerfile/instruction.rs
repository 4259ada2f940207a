//! The instructions of a Dockerfile, as a build performs them.

/// An instruction with its line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Instruction {
    /// The line on which it begins, counted from 1.
    pub(crate) line: usize,
    /// The first line of its text.
    pub(crate) text: String,
    pub(crate) kind: InstructionKind,
}

/// The kind of an instruction. Variables are not replaced yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum InstructionKind {
    Run(Run),
    Copy(Copy),
    Env(Vec<(String, String)>),
    Arg(Vec<(String, Option<String>)>),
    Workdir(String),
    User(String),
    Shell(Vec<String>),
    /// An instruction without an effect here, by its name.
    Ignored(&'static str),
}

impl InstructionKind {
    /// Whether the instruction makes an image.
    pub(crate) fn is_step(&self) -> bool {
        matches!(
            self,
            Self::Run(_) | Self::Copy(_) | Self::Env(_) | Self::Workdir(_)
        )
    }
}

/// `RUN`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) command: RunCommand,
    /// Whether the command has a network, which `--network=none` denies.
    pub(crate) has_network: bool,
    /// Whether it has a cache mount, which is an ordinary directory here.
    pub(crate) has_cache: bool,
}

/// The command of `RUN`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RunCommand {
    /// A text for the shell.
    Shell(String),
    /// A program and its arguments.
    Exec(Vec<String>),
    /// A script that names its own interpreter.
    Script(String),
}

/// `COPY` or `ADD`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Copy {
    /// Whether it is `ADD`, which unpacks archives.
    pub(crate) is_add: bool,
    /// The stage or the image to copy from.
    pub(crate) from: Option<String>,
    pub(crate) owner: Option<String>,
    pub(crate) mode: Option<String>,
    pub(crate) sources: Vec<CopySource>,
    pub(crate) destination: String,
}

/// A source of `COPY`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub(crate) enum CopySource {
    /// A path or a pattern.
    Path(String),
    /// A here-document.
    Document {
        name: String,
        content: String,
        /// Whether variables in it are replaced.
        is_expanded: bool,
    },
}
