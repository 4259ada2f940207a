//! Statements about the data of pushes: the archives of layers, the manifests of imported
//! images, and the results of pushes.

use rusqlite::{Connection, OptionalExtension as _, Row, params};
use uuid::Uuid;

use contree_sqlite::DatabaseError;

/// An archive of a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LayerArchive {
    /// The digest of the stored bytes.
    pub(crate) digest: String,
    /// The number of stored bytes.
    pub(crate) size: u64,
    pub(crate) media_type: String,
    /// The digest of the decompressed archive.
    pub(crate) diff_id: String,
    /// The OCI ChainID of the layer with this archive.
    pub(crate) chain: String,
    /// The image source that it was imported from. `None` if it was made here.
    pub(crate) source: Option<String>,
}

/// The manifest and the configuration with which an image was imported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ImportedManifest {
    /// The top layer of the image.
    pub(crate) layer: u64,
    pub(crate) media_type: String,
    pub(crate) manifest: Vec<u8>,
    pub(crate) config: Vec<u8>,
}

fn archive_from_row(row: &Row<'_>) -> rusqlite::Result<LayerArchive> {
    Ok(LayerArchive {
        digest: row.get(0)?,
        size: row.get(1)?,
        media_type: row.get(2)?,
        diff_id: row.get(3)?,
        chain: row.get(4)?,
        source: row.get(5)?,
    })
}

/// Records an archive of a layer. The newest source replaces an earlier one.
pub(crate) fn add_archive(
    c: &Connection,
    layer: u64,
    archive: &LayerArchive,
) -> Result<(), DatabaseError> {
    c.execute(
        "INSERT INTO archives (layer, digest, size, media_type, diff_id, chain, source) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
         ON CONFLICT (layer, digest) DO UPDATE SET source = coalesce(excluded.source, source)",
        params![
            layer,
            archive.digest,
            archive.size,
            archive.media_type,
            archive.diff_id,
            archive.chain,
            archive.source
        ],
    )?;
    Ok(())
}

/// The archives of a layer, the imported ones first.
pub(crate) fn archives(c: &Connection, layer: u64) -> Result<Vec<LayerArchive>, DatabaseError> {
    let mut statement = c.prepare_cached(
        "SELECT digest, size, media_type, diff_id, chain, source FROM archives WHERE layer = ?1
         ORDER BY source IS NULL, rowid",
    )?;
    let rows = statement.query_map([layer], archive_from_row)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Finds a layer that was pushed with this OCI ChainID, which identifies it with all layers below.
pub(crate) fn layer_by_chain(c: &Connection, chain: &str) -> Result<Option<u64>, DatabaseError> {
    let mut statement = c.prepare_cached(
        "SELECT min(a.layer) FROM archives a JOIN layers l ON l.id = a.layer WHERE a.chain = ?1 AND l.ready = 1",
    )?;
    Ok(statement.query_row([chain], |row| row.get(0))?)
}

/// Records the manifest with which an image was imported. `key` is the digest of its
/// configuration.
pub(crate) fn add_manifest(
    c: &Connection,
    key: &str,
    imported: &ImportedManifest,
) -> Result<(), DatabaseError> {
    c.execute(
        "INSERT INTO manifests (key, layer, media_type, manifest, config) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (key) DO UPDATE SET layer = excluded.layer, media_type = excluded.media_type, manifest = excluded.manifest, config = excluded.config",
        params![
            key,
            imported.layer,
            imported.media_type,
            imported.manifest,
            imported.config
        ],
    )?;
    Ok(())
}

fn manifest_from_row(row: &Row<'_>) -> rusqlite::Result<ImportedManifest> {
    Ok(ImportedManifest {
        layer: row.get(0)?,
        media_type: row.get(1)?,
        manifest: row.get(2)?,
        config: row.get(3)?,
    })
}

/// The manifest with which an image was imported. `None` if it was made here.
pub(crate) fn manifest_of_image(
    c: &Connection,
    image: Uuid,
) -> Result<Option<ImportedManifest>, DatabaseError> {
    let mut statement = c.prepare_cached(
        "SELECT m.layer, m.media_type, m.manifest, m.config FROM imports i JOIN manifests m ON m.key = i.key
         JOIN images g ON g.uuid = i.image AND g.layer = m.layer WHERE i.image = ?1 ORDER BY m.key LIMIT 1",
    )?;
    Ok(statement
        .query_row([image.to_string()], manifest_from_row)
        .optional()?)
}

/// A manifest with which an image of this layer was imported.
pub(crate) fn manifest_of_layer(
    c: &Connection,
    layer: u64,
) -> Result<Option<ImportedManifest>, DatabaseError> {
    let mut statement = c.prepare_cached(
        "SELECT layer, media_type, manifest, config FROM manifests WHERE layer = ?1 ORDER BY key LIMIT 1",
    )?;
    Ok(statement.query_row([layer], manifest_from_row).optional()?)
}

/// Records the result of a push, as JSON.
pub(crate) fn set_result(
    c: &Connection,
    operation: Uuid,
    result: &str,
) -> Result<(), DatabaseError> {
    c.execute(
        "INSERT OR REPLACE INTO pushes (operation, result) VALUES (?1, ?2)",
        params![operation.to_string(), result],
    )?;
    Ok(())
}

/// The result of a push, as JSON.
pub(crate) fn result(c: &Connection, operation: Uuid) -> Result<Option<String>, DatabaseError> {
    let mut statement = c.prepare_cached("SELECT result FROM pushes WHERE operation = ?1")?;
    Ok(statement
        .query_row([operation.to_string()], |row| row.get(0))
        .optional()?)
}
