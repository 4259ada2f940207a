//! A cache of open views into images. While a view is open, further requests for its image start no
//! new helper process.

use std::collections::HashMap;
use std::io::Read as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use contree_sandbox::{LayerId, LayerStore, View};
use tokio::sync::Semaphore;

/// The most open views in the cache.
const MAX_OPEN_VIEWS: usize = 4;

/// How long an unused view stays open.
pub(crate) const IDLE_TIMEOUT: Duration = Duration::from_secs(20);

/// The most bytes that are read of an image's `/etc/passwd`, and of its `/etc/group`.
const MAX_ACCOUNT_FILE_BYTES: u64 = 1024 * 1024;

/// A view, with the names of its image's users and groups.
pub(crate) struct OpenView {
    pub(crate) view: View,
    pub(crate) names: AccountNames,
}

/// The names of an image's users and groups, by id.
#[derive(Default)]
pub(crate) struct AccountNames {
    users: HashMap<u32, String>,
    groups: HashMap<u32, String>,
}

impl AccountNames {
    /// A user's name.
    pub(crate) fn user(&self, id: u32) -> Option<&str> {
        self.users.get(&id).map(String::as_str)
    }

    /// A group's name.
    pub(crate) fn group(&self, id: u32) -> Option<&str> {
        self.groups.get(&id).map(String::as_str)
    }
}

impl OpenView {
    /// Opens a new view of a chain, top layer first. Blocks for some milliseconds.
    pub(crate) fn open(store: &LayerStore, chain: &[u64]) -> Result<Self, contree_sandbox::Error> {
        let layers: Vec<LayerId> = chain.iter().map(|id| LayerId(*id)).collect();
        let view = View::open(store, &layers)?;
        let names = AccountNames {
            users: read_names(&view, Path::new("/etc/passwd")),
            groups: read_names(&view, Path::new("/etc/group")),
        };
        Ok(Self { view, names })
    }
}

/// The key of a chain's view: the top layer. A squashed layer may stand for that of the image.
fn key(chain: &[u64]) -> u64 {
    chain.first().copied().unwrap_or_default()
}

/// The most concurrent searches.
const MAX_SEARCHES: usize = 4;
/// The most archives that are written concurrently.
const MAX_ARCHIVES: usize = 32;

/// The cache of open views.
pub(crate) struct ViewCache {
    /// Each view with its top layer and the time of its last use, the least recently used first.
    open: Mutex<Vec<(u64, Arc<OpenView>, Instant)>>,
    /// One permit for each running search.
    pub(crate) searches: Arc<Semaphore>,
    /// One permit for each archive that is being written.
    pub(crate) archives: Arc<Semaphore>,
}

impl Default for ViewCache {
    fn default() -> Self {
        Self {
            open: Mutex::default(),
            searches: Arc::new(Semaphore::new(MAX_SEARCHES)),
            archives: Arc::new(Semaphore::new(MAX_ARCHIVES)),
        }
    }
}

impl ViewCache {
    /// Returns the view of a chain, top layer first. If it is not in the cache, opening it blocks
    /// for some milliseconds.
    pub(crate) fn get(
        &self,
        store: &LayerStore,
        chain: &[u64],
    ) -> Result<Arc<OpenView>, contree_sandbox::Error> {
        let top = key(chain);
        if let Some(view) = self.reuse(top) {
            return Ok(view);
        }
        let view = Arc::new(OpenView::open(store, chain)?);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.push((top, Arc::clone(&view), Instant::now()));
        let oldest = (open.len() > MAX_OPEN_VIEWS).then(|| open.remove(0));
        // Closing waits for the helper. Other requests need not wait for that, so the lock is
        // released first.
        drop(open);
        drop(oldest);
        Ok(view)
    }

    fn reuse(&self, top: u64) -> Option<Arc<OpenView>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let at = open.iter().position(|(id, ..)| *id == top)?;
        let (id, view, _) = open.remove(at);
        open.push((id, Arc::clone(&view), Instant::now()));
        Some(view)
    }

    /// Removes the view of a chain, for instance because its helper process has ended.
    pub(crate) fn forget(&self, chain: &[u64]) {
        let top = key(chain);
        self.open
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|(id, ..)| *id != top);
    }

    /// Removes and returns the views that were unused for [`IDLE_TIMEOUT`]. Dropping them closes
    /// them, which blocks.
    pub(crate) fn take_idle(&self) -> Vec<Arc<OpenView>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.extract_if(.., |(_, _, used)| used.elapsed() >= IDLE_TIMEOUT)
            .map(|(_, view, _)| view)
            .collect()
    }

    /// Removes all views. Each is closed once no request uses it.
    pub(crate) fn close(&self) {
        self.open
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }
}

/// Reads names by id from lines of the form `name:…:id:…`. An image without the file has no names.
fn read_names(view: &View, path: &Path) -> HashMap<u32, String> {
    let Ok((file, _)) = view.open_file(path) else {
        return HashMap::new();
    };
    let mut text = Vec::new();
    if file
        .take(MAX_ACCOUNT_FILE_BYTES)
        .read_to_end(&mut text)
        .is_err()
    {
        return HashMap::new();
    }
    parse_names(&String::from_utf8_lossy(&text))
}

fn parse_names(text: &str) -> HashMap<u32, String> {
    let mut names = HashMap::new();
    for line in text.lines() {
        let mut fields = line.split(':');
        if let (Some(name), Some(Ok(id))) = (fields.next(), fields.nth(1).map(str::parse)) {
            names.entry(id).or_insert_with(|| name.to_owned());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_name_of_an_id_is_used() {
        let names = parse_names(
            "root:x:0:0:root:/root:/bin/sh\nbad line\ntoor:x:0:0::/:\nwww:x:33:33::/:\n",
        );
        assert_eq!(names.get(&0).map(String::as_str), Some("root"));
        assert_eq!(names.get(&33).map(String::as_str), Some("www"));
        assert_eq!(names.len(), 2);
    }
}
