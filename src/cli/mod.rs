//! The command line of `contree-mcp`: one file for each command.

mod arguments;
mod call;
mod doctor;
mod engine;
mod error;
mod flag;
mod home_path;
mod http;
mod network;
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
mod tools;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use error::CommandError;
use options::Options;
use setup::Setup;

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
    command: Option<Command>,
}

#[derive(Subcommand, Debug)]
enum Command {
    Call(call::Call),
    Shell(shell::Shell),
    Tools(tools::Tools),
    Doctor(doctor::Doctor),
    Engine(engine::Engine),
}

/// Runs the program and returns its exit status.
#[must_use]
pub fn main() -> ExitCode {
    let line = CommandLine::parse();
    match run(line) {
        Ok(status) => ExitCode::from(status),
        Err(problem) => {
            output::print_message(problem);
            ExitCode::from(1)
        }
    }
}

fn run(line: CommandLine) -> Result<u8, CommandError> {
    let mut setup = Setup::new(line.options);
    setup.for_a_person |= matches!(line.command, Some(Command::Call(_) | Command::Shell(_)));
    setup.start_logging();
    if let Err(problem) = setup.environment.check() {
        output::print_message(problem);
        return Ok(USAGE);
    }
    match setup.options.tool_selection(&setup.environment) {
        Ok(selection) => setup.tool_selection = selection,
        Err(problem) => {
            output::print_message(problem);
            return Ok(USAGE);
        }
    }
    match line.command {
        None => serve::serve(setup),
        Some(Command::Call(call)) => call.run(setup),
        Some(Command::Shell(shell)) => shell.run(setup),
        Some(Command::Tools(tools)) => tools.run(&setup),
        Some(Command::Doctor(doctor)) => doctor.run(setup),
        Some(Command::Engine(engine)) => engine.run(setup),
    }
}
