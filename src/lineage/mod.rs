//! Lineage of images: parents, ancestors and children.
//!
//! Origins come from the backend's operations. A store remembers them, so that later questions need
//! few requests.

mod origin;
mod sources;

use std::collections::BTreeSet;

use uuid::Uuid;

use crate::{Client, Error};
#[cfg(feature = "mcp")]
pub(crate) use origin::shorten;
pub(crate) use origin::{ImageProvenance, OriginStore};
use sources::LineageSources;

/// Maximum number of ancestors that are listed. Further ones are only counted.
pub(crate) const MAX_LISTED: usize = 1000;

/// The known lineage of an image.
pub(crate) struct TracedImage {
    /// How the image was made.
    pub(crate) origin: Option<ImageProvenance>,
    /// The ancestors, the parent first.
    pub(crate) ancestors: Vec<String>,
    /// The oldest ancestor, or the image itself.
    pub(crate) root: String,
    /// Number of ancestors.
    pub(crate) depth: u64,
    /// The images made directly from this one.
    pub(crate) children: Vec<String>,
}

/// Traces an image to its root, and finds its direct children.
///
/// # Errors
/// If the backend cannot be reached, or refuses.
pub(crate) async fn trace<S: OriginStore>(
    client: &Client,
    store: &S,
    image: Uuid,
) -> Result<TracedImage, Error> {
    let sources = LineageSources { client, store };
    if let Err(error) = sources.read_operations().await {
        store.warn(&format!(
            "cannot list operations, so children may be missing: {error}"
        ));
    }
    let mut origin = sources.origin(image).await?;
    if let Some(known) = &mut origin
        && known.source.is_none()
        && let Some(more) = sources.ask_operation(known).await
    {
        *known = more;
    }
    let mut ancestors = Vec::new();
    let (mut root, mut depth) = (image.to_string(), 0);
    let mut seen = BTreeSet::from([root.clone()]);
    let mut next = origin.as_ref().and_then(|origin| origin.parent.clone());
    while let Some(parent) = next {
        // No backend creates a cycle, but a wrong record must not cause an endless loop.
        if store.is_cancelled() || !seen.insert(parent.clone()) {
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
    let children = store.child_images(&image.to_string()).await;
    Ok(TracedImage {
        origin,
        ancestors,
        root,
        depth,
        children,
    })
}
