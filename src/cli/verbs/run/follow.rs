//! Following a run to its end, and keeping its result in the session.

use std::sync::Arc;
use std::time::Duration;

use contree_error_codes::ErrorCode;
use uuid::Uuid;

use super::super::context::VerbContext;
use super::super::detached;
use super::super::error::VerbError;
use super::super::exit_status::{CLOSED, FAILED, TIMED_OUT};
use super::super::image_name::short;
use super::super::input;
use super::super::rows::print_record;
use super::super::sent_files::SentFiles;
use super::super::session_state::{Change, SessionState};
use super::options::RunOptions;
use super::ports::{self, PortOption};
use super::record::RunRecord;
use super::terminal::{ConnectionEnd, connect};
use crate::cli::output::{RawOutput, WriteState, print_error, print_message};
use crate::events::Payload;
use crate::store::sessions::Appended;
use crate::tools::{OutputStream, Watcher as _};
use crate::{Changes, Command, Error, OperationStatus, Outcome, Running};

/// How long to wait for the end of a cancelled run.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(10);

/// How often the end of a cancelled run is looked for.
const POLL: Duration = Duration::from_millis(50);
/// The most running operations that are looked at.
const MAX_LISTED: u64 = 1000;

/// The connection of a run to the streams of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RunStreams {
    /// The output is shown, and the input is empty.
    Output,
    /// The output is shown, and the input is forwarded.
    Both,
    /// The command has a terminal of this size, connected to that of this process.
    Terminal(u16, u16),
}

/// A run, with the state and options that its result needs.
pub(super) struct StartedRun<'a> {
    pub(super) cx: &'a VerbContext,
    pub(super) state: SessionState,
    pub(super) options: &'a RunOptions,
    pub(super) title: String,
    /// Seconds after which the command is stopped.
    pub(super) timeout: u64,
    pub(super) streams: RunStreams,
    pub(super) ports: Vec<PortOption>,
    /// The placed files of this machine.
    pub(super) sent: SentFiles,
}

impl StartedRun<'_> {
    /// Starts the command, follows it, and returns the exit status.
    pub(super) async fn follow<C: Changes>(self, command: Command<C>) -> Result<u8, VerbError> {
        let cx = self.cx;
        let run = cx.unless_interrupted(command.spawn()).await?;
        let id = run.id();
        cx.remember_run(id).await;
        self.sent.remember(cx, id).await;
        ports::publish(cx, &run, &self.ports).await?;
        if self.options.detach {
            detached::announce(id, cx.format)?;
            if !detached::is_child() {
                run.detach();
                return Ok(0);
            }
        }
        let raw = Arc::new(RawOutput::new(cx.cancelled.clone()));
        let mut shown = !cx.format.is_json() && !self.options.detach;
        match self.streams {
            RunStreams::Output => {}
            RunStreams::Both => drop(contree_tasks::spawn(input::forward(run.stdin()))),
            RunStreams::Terminal(columns, rows) => {
                // The connection restores the terminal and says which signal ended it.
                let _ending = cx.ending();
                let end = connect(|| run.terminal(), run.stdin(), (columns, rows)).await;
                match end {
                    Ok(ConnectionEnd::Shown) => shown = false,
                    Ok(ConnectionEnd::Missed) => shown = true,
                    Ok(ConnectionEnd::Signal(status)) => {
                        return Ok(cancel(cx, run, &raw, status).await);
                    }
                    Err(error) => {
                        cancel(cx, run, &raw, FAILED).await;
                        return Err(VerbError::WithCode(error.code(), error.to_string()));
                    }
                }
            }
        }
        let followed = cx.client.outcome(id, |event| {
            if event.spid != 1 || !shown {
                return;
            }
            match &event.payload {
                Payload::Stdout(chunk) => raw.output(OutputStream::Stdout, &chunk.bytes),
                Payload::Stderr(chunk) => raw.output(OutputStream::Stderr, &chunk.bytes),
                _ => {}
            }
        });
        let outcome = tokio::select! {
            biased;
            outcome = followed => outcome?,
            status = cx.interrupted() => return Ok(cancel(cx, run, &raw, status).await),
        };
        run.detach();
        raw.finish();
        // A service without events has the output only in its record.
        if shown && !raw.has_written() {
            raw.output(OutputStream::Stdout, &outcome.stdout.bytes);
            raw.output(OutputStream::Stderr, &outcome.stderr.bytes);
            raw.finish();
        }
        let status = self.end(&outcome).await?;
        Ok(written_status(&raw, status))
    }

    /// Records the result in the session, names the kept image, and returns the exit status.
    async fn end(mut self, outcome: &Outcome) -> Result<u8, VerbError> {
        let cx = self.cx;
        // A kept image that no entry names would be lost.
        let _ending = cx.ending();
        let before = self.state.image;
        let status = exit_status(outcome);
        let mut entry = None;
        if let Some(image) = outcome.result_image.filter(|_| !self.options.disposable) {
            self.state.image = Some(image);
            let change = Change {
                kind: "run",
                title: self.title.clone(),
                operation: Some(outcome.operation),
            };
            let appended = cx.record(&self.state, change).await?;
            entry = Some(appended.id);
            let is_quiet = self.options.quiet || self.options.detach;
            if before != Some(image) && !is_quiet {
                print_message(kept_message(&image, appended, status));
            } else if !appended.is_tip && !is_quiet {
                print_message(moved_message(appended.id));
            }
        }
        if cx.format.is_json() {
            print_record(cx.format, &RunRecord::new(outcome, entry))?;
        }
        self.report_ending(outcome);
        Ok(status)
    }

    fn report_ending(&self, outcome: &Outcome) {
        if outcome.status != OperationStatus::Success {
            let reason = outcome.error.as_deref().unwrap_or(match outcome.status {
                OperationStatus::Cancelled => "it was cancelled",
                _ => "the backend gave no reason",
            });
            let code = outcome.error_code.unwrap_or(ErrorCode::OperationFailed);
            // The reason tells what became of the result.
            if outcome.status == OperationStatus::Failed && outcome.exit_code.is_some() {
                print_error(reason, code);
            } else {
                print_error(
                    format_args!("the command did not run to its end: {reason}"),
                    code,
                );
            }
        } else if outcome.timed_out {
            print_error(
                format_args!(
                    "stopped after {} s; -t SECS gives it more time",
                    self.timeout
                ),
                ErrorCode::CommandTimedOut,
            );
        } else if outcome.oom_killed {
            print_message("the memory limit was reached; --memory SIZE sets another one");
        }
        if outcome.stdout.truncated || outcome.stderr.truncated {
            print_message("the output is incomplete: its end was not recorded");
        }
    }
}

/// Cancels a run after a signal.
async fn cancel<C: Changes>(cx: &VerbContext, run: Running<C>, raw: &RawOutput, signal: u8) -> u8 {
    let _ending = cx.ending();
    raw.finish();
    // A program whose reader is gone ends without a word.
    if signal == 0 || raw.write_state() == WriteState::Closed {
        let _ = tokio::time::timeout(CANCEL_TIMEOUT, abandon(cx, run.detach())).await;
        return CLOSED;
    }
    match tokio::time::timeout(CANCEL_TIMEOUT, run.cancel()).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => print_message(format_args!("the run could not be cancelled: {error}")),
        Err(_) => print_message("the run is being cancelled, and has not ended yet"),
    }
    signal
}

/// Cancels a run whose output nobody reads. The embedded engine ends with this process, so the end
/// of the run is waited for; its record, which has much output by then, is not read.
async fn abandon(cx: &VerbContext, id: Uuid) -> Result<(), Error> {
    cx.client.cancel(id).await?;
    while cx.is_local() {
        let running = cx.client.list_operations();
        let running = running
            .status(OperationStatus::from("EXECUTING"))
            .limit(MAX_LISTED);
        let running = running.send().await?.into_inner();
        if running.iter().all(|operation| operation.uuid != Some(id)) {
            break;
        }
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}

fn kept_message(image: &Uuid, appended: Appended, status: u8) -> String {
    let mut text = format!("kept {} as @{}", short(image), appended.id);
    if !appended.is_tip {
        text = format!("{text}; {}", moved_message(appended.id));
    } else if status != 0 {
        text.push_str(", although the command failed; `contree session rollback` goes back");
    }
    text
}

fn moved_message(id: i64) -> String {
    format!(
        "another command moved the session meanwhile, so it stays where that left it; `contree use @{id}` continues from this result"
    )
}

/// The exit status of the command, or of its failure. The result of a command that ended may be
/// lost.
fn exit_status(outcome: &Outcome) -> u8 {
    if outcome.timed_out {
        return TIMED_OUT;
    }
    if outcome.status == OperationStatus::Failed {
        return FAILED;
    }
    match status_of(outcome.exit_code, outcome.signal) {
        0 if outcome.status != OperationStatus::Success => FAILED,
        status => status,
    }
}

/// The exit status of a command with `status`, whose output went to `raw`.
pub(in crate::cli::verbs) fn written_status(raw: &RawOutput, status: u8) -> u8 {
    match raw.write_state() {
        WriteState::Closed => CLOSED,
        WriteState::Failed => FAILED,
        WriteState::Complete => status,
    }
}

/// The exit status of a process that has ended.
pub(in crate::cli::verbs) fn status_of(code: Option<i64>, signal: Option<i64>) -> u8 {
    if let Some(signal) = signal.filter(|signal| *signal > 0) {
        return u8::try_from(128 + signal).unwrap_or(FAILED);
    }
    code.and_then(|code| u8::try_from(code).ok())
        .unwrap_or(FAILED)
}
