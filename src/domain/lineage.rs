//! The lineage of images.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use uuid::Uuid;

use super::image::Image;
use crate::{
    Error, OperationKind,
    lineage::{ImageProvenance, MAX_LISTED, OriginStore, trace},
};

/// The ancestors and children of an image that the backend's operations show.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lineage {
    /// The image.
    pub image: Uuid,
    /// The ancestors, the parent first, at most 1000.
    pub ancestors: Vec<Uuid>,
    /// Whether there are more ancestors.
    pub truncated: bool,
    /// The images made directly from this one, oldest first.
    pub children: Vec<Uuid>,
    /// How the image was made; none if that is not known.
    pub origin: Option<Origin>,
    root: Uuid,
}

/// How an image was made.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Origin {
    /// The kind of the operation.
    pub kind: OperationKind,
    /// The operation; none if the backend no longer has it.
    pub operation: Option<Uuid>,
    /// The command, or the reference that was imported; none if that is not known.
    pub source: Option<String>,
    /// The time of the operation (RFC 3339); none if that is not known.
    pub created_at: Option<String>,
}

impl Lineage {
    /// The image that this one was made from; none for an import.
    pub fn parent(&self) -> Option<Uuid> {
        self.ancestors.first().copied()
    }

    /// The oldest known ancestor, even if the list does not reach it; the image itself if it has
    /// none.
    pub fn root(&self) -> Uuid {
        self.root
    }
}

impl Image {
    /// The ancestors and children of the image, from the newest 10,000 operations of the backend
    /// and the records of the ancestors.
    ///
    /// # Errors
    /// [`Error::Api`] with 404 if there is no such image.
    pub async fn lineage(&self) -> Result<Lineage, Error> {
        let image = self.info().await?.uuid;
        let origins = MemoryOrigins::default();
        let traced = trace(self.client(), &origins, image).await?;
        let uuids = |texts: &[String]| texts.iter().filter_map(|text| text.parse().ok()).collect();
        Ok(Lineage {
            image,
            ancestors: uuids(&traced.ancestors),
            truncated: traced.depth > MAX_LISTED as u64,
            children: uuids(&traced.children),
            root: traced.root.parse().unwrap_or(image),
            origin: traced.origin.map(|origin| Origin {
                kind: origin.kind.as_str().into(),
                operation: origin.operation.and_then(|id| id.parse().ok()),
                source: origin.source,
                created_at: origin.made_at,
            }),
        })
    }
}

/// Origins in memory, by image.
#[derive(Default)]
struct MemoryOrigins(Mutex<BTreeMap<String, ImageProvenance>>);

impl MemoryOrigins {
    fn known(&self) -> MutexGuard<'_, BTreeMap<String, ImageProvenance>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OriginStore for MemoryOrigins {
    async fn find(&self, image: &str) -> Option<ImageProvenance> {
        self.known().get(image).cloned()
    }

    async fn child_images(&self, image: &str) -> Vec<String> {
        let known = self.known();
        let mut children: Vec<_> = known
            .values()
            .filter(|origin| origin.parent.as_deref() == Some(image))
            .collect();
        children.sort_by(|a, b| (&a.made_at, &a.image).cmp(&(&b.made_at, &b.image)));
        children.iter().map(|origin| origin.image.clone()).collect()
    }

    async fn insert(&self, origins: Vec<ImageProvenance>) {
        let mut known = self.known();
        for origin in origins {
            match known.get_mut(&origin.image) {
                Some(old) => {
                    old.source = old.source.take().or(origin.source);
                    old.made_at = old.made_at.take().or(origin.made_at);
                }
                None => drop(known.insert(origin.image.clone(), origin)),
            }
        }
    }

    async fn are_known(&self, origins: &[ImageProvenance]) -> bool {
        let known = self.known();
        origins
            .iter()
            .all(|origin| known.contains_key(&origin.image))
    }
}
