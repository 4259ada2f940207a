//! The machine's record of the ids that root's stores use, so that stores do not share ids.
//!
//! A store keeps its own map, and that map decides. The record only tells a new store which ids
//! others have. Stores of earlier releases, moved and copied ones enter it when they are opened.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::statvfs;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::IdMap;
use crate::os::error::{CallContext as _, OsError, errno};
use crate::os::file_lock::{LOCK_TIMEOUT, lock_exclusively};

/// The number of stores from which on missing directories count as removed, whatever their file
/// system. There are 4,094 blocks.
const MANY_STORES: usize = 2000;

/// The reason why the record cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecordError {
    /// The record is not what an engine wrote.
    #[error("{} is damaged: {reason}", path.display())]
    Damaged { path: PathBuf, reason: String },
    /// The record cannot be read or written, as on a read-only file system.
    #[error(transparent)]
    Os(#[from] OsError),
}

impl RecordError {
    /// The instruction that makes the record usable.
    pub(crate) fn remedy(&self) -> &'static str {
        match self {
            Self::Damaged { .. } => {
                "remove it, and open every data directory of root once, which records its ids again"
            }
            // The error says how to find the process.
            Self::Os(error) if errno(error.io()) == Errno::TIMEDOUT => {
                "end the process that holds the lock, or let it continue, then try again"
            }
            Self::Os(_) => "make it readable and writable for root",
        }
    }
}

/// The ids that a store uses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Claim {
    first: u32,
    count: u32,
    /// The store's directory.
    store: PathBuf,
    /// The file system of that directory. On another one, such as an empty mount point, a missing
    /// directory may come back.
    file_system: u64,
}

/// The ids of stores, as a new store sees them.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct ClaimedIds {
    /// The first id of the block that this very directory has claimed before.
    pub(crate) own: Option<u32>,
    /// The id after the newest block. Blocks are used in turn, so that the ids of a store that was
    /// moved are not given away before it is opened again.
    pub(crate) next: Option<u32>,
    /// First id and end of the ids of other stores.
    pub(crate) others: Vec<(u64, u64)>,
}

/// The content of the record.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Content {
    next: Option<u32>,
    claims: Vec<Claim>,
}

/// The record, locked by this process.
struct IdRecord {
    path: PathBuf,
    content: Content,
    _lock: File,
}

/// Lets `pick` choose the map of the store in `directory`, and records its ids.
pub(crate) fn claim(
    record: &Path,
    directory: &Path,
    pick: impl FnOnce(&ClaimedIds) -> IdMap,
) -> Result<IdMap, RecordError> {
    let mut record = IdRecord::open(record)?;
    let claims = &mut record.content.claims;
    claims.retain(|claim| !claim.is_removed());
    if claims.len() > MANY_STORES {
        claims.retain(|claim| !is_missing(&claim.store));
    }
    let map = pick(&record.content.seen_from(directory));
    if let Some((first, count)) = map.block_of_root() {
        record.set(directory, first, count)?;
        record.content.next = first.checked_add(count);
        record.write()?;
    }
    Ok(map)
}

/// Records the ids of an existing store, if they are not recorded for this directory yet.
pub(crate) fn register(record: &Path, directory: &Path, map: &IdMap) -> Result<(), RecordError> {
    let Some((first, count)) = map.block_of_root() else {
        return Ok(());
    };
    let mut record = IdRecord::open(record)?;
    let known = record
        .content
        .claims
        .iter()
        .any(|claim| claim.store == directory && (claim.first, claim.count) == (first, count));
    if !known {
        record.set(directory, first, count)?;
        record.write()?;
    }
    Ok(())
}

/// The other stores that have some of this map's ids.
pub(crate) fn sharers(
    record: &Path,
    directory: &Path,
    map: &IdMap,
) -> Result<Vec<PathBuf>, RecordError> {
    let Some((first, count)) = map.block_of_root() else {
        return Ok(Vec::new());
    };
    let (start, end) = (u64::from(first), u64::from(first) + u64::from(count));
    let record = IdRecord::open(record)?;
    let others = record.content.claims.into_iter().filter(|claim| {
        let (from, to) = claim.range();
        claim.store != directory && from < end && start < to && claim.store.exists()
    });
    Ok(others.map(|claim| claim.store).collect())
}

impl Claim {
    fn range(&self) -> (u64, u64) {
        let first = u64::from(self.first);
        (first, first + u64::from(self.count))
    }

    /// Returns true if the store's directory was removed. If its file system is not mounted, the
    /// directory still exists.
    fn is_removed(&self) -> bool {
        is_missing(&self.store)
            && self
                .store
                .ancestors()
                .find(|path| !is_missing(path))
                .is_some_and(|path| file_system(path).ok() == Some(self.file_system))
    }
}

impl Content {
    fn seen_from(&self, directory: &Path) -> ClaimedIds {
        let (own, others): (Vec<_>, Vec<_>) = self
            .claims
            .iter()
            .partition(|claim| claim.store == directory);
        ClaimedIds {
            own: own.first().map(|claim| claim.first),
            next: self.next,
            others: others.into_iter().map(Claim::range).collect(),
        }
    }
}

impl IdRecord {
    fn open(path: &Path) -> Result<Self, RecordError> {
        Self::open_within(path, LOCK_TIMEOUT)
    }

    /// Opens the record, and waits at most `longest` for another process that uses it.
    fn open_within(path: &Path, longest: Duration) -> Result<Self, RecordError> {
        let directory = path.parent().unwrap_or(Path::new("/"));
        if let Some(above) = directory.parent() {
            fs::create_dir_all(above).context_path("make the directory", above)?;
        }
        match DirBuilder::new().mode(0o700).create(directory) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => Ok(()),
        }
        .context_path("make the directory", directory)?;
        let lock = File::open(directory).context_path("open", directory)?;
        lock_exclusively(&lock, directory, longest)?;
        let text = match fs::read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            other => other.context_path("read", path)?,
        };
        // A power loss may leave an empty file.
        let content = if text.is_empty() {
            Content::default()
        } else {
            serde_json::from_slice(&text).map_err(|error| RecordError::Damaged {
                path: path.to_owned(),
                reason: error.to_string(),
            })?
        };
        Ok(Self {
            path: path.to_owned(),
            content,
            _lock: lock,
        })
    }

    fn set(&mut self, directory: &Path, first: u32, count: u32) -> Result<(), OsError> {
        let file_system =
            file_system(directory).context_path("find the file system of", directory)?;
        self.content.claims.retain(|claim| claim.store != directory);
        self.content.claims.push(Claim {
            first,
            count,
            store: directory.to_owned(),
            file_system,
        });
        Ok(())
    }

    fn write(&self) -> Result<(), OsError> {
        let temporary = self.path.with_extension("new");
        let text = serde_json::to_vec(&self.content)
            .map_err(io::Error::from)
            .context_path("encode", &self.path)?;
        let mut file = File::options()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(&temporary)
            .context_path("open", &temporary)?;
        io::Write::write_all(&mut file, &text).context_path("write", &temporary)?;
        fs::rename(&temporary, &self.path).context_path("write", &self.path)
    }
}

fn is_missing(path: &Path) -> bool {
    fs::symlink_metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

fn file_system(path: &Path) -> io::Result<u64> {
    Ok(statvfs(path)?.f_fsid)
}

#[cfg(test)]
mod tests {
    use super::super::pick::map_of_root_with_block;
    use super::*;

    fn claimed(record: &Path, store: &Path, first: u32) -> ClaimedIds {
        let mut seen = None;
        claim(record, store, |ids| {
            seen = Some(ids.clone());
            map_of_root_with_block(first)
        })
        .unwrap();
        seen.unwrap()
    }

    #[test]
    fn a_store_sees_the_ids_of_others_and_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let record = folder.path().join("deep/ids.json");
        let [one, two] = ["one", "two"].map(|name| folder.path().join(name));
        for store in [&one, &two] {
            fs::create_dir(store).unwrap();
        }
        assert_eq!(claimed(&record, &one, 0x2_0000), ClaimedIds::default());
        let seen = claimed(&record, &two, 0x3_0000);
        assert_eq!((seen.own, seen.next), (None, Some(0x3_0000)));
        assert_eq!(seen.others, [(0x2_0000, 0x3_0000)]);
        let again = claimed(&record, &one, 0x2_0000);
        assert_eq!(
            (again.own, again.others),
            (Some(0x2_0000), vec![(0x3_0000, 0x4_0000)])
        );
        // A removed store's ids are free again.
        fs::remove_dir(&one).unwrap();
        assert_eq!(claimed(&record, &two, 0x3_0000).others, []);
    }

    #[test]
    fn a_copied_store_shares_its_ids_and_a_moved_one_keeps_them() {
        let folder = tempfile::tempdir().unwrap();
        let record = folder.path().join("ids.json");
        let [one, copy, moved] = ["one", "copy", "moved"].map(|name| folder.path().join(name));
        for store in [&one, &copy] {
            fs::create_dir(store).unwrap();
        }
        let map = map_of_root_with_block(0x2_0000);
        register(&record, &one, &map).unwrap();
        assert_eq!(sharers(&record, &one, &map).unwrap(), [] as [PathBuf; 0]);
        register(&record, &copy, &map).unwrap();
        assert_eq!(sharers(&record, &one, &map).unwrap(), [copy.as_path()]);
        fs::rename(&copy, &moved).unwrap();
        register(&record, &moved, &map).unwrap();
        assert_eq!(sharers(&record, &one, &map).unwrap(), [moved]);
    }

    #[test]
    fn a_store_on_a_file_system_that_is_not_mounted_keeps_its_ids() {
        let folder = tempfile::tempdir().unwrap();
        let record = folder.path().join("ids.json");
        let (gone, here) = (folder.path().join("disk/store"), folder.path().join("here"));
        fs::create_dir_all(&gone).unwrap();
        fs::create_dir(&here).unwrap();
        claimed(&record, &gone, 0x2_0000);
        let text = fs::read_to_string(&record).unwrap();
        let mut content: Content = serde_json::from_str(&text).unwrap();
        content.claims[0].file_system ^= 1;
        fs::write(&record, serde_json::to_string(&content).unwrap()).unwrap();
        fs::remove_dir(&gone).unwrap();
        assert_eq!(
            claimed(&record, &here, 0x3_0000).others,
            [(0x2_0000, 0x3_0000)]
        );
    }

    #[test]
    fn a_record_that_stays_locked_is_an_error_with_its_path() {
        let folder = tempfile::tempdir().unwrap();
        let record = folder.path().join("ids.json");
        let held = IdRecord::open(&record).unwrap();
        let refused = IdRecord::open_within(&record, Duration::from_millis(20));
        let error = refused.err().unwrap();
        let path = folder.path().display().to_string();
        assert!(error.to_string().contains(&path), "{error}");
        assert!(error.remedy().ends_with("then try again"));
        drop(held);
        IdRecord::open_within(&record, Duration::ZERO).unwrap();
    }

    #[test]
    fn a_damaged_record_is_an_error_and_an_empty_one_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let record = folder.path().join("ids.json");
        fs::write(&record, "{").unwrap();
        let refused = claim(&record, folder.path(), |_| panic!("nothing to pick from"));
        assert!(matches!(refused, Err(RecordError::Damaged { .. })));
        assert_eq!(fs::read_to_string(&record).unwrap(), "{");
        fs::write(&record, "").unwrap();
        assert_eq!(
            claimed(&record, folder.path(), 0x2_0000),
            ClaimedIds::default()
        );
    }
}
