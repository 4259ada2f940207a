//! Taking a snapshot of a running sandbox.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::Sandbox;
use super::connection::RequestOutcome;
use crate::cgroup::group::FrozenGroup;
use crate::error::Error;
use crate::launch::classify::explain;
use crate::launch::handshake::InitProcess;
use crate::protocol::boot::{Boot, SnapshotBoot};
use crate::protocol::reply::Reply;
use crate::protocol::request::Pid1Request;
use crate::protocol::spec::{SandboxOutcome, TemporaryLines};
use crate::protocol::wire::WireError;
use crate::store::runs::RunDir;

/// The time-out of the copy. The time grows with the amount written.
const COPY_TIMEOUT: Duration = Duration::from_secs(600);
/// The time between two checks for the end of a copy that may be abandoned.
const ABANDON_POLL: Duration = Duration::from_millis(100);

/// The source of snapshots of a sandbox.
#[derive(Debug)]
pub(super) struct SnapshotSource {
    /// The upper directory, relative to the store.
    pub(super) upper: PathBuf,
    pub(super) lowers: Vec<PathBuf>,
    pub(super) temporary_lines: Vec<TemporaryLines>,
}

/// The time in which the processes of a sandbox stand still. They continue when it is dropped.
enum Standstill<'a> {
    /// The control group is frozen.
    Frozen { _group: FrozenGroup },
    /// Pid 1 has stopped them.
    Stopped(&'a Sandbox),
}

impl Drop for Standstill<'_> {
    fn drop(&mut self) {
        if let Self::Stopped(sandbox) = self {
            // If this cannot be sent, the sandbox is gone.
            let _ = sandbox
                .connection
                .request("let its commands continue", |request| {
                    (Pid1Request::Resume { request }, None)
                });
        }
    }
}

impl Sandbox {
    /// Copies the files that the sandbox has changed into the unfinished layer of another run
    /// directory, while its processes stand still.
    /// [`LayerStore::commit`](crate::LayerStore::commit) then turns the copy into a layer.
    ///
    /// The copy ends early, without a result, once `is_abandoned` returns true.
    ///
    /// # Errors
    /// - [`Error::NotStill`] if a process does not stop in time.
    /// - [`Error::Gone`] if the sandbox is gone.
    /// - [`Error::Abandoned`] if the copy was abandoned.
    /// - [`Error::Setup`] if the files cannot be copied, such as on a full disk.
    pub fn snapshot(
        &self,
        run: &RunDir,
        is_abandoned: impl Fn() -> bool,
    ) -> Result<SandboxOutcome, Error> {
        let target = self.store.new_layer(run)?;
        let boot = Boot::Snapshot(SnapshotBoot {
            source: self.snapshot_source.upper.clone(),
            target,
            lowers: self.snapshot_source.lowers.clone(),
            temporary_lines: self.snapshot_source.temporary_lines.clone(),
            max_bytes: self.store.spare_bytes()?,
        });
        let standstill = self.stand_still()?;
        let init = InitProcess::start(self.store.layout(), &boot)?;
        let deadline = Instant::now() + COPY_TIMEOUT;
        let reply = loop {
            if is_abandoned() {
                return Err(Error::Abandoned);
            }
            let next_look = Instant::now() + ABANDON_POLL;
            match init.receive(next_look.min(deadline)) {
                Err(WireError::TimedOut) if Instant::now() < deadline => {}
                Err(WireError::TimedOut) => {
                    return Err(Error::NotStill("its files could not be copied"));
                }
                reply => break reply,
            }
        };
        drop(standstill);
        match reply {
            Ok((
                Reply::Inspected {
                    reason,
                    bytes,
                    changed_files,
                    ..
                },
                _,
            )) => Ok(SandboxOutcome {
                changed: Some(reason.is_some()),
                reason,
                upper_bytes: bytes,
                changed_files,
                ..SandboxOutcome::default()
            }),
            Ok((Reply::Failed(failure), _)) => Err(explain(self.store.layout(), failure)),
            _ => Err(Error::Gone),
        }
    }

    /// Makes all processes stand still: by the freezer of control groups if there is one, else by
    /// pid 1.
    fn stand_still(&self) -> Result<Standstill<'_>, Error> {
        if let Some(group) = self.group.freeze() {
            return Ok(Standstill::Frozen { _group: group });
        }
        let pause = |request| (Pid1Request::Pause { request }, None);
        match self.connection.request("pause its commands", pause)?.1 {
            RequestOutcome::Done { errno: 0 } => Ok(Standstill::Stopped(self)),
            RequestOutcome::Done { .. } => {
                Err(Error::NotStill("its processes did not stand still"))
            }
            _ => Err(Error::Gone),
        }
    }
}
