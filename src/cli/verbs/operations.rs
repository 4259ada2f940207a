//! `contree show`, `contree wait` and `contree kill`: records and endings of operations.

use std::time::Duration;

use clap::Args;
use contree_error_codes::ErrorCode;
use serde::Serialize;
use uuid::Uuid;

use super::complete::{self, Known};
use super::context::VerbContext;
use super::error::VerbError;
use super::image_name::short;
use super::last_run::LAST_RUN;
use super::rows::{print_record, print_rows, text_or_empty};
use crate::cli::number;
use crate::cli::output::{print_error, print_message};
use crate::cli::units::{age, size};
use crate::types::OperationResponse;
use crate::{Error, OperationStatus, Outcome};

/// Show the records of operations
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  contree show                the session's last run
  contree show --json 1a2b3c  the whole record, as the API has it")]
pub(in crate::cli) struct Show {
    /// UUIDs, beginnings of them, or @N; @ is the last run of the session
    #[arg(default_value = LAST_RUN, add = complete::values(Known::Operations))]
    operations: Vec<String>,
    /// Print the records as JSON, one on a line; the same as --json
    #[arg(long)]
    raw: bool,
}

impl Show {
    pub(super) async fn run(self, cx: &VerbContext) -> Result<u8, VerbError> {
        for (at, name) in self.operations.iter().enumerate() {
            let id = cx.operation(name).await?;
            let record = record(cx, id).await?;
            if self.raw || cx.format.is_json() {
                print_record(cx.format, &record)?;
                continue;
            }
            if at > 0 {
                crate::cli::output::print("\n")?;
            }
            show_record(id, record)?;
        }
        Ok(0)
    }
}

pub(super) async fn record(cx: &VerbContext, id: Uuid) -> Result<OperationResponse, VerbError> {
    let request = cx.client.get_operation_status().operation_id(id);
    match request.send().await.map_err(Error::from) {
        Ok(answer) => Ok(answer.into_inner()),
        Err(error) if error.is_not_found() => Err(VerbError::WithCode(
            ErrorCode::OperationNotFound,
            format!("there is no operation {id}; `contree ps -a` lists them"),
        )),
        Err(error) => Err(error.into()),
    }
}

fn show_record(id: Uuid, record: OperationResponse) -> Result<(), VerbError> {
    let mut lines = vec![("operation", id.to_string())];
    let mut add = |name, value: Option<String>| {
        if let Some(value) = value {
            lines.push((name, value));
        }
    };
    let uuid = |uuid: Option<Uuid>| uuid.map(|uuid| uuid.to_string());
    add("kind", record.kind.as_ref().map(ToString::to_string));
    add("status", record.status.as_ref().map(ToString::to_string));
    add("created", record.created_at.as_deref().map(age));
    add(
        "took",
        record.duration.map(|seconds| format!("{seconds:.3} s")),
    );
    add("image", uuid(record.image_uuid));
    add("result", uuid(record.result_image_uuid));
    let image_size = record
        .image_size
        .and_then(|bytes| u64::try_from(bytes).ok());
    add("size", image_size.filter(|bytes| *bytes > 0).map(size));
    add(
        "error",
        record.error.clone().filter(|error| !error.is_empty()),
    );
    let has_ended = record
        .status
        .as_ref()
        .is_some_and(OperationStatus::is_terminal);
    let outcome = match has_ended {
        true => Outcome::try_from(record).ok(),
        false => None,
    };
    if let Some(outcome) = &outcome {
        add("exit code", outcome.exit_code.map(|code| code.to_string()));
        add("signal", outcome.signal.map(|signal| signal.to_string()));
        add("timed out", outcome.timed_out.then(|| "yes".to_owned()));
        for (name, stream) in [("stdout", &outcome.stdout), ("stderr", &outcome.stderr)] {
            let text = String::from_utf8_lossy(&stream.bytes).into_owned();
            add(
                name,
                Some(format!("\n{text}")).filter(|_| !stream.bytes.is_empty()),
            );
        }
    }
    let text: String = lines
        .iter()
        .map(|(name, value)| match value.strip_prefix('\n') {
            Some(block) => format!("{name}:\n{}\n", block.trim_end_matches('\n')),
            None => format!("{:<11}{value}\n", format!("{name}:")),
        })
        .collect();
    Ok(crate::cli::output::print(&text)?)
}

/// An operation that has ended.
#[derive(Serialize)]
struct EndedRow {
    uuid: Uuid,
    status: Option<OperationStatus>,
    result_image_uuid: Option<Uuid>,
    error: Option<String>,
}

impl EndedRow {
    fn new(uuid: Uuid, record: OperationResponse) -> Self {
        Self {
            uuid,
            status: record.status,
            result_image_uuid: record.result_image_uuid,
            error: record.error.filter(|error| !error.is_empty()),
        }
    }
}

/// Wait until operations end
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  contree wait                for the session's last run; exit status 0 if it succeeded
  contree wait -a -t 60       all that run now, for at most a minute")]
pub(in crate::cli) struct Wait {
    /// UUIDs, beginnings of them, or @N; default: @, the last run of the session
    #[arg(add = complete::values(Known::Operations))]
    operations: Vec<String>,
    /// Every operation that runs now
    #[arg(short, long)]
    all: bool,
    /// Give up after this time; the operations continue
    #[arg(short, long, value_name = "SECS", value_parser = number::waiting_seconds)]
    timeout: Option<u64>,
}

impl Wait {
    pub(super) async fn run(self, cx: &VerbContext) -> Result<u8, VerbError> {
        let last_run = [LAST_RUN.to_owned()];
        let names = match &self.operations[..] {
            [] if !self.all => &last_run,
            names => names,
        };
        let ids = ids(cx, names, self.all).await?;
        let end = self
            .timeout
            .map(|seconds| tokio::time::Instant::now() + Duration::from_secs(seconds));
        let mut all_succeeded = true;
        let mut rows = Vec::new();
        for id in ids {
            let left = end.map(|end| end.saturating_duration_since(tokio::time::Instant::now()));
            let record = cx.unless_interrupted(async {
                if left.is_none() {
                    // The events report the end at once; polling notices it later. A backend
                    // without events is polled.
                    let _ = cx.client.outcome(id, |_| {}).await;
                }
                cx.client.wait(id, left).await
            });
            let record = match record.await {
                Ok(record) => record,
                Err(VerbError::Client(error @ Error::WaitTimedOut { .. })) => {
                    print_error(&error, error.code());
                    all_succeeded = false;
                    continue;
                }
                Err(error) => return Err(error),
            };
            all_succeeded &= record.status == Some(OperationStatus::Success);
            rows.push(EndedRow::new(id, record));
        }
        print_ended(cx, &rows)?;
        Ok(u8::from(!all_succeeded))
    }
}

fn print_ended(cx: &VerbContext, rows: &[EndedRow]) -> Result<(), VerbError> {
    print_rows(
        cx.format,
        rows,
        &[
            ("operation", &|row: &EndedRow| short(&row.uuid)),
            ("status", &|row| text_or_empty(row.status.as_ref())),
            ("result", &|row| {
                row.result_image_uuid
                    .as_ref()
                    .map(short)
                    .unwrap_or_default()
            }),
            ("error", &|row| row.error.clone().unwrap_or_default()),
        ],
    )
}

/// Cancel operations
#[derive(Args, Debug)]
#[command(aliases = ["stop", "cancel"])]
#[command(after_help = "\
Examples:
  contree kill @         the session's last run: its processes end, and no image is kept
  contree kill -a        everything that runs")]
pub(in crate::cli) struct Kill {
    /// UUIDs, beginnings of them, or @N; @ is the last run of the session
    #[arg(required_unless_present = "all", add = complete::values(Known::Operations))]
    operations: Vec<String>,
    /// Every operation that runs now
    #[arg(short, long)]
    all: bool,
}

impl Kill {
    pub(super) async fn run(self, cx: &VerbContext) -> Result<u8, VerbError> {
        let mut rows = Vec::new();
        for id in ids(cx, &self.operations, self.all).await? {
            if !cx.client.cancel(id).await? {
                print_message(format_args!("operation {id} has ended already"));
            }
            let record = cx.client.wait(id, None).await?;
            rows.push(EndedRow::new(id, record));
        }
        print_ended(cx, &rows)?;
        Ok(0)
    }
}

async fn ids(cx: &VerbContext, names: &[String], all: bool) -> Result<Vec<Uuid>, VerbError> {
    let mut ids = Vec::new();
    for name in names {
        ids.push(cx.operation(name).await?);
    }
    if all {
        ids.extend(
            cx.active_operations()
                .await?
                .into_iter()
                .map(|operation| operation.id),
        );
    }
    let mut seen = std::collections::BTreeSet::new();
    ids.retain(|id| seen.insert(*id));
    Ok(ids)
}
