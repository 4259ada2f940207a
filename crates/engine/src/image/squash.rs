//! Squashes chains of layers, so that the thousandth step on an image starts as fast as the first.
//!
//! A squash merges several consecutive layers into one that replaces them
//! ([`contree_sandbox::LayerStore::squash`]). Images keep their UUIDs and their own layers. Mounts
//! of these images, and of all images built on them, have fewer layers.
//!
//! The engine squashes the base image of a run, not its result, because all further branches of the
//! base benefit.

use std::sync::Arc;

use contree_sandbox::LayerId;
use uuid::Uuid;

use crate::blocking::blocking;
use crate::engine::Engine;
use crate::error::StorageError;
use crate::layer_note::{LayerNote, NotedLayer};
use crate::operation::discard;
use crate::rows::layers::{self, Layer};

/// The number of consecutive unsquashed layers that triggers a squash.
const MIN_UNSQUASHED: usize = 32;

/// The chain length beyond which a squash also merges layers that are already squashed. It then
/// merges the top `MAX_CHAIN / 2` layers.
const MAX_CHAIN: usize = 96;

/// The chain length beyond which an operation waits for the squash.
pub(crate) const BLOCKING_CHAIN: usize = 240;

/// The number of layers to squash, from the top of the chain. `None` if the chain is short enough.
///
/// The lowest layer is never included, because it is the large one. Whiteouts in the squashed layer
/// also need a layer below them to have a meaning.
fn layers_to_squash(chain: &[Layer]) -> Option<usize> {
    let squashable = chain.len().saturating_sub(1);
    let unsquashed = chain
        .iter()
        .take_while(|layer| !layer.squashed)
        .count()
        .min(squashable);
    if unsquashed >= MIN_UNSQUASHED {
        return Some(unsquashed);
    }
    (chain.len() > MAX_CHAIN && unsquashed > 0).then_some(squashable.min(MAX_CHAIN / 2))
}

/// Returns whether a chain is due for a squash.
pub(crate) fn is_due(chain: &[Layer]) -> bool {
    layers_to_squash(chain).is_some()
}

/// Squashes queued chains while the engine runs, one at a time. A failed squash is tried again
/// after the next commit.
pub(crate) async fn run_queue(engine: Arc<Engine>) {
    loop {
        tokio::select! {
            () = engine.stopping.cancelled() => return,
            () = engine.squash_queue.requested() => {}
        }
        let Some(layer) = engine.squash_queue.take() else {
            continue;
        };
        let task_engine = Arc::clone(&engine);
        if let Err(error) = blocking(move || Ok(squash(&task_engine, layer)?)).await {
            tracing::warn!(
                layer,
                %error,
                "cannot squash layers"
            );
        }
    }
}

/// Squashes the chain of a layer now, if it is due.
pub(crate) fn squash(engine: &Engine, layer: u64) -> Result<(), StorageError> {
    let chain = engine.rows.read(|c| layers::chain(c, layer))?;
    let Some(count) = layers_to_squash(&chain) else {
        return Ok(());
    };
    let (upper, lower) = chain.split_at(count);
    let Some(parent) = upper.last().and_then(|last| last.parent) else {
        return Ok(());
    };
    // The run's lock shows other engines that this squash is in progress.
    let run_id = Uuid::new_v4();
    let run = engine.store.create_run(&run_id.to_string())?;
    let result = write_squashed(engine, &run, run_id, layer, parent, upper, lower);
    let removed = engine.store.remove_run(run.name());
    result.and(Ok(removed?))
}

/// Writes the squashed layer in `run` and commits it.
fn write_squashed(
    engine: &Engine,
    run: &contree_sandbox::RunDir,
    run_id: Uuid,
    layer: u64,
    parent: u64,
    upper: &[Layer],
    lower: &[Layer],
) -> Result<(), StorageError> {
    let Some(squashed) = engine
        .rows
        .write(|t| layers::reserve_squash(t, layer, parent, run_id, &engine.boot))?
    else {
        return Ok(());
    };
    let ids = |layers: &[Layer]| {
        layers
            .iter()
            .map(|layer| LayerId(layer.id))
            .collect::<Vec<_>>()
    };
    let bytes: u64 = upper.iter().map(|layer| layer.bytes).sum();
    let note = LayerNote::Layer(NotedLayer {
        parent: Some(parent),
        bytes,
        chain: None,
        stands_for: Some(layer),
        files: None,
    });
    engine
        .store
        .squash(run, &ids(upper), &ids(lower))
        .and_then(|()| engine.store.describe_run(run, &note.line()))
        .inspect_err(|_| discard::forget(engine, squashed))?;
    discard::commit_or_forget(engine, run, squashed)?;
    engine
        .rows
        .write(|t| layers::mark_ready(t, squashed, bytes, None))
        .inspect_err(|_| discard::failed_commit(engine, squashed))?;
    engine.committed.notify_one();
    tracing::debug!(layer, squashed, count = upper.len(), "squashed layers");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(squashed: &[bool]) -> Vec<Layer> {
        let layer = |&squashed: &bool| Layer {
            id: 1,
            parent: Some(1),
            bytes: 0,
            squashed,
        };
        squashed.iter().map(layer).collect()
    }

    #[test]
    fn the_lowest_layer_is_never_squashed() {
        assert_eq!(layers_to_squash(&chain(&[false; 1])), None);
        assert_eq!(layers_to_squash(&chain(&[false; MIN_UNSQUASHED])), None);
        assert_eq!(
            layers_to_squash(&chain(&[false; MIN_UNSQUASHED + 1])),
            Some(MIN_UNSQUASHED)
        );
    }

    #[test]
    fn a_long_chain_of_squashed_layers_is_squashed_again() {
        let mut layers = vec![true; MAX_CHAIN];
        layers[0] = false;
        assert_eq!(layers_to_squash(&chain(&layers)), None);
        layers.push(false);
        assert_eq!(layers_to_squash(&chain(&layers)), Some(MAX_CHAIN / 2));
        // The top layer is already squashed.
        layers[0] = true;
        assert_eq!(layers_to_squash(&chain(&layers)), None);
    }

    #[test]
    fn the_chain_stays_short_at_any_depth() {
        let mut layers = chain(&[false]);
        let mut longest = 0;
        for _ in 0..20_000 {
            if let Some(count) = layers_to_squash(&layers) {
                layers.splice(..count, chain(&[true]));
            }
            layers.splice(..0, chain(&[false]));
            longest = longest.max(layers.len());
        }
        assert!(longest <= MAX_CHAIN + 2, "{longest}");
    }
}
