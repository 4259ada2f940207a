//! Pauses the processes of a sandbox for its watcher and for snapshots. Pid 1 does this.

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use crate::os::sys;

/// How long processes may take to stop. A call into the kernel may hold one up.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);
/// The time between two checks of processes that have not stopped.
const STOP_POLL: Duration = Duration::from_millis(1);

/// A part of the program that needs the processes to stand still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PauseHolder {
    /// The watcher of the writable layer.
    Watcher,
    /// The engine, which takes a snapshot.
    Engine,
}

/// The pause of a sandbox. It lasts until the last holder releases it.
#[derive(Debug, Default)]
pub(super) struct Pause {
    holders: Vec<PauseHolder>,
    paused: PausedProcesses,
}

impl Pause {
    /// Stops the processes, unless they are stopped already.
    pub(super) fn hold(&mut self, holder: PauseHolder) {
        if self.holders.is_empty() {
            self.paused = PausedProcesses::pause();
        }
        if !self.holders.contains(&holder) {
            self.holders.push(holder);
        }
    }

    /// Continues the processes, unless another holder needs the pause.
    pub(super) fn release(&mut self, holder: PauseHolder) {
        let held = self.holders.len();
        self.holders.retain(|other| *other != holder);
        if self.holders.is_empty() && held > 0 {
            std::mem::take(&mut self.paused).resume();
        }
    }

    /// Waits until every process but pid 1 stands still.
    ///
    /// # Errors
    /// ETIMEDOUT if one does not stop in time.
    pub(super) fn wait_until_still() -> Result<(), Errno> {
        let deadline = Instant::now() + STOP_TIMEOUT;
        while processes().any(|process| process != 1 && !stands_still(process)) {
            if Instant::now() >= deadline {
                return Err(Errno::TIMEDOUT);
            }
            std::thread::sleep(STOP_POLL);
        }
        Ok(())
    }
}

/// The processes that were stopped before the pause. They stay stopped after it.
#[derive(Debug, Default)]
struct PausedProcesses {
    stopped_before: HashSet<i32>,
}

impl PausedProcesses {
    /// Stops every process except pid 1.
    fn pause() -> Self {
        let stopped_before = processes().filter(|&process| is_stopped(process)).collect();
        let _ = sys::kill(-1, libc::SIGSTOP);
        Self { stopped_before }
    }

    /// Continues the processes that ran before the pause.
    fn resume(self) {
        if self.stopped_before.is_empty() {
            let _ = sys::kill(-1, libc::SIGCONT);
            return;
        }
        for process in processes() {
            if process != 1 && !self.stopped_before.contains(&process) {
                let _ = sys::kill(process, libc::SIGCONT);
            }
        }
    }
}

fn processes() -> impl Iterator<Item = i32> {
    numbers_in(Path::new("/proc"))
}

/// The entries of a directory that are numbers.
fn numbers_in(directory: &Path) -> impl Iterator<Item = i32> {
    fs::read_dir(directory)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// Returns true if a signal has stopped the process, or will do so at once.
fn is_stopped(process: i32) -> bool {
    state(Path::new(&format!("/proc/{process}/stat"))) == Some(b'T') || stop_is_pending(process)
}

/// Returns true if SIGSTOP waits for the process, which cannot refuse it (proc_pid_status(5)).
fn stop_is_pending(process: i32) -> bool {
    let Ok(status) = fs::read_to_string(format!("/proc/{process}/status")) else {
        return false;
    };
    let bit = 1_u64 << (libc::SIGSTOP - 1);
    status
        .lines()
        .filter_map(|line| {
            line.strip_prefix("ShdPnd:")
                .or_else(|| line.strip_prefix("SigPnd:"))
        })
        .filter_map(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .any(|mask| mask & bit != 0)
}

/// Returns true if no thread of the process can run. A process that is gone stands still.
fn stands_still(process: i32) -> bool {
    let tasks = format!("/proc/{process}/task");
    numbers_in(Path::new(&tasks)).all(|task| {
        let state = state(Path::new(&format!("{tasks}/{task}/stat")));
        // Stopped by a signal or by a tracer, or ended.
        state.is_none_or(|state| matches!(state, b'T' | b't' | b'Z' | b'X'))
    })
}

/// The state of a process or thread, as one letter. `None` if it is gone.
fn state(stat: &Path) -> Option<u8> {
    let text = fs::read(stat).ok()?;
    // The name of the program comes first, in parentheses, and may contain any character.
    let end = text.iter().rposition(|&byte| byte == b')')?;
    text.get(end + 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stopped_process_is_recognized() {
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        assert!(processes().any(|process| process == pid));
        assert!(!is_stopped(pid));
        sys::kill(pid, libc::SIGSTOP).unwrap();
        while !is_stopped(pid) {
            std::thread::yield_now();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!is_stopped(pid));
    }

    #[test]
    fn a_process_stands_still_once_all_of_its_threads_do() {
        // A thread of this process runs: the test itself.
        assert!(!stands_still(i32::try_from(std::process::id()).unwrap()));
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        sys::kill(pid, libc::SIGSTOP).unwrap();
        while !stands_still(pid) {
            std::thread::yield_now();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(stands_still(pid));
    }
}
