//! Open views into images, kept for a while: a second look into an image costs no new helper.

use std::collections::HashMap;
use std::io::Read as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use contree_sandbox::{LayerId, LayerStore, View};
use tokio::sync::Semaphore;

/// How many views are kept open.
const KEPT: usize = 4;

/// How long an unused view is kept open.
pub(crate) const IDLE: Duration = Duration::from_secs(20);

/// How much of an image's `/etc/passwd` is looked at.
const NAMES_LIMIT: u64 = 1024 * 1024;

/// A view, and the names of an image's users and groups.
pub(crate) struct OpenView {
    pub(crate) view: View,
    pub(crate) names: Names,
}

/// The names of an image's users and groups, by ids.
#[derive(Default)]
pub(crate) struct Names {
    users: HashMap<u32, String>,
    groups: HashMap<u32, String>,
}

impl Names {
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
    /// A view of a chain, top layer first, for one user alone. Blocks for some milliseconds.
    pub(crate) fn open(store: &LayerStore, chain: &[u64]) -> Result<Self, contree_sandbox::Error> {
        let layers: Vec<LayerId> = chain.iter().map(|id| LayerId(*id)).collect();
        let view = View::open(store, &layers)?;
        let names = Names {
            users: names(&view, Path::new("/etc/passwd")),
            groups: names(&view, Path::new("/etc/group")),
        };
        Ok(Self { view, names })
    }
}

/// How many searches run at once, and how many archives are being written.
const SEARCHES: usize = 4;
const ARCHIVES: usize = 32;

/// The views that are open.
pub(crate) struct Views {
    open: Mutex<Vec<(u64, Arc<OpenView>, Instant)>>,
    /// Held while a search runs.
    pub(crate) searches: Arc<Semaphore>,
    /// Held while an archive is being written.
    pub(crate) archives: Arc<Semaphore>,
}

impl Default for Views {
    fn default() -> Self {
        Self {
            open: Mutex::default(),
            searches: Arc::new(Semaphore::new(SEARCHES)),
            archives: Arc::new(Semaphore::new(ARCHIVES)),
        }
    }
}

impl Views {
    /// The view of a chain, top layer first. Blocks for some milliseconds if it is not open.
    pub(crate) fn get(
        &self,
        store: &LayerStore,
        chain: &[u64],
    ) -> Result<Arc<OpenView>, contree_sandbox::Error> {
        let top = chain.first().copied().unwrap_or_default();
        if let Some(view) = self.reuse(top) {
            return Ok(view);
        }
        let view = Arc::new(OpenView::open(store, chain)?);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.push((top, Arc::clone(&view), Instant::now()));
        let oldest = (open.len() > KEPT).then(|| open.remove(0));
        // Closing waits for the helper, and others need not wait for that.
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

    /// Closes the view of a layer, for instance because its helper has ended.
    pub(crate) fn forget(&self, top: u64) {
        self.open
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|(id, ..)| *id != top);
    }

    /// Takes out what nobody used for [`IDLE`]. It closes when dropped, which blocks.
    pub(crate) fn take_idle(&self) -> Vec<Arc<OpenView>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.extract_if(.., |(_, _, used)| used.elapsed() >= IDLE)
            .map(|(_, view, _)| view)
            .collect()
    }

    /// Closes all.
    pub(crate) fn close(&self) {
        self.open
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }
}

/// Reads `name:…:id:…` lines. An image without the file has no names.
fn names(view: &View, path: &Path) -> HashMap<u32, String> {
    let Ok((file, _)) = view.open_file(path) else {
        return HashMap::new();
    };
    let mut text = Vec::new();
    if file.take(NAMES_LIMIT).read_to_end(&mut text).is_err() {
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
    fn the_first_name_of_an_id_counts() {
        let names = parse_names(
            "root:x:0:0:root:/root:/bin/sh\nbad line\ntoor:x:0:0::/:\nwww:x:33:33::/:\n",
        );
        assert_eq!(names.get(&0).map(String::as_str), Some("root"));
        assert_eq!(names.get(&33).map(String::as_str), Some("www"));
        assert_eq!(names.len(), 2);
    }
}
