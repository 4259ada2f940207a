//! Files of an image, as the sources of `COPY --from`.

use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::archive;
use super::entry::{EntryKind, FoundSource, matching};
use super::error::{InstructionError, StepError, file};
use crate::Client;
use crate::cli::verbs::existing_directories::is_no_directory;
use crate::dockerfile::{is_pattern, join};

/// The most links that are followed to a file.
const MAX_LINKS: usize = 16;

/// Finds the files of a source in an image, and unpacks them below a temporary directory.
///
/// # Errors
/// If nothing matches, or the backend refuses.
pub(super) async fn find(
    client: &Client,
    image: Uuid,
    source: &str,
    temporary: &Path,
) -> Result<Vec<FoundSource>, StepError> {
    let path = join("/", source);
    if !is_pattern(&path) {
        return Ok(vec![found(client, image, &path, temporary).await?]);
    }
    let files = client.image(image).fs();
    let list = async |directory: &str| match files.list(format!("/{directory}")).await {
        Ok(entries) => Ok(entries.into_iter().map(|entry| entry.name).collect()),
        Err(error) if is_no_directory(&error) => Ok(Vec::new()),
        Err(error) => Err(error.into()),
    };
    let mut sources = Vec::new();
    for path in matching(&path, list).await? {
        sources.push(found(client, image, &format!("/{path}"), temporary).await?);
    }
    match sources.is_empty() {
        true => Err(InstructionError::NotInImage(source.to_owned()).into()),
        false => Ok(sources),
    }
}

/// The file or directory at an absolute path.
async fn found(
    client: &Client,
    image: Uuid,
    path: &str,
    temporary: &Path,
) -> Result<FoundSource, StepError> {
    let name = path.rsplit('/').next().unwrap_or(path).to_owned();
    let mut target = path.to_owned();
    for _ in 0..MAX_LINKS {
        let prefix = target.rsplit('/').next().unwrap_or_default().to_owned();
        let directory = temporary.to_owned();
        let unpack = move |reader, _: &[u8]| archive::unpack(reader, &prefix, &directory, false);
        let archived = PathBuf::from(&target);
        let entries = match client.read_archive(image, &archived, unpack).await {
            Ok(entries) => entries.map_err(file(temporary))?,
            Err(error) if error.is_not_found() => {
                return Err(InstructionError::NotInImage(path.to_owned()).into());
            }
            Err(error) => return Err(error.into()),
        };
        let kind = entries
            .iter()
            .find(|entry| entry.path.is_empty())
            .map(|entry| entry.kind.clone());
        match kind {
            // A link to the source itself is followed.
            Some(EntryKind::Symlink(link)) => {
                let parent = target.rsplit_once('/').map_or("", |(parent, _)| parent);
                target = join(parent, &link);
            }
            Some(kind) => {
                return Ok(FoundSource {
                    name,
                    is_directory: matches!(kind, EntryKind::Directory),
                    entries,
                });
            }
            // The archive of the root need not have an entry for it.
            None if !entries.is_empty() || target == "/" => {
                return Ok(FoundSource {
                    name,
                    is_directory: true,
                    entries,
                });
            }
            None => break,
        }
    }
    Err(InstructionError::NotInImage(path.to_owned()).into())
}
