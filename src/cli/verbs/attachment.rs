//! Local files and directories that a run gets: `SRC[:DST][:uUID][:gGID][:mMODE]`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use uuid::Uuid;

use super::context::VerbContext;
use super::error::VerbError;
use super::existing_directories::ExistingDirectories;
use super::progress::Progress;
use super::sent_files::{FILES_EXTENSION, SentFiles};
use crate::cli::output::print_message;
use crate::{Changes, Command, Content, Tree};

/// The mode of a directory that the files in it imply.
const IMPLIED_MODE: u32 = 0o755;

/// The number of paths that a message about paths that were not sent names.
const MAX_NAMED: usize = 3;

/// Names below a directory that are not sent, the same as those of the official command line.
const EXCLUDED: [&str; 9] = [
    ".*",
    "*.pyc",
    "__pycache__",
    ".venv",
    ".mypy_cache",
    ".pytest_cache",
    "node_modules",
    "dist",
    "build",
];

/// A file or directory to place in a sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Attachment {
    source: PathBuf,
    /// The absolute path in the sandbox; none if it is the same as on this machine.
    destination: Option<String>,
    uid: Option<u32>,
    gid: Option<u32>,
    mode: Option<u32>,
}

impl Attachment {
    /// Reads an argument. The parts after the source may be in any order.
    ///
    /// # Errors
    /// A user, group or mode that is not a number.
    pub(super) fn parse(text: &str) -> Result<Self, VerbError> {
        let mut attachment = Self {
            source: PathBuf::new(),
            destination: None,
            uid: None,
            gid: None,
            mode: None,
        };
        let mut source = text;
        // A path on this machine may have a colon, so the parts are taken from the end.
        while let Some((rest, part)) = source.rsplit_once(':') {
            let is_taken = match part.as_bytes() {
                [b'/', ..] if attachment.destination.is_none() => {
                    attachment.destination = Some(part.to_owned());
                    true
                }
                [b'u', digits @ ..] if is_number(digits) => {
                    attachment.uid = Some(number(text, &part[1..], 10)?);
                    true
                }
                [b'g', digits @ ..] if is_number(digits) => {
                    attachment.gid = Some(number(text, &part[1..], 10)?);
                    true
                }
                [b'm', digits @ ..] if is_number(digits) => {
                    attachment.mode = Some(number(text, &part[1..], 8)?);
                    true
                }
                _ => false,
            };
            if !is_taken {
                break;
            }
            source = rest;
        }
        if source.is_empty() {
            return Err(VerbError::Usage(format!(
                "`{text}` names no file: give SRC or SRC:/PATH"
            )));
        }
        attachment.source = PathBuf::from(source);
        Ok(attachment)
    }

    /// The error of a source that cannot be read.
    fn no_source(&self, error: std::io::Error) -> VerbError {
        let text = self.source.to_string_lossy();
        match text.rsplit_once(':') {
            Some((source, place)) if self.destination.is_none() && Path::new(source).exists() => {
                VerbError::Usage(format!(
                    "`{place}` is no path in the sandbox: it begins with `/`, as in `-F {source}:/work`"
                ))
            }
            _ => VerbError::file(&self.source)(error),
        }
    }

    /// The user and the group; none if neither is given. The other one is 0.
    fn owner(&self) -> Option<(u32, u32)> {
        let is_given = self.uid.is_some() || self.gid.is_some();
        is_given.then(|| (self.uid.unwrap_or(0), self.gid.unwrap_or(0)))
    }

    /// Places the file or the directory in a sandbox of an image.
    ///
    /// # Errors
    /// If it does not exist or cannot be sent.
    pub(super) async fn place<C: Changes>(
        &self,
        cx: &VerbContext,
        image: Uuid,
        command: Command<C>,
        excludes: &[String],
        sent: &mut SentFiles,
    ) -> Result<Command<C>, VerbError> {
        let source = std::path::absolute(&self.source).map_err(VerbError::file(&self.source))?;
        let metadata = std::fs::metadata(&source).map_err(|error| self.no_source(error))?;
        let destination = match &self.destination {
            Some(path) => in_directory(path, &source, metadata.is_dir()),
            None => path_text(&source)?,
        };
        if metadata.is_dir() {
            let tree = self.send(cx, &source, excludes).await?;
            sent.add(&source, &destination, &tree);
            let command = self
                .own_directories(cx, image, command, &destination, &tree)
                .await?;
            return Ok(command.tree(destination, &tree));
        }
        sent.add_file(&destination);
        let mut content = Content::from(source.as_path());
        let mode = self.mode.or_else(|| mode_of(&metadata));
        if let Some(mode) = mode {
            content = content.mode(mode);
        }
        if let Some((uid, gid)) = self.owner() {
            content = content.owner(uid, gid);
        }
        Ok(command.file(destination, content))
    }

    /// Sends a directory. Its entries get the owner, and its files get the mode.
    async fn send(
        &self,
        cx: &VerbContext,
        source: &Path,
        excludes: &[String],
    ) -> Result<Tree, VerbError> {
        let fixed = EXCLUDED.iter().map(|name| (*name).to_owned());
        let excludes: Vec<String> = fixed.chain(excludes.iter().cloned()).collect();
        let title = format!("sending {}", self.source.display());
        let progress = Arc::new(Progress::spinner(&title));
        let shown = progress.clone();
        let tree = cx
            .client
            .upload_dir(source)
            .exclude(excludes)
            .gitignore(false)
            .on_progress(move |line| shown.say(line));
        let mut tree = cx.unless_interrupted(tree.into_future()).await?;
        drop(progress);
        if tree.skipped_count() > 0 {
            print_message(skipped_message(&tree, &self.source));
        }
        if let Some((uid, gid)) = self.owner() {
            tree = tree.with_owner(uid, gid);
        }
        if let Some(mode) = self.mode {
            tree = tree.with_file_mode(mode);
        }
        Ok(tree)
    }

    /// Makes the directories that the image lacks, and that files alone would make for root.
    async fn own_directories<C: Changes>(
        &self,
        cx: &VerbContext,
        image: Uuid,
        mut command: Command<C>,
        destination: &str,
        tree: &Tree,
    ) -> Result<Command<C>, VerbError> {
        let Some((uid, gid)) = self.owner() else {
            return Ok(command);
        };
        let root = destination.trim_end_matches('/');
        if !cx.client.has_extension(FILES_EXTENSION).await? {
            print_message(format_args!(
                "new directories of {destination} belong to root, since this service sets the owner of files alone"
            ));
            return Ok(command);
        }
        let mut existing = ExistingDirectories::of(&cx.client, image);
        let below = tree.implied_directories().into_iter();
        let below = below.map(|directory| format!("{root}/{directory}"));
        for path in std::iter::once(root.to_owned()).chain(below) {
            if !existing.contains(&path).await? {
                let directory = Content::directory().mode(IMPLIED_MODE).owner(uid, gid);
                command = command.file(path, directory);
            }
        }
        Ok(command)
    }
}

/// The message about paths that were not sent, with the first of them.
fn skipped_message(tree: &Tree, source: &Path) -> String {
    let count = tree.skipped_count();
    let named = tree.skipped().iter().take(MAX_NAMED);
    let mut named: Vec<String> = named
        .map(|skipped| format!("{} ({})", skipped.path, skipped.reason))
        .collect();
    let others = count.saturating_sub(named.len() as u64);
    if others > 0 {
        named.push(format!("and {others} more"));
    }
    format!(
        "{count} files below {} could not be sent: {}",
        source.display(),
        named.join(", ")
    )
}

/// The path of a file in a directory that ends with `/`, as `cp` reads it, else the path itself.
fn in_directory(path: &str, source: &Path, is_directory: bool) -> String {
    let name = source.file_name().and_then(|name| name.to_str());
    match name.filter(|_| path.ends_with('/') && !is_directory) {
        Some(name) => format!("{path}{name}"),
        None => path.to_owned(),
    }
}

fn is_number(digits: &[u8]) -> bool {
    !digits.is_empty() && digits.iter().all(u8::is_ascii_digit)
}

fn number(argument: &str, digits: &str, radix: u32) -> Result<u32, VerbError> {
    u32::from_str_radix(digits, radix).map_err(|_| {
        VerbError::Usage(format!(
            "`{argument}`: `{digits}` is not a number, or too large; give :uUID and :gGID in decimal, and :mMODE in octal"
        ))
    })
}

fn path_text(path: &Path) -> Result<String, VerbError> {
    path.to_str().map(str::to_owned).ok_or_else(|| {
        VerbError::Usage(format!(
            "the path {} is not UTF-8; give a path in the sandbox after a colon",
            path.display()
        ))
    })
}

#[cfg(unix)]
fn mode_of(metadata: &std::fs::Metadata) -> Option<u32> {
    use std::os::unix::fs::PermissionsExt as _;
    Some(metadata.permissions().mode() & 0o777)
}

#[cfg(not(unix))]
fn mode_of(_: &std::fs::Metadata) -> Option<u32> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attachment_has_parts_in_any_order() {
        let whole = Attachment::parse("a.py:/app/a.py:u0:g5:m0755").unwrap();
        assert_eq!(whole.source, Path::new("a.py"));
        assert_eq!(whole.destination.as_deref(), Some("/app/a.py"));
        assert_eq!(
            (whole.uid, whole.gid, whole.mode),
            (Some(0), Some(5), Some(0o755))
        );
        assert_eq!(
            Attachment::parse("a.py:m0755:g5:u0:/app/a.py").unwrap(),
            whole
        );
        let bare = Attachment::parse("a:b.txt").unwrap();
        assert_eq!(
            (bare.source.as_path(), bare.destination),
            (Path::new("a:b.txt"), None)
        );
        for wrong in ["", ":/x", "a:m0999"] {
            assert!(Attachment::parse(wrong).is_err(), "{wrong}");
        }
    }
}
