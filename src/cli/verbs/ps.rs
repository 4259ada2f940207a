//! `contree ps`: lists operations.

use clap::Args;
use serde::Serialize;

use super::context::VerbContext;
use super::error::VerbError;
use super::image_name::{keep_newest, short};
use super::rows::{Column, OutputFormat, print_rows, text_or_empty};
use crate::OperationStatus;
use crate::cli::number;
use crate::cli::output::{print, print_message};
use crate::cli::units::{age, parse_time, rfc_3339, size};
use crate::types::{LiveRun, OperationSummary};

/// Operations in one request.
const PAGE: u64 = 1000;

/// List running operations
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  contree ps                    what runs or waits now
  contree ps -a --since 1h      everything of the last hour")]
pub(in crate::cli) struct Ps {
    /// Include operations that have ended
    #[arg(short, long)]
    all: bool,
    /// Print only UUIDs
    #[arg(short, long)]
    quiet: bool,
    /// Only this status, such as FAILED or its first letter
    #[arg(long, value_parser = status)]
    status: Option<OperationStatus>,
    /// Only this kind
    #[arg(short, long, value_name = "instance|image_import")]
    kind: Option<String>,
    /// Only since a time: 15m, 2h, 7d, a date
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    since: Option<std::time::SystemTime>,
    /// Only until a time
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    until: Option<std::time::SystemTime>,
    /// At most N operations
    #[arg(short = 'M', long, value_name = "N", default_value_t = 1000, value_parser = number::count::<usize>)]
    show_max: usize,
}

/// An unknown status.
#[derive(Debug, thiserror::Error)]
#[error("give PENDING, ASSIGNED, EXECUTING, SUCCESS, FAILED, CANCELLED, or a first letter")]
struct UnknownStatus;

fn status(text: &str) -> Result<OperationStatus, UnknownStatus> {
    const ALL: [&str; 6] = [
        "PENDING",
        "ASSIGNED",
        "EXECUTING",
        "SUCCESS",
        "FAILED",
        "CANCELLED",
    ];
    let text = text.to_ascii_uppercase();
    let known = ALL
        .into_iter()
        .find(|name| *name == text || name[..1] == text);
    known.map(OperationStatus::from).ok_or(UnknownStatus)
}

/// An operation as a list shows it, with the fields of the official command line.
#[derive(Serialize)]
struct OperationRow {
    uuid: Option<uuid::Uuid>,
    kind: Option<crate::OperationKind>,
    status: Option<OperationStatus>,
    created_at: Option<String>,
    duration: Option<f64>,
    image_size: Option<i64>,
    consumed_cpu: Option<f64>,
    consumed_memory: Option<i64>,
    image_uuid: Option<uuid::Uuid>,
    result_image_uuid: Option<uuid::Uuid>,
    error: Option<String>,
    /// A run as its engine sees it now, with its processes and published ports.
    #[serde(skip_serializing_if = "Option::is_none")]
    live: Option<LiveRun>,
}

impl OperationRow {
    /// The memory of the sandbox now, or the most that an ended run has used.
    fn memory(&self) -> Option<u64> {
        let live = self.live.as_ref().and_then(|live| live.memory_bytes);
        let used = self
            .consumed_memory
            .and_then(|bytes| u64::try_from(bytes).ok());
        live.or(used).filter(|bytes| *bytes > 0)
    }

    /// The number of processes in the sandbox. An engine that cannot count them knows those that
    /// clients have started.
    fn processes(&self) -> Option<u64> {
        let live = self.live.as_ref()?;
        let started = live.processes.len() as u64;
        Some(live.process_count.unwrap_or(started))
    }

    /// The published ports, as `8000 at 127.0.0.1:41234`.
    fn ports(&self) -> String {
        let ports = self.live.iter().flat_map(|live| &live.ports);
        let ports = ports.map(|published| {
            let address = published.url.strip_prefix("http://");
            let address = address.unwrap_or(&published.url);
            format!("{} at {address}", published.port)
        });
        ports.collect::<Vec<_>>().join(", ")
    }
}

impl From<OperationSummary> for OperationRow {
    fn from(record: OperationSummary) -> Self {
        Self {
            uuid: record.uuid,
            kind: record.kind,
            status: record.status,
            created_at: record.created_at,
            duration: record.duration,
            image_size: record.image_size,
            consumed_cpu: record.consumed_cpu,
            consumed_memory: record.consumed_memory,
            image_uuid: record.image_uuid,
            result_image_uuid: record.result_image_uuid,
            error: record.error,
            live: record.x_live,
        }
    }
}

impl Ps {
    pub(super) async fn run(self, cx: &VerbContext) -> Result<u8, VerbError> {
        let statuses = match &self.status {
            Some(status) => vec![Some(status.clone())],
            None if self.all => vec![None],
            None => ["PENDING", "ASSIGNED", "EXECUTING"]
                .map(|name| Some(OperationStatus::from(name)))
                .to_vec(),
        };
        let mut rows: Vec<OperationRow> = Vec::new();
        let mut has_more = false;
        for status in statuses {
            for page in 0.. {
                let mut request = cx.client.list_operations().limit(PAGE).offset(page * PAGE);
                if let Some(status) = &status {
                    request = request.status(status.clone());
                }
                if let Some(kind) = &self.kind {
                    request = request.kind(crate::OperationKind::from(kind.as_str()));
                }
                if let Some(since) = self.since {
                    request = request.since(rfc_3339(since));
                }
                if let Some(until) = self.until {
                    request = request.until(rfc_3339(until));
                }
                let listed = request
                    .send()
                    .await
                    .map_err(crate::Error::from)?
                    .into_inner();
                let is_last = (listed.len() as u64) < PAGE;
                rows.extend(listed.into_iter().map(OperationRow::from));
                if is_last || rows.len() > self.show_max {
                    has_more |= !is_last;
                    break;
                }
            }
        }
        keep_newest(&mut rows, |row| row.uuid);
        rows.sort_by(|a, b| b.created_at.cmp(&a.created_at));
        if rows.len() > self.show_max {
            rows.truncate(self.show_max);
            has_more = true;
        }
        if self.quiet {
            let ids = rows.iter().filter_map(|row| row.uuid);
            print(&ids.map(|id| format!("{id}\n")).collect::<String>())?;
        } else {
            let mut columns: Vec<Column<'_, OperationRow>> = vec![
                ("operation", &|row: &OperationRow| {
                    row.uuid.as_ref().map(short).unwrap_or_default()
                }),
                ("kind", &|row| text_or_empty(row.kind.as_ref())),
                ("status", &|row| text_or_empty(row.status.as_ref())),
                ("created", &|row| {
                    row.created_at.as_deref().map(age).unwrap_or_default()
                }),
                ("took", &|row| {
                    row.duration
                        .map(|seconds| format!("{seconds:.1} s"))
                        .unwrap_or_default()
                }),
                ("memory", &|row| row.memory().map(size).unwrap_or_default()),
                ("processes", &|row| text_or_empty(row.processes())),
                ("ports", &|row| row.ports()),
                ("image", &|row| {
                    row.image_uuid.as_ref().map(short).unwrap_or_default()
                }),
                ("result", &|row| {
                    row.result_image_uuid
                        .as_ref()
                        .map(short)
                        .unwrap_or_default()
                }),
                ("error", &|row| row.error.clone().unwrap_or_default()),
            ];
            if cx.format == OutputFormat::Table {
                // Columns without a text would take space from the others.
                columns.retain(|(_, value)| rows.iter().any(|row| !value(row).is_empty()));
            }
            print_rows(cx.format, &rows, &columns)?;
        }
        if has_more {
            print_message(format_args!(
                "there are more; -M N shows more than {}",
                self.show_max
            ));
        }
        Ok(0)
    }
}
