//! Resource usage of processes, as the kernel counts it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Resource usage of processes, as the kernel counts it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// CPU time in user mode.
    pub user: Duration,
    /// CPU time in the kernel.
    pub system: Duration,
    /// The largest resident set of one process, in KiB.
    pub max_rss_kb: u64,
    /// Page faults served without reading from disk.
    pub minor_faults: u64,
    /// Page faults that read from disk.
    pub major_faults: u64,
    /// Blocks of 512 bytes read from disk.
    pub block_input: u64,
    /// Blocks of 512 bytes written to disk.
    pub block_output: u64,
    /// Times a process yielded the CPU to wait.
    pub voluntary_switches: u64,
    /// Times the kernel preempted a process.
    pub involuntary_switches: u64,
}
