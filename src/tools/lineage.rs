//! The lineage of images: the tool's answer, and the state store as memory of origins.

use std::collections::HashMap;

use futures_util::future::BoxFuture;
use uuid::Uuid;

use super::results::{Lineage, LineageData};
use super::{Context, ToolError};
use crate::client::{OriginMemory, RememberedOrigin};
use crate::lineage::{self, ImageProvenance, MAX_LISTED, OriginStore, shorten};
use crate::store::{Store, lineage as rows};
use crate::types::ImageLogEntry;
use crate::{Client, ImageRef, LogRequest, OperationKind};

/// Images in one page of a history.
const MAX_LOGGED: u64 = 1000;

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
    let origins = StoredOrigins::new(cx, client.backend().identity());
    let uuid = match &image {
        ImageRef::Uuid(uuid) if origins.find(&uuid.to_string()).await.is_some() => *uuid,
        image => client.resolve(image).await?.uuid.ok_or_else(|| {
            ToolError::unusable_answer(format!("the backend returned no UUID for `{image}`"))
        })?,
    };
    let traced = lineage::trace(client, &origins, uuid).await?;
    Ok(Lineage {
        image: uuid.to_string(),
        parent: traced.ancestors.first().cloned(),
        root: traced.root,
        depth: traced.depth,
        children: traced.children,
        truncated: traced.depth > MAX_LISTED as u64,
        ancestors: traced.ancestors,
        is_known: traced.origin.is_some(),
        data: traced.origin.map(|origin| LineageData {
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
    let origin = ImageProvenance {
        image: image.to_string(),
        parent: Some(parent.to_string()),
        operation: Some(operation.to_string()),
        kind: OperationKind::Instance.to_string(),
        source: Some(shorten(command)),
        made_at: Some(chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Millis, true)),
    };
    let origins = StoredOrigins::new(cx, client.backend().identity());
    origins.insert(vec![origin]).await;
}

/// Finds the nearest image, from this one to its oldest ancestor, that one of the operations made.
/// Returns it as the history has it, and the value of its operation.
pub(super) async fn nearest_operation(
    cx: &Context,
    client: &Client,
    image: Uuid,
    operations: &HashMap<String, i64>,
) -> Result<Option<(ImageLogEntry, i64)>, ToolError> {
    let mut request = LogRequest {
        limit: MAX_LOGGED,
        ..LogRequest::default()
    };
    loop {
        let log = client.log_with(image, request, &memory(cx, client)).await?;
        for entry in log.images {
            let operation = entry.operation_uuid.map(|operation| operation.to_string());
            let found = operation.and_then(|operation| operations.get(&operation).copied());
            if let Some(found) = found {
                return Ok(Some((entry, found)));
            }
        }
        match log.next {
            Some(next) if next > request.offset => request.offset = next,
            _ => return Ok(None),
        }
    }
}

/// Returns the memory of the origins of a backend's images.
pub(super) fn memory<'a>(cx: &'a Context, client: &Client) -> StoredOrigins<'a> {
    StoredOrigins::new(cx, client.backend().identity())
}

/// The origins in the state store.
pub(super) struct StoredOrigins<'a> {
    cx: &'a Context,
    store: &'a Store,
    backend: String,
}

impl<'a> StoredOrigins<'a> {
    fn new(cx: &'a Context, backend: String) -> Self {
        Self {
            cx,
            store: cx.session().store(),
            backend,
        }
    }
}

impl OriginStore for StoredOrigins<'_> {
    async fn find(&self, image: &str) -> Option<ImageProvenance> {
        let (backend, image) = (self.backend.clone(), image.to_owned());
        self.store
            .read(move |c| rows::find(c, &backend, &image))
            .await
            .unwrap_or_default()
    }

    async fn child_images(&self, image: &str) -> Vec<String> {
        let (backend, image) = (self.backend.clone(), image.to_owned());
        let children = self
            .store
            .read(move |c| rows::child_images(c, &backend, &image))
            .await
            .unwrap_or_default();
        children.into_iter().map(|child| child.image).collect()
    }

    async fn insert(&self, origins: Vec<ImageProvenance>) {
        let backend = self.backend.clone();
        let written = self.store.write(move |c| {
            for origin in &origins {
                rows::insert(c, &backend, origin)?;
            }
            Ok(())
        });
        if let Err(error) = written.await {
            tracing::warn!("cannot store the origins of images: {error}");
        }
    }

    async fn are_known(&self, origins: &[ImageProvenance]) -> bool {
        let images: Vec<String> = origins.iter().map(|origin| origin.image.clone()).collect();
        let backend = self.backend.clone();
        let known = self.store.read(move |c| {
            for image in &images {
                if rows::find(c, &backend, image)?.is_none() {
                    return Ok(false);
                }
            }
            Ok(true)
        });
        known.await.unwrap_or_default()
    }

    fn warn(&self, note: &str) {
        tracing::warn!("{note}");
    }

    fn is_cancelled(&self) -> bool {
        self.cx.is_cancelled()
    }
}

impl OriginMemory for StoredOrigins<'_> {
    fn origin(&self, image: Uuid) -> BoxFuture<'_, Option<RememberedOrigin>> {
        Box::pin(async move {
            let known = self.find(&image.to_string()).await?;
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
            let children = self.child_images(&image.to_string()).await;
            let uuids = children.iter().filter_map(|child| child.parse().ok());
            uuids.collect()
        })
    }
}
