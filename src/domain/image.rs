//! Images and their tags.

use std::{fmt, sync::Arc};

use uuid::Uuid;

use crate::{Client, Error, ImageRef, types};

/// An immutable snapshot of a filesystem.
///
/// It is lazy: creating one sends nothing, and an invalid reference is an error of its first use.
/// Clones are cheap.
#[derive(Clone)]
pub struct Image {
    client: Client,
    /// The reference, or the reason why it is invalid.
    reference: Result<ImageRef, Arc<str>>,
}

impl Client {
    /// The image with this reference: a UUID, `tag:NAME`, or another image.
    ///
    /// ```no_run
    /// # fn example(client: contree::Client, uuid: uuid::Uuid) {
    /// let by_tag = client.image("tag:ubuntu:noble");
    /// let by_uuid = client.image(uuid);
    /// let again = client.image(&by_tag);
    /// # }
    /// ```
    pub fn image<R>(&self, reference: R) -> Image
    where
        R: TryInto<ImageRef>,
        R::Error: Into<Error>,
    {
        let reference = reference
            .try_into()
            .map_err(|error| error.into().to_string().into());
        Image {
            client: self.clone(),
            reference,
        }
    }

    /// The client itself. Its methods that return a builder from [`builder`](crate::builder) are
    /// generated, one for each operation of the API.
    pub fn api(&self) -> &Self {
        self
    }
}

impl Image {
    /// The client.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The reference.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if the image was made from an invalid one.
    pub fn reference(&self) -> Result<&ImageRef, Error> {
        let invalid = |reason: &Arc<str>| Error::InvalidArgument(reason.to_string());
        self.reference.as_ref().map_err(invalid)
    }

    /// The UUID. For an image by tag, each call asks the backend, since a tag may move.
    ///
    /// # Errors
    /// [`Error::Api`] with 404 if no image has the tag.
    pub async fn uuid(&self) -> Result<Uuid, Error> {
        match self.reference()? {
            ImageRef::Uuid(uuid) => Ok(*uuid),
            ImageRef::Tag(_) => Ok(self.info().await?.uuid),
        }
    }

    /// The same image by its UUID, so that a moved tag has no effect.
    ///
    /// # Errors
    /// [`Error::Api`] with 404 if no image has the tag.
    pub async fn pin(&self) -> Result<Self, Error> {
        Ok(self.client.image(self.uuid().await?))
    }

    /// The record of the image.
    ///
    /// # Errors
    /// [`Error::Api`] with 404 if there is no such image.
    pub async fn info(&self) -> Result<ImageInfo, Error> {
        self.client.resolve(self.reference()?).await?.try_into()
    }

    /// Points a tag to the image, and returns the image by this tag. A tag of another image is
    /// moved. `tag` may begin with `tag:`.
    ///
    /// # Errors
    /// [`Error::Api`] with 400 for an invalid tag.
    pub async fn tag(&self, tag: impl AsRef<str>) -> Result<Self, Error> {
        let tag = without_prefix(tag.as_ref());
        let request = types::ImageTagRequest {
            tag: tag.to_owned(),
        };
        self.client
            .update_image_tag()
            .image_uuid(self.uuid().await?)
            .body(request)
            .send()
            .await?;
        Ok(self.client.image(ImageRef::Tag(tag.to_owned())))
    }

    /// Removes a tag of the image. The image stays. `tag` may begin with `tag:`.
    ///
    /// # Errors
    /// If the backend refuses.
    pub async fn untag(&self, tag: impl AsRef<str>) -> Result<(), Error> {
        let uuid = self.uuid().await?;
        let request = self.client.delete_image_tag().image_uuid(uuid);
        request.tag(without_prefix(tag.as_ref())).send().await?;
        Ok(())
    }

    /// Removes all tags of the image. The image stays.
    ///
    /// # Errors
    /// If the backend refuses.
    pub async fn untag_all(&self) -> Result<(), Error> {
        let uuid = self.uuid().await?;
        self.client
            .delete_image_tag()
            .image_uuid(uuid)
            .send()
            .await?;
        Ok(())
    }
}

fn without_prefix(tag: &str) -> &str {
    tag.strip_prefix("tag:").unwrap_or(tag)
}

impl fmt::Debug for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Image({self})")
    }
}

/// Writes the reference.
impl fmt::Display for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.reference {
            Ok(reference) => reference.fmt(f),
            Err(reason) => write!(f, "invalid: {reason}"),
        }
    }
}

impl TryFrom<&Image> for ImageRef {
    type Error = Error;

    fn try_from(image: &Image) -> Result<Self, Error> {
        image.reference().cloned()
    }
}

impl TryFrom<Image> for ImageRef {
    type Error = Error;

    fn try_from(image: Image) -> Result<Self, Error> {
        image.reference().cloned()
    }
}

/// The record of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ImageInfo {
    /// The UUID.
    pub uuid: Uuid,
    /// A tag that points to the image.
    pub tag: Option<String>,
    /// The time at which the image was made, as the backend writes it (RFC 3339).
    pub created_at: String,
    /// The operation that made the image; none if another account made it.
    pub operation: Option<Uuid>,
}

impl TryFrom<types::Image> for ImageInfo {
    type Error = Error;

    /// # Errors
    /// [`Error::Protocol`] if the record has no UUID or no time.
    fn try_from(image: types::Image) -> Result<Self, Error> {
        let missing =
            |what| Error::Protocol(format!("the record of an image has no {what}").into());
        Ok(Self {
            uuid: image.uuid.ok_or_else(|| missing("uuid"))?,
            tag: image.tag,
            created_at: image.created_at.ok_or_else(|| missing("created_at"))?,
            operation: image.operation_uuid,
        })
    }
}

impl From<ImageInfo> for ImageRef {
    fn from(image: ImageInfo) -> Self {
        Self::Uuid(image.uuid)
    }
}

impl From<&ImageInfo> for ImageRef {
    fn from(image: &ImageInfo) -> Self {
        Self::Uuid(image.uuid)
    }
}
