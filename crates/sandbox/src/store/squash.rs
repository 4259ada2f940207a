//! Making one layer of several.

use std::time::{Duration, Instant};

use super::{LayerStore, RunDir};
use crate::error::Error;
use crate::launch::{self, Init};
use crate::protocol::boot::{Boot, SquashBoot};
use crate::protocol::reply::Reply;
use crate::protocol::spec::LayerId;
use crate::protocol::wire::WireError;

/// It grows with the number of names in the layers.
const PATIENCE: Duration = Duration::from_secs(1800);

impl LayerStore {
    /// Makes one layer of several (topmost first) that lie on `below` (topmost first), as what the run directory is to become
    /// ([`LayerStore::commit`]). On `below` it shows what the several show. Contents are shared with them by further names, so that it
    /// costs directories alone; how many names a file has is the one thing that looks different.
    ///
    /// # Errors
    /// When the helper cannot be started, or the disk refuses. The run directory is then to be removed; nothing else has changed.
    pub fn squash(&self, run: &RunDir, layers: &[LayerId], below: &[LayerId]) -> Result<(), Error> {
        let boot = Boot::Squash(SquashBoot {
            layers: launch::lowers(self, layers)?,
            below: match below {
                [] => Vec::new(),
                below => launch::lowers(self, below)?,
            },
            target: self.new_layer(run)?,
        });
        let init = Init::start(self, &boot)?;
        match init.receive(Instant::now() + PATIENCE) {
            Ok((Reply::Squashed, _)) => Ok(()),
            Ok((Reply::Failed(failure), _)) => Err(launch::explain(self, failure)),
            Err(WireError::TimedOut) => Err(Error::TimedOut("make one layer of several")),
            _ => Err(Error::Gone),
        }
    }
}
