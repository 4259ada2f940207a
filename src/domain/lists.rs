//! The lists of images, operations and uploads.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use futures_util::{FutureExt as _, Stream};
use uuid::Uuid;

use super::{
    image::ImageInfo,
    pages::{Entry, PAGE, Pages, list},
    time::Time,
};
use crate::{Client, Error, OperationKind, OperationStatus, types};

/// A stream of images, the newest first. It requests pages as they are needed.
///
/// ```no_run
/// # async fn example(client: contree::Client) -> Result<(), contree::Error> {
/// let mut images = client.images().prefix("common/");
/// while let Some(image) = images.next().await {
///     println!("{:?}", image?.tag);
/// }
/// # Ok(())
/// # }
/// ```
#[must_use = "a stream does nothing until it is read"]
pub struct Images {
    client: Client,
    filter: ImageFilter,
    pages: Pages<ImageInfo>,
}

#[derive(Clone, Debug, Default)]
struct ImageFilter {
    prefix: Option<String>,
    tagged: bool,
    since: Option<Time>,
    until: Option<Time>,
}

/// A stream of operations, the newest first. It requests pages as they are needed.
#[must_use = "a stream does nothing until it is read"]
pub struct Operations {
    client: Client,
    filter: OperationFilter,
    pages: Pages<OperationInfo>,
}

#[derive(Clone, Debug, Default)]
struct OperationFilter {
    status: Option<OperationStatus>,
    kind: Option<OperationKind>,
    since: Option<Time>,
    until: Option<Time>,
}

/// A stream of uploaded files, the newest first. It requests pages as they are needed.
#[must_use = "a stream does nothing until it is read"]
pub struct Files {
    client: Client,
    filter: FileFilter,
    pages: Pages<FileInfo>,
}

#[derive(Clone, Debug, Default)]
struct FileFilter {
    since: Option<Time>,
    until: Option<Time>,
}

/// The record of an operation.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct OperationInfo {
    /// The operation.
    pub id: Uuid,
    /// The kind.
    pub kind: OperationKind,
    /// The status.
    pub status: OperationStatus,
    /// The image that a run runs on; none for an import.
    pub image: Option<Uuid>,
    /// The image that the operation made; none unless it succeeded and kept its changes.
    pub result_image: Option<Uuid>,
    /// The reason of a failure.
    pub error: Option<String>,
    /// The time of the request, as the backend writes it (RFC 3339).
    pub created_at: String,
}

/// The record of an uploaded file.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FileInfo {
    /// The UUID.
    pub uuid: Uuid,
    /// The SHA-256 of the content, in hexadecimal.
    pub sha256: String,
    /// The size in bytes.
    pub size: u64,
    /// The time of the first upload, as the backend writes it (RFC 3339).
    pub created_at: String,
}

impl Client {
    /// The images that the backend has.
    pub fn images(&self) -> Images {
        Images {
            client: self.clone(),
            filter: ImageFilter::default(),
            pages: Pages::default(),
        }
    }

    /// The operations that the backend has records of.
    pub fn operations(&self) -> Operations {
        Operations {
            client: self.clone(),
            filter: OperationFilter::default(),
            pages: Pages::default(),
        }
    }

    /// The files that the backend stores.
    pub fn files(&self) -> Files {
        Files {
            client: self.clone(),
            filter: FileFilter::default(),
            pages: Pages::default(),
        }
    }
}

impl Images {
    /// Only images with a tag that begins so. `prefix` may begin with `tag:`.
    pub fn prefix(mut self, prefix: impl AsRef<str>) -> Self {
        let prefix = prefix.as_ref();
        let prefix = prefix.strip_prefix("tag:").unwrap_or(prefix);
        self.filter.prefix = Some(prefix.to_owned());
        self
    }

    /// Only images with a tag.
    pub fn tagged(mut self) -> Self {
        self.filter.tagged = true;
        self
    }

    /// Only images made at or after this time.
    pub fn since(mut self, time: impl Into<Time>) -> Self {
        self.filter.since = Some(time.into());
        self
    }

    /// Only images made at or before this time.
    pub fn until(mut self, time: impl Into<Time>) -> Self {
        self.filter.until = Some(time.into());
        self
    }
}

impl ImageFilter {
    async fn page(self, client: Client, offset: u64) -> Result<Vec<ImageInfo>, Error> {
        let mut request = client.list_images().limit(PAGE).offset(offset);
        if let Some(prefix) = &self.prefix {
            // The API takes no separator at the end.
            let whole_segments = prefix.trim_end_matches([':', '/', '.']);
            if whole_segments.is_empty() {
                request = request.tagged("1");
            } else {
                request = request.tag(whole_segments);
            }
        } else if self.tagged {
            request = request.tagged("1");
        }
        if let Some(since) = &self.since {
            request = request.since(since.as_str());
        }
        if let Some(until) = &self.until {
            request = request.until(until.as_str());
        }
        let images = request.send().await?.into_inner().images;
        images.into_iter().map(ImageInfo::try_from).collect()
    }

    fn matches(&self, image: &ImageInfo) -> bool {
        let tag = image.tag.as_deref();
        self.prefix
            .as_deref()
            .is_none_or(|prefix| tag.is_some_and(|tag| tag.starts_with(prefix)))
    }
}

impl Stream for Images {
    type Item = Result<ImageInfo, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Self {
            client,
            filter,
            pages,
        } = &mut *self;
        loop {
            let request = |offset| filter.clone().page(client.clone(), offset).boxed();
            match pages.poll_next(cx, request) {
                Poll::Ready(Some(Ok(image))) if !filter.matches(&image) => {}
                polled => return polled,
            }
        }
    }
}

impl Operations {
    /// Only operations with this status.
    pub fn status(mut self, status: impl Into<OperationStatus>) -> Self {
        self.filter.status = Some(status.into());
        self
    }

    /// Only operations of this kind.
    pub fn kind(mut self, kind: impl Into<OperationKind>) -> Self {
        self.filter.kind = Some(kind.into());
        self
    }

    /// Only operations started at or after this time.
    pub fn since(mut self, time: impl Into<Time>) -> Self {
        self.filter.since = Some(time.into());
        self
    }

    /// Only operations started at or before this time.
    pub fn until(mut self, time: impl Into<Time>) -> Self {
        self.filter.until = Some(time.into());
        self
    }
}

impl OperationFilter {
    async fn page(self, client: Client, offset: u64) -> Result<Vec<OperationInfo>, Error> {
        let mut request = client.list_operations().limit(PAGE).offset(offset);
        if let Some(status) = self.status {
            request = request.status(status);
        }
        if let Some(kind) = self.kind {
            request = request.kind(kind);
        }
        if let Some(since) = &self.since {
            request = request.since(since.as_str());
        }
        if let Some(until) = &self.until {
            request = request.until(until.as_str());
        }
        let operations = request.send().await?.into_inner();
        operations
            .into_iter()
            .map(OperationInfo::try_from)
            .collect()
    }
}

impl TryFrom<types::OperationSummary> for OperationInfo {
    type Error = Error;

    /// # Errors
    /// [`Error::Protocol`] if the record has no UUID, kind, status or time.
    fn try_from(record: types::OperationSummary) -> Result<Self, Error> {
        let missing = |what: &str| {
            Error::Protocol(format!("the record of an operation has no {what}").into())
        };
        Ok(Self {
            id: record.uuid.ok_or_else(|| missing("uuid"))?,
            kind: record.kind.ok_or_else(|| missing("kind"))?,
            status: record.status.ok_or_else(|| missing("status"))?,
            image: record.image_uuid,
            result_image: record.result_image_uuid,
            error: record.error,
            created_at: record.created_at.ok_or_else(|| missing("created_at"))?,
        })
    }
}

impl Stream for Operations {
    type Item = Result<OperationInfo, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Self {
            client,
            filter,
            pages,
        } = &mut *self;
        pages.poll_next(cx, |offset| {
            filter.clone().page(client.clone(), offset).boxed()
        })
    }
}

impl Files {
    /// Only files uploaded at or after this time.
    pub fn since(mut self, time: impl Into<Time>) -> Self {
        self.filter.since = Some(time.into());
        self
    }

    /// Only files uploaded at or before this time.
    pub fn until(mut self, time: impl Into<Time>) -> Self {
        self.filter.until = Some(time.into());
        self
    }
}

impl FileFilter {
    async fn page(self, client: Client, offset: u64) -> Result<Vec<FileInfo>, Error> {
        let mut request = client.list_files().limit(PAGE).offset(offset);
        if let Some(since) = &self.since {
            request = request.since(since.as_str());
        }
        if let Some(until) = &self.until {
            request = request.until(until.as_str());
        }
        let files = request.send().await?.into_inner().files;
        Ok(files.into_iter().map(FileInfo::from).collect())
    }
}

impl From<types::File> for FileInfo {
    fn from(file: types::File) -> Self {
        Self {
            uuid: file.uuid,
            sha256: file.sha256,
            size: u64::try_from(file.size).unwrap_or_default(),
            created_at: file.created_at,
        }
    }
}

impl Stream for Files {
    type Item = Result<FileInfo, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Self {
            client,
            filter,
            pages,
        } = &mut *self;
        pages.poll_next(cx, |offset| {
            filter.clone().page(client.clone(), offset).boxed()
        })
    }
}

impl Entry for ImageInfo {
    fn id(&self) -> Uuid {
        self.uuid
    }
}

impl Entry for OperationInfo {
    fn id(&self) -> Uuid {
        self.id
    }
}

impl Entry for FileInfo {
    fn id(&self) -> Uuid {
        self.uuid
    }
}

list!(Images, ImageInfo);
list!(Operations, OperationInfo);
list!(Files, FileInfo);
