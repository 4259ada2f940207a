//! Files with the token that clients of a server must send.

use std::io;
use std::path::{Path, PathBuf};

use super::output::print_message;
use crate::mcp::{InvalidToken, Token};

/// Number of bytes that are read of a token file of the MCP server.
const LONGEST_TOKEN: u64 = 4096;

/// An error in a token file.
#[derive(Debug, thiserror::Error)]
pub(super) enum TokenFileError {
    #[error("cannot read the token file {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{}: {source}", path.display())]
    Invalid { path: PathBuf, source: InvalidToken },
    #[cfg(all(feature = "engine", target_os = "linux"))]
    #[error(
        "the token file {} is empty; write a long random token into it, for instance with `openssl rand -hex 32`",
        .0.display()
    )]
    Empty(PathBuf),
    #[cfg(all(feature = "engine", target_os = "linux"))]
    #[error(
        "the token in {} must be one word of visible ASCII characters, since an HTTP header carries it",
        .0.display()
    )]
    NotOneWord(PathBuf),
}

fn read_error(path: &Path) -> impl FnOnce(io::Error) -> TokenFileError {
    let path = path.to_owned();
    move |source| TokenFileError::Read { path, source }
}

/// Reads the token of the MCP server, and warns if other users may read the file.
pub(super) fn read_mcp_token(path: &Path) -> Result<Token, TokenFileError> {
    use std::io::Read as _;
    let mut text = String::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(LONGEST_TOKEN).read_to_string(&mut text))
        .map_err(read_error(path))?;
    warn_if_shared(path).map_err(read_error(path))?;
    Token::new(text.trim()).map_err(|source| TokenFileError::Invalid {
        path: path.to_owned(),
        source,
    })
}

/// Reads the token of `engine serve`, and warns if other users may read the file.
#[cfg(all(feature = "engine", target_os = "linux"))]
pub(super) fn read_engine_token(path: &Path) -> Result<String, TokenFileError> {
    let text = std::fs::read_to_string(path).map_err(read_error(path))?;
    let token = text.trim();
    if token.is_empty() {
        return Err(TokenFileError::Empty(path.to_owned()));
    }
    if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(TokenFileError::NotOneWord(path.to_owned()));
    }
    warn_if_shared(path).map_err(read_error(path))?;
    Ok(token.to_owned())
}

/// Warns if other users may read a file with a secret.
#[cfg(unix)]
fn warn_if_shared(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::MetadataExt as _;
    if std::fs::metadata(path)?.mode() & 0o077 != 0 {
        let shown = path.display();
        print_message(format_args!(
            "warning: other users may read the token file {shown}; `chmod 600` it"
        ));
    }
    Ok(())
}

#[cfg(not(unix))]
#[expect(clippy::unnecessary_wraps, reason = "it can fail on other systems")]
fn warn_if_shared(_: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_long_and_printable() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for (text, good) in [
            ("0123456789abcdef\n", true),
            ("short\n", false),
            ("0123456789 abcdef", false),
            ("", false),
        ] {
            std::fs::write(file.path(), text).unwrap();
            assert_eq!(read_mcp_token(file.path()).is_ok(), good, "{text:?}");
        }
        assert!(read_mcp_token(Path::new("/nowhere/token")).is_err());
    }
}
