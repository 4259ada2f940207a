//! `contree logs`: the output of an operation.

use std::sync::Arc;

use clap::Args;

use super::complete::{self, Known};
use super::context::VerbContext;
use super::error::VerbError;
use super::exit_status::CLOSED;
use super::rows::print_record;
use crate::cli::output::{RawOutput, is_output_closed};
use crate::events::{Event, Payload};
use crate::tools::{OutputStream, Watcher};

/// The process of the run itself. Those of `contree exec` have higher numbers.
const MAIN: u64 = 1;

/// Show the output of an operation
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  contree logs @            the output of the session's last run
  contree logs -f 1a2b3c    follow an operation until it ends")]
pub(in crate::cli) struct Logs {
    /// A UUID, the beginning of one, or @N
    #[arg(add = complete::values(Known::Operations))]
    operation: String,
    /// Wait for more output until the operation ends
    #[arg(short, long)]
    follow: bool,
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
        let record = record.await.map_err(crate::Error::from)?.into_inner();
        let has_ended = record.status.is_some_and(|status| status.is_terminal());
        let raw = Arc::new(RawOutput::new(cx.cancelled.clone()));
        if self.follow || has_ended {
            let mut events = cx.client.follow(id, None);
            loop {
                let event = tokio::select! {
                    biased;
                    () = cx.cancelled.cancelled() => return Ok(stopped(cx, &raw).await),
                    event = futures_util::StreamExt::next(&mut events) => event,
                };
                let Some(event) = event else { break };
                self.show(cx, &raw, &event?)?;
            }
        } else {
            let request = cx.client.get_operation_events().operation_id(id);
            let answer = request.send().await.map_err(crate::Error::from)?;
            let mut text = Vec::new();
            let mut bytes = answer.into_inner().into_inner();
            while let Some(chunk) = futures_util::StreamExt::next(&mut bytes).await {
                text.extend_from_slice(&chunk.map_err(crate::Error::from)?);
            }
            for line in String::from_utf8_lossy(&text).lines() {
                if let Some(data) = line.strip_prefix("data:") {
                    self.show(cx, &raw, &Event::from_json(data.trim())?)?;
                }
            }
        }
        raw.finish();
        Ok(0)
    }

    fn show(&self, cx: &VerbContext, raw: &RawOutput, event: &Event) -> Result<(), VerbError> {
        if event.spid != MAIN && !self.all {
            return Ok(());
        }
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

async fn stopped(cx: &VerbContext, raw: &RawOutput) -> u8 {
    raw.finish();
    match cx.interrupted().await {
        0 => CLOSED,
        status => status,
    }
}
