//! The processes below a process, and their memory.

use std::fs;

use rustix::param::page_size;

/// The most processes that are counted.
const MAX_PROCESSES: u64 = 65_536;

/// The processes below one, and the memory that they use together. Memory that several share
/// counts for each of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct TreeUse {
    pub(crate) processes: u64,
    pub(crate) memory_bytes: u64,
}

/// Measures the processes below `root`, without `root` itself.
pub(crate) fn measure(root: u32) -> TreeUse {
    let mut found = TreeUse::default();
    let mut pending = children(root);
    while let Some(process) = pending.pop() {
        if found.processes >= MAX_PROCESSES {
            break;
        }
        found.processes += 1;
        found.memory_bytes += resident_bytes(process);
        pending.extend(children(process));
    }
    found
}

/// The children of all threads of a process. The list is empty if it is gone.
fn children(process: u32) -> Vec<u32> {
    let tasks = fs::read_dir(format!("/proc/{process}/task"));
    let mut found = Vec::new();
    for task in tasks.into_iter().flatten().flatten() {
        let text = fs::read_to_string(task.path().join("children")).unwrap_or_default();
        found.extend(
            text.split_whitespace()
                .filter_map(|pid| pid.parse::<u32>().ok()),
        );
    }
    found
}

fn resident_bytes(process: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{process}/statm")).unwrap_or_default();
    let pages: u64 = text
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse().ok())
        .unwrap_or_default();
    pages * page_size() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_and_its_memory_count() {
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let found = measure(std::process::id());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(found.processes >= 1, "{found:?}");
        assert!(found.memory_bytes > 0, "{found:?}");
        // A process that is gone has no children.
        assert_eq!(measure(child.id()), TreeUse::default());
    }
}
