//! What an import tells of itself: lines in its operation's log.
//!
//! The API's events know no import of their own, so these are `stdout` of the system (`spid` 0).

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use contree_sandbox::UnpackReport;

use crate::api::types::OperationEventType;
use crate::operation::events::stream;
use crate::operation::running::Running;

/// How often a download tells how far it is.
const EVERY: Duration = Duration::from_secs(1);

/// The log of an import.
#[derive(Clone)]
pub(super) struct Progress {
    running: Arc<Running>,
    download: Arc<Download>,
}

struct Download {
    arrived: AtomicU64,
    total: AtomicU64,
    told: Mutex<Instant>,
}

impl Progress {
    pub(super) fn new(running: Arc<Running>) -> Self {
        Self {
            running,
            download: Arc::new(Download {
                arrived: AtomicU64::new(0),
                total: AtomicU64::new(0),
                told: Mutex::new(Instant::now()),
            }),
        }
    }

    /// Adds a line.
    pub(super) fn line(&self, text: &str) {
        let text = format!("{text}\n");
        self.running
            .log
            .append(0, OperationEventType::Stdout, stream(text.as_bytes()));
    }

    /// How many bytes there are to download.
    pub(super) fn expect(&self, bytes: u64) {
        self.download.total.store(bytes, Ordering::Relaxed);
    }

    /// Counts bytes of the download; `back` are those that have to come again.
    pub(super) fn arrived(&self, more: u64, back: u64) {
        let arrived = &self.download.arrived;
        arrived.fetch_sub(back, Ordering::Relaxed);
        let now = arrived.fetch_add(more, Ordering::Relaxed) + more;
        let total = self.download.total.load(Ordering::Relaxed);
        let mut told = self
            .download
            .told
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if told.elapsed() >= EVERY && now < total {
            *told = Instant::now();
            drop(told);
            self.line(&format!("downloaded {} of {}", size(now), size(total)));
        }
    }

    /// Says what is not as it was in the image.
    pub(super) fn differences(&self, of: &UnpackReport) {
        let told = |count: u64, what: &str| {
            if count > 0 {
                self.line(&format!("{count} {what}"));
            }
        };
        told(
            of.devices,
            "device nodes were left out: a sandbox has a /dev of its own",
        );
        told(
            of.all_root,
            "files of other users belong to root: this data directory has one user id alone",
        );
        told(
            of.unknown_owners,
            "files whose owners are beyond this data directory's range of ids belong to nobody (65534)",
        );
    }
}

/// Bytes for people.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["kB", "MB", "GB", "TB"];
    let mut value = bytes as f64;
    let mut shown = None;
    for unit in UNITS {
        if value < 1000.0 {
            break;
        }
        value /= 1000.0;
        shown = Some(unit);
    }
    match shown {
        Some(unit) => format!("{value:.1} {unit}"),
        None => format!("{bytes} bytes"),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn sizes() {
        for (bytes, text) in [
            (0, "0 bytes"),
            (999, "999 bytes"),
            (1000, "1.0 kB"),
            (77_620_000, "77.6 MB"),
            (u64::MAX, "18446744.1 TB"),
        ] {
            assert_eq!(super::size(bytes), text);
        }
    }
}
