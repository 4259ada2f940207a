//! The sources of origins: the remembered ones, and the backend.

use uuid::Uuid;

use super::origin::{ImageProvenance, OriginStore, shorten};
use crate::types::{OperationMetadata, OperationSummary};
use crate::{Client, Error, ImageRef, OperationKind, OperationStatus};

/// Operations in one request.
const PAGE: u64 = 1000;
/// Maximum number of requests for operations.
const MAX_PAGES: u64 = 10;

/// The sources of origins: the store and the backend.
pub(super) struct LineageSources<'a, S> {
    pub(super) client: &'a Client,
    pub(super) store: &'a S,
}

impl<S: OriginStore> LineageSources<'_, S> {
    /// Reads the backend's operations, newest first, until a page holds only known origins.
    ///
    /// The origins are stored together at the end. If an interrupted read had stored the newest
    /// ones, the next read would stop at them and miss the older ones.
    pub(super) async fn read_operations(&self) -> Result<(), Error> {
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
            let known = !origins.is_empty() && self.store.are_known(&origins).await;
            origins_read.extend(origins);
            if last || known {
                break;
            }
        }
        self.store.insert(origins_read).await;
        Ok(())
    }

    /// Returns an image's origin, from the store or from the backend.
    pub(super) async fn origin(&self, image: Uuid) -> Result<Option<ImageProvenance>, Error> {
        if let Some(known) = self.store.find(&image.to_string()).await {
            return Ok(Some(known));
        }
        let found = match self.client.resolve(&ImageRef::Uuid(image)).await {
            Ok(found) => found,
            // A deleted ancestor ends the lineage.
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error),
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
    pub(super) async fn ask_operation(&self, known: &ImageProvenance) -> Option<ImageProvenance> {
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
        self.store.insert(vec![origin.clone()]).await;
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
