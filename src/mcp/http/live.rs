//! What goes on at the backend, for people who watch: images and what made them, operations, their output, and word of
//! every change.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::{StreamExt, stream};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::tools::{Session, ToolError};
use crate::{Client, types};

/// How often the backend is asked whether something has changed, while somebody watches.
const LOCAL_EVERY: Duration = Duration::from_millis(700);
const CLOUD_EVERY: Duration = Duration::from_secs(3);
/// How much of it is compared.
const COMPARED: u64 = 100;
/// How many operations are remembered.
const REMEMBERED: usize = 4096;
/// How many records are asked for at once.
const AT_ONCE: usize = 8;
/// The longest command that is shown, in characters.
const LONGEST_COMMAND: usize = 4000;

/// Shared by all who watch.
#[derive(Clone)]
pub(super) struct Live(Arc<Inner>);

struct Inner {
    session: Arc<Session>,
    stop: CancellationToken,
    /// Counts changes.
    changes: watch::Sender<u64>,
    /// Whether somebody compares.
    comparing: AtomicBool,
    /// What operations were asked to do, and what came of those that are over.
    known: Mutex<HashMap<Uuid, Arc<Record>>>,
}

/// What a list does not say of an operation.
struct Record {
    over: bool,
    fields: Value,
    image: Option<String>,
}

impl Live {
    pub(super) fn new(session: Arc<Session>, stop: CancellationToken) -> Self {
        Self(Arc::new(Inner {
            session,
            stop,
            changes: watch::Sender::new(0),
            comparing: AtomicBool::new(false),
            known: Mutex::default(),
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

    /// Which backend, and why.
    pub(super) fn about(&self) -> Value {
        let info = self.0.session.info();
        json!({"backend": info.name, "why": info.why, "version": env!("CARGO_PKG_VERSION")})
    }

    /// A page of images, the newest first, each with the one that it was made from and the command that made it.
    pub(super) async fn images(&self, offset: u64, limit: u64) -> Result<Value, ToolError> {
        let client = self.client().await?;
        let request = client.list_images().offset(offset).limit(limit);
        let page = request.send().await?.into_inner().images;
        let more = page.len() as u64 >= limit;
        let made_by = page.iter().map(|image| image.operation_uuid).collect();
        let records = self.records(client, made_by).await;
        let images = page.iter().zip(records).map(|(image, record)| {
            let mut shown = record.as_ref().map_or_else(
                || json!({}),
                |record| {
                    json!({
                        "parent": record.image,
                        "command": record.fields["command"],
                        "registry": record.fields["registry"],
                    })
                },
            );
            shown["uuid"] = json!(image.uuid);
            shown["tags"] = json!(image.tag.iter().collect::<Vec<_>>());
            shown["created_at"] = json!(image.created_at);
            shown["operation"] = json!(image.operation_uuid);
            shown
        });
        Ok(json!({"images": merged(images), "rows": page.len(), "more": more}))
    }

    /// A page of operations, the newest first.
    pub(super) async fn operations(&self, offset: u64, limit: u64) -> Result<Value, ToolError> {
        let client = self.client().await?;
        let request = client.list_operations().offset(offset).limit(limit);
        let page = request.send().await?.into_inner();
        let more = page.len() as u64 >= limit;
        self.forget_unfinished(&page);
        let named = page.iter().map(|operation| operation.uuid).collect();
        let records = self.records(client, named).await;
        let operations = page.iter().zip(records).map(|(operation, record)| {
            let mut shown = record.map_or_else(|| json!({}), |record| record.fields.clone());
            let summary = json!(operation);
            for (key, value) in summary.as_object().into_iter().flatten() {
                if !value.is_null() {
                    shown[key] = value.clone();
                }
            }
            shown
        });
        let operations: Vec<Value> = operations.collect();
        Ok(json!({"operations": operations, "rows": page.len(), "more": more}))
    }

    /// Records of operations that were running and no longer are have to be asked for again.
    fn forget_unfinished(&self, page: &[types::OperationSummary]) {
        let mut known = self.known();
        for operation in page {
            if let Some(uuid) = operation.uuid
                && operation
                    .status
                    .as_ref()
                    .is_some_and(|status| is_over(&json!(status)))
                && known.get(&uuid).is_some_and(|record| !record.over)
            {
                known.remove(&uuid);
            }
        }
    }

    /// The records of these operations, asking only for those that are not known. What cannot be had is left out.
    async fn records(
        &self,
        client: &Client,
        operations: Vec<Option<Uuid>>,
    ) -> Vec<Option<Arc<Record>>> {
        let asked = operations.into_iter().map(|operation| async move {
            let operation = operation?;
            if let Some(record) = self.known().get(&operation) {
                return Some(record.clone());
            }
            let request = client.get_operation_status().operation_id(operation);
            let record = match request.send().await {
                Ok(answer) => Arc::new(Record::new(&json!(answer.into_inner()))),
                Err(error) => {
                    tracing::debug!("no record of operation {operation}: {error}");
                    return None;
                }
            };
            let mut known = self.known();
            if known.len() >= REMEMBERED {
                known.clear();
            }
            known.insert(operation, record.clone());
            Some(record)
        });
        stream::iter(asked).buffered(AT_ONCE).collect().await
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashMap<Uuid, Arc<Record>>> {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts the changes from now on. The backend is asked only while somebody holds one of these.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        let receiver = self.0.changes.subscribe();
        if !self.0.comparing.swap(true, Ordering::AcqRel) {
            tokio::spawn(self.clone().compare());
        }
        receiver
    }

    async fn compare(self) {
        let every = if self.0.session.info().ends_with_process {
            LOCAL_EVERY
        } else {
            CLOUD_EVERY
        };
        let mut before = None;
        loop {
            let now = self.fingerprint().await;
            // The first time too: whoever came just before may have read what was there before that.
            if before != Some(now) {
                self.0.changes.send_modify(|count| *count += 1);
            }
            before = Some(now);
            tokio::select! {
                () = tokio::time::sleep(every) => {}
                () = self.0.stop.cancelled() => return,
            }
            if self.0.changes.receiver_count() == 0 {
                self.0.comparing.store(false, Ordering::Release);
                // Somebody may have come just now, and left it to us.
                let nobody = self.0.changes.receiver_count() == 0;
                if nobody || self.0.comparing.swap(true, Ordering::AcqRel) {
                    return;
                }
            }
        }
    }

    async fn fingerprint(&self) -> u64 {
        let asked = async {
            let client = self.client().await?;
            let operations = client.list_operations().limit(COMPARED).send().await?;
            let images = client.list_images().limit(COMPARED).send().await?;
            Ok::<_, ToolError>(json!([operations.into_inner(), images.into_inner()]).to_string())
        };
        let text = asked.await.unwrap_or_else(|error| error.to_string());
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        hasher.finish()
    }
}

/// One entry for each image, with all of its tags that the page names.
fn merged(images: impl Iterator<Item = Value>) -> Vec<Value> {
    let mut all: Vec<Value> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    for mut image in images {
        let uuid = image["uuid"].as_str().unwrap_or_default().to_owned();
        if let Some(place) = places.get(&uuid) {
            if let (Some(tags), Some(more)) = (
                all[*place]["tags"].as_array_mut(),
                image["tags"].as_array_mut(),
            ) {
                tags.append(more);
            }
        } else {
            places.insert(uuid, all.len());
            all.push(image);
        }
    }
    all
}

fn is_over(status: &Value) -> bool {
    matches!(status.as_str(), Some("SUCCESS" | "FAILED" | "CANCELLED"))
}

impl Record {
    /// What is shown of an operation's record.
    fn new(answer: &Value) -> Self {
        let asked = &answer["metadata"];
        let mut fields = json!({});
        if let Some(command) = asked["command"].as_str() {
            let mut line = command.to_owned();
            for argument in asked["args"].as_array().into_iter().flatten() {
                if let Some(argument) = argument.as_str() {
                    line.push(' ');
                    line.push_str(argument);
                }
            }
            fields["command"] = json!(line.chars().take(LONGEST_COMMAND).collect::<String>());
        }
        if let Some(url) = asked["registry"]["url"].as_str() {
            fields["registry"] = json!(url);
        }
        let state = &asked["result"]["state"];
        if let Some(code) = state["exit_code"].as_i64().filter(|code| *code >= 0) {
            fields["exit_code"] = json!(code);
        }
        if let Some(signal) = state["signal"].as_i64().filter(|signal| *signal > 0) {
            fields["signal"] = json!(signal);
        }
        if state["timed_out"] == true {
            fields["timed_out"] = json!(true);
        }
        Self {
            over: is_over(&answer["status"]),
            image: answer["image_uuid"].as_str().map(str::to_owned),
            fields,
        }
    }
}
