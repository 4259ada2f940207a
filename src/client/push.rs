//! Pushing images.

use uuid::Uuid;

use crate::{Client, Error, OperationStatus, types};

impl Client {
    /// Pushes an image to a registry, an OCI layout or an archive, and waits for the end.
    ///
    /// A backend without this extension sends an archive of the image. The client pushes it to a
    /// registry as a single layer, through a temporary file; this needs the feature `push`.
    ///
    /// # Errors
    /// [`Error::Operation`] if the push fails on the backend, and [`Error::Registry`] if the client
    /// pushes and the registry refuses the image. [`Error::Unsupported`] without the extension if
    /// the target is not a registry, or the feature is off.
    pub async fn push(
        &self,
        image: Uuid,
        request: types::PushRequest,
    ) -> Result<types::PushResult, Error> {
        if !self.has_extension("push").await? {
            return self.push_without_extension(image, &request).await;
        }
        let operation = self.start_push(image, request).await?;
        let ended = self.wait(operation, None).await?;
        match (ended.status, ended.x_push) {
            (Some(OperationStatus::Success), Some(result)) => Ok(result),
            (Some(status), _) => Err(Error::Operation {
                operation,
                code: crate::error::code_of_end(&status, ended.x_code.as_deref()),
                status,
                reason: ended
                    .error
                    .unwrap_or_else(|| "the backend gave no reason".to_owned()),
                output: Box::default(),
            }),
            (None, _) => Err(Error::Protocol(
                "the backend returned an operation without a status".into(),
            )),
        }
    }

    /// Starts to push an image on a backend with the extension `push`. Returns the operation.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if the backend cannot push images itself. [`Error::Api`] with 404 if
    /// there is no such image.
    pub async fn start_push(
        &self,
        image: Uuid,
        request: types::PushRequest,
    ) -> Result<Uuid, Error> {
        if !self.has_extension("push").await? {
            return Err(Error::Unsupported(
                "this service cannot push images itself; call `push`, with which the client does it",
            ));
        }
        let started = self.push_image().image_uuid(image).body(request).send();
        Ok(started.await?.into_inner().uuid)
    }

    /// Pushes an image for a backend that cannot push.
    #[cfg(not(feature = "push"))]
    async fn push_without_extension(
        &self,
        _image: Uuid,
        _request: &types::PushRequest,
    ) -> Result<types::PushResult, Error> {
        Err(Error::Unsupported(
            "this service cannot push images; build the client with the feature `push`, with which the client does it",
        ))
    }
}
