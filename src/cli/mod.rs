//! The command line of `contree-mcp`: one file a command.

mod arguments;
mod call;
mod doctor;
mod engine;
mod error;
mod http;
mod live;
mod network;
mod options;
mod secret;
mod serve;
mod signals;
mod start;
mod surface;
mod token_file;
mod tools;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tokio::runtime::Runtime;

use error::{CommandError, ProcessError};
use options::Options;
use start::Start;

/// Exit status of a wrong command line, as clap's own.
const USAGE: u8 = 2;

/// Run commands in Contree sandboxes: an MCP server on standard input and output or HTTP, and its tools by hand
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
    Tools(tools::Tools),
    Doctor(doctor::Doctor),
    Engine(engine::Engine),
}

/// Runs the program and gives its exit status.
#[must_use]
pub fn main() -> ExitCode {
    let line = CommandLine::parse();
    match run(line) {
        Ok(status) => ExitCode::from(status),
        Err(problem) => {
            live::say(problem);
            ExitCode::from(1)
        }
    }
}

fn run(line: CommandLine) -> Result<u8, CommandError> {
    let mut start = Start::new(line.options);
    start.log();
    match start.options.offer(&start.environment) {
        Ok(offer) => start.offer = offer,
        Err(problem) => {
            live::say(problem);
            return Ok(USAGE);
        }
    }
    match line.command {
        None => serve::serve(start),
        Some(Command::Call(call)) => call.run(start),
        Some(Command::Tools(tools)) => tools.run(&start),
        Some(Command::Doctor(doctor)) => doctor.run(start),
        Some(Command::Engine(engine)) => engine.run(start),
    }
}

/// A runtime for one command: two workers, since the work is done by the backend.
fn runtime() -> Result<Runtime, ProcessError> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("contree-mcp")
        .enable_all()
        .build()
        .map_err(ProcessError::Runtime)
}
