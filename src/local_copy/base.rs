//! The common base of an image and a local directory: an image, or the sent files.

use std::collections::HashMap;
use std::path::Path;

use contree_diff::{Digest, MAX_TEXT_BYTES, NodeKind};
use uuid::Uuid;

use super::tree::{Entry, MODE_BITS, Tree, tree_of};
use crate::client::blocking;
use crate::types::{InstanceFile, InstanceSpawnRequest};
use crate::{Client, Error, ImageRef};

/// The path of a sent file in the sandbox that reads it.
const READ_AT: &str = "/.contree-merge-base";
/// The mode of directories that a backend makes for the files in them.
const IMPLIED_MODE: u32 = 0o755;

/// The common base of an image and a local directory.
#[derive(Clone, Debug)]
pub(crate) enum Base {
    /// The files of an image.
    Image(Uuid),
    /// The files that were sent from the directory.
    Sent {
        entries: Vec<SentEntry>,
        /// The image on which it was placed.
        placed_on: Option<Uuid>,
        /// The paths below the directory that were removed before.
        removed: Vec<String>,
        /// Whether the permissions were sent as they were, and not only those to execute.
        has_exact_modes: bool,
    },
}

/// A file, a link or a directory that was sent.
#[derive(Clone, Debug)]
pub(crate) struct SentEntry {
    /// The path below the directory.
    pub(crate) path: String,
    pub(crate) kind: SentKind,
    /// The permission bits in the sandbox.
    pub(crate) mode: u32,
}

/// The type and content of a sent entry.
#[derive(Clone, Debug)]
pub(crate) enum SentKind {
    File {
        sha256: String,
        /// The upload, if the backend is known to store it.
        upload: Option<Uuid>,
    },
    Directory,
    Symlink {
        target: String,
    },
}

/// The files of a base.
pub(super) struct BaseFiles {
    pub(super) tree: Tree,
    pub(super) has_exact_modes: bool,
    /// The image with the files that were not sent.
    image: Option<Uuid>,
    /// The uploads of sent files.
    uploads: HashMap<Vec<u8>, Option<Uuid>>,
}

impl Base {
    /// Reads the files below a path.
    pub(super) async fn read(self, client: &Client, path: &Path) -> Result<BaseFiles, Error> {
        match self {
            Self::Image(image) => Ok(BaseFiles {
                tree: read_tree(client, image, path).await?,
                has_exact_modes: true,
                image: Some(image),
                uploads: HashMap::new(),
            }),
            Self::Sent {
                entries,
                placed_on,
                removed,
                has_exact_modes,
            } => {
                let tree = match placed_on {
                    Some(image) => read_tree(client, image, path).await,
                    None => Ok(Tree::new()),
                };
                let mut files = BaseFiles {
                    tree: match tree {
                        // The image may have been deleted since.
                        Err(error) if error.is_not_found() => Tree::new(),
                        tree => tree?,
                    },
                    has_exact_modes,
                    image: placed_on,
                    uploads: HashMap::new(),
                };
                for path in removed {
                    files.remove(path.as_bytes());
                }
                for entry in entries {
                    files.add(entry)?;
                }
                Ok(files)
            }
        }
    }
}

async fn read_tree(client: &Client, image: Uuid, path: &Path) -> Result<Tree, Error> {
    let Some(index) = client.index(image, path).await? else {
        return Ok(Tree::new());
    };
    blocking(move || tree_of(index).map_err(Error::other)).await
}

impl BaseFiles {
    /// Removes a path and all paths below it.
    fn remove(&mut self, path: &[u8]) {
        let is_below = |found: &[u8]| {
            let rest = found.strip_prefix(path);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
        };
        let first = self.tree.range(path.to_vec()..);
        let gone: Vec<Vec<u8>> = first
            .map(|(found, _)| found)
            .take_while(|found| found.starts_with(path))
            .filter(|found| is_below(found))
            .cloned()
            .collect();
        for path in gone {
            self.tree.remove(&path);
        }
    }

    fn add(&mut self, sent: SentEntry) -> Result<(), Error> {
        let path = sent.path.into_bytes();
        let mode = sent.mode & MODE_BITS;
        let mut entry = Entry::directory(Some(mode));
        match sent.kind {
            SentKind::Directory => {}
            SentKind::Symlink { target } => {
                entry.kind = NodeKind::Symlink;
                entry.mode = None;
                entry.target = Some(target.into_bytes());
            }
            SentKind::File { sha256, upload } => {
                entry.kind = NodeKind::File;
                entry.digest = Some(digest(&sha256).ok_or_else(|| {
                    Error::InvalidArgument(format!("`{sha256}` is not a SHA-256 in hexadecimal"))
                })?);
                self.uploads.insert(path.clone(), upload);
            }
        }
        let implied = self.has_exact_modes.then_some(IMPLIED_MODE);
        let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
        for (end, _) in ends {
            let parent = self.tree.entry(path[..end].to_vec());
            let parent = parent.or_insert_with(|| Entry::directory(implied));
            if !parent.is_directory() {
                *parent = Entry::directory(implied);
            }
        }
        self.tree.insert(path, entry);
        Ok(())
    }

    /// Reads the content of a file, for a merge. `None` if it is not text, too large, or no longer
    /// stored. `image` is any image that has the program `cat`.
    pub(super) async fn content(
        &self,
        client: &Client,
        image: Uuid,
        root: &Path,
        path: &[u8],
    ) -> Result<Option<Vec<u8>>, Error> {
        match (self.uploads.get(path), self.image) {
            (Some(Some(upload)), _) => sent_content(client, image, *upload).await,
            (None, Some(image)) => image_content(client, image, root, path).await,
            _ => Ok(None),
        }
    }
}

/// Reads a text of an image. `None` if it is too large or its name is not UTF-8.
pub(super) async fn image_content(
    client: &Client,
    image: Uuid,
    root: &Path,
    path: &[u8],
) -> Result<Option<Vec<u8>>, Error> {
    let Ok(path) = std::str::from_utf8(path) else {
        return Ok(None);
    };
    let path = root.join(path);
    let mut content = client.read(image, &path.to_string_lossy()).await?;
    let mut bytes = Vec::new();
    while let Some(chunk) = futures_util::StreamExt::next(&mut content).await {
        bytes.extend_from_slice(&chunk?);
        if bytes.len() as u64 > MAX_TEXT_BYTES {
            return Ok(None);
        }
    }
    Ok(Some(bytes))
}

/// Reads an upload. The API returns no uploads, so a sandbox prints it.
async fn sent_content(
    client: &Client,
    image: Uuid,
    upload: Uuid,
) -> Result<Option<Vec<u8>>, Error> {
    let file = InstanceFile {
        uuid: Some(upload),
        mode: None,
        uid: None,
        gid: None,
        x_kind: None,
        x_target: None,
    };
    let request = InstanceSpawnRequest::builder()
        .image(ImageRef::Uuid(image))
        .command("cat")
        .args(vec![READ_AT.to_owned()])
        .shell(false)
        .disposable(true)
        .files(std::collections::BTreeMap::from([(
            READ_AT.to_owned(),
            file,
        )]))
        .truncate_output_at(i64::try_from(MAX_TEXT_BYTES).ok());
    let request = InstanceSpawnRequest::try_from(request).map_err(Error::other)?;
    let outcome = client.run(request).await?;
    let is_whole = outcome.exit_code == Some(0) && !outcome.stdout.truncated;
    Ok(is_whole.then_some(outcome.stdout.bytes))
}

/// Parses a SHA-256 in hexadecimal.
fn digest(text: &str) -> Option<Digest> {
    let mut digest = Digest::default();
    if text.len() != digest.len() * 2 || !text.is_ascii() {
        return None;
    }
    for (at, byte) in digest.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[at * 2..at * 2 + 2], 16).ok()?;
    }
    Some(digest)
}
