//! Version 1 of the interface: a hierarchy for each controller.

use std::fs;
use std::io;
use std::path::Path;

use super::files::{set, value};

/// The period of quotas in microseconds.
const PERIOD_MICROSECONDS: u32 = 100_000;

/// The memory limit of a group, including those of its ancestors.
pub(super) fn memory_limit(directory: &Path) -> Option<u64> {
    let text = fs::read_to_string(directory.join("memory.stat")).ok()?;
    value(&text, "hierarchical_memory_limit")
}

/// Makes the limit of a group apply to the groups in it. Kernels since 5.11 always do that.
pub(super) fn count_children(directory: &Path) {
    let _ = set(directory, "memory.use_hierarchy", "1");
}

pub(super) fn set_memory(directory: &Path, bytes: u64) -> io::Result<()> {
    let bytes = bytes.to_string();
    set(directory, "memory.limit_in_bytes", &bytes)?;
    // The limit on memory and swap together. The file is missing if swap is not accounted.
    match set(directory, "memory.memsw.limit_in_bytes", &bytes) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

pub(super) fn set_cpus(directory: &Path, cpus: f64) -> io::Result<()> {
    set(
        directory,
        "cpu.cfs_period_us",
        &PERIOD_MICROSECONDS.to_string(),
    )?;
    let quota = format!("{:.0}", cpus * f64::from(PERIOD_MICROSECONDS));
    set(directory, "cpu.cfs_quota_us", &quota)
}
