//! Layers on disk that have no record.
//!
//! A layer is recorded before it is made. So such layers mean that the database was lost, or that
//! an older copy replaced it. They are kept until a person decides.

use contree_sandbox::{LayerId, LayerStore};

use crate::error::StorageError;
use crate::rows::{Rows, layers};

/// The layers on disk that have no record, and the highest id of all layers on disk.
pub(crate) fn find(
    store: &LayerStore,
    rows: &Rows,
) -> Result<(Vec<LayerId>, Option<LayerId>), StorageError> {
    // The disk is read first, since a layer is recorded before it is made.
    let on_disk = store.layer_ids()?;
    let highest = on_disk.last().copied();
    let (recorded, removing) =
        rows.read_snapshot(|t| Ok((layers::ids(t)?, layers::removing(t)?)))?;
    let unrecorded = on_disk
        .into_iter()
        .filter(|LayerId(id)| !recorded.contains(id) && !removing.contains(id))
        // Another engine may have removed the layer meanwhile.
        .filter(|layer| store.layer_exists(*layer))
        .collect();
    Ok((unrecorded, highest))
}

/// Counts the layers without a record, and makes sure that no new layer gets the id of one of them.
pub(crate) fn protect(store: &LayerStore, rows: &Rows) -> Result<usize, StorageError> {
    let (mut unrecorded, highest) = find(store, rows)?;
    if let Some(LayerId(highest)) = highest
        && rows.read(layers::highest_id)? < highest
    {
        match take_ids(store, rows, highest) {
            Ok(()) => unrecorded = find(store, rows)?.0,
            Err(error) => {
                tracing::warn!(%error, "cannot reserve the ids of layers without a record; commits fail until this works")
            }
        }
    }
    if !unrecorded.is_empty() {
        tracing::warn!(
            layers = unrecorded.len(),
            "layers have no record, so store.db was lost or is an older copy; they are kept: see `contree-mcp engine check`"
        );
    }
    Ok(unrecorded.len())
}

/// Reserves all ids up to `highest`.
fn take_ids(store: &LayerStore, rows: &Rows, highest: u64) -> Result<(), StorageError> {
    // Layers that were unfinished when the copy was made may have been finished later. Without
    // their records, they are kept.
    let unfinished = rows.read(layers::unfinished)?;
    let mut ended = Vec::new();
    for (layer, run) in unfinished {
        if !store.run_is_live(&run.to_string())? {
            ended.push(layer);
        }
    }
    Ok(rows.write(|t| {
        t.execute_batch("PRAGMA defer_foreign_keys = ON")?;
        for layer in &ended {
            layers::remove(t, *layer)?;
        }
        layers::reserve_ids_up_to(t, highest)
    })?)
}

/// A sentence about layers without a record, with the remedy.
pub(crate) fn describe(count: usize) -> String {
    format!(
        "{count} layers have no record, since store.db was lost or is an older copy; they are kept, and `contree-mcp engine check` lists them"
    )
}
