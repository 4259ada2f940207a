//! Parses the configuration of an image.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::ManifestError;
use super::platform::{Platform, standard_architecture, this_platform};
use crate::Digest;

/// The label that holds the saved working directory of an image that Contree made. The working
/// directories of other images do not count as saved.
pub const SAVED_DIRECTORY_LABEL: &str = "dev.contree.cwd";

/// The longest working directory in bytes (`PATH_MAX`).
const MAX_DIRECTORY_BYTES: usize = 4095;

/// The platform, layers and environment from an image's configuration.
#[derive(Clone, Debug)]
pub struct ImageConfig {
    /// The platform that the image is for.
    pub platform: Platform,
    /// The digests of the decompressed layers, the bottom first.
    pub diff_ids: Vec<Digest>,
    /// The environment variables of commands.
    pub env: BTreeMap<String, String>,
    /// The saved working directory, if Contree made the image and saved one.
    pub saved_directory: Option<String>,
}

/// Parses a configuration and checks that the image can run on this machine.
///
/// # Errors
/// Returns the reason why the document cannot be used.
pub fn parse_config(bytes: &[u8]) -> Result<ImageConfig, ManifestError> {
    #[derive(Deserialize)]
    struct ConfigFile {
        #[serde(flatten)]
        platform: Platform,
        rootfs: Rootfs,
        #[serde(default)]
        config: Option<RuntimeSettings>,
    }
    #[derive(Deserialize)]
    struct Rootfs {
        #[serde(default)]
        diff_ids: Vec<Digest>,
    }
    #[derive(Deserialize, Default)]
    struct RuntimeSettings {
        #[serde(rename = "Env", default)]
        env: Option<Vec<String>>,
        #[serde(rename = "Labels", default)]
        labels: Option<BTreeMap<String, Option<String>>>,
    }
    let file: ConfigFile = serde_json::from_slice(bytes).map_err(ManifestError::Configuration)?;
    let (here, platform) = (this_platform(), &file.platform);
    let matches = |stated: &str, wanted: &str| stated.is_empty() || stated == wanted;
    let architecture = standard_architecture(&platform.architecture);
    if !matches(&platform.os, &here.os) || !matches(architecture, &here.architecture) {
        return Err(ManifestError::OtherPlatform {
            platform: Box::new(platform.clone()),
            here: Box::new(here),
        });
    }
    let settings = file.config.unwrap_or_default();
    let saved_directory = settings
        .labels
        .and_then(|mut labels| labels.remove(SAVED_DIRECTORY_LABEL))
        .flatten()
        .filter(|path| {
            path.starts_with('/') && !path.contains('\0') && path.len() <= MAX_DIRECTORY_BYTES
        });
    let env = settings
        .env
        .unwrap_or_default()
        .iter()
        .filter_map(|line| line.split_once('='))
        .filter(|(name, value)| !name.is_empty() && !name.contains('\0') && !value.contains('\0'))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    Ok(ImageConfig {
        platform: file.platform,
        diff_ids: file.rootfs.diff_ids,
        env,
        saved_directory,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn env_and_platform_are_read_from_a_configuration() {
        let file = json!({
            "architecture": "", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [Digest::of(b"")]},
            "config": {"Env": ["A=1=2", "nonsense", "=x", "B="], "Cmd": ["sh"], "WorkingDir": "/w"},
        });
        let config = parse_config(file.to_string().as_bytes()).unwrap();
        let env: Vec<_> = config.env.iter().map(|(k, v)| format!("{k}={v}")).collect();
        assert_eq!(env, ["A=1=2", "B="]);
        let other = json!({"architecture": "strange", "os": "linux", "rootfs": {}});
        let error = parse_config(other.to_string().as_bytes())
            .unwrap_err()
            .to_string();
        assert!(error.contains("linux/strange"), "{error}");
    }
}
