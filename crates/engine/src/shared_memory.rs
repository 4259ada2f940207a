//! The size of `/dev/shm` in sandboxes.

use std::str::FromStr;

use contree_sandbox::ControlGroups;

use crate::api::request::SpawnRequest;
use crate::error::{EngineError, SettingError};

/// The smallest size that a setting can have. The kernel takes 0 for "unlimited".
const MIN_BYTES: u64 = 64 << 10;
/// The largest size that a setting can have.
const MAX_BYTES: u64 = 1 << 50;
/// The smallest default size where nothing limits the memory of a sandbox.
const MIN_UNLIMITED_BYTES: u64 = 64 << 20;
/// The default size there, as a part of the memory.
const UNLIMITED_DIVISOR: u64 = 8;

/// A size of `/dev/shm`, such as `512m` or `2g`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SharedMemorySize(u64);

impl SharedMemorySize {
    /// The size in bytes.
    #[must_use]
    pub fn bytes(self) -> u64 {
        self.0
    }
}

impl FromStr for SharedMemorySize {
    type Err = EngineError;

    fn from_str(text: &str) -> Result<Self, EngineError> {
        let invalid = || SettingError::SharedMemory(text.to_owned());
        let lower = text.trim().to_ascii_lowercase();
        let end = lower
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(lower.len());
        let (number, unit) = lower.split_at(end);
        let shift = match unit.trim() {
            "" | "b" => 0,
            "k" | "kb" | "kib" => 10,
            "m" | "mb" | "mib" => 20,
            "g" | "gb" | "gib" => 30,
            "t" | "tb" | "tib" => 40,
            _ => return Err(invalid().into()),
        };
        let number: u64 = number.parse().map_err(|_| invalid())?;
        let bytes = number.checked_mul(1 << shift).ok_or_else(invalid)?;
        if !(MIN_BYTES..=MAX_BYTES).contains(&bytes) {
            return Err(invalid().into());
        }
        Ok(Self(bytes))
    }
}

/// The size for each sandbox of an engine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SharedMemory {
    setting: Option<SharedMemorySize>,
}

impl SharedMemory {
    /// `setting`: the size for all sandboxes, or `None` for the default.
    pub(crate) fn new(setting: Option<SharedMemorySize>) -> Self {
        Self { setting }
    }

    /// The size in bytes for a request.
    pub(crate) fn bytes(self, request: &SpawnRequest) -> u64 {
        let groups = ControlGroups::get();
        let limit = request.sandbox_limits().memory_bytes;
        self.setting.map_or_else(
            || {
                default_bytes(
                    limit.or(groups.memory_bytes()),
                    groups.usable_memory_bytes(),
                )
            },
            SharedMemorySize::bytes,
        )
    }
}

/// Half of the memory limit, as Linux does with the memory of a machine. Without a limit, a part of
/// the memory that sandboxes can use.
fn default_bytes(limit: Option<u64>, usable: Option<u64>) -> u64 {
    match limit {
        Some(limit) => (limit / 2).max(MIN_BYTES),
        None => (usable.unwrap_or_default() / UNLIMITED_DIVISOR).max(MIN_UNLIMITED_BYTES),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_depends_on_the_memory_limit() {
        assert_eq!(default_bytes(Some(1 << 30), Some(4 << 30)), 512 << 20);
        assert_eq!(default_bytes(Some(16 << 20), None), 8 << 20);
        assert_eq!(default_bytes(None, Some(8 << 30)), 1 << 30);
        assert_eq!(default_bytes(None, Some(100 << 20)), 64 << 20);
        assert_eq!(default_bytes(None, None), 64 << 20);
    }

    #[test]
    fn sizes_have_binary_units() {
        for (text, bytes) in [
            ("65536", 64 << 10),
            ("64k", 64 << 10),
            (" 512m ", 512 << 20),
            ("512 MiB", 512 << 20),
            ("2G", 2 << 30),
            ("1tb", 1 << 40),
        ] {
            let size: SharedMemorySize = text.parse().expect(text);
            assert_eq!(size.bytes(), bytes, "{text}");
        }
        for text in [
            "",
            "m",
            "0",
            "1k",
            "-1g",
            "1.5g",
            "1x",
            "99999999999999999999g",
            "99999t",
        ] {
            let error = text.parse::<SharedMemorySize>().expect_err(text);
            assert!(error.to_string().contains("512m"), "{error}");
        }
    }
}
