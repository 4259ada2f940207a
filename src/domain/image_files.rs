//! Reading the files of an image, which starts no sandbox.

use std::{
    fmt, io,
    path::Path,
    pin::Pin,
    task::{Context, Poll, ready},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::{Buf as _, Bytes};
use futures_util::{
    Stream, StreamExt,
    stream::{self, BoxStream},
};
use tokio::io::{AsyncRead, ReadBuf};

use super::{image::Image, output::captured_text, text::ToText};
use crate::{Error, types};

/// The files of an image.
///
/// Reading them starts no sandbox. Paths are absolute, and links never lead out of the image.
///
/// ```no_run
/// # async fn example(image: contree::Image) -> Result<(), contree::Error> {
/// let fs = image.fs();
/// println!("{}", fs.text("/etc/os-release").await?);
/// for entry in fs.list("/etc").await? {
///     println!("{} {}", entry.size, entry.name);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct ImageFiles {
    pub(super) image: Image,
}

impl Image {
    /// The files of the image.
    pub fn fs(&self) -> ImageFiles {
        ImageFiles {
            image: self.clone(),
        }
    }
}

impl ImageFiles {
    /// The content of a file. Use [`open`](Self::open) for a large one.
    ///
    /// # Errors
    /// [`Error::Api`] with 404 if there is no such file, 422 if it is not a regular one.
    pub async fn read(&self, path: impl ToText) -> Result<Bytes, Error> {
        let mut content = self.open(path).await?;
        let mut whole = Vec::new();
        while let Some(chunk) = content.chunks.next().await {
            whole.extend_from_slice(&chunk?);
        }
        Ok(whole.into())
    }

    /// The content of a text file.
    ///
    /// # Errors
    /// The errors of [`read`](Self::read), and [`Error::NotUtf8`].
    pub async fn text(&self, path: impl ToText) -> Result<String, Error> {
        captured_text(self.read(path).await?)
    }

    /// Opens a file for reading. After a broken connection, reading continues after the last byte.
    ///
    /// # Errors
    /// The errors of [`read`](Self::read).
    pub async fn open(&self, path: impl ToText) -> Result<FileReader, Error> {
        let path = path.to_text()?;
        let uuid = self.image.uuid().await?;
        let content = self.image.client().read(uuid, &path).await?;
        Ok(FileReader {
            size: content.size,
            chunks: content.boxed(),
            chunk: Bytes::new(),
        })
    }

    /// Copies a file to a local path, and returns its size in bytes; see
    /// [`Client::download`](crate::Client::download).
    ///
    /// # Errors
    /// The errors of [`read`](Self::read), and [`Error::Io`] for the local path.
    pub async fn download(
        &self,
        path: impl ToText,
        destination: impl AsRef<Path>,
    ) -> Result<u64, Error> {
        let path = path.to_text()?;
        let uuid = self.image.uuid().await?;
        let client = self.image.client();
        client
            .download(uuid, &path, destination.as_ref(), None)
            .await
    }

    /// Like [`download`](Self::download), and calls `observe` after each piece with the number of
    /// bytes so far and the size of the file, if the backend announces it.
    #[cfg(feature = "mcp")]
    pub(crate) async fn download_observed(
        &self,
        path: &str,
        destination: &Path,
        observe: impl Fn(u64, Option<u64>) + Send,
    ) -> Result<u64, Error> {
        let uuid = self.image.uuid().await?;
        let client = self.image.client();
        client
            .download_observed(uuid, path, destination, None, observe)
            .await
    }

    /// Whether there is a regular file at a path.
    ///
    /// # Errors
    /// If the backend refuses for another reason, or cannot be reached.
    pub async fn exists(&self, path: impl ToText) -> Result<bool, Error> {
        let path = path.to_text()?;
        let uuid = self.image.uuid().await?;
        let request = self.image.client().check_image_file();
        let answer = request.image_uuid(uuid).path(path).send().await;
        match answer.map_err(Error::from) {
            Ok(_) => Ok(true),
            Err(error)
                if error
                    .status()
                    .is_some_and(|status| [404, 422].contains(&status.as_u16())) =>
            {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// The entries of a directory, by name.
    ///
    /// # Errors
    /// [`Error::Api`] with 404 if there is no such directory, 422 if it is not a directory.
    pub async fn list(&self, directory: impl ToText) -> Result<Vec<FileEntry>, Error> {
        let directory = directory.to_text()?;
        let uuid = self.image.uuid().await?;
        let request = self.image.client().inspect_image_file();
        let answer = request.image_uuid(uuid).path(&directory).send().await?;
        let files = answer.into_inner().files;
        let parent = directory.trim_end_matches('/');
        let mut entries: Vec<FileEntry> = files
            .into_iter()
            .map(|file| FileEntry::new(parent, file))
            .collect();
        entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    /// A file or directory, with all that is below it, as a tar archive.
    ///
    /// # Errors
    /// [`Error::Api`] with 404 if there is no such path.
    pub async fn archive(&self, path: impl ToText) -> Result<FileReader, Error> {
        let path = path.to_text()?;
        let uuid = self.image.uuid().await?;
        let request = self.image.client().inspect_image_archive();
        let answer = request.image_uuid(uuid).path(path).send().await?;
        let bytes = answer.into_inner().into_inner();
        Ok(FileReader {
            size: None,
            chunks: bytes.map(|chunk| chunk.map_err(Error::from)).boxed(),
            chunk: Bytes::new(),
        })
    }
}

/// The content of a file or an archive. It is a reader, and a stream of chunks.
///
/// Its errors of reading have the [`Error`] as their source.
pub struct FileReader {
    size: Option<u64>,
    chunks: BoxStream<'static, Result<Bytes, Error>>,
    /// The rest of the current chunk.
    chunk: Bytes,
}

impl FileReader {
    /// The size in bytes, if the backend announces it.
    pub fn size(&self) -> Option<u64> {
        self.size
    }

    /// The next chunk; none at the end.
    pub async fn next(&mut self) -> Option<Result<Bytes, Error>> {
        StreamExt::next(self).await
    }
}

impl AsyncRead for FileReader {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.chunk.is_empty() {
            match ready!(self.chunks.poll_next_unpin(cx)) {
                Some(Ok(chunk)) => self.chunk = chunk,
                Some(Err(error)) => {
                    self.chunks = stream::empty().boxed();
                    return Poll::Ready(Err(io::Error::other(error)));
                }
                None => return Poll::Ready(Ok(())),
            }
        }
        let count = buffer.remaining().min(self.chunk.len());
        buffer.put_slice(&self.chunk[..count]);
        self.chunk.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl Stream for FileReader {
    type Item = Result<Bytes, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if !self.chunk.is_empty() {
            return Poll::Ready(Some(Ok(std::mem::take(&mut self.chunk))));
        }
        self.chunks.poll_next_unpin(cx)
    }
}

impl fmt::Debug for FileReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileReader")
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}

/// The kind of an entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link, with its target as it is written.
    Symlink(String),
    /// A named pipe.
    Pipe,
    /// A socket.
    Socket,
    /// A device, or a kind that this version does not know.
    Other,
}

/// An entry of a directory in an image.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FileEntry {
    /// The name.
    pub name: String,
    /// The absolute path.
    pub path: String,
    /// The kind.
    pub kind: FileKind,
    /// The size in bytes.
    pub size: u64,
    /// The permissions, without the kind.
    pub mode: u32,
    /// The time of the last change.
    pub modified: SystemTime,
    /// The number of the user.
    pub uid: u32,
    /// The number of the group.
    pub gid: u32,
}

impl FileEntry {
    fn new(parent: &str, file: types::FileItem) -> Self {
        let number = |value: i64| u32::try_from(value).unwrap_or_default();
        let kind = if file.is_regular {
            FileKind::File
        } else if file.is_dir {
            FileKind::Directory
        } else if file.is_symlink {
            FileKind::Symlink(file.symlink_to)
        } else if file.is_fifo {
            FileKind::Pipe
        } else if file.is_socket {
            FileKind::Socket
        } else {
            FileKind::Other
        };
        let modified = Duration::from_secs(file.mtime.unsigned_abs());
        let modified = if file.mtime < 0 {
            UNIX_EPOCH.checked_sub(modified)
        } else {
            UNIX_EPOCH.checked_add(modified)
        };
        Self {
            path: format!("{parent}/{}", file.path),
            name: file.path,
            kind,
            size: u64::try_from(file.size).unwrap_or_default(),
            mode: number(file.mode & 0o7777),
            modified: modified.unwrap_or(UNIX_EPOCH),
            uid: number(file.uid),
            gid: number(file.gid),
        }
    }

    /// Whether it is a regular file.
    pub fn is_file(&self) -> bool {
        self.kind == FileKind::File
    }

    /// Whether it is a directory.
    pub fn is_dir(&self) -> bool {
        self.kind == FileKind::Directory
    }
}
