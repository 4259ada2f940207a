//! Measures a layer that may be full, with stopped processes if necessary.

use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::layer::LayerUse;
use super::{LayerWatcher, RUNNING_TIME};
use crate::os::error::errno;
use crate::os::free_space::FileSystemSpace;
use crate::os::tree::{DiskUse, disk_use};
use crate::protocol::layer_limit::LayerExcess;

/// The most time of a measurement while processes are stopped.
const STOPPED_TIME: Duration = Duration::from_secs(300);
/// The number of entries after which a measurement looks at the time and the free space.
const ENTRIES_PER_LOOK: u32 = 256;
/// The free space that a measurement may lose before it starts again, if the limit is lower.
const MIN_GROWTH_ALLOWED: u64 = 64 << 20;
/// The measurements in a row that may be made while processes run, when the layer may be full.
const MAX_RUNNING_MEASUREMENTS: u32 = 4;
/// The number of times that a full layer is measured with stopped processes before the watcher
/// gives up.
const MAX_ATTEMPTS: u32 = 3;

impl LayerWatcher<'_> {
    /// Measures a layer that may be full. Returns the reason to end the sandbox, if it is.
    pub(super) fn verify(&mut self) -> Result<Option<LayerExcess>, Errno> {
        // Often it is another process that writes. Then the layer is far from full, and there is no
        // need to disturb the sandbox.
        if self.running_measurements < MAX_RUNNING_MEASUREMENTS
            && let Some((layer, before)) = self.measure_running()
            && layer.found.bytes <= self.bytes.limit / 2
            && layer.found.inodes <= self.inodes.limit / 2
            && !layer.in_flight
        {
            self.running_measurements += 1;
            self.accept(layer.found, before);
            return Ok(None);
        }
        for _ in 0..MAX_ATTEMPTS {
            // While pid 1 sets the sandbox up, no other process runs.
            let is_set_up = self.layer.device.is_some();
            let stopped = match is_set_up.then(|| self.stopper.stop()) {
                Some(Ok(stopped)) => stopped,
                // Pid 1 is gone, and with it all processes.
                Some(Err(_)) => return Ok(None),
                None => true,
            };
            let layer = match stopped {
                true => self.measure(STOPPED_TIME),
                false => Ok(self.measure_running()),
            };
            if is_set_up {
                self.stopper.resume();
            }
            // Without a measurement the layer changed, or the sandbox has ended.
            let Some((layer, before)) = layer? else {
                continue;
            };
            self.running_measurements = 0;
            self.verified_at = Some(Instant::now());
            let unexplained = self.bytes.unexplained(layer.found.bytes) > self.bytes.limit / 2
                || self.inodes.unexplained(layer.found.inodes) > self.inodes.limit / 2;
            if self.held_in_flight && layer.in_flight && unexplained {
                return Ok(Some(self.not_measurable()));
            }
            self.held_in_flight = layer.in_flight;
            self.accept(layer.found, before);
            return Ok(self.excess());
        }
        Ok((!self.has_ended()).then(|| self.not_measurable()))
    }

    fn not_measurable(&self) -> LayerExcess {
        LayerExcess::NotMeasurable {
            bytes: self.bytes.upper_bound(),
            files: self.inodes.upper_bound(),
        }
    }

    fn accept(&mut self, found: DiskUse, before: FileSystemSpace) {
        self.bytes.replace(found.bytes, before.used_bytes);
        self.inodes.replace(found.inodes, before.used_inodes);
    }

    /// The reason to end the sandbox after an exact measurement.
    fn excess(&self) -> Option<LayerExcess> {
        if self.bytes.is_full() {
            return Some(LayerExcess::Bytes(self.bytes.upper_bound()));
        }
        self.inodes
            .is_full()
            .then(|| LayerExcess::Files(self.inodes.upper_bound()))
    }

    /// Checks the layer when all processes have ended.
    pub(super) fn check_after_end(&mut self) -> Result<Option<LayerExcess>, Errno> {
        self.observe()?;
        // Deletions by other processes may have hidden growth.
        let exact = [&self.bytes, &self.inodes]
            .iter()
            .all(|bound| !bound.saw_deletion && bound.upper_bound() <= bound.limit / 4);
        if exact && self.has_exact_counts {
            return Ok(None);
        }
        let found = disk_use(&self.layer.directory).map_err(|error| errno(&error))?;
        self.accept(found, self.space);
        Ok(self.excess())
    }

    /// Measures the layer while its processes run. The result is also `None` after an error: the
    /// kernel moves and removes directories for these processes during the walk.
    pub(super) fn measure_running(&mut self) -> Option<(LayerUse, FileSystemSpace)> {
        self.measure(RUNNING_TIME).ok().flatten()
    }

    /// Measures the layer within `time`. Returns the file system's space before the measurement,
    /// too, or `None` if it is not possible: the layer changes, grows too fast or is too large.
    fn measure(&mut self, time: Duration) -> Result<Option<(LayerUse, FileSystemSpace)>, Errno> {
        let start = Instant::now();
        // Read this before measuring, so that bytes written meanwhile count twice rather than not
        // at all.
        self.observe()?;
        let before = self.space;
        let allowed = before
            .used_bytes
            .saturating_add(self.bytes.limit.max(MIN_GROWTH_ALLOWED));
        let mut entries = 0_u32;
        let proceed = || {
            entries = entries.wrapping_add(1);
            !entries.is_multiple_of(ENTRIES_PER_LOOK)
                || (start.elapsed() < time
                    && !self.has_ended()
                    && FileSystemSpace::read(&self.layer.directory)
                        .is_ok_and(|space| space.used_bytes <= allowed))
        };
        let layer = self.layer.measure(proceed);
        self.measured_at = Instant::now();
        self.measure_time = start.elapsed();
        Ok(layer?.map(|layer| (layer, before)))
    }
}
