//! Takes temporary lines out of the upper directory of a sandbox that has ended, or out of a copy.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use super::lower_layers::{LowerLayers, compare};
use crate::init::setup::temporary_lines::{content, matches, open_file, without_lines};
use crate::protocol::spec::TemporaryLines;

/// Takes the lines out of the files that still have them. A file that is then as in the image, or
/// that was made for the lines, is removed. `root` is the open upper directory, and `upper` its
/// path from the current directory.
pub(super) fn remove(
    root: &OwnedFd,
    upper: &Path,
    lowers: &[PathBuf],
    lines: &[TemporaryLines],
) -> io::Result<()> {
    let files = UpperFiles {
        root,
        upper,
        lower_layers: LowerLayers::new(lowers),
    };
    for wanted in lines {
        for path in matches(root.as_fd(), &wanted.path) {
            files.take_out(wanted, &path)?;
        }
    }
    Ok(())
}

struct UpperFiles<'a> {
    root: &'a OwnedFd,
    upper: &'a Path,
    lower_layers: LowerLayers<'a>,
}

impl UpperFiles<'_> {
    fn take_out(&self, wanted: &TemporaryLines, path: &Path) -> io::Result<()> {
        // A command may have replaced the file by anything else, which stays.
        let Ok(file) = open_file(self.root.as_fd(), path, OFlags::RDONLY) else {
            return Ok(());
        };
        let metadata = file.metadata()?;
        let Some(text) = content(file)? else {
            return Ok(());
        };
        let Some(kept) = without_lines(&text, &wanted.lines) else {
            return Ok(());
        };
        // No process changes the directory, and no part of the path is a symlink.
        let above = self.upper.join(path);
        let is_unchanged = match self.image_file(path)? {
            Some(below) => {
                fs::symlink_metadata(&below)?.len() <= kept.len() as u64
                    && is_extension(&kept, &fs::read(&below)?)
                    && compare(&above, &below)?.is_none()
            }
            None => {
                kept.is_empty()
                    && metadata.mode() & 0o7777 == wanted.mode
                    && (metadata.uid(), metadata.gid()) == (0, 0)
            }
        };
        if is_unchanged {
            fs::remove_file(&above)?;
            return self.remove_empty_parents(wanted, path);
        }
        let file = open_file(self.root.as_fd(), path, OFlags::WRONLY)?;
        // The text becomes shorter, so this needs no space.
        file.write_all_at(&kept, 0)?;
        file.set_len(kept.len() as u64)?;
        file.set_modified(metadata.modified()?)
    }

    /// The file of the image that the upper directory covers at the path, if there is one.
    fn image_file(&self, path: &Path) -> io::Result<Option<PathBuf>> {
        self.lower_layers
            .visible_file(self.upper, path.as_os_str().as_bytes())
    }

    /// Removes the directories that exist in the upper directory only because of the file.
    fn remove_empty_parents(&self, wanted: &TemporaryLines, path: &Path) -> io::Result<()> {
        let parents = path.ancestors().skip(1);
        for parent in parents.filter(|parent| !parent.as_os_str().is_empty()) {
            let name = parent.as_os_str().as_bytes();
            let is_copy = match self.lower_layers.visible_layers(name)?.as_slice() {
                // It was made together with the file.
                [] => wanted.make_if.is_some(),
                layers => self
                    .lower_layers
                    .difference(self.upper, name, layers)?
                    .is_none(),
            };
            // A directory that is not empty cannot be removed.
            if !is_copy || fs::remove_dir(self.upper.join(parent)).is_err() {
                break;
            }
        }
        Ok(())
    }
}

/// Returns true if the text is the file's, perhaps with the line break that came before the lines.
fn is_extension(kept: &[u8], file: &[u8]) -> bool {
    kept.strip_prefix(file)
        .is_some_and(|rest| rest.is_empty() || (rest == b"\n" && file.last() != Some(&b'\n')))
}
