//! Saving a whole directory of an image, for the tool `download`.

use std::path::PathBuf;

use super::results::{Download, DownloadSource, SkippedPath};
use super::{Context, ToolError, image, image_cache, writing};
use crate::local_copy::{CopiedDirectory, download_directory};

/// A directory of an image that may have to be saved.
pub(super) struct DirectoryDownload {
    pub(super) image: String,
    pub(super) path: String,
    pub(super) destination: PathBuf,
    pub(super) overwrite: bool,
}

impl DirectoryDownload {
    /// Whether the path is a directory of the image, or a link to one.
    pub(super) async fn is_directory(&self, cx: &Context) -> Result<bool, ToolError> {
        let path = self.path.trim_end_matches('/');
        let Some((parent, name)) = path.rsplit_once('/') else {
            return Ok(true);
        };
        let parent = if parent.is_empty() { "/" } else { parent };
        let listed = match image_cache::list(cx, &self.image, parent).await {
            Err(error) if error.is_refused_by_backend() => return Ok(false),
            listed => listed?,
        };
        let item = listed.into_iter().find(|item| item.path == name);
        Ok(match item {
            Some(item) if item.is_symlink => {
                let target = image_cache::list(cx, &self.image, path).await;
                target.is_ok()
            }
            item => item.is_some_and(|item| item.is_dir),
        })
    }

    /// Saves the directory.
    pub(super) async fn save(self, cx: &Context) -> Result<Download, ToolError> {
        let access = cx.session().local_access();
        let place = match self.destination.is_dir() {
            true => access.resolved_directory("destination", &self.destination)?,
            false => access.destination("destination", &self.destination)?.shown,
        };
        let client = cx.client().await?;
        let rules = writing::rules(cx);
        let (image, copied) = cx
            .unless_cancelled(async {
                let image = image::resolve(client, &self.image).await?;
                let copied =
                    download_directory(client, image, &self.path, &place, self.overwrite, rules);
                Ok::<_, ToolError>((image, copied.await?))
            })
            .await?;
        let CopiedDirectory {
            files,
            bytes,
            links,
            directories,
            replaced,
            skipped,
            skipped_count,
        } = copied;
        let skipped = skipped.into_iter().map(|path| SkippedPath {
            path: path.path,
            reason: path.why,
        });
        Ok(Download {
            success: true,
            source: DownloadSource {
                image: image.to_string(),
                path: self.path,
            },
            destination: place.display().to_string(),
            size: bytes,
            executable: false,
            replaced,
            files,
            links,
            directories,
            skipped: skipped.collect(),
            skipped_count,
        })
    }
}
