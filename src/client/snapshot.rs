//! Images of running sandboxes.

use uuid::Uuid;

use crate::{Client, Error, types};

impl Client {
    /// Makes an image of the files of a running sandbox as they are now. Its processes stand still
    /// meanwhile and then continue; the image has none of them.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if the backend cannot do it. [`Error::Api`] with 409 if the run is
    /// over.
    pub async fn snapshot(&self, operation: Uuid) -> Result<types::Snapshot, Error> {
        if !self.has_extension("snapshot").await? {
            return Err(Error::Unsupported(
                "this service cannot make an image of a running sandbox; let the command end in a run with disposable=false, whose result is an image",
            ));
        }
        let request = self.snapshot_operation().operation_id(operation);
        Ok(request.send().await?.into_inner())
    }
}
