//! The commands in sentences and tables of the documents have verbs and options that exist.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;

use super::page::inline_code;
use crate::support::{CONTREE, repository};

/// The help of commands, each asked for once.
#[derive(Default)]
struct Help(BTreeMap<Vec<String>, Option<String>>);

impl Help {
    /// The help of a command, if it exists.
    fn of(&mut self, words: &[String]) -> Option<&str> {
        let read = || {
            let program = match words[0].as_str() {
                "contree" => CONTREE,
                _ => env!("CARGO_BIN_EXE_contree-mcp"),
            };
            let mut command = Command::new(program);
            let output = command.args(&words[1..]).arg("--help").output().unwrap();
            let help = String::from_utf8(output.stdout).unwrap();
            // The help of another command, if the last word is an argument of that one.
            let usage = format!("Usage: {}", words.join(" "));
            (output.status.success() && help.contains(&usage)).then_some(help)
        };
        let help = self.0.entry(words.to_vec()).or_insert_with(read);
        help.as_deref()
    }
}

/// The options and the subcommands in a help.
fn listed(help: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for line in help.lines() {
        let words = line.split([' ', ',', '=', '[', ']', '<', '>', '|']);
        found.extend(
            words
                .filter(|word| word.starts_with('-'))
                .map(str::to_owned),
        );
    }
    found
}

/// Returns what is wrong with a command in a sentence.
fn problem(help: &mut Help, code: &str) -> Option<String> {
    let words: Vec<String> = code.split_whitespace().map(str::to_owned).collect();
    let mut command = vec![words[0].clone()];
    let whole = listed(help.of(&command).unwrap());
    let mut rest = &words[1..];
    while let Some(word) = rest.first() {
        command.push(word.clone());
        if word.starts_with('-') || help.of(&command).is_none() {
            command.pop();
            break;
        }
        rest = &rest[1..];
    }
    let first = rest.first();
    let is_verb = |word: &String| {
        let is_lower = |c: char| c.is_ascii_lowercase() || c == '-';
        !word.starts_with('-') && word.chars().all(is_lower)
    };
    if command.len() == 1
        && let Some(word) = first.filter(|word| is_verb(word))
    {
        return Some(format!("{} has no verb `{word}`", command[0]));
    }
    let known = listed(help.of(&command).unwrap());
    for word in rest {
        let option = word.trim_start_matches('[').trim_end_matches(']');
        // The words of the command inside, another program, or a text in quotes.
        if option == "--" || option == "|" || option.contains(['\'', '"']) {
            break;
        }
        let option = option.split('=').next().unwrap();
        let is_number = option[1..].starts_with(|c: char| c.is_ascii_digit());
        let is_option = option.starts_with('-') && option.len() > 1 && !is_number;
        if is_option && !known.contains(option) && !whole.contains(option) {
            return Some(format!("`{}` has no option {option}", command.join(" ")));
        }
    }
    None
}

#[test]
fn commands_in_sentences_have_known_verbs_and_options() {
    let mut help = Help::default();
    let mut problems = Vec::new();
    let mut count = 0;
    let mut names = vec!["README.md".to_owned()];
    for entry in fs::read_dir(repository().join("docs")).unwrap() {
        names.push(format!("docs/{}", entry.unwrap().file_name().display()));
    }
    for name in names.iter().filter(|name| name.ends_with(".md")) {
        let text = fs::read_to_string(repository().join(name)).unwrap();
        for (line, code) in inline_code(&text) {
            let is_command = ["contree ", "contree-mcp "]
                .iter()
                .any(|program| code.starts_with(program));
            if is_command {
                count += 1;
                let problem = problem(&mut help, &code);
                problems.extend(problem.map(|problem| format!("{name}:{line}: {code}: {problem}")));
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    assert!(count > 100, "only {count} commands were found");
    let wrong = ["contree nope x", "contree run --nope", "contree ls -Z"];
    for code in wrong {
        assert!(problem(&mut help, code).is_some(), "{code}");
    }
}
