//! Sending directories.

#[cfg(feature = "mcp")]
mod attributes;

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use uuid::Uuid;

#[cfg(unix)]
use crate::local_copy::{Base, SentEntry, SentKind};
use crate::{
    Client, Error,
    sync::{
        EXTENSION, Excludes, FoundOther, OtherKind, PlacedPath, SkipReason, SyncHost, absent,
        octal, removals, sync,
    },
    types,
};

pub use crate::sync::SkippedPath;

/// Number of contents that the backend is asked for at once.
const CONCURRENT_LOOKUPS: usize = 16;

/// The sending of a directory. Awaiting it sends the files that the backend lacks.
#[must_use = "a directory is sent when this is awaited"]
pub struct UploadDir {
    client: Client,
    path: PathBuf,
    exclude: Excludes,
    since: Option<Tree>,
    progress: Option<Progress>,
}

type Progress = Arc<dyn Fn(&str) + Send + Sync>;

impl Client {
    /// Sends a directory, or a file, for commands to place in their sandboxes with
    /// [`Command::tree`](super::Command::tree).
    ///
    /// Files are sent with their permissions, and so are symbolic links and empty directories. A
    /// backend without the extension `files` takes regular files alone. Files that `.gitignore`
    /// files exclude are not sent. Contents that the backend has are not sent again.
    ///
    /// Unlike the tool `rsync`, it also sends files that hold credentials: exclude them, or choose
    /// a directory without any.
    ///
    /// ```no_run
    /// # async fn example(client: contree::Client) -> Result<(), contree::Error> {
    /// let tree = client.upload_dir("./project").exclude(["target/", "*.log"]).await?;
    /// let base = client.image("tag:rust");
    /// let tested = base.shell("cargo test").cwd("/src").tree("/src", &tree).await?.ok()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn upload_dir(&self, path: impl AsRef<Path>) -> UploadDir {
        UploadDir {
            client: self.clone(),
            path: path.as_ref().to_owned(),
            exclude: Excludes {
                patterns: Vec::new(),
                gitignore: true,
            },
            since: None,
            progress: None,
        }
    }
}

impl UploadDir {
    /// Excludes files by patterns in the syntax of `.gitignore`.
    pub fn exclude<I>(mut self, patterns: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        let patterns = patterns.into_iter().map(Into::into);
        self.exclude.patterns.extend(patterns);
        self
    }

    /// Sets whether the `.gitignore` files at and below the directory count. They do by default.
    pub fn gitignore(mut self, counts: bool) -> Self {
        self.exclude.gitignore = counts;
        self
    }

    /// Removes from images what an earlier sending of the directory placed in them, if it is gone
    /// from the directory since. Files that are only excluded now stay. A backend without the
    /// extension `files` cannot remove, so those paths are among the [skipped](Tree::skipped) ones.
    ///
    /// ```no_run
    /// # async fn example(client: contree::Client) -> Result<(), contree::Error> {
    /// let before = client.upload_dir("./project").await?;
    /// let built = client.image("tag:rust").shell("cargo build").cwd("/src");
    /// let built = built.tree("/src", &before).await?.ok()?.image;
    /// // Some files are edited, and some are removed.
    /// let now = client.upload_dir("./project").since(&before).await?;
    /// let tested = built.shell("cargo test").cwd("/src").tree("/src", &now).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn since(mut self, before: &Tree) -> Self {
        self.since = Some(before.clone());
        self
    }

    /// Calls a function with each message about the progress.
    pub fn on_progress(mut self, progress: impl Fn(&str) + Send + Sync + 'static) -> Self {
        self.progress = Some(Arc::new(progress));
        self
    }

    async fn send(self) -> Result<Tree, Error> {
        let root = tokio::fs::canonicalize(&self.path).await;
        let root = root.map_err(Error::io(&self.path))?;
        let is_file = tokio::fs::metadata(&root)
            .await
            .map_err(Error::io(&self.path))?
            .is_file();
        let uploads = Uploads {
            client: self.client.clone(),
            progress: self.progress,
            known: Arc::default(),
        };
        let mut synced = sync(&uploads, &self.client, &root, &self.exclude).await?;
        let known = uploads.known();
        let mut files = Vec::with_capacity(synced.files.len());
        for file in synced.files {
            let uuid = known.get(&file.sha256).and_then(|uuid| uuid.parse().ok());
            let uuid = uuid.ok_or_else(|| {
                Error::Protocol(format!("no upload has the SHA-256 {}", file.sha256).into())
            })?;
            files.push(TreeFile {
                path: file.found.relative,
                uuid,
                size: u64::try_from(file.found.stamp.size).unwrap_or_default(),
                mode: file.found.mode,
                sha256: file.sha256,
            });
        }
        let mut gone = match self.since {
            Some(before) if !is_file => before.gone_since(&files, &synced.others, &root),
            _ => Vec::new(),
        };
        if !gone.is_empty() && !self.client.has_extension(EXTENSION).await? {
            for path in gone.drain(..) {
                synced.skipped.add(Path::new(&path), SkipReason::GoneHere);
            }
        }
        Ok(Tree {
            is_file,
            files: files.into(),
            others: synced.others.into(),
            gone: gone.into(),
            owner: None,
            skipped: synced.skipped.named,
            skipped_count: synced.skipped.counts.values().sum(),
            uploaded: synced.uploaded,
        })
    }
}

impl IntoFuture for UploadDir {
    type Output = Result<Tree, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.send())
    }
}

impl fmt::Debug for UploadDir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UploadDir")
            .field("path", &self.path)
            .field("exclude", &self.exclude)
            .finish_non_exhaustive()
    }
}

/// A directory that the backend stores. Clones are cheap.
///
/// Its files are those of the moment of sending. A backend may remove files that are not used for a
/// long time; a run that needs one of them then fails, and the directory must be sent again.
#[derive(Clone, Debug)]
pub struct Tree {
    /// Whether a single file was sent.
    is_file: bool,
    files: Arc<[TreeFile]>,
    /// Links, and directories that files do not imply.
    others: Arc<[FoundOther]>,
    /// The paths below the directory that an earlier sending placed, and that are gone since.
    gone: Arc<[String]>,
    /// The user and the group of all entries; none for 0 and 0.
    owner: Option<(u32, u32)>,
    skipped: Vec<SkippedPath>,
    skipped_count: u64,
    uploaded: u64,
}

#[derive(Clone, Debug)]
struct TreeFile {
    /// The path below the directory.
    path: String,
    uuid: Uuid,
    size: u64,
    mode: u32,
    #[cfg_attr(not(unix), expect(dead_code, reason = "only `apply` compares with it"))]
    sha256: String,
}

impl Tree {
    /// Number of files.
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// Whether there are no files.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// The size of all files in bytes.
    pub fn size(&self) -> u64 {
        self.files.iter().map(|file| file.size).sum()
    }

    /// The paths of the files below the directory, sorted.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(|file| file.path.as_str())
    }

    /// Number of contents that were sent, since the backend lacked them.
    pub fn uploaded(&self) -> u64 {
        self.uploaded
    }

    /// The paths below the directory that are removed from images, sorted. See
    /// [`UploadDir::since`].
    pub fn removed(&self) -> impl Iterator<Item = &str> {
        self.gone.iter().map(String::as_str)
    }

    /// The paths that an earlier sending placed, and that are gone from the directory `root`. Those
    /// that this one removes stay removed.
    fn gone_since(&self, files: &[TreeFile], others: &[FoundOther], root: &Path) -> Vec<String> {
        // A directory may stand in the place of a file by now. It makes no room for itself.
        let gone = self.gone.iter().map(|path| PlacedPath {
            path,
            is_directory: true,
        });
        let before = paths_of(&self.files, &self.others).chain(gone);
        removals(before, paths_of(files, others), "", root)
    }

    /// The first 20 paths that were not sent, with the reasons.
    pub fn skipped(&self) -> &[SkippedPath] {
        &self.skipped
    }

    /// Number of paths that were not sent.
    pub fn skipped_count(&self) -> u64 {
        self.skipped_count
    }

    /// The sent files as the common base of an image and the directory. They lie over the files of
    /// the image on which they were placed, if it is known.
    #[cfg(unix)]
    pub(super) fn to_base(&self, placed_on: Option<Uuid>) -> Base {
        Base::Sent {
            entries: self.entries().collect(),
            placed_on,
            removed: self.gone.to_vec(),
            has_exact_modes: true,
        }
    }

    /// The sent files, links and directories.
    #[cfg(unix)]
    pub(crate) fn entries(&self) -> impl Iterator<Item = SentEntry> {
        let files = self.files.iter().map(|file| SentEntry {
            path: file.path.clone(),
            kind: SentKind::File {
                sha256: file.sha256.clone(),
                upload: Some(file.uuid),
            },
            mode: file.mode,
        });
        let others = self.others.iter().map(|other| {
            let (kind, mode) = match &other.kind {
                OtherKind::Directory { mode, .. } => (SentKind::Directory, *mode),
                OtherKind::Symlink { target } => {
                    let target = target.clone();
                    (SentKind::Symlink { target }, 0)
                }
            };
            SentEntry {
                path: other.relative.clone(),
                kind,
                mode,
            }
        });
        files.chain(others)
    }

    /// The files as a request takes them. A single file goes to `path` itself, or below it if it
    /// ends with a slash.
    pub(super) fn files_below(
        &self,
        path: &str,
    ) -> impl Iterator<Item = (String, types::InstanceFile)> {
        let is_target = self.is_file && !path.ends_with('/');
        let directory = path.trim_end_matches('/');
        let uid = self.owner.map(|(uid, _)| uid.into());
        let gid = self.owner.map(|(_, gid)| gid.into());
        let files = self.files.iter().map(move |file| {
            let target = match is_target {
                true => path.to_owned(),
                false => format!("{directory}/{}", file.path),
            };
            let uploaded = types::InstanceFile {
                uuid: Some(file.uuid),
                mode: Some(octal(file.mode)),
                uid,
                gid,
                x_kind: None,
                x_target: None,
            };
            (target, uploaded)
        });
        let others = self.others.iter().map(move |other| {
            let target = format!("{directory}/{}", other.relative);
            let placed = other.kind.to_place();
            (target, types::InstanceFile { uid, gid, ..placed })
        });
        let gone = self.gone.iter();
        let gone = gone.map(move |path| (format!("{directory}/{path}"), absent()));
        files.chain(others).chain(gone)
    }
}

/// The paths that a sending places.
fn paths_of<'a>(
    files: &'a [TreeFile],
    others: &'a [FoundOther],
) -> impl Iterator<Item = PlacedPath<'a>> {
    let files = files.iter().map(|file| PlacedPath {
        path: &file.path,
        is_directory: false,
    });
    files.chain(others.iter().map(|other| PlacedPath {
        path: &other.relative,
        is_directory: matches!(other.kind, OtherKind::Directory { .. }),
    }))
}

/// The uploads of one sending.
#[derive(Clone)]
struct Uploads {
    client: Client,
    progress: Option<Progress>,
    /// UUIDs by hash.
    known: Arc<std::sync::Mutex<BTreeMap<String, String>>>,
}

impl Uploads {
    fn known(&self) -> BTreeMap<String, String> {
        let known = self.known.lock();
        known
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .clone()
    }

    fn add(&self, uploads: BTreeMap<String, String>) {
        let known = self.known.lock();
        known
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .extend(uploads);
    }
}

impl SyncHost for Uploads {
    type Failure = Error;

    fn progress(&self, message: &str) {
        if let Some(progress) = &self.progress {
            progress(message);
        }
    }

    async fn known_uploads(&self, hashes: Vec<String>) -> Result<BTreeMap<String, String>, Error> {
        let lookups = stream::iter(hashes).map(|sha256| {
            let client = self.client.clone();
            async move {
                let file = client.find_file(&sha256).await?;
                Ok::<_, Error>(file.map(|file| (sha256, file.uuid.to_string())))
            }
        });
        let found: Vec<_> = lookups
            .buffer_unordered(CONCURRENT_LOOKUPS)
            .try_collect()
            .await?;
        self.add(found.into_iter().flatten().collect());
        Ok(self.known())
    }

    async fn remember_uploads(&self, uploads: BTreeMap<String, String>) -> Result<(), Error> {
        self.add(uploads);
        Ok(())
    }
}
