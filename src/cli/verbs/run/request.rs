//! The parts of the command line of a run: image, options and command.

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory as _, FromArgMatches as _};

use super::super::context::VerbContext;
use super::super::error::VerbError;
use super::super::rows::VerbOptions;
use super::options::{LaterOptions, RunOptions};
use crate::cli::habits;

/// The command line of a run, in parts.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) options: RunOptions,
    pub(super) image: Option<String>,
    pub(super) command: Vec<String>,
    /// The meaning if the first word of the command is an image.
    with_image: Option<Box<Request>>,
}

impl Request {
    /// A request whose parts are known. Without words, it opens a shell.
    pub(super) fn new(options: RunOptions, image: Option<String>, command: Vec<String>) -> Self {
        Self {
            options,
            image,
            command,
            with_image: None,
        }
    }

    /// Splits words into image, options and command. `command` are the words after `--`.
    ///
    /// # Errors
    /// Unknown words, or a missing command.
    pub(super) fn read(
        mut options: RunOptions,
        words: &[String],
        command: &[String],
        verb_options: &mut VerbOptions,
    ) -> Result<Self, VerbError> {
        let (head, command) = match words.iter().position(|word| word == "--") {
            Some(at) => (&words[..at], &words[at + 1..]),
            None if command.is_empty() => (&words[..0], words),
            None => (words, command),
        };
        let before = if head.is_empty() { command } else { head };
        if words.first() == before.first()
            && let Some(option) = before.first().filter(|word| word.starts_with('-'))
        {
            return Err(unknown_option(option));
        }
        let mut image = None;
        let mut rest = head;
        if let [first, others @ ..] = head
            && !is_variable(first)
            && !is_exclusion(first, &options)
        {
            image = Some(first.clone());
            rest = others;
        }
        if !rest.is_empty() {
            let later = LaterOptions::command().try_get_matches_from(rest);
            let later = later.and_then(|matches| LaterOptions::from_arg_matches(&matches));
            let later = later.map_err(|error| match unknown_word(&error) {
                Some(option) => unknown_option(&option),
                None => VerbError::Usage(error.to_string()),
            })?;
            later.run.limits.check_later()?;
            options.add(later.run);
            verb_options.add(later.verb);
            for word in later.words {
                if is_exclusion(&word, &options) {
                    options.file_excludes.push(word);
                    continue;
                }
                if !is_variable(&word) {
                    return Err(VerbError::Usage(format!(
                        "`{word}` before `--` is neither the image nor an option; `contree run [IMAGE] -- CMD` has at most one image"
                    )));
                }
                options.sandbox.process.env.push(word);
            }
        }
        if command.is_empty() {
            return Err(VerbError::Usage(match (&image, head) {
                (Some(image), _) => format!(
                    "there is no command: give one after `--`, as in `contree run {image} -- uname -a`; `contree use {image}` only selects the image"
                ),
                _ => "there is no command: give one after `--`, as in `contree run -- uname -a`"
                    .to_owned(),
            }));
        }
        if options.detach && options.interactive {
            return Err(VerbError::Usage(
                "-d and -i exclude each other: a detached run has no terminal".to_owned(),
            ));
        }
        let with_image = match head {
            [] if !options.shell => with_image(&options, command),
            _ => None,
        };
        Ok(Self {
            options,
            image,
            command: command.to_vec(),
            with_image,
        })
    }

    /// Decides whether the first word of `contree run IMAGE -s TEXT` is an image.
    ///
    /// # Errors
    /// If the backend cannot be reached.
    pub(super) async fn resolve(mut self, cx: &VerbContext) -> Result<Self, VerbError> {
        let Some(other) = self.with_image.take() else {
            return Ok(self);
        };
        let name = other.image.as_deref().unwrap_or_default();
        match cx.image(name).await {
            Ok(_) => Ok(*other),
            Err(VerbError::WithCode(..)) => Ok(self),
            Err(error) => Err(error),
        }
    }
}

/// The other meaning of words such as `IMAGE -D -s TEXT`, which may also be a command.
fn with_image(options: &RunOptions, words: &[String]) -> Option<Box<Request>> {
    let (image, rest) = words.split_first()?;
    let later = LaterOptions::command().try_get_matches_from(rest).ok()?;
    let later = LaterOptions::from_arg_matches(&later).ok()?;
    if !later.run.shell || later.words.is_empty() || later.run.limits.check_later().is_err() {
        return None;
    }
    let mut options = options.clone();
    options.add(later.run);
    Some(Box::new(Request::new(
        options,
        Some(image.clone()),
        later.words,
    )))
}

/// The option that an error of clap does not know.
fn unknown_word(error: &clap::Error) -> Option<String> {
    match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(option)) if error.kind() == ErrorKind::UnknownArgument => {
            Some(option.clone())
        }
        _ => None,
    }
}

/// The error for an option that a run does not have.
fn unknown_option(option: &str) -> VerbError {
    let name = option.split('=').next().unwrap_or(option);
    let remedy = habits::of_option("run", option)
        .unwrap_or("`contree run --help` lists the options, which stand before the command");
    VerbError::Usage(format!("`contree run` has no {name}; {remedy}"))
}

/// Whether a word sets a variable.
fn is_variable(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, _)| {
        name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    })
}

/// Whether a word is a further pattern of `--file-excludes`, as in an example of the official
/// command line. No image has such a name.
fn is_exclusion(word: &str, options: &RunOptions) -> bool {
    !options.file_excludes.is_empty() && word.contains(['*', '?', '['])
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::Run;
    use super::*;

    #[derive(Parser)]
    #[command(no_binary_name = true)]
    struct Line {
        #[command(flatten)]
        run: Run,
    }

    fn request(words: &[&str]) -> Result<Request, VerbError> {
        let Run {
            options,
            words,
            command,
        } = Line::try_parse_from(words).unwrap().run;
        Request::read(options, &words, &command, &mut VerbOptions::default())
    }
    #[test]
    fn image_options_and_command_are_told_apart() {
        for (words, image, command, disposable) in [
            (
                &["--", "uname", "-a"][..],
                None,
                &["uname", "-a"][..],
                false,
            ),
            (&["uname", "-a"], None, &["uname", "-a"], false),
            (&["-D", "ls", "-D"], None, &["ls", "-D"], true),
            (&["host", "--", "ls"], Some("host"), &["ls"], false),
            (&["-D", "host", "--", "ls"], Some("host"), &["ls"], true),
            (
                &["host", "-D", "--", "ls", "-l"],
                Some("host"),
                &["ls", "-l"],
                true,
            ),
            (
                &["--", "grep", "--", "x"],
                None,
                &["grep", "--", "x"],
                false,
            ),
            (&["-s", "a | b"], None, &["a | b"], false),
        ] {
            let request = request(words).unwrap();
            assert_eq!(request.image.as_deref(), image, "{words:?}");
            assert_eq!(request.command, command, "{words:?}");
            assert_eq!(request.options.disposable, disposable, "{words:?}");
        }
        let variables = request(&["-e", "FOO=bar", "DEBUG=1", "--", "./app"]).unwrap();
        assert_eq!(
            variables.options.sandbox.process.env,
            ["FOO=bar", "DEBUG=1"]
        );
        assert_eq!(
            (variables.image, variables.command),
            (None, vec!["./app".to_owned()])
        );
        let excluded = request(&["--file-excludes", "*.log", "*.tmp", "--", "make"]).unwrap();
        assert_eq!(excluded.options.file_excludes, ["*.log", "*.tmp"]);
        assert_eq!(excluded.image, None);
    }

    #[test]
    fn a_command_line_without_a_command_is_refused() {
        for words in [
            &[][..],
            &["host", "--"],
            &["a", "b", "--", "ls"],
            &["host", "-x", "--", "ls"],
            &["-x", "--", "ls"],
            &["-v", ".:/x", "--", "ls"],
            &["--name", "n", "host", "ls"],
        ] {
            let error = request(words).unwrap_err();
            assert!(matches!(error, VerbError::Usage(_)), "{words:?}: {error}");
        }
    }

    #[test]
    fn options_of_docker_are_taken_or_name_the_right_one() {
        let taken = request(&["--rm", "-w", "/x", "host", "--", "ls"]).unwrap();
        assert_eq!(taken.options.sandbox.process.cwd.as_deref(), Some("/x"));
        assert!(taken.options.disposable && taken.image.as_deref() == Some("host"));
        for words in [
            &["-v", ".:/x", "--", "ls"][..],
            &["host", "-v", ".:/x", "--", "ls"],
            &["--volume=.:/x", "host", "ls"],
        ] {
            let message = request(words).unwrap_err().to_string();
            assert!(
                message.contains("has no -") && message.contains("-F SRC:/DST"),
                "{words:?}: {message}"
            );
        }
        let program = request(&["--", "-x"]).unwrap();
        assert_eq!(program.command, ["-x"]);
    }

    #[test]
    fn an_image_may_stand_before_the_text_of_a_shell() {
        let both = request(&["host", "-D", "-s", "a | b"]).unwrap();
        assert_eq!((both.image, both.command[0].as_str()), (None, "host"));
        let other = both.with_image.unwrap();
        assert_eq!(other.image.as_deref(), Some("host"));
        assert_eq!(other.command, ["a | b"]);
        assert!(other.options.shell && other.options.disposable);
        for words in [&["ls", "-l"][..], &["sort", "-s"], &["-s", "host -s x"]] {
            assert!(request(words).unwrap().with_image.is_none(), "{words:?}");
        }
        assert!(request(&["-d", "-i", "--", "sh"]).is_err());
    }
}
