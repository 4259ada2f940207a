//! Lineage of images: parents, ancestors and children.

use std::collections::BTreeSet;

use futures_util::future::BoxFuture;
use uuid::Uuid;

use super::results::{Lineage, LineageData};
use super::{Context, ToolError};
use crate::client::{OriginMemory, RememberedOrigin};
use crate::store::Store;
use crate::store::lineage::{self, ImageProvenance};
use crate::types::{OperationMetadata, OperationSummary};
use crate::{Client, ImageRef, OperationKind, OperationStatus};

/// Maximum number of ancestors in an answer. Further ones are only counted.
const MAX_LISTED: usize = 1000;
/// Operations in one request.
const PAGE: u64 = 1000;
/// Maximum number of requests for operations.
const MAX_PAGES: u64 = 10;
/// Bytes of a command that are stored.
const MAX_COMMAND_BYTES: usize = 4096;

/// Returns the origin of an image, its ancestors up to the root, and its direct children.
///
/// The state store has the origins of images that servers with this state directory made. Other
/// origins come from the backend's operations.
///
/// # Errors
/// If there is no such image, or the backend cannot be reached.
pub async fn lineage(cx: &Context, image: &str) -> Result<Lineage, ToolError> {
    let image: ImageRef = image.parse()?;
    let client = cx.client().await?;
    let sources = LineageSources {
        client,
        store: cx.session().store(),
        backend: client.backend().identity(),
    };
    let uuid = match &image {
        ImageRef::Uuid(uuid) if sources.find_stored(&uuid.to_string()).await.is_some() => *uuid,
        image => client.resolve(image).await?.uuid.ok_or_else(|| {
            ToolError::unusable_answer(format!("the backend returned no UUID for `{image}`"))
        })?,
    };
    if let Err(error) = sources.read_operations().await {
        tracing::warn!("cannot list operations, so children may be missing: {error}");
    }
    let mut origin = sources.origin(uuid).await?;
    if let Some(known) = &mut origin
        && known.source.is_none()
        && let Some(more) = sources.ask_operation(known).await
    {
        *known = more;
    }
    let mut ancestors = Vec::new();
    let (mut root, mut depth) = (uuid.to_string(), 0);
    let mut seen = BTreeSet::from([root.clone()]);
    let mut next = origin.as_ref().and_then(|origin| origin.parent.clone());
    while let Some(parent) = next {
        // No backend creates a cycle, but a wrong record must not cause an endless loop.
        if cx.is_cancelled() || !seen.insert(parent.clone()) {
            break;
        }
        next = match parent.parse() {
            Ok(uuid) => sources.origin(uuid).await?.and_then(|origin| origin.parent),
            Err(_) => None,
        };
        depth += 1;
        if ancestors.len() < MAX_LISTED {
            ancestors.push(parent.clone());
        }
        root = parent;
    }
    let children = sources.child_images(&uuid.to_string()).await;
    Ok(Lineage {
        image: uuid.to_string(),
        parent: ancestors.first().cloned(),
        root,
        depth,
        children,
        truncated: depth > MAX_LISTED as u64,
        ancestors,
        is_known: origin.is_some(),
        data: origin.map(|origin| LineageData {
            operation_uuid: origin.operation,
            kind: origin.kind,
            source: origin.source,
            created_at: origin.made_at,
        }),
    })
}

/// Stores the origin of a run's result image. A failure is logged and does not fail the run.
pub(super) async fn record(
    cx: &Context,
    image: Uuid,
    parent: Uuid,
    operation: Uuid,
    command: &str,
) {
    let Ok(client) = cx.client().await else {
        return;
    };
    let sources = LineageSources {
        client,
        store: cx.session().store(),
        backend: client.backend().identity(),
    };
    let origin = ImageProvenance {
        image: image.to_string(),
        parent: Some(parent.to_string()),
        operation: Some(operation.to_string()),
        kind: OperationKind::Instance.to_string(),
        source: Some(shorten(command)),
        made_at: Some(chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Millis, true)),
    };
    sources.store_origins(vec![origin]).await;
}

/// The origins of images that the state store remembers.
pub(super) struct StoredOrigins<'a>(LineageSources<'a>);

/// Returns the memory of the origins of a backend's images.
pub(super) fn memory<'a>(cx: &'a Context, client: &'a Client) -> StoredOrigins<'a> {
    StoredOrigins(LineageSources {
        client,
        store: cx.session().store(),
        backend: client.backend().identity(),
    })
}

impl OriginMemory for StoredOrigins<'_> {
    fn origin(&self, image: Uuid) -> BoxFuture<'_, Option<RememberedOrigin>> {
        Box::pin(async move {
            let known = self.0.find_stored(&image.to_string()).await?;
            let uuid = |text: Option<String>| text.and_then(|text| text.parse().ok());
            Some(RememberedOrigin {
                parent: uuid(known.parent),
                operation: uuid(known.operation),
                kind: Some(known.kind).filter(|kind| !kind.is_empty()),
                command: known.source,
                created_at: known.made_at,
            })
        })
    }

    fn children(&self, image: Uuid) -> BoxFuture<'_, Vec<Uuid>> {
        Box::pin(async move {
            let children = self.0.child_images(&image.to_string()).await;
            let uuids = children.iter().filter_map(|child| child.parse().ok());
            uuids.collect()
        })
    }
}

fn shorten(command: &str) -> String {
    match command
        .char_indices()
        .find(|(at, _)| *at >= MAX_COMMAND_BYTES)
    {
        Some((at, _)) => format!("{}…", &command[..at]),
        None => command.to_owned(),
    }
}

/// The sources of origins: the state store and the backend.
struct LineageSources<'a> {
    client: &'a Client,
    store: &'a Store,
    backend: String,
}

impl LineageSources<'_> {
    /// Finds an image's stored origin. A failing store counts as empty.
    async fn find_stored(&self, image: &str) -> Option<ImageProvenance> {
        let (backend, image) = (self.backend.clone(), image.to_owned());
        self.store
            .read(move |c| lineage::find(c, &backend, &image))
            .await
            .unwrap_or_default()
    }

    async fn child_images(&self, image: &str) -> Vec<String> {
        let (backend, image) = (self.backend.clone(), image.to_owned());
        let children = self
            .store
            .read(move |c| lineage::child_images(c, &backend, &image))
            .await
            .unwrap_or_default();
        children.into_iter().map(|child| child.image).collect()
    }

    /// Stores origins. A failure is logged.
    async fn store_origins(&self, origins: Vec<ImageProvenance>) {
        let backend = self.backend.clone();
        let written = self.store.write(move |c| {
            for origin in &origins {
                lineage::insert(c, &backend, origin)?;
            }
            Ok(())
        });
        if let Err(error) = written.await {
            tracing::warn!("cannot store the origins of images: {error}");
        }
    }

    /// Reports whether all of these origins are stored.
    async fn are_stored(&self, origins: &[ImageProvenance]) -> bool {
        let images: Vec<String> = origins.iter().map(|origin| origin.image.clone()).collect();
        let backend = self.backend.clone();
        let known = self.store.read(move |c| {
            for image in &images {
                if lineage::find(c, &backend, image)?.is_none() {
                    return Ok(false);
                }
            }
            Ok(true)
        });
        known.await.unwrap_or_default()
    }

    /// Reads the backend's operations, newest first, until a page holds only known origins.
    ///
    /// The origins are stored together at the end. If an interrupted read had stored the newest
    /// ones, the next read would stop at them and miss the older ones.
    async fn read_operations(&self) -> Result<(), ToolError> {
        let mut origins_read = Vec::new();
        for page in 0..MAX_PAGES {
            let operations = self
                .client
                .list_operations()
                .limit(PAGE)
                .offset(page * PAGE)
                .send()
                .await?
                .into_inner();
            let last = (operations.len() as u64) < PAGE;
            let origins: Vec<ImageProvenance> =
                operations.into_iter().filter_map(result_origin).collect();
            let known = !origins.is_empty() && self.are_stored(&origins).await;
            origins_read.extend(origins);
            if last || known {
                break;
            }
        }
        self.store_origins(origins_read).await;
        Ok(())
    }

    /// Returns an image's origin, from the store or from the backend.
    async fn origin(&self, image: Uuid) -> Result<Option<ImageProvenance>, ToolError> {
        if let Some(known) = self.find_stored(&image.to_string()).await {
            return Ok(Some(known));
        }
        let found = match self.client.resolve(&ImageRef::Uuid(image)).await {
            Ok(found) => found,
            // A deleted ancestor ends the lineage.
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let Some(operation) = found.operation_uuid else {
            return Ok(None);
        };
        let incomplete = ImageProvenance {
            image: image.to_string(),
            operation: Some(operation.to_string()),
            ..ImageProvenance::default()
        };
        Ok(self.ask_operation(&incomplete).await)
    }

    /// Asks the backend for the operation that made an image, and stores the origin.
    async fn ask_operation(&self, known: &ImageProvenance) -> Option<ImageProvenance> {
        let operation: Uuid = known.operation.as_ref()?.parse().ok()?;
        let record = self
            .client
            .get_operation_status()
            .operation_id(operation)
            .send()
            .await
            .ok()?
            .into_inner();
        let is_import = record.kind == Some(OperationKind::ImageImport);
        let (parent, source) = match record.metadata {
            Some(OperationMetadata::OperationInstanceMetadata(run)) if !is_import => {
                (Some(run.image), Some(shorten(&run.command)))
            }
            Some(OperationMetadata::ImageImportMetadata(import)) => {
                (None, import.registry.and_then(|registry| registry.url))
            }
            _ => (None, None),
        };
        let parent = record.image_uuid.or(parent).filter(|_| !is_import);
        let origin = ImageProvenance {
            image: known.image.clone(),
            parent: parent
                .map(|parent| parent.to_string())
                .filter(|parent| *parent != known.image),
            operation: Some(operation.to_string()),
            kind: record.kind.map(|kind| kind.to_string()).unwrap_or_default(),
            source,
            made_at: record.created_at,
        };
        self.store_origins(vec![origin.clone()]).await;
        Some(origin)
    }
}

/// Returns the origin of an operation's result image, if the operation made one.
fn result_origin(operation: OperationSummary) -> Option<ImageProvenance> {
    if operation.status? != OperationStatus::Success {
        return None;
    }
    let result = operation.result_image_uuid?;
    let kind = operation.kind?;
    let parent = match kind {
        OperationKind::ImageImport => None,
        // The result of a run that changed nothing is the image it ran on.
        _ => Some(operation.image_uuid.filter(|image| *image != result)?),
    };
    Some(ImageProvenance {
        image: result.to_string(),
        parent: parent.map(|parent| parent.to_string()),
        operation: operation.uuid.map(|uuid| uuid.to_string()),
        kind: kind.to_string(),
        source: None,
        made_at: operation.created_at,
    })
}
