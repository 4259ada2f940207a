//! Pauses the processes of a sandbox for its watcher. Pid 1 does this.

use std::collections::HashSet;
use std::fs;

use crate::os::sys;

/// The processes that were stopped before the pause. They stay stopped after it.
#[derive(Debug, Default)]
pub(super) struct PausedProcesses {
    stopped_before: HashSet<i32>,
}

impl PausedProcesses {
    /// Stops every process except pid 1.
    pub(super) fn pause() -> Self {
        let stopped_before = processes().filter(|&process| is_stopped(process)).collect();
        let _ = sys::kill(-1, libc::SIGSTOP);
        Self { stopped_before }
    }

    /// Continues the processes that ran before the pause.
    pub(super) fn resume(self) {
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
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// Returns true if a signal has stopped the process.
fn is_stopped(process: i32) -> bool {
    // The name of the program comes first, in parentheses, and may contain any character.
    fs::read(format!("/proc/{process}/stat")).is_ok_and(|text| {
        let end = text.iter().rposition(|&byte| byte == b')');
        end.is_some_and(|end| text[end..].starts_with(b") T"))
    })
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
}
