//! Writes the configuration and the manifest of an image (OCI image-spec, config.md and
//! manifest.md). The same input gives the same bytes.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value};

use super::layer::PackedLayer;
use crate::Digest;
pub use crate::manifest::MANIFEST_TYPE;
use crate::manifest::{SAVED_DIRECTORY_LABEL, this_platform};

/// The media type of a configuration.
pub const CONFIG_TYPE: &str = "application/vnd.oci.image.config.v1+json";

/// An entry of the history of an image, for one layer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct HistoryEntry {
    /// The time of its creation (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// The command that made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
    /// A note about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
}

/// The properties of an image besides its layers.
#[derive(Clone, Debug, Default)]
pub struct ImageProperties {
    /// The time of its creation (RFC 3339).
    pub created: Option<String>,
    /// Its environment variables.
    pub env: BTreeMap<String, String>,
    /// Its saved working directory. Empty if there is none.
    pub working_directory: String,
    /// The bytes of the configuration of the image that it is based on. Settings that this image
    /// does not change, such as the entry point, are taken from there.
    pub base: Option<Vec<u8>>,
    /// The number of layers that belong to the base. They are the lowest ones.
    pub base_layers: usize,
    /// An entry for each layer above those of the base, the bottom first.
    pub history: Vec<HistoryEntry>,
}

/// Writes the configuration of an image with these layers, the bottom first.
///
/// # Errors
/// Fails if the configuration of the base is not a JSON object.
pub fn config(
    properties: &ImageProperties,
    layers: &[PackedLayer],
) -> Result<Vec<u8>, serde_json::Error> {
    let mut file: Map<String, Value> = match &properties.base {
        Some(base) => serde_json::from_slice(base)?,
        None => Map::new(),
    };
    // These describe the container in which a layer of the base was built.
    for name in [
        "container",
        "container_config",
        "id",
        "parent",
        "docker_version",
    ] {
        file.remove(name);
    }
    let here = this_platform();
    let missing = |file: &Map<String, Value>, name: &str| {
        file.get(name)
            .and_then(Value::as_str)
            .is_none_or(str::is_empty)
    };
    if missing(&file, "architecture") {
        file.insert("architecture".to_owned(), here.architecture.into());
    }
    if missing(&file, "os") {
        file.insert("os".to_owned(), here.os.into());
    }
    set_or_remove(&mut file, "created", properties.created.clone());
    let mut settings = object(file.remove("config"));
    let env: Vec<Value> = properties
        .env
        .iter()
        .map(|(name, value)| format!("{name}={value}").into())
        .collect();
    settings.insert("Env".to_owned(), env.into());
    if !properties.working_directory.is_empty() {
        let directory = properties.working_directory.clone();
        settings.insert("WorkingDir".to_owned(), directory.into());
    }
    let mut labels = object(settings.remove("Labels"));
    let directory = properties.working_directory.clone();
    labels.insert(SAVED_DIRECTORY_LABEL.to_owned(), directory.into());
    settings.insert("Labels".to_owned(), labels.into());
    file.insert("config".to_owned(), settings.into());
    let history = history(properties, file.remove("history"), layers.len())?;
    file.insert("history".to_owned(), history.into());
    let rootfs = Rootfs {
        kind: "layers",
        diff_ids: layers.iter().map(|layer| &layer.diff_id).collect(),
    };
    file.insert("rootfs".to_owned(), serde_json::to_value(rootfs)?);
    // The fields are sorted, so that their order in the base does not matter.
    let sorted: BTreeMap<String, Value> = file.into_iter().collect();
    serde_json::to_vec(&sorted)
}

/// The history of the base, and that of the layers above. If the history of the base does not fit
/// its layers, each of them gets an empty entry.
fn history(
    properties: &ImageProperties,
    base: Option<Value>,
    layers: usize,
) -> Result<Vec<Value>, serde_json::Error> {
    let base_layers = properties.base_layers.min(layers);
    let makes_layer = |entry: &Value| entry.get("empty_layer") != Some(&Value::Bool(true));
    let known = match base {
        Some(Value::Array(entries)) => entries,
        _ => Vec::new(),
    };
    let mut history = known;
    if history.iter().filter(|entry| makes_layer(entry)).count() != base_layers {
        let unknown = serde_json::to_value(HistoryEntry::default())?;
        history = vec![unknown; base_layers];
    }
    for at in 0..layers - base_layers {
        let entry = properties.history.get(at).cloned().unwrap_or_default();
        history.push(serde_json::to_value(entry)?);
    }
    Ok(history)
}

fn object(value: Option<Value>) -> Map<String, Value> {
    match value {
        Some(Value::Object(object)) => object,
        _ => Map::new(),
    }
}

fn set_or_remove(file: &mut Map<String, Value>, name: &str, value: Option<String>) {
    match value {
        Some(value) => file.insert(name.to_owned(), value.into()),
        None => file.remove(name),
    };
}

#[derive(Serialize)]
struct Rootfs<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    diff_ids: Vec<&'a Digest>,
}

/// A descriptor to write (OCI image-spec, descriptor.md).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WrittenDescriptor {
    /// The media type of the content.
    #[serde(rename = "mediaType")]
    pub media_type: String,
    /// The digest of the content.
    pub digest: Digest,
    /// The size of the content in bytes.
    pub size: u64,
    /// Notes about the content.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

impl WrittenDescriptor {
    /// The descriptor of some bytes.
    pub fn of(media_type: &str, bytes: &[u8]) -> Self {
        Self {
            media_type: media_type.to_owned(),
            digest: Digest::of(bytes),
            size: bytes.len() as u64,
            annotations: BTreeMap::new(),
        }
    }
}

/// Writes the manifest of an image with this configuration and these layers, the bottom first.
///
/// # Errors
/// Never, since all parts are valid JSON.
pub fn manifest(
    config: &[u8],
    layers: &[PackedLayer],
    annotations: &BTreeMap<String, String>,
) -> Result<Vec<u8>, serde_json::Error> {
    #[derive(Serialize)]
    struct Manifest<'a> {
        #[serde(rename = "schemaVersion")]
        schema: u32,
        #[serde(rename = "mediaType")]
        media_type: &'static str,
        config: WrittenDescriptor,
        layers: Vec<WrittenDescriptor>,
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        annotations: &'a BTreeMap<String, String>,
    }
    let layers = layers.iter().map(|layer| WrittenDescriptor {
        media_type: oci_layer_type(layer),
        digest: layer.digest.clone(),
        size: layer.size,
        annotations: BTreeMap::new(),
    });
    serde_json::to_vec(&Manifest {
        schema: 2,
        media_type: MANIFEST_TYPE,
        config: WrittenDescriptor::of(CONFIG_TYPE, config),
        layers: layers.collect(),
        annotations,
    })
}

/// The OCI media type of a layer. The layer may have Docker's media type, or no media type.
///
/// Without a media type, the digests show whether the layer is compressed. Such a layer comes from
/// an old tool, and those know no other compression than gzip.
fn oci_layer_type(layer: &PackedLayer) -> String {
    let compression = match layer.media_type.rsplit_once(['+', '.']) {
        Some((_, "gzip")) => "+gzip",
        Some((_, "zstd")) => "+zstd",
        None if layer.media_type.is_empty() && layer.digest != layer.diff_id => "+gzip",
        _ => "",
    };
    format!("application/vnd.oci.image.layer.v1.tar{compression}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::manifest::parse_config;

    fn layer(name: &str) -> PackedLayer {
        PackedLayer {
            media_type: "application/vnd.docker.image.rootfs.diff.tar.gzip".to_owned(),
            digest: Digest::of(name.as_bytes()),
            size: 3,
            diff_id: Digest::of(format!("{name} unpacked").as_bytes()),
        }
    }

    #[test]
    fn a_configuration_keeps_what_its_base_says_and_has_its_own_settings() {
        let base = json!({
            "os": "linux", "architecture": this_platform().architecture, "id": "old",
            "config": {"Entrypoint": ["/run"], "Env": ["OLD=1"], "WorkingDir": "/base", "Labels": {"a": "b"}},
            "history": [{"created_by": "FROM"}, {"created_by": "ENV", "empty_layer": true}],
            "rootfs": {"type": "layers", "diff_ids": [layer("one").diff_id]},
        });
        let properties = ImageProperties {
            created: Some("2026-01-01T00:00:00Z".into()),
            env: BTreeMap::from([("NEW".into(), "2".into())]),
            working_directory: "/work".into(),
            base: Some(base.to_string().into_bytes()),
            base_layers: 1,
            history: vec![HistoryEntry {
                created_by: Some("make".into()),
                ..HistoryEntry::default()
            }],
        };
        let layers = [layer("one"), layer("two")];
        let bytes = config(&properties, &layers).unwrap();
        assert_eq!(bytes, config(&properties, &layers).unwrap());
        let value: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(value["config"]["Entrypoint"], json!(["/run"]));
        assert_eq!(value["config"]["Env"], json!(["NEW=2"]));
        assert_eq!(value["config"]["WorkingDir"], "/work");
        assert_eq!(value["config"]["Labels"]["a"], "b");
        assert_eq!(value["history"].as_array().unwrap().len(), 3);
        assert_eq!(value["history"][2]["created_by"], "make");
        assert_eq!(value.get("id"), None);
        let read = parse_config(&bytes).unwrap();
        assert_eq!(read.diff_ids, layers.map(|layer| layer.diff_id));
        assert_eq!(read.saved_directory.as_deref(), Some("/work"));
    }

    #[test]
    fn a_manifest_names_layers_by_their_oci_types() {
        let bytes = manifest(b"{}", &[layer("one")], &BTreeMap::new()).unwrap();
        let value: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(
            value["layers"][0]["mediaType"],
            "application/vnd.oci.image.layer.v1.tar+gzip"
        );
        let plain = "application/vnd.oci.image.layer.v1.tar";
        let typed = |media_type: &str, diff_id: &Digest| PackedLayer {
            media_type: media_type.to_owned(),
            diff_id: diff_id.clone(),
            ..layer("one")
        };
        let (packed, unpacked) = (layer("one").digest, layer("one").diff_id);
        assert_eq!(oci_layer_type(&typed(plain, &packed)), plain);
        // Without a media type, only a layer whose digests differ is compressed.
        assert_eq!(oci_layer_type(&typed("", &packed)), plain);
        let compressed = oci_layer_type(&typed("", &unpacked));
        assert_eq!(compressed, format!("{plain}+gzip"));
        assert!(crate::manifest::parse(&bytes).is_ok());
    }
}
