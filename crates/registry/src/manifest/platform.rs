//! Kinds of machines, as images name them.

use serde::Deserialize;

use super::nullable::null_as_default;

/// The kind of machine that an image runs on.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
pub struct Platform {
    /// The processor architecture, such as `amd64`.
    #[serde(default, deserialize_with = "null_as_default")]
    pub architecture: String,
    /// The operating system, such as `linux`.
    #[serde(default, deserialize_with = "null_as_default")]
    pub os: String,
    /// The variant of the architecture, such as `v8`.
    #[serde(default)]
    pub variant: Option<String>,
}

impl std::fmt::Display for Platform {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

/// Ranks a variant for this machine. The best has rank 0; `None` may not run here.
pub(super) fn variant_rank(here: &Platform, variant: Option<&str>) -> Option<u8> {
    match (here.architecture.as_str(), variant.unwrap_or_default()) {
        (_, "") => Some(0),
        // Later variants of amd64 need instructions that this machine may lack.
        ("amd64", "v1") => Some(1),
        ("arm64", "v8" | "8") => Some(1),
        ("arm", "v7" | "7") => Some(1),
        ("arm", "v6" | "6") => Some(2),
        ("arm", "v5" | "5") => Some(3),
        ("amd64" | "arm64" | "arm", _) => None,
        _ => Some(1),
    }
}

/// Returns the name of an architecture in image configurations. Some tools write the kernel's name.
pub(super) fn standard_architecture(name: &str) -> &str {
    match name {
        "x86_64" | "x86-64" => "amd64",
        "i386" | "i486" | "i586" | "i686" | "x86" => "386",
        "aarch64" => "arm64",
        "armhf" | "armv7l" | "armel" => "arm",
        "loongarch64" => "loong64",
        other => other,
    }
}

/// This machine's platform, in the terms of image configurations.
pub fn this_platform() -> Platform {
    let architecture = match std::env::consts::ARCH {
        "powerpc64" if cfg!(target_endian = "little") => "ppc64le",
        other => standard_architecture(other),
    };
    Platform {
        architecture: architecture.to_owned(),
        os: "linux".to_owned(),
        variant: None,
    }
}
