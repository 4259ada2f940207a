//! The permissions of a file that `download` saves.

use uuid::Uuid;

use super::Context;
use super::image_cache;
use crate::client::NewFileMode;
use crate::types::FileItem;

/// The permissions of a new file if those in the image are unknown.
const DEFAULT_MODE: u32 = 0o666;
/// Execution is a choice of the caller.
const NOT_EXECUTABLE: u32 = 0o666;
/// The owner can always read the file.
const OWNER_READS: u32 = 0o400;
/// Maximum number of links that are followed in a row. Linux has the same limit.
const MAX_LINKS: usize = 40;

/// Returns the permissions of a file to be saved, given those of a file that it replaces.
///
/// A new file has those that it has in the image, without execution. A file that replaces another
/// one has those of that one. In both cases, only users who may read it in the image may read it.
pub(super) async fn mode(
    cx: &Context,
    image: Uuid,
    path: &str,
    replaced: Option<u32>,
) -> NewFileMode {
    let in_image = mode_in_image(cx, image, path).await;
    match replaced {
        Some(replaced) => NewFileMode::Exact(mode_of_replacement(replaced, in_image)),
        None => {
            let mode = in_image.unwrap_or(DEFAULT_MODE) & NOT_EXECUTABLE;
            NewFileMode::BeforeUmask(mode | OWNER_READS)
        }
    }
}

/// Combines the permissions of a replaced file with those in the image.
fn mode_of_replacement(replaced: u32, in_image: Option<u32>) -> u32 {
    let mut mode = replaced & NOT_EXECUTABLE;
    for (read, all) in [(0o040, 0o070), (0o004, 0o007)] {
        if in_image.is_some_and(|in_image| in_image & read == 0) {
            mode &= !all;
        }
    }
    mode | OWNER_READS
}

/// Returns the permissions of a file in an image, through links. `None` if they cannot be found.
async fn mode_in_image(cx: &Context, image: Uuid, path: &str) -> Option<u32> {
    let image = image.to_string();
    let mut path = path.to_owned();
    for _ in 0..=MAX_LINKS {
        let (directory, name) = path.trim_end_matches('/').rsplit_once('/')?;
        let parent = match directory {
            "" => "/",
            directory => directory,
        };
        let list = image_cache::list(cx, &image, parent).await.ok()?;
        let entry = list.into_iter().find(|entry| entry.path == name)?;
        match link_target(directory, &entry) {
            Some(target) => path = target,
            None => return u32::try_from(entry.mode).ok(),
        }
    }
    None
}

/// Returns the path that a link leads to. `None` for other entries.
fn link_target(directory: &str, entry: &FileItem) -> Option<String> {
    if !entry.is_symlink {
        return None;
    }
    Some(match entry.symlink_to.starts_with('/') {
        true => entry.symlink_to.clone(),
        false => format!("{directory}/{}", entry.symlink_to),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replacement_is_as_secret_as_both_files() {
        for (replaced, in_image, expected) in [
            (0o600, Some(0o644), 0o600),
            (0o644, Some(0o600), 0o600),
            (0o664, Some(0o644), 0o664),
            (0o666, Some(0o640), 0o660),
            (0o755, Some(0o644), 0o644),
            (0o640, None, 0o640),
            (0o200, Some(0o000), 0o600),
        ] {
            assert_eq!(
                mode_of_replacement(replaced, in_image),
                expected,
                "{replaced:o} {in_image:?}"
            );
        }
    }
}
