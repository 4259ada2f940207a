//! Building the command of a run.

use std::time::Duration;

use super::super::attachment::Attachment;
use super::super::context::VerbContext;
use super::super::error::VerbError;
use super::super::session_state::{SessionState, join};
use super::options::RunOptions;
use super::terminal;
use crate::{Command, Image};

/// Bytes of each stream that the backend records: the maximum of the API.
pub(in crate::cli::verbs) const RECORDED_BYTES: u64 = 10 * 1024 * 1024;
/// The text of a shell in the history of the session.
const SHELL_TITLE: &str = "shell";

/// The command of a run on an image, without its files.
///
/// # Errors
/// An option that cannot be used, or a script that cannot be read.
pub(super) async fn build(
    cx: &VerbContext,
    base: &Image,
    state: &SessionState,
    options: &RunOptions,
    words: &[String],
) -> Result<Command, VerbError> {
    let mut built = match (words, options.interpreter) {
        ([script, arguments @ ..], true) => {
            let body = tokio::fs::read(script)
                .await
                .map_err(VerbError::file(script))?;
            let arguments = arguments.iter().map(String::as_str);
            base.command("/bin/sh")
                .args(["-s", "--"].into_iter().chain(arguments))
                .stdin(without_shebang(body))
        }
        ([text], false) if options.shell => base.shell(text),
        (words, false) if options.shell && !words.is_empty() => base.shell(shell_words(words)),
        ([program, arguments @ ..], false) => base.exec(program, arguments),
        ([], _) => base.shell(terminal::SHELL),
    };
    let variables = options.sandbox.process.variables()?;
    let own = variables.iter().map(|(name, value)| (name, value));
    for (name, value) in state.env.iter().chain(own) {
        built = built.env(name, value);
    }
    if let Some(directory) = directory(state, options.sandbox.process.cwd.as_deref()) {
        built = built.cwd(directory);
    }
    if let Some(name) = &options.hostname {
        built = built.hostname(name);
    }
    if options.preserve_env {
        built = built.keep_env();
    }
    let recorded = options.truncate.unwrap_or(RECORDED_BYTES);
    built = built.truncate_output_at(recorded.min(RECORDED_BYTES));
    options.limits.apply(cx, built).await
}

/// Sets a time limit in seconds.
pub(super) fn with_timeout(command: Command, seconds: u64) -> Command {
    command.timeout(Duration::from_secs(seconds))
}

/// The files that a run gets.
///
/// # Errors
/// An argument that cannot be read.
pub(super) fn attachments(options: &RunOptions) -> Result<Vec<Attachment>, VerbError> {
    let texts = options.sandbox.file.iter();
    texts.map(|text| Attachment::parse(text)).collect()
}

/// The text of a run in the history of the session.
pub(super) fn title(options: &RunOptions, words: &[String]) -> String {
    match words {
        [] => SHELL_TITLE.to_owned(),
        words if options.shell => words.join(" "),
        words => shell_words(words),
    }
}

/// The directory of a command.
fn directory(state: &SessionState, given: Option<&str>) -> Option<String> {
    match given {
        // An empty one is that of the image, as for the official command line.
        Some("") => None,
        Some(path) => Some(join(state.cwd.as_deref(), path)),
        None => state.cwd.clone(),
    }
}

/// Quotes words for a shell, and joins them.
pub(in crate::cli::verbs) fn shell_words(words: &[String]) -> String {
    let quoted = words.iter().map(|word| {
        let is_plain = !word.is_empty()
            && word
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"@%_-+=:,./".contains(&byte));
        match is_plain {
            true => word.clone(),
            false => format!("'{}'", word.replace('\'', r"'\''")),
        }
    });
    quoted.collect::<Vec<_>>().join(" ")
}

/// A script without its first line if that names its interpreter.
fn without_shebang(body: Vec<u8>) -> Vec<u8> {
    if !body.starts_with(b"#!") {
        return body;
    }
    let end = body.iter().position(|byte| *byte == b'\n');
    end.map_or_else(Vec::new, |end| body[end + 1..].to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_for_a_shell() {
        let words = ["echo", "a b", "it's", ""].map(str::to_owned);
        assert_eq!(shell_words(&words), r"echo 'a b' 'it'\''s' ''");
        assert_eq!(without_shebang(b"#!/bin/sh\necho\n".to_vec()), b"echo\n");
        assert_eq!(without_shebang(b"echo".to_vec()), b"echo");
    }
}
