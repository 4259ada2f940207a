//! Reports the progress of an import as lines in its operation's log.
//!
//! The API has no events for imports, so these are `stdout` events of the system (`spid` 0).

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use contree_sandbox::UnpackReport;

use crate::api::types::OperationEventType;
use crate::operation::events::stream;
use crate::operation::running::RunningOperation;

/// The time between progress lines of a download.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// Writes the progress of an import to its log.
#[derive(Clone)]
pub(crate) struct Progress {
    running: Arc<RunningOperation>,
    download: Arc<DownloadCounters>,
}

struct DownloadCounters {
    downloaded: AtomicU64,
    total: AtomicU64,
    last_report: Mutex<Instant>,
}

impl Progress {
    pub(crate) fn new(running: Arc<RunningOperation>) -> Self {
        Self {
            running,
            download: Arc::new(DownloadCounters {
                downloaded: AtomicU64::new(0),
                total: AtomicU64::new(0),
                last_report: Mutex::new(Instant::now()),
            }),
        }
    }

    /// Appends a line.
    pub(crate) fn line(&self, text: &str) {
        let text = format!("{text}\n");
        self.running
            .log
            .append(0, OperationEventType::Stdout, stream(text.as_bytes()));
    }

    /// Sets the number of bytes to download.
    pub(super) fn set_total(&self, bytes: u64) {
        self.download.total.store(bytes, Ordering::Relaxed);
    }

    /// Counts downloaded bytes. `back` is the number of bytes that must be downloaded again.
    pub(super) fn record(&self, more: u64, back: u64) {
        let downloaded = &self.download.downloaded;
        downloaded.fetch_sub(back, Ordering::Relaxed);
        let now = downloaded.fetch_add(more, Ordering::Relaxed) + more;
        let total = self.download.total.load(Ordering::Relaxed);
        let mut last_report = self
            .download
            .last_report
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if last_report.elapsed() >= REPORT_INTERVAL && now < total {
            *last_report = Instant::now();
            drop(last_report);
            self.line(&format!(
                "downloaded {} of {}",
                format_size(now),
                format_size(total)
            ));
        }
    }

    /// Reports how the unpacked files differ from those in the image.
    pub(super) fn report_differences(&self, unpacked: &UnpackReport) {
        let report = |count: u64, what: &str| {
            if count > 0 {
                self.line(&format!("{count} {what}"));
            }
        };
        report(
            unpacked.devices,
            "device nodes were omitted: a sandbox has its own /dev",
        );
        report(
            unpacked.all_root,
            "files of other users now belong to root: this data directory has a single user id",
        );
        report(
            unpacked.unknown_owners,
            "files with owners outside this data directory's id range now belong to nobody (65534)",
        );
    }
}

/// Formats a number of bytes for people.
pub(crate) fn format_size(bytes: u64) -> String {
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
            assert_eq!(super::format_size(bytes), text);
        }
    }
}
