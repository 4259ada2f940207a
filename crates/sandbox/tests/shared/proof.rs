//! The proof that a program is in a sandbox with loopback alone, so that its attacks are harmless.

use std::fs;

/// Returns what shows that this process is elsewhere. `None` in such a sandbox.
pub(crate) fn contradiction() -> Option<String> {
    let init = fs::read_to_string("/proc/1/comm").unwrap_or_default();
    let devices = fs::read_to_string("/proc/net/dev").unwrap_or_default();
    let interfaces: Vec<_> = devices
        .lines()
        .skip(2)
        .filter_map(|line| line.split(':').next())
        .map(str::trim)
        .collect();
    let is_proof = init.trim() == "contree-init" && interfaces == ["lo"];
    (!is_proof).then(|| format!("init {init:?}, interfaces {interfaces:?}"))
}
