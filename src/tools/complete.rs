//! Completes partly typed arguments of prompts and resources.

use std::time::Duration;

use super::{CompletionSource, Context, GUIDES, ToolError};
use crate::{Client, ImageRef, OperationKind};

/// Maximum number of completions in one answer.
const MAX_VALUES: usize = 100;
/// Entries requested from the backend to choose completions from.
const LIST_LIMIT: u64 = 1000;
/// Longest wait for the backend, since a person is typing.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Completions of an argument.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Completions {
    /// The completions, at most 100.
    pub values: Vec<String>,
    /// Number of all completions, if it is known.
    pub total: Option<usize>,
    /// Whether there are more.
    pub more: bool,
}

impl Completions {
    /// Takes the first [`MAX_VALUES`] of `all`. If `complete` is false, the backend may have more.
    fn of(all: Vec<String>, complete: bool) -> Self {
        let total = all.len();
        let mut values = all;
        values.truncate(MAX_VALUES);
        Self {
            more: !complete || total > values.len(),
            total: complete.then_some(total),
            values,
        }
    }
}

/// Returns completions of `typed`. `image` is the image of a path, if the client has named it.
///
/// If the backend fails or is slow, no completions are offered: clients do not show errors here.
pub async fn complete(
    kind: CompletionSource,
    typed: &str,
    image: Option<&str>,
    cx: &Context,
) -> Completions {
    let found = async {
        match kind {
            CompletionSource::Guide => Ok(guides(typed)),
            CompletionSource::Image => images(cx.client().await?, typed).await,
            CompletionSource::Operation => operations(cx.client().await?, None, typed).await,
            CompletionSource::Import => {
                let kind = Some(OperationKind::ImageImport);
                operations(cx.client().await?, kind, typed).await
            }
            CompletionSource::Instance => {
                let kind = Some(OperationKind::Instance);
                operations(cx.client().await?, kind, typed).await
            }
            CompletionSource::Path => match image {
                Some(image) => paths(cx.client().await?, image, typed).await,
                None => Ok(Completions::default()),
            },
        }
    };
    match tokio::time::timeout(TIMEOUT, found).await {
        Ok(Ok(found)) => found,
        Ok(Err(error)) => {
            tracing::debug!("cannot complete `{typed}`: {error}");
            Completions::default()
        }
        Err(_) => Completions::default(),
    }
}

fn guides(typed: &str) -> Completions {
    let names = GUIDES.iter().map(|guide| guide.name);
    let names = names.filter(|name| name.starts_with(typed));
    Completions::of(names.map(str::to_owned).collect(), true)
}

async fn images(client: &Client, typed: &str) -> Result<Completions, ToolError> {
    let typed = typed.strip_prefix("tag:").unwrap_or(typed);
    // A beginning of `tag:` itself selects all tags.
    let typed = if "tag:".starts_with(typed) { "" } else { typed };
    let mut request = client.list_images().limit(LIST_LIMIT).tagged("1");
    let prefix = typed.trim_end_matches([':', '/', '.']);
    if !prefix.is_empty() {
        request = request.tag(prefix);
    }
    let images = request.send().await?.into_inner().images;
    let is_complete = (images.len() as u64) < LIST_LIMIT;
    let tags = images.into_iter().filter_map(|image| image.tag);
    let mut tags: Vec<String> = tags
        .filter(|tag| tag.starts_with(typed))
        .map(|tag| format!("tag:{tag}"))
        .collect();
    tags.sort();
    tags.dedup();
    Ok(Completions::of(tags, is_complete))
}

async fn operations(
    client: &Client,
    kind: Option<OperationKind>,
    typed: &str,
) -> Result<Completions, ToolError> {
    let mut request = client.list_operations().limit(LIST_LIMIT);
    if let Some(kind) = kind {
        request = request.kind(kind);
    }
    let operations = request.send().await?.into_inner();
    let is_complete = (operations.len() as u64) < LIST_LIMIT;
    let typed = typed.to_lowercase();
    let ids = operations
        .into_iter()
        .filter_map(|operation| operation.uuid)
        .map(|id| id.to_string())
        .filter(|id| id.starts_with(&typed));
    Ok(Completions::of(ids.collect(), is_complete))
}

async fn paths(client: &Client, image: &str, typed: &str) -> Result<Completions, ToolError> {
    let image: ImageRef = image.parse()?;
    let image = match image {
        ImageRef::Uuid(uuid) => uuid,
        tag @ ImageRef::Tag(_) => {
            let found = client.resolve(&tag).await?.uuid;
            found.ok_or_else(|| {
                ToolError::unusable_answer("the backend returned an image without a UUID")
            })?
        }
    };
    let (directory, prefix) = match typed.rfind('/') {
        Some(at) => typed.split_at(at + 1),
        None => ("", typed),
    };
    let list = client
        .inspect_image_file()
        .image_uuid(image)
        .path(format!("/{}", directory.trim_matches('/')))
        .send()
        .await?
        .into_inner();
    let entries = list.files.into_iter().filter(|entry| {
        // Hidden files are offered only after a dot.
        entry.path.starts_with(prefix) && (!entry.path.starts_with('.') || prefix.starts_with('.'))
    });
    let mut paths: Vec<String> = entries
        .map(|entry| {
            let slash = if entry.is_dir { "/" } else { "" };
            format!("{directory}{}{slash}", entry.path)
        })
        .collect();
    paths.sort();
    Ok(Completions::of(paths, true))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn completions_are_bounded_and_report_more() {
        let many: Vec<String> = (0..250).map(|n| n.to_string()).collect();
        let some = Completions::of(many, true);
        assert_eq!(
            (some.values.len(), some.total, some.more),
            (100, Some(250), true)
        );
        let unknown = Completions::of(vec!["a".into()], false);
        assert_eq!((unknown.total, unknown.more), (None, true));
    }

    #[test]
    fn guides_are_completed_by_prefix() {
        let all = guides("");
        assert!(all.values.len() >= 7 && !all.more);
        assert_eq!(guides("work").values, ["workflow"]);
        assert_eq!(guides("x"), Completions::of(Vec::new(), true));
    }
}
