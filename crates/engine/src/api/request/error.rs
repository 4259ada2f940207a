//! Why a request is refused before anything is done.

use crate::error::ApiError;
use crate::import::source::SourceError;

/// What is wrong with a request. Each is answered with 400 and its sentence.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RequestError {
    /// There is nothing to run.
    #[error("`command` is empty")]
    EmptyCommand,
    /// A shell takes no arguments beside its command.
    #[error("`args` go with `shell: false`; with a shell, write them into `command`")]
    ArgumentsWithShell,
    /// The kernel ends such texts at a NUL byte.
    #[error("`command`, `args` and `cwd` cannot hold a NUL byte")]
    NulByte,
    /// A variable that no environment can hold.
    #[error("`env` cannot set `{}`: a name has no `=`, and neither part a NUL byte", .0.escape_debug())]
    Variable(String),
    /// The working directory is relative.
    #[error("`cwd` must be absolute, not `{0}`")]
    RelativeDirectory(String),
    /// The name cannot be one of a host.
    #[error("`hostname` takes at most 64 letters, digits, `-` and `.`, not `{}`", .0.escape_debug())]
    Hostname(String),
    /// A number is out of its bounds.
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
    /// More output than is ever kept.
    #[error("`truncate_output_at` must be at most {most}, not {given}")]
    TooMuchOutput {
        /// The most bytes.
        most: u64,
        /// The bytes that were asked for.
        given: u64,
    },
    /// This machine cannot hold a sandbox to its limits.
    #[error("`x-limits` cannot be enforced here: {0}")]
    LimitsUnenforced(String),
    /// The store has one user id.
    #[error(
        "this machine gives the embedded engine a single user id, so `uid` and `gid` can only be 0; \
         for more, install newuidmap (Debian: uidmap), give this user entries in /etc/subuid and /etc/subgid, \
         and use a new data directory (CONTREE_DATA_DIR)"
    )]
    SingleId,
    /// A path that no file can have.
    #[error("`files` takes absolute paths of files, not `{}`", .0.escape_debug())]
    FilePath(String),
    /// Permission bits that are none.
    #[error("`mode` of a file must be octal permission bits such as \"0644\", not `{0}`")]
    Mode(String),
    /// Standard input is not encoded as it says.
    #[error("`stdin` is no base64: {0}")]
    Stdin(#[from] base64::DecodeError),
    /// An image reference that is none.
    #[error("`image` must be a UUID or `tag:NAME`, not `{0}`")]
    Image(String),
    /// A name that no tag can have.
    #[error(
        "`{tag}` is no tag: it takes segments of letters, digits, `_` and `-`, joined by `:`, `/` or `.`, \
         begins with a letter or digit, and has at most {most} bytes"
    )]
    Tag {
        /// The name.
        tag: String,
        /// The most bytes of a tag.
        most: usize,
    },
    /// Where the image should come from cannot be read.
    #[error("`registry.url`: {0}")]
    Registry(#[from] SourceError),
    /// Half of the credentials.
    #[error("`registry.credentials` need both `username` and `password`")]
    HalfCredentials,
}

impl From<RequestError> for ApiError {
    fn from(error: RequestError) -> Self {
        Self::bad(error.to_string())
    }
}
