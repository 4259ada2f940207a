//! The caller of a synchronisation: its rules, its progress, and its memory of earlier ones.

use std::collections::{BTreeMap, HashMap};
use std::fs::Metadata;
use std::path::Path;

use super::error::SyncError;
use super::stamp::FileStamp;
use crate::Error;

/// Hashes of files by path.
pub(crate) type KnownHashes = HashMap<Vec<u8>, (FileStamp, String)>;

/// Reasons why a path must not be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(dead_code, reason = "the tools refuse paths, which are a feature")]
pub(crate) enum Refusal {
    /// It is outside of the allowed paths.
    Outside,
    /// It holds credentials.
    Credentials,
}

/// The caller of a synchronisation. The default methods allow everything and remember nothing.
pub(crate) trait SyncHost: Clone + Send + Sync + 'static {
    /// The caller's error.
    type Failure: From<SyncError> + From<Error> + Send;

    /// Checks whether a path may be sent.
    fn check(&self, path: &Path, metadata: &Metadata) -> Result<(), Refusal> {
        let _ = (path, metadata);
        Ok(())
    }

    /// Receives a progress message.
    fn progress(&self, message: &str) {
        let _ = message;
    }

    /// Whether the caller has given up.
    fn is_cancelled(&self) -> bool {
        false
    }

    /// Resolves when the caller gives up.
    fn cancelled(&self) -> impl Future<Output = ()> + Send {
        std::future::pending()
    }

    /// The known hashes of a path and of everything below it.
    fn known_hashes(&self, root: Vec<u8>) -> impl Future<Output = KnownHashes> + Send {
        let _ = root;
        std::future::ready(KnownHashes::new())
    }

    /// Remembers hashes of files, and forgets those of removed files.
    fn remember_hashes(
        &self,
        hashes: Vec<(Vec<u8>, FileStamp, String)>,
        removed: Vec<Vec<u8>>,
    ) -> impl Future<Output = ()> + Send {
        let _ = (hashes, removed);
        std::future::ready(())
    }

    /// The UUIDs of those contents that the backend is known to store, by hash.
    fn known_uploads(
        &self,
        hashes: Vec<String>,
    ) -> impl Future<Output = Result<BTreeMap<String, String>, Self::Failure>> + Send;

    /// Remembers the UUIDs of uploads by hash.
    fn remember_uploads(
        &self,
        uploads: BTreeMap<String, String>,
    ) -> impl Future<Output = Result<(), Self::Failure>> + Send;
}
