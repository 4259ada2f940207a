//! Copies the archive of a directory of an image to a staging directory.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::Path;

use tar::EntryType;

use super::link_target::leads_outside;
use super::local_tree::{Local, permissions};
use super::outcome::{PathReason, text};
use super::rules::WriteRules;
use super::staging::{Staging, is_staging};
use crate::client::relative;

/// Maximum number of skipped paths that are named.
const MAX_NAMED: usize = 20;
/// Files between two progress messages.
const PROGRESS_STEP: u64 = 200;
/// The copy in the staging directory.
const CONTENT: &[u8] = b"content";
/// The permissions of a directory while it is filled.
const OWNER_ONLY: u32 = 0o700;

/// Result of copying a directory.
#[derive(Clone, Debug, Default)]
#[cfg_attr(
    not(feature = "mcp"),
    allow(dead_code, reason = "the tool tells more than the SDK")
)]
pub(crate) struct CopiedDirectory {
    /// Number of regular files, including hard links.
    pub(crate) files: u64,
    /// The size of the regular files in bytes.
    pub(crate) bytes: u64,
    /// Number of symbolic links.
    pub(crate) links: u64,
    /// Number of directories below the copied one.
    pub(crate) directories: u64,
    /// Whether files were there before.
    pub(crate) replaced: bool,
    /// The first paths that were not copied, with the reasons.
    pub(crate) skipped: Vec<PathReason>,
    /// Number of paths that were not copied.
    pub(crate) skipped_count: u64,
}

/// Permissions and time of a directory, by path.
pub(super) type Attributes = BTreeMap<Vec<u8>, (u32, u64)>;

/// Copies an archive to a staging directory.
pub(super) struct ArchiveCopy<'a> {
    pub(super) staging: &'a Staging,
    pub(super) destination: &'a Path,
    pub(super) rules: &'a WriteRules,
    pub(super) copied: CopiedDirectory,
    pub(super) attributes: Attributes,
}

impl ArchiveCopy<'_> {
    /// Reads the archive. `root` is the path of the copied directory in it.
    pub(super) fn read(&mut self, archive: impl Read, root: &[u8]) -> io::Result<()> {
        let tree = self.staging.tree();
        tree.make_directory(CONTENT)?;
        let mut archive = tar::Archive::new(archive);
        let mut first_name: Option<Vec<u8>> = None;
        for entry in archive.entries()? {
            let mut entry = entry?;
            // The name of the directory, which differs from that of a link to it.
            let name = relative(&entry.path_bytes(), b"");
            let first = || name.split(|byte| *byte == b'/').next().map(<[u8]>::to_vec);
            let top: &[u8] = match root {
                b"" => b"",
                _ => first_name.get_or_insert_with(|| first().unwrap_or_default()),
            };
            let mut path = relative(&name, top);
            let kind = entry.header().entry_type();
            if path.is_empty() && !matches!(kind, EntryType::Directory | EntryType::XGlobalHeader) {
                let last = name.rsplit(|byte| *byte == b'/').next();
                path = last.unwrap_or_default().to_vec();
            }
            let staged = staged(&path);
            let (mode, time) = (entry.header().mode()?, entry.header().mtime()?);
            if path.split(|byte| *byte == b'/').any(|name| name == b"..") {
                self.skip(&path, "its name leads out of the directory");
                continue;
            }
            if !path.is_empty()
                && let Some(why) = self.refusal(&path)
            {
                self.skip(&path, &why);
                continue;
            }
            match kind {
                EntryType::Directory => {
                    tree.make_directory(&staged)?;
                    tree.set_mode(&staged, OWNER_ONLY)?;
                    self.copied.directories += u64::from(!path.is_empty());
                    self.attributes.insert(path, (mode, time));
                }
                EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                    let mut file = tree.create_file(&staged)?;
                    let rules = self.rules;
                    let mut content = ObservedReader {
                        inner: &mut entry,
                        rules,
                    };
                    self.copied.bytes += io::copy(&mut content, &mut file)?;
                    rustix::fs::fchmod(&file, permissions(mode))?;
                    tree.set_modified(&staged, time)?;
                    self.count_file();
                }
                EntryType::Symlink => {
                    let target = entry.link_name_bytes().unwrap_or_default().into_owned();
                    if leads_outside(&path, &target) {
                        let target = text(&target);
                        self.skip(&path, &format!("a link to {target}, out of the directory"));
                        continue;
                    }
                    tree.create_link(&staged, &target)?;
                    tree.set_modified(&staged, time)?;
                    self.copied.links += 1;
                }
                EntryType::Link => {
                    let target = entry.link_name_bytes().unwrap_or_default();
                    let target = self::staged(&relative(&target, top));
                    let is_file = matches!(
                        tree.look(&target, false)?,
                        Local::Entry(found) if found.kind == contree_diff::NodeKind::File
                    );
                    match is_file {
                        true => {
                            tree.create_hard_link(&target, &staged)?;
                            self.count_file();
                        }
                        false => self.skip(&path, "another name of a file that was left out"),
                    }
                }
                EntryType::XGlobalHeader => {}
                _ => self.skip(&path, "a pipe, a device or another special file"),
            }
        }
        Ok(())
    }

    fn refusal(&self, path: &[u8]) -> Option<String> {
        use std::os::unix::ffi::OsStrExt as _;
        let place = self.destination.join(std::ffi::OsStr::from_bytes(path));
        let is_reserved = path.split(|byte| *byte == b'/').any(is_staging);
        match is_reserved {
            true => Some("its name is that of a temporary directory".to_owned()),
            false => self.rules.refusal(&place),
        }
    }

    fn count_file(&mut self) {
        self.copied.files += 1;
        if self.copied.files.is_multiple_of(PROGRESS_STEP) {
            let CopiedDirectory { files, bytes, .. } = self.copied;
            self.rules
                .progress(&format!("copied {files} files, {bytes} bytes"));
        }
    }

    fn skip(&mut self, path: &[u8], why: &str) {
        self.copied.skipped_count += 1;
        if self.copied.skipped.len() < MAX_NAMED {
            self.copied.skipped.push(PathReason {
                path: text(path),
                why: why.to_owned(),
            });
        }
    }
}

/// The content of a file, whose pieces are reported.
struct ObservedReader<'a, R> {
    inner: R,
    rules: &'a WriteRules,
}

impl<R: Read> Read for ObservedReader<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.rules.written(count as u64);
        Ok(count)
    }
}

/// The path of an entry in the staging directory.
fn staged(path: &[u8]) -> Vec<u8> {
    match path {
        b"" => CONTENT.to_vec(),
        path => [CONTENT, b"/", path].concat(),
    }
}
