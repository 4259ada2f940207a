//! Errors of the command line: clap's, with proposals that name words of these programs.

use std::borrow::Cow;
use std::ffi::OsString;

use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::habits;
use super::output::print_error_line;
use super::verbs::nearest;
use crate::tools::visible;

/// The option whose value is a time limit.
const TIMEOUT: &str = "--timeout";

/// Prints an error of the command line, or the help that was asked for, and exits.
pub(super) fn exit(error: clap::Error, program: &clap::Command) -> ! {
    let words: Vec<OsString> = std::env::args_os().skip(1).collect();
    let error = corrected(error, program, &words);
    // The error repeats words of the command line, which may have hidden characters.
    let has_hidden = |word: &OsString| matches!(visible(&word.to_string_lossy()), Cow::Owned(_));
    if error.use_stderr() && words.iter().any(has_hidden) {
        print_error_line(error.to_string().trim_end());
        std::process::exit(error.exit_code());
    }
    error.exit()
}

/// The same error with other proposals. Those of clap propose hidden commands, options of other
/// verbs, and `-- --OPTION`.
fn corrected(mut error: clap::Error, program: &clap::Command, words: &[OsString]) -> clap::Error {
    let verb = verb(program, words);
    let proposal = match error.kind() {
        ErrorKind::InvalidSubcommand => {
            error.remove(ContextKind::SuggestedSubcommand);
            error.remove(ContextKind::Suggested);
            let word = text(&error, ContextKind::InvalidSubcommand);
            of_subcommand(program, verb.as_deref().unwrap_or_default(), &word)
        }
        ErrorKind::UnknownArgument => {
            error.remove(ContextKind::Suggested);
            let argument = text(&error, ContextKind::InvalidArg);
            let near = text(&error, ContextKind::SuggestedArg);
            if strsim::osa_distance(&argument, &near) > 2 {
                error.remove(ContextKind::SuggestedArg);
            }
            of_argument(verb.as_deref().unwrap_or_default(), &argument)
        }
        ErrorKind::ValueValidation | ErrorKind::InvalidValue => {
            let argument = text(&error, ContextKind::InvalidArg);
            let value = text(&error, ContextKind::InvalidValue);
            of_value(verb.as_deref().unwrap_or_default(), &argument, &value)
        }
        _ => None,
    };
    if let Some(proposal) = proposal {
        let proposals = vec![StyledStr::from(proposal)];
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(proposals));
    }
    error
}

/// The text of a part of an error.
fn text(error: &clap::Error, kind: ContextKind) -> String {
    match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        _ => String::new(),
    }
}

/// The first word that is a verb of the program.
fn verb(program: &clap::Command, words: &[OsString]) -> Option<String> {
    let mut words = words.iter().filter_map(|word| word.to_str());
    words.find_map(|word| Some(program.find_subcommand(word)?.get_name().to_owned()))
}

fn of_subcommand(program: &clap::Command, verb: &str, word: &str) -> Option<String> {
    if program.get_name() == "contree-mcp" && verb.is_empty() {
        let verbs = super::verb_command("");
        let verb = verbs.find_subcommand(word)?;
        return Some(format!(
            "`contree {}` is a verb of the other program, `contree`",
            verb.get_name()
        ));
    }
    if let Some(proposal) = habits::of_subcommand(verb, word) {
        return Some(proposal.to_owned());
    }
    let parent = match verb {
        "" => program,
        verb => program.find_subcommand(verb)?,
    };
    let names = parent
        .get_subcommands()
        .filter(|command| !command.is_hide_set())
        .map(clap::Command::get_name);
    let near = nearest(word, names);
    (!near.is_empty()).then(|| format!("did you mean {}?", near.join(" or ")))
}

fn of_argument(verb: &str, argument: &str) -> Option<String> {
    if argument.starts_with('/') && matches!(verb, "ls" | "cat" | "cp" | "export") {
        return Some(format!(
            "a file of another image is IMAGE:/PATH, as in `contree {verb} @2:{argument}`"
        ));
    }
    habits::of_option(verb, argument).map(str::to_owned)
}

fn of_value(verb: &str, argument: &str, value: &str) -> Option<String> {
    let name = argument.split(' ').next().unwrap_or_default();
    let proposal = match (verb, name) {
        ("run" | "shell", TIMEOUT) => {
            "`-t` is the time limit in seconds; `-i` alone gives the command this terminal"
        }
        ("images", TIMEOUT) => "`-t` is the time limit in seconds; `--tag` names the image",
        ("save", "--output") => {
            "`-o` is the format of records; give the file after the image: `contree save IMAGE FILE`"
        }
        ("export", "--output") => "`-o` is the format of records; `-F FILE` names the file",
        ("publish", "[PORT]") if value.contains(':') => {
            "the port inside comes first: `contree publish OPERATION 8000 8080` is at 127.0.0.1:8080"
        }
        (_, "--output") => "`-o` is the format of records",
        _ => return None,
    };
    Some(proposal.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(words: &[&str]) -> String {
        let program = super::super::verb_command("1");
        let line = ["contree"].iter().chain(words);
        let error = program.clone().try_get_matches_from(line).unwrap_err();
        let words: Vec<OsString> = words.iter().map(OsString::from).collect();
        corrected(error, &program, &words).to_string()
    }

    #[test]
    fn a_wrong_word_has_a_proposal_that_can_be_typed() {
        for (words, expected) in [
            (&["pull", "alpine"][..], "contree images import"),
            (&["rnu", "--", "true"], "`run`"),
            (&["imagse"], "`images`"),
            (&["images", "rm", "x"], "contree rmi"),
            (&["images", "improt", "x"], "`import`"),
            (&["cat", "@5", "/srv/x"], "contree cat @2:/srv/x"),
            (&["run", "-it", "host"], "`-i` alone"),
            (&["save", "app:1", "-o", "a.tar"], "contree save IMAGE FILE"),
            (&["publish", "1a2b", "8080:80"], "8000 8080"),
        ] {
            let message = message(words);
            assert!(message.contains(expected), "{words:?}: {message}");
        }
    }

    #[test]
    fn nothing_hidden_or_unrelated_is_proposed() {
        for words in [
            &["image-x"][..],
            &["version"],
            &["diff", "--colour"],
            &["prune", "--all"],
            &["kill", "-x", "1a2b"],
        ] {
            let message = message(words);
            for wrong in [
                "man-pages",
                "'r'",
                "as a value",
                "--allow-path",
                "--read-only",
            ] {
                assert!(!message.contains(wrong), "{words:?}: {message}");
            }
        }
    }
}
