//! `contree logs`: the output of an operation.

use std::sync::Arc;

use clap::Args;
use http::StatusCode;
use uuid::Uuid;

use super::complete::{self, Known};
use super::context::VerbContext;
use super::error::VerbError;
use super::exit_status::CLOSED;
use super::last_run::LAST_RUN;
use super::log_tail::{self, LogTail};
use super::rows::print_record;
use crate::Error;
use crate::cli::output::{RawOutput, WriteState, is_output_closed};
use crate::events::{Event, Payload};
use crate::tools::{OutputStream, Watcher};

/// The process of the run itself. Those of `contree exec` have higher numbers.
const MAIN: u64 = 1;

/// Show the output of an operation
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  contree logs                        the output of the session's last run
  contree logs -f --tail 10 1a2b3c    the last 10 lines of an operation, and those that follow")]
pub(in crate::cli) struct Logs {
    /// A UUID, the beginning of one, or @N; @ is the last run of the session
    #[arg(default_value = LAST_RUN, add = complete::values(Known::Operations))]
    operation: String,
    /// Wait for more output until the operation ends
    #[arg(short, long)]
    follow: bool,
    /// Only the last N lines
    #[arg(short = 'n', long, alias = "lines", value_name = "N|all", value_parser = log_tail::lines)]
    tail: Option<usize>,
    /// Also show the output of commands that `contree exec` runs in the sandbox
    #[arg(long)]
    all: bool,
}

/// An event of a stream as JSON.
#[derive(serde::Serialize)]
struct LogLine<'a> {
    id: u64,
    ts: &'a str,
    spid: u64,
    stream: &'a str,
    text: String,
}

impl Logs {
    pub(super) async fn run(self, cx: &VerbContext) -> Result<u8, VerbError> {
        let id = cx.operation(&self.operation).await?;
        let record = cx.client.get_operation_status().operation_id(id).send();
        let record = record.await.map_err(Error::from)?.into_inner();
        let has_ended = record.status.is_some_and(|status| status.is_terminal());
        let raw = Arc::new(RawOutput::new(cx.cancelled.clone()));
        let mut tail = self.tail.map(LogTail::new);
        if self.follow || has_ended {
            let mut last = None;
            if !has_ended && let Some(mut tail) = tail.take() {
                let so_far = match recorded(cx, id).await {
                    // An operation that has not started has no log yet.
                    Err(error) if error.status() == Some(StatusCode::TOO_EARLY) => Vec::new(),
                    events => events?,
                };
                for event in so_far {
                    last = Some((event.id, event.is_last()));
                    if self.has(&event) {
                        tail.push(event);
                    }
                }
                self.show_all(cx, &raw, tail)?;
            }
            if last.is_some_and(|(_, is_last)| is_last) {
                return Ok(shown(&raw));
            }
            let mut events = cx.client.follow(id, last.map(|(id, _)| id));
            loop {
                let event = tokio::select! {
                    biased;
                    () = cx.cancelled.cancelled() => return Ok(stopped(cx, &raw).await),
                    event = futures_util::StreamExt::next(&mut events) => event,
                };
                let Some(event) = event else { break };
                self.take(cx, &raw, &mut tail, event?)?;
            }
        } else {
            for event in recorded(cx, id).await? {
                self.take(cx, &raw, &mut tail, event)?;
            }
        }
        if let Some(tail) = tail {
            self.show_all(cx, &raw, tail)?;
        }
        Ok(shown(&raw))
    }

    /// Whether an event is of a process whose output is asked for.
    fn has(&self, event: &Event) -> bool {
        event.spid == MAIN || self.all
    }

    /// Shows an event, or keeps it until the end of the log.
    fn take(
        &self,
        cx: &VerbContext,
        raw: &RawOutput,
        tail: &mut Option<LogTail>,
        event: Event,
    ) -> Result<(), VerbError> {
        match tail {
            _ if !self.has(&event) => Ok(()),
            Some(tail) => {
                tail.push(event);
                Ok(())
            }
            None => self.show(cx, raw, &event),
        }
    }

    fn show_all(&self, cx: &VerbContext, raw: &RawOutput, tail: LogTail) -> Result<(), VerbError> {
        let mut events = tail.into_events().into_iter();
        events.try_for_each(|event| self.show(cx, raw, &event))
    }

    fn show(&self, cx: &VerbContext, raw: &RawOutput, event: &Event) -> Result<(), VerbError> {
        let (stream, name, chunk) = match &event.payload {
            Payload::Stdout(chunk) => (OutputStream::Stdout, "stdout", chunk),
            Payload::Stderr(chunk) => (OutputStream::Stderr, "stderr", chunk),
            _ => return Ok(()),
        };
        if cx.format.is_json() {
            let line = LogLine {
                id: event.id,
                ts: &event.ts,
                spid: event.spid,
                stream: name,
                text: String::from_utf8_lossy(&chunk.bytes).into_owned(),
            };
            print_record(cx.format, &line)?;
            if is_output_closed() {
                cx.cancelled.cancel();
            }
            return Ok(());
        }
        raw.output(stream, &chunk.bytes);
        Ok(())
    }
}

/// The exit status after the log has been shown.
fn shown(raw: &RawOutput) -> u8 {
    raw.finish();
    match raw.write_state() {
        WriteState::Complete => 0,
        WriteState::Closed => CLOSED,
        // The message has been printed.
        WriteState::Failed => 1,
    }
}

/// The events of the log so far.
async fn recorded(cx: &VerbContext, id: Uuid) -> Result<Vec<Event>, Error> {
    let request = cx.client.get_operation_events().operation_id(id);
    let answer = request.send().await?;
    let mut text = Vec::new();
    let mut bytes = answer.into_inner().into_inner();
    while let Some(chunk) = futures_util::StreamExt::next(&mut bytes).await {
        text.extend_from_slice(&chunk.map_err(Error::from)?);
    }
    let text = String::from_utf8_lossy(&text);
    let events = text.lines().filter_map(|line| line.strip_prefix("data:"));
    let events = events.map(|data| Event::from_json(data.trim()));
    events.collect()
}

async fn stopped(cx: &VerbContext, raw: &RawOutput) -> u8 {
    raw.finish();
    match cx.interrupted().await {
        0 => CLOSED,
        status => status,
    }
}
