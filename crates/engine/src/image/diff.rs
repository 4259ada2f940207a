//! Compares two images.
//!
//! A helper in the user namespace finds the files that differ. It reads only the layers above the
//! nearest common one (see [`contree_sandbox::Comparison`]).

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use contree_diff::{
    Change, Content, Digest, MAX_CHANGES, MAX_PATCH_BYTES, MAX_TEXT_BYTES, Node, NodeKind, Side,
    needs_content, pair_renames, sha256, sha256_of, write_patch,
};
use contree_sandbox::{
    ComparedLayers, ComparedSide, Comparison, Difference, Entry, EntryKind, LayerId, ViewError,
};
use rusqlite::Connection;

use crate::engine::Engine;
use crate::rows::layers;
use contree_sqlite::DatabaseError;

/// The error of a comparison.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DiffError {
    /// The images differ in too many files.
    #[error("more than {MAX_CHANGES} files differ; give a `path` to compare a part of the images")]
    TooMany,
    /// A file cannot be read.
    #[error(transparent)]
    View(#[from] ViewError),
    /// A file cannot be read.
    #[error(transparent)]
    File(#[from] std::io::Error),
    /// The records cannot be read.
    #[error(transparent)]
    Records(#[from] DatabaseError),
}

/// A part of the differences between two images.
#[derive(Default)]
pub(crate) struct DiffPage {
    pub(crate) changes: Vec<Change>,
    /// The number of changes of all pages.
    pub(crate) count: usize,
    /// True if more changes follow.
    pub(crate) more: bool,
    /// The changes of this page as a patch, if it was requested.
    pub(crate) patch: Option<String>,
}

/// The part of a comparison that a request asks for.
pub(crate) struct DiffRequest {
    /// The top layer of the image with the changes.
    pub(crate) after: u64,
    /// The top layer of the base.
    pub(crate) before: u64,
    /// The file or directory to compare.
    pub(crate) path: PathBuf,
    pub(crate) patch: bool,
    pub(crate) limit: usize,
    pub(crate) offset: usize,
}

/// Compares two images. Blocks.
pub(crate) fn diff(engine: &Engine, request: &DiffRequest) -> Result<DiffPage, DiffError> {
    let layers = engine
        .rows
        .read(|c| compared_layers(c, request.after, request.before))?;
    if layers.after.is_empty() && layers.before.is_empty() && !request.has_path() {
        // The images differ in their settings alone.
        return Ok(DiffPage {
            patch: request.patch.then(String::new),
            ..DiffPage::default()
        });
    }
    let mut comparison = Comparison::start(&engine.store, &layers, &request.path)?;
    let mut changes = Vec::new();
    while let Some(differences) = comparison.next_batch()? {
        for difference in differences {
            changes.extend(to_change(difference));
            if changes.len() > MAX_CHANGES {
                return Err(DiffError::TooMany);
            }
        }
    }
    pair_renames(&mut changes, |side, path| {
        digest(open(&comparison, side, path)?)
    })?;
    let count = changes.len();
    let start = request.offset.min(count);
    let end = start.saturating_add(request.limit).min(count);
    let mut page: Vec<Change> = changes.drain(start..end).collect();
    let patch = request.patch.then(|| {
        let name = request.path.file_name().unwrap_or_default().as_bytes();
        patch(&comparison, name, &mut page)
    });
    let patch = patch.transpose()?;
    Ok(DiffPage {
        more: start + page.len() < count,
        changes: page,
        count,
        patch,
    })
}

impl DiffRequest {
    fn has_path(&self) -> bool {
        self.path != Path::new("/")
    }
}

/// Splits the chains of two images at their nearest common layer.
///
/// A squashed layer replaces several layers of one side if it stands for no layer below the common
/// one. Below it, the chain is the one that is mounted.
fn compared_layers(
    c: &Connection,
    after: u64,
    before: u64,
) -> Result<ComparedLayers, DatabaseError> {
    let (after, before) = (layers::ancestors(c, after)?, layers::ancestors(c, before)?);
    let places: HashMap<u64, usize> = before
        .iter()
        .enumerate()
        .map(|(place, layer)| (*layer, place))
        .collect();
    let nearest = after.iter().position(|layer| places.contains_key(layer));
    let common = nearest.map(|place| after[place]);
    let after_end = nearest.unwrap_or(after.len());
    let before_end = common.map_or(before.len(), |layer| places[&layer]);
    let common_layers = match common {
        Some(layer) => layers::chain(c, layer)?
            .iter()
            .map(|layer| LayerId(layer.id))
            .collect(),
        None => Vec::new(),
    };
    Ok(ComparedLayers {
        after: replace_squashed(c, &after[..after_end], common)?,
        before: replace_squashed(c, &before[..before_end], common)?,
        common: common_layers,
    })
}

/// Replaces layers by squashed layers that stand for them, where these end above `common` or there.
fn replace_squashed(
    c: &Connection,
    chain: &[u64],
    common: Option<u64>,
) -> Result<Vec<LayerId>, DatabaseError> {
    let places: HashMap<u64, usize> = chain
        .iter()
        .enumerate()
        .map(|(place, layer)| (*layer, place))
        .collect();
    let mut replaced = Vec::new();
    let mut place = 0;
    while let Some(&layer) = chain.get(place) {
        let squashed = layers::squashed(c, layer)?;
        let skip = squashed.and_then(|(id, parent)| {
            let end = if parent == common {
                Some(chain.len())
            } else {
                parent.and_then(|parent| places.get(&parent).copied())
            };
            Some((id, end?))
        });
        match skip {
            Some((id, end)) if end > place => {
                replaced.push(LayerId(id));
                place = end;
            }
            _ => {
                replaced.push(LayerId(layer));
                place += 1;
            }
        }
    }
    Ok(replaced)
}

/// The change that a difference is, if it counts.
fn to_change(difference: Difference) -> Option<Change> {
    let path = difference.path.as_bytes();
    let before = difference.before.as_ref().and_then(to_node);
    let after = difference.after.as_ref().and_then(to_node);
    let same = difference.same_content;
    let changed = contree_diff::compare(path, before, after, || {
        Ok::<_, std::convert::Infallible>(same)
    });
    match changed {
        Ok(change) => change,
        Err(never) => match never {},
    }
}

fn to_node(entry: &Entry) -> Option<Node> {
    let kind = match entry.kind {
        EntryKind::File => NodeKind::File,
        EntryKind::Directory => NodeKind::Directory,
        EntryKind::Symlink => NodeKind::Symlink,
        EntryKind::Fifo => NodeKind::Fifo,
        _ => return None,
    };
    let is_file = kind == NodeKind::File;
    Some(Node {
        kind,
        mode: entry.mode & 0o7777,
        uid: entry.uid,
        gid: entry.gid,
        size: if is_file { entry.size } else { 0 },
        target: entry
            .target
            .as_ref()
            .map(|target| target.as_bytes().to_vec()),
    })
}

fn open(comparison: &Comparison, side: Side, path: &[u8]) -> Result<File, DiffError> {
    let side = match side {
        Side::Before => ComparedSide::Before,
        Side::After => ComparedSide::After,
    };
    let path = Path::new(OsStr::from_bytes(path));
    Ok(comparison.open_file(side, path)?)
}

fn digest(mut file: File) -> Result<Digest, DiffError> {
    Ok(sha256_of(&mut file)?.0)
}

/// Writes the changes of a page as a patch. A large patch ends the page early.
fn patch(
    comparison: &Comparison,
    root_name: &[u8],
    page: &mut Vec<Change>,
) -> Result<String, DiffError> {
    let mut patch = String::new();
    for at in 0..page.len() {
        let change = &page[at];
        let written = patch.len();
        let before = content(comparison, Side::Before, change)?;
        let after = content(comparison, Side::After, change)?;
        write_patch(
            &mut patch,
            change,
            root_name,
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
fn content(
    comparison: &Comparison,
    side: Side,
    change: &Change,
) -> Result<Option<Content>, DiffError> {
    let node = match side {
        Side::Before => &change.before,
        Side::After => &change.after,
    };
    let Some(node) = node.as_ref().filter(|_| needs_content(change, side)) else {
        return Ok(None);
    };
    let mut file = open(comparison, side, &change.path)?;
    if node.size > MAX_TEXT_BYTES {
        return Ok(Some(Content::Binary {
            size: node.size,
            digest: digest(file)?,
        }));
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(Some(Content::new(bytes, sha256)))
}
