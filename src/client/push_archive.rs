//! Pushes an image for a backend that cannot push: the image's archive becomes a single layer.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::Path;

use contree_registry::pull::Repository;
use contree_registry::push::LocalBlob;
use contree_registry::push::document::{self, HistoryEntry, ImageProperties, MANIFEST_TYPE};
use contree_registry::push::layer::{LayerCompression, PackedLayer, compress};
use contree_registry::{Digest, HttpClients, Login, Reference, RegistryError};
use uuid::Uuid;

use super::archive_stream::unreadable;
use crate::{Client, Error, types};

/// The targets that only a backend can write.
const LOCAL_TARGETS: [&str; 3] = ["oci-layout:", "docker-archive:", "oci:/"];

impl Client {
    /// Pushes the archive of an image to a registry as a single layer.
    pub(super) async fn push_without_extension(
        &self,
        image: Uuid,
        request: &types::PushRequest,
    ) -> Result<types::PushResult, Error> {
        let url = &request.registry.url;
        if LOCAL_TARGETS.iter().any(|prefix| url.starts_with(prefix)) {
            return Err(Error::Unsupported(
                "the images of this service can only be pushed to registries; give a reference such as HOST/NAME:TAG",
            ));
        }
        let reference: Reference = url
            .parse()
            .map_err(|error| Error::InvalidArgument(format!("`registry.url`: {error}")))?;
        let compression = match request.compression.as_deref().unwrap_or("gzip") {
            "zstd" => LayerCompression::Zstd,
            "gzip" => LayerCompression::Gzip,
            other => {
                return Err(Error::InvalidArgument(format!(
                    "`compression` must be gzip or zstd, not `{}`",
                    other.escape_debug()
                )));
            }
        };
        let record = self.inspect_image().image_uuid(image).send().await?;
        let record = record.into_inner();
        let folder = tempfile::tempdir().map_err(|source| Error::Io {
            path: std::env::temp_dir(),
            source,
        })?;
        let path = folder.path().join("layer");
        let target = path.clone();
        let layer = self
            .read_archive(image, Path::new("/"), move |mut archive, _| {
                let mut file = File::create_new(&target)?;
                let layer = compress(&mut archive, &mut file, compression)?;
                // The rest, if the archive has more than a reader of tar needs.
                io::copy(&mut archive, &mut io::sink())?;
                io::Result::Ok(layer)
            })
            .await?
            .map_err(unreadable)?;
        let created = record.created_at.clone();
        let properties = ImageProperties {
            created: created.clone(),
            history: vec![HistoryEntry {
                created,
                created_by: None,
                comment: Some("contree".to_owned()),
            }],
            ..ImageProperties::default()
        };
        let mut annotations = BTreeMap::new();
        annotations.insert("dev.contree.image".to_owned(), image.to_string());
        if let Some(tag) = record.tag {
            annotations.insert("dev.contree.tag".to_owned(), tag);
        }
        let layers = [layer];
        let invalid = |error: serde_json::Error| Error::other(error);
        let config = document::config(&properties, &layers).map_err(invalid)?;
        let manifest = document::manifest(&config, &layers, &annotations).map_err(invalid)?;
        let config_path = folder.path().join("config");
        std::fs::write(&config_path, &config).map_err(|source| Error::Io {
            path: config_path.clone(),
            source,
        })?;
        let http = HttpClients::default();
        let repository = Repository::for_push(&http, reference, login(request), Vec::new());
        let mut result = types::PushResult {
            digest: Digest::of(&manifest).to_string(),
            blobs_sent: 0,
            blobs_present: 0,
            bytes_sent: 0,
        };
        let [layer] = &layers;
        send(&repository, layer, &path, &mut result).await?;
        let config = PackedLayer {
            media_type: document::CONFIG_TYPE.to_owned(),
            digest: Digest::of(&config),
            size: config.len() as u64,
            diff_id: Digest::of(&config),
        };
        send(&repository, &config, &config_path, &mut result).await?;
        repository
            .put_manifest(MANIFEST_TYPE, &manifest)
            .await
            .map_err(registry_error)?;
        Ok(result)
    }
}

/// Sends a blob, unless the registry has it.
async fn send(
    repository: &Repository<'_>,
    blob: &PackedLayer,
    path: &Path,
    result: &mut types::PushResult,
) -> Result<(), Error> {
    let is_present = repository.has_blob(&blob.digest, blob.size).await;
    if is_present.map_err(registry_error)? {
        result.blobs_present += 1;
        return Ok(());
    }
    let local = LocalBlob {
        digest: &blob.digest,
        size: blob.size,
        path,
    };
    let sent = repository.upload(local, None, |_| {}).await;
    sent.map_err(registry_error)?;
    result.blobs_sent += 1;
    result.bytes_sent += blob.size;
    Ok(())
}

fn login(request: &types::PushRequest) -> Option<Login> {
    let credentials = request.registry.credentials.as_ref()?;
    match (&credentials.username, &credentials.password) {
        (Some(username), Some(password)) => Some(Login::password(username, password)),
        _ => None,
    }
}

fn registry_error(error: RegistryError) -> Error {
    let (text, code) = (error.to_string(), error.code());
    Error::Registry(crate::error::Reason::new(text, error).with_code(code))
}
