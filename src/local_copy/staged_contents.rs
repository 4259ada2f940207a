//! Copies the contents of changed files from an image to a staging directory.

use std::collections::HashSet;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use contree_diff::Digest;
use tar::EntryType;
use uuid::Uuid;

use super::plan::{Action, ActionKind};
use super::staging::Staging;
use super::tree::Tree;
use crate::client::relative;
use crate::{Client, Error};

/// Copies the contents that are needed from an image to the staging directory, by their digests.
pub(super) async fn stage(
    client: &Client,
    image: Uuid,
    path: &Path,
    theirs: &Arc<Tree>,
    actions: &[Action],
    staging: Staging,
) -> Result<Staging, Error> {
    let mut wanted: HashSet<Digest> = actions
        .iter()
        .filter_map(|action| match &action.kind {
            ActionKind::WriteFile { digest, .. } => Some(*digest),
            _ => None,
        })
        .collect();
    if wanted.is_empty() {
        return Ok(staging);
    }
    let theirs = Arc::clone(theirs);
    let shown = staging.path().to_owned();
    let read = client.read_archive(image, path, move |archive, root| {
        extract(archive, root, &theirs, &mut wanted, &staging)?;
        match wanted.is_empty() {
            true => Ok(staging),
            false => Err(io::Error::other(
                "the image lacks a file that it had before",
            )),
        }
    });
    read.await?.map_err(Error::io(&shown))
}

fn extract(
    archive: impl Read,
    root: &[u8],
    theirs: &Tree,
    wanted: &mut HashSet<Digest>,
    staging: &Staging,
) -> io::Result<()> {
    let mut archive = tar::Archive::new(archive);
    for entry in archive.entries()? {
        let mut entry = entry?;
        let is_file = matches!(
            entry.header().entry_type(),
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse
        );
        let path = relative(&entry.path_bytes(), root);
        let digest = theirs.get(&path).and_then(|entry| entry.digest);
        if let Some(digest) = digest.filter(|_| is_file)
            && wanted.remove(&digest)
        {
            let mut file = staging.tree().create_file(&name_of(&digest))?;
            io::copy(&mut entry, &mut file)?;
            if wanted.is_empty() {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// The name of a content in the staging directory.
pub(super) fn name_of(digest: &Digest) -> Vec<u8> {
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    hex.into_bytes()
}
