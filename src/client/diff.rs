//! Comparing two images.

use std::collections::HashMap;
use std::io;
use std::path::{Component, Path, PathBuf};

use contree_diff::{
    Change, Content, Digest, MAX_CHANGES, MAX_PATCH_BYTES, MAX_TEXT_BYTES, Node, NodeKind, Side,
    Summary, needs_content, pair_renames, sha256, write_patch,
};
use futures_util::StreamExt as _;
use uuid::Uuid;

use super::archive_index::{ArchiveIndex, Record, SortedRecords};
use super::archive_stream::{finished, unreadable};
use super::errors::api;
use crate::{Client, Error, types};

/// The part of a comparison that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiffRequest {
    /// The image to compare with. `None` stands for the one that the image was made from.
    pub base: Option<Uuid>,
    /// Absolute path of the file or directory to compare.
    pub path: String,
    /// Whether to return the changes as a patch too.
    pub patch: bool,
    /// Maximum number of changes, from 1 to 10,000.
    pub limit: u64,
    /// Number of changes to skip.
    pub offset: u64,
}

impl Default for DiffRequest {
    fn default() -> Self {
        Self {
            base: None,
            path: "/".to_owned(),
            patch: false,
            limit: 1000,
            offset: 0,
        }
    }
}

impl Client {
    /// Lists the files of an image that differ from another image, in order of their paths.
    ///
    /// A backend without this extension sends an archive of each image. They are compared with
    /// temporary files, so memory does not grow with the images.
    ///
    /// # Errors
    /// [`Error::Api`] with 404 if there is no such image or path, and with 422 if the image has no
    /// parent and the request names no base.
    pub async fn diff(
        &self,
        image: Uuid,
        request: &DiffRequest,
    ) -> Result<types::ImageDiff, Error> {
        if self.has_extension("diff").await? {
            let mut ask = self
                .get_image_diff()
                .image_uuid(image)
                .path(&request.path)
                .patch(u64::from(request.patch))
                .limit(request.limit)
                .offset(request.offset);
            if let Some(base) = request.base {
                ask = ask.base(base);
            }
            return Ok(ask.send().await?.into_inner());
        }
        self.diff_archives(image, request).await
    }

    /// Compares archives of two images.
    async fn diff_archives(
        &self,
        image: Uuid,
        request: &DiffRequest,
    ) -> Result<types::ImageDiff, Error> {
        let path = image_path(&request.path)?;
        let base = match request.base {
            Some(base) => base,
            None => self.recorded_parent(image).await?.ok_or_else(|| {
                unprocessable(format!(
                    "the image {image} was made from no other image, or its parent is unknown; give a `base` to compare it with"
                ))
            })?,
        };
        let before = self.index(base, &path).await?;
        let after = self.index(image, &path).await?;
        if before.is_none() && after.is_none() {
            return Err(api(
                http::StatusCode::NOT_FOUND,
                format!("neither image has {}", path.display()),
                None,
            ));
        }
        let (mut changes, digests) = blocking(move || {
            let mut before = before.unwrap_or_default();
            let mut after = after.unwrap_or_default();
            compare(before.sorted()?, after.sorted()?)
        })
        .await?;
        if changes.len() > MAX_CHANGES {
            return Err(unprocessable(format!(
                "more than {MAX_CHANGES} files differ; give a `path` to compare a part of the images"
            )));
        }
        let digest = |side: Side, path: &[u8]| {
            let found = digests.get(&(side, path.to_vec())).copied();
            found.ok_or_else(|| Error::Protocol("a file has no digest".to_owned().into()))
        };
        pair_renames(&mut changes, digest)?;
        let count = changes.len();
        let start = usize::try_from(request.offset)
            .unwrap_or(usize::MAX)
            .min(count);
        let limit = usize::try_from(request.limit).unwrap_or(usize::MAX);
        let end = start.saturating_add(limit).min(count);
        let mut page: Vec<Change> = changes.drain(start..end).collect();
        let patch = match request.patch {
            true => Some(
                self.patch((base, image), &path, &mut page, &digests)
                    .await?,
            ),
            false => None,
        };
        let next = start + page.len();
        let root = path.to_string_lossy();
        Ok(types::ImageDiff {
            image,
            base,
            changes: page
                .iter()
                .filter_map(|change| Summary::of(&root, change))
                .map(Into::into)
                .collect(),
            count: count as u64,
            next: (next < count).then_some(next as u64),
            patch,
        })
    }

    /// Reads the archive of a path of an image. `None` if the image has no such path.
    pub(crate) async fn index(
        &self,
        image: Uuid,
        path: &Path,
    ) -> Result<Option<ArchiveIndex>, Error> {
        match self.find_without_links(image, path).await? {
            Place::Missing => return Ok(None),
            Place::Other(record) => return Ok(Some(ArchiveIndex::of(record))),
            Place::Archived => {}
        }
        let index = self.read_archive(image, path, ArchiveIndex::read).await?;
        Ok(Some(index.map_err(unreadable)?))
    }

    /// Finds the entry at a path, without following symbolic links.
    async fn find_without_links(&self, image: Uuid, path: &Path) -> Result<Place, Error> {
        let mut parent = PathBuf::from("/");
        let names: Vec<_> = path
            .components()
            .filter(|component| matches!(component, Component::Normal(_)))
            .collect();
        for (at, name) in names.iter().enumerate() {
            let ask = self.inspect_image_file().image_uuid(image);
            let listed = match ask.path(parent.to_string_lossy()).send().await {
                Ok(listed) => listed.into_inner().files,
                Err(error) => {
                    let error = Error::from(error);
                    let absent = error.is_not_found() && at > 0;
                    return if absent {
                        Ok(Place::Missing)
                    } else {
                        Err(error)
                    };
                }
            };
            let name = name.as_os_str();
            let found = listed.into_iter().find(|item| item.path.as_str() == name);
            let Some(item) = found else {
                return Ok(Place::Missing);
            };
            let is_last = at + 1 == names.len();
            if item.is_symlink && !is_last {
                return Err(unprocessable(format!(
                    "{} leads through a symbolic link, which a comparison does not follow; give the path without links",
                    path.display()
                )));
            }
            let kind = match (item.is_symlink, item.is_fifo) {
                (true, _) => Some(NodeKind::Symlink),
                (_, true) => Some(NodeKind::Fifo),
                _ => None,
            };
            if let Some(kind) = kind {
                return Ok(match is_last {
                    true => Place::Other(item_record(&item, kind)),
                    false => Place::Missing,
                });
            }
            if !(item.is_dir || item.is_regular && is_last) {
                return Ok(Place::Missing);
            }
            parent.push(name);
        }
        Ok(Place::Archived)
    }

    /// Writes the changes of a page as a patch. A large patch ends the page early.
    async fn patch(
        &self,
        images: (Uuid, Uuid),
        path: &Path,
        page: &mut Vec<Change>,
        digests: &HashMap<(Side, Vec<u8>), Digest>,
    ) -> Result<String, Error> {
        let root_name = path.file_name().unwrap_or_default();
        let mut patch = String::new();
        for at in 0..page.len() {
            let change = &page[at];
            let written = patch.len();
            let before = self
                .content(images.0, path, Side::Before, change, digests)
                .await?;
            let after = self
                .content(images.1, path, Side::After, change, digests)
                .await?;
            write_patch(
                &mut patch,
                change,
                root_name.as_encoded_bytes(),
                before.as_ref(),
                after.as_ref(),
            );
            if patch.len() > MAX_PATCH_BYTES && at > 0 {
                patch.truncate(written);
                page.truncate(at);
                break;
            }
        }
        Ok(patch)
    }

    /// The content of one side that the patch of a change shows.
    async fn content(
        &self,
        image: Uuid,
        root: &Path,
        side: Side,
        change: &Change,
        digests: &HashMap<(Side, Vec<u8>), Digest>,
    ) -> Result<Option<Content>, Error> {
        let node = match side {
            Side::Before => &change.before,
            Side::After => &change.after,
        };
        let Some(node) = node.as_ref().filter(|_| needs_content(change, side)) else {
            return Ok(None);
        };
        let digest = digests.get(&(side, change.path.clone())).copied();
        let digest = digest.unwrap_or_default();
        let size = node.size;
        // The API names files by text.
        let Ok(path) = std::str::from_utf8(&change.path) else {
            return Ok(Some(Content::Binary { size, digest }));
        };
        if size > MAX_TEXT_BYTES {
            return Ok(Some(Content::Binary { size, digest }));
        }
        let path = match path {
            "" => root.to_owned(),
            path => root.join(path),
        };
        let mut content = self.read(image, &path.to_string_lossy()).await?;
        let mut bytes = Vec::new();
        while let Some(chunk) = content.next().await {
            bytes.extend_from_slice(&chunk?);
        }
        Ok(Some(Content::new(bytes, sha256)))
    }
}

/// The kind of file at a path of an image.
enum Place {
    Missing,
    /// A file or directory, which has an archive.
    Archived,
    /// A file without an archive.
    Other(Record),
}

fn item_record(item: &types::FileItem, kind: NodeKind) -> Record {
    let number = |number: i64| u32::try_from(number).unwrap_or_default();
    let target = (kind == NodeKind::Symlink).then(|| item.symlink_to.clone().into_bytes());
    Record {
        path: Vec::new(),
        node: Node {
            kind,
            mode: number(item.mode) & 0o7777,
            uid: number(item.uid),
            gid: number(item.gid),
            size: 0,
            target,
        },
        digest: None,
    }
}

/// Converts a text to an absolute path without `.` and `..`.
pub(crate) fn image_path(text: &str) -> Result<PathBuf, Error> {
    if text.split('/').any(|name| name == "..") || text.contains('\0') {
        return Err(Error::InvalidArgument(format!(
            "`path` cannot contain `..` or a NUL byte, as in `{}`; give the path without it",
            text.escape_debug()
        )));
    }
    Ok(Path::new("/").join(text).components().collect())
}

/// The changes of a comparison, and the digests of the files in them.
type Changes = (Vec<Change>, HashMap<(Side, Vec<u8>), Digest>);

/// Compares two sorted lists of files. It ends after one change more than is allowed.
fn compare(before: SortedRecords, after: SortedRecords) -> io::Result<Changes> {
    let (mut before, mut after) = (before.peekable(), after.peekable());
    let mut changes = Vec::new();
    let mut digests = HashMap::new();
    while changes.len() <= MAX_CHANGES {
        let order = match (before.peek(), after.peek()) {
            (None, None) => break,
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (Some(Ok(old)), Some(Ok(new))) => old.path.cmp(&new.path),
            // The error is returned below.
            (Some(_), Some(_)) => std::cmp::Ordering::Equal,
        };
        let old = order.is_le().then(|| before.next()).flatten().transpose()?;
        let new = order.is_ge().then(|| after.next()).flatten().transpose()?;
        let path = old
            .as_ref()
            .or(new.as_ref())
            .map(|record| record.path.clone());
        let path = path.unwrap_or_default();
        let digest = |record: &Option<Record>| record.as_ref().and_then(|record| record.digest);
        let (old_digest, new_digest) = (digest(&old), digest(&new));
        let node = |record: Option<Record>| record.map(|record| record.node);
        let change = contree_diff::compare(&path, node(old), node(new), || {
            Ok::<_, io::Error>(old_digest == new_digest)
        })?;
        let Some(change) = change else { continue };
        for (side, digest) in [(Side::Before, old_digest), (Side::After, new_digest)] {
            if let Some(digest) = digest {
                digests.insert((side, path.clone()), digest);
            }
        }
        changes.push(change);
    }
    Ok((changes, digests))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, Error> {
    finished(contree_tasks::blocking(work).await)?.map_err(unreadable)
}

fn unprocessable(message: String) -> Error {
    api(http::StatusCode::UNPROCESSABLE_ENTITY, message, None)
}

impl From<Summary> for types::ImageChange {
    fn from(summary: Summary) -> Self {
        Self {
            path: summary.path,
            change: summary.change.to_owned(),
            kind: summary.kind.to_owned(),
            kind_before: summary.kind_before.map(str::to_owned),
            from: summary.from,
            size_before: summary.size_before,
            size_after: summary.size_after,
            mode_before: summary.mode_before,
            mode_after: summary.mode_after,
            owner_before: summary.owner_before,
            owner_after: summary.owner_after,
        }
    }
}
