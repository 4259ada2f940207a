//! Deleting images.

use uuid::Uuid;

use crate::{Client, Error, types};

impl Client {
    /// Deletes one image: its record, its tags, and the layers that only it needs.
    ///
    /// An image on which others are based is refused. With `force`, its record is deleted and the
    /// layers that others need stay. An image on which an operation runs is always refused.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if the backend cannot delete images. [`Error::Api`] with 404 if there
    /// is no such image, and with 409 if it is refused.
    pub async fn delete_image_record(
        &self,
        image: Uuid,
        force: bool,
    ) -> Result<types::DeletedImage, Error> {
        if !self.has_extension("delete").await? {
            return Err(Error::Unsupported(
                "this service cannot delete images; remove the tags of the image with set_tag, and the service removes it in its own time",
            ));
        }
        let request = self.delete_image().image_uuid(image);
        let request = if force { request.force(1u64) } else { request };
        Ok(request.send().await?.into_inner())
    }
}
