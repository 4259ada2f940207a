//! Manifests, indexes and configurations of images (OCI image-spec 1.1; Docker's image manifest version 2, schema 2).

use std::collections::BTreeMap;

use serde::Deserialize;

use super::Digest;

/// Largest manifest, index or configuration that is read.
pub const LARGEST: usize = 4 * 1024 * 1024;
/// Most layers of an image.
pub const LAYERS: usize = 127;

/// The kinds of manifest that are asked for.
pub const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json";

/// A piece of content, by its digest.
#[derive(Clone, Debug, Deserialize)]
pub struct Descriptor {
    /// The media type of the content.
    #[serde(rename = "mediaType", default)]
    pub media_type: String,
    /// The digest of the content.
    pub digest: Digest,
    /// The size of the content in bytes.
    pub size: u64,
    /// Other places that have the content.
    #[serde(default)]
    pub urls: Vec<String>,
    /// The platform of the image that the content is the manifest of.
    #[serde(default)]
    pub platform: Option<Platform>,
    /// Arbitrary notes of the image's maker.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
}

/// A machine that an image is for.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
pub struct Platform {
    /// The processor architecture, such as `amd64`.
    #[serde(default)]
    pub architecture: String,
    /// The operating system, such as `linux`.
    #[serde(default)]
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

/// What a reference leads to.
#[derive(Clone, Debug)]
pub enum Document {
    /// One image.
    Image(Manifest),
    /// Images of several platforms.
    Index(Index),
}

/// Images of several platforms.
#[derive(Clone, Debug, Deserialize)]
pub struct Index {
    /// The images' manifests.
    pub manifests: Vec<Descriptor>,
}

/// One image: its configuration and its layers, the bottom first.
#[derive(Clone, Debug, Deserialize)]
pub struct Manifest {
    /// The image's configuration.
    pub config: Descriptor,
    /// The layers, the bottom first.
    pub layers: Vec<Descriptor>,
}

/// What is used of an image's configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// The platform that the image is for.
    pub platform: Platform,
    /// Of the unpacked layers, the bottom first.
    pub diff_ids: Vec<Digest>,
    /// The variables of commands.
    pub env: BTreeMap<String, String>,
}

/// Why an image cannot be taken, as a sentence about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// The manifest or index is no JSON, or lacks what it must have.
    #[error("its manifest cannot be read: {0}")]
    Manifest(#[source] serde_json::Error),
    /// The configuration is no JSON, or lacks what it must have.
    #[error("its configuration cannot be read: {0}")]
    Configuration(#[source] serde_json::Error),
    /// The manifest is of the first kind that Docker had.
    #[error(
        "its manifest is of Docker's schema 1, which registries gave up in 2017: push the image again with a current tool"
    )]
    Schema1,
    /// It is neither an image nor an index.
    #[error("what it names is no image: its manifest has neither layers nor manifests, or both")]
    NeitherImageNorIndex,
    /// The configuration is not that of an image.
    #[error("what it names is no image, but something of type `{0}`")]
    OtherArtifact(String),
    /// The configuration is too large.
    #[error("its configuration is larger than {LARGEST} bytes")]
    LargeConfiguration,
    /// The image has too many layers.
    #[error("it has {0} layers, and at most {LAYERS} are taken")]
    TooManyLayers(usize),
    /// A layer is kept elsewhere.
    #[error(
        "its layer {digest} may not be distributed and is not in the registry (type `{kind}`); such layers belong to Windows images"
    )]
    ForeignLayer {
        /// The layer.
        digest: Digest,
        /// Its media type.
        kind: String,
    },
    /// A layer is packed in a way that is not known.
    #[error("its layer {digest} is of type `{kind}`, which is not supported")]
    UnknownLayer {
        /// The layer.
        digest: Digest,
        /// Its media type.
        kind: String,
    },
    /// The index has no image for this machine.
    #[error("it has no image for {here}, which this machine is; it has images for {others}")]
    NoPlatform {
        /// This machine.
        here: Box<Platform>,
        /// The platforms that there are, separated by commas.
        others: String,
    },
    /// The image is for another machine.
    #[error("it is an image for {of}, and this machine is {here}")]
    OtherPlatform {
        /// The image's platform.
        of: Box<Platform>,
        /// This machine.
        here: Box<Platform>,
    },
}

/// Reads a manifest or an index.
///
/// # Errors
/// What is wrong with it.
pub fn read(bytes: &[u8]) -> Result<Document, ManifestError> {
    #[derive(Deserialize)]
    struct Probe {
        #[serde(rename = "schemaVersion", default)]
        schema: u32,
        manifests: Option<serde_json::Value>,
        layers: Option<serde_json::Value>,
    }
    let bad = ManifestError::Manifest;
    let probe: Probe = serde_json::from_slice(bytes).map_err(bad)?;
    if probe.schema == 1 {
        return Err(ManifestError::Schema1);
    }
    match (probe.manifests, probe.layers) {
        (Some(_), None) => Ok(Document::Index(serde_json::from_slice(bytes).map_err(bad)?)),
        (None, Some(_)) => {
            let manifest: Manifest = serde_json::from_slice(bytes).map_err(bad)?;
            check(&manifest)?;
            Ok(Document::Image(manifest))
        }
        _ => Err(ManifestError::NeitherImageNorIndex),
    }
}

fn check(manifest: &Manifest) -> Result<(), ManifestError> {
    let kind = manifest.config.media_type.as_str();
    if !kind.is_empty() && !kind.contains("container.image") && !kind.contains("oci.image.config") {
        return Err(ManifestError::OtherArtifact(kind.to_owned()));
    }
    if manifest.config.size > LARGEST as u64 {
        return Err(ManifestError::LargeConfiguration);
    }
    if manifest.layers.len() > LAYERS {
        return Err(ManifestError::TooManyLayers(manifest.layers.len()));
    }
    manifest.layers.iter().try_for_each(check_layer)
}

fn check_layer(layer: &Descriptor) -> Result<(), ManifestError> {
    let kind = layer.media_type.as_str();
    if kind.contains("foreign") || kind.contains("nondistributable") || !layer.urls.is_empty() {
        return Err(ManifestError::ForeignLayer {
            digest: layer.digest.clone(),
            kind: kind.to_owned(),
        });
    }
    let known = kind.is_empty()
        || ["", "+gzip", "+zstd"]
            .iter()
            .any(|end| kind == format!("application/vnd.oci.image.layer.v1.tar{end}"))
        || ["", ".gzip", ".zstd"]
            .iter()
            .any(|end| kind == format!("application/vnd.docker.image.rootfs.diff.tar{end}"));
    if known {
        return Ok(());
    }
    Err(ManifestError::UnknownLayer {
        digest: layer.digest.clone(),
        kind: kind.to_owned(),
    })
}

/// The manifest of an index that is for this machine.
///
/// # Errors
/// Which platforms there are instead.
pub fn choose(index: &Index) -> Result<&Descriptor, ManifestError> {
    let here = this_platform();
    let images: Vec<&Descriptor> = index
        .manifests
        .iter()
        // Attestations stand among the images, as being for no machine.
        .filter(|entry| entry.platform.as_ref().is_none_or(|p| p.os != "unknown"))
        .collect();
    if let [only] = images.as_slice()
        && only.platform.is_none()
    {
        return Ok(only);
    }
    let rank = |entry: &Descriptor| {
        let platform = entry.platform.as_ref()?;
        if (platform.os.as_str(), platform.architecture.as_str())
            != ("linux", here.architecture.as_str())
        {
            return None;
        }
        variant_rank(&here, platform.variant.as_deref())
    };
    let best = images
        .iter()
        .filter_map(|entry| rank(entry).map(|rank| (rank, *entry)))
        .min_by_key(|(rank, _)| *rank);
    if let Some((_, entry)) = best {
        return Ok(entry);
    }
    let mut others: Vec<String> = images
        .iter()
        .map(|entry| {
            entry
                .platform
                .as_ref()
                .map_or_else(|| "an unnamed one".into(), ToString::to_string)
        })
        .collect();
    others.sort();
    others.dedup();
    others.truncate(20);
    Err(ManifestError::NoPlatform {
        here: Box::new(here),
        others: if others.is_empty() {
            "no platform".to_owned()
        } else {
            others.join(", ")
        },
    })
}

/// How well a variant fits this machine, the best first; `None` if it may not run here.
fn variant_rank(here: &Platform, variant: Option<&str>) -> Option<u8> {
    match (here.architecture.as_str(), variant.unwrap_or_default()) {
        (_, "") => Some(0),
        // Later variants of amd64 need instructions that this machine may not have.
        ("amd64", "v1") => Some(1),
        ("arm64", "v8" | "8") => Some(1),
        ("arm", "v7" | "7") => Some(1),
        ("arm", "v6" | "6") => Some(2),
        ("arm", "v5" | "5") => Some(3),
        ("amd64" | "arm64" | "arm", _) => None,
        _ => Some(1),
    }
}

/// This machine, as images call it.
pub fn this_platform() -> Platform {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "x86" => "386",
        "aarch64" => "arm64",
        "loongarch64" => "loong64",
        "powerpc64" if cfg!(target_endian = "little") => "ppc64le",
        other => other,
    };
    Platform {
        architecture: architecture.to_owned(),
        os: "linux".to_owned(),
        variant: None,
    }
}

/// Reads a configuration, and checks that its image can run here.
///
/// # Errors
/// What is wrong with it.
pub fn config(bytes: &[u8]) -> Result<Config, ManifestError> {
    #[derive(Deserialize)]
    struct File {
        #[serde(flatten)]
        platform: Platform,
        rootfs: Rootfs,
        #[serde(default)]
        config: Option<Settings>,
    }
    #[derive(Deserialize)]
    struct Rootfs {
        #[serde(default)]
        diff_ids: Vec<Digest>,
    }
    #[derive(Deserialize, Default)]
    struct Settings {
        #[serde(rename = "Env", default)]
        env: Option<Vec<String>>,
    }
    let file: File = serde_json::from_slice(bytes).map_err(ManifestError::Configuration)?;
    let (here, of) = (this_platform(), &file.platform);
    let fits = |named: &str, wanted: &str| named.is_empty() || named == wanted;
    if !fits(&of.os, &here.os) || !fits(&of.architecture, &here.architecture) {
        return Err(ManifestError::OtherPlatform {
            of: Box::new(of.clone()),
            here: Box::new(here),
        });
    }
    let env = file
        .config
        .and_then(|settings| settings.env)
        .unwrap_or_default()
        .iter()
        .filter_map(|line| line.split_once('='))
        .filter(|(name, value)| !name.is_empty() && !name.contains('\0') && !value.contains('\0'))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    Ok(Config {
        platform: file.platform,
        diff_ids: file.rootfs.diff_ids,
        env,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn descriptor(platform: serde_json::Value) -> serde_json::Value {
        json!({"digest": Digest::of(platform.to_string().as_bytes()), "size": 1, "platform": platform})
    }

    fn index(platforms: &[serde_json::Value]) -> Index {
        let manifests: Vec<_> = platforms.iter().cloned().map(descriptor).collect();
        match read(
            json!({"schemaVersion": 2, "manifests": manifests})
                .to_string()
                .as_bytes(),
        ) {
            Ok(Document::Index(index)) => index,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn this_machines_image_is_chosen() {
        let here = this_platform().architecture;
        let mine = json!({"os": "linux", "architecture": here});
        let unknown = json!({"os": "unknown", "architecture": "unknown"});
        let windows = json!({"os": "windows", "architecture": here});
        let strange = json!({"os": "linux", "architecture": "strange"});
        let all = index(&[
            windows.clone(),
            strange.clone(),
            unknown.clone(),
            mine.clone(),
        ]);
        assert_eq!(choose(&all).unwrap().digest, all.manifests[3].digest);
        let said = choose(&index(&[windows, strange, unknown]))
            .unwrap_err()
            .to_string();
        assert!(
            said.contains("linux/strange, windows/") && !said.contains("unknown"),
            "{said}"
        );
        if here == "amd64" {
            let variants = index(&[
                json!({"os": "linux", "architecture": "amd64", "variant": "v3"}),
                json!({"os": "linux", "architecture": "amd64", "variant": "v1"}),
            ]);
            assert_eq!(
                choose(&variants).unwrap().digest,
                variants.manifests[1].digest
            );
        }
        let unnamed = index(&[json!(null)]);
        assert!(choose(&unnamed).is_ok());
    }

    #[test]
    fn what_is_no_image_is_told() {
        let digest = Digest::of(b"");
        let layer = |kind: &str| json!({"mediaType": kind, "digest": digest, "size": 1});
        let manifest = |kind: &str, layers: Vec<serde_json::Value>| json!({"schemaVersion": 2, "config": {"mediaType": kind, "digest": digest, "size": 1}, "layers": layers});
        let oci = "application/vnd.oci.image.config.v1+json";
        for (document, word) in [
            (json!({"schemaVersion": 1}), "schema 1"),
            (json!({"schemaVersion": 2}), "no image"),
            (json!([1]), "cannot be read"),
            (
                manifest("application/vnd.cncf.helm.config.v1+json", vec![]),
                "helm",
            ),
            (
                manifest(
                    oci,
                    vec![layer(
                        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
                    )],
                ),
                "Windows",
            ),
            (
                manifest(
                    oci,
                    vec![layer(
                        "application/vnd.oci.image.layer.v1.tar+gzip+encrypted",
                    )],
                ),
                "encrypted",
            ),
            (manifest(oci, vec![layer(""); 128]), "128 layers"),
        ] {
            let said = read(document.to_string().as_bytes())
                .unwrap_err()
                .to_string();
            assert!(said.contains(word), "{said}");
        }
        let bad = json!({"schemaVersion": 2, "layers": [], "config": {"digest": "sha256:../../x", "size": 1}});
        assert!(read(bad.to_string().as_bytes()).is_err());
    }

    #[test]
    fn only_env_is_taken_of_a_configuration() {
        let file = json!({
            "architecture": "", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [Digest::of(b"")]},
            "config": {"Env": ["A=1=2", "nonsense", "=x", "B="], "Cmd": ["sh"], "WorkingDir": "/w"},
        });
        let config = config(file.to_string().as_bytes()).unwrap();
        let env: Vec<_> = config.env.iter().map(|(k, v)| format!("{k}={v}")).collect();
        assert_eq!(env, ["A=1=2", "B="]);
        let other = json!({"architecture": "strange", "os": "linux", "rootfs": {}});
        let said = super::config(other.to_string().as_bytes())
            .unwrap_err()
            .to_string();
        assert!(said.contains("linux/strange"), "{said}");
    }
}
