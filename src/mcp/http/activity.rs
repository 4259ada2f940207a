//! Activity at the backend, for the web page.
//!
//! It lists operations and images with their origins, and reports every change.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::{StreamExt, stream};
use serde::Serialize;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::operation_record::{OperationDetails, OperationRecord};
use crate::tools::{DiskUsage, Session, ToolError};
use crate::{Client, OperationStatus, types};

/// How often the local backend is polled for changes while the page is open.
const LOCAL_POLL: Duration = Duration::from_millis(700);
/// How often a hosted backend is polled.
const CLOUD_POLL: Duration = Duration::from_secs(3);
/// Entries of each list that are compared to detect a change.
const COMPARED_ENTRIES: u64 = 100;
/// Maximum number of operation records in the cache.
const MAX_CACHED: usize = 4096;
/// Records fetched concurrently.
const CONCURRENCY: usize = 8;

/// Monitors the backend for all open pages. Clones share their state.
#[derive(Clone)]
pub(super) struct ActivityMonitor(Arc<MonitorState>);

struct MonitorState {
    session: Arc<Session>,
    stop: CancellationToken,
    /// Number of changes so far.
    changes: watch::Sender<u64>,
    /// Whether the polling task runs.
    polling: AtomicBool,
    /// Cached records of operations.
    cached: Mutex<HashMap<Uuid, Arc<OperationRecord>>>,
}

/// The backend in use, why it was chosen, and this server's version.
#[derive(Serialize)]
pub(super) struct ServerInfo {
    backend: &'static str,
    why: String,
    version: &'static str,
}

/// A page of the list of images.
#[derive(Serialize)]
pub(super) struct ImagePage {
    images: Vec<ImageEntry>,
    /// Rows of the backend's list in this page. An image has one row per tag.
    rows: usize,
    more: bool,
}

/// An image with its origin.
#[derive(Serialize)]
struct ImageEntry {
    #[serde(flatten)]
    origin: Option<Origin>,
    uuid: Option<Uuid>,
    tags: Vec<String>,
    created_at: Option<String>,
    operation: Option<Uuid>,
}

/// The origin of an image: its parent, and the command or registry it came from.
#[derive(Serialize)]
struct Origin {
    parent: Option<Uuid>,
    command: Option<String>,
    registry: Option<String>,
}

/// A page of the list of operations.
#[derive(Serialize)]
pub(super) struct OperationPage {
    operations: Vec<OperationEntry>,
    rows: usize,
    more: bool,
}

/// An operation's list entry, with details from its record.
#[derive(Serialize)]
pub(super) struct OperationEntry {
    #[serde(flatten)]
    details: Option<OperationDetails>,
    #[serde(flatten)]
    summary: types::OperationSummary,
}

/// State of the backend, compared to detect a change.
#[derive(PartialEq)]
enum BackendSnapshot {
    Lists(Vec<types::OperationSummary>, Vec<types::Image>),
    Failed(String),
}

impl ActivityMonitor {
    pub(super) fn new(session: Arc<Session>, stop: CancellationToken) -> Self {
        Self(Arc::new(MonitorState {
            session,
            stop,
            changes: watch::Sender::new(0),
            polling: AtomicBool::new(false),
            cached: Mutex::default(),
        }))
    }

    pub(super) fn stop(&self) -> &CancellationToken {
        &self.0.stop
    }

    pub(super) fn explain(&self, error: impl Into<ToolError>) -> String {
        self.0.session.explain(error.into()).to_string()
    }

    pub(super) async fn client(&self) -> Result<&Client, ToolError> {
        self.0.session.client().await
    }

    /// The backend in use, why it was chosen, and this server's version.
    pub(super) fn server_info(&self) -> ServerInfo {
        let info = self.0.session.info();
        ServerInfo {
            backend: info.name,
            why: info.why.clone(),
            version: env!("CARGO_PKG_VERSION"),
        }
    }

    /// Returns a page of images, newest first, each with its parent and the command that made it.
    pub(super) async fn images(&self, offset: u64, limit: u64) -> Result<ImagePage, ToolError> {
        let client = self.client().await?;
        let request = client.list_images().offset(offset).limit(limit);
        let page = request.send().await?.into_inner().images;
        let rows = page.len();
        let operations = page.iter().map(|image| image.operation_uuid).collect();
        let records = self.records(client, operations).await;
        let images = page.into_iter().zip(records).map(|(image, record)| {
            let origin = record.map(|record| Origin {
                parent: record.image,
                command: record.details.command.clone(),
                registry: record.details.registry.clone(),
            });
            ImageEntry {
                origin,
                uuid: image.uuid,
                tags: image.tag.into_iter().collect(),
                created_at: image.created_at,
                operation: image.operation_uuid,
            }
        });
        Ok(ImagePage {
            images: merge_tags(images),
            rows,
            more: rows as u64 >= limit,
        })
    }

    /// Returns a page of operations, newest first.
    pub(super) async fn operations(
        &self,
        offset: u64,
        limit: u64,
    ) -> Result<OperationPage, ToolError> {
        let client = self.client().await?;
        let request = client.list_operations().offset(offset).limit(limit);
        let page: Vec<types::OperationSummary> = request.send().await?.into_inner();
        let rows = page.len();
        self.drop_outdated_records(&page);
        let ids = page.iter().map(|operation| operation.uuid).collect();
        let records = self.records(client, ids).await;
        let operations = page.into_iter().zip(records);
        let operations = operations.map(|(summary, record)| OperationEntry {
            details: record.map(|record| record.details.clone()),
            summary,
        });
        Ok(OperationPage {
            operations: operations.collect(),
            rows,
            more: rows as u64 >= limit,
        })
    }

    /// Returns one operation.
    pub(super) async fn operation(&self, id: Uuid) -> Result<OperationEntry, ToolError> {
        let request = self.client().await?.get_operation_status().operation_id(id);
        let answer = request.send().await?.into_inner();
        let summary = types::OperationSummary {
            consumed_cpu: answer.consumed_cpu,
            consumed_memory: answer.consumed_memory,
            created_at: answer.created_at.clone(),
            duration: answer.duration,
            error: answer.error.clone(),
            image_size: answer.image_size,
            image_uuid: answer.image_uuid,
            kind: answer.kind.clone(),
            result_image_uuid: answer.result_image_uuid,
            status: answer.status.clone(),
            uuid: Some(id),
            x_code: answer.x_code.clone(),
            x_live: answer.x_live.clone(),
        };
        Ok(OperationEntry {
            details: Some(OperationRecord::from(answer).details),
            summary,
        })
    }

    /// Measures the disk usage of the embedded engine. `None` for another backend.
    pub(super) async fn disk_usage(&self) -> Option<Result<DiskUsage, ToolError>> {
        let measure = self.0.session.disk_usage()?;
        let measured = contree_tasks::blocking(move || measure()).await;
        Some(
            measured
                .unwrap_or_else(|_| Err(ToolError::cancelled("the measurement failed; try again"))),
        )
    }

    /// Whether this server offers a tool.
    pub(super) fn offers(&self, tool: &str) -> bool {
        self.0.session.selection().has(tool)
    }

    /// Makes open pages read their lists again.
    pub(super) fn note_change(&self) {
        self.0.changes.send_modify(|count| *count += 1);
    }

    /// Drops cached records of operations that have ended since they were fetched.
    fn drop_outdated_records(&self, page: &[types::OperationSummary]) {
        let mut cached = self.cached();
        for operation in page {
            if let Some(uuid) = operation.uuid
                && operation
                    .status
                    .as_ref()
                    .is_some_and(OperationStatus::is_terminal)
                && cached.get(&uuid).is_some_and(|record| !record.over)
            {
                cached.remove(&uuid);
            }
        }
    }

    /// Returns the records of operations and fetches those not cached. Unavailable records are
    /// `None`.
    async fn records(
        &self,
        client: &Client,
        operations: Vec<Option<Uuid>>,
    ) -> Vec<Option<Arc<OperationRecord>>> {
        let fetches = operations.into_iter().map(|operation| async move {
            let operation = operation?;
            if let Some(record) = self.cached().get(&operation) {
                return Some(record.clone());
            }
            let request = client.get_operation_status().operation_id(operation);
            let record = match request.send().await {
                Ok(answer) => Arc::new(OperationRecord::from(answer.into_inner())),
                Err(error) => {
                    tracing::debug!("no record of operation {operation}: {error}");
                    return None;
                }
            };
            let mut cached = self.cached();
            if cached.len() >= MAX_CACHED {
                cached.clear();
            }
            cached.insert(operation, record.clone());
            Some(record)
        });
        stream::iter(fetches).buffered(CONCURRENCY).collect().await
    }

    fn cached(&self) -> std::sync::MutexGuard<'_, HashMap<Uuid, Arc<OperationRecord>>> {
        self.0.cached.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns a receiver of the number of changes. The backend is polled only while a receiver
    /// exists.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        let receiver = self.0.changes.subscribe();
        if !self.0.polling.swap(true, Ordering::AcqRel) {
            contree_tasks::spawn(self.clone().poll());
        }
        receiver
    }

    /// Polls the backend, and counts its changes, until no receiver exists.
    async fn poll(self) {
        let interval = if self.0.session.info().ends_with_process {
            LOCAL_POLL
        } else {
            CLOUD_POLL
        };
        let mut before = None;
        loop {
            let now = Some(self.snapshot().await);
            // Also at the first snapshot: a page may have read its lists before it.
            if before != now {
                self.note_change();
            }
            before = now;
            tokio::select! {
                () = tokio::time::sleep(interval) => {}
                () = self.0.stop.cancelled() => return,
            }
            if self.0.changes.receiver_count() == 0 {
                self.0.polling.store(false, Ordering::Release);
                // A new receiver may have found `polling` set and started no task of its own.
                let unused = self.0.changes.receiver_count() == 0;
                if unused || self.0.polling.swap(true, Ordering::AcqRel) {
                    return;
                }
            }
        }
    }

    /// Fetches the lists that are compared to detect a change.
    async fn snapshot(&self) -> BackendSnapshot {
        let lists = async {
            let client = self.client().await?;
            let operations = client
                .list_operations()
                .limit(COMPARED_ENTRIES)
                .send()
                .await?;
            let images = client.list_images().limit(COMPARED_ENTRIES).send().await?;
            Ok::<_, ToolError>((operations.into_inner(), images.into_inner().images))
        };
        match lists.await {
            Ok((operations, images)) => BackendSnapshot::Lists(operations, images),
            Err(error) => BackendSnapshot::Failed(error.to_string()),
        }
    }
}

/// Merges rows of the same image into one entry with all tags.
fn merge_tags(images: impl Iterator<Item = ImageEntry>) -> Vec<ImageEntry> {
    let mut all: Vec<ImageEntry> = Vec::new();
    let mut positions: HashMap<Option<Uuid>, usize> = HashMap::new();
    for image in images {
        if let Some(position) = positions.get(&image.uuid) {
            all[*position].tags.extend(image.tags);
        } else {
            positions.insert(image.uuid, all.len());
            all.push(image);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_image_with_several_tags_is_listed_once() {
        let entry = |uuid: u128, tag: &str| ImageEntry {
            origin: None,
            uuid: Some(Uuid::from_u128(uuid)),
            tags: vec![tag.to_owned()],
            created_at: None,
            operation: None,
        };
        let all = merge_tags([entry(1, "a"), entry(2, "b"), entry(1, "c")].into_iter());
        assert_eq!(all.len(), 2);
        assert_eq!(
            json!(all[0]),
            json!({"uuid": Uuid::from_u128(1), "tags": ["a", "c"], "created_at": null, "operation": null})
        );
    }
}
