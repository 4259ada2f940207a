//! Errors of requests, which are found before anything is done.

use contree_error_codes::ErrorCode;

use crate::error::ApiError;
use crate::import::source::SourceError;

/// An error of a request. Each is answered with 400 and its message.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RequestError {
    /// The command is empty.
    #[error("`command` is empty")]
    EmptyCommand,
    /// Arguments were given for a shell, which takes only a command.
    #[error("`args` need `shell: false`; with a shell, write the arguments into `command`")]
    ArgumentsWithShell,
    /// A text has a NUL byte, at which the kernel would end it.
    #[error("`command`, `args` and `cwd` cannot contain a NUL byte")]
    NulByte,
    /// A name or value that an environment variable cannot have.
    #[error(
        "`env` cannot set `{}`: a name cannot be empty or contain `=`, and name and value cannot contain a NUL byte",
        .0.escape_debug()
    )]
    Variable(String),
    /// The working directory is relative.
    #[error("`cwd` must be an absolute path, not `{0}`")]
    RelativeDirectory(String),
    /// The hostname is invalid.
    #[error("`hostname` takes at most 64 letters, digits, `-` and `.`, not `{}`", .0.escape_debug())]
    Hostname(String),
    /// A number is out of bounds.
    #[error("`{field}` must be from {least} to {most}, not {given}")]
    OutOfBounds {
        /// The field, as the document names it.
        field: &'static str,
        /// The smallest number.
        least: String,
        /// The largest number, with its unit if the field has one.
        most: String,
        /// The number that was sent.
        given: String,
    },
    /// The request publishes too many ports.
    #[error("`x-ports` takes at most {most} ports, not {given}")]
    TooManyPorts {
        /// The most ports.
        most: usize,
        /// The number of ports that were sent.
        given: usize,
    },
    /// The limit of recorded output is too high.
    #[error("`truncate_output_at` must be at most {most}, not {given}")]
    TooMuchOutput {
        /// The highest limit, in bytes.
        most: u64,
        /// The limit that was sent.
        given: u64,
    },
    /// This machine cannot enforce the limits of a sandbox.
    #[error("this machine cannot enforce `x-limits`: {0}")]
    LimitsUnenforced(String),
    /// The store has a single user id, and the request names another one.
    #[error(
        "this machine gives the embedded engine a single user id, so `uid` and `gid` can only be 0; \
         for more, install newuidmap (Debian: uidmap), give this user entries in /etc/subuid and /etc/subgid, \
         and use a new data directory (CONTREE_DATA_DIR)"
    )]
    SingleId,
    /// A path of `files` is invalid.
    #[error("a path in `files` must be absolute and not end in `/`, unlike `{}`", .0.escape_debug())]
    FilePath(String),
    /// The mode of a file is invalid.
    #[error("`mode` of a file must be octal permission bits such as \"0644\", not `{0}`")]
    Mode(String),
    /// A file of `files` has no content.
    #[error("`files`: {} has no `uuid`; upload the content and give its UUID", .0.escape_debug())]
    FileUuid(String),
    /// A symbolic link of `files` has no valid target.
    #[error("`files`: the symbolic link {} needs a target of at most 4095 bytes in `x-target`", .0.escape_debug())]
    LinkTarget(String),
    /// An entry of `files` has a target and is not a symbolic link, or a UUID and is not a file.
    #[error(
        "`files`: {} has fields that do not belong together; only a file has a `uuid`, and only a symlink has `x-target`",
        .0.escape_debug()
    )]
    FileFields(String),
    /// Standard input is not base64, although its encoding says so.
    #[error("`stdin` is not base64: {0}")]
    Stdin(#[from] base64::DecodeError),
    /// The image is neither a UUID nor a tag.
    #[error("`image` must be a UUID or `tag:NAME`, not `{0}`")]
    Image(String),
    /// The name of a tag is invalid.
    #[error(
        "`{tag}` is not a valid tag: a tag has segments of letters, digits, `_` and `-`, joined by `:`, `/` or `.`, \
         begins with a letter or digit, and has at most {most} bytes"
    )]
    Tag {
        /// The name.
        tag: String,
        /// The most bytes of a tag.
        most: usize,
    },
    /// The source of an import cannot be parsed.
    #[error("`registry.url`: {0}")]
    Registry(#[from] SourceError),
    /// The compression of a push is unknown.
    #[error("`compression` must be gzip or zstd, not `{}`", .0.escape_debug())]
    Compression(String),
    /// A user name without a password, or the reverse.
    #[error("`registry.credentials` need both `username` and `password`")]
    HalfCredentials,
}

impl RequestError {
    /// The code of the error.
    fn code(&self) -> ErrorCode {
        match self {
            Self::EmptyCommand
            | Self::ArgumentsWithShell
            | Self::NulByte
            | Self::Variable(_)
            | Self::RelativeDirectory(_)
            | Self::Hostname(_)
            | Self::OutOfBounds { .. }
            | Self::TooMuchOutput { .. }
            | Self::FilePath(_)
            | Self::Mode(_)
            | Self::FileUuid(_)
            | Self::LinkTarget(_)
            | Self::FileFields(_)
            | Self::Stdin(_)
            | Self::Image(_)
            | Self::Tag { .. }
            | Self::Compression(_)
            | Self::HalfCredentials => ErrorCode::InvalidArgument,
            Self::TooManyPorts { .. } => ErrorCode::TooManyPorts,
            Self::LimitsUnenforced(_) => ErrorCode::LimitsNotEnforced,
            Self::SingleId => ErrorCode::SingleUserId,
            Self::Registry(source) => source.code(),
        }
    }
}

impl From<RequestError> for ApiError {
    fn from(error: RequestError) -> Self {
        Self::bad(&error).with_code(error.code())
    }
}
