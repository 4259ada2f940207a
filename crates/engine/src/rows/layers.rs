//! Statements about overlay layers. Each layer names its parent, the layer below it.

use rusqlite::{Connection, OptionalExtension as _, params};
use uuid::Uuid;

use super::pushes;
use contree_sqlite::DatabaseError;

/// One layer of a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layer {
    /// The id. The layer's directory is `layers/<id>`.
    pub(crate) id: u64,
    /// The layer below.
    pub(crate) parent: Option<u64>,
    /// The apparent size of the layer's own files, in bytes.
    pub(crate) bytes: u64,
    /// Whether it is a squashed layer, which replaces several layers.
    pub(crate) squashed: bool,
}

/// A committed layer with all that its note says.
#[derive(Clone, Debug)]
pub(crate) struct RecordedLayer {
    pub(crate) id: u64,
    pub(crate) parent: Option<u64>,
    pub(crate) bytes: u64,
    /// The OCI ChainID of an imported layer.
    pub(crate) chain: Option<String>,
    /// For a squashed layer: the top of the chain that it replaces.
    pub(crate) stands_for: Option<u64>,
    /// The number of files and links that it changed, if it is known.
    pub(crate) files: Option<u64>,
}

/// Lists all committed layers.
pub(crate) fn recorded(c: &Connection) -> Result<Vec<RecordedLayer>, DatabaseError> {
    let mut statement = c.prepare(
        "SELECT id, parent, bytes, chain, stands_for, files FROM layers WHERE ready = 1",
    )?;
    let rows = statement.query_map([], |row| {
        Ok(RecordedLayer {
            id: row.get(0)?,
            parent: row.get(1)?,
            bytes: row.get(2)?,
            chain: row.get(3)?,
            stands_for: row.get(4)?,
            files: row.get(5)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Records a layer that exists on disk. Its parent is recorded. A ChainID that another layer has is
/// left out. Returns false if another layer already stands for the same chain.
pub(crate) fn restore(
    c: &Connection,
    layer: &RecordedLayer,
    boot: &str,
) -> Result<bool, DatabaseError> {
    let inserted = c.execute(
        "INSERT OR IGNORE INTO layers (id, parent, depth, bytes, stands_for, ready, synced, boot_id, chain, files)
         VALUES (?1, ?2, 1 + coalesce((SELECT depth FROM layers WHERE id = ?2), 0), ?3, ?4, 1, 0, ?5,
                 (SELECT ?6 WHERE NOT EXISTS (SELECT 1 FROM layers WHERE chain = ?6)), ?7)",
        params![
            layer.id,
            layer.parent,
            layer.bytes,
            layer.stands_for,
            boot,
            layer.chain,
            layer.files
        ],
    )?;
    Ok(inserted > 0)
}

/// Lists the ids of all layers, committed or not.
pub(crate) fn ids(c: &Connection) -> Result<std::collections::HashSet<u64>, DatabaseError> {
    let mut statement = c.prepare_cached("SELECT id FROM layers")?;
    let rows = statement.query_map([], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The key of the `meta` table for the layers whose records were removed, and whose directories are
/// still to be removed.
const REMOVING: &str = "removing_layers";

/// Lists the layers whose records were removed, and whose directories are still to be removed.
pub(crate) fn removing(c: &Connection) -> Result<Vec<u64>, DatabaseError> {
    let text = super::Rows::meta(c, REMOVING)?.unwrap_or_default();
    Ok(text
        .split_whitespace()
        .filter_map(|id| id.parse().ok())
        .collect())
}

/// Records that the directories of these layers are to be removed.
pub(crate) fn add_removing(c: &Connection, ids: &[u64]) -> Result<(), DatabaseError> {
    let mut all = removing(c)?;
    all.extend(ids);
    set_removing(c, &all)
}

/// Records that the directories of these layers are gone.
pub(crate) fn forget_removing(c: &Connection, ids: &[u64]) -> Result<(), DatabaseError> {
    let mut all = removing(c)?;
    all.retain(|id| !ids.contains(id));
    set_removing(c, &all)
}

fn set_removing(c: &Connection, ids: &[u64]) -> Result<(), DatabaseError> {
    let text: Vec<String> = ids.iter().map(u64::to_string).collect();
    super::Rows::set_meta(c, REMOVING, &text.join(" "))
}

/// Reserves an id for a layer that the operation `run` will commit on `parent`.
pub(crate) fn reserve(
    c: &Connection,
    parent: Option<u64>,
    run: Uuid,
    boot: &str,
) -> Result<u64, DatabaseError> {
    c.execute(
        "INSERT INTO layers (parent, depth, bytes, run, ready, synced, boot_id)
         VALUES (?1, 1 + coalesce((SELECT depth FROM layers WHERE id = ?1), 0), 0, ?2, 0, 0, ?3)",
        params![parent, run.to_string(), boot],
    )?;
    Ok(c.last_insert_rowid().unsigned_abs())
}

/// Marks a reserved layer as committed. `files` is the number of files and links that it changed,
/// if it is known.
pub(crate) fn mark_ready(
    c: &Connection,
    id: u64,
    bytes: u64,
    files: Option<u64>,
) -> Result<(), DatabaseError> {
    c.execute(
        "UPDATE layers SET ready = 1, run = NULL, bytes = ?2, files = ?3 WHERE id = ?1",
        params![id, bytes, files],
    )?;
    Ok(())
}

/// Marks a reserved layer of an import as committed.
///
/// `parent` may differ from the reserved one: another import may have made a layer with the same
/// content first.
pub(crate) fn mark_imported_ready(
    c: &Connection,
    id: u64,
    parent: Option<u64>,
    bytes: u64,
    chain: &str,
) -> Result<(), DatabaseError> {
    c.execute(
        "UPDATE layers SET ready = 1, run = NULL, bytes = ?2, parent = ?3, chain = ?4 WHERE id = ?1",
        params![id, bytes, parent, chain],
    )?;
    Ok(())
}

/// Finds the imported or pushed layer with an OCI ChainID, which identifies a layer and all layers
/// below it.
pub(crate) fn by_chain(c: &Connection, chain: &str) -> Result<Option<u64>, DatabaseError> {
    let mut statement = c.prepare_cached("SELECT id FROM layers WHERE chain = ?1 AND ready = 1")?;
    let imported = statement.query_row([chain], |row| row.get(0)).optional()?;
    match imported {
        Some(layer) => Ok(Some(layer)),
        None => pushes::layer_by_chain(c, chain),
    }
}

/// Lists the uncommitted layers of a run, the newest first.
pub(crate) fn of_run(c: &Connection, run: Uuid) -> Result<Vec<u64>, DatabaseError> {
    let mut statement =
        c.prepare_cached("SELECT id FROM layers WHERE run = ?1 AND ready = 0 ORDER BY id DESC")?;
    let rows = statement.query_map([run.to_string()], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Lists uncommitted layers with their runs, the newest first. A missing run is the nil UUID.
pub(crate) fn unfinished(c: &Connection) -> Result<Vec<(u64, Uuid)>, DatabaseError> {
    let mut statement =
        c.prepare_cached("SELECT id, run FROM layers WHERE ready = 0 ORDER BY id DESC")?;
    let rows = statement.query_map([], |row| {
        Ok((
            row.get(0)?,
            row.get::<_, Option<String>>(1)?
                .map(super::parse_uuid)
                .unwrap_or_default(),
        ))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Returns whether a layer is reserved and not committed.
pub(crate) fn is_unfinished(c: &Connection, id: u64) -> Result<bool, DatabaseError> {
    Ok(c.query_row(
        "SELECT EXISTS (SELECT 1 FROM layers WHERE id = ?1 AND ready = 0)",
        [id],
        |row| row.get(0),
    )?)
}

/// Removes the record of a layer that no image uses.
pub(crate) fn remove(c: &Connection, id: u64) -> Result<(), DatabaseError> {
    c.execute("DELETE FROM layers WHERE id = ?1", [id])?;
    Ok(())
}

/// Reserves an id for a squashed layer on `parent`. It replaces the layers above `parent`, of which
/// `stands_for` is the top. `None` if `stands_for` already has a squashed layer.
pub(crate) fn reserve_squash(
    c: &Connection,
    stands_for: u64,
    parent: u64,
    run: Uuid,
    boot: &str,
) -> Result<Option<u64>, DatabaseError> {
    let inserted = c.execute(
        "INSERT OR IGNORE INTO layers (parent, depth, bytes, run, stands_for, ready, synced, boot_id)
         VALUES (?1, 1 + coalesce((SELECT depth FROM layers WHERE id = ?1), 0), 0, ?2, ?3, 0, 0, ?4)",
        params![parent, run.to_string(), stands_for, boot],
    )?;
    Ok((inserted > 0).then(|| c.last_insert_rowid().unsigned_abs()))
}

/// Lists the layers that are mounted for the layer `top`, the top first. A squashed layer is in the
/// place of the layers that it replaces.
pub(crate) fn chain(c: &Connection, top: u64) -> Result<Vec<Layer>, DatabaseError> {
    let mut statement = c.prepare_cached(
        "WITH RECURSIVE chain (id, parent, bytes, squashed, step) AS (
             SELECT coalesce(s.id, l.id), CASE WHEN s.id IS NULL THEN l.parent ELSE s.parent END, coalesce(s.bytes, l.bytes), s.id IS NOT NULL, 0
             FROM layers l LEFT JOIN layers s ON s.stands_for = l.id AND s.ready = 1 WHERE l.id = ?1
             UNION ALL
             SELECT coalesce(s.id, l.id), CASE WHEN s.id IS NULL THEN l.parent ELSE s.parent END, coalesce(s.bytes, l.bytes), s.id IS NOT NULL, step + 1
             FROM chain JOIN layers l ON l.id = chain.parent LEFT JOIN layers s ON s.stands_for = l.id AND s.ready = 1
         ) SELECT id, parent, bytes, squashed FROM chain ORDER BY step",
    )?;
    let rows = statement.query_map([top], |row| {
        Ok(Layer {
            id: row.get(0)?,
            parent: row.get(1)?,
            bytes: row.get(2)?,
            squashed: row.get(3)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Lists the layers of an image, the top first, without squashed layers.
pub(crate) fn ancestors(c: &Connection, top: u64) -> Result<Vec<u64>, DatabaseError> {
    let mut statement = c.prepare_cached(
        "WITH RECURSIVE chain (id, parent, step) AS (
             SELECT id, parent, 0 FROM layers WHERE id = ?1
             UNION ALL
             SELECT l.id, l.parent, step + 1 FROM chain JOIN layers l ON l.id = chain.parent
         ) SELECT id FROM chain ORDER BY step",
    )?;
    let rows = statement.query_map([top], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Finds the squashed layer that stands for a chain from `top` down to its own parent. Returns its
/// id and its parent.
pub(crate) fn squashed(
    c: &Connection,
    top: u64,
) -> Result<Option<(u64, Option<u64>)>, DatabaseError> {
    let mut statement =
        c.prepare_cached("SELECT id, parent FROM layers WHERE stands_for = ?1 AND ready = 1")?;
    Ok(statement
        .query_row([top], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?)
}

/// Lists committed layers that are not synced to disk yet.
pub(crate) fn unsynced(c: &Connection) -> Result<Vec<u64>, DatabaseError> {
    let mut statement = c.prepare_cached("SELECT id FROM layers WHERE ready = 1 AND synced = 0")?;
    let rows = statement.query_map([], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Marks layers as safe against a power loss.
pub(crate) fn mark_synced(c: &Connection, ids: &[u64]) -> Result<(), DatabaseError> {
    let mut statement = c.prepare_cached("UPDATE layers SET synced = 1 WHERE id = ?1")?;
    for id in ids {
        statement.execute([id])?;
    }
    Ok(())
}

/// The highest id that was ever reserved. An id is never used twice.
pub(crate) fn highest_id(c: &Connection) -> Result<u64, DatabaseError> {
    Ok(c.query_row(
        "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'layers'",
        [],
        |row| row.get(0),
    )?)
}

/// Reserves all ids up to `id`, so that no new layer gets one of them.
pub(crate) fn reserve_ids_up_to(c: &Connection, id: u64) -> Result<(), DatabaseError> {
    let changed = c.execute(
        "UPDATE sqlite_sequence SET seq = max(seq, ?1) WHERE name = 'layers'",
        [id],
    )?;
    if changed == 0 {
        c.execute(
            "INSERT INTO sqlite_sequence (name, seq) VALUES ('layers', ?1)",
            [id],
        )?;
    }
    Ok(())
}

/// Returns whether layers of other boots than `boot` may not have reached the disk.
pub(crate) fn has_unsynced_of_other_boots(
    c: &Connection,
    boot: &str,
) -> Result<bool, DatabaseError> {
    Ok(c.query_row(
        "SELECT EXISTS (SELECT 1 FROM layers WHERE synced = 0 AND boot_id <> ?1)",
        [boot],
        |row| row.get(0),
    )?)
}

/// Marks images as lost whose layers were not synced when the machine lost power. Returns their
/// number.
///
/// Such a layer was committed in another boot than `boot`. Its files may be incomplete, so the
/// engine never serves an image that has it.
pub(crate) fn mark_lost_images(c: &Connection, boot: &str) -> Result<usize, DatabaseError> {
    // A squashed layer can be made again. Marked as uncommitted and without a run, it is removed.
    c.execute(
        "UPDATE layers SET ready = 0, run = NULL WHERE synced = 0 AND boot_id <> ?1 AND stands_for IS NOT NULL",
        [boot],
    )?;
    let lost = c.execute(
        "WITH RECURSIVE gone (id) AS (
             SELECT id FROM layers WHERE synced = 0 AND boot_id <> ?1 AND stands_for IS NULL
             UNION SELECT l.id FROM layers l JOIN gone ON l.parent = gone.id
         ) UPDATE images SET lost = 1 WHERE lost = 0 AND layer IN (SELECT id FROM gone)",
        [boot],
    )?;
    // Later imports must not use these layers.
    c.execute(
        "WITH RECURSIVE gone (id) AS (
             SELECT id FROM layers WHERE synced = 0 AND boot_id <> ?1
             UNION SELECT l.id FROM layers l JOIN gone ON l.parent = gone.id
         ) UPDATE layers SET chain = NULL WHERE chain IS NOT NULL AND id IN (SELECT id FROM gone)",
        [boot],
    )?;
    c.execute(
        "WITH RECURSIVE gone (id) AS (
             SELECT id FROM layers WHERE synced = 0 AND boot_id <> ?1
             UNION SELECT l.id FROM layers l JOIN gone ON l.parent = gone.id
         ) DELETE FROM archives WHERE layer IN (SELECT id FROM gone)",
        [boot],
    )?;
    if lost > 0 {
        forget_lost_host(c)?;
    }
    Ok(lost)
}

/// Forgets the image of this machine's programs if it is lost, since it can be made again.
pub(crate) fn forget_lost_host(c: &Connection) -> Result<(), DatabaseError> {
    c.execute(
        "DELETE FROM meta WHERE key = 'host_image' AND value IN (SELECT uuid FROM images WHERE lost = 1)",
        [],
    )?;
    Ok(())
}
