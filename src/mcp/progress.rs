//! Progress notifications: the newest output line of a running command, at a bounded rate.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rmcp::RoleServer;
use rmcp::model::{ProgressNotificationParam, ProgressToken};
use rmcp::service::Peer;
use tokio::sync::watch;
use tokio::time::Instant;
use uuid::Uuid;

use crate::tools::{OutputStream, Watcher, visible};

/// Shortest time between two notifications.
const INTERVAL: Duration = Duration::from_millis(100);
/// Longest time without a notification. Clients take silence for a hang.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// How long the last notification may delay the answer.
const LAST_TIMEOUT: Duration = Duration::from_secs(1);
/// Bytes of a line that are shown.
const MAX_LINE_BYTES: usize = 200;

/// Progress of one call: the newest line, and the operation that the call follows.
pub(super) struct CallProgress {
    message: watch::Sender<String>,
    operation: watch::Sender<FollowedOperation>,
    over: AtomicBool,
    /// The beginning of a line whose end has not arrived.
    partial: Mutex<Vec<u8>>,
}

/// The operation that a call follows.
#[derive(Clone, Copy, Default)]
struct FollowedOperation {
    id: Option<Uuid>,
    /// Whether the client has this operation's id as a task.
    is_pinned: bool,
}

impl CallProgress {
    pub(super) fn new() -> Self {
        Self {
            message: watch::Sender::new(String::new()),
            operation: watch::Sender::default(),
            over: AtomicBool::new(false),
            partial: Mutex::default(),
        }
    }

    /// Returns the newest line, empty if there is none yet.
    pub(super) fn message(&self) -> String {
        self.message.borrow().clone()
    }

    /// Reports whether the call has ended.
    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    /// Records that the call has ended.
    pub(super) fn set_over(&self) {
        self.over.store(true, Ordering::Release);
    }

    /// Returns the operation, if the call follows one.
    pub(super) fn known_operation(&self) -> Option<Uuid> {
        self.operation.borrow().id
    }

    /// Pins the operation, which the client gets as a task: no other operation can replace it.
    pub(super) fn pin_operation(&self) -> Option<Uuid> {
        let mut pinned = None;
        self.operation.send_modify(|operation| {
            operation.is_pinned = operation.id.is_some();
            pinned = operation.id;
        });
        pinned
    }

    /// Waits until the call follows an operation, and returns it. Waits without end if the call
    /// starts no operation.
    pub(super) async fn operation(&self) -> Uuid {
        let mut operation = self.operation.subscribe();
        loop {
            if let Some(known) = operation.borrow_and_update().id {
                return known;
            }
            if operation.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Makes a line the newest one.
    fn show(&self, line: &[u8]) {
        let text = String::from_utf8_lossy(line);
        let text: String = text
            .trim_end()
            .chars()
            .filter(|c| !c.is_control())
            .collect();
        self.message.send_replace(visible(&text).into_owned());
    }
}

impl Watcher for CallProgress {
    fn output(&self, _stream: OutputStream, bytes: &[u8]) {
        let mut partial = self
            .partial
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let begun = std::mem::take(&mut *partial);
        // A carriage return restarts the line, as progress bars do.
        let mut pieces = bytes
            .rsplit(|byte| matches!(byte, b'\n' | b'\r'))
            .enumerate()
            .peekable();
        while let Some((from_end, piece)) = pieces.next() {
            let is_first = pieces.peek().is_none();
            let mut line = if is_first { begun.clone() } else { Vec::new() };
            let room = MAX_LINE_BYTES.saturating_sub(line.len());
            line.extend_from_slice(&piece[..piece.len().min(room)]);
            let is_blank = line.trim_ascii().is_empty();
            if !is_blank {
                self.show(&line);
            }
            if from_end == 0 {
                *partial = line;
            }
            if !is_blank {
                break;
            }
        }
    }

    fn started(&self, operation: Uuid) {
        self.operation
            .send_modify(|followed| followed.id = Some(operation));
    }

    fn may_restart(&self) -> bool {
        self.operation.send_if_modified(|operation| {
            let may_restart = !operation.is_pinned;
            if may_restart {
                operation.id = None;
            }
            may_restart
        })
    }

    fn progress(&self, message: &str) {
        self.message.send_replace(visible(message).into_owned());
    }
}

/// Runs `work` and sends the client the newest line until it is done.
///
/// Updates that a slow client cannot take are skipped. No notification is in flight when this
/// returns, so that none follows the answer.
pub(super) async fn report<T>(
    peer: &Peer<RoleServer>,
    token: Option<ProgressToken>,
    progress: &CallProgress,
    work: impl Future<Output = T>,
) -> T {
    let Some(token) = token else {
        return work.await;
    };
    let started = Instant::now();
    let mut lines = progress.message.subscribe();
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            biased;
            done = &mut work => return done,
            changed = tokio::time::timeout(HEARTBEAT, lines.changed()) => {
                if matches!(changed, Ok(Err(_))) {
                    return work.await;
                }
            }
        }
        let elapsed = started.elapsed().as_secs_f64();
        let line = lines.borrow_and_update().clone();
        let message = if line.is_empty() {
            format!("running for {elapsed:.0} s")
        } else {
            line
        };
        let notification =
            ProgressNotificationParam::new(token.clone(), elapsed).with_message(message);
        let mut notify = std::pin::pin!(peer.notify_progress(notification));
        let sent = tokio::select! {
            sent = &mut notify => sent,
            done = &mut work => {
                let _ = tokio::time::timeout(LAST_TIMEOUT, notify).await;
                return done;
            }
        };
        if sent.is_err() {
            return work.await;
        }
        tokio::select! {
            biased;
            done = &mut work => return done,
            () = tokio::time::sleep(INTERVAL) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(pieces: &[&str]) -> Vec<String> {
        let progress = CallProgress::new();
        pieces
            .iter()
            .map(|piece| {
                progress.output(OutputStream::Stdout, piece.as_bytes());
                progress.message.borrow().clone()
            })
            .collect()
    }

    #[test]
    fn the_newest_line_is_kept() {
        assert_eq!(
            shown(&["one\ntwo\n", "thr", "ee\n", "\n"]),
            ["two", "thr", "three", "three"]
        );
        assert_eq!(shown(&["a\nb\nc\nd"]), ["d"]);
    }

    #[test]
    fn a_pinned_operation_is_not_replaced() {
        let progress = CallProgress::new();
        assert_eq!(progress.pin_operation(), None);
        progress.started(Uuid::from_u128(1));
        assert!(progress.may_restart());
        assert_eq!(progress.pin_operation(), None);
        progress.started(Uuid::from_u128(2));
        assert_eq!(progress.pin_operation(), Some(Uuid::from_u128(2)));
        assert!(!progress.may_restart());
        assert_eq!(progress.known_operation(), Some(Uuid::from_u128(2)));
    }

    #[test]
    fn a_progress_bar_shows_its_latest_state() {
        assert_eq!(shown(&["10%\r20%", "\r30%\r"]), ["20%", "30%"]);
        assert_eq!(shown(&["a\r\n", "b\r", "\n", "\r\r"]), ["a", "b", "b", "b"]);
        // Without any line end, the bar is still not cut off.
        let bar = |percent: u32| format!("\r{} {percent}%", "#".repeat(MAX_LINE_BYTES / 2));
        let bars: Vec<String> = (1..9).map(bar).collect();
        let pieces: Vec<&str> = bars.iter().map(String::as_str).collect();
        let expected: Vec<&str> = bars.iter().map(|bar| &bar[1..]).collect();
        assert_eq!(shown(&pieces), expected);
    }

    #[test]
    fn a_long_line_is_cut_and_control_characters_are_dropped() {
        assert_eq!(shown(&[&"x".repeat(5000)])[0].len(), MAX_LINE_BYTES);
        assert_eq!(shown(&["\u{1b}[1mbold\u{7}\n"]), ["[1mbold"]);
        assert_eq!(shown(&["re\u{202e}versed\n"]), [r"re\u{202e}versed"]);
    }
}
