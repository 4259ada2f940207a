//! Detached runs on the embedded engine.
//!
//! The engine ends with its process, so a detached run gets a process of its own. It starts as this
//! program with the same arguments, prints the id of its operation, and outlives the terminal.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Command, Stdio};

use serde::Serialize;
use uuid::Uuid;

use super::error::VerbError;
use super::rows::{OutputFormat, print_result};
use crate::cli::output::{print, print_error_line, print_message};
use crate::tools::one_line;

/// The variable that marks the process of a detached run.
const CHILD_VARIABLE: &str = "CONTREE_DETACHED_RUN";

/// A run that was started, as JSON.
#[derive(Serialize)]
struct StartedRun {
    uuid: Uuid,
}

/// Whether this is the process of a detached run.
pub(super) fn is_child() -> bool {
    std::env::var_os(CHILD_VARIABLE).is_some()
}

/// Starts the process of a detached run, and prints the id of its operation. Returns the exit
/// status.
pub(super) fn start(format: OutputFormat) -> Result<u8, VerbError> {
    let program = std::env::current_exe().map_err(VerbError::file("contree"))?;
    let mut child = Command::new(&program)
        .args(std::env::args_os().skip(1))
        .env(CHILD_VARIABLE, "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(VerbError::file(&program))?;
    if let Some(output) = child.stdout.take() {
        for line in BufReader::new(output).lines() {
            let line = line.map_err(VerbError::file(&program))?;
            if let Ok(operation) = line.parse::<Uuid>() {
                print_result(format, &StartedRun { uuid: operation }, &line)?;
                return Ok(0);
            }
            print_message(line);
        }
    }
    let mut messages = String::new();
    if let Some(mut errors) = child.stderr.take() {
        let read = errors.read_to_string(&mut messages);
        read.map_err(VerbError::file(&program))?;
    }
    print_error_line(messages.trim_end());
    let status = child.wait().map_err(VerbError::file(&program))?;
    Ok(status
        .code()
        .and_then(|code| u8::try_from(code).ok())
        .unwrap_or(1))
}

/// Prints a message on standard error. The process of a detached run passes it to the process that
/// started it, until it prints the id of its operation.
pub(super) fn say(message: &str) -> Result<(), VerbError> {
    match is_child() {
        true => print(&format!("{}\n", one_line(message)))?,
        false => print_message(message),
    }
    Ok(())
}

/// Prints the id of the operation, and leaves the terminal in the process of a detached run.
pub(super) fn announce(operation: Uuid, format: OutputFormat) -> Result<(), VerbError> {
    #[cfg(unix)]
    if is_child() {
        // It fails only for the leader of a process group, which has no terminal to leave.
        let _ = rustix::process::setsid();
    }
    let line = operation.to_string();
    match is_child() {
        // The other process makes JSON of it.
        true => Ok(print(&format!("{line}\n"))?),
        false => print_result(format, &StartedRun { uuid: operation }, &line),
    }
}
