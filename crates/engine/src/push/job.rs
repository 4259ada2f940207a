//! Runs one push, from the acceptance of its request to its end.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::http::StatusCode;
use contree_error_codes::ErrorCode;
use contree_registry::Digest;
use contree_registry::manifest::{self, Document};
use contree_registry::pull::Repository;
use contree_registry::push::document::{self, MANIFEST_TYPE};
use contree_registry::push::layer::{LayerCompression, PackedLayer};
use futures_util::{StreamExt as _, TryStreamExt as _};
use tokio::sync::Semaphore;
use uuid::Uuid;

use super::docker_archive;
use super::error::PushError;
use super::layout::Layout;
use super::plan::PushPlan;
use super::send::{Destination, MAX_PACKINGS, PushContext, PushCounts, mount_source};
use super::target::PushTarget;
use super::tasks::PushTasks;
use crate::api::request::push::CheckedPush;
use crate::api::types::{PushRequest, PushResult};
use crate::engine::Engine;
use crate::error::ApiError;
use crate::import::plan::chain_id;
use crate::import::progress::{Progress, format_size};
use crate::operation::lifecycle::{self, CommitWork, OperationTask, WorkEnding};
use crate::rows::operations::{self, OperationEnding, PUSH, Status};
use crate::rows::pushes::{self, LayerArchive};
use crate::rows::{images, imports};

/// The most layers that one push sends at once.
const MAX_UPLOADS: usize = 3;

/// An image that was sent, with its records.
struct PushedImage {
    image: Uuid,
    result: PushResult,
    /// The digest of the configuration, by which an import recognises the image.
    key: String,
    /// The archives of single layers.
    archives: Vec<(u64, LayerArchive)>,
}

/// Checks a request, records its operation, and starts it on `runtime`. Blocks.
pub(crate) fn begin(
    engine: &Arc<Engine>,
    image: Uuid,
    request: PushRequest,
    client: Option<&str>,
    runtime: &tokio::runtime::Handle,
) -> Result<Uuid, ApiError> {
    let checked = request.check()?;
    if checked.target.is_local() && !engine.imports.allow_local {
        return Err(ApiError::new(
            StatusCode::FORBIDDEN,
            ErrorCode::PathNotAllowed,
            "this engine does not write to paths of its own machine: start it with `--allow-local-imports` if its clients may read and write them",
        ));
    }
    let operation = Uuid::new_v4();
    let accepted = lifecycle::accept(
        engine,
        &engine.imports.queue,
        operation,
        PUSH,
        Some(image),
        &serde_json::to_value(checked.masked())
            .map_err(|error| ApiError::internal(error.to_string()))?,
        client,
    )?;
    let task_engine = Arc::clone(engine);
    engine.tasks.spawn_on(
        async move {
            let work = |engine, task| run(engine, task, image, checked);
            lifecycle::carry_out(task_engine, accepted, work).await;
        },
        runtime,
    );
    Ok(operation)
}

async fn run(
    engine: Arc<Engine>,
    task: OperationTask,
    image: Uuid,
    checked: CheckedPush,
) -> WorkEnding {
    if let Err(error) = task.begin(&engine).await {
        return WorkEnding::failed_by(&error);
    }
    let tasks = PushTasks::default();
    let pushed = tokio::select! {
        biased;
        () = task.running.cancel.cancelled() => None,
        pushed = push(&engine, &task, image, &checked, &tasks) => Some(pushed),
        () = tokio::time::sleep(Duration::from_secs(checked.timeout)) => {
            Some(Err(PushError::TimedOut(checked.timeout)))
        }
    };
    tasks.stop_all().await;
    match pushed {
        Some(Ok(pushed)) => {
            let operation = task.operation;
            let commit_work: CommitWork =
                Box::new(move |engine, ending| commit(engine, operation, &pushed, ending));
            WorkEnding {
                status: Status::Success,
                error: None,
                code: None,
                outcome: None,
                commit: Some(commit_work),
            }
        }
        Some(Err(error)) => WorkEnding::failed(
            error.code(),
            format!("cannot push to {}: {error}", checked.url),
        ),
        None => WorkEnding::cancelled(),
    }
}

async fn push(
    engine: &Arc<Engine>,
    task: &OperationTask,
    image: Uuid,
    checked: &CheckedPush,
    tasks: &PushTasks,
) -> Result<PushedImage, PushError> {
    let mut options = checked.options;
    if matches!(checked.target, PushTarget::Archive { .. }) {
        // The archive as a whole is what users compress.
        options.compression = LayerCompression::None;
    }
    let plan = engine
        .read(move |c| PushPlan::read(c, image, options))
        .await?
        .ok_or(PushError::ImageGone)?;
    let progress = Progress::new(Arc::clone(&task.running));
    progress.line(&format!(
        "pushing {} layers to {}",
        plan.groups.len(),
        checked.url
    ));
    let counts = PushCounts::default();
    let context = PushContext {
        engine,
        run: &task.run,
        login: checked.login.as_ref(),
        options,
        tasks,
        progress: &progress,
        counts: &counts,
        failed_sources: &Mutex::new(HashSet::new()),
        packings: &Arc::new(Semaphore::new(MAX_PACKINGS)),
    };
    let sent = match &checked.target {
        PushTarget::Archive { path, name } => {
            send_archive(&context, &plan, path.clone(), name.clone()).await?
        }
        PushTarget::Layout { directory, name } => {
            let layout = Arc::new(Layout::open(directory).await?);
            let destination = Destination::Layout(Arc::clone(&layout));
            let sent = send_blobs(&context, &plan, &destination).await?;
            let name = name.clone();
            let add = move || {
                layout.store_bytes(&sent.manifest)?;
                layout.add_to_index(&sent.manifest, &sent.media_type, name.as_deref())?;
                Ok(sent)
            };
            tasks.blocking(add).await?
        }
        PushTarget::Registry(reference) => {
            let sources: HashSet<String> = plan
                .groups
                .iter()
                .flat_map(|group| &group.archives)
                .filter_map(|archive| mount_source(archive, reference))
                .collect();
            let mut sources: Vec<String> = sources.into_iter().collect();
            sources.sort();
            let repository = Repository::for_push(
                &engine.imports.http,
                reference.as_ref().clone(),
                checked.login.clone(),
                sources,
            );
            let destination = Destination::Registry {
                repository: Box::new(repository),
                reference: reference.as_ref().clone(),
            };
            let sent = send_blobs(&context, &plan, &destination).await?;
            if let Destination::Registry { repository, .. } = &destination {
                repository
                    .put_manifest(&sent.media_type, &sent.manifest)
                    .await?;
            }
            sent
        }
    };
    let result = PushResult {
        digest: sent.digest.to_string(),
        blobs_sent: counts.sent.load(Ordering::Relaxed),
        blobs_present: counts.present.load(Ordering::Relaxed),
        bytes_sent: counts.bytes.load(Ordering::Relaxed),
    };
    progress.line(&format!(
        "pushed {}: sent {} blobs with {}, and {} were there already",
        result.digest,
        result.blobs_sent,
        format_size(result.bytes_sent),
        result.blobs_present
    ));
    Ok(PushedImage {
        image,
        result,
        key: sent.key,
        archives: archives(&plan, &sent.layers),
    })
}

/// The documents and layers of an image that was sent.
struct SentImage {
    manifest: Vec<u8>,
    media_type: String,
    digest: Digest,
    key: String,
    layers: Vec<PackedLayer>,
}

/// Sends the layers and the configuration.
async fn send_blobs(
    context: &PushContext<'_>,
    plan: &PushPlan,
    destination: &Destination<'_>,
) -> Result<SentImage, PushError> {
    let mut sends = Vec::new();
    for (number, group) in plan.groups.iter().enumerate() {
        sends.push(context.send_layer(destination, number, group));
    }
    let layers: Vec<PackedLayer> = futures_util::stream::iter(sends)
        .buffered(MAX_UPLOADS)
        .try_collect()
        .await?;
    let documents = documents(plan, &layers)?;
    context.send_config(destination, &documents.config).await?;
    Ok(SentImage {
        digest: Digest::of(&documents.manifest),
        key: Digest::of(&documents.config).to_string(),
        manifest: documents.manifest,
        media_type: documents.media_type,
        layers,
    })
}

/// Packs the layers and writes them as one archive.
async fn send_archive(
    context: &PushContext<'_>,
    plan: &PushPlan,
    path: PathBuf,
    name: Option<String>,
) -> Result<SentImage, PushError> {
    // A path of another kind fails the push before anything is packed. A file may be this archive,
    // of an earlier push that was killed before it could say so.
    if path.symlink_metadata().is_ok_and(|about| !about.is_file()) {
        return Err(PushError::Exists(path));
    }
    let mut blobs = Vec::new();
    for (number, group) in plan.groups.iter().enumerate() {
        blobs.push(context.pack(number, group).await?);
    }
    let layers: Vec<PackedLayer> = blobs.iter().map(|blob| blob.layer.clone()).collect();
    let config = document::config(&plan.properties, &layers).map_err(PushError::Configuration)?;
    let digest = Digest::of(&config);
    let count = blobs.len() as u64 + 1;
    let tasks = context.tasks.clone();
    let write = move || docker_archive::write(&path, name.as_deref(), &config, &blobs, &tasks);
    let size = context.tasks.blocking(write).await?;
    context.counts.sent.fetch_add(count, Ordering::Relaxed);
    context.counts.bytes.fetch_add(size, Ordering::Relaxed);
    Ok(SentImage {
        manifest: Vec::new(),
        media_type: String::new(),
        key: digest.to_string(),
        digest,
        layers,
    })
}

/// The configuration and the manifest of an image.
struct Documents {
    config: Vec<u8>,
    manifest: Vec<u8>,
    media_type: String,
}

/// Returns the documents with which the image was imported, if all its blobs were sent unchanged.
/// Otherwise writes new ones.
fn documents(plan: &PushPlan, layers: &[PackedLayer]) -> Result<Documents, PushError> {
    if let Some(original) = &plan.original
        && let Ok(Document::Image(stated)) = manifest::parse(&original.manifest)
        && stated
            .layers
            .iter()
            .map(|layer| &layer.digest)
            .eq(layers.iter().map(|layer| &layer.digest))
    {
        return Ok(Documents {
            config: original.config.clone(),
            manifest: original.manifest.clone(),
            media_type: original.media_type.clone(),
        });
    }
    let config = document::config(&plan.properties, layers).map_err(PushError::Configuration)?;
    let manifest =
        document::manifest(&config, layers, &plan.annotations).map_err(PushError::Configuration)?;
    Ok(Documents {
        config,
        manifest,
        media_type: MANIFEST_TYPE.to_owned(),
    })
}

/// The archives of single layers, for later pushes and imports.
fn archives(plan: &PushPlan, layers: &[PackedLayer]) -> Vec<(u64, LayerArchive)> {
    let mut chain: Option<Digest> = None;
    let mut archives = Vec::new();
    let is_single = |group: &super::plan::LayerGroup| group.single().is_some();
    // A blob of several layers is the archive of none of them. It ends the chain that imports know.
    let count = plan
        .groups
        .iter()
        .take_while(|group| is_single(group))
        .count();
    for (group, packed) in plan.groups.iter().zip(layers).take(count) {
        let own = chain_id(chain.as_ref(), &packed.diff_id);
        if let Some(layer) = group.single() {
            archives.push((
                layer,
                LayerArchive {
                    digest: packed.digest.to_string(),
                    size: packed.size,
                    media_type: packed.media_type.clone(),
                    diff_id: packed.diff_id.to_string(),
                    chain: own.to_string(),
                    source: None,
                },
            ));
        }
        chain = Some(own);
    }
    archives
}

/// Records the archives of the layers, and ends the operation.
fn commit(
    engine: &Engine,
    operation: Uuid,
    pushed: &PushedImage,
    ending: &OperationEnding,
) -> Result<OperationEnding, ApiError> {
    let result = serde_json::to_string(&pushed.result)
        .map_err(|error| ApiError::internal(error.to_string()))?;
    let ending = OperationEnding {
        status: Status::Success,
        error: None,
        code: None,
        ..ending.clone()
    };
    engine.rows.write(|t| {
        if images::by_uuid(t, pushed.image)?.is_some() {
            for (layer, archive) in &pushed.archives {
                pushes::add_archive(t, *layer, archive)?;
            }
            // An import of the pushed image finds this one.
            if !pushed.archives.is_empty() && imports::find(t, &pushed.key)?.is_none() {
                imports::record(t, &pushed.key, pushed.image)?;
            }
        }
        pushes::set_result(t, operation, &result)?;
        operations::end(t, operation, &ending)
    })?;
    Ok(ending)
}
