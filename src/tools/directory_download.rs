//! Saving a whole directory of an image, for the tool `download`.

use std::path::PathBuf;

use super::results::{Download, DownloadSource, SkippedPath};
use super::{Context, ToolError, image, writing};
use crate::local_copy::{CopiedDirectory, download_directory};

/// A directory of an image that may have to be saved.
pub(super) struct DirectoryDownload {
    pub(super) image: String,
    pub(super) path: String,
    pub(super) destination: PathBuf,
    pub(super) overwrite: bool,
}

impl DirectoryDownload {
    /// Whether the path is a directory of the image.
    pub(super) async fn is_directory(&self, cx: &Context) -> Result<bool, ToolError> {
        let client = cx.client().await?;
        cx.unless_cancelled(async {
            let image = image::resolve(client, &self.image).await?;
            let listed = client.inspect_image_file().image_uuid(image);
            match listed
                .path(&self.path)
                .send()
                .await
                .map_err(crate::Error::from)
            {
                Ok(_) => Ok(true),
                Err(error)
                    if error
                        .status()
                        .is_some_and(|status| status.is_client_error()) =>
                {
                    Ok(false)
                }
                Err(error) => Err(ToolError::from(error)),
            }
        })
        .await
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
