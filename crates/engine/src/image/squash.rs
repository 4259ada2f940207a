//! Keeping chains of layers short, so that the thousandth step on an image starts like the first.
//!
//! Some layers in a row become one that stands for them ([`contree_sandbox::LayerStore::squash`]). Images keep their UUIDs and their own
//! layers; what is mounted for them, and for everything built upon them, is shorter. It is done on the image that was built upon, not on the
//! result, since all its further branches profit from it.

use std::sync::Arc;

use contree_sandbox::LayerId;
use uuid::Uuid;

use crate::blocking::blocking;
use crate::engine::Engine;
use crate::error::StorageError;
use crate::rows::layers::{self, Layer};

/// So many layers in a row that stand for themselves become one.
const PLAIN: usize = 32;

/// A chain that is still as long becomes one of half the length: what stands for others is put together once more.
const LONG: usize = 96;

/// Beyond this an operation waits for it.
pub(crate) const TOO_LONG: usize = 240;

/// How many layers from the top on are to become one; none if the chain is short enough. The lowest is never among them: it is the large
/// one, and with it below every removal stays a removal.
fn wanted(chain: &[Layer]) -> Option<usize> {
    let most = chain.len().saturating_sub(1);
    let plain = chain
        .iter()
        .take_while(|layer| !layer.squashed)
        .count()
        .min(most);
    if plain >= PLAIN {
        return Some(plain);
    }
    (chain.len() > LONG && plain > 0).then_some(most.min(LONG / 2))
}

/// Whether it is time to shorten a chain.
pub(crate) fn is_due(chain: &[Layer]) -> bool {
    wanted(chain).is_some()
}

/// Shortens chains while the engine runs, one at a time. What fails is tried again with the next commit.
pub(crate) async fn look_after(engine: Arc<Engine>) {
    loop {
        tokio::select! {
            () = engine.stopping.cancelled() => return,
            () = engine.squash_queue.asked() => {}
        }
        let Some(layer) = engine.squash_queue.take() else {
            continue;
        };
        let shared = Arc::clone(&engine);
        if let Err(error) = blocking(move || Ok(squash(&shared, layer)?)).await {
            tracing::warn!(
                layer,
                %error,
                "cannot make one layer of several"
            );
        }
    }
}

/// Shortens the chain of a layer now, if it is due.
pub(crate) fn squash(engine: &Engine, layer: u64) -> Result<(), StorageError> {
    let chain = engine.rows.read(|c| layers::chain(c, layer))?;
    let Some(count) = wanted(&chain) else {
        return Ok(());
    };
    let (several, below) = chain.split_at(count);
    let Some(parent) = several.last().and_then(|last| last.parent) else {
        return Ok(());
    };
    // Its lock tells other engines that somebody is at it.
    let maker = Uuid::new_v4();
    let run = engine.store.create_run(&maker.to_string())?;
    let made = fill(engine, &run, maker, layer, parent, several, below);
    let cleared = engine.store.remove_run(run.name());
    made.and(Ok(cleared?))
}

fn fill(
    engine: &Engine,
    run: &contree_sandbox::RunDir,
    maker: Uuid,
    layer: u64,
    parent: u64,
    several: &[Layer],
    below: &[Layer],
) -> Result<(), StorageError> {
    let Some(one) = engine
        .rows
        .write(|t| layers::reserve_squash(t, layer, parent, maker, &engine.boot))?
    else {
        return Ok(());
    };
    let ids = |layers: &[Layer]| {
        layers
            .iter()
            .map(|layer| LayerId(layer.id))
            .collect::<Vec<_>>()
    };
    let bytes = several.iter().map(|layer| layer.bytes).sum();
    let made = engine
        .store
        .squash(run, &ids(several), &ids(below))
        .and_then(|()| engine.store.commit(run, LayerId(one)))
        .map_err(StorageError::from)
        .and_then(|()| Ok(engine.rows.write(|t| layers::mark_ready(t, one, bytes))?));
    if made.is_err() {
        let _ = engine.store.remove_layer(LayerId(one));
        let _ = engine.rows.write(|t| layers::remove(t, one));
    }
    made?;
    engine.committed.notify_one();
    tracing::debug!(
        layer,
        one,
        several = several.len(),
        "made one layer of several"
    );
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
    fn the_lowest_layer_is_left_alone() {
        assert_eq!(wanted(&chain(&[false; 1])), None);
        assert_eq!(wanted(&chain(&[false; PLAIN])), None);
        assert_eq!(wanted(&chain(&[false; PLAIN + 1])), Some(PLAIN));
    }

    #[test]
    fn what_stands_for_others_is_put_together_when_there_is_much_of_it() {
        let mut layers = vec![true; LONG];
        layers[0] = false;
        assert_eq!(wanted(&chain(&layers)), None);
        layers.push(false);
        assert_eq!(wanted(&chain(&layers)), Some(LONG / 2));
        // It stands for something already.
        layers[0] = true;
        assert_eq!(wanted(&chain(&layers)), None);
    }

    #[test]
    fn a_chain_of_any_depth_stays_short() {
        let mut layers = chain(&[false]);
        let mut longest = 0;
        for _ in 0..20_000 {
            if let Some(count) = wanted(&layers) {
                layers.splice(..count, chain(&[true]));
            }
            layers.splice(..0, chain(&[false]));
            longest = longest.max(layers.len());
        }
        assert!(longest <= LONG + 2, "{longest}");
    }
}
