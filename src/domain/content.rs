//! Content that a command gets: its standard input, and files in its sandbox.

use std::{
    fmt,
    io::{Read as _, Seek as _},
    path::{Path, PathBuf},
};

use bytes::Bytes;
use uuid::Uuid;

use crate::{Client, Error, client::blocking, types};

/// Bytes, or a local file that has them.
enum Source {
    Bytes(Bytes),
    Path(PathBuf),
    File(std::fs::File),
    Tokio(tokio::fs::File),
}

impl Source {
    /// Reads all bytes. A file is read from its current position.
    async fn read(self) -> Result<Bytes, Error> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            Self::Path(path) => {
                let read = tokio::fs::read(&path).await;
                read.map(Bytes::from).map_err(Error::io(path))
            }
            Self::File(file) => blocking(move || read_rest(file)).await,
            Self::Tokio(file) => {
                let file = file.into_std().await;
                blocking(move || read_rest(file)).await
            }
        }
    }

    /// Moves an open file to its beginning.
    async fn rewound(self) -> Result<Self, Error> {
        let mut file = match self {
            Self::File(file) => file,
            Self::Tokio(file) => file.into_std().await,
            source => return Ok(source),
        };
        file.rewind().map_err(Error::io("an open file"))?;
        Ok(Self::File(file))
    }

    fn describe(&self) -> String {
        match self {
            Self::Bytes(bytes) => format!("{} bytes", bytes.len()),
            Self::Path(path) => path.display().to_string(),
            Self::File(_) | Self::Tokio(_) => "an open file".to_owned(),
        }
    }
}

fn read_rest(mut file: std::fs::File) -> Result<Bytes, Error> {
    let mut bytes = Vec::new();
    let read = file.read_to_end(&mut bytes);
    read.map_err(Error::io("an open file"))?;
    Ok(bytes.into())
}

/// The standard input of a command: text, bytes, a local path, or an open file.
///
/// A file is read to its end before the command starts. For input that comes while the command
/// runs, use [`stdin_open`](super::Command::stdin_open).
pub struct Input(Source);

impl Input {
    pub(super) async fn read(self) -> Result<Bytes, Error> {
        self.0.read().await
    }
}

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Input").field(&self.0.describe()).finish()
    }
}

/// The content of a file in a sandbox: text, bytes, a local path, an open file, or an upload.
///
/// An open file is read from its beginning.
///
/// ```
/// use contree::Content;
///
/// let script = Content::from("#!/bin/sh\necho hi\n").mode(0o755);
/// let data = Content::from(std::path::Path::new("data.csv"));
/// # drop((script, data));
/// ```
pub struct Content {
    source: ContentSource,
    mode: Option<u32>,
    owner: Option<(u32, u32)>,
}

enum ContentSource {
    Local(Source),
    Upload(Uuid),
    /// A directory. Entries that it has already stay in it.
    #[cfg(feature = "mcp")]
    Directory,
    /// A symbolic link with this target.
    #[cfg(feature = "mcp")]
    Symlink(String),
    /// Nothing: a file, a link or an empty directory is removed.
    #[cfg(feature = "mcp")]
    Absent,
}

impl Content {
    /// A directory. Only a backend with the extension `files` can make one.
    #[cfg(feature = "mcp")]
    pub(crate) fn directory() -> Self {
        Self {
            source: ContentSource::Directory,
            mode: None,
            owner: None,
        }
    }

    /// A symbolic link. Only a backend with the extension `files` can make one.
    #[cfg(feature = "mcp")]
    pub(crate) fn symlink(target: impl Into<String>) -> Self {
        Self {
            source: ContentSource::Symlink(target.into()),
            mode: None,
            owner: None,
        }
    }

    /// No file: what the image has at the path is removed, unless it is a directory with entries.
    /// Only a backend with the extension `files` can do so.
    #[cfg(feature = "mcp")]
    pub(crate) fn absent() -> Self {
        Self {
            source: ContentSource::Absent,
            mode: None,
            owner: None,
        }
    }

    /// Sets the permissions, such as `0o755`. The default is that of the local path, else 0644.
    #[must_use]
    pub fn mode(self, mode: u32) -> Self {
        Self {
            mode: Some(mode),
            ..self
        }
    }

    /// Sets the user and the group; the default is 0 and 0.
    #[must_use]
    pub fn owner(self, uid: u32, gid: u32) -> Self {
        Self {
            owner: Some((uid, gid)),
            ..self
        }
    }

    /// Uploads the content, and returns the file as a request takes it.
    pub(super) async fn upload(self, client: &Client) -> Result<types::InstanceFile, Error> {
        let mut mode = self.mode;
        #[cfg_attr(
            not(feature = "mcp"),
            expect(unused_mut, reason = "only files are placed")
        )]
        let (mut x_kind, mut x_target) = (None, None);
        let uuid = match self.source {
            ContentSource::Upload(uuid) => Some(uuid),
            #[cfg(feature = "mcp")]
            ContentSource::Directory => {
                x_kind = Some(types::InstanceFileXKind::Directory);
                None
            }
            #[cfg(feature = "mcp")]
            ContentSource::Symlink(target) => {
                x_kind = Some(types::InstanceFileXKind::Symlink);
                x_target = Some(target);
                None
            }
            #[cfg(feature = "mcp")]
            ContentSource::Absent => {
                x_kind = Some(types::InstanceFileXKind::Absent);
                None
            }
            ContentSource::Local(Source::Path(path)) => {
                if mode.is_none() && is_executable(&path).await {
                    mode = Some(0o755);
                }
                Some(client.upload_path(&path).await?.uuid)
            }
            ContentSource::Local(source) => {
                let bytes = source.rewound().await?.read().await?;
                Some(client.upload_bytes(bytes).await?.uuid)
            }
        };
        Ok(types::InstanceFile {
            x_kind,
            x_target,
            uuid,
            mode: mode.map(|mode| format!("{:04o}", mode & 0o7777)),
            uid: self.owner.map(|(uid, _)| uid.into()),
            gid: self.owner.map(|(_, gid)| gid.into()),
        })
    }
}

#[cfg(unix)]
async fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    let metadata = tokio::fs::metadata(path).await;
    metadata.is_ok_and(|metadata| metadata.permissions().mode() & 0o111 != 0)
}

#[cfg(not(unix))]
async fn is_executable(_: &Path) -> bool {
    false
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let source = match &self.source {
            ContentSource::Local(source) => source.describe(),
            ContentSource::Upload(uuid) => uuid.to_string(),
            #[cfg(feature = "mcp")]
            ContentSource::Directory => "a directory".to_owned(),
            #[cfg(feature = "mcp")]
            ContentSource::Symlink(target) => format!("a link to {target}"),
            #[cfg(feature = "mcp")]
            ContentSource::Absent => "nothing".to_owned(),
        };
        f.debug_struct("Content")
            .field("source", &source)
            .field("mode", &self.mode)
            .finish_non_exhaustive()
    }
}

impl From<Source> for Input {
    fn from(source: Source) -> Self {
        Self(source)
    }
}

impl From<Source> for Content {
    fn from(source: Source) -> Self {
        Self {
            source: ContentSource::Local(source),
            mode: None,
            owner: None,
        }
    }
}

macro_rules! sources {
    ($($type:ty => |$value:ident| $source:expr;)+) => {
        $(
            impl From<$type> for Input {
                fn from($value: $type) -> Self {
                    Self::from($source)
                }
            }

            impl From<$type> for Content {
                fn from($value: $type) -> Self {
                    Self::from($source)
                }
            }
        )+
    };
}

sources! {
    &str => |text| Source::Bytes(Bytes::copy_from_slice(text.as_bytes()));
    &String => |text| Source::Bytes(Bytes::copy_from_slice(text.as_bytes()));
    String => |text| Source::Bytes(text.into());
    &[u8] => |bytes| Source::Bytes(Bytes::copy_from_slice(bytes));
    Vec<u8> => |bytes| Source::Bytes(bytes.into());
    &Vec<u8> => |bytes| Source::Bytes(Bytes::copy_from_slice(bytes));
    Bytes => |bytes| Source::Bytes(bytes);
    &Path => |path| Source::Path(path.to_owned());
    PathBuf => |path| Source::Path(path);
    &PathBuf => |path| Source::Path(path.clone());
    std::fs::File => |file| Source::File(file);
    tokio::fs::File => |file| Source::Tokio(file);
}

impl<const N: usize> From<&[u8; N]> for Input {
    fn from(bytes: &[u8; N]) -> Self {
        bytes.as_slice().into()
    }
}

impl<const N: usize> From<&[u8; N]> for Content {
    fn from(bytes: &[u8; N]) -> Self {
        bytes.as_slice().into()
    }
}

impl<const N: usize> From<[u8; N]> for Input {
    fn from(bytes: [u8; N]) -> Self {
        bytes.as_slice().into()
    }
}

impl<const N: usize> From<[u8; N]> for Content {
    fn from(bytes: [u8; N]) -> Self {
        bytes.as_slice().into()
    }
}

/// The content of an upload, by its UUID.
impl From<Uuid> for Content {
    fn from(upload: Uuid) -> Self {
        Self {
            source: ContentSource::Upload(upload),
            mode: None,
            owner: None,
        }
    }
}

impl From<&types::FileResponse> for Content {
    fn from(upload: &types::FileResponse) -> Self {
        upload.uuid.into()
    }
}

impl From<types::FileResponse> for Content {
    fn from(upload: types::FileResponse) -> Self {
        upload.uuid.into()
    }
}
