//! The command lines of `contree` and `contree-mcp`: one file for each command.
//!
//! Both programs have the commands of `Command`. `contree` adds the verbs.

mod arguments;
mod call;
mod doctor;
mod engine;
mod error;
mod explain;
mod flag;
mod habits;
mod help;
mod home_path;
mod http;
mod install;
mod network;
mod number;
mod options;
mod output;
mod process;
mod sandbox;
mod secret;
mod serve;
mod setup;
mod shell;
mod signals;
mod surface;
mod token_file;
mod tool_text;
mod tools;
mod units;
mod usage;
mod verbs;
mod wrap;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use clap_complete::CompleteEnv;
use contree_error_codes::ErrorCode;
use error::CommandError;
use options::Options;
use setup::Setup;
use verbs::{CLOSED, COMPLETE_VARIABLE, Verb, VerbOptions};

/// Exit status of a wrong command line, the same as clap's.
const USAGE: u8 = 2;

/// Run commands in Contree sandboxes: an MCP server over standard input and output or HTTP, and its
/// tools as commands
#[derive(Parser, Debug)]
#[command(name = "contree-mcp", version, max_term_width = 100)]
#[command(
    after_help = "Without a command, serves MCP on standard input and output, or with `--mode http` over HTTP."
)]
struct CommandLine {
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    command: Option<McpCommand>,
}

/// The commands of `contree-mcp`.
#[derive(Subcommand, Debug)]
enum McpCommand {
    Shell(shell::Shell),
    #[command(flatten)]
    Shared(Command),
}

/// The commands of both programs.
#[derive(Subcommand, Debug)]
enum Command {
    Call(call::Call),
    Tools(tools::Tools),
    Doctor(doctor::Doctor),
    Engine(engine::Engine),
    Explain(explain::Explain),
    Install(install::Install),
    Skill(install::Skill),
}

/// Run commands in sandboxes on images that branch like git
#[derive(Parser, Debug)]
#[command(name = "contree", version, max_term_width = 100)]
#[command(
    arg_required_else_help = true,
    after_help = "\
Begin with `contree run -- uname -a`. `contree VERB --help` has examples of each verb. An agent uses
the MCP server `contree-mcp`, or `contree call` and `contree tools`."
)]
struct VerbLine {
    #[command(flatten)]
    verb: VerbOptions,
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    command: VerbCommand,
}

#[derive(Subcommand, Debug)]
enum VerbCommand {
    #[command(flatten)]
    Verb(Verb),
    #[command(flatten)]
    Shared(Command),
}

/// Runs the program `contree-mcp` and returns its exit status.
#[must_use]
pub fn main(version: &'static str) -> ExitCode {
    output::set_program("contree-mcp");
    let command = help::with_whole_paragraphs(CommandLine::command().version(version));
    let matches = command.clone().try_get_matches();
    let matches = matches.unwrap_or_else(|error| usage::exit(error, &command));
    let line = CommandLine::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let for_a_person = line
        .command
        .as_ref()
        .is_some_and(McpCommand::is_for_a_person);
    exit(prepare(line.options, for_a_person, |setup| {
        match line.command {
            None => serve::serve(setup),
            Some(McpCommand::Shell(shell)) => shell.run(setup),
            Some(McpCommand::Shared(command)) => command.run(setup),
        }
    }))
}

/// Runs the program `contree` and returns its exit status.
#[must_use]
pub fn verb_main(version: &'static str) -> ExitCode {
    output::set_program("contree");
    CompleteEnv::with_factory(move || verb_command(version))
        .var(COMPLETE_VARIABLE)
        .complete();
    let command = verb_command(version);
    let matches = command.clone().try_get_matches();
    let matches = matches.unwrap_or_else(|error| usage::exit(error, &command));
    let line = VerbLine::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let for_a_person = match &line.command {
        VerbCommand::Verb(verb) => verb.is_for_a_person(),
        VerbCommand::Shared(command) => command.is_for_a_person(),
    };
    exit(prepare(line.options, for_a_person, |setup| {
        match line.command {
            VerbCommand::Verb(verb) => verb.run(setup, line.verb, || verb_command(version)),
            VerbCommand::Shared(command) => command.run(setup),
        }
    }))
}

/// The command line of `contree`. The help of a command has its own options alone; those of every
/// verb are in the help of the program.
fn verb_command(version: &'static str) -> clap::Command {
    let mut command = help::with_whole_paragraphs(VerbLine::command().version(version));
    let is_global = |argument: &&clap::Arg| argument.is_global_set();
    let hidden: Vec<clap::Arg> = command
        .get_arguments()
        .filter(is_global)
        .map(|argument| argument.clone().hide(true))
        .collect();
    let verbs: Vec<String> = command
        .get_subcommands()
        .map(|verb| verb.get_name().to_owned())
        .collect();
    for name in verbs {
        command = command.mut_subcommand(name, |verb| {
            let own: Vec<String> = verb
                .get_arguments()
                .map(|own| own.get_id().to_string())
                .collect();
            let hidden = hidden
                .iter()
                .filter(|argument| !own.contains(&argument.get_id().to_string()));
            verb.args(hidden.cloned())
        });
    }
    command
}

fn exit(done: Result<u8, CommandError>) -> ExitCode {
    signals::end_echoed_line();
    match done {
        // As a program that SIGPIPE ends.
        Ok(0) if output::is_output_closed() => ExitCode::from(CLOSED),
        Ok(status) => ExitCode::from(status),
        Err(problem) => {
            output::print_error(&problem, problem.code());
            ExitCode::from(1)
        }
    }
}

/// Makes the preparations of every command, and runs it. A command that a person runs may publish
/// ports.
fn prepare(
    options: Options,
    for_a_person: bool,
    command: impl FnOnce(Setup) -> Result<u8, CommandError>,
) -> Result<u8, CommandError> {
    let mut setup = Setup::new(options);
    setup.for_a_person |= for_a_person;
    setup.start_logging();
    if let Err(problem) = setup.environment.check() {
        output::print_error(problem, ErrorCode::SettingInvalid);
        return Ok(USAGE);
    }
    match setup.options.tool_selection(&setup.environment) {
        Ok(selection) => setup.tool_selection = selection,
        Err(problem) => {
            output::print_error(&problem, problem.code());
            return Ok(USAGE);
        }
    }
    command(setup)
}

impl McpCommand {
    /// Whether a person waits for the command.
    fn is_for_a_person(&self) -> bool {
        match self {
            Self::Shell(_) => true,
            Self::Shared(command) => command.is_for_a_person(),
        }
    }
}

impl Command {
    /// Whether a person waits for the command.
    fn is_for_a_person(&self) -> bool {
        matches!(self, Self::Call(_))
    }

    fn run(self, setup: Setup) -> Result<u8, CommandError> {
        match self {
            Self::Call(call) => call.run(setup),
            Self::Tools(tools) => tools.run(&setup),
            Self::Doctor(doctor) => doctor.run(setup),
            Self::Engine(engine) => engine.run(setup),
            Self::Explain(explain) => explain.run(),
            Self::Install(install) => install.run(&setup),
            Self::Skill(skill) => skill.run(&setup),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_command_lines_are_consistent() {
        CommandLine::command().debug_assert();
        verb_command("1").debug_assert();
    }

    #[test]
    fn the_help_of_each_verb_fits_a_screen_and_has_two_examples() {
        /// Lines of a terminal.
        const SCREEN: usize = 50;
        let help = |words: &[&str]| {
            let words = ["contree"].into_iter().chain(words.iter().copied());
            let asked = verb_command("1").try_get_matches_from(words.chain(["--help"]));
            asked.unwrap_err().to_string()
        };
        let shared = CommandLine::command();
        let command = verb_command("1");
        for verb in command.get_subcommands().filter(|verb| !verb.is_hide_set()) {
            let name = verb.get_name();
            if shared.find_subcommand(name).is_some() && name != "shell" {
                continue;
            }
            let help = help(&[name]);
            let lines = help.lines().count();
            assert!(lines <= SCREEN, "{name} has {lines} lines:\n{help}");
            assert!(!help.contains("--profile"), "{name}:\n{help}");
            let examples = help.matches(&format!("contree {name}")).count() - 1;
            assert!(examples >= 2, "{name}:\n{help}");
        }
        let whole = help(&[]);
        assert!(
            whole.contains("--profile") && whole.contains("--session"),
            "{whole}"
        );
    }
}
