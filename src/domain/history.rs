//! The history of images, and what differs between them.

use super::image::Image;
use crate::{DiffRequest, Error, LogRequest, types};

impl Image {
    /// Lists the image and the images that it was made from, the newest first, with what made each.
    ///
    /// It has at most 100 images; [`Client::log`](crate::Client::log) returns other parts.
    ///
    /// # Errors
    /// [`Error::Api`] with 404 if there is no such image.
    pub async fn log(&self) -> Result<Vec<types::ImageLogEntry>, Error> {
        let uuid = self.uuid().await?;
        let log = self.client().log(uuid, LogRequest::default()).await?;
        Ok(log.images)
    }

    /// Lists the files of this image that differ from another image, with a patch for `git apply`.
    ///
    /// It has at most 1000 changes, and `next` tells of more. [`Client::diff`](crate::Client::diff)
    /// returns other parts, compares a part of the files, or compares with the image that this one
    /// was made from.
    ///
    /// # Errors
    /// [`Error::Api`] with 404 if there is no such image.
    pub async fn diff(&self, base: &Image) -> Result<types::ImageDiff, Error> {
        let request = DiffRequest {
            base: Some(base.uuid().await?),
            patch: true,
            ..DiffRequest::default()
        };
        self.client().diff(self.uuid().await?, &request).await
    }
}
